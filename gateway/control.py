"""The running daemon's ear for commands of this machine: a Unix socket in the data directory.

One request a connection, a line of JSON each way: ``{"command": "status"}``. Whoever may enter the data directory may
ask; nothing that can be asked changes a terminal. A request that takes long does not hold up the others.
"""

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from gateway.commands import Refusal

SOCKET_NAME = "control.sock"
TIMEOUT_S = 5.0
MAX_REQUEST = 4 * 1024 * 1024
"""Room for a run of records of a file, each with its bytes."""

log = structlog.get_logger("control")

_NO_ANSWER = ("unknown_command", "failed")
"""Errors that tell the asker nothing it could act on."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Control:
    """Answers requests from threads of its own until closed."""

    def __init__(self, data_dir: Path, commands: dict[str, Answer]) -> None:
        """Listen in ``data_dir`` (whose lock the caller holds: a socket found there is a dead daemon's)."""
        self._commands = commands
        self._path = data_dir / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        _at(self._socket.bind, self._path)
        self._path.chmod(0o660)
        self._socket.listen(128)  # `hadir doctor` asks for every terminal at once
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether requests are heard."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), name="control-answer", daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the asker has gone
            connection.settimeout(TIMEOUT_S)
            connection.sendall(json.dumps(self._answer(_line(connection))).encode() + b"\n")

    def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(request)
            command = self._commands[asked["command"]]
        except (ValueError, KeyError, TypeError):
            return {"status": "error", "error": {"code": "unknown_command", "message": "no such command"}}
        try:
            return {"status": "ok", "data": command(asked)}
        except Refusal as exc:
            return {"status": "error", "error": {"code": exc.code, "message": str(exc)}}
        except Exception:
            # One question that cannot be answered must not end the answering.
            log.exception("command_failed", command=asked["command"])
            return {"status": "error", "error": {"code": "failed", "message": "the command failed; see the log"}}


def ask(data_dir: Path, command: str, *, timeout_s: float = TIMEOUT_S, **arguments: object) -> dict[str, Any] | None:
    """Ask the daemon that runs with ``data_dir``; None where none does or none answers in time.

    Raises Refusal where it answers why it does not do what was asked.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            _at(connection.connect, data_dir / SOCKET_NAME)
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            answer = json.loads(_line(connection, limit=None))
        except (OSError, ValueError):
            return None
    error = answer.get("error")
    if isinstance(error, dict) and error.get("code") not in _NO_ANSWER:
        raise Refusal(str(error.get("code")), str(error.get("message")))
    data = answer.get("data")
    return data if isinstance(data, dict) else None


def _line(connection: socket.socket, limit: int | None = MAX_REQUEST) -> bytes:
    data = b""
    while not data.endswith(b"\n") and (limit is None or len(data) < limit):
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return data


def _at(use: Callable[[str], object], path: Path) -> None:
    """Call ``use`` with a name of the socket short enough for the kernel, whose limit is about 100 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
