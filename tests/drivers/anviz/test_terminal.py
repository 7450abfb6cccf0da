"""The driver against simulated terminals on real lines: pseudo terminals and TCP."""

import os
import socket
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import date, datetime, timedelta

import pytest
import serial
from pydantic import ValidationError

from drivers.anviz import wire
from drivers.anviz.simulator import SimulatedTerminal, Simulator, history
from drivers.anviz.terminal import DRIVER, AnvizOptions, AnvizTerminal, connect
from drivers.anviz.transport import ALLOWED, CLEARABLE, Line, joined
from drivers.base import (
    Acknowledging,
    BadRecord,
    DriverError,
    Hint,
    Live,
    Logged,
    ProtocolError,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from tests.drivers.anviz.vectors import MOMENT, RECORD

EVENING = datetime(2026, 9, 4, 18, 0)  # noqa: DTZ001 - a terminal's wall clock


def options(port: str, **changes: object) -> AnvizOptions:
    """Return options with a short time-out and no turnaround."""
    usual = {"name": "gudang", "port": port, "turnaround": "0s", "timeout": "400ms", "bulk_timeout": "500ms"}
    return AnvizOptions.model_validate(usual | changes)


@pytest.fixture(params=["pty", "tcp:0"])
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Serve terminal 1 with 180 records on a pseudo terminal and on TCP."""
    terminal = SimulatedTerminal()
    terminal.append(*history(1, 180, EVENING))
    with Simulator(terminal, request.param) as simulator:
        yield simulator


@pytest.fixture
def pty() -> Iterator[Simulator]:
    """Serve terminal 1 with 180 records on a pseudo terminal."""
    terminal = SimulatedTerminal()
    terminal.append(*history(1, 180, EVENING))
    with Simulator(terminal) as simulator:
        yield simulator


def only(simulator: Simulator) -> SimulatedTerminal:
    """Return the only terminal of a line."""
    (terminal,) = simulator.terminals.values()
    return terminal


def test_who_answers(simulator: Simulator) -> None:
    """Serial, model and firmware, without the padding."""
    with connect(options(simulator.port)) as terminal:
        assert terminal.identify() == TerminalInfo("SIM0000000000001", "SIM-A300", "05.18.A1")
        assert isinstance(terminal, Logged)
        assert isinstance(terminal, Acknowledging)
        assert isinstance(terminal, Live)


def test_clock_and_its_round_trip(simulator: Simulator) -> None:
    """What the terminal shows."""
    only(simulator)._now = lambda: MOMENT
    with connect(options(simulator.port)) as terminal:
        reading = terminal.read_clock()

    assert reading is not None
    assert reading.local_time == MOMENT
    assert reading.round_trip_s > 0


def test_counts(simulator: Simulator) -> None:
    """All records, and those that are marked new."""
    only(simulator).unmark(150)
    with connect(options(simulator.port)) as terminal:
        sizes = terminal.sizes()

    assert (sizes.records, sizes.capacity, sizes.new) == (180, None, 30)


def test_whole_log_is_read(simulator: Simulator) -> None:
    """From its beginning, whatever was asked for, and as often as it is iterated with one download."""
    with connect(options(simulator.port)) as terminal:
        reading = terminal.read(100)
        records = list(reading.records)

        assert (reading.start, reading.total) == (0, 180)
        assert records == only(simulator).records()
        assert list(reading.records) == records
    assert only(simulator).questions[wire.CMD_RECORDS] == 8


def test_new_records_are_the_end_of_the_log(simulator: Simulator) -> None:
    """They say where they begin, and stay new until they are acknowledged."""
    only(simulator).unmark(150)
    with connect(options(simulator.port)) as terminal:
        reading = terminal.new()
        records = list(reading.records)

        assert (reading.start, reading.total) == (150, 180)
        assert records == only(simulator).records()[150:]
        assert only(simulator).marked == 30
        terminal.acknowledge(22)
        assert only(simulator).marked == 8
        assert only(simulator).count == 180
        assert only(simulator).acknowledged == [22]


def test_punches_made_during_a_download_are_not_in_it(simulator: Simulator) -> None:
    """A reading has as many records as were counted when it began; what comes meanwhile stays new."""
    terminal_ = only(simulator)
    with connect(options(simulator.port)) as terminal:
        reading = terminal.new()
        terminal_.punch("7", moment=EVENING)
        records = list(reading.records)
        terminal.acknowledge(180)

    assert len(records) == 180
    assert (terminal_.marked, terminal_.count) == (1, 181)


def test_no_more_is_acknowledged_than_was_handed_out(pty: Simulator) -> None:
    """A mistake above the driver ends as an exception, and not as a record that nobody asks for again."""
    with connect(options(pty.port)) as terminal:
        with pytest.raises(RuntimeError, match="1 records to acknowledge, 0 handed out"):
            terminal.acknowledge(1)
        records = iter(terminal.new().records)
        for _ in range(3):
            next(records)
        with pytest.raises(RuntimeError):
            terminal.acknowledge(4)
        with pytest.raises(RuntimeError):
            terminal.acknowledge(-1)
        terminal.acknowledge(3)
        with pytest.raises(RuntimeError):
            terminal.acknowledge(1)
        list(terminal.read().records)
        with pytest.raises(RuntimeError):
            terminal.acknowledge(1)
        terminal.acknowledge(0)

    assert only(pty).acknowledged == [3]


def test_a_reading_ends_when_another_begins(pty: Simulator) -> None:
    """The terminal would go on with the other one."""
    with connect(options(pty.port)) as terminal:
        first = terminal.read()
        records = iter(first.records)
        next(records)
        terminal.new()
        with pytest.raises(RuntimeError, match="another one has begun"):
            list(records)


def test_empty_log(simulator: Simulator) -> None:
    """Nothing is asked where nothing was counted."""
    only(simulator).clear()
    with connect(options(simulator.port)) as terminal:
        assert list(terminal.read().records) == []
        assert list(terminal.new().records) == []
    assert only(simulator).questions[wire.CMD_RECORDS] == 0


def test_bad_records_do_not_stop_the_others(simulator: Simulator) -> None:
    """Erased memory among punches."""
    terminal_ = only(simulator)
    terminal_.clear()
    terminal_.append(RECORD, b"\xff" * 14, RECORD)
    with connect(options(simulator.port)) as terminal:
        records = list(terminal.read().records)

    assert [type(record) is BadRecord for record in records] == [False, True, False]


def test_live_punches(simulator: Simulator) -> None:
    """They come as they happen, with the bytes that the log will hold."""
    terminal_ = only(simulator)
    with connect(options(simulator.port)) as terminal:
        terminal_.punch("1001", 1, 8, MOMENT, work_code=12)
        (event,) = next_events(terminal, 1)

        assert event == terminal_.records()[-1]
        assert list(terminal.events(0.01)) == []


def test_live_record_that_cannot_be_read_hastens_the_reading(simulator: Simulator) -> None:
    """The log will tell."""
    with connect(options(simulator.port)) as terminal:
        only(simulator).on_punch(wire.Frame(1, 0xDF, bytes(14)))

        (event,) = next_events(terminal, 1)

    assert isinstance(event, Hint)


def next_events(terminal: AnvizTerminal, count: int) -> list[object]:
    """Wait for so many live punches."""
    found: list[object] = []
    until = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < until, found
        found += terminal.events(0.05)
    return found


def test_live_punches_between_question_and_answer(simulator: Simulator) -> None:
    """DF frames in front of answers are kept, and the answers are what they would have been."""
    simulator.faults.between = True
    terminal_ = only(simulator)
    with connect(options(simulator.port)) as terminal:
        for index in range(5):
            terminal_.punch(str(index + 1), moment=MOMENT)
            sizes = terminal.sizes()
            assert sizes.records == 181 + index
        events = next_events(terminal, 5)

    assert events == terminal_.records()[-5:]


# --- what goes wrong on the line ---


@pytest.mark.parametrize("fault", ["crc", "half", "collision", "noise"])
def test_damaged_answers_are_asked_for_again(pty: Simulator, fault: str) -> None:
    """A small question once more, a batch of records by its own command: none skipped, none twice."""
    with connect(options(pty.port)) as terminal:
        for when in (0, 1, 7):
            reading = terminal.read()
            records = iter(reading.records)
            got = [next(records) for _ in range(25 * when)]
            setattr(pty.faults, fault, 1)
            got += records
            assert got == only(pty).records(), f"batch {when}"
        setattr(pty.faults, fault, 2)
        assert terminal.sizes().records == 180


def test_a_question_that_was_lost_is_not_answered_by_old_records(pty: Simulator) -> None:
    """Where RESEND brings what came before, it was the question that got lost, and it is asked again."""
    with connect(options(pty.port)) as terminal:
        records = iter(terminal.read().records)
        got = [next(records) for _ in range(25)]
        pty.faults.silent = 1
        noise = threading.Timer(0.1, lambda: pty._send(b"\0noise\0"))
        noise.start()
        got += records
        noise.join()

    assert got == only(pty).records()


def test_damage_that_does_not_end_is_reported(pty: Simulator) -> None:
    """Three times are enough; the capture shows what came."""
    pty.faults.crc = 100
    with pytest.raises(TerminalUnavailable, match="damaged") as caught, connect(options(pty.port)) as terminal:
        terminal.sizes()

    assert caught.value.capture is not None
    assert caught.value.capture.count("> a5 00 00 00 01 3c") == 3


def test_silence_is_reported(pty: Simulator) -> None:
    """Asked once: a late answer to the first question would pass for one to the second."""
    pty.faults.silent = 1
    with connect(options(pty.port)) as terminal:
        with pytest.raises(TerminalUnavailable, match=r"device 1 does not answer within 0.4 s"):
            terminal.sizes()
        assert terminal.sizes().records == 180


def test_lost_answer_to_an_acknowledgement_is_not_asked_again(pty: Simulator) -> None:
    """The marks may be gone; taking as many once more would take those of unread records."""
    with connect(options(pty.port)) as terminal:
        list(terminal.new().records)
        pty.faults.crc = 1
        with pytest.raises(TerminalUnavailable):
            terminal.acknowledge(100)

    assert only(pty).acknowledged == [100]
    assert only(pty).marked == 80


def test_echo_of_two_wires_is_no_answer(pty: Simulator) -> None:
    """What was said comes back in front of the answer."""
    pty.faults.echo = True
    with connect(options(pty.port)) as terminal:
        assert list(terminal.read().records) == only(pty).records()


def test_slow_terminal(pty: Simulator) -> None:
    """A second and more for an answer, within the time-out."""
    pty.faults.slow = 1.2
    with connect(options(pty.port, timeout="10s")) as terminal:
        assert terminal.sizes().records == 180


def test_slow_line(pty: Simulator) -> None:
    """Bytes that trickle in at 9600 baud make the same records."""
    pty.baudrate = 9600
    with connect(options(pty.port, timeout="5s", bulk_timeout="10s")) as terminal:
        only(pty).unmark(150)
        assert list(terminal.new().records) == only(pty).records()[150:]


def test_terminal_that_restarts_in_a_download(pty: Simulator) -> None:
    """What it sends then is not taken for what should follow."""
    terminal_ = only(pty)
    with connect(options(pty.port)) as terminal:
        records = iter(terminal.read().records)
        got = [next(records) for _ in range(50)]
        terminal_._download = deque(terminal_._log)
        with pytest.raises(TerminalUnavailable, match="again"):
            list(records)

    assert got == terminal_.records()[:50]


def test_log_that_shrinks_in_a_download(pty: Simulator) -> None:
    """Fewer records than were counted are an error, not a log that ends."""
    with connect(options(pty.port)) as terminal:
        records = iter(terminal.read().records)
        next(records)
        only(pty).restart()
        with pytest.raises(ProtocolError, match="counts 180 records and sends 25"):
            list(records)


def test_error_codes(pty: Simulator) -> None:
    """A terminal without a serial number has none; one that cannot count its records says so."""
    terminal_ = only(pty)
    terminal_._data = lambda _question: None  # type: ignore[method-assign,assignment]
    with connect(options(pty.port)) as terminal:
        assert terminal.serial() == ""
        assert terminal.identify() == TerminalInfo("", None, None)
        with pytest.raises(ProtocolError, match="'failure' to command 0x3c"):
            terminal.sizes()


@pytest.mark.parametrize(
    ("command", "data"),
    [(wire.CMD_RECORD_INFO, bytes(17)), (wire.CMD_RECORDS, b"\x02" + RECORD), (wire.CMD_CLOCK, b"")],
)
def test_answers_that_make_no_sense(pty: Simulator, command: int, data: bytes) -> None:
    """A right frame with wrong content breaks the protocol."""
    terminal_ = only(pty)
    usual = terminal_._data
    terminal_._data = lambda question: data if question.command == command else usual(question)  # type: ignore[method-assign]

    def ask(terminal: AnvizTerminal) -> None:
        terminal.read_clock()
        list(terminal.read().records)

    with connect(options(pty.port)) as terminal, pytest.raises(ProtocolError, match="could not be understood"):
        ask(terminal)


# --- the line itself ---


def test_unplugged_and_plugged_in_again(simulator: Simulator) -> None:
    """The conversation ends, whatever it was doing; the next one finds everything as it was."""
    with connect(options(simulator.port)) as terminal:
        records = iter(terminal.new().records)
        next(records)
        simulator.unplug()
        with pytest.raises(TerminalUnavailable, match=r"lost|broke"):
            list(records)
    with pytest.raises(TerminalUnavailable, match="cannot be opened"), connect(options(simulator.port)):
        raise AssertionError("there is nothing to talk to")  # pragma: no cover

    simulator.plug()

    with connect(options(simulator.port)) as terminal:
        assert list(terminal.new().records) == only(simulator).records()


def test_a_conversation_does_not_outlive_its_line(simulator: Simulator) -> None:
    """Although the same port is there again: half a download must not go on with another terminal."""
    with connect(options(simulator.port)) as terminal:
        records = iter(terminal.new().records)
        next(records)
        simulator.unplug()
        simulator.plug()
        with pytest.raises(TerminalUnavailable):
            list(records)


def test_listening_ends_with_the_line(simulator: Simulator) -> None:
    """Nobody waits for punches on a line that is gone."""
    threading.Timer(0.1, simulator.unplug).start()
    with pytest.raises(TerminalUnavailable, match="lost"), connect(options(simulator.port)) as terminal:
        list(terminal.events(30))


def test_another_program_that_holds_the_port(pty: Simulator) -> None:
    """Two readers would take each other's bytes: the port is refused in words."""
    with (
        closing(serial.Serial(pty.port, exclusive=True)),
        pytest.raises(TerminalUnavailable, match="another program uses it"),
        connect(options(pty.port)),
    ):
        raise AssertionError("not opened")  # pragma: no cover


def test_nobody_listens_at_the_address() -> None:
    """The message says which."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TerminalUnavailable, match="cannot be opened"), connect(options(port)):
            raise AssertionError("not opened")  # pragma: no cover


def test_turnaround_is_kept(pty: Simulator) -> None:
    """A terminal on RS-485 is given time to turn round: no question comes sooner after what was heard last."""
    gaps: list[float] = []
    heard = [0.0]
    usual = only(pty).answer

    def answer(question: wire.Frame) -> wire.Frame:
        gaps.append(time.monotonic() - heard[0])
        return usual(question)

    def sent(_answer: wire.Frame) -> None:
        heard[0] = time.monotonic()

    only(pty).answer = answer  # type: ignore[method-assign]
    pty.on_answer = sent
    with connect(options(pty.port, turnaround="80ms")) as terminal:
        for _ in range(4):
            terminal.sizes()

    assert all(gap >= 0.08 for gap in gaps[1:])


@contextmanager
def bus(*device_ids: int) -> Iterator[Simulator]:
    """Serve several terminals on one line, with 60 records each."""
    terminals = [SimulatedTerminal(device_id=number, serial=f"SIM{number}") for number in device_ids]
    for terminal in terminals:
        terminal.append(*history(terminal.device_id, 60, EVENING))
    with Simulator(terminals) as simulator:
        yield simulator


def test_several_terminals_on_one_line() -> None:
    """Each has its own conversation, at the same time: questions queue up, answers and punches find their terminal."""
    with bus(3, 7) as simulator, ExitStack() as stack:
        terminals = {
            number: stack.enter_context(connect(options(simulator.port, device_id=number))) for number in (3, 7)
        }
        read: dict[int, list[object]] = {3: [], 7: []}

        def work(number: int) -> None:
            for _ in range(3):
                read[number] = list(terminals[number].new().records)

        threads = [threading.Thread(target=work, args=(number,)) for number in terminals]
        for thread in threads:
            thread.start()
        simulator.terminals[7].punch("77", moment=MOMENT)
        for thread in threads:
            thread.join()

        assert read[3] == simulator.terminals[3].records()
        assert read[7] == simulator.terminals[7].records()[: len(read[7])]
        assert next_events(terminals[7], 1) == simulator.terminals[7].records()[-1:]
        assert list(terminals[3].events(0.01)) == []


def test_a_silent_terminal_does_not_stop_its_neighbour() -> None:
    """The neighbour waits for the time-out and is served."""
    with (
        bus(3) as simulator,
        connect(options(simulator.port, device_id=9)) as missing,
        connect(options(simulator.port, device_id=3)) as present,
    ):
        failures: list[DriverError] = []

        def ask() -> None:
            try:
                missing.sizes()
            except TerminalUnavailable as exc:
                failures.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        assert present.sizes().records == 60
        thread.join()

    assert "device 9 does not answer" in str(failures[0])


def test_a_line_has_one_speed_and_each_terminal_its_number() -> None:
    """Two entries of a configuration that contradict each other are refused in words."""
    with bus(3) as simulator, connect(options(simulator.port, device_id=3)) as first:
        with pytest.raises(TerminalRefused, match="9600 and at 19200 baud"):
            connect(options(simulator.port, device_id=4, baudrate=19200)).__enter__()
        with pytest.raises(TerminalRefused, match="device_id 3"):
            connect(options(simulator.port, device_id=3)).__enter__()
        assert first.sizes().records == 60


def test_one_line_under_two_names(pty: Simulator) -> None:
    """A link such as those of /dev/serial/by-id is the port that it points to."""
    with (
        connect(options(pty.port)) as one,
        connect(options(os.path.realpath(pty.port), device_id=2)),
    ):
        assert one.sizes().records == 180


def test_an_unknown_terminal_tells_its_number(pty: Simulator) -> None:
    """Only where somebody has nothing but a port, and only that is asked of all devices at once."""
    only(pty).device_id = 4711
    pty.terminals = {4711: only(pty)}
    with connect(DRIVER.at(pty.port)) as terminal:  # type: ignore[misc,arg-type]  # the driver of this file has one
        assert terminal.sizes().records == 180


def test_several_unknown_terminals_spoil_each_others_answer() -> None:
    """Then a person must say which one is meant."""
    with bus(0x01010101, 0xFEFEFEFE) as simulator, pytest.raises(TerminalRefused, match="several terminals"):
        connect(DRIVER.at(simulator.port).model_copy(update={"timeout": 0.4})).__enter__()  # type: ignore[misc,arg-type]


# --- what may leave ---


@contextmanager
def bare_line() -> Iterator[tuple[Line, int]]:
    """Open a line on a pseudo terminal that nobody answers on; give its other end."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        with joined(os.ttyname(theirs), baudrate=9600, turnaround_s=0, timeout_s=1) as line:
            yield line, ours
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("command", sorted(set(range(256)) - ALLOWED))
def test_no_other_command_leaves(command: int) -> None:
    """An exception, and not a byte on the line."""
    with bare_line() as (line, other_end):
        with pytest.raises(RuntimeError, match="allow-list"):
            line.ask(1, command, b"\x02\0\0\x01", 0.1)
        os.set_blocking(other_end, False)
        with pytest.raises(BlockingIOError):
            os.read(other_end, 100)


@pytest.mark.parametrize(
    "data", [bytes((kind, 0, 0, 25)) for kind in range(256) if kind != 2] + [b"", b"\x02", b"\x02\0"]
)
def test_nothing_but_counted_marks_is_cleared(data: bytes) -> None:
    """Type 0 would delete every record, type 1 would forget punches that nobody has read."""
    assert {2} == CLEARABLE
    with bare_line() as (line, other_end):
        with pytest.raises(RuntimeError, match="nothing else may be cleared"):
            line.ask(1, wire.CMD_CLEAR, data, 0.1)
        os.set_blocking(other_end, False)
        with pytest.raises(BlockingIOError):
            os.read(other_end, 100)


@pytest.mark.parametrize("command", sorted(ALLOWED - {wire.CMD_DEVICE_ID}))
def test_everybody_is_asked_for_the_number_only(command: int) -> None:
    """All would answer at once."""
    with bare_line() as (line, _), pytest.raises(RuntimeError, match="number only"):
        line.ask(wire.BROADCAST, command, b"\x02\0\0\x01", 0.1)


# --- options ---


@pytest.mark.parametrize(
    ("port", "told"),
    [
        ("192.168.1.218", "not a port"),
        ("COM3", "not a port"),
        ("tcp://", "not a port"),
        ("tcp://host:0", "not a port"),
        ("tcp://host:x", "not a port"),
        ("tcp://a b", "not a port"),
    ],
)
def test_what_is_no_port(port: str, told: str) -> None:
    """It is said what would be right."""
    with pytest.raises(ValidationError, match=told):
        options(port)


@pytest.mark.parametrize(
    "changes",
    [{"device_id": 0}, {"device_id": 2**32}, {"baudrate": 9601}, {"turnaround": "6s"}, {"epoch": "soon"}],
)
def test_what_is_no_option(changes: dict[str, object]) -> None:
    """Device number 0 means everybody, so no terminal has it."""
    with pytest.raises(ValidationError):
        options("/dev/ttyUSB0", **changes)


def test_defaults() -> None:
    """What an entry means that names a port and nothing else."""
    usual = AnvizOptions.model_validate({"name": "gudang", "port": "/dev/ttyUSB0"})

    assert (usual.baudrate, usual.device_id, usual.epoch, usual.turnaround) == (9600, 1, date(2000, 1, 2), 0.2)
    assert usual.timeout <= usual.bulk_timeout
    assert timedelta(seconds=usual.turnaround) == timedelta(milliseconds=200)
