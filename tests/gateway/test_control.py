"""The control socket: real Unix sockets in real folders."""

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway import control
from gateway.commands import Refusal
from gateway.control import Done, Failed, NotRunning
from gateway.control_server import MAX_AT_ONCE, Control
from gateway.ledger import LedgerError, LedgerFull
from tests.broker import WAIT_S, eventually


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder whose path is longer than a socket name may be, with a daemon listening in it."""
    folder = tmp_path / ("a-long-name-" * 10)
    folder.mkdir()
    listening = Control(folder, {"status": lambda requested: {"echo": requested.get("what")}})
    yield folder
    listening.close()


def failure(answer: control.Answer) -> Failed:
    """Return the answer, which must be a failure."""
    assert isinstance(answer, Failed)
    return answer


def test_question_is_answered(folder: Path) -> None:
    """A command reaches its handler with its arguments, and the answer comes back."""
    assert control.ask(folder, "status", what="all") == Done({"echo": "all"})


def test_an_unknown_command_is_answered_as_such(folder: Path) -> None:
    """A daemon of another version runs all the same, and goes on answering."""
    assert failure(control.ask(folder, "clear-log")).code == "unknown_command"
    assert control.ask(folder, "status") == Done({"echo": None})


@pytest.mark.parametrize("garbage", [b"\n", b"\xff\xfe\n", b"[1, 2]\n", b"{}\n", b"", b"[" * 200_000 + b"\n"])
def test_garbage_is_survived(folder: Path, garbage: bytes) -> None:
    """Bytes that are no request do not stop the listening."""
    with socket.socket(socket.AF_UNIX) as connection:
        control.at_short_path(connection.connect, folder / control.SOCKET_NAME)
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)

    assert control.ask(folder, "status") == Done({"echo": None})


def test_silent_connections_take_a_limited_number_of_threads(folder: Path) -> None:
    """Whoever may enter the folder cannot take all threads and file descriptors of the daemon, and others come next."""
    silent = [socket.socket(socket.AF_UNIX) for _ in range(MAX_AT_ONCE + 20)]
    for connection in silent:
        control.at_short_path(connection.connect, folder / control.SOCKET_NAME)
    eventually(lambda: answering() == MAX_AT_ONCE)
    for connection in silent[: MAX_AT_ONCE - 1]:
        connection.close()

    assert control.ask(folder, "status", timeout_s=WAIT_S) == Done({"echo": None})
    assert answering() <= MAX_AT_ONCE
    for connection in silent:
        connection.close()


def answering() -> int:
    """Return how many connections are being served."""
    return sum(thread.name == "control-answer" for thread in threading.enumerate())


def test_a_connection_for_which_there_is_no_descriptor_waits(tmp_path: Path) -> None:
    """Descriptors that run out for a moment do not end the listening."""
    refused = threading.Event()

    class Closing(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            refused.set()
            return super().wait(timeout)

    listening = Control(tmp_path, {"status": lambda _requested: {}})
    listening._closing = Closing()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        # More than one: a thread that an earlier test has left may free a descriptor just when one is accepted.
        connections = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(5)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(one.fileno() for one in connections) + 1, limits[1]))
        held: list[int] = []
        try:
            for connection in connections:
                with suppress(OSError):  # none is left
                    while True:  # whatever tests before this one have closed below the limit
                        held.append(os.open(os.devnull, os.O_RDONLY))
                connection.connect(str(tmp_path / control.SOCKET_NAME))
                if refused.wait(WAIT_S / 4):
                    break
            assert refused.is_set()
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        connection.settimeout(WAIT_S)
        connection.sendall(b'{"command": "status"}\n')

        assert connection.recv(1000) == b'{"status": "ok", "data": {}}\n'
    listening.close()


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (RuntimeError("a mistake of ours"), "failed"),
        (LedgerFull("the disk is full; make room on it"), "disk_full"),
        (LedgerError("the ledger is closed"), "ledger_failed"),
    ],
)
def test_a_command_that_fails_is_not_taken_for_an_absent_gateway(tmp_path: Path, raised: Exception, code: str) -> None:
    """The reason comes back, and the next question is answered as if nothing had been."""

    def fail(_requested: dict[str, Any]) -> dict[str, Any]:
        raise raised

    listening = Control(tmp_path, {"broken": fail, "status": lambda _: {"well": True}})
    failed = failure(control.ask(tmp_path, "broken"))
    assert (failed.code, failed.is_refusal) == (code, False)
    assert control.ask(tmp_path, "status") == Done({"well": True})
    listening.close()


def test_an_answer_that_takes_too_long_is_not_taken_for_none(tmp_path: Path) -> None:
    """The gateway is busy, and may still execute the request."""
    requested, done = threading.Event(), threading.Event()

    def slow(_requested: dict[str, Any]) -> dict[str, Any]:
        requested.set()
        done.wait(60)
        return {}

    listening = Control(tmp_path, {"slow": slow})
    failed = failure(control.ask(tmp_path, "slow", timeout_s=0.5))
    assert (failed.code, "has not answered" in failed.message) == ("timed_out", True)
    assert requested.wait(30)
    done.set()
    listening.close()


def test_a_gateway_with_a_full_queue_of_connections_is_not_taken_for_none(tmp_path: Path) -> None:
    """It runs: nothing may be done as if it did not. When it has room again, it answers."""
    with socket.socket(socket.AF_UNIX) as listening, ExitStack() as waiting:
        control.at_short_path(listening.bind, tmp_path / control.SOCKET_NAME)
        listening.listen(0)
        with suppress(BlockingIOError):
            while True:
                connection = waiting.enter_context(socket.socket(socket.AF_UNIX))
                connection.setblocking(False)
                control.at_short_path(connection.connect, tmp_path / control.SOCKET_NAME)
        assert failure(control.ask(tmp_path, "status", timeout_s=0.2)).code == "timed_out"

        def serve() -> None:
            while True:
                peer, _ = listening.accept()
                with peer:
                    if peer.recv(1000):
                        peer.sendall(b'{"status": "ok", "data": {}}\n')
                        return

        waiting.close()
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        assert control.ask(tmp_path, "status", timeout_s=WAIT_S) == Done({})
        serving.join(WAIT_S)


def test_a_gateway_that_ends_in_the_middle_is_not_taken_for_none(tmp_path: Path) -> None:
    """Whether it has executed the request is not known, and not claimed."""
    with socket.socket(socket.AF_UNIX) as dying:
        control.at_short_path(dying.bind, tmp_path / control.SOCKET_NAME)
        dying.listen()

        def die() -> None:
            dying.accept()[0].close()

        threading.Thread(target=die, daemon=True).start()
        assert failure(control.ask(tmp_path, "replay")).code == "failed"


def test_a_refusal_comes_back_with_its_reason(tmp_path: Path) -> None:
    """The asker can act on it, so it is no mere silence."""

    def refuse(_requested: dict[str, Any]) -> dict[str, Any]:
        raise Refusal("unknown_terminal", "no terminal of that name")

    listening = Control(tmp_path, {"poll": refuse})

    refused = failure(control.ask(tmp_path, "poll", terminal="kitchen"))

    assert refused == Failed("unknown_terminal", "no terminal of that name")
    assert refused.is_refusal
    listening.close()


def test_no_daemon(tmp_path: Path) -> None:
    """Without a daemon, or with a dead one's socket, there is no answer and no exception."""
    assert control.ask(tmp_path, "status") == NotRunning()
    Control(tmp_path, {}).close()
    with socket.socket(socket.AF_UNIX) as dead:
        control.at_short_path(dead.bind, tmp_path / control.SOCKET_NAME)
    assert control.ask(tmp_path, "status") == NotRunning()


def test_socket_is_not_for_everybody(folder: Path) -> None:
    """Only the daemon's user and group may ask."""
    assert (folder / control.SOCKET_NAME).stat().st_mode & 0o007 == 0


def test_close_removes_the_socket_and_a_new_daemon_may_listen(tmp_path: Path) -> None:
    """A restart finds the place free, also where a crash left a socket behind."""
    first = Control(tmp_path, {})
    first._socket.close()  # a crash: the file stays
    second = Control(tmp_path, {"status": lambda _: {"second": True}})

    assert control.ask(tmp_path, "status") == Done({"second": True})

    second.close()
    assert not (tmp_path / control.SOCKET_NAME).exists()
