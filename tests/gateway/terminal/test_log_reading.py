"""The watermark of a terminal: it advances with each proof that the log is stored, and never claims more."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from drivers.base import Sizes, TerminalUnavailable
from gateway.pause import Pause
from gateway.terminal.state import Complete
from gateway.terminal.worker import Worker
from tests.broker import WAIT_S, eventually
from tests.gateway.office import Office, polled
from tests.gateway.scripted import Script, ScriptedTerminal, history, record

MORNING = datetime(2026, 9, 1, 7)  # noqa: DTZ001 - a terminal's wall clock


@pytest.fixture
def script() -> Script:
    """Return a terminal with twenty records."""
    return Script(log=history(20, MORNING))


@pytest.fixture
def office(tmp_path: Path, script: Script) -> Iterator[Office]:
    """Open an office whose terminal is polled often."""
    entry: dict[str, object] = {"name": "lobby", "driver": "zkteco", "address": "127.0.0.1", "poll": "30ms"}
    with Office.opened(tmp_path, Pause(0.02, 0.05), driver=script.driver(), entry=entry) as office:
        yield office


def watermark(worker: Worker) -> Complete:
    """Return the worker's watermark; fail where it has none."""
    complete = worker.state.complete
    assert complete is not None
    return complete


def test_it_names_the_last_sequence_of_what_the_log_held(office: Office, script: Script) -> None:
    """Also without anything new it advances: the count agreed."""
    worker = office.visit(live=False)
    polled(worker)
    first = watermark(worker)
    assert first.sequence == office.ledger.last_sequence() == 20
    eventually(lambda: watermark(worker).until > first.until)
    assert watermark(worker).sequence == 20
    script.log.append(record("2001", MORNING + timedelta(days=1)))
    eventually(lambda: watermark(worker).sequence == 21)
    eventually(lambda: office.reports[-1][1]["complete"]["sequence"] == f"{21:020d}")
    topic, payload = office.reports[-1]
    assert (topic, set(payload["complete"])) == ("terminal/lobby/state", {"until", "stream", "sequence"})
    assert payload["complete"]["stream"] == office.ledger.stream


def test_it_speaks_of_the_present_stream(office: Office, script: Script) -> None:
    """A new stream counts from 1: numbers of the ledger are not sequences of its streams."""
    worker = office.visit(live=False)
    polled(worker)
    before = office.ledger.stream
    office.ledger.open_stream("rollback")
    script.log.append(record("2001", MORNING + timedelta(days=1)))
    eventually(lambda: watermark(worker).stream != before)
    eventually(lambda: watermark(worker).sequence == office.ledger.assigned() == 2)


def test_a_gateway_whose_clock_is_not_synchronised_claims_nothing(office: Office) -> None:
    """Its ``until`` would mean another moment."""
    office.clock.trusted = False
    worker = office.visit(live=False)
    polled(worker, 3)
    assert worker.state.complete is None
    office.clock.trusted = True
    eventually(lambda: worker.state.complete)


def test_one_of_a_clock_that_was_ahead_ends_when_the_clock_is_right(office: Office, script: Script) -> None:
    """It is withdrawn at the next visit, also where the terminal does not answer, and a reading states the true one."""
    office.clock.offset = timedelta(days=2)
    worker = office.visit(live=False)
    polled(worker)
    script.silence = TerminalUnavailable("no answer")
    eventually(lambda: not worker.state.online)
    ahead = watermark(worker).until
    office.clock.trusted, office.clock.offset = False, timedelta()
    number = script.conversations
    eventually(lambda: script.conversations > number + 2)
    assert watermark(worker).until == ahead  # a clock that is not synchronised proves nothing against it
    office.clock.trusted = True
    eventually(lambda: office.reports[-1][1]["complete"] is None)
    script.silence = None
    eventually(lambda: worker.state.complete is not None)
    assert watermark(worker).until <= office.clock.now() < ahead
    assert watermark(worker).sequence >= 20


def test_a_count_above_what_is_stored_disproves_it(
    office: Office, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal states that it holds more than it sends, even when the whole log is read."""
    monkeypatch.setattr(ScriptedTerminal, "sizes", lambda _self: Sizes(len(script.log) + 3, script.capacity))
    worker = office.visit(live=False)
    polled(worker, 2)
    worker.request(full=True).result(20)
    polled(worker)
    assert office.ledger.punches() == 20
    assert worker.state.complete is None


def test_a_count_that_proves_nothing_leaves_it_to_readings_of_the_whole_log(
    office: Office, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that always reports 0, and one whose full log keeps its count."""
    monkeypatch.setattr(ScriptedTerminal, "sizes", lambda _self: Sizes(0, script.capacity))
    worker = office.visit(live=False)
    polled(worker, 2)
    first = watermark(worker)
    polled(worker, 3)
    assert watermark(worker) == first
    worker.request(full=True).result(20)
    assert watermark(worker).until > first.until


@pytest.mark.parametrize("left", [0, 9], ids=["empty", "short"])
def test_a_log_that_shrank_leaves_it_where_it_was(office: Office, script: Script, left: int) -> None:
    """A busy terminal answers with an empty or a short log: what it holds at that moment is not read."""
    worker = office.visit(live=False)
    polled(worker)
    held = [*script.log, record("2001", MORNING + timedelta(days=1))]
    del script.log[left:]
    eventually(lambda: getattr(office.ledger.terminal("lobby"), "shrunk_to", None) == left)
    first = watermark(worker)
    polled(worker, 3)
    worker.request(full=True).result(20)
    assert watermark(worker) == first
    assert office.ledger.punches() == 20
    script.log[:] = held
    eventually(lambda: watermark(worker).sequence == office.ledger.last_sequence() and office.ledger.punches() == 21)
    assert watermark(worker).until > first.until


def test_a_terminal_that_is_not_read_keeps_its_watermark(
    office: Office, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, and the terminal has more than is stored."""
    worker = office.visit(live=False)
    polled(worker)
    monkeypatch.setattr(office.ledger, "disk_state", lambda: "none")
    script.log.append(record("2001", MORNING + timedelta(days=1)))
    polled(worker)
    first = watermark(worker)
    polled(worker, 3)
    assert watermark(worker) == first


def test_a_watermark_is_not_carried_to_another_device(
    office: Office, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a device that replaces a terminal is unread, whatever was stored of the one before."""
    before = office.visit(live=False)
    polled(before)
    watermark(before)
    before.stop()
    assert before.join(WAIT_S)
    monkeypatch.setattr(ScriptedTerminal, "serial", lambda _self: "NEW")
    monkeypatch.setattr(office.ledger, "disk_state", lambda: "none")
    script.log.append(record("2001", MORNING + timedelta(days=1)))

    after = office.create_worker(live=False, serial="NEW")
    after.follow(before)
    after.start()

    polled(after, 2)
    assert after.state.serial == "NEW"
    assert after.state.complete is None
