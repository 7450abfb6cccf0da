"""What a real daemon sends to the service manager, on a real socket."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway.service import MORE_START_S, ServiceManager
from tests.broker import WAIT_S, Broker, eventually
from tests.gateway.test_app import configured, here

HANGING_WRITER = (
    "import sys, threading\n"
    "from pathlib import Path\n"
    "from gateway import app\n"
    "from gateway.ledger import writer\n"
    "from gateway.settings import load\n"
    "app.WATCHDOG_TRANSACTION_S = 0.5\n"
    "commit, hang = writer.Writer._commit, threading.Event()\n"
    "def slow(self, connection, jobs):\n"
    "    if Path('hang').exists(): threading.Event().wait()\n"
    "    commit(self, connection, jobs)\n"
    "writer.Writer._commit = slow\n"
    "app.Daemon(load(Path(sys.argv[1]))).run(threading.Event())\n"
)


class Manager:
    """The service manager's ear."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.received: list[str] = []

    def listen(self) -> list[str]:
        """Return everything received so far."""
        while True:
            try:
                self.received += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.received

    def fed(self, *, during_s: float) -> bool:
        """Return whether the watchdog is fed in the time to come."""
        self.listen()
        before = len(self.received)
        until = time.monotonic() + during_s
        while time.monotonic() < until:
            if "WATCHDOG=1" in self.listen()[before:]:
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Listen as systemd does."""
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def run(tmp_path: Path, manager: Manager) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a daemon that one terminal and a broker keep busy, as a service."""
    with Broker(tmp_path) as broker, Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        config = configured(tmp_path, broker, {"lobby": simulator.address})
        processes: list[subprocess.Popen[bytes]] = []

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            with (tmp_path / "daemon.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, *arguments, str(config)],
                    cwd=tmp_path,
                    env=os.environ | {"NOTIFY_SOCKET": manager.address, "PYTHONPATH": str(Path(__file__).parents[2])},
                    stderr=log,
                )
            processes.append(process)
            return process

        yield start
        for process in processes:
            process.kill()
            process.wait()


def test_ready_how_it_goes_alive_stopping(manager: Manager, run: Callable[..., subprocess.Popen[bytes]]) -> None:
    """In this order, and each line once; the watchdog is fed at every tick."""
    process = run("-m", "gateway.cli", "run", "--config")
    eventually(lambda: "STATUS=1 of 1 terminals online; broker: connected" in manager.listen())
    eventually(lambda: manager.listen().count("WATCHDOG=1") >= 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0

    received = manager.listen()
    assert received[0] == "READY=1"
    assert received[-2:] == ["STATUS=stopping", "STOPPING=1"]
    output = [line for line in received if line != "WATCHDOG=1"]
    assert len(output) == len(set(output))


def test_watchdog_starves_while_the_writer_hangs(
    tmp_path: Path, manager: Manager, run: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A disk that does not come back from fsync: the process lives, its threads too, and nothing is fed."""
    process = run("-c", HANGING_WRITER)
    assert manager.fed(during_s=WAIT_S)
    (tmp_path / "hang").touch()

    eventually(lambda: not manager.fed(during_s=3))
    assert process.poll() is None


def test_a_watchdog_that_bites_leaves_where_every_thread_hung(
    tmp_path: Path, manager: Manager, run: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """SIGABRT, as systemd sends it, to a process that was frozen; the log then has stacks, and a restart follows."""
    process = run("-m", "gateway.cli", "run", "--config")
    assert manager.fed(during_s=WAIT_S)
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: not manager.fed(during_s=3))
    process.send_signal(signal.SIGABRT)
    process.send_signal(signal.SIGCONT)

    assert process.wait(WAIT_S) == -signal.SIGABRT
    log = (tmp_path / "daemon.log").read_bytes()
    assert b"Thread 0x" in log
    assert b"in _tick" in log


@pytest.mark.parametrize("address", ["{folder}/notify", "@hadir-test-{unique}"])
def test_a_long_start_is_reported_repeatedly(tmp_path: Path, address: str) -> None:
    """Both kinds of address; progress that comes a thousand times a second is sent once in a while."""
    manager = Manager(address.format(folder=tmp_path, unique=os.getpid()))
    service = ServiceManager({"NOTIFY_SOCKET": manager.address})
    for _ in range(1000):
        service.starting()

    assert manager.listen() == [f"EXTEND_TIMEOUT_USEC={MORE_START_S * 1_000_000}"]
    manager.close()


@pytest.mark.parametrize("listener", [None, "gone"])
def test_a_missing_service_manager_harms_nothing(tmp_path: Path, listener: str | None) -> None:
    """Started by hand, or by a manager that is gone."""
    service = ServiceManager({} if listener is None else {"NOTIFY_SOCKET": str(tmp_path / listener)})
    service.starting()
    service.ready()
    service.status("well")
    service.alive()
    service.stopping()

    assert list(tmp_path.iterdir()) == []
