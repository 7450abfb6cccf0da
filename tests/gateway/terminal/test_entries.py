"""One terminal with two entries, whose drivers differ: one for identity, alarms and the watermark."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from drivers.base import RawPunch, Reason, Record, TerminalUnavailable
from drivers.line.simulator import PATTERN
from gateway import event
from gateway.pause import Pause
from gateway.terminal.worker import Worker
from tests.broker import eventually
from tests.gateway.office import Office, polled
from tests.gateway.scripted import Script, record
from tests.gateway.terminal.test_deliveries import Source, Yielded

SERIAL = "SCRIPTED-1"
MORNING = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
LOG: list[Record] = [
    *(record(1001 + number, MORNING + timedelta(seconds=number // 2)) for number in range(40)),
    record(1001, MORNING, state=1),
    record(1001, MORNING, state=4),
]


class Caller(Source):
    """The same terminal, which calls; ``failure`` lasts while it is set."""

    def serial(self) -> str:
        """Return the serial number of the scripted terminal."""
        return SERIAL

    def deliveries(self, timeout_s: float) -> Yielded:
        """Deliver what is kept, or be away."""
        if self.failure is not None:
            raise self.failure
        yield from super().deliveries(timeout_s)


@contextmanager
def opened(folder: Path) -> Iterator[Office]:
    """Open an office."""
    with Office.opened(folder, Pause(0.02, 0.05), entry={}) as office:
        yield office


def read(office: Office, script: Script) -> Worker:
    """Visit the terminal's log; its serial number is not configured."""
    office.entry, office.driver = {"name": "gate", "driver": "zkteco", "address": "127.0.0.1"}, script.driver()
    return office.visit(poll="30ms", live=False)


def take_calls(office: Office, source: Source, **changes: object) -> Worker:
    """Wait for the terminal's calls."""
    office.entry, office.driver = {"driver": "line", "port": "/dev/ttyS9", "pattern": PATTERN}, source.driver()
    return office.visit(**{"name": "gate-calls", "serial": SERIAL, "poll": "30ms"} | changes)


@pytest.mark.parametrize("order", ["log first", "calls first", "together"])
def test_the_same_punches_in_two_ways_are_one_event_each(tmp_path: Path, order: str) -> None:
    """Whichever way brings them first; the position is that of the log, where the log was first."""
    source, script = Caller(list(LOG), together=True, via="push"), Script(log=list(LOG))
    with opened(tmp_path) as office:
        if order == "calls first":
            take_calls(office, source)
            eventually(lambda: not source.kept)
        reader = read(office, script)
        if order != "together":
            polled(reader)
        if order != "calls first":
            take_calls(office, source)
            eventually(lambda: not source.kept)
        polled(reader, 2)
        assert reader.state.online
        data = [stored["data"] for stored in office.events("punch.recorded")]
        assert {one["serial"] for one in data} == {SERIAL}
        assert {one["via"]: one["position"] for one in data if one["pin"] == "1001"} == {
            "log first": {"log": 41},
            "calls first": {"push": None},
        }.get(order, {one["via"]: one["position"] for one in data if one["pin"] == "1001"})
        found = {(one["pin"], one["local_time"], one["state"]) for one in data}
        assert found == {(one.pin, one.local_time.isoformat(), one.state) for one in LOG if isinstance(one, RawPunch)}
        assert len(data) == len(LOG)
        expected = {
            str(event.punch_id(SERIAL, one["pin"], datetime.fromisoformat(one["local_time"]), one["occurrence"]))
            for one in data
        }
        assert {stored["id"] for stored in office.events("punch.recorded")} == expected
        assert office.events("confirmed") == []


def test_the_watermark_is_that_of_the_terminal(tmp_path: Path) -> None:
    """What the log proves is published with the state of both entries, and never goes back."""
    with opened(tmp_path) as office:
        caller = take_calls(office, Caller())
        eventually(lambda: caller.state.online)
        reader = read(office, Script(log=list(LOG)))
        eventually(lambda: reader.state.complete is not None)
        eventually(lambda: caller.state.complete is not None)
        assert caller.state.serial == reader.state.serial == SERIAL


def test_a_terminal_that_is_reached_in_one_way_is_not_lost(tmp_path: Path) -> None:
    """One alarm where the last way fails, and one where the first works again; the states show each way."""
    source, script = Caller(), Script(log=list(LOG))
    with opened(tmp_path) as office:
        caller, reader = take_calls(office, source), read(office, script)
        eventually(lambda: caller.state.online and reader.state.online)
        source.failure = TerminalUnavailable("no call")
        eventually(lambda: not caller.state.online)
        assert office.alarms == []
        script.silence = TerminalUnavailable("no answer")
        eventually(lambda: office.alarms == ["terminal_lost"])
        source.failure = None
        eventually(lambda: office.alarms == ["terminal_lost", "terminal_found"])
        script.silence = None
        eventually(lambda: reader.state.online)
        polled(reader, 2)
        assert office.alarms == ["terminal_lost", "terminal_found"]
        lost = [(one["data"]["terminal"]) for one in office.events("terminal.lost")]
        assert lost == ["gate-calls", "gate"]


def test_two_entries_with_one_driver_are_refused(tmp_path: Path) -> None:
    """The second learns the serial number of the first: that is a terminal that was renamed or moved."""
    with opened(tmp_path) as office:
        read(office, Script(log=list(LOG)))
        eventually(lambda: office.ledger.terminal("gate") is not None)
        office.entry = {"name": "other", "driver": "zkteco", "address": "127.0.0.2"}
        other = office.visit(poll="30ms", live=False)
        eventually(lambda: other.state.reason_code is Reason.SERIAL_TWICE)
