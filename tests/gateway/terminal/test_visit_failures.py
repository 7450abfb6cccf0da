"""What fails in or around one terminal costs that terminal only, and nothing of it is lost."""

import struct
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.base import Driver, DriverOptions, TerminalInfo, TerminalRefused, TerminalUnavailable
from drivers.line.simulator import PATTERN, Simulator
from gateway.pause import Pause
from gateway.terminal.context import TerminalContext
from gateway.terminal.timing import PAUSES
from gateway.terminal.visit_requests import VisitPostponed
from tests.broker import eventually
from tests.gateway import office as office_module
from tests.gateway.full_disk import FullDisk, impatient
from tests.gateway.office import polled
from tests.gateway.scripted import Script, ScriptedTerminal, history, record
from tests.threads import thread_failures

MORNING = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
SECRET = "4711-canary"


@dataclass(kw_only=True)
class Office(office_module.Office):
    """One scripted terminal, one ledger, one worker at a time."""

    script: Script


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office whose terminal is polled often, and soon again after a failure."""
    script = Script()
    entry = {"name": "lobby", "driver": "zkteco", "address": "127.0.0.1", "poll": "30ms"}
    parts = {"script": script, "driver": script.driver(), "entry": entry}
    with impatient(), Office.opened(tmp_path, Pause(0.02, 0.05), **parts) as office:
        yield office


# ---------------------------------------------------------------- whatever a driver raises

UNFORESEEN: dict[str, BaseException] = {
    "index": IndexError(SECRET),
    "struct": struct.error(SECRET),
    "value": ValueError(SECRET),
    "recursion": RecursionError(SECRET),
    "memory": MemoryError(SECRET),
    "termios": termios.error(5, SECRET),
    "os": OSError(5, SECRET),
    "exit": SystemExit(SECRET),
    "runtime": RuntimeError(SECRET),
    "unicode": UnicodeDecodeError("ascii", b"x", 0, 1, SECRET),
}


def raising(script: Script, where: str, exc: BaseException) -> Driver:
    """Return a driver that fails at one place, once the script states that it is ``broken``."""

    @contextmanager
    def connect(_options: object) -> Iterator[ScriptedTerminal]:
        if where == "connect":
            raise exc
        terminal = ScriptedTerminal(script)
        if where == "read":
            script.travel = lambda _position: fail()
        elif where == "events":
            terminal.events = lambda _timeout: fail()  # type: ignore[method-assign, assignment]
        elif where in ("serial", "identify", "read_clock", "sizes"):
            setattr(terminal, where, fail)
        try:
            yield terminal
        finally:
            if where == "exit":
                raise exc

    def connect_at_once(_options: object) -> AbstractContextManager[ScriptedTerminal]:
        raise exc

    def fail(*_: object) -> Any:
        raise exc

    return Driver("scripted", DriverOptions, connect_at_once if where == "call" else connect)


@pytest.mark.parametrize("exc", UNFORESEEN.values(), ids=UNFORESEEN)
def test_any_exception_of_a_driver_costs_its_terminal_only(office: Office, exc: BaseException) -> None:
    """The worker goes on, slowly; state, alarm and event name it once, and no text of the exception is anywhere."""
    broken(office, "read", exc)


@pytest.mark.parametrize("where", ["call", "connect", "serial", "identify", "read_clock", "sizes", "read"])
def test_an_exception_at_any_place_costs_its_terminal_only(office: Office, where: str) -> None:
    """Also where the conversation begins."""
    broken(office, where, IndexError(SECRET))


def broken(office: Office, where: str, exc: BaseException) -> None:
    """See a terminal fail at a place, and be read again when it no longer does."""
    office.may_fail = True
    office.script.log = history(5, MORNING)
    office.driver = raising(office.script, where, exc)
    with capture_logs() as logged:
        worker = office.visit(live=False)
        eventually(lambda: worker.state.cause == "internal" and worker._visits._reachability.outage.failures > 3)
        assert type(exc).__name__ in (worker.state.reason or "")
        assert not worker.state.online
        worker._context.driver = office.script.driver()
        office.script.travel = lambda _position: None
        eventually(lambda: worker.state.online)
    eventually(lambda: len(office.pins()) == 5)
    assert office.alarms == ["driver_failed", "terminal_found"]
    assert [event["data"]["cause"] for event in office.events("terminal.lost")] == ["internal"]
    named_once(office, logged)


def named_once(office: Office, logged: list[Any]) -> None:
    """See one line that names the place, and the exception's text nowhere."""
    (failed,) = [line for line in logged if line["event"] == "driver_failed"]
    assert any("test_visit_failures.py" in place for place in failed["trace"])
    assert SECRET not in str(logged) + str(office.events()) + str(office.reports)


@pytest.mark.parametrize("where", ["exit", "events"])
def test_an_exception_behind_the_reading_is_named_once(office: Office, where: str) -> None:
    """The log is read all the same, at each of the slow attempts; nothing is called lost."""
    office.may_fail = True
    office.driver = raising(office.script, where, IndexError(SECRET))
    with capture_logs() as logged:
        worker = office.visit(live=where == "events")
        for pin in range(2001, 2005):
            office.script.log.append(record(str(pin), MORNING))
            eventually(lambda pin=pin: str(pin) in office.pins())  # type: ignore[misc]  # a default binds the value
        worker._context.driver = office.script.driver()
    assert office.alarms == ["driver_failed"]
    assert office.events("terminal.") == []
    named_once(office, logged)


def test_an_unforeseen_exception_is_retried_slowly() -> None:
    """The same bytes come again: a minute and more, as for a terminal that refuses."""
    assert PAUSES["internal"] == PAUSES["refused"] == Pause(60.0, 600.0)


def test_a_failure_while_a_failure_is_noted_is_ours(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon ends on it: otherwise the loss of the terminal would be visible nowhere."""
    office.may_fail = True
    office.script.silence = TerminalUnavailable("off")
    monkeypatch.setattr(TerminalContext, "publish_state", lambda _self: 1 // 0)
    with thread_failures() as failures:
        worker = office.visit()
        eventually(lambda: not worker.is_alive)
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


# ---------------------------------------------------------------- a step of the clock


def stepped_while(office: Office, disturb: Callable[[], None], mend: Callable[[], None], **changes: object) -> None:
    """Let the clock jump behind a punch whose reading does not succeed at first, and see it marked."""
    office.script.log = history(30, MORNING)
    worker = office.visit(**changes)
    polled(worker)
    disturb()
    office.script.log.append(record("2001", office.script.now()))  # made by the clock as it was
    office.script.off = timedelta(hours=-1)
    eventually(lambda: office.events("clock.stepped"))
    mend()
    eventually(lambda: "2001" in office.pins())
    (data,) = [event["data"] for event in office.events("punch.recorded") if event["data"]["pin"] == "2001"]
    assert "step" in data["suspect"]
    assert "drift" not in data["suspect"]
    assert data["clock"]["offset_ms"] is None
    office.script.log.append(record("2002", office.script.now()))
    eventually(lambda: "2002" in office.pins())
    (data,) = [event["data"] for event in office.events("punch.recorded") if event["data"]["pin"] == "2002"]
    assert "step" not in data["suspect"]


def test_the_mark_of_a_step_outlives_a_reading_that_fails(office: Office) -> None:
    """The punch was made by the clock as it was, whenever it is read."""

    def disturb() -> None:
        office.script.refusal = TerminalUnavailable("the line broke")

    def mend() -> None:
        office.script.refusal = None

    stepped_while(office, disturb, mend, live=False)


def test_the_mark_of_a_step_outlives_the_rest_of_a_slow_terminal(office: Office) -> None:
    """The log is read when the terminal has had its rest."""

    def disturb() -> None:
        office.workers[0]._visits.plan.rest_until_s = time.monotonic() + 1000

    def mend() -> None:
        office.workers[0]._visits.plan.rest_until_s = 0.0

    stepped_while(office, disturb, mend)


def test_the_mark_of_a_step_outlives_a_reading_that_finds_no_room(office: Office) -> None:
    """And the note of the jump waits for room, too."""
    disk = FullDisk(office.ledger)
    stepped = office.script

    def disturb() -> None:
        disk.fill()

    office.script.log = history(30, MORNING)
    worker = office.visit(live=False)
    polled(worker)
    disturb()
    stepped.log.append(record("2001", stepped.now()))
    stepped.off = timedelta(hours=-1)
    eventually(lambda: "clock_stepped" in office.alarms)
    eventually(lambda: disk.refused > 2)
    worker._wake()  # the pause of a full disk is over
    disk.empty()
    eventually(lambda: "2001" in office.pins())
    (data,) = [event["data"] for event in office.events("punch.recorded") if event["data"]["pin"] == "2001"]
    assert "step" in data["suspect"]
    assert len(office.events("clock.stepped")) == 1


# ---------------------------------------------------------------- a full disk


def test_a_full_disk_does_not_hurry_a_terminal_that_refuses(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated requests with a wrong key lock some; the loss is reported once, and noted when there is room."""
    worker = office.visit()
    polled(worker)
    disk = FullDisk(office.ledger)
    disk.fill()
    office.timing.pauses = dict.fromkeys(PAUSES, Pause(1000.0, 1000.0))
    with capture_logs() as logged:
        office.script.silence = TerminalRefused("wrong communication key")
        eventually(lambda: worker.state.cause == "refused")
        before = office.script.conversations
        for _ in range(3):
            time.sleep(0.1)  # twice the pause of a full disk
            assert office.script.conversations == before
    assert [line["event"] for line in logged].count("terminal_lost") == 1
    assert office.alarms == ["terminal_refused"]
    disk.empty()
    worker._context.pending.flush()
    assert [event["data"]["reason"] for event in office.events("terminal.lost")] == ["wrong communication key"]


def test_another_serial_is_noted_although_the_disk_was_full(office: Office) -> None:
    """One note and one alarm, before the note that the terminal is lost."""
    worker = office.visit()
    polled(worker)
    worker.stop()
    assert worker.join(20)
    disk = FullDisk(office.ledger)
    disk.fill()
    worker = office.visit(serial="OTHER-1")
    eventually(lambda: office.alarms == ["serial_changed", "terminal_refused"])
    disk.empty()
    eventually(lambda: office.events("terminal.lost"))
    assert [event["type"] for event in office.events()] == ["hadir.terminal.changed.v1", "hadir.terminal.lost.v1"]


def test_a_setting_of_the_clock_is_noted_although_the_disk_was_full(office: Office) -> None:
    """The measurements before and after are those of that moment."""
    office.script.settable = True
    office.script.off = timedelta(seconds=300)
    worker = office.visit(clock={"set": "nightly"})
    polled(worker)
    disk = FullDisk(office.ledger)
    disk.fill()
    assert worker.request_set_clock()
    eventually(lambda: "clock_set" in office.alarms)
    disk.empty()
    eventually(lambda: office.events("clock.set"))
    (data,) = [event["data"] for event in office.events("clock.set")]
    assert abs(data["before"]["offset_ms"] - 300_000) < 5_000
    assert abs(data["after"]["offset_ms"]) < 5_000


def test_a_full_reading_without_room_is_postponed_and_done_later(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets the reason, not the result of the reading before."""
    office.script.log = history(30, MORNING)
    worker = office.visit(poll="1h")
    polled(worker)
    worker.request(full=True).result(20)
    monkeypatch.setattr(office.ledger, "disk_state", lambda: "none")
    office.script.log.append(record("2001", MORNING + timedelta(days=1)))
    with pytest.raises(VisitPostponed, match="no room"):
        worker.request(full=True).result(20)
    assert office.script.reads == [0, 0]
    monkeypatch.undo()
    worker.request().result(20)
    assert office.script.reads == [0, 0, 0]


def test_a_punch_that_has_left_the_port_is_held_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment the disk fills, and while it stays full."""
    entry: dict[str, object] = {"name": "gate", "serial": "GATE00001", "poll": "100ms"}
    with impatient(), office_module.Office.opened(tmp_path, entry=entry) as office:
        with Simulator(now=lambda: MORNING) as line:
            worker = office.visit(driver="line", port=line.port, pattern=PATTERN)
            eventually(lambda: worker.state.online)
            line.punch("1000")
            eventually(lambda: office.pins() == ["1000"])
            disk = FullDisk(office.ledger)
            disk.fill()
            for pin in range(1001, 1051):
                line.punch(str(pin))
            eventually(lambda: worker._context.pending.waiting() == 50)
            assert worker.state.online
            disk.empty()
            eventually(lambda: len(office.pins()) == 51)
        assert office.pins() == [str(pin) for pin in range(1000, 1051)]


def test_a_live_punch_that_finds_no_room_costs_no_conversation(office: Office) -> None:
    """It stays in the log and is read there."""
    worker = office.visit(poll="100ms")
    polled(worker)
    before = office.script.conversations
    disk = FullDisk(office.ledger)
    disk.fill(commits=1)
    punch = record("2001", office.script.now())
    office.script.log.append(punch)
    office.script.reported.put(punch)
    eventually(lambda: "2001" in office.pins())
    assert office.script.conversations == before


# ---------------------------------------------------------------- requests


def test_a_request_is_answered_by_the_worker_that_comes_next(office: Office) -> None:
    """It was made to the one before, also where it was made behind its end."""
    office.script.silence = TerminalUnavailable("off")
    first = office.visit(poll="1h")
    requested = first.request(full=True)
    eventually(lambda: not first.state.online and first.state.cause)
    first.stop()
    assert first.join(20)
    office.script.silence = None
    second = office.create_worker(poll="1h")
    second.follow(first)
    late = first.request(full=True)
    second.start()
    assert requested.result(20) is not None
    assert late.result(20) is not None


def test_a_request_for_a_terminal_that_is_removed_is_cancelled(office: Office) -> None:
    """At once, whether it was made before or after."""
    office.script.silence = TerminalUnavailable("off")
    worker = office.visit(poll="1h")
    requested = worker.request()
    worker.stop()
    worker.cancel_requests()
    for request in (requested, worker.request(full=True)):
        with pytest.raises(CancelledError):
            request.result(20)


def test_a_request_without_a_waiting_client_harms_nothing(office: Office) -> None:
    """The caller has cancelled it."""
    worker = office.visit(poll="1h")
    polled(worker)
    before = worker.state.last_visit
    assert worker.request().cancel()
    eventually(lambda: worker.state.last_visit != before)
    assert worker.request(full=True).result(20) is not None


# ---------------------------------------------------------------- when a log is read


def test_a_log_that_other_software_clears_again_and_again_is_read_at_once(office: Office) -> None:
    """Whatever was read within the hour: what stands in it now is gone soon."""
    office.script.log = history(1500, MORNING)
    worker = office.visit()
    polled(worker, 2)
    expected = 1500
    for round_, count in enumerate((25, 31, 12), 1):
        office.script.log = [
            record(3000 + 100 * round_ + number, MORNING + timedelta(days=round_, minutes=number))
            for number in range(count)
        ]
        expected += count
        eventually(lambda expected=expected: office.ledger.punches() == expected)  # type: ignore[misc]  # a default binds the value


def test_a_large_log_that_has_shrunk_is_read_at_once(office: Office) -> None:
    """The pauses were measured by a log that is not there any more."""
    office.script.log = history(3000, MORNING)
    worker = office.visit()
    polled(worker, 2)
    worker._visits.plan.whole_read_at_s = time.monotonic()
    worker._visits.plan.rest_until_s = time.monotonic() + 1000
    office.script.log = [
        record(5000 + number % 90, MORNING + timedelta(days=9, minutes=number)) for number in range(2000)
    ]
    eventually(lambda: office.ledger.punches() == 5000)


def test_the_pause_of_a_whole_reading_ends_with_the_live_events_that_justified_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour while live events arrive; after a restart, before they are registered, the shorter one."""
    office.timing.uncounted_read_s = 0.0
    office.script.log = history(1500, MORNING)
    worker = office.visit()
    polled(worker, 2)
    worker._visits.plan.whole_read_at_s = time.monotonic()
    broken_end = [record("9999", one.local_time) for one in history(1500, MORNING)]  # type: ignore[union-attr]
    office.script.log = [*broken_end, record("2001", MORNING + timedelta(days=9))]
    eventually(lambda: worker._visits.plan.whole_waits)
    polled(worker, 3)
    assert office.ledger.punches() == 1500
    office.script.silence = TerminalUnavailable("it restarts")
    eventually(lambda: worker.state.cause == "unavailable")
    office.script.silence = None
    eventually(lambda: office.ledger.punches() == 3001)


# ---------------------------------------------------------------- what answers


def test_another_device_under_the_same_serial_is_reported_and_read(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note and an alarm, once; its punches are read, as port 4370 proves nothing either way."""
    seen = {"mac": "00:17:61:00:00:01", "firmware": "Ver 6.60"}
    monkeypatch.setattr(ScriptedTerminal, "mac_address", lambda _self: seen["mac"], raising=False)
    monkeypatch.setattr(
        ScriptedTerminal, "identify", lambda _self: TerminalInfo("SCRIPTED-1", "paper", seen["firmware"])
    )
    office.timing.identify_s = 0.0
    worker = office.visit(live=False)
    polled(worker, 2)
    assert office.events("terminal.changed") == []
    seen |= {"mac": "02:00:00:00:00:99", "firmware": "Ver 1.00"}
    office.script.log.append(record("2001", MORNING))
    eventually(lambda: office.alarms == ["identity_changed", "identity_changed"])
    polled(worker, 2)
    assert office.pins() == ["2001"]
    data = [event["data"] for event in office.events("terminal.changed")]
    assert [(one["what"], one["value_before"], one["value_after"]) for one in data] == [
        ("mac", "00:17:61:00:00:01", "02:00:00:00:00:99"),
        ("firmware", "Ver 6.60", "Ver 1.00"),
    ]
    assert len(office.alarms) == 2
