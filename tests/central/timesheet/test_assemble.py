"""From rows to spans: which plan, calendar, leave and policy each date of a person has, and which punches it sees."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from central.policy.load import Library
from central.timesheet.assemble import (
    Days,
    Office,
    PersonRows,
    Planned,
    accepted,
    assemble,
    not_concerned,
    people_rows,
    punch_of,
)
from central.timesheet.clock import midnight, zone_named
from central.timesheet.judge import judge
from central.timesheet.model import DayResult, Doubt, Punch
from tests.central.timesheet.stated import JANUARY, Rows, office_hours

POLICY = Library().load_file(Path(__file__).parent / "policies" / "graded.yaml")
JAKARTA = zone_named("Asia/Jakarta")
TUESDAY = date(2026, 9, 1)
LATER = JAKARTA.instant(midnight(date(2027, 1, 1)))


def known(rows: Rows, person: str = "a") -> tuple[Office, PersonRows]:
    """Return the office and the person's rows."""
    office = Office(rows.kinds, {"four-bands": POLICY.on})
    return office, people_rows(rows.kinds).get(person, PersonRows())


def at(text: str, **more: object) -> Punch:
    """Return a punch in Jakarta, at YYYY-MM-DD HH:MM:SS."""
    day, time = text.split()
    hours, minutes, seconds = map(int, time.split(":"))
    local = midnight(date.fromisoformat(day)) + hours * 3600 + minutes * 60 + seconds
    return Punch(JAKARTA.instant(local), local, **more)  # type: ignore[arg-type]


def judged(rows: Rows, on: date, *punches: Punch, doubts: tuple[Doubt, ...] = (), person: str = "a") -> DayResult:
    """Return the verdict on a date."""
    office, own = known(rows, person)
    together = Days(office, own).belonging(on)
    span = assemble(together, own, punches, doubts, LATER)
    found = judge(span, together.rules_on)
    return next(day for day in found.days if day.date == on)


def plan_of(rows: Rows, on: date, person: str = "a") -> Planned:
    """Return what is planned."""
    office, own = known(rows, person)
    found = office.planned(own, on)
    assert isinstance(found, Planned)
    return found


def why_not(rows: Rows, on: date) -> str:
    """Return why a date is not judged."""
    office, own = known(rows)
    found = office.planned(own, on)
    assert isinstance(found, str)
    return found


def test_the_persons_plan_counts_and_the_units_is_named_as_not_taken() -> None:
    """C05."""
    rows = office_hours()
    rows.timetable("unit", ("in", "08:00", "05:45", "11:30"), ("out", "16:00", "11:31", "19:46"))
    rows.timetable("own", ("in", "10:00", "05:45", "13:30"), ("out", "18:00", "13:31", "21:46"))
    rows.week("units", "unit")
    rows.week("owns", "own")
    rows.assign(unit="dinas", schedule="units", since=date(2026, 2, 1))
    without = judged(rows, TUESDAY, at("2026-09-01 09:55:00"), at("2026-09-01 18:01:00"))
    rows.assign(person="a", schedule="owns")

    found = judged(rows, TUESDAY, at("2026-09-01 09:55:00"), at("2026-09-01 18:01:00"))

    assert [slot.minutes for slot in found.slots] == [0, 0]
    (plan,) = (reason for reason in found.reasons if reason["step"] == "plan")
    assert plan["what"] == "personal"
    assert [other["what"] for other in plan["not_taken"]] == ["unit"]
    assert "schedule units" in plan["not_taken"][0]["version"]
    assert [slot.minutes for slot in without.slots] == [115, 0]
    assert without.cut == 1500


def test_a_roster_goes_before_the_persons_schedule_and_ignores_the_calendar() -> None:
    """C15: the ward works on the day that is off for the office."""
    rows = office_hours()
    rows.timetable("ward", ("in", "14:00", "12:00", "17:00"), ("out", "21:00", "19:00", "23:00"))
    rows.week("own", "office")
    rows.assign(person="a", schedule="own")
    rows.roster("a", TUESDAY, "ward")
    rows.holiday(TUESDAY, "cuti_bersama")
    rows.person("b", "dinas")

    ward = judged(rows, TUESDAY, at("2026-09-01 14:10:00"), at("2026-09-01 21:00:00"))
    clerk = judged(rows, TUESDAY, person="b")

    assert (ward.kind, ward.slots[0].minutes, ward.cut) == ("workday", 10, 500)
    assert (clerk.kind, clerk.absent, clerk.cut) == ("off", False, 0)


def test_a_roster_can_plan_a_day_off() -> None:
    """An off day of a roster is no absence."""
    rows = office_hours()
    rows.roster("a", TUESDAY, "off")

    assert plan_of(rows, TUESDAY).days[0].kind == "off"
    assert not judged(rows, TUESDAY).absent


def test_the_nearest_unit_counts_for_plan_zone_policy_and_calendar() -> None:
    """A unit inherits what is not said of itself."""
    rows = office_hours()
    rows.unit("pusat", zone="Asia/Jayapura")
    rows.unit("bidang", parent="dinas")
    rows.unit("dinas", parent="pusat")
    rows.kinds["units"] = [row for row in rows.kinds["units"] if row.record.zone or row.record.parent]
    rows.person("b", "bidang")
    rows.holiday(TUESDAY, "national_holiday")
    rows.holiday(TUESDAY, "cuti_bersama", scope="dinas")

    found = plan_of(rows, TUESDAY, "b").days[0]

    assert found.zone.name == "Asia/Jakarta"
    assert found.kind == "off"


@pytest.mark.parametrize("zone", ["Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura", "UTC"])
def test_a_holiday_is_the_date_of_each_zone(zone: str) -> None:
    """From midnight to midnight of the unit, whichever zone another unit or the server is in."""
    rows = office_hours()
    rows.unit("jauh", zone=zone)
    rows.assign(unit="jauh", schedule="week", policy=None)
    rows.assign(unit="jauh", policy="four-bands")
    rows.person("b", "jauh")
    rows.holiday(TUESDAY, "national_holiday")

    around = [plan_of(rows, TUESDAY + timedelta(days=number), "b") for number in (-1, 0, 1)]

    assert [planned.days[0].kind for planned in around] == ["workday", "holiday", "workday"]
    begin = zone_named(zone).instant(midnight(TUESDAY))
    assert around[1].own_date == (begin, begin + 86_399)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("nobody", "not_employed"),
        ("zone", "no_zone"),
        ("schedule", "no_plan"),
        ("policy", "no_policy"),
        ("unknown", "unknown_policy"),
    ],
)
def test_a_date_that_is_not_judged_says_why(what: str, why: str) -> None:
    """Nothing is invented where a register is silent."""
    rows = office_hours()
    if what == "nobody":
        rows.kinds["people"] = []
    elif what == "zone":
        rows.kinds["units"] = []
    elif what == "unknown":
        rows.assign(person="a", policy="nowhere")
    else:
        rows.kinds["assignments"] = [row for row in rows.kinds["assignments"] if getattr(row.record, what) is None]

    assert why_not(rows, TUESDAY) == why


def test_a_person_is_obliged_from_the_first_day_of_employment_on() -> None:
    """C25b: no day exists before."""
    rows = office_hours()
    rows.kinds["people"] = []
    rows.person("a", "dinas", since=date(2026, 9, 15), until=date(2026, 9, 15))

    assert why_not(rows, date(2026, 9, 14)) == "not_employed"
    assert plan_of(rows, date(2026, 9, 15)).days[0].kind == "workday"
    assert why_not(rows, date(2026, 9, 16)) == "not_employed"


def test_a_person_who_moves_is_judged_under_each_unit_by_day() -> None:
    """Plan and zone change with the unit."""
    rows = office_hours()
    rows.unit("timur", zone="Asia/Jayapura")
    rows.timetable("early", ("in", "07:00", "05:00", "11:00"), ("out", "15:00", "12:00", "19:00"))
    rows.week("timur", "early")
    rows.assign(unit="timur", schedule="timur", policy=None)
    rows.assign(unit="timur", policy="four-bands")
    rows.kinds["people"] = []
    rows.person("a", "dinas", until=date(2026, 9, 1))
    rows.person("a", "timur", since=date(2026, 9, 2))

    before, after = plan_of(rows, date(2026, 9, 1)).days[0], plan_of(rows, date(2026, 9, 2)).days[0]

    assert (before.zone.name, before.slots[0].due) == ("Asia/Jakarta", 27000)
    assert (after.zone.name, after.slots[0].due) == ("Asia/Jayapura", 25200)


def test_a_timetable_has_versions() -> None:
    """C12: what is valid on the date counts, and the version names its paper."""
    rows = office_hours()
    rows.kinds["timetables"] = []
    rows.timetable("office", ("in", "07:30", "05:45", "11:30"), until=date(2026, 8, 31))
    rows.timetable("office", ("in", "08:00", "05:45", "11:30"), since=TUESDAY, paper="Perbup 9/2026")

    assert plan_of(rows, date(2026, 8, 31)).days[0].slots[0].due == 27000
    later = plan_of(rows, TUESDAY).days[0]
    assert later.slots[0].due == 28800
    assert later.version is not None
    assert "timetable office 2026-09-01 (Perbup 9/2026)" in later.version


def test_leave_orders_corrections_and_presence_enter_the_span() -> None:
    """Each names its paper, and what no terminal recorded is marked."""
    rows = office_hours()
    rows.leave("a", "annual", TUESDAY, hours=("12:30", "16:00"))
    rows.order("a", TUESDAY, "17:30", "19:00")
    rows.correction("a", TUESDAY, "07:25")
    rows.presence("a", TUESDAY, "12:31", "app")
    office, own = known(rows)

    span = assemble(Days(office, own).belonging(TUESDAY), own, [], [], LATER)

    assert [(part.kind, part.paper) for part in span.leave] == [("annual", "Contoh 1/2026")]
    assert span.orders[0].end - span.orders[0].start == 5400
    assert [(punch.terminal, punch.paper) for punch in span.punches] == [
        ("@correction", "Kepala Contoh, Contoh 6/2026: terminal rusak"),
        ("@app", "Contoh 1/2026"),
    ]
    found = judged(rows, TUESDAY)
    assert [slot.minutes for slot in found.slots] == [0, 0]


def test_a_decision_lets_suspect_punches_of_its_dates_stand() -> None:
    """The punch names who decided; other suspects and other dates stay."""
    rows = office_hours()
    rows.decide("accept", "a", TUESDAY, suspect=("drift",))
    _, own = known(rows)
    drifting = at("2026-09-01 07:29:00", suspect=("drift", "unverified"), offset_ms=900_000)

    found = accepted(drifting, own.decisions)

    assert (found.suspect, found.paper) == (("unverified",), "Kepala Contoh, Contoh 7/2026")
    assert accepted(at("2026-09-02 07:29:00", suspect=("drift",)), own.decisions).suspect == ("drift",)
    assert judged(rows, TUESDAY, at("2026-09-01 07:31:00", suspect=("drift",))).slots[0].status == "final"


def test_a_decision_takes_an_outage_away_for_its_dates_only() -> None:
    """What lies beyond the dates stays a doubt; a decision about one terminal settles nothing here."""
    rows = office_hours()
    rows.decide("not_concerned", "a", TUESDAY)
    rows.decide("not_concerned", "a", date(2026, 9, 2), terminal="S1")
    _, own = known(rows)
    begin, end = JAKARTA.instant(midnight(TUESDAY)), JAKARTA.instant(midnight(date(2026, 9, 2)))
    outage = Doubt(begin - 100, end + 100, "outage", "lobby")
    other = Doubt(begin, begin + 10, "outage", "gate")

    found = not_concerned([outage, other], own.decisions, JAKARTA)

    assert found == [outage._replace(end=begin - 1), outage._replace(start=end)]


def test_a_night_sees_the_next_morning_and_the_next_day_sees_whose_punch_it_is() -> None:
    """C01, C03: verdicts depend on neighbours whose windows reach the date, and on no others."""
    rows = office_hours()
    rows.timetable("night", ("in", "18:00", "16:00", "22:00"), ("out", "31:00", "29:00", "32:00"))
    rows.roster("a", TUESDAY, "night")
    office, own = known(rows)
    days = Days(office, own)

    assert days.together(TUESDAY) == (TUESDAY, date(2026, 9, 2))
    assert days.together(date(2026, 9, 2)) == (TUESDAY, date(2026, 9, 2))
    assert days.together(date(2026, 9, 7)) == (date(2026, 9, 7),)
    assert days.touched(date(2026, 9, 2)) == (TUESDAY, date(2026, 9, 2))
    assert days.touched(date(2026, 9, 7)) == (date(2026, 9, 7),)


def test_days_that_overlap_without_end_are_cut_at_a_fixed_distance() -> None:
    """The cut is the same whatever else is judged, so digests do not depend on it."""
    rows = office_hours()
    rows.timetable("guard", ("in", "07:00", "00:00", "12:00"), ("out", "31:00", "24:00", "36:00"))
    for number in range(60):
        rows.roster("a", JANUARY + timedelta(days=number), "guard")
    office, own = known(rows)
    days = Days(office, own)

    found = days.together(date(2026, 1, 30))

    assert found[0] == date(2026, 1, 27)
    assert found[-1] == date(2026, 2, 2)
    assert date(2026, 1, 30) in days.touched(date(2026, 1, 31))


def test_punches_beyond_the_dates_do_not_enter() -> None:
    """A verdict is the same whatever else was loaded with it."""
    rows = office_hours()
    own_punches = (at("2026-09-01 07:31:00"), at("2026-09-01 16:00:00"))

    alone = judged(rows, TUESDAY, *own_punches)
    beside = judged(rows, TUESDAY, at("2026-08-31 23:59:59", suspect=("drift",), offset_ms=-60_000_000), *own_punches)

    assert alone == beside


def test_a_recorded_punch_keeps_the_terminals_digits_and_the_true_instant() -> None:
    """W16b: a server in another zone changes nothing."""
    event = {
        "id": "i",
        "time": "2026-09-01T08:00:00+08:00",
        "data": {
            "local_time": "2026-09-01T08:00:00",
            "terminal": "lobby",
            "timezone": "Asia/Makassar",
            "state": 1,
            "suspect": ["unmeasured"],
            "clock": {"offset_ms": None},
        },
    }

    found = punch_of(event, "s", 7, midnight(TUESDAY))

    assert found.local == midnight(TUESDAY) + 8 * 3600
    assert found.instant == midnight(TUESDAY)
    assert (found.states, found.suspect, found.offset_ms, found.sequence) == ((1,), ("unmeasured",), None, 7)


@pytest.mark.parametrize(
    ("recorded", "clock", "future"),
    [
        ("00:28:01", (420_000, 500), False),  # 07:35:00 on a clock seven minutes fast: it was 07:28:00
        ("00:27:59.500", (420_000, 500), False),  # the bound of the measurement belongs to it
        ("00:27:59.499", (420_000, 500), True),
        ("00:28:01", (300_000, 500), True),  # a measured offset, and a time that it does not explain
        ("00:28:01", (-420_000, 500), True),
        ("00:28:01", (None, None), True),
        ("no time", (420_000, 500), True),
        ("00:28:01", (420_000, "500"), True),
    ],
)
def test_a_time_ahead_that_the_measured_offset_explains_is_a_fast_clock(
    recorded: str, clock: tuple[object, object], future: bool
) -> None:
    """A live punch of a fast terminal lies ahead when it is recorded; it counts as drift, as if it was read later."""
    event = {
        "id": "i",
        "time": "2026-09-01T07:35:00+07:00",
        "recordedtime": f"2026-09-01T{recorded}Z",
        "data": {
            "local_time": "2026-09-01T07:35:00",
            "terminal": "loket",
            "state": 0,
            "suspect": ["future", "drift"],
            "clock": {"offset_ms": clock[0], "bound_ms": clock[1]},
        },
    }
    instant = JAKARTA.instant(midnight(TUESDAY) + 7 * 3600 + 35 * 60)

    found = punch_of(event, "s", 7, instant)

    assert found.suspect == (("drift", "future") if future else ("drift",))


def test_a_plan_whose_timetable_is_missing_is_a_named_condition() -> None:
    """A hole in the registers is no exception, and no absence."""
    rows = office_hours()
    rows.roster("a", TUESDAY, "nowhere")

    found = judged(rows, TUESDAY)

    assert found.conditions == ("no_slots",)
    assert not found.absent
