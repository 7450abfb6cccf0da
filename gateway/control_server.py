"""Server of the control socket in the running daemon; :mod:`gateway.control` has the protocol and the client.

A slow request does not delay others. No command changes a terminal.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.commands import Refusal
from gateway.control import SOCKET_NAME, TIMEOUT_S, at_short_path, read_line
from gateway.ledger import LedgerError, LedgerFull
from gateway.log import get_logger
from gateway.trace import trace

MAX_AT_ONCE = 64
"""Concurrent connections; each takes a thread and a file descriptor. Further ones wait to be accepted."""
RETRY_S = 1.0
"""Pause after a connection could not be accepted or served for lack of descriptors or threads."""

log = get_logger("control")

Command = Callable[[dict[str, Any]], dict[str, Any]]


class Control:
    """Server of the control socket, with threads of its own, until closed."""

    def __init__(self, data_dir: Path, commands: dict[str, Command]) -> None:
        """Listen in ``data_dir`` (whose lock the caller holds: a socket found there is a dead daemon's)."""
        self._commands = commands
        self._free = threading.Semaphore(MAX_AT_ONCE)
        self._closing = threading.Event()
        self._path = data_dir / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        at_short_path(self._socket.bind, self._path)
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
                answer = self._answer(read_line(connection, time.monotonic() + TIMEOUT_S))
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
