"""The public interface of the ledger: a reader for any process, and the single writer."""

import json
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import DBAPIError

from drivers.base import BadRecord, RawPunch, Reading, Record
from gateway import event as event_module
from gateway.event import ClockEvidence, ReadingContext
from gateway.ledger import delivery, file, recovery
from gateway.ledger.delivery import Judged, Judgement, Receipt, ResendCounts, RetainedInfo, Selection
from gateway.ledger.file import FILE_NAME, SCHEMA, TABLES, UNDATED, KnownTerminal, LedgerError, LedgerFull, milliseconds
from gateway.ledger.file_import import FileSlice, ImportCounts
from gateway.ledger.reading import (
    SLICE,
    SLICE_MIN,
    LogImport,
    ReadingResult,
    Start,
    day_of,
    draft_of,
    identity_of,
    released_draft,
)
from gateway.ledger.space import DiskGuard, DiskState, Limits, Reserve
from gateway.ledger.stream import ROLLED_BACK, Location, Stream, inode_of, location_from, machine_ids
from gateway.ledger.transaction import Head, Transaction, present, unconfirmed
from gateway.ledger.verify import Row, Verdict, verify

MARKS_DELAY_S = 1.0
"""Maximum delay of writing an acknowledgement of the broker."""
LIVE_EXPECTED_S = 30.0
"""After a live punch, further ones are expected for this time."""

_UNSETTLED = f"body IS NOT NULL AND parked IS NOT {delivery.ALTERED} AND recorded_ms >= :since AND NOT {file.SETTLED}"

T = TypeVar("T")

log = structlog.get_logger("ledger")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored in the ledger."""

    sequence: int
    """Its number in the ledger."""
    topic: str
    body: str
    recorded_ms: int
    digest: str | None = None
    """The digest column, stored beside the body."""

    @property
    def is_altered(self) -> bool:
        """Whether the body does not fit its digest."""
        return self.digest is not None and not event_module.is_intact(self.body, self.digest)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the ledger's events."""

    sequence: int
    """Number of the newest event."""
    waiting: int
    sent: int
    parked: int
    altered: int
    """Of the parked ones, those whose body does not fit its digest."""
    withheld: int
    unconfirmed: int
    confirmed: int
    """Confirmed by a receipt of the centre."""
    missing: int
    """Listed as missing by a receipt, or of an earlier stream that no receipt will confirm."""
    oldest_waiting_ms: int | None
    last_sent_ms: int | None
    last_confirmed_ms: int | None


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Delivery counts of the records of one day of one terminal."""

    day: date | None
    """By the terminal's clock; None for the records without a readable date."""
    in_log: int | None
    """In the terminal's log at the last reading; None: no record of that day."""
    in_ledger: int
    """Events, without withheld records."""
    withheld: int
    sent: int
    confirmed: int
    """Of those, confirmed by a receipt of the centre."""


@dataclass(slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    settles: bool = False
    done: Future[Any] = field(default_factory=Future)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LedgerReader:
    """Reads a ledger, also while a daemon writes it. Changes nothing."""

    _oldest = SCHEMA
    """The oldest schema version that is readable without migration."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE_NAME
        if not self.path.exists():
            raise LedgerError(f"{self.path}: there is no ledger here yet; `hadir run` creates it")
        self._engine = file.engine_for(self.path, read_only=True)
        try:
            self._check_version()
        except LedgerError:
            self._engine.dispose()
            raise

    def _check_version(self) -> None:
        version = self._scalar("PRAGMA user_version")
        if version == 0:
            raise file.LedgerDamaged(f"{self.path}: it holds no ledger; {file.DAMAGED}")
        if version < self._oldest:
            raise LedgerError(
                f"{self.path}: written by an older version of hadir (tables {version}, this version has {SCHEMA}); "
                "start the daemon once, it brings them up to date"
            )
        if version > SCHEMA:
            raise LedgerError(
                f"{self.path}: written by a newer version of hadir (tables {version}, this version knows {SCHEMA}); "
                "install that version again, the ledger is unharmed"
            )

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def _rows(self, statement: str, **values: object) -> list[Any]:
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(text(statement), values))
        except DBAPIError as exc:
            raise file.explained(self.path, exc) from exc

    def _scalar(self, statement: str, **values: object) -> Any:
        rows = self._rows(statement, **values)
        return rows[0][0] if rows else None

    @property
    def stream(self) -> str:
        """Identifier of the present stream."""
        return self.streams()[-1].id

    def streams(self) -> list[Stream]:
        """Return all streams of this ledger, the present one last."""
        return [Stream(**row._mapping) for row in self._rows("SELECT * FROM stream ORDER BY number")]  # noqa: SLF001 - SQLAlchemy's documented way to a dictionary

    def base_of(self, stream: str) -> int | None:
        """Return an event's number here minus its sequence in ``stream``; None for a foreign stream."""
        base = self._scalar("SELECT base FROM stream WHERE id = :id", id=stream)
        return None if base is None else int(base)

    def digest(self, number: int) -> str | None:
        """Return the digest of the event with this number; None where there is none."""
        digest = self._scalar("SELECT digest FROM event WHERE sequence = :number", number=number)
        return None if digest is None else str(digest)

    def assigned(self) -> int:
        """Return the highest sequence assigned in the present stream."""
        return max(0, self.last_sequence() - self.streams()[-1].base)

    @property
    def source(self) -> str:
        """The gateway this ledger belongs to, ``/hadir/<site>/<gateway>``."""
        return str(self._scalar("SELECT source FROM gateway"))

    def terminals(self) -> list[KnownTerminal]:
        """Return the stored state of every terminal ever read, ordered by name."""
        return [file.known_from(row) for row in self._rows("SELECT * FROM terminal ORDER BY name")]

    def terminal(self, name: str) -> KnownTerminal | None:
        """Return the stored state of one terminal; None before its first contact."""
        rows = self._rows("SELECT * FROM terminal WHERE name = :name", name=name)
        return file.known_from(rows[0]) if rows else None

    def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` events behind number ``after``, in order, sent or not, without pruned ones."""
        return self._events("body IS NOT NULL", after, limit)

    def pending(self, after: int, limit: int, topic: str | None = None) -> list[StoredEvent]:
        """Return up to ``limit`` events behind ``after`` that wait for the broker, in order."""
        condition = "sent_ms IS NULL AND parked IS NULL"
        return self._events(f"{condition} AND topic = :topic" if topic else condition, after, limit, topic=topic)

    def _events(self, condition: str, after: int, limit: int, **values: object) -> list[StoredEvent]:
        rows = self._rows(
            "SELECT sequence, topic, body, recorded_ms, digest FROM event "
            f"WHERE sequence > :after AND {condition} ORDER BY sequence LIMIT :limit",
            after=after,
            limit=limit,
            **values,
        )
        return [StoredEvent(*row) for row in rows]

    def unsettled(self, after: int, limit: int, since_ms: int = 0) -> list[StoredEvent]:
        """Return up to ``limit`` events behind ``after``, recorded from ``since_ms`` on, whose delivery is incomplete.

        Also those acknowledged or refused by the broker: delivery is complete as defined for retention (``SETTLED``).
        """
        return self._events(_UNSETTLED, after, limit, since=since_ms)

    def count_unsettled(self, after: int, since_ms: int = 0) -> int:
        """Count what :meth:`unsettled` would return without a limit."""
        statement = f"SELECT count(*) FROM event WHERE sequence > :after AND {_UNSETTLED}"
        return int(self._scalar(statement, after=after, since=since_ms))

    def again_upto(self) -> int:
        """Return the highest number that may have been marked for resending."""
        return int(self._scalar("SELECT again_upto FROM delivery"))

    def last_sequence(self) -> int:
        """Return the number of the newest event; 0 in an empty ledger."""
        return self._scalar("SELECT max(sequence) FROM event") or 0

    def counts(self) -> Counts:
        """Count the events by their delivery state."""
        sequence = self.last_sequence()
        # Queried every minute: each of these uses a small index, however many events there are.
        waiting = self._scalar("SELECT count(*) FROM event WHERE sent_ms IS NULL AND parked IS NULL")
        oldest = self.pending(0, 1)
        parked = self._scalar("SELECT count(*) FROM event WHERE parked IS NOT NULL")
        upto, confirmed_ms = self._rows("SELECT upto, confirmed_ms FROM delivery")[0]
        missing = self._scalar("SELECT coalesce(sum(last - first + 1), 0) FROM missing")
        return Counts(
            sequence=sequence,
            waiting=waiting,
            sent=sequence - waiting - parked,
            parked=parked,
            altered=self._scalar(
                f"SELECT count(*) FROM event WHERE parked IS NOT NULL AND parked = {delivery.ALTERED}"
            ),
            withheld=self._scalar("SELECT count(*) FROM withheld"),
            unconfirmed=self._scalar("SELECT count(*) FROM unconfirmed"),
            confirmed=upto - missing,
            missing=missing,
            oldest_waiting_ms=oldest[0].recorded_ms if oldest else None,
            last_sent_ms=self._scalar("SELECT last_sent_ms FROM gateway"),
            last_confirmed_ms=confirmed_ms,
        )

    def punches(self) -> int:
        """Count the punches stored, of all terminals."""
        return int(self._scalar("SELECT count(*) FROM event WHERE topic LIKE 'punch/%'"))

    # Verification.

    def verify(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Verdict:
        """Verify all events; ``progress`` receives the numbers of verified and of all events."""
        return verify(self, file.read_chain_end(self.path.with_name(file.LOCK_NAME)), progress)

    def rows(self, after: int, limit: int) -> list[Row]:
        """Return up to ``limit`` events behind number ``after`` as stored in the file."""
        rows = self._rows(
            "SELECT sequence, id, CAST(topic AS BLOB), CAST(body AS BLOB), CAST(digest AS BLOB) FROM event "
            "WHERE sequence > :after ORDER BY sequence LIMIT :limit",
            after=after,
            limit=limit,
        )
        return [
            Row(*row[:2], *(None if text is None else text.decode("utf-8", "replace") for text in row[2:]))
            for row in rows
        ]

    def dangling_references(self) -> list[tuple[int, str]]:
        """Return references to a missing or wrong event: its number and what is wrong."""
        rows = self._rows(
            "SELECT sequence, 'a record of a log has its place but no event' FROM place "
            "WHERE sequence IS NOT NULL AND NOT EXISTS "
            "(SELECT 1 FROM event WHERE event.sequence = place.sequence AND event.terminal IS NOT NULL) "
            "UNION ALL SELECT unconfirmed.sequence, 'a live punch waits for its log but has no event' FROM unconfirmed "
            "LEFT JOIN event ON event.id = unconfirmed.id WHERE event.sequence IS NOT unconfirmed.sequence "
            "UNION ALL SELECT 0, 'the known order of a log has gaps' FROM terminal LEFT JOIN place "
            "ON place.terminal = terminal.number AND place.generation = terminal.generation GROUP BY terminal.number "
            "HAVING count(position) <> length OR coalesce(max(position) + 1, 0) <> length LIMIT 1"
        )
        return [(int(number), what) for number, what in rows]

    def placed(self, name: str) -> int:
        """Count the stored places of a terminal's present log generation."""
        return int(
            self._scalar(
                "SELECT count(*) FROM place JOIN terminal ON terminal.number = place.terminal "
                "AND terminal.generation = place.generation WHERE name = :name",
                name=name,
            )
        )

    def tally(self, name: str, since: date = date.min) -> list[DayCounts]:
        """Return the delivery counts of each day from ``since`` on; records without a day first."""
        rows = self._rows(
            "WITH events AS (SELECT day, count(*) AS recorded, count(sent_ms) AS sent, "
            f"sum({file.CONFIRMED}) AS confirmed FROM event "
            "WHERE terminal = :terminal AND (day >= :since OR day = :undated) GROUP BY day), "
            "held AS (SELECT day, count(*) AS withheld FROM withheld WHERE terminal = :terminal GROUP BY day), "
            "days AS (SELECT day FROM events UNION SELECT day FROM held "
            "UNION SELECT day FROM log_day WHERE terminal = :terminal) "
            "SELECT day, (SELECT records FROM log_day WHERE terminal = :terminal AND log_day.day = days.day), "
            "coalesce(recorded, 0), coalesce(withheld, 0), coalesce(sent, 0), coalesce(confirmed, 0) FROM days "
            "LEFT JOIN events USING (day) LEFT JOIN held USING (day) "
            "WHERE day >= :since OR day = :undated ORDER BY day",
            terminal=self._number_of(name),
            since=since.toordinal(),
            undated=UNDATED,
        )
        return [DayCounts(None if row[0] == UNDATED else date.fromordinal(row[0]), *row[1:]) for row in rows]

    def hours(self, name: str, since: date) -> dict[tuple[date, int], int]:
        """Count a terminal's punches of each day and hour by its clock, from ``since`` on, withheld ones among them.

        Pruned punches are not counted.
        """
        hour = "CAST(substr(json_extract({}, '$.{}local_time'), 12, 2) AS INTEGER) AS hour"
        rows = self._rows(
            f"SELECT day, hour, count(*) FROM (SELECT day, {hour.format('body', 'data.')} FROM event "
            "WHERE terminal = :terminal AND day >= :since AND topic LIKE 'punch/%' UNION ALL "
            f"SELECT day, {hour.format('record', '')} FROM withheld WHERE terminal = :terminal AND day >= :since) "
            "WHERE hour IS NOT NULL GROUP BY day, hour",
            terminal=self._number_of(name),
            since=since.toordinal(),
        )
        return {(date.fromordinal(day), hour): count for day, hour, count in rows}

    def quarters(self, first: date, last: date) -> dict[tuple[date, int], int]:
        """Count the punches of all terminals, by their clocks, in each quarter of an hour of the days given.

        Quarters are counted from midnight, from 0 to 95. Neither withheld nor pruned punches are counted.
        """
        rows = self._rows(
            "SELECT day, CAST(substr(local_time, 12, 2) AS INTEGER) * 4 + CAST(substr(local_time, 15, 2) AS INTEGER) "
            "/ 15 AS quarter, count(*) FROM (SELECT day, json_extract(body, '$.data.local_time') AS local_time "
            "FROM event WHERE terminal IN (SELECT number FROM terminal) AND day BETWEEN :first AND :last "
            "AND topic LIKE 'punch/%') WHERE local_time IS NOT NULL GROUP BY day, quarter",
            first=first.toordinal(),
            last=last.toordinal(),
        )
        return {(date.fromordinal(day), quarter): count for day, quarter, count in rows}

    def punch_times(self, name: str, since: datetime) -> list[datetime]:
        """Return the local times, by the terminal's clock, of its punches from ``since`` (naive) on."""
        rows = self._rows(
            "SELECT json_extract(body, '$.data.local_time') AS local_time FROM event WHERE terminal = :terminal "
            "AND day >= :day AND topic LIKE 'punch/%' AND local_time >= :since",
            terminal=self._number_of(name),
            day=since.toordinal(),
            since=since.isoformat("T", "seconds"),
        )
        return [datetime.fromisoformat(row[0]) for row in rows]

    def _number_of(self, name: str) -> int | None:
        found: int | None = self._scalar("SELECT number FROM terminal WHERE name = :name", name=name)
        return found

    def files(self, name: str) -> set[str]:
        """Return the SHA-256 of every completely imported file of a terminal."""
        rows = self._rows(
            "SELECT sha256 FROM file JOIN terminal ON terminal.number = file.terminal WHERE terminal.name = :name",
            name=name,
        )
        return {row[0] for row in rows}

    def held(self, serial: str, records: Sequence[Record]) -> int:
        """Count those of a few records whose keys are stored for the terminal with this serial."""
        identities = [identity_of(serial, event_module.checked(record), 1).bytes for record in records]
        try:
            with self._engine.connect() as connection:
                return len(present(connection, identities))
        except DBAPIError as exc:
            raise file.explained(self.path, exc) from exc

    # What a reading is aligned with.

    def order(self, known: KnownTerminal, first: int, count: int) -> list[bytes]:
        """Return up to ``count`` fingerprints of a terminal's stored order, from position ``first`` on."""
        rows = self._rows(
            "SELECT fingerprint FROM place WHERE terminal = :terminal AND generation = :generation "
            "AND position >= :first AND position < :end ORDER BY position",
            terminal=known.number,
            generation=known.generation,
            first=first,
            end=first + count,
        )
        return [row[0] for row in rows]

    def earlier_records(self, known: KnownTerminal, before: int) -> dict[bytes, deque[int | None]]:
        """Return fingerprint → events (None: withheld) of the records in this serial's generations before one.

        A record of several generations counts once: it was matched from one to the next.
        """
        rows = self._rows(
            "SELECT generation, fingerprint, sequence FROM place WHERE terminal = :terminal "
            "AND generation >= :first AND generation < :before ORDER BY generation, position",
            terminal=known.number,
            first=known.first_generation,
            before=before,
        )
        found: dict[bytes, deque[int | None]] = {}
        newest: dict[bytes, int] = {}
        for generation, fingerprint, sequence in rows:
            if newest.get(fingerprint) != generation:
                newest[fingerprint] = generation
                found[fingerprint] = deque()
            found[fingerprint].append(sequence)
        return found

    def bindings(self, known: KnownTerminal) -> dict[int, str]:
        """Return the last known PIN of each internal user number of a terminal."""
        rows = self._rows(
            "SELECT uid, pin FROM binding WHERE terminal = :terminal ORDER BY last_ms", terminal=known.number
        )
        return dict(tuple(row) for row in rows)

    def believed(self, identities: Iterable[bytes]) -> bool:
        """Return whether a log, and not only a live event, contained a record with one of these identities."""
        identities = iter(identities)
        try:
            with self._engine.connect() as connection:
                while chunk := list(islice(identities, SLICE)):
                    if present(connection, chunk) - unconfirmed(connection, chunk).keys():
                        return True
        except DBAPIError as exc:
            raise file.explained(self.path, exc) from exc
        return False


class _MigratingReader(LedgerReader):
    """Reads also older schema versions, which are to be migrated."""

    _oldest = 1


class Ledger(LedgerReader):
    """The writable ledger of a running daemon. Thread-safe."""

    def __init__(
        self,
        data_dir: Path,
        source: str,
        *,
        now: Callable[[], datetime] = _utc_now,
        machine: Callable[[], frozenset[str]] = machine_ids,
        limits: Limits | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Open or create the ledger in ``data_dir`` for ``source``, on the machine with these marks.

        A ledger that was copied, restored or rolled back opens a new stream. A damaged one is set aside and recovered,
        which opens a new stream too. With ``limits`` settled events are pruned when they are old or space is needed.
        ``progress`` is called regularly while a ledger that was not closed properly is checked.

        Raises LedgerLocked where another process holds it, LedgerFull where the disk is full, and LedgerError where it
        belongs to another gateway or program, or was written by a newer version.
        """
        self.path = data_dir / FILE_NAME
        self._now = now
        self._source = source
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock_file = file.lock(data_dir / file.LOCK_NAME)
            file.tighten(data_dir)
        except OSError as exc:
            raise file.unusable(data_dir, exc) from exc
        try:
            self.last_alive = file.last_alive(data_dir / file.LOCK_NAME) if self.path.exists() else None
            mark = file.read_chain_end(data_dir / file.LOCK_NAME)
            self.salvage = self._sound(mark, progress)
            _MigratingReader(data_dir).close()  # refuses an unsuitable file without changing it
            self._engine = file.engine_for(self.path, read_only=False)
            try:
                self.was_clean = self._open(source)
                self._head = self._end_of_chain(mark)
                self.broken = self._broken(mark, Location(machine(), inode_of(self.path)))
                with self._engine.connect() as connection:
                    self._disk_guard = DiskGuard(data_dir, limits, connection)
            except BaseException:
                self._engine.dispose()
                raise
        except BaseException as exc:
            self._lock_file.close()
            if isinstance(exc, DBAPIError):
                raise file.explained(self.path, exc) from exc
            if isinstance(exc, OSError):
                raise file.unusable(data_dir, exc) from exc
            raise
        self._stream = self._head.stream
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._marks: list[tuple[int, int | None]] = []
        self._marks_lock = threading.Lock()
        self._imports_running = 0
        """Number of readings being stored now."""
        self._live_expected_until = 0.0
        """Monotonic time until which live punches are expected."""
        self._imports_lock = threading.Lock()
        self._sessions = int(self._scalar("SELECT sessions FROM gateway"))
        self._closed = False
        self._transaction_began: float | None = None
        """Monotonic time at which the writer began its present transaction."""
        self._submit_lock = threading.Lock()
        self.on_recorded: Callable[[], None] = lambda: None
        """Called after each commit that added events, from the writer's thread."""
        self.on_resend: Callable[[], None] = lambda: None
        """Called after events were marked for resending."""
        self.failure: BaseException | None = None
        """The exception that ended the writer or showed the file as unusable, if any."""
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()
        if self.broken is not None:
            try:
                self.open_stream(self.broken)
            except LedgerError:
                self.close()  # it must not continue its old stream
                raise

    def _sound(self, mark: file.Mark | None, progress: Callable[[], None]) -> recovery.Salvage | None:
        """Create the ledger, or recover a damaged one; return the result of a recovery."""
        if recovery.unfinished(self.path):
            recovery.replace_file(self.path)
        if not self.path.exists():
            file.create(self.path, self._source)
            return None
        what = recovery.damage(self.path, progress)
        if what is None:
            return None
        salvage = recovery.rebuild(self.path, self._source, mark, what, progress)
        log.critical("ledger_salvaged", damage=what, kept=salvage.kept, set_aside=str(salvage.aside))
        return salvage

    def _end_of_chain(self, mark: file.Mark | None) -> Head:
        streams = self.streams()
        if not streams:
            return Head(0, "", "", 0)
        stream = streams[-1]
        rows = self._rows("SELECT sequence, digest FROM event ORDER BY sequence DESC LIMIT 1")
        number, digest = rows[0] if rows else (0, "")
        if not rows and mark is not None and mark.stream == stream.id:
            number, digest = mark.number, mark.digest  # no event was recovered, but the end of the chain is known
        if number <= stream.base:
            digest = event_module.first_previous(stream.id)
        return Head(number, digest, stream.id, stream.base)

    def _broken(self, mark: file.Mark | None, here: Location) -> str | None:
        """Return why this ledger must not continue its stream, if so; store ``here`` as its location."""
        row = self._rows("SELECT home, broken FROM gateway")[0]
        reason: str | None = row.broken
        if reason is None and row.home is not None:
            reason = location_from(row.home).left(here)
        if reason is None and mark is not None:
            digest = self._scalar("SELECT digest FROM event WHERE sequence = :number", number=mark.number)
            reason = None if digest == mark.digest else ROLLED_BACK
        with self._engine.connect() as connection:
            # Stored, so that a crash at this point does not lose the reason.
            connection.exec_driver_sql("UPDATE gateway SET home = ?, broken = ?", (here.text(), reason))
        return reason

    def _open(self, source: str) -> bool:
        """Check the owner, migrate, and mark the ledger as open; return whether it was closed properly."""
        try:
            return self._check_owner(source)
        except DBAPIError as exc:
            if not file.is_disk_full(exc):
                raise
            Reserve(self.path.parent).release()
            return self._check_owner(source)

    def _check_owner(self, source: str) -> bool:
        with self._engine.connect() as connection:
            row = connection.exec_driver_sql("SELECT source, clean FROM gateway").first()
            if row is None:
                raise file.LedgerDamaged(f"{self.path}: it does not say whose it is; {file.DAMAGED}")
            owner, clean = row
            if owner != source:
                raise LedgerError(
                    f"{self.path}: this ledger belongs to {owner}, the configuration says {source}; "
                    "put `site` and `gateway` back, or choose another data_dir"
                )
            file.migrate(connection)
            connection.exec_driver_sql("UPDATE gateway SET clean = 0")
        return bool(clean)

    @property
    def stream(self) -> str:
        """Identifier of the present stream."""
        return self._stream

    def open_stream(self, reason: str) -> str:
        """Open a new stream with the next event, which names the predecessor, and return its name.

        Waiting events of earlier streams are sent unchanged.
        """
        name = self.do(lambda transaction: transaction.open_stream(reason, lost=transaction.gaps()))
        log.warning("stream_opened", reason=reason, stream=name, predecessor=self.streams()[-1].predecessor)
        return name

    def alive(self) -> None:
        """Update the lock file's time, not the ledger; ``gateway.resumed`` reports it after a crash."""
        os.utime(self._lock_file.fileno())

    def _rows(self, statement: str, **values: object) -> list[Any]:
        try:
            return super()._rows(statement, **values)
        except file.LedgerDamaged as exc:
            # The process ends; the next start finds a ledger that was not closed properly, and checks it.
            self.failure = getattr(self, "failure", None) or exc
            raise

    def close(self) -> None:
        """Finish waiting jobs, mark the ledger as properly closed and release it."""
        if self._closed:
            return
        with self._submit_lock:
            self._closed = True
            self._jobs.put(None)
        self._writer.join()
        try:
            if self.failure is None:
                with self._engine.connect() as connection:
                    self._disk_guard.save_size(connection, self._head.sequence, 0, always=True)
                    connection.exec_driver_sql("UPDATE gateway SET clean = 1")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except DBAPIError as exc:
            if not file.is_disk_full(exc):  # otherwise it is only checked at the next start
                raise file.explained(self.path, exc) from exc
        finally:
            super().close()
            self._lock_file.close()

    # Recording.

    def disk_state(self) -> DiskState:
        """Return what the disk has space for: ``all``, ``news`` (no long imports), or ``none``.

        With ``none``, recording raises LedgerFull; waiting events are delivered all the same.
        """
        return self._disk_guard.state

    def days_left(self) -> int | None:
        """Return in how many days the free space reaches its floor; None where that is unknown, or never."""
        return self._disk_guard.days_left()

    @property
    def stalled_s(self) -> float:
        """For how many seconds the writer has been busy with one transaction; 0 while it waits for work."""
        began = self._transaction_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def body_bytes(self) -> int:
        """Size of all bodies, in bytes."""
        return self._disk_guard.body_bytes

    def next_session(self) -> int:
        """Return the next session number, higher than any before, for one connection to the broker.

        While the disk is full, it is only higher than any since the start.
        """

        def work(transaction: Transaction) -> None:
            transaction.connection.exec_driver_sql("UPDATE gateway SET sessions = ?", (session,))

        self._sessions += 1
        session: int = self._sessions
        with suppress(LedgerFull):
            self.do(work)
        return session

    def pin_serial(self, name: str, serial: str) -> KnownTerminal:
        """Pin ``serial`` to the terminal ``name`` at first contact, or replace it after a change of the configuration.

        A new serial begins a new generation of the log. Returns the stored state.
        """

        def work(transaction: Transaction) -> None:
            changed = transaction.connection.exec_driver_sql(
                "UPDATE terminal SET serial = ?, generation = generation + 1, first_generation = generation + 1, "
                "length = 0, shift = 0, matched_until = NULL, cleared = 0, withheld_until = NULL, shrunk_to = NULL, "
                "layout = NULL, ranged = NULL, threshold = NULL, offset_ms = NULL, bound_ms = NULL, measured_ms = NULL "
                "WHERE name = ? AND serial <> ?",
                (serial, name, serial),
            ).rowcount
            if changed:
                # The old device's log, which could have confirmed them, is gone, and so are its user numbers.
                for table in ("unconfirmed", "binding", "log_day"):
                    transaction.connection.exec_driver_sql(
                        f"DELETE FROM {table} WHERE terminal = (SELECT number FROM terminal WHERE name = ?)", (name,)
                    )
            else:
                transaction.connection.exec_driver_sql(
                    "INSERT INTO terminal "
                    "(name, serial, generation, first_generation, length, shift, matched_until, cleared) "
                    "VALUES (?, ?, 0, 0, 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING",
                    (name, serial),
                )

        self.do(work)
        known = self.terminal(name)
        assert known is not None  # noqa: S101 - it was written above
        return known

    def record_note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> int:
        """Store a note about ``moment`` (aware) and return its sequence."""
        return self.do(lambda transaction: transaction.note(event_type, subject, moment, data))

    def remember(self, name: str, *, ranged: bool | None = None, threshold: int | None = None) -> None:
        """Store properties of a terminal; None leaves a property unchanged."""

        def work(transaction: Transaction) -> None:
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET ranged = coalesce(?, ranged), threshold = coalesce(?, threshold) WHERE name = ?",
                (ranged, threshold, name),
            )

        self.do(work)

    def remember_clock(self, name: str, clock: ClockEvidence) -> None:
        """Store a measurement of a terminal's clock, made with a synchronised clock, for the next start."""

        def work(transaction: Transaction) -> None:
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET offset_ms = ?, bound_ms = ?, measured_ms = ? WHERE name = ?",
                (clock.offset_ms, clock.bound_ms, file.milliseconds(clock.measured), name),
            )

        self.do(work)

    def record_live(self, context: ReadingContext, record: RawPunch) -> bool:
        """Store a live punch; False where its key is stored already, or its PIN is invalid: the log decides."""
        number = self._number(context.terminal)
        checked = event_module.checked(record)
        if isinstance(checked, BadRecord):
            return False
        record = checked
        self._live_expected_until = time.monotonic() + LIVE_EXPECTED_S

        def work(transaction: Transaction) -> bool:
            draft = event_module.punch_draft(record, context, occurrence=1, position=None)
            if transaction.holds(draft.id.bytes):
                return False
            sequence = transaction.add(draft, terminal=number, day=record.local_time.toordinal())
            row = {
                "id": draft.id.bytes,
                "terminal": number,
                "sequence": sequence,
                "state": record.state,
                "verify": record.verify,
                "work_code": record.work_code,
                "recorded_ms": transaction.now_ms,
                "reported": False,
            }
            transaction.connection.execute(insert(TABLES["unconfirmed"]), row)
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET last_punch = ? WHERE number = ?", (record.local_time.isoformat(), number)
            )
            return True

        return self.do(work)

    def record_reading(
        self,
        context: ReadingContext,
        reading: Reading,
        *,
        start: Start = "all",
        pins: Mapping[int, str] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> ReadingResult:
        """Store the new records of a reading of a terminal's log, in slices that are committed one by one.

        ``pins`` resolves internal user numbers, ``start`` selects what of a first reading to withhold, ``between`` is
        called after each slice, so that live punches do not wait for the end of a long import. Raises Unaligned, with
        nothing stored, where a reading that does not begin at position 0 has no overlap with the stored log.
        """
        known = self.terminal(context.terminal)
        if known is None:
            raise LedgerError(f"terminal {context.terminal} has no pinned serial; pin_serial comes first")
        with self._imports_lock:
            self._imports_running += 1
        try:
            intake = LogImport(self, known, context, reading, start=start, pins=pins)
            return intake.store(between, self._slice_divisor)
        finally:
            with self._imports_lock:
                self._imports_running -= 1

    def _slice_divisor(self) -> int:
        """Return the divisor of a slice: the number of concurrent readings, or more while live punches arrive."""
        if time.monotonic() < self._live_expected_until:
            return SLICE // SLICE_MIN
        return self._imports_running

    def record_final(self, context: ReadingContext, record: Record) -> bool:
        """Store a record of a terminal without a log; an unreadable record with known bytes is not new.

        No log can confirm it, and only its arrival distinguishes two of them: a known key is a further occurrence.
        """
        number = self._number(context.terminal)
        record = event_module.checked(record)

        def work(transaction: Transaction) -> bool:
            occurrence = 1
            first = identity = identity_of(context.serial, record, 1)
            while transaction.holds(identity.bytes):
                if isinstance(record, BadRecord):
                    return False
                occurrence += 1
                identity = identity_of(context.serial, record, occurrence)
            transaction.add(draft_of(record, context, occurrence, None, first), terminal=number, day=day_of(record))
            if isinstance(record, RawPunch):
                transaction.connection.exec_driver_sql(
                    "UPDATE terminal SET last_punch = ? WHERE number = ?", (record.local_time.isoformat(), number)
                )
            return True

        return self.do(work)

    def record_file(
        self, context: ReadingContext, records: Sequence[Record], *, before: Sequence[Record] = (), begun_at: int
    ) -> ImportCounts:
        """Store those records of a file that are new, in one transaction: see :mod:`gateway.ledger.file_import`.

        ``before`` are the last records in front of them in the file, up to :data:`BEFORE`, and ``begun_at`` the
        ledger's last sequence when the file was begun.
        """
        known = self.terminal(context.terminal)
        if known is None:
            raise LedgerError(f"terminal {context.terminal} has no pinned serial; pin_serial comes first")
        records = [event_module.checked(record) for record in records]
        file_slice = FileSlice(
            known, context, before, records, begun_at, lambda: b"".join(self.order(known, 0, known.length))
        )
        return self.do(file_slice.store)

    def note_file(self, context: ReadingContext, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """Add a note that a file was imported completely; return False where that was noted before.

        ``about`` is the event's data, ``report`` is stored in the ledger only.
        """
        number = self._number(context.terminal)

        def work(transaction: Transaction) -> bool:
            key = (number, about["sha256"])
            known = "SELECT 1 FROM file WHERE terminal = ? AND sha256 = ?"
            if transaction.connection.exec_driver_sql(known, key).first():
                return False
            moment = context.now.astimezone(context.zone)
            data = {"terminal": context.terminal, "serial": context.serial, **about}
            sequence = transaction.note(event_module.FILE_IMPORTED, context.terminal, moment, data)
            row = {
                "terminal": number,
                "sha256": about["sha256"],
                "name": about["name"],
                "size": about["size"],
                "sequence": sequence,
                "report": json.dumps(report),
            }
            transaction.connection.execute(insert(TABLES["file"]), row)
            return True

        return self.do(work)

    def release(self, context: ReadingContext, first: date = date.min, last: date = date.max) -> int:
        """Add withheld records of a terminal, dated from ``first`` to ``last``, to the stream.

        Without bounds this includes those without a readable date. Returns their number.
        """
        known = self.terminal(context.terminal)
        if known is None:
            return 0
        low = UNDATED if first == date.min else first.toordinal()
        released = 0

        def work(transaction: Transaction) -> int:
            rows = transaction.connection.exec_driver_sql(
                "SELECT id, generation, position, record, day FROM withheld WHERE terminal = ? AND day BETWEEN ? AND ? "
                "ORDER BY generation, position LIMIT ?",
                (known.number, low, last.toordinal(), SLICE),
            ).all()
            for row in rows:
                position = row.position - known.shift if row.generation == known.generation else -1
                draft = released_draft(row, context, None if position < 0 else position)
                sequence = transaction.add(draft, terminal=known.number, day=row.day)
                transaction.connection.exec_driver_sql("DELETE FROM withheld WHERE id = ?", (row.id,))
                transaction.connection.exec_driver_sql(
                    "UPDATE place SET sequence = ? WHERE terminal = ? AND generation = ? AND position = ?",
                    (sequence, known.number, row.generation, row.position),
                )
            return len(rows)

        while count := self.do(work):
            released += count
        return released

    def _number(self, name: str) -> int:
        number = self._number_of(name)
        if number is None:
            raise LedgerError(f"terminal {name} has no pinned serial; pin_serial comes first")
        return number

    # Delivery.

    def mark_sent(self, sequences: Iterable[int]) -> None:
        """Mark events as sent. Returns at once; after a crash within a second they are sent again."""
        with self._marks_lock:
            self._marks.extend((sequence, None) for sequence in sequences)

    def park(self, sequence: int, reason: int) -> None:
        """Mark an event as permanently refused by the broker, with its reason code."""
        with self._marks_lock:
            self._marks.append((sequence, reason))

    def set_aside(self, numbers: Sequence[int]) -> int:
        """Set events aside whose bodies do not fit their digests; return how many are newly marked. See `delivery`."""
        return sum(
            self.do(partial(delivery.set_aside, numbers=numbers[first : first + delivery.PRUNED_PER_CALL]))
            for first in range(0, len(numbers), delivery.PRUNED_PER_CALL)
        )

    def trust(self, confirm: str) -> None:
        """Store whose acknowledgement counts: ``centre``, ``broker``, ``auto`` (the centre after a receipt)."""
        if self._scalar("SELECT confirm FROM delivery") != confirm:
            with suppress(LedgerFull):
                self.do(lambda transaction: delivery.choose(transaction, confirm), settles=True)

    def note_receipt(self, receipt: Receipt) -> Judgement:
        """Judge a receipt and store its content, in one transaction.

        Where it proves that the ledger was rolled back, a new stream is opened. Raises LedgerFull, with nothing
        changed, where the disk is full.
        """
        return self._judged(
            lambda transaction: delivery.note_receipt(transaction, receipt), f"a receipt for {receipt.upto} events"
        )

    def judge_info(self, info: RetainedInfo) -> Judgement:
        """Judge the retained ``info`` of this gateway: like :meth:`note_receipt`, with nothing to store."""
        return self._judged(
            lambda transaction: delivery.judge(transaction, info.stream, info.sequence),
            f"the broker has retained that {info.sequence} events were recorded",
        )

    def _judged(self, judge: Callable[[Transaction], Judged], claim: str) -> Judgement:
        """Run a judgement as a settling job; ``claim`` describes the judged claim in the log."""

        def work(transaction: Transaction) -> Judged:
            judged = judge(transaction)
            if judged.judgement is Judgement.SET_BACK and self._disk_guard.full:
                raise LedgerFull(f"{self.path}: the disk is too full to begin a new stream; make room on it")
            if judged.first is not None:
                self._disk_guard.note_settled(judged.first)
            return judged

        judged = self.do(work, settles=True)
        if judged.judgement is Judgement.SET_BACK:
            log.error("rollback_detected", assigned=judged.assigned, proof=claim)
            log.warning(
                "stream_opened", reason=ROLLED_BACK, stream=self.stream, predecessor=self.streams()[-1].predecessor
            )
        return judged.judgement

    def resend_missing(self) -> ResendCounts:
        """Mark some of the missing events for resending; pruned ones are listed in a note."""
        owed = self.do(delivery.resend_missing)
        if owed.events:
            self.on_resend()
        return owed

    def resend(self, selection: Selection) -> ResendCounts:
        """Mark the selected events for resending, unchanged; pruned ones are listed in a note.

        Events that wait anyway are not counted.
        """
        self.do(lambda transaction: delivery.note_pruned(transaction, selection))
        forgotten = self.do(lambda transaction: delivery.count_pruned(transaction, selection))
        events = 0
        while chosen := self.do(partial(delivery.mark_for_resend, selection=selection)):
            events += len(chosen)
            selection = replace(selection, first=chosen[-1] + 1)
            self.on_resend()
        return ResendCounts(events, forgotten)

    def flush_marks(self) -> None:
        """Write the marks of :meth:`mark_sent` now; on a full disk they wait."""
        with suppress(LedgerFull):
            self.do(lambda _: None)

    # The writer.

    def do(self, work: Callable[[Transaction], T], *, settles: bool = False) -> T:
        """Run ``work`` in the writer's next transaction; return its result after the commit.

        Raises LedgerFull, with nothing stored, where the disk is full. A job that ``settles`` earlier events, so that
        they can be pruned, is attempted even then.
        """
        job = _Job(work, settles)
        with self._submit_lock:  # a job queued after the stop item would never be answered
            if self._closed or self.failure is not None:
                raise LedgerError(f"{self.path}: the ledger is closed") from self.failure
            self._jobs.put(job)
        result: T = job.done.result()
        return result

    def _write(self) -> None:
        jobs: list[_Job] = []
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA cache_size = -{file.WRITER_CACHE_KIB}")
                stop = False
                while not stop:
                    jobs, stop = self._take()
                    self._transaction_began = time.monotonic()
                    self._commit(connection, jobs)
                    if not stop:
                        self._disk_guard.run_step(connection, self._head.sequence, milliseconds(self._now()))
                    self._transaction_began = None
        except BaseException as exc:  # noqa: BLE001 - waiting callers must receive every error
            self.failure = file.explained(self.path, exc) if isinstance(exc, DBAPIError) else exc
            self._transaction_began = None
            while True:
                self._refuse(jobs, exc)
                following = self._jobs.get()
                if following is None:
                    return
                jobs = [following]

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for jobs, or until marks are due; return all queued jobs, and whether to stop."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=0.001 if self._disk_guard.busy else MARKS_DELAY_S)
            while job is not None:
                jobs.append(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        if self._disk_guard.full:
            # The remaining space is reserved for delivery marks: they settle events, which can then be pruned.
            recording = [job for job in jobs if not job.settles]
            self._refuse(recording, LedgerFull(f"{self.path}: the disk is full; make room on it"))
            jobs = [job for job in jobs if job.settles]
        with self._marks_lock:
            marks, self._marks = self._marks, []
        if not jobs and not marks:
            return
        before = replace(self._head)
        try:
            results = self._transact(connection, jobs, marks, before.written)
        except DBAPIError as exc:
            self._head = before
            error = file.explained(self.path, exc)
            if not isinstance(error, LedgerFull):
                raise error from exc
            if connection.connection.in_transaction:
                connection.exec_driver_sql("ROLLBACK")
            with self._marks_lock:
                self._marks = marks + self._marks
            self._disk_guard.note_disk_full()
            self._refuse(jobs, error)
            return
        self._stream = self._head.stream
        self._disk_guard.note_written(self._head.sequence, self._head.written - before.written)
        if marks:
            self._disk_guard.note_settled(min(sequence for sequence, _ in marks))
        if self._head.sequence > before.sequence:
            file.write_chain_end(self._lock_file, self._mark())
        # Results are returned only after the commit.
        for job, result in results:
            job.done.set_result(result)
        if self._head.sequence > before.sequence:
            self.on_recorded()

    def _transact(
        self, connection: Connection, jobs: list[_Job], marks: list[tuple[int, int | None]], written: int
    ) -> list[tuple[_Job, Any]]:
        """Run jobs and write marks in one transaction; return the results of the successful jobs."""
        results: list[tuple[_Job, Any]] = []
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        transaction = Transaction(connection, self._source, self._head, self._now())
        self._write_marks(connection, marks, transaction.now_ms)
        for job in jobs:
            here = replace(self._head)
            connection.exec_driver_sql("SAVEPOINT job")
            try:
                result = job.work(transaction)
                transaction.flush()
            except DBAPIError:
                raise
            except Exception as exc:  # noqa: BLE001 - a job's error is raised in its caller only
                transaction = Transaction(connection, self._source, here, transaction.now)
                self._head = here
                connection.exec_driver_sql("ROLLBACK TO job")
                job.done.set_exception(exc)
            else:
                results.append((job, result))
            connection.exec_driver_sql("RELEASE job")
        self._disk_guard.save_size(connection, self._head.sequence, self._head.written - written)
        connection.exec_driver_sql("COMMIT")
        return results

    @staticmethod
    def _refuse(jobs: list[_Job], error: BaseException) -> None:
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(error)

    def _mark(self) -> file.Mark:
        head = self._head
        return file.Mark(head.sequence, head.sequence - head.base, head.digest, head.stream)

    @staticmethod
    def _write_marks(connection: Connection, marks: list[tuple[int, int | None]], now_ms: int) -> None:
        sent = [(now_ms, sequence) for sequence, reason in marks if reason is None]
        parked = [(reason, sequence) for sequence, reason in marks if reason is not None]
        if sent:
            connection.exec_driver_sql("UPDATE event SET sent_ms = ? WHERE sequence = ? AND sent_ms IS NULL", sent)
            connection.exec_driver_sql("UPDATE gateway SET last_sent_ms = ?", (now_ms,))
        if parked:
            connection.exec_driver_sql("UPDATE event SET parked = ? WHERE sequence = ?", parked)


@contextmanager
def opened(data_dir: Path, source: str) -> Iterator[Ledger]:
    """Open a ledger for the length of a block."""
    ledger = Ledger(data_dir, source)
    try:
        yield ledger
    finally:
        ledger.close()
