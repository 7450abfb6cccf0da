"""Steps 4 and 5, pick and measure: which claimed punch counts, and by how many minutes it is late or early. Pure."""

from central.timesheet.model import Punch
from central.timesheet.plan import DayWork, SlotWork
from central.timesheet.rules import Flexi, SlotRule, ref_json


def pick_and_measure(day: DayWork, punches: tuple[Punch, ...]) -> None:
    """Pick and measure every slot of a day; the arrival first, as under flexi the end moves with it."""
    arrival, leaving, flexi = day.arrival, day.leaving, day.rules.flexi
    if flexi is not None and arrival is not None and leaving is not None:
        day.flexi = not (
            arrival.moved or arrival.emptied or leaving.moved or leaving.emptied or arrival.excused is not None
        )
        if day.flexi:
            arrival.range_s, arrival.fixed = flexi.range_s, flexi.mode == "fixed"
            _pick(day, arrival, punches)
            _move_end(day, arrival, leaving, flexi, punches)
    for slot in day.slots:
        if slot.rule is not None and slot.pool and slot.picked is None:
            _pick(day, slot, punches)


def _pick(day: DayWork, slot: SlotWork, punches: tuple[Punch, ...]) -> None:
    rule = slot.rule
    if rule is None or not slot.pool:
        return
    candidates = keyed(slot, rule, punches)
    last = rule.pick == "last" or (rule.pick in ("best", "state") and rule.measure == "early")
    if rule.pick == "best" and len(candidates) > 1:
        measured = [minutes(day, slot, day.times[index]) for index in candidates]
        fewest = min(measured)
        candidates = [index for index, value in zip(candidates, measured, strict=True) if value == fewest]
    slot.picked = candidates[-1 if last else 0]
    slot.measured = minutes(day, slot, day.times[slot.picked])
    corrected = trusted_time(day, punches, slot.picked)
    if corrected is not None:
        slot.measured = min(slot.measured, minutes(day, slot, corrected))
    if slot.due_corrected is not None:
        for at in (day.times[slot.picked], corrected):
            if at is not None:
                slot.measured = min(slot.measured, minutes(day, slot, at, slot.due_corrected))


def keyed(slot: SlotWork, rule: SlotRule, punches: tuple[Punch, ...]) -> list[int]:
    """Return the punches among which a slot picks: with ``state`` those whose key counts, where there are any."""
    if rule.pick != "state" or rule.states is None:
        return slot.pool
    states = rule.states
    return [index for index in slot.pool if not states.isdisjoint(punches[index].states)] or slot.pool


def minutes(day: DayWork, slot: SlotWork, at: int, due: int | None = None) -> int:
    """Return by how many minutes a punch at an instant is late or early for a slot; 0 for a present slot.

    Seconds, less flexi's range, less an offset grace; rounded; then a threshold grace.
    """
    rule = slot.rule
    if rule is None or rule.measure == "present":
        return 0
    due = slot.due if due is None else due
    seconds = at - due if rule.measure == "late" else due - at
    if seconds <= 0:
        return 0
    if slot.fixed:
        seconds = 0 if seconds <= slot.range_s else seconds
    else:
        seconds -= slot.range_s
    grace = rule.grace
    if grace.kind == "offset":
        seconds -= grace.seconds
    if seconds <= 0:
        return 0
    whole = -(-seconds // 60) if day.rules.ceil else seconds // 60
    if grace.kind == "threshold":
        exceeds = seconds > grace.seconds if grace.exact else whole * 60 > grace.seconds
        return whole if exceeds else 0
    return whole


def end_shift(flexi: Flexi, due: int, at: int | None) -> int:
    """Return by how many seconds the end moves with an arrival; 0 without one."""
    if at is None:
        return 0
    if flexi.mode == "shift":
        return min(max(at, due - flexi.range_s), due + flexi.range_s) - due
    if flexi.mode == "repay":
        return min(max(at, due), due + flexi.range_s) - due
    return flexi.repay_s if due < at <= due + flexi.range_s else 0


def least_shift(flexi: Flexi) -> int:
    """Return the smallest move of the end that any arrival brings."""
    return -flexi.range_s if flexi.mode == "shift" else 0


def corrected_time(punch: Punch, at: int) -> int | None:
    """Return the true time of a punch whose clock's offset is known; fractions of a second are dropped."""
    return None if punch.offset_ms is None else (at * 1000 - punch.offset_ms) // 1000


def trusted_time(day: DayWork, punches: tuple[Punch, ...], index: int) -> int | None:
    """Return the corrected time of a drifting punch, where the policy trusts the measured offset."""
    punch = punches[index]
    if not day.rules.trust_offset or "drift" not in punch.suspect:
        return None
    return corrected_time(punch, day.times[index])


def _move_end(day: DayWork, arrival: SlotWork, leaving: SlotWork, flexi: Flexi, punches: tuple[Punch, ...]) -> None:
    if arrival.picked is None:
        return
    at = day.times[arrival.picked]
    corrected = trusted_time(day, punches, arrival.picked)
    due = leaving.due
    leaving.due = due + end_shift(flexi, arrival.due, at)
    if corrected is not None:
        leaving.due_corrected = due + end_shift(flexi, arrival.due, corrected)
    best = at if corrected is None else min(at, corrected)
    arrival.flexi_arrival = arrival.due < best <= arrival.due + flexi.range_s
    if leaving.due != due:
        reason = {"step": "measure", "what": "end_moved", "slot": leaving.slot.name, "by_s": leaving.due - due}
        day.reasons.append({**reason, "policy": ref_json(flexi.ref)})
