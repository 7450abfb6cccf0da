"""What the service manager hears: started, alive, stopping, and one line about how it goes (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

MORE_START_S = 60
"""How much longer a start may take, counted from each sign that it goes on."""


class ServiceManager:
    """The service manager that started this process; where none did, nothing is said and nothing fails."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._extended = -float(MORE_START_S)
        self._status = ""

    def starting(self) -> None:
        """Say that the start goes on and takes longer; may be called as often as there is progress."""
        if time.monotonic() - self._extended >= MORE_START_S / 10:
            self._extended = time.monotonic()
            self._say(f"EXTEND_TIMEOUT_USEC={MORE_START_S * 1_000_000}")

    def ready(self) -> None:
        """Say that the start is over."""
        self._say("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._say("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Say in one line how it goes, unless that was said already; `systemctl status` shows it."""
        if line != self._status:
            self._status = line
            self._say(f"STATUS={line}")

    def stopping(self) -> None:
        """Say that the process is about to end."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that is itself restarted, or slow to listen, must not harm the gateway.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)
