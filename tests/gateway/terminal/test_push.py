"""Terminals that speak PUSH, from the simulated terminal through receiver, driver and worker to the ledger and back."""

import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from drivers import DRIVERS
from drivers.base import ClockReading
from drivers.push.simulator import FIRMWARES, Firmware, SimulatedTerminal, Simulator, history
from drivers.push.terminal import PushCaller, attach
from drivers.receiver.registry import Serial
from gateway.ledger import Ledger, LedgerFull
from tests.broker import WAIT_S, eventually, free_port
from tests.drivers.receiver.caller import to_end
from tests.gateway.calling_office import CallingOffice
from tests.gateway.office import ZONE

SERIAL = "SIM0000000001"
PACE = 0.01
ROOT = Path(__file__).parent.parent.parent.parent


class Office(CallingOffice):
    """An office whose terminal speaks PUSH."""

    def terminal(self, firmware: Firmware = "2.4", records: int = 0) -> SimulatedTerminal:
        """Return a terminal whose clock is right."""
        made = SimulatedTerminal(
            serial=SERIAL, firmware=firmware, now=lambda: self.clock.now().astimezone(ZONE).replace(tzinfo=None)
        )
        made.log += history(1, records, made.clock() - timedelta(minutes=5))
        return made

    def call(self, terminal: SimulatedTerminal) -> Simulator:
        """Return a simulator that lets the terminal call, within its block."""
        return Simulator(terminal, self.url, pace=PACE)

    def has_all(self, terminal: SimulatedTerminal) -> bool:
        """Whether the ledger has each punch of the terminal, each distinct one once."""
        return self.counted() == Counter(set(map(_key, terminal.log)))

    def counted(self) -> Counter[tuple[str, str]]:
        """Return how often the ledger has each PIN and time."""
        return Counter((data["pin"], data["local_time"]) for data in self.data())

    def data(self) -> list[dict[str, Any]]:
        """Return the data of all punches."""
        return [event["data"] for event in self.events("punch.recorded")]


def _key(made: Any) -> tuple[str, str]:
    return made.pin, made.moment.isoformat()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office with a receiver."""
    entry: dict[str, object] = {"name": "loket-3", "driver": "push", "serial": SERIAL, "poll": "1s"}
    with Office.receiving(tmp_path, entry, Serial(SERIAL)) as opened:
        yield opened


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_a_log_and_live_punches_arrive_once(office: Office, firmware: Firmware) -> None:
    """Whatever the dialect; via is push, and nothing of a person but the PIN is kept."""
    terminal = office.terminal(firmware, 250)
    worker = office.visit()
    with office.call(terminal) as simulator:
        eventually(lambda: office.has_all(terminal))
        simulator.punch("0042", 1, 15)
        eventually(lambda: office.has_all(terminal))
        eventually(lambda: worker.state.online and worker.state.info is not None)
    data = office.data()
    assert {(punch["via"], punch["position"], punch["serial"]) for punch in data} == {("push", None, SERIAL)}
    assert (data[-1]["pin"], data[-1]["state"], data[-1]["verify"]) == ("0042", 1, 15)
    stored = json.dumps(office.events())
    for secret in (b"36.5", b"eyJsYXQi", b"8877"):
        assert secret.hex() not in stored
    assert not terminal.refused_writes


def test_stamps_survive_the_process(office: Office) -> None:
    """A terminal that is switched on after a restart of the gateway continues where it was."""
    terminal = office.terminal("2.2", 40)
    first = office.visit()
    with office.call(terminal) as simulator:
        eventually(lambda: office.has_all(terminal))
        first.stop()
        assert first.join(WAIT_S)
        second = office.create_worker()
        second.start()
        begun, uploads = len(simulator.stamps), simulator.uploads
        simulator.restart()
        eventually(lambda: len(simulator.stamps) > begun)
        assert simulator.stamps[-1] != "0"
        terminal.punch("8")
        eventually(lambda: office.has_all(terminal))
        assert simulator.uploads - uploads <= 3  # the punch, and tries while no worker served


def test_what_a_clock_set_back_hides_is_fetched(office: Office) -> None:
    """Older firmware sends only what is later than its stamp: the night's count finds the rest."""
    terminal = office.terminal("2.2", 60)
    worker = office.visit()
    with office.call(terminal) as simulator:
        eventually(lambda: office.has_all(terminal))
        eventually(lambda: worker.state.complete is not None)
        before = worker.state.complete
        terminal.offset = -timedelta(days=3)
        for pin in ("71", "72"):
            simulator.punch(pin)
        terminal.offset = timedelta(0)
        simulator.punch("73")
        eventually(lambda: ("73", terminal.log[-1].moment.isoformat()) in office.counted())
        assert not office.has_all(terminal)
        result = worker.request(full=True).result(WAIT_S)
        assert office.has_all(terminal)
        assert result is not None
        assert result["missed"] == 2
        eventually(lambda: worker.state.complete != before)
    assert "log_differs" in office.alarms
    assert set(terminal.commands) <= {"VERIFY SUM ATTLOG", "DATA QUERY ATTLOG", "CHECK"}
    assert worker.state.complete is not None
    assert before is not None
    assert worker.state.complete.until > before.until


def test_a_terminal_that_cannot_count_is_never_complete(office: Office) -> None:
    """Nothing is claimed of it; the request is answered all the same."""
    terminal = office.terminal("2.4", 5)
    terminal.faults.no_count = True
    worker = office.visit()
    with office.call(terminal):
        eventually(lambda: office.has_all(terminal))
        worker.request(full=True).result(WAIT_S)
    assert worker.state.complete is None
    assert "records_not_delivered" not in office.alarms


def test_an_untrusted_clock_claims_nothing(office: Office) -> None:
    """The moment of the watermark is that of this computer."""
    office.clock.trusted = False
    terminal = office.terminal("2.4", 5)
    worker = office.visit()
    with office.call(terminal):
        eventually(lambda: office.has_all(terminal))
        worker.request(full=True).result(WAIT_S)
        eventually(lambda: worker.state.reconciliation is not None)
    assert worker.state.complete is None


def test_a_full_disk_refuses_and_recovers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal keeps its punches, and nothing restarts."""
    terminal = office.terminal("2.4", 5)
    worker = office.visit()
    with office.call(terminal) as simulator:
        eventually(lambda: office.has_all(terminal))
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "record_delivery", _full)
            simulator.punch("8")
            eventually(lambda: simulator.replies[503] > 1)
            assert len(terminal.acknowledged) == 5
        eventually(lambda: office.has_all(terminal))
        eventually(lambda: worker.state.online)


def _full(*_: object, **__: object) -> None:
    raise LedgerFull("no room")


FAULTS = ["lost-reply=2", "cut-upload=2", "repeat=2", "nul", "enrolment", "proxy", "chunked", "unknown-table"]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(office: Office, fault: str) -> None:
    """Each punch arrives once; nothing of a person's data is on the disk."""
    terminal = office.terminal("2.4", 150)
    terminal.faults.switch(fault)
    office.visit()
    with office.call(terminal) as simulator:
        eventually(lambda: set(office.counted()) >= set(map(_key, terminal.log)))
        simulator.punch("8")
        eventually(lambda: office.has_all(terminal))
        eventually(lambda: not terminal.faults.enrolment)
    assert len(office.events("quarantined")) == (fault == "nul")
    assert ("table_held" in office.alarms) == (fault == "unknown-table")
    kept = b"".join(path.read_bytes() for path in office.folder.rglob("*") if path.is_file())
    for secret in (b"Siti", b"Ts9SUzIx", b"Passwd"):
        assert secret not in kept


def test_no_call_is_an_outage(office: Office) -> None:
    """The terminal is lost after a while, and found with its next call."""
    office.driver = replace(DRIVERS["push"], attach=partial(attach, lost_s=1.0))
    worker = office.visit()
    eventually(lambda: worker.state.cause == "unavailable")
    terminal = office.terminal("2.4", 3)
    with office.call(terminal):
        eventually(lambda: office.has_all(terminal))
        eventually(lambda: worker.state.online)
    eventually(lambda: worker.state.cause == "unavailable")
    eventually(lambda: len(office.events("terminal.lost")) >= 2)
    assert office.events("terminal.found")


def test_a_second_address_with_the_serial_number_is_an_alarm(office: Office) -> None:
    """The first one is served on; what the other one sends is refused, and stored nowhere."""
    office.visit()
    terminal = office.terminal("2.4", 3)
    with office.call(terminal) as simulator:
        eventually(lambda: office.has_all(terminal))
        port = simulator._call.port
        with socket.create_connection(("127.0.0.1", port), WAIT_S, source_address=("127.0.0.2", 0)) as other:
            body = b"9\t2026-11-30 07:01:02\t0\t1\n"
            head = (
                f"POST /iclock/cdata?SN={SERIAL}&table=ATTLOG&Stamp=1 HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            other.sendall(head.encode() + body)
            assert to_end(other).startswith(b"HTTP/1.1 503 ")
        eventually(lambda: "serial_from_two_addresses" in office.alarms)
        simulator.punch("8")
        eventually(lambda: office.has_all(terminal))


def test_the_first_call_is_waited_for(office: Office) -> None:
    """Until then it is neither online nor lost, whatever else has happened; with the call it is online."""
    worker = office.visit()
    eventually(lambda: worker.state.reason == "waiting for its first call")
    waiting = [payload for topic, payload in office.reports if topic.startswith("terminal/")][-1]
    assert (waiting["state"], waiting["cause"]) == ("offline", None)
    assert worker.request().result(WAIT_S) is None  # a requested visit finds nothing, and ends
    assert not worker.state.online
    with office.call(office.terminal("2.4", 1)):
        eventually(lambda: worker.state.online)
    assert worker.state.reason is None
    assert office.alarms == []
    assert office.events("terminal.lost") == office.events("terminal.found") == []


def test_a_clock_that_the_terminal_sets_by_our_answers_is_noted(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the measurements before and after; a step to a wrong time is one of its own."""
    offset = timedelta(hours=1)

    def reading(_caller: PushCaller) -> ClockReading:
        return ClockReading(office.clock.now().astimezone(ZONE).replace(tzinfo=None) + offset, 20.0)

    monkeypatch.setattr(PushCaller, "reading", reading)
    worker = office.visit(clock={"set": "always"})
    with office.call(office.terminal()):
        eventually(lambda: worker.state.clock is not None and worker.state.clock.offset_ms > 3_500_000)
        offset = timedelta(0)
        eventually(lambda: office.events("clock.set"))
        (note,) = office.events("clock.set")
        assert note["data"]["before"]["offset_ms"] > 3_500_000
        assert abs(note["data"]["after"]["offset_ms"]) <= 21_500
        eventually(lambda: "clock_set" in office.alarms)
        assert office.events("clock.stepped") == []
        offset = timedelta(hours=-2)
        eventually(lambda: office.events("clock.stepped"))
    assert len(office.events("clock.set")) == 1


def test_the_clock_is_estimated_from_live_punches(office: Office) -> None:
    """A clock that is an hour fast shows, within the bound of the estimate."""
    terminal = office.terminal("2.4")
    terminal.offset = timedelta(hours=1)
    worker = office.visit()
    with office.call(terminal) as simulator:
        for number in range(3):
            simulator.punch(str(number + 1))
            eventually(lambda: office.has_all(terminal))
            office.clock.offset += timedelta(seconds=1)
        assert worker.state.clock is None  # three within a second may have waited
    monotonic = worker._visits._attached.session.clock._samples  # type: ignore[union-attr]
    assert len(monotonic) == 3


# --- killed between the commit and the reply ----------------------------------------------------------------------


def _run(folder: Path, port: int, kill_at: int) -> subprocess.Popen[bytes]:
    config = folder / "gateway.yaml"
    config.write_text(
        f"""site: office
gateway: gw
timezone: Asia/Jakarta
data_dir: {folder / "data"}
mqtt: {{url: "mqtt://127.0.0.1:9"}}
web: null
receiver: {{listen: "127.0.0.1:{port}"}}
terminals:
  - {{name: loket-3, driver: push, serial: {SERIAL}, poll: 1s}}
"""
    )
    program = Path(__file__).parent / "killed_push.py"
    return subprocess.Popen(
        [sys.executable, str(program), str(config), str(kill_at)], cwd=ROOT, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("firmware", ["2.2", "2.4", "acc"])
def test_killed_between_the_commit_and_the_reply(tmp_path: Path, firmware: Firmware) -> None:
    """What was committed and not acknowledged is sent again, and is one punch each."""
    port = free_port()
    now: Callable[[], datetime] = lambda: datetime.now(ZONE).replace(tzinfo=None)  # noqa: E731
    terminal = SimulatedTerminal(serial=SERIAL, firmware=firmware, now=now)
    terminal.log += history(3, 400, now() - timedelta(minutes=5))
    with Simulator(terminal, f"http://127.0.0.1:{port}", pace=PACE):
        for kill_at in (1, 2, 1):
            process = _run(tmp_path, port, kill_at)
            assert process.wait(WAIT_S) == -signal.SIGKILL
        process = _run(tmp_path, port, 0)
        try:
            eventually(lambda: not terminal.pending(1))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
    ledger = Ledger(tmp_path / "data", "/hadir/office/gw")
    try:
        bodies = [json.loads(waiting.body) for waiting in ledger.events(0, 100_000)]
    finally:
        ledger.close()
    punches = Counter(
        (body["data"]["pin"], body["data"]["local_time"]) for body in bodies if "punch.recorded" in body["type"]
    )
    assert punches == Counter(set(map(_key, terminal.log)))
