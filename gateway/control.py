"""Control socket of the running daemon: a Unix socket in the data directory, for commands of this machine.

One request per connection, one line of JSON in each direction: ``{"command": "status"}``. Access to the data directory
is the permission; no command changes a terminal. A slow request does not delay others.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from gateway.commands import Refusal
from gateway.ledger import LedgerError, LedgerFull
from gateway.trace import trace

SOCKET_NAME = "control.sock"
TIMEOUT_S = 5.0
FULL_QUEUE_S = 0.05
"""Pause before a new attempt to connect after the queue of connections was full."""
MAX_REQUEST = 4 * 1024 * 1024
"""Upper bound of a request: a slice of records of a file with their bytes."""

MAX_AT_ONCE = 64
"""Concurrent connections; each takes a thread and a file descriptor. Further ones wait to be accepted."""
RETRY_S = 1.0
"""Pause after a connection could not be accepted or served for lack of descriptors or threads."""

log = structlog.get_logger("control")

_FAILURES = frozenset({"unknown_command", "failed", "ledger_failed", "disk_full"})
"""Error codes that are no refusals: the request was valid."""


class Unanswered(Exception):  # noqa: N818 - named by the condition
    """A running gateway did not execute a valid request; the text says why.

    ``code``: ``failed`` (a defect of the gateway), ``ledger_failed``, ``disk_full``, ``unknown_command`` (it is of
    another version), ``timed_out`` (the request may still be executed), ``not_permitted`` (no access for this user).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Control:
    """Server of the control socket, with threads of its own, until closed."""

    def __init__(self, data_dir: Path, commands: dict[str, Answer]) -> None:
        """Listen in ``data_dir`` (whose lock the caller holds: a socket found there is a dead daemon's)."""
        self._commands = commands
        self._free = threading.Semaphore(MAX_AT_ONCE)
        self._closing = threading.Event()
        self._path = data_dir / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        _at(self._socket.bind, self._path)
        self._path.chmod(0o660)
        self._socket.listen(128)  # `hadir doctor` sends a request for every terminal at once
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the server thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._closing.set()
        self._path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._free.acquire()
            try:
                connection, _ = self._socket.accept()
                try:
                    threading.Thread(
                        target=self._converse, args=(connection,), name="control-answer", daemon=True
                    ).start()
                except RuntimeError:  # no more threads
                    connection.close()
                    raise
            except (OSError, RuntimeError):
                self._free.release()
                self._closing.wait(RETRY_S)

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):  # the client has disconnected
                answer = self._answer(_line(connection, time.monotonic() + TIMEOUT_S))
                connection.settimeout(TIMEOUT_S)
                connection.sendall(json.dumps(answer).encode() + b"\n")
        finally:
            self._free.release()

    def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            fields = json.loads(request)
            name = fields["command"]
            command = self._commands[name]
        except Exception:  # noqa: BLE001 - any error of the parser, deeply nested brackets too, is an invalid request
            return _error("unknown_command", "the running gateway does not know this command")
        try:
            return {"status": "ok", "data": command(fields)}
        except Refusal as exc:
            return _error(exc.code, str(exc))
        except LedgerError as exc:
            return _error("disk_full" if isinstance(exc, LedgerFull) else "ledger_failed", str(exc))
        except Exception as exc:  # noqa: BLE001 - an error in one command must not end the server
            log.error("command_failed", command=name, trace=trace(exc))  # noqa: TRY400 - texts hold PINs
            return _error("failed", "the command failed; see the gateway's log")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"status": "error", "error": {"code": code, "message": message}}


def ask(data_dir: Path, command: str, *, timeout_s: float = TIMEOUT_S, **arguments: object) -> dict[str, Any] | None:
    """Send a command to the gateway that runs with ``data_dir`` and return its data; None where none runs.

    Raises Refusal where it refuses the command, and Unanswered where it does not answer within ``timeout_s`` or fails.
    """
    until = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            _connect(connection, data_dir, until)
        except PermissionError as exc:
            raise Unanswered(
                "not_permitted", f"{data_dir}: this user may not ask the gateway ({exc.strerror})"
            ) from exc
        except TimeoutError as exc:
            raise _timed_out(data_dir, timeout_s) from exc
        except OSError:
            return None
        try:
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            answer = json.loads(_line(connection, until, limit=None))
            status, error, data = answer["status"], answer.get("error"), answer.get("data")
        except TimeoutError as exc:
            raise _timed_out(data_dir, timeout_s) from exc
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            what = "the gateway ended the connection before it had answered: it stopped, or is of another version"
            raise Unanswered("failed", f"{data_dir}: {what}") from exc
    if status == "ok" and isinstance(data, dict):
        return data
    code, message = (str(error.get(key)) for key in ("code", "message")) if isinstance(error, dict) else ("failed", "")
    raise Unanswered(code, message) if code in _FAILURES else Refusal(code, message)


def _connect(connection: socket.socket, data_dir: Path, until: float) -> None:
    """Connect to a running gateway; TimeoutError where its queue of connections is full until ``until``."""
    while True:
        try:
            return _at(connection.connect, data_dir / SOCKET_NAME)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise TimeoutError from None
        time.sleep(FULL_QUEUE_S)


def _timed_out(data_dir: Path, timeout_s: float) -> Unanswered:
    return Unanswered("timed_out", f"{data_dir}: the gateway runs and has not answered within {timeout_s:g} s")


def _line(connection: socket.socket, until: float, limit: int | None = MAX_REQUEST) -> bytes:
    """Read a line; TimeoutError where it is incomplete at the monotonic time ``until``."""
    data = bytearray()
    while not data.endswith(b"\n") and (limit is None or len(data) < limit):
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return bytes(data)


def _at(use: Callable[[str], object], path: Path) -> None:
    """Call ``use`` with a path of the socket below the kernel's limit of about 100 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
