"""The whole daemon as a process: real terminals on sockets, a real broker, signals and kills."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.app import Daemon
from gateway.event import RECORDED
from gateway.ledger import LedgerReader
from gateway.mqtt.timing import Timing
from gateway.settings import load
from tests import command, contract, control
from tests.broker import WAIT_S, Broker, Subscriber, eventually, program

ZONE = ZoneInfo("Asia/Jakarta")


def here() -> datetime:
    """Return the zone's wall-clock time."""
    return datetime.now(ZONE).replace(tzinfo=None)


def configured(folder: Path, broker: Broker, terminals: dict[str, str]) -> Path:
    """Write a configuration and return its path."""
    file = folder / "gateway.yaml"
    entries = "".join(
        f"  - {{name: {name}, driver: zkteco, address: '{address}', poll: 500ms}}\n"
        for name, address in terminals.items()
    )
    file.write_text(
        f"site: office\ngateway: gw\ntimezone: {ZONE.key}\ndata_dir: data\nweb: null\n"
        f"mqtt: {{url: '{broker.url}'}}\nterminals:\n{entries}"
    )
    return file


@contextmanager
def daemon(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `hadir run` and kill it at the end if it is still there."""
    with (file.parent / "daemon.log").open("ab") as log:
        arguments = ("run", "--config", file, "--assume-synchronised")
        process = command.start("gateway.cli", *arguments, env=os.environ, output=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def punches(subscriber: Subscriber) -> dict[str, str]:
    """Return event id → PIN of all punches received."""
    received = [message.payload for message in list(subscriber.messages) if message.text]
    events = [event for output in received for event in (output if isinstance(output, list) else [output])]
    return {event["id"]: event["data"]["pin"] for event in events if event.get("type") == RECORDED}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Run a broker."""
    with Broker(tmp_path) as broker:
        yield broker


def test_punch_at_the_terminal_becomes_an_event_at_the_broker(tmp_path: Path, broker: Broker) -> None:
    """The main path, with an independent subscriber; every message conforms to the contract."""
    terminal = SimulatedTerminal(serial="S1", now=here)
    received = tmp_path / "heard"
    with Simulator(terminal) as simulator, received.open("wb") as out, Subscriber(broker.port) as subscriber:
        stranger = subprocess.Popen(
            [
                program("mosquitto_sub"),
                "-V",
                "5",
                "-h",
                "127.0.0.1",
                "-p",
                str(broker.port),
                "-t",
                "hadir/v1/+/+/punch/+",
            ],
            stdout=out,
        )
        try:
            with daemon(configured(tmp_path, broker, {"lobby": simulator.address})):
                eventually(lambda: terminal.conversations == 1)
                time.sleep(0.3)
                terminal.punch("1001", verify=15)
                eventually(lambda: received.stat().st_size > 0)
        finally:
            stranger.terminate()
            stranger.wait()
        messages = list(subscriber.messages)

    event = json.loads(received.read_text().splitlines()[0])
    assert (event["data"]["pin"], event["data"]["verify_label"], event["data"]["suspect"]) == ("1001", "face", [])
    for message in messages:
        contract.check(message.topic.removeprefix("hadir/v1/office/gw/"), message.text)


def test_sigterm_ends_within_five_seconds_and_says_offline(tmp_path: Path, broker: Broker) -> None:
    """A clean stop, also while a terminal accepts and sends nothing: `offline` retained, ledger closed, exit code 0."""
    with (
        Simulator(SimulatedTerminal(serial="S1", now=here)) as lobby,
        socket.create_server(("127.0.0.1", 0)) as silent,
        Subscriber(broker.port) as subscriber,
    ):
        lobby.terminal.punch("1001")
        file = configured(tmp_path, broker, {"lobby": lobby.address, "gudang": f"127.0.0.1:{silent.getsockname()[1]}"})
        file.write_text(file.read_text().replace("poll: 500ms", "poll: 500ms, timeout: 60s"))
        with daemon(file) as process:
            connection, _ = silent.accept()
            eventually(lambda: len(punches(subscriber)) == 1)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)

            assert process.wait(WAIT_S) == 0
            assert time.monotonic() - began < 25, "it waited for the silent terminal, or was ended by its own deadline"
            connection.close()
        eventually(lambda: subscriber.messages[-1].payload.get("state") == "offline")

    reader = LedgerReader(tmp_path / "data")
    assert (reader.counts().sent, reader.counts().waiting) == (reader.last_sequence(), 0)
    assert not (tmp_path / "data" / "control.sock").exists()


def test_sigterm_amid_an_import_is_no_failure_and_shows_no_pin(tmp_path: Path, broker: Broker) -> None:
    """The import stops where it is; the log reports it in one line, without an error and without a PIN."""
    history = generate(3, 40_000, 200, datetime(2026, 11, 20, 17, 0), "40")  # noqa: DTZ001 - wall clock
    terminal = SimulatedTerminal(serial="S1", users=history.users, log=history.log, now=here)
    with Simulator(terminal) as simulator:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        with daemon(file) as process:
            eventually((tmp_path / "data" / "ledger.db").exists)
            eventually(lambda: LedgerReader(tmp_path / "data").last_sequence() > 1000)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0

    written = (tmp_path / "daemon.log").read_text()
    assert LedgerReader(tmp_path / "data").last_sequence() < 40_000
    assert "import_interrupted" in written
    assert 'failed": null' in written
    assert not [line for line in written.splitlines() if '"level": "error"' in line or "RawPunch" in line]


def test_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path, broker: Broker) -> None:
    """Killed again and again amid an import and a rush, each record ends at the subscriber exactly once by id."""
    history = generate(3, 6000, 200, datetime(2026, 11, 20, 17, 0), "40")  # noqa: DTZ001 - wall clock
    terminal = SimulatedTerminal(serial="S1", users=history.users, log=history.log, now=here)
    with Simulator(terminal) as simulator, Subscriber(broker.port) as subscriber:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        for attempt in range(6):
            with daemon(file) as process:
                eventually((tmp_path / "data" / "ledger.db").exists)
                time.sleep(0.7 + 0.13 * attempt)
                terminal.punch(f"{2001 + attempt}")
                process.kill()
        with daemon(file) as process:
            eventually(lambda: len(punches(subscriber)) == terminal.count)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
        reader = LedgerReader(tmp_path / "data")
        sequences = [int(json.loads(event.body)["sequence"]) for event in reader.events(0, 20_000)]

    assert reader.punches() == terminal.count == len(punches(subscriber))
    assert sequences == list(range(1, len(sequences) + 1))


def test_resumption_is_on_record(tmp_path: Path, broker: Broker) -> None:
    """After a kill and after a clean stop the next start states since when the gateway was away, and which it was."""
    with Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator, Subscriber(broker.port) as subscriber:
        file = configured(tmp_path, broker, {"lobby": simulator.address})

        def notes() -> list[dict[str, Any]]:
            return [m.payload for m in subscriber.messages if m.topic.endswith("/gw/note")]

        for before, how in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGTERM)):
            with daemon(file) as process:
                eventually(lambda: control.ask(tmp_path / "data", "status"))
                eventually(lambda count=before: len(notes()) == count)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                process.send_signal(how)
                process.wait(WAIT_S)

    assert [note["type"] for note in notes()] == ["hadir.gateway.resumed.v1"] * 2
    assert [note["data"]["clean"] for note in notes()] == [False, True]


def test_broker_outage_is_bridged(tmp_path: Path) -> None:
    """Punches made while the broker is away arrive when it is back; the daemon did not mind."""
    terminal = SimulatedTerminal(serial="S1", now=here)
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(terminal))
        broker = stack.enter_context(Broker(tmp_path))
        subscriber = stack.enter_context(Subscriber(broker.port))
        process = stack.enter_context(daemon(configured(tmp_path, broker, {"lobby": simulator.address})))
        eventually(lambda: terminal.conversations == 1)
        terminal.punch("1001")
        eventually(lambda: len(punches(subscriber)) == 1)
        broker.kill()
        terminal.punch("1002")
        terminal.punch("1003")
        time.sleep(0.5)
        broker.start()

        eventually(lambda: sorted(punches(subscriber).values()) == ["1001", "1002", "1003"])
        assert process.poll() is None


def test_rights_taken_away_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's list forbids punches for a while: an alarm, nothing lost, and all of them when they are allowed."""
    stop = threading.Event()
    terminal = SimulatedTerminal(serial="S1", now=here)
    allowed = "topic readwrite #\n"
    denied = "topic read #\n" + "".join(f"topic write hadir/v1/office/gw/{end}\n" for end in ("state", "alarm", "info"))

    def alarms(subscriber: Subscriber) -> list[str]:
        return [message.payload["alarm"] for message in subscriber.on("/gw/alarm")]

    with (
        Broker(tmp_path, acl=allowed) as broker,
        Simulator(terminal) as simulator,
        Subscriber(broker.port) as subscriber,
    ):
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        gateway = Daemon(load(file), broker_timing=Timing(retry_initial_s=0.2))
        running = threading.Thread(target=gateway.run, args=(stop,))
        running.start()
        try:
            terminal.punch("1001")
            eventually(lambda: len(punches(subscriber)) == 1)

            broker.set_acl(denied)
            broker.reload()
            eventually(lambda: terminal.punch("1002") and "delivery_refused" in alarms(subscriber))
            received = len(punches(subscriber))
            for pin in range(1003, 1013):
                terminal.punch(str(pin))
            reader = LedgerReader(tmp_path / "data")
            eventually(lambda: reader.counts().waiting > 10)
            assert len(punches(subscriber)) == received

            broker.set_acl(allowed)
            broker.reload()
            eventually(lambda: len(punches(subscriber)) == terminal.count)
            eventually(lambda: reader.counts().waiting == 0)
            reader.close()
            assert running.is_alive()
        finally:
            stop.set()
            running.join(WAIT_S)

    assert sorted(set(punches(subscriber).values())) == [str(pin) for pin in range(1001, 1013)]
    assert alarms(subscriber) == ["delivery_refused"]


def test_status_of_the_running_daemon(tmp_path: Path, broker: Broker) -> None:
    """The control socket reports the same as health and terminal states."""
    with (
        Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator,
        daemon(configured(tmp_path, broker, {"lobby": simulator.address})),
    ):

        def online() -> bool:
            status = control.ask(tmp_path / "data", "status")
            return bool(
                status and status["terminals"]["lobby"]["state"] == "online" and status["broker"] == "connected"
            )

        eventually(online)
        status = control.ask(tmp_path / "data", "status")

    assert status is not None
    assert status["alarms"] == []
    contract.check("health", json.dumps(status["health"]))
    contract.check("terminal/lobby/state", json.dumps(status["terminals"]["lobby"]))


class Doubtful:
    """A clock that is not synchronised until the test sets it so."""

    trusted = False
    off = timedelta(days=-400)

    def now(self) -> datetime:
        """Return the machine's time, moved."""
        return datetime.now(UTC) + self.off

    def synchronised(self) -> bool:
        """Return what the test sets."""
        return self.trusted


def test_the_gateway_says_when_its_clock_became_right_and_what_was_recorded_before(tmp_path: Path) -> None:
    """A machine without a clock of its own: what it recorded first is named, with the correction."""
    terminal = SimulatedTerminal(serial="S1", now=here)
    terminal.punch("1001")
    clock, stop = Doubtful(), threading.Event()
    with Simulator(terminal) as simulator, Broker(tmp_path) as broker:
        daemon = Daemon(load(configured(tmp_path, broker, {"lobby": simulator.address})), clock=clock)
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        try:
            reader = LedgerReader(tmp_path / "data")
            eventually(lambda: reader.punches() == 1)
            before = reader.last_sequence()
            clock.off, clock.trusted = timedelta(0), True
            eventually(lambda: [event for event in reader.events(0, 100) if event.topic == "note"])
        finally:
            stop.set()
            running.join(WAIT_S)
        (note,) = [event for event in reader.events(0, 100) if event.topic == "note"]
        reader.close()

    contract.check("note", note.body)
    data = json.loads(note.body)["data"]
    assert (data["first_sequence"], data["last_sequence"]) == (1, before)
    assert abs(data["correction_ms"] - 400 * 86_400_000) < 5000


def test_every_terminal_has_its_night_and_its_tally_in_the_calendar(tmp_path: Path) -> None:
    """Full reading and clock at night, the day's counts after midnight; a tally goes out unretained."""
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        terminals = {"lobby": "127.0.0.1:9", "gudang": "127.0.0.2:9"}
        daemon = Daemon(load(configured(tmp_path, broker, terminals)))
        stop = threading.Event()
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        try:
            eventually(lambda: daemon._calendar._scheduler is not None)
            jobs = daemon._calendar._scheduler.get_jobs()
            eventually(lambda: subscriber.on("/gw/health"))
            next(job for job in jobs if job.id == "tally-gudang").func()
            eventually(lambda: subscriber.on("/tally/gudang"))
        finally:
            stop.set()
            running.join(WAIT_S)
        (tally,) = subscriber.on("/tally/gudang")

    of_terminals = {f"{what}-{name}" for what in ("night", "tally") for name in terminals}
    assert {job.id for job in jobs} == {*of_terminals, "backup", "settings"}
    contract.check("tally/gudang", tally.text)
    assert tally.retain is False


def test_tracebacks_show_no_values(tmp_path: Path) -> None:
    """What goes wrong with a PIN or a key in hand is logged without it, for programs and for people."""
    script = (
        "import structlog\n"
        "from gateway.log import configure_logging\n"
        "configure_logging()\n"
        "def open_door(comm_key, pin):\n"
        "    return 1 / 0\n"
        "try:\n"
        "    open_door(271828, '198609262015051001')\n"
        "except ZeroDivisionError:\n"
        "    structlog.get_logger().exception('failed')\n"
    )
    file = tmp_path / "script.py"
    file.write_text(script.replace("271828", "int('271' + '828')").replace("'1986", "'19' + '86"))
    for_programs = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True).stderr
    terminal, screen = pty.openpty()
    subprocess.run([sys.executable, str(file)], stderr=screen, check=True)
    for_people = os.read(terminal, 65536).decode()
    os.close(terminal)
    os.close(screen)

    for written in (for_programs, for_people):
        assert "ZeroDivisionError" in written
        assert "271828" not in written
        assert "198609262015051001" not in written


def test_log_for_programs_for_people_and_for_the_journal(tmp_path: Path) -> None:
    """JSON, colours, or JSON with the journal's priority in front; what libraries say comes out alike."""
    script = (
        "import logging, structlog\n"
        "from gateway.log import configure_logging\n"
        "configure_logging()\n"
        "structlog.get_logger().info('poll_finished', terminal='lobby')\n"
        "logging.getLogger('paho').warning('hm %s', 1)\n"
    )
    command = [sys.executable, "-c", script]
    for_programs = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    window, screen = pty.openpty()
    subprocess.run(command, stderr=screen, check=True)
    for_people = os.read(window, 65536).decode().splitlines()
    os.close(window)
    os.close(screen)
    file = tmp_path / "journal"
    with file.open("wb") as journal:
        about = os.fstat(journal.fileno())
        stream = f"{about.st_dev}:{about.st_ino}"
        subprocess.run(command, stderr=journal, env=os.environ | {"JOURNAL_STREAM": stream}, check=True)
    for_the_journal = file.read_text().splitlines()

    polled, output = map(json.loads, for_programs)
    assert (polled["event"], polled["level"], polled["terminal"]) == ("poll_finished", "info", "lobby")
    assert (output["event"], output["library"], output["message"]) == (
        "library_warned",
        "paho",
        "hm %s",
    )  # values may be PINs
    assert [line[:4] for line in for_the_journal] == ["<6>{", "<4>{"]
    assert "\x1b[" in for_people[0]
    assert "lobby" in for_people[0]


def test_a_part_that_fails_ends_the_process_loudly(tmp_path: Path, broker: Broker) -> None:
    """A worker that cannot even note a failure takes the process down with a clear last line and exit code 70."""
    script = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from gateway.app import Daemon\n"
        "from gateway.log import configure_logging\n"
        "from gateway.settings import load\n"
        "from gateway.terminal.visit import Reachability, Visits\n"
        "def broken(*_): raise ZeroDivisionError('a mistake of ours')\n"
        "Visits._poll = Reachability.failed = broken\n"
        "configure_logging()\n"
        "sys.exit(Daemon(load(Path(sys.argv[1]))).run(threading.Event()))\n"
    )
    with Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        ended = subprocess.run(
            [sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=WAIT_S, check=False
        )

    assert ended.returncode == 70
    assert "part_failed" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr


def test_damaged_ledger_is_salvaged_and_every_punch_arrives(tmp_path: Path, broker: Broker) -> None:
    """A ledger spoilt while the daemon is down: the next start saves it, reports it, and the centre has every punch."""
    terminal = SimulatedTerminal(serial="S1", now=here)
    terminal.append_raw(generate(1, 300, 20, here()).log)
    with Simulator(terminal) as simulator, Subscriber(broker.port) as subscriber:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        with daemon(file) as process:
            eventually(lambda: len(punches(subscriber)) == 300)
            process.terminate()
            process.wait()
        terminal.punch("1001")
        with (tmp_path / "data" / "ledger.db").open("r+b") as ledger:
            ledger.write(b"garbage " * 2048)
        with daemon(file):
            eventually(lambda: len(punches(subscriber)) == 301)
            eventually(
                lambda: (
                    {message.payload["alarm"] for message in subscriber.on("alarm")}
                    >= {"ledger_salvaged", "stream_opened"}
                )
            )
            info = subscriber.on("gw/info")[-1].payload
    contract.check("info", json.dumps(info))
    assert info["at"] is not None, "it runs with a synchronised clock"
    assert info["predecessor"]["sequence"] > 0
    assert list((tmp_path / "data").glob("ledger.db.damaged-*"))
    with closing(LedgerReader(tmp_path / "data")) as reader:
        assert reader.verify().breach is None


def test_ledger_that_cannot_be_written_ends_with_its_code(tmp_path: Path, broker: Broker) -> None:
    """Trouble that only a person can mend ends the process with exit code 74 and a last line that states it."""
    script = (
        "import resource, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from gateway.app import Daemon\n"
        "from gateway.log import configure_logging\n"
        "from gateway.settings import load\n"
        "configure_logging()\n"
        "daemon = Daemon(load(Path(sys.argv[1])))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "sys.exit(daemon.run(threading.Event()))\n"
    )
    terminal = SimulatedTerminal(serial="S1", now=here)
    terminal.append_raw(generate(1, 2000, 20, here()).log)
    with Simulator(terminal) as simulator:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        ended = subprocess.run(
            [sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=WAIT_S, check=False
        )
    assert ended.returncode == 74
    last = json.loads(ended.stderr.splitlines()[-1])
    assert last["event"] == "ledger_failed"
    assert "disk I/O error; look at the disk" in last["reason"]


def test_reading_waits_for_room_on_the_disk(tmp_path: Path, broker: Broker) -> None:
    """Below the floor nothing is read, people hear of it, and what was recorded before goes out; later all arrives."""
    terminal = SimulatedTerminal(serial="S1", now=here)
    with Simulator(terminal) as simulator, Subscriber(broker.port) as subscriber:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        text = file.read_text()
        file.write_text(text + "retention: {free_floor: 900TiB}\n")
        terminal.punch("1001")
        with daemon(file):
            eventually(lambda: subscriber.on("alarm"))
            eventually(lambda: subscriber.on("lobby/state") and subscriber.on("lobby/state")[-1].payload["last_visit"])
            assert subscriber.on("gw/alarm")[0].payload["alarm"] == "disk_floor"
            assert punches(subscriber) == {}
            contract.check("alarm", json.dumps(subscriber.on("gw/alarm")[0].payload))
            info = subscriber.on("gw/info")[-1].payload
            contract.check("info", json.dumps(info))
            assert info["at"] is None, "punches of lines wait in memory: it shows no quiet office"
        file.write_text(text)
        with daemon(file):
            eventually(lambda: list(punches(subscriber).values()) == ["1001"])


def test_the_centre_asks_and_is_answered(tmp_path: Path, broker: Broker) -> None:
    """A request reaches the terminal's worker or the ledger, and its answer is as the contract states."""
    prefix = "hadir/v1/office/gw/"
    terminal = SimulatedTerminal(serial="S1", now=here)
    terminal.punch("1001")
    with Simulator(terminal) as simulator, Subscriber(broker.port) as centre:
        with daemon(configured(tmp_path, broker, {"lobby": simulator.address})):
            centre.wait_for(lambda _: len(punches(centre)) == 1)
            eventually(lambda: f"{prefix}cmd/+" in broker.log)
            for name, requested in (("report", {}), ("report", {"terminal": "lobby"}), ("poll", {"terminal": "lobby"})):
                centre.publish(f"{prefix}cmd/{name}", requested)
            centre.publish(f"{prefix}cmd/set-clock", {"terminal": "lobby"})
            centre.publish(f"{prefix}cmd/replay", {"terminal": "lobby"}, ResponseTopic=f"{prefix}reply/me")
            centre.wait_for(lambda _: centre.on("/reply/me") and centre.on("/batch"))
            centre.wait_for(lambda _: len([m for m in centre.messages if "/reply/" in m.topic]) == 5)
        answers = [message for message in centre.messages if "/reply/" in message.topic]
        for message in answers:
            contract.check("reply/poll", message.text)
        assert [message.payload["status"] for message in answers] == ["ok", "ok", "ok", "error", "ok"]
        assert answers[0].payload["data"]["health"]["terminals"] == 1
        assert answers[1].payload["data"]["days"][0]["in_ledger"] == 1
        assert answers[3].payload["error"]["code"] == "not_allowed"
        assert answers[4].payload["data"] == {"events": 1, "forgotten": 0}
        assert [event["data"]["pin"] for event in centre.on("/batch")[0].payload] == ["1001"]
