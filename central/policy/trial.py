"""One policy after another on the facts of a database, in place of those that are assigned; nothing is stored.

The work is cut into parts: people of a unit in one period under one policy. Whoever judges a part needs nothing but the
part, the policy and the database, so parts may be judged anywhere and in any order (:mod:`central.cluster`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection

from central.policy.load import Policy
from central.policy.office import OfficePolicies
from central.store.bulk import let_compute
from central.store.engine import chunks
from central.store.registers import Registers
from central.timesheet.affected import REACH
from central.timesheet.facts import WIDE, Facts, extent_of, padded
from central.timesheet.model import DayResult
from central.timesheet.outcome import counts_of_days
from central.timesheet.stored import dump_day
from central.timesheet.totals import Totals, period_of, total, work_order

PEOPLE = 100
"""People of a part, at most."""


class Side(NamedTuple):
    """What a person's dates are under one policy."""

    days: Mapping[date, DayResult]
    """Empty where only totals are wanted."""
    totals: Mapping[date, Totals]
    """Of the dates asked for, by the first date of their period."""
    digests: Mapping[date, str]
    """SHA-256 of the days' content, reasons included, by the first date of their period."""


class Trial(NamedTuple):
    """A person under several policies, in their order."""

    person: str
    name: str
    sides: tuple[Side, ...]


class Part(NamedTuple):
    """Work that can be done by itself."""

    policy: str
    period: tuple[date, date]
    """Days whose work date lies in it."""
    people: tuple[str, ...]
    """Their keys: no names."""
    dates: tuple[date, date]
    """The requested dates."""
    now: int
    """A second of UTC."""
    with_days: bool


Judged = Mapping[str, Side]
"""What a part comes to, by person; without those who have no day in it."""
Spread = Callable[[Iterable[Part]], Iterable[tuple[Part, Judged]]]
"""Judges parts, in any order."""


def try_policies(
    connection: Connection,
    policies: OfficePolicies,
    names: Collection[str],
    people: Mapping[str, str],
    dates: tuple[date, date],
    now: datetime,
    *,
    with_days: bool = True,
    spread: Spread | None = None,
) -> Iterator[Trial]:
    """Yield people (names by key) under each of the policies, whatever is assigned to them, in the order given.

    A verdict is the one that :func:`central.timesheet.judge.judge` gives where that policy is assigned. Dates that have
    not begun, and those without employment, zone or plan, are left out. ``spread``: who judges; else this process, on
    ``connection``.
    """
    found: dict[tuple[str, str], list[Side]] = {}
    parts = _parts(connection, policies, names, people, dates, int(now.timestamp()), with_days=with_days)
    if spread is None:
        judged: Iterable[tuple[Part, Judged]] = ((part, judge_part(connection, policies, part)) for part in parts)
    else:
        let_compute(connection, "0")  # it only waits, for a nation's year longer than a transaction may that reads
        judged = spread(parts)
    for part, sides in judged:
        for person, side in sides.items():
            found.setdefault((person, part.policy), []).append(side)
    for key, name in people.items():
        yield Trial(key, name, tuple(_whole(found.get((key, policy), [])) for policy in names))


def digest_of(trials: Iterable[Trial], names: Collection[str]) -> str:
    """Return the SHA-256 of all results: equal wherever and in whatever order they were judged."""
    whole = sha256()
    for one in sorted(trials, key=lambda trial: trial.person):
        for name, side in zip(names, one.sides, strict=True):
            for begin, digest in side.digests.items():
                whole.update(f"{one.person} {name} {begin} {digest}\n".encode())
    return whole.hexdigest()


def people_on(connection: Connection, unit: str | None, dates: tuple[date, date]) -> dict[str, str]:
    """Return the names, by key, of who is employed on any of the dates: in a unit with those below, or anywhere."""
    registers = Registers(connection)
    units = None if unit is None else sorted(f"unit:{key}" for key in registers.with_units_below(unit, *dates))
    rows = registers.rows("people", units, *dates, by="subject" if units is None else "other")
    found = {row.record.key: row.record.name for row in rows}
    return dict(sorted(found.items(), key=lambda item: (item[1].casefold(), item[0])))


def judge_part(connection: Connection, policies: OfficePolicies, part: Part) -> dict[str, Side]:
    """Judge a part: its days by work date, with their totals and their digest."""
    policy = policies.policy(part.policy)
    if policy is None:
        raise KeyError(part.policy)
    begin, end = part.period
    # A work date is its date, or up to REACH days later.
    first, last = max(part.dates[0], padded(begin, end, REACH)[0]), min(part.dates[1], end)
    facts = Facts(connection, policies, part.people, *padded(first, last, WIDE), instead=part.policy)
    wanted = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    ends = [
        end
        for person in part.people
        for on in wanted
        for other in facts.days(person).together(on) or (on,)
        for end in extent_of(facts.days(person).on(other), other)
    ]
    facts.load_recorded(min(ends), max(ends))
    found = {}
    for person in part.people:
        judged = (one.result for one in facts.judge({person: wanted}, part.now))
        days = sorted((day for day in judged if day is not None and begin <= day.work_date <= end), key=work_order)
        if days:
            found[person] = _side(days, part, policy)
    return found


def _side(days: list[DayResult], part: Part, policy: Policy) -> Side:
    content = sha256()
    for day in days:
        content.update(dump_day(day).encode() + b"\n")
    totals = {part.period[0]: total(part.period, counts_of_days(days), policy.on)}
    kept = {day.date: day for day in days} if part.with_days else {}
    return Side(kept, totals, {part.period[0]: content.hexdigest()})


def _whole(sides: list[Side]) -> Side:
    """Return what the periods of a person come to, in order of time."""
    ordered = sorted(sides, key=lambda side: min(side.totals))
    days = {on: day for side in ordered for on, day in side.days.items()}
    totals = {begin: found for side in ordered for begin, found in side.totals.items()}
    return Side(
        dict(sorted(days.items())), totals, {begin: one for side in ordered for begin, one in side.digests.items()}
    )


def _parts(
    connection: Connection,
    policies: OfficePolicies,
    names: Collection[str],
    people: Mapping[str, str],
    dates: tuple[date, date],
    now: int,
    *,
    with_days: bool,
) -> Iterator[Part]:
    of_unit: dict[str, list[str]] = {}
    for row in Registers(connection).rows("people", sorted(f"person:{key}" for key in people), *dates):
        if row.record.key in people:
            of_unit.setdefault(row.record.unit or "", []).append(row.record.key)
    first_units = {key: unit for unit, keys in sorted(of_unit.items(), reverse=True) for key in keys}
    grouped: dict[str, list[str]] = {}
    for key in sorted(people):
        grouped.setdefault(first_units.get(key, ""), []).append(key)
    for name in names:
        policy = policies.policy(name)
        if policy is None:
            raise KeyError(name)
        for period in _periods(dates, policy.versions[0].rules.begins_on):
            for keys in grouped.values():
                for part in chunks(keys, PEOPLE):
                    yield Part(name, period, tuple(part), dates, now, with_days)


def _periods(dates: tuple[date, date], begins_on: int) -> Iterator[tuple[date, date]]:
    """Yield the periods in which days of some dates may have their work dates."""
    last = padded(*dates, REACH)[1]
    period = period_of(dates[0], begins_on)
    while True:
        yield period
        if period[1] >= last:
            return
        period = period_of(period[1] + timedelta(days=1), begins_on)
