"""`hadir verify`: whatever is done to the file by hand is found, and nothing else is."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from drivers.base import BadRecord
from gateway.event import Draft, encode, first_previous
from gateway.ledger import LedgerReader
from gateway.ledger import verify as verify_module
from gateway.ledger.verify import Verdict
from tests import contract
from tests.gateway.test_ledger import SERIAL, Office, logged, made


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office with five punches in two streams, a quarantined record, a live punch and a note."""
    office = Office(tmp_path / "data")
    office.read([*logged(0, 1, 2), BadRecord(b"x", b"x", "impossible date")])
    office.ledger.open_stream("because")
    office.read([*logged(0, 1, 2), BadRecord(b"x", b"x", "impossible date"), *logged(3, 4)])
    office.live(made(second=9))
    yield office
    office.ledger.close()


def verdict(office: Office) -> Verdict:
    """Verify the ledger as another process does, while it is open."""
    with closing(LedgerReader(office.data_dir)) as reader:
        return reader.verify()


def tamper(office: Office, *statements: str, **values: object) -> Verdict:
    """Change the file by hand, and verify it."""
    with closing(sqlite3.connect(office.data_dir / "ledger.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement, values)
    return verdict(office)


def test_untouched(office: Office) -> None:
    """An unchanged ledger is as it was written; the walk reports its progress."""
    reported: list[tuple[int, int]] = []
    with closing(LedgerReader(office.data_dir)) as reader:
        assert reader.verify(lambda *how_far: reported.append(how_far)) == Verdict(events=8, punches=6, streams=2)
    assert reported == [(8, 8)]


def test_empty(tmp_path: Path) -> None:
    """A ledger without events is as it was written."""
    office = Office(tmp_path / "empty")
    assert verdict(office) == Verdict(streams=1)
    office.ledger.close()


def test_terminals_that_moved_on(office: Office) -> None:
    """Logs that were cleared, wrapped or changed hands leave nothing that looks like tampering."""
    office.read(logged(100, 101))
    office.read(logged(100, 101, 102))
    office.ledger.pin_serial("lobby", "OTHER")
    office.serial = "OTHER"
    office.read(logged(200))
    office.ledger.pin_serial("lobby", SERIAL)
    assert verdict(office).breach is None


def test_forgotten_bodies(office: Office) -> None:
    """Bodies that retention forgot are held together by their digests."""
    found = tamper(office, "UPDATE event SET body = NULL WHERE sequence IN (1, 2, 5, 6)")
    assert (found.breach, found.forgotten) == (None, 4)


@pytest.mark.parametrize(
    ("statement", "number", "what"),
    [
        ("UPDATE event SET body = replace(body, '07:00:01', '06:59:59') WHERE sequence = 2", 2, "digest does not fit"),
        ("UPDATE event SET body = json_remove(body, '$.data') WHERE sequence = 2", 2, "cannot be read"),
        ("UPDATE event SET body = 'x' WHERE sequence = 2", 2, "cannot be read"),
        ("UPDATE event SET body = CAST(x'7BFF' AS TEXT) WHERE sequence = 2", 2, "cannot be read"),
        ("UPDATE event SET body = ' ' || body WHERE sequence = 2", 2, "canonical"),
        ("UPDATE event SET id = zeroblob(16) WHERE sequence = 2", 2, "another id"),
        ("UPDATE event SET id = 'x' WHERE sequence = 2", 2, "another id"),
        ("UPDATE event SET topic = 'punch/lift' WHERE sequence = 2", 2, "another topic"),
        ("UPDATE event SET digest = 'sha256:0' WHERE sequence = 2", 2, "row's digest"),
        ("UPDATE event SET digest = 'sha256:0', body = NULL WHERE sequence = 2", 3, "does not continue"),
        ("DELETE FROM event WHERE sequence = 2", 2, "missing"),
        ("DELETE FROM event WHERE sequence = 1", 1, "missing"),
        ("DELETE FROM event WHERE sequence = 8", 8, "newest events are missing"),
        ("UPDATE stream SET base = 3 WHERE number = 2", 4, "another stream"),
        ("UPDATE stream SET last_sequence = 9 WHERE number = 2", 5, "does not name the stream before"),
        ("DELETE FROM stream WHERE number = 2", 5, "another stream"),
        ("UPDATE gateway SET source = '/hadir/other/gw'", 1, "another gateway"),
        ("UPDATE place SET sequence = 77 WHERE sequence = 2", 77, "no event"),
        ("UPDATE place SET sequence = 5 WHERE sequence = 2", 5, "no event"),
        ("DELETE FROM place WHERE sequence = 2", 0, "gaps"),
        ("UPDATE unconfirmed SET sequence = 2", 2, "live punch"),
    ],
)
def test_altered_row(office: Office, statement: str, number: int, what: str) -> None:
    """Each change by hand is found where it was made, or at the first event that it leaves without its predecessor."""
    base = 4 if number > 4 and "FROM stream" not in statement else 0
    stream = office.ledger.streams()[1 if base else 0].id
    if "SET base = 3" in statement:
        base, stream = 3, office.ledger.streams()[1].id
    breach = tamper(office, statement).breach
    assert breach is not None
    assert (breach.stream, breach.sequence) == (stream, number - base)
    assert what in breach.what


def test_every_breach_is_counted_and_the_first_are_listed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk continues after a breach; a long list is bounded, its count is not."""
    spoil = "UPDATE event SET body = replace(body, 'Jakarta', 'Makassar') WHERE sequence IN (2, 3, 7)"
    found = tamper(office, spoil, "DELETE FROM event WHERE sequence = 4")
    first, second = (stream.id for stream in office.ledger.streams())
    places = [(breach.stream, breach.sequence, breach.what) for breach in found.breaches]
    assert (first, 2, "the digest does not fit the content") in places
    assert (first, 3, "the digest does not fit the content") in places
    assert (first, 4, "the event is missing") in places
    assert (second, 3, "the digest does not fit the content") in places
    assert found.breach_count == len(places)
    assert found.events == 7
    monkeypatch.setattr(verify_module, "BREACHES_KEPT", 2)
    short = verdict(office)
    assert (short.breaches, short.breach_count) == (found.breaches[:2], found.breach_count)


def test_reordered(office: Office) -> None:
    """Two events that changed places."""
    breach = tamper(
        office,
        "UPDATE event SET sequence = -1 WHERE sequence = 2",
        "UPDATE event SET sequence = 2 WHERE sequence = 3",
        "UPDATE event SET sequence = 3 WHERE sequence = -1",
    ).breach
    assert breach is not None
    assert (breach.sequence, breach.what) == (2, "the event has another place in its stream")


def test_events_removed_and_the_rest_moved_up(office: Office) -> None:
    """A hole that is closed by counting anew."""
    assert tamper(
        office, "DELETE FROM event WHERE sequence = 2", "UPDATE event SET sequence = sequence - 1 WHERE sequence > 2"
    ).breach


def sealed_again(office: Office, number: int, **changes: Any) -> tuple[str, str]:
    """Alter a punch and seal it as if it had been written so: body and digest."""
    event = json.loads(office.ledger.events(number - 1, 1)[0].body)
    body, _ = seal_of(event["previous"], {**event, "data": {**event["data"], **changes}})
    return body, json.loads(body)["digest"]


def seal_of(previous: str, event: dict[str, Any]) -> tuple[str, str]:
    """Seal an event whose fields are given."""
    data = contract.canonical(event["data"])
    draft = Draft(UUID(event["id"]), event["type"], event.get("subject"), event["time"], data)
    return encode(
        draft,
        source=event["source"],
        stream=event["stream"],
        sequence=int(event["sequence"]),
        recorded=datetime.fromisoformat(event["recordedtime"]),
        previous=previous,
    )


def test_forged_with_care(office: Office) -> None:
    """A punch of another time under the old id, with a digest of its own."""
    body, digest = sealed_again(office, 2, local_time="2026-09-07T06:59:00")
    breach = tamper(office, "UPDATE event SET body = :body, digest = :digest WHERE sequence = 2",
                    body=body, digest=digest).breach  # fmt: skip
    assert breach is not None
    assert (breach.sequence, breach.what) == (2, "the id is not that of this punch")


def test_forged_with_more_care(office: Office) -> None:
    """A code that is no part of the identity, with a digest of its own: the next event does not continue it."""
    body, digest = sealed_again(office, 2, state=1)
    breach = tamper(office, "UPDATE event SET body = :body, digest = :digest WHERE sequence = 2",
                    body=body, digest=digest).breach  # fmt: skip
    assert breach is not None
    assert (breach.sequence, breach.what) == (3, "it does not continue the event before")


def test_last_event_forged(office: Office) -> None:
    """The newest event, which nothing continues, is held by the mark beside the ledger."""
    body, digest = sealed_again(office, 8, state=1)
    breach = tamper(office, "UPDATE event SET body = :body, digest = :digest WHERE sequence = 8",
                    body=body, digest=digest).breach  # fmt: skip
    assert breach is not None
    assert (breach.sequence, breach.what) == (4, "another event was written here")


def test_inserted(office: Office) -> None:
    """An event that was added behind the newest one, and claims to be the first of the stream."""
    event = json.loads(office.ledger.events(7, 1)[0].body)
    event["sequence"] = f"{5:020d}"
    body, digest = seal_of(first_previous(office.ledger.stream), event)
    breach = tamper(
        office,
        "INSERT INTO event (sequence, id, topic, body, digest, recorded_ms) "
        "VALUES (9, randomblob(16), 'punch/lobby', :body, :digest, 1)",
        body=body,
        digest=digest,
    ).breach
    assert breach is not None
    assert breach.sequence == 5
