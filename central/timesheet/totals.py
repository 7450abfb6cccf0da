"""The totals of a period: what days, leave, buckets and counters cut, and the limits of it. Pure and total."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from operator import attrgetter

from central.timesheet.model import DayResult, Reason
from central.timesheet.outcome import Counts
from central.timesheet.rules import Counter, Cut, Ref, RulesOn, ref_json


@dataclass(frozen=True, slots=True)
class Totals:
    """What a period comes to; percentages, presence and shares of days in thousandths."""

    first: date
    last: date
    days: int
    shifts: int
    absent_days: int
    planned_min: int
    late_min: int
    early_min: int
    missing: int
    cut: int
    cut_rp: int
    excused: tuple[tuple[str, int], ...]
    counted: tuple[date, ...]
    """Work dates that counters cut, each once."""
    open_days: int
    provisional_days: int
    presence: int | None
    """None where the policy has no proportional month, or nothing was planned."""
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class _Cutting:
    """One cut with the date that it belongs to."""

    on: date
    what: str
    cut: Cut
    ref: Ref | None


@lru_cache(4096)
def period_of(on: date, begins_on: int) -> tuple[date, date]:
    """Return first and last day of the period that holds a date; periods begin on a day of the month from 1 to 28."""
    begins_on = min(max(begins_on, 1), 28)
    year, month = (on.year, on.month) if on.day >= begins_on else _month_before(on.year, on.month)
    first = date(year, month, begins_on) if year >= 1 else date.min
    after_year, after_month = (year + 1, 1) if month == 12 else (year, month + 1)
    if after_year > date.max.year:
        return first, date.max
    return first, date(after_year, after_month, begins_on) - timedelta(days=1)


def _month_before(year: int, month: int) -> tuple[int, int]:
    return (year - 1, 12) if month == 1 else (year, month - 1)


def by_period(results: Iterable[Counts], begins_on: int) -> dict[tuple[date, date], list[Counts]]:
    """Return the days of each period by their work date, periods and days in order of time."""
    periods: dict[tuple[date, date], list[Counts]] = {}
    for result in sorted(results, key=work_order):
        periods.setdefault(period_of(result.work_date, begins_on), []).append(result)
    return periods


work_order: Callable[[Counts | DayResult], tuple[date, date]] = attrgetter("work_date", "date")
"""Returns the order of a day within a period or year."""


def total(period: tuple[date, date], results: Sequence[Counts], rules_on: RulesOn) -> Totals:
    """Return what the days of a period come to, by the words under ``period`` as they are on its last day."""
    rules = rules_on(period[1])
    days = sorted(results, key=work_order)
    present = [day for day in days if not day.absent]
    late, early = sum([day.late_min for day in present]), sum([day.early_min for day in present])
    counted: set[date] = set()
    cuttings = [_Cutting(day.work_date, "day", Cut(day.cut, day.cut_rp), None) for day in days]
    cuttings += _leave_cuts(days, rules_on)
    for bucket in rules.buckets:
        minutes = (late if "late" in bucket.of else 0) + (early if "early" in bucket.of else 0)
        times = minutes // bucket.minutes if bucket.minutes > 0 else 0
        cut = Cut(times * bucket.cut.percent, times * bucket.cut.rupiah)
        if times:
            cuttings.append(_Cutting(period[1], "bucket", cut, bucket.ref))
    for counter in rules.counters:
        found = _counter_cuts(present, counter)
        counted.update(cutting.on for cutting in found)
        cuttings += found
    reasons: list[Reason] = [_reason(cutting) for cutting in cuttings if cutting.ref is not None]
    cut = _capped(cuttings, period, rules_on, reasons)
    cut = _all_missing(days, cut, period, rules_on, reasons)
    planned = sum(day.planned_min for day in days)
    lost = late + early + sum(day.planned_min for day in days if day.absent)
    return Totals(
        first=period[0],
        last=period[1],
        days=sum(day.kind == "workday" for day in days),
        shifts=sum(day.shifts for day in days if day.kind == "workday"),
        absent_days=sum(day.absent for day in days),
        planned_min=planned,
        late_min=late,
        early_min=early,
        missing=sum([day.missing for day in present]),
        cut=cut.percent,
        cut_rp=cut.rupiah,
        excused=tuple(sorted(_excused(days).items())),
        counted=tuple(sorted(counted)),
        open_days=sum(day.status == "open" for day in days),
        provisional_days=sum(day.status == "provisional" for day in days),
        presence=max(0, (planned - lost) * 100_000 // planned) if rules.proportional and planned > 0 else None,
        reasons=tuple(reasons),
    )


def _excused(days: Iterable[Counts]) -> dict[str, int]:
    found: dict[str, int] = {}
    for day in days:
        for kind, share in day.excused:
            found[kind] = found.get(kind, 0) + share
    return found


def _leave_cuts(days: Sequence[Counts], rules_on: RulesOn) -> list[_Cutting]:
    """Return what excused days cut, each for the part of its share that lies after the first days of its kind."""
    taken: dict[str, int] = {}
    found = []
    for day in days:
        for kind, share in day.excused:
            before = taken.get(kind, 0)
            taken[kind] = before + share
            rule = rules_on(day.work_date).leave.get(kind)
            if rule is None:
                continue
            beyond = max(0, before + share - rule.after) - max(0, before - rule.after)
            cut = Cut(rule.cut.percent * beyond // 1000, rule.cut.rupiah * beyond // 1000)
            if cut.percent or cut.rupiah:
                found.append(_Cutting(day.work_date, "leave", cut, rule.ref))
    return found


def _counter_cuts(days: Sequence[Counts], counter: Counter) -> list[_Cutting]:
    """Return a cut for each event after the first ones, slots in order of due time; a missing one is only missing."""
    events = sorted(
        (due, day.work_date, index)
        for day in days
        for index, (due, what) in enumerate(day.events)
        if what in counter.of
    )
    return [_Cutting(on, "counter", counter.cut, counter.ref) for _, on, _ in events[max(0, counter.after) :]]


def _capped(cuttings: Sequence[_Cutting], period: tuple[date, date], rules_on: RulesOn, reasons: list[Reason]) -> Cut:
    """Return the sum of the cuts with the percentage limited; rupiah never are."""
    last = rules_on(period[1])
    groups: dict[str, tuple[int | None, Ref | None, int]] = {}
    for cutting in cuttings:
        rules = rules_on(cutting.on) if last.cap_own_days else last
        cap = rules.period_cap
        version = "" if cap is None else cap.version
        so_far = groups.get(version, (None, None, 0))[2]
        limit, ref = (None, None) if cap is None else (cap.percent, cap.ref)
        groups[version] = (limit, ref, so_far + cutting.cut.percent)
    percent = 0
    for limit, ref, found in groups.values():
        if limit is not None and ref is not None and found > limit:
            reasons.append({"step": "sum", "what": "cap", "cut": limit, "policy": ref_json(ref)})
            found = limit  # noqa: PLW2901 - the group's sum, limited
        percent += found
    return Cut(percent, sum(cutting.cut.rupiah for cutting in cuttings))


def _all_missing(
    days: Sequence[Counts], cut: Cut, period: tuple[date, date], rules_on: RulesOn, reasons: list[Reason]
) -> Cut:
    rule = rules_on(period[1]).period_all_missing
    if rule is None or rule.days <= 0:
        return cut
    found = longest_run(days)[0] if rule.consecutive else sum(day.absent for day in days)
    if found < rule.days:
        return cut
    reasons.append({"step": "sum", "what": "all_missing", "days": found, "policy": ref_json(rule.ref)})
    return rule.cut


def longest_run(days: Sequence[Counts], reach: int | None = None) -> tuple[int, date | None]:
    """Return the longest run of absent days, and the work date on which a run first reached a length.

    Off days and holidays do not end a run; any other day does, whatever its status. ``days`` are in order of time.
    """
    longest, run, reached = 0, 0, None
    for day in days:
        if day.absent:
            run += 1
            longest = max(longest, run)
            if run == reach and reached is None:
                reached = day.work_date
        elif day.kind == "workday":
            run = 0
    return longest, reached


def _reason(cutting: _Cutting) -> Reason:
    return {
        "step": "sum",
        "what": cutting.what,
        "date": cutting.on.isoformat(),
        "cut": cutting.cut.percent,
        "cut_rp": cutting.cut.rupiah,
        "policy": None if cutting.ref is None else ref_json(cutting.ref),
    }
