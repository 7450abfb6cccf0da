"""The page's thread, whose troubles are its own."""

import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import urllib3
from structlog.testing import capture_logs

from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway.app import Daemon
from gateway.page.server import CONNECTIONS
from gateway.pause import Pause
from gateway.settings import load
from tests.broker import Broker, Subscriber, eventually, free_port
from tests.gateway.page.office import configuration
from tests.gateway.test_app import here

HEAVY = ("starlette", "uvicorn", "jinja2", "gateway.page")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it try again at once."""
    monkeypatch.setattr("gateway.page.server.PAUSE", Pause(0.05, 0.1))


def test_a_port_that_is_taken_is_said_once_and_tried_again(tmp_path: Path, quick: None) -> None:
    """Punches go their way meanwhile; as soon as the port is free the page is there."""
    terminal, stop, port = SimulatedTerminal(serial="S1", now=here), threading.Event(), free_port()
    with (
        Broker(tmp_path) as broker,
        Simulator(terminal) as simulator,
        Subscriber(broker.port) as subscriber,
        capture_logs() as logs,
    ):
        file = configuration(tmp_path, broker, {"lobby": simulator.address}, f"{{listen: '127.0.0.1:{port}'}}")
        with socket.create_server(("127.0.0.1", port)):
            running = threading.Thread(target=Daemon(load(file)).run, args=(stop,))
            running.start()
            eventually(lambda: [line for line in logs if line["event"] == "page_unavailable"])
            terminal.punch("1001")
            subscriber.wait_for(lambda _: subscriber.on("/punch/lobby"), 20)
        try:
            eventually(lambda: [line for line in logs if line["event"] == "page_served"])
            assert urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=20).status == 200
        finally:
            stop.set()
            running.join(20)
    assert len([line for line in logs if line["event"] == "page_unavailable"]) == 1
    assert not running.is_alive()


def test_whatever_ends_the_page_does_not_end_the_daemon(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is served again, the mistake is in the log."""
    import uvicorn

    serve, failures = uvicorn.Server.run, [ZeroDivisionError("a mistake of ours"), SystemExit(3)]

    def broken(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        if failures:
            raise failures.pop()
        serve(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", broken)
    stop, port = threading.Event(), free_port()
    with Broker(tmp_path) as broker, Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        file = configuration(tmp_path, broker, {"lobby": simulator.address}, f"{{listen: '127.0.0.1:{port}'}}")
        with capture_logs() as logs:
            codes: list[int] = []
            running = threading.Thread(target=lambda: codes.append(Daemon(load(file)).run(stop)))
            running.start()
            try:
                eventually(lambda: len([line for line in logs if line["event"] == "page_served"]) == 3)
                eventually(lambda: _answers(port))
            finally:
                stop.set()
                running.join(20)
    assert codes == [0]
    assert len([line for line in logs if line["event"] == "page_failed"]) == 2


def _answers(port: int) -> bool:
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=20, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def test_a_part_that_does_not_work_is_named(tmp_path: Path) -> None:
    """What /healthz asks: of a daemon that has not been started, no part runs."""
    with Broker(tmp_path) as broker:
        daemon = Daemon(load(configuration(tmp_path, broker, {"lobby": "127.0.0.1:9"}, "null")))
    assert daemon._trouble() == "publisher: its thread has ended"
    daemon._control.close()
    daemon._ledger.close()


def test_connections_that_ask_nothing_are_few_and_do_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a thousand takes neither the terminals' file descriptors nor, for long, the page."""
    monkeypatch.setattr("gateway.page.server.ASKED_WITHIN_S", 1.0)
    stop, port = threading.Event(), free_port()
    with Broker(tmp_path) as broker, ExitStack() as held:
        file = configuration(tmp_path, broker, {"lobby": "127.0.0.1:9"}, f"{{listen: '127.0.0.1:{port}'}}")
        running = threading.Thread(target=Daemon(load(file)).run, args=(stop,))
        running.start()
        try:
            eventually(lambda: _answers(port))
            silent = [
                held.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
                for _ in range(CONNECTIONS + 9)
            ]
            silent[0].sendall(b"GET / HTTP/1.1\r\nHo")
            for connection in silent:
                connection.settimeout(20)
            assert [connection for connection in silent if _heard(connection)] == []
            assert _answers(port)
        finally:
            stop.set()
            running.join(20)


def _heard(connection: socket.socket) -> bytes:
    """Return what is said before the connection is ended."""
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def test_without_web_nothing_of_it_is_in_memory(tmp_path: Path) -> None:
    """A small machine pays for what it uses."""
    script = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from gateway.app import Daemon\n"
        "from gateway.settings import load\n"
        "daemon, stop = Daemon(load(Path(sys.argv[1]))), threading.Event()\n"
        "threading.Timer(1, stop.set).start()\n"
        "daemon.run(stop)\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    with Broker(tmp_path) as broker:
        file = configuration(tmp_path, broker, {"lobby": "127.0.0.1:9"}, "null")
        told = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert told.stderr.splitlines()[-1] == "[]"


def test_a_browser_that_follows_the_feed_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    """Five seconds are what the service manager is promised."""
    port = free_port()
    with Broker(tmp_path) as broker, Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        file = configuration(tmp_path, broker, {"lobby": simulator.address}, f"{{listen: '127.0.0.1:{port}'}}")
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "run", "-c", str(file)], stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: _answers(port), 30)
            feed = urllib3.request("GET", f"http://127.0.0.1:{port}/feed", preload_content=False, timeout=20)
            assert feed.read1().startswith(b"retry:")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
