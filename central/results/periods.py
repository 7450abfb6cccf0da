"""What the periods of a person come to, from stored verdicts and the policies that are valid now."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.store import results
from central.store.engine import chunks, utc
from central.store.results import Revision
from central.timesheet.assemble import rules_for
from central.timesheet.facts import Facts
from central.timesheet.model import DayResult
from central.timesheet.rules import RulesOn
from central.timesheet.stored import load_day
from central.timesheet.totals import Totals, by_period, period_of, total, work_order

PEOPLE = 100
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
    days: Sequence[tuple[Revision, DayResult]]
    """What it is counted from, by work date."""
    judged: Sequence[Revision]
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
        found = [(one, load_day(one.content, one.inputs)) for one in judged]
        days = {(day.date, day.work_date): (one, day) for one, day in found if first <= day.work_date <= last}
        rules_on = rules_for(facts.office, facts.own(judged[0].person), [one.date for one in judged])
        if days:
            yield _summed((first, last), days, [day for _, day in days.values()], rules_on, judged)


def _read(
    connection: Connection,
    policies: OfficePolicies,
    people: Iterable[str],
    first: date,
    last: date,
    known_at: datetime | None = None,
) -> Iterator[tuple[Facts, Sequence[Revision]]]:
    """Yield all verdicts of each person on dates and near them, with what the registers state."""
    begin, end = _moved(first, -MARGIN), _moved(last, MARGIN)
    moment = None if known_at is None else utc(known_at)
    for part in chunks(people, PEOPLE):
        judged: dict[str, list[Revision]] = {}
        for one in results.current(connection, part, begin, end, moment):
            if one.status != "none":
                judged.setdefault(one.person, []).append(one)
        facts = Facts(connection, policies, part, begin, end, known_at)
        for key in part:
            if key in judged:
                yield facts, judged[key]


def periods_of(facts: Facts, judged: Sequence[Revision], first: date, last: date) -> Iterator[PersonPeriod]:
    """Yield what each period that has one of the dates comes to.

    ``judged``: all verdicts of one person on the dates of these periods. Without a policy on any of the dates there is
    no period: the registers were changed, and the days wait to be judged.
    """
    results_of = {
        (day.date, day.work_date): (one, day) for one in judged for day in [load_day(one.content, one.inputs)]
    }
    rules_on = rules_for(facts.office, facts.own(judged[0].person), [one.date for one in judged])
    try:
        begins_on = rules_on(judged[-1].date).begins_on
    except ValueError:
        return
    wanted = period_of(first, begins_on)[0], period_of(last, begins_on)[1]
    for period, found in by_period([day for _, day in results_of.values()], begins_on).items():
        if wanted[0] <= period[0] <= wanted[1]:
            yield _summed(period, results_of, found, rules_on, judged)


def _summed(
    period: tuple[date, date],
    results_of: Mapping[tuple[date, date], tuple[Revision, DayResult]],
    found: Iterable[DayResult],
    rules_on: RulesOn,
    judged: Sequence[Revision],
) -> PersonPeriod:
    days = [results_of[day.date, day.work_date] for day in sorted(found, key=work_order)]
    newest, sums = days[-1][0], total(period, [day for _, day in days], rules_on)
    return PersonPeriod(judged[0].person, newest.unit, newest.policy, sums, days, judged)


def _moved(on: date, by: timedelta) -> date:
    try:
        return on + by
    except OverflowError:
        return date.max if by > timedelta() else date.min
