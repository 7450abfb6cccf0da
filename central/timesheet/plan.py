"""Step 1, plan: which plan of a date counts, its due times and windows as instants, and the work date. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from central.timesheet.clock import DAY_S, Zone, date_of, midnight, print_local
from central.timesheet.model import PlanDay, Punch, Reason, Slot
from central.timesheet.rules import Rules, RulesOn, SlotRule

LONGEST_DAYS = 400
"""Dates that a work date of kind ``longest`` looks at."""


@dataclass(slots=True, eq=False)
class SlotWork:
    """A slot while its day is judged."""

    slot: Slot
    index: int
    rule: SlotRule | None
    """None where the policy does not know the kind."""
    day_index: int
    day_number: int
    """The plan's date as a number, to tell how far another day is away."""
    plan_due: int
    due: int
    start: int
    end: int
    required: bool = False
    """Demanded but for leave."""
    demanded: bool = False
    moved: bool = False
    emptied: bool = False
    excused: str | None = None
    claimed: list[int] = field(default_factory=list)
    """Indices of punches in order of time."""
    pool: list[int] = field(default_factory=list)
    """What it claimed, and what it has as well by ``shared_seam`` and ``counts_as``."""
    range_s: int = 0
    """Flexi's range, where this is the arrival."""
    fixed: bool = False
    due_corrected: int | None = None
    """The due time by the arrival's corrected time, where the policy trusts the offset."""
    picked: int | None = None
    measured: int | None = None
    """Minutes of the picked punch, the better of printed and corrected."""
    flexi_arrival: bool = False

    @property
    def measure(self) -> str | None:
        """Return late, early, present, or None where the kind is unknown."""
        return None if self.rule is None else self.rule.measure


@dataclass(slots=True, eq=False)
class DayWork:
    """A planned date while it is judged."""

    plan: PlanDay
    index: int
    not_taken: tuple[PlanDay, ...]
    rules: Rules
    work_date: date
    slots: list[SlotWork]
    first_due: int | None
    last_due: int | None
    first_due_s: int
    """The first due time in seconds from midnight of the plan's date."""
    arrival: SlotWork | None
    """The first late slot of the plan."""
    leaving: SlotWork | None
    """The last early slot of the plan."""
    times: list[int] = field(default_factory=list)
    """The instant of each punch of the span, as this day's policy reads it."""
    near: Sequence[int] = ()
    """Indices of the punches between the first and the last second of its windows, and perhaps of some more."""
    reasons: list[Reason] = field(default_factory=list)
    excused: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    """Conditions that leave has met, in order."""
    flexi: bool = False
    planned_min: int = 0
    head: Any = None
    """The hash of what its digest begins with, see :mod:`central.timesheet.digest`; None where it is not known yet."""


def lay_out(days: Iterable[PlanDay], rules_on: RulesOn) -> list[DayWork]:
    """Return the days to judge in order of date: one plan for each, the person's before the unit's."""
    by_date: dict[date, list[PlanDay]] = {}
    for plan in days:
        by_date.setdefault(plan.date, []).append(plan)
    work = []
    for index, when in enumerate(sorted(by_date)):
        plans = by_date[when]
        if len(plans) > 1:
            plans.sort(key=_preference)
        work.append(_day(plans[0], tuple(plans[1:]), index, rules_on))
    return work


def laid_out_again(days: Iterable[DayWork]) -> list[DayWork]:
    """Return days as :func:`lay_out` made them, for another person's facts; nothing may have been judged with them."""
    again = []
    for day in days:
        slots = [
            SlotWork(
                one.slot, one.index, one.rule, one.day_index, one.day_number, one.plan_due, one.due, one.start, one.end
            )
            for one in day.slots
        ]
        work = DayWork(
            day.plan,
            day.index,
            day.not_taken,
            day.rules,
            day.work_date,
            slots,
            day.first_due,
            day.last_due,
            day.first_due_s,
            None if day.arrival is None else slots[day.arrival.index],
            None if day.leaving is None else slots[day.leaving.index],
        )
        work.reasons.extend(day.reasons)
        work.head = day.head
        again.append(work)
    return again


def _preference(plan: PlanDay) -> tuple[bool, int, str, str]:
    return (
        not plan.personal,
        plan.rank,
        plan.version or "",
        repr((plan.zone.name, plan.kind, plan.slots, plan.break_min, plan.shifts)),
    )


def _day(plan: PlanDay, not_taken: tuple[PlanDay, ...], index: int, rules_on: RulesOn) -> DayWork:
    slots = _instants(plan, index)
    rules = rules_on(plan.date)
    first, last = _bounds(slots, rules)
    work_date = plan.date if first is None or last is None else _work_date(plan.zone, rules, first.due, last.due)
    if work_date != plan.date:
        later = rules_on(work_date)
        if later is not rules:
            rules = later
            first, last = _bounds(slots, rules)
    arrival: SlotWork | None = None
    leaving: SlotWork | None = None
    for slot in slots:
        slot.rule = rules.slots.get(slot.slot.kind)
        if slot.measure == "late" and (arrival is None or slot.due < arrival.due):
            arrival = slot
        elif slot.measure == "early" and (leaving is None or slot.due >= leaving.due):
            leaving = slot
    day = DayWork(
        plan=plan,
        index=index,
        not_taken=not_taken,
        rules=rules,
        work_date=work_date,
        slots=slots,
        first_due=None if first is None else first.due,
        last_due=None if last is None else last.due,
        first_due_s=0 if first is None else _due_s(first.slot),
        arrival=arrival,
        leaving=leaving,
    )
    day.reasons.append(_plan_reason(day))
    return day


def _plan_reason(day: DayWork) -> Reason:
    plan = day.plan
    reason: Reason = {
        "step": "plan",
        "what": "personal" if plan.personal else "unit",
        "version": plan.version,
        "zone": plan.zone.name,
        "kind": plan.kind,
        "work_date": day.work_date.isoformat(),
        "policy": day.rules.policy,
    }
    if day.not_taken:
        reason["not_taken"] = [
            {"what": "personal" if other.personal else "unit", "version": other.version} for other in day.not_taken
        ]
    return reason


def _due_s(slot: Slot) -> int:
    return slot.start if slot.due is None else slot.due


def _instants(plan: PlanDay, day_index: int) -> list[SlotWork]:
    begin = midnight(plan.date)
    number = plan.date.toordinal()
    instant = plan.zone.instant
    slots = []
    for index, slot in enumerate(plan.slots):
        start, end = instant(begin + slot.start), instant(begin + slot.end)
        due = start if slot.due is None else instant(begin + slot.due)
        slots.append(SlotWork(slot, index, None, day_index, number, due, due, start, end))
    return slots


def _bounds(slots: list[SlotWork], rules: Rules) -> tuple[SlotWork | None, SlotWork | None]:
    """Return the slots with the plan's first and last due time, without present ones where there are others."""
    if not slots:
        return None, None
    known = rules.slots
    others = [slot for slot in slots if (rule := known.get(slot.slot.kind)) is None or rule.measure != "present"]
    counted = others or slots
    return min(counted, key=_plan_due), max(counted, key=_plan_due)


def _plan_due(slot: SlotWork) -> int:
    return slot.plan_due


def _work_date(zone: Zone, rules: Rules, first: int, last: int) -> date:
    if rules.work_date == "start":
        return date_of(zone.local(first))
    if rules.work_date == "end":
        return date_of(zone.local(last))
    begin = zone.local(first) // DAY_S * DAY_S
    best, most = date_of(begin), -1
    since = first
    for _ in range(LONGEST_DAYS):
        begin += DAY_S
        until = min(zone.instant(begin), last)
        if until - since > most:
            best, most = date_of(begin - DAY_S), until - since
        since = until
        if since >= last:
            break
    return best


def punch_times(day: DayWork, punches: tuple[Punch, ...]) -> list[int]:
    """Return each punch's instant; with the zone of the terminal its own digits are read in the plan's zone."""
    if not day.rules.zone_of_terminal:
        return [punch.instant for punch in punches]
    instant = day.plan.zone.instant
    return [instant(punch.local) for punch in punches]


def printed(zone: Zone, instant: int) -> str:
    """Return an instant on a zone's wall clock, for a reason."""
    return print_local(zone.local(instant))
