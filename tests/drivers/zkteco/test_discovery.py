"""Discovered terminals: what is distinguished, at which rate, and that nothing is left behind."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.base import DiscoveredTerminal, ProtocolError, Reason, Search, TerminalRefused, TerminalUnavailable
from drivers.zkteco import DRIVER, discovery, wire
from drivers.zkteco.discovery import discover
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, build
from drivers.zkteco.transport import ALLOWED, Transport
from tests.drivers.zkteco import foreign_services
from tests.drivers.zkteco.foreign_services import PANEL, SECURE, hanging_up, listening, mute, saying, silent, trickling

NET = "127.44.1"
QUESTIONS = {
    wire.CMD_CONNECT,
    wire.CMD_AUTH,
    wire.CMD_ENABLEDEVICE,
    wire.CMD_OPTIONS_RRQ,
    wire.CMD_GET_VERSION,
    wire.CMD_GET_TIME,
    wire.CMD_GET_FREE_SIZES,
    wire.CMD_EXIT,
}
"""All that a search may ask: nothing here makes a terminal prepare its log."""


@pytest.fixture
def port() -> int:
    """Return where everybody in the network listens."""
    return foreign_services.free_port()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Hold the neighbours for the length of a test."""
    with ExitStack() as opened:
        yield opened


def host(number: int) -> str:
    """Return an address in the network."""
    return f"{NET}.{number}"


def found(search: Search) -> dict[str, DiscoveredTerminal]:
    """Search to the end; every host is settled once."""
    items = list(discover(search))
    findings = {item.host: item for item in items if item is not None}
    assert len(findings) == sum(item is not None for item in items)
    return findings


def searching(port: int, *numbers: int, **more: Any) -> Search:
    """Return a search of some hosts, with a generous timeout for slow ones unless another is given."""
    return Search([host(number) for number in numbers], port=port, **{"rate": 1000.0, "timeout_s": 5.0, **more})


def test_driver_offers_the_search() -> None:
    """The gateway finds it where it finds everything else of a driver."""
    assert DRIVER.discover is discover


def test_terminals_tell_who_they_are_and_are_left_as_found(stack: ExitStack, port: int) -> None:
    """Serial, model, firmware, clock and log of each; nothing but small questions, and a farewell."""
    terminals = {
        number: build(serial=f"SERIAL{number}", records=number, clock_offset_s=60 * number, one_conversation=True)
        for number in (1, 2, 5)
    }
    for number, terminal in terminals.items():
        stack.enter_context(Simulator(terminal, host(number), port))

    findings = found(searching(port, *range(1, 7)))

    assert set(findings) == {host(1), host(2), host(5)}
    for number, terminal in terminals.items():
        finding = findings[host(number)]
        assert finding.error is None
        assert finding.entry == {"address": f"{host(number)}:{port}"}
        assert finding.info is not None
        assert (finding.info.serial, finding.info.model) == (terminal.serial, terminal.model)
        assert (finding.info.firmware, finding.info.platform) == (terminal.firmware, terminal.platform)
        assert finding.sizes is not None
        assert (finding.sizes.records, finding.sizes.capacity) == (number, 100_000)
        assert finding.clock is not None
        assert finding.clock_read_at is not None
        ahead = finding.clock.local_time - finding.clock_read_at.astimezone().replace(tzinfo=None)
        assert timedelta(minutes=number, seconds=-2) < ahead < timedelta(minutes=number, seconds=30)
        assert set(terminal.commands) <= QUESTIONS <= ALLOWED
        assert (terminal.commands[wire.CMD_CONNECT], terminal.commands[wire.CMD_EXIT]) == (1, 1)
        assert terminal.conversations == 0


@pytest.mark.parametrize("firmware", [SECURE, wire.SECURE_MAGIC + bytes(12)], ids=["6001", "magic"])
def test_other_devices_on_the_same_port_are_recognised(stack: ExitStack, port: int, firmware: bytes) -> None:
    """A panel, secure firmware, a web server, a peer that disconnects: each is named, none stops the search."""
    stack.enter_context(listening(host(1), port, saying(PANEL)))
    stack.enter_context(listening(host(2), port, saying(firmware)))
    stack.enter_context(listening(host(3), port, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    stack.enter_context(listening(host(4), port, hanging_up))
    stack.enter_context(Simulator(SimulatedTerminal(), host(5), port))

    errors = {name: finding.error for name, finding in found(searching(port, *range(1, 6))).items()}

    assert isinstance(errors[host(1)], TerminalRefused)
    assert "access panel" in str(errors[host(1)])
    assert isinstance(errors[host(2)], TerminalRefused)
    assert [error.reason for error in (errors[host(1)], errors[host(2)]) if error] == [
        Reason.ACCESS_PANEL,
        Reason.ENCRYPTED,
    ]
    assert "encrypt" in str(errors[host(2)])
    assert isinstance(errors[host(3)], ProtocolError)
    assert isinstance(errors[host(4)], TerminalUnavailable)
    assert errors[host(5)] is None


def test_terminal_with_a_key(stack: ExitStack, port: int, tmp_path: Path) -> None:
    """Without the key, and with a wrong one, it is found all the same; the right one opens it."""
    terminal = SimulatedTerminal(comm_key=1234)
    stack.enter_context(Simulator(terminal, host(1), port))
    key_file = tmp_path / "key"
    for key in (None, "4321"):
        if key:
            key_file.write_text(key)
        finding = found(searching(port, 1, comm_key_file=key_file if key else None))[host(1)]
        assert isinstance(finding.error, TerminalRefused)
        assert "communication key" in str(finding.error)
        assert finding.info is None
        assert "comm_key_file" not in finding.entry
    key_file.write_text("1234")

    finding = found(searching(port, 1, comm_key_file=key_file))[host(1)]

    assert finding.error is None
    assert finding.info is not None
    assert finding.info.serial == terminal.serial
    assert finding.entry["comm_key_file"] == str(key_file)


def test_terminal_that_speaks_udp_only(stack: ExitStack, port: int, tmp_path: Path) -> None:
    """It is tried over UDP because TCP opens nothing there: refused, or never answered."""
    key_file = tmp_path / "key"
    key_file.write_text("77")
    refusing, dropping = SimulatedTerminal(serial="REFUSES", comm_key=77), SimulatedTerminal(serial="DROPS")
    stack.enter_context(foreign_services.datagrams_only(refusing, host(1), port))
    stack.enter_context(foreign_services.datagrams_only(dropping, host(2), port))
    stack.enter_context(silent(host(2), port))

    findings = found(searching(port, 1, 2, 3, comm_key_file=key_file, timeout_s=2.0))

    assert {finding.info.serial for finding in findings.values() if finding.info} == {"REFUSES", "DROPS"}
    assert all(finding.entry["transport"] == "udp" for finding in findings.values())
    assert (refusing.conversations, dropping.conversations) == (0, 0)


def test_terminal_that_serves_tcp_is_not_bothered_over_udp(stack: ExitStack, port: int) -> None:
    """A terminal that accepts a connection and closes it is in another conversation: no second attempt."""
    datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    datagrams.bind((host(1), port))
    datagrams.setblocking(False)
    stack.enter_context(listening(host(1), port, hanging_up))

    finding = found(searching(port, 1))[host(1)]

    assert "transport" not in finding.entry
    with pytest.raises(BlockingIOError):
        datagrams.recv(1)


def test_silent_and_closed_hosts_are_no_terminals(stack: ExitStack, port: int) -> None:
    """A host that never answers costs the time-out, a closed port nothing."""
    stack.enter_context(silent(host(1), port))

    assert list(discover(searching(port, 1, 2, timeout_s=0.1))) == [None, None]


def test_terminal_that_trickles(stack: ExitStack, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that come byte by byte are answers; those that never end cost one answer's time and no more."""
    slow, endless = SimulatedTerminal(serial="SLOW"), SimulatedTerminal(serial="ENDLESS")
    stack.enter_context(listening(host(1), port, trickling(slow)))
    finding = found(searching(port, 1))[host(1)]
    assert finding.info is not None
    assert finding.info.serial == "SLOW"
    monkeypatch.setattr(discovery, "MIN_ANSWER_TIMEOUT_S", 0.2)
    stack.enter_context(listening(host(2), port, trickling(endless, pause_s=0.1)))

    finding = found(searching(port, 2, timeout_s=0.2))[host(2)]

    assert isinstance(finding.error, TerminalUnavailable)


def test_what_was_learned_before_it_broke_off_is_kept(stack: ExitStack, port: int) -> None:
    """A terminal that does not report how full its log is has reported its serial all the same."""

    class Shy(SimulatedTerminal):
        @property
        def count(self) -> int:
            raise OSError("unplugged")

    stack.enter_context(Simulator(Shy(serial="SHY"), host(1), port))

    finding = found(searching(port, 1))[host(1)]

    assert finding.info is not None
    assert finding.info.serial == "SHY"
    assert finding.clock is not None
    assert finding.sizes is None
    assert isinstance(finding.error, TerminalUnavailable)


def test_no_more_than_32_at_once(stack: ExitStack, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many hosts keep silent, no more connections are open than that, and every host gets its turn."""
    monkeypatch.setattr(discovery, "MIN_ANSWER_TIMEOUT_S", 0.5)
    lock = threading.Lock()
    opened: list[Transport] = []
    peak = 0

    class Counted(Transport):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            nonlocal peak
            with lock:
                opened.append(self)
                peak = max(peak, len(opened))
            super().__init__(*arguments, **more)

        def close(self) -> None:
            super().close()
            with lock, suppress(ValueError):  # closed before
                opened.remove(self)

    monkeypatch.setattr(discovery, "Transport", Counted)
    # One door for the whole network: this machine answers on all of 127.0.0.0/8.
    stack.enter_context(listening("0.0.0.0", port, mute))  # noqa: S104 - for the length of this test

    findings = found(searching(port, *range(1, 101), rate=100_000.0, timeout_s=0.5))

    assert len(findings) == 100
    assert peak == discovery.MAX_PARALLEL_HOSTS == 32


def test_attempts_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 50 a second everybody waits for a turn of his own, 20 ms after the last; time unused is not made up for."""
    waits: list[float] = []
    clock = 100.0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(round(timeout or 0, 6))
            return self.is_set()

    monkeypatch.setattr(discovery, "time", SimpleNamespace(monotonic=lambda: clock))
    pace = discovery._RateLimit(50, Stop())
    for _ in range(3):
        pace.wait()
    clock = 110.0
    for _ in range(2):
        pace.wait()

    assert waits == [0, 0.02, 0.04, 0, 0.02]


def test_a_stopped_search_closes_its_conversations_and_keeps_its_results(stack: ExitStack, port: int) -> None:
    """An open conversation is closed properly and reported; no other address is tried."""
    terminal = SimulatedTerminal()
    search = searching(port, *range(1, 200), rate=50.0)

    class Stopping(SimulatedTerminal):
        def option(self, name: str) -> str | None:
            search.stop.set()
            return super().option(name)

    terminal = Stopping()
    stack.enter_context(Simulator(terminal, host(1), port))

    items = list(discover(search))

    (finding,) = filter(None, items)
    assert finding.info is not None
    assert finding.info.serial == terminal.serial
    assert len(items) < 199
    assert terminal.conversations == 0
    assert terminal.commands[wire.CMD_EXIT] == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("discover")]


def test_an_abandoned_search_ends(stack: ExitStack, port: int) -> None:
    """Closing the generator is enough."""
    terminal = SimulatedTerminal()
    stack.enter_context(Simulator(terminal, host(1), port))
    search = searching(port, *range(1, 200), rate=50.0)

    with closing(discover(search)) as items:
        next(items)

    assert search.stop.is_set()
    assert terminal.conversations == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("discover")]


def test_address_that_cannot_be_reached_does_not_end_the_search(stack: ExitStack, port: int) -> None:
    """In a large network some addresses are broadcasts of smaller ones, to which the system opens no connection."""
    terminal = SimulatedTerminal()
    stack.enter_context(Simulator(terminal, host(1), port))

    first, second = discover(Search(["255.255.255.255", host(1)], port=port))

    (finding,) = filter(None, (first, second))
    assert finding.host == host(1)


def test_a_network_that_cannot_be_reached_is_reported() -> None:
    """Without a way there, silence would be no finding."""
    with pytest.raises(TerminalUnavailable, match=r"255\.255\.255\.255:4370 cannot be reached"):
        list(discover(Search(["255.255.255.255"])))
