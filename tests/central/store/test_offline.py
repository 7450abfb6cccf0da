"""Gateways that their own state or will names offline, from messages to verdicts in a real database."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from central.policy.office import OfficePolicies
from central.store import Message
from central.store.offline import OFFLINE
from central.timesheet.facts import judge_now
from tests.central.store.office import POLICIES, Centre
from tests.central.timesheet.test_recompute_doubts import DAY, clock, doubts, utc_text


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office whose one terminal has no log, on the morning of Tuesday, 1 September 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 31, 22, tzinfo=UTC))
    found.enter_office()
    found.store.ingest([Message(f"{found.source.gateway}/info", found.source.info())])
    found.punched("1009", f"{DAY} 05:01:00")
    yield found
    found.close()


def state(centre: Centre, text: str, online: bool, session: int | None, at: str | None = None) -> None:
    """Receive a state of the gateway at HH:MM; ``at``: its clock."""
    centre.now = clock(text)
    content = {"state": "online" if online else "offline", "session": session} | ({} if at is None else {"at": at})
    result = centre.store.ingest([Message(f"{centre.source.gateway}/state", json.dumps(content).encode())])
    assert result.rejected == 0


def kept(centre: Centre, text: str) -> set[tuple[str, str]]:
    """Return the doubts of the day after judging at HH:MM[:SS]."""
    return doubts(centre.at(f"{DAY} {text}").day("a", DAY))


def known_then(centre: Centre, text: str) -> set[tuple[str, str]]:
    """Return the doubts of the day as known at HH:MM."""
    moment = clock(text)
    with centre.database.reading() as connection:
        found = judge_now(
            connection, OfficePolicies(POLICIES), "a", date.fromisoformat(DAY), int(moment.timestamp()), moment
        )
    assert found is not None
    return doubts(json.loads(found.content))


OUT = {("outage", "in"), ("outage", "out")}


@pytest.mark.both_stores
def test_a_missing_punch_is_no_violation_while_a_gateway_of_lines_is_offline(centre: Centre) -> None:
    """The doubt begins with the last event held; what the gateway states at its next start takes its place."""
    state(centre, "05:00", True, 7)
    state(centre, "06:00", False, 7)
    assert kept(centre, "19:47") == OUT
    day = centre.day("a", DAY)
    assert (day["status"], day["absent"], day["cut"]) == ("provisional", False, 0)
    (reason, _) = [one for one in day["reasons"] if one["step"] == "doubt"]
    assert (reason["from"], reason["detail"]) == (f"{DAY} 05:01:00", f"gateway {centre.source.gateway} offline")
    assert json.loads(centre.history("a", DAY)[-1].cause)

    state(centre, "20:00", True, 8)
    alive = {"last_alive": utc_text("05:58"), "resumed": utc_text("07:00"), "clean": False}
    centre.receive(centre.note("hadir.gateway.resumed.v1", None, **alive))
    assert kept(centre, "20:00:30") == OUT, "what it announces may still be on its way"
    assert kept(centre, "20:01:10") == {("outage", "in")}
    assert known_then(centre, "19:50") == OUT
    assert known_then(centre, "20:30") == {("outage", "in")}
    before = centre.digests()
    centre.recompute.rebuild()
    centre.at(f"{DAY} 20:05")
    assert centre.digests() == before


def test_an_outage_of_the_line_to_the_broker_leaves_no_doubt(centre: Centre) -> None:
    """The gateway ran on: it announces what it recorded meanwhile, and nothing of it is missing."""
    state(centre, "05:00", True, 7)
    state(centre, "06:00", False, 7)
    (late,) = centre.punches("1001", f"{DAY} 08:00:00")
    assert kept(centre, "19:47") == OUT
    state(centre, "19:50", True, 8)
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info())])
    assert kept(centre, "19:52") >= OUT, "the end that it announced is not held"
    centre.receive(late)
    assert kept(centre, "19:53") == set()
    assert centre.day("a", DAY)["slots"][0]["minutes"] == 30


def test_people_of_a_terminal_with_a_log_wait_for_its_log(centre: Centre) -> None:
    """A gateway that is offline adds nothing to that."""
    centre.state("lobby", "S1", f"{DAY} 05:30", 1)
    state(centre, "06:00", False, 7)
    assert kept(centre, "19:47") == {("unread", "in"), ("unread", "out")}


def test_a_connection_that_is_back_within_a_minute_costs_no_revision(centre: Centre) -> None:
    """However often it breaks."""
    centre.at(f"{DAY} 19:47")
    assert centre.day("a", DAY)["absent"]
    number = len(centre.history("a", DAY))
    for minute in range(10):
        state(centre, f"20:{minute:02d}:00", False, 7 + minute)
        centre.at(f"{DAY} 20:{minute:02d}:30")
        state(centre, f"20:{minute:02d}:40", True, 8 + minute)
        centre.at(f"{DAY} 20:{minute:02d}:50")
    centre.at(f"{DAY} 20:30")
    assert len(centre.history("a", DAY)) == number


@pytest.mark.parametrize("session", [7, 6])
def test_a_late_will_of_an_earlier_connection_says_nothing(centre: Centre, session: int) -> None:
    """The gateway came back on another connection before the broker published it."""
    state(centre, "06:00", True, session + 1)
    state(centre, "06:01", False, session)
    assert kept(centre, "19:47") == set()


def test_a_retained_message_that_a_broker_restored_ends_nothing(centre: Centre) -> None:
    """The broker fell back to what it had stored: ``online`` of the connection that has ended since."""
    state(centre, "05:00", True, 7)
    state(centre, "06:00", False, 7)
    state(centre, "06:05", True, 7, at=utc_text("05:00"))
    state(centre, "06:06", True, 5, at=utc_text("04:00"))
    assert kept(centre, "19:47") == OUT


def test_a_ledger_that_was_set_back_counts_connections_anew(centre: Centre) -> None:
    """Its clock shows that the connection is a new one."""
    state(centre, "05:00", True, 70)
    state(centre, "06:00", False, 70)
    assert kept(centre, "19:47") == OUT
    state(centre, "20:00", True, 3, at=utc_text("20:00"))
    assert kept(centre, "20:02") == set()
    state(centre, "20:03", False, 3)
    assert kept(centre, "20:05") == OUT


def test_a_state_without_a_session_counts(centre: Centre) -> None:
    """Other gateways may number nothing; repeating a state changes nothing."""
    state(centre, "06:00", False, None)
    state(centre, "06:10", False, None)
    assert kept(centre, "19:47") == OUT
    state(centre, "20:00", True, None)
    state(centre, "20:00", True, None)
    assert kept(centre, "20:02") == set()
    with centre.database.reading() as connection:
        assert len(connection.execute(select(OFFLINE.c.id)).all()) == 1


@pytest.mark.both_stores
def test_a_gateway_that_is_offline_again_was_not_back(centre: Centre) -> None:
    """One episode, since its first begin, until the gateway stays."""
    state(centre, "06:00", False, 7)
    state(centre, "06:30", True, 8)
    state(centre, "06:30:40", False, 8)
    assert kept(centre, "19:47") == OUT
    state(centre, "20:00", True, 9)
    centre.now = clock("20:00") + timedelta(seconds=59)
    centre.recompute.run()
    assert doubts(centre.day("a", DAY)) == OUT
    assert kept(centre, "20:01:05") == set()


def test_states_that_cannot_be_read_are_rejected(centre: Centre) -> None:
    """Each by itself; an empty one states that the gateway is gone, and holds nothing."""
    topic = f"{centre.source.gateway}/state"
    bad = [b"[]", b"{", b'{"state":"away"}', b'{"state":"offline","session":"7"}', b'{"state":null}']
    result = centre.store.ingest([Message(topic, text) for text in (*bad, b"")])
    assert (result.stored, result.rejected) == (0, len(bad))
    assert kept(centre, "19:47") == set()
