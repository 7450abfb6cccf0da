"""A conversation with a Kartu terminal."""

import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import AfterValidator, Field

from drivers.base import (
    ClockReading,
    Driver,
    DriverOptions,
    ProtocolError,
    Reading,
    Sizes,
    TerminalInfo,
    TerminalUnavailable,
)
from drivers.ports import Port, open_port, split_tcp

from . import wire

ALLOWED = frozenset({wire.SERIAL, wire.CLOCK, wire.COUNT, wire.LOG})
"""Every request that this driver may send. None of them changes what a terminal holds."""
DEFAULT_PORT = 7070


def _checked(port: str) -> str:
    split_tcp(port, DEFAULT_PORT)
    return port


class KartuOptions(DriverOptions):
    """Options of a Kartu terminal."""

    port: Annotated[str, AfterValidator(_checked), Field(examples=["tcp://192.168.1.80", "/dev/ttyUSB0"])]
    """``tcp://host``, with ``:port`` where that is not 7070, or the serial device."""


class KartuTerminal:
    """One conversation. Implements Terminal and Logged of drivers.base; made by :func:`connect`."""

    def __init__(self, port: Port, options: KartuOptions) -> None:
        self._port = port
        self._options = options
        self._reader = wire.LineReader()
        self._lines: deque[bytes] = deque()
        self._received: deque[bytes] = deque(maxlen=4)

    def serial(self) -> str:
        """Ask for the serial number."""
        return self._text(wire.SERIAL)

    def identify(self) -> TerminalInfo:
        """Ask for the serial number: a Kartu reports nothing else."""
        return TerminalInfo(self.serial(), model=None, firmware=None)

    def read_clock(self) -> ClockReading | None:
        """Ask for the wall clock; None where it shows an impossible date."""
        begun = time.monotonic()
        moment = wire.decode_clock(self._query(wire.CLOCK))
        return None if moment is None else ClockReading(moment, time.monotonic() - begun)

    def sizes(self) -> Sizes:
        """Ask how many records the log holds. The protocol does not report the capacity."""
        return Sizes(self._count(), capacity=None)

    def read(self, start: int = 0, layout: str | None = None) -> Reading:  # noqa: ARG002 - there is one layout
        """Read the log from position ``start``; the whole log where it holds fewer records."""
        start = start if start <= self._count() else 0
        self._send(wire.LOG, b" %d" % start)
        deadline = time.monotonic() + self._options.bulk_timeout
        records = []
        while (raw := self._line(deadline)) != wire.END:
            records.append(wire.decode_record(raw))
        return Reading(start, start + len(records), records, layout="line")

    def _count(self) -> int:
        answer = self._text(wire.COUNT)
        if not answer.isdecimal():
            raise self._protocol_error(f"the terminal answers {answer!r} to the request for its number of records")
        return int(answer)

    def _text(self, request: bytes) -> str:
        answer = self._query(request)
        if not (answer.isascii() and answer.decode("ascii").isprintable()):
            raise self._protocol_error(f"the terminal does not answer {request.decode()} with a text")
        return answer.decode("ascii")

    def _query(self, request: bytes) -> bytes:
        self._send(request)
        return self._line(time.monotonic() + self._options.timeout)

    def _send(self, request: bytes, argument: bytes = b"") -> None:
        if request not in ALLOWED:
            raise RuntimeError(f"{request!r} is not on the allow-list of this driver")
        try:
            self._port.send(request + argument + b"\n")
        except OSError as exc:
            raise TerminalUnavailable(f"the connection broke while sending ({exc})") from exc

    def _line(self, deadline: float) -> bytes:
        """Return the next line; the deadline covers the whole line, however slowly its bytes arrive."""
        while not self._lines:
            ready, _, _ = select.select((self._port.fileno(),), (), (), max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TerminalUnavailable("the terminal does not answer in time")
            try:
                data = self._port.receive()
            except OSError as exc:
                raise TerminalUnavailable(f"the connection is lost ({exc})") from exc
            self._received.append(data)
            try:
                self._lines += self._reader.feed(data)
            except ValueError as exc:
                raise self._protocol_error(f"the terminal sends {exc}") from exc
        return self._lines.popleft()

    def _protocol_error(self, reason: str) -> ProtocolError:
        error = ProtocolError(reason)
        error.capture = "\n".join(f"< {data.hex(' ')}" for data in self._received)
        return error


@contextmanager
def connect(options: KartuOptions) -> Iterator[KartuTerminal]:
    """Open a conversation; TerminalUnavailable where no connection opens."""
    port = open_port(options.port, 9600, options.timeout, DEFAULT_PORT)
    try:
        yield KartuTerminal(port, options)
    finally:
        port.close()


def at(port: str) -> KartuOptions:
    """Build options from a port alone."""
    return KartuOptions(name=port, port=port)


DRIVER = Driver("kartu", KartuOptions, connect, at=at)
