"""Whose days a terminal's gaps, unknown PINs and other people's enrolments touch, however batches are cut."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from central.policy.office import OfficePolicies
from central.store import marks, ownership
from central.store.engine import utc
from central.timesheet.affected import Mark
from central.timesheet.facts import Facts, Judgement, judge_now
from tests.central.sealing import Source, sealed
from tests.central.store.office import POLICIES, Centre

OTHER = "3601-dinkes/gw-02"
"""A gateway of another site."""


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office, on the morning of Monday, 31 August 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    yield found
    found.close()


def judged_alone(centre: Centre, person: str, on: date, known_at: datetime | None = None) -> Judgement | None:
    """Judge one day without storing it."""
    with centre.database.reading() as connection:
        return judge_now(connection, OfficePolicies(POLICIES), person, on, int(centre.now.timestamp()), known_at)


def mark(centre: Centre, *days: Mark) -> None:
    """Mark days to be judged again."""
    with centre.database.writing() as connection:
        marks.mark(connection, days, {"kind": "test"}, utc(centre.now))


def assign(centre: Centre, since: date, gateway: str = OTHER) -> int:
    """Decide that the terminal belongs to another gateway; return how many punches count otherwise."""
    with centre.database.writing() as connection:
        entered = utc(centre.now)
        changed = ownership.assign(connection, "S1", gateway, since.isoformat(), "Kepala", "Contoh 1/2026", entered)
        marks.mark_assigned(connection, "S1", since, changed, entered)
        return len(changed)


def test_another_persons_enrolment_at_the_terminal_counts_in_every_batch(centre: Centre) -> None:
    """The PIN at the terminal passed from c to b; a has it at the site."""
    centre.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", "pin,site,person,from\n5,3602-bkpsdm,a,2026-01-01\n")
    centre.enter("enrolments", "pin,terminal,person,from,until\n5,S1,c,2026-01-01,2026-09-02\n5,S1,b,2026-09-03,\n")
    centre.punched("5", "2026-09-01 07:20:00")
    before = centre.at("2026-09-04 12:00").digests()

    mark(centre, *(Mark(f"person:{key}", date(2026, 9, 1), date(2026, 9, 3)) for key in "ab"))

    assert centre.at("2026-09-04 12:01").digests() == before


def test_a_punch_that_counts_at_another_site_leaves_the_former_persons_day(centre: Centre) -> None:
    """Two gateways of two sites sent it; after the decision the stored verdicts are those of a rebuild."""
    centre.enter("enrolments", f"pin,site,person,from\n7,3602-bkpsdm,a,2026-01-01\n7,{OTHER[:11]},b,2026-01-01\n")
    centre.punched("7", "2026-09-01 07:20:00")
    centre.source = Source(gateway=OTHER)
    centre.punched("7", "2026-09-01 07:20:00")
    assert centre.at("2026-09-03 12:00").day("a", "2026-09-01")["worked"]

    assert assign(centre, date(2026, 1, 1)) == 1

    decided = centre.at("2026-09-03 12:30").digests()
    assert not centre.day("a", "2026-09-01")["worked"]
    assert centre.day("b", "2026-09-01")["worked"]
    centre.recompute.rebuild()
    assert centre.at("2026-09-03 12:31").digests() == decided


def test_a_person_hired_later_begins_also_after_a_rebuild(centre: Centre) -> None:
    """The first day falls due though nothing else speaks of the person."""
    centre.at("2026-09-01 12:00")
    centre.enter(
        "people",
        "key,name,employment,unit,from,until\n"
        "c,Contoh Tiga,pns,dinas,2026-08-24,2026-08-31\nc,Contoh Tiga,pns,dinas,2026-09-14,2026-09-15\n"
        "c,Contoh Tiga,pns,dinas,2026-09-28,\n",
    )
    centre.at("2026-09-01 12:30")
    centre.recompute.rebuild()

    for on in range(1, 31):
        centre.at(f"2026-09-{on:02} 13:00")

    assert [on for on in ("2026-09-14", "2026-09-15", "2026-09-16", "2026-09-28") if centre.history("c", on)] == [
        "2026-09-14",
        "2026-09-15",
        "2026-09-28",
    ]


def test_an_unknown_pin_of_the_next_morning_is_a_doubt_of_the_night_judged_alone(centre: Centre) -> None:
    """05:10 in Jakarta is another date there than in UTC."""
    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "night,2026-01-01,in,in,21:00,19:00,25:00\nnight,2026-01-01,out,out,29:00,28:00,30:30\n",
    )
    centre.enter("rosters", "person,2026-09-01,2026-09-02\na,night,off\n")
    centre.punched("1001", "2026-09-01 20:55:00")
    centre.punched("9", "2026-09-02 05:10:00")
    centre.at("2026-09-03 10:00")
    assert centre.day("a", "2026-09-01")["status"] == "provisional"

    found = judged_alone(centre, "a", date(2026, 9, 1))

    assert found is not None
    assert found.inputs == centre.history("a", "2026-09-01")[-1].inputs


def test_a_terminal_that_moves_keeps_the_gaps_of_its_former_site(centre: Centre) -> None:
    """They are doubts of its people until the date of the decision, and from that date on no more."""
    centre.enter("enrolments", "pin,terminal,person,from\n1001,S1,a,2026-01-01\n")
    centre.enter("enrolments", "pin,site,person,from\n1001,3602-bkpsdm,a,2026-01-01\n", withdraw=True)
    centre.punched("1002", "2026-08-31 16:05:00")
    centre.punches("1001", "2026-09-01 07:22:00", "2026-09-01 16:03:00")
    centre.now = datetime(2026, 9, 2, 1, tzinfo=UTC)
    centre.punched("1002", "2026-09-02 07:21:00")
    assert centre.at("2026-09-02 08:00").day("a", "2026-09-01")["status"] == "provisional"

    assign(centre, date(2026, 9, 2))
    mark(centre, Mark("person:a", date(2026, 9, 1), date(2026, 9, 1)))
    assert centre.at("2026-09-02 08:10").day("a", "2026-09-01")["status"] == "provisional"

    before = centre.now - timedelta(minutes=1)
    assign(centre, date(2026, 9, 1))
    assert centre.at("2026-09-02 08:20").day("a", "2026-09-01")["status"] == "final"
    known = judged_alone(centre, "a", date(2026, 9, 1), before)
    assert known is not None
    assert known.status == "provisional"


def test_pruned_events_are_no_gap_as_known_at_a_moment(centre: Centre) -> None:
    """What was known then is judged as it was stored."""
    centre.punched("1002", "2026-08-31 16:05:00")
    gone = centre.punches("1001", "2026-09-01 07:22:00", "2026-09-01 16:03:00")
    after = centre.punches("1002", "2026-09-02 07:21:00")
    centre.now = datetime(2026, 9, 2, 1, tzinfo=UTC)
    centre.receive(*after, centre.source.forget(*gone, stream=centre.source.stream))
    assert centre.at("2026-09-02 20:30").day("a", "2026-09-01")["status"] == "final"

    known = judged_alone(centre, "a", date(2026, 9, 1), centre.now)

    assert known is not None
    assert known.inputs == centre.history("a", "2026-09-01")[-1].inputs


def test_a_gap_beside_pruned_events_ends_at_the_next_event(centre: Centre) -> None:
    """Otherwise every later day would stay provisional."""
    centre.punched("1002", "2026-08-31 16:05:00")
    centre.punches("1001", "2026-09-01 07:22:00", "2026-09-01 16:03:00")
    gone = centre.punches("1002", "2026-09-01 16:04:00")
    after = centre.punches("1002", "2026-09-02 07:21:00")
    centre.source.forget(*gone, stream=centre.source.stream)
    forgets = centre.source.events.pop() | {"recordedtime": "2026-09-02T00:30:00.412Z"}
    centre.now = datetime(2026, 9, 2, 1, tzinfo=UTC)
    centre.receive(*after, sealed(forgets, centre.source.end))

    assert centre.at("2026-09-02 08:30").day("a", "2026-09-01")["status"] == "provisional"
    assert centre.at("2026-09-10 20:30").day("a", "2026-09-10")["status"] == "final"


def test_a_day_ahead_falls_due_once(centre: Centre) -> None:
    """It falls due when it is near enough to be looked at, not before."""
    centre.at("2026-09-01 12:00")
    centre.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,dinas,2026-09-14\n")
    for hour in range(72):
        centre.now = datetime(2026, 9, 8, tzinfo=UTC) + timedelta(hours=hour)
        centre.recompute.run()
        assert centre.recompute.advance() == 0


def test_a_punch_of_another_century_reads_nothing_in_between(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's clock in 2103 beside a punch of today."""
    centre.at("2026-09-25 12:00")
    read = []
    load = Facts.load_recorded

    def noted(facts: Facts, first: int, last: int) -> None:
        read.append((last - first) // 86_400)
        load(facts, first, last)

    monkeypatch.setattr(Facts, "load_recorded", noted)
    centre.punched("1001", "2103-01-01 07:00:00", "2026-09-25 07:30:00")
    centre.at("2026-09-25 12:01")

    assert centre.day("a", "2026-09-25")["worked"]
    assert read
    assert max(read) < 100


def enter_old_unit(centre: Centre, since: str) -> None:
    """Enter a unit that has been judged since a date."""
    centre.enter("units", f"key,name,zone,from\nlama,Lama,WIB,{since}\n")
    centre.enter(
        "timetables",
        f"timetable,from,slot,kind,due,window from,window until\nold,{since},in,in,07:30,05:45,11:30\n",
    )
    centre.enter("schedules", f"schedule,from,day,timetable\ndaily,{since},1,old\n")
    centre.enter("assignments", f"unit,schedule,policy,from\nlama,daily,graded,{since}\n")


def test_an_employment_since_1950_is_judged_in_batches_where_a_policy_is(centre: Centre) -> None:
    """Dates before the first policy are not looked at, and no transaction holds more than a year of a person."""
    centre.at("2026-09-01 12:00")
    enter_old_unit(centre, "2024-02-01")
    centre.recompute.run()
    judged = centre.recompute.judged

    centre.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,lama,1950-01-01\n")
    batches = []
    while centre.recompute.batch():
        batches.append(centre.recompute.judged - judged)
        judged = centre.recompute.judged

    assert len(batches) >= 3
    assert max(batches) <= 370
    assert 940 <= sum(batches) <= 960  # from 2024-02-01 to 2026-09-01
    statuses = {centre.day("c", on)["status"] for on in ("2024-02-01", "2025-08-31")}
    assert statuses == {"provisional"}, "nowhere enrolled"
    assert centre.history("c", "2026-09-01")
    assert len({centre.history("c", on)[-1].cause for on in ("2024-02-01", "2026-08-31")}) == 1
    before = centre.digests()
    centre.recompute.rebuild()
    assert (centre.recompute.run(), centre.digests()) == (0, before)


def test_of_a_long_range_what_is_recent_is_judged_first(centre: Centre) -> None:
    """Whoever looks at the morning's list does not wait for years that are over."""
    enter_old_unit(centre, "2020-01-01")
    centre.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,lama,2020-01-01\n")
    centre.now = datetime(2026, 9, 1, 5, tzinfo=UTC)
    centre.recompute.begin()
    while not centre.history("c", "2026-09-01"):
        assert centre.recompute.batch()

    assert not centre.history("c", "2020-06-01")


def test_a_gap_behind_a_clock_that_was_ahead_is_a_doubt(centre: Centre) -> None:
    """What follows a punch of 2103 was recorded after that punch arrived, not after 2103."""
    centre.punched("1002", "2026-08-31 16:05:00")
    (ahead,) = centre.punches("1002", "2103-01-01 07:00:00", suspect=["future"])
    centre.source.events.pop()
    ahead |= {"recordedtime": "2026-08-31T09:06:00.000Z"}
    centre.source.events.append(sealed(ahead, centre.source.end))
    centre.punches("1001", "2026-09-01 07:22:00", "2026-09-01 16:03:00")
    after = centre.punches("1002", "2026-09-02 07:21:00")
    assert centre.at("2026-09-02 08:00").day("a", "2026-09-01")["status"] == "final"

    centre.receive(centre.source.events[1], *after)

    assert centre.at("2026-09-02 08:10").day("a", "2026-09-01")["status"] == "provisional"


def test_a_gap_behind_a_clock_that_was_reset_is_no_doubt_of_decades(centre: Centre) -> None:
    """What follows a punch of 2000 may be a week older than its arrival."""
    before = centre.at("2026-09-12 08:00").day("a", "2026-08-31")
    assert before["status"] == "final"
    (reset,) = centre.punches("1002", "2000-01-01 00:00:14", suspect=["reset"])
    centre.source.events.pop()
    reset |= {"recordedtime": "2026-09-10T01:00:00.000Z"}
    centre.source.events.append(sealed(reset, centre.source.end))
    centre.punches("1001", "2026-09-10 07:22:00")
    after = centre.punches("1002", "2026-09-11 07:21:00")

    centre.receive(centre.source.events[0], *after)

    assert centre.at("2026-09-12 08:10").day("a", "2026-09-10")["status"] == "provisional"
    assert centre.day("a", "2026-09-04")["status"] == "provisional"
    assert len(centre.history("a", "2026-08-31")) == 1


def test_a_gap_that_begins_on_another_date_in_the_persons_zone_marks_that_date(centre: Centre) -> None:
    """00:30 in Jayapura is 22:30 of the day before in Jakarta, where a window is open then."""
    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\nevening,2026-01-01,in,in,22:40,22:00,23:30\n",
    )
    centre.enter("rosters", "person,2026-09-01\na,evening\n")
    centre.punched("1002", "2026-08-31 07:20:00")
    centre.punched("1002", "2026-09-01 23:50:00", zone="Asia/Jayapura", serial="S2")
    assert centre.at("2026-09-02 08:00").day("a", "2026-09-01")["absent"]
    (early,) = centre.punches("1002", "2026-09-02 00:30:00", zone="Asia/Jayapura", serial="S2")
    centre.punches("1001", "2026-09-01 22:38:00")
    after = centre.punches("1002", "2026-09-02 07:21:00")

    centre.receive(early, *after)

    assert centre.at("2026-09-02 08:10").day("a", "2026-09-01")["status"] == "provisional"


def test_an_unknown_pin_read_in_another_zone_marks_the_date_of_the_person(centre: Centre) -> None:
    """23:10 in Jakarta is 01:10 of the next date in Jayapura, whose clerk has a window open then."""
    centre.enter_clerk_of_jayapura()
    centre.punched("1001", "2026-08-31 07:20:00")
    assert centre.at("2026-09-03 12:00").day("t", "2026-09-02")["absent"]

    centre.punched("9", "2026-09-01 23:10:00")

    assert centre.at("2026-09-03 13:00").day("t", "2026-09-02")["status"] == "provisional"


def test_a_punch_of_the_same_date_in_the_persons_zone_ends_the_doubt_of_an_unknown_pin(centre: Centre) -> None:
    """The date is the plan's: 23:10 in Jakarta and 01:30 in Jayapura are one date of the clerk of Jayapura."""
    centre.enter("units", "key,name,zone,from\ntimur,Timur,WIT,2026-01-01\n")
    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "early,2026-01-01,in,in,01:00,00:00,04:00\nearly,2026-01-01,out,out,08:00,07:00,09:00\n",
    )
    centre.enter("people", "key,name,employment,unit,from\nt,Contoh Timur,pns,timur,2026-08-24\n")
    centre.enter("assignments", "unit,policy,from\ntimur,graded,2026-01-01\n")
    centre.enter("rosters", "person,2026-09-02\nt,early\n")
    centre.enter("enrolments", "pin,site,person,from\n7,3602-bkpsdm,t,2026-01-01\n")
    centre.punched("9", "2026-09-01 23:10:00")
    assert centre.at("2026-09-03 12:00").day("t", "2026-09-02")["status"] == "provisional"

    centre.punched("7", "2026-09-02 06:10:00")  # 08:10 in Jayapura: the way out

    found = centre.at("2026-09-03 13:00").day("t", "2026-09-02")
    assert (found["status"], found["worked"]) == ("final", True)


def test_whether_a_date_has_a_punch_does_not_depend_on_what_else_is_judged(centre: Centre) -> None:
    """A window of the night reaches into a date on which a punch lies behind it."""
    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "night,2026-01-01,in,in,21:00,19:00,25:00\nnight,2026-01-01,out,out,29:00,28:00,30:30\n",
    )
    centre.enter("rosters", "person,2026-09-01,2026-09-02\na,night,off\n")
    centre.punched("1001", "2026-09-01 20:55:00", "2026-09-02 16:00:00")
    centre.punched("9", "2026-09-02 05:10:00")
    centre.at("2026-09-04 10:00")
    stored = centre.history("a", "2026-09-01")[-1]

    alone = judged_alone(centre, "a", date(2026, 9, 1))

    assert alone is not None
    assert alone.inputs == stored.inputs
    assert stored.status == "final"


def test_the_pins_of_a_file_of_enrolments_are_looked_up_together(centre: Centre) -> None:
    """Ten times as many PINs cost as many statements; each punch is attributed again."""
    counts = []
    for first, number in ((2000, 4), (3000, 40)):
        rows = "".join(f"{first + one},3602-bkpsdm,a,2026-01-01\n" for one in range(number))
        centre.punched(str(first + number - 1), f"2026-08-31 0{first // 1000 + 4}:50:00")
        centre.at("2026-08-31 09:00")
        centre.enter("enrolments", f"pin,site,person,from\n{rows}")
        seen: list[str] = []
        listener = lambda *arguments: seen.append(arguments[2])  # noqa: E731, B023 - removed below
        event.listen(Engine, "before_cursor_execute", listener)
        centre.recompute.finish()
        event.remove(Engine, "before_cursor_execute", listener)
        counts.append(len(seen))

    assert counts[1] <= counts[0] * 1.5, counts
    day = str(centre.day("a", "2026-08-31"))
    assert all(one["id"] in day for one in centre.source.events), day
