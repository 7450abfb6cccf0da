"""Databases of older versions are brought up to date when an inbox opens them, and lose nothing."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from central.coverage import GAP_GRACE_S, HeldRange
from central.report import open_readonly
from central.store import Database, IngestResult, Store, StoreError
from tests.central.old_versions import of_one_gateway, without_raw, write
from tests.central.sealing import GATEWAY, Source
from tests.central.test_store import OTHER, THEIRS, Centre


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "centre.db"


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_file_is_brought_up_to_date(path: Path, version: int) -> None:
    """What it held is held, in every table of today; before, commands that only read it say what to do."""
    source = Source()
    source.punches(5)
    source.note()
    write(path, version, of_one_gateway(*source.events))
    for opening in (open_readonly, Database):
        with (
            pytest.raises(StoreError, match="older version; `hadir-central inbox` brings it up to date"),
            opening(path),
        ):
            pass

    centre = Centre(path)

    assert centre.held_range() == (6, ())
    assert centre.faults() == []
    assert centre.rows("SELECT serial, since, gateway, decided_by FROM ownership") == [
        ("CEXA193960001", "", GATEWAY, None)
    ]
    assert len(centre.rows("SELECT * FROM punches")) == 5
    source.punch(7)
    assert centre.ingest(*source.events) == IngestResult(stored=1, repeated=6)
    centre.reopen()
    assert centre.held_range() == (7, ())
    centre.store.close()


def test_a_file_of_version_1_gets_tombstones_from_its_events(path: Path) -> None:
    """It had stored what was forgotten and closed no gap with it."""
    source = Source()
    source.punches(5)
    source.forget(source.events[2])
    write(path, 1, of_one_gateway(*source.events[:2], *source.events[3:]), [(3, 3)])

    centre = Centre(path)

    assert centre.held_range() == (6, ())
    assert [(stream.missing, stream.gone) for stream in centre.streams()] == [([], [(3, 3)])]
    assert centre.faults() == []
    centre.reopen()
    assert centre.held_range() == (6, ())
    centre.store.close()


@pytest.mark.parametrize("version", [1, 2])
def test_events_that_were_accepted_without_their_content_are_requested_again(path: Path, version: int) -> None:
    """Their places are missing in receipts, the old rows stay as evidence, and the whole events take their places."""
    source = Source()
    source.punches(6)
    shortened = [without_raw(event) if number in (2, 3, 5) else event for number, event in enumerate(source.events)]
    write(path, version, of_one_gateway(*shortened))

    with capture_logs() as log:
        centre = Centre(path)

    assert [(line["event"], line["events"]) for line in log] == [("events_unproven", 3)]
    assert centre.reported() == {}
    centre.now_s += GAP_GRACE_S
    assert centre.held_range() == (6, ((3, 4), (6, 6)))
    (stream,) = centre.streams()
    assert (stream.unproven, stream.missing, stream.punches) == ([(3, 4), (6, 6)], [(3, 4), (6, 6)], 3)
    assert centre.faults() == []
    assert centre.rows("SELECT sequence, digest FROM unproven ORDER BY sequence") == [
        (int(event["sequence"]), event["digest"]) for event in (source.events[2], source.events[3], source.events[5])
    ]

    assert centre.ingest(*shortened) == IngestResult(repeated=3, rejected=3)
    assert centre.ingest(*source.events) == IngestResult(stored=3, repeated=3)
    assert centre.held_range() == (6, ())
    (stream,) = centre.streams()
    assert (stream.unproven, stream.missing, stream.punches) == ([], [], 6)
    assert centre.faults() == []
    with capture_logs() as log:
        centre.reopen()
    assert log == []
    assert len(centre.rows("SELECT * FROM unproven")) == 3
    centre.store.close()


def test_an_edited_row_with_a_missing_record_is_found(path: Path) -> None:
    """What an older version would have verified as unaltered."""
    source = Source()
    source.punches(3)
    source.events[1]["data"]["pin"] = "6666"
    edited = without_raw(source.events[1])
    write(path, 2, of_one_gateway(source.events[0], edited, source.events[2]))

    centre = Centre(path)

    assert centre.rows("SELECT sequence FROM unproven") == [(2,)]
    assert centre.rows("SELECT pin FROM punches WHERE pin = '6666'") == []
    centre.store.close()


def test_another_event_of_the_punch_stands_in_for_one_without_its_content(path: Path) -> None:
    """A second gateway had sent the same punch whole, and the older version had dropped it as known."""
    source, other = Source(), Source("another", OTHER)
    source.punches(2)
    other.punches(1)
    first = (GATEWAY, without_raw(source.events[0]))
    write(path, 2, [first, (GATEWAY, source.events[1]), (OTHER, other.events[0])])

    centre = Centre(path)

    assert sorted(centre.rows("SELECT gateway, local_time FROM punches")) == [
        (GATEWAY, source.events[1]["data"]["local_time"]),
        (OTHER, other.events[0]["data"]["local_time"]),
    ]
    assert centre.faults() == []
    centre.store.close()


def test_punches_that_two_gateways_had_claimed_are_compared(path: Path) -> None:
    """The older version kept the first and dropped the second unseen."""
    source, other = Source(), Source("another", OTHER)
    source.punches(2)
    other.punch(1, state=1)
    other.punch(2)
    write(path, 2, [(GATEWAY, event) for event in source.events] + [(OTHER, event) for event in other.events])

    centre = Centre(path)

    assert [stream.claimed_twice for stream in centre.streams()] == [[], [1]]
    assert {row[0] for row in centre.rows("SELECT gateway FROM punches")} == {GATEWAY}
    assert centre.faults() == []
    assert centre.ingest(other.punch(3), topic=THEIRS) == IngestResult(stored=1)
    assert centre.reported()[OTHER] == ("another", HeldRange(3, ()))
    centre.store.close()


def test_an_empty_old_file(path: Path) -> None:
    """No gateway had sent anything."""
    write(path, 2, [])

    store = Store(path)

    assert store.empty
    store.close()
