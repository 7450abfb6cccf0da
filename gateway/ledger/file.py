"""The ledger's file: its tables, opening, creation and migration, and error messages for people.

Tables: ``event`` (the numbered events), ``terminal``, ``place`` (each terminal's log order, position by position),
``unconfirmed`` (live punches not yet found in the log), ``withheld`` (history before a terminal's chosen start),
``binding`` (PINs of a terminal's internal user numbers), ``log_day`` (records of each day in a terminal's log),
``file`` and ``landmark`` (imported files, and the context of their records of a reset clock), ``stream`` (the ledger's
streams), ``delivery`` (one row: how far the centre has confirmed), ``missing`` (events it lacks below that),
``forgotten`` (pruned events that were listed in a note) and ``gateway`` (one row: owner, location, sessions).
"""

import fcntl
import os
import re
import sqlite3
import stat
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import sqlalchemy
from sqlalchemy import Connection, LargeBinary, event, insert
from sqlalchemy.exc import DBAPIError
from sqlmodel import Field, SQLModel

from drivers import safe_files
from drivers.safe_files import Folder

SCHEMA = 2
"""Version of the tables, kept in ``PRAGMA user_version``."""
ENGINE = f"SQLite {sqlite3.sqlite_version}"
"""Name and version of the database engine, for support."""
FILE_NAME = "ledger.db"
LOCK_NAME = "ledger.lock"
MODE = 0o640
"""Rights of everything that holds events, whatever the umask: they name people."""
LOCK_BYTES = 4096
"""Upper bound of the size of the lock file."""
KEEP = "keep a copy of it and ask for help"
DAMAGED = "the file is damaged; start the daemon, it saves what can be read and keeps the damaged file"
OVERLAP = 8
"""Number of known records at the begin of a tail reading, which prove that it continues the stored log."""
READER_CACHE_KIB, WRITER_CACHE_KIB = 128, 1024
UNDATED = 0
"""The day of a record without a readable date; days are proleptic Gregorian ordinals, from 1."""


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


class LedgerLocked(LedgerError):  # noqa: N818 - named by the condition
    """Another process holds the ledger."""


class LedgerFull(LedgerError):  # noqa: N818 - named by the condition
    """The disk is full; nothing of the call was stored, and it may be retried."""


class LedgerDamaged(LedgerError):  # noqa: N818 - named by the condition
    """The file is damaged; the next start recovers what can be read of it."""


class LedgerAltered(LedgerError):  # noqa: N818 - named by the condition
    """Bodies of events do not fit their digests, and were not set aside yet."""

    def __init__(self, message: str, numbers: list[int]) -> None:
        super().__init__(message)
        self.numbers = numbers
        """Their numbers in the ledger, in order; never empty."""


class GatewayRow(SQLModel, table=True):
    """The one row about the ledger itself."""

    __tablename__: ClassVar[Any] = "gateway"
    id: int = Field(default=1, primary_key=True)
    source: str
    sessions: int = 0
    clean: bool = False
    last_sent_ms: int | None = None
    home: str | None = None
    """Location of the ledger when it was last opened."""
    broken: str | None = None
    """Why the next start must open a new stream; the stream's ``reason``."""
    kept_from: int = 1
    """Every event before this number was pruned."""
    counted_upto: int = 0
    body_bytes: int = 0
    """Size of all bodies up to event ``counted_upto``."""


class StreamRow(SQLModel, table=True):
    """A stream of the ledger; see :class:`gateway.ledger.stream.Stream`."""

    __tablename__: ClassVar[Any] = "stream"
    number: int = Field(primary_key=True)
    id: str = Field(unique=True)
    base: int
    opened_ms: int
    reason: str | None = None
    lost: int = 0
    predecessor: str | None = None
    last_sequence: int | None = None
    last_digest: str | None = None


class EventRow(SQLModel, table=True):
    """A numbered event."""

    __tablename__: ClassVar[Any] = "event"
    sequence: int = Field(primary_key=True)
    """Its number in the ledger; less the base of its stream it is the sequence that the body carries."""
    id: bytes = Field(sa_type=LargeBinary, unique=True)
    topic: str
    body: str | None
    """None: pruned, to free space."""
    digest: str
    recorded_ms: int
    sent_ms: int | None = None
    parked: int | None = None
    """The reason code of a permanent refusal by the broker."""
    terminal: int | None = None
    """The terminal whose record this is; None for every other event."""
    day: int | None = None
    """The record's day by the terminal's clock; ``UNDATED`` for an unreadable one, None for every other event."""
    unplaced: bool | None = None
    """The record is from a file, and no reading of the terminal's log has contained it yet."""


class KnownTerminal(SQLModel):
    """The stored state of one terminal."""

    model_config = {"frozen": True}

    number: int = Field(default=0, primary_key=True)
    name: str = Field(unique=True)
    serial: str
    layout: str | None = None
    generation: int = 0
    first_generation: int = 0
    """First generation of the pinned serial: earlier ones belong to another device."""
    length: int = 0
    """Records in the stored order of this generation of the log."""
    shift: int = 0
    """How many of these were purged from the front of the terminal's log."""
    matched_until: int | None = 0
    """Positions of this generation whose records may be known from earlier ones; None: not decided yet."""
    cleared: bool = False
    withheld_until: int | None = None
    """Records before this position are history that is configured to be withheld; None: not decided yet."""
    shrunk_to: int | None = None
    """Records of the log at the last reading, where it was shorter than the stored order."""
    offset_ms: int | None = None
    bound_ms: int | None = None
    measured_ms: int | None = None
    last_punch: str | None = None
    full_ms: int | None = None
    ranged: bool | None = None
    """Whether the terminal reads records by date correctly; None: not tried yet."""
    threshold: int | None = None
    """The last reported threshold of fullness, in per cent."""

    @property
    def in_log(self) -> int:
        """Expected number of records in the terminal's log if nothing is new."""
        return self.length - self.shift

    @property
    def tail_start(self) -> int:
        """Log position from which a reading proves that it continues the stored log."""
        if self.length < (self.matched_until or 0):
            return 0
        return max(0, self.in_log - OVERLAP)


class TerminalRow(KnownTerminal, table=True):
    """A terminal that was read at least once."""

    __tablename__: ClassVar[Any] = "terminal"


class PlaceRow(SQLModel, table=True):
    """A record's place in a terminal's log."""

    __tablename__: ClassVar[Any] = "place"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    sequence: int | None
    """The event of this record; None where it is withheld."""


class UnconfirmedRow(SQLModel, table=True):
    """A live punch not yet found in the log."""

    __tablename__: ClassVar[Any] = "unconfirmed"
    id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    terminal: int
    sequence: int
    state: int
    verify: int
    work_code: str | None
    recorded_ms: int
    reported: bool = False


class WithheldRow(SQLModel, table=True):
    """A record before the chosen start."""

    __tablename__: ClassVar[Any] = "withheld"
    id: bytes = Field(sa_type=LargeBinary, primary_key=True)
    terminal: int
    generation: int
    position: int
    record: str
    day: int = UNDATED


class BindingRow(SQLModel, table=True):
    """A PIN of an internal user number of a terminal."""

    __tablename__: ClassVar[Any] = "binding"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    uid: int = Field(primary_key=True)
    pin: str = Field(primary_key=True)
    first_ms: int
    last_ms: int


class LogDayRow(SQLModel, table=True):
    """Number of records of a day in a terminal's log at the last reading."""

    __tablename__: ClassVar[Any] = "log_day"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    day: int = Field(primary_key=True)
    records: int


class DeliveryRow(SQLModel, table=True):
    """The one row about receipts of the centre."""

    __tablename__: ClassVar[Any] = "delivery"
    id: int = Field(default=1, primary_key=True)
    confirm: str = "auto"
    """Whose acknowledgement counts as delivery: ``centre``, ``broker``, or ``auto`` (the centre after a receipt)."""
    stream: str | None = None
    """The stream of the latest receipt; None before the first."""
    upto: int = 0
    """Number of the last event it covers; missing ranges below are in ``missing``."""
    confirmed_ms: int | None = None
    """When a receipt last confirmed additional events."""
    again_upto: int = 0
    """Waiting events up to this number may have been marked for resending."""


class MissingRow(SQLModel, table=True):
    """A range of events that no receipt covers although it lies below ``delivery.upto``."""

    __tablename__: ClassVar[Any] = "missing"
    first: int = Field(primary_key=True)
    last: int


class PrunedRow(SQLModel, table=True):
    """A pruned event that was requested and listed in a note."""

    __tablename__: ClassVar[Any] = "forgotten"
    sequence: int = Field(primary_key=True)


class FileContextRow(SQLModel, table=True):
    """The context of a record of a reset clock in a file: a digest of it and of the records in front of it."""

    __tablename__: ClassVar[Any] = "landmark"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    mark: bytes = Field(sa_type=LargeBinary, primary_key=True)


class FileRow(SQLModel, table=True):
    """A file that was imported completely."""

    __tablename__: ClassVar[Any] = "file"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    name: str
    size: int
    sequence: int
    """Number of the event about the import."""
    report: str
    """JSON, including the lines that could not be read."""


# Statements of the hot path are plain SQL: an import of 100,000 records runs each of them 100,000 times.
INSERT_EVENT = (
    "INSERT INTO event (sequence, id, topic, body, digest, recorded_ms, terminal, day) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_PLACE = "INSERT INTO place (terminal, generation, position, fingerprint, sequence) VALUES (?, ?, ?, ?, ?)"
INSERT_STREAM = (
    "INSERT INTO stream (number, id, base, opened_ms, reason, lost, predecessor, last_sequence, last_digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELIVERY_TABLES = ("delivery", "missing", "forgotten")
_FILE_TABLES = ("landmark", "file")
_TABLE_NAMES = (
    *("event", "place", "unconfirmed", "withheld", "gateway", "stream", "terminal", "binding", "log_day"),
    *_DELIVERY_TABLES,
    *_FILE_TABLES,
)
TABLES = {name: SQLModel.metadata.tables[name] for name in _TABLE_NAMES}
CONFIRMED = (
    "(event.sequence <= (SELECT upto FROM delivery) AND coalesce((SELECT last FROM missing "
    "WHERE first <= event.sequence ORDER BY first DESC LIMIT 1), 0) < event.sequence)"
)
"""SQL condition on ``event``: confirmed by a receipt of the centre."""
SETTLED = (
    "(event.sent_ms IS NOT NULL AND ("
    "(SELECT confirm = 'broker' OR (confirm = 'auto' AND stream IS NULL) FROM delivery) "
    f"OR event.sequence <= (SELECT max(base) FROM stream) OR {CONFIRMED}))"
)
"""SQL condition on ``event``: delivery is complete, so that its body may be pruned.

Receipts are about the present stream only; for earlier streams the broker's acknowledgement decides.
"""
# Waiting and parked events are found without scanning sent ones.
_INDEXES = {
    "waiting": "CREATE INDEX waiting ON event (sequence) WHERE sent_ms IS NULL AND parked IS NULL",
    "parked": "CREATE INDEX parked ON event (sequence) WHERE parked IS NOT NULL",
    "event_day": "CREATE INDEX event_day ON event (terminal, day) WHERE day IS NOT NULL",
}


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since the epoch, the tables' representation of moments."""
    return round(moment.timestamp() * 1000)


def known_from(row: Any) -> KnownTerminal:
    """Return a row of ``terminal`` as a KnownTerminal."""
    return KnownTerminal(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented way to a dictionary


def engine_for(path: Path, *, read_only: bool, create: bool = False) -> sqlalchemy.Engine:
    """Return an engine for the file; transactions are begun explicitly."""
    uri = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc' if create else 'rw'}"
    engine = sqlalchemy.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=15, check_same_thread=False),
        hide_parameters=True,  # parameters contain PINs
        poolclass=sqlalchemy.QueuePool,
        pool_size=2,
        max_overflow=-1,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's implicit transactions would begin too late.
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 15000")
        # KiB of page cache: many threads read a few rows each; the writer sets a larger one.
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        if create:
            # Both are stored in the file; repeating the first would write each time.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
        if not read_only:
            connection.execute("PRAGMA synchronous = FULL")
            # Identities are random, so a long import changes the same index pages repeatedly: a large write-ahead log
            # collects them before they are copied, which nearly halves the writes to an SD card.
            connection.execute("PRAGMA wal_autocheckpoint = 8000")

    return engine


def create(path: Path, source: str, *, stream: bool = True) -> None:
    """Create an empty ledger atomically at ``path``; without ``stream`` for a recovered one.

    An existing file without a ledger is therefore always damage and never a first start, which would begin a new stream
    and decide again which history to withhold.
    """
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, path):
        for suffix in ("", "-wal", "-shm"):
            leftover.with_name(leftover.name + suffix).unlink(missing_ok=True)
    with Folder(draft.parent) as folder:
        folder.create(draft.name, MODE).close()  # SQLite would give it the umask's rights; its other files follow
    engine = engine_for(draft, read_only=False, create=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        SQLModel.metadata.create_all(connection, tables=list(TABLES.values()))
        for index in _INDEXES.values():
            connection.exec_driver_sql(index)
        connection.execute(insert(TABLES["gateway"]), {"source": source, "clean": True})
        connection.execute(insert(TABLES["delivery"]), {})
        if stream:
            now_ms = milliseconds(datetime.now(UTC))
            connection.exec_driver_sql(INSERT_STREAM, (1, str(uuid4()), 0, now_ms, None, 0, None, None, None))
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
        connection.exec_driver_sql("COMMIT")
    engine.dispose()  # closing the last connection checkpoints the write-ahead log
    draft.replace(path)
    sync_folder(path.parent)


def tighten(data_dir: Path) -> None:
    """Take from everybody else the right to read a ledger, or one that was set aside, which an older version left them.

    A file that belongs to another user stays as it is.
    """
    with Folder(data_dir) as folder:
        for name in folder.names():
            if not name.startswith(FILE_NAME) or (seen := folder.look(name)) is None:
                continue
            # Opened only where needed: to close a database's file ends the locks that this process has on it.
            if stat.S_ISREG(seen.st_mode) and seen.st_mode & stat.S_IRWXO:
                with suppress(OSError), folder.open(name) as found:
                    os.fchmod(found.fileno(), stat.S_IMODE(seen.st_mode) & ~stat.S_IRWXO)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# 1721425 is the Julian day on whose noon the day before day 1 ends.
_ORDINAL = "CAST(julianday(substr(json_extract({}, '$.{}'), 1, 10)) + 0.5 AS INTEGER) - 1721425"
_DAYS_OF_EVENTS = (
    "UPDATE event SET terminal = (SELECT number FROM terminal WHERE name = substr(topic, instr(topic, '/') + 1)), "
    f"day = CASE WHEN topic LIKE 'punch/%' THEN {_ORDINAL.format('body', 'data.local_time')} ELSE ? END "
    "WHERE topic LIKE 'punch/%' OR topic LIKE 'quarantine/%'"
)
_DAYS_OF_WITHHELD = (
    f"UPDATE withheld SET day = {_ORDINAL.format('record', 'local_time')} "
    "WHERE json_extract(record, '$.local_time') IS NOT NULL"
)


def migrate(connection: Connection) -> None:
    """Migrate tables of an older version in one transaction; no event's bytes change."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version == SCHEMA:
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    _move_stream(connection)
    for column in ("terminal INTEGER", "day INTEGER", "unplaced BOOLEAN"):
        connection.exec_driver_sql(f"ALTER TABLE event ADD COLUMN {column}")
    connection.exec_driver_sql("ALTER TABLE withheld ADD COLUMN day INTEGER NOT NULL DEFAULT 0")
    connection.exec_driver_sql(_DAYS_OF_EVENTS, (UNDATED,))
    connection.exec_driver_sql(_DAYS_OF_WITHHELD)
    connection.exec_driver_sql("ALTER TABLE terminal ADD COLUMN first_generation INTEGER NOT NULL DEFAULT 0")
    # Version 1 did not store which earlier generations belong to another device: none counts as this one's.
    connection.exec_driver_sql("UPDATE terminal SET first_generation = generation")
    for column in ("ranged BOOLEAN", "threshold INTEGER"):
        connection.exec_driver_sql(f"ALTER TABLE terminal ADD COLUMN {column}")
    added = ("binding", "log_day", *_DELIVERY_TABLES, *_FILE_TABLES)
    SQLModel.metadata.create_all(connection, tables=[TABLES[name] for name in added])
    connection.execute(insert(TABLES["delivery"]), {})
    connection.exec_driver_sql(_INDEXES["event_day"])
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
    connection.exec_driver_sql("COMMIT")


def _move_stream(connection: Connection) -> None:
    """Move the single stream of a version 1 ledger from the gateway's row to a row of its own."""
    stream, *row = connection.exec_driver_sql("SELECT stream, source, sessions, clean, last_sent_ms FROM gateway").one()
    connection.exec_driver_sql("DROP TABLE gateway")
    SQLModel.metadata.create_all(connection, tables=[TABLES["gateway"], TABLES["stream"]])
    columns = ("source", "sessions", "clean", "last_sent_ms")
    connection.execute(insert(TABLES["gateway"]), dict(zip(columns, row, strict=True)))
    opened_ms = connection.exec_driver_sql("SELECT min(recorded_ms) FROM event").scalar() or 0
    connection.exec_driver_sql(INSERT_STREAM, (1, stream, 0, opened_ms, None, 0, None, None, None))


def lock(path: Path) -> BinaryIO:
    """Return the locked file ``path``; raises LedgerLocked where another process holds the lock."""
    with Folder(path.parent) as folder:
        handle = folder.update(path.name, MODE)
        folder.give(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise LedgerLocked(
            f"{path.parent}: another hadir is running with this data_dir; stop it first (systemctl stop hadir)"
        ) from exc
    # A second lock of another kind answers queries without taking a lock. On file systems that treat both kinds as one
    # it cannot be acquired; only in_use needs it.
    with suppress(OSError):
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _lock_of_whole_file(fcntl.F_WRLCK))
    return handle


def in_use(data_dir: Path) -> bool:
    """Return whether a process holds the ledger of a folder; PermissionError without read permission.

    Takes no lock itself: a daemon that starts at this moment is not blocked.
    """
    try:
        with Folder(data_dir) as folder:
            handle = folder.open(LOCK_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with handle:
        found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _lock_of_whole_file(fcntl.F_RDLCK))
    kind: int = struct.unpack_from("h", found)[0]
    return kind != fcntl.F_UNLCK


def _lock_of_whole_file(kind: int) -> bytes:
    """Return a ``struct flock`` of fcntl(2): type, whence, start, length (0: to the end), and pid, which must be 0."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def last_alive(path: Path) -> datetime:
    """Return the modification time of the lock file."""
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)


class Mark(NamedTuple):
    """The end of the chain, stored beside the ledger: it shows that the ledger was rolled back."""

    number: int
    sequence: int
    digest: str
    stream: str


def write_chain_end(handle: BinaryIO, mark: Mark) -> None:
    """Write the end of the chain to the locked file.

    Not forced to the disk, and omitted on a full disk: after a power cut the mark may be older than the ledger, which
    proves nothing and is harmless. It is never newer.
    """
    with suppress(OSError):
        os.pwrite(handle.fileno(), f"{' '.join(map(str, mark))}\n".encode("ascii"), 0)


def read_chain_end(path: Path) -> Mark | None:
    """Return the last written end of the chain; None where none is readable."""
    try:
        found = re.match(
            rb"([0-9]+) ([0-9]+) (sha256:[0-9a-f]{64}) ([0-9a-f-]{36})\n", safe_files.read(path, LOCK_BYTES)
        )
    except OSError:
        return None
    return Mark(int(found[1]), int(found[2]), found[3].decode(), found[4].decode()) if found else None


def unusable(data_dir: Path, exc: OSError) -> LedgerError:
    """Return the LedgerError of a folder that cannot contain a ledger."""
    return LedgerError(
        f"{data_dir}: {exc.strerror or exc}; data_dir must be a folder that the daemon's user may write to"
    )


def is_disk_full(exc: DBAPIError) -> bool:
    """Return whether a write failed because the disk is full."""
    return getattr(exc.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or (
        # The shared index of the write-ahead log needs space too, and reports a lack of it with another code.
        getattr(exc.orig, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE"
    )


_HINTS = {
    "database or disk is full": "make room on the disk; the terminals keep what is not read yet",
    "attempt to write a readonly database": "give the daemon's user write permission to the data_dir",
    "unable to open database file": "check that the data_dir exists and the daemon's user may write to it",
    "file is not a database": DAMAGED,
    "database disk image is malformed": DAMAGED,
    "text in it is spoilt": DAMAGED,
}
"""Message of SQLite → what to do."""
_KNOWN_WORDS = frozenset({*_HINTS, "database is locked", "disk I/O error"})


def sqlite_message(exc: BaseException | None) -> str:
    """Return SQLite's message if it repeats no data; otherwise the name of the error, or its type."""
    text = str(exc)
    if text.startswith("Could not decode to UTF-8"):  # the rest of the message is data
        return "text in it is spoilt"
    return text if text in _KNOWN_WORDS else getattr(exc, "sqlite_errorname", None) or type(exc).__name__


def explained(path: Path, exc: DBAPIError) -> LedgerError:
    """Return the LedgerError of a database error, with what to do about it.

    LedgerFull where the disk is full, LedgerDamaged where the file is damaged.
    """
    reason = sqlite_message(exc.orig)
    hint = _HINTS.get(reason, "look at the disk and the permissions of the data_dir")
    kind = LedgerFull if is_disk_full(exc) else LedgerDamaged if hint == DAMAGED else LedgerError
    return kind(f"{path}: {reason}; {hint}")
