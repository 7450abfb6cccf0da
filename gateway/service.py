"""Notifications of the service manager: ready, watchdog, stopping, and a status line (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

MORE_START_S = 60
"""Extension of the start timeout, from each progress notification."""


class ServiceManager:
    """The service manager that started this process; without one, all methods do nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._extended = -float(MORE_START_S)
        self._status = ""

    def starting(self) -> None:
        """Extend the start timeout; called at each progress."""
        if time.monotonic() - self._extended >= MORE_START_S / 10:
            self._extended = time.monotonic()
            self._say(f"EXTEND_TIMEOUT_USEC={MORE_START_S * 1_000_000}")

    def ready(self) -> None:
        """Notify that the service is ready."""
        self._say("READY=1")

    def alive(self) -> None:
        """Send a watchdog notification."""
        self._say("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Send a changed status line; `systemctl status` shows it."""
        if line != self._status:
            self._status = line
            self._say(f"STATUS={line}")

    def stopping(self) -> None:
        """Notify that the service is stopping."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that is restarted or slow must not affect the gateway.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)
