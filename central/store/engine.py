"""The centre's database file: opened, created, brought up to date, and read or written in transactions.

How a subject adds its tables: one file of this package with ``class ...(Row, table=True)`` for each table and Core
statements over ``table(...)``, and one file ``migrations/versions/NNNN_subject.py`` that creates them. Revisions form
one line (``revision = "0002"``, ``down_revision = "0001"``), and a file's number is its revision. Reserved: 0001 what
gateways sent (the tables of version 3), 0002 registers, 0003 results. A file's missing migrations run in one
transaction together, so none may commit. A migration uses ``alembic.op`` and no class of the program, which changes
after it; where existing rows need something in a new table, it fills that table by statements.

Times are UTC text as :func:`utc` writes it; local times and dates are ISO text without a zone. Statements are portable
to PostgreSQL: what only SQLite has stands in this file.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    and_,
    bindparam,
    event,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from central.event import decode_text
from central.files import give_to_owner
from central.json_text import dump_json

KEY = BigInteger().with_variant(Integer(), "sqlite")
"""Type of a primary key that the database gives out: SQLite does so only for ``INTEGER``."""
METADATA = MetaData()
"""All tables of the centre, as the newest migration leaves them."""
OLD_VERSIONS = range(1, 4)
"""Values of ``PRAGMA user_version`` in files that were written before there were migrations."""
MANAGED = 4
"""``PRAGMA user_version`` of a file whose migrations ``alembic_version`` names: older programs refuse it by that."""
LOCK_WAIT_S = 5.0
"""How long an opening waits for the lock of another process that brings the file up to date."""
BUSY_S = 60.0
"""How long a transaction waits for another writer: an import of 100,000 rows holds the file for several seconds."""
CHUNK = 1_000
"""Values in one list of a statement."""
FILE_MODE = 0o640
"""The files hold PINs: they are for the owner and the group, whatever the umask."""
encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
"""Write canonical JSON: sorted keys and no white space."""
T = TypeVar("T")
_MIGRATIONS = Path(__file__).parent / "migrations"


class StoreError(Exception):
    """The file cannot be used; the message says which, why, and what to do."""


class StoreLocked(StoreError):  # noqa: N818 - named by what is the matter
    """Another inbox writes into the file."""


class Row(SQLModel, registry=registry(metadata=METADATA)):
    """A row of one of the centre's tables; apart from other programs' tables in one process."""


def table(row: type[Row]) -> Table:
    """Return the table of a class of rows, for Core statements."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]  # SQLModel sets it, and does not declare it


def insert_missing(into: Table) -> Any:
    """Return the statement that inserts the rows whose keys are not there; SQLite and PostgreSQL write it alike."""
    return sqlite.insert(into).on_conflict_do_nothing()


def insert_many(connection: Connection, into: Table, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of values, in the order of ``columns``.

    The driver gets them as they are: naming the values of each row, as Core wants it, costs as much as storing them.
    """
    marks = ", ".join("?" * len(columns))
    connection.exec_driver_sql(
        f"INSERT INTO {into.name} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - names of our tables
        rows,
    )


def delete_many(connection: Connection, of: Table, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    """Delete the rows that have these values in ``columns``, one statement for each: they must be an index's."""
    conditions = " AND ".join(f"{name} = ?" for name in columns)
    connection.exec_driver_sql(f"DELETE FROM {of.name} WHERE {conditions}", rows)  # noqa: S608 - names of our tables


def reserve_keys(connection: Connection, column: Column[Any], count: int) -> range:
    """Return the next keys of a table for rows that this transaction inserts; they only grow.

    In SQLite one transaction writes at a time, so the greatest key cannot change before it ends.
    """
    last = connection.exec_driver_sql(f"SELECT max({column.name}) FROM {column.table.name}").scalar_one() or 0  # noqa: S608 - names of our tables
    return range(last + 1, last + 1 + count)


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield values in lists that one statement takes."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


def listed(column: ColumnElement[Any], values: Iterable[str | int]) -> ColumnElement[bool]:
    """Return the condition that a column is one of some values, however many.

    They are one parameter of the statement, a JSON array: a place for each value costs more than looking it up.
    """
    each = func.json_each(json_list(values)).table_valued("value", name="listed")
    return column.in_(select(each.c.value))


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of the values in a parameter, which :func:`json_list` makes.

    As :func:`listed`, for statements that are made once: SQLAlchemy then need not look at them again each time.
    """
    each = func.json_each(bindparam(name)).table_valued("value", name=f"listed_{name}")
    return column.in_(select(each.c.value))


def json_list(values: Iterable[str | int]) -> str:
    """Return values as the parameter of :func:`in_list` has them."""
    return dump_json(list(values))


def among(columns: Sequence[Column[Any]], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Return the condition that columns are one of some keys.

    SQLite reads the whole table for several keys of several columns; the condition on the first one leads to the index.
    """
    return and_(columns[0].in_({key[0] for key in keys}), tuple_(*columns).in_(keys))


def utc(moment: datetime) -> str:
    """Write a moment as all columns with times have it: UTC, three decimals, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def revisions() -> list[str]:
    """Return the numbers of the files of migrations, in their order: these are the revisions."""
    return sorted(file.name[:4] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


class WriterLock:
    """The lock of the one inbox that receives into a file, beside the file; raises StoreLocked where another has it."""

    def __init__(self, path: Path, patience_s: float = 0.0) -> None:
        self._file = _create(Path(f"{path}.lock"), path)
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= until:
                    os.close(self._file)
                    raise StoreLocked(f"{path}: another hadir-central inbox writes into it") from None
                time.sleep(0.05)
            else:
                return

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)


class Database:
    """The centre's database. Transactions of several threads and processes may run at once; SQLite lets one write.

    With ``create`` a file that is missing is made, and one of an older version is brought up to date; without, both are
    a StoreError. ``read_only`` needs no right to write the file. Every method raises StoreError where the file fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        lock: WriterLock | None = None,
        busy_s: float = BUSY_S,
    ) -> None:
        """Open the file. ``lock``: the caller's, where it holds one; bringing a file up to date needs it.

        ``busy_s``: how long a transaction waits for another writer.
        """
        self.path = path
        self._read_only = read_only
        if create:
            os.close(_create(path, path))
        elif not path.is_file():
            raise StoreError(f"{path}: no such database")
        self._engine = _engine(path, read_only=read_only, busy_s=busy_s)
        try:
            with self.reading() as connection:
                found = _version(connection)
            if found == revisions()[-1]:
                if create:
                    keep_log(path)  # a restore that was killed leaves the file without
                return
            self._bring_up_to_date(found, lock, create=create)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; transactions that are open stay so until they end."""
        self._engine.dispose()

    def truncate_log(self) -> None:
        """Copy the write-ahead log into the file and empty it, as far as no reader needs it: it holds older pages."""
        with closing(_connect(self.path, "rw")) as driver:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection within a transaction that may write; committed, durably, where the block ends normally.

        It has the write lock from its beginning, so what it reads cannot change before it writes.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one moment of the database, however long it reads."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        try:
            with self._engine.connect().execution_options(**{_BEGIN: begin}) as connection, connection.begin():
                yield connection
        except (DBAPIError, sqlite3.Error) as exc:
            raise explained(self.path, exc) from exc

    def _bring_up_to_date(self, found: str, lock: WriterLock | None, *, create: bool) -> None:
        if not create or not (found == EMPTY or _is_older(found)):
            raise StoreError(f"{self.path}: {_refusal(found)}")
        ours = None if lock is not None else WriterLock(self.path, LOCK_WAIT_S)
        try:
            with closing(_connect(self.path, "rw")) as driver:
                driver.execute(_WAL)  # not within a transaction, and it stays with the file
            with self.writing() as connection:
                if _version(connection) != revisions()[-1]:
                    _migrate(connection)
        finally:
            if ours is not None:
                ours.release()


_BEGIN = "begin_statement"
"""Execution option: how SQLite begins the transaction; the driver would do it at the first change, too late."""
EMPTY, FOREIGN, _OLD = "empty", "foreign", "version "


def keep_log(path: Path) -> None:
    """Let the file have a write-ahead log, so that readers and a writer do not wait for each other; or leave it."""
    with suppress(sqlite3.Error), closing(_connect(path, "rw", busy_s=1.0)) as driver:
        driver.execute(_WAL)


_WAL = "PRAGMA journal_mode = WAL"


def explained(path: Path, exc: OSError | sqlite3.Error | DBAPIError) -> StoreError:
    """Return what made the file fail, for a person."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    return StoreError(f"{path}: {(cause.strerror if isinstance(cause, OSError) else None) or cause}")


def _create(path: Path, database: Path) -> int:
    """Open a file of a database, and create it if it is missing, with the mode of all of them; raises StoreError."""
    try:
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise explained(database, exc) from exc
    give_to_owner(file, path.parent)  # SQLite does the same with -wal and -shm
    os.fchmod(file, FILE_MODE)  # -wal and -shm get the mode of the file from SQLite
    return file


def _connect(path: Path, mode: str, busy_s: float = BUSY_S) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_s, check_same_thread=False)


def _engine(path: Path, *, read_only: bool, busy_s: float) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "ro" if read_only else "rw", busy_s),
        hide_parameters=True,  # they are PINs
        poolclass=sqlalchemy.QueuePool,
        pool_size=2,
        max_overflow=-1,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.text_factory = decode_text
        if not read_only:
            connection.execute("PRAGMA synchronous = FULL")
            # Punches' ids are random: their pages gather in memory and in the log before they are copied.
            connection.execute("PRAGMA wal_autocheckpoint = 8000")
            connection.execute("PRAGMA cache_size = -32768")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _version(connection: Connection) -> str:
    """Return the revision of a file, ``EMPTY``, ``version N`` of the time before migrations, or ``FOREIGN``."""
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars())
    if not tables and not version:
        return EMPTY
    if version in OLD_VERSIONS:
        return f"{_OLD}{version}"
    if version != MANAGED or "alembic_version" not in tables:
        return FOREIGN
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def _is_older(found: str) -> bool:
    return found.startswith(_OLD) or found in revisions()[:-1]


def _refusal(found: str) -> str:
    if _is_older(found):
        return "of an older version; `hadir-central inbox` brings it up to date when it starts"
    return "not a database of this version of hadir-central"


def _migrate(connection: Connection) -> None:
    """Run what the file lacks, within the caller's transaction: a kill in the middle leaves the file as it was."""
    # Alembic is imported only here: most starts find nothing to do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
    connection.exec_driver_sql(f"PRAGMA user_version = {MANAGED}")
