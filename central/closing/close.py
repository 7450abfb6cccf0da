"""Closing a unit's period: what it comes to is read, what is still open is listed, and both are stored together."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from central.closing.adjust import NUMBERS, adjust
from central.closing.files import files_for
from central.moments import print_moment
from central.policy.office import OfficePolicies
from central.registers.lookup import zone_of
from central.reports.doubts import kept_by
from central.results.export import total_row
from central.results.periods import PersonPeriod, people_periods
from central.sheets.lines import Closed
from central.sheets.settings import Settings
from central.sheets.source import live_period, today_in, unit_name
from central.store import closings, outbox, results
from central.store.closings import ClosedTotal, Closing, KeptFile, StoredAdjustment
from central.store.engine import Database, chunks, encode, utc
from central.store.registers import Registers

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

    def __len__(self) -> int:
        return len(self.open_) + len(self.provisional) + len(self.unjudged)

    @property
    def content(self) -> dict[str, Any]:
        """Return what is stored."""
        doubts = Counter(what for *_, whats in self.provisional for what in whats)
        return {
            "open": [list(one) for one in self.open_],
            "provisional": [[person, on, list(whats)] for person, on, whats in self.provisional],
            "doubts": dict(sorted(doubts.items())),
            "unjudged": list(self.unjudged),
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
    periods: Sequence[PersonPeriod] = field(repr=False)
    """What the totals are counted from."""
    newest: Mapping[tuple[str, str], int] = field(repr=False)
    """The revisions that were read."""


def draft(connection: Connection, policies: OfficePolicies, unit: str, on: date, now: datetime) -> Draft:
    """Read what closing the period that has a date would fix, for a unit with those below it.

    Raises ClosingError: there is no such unit or no verdict, the period is not over, or changes wait to be judged.
    """
    registers = Registers(connection)
    if not registers.rows("units", [f"unit:{unit}"]):
        raise ClosingError("closing_no_unit", unit=unit)
    units = registers.with_units_below(unit, on - REACH, on + REACH)
    _refuse_second(connection, unit, on)
    judged = results.people_judged(connection, on - REACH, on + REACH, sorted(units))
    found = [one for one in people_periods(connection, policies, judged, on, on) if one.unit in units]
    if not found:
        raise ClosingError("closing_no_verdicts", unit=unit, date=on.isoformat())
    first = min(one.totals.first for one in found)
    last = max(one.totals.last for one in found)
    today = now.astimezone(zone_of(registers.rows("units"))).date()
    if last >= today:
        raise ClosingError("closing_not_over", unit=unit, first=first.isoformat(), last=last.isoformat())
    if waiting := closings.marks_touching(connection, first - EDGE, last + EDGE):
        raise ClosingError("closing_unjudged", marks=waiting)
    people = [one.person for one in found]
    already = set[tuple[str, str]]()
    for part in chunks(people):
        already |= set(closings.closed_of(connection, part))
    ours = [one for one in found if _key(one) not in already]
    if not ours:
        raise ClosingError("closing_all_elsewhere", unit=unit, date=on.isoformat())
    totals = [_closed(one) for one in ours]
    return Draft(
        unit=unit,
        first=first,
        last=last,
        totals=totals,
        adjustments=list(_adjustments(connection, policies, units, {one.person for one in totals}, first, last)),
        still_open=_still_open(ours, _unjudged(registers, units, set(judged), first, last)),
        policies=_digests(policies, totals),
        closed_elsewhere=len(found) - len(ours),
        periods=ours,
        newest=_newest(connection, people, first, last),
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
        for on in {read.first, read.last}:
            _refuse_second(connection, read.unit, on)
        people = [one.person for one in read.totals]
        closed = {key for part in chunks(people) for key in closings.closed_of(connection, part)}
        everybody = sorted({person for person, _ in read.newest})
        if (
            any((one.person, one.first) in closed for one in read.totals)
            or _newest(connection, everybody, read.first, read.last) != read.newest
        ):
            raise ClosingError("closing_changing", unit=read.unit)
        return _store(connection, read, self.files, self.closed_by, self.paper, self.now)


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
    name = unit_name(registers, read.unit, read.first)
    period = live_period(registers, read.unit, name, read.periods, read.adjustments, closed)
    return files_for(period, read.totals, read.adjustments, settings, today_in(connection, now))


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


def _closed(one: PersonPeriod) -> ClosedTotal:
    row = total_row(one)
    revisions = {day.date.isoformat(): revision.revision for revision, day in one.days}
    return ClosedTotal(row["person"], row["first"], row["last"], row["unit"], encode(row), encode(revisions))


def _key(one: PersonPeriod) -> tuple[str, str]:
    return one.person, one.totals.first.isoformat()


def _unjudged(registers: Registers, units: Iterable[str], judged: set[str], first: date, last: date) -> list[str]:
    """Return the people who are employed in units on any of the dates and have no verdict near them."""
    rows = registers.rows("people", sorted(f"unit:{key}" for key in units), first, last, by="other")
    return sorted({row.record.key for row in rows} - judged)


def _still_open(found: Iterable[PersonPeriod], unjudged: Sequence[str]) -> StillOpen:
    open_: list[tuple[str, str]] = []
    provisional: list[tuple[str, str, tuple[str, ...]]] = []
    for one in found:
        for revision, day in one.days:
            on = day.date.isoformat()
            if day.status == "open":
                open_.append((revision.person, on))
            elif day.status == "provisional":
                whats = dict.fromkeys(kept.what for kept in kept_by(revision.person, day.date, day.reasons))
                provisional.append((revision.person, on, tuple(whats)))
    return StillOpen(open_, provisional, unjudged)


def _digests(policies: OfficePolicies, totals: Iterable[ClosedTotal]) -> dict[str, str]:
    names = {json.loads(one.content)["policy"] for one in totals} - {None}
    return {name: policies.digest(name) or "none" for name in sorted(names)}


def _newest(connection: Connection, people: Sequence[str], first: date, last: date) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for part in chunks(people):
        found |= closings.newest_revisions(connection, part, first - EDGE, last + EDGE)
    return found


def pending(
    connection: Connection, policies: OfficePolicies, units: Iterable[str], people: Iterable[str], before: date
) -> Iterator[StoredAdjustment]:
    """Yield what later knowledge changes in the periods of people that were closed and ended before a date.

    Also of people who were found later to belong to a closed period of the units.
    """
    digests = {one.id: json.loads(one.policies) for one in closings.listing(connection)}
    for part in chunks(sorted(set(people) | set(_found_later(connection, units, before)))):
        periods: dict[tuple[str, str], list[tuple[int, ClosedTotal]]] = {}
        for closing, total in closings.closed_of(connection, part).values():
            if total.last < before.isoformat():
                periods.setdefault((total.first, total.last), []).append((closing, total))
        for (first, last), closed in sorted(periods.items()):
            yield from _changed(
                connection, policies, digests, closed, date.fromisoformat(first), date.fromisoformat(last)
            )
        yield from _new(connection, policies, set(units), part, before)


def _adjustments(
    connection: Connection, policies: OfficePolicies, units: set[str], people: set[str], first: date, last: date
) -> Iterator[StoredAdjustment]:
    """Yield the adjustments that a closing carries: of its people, and of those who have left its units since."""
    absent = sorted(set(closings.people_closed(connection, sorted(units))) - people)
    elsewhere = {one.person for one in people_periods(connection, policies, absent, first, last)}
    left = set(absent) - elsewhere
    yield from pending(connection, policies, units, people | left, first)


def _changed(
    connection: Connection,
    policies: OfficePolicies,
    digests: Mapping[int, Mapping[str, str]],
    closed: Sequence[tuple[int, ClosedTotal]],
    first: date,
    last: date,
) -> Iterator[StoredAdjustment]:
    """Yield the adjustments of people of one closed period."""
    newest: dict[str, dict[str, int]] = {}
    for (person, on), revision in _newest(connection, [one.person for _, one in closed], first, last).items():
        newest.setdefault(person, {})[on] = revision
    differing: dict[str, ClosedTotal] = {}
    for closing, one in closed:
        counted, now = json.loads(one.revisions), newest.get(one.person, {})
        new_dates = {on for on in now if first.isoformat() <= on <= last.isoformat()} - set(counted)
        policy = json.loads(one.content)["policy"]
        text = digests.get(closing, {}).get(policy) if policy is not None else None
        if (
            new_dates
            or any(now.get(on) != revision for on, revision in counted.items())
            or (text is not None and text != (policies.digest(policy) or "none"))
        ):
            differing[one.person] = one
    if not differing:
        return
    found = {one.person: one for one in people_periods(connection, policies, sorted(differing), first, first)}
    for person, one in differing.items():
        now_total = found.get(person)
        if now_total is not None and now_total.totals.first.isoformat() != one.first:
            now_total = None
        after = _nothing(json.loads(one.content)) if now_total is None else total_row(now_total)
        yield from _adjustment(one, after, now_total)


def _nothing(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the totals of a period of which no verdict is left."""
    empty: dict[str, Any] = {**dict.fromkeys(NUMBERS, 0), "cut": "0", "presence": None, "excused": {}}
    return {**row, **empty}


def _adjustment(
    closed: ClosedTotal | None, after: Mapping[str, Any], total: PersonPeriod | None
) -> Iterator[StoredAdjustment]:
    counting = {} if total is None else {day.date.isoformat(): one.revision for one, day in total.days}
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


def _closings_before(connection: Connection, units: Iterable[str], before: date) -> list[Closing]:
    return [one for one in closings.listing(connection, sorted(units)) if one.last < before]


def _found_later(connection: Connection, units: Iterable[str], before: date) -> Iterator[str]:
    """Yield the people who have verdicts in closed periods of units, and are perhaps none of their closings."""
    for one in _closings_before(connection, units, before):
        under = Registers(connection).with_units_below(one.unit, one.first, one.last)
        yield from results.people_judged(connection, one.first, one.last, sorted(under))


def _new(
    connection: Connection, policies: OfficePolicies, units: set[str], people: Sequence[str], before: date
) -> Iterator[StoredAdjustment]:
    """Yield the closed periods of people who were not among those of any closing of them."""
    known = closings.closed_of(connection, people)
    done = set[tuple[str, str]]()
    for closing in _closings_before(connection, units, before):
        under = Registers(connection).with_units_below(closing.unit, closing.first, closing.last)
        judged = set(results.people_judged(connection, closing.first, closing.last, sorted(under)))
        for one in people_periods(
            connection, policies, [key for key in people if key in judged], closing.first, closing.last
        ):
            key = _key(one)
            inside = closing.first <= one.totals.first and one.totals.last <= closing.last
            if key not in known and key not in done and inside and one.unit in under:
                done.add(key)
                yield from _adjustment(None, total_row(one), one)
