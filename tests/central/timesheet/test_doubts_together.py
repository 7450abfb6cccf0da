"""Doubts of one person do not depend on terminals, gateways and people elsewhere."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from central.policy.office import OfficePolicies
from central.store import Message, marks, ownership
from central.store.engine import utc
from central.store.findings import Findings
from central.store.streams import Gateway, Moment
from central.store.terminals import WATERMARK, TerminalBatch
from central.timesheet.facts import judge_now
from tests.central.sealing import GATEWAY, Source, sealed
from tests.central.store.office import POLICIES, Centre
from tests.central.timesheet.test_recompute_doubts import DAY, clock, doubts, outage, utc_text

ELSEWHERE = "3601-dinkes/gw-02"
"""A gateway of another site."""


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office whose one terminal has no log, on the morning of Tuesday, 1 September 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 31, 22, tzinfo=UTC))
    found.enter_office()
    yield found
    found.close()


def known_then(centre: Centre, text: str) -> set[tuple[str, str]]:
    """Return the doubts of a day as known at HH:MM[:SS]."""
    moment = clock(text)
    with centre.database.reading() as connection:
        found = judge_now(
            connection, OfficePolicies(POLICIES), "a", date.fromisoformat(DAY), int(moment.timestamp()), moment
        )
    assert found is not None
    return doubts(json.loads(found.content))


@pytest.mark.parametrize("gateway", ["3602-bkpsdm/gw-02", ELSEWHERE])
def test_a_decision_on_a_terminal_settles_nothing_of_another_of_the_same_name(centre: Centre, gateway: str) -> None:
    """Names are unique within a gateway; a decision names a serial number."""
    first, centre.source = centre.source, Source("second", gateway)
    centre.state("lobby", "S2", records=None)
    centre.source = first
    centre.enter("people", "key,name,employment,unit,from\nfar,Contoh Jauh,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", "pin,terminal,person,from\n7,S2,far,2026-01-01\n")
    centre.enter(
        "decisions", f"decision,person,terminal,from,until,by,paper\nnot_concerned,a,S2,{DAY},{DAY},Kepala,BA 3\n"
    )
    centre.receive(*outage(centre, "06:00", "09:00"))
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) == {("outage", "in")}


def test_a_watermark_of_another_site_moves_nothing(centre: Centre) -> None:
    """Also where people of that site are judged in the same batch."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("12:00")
    centre.state("lobby", "S1", f"{DAY} 07:00", 1)
    first, centre.source = centre.source, Source("second", ELSEWHERE)
    centre.punched("77", f"{DAY} 05:00:00", serial="S7", terminal="door")
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 1)
    centre.source = first
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) == {("unread", "in"), ("unread", "out")}
    centre.enter("people", "key,name,employment,unit,from\nfar,Contoh Jauh,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", "pin,site,person,from\n7,3601-dinkes,far,2026-01-01\n")
    centre.recompute.rebuild()
    assert doubts(centre.at(f"{DAY} 19:49").day("a", DAY)) == {("unread", "in"), ("unread", "out")}


def test_a_watermark_of_another_site_moves_nothing_of_an_own_terminal(centre: Centre) -> None:
    """Before a decision states that the terminal belongs there; then it counts."""
    centre.enter("people", "key,name,employment,unit,from\nfar,Contoh Jauh,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", "pin,terminal,person,from\n7,S1,far,2026-01-01\n")
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("12:00")
    centre.state("lobby", "S1", f"{DAY} 07:00", 1)
    first, centre.source = centre.source, Source("second", ELSEWHERE)
    centre.punched("77", f"{DAY} 05:00:00", serial="S7", terminal="door")
    centre.now = clock("19:47")
    centre.state("lobby", "S1", f"{DAY} 19:47", 1)
    centre.source = first
    assert doubts(centre.at(f"{DAY} 19:48").day("far", DAY)) == {("unread", "in"), ("unread", "out")}
    entered = utc(centre.now)
    with centre.database.writing() as connection:
        counted = ownership.assign(connection, "S1", ELSEWHERE, "2026-09-02", "Kepala", "BA 5/2026", entered)
        marks.mark_assigned(connection, "S1", date(2026, 9, 2), counted, entered)
    assert centre.at(f"{DAY} 19:49").day("far", DAY)["absent"]


@pytest.mark.parametrize("beside", [False, True])
def test_an_outage_is_no_doubt_where_its_gateway_has_named_no_terminal(centre: Centre, *, beside: bool) -> None:
    """A gateway of another site states an outage of a serial number, whether its people are judged too or not."""
    if beside:
        centre.enter("people", "key,name,employment,unit,from\nfar,Contoh Jauh,pns,dinas,2026-08-24\n")
        centre.enter("enrolments", "pin,site,person,from\n7,3601-dinkes,far,2026-01-01\n")
    centre.source = Source("second", ELSEWHERE)
    centre.receive(*outage(centre, "06:00", "09:00"))
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) == set()


def test_a_later_announcement_is_kept_behind_an_earlier_one(centre: Centre) -> None:
    """The end that was announced second is a doubt when the first one has arrived."""
    first, second, _ = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 06:02:00", f"{DAY} 16:02:00")
    topic = f"{centre.source.gateway}/info"
    centre.now = clock("19:30")
    centre.receive(first)
    centre.store.ingest([Message(topic, centre.source.info(assigned=2))])
    centre.store.ingest([Message(topic, centre.source.info(assigned=3))])
    centre.now = clock("19:31")
    centre.receive(second)
    centre.at(f"{DAY} 19:45")
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) >= {("gap", "out")}


def test_a_live_event_is_known_as_it_was_before_its_punch(centre: Centre) -> None:
    """As known before, it may have been at any time since its log was complete."""
    punch = centre.punches("1002", f"{DAY} 07:20:00", via="live")[0]
    centre.now = clock("23:00")
    note = centre.note("hadir.punch.unconfirmed.v1", "lobby", serial="S1", punch=punch["id"])
    centre.receive(note)
    before = doubts(centre.at(f"{DAY} 23:01").day("a", DAY))
    centre.now = clock("23:02")
    centre.receive(punch)
    after = doubts(centre.at(f"{DAY} 23:03").day("a", DAY))
    assert after == known_then(centre, "23:03")
    assert before == known_then(centre, "23:01")


def test_a_record_is_known_as_it_was_before_its_watermark(centre: Centre) -> None:
    """The state that moves its begin arrives after the event."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("16:10")
    centre.receive(
        centre.note(
            "hadir.record.quarantined.v1", "lobby", serial="S1", raw="00", size=1, sha256="0" * 64, occurrence=1
        )
    )
    before = doubts(centre.at(f"{DAY} 19:50").day("a", DAY))
    centre.now = clock("19:51")
    centre.state("lobby", "S1", f"{DAY} 11:59", 1)
    after = doubts(centre.at(f"{DAY} 19:52").day("a", DAY))
    assert after == known_then(centre, "19:52")
    assert before == known_then(centre, "19:50")


def test_a_watermark_waits_for_each_stream_before_its_own(centre: Centre) -> None:
    """Two streams have ended, and the end of the first has not arrived."""
    first, second = centre.punches("1002", f"{DAY} 05:50:00", f"{DAY} 07:00:00")
    old = centre.source
    centre.receive(first)
    middle = Source("middle")
    centre.source = middle
    end = {"stream": old.stream, "sequence": 2, "digest": second["digest"]}
    centre.now = clock("19:49")
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info(end, assigned=0))])
    centre.punched("1002", f"{DAY} 19:00:00")
    end = {"stream": "middle", "sequence": 1, "digest": middle.events[0]["digest"]}
    centre.source = Source("third")
    centre.now = clock("19:50")
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info(end, assigned=0))])
    centre.state("lobby", "S1", f"{DAY} 19:49", 0)
    assert doubts(centre.at(f"{DAY} 19:51").day("a", DAY)) == {("unread", "in"), ("unread", "out")}
    centre.source = old
    centre.receive(second)
    assert centre.at(f"{DAY} 19:52").day("a", DAY)["absent"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_record_long_after_its_log_was_complete_begins_there(centre: Centre, *, turned: bool) -> None:
    """Whether the state, which is two days old, arrives before the record or after it."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("05:55") + timedelta(days=2)
    record = {"serial": "S1", "raw": "00", "size": 1, "sha256": "0" * 64, "occurrence": 1}
    quarantined = centre.note("hadir.record.quarantined.v1", "lobby", **record)
    arrivals: list[Callable[[], None]] = [
        lambda: centre.receive(quarantined),
        lambda: centre.state("lobby", "S1", f"{DAY} 06:00", 1),
    ]
    for arrive in reversed(arrivals) if turned else arrivals:
        arrive()
    centre.state("lobby", "S1", "2026-09-03 05:54", 2)
    assert doubts(centre.at("2026-09-03 05:55").day("a", DAY)) == {("quarantined", "in"), ("quarantined", "out")}


@pytest.mark.both_stores
def test_what_a_punch_proved_is_known_as_it_was_before_another_gateway_sent_it(centre: Centre) -> None:
    """The event that counts today arrived later than the one that ended the doubt of an outage."""
    centre.state("lobby", "S1", f"{DAY} 05:00", 0)
    centre.receive(*outage(centre, "05:40", "05:50"))
    centre.punched("1002", f"{DAY} 05:44:00")
    centre.now = clock("12:00")
    centre.state("lobby", "S1", f"{DAY} 12:00", 3)
    before = doubts(centre.at(f"{DAY} 12:01").day("a", DAY))
    centre.now = clock("14:00")
    centre.source = Source("second", "3602-bkpsdm/gw-02")
    centre.punched("1002", f"{DAY} 05:44:00", state=1)
    entered = utc(centre.now)
    with centre.database.writing() as connection:
        counted = ownership.assign(connection, "S1", centre.source.gateway, DAY, "Kepala", "BA 5/2026", entered)
        marks.mark_assigned(connection, "S1", date(2026, 9, 1), counted, entered)
    assert counted
    assert before == set()
    assert known_then(centre, "12:01") == before


def test_watermarks_that_count_are_not_read_again(centre: Centre) -> None:
    """A year of them costs a punch, and a state, what one costs."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.now = clock("12:00")
    centre.state("lobby", "S1", f"{DAY} 06:00", 1)

    def steps_of_a_state(minute: int) -> int:
        """Return how many thousand steps SQLite takes to let a new watermark count."""
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        centre.state("lobby", "S1", f"{DAY} 07:{minute:02d}", 3)
        with centre.database.writing() as connection:
            connection.execute(update(WATERMARK).where(WATERMARK.c.counted.is_(None)).values(sequence=1))
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.set_progress_handler(count, 1000)
            batch = TerminalBatch(connection, moment, Findings(moment.received))
            assert batch.count([Gateway(1, GATEWAY, None, informed=True)])
            raw.set_progress_handler(None, 0)
        return steps

    moment = Moment(centre.now, 0.0)
    few = steps_of_a_state(1)
    with centre.database.writing() as connection:
        one = connection.execute(select(WATERMARK.c.terminal, WATERMARK.c.stream)).first()
        assert one is not None
        row = {"terminal": one.terminal, "stream": one.stream, "sequence": 1, "received": moment.received}
        rows = [row | {"until": 1_700_000_000 + 60 * number, "counted": moment.received} for number in range(20_000)]
        connection.execute(insert(WATERMARK), rows)
    assert steps_of_a_state(5) <= few + 2


@pytest.mark.both_stores
def test_a_first_punch_from_another_gateway_moves_a_terminal_with_all_its_days(centre: Centre) -> None:
    """The gateway that named it first was out weeks ago; its outage does not concern the terminal's people any more."""
    centre.now = clock("12:00")
    alive = {"last_alive": utc_text("06:00"), "resumed": utc_text("12:00"), "clean": False}
    centre.receive(centre.note("hadir.gateway.resumed.v1", None, **alive))
    assert doubts(centre.at(f"{DAY} 19:48").day("a", DAY)) == {("outage", "in"), ("outage", "out")}
    centre.at("2026-09-25 08:00")
    centre.source = Source("second", "3602-bkpsdm/gw-02")
    centre.punched("1002", "2026-09-25 07:00:00")
    assert centre.at("2026-09-25 08:10").day("a", DAY)["absent"]


@pytest.mark.both_stores
def test_a_punch_without_a_date_is_known_as_it_was_before_its_watermark(centre: Centre) -> None:
    """The state that shows up to when the log was complete arrives later."""
    centre.receive(*centre.punches("1002", f"{DAY} 05:50:00"))
    centre.punches("1001", "2000-01-01 00:00:14", suspect=["reset"])
    event = centre.source.events.pop() | {"recordedtime": utc_text("19:00")}
    centre.source.events.append(sealed(event, centre.source.end))
    between = centre.punches("1009", f"{DAY} 06:10:00")
    centre.now = clock("19:01")
    centre.receive(centre.source.events[1])
    before = doubts(centre.at(f"{DAY} 19:50").day("a", DAY))
    assert ("suspect", "in") in before
    centre.now = clock("19:51")
    centre.state("lobby", "S1", f"{DAY} 12:00", 1)
    centre.receive(*between)
    after = doubts(centre.at(f"{DAY} 19:52").day("a", DAY))
    assert ("suspect", "in") not in after
    assert after == known_then(centre, "19:52")
    assert before == known_then(centre, "19:50")
