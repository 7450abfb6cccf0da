"""pyzk as its users use it: a client that others wrote, and many terminals have answered, against the simulator.

Where the two disagree it is pyzk 0.9 that errs, in ways that are known from real terminals. Each is shown here beside
what our driver makes of the same terminal, so that neither the simulator is taken for wrong, nor pyzk alone for enough.
"""

import importlib
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drivers.base import BadRecord, RawPunch
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, build
from drivers.zkteco.terminal import connect
from tests.drivers.zkteco.scripted import options

END = datetime(2026, 9, 4, 12, 30, 5)  # noqa: DTZ001 - a terminal's wall clock has no zone
ways = pytest.mark.parametrize("udp", [False, True], ids=["TCP", "UDP"])
Connect = Callable[..., Any]


def frozen() -> datetime:
    """Return the same moment always."""
    return END


@pytest.fixture(scope="module")
def library() -> ModuleType:
    """Return pyzk as it was published: the copy that our driver uses has one function replaced."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "zk"}
    try:
        return importlib.import_module("zk")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "zk"]:
            del sys.modules[name]
        sys.modules.update(ours)


@pytest.fixture(scope="module")
def pyzk(library: ModuleType) -> Connect:
    """Return what opens a conversation with a simulator."""

    def connected(simulator: Simulator, *, udp: bool = False, key: int = 0) -> Any:
        client = library.ZK("127.0.0.1", port=simulator.port, timeout=5, password=key, force_udp=udp, ommit_ping=True)
        return client.connect()

    return connected


@contextmanager
def ours(simulator: Simulator) -> Iterator[Any]:
    """Open a conversation of our driver's with a simulator."""
    with connect(options(simulator.port)) as terminal:
        yield terminal


def output(terminal: SimulatedTerminal) -> list[tuple[str | None, datetime, int | None, int | None]]:
    """Return what the terminal's memory holds: PIN, time, verify code, state."""
    return [
        (terminal.users[found.uid] if found.uid else found.pin, found.local_time, found.verify, found.state)
        for found in terminal.records()
        if isinstance(found, RawPunch)
    ]


def read(client: Any, layout: str) -> list[tuple[str, datetime, int, int]]:
    """Return what pyzk reads, in the same order. In the 16-byte layout it has its two codes the other way round."""
    swapped = layout == "16"
    return [
        (each.user_id, each.timestamp, *((each.punch, each.status) if swapped else (each.status, each.punch)))
        for each in client.get_attendance()
    ]


# --- where both agree ---------------------------------------------------------------------------------------------


@ways
@pytest.mark.parametrize("key", [0, 999_999], ids=["no key", "key"])
@pytest.mark.parametrize(
    ("layout", "records"), [("8", 30), ("8", 3000), ("16", 30), ("16", 3000), ("40", 20), ("40", 4000)]
)
def test_reads_what_was_put_in(pyzk: Connect, layout: str, records: int, key: int, udp: bool) -> None:
    """The same identity, clock, people, sizes and log: in one packet or in many."""
    terminal = build(
        layout=layout,
        records=records,
        people=40,
        comm_key=key,
        clock_offset_s=420,
        capacity=50_000,
        serial="A8N5230560263",
        now=frozen,
    )
    with Simulator(terminal) as simulator:
        client = pyzk(simulator, udp=udp, key=key)
        assert client.get_serialnumber() == "A8N5230560263"
        assert client.get_device_name() == terminal.model
        assert client.get_firmware_version() == terminal.firmware
        assert client.get_platform() == terminal.platform
        assert client.get_time() == END + timedelta(minutes=7)
        client.read_sizes()
        assert (client.users, client.records, client.rec_cap) == (40, records, 50_000)
        assert {user.uid: user.user_id for user in client.get_users()} == terminal.users
        log = read(client, layout)
        client.disconnect()
    assert log == output(terminal)
    assert len(log) == records
    assert simulator.bad_checksums == 0
    assert terminal.refused_writes == 0
    assert terminal.conversations == 0


@ways
@pytest.mark.parametrize("key", [0, 1234], ids=["no key", "key"])
def test_sets_the_clock(pyzk: Connect, key: int, udp: bool) -> None:
    """Other software may set the clock; our driver's offset then shows it."""
    terminal = build(comm_key=key, now=frozen)
    moment = END + timedelta(days=1, hours=2)
    with Simulator(terminal) as simulator:
        client = pyzk(simulator, udp=udp, key=key)
        client.set_time(moment)
        assert client.get_time() == moment
        client.disconnect()
    assert terminal.clock() == moment
    assert terminal.clock_offset == timedelta(days=1, hours=2)


@ways
@pytest.mark.parametrize("key", [0, 1234], ids=["no key", "key"])
@pytest.mark.parametrize(("layout", "event_length"), [("8", 12), ("16", 12), ("40", 32), ("40", 36), ("40", 52)])
def test_sees_a_punch_as_it_happens(pyzk: Connect, layout: str, event_length: int, key: int, udp: bool) -> None:
    """A live event is sent in every form that pyzk knows, and its acknowledgement disturbs nothing."""
    terminal = build(layout=layout, event_length=event_length, people=10, records=100, comm_key=key, now=frozen)
    with Simulator(terminal) as simulator:
        client = pyzk(simulator, udp=udp, key=key)
        live = client.live_capture(new_timeout=0.2)
        assert next(live) is None  # nothing happened yet, but it has registered
        for pin, state, verify in (("1003", 1, 15), ("1004", 0, 1)):
            terminal.punch(pin, state, verify, END)
            seen = next(each for each in live if each is not None)
            assert (seen.user_id, seen.timestamp, seen.status, seen.punch) == (pin, END, verify, state)
        client.end_live_capture = True
        assert list(live) == []
        assert client.get_time() == END
        client.disconnect()


@ways
def test_wrong_key_is_refused(pyzk: Connect, library: ModuleType, udp: bool) -> None:
    """The wrong key, and none, get no further than the question."""
    with Simulator(SimulatedTerminal(comm_key=1234)) as simulator:
        for key in (0, 1235):
            with pytest.raises(library.exception.ZKErrorResponse, match="Unauthenticated"):
                pyzk(simulator, udp=udp, key=key)
        assert simulator.terminal.conversations == 0


def test_cannot_clear_the_log(pyzk: Connect, library: ModuleType) -> None:
    """What other software may try, this terminal refuses and remembers."""
    with Simulator(build(people=5, records=20)) as simulator:
        client = pyzk(simulator)
        with pytest.raises(library.exception.ZKErrorResponse):
            client.clear_attendance()
        with pytest.raises(library.exception.ZKErrorResponse):
            client.delete_user(uid=1)
        client.disconnect()
        assert simulator.terminal.count == 20
        assert simulator.terminal.commands[15] == 1
        assert simulator.terminal.refused_writes == 2


# --- where pyzk errs ----------------------------------------------------------------------------------------------


def test_two_events_in_one_segment_end_its_live_capture(pyzk: Connect) -> None:
    """It takes off the first header only: what follows the first event is no event to it. Our driver yields both."""
    terminal = build(people=10, records=10, now=frozen)
    with Simulator(terminal) as simulator:
        client = pyzk(simulator)
        live = client.live_capture(new_timeout=0.2)
        assert next(live) is None
        for pin in ("1003", "1004"):
            terminal.punch(pin)
        assert next(live).user_id == "1003"
        with pytest.raises(TypeError):
            next(live)
        client.disconnect()
        with ours(simulator) as driver:
            assert list(driver.events(0.05)) == []
            for pin in ("1005", "1006"):
                terminal.punch(pin)
            assert [event.pin for event in driver.events(0.5)] == ["1005", "1006"]


@ways
def test_pin_of_letters_ends_its_live_capture(pyzk: Connect, udp: bool) -> None:
    """It makes a number of a PIN that it did not find in the list of people. To our driver a PIN is text."""
    terminal = build(people=10, records=10, now=frozen)
    with Simulator(terminal) as simulator:
        client = pyzk(simulator, udp=udp)
        live = client.live_capture(new_timeout=0.2)
        assert next(live) is None
        terminal.punch("A17")
        with pytest.raises(ValueError, match="A17"):
            next(live)
        client.disconnect()
        with ours(simulator) as driver:
            assert list(driver.events(0.05)) == []
            terminal.punch("B18")
            assert [event.pin for event in driver.events(0.5)] == ["B18"]


def test_one_impossible_date_loses_its_whole_log(pyzk: Connect) -> None:
    """It raises at the first. Our driver sets the record aside and reads the others."""
    terminal = build(people=10, records=10, now=frozen)
    bad = bytearray(terminal.log_body()[-40:])
    bad[27:31] = struct.pack("<I", (1 * 31 + 30) * 86400)  # 31 February 2000
    terminal.append_raw(bytes(bad))
    terminal.punch("1003")
    with Simulator(terminal) as simulator:
        client = pyzk(simulator)
        with pytest.raises(ValueError, match="day is out of range"):
            client.get_attendance()
        client.disconnect()
        with ours(simulator) as driver:
            records = list(driver.read().records)
    assert [type(record) for record in records] == [*[RawPunch] * 10, BadRecord, RawPunch]


def test_punch_between_count_and_log_invents_a_record(pyzk: Connect) -> None:
    """It divides the size of the log by a count that is older, and reads rows of a width that is not theirs.

    Two people punch in between: it reports one record, of no person, on a day before the terminal was made. Our driver
    requests the count again.
    """

    class Busy(SimulatedTerminal):
        """A finger is put on it after each of the first two requests for its count of records."""

        @property
        def count(self) -> int:
            before = super().count
            if 0 < before < 3:
                self.append(f"100{before + 1}", END)
            return before

    def busy() -> Busy:
        terminal = Busy(layout="16", users={1: "1001", 2: "1002", 3: "1003"}, now=frozen)
        terminal.append("1001", END)
        return terminal

    with Simulator(busy()) as simulator:
        client = pyzk(simulator)
        (invented,) = client.get_attendance()
        assert (invented.user_id, invented.timestamp) == ("", datetime(2000, 1, 1))  # noqa: DTZ001 - as pyzk has it
        client.disconnect()
    with Simulator(busy()) as simulator, ours(simulator) as driver:
        assert [record.pin for record in driver.read().records] == ["1001", "1002", "1003"]


def test_records_of_49_bytes_are_read_as_40(pyzk: Connect) -> None:
    """Its release knows no such records: after the first it reads beside them."""
    terminal = SimulatedTerminal(layout="49", users={1: "1001", 2: "1002"}, now=frozen)
    for pin in ("1001", "1002"):
        terminal.append(pin, END)
    with Simulator(terminal) as simulator:
        client = pyzk(simulator)
        first, second = client.get_attendance()
        client.disconnect()
        assert (first.user_id, first.timestamp) == ("1001", END)
        assert (second.user_id, second.timestamp) != ("1002", END)
        with ours(simulator) as driver:
            assert [(record.pin, record.local_time) for record in driver.read().records] == [
                ("1001", END),
                ("1002", END),
            ]


def test_person_who_is_not_enrolled_any_more_gets_a_pin_from_it(pyzk: Connect) -> None:
    """It takes the terminal's internal number for a PIN, perhaps another person's. Our driver reports a number."""
    terminal = SimulatedTerminal(layout="8", users={1: "7", 2: "8", 7: "1001"}, now=frozen)
    terminal.append("1001", END)
    del terminal.users[7]
    with Simulator(terminal) as simulator:
        client = pyzk(simulator)
        (punch,) = client.get_attendance()
        client.disconnect()
        assert punch.user_id == "7"
        with ours(simulator) as driver:
            (record,) = driver.read().records
    assert (record.pin, record.uid) == (None, 7)


def test_some_keys_are_too_large_for_its_arithmetic(pyzk: Connect, tmp_path: Path) -> None:
    """A key whose lowest seventeen bits are set overflows in half of all sessions. Our arithmetic wraps."""
    terminal = SimulatedTerminal(comm_key=0x1FFFF, session=0x9000)
    key_file = tmp_path / "key"
    key_file.write_text(str(terminal.comm_key))
    with Simulator(terminal) as simulator:
        with pytest.raises(struct.error):
            pyzk(simulator, key=terminal.comm_key)
        with connect(options(simulator.port, comm_key_file=str(key_file))) as driver:
            assert driver.serial() == terminal.serial
    assert terminal.next_session == 0x9002
