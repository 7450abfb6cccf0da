"""Whatever part fails, in whatever way: the process ends, states which in its last line, and can be started again."""

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers import DRIVERS
from drivers.base import Driver, Terminal
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway.app import Daemon
from gateway.ledger import LedgerReader
from gateway.settings import load
from gateway.terminal.worker import Worker
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.gateway.test_app import configured, here

RUN = """
import sys, threading, time
from pathlib import Path
from gateway import app, control, control_server
from gateway.app import Daemon
from gateway.log import configure_logging
from gateway.settings import load
{sabotage}
configure_logging()
sys.exit(Daemon(load(Path(sys.argv[1]))).run(threading.Event()))
"""
BROKEN = "def broken(*_, **__): raise ZeroDivisionError('a mistake of ours')\n"
HANGING = (
    "from gateway.ledger import writer\n"
    "app.LEDGER_HUNG_S, app.SHUTDOWN_S = 1.0, 2.0\n"
    "commit, begun = writer.Writer._commit, time.monotonic()\n"
    "def hang(self, connection, jobs):\n"
    "    if time.monotonic() > begun + 1.5: threading.Event().wait()\n"
    "    commit(self, connection, jobs)\n"
    "writer.Writer._commit = hang\n"
)
HANGING_MAIN_LOOP = HANGING + (
    "def note(self):\n"
    "    if time.monotonic() > begun + 1.5: self._ledger.remember('lobby', ranged=True)\n"
    "app.Daemon._note_correction = note\n"
)
SABOTAGES = {
    "worker": (
        "thread worker-lobby",
        BROKEN + "from gateway.terminal import visit\nvisit.Visits._poll = visit.Reachability.failed = broken",
    ),
    "publisher": (
        "thread publisher",
        BROKEN + "from gateway.mqtt import connection\nconnection.Connection._fill_window = broken",
    ),
    "ledger": ("ledger", BROKEN + "from gateway.ledger import writer\nwriter.Writer._commit = broken"),
    "commands": ("thread commands", BROKEN + "from gateway import commands\ncommands.Commands._work = broken"),
    "library of mqtt": (
        "thread paho-mqtt-client-hadir-office-gw",
        BROKEN + "from paho.mqtt import client\nclient.Client._loop = broken",
    ),
    "library of the calendar": (
        "thread APScheduler",
        BROKEN + "from apscheduler.schedulers.background import BackgroundScheduler\n"
        "BackgroundScheduler._process_jobs = broken",
    ),
    "control socket": (
        "thread control",
        BROKEN + "control_server.Control._serve = lambda self: (time.sleep(1.5), broken())",
    ),
    "answer of the control socket": (
        "thread control-answer",
        BROKEN + "import contextlib\ncontrol_server.Control._answer = broken\n"
        "def ask_for_ever():\n"
        "    while True:\n"
        "        with contextlib.suppress(Exception): control.ask(Path('data'), 'status')\n"
        "        time.sleep(0.5)\n"
        "threading.Thread(target=ask_for_ever, daemon=True).start()",
    ),
    "watch itself": ("watch", BROKEN + "app.Daemon._watch_disk_state = broken"),
    "disk that hangs": ("ledger", HANGING),
    "disk that hangs under the main loop": ("ledger", HANGING_MAIN_LOOP),
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Run a broker."""
    with Broker(tmp_path) as broker:
        yield broker


@contextmanager
def punching(terminal: SimulatedTerminal) -> Iterator[None]:
    """Let a person punch once a second, so that the ledger's writer always has a next transaction."""
    ended = threading.Event()

    def punch() -> None:
        while not ended.wait(1.0):
            terminal.punch("1001")

    thread = threading.Thread(target=punch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(("part", "sabotage"), SABOTAGES.values(), ids=SABOTAGES)
def test_any_part_that_fails_ends_the_process_with_a_last_line(
    tmp_path: Path, broker: Broker, part: str, sabotage: str
) -> None:
    """Exit code 70, and a last line that names what has failed; the next start is as any other."""
    terminal = SimulatedTerminal(serial="S1", now=here)
    terminal.punch("1001")
    with Simulator(terminal) as simulator, Subscriber(broker.port, "hadir/v1/office/gw/punch/+") as subscriber:
        file = configured(tmp_path, broker, {"lobby": simulator.address})
        with punching(terminal):
            ended = subprocess.run(
                [sys.executable, "-c", RUN.format(sabotage=sabotage), str(file)],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                capture_output=True,
                text=True,
                timeout=WAIT_S,
                check=False,
            )
        assert ended.returncode == 70, ended.stderr
        last = json.loads(ended.stderr.splitlines()[-1])
        assert last["level"] == "critical"
        assert last["failed"].startswith(part), ended.stderr
        assert "ZeroDivisionError" in last["reason"] or "look at the disk" in last["reason"]

        stop = threading.Event()
        running = threading.Thread(target=Daemon(load(file)).run, args=(stop,))
        running.start()
        try:
            subscriber.wait_for(lambda messages: messages)
        finally:
            stop.set()
            running.join(WAIT_S)


def test_a_driver_that_fails_costs_its_terminal_only(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process and the other terminals go on; one line, state and alarm name the terminal."""
    good, bad = (SimulatedTerminal(serial=serial, now=here) for serial in ("S1", "S2"))
    bad_driver = Driver("zkteco", DRIVERS["zkteco"].options, fails_at_the_second)
    create = Daemon._create_worker
    monkeypatch.setattr(Daemon, "_create_worker", lambda self, entry: with_driver(create(self, entry), bad_driver))
    stop = threading.Event()
    with (
        Simulator(good) as simulator,
        Simulator(bad) as other,
        Subscriber(broker.port) as subscriber,
        capture_logs() as logs,
    ):
        file = configured(tmp_path, broker, {"lobby": simulator.address, "bad": other.address})
        code: list[int] = []
        running = threading.Thread(target=lambda: code.append(Daemon(load(file)).run(stop)))
        running.start()
        try:
            eventually(lambda: [line for line in logs if line["event"] == "driver_failed"])
            good.punch("1001")
            eventually(lambda: subscriber.on("/punch/lobby"))
            eventually(lambda: subscriber.on("/gw/alarm"))
        finally:
            stop.set()
            running.join(20)
    assert code == [0]
    alarm = subscriber.on("/gw/alarm")[0].payload
    assert (alarm["alarm"], alarm["terminal"]) == ("driver_failed", "bad")
    assert "a PIN" not in str(logs)


def fails_at_the_second(options: Any) -> AbstractContextManager[Terminal]:
    """Connect to one terminal, and raise what no driver may for the other."""
    if options.name == "bad":
        raise struct.error("a PIN")
    return DRIVERS["zkteco"].connect(options)


def with_driver(worker: Worker, driver: Driver) -> Worker:
    """Return a worker that uses another driver."""
    worker._context.driver = driver
    return worker


class Stepped:
    """A trusted clock that a test may step."""

    off = timedelta(0)

    def now(self) -> datetime:
        """Return the machine's time, moved."""
        return datetime.now(UTC) + self.off

    def synchronised(self) -> bool:
        """Vouch for it."""
        return True


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=30)], ids=str)
def test_a_step_of_the_wall_clock_stops_nothing(tmp_path: Path, broker: Broker, step: timedelta) -> None:
    """Punches go on arriving, polls too, and the jobs of the calendar are armed and run."""
    terminal, clock, stop = SimulatedTerminal(serial="S1", now=here), Stepped(), threading.Event()
    with Simulator(terminal) as simulator, Subscriber(broker.port) as subscriber, capture_logs() as logs:
        daemon = Daemon(load(configured(tmp_path, broker, {"lobby": simulator.address})), clock=clock)
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        try:
            eventually(lambda: terminal.conversations == 1 and daemon._calendar._scheduler is not None)
            armed = daemon._calendar._scheduler
            clock.off = step
            eventually(lambda: [line for line in logs if line["event"] == "wall_clock_stepped"])
            eventually(lambda: daemon._calendar._scheduler not in (armed, None))
            assert set(daemon._calendar.next_runs()) >= {"backup", "night-lobby", "tally-lobby"}

            daemon._calendar._scheduler.modify_job("tally-lobby", next_run_time=datetime.now(UTC))
            eventually(lambda: subscriber.on("/tally/lobby"))
            for number in range(3):
                before = next(iter(daemon._workers)).state.last_visit
                terminal.punch(f"100{number}")
                eventually(lambda: subscriber.on("/punch/lobby")[number:])  # noqa: B023 - it is done with at once
                eventually(lambda: next(iter(daemon._workers)).state.last_visit != before)  # noqa: B023 - the same
        finally:
            stop.set()
            running.join(WAIT_S)
    assert not running.is_alive()
    reader = LedgerReader(tmp_path / "data")
    assert reader.punches() == 3
    reader.close()
