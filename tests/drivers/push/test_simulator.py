"""Simulated terminals of every dialect on a real socket: whatever goes wrong, each punch arrives, and counts once."""

from datetime import datetime, timedelta

import pytest

from drivers.base import BadRecord
from drivers.push.simulator import FIRMWARES, Faults, Firmware, SimulatedTerminal, Simulator, history
from tests.drivers.push.office import SERIAL, Store, stored

NOON = datetime.fromisoformat("2026-11-30 12:00:00")
PACE = 0.002


def terminal_of(firmware: Firmware, records: int = 0) -> SimulatedTerminal:
    """Return a terminal with a log and a clock that goes on by a second with each look at it."""
    clock = iter(range(10**9))
    made = SimulatedTerminal(serial=SERIAL, firmware=firmware, now=lambda: NOON + timedelta(seconds=next(clock)))
    made.log += history(1, records, NOON)
    return made


def all_arrived(store: Store, terminal: SimulatedTerminal) -> bool:
    """Whether the store has each punch of the log once."""
    expected = {(made.pin, made.moment) for made in terminal.log}
    found = store.punches()
    return set(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_every_dialect(firmware: Firmware) -> None:
    """Its whole log at first, then punches as they happen; nothing that changes it was requested."""
    terminal = terminal_of(firmware, 250)
    with stored() as (url, store), Simulator(terminal, url, pace=PACE) as simulator:
        store.wait_for(lambda: all_arrived(store, terminal))
        for pin in ("0042", "7", "7"):
            simulator.punch(pin)
        store.wait_for(lambda: all_arrived(store, terminal))
        assert not terminal.refused_writes
        assert set(simulator.replies) <= {200}
        assert b"36.5" not in repr(store.records).encode()
        assert b"8877" not in repr(store.records).encode()


@pytest.mark.parametrize("firmware", ["2.0", "2.2", "2.4"])
def test_a_restart_continues_at_the_stored_stamp(firmware: Firmware) -> None:
    """Nothing is sent twice, and nothing is left out."""
    terminal = terminal_of(firmware, 30)
    with stored() as (url, store), Simulator(terminal, url, pace=PACE) as simulator:
        store.wait_for(lambda: all_arrived(store, terminal))
        begun = len(simulator.stamps)
        simulator.restart()
        store.wait_for(lambda: len(simulator.stamps) > begun)
        simulator.punch("8")
        store.wait_for(lambda: all_arrived(store, terminal))
        assert simulator.stamps[0] == "0"
        assert simulator.stamps[-1] != "0"
        assert store.arrived == 31


FAULTS = [
    "lost-reply=3",
    "cut-upload=3",
    "repeat=2",
    "stamp-back",
    "nul",
    "long-line",
    "enrolment",
    "proxy",
    "chunked",
    "expect",
]


@pytest.mark.parametrize("firmware", ["2.2", "2.4"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault(firmware: Firmware, fault: str) -> None:
    """Each punch arrives; what is damaged is a record of its own."""
    terminal = terminal_of(firmware, 120)
    terminal.faults.switch(fault)
    with stored() as (url, store), Simulator(terminal, url, pace=PACE) as simulator:
        simulator.punch("8")
        store.wait_for(lambda: all_arrived(store, terminal))
        store.wait_for(lambda: not terminal.faults.enrolment)
        bad = [record for record in store.records if isinstance(record, BadRecord)]
        assert len(bad) == (fault in ("nul", "long-line"))
        for secret in (b"Siti", b"Ts9SUzIx"):
            assert secret not in repr(store.records).encode()


def test_a_slow_terminal() -> None:
    """Its pieces are put together."""
    terminal = terminal_of("2.4", 5)
    terminal.faults.switch("slow=1ms")
    with stored() as (url, store), Simulator(terminal, url, pace=PACE):
        store.wait_for(lambda: all_arrived(store, terminal))


def test_a_full_store_refuses_and_recovers() -> None:
    """The terminal keeps its punches and sends them when there is room."""
    terminal = terminal_of("2.4", 5)
    with stored() as (url, store):
        store.is_full = True
        with Simulator(terminal, url, pace=PACE) as simulator:
            store.wait_for(lambda: simulator.replies[503] > 3)
            assert not terminal.acknowledged
            store.is_full = False
            store.wait_for(lambda: all_arrived(store, terminal))


def test_another_serial_number_is_a_stranger() -> None:
    """It keeps everything until it is known."""
    terminal = terminal_of("2.4", 5)
    terminal.faults.switch("wrong-serial")
    with stored() as (url, store), Simulator(terminal, url, pace=PACE) as simulator:
        store.wait_for(lambda: simulator.replies[503] > 1)
        assert not simulator.is_online
        terminal.faults.switch("wrong-serial=off")
        store.wait_for(lambda: all_arrived(store, terminal))


def test_punches_under_an_unknown_name_stay_in_the_terminal() -> None:
    """They arrive when they have a name again."""
    terminal = terminal_of("2.4", 5)
    terminal.faults.switch("unknown-table=2")
    with stored() as (url, store), Simulator(terminal, url, pace=PACE):
        store.wait_for(lambda: all_arrived(store, terminal))
        assert [notice.code for notice in store.notices] == ["table_held"]


@pytest.mark.parametrize("firmware", ["2.0", "2.2", "2.4"])
def test_a_count_and_a_delivery_on_request(firmware: Firmware) -> None:
    """A clock set back hides punches of old firmware; the count shows them, and the query brings them."""
    terminal = terminal_of(firmware, 30)
    with stored() as (url, store), Simulator(terminal, url, pace=PACE) as simulator:
        store.wait_for(lambda: all_arrived(store, terminal))
        terminal.offset = -timedelta(hours=30)
        simulator.punch("99")
        hidden = terminal.log[-1]
        day = datetime.combine(hidden.moment.date(), datetime.min.time())
        span = (day, day + timedelta(hours=23, minutes=59, seconds=59))
        if terminal.has_time_stamps:
            assert ("99", hidden.moment) not in store.punches()
        command = store.session.request("VERIFY SUM ATTLOG", *span)
        assert command is not None
        store.wait_for(lambda: command.is_over)
        assert command.result is not None
        assert command.result.records == len(terminal.between(*span))
        stamps = dict(store.marks)
        query = store.session.request("DATA QUERY ATTLOG", *span)
        assert query is not None
        store.wait_for(lambda: query.is_over)
        assert query.lines == len(terminal.between(*span))
        assert all_arrived(store, terminal)
        assert store.marks == stamps or not terminal.has_time_stamps
        assert set(terminal.commands) == {"VERIFY SUM ATTLOG", "DATA QUERY ATTLOG"}


def test_a_terminal_that_cannot_count() -> None:
    """Its result states that."""
    terminal = terminal_of("2.4", 5)
    terminal.faults.switch("no-count")
    with stored() as (url, store), Simulator(terminal, url, pace=PACE):
        command = store.session.request("VERIFY SUM ATTLOG", NOON, NOON)
        assert command is not None
        store.wait_for(lambda: command.is_over)
        assert command.result is not None
        assert command.result.code < 0


def test_other_commands_are_refused() -> None:
    """What would change the terminal is counted; the tests of the driver rely on it."""
    terminal = terminal_of("2.4")
    simulator = Simulator(terminal, "http://127.0.0.1:9")
    simulator._stop.set()
    for text in ("CLEAR LOG", "DATA DELETE USERINFO PIN=7", "REBOOT", "DATA QUERY ATTLOG *"):
        simulator._execute("1", text)
    assert terminal.refused_writes == ["CLEAR LOG", "DATA DELETE USERINFO PIN=7", "REBOOT"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("punch 1001 1 15", "1001 punched at 2026-11-30 12:00:0"),
        ("rush 3", "3 punches made."),
        ("clock -1h", "The clock shows 2026-11-30 11:00:0"),
        ("restart", "The terminal restarts."),
        ("fault lost-reply=2", "lost-reply is 2."),
        ("fault proxy off", "proxy is False."),
        ("fault slow=20ms", "slow is 0.02."),
        ("fault fire", "Not done: no fault 'fire'"),
        ("fault nul=x", "Not done: 'x' is no number of times."),
        ("faults", "  lost-reply\n"),
        ("status", f"{SERIAL}, offline, 0 records"),
        ("help", "Commands: punch PIN"),
    ],
)
def test_typed_commands(typed: str, expected: str) -> None:
    """Each answers with a sentence."""
    simulator = Simulator(terminal_of("2.4"), "http://127.0.0.1:9")
    assert simulator.control(typed).startswith(expected)


def test_faults_are_off_at_first() -> None:
    """A star stands before those that are on."""
    faults = Faults()
    assert "*" not in faults.listing()
    faults.switch("expect")
    assert "* expect" in faults.listing()
