"""``why``, ``recompute``, ``rebuild`` and ``pins`` as people and scripts use them."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from central.policy.office import OfficePolicies
from central.reports.messages import FIELDS
from central.store import marks, results
from central.timesheet.model import DayResult, SlotResult
from central.timesheet.recompute import Recompute
from tests import command
from tests.central.store.office import POLICIES, Centre


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre in which a clerk was late, with a revision by a decision and a PIN that belongs to no person."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    clock = {"offset_ms": 420_000, "measured": "2026-08-31T00:29:41.120Z", "bound_ms": 35}
    found.punched("1001", "2026-08-31 07:45:10", "2026-08-31 16:01:00", suspect=["drift"], clock=clock)
    found.punched("9", "2026-09-01 07:25:00")
    found.at("2026-09-02 08:00")
    found.enter("decisions", "decision,person,suspect,from,by,paper\naccept,a,drift,2026-08-31,Kepala BKD,SK 9/2026\n")
    found.at("2026-09-03 08:00")
    yield found
    found.close()


def run(centre: Centre, *words: str) -> tuple[int, str]:
    """Run a command and return its exit code and output."""
    done = command.run("central.cli", *words, "--db", centre.database.address, env=os.environ | {"TERM": "dumb"})
    return done.returncode, done.stdout


def explained(centre: Centre, *words: str) -> str:
    """Return an explanation."""
    code, output = run(centre, "why", *words, "--policies", str(POLICIES))
    assert code == 0
    return output


def test_a_day_is_explained_with_plan_punches_policy_and_revisions(centre: Centre) -> None:
    """Paper, place in the stream, clock, line of the policy, who vouches, what brought the revision."""
    found = explained(centre, "a", "2026-08-31")

    stream = centre.source.stream
    for part in (
        "Contoh Satu (a), 2026-08-31: final",
        "timetable office 2026-01-01 (Contoh 1/2026)",
        "in, due 07:30:00: punch 07:45:10, 15 minutes late (final)",
        "in: TL1, cut 0.5 %, by slots.in.bands[0] (tests of the centre)",
        f"2026-08-31 07:45:10 at lobby, stream {stream} sequence 1",
        "clock +420.0 s off, measured 2026-08-31 07:29:41 WIB",
        "paper: Kepala BKD, SK 9/2026",
        "doubts that ended: the clock was wrong by more than is tolerated",
        "import of decisions by Kepala Contoh, Contoh 1/2026",
    ):
        assert part in found


def test_a_day_is_explained_in_indonesian_by_a_name(centre: Centre) -> None:
    """A name that only one person has is a key."""
    found = explained(centre, "contoh satu", "2026-09-01", "--lang", "id")

    assert "masuk: presensi dengan PIN yang belum ada pemiliknya di lobby" in found
    assert "sementara, belum ada potongan untuk ini" in found


def test_an_explanation_in_indonesian_has_no_english_word(centre: Centre) -> None:
    """Of plan, fields, causes and details; moments are those of the office's clock; no name of the code is shown."""
    found = explained(centre, "a", "2026-08-31", "--lang", "id") + explained(centre, "b", "2026-09-01", "--lang", "id")

    assert not re.search(r"\b(assigned|schedule|timetable|punch|sequence|import|decisions|class_|cut|by)\b", found)
    assert not re.search(r"\d{4}-\d\d-\d\dT", found)
    for part in (
        "rencana unit: ditetapkan (Contoh 1/2026) · jadwal week 2026-01-01 (Contoh 1/2026) · jam kerja office",
        "diukur 2026-08-31 07:29:41 WIB",
        "jam meleset +420,0 detik",
        "potongan 0,5 %",
        "yang berubah: status, potongan, masuk status",
        "impor keputusan oleh Kepala Contoh",
        "(presensi ",
    ):
        assert part in found


def test_every_value_that_may_change_has_a_name() -> None:
    """So that a revision never names one as the code does."""
    parts = {field.name for kind in (DayResult, SlotResult) for field in dataclasses.fields(kind)}

    assert parts - {"date", "slots", "inputs", "punch"} <= set(FIELDS)


def test_a_day_is_explained_as_it_was_known(centre: Centre) -> None:
    """Before the decision the drift was a doubt; later revisions are not shown."""
    found = explained(centre, "a", "2026-08-31", "--known-at", "2026-09-02T07:30+07:00")

    assert "2026-08-31: provisional" in found
    assert "suspect: drift" in found
    assert "SK 9/2026" not in found
    assert "open" in explained(centre, "b", "2026-08-31", "--known-at", "2026-08-31T09:00+07:00")


def test_a_cut_that_is_withheld_is_not_printed_as_nothing(centre: Centre) -> None:
    """Beside the line of the decree stands what it would cut; what is final is cut."""
    found = explained(centre, "a", "2026-09-01")

    assert "in: TL4, cut 1.5 %, withheld until it is final, by slots.in.missing" in found
    assert "out: PSW4, cut 1.5 %, by slots.out.missing" in found
    assert "cut of the day: 1.5 %" in found
    assert "withheld until it is final; if nothing better comes, the day cuts 3 %\n" in found
    assert "cut 0 %" not in found
    stored = json.loads(run(centre, "why", "a", "2026-09-01", "--json")[1])["content"]
    assert [slot["cut"] for slot in stored["slots"]] == [0, 1500]
    assert "withheld" not in explained(centre, "b", "2026-08-31")


ABSENT = """
policy: graded
title: {en: Absent days, id: Hari tidak hadir}
source: {decree: tests of the centre}
slots:
  in: {bands: [{from: 1, class: T, cut: "1"}], missing: {class: M, cut: "1.5"}}
  out: {measure: early, missing: {class: N, cut: "1.5"}}
day: {all_missing: {class: TK, cut: "5", source: {article: "9"}}, cap: "2"}
"""


def test_the_rule_of_the_day_stands_in_place_of_its_slots_or_would(centre: Centre, tmp_path: Path) -> None:
    """Absent: the class of a slot is not said to cut nothing; not final yet: what the day would cut, by which line."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "graded.yaml").write_text(ABSENT, "utf-8")
    centre.now = datetime(2026, 9, 4, 1, tzinfo=UTC)
    Recompute(centre.database, OfficePolicies(folder), now=lambda: centre.now).run()

    absent = run(centre, "why", "a", "2026-09-02", "--policies", str(folder))[1]
    doubtful = run(centre, "why", "b", "2026-09-01", "--policies", str(folder))[1]

    assert "in: M, cut 1.5 %, by slots.in.missing (tests of the centre); the rule of the day stands in its" in absent
    assert "cut of the day: 5 %" in absent
    assert "in: M, cut 1.5 %, withheld" in doubtful
    assert "cut of the day: 1.5 %" in doubtful
    assert "the day cuts 5 %, by day.all_missing (tests of the centre, Art. 9)" in doubtful


def test_leave_that_the_policy_does_not_name_is_shown(centre: Centre) -> None:
    """It excuses, and the reader knows that no rule did."""
    centre.enter("leave", "person,kind,from,slot\nb,anual,2026-09-01,\na,technical,2026-09-01,noon\n")
    centre.at("2026-09-03 09:00")

    assert "the policy names no leave anual" in explained(centre, "b", "2026-09-01")
    assert "the policy does not name a kind of leave" in explained(centre, "b", "2026-09-01")
    slot = explained(centre, "a", "2026-09-01", "--lang", "id")
    assert "izin technical (alasan teknis) (Contoh 1/2026) menyebut sesi noon, yang tidak ada pada hari ini" in slot


def test_what_no_terminal_recorded_is_named_by_what_states_it(centre: Centre) -> None:
    """A correction and evidence of another system read as such, also among what a revision brought."""
    centre.enter("corrections", "person,date,time,by,paper\na,2026-09-01,07:20,Kepala,Contoh 6/2026\n")
    centre.enter("presence", "person,date,time,source\na,2026-09-01,16:10,app\n")
    centre.at("2026-09-03 07:00")
    assert "07:20:00 by an approved correction:" in explained(centre, "a", "2026-09-01")
    found = explained(centre, "a", "2026-09-01", "--lang", "id")
    assert "07:20:00 menurut koreksi yang disetujui:" in found
    assert "16:10:00 menurut app, bukti dari sistem lain:" in found
    assert "@" not in found


def test_a_day_as_known_before_a_policys_text_changed_shows_the_text_of_then(centre: Centre, tmp_path: Path) -> None:
    """The file of a policy has no history here: the verdict that was stored then is shown, and the reader knows it."""
    folder = tmp_path / "policies"
    folder.mkdir()
    text = (POLICIES / "graded.yaml").read_text("utf-8").replace("class: TL1", "class: TL9")
    (folder / "graded.yaml").write_text(text, "utf-8")
    centre.now = datetime(2026, 9, 4, 1, tzinfo=UTC)
    Recompute(centre.database, OfficePolicies(folder), now=lambda: centre.now).run()
    arguments = ("why", "a", "2026-08-31", "--policies", str(folder), "--known-at")

    then = run(centre, *arguments, "2026-09-03T09:00+07:00")[1]
    now = run(centre, *arguments, "2026-09-04T09:00+07:00")[1]

    assert "in: TL1, cut 0.5 %" in then
    assert "the text of the policy was another one at that moment" in then
    assert "revision 2, stored 2026-09-03 08:00:00 WIB" in then
    assert "in: TL9, cut 0.5 %" in now
    assert "another one" not in now
    unstored = run(centre, *arguments, "2026-08-31T06:00+07:00")[1]
    assert "another one" not in unstored  # nothing was judged by then, by whatever text


def test_a_policy_that_is_assigned_while_an_inbox_runs_is_on_record(centre: Centre) -> None:
    """Its text of then is known where it is judged by, not only when a process begins."""
    centre.enter("people", "key,name,employment,unit,from\nc,Contoh Tiga,pns,dinas,2026-08-24\n")
    centre.enter("assignments", "person,policy,from\nc,starter,2026-08-24\n")
    while centre.recompute.batch():
        pass

    with centre.database.reading() as connection:
        assert marks.judged_by(connection)["policy:starter"] == OfficePolicies(POLICIES).digest("starter")


def test_a_day_without_a_verdict_says_why(centre: Centre) -> None:
    """Not employed yet; a person whom no register has is exit code 1."""
    assert "not employed" in explained(centre, "a", "2026-08-01")
    assert run(centre, "why", "zz", "2026-08-01")[0] == 1
    assert run(centre, "why", "a", "01/08/2026")[0] == 2


def test_scripts_get_json(centre: Centre) -> None:
    """The verdict with its reasons, and each revision with what it changed."""
    found = json.loads(run(centre, "why", "a", "2026-08-31", "--json")[1])

    assert found["content"]["slots"][0]["minutes"] == 15
    assert [one["revision"] for one in found["history"]] == [1, 2]
    assert found["history"][1]["changed"]["fields"][0] == "status"


def test_pins_that_belong_to_no_person_are_listed(centre: Centre) -> None:
    """How often, where, since when."""
    assert run(centre, "pins") == (
        0,
        "PIN 9 at S1 (3602-bkpsdm): punches 1, days 1, 2026-09-01 07:25:00 to 2026-09-01 07:25:00\n",
    )
    (found,) = json.loads(run(centre, "pins", "--json")[1])
    assert (found["pin"], found["reader"]["serial"]) == ("9", "S1")


def test_recompute_and_rebuild_count_what_they_did(centre: Centre) -> None:
    """A rebuild finds a verdict that does not follow from the facts; the exit code reports it."""
    policies = ("--policies", str(POLICIES))
    assert run(centre, "recompute", *policies)[0] == 0
    code, output = run(centre, "rebuild", *policies)
    assert (code, "0 otherwise" in output) == (0, True)
    with centre.database.writing() as connection:
        connection.execute(update(results.RESULT).where(results.RESULT.c.person == "a").values(inputs="damaged"))

    code, output = run(centre, "rebuild", *policies)

    assert (code, "0 otherwise" in output) == (1, False)
