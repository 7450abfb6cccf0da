"""What is in the way is found: every step is made to fail for real, on terminals, brokers and folders."""

import ast
import errno
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from drivers.anviz import simulator as anviz
from drivers.base import RawPunch
from drivers.line import simulator as line
from drivers.zkteco.simulator import Simulator, build
from gateway import advice, caller_check, doctor, event
from gateway.app import Daemon
from gateway.cli.messages import STEPS
from gateway.clock import AssumedClock, SystemClock
from gateway.doctor import BROKER, BROKER_STEPS, GATEWAY, MACHINE_STEPS, TERMINAL_STEPS, Finding, Section, Step
from gateway.findings import FINDINGS
from gateway.ledger import Ledger, LedgerReader
from gateway.mqtt.failure import BrokerCause
from gateway.mqtt.session import RETAINED, Connected, Session, Subscribed
from gateway.mqtt.timing import Timing
from gateway.settings import Settings, load
from gateway.texts import Language
from tests import contract
from tests.authority import Authority
from tests.broker import (
    CONNECT,
    PUBLISH,
    SUBSCRIBE,
    WAIT_S,
    Broker,
    FakeBroker,
    Packet,
    Subscriber,
    connack,
    eventually,
    puback,
    suback,
)
from tests.control import ask
from tests.drivers.zkteco import foreign_services

ZONE = ZoneInfo("Asia/Jakarta")
SERIAL = "SIM0000000001"
PREFIX = "hadir/v1/kantor/gw-01"


def here() -> datetime:
    """Return what a right clock shows."""
    return datetime.now(ZONE).replace(tzinfo=None)


class Doubtful(SystemClock):
    """A machine's clock that nothing keeps right."""

    def synchronised(self) -> bool:
        """Return False."""
        return False


def configured(
    folder: Path, address: str = "127.0.0.1:9", url: str = "mqtt://127.0.0.1:9", *, entry: str = "", more: str = ""
) -> Settings:
    """Load a configuration with one terminal; ``entry`` adds lines to it, ``more`` at the end of the broker's."""
    path = folder / "gateway.yaml"
    path.write_text(
        "site: kantor\ngateway: gw-01\ntimezone: Asia/Jakarta\ndata_dir: data\n"
        f"terminals:\n  - name: lobby\n    driver: zkteco\n    address: '{address}'\n"
        f"    timeout: 2s\n    poll: 1s\n{entry}"
        f"mqtt:\n  url: {url}\n{more}"
    )
    return load(path)


def secret(folder: Path, name: str, text: str) -> Path:
    """Write a file that only its owner can read."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def examined(settings: Settings, part: str | None = None, timing: Timing | None = None) -> dict[str, Step]:
    """Take the steps of one part of the road; return them by name."""
    chosen = [section for section in doctor.sections(settings, AssumedClock(), timing) if part in (None, section.part)]
    steps = list(doctor.examine(chosen))
    assert [step.name for step in steps] == [name for section in chosen for name in section.steps]
    for step in steps:
        assert step.name in STEPS
        output = FINDINGS[step.finding]
        for language in Language:
            assert output.text.into(language, **step.values)
        assert (output.advice is not None) == (step.outcome in ("failed", "warned")), step
    return {step.name: step for step in steps}


def failing(steps: dict[str, Step]) -> list[tuple[str, str]]:
    """Return what is in the way: step and finding."""
    return [(step.name, step.finding) for step in steps.values() if step.outcome == "failed"]


def warned(steps: dict[str, Step]) -> list[tuple[str, str]]:
    """Return what is to be mended, and stops nothing."""
    return [(step.name, step.finding) for step in steps.values() if step.outcome == "warned"]


def recorded(settings: Settings, *, sent: bool = True) -> None:
    """Make a ledger with one punch of the lobby's."""
    ledger = Ledger(settings.data_dir, settings.source)
    ledger.pin_serial("lobby", SERIAL)
    context = event.ReadingContext(
        terminal="lobby", serial=SERIAL, zone=ZONE, via="live", now=datetime.now(UTC), synchronised=True,
        clock=None, stepped=False, tolerance=timedelta(seconds=60),
    )  # fmt: skip
    assert ledger.record_live(context, RawPunch("1001", None, here().replace(microsecond=0), 0, 1, "0", b"1001"))
    if sent:
        ledger.mark_sent([1])
    ledger.close()


@contextmanager
def daemon(settings: Settings) -> Iterator[None]:
    """Run the gateway for the length of a block."""
    stop = threading.Event()
    gateway = Daemon(settings, clock=AssumedClock())
    thread = threading.Thread(target=gateway.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(WAIT_S)


# --- nothing is in the way ----------------------------------------------------------------------------------------


def test_all_well_without_a_daemon(tmp_path: Path) -> None:
    """Every step passes; what is published is the event that was sent before, and the terminal is let go."""
    terminal = build(records=40, now=here)
    with Simulator(terminal) as simulator, Broker(tmp_path) as broker, Subscriber(broker.port) as centre:
        settings = configured(tmp_path, simulator.address, broker.url)
        recorded(settings)
        confirmed(settings, centre)
        steps = examined(settings)
        (message,) = centre.wait_for(lambda _: centre.on("punch/lobby"))[-1:]
        eventually(lambda: terminal.conversations == 0)

    assert failing(steps) == warned(steps) == []
    skipped = ("network", "daemon", "receiver", "tls", "session")
    assert {name: steps[name].finding for name in skipped} == {
        "network": "network_unused",
        "daemon": "no_daemon",
        "receiver": "receiver_unused",
        "tls": "not_encrypted",
        "session": "no_daemon",
    }
    assert all(step.outcome == "passed" for name, step in steps.items() if name not in skipped)
    assert steps["serial"].values == {"serial": SERIAL}
    assert steps["receipt"].values == {"upto": 1, "assigned": 1, "missing": 0}
    with closing(LedgerReader(settings.data_dir)) as ledger:
        assert message.text == ledger.events(0, 1)[0].body
    contract.check("punch/lobby", message.text)


def confirmed(settings: Settings, centre: Subscriber, **changes: Any) -> None:
    """Let the centre confirm that it has what the ledger holds; ``changes`` are what it states otherwise."""
    with closing(LedgerReader(settings.data_dir)) as ledger:
        receipt = {"stream": ledger.stream, "upto": ledger.assigned(), "missing": [], "at": "2026-09-04T00:31:00.000Z"}
    centre.publish(f"{PREFIX}/receipt", receipt | changes, retain=True)


def test_beside_a_daemon_no_session_is_displaced(tmp_path: Path) -> None:
    """A terminal with one conversation is reached through the daemon, and the broker keeps the daemon's session."""
    terminal = build(records=40, one_conversation=True, now=here)
    with Simulator(terminal) as simulator, Broker(tmp_path) as broker, Subscriber(broker.port) as centre:
        settings = configured(tmp_path, simulator.address, broker.url)
        with daemon(settings):
            centre.wait_for(lambda _: centre.on("punch/lobby"))
            eventually(lambda: terminal.conversations == 1)
            steps = examined(settings)
            still = terminal.conversations
            births = [message.payload["state"] for message in centre.on("gw-01/state")]

    assert failing(steps) == []
    assert (still, births) == (1, ["online"])
    assert steps["daemon"].finding == "daemon_runs"
    assert steps["session"].finding == "daemon_connected"
    assert steps["key"].finding == "daemon_holds_it"
    assert steps["record"].finding == "last_punch"


def test_before_the_first_start_an_alarm_is_tried(tmp_path: Path) -> None:
    """Without an event there is nothing that could go twice: an alarm states what it is, as the contract has it."""
    with Broker(tmp_path) as broker:
        settings = configured(tmp_path, url=broker.url)
        unheard = examined(settings, BROKER)
        with Subscriber(broker.port) as centre:
            received = examined(settings, BROKER)
            (message,) = centre.wait_for(lambda _: centre.on("alarm"))

    contract.check("alarm", message.text)
    assert message.payload["alarm"] == "doctor_called"
    assert [steps["subscriber"].finding for steps in (unheard, received)] == [
        "no_subscriber_to_alarms",
        "subscriber_there",
    ]
    assert failing(unheard) == failing(received) == []


# --- this machine -------------------------------------------------------------------------------------------------


def test_folder_that_others_own(tmp_path: Path) -> None:
    """Without access to the data folder there is that message, and terminals that a daemon may hold are left alone."""
    settings = configured(tmp_path)
    settings.data_dir.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from gateway import doctor\n"
        "from gateway.clock import AssumedClock\n"
        "from gateway.settings import load\n"
        "settings = load(Path(sys.argv[1]))\n"
        "'loaded while its file can be read'.encode('idna')\n"
        "if os.getuid() == 0:\n"
        "    os.setgroups([])\n"
        "    os.setuid(65534)\n"
        "else:\n"
        "    settings.data_dir.chmod(0)\n"
        "for step in doctor.examine(doctor.sections(settings, AssumedClock())):\n"
        "    print(step.name, step.outcome, step.finding)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "gateway.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    assert "daemon failed daemon_hidden" in done
    assert "data_dir failed no_permission" in done
    assert "route skipped left_alone" in done


@pytest.mark.parametrize(("number", "finding"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "read_only")])
def test_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, finding: str) -> None:
    """A disk reports that it is full no later than when it is forced to write."""

    def refuse(_file: int) -> None:
        raise OSError(number, os.strerror(number))

    settings = configured(tmp_path)
    settings.data_dir.mkdir()
    monkeypatch.setattr(os, "fsync", refuse)
    steps = examined(settings, GATEWAY)
    assert failing(steps) == [("data_dir", finding)]
    assert steps["disk"].finding == "not_reached"
    assert list(settings.data_dir.iterdir()) == []


def test_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file in the place of the folder."""
    settings = configured(tmp_path)
    settings.data_dir.write_text("")
    assert failing(examined(settings, GATEWAY)) == [("data_dir", "not_writable")]


def test_room_clock_and_ledger(tmp_path: Path) -> None:
    """Less room than is to stay free, a clock that nothing keeps right, and a ledger that is none."""
    settings = configured(tmp_path, more="retention:\n  free_floor: 1000TiB\n")
    settings.data_dir.mkdir()
    (settings.data_dir / "ledger.db").write_bytes(b"no ledger" * 1000)
    (machine, *_) = doctor.sections(settings, Doubtful())
    steps = {step.name: step for step in doctor.examine([machine])}
    assert failing(steps) == [("ledger", "ledger_unusable"), ("disk", "below_floor")]
    assert warned(steps) == [("clock", "clock_not_synchronised")]


@pytest.mark.parametrize(("carrier", "finding"), [("0\n", "no_cable"), ("1\n", "no_network"), (None, "no_cable")])
def test_no_network_at_all_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carrier: str | None, finding: str
) -> None:
    """A cable that is out, or a computer without an address: the cause of what fails behind it, reported once."""
    interface = tmp_path / "net" / "eth0"
    interface.mkdir(parents=True)
    (tmp_path / "net" / "lo").mkdir()
    if carrier is not None:
        (interface / "carrier").write_text(carrier)

    def unreachable(_socket: socket.socket, _address: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(doctor, "INTERFACES", tmp_path / "net")
    monkeypatch.setattr(doctor, "ROUTES", tmp_path / "route")
    monkeypatch.setattr("socket.socket.connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    settings = configured(tmp_path, "192.168.1.201", "mqtts://broker.example.go.id")
    steps = list(doctor.examine(doctor.sections(settings, Doubtful())))
    troubled = [step for step in steps if step.outcome in ("failed", "warned")]
    assert (steps[0].name, steps[0].finding) == ("network", finding)
    assert [(step.part, step.finding) for step in troubled] == [
        (GATEWAY, finding),
        (GATEWAY, "clock_not_synchronised"),
        ("lobby", "terminal_name_unknown"),
        (BROKER, "broker_name_unknown"),
    ]
    assert [doctor.root_of(step, steps) for step in troubled] == [None, *[steps[0]] * 3]


def test_a_network_without_a_router_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's name may be that of a neighbour; a bridge to which nothing is connected is no network."""

    def unreachable(_socket: socket.socket, _address: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    for name, carrier in (("eth0", "1\n"), ("docker0", "0\n")):
        (tmp_path / "net" / name).mkdir(parents=True)
        (tmp_path / "net" / name / "carrier").write_text(carrier)
    monkeypatch.setattr(doctor, "INTERFACES", tmp_path / "net")
    monkeypatch.setattr(doctor, "ROUTES", tmp_path / "route")
    monkeypatch.setattr("socket.socket.connect", unreachable)
    settings = configured(tmp_path, "127.0.0.1", "mqtts://broker.lan")
    found = []
    for connected in ("eth0", "docker0"):
        (tmp_path / "route").write_text(f"Iface\tDestination\tGateway\n{connected}\t0001A8C0\t00000000\n")
        found.append(doctor._look_at_network(settings).name)
    assert found == ["network", "no_network"]


def test_a_network_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cable and a way to one of the addresses; addresses of this computer need none."""
    monkeypatch.setattr(doctor, "_has_route", lambda host: host == "192.168.1.201")
    monkeypatch.setattr(doctor, "_has_carrier", lambda _: True)
    there = configured(tmp_path, "192.168.1.201:4371", "mqtts://broker.example.go.id")
    away = configured(tmp_path, "192.168.1.202", "mqtts://broker.example.go.id")
    here = configured(tmp_path, "127.0.0.1", "mqtt://localhost")
    assert [doctor._look_at_network(settings).name for settings in (there, away, here)] == [
        "network",
        "no_network",
        "network_unused",
    ]


def test_daemon_that_does_not_answer(tmp_path: Path) -> None:
    """The ledger is held and no daemon answers: terminals are left alone all the same."""
    settings = configured(tmp_path)
    ledger = Ledger(settings.data_dir, settings.source)
    steps = examined(settings)
    ledger.close()
    assert failing(steps)[0] == ("daemon", "daemon_mute")
    assert steps["route"].finding == "left_alone"


# --- terminals ----------------------------------------------------------------------------------------------------


def test_terminal_that_does_not_answer(tmp_path: Path) -> None:
    """A closed port, a silent address and an unknown name are distinguished."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        silent = failing(examined(configured(tmp_path, address), "lobby"))
    closed = failing(examined(configured(tmp_path, address), "lobby"))
    unknown = failing(examined(configured(tmp_path, "nosuch.invalid"), "lobby"))
    assert (silent, closed, unknown) == (
        [("port", "silent")],
        [("port", "port_closed")],
        [("route", "terminal_name_unknown")],
    )


def test_terminal_with_another_key(tmp_path: Path) -> None:
    """The wrong key is named, and neither key is shown."""
    secret(tmp_path, "key", "1174")
    with Simulator(build(comm_key=4711, now=here)) as simulator:
        steps = examined(configured(tmp_path, simulator.address, entry="    comm_key_file: key\n"), "lobby")
    assert failing(steps) == [("key", "key_refused")]
    assert steps["port"].outcome == "passed"
    assert "1174" not in str(steps)
    assert "4711" not in str(steps)


@pytest.mark.parametrize(
    ("answer", "finding"),
    [(foreign_services.PANEL, "panel"), (foreign_services.SECURE, "encrypted"), (b"SSH-2.0\r\n" * 2, "not_a_terminal")],
)
def test_another_device_at_the_address(tmp_path: Path, answer: bytes, finding: str) -> None:
    """A device that answers and is no readable terminal is named by its kind."""
    port = foreign_services.free_port()
    with foreign_services.listening("127.0.0.1", port, foreign_services.saying(answer)):
        steps = examined(configured(tmp_path, f"127.0.0.1:{port}"), "lobby")
    assert failing(steps) == [("key", finding)]


@pytest.mark.parametrize("learned", [True, False], ids=["learned", "configured"])
def test_another_terminal_at_the_address(tmp_path: Path, learned: bool) -> None:
    """Of a terminal with another serial nothing more is requested."""
    terminal = build(serial="OTHER1", records=5, now=here)
    with Simulator(terminal) as simulator:
        settings = configured(tmp_path, simulator.address, entry="" if learned else f"    serial: {SERIAL}\n")
        if learned:
            recorded(settings)
        steps = examined(settings, "lobby")
    assert failing(steps) == [("serial", "serial_differs")]
    assert steps["log"].finding == "not_reached"


def test_terminal_that_is_wrong_and_full(tmp_path: Path) -> None:
    """A clock far off, a log nearly full; neither keeps the last record from being read."""
    with Simulator(build(records=95, capacity=100, clock_offset_s=420, now=here)) as simulator:
        steps = examined(configured(tmp_path, simulator.address), "lobby")
    assert failing(steps) == []
    assert warned(steps) == [("terminal_clock", "clock_off"), ("log", "log_filling")]
    assert steps["record"].finding == "last_record"
    assert re.fullmatch(r"\+4(19|20)\.\d", steps["terminal_clock"].values["seconds"])


@pytest.mark.parametrize("beside_a_daemon", [False, True], ids=["alone", "beside a daemon"])
def test_wrong_zone_is_not_taken_for_a_wrong_clock(tmp_path: Path, beside_a_daemon: bool) -> None:
    """The terminal's clock is right and `timezone:` is not: whoever sets the clock falsifies it."""
    with Simulator(build(records=5, clock_offset_s=2 * 3600 + 20, now=here)) as simulator:
        settings = configured(tmp_path, simulator.address)
        with daemon(settings) if beside_a_daemon else nullcontext():
            steps = examined(settings, "lobby")
    assert (failing(steps), warned(steps)) == ([], [("terminal_clock", "clock_zone")])


def test_a_clock_that_is_not_synchronised_judges_no_terminal(tmp_path: Path) -> None:
    """The offset may be this computer's own: no person is sent to the terminal."""
    with Simulator(build(records=5, clock_offset_s=-420, now=here)) as simulator:
        settings = configured(tmp_path, simulator.address)
        steps = list(doctor.examine(doctor.sections(settings, Doubtful())))
    clock, terminal_clock = (next(step for step in steps if step.name == name) for name in ("clock", "terminal_clock"))
    assert (terminal_clock.outcome, terminal_clock.finding) == ("warned", "clock_unjudged")
    assert doctor.root_of(terminal_clock, steps) == clock


@pytest.mark.parametrize("text", [None, "12ab"])
def test_file_of_the_key_that_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    """It is the key that is named, not a serial port and its group."""
    secret(tmp_path, "key", "1174")
    with Simulator(build(comm_key=4711, now=here)) as simulator:
        settings = configured(tmp_path, simulator.address, entry="    comm_key_file: key\n")
        (tmp_path / "key").unlink()
        if text is not None:
            secret(tmp_path, "key", text)
        steps = examined(settings, "lobby")
    assert failing(steps) == [("key", "key_file")]


def test_an_undecodable_last_record(tmp_path: Path) -> None:
    """One bad record is distinguished from a log in no known layout."""
    spoilt, unknown = build(records=40, now=here), build(records=40, now=here)
    spoilt.append_raw(b"\xff" * 40)
    unknown.change_layout("40")
    unknown.log_body = lambda: bytes(range(256)) * 10  # type: ignore[method-assign]
    found = []
    for terminal in (spoilt, unknown):
        with Simulator(terminal) as simulator:
            found.append(failing(examined(configured(tmp_path, simulator.address), "lobby")))
    assert found == [[("record", "record_unreadable")], [("record", "layout_unknown")]]


def test_terminal_as_the_daemon_meets_it(tmp_path: Path) -> None:
    """The daemon's own obstacles: the key, and the clock."""
    secret(tmp_path, "key", "1174")
    with Simulator(build(comm_key=4711, now=here)) as simulator:
        settings = configured(tmp_path, simulator.address, entry="    comm_key_file: key\n")
        with daemon(settings):
            refused = examined(settings, "lobby")
    with Simulator(build(records=5, clock_offset_s=-420, now=here)) as simulator:
        settings = configured(tmp_path, simulator.address)
        with daemon(settings):
            wrong = examined(settings, "lobby")
    assert failing(refused) == [("key", "key_refused")]
    assert (failing(wrong), warned(wrong)) == ([], [("terminal_clock", "clock_off")])


def test_daemon_with_an_older_configuration(tmp_path: Path) -> None:
    """A terminal that the running daemon does not know."""
    with daemon(configured(tmp_path)):
        path = tmp_path / "gateway.yaml"
        path.write_text(path.read_text().replace("name: lobby", "name: gate"))
        steps = examined(load(path), "gate")
    assert failing(steps) == [("route", "daemon_refuses")]


def test_other_families(tmp_path: Path) -> None:
    """On a serial line, in a folder, and where lines of text come from: what there is to try is tried."""

    def entry(driver: str, lines: str) -> dict[str, Step]:
        configured(tmp_path)
        path = tmp_path / "gateway.yaml"
        before = "driver: zkteco\n    address: '127.0.0.1:9'"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, f"driver: {driver}\n    {lines}"))
        return examined(load(path), "lobby")

    terminal = anviz.SimulatedTerminal(now=here)
    terminal.append(*anviz.history(1, 20, here().replace(microsecond=0) - timedelta(days=1)))
    with anviz.Simulator(terminal) as serial:
        on_line = entry("anviz", f"port: {serial.port}\n    bulk_timeout: 5s")
        kept = terminal.marked
    unplugged = entry("anviz", "port: /dev/nowhere")
    with line.Simulator() as talker:
        texts = entry("line", f"port: {talker.port}\n    pattern: '(?P<pin>.*)'\n    serial: X1")
    folder = entry("attlog", f"path: {tmp_path}\n    serial: X1")

    assert failing(on_line) == failing(texts) == failing(folder) == []
    assert on_line["record"].finding == "last_record"
    assert kept == 20
    assert failing(unplugged) == [("port", "port_missing")]
    assert texts["log"].finding == "no_log"
    assert folder["log"].finding == "medium_there"


# --- the broker ---------------------------------------------------------------------------------------------------


def test_broker_that_is_not_there(tmp_path: Path) -> None:
    """An unknown name, and a closed port."""
    unknown = failing(examined(configured(tmp_path, url="mqtt://nosuch.invalid"), BROKER))
    closed = failing(examined(configured(tmp_path), BROKER))
    assert (unknown, closed) == ([("name", "broker_name_unknown")], [("broker_port", "broker_refuses_port")])


def test_broker_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    """The right authority, another one, none at all, and a port without TLS."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = ours.issue("server")
    found = []
    with Broker(tmp_path, f"certfile {server.certificate}", f"keyfile {server.key}") as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        for more in (f"  ca_file: {ours.ca}\n", f"  ca_file: {theirs.ca}\n", ""):
            steps = examined(configured(tmp_path, url=url, more=more), BROKER)
            found.append((steps["tls"].finding, steps["login"].finding))
    assert found == [("tls", "login_nameless"), ("not_trusted", "not_reached"), ("not_trusted", "not_reached")]
    (tmp_path / "plain").mkdir()
    with Broker(tmp_path / "plain") as broker:
        steps = examined(configured(tmp_path, url=broker.url.replace("mqtt:", "mqtts:")), BROKER)
    assert failing(steps) == [("tls", "no_tls")]


def test_broker_that_wants_a_certificate(tmp_path: Path) -> None:
    """With TLS 1.3 that shows only after the handshake."""
    authority = Authority(tmp_path, "ours")
    server = authority.issue("server")
    lines = (
        f"certfile {server.certificate}",
        f"keyfile {server.key}",
        f"cafile {authority.ca}",
        "require_certificate true",
    )
    with Broker(tmp_path, *lines) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        steps = examined(configured(tmp_path, url=url, more=f"  ca_file: {authority.ca}\n"), BROKER)
    assert failing(steps) == [("login", "wants_certificate")]


def test_broker_that_does_not_know_us(tmp_path: Path) -> None:
    """A wrong password; it is not shown."""
    secret(tmp_path, "password", "hunter2")
    more = "  username: kantor/gw-01\n  password_file: password\n"
    with Broker(tmp_path, users={"kantor/gw-01": "other"}) as broker:
        steps = examined(configured(tmp_path, url=broker.url, more=more), BROKER)
    assert failing(steps) == [("login", "login_refused")]
    assert "hunter2" not in str(steps)


def test_broker_that_forbids(tmp_path: Path) -> None:
    """An access list that knows another gateway."""
    secret(tmp_path, "password", "hunter2")
    more = "  username: gw\n  password_file: password\n"
    acl = f"user gw\ntopic read {PREFIX}/receipt\ntopic write hadir/v1/kantor/gw-02/#\n"
    with Broker(tmp_path, users={"gw": "hunter2"}, acl=acl) as broker:
        settings = configured(tmp_path, url=broker.url, more=more)
        recorded(settings)
        steps = examined(settings, BROKER)
    assert failing(steps) == [("publish", "publish_forbidden")]
    assert steps["publish"].values["topic"] == f"{PREFIX}/punch/lobby"
    assert steps["receipts"].outcome == "passed"


def test_broker_that_lets_us_hear_nothing(tmp_path: Path) -> None:
    """A refused subscription is reported, and does not keep the rest from being tried."""

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == PUBLISH:
            return puback(packet.mid)
        return {CONNECT: connack(), SUBSCRIBE: suback(packet.mid, 0x87)}.get(packet.kind)

    with FakeBroker(answer) as broker:
        steps = examined(configured(tmp_path, url=broker.url), BROKER)
    assert failing(steps) == [("receipts", "subscription_refused")]
    assert steps["publish"].outcome == "passed"


@pytest.mark.parametrize(
    ("code", "finding"), [(0x88, "connection_refused"), (None, "says_nothing")], ids=["unavailable", "silent"]
)
def test_broker_that_is_none(tmp_path: Path, code: int | None, finding: str) -> None:
    """One that is too busy, and something that accepts and sends nothing."""
    with FakeBroker(lambda packet: connack(code) if code and packet.kind == CONNECT else None) as broker:
        steps = examined(configured(tmp_path, url=broker.url), BROKER, Timing(connect_s=0.5))
        assert failing(steps) == [("login", finding)]


def test_centre_that_is_away(tmp_path: Path) -> None:
    """No subscriber, and no receipt although delivery waits for one."""
    with Broker(tmp_path) as broker:
        settings = configured(tmp_path, url=broker.url, more="delivery:\n  confirm: centre\n")
        recorded(settings)
        steps = examined(settings, BROKER)
    assert failing(steps) == [("subscriber", "no_subscriber"), ("receipt", "receipt_missing")]


def test_receipts_that_are_not_for_us(tmp_path: Path) -> None:
    """One of another ledger, and one that is none."""
    with Broker(tmp_path) as broker, Subscriber(broker.port) as centre:
        settings = configured(tmp_path, url=broker.url)
        recorded(settings)
        confirmed(settings, centre, stream="6f9c2b34-0000-4000-8000-000000000000")
        foreign = examined(settings, BROKER)
        confirmed(settings, centre, upto=-1)
        unreadable = examined(settings, BROKER)
    assert failing(foreign) == [("receipt", "receipt_foreign")]
    assert failing(unreadable) == [("receipt", "receipt_unreadable")]


def test_old_protocol_cannot_tell(tmp_path: Path) -> None:
    """With MQTT 3.1.1 a refusal looks like an acceptance, and the doctor claims nothing."""
    with Broker(tmp_path) as broker:
        steps = examined(configured(tmp_path, url=broker.url, more="  protocol: '3.1.1'\n"), BROKER)
    assert failing(steps) == []
    assert steps["publish"].finding == steps["subscriber"].finding == "refusals_invisible"


def test_daemon_that_is_kept_out(tmp_path: Path) -> None:
    """The broker has let us in, and not the daemon: its own connection is in the way."""
    with Broker(tmp_path) as broker:
        settings = configured(tmp_path, url=broker.url)
        away = configured(tmp_path)
        with daemon(away):
            eventually(lambda: "cannot be reached" in (ask(away.data_dir, "status") or {}).get("broker", ""))
            steps = examined(settings, BROKER)
    assert failing(steps) == [("session", "daemon_not_connected")]


# --- time, and words ----------------------------------------------------------------------------------------------


def test_step_that_hangs_is_left_behind() -> None:
    """What does not come in time is in the way; the steps behind it are not reached, the other parts are."""
    forever = threading.Event()

    def walk() -> Iterator[Finding]:
        yield Finding("a", "passed", "fine", {})
        forever.wait()

    hanging = Section("x", ("a", "b", "c"), walk, deadline_s=0.2)
    well = Section("y", ("d",), lambda: [Finding("d", "passed", "fine", {})])
    steps = list(doctor.examine([hanging, well]))
    forever.set()
    assert [(step.name, step.finding) for step in steps] == [
        ("a", "fine"),
        ("b", "too_slow"),
        ("c", "not_reached"),
        ("d", "fine"),
    ]


def test_mistake_in_a_step_is_not_hidden() -> None:
    """An error of ours is no finding."""
    with pytest.raises(ZeroDivisionError):
        list(doctor.examine([Section("x", ("a",), lambda: [Finding("a", "passed", str(1 / 0), {})])]))


def test_words_of_both_languages_take_the_same_values() -> None:
    """Nothing that one language contains is left out of the other."""
    for name, found in FINDINGS.items():
        for output in filter(None, found):
            places = [set(re.findall(r"{(\w+)}", text)) for text in output]
            assert places[0] == places[1], name
    assert {*MACHINE_STEPS, *TERMINAL_STEPS, *BROKER_STEPS} < set(STEPS)


def test_every_finding_has_words_and_every_word_a_finding() -> None:
    """Whatever the code may find has a text; and no text is kept that it cannot find."""
    code = ast.parse("".join(Path(str(module.__file__)).read_text("utf-8") for module in (doctor, caller_check)))
    calls = [node for node in ast.walk(code) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    found = {
        node.args[1].value
        for node in calls
        if node.func.id in ("_passed", "_failed", "_skipped")  # type: ignore[attr-defined]  # a Name, as was asked
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    }
    texts = {node.value for node in ast.walk(code) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert len(found) > 40
    assert found <= set(FINDINGS)
    named = {found.name for found in advice._BY_REASON.values()} | {found.name for found in advice._BY_CAUSE.values()}
    named |= {*advice.BROKER_FINDINGS.values(), *get_args(advice.ClockFinding)}
    assert named <= set(FINDINGS)
    assert set(FINDINGS) - {"configuration_read", "configuration_outdated", "configuration_wrong"} <= texts | named
    assert set(doctor.CONSEQUENCES) | {name for names in doctor.CONSEQUENCES.values() for name in names} <= set(
        FINDINGS
    )
    assert set(advice.BROKER_FINDINGS) == set(get_args(BrokerCause))
    assert {name for name in advice.BROKER_FINDINGS.values() if FINDINGS[name].advice is None} == set()


def test_a_broker_that_answers_without_end_is_bounded(tmp_path: Path) -> None:
    """Statements that were not requested do not pile up in memory."""
    receipt = b"\x00\x1fhadir/v1/kantor/gw-01/receipt" + b"\x00" + b"x" * 50
    receipt = receipt.replace(b"\x00\x1f", len("hadir/v1/kantor/gw-01/receipt").to_bytes(2, "big"), 1)
    flood = (bytes((0x30, len(receipt))) + receipt) * 1280

    def answer(packet: Packet) -> bytes | None:
        return {CONNECT: connack(), SUBSCRIBE: flood + suback(packet.mid, 0)}.get(packet.kind)

    with FakeBroker(answer) as broker:
        settings = configured(tmp_path, url=broker.url)
        session = Session(settings.mqtt, "doctor", settings.topic_prefix, timing=Timing())
        try:
            assert isinstance(session.connect(), Connected)
            session.subscribe({"receipt": RETAINED})
            assert session.wait_for(Subscribed, timeout_s=WAIT_S) is not None
            assert session.inbox.empty()
            statements, requests, ignored = session.mailbox.take()
            assert statements["receipt"].payload == b"x" * 50
            assert (len(statements), requests, ignored) == (1, [], {})
        finally:
            session.close(gracefully=True)
