"""The line of Anviz terminals: one port, opened once, one request at a time, allow-listed commands only.

A serial line carries one conversation; on RS-485 several terminals share it, each with a worker of its own. They share
one :class:`Line`: requests are queued, and one thread reads the port and dispatches every answer and every live record
by device id. A line exists as long as it has users, and never outlives its port: a USB adapter that was
pulled out and put back is another line, so that no half download is continued; see :mod:`drivers.shared`.
"""

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.anviz import wire
from drivers.base import DriverError, Reason, TerminalRefused, TerminalUnavailable
from drivers.ports import Port, device_of, open_port
from drivers.shared import shared

DEFAULT_TCP_PORT = 5010
ALLOWED = frozenset(
    {
        wire.CMD_SERIAL,
        wire.CMD_INFO,
        wire.CMD_CLOCK,
        wire.CMD_RECORD_INFO,
        wire.CMD_RECORDS,
        wire.CMD_MODEL,
        wire.CMD_DEVICE_ID,
        wire.CMD_CLEAR,
    }
)
"""Every command that may ever leave this driver. CLEAR only of one type, see :data:`CLEARABLE`."""
CLEARABLE = frozenset({wire.FLAGS_OF_OLDEST})
"""Types of CLEAR that may leave: the one that takes the mark *new* from records that are counted. No record goes."""

PAUSE_S = 0.25
"""A frame ends after this time without a byte: the slowest line needs 8 ms for a byte."""
MAX_EVENTS = 10_000
"""Live records queued for a terminal; older ones are dropped, and the log still holds them."""
CAPTURE_PIECES = 32
CAPTURE_BYTES = 96


class DamagedAnswer(TerminalUnavailable):
    """No valid answer arrived, but other bytes: noise, or an answer damaged in transmission."""


class Line:
    """One opened port and its users. Made by :func:`shared_line`."""

    def __init__(self, port: str, baudrate: int, turnaround_s: float) -> None:
        self.baudrate = baudrate
        self._where = port
        self._turnaround_s = turnaround_s
        self._port: Port | None = None
        self._open_lock = threading.Lock()
        self._port_lock = threading.Lock()
        """Held while the port is written to or closed."""
        self._reader = wire.FrameReader()
        self._changed = threading.Condition()
        """Guards everything below; notified after every reception, end of a request, or loss of the port."""
        self._last_received_at = 0.0
        self._failure: tuple[str, Reason | None] | None = None
        self._turns: deque[object] = deque()
        self._awaited: tuple[int, int] | None = None
        self._answer: wire.Frame | None = None
        self._events: dict[int, deque[wire.Frame]] = {}
        self._capture: deque[str] = deque(maxlen=CAPTURE_PIECES)
        self._wake, self._waker = socket.socketpair()
        self._listener = threading.Thread(target=self._listen, name=f"line {port}", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether the port is lost or closed."""
        return self._failure is not None

    def open(self, timeout_s: float) -> None:
        """Open the port unless it is open; TerminalUnavailable where it is missing or in use by another program."""
        with self._open_lock:
            self._check()
            if self._port is not None:
                return
            try:
                self._port = open_port(self._where, self.baudrate, timeout_s, DEFAULT_TCP_PORT)
            except TerminalUnavailable as exc:
                self._fail(str(exc), exc.reason)
                raise
            try:
                self._listener.start()
            except RuntimeError as exc:
                self._port.close()  # otherwise the listener closes it
                message = f"{self._where} cannot be listened to: this machine has no thread left"
                self._fail(message)
                raise TerminalUnavailable(message) from exc

    def close(self) -> None:
        """Close the port."""
        self._fail(f"{self._where} is closed")
        if self._listener.is_alive():
            self._waker.send(b"!")
            self._listener.join()
        self._wake.close()
        self._waker.close()

    @contextmanager
    def listening(self, channel: int) -> Iterator[None]:
        """Keep the live records of a device while the block runs; TerminalRefused where its id is in use already."""
        with self._changed:
            if channel in self._events:
                raise TerminalRefused(
                    f"two terminals are configured with device_id {channel} on {self._where}; "
                    "give each its own number, in its menu and here"
                )
            self._events[channel] = deque(maxlen=MAX_EVENTS)
        try:
            yield
        finally:
            with self._changed:
                del self._events[channel]

    def query(self, channel: int, command: int, data: bytes, timeout_s: float) -> wire.Frame:
        """Send a request to a device, and return its answer.

        Raises TerminalUnavailable where none arrives within ``timeout_s``, DamagedAnswer where only noise arrived,
        RuntimeError where the request is not on the allow-list.
        """
        request = _require_allowed(wire.Frame(channel, command, data))
        with self._exclusive_turn(timeout_s):
            skipped = self._reader.skipped
            self._send(request)
            deadline = time.monotonic() + timeout_s
            with self._changed:
                while self._answer is None and self._wait(deadline):
                    pass
                if self._answer is not None:
                    return self._answer
                if self._reader.skipped + self._reader.missing > skipped:
                    raise DamagedAnswer(f"what device {channel} answers is damaged on its way")
        raise TerminalUnavailable(f"device {channel} does not answer within {timeout_s:g} s")

    def next_event(self, channel: int, deadline: float) -> wire.Frame | None:
        """Return a device's next live record; None when the monotonic time ``deadline`` has passed."""
        with self._changed:
            events = self._events[channel]
            while not events:
                if not self._wait(deadline):
                    return None
            return events.popleft()

    def capture(self) -> str:
        """Return the last exchanged bytes as lines of hex, ``>`` sent and ``<`` received."""
        with self._changed:
            return "\n".join(self._capture)

    # Inside.

    def _check(self) -> None:
        if self._failure is not None:
            message, reason = self._failure
            raise TerminalUnavailable(message, reason=reason)

    def _wait(self, deadline: float) -> bool:
        """Wait for a change; return False after the deadline, TerminalUnavailable where the line is closed."""
        self._check()
        remaining = deadline - time.monotonic()
        if remaining > 0:
            self._changed.wait(remaining)
        self._check()
        return remaining > 0

    @contextmanager
    def _exclusive_turn(self, patience_s: float) -> Iterator[None]:
        """Hold the line exclusively: in order of request, after the required quiet time."""
        ticket = object()
        with self._changed:
            self._turns.append(ticket)
        try:
            with self._changed:
                while self._turns[0] is not ticket:
                    self._changed.wait()
                # On a line that is never quiet the request is sent all the same: the answer may get through.
                patience = time.monotonic() + patience_s
                while (quiet := self._quiet_at()) is not None and quiet > time.monotonic() < patience:
                    self._wait(min(quiet, patience))
                self._answer = None
            yield
        finally:
            with self._changed:
                self._awaited = None
                self._turns.remove(ticket)
                self._changed.notify_all()

    def _quiet_at(self) -> float | None:
        """Return when a request may be sent; None: at once."""
        if not self._last_received_at:
            return None
        # Half-duplex: neither during an incoming frame, nor before the other side has switched to receiving.
        return self._last_received_at + max(self._turnaround_s, PAUSE_S if self._reader.missing else 0.0)

    def _send(self, request: wire.Frame) -> None:
        raw = request.to_bytes()
        with self._port_lock:
            with self._changed:
                self._check()
                self._awaited = (request.channel, request.command + wire.ANSWER)
                self._capture.append(f"> {raw.hex(' ')}")
            assert self._port is not None  # noqa: S101 - as long as nothing has failed
            try:
                self._port.send(raw)
            except OSError as exc:
                raise TerminalUnavailable(f"the line broke while sending ({exc})") from exc

    def _listen(self) -> None:
        """Receive until the port is lost or closed. Runs in a thread of its own."""
        port = self._port
        assert port is not None  # noqa: S101 - started by open
        try:
            while not self.is_over:
                with self._changed:
                    patience_s = PAUSE_S if self._reader.missing else None
                ready, _, _ = select.select((port.fileno(), self._wake.fileno()), (), (), patience_s)
                if self._wake.fileno() not in ready:
                    self._process(port.receive() if ready else b"")
        except (OSError, ValueError) as exc:  # ValueError: the port has closed itself and has no number any more
            self._fail(f"the line is lost ({exc})")
        finally:
            with self._port_lock:
                port.close()

    def _process(self, data: bytes) -> None:
        with self._changed:
            if data:
                self._last_received_at = time.monotonic()
                more = f" … {len(data)} bytes" if len(data) > CAPTURE_BYTES else ""
                self._capture.append(f"< {data[:CAPTURE_BYTES].hex(' ')}{more}")
            for frame in self._reader.feed(data) if data else self._reader.pause():
                self._dispatch(frame)
            self._changed.notify_all()

    def _dispatch(self, frame: wire.Frame) -> None:
        if frame.command == wire.CMD_REAL_TIME + wire.ANSWER:
            if frame.channel in self._events:
                # What is longer than a record only says that the log is to be read.
                self._events[frame.channel].append(frame._replace(data=frame.data[: wire.RECORD + 1]))
        elif self._awaited is not None and self._answer is None:
            channel, command = self._awaited
            if frame.command == command and channel in (frame.channel, wire.BROADCAST):
                self._answer = frame

    def _fail(self, message: str, reason: Reason | None = None) -> None:
        with self._changed:
            self._failure = self._failure or (message, reason)
            self._changed.notify_all()


@contextmanager
def shared_line(port: str, *, baudrate: int, turnaround_s: float, timeout_s: float) -> Iterator[Line]:
    """Use the line at ``port`` (a device file, or ``tcp://host:port``) together with its other users.

    Raises TerminalUnavailable where it cannot be opened, TerminalRefused where others use it at another speed.
    """
    # One adapter has several names: ttyUSB0, and links that tell its serial number.
    place = port if port.startswith("tcp://") else device_of(port)
    with shared((Line, place), lambda: Line(port, baudrate, turnaround_s)) as line:
        try:
            if line.baudrate != baudrate:
                raise TerminalRefused(
                    f"{port} is used at {line.baudrate} and at {baudrate} baud; all terminals on a line have one speed"
                )
            line.open(timeout_s)
            yield line
        except DriverError as exc:
            exc.capture = exc.capture or line.capture() or None
            raise


def _require_allowed(request: wire.Frame) -> wire.Frame:
    if request.command not in ALLOWED:
        raise RuntimeError(f"command {request.command:#04x} is not on the allow-list of this driver")
    if request.command == wire.CMD_CLEAR and not (len(request.data) == 4 and request.data[0] in CLEARABLE):
        raise RuntimeError("this driver takes marks from records that are counted; nothing else may be cleared")
    if request.channel == wire.BROADCAST and request.command != wire.CMD_DEVICE_ID:
        raise RuntimeError("a broadcast may request the device number only")
    return request
