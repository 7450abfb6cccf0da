"""The receiver in the daemon: terminals that call, through the worker, to the ledger and back."""

import json
import socket
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from structlog.testing import capture_logs

from drivers.base import (
    CallerPort,
    Delivery,
    Driver,
    RawPunch,
    Settlement,
    Terminal,
    TerminalInfo,
    TerminalUnavailable,
)
from drivers.push.simulator import SimulatedTerminal, Simulator
from drivers.receiver.caller import CallerOptions
from drivers.receiver.http import Reply, Request
from drivers.receiver.registry import Body, Collected, Exchange, Key, Serial
from drivers.soap import simulator as web
from drivers.zkteco import simulator as network
from gateway import app
from gateway import callers as callers_module
from gateway.callers import config_of
from gateway.clock import SystemClock
from gateway.commands import Refusal
from gateway.doctor import examine, sections
from gateway.pause import Pause
from gateway.settings import load
from tests.broker import WAIT_S, Broker, eventually, free_port
from tests.drivers.receiver.caller import get, post, to_end
from tests.gateway import office as office_module
from tests.gateway.calling_office import CallingOffice, settings_with
from tests.gateway.test_cli import hadir
from tests.gateway.test_reload import NOTHING
from tests.gateway.test_reload import Office as DaemonOffice

SN = "SYN0000000001"
LINE = b"0042\t2026-11-30 07:01:02\t0\t1\n"


class Options(CallerOptions):
    """Options of the paper terminal that calls."""

    serial: str = SN

    def key(self) -> Key:
        """Return the serial number."""
        return Serial(self.serial)


class PaperTerminal:
    """What a driver of callers does, in a few lines: each line of an upload is a punch."""

    def __init__(self, port: CallerPort) -> None:
        self._port = port
        self.waiting: deque[tuple[bytes, Exchange]] = deque()
        self.has_called = False
        self.visits = 0

    def begin(self, request: Request, exchange: Exchange) -> Reply | Body:
        """Take uploads, answer polls."""
        if not self.has_called:
            self.has_called = True
            self._port.wake()
        if request.method != "POST":
            return Reply(200, b"OK")

        def arrived(body: bytes) -> None:
            self.waiting.append((body, exchange))
            self._port.wake()

        return Collected(None, None, arrived)

    @contextmanager
    def connect(self) -> Iterator[Terminal]:
        """Begin a visit."""
        self.visits += 1
        if not self.has_called:
            raise TerminalUnavailable("it has not called")
        yield self

    def serial(self) -> str:
        """Return the serial number."""
        return SN

    def identify(self) -> TerminalInfo:
        """Return who it is."""
        return TerminalInfo(SN, "paper", None)

    def read_clock(self) -> None:
        """Have no clock."""

    def deliveries(self, timeout_s: float) -> Generator[Delivery, None, None]:
        """Deliver what has arrived."""
        assert timeout_s == 0.0
        while self.waiting:
            body, exchange = self.waiting.popleft()

            def settle(_settlement: Settlement, exchange: Exchange = exchange, lines: int = body.count(b"\n")) -> bool:
                return exchange.reply(Reply(200, b"OK: %d" % lines))

            def refuse(exchange: Exchange = exchange) -> None:
                exchange.reply(Reply(503))

            records = [
                RawPunch(fields[0].decode(), None, datetime.fromisoformat(fields[1].decode()), None, None, None, line)
                for line in body.splitlines()
                if (fields := line.split(b"\t"))
            ]
            with Delivery(records, "push", settle=settle, refuse=refuse) as delivery:
                yield delivery


@dataclass
class Paper:
    """The driver, and what it attached."""

    attached: list[PaperTerminal] = field(default_factory=list)

    def driver(self) -> Driver:
        """Return the driver."""
        return Driver("paper", Options, self._connect, attach=self._attach)

    @contextmanager
    def _connect(self, _options: Options) -> Iterator[Terminal]:
        raise TerminalUnavailable("it calls")
        yield

    @contextmanager
    def _attach(self, _options: Options, port: CallerPort) -> Iterator[PaperTerminal]:
        terminal = PaperTerminal(port)
        self.attached.append(terminal)
        with port.register(Serial(SN), terminal):
            yield terminal


@dataclass(kw_only=True)
class Office(CallingOffice):
    """An office whose terminal calls."""

    paper: Paper

    def exchange(self, request: bytes) -> bytes:
        """Call as a terminal does; return the reply's body, or its status where that is not 200."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as sock:
            sock.sendall(request)
            head, _, body = to_end(sock).partition(b"\r\n\r\n")
        return body if b" 200 " in head[:20] else head[9:12]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office with a receiver."""
    paper = Paper()
    entry: dict[str, object] = {"name": "gate", "driver": "zkteco", "address": "127.0.0.1", "poll": "1h", "serial": SN}
    with Office.receiving(tmp_path, entry, Serial(SN), paper=paper, driver=paper.driver()) as opened:
        yield opened


def test_a_terminal_that_calls_is_acknowledged_after_the_commit(office: Office) -> None:
    """From the socket through the worker of a crew to the ledger, and back."""
    assert office.exchange(get()) == b"503"
    worker = office.visit()
    eventually(lambda: office.paper.attached and worker.state.cause == "unavailable")
    assert office.exchange(get()) == b"OK"
    eventually(lambda: worker.state.online)

    for number in range(3):
        assert office.exchange(post(LINE.replace(b"02", b"%02d" % number))) == b"OK: 1"
        assert len(office.pins()) == number + 1
    assert worker.state.serial == SN
    assert len(office.paper.attached) == 1


def test_the_first_call_ends_the_pause_after_silence(office: Office) -> None:
    """A terminal that is switched on again need not wait for the next attempt."""
    office.timing.pauses = dict.fromkeys(office.timing.pauses, Pause(3600.0, 3600.0))
    worker = office.visit()
    eventually(lambda: office.paper.attached and office.paper.attached[0].visits == 1)

    assert office.exchange(post(LINE)) == b"OK: 1"
    eventually(lambda: worker.state.online)


def test_a_requested_visit_is_made_at_once(office: Office) -> None:
    """As `hadir reconcile` requests it."""
    worker = office.visit()
    eventually(lambda: office.paper.attached)
    office.exchange(get())
    eventually(lambda: worker.state.online)
    worker.request().result(WAIT_S)
    before = worker.state.last_visit
    worker.request().result(WAIT_S)
    assert worker.state.last_visit != before


def test_while_the_worker_is_replaced_the_terminal_repeats(office: Office) -> None:
    """Between the end of one worker and the start of the next its calls get 503; then its records are stored."""
    first = office.visit()
    eventually(lambda: office.paper.attached)
    office.exchange(get())
    eventually(lambda: first.state.online)
    first.stop()
    assert first.join(WAIT_S)
    assert office.exchange(post(LINE)) == b"503"
    second = office.create_worker()
    second.follow(first)
    second.start()
    eventually(lambda: len(office.paper.attached) == 2)
    office.exchange(get())
    assert office.exchange(post(LINE)) == b"OK: 1"
    assert office.pins() == ["0042"]


def test_a_driver_that_cannot_attach_is_tried_again(office: Office) -> None:
    """Such as for a moment after a worker was replaced."""
    office.may_fail = True
    office.timing.pauses = dict.fromkeys(office.timing.pauses, office_module.BRIEF)
    with office.callers._registry.register(Serial(SN), PaperTerminal(office.callers.port(*(None,) * 3))):  # type: ignore[arg-type]
        worker = office.visit()
        eventually(lambda: worker.state.cause == "internal")
    eventually(lambda: worker.state.cause == "unavailable")
    assert office.exchange(post(LINE)) == b"OK: 1"


def test_strangers_are_reported_once_a_day(office: Office) -> None:
    """The first ten with an alarm; the status lists all."""
    for number in range(12):
        assert office.exchange(get(query=f"SN=OTHER{number}")) == b"503"
    with capture_logs() as logged:
        office.callers.check()
        office.callers.check()
        office.exchange(get(query="SN=OTHER0"))
        office.callers.check()
        assert [line["event"] for line in logged] == ["stranger_called"] * 12
        assert office.alarms == ["stranger_called"] * 10
        status = office.callers.status()
        assert status is not None
        assert [caller["serial"] for caller in status["strangers"]][:2] == ["OTHER0", "OTHER11"]
        office.clock.offset = timedelta(days=2)
        office.callers.check()
        assert len(logged) == 12  # none has called since
        office.exchange(get(query="SN=OTHER0"))
        office.callers.check()
        assert len(logged) == 13


def test_a_flood_of_strangers_fills_neither_memory_nor_log(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can call with any number of serial numbers, and each would be a line of the log."""
    monkeypatch.setattr(callers_module, "STRANGER_REPORTS", 20)
    with capture_logs() as logged:
        for number in range(50):
            assert office.exchange(get(query=f"SN=OTHER{number}")) == b"503"
            office.callers.check()
        assert len(logged) == 20
        office.clock.offset = timedelta(days=2)
        office.exchange(get(query="SN=OTHER0"))
        office.callers.check()
        assert len(logged) == 21


def test_the_time_is_given_only_while_it_is_trusted(office: Office) -> None:
    """A terminal's clock is never set from an unsynchronised one."""
    port = office.callers.port(office.settings(), office_module.ZONE, lambda: None)
    assert port.trusted_now() is not None
    assert not port.sets_clock
    office.clock.trusted = False
    assert port.trusted_now() is None
    assert office.callers.port(office.settings(clock={"set": "nightly"}), port.zone, port.wake).sets_clock


def test_every_limit_of_the_settings_arrives() -> None:
    """Each under its own name."""
    receiver = settings_with(
        listen="[::1]:8088",
        strangers="refuse",
        limits={
            "connections": 501,
            "per_address": 502,
            "head_bytes": 1025,
            "head_timeout": "4s",
            "body_bytes": "65KiB",
            "body_timeout": "5s",
            "discard_bytes": "66KiB",
            "discard_timeout": "6s",
            "memory_bytes": "2MiB",
            "hold": "7s",
            "requests_per_second": 8,
            "burst": 9,
        },
    ).receiver
    assert receiver is not None
    config = config_of(receiver)
    values = [getattr(config.limits, name) for name in type(config.limits).__slots__]
    assert sorted(map(float, values)) == sorted(
        [501, 502, 1025, 4, 65 * 1024, 5, 66 * 1024, 6, 2 * 1024**2, 7, 8, 9], key=float
    )
    assert (config.host, config.port, config.strangers, config.listen) == ("::1", 8088, "refuse", "[::1]:8088")


# --- in the daemon ------------------------------------------------------------------------------------------------


def receiver_of(port: int, more: str = "") -> str:
    """Return the section of the configuration."""
    return f"receiver: {{listen: '127.0.0.1:{port}'{more}}}\n"


@dataclass
class Receiving(DaemonOffice):
    """An office whose configuration may have a receiver."""

    more: str = ""

    def write(self, more: str = "") -> None:
        """Write the configuration with a further section."""
        super().write(more or self.more)


@pytest.fixture
def daemon_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiving]:
    """Open an office with a broker and a daemon."""
    monkeypatch.setattr(app, "TICK_S", 0.02)
    with Broker(tmp_path) as broker:
        yield Receiving(tmp_path, broker, {"lobby": {"address": "127.0.0.1:1"}})


def call(port: int) -> bytes:
    """Call as a stranger."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
        sock.sendall(get())
        return to_end(sock)


def test_a_reload_opens_moves_and_closes_the_port_or_changes_nothing(daemon_office: Receiving) -> None:
    """Without a restart; a port that is taken leaves everything as it was."""
    office, (first, second) = daemon_office, (free_port(), free_port())
    with office.running() as daemon:
        assert daemon._status()["receiver"] is None
        office.write(receiver_of(first))
        assert daemon.reload() == NOTHING | {"receiver": ["receiver"]}
        assert b" 503 " in call(first)
        assert daemon._status()["receiver"]["strangers"][0]["serial"] == SN
        json.dumps(daemon._status())
        office.write(receiver_of(second, ", strangers: refuse"))
        assert daemon.reload() == NOTHING | {"receiver": ["receiver.listen", "receiver.strangers"]}
        assert b" 401 " in call(second)
        with socket.create_server(("127.0.0.1", first)):
            office.entries["gate"] = {"address": "127.0.0.1:2"}
            office.write(receiver_of(first))
            with pytest.raises(Refusal, match="in use"):
                daemon.reload()
        assert b" 401 " in call(second)
        assert [worker.name for worker in daemon._workers] == ["lobby"]
        office.write()
        assert daemon.reload()["receiver"] == ["receiver"]
        with pytest.raises(ConnectionRefusedError):
            call(second)


def test_a_port_that_is_taken_at_the_start_keeps_no_terminal_waiting(
    daemon_office: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened as soon as it is free."""
    monkeypatch.setattr("drivers.receiver.listener.RETRY_S", (0.05, 0.1))
    office = daemon_office
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logged, ExitStack() as stack:
        port = taken.getsockname()[1]
        office.more = receiver_of(port)
        daemon = stack.enter_context(office.running())
        eventually(lambda: (daemon._status()["receiver"] or {}).get("problem") == "Address already in use")
        eventually(lambda: next(iter(daemon._workers)).is_alive)
        taken.close()
        eventually(lambda: daemon._status()["receiver"]["open"])
        assert b" 503 " in call(port)
        events = [line["event"] for line in logged]
        assert (events.count("receiver_unavailable"), events.count("receiver_opened")) == (1, 1)
        assert any(alarm["alarm"] == "receiver_unavailable" for alarm in daemon._status()["alarms"])


def test_strangers_are_listed_by_status_page_and_metrics(daemon_office: Receiving) -> None:
    """With serial number and address: what is needed to add them, or to find them."""
    office, port, page = daemon_office, free_port(), free_port()
    office.more = receiver_of(port) + f"web: {{listen: '127.0.0.1:{page}'}}\n"
    with office.running() as daemon:
        eventually(lambda: (daemon._status()["receiver"] or {}).get("open"))
        call(port)
        shown = hadir("status", "-c", str(office.file), "--lang", "en").stdout
        assert "A terminal calls that is not configured: SYN0000000001, from 127.0.0.1" in shown
        assert "SYN0000000001  127.0.0.1" in shown
        assert "Terminals that call and are not configured" in shown
        reported = json.loads(hadir("status", "-c", str(office.file), "--json").stdout)
        assert reported["receiver"]["strangers"][0]["requests"] == {"getrequest": 1}
        html, metrics = (
            urllib3.request("GET", f"http://127.0.0.1:{page}{path}", retries=False, timeout=WAIT_S).data.decode()
            for path in ("/?lang=id", "/metrics")
        )
        assert "Mesin yang menghubungi gateway dan belum terdaftar" in html
        assert "<td>127.0.0.1</td>" in html
        metrics = urllib3.request(
            "GET", f"http://127.0.0.1:{page}/metrics", retries=False, timeout=WAIT_S
        ).data.decode()
        assert "hadir_receiver_open 1\n" in metrics
        assert "hadir_receiver_strangers 1\n" in metrics
        assert 'hadir_receiver_replies_total{code="503"} 1\n' in metrics


def test_the_doctor_judges_terminals_by_their_calls(daemon_office: Receiving) -> None:
    """One that never called, one that only polls, in both languages; without a daemon the port is tried."""
    office, port = daemon_office, free_port()
    office.entries = {
        "gate": {"driver": "push", "serial": SN, "poll": "1s"},
        "aula": {"driver": "push", "serial": "SYN0000000002", "poll": "1s"},
        "gudang": {"driver": "push", "serial": "SYN0000000003", "from": "192.0.2.0/24", "poll": "1s"},
    }
    office.more = receiver_of(port)
    config = ("-c", str(office.file))
    office.write()
    assert f"127.0.0.1:{port} can be opened" in hadir("doctor", *config, "--lang", "en").stdout
    with office.running() as daemon:
        eventually(lambda: (daemon._status()["receiver"] or {}).get("open"))
        never = hadir("doctor", *config, "--lang", "en").stdout
        assert never.count(f"127.0.0.1:{port} can be reached from this computer only") >= 3

        def gate_is_online() -> bool:
            call(port)
            return bool(daemon._status()["terminals"]["gate"]["state"] == "online")

        eventually(gate_is_online)
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
            sock.sendall(get(query="SN=SYN0000000003"))
            assert b" 503 " in to_end(sock)
        english, indonesian = (hadir("doctor", *config, "--lang", language).stdout for language in ("en", "id"))
        assert "it calls, and no punch has arrived yet" in english
        assert "it calls from 127.0.0.1, which `from:` does not allow" in english
        assert "mesin menghubungi gateway, tetapi belum ada presensi yang masuk" in indonesian
        assert "yang tidak diizinkan oleh `from:`" in indonesian
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as sock:
            sock.sendall(get(query="SN=OTHER1"))
            to_end(sock)
        third = hadir("doctor", *config, "--lang", "en").stdout
        assert "terminals with other serial numbers do: OTHER1 (127.0.0.1)" in third


def test_a_probe_says_which_ways_a_terminal_offers(daemon_office: Receiving) -> None:
    """Over both transports of port 4370, and whether it calls: known by its serial number, else by its address."""
    office, port = daemon_office, free_port()
    office.more = receiver_of(port)
    config = ("-c", str(office.file))

    def ways(*arguments: str) -> dict[str, tuple[bool | None, str]]:
        done = hadir("probe", *arguments, *config, "--json")
        assert done.returncode == 0, done.stderr
        return {way["name"]: (way["offered"], way["detail"]) for way in json.loads(done.stdout)["ways"]}

    with network.Simulator(network.SimulatedTerminal(serial=SN)) as terminal, office.running() as daemon:
        eventually(lambda: (daemon._status()["receiver"] or {}).get("open"))

        found = ways(terminal.address)
        assert found["4370 over TCP"] == (True, "`driver: zkteco`")
        assert found["4370 over UDP"] == (True, "`driver: zkteco`, `transport: udp`")
        assert found["PUSH (it calls)"][0] is False
        assert f"server address 127.0.0.1 and port {port}" in found["PUSH (it calls)"][1]
        call(port)
        assert ways(terminal.address)["PUSH (it calls)"][1].endswith("`driver: push`, `serial: SYN0000000001`")
        # Its port is shut: then its address is what is known.
        found = ways("127.0.0.1:1", "--timeout", "1s")
        assert found["4370 over TCP"] == (False, "the port is closed")
        assert found["PUSH (it calls)"][0] is True
        in_words = hadir("probe", "127.0.0.1:1", "--timeout", "1s", *config)
        assert in_words.returncode == 0
        assert "Ways to read 127.0.0.1:1:" in in_words.stdout
    alone = hadir("probe", "127.0.0.1:1", "--timeout", "1s", *config)
    assert alone.returncode == 69
    assert "no gateway runs here" in alone.stdout
    with web.Simulator(network.SimulatedTerminal(serial=SN)) as solution:
        office.entries["aula"] = {"driver": "soap", "address": solution.address, "web_port": solution.web.port}
        office.write()
        found = ways("aula")
        assert [found[name][0] for name in ("4370 over TCP", "4370 over UDP", f"SOAP, port {solution.web.port}")] == [
            True,
            True,
            True,
        ]


def test_the_doctor_finds_what_was_set_wrongly_at_a_terminal(daemon_office: Receiving) -> None:
    """Tried with terminals that are: no call, another serial number, only polls, proxy, typed port, A&C."""
    office, port = daemon_office, free_port()
    faults = {"gate": None, "aula": "proxy", "gudang": "typed-port", "pos": None, "lobby": "wrong-serial"}
    terminals = {
        name: SimulatedTerminal(serial=f"SYN000000000{place}", firmware="acc" if name == "pos" else "2.4")
        for place, name in enumerate(faults)
    }
    office.entries = {name: {"driver": "push", "serial": one.serial, "poll": "1d"} for name, one in terminals.items()}
    office.more = f"receiver: {{listen: '0.0.0.0:{port}'}}\n"

    def steps(name: str) -> set[str]:
        """Return the doctor's findings about a terminal."""
        (section,) = [one for one in sections(load(office.file), SystemClock()) if one.part == name]
        return {step.finding for step in examine([section])}

    with office.running() as daemon, ExitStack() as stack:
        eventually(lambda: (daemon._status()["receiver"] or {}).get("open"))
        eventually(lambda: steps("gate") >= {"never_called"})
        for name, terminal in terminals.items():
            if fault := faults[name]:
                terminal.faults.switch(fault)
            if name != "gate":  # a query for the whole log delivers also what a terminal does not upload by itself
                terminal.punch("1001")
            stack.enter_context(Simulator(terminal, f"http://127.0.0.1:{port}", pace=0.02))
        status = daemon._status
        eventually(lambda: len(status()["receiver"]["callers"]) == 4 and status()["receiver"]["strangers"])
        eventually(lambda: all(status()["terminals"][name]["last_punch"] for name in ("aula", "gudang", "pos")))
        eventually(lambda: steps("gate") >= {"calls", "only_polls"})
        eventually(lambda: steps("aula") >= {"proxy_is_on", "last_punch"})
        eventually(lambda: steps("gudang") >= {"port_in_address", "last_punch"})
        eventually(lambda: steps("pos") >= {"access_control_mode", "last_punch"})
        eventually(lambda: steps("lobby") >= {"another_serial_calls"})
