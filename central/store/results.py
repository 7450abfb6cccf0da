"""Verdicts in the database: what is to be judged again, when time itself is a reason to, and each revision of each day.

Marks (``affected``) are made in the transaction of their cause and deleted in the transaction of the verdicts that they
bring, so a kill at any moment loses none and repeats none. Revisions are only added; the last one of a person and date
counts.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Index,
    String,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    union,
    update,
)
from sqlmodel import Field

from central.event import Punch
from central.store import outbox
from central.store.engine import KEY, Row, among, chunks, insert_many, table
from central.store.ownership import Recounted
from central.store.registers import ROW
from central.store.tables import events, forgotten, gaps, gateways, ownership, punches, streams
from central.timesheet.affected import FOREVER, Mark, Reading, coalesced, read_key


class AffectedRow(Row, table=True):
    """Days to judge again: a mark, see :class:`central.timesheet.affected.Mark`, with what made it."""

    __tablename__: ClassVar[Any] = "affected"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    subject: str
    first: str
    last: str
    cause: str
    """Canonical JSON."""
    entered: str
    failed: str | None = None
    """Where judging it met a mistake of ours; it is set aside until it is tried again."""


class DueRow(Row, table=True):
    """The next moment at which time itself changes the verdict on a day."""

    __tablename__: ClassVar[Any] = "due"
    __table_args__: ClassVar[Any] = (Index("due_at", "at"),)
    person: str = Field(primary_key=True)
    date: str = Field(primary_key=True)
    at: int = Field(sa_type=BigInteger)
    """A second of UTC."""


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


class UnattributedRow(Row, table=True):
    """A PIN that nobody had when it was read: found by recomputing, deleted when an enrolment says whose it was."""

    __tablename__: ClassVar[Any] = "unattributed"
    site: str = Field(primary_key=True)
    date: str = Field(primary_key=True)
    """Of the terminal's clock."""
    serial: str = Field(primary_key=True)
    pin: str = Field(primary_key=True)


class JudgedByRow(Row, table=True):
    """What verdicts rest on beside facts: since when which version of the judgement, and which text of a policy."""

    __tablename__: ClassVar[Any] = "judged_by"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    name: str
    digest: str
    entered: str


AFFECTED, DUE, RESULT = table(AffectedRow), table(DueRow), table(ResultRow)
UNATTRIBUTED, JUDGED_BY = table(UnattributedRow), table(JudgedByRow)
encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
"""Write canonical JSON: sorted keys and no white space."""


class Marked(NamedTuple):
    """A mark that waits."""

    id: int
    subject: str
    first: date
    last: date
    cause: str
    entered: str


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


# --- marks --------------------------------------------------------------------------------------------------------


def mark(connection: Connection, marks: Iterable[Mark], cause: Mapping[str, Any], entered: str) -> int:
    """Mark days to be judged again, in the transaction of their cause; return how many marks that makes."""
    text = encode(dict(cause))
    rows = [(one.subject, one.first.isoformat(), one.last.isoformat(), text, entered) for one in coalesced(marks)]
    _insert_marks(connection, rows)
    return len(rows)


def _insert_marks(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        insert_many(connection, AFFECTED, ("subject", "first", "last", "cause", "entered"), rows)


def mark_punches(connection: Connection, counting: Iterable[tuple[str, Punch | None]], entered: str) -> None:
    """Mark the days of punches, each with the gateway (``site/gateway``) whose event counts."""
    days = dict.fromkeys(
        (read_key(_reading(gateway.partition("/")[0], punch)), punch.local_time[:10])
        for gateway, punch in counting
        if punch is not None
    )
    cause = encode({"kind": "punch"})
    _insert_marks(connection, [(subject, day, day, cause, entered) for subject, day in days])


def mark_recounted(connection: Connection, recounted: Iterable[Recounted], entered: str) -> None:
    """Mark the days of punches of which another gateway's event counts than before."""
    marks = [
        mark_of_punch(gateway.partition("/")[0], punch)
        for one in recounted
        for gateway, punch in ((one.former, one.before), (one.gateway, one.now))
    ]
    mark(connection, marks, {"kind": "ownership"}, entered)


def mark_assigned(
    connection: Connection, serial: str, since: date, recounted: Iterable[Recounted], entered: str
) -> None:
    """Mark what a decision about a serial number touches: its punches, and the people whose doubts are of its site."""
    mark_recounted(connection, recounted, entered)
    mark(connection, [Mark(f"terminal:{serial}", since, FOREVER)], {"kind": "ownership"}, entered)


def mark_gaps(connection: Connection, differing: Iterable[tuple[str, int, tuple[int, int]]], entered: str) -> None:
    """Mark the days of gaps (gateway, key of the stream, sequences) that were opened or closed.

    The missing events were recorded after the event before them, and until now.
    """
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    marks = []
    for gateway, stream, (first, _) in differing:
        body = _body_below(connection, stream, first, None)
        time = "" if body is None else str(json.loads(body).get("time"))
        on = date.fromisoformat(time[:10]) if _DATE.match(time) else date.min
        marks.append(Mark(f"site:{gateway.partition('/')[0]}", min(on, last), last))
    mark(connection, marks, {"kind": "gap"}, entered)


def mark_of_punch(site: str, punch: Punch) -> Mark:
    """Return the mark of a punch at a site."""
    on = date.fromisoformat(punch.local_time[:10])
    return Mark(read_key(_reading(site, punch)), on, on)


def _reading(site: str, punch: Punch) -> Reading:
    pin = punch.pin if punch.pin is not None else f"uid:{punch.uid}"
    since = datetime.fromisoformat(punch.local_time) - _EPOCH
    return Reading(site, punch.serial, pin, since.days * 86_400 + since.seconds - punch.instant)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of a wall clock


_DATE = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)


def waiting(connection: Connection, limit: int, after: int = 0) -> list[Marked]:
    """Return the marks that wait, in order of their entry, without those set aside."""
    query = select(AFFECTED).where(AFFECTED.c.failed.is_(None), AFFECTED.c.id > after).order_by(AFFECTED.c.id)
    return [
        Marked(row.id, row.subject, date.fromisoformat(row.first), date.fromisoformat(row.last), row.cause, row.entered)
        for row in connection.execute(query.limit(limit))
    ]


def unmark(connection: Connection, ids: Iterable[int]) -> None:
    """Delete marks, in the transaction of what they brought."""
    for batch in chunks(ids):
        connection.execute(delete(AFFECTED).where(AFFECTED.c.id.in_(batch)))


def set_aside(connection: Connection, number: int, place: str) -> None:
    """Keep a mark apart whose days could not be judged; ``place`` names where it failed."""
    connection.execute(update(AFFECTED).where(AFFECTED.c.id == number).values(failed=place))


def retry(connection: Connection) -> int:
    """Let the marks that were set aside wait again; return how many."""
    return connection.execute(update(AFFECTED).where(AFFECTED.c.failed.is_not(None)).values(failed=None)).rowcount


def numbers(connection: Connection) -> tuple[int, int]:
    """Return how many marks wait, and how many are set aside."""
    query = select(func.count(), func.count(AFFECTED.c.failed)).select_from(AFFECTED)
    every, failed = connection.execute(query).one()
    return every - failed, failed


def spread(connection: Connection, one: Marked, keys: Iterable[str], kind: str) -> None:
    """Make a mark of each subject of which a kind of register states something by one of the keys, as its other key.

    Rows that no longer count are looked at too: whom they were about may be affected.
    """
    for batch in chunks(keys):
        _spread(connection, one, ROW.c.kind == kind, ROW.c.other.in_(batch))


def spread_all(connection: Connection, one: Marked) -> None:
    """Make a mark of each person."""
    _spread(connection, one, ROW.c.kind == "people")


def spread_place(connection: Connection, one: Marked, place: str) -> None:
    """Make a mark of each person who was enrolled with any PIN at a ``terminal:SERIAL`` or ``site:S``."""
    _spread(connection, one, ROW.c.kind == "enrolments", ROW.c.other >= f"{place} ", ROW.c.other < f"{place}!")


def _spread(connection: Connection, one: Marked, *conditions: ColumnElement[bool]) -> None:
    """Make a mark, with the dates of a shared mark, of each subject of rows that are valid on any of them."""
    first, last = one.first.isoformat(), one.last.isoformat()
    columns = ROW.c.subject, literal(first), literal(last), literal(one.cause), func.max(ROW.c.entered)
    found = (
        select(*columns)
        .where(
            *conditions,
            ROW.c.valid_from <= last,
            func.coalesce(ROW.c.valid_until, FOREVER.isoformat()) >= first,
        )
        .group_by(ROW.c.subject)
    )
    connection.execute(insert(AFFECTED).from_select(["subject", "first", "last", "cause", "entered"], found))


# --- time ---------------------------------------------------------------------------------------------------------


def set_due(connection: Connection, due: Mapping[tuple[str, date], int | None]) -> None:
    """Say when time next changes the verdict on days; None: never."""
    for batch in chunks(due):
        keys = [(person, on.isoformat()) for person, on in batch]
        connection.execute(delete(DUE).where(among((DUE.c.person, DUE.c.date), keys)))
    rows = [{"person": person, "date": on.isoformat(), "at": at} for (person, on), at in due.items() if at is not None]
    if rows:
        connection.execute(insert(DUE), rows)


def fall_due(connection: Connection, now: int, entered: str) -> int:
    """Turn what is due into marks; return how many.

    They reach from the date until now: where nothing was judged for days, those days have begun since.
    """
    horizon = (date.fromisoformat(entered[:10]) + timedelta(days=1)).isoformat()
    found = select(
        literal("person:") + DUE.c.person,
        DUE.c.date,
        case((DUE.c.date > horizon, DUE.c.date), else_=horizon),
        literal('{"kind":"time"}'),
        literal(entered),
    ).where(DUE.c.at <= now)
    made = connection.execute(
        insert(AFFECTED).from_select(["subject", "first", "last", "cause", "entered"], found)
    ).rowcount
    if made:
        connection.execute(delete(DUE).where(DUE.c.at <= now))
    return made


def next_due(connection: Connection) -> int | None:
    """Return the next second of UTC at which something falls due."""
    found = connection.execute(select(func.min(DUE.c.at))).scalar_one()
    return None if found is None else int(found)


def judged_by(connection: Connection) -> dict[str, str]:
    """Return the digest of what verdicts rest on, by its name; what was entered last counts."""
    query = select(JUDGED_BY.c.name, JUDGED_BY.c.digest).order_by(JUDGED_BY.c.id)
    return {row.name: row.digest for row in connection.execute(query)}


def policies(connection: Connection) -> list[str]:
    """Return the names of all policies that were ever assigned."""
    query = select(ROW.c.other).where(ROW.c.kind == "assignments", ROW.c.other.startswith("policy:")).distinct()
    return sorted(other.removeprefix("policy:") for other in connection.execute(query).scalars())


def set_judged_by(connection: Connection, name: str, digest: str, entered: str) -> None:
    """Put on record what verdicts rest on from now on."""
    connection.execute(insert(JUDGED_BY).values(name=name, digest=digest, entered=entered))


# --- revisions ----------------------------------------------------------------------------------------------------


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
    for batch in chunks(people):
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
            .where(RESULT.c.person.in_(batch), RESULT.c.date.between(first.isoformat(), last.isoformat()))
            .order_by(RESULT.c.revision)
        )
        for person, on, *rest in connection.execute(query):
            found[person, date.fromisoformat(on)] = Last(*rest)
    return found


def first_dates(connection: Connection, people: Iterable[str]) -> dict[str, date]:
    """Return the first date of each person that has a verdict."""
    found: dict[str, date] = {}
    for batch in chunks(people):
        query = select(RESULT.c.person, func.min(RESULT.c.date)).where(RESULT.c.person.in_(batch))
        for person, on in connection.execute(query.group_by(RESULT.c.person)):
            found[person] = date.fromisoformat(on)
    return found


def contents(connection: Connection, keys: Iterable[tuple[str, date, int]]) -> dict[tuple[str, date], str]:
    """Return the content of revisions, by person and date."""
    found: dict[tuple[str, date], str] = {}
    columns = RESULT.c.person, RESULT.c.date, RESULT.c.revision
    for batch in chunks((person, on.isoformat(), revision) for person, on, revision in keys):
        query = select(RESULT.c.person, RESULT.c.date, RESULT.c.content).where(among(columns, batch))
        found |= {(person, date.fromisoformat(on)): content for person, on, content in connection.execute(query)}
    return found


def add(connection: Connection, revisions: Sequence[Revision]) -> None:
    """Store new revisions, and let the messages about them wait for the broker."""
    if not revisions:
        return
    connection.execute(insert(RESULT), [{**one._asdict(), "date": one.date.isoformat()} for one in revisions])
    summaries = {(one.unit, one.date) for one in revisions}
    before = [(one.person, one.date, one.revision - 1) for one in revisions if one.revision > 1]
    summaries |= _units_of(connection, before)
    days = ((one.unit, one.date, one.person, one.revision) for one in revisions)
    outbox.add(connection, days, summaries)


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


def forget_derived(connection: Connection) -> None:
    """Delete what follows from facts, but for the revisions: marks, due moments, and PINs that belong to no person."""
    for one in (AFFECTED, DUE, UNATTRIBUTED):
        connection.execute(delete(one))


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
    queries = [query] if people is None else [query.where(RESULT.c.person.in_(batch)) for batch in chunks(people)]
    found: dict[tuple[str, str], Revision] = {}
    for one in queries:
        for row in connection.execute(one):
            found[row.person, row.date] = _revision(row)
    return list(found.values())


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


def newest_date(connection: Connection, unit: str | None) -> date | None:
    """Return the last date on which somebody was judged in a unit."""
    of_unit_only = RESULT.c.unit.is_(None) if unit is None else RESULT.c.unit == unit
    found = connection.execute(select(func.max(RESULT.c.date)).where(of_unit_only)).scalar_one()
    return None if found is None else date.fromisoformat(found)


def people_judged(connection: Connection, first: date, last: date, units: Iterable[str] | None = None) -> list[str]:
    """Return the people who have a verdict on any of the dates; those whom a revision has in one of the units."""
    query = select(RESULT.c.person).where(RESULT.c.date.between(first.isoformat(), last.isoformat())).distinct()
    queries = [query] if units is None else [query.where(RESULT.c.unit.in_(batch)) for batch in chunks(units)]
    return sorted({person for one in queries for person in connection.execute(one).scalars()})


def _revision(row: Any) -> Revision:
    return Revision(**{**row._mapping, "date": date.fromisoformat(row.date)})  # noqa: SLF001 - SQLAlchemy's public name


# --- punches ------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A punch of the store with the event that counts."""

    id: str
    site: str
    serial: str
    pin: str
    local_time: str
    instant: int
    stream: str
    sequence: int
    body: str


_HELD = (
    select(
        punches.c.id,
        gateways.c.name,
        punches.c.serial,
        punches.c.pin,
        punches.c.local_time,
        punches.c.instant,
        streams.c.name,
        events.c.sequence,
        events.c.body,
    )
    .join(events, events.c.key == punches.c.event)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
)


def punches_of(
    connection: Connection, pins: Iterable[str], first: int, last: int, known_at: str | None = None
) -> list[Held]:
    """Return the punches of PINs, wherever they were read, between two instants."""
    found = []
    for batch in chunks(pins):
        query = _HELD.where(punches.c.pin.in_(batch), punches.c.instant.between(first, last))
        if known_at is not None:
            query = query.where(events.c.received <= known_at)
        found += [Held(identity, name.partition("/")[0], *rest) for identity, name, *rest in connection.execute(query)]
    return found


def sites_of(connection: Connection, known_at: str | None = None) -> dict[str, dict[str, str]]:
    """Return the sites of each serial number by the date from which on it is there, empty: from the beginning.

    They are those of the gateways that it belongs to, in order of the dates, now or as known at a moment.
    """
    query = select(ownership.c.serial, ownership.c.since, ownership.c.gateway)
    if known_at is not None:
        query = query.where(ownership.c.entered <= known_at)
    found: dict[str, dict[str, str]] = {}
    for serial, since, gateway in connection.execute(query.order_by(ownership.c.since, ownership.c.id)):
        found.setdefault(serial, {})[since] = gateway.partition("/")[0]
    return found


# --- what is not known --------------------------------------------------------------------------------------------


class Unattributed(NamedTuple):
    """A PIN that nobody had at a terminal on a date of its clock."""

    site: str
    date: str
    serial: str
    pin: str


def set_unattributed(
    connection: Connection, unknown: Iterable[Unattributed], known: Iterable[Unattributed]
) -> set[Unattributed]:
    """Keep which PINs nobody had, and which of them somebody has now; return those that were kept and are known."""
    ended = set()
    for batch in chunks(known):
        ended |= {
            Unattributed(*row)
            for row in connection.execute(select(UNATTRIBUTED).where(among(tuple(UNATTRIBUTED.c), batch)))
        }
        connection.execute(delete(UNATTRIBUTED).where(among(tuple(UNATTRIBUTED.c), batch)))
    new = set(unknown)
    for batch in chunks(sorted(new)):
        there = connection.execute(select(UNATTRIBUTED).where(among(tuple(UNATTRIBUTED.c), batch)))
        new -= {Unattributed(*row) for row in there}
    if new:
        connection.execute(insert(UNATTRIBUTED), [one._asdict() for one in sorted(new)])
    return ended


def unattributed(connection: Connection, sites: Iterable[str], first: date, last: date) -> list[Unattributed]:
    """Return the PINs of sites that nobody had on any of the dates."""
    return [
        Unattributed(*row)
        for batch in chunks(sorted(set(sites)))
        for row in connection.execute(
            select(UNATTRIBUTED).where(
                UNATTRIBUTED.c.site.in_(batch),
                UNATTRIBUTED.c.date.between(first.isoformat(), last.isoformat()),
            )
        )
    ]


class Use(NamedTuple):
    """A PIN that was read at a terminal on one date of its clock."""

    site: str
    serial: str
    pin: str
    date: str
    punches: int
    first: str
    last: str


def uses(
    connection: Connection,
    pins: Iterable[str] | None = None,
    first: date = date.min,
    last: date = date.max,
    known_at: str | None = None,
) -> list[Use]:
    """Return on which dates and where PINs were read; ``pins`` None: all, ``uid:N`` where a terminal knew none."""
    pin = func.coalesce(punches.c.pin, literal("uid:") + cast(punches.c.uid, String))
    on = func.substr(punches.c.local_time, 1, 10)
    times = func.count(), func.min(punches.c.local_time), func.max(punches.c.local_time)
    query = (
        select(gateways.c.name, punches.c.serial, pin, on, *times)
        .join(events, events.c.key == punches.c.event)
        .join(streams, streams.c.id == events.c.stream)
        .join(gateways, gateways.c.id == streams.c.gateway)
        .where(punches.c.local_time >= first.isoformat(), punches.c.local_time <= f"{last.isoformat()}T99")
        .group_by(gateways.c.name, punches.c.serial, pin, on)
    )
    if known_at is not None:
        query = query.where(events.c.received <= known_at)
    queries = [query] if pins is None else [query.where(punches.c.pin.in_(batch)) for batch in chunks(pins)]
    found: dict[tuple[str, ...], Use] = {}
    for one in queries:
        for name, *rest in connection.execute(one):
            use = Use(name.partition("/")[0], *rest)
            before = found.get(use[:4])
            if before is not None:  # two gateways of one site
                use = use._replace(
                    punches=use.punches + before.punches,
                    first=min(use.first, before.first),
                    last=max(use.last, before.last),
                )
            found[use[:4]] = use
    return list(found.values())


class StreamGap(NamedTuple):
    """Sequences that a stream lacks; ``before`` and ``after`` are the bodies of the nearest events around them."""

    gateway: str
    stream: str
    first: int
    last: int
    before: str | None
    after: str | None


def stream_gaps(connection: Connection, sites: Iterable[str], known_at: str | None = None) -> list[StreamGap]:
    """Return what the streams of sites lack below their last event that is held, as known at a moment or now.

    A pruned event is not lacking.
    """
    wanted = set(sites)
    query = select(streams.c.id, streams.c.name, gateways.c.name).join(gateways, gateways.c.id == streams.c.gateway)
    found = []
    for key, name, gateway in connection.execute(query).all():
        if gateway.partition("/")[0] not in wanted:
            continue
        if known_at is None:
            held = connection.execute(select(gaps.c.first, gaps.c.last).where(gaps.c.stream == key))
            missing = [(first, last) for first, last in held]
        else:
            missing = _gaps_known_at(connection, key, known_at)
        for first, last in missing:
            before = _body_below(connection, key, first, known_at)
            after = _body_above(connection, key, last, known_at)
            found.append(StreamGap(gateway, name, first, last, before, after))
    return found


def _gaps_known_at(connection: Connection, stream: int, known_at: str) -> list[tuple[int, int]]:
    pruned = select(forgotten.c.sequence).join(events, events.c.key == forgotten.c.event)
    held = union(
        select(events.c.sequence).where(events.c.stream == stream, events.c.received <= known_at),
        pruned.where(forgotten.c.stream == stream, events.c.received <= known_at),
    ).subquery()
    before = func.lag(held.c.sequence, 1, 0).over(order_by=held.c.sequence)
    numbered = select(held.c.sequence, before.label("before")).subquery()
    query = select(numbered.c.before, numbered.c.sequence).where(numbered.c.sequence > numbered.c.before + 1)
    return [(first + 1, last - 1) for first, last in connection.execute(query)]


def _body_below(connection: Connection, stream: int, sequence: int, known_at: str | None) -> str | None:
    """Return the body of the last event before a place; places of pruned events are passed over."""
    below = events.c.sequence < sequence
    return _body(connection, stream, below, known_at, events.c.sequence.desc())


def _body_above(connection: Connection, stream: int, sequence: int, known_at: str | None) -> str | None:
    """Return the body of the first event after a place, likewise."""
    return _body(connection, stream, events.c.sequence > sequence, known_at, events.c.sequence)


def _body(
    connection: Connection, stream: int, place: ColumnElement[bool], known_at: str | None, order: ColumnElement[Any]
) -> str | None:
    query = select(events.c.body).where(events.c.stream == stream, place)
    if known_at is not None:
        query = query.where(events.c.received <= known_at)
    return connection.execute(query.order_by(order, events.c.key).limit(1)).scalar_one_or_none()
