"""The centre's memory: one SQLite file, one writer. Everything a transaction tells the gateways rests on is in it.

The tables are for others to read (``docs/centre.md`` explains them); only :class:`Store` writes, and the register of
serial numbers (:mod:`central.ownership`). What it keeps in memory (which sequences of a gateway's present stream are
held, the newest digest) follows from the file and is read again whenever that is in doubt.

Every event has a savepoint of its own: whatever storing it raises rejects that event alone, with a reason. Only what
the file itself makes fail (disk, lock, damage) is a :class:`StoreError` and ends the writer: nothing is acknowledged
then, and the broker keeps it.
"""

import sqlite3
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import structlog

from central import ownership
from central.coverage import MAX_GAPS, Coverage, HeldRange
from central.event import (
    BODY_FORGOTTEN,
    PUNCH,
    QUARANTINE,
    Event,
    Info,
    Rejected,
    Tombstone,
    contradicting_fields,
    decode_text,
    first_previous,
    gateway_of,
    read_message,
)
from central.store.engine import MANAGED, OLD_VERSIONS, Database, StoreError, WriterLock

SCHEMA_VERSION = 3
KEPT_BYTES = 65_536
"""Of a rejected message so much is kept; of all of it the size and the SHA-256."""
MAX_GATEWAYS = 10_000
MAX_STREAMS_A_DAY = 100
"""Streams of one gateway that may begin within 24 hours: a damaged card makes a few, only an attack makes hundreds."""
MAX_CLAIMS = 16
"""Different events, and ids of forgotten ones, that may claim one place: two make a fork, more say no more."""
MAX_REJECTED, MAX_REJECTED_BYTES = 1_000, 8 * 1024 * 1024
"""Rejected messages of one gateway that are kept, and their bytes together; the rest is counted."""
MAX_REJECTED_OF_ALL, MAX_REJECTED_BYTES_OF_ALL = 20_000, 256 * 1024 * 1024
_STREAMS_IN_MEMORY = 4
"""Of a gateway, beside its present one, while events of them come."""
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
_ADDED_IN_3 = """
CREATE TABLE unproven (                             -- events of older versions that came without their whole content
    key INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream,
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL, digest TEXT NOT NULL, previous TEXT NOT NULL, type TEXT NOT NULL,
    received TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE rejected_counted (                     -- rejected messages of which only the number was kept
    gateway TEXT NOT NULL,                          -- '': topics of no gateway, or beyond the number of all
    reason TEXT NOT NULL,
    times INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    PRIMARY KEY (gateway, reason)
) WITHOUT ROWID;
CREATE INDEX rejected_gateway ON rejected (gateway);
CREATE INDEX stream_found ON stream (gateway, found);
CREATE INDEX finding_kind ON finding (stream, kind);
CREATE INDEX event_quarantined ON event (id) WHERE type = 'hadir.record.quarantined.v1';
CREATE VIEW punch_notes AS SELECT                   -- what the gateway that sent a punch has learned of it later
    json_extract(note.body, '$.data.punch') AS punch, note.key, note.type, note.sequence, note.received, note.body
FROM event AS note JOIN stream ON stream.id = note.stream
    JOIN punch ON punch.id = json_extract(note.body, '$.data.punch')
    JOIN event AS counting ON counting.key = punch.event JOIN stream AS its ON its.id = counting.stream
WHERE note.type IN ('hadir.punch.confirmed.v1', 'hadir.punch.unconfirmed.v1') AND stream.gateway = its.gateway;
CREATE VIEW unproven_missing AS SELECT * FROM unproven WHERE NOT EXISTS (   -- those whose content has not come since
    SELECT 1 FROM event WHERE event.stream = unproven.stream AND event.sequence = unproven.sequence
        AND event.digest = unproven.digest);
"""

log = structlog.get_logger("store")


class Message(NamedTuple):
    """A message as it came; ``topic`` is what follows ``<root>/v1/``."""

    topic: str
    payload: bytes
    cut_from: int | None = None
    """The size of the whole where ``payload`` is only its beginning, because it is too large to be read."""


class _Claim(NamedTuple):
    """An event that has a place, by what is known of it."""

    id: str
    digest: str
    previous: str | None
    """None where its content is gone."""


class Receipt(NamedTuple):
    """What a gateway's receipt says."""

    gateway: str
    stream: str
    held_range: HeldRange


@dataclass(slots=True)
class IngestResult:
    """What became of messages, in numbers of events."""

    stored: int = 0
    repeated: int = 0
    rejected: int = 0

    def __add__(self, other: Self) -> "IngestResult":
        return IngestResult(self.stored + other.stored, self.repeated + other.repeated, self.rejected + other.rejected)


class _Refused(Exception):  # noqa: N818 - named by what happens to the event
    """A quota is used up: the event is rejected, and the gateway's stream has a finding that says so."""

    def __init__(self, reason: str, most: int, stream: "_Stream | None" = None, place: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = f"more than {most} are not stored"
        self.stream = stream
        self.place = place
        """A place that others have, at which this event is refused; 0: it has none."""


@dataclass(slots=True)
class _Stream:
    key: int
    gateway: "_Gateway"
    name: str
    coverage: Coverage
    newest: tuple[int, str] | None = None
    """Sequence and digest of the event stored last, unless another has its place too."""
    logged_kinds: set[str] = field(default_factory=set)
    """Kinds of findings that need no log line any more: the table has all of them, the log the first."""
    dirty: bool = False


@dataclass(slots=True)
class _Gateway:
    key: int
    name: str
    current: int | None
    informed: bool
    streams: dict[str, _Stream] = field(default_factory=dict)
    """The present one and a few others, the one used last at the end; the rest is in the file."""


@dataclass(slots=True)
class _Kept:
    """Rejected messages that are kept, of one gateway or of all."""

    messages: int = 0
    size: int = 0

    def has_room(self, size: int, messages: int, most: int) -> bool:
        return self.messages < messages and self.size + size <= most

    def add(self, size: int) -> None:
        self.messages += 1
        self.size += size


class Store:
    """The writer. For one thread at a time; a second one on the same file raises :class:`StoreLocked`.

    After a :class:`StoreError` from :meth:`ingest` it must not be used any more.
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
        self._logged_rejections: set[tuple[str | None, str]] = set()
        """Gateways and reasons of rejected messages that have been logged."""
        self._received, self._now_s = _utc(now()), monotonic_s()
        """When the present transaction began, by both clocks."""
        try:
            self._lock = WriterLock(path)
            try:
                self._prepare()
                self._connection = self._opened(MANAGED)
                try:
                    self._gateways = self._recalled()
                    self._kept = self._recalled_rejections()
                    self._kept_of_all = _sum(self._kept.values())
                    for gateway in self._gateways.values():
                        self._current(gateway, self._now_s)
                except BaseException:
                    self._connection.close()
                    raise
            except BaseException:
                self._lock.release()
                raise
        except (OSError, sqlite3.Error) as exc:
            raise _explained(path, exc) from exc
        self._warn_of_unproven()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        self._lock.release()

    @property
    def empty(self) -> bool:
        """Whether no gateway has ever been heard."""
        return not self._gateways

    def ingest(self, messages: Iterable[Message]) -> IngestResult:
        """Store what the messages say, all of it in one transaction that is on disk when this returns.

        What a message makes fail costs that message, or that element of a batch, which is then rejected. Raises
        StoreError where the file fails; then nothing is stored.
        """
        result = IngestResult()
        self._received = _utc(self._now())
        self._now_s = self._monotonic_s()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for sent_to, payload, cut_from in messages:
                topic = sent_to.encode("utf-8", "replace").decode()
                for found in _contained(topic, payload, cut_from):
                    self._ingest_one(topic, found, payload, result)
            self._write_heads()
            self._commit()
        except sqlite3.Error as exc:
            raise _explained(self.path, exc) from exc
        self._log_remarks()
        return result

    def receipts(self) -> Iterator[Receipt]:
        """Yield for each gateway what its receipt may say now; raises StoreError."""
        now_s = self._monotonic_s()
        for gateway in self._gateways.values():
            try:
                stream = self._current(gateway, now_s)
            except sqlite3.Error as exc:
                raise _explained(self.path, exc) from exc
            if stream is not None:
                yield Receipt(gateway.name, stream.name, stream.coverage.held_range(now_s))

    # Opening.

    def _prepare(self) -> None:
        """Create the file, or bring it up to date."""
        with suppress(StoreError):
            version = 0
            if self.path.is_file():
                with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                    version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version in range(1, SCHEMA_VERSION):
                self._connection = self._opened(version)
                try:
                    self._gateways = self._recalled()
                    self._bring_up_to_date()
                finally:
                    self._connection.close()
        Database(self.path, create=True, lock=self._lock).close()

    def _opened(self, version: int) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
        connection.text_factory = decode_text
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != version:
                raise StoreError(f"{self.path}: not a database of this version of hadir-central")  # noqa: TRY301 - closes
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 8000")  # punches' identities are random: gather their pages
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up_to_date(self) -> None:
        """Make of a file of version 1 (no forgotten places) or 2 (`raw: null` believed) one of this version."""
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return
        self._received, self._now_s = _utc(self._now()), self._monotonic_s()
        added = (_FORGOTTEN if version == 1 else "") + ownership.TABLES + _ADDED_IN_3
        self._connection.executescript(f"BEGIN IMMEDIATE; {added}")
        names = {gateway.key: gateway.name for gateway in self._gateways.values()}
        self._set_unproven_aside(names)
        self._connection.execute(
            "INSERT INTO ownership (serial, since, gateway, entered) SELECT punch.serial, '', gateway.name, ? "
            "FROM (SELECT serial, min(event) AS event FROM punch GROUP BY serial) AS punch "
            "JOIN event ON event.key = punch.event JOIN stream ON stream.id = event.stream "
            "JOIN gateway ON gateway.id = stream.gateway",
            (self._received,),
        )
        self._find_claims(names)
        if version == 1:
            for key, gateway, body in self._connection.execute(
                "SELECT event.key, gateway, body FROM event JOIN stream ON stream.id = event.stream "
                "WHERE type = ? ORDER BY event.key",
                (BODY_FORGOTTEN,),
            ).fetchall():
                if event := ownership.event_in(names[gateway], body):
                    self._ingest_forgotten(self._gateways[names[gateway]], event.tombstones, key)
        self._write_heads()
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._commit()
        self._log_remarks()

    def _set_unproven_aside(self, names: dict[int, str]) -> None:
        """Take events whose content does not prove itself out of their places, which are missing then.

        Version 2 believed the digest of an event whose ``raw`` was null beside a ``raw_sha256``. The rows stay, in a
        table of their own, as evidence of what came.
        """
        streams: dict[int, int] = {}
        for key, stream, gateway, seen, body in self._connection.execute(
            "SELECT event.key, stream.id, gateway, seen, body FROM event JOIN stream ON stream.id = event.stream "
            "WHERE instr(body, '\"raw\":null') AND instr(body, '\"raw_sha256\":')"
        ).fetchall():
            if ownership.event_in(names[gateway], body) is None:
                streams[stream] = seen
                self._connection.execute(
                    "INSERT INTO unproven SELECT key, stream, sequence, id, digest, previous, type, received, body "
                    "FROM event WHERE key = ?",
                    (key,),
                )
                self._connection.execute("DELETE FROM forgotten WHERE event = ?", (key,))
                self._connection.execute("DELETE FROM punch WHERE event = ?", (key,))
                self._connection.execute("DELETE FROM event WHERE key = ?", (key,))
        self._restore_punches(names)
        for stream, seen in streams.items():
            places = self._connection.execute(
                "SELECT sequence FROM event WHERE stream = :stream UNION SELECT sequence FROM forgotten "
                "WHERE stream = :stream ORDER BY 1",
                {"stream": stream},
            ).fetchall()
            held = [0, *(place for (place,) in places)]
            self._connection.execute("DELETE FROM gap WHERE stream = ?", (stream,))
            self._connection.executemany(
                "INSERT INTO gap (stream, first, last) VALUES (?, ?, ?)",
                [(stream, before + 1, place - 1) for before, place in pairwise(held) if place > before + 1],
            )
            self._connection.execute(
                "UPDATE stream SET seen = ?, assigned = max(assigned, ?) WHERE id = ?", (held[-1], seen, stream)
            )

    def _restore_punches(self, names: dict[int, str]) -> None:
        """Let another event of the same punch stand in for one that was set aside, where there is one."""
        for gateway, key, body in self._connection.execute(
            "SELECT gateway, event.key, event.body FROM unproven JOIN event ON event.id = unproven.id "
            "JOIN stream ON stream.id = event.stream WHERE event.type = ? ORDER BY event.key",
            (PUNCH,),
        ).fetchall():
            event = ownership.event_in(names[gateway], body)
            if event is not None and event.punch is not None:
                self._insert_punch(event, key)

    def _find_claims(self, names: dict[int, str]) -> None:
        """Compare the punches that several gateways have sent: older versions kept the first one only."""
        several = self._connection.execute(
            "SELECT event.id FROM event JOIN stream ON stream.id = event.stream JOIN punch ON punch.id = event.id "
            "WHERE type = ? GROUP BY event.id HAVING count(DISTINCT gateway) > 1",
            (PUNCH,),
        ).fetchall()
        for (identity,) in several:
            for key, stream_key, gateway, body in self._connection.execute(
                "SELECT event.key, stream.id, gateway, body FROM event JOIN stream ON stream.id = event.stream "
                "WHERE event.id = ? AND type = ? ORDER BY event.key",
                (identity, PUNCH),
            ).fetchall():
                event = ownership.event_in(names[gateway], body)
                if event is not None and event.punch is not None:
                    owner = self._gateways[names[gateway]]
                    self._compare_punch(self._stream_of(owner, "id", stream_key), event, key)

    def _warn_of_unproven(self) -> None:
        for gateway, events in self._connection.execute(
            "SELECT gateway.name, count(*) FROM unproven_missing JOIN stream ON stream.id = unproven_missing.stream "
            "JOIN gateway ON gateway.id = stream.gateway GROUP BY gateway.name"
        ):
            log.warning("events_unproven", gateway=gateway, events=events)

    def _recalled(self) -> dict[str, _Gateway]:
        return {
            name: _Gateway(key, name, current, bool(informed))
            for key, name, current, informed in self._connection.execute(
                "SELECT id, name, stream, informed FROM gateway ORDER BY id"
            )
        }

    def _recalled_rejections(self) -> dict[str | None, _Kept]:
        kept: dict[str | None, _Kept] = {}
        for gateway, size in self._connection.execute("SELECT gateway, length(payload) FROM rejected"):
            kept.setdefault(gateway if gateway in self._gateways else None, _Kept()).add(size)
        return kept

    # Within a transaction.

    def _ingest_one(self, topic: str, found: Event | Info | Rejected, payload: bytes, result: IngestResult) -> None:
        """Store one event, ``info`` or rejection; whatever it raises, but for what the file makes fail, rejects it."""
        if isinstance(found, Rejected):
            self._reject(topic, found, result)
            return
        self._connection.execute("SAVEPOINT one")
        remarks = len(self._remarks)
        gateway: _Gateway | None = None
        rejected: Rejected | None = None
        try:
            gateway = self._gateway(topic)
            if isinstance(found, Info):
                self._ingest_info(gateway, found)
            elif self._ingest_event(gateway, found):
                result.stored += 1
            else:
                result.repeated += 1
        except _Refused as refused:  # before anything was written
            if refused.stream is not None:
                self._note(
                    refused.stream, refused.place, refused.reason, refused.detail, f"sequence {_sequence(found)}"
                )
                if refused.place:
                    refused.stream.coverage.disputed.add(refused.place)
            rejected = Rejected(refused.reason, refused.detail, _text(found, payload))
        except Exception as exc:
            if _is_of_the_store(exc):
                raise
            del self._remarks[remarks:]
            self._connection.execute("ROLLBACK TO one")
            if gateway is not None:
                self._recall(gateway)
            rejected = Rejected("failed", _place(exc), _text(found, payload))
        self._connection.execute("RELEASE one")
        if rejected is not None:
            self._reject(topic, rejected, result)

    def _recall(self, gateway: _Gateway) -> None:
        """Forget what is in memory of a gateway: the file knows what was stored, and memory may hold half an event."""
        row = self._connection.execute(
            "SELECT stream, informed FROM gateway WHERE id = ? AND name = ?", (gateway.key, gateway.name)
        ).fetchone()
        if row is None:
            del self._gateways[gateway.name]
        else:
            gateway.current, gateway.informed = row[0], bool(row[1])
            gateway.streams.clear()
            self._current(gateway, self._now_s)

    def _gateway(self, topic: str) -> _Gateway:
        name = gateway_of(topic)
        assert name is not None, "only topics of gateways carry events"  # noqa: S101 - read() has seen to it
        gateway = self._gateways.get(name)
        if gateway is None:
            if len(self._gateways) >= MAX_GATEWAYS:
                raise _Refused("too_many_gateways", MAX_GATEWAYS)
            key = self._insert("INSERT INTO gateway (name, informed) VALUES (?, 0)", name)
            gateway = self._gateways[name] = _Gateway(key, name, None, informed=False)
        return gateway

    def _current(self, gateway: _Gateway, now_s: float) -> _Stream | None:
        self._now_s = now_s
        return None if gateway.current is None else self._stream_of(gateway, "id", gateway.current)

    def _stream(self, gateway: _Gateway, name: str) -> _Stream:
        """Return a stream of a gateway, a new one if there is none of this name; raises _Refused."""
        if name in gateway.streams:
            stream = gateway.streams.pop(name)
            gateway.streams[name] = stream  # used last
            return stream
        if self._connection.execute(
            "SELECT 1 FROM stream WHERE gateway = ? AND name = ?", (gateway.key, name)
        ).fetchone():
            return self._stream_of(gateway, "name", name)
        since = _utc(self._now() - timedelta(days=1))
        (recent,) = self._connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM stream WHERE gateway = ? AND found >= ? LIMIT ?)",
            (gateway.key, since, MAX_STREAMS_A_DAY),
        ).fetchone()
        if recent >= MAX_STREAMS_A_DAY:
            current = None if gateway.current is None else self._stream_of(gateway, "id", gateway.current)
            raise _Refused("too_many_streams", MAX_STREAMS_A_DAY, current)
        self._insert(
            "INSERT INTO stream (gateway, name, found, seen, assigned) VALUES (?, ?, ?, 0, 0)",
            *(gateway.key, name, self._received),
        )
        return self._stream_of(gateway, "name", name)

    def _stream_of(self, gateway: _Gateway, column: str, value: object) -> _Stream:
        """Return a stream that is in the file, by ``id`` or ``name``."""
        for stream in gateway.streams.values():
            if value in (stream.key, stream.name):
                return stream
        key, name, noted, assigned = self._connection.execute(
            f"SELECT id, name, seen, assigned FROM stream WHERE gateway = ? AND {column} = ?",  # noqa: S608 - our own words
            (gateway.key, value),
        ).fetchone()
        seen = noted  # the column is written at the end of a transaction; within it the events know better
        for table in ("event", "forgotten"):
            (last,) = self._connection.execute(
                f"SELECT max(sequence) FROM {table} WHERE stream = ?",  # noqa: S608 - our own words
                (key,),
            ).fetchone()
            seen = max(seen, last or 0)
        gaps = self._connection.execute("SELECT first, last FROM gap WHERE stream = ? ORDER BY first", (key,))
        stream = _Stream(key, gateway, name, Coverage(seen, assigned, gaps.fetchall(), self._now_s), dirty=seen > noted)
        stream.coverage.disputed.update(
            place
            for (place,) in self._connection.execute(
                "SELECT sequence FROM finding WHERE stream = ? AND kind = 'too_many_forks' AND sequence > 0", (key,)
            )
        )
        self._make_room(gateway)
        gateway.streams[name] = stream
        return stream

    def _make_room(self, gateway: _Gateway, most: int = _STREAMS_IN_MEMORY) -> None:
        """Keep the present stream of a gateway and at most ``most`` others in memory."""
        others = [stream for stream in gateway.streams.values() if stream.key != gateway.current]
        for stream in others[: max(0, len(others) - most)]:
            self._write_head(stream)
            del gateway.streams[stream.name]

    def _ingest_event(self, gateway: _Gateway, event: Event) -> bool:
        """Store an event; return whether it was not known already. Raises _Refused."""
        stream = self._stream(gateway, event.stream)
        if gateway.current is None or (not gateway.informed and not stream.coverage.seen):
            self._set_current(gateway, stream, informed=False)
        held = stream.coverage.holds(event.sequence)
        claims = self._claims(stream, event.sequence) if held else []
        if any(claim.digest == event.digest and claim.previous is not None for claim in claims):
            return False
        if len(claims) >= MAX_CLAIMS:
            raise _Refused("too_many_forks", MAX_CLAIMS, stream, event.sequence)
        if not held and stream.coverage.exceeds_gap_limit(event.sequence):
            raise _Refused("too_many_gaps", MAX_GAPS, stream)
        key = self._insert(
            "INSERT INTO event (stream, sequence, id, digest, previous, type, received, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(stream.key, event.sequence, event.id, event.digest, event.previous, event.type, self._received),
            event.body,
        )
        if not held:
            if not stream.coverage.seen:
                self._remark_stream(stream, event.sequence)
            self._fill(stream, event.sequence)
        self._note_fork(stream, event.sequence, claims, _Claim(event.id, event.digest, event.previous))
        self._check_links(stream, event, alone=not claims)
        self._ingest_forgotten(gateway, event.tombstones, key)
        if event.punch is not None:
            if self._insert_punch(event, key):
                ownership.note_first(self._connection, event.punch.serial, gateway.name, self._received)
            else:
                self._compare_punch(stream, event, key)
        elif event.id_mismatch is not None:
            self._note(stream, event.sequence, "misidentified", event.id_mismatch, event.id)
        elif event.type == QUARANTINE:
            self._compare_quarantined(stream, event, key)
        return True

    def _insert_punch(self, event: Event, key: int) -> bool:
        """Add a punch; False where one of its id is there."""
        assert event.punch is not None, "only punches are punches"  # noqa: S101
        added = self._connection.execute(
            "INSERT OR IGNORE INTO punch (id, event, terminal, serial, pin, uid, local_time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event.id, key, *event.punch),
        )
        return bool(added.rowcount)

    def _compare_punch(self, stream: _Stream, event: Event, key: int) -> None:
        """Judge a punch whose id is known: the same again, or another content, or another gateway's claim."""
        first, gateway, name, body = self._connection.execute(
            "SELECT punch.event, gateway.id, gateway.name, event.body FROM punch JOIN event ON event.key = punch.event "
            "JOIN stream ON stream.id = event.stream JOIN gateway ON gateway.id = stream.gateway WHERE punch.id = ?",
            (event.id,),
        ).fetchone()
        if first == key:
            return
        self._note_contradiction(stream, event, name, body)
        if gateway != stream.gateway.key:
            ownership.claim(self._connection, event.id, (gateway, first), (stream.gateway.key, key))

    def _compare_quarantined(self, stream: _Stream, event: Event, key: int) -> None:
        """Compare a quarantined record with the first one of its id: nothing is displaced, but a person should look."""
        first = self._connection.execute(
            "SELECT gateway.name, event.body FROM event JOIN stream ON stream.id = event.stream "
            "JOIN gateway ON gateway.id = stream.gateway "
            "WHERE event.id = ? AND type = 'hadir.record.quarantined.v1' AND event.key < ? ORDER BY event.key LIMIT 1",
            (event.id, key),
        ).fetchone()
        if first is not None:
            self._note_contradiction(stream, event, *first)

    def _note_contradiction(self, stream: _Stream, event: Event, gateway: str, body: str) -> None:
        other = ownership.event_in(gateway, body)
        fields = [] if other is None else contradicting_fields(other, event)
        if other is not None and fields:
            where = f"{gateway} stream {other.stream} sequence {other.sequence}"
            self._note(stream, event.sequence, "claimed_twice", where, f"other {', '.join(fields)}")

    def _ingest_forgotten(self, gateway: _Gateway, forgotten: Iterable[Tombstone], key: int) -> None:
        """Let what tombstone of events for ever have their places, so that their content is not asked for any more.

        What the quotas do not leave room for stays missing.
        """
        for tombstone in forgotten:
            try:
                stream = self._stream(gateway, tombstone.stream)
                held = stream.coverage.holds(tombstone.sequence)
                claims = self._claims(stream, tombstone.sequence) if held else []
                if len(claims) >= MAX_CLAIMS:
                    self._note(
                        stream, 0, "too_many_forks", f"more than {MAX_CLAIMS} are not stored", "forgotten places"
                    )
                    continue
                if not held and stream.coverage.exceeds_gap_limit(tombstone.sequence):
                    self._note(stream, 0, "too_many_gaps", f"more than {MAX_GAPS} are not stored", "forgotten places")
                    continue
            except _Refused as refused:
                if refused.stream is not None:
                    self._note(refused.stream, 0, refused.reason, refused.detail, "forgotten places")
                continue
            added = self._connection.execute(
                "INSERT OR IGNORE INTO forgotten (stream, sequence, id, digest, event) VALUES (?, ?, ?, ?, ?)",
                (stream.key, tombstone.sequence, tombstone.id, tombstone.digest, key),
            )
            if not added.rowcount:
                continue
            if not held:
                self._fill(stream, tombstone.sequence)
            stream.newest = None
            self._note_fork(stream, tombstone.sequence, claims, _Claim(tombstone.id, tombstone.digest, None))
            self._check_links_at(stream, tombstone.sequence)

    def _note_fork(self, stream: _Stream, sequence: int, claims: list[_Claim], claim: _Claim) -> None:
        """Put on record that a place is claimed by another event than those that have it."""
        for other in claims:
            if other.digest != claim.digest:
                self._note(stream, sequence, "fork", other.digest, claim.digest)
            elif other.id != claim.id:
                self._note(stream, sequence, "fork", other.id, claim.id)

    def _remark_stream(self, stream: _Stream, sequence: int) -> None:
        fields = {"gateway": stream.gateway.name, "stream": stream.name, "sequence": sequence}
        if sequence == 1:
            self._remarks.append(("info", "stream_found", fields))
        else:
            fields["reason"] = "the first event to arrive is not the stream's first: its `previous` is taken on trust"
            self._remarks.append(("warning", "stream_joined", fields))

    def _fill(self, stream: _Stream, sequence: int) -> None:
        stream.dirty = True
        change = stream.coverage.fill(sequence, self._now_s)
        if change.closed is not None:
            self._connection.execute("DELETE FROM gap WHERE stream = ? AND first = ?", (stream.key, change.closed))
        for first, last in change.opened:
            self._insert("INSERT INTO gap (stream, first, last) VALUES (?, ?, ?)", stream.key, first, last)

    def _check_links(self, stream: _Stream, event: Event, *, alone: bool) -> None:
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
                self._note(stream, event.sequence, "break", newest[1], event.previous)
            return
        self._check_links_at(stream, event.sequence)

    def _check_links_at(self, stream: _Stream, sequence: int) -> None:
        for place in (sequence, sequence + 1):
            if stream.coverage.holds(place) and (place == 1 or stream.coverage.holds(place - 1)):
                self._check_link(stream, place)

    def _check_link(self, stream: _Stream, place: int) -> None:
        """Judge the link into a place. One that an event without content may make is not called broken."""
        below = [claim.digest for claim in self._claims(stream, place - 1)] or [first_previous(stream.name)]
        here = [claim.previous for claim in self._claims(stream, place)]
        if None not in here and not set(below) & set(here):
            self._note(stream, place, "break", below[0], str(here[0]))
        elif len(below) + len(here) > 2:  # a fork may have mended it
            self._connection.execute(
                "DELETE FROM finding WHERE stream = ? AND sequence = ? AND kind = 'break'", (stream.key, place)
            )

    def _ingest_info(self, gateway: _Gateway, info: Info) -> None:
        stream = self._stream(gateway, info.stream)
        if gateway.current != stream.key or not gateway.informed:
            self._set_current(gateway, stream, informed=True)
        if info.assigned > stream.coverage.assigned:
            stream.coverage.set_assigned(info.assigned, self._now_s)
            self._connection.execute("UPDATE stream SET assigned = ? WHERE id = ?", (info.assigned, stream.key))
        if info.predecessor is None:
            return
        self._connection.execute(
            "UPDATE stream SET predecessor = ?, predecessor_sequence = ?, predecessor_digest = ? WHERE id = ?",
            (*info.predecessor, stream.key),
        )
        held = [
            digest
            for (digest,) in self._connection.execute(
                "SELECT digest FROM (SELECT stream, sequence, digest FROM event UNION ALL "
                "SELECT stream, sequence, digest FROM gone) WHERE sequence = ? AND stream = "
                "(SELECT id FROM stream WHERE gateway = ? AND name = ?)",
                (info.predecessor.sequence, gateway.key, info.predecessor.stream),
            )
        ]
        if held and info.predecessor.digest not in held:
            self._note(stream, 0, "predecessor", held[0], info.predecessor.digest)

    def _set_current(self, gateway: _Gateway, stream: _Stream, *, informed: bool) -> None:
        gateway.current, gateway.informed = stream.key, informed
        self._connection.execute(
            "UPDATE gateway SET stream = ?, informed = ? WHERE id = ?", (stream.key, informed, gateway.key)
        )

    def _reject(self, topic: str, rejected: Rejected, result: IngestResult) -> None:
        """Keep a message aside, as far as there is room for it; else count it."""
        result.rejected += 1
        gateway = gateway_of(topic)
        known = gateway if gateway in self._gateways else None
        self._keep_or_count(topic, gateway, known, rejected)
        if (known, rejected.reason) not in self._logged_rejections:
            self._logged_rejections.add((known, rejected.reason))
            shown = topic if gateway is not None else ascii(topic[:200])
            fields = {"topic": shown, "reason": rejected.reason, "detail": rejected.detail}
            self._remarks.append(("warning", "message_rejected", fields))

    def _keep_or_count(self, topic: str, gateway: str | None, known: str | None, rejected: Rejected) -> None:
        digest, size = sha256(rejected.payload).hexdigest(), min(len(rejected.payload), KEPT_BYTES)
        again = self._connection.execute(
            "UPDATE rejected SET times = times + 1, last = ? WHERE topic = ? AND sha256 = ?",
            (self._received, topic, digest),
        )
        if again.rowcount:
            return
        kept, of_all = self._kept.setdefault(known, _Kept()), self._kept_of_all
        if kept.has_room(size, MAX_REJECTED, MAX_REJECTED_BYTES) and of_all.has_room(
            size, MAX_REJECTED_OF_ALL, MAX_REJECTED_BYTES_OF_ALL
        ):
            self._connection.execute(
                "INSERT INTO rejected (topic, sha256, gateway, reason, detail, size, payload, first, last) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(topic, digest, gateway, rejected.reason, rejected.detail, len(rejected.payload)),
                    *(rejected.payload[:KEPT_BYTES], self._received, self._received),
                ),
            )
            kept.add(size)
            of_all.add(size)
            return
        self._connection.execute(
            "INSERT INTO rejected_counted (gateway, reason, times, first, last) VALUES (?, ?, 1, ?, ?) "
            "ON CONFLICT DO UPDATE SET times = times + 1, last = excluded.last",
            (known or "", rejected.reason, self._received, self._received),
        )

    def _note(self, stream: _Stream, sequence: int, kind: str, expected: str, found: str) -> None:
        """Put a finding on record, and log the first of its kind in a stream."""
        if kind not in stream.logged_kinds:
            stream.logged_kinds.add(kind)
            if not self._connection.execute(
                "SELECT 1 FROM finding WHERE stream = ? AND kind = ? LIMIT 1", (stream.key, kind)
            ).fetchone():
                fields: dict[str, Any] = {"gateway": stream.gateway.name, "stream": stream.name, "sequence": sequence}
                fields |= {"expected": expected, "found": found} | ({} if kind in _EVENTS else {"reason": kind})
                self._remarks.append((*_EVENTS.get(kind, _QUOTA), fields))
        self._connection.execute(
            "INSERT OR IGNORE INTO finding (stream, sequence, kind, expected, found, at) VALUES (?, ?, ?, ?, ?, ?)",
            (stream.key, sequence, kind, expected, found, self._received),
        )

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
            for stream in gateway.streams.values():
                self._write_head(stream)
            if len(gateway.streams) > 1:
                self._make_room(gateway, 0)

    def _write_head(self, stream: _Stream) -> None:
        if stream.dirty:
            self._connection.execute("UPDATE stream SET seen = ? WHERE id = ?", (stream.coverage.seen, stream.key))
            stream.dirty = False

    def _commit(self) -> None:
        self._connection.execute("COMMIT")

    def _log_remarks(self) -> None:
        for level, event, fields in self._remarks:
            getattr(log, level)(event, **fields)
        self._remarks.clear()


@contextmanager
def decision(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for what a person decides, in one transaction, also while an inbox writes; raises StoreError.

    Nothing that an inbox keeps in memory may be changed by it.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such database")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_S
        )
        connection.text_factory = decode_text
        try:
            check_version(path, connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as exc:
        raise _explained(path, exc) from exc


def check_version(path: Path, connection: sqlite3.Connection) -> None:
    """Raise StoreError where the file is not a database of this version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version in OLD_VERSIONS:
        raise StoreError(f"{path}: of an older version; `hadir-central inbox` brings it up to date when it starts")
    if version != MANAGED:
        raise StoreError(f"{path}: not a database of this version of hadir-central")


def _is_of_the_store(exc: Exception) -> bool:
    """Tell whether the file made this fail (disk, lock, damage) and not what was to be stored in it.

    Values make SQLite raise IntegrityError, DataError, ProgrammingError and InterfaceError; a full disk, a lock and a
    lost table are OperationalErrors, damage is a DatabaseError of no narrower kind.
    """
    return isinstance(exc, sqlite3.OperationalError | sqlite3.InternalError) or type(exc) is sqlite3.DatabaseError


def _contained(topic: str, payload: bytes, cut_from: int | None) -> Iterator[Event | Info | Rejected]:
    """Yield what a message holds; a mistake of ours in reading it ends it, and is named."""
    if cut_from is not None:
        yield Rejected("too_large", f"{cut_from} bytes, of which the beginning is here", payload)
        return
    try:
        yield from read_message(topic, payload)
    except Exception as exc:  # noqa: BLE001 - see _ingest_one
        yield Rejected("failed", _place(exc), payload)


def _sum(kept: Iterable[_Kept]) -> _Kept:
    total = _Kept()
    for one in kept:
        total.messages += one.messages
        total.size += one.size
    return total


def _place(exc: Exception) -> str:
    """Name an exception by kind and place: its text may hold what a person must not read in a log."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _sequence(found: Event | Info) -> int:
    return found.sequence if isinstance(found, Event) else found.assigned


def _text(found: Event | Info, payload: bytes) -> bytes:
    return found.body.encode() if isinstance(found, Event) else payload


_EVENTS = {
    "fork": ("error", "fork_found"),
    "break": ("error", "chain_broken"),
    "misidentified": ("error", "punch_misidentified"),
    "claimed_twice": ("error", "punch_claimed_twice"),
    "predecessor": ("error", "predecessor_differs"),
}
_QUOTA = ("error", "quota_reached")


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _explained(path: Path, exc: OSError | sqlite3.Error) -> StoreError:
    reason = exc.strerror if isinstance(exc, OSError) else str(exc)
    return StoreError(f"{path}: {reason}")
