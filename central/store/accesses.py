"""The access log in the database: who looked at whose data, when, and from where. Rows are only added.

Triggers refuse to change a row, and to delete one that no deletion on record covers (:mod:`central.store.retention`).
Each row carries the digest of the row before it: whoever alters the file itself has to alter every later row too, and
the last digest, which auditors write down, differs. A digest is the SHA-256 of the canonical JSON of the row's columns
in their order, ``digest`` left out.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import Connection, Index, func, select
from sqlmodel import Field

from central.store.engine import KEY, Row, encode, insert_many, table
from central.store.retention import access_begin

FIRST_DIGEST = ""
"""What the first row has as the digest of the row before it."""
MAX_TEXT = 200
"""Characters of a text that are kept: a requested key may be anything."""


class AccessRow(Row, table=True):
    """One look at people's data, or an attempt that was refused; never updated, deleted by retention alone."""

    __tablename__: ClassVar[Any] = "access_log"
    __table_args__: ClassVar[Any] = (
        Index("access_account", "account", "id"),
        Index("access_person", "person", "id"),
        Index("access_unit", "unit", "id"),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    at: str
    """UTC."""
    account: str
    role: str
    address: str
    """Of the browser, or of its proxy."""
    what: str
    """The name of the page, or of the action."""
    unit: str | None = None
    person: str | None = None
    first: str | None = None
    """With ``last``: the dates looked at."""
    last: str | None = None
    people: int | None = None
    """How many people the page showed."""
    refused: bool = False
    """Nothing was shown: what was requested is foreign to the account, or does not exist."""
    previous: str
    digest: str


ACCESS = table(AccessRow)
_COLUMNS = tuple(column.name for column in ACCESS.columns)


class Access(NamedTuple):
    """One look, as a page reports it."""

    at: str
    account: str
    role: str
    address: str
    what: str
    unit: str | None = None
    person: str | None = None
    first: str | None = None
    last: str | None = None
    people: int | None = None
    refused: bool = False


class Kept(NamedTuple):
    """A row of the log."""

    id: int
    access: Access
    previous: str
    digest: str


class Chain(NamedTuple):
    """What a verification of the log has found."""

    rows: int
    digest: str
    """Of the last row; empty where there is none."""
    broken: int | None
    """The first row that does not follow from the one before it, or is missing; None: none."""


def add(connection: Connection, accesses: Iterable[Access]) -> None:
    """Store looks in their order; the caller's transaction has the write lock."""
    last = connection.execute(select(ACCESS.c.id, ACCESS.c.digest).order_by(ACCESS.c.id.desc()).limit(1)).first()
    number, previous = (0, FIRST_DIGEST) if last is None else tuple(last)
    rows = []
    for access in accesses:
        number += 1
        values = (number, *(_cut(value) for value in access), previous)
        previous = _digest(values)
        rows.append((*values, previous))
    if rows:
        insert_many(connection, ACCESS, _COLUMNS, rows)


def newest(
    connection: Connection,
    most: int,
    *,
    before: int | None = None,
    account: str | None = None,
    person: str | None = None,
    unit: str | None = None,
) -> list[Kept]:
    """Return rows, the newest first; ``before``: with smaller numbers than this; those about all that is named."""
    query = select(ACCESS).order_by(ACCESS.c.id.desc()).limit(most)
    for column, value in ((ACCESS.c.account, account), (ACCESS.c.person, person), (ACCESS.c.unit, unit)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(ACCESS.c.id < before)
    return [_kept(row) for row in connection.execute(query)]


def verify(connection: Connection) -> Chain:
    """Recompute every digest, and return where the chain ends or breaks; it begins behind what retention deleted."""
    count, previous = access_begin(connection)
    for row in connection.execution_options(yield_per=1_000).execute(select(ACCESS).order_by(ACCESS.c.id)):
        count += 1
        values = tuple(row)
        if row.id != count or row.previous != previous or _digest(values[:-1]) != row.digest:
            return Chain(count, row.digest, row.id)
        previous = row.digest
    return Chain(count, previous, None)


def length(connection: Connection) -> int:
    """Return how many rows there are."""
    return int(connection.execute(select(func.coalesce(func.max(ACCESS.c.id), 0))).scalar_one())


def _digest(values: Sequence[Any]) -> str:
    plain = [int(value) if isinstance(value, bool) else value for value in values]
    return sha256(encode(plain).encode("utf-8", "surrogatepass")).hexdigest()


def _cut(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _kept(row: Any) -> Kept:
    values = tuple(row)
    access = Access(*values[1 : 1 + len(Access._fields)])
    return Kept(row.id, access._replace(refused=bool(access.refused)), row.previous, row.digest)
