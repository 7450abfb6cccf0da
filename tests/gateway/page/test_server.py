"""The page's thread, whose troubles are its own."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import urllib3
from structlog.testing import capture_logs

from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway.app import Daemon
from gateway.page.server import CONNECTIONS
from gateway.pause import Pause
from gateway.settings import load
from tests.broker import WAIT_S, Broker, Subscriber, eventually, free_port
from tests.gateway.page.office import configuration
from tests.gateway.test_app import here

HEAVY = ("starlette", "uvicorn", "jinja2", "gateway.page")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it try again at once."""
    monkeypatch.setattr("gateway.page.server.PAUSE", Pause(0.05, 0.1))


def test_a_port_in_use_is_logged_once_and_tried_again(tmp_path: Path, quick: None) -> None:
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
            subscriber.wait_for(lambda _: subscriber.on("/punch/lobby"))
        try:
            eventually(lambda: [line for line in logs if line["event"] == "page_served"])
            assert urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=WAIT_S).status == 200
        finally:
            stop.set()
            running.join(WAIT_S)
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
                running.join(WAIT_S)
    assert codes == [0]
    assert len([line for line in logs if line["event"] == "page_failed"]) == 2


def _answers(port: int, path: str = "/healthz") -> bool:
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}{path}", timeout=WAIT_S, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def test_a_part_that_does_not_work_is_named(tmp_path: Path) -> None:
    """The health that /healthz reports: of a daemon that has not been started, no part runs."""
    with Broker(tmp_path) as broker:
        daemon = Daemon(load(configuration(tmp_path, broker, {"lobby": "127.0.0.1:9"}, "null")))
    assert daemon._problem() == "publisher: its thread has ended"
    daemon._control.close()
    daemon._ledger.close()


@contextmanager
def serving(folder: Path, web: str = "") -> Iterator[int]:
    """Run a gateway whose terminal and broker are away, with its page; yield the port."""
    stop, port = threading.Event(), free_port()
    with Broker(folder) as broker:
        file = configuration(folder, broker, {"lobby": "127.0.0.1:9"}, f"{{listen: '127.0.0.1:{port}'{web}}}")
        running = threading.Thread(target=Daemon(load(file)).run, args=(stop,))
        running.start()
        try:
            eventually(lambda: _answers(port, "/page.css"))
            yield port
        finally:
            stop.set()
            running.join(WAIT_S)


def connected(port: int, peer: int) -> socket.socket:
    """Connect from one of this machine's many addresses, each of which is a peer."""
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(f"127.0.0.{peer}", 0))


def test_no_peer_holds_more_than_a_quarter_of_the_places(tmp_path: Path) -> None:
    """Whoever opens a thousand connections does not take the page from others."""
    with serving(tmp_path) as port, ExitStack() as held:
        mine = [held.enter_context(closing(connected(port, 2))) for _ in range(CONNECTIONS)]
        ended = [connection for connection in mine[CONNECTIONS // 4 :] if _receive(connection) == b""]
        assert len(ended) == CONNECTIONS - CONNECTIONS // 4
        for connection in mine[: CONNECTIONS // 4]:  # the others have kept their places
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert _answers(port)


SLOWLY = {
    "nothing": b"",
    "half a line": b"GET / HTTP/1.1\r\nHo",
    "half a body": b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n\r\ntoken=",
    "half of a second request": b"GET /page.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\nHo",
}


@pytest.mark.parametrize("sent", SLOWLY.values(), ids=SLOWLY)
def test_who_does_not_finish_a_request_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Also who goes on sending, a byte at a time."""
    monkeypatch.setattr("gateway.page.server.REQUEST_S", 1.0)
    monkeypatch.setattr("gateway.page.server.CHECK_S", 0.1)
    (tmp_path / "token").write_text("correct-horse-battery\n")
    (tmp_path / "token").chmod(0o600)
    with serving(tmp_path, ", token_file: token") as port, closing(connected(port, 2)) as connection:
        connection.sendall(sent)

        def goes_on() -> bool:
            try:
                connection.sendall(b"x" if sent else b"")
            except OSError:
                return False
            return True

        connection.settimeout(0.3)
        ended = False
        for _ in range(200):
            try:
                ended = connection.recv(65536) == b""
            except TimeoutError:
                ended = not goes_on()
            except OSError:
                ended = True
            if ended:
                break
        assert ended


def test_who_does_not_take_an_answer_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred answers are requested and none is read: the place is free again."""
    monkeypatch.setattr("gateway.page.server.UNREAD_S", 1.0)
    monkeypatch.setattr("gateway.page.server.CHECK_S", 0.1)
    request = b"GET /?lang=id HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(tmp_path) as port, closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))

        def hung_up_on() -> bool:
            try:
                connection.sendall(request * 100)
            except OSError:
                return True
            return False

        eventually(hung_up_on)


@pytest.mark.parametrize(
    "head", [b"Cookie: " + b"x" * 70_000, b"\r\n".join(b"X-%d: %s" % (n, b"y" * 1000) for n in range(70))]
)
def test_long_headers_are_not_kept(tmp_path: Path, head: bytes) -> None:
    """More than what any browser sends is refused, and is no line in the log."""
    with capture_logs() as logs, serving(tmp_path) as port, closing(connected(port, 2)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert _answers(port)
    assert [line for line in logs if line["event"] == "library_warned"] == []


def test_failures_of_last_year_do_not_make_the_page_wait(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was up for a while begins to count anew."""
    import uvicorn

    paused: list[int] = []

    class Noted(Pause):
        def after(self, failures: int) -> float:
            paused.append(failures)
            return 0.01

    def failing(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        monkeypatch.setattr("gateway.page.server.STABLE_S", -1.0 if len(paused) >= 3 else 3600.0)
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("gateway.page.server.PAUSE", Noted(0.01, 0.01))
    monkeypatch.setattr(uvicorn.Server, "run", failing)
    stop = threading.Event()
    with Broker(tmp_path) as broker, capture_logs():
        file = configuration(tmp_path, broker, {"lobby": "127.0.0.1:9"}, f"{{listen: '127.0.0.1:{free_port()}'}}")
        running = threading.Thread(target=Daemon(load(file)).run, args=(stop,))
        running.start()
        try:
            eventually(lambda: len(paused) >= 6)
        finally:
            stop.set()
            running.join(WAIT_S)
    assert paused[:6] == [1, 2, 3, 1, 1, 1]


def _receive(connection: socket.socket) -> bytes:
    """Return what is sent before the connection is ended."""
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
        done = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
            timeout=WAIT_S,
        )
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_browser_that_follows_the_feed_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    """Five seconds are what the service manager is promised."""
    port = free_port()
    with Broker(tmp_path) as broker, Simulator(SimulatedTerminal(serial="S1", now=here)) as simulator:
        file = configuration(tmp_path, broker, {"lobby": simulator.address}, f"{{listen: '127.0.0.1:{port}'}}")
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "run", "-c", str(file)], stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: _answers(port))
            feed = urllib3.request("GET", f"http://127.0.0.1:{port}/feed", preload_content=False, timeout=WAIT_S)
            assert feed.read1().startswith(b"retry:")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()
