"""The ledger's tables, their indexes and migration from older versions.

Tables: ``event`` (the numbered events), ``terminal``, ``place`` (each terminal's log order, position by position),
``unconfirmed`` (live punches not yet found in the log), ``withheld`` (history before a terminal's chosen start),
``binding`` (PINs of a terminal's internal user numbers), ``log_day`` (records of each day in a terminal's log),
``file`` and ``landmark`` (imported files, and the context of their records of a reset clock), ``mark`` (how far a
terminal that sends its records by itself has sent them), ``stream`` (the ledger's streams), ``delivery`` (one row: how
far the centre has confirmed), ``missing`` (events it lacks below that), ``forgotten`` (pruned events that were listed
in a note) and ``gateway`` (one row: owner, location, sessions).
"""

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import uuid4

from sqlalchemy import Connection, LargeBinary, insert
from sqlmodel import Field, SQLModel

from drivers.base import OVERLAP
from gateway.ledger_summary import CONFIRMED, SCHEMA, UNDATED


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
    """The record is from a file or was delivered, and no reading of the terminal's log has contained it yet."""
    content: str | None = None
    """The fields that distinguish punches of one person and second, as :class:`gateway.ledger.transaction.Content`
    writes them, where the body may not have them: of a delivered punch, and of a live one that the log corrected, or
    that a delivered record was taken for."""


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


class MarkRow(SQLModel, table=True):
    """An opaque text that a terminal's driver stored together with the records of a delivery."""

    __tablename__: ClassVar[Any] = "mark"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}
    terminal: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    text: str


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
    "mark",
)
TABLES = {name: SQLModel.metadata.tables[name] for name in _TABLE_NAMES}
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


def create_tables(connection: Connection, source: str, *, stream: bool) -> None:
    """Create an empty ledger of ``source`` in the caller's transaction; without ``stream`` none is begun."""
    SQLModel.metadata.create_all(connection, tables=list(TABLES.values()))
    for index in _INDEXES.values():
        connection.exec_driver_sql(index)
    connection.execute(insert(TABLES["gateway"]), {"source": source, "clean": True})
    connection.execute(insert(TABLES["delivery"]), {})
    if stream:
        now_ms = milliseconds(datetime.now(UTC))
        connection.exec_driver_sql(INSERT_STREAM, (1, str(uuid4()), 0, now_ms, None, 0, None, None, None))
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")


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


def version_of(connection: Connection) -> int:
    """Return the version of the file's tables; 0 where it holds none.

    Development versions added columns and tables without a new number: where some are missing, it is an older version.
    """
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version != SCHEMA:
        return version
    columns = _columns(connection)
    complete = all(set(table.columns.keys()) <= columns.get(name, set()) for name, table in TABLES.items())
    return SCHEMA if complete else SCHEMA - 1


def migrate(connection: Connection) -> None:
    """Migrate tables of an older version in one transaction; no event's bytes change."""
    if version_of(connection) == SCHEMA:
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if "stream" in _columns(connection)["gateway"]:
        _move_stream(connection)
    added = _add_missing(connection)
    if ("event", "day") in added:
        connection.exec_driver_sql(_DAYS_OF_EVENTS, (UNDATED,))
    if ("withheld", "day") in added:
        connection.exec_driver_sql(_DAYS_OF_WITHHELD)
    if ("terminal", "first_generation") in added:
        # Which earlier generations belong to another device was not stored: none counts as this one's.
        connection.exec_driver_sql("UPDATE terminal SET first_generation = generation")
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
    connection.exec_driver_sql("COMMIT")


def _columns(connection: Connection) -> dict[str, set[str]]:
    """Return the names of each table's columns."""
    found: dict[str, set[str]] = {}
    for table, column in connection.exec_driver_sql(
        "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'"
    ):
        found.setdefault(table, set()).add(column)
    return found


def _add_missing(connection: Connection) -> set[tuple[str, str]]:
    """Add missing tables, indexes and columns; return the columns added to existing tables."""
    before, added = _columns(connection), set()
    for name, table in TABLES.items():
        for column in table.columns if name in before else ():
            if column.name in before[name]:
                continue
            default = "" if column.nullable else f" NOT NULL DEFAULT {getattr(column.default, 'arg', 0)!r}"
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {column.name} {kind}{default}")
            added.add((name, column.name))
    SQLModel.metadata.create_all(connection, tables=list(TABLES.values()))
    if "delivery" not in before:
        connection.execute(insert(TABLES["delivery"]), {})
    for name, statement in _INDEXES.items():
        if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).first():
            connection.exec_driver_sql(statement)
    return added


def _move_stream(connection: Connection) -> None:
    """Move a ledger's single stream, as version 1 stored it, from the gateway's row to a row of its own."""
    row = dict(connection.exec_driver_sql("SELECT * FROM gateway").mappings().one())
    stream = row.pop("stream")
    connection.exec_driver_sql("DROP TABLE gateway")
    SQLModel.metadata.create_all(connection, tables=[TABLES["gateway"], TABLES["stream"]])
    connection.execute(insert(TABLES["gateway"]), row)
    opened_ms = connection.exec_driver_sql("SELECT min(recorded_ms) FROM event").scalar() or 0
    connection.exec_driver_sql(INSERT_STREAM, (1, stream, 0, opened_ms, None, 0, None, None, None))
