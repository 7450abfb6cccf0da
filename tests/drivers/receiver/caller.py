"""A receiver on a real socket, a handler that does as a driver does, and a caller that speaks raw bytes."""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from drivers.receiver.http import Reply, Request
from drivers.receiver.listener import Config, Limits, Receiver
from drivers.receiver.registry import Body, Collected, Exchange, Expected, Registry, Serial

SN = "SYN0000000001"
WAIT_S = 30.0
"""Longest wait for anything; a test that works never waits so long."""


class LineCounter:
    """A body of which only the number of lines is kept."""

    limit = None
    timeout_s = None
    kept = 0

    def __init__(self) -> None:
        self.lines = 0

    def feed(self, piece: bytes) -> None:
        """Count."""
        self.lines += piece.count(b"\n")

    def end(self) -> Reply:
        """Acknowledge."""
        return Reply(200, b"OK: %d" % self.lines)


@dataclass
class Office:
    """A handler like that of a driver: it stores records before it acknowledges them, and answers the rest at once."""

    settle: bool = True
    """Acknowledge what was stored; else it waits in ``waiting``."""
    stored: list[bytes] = field(default_factory=list)
    waiting: deque[Exchange] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    error: type[BaseException] | None = None
    """Raised for each request."""

    def begin(self, request: Request, exchange: Exchange) -> Reply | Body:
        """Serve as a driver does."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error("PIN 0042")
        if request.method == "POST" and request.query.get("table") == "ATTLOG":
            return Collected(None, None, lambda body: self._store(body, exchange))
        if request.method == "POST":
            return LineCounter()
        return Reply(404) if request.resource not in ("cdata", "getrequest", "ping") else Reply(200, b"OK")

    def _store(self, body: bytes, exchange: Exchange) -> None:
        self.waiting.append(exchange)
        if self.settle:
            threading.Thread(target=self._commit, args=(body, exchange), daemon=True).start()

    def _commit(self, body: bytes, exchange: Exchange) -> None:
        self.stored.append(body)
        exchange.reply(Reply(200, b"OK: %d" % body.count(b"\n")))


@dataclass
class Opened:
    """A receiver that runs, with what it reported."""

    receiver: Receiver
    registry: Registry
    office: Office
    reports: list[tuple[str, dict[str, Any]]]

    def dial(self, timeout_s: float = WAIT_S) -> socket.socket:
        """Return a connection."""
        assert self.receiver.port is not None
        return socket.create_connection(("127.0.0.1", self.receiver.port), timeout_s)

    def exchange(self, *pieces: bytes, tls: ssl.SSLContext | None = None) -> bytes:
        """Send pieces one by one; return all that comes until the end of the stream."""
        with self.dial() as raw:
            sock: socket.socket = raw if tls is None else tls.wrap_socket(raw, server_hostname="127.0.0.1")
            for piece in pieces:
                sock.sendall(piece)
            return to_end(sock)

    def events(self) -> list[str]:
        """Return the names of the reported events."""
        return [event for event, _ in self.reports]


def to_end(sock: socket.socket) -> bytes:
    """Receive to the end of the stream, as old firmware does."""
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def get(resource: str = "getrequest", query: str = f"SN={SN}", version: str = "1.1") -> bytes:
    """Return a request without a body."""
    return f"GET /iclock/{resource}?{query} HTTP/{version}\r\nHost: 127.0.0.1:8088\r\n\r\n".encode()


def post(body: bytes, table: str = "ATTLOG", serial: str = SN, length: int | None = None, more: str = "") -> bytes:
    """Return an upload; ``length`` other than that of ``body`` where it is cut."""
    head = f"POST /iclock/cdata?SN={serial}&table={table}&Stamp=1 HTTP/1.1\r\nHost: 127.0.0.1:8088\r\n{more}"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def until(condition: Callable[[], object], seconds: float = WAIT_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


@contextmanager
def opened(
    limits: Limits | None = None,
    *,
    served: bool = True,
    expected: Expected | None = None,
    monotonic_s: Callable[[], float] = time.monotonic,
    **config: Any,
) -> Iterator[Opened]:
    """Yield a receiver on a free port; ``served``: a handler is registered for the serial number of this module."""
    reports: list[tuple[str, dict[str, Any]]] = []
    registry, office = Registry(), Office()
    registry.expect({Serial(SN): expected or Expected("lobby")})
    receiver = Receiver(
        registry, report=lambda event, /, **fields: reports.append((event, fields)), monotonic_s=monotonic_s
    )
    receiver.configure(Config("127.0.0.1", 0, limits=limits or Limits(), **config))
    receiver.start()
    try:
        if served:
            with registry.register(Serial(SN), office):
                yield Opened(receiver, registry, office, reports)
        else:
            yield Opened(receiver, registry, office, reports)
    finally:
        receiver.close(WAIT_S)
        assert not receiver.is_alive
