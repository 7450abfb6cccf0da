"""What a simulated terminal remembers and answers; its line is used by every other test of the driver."""

from datetime import datetime, timedelta

import pytest

from drivers.anviz import wire
from drivers.anviz.simulator import SimulatedTerminal, Simulator, history
from drivers.anviz.wire import Frame
from drivers.base import RawPunch
from tests.drivers.anviz.vectors import MOMENT, RECORD


def query(terminal: SimulatedTerminal, command: int, data: bytes = b"") -> Frame:
    """Return the answer to a request."""
    return terminal.answer(Frame(terminal.device_id, command, data))


def test_its_answers_are_the_known_ones() -> None:
    """The record of the vectors, downloaded."""
    terminal = SimulatedTerminal()
    terminal.append(RECORD)

    answer = query(terminal, wire.CMD_RECORDS, b"\x02\x19")

    assert answer.to_bytes().hex().upper() == f"A500000001C000000F01{RECORD.hex().upper()}1E3C"


def test_download_resend_and_continue() -> None:
    """25 at a time; the same again; nothing behind the end; nothing to resend at first."""
    terminal = SimulatedTerminal()
    log = list(history(1, 60, MOMENT))
    assert query(terminal, wire.CMD_RECORDS, bytes((wire.RESEND, 25))).ret != 0
    terminal.append(*log)
    got = [
        wire.split_batch(query(terminal, wire.CMD_RECORDS, bytes((parameter, 25))).data)
        for parameter in (wire.ALL, wire.CONTINUE, wire.RESEND, wire.CONTINUE, wire.CONTINUE)
    ]

    assert got == [log[:25], log[25:50], log[25:50], log[50:], []]


def test_marks_are_taken_from_the_oldest() -> None:
    """And never more than there are."""
    terminal = SimulatedTerminal()
    terminal.append(*history(1, 10, MOMENT))

    query(terminal, wire.CMD_CLEAR, bytes((2, 0, 0, 4)))
    assert terminal.marked == 6
    assert wire.split_batch(query(terminal, wire.CMD_RECORDS, b"\x02\x19").data) == list(history(1, 10, MOMENT))[4:]
    query(terminal, wire.CMD_CLEAR, bytes((2, 0, 0, 40)))
    assert (terminal.marked, terminal.count) == (0, 10)


@pytest.mark.parametrize(
    ("command", "data"),
    [(wire.CMD_CLEAR, bytes(4)), (wire.CMD_CLEAR, bytes((1, 0, 0, 0))), (0x39, bytes(6)), (0x4F, b""), (0x4D, b"")],
)
def test_it_refuses_what_writes(command: int, data: bytes) -> None:
    """A test that made the driver send it would see the refusal."""
    terminal = SimulatedTerminal()
    terminal.append(RECORD)

    assert query(terminal, command, data).ret != 0
    assert (terminal.refused, terminal.count, terminal.marked) == (1, 1, 1)


def test_full_log_overwrites_its_oldest_record() -> None:
    """The count stays."""
    terminal = SimulatedTerminal(capacity=3)
    for pin in "12345":
        terminal.punch(pin, moment=MOMENT)

    assert [record.pin for record in terminal.records() if isinstance(record, RawPunch)] == ["3", "4", "5"]
    assert (terminal.count, terminal.marked) == (3, 3)


def test_history_is_invented_the_same_way_each_time() -> None:
    """In the order of time, up to its end."""
    records = [wire.decode_record(raw, wire.EPOCH) for raw in history(1, 100, MOMENT)]
    times = [record.local_time for record in records if isinstance(record, RawPunch)]

    assert len(times) == 100
    assert times == sorted(times)
    assert times[-1] < MOMENT
    assert list(history(1, 100, MOMENT)) == list(history(1, 100, MOMENT))
    with pytest.raises(ValueError, match="time"):
        list(history(1, 10, datetime(2000, 1, 2)))  # noqa: DTZ001 - a terminal's wall clock


@pytest.mark.parametrize(
    ("order", "reported"),
    [
        ("crc", "crc is 1"),
        ("crc=3", "crc is 3"),
        ("crc=off", "crc is 0"),
        ("echo", "echo is True"),
        ("echo=off", "echo is False"),
        ("slow", "slow is 1.0"),
        ("slow=250ms", "slow is 0.25"),
    ],
)
def test_faults_are_switched(order: str, reported: str) -> None:
    """By a word, a number or a duration."""
    assert Simulator(SimulatedTerminal()).faults.switch(order) == reported


@pytest.mark.parametrize("order", ["fire", "crc=x", "slow=1", "crc=-1"])
def test_faults_that_make_no_sense(order: str) -> None:
    """They are refused, and nothing changes."""
    faults = Simulator(SimulatedTerminal()).faults
    with pytest.raises(ValueError, match=r"."):
        faults.switch(order)
    assert vars(faults) == vars(Simulator(SimulatedTerminal()).faults)


@pytest.mark.parametrize(
    ("typed", "reported"),
    [
        ("punch 7", "7 punched at 2026-09-04 07:30:00 (state 0, verify 1)."),
        ("punch 7 1 8 2", "7 punched at 2026-09-04 07:30:00 (state 1, verify 8)."),
        ("punch 7 0 1 3", "Not done: no terminal has the number 3."),
        ("punch 7 x", "Not done: 'x' is no number."),
        ("rush 0", "Not done: a rush is 1 to 100000 punches."),
        ("rush 4", "4 punches made; the logs hold 4."),
        ("clock -30s", "The clock shows 2026-09-04 07:29:30."),
        ("clock 2000-01-02T00:00:00", "The clock shows 2000-01-02 00:00:00."),
        ("clock soon", "Not done: 'soon' is no time"),
        ("clock 1999-01-02T00:00:00", "Not done: a terminal's clock knows the years"),
        ("fault", "That is no command. Commands:"),
        ("", "Commands:"),
    ],
)
def test_what_a_person_types(typed: str, reported: str) -> None:
    """Each command states what happened, or what would have been right."""
    simulator = Simulator([SimulatedTerminal(device_id=number, now=lambda: MOMENT) for number in (1, 2)])

    assert simulator.control(typed).startswith(reported)


def test_rush_and_clock_reach_the_terminals() -> None:
    """Two terminals share a rush; people are those enrolled."""
    terminals = [SimulatedTerminal(device_id=number, users={1: "5"}, now=lambda: MOMENT) for number in (1, 2)]
    simulator = Simulator(terminals)

    simulator.control("clock +1d")
    simulator.control("rush 5")

    assert [terminal.count for terminal in terminals] == [3, 2]
    assert terminals[0].clock() == MOMENT + timedelta(days=1)
    assert {record.pin for record in terminals[0].records() if isinstance(record, RawPunch)} == {"5"}
