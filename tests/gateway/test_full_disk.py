"""A disk that fills up under the running gateway, and has room again: nothing else has to be done."""

import threading
from pathlib import Path

import pytest

from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.app import Daemon
from gateway.clock import AssumedClock
from gateway.ledger import Ledger, LedgerReader, space
from gateway.settings import load
from gateway.terminal.timing import Timing
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.gateway.small_disk import small_disk
from tests.gateway.test_app import configured, here, punches


def alarms(subscriber: Subscriber) -> list[str]:
    """Return the codes of the alarms that have been received."""
    return [message.payload["alarm"] for message in subscriber.on("/gw/alarm")]


def test_reading_stops_and_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal's log is the buffer meanwhile; every punch arrives once, from one process that never ended."""
    monkeypatch.setattr(space, "CHECK_S", 0.2)
    terminal = SimulatedTerminal(serial="S1", now=here)
    terminal.append_raw(generate(1, 500, 20, here()).log)
    daemons: list[Daemon] = []

    def ledger() -> Ledger:
        return daemons[0]._ledger

    with (
        Simulator(terminal) as simulator,
        Broker(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        small_disk(tmp_path / "disk", ledger, monkeypatch, "64m") as disk,
    ):
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        text = file.read_text().replace("data_dir: data", "data_dir: disk/data\nretention: {free_floor: 0}")
        file.write_text(text)
        stop, code = threading.Event(), []
        daemons.append(Daemon(load(file), clock=AssumedClock(), timing=Timing(full_pause_s=0.2)))
        running = threading.Thread(target=lambda: code.append(daemons[0].run(stop)))
        running.start()
        try:
            eventually(lambda: len(punches(subscriber)) == 500)
            eventually((disk.folder / "data" / "ledger.reserve").exists)

            disk.fill()
            terminal.append_raw(generate(2, 8000, 200, here()).log)
            eventually(lambda: "disk_floor" in alarms(subscriber))
            assert ledger().disk_state() == "none"
            for pin in range(3001, 3021):
                terminal.punch(str(pin))
            assert running.is_alive()
            assert ledger().failure is None
            assert ledger().punches() < terminal.count

            disk.empty()
            eventually(lambda: len(punches(subscriber)) == terminal.count)
            eventually(lambda: "disk_room" in alarms(subscriber))
        finally:
            stop.set()
            running.join(WAIT_S)
        reader = LedgerReader(disk.folder / "data")
        assert reader.punches() == terminal.count == 8520
        assert reader.verify().breach is None
        reader.close()

    assert code == [0]
    assert alarms(subscriber).count("disk_floor") == 1
    assert {pin for pin in punches(subscriber).values() if pin > "3000"} >= {str(pin) for pin in range(3001, 3021)}
