"""The worker against real simulated terminals and a real ledger."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.base import TerminalUnavailable
from drivers.zkteco import wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.ledger import LedgerFull
from gateway.settings import TerminalSettings
from gateway.terminal.live_events import LiveReceiver
from tests import contract
from tests.broker import WAIT_S, eventually
from tests.gateway import office as office_module
from tests.gateway.office import ZONE, polled

MORNING = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock


@dataclass(kw_only=True)
class Office(office_module.Office):
    """One terminal, one ledger, one worker at a time."""

    terminal: SimulatedTerminal
    simulator: Simulator

    def settings(self, **changes: object) -> TerminalSettings:
        """Return settings for the terminal that the test has put there last."""
        return super().settings(**{"address": self.simulator.address} | changes)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office whose terminal shows the zone's time, and is polled five times a second."""
    terminal = SimulatedTerminal(serial="CEXA193960001", now=lambda: datetime.now(ZONE).replace(tzinfo=None))
    with Simulator(terminal) as simulator:
        entry = {
            "name": "lobby",
            "driver": "zkteco",
            "poll": "200ms",
            "timeout": "1s",
        }
        with Office.opened(tmp_path, terminal=terminal, simulator=simulator, entry=entry) as office:
            yield office


def test_first_visit_imports_the_log_and_reports_the_terminal(office: Office) -> None:
    """What the terminal held before is in the ledger after the first visit, and the state names it."""
    for pin in ("1001", "0042", "A7"):
        office.terminal.punch(pin, moment=MORNING)

    worker = office.visit()
    polled(worker)

    assert office.pins() == ["1001", "0042", "A7"]
    eventually(lambda: office.reports)
    topic, payload = office.reports[-1]
    contract.check(topic, json.dumps(payload))
    assert (payload["state"], payload["serial"], payload["records"]) == ("online", "CEXA193960001", 3)


def test_live_punch_does_not_wait_for_the_poll(office: Office) -> None:
    """With an hour between polls a punch is in the ledger at once."""
    worker = office.visit(poll="1h")
    polled(worker)

    office.terminal.punch("1001")

    eventually(lambda: office.pins() == ["1001"])
    assert office.events("punch.recorded")[0]["data"]["via"] == "live"


def test_live_punch_does_not_wait_for_a_long_import(office: Office) -> None:
    """A punch made while 20,000 old records are being stored is in the ledger among them, not behind them."""
    history = generate(1, 20_000, 300, MORNING)
    office.terminal.append_raw(history.log)
    worker = office.visit(poll="1h")
    eventually(lambda: office.ledger.counts().sequence > 500)

    office.terminal.punch("1001")
    polled(worker)

    live = [event for event in office.ledger.events(0, 30_000) if '"via":"live"' in event.body]
    assert len(live) == 1
    assert live[0].sequence < 20_001


def test_poll_confirms_a_live_punch_without_a_second_event(office: Office) -> None:
    """The log shows the live punch again; it stays one event."""
    worker = office.visit()
    polled(worker)
    office.terminal.punch("1001")
    eventually(lambda: office.pins() == ["1001"])

    polled(worker, 2)

    assert len(office.events()) == 1
    assert office.ledger.counts().unconfirmed == 0


def test_idle_poll_writes_nothing_and_asks_little(office: Office) -> None:
    """A visit with nothing new costs two small questions and no write."""
    office.terminal.punch("1001", moment=MORNING)
    worker = office.visit(live=True)
    eventually(lambda: (known := office.ledger.terminal("lobby")) is not None and known.ranged is not None)
    polled(worker, 2)
    requested = office.simulator.bytes_in + office.simulator.bytes_out
    written = office.ledger.path.with_name("ledger.db-wal").stat().st_size

    polled(worker, 3)

    assert (office.simulator.bytes_in + office.simulator.bytes_out - requested) / 3 <= 300
    assert office.ledger.path.with_name("ledger.db-wal").stat().st_size == written


def test_without_live_each_visit_is_a_conversation_of_its_own(office: Office) -> None:
    """`live: false` leaves the terminal's one conversation free between polls."""
    worker = office.visit(live=False)
    polled(worker, 2)

    eventually(lambda: office.terminal.conversations == 0)
    office.terminal.punch("1001", moment=MORNING)

    eventually(lambda: office.pins() == ["1001"])


@pytest.mark.parametrize("layout", ["8", "8-ma300", "16", "40", "49"])
def test_every_layout_is_read_and_pinned(office: Office, layout: str) -> None:
    """Each record layout ends as the same punches, and is remembered."""
    terminal = SimulatedTerminal(serial="L", layout=layout, event_length=10 if layout.startswith("8") else 32)
    for minute in range(30):
        terminal.punch(str(1001 + minute), moment=MORNING + timedelta(minutes=minute))
    with Simulator(terminal) as simulator:
        office.simulator = simulator
        worker = office.visit()
        eventually(lambda: len(office.pins()) == 30)
        worker.stop()
        worker.join(WAIT_S)

    known = office.ledger.terminal("lobby")
    assert known is not None
    assert known.layout == layout
    assert office.pins() == [str(1001 + minute) for minute in range(30)]


def test_event_without_a_pin_hastens_the_reading(office: Office) -> None:
    """A live event that carries only an internal number makes the worker read the log at once."""
    terminal = SimulatedTerminal(serial="B", layout="8", event_length=10)
    with Simulator(terminal) as simulator:
        office.simulator = simulator
        worker = office.visit(poll="1h")
        polled(worker)
        terminal.punch("77")
        eventually(lambda: office.pins() == ["77"])
        worker.stop()
        worker.join(WAIT_S)


def test_lost_and_found_are_logged_once(office: Office) -> None:
    """An outage is two numbered events, two log lines and two alarms, however many attempts it took."""
    port = office.simulator.port
    with capture_logs() as logs:
        worker = office.visit()
        polled(worker)
        office.simulator.__exit__(None, None, None)
        eventually(lambda: not worker.state.online)
        time.sleep(1.0)
        with Simulator(office.terminal, port=port):
            eventually(lambda: worker.state.online)
            worker.stop()
            worker.join(WAIT_S)

    assert [event["type"] for event in office.events("terminal.")] == [
        "hadir.terminal.lost.v1",
        "hadir.terminal.found.v1",
    ]
    assert office.alarms == ["terminal_lost", "terminal_found"]
    output = [line["event"] for line in logs]
    assert (output.count("terminal_lost"), output.count("terminal_found")) == (1, 1)
    found = office.events("terminal.found")[0]["data"]
    assert found["from"] < found["to"]


def test_punches_made_during_an_outage_arrive_after_it(office: Office) -> None:
    """What was punched while the line was down is read when it is up again."""
    port = office.simulator.port
    worker = office.visit()
    polled(worker)
    office.simulator.__exit__(None, None, None)
    eventually(lambda: not worker.state.online)
    office.terminal.punch("1001", moment=MORNING)
    office.terminal.punch("1002", moment=MORNING)

    with Simulator(office.terminal, port=port):
        eventually(lambda: office.pins() == ["1001", "1002"])
        worker.stop()
        worker.join(WAIT_S)


def test_another_serial_at_the_address_is_refused(office: Office) -> None:
    """A swapped terminal's punches are not taken for the old one's; one alarm is raised."""
    worker = office.visit()
    polled(worker)
    worker.stop()
    worker.join(WAIT_S)
    stranger = SimulatedTerminal(serial="OTHER")
    stranger.punch("6666", moment=MORNING)

    with Simulator(stranger) as simulator:
        office.simulator = simulator
        worker = office.visit()
        eventually(lambda: worker.state.cause == "refused")
        time.sleep(0.6)
        worker.stop()
        worker.join(WAIT_S)

    assert office.pins() == []
    assert office.alarms.count("serial_changed") == 1
    assert len(office.events("terminal.changed")) == 1
    assert "OTHER" in (worker.state.reason or "")


def test_a_serial_written_by_hand_moves_the_terminal(office: Office) -> None:
    """A replaced terminal is accepted once its serial stands in the configuration."""
    office.terminal.punch("1001", moment=MORNING)
    worker = office.visit()
    polled(worker)
    worker.stop()
    worker.join(WAIT_S)
    successor = SimulatedTerminal(serial="NEW")
    successor.punch("1001", moment=MORNING)

    with Simulator(successor) as simulator:
        office.simulator = simulator
        worker = office.visit(serial="NEW")
        eventually(lambda: len(office.pins()) == 2)
        worker.stop()
        worker.join(WAIT_S)

    serials = [event["data"]["serial"] for event in office.events("punch.recorded")]
    assert serials == ["CEXA193960001", "NEW"]


def test_a_serial_known_under_another_name_is_refused(office: Office) -> None:
    """Two entries that reach one terminal would publish its punches under two names."""
    worker = office.visit()
    polled(worker)

    twin = office.visit(name="gudang")

    eventually(lambda: twin.state.cause == "refused")
    assert "lobby" in (twin.state.reason or "")


def test_a_terminal_without_serial_needs_one_by_hand(office: Office) -> None:
    """An empty serial is no identity."""
    office.terminal.serial = ""
    worker = office.visit()
    eventually(lambda: worker.state.cause == "refused")
    worker.stop()
    worker.join(WAIT_S)

    worker = office.visit(serial="BY-HAND")
    polled(worker)

    assert worker.state.serial == "BY-HAND"


def test_offset_is_measured_with_its_bound(office: Office) -> None:
    """A clock seven minutes ahead is reported as such, within the bound, and its punches are marked."""
    office.terminal.clock_offset = timedelta(minutes=7)
    worker = office.visit()
    polled(worker)
    office.terminal.punch("1001")
    eventually(lambda: office.pins() == ["1001"])

    clock = worker.state.clock
    assert clock is not None
    assert abs(clock.offset_ms - 420_000) <= clock.bound_ms + 50
    assert office.events("punch.recorded")[0]["data"]["suspect"] == ["future", "drift"]


def test_a_step_of_the_terminal_clock_is_an_event(office: Office) -> None:
    """A clock set back an hour between two visits is put on record before the punches it puts in doubt."""
    worker = office.visit(live=False)
    polled(worker)

    office.terminal.clock_offset = timedelta(hours=-1)
    office.terminal.punch("1001")
    eventually(lambda: office.pins() == ["1001"])

    step = office.events("clock.stepped")[0]["data"]
    assert step["after"]["offset_ms"] - step["before"]["offset_ms"] == pytest.approx(-3_600_000, abs=2000)
    punch = office.events("punch.recorded")[0]["data"]
    assert {"step", "unmeasured"} <= set(punch["suspect"])
    assert punch["clock"]["offset_ms"] is None


def test_a_step_during_an_outage_is_an_event(office: Office) -> None:
    """A terminal that comes back with another time: by which clock its punches were made is unknown."""
    port = office.simulator.port
    worker = office.visit()
    polled(worker)
    office.simulator.__exit__(None, None, None)
    eventually(lambda: not worker.state.online)
    office.terminal.punch("1001")
    office.terminal.clock_offset = timedelta(hours=9)

    with Simulator(office.terminal, port=port):
        eventually(lambda: office.pins() == ["1001"])
        worker.stop()
        worker.join(WAIT_S)

    assert len(office.events("clock.stepped")) == 1
    data = office.events("punch.recorded")[0]["data"]
    assert data["suspect"] == ["step", "unmeasured"]
    assert data["clock"]["offset_ms"] is None


def test_a_step_across_our_own_restart_is_an_event(office: Office) -> None:
    """What was measured before the gateway stopped is remembered, and compared with."""
    office.terminal.punch("1001")
    worker = office.visit()
    polled(worker)
    worker.stop()
    worker.join(WAIT_S)
    office.terminal.clock_offset = timedelta(hours=-3)
    office.terminal.punch("1002")

    office.visit()
    eventually(lambda: len(office.pins()) == 2)

    assert len(office.events("clock.stepped")) == 1
    assert "step" in office.events("punch.recorded")[1]["data"]["suspect"]


def test_an_untrusted_measurement_is_not_remembered(office: Office) -> None:
    """A wall clock that was not synchronised before the restart is no reason to suspect the terminal after it."""
    office.clock.trusted = False
    office.clock.offset = timedelta(days=-400)
    office.terminal.punch("1001")
    worker = office.visit()
    polled(worker)
    worker.stop()
    worker.join(WAIT_S)
    office.clock.trusted, office.clock.offset = True, timedelta(0)

    worker = office.visit()
    polled(worker, 2)

    assert office.events("clock.stepped") == []


def test_a_clock_is_set_at_night(office: Office) -> None:
    """A simulated terminal's, over the wire: found five minutes slow, right afterwards, and nothing else changed."""
    office.terminal.clock_offset = timedelta(minutes=-5)
    worker = office.visit(clock={"set": "nightly"})
    polled(worker)

    worker.schedule_nightly_work()
    eventually(lambda: office.events("clock.set"))
    polled(worker, 2)

    assert worker.state.clock is not None
    assert abs(worker.state.clock.offset_ms) < 60_000
    assert office.events("clock.stepped") == []
    assert office.terminal.refused_writes == 0


def test_a_night_that_was_slept_through_is_made_up_for(office: Office) -> None:
    """A gateway that was off for two days reads the whole log at its first visit."""
    office.terminal.punch("1001", moment=MORNING)
    worker = office.visit()
    polled(worker)
    before = worker.state.last_full_reading
    worker.stop()
    worker.join(WAIT_S)
    office.clock.offset = timedelta(days=2)

    worker = office.visit()
    polled(worker)

    assert before is not None
    assert worker.state.last_full_reading is not None
    assert worker.state.last_full_reading - before > timedelta(days=1)


def test_a_connection_that_breaks_during_the_import_costs_nothing_of_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been read is stored to its end, though listening in between meets a broken line."""
    office.terminal.append_raw(generate(1, 3000, 300, MORNING).log)
    received = []

    def broken(_self: LiveReceiver, _terminal: object) -> None:
        received.append(office.ledger.last_sequence())
        if len(received) == 3:
            raise TerminalUnavailable("the line broke")

    monkeypatch.setattr(LiveReceiver, "drain", broken)
    worker = office.visit(poll="1h")
    eventually(lambda: len(office.pins()) == 3000)
    eventually(lambda: worker.state.online)

    reads = office.terminal.commands[wire.CMD_PREPARE_BUFFER]
    assert reads <= 3  # the import, the look at its end after the line broke, and one question by date


class FrayedLine:
    """Stands between gateway and terminal, and breaks each connection after so many bytes of the terminal's."""

    def __init__(self, terminal_port: int, bytes_each: int) -> None:
        self._terminal_port = terminal_port
        self._bytes_each = bytes_each
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self.connections += 1
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        def up() -> None:
            with suppress(OSError):
                while data := near.recv(4096):
                    far.sendall(data)

        with near, socket.create_connection(("127.0.0.1", self._terminal_port)) as far, suppress(OSError):
            threading.Thread(target=up, daemon=True).start()
            left = self._bytes_each
            while left and (data := far.recv(min(left, 4096))):
                near.sendall(data)
                left -= len(data)
            near.shutdown(socket.SHUT_RDWR)
            far.shutdown(socket.SHUT_RDWR)


def test_a_line_that_breaks_again_and_again_still_brings_a_whole_log(office: Office) -> None:
    """No connection lives long enough for half of it: only going on where the last one stopped gets through."""
    office.terminal.append_raw(generate(1, 16_000, 300, MORNING).log)
    line = FrayedLine(office.simulator.port, 290_000)
    with closing(line):
        office.visit(address=line.address, live=False, poll="1h")
        eventually(lambda: office.ledger.punches() == 16_000)
        office.workers[0].stop()
        office.workers[0].join(WAIT_S)

    assert line.connections >= 3
    punches = [json.loads(event.body)["data"] for event in office.ledger.events(0, 20_000) if "punch/" in event.topic]
    assert [punch["position"] for punch in punches] == list(range(16_000))


def test_a_hint_during_a_reading_means_the_next_one(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live event that means "read the log" while the log is being read is not forgotten."""
    office.terminal.append_raw(generate(1, 1200, 300, MORNING).log)
    worker = office.visit(poll="1h")
    polled(worker)
    reads = office.terminal.commands[wire.CMD_PREPARE_BUFFER]
    original = worker._context.ledger.record_reading

    def hinted(*arguments: Any, **options: Any) -> Any:
        stored = original(*arguments, **options)
        if office.terminal.commands[wire.CMD_PREPARE_BUFFER] == reads + 1:
            worker._visits.plan.hinted = True
        return stored

    monkeypatch.setattr(worker._context.ledger, "record_reading", hinted)
    worker.request(full=True)

    eventually(lambda: office.terminal.commands[wire.CMD_PREPARE_BUFFER] == reads + 2)


def test_a_step_of_our_own_clock_is_not_blamed_on_the_terminal(office: Office) -> None:
    """When the gateway's clock is corrected by a day, the terminal's has not jumped."""
    worker = office.visit()
    polled(worker, 2)

    office.clock.offset = timedelta(days=1)
    polled(worker, 2)

    assert office.events("clock.stepped") == []


def test_an_unsynchronised_gateway_says_so(office: Office) -> None:
    """Evidence from a clock that is not synchronised is marked, and causes no alarm about the terminal."""
    office.clock.trusted = False
    office.terminal.clock_offset = timedelta(hours=2)
    worker = office.visit()
    polled(worker)
    office.terminal.punch("1001")
    eventually(lambda: office.pins() == ["1001"])

    data = office.events("punch.recorded")[0]["data"]
    assert data["suspect"] == ["unverified"]
    assert data["clock"]["gateway_synchronised"] is False


def test_bad_records_are_quarantined_once(office: Office) -> None:
    """31 February costs one record; reading the whole log again does not report it again."""
    office.terminal.punch("1001", moment=MORNING)
    impossible = bytearray(office.terminal.log_body())
    impossible[27:31] = wire.encode_time(datetime(2026, 2, 28, 8, 0)).__add__(3 * 86400).to_bytes(4, "little")  # noqa: DTZ001 - wall clock
    office.terminal.append_raw(bytes(impossible))
    office.terminal.punch("1002", moment=MORNING)
    worker = office.visit()
    polled(worker)

    worker.request(full=True)
    polled(worker, 2)

    assert office.pins() == ["1001", "1002"]
    assert len(office.events("quarantined")) == 1


def test_garbage_on_the_wire_keeps_a_capture_and_recovers(office: Office) -> None:
    """Bytes that break the protocol end the visit with a named error and a file; the next visit starts clean."""
    garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        worker = office.visit(address=f"127.0.0.1:{server.getsockname()[1]}")
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(garbage)
        eventually(lambda: worker.state.cause == "protocol")
        worker.stop()
        worker.join(WAIT_S)

    captures = list((office.folder / "captures").glob("*.txt"))
    assert captures
    assert "48 54 54 50" in captures[0].read_text("utf-8")
    assert captures[0].stat().st_mode & 0o077 == 0
    office.terminal.punch("1001", moment=MORNING)
    office.visit()
    eventually(lambda: office.pins() == ["1001"])


def test_log_cleared_by_someone_is_noted_and_reading_goes_on(office: Office) -> None:
    """After the log is cleared at the terminal, new punches arrive and the clearing is on record."""
    for minute in range(20):
        office.terminal.punch("1001", moment=MORNING + timedelta(minutes=minute))
    worker = office.visit()
    polled(worker)

    office.terminal.clear_log()
    office.terminal.punch("1002", moment=MORNING + timedelta(hours=1))
    eventually(lambda: "1002" in office.pins())
    eventually(lambda: "log_cleared" in str(office.events("terminal.changed")))

    changes = [event["data"]["what"] for event in office.events("terminal.changed")]
    assert changes in (["log_cleared"], ["log_shrunk", "log_cleared"])  # the second where a visit saw it empty
    assert len(office.pins()) == 21


def test_an_empty_answer_is_no_clearing(office: Office) -> None:
    """A terminal that shows an empty log for a while and then the old one again has lost and doubled nothing."""
    for minute in range(20):
        office.terminal.punch("1001", moment=MORNING + timedelta(minutes=minute))
    worker = office.visit()
    polled(worker)
    log = office.terminal.log_body()

    office.terminal.clear_log()
    polled(worker, 3)
    office.terminal.append_raw(log)
    office.terminal.punch("1002", moment=MORNING + timedelta(hours=1))
    eventually(lambda: "1002" in office.pins())
    polled(worker, 2)

    assert len(office.pins()) == 21
    assert [event["data"]["what"] for event in office.events("terminal.changed")] == ["log_shrunk"]


def test_full_log_that_overwrites_its_oldest_is_still_read(office: Office) -> None:
    """A log at its capacity keeps its count; a live event makes the worker read its end all the same."""
    office.terminal.capacity = 50
    for minute in range(50):
        office.terminal.punch("1001", moment=MORNING + timedelta(minutes=minute))
    worker = office.visit()
    polled(worker)

    office.terminal.punch("1002", moment=MORNING + timedelta(hours=2))
    eventually(lambda: office.ledger.counts().unconfirmed == 0 and "1002" in office.pins())
    worker.request(full=True)
    polled(worker, 2)

    assert office.pins().count("1002") == 1
    assert len(office.pins()) == 51


def test_start_now_withholds_history_and_publishes_what_follows(office: Office) -> None:
    """`start: now` sends nothing of the old log, states how much it withheld, and misses nothing new."""
    for minute in range(5):
        office.terminal.punch("1001", moment=MORNING + timedelta(minutes=minute))
    worker = office.visit(start="now")
    polled(worker)

    office.terminal.punch("1002", moment=MORNING + timedelta(hours=1))
    eventually(lambda: office.pins() == ["1002"])

    assert office.events("history.withheld")[0]["data"]["records"] == 5
    assert office.ledger.counts().withheld == 5


def test_one_log_line_per_visit_and_no_pin_in_it(office: Office) -> None:
    """A visit is one line; no line at info or above holds a PIN."""
    office.terminal.punch("987654321", moment=MORNING)
    with capture_logs() as logs:
        worker = office.visit(live=False)
        polled(worker, 3)
        worker.stop()
        worker.join(WAIT_S)

    visits = [line for line in logs if line["event"] == "poll_finished"]
    assert len(visits) >= 3
    assert all("987654321" not in str(line) for line in logs)


def test_stop_ends_the_conversation_properly(office: Office) -> None:
    """A stopped worker unregisters and ends the session, so that the terminal is free at once."""
    worker = office.visit(poll="1h")
    polled(worker)

    worker.stop()

    assert worker.join(WAIT_S)
    assert office.terminal.commands[wire.CMD_EXIT] == 1
    assert office.terminal.conversations == 0


def test_no_harmful_command_is_ever_sent(office: Office) -> None:
    """Through all of this the terminal never got a command to write, clear or disable anything."""
    office.terminal.punch("1001", moment=MORNING)
    worker = office.visit()
    polled(worker, 2)
    worker.request(full=True)
    polled(worker, 2)

    assert office.terminal.refused_writes == 0
    assert office.terminal.enabled


def test_nothing_is_read_while_there_is_no_room(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Punches of that time stay in the terminal's log, each poll looks again, and with room all are read."""
    rooms = ["all"]
    monkeypatch.setattr(office.ledger, "disk_state", lambda: rooms[0])
    worker = office.visit()
    polled(worker)
    rooms[0] = "none"
    office.terminal.punch("1001")
    polled(worker, 2)
    assert office.pins() == []
    assert worker.state.online

    rooms[0] = "all"

    eventually(lambda: office.pins() == ["1001"])


def test_import_waits_for_room_and_news_do_not(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is nearly full a long history waits, live punches and short readings do not."""
    rooms = ["news"]
    monkeypatch.setattr(office.ledger, "disk_state", lambda: rooms[0])
    office.terminal.append_raw(generate(1, 600, 10, MORNING).log)
    worker = office.visit()
    polled(worker, 2)
    assert office.ledger.counts().sequence == 0
    office.terminal.punch("1001")
    eventually(lambda: office.pins() == ["1001"])

    rooms[0] = "all"

    eventually(lambda: len(office.pins()) == 601)
    rooms[0] = "news"
    office.terminal.punch("1002")
    eventually(lambda: office.pins()[-1] == "1002")


def test_full_disk_pauses_reading(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that has no room ends no worker: it comes back, and nothing is lost."""
    office.timing.full_pause_s = 0.1
    trouble = [LedgerFull("the disk is full")] * 3
    record_reading = office.ledger.record_reading

    def full(*arguments: Any, **options: Any) -> Any:
        if trouble:
            raise trouble.pop()
        return record_reading(*arguments, **options)

    monkeypatch.setattr(office.ledger, "record_reading", full)
    office.terminal.punch("1001", moment=MORNING)

    office.visit()

    eventually(lambda: office.pins() == ["1001"])
    assert trouble == []


# ---------------------------------------------------------------- terminals as they are in the field


def ranged(office: Office) -> bool | None:
    """Return what the ledger remembers of readings by date."""
    known = office.ledger.terminal("lobby")
    return None if known is None else known.ranged


def of_days(office: Office) -> list[str]:
    """Let people punch on some days up to yesterday; return their PINs."""
    noon = datetime.now(ZONE).replace(tzinfo=None, hour=12, minute=0, second=0, microsecond=0)
    pins = []
    for ago in range(9, 0, -1):
        for minute in range(10):
            pins.append(str(1001 + minute))
            office.terminal.punch(pins[-1], moment=noon - timedelta(days=ago, minutes=minute))
    return pins


def test_answers_by_date_agree_with_the_log(office: Office) -> None:
    """A terminal that finds records by date gets one request, and its answer is what the ledger has."""
    pins = of_days(office)
    worker = office.visit()
    eventually(lambda: ranged(office))
    polled(worker, 2)

    assert office.pins() == pins


def test_answers_by_date_that_are_lies_are_given_up(office: Office) -> None:
    """Records that were not requested: nothing of them is stored, and the request is not repeated."""
    pins = of_days(office)
    office.terminal.faults.switch_on("range-lies")
    worker = office.visit()
    eventually(lambda: ranged(office) is False)
    polled(worker, 2)

    assert office.pins() == pins


def test_an_event_that_the_log_never_shows(office: Office) -> None:
    """It is published, and the next full reading shows that it is not in the log."""
    of_days(office)
    worker = office.visit(poll="1h")
    polled(worker)
    before = len(office.pins())
    office.terminal.faults.switch_on("phantom")
    office.terminal.punch("2001")
    eventually(lambda: len(office.pins()) > before)

    result = worker.request(full=True).result(20)

    assert result is not None
    assert result["unconfirmed"] == len(office.events("punch.unconfirmed")) == 1


def test_an_event_that_differs_from_the_log(office: Office) -> None:
    """The punch stays as it was published; what the log holds is published in another event."""
    of_days(office)
    office.terminal.faults.switch_on("event-differs")
    worker = office.visit(poll="1h")
    polled(worker)
    office.terminal.punch("2001")
    eventually(lambda: "2001" in office.pins())

    worker.request(full=True).result(20)

    assert len(office.events("punch.confirmed")) == 1
    assert office.pins().count("2001") == 1


def test_a_power_cut_between_polls_is_noticed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stays open and sends nothing: a question finds out, and what was punched meanwhile is read."""
    office.timing.idle_probe_s = 0.2
    worker = office.visit(poll="1h", timeout="300ms")
    polled(worker)
    office.terminal.faults.switch_on("power-cut")
    eventually(lambda: not worker.state.online)

    office.terminal.faults.switch_off("power-cut")
    office.terminal.punch("1001", moment=MORNING)

    eventually(lambda: office.pins() == ["1001"])


def test_a_terminal_that_promises_events_and_never_tells_is_noticed(office: Office) -> None:
    """Its punches come with the polls; that events do not come is reported once."""
    office.terminal.faults.switch_on("mute")
    with capture_logs() as logs:
        worker = office.visit()
        polled(worker, 2)
        for number in range(1, 4):
            office.terminal.punch("1001", moment=MORNING + timedelta(minutes=number))
            eventually(lambda number=number: len(office.pins()) == number)  # type: ignore[misc]  # a default binds the value
            polled(worker)
        worker.stop()
        worker.join(WAIT_S)

    assert [line["event"] for line in logs].count("live_silent") == 1


def test_no_terminal_waits_for_an_import_over_a_slow_line(office: Office) -> None:
    """While 200 KB travel at four megabits, a punch at this terminal and one at another are stored among them."""
    office.terminal.append_raw(generate(1, 5000, 300, MORNING).log)
    office.terminal.faults.switch_on("line=4000")
    other = SimulatedTerminal(serial="OTHER", now=lambda: datetime.now(ZONE).replace(tzinfo=None))
    with Simulator(other) as simulator:
        polled(office.visit(name="gudang", address=simulator.address, poll="1h"))
        office.visit(poll="1h")
        eventually(lambda: office.ledger.punches() > 500)
        office.terminal.punch("2001")
        other.punch("2002")
        eventually(lambda: office.ledger.punches() == 5002)
        order = [json.loads(event.body)["data"]["pin"] for event in office.ledger.events(0, 10_000)]
        office.workers[0].stop()
        office.workers[0].join(WAIT_S)

    assert max(order.index("2001"), order.index("2002")) < 4500


def test_an_import_that_was_cut_goes_on_where_it_stopped(office: Office) -> None:
    """The connection drops after three fifths of a log: what is stored does not travel again."""
    records = 5000
    office.terminal.append_raw(generate(1, records, 300, MORNING).log)
    office.terminal.faults.switch_on("line=4000")
    worker = office.visit(live=False)
    eventually(lambda: office.ledger.punches() >= records * 3 // 5)
    stored = office.ledger.punches()
    office.terminal.restart()
    sent = office.simulator.bytes_out
    office.terminal.faults.switch_off("line")

    eventually(lambda: office.ledger.punches() == records)
    polled(worker)

    assert office.simulator.bytes_out - sent < (records - stored) * office.terminal.stride + 8192
    assert worker.request(full=True).result(20) is not None
    assert office.ledger.punches() == records
