"""What SQLite and PostgreSQL write differently in statements, one function or construct for each thing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

LOCKS = 0x6861646972 & 0x7FFFFFFF
"""First number of all advisory locks of ours in a PostgreSQL database; the second says which."""


class json_each(GenericFunction[Any]):  # noqa: N801 - the name that SQLite has for it
    """The values of a JSON array as rows with the column ``value``; as text in PostgreSQL."""

    name = "json_each"
    inherit_cache = True


@compiles(json_each, "postgresql")
def _json_each(element: json_each, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **kwargs)} AS JSON))"


class json_item(GenericFunction[Any]):  # noqa: N801 - as above
    """The value at a position in a JSON array, which is a literal; as text in PostgreSQL."""

    name = "json_item"
    inherit_cache = True


@compiles(json_item, "sqlite")
def _json_item_sqlite(element: json_item, compiler: SQLCompiler, **kwargs: Any) -> str:
    array, position = (compiler.process(each, **kwargs) for each in element.clauses)
    return f"json_extract({array}, '$[{position}]')"


@compiles(json_item, "postgresql")
def _json_item(element: json_item, compiler: SQLCompiler, **kwargs: Any) -> str:
    array, position = (compiler.process(each, **kwargs) for each in element.clauses)
    return f"(CAST({array} AS JSON) ->> {position})"


def is_postgresql(connection: Connection) -> bool:
    """Return whether a connection leads to a server; else it is SQLite's."""
    return connection.dialect.name == "postgresql"


def driver_statement(connection: Connection, statement: str) -> str:
    """Return a statement with ``?`` for its parameters as the driver takes it; it has no other ``?`` or ``%``."""
    return statement.replace("?", "%s") if is_postgresql(connection) else statement


def run(connection: Connection, statement: str, **values: Any) -> Any:
    """Run a statement that both databases read alike, with ``:name`` for its parameters, and return its result."""
    return connection.execute(text(statement), values)


def json_field(connection: Connection, column: str, *path: str | int, integer: bool = False) -> str:
    """Return SQL for a value in a column of JSON, null where there is none; a truth value as an integer is 0 or 1.

    Objects and arrays are their JSON. ``path`` and ``column`` are words of ours. ``integer``: PostgreSQL has one type
    for the whole column, so what is no integer of 18 digits is null there.
    """
    if not is_postgresql(connection):
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        return f"json_extract({column}, '${steps}')"
    found = f"({_without_nul(column)}::json #>> '{{{','.join(map(str, path))}}}')"
    if not integer:
        return found
    number = f"WHEN {found} ~ '^-?[0-9]{{1,18}}$' THEN {found}::bigint"  # a gateway's word must not end the query
    return f"(CASE {number} WHEN {found} = 'true' THEN 1 WHEN {found} = 'false' THEN 0 END)"


def _without_nul(column: str) -> str:
    """Return SQL for JSON without the character NUL, with which PostgreSQL takes no value out of it, in any member.

    An escaped backslash may stand before ``u0000``: meanwhile U+0001 stands for it, which JSON holds escaped only.
    """
    unescaped = f"replace({column}::text, '\\\\', chr(1))"
    return f"replace(replace({unescaped}, '\\u0000', '\\ufffd'), chr(1), '\\\\')"


def next_keys(connection: Connection, column: Column[Any], count: int) -> Sequence[int]:
    """Return keys of a table for rows that this transaction inserts.

    In SQLite one transaction writes at a time, so the greatest key cannot change before it ends. PostgreSQL has a
    sequence: several transactions get different keys, and one that is undone leaves a hole.
    """
    name = column.table.name
    if is_postgresql(connection):
        # The table's own sequence, by name: rows that were given their keys have to set it.
        keys = f"string_agg(nextval('{name}_{column.name}_seq')::text, ',')"  # a row for each takes longer
        found = connection.exec_driver_sql(f"SELECT {keys} FROM generate_series(1, {int(count)})").scalar_one()  # noqa: S608
        return [int(key) for key in found.split(",")] if found else []
    last = connection.exec_driver_sql(f"SELECT max({column.name}) FROM {name}").scalar_one() or 0  # noqa: S608
    return range(last + 1, last + 1 + count)


def wait_for_turn(connection: Connection, number: int) -> None:
    """Wait until no other transaction has a turn, one of :mod:`central.store.turns`, and have it until this one ends.

    In SQLite one transaction writes at a time anyway.
    """
    if is_postgresql(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCKS}, {int(number)})")


def overwrite_deleted(connection: Connection) -> None:
    """Let what this connection deletes be overwritten: SQLite's file keeps a copy in its free pages otherwise.

    A server's pages are overwritten after VACUUM, when room is needed; docs/privacy.md says so.
    """
    if not is_postgresql(connection):
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
