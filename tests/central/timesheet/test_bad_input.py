"""Input that no office means, from facts to verdicts in a real database: nothing lost, nothing half applied."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from central.policy.load import Library
from central.store import marks
from central.timesheet.clock import midnight, zone_named
from central.timesheet.judge import judge
from central.timesheet.model import LeaveInterval, PlanDay, Punch, Slot, Span
from tests.central.store.office import POLICIES, Centre, slots

MONDAY, TUESDAY = "2026-08-31", "2026-09-01"
EVENING = "2026-09-02 05:00"
"""After the windows of both dates."""


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office, on the morning of Monday, 31 August 2026; no mark may be set aside."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    yield found
    with found.database.reading() as connection:
        assert marks.numbers(connection) == (0, 0)
    found.close()


def facts(centre: Centre) -> list[tuple[Any, ...]]:
    """Return every row about what terminals recorded."""
    with centre.database.reading() as connection:
        return [
            (table, *row)
            for table in ("event", "punch", "claim", "gap", "stream")
            for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608 - names above
        ]


def test_a_person_who_never_punched_is_absent(centre: Centre) -> None:
    """Absence follows from the plan: neither a punch nor a verdict on another date is needed."""
    centre.at(EVENING)

    assert [centre.day(person, on)["absent"] for person in "ab" for on in (MONDAY, TUESDAY)] == [True] * 4


def test_judging_changes_no_fact(centre: Centre) -> None:
    """Nothing is marked as processed, skipped or linked, also where a punch belongs to nobody."""
    centre.punched("1001", "2026-08-31 07:45:00", "2026-08-31 16:00:00")
    centre.punched("77", "2026-08-31 08:00:00")
    before = facts(centre)

    centre.at(EVENING)
    centre.recompute.rebuild()
    centre.at(EVENING)

    assert facts(centre) == before
    assert len(before) > 6


def test_clocks_of_2000_and_2103_and_forty_punches_cost_their_days_nothing(centre: Centre) -> None:
    """The punches stay, and the day is judged by those that can be placed."""
    centre.punched("1001", "2000-01-01 00:00:14", suspect=["reset"])
    centre.punched("1001", "2103-02-07 06:28:15", suspect=["future"])
    centre.punched("1001", *(f"2026-08-31 07:{minute:02d}:30" for minute in range(10, 50)))
    centre.punched("1001", "2026-08-31 16:02:00")
    centre.at(EVENING)
    day = centre.day("a", MONDAY)

    assert (slots(day), slots(day, "punches"), day["status"], day["cut"]) == ([0, 0], [40, 1], "final", 0)
    assert len([row for row in facts(centre) if row[0] == "punch"]) == 43
    assert centre.history("a", "2000-01-01") == []
    assert centre.history("a", "2103-02-07") == []


def test_a_person_hired_and_gone_on_one_day_is_judged_on_that_day_alone(centre: Centre) -> None:
    """Neither the date before nor the one after is an obligation."""
    centre.enter("people", f"key,name,employment,unit,from,until\nc,Contoh Tiga,pns,dinas,{TUESDAY},{TUESDAY}\n")
    centre.enter("enrolments", f"pin,site,person,from\n1003,3602-bkpsdm,c,{TUESDAY}\n")
    centre.at(EVENING)

    assert centre.day("c", TUESDAY)["absent"]
    assert centre.history("c", MONDAY) == []
    assert centre.history("c", "2026-09-02") == []


def test_a_day_of_25_hours_is_one_day(centre: Centre) -> None:
    """Its minutes count to its own date, and are more than a date has; the next date claims none of its punches."""
    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "long,2026-01-01,in,in,08:00,06:00,12:00\nlong,2026-01-01,out,out,33:00,30:00,36:00\n",
    )
    centre.enter("rosters", f"person,{MONDAY},{TUESDAY}\na,long,off\n")
    centre.punched("1001", "2026-08-31 07:58:00", "2026-09-01 09:03:00")
    centre.at(EVENING)
    day, after = centre.day("a", MONDAY), centre.day("a", TUESDAY)

    assert (day["status"], day["planned_min"], day["present_min"], slots(day)) == ("final", 1500, 1505, [0, 0])
    assert (day["work_date"], after["kind"], after["worked"]) == (MONDAY, "off", False)


@pytest.mark.parametrize("wrong", ["2026-09-01 12:00", "2026-09-01 20:00", "2026-08-30 12:00", "2026-08-29 05:00"])
def test_a_clock_of_the_centre_that_is_a_day_wrong_leaves_no_trace(centre: Centre, tmp_path: Path, wrong: str) -> None:
    """Judged too early or too late, the days come out as with a clock that was right all along."""
    (tmp_path / "right").mkdir()
    right = Centre(tmp_path / "right", datetime(2026, 8, 30, 20, tzinfo=UTC))
    right.enter_office()
    for one, noon in ((centre, wrong), (right, "2026-08-31 12:00")):
        one.at("2026-08-31 06:00")
        one.punched("1001", "2026-08-31 07:20:00")
        one.at(noon)
        one.punched("1001", "2026-08-31 16:01:00")
        one.at("2026-08-31 20:00")
        one.punched("1002", "2026-09-01 07:31:00", "2026-09-01 16:05:00")
        one.at(EVENING)
    expected = right.digests()
    right.close()

    found = centre.digests()
    assert {key: found[key] for key in expected} == expected
    assert (slots(centre.day("a", MONDAY)), slots(centre.day("b", TUESDAY))) == ([0, 0], [1, 0])
    assert [centre.day("b", MONDAY)["absent"], centre.day("a", TUESDAY)["absent"]] == [True, True]


def test_leave_that_ends_before_it_begins_is_no_leave() -> None:
    """Imports refuse it; a case file may hold it, and nothing moves."""
    policy = Library().load_file(POLICIES / "graded.yaml")
    zone, on = zone_named("Asia/Jakarta"), date(2026, 8, 31)
    begin = zone.instant(midnight(on))
    plan = PlanDay(on, zone, (Slot("in", "in", 20_700, 41_400, 27_000), Slot("out", "out", 41_460, 71_160, 57_600)))
    punches = tuple(Punch(begin + at, midnight(on) + at) for at in (27_600, 57_600))

    without = judge(Span((plan,), punches), policy.on)
    backwards = LeaveInterval(begin + 57_600, begin + 20_700, "annual")
    found = judge(Span((plan,), punches, leave=(backwards,)), policy.on)

    assert found == without
    assert [slot.minutes for slot in found.days[0].slots] == [10, 0]
