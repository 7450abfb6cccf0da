"""The centre's own outages, from the inbox's notes to verdicts in a real database."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from central.store import Message
from central.store.contact import AWAY, CONTACT
from central.store.survey import survey
from tests.central.store.office import Centre
from tests.central.store.test_offline import OUT, known_then, state
from tests.central.timesheet.test_recompute_doubts import DAY, clock, doubts, utc_text

BOTH_STORES = True


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a connected centre whose one terminal has no log, on the morning of Tuesday, 1 September 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 31, 21, 50, tzinfo=UTC))
    found.enter_office()
    found.store.ingest([Message(f"{found.source.gateway}/info", found.source.info())])
    found.store.begin_contact()
    state(found, "05:00", True, 7, at=utc_text("05:00"))
    found.punched("1009", f"{DAY} 05:01:00")
    yield found
    found.close()


GAP = {("gap", "in"), ("gap", "out")}


def at(centre: Centre, text: str, what: Callable[[], None]) -> None:
    """Do something at HH:MM[:SS]."""
    centre.now = clock(text)
    what()


def lose(centre: Centre, text: str) -> None:
    """Lose the connection that was prolonged in the second before."""
    at(centre, text, centre.store.keep_contact)
    centre.store.lose_contact()


def kept(centre: Centre, text: str, *, connected: bool = False) -> set[tuple[str, str]]:
    """Return the doubts of the day after judging at HH:MM[:SS], as a connected inbox does, or another process."""
    if connected:
        at(centre, text, centre.store.keep_contact)
    return doubts(centre.at(f"{DAY} {text}").day("a", DAY))


def punched(centre: Centre, text: str) -> None:
    """Receive another person's punch of HH:MM:SS a second later."""
    centre.now = clock(text)
    centre.punched("1009", f"{DAY} {text}")


def watermark(centre: Centre, text: str) -> None:
    """Receive that another terminal's log is complete until HH:MM."""
    centre.state("gate", "S2", f"{DAY} {text}", 1)


def info(centre: Centre, text: str, at: str, assigned: int | None = None) -> None:
    """Receive an `info` at HH:MM that was made at a moment of the gateway's clock."""
    centre.now = clock(text)
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info(assigned=assigned, at=at))])


def test_nothing_becomes_final_while_the_centre_is_without_a_connection(centre: Centre) -> None:
    """The outage is the centre's own; a punch that waits at a gateway is no absence, and its arrival ends the doubt."""
    (late,) = centre.punches("1001", f"{DAY} 08:00:00")
    lose(centre, "06:00")
    assert kept(centre, "19:47") == OUT
    day = centre.day("a", DAY)
    assert (day["status"], day["absent"], day["cut"]) == ("provisional", False, 0)
    (reason, _) = [one for one in day["reasons"] if one["step"] == "doubt"]
    assert (reason["from"], reason["detail"]) == (f"{DAY} 05:57:00", f"gateway {centre.source.gateway} out of contact")

    at(centre, "20:00", centre.store.begin_contact)
    centre.receive(late)
    assert kept(centre, "20:05", connected=True) == OUT, "recorded before: more may be on its way"
    punched(centre, "20:06:00")
    assert kept(centre, "20:06:30", connected=True) == OUT, "what it announces may still be on its way"
    assert kept(centre, "20:08", connected=True) == set()
    day = centre.day("a", DAY)
    assert (day["status"], day["slots"][0]["minutes"]) == ("final", 30)
    assert known_then(centre, "19:50") == OUT
    before = centre.digests()
    centre.recompute.rebuild()
    kept(centre, "20:09", connected=True)
    assert centre.digests() == before


def test_silence_ends_nothing(centre: Centre) -> None:
    """A broker that ends together with a gateway publishes no will: the state that it restores is the one before."""
    lose(centre, "06:00")
    at(centre, "06:01", centre.store.begin_contact)
    state(centre, "06:01", True, 7, at=utc_text("05:00"))
    centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info())])
    for text in ("06:02", "11:31", "19:47", "23:59"):
        kept(centre, text, connected=True)
    assert kept(centre, "23:59:30", connected=True) == OUT
    assert not centre.day("a", DAY)["absent"]
    with centre.database.reading() as connection:
        assert survey(connection, centre.now).out_of_contact == (centre.source.gateway,)


@pytest.mark.parametrize("shown", ["event", "birth", "watermark", "info"])
def test_a_gateway_that_shows_that_it_runs_ends_it(centre: Centre, shown: str) -> None:
    """What it did before the present connection began shows nothing, nor does a clock that is ahead."""
    if shown == "watermark":
        at(centre, "05:30", lambda: watermark(centre, "05:30"))
        row = "out_of_use,S2,2026-01-01,,Kepala Contoh,Contoh 2/2026\n"
        centre.enter("decisions", f"decision,terminal,from,until,by,paper\n{row}")
    lose(centre, "06:00")
    at(centre, "20:00", centre.store.begin_contact)
    punched(centre, "19:59:00")
    assert kept(centre, "20:05", connected=True) == OUT
    if shown == "event":
        punched(centre, "20:00:01")
    elif shown == "birth":
        state(centre, "20:05", True, 8, at=utc_text("23:00"))
        state(centre, "20:05", True, 8, at=utc_text("19:50"))
        assert kept(centre, "20:07", connected=True) == OUT
        state(centre, "20:07", True, 9, at=utc_text("19:59"))
    elif shown == "info":
        info(centre, "20:05", at=utc_text("19:59"))
        info(centre, "20:05", at=utc_text("23:00"))
        assert kept(centre, "20:07", connected=True) == OUT
        info(centre, "20:07", at=utc_text("20:06"))
    else:
        at(centre, "20:05", lambda: watermark(centre, "20:01"))
    assert kept(centre, "20:09", connected=True) == set()


def test_a_gateway_whose_clock_is_ahead_is_not_out_of_contact_for_ever(centre: Centre) -> None:
    """What it names as a day later was recorded after the connection began, however far ahead up to a day it is."""
    lose(centre, "06:00")
    at(centre, "20:00", centre.store.begin_contact)
    for time, expected in (("19:50", OUT), ("20:05", set[tuple[str, str]]())):
        centre.now = clock(time) + timedelta(days=1)
        centre.store.keep_contact()
        centre.punched("1009", f"2026-09-02 {time[:4]}9:00")  # minutes ahead of the centre's clock
        centre.now += timedelta(minutes=2)
        centre.store.keep_contact()
        centre.recompute.run()
        assert doubts(centre.day("a", DAY)) == expected


def test_a_connection_that_is_back_within_a_minute_costs_no_revision(centre: Centre) -> None:
    """Verdicts of that minute are held back all the same, and a connection that is lost again needs a new sign."""
    kept(centre, "19:45", connected=True)
    number = len(centre.history("a", DAY))
    for second in (0, 20):
        lose(centre, f"19:46:{second + 1:02d}")
        at(centre, f"19:46:{second + 10:02d}", centre.store.begin_contact)
    assert kept(centre, "19:46:35", connected=True) == {("outage", "out")}, (
        "the window ended while nothing was known of the gateway"
    )
    punched(centre, "19:46:40")
    assert kept(centre, "19:47:45", connected=True) == set()
    assert centre.day("a", DAY)["absent"]
    revisions = len(centre.history("a", DAY))
    for minute in range(5):
        lose(centre, f"20:{minute:02d}:00")
        at(centre, f"20:{minute:02d}:10", centre.store.begin_contact)
        punched(centre, f"20:{minute:02d}:15")
        kept(centre, f"20:{minute:02d}:30", connected=True)
    kept(centre, "20:30", connected=True)
    assert (len(centre.history("a", DAY)), revisions) == (revisions, number + 2)


def test_a_quiet_evening_becomes_final_without_a_punch(centre: Centre) -> None:
    """The inbox was restarted, no person punches any more; what `info` announces and is not held still is a doubt."""
    (late,) = centre.punches("1001", f"{DAY} 19:30:00")
    lose(centre, "19:40")
    at(centre, "19:40:10", centre.store.begin_contact)
    info(centre, "19:41", at=utc_text("19:41"))
    assert kept(centre, "19:47", connected=True) == {("outage", "out"), *GAP}, "announced, and not held"
    assert not centre.day("a", DAY)["absent"]
    centre.receive(late)
    assert kept(centre, "19:49", connected=True) == set()
    assert centre.day("a", DAY)["status"] == "final"


def test_an_inbox_that_was_killed_or_does_not_run_has_lost_its_connection(centre: Centre) -> None:
    """The connection lasted until it was last prolonged, whoever judges; failing attempts leave no rows."""
    at(centre, "05:30", centre.store.keep_contact)
    assert kept(centre, "19:47") == OUT
    for minute in range(5):
        at(centre, f"19:5{minute}", centre.store.begin_contact)
        centre.store.lose_contact()
    at(centre, "20:00", centre.store.begin_contact)
    assert kept(centre, "20:00:30") == OUT
    with centre.database.reading() as connection:
        rows = connection.execute(select(CONTACT.c.until, CONTACT.c.lost.is_not(None)).order_by(CONTACT.c.id)).all()
        away = connection.execute(select(AWAY.c.begin, AWAY.c.ended)).all()
    assert [tuple(row) for row in rows] == [(utc_text("05:30"), True), (utc_text("20:00"), False)]
    assert [tuple(row) for row in away] == [(int(clock("05:27").timestamp()), None)]
    assert json.loads(centre.history("a", DAY)[-1].cause)
