"""Verdicts in the database: each revision of each day. Revisions are only added; the last one of a day counts."""

from collections.abc import Iterable, Sequence
from datetime import date
from random import Random
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import Connection, Index, and_, func, literal_column, select
from sqlmodel import Field

from central.store import outbox, outcomes
from central.store.engine import Row, among, chunks, encode, insert_many, listed, table
from central.store.marks import REBUILD
from central.store.outcomes import Of
from central.store.portable import wait_for_turn
from central.store.turns import RESULTS
from central.timesheet.outcome import Outcome


class ResultRow(Row, table=True):
    """One revision of the verdict on one date of one person; never updated, never deleted."""

    __tablename__: ClassVar[Any] = "result"
    __table_args__: ClassVar[Any] = (Index("result_date", "date"), Index("result_unit", "unit", "date"))
    person: str = Field(primary_key=True)
    date: str = Field(primary_key=True)
    """The plan's date."""
    revision: int = Field(primary_key=True)
    """From 1 on."""
    status: str
    """``open``, ``provisional``, ``final``; ``none`` where a day that had a verdict is not judged any more."""
    unit: str | None = None
    policy: str | None = None
    inputs: str
    """SHA-256 of all that the verdict depends on."""
    engine: int
    content: str
    """Canonical JSON, see :mod:`central.timesheet.stored`; of ``none`` the reason."""
    changed: str
    """What differs from the revision before, canonical JSON."""
    cause: str
    """What brought it: canonical JSON, a list of causes of marks."""
    entered: str


RESULT = table(ResultRow)


class Revision(NamedTuple):
    """A revision as it is stored."""

    person: str
    date: date
    revision: int
    status: str
    unit: str | None
    policy: str | None
    inputs: str
    engine: int
    content: str
    changed: str
    cause: str
    entered: str


class Last(NamedTuple):
    """What is needed of the last revision of a day to see whether another one is due."""

    revision: int
    status: str
    inputs: str
    engine: int
    unit: str | None


def last_revisions(
    connection: Connection, people: Iterable[str], first: date, last: date
) -> dict[tuple[str, date], Last]:
    """Return the last revision of each day of people that has one."""
    found: dict[tuple[str, date], Last] = {}
    query = (
        select(
            RESULT.c.person,
            RESULT.c.date,
            RESULT.c.revision,
            RESULT.c.status,
            RESULT.c.inputs,
            RESULT.c.engine,
            RESULT.c.unit,
        )
        .where(listed(RESULT.c.person, people), RESULT.c.date.between(first.isoformat(), last.isoformat()))
        .order_by(RESULT.c.revision)
    )
    for person, on, *rest in connection.execute(query).all():
        found[person, date.fromisoformat(on)] = Last(*rest)
    return found


def last_numbers(connection: Connection, people: Iterable[str], first: date, last: date) -> list[tuple[str, date, int]]:
    """Return person, date and number of the last revision of each day of people that has one."""
    query = (
        select(RESULT.c.person, RESULT.c.date, func.max(RESULT.c.revision))
        .where(listed(RESULT.c.person, people), RESULT.c.date.between(first.isoformat(), last.isoformat()))
        .group_by(RESULT.c.person, RESULT.c.date)
    )
    return [(person, date.fromisoformat(on), number) for person, on, number in connection.execute(query)]


def first_dates(connection: Connection, people: Iterable[str]) -> dict[str, date]:
    """Return the first date of each person that has a verdict."""
    query = select(RESULT.c.person, func.min(RESULT.c.date)).where(listed(RESULT.c.person, people))
    found = connection.execute(query.group_by(RESULT.c.person))
    return {person: date.fromisoformat(on) for person, on in found}


def contents(connection: Connection, keys: Iterable[tuple[str, date, int]]) -> dict[tuple[str, date], str]:
    """Return the content of revisions, by person and date."""
    found: dict[tuple[str, date], str] = {}
    columns = RESULT.c.person, RESULT.c.date, RESULT.c.revision
    for batch in chunks((person, on.isoformat(), revision) for person, on, revision in keys):
        query = select(RESULT.c.person, RESULT.c.date, RESULT.c.content).where(among(columns, batch))
        found |= {(person, date.fromisoformat(on)): content for person, on, content in connection.execute(query)}
    return found


def add(connection: Connection, revisions: Sequence[Revision], comes_to: Sequence[Outcome]) -> None:
    """Store new revisions with what each comes to, and let the messages about them wait for the broker.

    Numbers of rows grow in the order in which they can be read: on a server other transactions wait for their turn to
    store revisions until the caller's ends.
    """
    if not revisions:
        return
    wait_for_turn(connection, RESULTS)
    rows = [(one.person, one.date.isoformat(), *one[2:]) for one in revisions]
    insert_many(connection, RESULT, Revision._fields, rows)
    of = (Of(one.person, one.date.isoformat(), one.revision, one.entered, one.unit, one.policy) for one in revisions)
    outcomes.add(connection, zip(of, comes_to, strict=True))
    units = {(one.unit, one.date) for one in revisions}
    before = [(one.person, one.date, one.revision - 1) for one in revisions if one.revision > 1]
    units |= _units_of(connection, before)
    days = ((one.unit, one.date, one.person, one.revision) for one in revisions)
    outbox.add(connection, days, units)


def _units_of(connection: Connection, keys: Iterable[tuple[str, date, int]]) -> set[tuple[str | None, date]]:
    """Return the units under which revisions were judged, with their dates."""
    columns = RESULT.c.person, RESULT.c.date, RESULT.c.revision
    found: set[tuple[str | None, date]] = set()
    for batch in chunks((person, on.isoformat(), revision) for person, on, revision in keys):
        query = select(RESULT.c.unit, RESULT.c.date).where(among(columns, batch)).distinct()
        found |= {(unit, date.fromisoformat(on)) for unit, on in connection.execute(query)}
    return found


def sample(connection: Connection, size: int, random: Random) -> list[tuple[str, date]]:
    """Return days that have a verdict, chosen at random: of each of some people one day."""
    people = connection.execute(select(RESULT.c.person).distinct()).scalars().all()
    found = []
    for person in random.sample(people, min(size, len(people))):
        dates = connection.execute(select(RESULT.c.date).where(RESULT.c.person == person).distinct()).scalars().all()
        found.append((person, date.fromisoformat(random.choice(dates))))
    return found


def rebuilt(connection: Connection, since: str) -> tuple[int, int]:
    """Return how many days have a verdict, and how many of them a rebuild since a moment found otherwise.

    A revision that anything else brought is no difference, nor is one of a day that was open: time changes it.
    """
    before = RESULT.alias("before")
    found = (
        select(func.count())
        .select_from(RESULT)
        .outerjoin(
            before,
            and_(
                before.c.person == RESULT.c.person,
                before.c.date == RESULT.c.date,
                before.c.revision == RESULT.c.revision - 1,
            ),
        )
        .where(
            RESULT.c.entered >= since,
            RESULT.c.cause == f"[{encode(REBUILD)}]",
            func.coalesce(before.c.status, RESULT.c.status) != "open",
        )
    )
    days = select(func.count()).where(RESULT.c.revision == 1)
    return connection.execute(days).scalar_one(), connection.execute(found).scalar_one()


def days_until(connection: Connection, last: date) -> int:
    """Return how many days until a date have a verdict."""
    days = select(func.count()).where(RESULT.c.revision == 1, RESULT.c.date <= last.isoformat())
    return int(connection.execute(days).scalar_one())


def history(connection: Connection, person: str, on: date, known_at: str | None = None) -> list[Revision]:
    """Return all revisions of a day in their order; those that were stored until a moment."""
    query = select(RESULT).where(RESULT.c.person == person, RESULT.c.date == on.isoformat())
    if known_at is not None:
        query = query.where(RESULT.c.entered <= known_at)
    return [_revision(row) for row in connection.execute(query.order_by(RESULT.c.revision))]


def current(
    connection: Connection,
    people: Iterable[str] | None,
    first: date,
    last: date,
    known_at: str | None = None,
) -> list[Revision]:
    """Return the last revision of each day of people, by person and date; those that were stored until a moment.

    ``people`` None: all of them.
    """
    query = select(RESULT).where(RESULT.c.date.between(first.isoformat(), last.isoformat()))
    if known_at is not None:
        query = query.where(RESULT.c.entered <= known_at)
    query = query.order_by(RESULT.c.person, RESULT.c.date, RESULT.c.revision)
    if people is not None:
        query = query.where(listed(RESULT.c.person, people))
    return list({(row.person, row.date): _revision(row) for row in connection.execute(query)}.values())


def exactly(connection: Connection, keys: Iterable[tuple[str, date, int]]) -> dict[tuple[str, date, int], Revision]:
    """Return revisions by person, date and number."""
    found: dict[tuple[str, date, int], Revision] = {}
    columns = RESULT.c.person, RESULT.c.date, RESULT.c.revision
    for batch in chunks((person, on.isoformat(), revision) for person, on, revision in keys):
        for row in connection.execute(select(RESULT).where(among(columns, batch))):
            one = _revision(row)
            found[one.person, one.date, one.revision] = one
    return found


def of_unit(connection: Connection, unit: str | None, on: date) -> list[Revision]:
    """Return the last revision of a date of each person whom it has in a unit, by person."""
    later = RESULT.alias("later")
    query = select(RESULT).where(
        RESULT.c.unit.is_(None) if unit is None else RESULT.c.unit == unit,
        RESULT.c.date == on.isoformat(),
        ~select(later.c.revision)
        .where(
            later.c.person == RESULT.c.person,
            later.c.date == RESULT.c.date,
            later.c.revision > RESULT.c.revision,
        )
        .exists(),
    )
    return [_revision(row) for row in connection.execute(query.order_by(RESULT.c.person))]


def doubted(connection: Connection, first: date, last: date) -> list[tuple[str, date, str]]:
    """Return person, date and content of the last revisions between two dates that name a doubt."""
    later = RESULT.alias("later")
    query = select(RESULT.c.person, RESULT.c.date, RESULT.c.content).where(
        RESULT.c.date.between(first.isoformat(), last.isoformat()),
        RESULT.c.content.contains('"step":"doubt"', autoescape=True),
        ~select(later.c.revision)
        .where(
            later.c.person == RESULT.c.person,
            later.c.date == RESULT.c.date,
            later.c.revision > RESULT.c.revision,
        )
        .exists(),
    )
    rows = connection.execute(query.order_by(RESULT.c.date, RESULT.c.person))
    return [(person, date.fromisoformat(on), content) for person, on, content in rows]


def newest_date(connection: Connection, unit: str | None) -> date | None:
    """Return the last date on which anybody was ever judged in a unit.

    A revision that counts no more is one of these: the message that the broker retains is about that date, and only
    another one about it says that no person is left there.
    """
    of_unit_only = RESULT.c.unit.is_(None) if unit is None else RESULT.c.unit == unit
    found = connection.execute(select(func.max(RESULT.c.date)).where(of_unit_only)).scalar_one()
    return None if found is None else date.fromisoformat(found)


def newest_day(connection: Connection) -> date | None:
    """Return the last date on which anybody was judged."""
    found = connection.execute(select(func.max(RESULT.c.date))).scalar_one()
    return None if found is None else date.fromisoformat(found)


def people_judged(connection: Connection, first: date, last: date, units: Iterable[str] | None = None) -> list[str]:
    """Return the people who have a verdict on any of the dates; those whom any revision has in one of the units.

    A revision that counts no more is one of these, so that a caller who reads as known at a moment misses no person.
    """
    query = select(RESULT.c.person).where(RESULT.c.date.between(first.isoformat(), last.isoformat())).distinct()
    if units is not None:
        query = query.where(listed(RESULT.c.unit, units))
    return sorted(connection.execute(query).scalars())


def _revision(row: Any) -> Revision:
    return Revision(**{**row._mapping, "date": date.fromisoformat(row.date)})  # noqa: SLF001 - SQLAlchemy's public name


def units_since(connection: Connection, row: int) -> frozenset[str | None]:
    """Return the units of the revisions that were stored after a row of :func:`last_row`."""
    query = select(RESULT.c.unit).where(literal_column("rowid") > row).distinct()
    return frozenset(connection.execute(query).scalars())


def last_row(connection: Connection) -> int:
    """Return a number that grows with every revision that is stored; 0 where there is none."""
    return int(
        connection.execute(select(func.coalesce(func.max(literal_column("rowid")), 0)).select_from(RESULT)).scalar_one()
    )
