"""The centre's database: opened, created, brought up to date, and read or written in transactions.

How a subject adds its tables: one file of this package with ``class ...(Row, table=True)`` for each table and Core
statements over ``table(...)``, and one file ``migrations/versions/NNNN_subject.py`` that creates them. Revisions form
one line (``revision = "0002"``, ``down_revision = "0001"``), and a file's number is its revision. Reserved: 0001 what
gateways sent (the tables of version 3), 0002 registers, 0003 results. A file's missing migrations run in one
transaction together, so none may commit. A migration uses ``alembic.op`` and no class of the program, which changes
after it; where existing rows need something in a new table, it fills that table by statements.

Times are UTC text as :func:`utc` writes it; local times and dates are ISO text without a zone. Statements are read
by SQLite and PostgreSQL alike; what they write differently stands in :mod:`central.store.portable`, files and their
locks in ``sqlite``, servers in ``postgresql``.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, cast

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Select,
    Subquery,
    Table,
    and_,
    bindparam,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import postgresql as dialects
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from central.json_text import dump_json
from central.store import errors, sqlite
from central.store.bulk import copy_rows, delete_rows
from central.store.portable import driver_statement, is_postgresql, json_each, json_item, next_keys

KEY = BigInteger().with_variant(Integer(), "sqlite")
"""Type of a primary key that the database gives out: SQLite does so only for ``INTEGER``."""
METADATA = MetaData()
"""All tables of the centre, as the newest migration leaves them."""
BUSY_S = 60.0
"""How long a transaction waits for another writer: an import of 100,000 rows holds the file for several seconds."""
CHUNK = 1_000
"""Values in one list of a statement."""
encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
"""Write canonical JSON: sorted keys and no white space."""
StoreError = errors.StoreError
StoreConflict = errors.StoreConflict
StoreStalled = errors.StoreStalled
StoreLocked = errors.StoreLocked
T = TypeVar("T")
_MIGRATIONS = Path(__file__).parent / "migrations"


class Row(SQLModel, registry=registry(metadata=METADATA)):
    """A row of one of the centre's tables; apart from other programs' tables in one process."""


def table(row: type[Row]) -> Table:
    """Return the table of a class of rows, for Core statements."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]  # SQLModel sets it, and does not declare it


def insert_missing(into: Table) -> Any:
    """Return the statement that inserts the rows whose keys are not there; SQLite and PostgreSQL write it alike."""
    return dialects.insert(into).on_conflict_do_nothing()


def count_again(into: Table) -> Any:
    """Return the statement that inserts a row with ``times``, or adds one to those of the row that has its key.

    ``last`` is the new row's then. So nothing fails where two processes count the same thing at once.
    """
    row = dialects.insert(into)
    changed = {"times": into.c.times + 1, "last": row.excluded.last}
    return row.on_conflict_do_update(index_elements=list(into.primary_key.columns), set_=changed)


def insert_many(connection: Connection, into: Table, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of values, in the order of ``columns``.

    The driver gets them as they are: naming the values of each row, as Core wants it, costs as much as storing them.
    """
    if is_postgresql(connection):
        copy_rows(connection, into, columns, rows)
        return
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {into.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our tables
    connection.exec_driver_sql(driver_statement(connection, statement), rows)


def delete_many(connection: Connection, of: Table, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    """Delete the rows that have these values in ``columns``, one statement for each: they must be an index's."""
    if is_postgresql(connection):
        delete_rows(connection, of, columns, rows)
        return
    conditions = " AND ".join(f"{name} = ?" for name in columns)
    statement = f"DELETE FROM {of.name} WHERE {conditions}"  # noqa: S608 - names of our tables
    connection.exec_driver_sql(driver_statement(connection, statement), rows)


def reserve_keys(connection: Connection, column: Column[Any], count: int) -> Sequence[int]:
    """Return the next keys of a table for rows that this transaction inserts, ascending; no other one gets them."""
    return next_keys(connection, column, count)


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield values in lists that one statement takes."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


def listed(column: ColumnElement[Any], values: Iterable[str | int]) -> ColumnElement[bool]:
    """Return the condition that a column is one of some values, however many.

    They are one parameter of the statement, a JSON array: a place for each value costs more than looking it up.
    """
    return column.in_(_values(column, json_each(json_list(values)), "listed"))


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of the values in a parameter, which :func:`json_list` makes.

    As :func:`listed`, for statements that are made once: SQLAlchemy then need not look at them again each time.
    """
    return column.in_(listed_values(column, name))


def listed_values(column: ColumnElement[Any], name: str) -> Select[Any]:
    """Return the values in such a parameter as rows, of the type of a column."""
    return _values(column, json_each(bindparam(name)), f"listed_{name}")


def _values(column: ColumnElement[Any], values: json_each, name: str) -> Select[Any]:
    each = values.table_valued("value", name=name).c.value
    return select(sql_cast(each, BigInteger) if isinstance(column.type, Integer) else each)


def listed_rows(name: str, *columns: str) -> Subquery:
    """Return as rows what :func:`json_list` makes of tuples of integers; ``columns`` name their items."""
    each = json_each(bindparam(name)).table_valued("value", name=f"listed_{name}").c.value
    items = [json_item(each, literal_column(str(at))) for at in range(len(columns))]
    named = zip(items, columns, strict=True)
    return select(*(sql_cast(item, BigInteger).label(column) for item, column in named)).subquery(name)


def json_list(values: Iterable[str | int | tuple[int, ...]]) -> str:
    """Return values as the parameter of :func:`in_list` or :func:`listed_rows` has them."""
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


class Lock(Protocol):
    """A lock that is held until it is released or lost."""

    def is_held(self) -> bool:
        """Return whether it is not lost."""

    def release(self) -> None:
        """Let another process have it."""


class Place(Protocol):
    """Where a database is: what a file and a server do differently, :mod:`central.store.sqlite` and ``postgresql``."""

    def prepare(self, *, create: bool) -> None:
        """Make it where it is missing and ``create`` is given; raises StoreError where it cannot hold ours."""

    def engine(self) -> sqlalchemy.Engine:
        """Return what connects to it."""

    def transaction(
        self, engine: sqlalchemy.Engine, *, writing: bool, alone: bool, moment: bool
    ) -> AbstractContextManager[Connection]:
        """Return a context that yields a connection within a transaction, see :class:`Database`."""

    def version(self, connection: Connection) -> str:
        """Return the revision of what it holds, or one of the words of :mod:`central.store.sqlite`."""

    def lock(self, patience_s: float = 0.0) -> Lock:
        """Take the lock of the one inbox; raises StoreLocked where another process has it for longer."""

    def before_migrations(self) -> None:
        """Do what cannot be done within the transaction of migrations."""

    def after_migrations(self, connection: Connection) -> None:
        """Do what belongs to their end."""

    def mend(self) -> None:
        """Undo what a process that was killed may have left."""

    def truncate_log(self) -> None:
        """Leave no older content in the log of changes."""

    def turn(self, number: int) -> Lock | None:
        """Take a turn, one of :mod:`central.store.turns`; None where another process has it."""

    def explained(self, exc: Exception) -> StoreError | None:
        """Return what made the database fail, for a person; None where it was not the database."""

    def is_its_own(self, exc: Exception) -> bool:
        """Return whether the database made this fail, and not what was to be stored in it."""


def place_of(address: Path | str, *, read_only: bool = False, busy_s: float = BUSY_S) -> Place:
    """Return where a database is: a file, or a server where the address is a URL; raises StoreError."""
    if not is_url(address):
        return sqlite.File(Path(address), read_only=read_only, busy_s=busy_s)
    try:
        from central.store import postgresql  # noqa: PLC0415 - psycopg is an extra, and stays out of gateways' processes
    except ImportError as exc:
        raise StoreError(
            f"a database on a server needs psycopg ({exc}): pip install 'hadir-gateway[postgres]'"
        ) from None
    return postgresql.Server(postgresql.Address.parse(str(address)), read_only=read_only, busy_s=busy_s)


def is_url(address: Path | str) -> bool:
    """Return whether an address names a database on a server."""
    return isinstance(address, str) and address.startswith(("postgresql://", "postgres://"))


def is_there(address: Path | str) -> bool:
    """Return whether there is a database at an address, of whatever version; raises StoreError for a server."""
    if not is_url(address):
        return Path(address).exists()
    place = place_of(address, read_only=True)
    with (
        closing_engine(place.engine()) as engine,
        place.transaction(engine, writing=False, alone=True, moment=True) as connection,
    ):
        return place.version(connection) != sqlite.EMPTY


def writer_lock(address: Path | str, patience_s: float = 0.0) -> Lock:
    """Take the lock of the one inbox of a database; raises StoreLocked where another process has it."""
    return place_of(address).lock(patience_s)


class Database:
    """The centre's database. Transactions of several threads and processes may run at once; one of them writes.

    With ``create`` a file that is missing is made, tables are made in an empty database, and one of an older version is
    brought up to date; without, all of that is a StoreError. ``read_only`` needs no right to write. Every method raises
    StoreError where the database fails.
    """

    def __init__(
        self,
        address: Path | str,
        *,
        create: bool = False,
        read_only: bool = False,
        lock: Lock | None = None,
        busy_s: float = BUSY_S,
    ) -> None:
        """Open the database. ``lock``: the caller's, where it holds one; bringing it up to date needs it.

        ``address``: a file, or the URL of a PostgreSQL database. ``busy_s``: how long a transaction waits for another
        writer.
        """
        self.address = address
        self.place = place_of(address, read_only=read_only, busy_s=busy_s)
        self.place.prepare(create=create)
        self._engine = self.place.engine()
        try:
            with self.reading() as connection:
                found = self.place.version(connection)
            if found == revisions()[-1]:
                if create:
                    self.place.mend()
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
        """Close the database; transactions that are open stay so until they end."""
        self._engine.dispose()

    def refused(self, error: StoreError) -> bool:
        """Return whether the database works, and refused what was to be stored."""
        cause = error.__cause__
        return (
            isinstance(cause, Exception)
            and self.place.explained(cause) is not None
            and not self.place.is_its_own(cause)
        )

    def truncate_log(self) -> None:
        """Leave no older content in the log of changes, as far as no reader needs it and the database is a file."""
        self.place.truncate_log()

    @contextmanager
    def writing(self, *, alone: bool = True, moment: bool = False) -> Iterator[Connection]:
        """Yield a connection within a transaction that may write; committed, durably, where the block ends normally.

        It writes alone from its beginning, so what it reads cannot change before it writes. ``alone=False`` is for a
        caller that locks the rows itself that it decides upon (``with_for_update``) and takes keys only from
        :func:`reserve_keys`: on a server any number of those run at once, and none beside one that writes alone. With
        ``moment`` such a one sees one moment of the database, as :meth:`reading` does, and raises StoreConflict where
        another has changed since then what it changes.
        """
        with self._transaction(writing=True, alone=alone, moment=moment) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one moment of the database, however long it reads."""
        with self._transaction(writing=False, alone=False, moment=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writing: bool, alone: bool, moment: bool) -> Iterator[Connection]:
        try:
            with self.place.transaction(self._engine, writing=writing, alone=alone, moment=moment) as connection:
                yield connection
        except Exception as exc:
            error = self.place.explained(exc)
            if error is None:
                raise
            raise error from exc

    def _bring_up_to_date(self, found: str, lock: Lock | None, *, create: bool) -> None:
        if not create or not (found == sqlite.EMPTY or _is_older(found)):
            raise StoreError(f"{self.place}: {_refusal(found)}")
        ours = None if lock is not None else self.place.lock(sqlite.LOCK_WAIT_S)
        try:
            self.place.before_migrations()
            with self.writing() as connection:
                if self.place.version(connection) != revisions()[-1]:
                    _migrate(connection)
                    self.place.after_migrations(connection)
        finally:
            if ours is not None:
                ours.release()


@contextmanager
def closing_engine(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Engine]:
    """Yield what connects to a database, and close its connections afterwards."""
    try:
        yield engine
    finally:
        engine.dispose()


def _is_older(found: str) -> bool:
    return found.startswith(sqlite.OLD) or found in revisions()[:-1]


def _refusal(found: str) -> str:
    if _is_older(found):
        return "of an older version; `hadir-central inbox` brings it up to date when it starts"
    if found == sqlite.EMPTY:
        return "empty; `hadir-central inbox` and `import` make its tables"
    if found.isdecimal() and found > revisions()[-1]:
        return "of a newer version of hadir-central; install that version"
    return "not a database of this version of hadir-central"


def _migrate(connection: Connection) -> None:
    """Run what the file lacks, within the caller's transaction: a kill in the middle leaves the file as it was."""
    # Alembic is imported only here: most starts find nothing to do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
