"""Step 3, claim: each punch goes to at most one slot, whatever the order in which punches arrived. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from central.timesheet.model import NEVER_CLAIMED, Punch
from central.timesheet.plan import DayWork, SlotWork, punch_times

_RANK = {"late": 0, "present": 1, "early": 2}


class Claims(NamedTuple):
    """What became of each punch, by its index in order of time."""

    owner: list[SlotWork | None]
    repeat: list[bool]
    unplaced: list[bool]


def punch_order(punch: Punch) -> tuple[object, ...]:
    """Return the total order of punches: instant, terminal, sequence; then whatever tells two apart."""
    return (
        punch.instant,
        punch.terminal,
        -1 if punch.sequence is None else punch.sequence,
        punch.local,
        punch.states,
        punch.suspect,
        punch.offset_ms or 0,
        punch.id or "",
        punch.stream or "",
        punch.between or (),
        f"{punch.paper is not None:d}{punch.paper or ''}",
    )


def sort_punches(days: list[DayWork], punches: tuple[Punch, ...]) -> tuple[Punch, ...]:
    """Return the punches in the order in which they claim, and give each day its reading of their instants."""
    ordered = tuple(sorted(punches, key=punch_order)) if len(punches) > 1 else punches
    if days and all(day.rules.zone_of_terminal for day in days):
        reading = days[0].plan.zone.instant
        ordered = tuple(sorted(ordered, key=lambda punch: (reading(punch.local), *punch_order(punch)[1:])))
    printed = None
    for day in days:
        if day.rules.zone_of_terminal or printed is None:
            times = punch_times(day, ordered)
            printed = printed if day.rules.zone_of_terminal else times
        else:
            times = printed
        day.times = times
        day.near = _near(day)
    return ordered


def _near(day: DayWork) -> Sequence[int]:
    if not day.slots or day.rules.zone_of_terminal:
        return range(len(day.times))
    first = min([slot.start for slot in day.slots])
    last = max([slot.end for slot in day.slots])
    return range(bisect_left(day.times, first), bisect_right(day.times, last))


def claim(days: list[DayWork], punches: tuple[Punch, ...]) -> Claims:
    """Give each punch to the slot that it fits best."""
    count = len(punches)
    claims = Claims([None] * count, [False] * count, [False] * count)
    candidates: list[list[SlotWork]] = [[] for _ in punches]
    slots = [slot for day in days for slot in day.slots if slot.rule is not None and slot.start <= slot.end]
    for slot in slots:
        day = days[slot.day_index]
        start, end, times = slot.start, slot.end, day.times
        for index in day.near:
            if start <= times[index] <= end:
                candidates[index].append(slot)
    last = -1  # the last punch that was no repeat
    owner: SlotWork | None = None
    for index, punch in enumerate(punches):
        if punch.suspect and not NEVER_CLAIMED.isdisjoint(punch.suspect):
            claims.unplaced[index] = True
            continue
        if owner is not None and _is_repeat(days[owner.day_index], owner, punches, last, index):
            claims.repeat[index] = True
        else:
            last, owner = index, _preferred(days, candidates[index], punch, index)
        if owner is not None:
            claims.owner[index] = owner
            owner.claimed.append(index)
    for slot in slots:
        slot.pool = slot.claimed
    for day in days:
        if day.rules.shared_seam:
            _share_seam(days, day, slots)
    _count_as(days)
    return claims


def _is_repeat(day: DayWork, owner: SlotWork, punches: tuple[Punch, ...], last: int, index: int) -> bool:
    at = day.times[index]
    if at - day.times[last] > day.rules.repeat_s or not owner.start <= at <= owner.end:
        return False
    if any(slot.rule is not None and slot.rule.states is not None for slot in day.slots):
        before, now = punches[last].states, punches[index].states
        return before == now or not set(before).isdisjoint(now)
    return True


def _preferred(days: list[DayWork], holding: list[SlotWork], punch: Punch, index: int) -> SlotWork | None:
    """Return the slot to which a punch goes, among those whose windows hold it."""
    best: SlotWork | None = None
    best_key: tuple[bool, bool, bool, int, int, int, int] | None = None
    for slot in holding:
        rule = slot.rule
        if rule is None:
            continue
        named = rule.states is not None and not rule.states.isdisjoint(punch.states)
        if rule.states is not None and not named and rule.pick != "state":
            continue
        key = (
            not slot.demanded,
            not named,
            bool(slot.claimed),
            abs(days[slot.day_index].times[index] - slot.due),
            _RANK[rule.measure],
            slot.day_index,
            slot.index,
        )
        if best_key is None or key < best_key:
            best, best_key = slot, key
    return best


def _share_seam(days: list[DayWork], day: DayWork, slots: list[SlotWork]) -> None:
    """Give an empty slot what its window holds of the slot that is due at the same instant on the other side."""
    for slot in day.slots:
        if slot.claimed or slot.measure not in ("late", "early"):
            continue
        other_side = "early" if slot.measure == "late" else "late"
        shared = {
            index
            for other in slots
            if other.measure == other_side and other.due == slot.due
            for index in other.claimed
            if slot.start <= days[slot.day_index].times[index] <= slot.end
        }
        if shared:
            slot.pool = sorted(shared)


def _count_as(days: list[DayWork]) -> None:
    """Give slots what slots of another kind claimed, where the policy lets those count as these."""
    for day in days:
        for source in day.slots:
            if source.rule is None or source.rule.counts_as is None or not source.claimed:
                continue
            for slot in day.slots:
                if slot.slot.kind == source.rule.counts_as and slot.rule is not None and slot is not source:
                    held = {index for index in source.claimed if slot.start <= day.times[index] <= slot.end}
                    slot.pool = sorted(held.union(slot.pool))
