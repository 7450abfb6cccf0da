"""The durable store: what was read, in which order, and how far it has travelled. The only SQL in the gateway.

One SQLite file, one writer thread, one process. Whatever a caller has been told is stored is on the disk: events, the
terminal's position and the digest chain move in one transaction, and a call returns only after it is committed with
``synchronous=FULL``. The writer takes everything that waits into one transaction, so that many terminals share one
fsync; notes that the broker has an event ride along, or wait at most a second.

Tables: ``event`` (the numbered events), ``terminal``, ``place`` (each terminal's log order, position by position),
``unconfirmed`` (live punches the log has not shown yet), ``withheld`` (history before a terminal's chosen start) and
``gateway`` (one row: stream, chain, sessions).
"""

import fcntl
import json
import os
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import sqlalchemy
from sqlalchemy import Connection, LargeBinary, event, insert, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Field, SQLModel

from drivers.base import BadRecord, RawPunch, Reading, Record
from gateway import punch
from gateway.alignment import NOTHING_KNOWN, Alignment, align, fingerprint, first_from
from gateway.punch import Draft, Witness

SCHEMA = 1
"""Version of the tables, kept in ``PRAGMA user_version``."""
SLICE = 500
"""Records stored in one transaction at most: what a crash in the middle of an import costs to read again."""
OVERLAP = 8
"""Known records that a tail reading begins with, to prove that it continues what is known."""
MARKS_WAIT_S = 1.0
"""How long a note that an event was sent may wait for company."""
FILE_NAME = "ledger.db"
_KEEP = "keep a copy of it and ask for help"

T = TypeVar("T")
Start = Literal["all", "now"] | date


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


class LedgerLocked(LedgerError):  # noqa: N818 - named by what is the matter
    """Another process holds the ledger."""


class Unaligned(Exception):  # noqa: N818 - named by what is the matter
    """A reading that does not begin at the start of the log has nothing in common with what is known: read more."""


class _GatewayRow(SQLModel, table=True):
    __tablename__: ClassVar[Any] = "gateway"
    id: int = Field(default=1, primary_key=True)
    source: str
    stream: str
    sessions: int = 0
    clean: bool = False
    last_sent_ms: int | None = None


class _EventRow(SQLModel, table=True):
    __tablename__: ClassVar[Any] = "event"
    sequence: int = Field(primary_key=True)
    id: bytes = Field(sa_type=LargeBinary, unique=True)
    topic: str
    body: str | None
    digest: str
    recorded_ms: int
    sent_ms: int | None = None
    parked: int | None = None
    """The reason code with which the broker refused this message for good."""


class Known(SQLModel):
    """What the ledger knows of one terminal."""

    model_config = {"frozen": True}

    number: int = Field(default=0, primary_key=True)
    name: str = Field(unique=True)
    serial: str
    layout: str | None = None
    generation: int = 0
    length: int = 0
    """Records in the known order of this generation of the log."""
    shift: int = 0
    """Of these, how many have fallen off the front of the terminal's log."""
    matched_until: int | None = 0
    """Positions of this generation whose records may be old acquaintances; None: not decided yet."""
    cleared: bool = False
    withheld_until: int | None = None
    """Records before this position of the order are history the office chose not to send; None: not decided yet."""
    shrunk_to: int | None = None
    """Records the log held at the last reading, where that was less than what is known of it."""
    offset_ms: int | None = None
    bound_ms: int | None = None
    measured_ms: int | None = None
    last_punch: str | None = None
    full_ms: int | None = None

    @property
    def in_log(self) -> int:
        """How many records the terminal's log should hold if nothing is new."""
        return self.length - self.shift

    @property
    def tail_start(self) -> int:
        """Log position from which a reading proves that it continues what is known."""
        if self.length < (self.matched_until or 0):
            return 0
        return max(0, self.in_log - OVERLAP)


class _TerminalRow(Known, table=True):
    __tablename__: ClassVar[Any] = "terminal"


class _PlaceRow(SQLModel, table=True):
    __tablename__: ClassVar[Any] = "place"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    sequence: int | None
    """The event of this record; None where it is withheld."""


class _UnconfirmedRow(SQLModel, table=True):
    __tablename__: ClassVar[Any] = "unconfirmed"
    id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    terminal: int
    sequence: int
    state: int
    verify: int
    work_code: str | None
    recorded_ms: int
    reported: bool = False


class _WithheldRow(SQLModel, table=True):
    __tablename__: ClassVar[Any] = "withheld"
    id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    terminal: int
    generation: int
    position: int
    record: str


# Statements of the hot path are plain SQL: an import of 100,000 records runs each of them 100,000 times.
_INSERT_EVENT = "INSERT INTO event (sequence, id, topic, body, digest, recorded_ms) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_PLACE = "INSERT INTO place (terminal, generation, position, fingerprint, sequence) VALUES (?, ?, ?, ?, ?)"
_TABLES = {name: SQLModel.metadata.tables[name] for name in ("event", "place", "unconfirmed", "withheld")}
# What waits for the broker, or never will go, is found without touching what has gone.
_INDEXES = (
    "CREATE INDEX waiting ON event (sequence) WHERE sent_ms IS NULL AND parked IS NULL",
    "CREATE INDEX parked ON event (sequence) WHERE parked IS NOT NULL",
)


@dataclass(slots=True)
class Stored:
    """What became of a reading."""

    read: int = 0
    new: int = 0
    quarantined: int = 0
    confirmed: int = 0
    withheld: int = 0
    unconfirmed: int = 0
    last_punch: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event on its way to the broker."""

    sequence: int
    topic: str
    body: str
    recorded_ms: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How much the ledger holds."""

    sequence: int
    """Highest sequence assigned."""
    waiting: int
    sent: int
    parked: int
    withheld: int
    unconfirmed: int
    oldest_waiting_ms: int | None
    last_sent_ms: int | None


@dataclass(slots=True)
class _Head:
    """The end of the chain."""

    sequence: int
    digest: str


class _Transaction:
    """What a job of the writer works with."""

    def __init__(self, connection: Connection, source: str, stream: str, head: _Head, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.now_ms = _ms(now)
        self.head = head
        self._source = source
        self._stream = stream
        self._rows: list[tuple[object, ...]] = []

    def add(self, draft: Draft) -> int:
        """Give ``draft`` the next sequence and return it."""
        head = self.head
        body, digest = punch.seal(
            draft,
            source=self._source,
            stream=self._stream,
            sequence=head.sequence + 1,
            recorded=self.now,
            previous=head.digest,
        )
        head.sequence += 1
        head.digest = digest
        topic = punch.topic_of(draft.type, draft.subject)
        self._rows.append((head.sequence, draft.id.bytes, topic, body, digest, self.now_ms))
        return head.sequence

    def note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> int:
        """Add a note about ``moment``."""
        salt = f"{self._stream}\n{self.head.sequence + 1}"
        return self.add(punch.note_draft(event_type, subject, moment, data, salt=salt))

    def flush(self) -> None:
        """Write the events added so far."""
        if self._rows:
            self.connection.exec_driver_sql(_INSERT_EVENT, self._rows)
            self._rows = []

    def holds(self, identity: bytes) -> bool:
        """Tell whether an event or a withheld record has this identity."""
        return bool(self.present([identity]))

    def present(self, identities: Sequence[bytes]) -> set[bytes]:
        """Return those of ``identities`` that the ledger holds."""
        self.flush()
        return _present(self.connection, identities)


@dataclass(slots=True)
class _Job:
    work: Callable[[_Transaction], Any]
    done: Future[Any] = field(default_factory=Future)


def _present(connection: Connection, identities: Sequence[bytes]) -> set[bytes]:
    marks = ",".join("?" * len(identities))
    return {
        row[0]
        for table in ("event", "withheld")
        for row in connection.exec_driver_sql(
            f"SELECT id FROM {table} WHERE id IN ({marks})",  # noqa: S608 - table names are the two above
            tuple(identities),
        )
    }


def _unconfirmed(connection: Connection, identities: Sequence[bytes]) -> set[bytes]:
    marks = ",".join("?" * len(identities))
    rows = connection.exec_driver_sql(
        f"SELECT id FROM unconfirmed WHERE id IN ({marks})",  # noqa: S608 - only question marks
        tuple(identities),
    )
    return {row[0] for row in rows}


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LedgerReader:
    """Reads a ledger, also one that a running daemon is writing. Changes nothing."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE_NAME
        if not self.path.exists():
            raise LedgerError(f"{self.path}: there is no ledger here yet; `hadir run` creates it")
        self._engine = _engine(self.path, read_only=True)
        try:
            self._check_version()
        except LedgerError:
            self._engine.dispose()
            raise

    def _check_version(self) -> None:
        version = self._scalar("PRAGMA user_version")
        if version == 0:
            raise LedgerError(f"{self.path}: the file is damaged (empty, or not a ledger of hadir); {_KEEP}")
        if version > SCHEMA:
            raise LedgerError(
                f"{self.path}: written by a newer version of hadir (tables {version}, this version knows {SCHEMA}); "
                "install that version again, the ledger is unharmed"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _rows(self, statement: str, **values: object) -> list[Any]:
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(text(statement), values))
        except DBAPIError as exc:
            raise _explained(self.path, exc) from exc

    def _scalar(self, statement: str, **values: object) -> Any:
        rows = self._rows(statement, **values)
        return rows[0][0] if rows else None

    @property
    def stream(self) -> str:
        """Identity of this ledger's unbroken life."""
        return str(self._scalar("SELECT stream FROM gateway"))

    @property
    def source(self) -> str:
        """The gateway this ledger belongs to, ``/hadir/<site>/<gateway>``."""
        return str(self._scalar("SELECT source FROM gateway"))

    def terminals(self) -> list[Known]:
        """Return what is known of every terminal ever read, by name."""
        return [_known(row) for row in self._rows("SELECT * FROM terminal ORDER BY name")]

    def terminal(self, name: str) -> Known | None:
        """Return what is known of one terminal; None before its first contact."""
        rows = self._rows("SELECT * FROM terminal WHERE name = :name", name=name)
        return _known(rows[0]) if rows else None

    def events(self, after: int, limit: int) -> list[Waiting]:
        """Return up to ``limit`` events behind sequence ``after``, in order, sent or not."""
        return self._events("TRUE", after, limit)

    def pending(self, after: int, limit: int, topic: str | None = None) -> list[Waiting]:
        """Return up to ``limit`` events behind ``after`` that the broker does not have, in order."""
        condition = "sent_ms IS NULL AND parked IS NULL"
        return self._events(f"{condition} AND topic = :topic" if topic else condition, after, limit, topic=topic)

    def _events(self, condition: str, after: int, limit: int, **values: object) -> list[Waiting]:
        rows = self._rows(
            "SELECT sequence, topic, body, recorded_ms FROM event "  # noqa: S608 - conditions are the literals above
            f"WHERE sequence > :after AND {condition} ORDER BY sequence LIMIT :limit",
            after=after,
            limit=limit,
            **values,
        )
        return [Waiting(*row) for row in rows]

    def last_sequence(self) -> int:
        """Return the highest sequence assigned; 0 in an empty ledger."""
        return self._scalar("SELECT max(sequence) FROM event") or 0

    def counts(self) -> Counts:
        """Count what there is."""
        sequence = self.last_sequence()
        # Asked every minute: each of these is answered from a small index, however many events there are.
        waiting = self._scalar("SELECT count(*) FROM event WHERE sent_ms IS NULL AND parked IS NULL")
        oldest = self.pending(0, 1)
        parked = self._scalar("SELECT count(*) FROM event WHERE parked IS NOT NULL")
        return Counts(
            sequence=sequence,
            waiting=waiting,
            sent=sequence - waiting - parked,
            parked=parked,
            withheld=self._scalar("SELECT count(*) FROM withheld"),
            unconfirmed=self._scalar("SELECT count(*) FROM unconfirmed"),
            oldest_waiting_ms=oldest[0].recorded_ms if oldest else None,
            last_sent_ms=self._scalar("SELECT last_sent_ms FROM gateway"),
        )

    def punches(self) -> int:
        """Count the punches stored, of all terminals."""
        return int(self._scalar("SELECT count(*) FROM event WHERE topic LIKE 'punch/%'"))

    def placed(self, name: str) -> int:
        """Count the log records of a terminal that are accounted for, in its present log generation."""
        return int(
            self._scalar(
                "SELECT count(*) FROM place JOIN terminal ON terminal.number = place.terminal "
                "AND terminal.generation = place.generation WHERE name = :name",
                name=name,
            )
        )

    def _order(self, known: Known, last: int | None) -> list[bytes]:
        """Return the fingerprints of a terminal's known order, all or the ``last`` ones."""
        rows = self._rows(
            "SELECT fingerprint FROM place WHERE terminal = :terminal AND generation = :generation "
            "AND position >= :first ORDER BY position",
            terminal=known.number,
            generation=known.generation,
            first=0 if last is None else known.length - last,
        )
        return [row[0] for row in rows]


class Ledger(LedgerReader):
    """The ledger of a running daemon. Every method may be called from any thread."""

    def __init__(self, data_dir: Path, source: str, *, now: Callable[[], datetime] = _utc_now) -> None:
        """Open or create the ledger in ``data_dir`` for ``source``.

        Raises LedgerLocked where another process has it, and LedgerError where it is damaged, belongs to another
        gateway or was written by a newer version.
        """
        self.path = data_dir / FILE_NAME
        self._now = now
        self._source = source
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock_file = _locked(data_dir / "ledger.lock")
        except OSError as exc:
            raise _unusable(data_dir, exc) from exc
        try:
            self.last_alive = _last_alive(data_dir / "ledger.lock") if self.path.exists() else None
            if not self.path.exists():
                _create(self.path, source)
            LedgerReader(data_dir).close()  # refuses what must not be touched without touching it
            self._engine = _engine(self.path, read_only=False)
            try:
                self.was_clean = self._open(source)
                self._stream = super().stream
                row = self._rows("SELECT sequence, digest FROM event ORDER BY sequence DESC LIMIT 1")
            except BaseException:
                self._engine.dispose()
                raise
        except BaseException as exc:
            self._lock_file.close()
            if isinstance(exc, DBAPIError):
                raise _explained(self.path, exc) from exc
            if isinstance(exc, OSError):
                raise _unusable(data_dir, exc) from exc
            raise
        self._head = _Head(*row[0]) if row else _Head(0, punch.first_previous(self._stream))
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._marks: list[tuple[int, int | None]] = []
        self._marks_lock = threading.Lock()
        self._closed = False
        self._hand_over = threading.Lock()
        self.on_recorded: Callable[[], None] = lambda: None
        """Called after each commit that added events, from the writer's thread."""
        self.failure: BaseException | None = None
        """What ended the writer, if anything did."""
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    def _open(self, source: str) -> bool:
        with self._engine.connect() as connection:
            row = connection.exec_driver_sql("SELECT source, clean FROM gateway").first()
            if row is None:
                raise LedgerError(f"{self.path}: the file is damaged (no owner); {_KEEP}")
            owner, clean = row
            if owner != source:
                raise LedgerError(
                    f"{self.path}: this ledger belongs to {owner}, the configuration says {source}; "
                    "put `site` and `gateway` back, or choose another data_dir"
                )
            if not clean:
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if verdict != "ok":
                    raise LedgerError(f"{self.path}: the file is damaged ({' '.join(str(verdict).split())}); {_KEEP}")
            connection.exec_driver_sql("UPDATE gateway SET clean = 0")
        return bool(clean)

    @property
    def stream(self) -> str:
        """Identity of this ledger's unbroken life."""
        return self._stream

    def alive(self) -> None:
        """Note, without a write to the ledger, that the daemon lives: what ``gateway.resumed`` tells after a crash."""
        os.utime(self._lock_file.fileno())

    def close(self) -> None:
        """Finish what waits, mark the ledger as cleanly closed and let it go."""
        if self._closed:
            return
        with self._hand_over:
            self._closed = True
            self._jobs.put(None)
        self._writer.join()
        try:
            if self.failure is None:
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("UPDATE gateway SET clean = 1")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except DBAPIError as exc:
            raise _explained(self.path, exc) from exc
        finally:
            super().close()
            self._lock_file.close()

    # What is recorded.

    def next_session(self) -> int:
        """Return a number higher than any before: the session of one connection to the broker."""

        def work(transaction: _Transaction) -> int:
            transaction.connection.exec_driver_sql("UPDATE gateway SET sessions = sessions + 1")
            return int(transaction.connection.exec_driver_sql("SELECT sessions FROM gateway").scalar_one())

        return self._do(work)

    def pin_serial(self, name: str, serial: str) -> Known:
        """Pin ``serial`` to the terminal ``name`` at first contact, or move it to another serial by the office's order.

        A new serial begins a new generation of the log. Returns what is known then.
        """

        def work(transaction: _Transaction) -> None:
            changed = transaction.connection.exec_driver_sql(
                "UPDATE terminal SET serial = ?, generation = generation + 1, length = 0, shift = 0, "
                "matched_until = NULL, cleared = 0, withheld_until = NULL, shrunk_to = NULL, layout = NULL "
                "WHERE name = ? AND serial <> ?",
                (serial, name, serial),
            ).rowcount
            if changed:
                # The log that could have confirmed them is gone with the old device.
                transaction.connection.exec_driver_sql(
                    "DELETE FROM unconfirmed WHERE terminal = (SELECT number FROM terminal WHERE name = ?)", (name,)
                )
            else:
                transaction.connection.exec_driver_sql(
                    "INSERT INTO terminal (name, serial, generation, length, shift, matched_until, cleared) "
                    "VALUES (?, ?, 0, 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING",
                    (name, serial),
                )

        self._do(work)
        known = self.terminal(name)
        assert known is not None  # noqa: S101 - it was written above
        return known

    def record_note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> int:
        """Store a note about ``moment`` (aware) and return its sequence."""
        return self._do(lambda transaction: transaction.note(event_type, subject, moment, data))

    def record_live(self, witness: Witness, record: RawPunch) -> bool:
        """Store a live punch; False where the ledger holds its second already: then the log decides."""
        number = self._number(witness.terminal)

        def work(transaction: _Transaction) -> bool:
            draft = punch.punch_draft(record, witness, occurrence=1, position=None)
            if transaction.holds(draft.id.bytes):
                return False
            sequence = transaction.add(draft)
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
            transaction.connection.execute(insert(_TABLES["unconfirmed"]), row)
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET last_punch = ? WHERE number = ?", (record.local_time.isoformat(), number)
            )
            return True

        return self._do(work)

    def record_reading(
        self,
        witness: Witness,
        reading: Reading,
        *,
        start: Start = "all",
        pins: Mapping[int, str] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> Stored:
        """Store what is new in a reading of a terminal's log, in slices that each survive a crash.

        ``pins`` resolves internal user numbers, ``start`` says what of a first reading to withhold, ``between`` is
        called after each slice, so that live punches need not wait for the end of a long import. Raises Unaligned
        where a reading that does not begin at position 0 has no overlap with what is known: then nothing is stored.
        """
        known = self.terminal(witness.terminal)
        if known is None:
            raise LedgerError(f"terminal {witness.terminal} has no pinned serial; pin_serial comes first")
        prints = [fingerprint(record) for record in reading.records]
        stored = Stored(read=len(prints))
        plan = self._plan(known, witness, reading, prints, start, pins)
        matching = Counter[bytes]() if plan.matching else None
        records = iter(reading.records)
        for record in islice(records, plan.alignment.known):
            if matching is not None:
                matching[_first_identity(witness.serial, _resolved(record, pins)).bytes] += 1
        position = plan.length
        index = plan.alignment.known
        first = True
        while chunk := list(islice(records, SLICE)):
            slice_ = _Slice(
                plan=plan,
                layout=reading.layout,
                order_position=position,
                log_position=reading.start + index,
                records=[_resolved(record, pins) for record in chunk],
                prints=prints[index : index + len(chunk)],
                opens=first,
            )
            self._do(lambda transaction, s=slice_: _store_slice(transaction, witness, s, matching, stored))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            position += len(chunk)
            index += len(chunk)
            first = False
            between()
        if first and (plan.notes or plan.alignment.shift != known.shift or plan.shrunk_to != known.shrunk_to):
            # Nothing new but something to remember: a block purged at the front, a log that shrank, a first contact.
            empty = _Slice(plan, reading.layout, position, 0, [], [], opens=True)
            self._do(lambda transaction: _store_slice(transaction, witness, empty, matching, stored))
        if reading.start == 0 and plan.shrunk_to is None:
            self._close_full_reading(witness, plan, stored)
        return stored

    def _plan(
        self,
        known: Known,
        witness: Witness,
        reading: Reading,
        prints: list[bytes],
        start: Start,
        pins: Mapping[int, str] | None,
    ) -> "_Plan":
        whole = reading.start == 0
        if known.length == 0:
            if not whole:
                raise Unaligned
            if known.generation > 0:
                return self._matching_plan(known, known.generation, witness, reading, pins)
            if known.withheld_until is not None or start == "all":
                return _Plan(known.number, known.generation)
            withheld = first_from(reading.records, start, witness.now.astimezone(witness.zone).date())
            data = {"records": withheld, "start": start if start == "now" else start.isoformat()}
            return _Plan(
                known.number, known.generation, withheld_until=withheld, notes=((punch.HISTORY_WITHHELD, data),)
            )
        expected = known.in_log - reading.start
        order = self._order(known, None if whole else max(len(prints) + OVERLAP, expected))
        alignment = None
        # First: where records repeat, the beginning of what is known may look like its end.
        ends_early = len(prints) < expected and prints == order[-expected:][: len(prints)]
        if not ends_early:
            alignment = align(order, prints, start=reading.start, shift=known.shift, length=known.length)
            if alignment is not None and _coincidence(alignment, known, reading):
                alignment = None
        if alignment is None and not whole:
            raise Unaligned
        if alignment is None and (ends_early or _inside(order, prints, reading)):
            return self._shrunk_plan(known, reading)
        if alignment is not None:
            return _Plan(
                known.number,
                known.generation,
                known.length,
                alignment,
                withheld_until=known.withheld_until or 0,
                # A crash may have cut the first reading of this generation short: go on matching where it stopped.
                matching=whole and known.length < (known.matched_until or 0),
                cleared=known.cleared,
                matched_until=known.matched_until,
            )
        cleared = reading.total < known.in_log or known.shrunk_to is not None
        what = "log_cleared" if cleared else "log_wrapped"
        change = {"what": what, "records_before": known.in_log, "records_after": reading.total}
        notes = ((punch.TERMINAL_CHANGED, change),)
        return self._matching_plan(known, known.generation + 1, witness, reading, pins, notes)

    @staticmethod
    def _shrunk_plan(known: Known, reading: Reading) -> "_Plan":
        """Plan a log that ends, or is empty, where more is known: a terminal's slip, or the first sight of a clearing.

        It may have lost records at its front as well since the last reading: that will show when the rest is back.
        Nothing in it is new, and what is known stays known: if the rest comes back it is not taken for new, and if it
        does not, the next new record shows it.
        """
        change = {"what": "log_shrunk", "records_before": known.in_log, "records_after": reading.total}
        return _Plan(
            known.number,
            known.generation,
            known.length,
            Alignment(reading.total, known.shift),
            withheld_until=known.withheld_until or 0,
            cleared=known.cleared,
            matched_until=known.matched_until,
            shrunk_to=reading.total,
            notes=((punch.TERMINAL_CHANGED, change),) if known.shrunk_to != reading.total else (),
        )

    def _matching_plan(
        self,
        known: Known,
        generation: int,
        witness: Witness,
        reading: Reading,
        pins: Mapping[int, str] | None,
        notes: "_Notes" = (),
    ) -> "_Plan":
        """Plan a log without overlap: its records may be old acquaintances, matched by key as a multiset.

        If none of them with a believable date is known from a log, the log was cleared; then records of a reset clock
        are new even where an older one has the same key.
        """
        identities = (
            _first_identity(witness.serial, _resolved(record, pins)).bytes
            for record in reading.records
            if isinstance(record, RawPunch) and record.local_time.year > punch.RESET_YEAR
        )
        cleared = True
        with self._engine.connect() as connection:
            while cleared and (chunk := list(islice(identities, SLICE))):
                cleared = not _present(connection, chunk) - _unconfirmed(connection, chunk)
        return _Plan(known.number, generation, matching=True, cleared=cleared, matched_until=reading.total, notes=notes)

    def _close_full_reading(self, witness: Witness, plan: "_Plan", stored: Stored) -> None:
        """Note when the whole log was read, and which live punches it should have held and did not."""

        def work(transaction: _Transaction) -> int:
            rows = transaction.connection.exec_driver_sql(
                "SELECT id FROM unconfirmed WHERE terminal = ? AND recorded_ms < ? AND NOT reported",
                (plan.number, _ms(witness.now)),
            ).all()
            for (identity,) in rows:
                transaction.add(punch.unconfirmed_draft(witness, punch_event=UUID(bytes=identity)))
                transaction.connection.exec_driver_sql("UPDATE unconfirmed SET reported = 1 WHERE id = ?", (identity,))
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET full_ms = ? WHERE number = ?", (transaction.now_ms, plan.number)
            )
            return len(rows)

        stored.unconfirmed = self._do(work)

    def _number(self, name: str) -> int:
        number = self._scalar("SELECT number FROM terminal WHERE name = :name", name=name)
        if number is None:
            raise LedgerError(f"terminal {name} has no pinned serial; pin_serial comes first")
        return int(number)

    # What has travelled.

    def mark_sent(self, sequences: Iterable[int]) -> None:
        """Note that the broker has these events. Returns at once; a crash within a second sends them again."""
        with self._marks_lock:
            self._marks.extend((sequence, None) for sequence in sequences)

    def park(self, sequence: int, reason: int) -> None:
        """Note that the broker will never take this event, with its reason code."""
        with self._marks_lock:
            self._marks.append((sequence, reason))

    def flush_marks(self) -> None:
        """Write the notes of :meth:`mark_sent` now."""
        self._do(lambda _: None)

    # The writer.

    def _do(self, work: Callable[[_Transaction], T]) -> T:
        job = _Job(work)
        with self._hand_over:  # behind the order to stop nobody would ever answer
            if self._closed or self.failure is not None:
                raise LedgerError(f"{self.path}: the ledger is closed") from self.failure
            self._jobs.put(job)
        result: T = job.done.result()
        return result

    def _write(self) -> None:
        jobs: list[_Job] = []
        try:
            with self._engine.connect() as connection:
                stop = False
                while not stop:
                    jobs, stop = self._take()
                    self._commit(connection, jobs)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, waiting callers must hear of it
            self.failure = exc
            while True:
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(exc)
                following = self._jobs.get()
                if following is None:
                    return
                jobs = [following]

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for work or for marks that have waited long enough; return all jobs there are, and whether to stop."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=MARKS_WAIT_S)
            while job is not None:
                jobs.append(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        with self._marks_lock:
            marks, self._marks = self._marks, []
        if not jobs and not marks:
            return
        before = _Head(self._head.sequence, self._head.digest)
        results: list[tuple[_Job, Any]] = []
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            transaction = _Transaction(connection, self._source, self._stream, self._head, self._now())
            self._write_marks(connection, marks, transaction.now_ms)
            for job in jobs:
                here = _Head(self._head.sequence, self._head.digest)
                connection.exec_driver_sql("SAVEPOINT job")
                try:
                    result = job.work(transaction)
                    transaction.flush()
                except DBAPIError:
                    raise
                except Exception as exc:  # noqa: BLE001 - one job's mistake is its caller's, not its neighbours'
                    transaction = _Transaction(connection, self._source, self._stream, here, transaction.now)
                    self._head = here
                    connection.exec_driver_sql("ROLLBACK TO job")
                    job.done.set_exception(exc)
                else:
                    results.append((job, result))
                connection.exec_driver_sql("RELEASE job")
            connection.exec_driver_sql("COMMIT")
        except DBAPIError as exc:
            self._head = before
            raise _explained(self.path, exc) from exc
        # Only now is anything a caller is told about on the disk.
        for job, result in results:
            job.done.set_result(result)
        if self._head.sequence > before.sequence:
            self.on_recorded()

    @staticmethod
    def _write_marks(connection: Connection, marks: list[tuple[int, int | None]], now_ms: int) -> None:
        sent = [(now_ms, sequence) for sequence, reason in marks if reason is None]
        parked = [(reason, sequence) for sequence, reason in marks if reason is not None]
        if sent:
            connection.exec_driver_sql("UPDATE event SET sent_ms = ? WHERE sequence = ? AND sent_ms IS NULL", sent)
            connection.exec_driver_sql("UPDATE gateway SET last_sent_ms = ?", (now_ms,))
        if parked:
            connection.exec_driver_sql("UPDATE event SET parked = ? WHERE sequence = ?", parked)


_Notes = tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a reading will be stored."""

    number: int
    generation: int
    length: int = 0
    """Records in the order before this reading: the position of the first new one."""
    alignment: Alignment = NOTHING_KNOWN
    withheld_until: int = 0
    matching: bool = False
    cleared: bool = False
    matched_until: int | None = 0
    shrunk_to: int | None = None
    notes: _Notes = ()


@dataclass(frozen=True, slots=True)
class _Slice:
    """A run of new records, to be stored in one transaction."""

    plan: _Plan
    layout: str
    order_position: int
    log_position: int
    records: list[Record]
    prints: list[bytes]
    opens: bool


def _store_slice(
    transaction: _Transaction, witness: Witness, slice_: _Slice, matching: Counter[bytes] | None, stored: Stored
) -> None:
    plan = slice_.plan
    if slice_.opens:
        for event_type, data in plan.notes:
            moment = witness.now.astimezone(witness.zone)
            about = {"terminal": witness.terminal, "serial": witness.serial, **data}
            transaction.note(event_type, witness.terminal, moment, about)
    places: list[tuple[object, ...]] = []
    withheld = []
    last_punch = None
    first_identities = [_first_identity(witness.serial, record) for record in slice_.records]
    identities = [identity.bytes for identity in first_identities]
    present = transaction.present(identities) if identities else set()
    live = _live_rows(transaction, identities) if present else {}
    for index, record in enumerate(slice_.records):
        identity = identities[index]
        order_position = slice_.order_position + index
        log_position = slice_.log_position + index
        sequence: int | None = None
        if identity in live and isinstance(record, RawPunch):
            sequence = _confirm(transaction, witness, record, live.pop(identity), log_position, stored)
            if matching is not None:
                matching[identity] += 1
        else:
            # Behind the log that is being matched, made during a crash in the middle of it, everything is new.
            old = order_position < (plan.matched_until or 0)
            occurrence, sequence = _place_of(
                transaction, witness, record, identity, present, plan, matching if old else None
            )
            if sequence is None and occurrence:
                draft = _draft(record, witness, occurrence, log_position, first_identities[index])
                if order_position < plan.withheld_until:
                    withheld.append(_withheld(draft.id.bytes, plan, order_position, record))
                    present.add(draft.id.bytes)
                    stored.withheld += 1
                else:
                    sequence = transaction.add(draft)
                    present.add(draft.id.bytes)
                    if isinstance(record, BadRecord):
                        stored.quarantined += 1
                    else:
                        stored.new += 1
        if isinstance(record, RawPunch):
            last_punch = record.local_time.isoformat()
        places.append((plan.number, plan.generation, order_position, slice_.prints[index], sequence))
    if places:
        transaction.connection.exec_driver_sql(_INSERT_PLACE, places)
    if withheld:
        transaction.connection.execute(insert(_TABLES["withheld"]), withheld)
    stored.last_punch = last_punch or stored.last_punch
    # What is remembered across a restart must have been measured with a clock that could be trusted.
    clock = witness.clock if witness.synchronised else None
    transaction.connection.exec_driver_sql(
        "UPDATE terminal SET layout = ?, generation = ?, length = ?, shift = ?, matched_until = ?, cleared = ?, "
        "withheld_until = ?, shrunk_to = ?, last_punch = coalesce(?, last_punch), offset_ms = ?, bound_ms = ?, "
        "measured_ms = ? WHERE number = ?",
        (
            slice_.layout,
            plan.generation,
            slice_.order_position + len(slice_.records),
            plan.alignment.shift,
            plan.matched_until,
            plan.cleared,
            plan.withheld_until,
            plan.shrunk_to,
            last_punch,
            clock.offset_ms if clock else None,
            clock.bound_ms if clock else None,
            _ms(clock.measured) if clock else None,
            plan.number,
        ),
    )


def _place_of(
    transaction: _Transaction,
    witness: Witness,
    record: Record,
    identity: bytes,
    present: set[bytes],
    plan: _Plan,
    matching: Counter[bytes] | None,
) -> tuple[int, int | None]:
    """Return the occurrence of a record that is new by position, and its event's sequence if it is known after all."""
    reset = isinstance(record, RawPunch) and record.local_time.year <= punch.RESET_YEAR
    if matching is not None:
        matching[identity] += 1
        if not (reset and plan.cleared):
            nth = matching[identity]
            wanted = identity if nth == 1 else _identity(witness.serial, record, nth).bytes
            if wanted not in present and (nth == 1 or not transaction.holds(wanted)):
                return nth, None
            transaction.flush()
            return 0, _sequence_of(transaction, wanted)
    occurrence = 1
    wanted = identity
    while wanted in present or (occurrence > 1 and transaction.holds(wanted)):
        occurrence += 1
        wanted = _identity(witness.serial, record, occurrence).bytes
    return occurrence, None


def _sequence_of(transaction: _Transaction, identity: bytes) -> int | None:
    found = transaction.connection.exec_driver_sql("SELECT sequence FROM event WHERE id = ?", (identity,)).scalar()
    return None if found is None else int(found)


def _live_rows(transaction: _Transaction, identities: Sequence[bytes]) -> dict[bytes, Any]:
    marks = ",".join("?" * len(identities))
    rows = transaction.connection.exec_driver_sql(
        f"SELECT id, sequence, state, verify, work_code, reported FROM unconfirmed WHERE id IN ({marks})",  # noqa: S608 - only question marks
        tuple(identities),
    )
    return {row.id: row for row in rows}


def _confirm(
    transaction: _Transaction, witness: Witness, record: RawPunch, row: Any, position: int, stored: Stored
) -> int:
    """Let the log confirm a live punch; say so where its fields differ or it had been reported missing."""
    differs = (row.state, row.verify) != (record.state, record.verify)
    differs |= row.work_code is not None and row.work_code != record.work_code  # None: the event had no place for one
    if differs or row.reported:
        note = punch.confirmed_draft(record, witness, punch_event=UUID(bytes=row.id), position=position)
        transaction.add(note)
    transaction.connection.exec_driver_sql("DELETE FROM unconfirmed WHERE id = ?", (row.id,))
    stored.confirmed += 1
    return int(row.sequence)


def _draft(record: Record, witness: Witness, occurrence: int, position: int, first: UUID) -> Draft:
    if isinstance(record, BadRecord):
        return punch.quarantine_draft(record, witness, occurrence=occurrence, position=position)
    identity = first if occurrence == 1 else None
    return punch.punch_draft(record, witness, occurrence=occurrence, position=position, identity=identity)


def _coincidence(alignment: Alignment, known: Known, reading: Reading) -> bool:
    """Tell whether the overlap may be chance: a shorter log that only shares moments of a clock that was reset."""
    if alignment.shift == known.shift or (reading.total >= known.in_log and known.shrunk_to is None):
        return False
    return _by_chance(reading, alignment.known)


def _inside(order: list[bytes], prints: list[bytes], reading: Reading) -> bool:
    """Tell whether the reading is a piece out of the known order: a log that moved on, and was then cut short."""
    whole, piece = b"".join(order), b"".join(prints)
    found = whole.find(piece)
    while found > 0 and found % 8:  # not at the beginning of a fingerprint
        found = whole.find(piece, found + 1)
    return found >= 0 and not _by_chance(reading, len(prints))


def _by_chance(reading: Reading, count: int) -> bool:
    """Tell whether the first ``count`` records prove nothing: a few moments of a clock that was reset."""
    shared = islice(reading.records, count)
    return count < OVERLAP and all(
        isinstance(record, RawPunch) and record.local_time.year <= punch.RESET_YEAR for record in shared
    )


def _identity(serial: str, record: Record, occurrence: int) -> UUID:
    if isinstance(record, BadRecord):
        return punch.quarantine_id(serial, record.stable, occurrence)
    return punch.punch_id(serial, punch.who(record.pin, record.uid), record.local_time, occurrence)


def _first_identity(serial: str, record: Record) -> UUID:
    return _identity(serial, record, 1)


def _resolved(record: Record, pins: Mapping[int, str] | None) -> Record:
    if pins and isinstance(record, RawPunch) and record.pin is None and record.uid is not None:
        return record._replace(pin=pins.get(record.uid))
    return record


def _withheld(identity: bytes, plan: _Plan, position: int, record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {"raw": record.raw.hex()}
    if isinstance(record, BadRecord):
        fields |= {"stable": record.stable.hex(), "reason": record.reason}
    else:
        fields |= {
            "pin": record.pin,
            "uid": record.uid,
            "local_time": record.local_time.isoformat(),
            "state": record.state,
            "verify": record.verify,
            "work_code": record.work_code,
        }
    return {
        "id": identity,
        "terminal": plan.number,
        "generation": plan.generation,
        "position": position,
        "record": json.dumps(fields),
    }


def _known(row: Any) -> Known:
    return Known(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented way to a dictionary


def _engine(path: Path, *, read_only: bool, create: bool = False) -> sqlalchemy.Engine:
    uri = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc' if create else 'rw'}"
    engine = sqlalchemy.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=15, check_same_thread=False),
        poolclass=sqlalchemy.QueuePool,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # Transactions are begun by hand: the driver's own habit would begin them too late.
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 15000")
        if create:
            # Both stay with the file; saying the first again would be a write each time.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
        if not read_only:
            connection.execute("PRAGMA synchronous = FULL")
            # Identities are random, so a long import touches the same index pages again and again: let them gather in
            # the log before they are copied, which nearly halves what an SD card has to take.
            connection.execute("PRAGMA wal_autocheckpoint = 8000")

    return engine


def _create(path: Path, source: str) -> None:
    """Make an empty ledger that appears at ``path`` whole or not at all.

    A file that is there but holds no ledger is therefore always damage, and never taken for a first start: that would
    begin a new stream and choose anew what history to withhold.
    """
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, path):
        for suffix in ("", "-wal", "-shm"):
            leftover.with_name(leftover.name + suffix).unlink(missing_ok=True)
    engine = _engine(draft, read_only=False, create=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        SQLModel.metadata.create_all(
            connection, tables=[*_TABLES.values(), *(SQLModel.metadata.tables[n] for n in ("gateway", "terminal"))]
        )
        for index in _INDEXES:
            connection.exec_driver_sql(index)
        connection.exec_driver_sql(
            "INSERT INTO gateway (id, source, stream, sessions, clean) VALUES (1, ?, ?, 0, 1)", (source, str(uuid4()))
        )
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
        connection.exec_driver_sql("COMMIT")
    engine.dispose()  # the last connection moves everything into the file
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def opened(data_dir: Path, source: str) -> Iterator[Ledger]:
    """Open a ledger for the length of a block."""
    ledger = Ledger(data_dir, source)
    try:
        yield ledger
    finally:
        ledger.close()


def _locked(path: Path) -> Any:
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise LedgerLocked(
            f"{path.parent}: another hadir is running with this data_dir; stop it first (systemctl stop hadir)"
        ) from exc
    return handle


def _last_alive(path: Path) -> datetime | None:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _unusable(data_dir: Path, exc: OSError) -> LedgerError:
    return LedgerError(
        f"{data_dir}: {exc.strerror or exc}; data_dir must be a folder that the daemon's user may write to"
    )


def _explained(path: Path, exc: DBAPIError) -> LedgerError:
    reason = str(exc.orig)
    hint = {
        "database or disk is full": "make room on the disk; the terminals keep what is not read yet",
        "attempt to write a readonly database": "give the daemon's user write permission to the data_dir",
        "unable to open database file": "check that the data_dir exists and the daemon's user may write to it",
        "file is not a database": f"the file is damaged; {_KEEP}",
        "database disk image is malformed": f"the file is damaged; {_KEEP}",
    }.get(reason, "look at the disk and the permissions of the data_dir")
    return LedgerError(f"{path}: {reason}; {hint}")
