"""The line that terminals share: opened once, lost and found again, fair, and closed to anything harmful."""

import os
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.anviz import wire
from drivers.anviz.simulator import Simulator
from drivers.anviz.terminal import DRIVER, connect
from drivers.anviz.transport import ALLOWED, CLEARABLE, Line, shared_line
from drivers.anviz.wire import Frame
from drivers.base import DriverError, TerminalRefused, TerminalUnavailable
from tests.drivers.anviz.lines import bus, new, next_events, only, options
from tests.drivers.anviz.vectors import MOMENT


def test_unplugged_and_plugged_in_again(simulator: Simulator) -> None:
    """The conversation ends, whatever it was doing; the next one finds everything as it was."""
    with connect(options(simulator.port)) as terminal:
        records = iter(new(terminal).records)
        next(records)
        simulator.unplug()
        with pytest.raises(TerminalUnavailable, match=r"lost|broke"):
            list(records)
    with pytest.raises(TerminalUnavailable, match="cannot be opened"), connect(options(simulator.port)):
        raise AssertionError("there is nothing to talk to")  # pragma: no cover

    simulator.plug()

    with connect(options(simulator.port)) as terminal:
        assert list(new(terminal).records) == only(simulator).records()


def test_a_conversation_does_not_outlive_its_line(simulator: Simulator) -> None:
    """Although the same port is there again: half a download must not go on with another terminal."""
    with connect(options(simulator.port)) as terminal:
        records = iter(new(terminal).records)
        next(records)
        simulator.unplug()
        simulator.plug()
        with pytest.raises(TerminalUnavailable):
            list(records)


def test_listening_ends_with_the_line(simulator: Simulator) -> None:
    """No caller waits for punches on a line that is gone."""
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


def test_a_machine_without_a_thread_left(pty: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is released, so that the next visit can open it."""

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(TerminalUnavailable, match="no thread left"), connect(options(pty.port)):
        raise AssertionError("nothing listens")  # pragma: no cover
    monkeypatch.undo()
    with connect(options(pty.port)) as terminal:
        assert terminal.serial()


def test_a_closed_address_is_unavailable() -> None:
    """The message states which."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TerminalUnavailable, match="cannot be opened"), connect(options(port)):
            raise AssertionError("not opened")  # pragma: no cover


def test_turnaround_is_kept(pty: Simulator) -> None:
    """A terminal on RS-485 is given time to turn round: no request is sent sooner after what was received last."""
    gaps: list[float] = []
    received = [0.0]
    usual = only(pty).answer

    def answer(request: wire.Frame) -> wire.Frame:
        gaps.append(time.monotonic() - received[0])
        return usual(request)

    def sent(_answer: wire.Frame) -> None:
        received[0] = time.monotonic()

    only(pty).answer = answer  # type: ignore[method-assign]
    pty.on_answer = sent
    with connect(options(pty.port, turnaround="80ms")) as terminal:
        for _ in range(4):
            terminal.sizes()

    assert all(gap >= 0.08 for gap in gaps[1:])


def test_several_terminals_on_one_line() -> None:
    """Each has its own conversation, at the same time: questions queue up, answers and punches find their terminal."""
    with bus(3, 7) as simulator, ExitStack() as stack:
        terminals = {
            number: stack.enter_context(connect(options(simulator.port, device_id=number))) for number in (3, 7)
        }
        read: dict[int, list[object]] = {3: [], 7: []}

        def work(number: int) -> None:
            for _ in range(3):
                read[number] = list(new(terminals[number]).records)

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

        def query() -> None:
            try:
                missing.sizes()
            except TerminalUnavailable as exc:
                failures.append(exc)

        thread = threading.Thread(target=query)
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
    """Only where nothing but a port is known, and only this request goes to all devices at once."""
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
    """Open a line on a pseudo terminal without a device; give its other end."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        with shared_line(os.ttyname(theirs), baudrate=9600, turnaround_s=0, timeout_s=1) as line:
            yield line, ours
    finally:
        os.close(ours)
        os.close(theirs)


def nothing_left(other_end: int) -> bool:
    """Return whether not a byte has come out of a line."""
    os.set_blocking(other_end, False)
    try:
        return not os.read(other_end, 100)
    except BlockingIOError:
        return True


def test_no_other_command_leaves() -> None:
    """An exception, and not a byte on the line."""
    with bare_line() as (line, other_end):
        for command in set(range(256)) - ALLOWED:
            with pytest.raises(RuntimeError, match="allow-list"):
                line.query(1, command, b"\x02\0\0\x01", 0.1)
        assert nothing_left(other_end)


def test_nothing_but_counted_marks_is_cleared() -> None:
    """Type 0 would delete every record, type 1 would forget unread punches."""
    assert {2} == CLEARABLE
    with bare_line() as (line, other_end):
        for data in (*(bytes((kind, 0, 0, 25)) for kind in range(256) if kind != 2), b"", b"\x02", b"\x02\0"):
            with pytest.raises(RuntimeError, match="nothing else may be cleared"):
                line.query(1, wire.CMD_CLEAR, data, 0.1)
        assert nothing_left(other_end)


def test_every_terminal_is_queried_for_its_number_only() -> None:
    """All would answer at once."""
    with bare_line() as (line, other_end):
        for command in ALLOWED - {wire.CMD_DEVICE_ID}:
            with pytest.raises(RuntimeError, match="number only"):
                line.query(wire.BROADCAST, command, b"\x02\0\0\x01", 0.1)
        assert nothing_left(other_end)


ANSWERS = st.lists(
    st.binary(max_size=60)
    | st.builds(
        lambda command, data, ret: Frame(1, command, data, ret).to_bytes(),
        st.sampled_from(sorted({*(command + wire.ANSWER for command in ALLOWED), 0xDF})),
        st.binary(max_size=30) | st.just(bytes(18)) | st.just(b"\x01" + bytes(14)),
        st.sampled_from([0, 0, 0, 5]),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(ANSWERS)
def test_whatever_answers(answers: list[bytes]) -> None:
    """Any bytes from the other side end as a value or as an error of the driver, within the time-outs."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)

    def answer() -> None:
        with suppress(OSError):
            for raw in answers:
                os.read(ours, 100)
                os.write(ours, raw)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        with connect(options(os.ttyname(theirs), timeout="30ms", bulk_timeout="30ms")) as terminal:
            terminal.identify()
            terminal.read_clock()
            sizes = terminal.sizes()
            reading = new(terminal)
            assert 0 <= reading.start <= reading.total
            assert sizes.records is not None
            list(reading.records)
            list(terminal.events(0.001))
    except DriverError as exc:
        assert str(exc)  # noqa: PT017 - either outcome is right
    finally:
        os.close(theirs)
        os.close(ours)
        thread.join()
