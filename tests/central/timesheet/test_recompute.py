"""From facts to verdicts in a real database: the prose cases, and what recomputing promises."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic import command
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, insert, select, update
from structlog.testing import capture_logs
from typer.testing import CliRunner

from central.cli import app
from central.policy.office import OfficePolicies
from central.store import marks, outcome_proof, outcomes, results
from central.store.engine import Database, StoreError
from central.timesheet.affected import Mark
from central.timesheet.facts import Facts, judge_now
from central.timesheet.model import ENGINE
from central.timesheet.outcome import counts_of_days
from central.timesheet.recompute import Recompute
from central.timesheet.stored import load_day
from central.timesheet.totals import Totals, total
from central.timesheet.worker import Worker
from tests.central.store.office import POLICIES, Centre, slots
from tests.central.stores import address

BOTH_STORES = True
ROOT = Path(__file__).parents[3]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office, on the morning of Monday, 31 August 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    yield found
    found.close()


def beside(centre: Centre) -> Centre:
    """Return another centre with the same office."""
    folder = centre.folder / "other"
    folder.mkdir()
    other = Centre(folder, centre.now)
    other.enter_office()
    return other


def test_a_day_is_open_then_final_without_a_new_fact(centre: Centre) -> None:
    """C24b: time itself is a reason to judge again."""
    centre.punched("1001", "2026-08-31 07:20:00")

    open_ = centre.at("2026-08-31 10:00").day("a", "2026-08-31")
    assert (open_["status"], slots(open_, "status"), slots(open_, "missing")) == (
        "open",
        ["open", "open"],
        [False, None],
    )
    noon = centre.at("2026-08-31 12:00").day("a", "2026-08-31")
    assert slots(noon, "status") == ["final", "open"]
    ended = centre.at("2026-08-31 19:47").day("a", "2026-08-31")

    assert (ended["status"], slots(ended, "missing"), ended["cut"]) == ("final", [False, True], 1500)
    assert [one.status for one in centre.history("a", "2026-08-31")] == ["open", "open", "final"]
    assert json.loads(centre.history("a", "2026-08-31")[-1].cause) == [{"kind": "time"}]


def test_a_batch_two_days_late_brings_a_revision_that_says_why(centre: Centre) -> None:
    """C10: a gap keeps the day provisional; what filled it is named; the same batch again brings nothing."""
    centre.now = datetime(2026, 9, 1, 1, tzinfo=UTC)
    centre.punched("1002", "2026-08-31 16:05:00")
    late = centre.punches("1001", "2026-09-01 07:22:00", "2026-09-01 16:03:00")
    after = centre.punches("1002", "2026-09-02 07:21:00")
    centre.now = datetime(2026, 9, 2, 1, tzinfo=UTC)
    centre.receive(*after)
    before = centre.at("2026-09-02 08:00").day("a", "2026-09-01")
    assert (before["status"], before["cut"], before["absent"]) == ("provisional", 0, False)
    doubts = [reason for reason in before["reasons"] if reason["step"] == "doubt"]
    assert {(doubt["what"], doubt["slot"]) for doubt in doubts} == {("gap", "in"), ("gap", "out")}
    assert {doubt["detail"] for doubt in doubts} == {f"stream {centre.source.stream} sequences 2-3"}
    revisions = len(centre.history("a", "2026-09-01"))

    centre.now = datetime(2026, 9, 3, 1, tzinfo=UTC)
    centre.receive(*late)
    found = centre.at("2026-09-03 09:00").day("a", "2026-09-01")

    assert (slots(found), found["cut"], found["status"]) == ([0, 0], 0, "final")
    last = centre.history("a", "2026-09-01")[-1]
    changed = json.loads(last.changed)
    assert last.revision == revisions + 1
    assert [(punch["sequence"], punch["stream"]) for punch in changed["punches"]["new"]] == [
        (2, centre.source.stream),
        (3, centre.source.stream),
    ]
    assert {doubt["what"] for doubt in changed["doubts"]["gone"]} == {"gap"}
    assert {"status", "worked", "in.missing"} <= set(changed["fields"])
    centre.at("2026-09-03 10:00")
    assert centre.history("a", "2026-09-01")[-1] == last


def test_hours_changed_on_paper_later_count_from_their_date(centre: Centre) -> None:
    """C12: entered on 5 September, valid from the 1st; August has one revision, ever."""
    centre.punched("1001", "2026-08-31 07:45:00", "2026-08-31 16:00:00", "2026-09-01 07:45:00", "2026-09-01 16:31:00")
    centre.at("2026-09-04 12:00")
    assert slots(centre.day("a", "2026-09-01")) == [15, 0]
    august = centre.history("a", "2026-08-31")

    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "office,2026-09-01,in,in,08:00,05:45,11:30\noffice,2026-09-01,out,out,16:30,11:31,19:46\n",
        paper="Perbup 9/2026",
    )
    centre.at("2026-09-06 12:00")

    assert slots(centre.day("a", "2026-09-01")) == [0, 0]
    assert centre.history("a", "2026-08-31") == august
    last = centre.history("a", "2026-09-01")[-1]
    old, new = json.loads(last.changed)["plan"]
    assert "Perbup 9/2026" in new
    assert "Perbup 9/2026" not in old
    (cause,) = json.loads(last.cause)
    assert (cause["kind"], cause["register"], cause["paper"]) == ("import", "timetables", "Perbup 9/2026")


def test_next_years_calendar_changes_nothing_in_this_year(centre: Centre) -> None:
    """C13: no revision."""
    centre.enter("calendar", "date,kind,name\n2026-12-25,national_holiday,Natal\n")
    centre.at("2026-12-31 12:00")
    before = centre.digests()
    assert centre.day("a", "2026-12-25")["kind"] == "holiday"

    centre.enter("calendar", "date,kind,name\n2027-12-25,national_holiday,Natal\n")
    centre.at("2026-12-31 13:00")

    assert {key: value for key, value in centre.digests().items() if key[1] < "2026-12-31"} == {
        key: value for key, value in before.items() if key[1] < "2026-12-31"
    }
    assert len(centre.history("a", "2026-12-25")) == 1


def test_a_day_declared_off_afterwards_gets_a_revision_and_a_ward_none(centre: Centre) -> None:
    """C14: absent before; a colleague has worked without lateness; a roster does not follow the calendar."""
    centre.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,dinas,2026-08-24\n")
    centre.enter("rosters", "person,2026-09-01\nc,office\n")
    centre.punched("1002", "2026-09-01 07:50:00", "2026-09-01 16:00:00")
    centre.at("2026-09-02 12:00")
    assert centre.day("a", "2026-09-01")["absent"]
    assert slots(centre.day("b", "2026-09-01")) == [20, 0]
    ward = centre.history("c", "2026-09-01")

    centre.enter("calendar", "date,kind,name\n2026-09-01,cuti_bersama,Hari Contoh\n", paper="SKB 1/2026")
    centre.at("2026-09-03 12:00")

    clerk, colleague = centre.day("a", "2026-09-01"), centre.day("b", "2026-09-01")
    assert (clerk["kind"], clerk["absent"], slots(clerk, "missing")) == ("off", False, [None, None])
    assert (colleague["worked"], slots(colleague), colleague["cut"]) == (True, [None, None], 0)
    assert centre.history("c", "2026-09-01") == ward
    assert "kind" in json.loads(centre.history("a", "2026-09-01")[-1].changed)["fields"]


def test_today_is_per_zone(centre: Centre) -> None:
    """C18b: at 16:30 of UTC it is tomorrow in Jayapura and Makassar, and still today in Jakarta."""
    centre.enter(
        "units", "key,name,zone,from\ntimur,Timur,Asia/Jayapura,2026-01-01\ntengah,Tengah,Asia/Makassar,2026-01-01\n"
    )
    centre.enter(
        "assignments", "unit,schedule,policy,from\ntimur,week,graded,2026-01-01\ntengah,week,graded,2026-01-01\n"
    )
    centre.enter(
        "people",
        "key,name,employment,unit,from\nt,Contoh Timur,pns,timur,2026-08-24\ng,Contoh Tengah,pns,tengah,2026-08-24\n",
    )
    centre.enter("enrolments", "pin,terminal,person,from\n7,T9,t,2026-01-01\n")
    centre.punched("7", "2026-09-01 06:30:00", zone="Asia/Jayapura", serial="T9")
    centre.now = datetime(2026, 8, 31, 16, 30, tzinfo=UTC)
    centre.recompute.run()

    assert centre.day("t", "2026-09-01")["status"] == "open"
    assert centre.day("g", "2026-09-01")["status"] == "open"
    assert centre.history("a", "2026-09-01") == []
    centre.at("2026-09-01 08:00")
    assert slots(centre.day("t", "2026-09-01"))[0] == 0
    assert centre.day("a", "2026-09-01")["status"] == "open"


def test_people_who_come_and_pins_that_pass_on(centre: Centre) -> None:
    """C25b: the change of a PIN, entered two days later, gives both persons' days new revisions, and nothing before."""
    centre.enter("people", "key,name,employment,unit,from\nnew,Contoh Baru,pns,dinas,2026-09-15\n")
    centre.punched("1001", "2026-09-09 07:20:00", "2026-09-10 07:40:00", "2026-09-10 16:00:00", "2026-09-11 07:40:00")
    centre.at("2026-09-12 08:00")
    assert slots(centre.day("a", "2026-09-10")) == [10, 0]
    before = {key: len(centre.history(*key)) for key in centre.digests()}

    centre.enter(
        "enrolments",
        "pin,site,person,from,until\n1001,3602-bkpsdm,a,2026-01-01,2026-09-09\n1001,3602-bkpsdm,b,2026-09-10,\n",
    )
    centre.at("2026-09-12 09:00")

    assert slots(centre.day("b", "2026-09-10")) == [10, 0]
    moved = centre.day("a", "2026-09-10")
    assert (moved["status"], moved["absent"], moved["cut"]) == ("provisional", False, 0), "nowhere enrolled"
    after = {key: len(centre.history(*key)) for key in centre.digests()}
    changed = {key for key, count in after.items() if count != before.get(key)}
    assert changed == {(person, on) for person in "ab" for on in ("2026-09-10", "2026-09-11")}
    centre.at("2026-09-16 12:00")
    assert centre.history("new", "2026-09-14") == []
    assert centre.day("new", "2026-09-15")["status"] == "provisional", "nowhere enrolled"


def test_a_pin_without_an_enrolment_is_a_doubt_until_it_has_one(centre: Centre) -> None:
    """It touches the people of the site to whom no punch of that date is attributed, and goes with the enrolment."""
    centre.punched("1002", "2026-09-01 07:20:00", "2026-09-01 16:10:00")
    centre.punched("9", "2026-09-01 07:25:00")
    centre.at("2026-09-02 08:00")
    before = centre.day("a", "2026-09-01")
    assert (before["status"], slots(before, "status"), before["cut"]) == ("provisional", ["provisional", "final"], 1500)
    assert [reason["what"] for reason in before["reasons"] if reason["step"] == "doubt"] == ["unattributed"]
    assert centre.day("b", "2026-09-01")["status"] == "final"

    centre.enter("enrolments", "pin,site,person,from\n9,3602-bkpsdm,a,2026-09-01\n")
    centre.at("2026-09-02 09:00")

    found = centre.day("a", "2026-09-01")
    assert (found["status"], slots(found)[0], found["cut"]) == ("final", 0, 1500)


def test_a_decision_that_a_pin_is_a_visitors_ends_the_doubt(centre: Centre) -> None:
    """Nothing stays provisional for want of a way to end it."""
    centre.punched("9", "2026-09-01 07:25:00")
    centre.at("2026-09-02 08:00")
    assert centre.day("a", "2026-09-01")["status"] == "provisional"

    centre.enter("decisions", "decision,terminal,pin,from,by,paper\nvisitor,S1,9,2026-09-01,Kepala,Contoh 10/2026\n")
    centre.at("2026-09-02 09:00")

    assert centre.day("a", "2026-09-01")["absent"]


def test_a_night_takes_the_next_mornings_punch(centre: Centre) -> None:
    """C01, C03: the punch of the next date brings the revision of the night, and the next date is free of it."""
    centre.enter(
        "timetables",
        "timetable,from,slot,kind,due,window from,window until\n"
        "night,2026-01-01,in,in,21:00,19:00,25:00\nnight,2026-01-01,out,out,31:00,29:00,33:00\n",
    )
    centre.enter("rosters", "person,2026-09-01,2026-09-02\na,night,off\n")
    centre.punched("1001", "2026-09-01 20:55:00")
    centre.at("2026-09-02 10:00")
    assert slots(centre.day("a", "2026-09-01"), "missing") == [False, True]

    centre.punched("1001", "2026-09-02 07:02:00")
    centre.at("2026-09-02 11:00")

    assert slots(centre.day("a", "2026-09-01")) == [0, 0]
    assert centre.day("a", "2026-09-02")["unclaimed"] == []


def test_a_plan_that_is_withdrawn_ends_the_day(centre: Centre) -> None:
    """The day is not judged any more; its revisions stay."""
    centre.at("2026-09-02 08:00")
    assert centre.day("a", "2026-09-01")["absent"]

    centre.enter("assignments", "unit,schedule,policy,from\ndinas,week,graded,2026-01-01\n", withdraw=True)
    centre.at("2026-09-02 09:00")

    last = centre.history("a", "2026-09-01")[-1]
    assert (last.status, json.loads(last.content)) == ("none", {"why": "no_policy"})
    centre.enter("assignments", "unit,schedule,policy,from\ndinas,week,graded,2026-01-01\n")
    centre.at("2026-09-02 10:00")
    assert centre.day("a", "2026-09-01")["absent"]


def test_judging_twice_writes_nothing(centre: Centre) -> None:
    """Equal digest: no revision, whatever marks there are."""
    centre.punched("1001", "2026-08-31 07:20:00", "2026-08-31 16:20:00")
    centre.at("2026-09-01 05:00")
    before = centre.digests()
    with centre.database.writing() as connection:
        marks.mark(connection, [Mark("scope:all", date.min, date.max)], {"kind": "rebuild"}, "")

    written = centre.recompute.run()

    assert (written, centre.digests()) == (0, before)


def test_a_kill_anywhere_loses_nothing_and_repeats_nothing(centre: Centre) -> None:
    """A process dies before one statement after another; in the end each day has one revision, as undisturbed."""
    other = beside(centre)
    for one in (centre, other):
        for pin in ("1001", "1002", "9"):
            for number in range(1, 5):
                one.punched(pin, f"2026-09-0{number} 07:2{number}:00", f"2026-09-0{number} 16:00:00")
        one.now = datetime(2026, 9, 5, 1, tzinfo=UTC)
    other.recompute.run()
    program = [sys.executable, "-m", "tests.central.timesheet.crash_recompute"]
    arguments = [address(centre.folder / "centre.db"), str(POLICIES), centre.now.isoformat()]

    died, statements = 0, 3
    while subprocess.run([*program, *arguments, str(statements)], check=False, cwd=ROOT).returncode == -signal.SIGKILL:
        died += 1
        statements = statements * 5 // 4 + 2

    assert died >= 5
    assert centre.digests() == other.digests()
    assert all(len(centre.history(*key)) == 1 for key in centre.digests())
    with centre.database.reading() as connection:
        assert marks.numbers(connection) == (0, 0)


def test_days_are_the_same_however_batches_are_cut(centre: Centre) -> None:
    """One mark at a time, or all at once: equal digests."""
    single = beside(centre)
    for one in (centre, single):
        for number in range(1, 5):
            one.punched("1001", f"2026-09-0{number} 07:2{number}:00", f"2026-09-0{number} 16:00:00")
        one.enter("rosters", "person,2026-09-02,2026-09-03\na,office,off\n")
        one.now = datetime(2026, 9, 5, 1, tzinfo=UTC)

    centre.recompute.run()
    single.worker(person_days=1).run()

    assert single.digests() == centre.digests()


def test_a_day_that_cannot_be_judged_costs_itself(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours sets its mark aside, counted and named; the others are judged; it can be tried again."""
    original = Facts.judge

    def failing(self: Facts, wanted: Mapping[str, Any], now: int) -> Any:
        if "a" in wanted:
            raise KeyError("a")
        return original(self, wanted, now)

    monkeypatch.setattr(Facts, "judge", failing)
    centre.at("2026-09-02 08:00")

    assert centre.history("a", "2026-09-01") == []
    assert centre.day("b", "2026-09-01")["absent"]
    with centre.database.reading() as connection:
        waiting, failed = marks.numbers(connection)
    assert (waiting, failed > 0) == (0, True)
    monkeypatch.undo()
    with centre.database.writing() as connection:
        marks.retry(connection)
    centre.recompute.run()
    assert centre.day("a", "2026-09-01")["absent"]


def test_another_version_of_the_judgement_makes_revisions_marked_as_such(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict may be the same; the revision states which versions it lies between."""
    centre.at("2026-09-02 08:00")
    monkeypatch.setattr("central.timesheet.digest.ENGINE", ENGINE + 1)
    monkeypatch.setattr("central.timesheet.recompute.ENGINE", ENGINE + 1)

    centre.recompute.run()

    last = centre.history("a", "2026-09-01")[-1]
    assert (last.revision, last.engine) == (2, ENGINE + 1)
    assert json.loads(last.changed) == {"engine": [ENGINE, ENGINE + 1]}
    assert json.loads(last.cause) == [{"from": ENGINE, "kind": "engine", "to": ENGINE + 1}]


def test_another_text_of_a_policy_is_judged_by(centre: Centre, tmp_path: Path) -> None:
    """A policy's file that was changed marks those who are judged by it."""
    folder = tmp_path / "policies"
    folder.mkdir()
    text = (POLICIES / "graded.yaml").read_text("utf-8")
    (folder / "graded.yaml").write_text(text, "utf-8")
    centre.at("2026-09-02 08:00")
    (folder / "graded.yaml").write_text(text.replace("class: TL4", "class: TL9"), "utf-8")

    Recompute(centre.database, OfficePolicies(folder), now=lambda: centre.now).run()

    assert slots(centre.day("a", "2026-09-01"), "class_")[0] == "TL9"
    assert json.loads(centre.history("a", "2026-09-01")[-1].cause) == [{"kind": "policy", "policy": "graded"}]


def test_no_revision_says_that_nothing_changed(centre: Centre, tmp_path: Path) -> None:
    """Another article of the decree; an order of overtime that nobody worked; what has no effect is named as such."""
    folder = tmp_path / "policies"
    folder.mkdir()
    text = (POLICIES / "graded.yaml").read_text("utf-8")
    other = text.replace("source: {decree: tests of the centre, note: no decree}", "source: {decree: SK 2/2026}")
    (folder / "graded.yaml").write_text(other, "utf-8")
    centre.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:05:00")
    centre.at("2026-09-02 08:00")

    centre.enter("orders", "person,date,begin,end\na,2026-09-01,17:30,18:30\n")
    centre.at("2026-09-02 09:00")
    Recompute(centre.database, OfficePolicies(folder), now=lambda: centre.now).run()

    _, ordered, decreed = (json.loads(one.changed) for one in centre.history("a", "2026-09-01"))
    assert ordered == {"inputs": True}
    assert json.loads(centre.history("a", "2026-09-01")[1].cause)[0]["register"] == "orders"
    assert {line["policy"]["decree"] for line in decreed["lines"]["new"]} == {"SK 2/2026"}
    assert {line["policy"]["decree"] for line in decreed["lines"]["gone"]} == {"tests of the centre"}


SHARED = {
    "units": "key,name,parent,zone,from\ndinas,Dinas,,Asia/Jayapura,2026-01-01\n",
    "timetables": "timetable,from,slot,kind,due,window from,window until\noffice,2026-09-01,in,in,08:00,05:45,11:30\n",
    "schedules": "schedule,from,day,timetable\nweek,2026-09-01,1,off\n",
    "calendar": "date,kind,scope,name\n2026-09-01,local_holiday,dinas,Hari jadi\n",
    "assignments": "unit,policy,from\ndinas,starter,2026-01-01\n",
}


@pytest.mark.parametrize("kind", SHARED)
def test_a_shared_row_brings_new_verdicts_of_all_whom_it_concerns(centre: Centre, kind: str) -> None:
    """Also of people of units below, and no others."""
    centre.enter("units", "key,name,parent,zone,from\nbidang,Bidang,dinas,,2026-01-01\nluar,Luar,,WIB,2026-01-01\n")
    centre.enter(
        "people",
        "key,name,employment,unit,from\nc,Contoh Tiga,pns,bidang,2026-08-24\nd,Contoh Empat,pns,luar,2026-08-24\n",
    )
    centre.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:00:00")
    centre.at("2026-09-02 08:00")
    before = centre.digests()

    centre.enter(kind, SHARED[kind])
    centre.at("2026-09-02 09:00")

    after = centre.digests()
    assert {person for person, on in after if on == "2026-09-01" and after[person, on] != before[person, on]} == set(
        "abc"
    )
    assert not [key for key in after if key[0] == "d"]


def test_days_that_began_while_nothing_ran_are_judged_later(centre: Centre) -> None:
    """A centre that was off for weeks catches up by itself."""
    centre.at("2026-09-01 12:00")

    centre.at("2026-10-02 12:00")

    assert all(centre.day("a", f"2026-09-{number:02d}")["absent"] for number in (2, 15, 30))
    assert centre.day("b", "2026-10-02")["status"] == "open"


def test_rebuilding_from_facts_alone_gives_the_same_digests(centre: Centre) -> None:
    """Everything that follows from facts is forgotten and judged again: no revision; damage to a verdict is found."""
    centre.punched("1001", "2026-08-31 07:20:00", "2026-08-31 16:20:00", "2026-09-01 07:50:00")
    centre.punched("9", "2026-09-01 07:25:00")
    centre.at("2026-09-03 12:00")
    before = centre.digests()
    assert Recompute.differing(centre.recompute, 10, Random(1)) == []

    centre.recompute.rebuild()
    assert (centre.recompute.run(), centre.digests()) == (0, before)
    with centre.database.writing() as connection:
        connection.execute(update(results.RESULT).where(results.RESULT.c.person == "a").values(inputs="damaged"))

    worker = Worker(centre.recompute)
    while worker.step():
        pass
    with capture_logs() as logs:
        assert worker.check() == 1
    assert [(line["event"], line["log_level"]) for line in logs] == [("verdicts_drift", "error")]
    centre.recompute.rebuild()
    assert centre.recompute.run() == len([key for key in before if key[0] == "a"])
    assert centre.digests() == before


def wrong_outcomes(centre: Centre) -> int:
    """Return how many outcomes were not what their verdicts come to; they are made anew."""
    with centre.database.writing() as connection:
        return outcome_proof.renew(connection)


def test_an_outcome_that_is_not_its_verdict_is_found_and_made_anew(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one, a missing one, and one without a verdict, whatever page of the proof they lie on."""
    monkeypatch.setattr(outcome_proof, "PAGE", 2)
    centre.punched("1001", "2026-08-31 07:45:00", "2026-08-31 16:20:00")
    centre.at("2026-09-03 12:00")
    table = outcomes.OUTCOME
    in_order = select(table).order_by(table.c.person, table.c.date, table.c.revision)
    with centre.database.reading() as connection:
        before = connection.execute(in_order).all()
    with centre.database.writing() as connection:
        connection.execute(update(table).where(table.c.person == "a").values(marks='["late"]'))
    with capture_logs() as logs:
        assert Worker(centre.recompute).check() >= 1
    assert [line["event"] for line in logs] == ["verdicts_drift"]
    with centre.database.writing() as connection:
        connection.execute(delete(table).where(table.c.person == "b"))
        connection.execute(insert(table).values(person="z", date="2026-09-01", revision=1, entered="", status="open"))

    shown = CliRunner().invoke(
        app,
        ["rebuild", "--db", str(centre.folder / "centre.db"), "--policies", str(POLICIES), "--lang", "en"],
        obj=lambda: centre.now,
    )

    wrong = len([row for row in before if row.person in ("a", "b")]) + 1
    assert f"{wrong} stored outcomes" in shown.output
    assert shown.exit_code == 1
    with centre.database.reading() as connection:
        assert connection.execute(in_order).all() == before
    assert wrong_outcomes(centre) == 0


@pytest.mark.file_only  # such a file is made by SQLite
def test_verdicts_of_an_older_file_get_their_outcomes(
    centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration fills the table; a verdict that cannot be read is not judged there, and stops nothing."""
    centre.punched("1001", "2026-08-31 07:45:00")
    centre.enter("leave", "person,kind,from,begin,end\na,annual,2026-09-01,12:30,16:00\n")
    centre.at("2026-09-03 12:00")
    with centre.database.reading() as connection:
        before = connection.execute(select(outcomes.OUTCOME)).all()
    old, migrate = tmp_path / "old.db", command.upgrade
    with monkeypatch.context() as patch, suppress(StoreError):
        patch.setattr(command, "upgrade", lambda config, _: migrate(config, "0012"))
        Database(old, create=True).close()
    with closing(sqlite3.connect(old)) as driver, driver:
        driver.execute("ATTACH ? AS new", (str(centre.folder / "centre.db"),))
        columns = ", ".join(f'"{row[1]}"' for row in driver.execute("PRAGMA main.table_info(result)"))
        driver.execute(f"INSERT INTO main.result ({columns}) SELECT {columns} FROM new.result")  # noqa: S608 - our own words
        driver.execute("UPDATE main.result SET content = '[' WHERE person = 'b' AND date = '2026-09-01'")

    with Database(old, create=True) as database, database.reading() as connection:
        after = connection.execute(select(outcomes.OUTCOME)).all()

    bad = [row for row in after if row.why == "unreadable"]
    assert {(row.person, row.date, row.status) for row in bad} == {("b", "2026-09-01", "none")}
    assert [row for row in after if row not in bad] == [
        row for row in before if (row[0], row[1]) != ("b", "2026-09-01")
    ]


def rebuilt(centre: Centre, since: str) -> int:
    """Return how many days a rebuild found otherwise."""
    with centre.database.reading() as connection:
        return results.rebuilt(connection, since)[1]


def waiting_subjects(centre: Centre) -> list[str]:
    """Return whom the next marks are about."""
    with centre.database.reading() as connection:
        return [mark.subject for mark in marks.waiting(connection, 100)]


def test_what_arrives_while_a_rebuild_runs_is_no_difference(centre: Centre) -> None:
    """A punch, an unknown PIN, a window that ends and a day that begins; a verdict that was damaged is one."""
    centre.punched("1001", "2026-09-01 07:20:00", "2026-09-01 16:20:00")
    centre.punched("9", "2026-08-31 07:25:00")
    centre.at("2026-09-02 11:00")
    waiting = centre.punches("1002", "2026-09-01 07:21:00")
    centre.receive(*waiting)  # its mark waits when the rebuild begins
    with centre.database.writing() as connection:
        damaged = results.RESULT.c.person == "a", results.RESULT.c.date == "2026-08-31"
        connection.execute(update(results.RESULT).where(*damaged).values(inputs="damaged"))

    since = centre.recompute.rebuild()
    rebuilding, beside = centre.worker(person_days=1), centre.worker(person_days=1)  # the inbox's own
    while not any(subject.startswith("person:") for subject in waiting_subjects(centre)):
        assert rebuilding.batch()
    centre.punched("1002", "2026-09-01 16:05:00")
    centre.punched("9", "2026-09-01 07:25:00")
    centre.now = datetime(2026, 9, 2, 18, tzinfo=UTC)  # windows of 2 September have ended, 3 September has begun
    while rebuilding.batch() and beside.batch():
        pass

    assert rebuilt(centre, since) == 1
    assert centre.day("b", "2026-09-01")["status"] == "final"
    assert centre.day("a", "2026-09-02")["absent"]


def test_a_rebuild_in_small_batches_is_no_difference(centre: Centre) -> None:
    """Every unknown PIN is known again before the first day is judged."""
    for number in range(1, 5):
        centre.punched("1001", f"2026-09-0{number} 07:20:00", f"2026-09-0{number} 16:20:00")
        centre.punched("9", f"2026-09-0{number} 07:25:00")
    before = centre.at("2026-09-05 12:00").digests()
    small = centre.worker(person_days=1)

    since = small.rebuild()
    while small.batch():
        pass

    assert (small.written, rebuilt(centre, since), centre.digests()) == (0, 0, before)


ROSTER = st.sampled_from(["office", "night", "off"])
DATES = [date(2026, 9, 1) + timedelta(days=number) for number in range(4)]
FACT = st.one_of(
    st.tuples(
        st.just("punch"),
        st.sampled_from(["1001", "1002", "9"]),
        st.sampled_from(DATES),
        st.integers(0, 86_399).map(lambda second: f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"),
    ),
    st.tuples(st.just("rosters"), st.sampled_from("ab"), st.sampled_from(DATES), ROSTER),
    st.tuples(st.just("leave"), st.sampled_from("ab"), st.sampled_from(DATES), st.sampled_from(["", "07:00", "12:30"])),
    st.tuples(
        st.just("corrections"), st.sampled_from("ab"), st.sampled_from(DATES), st.sampled_from(["07:29", "16:10"])
    ),
    st.tuples(st.just("calendar"), st.just(""), st.sampled_from(DATES), st.just("")),
    st.tuples(st.just("enrolments"), st.sampled_from("ab"), st.sampled_from(DATES), st.just("")),
)


@pytest.mark.file_only  # histories of chance on both databases: test_postgresql.py
@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(facts=st.lists(FACT, max_size=12, unique_by=lambda fact: _identity(*fact)), seed=st.integers(0, 1000))
def test_any_history_gives_the_digests_of_its_facts(
    tmp_path_factory: pytest.TempPathFactory, facts: Any, seed: int
) -> None:
    """Facts arrive in any order and time passes between; a database with the facts alone gives the same verdicts."""
    histories = []
    for order in (facts, Random(seed).sample(facts, len(facts))):
        centre = Centre(tmp_path_factory.mktemp("history"), datetime(2026, 8, 30, 20, tzinfo=UTC))
        centre.enter_office()
        centre.enter("timetables", NIGHT)
        events = {fact: centre.punches(fact[1], f"{fact[2]} {fact[3]}") for fact in facts if fact[0] == "punch"}
        for number, fact in enumerate(order):
            _happen(centre, fact, events)
            if number % 3 == seed % 3:
                centre.at(f"2026-09-0{1 + number // 3} {(seed + number) % 24:02d}:00")
        centre.at("2026-09-06 12:00")
        digests = centre.digests()
        centre.recompute.rebuild()
        assert centre.recompute.run() == 0
        assert wrong_outcomes(centre) == 0
        histories.append(digests)
        centre.close()

    assert histories[0] == histories[1]


NIGHT = (
    "timetable,from,slot,kind,due,window from,window until\n"
    "night,2026-01-01,in,in,21:00,19:00,25:00\nnight,2026-01-01,out,out,31:00,29:00,33:00\n"
)


def _identity(kind: str, who: str, on: date, _what: str) -> tuple[str, str, date]:
    """Return what no two facts share: the PIN at the terminal has one person a date, the one entered last."""
    return kind, "" if kind == "enrolments" else who, on


def _happen(centre: Centre, fact: tuple[str, str, date, str], events: dict[Any, Any]) -> None:
    """Let a fact arrive."""
    kind, who, on, what = fact
    match kind:
        case "punch":
            centre.receive(*events[fact])
        case "rosters":
            centre.enter("rosters", f"person,{on}\n{who},{what}\n")
        case "leave":
            hours = f"{what},16:00" if what else ","
            centre.enter("leave", f"person,kind,from,begin,end\n{who},annual,{on},{hours}\n")
        case "corrections":
            centre.enter("corrections", f"person,date,time,by,paper\n{who},{on},{what},Kepala,Contoh 6/2026\n")
        case "calendar":
            centre.enter("calendar", f"date,kind,name\n{on},national_holiday,Hari Contoh\n")
        case "enrolments":
            centre.enter("enrolments", f"pin,terminal,person,from,until\n9,S1,{who},{on},{on}\n")


def test_a_late_that_comes_late_changes_only_the_total(centre: Centre) -> None:
    """C22b: more than five lates a month are cut; the counter goes by date, not by arrival."""
    folder = centre.folder / "policies"
    folder.mkdir()
    (folder / "graded.yaml").write_text(COUNTING, "utf-8")
    policies = OfficePolicies(folder)
    worker = Recompute(centre.database, policies, now=lambda: centre.now)
    for number in (1, 2, 4, 7, 9):
        centre.punched("1001", f"2026-09-{number:02d} 07:40:00", f"2026-09-{number:02d} 16:30:00")
    centre.punched("1001", "2026-09-03 07:20:00", "2026-09-03 16:30:00", serial="S2")
    centre.now = datetime(2026, 9, 10, 2, tzinfo=UTC)
    worker.run()
    before = {key: value for key, value in centre.digests().items() if key[1] != "2026-09-08"}
    assert _september(centre, policies).counted == ()

    centre.punched("1001", "2026-09-08 07:40:00", "2026-09-08 16:30:00", via="file")
    worker.run()

    total_ = _september(centre, policies)
    assert (total_.counted, total_.cut) == ((date(2026, 9, 9),), 1000)
    assert {key: value for key, value in centre.digests().items() if key[1] != "2026-09-08"} == before


def _september(centre: Centre, policies: OfficePolicies) -> Totals:
    """Return the total of September from stored verdicts."""
    period = date(2026, 9, 1), date(2026, 9, 30)
    with centre.database.reading() as connection:
        stored = results.current(connection, ["a"], *period)
    days = [load_day(one.content, one.inputs) for one in stored if one.status != "none"]
    return total(period, counts_of_days(days), policies["graded"])


COUNTING = """
policy: graded
title: {en: Counter of lates, id: Penghitung keterlambatan}
source: {decree: tests of the centre}
slots:
  in: {bands: [{from: 1, class: T}]}
  out: {measure: early}
period:
  counters: [{of: late, after: 5, cut: "1"}]
"""


def test_a_stick_of_another_zone_keeps_its_digits(centre: Centre) -> None:
    """W16b: for a site in Kupang 08:00:00 stays 08:00:00 and is the instant 00:00 of UTC."""
    centre.enter("units", "key,name,zone,from\nkupang,Kupang,WITA,2026-01-01\n")
    centre.enter("people", "key,name,employment,unit,from\nk,Contoh Kupang,pns,kupang,2026-08-24\n")
    centre.enter("assignments", "unit,schedule,policy,from\nkupang,week,graded,2026-01-01\n")
    centre.enter("enrolments", "pin,terminal,person,from\n7,K1,k,2026-01-01\n")
    centre.punched("7", "2026-09-01 08:00:00", zone="Asia/Makassar", serial="K1", via="file")

    found = centre.at("2026-09-02 12:00").day("k", "2026-09-01")

    (punch,) = (slot["punch"] for slot in found["slots"] if slot["punch"])
    assert punch["instant"] == int(datetime(2026, 9, 1, tzinfo=UTC).timestamp())
    assert punch["local"] - punch["instant"] == 8 * 3600
    assert slots(found)[0] == 30


def test_a_punch_of_another_zone_belongs_to_the_date_of_the_plan(centre: Centre) -> None:
    """C19: a clerk of Jayapura on duty in Jakarta late at night, whose date at home is the next."""
    centre.enter_clerk_of_jayapura()
    assert centre.at("2026-09-03 12:00").day("t", "2026-09-02")["absent"]

    centre.punched("7", "2026-09-01 23:10:00")

    found = centre.at("2026-09-03 13:00").day("t", "2026-09-02")
    assert slots(found) == [10]


def test_stored_verdicts_are_read_back_whole(centre: Centre) -> None:
    """Totals and exports come from stored verdicts, which hold all of a result."""
    centre.punched("1001", "2026-08-31 07:45:00", "2026-08-31 07:46:00", "2026-08-31 16:00:00", suspect=["unmeasured"])
    centre.punched("1001", "2026-08-31 23:30:00")
    centre.enter("leave", "person,kind,from,begin,end\na,annual,2026-08-31,12:30,16:00\n")
    centre.at("2026-09-01 12:00")
    with centre.database.reading() as connection:
        (stored,) = results.current(connection, ["a"], date(2026, 8, 31), date(2026, 8, 31))
        judged = judge_now(connection, OfficePolicies(POLICIES), "a", date(2026, 8, 31), int(centre.now.timestamp()))

    assert judged is not None
    assert judged.result is not None
    found = load_day(stored.content, stored.inputs)
    assert replace(found, reasons=()) == replace(judged.result, reasons=())
    assert json.loads(json.dumps(found.reasons)) == json.loads(json.dumps(judged.result.reasons))


def test_statements_of_a_batch_do_not_grow_with_its_people(centre: Centre) -> None:
    """Few statements for many people."""
    counts = []
    for size in (2, 60):
        people = "".join(f"q{size}-{number},Contoh,pns,dinas,2026-09-01\n" for number in range(size))
        centre.enter("people", f"key,name,employment,unit,from\n{people}")
        centre.now = datetime(2026, 9, 1, 1, tzinfo=UTC)
        centre.recompute.begin()
        seen = []
        listener = lambda *arguments: seen.append(arguments[2])  # noqa: E731, B023 - removed below
        event.listen(Engine, "before_cursor_execute", listener)
        while centre.recompute.batch():
            pass
        event.remove(Engine, "before_cursor_execute", listener)
        counts.append(len(seen))

    assert counts[1] <= counts[0] * 1.5
