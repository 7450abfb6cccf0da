"""Terminals with a web service, visited by workers: nothing is lost or stored twice, whatever it answers."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drivers.base import RawPunch, Reason
from drivers.soap.simulator import Simulator
from drivers.zkteco.simulator import SimulatedTerminal, build
from gateway import event
from gateway.pause import Pause
from gateway.terminal.worker import Worker
from tests.broker import eventually
from tests.gateway.office import ZONE, Office, polled

RECORDS = 40


def local_now() -> datetime:
    """Return what a right clock shows."""
    return datetime.now(ZoneInfo(ZONE.key)).replace(tzinfo=None)


@pytest.fixture
def terminal() -> SimulatedTerminal:
    """Return a terminal with a log."""
    return build(serial="SYN0000000001", records=RECORDS, now=local_now)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office."""
    with Office.opened(tmp_path, Pause(0.02, 0.05), entry={}) as opened:
        yield opened


def visit(office: Office, simulator: Simulator, driver: str = "soap", **changes: object) -> Worker:
    """Visit a terminal in one of two ways."""
    office.entry = {"name": f"aula-{driver}", "driver": driver, "address": simulator.address, "poll": "50ms"}
    if driver == "soap":
        office.entry["web_port"] = simulator.web.port
    if simulator.port_4370 is None:
        office.entry |= {"serial": simulator.terminal.serial, "address": "127.0.0.1:9"}
    return office.visit(**changes)


def check(office: Office, terminal: SimulatedTerminal) -> None:
    """Require one event for each record of the terminal's log, with the id that follows from it."""
    seen: Counter[tuple[str, datetime]] = Counter()
    expected = []
    for record in terminal.records():
        assert isinstance(record, RawPunch)
        assert record.pin is not None
        seen[record.pin, record.local_time] += 1
        occurrence = seen[record.pin, record.local_time]
        expected.append(str(event.punch_id(terminal.serial, record.pin, record.local_time, occurrence)))
    assert Counter(one["id"] for one in office.events("punch.recorded")) == Counter(expected)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("firmware", ["old", "new"])
def test_a_terminal_with_both_ports(office: Office, terminal: SimulatedTerminal, firmware: str, *, live: bool) -> None:
    """Its log, and a punch that is made: read by its position, or live and then confirmed."""
    with Simulator(terminal, firmware=firmware) as simulator:  # type: ignore[arg-type]  # one of its dialects
        worker = visit(office, simulator, live=live)
        eventually(lambda: len(office.pins()) == RECORDS)
        terminal.punch("1001")
        eventually(lambda: len(office.pins()) == RECORDS + 1)
        polled(worker)
        assert worker.request(full=True).result(60) is not None
        check(office, terminal)
        data = [one["data"] for one in office.events("punch.recorded")]
        assert {(one["via"], one["position"]) for one in data[:RECORDS]} == {
            ("soap", place) for place in range(RECORDS)
        }
        assert data[-1]["via"] in ({"live", "soap"} if live else {"soap"})  # the log, where it was read at that moment
        assert worker.state.layout == "soap"
        assert worker.state.complete is not None
        assert office.alarms == []
        worker.stop()
        assert worker.join(60)
        assert set(simulator.web.methods) == {"GetAttLog"}
        assert (simulator.web.refused_writes, terminal.refused_writes, terminal.enabled) == ([], 0, True)


def test_a_terminal_of_which_only_the_web_service_answers(office: Office, terminal: SimulatedTerminal) -> None:
    """Its clock is compared; a log that is shorter and comes back is neither lost nor stored twice."""
    with Simulator(terminal, port=None) as simulator:
        worker = visit(office, simulator)
        eventually(lambda: len(office.pins()) == RECORDS)
        assert worker.state.clock is not None
        whole = terminal.log_body()
        terminal.clear_log()
        terminal.append_raw(whole[: 20 * terminal.stride])
        assert worker.request(full=True).result(60) is not None
        assert [one["data"]["what"] for one in office.events("terminal.changed")] == ["log_shrunk"]
        terminal.append_raw(whole[20 * terminal.stride :])
        terminal.punch("1001")
        assert worker.request(full=True).result(60) is not None
        check(office, terminal)
        assert office.alarms == []


def test_records_that_are_counted_and_not_sent_are_an_alarm(office: Office) -> None:
    """At the second such reading in succession, once; what is sent is stored, and nothing is claimed to be complete."""
    terminal = build(serial="SYN0000000001", records=100, now=local_now)
    terminal.faults.switch_on("count=+3")
    with Simulator(terminal) as simulator:
        worker = visit(office, simulator)
        eventually(lambda: office.alarms)
        assert worker.request(full=True).result(60) is not None
        assert office.alarms == ["log_incomplete"]
        assert worker.state.complete is None
        check(office, terminal)

        terminal.faults.switch_off("count")
        assert worker.request(full=True).result(60) is not None
        assert worker.state.complete is not None
        assert office.alarms == ["log_incomplete"]


@pytest.mark.parametrize("fault", ["cut=3", "hang-up=3", "busy=3", "blank=3", "odd-rows"])
def test_answers_that_are_damaged_cost_a_visit(office: Office, terminal: SimulatedTerminal, fault: str) -> None:
    """Everything is stored in the end, each record once; what is no punch is quarantined."""
    with Simulator(terminal) as simulator:
        simulator.web.faults.switch(fault)
        worker = visit(office, simulator, live=False)
        eventually(lambda: len(office.pins()) == RECORDS)
        polled(worker, 2)
        check(office, terminal)
        assert len(office.events("record.quarantined")) == (5 if fault == "odd-rows" else 0)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("no-service", "service_missing"), ("web-page", "service_missing"), ("redirect", "service_missing")],
)
def test_a_terminal_without_the_service(office: Office, terminal: SimulatedTerminal, fault: str, code: str) -> None:
    """One alarm with its reason; it is read when it has the service."""
    with Simulator(terminal) as simulator:
        simulator.web.faults.switch(fault)
        worker = visit(office, simulator, live=False)
        eventually(lambda: office.alarms == ["terminal_refused"])
        assert worker.state.reason_code is Reason.SERVICE_MISSING
        simulator.web.faults.switch(f"{fault}=off")
        eventually(lambda: len(office.pins()) == RECORDS)


def test_two_ways_to_one_terminal_are_one_event_each(office: Office, terminal: SimulatedTerminal) -> None:
    """The web service and port 4370 with entries of their own: the same punches, whichever reads them first."""
    twice = terminal.clock()
    terminal.append("1001", twice)
    terminal.append("1001", twice)
    with Simulator(terminal) as simulator:
        readers = [visit(office, simulator, live=False), visit(office, simulator, "zkteco")]
        for number in range(6):
            terminal.punch("1002")
            terminal.punch("1002")
            eventually(lambda number=number: len(office.pins()) == RECORDS + 4 + 2 * number)  # type: ignore[misc]  # a default binds the value
        for reader in readers:
            assert reader.request(full=True).result(60) is not None
        check(office, terminal)
        assert {one["data"]["serial"] for one in office.events("punch.recorded")} == {terminal.serial}
        assert office.events("confirmed") == []
        assert office.alarms == []
