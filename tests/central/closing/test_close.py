"""A closed period does not move: what becomes known later is an adjustment of the next one."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from typer.testing import CliRunner

from central.cli import app
from central.closing.close import ClosingError, close, draft, prepare, without
from central.policy.office import OfficePolicies
from central.sheets.settings import Settings
from central.store import closings, marks, outbox
from central.store.closings import StoredAdjustment
from central.timesheet.affected import Mark
from tests.central.store.office import POLICIES, Centre

BOTH_STORES = True

SEPTEMBER, OCTOBER = date(2026, 9, 15), date(2026, 10, 15)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre that has judged September 2026 of two people; `a` was 15 minutes late on the first."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:05:00")
    found.at("2026-10-02 08:00")
    yield found
    found.close()


def closed(centre: Centre, on: date = SEPTEMBER, unit: str = "dinas", **more: Any) -> int:
    """Close a period."""
    given = {"closed_by": "BKD Contoh", "paper": "Contoh 9/2026", "now": centre.now, **more}
    return close(centre.database, OfficePolicies(POLICIES), unit, on, **given)


def refused(centre: Centre, on: date = SEPTEMBER, unit: str = "dinas", **more: Any) -> str:
    """Return why a period is not closed."""
    with pytest.raises(ClosingError) as caught:
        closed(centre, on, unit, **more)
    return caught.value.code


def totals(centre: Centre, number: int) -> dict[str, dict[str, Any]]:
    """Return what a closing fixed, by person."""
    with centre.database.reading() as connection:
        return {one.person: json.loads(one.content) for one in closings.totals_of(connection, number)}


def adjustments(centre: Centre, number: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the adjustments that a closing carries, by person and first date."""
    with centre.database.reading() as connection:
        found: list[StoredAdjustment] = closings.adjustments_of(connection, number)
        return {(one.person, one.first): json.loads(one.content) for one in found}


def run(centre: Centre, *words: str, code: int = 0) -> str:
    """Run the command at the centre's present moment."""
    arguments = ["period", *words, "--db", str(centre.database.address)]
    if words[0] in ("status", "close"):
        arguments += ["--policies", str(POLICIES)]
    result = CliRunner().invoke(app, arguments, obj=lambda: centre.now)
    assert result.exit_code == code, result.output
    return result.output


def test_a_closing_fixes_totals_and_the_revisions_they_were_counted_from(centre: Centre) -> None:
    """Each person of the unit once, with the digest of all of it."""
    number = closed(centre)
    found = totals(centre, number)
    assert {key: (row["first"], row["last"], row["late_min"]) for key, row in found.items()} == {
        "a": ("2026-09-01", "2026-09-30", 15),
        "b": ("2026-09-01", "2026-09-30", 0),
    }
    with centre.database.reading() as connection:
        one = closings.totals_of(connection, number)[0]
        stored = closings.find(connection, number)
    assert stored is not None
    assert json.loads(one.revisions)["2026-09-01"] == len(centre.history("a", "2026-09-01"))
    assert (stored.closed_by, stored.paper, stored.unit) == ("BKD Contoh", "Contoh 9/2026", "dinas")


def test_later_knowledge_is_carried_by_the_next_closing_and_the_closed_one_stays(centre: Centre) -> None:
    """An approved leave for the late day arrives in October: the cut is given back then, with the date."""
    number = closed(centre)
    before = totals(centre, number)
    centre.enter("leave", "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    later = closed(centre, OCTOBER)
    assert totals(centre, number) == before
    assert list(adjustments(centre, later)) == [("a", "2026-09-01")]
    found = adjustments(centre, later)["a", "2026-09-01"]
    assert (found["before"]["cut"], found["cut"]) == (before["a"]["cut"], "-0.5")
    assert [one["date"] for one in found["changes"]] == ["2026-09-01"]


def test_an_adjustment_is_carried_once_and_the_next_one_begins_from_it(centre: Centre) -> None:
    """What was given back in October is not given back again in November; taking it back then is one more."""
    closed(centre)
    leave = "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n"
    centre.enter("leave", leave)
    centre.at("2026-11-02 08:00")
    closed(centre, OCTOBER)
    centre.at("2026-12-02 08:00")
    assert adjustments(centre, closed(centre, date(2026, 11, 15))) == {}
    centre.enter("leave", leave, "Contoh 12/2026", withdraw=True)
    centre.at("2027-01-02 08:00")
    found = adjustments(centre, closed(centre, date(2026, 12, 15)))
    assert {key: one["cut"] for key, one in found.items()} == {("a", "2026-09-01"): "0.5"}


def test_what_changes_no_number_is_no_adjustment(centre: Centre) -> None:
    """Another punch of the same morning makes a revision, and nobody is paid otherwise."""
    closed(centre)
    revisions = len(centre.history("a", "2026-09-01"))
    centre.punched("1001", "2026-09-01 16:10:00")
    centre.at("2026-11-02 08:00")
    assert len(centre.history("a", "2026-09-01")) > revisions
    assert adjustments(centre, closed(centre, OCTOBER)) == {}


def test_people_who_were_found_later_or_have_left_are_adjusted_too(centre: Centre) -> None:
    """`c` was imported after the closing; `b` has left the office since, and a paper came."""
    closed(centre)
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,dinas,2026-08-24,\n")
    centre.enter("people", "key,name,employment,unit,from,until\nb,Contoh Dua,pppk,dinas,2026-08-24,2026-09-30\n")
    centre.enter("leave", "person,kind,from,until,paper\nb,sick,2026-09-02,2026-09-02,Contoh 11/2026\n")
    centre.at("2026-11-02 08:00")
    number = closed(centre, OCTOBER, with_open=True)  # `c` has no PIN yet
    assert "b" not in totals(centre, number)
    found = adjustments(centre, number)
    assert set(found) == {("b", "2026-09-01"), ("c", "2026-09-01")}
    assert found["c", "2026-09-01"]["before"] is None


def test_a_person_without_any_verdict_left_is_adjusted_to_nothing(centre: Centre) -> None:
    """The register was wrong: `b` never worked here, so what was cut is given back."""
    number = closed(centre)
    cut = totals(centre, number)["b"]["cut"]
    assert cut != "0"
    enrolment = "pin,site,person,from,until\n1002,3602-bkpsdm,b,2026-01-01,\n"
    centre.enter("enrolments", enrolment, "Contoh 12/2026", withdraw=True)
    row = "key,name,employment,unit,from,until\nb,Contoh Dua,pppk,dinas,2026-08-24,\n"
    centre.enter("people", row, "Contoh 12/2026", withdraw=True)
    centre.at("2026-11-02 08:00")
    found = adjustments(centre, closed(centre, OCTOBER))
    assert found["b", "2026-09-01"]["cut"] == f"-{cut}"
    assert found["b", "2026-09-01"]["after"]["days"] == 0


def test_a_person_is_closed_once_whatever_unit_the_period_is_closed_with(centre: Centre) -> None:
    """A unit below, then the one above it: the rest; each once."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,upt,2026-08-24,\n")
    centre.at("2026-10-02 09:00")
    assert set(totals(centre, closed(centre, unit="upt", with_open=True))) == {"c"}  # who has no PIN yet
    assert set(totals(centre, closed(centre))) == {"a", "b"}
    assert refused(centre, unit="upt") == "closing_twice"


def test_what_cannot_be_closed_says_why(centre: Centre) -> None:
    """No such unit, no verdict, not over, closed before."""
    assert refused(centre, unit="lain") == "closing_no_unit"
    assert refused(centre, date(2020, 1, 1)) == "closing_no_verdicts"
    assert refused(centre, date(2026, 10, 1)) == "closing_not_over"
    closed(centre)
    assert refused(centre) == "closing_twice"


def test_changes_that_wait_to_be_judged_stop_a_closing(centre: Centre) -> None:
    """Else the totals would rest on verdicts that are known to be old."""
    centre.enter("leave", "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n")
    assert refused(centre) == "closing_unjudged"
    centre.at("2026-10-02 09:00")
    assert totals(centre, closed(centre))["a"]["excused"] == {"sick": "1"}


def test_verdicts_that_are_not_final_are_named_and_closed_only_by_choice(tmp_path: Path) -> None:
    """An outage that was never settled leaves days provisional: they cut nothing, and are listed with the closing."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    centre.state("lobby", "S1", "2026-09-15 12:00")
    centre.at("2026-10-02 08:00")
    assert refused(centre) == "closing_open"
    output = run(centre, "status", "dinas", "2026-09-15")
    assert "provisional" in output
    assert "more" in output
    run(centre, "close", "dinas", "2026-09-15", "--by", "BKD", "--paper", "Contoh 9", code=1)
    run(centre, "close", "dinas", "2026-09-15", "--by", "BKD", "--paper", "Contoh 9", "--with-open")
    with centre.database.reading() as connection:
        stored = closings.listing(connection)[0]
    found = json.loads(stored.still_open)
    assert {one[1] for one in found["provisional"]} >= {"2026-09-30"}
    assert found["doubts"]["unread"] == len(found["provisional"])
    centre.close()


def test_two_closings_at_once_leave_one(centre: Centre) -> None:
    """The second one states by whom the period was closed."""
    ready = threading.Barrier(2)
    results: list[str] = []

    def attempt() -> None:
        ready.wait()
        try:
            closed(centre)
            results.append("closed")
        except ClosingError as error:
            results.append(error.code)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["closed", "closing_twice"]
    with centre.database.reading() as connection:
        assert len(closings.listing(connection)) == 1


def test_the_text_of_a_policy_that_changed_adjusts_what_was_closed(centre: Centre, tmp_path: Path) -> None:
    """The decree's file was mended after the closing: the same days come to another sum."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for file in POLICIES.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text("utf-8"), "utf-8")
    number = closed(centre)
    before = totals(centre, number)["b"]["cut"]
    graded = folder / "graded.yaml"
    graded.write_text(graded.read_text("utf-8") + "\nperiod: {cap: '2', cap_scope: period_end}\n", "utf-8")
    centre.at("2026-11-02 08:00")
    office = OfficePolicies(folder)
    later = close(centre.database, office, "dinas", OCTOBER, closed_by="BKD", paper="Contoh", now=centre.now)
    found = adjustments(centre, later)["b", "2026-09-01"]
    assert (found["before"]["cut"], found["after"]["cut"]) == (before, "2")


def test_files_are_handed_out_again_as_they_were(centre: Centre, tmp_path: Path) -> None:
    """Byte for byte, whatever is known later; an existing file is not replaced; a changed row is found."""
    number = str(closed(centre))
    first = tmp_path / "first.csv"
    run(centre, "file", number, "totals.csv", str(first))
    centre.enter("leave", "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    second = tmp_path / "second.csv"
    run(centre, "file", number, "totals.csv", str(second))
    assert second.read_bytes() == first.read_bytes()
    assert b"a,2026-09-01,2026-09-30,dinas,graded" in first.read_bytes()
    assert "exists" in run(centre, "file", number, "totals.csv", str(second), code=2)
    assert "totals.csv" in run(centre, "file", number, "other", str(tmp_path / "o"), code=1)
    assert "digest" in run(centre, "show", number)
    with centre.database.writing() as connection:
        connection.execute(text("UPDATE closed_total SET content = replace(content, '63.5', '0')"))
    assert "changed by hand" in run(centre, "show", number, code=1)


def test_a_closing_and_its_adjustments_wait_for_the_broker(centre: Centre) -> None:
    """One message a closing, one an adjustment, in the closing's transaction."""
    closed(centre)
    centre.enter("leave", "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    number = closed(centre, OCTOBER)
    with centre.database.reading() as connection:
        waiting = [one for one in outbox.take(connection, 10_000, (), ()) if one.closing == number]
    assert [(one.unit, one.person, one.date.isoformat()) for one in waiting] == [
        ("dinas", "", "2026-10-01"),
        ("dinas", "a", "2026-09-01"),
    ]


def test_commands_speak_both_languages(centre: Centre) -> None:
    """List, status and refusals."""
    assert "tidak" in run(centre, "status", "lain", "2026-09-15", "--lang", "id", code=1).lower()
    assert "No period" in run(centre, "list")
    run(centre, "close", "dinas", "2026-09-15", "--by", "BKD Contoh", "--paper", "Contoh 9/2026")
    assert "BKD Contoh" in run(centre, "list")
    assert json.loads(run(centre, "list", "--json"))[0]["unit"] == "dinas"
    found = run(centre, "close", "dinas", "2026-09-15", "--by", "X", "--paper", "Y", code=1)
    assert "BKD Contoh" in found
    assert "not over" in run(centre, "status", "dinas", "2026-10-01", code=1)
    assert "belum berakhir" in run(centre, "status", "dinas", "2026-10-01", "--lang", "id", code=1)


def policies_with(folder: Path, name: str, more: str, *, without: str = "") -> OfficePolicies:
    """Return the office's policies, with lines added to one of them, and a text taken out."""
    folder.mkdir()
    for file in POLICIES.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text("utf-8"), "utf-8")
    changed = folder / f"{name}.yaml"
    changed.write_text(changed.read_text("utf-8").replace(without, "") + more, "utf-8")
    return OfficePolicies(folder)


def closed_by(centre: Centre, office: OfficePolicies, on: date, unit: str = "dinas", **more: Any) -> int:
    """Close a period under other policies."""
    given = {"closed_by": "BKD", "paper": "Contoh", "now": centre.now, **more}
    return close(centre.database, office, unit, on, **given)


def test_one_adjustment_of_a_person_who_left_is_carried_by_one_of_two_closings_at_once(centre: Centre) -> None:
    """The unit and the one above it are closed at once: what is given back to `d` is given back once."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    people = "key,name,employment,unit,from,until\n"
    centre.enter("people", people + "d,Contoh Empat,pppk,upt,2026-08-24,\nc,Contoh Tiga,pns,upt,2026-08-24,\n")
    centre.at("2026-10-02 09:00")
    closed(centre, with_open=True)
    centre.enter("people", people + "d,Contoh Empat,pppk,upt,2026-08-24,2026-09-30\n")
    centre.enter("leave", "person,kind,from,until,paper\nd,annual,2026-09-02,2026-09-02,Contoh 11/2026\n")
    centre.at("2026-11-02 08:00")
    office = OfficePolicies(POLICIES)
    prepared = []
    with centre.database.reading() as connection:
        for unit in ("upt", "dinas"):
            read = draft(connection, office, unit, OCTOBER, centre.now)
            assert ("d", "2026-09-01") in {(one.person, one.first) for one in read.adjustments}
            if unit == "dinas":  # as if `c` were closed elsewhere: the two share nobody
                read = replace(read, totals=[one for one in read.totals if one.person == "a"], newest={})
            prepared.append(prepare(connection, read, "BKD", "X", centre.now, with_open=True, settings=Settings()))
    with centre.database.writing() as connection:
        first = prepared[0].store(connection)
    with pytest.raises(ClosingError) as caught, centre.database.writing() as connection:
        replace(prepared[1], draft=replace(prepared[1].draft, newest=newest_of(connection, "a"))).store(connection)
    assert caught.value.code == "closing_changing"
    assert ("d", "2026-09-01") in adjustments(centre, first)
    assert adjustments(centre, closed(centre, OCTOBER)) == {}


def newest_of(connection: Connection, person: str) -> dict[tuple[str, str], int]:
    """Return the revisions of October as a draft has them."""
    return closings.newest_revisions(connection, [person], date(2026, 9, 29), date(2026, 11, 2))


def test_periods_of_a_unit_that_begin_on_different_days_are_closed_month_after_month(
    centre: Centre, tmp_path: Path
) -> None:
    """`c` is under a policy whose periods begin on the 26th; what `a` is given back of September is in October."""
    office = policies_with(tmp_path / "policies", "flat", "\nperiod: {begins_on: 26}\n")
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    centre.enter("assignments", "unit,schedule,policy,from\nupt,week,flat,2026-01-01\n")
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,upt,2026-08-24,\n")
    centre.enter("enrolments", "pin,site,person,from,until\n1003,3602-bkpsdm,c,2026-01-01,\n")
    centre.at("2026-10-02 09:00")
    found = totals(centre, closed_by(centre, office, SEPTEMBER))
    assert {key: row["first"] for key, row in found.items()} == {
        "a": "2026-09-01",
        "b": "2026-09-01",
        "c": "2026-08-26",
    }
    centre.enter("leave", "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n")
    for on, now in ((OCTOBER, "2026-11-02 08:00"), (date(2026, 11, 15), "2026-12-02 08:00")):
        centre.at(now)
        number = closed_by(centre, office, on)
        assert set(totals(centre, number)) == {"a", "b", "c"}
        assert set(adjustments(centre, number)) == ({("a", "2026-09-01")} if on == OCTOBER else set())


def test_a_policy_whose_periods_begin_on_another_day_moves_no_closed_period(centre: Centre, tmp_path: Path) -> None:
    """The dates that were closed stay: only the late day is given back, and no date is counted twice."""
    first = totals(centre, closed(centre))
    office = policies_with(tmp_path / "policies", "graded", "\nperiod: {begins_on: 26}\n")
    centre.enter("leave", "person,kind,from,until,paper\na,annual,2026-09-01,2026-09-01,Contoh 10/2026\n")
    centre.at("2026-11-02 08:00")
    number = closed_by(centre, office, OCTOBER)
    found = adjustments(centre, number)
    assert {key: one["cut"] for key, one in found.items()} == {("a", "2026-09-01"): "-0.5"}
    assert found["a", "2026-09-01"]["after"]["days"] == first["a"]["days"]
    assert {(row["first"], row["last"]) for row in totals(centre, number).values()} == {("2026-10-01", "2026-10-25")}


@pytest.mark.parametrize(
    ("period", "taken", "left"),
    [
        ((1, 30), [], (1, 30)),
        ((1, 30), [(1, 5)], (6, 30)),
        ((1, 30), [(26, 30)], (1, 25)),
        ((1, 30), [(1, 10), (11, 30)], None),
        ((5, 20), [(1, 30)], None),
        ((5, 20), [(1, 4), (21, 30)], (5, 20)),
        ((1, 30), [(10, 12), (20, 22)], (1, 9)),
    ],
)
def test_dates_that_are_closed_are_taken_out(
    period: tuple[int, int], taken: list[tuple[int, int]], left: tuple[int, int] | None
) -> None:
    """The earliest dates that none of the closed periods has."""

    def dates(days: tuple[int, int]) -> tuple[date, date]:
        return date(2026, 9, days[0]), date(2026, 9, days[1])

    assert without(dates(period), map(dates, taken)) == (None if left is None else dates(left))


def test_the_text_of_a_policy_of_the_first_days_adjusts_too(centre: Centre, tmp_path: Path) -> None:
    """`d` had another policy until the 14th; its rules of leave are mended after the closing."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,,Asia/Jakarta,2026-01-01,\n")
    centre.enter("assignments", "unit,schedule,policy,from\nupt,week,flat,2026-01-01\n")
    people = "key,name,employment,unit,from,until\n"
    centre.enter(
        "people", people + "d,Contoh Empat,pns,upt,2026-08-24,2026-09-14\nd,Contoh Empat,pns,dinas,2026-09-15,\n"
    )
    centre.enter("leave", "person,kind,from,until,paper\nd,permission,2026-09-02,2026-09-03,Contoh 9/2026\n")
    centre.at("2026-10-02 09:00")
    before = totals(centre, closed(centre, with_open=True))["d"]
    assert before["excused"] == {"permission": "2"}
    office = policies_with(
        tmp_path / "policies", "flat", "\nleave: {permission: {cut: '5'}}\n", without='leave: {permission: {cut: "2"}}'
    )
    centre.at("2026-11-02 08:00")
    found = adjustments(centre, closed_by(centre, office, OCTOBER, with_open=True))
    assert {key: one["cut"] for key, one in found.items()} == {("d", "2026-09-01"): "6"}


def test_who_was_found_later_is_adjusted_by_the_unit_that_is_closed_now(centre: Centre) -> None:
    """September was closed with the unit above, October with the unit itself: `c` is carried by the latter."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    people = "key,name,employment,unit,from,until\n"
    centre.enter("people", people + "b,Contoh Dua,pppk,upt,2026-08-24,\n")
    centre.at("2026-10-02 09:00")
    closed(centre)
    centre.enter("people", people + "c,Contoh Tiga,pns,upt,2026-08-24,\n")
    centre.enter("enrolments", "pin,site,person,from,until\n1003,3602-bkpsdm,c,2026-01-01,\n")
    centre.at("2026-11-02 08:00")
    assert set(adjustments(centre, closed(centre, OCTOBER, unit="upt"))) == {("c", "2026-09-01")}
    assert adjustments(centre, closed(centre, OCTOBER)) == {}


def test_a_mark_about_a_person_of_another_unit_stops_no_closing(centre: Centre) -> None:
    """One that is set aside waits for a mended program; the other units close meanwhile."""
    centre.enter("units", "key,name,parent,zone,from,until\nlain,Contoh,,Asia/Jakarta,2026-01-01,\n")
    centre.enter("people", "key,name,employment,unit,from,until\nx,Contoh Sepuluh,pns,lain,2026-08-24,\n")
    centre.at("2026-10-02 09:00")
    september = date(2026, 9, 1)
    with centre.database.writing() as connection:
        marks.mark(connection, [Mark("person:x", september, september)], {"kind": "punch"}, "2026-10-02T02:00:00.000Z")
        (one,) = marks.waiting(connection, 10)
        marks.set_aside(connection, one.id, "ValueError in judge.py:1")
    closed(centre)


@pytest.mark.parametrize("begins_on", [1, 16, 26])
def test_who_was_found_later_is_adjusted_on_whatever_day_the_period_begins(
    centre: Centre, tmp_path: Path, begins_on: int
) -> None:
    """`c` is imported in October: each date since September is in one total or one adjustment, in due time."""
    office = policies_with(tmp_path / "policies", "flat", f"\nperiod: {{begins_on: {begins_on}}}\n")
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    centre.enter("assignments", "unit,schedule,policy,from\nupt,week,flat,2026-01-01\n")
    centre.at("2026-10-02 09:00")
    closed_by(centre, office, SEPTEMBER)
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,upt,2026-09-01,\n")
    centre.enter("enrolments", "pin,site,person,from,until\n1003,3602-bkpsdm,c,2026-01-01,\n")
    found: list[tuple[str, str]] = []
    for on, now in ((OCTOBER, "2026-11-02 08:00"), (date(2026, 11, 15), "2026-12-02 08:00")):
        centre.at(now)
        number = closed_by(centre, office, on)
        found += [(row["first"], row["last"]) for key, row in totals(centre, number).items() if key == "c"]
        with centre.database.reading() as connection:
            found += [(one.first, one.last) for one in closings.adjustments_of(connection, number)]
    found.sort()
    assert found[0][0] <= "2026-09-01"
    spans = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in found]
    assert all((begin - end).days == 1 for (_, end), (begin, _) in pairwise(spans)), found


@pytest.mark.parametrize("subject", ["unit:dinas", "person:a", "terminal:S1"])
def test_a_change_that_is_set_aside_is_named_among_what_is_open_and_stops_nothing_for_ever(
    centre: Centre, subject: str
) -> None:
    """A choice, like an open verdict, which the closing keeps; judged after an update, it is an adjustment."""
    september = date(2026, 9, 1)
    with centre.database.writing() as connection:
        marks.mark(connection, [Mark(subject, september, september)], {"kind": "import"}, "2026-10-02T02:00:00.000Z")
    assert refused(centre) == "closing_unjudged"
    with centre.database.writing() as connection:
        (one,) = marks.waiting(connection, 10)
        marks.set_aside(connection, one.id, "ValueError in judge.py:1")
    assert refused(centre) == "closing_open"
    assert f"{subject}, 2026-09-01 to 2026-09-01: a change could not be judged" in run(
        centre, "status", "dinas", "2026-09-15"
    )
    number = closed(centre, with_open=True)
    with centre.database.reading() as connection:
        stored = closings.find(connection, number)
    assert stored is not None
    assert json.loads(stored.still_open)["set_aside"] == [[subject, "2026-09-01", "2026-09-01"]]
    centre.enter("leave", "person,kind,from,until,paper\na,sick,2026-09-01,2026-09-01,Contoh 10/2026\n")
    with centre.database.writing() as connection:
        marks.retry(connection)
    centre.at("2026-11-02 08:00")
    assert ("a", "2026-09-01") in adjustments(centre, closed(centre, OCTOBER))
