"""A simulated terminal with a web service, and with port 4370 beside it, in the dialects of old and new firmware.

Written from the protocol as terminals serve it, not from the driver. Both ports serve one memory, that of the simulated
ZKTeco terminal, so that a punch is one record in both.
"""

import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from drivers.base import BadRecord
from drivers.faults import NamedFaults
from drivers.zkteco.simulator import SimulatedTerminal
from drivers.zkteco.simulator import Simulator as Port4370
from drivers.zkteco.simulator.console import TerminalConsole

Firmware = Literal["old", "new"]
FIRMWARES: dict[Firmware, str] = {
    "old": "HTTP/1.0, no length, one row on a line, CR LF (ZEM boards, X100-C)",
    "new": "HTTP/1.1 in chunks, several rows on a line, LF, attributes in tags, names of persons",
}
CLIENT_TIMEOUT_S = 10.0
"""Time for which a client may leave its socket full before its connection is closed."""
ROWS_AT_ONCE = 500
HELP = (
    "Commands: punch PIN [STATE] [VERIFY], rush N, clock +7m | -30s | 2000-01-01T00:00:00, status, "
    "faults, fault NAME[=VALUE|=off], help."
)
_LOGIN = b"<!DOCTYPE html>\r\n<html><head><title>Login</title></head><body><form></form></body></html>\r\n"
_ODD_ROWS = (
    b"<Row><PIN></PIN><DateTime>2026-11-30 07:00:00</DateTime><Verified>1</Verified><Status>0</Status></Row>",
    b"<Row><PIN>0</PIN><DateTime>2026-11-30 07:00:01</DateTime><Verified>1</Verified><Status>0</Status></Row>",
    b"<Row><PIN>12</PIN><DateTime>2026-02-31 07:00:00</DateTime><Verified>1</Verified><Status>0</Status></Row>",
    b"<Row><PIN>12</PIN<DateTime>2026-11-30 07:00:02</DateTime><Verified>1</Verified><Status>0</Status></Row>",
    b"<Row><PIN>1\x002</PIN><DateTime>2026-11-30 07:00:03</DateTime><Verified>1</Verified><Status>\xe9</Status></Row>",
)


@dataclass
class Faults(NamedFaults):
    """The faults that are on; a number is the count of answers that remain to be damaged."""

    cut: int = 0
    """Answers that end in the middle, without their closing tag."""
    hang_up: int = 0
    """Connections that are closed without an answer."""
    busy: int = 0
    """Answers with status 503."""
    blank: int = 0
    """Answers without a body."""
    silent: bool = False
    """Nothing follows the head of an answer."""
    slow: float = 0.0
    """Seconds between two bytes of an answer."""
    endless: bool = False
    """Rows follow each other without end."""
    long_row: bool = False
    """The log has a row of 10 MB at its beginning."""
    odd_rows: bool = False
    """The log has rows without a person or a time at its beginning, one of them with NUL and high bytes."""
    wrong_length: bool = False
    """The head announces fewer bytes than the answer has."""
    no_service: bool = False
    """Status 404: the web server has no such service."""
    web_page: bool = False
    """A page for people, with a form to log in."""
    redirect: bool = False
    """Status 302: the web server sends clients to its page."""


class WebService:
    """The web server of a terminal: one request at a time, as small terminals serve them."""

    def __init__(self, terminal: SimulatedTerminal, firmware: Firmware, host: str, port: int) -> None:
        self.terminal = terminal
        self.firmware = firmware
        self.host = host
        self.port = port
        self.faults = Faults()
        self.methods: Counter[str] = Counter()
        """Methods requested."""
        self.refused_writes: list[str] = []
        """Methods requested that would have changed the terminal, but for its clock."""
        self.bytes_out = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self._stopping, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"web service {self.terminal.serial}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        self._stopping.close()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select((self._listener, self._stopping), (), ())
            if self._stopping in ready:
                return
            with suppress(OSError):
                connection, _address = self._listener.accept()
                with connection:
                    connection.settimeout(CLIENT_TIMEOUT_S)
                    self._answer(connection)

    def _wait(self, seconds: float) -> None:
        """Wait, but not for longer than the simulator runs; ConnectionAbortedError when it stops."""
        if select.select((self._stopping,), (), (), seconds)[0]:
            raise ConnectionAbortedError("the simulator stops")

    def _request(self, connection: socket.socket) -> bytes:
        """Return the body of a request; empty where it is none of this service."""
        received = b""
        until_s = time.monotonic() + CLIENT_TIMEOUT_S
        while time.monotonic() < until_s:
            head, found, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length: *(\d{1,6})\r?$", head)
            if found and (length is None or len(body) >= int(length[1])):
                return body if head.startswith(b"POST /iWsService ") else b""
            ready, _, _ = select.select((connection, self._stopping), (), (), CLIENT_TIMEOUT_S)
            if self._stopping in ready or not ready or not (piece := connection.recv(4096)):
                break
            received += piece
        return b""

    def _answer(self, connection: socket.socket) -> None:
        faults = self.faults
        request = self._request(connection)
        method = match[1].decode("ascii") if (match := re.match(rb"\s*<([A-Za-z]{1,32})>", request)) else ""
        if not request or not method or faults.consume("hang_up"):
            return
        self.methods[method] += 1
        if faults.consume("busy"):
            connection.sendall(b"HTTP/1.0 503 Service Unavailable\r\n\r\n")
        elif faults.no_service:
            connection.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\n\r\n" + _LOGIN)
        elif faults.redirect:
            connection.sendall(b"HTTP/1.0 302 Found\r\nLocation: /csl/login\r\n\r\n")
        elif faults.web_page:
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + _LOGIN)
        else:
            self._send(connection, method, request)

    def _send(self, connection: socket.socket, method: str, request: bytes) -> None:
        faults, new = self.faults, self.firmware == "new"
        head = f"HTTP/{'1.1' if new else '1.0'} 200 OK\r\nServer: ZK Web Server\r\nPragma: no-cache\r\n"
        head += "Cache-control: no-cache\r\nContent-Type: text/xml\r\nConnection: close\r\n"
        head += "Transfer-Encoding: chunked\r\n" if new else "Content-Length: 40\r\n" if faults.wrong_length else ""
        connection.sendall(head.encode("ascii") + b"\r\n")
        if faults.consume("blank"):
            return
        while faults.silent:
            self._wait(0.05)
        pieces = self._body(method, request)
        if faults.consume("cut"):
            body = b"".join(pieces)
            pieces = iter((body[: len(body) // 2],))
        for piece in pieces:
            data = b"%X\r\n%b\r\n" % (len(piece), piece) if new else piece
            self.bytes_out += len(data)
            if not faults.slow:
                connection.sendall(data)
                continue
            for at in range(len(data)):
                connection.sendall(data[at : at + 1])
                self._wait(faults.slow)
        if new:
            connection.sendall(b"0\r\n\r\n")

    def _body(self, method: str, request: bytes) -> Iterator[bytes]:
        """Yield the body of an answer in pieces."""
        end = b"\n" if self.firmware == "new" else b"\r\n"
        name = method.encode("ascii")
        key = re.search(rb"<ArgComKey[^>]*>\s*(\d+)\s*</ArgComKey>", request)
        known = key is not None and int(key[1]) == self.terminal.comm_key
        yield b"<%bResponse>%b" % (name, end)
        if method == "GetAttLog":
            yield from self._log() if known else ()
        elif method == "GetDate" and known:
            shown = self.terminal.clock()
            yield f"<Row><Date>{shown:%Y-%m-%d}</Date><Time>{shown:%H:%M:%S}</Time></Row>".encode("ascii") + end
        elif method == "SetDate" and known:
            date, hour = (re.search(rb"<%b>([^<]+)</%b>" % (tag, tag), request) for tag in (b"Date", b"Time"))
            if date is not None and hour is not None:
                self.terminal.set_clock(datetime.fromisoformat(f"{date[1].decode()} {hour[1].decode()}"))
            yield b"<Row><Result>1</Result><Information>Successfully!</Information></Row>" + end
        elif method != "GetDate":
            self.refused_writes.append(method)
            yield b"<Row><Result>0</Result><Information>Fail!</Information></Row>" + end
        yield b"</%bResponse>%b" % (name, end)

    def _log(self) -> Iterator[bytes]:
        end = b"\n" if self.firmware == "new" else b"\r\n"
        rows = [*_ODD_ROWS] if self.faults.odd_rows else []
        if self.faults.long_row:
            rows.append(b"<Row><PIN>7</PIN><Name>%b</Name></Row>" % (b"x" * (10 * 1024 * 1024)))
        empty = not rows
        for record in self.terminal.records():
            empty = False
            pin = None if isinstance(record, BadRecord) else record.pin or self.terminal.users.get(record.uid or 0)
            if isinstance(record, BadRecord) or pin is None:
                continue
            rows.append(self._row(pin, record.local_time, record.verify or 0, record.state or 0, record.work_code))
            if len(rows) >= ROWS_AT_ONCE:
                yield b"".join(self._lined(rows, end))
                rows = []
        yield b"".join(self._lined(rows, end))
        if empty:
            yield b"<Row><Result>0</Result><Information>No data!</Information></Row>" + end
        while self.faults.endless:
            self._wait(0)
            yield self._row("1001", datetime(2026, 11, 30, 7), 1, 0, None) * ROWS_AT_ONCE  # noqa: DTZ001 - a wall clock

    def _row(self, pin: str, moment: datetime, verify: int, state: int, work_code: str | None) -> bytes:
        code = work_code or "0"
        if self.firmware == "old":
            return (
                f"<Row><PIN>{pin}</PIN><DateTime>{moment}</DateTime><Verified>{verify}</Verified>"
                f"<Status>{state}</Status><WorkCode>{code}</WorkCode></Row>"
            ).encode("ascii")
        person = f'<PIN xsi:type="xsd:string">{pin}</PIN><Name>Siti Rahm\xe9 & Adi</Name>'
        return (
            f"  <Row>{person}<DateTime>{moment}</DateTime>"
            f"<Verified>{verify}</Verified><Status>{state}</Status><WorkCode>{code}</WorkCode></Row>"
        ).encode("latin-1")

    def _lined(self, rows: list[bytes], end: bytes) -> Iterator[bytes]:
        """Put rows on lines: one on each, or three where the firmware is new."""
        at_once = 3 if self.firmware == "new" else 1
        for at in range(0, len(rows), at_once):
            yield b"".join(rows[at : at + at_once]) + end


class Simulator:
    """Serves a terminal's web service, and its port 4370 unless it is shut, while the ``with`` block lasts.

    Ports of 0 choose free ones.
    """

    def __init__(
        self,
        terminal: SimulatedTerminal,
        host: str = "127.0.0.1",
        *,
        web_port: int = 0,
        port: int | None = 0,
        firmware: Firmware = "old",
    ) -> None:
        """``port`` is that of the other protocol; None: it is shut."""
        self.terminal = terminal
        self.web = WebService(terminal, firmware, host, web_port)
        self.port_4370 = None if port is None else Port4370(terminal, host, port)
        faults: dict[str, Callable[..., str]] = {
            "faults": self.web.faults.listing,
            "fault ORDER": self.web.faults.switch,
        }
        self._console = TerminalConsole(terminal, self._status, help_text=HELP, faults=faults)

    def __enter__(self) -> Self:
        self.web.__enter__()
        if self.port_4370 is not None:
            try:
                self.port_4370.__enter__()
            except OSError:
                self.web.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.port_4370 is not None:
            self.port_4370.__exit__(kind, exc, traceback)
        self.web.__exit__(kind, exc, traceback)

    @property
    def address(self) -> str:
        """Host, and the port of the other protocol, as configurations write it."""
        return f"{self.web.host}:{self.port_4370.port}" if self.port_4370 is not None else self.web.host

    def control(self, line: str) -> str:
        """Execute one typed command; return a sentence with its result, or with the error and the correct form."""
        return self._console.control(line)

    def _status(self) -> str:
        terminal = self.terminal
        other = f"port {self.port_4370.port} open" if self.port_4370 is not None else "port 4370 shut"
        return (
            f"Terminal {terminal.serial}, web service at port {self.web.port}, {other}: {terminal.count} records, "
            f"clock {terminal.clock():%Y-%m-%d %H:%M:%S}; requested: "
            f"{', '.join(f'{name} {count}' for name, count in sorted(self.web.methods.items())) or 'nothing'}."
        )
