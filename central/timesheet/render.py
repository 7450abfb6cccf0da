"""Results as JSON holds them, in the words of case files: percentages as text, times as printed. Pure."""

from typing import Any

from central.timesheet.clock import print_local, print_time
from central.timesheet.discipline import Discipline
from central.timesheet.model import DayResult, Punch, SlotResult
from central.timesheet.totals import Totals


def percent(thousandths: int) -> str:
    """Return a decimal without trailing zeros: 500 is "0.5", 1000 is "1"."""
    whole, rest = divmod(thousandths, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)


def slot_json(slot: SlotResult) -> dict[str, Any]:
    """Return the verdict on a slot."""
    return {
        "status": slot.status,
        "demanded": slot.demanded,
        "punch": None if slot.punch is None else print_time(slot.punch.local),
        "punch_date": None if slot.punch is None else print_local(slot.punch.local)[:10],
        "punches": slot.punches,
        "due": print_time(slot.due_local),
        "late_min": slot.minutes if slot.measure == "late" else None,
        "early_min": slot.minutes if slot.measure == "early" else None,
        "missing": slot.missing,
        "class": slot.class_,
        "cut": percent(slot.cut),
        "cut_rp": slot.cut_rp,
        "excused": slot.excused,
        "excused_min": slot.excused_min,
    }


def day_json(day: DayResult) -> dict[str, Any]:
    """Return the verdict on a day with its reasons and digest."""
    return {
        "status": day.status,
        "kind": day.kind,
        "work_date": day.work_date.isoformat(),
        "absent": day.absent,
        "worked": day.worked,
        "class": day.class_,
        "cut": percent(day.cut),
        "cut_rp": day.cut_rp,
        "planned_min": day.planned_min,
        "present_min": day.present_min,
        "counted_min": day.counted_min,
        "before_min": day.before_min,
        "overtime_min": day.overtime_min,
        "slots": {slot.name: slot_json(slot) for slot in day.slots},
        "excused": {kind: percent(share) for kind, share in day.excused},
        "unclaimed": [print_time(local) for local in day.unclaimed],
        "repeats": [print_time(local) for local in day.repeats],
        "conditions": list(day.conditions),
        "reasons": list(day.reasons),
        "inputs": day.inputs,
    }


def punch_json(punch: Punch) -> str:
    """Return when a punch was printed, with its date."""
    return print_local(punch.local)


def total_json(total: Totals) -> dict[str, Any]:
    """Return the totals of a period with their reasons."""
    return {
        "days": total.days,
        "shifts": total.shifts,
        "absent_days": total.absent_days,
        "planned_min": total.planned_min,
        "late_min": total.late_min,
        "early_min": total.early_min,
        "missing": total.missing,
        "cut": percent(total.cut),
        "cut_rp": total.cut_rp,
        "excused": {kind: percent(days) for kind, days in total.excused},
        "counted": [day.isoformat() for day in total.counted],
        "open_days": total.open_days,
        "provisional_days": total.provisional_days,
        "presence": None if total.presence is None else percent(total.presence),
        "reasons": list(total.reasons),
    }


def discipline_json(found: Discipline) -> dict[str, Any]:
    """Return the discipline of a year with its reasons."""
    return {
        "days": found.days,
        "absent_days": found.absent_days,
        "minutes": found.minutes,
        "rest_min": found.rest_min,
        "longest_run": found.longest_run,
        "consecutive_on": None if found.consecutive_on is None else found.consecutive_on.isoformat(),
        "level": found.level,
        "reasons": list(found.reasons),
    }
