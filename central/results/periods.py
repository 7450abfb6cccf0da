"""What the periods of a person come to, from stored verdicts and the policies that are valid now."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

from central.store.results import Revision
from central.timesheet.assemble import rules_for
from central.timesheet.facts import Facts
from central.timesheet.stored import load_day
from central.timesheet.totals import Totals, by_period, period_of, total


class PersonPeriod(NamedTuple):
    """A period of a person."""

    person: str
    unit: str | None
    """With the policy: those of the period's last verdict."""
    policy: str | None
    totals: Totals


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
            newest = results_of[found[-1].date, found[-1].work_date][0]
            yield PersonPeriod(judged[0].person, newest.unit, newest.policy, total(period, found, rules_on))
