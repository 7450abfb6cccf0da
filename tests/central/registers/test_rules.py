"""What rows must fulfil together, and each by itself; mistakes of several lines name both."""

from pathlib import Path

import pytest

from central.registers.kinds import DAY_KINDS, Known
from central.registers.problems import RegisterFileError
from tests.central.registers.files import refused, register, taken, write_csv

PEOPLE = "key,name,employment,from,until\n"
UNITS = "key,name,parent,from,until\n"
ENROLMENTS = "pin,terminal,site,person,from,until\n"
SLOTS = "timetable,from,slot,kind,due,window from,window until,break min\n"
SCHEDULES = "schedule,from,day,timetable,calendar\n"
ASSIGNMENTS = "person,unit,schedule,policy,from,until\n"
CALENDAR = "date,until,kind,scope,name\n"
LEAVE = "person,kind,from,until,begin,end,slot\n"
ORDERS = "person,date,begin,end\n"
DECISIONS = "decision,person,terminal,pin,suspect,from,until,by,paper\n"
WEEK = "".join(f"w,2026-01-01,{day},office,yes\n" for day in ("mon", "tue", "wed", "thu", "fri", "sat"))


@pytest.mark.parametrize(
    ("kind", "text", "place", "code"),
    [
        ("people", PEOPLE + "p-1,A,pns,2026-01-01,\np-1,A,pns,2026-06-01,\n", "3:4", "person_overlaps"),
        (
            "people",
            PEOPLE + "p-1,A,pns,2026-06-01,2026-06-01\np-1,A,pns,2026-01-01,2026-06-01\n",
            "2:4",
            "person_overlaps",
        ),
        ("units", UNITS + "a,A,,2026-01-01,\na,A,,2026-01-01,\n", "3:4", "unit_overlaps"),
        ("enrolments", ENROLMENTS + "17,,s,p-1,2026-01-01,\n17,,s,p-2,2026-09-10,\n", "3:5", "enrolment_overlaps"),
        ("timetables", SLOTS + 2 * "a,2026-01-01,in,in,07:30,05:00,11:00,\n", "3:3", "slot_twice"),
        (
            "schedules",
            SCHEDULES + WEEK + "w,2026-01-01,sun,off,yes\nw,2026-01-01,minggu,off,\n",
            "9:3",
            "schedule_day_twice",
        ),
        ("schedules", SCHEDULES + WEEK + "w,2026-01-01,7,off,yes\n", "8:3", "week_and_cycle"),
        ("rosters", "person,1 Sep 2026\np-1,office\np-1,off\n", "3:2", "roster_overlaps"),
        (
            "assignments",
            ASSIGNMENTS + "p-1,,a,,2026-01-01,\np-1,,b,,2026-02-01,2026-02-02\n",
            "3:5",
            "schedule_overlaps",
        ),
        ("assignments", ASSIGNMENTS + ",u,,a,2026-01-01,2026-02-01\n,u,,b,2026-02-01,\n", "3:5", "policy_overlaps"),
        ("calendar", CALENDAR + 2 * "2026-01-01,,national_holiday,all,A\n", "3:1", "row_twice"),
        ("leave", LEAVE + 2 * "p-1,annual,2026-01-01,,,,\n", "3:1", "leave_twice"),
        (
            "leave",
            LEAVE + "p-1,annual,2026-01-01,,,,\np-1,annual,2026-01-01,2026-01-05,,,\n",
            "3:1",
            "leave_twice",
        ),
        (
            "decisions",
            DECISIONS + "visitor,,X,17,,2026-01-01,,A,B\nvisitor,,X,17,,2026-01-01,2026-02-01,A,C\n",
            "3:1",
            "decision_twice",
        ),
        ("orders", ORDERS + "p-1,2026-01-01,20:00,26:00\np-1,2026-01-02,01:00,03:00\n", "3:3", "order_overlaps"),
    ],
)
def test_two_lines_that_contradict_each_other_are_both_named(
    tmp_path: Path, kind: str, text: str, place: str, code: str
) -> None:
    """The mistake stands at one line, its text names the other."""
    path = write_csv(tmp_path, text)
    with pytest.raises(RegisterFileError) as caught:
        register(path, kind)
    (problem,) = caught.value.problems

    assert (problem.place, problem.code) == (f"file.csv:{place}", code)
    assert problem.values["other"].startswith("file.csv:")
    assert problem.values["other"].split(":")[1] != problem.place.split(":")[1]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("people", PEOPLE + "p-1,A,pns,2026-01-01,2026-05-31\np-1,A,pns,2026-06-01,\n"),
        ("people", PEOPLE + "p-1,A,pns,2026-01-01,2026-01-01\n"),
        ("enrolments", ENROLMENTS + "1001,,s,p-1,2026-01-01,2026-09-09\n1001,,s,p-2,2026-09-10,\n"),
        ("enrolments", ENROLMENTS + "1001,,s,p-1,2026-01-01,\n1001,X1,,p-2,2026-01-01,\n"),
        ("timetables", SLOTS + "a,2026-01-01,in,in,07:30,05:00,11:00,\na,2026-09-01,in,in,08:00,05:00,11:00,\n"),
        ("assignments", ASSIGNMENTS + "p-1,,a,,2026-01-01,\np-1,,,b,2026-01-01,\n,u,c,d,2026-01-01,\n"),
        (
            "units",
            UNITS + "a,A,b,2026-01-01,2026-05-31\nb,B,,2026-01-01,2026-05-31\na,A,,2026-06-01,\nb,B,a,2026-06-01,\n",
        ),
        ("calendar", CALENDAR + "2026-01-01,,national_holiday,all,A\n2026-01-01,,local_holiday,all,B\n"),
        ("leave", LEAVE + "p-1,annual,2026-01-01,,10:00,12:00,\np-1,annual,2026-01-01,,12:00,13:00,\n"),
        ("orders", ORDERS + "p-1,2026-01-01,17:00,18:00\np-1,2026-01-01,18:00,19:00\n"),
    ],
)
def test_what_touches_or_differs_is_no_contradiction(tmp_path: Path, kind: str, text: str) -> None:
    """A PIN passes on, a person moves, a day of employment is a day, hours change, leave is a set."""
    assert len(taken(write_csv(tmp_path, text), kind)) == text.count("\n") - 1


@pytest.mark.parametrize(
    ("kind", "text", "place", "code"),
    [
        ("people", PEOPLE + "p-1,A,pns,2026-02-01,2026-01-31\n", "2:5", "ends_before_begin"),
        ("leave", LEAVE + "p-1,annual,2026-02-02,2026-02-01,,,\n", "2:4", "ends_before_begin"),
        ("leave", LEAVE + "p-1,annual,2026-02-02,,16:00,13:00,\n", "2:6", "hours_end_before_begin"),
        ("leave", LEAVE + "p-1,annual,2026-02-02,,13:00,,\n", "2:6", "begin_and_end"),
        ("leave", LEAVE + "p-1,annual,2026-02-02,,13:00,14:00,in\n", "2:7", "hours_or_slot"),
        ("leave", LEAVE + "p-1,annual,2026-02-02,2026-02-03,,,in\n", "2:4", "one_date_only"),
        ("enrolments", ENROLMENTS + "17,,,p-1,2026-01-01,\n", "2:2", "one_of"),
        ("enrolments", ENROLMENTS + "17,X,s,p-1,2026-01-01,\n", "2:2", "one_of"),
        ("timetables", SLOTS + "a,2026-01-01,in,in,12:00,05:00,11:00,\n", "2:5", "due_outside_window"),
        ("timetables", SLOTS + "a,2026-01-01,in,in,,11:00,05:00,\n", "2:7", "window_ends_before_begin"),
        ("assignments", ASSIGNMENTS + "p-1,,,,2026-01-01,\n", "2:3", "nothing_assigned"),
        ("assignments", ASSIGNMENTS + ",,a,,2026-01-01,\n", "2:1", "one_of"),
        ("orders", ORDERS + "p-1,2026-01-01,18:00,17:00\n", "2:4", "hours_end_before_begin"),
        ("decisions", DECISIONS + "accept,p-1,,,,2026-01-01,,A,B\n", "2:5", "decision_needs"),
        ("decisions", DECISIONS + "not_concerned,,,,,2026-01-01,,A,B\n", "2:2", "decision_needs"),
        ("decisions", DECISIONS + "visitor,,X,,,2026-01-01,,A,B\n", "2:4", "decision_needs"),
        ("decisions", DECISIONS + "accept,p-1,,,reset,2026-01-01,,A,B\n", "2:5", "choice"),
        ("schedules", SCHEDULES + WEEK, "2:1", "schedule_lacks_days"),
        ("units", UNITS + "a,A,b,2026-01-01,\nb,B,a,2026-01-01,\n", "2:3", "unit_above_itself"),
        ("calendar", CALENDAR + "2026-01-01,2026-06-01,ramadan,all,A\n", "2:2", "calendar_too_long"),
        ("rosters", "person,month,31\np-1,2026-09,office\n", "2:3", "no_such_date"),
        ("rosters", "person,31\np-1,office\n", "1:1", "grid_without_month"),
        ("rosters", "person,name\np-1,A\n", "1:1", "grid_without_days"),
        ("rosters", "person,2026-09-01,1 Sep 2026\np-1,a,b\n", "1:3", "column_twice"),
        ("rosters", "person,2026-09-01\np-1,a b\n", "2:2", "code_form"),
    ],
)
def test_a_mistake_stands_at_its_column(tmp_path: Path, kind: str, text: str, place: str, code: str) -> None:
    """Line and column, as an editor counts them."""
    assert (f"file.csv:{place}", code) in refused(write_csv(tmp_path, text), kind)


def test_a_circle_of_units_is_found_within_a_large_tree(tmp_path: Path) -> None:
    """A chain of 20,000 units, one above the other, with two that are above each other on one date; named once."""
    chain = "".join(f"u{number},U,u{number + 1},2026-01-01,\n" for number in range(20_000))
    circle = "x,X,y,2026-01-01,\ny,Y,x,2026-06-01,2026-06-01\nz,Z,x,2026-01-01,\nu20000,U,x,2026-01-01,\n"
    path = write_csv(tmp_path, UNITS + chain + circle)

    assert refused(path, "units") == [("file.csv:20002:3", "unit_above_itself")]


def test_a_date_is_not_a_holiday_and_off_for_one_scope(tmp_path: Path) -> None:
    """Each scope has its own; the kinds of the day are in one table."""
    text = CALENDAR + "2026-03-20,2026-03-24,cuti_bersama,all,A\n2026-03-21,,national_holiday,{scope},B\n"

    assert refused(write_csv(tmp_path, text.format(scope="all")), "calendar") == [("file.csv:3:3", "two_day_kinds")]
    assert len(taken(write_csv(tmp_path, text.format(scope="u")), "calendar")) == 2
    assert DAY_KINDS == {
        "national_holiday": "holiday",
        "local_holiday": "holiday",
        "cuti_bersama": "off",
        "ramadan": None,
    }


def test_a_roster_is_a_grid_of_persons_and_days(tmp_path: Path) -> None:
    """Days of a month need the month; off and libur are one code; an empty cell plans nothing."""
    found = taken(write_csv(tmp_path, "Pegawai;Nama;Bulan;1;2;3\np-1;A;2026-09;P1;libur;\n"), "rosters")

    assert [(one.date.isoformat(), one.timetable) for one in found] == [("2026-09-01", "P1"), ("2026-09-02", "off")]


def test_references_are_checked_where_the_keys_are_known(tmp_path: Path) -> None:
    """Each unknown key is named where it stands; off, all and a file's own units are known."""
    known = Known(people=frozenset({"p-1"}), timetables=frozenset({"a"}), units=frozenset())
    roster = write_csv(tmp_path, "person,2026-09-01,2026-09-02\np-1,a,off\np-2,b,off\n")
    assert refused(roster, "rosters", known) == [
        ("file.csv:3:1", "unknown_reference"),
        ("file.csv:3:2", "unknown_reference"),
    ]
    assert len(taken(write_csv(tmp_path, CALENDAR + "2026-01-01,,ramadan,all,A\n"), "calendar", known)) == 1
    units = write_csv(tmp_path, UNITS + "a,A,,2026-01-01,\nb,B,a,2026-01-01,\nc,C,x,2026-01-01,\n")
    assert refused(units, "units", known) == [("file.csv:4:3", "unknown_reference")]
