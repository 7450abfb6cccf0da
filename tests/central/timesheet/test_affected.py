"""Which days a changed statement touches: enough, and where only validity changes no more than that."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from central.registers.kinds import (
    Assignment,
    CalendarEntry,
    Enrolment,
    Leave,
    Person,
    RosterDay,
    TimetableSlot,
    Unit,
)
from central.registers.rules import Line
from central.registers.statements import Statement, compose
from central.timesheet.affected import FOREVER, REACH, Mark, Reading, coalesced, read_key, read_of, touched

JANUARY, SEPTEMBER = date(2026, 1, 1), date(2026, 9, 1)
PAD = timedelta(days=REACH)
PERSON = Person("a", "A", "pns", "dinas", None, JANUARY, None)
PIN = Enrolment("1001", None, "kupang", "a", JANUARY, None)


def stated(kind: str, *records: Any) -> Statement:
    """Return the statement that records make."""
    (source,) = compose(kind, [Line("file", record, str) for record in records])
    return source.statement


def test_a_pin_that_passes_on_touches_only_the_dates_that_change() -> None:
    """C25b: A's enrolment ends on the 9th, B's begins on the 10th; nothing before is touched."""
    shortened = replace(PIN, until=date(2026, 9, 9))
    following = replace(PIN, person="b", since=date(2026, 9, 10))

    ended = touched(stated("enrolments", shortened), stated("enrolments", PIN))
    begun = touched(stated("enrolments", following), None)

    assert set(ended) == {Mark(key, date(2026, 9, 10), FOREVER) for key in ("person:a", "site:kupang 1001")}
    assert set(begun) == {Mark(key, date(2026, 9, 10), FOREVER) for key in ("person:b", "site:kupang 1001")}


def test_an_enrolment_corrected_to_another_person_touches_both() -> None:
    """The one who loses the punches and the one who gets them."""
    found = touched(stated("enrolments", replace(PIN, person="b")), stated("enrolments", PIN))

    assert {mark.subject for mark in found} == {"person:a", "person:b", "site:kupang 1001"}
    assert {(mark.first, mark.last) for mark in found} == {(JANUARY, FOREVER)}


def test_a_name_touches_no_day() -> None:
    """The judgement does not read it."""
    assert touched(stated("people", replace(PERSON, name="Other", nip="1")), stated("people", PERSON)) == []
    assert (
        touched(
            stated("units", Unit("u", "New", None, None, JANUARY, None)),
            stated("units", Unit("u", "Old", None, None, JANUARY, None)),
        )
        == []
    )


def test_another_unit_touches_the_persons_days_and_their_neighbours() -> None:
    """Windows of the former plan may have reached into neighbours."""
    moved = replace(PERSON, unit="bidang", since=SEPTEMBER)

    assert touched(stated("people", moved), None) == [Mark("person:a", SEPTEMBER - PAD, FOREVER)]


def test_what_is_withdrawn_touches_what_it_had_touched() -> None:
    """As entering it did."""
    roster = stated("rosters", RosterDay("a", SEPTEMBER, "night"))

    assert touched(None, roster) == touched(roster, None) == [Mark("person:a", SEPTEMBER - PAD, SEPTEMBER + PAD)]
    assert touched(None, None) == []


def test_shared_rows_are_one_mark_each() -> None:
    """A timetable of a whole province is not expanded here."""
    slot = TimetableSlot("office", SEPTEMBER, "in", "in", 27000, 20700, 41400, 0, 1)
    policy = Assignment(None, "dinas", None, "kementan-2012", SEPTEMBER, None)

    assert touched(stated("timetables", slot), None) == [Mark("timetable:office", SEPTEMBER - PAD, FOREVER)]
    assert touched(stated("assignments", policy), None) == [Mark("unit:dinas", SEPTEMBER - PAD, FOREVER)]


def test_the_calendar_touches_its_dates_in_its_scope_and_ramadan_none() -> None:
    """C13: next year's calendar does not touch this year."""
    entry = CalendarEntry(date(2026, 12, 25), None, "national_holiday", "all", "Natal", False)
    ramadan = replace(entry, kind="ramadan", until=date(2026, 12, 30))

    assert touched(stated("calendar", entry), None) == [Mark("scope:all", entry.date, entry.date)]
    assert touched(stated("calendar", ramadan), None) == []


def test_leave_touches_its_dates_and_those_its_windows_reach() -> None:
    """Leave moves windows."""
    leave = Leave("a", "annual", SEPTEMBER, None, 45000, 57600, None, None)

    assert touched(stated("leave", leave), None) == [Mark("person:a", SEPTEMBER - PAD, SEPTEMBER + PAD)]


def test_marks_that_touch_become_one() -> None:
    """A roster of a month is one range for each person."""
    days = [SEPTEMBER + timedelta(days=number) for number in range(30)]
    marks = [Mark("person:a", day, day) for day in reversed(days)] + [Mark("person:b", SEPTEMBER, SEPTEMBER)]

    assert coalesced(marks) == [Mark("person:a", SEPTEMBER, days[-1]), Mark("person:b", SEPTEMBER, SEPTEMBER)]
    apart = [Mark("person:a", days[0], days[0]), Mark("person:a", days[2], days[2])]
    assert coalesced(apart) == apart


@pytest.mark.parametrize("pin", ["1001", "a b#c/d", "uid:7"])
def test_the_subject_of_a_punch_holds_any_pin(pin: str) -> None:
    """PINs and serial numbers may hold blanks and signs."""
    reading = Reading("kupang", "S 1/#2", pin, -12_600)

    assert read_of(read_key(reading)) == reading
    assert read_of("person:read:") is None


def test_dates_at_the_end_of_the_calendar_are_no_exception() -> None:
    """Validity without end, and from the first date on."""
    always = replace(PERSON, since=date.min)

    assert touched(stated("people", always), None) == [Mark("person:a", date.min, FOREVER)]
    ended = touched(stated("people", replace(always, until=date.max)), stated("people", always))
    assert ended == []
