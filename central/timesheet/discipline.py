"""The discipline of a calendar year: minutes become days, days a level of the ladder. Pure and total."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from central.timesheet.model import Reason
from central.timesheet.outcome import Counts
from central.timesheet.rules import RulesOn, ref_json
from central.timesheet.totals import longest_run, work_order


@dataclass(frozen=True, slots=True)
class Discipline:
    """What a year comes to up to its last judged day."""

    days: int
    """Absent days and converted minutes together."""
    absent_days: int
    minutes: int
    rest_min: int
    """Minutes beyond full days, also where they are rounded up to a day."""
    longest_run: int
    consecutive_on: date | None
    """The work date on which a run of absences reached the length that has a level of its own."""
    level: str | None
    reasons: tuple[Reason, ...]


def discipline(results: Sequence[Counts], rules_on: RulesOn) -> Discipline:
    """Return the discipline of the calendar year of the last work date, by the policy's words of that date."""
    if not results:
        return Discipline(0, 0, 0, 0, 0, None, None, ())
    ordered = sorted(results, key=work_order)
    last = ordered[-1].work_date
    rule = rules_on(last).discipline
    year = [day for day in ordered if day.work_date.year == last.year]
    others = [day for day in year if not day.absent]
    minutes = sum(day.late_min + day.early_min for day in others)
    if rule.excused_counts:
        minutes += sum(day.excused_min for day in others)
    converted, rest = divmod(minutes, max(1, rule.minutes_per_day))
    if rule.ceil and rest:
        converted += 1
    absent = len(year) - len(others)
    days = absent + converted
    run, reached = longest_run(year, rule.consecutive_days)
    level, ref = None, None
    for least, name, node in rule.ladder:
        if days >= least:
            level, ref = name, node
    if reached is not None and rule.consecutive_level is not None:
        level, ref = rule.consecutive_level, rule.run_ref
    reasons: list[Reason] = []
    if converted:
        reason: Reason = {"step": "discipline", "what": "minutes", "minutes": minutes, "days": converted}
        reasons.append({**reason, "policy": ref_json(rule.minutes_ref)})
    if ref is not None:
        reasons.append({"step": "discipline", "what": level, "policy": ref_json(ref)})
    return Discipline(days, absent, minutes, rest, run, reached, level, tuple(reasons))
