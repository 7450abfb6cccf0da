"""The thread that serves the page, and restarts the server after a failure."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from drivers.textfile import read_secret
from gateway.log import get_logger
from gateway.page.guard import cookie_key, peer_of
from gateway.page.site import site
from gateway.page.view import View
from gateway.pause import Pause
from gateway.settings import Settings, Web, host_and_port

PAUSE = Pause(2.0, 60.0)
STABLE_S = 60.0
"""After this running time the count of consecutive failures starts again."""
CONNECTIONS = 64
"""Connections at a time; further ones are closed: terminals and ledger need the file descriptors."""
HEAD_BYTES = 16 * 1024
"""Request line and headers, at most."""
SHUTDOWN_S = 1
IDLE_S = 5
REQUEST_S = 10.0
"""A connection is closed when a request is not complete this long after the connection or the last response."""
UNREAD_S = 30.0
"""A connection is closed when its client reads nothing of a response for this long."""
CHECK_S = 1.0

log = get_logger("page")


class _Connection(H11Protocol):
    """One connection; it is closed where there are too many, in all or of its peer, or where its client stalls."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else None)
        self._due = self._moved = self.loop.time()
        self._unread = 0
        self._check: asyncio.TimerHandle | None = None
        others = [other for other in self.connections if isinstance(other, _Connection) and other is not self]
        of_peer = sum(other._peer == self._peer for other in others)  # noqa: SLF001 - of this class
        if len(others) >= CONNECTIONS or of_peer >= CONNECTIONS // 4:
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


class Page:
    """Serves the status page until :meth:`stop`.

    It is the only part whose failure does not end the daemon, since no punch depends on it. A port in use, an address
    that does not exist yet, or an error in this program is logged once, and the server restarts after growing pauses.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        web: Web,
        *,
        status: Callable[[], dict[str, Any]],
        trouble: Callable[[], str | None],
        now: Callable[[], datetime],
    ) -> None:
        """``status`` returns the daemon's status, ``trouble`` the part of it that has failed, if any."""
        self._web = web
        self._view = View(settings, status, now)
        token = read_secret(web.token_file) if web.token_file else None
        self._site = site(
            self._view,
            trouble,
            token=token,
            key=b"" if token is None else cookie_key(settings().data_dir),
            listens=web.listen,
            stopping=self._is_stopping,
        )
        self._stopping = threading.Event()
        self._server: uvicorn.Server | None = None
        self._last_reason: str | None = None
        """The reason that was logged last."""
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Request the end of the thread; :meth:`join` waits for it."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _is_stopping(self) -> bool:
        return self._stopping.is_set()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._serve()
            except OSError as exc:
                self._log_once(exc.strerror or str(exc))
            except (Exception, SystemExit):
                log.exception("page_failed")
            failures = 1 if time.monotonic() - begun > STABLE_S else failures + 1
            self._stopping.wait(PAUSE.after(failures))
        self._view.close()

    def _log_once(self, reason: str) -> None:
        if reason != self._last_reason:
            hint = (
                "another program may use the port: choose another one in web.listen, or switch the page off, web: null"
            )
            log.warning("page_unavailable", listen=self._web.listen, reason=reason, hint=hint)
            self._last_reason = reason

    def _serve(self) -> None:
        host, port = host_and_port(self._web.listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as listening:
            log.info("page_served", url=f"http://{self._web.listen}/")
            self._last_reason = None
            config = uvicorn.Config(
                self._site,
                http=_Connection,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="error",  # at level warning, every request that is not HTTP would be logged
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=SHUTDOWN_S,
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
            self._server = uvicorn.Server(config)
            if not self._stopping.is_set():
                self._server.run(sockets=[listening])
