"""Two gateways that claim one punch: nothing where they agree, both kept and one that counts where they do not."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from central.store import Database, IngestResult
from central.store.ownership import WrongDecisionError, assign, serials
from tests.central.sealing import GATEWAY, Event, Source
from tests.central.test_store import OTHER, PUNCHES, THEIRS, Centre

BOTH_STORES = True

SERIAL = "CEXA193960001"
AT = "2026-09-10T01:00:00.000Z"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Return a new centre."""
    centre = Centre(tmp_path / "centre.db")
    yield centre
    centre.store.close()


def sources() -> tuple[Source, Source]:
    """Return two gateways."""
    return Source(), Source("theirs", OTHER)


def counting(centre: Centre) -> list[Any]:
    """Return gateway and state of the punches that count, by their time."""
    return centre.rows("SELECT gateway, state FROM punches ORDER BY local_time")


def decide(centre: Centre, gateway: str, since: str, serial: str = SERIAL) -> int:
    """Enter a decision while the store is open."""
    with Database(centre.path) as database, database.writing() as connection:
        return len(assign(connection, serial, gateway, since, "Budi", "SK 12/2026", AT))


def test_the_same_punch_from_a_second_gateway_is_nothing(centre: Centre) -> None:
    """How it came, where it stood in the log and what was known of the clock may differ."""
    ours, theirs = sources()
    ours.punch(1, via="log", position=7, work_code="0")
    theirs.punch(1, via="file", position=None, terminal="stick", suspect=["unmeasured"])

    centre.ingest(*ours.events)
    assert centre.ingest(*theirs.events, topic=THEIRS) == IngestResult(stored=1)

    assert counting(centre) == [(GATEWAY, 0)]
    assert [stream.claimed_twice for stream in centre.streams()] == [[], []]
    assert centre.faults() == []


@pytest.mark.parametrize("changed", [{"state": 1}, {"verify": 15}])
def test_another_content_keeps_both_and_the_first_gateway_of_the_serial_counts(
    centre: Centre, changed: dict[str, Any]
) -> None:
    """The one that sent the terminal's first punch; whichever of the two comes first."""
    ours, theirs = sources()
    ours.punches(3)
    theirs.punch(2, **changed)
    theirs.punch(3, **changed)

    centre.ingest(ours.events[0])
    centre.ingest(theirs.events[0], topic=THEIRS)  # before ours
    centre.ingest(ours.events[1], ours.events[2])
    centre.ingest(theirs.events[1], topic=THEIRS)  # after ours

    assert counting(centre) == [(GATEWAY, 0)] * 3
    assert len(centre.rows("SELECT * FROM event")) == 5
    found = {(stream.gateway, tuple(stream.claimed_twice)) for stream in centre.streams()}
    assert found == {(GATEWAY, (2,)), (OTHER, (2,))}
    assert len(centre.logged("punch_claimed_twice")) == 2
    assert centre.faults() == []


def test_a_decision_changes_which_one_counts_from_a_date_on(centre: Centre) -> None:
    """Dated, added to and not replaced, entered while the inbox runs; the last of one date counts."""
    ours, theirs = sources()
    for day in ("01", "02", "03"):
        ours.punch(1, local_time=f"2026-09-{day}T07:30:00")
        theirs.punch(1, local_time=f"2026-09-{day}T07:30:00", state=1)
    centre.ingest(*ours.events)
    centre.ingest(*theirs.events, topic=THEIRS)
    assert counting(centre) == [(GATEWAY, 0)] * 3

    assert decide(centre, OTHER, "2026-09-02") == 2
    assert counting(centre) == [(GATEWAY, 0), (OTHER, 1), (OTHER, 1)]
    assert decide(centre, GATEWAY, "2026-09-03") == 1
    assert decide(centre, OTHER, "2026-09-03") == 1
    assert decide(centre, OTHER, "2026-09-03") == 0
    assert counting(centre) == [(GATEWAY, 0), (OTHER, 1), (OTHER, 1)]
    ours.punch(1, local_time="2026-09-04T07:30:00")
    theirs.punch(1, local_time="2026-09-04T07:30:00", state=1)
    centre.ingest(ours.events[-1])
    centre.ingest(theirs.events[-1], topic=THEIRS)
    assert counting(centre)[-1] == (OTHER, 1)
    assert centre.faults() == []
    assert decide(centre, GATEWAY, "0001-01-01") == 0  # an earlier date: later decisions stand

    (register,) = serials_of(centre)
    assert [(line.since, line.gateway, line.decided_by) for line in register.owners] == [
        ("", GATEWAY, None),
        ("0001-01-01", GATEWAY, "Budi"),
        ("2026-09-02", OTHER, "Budi"),
        ("2026-09-03", GATEWAY, "Budi"),
        ("2026-09-03", OTHER, "Budi"),
        ("2026-09-03", OTHER, "Budi"),
    ]
    assert register.punches == {GATEWAY: 1, OTHER: 3}


def serials_of(centre: Centre) -> Any:
    """Return the register."""
    with Database(centre.path) as database, database.reading() as connection:
        return serials(connection)


def test_ownership_rejects_nothing(centre: Centre) -> None:
    """A terminal that moved, or an export that was imported elsewhere: its punches count."""
    ours, theirs = sources()
    ours.punch(1)
    theirs.punch(2)

    centre.ingest(*ours.events)
    assert centre.ingest(*theirs.events, topic=THEIRS) == IngestResult(stored=1)

    assert [gateway for gateway, _ in counting(centre)] == [GATEWAY, OTHER]


def arrivals() -> list[list[tuple[Event, str]]]:
    """Return the same events in every order, behind the first punch that decides whose the terminal is."""
    ours, theirs, third = Source(), Source("theirs", OTHER), Source("third", "3602-bkpsdm/gw-03")
    ours.punches(2)
    theirs.punch(2, state=1)
    third.punch(2, state=2)
    rest = [
        (ours.events[1], PUNCHES),
        (theirs.events[0], THEIRS),
        (third.events[0], "3602-bkpsdm/gw-03/punch/lobby"),
    ]
    return [[(ours.events[0], PUNCHES), *order] for order in itertools.permutations(rest)]


@pytest.mark.parametrize("arrival", arrivals(), ids=lambda arrival: "-".join(topic[12:17] for _, topic in arrival))
def test_which_one_counts_does_not_depend_on_the_order(centre: Centre, arrival: list[tuple[Event, str]]) -> None:
    """Three gateways with three contents."""
    for event, topic in arrival:
        centre.ingest(event, topic=topic)
        centre.reopen()

    assert counting(centre) == [(GATEWAY, 0)] * 2
    assert centre.faults() == []


@pytest.mark.parametrize("swapped", [False, True])
def test_where_the_owner_sent_nothing_the_order_of_arrival_decides_nothing(centre: Centre, swapped: bool) -> None:
    """The former owner's event counts; of gateways that never owned the serial number the first by name."""
    ours, theirs, third = Source(), Source("theirs", OTHER), Source("third", "3602-bkpsdm/gw-03")
    ours.punches(2)
    theirs.punch(2, state=1)
    theirs.punch(3, state=1)
    third.punch(3, state=2)
    centre.ingest(ours.events[0])
    decide(centre, "3602-bkpsdm/gw-09", "2026-01-01")

    arriving = [
        (ours.events[1], PUNCHES),
        (theirs.events[0], THEIRS),
        (theirs.events[1], THEIRS),
        (third.events[0], "3602-bkpsdm/gw-03/punch/lobby"),
    ]
    for event, topic in reversed(arriving) if swapped else arriving:
        centre.ingest(event, topic=topic)

    assert counting(centre) == [(GATEWAY, 0), (GATEWAY, 0), (OTHER, 1)]
    assert centre.faults() == []


def test_another_content_from_the_same_gateway_is_found(centre: Centre) -> None:
    """A second stream of it, or a second place: the first one stays."""
    ours, again = Source(), Source("again")
    ours.punch(1)
    again.punch(1, state=1)

    centre.ingest(*ours.events, *again.events)

    assert counting(centre) == [(GATEWAY, 0)]
    assert [stream.claimed_twice for stream in centre.streams()] == [[], [1]]
    assert centre.faults() == []


def test_a_pin_that_looks_like_a_uid_is_found(centre: Centre) -> None:
    """`uid:7` as a PIN and the number 7 without one have the same id, and are not the same person."""
    ours, theirs = sources()
    ours.punch(1, pin="uid:7")
    event = theirs.punch(1, pin="uid:7")
    theirs.events.clear()
    theirs.record(event["type"], event["id"], {**event["data"], "pin": None, "uid": 7}, "lobby")

    centre.ingest(*ours.events)
    centre.ingest(*theirs.events, topic=THEIRS)

    assert [stream.claimed_twice for stream in centre.streams()] == [[], [1]]
    assert centre.rows("SELECT gateway, pin, uid FROM punches") == [(GATEWAY, "uid:7", None)]


def test_a_quarantined_record_that_two_gateways_claim_is_found(centre: Centre) -> None:
    """Its id, too, follows from the record, so another gateway can use it; both stay."""
    ours, theirs = sources()
    data = {"terminal": "lobby", "serial": SERIAL, "raw": "00ff", "size": 2, "sha256": "0" * 64, "occurrence": 1}
    for source, more in ((ours, {}), (theirs, {"raw": "ffff"})):
        source.record("hadir.record.quarantined.v1", "7d444840", {**data, **more}, "lobby")

    centre.ingest(*ours.events, topic=f"{GATEWAY}/quarantine/lobby")
    centre.ingest(*theirs.events, topic=f"{OTHER}/quarantine/lobby")

    assert [stream.claimed_twice for stream in centre.streams()] == [[], [1]]
    assert len(centre.rows("SELECT * FROM event")) == 2


def test_only_the_gateway_of_a_punch_can_add_notes_to_it(centre: Centre) -> None:
    """Another one's event that unconfirms it is stored, and is no note of that punch."""
    ours, theirs = sources()
    punch = ours.punch(1)
    for source in (ours, theirs):
        data = {"terminal": "lobby", "serial": SERIAL, "punch": punch["id"]}
        source.record("hadir.punch.unconfirmed.v1", f"note-{source.gateway}", data, "lobby")

    centre.ingest(*theirs.events, topic=f"{OTHER}/note/lobby")
    centre.ingest(*ours.events)

    assert centre.rows("SELECT punch, type, sequence FROM punch_notes") == [
        (punch["id"], "hadir.punch.unconfirmed.v1", 2)
    ]


@pytest.mark.parametrize(
    ("serial", "gateway", "since", "by", "paper"),
    [
        ("", GATEWAY, "2026-09-01", "Budi", "SK"),
        ("a\nb", GATEWAY, "2026-09-01", "Budi", "SK"),
        (SERIAL, "gw-01", "2026-09-01", "Budi", "SK"),
        (SERIAL, GATEWAY, "01-09-2026", "Budi", "SK"),
        (SERIAL, GATEWAY, "2026-02-30", "Budi", "SK"),
        (SERIAL, GATEWAY, "2026-09-01", " ", "SK"),
        (SERIAL, GATEWAY, "2026-09-01", "Budi", "\x1b[2J"),
        (SERIAL, GATEWAY, "2026-09-01", "Budi", "x" * 501),
    ],
)
def test_a_decision_that_is_not_whole_is_refused(
    centre: Centre, serial: str, gateway: str, since: str, by: str, paper: str
) -> None:
    """Nothing of it is entered."""
    with (
        Database(centre.path) as database,
        pytest.raises(WrongDecisionError),
        database.writing() as connection,
    ):
        assign(connection, serial, gateway, since, by, paper, AT)

    assert centre.rows("SELECT * FROM ownership") == []
