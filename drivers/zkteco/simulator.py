"""A ZKTeco terminal without the terminal: what it remembers, how it answers, and the real wire, TCP and UDP.

Three layers, each usable without the next::

    SimulatedTerminal   what the terminal remembers: log, users, clock, key; fingers are put on it with ``punch``
    Conversation        one client's exchange: a request packet gives the answer packets; no sockets
    Simulator           sockets and threads; the only place where packets become bytes is ``_Link``

Each layer asks the terminal's ``faults`` (:mod:`drivers.zkteco.faults`) what goes wrong just now.

``generate`` invents an office's log from a seed, and ``build`` puts a terminal together from the plain values of a
command line, its log invented or taken from a file that a terminal wrote to a flash disk.
"""

import random
import re
import select
import selectors
import socket
import struct
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from drivers.attlog.terminal import survey_export
from drivers.attlog.wire import NotAnExport
from drivers.base import BadRecord, RawPunch, TerminalUnavailable
from drivers.zkteco import layouts, wire
from drivers.zkteco.faults import TIME_AT, Drop, Faults, Wait
from drivers.zkteco.wire import Packet

# Commands that only a terminal needs to know: clients of ours never send them.
CMD_STARTVERIFY = 60
CMD_CANCELCAPTURE = 62
CMD_STATE_RRQ = 64
CMD_GET_PINWIDTH = 69
CMD_DISABLEDEVICE = 1003

STATE_IDENTIFY = 2
"""What a terminal at rest says it is doing: waiting to recognise somebody."""

SMALL = 1016
"""Longest body that is answered at once: with its header it fills the 1,024 bytes for which clients make room."""
TCP_DATA, UDP_DATA, DIRECT_DATA = 65528, 1024, 1008
"""Longest data of one packet: in a TCP chunk, in a datagram, in a read without buffer."""

_PREPARE = struct.Struct("<BHii")
_RANGE = struct.Struct("<BHII")
_READ = struct.Struct("<ii")


def _local_now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - a terminal's wall clock has no zone


# --- what the terminal remembers ----------------------------------------------------------------------------------


class SimulatedTerminal:
    """The memory of one terminal. Safe to use from several threads; attributes may be changed while it is served.

    The log is one run of encoded records, so that 100,000 of them cost 4 MB and no objects. A full log overwrites its
    oldest record: the count stays. ``now`` is the true local time; the terminal's own clock is off by ``clock_offset``.
    """

    def __init__(
        self,
        *,
        serial: str = "SIM0000000001",
        model: str = "Simulated F18",
        firmware: str = "Ver 6.60 Apr 26 2016",
        platform: str = "ZMM220_TFT",
        options: Mapping[str, str] | None = None,
        layout: str = "40",
        event_length: int = 32,
        capacity: int = 100_000,
        users: Mapping[int, str] | None = None,
        log: bytes = b"",
        comm_key: int = 0,
        clock_offset: timedelta = timedelta(0),
        now: Callable[[], datetime] = _local_now,
        one_conversation: bool = False,
        session: int = 0x1000,
    ) -> None:
        if layout not in layouts.LAYOUTS:
            raise ValueError(f"no layout {layout!r}; known: {', '.join(layouts.LAYOUTS)}")
        if event_length not in wire.EVENT_ID_WIDTH:
            lengths = ", ".join(map(str, wire.EVENT_ID_WIDTH))
            raise ValueError(f"no event of {event_length} bytes; known: {lengths}")
        if capacity < 1:
            raise ValueError(f"a log with room for {capacity} records; at least 1")
        self.serial = serial
        self.model = model
        self.firmware = firmware
        self.platform = platform
        self.options = dict(options or {})
        """Further options, by name; they win over the built-in ones."""
        self.layout = layout
        self.event_length = event_length
        self.capacity = capacity
        self.users = dict(users or {})
        """Internal user number → PIN, as enrolled now."""
        self.comm_key = comm_key
        """0: no key is asked for."""
        self.clock_offset = clock_offset
        self.one_conversation = one_conversation
        """A second CONNECT goes unanswered and its connection is closed, as small terminals do."""
        self.next_session = session
        self.enabled = True
        """False after DISABLEDEVICE: nobody can punch at a real terminal in that state."""
        self.commands: Counter[int] = Counter()
        """Every command ever received."""
        self.unusable_lines = 0
        """Lines of the file its log was taken from that were no punches."""
        self.refused_writes = 0
        """Commands that were refused because this terminal does not serve them: all that write, and unknown ones."""
        self._now = now
        self._lock = threading.RLock()
        self._log = bytearray()
        self._index = 0
        self._uids: dict[str, int] = {}
        self._conversations: set[Conversation] = set()
        self.user_stride = 28 if self.stride <= 16 else 72
        """Bytes of one record of the user table."""
        self.faults = Faults(self)
        """What goes wrong with this terminal just now."""
        self.append_raw(log)

    @property
    def stride(self) -> int:
        """Bytes of one log record."""
        return layouts.LAYOUTS[self.layout].stride

    @property
    def count(self) -> int:
        """Records in the log."""
        return len(self._log) // self.stride

    def log_body(self) -> bytes:
        """Return a copy of the log, oldest record first, without the prefix it has on the wire."""
        with self._lock:
            return bytes(self._log)

    def records(self) -> layouts.Records:
        """Return the log as it stands, decoded as it is iterated."""
        return layouts.Records(self.log_body(), layouts.LAYOUTS[self.layout])

    @property
    def conversations(self) -> int:
        """How many clients are connected (and know the key)."""
        return len(self._conversations)

    def clock(self) -> datetime:
        """Return what the terminal's own clock shows."""
        return (self._now() + self.clock_offset).replace(microsecond=0)

    def set_clock(self, moment: datetime) -> None:
        """Set the terminal's own clock."""
        with self._lock:
            self.clock_offset += moment - self.clock()

    def enrol(self, pin: str) -> int:
        """Return the internal number of ``pin``; enrol it under the lowest free one if need be.

        Raises ValueError where this terminal's user table cannot hold such a PIN.
        """
        with self._lock:
            uid = self._uid_for(pin)
            self._encode_user(uid, pin)
            self._store_user(uid, pin)
            return uid

    def append(self, pin: str, moment: datetime, state: int = 0, verify: int = 1, work_code: int = 0) -> None:
        """Add a record to the log without telling anybody: what lies in the log before a client comes.

        Otherwise as :meth:`punch`.
        """
        self._add(pin, moment.replace(microsecond=0), state, verify, work_code, notify=False)

    def punch(self, pin: str, state: int = 0, verify: int = 1, moment: datetime | None = None) -> datetime:
        """Put a finger on the terminal: a record in the log, and an event to everybody who asked for events.

        Somebody unknown is enrolled. ``moment`` is the terminal's clock unless given; it is returned. Waits for no
        client. Raises ValueError, and changes nothing, where a value does not fit this terminal's records.
        """
        moment = (moment or self.clock()).replace(microsecond=0)
        for later in (timedelta(0), *self.faults.repeats()):
            self._add(pin, moment + later, state, verify, 0, notify=True)
        return moment

    def append_raw(self, records: bytes) -> None:
        """Add whole records to the log as they are, however little sense they make; nobody is told."""
        if len(records) % self.stride:
            raise ValueError(f"{len(records)} bytes are not a whole number of {self.stride}-byte records")
        with self._lock:
            self._log += records
            self._index += len(records) // self.stride
            del self._log[: max(0, len(self._log) - self.capacity * self.stride)]

    def records_between(self, first: int, last: int) -> bytes:
        """Return the records whose packed time lies between two others, both included."""
        at = TIME_AT[self.layout]
        log = self.log_body()
        rows = (log[row : row + self.stride] for row in range(0, len(log), self.stride))
        return b"".join(row for row in rows if first <= int.from_bytes(row[at : at + 4], "little") <= last)

    def clear_log(self) -> None:
        """Empty the log, as somebody at the terminal's menu would; no command on the wire does this."""
        with self._lock:
            self._log.clear()

    def purge(self, records: int) -> None:
        """Drop the oldest ``records``."""
        with self._lock:
            del self._log[: records * self.stride]

    def change_layout(self, layout: str) -> None:
        """Keep the log in another layout from now on; ValueError, and no change, where a record does not fit it."""
        if layout not in layouts.LAYOUTS:
            raise ValueError(f"no layout {layout!r}; known: {', '.join(layouts.LAYOUTS)}")
        with self._lock:
            log = b""
            for index, record in enumerate(self.records(), 1):
                if isinstance(record, BadRecord):
                    raise ValueError("the log holds a bad record, which has no other layout")  # noqa: TRY004 - a value of ours, not of the caller's
                pin = record.pin or self.users.get(record.uid or 0, "0")
                code = int(record.work_code or 0)
                codes = record.state or 0, record.verify or 0, code
                log += self._encode(layout, pin, record.local_time, *codes, index)
            self.layout, self._log = layout, bytearray(log)

    def any_pin(self) -> str:
        """Return the PIN of somebody enrolled; nobody enrolled, 1001."""
        with self._lock:
            return next(iter(self.users.values()), "1001")

    def remove_user(self, pin: str) -> None:
        """Delete a person, whose records stay; ValueError where nobody has this PIN."""
        with self._lock:
            uid = next((uid for uid, enrolled in self.users.items() if enrolled == pin), None)
            if uid is None:
                raise ValueError(f"nobody is enrolled as {pin}")
            del self.users[uid]

    def encode(self, pin: str, moment: datetime) -> bytes:
        """Return what the log would hold for a punch, without adding it."""
        with self._lock:
            return self._encode(self.layout, pin, moment, 0, 1, 0, self._index + 1)

    def send_event(self, pin: str, moment: datetime, state: int = 0, verify: int = 1) -> None:
        """Tell of a punch to everybody who asked for events. Waits for no client."""
        uid = self._uid_for(pin)
        event = wire.encode_event(self.event_length, pin=pin, uid=uid, moment=moment, state=state, verify=verify)
        for client in self._queue(event):
            client.on_event()

    def forget(self) -> None:
        """Forget every conversation, as a power cut does: their connections stay as they are."""
        with self._lock:
            forgotten = list(self._conversations)
        for conversation in forgotten:
            conversation.close()

    def restart(self) -> None:
        """Forget every conversation and drop every connection; the log, the users and the clock stay."""
        with self._lock:
            dropped = list(self._conversations)
        for conversation in dropped:
            conversation.close()
            conversation.hang_up()

    def option(self, name: str) -> str | None:
        """Return the value of an option; None where the terminal has no such option."""
        built_in = {
            "~SerialNumber": self.serial,
            "~DeviceName": self.model,
            "~Platform": self.platform,
            "~OS": "1",
            "~OEMVendor": "ZKTeco",
            "~ZKFPVersion": "10",
            "~PIN2Width": "9",
            "WorkCode": "0",
        }
        return self.options.get(name, built_in.get(name))

    def _encode_user(self, uid: int, pin: str) -> bytes:
        if wire.decode_pin(pin.encode()) != pin:
            raise ValueError(f"{pin!r} is no PIN; 1 to 24 printable ASCII characters are")
        return wire.encode_user(self.user_stride, uid=uid, pin=pin)

    def _encode(
        self, layout: str, pin: str, moment: datetime, state: int, verify: int, work_code: int, index: int
    ) -> bytes:
        return layouts.encode_record(
            layout,
            pin=pin,
            uid=self._uid_for(pin),
            moment=moment,
            state=state,
            verify=verify,
            index=index,
            work_code=work_code,
        )

    def _uid_for(self, pin: str) -> int:
        known = self._uids.get(pin, 0)
        if self.users.get(known) == pin:
            return known
        for uid, enrolled in self.users.items():
            if enrolled == pin:
                return uid
        return next(number for number in range(1, len(self.users) + 2) if number not in self.users)

    def _store_user(self, uid: int, pin: str) -> None:
        # ``users`` is anybody's to change, so ``_uids`` is only a place to look first.
        self.users[uid] = pin
        self._uids[pin] = uid

    def _add(self, pin: str, moment: datetime, state: int, verify: int, work_code: int, *, notify: bool) -> None:
        if not 2000 <= moment.year <= 2099:
            raise ValueError(f"a terminal knows the years 2000 to 2099, not {moment.year}")
        if not (0 <= state <= 255 and 0 <= verify <= 255):
            raise ValueError("state and verify are numbers from 0 to 255")
        with self._lock:
            uid = self._uid_for(pin)
            # Everything is encoded before anything changes: a PIN that does not fit leaves no trace.
            self._encode_user(uid, pin)
            record = self._encode(self.layout, pin, moment, state, verify, work_code, self._index + 1)
            event = wire.encode_event(self.event_length, pin=pin, uid=uid, moment=moment, state=state, verify=verify)
            self._store_user(uid, pin)
            self.append_raw(record)
            # Queued here and sent outside the lock: events are in the order of the log, and nobody waits for a socket.
            receivers = self._queue(event) if notify else []
        for client in receivers:
            client.on_event()

    def _queue(self, event: bytes) -> "list[Conversation]":
        with self._lock:
            receivers = [client for client in self._conversations if client.listening]
            for client in receivers:
                client.events.extend(self.faults.events(Packet(wire.CMD_REG_EVENT, wire.EF_ATTLOG, 0, event)))
        return receivers

    # What follows is for Conversation only.

    def _count_command(self, command: int, *, refused: bool = False) -> None:
        with self._lock:
            self.commands[command] += not refused
            self.refused_writes += refused

    def _enter(self, conversation: "Conversation") -> bool:
        with self._lock:
            if self.one_conversation and self._conversations - {conversation}:
                return False
            self._conversations.add(conversation)
            return True

    def _leave(self, conversation: "Conversation") -> None:
        with self._lock:
            self._conversations.discard(conversation)

    def _new_session(self) -> int:
        with self._lock:
            session = self.next_session
            # Real ones count too; 0 is what a client has before it is given one.
            self.next_session = session % wire.USHRT_MAX + 1
            return session

    def _user_table(self) -> bytes:
        table = b""
        with self._lock:
            for uid, pin in self.users.items():
                with suppress(ValueError):  # whoever does not fit into such a record cannot be in such a table
                    table += self._encode_user(uid, pin)
        return table


# --- one client's exchange ----------------------------------------------------------------------------------------


class Conversation:
    """One client's exchange with ``terminal``: requests in, answers out, without sockets.

    ``data_limit`` is the longest data of one packet in a chunk. Events for a client that registered are put into
    ``events``, then ``on_event`` is called (from the thread that punched). ``hang_up`` drops the client's connection.
    """

    def __init__(
        self,
        terminal: SimulatedTerminal,
        *,
        data_limit: int = TCP_DATA,
        on_event: Callable[[], None] = lambda: None,
        hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.terminal = terminal
        self.on_event = on_event
        self.hang_up = hang_up
        self.events: deque[Packet] = deque()
        self.session = 0
        self.listening = False
        self.refused = False
        """The terminal does not want this client: whoever holds its connection closes it."""
        self._data_limit = data_limit
        self.skipped = False
        """The last piece that was asked for lies behind bytes of the buffer that were not."""
        self._connected = False
        self._buffer: bytes | None = None
        self._served_until = 0
        self._answers: dict[int, Callable[[Packet], list[Packet]]] = {
            wire.CMD_OPTIONS_RRQ: self._option,
            wire.CMD_GET_VERSION: lambda request: self._ok(request, self.terminal.firmware.encode() + b"\0"),
            wire.CMD_GET_TIME: lambda request: self._ok(
                request, struct.pack("<I", wire.encode_time(self.terminal.clock()))
            ),
            wire.CMD_SET_TIME: self._set_time,
            wire.CMD_GET_FREE_SIZES: self._sizes,
            wire.CMD_ENABLEDEVICE: self._enable,
            CMD_DISABLEDEVICE: self._enable,
            CMD_STATE_RRQ: lambda request: [Packet(wire.CMD_ACK_OK, STATE_IDENTIFY, request.reply)],
            CMD_GET_PINWIDTH: lambda request: self._ok(request, b"\x09"),
            CMD_STARTVERIFY: self._ok,
            CMD_CANCELCAPTURE: self._ok,
            wire.CMD_REFRESHDATA: self._ok,
            wire.CMD_REG_EVENT: self._register,
            wire.CMD_PREPARE_BUFFER: self._prepare,
            wire.CMD_READ_BUFFER: self._read,
            wire.CMD_FREE_DATA: self._free,
            wire.CMD_ATTLOG_RRQ: self._read_directly,
            wire.CMD_USERTEMP_RRQ: self._users_directly,
        }

    def answer(self, request: Packet) -> list[Packet]:
        """Return the answer to ``request``: usually one packet, none to an acknowledgement, several to a bulk read."""
        faults = self.terminal.faults
        return faults.answer(self, request, self._answer(request)) if faults.accepts(self, request) else []

    def _answer(self, request: Packet) -> list[Packet]:
        terminal = self.terminal
        terminal._count_command(request.command)  # noqa: SLF001 - the two classes share this file and its lock
        match request.command:
            case wire.CMD_ACK_OK:
                return []  # a client acknowledges an event; terminals wait for nothing
            case wire.CMD_CONNECT:
                return self._connect(request)
            case wire.CMD_AUTH:
                return self._authenticate(request)
        if not self._connected or request.session != self.session:
            return [Packet(wire.CMD_ACK_UNAUTH, request.session, request.reply)]
        if request.command == wire.CMD_EXIT:
            self.close()
            return self._ok(request)
        answer = self._answers.get(request.command)
        if answer is None:
            terminal._count_command(request.command, refused=True)  # noqa: SLF001 - see above
            return self._error(request)
        return answer(request)

    def close(self) -> None:
        """End the exchange: no more events, nothing buffered, room for another client. Harmless to repeat."""
        self._connected = self.listening = False
        self._buffer = None
        self.terminal._leave(self)  # noqa: SLF001 - see answer

    def _ok(self, request: Packet, data: bytes = b"") -> list[Packet]:
        return [Packet(wire.CMD_ACK_OK, self.session, request.reply, data)]

    def _error(self, request: Packet) -> list[Packet]:
        return [Packet(wire.CMD_ACK_ERROR, self.session, request.reply)]

    def _connect(self, request: Packet) -> list[Packet]:
        self.close()
        self.session = self.terminal._new_session()  # noqa: SLF001 - see answer
        if self.terminal.comm_key:
            return [Packet(wire.CMD_ACK_UNAUTH, self.session, request.reply)]
        return self._enter(request)

    def _authenticate(self, request: Packet) -> list[Packet]:
        # The third byte is the client's choice of tick; what else is in it must fit our key, session and that tick.
        key = self.terminal.comm_key
        proof = request.data[:4]
        right = len(proof) == 4 and proof == wire.scramble_comm_key(key, self.session, proof[2])
        if not self.session or request.session != self.session or (key and not right):
            return [Packet(wire.CMD_ACK_UNAUTH, request.session, request.reply)]
        return self._enter(request)

    def _enter(self, request: Packet) -> list[Packet]:
        if not self.terminal._enter(self):  # noqa: SLF001 - see answer
            self.refused = True
            return []
        self._connected = True
        return self._ok(request)

    def _option(self, request: Packet) -> list[Packet]:
        # Some clients end the name with NUL, some do not.
        name = request.data.partition(b"\0")[0].decode("latin-1")
        value = self.terminal.option(name)
        return self._error(request) if value is None else self._ok(request, f"{name}={value}\0".encode("latin-1"))

    def _set_time(self, request: Packet) -> list[Packet]:
        moment = wire.decode_time(int.from_bytes(request.data, "little")) if len(request.data) == 4 else None
        if moment is None:
            return self._error(request)
        self.terminal.set_clock(moment)
        return self._ok(request)

    def _sizes(self, request: Packet) -> list[Packet]:
        terminal = self.terminal
        return self._ok(
            request,
            wire.encode_sizes(
                records=terminal.faults.count(terminal.count), capacity=terminal.capacity, users=len(terminal.users)
            ),
        )

    def _enable(self, request: Packet) -> list[Packet]:
        self.terminal.enabled = request.command == wire.CMD_ENABLEDEVICE
        return self._ok(request)

    def _register(self, request: Packet) -> list[Packet]:
        self.listening = bool(int.from_bytes(request.data[:4], "little") & wire.EF_ATTLOG)
        return self._ok(request)

    def _prepare(self, request: Packet) -> list[Packet]:
        if len(request.data) != _PREPARE.size:
            return self._error(request)
        one, command, selector, _ = _PREPARE.unpack(request.data)
        if (one, command) == (1, wire.CMD_ATTLOG_RRQ):
            body = self.terminal.faults.table(_table(self.terminal.log_body()))
        elif (one, command, selector) == (1, wire.CMD_USERTEMP_RRQ, wire.FCT_USER):
            body = _table(self.terminal._user_table())  # noqa: SLF001 - see answer
        elif (one, command) == (1, wire.CMD_ATTLOG_BY_TIME) and self.terminal.stride >= 40:
            _, _, first, last = _RANGE.unpack(request.data)
            body = _table(self.terminal.faults.between(self.terminal.records_between(first, last)))
        else:
            return self._error(request)
        if len(body) <= SMALL:
            return [Packet(wire.CMD_DATA, self.session, request.reply, body)]
        self._buffer, self._served_until = body, 0
        return self._ok(request, struct.pack("<BIII", 0, len(body), len(body), 0))

    def _read(self, request: Packet) -> list[Packet]:
        if self._buffer is None or len(request.data) != _READ.size:
            return self._error(request)
        start, length = _READ.unpack(request.data)
        if start < 0 or length < 1 or start + length > len(self._buffer):
            return self._error(request)
        self.skipped = start > self._served_until
        if not self.skipped:
            self._served_until = max(self._served_until, start + length)
        return self.transfer(request, start, length)

    def transfer(self, request: Packet, start: int, length: int | None) -> list[Packet]:
        """Return ``length`` bytes of what is prepared, from byte ``start``, as an answer; None: all that follows."""
        body = (self._buffer or b"")[start : None if length is None else start + length]
        return self._transfer(request, body, self._data_limit)

    def _free(self, request: Packet) -> list[Packet]:
        self._buffer = None
        return self._ok(request)

    def _read_directly(self, request: Packet) -> list[Packet]:
        body = self.terminal.faults.table(_table(self.terminal.log_body()))
        return self._transfer(request, body, DIRECT_DATA)

    def _users_directly(self, request: Packet) -> list[Packet]:
        if request.data != wire.USER_LIST:
            return self._error(request)
        return self._transfer(request, _table(self.terminal._user_table()), DIRECT_DATA)  # noqa: SLF001 - see answer

    @staticmethod
    def _transfer(request: Packet, body: bytes, limit: int) -> list[Packet]:
        # The session field of a data packet is its place in the row; that of the closing one, how much was sent.
        prepare = Packet(wire.CMD_PREPARE_DATA, request.session, request.reply, struct.pack("<II", len(body), limit))
        data = [
            Packet(wire.CMD_DATA, index & wire.USHRT_MAX, request.reply, body[at : at + limit])
            for index, at in enumerate(range(0, len(body), limit))
        ]
        return [prepare, *data, Packet(wire.CMD_ACK_OK, len(body) & wire.USHRT_MAX, request.reply)]


def _table(records: bytes) -> bytes:
    return struct.pack("<I", len(records)) + records


# --- sockets ------------------------------------------------------------------------------------------------------

FAULT_POLL_S = 0.05
"""How often a pause that a fault makes looks whether the fault is still on."""
SEND_TIMEOUT_S = 10.0
"""How long a client may leave its socket full before it is given up."""
MAX_DATAGRAM_CLIENTS = 64
"""Datagram clients remembered; the longest silent one is forgotten first."""


class _Link:
    """One client as its socket sees it: the one place where packets become bytes, whatever is to be done to them."""

    def __init__(
        self,
        simulator: "Simulator",
        send: Callable[[bytes], None],
        hang_up: Callable[[], None] = lambda: None,
        *,
        udp: bool,
    ) -> None:
        self.conversation = Conversation(
            simulator.terminal, data_limit=UDP_DATA if udp else TCP_DATA, on_event=self._send_events, hang_up=hang_up
        )
        self._simulator = simulator
        self._faults = simulator.terminal.faults
        self._udp = udp
        self._send = send
        self._hang_up = hang_up
        self._lock = threading.Lock()

    def receive(self, packet: bytes) -> None:
        """Answer one packet of the client."""
        request = Packet.from_bytes(packet)
        with self._lock:
            answers = self.conversation.answer(request)
            if answers and self._faults.joins_events:
                events = self.conversation.events
                answers = [*(events.popleft() for _ in range(len(events))), *answers]
            self._transmit(request, answers)
        self._send_events()

    def _send_events(self) -> None:
        # Called by whoever punches: if an answer is being sent just now, its sender sends the events after it.
        events = self.conversation.events
        while events and not self._faults.joins_events and self._lock.acquire(blocking=False):
            try:
                while events:
                    self._transmit(None, [events.popleft()])
            except OSError:
                events.clear()
                self.conversation.close()
                self._hang_up()  # whatever arrives now would follow half an event
            finally:
                self._lock.release()

    def _transmit(self, request: Packet | None, packets: list[Packet]) -> None:
        """Send an answer, or events where there is no request; OSError where the connection is over."""
        if not packets:
            return
        faults = self._faults.on
        for step in self._faults.steps(request, self._frames(packets), udp=self._udp):
            match step:
                case Wait(seconds):
                    until = time.monotonic() + seconds
                    # A fault that is switched off holds nothing up any longer.
                    while (left_s := until - time.monotonic()) > 0 and self._faults.on == faults:
                        self._simulator._wait(min(left_s, FAULT_POLL_S))  # noqa: SLF001 - one thing in two classes
                case Drop():
                    raise ConnectionAbortedError("hung up on purpose")
                case bytes():
                    # Counted before it is sent: whoever has received it finds it counted.
                    self._simulator._count(sent=len(step))  # noqa: SLF001 - see above
                    self._send(step)

    def _frames(self, packets: list[Packet]) -> Iterator[bytes]:
        for packet in packets:
            self._simulator._count(packets=1)  # noqa: SLF001 - see above
            yield packet.to_bytes() if self._udp else packet.to_tcp()


class Simulator:
    """Serves a terminal over TCP and UDP on one port number while its ``with`` block lasts.

    Port 0 chooses a free one, found in ``port``. ``bytes_in``, ``bytes_out`` and ``packets`` (both directions) count
    what crossed the wire, top headers included. After the block no thread and no socket is left.
    """

    def __init__(self, terminal: SimulatedTerminal, host: str = "127.0.0.1", port: int = 0) -> None:
        self.terminal = terminal
        self.host = host
        self.port = port
        self.bytes_in = 0
        self.bytes_out = 0
        self.packets = 0
        self.bad_checksums = 0
        """Packets of clients whose checksum was wrong; they are answered all the same."""
        self._counting = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._random = random.Random(0)  # noqa: S311 - chooses who comes to work

    def __enter__(self) -> Self:
        """Open the port and serve; OSError where it is taken."""
        self._listener, self._datagrams = self._bind()
        self._stopping, self._stop = socket.socketpair()
        self.port = self._listener.getsockname()[1]
        self._server_threads = [self._start(self._accept), self._start(self._serve_datagrams)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()  # makes its other end readable, for every thread at once
        for thread in self._server_threads:
            thread.join()
        # Nobody new can come in now.
        for thread, connection in list(self._connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that is sending
            thread.join()
        for opened in (self._listener, self._datagrams, self._stopping):
            opened.close()

    @property
    def address(self) -> str:
        """``host:port``, as configurations write it."""
        return f"{self.host}:{self.port}"

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        attempts = 1 if self.port else 50
        for attempt in range(attempts):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self.host, self.port))
                datagrams.bind((self.host, listener.getsockname()[1]))
                listener.listen()
            except OSError:
                listener.close()
                datagrams.close()
                if attempt == attempts - 1:
                    raise
            else:
                return listener, datagrams
        raise AssertionError("unreachable")  # pragma: no cover - the last attempt raises or returns

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name=f"simulator {self.terminal.serial}", daemon=True)
        thread.start()
        return thread

    def _count(self, *, received: int = 0, sent: int = 0, packets: int = 0, bad: bool = False) -> None:
        with self._counting:
            self.bad_checksums += bad
            self.bytes_in += received
            self.bytes_out += sent
            self.packets += packets

    def _wait(self, seconds: float) -> None:
        """Wait, but not for longer than the simulator runs; ConnectionAbortedError when it stops."""
        ready, _, _ = select.select((self._stopping,), (), (), seconds)
        if ready:
            raise ConnectionAbortedError("the simulator stops")

    def _whenever_readable(self, watched: socket.socket) -> Iterator[None]:
        """Yield each time there is something to read, until the simulator stops."""
        with selectors.DefaultSelector() as selector:
            selector.register(watched, selectors.EVENT_READ)
            stop = selector.register(self._stopping, selectors.EVENT_READ)
            while stop not in (key for key, _ in selector.select()):
                yield

    def _accept(self) -> None:
        self._listener.setblocking(False)
        for _ in self._whenever_readable(self._listener):
            try:
                connection, _address = self._listener.accept()
            except OSError:
                continue  # it went away again before we got to it
            # Only this thread, and after its end the one that stops, touches the table.
            self._connections = {thread: opened for thread, opened in self._connections.items() if thread.is_alive()}
            self._connections[self._start(self._serve_connection, connection)] = connection

    def _serve_connection(self, connection: socket.socket) -> None:
        connection.settimeout(SEND_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def hang_up() -> None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        link = _Link(self, connection.sendall, hang_up, udp=False)
        reader = wire.StreamReader()
        try:
            for _ in self._whenever_readable(connection):
                received = connection.recv(65536)
                if not received:
                    break
                self._count(received=len(received))
                for packet in reader.feed(received):
                    self._count(packets=1, bad=not wire.checksum_holds(packet))
                    link.receive(packet)
                if link.conversation.refused:
                    break
        except (OSError, wire.WireError):
            pass  # a client that leaves in mid-sentence, or speaks something else: a terminal hangs up
        finally:
            link.conversation.close()
            connection.close()

    def _serve_datagrams(self) -> None:
        self._datagrams.settimeout(SEND_TIMEOUT_S)
        links: OrderedDict[tuple[str, int], _Link] = OrderedDict()
        for _ in self._whenever_readable(self._datagrams):
            try:
                packet, address = self._datagrams.recvfrom(65536)
            except OSError:
                continue  # the system reports here that an earlier answer reached nobody
            self._count(received=len(packet), packets=1, bad=not wire.checksum_holds(packet))
            link = links.pop(address, None) or _Link(self, self._sender(address), udp=True)
            links[address] = link
            if len(links) > MAX_DATAGRAM_CLIENTS:
                links.popitem(last=False)[1].conversation.close()
            with suppress(OSError, wire.WireError):
                link.receive(packet)
        for link in links.values():
            link.conversation.close()

    def _sender(self, address: tuple[str, int]) -> Callable[[bytes], None]:
        def send(datagram: bytes) -> None:
            self._datagrams.sendto(datagram, address)

        return send

    # --- a person at the keyboard ---------------------------------------------------------------------------------

    def control(self, line: str) -> str:
        """Carry out one typed command and say in a sentence what happened, or what would have been right."""
        try:
            match line.split():
                case ["punch", pin]:
                    return self._typed_punch(pin)
                case ["punch", pin, state]:
                    return self._typed_punch(pin, _number(state))
                case ["punch", pin, state, verify]:
                    return self._typed_punch(pin, _number(state), _number(verify))
                case ["rush", how_many]:
                    return self._rush(_number(how_many))
                case ["clock", change]:
                    return self._clock(change)
                case ["status"]:
                    return self._status()
                case ["faults"]:
                    return self.terminal.faults.listing()
                case ["fault", order]:
                    return self.terminal.faults.switch_on(order)
                case ["fault", name, "off"]:
                    return self.terminal.faults.switch_off(name)
                case [] | ["help"]:
                    return HELP
                case _:
                    return f"That is no command. {HELP}"
        except ValueError as error:
            return f"Not done: {error}."

    def _typed_punch(self, pin: str, state: int = 0, verify: int = 1) -> str:
        moment = self.terminal.punch(pin, state, verify)
        return f"{pin} punched at {moment:%Y-%m-%d %H:%M:%S} (state {state}, verify {verify})."

    def _rush(self, wanted: int) -> str:
        people = sorted(self.terminal.users.values())
        if not people or not 0 < wanted <= 100_000:
            raise ValueError("a rush needs somebody enrolled, and 1 to 100000 punches")
        rounds, rest = divmod(wanted, len(people))
        for pin in people * rounds + self._random.sample(people, rest):
            self.terminal.punch(pin)
        return f"{wanted} punches made; the log holds {self.terminal.count}."

    def _clock(self, change: str) -> str:
        terminal = self.terminal
        try:
            if match := re.fullmatch(r"([+-][0-9]{1,9})([smhd])", change):
                moved = terminal.clock() + timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
            else:
                moved = datetime.fromisoformat(change).replace(tzinfo=None)
        except (ValueError, OverflowError):
            raise ValueError(f"{change!r} is no time; write +7m, -30s or 2000-01-01T00:00:00") from None
        if not 2000 <= moved.year <= 2099:
            raise ValueError("a terminal's clock knows the years 2000 to 2099")
        terminal.set_clock(moved)
        return f"The clock shows {terminal.clock():%Y-%m-%d %H:%M:%S}, {self._offset()}."

    def _offset(self) -> str:
        offset = round(self.terminal.clock_offset.total_seconds())
        return f"{abs(offset)} s {'ahead' if offset > 0 else 'behind'}" if offset else "on time"

    def _status(self) -> str:
        terminal = self.terminal
        return (
            f"Terminal {terminal.serial} at {self.address}: {terminal.count} of {terminal.capacity} records "
            f"(layout {terminal.layout}), {len(terminal.users)} people, clock {terminal.clock():%Y-%m-%d %H:%M:%S} "
            f"({self._offset()}), {terminal.conversations} clients, "
            f"{self.bytes_in} bytes in, {self.bytes_out} bytes out."
        )


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise ValueError(f"{word!r} is no number")
    return int(word)


HELP = (
    "Commands: punch PIN [STATE] [VERIFY], rush N, clock +7m | -30s | 2000-01-01T00:00:00, status, "
    "faults, fault NAME[=VALUE], fault NAME off, help."
)


# --- logs to serve ------------------------------------------------------------------------------------------------


class Generated(NamedTuple):
    """An invented office: its people and what they left in the log."""

    users: dict[int, str]
    log: bytes


def generate(seed: int, records: int, people: int, end: datetime, layout: str = "40") -> Generated:
    """Invent the last ``records`` punches, up to ``end``, of an office with ``people`` people; same seed, same office.

    They come on working days between 06:45 and 08:15, leave between 15:45 and 17:30, some go out at midday, some
    forget, some press twice. The log is in the order of time. Raises ValueError where so few people would have needed
    to begin before the year 2000.
    """
    if people < 1 or records < 0:
        raise ValueError("an office needs at least one person and a log no negative number of records")
    chance = random.Random(seed)  # noqa: S311 - an office, not a secret
    users = {uid: str(1000 + uid) for uid in range(1, people + 1)}
    habits = {uid: (chance.uniform(0.1, 0.8), 15 if chance.random() < 0.15 else 1) for uid in users}
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    days: list[list[tuple[datetime, int, int, int]]] = []
    missing = records
    while missing > 0:
        if midnight.year < 2000:
            raise ValueError(f"{people} people do not make {records} punches since the year 2000")
        if midnight.weekday() < 5:
            day = [
                (midnight + timedelta(seconds=second), uid, state, habits[uid][1])
                for second, uid, state in _working_day(chance, habits)
            ]
            # Sorted by time alone: people in the same second stay in the order they came in.
            day = sorted((punch for punch in day if punch[0] <= end), key=lambda punch: punch[0])[-missing:]
            days.append(day)
            missing -= len(day)
        midnight -= timedelta(days=1)
    punches = [punch for day in reversed(days) for punch in day]
    log = b"".join(
        layouts.encode_record(layout, pin=users[uid], uid=uid, moment=moment, state=state, verify=verify, index=index)
        for index, (moment, uid, state, verify) in enumerate(punches, 1)
    )
    return Generated(users, log)


def _working_day(chance: random.Random, habits: Mapping[int, tuple[float, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield (second of the day, uid, state) of everybody's punches, in no particular order."""
    morning, midday, afternoon = (24300, 29700), (42300, 47700), (56700, 63000)
    for uid, (lateness, _) in habits.items():
        if chance.random() < 0.06:
            continue  # leave, illness, a field trip
        if chance.random() < 0.97:
            second = int(chance.triangular(*morning, morning[0] + lateness * (morning[1] - morning[0])))
            yield second, uid, 0
            if chance.random() < 0.03 and second + 5 <= morning[1]:
                yield second + chance.randint(2, 5), uid, 0
        if chance.random() < 0.12:
            out = chance.randint(midday[0], midday[1] - 2400)
            yield out, uid, 2
            yield out + chance.randint(900, 2400), uid, 3
        if chance.random() < 0.95:
            yield int(chance.triangular(*afternoon, afternoon[0] + 1800)), uid, 1


def build(
    *,
    serial: str = "SIM0000000001",
    layout: str = "40",
    people: int = 50,
    records: int = 0,
    seed: int = 1,
    attlog: Path | None = None,
    comm_key: int = 0,
    clock_offset_s: float = 0,
    capacity: int = 100_000,
    event_length: int = 32,
    one_conversation: bool = False,
    now: Callable[[], datetime] = _local_now,
) -> SimulatedTerminal:
    """Put a terminal together from plain values: its log invented from ``seed``, or taken from the file ``attlog``.

    Raises ValueError with a sentence for the person who chose the values.
    """
    offset = timedelta(seconds=clock_offset_s)
    office = Generated({}, b"") if attlog else generate(seed, records, people, now() + offset, layout)
    terminal = SimulatedTerminal(
        serial=serial,
        layout=layout,
        event_length=event_length,
        capacity=capacity,
        users=office.users,
        log=office.log,
        comm_key=comm_key,
        clock_offset=offset,
        one_conversation=one_conversation,
        now=now,
    )
    if attlog:
        try:
            export = survey_export(attlog)
        except (NotAnExport, TerminalUnavailable) as exc:
            raise ValueError(f"{attlog} holds no punches of a terminal: {exc}") from exc
        for punch in export.records():
            if isinstance(punch, RawPunch):
                work_code = int(punch.work_code) if punch.work_code and punch.work_code.isdecimal() else 0
                terminal.append(punch.pin or "", punch.local_time, punch.state or 0, punch.verify or 0, work_code)
        terminal.unusable_lines = export.lines - export.punches
    return terminal
