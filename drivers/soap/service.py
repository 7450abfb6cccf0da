"""Conversations with the web service of a terminal: one request and its answer on a connection of its own.

The answer to ``GetAttLog`` is always the whole log. It is received to its end, and kept compressed in memory, before
its first record is returned: only then is it known to be whole, and how many records it has.
"""

import socket
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from drivers.base import (
    ClockReading,
    DriverError,
    ProtocolError,
    Reason,
    Record,
    TerminalRefused,
    TerminalUnavailable,
    connect_reason,
)
from drivers.soap import wire
from drivers.soap.wire import Block, HttpReply, Row, RowReader, WireError

PIECE = 64 * 1024
"""Bytes taken from the network at once."""
CHUNK = 1024 * 1024
"""Bytes of a log that ``bulk_timeout`` bounds: a slow terminal needs minutes for a whole one."""
LOG_BYTES = 64 * 1024 * 1024
"""Longest answer that is believed: 500,000 punches; the largest logs have 200,000."""
KEPT_BYTES = 16 * 1024 * 1024
"""Longest compressed answer; 200,000 punches have 4 MB."""
SMALL_BYTES = 64 * 1024
"""Longest answer to any other request."""
CAPTURE_BYTES = 512
"""Bytes of an answer that are kept for analysis."""
NO_SERVICE = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 501})
"""Status of web servers that have pages for people, and no such service."""


@dataclass(eq=False)
class Log:
    """The rows of one answer, decoded while they are iterated; iterable as often as wanted."""

    rows: int = 0
    """Records, readable or not."""
    text: str | None = None
    """What the terminal answers in place of records, if anything."""
    _pieces: list[bytes] = field(default_factory=list, repr=False)
    _packer: "zlib._Compress" = field(default_factory=lambda: zlib.compressobj(1), repr=False)
    _kept: int = 0

    def add(self, body: bytes, rows: list[Row | Block]) -> None:
        """Add a part of the answer, and the rows that it completes."""
        for row in rows:
            if isinstance(row, Block):
                self.rows += row.rows
            elif (found := wire.information(row)) is not None:
                self.text = found.text
            else:
                self.rows += 1
        self._keep(self._packer.compress(body))

    def end(self) -> None:
        """End the answer; called once, before it is iterated."""
        self._keep(self._packer.flush())

    def _keep(self, packed: bytes) -> None:
        if packed:
            self._kept += len(packed)
            self._pieces.append(packed)
        if self._kept > KEPT_BYTES:
            raise ProtocolError("the terminal sends a log that is none: its rows have nothing in common")

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in the order of the log."""
        unpacker, reader = zlib.decompressobj(), RowReader("GetAttLog")
        for packed in self._pieces:
            data = packed
            while data:
                yield from wire.records(reader.feed(unpacker.decompress(data, PIECE)))
                data = unpacker.unconsumed_tail
        yield from wire.records([*reader.feed(unpacker.flush()), *reader.close()])


class Service:
    """The web service of one terminal. Every failure is a DriverError with a capture."""

    def __init__(
        self, host: str, port: int, comm_key: int, *, timeout_s: float, bulk_timeout_s: float, may_be_absent: bool
    ) -> None:
        """``may_be_absent``: a closed port means that there is no service, because the terminal answers otherwise."""
        self._host = host
        self._port = port
        self._comm_key = comm_key
        self._timeout_s = timeout_s
        self._bulk_timeout_s = bulk_timeout_s
        self._allowed = wire.ALLOWED
        self._capture: deque[str] = deque(maxlen=4)
        self.may_be_absent = may_be_absent
        self.peer = ""
        """IPv4 address that answered last."""

    def log(self) -> Log:
        """Return the whole log; TerminalUnavailable where its end was not received."""
        log = Log()
        self._exchange("GetAttLog", log.add, LOG_BYTES)
        log.end()
        return log

    def clock(self) -> ClockReading | None:
        """Return the wall clock; None where the terminal does not report it, or shows an impossible time."""
        rows: list[Row | Block] = []
        begun_s = time.monotonic()
        self._exchange("GetDate", lambda _body, more: rows.extend(more), SMALL_BYTES)
        round_trip_s = time.monotonic() - begun_s
        moment = wire.clock(rows)
        return None if moment is None else ClockReading(moment, round_trip_s)

    def set_clock(self, to: datetime) -> None:
        """Set the wall clock; the only thing that this driver ever writes."""
        self._allowed = wire.ALLOWED | wire.CLOCK_METHODS
        try:
            self._exchange("SetDate", lambda _body, _rows: None, SMALL_BYTES, to)
        finally:
            self._allowed = wire.ALLOWED

    def _exchange(
        self,
        method: wire.Method,
        take: Callable[[bytes, list[Row | Block]], None],
        most: int,
        moment: datetime | None = None,
    ) -> None:
        """Send a request, and hand the body of its answer over piece by piece, with the rows that each completes."""
        if method not in self._allowed:
            raise RuntimeError(f"{method} is not on the allow-list of this driver")
        self._capture.append(f"> {method}")
        bulk = method == "GetAttLog"
        limit_s = self._bulk_timeout_s if bulk else self._timeout_s
        http, reader = HttpReply(), RowReader(method)
        received = 0
        try:
            with self._connected() as connection:
                deadline_s = time.monotonic() + limit_s
                connection.sendall(wire.request(method, self._comm_key, moment))
                while data := _received(connection, deadline_s):
                    self._keep_beginning(received, data)
                    if bulk and received // CHUNK != (received + len(data)) // CHUNK:
                        deadline_s = time.monotonic() + limit_s
                    received += len(data)
                    if received > most:
                        raise ProtocolError(f"the answer to {method} is longer than {most} bytes")
                    body = http.feed(data)
                    if http.status not in (None, 200):
                        break
                    take(body, reader.feed(body))
                    if reader.is_web_page:
                        break
            take(b"", reader.close())
            self._judge(method, http, reader)
        except DriverError as exc:
            exc.capture = exc.capture or self.capture()
            raise
        except WireError as exc:
            error = ProtocolError(str(exc))
            error.capture = self.capture()
            raise error from exc
        except TimeoutError as exc:
            raise self._unavailable(f"no whole answer to {method} within {limit_s:g} s") from exc
        except OSError as exc:
            raise self._unavailable(f"the connection broke ({exc.strerror or exc})") from exc

    def capture(self) -> str:
        """Return the methods requested last and the beginning of their answers, in hex; without the key."""
        return "\n".join(self._capture)

    def _connected(self) -> socket.socket:
        where = f"{self._host}:{self._port}"
        try:
            address = socket.getaddrinfo(self._host, self._port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
            connection = socket.create_connection((str(address[0]), self._port), self._timeout_s)
        except (OSError, UnicodeError) as exc:
            reason = connect_reason(exc)
            if reason is Reason.PORT_CLOSED and self.may_be_absent:
                raise _absent(f"port {self._port} is closed") from exc
            how = f"within {self._timeout_s:g} s" if isinstance(exc, TimeoutError) else getattr(exc, "strerror", exc)
            raise TerminalUnavailable(f"{where} does not answer ({how})", reason=reason) from exc
        self.peer = str(address[0])
        return connection

    def _judge(self, method: wire.Method, http: HttpReply, reader: RowReader) -> None:
        """Raise the error that an answer stands for, unless it is whole."""
        status = http.status
        if status is None:
            raise TerminalUnavailable(f"the terminal closed the connection before it answered {method}")
        if status in NO_SERVICE or reader.is_web_page:
            raise _absent("a page for people" if reader.is_web_page else f"status {status}")
        if status != 200:
            raise TerminalUnavailable(f"the terminal answers {method} with status {status}")
        if reader.is_blank or (reader.has_tags and not reader.is_whole):
            raise TerminalUnavailable(f"the answer to {method} ended before its closing tag; it is requested again")
        if not reader.is_begun:
            raise TerminalRefused(
                f"the terminal does not answer {method} as it should; compare comm_key_file with the key in its menu "
                "(Comm. > PC connection)",
                reason=Reason.KEY_REFUSED,
            )

    def _keep_beginning(self, received: int, data: bytes) -> None:
        """Keep the head of an answer for analysis; rows hold persons, so nothing of the body is kept."""
        if not received:
            head = data.partition(b"<")[0][:CAPTURE_BYTES]
            self._capture.append(f"< {head.hex(' ')}")

    def _unavailable(self, message: str) -> TerminalUnavailable:
        error = TerminalUnavailable(message)
        error.capture = self.capture()
        return error


def _absent(found: str) -> TerminalRefused:
    return TerminalRefused(
        f"this terminal does not have the web service {wire.PATH} ({found}); read it with `driver: zkteco`, or let it "
        "call with `driver: push`",
        reason=Reason.SERVICE_MISSING,
    )


def _received(connection: socket.socket, deadline_s: float) -> bytes:
    """Return the next bytes, empty at the end; TimeoutError at the monotonic time ``deadline_s``."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)
    return connection.recv(PIECE)
