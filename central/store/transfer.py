"""All rows of a SQLite file into an empty PostgreSQL database, in one transaction, compared before it is committed.

Each table is copied with COPY. What arrived is read back and compared with what was read, by the number of rows and by
a digest that does not depend on their order; a difference rolls everything back. So a kill at any moment leaves the
target empty, and the file is only read.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Connection, LargeBinary, MetaData, Table, text
from sqlalchemy.exc import InvalidRequestError

from central.event import decode_text
from central.store import partitions
from central.store.bulk import copying
from central.store.engine import is_url, place_of, revisions
from central.store.errors import StoreError
from central.store.sqlite import EMPTY

ROWS = 5_000
"""Rows between two reports of progress, and how many are read at once."""
_MODULUS = 1 << 256


class Compared(NamedTuple):
    """A table on both sides."""

    table: str
    rows: int
    digest: str
    """The sum of the SHA-256 of all rows, modulo 2^256, in hexadecimal digits."""


class TransferError(StoreError):
    """Nothing was transferred; the message says why."""


@dataclass(slots=True)
class _Sum:
    """Number and digest of the rows of a table, in whatever order they come."""

    rows: int = 0
    total: int = 0

    def add(self, row: Iterable[Any]) -> None:
        """Count a row: each value with its type and length, so that no two rows are written alike."""
        parts = []
        for value in row:
            data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
            parts.append(b"%s%d:%s" % (_TYPES[type(value)], len(data), data))
        self.rows += 1
        self.total = (self.total + int.from_bytes(sha256(b"".join(parts)).digest())) % _MODULUS

    def of(self, name: str) -> Compared:
        return Compared(name, self.rows, f"{self.total:064x}")


_TYPES: Mapping[type, bytes] = {type(None): b"n", bool: b"b", int: b"i", str: b"s", bytes: b"x"}


def counts(source: Path) -> dict[str, int]:
    """Return the number of rows of each table of a file; raises TransferError."""
    try:
        with closing(_open(source)) as reading:
            return {
                name: reading.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - a table's name
                for name in _names(reading)
            }
    except sqlite3.Error as error:
        raise TransferError(f"{source}: {error}") from error


def filled_at(url: str, names: Iterable[str]) -> list[str]:
    """Return which of the tables at a URL hold rows; raises StoreError where it cannot take the file's rows.

    It changes nothing: a database without tables gets them when the rows are transferred.
    """
    if not is_url(url):
        raise TransferError(f"{url}: not the address of a PostgreSQL database; write postgresql://ROLE@HOST:5432/NAME")
    server = place_of(url, read_only=True)
    server.prepare(create=False)
    engine = server.engine()
    try:
        with server.transaction(engine, writing=False, alone=False, moment=True) as connection:
            found = server.version(connection)
            if found == EMPTY:
                return []
            if found != revisions()[-1]:
                raise TransferError(f"{url}: holds tables of another version or program; name an empty database")
            return filled(connection, names)
    finally:
        engine.dispose()


def filled(connection: Connection, names: Iterable[str]) -> list[str]:
    """Return which of the tables of a PostgreSQL database hold rows."""
    statement = 'SELECT EXISTS (SELECT 1 FROM "{}")'
    return [name for name in names if connection.execute(text(statement.format(name))).scalar_one()]


def transfer(source: Path, connection: Connection, today: date, progress: Callable[[str, int], None]) -> list[Compared]:
    """Copy all rows of a file into the database of a writing transaction, compare, and return what both hold.

    Nothing else may write the file meanwhile. Raises TransferError; the caller's transaction is to be rolled back then.
    ``progress`` gets a table and how many of its rows were read. The months of punches near ``today`` get partitions.
    """
    found = []
    with closing(_open(source)) as reading:
        reading.execute("BEGIN")
        # The server waits while the file's months are looked for, however many punches it has.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        tables = _ordered(connection, _names(reading))
        locked = ", ".join(f'"{one.name}"' for one in tables)
        connection.execute(text(f"LOCK TABLE {locked} IN EXCLUSIVE MODE"))
        if there := filled(connection, (one.name for one in tables)):
            raise TransferError(f"the database is not empty: {', '.join(there)} hold rows; nothing was transferred")
        months = [month for (month,) in reading.execute("SELECT DISTINCT substr(local_time, 1, 7) FROM punch")]
        partitions.make(connection, today, expected=months)
        for one in tables:
            sent = _copy(reading, connection, one, progress)
            arrived = _arrived(connection, one)
            if sent != arrived:
                raise TransferError(
                    f"table {one.name}: {sent.rows} rows with the digest {sent.digest[:16]}… were read, and "
                    f"{arrived.rows} with {arrived.digest[:16]}… arrived; nothing was transferred"
                )
            found.append(sent)
    _set_sequences(connection, tables)
    return found


def _names(reading: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('alembic_version', 'sqlite_sequence')"
    return sorted(name for (name,) in reading.execute(f"{query} AND name NOT LIKE 'sqlite_stat%'"))


def _ordered(connection: Connection, names: Sequence[str]) -> list[Table]:
    """Return the tables as PostgreSQL has them, each behind those that it refers to."""
    metadata = MetaData()
    try:
        metadata.reflect(connection, only=names)
    except InvalidRequestError as error:
        raise TransferError(f"the database lacks a table of the file: {error}; nothing was transferred") from error
    return [one for one in metadata.sorted_tables if one.name in names]


def _open(source: Path) -> sqlite3.Connection:
    try:
        reading = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    except sqlite3.Error as error:
        raise TransferError(f"{source}: {error}") from error
    reading.text_factory = decode_text
    return reading


def _rows(reading: sqlite3.Connection, of: Table) -> Iterator[tuple[Any, ...]]:
    """Yield rows as PostgreSQL has them: SQLite has numbers for true and false."""
    names = ", ".join(f'"{column.name}"' for column in of.columns)
    flags = [index for index, column in enumerate(of.columns) if isinstance(column.type, Boolean)]
    cursor = reading.execute(f'SELECT {names} FROM "{of.name}"')  # noqa: S608 - our own tables
    while part := cursor.fetchmany(ROWS):
        if not flags:
            yield from part
            continue
        for row in part:
            values = list(row)
            for index in flags:
                values[index] = None if values[index] is None else bool(values[index])
            yield tuple(values)


def _copy(
    reading: sqlite3.Connection, connection: Connection, into: Table, progress: Callable[[str, int], None]
) -> Compared:
    """Copy a table; triggers are off meanwhile: they refuse a log whose first rows retention has deleted."""
    driver: Any = connection.connection.driver_connection
    names = ", ".join(f'"{column.name}"' for column in into.columns)
    total = _Sum()
    connection.execute(text(f'ALTER TABLE "{into.name}" DISABLE TRIGGER USER'))
    try:
        with copying(connection, f'COPY "{into.name}" ({names}) FROM STDIN') as taking:
            for row in _rows(reading, into):
                total.add(row)
                taking.write_row(row)
                if total.rows % ROWS == 0:
                    progress(into.name, total.rows)
    except (sqlite3.Error, driver_error(driver), KeyError) as error:
        what = " ".join(str(error).split()) if not isinstance(error, KeyError) else "a number with a fraction"
        raise TransferError(
            f"table {into.name}: a row among the first {total.rows + 1} is refused: {what}; nothing was transferred"
        ) from error
    connection.execute(text(f'ALTER TABLE "{into.name}" ENABLE TRIGGER USER'))
    progress(into.name, total.rows)
    return total.of(into.name)


def driver_error(driver: Any) -> type[Exception]:
    """Return the class of what a connection of psycopg raises: the module is there only where the extra is."""
    found: type[Exception] = driver.Error
    return found


def _arrived(connection: Connection, of: Table) -> Compared:
    total = _Sum()
    columns: Sequence[Any] = list(of.columns)
    binary = [index for index, column in enumerate(columns) if isinstance(column.type, LargeBinary)]
    names = ", ".join(f'"{column.name}"' for column in columns)
    statement = text(f'SELECT {names} FROM "{of.name}"')  # noqa: S608 - our own tables
    for row in connection.execute(statement, execution_options={"yield_per": ROWS}):
        values = list(row)
        for index in binary:
            values[index] = None if values[index] is None else bytes(values[index])
        total.add(values)
    return total.of(of.name)


def _set_sequences(connection: Connection, tables: Iterable[Table]) -> None:
    """Let the database give out numbers above those that are taken; keys are not the only ones."""
    for one in tables:
        for column in one.columns:
            sequence = connection.execute(
                text("SELECT pg_get_serial_sequence(:name, :column)"),
                {"name": f'"{one.name}"', "column": column.name},
            ).scalar_one()
            if sequence is not None:
                connection.execute(
                    text(
                        f'SELECT setval(CAST(:sequence AS regclass), max("{column.name}")) FROM "{one.name}" '  # noqa: S608 - our own tables
                        f'HAVING max("{column.name}") IS NOT NULL'
                    ),
                    {"sequence": sequence},
                )
