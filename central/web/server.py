"""The process that serves the pages until SIGTERM or Ctrl-C."""

import asyncio
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from central.web.app import Centre
from central.web.guard import Site, peer_of

CONNECTIONS = 640
"""Connections at a time; further ones are closed. One address has at most half of them, but a proxy all."""
FILES = 4096
"""File descriptors that the process requests: each connection needs one."""
HEAD_BYTES = 16 * 1024
"""Request line and headers, at most."""
SHUTDOWN_S = 3
IDLE_S = 15
REQUEST_S = 15.0
"""A connection is closed when a request is not complete this long after the connection or the last response."""
UNREAD_S = 30.0
"""A connection is closed when its client reads nothing of a response for this long."""
CHECK_S = 1.0

log = structlog.get_logger("web")


class Tls(NamedTuple):
    """The server's certificate and its key."""

    cert_file: Path
    key_file: Path


def _protocol(site: Site) -> type[H11Protocol]:
    class Connection(H11Protocol):
        """One connection; it is closed where there are too many, in all or of its peer, or where its client stalls."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            host = self.client[0] if self.client else ""
            self._peer = peer_of(host)
            self._due = self._moved = self.loop.time()
            self._unread = 0
            self._check: asyncio.TimerHandle | None = None
            others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
            of_peer = 0 if site.is_proxy(host) else sum(one._peer == self._peer for one in others)  # noqa: SLF001 - of this class
            if len(others) >= CONNECTIONS or of_peer >= CONNECTIONS // 2:
                transport.abort()
            else:
                self._check = self.loop.call_later(CHECK_S, self._check_progress)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._check is not None:
                self._check.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._due = self.loop.time()
            super().on_response_complete()

        def _check_progress(self) -> None:
            """Close the connection where a request is not complete in time, or its response is not read."""
            now, unread = self.loop.time(), self.transport.get_write_buffer_size()
            if unread == 0 or unread < self._unread:
                self._moved = now
            self._unread = unread
            asking = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
            if (asking and now - self._due > REQUEST_S) or now - self._moved > UNREAD_S:
                self.transport.abort()
            else:
                self._check = self.loop.call_later(CHECK_S, self._check_progress)

    return Connection


def open_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=256)


class Server(uvicorn.Server):
    """uvicorn's server, with the tasks of the pages beside it."""

    def __init__(self, centre: Centre, site: Site, tls: Tls | None, ready: Callable[[], Any]) -> None:
        """``ready`` is called once, when a request would be answered."""
        config = uvicorn.Config(
            centre.app(),
            http=_protocol(site),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",  # at level warning, every request that is not HTTP would be logged
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ssl_certfile=None if tls is None else tls.cert_file,
            ssl_keyfile=None if tls is None else tls.key_file,
        )
        super().__init__(config)
        self._centre, self._ready = centre, ready
        self._tending: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C end the server, and the process with 0: uvicorn would end it by the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _frame: object) -> None:
        self.should_exit = True
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to tend the pages."""
        await super().startup(sockets)
        self._tending = asyncio.create_task(self._centre.tend())
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let feeds end, then connections."""
        if self._tending is not None:
            self._tending.cancel()
        self._centre.stop()
        await super().shutdown(sockets)


def serve(centre: Centre, site: Site, tls: Tls | None, listening: socket.socket, ready: Callable[[], Any]) -> None:
    """Serve the pages until a signal."""
    with suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        Server(centre, site, tls, ready).run(sockets=[listening])
    finally:
        centre.close()
