"""A simulated receive-only line: a pseudo-terminal or a TCP converter, and its faults."""

import os
import socket
import tempfile
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.console import Console, count_of_punches, number
from drivers.line.wire import Checksum, Framing, encode

NOISE = bytes((0xFF, 0x00, 0x81, 0x0D, 0xFE, 0x7F, 0x0A))
PATTERN = (
    r"(?P<pin>[0-9A-Za-z]{1,24}),(?P<date>\d{4}-\d\d-\d\d),(?P<time>\d\d:\d\d:\d\d),(?P<state>\d+),(?P<verify>\d+)"
)
"""The driver's option ``pattern`` that matches :data:`TEMPLATE`."""
TEMPLATE = "{pin},{moment:%Y-%m-%d,%H:%M:%S},{state},{verify}"
BITS_PER_BYTE = 10
MIN_BAUDRATE = 100
HELP = "Commands: punch PIN [STATE] [VERIFY], rush N, noise, half, slow BAUD, unplug, plug, status, help."


def _local_now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - a terminal's wall clock has no zone


class Simulator:
    """A sending terminal; a context manager. ``tcp`` is a port to listen on (0: a free one), None a pseudo-terminal."""

    def __init__(
        self,
        *,
        tcp: int | None = None,
        host: str = "127.0.0.1",
        template: str = TEMPLATE,
        framing: Framing = "line",
        checksum: Checksum = "none",
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self.template = template
        self.sent_punches = 0
        """Punches sent, whether or not a reader was connected."""
        self.baudrate: int | None = None
        """Speed at which bytes are sent; None: at once."""
        self._tcp = tcp
        self._host = host
        self._framing = framing
        self._checksum = checksum
        self._now = now
        self._send_lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ours = self._theirs = -1
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self._accepted = threading.Condition()
        self._console = Console(
            HELP,
            {
                "punch PIN [STATE] [VERIFY]": self._typed_punch,
                "rush N": self._rush,
                "noise": self._noise,
                "half": self._half,
                "slow BAUD": self._slow,
                "unplug": self._typed_unplug,
                "plug": self._typed_plug,
                "status": self._status,
            },
        )

    @property
    def port(self) -> str:
        """The value of the driver's option ``port``."""
        if self._tcp is not None:
            return f"tcp://{self._host}:{self._tcp}"
        return str(Path(self._folder.name if self._folder else "") / "ttyUSB0")

    def __enter__(self) -> Self:
        if self._tcp is None:
            self._folder = tempfile.TemporaryDirectory(prefix="hadir-line-")
        try:
            self.plug()
        except OSError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()
        if self._folder is not None:
            self._folder.cleanup()

    def plug(self) -> None:
        """Connect the line."""
        if self._tcp is None:
            self._ours, self._theirs = os.openpty()
            tty.setraw(self._theirs)
            os.set_blocking(self._ours, False)
            # Clients open the port by this name: udev's names stay while ttyUSB numbers change.
            Path(self.port).symlink_to(os.ttyname(self._theirs))
            return
        listener = self._listener = socket.create_server((self._host, self._tcp))
        self._tcp = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), name=f"simulator {self.port}", daemon=True).start()

    def unplug(self) -> None:
        """Disconnect the line."""
        with self._send_lock:
            if self._listener is not None:
                with suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
            self._hang_up()
            if self._ours >= 0:
                Path(self.port).unlink(missing_ok=True)
                os.close(self._ours)
                os.close(self._theirs)
                self._ours = self._theirs = -1

    def wait_for_client(self, timeout_s: float = 10.0) -> bool:
        """Wait until a client has connected over TCP; return whether one has."""
        with self._accepted:
            return self._accepted.wait_for(lambda: self._client is not None, timeout_s)

    def punch(self, pin: str, state: int = 0, verify: int = 1) -> datetime:
        """Send a punch, and return its time."""
        moment = self._now().replace(microsecond=0)
        text = self.template.format(pin=pin, moment=moment, state=state, verify=verify).encode()
        self.sent_punches += 1
        self.send(encode(text, self._framing, self._checksum))
        return moment

    def send(self, raw: bytes) -> None:
        """Send any bytes; on an unplugged line, or without a reader, they are lost."""
        step = len(raw) if self.baudrate is None else 1
        with self._send_lock:
            for at in range(0, len(raw), max(1, step)):
                if self.baudrate is not None:
                    time.sleep(BITS_PER_BYTE / self.baudrate)
                with suppress(OSError):
                    if self._client is not None:
                        self._client.sendall(raw[at : at + step])
                    elif self._ours >= 0:
                        os.write(self._ours, raw[at : at + step])

    def control(self, line: str) -> str:
        """Execute one typed command; return a sentence with its result, or with the error and the correct form."""
        return self._console.control(line)

    def _typed_punch(self, pin: str, state: str = "0", verify: str = "1") -> str:
        moment = self.punch(pin, number(state, 3), number(verify, 3))
        return f"{pin} punched at {moment:%Y-%m-%d %H:%M:%S}."

    def _rush(self, count: str) -> str:
        wanted = count_of_punches(count)
        for index in range(wanted):
            self.punch(str(1001 + index % 50))
        return f"{wanted} punches sent."

    def _noise(self) -> str:
        self.send(NOISE)
        return "Noise sent."

    def _half(self) -> str:
        self.send(b"1001,2026-")
        return "The beginning of a punch sent."

    def _slow(self, speed: str) -> str:
        baudrate = number(speed, 7)
        if baudrate < MIN_BAUDRATE:
            raise ValueError(f"a line carries {MIN_BAUDRATE} baud or more")
        self.baudrate = baudrate
        return f"The line carries {speed} baud."

    def _typed_unplug(self) -> str:
        self.unplug()
        return "The line is unplugged."

    def _typed_plug(self) -> str:
        self.unplug()
        self.plug()
        return f"The line is plugged in at {self.port}."

    def _status(self) -> str:
        return f"{self.port}, {self.sent_punches} punches sent."

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                # One client at a time, the newest: the one before may be half-open.
                with self._accepted:
                    self._hang_up()
                    self._client = connection
                    self._accepted.notify_all()

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
