"""The driver's conversation with simulated terminals on real lines: pseudo terminals and TCP."""

import threading
from collections import deque
from contextlib import closing
from datetime import date, timedelta

import pytest
from pydantic import ValidationError

from drivers.anviz import wire
from drivers.anviz.simulator import Simulator
from drivers.anviz.terminal import AnvizOptions, AnvizTerminal, connect
from drivers.base import (
    OVERLAP,
    BadRecord,
    Delivering,
    Hint,
    Live,
    Logged,
    ProtocolError,
    Settlement,
    TerminalInfo,
    TerminalUnavailable,
)
from tests.drivers.anviz.lines import EVENING, new, next_events, only, options, settle_new
from tests.drivers.anviz.vectors import MOMENT, RECORD


def test_who_answers(simulator: Simulator) -> None:
    """Serial, model and firmware, without the padding."""
    with connect(options(simulator.port)) as terminal:
        assert terminal.identify() == TerminalInfo("SIM0000000000001", "SIM-A300", "05.18.A1")
        assert isinstance(terminal, Logged)
        assert isinstance(terminal, Delivering)
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
    """From its beginning, whatever was requested, and as often as it is iterated with one download."""
    with connect(options(simulator.port)) as terminal:
        reading = terminal.read(100)
        records = list(reading.records)

        assert (reading.start, reading.total) == (0, 180)
        assert records == only(simulator).records()
        assert list(reading.records) == records
    assert only(simulator).requests[wire.CMD_RECORDS] == 8


def test_new_records_are_the_end_of_the_log(simulator: Simulator) -> None:
    """They say where they begin, and stay new until they are settled; the last ones stay new then, too."""
    only(simulator).unmark(150)
    with connect(options(simulator.port)) as terminal:
        reading = new(terminal)
        records = list(reading.records)

        assert (reading.start, reading.total) == (150, 180)
        assert records == only(simulator).records()[150:]
        assert only(simulator).marked == 30
        settle_new(terminal, 30)
        assert only(simulator).marked == OVERLAP
        assert only(simulator).count == 180
        assert only(simulator).acknowledged == [22]


def test_punches_made_during_a_download_are_not_in_it(simulator: Simulator) -> None:
    """A reading has as many records as were counted when it began; what comes meanwhile stays new."""
    terminal_ = only(simulator)
    with connect(options(simulator.port)) as terminal, closing(terminal.deliveries(0.0)) as deliveries:
        delivery = next(deliveries)
        terminal_.punch("7", moment=EVENING)
        records = list(delivery.records)
        delivery.settle(Settlement(180))

    assert len(records) == 180
    assert (terminal_.marked, terminal_.count) == (OVERLAP + 1, 181)


def test_nothing_is_unmarked_that_was_not_handed_out(pty: Simulator) -> None:
    """A mistake above the driver ends as an exception, and not as a record that is never requested again."""
    with connect(options(pty.port)) as terminal:
        with closing(terminal.deliveries(0.0)) as deliveries:
            delivery = next(deliveries)
            records = iter(delivery.records)
            for _ in range(179):
                next(records)
            with pytest.raises(RuntimeError, match="180 records are settled, 179 were handed out"):
                delivery.settle(Settlement(180))
        with closing(terminal.deliveries(0.0)) as deliveries:
            delivery = next(deliveries)
            assert len(list(delivery.records)) == 180
            list(terminal.read().records)
            with pytest.raises(RuntimeError):
                delivery.settle(Settlement(180))

    assert only(pty).acknowledged == []


def test_few_new_records_keep_their_marks(pty: Simulator) -> None:
    """They prove the next time that the log goes on; nothing is sent for them."""
    only(pty).unmark(180 - OVERLAP)
    with connect(options(pty.port)) as terminal:
        settle_new(terminal, OVERLAP)

    assert (only(pty).marked, only(pty).acknowledged) == (OVERLAP, [])


def test_a_reading_ends_when_another_begins(pty: Simulator) -> None:
    """The terminal would go on with the other one."""
    with connect(options(pty.port)) as terminal:
        first = terminal.read()
        records = iter(first.records)
        next(records)
        new(terminal)
        with pytest.raises(RuntimeError, match="another one has begun"):
            list(records)


def test_empty_log(simulator: Simulator) -> None:
    """Nothing is requested where nothing was counted."""
    only(simulator).clear()
    with connect(options(simulator.port)) as terminal:
        assert list(terminal.read().records) == []
        assert list(new(terminal).records) == []
    assert only(simulator).requests[wire.CMD_RECORDS] == 0


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
    """The log will show it."""
    with connect(options(simulator.port)) as terminal:
        only(simulator).on_punch(wire.Frame(1, 0xDF, bytes(14)))

        (event,) = next_events(terminal, 1)

    assert isinstance(event, Hint)


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
def test_damaged_answers_are_requested_again(pty: Simulator, fault: str) -> None:
    """A small request once more, a batch of records by its own command: none skipped, none twice."""
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
    """Where RESEND brings what came before, it was the request that got lost, and it is sent again."""
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
    """Requested once: a late answer to the first request would pass for one to the second."""
    pty.faults.silent = 1
    with connect(options(pty.port)) as terminal:
        with pytest.raises(TerminalUnavailable, match=r"device 1 does not answer within 0.4 s"):
            terminal.sizes()
        assert terminal.sizes().records == 180


def test_lost_answer_to_an_acknowledgement_is_not_requested_again(pty: Simulator) -> None:
    """The marks may be gone; taking as many once more would take those of unread records."""
    with connect(options(pty.port)) as terminal, closing(terminal.deliveries(0.0)) as deliveries:
        delivery = next(deliveries)
        list(delivery.records)
        pty.faults.crc = 1
        with pytest.raises(TerminalUnavailable):
            delivery.settle(Settlement(180))
        with pytest.raises(RuntimeError, match="settled already"):
            delivery.settle(Settlement(180))

    assert only(pty).acknowledged == [180 - OVERLAP]
    assert only(pty).marked == OVERLAP


def test_echo_of_two_wires_is_no_answer(pty: Simulator) -> None:
    """The echo of the request comes in front of the answer."""
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
        assert list(new(terminal).records) == only(pty).records()[150:]


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
    """A terminal without a serial number has none; one that cannot count its records reports it."""
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
    terminal_._data = lambda request: data if request.command == command else usual(request)  # type: ignore[method-assign]

    def query(terminal: AnvizTerminal) -> None:
        terminal.read_clock()
        list(terminal.read().records)

    with connect(options(pty.port)) as terminal, pytest.raises(ProtocolError, match="could not be understood"):
        query(terminal)


# --- options ---


@pytest.mark.parametrize(
    ("port", "reported"),
    [
        ("192.168.1.218", "not a port"),
        ("COM3", "not a port"),
        ("tcp://", "not a port"),
        ("tcp://host:0", "not a port"),
        ("tcp://host:x", "not a port"),
        ("tcp://a b", "not a port"),
    ],
)
def test_what_is_no_port(port: str, reported: str) -> None:
    """The error states what would be right."""
    with pytest.raises(ValidationError, match=reported):
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
