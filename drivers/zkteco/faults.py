"""What goes wrong with real terminals, one switch each: the lies, pauses, restarts and slips of a simulated one.

A fault sits in one of three layers, which are those of :mod:`drivers.zkteco.simulator`::

    MemoryFault         what the terminal remembers and says about it: count, log, clock, users, identity
    ConversationFault   what it answers: packets
    LinkFault           how the answers cross the wire: bytes, pauses, hang-ups

A class is an entry of the catalogue: its docstring says what happens, ``value`` what may be given, ``quirks`` which of
the known quirks of terminals (docs/simulator.md lists them) it provokes. Its name, in kebab-case, is what people type.
"""

# ruff: noqa: D102, ARG002 - what a hook promises and is given is said once, in the class of its layer
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from drivers.values import parse_duration
from drivers.zkteco import layouts, wire
from drivers.zkteco.wire import Packet

if TYPE_CHECKING:
    from drivers.zkteco.simulator import Conversation, SimulatedTerminal

EF_FINGER_SCORE = 256
"""An event that says how well a finger was read; it arrives whatever a client asked for."""
BAD_TIME = 0xFFFFFFFF
"""Decodes to a day of the year 2133, which no terminal shows."""
PANEL_FRAME = bytes.fromhex("AA01C90100F313D955")
"""What a door access panel answers to whatever it does not understand."""
WEB_SERVER = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


class Wait(NamedTuple):
    """A pause on the wire."""

    seconds: float


class Drop(NamedTuple):
    """The end of a connection. Over UDP, nothing more is sent."""


Step = bytes | Wait | Drop
Steps = Iterable[Step]


# --- values people type -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Value:
    """What a fault may be given: ``meaning`` with its unit, the ``default`` as one would type it."""

    meaning: str
    default: str
    parse: Callable[[str], Any]


class Stage(NamedTuple):
    """A place in a conversation: the answer to a command, after this many bytes of it."""

    name: str
    after: int

    def matches(self, request: Packet | None) -> bool:
        """Tell whether what is sent just now is the answer meant; None stands for an event."""
        if self.name == "any":
            return True
        return self.name == "event" if request is None else STAGES.get(self.name) == request.command


MAX_SHIFT_S = 50 * 366 * 86400.0

STAGES = {
    "connect": wire.CMD_CONNECT,
    "key": wire.CMD_AUTH,
    "enable": wire.CMD_ENABLEDEVICE,
    "option": wire.CMD_OPTIONS_RRQ,
    "clock": wire.CMD_GET_TIME,
    "count": wire.CMD_GET_FREE_SIZES,
    "listen": wire.CMD_REG_EVENT,
    "prepare": wire.CMD_PREPARE_BUFFER,
    "read": wire.CMD_READ_BUFFER,
    "direct": wire.CMD_ATTLOG_RRQ,
    "free": wire.CMD_FREE_DATA,
    "exit": wire.CMD_EXIT,
}


def _stage(text: str) -> Stage:
    name, plus, after = text.partition("+")
    if name not in {"any", "event", *STAGES} or (plus and not after.isdecimal()):
        raise ValueError(f"{text!r} is no stage; write any, event, {', '.join(STAGES)}, and +BYTES to go so far")
    return Stage(name, int(after or 0))


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    assert isinstance(seconds, float)  # noqa: S101 - what text becomes there
    return seconds


def _shift(text: str) -> timedelta:
    sign, rest = text[:1], text[1:]
    if sign not in ("+", "-"):
        raise ValueError(f"{text!r} is no change of a clock; write +1h or -30s")
    if (seconds := _seconds(rest)) > MAX_SHIFT_S:
        raise ValueError("a clock of the years 2000 to 2099 cannot be moved so far")
    return timedelta(seconds=seconds if sign == "+" else -seconds)


def _moment(text: str) -> datetime:
    try:
        return _require_clock_range(datetime.fromisoformat(text).replace(tzinfo=None))
    except ValueError:
        raise ValueError(f"{text!r} is no time of the years 2000 to 2099; write 2000-01-01T00:00:00") from None


def _require_clock_range(moment: datetime) -> datetime:
    if not 2000 <= moment.year <= 2099:
        raise ValueError("a terminal's clock knows the years 2000 to 2099")
    return moment


def _whole_seconds(text: str) -> float:
    seconds = _seconds(text)
    if seconds > 3600 or seconds % 1:
        raise ValueError(f"{text!r} is no number of whole seconds up to an hour")
    return seconds


def _up_to(most: int, least: int = 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or len(text) > 12 or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return parse


def _change(text: str) -> int:
    if not re.fullmatch(r"[+-][0-9]{1,9}", text):
        raise ValueError(f"{text!r} is no change; write +1 or -1")
    return int(text)


class _NewCount(NamedTuple):
    relative: bool
    number: int


def _new_count(text: str) -> _NewCount:
    if text[:1] in ("+", "-"):
        return _NewCount(relative=True, number=_change(text))
    return _NewCount(relative=False, number=_up_to(2**31 - 1, 0)(text))


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return parse


def _ascii_text(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text.strip():
        raise ValueError(f"{text!r} is no word of printable ASCII characters")
    return text


# --- the catalogue: what every fault is ---------------------------------------------------------------------------


class Fault:
    """One thing that goes wrong while it is on; ``given`` is its value. One that is not ``lasting`` happens at once.

    ``begin`` and ``end`` are called by the thread that switches, everything else by those that serve.
    """

    name: ClassVar[str]
    quirks: ClassVar[tuple[int, ...]] = ()
    value: ClassVar[Value | None] = None
    lasting: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Name the fault after its class."""
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, typed: str) -> None:
        """``typed`` is the value as people write it; ValueError, with a sentence for them, where it is none."""
        self.typed = typed
        self.given: Any = self.value.parse(typed) if self.value else None

    @classmethod
    def meaning(cls) -> str:
        """Say in one line what happens."""
        return " ".join((cls.__doc__ or "").split())

    def begin(self, terminal: "SimulatedTerminal") -> None:
        """Go wrong; ValueError where this terminal cannot, and then nothing has changed."""

    def end(self, terminal: "SimulatedTerminal") -> None:
        """Go right again."""


class MemoryFault(Fault):
    """A fault in what the terminal remembers and says about it."""

    def count(self, records: int) -> int:
        """Return the count it reports."""
        return records

    def table(self, terminal: "SimulatedTerminal", table: bytes) -> bytes:
        """Return its log, prefix included, as it serves it."""
        return table

    def between(self, terminal: "SimulatedTerminal", found: bytes) -> bytes:
        """Return the records it serves in place of those ``found`` in a span of time."""
        return found

    def repeats(self) -> Iterator[timedelta]:
        """Yield how long after a punch the same finger punches again."""
        return iter(())


class ConversationFault(Fault):
    """A fault in what the terminal answers."""

    def accepts(self, conversation: "Conversation", request: Packet) -> bool:
        """Tell whether the terminal takes notice of a request."""
        return True

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        """Return what it says in place of the right answers."""
        return answers

    def event(self, event: Packet) -> list[Packet]:
        """Return what it tells in place of an event."""
        return [event]


class LinkFault(Fault):
    """A fault in how answers and events cross the wire."""

    joins_events: ClassVar[bool] = False
    """Events wait for the next answer and are sent in front of it."""

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        """Return what is done in place of sending these packets; ``request`` is None for events."""
        return steps


def _prepares(request: Packet, table: int) -> bool:
    return request.command == wire.CMD_PREPARE_BUFFER and int.from_bytes(request.data[1:3], "little") == table


def _requests_log(request: Packet) -> bool:
    return request.command == wire.CMD_ATTLOG_RRQ or _prepares(request, wire.CMD_ATTLOG_RRQ)


def _refused(request: Packet, code: int) -> list[Packet]:
    return [Packet(code, request.session, request.reply)]


# --- memory -------------------------------------------------------------------------------------------------------

TIME_AT = {"8": 3, "8-ma300": 4, "16": 4, "22": 13, "40": 27, "49": 27}
"""Where the packed time stands in a record of each layout."""
PIN_AT = {"22": (2, 8), "40": (2, 26), "49": (2, 26)}
"""Where the PIN stands in records that hold it as text."""


def _damaged_records(terminal: "SimulatedTerminal", how_many: int, at: int, bytes_: bytes) -> bytes:
    """Return records of somebody, with ``bytes_`` at ``at``."""
    records = b""
    for _ in range(how_many):
        record = bytearray(terminal.encode(terminal.any_pin(), terminal.clock()))
        record[at : at + len(bytes_)] = bytes_
        records += record
    return records


class ClearLog(MemoryFault):
    """Somebody clears the log at the terminal's menu."""

    quirks = (26,)
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.clear_log()


class Purge(MemoryFault):
    """The terminal drops its oldest records to make room."""

    quirks = (26,)
    value = Value("records", "100", _up_to(10**6))
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.purge(self.given)


class Full(MemoryFault):
    """The log has no room left: each punch overwrites the oldest record, and the count stays."""

    quirks = (26,)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._capacity, terminal.capacity = terminal.capacity, max(1, terminal.count)

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.capacity = self._capacity


class Shrink(MemoryFault):
    """The log seems to end early, in the count and when it is read; off, the rest is back."""

    quirks = (26,)
    value = Value("records left", "0", _up_to(10**6, 0))

    def count(self, records: int) -> int:
        return min(records, int(self.given))

    def table(self, terminal: "SimulatedTerminal", table: bytes) -> bytes:
        records = terminal.log_body()[: self.given * terminal.stride]
        return struct.pack("<I", len(records)) + records


class Count(MemoryFault):
    """The count of records is wrong."""

    quirks = (16, 21)
    value = Value("the number reported, or +N or -N beside the true one", "0", _new_count)

    def count(self, records: int) -> int:
        given: _NewCount = self.given
        return max(0, records + given.number) if given.relative else given.number


class Prefix(MemoryFault):
    """The byte count in front of the log is wrong."""

    quirks = (21,)
    value = Value("+BYTES or -BYTES beside the true one", "+40", _change)

    def table(self, terminal: "SimulatedTerminal", table: bytes) -> bytes:
        return struct.pack("<I", max(0, len(table) - 4 + self.given)) + table[4:]


class Trailing(MemoryFault):
    """Bytes that belong to nothing follow the records of the log."""

    quirks = (21,)
    value = Value("bytes", "3", _up_to(10**6))

    def table(self, terminal: "SimulatedTerminal", table: bytes) -> bytes:
        return table + b"\xee" * int(self.given)


class Clock(MemoryFault):
    """The clock jumps, and jumps back when the fault is switched off."""

    quirks = (28,)
    value = Value("how far, such as +1h or -30s", "+1h", _shift)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.set_clock(_require_clock_range(terminal.clock() + self.given))

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.set_clock(terminal.clock() - self.given)


class ClockReset(MemoryFault):
    """The clock's battery fails: it begins again; off, it is as right as before."""

    quirks = (28,)
    value = Value("the time it begins at", "2000-01-01T00:00:00", _moment)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._offset = terminal.clock_offset
        terminal.set_clock(self.given)

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.clock_offset = self._offset


class BadDate(MemoryFault):
    """Records with an impossible date appear in the log."""

    quirks = (20,)
    value = Value("records", "1", _up_to(1000))
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        at = TIME_AT[terminal.layout]
        terminal.append_raw(_damaged_records(terminal, self.given, at, struct.pack("<I", BAD_TIME)))


class BadPin(MemoryFault):
    """Records without a PIN appear in the log, as after a person was deleted."""

    quirks = (22,)
    value = Value("records", "1", _up_to(1000))
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        if terminal.layout not in PIN_AT:
            raise ValueError(f"records of layout {terminal.layout} hold no PIN as text")
        begins, ends = PIN_AT[terminal.layout]
        terminal.append_raw(_damaged_records(terminal, self.given, begins, bytes(ends - begins)))


class OddPins(MemoryFault):
    """People with leading zeros, letters and 24 characters in their PINs punch, one after the other."""

    quirks = (23,)
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        for pin in ("0042", "A7-b", "X" * 24):
            terminal.punch(pin)


STALE = b"\xc4\xe3old99999999999999999999"
"""Begins as a name in a Chinese encoding would."""


class StaleBytes(MemoryFault):
    """Behind the NUL that ends a PIN stands what is left of a longer one."""

    quirks = (24,)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        if terminal.layout not in PIN_AT:
            raise ValueError(f"records of layout {terminal.layout} hold no PIN as text")

    def table(self, terminal: "SimulatedTerminal", table: bytes) -> bytes:
        begins, ends = PIN_AT.get(terminal.layout, (0, 0))
        spoilt = bytearray(table)
        for at in range(4, len(table) - terminal.stride + 1, terminal.stride):
            pin = table[at + begins : at + ends].partition(b"\0")[0]
            stale = STALE[: max(0, ends - begins - len(pin) - 1)]
            spoilt[at + ends - len(stale) : at + ends] = stale
        return bytes(spoilt)


class Reindex(MemoryFault):
    """The terminal numbers its records anew: the first two bytes of each differ from what they were."""

    quirks = (22,)
    value = Value("how far the numbers move", "1000", _up_to(65535))

    def begin(self, terminal: "SimulatedTerminal") -> None:
        if not layouts.LAYOUTS[terminal.layout].index_width:
            raise ValueError(f"records of layout {terminal.layout} hold no index")

    def table(self, terminal: "SimulatedTerminal", table: bytes) -> bytes:
        moved = bytearray(table)
        if not layouts.LAYOUTS[terminal.layout].index_width:
            return table
        for at in range(4, len(table) - terminal.stride + 1, terminal.stride):
            (index,) = struct.unpack_from("<H", table, at)
            struct.pack_into("<H", moved, at, (index + self.given) & wire.USHRT_MAX)
        return bytes(moved)


class DeleteUser(MemoryFault):
    """Somebody is deleted from the terminal; the records stay."""

    quirks = (22,)
    value = Value("the PIN, or first", "first", _ascii_text)
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.remove_user(terminal.any_pin() if self.given == "first" else self.given)


class DoublePress(MemoryFault):
    """Every finger is read twice."""

    quirks = (27,)
    value = Value("how much later, in whole seconds", "0s", _whole_seconds)

    def repeats(self) -> Iterator[timedelta]:
        yield timedelta(seconds=self.given)


class Layout(MemoryFault):
    """A firmware update changes the layout of the log's records; off, it is the old one again."""

    quirks = (15, 18, 19)
    value = Value("name of the layout", "49", _ascii_text)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._before = terminal.layout
        terminal.change_layout(self.given)

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.change_layout(self._before)


class Users(MemoryFault):
    """The records of the user table have another length."""

    quirks = (25,)
    value = Value("bytes: 28, 72 or 120", "120", _one_of("28", "72", "120"))

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._before = terminal.user_stride
        terminal.user_stride = int(self.given)

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.user_stride = self._before


class CommKey(MemoryFault):
    """Somebody changes the communication key."""

    quirks = (14,)
    value = Value("the new key", "4321", _up_to(999_999, 0))

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._before, terminal.comm_key = terminal.comm_key, self.given

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.comm_key = self._before


class Serial(MemoryFault):
    """Another terminal answers at this address."""

    quirks = (36,)
    value = Value("its serial number", "SIM0000009999", _ascii_text)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._before, terminal.serial = terminal.serial, self.given

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.serial = self._before


class RangeLies(MemoryFault):
    """Reading by time (10004) gives records that were not asked for."""

    quirks = (16,)
    value = Value("all of the log, none, or half of a record", "all", _one_of("all", "none", "half"))

    def between(self, terminal: "SimulatedTerminal", found: bytes) -> bytes:
        return {"all": terminal.log_body(), "none": b"", "half": terminal.log_body()[: terminal.stride // 2]}[
            self.given
        ]


class Disabled(MemoryFault):
    """Another program has disabled the terminal and died: nobody can punch."""

    quirks = (35,)
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.enabled = False


# --- conversation -------------------------------------------------------------------------------------------------


class Busy(ConversationFault):
    """Another program holds the one conversation this terminal can have: CONNECT is hung up on."""

    quirks = (7,)

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command not in (wire.CMD_CONNECT, wire.CMD_AUTH):
            return answers
        conversation.close()
        conversation.refused = True
        return []


class Reboot(ConversationFault):
    """The terminal restarts: every connection drops, every conversation is forgotten."""

    quirks = (32,)
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.restart()


class PowerCut(ConversationFault):
    """The power fails: connections stay open and nothing is said; off, the terminal has restarted."""

    quirks = (4, 32)

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.forget()

    def accepts(self, conversation: "Conversation", request: Packet) -> bool:
        return False

    def event(self, event: Packet) -> list[Packet]:
        return []

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.restart()


class Hang(ConversationFault):
    """The terminal hangs after some more commands until its power is switched off and on, which off does."""

    quirks = (6,)
    value = Value("commands", "5", _up_to(10**6, 0))

    def accepts(self, conversation: "Conversation", request: Packet) -> bool:
        self.given -= 1
        return bool(self.given >= 0)

    def end(self, terminal: "SimulatedTerminal") -> None:
        terminal.restart()


class NoSerial(ConversationFault):
    """The terminal does not tell its serial number."""

    quirks = (36,)
    value = Value("refused or empty", "refused", _one_of("refused", "empty"))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_OPTIONS_RRQ or not request.data.startswith(b"~SerialNumber"):
            return answers
        if self.given == "refused":
            return _refused(request, wire.CMD_ACK_ERROR)
        return [Packet(wire.CMD_ACK_OK, conversation.session, request.reply, b"~SerialNumber=\0")]


class NoOptions(ConversationFault):
    """Every option but the serial number is refused."""

    quirks = (36,)
    value = Value("the code it answers", "4999", _up_to(65535))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_OPTIONS_RRQ or request.data.startswith(b"~SerialNumber"):
            return answers
        return _refused(request, self.given)


class Secure(ConversationFault):
    """New firmware answers CONNECT with a challenge to encrypt."""

    quirks = (12,)
    value = Value("the code: 6001 or 2032", "6001", _up_to(65535))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_CONNECT:
            return answers
        conversation.close()
        return _refused(request, self.given)


class NoLog(ConversationFault):
    """The log is not given out: access-control mode, or no memory to prepare it."""

    quirks = (16,)
    value = Value("the code it answers", "4989", _up_to(65535))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        return _refused(request, self.given) if _requests_log(request) else answers


class NoBuffer(ConversationFault):
    """PREPARE_BUFFER (1503) is unknown: log and users can be read directly only."""

    quirks = (10, 17)
    value = Value("the code it answers", "65535", _up_to(65535))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        return _refused(request, self.given) if request.command == wire.CMD_PREPARE_BUFFER else answers


class ShortSizes(ConversationFault):
    """How full the log is, is answered with four zero bytes."""

    quirks = (17,)

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_GET_FREE_SIZES:
            return answers
        return [answer._replace(data=bytes(4)) for answer in answers]


class Tail(ConversationFault):
    """The log can be read from its beginning only."""

    quirks = (8, 21)
    value = Value(
        "refused, zero (served from byte 0) or full (all of it is served)",
        "refused",
        _one_of("refused", "zero", "full"),
    )

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_READ_BUFFER or not conversation.skipped:
            return answers
        if self.given == "refused":
            return _refused(request, wire.CMD_ACK_ERROR)
        return conversation.transfer(
            request, 0, None if self.given == "full" else struct.unpack("<ii", request.data)[1]
        )


class NoRange(ConversationFault):
    """Reading by time (10004) is unknown."""

    quirks = (16,)
    value = Value("the code it answers", "65535", _up_to(65535))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        return _refused(request, self.given) if _prepares(request, wire.CMD_ATTLOG_BY_TIME) else answers


class Race(ConversationFault):
    """People punch between the count and the next reading of the log, once."""

    quirks = (21,)
    value = Value("punches", "1", _up_to(1000))

    def accepts(self, conversation: "Conversation", request: Packet) -> bool:
        if _requests_log(request):
            punches, self.given = self.given, 0
            for _ in range(punches):
                conversation.terminal.punch(conversation.terminal.any_pin())
        return True


class PunchInRead(ConversationFault):
    """People punch while the log is being sent, once: their events stand in the middle of it."""

    quirks = (30, 21)
    value = Value("punches", "3", _up_to(1000))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if not any(answer.command == wire.CMD_DATA for answer in answers):
            return answers
        punches, self.given = self.given, 0
        for _ in range(punches):
            conversation.terminal.punch(conversation.terminal.any_pin())
        events = [conversation.events.popleft() for _ in range(len(conversation.events))]
        before = 1 if len(answers) > 1 else 0
        return [*answers[:before], *events, *answers[before:]]


class WrongSession(ConversationFault):
    """The session field of answers is not the one that CONNECT gave. That of data is their number, and stays."""

    quirks = (1,)

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command in (wire.CMD_CONNECT, wire.CMD_AUTH):
            return answers
        return [
            answer if answer.command == wire.CMD_DATA else answer._replace(session=answer.session ^ 0x5A5A)
            for answer in answers
        ]


class WrongReply(ConversationFault):
    """The reply number of answers is not the one of the question."""

    quirks = (1,)

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        return [answer._replace(reply=(answer.reply + 7) & wire.USHRT_MAX) for answer in answers]


class Mute(ConversationFault):
    """Events are promised and never come."""

    quirks = (32,)

    def event(self, event: Packet) -> list[Packet]:
        return []


class NoEvents(ConversationFault):
    """A client that asks for events is refused."""

    quirks = (32,)

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        if request.command != wire.CMD_REG_EVENT:
            return answers
        conversation.listening = False
        return _refused(request, wire.CMD_ACK_ERROR)


class Phantom(ConversationFault):
    """An event tells of a punch that the log never holds."""

    quirks = (31,)
    lasting = False

    def begin(self, terminal: "SimulatedTerminal") -> None:
        terminal.send_event(terminal.any_pin(), terminal.clock())


class EventLength(ConversationFault):
    """Events have a length nobody knows."""

    quirks = (29,)
    value = Value("bytes", "41", _up_to(65000, 0))

    def event(self, event: Packet) -> list[Packet]:
        return [event._replace(data=event.data[: self.given].ljust(self.given, b"\0"))]


class EventDiffers(ConversationFault):
    """Events say another in/out state and another way of verification than the log."""

    quirks = (19, 31)

    def event(self, event: Packet) -> list[Packet]:
        width = wire.EVENT_ID_WIDTH.get(len(event.data))
        if width is None:
            return [event]
        verify, state = event.data[width], event.data[width + 1]
        changed = bytes((verify ^ 4, state ^ 1))
        return [event._replace(data=event.data[:width] + changed + event.data[width + 2 :])]


_FINGER_SCORE = Packet(wire.CMD_REG_EVENT, EF_FINGER_SCORE, 0, b"\x64")


class OtherEvents(ConversationFault):
    """Events of other kinds, never asked for, come before and after each punch, some of a failed finger."""

    quirks = (31,)
    value = Value("events", "2", _up_to(1000))

    def event(self, event: Packet) -> list[Packet]:
        others = [_FINGER_SCORE] * self.given
        return [*others, event, *others]


class Chatter(ConversationFault):
    """Events of other kinds come before every answer."""

    quirks = (30, 31)
    value = Value("events", "3", _up_to(1_000_000))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        return [_FINGER_SCORE] * self.given + answers if answers else answers


# --- link ---------------------------------------------------------------------------------------------------------


def _cut(steps: Steps, sizes: Callable[[int], Sequence[int]], *, udp: bool) -> Iterator[Step]:
    """Cut what is sent into pieces that end at the offsets ``sizes`` gives for its length; datagrams stay whole."""
    for step in steps:
        if not isinstance(step, bytes) or udp:
            yield step
            continue
        begins = 0
        for ends in [*sizes(len(step)), len(step)]:
            if begins < ends <= len(step):
                yield step[begins:ends]
                begins = ends


class Trickle(LinkFault):
    """Bytes come one by one. Over UDP a datagram stays whole and comes this much later."""

    quirks = (1, 3)
    value = Value("time between two bytes", "1ms", _seconds)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in _cut(steps, lambda length: range(1, length), udp=udp):
            yield Wait(self.given)
            yield step


class Split(LinkFault):
    """Every packet is sent in two pieces."""

    quirks = (1, 3, 30)
    value = Value("bytes in the first piece", "3", _up_to(10**6))

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for number, step in enumerate(_cut(steps, lambda _length: (self.given,), udp=udp)):
            if number:
                yield Wait(0.001)
            yield step


class Coalesce(LinkFault):
    """Events wait for the next answer, and all of its packets come in one segment with them."""

    quirks = (30,)
    joins_events = True

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if udp:
            yield from steps
            return
        joined = b""
        for step in steps:
            if isinstance(step, bytes):
                joined += step
            else:
                yield joined
                joined = b""
                yield step
        yield joined


def _until(steps: Steps, length: int) -> Iterator[Step]:
    """Yield the first ``length`` bytes, and the pauses among them."""
    for step in steps:
        if not isinstance(step, bytes):
            yield step
            continue
        if step[:length]:
            yield step[:length]
        length -= len(step)
        if length <= 0:
            return


class HangUp(LinkFault):
    """The terminal hangs up in place of an answer, or in the middle of it."""

    quirks = (2,)
    value = Value("which answer, +BYTES of it sent before", "any", _stage)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if not self.given.matches(request):
            yield from steps
            return
        if self.given.after:
            yield from _until(steps, self.given.after)
        yield Drop()


class Silence(LinkFault):
    """The terminal says nothing in place of an answer, or falls silent in the middle of it."""

    quirks = (2, 4, 5)
    value = Value("which answer, +BYTES of it sent before", "any", _stage)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if not self.given.matches(request):
            return steps
        return _until(steps, self.given.after) if self.given.after else ()


class Late(LinkFault):
    """Every answer comes late."""

    quirks = (8, 9)
    value = Value("how late", "1s", _seconds)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if request is not None:
            yield Wait(self.given)
        yield from steps


class SlowPrepare(LinkFault):
    """The terminal needs long to prepare its log."""

    quirks = (8,)
    value = Value("how long", "5s", _seconds)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if request is not None and _requests_log(request):
            yield Wait(self.given)
        yield from steps


class Line(LinkFault):
    """The line is slow."""

    quirks = (8,)
    value = Value("kbit/s", "400", _up_to(10**6))

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in _cut(steps, lambda length: range(1024, length, 1024), udp=udp):
            yield step
            if isinstance(step, bytes):
                yield Wait(len(step) * 8 / (self.given * 1000))


class Lose(LinkFault):
    """Datagrams get lost."""

    quirks = (9,)
    value = Value("one of how many", "20", _up_to(10**6))

    def begin(self, terminal: "SimulatedTerminal") -> None:
        self._sent = 0

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in steps:
            if udp and isinstance(step, bytes):
                self._sent += 1
                if self._sent % self.given == 0:
                    continue
            yield step


class Duplicate(LinkFault):
    """Datagrams arrive twice."""

    quirks = (9,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in steps:
            yield step
            if udp and isinstance(step, bytes):
                yield step


class Reorder(LinkFault):
    """The datagrams of an answer arrive in reverse order."""

    quirks = (9,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return reversed(list(steps)) if udp else steps


def _patched(steps: Steps, at: int, bytes_: bytes) -> Iterator[Step]:
    for step in steps:
        yield step[:at] + bytes_ + step[at + len(bytes_) :] if isinstance(step, bytes) else step


class BadChecksum(LinkFault):
    """The checksums of answers are wrong."""

    quirks = (1,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return _patched(steps, 2 if udp else 10, b"\x5a\xa5")


class Length(LinkFault):
    """The top header of answers says another length than they have. Datagrams have none."""

    quirks = (1, 10)
    value = Value("bytes it says", "4294967295", _up_to(2**32 - 1, 0))

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return steps if udp else _patched(steps, 4, struct.pack("<I", self.given))


class Burst(LinkFault):
    """A table that is read directly comes in one burst, of which the packet's length covers the beginning only."""

    quirks = (10,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if udp or request is None or request.command not in (wire.CMD_ATTLOG_RRQ, wire.CMD_USERTEMP_RRQ):
            return steps
        packets = [step for step in steps if isinstance(step, bytes)]
        if len(packets) < 3:
            return packets
        announced, *data, closing = packets
        # The first packet's header stays as it is: it counts its own data only.
        return (announced, data[0] + b"".join(packet[16:] for packet in data[1:]), closing)


class SecureMagic(LinkFault):
    """Answers are encrypted, which their first four bytes say. Datagrams have no such mark."""

    quirks = (12,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return steps if udp else _patched(steps, 0, wire.SECURE_MAGIC)


class AccessPanel(LinkFault):
    """A door access panel answers at this address."""

    quirks = (13,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return () if request is None else (PANEL_FRAME,)


class Garbage(LinkFault):
    """Something else than a terminal answers at this address: a web server."""

    quirks = (1,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return () if request is None else (WEB_SERVER,)


FAULTS: dict[str, type[Fault]] = {
    fault.name: fault for layer in (MemoryFault, ConversationFault, LinkFault) for fault in layer.__subclasses__()
}
"""The catalogue: name → fault, layer by layer."""

F = TypeVar("F", bound=Fault)


class Faults:
    """The faults of one terminal that are on. May be changed, by one thread at a time, while the terminal is served."""

    def __init__(self, terminal: "SimulatedTerminal") -> None:
        self._terminal = terminal
        self._on: tuple[Fault, ...] = ()

    @property
    def on(self) -> dict[str, str]:
        """Names of the faults that are on, with their values as typed; empty where a fault takes none."""
        return {fault.name: fault.typed for fault in self._on}

    def switch_on(self, order: str) -> str:
        """Carry out ``NAME`` or ``NAME=VALUE`` and say what happens from now on; ValueError for what is no fault."""
        name, equals, typed = order.partition("=")
        kind = FAULTS.get(name)
        if kind is None:
            raise ValueError(f"there is no fault {name!r}; the list of faults has them all")
        if equals and kind.value is None:
            raise ValueError(f"{name} takes no value")
        typed = typed if equals else (kind.value.default if kind.value else "")
        fault = kind(typed)
        self.switch_off(name)
        fault.begin(self._terminal)
        if kind.lasting:
            self._on = (*self._on, fault)
        return f"{name}{f'={typed}' if typed else ''}: {kind.meaning()}"

    def switch_off(self, name: str) -> str:
        """End a fault, if it is on, and say so; ValueError for what is no fault."""
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; the list of faults has them all")
        for fault in self._on:
            if fault.name == name:
                self._on = tuple(other for other in self._on if other is not fault)
                fault.end(self._terminal)
                return f"{name} is off."
        return f"{name} is not on."

    def listing(self) -> str:
        """Return a line for each fault: its name, its value, its meaning, and a star before those that are on."""
        on = self.on
        lines = []
        for name, kind in FAULTS.items():
            typed = on.get(name, kind.value.default if kind.value else "")
            lines.append(f"{'*' if name in on else ' '} {name + (f'={typed}' if typed else ''):<34} {kind.meaning()}")
        return "\n".join(lines)

    def _of(self, layer: type[F]) -> Iterator[F]:
        return (fault for fault in self._on if isinstance(fault, layer))

    # What the layers of the simulator ask.

    def count(self, records: int) -> int:
        """Return the count of records that is reported."""
        for fault in self._of(MemoryFault):
            records = fault.count(records)
        return records

    def table(self, table: bytes) -> bytes:
        """Return the log, prefix included, as it is served."""
        for fault in self._of(MemoryFault):
            table = fault.table(self._terminal, table)
        return table

    def repeats(self) -> list[timedelta]:
        """Return how long after a punch the same finger punches again."""
        return [later for fault in self._of(MemoryFault) for later in fault.repeats()]

    def between(self, found: bytes) -> bytes:
        """Return the records that reading by time gives."""
        for fault in self._of(MemoryFault):
            found = fault.between(self._terminal, found)
        return found

    def accepts(self, conversation: "Conversation", request: Packet) -> bool:
        """Tell whether the terminal takes notice of a request."""
        return all(fault.accepts(conversation, request) for fault in self._of(ConversationFault))

    def answer(self, conversation: "Conversation", request: Packet, answers: list[Packet]) -> list[Packet]:
        """Return what is answered."""
        for fault in self._of(ConversationFault):
            answers = fault.answer(conversation, request, answers)
        return answers

    def events(self, event: Packet) -> list[Packet]:
        """Return what is told in place of an event."""
        events = [event]
        for fault in self._of(ConversationFault):
            events = [replacement for event in events for replacement in fault.event(event)]
        return events

    @property
    def joins_events(self) -> bool:
        """Whether events wait for the next answer."""
        return any(fault.joins_events for fault in self._of(LinkFault))

    def steps(self, request: Packet | None, frames: Steps, *, udp: bool) -> Steps:
        """Return what is done in place of sending ``frames``."""
        for fault in self._of(LinkFault):
            frames = fault.steps(request, frames, udp=udp)
        return frames
