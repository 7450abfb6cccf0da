"""What a verdict comes to: its *standing* as pages and grids show it, and its *counts* as totals count it. Pure.

Both follow from the verdict's content alone, and only here: what is stored beside a verdict is what this module made of
it, see :mod:`central.store.outcomes`.

A *mark* is one fact about the date. Final marks agree with :func:`central.reports.days.states`; beside them a date that
is still open or provisional has what can be seen so far, named as unsettled: it may change, and cuts nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date as calendar_date
from operator import attrgetter
from typing import Any, NamedTuple

from central.timesheet.model import DayResult, SlotResult
from central.timesheet.stored import content_of

PRESENT = "present"
"""A punch is recorded and counts for a slot."""
ON_TIME = "on_time"
"""The first demanded slot has a punch and is not late."""
EMPTY = "empty"
"""A punch is demanded, none is recorded, and the person is not finally absent."""
COMPLETE, LATE, EARLY, MISSING, ABSENT = "complete", "late", "early", "missing", "absent"
EXCUSED, NO_DUTY = "excused", "no_duty"
OPEN, PROVISIONAL, NONE = "open", "provisional", "none"
Slot = Mapping[str, Any]
"""A slot of a verdict, as JSON."""


class Doubted(NamedTuple):
    """What keeps a verdict provisional, and at which terminal."""

    what: str
    terminal: str | None


class Standing(NamedTuple):
    """What a verdict comes to for people."""

    status: str
    """``open``, ``provisional``, ``final``; ``none`` where the date is not judged."""
    marks: frozenset[str]
    unsettled: frozenset[str]
    """Those marks that may still change."""
    kind: str | None = None
    """``workday``, ``off`` or ``holiday``."""
    why: str | None = None
    """Why the date is not judged."""
    arrived: int | None = None
    """Wall clock of the punch that counts as the arrival, in seconds since 1970-01-01 of that clock."""
    left: int | None = None
    """Wall clock of the punch that counts as leaving."""
    due: int | None = None
    """The instant of the first demanded due time."""
    due_local: int | None = None
    """The same on the wall clock of the plan."""
    late_min: int = 0
    early_min: int = 0
    """Minutes late and early, also those that may still change."""
    excused: tuple[str, ...] = ()
    """Kinds of leave."""
    classes: tuple[str, ...] = ()
    """Classes of the policy that are final, the day's or those of its slots."""
    cut: int = 0
    """Thousandths of a percent."""
    cut_rp: int = 0
    doubts: tuple[Doubted, ...] = ()


class Counts(NamedTuple):
    """What totals and discipline count of a verdict: only what is final."""

    date: calendar_date
    work_date: calendar_date
    kind: str
    status: str
    absent: bool
    shifts: int
    planned_min: int
    late_min: int
    early_min: int
    missing: int
    """Demanded slots without a punch."""
    excused_min: int
    """Minutes late and early that leave excuses."""
    cut: int
    """Thousandths of a percent."""
    cut_rp: int
    excused: tuple[tuple[str, int], ...] = ()
    """Kinds of leave with their shares of the day in thousandths."""
    events: tuple[tuple[int, str], ...] = ()
    """What counters may count: the due instant of a slot, with ``missing``, ``late``, ``early`` or ``flexi``."""


class Outcome(NamedTuple):
    """What is stored beside a verdict."""

    standing: Standing
    counts: Counts | None
    """None where the date is not judged."""


def outcome_of(content: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a stored verdict, as JSON; of one that says why the date is not judged too."""
    return Outcome(standing_of(content), counts_of(content) if "slots" in content else None)


class Outcomes:
    """Outcomes of verdicts; what verdicts come to that differ only in the times of their punches is found once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Outcome] = {}

    def of(self, day: DayResult, content: Mapping[str, Any]) -> Outcome:
        """Return what :func:`outcome_of` does; ``content`` is the verdict as JSON."""
        alike = _alike(day)
        found = self._known.get(alike)
        if found is None:
            found = self._known[alike] = outcome_of(content)
            return found
        arrived, left = _ends(day.slots)
        return Outcome(found.standing._replace(arrived=arrived, left=left), found.counts)


def _alike(day: DayResult) -> tuple[Any, ...]:
    """Return all of a verdict that its outcome depends on, but for the times of its punches."""
    doubts = [(reason["what"], reason.get("terminal")) for reason in day.reasons if reason["step"] == "doubt"]
    return (
        _of_day(day),
        tuple([(_of_slot(slot), slot.punch is None) for slot in day.slots]),
        tuple(doubts),
    )


_of_day = attrgetter(
    *("date", "work_date", "kind", "status", "shifts", "absent", "class_", "cut", "cut_rp", "planned_min", "excused")
)
_of_slot = attrgetter(
    *("measure", "status", "demanded", "due", "due_local", "minutes", "missing", "class_", "excused", "excused_min"),
    "flexi_arrival",
)


def _ends(slots: Iterable[SlotResult]) -> tuple[int | None, int | None]:
    """Return the wall clocks of the arrival and of leaving, as :func:`standing_of` finds them."""
    arrived = left = None
    for slot in slots:
        if slot.punch is None:
            continue
        if slot.measure == "late" and arrived is None:
            arrived = slot.punch.local
        elif slot.measure == "early":
            left = slot.punch.local
    return arrived, left


def counts_of_days(days: Iterable[DayResult]) -> list[Counts]:
    """Return what totals and discipline count of verdicts."""
    return [counts_of(content_of(day)) for day in days]


def not_judged(why: str | None) -> Standing:
    """Return the standing of a date without a verdict; ``why`` None where it is still to be judged."""
    return Standing("none", frozenset({NONE}), frozenset(), why=why)


def standing_of(day: Mapping[str, Any]) -> Standing:
    """Return what a stored verdict, as JSON, comes to for people."""
    if "slots" not in day:
        return not_judged(day.get("why"))
    slots: Sequence[Slot] = day["slots"]
    demanded = [slot for slot in slots if slot["demanded"]]
    expected = [slot for slot in demanded if slot["excused"] is None]
    first = min(expected, key=lambda slot: slot["due"], default=None)
    marks, unsettled = set[str](), set[str]()
    if day["status"] != "final":
        marks.add(day["status"])
    if any(slot["punch"] is not None for slot in slots):
        marks.add(PRESENT)
    if day["absent"]:
        marks.add(ABSENT)
    elif not demanded:
        marks.add(EXCUSED if day["excused"] else NO_DUTY)
    else:
        _mark_slots(demanded, expected, first, marks, unsettled)
        if not marks - {PRESENT, ON_TIME} and day["status"] == "final":
            marks.add(COMPLETE)
    late = [slot for slot in slots if slot["measure"] == "late" and slot["punch"] is not None]
    early = [slot for slot in slots if slot["measure"] == "early" and slot["punch"] is not None]
    named = [day["class_"]] if day["class_"] else [one["class_"] for one in demanded if one["class_"] and _final(one)]
    return Standing(
        status=day["status"],
        marks=frozenset(marks),
        unsettled=frozenset(unsettled),
        kind=day["kind"],
        arrived=late[0]["punch"]["local"] if late else None,
        left=early[-1]["punch"]["local"] if early else None,
        due=first["due"] if first else None,
        due_local=first["due_local"] if first else None,
        late_min=sum([slot["minutes"] or 0 for slot in expected if slot["measure"] == "late"]),
        early_min=sum(
            [slot["minutes"] or 0 for slot in expected if slot["measure"] == "early" and slot["status"] != OPEN]
        ),
        excused=_leave(day, demanded),
        classes=tuple(named),
        cut=day["cut"],
        cut_rp=day["cut_rp"],
        doubts=_doubts(day),
    )


def _final(slot: Slot) -> bool:
    found: bool = slot["status"] == "final"
    return found


def _mark_slots(
    demanded: Sequence[Slot], expected: Sequence[Slot], first: Slot | None, marks: set[str], unsettled: set[str]
) -> None:
    """Add what the demanded slots are; what an end that is still open lacks is no mark."""
    if len(expected) < len(demanded):
        marks.add(EXCUSED)
    if expected and all(slot["punch"] is None for slot in expected):
        marks.add(EMPTY)
    if first is not None and first["punch"] is not None and not (first["measure"] == "late" and first["minutes"]):
        marks.add(ON_TIME)
    for slot in expected:
        for name in _exceptions(slot, empty=EMPTY in marks):
            if slot["status"] == "final":
                unsettled.discard(name)
            elif name not in marks:
                unsettled.add(name)
            marks.add(name)


def _exceptions(slot: Slot, *, empty: bool) -> Iterator[str]:
    """Yield what a slot is; where it is not final, minutes that a missing punch stands for do not count."""
    final = slot["status"] == "final"
    if slot["missing"] and (final or not empty):
        yield MISSING
    if slot["minutes"] and (final or not slot["missing"]):
        if slot["measure"] == "late":
            yield LATE
        elif slot["measure"] == "early" and slot["status"] != OPEN:
            yield EARLY


def _leave(day: Mapping[str, Any], demanded: Sequence[Slot]) -> tuple[str, ...]:
    kinds = [kind for kind, _ in day["excused"]] + [slot["excused"] for slot in demanded if slot["excused"]]
    return tuple(dict.fromkeys(kinds))


def _doubts(day: Mapping[str, Any]) -> tuple[Doubted, ...]:
    named = [reason for reason in day["reasons"] if reason["step"] == "doubt"]
    return tuple(dict.fromkeys([Doubted(reason["what"], reason.get("terminal")) for reason in named]))


def counts_of(day: Mapping[str, Any]) -> Counts:
    """Return what totals and discipline count of a stored verdict, as JSON."""
    minutes = {"late": 0, "early": 0}
    missing = excused_min = 0
    events: list[tuple[int, str]] = []
    for slot in day["slots"]:
        if not _final(slot):
            continue
        excused_min += slot["excused_min"]
        if not slot["demanded"]:
            continue
        measure = slot["measure"]
        if slot["minutes"] and measure in minutes:
            minutes[measure] += slot["minutes"]
        missing += slot["missing"] is True
        event = "missing" if slot["missing"] else measure if slot["minutes"] else None
        if event is None and slot["flexi_arrival"]:
            event = "flexi"
        if event is not None:
            events.append((slot["due"], event))
    return Counts(
        calendar_date.fromisoformat(day["date"]),
        calendar_date.fromisoformat(day["work_date"]),
        day["kind"],
        day["status"],
        day["absent"],
        day["shifts"],
        day["planned_min"],
        minutes["late"],
        minutes["early"],
        missing,
        excused_min,
        day["cut"],
        day["cut_rp"],
        tuple([(kind, share) for kind, share in day["excused"]]),
        tuple(events),
    )
