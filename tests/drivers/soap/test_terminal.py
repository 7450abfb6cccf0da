"""Visits to terminals with a web service: the simulator of both dialects, and servers that answer otherwise."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from drivers.base import (
    BadRecord,
    DriverError,
    Live,
    Logged,
    ProtocolError,
    RawPunch,
    Reading,
    Reason,
    Record,
    SettableClock,
    Sizes,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.soap import DRIVER, service
from drivers.soap.simulator import FIRMWARES, Firmware, Simulator
from drivers.soap.terminal import SoapOptions, SoapTerminal
from drivers.zkteco.simulator import build
from tests.drivers.soap.answers import CLOSING, HEAD, NO_DATA, OPENING, answer, row, serving

NOON = datetime(2026, 11, 30, 12)  # noqa: DTZ001 - a terminal's wall clock
RECORDS = 60


@pytest.fixture(params=FIRMWARES)
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Serve a terminal of each dialect with both ports."""
    with Simulator(build(records=RECORDS, now=lambda: NOON), firmware=request.param) as simulator:
        yield simulator


@contextmanager
def shut(firmware: Firmware = "old", records: int = RECORDS, comm_key: int = 0) -> Iterator[Simulator]:
    """Serve a terminal whose port 4370 is shut."""
    terminal = build(records=records, comm_key=comm_key, now=lambda: NOON)
    with Simulator(terminal, port=None, firmware=firmware) as made:
        yield made


def options(simulator: Simulator | int, **entry: Any) -> SoapOptions:
    """Return options that reach a simulator, or a port with nothing else beside it."""
    usual: dict[str, Any] = {"name": "aula", "timeout": "2s", "bulk_timeout": "2s"}
    if isinstance(simulator, int):
        usual |= {"address": "127.0.0.1:9", "web_port": simulator, "serial": "SYN0000000001"}
    elif simulator.port_4370 is None:
        usual |= {"address": "127.0.0.1:9", "web_port": simulator.web.port, "serial": simulator.terminal.serial}
    else:
        usual |= {"address": simulator.address, "web_port": simulator.web.port}
    return SoapOptions.model_validate(usual | entry)


def read(found: SoapOptions) -> tuple[Reading, list[Record]]:
    """Read a log."""
    with DRIVER.connect(found) as terminal:
        assert isinstance(terminal, Logged)
        terminal.sizes()
        reading = terminal.read(7, "40")
        return reading, list(reading.records)


def refusal(found: SoapOptions) -> DriverError:
    """Return the error that a reading ends with."""
    with pytest.raises(DriverError) as caught:
        read(found)
    return caught.value


def test_port_4370_answers_what_is_small_and_the_web_service_the_log(simulator: Simulator) -> None:
    """Serial number, clock and count; the log of both is the same; punches as they happen, also after a reading."""
    terminal = simulator.terminal
    with DRIVER.connect(options(simulator)) as visited:
        assert isinstance(visited, Logged)
        assert isinstance(visited, Live)
        assert visited.serial() == terminal.serial
        assert visited.identify() == TerminalInfo(terminal.serial, terminal.model, terminal.firmware, terminal.platform)
        assert (clock := visited.read_clock()) is not None
        assert clock.local_time == NOON
        assert visited.sizes() == Sizes(RECORDS, terminal.capacity)
        list(visited.events(0.01))
        reading = visited.read(7, "40")
        assert terminal.conversations == 0
        assert (reading.start, reading.total, reading.layout, reading.whole_only) == (0, RECORDS, "soap", True)
        punches = [record for record in reading.records if isinstance(record, RawPunch)]
        assert [tuple(punch)[:5] for punch in punches] == [tuple(record)[:5] for record in terminal.records()]
        assert list(reading.records) == punches
        assert b"Name" not in punches[0].raw
        list(visited.events(0.01))
        moment = terminal.punch("1001")
        event = next(event for _ in range(1000) for event in visited.events(0.05))
        assert isinstance(event, RawPunch)
        assert (event.pin, event.local_time) == ("1001", moment)
    assert terminal.conversations == 0
    assert set(simulator.web.methods) == {"GetAttLog"}


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_the_web_service_alone(firmware: Firmware) -> None:
    """Its clock, its log, no count and no live events; the serial number is that of the configuration."""
    with shut(firmware) as simulator:
        with DRIVER.connect(options(simulator)) as visited:
            assert isinstance(visited, Logged)
            assert not isinstance(visited, Live)
            assert visited.serial() == simulator.terminal.serial
            assert visited.identify() == TerminalInfo(simulator.terminal.serial, None, None)
            assert (clock := visited.read_clock()) is not None
            assert clock.local_time == NOON
            assert visited.sizes() == Sizes(None, None)
            assert len(list(visited.read().records)) == RECORDS
        assert simulator.web.methods == {"GetDate": 1, "GetAttLog": 1}
        assert simulator.web.refused_writes == []


def test_an_empty_log() -> None:
    """Reported by the service, and by the count where there is one: no record, and no error."""
    empty = build(records=0, now=lambda: NOON)
    with Simulator(empty) as simulator:
        reading, records = read(options(simulator))
        assert (reading.total, records) == (0, [])
    with shut(records=0) as simulator:
        assert read(options(simulator))[1] == []


def test_a_wrong_key_is_no_empty_log(tmp_path: Path) -> None:
    """Without rows although the terminal counts some, or without the words that an empty log has."""
    key = tmp_path / "key"
    key.write_text("8050")
    key.chmod(0o600)
    with Simulator(build(records=812, now=lambda: NOON)) as simulator:
        for body in (OPENING + NO_DATA + CLOSING, OPENING + CLOSING):
            with serving(HEAD + body) as (port, _):
                error = refusal(options(simulator, web_port=port))
                assert (type(error), error.reason) == (TerminalRefused, Reason.KEY_REFUSED)
                assert "812" in str(error)
                assert "comm_key_file" in str(error)
    with shut(comm_key=8050) as simulator:
        assert refusal(options(simulator)).reason is Reason.KEY_REFUSED
        assert len(read(options(simulator, comm_key_file=key))[1]) == RECORDS
    with Simulator(build(records=3, comm_key=8050, now=lambda: NOON)) as simulator:
        assert refusal(options(simulator)).reason is Reason.KEY_REFUSED
        assert simulator.web.methods == {}
        assert len(read(options(simulator, comm_key_file=key))[1]) == 3
    for body in (b"Fail!\r\n", OPENING + b"<Row><Information>Fail!</Information></Row>" + CLOSING):
        with serving(HEAD + body) as (port, _):
            assert refusal(options(port)).reason is Reason.KEY_REFUSED


def test_an_answer_without_its_end_is_no_log(simulator: Simulator) -> None:
    """Cut anywhere, or never sent: the same visit a moment later reads everything."""
    for fault in ("cut", "hang-up", "busy", "blank"):
        simulator.web.faults.switch(fault)
        assert type(refusal(options(simulator))) is TerminalUnavailable
        assert len(read(options(simulator))[1]) == RECORDS
    body = answer(*repeat(row("7", NOON), 3))
    for at in (0, 1, len(OPENING), len(body) - len(CLOSING), len(body) - 3):
        with serving(HEAD + body[:at]) as (port, _):
            assert type(refusal(options(port))) is TerminalUnavailable


def test_fewer_rows_than_the_terminal_counts(simulator: Simulator) -> None:
    """A second count decides: a log that was cleared meanwhile is one, a part of it is none."""
    with serving(HEAD + answer(*repeat(row("7", NOON), RECORDS - 10))) as (port, _):
        error = refusal(options(simulator, web_port=port))
        assert (type(error), error.reason) == (TerminalRefused, Reason.LOG_CUT)
        with DRIVER.connect(options(simulator, web_port=port)) as visited:
            assert isinstance(visited, Logged)
            visited.sizes()
            simulator.terminal.purge(10)
            assert visited.read().total == RECORDS - 10


def test_a_punch_between_count_and_reading(simulator: Simulator) -> None:
    """It is read with the others; the next count is that of the log."""
    with DRIVER.connect(options(simulator)) as visited:
        assert isinstance(visited, Logged)
        assert visited.sizes().records == RECORDS
        simulator.terminal.punch("1001")
        assert visited.read().total == RECORDS + 1
        assert visited.sizes().records == RECORDS + 1


@pytest.mark.parametrize("fault", ["no-service", "web-page", "redirect"])
def test_a_web_server_without_the_service(simulator: Simulator, fault: str) -> None:
    """Refused with its reason; no storm of protocol errors."""
    simulator.web.faults.switch(fault)
    error = refusal(options(simulator))
    assert (type(error), error.reason) == (TerminalRefused, Reason.SERVICE_MISSING)
    assert "driver: push" in str(error)


def test_a_closed_web_port(simulator: Simulator) -> None:
    """There is no service where the terminal answers otherwise; else it may only be restarting."""
    assert refusal(options(simulator, web_port=9)).reason is Reason.SERVICE_MISSING
    alone = refusal(options(9))
    assert (type(alone), alone.reason) == (TerminalUnavailable, Reason.PORT_CLOSED)


def test_the_serial_number_is_needed() -> None:
    """Where port 4370 is shut, and the service answers, a person has to write it."""
    with shut() as simulator:
        error = refusal(options(simulator, serial=None))
        assert (type(error), error.reason) == (TerminalRefused, Reason.SERIAL_UNREPORTED)
    assert refusal(options(9, serial=None)).reason is Reason.PORT_CLOSED


def test_the_clock_is_set_only_on_request(simulator: Simulator) -> None:
    """Over port 4370, or by SetDate where that is shut."""
    moment = datetime(2026, 11, 30, 12, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
    with DRIVER.connect(options(simulator)) as visited:
        assert isinstance(visited, SettableClock)
        visited.set_clock(moment)
    assert simulator.terminal.clock() == moment
    with shut() as other, DRIVER.connect(options(other)) as visited:
        assert isinstance(visited, SettableClock)
        visited.set_clock(moment)
        assert other.terminal.clock() == moment
        assert other.web.methods == {"SetDate": 1}
        assert isinstance(visited, SoapTerminal)
        with pytest.raises(RuntimeError, match="allow-list"):
            visited._service._exchange("SetDate", lambda *_: None, 100)


@pytest.mark.parametrize(("fault", "limit"), [("slow=100ms", "1s"), ("silent", "1s"), ("endless", "60s")])
def test_an_answer_without_end_is_left_in_time(
    simulator: Simulator, fault: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte now and then, nothing behind the head, rows for ever: an error, and other terminals are not affected."""
    monkeypatch.setattr(service, "LOG_BYTES", 4 * 1024 * 1024)
    simulator.web.faults.switch(fault)
    errors: list[DriverError] = []
    thread = threading.Thread(target=lambda: errors.append(refusal(options(simulator, bulk_timeout=limit))))
    thread.start()
    with shut() as other:
        assert len(read(options(other))[1]) == RECORDS
    thread.join(120)
    expected = ProtocolError if fault == "endless" else TerminalUnavailable
    assert [type(error) for error in errors] == [expected]


def test_a_chunk_of_a_log_has_a_time_limit_and_the_whole_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes longer than its time limit is read while each part of it arrives within that."""
    monkeypatch.setattr(service, "CHUNK", 1000)
    parts = [row("7", NOON) * 10] * 12

    def slowly() -> Iterator[bytes]:
        yield HEAD + OPENING
        for part in parts:
            time.sleep(0.3)
            yield part
        yield CLOSING

    with serving(slowly()) as (port, _):
        begun_s = time.monotonic()
        assert read(options(port, bulk_timeout="3s"))[0].total == 120
        assert time.monotonic() - begun_s > 3


def test_odd_rows_cost_themselves(simulator: Simulator) -> None:
    """Without a person, of no day, broken, with NUL, 10 MB long: in their places, and all punches beside them."""
    for fault in ("odd-rows", "long-row", "wrong-length"):
        simulator.web.faults.switch(fault)
    _, records = read(options(simulator))
    assert [isinstance(record, BadRecord) for record in records] == [True] * 6 + [False] * RECORDS
    long = records[5]
    assert isinstance(long, BadRecord)
    assert long.size is not None
    assert long.size > 10 * 1024 * 1024


def test_only_the_expected_requests_leave() -> None:
    """Byte for byte those of the vendor's clients, one on each connection."""
    clock = b"<GetDateResponse><Row><Date>2026-11-30</Date><Time>12:00:00</Time></Row></GetDateResponse>"
    prepared = HEAD + clock, HEAD + answer(row("7", NOON))
    with serving(*prepared) as (port, requests), DRIVER.connect(options(port)) as visited:
        assert isinstance(visited, Logged)
        visited.read_clock()
        visited.read()
    key = b'<ArgComKey xsi:type="xsd:integer">0</ArgComKey>'
    everything = b'<Arg><PIN xsi:type="xsd:integer">All</PIN></Arg>'
    bodies = [b"<GetDate>%b</GetDate>" % key, b"<GetAttLog>%b%b</GetAttLog>" % (key, everything)]
    assert requests == [
        b"POST /iWsService HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for body in bodies
    ]


def test_errors_have_a_capture_without_persons() -> None:
    """The method and the head; of the key and the rows nothing."""
    with serving(HEAD + answer(row("1234567", NOON), closing=b"")) as (port, _):
        error = refusal(options(port))
    assert error.capture is not None
    assert "GetAttLog" in error.capture
    assert b"1234567".hex(" ") not in error.capture
    assert HEAD[:15].hex(" ") in error.capture


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"address": "http://192.168.1.205/"}, "web page"),
        ({"address": "192.168.1.205", "web_port": 0}, "greater than or equal to 1"),
        ({"address": "192.168.1.205", "web_port": "80"}, "integer"),
        ({"address": "192.168.1.205", "port": 80}, "extra"),
    ],
)
def test_options(entry: dict[str, Any], words: str) -> None:
    """Mistakes are named."""
    with pytest.raises(ValueError, match=words):
        SoapOptions.model_validate({"name": "aula"} | entry)


def test_places_differ_from_those_of_the_other_driver() -> None:
    """The same address may be read in both ways."""
    found = SoapOptions.model_validate({"name": "aula", "address": "192.168.1.205", "web_port": 8080})
    assert found.place() == "192.168.1.205:8080/iWsService"


def test_the_console_of_the_simulator(simulator: Simulator) -> None:
    """It makes punches, and switches faults."""
    assert "punched" in simulator.control("punch 1001")
    assert "is 2" in simulator.control("fault cut=2")
    assert "* cut" in simulator.control("faults")
    assert "no fault" in simulator.control("fault nonsense")
    assert f"{RECORDS + 1} records" in simulator.control("status")
