"""A unit's period: by name, full attendance beside absence, and nothing of dates in other units."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from central.registers.kinds import Person
from central.timesheet.outcome import Standing, not_judged, standing_of
from central.web.views.period import FIGURES, Entry, entry, period
from tests.central.web.views.verdicts import EIGHT, FOUR, day, late, leaving

FIRST = date(2026, 9, 1)
GOOD = standing_of(day(late(EIGHT), leaving(FOUR)))
LATE = standing_of(day(late(EIGHT, minutes=40), leaving(FOUR)))
WAITING = standing_of(day(late(None, status="provisional"), leaving(FOUR), status="provisional"))
LEAVE = standing_of(day(excused=[["annual", 1000]]))
ABSENT = standing_of(day(late(None), leaving(None), absent=True))
OFF = standing_of(day(kind="off"))


def one(name: str, *standings: Standing | None, whole: bool = True, totals: Any = None) -> Entry:
    """Return a person's entry, from the first of September on."""
    days: Mapping[date, Standing | None] = {FIRST + timedelta(number): found for number, found in enumerate(standings)}
    return entry(Person(name, name, "pns", "a", None, FIRST, None), days, totals, whole=whole)


def test_full_attendance_is_a_figure_like_absence() -> None:
    """Leave and dates that are not final do not end it; a date that is not judged does."""
    entries = [
        one("full", GOOD, LEAVE, OFF),
        one("late", GOOD, LATE),
        one("waiting", GOOD, WAITING),
        one("not judged", GOOD, None),
        one("no policy", not_judged("no_policy")),
        one("absent", ABSENT),
        one("nothing", OFF),
    ]

    found = period(FIRST, date(2026, 9, 30), entries, {FIRST: [GOOD, LATE, WAITING, LEAVE, ABSENT, OFF]})

    assert {name: [entry.person.key for entry in found.showing(name)] for name, _ in found.figures} == {
        "people": ["absent", "full", "late", "no policy", "not judged", "nothing", "waiting"],
        "full": ["full", "waiting"],
        "late": ["late"],
        "early": [],
        "missing": [],
        "absent": ["absent"],
        "excused": ["full"],
        "waiting": ["waiting"],
        "not_judged": ["no policy", "not judged"],
    }
    assert [number for _, number in found.figures] == [len(found.showing(name)) for name in FIGURES]
    assert [tuple(numbers)[1:] for numbers in found.days] == [(1, 1, 1, 1, 1)]
    assert found.showing("worst") == []


def test_people_stand_by_name_not_by_minutes() -> None:
    """Whoever has the most minutes is neither first nor last."""
    found = period(FIRST, FIRST, [one("B", LATE), one("c", GOOD), one("A", GOOD)], {})

    assert [entry.person.name for entry in found.entries] == ["A", "B", "c"]


def test_a_part_of_a_period_has_no_totals() -> None:
    """Caps and counters are of whole periods; what lies in other units is not this unit's to see."""
    totals: Any = object()

    assert one("moved", GOOD, whole=False, totals=totals).totals is None
    assert one("stayed", GOOD, totals=totals).totals is totals
