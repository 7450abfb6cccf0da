"""Writes that find the disk full: in order, bounded, and none of them lost in silence."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.base import RawPunch
from gateway import event as event_module
from gateway import pending as pending_module
from gateway.event import ClockEvidence, ReadingContext
from gateway.ledger import Ledger, LedgerError
from gateway.pending import PendingWrites
from tests.broker import WAIT_S
from tests.gateway.full_disk import FullDisk, impatient
from tests.gateway.office import ZONE

NOW = datetime(2026, 9, 4, 0, 30, tzinfo=UTC)
WITNESS = ReadingContext("gate", "GATE1", ZONE, "serial", NOW, True, None, False, timedelta(minutes=1))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a ledger that knows two terminals."""
    with impatient(), closing(Ledger(tmp_path, "/hadir/office/gw")) as ledger:
        ledger.pin_serial("gate", "GATE1")
        ledger.pin_serial("lobby", "LOBBY1")
        yield ledger


def bodies(ledger: Ledger) -> list[str]:
    """Return what is stored, in order."""
    return [event.body for event in ledger.events(0, 100_000)]


def note(pending: PendingWrites, terminal: str, number: int) -> None:
    """Write a note that can be recognised."""
    data = {"terminal": terminal, "serial": "S", "reason": f"number {number}"}
    pending.note(event_module.TERMINAL_LOST, terminal, NOW, data)


def line(number: int) -> RawPunch:
    """Return a punch of a terminal without a log."""
    return RawPunch(str(1000 + number), None, datetime(2026, 9, 4, 7, 30), 0, 1, None, b"%d" % number)  # noqa: DTZ001 - a terminal's wall clock


def test_everything_is_stored_in_its_order_when_there_is_room(ledger: Ledger) -> None:
    """Notes and punches of one terminal do not overtake each other, and each has its own moment."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill()
    for number in range(6):
        if number % 2:
            note(pending, "gate", number)
        else:
            assert pending.record_delivery(WITNESS, [line(number)])
    assert bodies(ledger) == []
    assert pending.waiting() == 6
    disk.empty()
    pending.flush()
    assert pending.waiting() == 0
    stored = [json.loads(body) for body in bodies(ledger)]
    reported = [event["data"].get("pin") or event["data"]["reason"] for event in stored]
    assert reported == ["1000", "number 1", "1002", "number 3", "1004", "number 5"]
    assert {datetime.fromisoformat(event["time"]) for event in stored} == {NOW}


def test_a_write_stands_behind_those_that_wait(ledger: Ledger) -> None:
    """The disk has room again, and the next write brings the earlier ones along."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill(commits=1)
    note(pending, "gate", 1)
    note(pending, "gate", 2)
    assert ["number 1" in body for body in bodies(ledger)] == [True, False]


def test_the_same_punch_twice_stays_two(ledger: Ledger) -> None:
    """StoredEvent changes nothing about occurrences."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill()
    pending.record_delivery(WITNESS, [line(1)])
    pending.record_delivery(WITNESS, [line(1)])
    disk.empty()
    pending.flush()
    assert ['"occurrence":1' in body for body in bodies(ledger)] == [True, False]


def test_what_exceeds_the_bound_is_counted_alarmed_and_noted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earliest are kept; how many others there were, and when, is an event."""
    monkeypatch.setitem(pending_module._MAX, "records", 3)
    alarms: list[str] = []
    pending = PendingWrites(ledger, now=lambda: NOW, alarm=lambda code, _message, _terminal: alarms.append(code))
    disk = FullDisk(ledger)
    disk.fill()
    with capture_logs() as logged:
        for number in range(8):
            pending.record_delivery(WITNESS, [line(number)])
    assert [entry["event"] for entry in logged] == ["writes_not_held"]
    assert alarms == ["writes_not_held"]
    disk.empty()
    pending.flush()
    *punches, dropped = bodies(ledger)
    assert len(punches) == 3
    assert '"what":"not_held"' in dropped
    assert '"records":5' in dropped
    pending.flush()
    assert len(bodies(ledger)) == 4


def test_one_terminal_does_not_wait_for_another_and_a_bad_write_does_not_wait(ledger: Ledger) -> None:
    """A write that can never be stored is named, without its text, and those behind it are stored."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill()
    note(pending, "gate", 1)
    pending.note(event_module.TERMINAL_LOST, "gate", NOW, {"terminal": "gate", "reason": object()})
    note(pending, "gate", 2)
    note(pending, "lobby", 3)
    disk.empty()
    with capture_logs() as logged:
        pending.flush()
    assert [entry["event"] for entry in logged] == ["write_failed"]
    assert len(bodies(ledger)) == 3


def test_of_what_was_learnt_the_newest_is_kept(ledger: Ledger) -> None:
    """Thresholds and measurements replace each other."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill()
    for threshold in (80, 90):
        pending.remember("gate", threshold=threshold)
    pending.remember("gate", ranged=False)
    pending.remember_clock("gate", ClockEvidence(5, 1, NOW))
    assert pending.waiting() == 3
    disk.empty()
    pending.flush()
    known = ledger.terminal("gate")
    assert known is not None
    assert (known.threshold, known.ranged, known.offset_ms) == (90, False, 5)


def test_what_is_lost_at_the_end_is_logged(ledger: Ledger) -> None:
    """The process ends while the disk is full."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill()
    note(pending, "gate", 1)
    pending.record_delivery(WITNESS, [line(1)])
    with capture_logs() as logged:
        pending.close()
    assert [(entry["event"], entry["notes"], entry["records"]) for entry in logged] == [("writes_lost", 1, 1)]


def test_what_a_failed_ledger_does_not_take_is_logged(ledger: Ledger) -> None:
    """The ledger does not work any more: what waited is lost, and so is the punch that met it."""
    pending, disk = PendingWrites(ledger), FullDisk(ledger)
    disk.fill()
    note(pending, "gate", 1)
    ledger.close()
    with pytest.raises(LedgerError):
        pending.record_delivery(WITNESS, [line(1)])
    with capture_logs() as logged, pytest.raises(LedgerError):
        pending.close()
    assert [(entry["event"], entry["notes"], entry["records"]) for entry in logged] == [("writes_lost", 1, 1)]


def test_a_flush_does_not_wait_for_a_write_that_hangs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main loop flushes: one that waited for a worker on a hung disk could not end the process."""
    pending, hangs, entered = PendingWrites(ledger), threading.Event(), threading.Event()

    def hang(name: str, **_: object) -> None:
        entered.set()
        hangs.wait()

    monkeypatch.setattr(ledger, "remember", hang)
    worker = threading.Thread(target=pending.remember, args=("gate",), kwargs={"ranged": True}, daemon=True)
    worker.start()
    assert entered.wait(WAIT_S)
    main_loop = threading.Thread(target=pending.flush, daemon=True)
    main_loop.start()
    main_loop.join(WAIT_S)
    returned = not main_loop.is_alive()
    hangs.set()
    worker.join(WAIT_S)
    assert returned
    assert pending.waiting() == 0
