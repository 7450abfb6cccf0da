"""Closed periods in the database: what each person's period came to, what changed it later, and the files made then.

Rows are only added. A closed period never moves: a later difference is an adjustment, which another closing carries.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, Index, LargeBinary, UniqueConstraint, func, insert, select
from sqlmodel import Field

from central.store.engine import KEY, Row, encode, insert_many, listed, table
from central.store.marks import AFFECTED
from central.store.numbers import unused_number
from central.store.results import RESULT


class ClosingRow(Row, table=True):
    """A unit's period that was closed."""

    __tablename__: ClassVar[Any] = "closing"
    __table_args__: ClassVar[Any] = (Index("closing_unit", "unit", "first"),)
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    unit: str
    """It and the units below it."""
    first: str
    last: str
    closed_by: str
    paper: str
    entered: str
    still_open: str
    """What was open at this moment, canonical JSON."""
    policies: str
    """The digest of each policy that the totals rest on, by name; canonical JSON."""
    digest: str
    """SHA-256 of the totals and adjustments, see :func:`digest_of`."""


class ClosedTotalRow(Row, table=True):
    """What a person's period came to when it was closed."""

    __tablename__: ClassVar[Any] = "closed_total"
    __table_args__: ClassVar[Any] = (Index("closed_total_unit", "unit", "first"), Index("closed_total_of", "closing"))
    person: str = Field(primary_key=True)
    first: str = Field(primary_key=True)
    """A person's period is closed once, whatever unit it is closed with."""
    last: str
    closing: int = Field(sa_type=BigInteger, foreign_key="closing.id")
    unit: str | None
    content: str
    """The row of totals, canonical JSON."""
    revisions: str
    """The revision of each date that it was counted from, canonical JSON."""


class AdjustmentRow(Row, table=True):
    """What a closed period comes to by later knowledge, where that differs; the last one of a period counts."""

    __tablename__: ClassVar[Any] = "adjustment"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("closing", "person", "first"),
        Index("adjusted", "person", "first"),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    closing: int = Field(sa_type=BigInteger, foreign_key="closing.id")
    """The later closing that carries it."""
    person: str
    first: str
    """Of the closed period."""
    last: str
    unit: str | None
    content: str
    """Canonical JSON, see :class:`central.closing.adjust.Adjustment`."""
    after: str
    """The row of totals that counts from now on, canonical JSON."""
    revisions: str


class KeptFileRow(Row, table=True):
    """A file that was made at a closing, as it was handed out."""

    __tablename__: ClassVar[Any] = "kept_file"
    closing: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="closing.id")
    name: str = Field(primary_key=True)
    media_type: str
    sha256: str
    content: bytes = Field(sa_type=LargeBinary)


CLOSING, CLOSED, ADJUSTMENT = table(ClosingRow), table(ClosedTotalRow), table(AdjustmentRow)
KEPT_FILE = table(KeptFileRow)


class Closing(NamedTuple):
    """A closing as it is stored."""

    id: int
    unit: str
    first: date
    last: date
    closed_by: str
    paper: str
    entered: str
    still_open: str
    policies: str
    digest: str


class ClosedTotal(NamedTuple):
    """A person's period as it was closed."""

    person: str
    first: str
    last: str
    unit: str | None
    content: str
    revisions: str


class StoredAdjustment(NamedTuple):
    """An adjustment as it is stored."""

    person: str
    first: str
    last: str
    unit: str | None
    content: str
    after: str
    revisions: str


class KeptFile(NamedTuple):
    """A file as it was made."""

    name: str
    media_type: str
    content: bytes


def digest_of(totals: Iterable[ClosedTotal], adjustments: Iterable[StoredAdjustment]) -> str:
    """Return the SHA-256 of all that a closing fixes, by person and period."""
    rows = [sorted(list(one) for one in totals), sorted(list(one) for one in adjustments)]
    return sha256(encode(rows).encode()).hexdigest()


def add(
    connection: Connection,
    closing: Mapping[str, str],
    totals: Sequence[ClosedTotal],
    adjustments: Sequence[StoredAdjustment],
) -> int:
    """Store a closing with its totals and adjustments; return its number."""
    number = unused_number(connection, CLOSING.c.id)
    values = {"id": number, **closing, "digest": digest_of(totals, adjustments)}
    connection.execute(insert(CLOSING).values(**values))
    if totals:
        insert_many(connection, CLOSED, (*ClosedTotal._fields, "closing"), [(*one, number) for one in totals])
    if adjustments:
        rows = [(*one, number) for one in adjustments]
        insert_many(connection, ADJUSTMENT, (*StoredAdjustment._fields, "closing"), rows)
    return number


def keep_files(connection: Connection, number: int, files: Iterable[KeptFile]) -> None:
    """Store the files that were made at a closing."""
    columns = "closing", "name", "media_type", "sha256", "content"
    rows = [(number, one.name, one.media_type, sha256(one.content).hexdigest(), one.content) for one in files]
    if rows:
        insert_many(connection, KEPT_FILE, columns, rows)


def find(connection: Connection, number: int) -> Closing | None:
    """Return a closing."""
    row = connection.execute(select(CLOSING).where(CLOSING.c.id == number)).one_or_none()
    return None if row is None else _closing(row)


def listing(connection: Connection, units: Iterable[str] | None = None) -> list[Closing]:
    """Return the closings of units, or all, in the order in which they were made."""
    query = select(CLOSING).order_by(CLOSING.c.entered, CLOSING.c.id)
    if units is not None:
        query = query.where(listed(CLOSING.c.unit, units))
    return [_closing(row) for row in connection.execute(query)]


def totals_of(connection: Connection, number: int) -> list[ClosedTotal]:
    """Return the totals that a closing fixed, by person."""
    columns = [CLOSED.c[name] for name in ClosedTotal._fields]
    query = select(*columns).where(CLOSED.c.closing == number).order_by(CLOSED.c.person, CLOSED.c.first)
    return [ClosedTotal(*row) for row in connection.execute(query)]


def adjustments_of(connection: Connection, number: int) -> list[StoredAdjustment]:
    """Return the adjustments that a closing carries, by person and period."""
    columns = [ADJUSTMENT.c[name] for name in StoredAdjustment._fields]
    query = select(*columns).where(ADJUSTMENT.c.closing == number).order_by(ADJUSTMENT.c.person, ADJUSTMENT.c.first)
    return [StoredAdjustment(*row) for row in connection.execute(query)]


def adjustment_of(connection: Connection, number: int, person: str, first: date) -> StoredAdjustment | None:
    """Return what a closing carries of one closed period."""
    columns = [ADJUSTMENT.c[name] for name in StoredAdjustment._fields]
    of = ADJUSTMENT.c.closing == number, ADJUSTMENT.c.person == person, ADJUSTMENT.c.first == first.isoformat()
    row = connection.execute(select(*columns).where(*of)).one_or_none()
    return None if row is None else StoredAdjustment(*row)


def counts_of(connection: Connection, number: int) -> tuple[int, int]:
    """Return how many people a closing closed, and how many adjustments it carries."""
    people = select(func.count(CLOSED.c.person.distinct())).where(CLOSED.c.closing == number)
    adjustments = select(func.count()).where(ADJUSTMENT.c.closing == number)
    return connection.execute(people).scalar_one(), connection.execute(adjustments).scalar_one()


def files_of(connection: Connection, number: int) -> list[tuple[str, str, int]]:
    """Return name, SHA-256 and size of the files made at a closing."""
    columns = KEPT_FILE.c.name, KEPT_FILE.c.sha256, func.length(KEPT_FILE.c.content)
    query = select(*columns).where(KEPT_FILE.c.closing == number).order_by(KEPT_FILE.c.name)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def file_of(connection: Connection, number: int, name: str) -> tuple[KeptFile, str] | None:
    """Return a file made at a closing with the SHA-256 that was stored then."""
    query = select(KEPT_FILE).where(KEPT_FILE.c.closing == number, KEPT_FILE.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else (KeptFile(row.name, row.media_type, row.content), row.sha256)


def closed_of(connection: Connection, people: Iterable[str]) -> dict[tuple[str, str], tuple[int, ClosedTotal]]:
    """Return the closed periods of people as they count now, with their closing, by person and first date.

    Where adjustments were made, the content and the revisions are those of the last one.
    """
    keys = list(people)
    query = select(CLOSED).where(listed(CLOSED.c.person, keys))
    found = {
        (row.person, row.first): (
            row.closing,
            ClosedTotal(row.person, row.first, row.last, row.unit, row.content, row.revisions),
        )
        for row in connection.execute(query)
    }
    later = select(ADJUSTMENT).where(listed(ADJUSTMENT.c.person, keys)).order_by(ADJUSTMENT.c.id)
    for row in connection.execute(later):
        closing = found[row.person, row.first][0] if (row.person, row.first) in found else row.closing
        total = ClosedTotal(row.person, row.first, row.last, row.unit, row.after, row.revisions)
        found[row.person, row.first] = closing, total
    return found


def holding(connection: Connection, people: Iterable[str], first: date, last: date) -> list[tuple[Closing, set[str]]]:
    """Return the closings that hold a date between two of some people, oldest first, each with those people."""
    inside = CLOSED.c.first <= last.isoformat(), CLOSED.c.last >= first.isoformat()
    query = select(CLOSED.c.closing, CLOSED.c.person).where(*inside, listed(CLOSED.c.person, people))
    held: dict[int, set[str]] = {}
    for number, person in connection.execute(query):
        held.setdefault(number, set()).add(person)
    rows = connection.execute(
        select(CLOSING).where(listed(CLOSING.c.id, held)).order_by(CLOSING.c.entered, CLOSING.c.id)
    )
    return [(closing, held[closing.id]) for closing in map(_closing, rows)]


def people_closed(connection: Connection, units: Iterable[str]) -> list[str]:
    """Return the people of whom a period was ever closed in one of the units."""
    query = select(CLOSED.c.person).where(listed(CLOSED.c.unit, units)).distinct()
    return sorted(connection.execute(query).scalars())


def people_closed_between(connection: Connection, first: date, last: date) -> set[str]:
    """Return the people of whom a period is closed, or was adjusted from nothing, that lies between two dates."""
    found = set[str]()
    for one in (CLOSED, ADJUSTMENT):
        inside = one.c.first >= first.isoformat(), one.c.last <= last.isoformat()
        found |= set(connection.execute(select(one.c.person).where(*inside).distinct()).scalars())
    return found


def revised_after(connection: Connection, people: Iterable[tuple[str, int]], first: date, before: date) -> set[str]:
    """Return those people, each with a closing, of whom a date has a revision that is newer than the closing."""
    found = set[str]()
    closed: dict[int, list[str]] = {}
    for person, number in people:
        closed.setdefault(number, []).append(person)
    for number, those in closed.items():
        entered = select(CLOSING.c.entered).where(CLOSING.c.id == number).scalar_subquery()
        query = select(RESULT.c.person).where(
            listed(RESULT.c.person, those),
            RESULT.c.date >= first.isoformat(),
            RESULT.c.date < before.isoformat(),
            RESULT.c.entered > entered,
        )
        found |= set(connection.execute(query.distinct()).scalars())
    return found


def marks_touching(
    connection: Connection, first: date, last: date, people: Iterable[str]
) -> tuple[int, list[tuple[str, str, str]]]:
    """Return how many marks about any of the dates wait, and subject, first and last date of those set aside.

    Of marks about one person, only those about ``people``; what another mark touches is known when it is judged.
    """
    ours = listed(AFFECTED.c.subject, [f"person:{key}" for key in people])
    touching = (
        AFFECTED.c.first <= last.isoformat(),
        AFFECTED.c.last >= first.isoformat(),
        ours | ~AFFECTED.c.subject.startswith("person:"),
    )
    count = select(func.count()).where(*touching, AFFECTED.c.failed.is_(None))
    aside = select(AFFECTED.c.subject, AFFECTED.c.first, AFFECTED.c.last).where(
        *touching, AFFECTED.c.failed.is_not(None)
    )
    found = [(row.subject, row.first, row.last) for row in connection.execute(aside.order_by(AFFECTED.c.id))]
    return connection.execute(count).scalar_one(), found


def newest_revisions(
    connection: Connection, people: Iterable[str], first: date, last: date
) -> dict[tuple[str, str], int]:
    """Return the number of the last revision of each date of people, those that count no more too."""
    query = (
        select(RESULT.c.person, RESULT.c.date, func.max(RESULT.c.revision))
        .where(listed(RESULT.c.person, people), RESULT.c.date.between(first.isoformat(), last.isoformat()))
        .group_by(RESULT.c.person, RESULT.c.date)
    )
    return {(person, on): revision for person, on, revision in connection.execute(query)}


def _closing(row: Any) -> Closing:
    return Closing(
        **{
            **row._mapping,  # noqa: SLF001 - SQLAlchemy's public name
            "first": date.fromisoformat(row.first),
            "last": date.fromisoformat(row.last),
        }
    )
