"""Step 7, doubt: which verdicts a punch that is not known here, or another clock, could still better. Pure.

A doubt never touches a good verdict: only missing, late and early become provisional.
"""

from typing import NamedTuple

from central.timesheet.measure import corrected_time, end_shift, keyed, least_shift, minutes, trusted_time
from central.timesheet.model import Punch, Span, Status
from central.timesheet.plan import DayWork, SlotWork, printed

FOREVER = 1 << 62
"""After every instant."""
UNSURE = frozenset({"step", "drift", "unverified", "unmeasured", "host_time"})
"""Suspects of a picked punch whose printed time may be wrong."""
STANDING = frozenset({"unread", "unenrolled"})
"""Doubts that stand for what is not known yet, and whose ends move as more is read: they enter reasons and digest only
by what they keep provisional, never by their times. So a watermark that advances brings no revision by itself."""


class DayDoubt(NamedTuple):
    """A doubt as one day sees it: ends included, with the punch that raises it, if one does."""

    start: int
    end: int
    why: str
    terminal: str | None
    detail: str | None
    punch: int | None


def suspects(day: DayWork, punch: Punch) -> set[str]:
    """Return the suspects of a punch that are doubts under a day's policy."""
    left = set(punch.suspect) - day.rules.accept
    if day.rules.trust_offset and punch.offset_ms is not None:
        left.discard("drift")
    return left


def gather(day: DayWork, span: Span, punches: tuple[Punch, ...], unpicked: list[int]) -> list[DayDoubt]:
    """Return the doubts that touch a window of the day, in order of time; ``unpicked``: suspect punches not picked."""
    found = [DayDoubt(*doubt, None) for doubt in span.doubts]
    if span.read_until is not None:
        found.append(DayDoubt(span.read_until + 1, FOREVER, "unread", None, None, None))
    for index in unpicked:
        punch = punches[index]
        if suspects(day, punch):
            found += _of_punch(day, punch, index)
    if not found:
        return found
    touching = [
        doubt
        for doubt in found
        if doubt.start <= doubt.end and any(doubt.start <= slot.end and doubt.end >= slot.start for slot in day.slots)
    ]
    return sorted(touching, key=_order)


def _order(doubt: DayDoubt) -> tuple[object, ...]:
    return doubt.start, doubt.end, doubt.why, doubt.terminal or "", doubt.detail or "", doubt.punch or 0


def _of_punch(day: DayWork, punch: Punch, index: int) -> list[DayDoubt]:
    found = []
    between = punch.between_local if day.rules.zone_of_terminal else punch.between
    if between is not None:
        start, end = map(day.plan.zone.instant, between) if day.rules.zone_of_terminal else between
        found.append(DayDoubt(start, end, "suspect", punch.terminal or None, None, index))
    corrected = corrected_time(punch, day.times[index])
    if corrected is not None:
        found.append(DayDoubt(corrected, corrected, "suspect", punch.terminal or None, None, index))
    return found


def settle(day: DayWork, slot: SlotWork, doubts: list[DayDoubt], punches: tuple[Punch, ...], now: int) -> Status:
    """Return the status of a slot and append the doubts that keep it provisional to the reasons."""
    if now <= slot.end:
        return "open"
    if not slot.demanded or slot.excused is not None or slot.rule is None:
        return "final"
    if slot.picked is None:
        why = [doubt for doubt in doubts if doubt.start <= slot.end and doubt.end >= slot.start]
        return _explained(day, slot, why, [])
    if not slot.measured:
        return "final"
    why = [doubt for doubt in doubts if _would_better(day, slot, doubt, punches)]
    clock = _clock_doubts(day, slot, punches)
    if day.flexi and slot is day.leaving and could_bring_end_forward(day, doubts, punches):
        clock.append("arrival")
    return _explained(day, slot, why, clock)


def _explained(day: DayWork, slot: SlotWork, why: list[DayDoubt], clock: list[str]) -> Status:
    if not why and not clock:
        return "final"
    zone = day.plan.zone
    for doubt in why:
        if doubt.why in STANDING:
            continue
        day.reasons.append(
            {
                "step": "doubt",
                "what": doubt.why,
                "slot": slot.slot.name,
                "from": printed(zone, doubt.start),
                "to": None if doubt.end >= FOREVER else printed(zone, doubt.end),
                "terminal": doubt.terminal,
                "detail": doubt.detail,
            }
        )
    standing = sorted({doubt.why for doubt in why} & STANDING)
    day.reasons.extend({"step": "doubt", "what": what, "slot": slot.slot.name} for what in standing)
    day.reasons.extend({"step": "doubt", "what": what, "slot": slot.slot.name} for what in clock)
    return "provisional"


def _clock_doubts(day: DayWork, slot: SlotWork, punches: tuple[Punch, ...]) -> list[str]:
    if slot.picked is None:
        return []
    punch = punches[slot.picked]
    found = sorted(UNSURE & suspects(day, punch)) if punch.suspect else []
    if has_variants(slot, punch):
        found.append("state_variants")
    return found


def has_variants(slot: SlotWork, punch: Punch) -> bool:
    """Return whether a punch has two states of which one counts for a slot and one does not."""
    if len(punch.states) < 2 or slot.rule is None or slot.rule.states is None:
        return False
    counting = [state in slot.rule.states for state in punch.states]
    return any(counting) and not all(counting)


def _would_better(day: DayWork, slot: SlotWork, doubt: DayDoubt, punches: tuple[Punch, ...]) -> bool:
    """Return whether a punch at the doubt's best instant would be picked and leave fewer minutes."""
    start, end = max(doubt.start, slot.start), min(doubt.end, slot.end)
    if start > end or slot.measured is None:
        return False
    best = end if slot.measure == "early" else start
    fewer = minutes(day, slot, best) < slot.measured
    return fewer and _would_be_picked(day, slot, best, punches)


def _would_be_picked(day: DayWork, slot: SlotWork, at: int, punches: tuple[Punch, ...]) -> bool:
    """Return whether a further punch at an instant, with a state that counts, would be the one that is picked."""
    rule = slot.rule
    if slot.picked is None or rule is None:
        return True
    early = rule.measure == "early"
    current = day.times[slot.picked]
    if rule.pick == "first":
        return at < current
    if rule.pick == "last":
        return at > current
    beyond = at > current if early else at < current
    if rule.pick == "best":
        mine, its = minutes(day, slot, at), minutes(day, slot, current)
        return mine < its or (mine == its and beyond)
    states = rule.states
    chosen = keyed(slot, rule, punches)
    without_key = states is not None and states.isdisjoint(punches[chosen[0]].states)
    return without_key or beyond


def standing_effects(day: DayWork, doubts: list[DayDoubt], punches: tuple[Punch, ...], now: int) -> list[list[str]]:
    """Return what the standing doubts of a settled day keep provisional: slots, each with why; and a flexi arrival."""
    if all(doubt.why not in STANDING for doubt in doubts):
        return []
    found = [
        [reason["slot"], reason["what"]]
        for reason in day.reasons
        if reason["step"] == "doubt" and reason["what"] in STANDING
    ]
    if day.flexi and day.arrival is not None and now > day.arrival.end:
        others = [doubt for doubt in doubts if doubt.why not in STANDING]
        if could_bring_end_forward(day, doubts, punches) and not could_bring_end_forward(day, others, punches):
            found.append([day.arrival.slot.name, "arrival"])
    return found


def could_bring_end_forward(day: DayWork, doubts: list[DayDoubt], punches: tuple[Punch, ...]) -> bool:
    """Return whether an unknown arrival, or another clock at the known one, would make the end earlier."""
    flexi, arrival = day.rules.flexi, day.arrival
    if not day.flexi or flexi is None or arrival is None:
        return False
    at = None if arrival.picked is None else day.times[arrival.picked]
    shift = end_shift(flexi, arrival.due, at)
    corrected = None if arrival.picked is None else trusted_time(day, punches, arrival.picked)
    if corrected is not None:
        shift = min(shift, end_shift(flexi, arrival.due, corrected))
    if arrival.picked is not None and UNSURE & suspects(day, punches[arrival.picked]) and shift > least_shift(flexi):
        return True
    for doubt in doubts:
        start, end = max(doubt.start, arrival.start), min(doubt.end, arrival.end)
        if start <= end and any(
            end_shift(flexi, arrival.due, moment) < shift and _would_be_picked(day, arrival, moment, punches)
            for moment in (start, end)
        ):
            return True
    return False
