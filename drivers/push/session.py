"""The state of one terminal that speaks PUSH: what it is answered, and what it was requested to do. No I/O.

A :class:`Session` is the handler of a terminal's requests. Punches leave it as a :class:`Batch`, whose reply is sent
after they are stored: a terminal that gets it forgets them. Everything else is answered at once.
"""

import hmac
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from threading import Lock
from typing import NamedTuple
from zoneinfo import ZoneInfo

from drivers.base import Notice, RawPunch, Record
from drivers.push import wire
from drivers.push.clock import LiveClock
from drivers.receiver.http import Reply, Request
from drivers.receiver.registry import Body, Exchange

PUNCHES_BYTES = 16 * 1024 * 1024
"""Longest upload of punches. Of a long line only the beginning is kept: a broken one must not block the others."""
KEPT_BYTES = 4 * 1024 * 1024
"""Memory for the records of one upload, at most; a real one has 200 punches and 10 KB."""
RECORD_BYTES = 100
"""What a record takes beside its bytes."""
DRAINED_BYTES = 32 * 1024 * 1024
"""Longest upload that is discarded."""
PUNCHES_S = 30.0
DRAINED_S = 120.0
COMMAND_S = 600.0
"""A command without a result for this time has failed."""
RESEND_S = 120.0
"""A command is sent again where the terminal continues to poll without its result for this time."""
SAME_ADDRESS_S = 2.0 * wire.DELAY_S
"""After this time without a request from its address, a terminal may call from another."""
REPEATS_S = 120.0
REPEATS = 3
"""An upload that is acknowledged and arrives so often within :data:`REPEATS_S` shows that the form of the answer is
not the one its terminal expects."""
TEMPORARY = frozenset((-1001, -1003, -1005))
"""Results of a terminal that is full, too late or busy now: another day the same command may succeed."""
UNKNOWN_MAX = 20
"""Names of unknown tables that are remembered for one terminal."""

OK = Reply(200, b"OK")
REFUSED = Reply(503)
NOT_FOUND = Reply(404)


class Batch(NamedTuple):
    """The punches of one upload."""

    records: list[Record]
    mark: tuple[str, str] | None
    """Name and text of the terminal's stamp, to be stored with the records."""
    reply: Reply
    """It may be sent after the records are stored."""
    acknowledged: tuple[str, bytes]
    """Name of the table and digest of the upload."""
    answers: "Command | None" = None
    """The command that it answers."""


@dataclass(eq=False, slots=True)
class Command:
    """A request to the terminal, which gets it as the answer to one of its polls."""

    verb: str
    first: datetime
    last: datetime
    queued_s: float
    number: int = 0
    sent_s: float | None = None
    result: wire.Result | None = None
    stored: Counter[bytes] = field(default_factory=Counter)
    """Records of the span that were stored while it was outstanding, each as often as one upload had it at most."""
    is_over: bool = False
    """Whether nothing more is expected of it."""

    @property
    def lines(self) -> int:
        """Number of records of the span that are stored; what was refused and sent again counts once."""
        return self.stored.total()


@dataclass(slots=True)
class _Address:
    address: str
    last_s: float


@dataclass(slots=True)
class Counters:
    """What arrived from the terminal and was discarded; for status and tests."""

    tables: Counter[str] = field(default_factory=Counter)
    """Name of a table → uploads of it."""
    questions: int = 0
    """Requests for data of a person, which are answered without any."""


class Session:
    """One terminal, as long as the gateway serves it. The loop of the receiver calls :meth:`begin`; thread-safe."""

    def __init__(
        self,
        serial: str,
        zone: ZoneInfo,
        *,
        deliver: Callable[[Batch, Exchange], bool],
        notice: Callable[[Notice], None],
        wake: Callable[[], None] = lambda: None,
        silence_s: float = 75.0,
        monotonic_s: Callable[[], float],
        trusted_now: Callable[[], datetime | None],
        first_number: int = 1,
        sets_clock: bool = False,
    ) -> None:
        """``deliver`` receives a batch and where its reply goes; False where too many wait already.

        ``wake`` is called when a command is over, and at the first call after ``silence_s`` seconds without one.

        ``trusted_now`` is this computer's time, None while it is not synchronised. ``first_number`` numbers the first
        command; it differs from the numbers of an earlier process, whose results may still arrive.
        """
        self.options = wire.Options()
        """What the terminal reported of itself."""
        self.clock = LiveClock(zone)
        self.counters = Counters()
        self.last_call_s: float | None = None
        self._serial = serial
        self._zone = zone
        self._deliver = deliver
        self._notice = notice
        self._wake = wake
        self._silence_s = silence_s
        self._monotonic_s = monotonic_s
        self._trusted_now = trusted_now
        self._number = first_number
        self._comm_key: str | None = None
        self._key_is_known = False
        self._sets_clock = sets_clock
        self._lock = Lock()
        self._marks: dict[str, str] | None = None
        self._key_shown_by: str | None = None
        """Address that has shown the communication key."""
        self._address: _Address | None = None
        self._command: Command | None = None
        self._unsupported: set[str] = set()
        """Commands that the terminal answered with an error."""
        self._unknown: set[str] = set()
        self._acknowledged: dict[str, deque[tuple[bytes, float]]] = {}
        """Table → digests of acknowledged uploads of the last minutes."""
        self._plain_acks: set[str] = set()
        """Tables whose uploads are answered with OK alone."""
        self._has_begun = False
        """The terminal has received its options, or was requested to fetch them."""
        self._registered = False
        self._is_security = False
        """The terminal speaks the security dialect, in which nothing is requested."""

    # Called by the worker.

    def resume(self, marks: Mapping[str, str]) -> None:
        """Receive the stored stamps, without which no terminal is answered: 0 would make it send everything."""
        with self._lock:
            self._marks = dict(marks)

    def allow(self, comm_key: str | None) -> None:
        """Receive the configured communication key, before which no terminal is answered; None: none is required."""
        with self._lock:
            self._comm_key, self._key_is_known = comm_key, True

    def stored(self, batch: Batch) -> None:
        """Take over the stamp of a stored batch; the terminal gets it when it next begins."""
        with self._lock:
            if batch.mark is not None and self._marks is not None:
                self._marks[batch.mark[0]] = batch.mark[1]
            if batch.answers is not None:
                batch.answers.stored |= Counter(record.raw for record in batch.records)
        self._note_acknowledged(*batch.acknowledged)

    def request(self, verb: str, first: datetime, last: datetime) -> Command | None:
        """Make a request; None where one is outstanding, or the terminal does not support it."""
        with self._lock:
            outstanding = self._command is not None and not self._command.is_over
            if outstanding or self._is_security or verb in self._unsupported:
                return None
            self._command = Command(verb, first, last, self._monotonic_s(), self._number)
            self._number += 1
            return self._command

    def expire(self) -> None:
        """End a command that has waited too long for its result."""
        with self._lock:
            command = self._command
            if command is not None and self._monotonic_s() - command.queued_s > COMMAND_S:
                command.is_over = True

    # Called by the receiver's loop.

    def begin(self, request: Request, exchange: Exchange) -> Reply | Body:
        """Answer a request, or return what takes its body."""
        now_s = self._monotonic_s()
        before_s, self.last_call_s = self.last_call_s, now_s
        if before_s is None or now_s - before_s > self._silence_s:
            self._wake()
        if self._is_elsewhere(request.peer, now_s):
            return REFUSED
        self.clock.contact(before_s, now_s)
        with self._lock:
            if self._marks is None or not self._key_is_known:
                return REFUSED
        match request.method, request.resource:
            case "GET" | "HEAD", "cdata":
                return self._cdata(request)
            case "GET" | "HEAD", "getrequest":
                return self._poll(request)
            case "GET" | "HEAD", "rtdata":
                return self._time(request)
            case "POST", "cdata" | "fdata" | "querydata":
                return self._upload(request, exchange)
            case "POST", "devicecmd":
                return _Kept(wire.MAX_OPTIONS, self._results) if self._key_is_shown(request) else REFUSED
            case "POST", "registry":
                return self._registry(request)
            case _, "push":
                return Reply(200, self._security_block(registered=False)) if self._key_is_shown(request) else REFUSED
            case _, "ping" | "event" | "test":
                return OK
        return NOT_FOUND

    def _is_elsewhere(self, address: str, now_s: float) -> bool:
        """Whether another address uses the serial number now; the first one is served, the other one is reported.

        Where a communication key is configured, an address that has not shown it keeps no other one out.
        """
        known = self._address
        if known is not None and self._comm_key is not None and self._key_shown_by != known.address:
            known = None
        if known is None or known.address == address or now_s - known.last_s > SAME_ADDRESS_S:
            self._address = _Address(address, now_s)
            return False
        self._notice(Notice("serial_from_two_addresses", {"served": known.address, "refused": address}))
        return True

    def _key_is_shown(self, request: Request) -> bool:
        """Whether the communication key is not configured, right in this request, or was right from this address."""
        if self._comm_key is None:
            return True
        shown = request.query.get("pushcommkey")
        if shown is not None:
            right = hmac.compare_digest(shown.lower().encode("latin-1"), self._comm_key.lower().encode("ascii"))
            self._key_shown_by = request.peer if right else None
        return self._key_shown_by == request.peer

    def _cdata(self, request: Request) -> Reply:
        query = request.query
        if query.get("type") == "time":
            return self._time(request)
        if "pin" in query or query.get("table", "").lower() == "remoteatt":
            self.counters.questions += 1
            return OK
        if not self._key_is_shown(request):
            return Reply(401)
        self._is_security = query.get("devicetype", "").lower() == "acc"
        if self._is_security:
            body = self._security_block(registered=True) if self._registered else b"OK\n"
            return self._dated(Reply(200, body))
        with self._lock:
            marks = dict(self._marks or {})
            self._has_begun = True
        return self._dated(Reply(200, wire.option_block(self._serial, marks, self._offset())))

    def _registry(self, request: Request) -> Reply | Body:
        if not self._key_is_shown(request):
            return Reply(401)

        def end(body: bytes) -> Reply:
            self.options = wire.options(body).over(self.options)
            self._registered = self._is_security = True
            return Reply(200, f"RegistryCode={wire.registry_code(self._serial)}".encode("ascii"))

        return _Kept(wire.MAX_OPTIONS, end)

    def _security_block(self, *, registered: bool) -> bytes:
        number = sha256(f"{self._serial} {self._number}".encode()).hexdigest()[:32].upper()
        return wire.security_block(self._serial, number, registered=registered)

    def _offset(self) -> timedelta:
        offset = (self._trusted_now() or datetime.now(UTC)).astimezone(self._zone).utcoffset()
        return offset or timedelta(0)

    def _time(self, request: Request) -> Reply:
        """Answer the request for the time where the clock may be set, else refuse it."""
        if request.query.get("type") != "time":
            return NOT_FOUND
        now = self._trusted_now() if self._sets_clock else None
        if now is None:
            return NOT_FOUND
        minutes = round(self._offset().total_seconds() / 60)
        zone = f"{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
        number = wire.packed(now.astimezone(UTC).replace(tzinfo=None))
        return Reply(200, f"DateTime={number},ServerTZ={zone}".encode("ascii"))

    def _dated(self, reply: Reply) -> Reply:
        """Add the header Date, by which terminals set their clock, where that is configured and this clock is right."""
        now = self._trusted_now() if self._sets_clock else None
        if now is None:
            return reply
        return Reply(reply.status, reply.body, {"Date": format_datetime(now.astimezone(UTC), usegmt=True)})

    # Commands.

    def _poll(self, request: Request) -> Reply:
        if not self._key_is_shown(request):
            return Reply(503, b"UNKNOWN DEVICE\n")
        if text := request.query.get("info"):
            self.options = wire.info(text).over(self.options)
        now_s = self._monotonic_s()
        with self._lock:
            if not (self._marks or self._has_begun or self._is_security):
                # Nothing of it is stored, and it goes on from a place of its own: with its options it begins anew.
                self._has_begun = True
                self._number += 1
                return self._dated(Reply(200, wire.command(self._number - 1, "CHECK")))
            command = self._command
            if command is None or command.is_over:
                return self._dated(OK)
            if command.result is not None or now_s - command.queued_s > COMMAND_S:
                # The poll after the result: the records that it was to bring have arrived.
                self._end(command)
                return self._dated(OK)
            if command.sent_s is not None and now_s - command.sent_s < RESEND_S:
                return self._dated(OK)
            command.sent_s = now_s
        return self._dated(Reply(200, wire.command(command.number, command.verb, (command.first, command.last))))

    def _results(self, body: bytes) -> Reply:
        with self._lock:
            command = self._command
            for result in wire.results(body):
                if command is None or command.is_over or result.number != str(command.number):
                    continue
                command.result = result
                counts = command.verb == "VERIFY SUM ATTLOG"
                refused = result.code < (0 if counts else -1)  # of a query -1 also means that the span is empty
                if refused and result.code not in TEMPORARY:
                    self._unsupported.add(command.verb)
                if refused or counts:
                    self._end(command)
        return OK

    def _end(self, command: Command) -> None:
        command.is_over = True
        self._wake()

    def _requested_by(self, records: list[Record]) -> Command | None:
        """Return the command that all records of an upload answer; None where none is outstanding."""
        with self._lock:
            command = self._command
            if command is None or command.is_over or command.sent_s is None or command.verb != "DATA QUERY ATTLOG":
                return None
            punches = [record for record in records if isinstance(record, RawPunch)]
            inside = all(command.first <= punch.local_time <= command.last for punch in punches)
            return command if inside else None

    # Uploads.

    def _upload(self, request: Request, exchange: Exchange) -> Reply | Body:
        query = request.query
        if "authtype" in query or query.get("type", "").lower() == "postverifydata":
            self.counters.questions += 1
            return _Discarding(lambda _count, _digest: OK)
        if not self._key_is_shown(request):
            return REFUSED
        found = wire.upload(request.resource, query)
        self._is_security |= found.table in ("events", "state")
        match found.table:
            case "punches" | "events":
                return _Punches(found, lambda taken: self._take(found, taken, exchange))
            case "options":
                return _Kept(wire.MAX_OPTIONS, self._take_options)
            case "unknown":
                return _Unknown(lambda count, digest, head: self._judge(found, count, digest, head, exchange))
        return _Discarding(lambda count, digest: self._drained(found, count, digest, exchange))

    def _take(self, found: wire.Upload, taken: "_Punches", exchange: Exchange) -> Reply | None:
        """Hand the punches of an upload over; their reply follows when they are stored."""
        if taken.is_too_long:
            self._notice(Notice("upload_too_long", {"table": found.name}))
            return Reply(413)
        command = self._requested_by(taken.records)
        mark = None if command is not None else self._mark(found)
        reply = self._acknowledgement(
            found, taken.count, taken.digest, plain=found.table == "events" and not found.rows
        )
        acknowledged = (found.name, taken.digest)
        if not taken.records and mark is None:
            self._note_acknowledged(*acknowledged)
            return reply
        received = self._trusted_now()
        if received is not None and command is None:
            self.clock.punches(taken.records, received, self._monotonic_s())
        batch = Batch(taken.records, mark, reply, acknowledged, command)
        return None if self._deliver(batch, exchange) else REFUSED

    def _take_options(self, body: bytes) -> Reply:
        self.options = wire.options(body).over(self.options)
        return OK

    def _drained(self, found: wire.Upload, count: int, digest: bytes, exchange: Exchange) -> Reply | None:
        """Acknowledge a discarded upload; its stamp is stored, or the terminal would send it again at each start."""
        self.counters.tables[found.name] += 1
        plain = found.table in ("photo", "state")
        reply = self._acknowledgement(found, count, digest, plain=plain)
        with self._lock:
            known = (self._marks or {}).get(found.stamp_key or "")
        if found.stamp is None or found.stamp_key is None or found.stamp == known:
            self._note_acknowledged(found.name, digest)
            return reply
        batch = Batch([], (found.stamp_key, found.stamp), reply, (found.name, digest))
        return None if self._deliver(batch, exchange) else REFUSED

    def _judge(self, found: wire.Upload, count: int, digest: bytes, head: bytes, exchange: Exchange) -> Reply | None:
        """Answer an upload of an unknown table: kept at the terminal where it may hold punches, else discarded."""
        name = found.name or "-"
        holds = wire.may_hold_punches(head)
        if name not in self._unknown and len(self._unknown) < UNKNOWN_MAX:
            self._unknown.add(name)
            self._notice(Notice("table_held" if holds else "table_discarded", {"table": name}))
        return REFUSED if holds else self._drained(found, count, digest, exchange)

    def _acknowledgement(self, found: wire.Upload, count: int, digest: bytes, *, plain: bool) -> Reply:
        """Return the reply to an upload, in the form that its terminal expects.

        The same upload again and again means that the terminal does not understand the answer: OK alone is what the
        other firmware expects. Where replies were lost instead, the next repetition changes it back.
        """
        name = found.name
        if count and not plain and self._is_repeated(name, digest):
            with self._lock:
                self._plain_acks ^= {name}
                self._acknowledged[name].clear()
            self._notice(Notice("ack_form_changed", {"table": name}))
        if plain or name in self._plain_acks:
            return OK
        return Reply(200, (f"{name}={count}" if found.rows else f"OK: {count}").encode("ascii"))

    def _is_repeated(self, table: str, digest: bytes) -> bool:
        since_s = self._monotonic_s() - REPEATS_S
        with self._lock:
            earlier = self._acknowledged.get(table, ())
            return sum(known == digest and at_s >= since_s for known, at_s in earlier) >= REPEATS - 1

    def _note_acknowledged(self, table: str, digest: bytes) -> None:
        with self._lock:
            self._acknowledged.setdefault(table, deque(maxlen=REPEATS - 1)).append((digest, self._monotonic_s()))

    def _mark(self, found: wire.Upload) -> tuple[str, str] | None:
        """Return the stamp of an upload of punches; the first one of a terminal without stamps has 0.

        One that runs backwards is reported: a clock that was set back, or another device with this serial number. It is
        stored and sent back all the same, since only the terminal knows what its stamps mean.
        """
        with self._lock:
            marks = self._marks or {}
        if found.stamp_key is None or (found.stamp is None and found.stamp_key in marks):
            return None
        before, after = marks.get(found.stamp_key, ""), found.stamp or "0"
        if before.isdecimal() and after.isdecimal() and 0 < int(after) < int(before):
            self._notice(Notice("stamp_reversed", {"before": before, "after": after}))
        return found.stamp_key, after


class _Kept:
    """Keeps the beginning of a body in memory, which is searched and then forgotten."""

    limit: int | None = DRAINED_BYTES
    timeout_s: float | None = DRAINED_S

    def __init__(self, most: int, then: Callable[[bytes], Reply]) -> None:
        self._most = most
        self._then = then
        self._body = bytearray()

    @property
    def kept(self) -> int:
        return len(self._body)

    def feed(self, piece: bytes) -> None:
        self._body += piece[: self._most - len(self._body)]

    def end(self) -> Reply:
        return self._then(bytes(self._body))


class _Discarding:
    """Counts the lines of a body, and keeps none of it."""

    limit: int | None = DRAINED_BYTES
    timeout_s: float | None = DRAINED_S
    kept = 0

    def __init__(self, then: Callable[[int, bytes], Reply | None]) -> None:
        self._then = then
        self._counter = wire.LineCounter()
        self._digest = sha256()

    def feed(self, piece: bytes) -> None:
        self._counter.feed(piece)
        self._digest.update(piece)

    def end(self) -> Reply | None:
        return self._then(self._counter.count, self._digest.digest())


class _Unknown(_Discarding):
    """Discards a body of an unknown table, but for its beginning, which decides the answer."""

    def __init__(self, then: Callable[[int, bytes, bytes], Reply | None]) -> None:
        super().__init__(lambda count, digest: then(count, digest, bytes(self._head)))
        self._head = bytearray()

    def feed(self, piece: bytes) -> None:
        self._head += piece[: wire.LOOK - len(self._head)]
        super().feed(piece)


class _Punches:
    """Decodes punches while they arrive; of each line only what may be kept remains in memory."""

    limit: int | None = PUNCHES_BYTES
    timeout_s: float | None = PUNCHES_S

    def __init__(self, found: wire.Upload, then: Callable[["_Punches"], Reply | None]) -> None:
        self.records: list[Record] = []
        self.is_too_long = False
        self._decode = wire.event if found.table == "events" or found.name == "transaction" else wire.punch
        self._then = then
        self._reader = wire.LineReader()
        self.kept = 0
        self._digest = sha256()

    @property
    def count(self) -> int:
        """Lines that hold something, punches or not."""
        return self._reader.count

    @property
    def digest(self) -> bytes:
        return self._digest.digest()

    def feed(self, piece: bytes) -> None:
        self._digest.update(piece)
        for line in self._reader.feed(piece):
            self._add(line)

    def end(self) -> Reply | None:
        for line in self._reader.close():
            self._add(line)
        return self._then(self)

    def _add(self, line: wire.CutLine) -> None:
        record = None if self.is_too_long else self._decode(line)
        if record is None:
            return
        self.kept += len(record.raw) + RECORD_BYTES
        self.is_too_long = self.kept > KEPT_BYTES
        self.records.append(record)
        if self.is_too_long:
            self.records.clear()
            self.kept = 0
