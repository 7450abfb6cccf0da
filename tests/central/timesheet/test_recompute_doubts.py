"""What keeps verdicts provisional, from messages of gateways to revisions in a real database."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from central.policy.office import OfficePolicies
from central.store import Message
from central.store.tables import findings
from central.store.terminals import WATERMARK
from central.timesheet.facts import judge_now
from central.timesheet.stored import dump_day
from tests.central.sealing import Source, sealed
from tests.central.store.office import POLICIES, Centre

DAY = "2026-09-01"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office whose one terminal has no log, on the morning of Tuesday, 1 September 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 31, 22, tzinfo=UTC))
    found.enter_office()
    yield found
    found.close()


def clock(text: str) -> datetime:
    """Return HH:MM of the day in Jakarta."""
    return datetime.fromisoformat(f"{DAY}T{text}+07:00").astimezone(UTC)


def doubts(day: dict[str, Any]) -> set[tuple[str, str]]:
    """Return what keeps which slot of a day provisional."""
    return {(reason["what"], reason["slot"]) for reason in day["reasons"] if reason["step"] == "doubt"}


def outage(centre: Centre, begin: str, end: str | None, **of: Any) -> list[dict[str, Any]]:
    """Record an outage of the lobby, with its end if it has one."""
    data = {"serial": "S1", "from": utc_text(begin), "cause": "unavailable", **of}
    events = []
    centre.now = clock(begin)
    events.append(centre.note("hadir.terminal.lost.v1", "lobby", reason="no answer", **data))
    if end is not None:
        centre.now = clock(end)
        events.append(centre.note("hadir.terminal.found.v1", "lobby", to=utc_text(end), **data))
    return events


def utc_text(text: str) -> str:
    """Return HH:MM of the day in Jakarta as the contract writes it."""
    return clock(text).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_a_missing_punch_is_no_violation_while_its_terminal_is_out(centre: Centre) -> None:
    """An outage without an end is open until now; it ends by the event that states its end."""
    lost, found = outage(centre, "06:00", "09:00")
    centre.now = clock("06:01")
    centre.receive(lost)
    during = centre.at(f"{DAY} 19:47").day("a", DAY)
    assert (during["status"], during["absent"], during["cut"]) == ("provisional", False, 0)
    assert doubts(during) == {("outage", "in"), ("outage", "out")}

    centre.receive(found)
    after = centre.at(f"{DAY} 19:48").day("a", DAY)

    assert doubts(after) == {("outage", "in")}, "nothing was out in the afternoon"
    assert [slot["status"] for slot in after["slots"]] == ["provisional", "final"]
    (reason,) = [reason for reason in after["reasons"] if reason["step"] == "doubt"]
    assert (reason["from"], reason["to"], reason["terminal"]) == (f"{DAY} 06:00:00", f"{DAY} 09:00:00", "lobby")
    assert json.loads(centre.history("a", DAY)[-1].cause) == [{"kind": "outage"}]


def test_an_outage_at_night_brings_no_revision_of_the_next_day(centre: Centre) -> None:
    """A slot is open while its window lasts, whatever is in doubt; what is out at the window's end is a doubt then."""
    centre.at(f"{DAY} 05:00")
    before = len(centre.history("a", DAY))
    lost, found = outage(centre, "05:10", "05:50")
    for event, text in ((lost, "05:20"), (found, "05:55")):
        centre.now = clock(text)
        centre.receive(event)
        centre.at(f"{DAY} {text}")
    centre.at(f"{DAY} 11:00")
    assert len(centre.history("a", DAY)) == before
    day = centre.at(f"{DAY} 11:31").day("a", DAY)
    assert doubts(day) == {("outage", "in")}, "the window had begun"


def test_an_outage_whose_end_arrives_first_ends_there(centre: Centre) -> None:
    """Its begin, which comes later, opens nothing."""
    lost, found = outage(centre, "06:00", "09:00")
    centre.now = clock("10:00")
    centre.receive(found)
    assert doubts(centre.at(f"{DAY} 19:47").day("a", DAY)) >= {("outage", "in")}
    centre.receive(lost)
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) == {("outage", "in")}


def test_an_outage_of_the_gateway_is_what_its_next_start_states(centre: Centre) -> None:
    """From the moment at which it was last known to run; what was out before ends there."""
    (lost,) = outage(centre, "05:50", None)
    centre.now = clock("12:00")
    resumed = centre.note(
        "hadir.gateway.resumed.v1", None, last_alive=utc_text("06:00"), resumed=utc_text("12:00"), clean=False
    )
    centre.receive(lost, resumed)
    found = centre.at(f"{DAY} 19:48").day("a", DAY)

    assert doubts(found) == {("outage", "in"), ("outage", "out")}
    between = {(one["terminal"], one["from"], one["to"]) for one in found["reasons"] if one["step"] == "doubt"}
    assert between == {
        ("lobby", f"{DAY} 05:50:00", f"{DAY} 12:00:00"),
        (None, f"{DAY} 06:00:00", f"{DAY} 12:00:00"),
    }


def test_a_first_start_of_a_gateway_is_no_outage(centre: Centre) -> None:
    """It states nothing that was alive before."""
    centre.receive(
        centre.note("hadir.gateway.resumed.v1", None, last_alive=None, resumed=utc_text("06:00"), clean=True)
    )
    assert centre.at(f"{DAY} 19:48").day("a", DAY)["absent"]


@pytest.mark.both_stores
def test_a_log_that_is_not_read_past_the_window_keeps_a_missing_punch_provisional(centre: Centre) -> None:
    """The watermark counts once the stream is held up to its sequence, and each slot is settled when it passes."""
    before, within = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 11:00:00")
    centre.now = clock("11:00")
    centre.receive(before)
    centre.state("lobby", "S1", f"{DAY} 11:00", 1)
    assert doubts(centre.at(f"{DAY} 11:40").day("a", DAY)) == {("unread", "in")}

    centre.state("lobby", "S1", f"{DAY} 11:35", 2)
    assert doubts(centre.at(f"{DAY} 11:41").day("a", DAY)) == {("unread", "in")}, "sequence 2 is not held"
    centre.receive(within)
    held = centre.at(f"{DAY} 11:42").day("a", DAY)
    assert [slot["status"] for slot in held["slots"]] == ["final", "open"]
    assert {"kind": "watermark"} in json.loads(centre.history("a", DAY)[-1].cause)

    evening = centre.at(f"{DAY} 19:47").day("a", DAY)
    assert (evening["status"], evening["absent"], doubts(evening)) == ("provisional", False, {("unread", "out")})
    centre.state("lobby", "S1", f"{DAY} 19:47", 2)
    final = centre.at(f"{DAY} 19:49").day("a", DAY)
    assert (final["status"], final["absent"]) == ("final", True)


def test_an_advance_that_changes_nothing_brings_no_revision(centre: Centre) -> None:
    """Good verdicts do not wait for a watermark, and a provisional one waits without a revision at each advance."""
    punches = centre.punches("1001", f"{DAY} 07:20:00", f"{DAY} 16:05:00")
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    centre.now = clock("16:06")
    centre.receive(*punches)
    centre.state("lobby", "S1", f"{DAY} 12:00", 2)
    centre.at(f"{DAY} 20:00")
    good, missing = len(centre.history("a", DAY)), len(centre.history("b", DAY))
    assert doubts(centre.day("a", DAY)) == set()
    for minute in range(5, 45, 7):
        centre.state("lobby", "S1", f"{DAY} 19:{minute:02d}", 2)
        centre.at(f"{DAY} 20:{minute:02d}")

    assert len(centre.history("a", DAY)) == good
    assert len(centre.history("b", DAY)) == missing
    assert centre.day("a", DAY)["status"] == "final"
    assert centre.day("b", DAY)["status"] == "provisional"


def test_a_log_of_which_no_claim_has_arrived_is_unread(centre: Centre) -> None:
    """A terminal that has a log and has claimed nothing protects; one without a log does not."""
    centre.state("gate", "S2", records=120)
    assert doubts(centre.at(f"{DAY} 19:47").day("a", DAY)) == {("unread", "in"), ("unread", "out")}
    centre.enter("decisions", "decision,terminal,from,by,paper\nout_of_use,S2,2026-08-01,Kepala,BA 1/2026\n")
    assert centre.at(f"{DAY} 19:48").day("a", DAY)["absent"], "a decision declares it out of use"


def test_of_several_terminals_the_one_that_was_read_least_far_counts(centre: Centre) -> None:
    """A day waits for the last of them."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.at(f"{DAY} 19:50")
    centre.state("lobby", "S1", f"{DAY} 19:49", 1)
    centre.state("gate", "S2", f"{DAY} 12:00", 1)
    half = centre.at(f"{DAY} 19:51").day("a", DAY)
    assert doubts(half) == {("unread", "out")}
    centre.state("gate", "S2", f"{DAY} 19:50", 1)
    assert centre.at(f"{DAY} 19:52").day("a", DAY)["absent"]


def test_a_watermark_never_goes_back(centre: Centre) -> None:
    """A claim of less than before is a finding; so is one of the future. Neither is a fact."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("12:00")
    centre.state("lobby", "S1", f"{DAY} 11:45", 1)
    centre.state("lobby", "S1", f"{DAY} 11:20", 1)
    centre.state("lobby", "S1", f"{DAY} 18:00", 1)
    centre.state("lobby", "S1", f"{DAY} 11:45", 1)

    with centre.database.reading() as connection:
        facts = connection.execute(select(WATERMARK.c.until)).scalars().all()
        kinds = connection.execute(select(findings.c.kind).order_by(findings.c.kind)).scalars().all()
    assert facts == [int(clock("11:45").timestamp())]
    assert kinds == ["watermark_ahead", "watermark_back"]
    assert [slot["status"] for slot in centre.at(f"{DAY} 12:01").day("a", DAY)["slots"]] == ["final", "open"]


def test_a_claim_for_a_stream_that_is_not_known_counts_for_nothing(centre: Centre) -> None:
    """A ledger that was replaced may be known by its state before any event of it arrives."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    held = centre.source.stream
    centre.source.stream = "another"
    centre.now = clock("19:50")
    centre.state("lobby", "S1", f"{DAY} 19:49", 1)
    centre.source.stream = held
    assert doubts(centre.at(f"{DAY} 19:51").day("a", DAY)) == {("unread", "in"), ("unread", "out")}


def slots(day: dict[str, Any]) -> list[str]:
    """Return the status of each slot of a day."""
    return [slot["status"] for slot in day["slots"]]


@pytest.mark.both_stores
def test_an_outage_of_a_terminal_with_a_log_stays_a_doubt_after_its_log_is_read(centre: Centre) -> None:
    """Without power nobody could punch, and a log shows nothing of that; a decision about the terminal ends it."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    centre.receive(*outage(centre, "15:30", "18:00"))
    assert doubts(centre.at(f"{DAY} 18:01").day("a", DAY)) == {("unread", "in")}
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 2)
    evening = centre.at(f"{DAY} 19:48").day("a", DAY)
    assert (slots(evening), doubts(evening)) == (["final", "provisional"], {("outage", "out")})
    assert not evening["absent"]

    centre.enter("decisions", f"decision,terminal,from,until,by,paper\nnot_concerned,S1,{DAY},{DAY},Kepala,BA 4/2026\n")
    assert centre.at(f"{DAY} 19:49").day("a", DAY)["absent"]


def between(day: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the times of a day's outages as HH:MM:SS."""
    named = [one for one in day["reasons"] if one["step"] == "doubt" and one["what"] == "outage"]
    return {(one["from"][11:], one["to"][11:]) for one in named}


def recorded_at(centre: Centre, text: str, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the last events of the gateway as they are where it recorded them at HH:MM."""
    rest, end = centre.source.events[: -len(events)], centre.source.events[-len(events)]["previous"]
    for event in events:
        rest.append(sealed(event | {"recordedtime": utc_text(text)}, end))
        end = rest[-1]["digest"]
    centre.source.events[:] = rest
    return rest[-len(events) :]


def test_a_punch_in_an_outage_proves_that_the_terminal_works_again(centre: Centre) -> None:
    """Only the network was down from there on: who punches later is late, and before it who was early is not."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    lost, found = outage(centre, "07:00", "07:30")
    late, proof = centre.punches("1001", f"{DAY} 09:10:00"), centre.punches("1002", f"{DAY} 07:20:00")
    centre.now = clock("12:00")
    centre.receive(lost, found)
    centre.receive(*late)
    centre.state("lobby", "S1", f"{DAY} 12:00", 4)
    before = centre.at(f"{DAY} 12:01").day("a", DAY)
    assert doubts(before) == {("unread", "in"), ("outage", "in")}, "its punch at 07:20 has not arrived"

    centre.now = clock("12:02")
    centre.receive(*proof)

    assert between(centre.at(f"{DAY} 12:03").day("a", DAY)) == {("07:00:00", "07:19:59")}
    assert {"kind": "outage"} in json.loads(centre.history("a", DAY)[-1].cause)
    with centre.database.reading() as connection:
        known = judge_now(
            connection, OfficePolicies(POLICIES), "a", date(2026, 9, 1), int(clock("12:01").timestamp()), clock("12:01")
        )
    assert known is not None
    assert doubts(json.loads(known.content)) == doubts(before), "as known before the punch arrived"


def test_a_terminal_on_its_battery_proves_nothing_of_the_time_after_it(centre: Centre) -> None:
    """A power cut: the network is gone at once, the terminal an hour later, and nobody can punch at 16:00."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    events = outage(centre, "15:00", "18:00")
    events += centre.punches("1009", f"{DAY} 15:05:00", f"{DAY} 15:19:00", f"{DAY} 15:30:00", f"{DAY} 17:50:00")
    centre.now = clock("18:01")
    centre.receive(*events)
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 6)
    found = centre.at(f"{DAY} 19:48").day("a", DAY)
    assert between(found) == {("15:00:00", "15:04:59"), ("15:30:01", "17:49:59")}
    assert not found["absent"]


@pytest.mark.parametrize("suspect", ["step", "unverified", "unmeasured", "drift", "future", "reset"])
def test_a_punch_whose_clock_is_in_doubt_proves_nothing(centre: Centre, suspect: str) -> None:
    """It may have been made before the loss."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    events = outage(centre, "07:00", "07:30")
    events += centre.punches("1009", f"{DAY} 07:20:00", suspect=[suspect])
    centre.now = clock("07:31")
    centre.receive(*events)
    assert between(centre.at(f"{DAY} 12:00").day("a", DAY)) == {("07:00:00", "07:30:00")}


@pytest.mark.parametrize(
    ("offset_ms", "expected"),
    [
        (420_000, {("07:00:00", "07:18:00")}),
        (60_000, {("07:00:00", "07:04:02")}),
        (-60_000, {("07:00:00", "07:06:02")}),
    ],
)
def test_of_a_clock_that_was_measured_the_true_time_proves(
    centre: Centre, offset_ms: int, expected: set[tuple[str, str]]
) -> None:
    """A terminal seven minutes fast prints a time in the outage for a punch made before it."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    events = outage(centre, "07:00", "07:18")
    measured = {"offset_ms": offset_ms, "bound_ms": 2_500, "measured": utc_text("07:30"), "gateway_synchronised": True}
    events += centre.punches("1009", f"{DAY} 07:05:00", f"{DAY} 07:06:00", suspect=["drift"], clock=measured)
    centre.now = clock("07:31")
    centre.receive(*recorded_at(centre, "07:30", *events))
    assert between(centre.at(f"{DAY} 12:00").day("a", DAY)) == expected


@pytest.mark.parametrize("recorded", ["06:59", "07:30"])
def test_a_punch_that_was_recorded_before_the_loss_proves_nothing(centre: Centre, recorded: str) -> None:
    """By when it was recorded, and by its place in the stream."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    early = recorded_at(centre, recorded, *centre.punches("1009", f"{DAY} 07:05:00"))
    centre.now = clock("07:31")
    centre.receive(*early, *outage(centre, "07:00", "07:20"))
    assert between(centre.at(f"{DAY} 12:00").day("a", DAY)) == {("07:00:00", "07:20:00")}


def test_no_punch_shortens_an_outage_that_has_not_ended(centre: Centre) -> None:
    """The terminal is still out: what may follow is not known."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    events = outage(centre, "07:00", None) + centre.punches("1009", f"{DAY} 07:05:00")
    centre.now = clock("07:31")
    centre.receive(*events)
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 2)
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) >= {("outage", "in"), ("outage", "out")}


def test_a_later_loss_begins_a_new_doubt(centre: Centre) -> None:
    """What proved the end of the first proves nothing of the second."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    events = outage(centre, "07:00", "07:10") + centre.punches("1009", f"{DAY} 07:05:00")
    events += outage(centre, "07:20", "07:30")
    centre.now = clock("07:31")
    centre.receive(*events)
    assert between(centre.at(f"{DAY} 12:00").day("a", DAY)) == {("07:00:00", "07:04:59"), ("07:20:00", "07:30:00")}


def test_a_restart_of_a_gateway_is_no_outage_of_terminals_with_a_log(centre: Centre) -> None:
    """A longer one may be that of the site's power."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)

    def starts_again(begin: str, end: str) -> dict[str, Any]:
        centre.now = clock(end)
        times = {"last_alive": utc_text(begin), "resumed": utc_text(end)}
        return centre.note("hadir.gateway.resumed.v1", None, **times, clean=False)

    centre.receive(starts_again("08:00", "08:04"))
    centre.receive(starts_again("15:50", "18:00"))
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 2)
    found = centre.at(f"{DAY} 19:48").day("a", DAY)
    assert doubts(found) == {("outage", "out")}


@pytest.mark.parametrize(("start", "missing"), [("2026-09-02", False), ("2026-09-01", True), ("now", False)])
def test_a_day_before_the_start_of_a_gateway_is_never_absent(centre: Centre, start: str, missing: bool) -> None:
    """Records before the start that an office chose are in the terminal's log, and are not published."""
    centre.now = clock("20:00")
    centre.receive(centre.note("hadir.history.withheld.v1", "lobby", serial="S1", records=5117, start=start))
    found = centre.at(f"{DAY} 20:01").day("a", DAY)
    assert found["absent"] is missing
    assert doubts(found) == (set() if missing else {("unpublished", "in"), ("unpublished", "out")})
    centre.enter("decisions", f"decision,terminal,from,until,by,paper\nnot_concerned,S1,{DAY},{DAY},Kepala,BA 5/2026\n")
    assert centre.at(f"{DAY} 20:02").day("a", DAY)["absent"]


def test_a_person_without_an_enrolment_is_never_absent(centre: Centre) -> None:
    """Nothing is known there; a decision ends it, and so does an enrolment."""
    centre.enter("people", "key,name,employment,unit,from\nnew,Contoh Baru,pns,dinas,2026-08-24\n")
    assert doubts(centre.at(f"{DAY} 19:47").day("new", DAY)) == {("unenrolled", "in"), ("unenrolled", "out")}
    assert centre.day("new", DAY)["cut"] == 0
    centre.enter("decisions", f"decision,person,from,until,by,paper\nnot_concerned,new,{DAY},{DAY},Kepala,BA 2/2026\n")
    assert centre.at(f"{DAY} 19:48").day("new", DAY)["absent"]
    centre.enter("enrolments", "pin,site,person,from\n1009,3602-bkpsdm,new,2026-09-02\n")
    assert centre.at("2026-09-02 19:47").day("new", "2026-09-02")["absent"]


def test_people_of_a_terminal_that_nothing_names_wait_for_it(centre: Centre) -> None:
    """The first state of it, or its first punch, is a reason to judge them again."""
    centre.enter("people", "key,name,employment,unit,from\nfar,Contoh Jauh,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", "pin,terminal,person,from\n7,S9,far,2026-01-01\n")
    assert doubts(centre.at(f"{DAY} 19:47").day("far", DAY)) == {("unread", "in"), ("unread", "out")}
    centre.punched("8", f"{DAY} 05:00:00", serial="S9", terminal="far")
    assert centre.at(f"{DAY} 19:48").day("far", DAY)["absent"]


def test_a_gap_before_the_first_punch_of_a_terminal_concerns_its_people(centre: Centre) -> None:
    """People who are enrolled only there are judged again when the terminal is known to be the gateway's."""
    centre.enter("people", "key,name,employment,unit,from\nfar,Contoh Jauh,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", "pin,terminal,person,from\n7,S9,far,2026-01-01\n")
    centre.enter(
        "decisions", f"decision,person,terminal,from,until,by,paper\nnot_concerned,far,S9,{DAY},,Kepala,BA 3\n"
    )
    first, _, third = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 07:00:00", f"{DAY} 19:46:00")
    centre.now = clock("19:46")
    centre.receive(first, third)
    assert centre.at(f"{DAY} 19:47").day("far", DAY)["absent"]
    centre.punched("8", f"{DAY} 19:46:30", serial="S9", terminal="far")
    assert doubts(centre.at(f"{DAY} 19:48").day("far", DAY)) == {("gap", "in"), ("gap", "out")}


def test_a_record_that_is_no_punch_is_a_doubt_since_the_log_was_last_complete(centre: Centre) -> None:
    """It may be anybody's at that terminal; nothing before the watermark can be it."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("12:00")
    centre.state("lobby", "S1", f"{DAY} 11:59", 1)
    centre.now = clock("16:10")
    centre.receive(
        centre.note(
            "hadir.record.quarantined.v1", "lobby", serial="S1", raw="00", size=1, sha256="0" * 64, occurrence=1
        )
    )
    centre.now = clock("19:50")
    centre.state("lobby", "S1", f"{DAY} 19:49", 2)
    found = centre.at(f"{DAY} 19:51").day("a", DAY)
    assert [slot["status"] for slot in found["slots"]] == ["final", "provisional"]
    assert doubts(found) == {("quarantined", "out")}


@pytest.mark.both_stores
@pytest.mark.parametrize("turned", [False, True])
def test_a_live_event_that_the_log_did_not_hold_is_a_doubt_at_its_moment(centre: Centre, *, turned: bool) -> None:
    """It may have been another person's; whatever arrives first."""
    punch = centre.punches("1002", f"{DAY} 07:20:00", via="live")[0]
    centre.now = clock("23:00")
    note = centre.note("hadir.punch.unconfirmed.v1", "lobby", serial="S1", punch=punch["id"])
    for event in (note, punch) if turned else (punch, note):
        centre.receive(event)
        centre.at(f"{DAY} 23:01")
    found = centre.day("a", DAY)
    assert [slot["status"] for slot in found["slots"]] == ["provisional", "final"]
    assert doubts(found) == {("unconfirmed", "in")}


def test_an_outage_concerns_people_on_the_dates_of_their_enrolment(centre: Centre) -> None:
    """Who moves to another terminal in the middle of it is concerned until then."""
    centre.state("gate", "S2", records=None)
    centre.enter("people", "key,name,employment,unit,from\nmoves,Contoh Pindah,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", f"pin,terminal,person,from,until\n7,S1,moves,2026-01-01,{DAY}\n7,S2,moves,2026-09-02,\n")
    centre.receive(*outage(centre, "06:00", None))
    centre.at("2026-09-02 19:47")
    assert centre.day("moves", DAY)["status"] == "provisional"
    assert centre.day("moves", "2026-09-02")["absent"]


@pytest.mark.both_stores
def test_what_was_known_of_doubts_at_a_moment_is_known_afterwards(centre: Centre) -> None:
    """As known at each moment, a day is judged as it was judged then."""
    punches = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 11:00:00")
    lost, found = outage(centre, "12:00", "13:00")
    moments = []
    arrivals: list[tuple[str, Callable[[], None]]] = [
        ("11:40", lambda: centre.receive(punches[0])),
        ("11:41", lambda: centre.state("lobby", "S1", f"{DAY} 11:00", 1)),
        ("11:42", lambda: centre.state("lobby", "S1", f"{DAY} 11:40", 2)),
        ("11:44", lambda: centre.receive(punches[1])),
        ("20:00", lambda: centre.receive(lost)),
        ("20:10", lambda: centre.receive(found)),
        ("20:20", lambda: centre.state("lobby", "S1", f"{DAY} 20:00", 4)),
    ]
    for at, arrive in arrivals:
        centre.now = clock(at)
        arrive()
        centre.at(f"{DAY} {at}:30")
        moments.append((centre.now, centre.history("a", DAY)[-1]))

    assert [revision.status for _, revision in moments] == [*["open"] * 4, *["provisional"] * 3]
    for moment, revision in moments:
        with centre.database.reading() as connection:
            again = judge_now(
                connection,
                OfficePolicies(POLICIES),
                "a",
                date.fromisoformat(DAY),
                int(moment.timestamp()),
                moment,
            )
        assert again is not None
        assert again.result is not None
        assert (dump_day(again.result), again.inputs) == (revision.content, revision.inputs), moment


def test_states_that_cannot_be_read_cost_themselves_alone(centre: Centre) -> None:
    """Each is rejected with its reason; an empty one states that the terminal is no longer configured."""
    topic = f"{centre.source.gateway}/terminal/lobby/state"
    bad = [
        b"[]",
        b"{",
        b'{"serial":7}',
        b'{"serial":"S1","complete":{"until":"yesterday","sequence":"1"}}',
        b'{"serial":"S1","complete":1}',
    ]
    result = centre.store.ingest([Message(topic, text) for text in (*bad, b"")])
    assert (result.stored, result.rejected) == (0, len(bad))


@pytest.mark.both_stores
def test_a_watermark_of_a_new_stream_waits_for_the_end_of_the_one_before(centre: Centre) -> None:
    """What the log held may have been sent in the stream that a rollback ended."""
    first, second = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 07:00:00")
    old = centre.source
    centre.receive(first)
    centre.source = Source("another")
    end = {"stream": old.stream, "sequence": 2, "digest": second["digest"]}
    centre.now = clock("19:50")
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info(end, assigned=0))])
    centre.state("lobby", "S1", f"{DAY} 19:49", 0)
    assert doubts(centre.at(f"{DAY} 19:51").day("a", DAY)) == {("unread", "in"), ("unread", "out")}
    centre.receive(second)
    assert centre.at(f"{DAY} 19:52").day("a", DAY)["absent"]


@pytest.mark.both_stores
def test_an_announced_end_that_stays_away_is_a_doubt_until_it_arrives(centre: Centre) -> None:
    """What is on its way for a minute is none; people of a terminal with a log wait for its watermark instead."""
    first, second = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 16:02:00")
    topic = f"{centre.source.gateway}/info"
    centre.now = clock("19:45")
    centre.receive(first)
    centre.store.ingest([Message(topic, centre.source.info(assigned=2))])
    assert centre.at(f"{DAY} 19:45:30").history("a", DAY)[-1].status == "open"
    late = centre.at(f"{DAY} 19:47:30").day("a", DAY)
    assert doubts(late) == {("gap", "in"), ("gap", "out")}
    assert {one["detail"] for one in late["reasons"] if one["step"] == "doubt"} == {
        f"stream {centre.source.stream} up to sequence 2"
    }
    known = centre.now
    centre.now = clock("19:50")
    centre.receive(second)
    assert centre.at(f"{DAY} 19:51").day("a", DAY)["absent"]
    with centre.database.reading() as connection:
        again = judge_now(
            connection, OfficePolicies(POLICIES), "a", date.fromisoformat(DAY), int(known.timestamp()), known
        )
    assert again is not None
    assert again.status == "provisional"


@pytest.mark.both_stores
def test_a_punch_of_a_clock_that_was_reset_is_a_doubt_between_its_neighbours(centre: Centre) -> None:
    """C20: it was made after the punch before it in the log, and before the one behind it; nobody else is concerned."""
    zone = {"zone": "Asia/Jakarta"}
    before = centre.punches("1009", f"{DAY} 07:02:11", **zone)
    reset = centre.punches("1001", "2000-01-01 00:00:14", suspect=["reset"], **zone)
    event = centre.source.events.pop() | {"recordedtime": utc_text("19:00")}
    centre.source.events.append(sealed(event, centre.source.end))
    reset = [centre.source.events[-1]]
    after = centre.punches("1009", f"{DAY} 09:00:00", **zone)
    centre.now = clock("19:01")
    centre.receive(*before, *reset)
    assert doubts(centre.at(f"{DAY} 19:50").day("a", DAY)) >= {("suspect", "in"), ("suspect", "out")}
    centre.receive(*after)
    found = centre.at(f"{DAY} 19:51").day("a", DAY)
    reasons = [one for one in found["reasons"] if one["step"] == "doubt" and one["what"] == "suspect"]
    assert {(one["slot"], one["from"], one["to"]) for one in reasons} == {("in", f"{DAY} 07:02:11", f"{DAY} 09:00:00")}
    assert ("suspect", "in") not in doubts(centre.day("b", DAY))
    centre.enter("decisions", f"decision,person,from,until,by,paper\nnot_concerned,a,{DAY},{DAY},Kepala,BA 4/2026\n")
    assert centre.at(f"{DAY} 19:52").day("a", DAY)["absent"]


@pytest.mark.parametrize("what", ["log_cleared", "log_shrunk", "log_wrapped", "log_filling"])
def test_a_log_that_lost_records_is_a_doubt_since_it_was_last_complete(centre: Centre, what: str) -> None:
    """What a terminal lost before it was read stands in no later reading; other changes of it are no doubt."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("06:00")
    centre.state("lobby", "S1", f"{DAY} 06:00", 1)
    centre.now = clock("11:00")
    centre.receive(centre.note("hadir.terminal.changed.v1", "lobby", serial="S1", what=what, records_after=0))
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 2)
    found = centre.at(f"{DAY} 19:48").day("a", DAY)
    if what == "log_filling":
        assert (found["absent"], doubts(found)) == (True, set())
        return
    assert (found["absent"], doubts(found)) == (False, {("log_lost", "in")})
    (reason,) = [one for one in found["reasons"] if one["step"] == "doubt"]
    assert (reason["from"], reason["to"]) == (f"{DAY} 06:00:00", f"{DAY} 11:00:00")
    centre.enter("decisions", f"decision,terminal,from,until,by,paper\nnot_concerned,S1,{DAY},{DAY},Kepala,BA 6/2026\n")
    assert centre.at(f"{DAY} 19:49").day("a", DAY)["absent"]


def test_a_claim_that_names_no_stream_counts_for_nothing(centre: Centre) -> None:
    """The sequence may be one of a new stream that is not known here, and low there."""
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info())])
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("19:50")
    until = {"until": clock("19:49").isoformat(), "sequence": f"{1:020d}"}
    centre.state("lobby", "S1", complete=until)
    centre.state("lobby", "S1", complete=until)
    assert doubts(centre.at(f"{DAY} 19:51").day("a", DAY)) == {("unread", "in"), ("unread", "out")}
    with centre.database.reading() as connection:
        assert connection.execute(select(findings.c.kind)).scalars().all() == ["watermark_unplaced"]
