"""What a person's date is, as pages count it. Pure.

A *mark* is one fact about the date. Final marks agree with :func:`central.reports.days.states`; beside them a date that
is still open or provisional has what can be seen so far, named as unsettled: it may change, and cuts nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PRESENT = "present"
"""A punch is recorded and counts for a slot."""
ON_TIME = "on_time"
"""The first demanded slot has a punch and is not late."""
EMPTY = "empty"
"""A punch is demanded, none is recorded, and the person is not finally absent."""
COMPLETE, LATE, EARLY, MISSING, ABSENT = "complete", "late", "early", "missing", "absent"
EXCUSED, NO_DUTY = "excused", "no_duty"
OPEN, PROVISIONAL, NONE = "open", "provisional", "none"


class Doubted(NamedTuple):
    """What keeps a verdict provisional, and at which terminal."""

    what: str
    terminal: str | None


class Standing(NamedTuple):
    """What a verdict comes to."""

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


def not_judged(why: str | None) -> Standing:
    """Return the standing of a date without a verdict; ``why`` None where it is still to be judged."""
    return Standing("none", frozenset({NONE}), frozenset(), why=why)


def standing_of(day: Mapping[str, Any]) -> Standing:
    """Return what a stored verdict, as JSON, comes to."""
    if "slots" not in day:
        return not_judged(day.get("why"))
    demanded = [slot for slot in day["slots"] if slot["demanded"]]
    expected = [slot for slot in demanded if slot["excused"] is None]
    marks, unsettled = set[str](), set[str]()
    if day["status"] != "final":
        marks.add(day["status"])
    if any(slot["punch"] is not None for slot in day["slots"]):
        marks.add(PRESENT)
    if day["absent"]:
        marks.add(ABSENT)
    elif not demanded:
        marks.add(EXCUSED if day["excused"] else NO_DUTY)
    else:
        _mark_slots(demanded, expected, marks, unsettled)
        if not marks - {PRESENT, ON_TIME} and day["status"] == "final":
            marks.add(COMPLETE)
    first = min(expected, key=lambda slot: slot["due"], default=None)
    late = [slot for slot in day["slots"] if slot["measure"] == "late" and slot["punch"] is not None]
    early = [slot for slot in day["slots"] if slot["measure"] == "early" and slot["punch"] is not None]
    final = [slot for slot in demanded if slot["status"] == "final"]
    named = [day["class_"]] if day["class_"] else [slot["class_"] for slot in final if slot["class_"]]
    return Standing(
        status=day["status"],
        marks=frozenset(marks),
        unsettled=frozenset(unsettled),
        kind=day["kind"],
        arrived=late[0]["punch"]["local"] if late else None,
        left=early[-1]["punch"]["local"] if early else None,
        due=first["due"] if first else None,
        due_local=first["due_local"] if first else None,
        late_min=sum(slot["minutes"] or 0 for slot in expected if slot["measure"] == "late"),
        early_min=sum(
            slot["minutes"] or 0 for slot in expected if slot["measure"] == "early" and slot["status"] != OPEN
        ),
        excused=_leave(day, demanded),
        classes=tuple(named),
        cut=day["cut"],
        cut_rp=day["cut_rp"],
        doubts=_doubts(day),
    )


def _mark_slots(
    demanded: list[Mapping[str, Any]], expected: list[Mapping[str, Any]], marks: set[str], unsettled: set[str]
) -> None:
    """Add what the demanded slots are; what an end that is still open lacks is no mark."""
    if len(expected) < len(demanded):
        marks.add(EXCUSED)
    if expected and all(slot["punch"] is None for slot in expected):
        marks.add(EMPTY)
    first = min(expected, key=lambda slot: slot["due"], default=None)
    if first is not None and first["punch"] is not None and not (first["measure"] == "late" and first["minutes"]):
        marks.add(ON_TIME)
    for slot in expected:
        for name in _exceptions(slot, empty=EMPTY in marks):
            if slot["status"] == "final":
                unsettled.discard(name)
            elif name not in marks:
                unsettled.add(name)
            marks.add(name)


def _exceptions(slot: Mapping[str, Any], *, empty: bool) -> Iterator[str]:
    """Yield what a slot is; where it is not final, minutes that a missing punch stands for do not count."""
    final = slot["status"] == "final"
    if slot["missing"] and (final or not empty):
        yield MISSING
    if slot["minutes"] and (final or not slot["missing"]):
        if slot["measure"] == "late":
            yield LATE
        elif slot["measure"] == "early" and slot["status"] != OPEN:
            yield EARLY


def _leave(day: Mapping[str, Any], demanded: list[Mapping[str, Any]]) -> tuple[str, ...]:
    kinds = [kind for kind, _ in day["excused"]] + [slot["excused"] for slot in demanded if slot["excused"]]
    return tuple(dict.fromkeys(kinds))


def _doubts(day: Mapping[str, Any]) -> tuple[Doubted, ...]:
    named = (reason for reason in day["reasons"] if reason["step"] == "doubt")
    return tuple(dict.fromkeys(Doubted(reason["what"], reason.get("terminal")) for reason in named))
