"""The control socket: real Unix sockets in real folders."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import control
from gateway.commands import Refusal
from gateway.control import Control


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder whose path is longer than a socket name may be, with a daemon listening in it."""
    folder = tmp_path / ("a-long-name-" * 10)
    folder.mkdir()
    listening = Control(folder, {"status": lambda asked: {"echo": asked.get("what")}})
    yield folder
    listening.close()


def test_question_is_answered(folder: Path) -> None:
    """A command reaches its handler with its arguments, and the answer comes back."""
    assert control.ask(folder, "status", what="all") == {"echo": "all"}


def test_unknown_command_is_no_answer(folder: Path) -> None:
    """What the daemon does not know is refused without harm, and it goes on answering."""
    assert control.ask(folder, "clear-log") is None
    assert control.ask(folder, "status") == {"echo": None}


@pytest.mark.parametrize("garbage", [b"\n", b"\xff\xfe\n", b"[1, 2]\n", b"{}\n", b""])
def test_garbage_is_survived(folder: Path, garbage: bytes) -> None:
    """Bytes that are no request do not stop the listening."""
    with socket.socket(socket.AF_UNIX) as connection:
        control._at(connection.connect, folder / control.SOCKET_NAME)
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)

    assert control.ask(folder, "status") == {"echo": None}


def test_a_command_that_fails_does_not_end_the_answering(tmp_path: Path) -> None:
    """The next question is answered as if nothing had been."""

    def fail(_asked: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("a mistake of ours")

    listening = Control(tmp_path, {"broken": fail, "status": lambda _: {"well": True}})

    assert control.ask(tmp_path, "broken") is None
    assert control.ask(tmp_path, "status") == {"well": True}
    listening.close()


def test_a_refusal_comes_back_with_its_reason(tmp_path: Path) -> None:
    """The asker can act on it, so it is no mere silence."""

    def refuse(_asked: dict[str, Any]) -> dict[str, Any]:
        raise Refusal("unknown_terminal", "no terminal of that name")

    listening = Control(tmp_path, {"poll": refuse})

    with pytest.raises(Refusal, match="no terminal of that name") as caught:
        control.ask(tmp_path, "poll", terminal="kitchen")

    assert caught.value.code == "unknown_terminal"
    listening.close()


def test_nobody_there(tmp_path: Path) -> None:
    """Without a daemon, or with a dead one's socket, there is no answer and no exception."""
    assert control.ask(tmp_path, "status") is None
    Control(tmp_path, {}).close()
    with socket.socket(socket.AF_UNIX) as dead:
        control._at(dead.bind, tmp_path / control.SOCKET_NAME)
    assert control.ask(tmp_path, "status") is None


def test_socket_is_not_for_everybody(folder: Path) -> None:
    """Only the daemon's user and group may ask."""
    assert (folder / control.SOCKET_NAME).stat().st_mode & 0o007 == 0


def test_close_removes_the_socket_and_a_new_daemon_may_listen(tmp_path: Path) -> None:
    """A restart finds the place free, also where a crash left a socket behind."""
    first = Control(tmp_path, {})
    first._socket.close()  # a crash: the file stays
    second = Control(tmp_path, {"status": lambda _: {"second": True}})

    assert control.ask(tmp_path, "status") == {"second": True}

    second.close()
    assert not (tmp_path / control.SOCKET_NAME).exists()
