"""Step 2, due: what leave, the calendar and the policy's ``starts`` leave of a plan. Pure.

An interval of leave moves the due times inside it; a slot that it takes away altogether is not demanded.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from central.timesheet.model import LeaveDay, LeaveInterval
from central.timesheet.plan import DayWork, SlotWork, printed


@dataclass(slots=True)
class Absence:
    """Leave intervals that touch or overlap, as one."""

    start: int
    end: int
    parts: list[LeaveInterval] = field(default_factory=list)

    def kinds(self) -> list[str]:
        """Return the kinds of leave in it, each once."""
        return sorted({part.kind for part in self.parts})


def join_intervals(leave: Iterable[LeaveInterval | LeaveDay]) -> list[Absence]:
    """Join the intervals that touch or overlap; one that ends before it begins is none."""
    joined: list[Absence] = []
    for part in sorted((item for item in leave if isinstance(item, LeaveInterval)), key=_interval_order):
        if part.end < part.start:
            continue
        if joined and part.start <= joined[-1].end:
            joined[-1].end = max(joined[-1].end, part.end)
        else:
            joined.append(Absence(part.start, part.end))
        joined[-1].parts.append(part)
    return joined


def _interval_order(part: LeaveInterval) -> tuple[int, int, str, str]:
    return part.start, part.end, part.kind, f"{part.paper is not None:d}{part.paper or ''}"


def apply_leave(day: DayWork, absences: list[Absence], whole: list[LeaveDay], single: list[LeaveDay]) -> None:
    """Decide which slots of a day are demanded, and move the due times that leave covers."""
    workday = day.plan.kind == "workday"
    for slot in day.slots:
        slot.required = slot.demanded = workday and _is_required(day, slot)
    used = _apply_intervals(day, absences) if absences else []
    if whole:
        for slot in day.slots:
            slot.emptied = slot.emptied or slot.required
        kinds = [leave.kind for leave in whole]
        day.reasons.append({"step": "due", "what": "leave", "leave": kinds, "paper": [leave.paper for leave in whole]})
    for slot in day.slots:
        slot.demanded = slot.required and not slot.emptied
    for leave in reversed(single):
        for slot in day.slots:
            if slot.slot.name == leave.slot:
                slot.excused = leave.kind
    _share(day, used, whole)
    _explain(day)
    if used or whole or single:
        _explain_unknown(day, used, whole, single)


def _is_required(day: DayWork, slot: SlotWork) -> bool:
    if slot.rule is None:
        return False
    starts = slot.rule.starts
    return starts is None or starts[0] <= day.first_due_s <= starts[1]


def _apply_intervals(day: DayWork, absences: list[Absence]) -> list[Absence]:
    """Move and empty slots; return the absences that did."""
    stretches = _stretches(day.slots)
    used = []
    for slot in day.slots:
        absence = _covering(slot, absences)
        if absence is None:
            continue
        if slot.measure == "present":
            slot.emptied = slot.required
            if not slot.required:
                continue
        else:
            first, last = stretches[slot.index]
            if slot.measure == "late":
                reaches, slot.due = absence.end >= last, absence.end
                slot.end += slot.due - slot.plan_due
            else:
                reaches, slot.due = absence.start <= first, absence.start
                slot.start -= slot.plan_due - slot.due
            slot.moved = True
            slot.emptied = slot.required and reaches
        what = "emptied" if slot.emptied else "moved"
        day.reasons.append(
            {
                "step": "due",
                "what": what,
                "slot": slot.slot.name,
                "from": printed(day.plan.zone, slot.plan_due),
                "to": printed(day.plan.zone, slot.due),
                "leave": absence.kinds(),
                "paper": [part.paper for part in absence.parts],
            }
        )
        if absence not in used:
            used.append(absence)
    return used


def _covering(slot: SlotWork, absences: list[Absence]) -> Absence | None:
    due = slot.plan_due
    for absence in absences:
        if slot.measure == "late" and absence.start <= due < absence.end:
            return absence
        if slot.measure == "early" and absence.start < due <= absence.end:
            return absence
        if slot.measure == "present" and absence.start <= due <= absence.end:
            return absence
    return None


def _stretches(slots: list[SlotWork]) -> dict[int, tuple[int, int]]:
    """Return for each late and early slot the first and last due time of its stretch.

    A stretch is late slots and the early ones after them, by due time; at equal times early before late.
    """
    ordered = sorted(
        (slot for slot in slots if slot.measure in ("late", "early")),
        key=lambda slot: (slot.plan_due, slot.measure == "late", slot.index),
    )
    stretches: list[list[SlotWork]] = []
    for slot in ordered:
        if not stretches or (slot.measure == "late" and stretches[-1][-1].measure == "early"):
            stretches.append([])
        stretches[-1].append(slot)
    return {slot.index: (stretch[0].plan_due, stretch[-1].plan_due) for stretch in stretches for slot in stretch}


def _share(day: DayWork, used: list[Absence], whole: list[LeaveDay]) -> None:
    """Share a day that leave has emptied equally among the kinds of leave that moved or emptied a slot."""
    required = [slot for slot in day.slots if slot.required]
    if not required or not all(slot.emptied for slot in required):
        return
    kinds = sorted({kind for absence in used for kind in absence.kinds()} | {leave.kind for leave in whole})
    day.excused = {kind: 1000 // len(kinds) for kind in kinds}
    day.reasons.append({"step": "due", "what": "excused", "leave": kinds})


def _explain_unknown(day: DayWork, used: list[Absence], whole: list[LeaveDay], single: list[LeaveDay]) -> None:
    """Name leave that excuses although the policy does not know its kind, and leave of a slot that the day lacks."""
    names = {slot.slot.name for slot in day.slots}
    kinds = {kind for absence in used for kind in absence.kinds()}
    if any(slot.required for slot in day.slots):
        kinds |= {leave.kind for leave in whole}
    kinds |= {leave.kind for leave in single if leave.slot in names}
    unknown = sorted(kinds - day.rules.leave.keys())
    if unknown:
        day.unknown["unknown_leave"] = None
        day.reasons.append({"step": "due", "what": "unknown_leave", "leave": unknown})
    for leave in single:
        if leave.slot not in names:
            day.unknown["unknown_slot"] = None
            reason = {"step": "due", "what": "unknown_slot", "slot": leave.slot, "leave": leave.kind}
            day.reasons.append({**reason, "paper": leave.paper})


def _explain(day: DayWork) -> None:
    if day.plan.kind != "workday":
        day.reasons.append({"step": "due", "what": day.plan.kind})
        return
    for slot in day.slots:
        if not slot.required:
            reason = {"step": "due", "what": "unknown_kind" if slot.rule is None else "not_required"}
            day.reasons.append({**reason, "slot": slot.slot.name, "kind": slot.slot.kind})
        elif slot.excused is not None:
            day.reasons.append({"step": "due", "what": "slot_excused", "slot": slot.slot.name, "leave": slot.excused})
