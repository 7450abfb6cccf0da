"""Closing a unit's period: what it comes to is read, what is still open is listed, and both are stored together."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection

from central.closing.adjust import NUMBERS, adjust
from central.closing.files import files_for
from central.collector import paused_collector
from central.moments import print_moment
from central.policy.office import OfficePolicies
from central.registers.lookup import zone_of
from central.results.export import total_row
from central.results.periods import PersonPeriod, people_between, people_periods
from central.sheets.lines import Closed, UnitPeriod
from central.sheets.settings import Settings
from central.sheets.source import (
    Counted,
    NoSheetError,
    closed_elsewhere,
    closed_period,
    counted_of,
    live_period,
    today_in,
    unit_name,
)
from central.store import closings, outbox, results, retention
from central.store.closings import ClosedTotal, Closing, KeptFile, StoredAdjustment
from central.store.engine import Database, chunks, encode, utc
from central.store.registers import Registers, Stated

REACH = timedelta(days=31)
"""A period that has a date begins and ends at most so far from it."""
EDGE = timedelta(days=2)
"""A day's date may lie so far outside the period of its work date."""
TRIES = 3
"""Verdicts that change while a period is read are read again so often."""


class ClosingError(Exception):
    """A period is not closed; ``code`` names the reason in :mod:`central.closing.messages`, with its values."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


@dataclass(frozen=True, slots=True)
class StillOpen:
    """The verdicts of a period that are not final."""

    open_: Sequence[tuple[str, str]]
    """Person and date: a window has not ended."""
    provisional: Sequence[tuple[str, str, tuple[str, ...]]]
    """Person, date and doubts."""
    unjudged: Sequence[str]
    """People of the unit without any verdict, for want of a plan or a policy; nothing is closed of them."""
    set_aside: Sequence[tuple[str, str, str]] = ()
    """Changes that could not be judged for a fault of the program: subject, first and last date.

    What they bring once they can be judged is an adjustment.
    """

    def __len__(self) -> int:
        return len(self.open_) + len(self.provisional) + len(self.unjudged) + len(self.set_aside)

    @property
    def content(self) -> dict[str, Any]:
        """Return what is stored."""
        doubts = Counter(what for *_, whats in self.provisional for what in whats)
        return {
            "open": [list(one) for one in self.open_],
            "provisional": [[person, on, list(whats)] for person, on, whats in self.provisional],
            "doubts": dict(sorted(doubts.items())),
            "unjudged": list(self.unjudged),
            "set_aside": [list(one) for one in self.set_aside],
        }


@dataclass(frozen=True, slots=True)
class Draft:
    """What a closing would fix."""

    unit: str
    first: date
    last: date
    totals: Sequence[ClosedTotal]
    adjustments: Sequence[StoredAdjustment]
    still_open: StillOpen
    policies: Mapping[str, str]
    closed_elsewhere: int
    """People of the unit whose period was closed with another one."""
    on: date
    """The date that was named."""
    periods: Sequence[Counted] = field(repr=False)
    """What sheets count."""
    newest: Mapping[tuple[str, str], int] = field(repr=False)
    """The revisions that were read."""
    adjusting: Mapping[tuple[str, str], ClosedTotal | None] = field(repr=False)
    """What counted, when it was read, of each period that is adjusted; None: it was not closed."""
    last_change: tuple[int, int] | None = field(default=None, repr=False)
    """What :func:`_last_change` returned before anything was read."""


class _Read(NamedTuple):
    """A person's period as it was read; small, since thousands are held at once."""

    closed: ClosedTotal
    counted: Counted
    open_: Sequence[tuple[str, str]]
    provisional: Sequence[tuple[str, str, tuple[str, ...]]]
    policies: frozenset[str]


@paused_collector()
def draft(connection: Connection, policies: OfficePolicies, unit: str, on: date, now: datetime) -> Draft:
    """Read what closing the period that has a date would fix, for a unit with those below it.

    Raises ClosingError: there is no such unit or no verdict, the period is not over, or changes wait to be judged.
    Changes that were set aside, because judging them failed, are among what is still open.
    """
    change = _last_change(connection)  # before all else: what comes later is then noticed
    registers = Registers(connection)
    if not registers.rows("units", [f"unit:{unit}"]):
        raise ClosingError("closing_no_unit", unit=unit)
    _refuse_second(connection, unit, on)
    found = _found(connection, policies, unit, on, to_store=True)
    first, last = _extent(found.periods)
    today = now.astimezone(zone_of(registers.rows("units"))).date()
    if last >= today:
        raise ClosingError("closing_not_over", unit=unit, first=first.isoformat(), last=last.isoformat())
    staff = {row.record.key for row in _staff(registers, found.units, first - EDGE, last + EDGE)}
    ours = sorted(staff.union(found.judged))
    waiting, set_aside = closings.marks_touching(connection, first - EDGE, last + EDGE, ours)
    if waiting:
        raise ClosingError("closing_unjudged", marks=waiting)
    read = _draft(connection, policies, unit, on, found, to_store=True)
    if not read.totals:
        raise ClosingError("closing_all_elsewhere", unit=unit, date=on.isoformat())
    return replace(read, still_open=replace(read.still_open, set_aside=set_aside), last_change=change)


@paused_collector()
def unit_period(connection: Connection, policies: OfficePolicies, unit: str, on: date) -> UnitPeriod:
    """Return the period that holds a date: as it was closed with this unit or one above, or as it stands now.

    As it stands now it has the adjustments that its closing would carry. Raises NoSheetError where there is no such
    unit, or no verdict.
    """
    registers = Registers(connection)
    name = unit_name(registers, unit, on)
    for closing in sorted(closings.listing(connection), key=lambda one: one.unit != unit):
        if closing.first <= on <= closing.last:
            closed = closed_period(connection, closing, unit, on)
            if closed.lines:
                return closed
    try:
        found = _found(connection, policies, unit, on, to_store=False)
    except ClosingError:
        raise NoSheetError("no_verdicts", unit=unit, date=on.isoformat()) from None
    read = _draft(connection, policies, unit, on, found, to_store=False)
    return _sheet_of(connection, read, name, None)


class _Found(NamedTuple):
    """The periods of a unit's people that have a date, closed or not."""

    units: set[str]
    judged: Sequence[str]
    periods: Sequence[_Read]


def _found(connection: Connection, policies: OfficePolicies, unit: str, on: date, *, to_store: bool) -> _Found:
    units = Registers(connection).with_units_below(unit, on - REACH, on + REACH)
    judged = results.people_judged(connection, on - REACH, on + REACH, sorted(units))
    periods = people_periods(connection, policies, judged, on, on)
    found = [_read(one, to_store=to_store) for one in periods if one.unit in units]
    if not found:
        raise ClosingError("closing_no_verdicts", unit=unit, date=on.isoformat())
    return _Found(units, judged, found)


def _draft(
    connection: Connection, policies: OfficePolicies, unit: str, on: date, found: _Found, *, to_store: bool
) -> Draft:
    """Read what a closing would fix of periods; without totals where all of them were closed with other units.

    ``to_store``: with what is compared before it is stored, which is large and no sheet needs.
    """
    ours = list(_not_closed(connection, policies, found.periods, to_store=to_store))
    first, last = _extent(ours or found.periods)
    totals = [one.closed for one in ours]
    adjustments = list(_adjustments(connection, policies, found.units, totals, on, first, last))
    counting = _counting(connection, [one.person for one in adjustments]) if to_store else {}
    own = {one.person for one in totals}
    return Draft(
        unit=unit,
        first=first,
        last=last,
        totals=totals,
        adjustments=adjustments,
        still_open=StillOpen(
            [day for one in ours for day in one.open_],
            [day for one in ours for day in one.provisional],
            _unjudged(Registers(connection), found.units, set(found.judged), first, last),
        ),
        policies={
            name: policies.digest(name) or "none" for name in sorted({name for one in ours for name in one.policies})
        },
        closed_elsewhere=len({one.closed.person for one in found.periods} - own),
        on=on,
        periods=[one.counted for one in ours],
        newest=_newest(connection, sorted(own), first, last) if to_store else {},
        adjusting={(one.person, one.first): counting.get((one.person, one.first)) for one in adjustments},
    )


def close(
    database: Database,
    policies: OfficePolicies,
    unit: str,
    on: date,
    *,
    closed_by: str,
    paper: str,
    now: datetime,
    with_open: bool = False,
    settings: Settings | None = None,
) -> int:
    """Close the period that has a date; return the closing's number.

    Raises ClosingError as :func:`draft` does, also where verdicts are open or provisional and ``with_open`` is not
    given, and where another closing of the same people was faster.
    """
    for _try in range(TRIES):
        with database.reading() as connection:
            read = draft(connection, policies, unit, on, now)
            prepared = prepare(
                connection, read, closed_by, paper, now, with_open=with_open, settings=settings or Settings()
            )
        try:
            with database.writing() as connection:
                return prepared.store(connection)
        except ClosingError as error:
            if error.code != "closing_changing":
                raise
    raise ClosingError("closing_changing", unit=unit)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A closing with its files, which is stored if nothing has changed since it was read."""

    draft: Draft
    files: Sequence[KeptFile]
    closed_by: str
    paper: str
    now: datetime

    def store(self, connection: Connection) -> int:
        """Store it in the caller's writing transaction; return its number. Raises ClosingError."""
        read = self.draft
        _refuse_second(connection, read.unit, read.on)
        people = [one.person for one in read.totals]
        closed = _counting(connection, people)
        counting = _counting(connection, {person for person, _ in read.adjusting})
        if (
            any((one.person, one.first) in closed for one in read.totals)
            or any(counting.get(key) != before for key, before in read.adjusting.items())
            or (
                _last_change(connection) != read.last_change
                and _newest(connection, people, read.first, read.last) != read.newest
            )
        ):
            raise ClosingError("closing_changing", unit=read.unit)
        return _store(connection, read, self.files, self.closed_by, self.paper, self.now)


@paused_collector()
def prepare(
    connection: Connection,
    read: Draft,
    closed_by: str,
    paper: str,
    now: datetime,
    *,
    with_open: bool = False,
    settings: Settings,
) -> Prepared:
    """Return a closing with its files, from what was read in this transaction.

    Raises ClosingError where verdicts are open or provisional and ``with_open`` is not given.
    """
    if read.still_open and not with_open:
        raise ClosingError("closing_open", open=len(read.still_open))
    return Prepared(read, _files(connection, read, settings, closed_by, paper, now), closed_by, paper, now)


def _files(
    connection: Connection, read: Draft, settings: Settings, closed_by: str, paper: str, now: datetime
) -> list[KeptFile]:
    """Make the files of a closing before it is stored: nothing else can be written meanwhile."""
    registers = Registers(connection)
    zone = zone_of(registers.rows("units"))
    closed = Closed(print_moment(utc(now), zone), closed_by, paper)
    period = _sheet_of(connection, read, unit_name(registers, read.unit, read.first), closed)
    return files_for(period, read.totals, read.adjustments, settings, today_in(connection, now))


def _sheet_of(connection: Connection, read: Draft, name: str, closed: Closed | None) -> UnitPeriod:
    """Return what sheets are built from, with the people whose period was closed with other units."""
    units = Registers(connection).with_units_below(read.unit, read.on - REACH, read.on + REACH)
    others = closed_elsewhere(connection, units, read.on, {one.person for one in read.totals})
    extent = read.first, read.last
    return live_period(Registers(connection), (read.unit, name), extent, read.periods, read.adjustments, closed, others)


def _store(
    connection: Connection, read: Draft, files: Sequence[KeptFile], closed_by: str, paper: str, now: datetime
) -> int:
    closing = {
        "unit": read.unit,
        "first": read.first.isoformat(),
        "last": read.last.isoformat(),
        "closed_by": closed_by,
        "paper": paper,
        "entered": utc(now),
        "still_open": encode(read.still_open.content),
        "policies": encode(dict(read.policies)),
    }
    number = closings.add(connection, closing, read.totals, read.adjustments)
    closings.keep_files(connection, number, files)
    adjusted = ((one.unit, date.fromisoformat(one.first), one.person) for one in read.adjustments)
    outbox.add_closing(connection, number, (read.unit, read.first), adjusted)
    return number


def _refuse_second(connection: Connection, unit: str, on: date) -> None:
    for one in closings.listing(connection, [unit]):
        if one.first <= on <= one.last:
            raise ClosingError(
                "closing_twice",
                unit=unit,
                first=one.first.isoformat(),
                last=one.last.isoformat(),
                entered=one.entered,
                closed_by=one.closed_by,
                number=one.id,
            )


def _read(one: PersonPeriod, *, to_store: bool) -> _Read:
    row = total_row(one)
    revisions = {day.date.isoformat(): day.revision for day in one.days}
    open_ = [(one.person, day.date.isoformat()) for day in one.days if day.standing.status == "open"]
    provisional = [
        (one.person, day.date.isoformat(), tuple(dict.fromkeys(doubt.what for doubt in day.doubts)))
        for day in one.days
        if day.standing.status == "provisional"
    ]
    texts = (encode(row), encode(revisions)) if to_store else ("", "")
    return _Read(
        ClosedTotal(row["person"], row["first"], row["last"], row["unit"], *texts),
        counted_of(one),
        open_,
        provisional,
        frozenset(day.policy for day in one.days if day.policy is not None),
    )


def _extent(found: Iterable[_Read]) -> tuple[date, date]:
    """Return the first and last date of periods."""
    totals = [one.closed for one in found]
    return (
        date.fromisoformat(min(one.first for one in totals)),
        date.fromisoformat(max(one.last for one in totals)),
    )


def _not_closed(
    connection: Connection, policies: OfficePolicies, found: Iterable[_Read], *, to_store: bool
) -> Iterator[_Read]:
    """Yield the periods that are not closed; of one that overlaps a closed one, the dates that are not.

    Periods overlap where a person's policy begins them on another day of the month than before.
    """
    for part in chunks(found):
        closed: dict[str, list[tuple[date, date]]] = {}
        for (person, first), total in _counting(connection, [one.closed.person for one in part]).items():
            closed.setdefault(person, []).append((date.fromisoformat(first), date.fromisoformat(total.last)))
        rest: dict[tuple[date, date], list[str]] = {}
        for one in part:
            own = date.fromisoformat(one.closed.first), date.fromisoformat(one.closed.last)
            left = without(own, closed.get(one.closed.person, ()))
            if left == own:
                yield one
            elif left is not None:
                rest.setdefault(left, []).append(one.closed.person)
        for (begin, end), people in sorted(rest.items()):
            for period in people_between(connection, policies, people, begin, end):
                yield _read(period, to_store=to_store)


def without(period: tuple[date, date], taken: Iterable[tuple[date, date]]) -> tuple[date, date] | None:
    """Return the earliest dates of a period that none of others has, as first and last; None: there are none."""
    first, last = period
    for begin, end in sorted(taken):
        if end < first or begin > last:
            continue
        if begin > first:
            return first, begin - timedelta(days=1)
        first = end + timedelta(days=1)
    return (first, last) if first <= last else None


def _counting(connection: Connection, people: Iterable[str]) -> dict[tuple[str, str], ClosedTotal]:
    """Return the closed periods of people as they count now, by person and first date."""
    return {key: total for part in chunks(people) for key, (_, total) in closings.closed_of(connection, part).items()}


def _unjudged(registers: Registers, units: Iterable[str], judged: set[str], first: date, last: date) -> list[str]:
    """Return the people who are employed in units on any of the dates and have no verdict near them."""
    return sorted({row.record.key for row in _staff(registers, units, first, last)} - judged)


def _staff(registers: Registers, units: Iterable[str], first: date, last: date) -> list[Stated]:
    return registers.rows("people", sorted(f"unit:{key}" for key in units), first, last, by="other")


def _last_change(connection: Connection) -> tuple[int, int]:
    """Return numbers of which one grows when a revision is stored, the other when any are deleted."""
    return results.last_row(connection), retention.next_number(connection)


def _newest(connection: Connection, people: Sequence[str], first: date, last: date) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for part in chunks(people):
        found |= closings.newest_revisions(connection, part, first - EDGE, last + EDGE)
    return found


def _adjustments(
    connection: Connection,
    policies: OfficePolicies,
    units: set[str],
    totals: Sequence[ClosedTotal],
    on: date,
    first: date,
    last: date,
) -> Iterator[StoredAdjustment]:
    """Yield the adjustments that a closing carries.

    They are those of its people's earlier periods, of the periods of people who have left its units and are in no unit
    now, and of people who were found later to belong to a closed period of its units. Periods that are never judged
    again, because evidence was deleted, have none.
    """
    until = retention.settled_until(connection)
    settled = "" if until is None else until.isoformat()
    before = {one.person: one.first for one in totals}
    absent = sorted(set(closings.people_closed(connection, sorted(units))) - set(before))
    periods = people_periods(connection, policies, absent, on, on)
    elsewhere = {one.person for one in periods if one.unit is not None}
    before |= dict.fromkeys(set(absent) - elsewhere, last.isoformat())
    missed = [one for one in _missed(connection, units, first) if one[0].last.isoformat() > settled]
    found_later = {person for *_, people in missed for person in people}
    before = dict.fromkeys(found_later, first.isoformat()) | before
    changed = _changed_policies(connection, policies)
    for part in chunks(sorted(before)):
        closed: dict[tuple[str, str], list[tuple[int, ClosedTotal]]] = {}
        for closing, total in closings.closed_of(connection, part).values():
            if total.last < before[total.person]:
                closed.setdefault((total.first, total.last), []).append((closing, total))
        for (begin, end), those in sorted(closed.items()):
            if end <= settled:
                continue
            dates = date.fromisoformat(begin), date.fromisoformat(end)
            yield from _changed(connection, policies, changed, those, *dates)
    yield from _new(connection, policies, missed, before)


def _changed_policies(connection: Connection, policies: OfficePolicies) -> set[int]:
    """Return the closings of which a policy says something else now."""
    now: dict[str, str] = {}
    found = set[int]()
    for one in closings.listing(connection):
        for name, digest in json.loads(one.policies).items():
            if name not in now:
                now[name] = policies.digest(name) or "none"
            if now[name] != digest:
                found.add(one.id)
    return found


def _changed(
    connection: Connection,
    policies: OfficePolicies,
    changed: set[int],
    closed: Sequence[tuple[int, ClosedTotal]],
    first: date,
    last: date,
) -> Iterator[StoredAdjustment]:
    """Yield the adjustments of people of one closed period; ``changed``: closings of which a policy has changed."""
    newest: dict[str, dict[str, int]] = {}
    for (person, on), revision in _newest(connection, [one.person for _, one in closed], first, last).items():
        newest.setdefault(person, {})[on] = revision
    # A night shift of a date before the period may have become work of it.
    nights = closings.revised_after(connection, [(one.person, closing) for closing, one in closed], first - EDGE, first)
    differing: dict[str, ClosedTotal] = {}
    for closing, one in closed:
        counted, now = json.loads(one.revisions), newest.get(one.person, {})
        inside = {on for on in now if first.isoformat() <= on <= last.isoformat()}
        if (
            closing in changed
            or one.person in nights
            or inside - set(counted)
            or any(now.get(on) != seen for on, seen in counted.items())
        ):
            differing[one.person] = one
    if not differing:
        return
    found = {one.person: one for one in people_between(connection, policies, sorted(differing), first, last)}
    for person, one in differing.items():
        total = found.get(person)
        after = _nothing(json.loads(one.content)) if total is None else total_row(total)
        yield from _adjustment(one, after, total)


def _nothing(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the totals of a period of which no verdict is left."""
    empty: dict[str, Any] = {**dict.fromkeys(NUMBERS, 0), "cut": "0", "presence": None, "excused": {}}
    return {**row, **empty}


def _adjustment(
    closed: ClosedTotal | None, after: Mapping[str, Any], total: PersonPeriod | None
) -> Iterator[StoredAdjustment]:
    counting = {} if total is None else {day.date.isoformat(): day.revision for day in total.days}
    before = None if closed is None else json.loads(closed.content)
    counted = {} if closed is None else json.loads(closed.revisions)
    found = adjust(before, counted, after, counting)
    if found is not None:
        yield StoredAdjustment(
            after["person"],
            after["first"],
            after["last"],
            after["unit"],
            encode(found.content),
            encode(dict(after)),
            encode(counting),
        )


def _missed(connection: Connection, units: set[str], before: date) -> Iterator[tuple[Closing, set[str], Sequence[str]]]:
    """Yield earlier closings, with their units, and the people judged in these whose period was not closed in it.

    Of a closing of a unit above, only the units that are closed now: another closing has the others.
    """
    for one in closings.listing(connection):
        if one.first >= before:
            continue
        under = Registers(connection).with_units_below(one.unit, one.first, one.last)
        if one.unit not in units:
            under &= units
        if under:
            judged = results.people_judged(connection, one.first, one.last, sorted(under))
            people = sorted(set(judged) - closings.people_closed_between(connection, one.first, one.last))
            if people:
                yield one, under, people


def _new(
    connection: Connection,
    policies: OfficePolicies,
    missed: Iterable[tuple[Closing, set[str], Sequence[str]]],
    before: Mapping[str, str],
) -> Iterator[StoredAdjustment]:
    """Yield the periods of people who were not among those of any closing of them, or the dates that no closing has.

    They are periods as the person's policy begins them, on whatever day of the month, that have a date of a closed
    period and end before what is closed of the person now (``before``).
    """
    done = set[tuple[str, str]]()
    for closing, under, people in missed:
        closed: dict[str, list[tuple[date, date]]] = {}
        for (person, first), total in _counting(connection, people).items():
            closed.setdefault(person, []).append((date.fromisoformat(first), date.fromisoformat(total.last)))
        for one in people_periods(connection, policies, people, closing.first, closing.last):
            own = one.totals.first, one.totals.last
            left = without(own, closed.get(one.person, ()))
            if left is None or one.unit not in under or own[1].isoformat() >= before[one.person]:
                continue
            key = one.person, left[0].isoformat()
            if key in done:
                continue
            done.add(key)
            for rest in [one] if left == own else people_between(connection, policies, [one.person], *left):
                yield from _adjustment(None, total_row(rest), rest)
