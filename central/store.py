"""The centre's memory: one SQLite file, one writer. Everything a transaction tells the gateways rests on is in it.

The tables are for others to read (``docs/centre.md`` explains them); only :class:`Store` writes. What it keeps in
memory (which sequences are held, the newest digest of each stream) follows from the file and is read again at the next
opening, so after any failure the answer is the same: end, and open again.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import structlog

from central.coverage import Coverage, Holding
from central.event import BODY_FORGOTTEN, Event, Info, Rejected, Remains, first_previous, gateway_of, read

SCHEMA_VERSION = 2
KEPT_BYTES = 65_536
"""Of a rejected message so much is kept; of all of it the size and the SHA-256."""
_BUSY_S = 5.0

_FORGOTTEN = """
CREATE TABLE forgotten (                            -- events whose content a gateway says it has removed
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    event INTEGER NOT NULL REFERENCES event,        -- the hadir.body.forgotten.v1 that said so first
    PRIMARY KEY (stream, sequence, digest, id)
) WITHOUT ROWID;
CREATE VIEW gone AS SELECT * FROM forgotten WHERE NOT EXISTS (      -- those whose content is not here either
    SELECT 1 FROM event
    WHERE event.stream = forgotten.stream AND event.sequence = forgotten.sequence AND event.digest = forgotten.digest);
"""
_SCHEMA = """
CREATE TABLE gateway (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,                      -- site/gateway, from the topic
    stream INTEGER REFERENCES stream,               -- the one its receipts speak of
    informed INTEGER NOT NULL DEFAULT 0             -- 1: its own info named that stream
);
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    gateway INTEGER NOT NULL REFERENCES gateway,
    name TEXT NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0,                -- highest sequence held
    assigned INTEGER NOT NULL DEFAULT 0,            -- highest sequence that info has announced
    found TEXT NOT NULL,                            -- when it was first heard of, UTC
    predecessor TEXT, predecessor_sequence INTEGER, predecessor_digest TEXT,    -- as info names them
    UNIQUE (gateway, name)
);
CREATE TABLE gap (                                  -- what is missing below stream.seen
    stream INTEGER NOT NULL REFERENCES stream,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;
CREATE TABLE event (
    key INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    previous TEXT NOT NULL,
    type TEXT NOT NULL,
    received TEXT NOT NULL,                         -- when this centre stored it, UTC
    body TEXT NOT NULL,                             -- the event, canonical JSON
    UNIQUE (stream, sequence, digest)               -- a fork has two digests at one sequence
);
CREATE TABLE punch (                                -- every punch once, however often and by whatever stream it came
    id TEXT PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES event,        -- the event that brought it first
    terminal TEXT NOT NULL, serial TEXT NOT NULL, pin TEXT, uid INTEGER, local_time TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX punch_local_time ON punch (local_time);
CREATE TABLE finding (                              -- what a person should look at
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,                             -- fork, break, misidentified, predecessor
    expected TEXT NOT NULL,
    found TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (stream, sequence, kind)
) WITHOUT ROWID;
CREATE TABLE rejected (                             -- messages that fill no place in a stream
    topic TEXT NOT NULL,
    sha256 TEXT NOT NULL,                           -- of the whole payload
    gateway TEXT,                                   -- site/gateway, where the topic names one
    reason TEXT NOT NULL, detail TEXT NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL,                          -- its beginning
    times INTEGER NOT NULL DEFAULT 1, first TEXT NOT NULL, last TEXT NOT NULL,
    PRIMARY KEY (topic, sha256)
);
CREATE VIEW punches AS SELECT
    event.key,                                      -- only grows: a reader remembers the last one it has seen
    gateway.name AS gateway, punch.terminal, punch.serial, punch.pin, punch.uid, punch.local_time,
    json_extract(event.body, '$.time') AS time,
    json_extract(event.body, '$.data.state') AS state,
    json_extract(event.body, '$.data.verify') AS verify,
    json_extract(event.body, '$.data.suspect') AS suspect,
    punch.id, stream.name AS stream, event.sequence, event.received, event.body
FROM punch JOIN event ON event.key = punch.event JOIN stream ON stream.id = event.stream
    JOIN gateway ON gateway.id = stream.gateway;
"""

log = structlog.get_logger("store")


class StoreError(Exception):
    """The file cannot be used; the message says which, why, and what to do."""


class StoreLocked(StoreError):  # noqa: N818 - named by what is the matter
    """Another inbox writes into the file."""


class Message(NamedTuple):
    """A message as it came; ``topic`` is what follows ``<root>/v1/``."""

    topic: str
    payload: bytes


class _Claim(NamedTuple):
    """An event that has a place, by what is known of it."""

    id: str
    digest: str
    previous: str | None
    """None where its content is gone."""


class Receipt(NamedTuple):
    """What a gateway may be told."""

    gateway: str
    stream: str
    holding: Holding


@dataclass(slots=True)
class Taken:
    """What became of messages, in numbers of events."""

    stored: int = 0
    repeated: int = 0
    rejected: int = 0

    def __add__(self, other: Self) -> "Taken":
        return Taken(self.stored + other.stored, self.repeated + other.repeated, self.rejected + other.rejected)


@dataclass(slots=True)
class _Stream:
    key: int
    gateway: "_Gateway"
    name: str
    coverage: Coverage
    newest: tuple[int, str] | None = None
    """Sequence and digest of the event stored last, unless another has its place too."""
    said: set[str] = field(default_factory=set)
    """Kinds of findings that have been logged: the table has all of them, the log the first."""
    touched: bool = False


@dataclass(slots=True)
class _Gateway:
    key: int
    name: str
    current: int | None
    informed: bool
    streams: dict[str, _Stream] = field(default_factory=dict)
    touched: bool = False


class Store:
    """The writer. For one thread at a time; a second one on the same file raises :class:`StoreLocked`.

    After a :class:`StoreError` from :meth:`take` it must not be used any more.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or create the file; raises StoreError."""
        self.path = path
        self._now = now
        self._monotonic_s = monotonic_s
        self._remarks: list[tuple[str, str, dict[str, Any]]] = []
        """Log lines of a transaction, to be written when it is on disk."""
        self._said: set[tuple[str, str]] = set()
        """Topics and reasons of rejected messages that have been logged."""
        try:
            self._lock = _locked(path)
            try:
                self._connection = self._opened()
                self._gateways = self._recalled()
                self._bring_up_to_date()
            except BaseException:
                os.close(self._lock)
                raise
        except (OSError, sqlite3.Error) as exc:
            raise _explained(path, exc) from exc

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        os.close(self._lock)

    @property
    def empty(self) -> bool:
        """Whether no gateway has ever been heard."""
        return not self._gateways

    def take(self, messages: Iterable[Message]) -> Taken:
        """Store what the messages say, all of it in one transaction that is on disk when this returns.

        Raises StoreError; then nothing of it is stored.
        """
        taken = Taken()
        received = _utc(self._now())
        now_s = self._monotonic_s()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for message in messages:
                for said in read(message.topic, message.payload):
                    if isinstance(said, Event):
                        self._take_event(self._gateway(message.topic), said, received, now_s, taken)
                    elif isinstance(said, Info):
                        self._take_info(self._gateway(message.topic), said, received, now_s)
                    else:
                        self._reject(message.topic, said, received, taken)
            self._write_heads()
            self._commit()
        except sqlite3.Error as exc:
            raise _explained(self.path, exc) from exc
        self._log_remarks()
        return taken

    def receipts(self) -> Iterator[Receipt]:
        """Yield for each gateway what it may be told now."""
        now_s = self._monotonic_s()
        for gateway in self._gateways.values():
            for stream in gateway.streams.values():
                if stream.key == gateway.current:
                    yield Receipt(gateway.name, stream.name, stream.coverage.holding(now_s))

    # Opening.

    def _opened(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o640))  # it holds PINs: not for everybody
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            empty = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if version not in ((0,) if empty else (1, SCHEMA_VERSION)):
                raise StoreError(f"{self.path}: not a database of this version of hadir-central")  # noqa: TRY301 - closes
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 8000")  # punches' identities are random: gather their pages
            if empty:
                connection.executescript(
                    f"BEGIN; {_SCHEMA} {_FORGOTTEN} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up_to_date(self) -> None:
        """Make of a file of version 1, which knew of no places without content, one of this version."""
        if self._connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            return
        owners = {stream.key: gateway for gateway in self._gateways.values() for stream in gateway.streams.values()}
        self._connection.executescript(f"BEGIN IMMEDIATE; {_FORGOTTEN}")
        received, now_s = _utc(self._now()), self._monotonic_s()
        for key, number, body in self._connection.execute(
            "SELECT key, stream, body FROM event WHERE type = ? ORDER BY key", (BODY_FORGOTTEN,)
        ).fetchall():
            for said in read(f"{owners[number].name}/batch", body.encode()):
                if isinstance(said, Event):
                    self._take_forgotten(owners[number], said.forgotten, key, received, now_s)
        self._write_heads()
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._commit()
        self._log_remarks()

    def _recalled(self) -> dict[str, _Gateway]:
        now_s = self._monotonic_s()
        gaps: dict[int, list[tuple[int, int]]] = {}
        for key, first, last in self._connection.execute("SELECT stream, first, last FROM gap ORDER BY stream, first"):
            gaps.setdefault(key, []).append((first, last))
        said: dict[int, set[str]] = {}
        for key, kind in self._connection.execute("SELECT DISTINCT stream, kind FROM finding"):
            said.setdefault(key, set()).add(kind)
        gateways = {
            key: _Gateway(key, name, current, bool(informed))
            for key, name, current, informed in self._connection.execute(
                "SELECT id, name, stream, informed FROM gateway"
            )
        }
        for key, gateway, name, seen, assigned in self._connection.execute(
            "SELECT id, gateway, name, seen, assigned FROM stream"
        ):
            owner = gateways[gateway]
            coverage = Coverage(seen, assigned, gaps.get(key, []), now_s)
            owner.streams[name] = _Stream(key, owner, name, coverage, said=said.get(key, set()))
        return {gateway.name: gateway for gateway in gateways.values()}

    # Within a transaction.

    def _gateway(self, topic: str) -> _Gateway:
        name = gateway_of(topic)
        assert name is not None, "only topics of gateways carry events"  # noqa: S101 - read() has seen to it
        gateway = self._gateways.get(name)
        if gateway is None:
            key = self._insert("INSERT INTO gateway (name) VALUES (?)", name)
            gateway = self._gateways[name] = _Gateway(key, name, None, informed=False)
        return gateway

    def _stream(self, gateway: _Gateway, name: str, received: str, now_s: float) -> _Stream:
        stream = gateway.streams.get(name)
        if stream is None:
            key = self._insert(
                "INSERT INTO stream (gateway, name, found) VALUES (?, ?, ?)", gateway.key, name, received
            )
            stream = gateway.streams[name] = _Stream(key, gateway, name, Coverage(0, 0, [], now_s))
        return stream

    def _take_event(self, gateway: _Gateway, event: Event, received: str, now_s: float, taken: Taken) -> None:
        is_new = event.stream not in gateway.streams
        stream = self._stream(gateway, event.stream, received, now_s)
        if is_new and not gateway.informed:
            gateway.current, gateway.touched = stream.key, True
        claims = self._claims(stream, event.sequence) if stream.coverage.holds(event.sequence) else []
        if any(claim.digest == event.digest and claim.previous is not None for claim in claims):
            taken.repeated += 1
            return
        key = self._insert(
            "INSERT INTO event (stream, sequence, id, digest, previous, type, received, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(stream.key, event.sequence, event.id, event.digest, event.previous, event.type, received, event.body),
        )
        taken.stored += 1
        if not claims:
            if not stream.coverage.seen:
                self._remark_stream(stream, event.sequence)
            self._fill(stream, event.sequence, now_s)
        self._note_fork(stream, event.sequence, claims, _Claim(event.id, event.digest, event.previous), received)
        self._check_links(stream, event, received, alone=not claims)
        self._take_forgotten(gateway, event.forgotten, key, received, now_s)
        if event.punch is not None:
            self._connection.execute(
                "INSERT OR IGNORE INTO punch (id, event, terminal, serial, pin, uid, local_time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (event.id, key, *event.punch),
            )
        elif event.doubt is not None:
            self._note(stream, event.sequence, "misidentified", event.doubt, event.id, received)

    def _take_forgotten(
        self, gateway: _Gateway, forgotten: Iterable[Remains], key: int, received: str, now_s: float
    ) -> None:
        """Let what remains of events for ever have their places, so that nobody asks for their content any more."""
        for remains in forgotten:
            stream = self._stream(gateway, remains.stream, received, now_s)
            held = stream.coverage.holds(remains.sequence)
            claims = self._claims(stream, remains.sequence) if held else []
            added = self._connection.execute(
                "INSERT OR IGNORE INTO forgotten (stream, sequence, id, digest, event) VALUES (?, ?, ?, ?, ?)",
                (stream.key, remains.sequence, remains.id, remains.digest, key),
            )
            if not added.rowcount:
                continue
            if not held:
                self._fill(stream, remains.sequence, now_s)
            stream.newest = None
            self._note_fork(stream, remains.sequence, claims, _Claim(remains.id, remains.digest, None), received)
            self._check_links_at(stream, remains.sequence, received)

    def _note_fork(self, stream: _Stream, sequence: int, claims: list[_Claim], claim: _Claim, received: str) -> None:
        """Put on record that a place is claimed by another event than those that have it."""
        for other in claims:
            if other.digest != claim.digest:
                self._note(stream, sequence, "fork", other.digest, claim.digest, received)
            elif other.id != claim.id:
                self._note(stream, sequence, "fork", other.id, claim.id, received)

    def _remark_stream(self, stream: _Stream, sequence: int) -> None:
        fields = {"gateway": stream.gateway.name, "stream": stream.name, "sequence": sequence}
        if sequence == 1:
            self._remarks.append(("info", "stream_found", fields))
        else:
            fields["reason"] = "the first event to arrive is not the stream's first: its `previous` is taken on trust"
            self._remarks.append(("warning", "stream_joined", fields))

    def _fill(self, stream: _Stream, sequence: int, now_s: float) -> None:
        stream.touched = True
        change = stream.coverage.fill(sequence, now_s)
        if change.closed is not None:
            self._connection.execute("DELETE FROM gap WHERE stream = ? AND first = ?", (stream.key, change.closed))
        for first, last in change.opened:
            self._insert("INSERT INTO gap (stream, first, last) VALUES (?, ?, ?)", stream.key, first, last)

    def _check_links(self, stream: _Stream, event: Event, received: str, *, alone: bool) -> None:
        """Judge the links of an event to the one before and the one behind, as far as those are held.

        So a link is judged when its second end arrives, in whatever order that is, and again when a fork adds an end.
        """
        newest, stream.newest = stream.newest, (event.sequence, event.digest) if alone else None
        if (
            alone
            and newest is not None
            and newest[0] == event.sequence - 1
            and not stream.coverage.holds(newest[0] + 2)
        ):
            if event.previous != newest[1]:
                self._note(stream, event.sequence, "break", newest[1], event.previous, received)
            return
        self._check_links_at(stream, event.sequence, received)

    def _check_links_at(self, stream: _Stream, sequence: int, received: str) -> None:
        for place in (sequence, sequence + 1):
            if stream.coverage.holds(place) and (place == 1 or stream.coverage.holds(place - 1)):
                self._check_link(stream, place, received)

    def _check_link(self, stream: _Stream, place: int, received: str) -> None:
        """Judge the link into a place. One that an event without content may make is not called broken."""
        below = [claim.digest for claim in self._claims(stream, place - 1)] or [first_previous(stream.name)]
        here = [claim.previous for claim in self._claims(stream, place)]
        if None not in here and not set(below) & set(here):
            self._note(stream, place, "break", below[0], str(here[0]), received)
        elif len(below) + len(here) > 2:  # a fork may have mended it
            self._connection.execute(
                "DELETE FROM finding WHERE stream = ? AND sequence = ? AND kind = 'break'", (stream.key, place)
            )

    def _take_info(self, gateway: _Gateway, info: Info, received: str, now_s: float) -> None:
        stream = self._stream(gateway, info.stream, received, now_s)
        if gateway.current != stream.key or not gateway.informed:
            gateway.current, gateway.informed, gateway.touched = stream.key, True, True
        if info.assigned > stream.coverage.assigned:
            stream.coverage.announce(info.assigned, now_s)
            stream.touched = True
        if info.predecessor is None:
            return
        self._connection.execute(
            "UPDATE stream SET predecessor = ?, predecessor_sequence = ?, predecessor_digest = ? WHERE id = ?",
            (*info.predecessor, stream.key),
        )
        before = gateway.streams.get(info.predecessor.stream)
        held = [claim.digest for claim in self._claims(before, info.predecessor.sequence)] if before is not None else []
        if held and info.predecessor.digest not in held:
            self._note(stream, 0, "predecessor", held[0], info.predecessor.digest, received)

    def _reject(self, topic: str, rejected: Rejected, received: str, taken: Taken) -> None:
        taken.rejected += 1
        self._connection.execute(
            "INSERT INTO rejected (topic, sha256, gateway, reason, detail, size, payload, first, last) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET times = times + 1, last = excluded.last",
            (
                *(topic, sha256(rejected.payload).hexdigest(), gateway_of(topic), rejected.reason, rejected.detail),
                *(len(rejected.payload), rejected.payload[:KEPT_BYTES], received, received),
            ),
        )
        if (topic, rejected.reason) not in self._said:
            self._said.add((topic, rejected.reason))
            fields = {"topic": topic, "reason": rejected.reason, "detail": rejected.detail}
            self._remarks.append(("warning", "message_rejected", fields))

    def _note(self, stream: _Stream, sequence: int, kind: str, expected: str, found: str, received: str) -> None:
        """Put a finding on record, and log the first of its kind in a stream."""
        self._connection.execute(
            "INSERT OR IGNORE INTO finding (stream, sequence, kind, expected, found, at) VALUES (?, ?, ?, ?, ?, ?)",
            (stream.key, sequence, kind, expected, found, received),
        )
        if kind not in stream.said:
            stream.said.add(kind)
            fields = {"gateway": stream.gateway.name, "stream": stream.name, "sequence": sequence}
            self._remarks.append(("error", _EVENTS[kind], {**fields, "expected": expected, "found": found}))

    def _claims(self, stream: _Stream, sequence: int) -> list[_Claim]:
        """Return the events of a place, those with their content first, the first to arrive first."""
        with_content = self._connection.execute(
            "SELECT id, digest, previous FROM event WHERE stream = ? AND sequence = ? ORDER BY key",
            (stream.key, sequence),
        )
        gone = self._connection.execute(
            "SELECT id, digest, NULL FROM gone WHERE stream = ? AND sequence = ? ORDER BY event", (stream.key, sequence)
        )
        return [_Claim(*row) for row in (*with_content, *gone)]

    def _insert(self, statement: str, *values: object) -> int:
        return self._connection.execute(statement, values).lastrowid or 0

    def _write_heads(self) -> None:
        for gateway in self._gateways.values():
            if gateway.touched:
                self._connection.execute(
                    "UPDATE gateway SET stream = ?, informed = ? WHERE id = ?",
                    (gateway.current, gateway.informed, gateway.key),
                )
                gateway.touched = False
            for stream in gateway.streams.values():
                if stream.touched:
                    self._connection.execute(
                        "UPDATE stream SET seen = ?, assigned = ? WHERE id = ?",
                        (stream.coverage.seen, stream.coverage.assigned, stream.key),
                    )
                    stream.touched = False

    def _commit(self) -> None:
        self._connection.execute("COMMIT")

    def _log_remarks(self) -> None:
        for level, event, fields in self._remarks:
            getattr(log, level)(event, **fields)
        self._remarks.clear()


_EVENTS = {
    "fork": "fork_found",
    "break": "chain_broken",
    "misidentified": "punch_misidentified",
    "predecessor": "predecessor_differs",
}


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _locked(path: Path) -> int:
    """Lock the file's name: what is kept in memory about the file must not be overtaken by another process."""
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreLocked(f"{path}: another hadir-central inbox writes into it") from None
    return lock


def _explained(path: Path, exc: OSError | sqlite3.Error) -> StoreError:
    reason = exc.strerror if isinstance(exc, OSError) else str(exc)
    return StoreError(f"{path}: {reason}")
