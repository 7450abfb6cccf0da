"""One policy after another on the facts of a database, in place of those that are assigned; nothing is stored."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.store.engine import chunks
from central.store.registers import Registers
from central.timesheet.facts import WIDE, Facts, extent_of, padded
from central.timesheet.model import DayResult
from central.timesheet.totals import Totals, by_period, total

PEOPLE = 100
"""People judged at once."""


class Side(NamedTuple):
    """What a person's dates are under one policy."""

    days: Mapping[date, DayResult]
    totals: Mapping[date, Totals]
    """Of the dates asked for, by the first date of their period."""


class Trial(NamedTuple):
    """A person under several policies, in their order."""

    person: str
    name: str
    sides: tuple[Side, ...]


def try_policies(
    connection: Connection,
    policies: OfficePolicies,
    names: Collection[str],
    people: Mapping[str, str],
    dates: tuple[date, date],
    now: datetime,
) -> Iterator[Trial]:
    """Yield people (names by key) under each of the policies, whatever is assigned to them, in the order given.

    A verdict is the one that :func:`central.timesheet.judge.judge` gives where that policy is assigned. Dates that have
    not begun, and those without employment, zone or plan, are left out.
    """
    for part in chunks(people, PEOPLE):
        sides = [_judged(connection, policies, name, part, dates, int(now.timestamp())) for name in names]
        for key in part:
            yield Trial(key, people[key], tuple(side[key] for side in sides))


def people_on(connection: Connection, unit: str | None, dates: tuple[date, date]) -> dict[str, str]:
    """Return the names, by key, of who is employed on any of the dates: in a unit with those below, or anywhere."""
    registers = Registers(connection)
    units = None if unit is None else sorted(f"unit:{key}" for key in registers.with_units_below(unit, *dates))
    rows = registers.rows("people", units, *dates, by="subject" if units is None else "other")
    found = {row.record.key: row.record.name for row in rows}
    return dict(sorted(found.items(), key=lambda item: (item[1].casefold(), item[0])))


def _judged(
    connection: Connection,
    policies: OfficePolicies,
    name: str,
    people: Collection[str],
    dates: tuple[date, date],
    now: int,
) -> dict[str, Side]:
    policy = policies.policy(name)
    if policy is None:
        raise KeyError(name)
    facts = Facts(connection, policies, people, *padded(*dates, WIDE), instead=name)
    wanted = [dates[0] + timedelta(days=number) for number in range((dates[1] - dates[0]).days + 1)]
    ends = [
        end
        for person in people
        for on in wanted
        for other in facts.days(person).together(on) or (on,)
        for end in extent_of(facts.days(person).on(other), other)
    ]
    facts.load_recorded(min(ends), max(ends))
    found = {}
    for person in people:
        days = {one.date: one.result for one in facts.judge(person, wanted, now) if one.result is not None}
        periods = by_period(list(days.values()), policy.versions[0].rules.begins_on)
        totals = {period[0]: total(period, judged, policy.on) for period, judged in periods.items()}
        found[person] = Side(days, totals)
    return found
