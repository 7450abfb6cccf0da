"""The memory of a simulated ZKTeco terminal: log, users, clock, key, options; no packets and no sockets."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from drivers.base import BadRecord
from drivers.zkteco import layouts, wire
from drivers.zkteco.layouts import LAYOUTS
from drivers.zkteco.simulator.hooks import Client, Hooks
from drivers.zkteco.wire import Packet

TIME_AT = {"8": 3, "8-ma300": 4, "16": 4, "22": 13, "40": 27, "49": 27}
"""Offset of the packed time in a record of each layout."""


def local_now() -> datetime:
    """Return this computer's local time."""
    return datetime.now()  # noqa: DTZ005 - a terminal's wall clock has no zone


class Memory:
    """The memory of one terminal. Safe to use from several threads; attributes may be changed while it is served.

    The log is one byte string of encoded records, so that 100,000 of them take 4 MB and no objects. A full log
    overwrites its oldest record: the count stays. ``now`` is the true local time; the terminal's own clock is off by
    ``clock_offset``. :meth:`count_command`, :meth:`admit`, :meth:`dismiss`, :meth:`new_session` and :meth:`user_table`
    are for conversations.
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
        now: Callable[[], datetime] = local_now,
        one_conversation: bool = False,
        session: int = 0x1000,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"no layout {layout!r}; known: {', '.join(LAYOUTS)}")
        if event_length not in wire.EVENT_ID_WIDTH:
            lengths = ", ".join(map(str, wire.EVENT_ID_WIDTH))
            raise ValueError(f"no event of {event_length} bytes; known: {lengths}")
        if capacity < 1:
            raise ValueError(f"a log with room for {capacity} records; at least 1")
        self.serial, self.model = serial, model
        self.firmware, self.platform = firmware, platform
        self.options = dict(options or {})
        """More options, by name; they replace the built-in ones."""
        self.layout = layout
        self.event_length = event_length
        self.capacity = capacity
        self.users = dict(users or {})
        """Internal user number → current PIN."""
        self.comm_key = comm_key
        """0: no key is required."""
        self.clock_offset = clock_offset
        self.one_conversation = one_conversation
        """A second CONNECT gets no answer and its connection is closed, as small terminals do."""
        self.next_session = session
        self.enabled = True
        """False after DISABLEDEVICE: a real terminal accepts no punch in that state."""
        self.commands: Counter[int] = Counter()
        """All commands received."""
        self.unusable_lines = 0
        """Lines that are no punches, in the file from which the log was taken."""
        self.refused_writes = 0
        """Commands refused because this terminal does not serve them: all that write, and unknown ones."""
        self._now = now
        self._lock = threading.RLock()
        self._log = bytearray()
        self._index = 0
        self._uids: dict[str, int] = {}
        self._conversations: set[Client] = set()
        self.user_stride = 28 if self.stride <= 16 else 72
        """Bytes of one record of the user table."""
        self.hooks = self.make_hooks()
        self.append_raw(log)

    def make_hooks(self) -> Hooks:
        """Return the changes to the behaviour; called once, at the end of the construction."""
        return Hooks()

    @property
    def stride(self) -> int:
        """Bytes of one log record."""
        return LAYOUTS[self.layout].stride

    @property
    def count(self) -> int:
        """Records in the log."""
        return len(self._log) // self.stride

    def log_body(self) -> bytes:
        """Return a copy of the log, oldest record first, without the prefix that it has on the wire."""
        with self._lock:
            return bytes(self._log)

    def records(self) -> layouts.Records:
        """Return the present log, decoded while it is iterated."""
        return layouts.Records(self.log_body(), LAYOUTS[self.layout])

    @property
    def conversations(self) -> int:
        """Number of clients that are connected (and know the key)."""
        return len(self._conversations)

    def clock(self) -> datetime:
        """Return the time that the terminal's own clock shows."""
        return (self._now() + self.clock_offset).replace(microsecond=0)

    def set_clock(self, moment: datetime) -> None:
        """Set the terminal's own clock."""
        with self._lock:
            self.clock_offset += moment - self.clock()

    def enrol(self, pin: str) -> int:
        """Return the internal number of ``pin``; a new PIN is enrolled under the lowest free one.

        Raises ValueError where this terminal's user table cannot hold such a PIN.
        """
        with self._lock:
            uid = self._uid_for(pin)
            self._encode_user(uid, pin)
            self._store_user(uid, pin)
            return uid

    def append(self, pin: str, moment: datetime, state: int = 0, verify: int = 1, work_code: int = 0) -> None:
        """Add a record to the log without an event; otherwise as :meth:`punch`."""
        self._add(pin, moment.replace(microsecond=0), state, verify, work_code, notify=False)

    def punch(self, pin: str, state: int = 0, verify: int = 1, moment: datetime | None = None) -> datetime:
        """Record a punch and send an event to every client that is registered for events; return its time.

        An unknown PIN is enrolled. ``moment`` defaults to the terminal's clock. Waits for no client. Raises ValueError,
        and changes nothing, where a value does not fit this terminal's records.
        """
        moment = (moment or self.clock()).replace(microsecond=0)
        for later in (timedelta(0), *self.hooks.repeats()):
            self._add(pin, moment + later, state, verify, 0, notify=True)
        return moment

    def append_raw(self, records: bytes) -> None:
        """Add whole records to the log unchanged and unchecked, without an event."""
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
        """Empty the log, as the terminal's menu does; no command on the wire does this."""
        with self._lock:
            self._log.clear()

    def purge(self, records: int) -> None:
        """Drop the oldest ``records``."""
        with self._lock:
            del self._log[: records * self.stride]

    def change_layout(self, layout: str) -> None:
        """Convert the log to another layout and keep it; ValueError, and no change, where a record does not fit it."""
        if layout not in LAYOUTS:
            raise ValueError(f"no layout {layout!r}; known: {', '.join(LAYOUTS)}")
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
        """Return the PIN of an enrolled person; 1001 where none is enrolled."""
        with self._lock:
            return next(iter(self.users.values()), "1001")

    def remove_user(self, pin: str) -> None:
        """Delete a person, whose records stay; ValueError for an unknown PIN."""
        with self._lock:
            uid = next((uid for uid, enrolled in self.users.items() if enrolled == pin), None)
            if uid is None:
                raise ValueError(f"no person is enrolled as {pin}")
            del self.users[uid]

    def encode(self, pin: str, moment: datetime) -> bytes:
        """Return the record of a punch, without adding it."""
        with self._lock:
            return self._encode(self.layout, pin, moment, 0, 1, 0, self._index + 1)

    def send_event(self, pin: str, moment: datetime, state: int = 0, verify: int = 1) -> None:
        """Send the event of a punch to every client that is registered for events. Waits for no client."""
        uid = self._uid_for(pin)
        event = wire.encode_event(self.event_length, pin=pin, uid=uid, moment=moment, state=state, verify=verify)
        for client in self._queue(event):
            client.on_event()

    def forget(self) -> None:
        """End every conversation, as a power cut does; the connections stay open."""
        with self._lock:
            forgotten = list(self._conversations)
        for conversation in forgotten:
            conversation.close()

    def restart(self) -> None:
        """End every conversation and drop every connection; the log, the users and the clock stay."""
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
        # ``users`` may be changed from outside, so ``_uids`` is only searched first.
        self.users[uid] = pin
        self._uids[pin] = uid

    def _add(self, pin: str, moment: datetime, state: int, verify: int, work_code: int, *, notify: bool) -> None:
        if not 2000 <= moment.year <= 2099:
            raise ValueError(f"a terminal knows the years 2000 to 2099, not {moment.year}")
        if not (0 <= state <= 255 and 0 <= verify <= 255):
            raise ValueError("state and verify are numbers from 0 to 255")
        with self._lock:
            uid = self._uid_for(pin)
            # Everything is encoded before anything changes: a PIN that does not fit changes nothing.
            self._encode_user(uid, pin)
            record = self._encode(self.layout, pin, moment, state, verify, work_code, self._index + 1)
            event = wire.encode_event(self.event_length, pin=pin, uid=uid, moment=moment, state=state, verify=verify)
            self._store_user(uid, pin)
            self.append_raw(record)
            # Queued here and sent outside the lock: events are in the order of the log, and no punch waits for one.
            receivers = self._queue(event) if notify else []
        for client in receivers:
            client.on_event()

    def _queue(self, event: bytes) -> list[Client]:
        with self._lock:
            receivers = [client for client in self._conversations if client.listening]
            for client in receivers:
                client.events.extend(self.hooks.events(Packet(wire.CMD_REG_EVENT, wire.EF_ATTLOG, 0, event)))
        return receivers

    def count_command(self, command: int, *, refused: bool = False) -> None:
        """Count a command that was received, or one that was refused."""
        with self._lock:
            self.commands[command] += not refused
            self.refused_writes += refused

    def admit(self, client: Client) -> bool:
        """Add a conversation; return False where this terminal has another and can have only one."""
        with self._lock:
            if self.one_conversation and self._conversations - {client}:
                return False
            self._conversations.add(client)
            return True

    def dismiss(self, client: Client) -> None:
        """Remove a conversation."""
        with self._lock:
            self._conversations.discard(client)

    def new_session(self) -> int:
        """Return the next session number."""
        with self._lock:
            session = self.next_session
            # Real ones count too; a client has 0 before it gets one.
            self.next_session = session % wire.USHRT_MAX + 1
            return session

    def user_table(self) -> bytes:
        """Return the records of the user table, without its prefix."""
        table = b""
        with self._lock:
            for uid, pin in self.users.items():
                with suppress(ValueError):  # a PIN that does not fit into such a record cannot be in such a table
                    table += self._encode_user(uid, pin)
        return table
