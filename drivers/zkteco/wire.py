"""Bytes of the ZKTeco standalone protocol (port 4370), both directions. Pure: no sockets, no clocks.

A packet, little-endian::

    | command 2 | checksum 2 | session 2 | reply 2 | data n |        one UDP datagram
    | 50 50 82 7D | length 4 | the packet, ``length`` bytes  |        on TCP

``session`` carries other things in some answers: the chunk index in DATA, the event code in events, the state in
STATE answers, the number of bytes sent in the ACK that closes a transfer. ``reply`` is counted up by the client and
echoed by the terminal.

Facts come from the 2006 vendor manual, from captures published by users, and from reading open implementations; where a
firmware is known to differ, the line says so.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from itertools import repeat
from math import lcm
from typing import Any, NamedTuple

from drivers.base import BadRecord, Hint, RawPunch, Record

# Commands and answers, by the names of the vendor manual.
CMD_ATTLOG_RRQ = 13
CMD_USERTEMP_RRQ = 9
CMD_OPTIONS_RRQ = 11
CMD_GET_FREE_SIZES = 50
CMD_GET_TIME = 201
CMD_SET_TIME = 202
CMD_REG_EVENT = 500
CMD_CONNECT = 1000
CMD_EXIT = 1001
CMD_ENABLEDEVICE = 1002
CMD_REFRESHDATA = 1013
CMD_GET_VERSION = 1100
CMD_AUTH = 1102
CMD_PREPARE_DATA = 1500
CMD_DATA = 1501
CMD_FREE_DATA = 1502
CMD_PREPARE_BUFFER = 1503
CMD_READ_BUFFER = 1504
CMD_ATTLOG_BY_TIME = 10004
CMD_ACK_OK = 2000
CMD_ACK_ERROR = 2001
CMD_ACK_UNAUTH = 2005
CMD_BAD = 0xFFFD
CMD_UNKNOWN = 0xFFFF
SECURE_ANSWERS = frozenset({2032, 6001})
"""Answers to CONNECT of firmware that wants an encrypted conversation."""

FCT_USER = 5
USER_LIST = bytes((FCT_USER,))
"""What asks CMD_USERTEMP_RRQ for users, without a buffer; a user number and a finger would ask it for a template."""
EF_ATTLOG = 1
"""Event code of a punch; other codes arrive even where only this one was asked for."""

TCP_MAGIC = b"\x50\x50\x82\x7d"
SECURE_MAGIC = b"\x50\x50\x83\x7c"
MAX_PACKET = 4 * 1024 * 1024
"""Longest packet or transfer believed. The longest real ones are whole logs of terminals that serve no part of them.
One on its way is in memory several times, and no terminal may take more than 32 MB of it."""
MAX_TABLE = 16 * 1024 * 1024
"""Longest table believed; it comes in pieces."""

USHRT_MAX = 65535


class WireError(ValueError):
    """Bytes that this protocol does not allow."""


class SecureFirmware(WireError):  # noqa: N818 - says what was met
    """The terminal speaks the encrypted variant of the protocol."""


class AccessPanel(WireError):  # noqa: N818 - says what was met
    """The other side is a door access panel, which uses the same port for another protocol."""


def checksum(packet: bytes) -> int:
    """Return the one's-complement sum of ``packet``'s 16-bit words; its own checksum field must be zero.

    The widespread sum over the *previous* reply id gives the same number by another road; this is the plain one.
    """
    # Folding carries back in gives the remainder by 65,535, but 0 only where all words are 0. Words as numbers of their
    # own would take 18 times as much memory as the packet.
    words = int.from_bytes(packet, "little")
    total = words % USHRT_MAX or (USHRT_MAX if words else 0)
    return ~total & USHRT_MAX


class Packet(NamedTuple):
    """One packet, either direction."""

    command: int
    session: int
    reply: int
    data: bytes = b""

    def to_bytes(self) -> bytes:
        """Encode as one UDP datagram."""
        bare = struct.pack("<4H", self.command, 0, self.session, self.reply) + self.data
        return bare[:2] + struct.pack("<H", checksum(bare)) + bare[4:]

    def to_tcp(self) -> bytes:
        """Encode for a TCP stream."""
        packet = self.to_bytes()
        return TCP_MAGIC + struct.pack("<I", len(packet)) + packet

    @classmethod
    def from_bytes(cls, packet: bytes) -> "Packet":
        """Decode one datagram, or a TCP packet without its top header; WireError if it is shorter than a header.

        The checksum is not judged here, see :func:`checksum_holds`: terminals with wrong ones exist and work.
        """
        if len(packet) < 8:
            raise WireError(f"a packet of {len(packet)} bytes; the shortest has 8")
        command, _, session, reply = struct.unpack_from("<4H", packet)
        return cls(command, session, reply, bytes(packet[8:]))


def checksum_holds(packet: bytes) -> bool:
    """Tell whether the checksum of ``packet`` (without top header) is right."""
    return len(packet) >= 8 and checksum(packet[:2] + b"\0\0" + packet[4:]) == int.from_bytes(packet[2:4], "little")


class StreamReader:
    """Cuts a TCP stream into packets. Garbage is an error, never skipped: a body may contain the magic itself."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._burst_expected = False
        self._expected = 0

    def expect_burst(self, expected: bool) -> None:
        """Say whether the next DATA may be longer than its length field says.

        Some Wi-Fi models (AK3750, WL10) send a table that was not prepared in one packet, whose length field is too
        small. How long it is in truth was announced before it, or stands in its first four bytes.
        """
        self._burst_expected = expected
        self._expected = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived; yield each packet (without top header) that is now complete.

        Raises WireError (SecureFirmware, AccessPanel) as soon as the stream cannot be this protocol.
        """
        self._buffer += data
        while (length := self._complete_length()) is not None:
            packet = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            yield packet

    @property
    def missing(self) -> int:
        """How many bytes would complete the packet that has begun, by what it says; 0 where none has."""
        if not self._buffer:
            return 0
        length = self._declared_length()
        return 8 - len(self._buffer) if length is None else max(0, 8 + length - len(self._buffer))

    def _complete_length(self) -> int | None:
        """Return the length of the packet at the head of the buffer once all of it is there."""
        length = self._declared_length()
        if length is not None and self._burst_expected and len(self._buffer) >= 8 + length:
            length = self._burst_length(length)
        return None if length is None or len(self._buffer) < 8 + length else length

    def _burst_length(self, length: int) -> int | None:
        """Return the true length of a packet that says it has ``length`` bytes; None until that can be told."""
        command = int.from_bytes(self._buffer[8:10], "little")
        declared = length - 8
        number = int.from_bytes(self._buffer[16:20], "little") if declared >= 4 else 0
        if command == CMD_PREPARE_DATA:
            self._expected = number
        if command != CMD_DATA:
            return length
        # Without an announcement the table's own prefix tells its length.
        expected = self._expected or 4 + number
        if expected + 8 > MAX_PACKET:
            raise WireError(f"a transfer of {expected} bytes; {MAX_PACKET} are believed")
        if declared < expected:
            behind = self._buffer[8 + length : 12 + length]
            if not behind or (len(behind) < 4 and TCP_MAGIC.startswith(behind)):
                return None
            if behind != TCP_MAGIC:
                length = 8 + expected
        if len(self._buffer) >= 8 + length:
            self._expected = max(0, expected - length + 8)
        return length

    def _declared_length(self) -> int | None:
        head = bytes(self._buffer[:8])
        if not TCP_MAGIC.startswith(head[:4]):
            if head[:1] == b"\xaa":
                raise AccessPanel("the answer is a frame of a door access panel, not of an attendance terminal")
            if SECURE_MAGIC.startswith(head[:4]):
                if len(head) < 4:
                    return None
                raise SecureFirmware("the terminal encrypts the conversation")
            raise WireError("the stream does not begin with a packet of this protocol")
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:8], "little")
        if not 8 <= length <= MAX_PACKET:
            raise WireError(f"a packet that says it has {length} bytes; 8 to {MAX_PACKET} are possible")
        return length


def scramble_comm_key(key: int, session: int, tick: int = 50) -> bytes:
    """Return the four bytes that prove knowledge of the communication key ``key`` in ``session``."""
    reversed_bits = int(f"{key & 0xFFFFFFFF:032b}"[::-1], 2)
    mixed = struct.pack("<I", (reversed_bits + session) & 0xFFFFFFFF)
    _, b1, b2, b3 = (byte ^ letter for byte, letter in zip(mixed, b"ZKSO", strict=True))
    return bytes((b2 ^ tick, b3 ^ tick, tick, b1 ^ tick))


# --- time ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def _date_of(days: int) -> tuple[int, int, int] | None:
    """Split a count of days in 31-day months; None where the calendar has no such day or the century is wrong."""
    months, day = divmod(days, 31)
    years, month = divmod(months, 12)
    if years > 99:
        return None
    try:
        datetime(2000 + years, month + 1, day + 1)  # noqa: DTZ001 - a terminal's wall clock has no zone
    except ValueError:
        return None
    return 2000 + years, month + 1, day + 1


def decode_times(packed: Iterable[int]) -> list[datetime | None]:
    """Decode u32 seconds of 372-day years since 2000; None for 31 February and for years after 2099."""
    moments: list[datetime | None] = []
    for value in packed:
        days, rest = divmod(value, 86400)
        date = _date_of(days)
        moments.append(
            None if date is None else datetime(*date, rest // 3600, rest // 60 % 60, rest % 60)  # noqa: DTZ001 - wall clock
        )
    return moments


def decode_time(packed: int) -> datetime | None:
    """Decode one time as :func:`decode_times` does."""
    return decode_times((packed,))[0]


FIRST_TIME = datetime(2000, 1, 1)  # noqa: DTZ001 - a terminal's wall clock has no zone
LAST_TIME = datetime(2099, 12, 31, 23, 59, 59)  # noqa: DTZ001 - as above


def encode_time(moment: datetime) -> int:
    """Encode a wall-clock time of the years 2000 to 2099; ValueError for others."""
    if not 2000 <= moment.year <= 2099:
        raise ValueError(f"a terminal knows the years 2000 to 2099, not {moment.year}")
    days = ((moment.year - 2000) * 12 + moment.month - 1) * 31 + moment.day - 1
    return days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second


# --- sizes --------------------------------------------------------------------------------------------------------


def decode_sizes(data: bytes) -> tuple[int | None, int | None]:
    """Return (records, capacity) from the answer to GET_FREE_SIZES; None for what a short answer leaves out.

    Some Wi-Fi models answer four zero bytes and never say more.
    """
    records = int.from_bytes(data[32:36], "little") if len(data) >= 36 else None
    capacity = int.from_bytes(data[64:68], "little") if len(data) >= 68 else None
    return records, capacity or None


def encode_sizes(*, records: int, capacity: int, users: int) -> bytes:
    """Encode the 92-byte answer of a TFT terminal to GET_FREE_SIZES."""
    fields = [0] * 23
    fields[4], fields[8] = users, records
    fields[14], fields[15], fields[16] = 3000, 5000, capacity
    fields[17], fields[18], fields[19] = 3000, 5000 - users, max(0, capacity - records)
    return struct.pack("<23i", *fields)


# --- log records --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)  # a log names the same few hundred people again and again
def decode_pin(field: bytes) -> str | None:
    """Return the PIN in a NUL-padded text field; None unless it is 1 to 24 printable ASCII characters.

    What follows the first NUL is left over from an earlier, longer PIN. Surrounding blanks are padding; leading zeros
    are not.
    """
    text = field.partition(b"\0")[0].strip(b" ")
    if not text or not text.isascii():
        return None
    pin = text.decode("ascii")
    return pin if pin.isprintable() and len(pin) <= 24 else None


class _Columns(NamedTuple):
    """The fields of a run of records, one column each; a field that a layout lacks is None in every row."""

    pins: Iterable[str | None]
    uids: Iterable[int | None]
    packed: Sequence[int]
    states: Iterable[int]
    verifies: Iterable[int]
    work_codes: Iterable[str | None]


_S8 = struct.Struct("<HBIB")
_S8_MA300 = struct.Struct("<HBBI")
_S16 = struct.Struct("<IIBB2xI")
# The first two bytes are a running index on some firmware and an internal number on other: never identity.
_S22 = struct.Struct("<2x6s4xBIB4x")
_S40 = struct.Struct("<2x24sBIBI4x")
_S49 = struct.Struct("<2x24sBIBI13x")


def _columns_8(records: bytes) -> _Columns:
    uids, verifies, packed, states = zip(*_S8.iter_unpack(records), strict=True)
    return _Columns(repeat(None), uids, packed, states, verifies, repeat(None))


def _columns_8_ma300(records: bytes) -> _Columns:
    uids, verifies, states, packed = zip(*_S8_MA300.iter_unpack(records), strict=True)
    return _Columns(repeat(None), uids, packed, states, verifies, repeat(None))


def _columns_16(records: bytes) -> _Columns:
    pins, packed, states, verifies, work_codes = zip(*_S16.iter_unpack(records), strict=True)
    return _Columns(map(str, pins), repeat(None), packed, states, verifies, map(str, work_codes))


def _columns_22(records: bytes) -> _Columns:
    fields, verifies, packed, states = zip(*_S22.iter_unpack(records), strict=True)
    return _Columns([*map(decode_pin, fields)], repeat(None), packed, states, verifies, repeat(None))


def _columns_text(layout: struct.Struct, records: bytes) -> _Columns:
    fields, verifies, packed, states, work_codes = zip(*layout.iter_unpack(records), strict=True)
    return _Columns([*map(decode_pin, fields)], repeat(None), packed, states, verifies, map(str, work_codes))


_punch = partial(tuple.__new__, RawPunch)
"""What ``RawPunch._make`` does, without a Python call for each of a hundred thousand records."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which terminals lay out a log record."""

    name: str
    stride: int
    columns: Callable[[bytes], _Columns]
    by_uid: bool = False
    index_width: int = 0
    """Bytes at the front that may differ between two readings of the same record."""

    def decode(self, records: bytes) -> list[Record]:
        """Decode a run of whole records, column by column: row by row takes twice as long."""
        if not records:
            return []
        columns = self.columns(records)
        moments = decode_times(columns.packed)
        raws = [records[at : at + self.stride] for at in range(0, len(records), self.stride)]
        rows = zip(
            columns.pins,
            columns.uids,
            moments,
            columns.states,
            columns.verifies,
            columns.work_codes,
            raws,
            strict=False,
        )
        if None in moments or (isinstance(columns.pins, list) and None in columns.pins):
            return [self._record(row, packed) for row, packed in zip(rows, columns.packed, strict=True)]
        return [*map(_punch, rows)]

    def _record(self, row: tuple[Any, ...], packed: int) -> Record:
        pin, uid, moment, *_, raw = row
        if moment is not None and (pin is not None or uid is not None):
            return RawPunch(*row)
        reason = (
            f"impossible date (packed time {packed:#010x})"
            if moment is None
            else "PIN is not 1 to 24 printable ASCII characters"
        )
        return BadRecord(raw, raw[self.index_width :], reason)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("40", 40, partial(_columns_text, _S40), index_width=2),
        # 2022 firmware: nine more bytes of unknown meaning behind the 40.
        Layout("49", 49, partial(_columns_text, _S49), index_width=2),
        # Wi-Fi models (AK3750, WL10): the 40 with a short PIN and no work code.
        Layout("22", 22, _columns_22, index_width=2),
        Layout("16", 16, _columns_16),
        Layout("8", 8, _columns_8, by_uid=True),
        Layout("8-ma300", 8, _columns_8_ma300, by_uid=True),
    )
}

ALIGNMENT = lcm(*(layout.stride for layout in LAYOUTS.values()))
"""Every so many bytes a record begins, whichever the layout."""
BLOCK = 512
"""Records decoded at a time."""


class Records:
    """The records in ``body``, decoded each time they are iterated, so that a log of millions of bytes stays bytes."""

    def __init__(self, body: bytes, layout: Layout) -> None:
        self._body = body
        self._layout = layout

    def __len__(self) -> int:
        return len(self._body) // self._layout.stride

    def __iter__(self) -> Iterator[Record]:
        whole = len(self) * self._layout.stride
        block = BLOCK * self._layout.stride
        for at in range(0, whole, block):
            yield from self._layout.decode(self._body[at : min(at + block, whole)])


_USUAL_STATES = frozenset((*range(6), 255))
_USUAL_VERIFY = frozenset(range(31))


def _plausibility(records: Iterable[Record]) -> float:
    """Score 0 to 1 how much decoded records look like punches: what a wrong layout cannot keep up over many rows."""
    # Counted in whole numbers: a rounded tenth must not decide between two layouts.
    points = rows = 0
    for record in records:
        rows += 1
        if isinstance(record, BadRecord):
            continue
        if record.local_time == FIRST_TIME:
            # Time 0 to the second is what padding reads as: a 16-byte record would be two perfect ones of 8 bytes.
            continue
        if 2005 <= record.local_time.year <= 2050:
            points += 12
        elif record.local_time.year == 2000:
            # A clock that was reset; but also what small numbers of any kind read as, such as a K40 sends for a log.
            points += 1
        if record.state in _USUAL_STATES:
            points += 4
        if record.verify in _USUAL_VERIFY:
            points += 2
        if record.work_code is None or len(record.work_code) <= 8:
            points += 2
    return points / (20 * rows) if rows else 0.0


SAMPLE_ROWS = 400
"""Rows judged when a layout is chosen, spread over what is known of the log."""
MAX_NEW_SINCE_COUNT = 64
"""Punches that may be made between the count and the read."""
MIN_PLAUSIBILITY = 0.75
"""What a log must look like that only its looks speak for: pairs of 8-byte records, read as 16 bytes, reach 0.7."""
MIN_PLAUSIBILITY_WITH_COUNT = 0.4
"""Enough where the number of records speaks for a layout too: also a log kept by a clock that nobody ever set."""
COUNT_BONUS = 0.1
INCUMBENT_MARGIN = 0.35
"""So much better than the layout found earlier must another read, unless the count can be its own only. A good log
differs by more (but for 16 bytes that become those of an MA300: they are refused); and one of 8 bytes with bad records,
reset clocks and odd codes can look better as one of 16.
"""
SMALL_LOG = 8


class Sample(NamedTuple):
    """What is known of a run of records while its layout is judged."""

    size: int
    """Bytes of the whole run."""
    pieces: Sequence[bytes | bytearray]
    """Parts of it, each from the beginning of a record on in every layout that is considered."""

    @classmethod
    def whole(cls, body: bytes | bytearray) -> "Sample":
        """Return the sample that leaves nothing out."""
        return cls(len(body), (body,))

    def plausibility(self, layout: Layout) -> float:
        """Score 0 to 1 how much these records, read as ``layout``, look like punches."""
        return _plausibility(self._rows(layout))

    def _rows(self, layout: Layout) -> Iterator[Record]:
        stride = layout.stride
        for piece in self.pieces:
            rows = len(piece) // stride
            for row in range(0, rows, max(1, rows * len(self.pieces) // SAMPLE_ROWS)):
                yield from layout.decode(bytes(piece[row * stride : (row + 1) * stride]))


def plausible(sample: Sample, layout: Layout) -> bool:
    """Tell whether the end of a log whose layout is known looks like punches; nothing at all does."""
    return not sample.size or sample.plausibility(layout) >= MIN_PLAUSIBILITY_WITH_COUNT


def layouts_for(size: int, count: int | None) -> list[Layout]:
    """Return the layouts that make ``size`` bytes ``count`` records; failing these, a few records more.

    A count of None, or of 0 where there are bytes, says nothing: then all that divide.
    """
    dividing = [layout for layout in LAYOUTS.values() if size % layout.stride == 0]
    if not count:
        return dividing
    exact = [layout for layout in dividing if size // layout.stride == count]
    return exact or [layout for layout in dividing if 0 < size // layout.stride - count <= MAX_NEW_SINCE_COUNT]


def choose_layout(sample: Sample, count: int | None, pinned: str | None = None, only: str | None = None) -> Layout:
    """Choose the layout of a whole log, without its prefix.

    Considered first is what makes ``count`` records, the number the terminal reported before the read, or a few more;
    then, as counts lie and 0 most of all, whatever divides. How the rows read decides, with something in favour of
    ``count`` to the unit and more of ``pinned`` (the layout found earlier). A person's word ``only`` leaves no other
    choice, but does not make anything fit either. Raises WireError where nothing fits: a layout is never guessed.
    """
    size = sample.size
    known = LAYOUTS.get(only or pinned or "")
    if size == 0:
        return known or LAYOUTS["40"]
    allowed = [LAYOUTS[only]] if only else LAYOUTS.values()
    # Between two layouts of one stride the one found earlier stays: bad records of the one may read well in the other.
    rivals = [layout for layout in LAYOUTS.values() if known and layout.stride == known.stride and layout is not known]
    dividing = [layout for layout in allowed if size % layout.stride == 0 and layout not in rivals]
    near = [layout for layout in dividing if count and 0 <= size // layout.stride - count <= MAX_NEW_SINCE_COUNT]
    exact = [layout for layout in near if size // layout.stride == count]
    # A handful of bad records must not hide behind their own badness when the numbers leave no doubt.
    proven = (
        len(exact) == 1
        and count
        and (exact[0].name == pinned or (count <= SMALL_LOG and not only and (known is None or known not in near)))
    )
    certain = exact[0] if proven else None
    bonuses = {layout.name: COUNT_BONUS * ((layout in exact) + (layout is known)) for layout in dividing}
    counted = {layout.name for layout in near if layout in exact or layout.name == pinned}
    # A count that could be that of the layout found earlier, and of a few punches since, proves no other.
    unproven = [layout for layout in dividing if layout is not known and (layout not in exact or known in near)]
    incumbent_threshold = INCUMBENT_MARGIN + sample.plausibility(known) if known in dividing else 0.0
    thresholds = {
        layout.name: MIN_PLAUSIBILITY_WITH_COUNT if layout.name in counted else MIN_PLAUSIBILITY for layout in dividing
    }
    thresholds |= {layout.name: max(thresholds[layout.name], incumbent_threshold) for layout in unproven}
    # Nor does so little without a count that fits overthrow the layout found earlier: bad records read as anything.
    fallback = known if known in dividing and size // known.stride <= SMALL_LOG and not only else None
    found = (
        _best(sample, near, bonuses, thresholds) or certain or fallback or _best(sample, dividing, bonuses, thresholds)
    )
    if found is None:
        tried = f"the layout {only} that is configured" if only else f"any of the layouts known ({', '.join(LAYOUTS)})"
        raise WireError(f"{size} bytes of log do not read as {tried}")
    return found


def _best(
    sample: Sample, layouts: list[Layout], bonuses: Mapping[str, float], thresholds: Mapping[str, float]
) -> Layout | None:
    """Return the most plausible of ``layouts`` whose score reaches its bar."""
    scores = {layout: sample.plausibility(layout) for layout in layouts}
    possible = [layout for layout in layouts if scores[layout] >= thresholds[layout.name]]
    return max(possible, key=lambda layout: scores[layout] + bonuses[layout.name], default=None)


def encode_record(
    layout: str,
    *,
    pin: str,
    uid: int,
    moment: datetime,
    state: int,
    verify: int,
    index: int,
    work_code: int = 0,
) -> bytes:
    """Encode one log record as a terminal with ``layout`` stores it; ValueError where a value does not fit.

    Layouts of 8 and 22 bytes have no work code; theirs is left out.
    """
    if not 0 <= work_code < 2**32:
        raise ValueError("a work code is a number of at most 32 bits")
    packed = encode_time(moment)
    match layout:
        case "8":
            return _S8.pack(uid, verify, packed, state)
        case "8-ma300":
            return _S8_MA300.pack(uid, verify, state, packed)
        case "22":
            record = _S22.pack(_text(pin, 6), verify, packed, state)
            return (index & USHRT_MAX).to_bytes(2, "little") + record[2:]
        case "16":
            return _S16.pack(_numeric(pin), packed, state, verify, work_code)
        case "40" | "49":
            index_field = (index & USHRT_MAX).to_bytes(2, "little")
            record = _S40.pack(_text(pin, 24), verify, packed, state, work_code)
            return (index_field + record[2:]).ljust(int(layout), b"\0")
    raise ValueError(f"no layout {layout!r}; known: {', '.join(LAYOUTS)}")


def _text(text: str, width: int) -> bytes:
    if len(text) > width or not text.isascii():
        raise ValueError(f"the PIN {text!r} does not fit into {width} ASCII characters")
    return text.encode("ascii").ljust(width, b"\0")


def _numeric(pin: str) -> int:
    number = int(pin) if pin.isascii() and pin.isdigit() else -1
    # A leading zero would be lost: such a terminal cannot hold such a PIN.
    if str(number) != pin or number > 0xFFFFFFFF:
        raise ValueError(f"the PIN {pin!r} does not fit: this layout holds numbers from 0 to 4294967295")
    return number


# --- live events --------------------------------------------------------------------------------------------------

EVENT_ID_WIDTH = {10: 2, 12: 4, 14: 2, 32: 24, 36: 24, 37: 24, 52: 24}
"""Length of a punch event → width of its user field."""


def decode_event(packet: Packet) -> RawPunch | Hint | None:
    """Decode an event (command 500); None where it is not about a punch.

    Events of 10 and 14 bytes carry the terminal's internal user number only, and unknown lengths carry who knows what:
    both are a :class:`Hint` to read the log.
    """
    if packet.session != EF_ATTLOG:
        return None
    data = packet.data
    width = EVENT_ID_WIDTH.get(len(data))
    if width is None:
        return Hint(f"event of unknown length {len(data)}")
    if width == 2:
        return Hint("event without a PIN")
    verify, state = data[width], data[width + 1]
    year, month, day, hour, minute, second = data[width + 2 : width + 8]
    try:
        moment = datetime(2000 + year, month, day, hour, minute, second)  # noqa: DTZ001 - wall clock without zone
    except ValueError:
        return Hint("event with an impossible date")
    if year > 99:
        return Hint("event with an impossible date")
    if width == 4:
        # The high nibble of the state byte says "valid" in the old form of this event (vendor manual of 2006).
        pin: str | None = str(int.from_bytes(data[:4], "little"))
        state &= 0x0F
    else:
        pin = decode_pin(data[:24])
    if pin is None:
        return Hint("event whose PIN cannot be read")
    return RawPunch(pin, None, moment, state, verify, None, data)


def encode_event(length: int, *, pin: str, uid: int, moment: datetime, state: int, verify: int) -> bytes:
    """Encode the data of a punch event as a terminal with events of ``length`` bytes sends it."""
    width = EVENT_ID_WIDTH[length]
    who = _text(pin, 24) if width == 24 else (_numeric(pin) if width == 4 else uid).to_bytes(width, "little")
    when = bytes((moment.year - 2000, moment.month, moment.day, moment.hour, moment.minute, moment.second))
    return (who + bytes((verify, state)) + when).ljust(length, b"\0")


# --- users --------------------------------------------------------------------------------------------------------

_USER_28 = struct.Struct("<H22xI")
_PIN_OFFSETS = {72: 48, 28: 24, 120: 96}
"""Length of a user record → where its PIN stands: a number in the shortest, text in the others."""
_PRIVILEGES = range(16)
"""One bit for "disabled", three for the level."""
_TEMPLATE_SLOT = 0x31
"""What stands in place of the privilege where a Wi-Fi model (AK3750) mixes its fingers into the table."""


def decode_pins(body: bytes) -> Mapping[int, str]:
    """Return internal user number → PIN from a user table without its prefix; names and passwords stay undecoded.

    Records have 72, 28 or 120 bytes: of the lengths under which most rows are users, the one under which most are.
    Slots that are empty or hold a finger are passed over. Raises WireError where no length fits: a wrong one would give
    punches to strangers.
    """
    if not body:
        return {}
    candidates = []
    for stride in _PIN_OFFSETS:
        if len(body) % stride == 0:
            users, others = _users(body, stride)
            candidates.append((len(users) / (len(users) + others or 1), users))
    share, pins = max(candidates, key=lambda candidate: candidate[0], default=(0.0, {}))
    if share <= 0.5:
        raise WireError(f"{len(body)} bytes of user table fit no user layout this version knows (28, 72, 120)")
    return pins


def _users(body: bytes, stride: int) -> tuple[dict[int, str], int]:
    """Return the users in rows of ``stride`` bytes, and how many rows there are that are none."""
    pins: dict[int, str] = {}
    others = 0
    for at in range(0, len(body), stride):
        row = body[at : at + stride]
        uid, privilege = int.from_bytes(row[:2], "little"), row[2]
        if privilege == _TEMPLATE_SLOT or not any(row):
            continue
        pin = _user_pin(row)
        # Number 0 means nobody, and no two users share one.
        if uid and uid not in pins and privilege in _PRIVILEGES and pin is not None:
            pins[uid] = pin
        else:
            others += 1
    return pins, others


def _user_pin(row: bytes) -> str | None:
    at = _PIN_OFFSETS[len(row)]
    if len(row) == 28:
        number = int.from_bytes(row[at : at + 4], "little")
        return str(number) if number else None
    return decode_pin(row[at : at + 24])


def encode_user(stride: int, *, uid: int, pin: str) -> bytes:
    """Encode a user without name or password, of 28, 72 or 120 bytes."""
    if stride == 28:
        return _USER_28.pack(uid, _numeric(pin))
    return struct.pack("<H46x24s" if stride == 72 else "<H94x24s", uid, _text(pin, 24))
