"""What PostgreSQL does in a way of its own where many rows are written, or several processes write at once.

SQLite has one writer at a time and its driver writes many rows quickly; there these functions do nothing special.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, Table, text

from central.store.errors import StoreError
from central.store.portable import is_postgresql

_LOCK = 0x68616469_00000000
"""With a number of :data:`_SUBJECTS`: the advisory locks of this program."""
_SUBJECTS = {"partitions": 1, "gateway": 2, "serial": 3}


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


def copy_rows(connection: Connection, into: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add rows to a table of PostgreSQL with COPY; none may have a key that is there."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor().copy(f"COPY {into.name} ({', '.join(columns)}) FROM STDIN") as copying:
        for row in rows:
            copying.write_row(row)


def insert_new(connection: Connection, into: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
    """Add the rows to a table of PostgreSQL whose keys are not there, and return the first column of those added.

    A key that another transaction is adding is waited for. One array a column, in one statement: a temporary table
    filled by COPY takes as long for 500 rows, and twice as long for ten.
    """
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
