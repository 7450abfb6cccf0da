"""The digest of a day's inputs: equal digests have equal verdicts, so that nothing needs to be written again. Pure.

It covers what touches the day's windows: plan, policy, leave, orders, doubts, and each punch with the slot that claimed
it; that slot may be a neighbour's, which is how the neighbours enter. The status enters as time does not. The doubts
are those of windows that have ended.
"""

import json
from hashlib import sha256
from typing import Any

from central.timesheet.doubt import DayDoubt
from central.timesheet.known import Known
from central.timesheet.model import ENGINE, Punch, Status
from central.timesheet.plan import DayWork

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
"""Canonical JSON: sorted keys and no white space."""


def inputs_digest(
    day: DayWork, known: Known, doubts: list[DayDoubt], standing: list[list[str]], statuses: list[Status]
) -> str:
    """Return the SHA-256 of all that the verdict on a day depends on.

    ``standing`` is what standing doubts keep provisional; ``statuses`` are the day's and its slots'.
    """
    slots, plan = day.slots, day.plan
    first, last = (min([slot.start for slot in slots]), max([slot.end for slot in slots])) if slots else (0, -1)
    touching = [part for found in known.absences if found.start <= last and found.end >= first for part in found.parts]
    content = [
        touching,
        [[item.kind, item.slot, item.paper] for item in known.leave_of.get(plan.date, ())],
        [order for order in known.orders if order.start <= last and order.end >= first],
        [_punch(day, known, index) for index in _touching(day, known)],
        [[*doubt[:5], None if doubt.punch is None else _key(known.punches[doubt.punch])] for doubt in doubts],
        statuses,
    ]
    if standing:
        content.append(standing)
    found = head_of(day) if day.head is None else day.head.copy()
    found.update(_encode(content)[1:].encode("utf-8", "surrogatepass"))
    return str(found.hexdigest())


def head_of(day: DayWork) -> Any:
    """Return the SHA-256 of what the digest begins with: the plan and the policy, without the person's facts."""
    plan = day.plan
    content = [
        ENGINE,
        plan.date.isoformat(),
        [plan.zone.name, plan.kind, plan.break_min, plan.shifts, plan.version, plan.personal, plan.slots],
        [[other.personal, other.version] for other in day.not_taken],
        day.rules.digest,
    ]
    return sha256(f"{_encode(content)[:-1]},".encode("utf-8", "surrogatepass"))


def _touching(day: DayWork, known: Known) -> list[int]:
    """Return the punches in a window of the day or printed with its date, in order of time."""
    times = day.times
    windows = [(slot.start, slot.end) for slot in day.slots]
    found = {index for index in known.printed_on(day) if not known.claims.unplaced[index]}
    for start, end in windows:
        found.update([index for index in day.near if start <= times[index] <= end])
    return sorted(found)


def _punch(day: DayWork, known: Known, index: int) -> list[Any]:
    owner = known.claims.owner[index]
    place = None if owner is None else [owner.day_number - day.plan.date.toordinal(), owner.index]
    return [*_key(known.punches[index]), known.claims.repeat[index], place]


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
        punch.paper,
    ]
