"""What the periods of a person come to, from stored verdicts and the policies that are valid now."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.store import outcomes
from central.store.engine import chunks, utc
from central.store.outcomes import Day
from central.timesheet.assemble import rules_for
from central.timesheet.facts import Facts
from central.timesheet.outcome import Counts
from central.timesheet.rules import RulesOn
from central.timesheet.totals import Totals, by_period, period_of, total, work_order

PEOPLE = 250
"""People read at once."""
MARGIN = timedelta(days=40)
"""Days that a period may have beyond the requested dates."""


class PersonPeriod(NamedTuple):
    """A period of a person."""

    person: str
    unit: str | None
    """With the policy: those of the period's last verdict."""
    policy: str | None
    totals: Totals
    days: Sequence[Day]
    """What it is counted from, by work date."""
    judged: Sequence[Day]
    """All verdicts that were read, also those of other periods near it."""


def people_periods(
    connection: Connection,
    policies: OfficePolicies,
    people: Iterable[str],
    first: date,
    last: date,
    known_at: datetime | None = None,
) -> Iterator[PersonPeriod]:
    """Yield each period of people that has one of the dates, in the order of the people; whole periods.

    Verdicts and registers are those of a moment, or of now.
    """
    for facts, judged in _read(connection, policies, people, first, last, known_at):
        yield from periods_of(facts, judged, first, last)


def people_between(
    connection: Connection, policies: OfficePolicies, people: Iterable[str], first: date, last: date
) -> Iterator[PersonPeriod]:
    """Yield what the work dates from first to last come to, of people who have a verdict on them.

    They are one period, whatever day of the month the policy of now begins periods on: a closed period keeps its dates.
    """
    for facts, judged in _read(connection, policies, people, first, last):
        days = {key: one for key, one in _by_dates(judged).items() if first <= key[1] <= last}
        rules_on = rules_for(facts.office, facts.own(judged[0].person), [one.date for one in judged])
        if days:
            yield _summed((first, last), days, map(_counts, days.values()), rules_on, judged)


def _read(
    connection: Connection,
    policies: OfficePolicies,
    people: Iterable[str],
    first: date,
    last: date,
    known_at: datetime | None = None,
) -> Iterator[tuple[Facts, Sequence[Day]]]:
    """Yield all verdicts of each person on dates and near them, with what the registers state."""
    begin, end = _moved(first, -MARGIN), _moved(last, MARGIN)
    moment = None if known_at is None else utc(known_at)
    for part in chunks(people, PEOPLE):
        judged: dict[str, list[Day]] = {}
        for one in outcomes.current(connection, part, begin, end, moment):
            if one.counts is not None:
                judged.setdefault(one.person, []).append(one)
        facts = Facts(connection, policies, part, begin, end, known_at)
        for key in part:
            if key in judged:
                yield facts, judged[key]


def periods_of(facts: Facts, judged: Sequence[Day], first: date, last: date) -> Iterator[PersonPeriod]:
    """Yield what each period that has one of the dates comes to.

    ``judged``: all verdicts of one person on the dates of these periods. Without a policy on any of the dates there is
    no period: the registers were changed, and the days wait to be judged.
    """
    days = _by_dates(judged)
    rules_on = rules_for(facts.office, facts.own(judged[0].person), [one.date for one in judged])
    try:
        begins_on = rules_on(judged[-1].date).begins_on
    except ValueError:
        return
    wanted = period_of(first, begins_on)[0], period_of(last, begins_on)[1]
    for period, found in by_period(map(_counts, days.values()), begins_on).items():
        if wanted[0] <= period[0] <= wanted[1]:
            yield _summed(period, days, found, rules_on, judged)


def _summed(
    period: tuple[date, date],
    days: Mapping[tuple[date, date], Day],
    found: Iterable[Counts],
    rules_on: RulesOn,
    judged: Sequence[Day],
) -> PersonPeriod:
    within = sorted(found, key=work_order)
    newest = days[within[-1].date, within[-1].work_date]
    in_order = [days[one.date, one.work_date] for one in within]
    return PersonPeriod(judged[0].person, newest.unit, newest.policy, total(period, within, rules_on), in_order, judged)


def _by_dates(judged: Iterable[Day]) -> dict[tuple[date, date], Day]:
    return {(one.counts.date, one.counts.work_date): one for one in judged if one.counts is not None}


def _counts(one: Day) -> Counts:
    assert one.counts is not None, "of a date that is judged"  # noqa: S101
    return one.counts


def _moved(on: date, by: timedelta) -> date:
    try:
        return on + by
    except OverflowError:
        return date.max if by > timedelta() else date.min
