"""What the script means, what the centre states, and that a difference is found."""

from datetime import date, datetime
from typing import Any

import pytest

from gateway.demo.script import Part, Verdict, counts, differences, read_script, verdict_of

DAY = date(2026, 9, 2)
SLOT = {"status": "final", "demanded": True, "late_min": None, "early_min": None, "missing": None, "punch": None}
IN, OUT = (
    SLOT | {"late_min": 0, "missing": False, "punch": "1"},
    SLOT | {"early_min": 0, "missing": False, "punch": "2"},
)
MISSING = SLOT | {"missing": True}


def day_of(*slots: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what the centre states of a working day."""
    return {"status": "final", "kind": "workday", "excused": {}, "absent": False, "slots": list(slots), **more}


def test_a_script_says_who_punches_when_and_what_is_meant() -> None:
    """Times from 24:00 on are of the next date; what is left out is not done."""
    head = "person,date,terminal,in,out,verdict,late min,early min,why\n"
    night, absent = read_script(
        f"{head}p-1,2026-09-01,pos,21:08:05,31:04:50,late,8,,drift\np-2,2026-09-02,lobby,,,absent,,,\n"
    )

    assert night == Part(
        "p-1",
        date(2026, 9, 1),
        "pos",
        datetime(2026, 9, 1, 21, 8, 5),  # noqa: DTZ001 - a wall clock has no zone
        datetime(2026, 9, 2, 7, 4, 50),  # noqa: DTZ001 - as above
        Verdict("late", 8, 0, provisional=True),
        "drift",
    )
    assert (absent.arrives, absent.leaves, absent.meant, absent.why) == (None, None, Verdict("absent"), None)


@pytest.mark.parametrize(
    ("day", "verdict"),
    [
        (day_of(IN, OUT), Verdict("on_time")),
        (day_of(IN | {"late_min": 12}, OUT), Verdict("late", 12)),
        (day_of(IN | {"late_min": 12}, OUT | {"early_min": 5}), Verdict("late", 12, 5)),
        (day_of(IN, OUT | {"early_min": 5}), Verdict("early", 0, 5)),
        (day_of(IN | {"late_min": 3, "status": "provisional"}, OUT), Verdict("late", 3, provisional=True)),
        (day_of(MISSING | {"status": "provisional"}, SLOT, status="open"), Verdict("missing", provisional=True)),
        (day_of(IN, MISSING), Verdict("missing")),
        (day_of(MISSING, MISSING, absent=True), Verdict("absent")),
        (day_of(SLOT, SLOT, status="open"), Verdict("expected")),
        (day_of(IN, SLOT, status="open"), Verdict("on_time")),
        (day_of(SLOT | {"demanded": False, "status": "provisional"}, excused={"annual": "1"}), Verdict("excused")),
        (day_of(excused=1000), Verdict("excused")),
        (day_of(kind="off"), Verdict("off")),
        ({"status": "none"}, Verdict("expected")),
    ],
)
def test_what_the_centre_says_of_a_day(day: dict[str, Any], verdict: Verdict) -> None:
    """Of a message and of an exported row alike; an open and empty slot states nothing yet."""
    assert verdict_of(day) == verdict


def test_every_difference_is_found() -> None:
    """Another kind, other minutes, another status, another reason, no verdict at all."""
    part = Part("p-1", DAY, "loket", None, None, Verdict("late", 3, provisional=True), "drift")

    def found(verdict: Verdict | None, *why: str) -> int:
        return len(differences([part], {} if verdict is None else {part.key: verdict}, {part.key: why}))

    assert found(part.meant, "drift") == 0
    assert found(part.meant, "unread") == 1
    assert found(part.meant, "drift", "unread") == 1
    assert found(part.meant) == 1
    assert found(Verdict("late", 4, provisional=True), "drift") == 1
    assert found(Verdict("late", 3), "drift") == 1
    assert found(Verdict("on_time"), "drift") == 1
    assert found(None) == 1


def test_provisional_people_are_counted_beside_their_verdicts() -> None:
    """The kinds add up to the people."""
    counted = counts([Verdict("late", 3, provisional=True), Verdict("late", 9), Verdict("on_time")])

    assert counted == {"late": 2, "on_time": 1, "provisional": 1}
