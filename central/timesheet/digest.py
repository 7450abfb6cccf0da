"""The digest of a day's inputs: equal digests have equal verdicts, so that nothing needs to be written again. Pure.

It covers what touches the day's windows: plan, policy, leave, orders, doubts, and each punch with the slot that claimed
it; that slot may be a neighbour's, which is how the neighbours enter. The status enters as time does not.
"""

import json
from hashlib import sha256
from typing import Any

from central.timesheet.claim import Claims
from central.timesheet.clock import DAY_S, midnight
from central.timesheet.doubt import DayDoubt
from central.timesheet.due import Absence
from central.timesheet.model import ENGINE, DayResult, LeaveDay, Order, Punch
from central.timesheet.plan import DayWork


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no white space."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def inputs_digest(
    day: DayWork,
    result: DayResult,
    punches: tuple[Punch, ...],
    claims: Claims,
    absences: list[Absence],
    leave: list[LeaveDay],
    orders: tuple[Order, ...],
    doubts: list[DayDoubt],
) -> str:
    """Return the SHA-256 of all that the verdict on a day depends on."""
    starts = [slot.start for slot in day.slots]
    ends = [slot.end for slot in day.slots]
    first, last = (min(starts), max(ends)) if starts else (0, -1)
    plan = day.plan
    content = [
        ENGINE,
        plan.date.isoformat(),
        [plan.zone.name, plan.kind, plan.break_min, plan.shifts, plan.version, plan.personal, plan.slots],
        [[other.personal, other.version] for other in day.not_taken],
        day.rules.digest,
        [part for absence in absences if absence.start <= last and absence.end >= first for part in absence.parts],
        [[item.kind, item.slot, item.paper] for item in leave],
        sorted(order for order in orders if order.start <= last and order.end >= first),
        [_punch(day, punches, claims, index) for index in _touching(day, punches, claims)],
        [[*doubt[:5], None if doubt.punch is None else _key(punches[doubt.punch])] for doubt in doubts],
        [result.status, *(slot.status for slot in result.slots)],
    ]
    return sha256(canonical(content).encode("utf-8", "surrogatepass")).hexdigest()


def _touching(day: DayWork, punches: tuple[Punch, ...], claims: Claims) -> list[int]:
    """Return the punches in a window of the day or printed with its date, in order of time."""
    begin = midnight(day.plan.date)
    times, slots = day.times, day.slots
    return [
        index
        for index, punch in enumerate(punches)
        if any(slot.start <= times[index] <= slot.end for slot in slots)
        or (begin <= punch.local < begin + DAY_S and not claims.unplaced[index])
    ]


def _punch(day: DayWork, punches: tuple[Punch, ...], claims: Claims, index: int) -> list[Any]:
    owner = claims.owner[index]
    place = None if owner is None else [owner.day_number - day.plan.date.toordinal(), owner.index]
    return [*_key(punches[index]), claims.repeat[index], place]


def _key(punch: Punch) -> list[Any]:
    return [
        punch.id,
        punch.stream,
        punch.sequence,
        punch.terminal,
        punch.instant,
        punch.local,
        punch.states,
        punch.suspect,
        punch.offset_ms,
        punch.between,
        punch.clock,
    ]
