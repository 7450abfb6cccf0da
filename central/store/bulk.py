"""What PostgreSQL does in a way of its own where many rows are written, or several processes write at once.

SQLite has one writer at a time and its driver writes many rows quickly; there these functions do nothing special.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from sqlalchemy import BigInteger, Connection, Integer, Table, text

from central.store.errors import StoreError
from central.store.portable import is_postgresql

_LOCK = 0x68616469_00000000
"""With a number of :data:`_SUBJECTS`: the advisory locks of this program."""
_SUBJECTS = {"partitions": 1, "gateway": 2, "serial": 3}
_TERMINALS, _TERMINAL_LOCKS = 1_000, 256
"""First number and count of the locks of terminals, which share them: a server's table of locks is small."""


def is_deadlock(error: StoreError) -> bool:
    """Return whether a transaction was undone only because it and another one waited for each other."""
    cause = error.__cause__
    return getattr(getattr(cause, "orig", cause), "sqlstate", None) == "40P01"


def serialize(connection: Connection, subject: str) -> None:
    """Let one transaction at a time decide whether rows of a subject are new, until it ends.

    What others have committed before is seen by the statements that follow.
    """
    if is_postgresql(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK + _SUBJECTS[subject]})


def serialize_terminals(connection: Connection, punched: Iterable[str], changed: Iterable[str]) -> None:
    """Let transactions that store punches of serial numbers, and those that change what is known of them, not overlap.

    Any number that store punches run at once. What others have committed before is seen by the statements that follow.
    """
    if not is_postgresql(connection):
        return
    keys = dict.fromkeys(map(_terminal_key, punched), False) | dict.fromkeys(map(_terminal_key, changed), True)
    if keys:  # in one order, so that no two transactions wait crosswise
        statement = (
            "SELECT count(CASE WHEN one.alone THEN pg_advisory_xact_lock(one.key)::text "
            "ELSE pg_advisory_xact_lock_shared(one.key)::text END) FROM unnest(%s::bigint[], %s::boolean[]) "
            "AS one (key, alone)"
        )
        ordered = sorted(keys.items())
        connection.exec_driver_sql(statement, ([key for key, _ in ordered], [alone for _, alone in ordered]))


def let_compute(connection: Connection, limit: str = "1h") -> None:
    """Let a transaction stand without a statement for longer than usual while its process computes; "0": for ever.

    Else a server ends it, as that of a process that stands still: after less than a minute where it writes.
    """
    if is_postgresql(connection):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{limit}'")


def _terminal_key(serial: str) -> int:
    return _LOCK + _TERMINALS + crc32(serial.encode()) % _TERMINAL_LOCKS


@contextmanager
def copying(connection: Connection, statement: str) -> Iterator[Any]:
    """Yield what takes the rows of a COPY statement; the driver runs it alone, and raises its own errors.

    A connection that the server has ended is given up at once. Else SQLAlchemy, which has not seen that, would roll
    back on it and raise the error of that in place of why it ended.
    """
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor().copy(statement) as rows:
            yield rows
    except Exception:
        if driver.broken:
            connection.invalidate()
        raise


def copy_rows(connection: Connection, into: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add rows to a table of PostgreSQL with COPY; none may have a key that is there."""
    with copying(connection, f"COPY {into.name} ({', '.join(columns)}) FROM STDIN") as taking:
        for row in rows:
            taking.write_row(row)


def insert_new(connection: Connection, into: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
    """Add the rows to a table of PostgreSQL whose keys are not there, and return the first column of those added.

    The caller has looked for them and found none, so they go by COPY, which takes half of the time. A key that another
    transaction is adding is waited for; where that one then is there, all of them go by a statement that leaves it out.
    """
    connection.exec_driver_sql("SAVEPOINT rows")  # it ends with the transaction
    try:
        copy_rows(connection, into, columns, rows)
    except Exception as exc:
        if getattr(exc, "sqlstate", None) != _UNIQUE:
            raise
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT rows")
        return _insert_missing(connection, into, columns, rows)
    return {row[0] for row in rows}


_UNIQUE = "23505"
"""SQLSTATE of a key that is there."""


def _insert_missing(
    connection: Connection, into: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> set[Any]:
    """As :func:`insert_new`, with one array a column, in one statement."""
    arrays = ", ".join(f"%s::{_array(into.c[name].type)}" for name in columns)
    names = ", ".join(columns)
    added = connection.exec_driver_sql(
        f"INSERT INTO {into.name} ({names}) SELECT * FROM unnest({arrays}) "  # noqa: S608 - names of our tables
        f"ON CONFLICT DO NOTHING RETURNING {columns[0]}",
        tuple([list(values) for values in zip(*rows, strict=True)]),
    )
    return set(added.scalars())


def delete_rows(connection: Connection, of: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Delete the rows of a table of PostgreSQL that have these values in ``columns``, in one statement."""
    arrays = ", ".join(f"%s::{_array(of.c[name].type)}" for name in columns)
    same = " AND ".join(f"{of.name}.{name} = gone.{name}" for name in columns)
    connection.exec_driver_sql(
        f"DELETE FROM {of.name} USING unnest({arrays}) AS gone ({', '.join(columns)}) WHERE {same}",  # noqa: S608
        tuple([list(values) for values in zip(*rows, strict=True)]),
    )


def _array(kind: Any) -> str:
    return "bigint[]" if isinstance(kind, BigInteger | Integer) else "text[]"
