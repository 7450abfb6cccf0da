"""Control socket of the running daemon: a Unix socket in the data directory, for commands of this machine.

One request per connection, one line of JSON in each direction: ``{"command": "status"}``. Access to the data directory
is the permission. This module is the client; it imports nothing heavy, since each command of the command line needs it.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SOCKET_NAME = "control.sock"
TIMEOUT_S = 5.0
FULL_QUEUE_S = 0.05
"""Pause before a new attempt to connect after the queue of connections was full."""
MAX_REQUEST = 4 * 1024 * 1024
"""Upper bound of a request: a slice of records of a file with their bytes."""

FAILURES = frozenset({"failed", "unknown_command", "timed_out", "ledger_failed", "disk_full", "not_permitted"})
"""Codes of :class:`Failed` for a valid request; any other code is a refusal."""


class Done(NamedTuple):
    """The gateway executed the command."""

    data: dict[str, Any]


class Failed(NamedTuple):
    """A gateway runs and did not execute the command.

    ``code``: ``failed`` (a defect of the gateway), ``ledger_failed``, ``disk_full``, ``unknown_command`` (it is of
    another version), ``timed_out`` (the request may still be executed), ``not_permitted`` (no access for this user).
    Any other code is that of a refusal: the request is wrong, and nothing was changed.
    """

    code: str
    message: str

    @property
    def is_refusal(self) -> bool:
        """Whether the request is wrong, and not the gateway."""
        return self.code not in FAILURES


class NotRunning(NamedTuple):
    """No gateway runs with this data directory."""


Answer = Done | Failed | NotRunning


def ask(data_dir: Path, command: str, *, timeout_s: float = TIMEOUT_S, **arguments: object) -> Answer:
    """Send a command to the gateway that runs with ``data_dir``; return its answer after at most ``timeout_s``."""
    until = time.monotonic() + timeout_s
    timed_out = Failed("timed_out", f"{data_dir}: the gateway runs and has not answered within {timeout_s:g} s")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            _connect(connection, data_dir, until)
        except PermissionError as exc:
            return Failed("not_permitted", f"{data_dir}: this user may not ask the gateway ({exc.strerror})")
        except TimeoutError:
            return timed_out
        except OSError:
            return NotRunning()
        try:
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            return _answer(json.loads(read_line(connection, until, limit=None)))
        except TimeoutError:
            return timed_out
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            what = "the gateway ended the connection before it had answered: it stopped, or is of another version"
            return Failed("failed", f"{data_dir}: {what}")


def _answer(answer: dict[str, Any]) -> Done | Failed:
    if answer["status"] == "ok" and isinstance(answer["data"], dict):
        return Done(answer["data"])
    return Failed(str(answer["error"]["code"]), str(answer["error"]["message"]))


def _connect(connection: socket.socket, data_dir: Path, until: float) -> None:
    """Connect to a running gateway; TimeoutError where its queue of connections is full until ``until``."""
    while True:
        try:
            return at_short_path(connection.connect, data_dir / SOCKET_NAME)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise TimeoutError from None
        time.sleep(FULL_QUEUE_S)


def read_line(connection: socket.socket, until: float, limit: int | None = MAX_REQUEST) -> bytes:
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


def at_short_path(use: Callable[[str], object], path: Path) -> None:
    """Call ``use`` with a path of the socket below the kernel's limit of about 100 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
