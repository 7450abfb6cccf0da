"""What is to be judged again: marks, made in the transaction of their cause, and when time itself is a reason to.

Marks (``affected``) are deleted in the transaction of the verdicts that they bring, so a kill at any moment loses none
and repeats none. On a server any number of processes take marks: each locks those that it takes, and the people whom
it judges, until its transaction ends, and leaves out what another one has locked.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Index,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Field

from central.event import Punch
from central.store.bodies import extent_of_gap
from central.store.engine import KEY, Row, delete_many, encode, in_list, insert_many, json_list, listed, table
from central.store.offline import Offline
from central.store.ownership import Recounted
from central.store.portable import is_postgresql, json_each
from central.store.registers import ROW
from central.store.tables import gaps, gateways, streams
from central.store.tails import Tail
from central.store.terminals import INCIDENT, TERMINAL, Advance, Changed
from central.timesheet.affected import FOREVER, Mark, Reading, coalesced, place_key, read_key

_OF_PERSON = text("subject >= 'person:' AND subject < 'person;'")
"""The marks in the index of subjects; those of punches, of which there are most, do not pay for it."""


class AffectedRow(Row, table=True):
    """Days to judge again: a mark, see :class:`central.timesheet.affected.Mark`, with what made it."""

    __tablename__: ClassVar[Any] = "affected"
    __table_args__: ClassVar[Any] = (
        Index("affected_person", "subject", "first", sqlite_where=_OF_PERSON, postgresql_where=_OF_PERSON),
    )
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


class AwaitedRow(Row, table=True):
    """A day of which something is provisional until a terminal is read further, or a terminal or person is named."""

    __tablename__: ClassVar[Any] = "awaited"
    person: str = Field(primary_key=True)
    date: str = Field(primary_key=True)


class JudgedByRow(Row, table=True):
    """What verdicts rest on beside facts: since when which version of the judgement, and which text of a policy."""

    __tablename__: ClassVar[Any] = "judged_by"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    name: str
    digest: str
    entered: str


AFFECTED, DUE, JUDGED_BY = table(AffectedRow), table(DueRow), table(JudgedByRow)
AWAITED = table(AwaitedRow)
NEW_TERMINAL_DAYS = 7
"""A terminal is used for so long, at most, before its gateway first names it."""


REBUILD: Mapping[str, Any] = {"kind": "rebuild"}
"""The cause of marks that say nothing has changed."""


class Marked(NamedTuple):
    """A mark that waits."""

    id: int
    subject: str
    first: date
    last: date
    cause: str
    entered: str


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
    on = date.fromisoformat(entered[:10])
    places = [Mark(place_key("terminal", serial), since, FOREVER), Mark(place_key("awaited", serial), on, on)]
    mark(connection, places, {"kind": "ownership"}, entered)


def mark_gaps(connection: Connection, differing: Iterable[tuple[str, int, tuple[int, int]]], entered: str) -> None:
    """Mark the days of gaps (gateway, key of the stream, sequences) that were opened or closed.

    The dates are those of any zone between the instants that :func:`extent_of_gap` names.
    """
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    marks = []
    for gateway, stream, gap in differing:
        begin, end = extent_of_gap(connection, stream, *gap)
        found = Mark(_site_of(gateway), _day_at(begin, -1), min(_day_at(end, 1), last))
        if found.first <= found.last:
            marks.append(found)
    mark(connection, marks, {"kind": "gap"}, entered)


def mark_changed(connection: Connection, changed: Iterable[Changed], entered: str) -> None:
    """Mark the days of outages, and of records that are no punches, which have begun, ended or moved."""
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    found = [
        Mark(
            _site_of(one.gateway) if one.serial is None else place_key("terminal", one.serial),
            _day_at(one.begin, -1),
            min(_day_at(one.end, 1), last),
        )
        for one in changed
    ]
    mark(connection, [one for one in found if one.first <= one.last], {"kind": "outage"}, entered)


def mark_tails(connection: Connection, ends: Iterable[Tail], entered: str) -> None:
    """Mark the days of ends of streams that stay away since now, or have arrived."""
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    found = [Mark(_site_of(one.gateway), min(_day_at(one.begin, -1), last), last) for one in ends]
    mark(connection, found, {"kind": "gap"}, entered)


def mark_offline(connection: Connection, episodes: Iterable[Offline], entered: str) -> None:
    """Mark the days since which gateways are not known to run, or were not."""
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    found = [Mark(_site_of(one.gateway), min(_day_at(one.begin, -1), last), last) for one in episodes]
    mark(connection, found, {"kind": "outage"}, entered)


def mark_advances(connection: Connection, advances: Iterable[Advance], entered: str) -> None:
    """Mark the days that wait for logs which are known further than before."""
    on = date.fromisoformat(entered[:10])
    found = [Mark(place_key("awaited", one.serial), on, on) for one in advances]
    mark(connection, found, {"kind": "watermark"}, entered)


def mark_devices(connection: Connection, found: Iterable[tuple[str, str]], entered: str) -> None:
    """Mark what concerns people since a device (gateway, serial) is known: its own doubts, and those of its gateway.

    People who are enrolled only there had no known terminal before.
    """
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    marks_of_all = []
    since: dict[str, date] = {}
    for gateway, serial in dict.fromkeys(found):
        if gateway not in since:
            begin = min([_day_at(at, -1) for at in _doubts_since(connection, gateway)], default=last)
            since[gateway] = min(begin, last - timedelta(days=NEW_TERMINAL_DAYS + 2))
        marks_of_all += [
            Mark(place_key("terminal", serial), since[gateway], last),
            Mark(place_key("awaited", serial), last, last),
        ]
    mark(connection, marks_of_all, {"kind": "terminal"}, entered)


def mark_owners(connection: Connection, devices: Iterable[tuple[str, str]], entered: str) -> None:
    """Mark all days at devices (gateway, serial) of which the first punch came, where another gateway had named them.

    They were that gateway's until now, whose doubts concern their people no more.
    """
    last = date.fromisoformat(entered[:10]) + timedelta(days=1)
    found = []
    for gateway, serial in devices:
        former = connection.execute(_NAMED_FIRST, {"serial": serial}).scalar()
        if former is not None and former != gateway:
            places = place_key("terminal", serial), _site_of(former)
            found += [Mark(place, date.min, last) for place in places]
    mark(connection, found, {"kind": "ownership"}, entered)


_NAMED_FIRST = (
    select(gateways.c.name)
    .join(TERMINAL, TERMINAL.c.gateway == gateways.c.id)
    .where(TERMINAL.c.serial == bindparam("serial"))
    .order_by(TERMINAL.c.id)
    .limit(1)
)


def _doubts_since(connection: Connection, gateway: str) -> list[int]:
    """Return when the first gap and the first incident of a gateway began."""
    of_gateway = select(gateways.c.id).where(gateways.c.name == gateway).scalar_subquery()
    of_streams = select(streams.c.id).where(streams.c.gateway == of_gateway)
    found = [
        connection.execute(select(func.min(gaps.c.begin)).where(gaps.c.stream.in_(of_streams))).scalar_one(),
        connection.execute(select(func.min(INCIDENT.c.begin)).where(INCIDENT.c.gateway == of_gateway)).scalar_one(),
    ]
    return [at for at in found if at is not None]


def _site_of(gateway: str) -> str:
    """Return the subject of everybody at the site of ``site/gateway``."""
    return place_key("site", gateway.partition("/")[0])


def _day_at(instant: int, days: int) -> date:
    """Return the date of UTC so many days after that of an instant; beyond the calendar its first or last date."""
    number = instant // 86_400 + date(1970, 1, 1).toordinal() + days
    return date.fromordinal(min(max(number, 1), FOREVER.toordinal()))


def mark_of_punch(site: str, punch: Punch) -> Mark:
    """Return the mark of a punch at a site."""
    on = date.fromisoformat(punch.local_time[:10])
    return Mark(read_key(_reading(site, punch)), on, on)


def _reading(site: str, punch: Punch) -> Reading:
    pin = punch.pin if punch.pin is not None else f"uid:{punch.uid}"
    since = datetime.fromisoformat(punch.local_time) - _EPOCH
    return Reading(site, punch.serial, pin, since.days * 86_400 + since.seconds - punch.instant)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of a wall clock


def waiting(connection: Connection, limit: int, *, lock: bool = False) -> list[Marked]:
    """Return the marks that wait, in order of entry, without those set aside; a rebuild's where no others wait.

    With ``lock`` they are the transaction's until it ends, and those that another one has locked are left out.
    """
    rebuild = AFFECTED.c.cause == encode(REBUILD)
    found = _waiting(connection, limit, ~rebuild, lock=lock)
    if not found and connection.execute(select(AFFECTED.c.id).where(_WAITS, ~rebuild).limit(1)).first() is None:
        found = _waiting(connection, limit, rebuild, lock=lock)
    return found


def lock_again(connection: Connection, numbers: Collection[int]) -> list[Marked]:
    """Lock marks, where they still wait and no other transaction has locked them."""
    return _waiting(connection, len(numbers), listed(AFFECTED.c.id, numbers), lock=True)


def _waiting(connection: Connection, limit: int, of: ColumnElement[bool], *, lock: bool) -> list[Marked]:
    columns = (AFFECTED.c[name] for name in Marked._fields)
    query = select(*columns).where(_WAITS, of).order_by(AFFECTED.c.id).limit(limit)
    if lock:
        query = query.with_for_update(skip_locked=True)
    return [_marked(row) for row in connection.execute(query).all()]


def shared_behind(connection: Connection, number: int, limit: int) -> tuple[list[Marked], int]:
    """Lock marks behind a number that are neither of a person nor of a punch; return them, and the last number seen.

    A rebuild's are left out. Who looks behind that number the next time looks at no mark twice.
    """
    last = int(connection.execute(select(func.coalesce(func.max(AFFECTED.c.id), 0))).scalar_one())
    if last < number:  # a file begins to count anew when no mark is left
        number = 0
    behind = AFFECTED.c.id > number, AFFECTED.c.cause != encode(REBUILD)
    apart = ~AFFECTED.c.subject.between("person:", "person;"), ~AFFECTED.c.subject.between("read:", "read;")
    found = _waiting(connection, limit, and_(*behind, *apart), lock=True)
    return found, found[-1].id if len(found) == limit else last


def beside(connection: Connection, taken: Iterable[Marked], first: date, last: date) -> list[Marked]:
    """Lock the other marks of the people of some marks whose dates these have too, and return them.

    Dates outside of ``first`` to ``last`` do not count: nothing is judged there. A rebuild's marks stay among
    themselves.
    """
    numbers = {mark.id for mark in taken if mark.subject.startswith("person:")}
    if not numbers:
        return []
    values = {"taken": json_list(numbers), "begin": first.isoformat(), "end": last.isoformat()}
    return list({row.id: _marked(row) for row in connection.execute(_BESIDE, values) if row.id not in numbers}.values())


def _marked(row: Any) -> Marked:
    number, subject, first, last, cause, entered = row
    return Marked(number, subject, _date(first), _date(last), cause, entered)


_WAITS = AFFECTED.c.failed.is_(None)
_date = lru_cache(1_000)(date.fromisoformat)
_TAKEN = AFFECTED.alias("taken")
_BESIDE = (
    select(*(AFFECTED.c[name] for name in Marked._fields))
    .join(_TAKEN, _TAKEN.c.subject == AFFECTED.c.subject)
    .where(
        in_list(_TAKEN.c.id, "taken"),
        AFFECTED.c.id != _TAKEN.c.id,
        AFFECTED.c.subject >= literal_column("'person:'"),  # as in the index
        AFFECTED.c.subject < literal_column("'person;'"),
        AFFECTED.c.first <= _TAKEN.c.last,
        or_(_TAKEN.c.first <= bindparam("begin"), AFFECTED.c.first >= _TAKEN.c.first),
        or_(_TAKEN.c.last >= bindparam("end"), AFFECTED.c.last <= _TAKEN.c.last),
        or_(AFFECTED.c.cause != encode(REBUILD), _TAKEN.c.cause == encode(REBUILD)),
        _WAITS,
    )
    .with_for_update(of=AFFECTED, skip_locked=True)
)


def lock_people(connection: Connection, people: Iterable[str]) -> set[str]:
    """Keep other processes from judging people until the transaction ends; return those whom none of them judges.

    A person's lock is that of her first row in the register; whoever has none is locked by nothing, and two processes
    that judge her meet at her verdicts (StoreConflict).
    """
    people = set(people)
    if not is_postgresql(connection):
        return people
    wanted = listed(ROW.c.subject, [f"person:{person}" for person in sorted(people)])
    first = select(func.min(ROW.c.id)).where(ROW.c.kind == "people", wanted).group_by(ROW.c.subject)
    first_rows = select(ROW.c.subject).where(ROW.c.id.in_(first))
    every = set(connection.execute(first_rows).scalars())
    free = set(connection.execute(first_rows.with_for_update(skip_locked=True, key_share=True)).scalars())
    return people - {subject.removeprefix("person:") for subject in every - free}


def unmark(connection: Connection, ids: Iterable[int]) -> None:
    """Delete marks, in the transaction of what they brought."""
    connection.execute(delete(AFFECTED).where(listed(AFFECTED.c.id, ids)))


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
    _spread(connection, one, ROW.c.kind == kind, listed(ROW.c.other, keys))


def spread_all(connection: Connection, one: Marked) -> None:
    """Make a mark of each person."""
    _spread(connection, one, ROW.c.kind == "people")


def spread_places(connection: Connection, one: Marked, places: Iterable[str]) -> None:
    """Make one mark of each person who was enrolled with any PIN at any ``terminal:SERIAL`` or ``site:S``.

    Who has such a mark already, of the same cause and of all dates, gets no other one: no other transaction may be
    handling it, so the caller's writes alone.
    """
    first, last = one.first.isoformat(), one.last.isoformat()
    waiting = select(AFFECTED.c.subject).where(
        _WAITS, AFFECTED.c.first <= first, AFFECTED.c.last >= last, AFFECTED.c.cause == one.cause
    )
    wanted = _enrolled_at(places, ROW.c.subject).where(*_valid_on(first, last)).except_(waiting).subquery()
    columns = wanted.c.subject, literal(first), literal(last), literal(one.cause), literal(one.entered)
    _insert_found(connection, select(*columns).order_by(wanted.c.subject))


def spread_awaited(connection: Connection, one: Marked, places: Iterable[str]) -> None:
    """Make one mark of each awaited day of people who were ever enrolled at any ``terminal:SERIAL`` or ``site:S``.

    As :func:`spread_places`: a day that such a mark has already gets no other one.
    """
    enrolled = _enrolled_at(places, _PERSON_OF_ROW)
    days = select(AWAITED.c.person, AWAITED.c.date).where(AWAITED.c.person.in_(enrolled))
    marked = select(AWAITED.c.person, AWAITED.c.date).where(
        _WAITS,
        AFFECTED.c.cause == one.cause,
        AFFECTED.c.subject.between("person:", "person;"),  # else the end of a site's code could be taken for a key
        AWAITED.c.person == _PERSON_OF_MARK,
        AWAITED.c.date.between(AFFECTED.c.first, AFFECTED.c.last),
    )
    left = days.except_(marked).subquery()
    subject = literal("person:") + left.c.person
    columns = subject, left.c.date, left.c.date, literal(one.cause), literal(one.entered)
    _insert_found(connection, select(*columns).order_by(left.c.person, left.c.date))


_PERSON_OF_ROW, _PERSON_OF_MARK = (func.substr(one.c.subject, len("person:") + 1) for one in (ROW, AFFECTED))
"""The key of a person, where a subject is one; it leads to the index of awaited days."""


def _enrolled_at(places: Iterable[str], column: ColumnElement[str]) -> Select[Any]:
    """Return a column of the rows that enrol people at places: those whose other key is a place, a space and a PIN."""
    place = json_each(json_list(sorted(set(places)))).table_valued("value", name="place").c.value
    at = ROW.c.other >= place.concat(" "), ROW.c.other < place.concat("!")
    return select(column).where(ROW.c.kind == "enrolments", *at)


def _valid_on(first: str, last: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a row of a register is valid on any of some dates."""
    return ROW.c.valid_from <= last, func.coalesce(ROW.c.valid_until, FOREVER.isoformat()) >= first


def _insert_found(connection: Connection, found: Select[Any]) -> None:
    connection.execute(insert(AFFECTED).from_select(["subject", "first", "last", "cause", "entered"], found))


def set_awaited(connection: Connection, judged: Mapping[tuple[str, date], bool]) -> None:
    """Keep which judged days wait for what is not known yet."""
    if judged:
        delete_many(connection, AWAITED, ("person", "date"), [(person, on.isoformat()) for person, on in judged])
    rows = [(person, on.isoformat()) for (person, on), waits in judged.items() if waits]
    if rows:
        insert_many(connection, AWAITED, ("person", "date"), rows)


def _spread(connection: Connection, one: Marked, *conditions: ColumnElement[bool]) -> None:
    """Make a mark, with the dates of a shared mark, of each subject of rows that are valid on any of them."""
    first, last = one.first.isoformat(), one.last.isoformat()
    columns = ROW.c.subject, literal(first), literal(last), literal(one.cause), literal(one.entered)
    found = select(*columns).where(*conditions, *_valid_on(first, last)).group_by(ROW.c.subject)
    _insert_found(connection, found)


def drop_failed(connection: Connection) -> None:
    """Delete the marks that were set aside; where everything is judged again, they are not needed."""
    connection.execute(delete(AFFECTED).where(AFFECTED.c.failed.is_not(None)))


# --- time ---------------------------------------------------------------------------------------------------------


def set_due(connection: Connection, due: Mapping[tuple[str, date], int | None]) -> None:
    """Say when time next changes the verdict on days; None: never."""
    if due:
        delete_many(connection, DUE, ("person", "date"), [(person, on.isoformat()) for person, on in due])
    rows = [(person, on.isoformat(), at) for (person, on), at in due.items() if at is not None]
    if rows:
        insert_many(connection, DUE, ("person", "date", "at"), rows)


def fall_due(connection: Connection, now: int, entered: str) -> int:
    """Turn what is due into marks; return how many.

    They reach from the date until now: where nothing was judged for days, those days have begun since. What another
    process has locked is left to it.
    """
    horizon = (date.fromisoformat(entered[:10]) + timedelta(days=1)).isoformat()
    found = connection.execute(
        select(DUE.c.person, DUE.c.date).where(DUE.c.at <= now).with_for_update(skip_locked=True)
    ).all()
    cause = encode({"kind": "time"})
    _insert_marks(connection, [(f"person:{person}", on, max(on, horizon), cause, entered) for person, on in found])
    if found:
        delete_many(connection, DUE, ("person", "date"), [tuple(row) for row in found])
    return len(found)


def next_due(connection: Connection) -> int | None:
    """Return the next second of UTC at which something falls due."""
    found = connection.execute(select(func.min(DUE.c.at))).scalar_one()
    return None if found is None else int(found)


def judged_by(connection: Connection, known_at: str | None = None) -> dict[str, str]:
    """Return the digest of what verdicts rest on, by its name; what was entered last counts, until a moment or now."""
    query = select(JUDGED_BY.c.name, JUDGED_BY.c.digest).order_by(JUDGED_BY.c.id)
    if known_at is not None:
        query = query.where(JUDGED_BY.c.entered <= known_at)
    return {row.name: row.digest for row in connection.execute(query)}


def policies(connection: Connection) -> list[str]:
    """Return the names of all policies that were ever assigned."""
    query = select(ROW.c.other).where(ROW.c.kind == "assignments", ROW.c.other.startswith("policy:")).distinct()
    return sorted(other.removeprefix("policy:") for other in connection.execute(query).scalars())


def first_policy(connection: Connection) -> date | None:
    """Return the first date on which any policy was ever assigned; None where none was."""
    query = select(func.min(ROW.c.valid_from)).where(
        ROW.c.kind == "assignments", ROW.c.other >= "policy:", ROW.c.other < "policy;"
    )
    found = connection.execute(query).scalar_one()
    return None if found is None else date.fromisoformat(found)


def set_judged_by(connection: Connection, name: str, digest: str, entered: str) -> None:
    """Put on record what verdicts rest on from now on."""
    connection.execute(insert(JUDGED_BY).values(name=name, digest=digest, entered=entered))
