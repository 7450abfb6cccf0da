"""The sockets of the receiver: one thread whose loop serves every caller, and the limits that protect the others.

A connection carries one request: TLS handshake, head, body, reply, end. Each step has a deadline. No step of one
connection waits: what cannot go on now goes on when its socket is ready. A reply of another thread reaches the loop
through a queue.

========================= ==========================================================================================
the caller                what happens
========================= ==========================================================================================
opens too many            more than ``per_address``: closed at once; more than ``connections``: the one whose head has
                          been incomplete for longest is closed
sends a head slowly       closed after ``head_s``
sends a body slowly       closed without a reply after ``body_s``, or ``discarded_s`` where nothing of it is kept
sends too long a body     received and discarded, then 413; closed where it is longer than ``discarded_bytes`` too
ends a body early         closed without a reply
sends too often           more than ``rate`` a second per key, after ``burst`` at once: 503, an app 429
sends two bodies at once  of one serial number: the newer is read where both come from one address, else 503 to it; an
                          app may send four, a fifth gets 503
fills the memory          ``memory_bytes`` of collected bodies wait already: 503
reads no reply            closed after ``head_s``
========================= ==========================================================================================
"""

import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, Protocol

from drivers.receiver.http import CONTINUE, BadRequest, Reply, Request, RequestReader
from drivers.receiver.registry import (
    BODIES_OF_APP,
    Body,
    Collected,
    Discarded,
    Exchange,
    Handler,
    Key,
    Refusal,
    Registry,
    UrlPath,
)

RECEIVE_BYTES = 16 * 1024
ACCEPTED_AT_ONCE = 32
"""New connections of one turn; then those that are open have theirs."""
LINGER_S = 2.0
LINGER_BYTES = 1024 * 1024
"""After a reply, what still arrives is discarded within these bounds: an unread byte would destroy the reply."""
SWEEP_S = 0.25
"""Interval of looking for passed deadlines."""
RETRY_S = (2.0, 60.0)
"""Shortest and longest pause before a port that could not be opened is tried again."""
CONFIGURE_S = 10.0
RETRY_AFTER_S = 5
"""How long an app that posts too often is to wait."""
CLOSE_S = 1.0
"""Time for the replies under way when the receiver closes."""
ACCEPT_PAUSE_S = 1.0
"""Pause after a connection could not be accepted: without file descriptors the next one would fail too."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller, and all together, can take; sizes in bytes, times in seconds."""

    connections: int = 64
    per_address: int = 8
    head_bytes: int = 8192
    head_s: float = 10.0
    body_bytes: int = 4 * 1024**2
    body_s: float = 30.0
    discarded_bytes: int = 32 * 1024**2
    discarded_s: float = 120.0
    memory_bytes: int = 8 * 1024**2
    hold_s: float = 8.0
    rate: float = 100.0
    burst: float = 200.0


@dataclass(frozen=True, slots=True)
class Config:
    """Where the receiver listens, and how."""

    host: str
    port: int
    strangers: Literal["hold", "refuse"] = "hold"
    cert_file: Path | None = None
    key_file: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def listen(self) -> str:
        """The address as text."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Report(Protocol):
    """Takes what the log should have; called by the loop, so it must return soon."""

    def __call__(self, event: str, /, **fields: Any) -> None:
        """Log ``event``: receiver_opened, receiver_unavailable, request_failed, connections_refused."""


@dataclass(frozen=True, slots=True)
class Status:
    """The receiver's state and its counters since the start."""

    listen: str | None
    """Where it listens; None: nowhere, by configuration."""
    is_open: bool
    problem: str | None
    """Why the port is not open."""
    connections: int
    replies: Mapping[int, int]
    """Status code → number of replies."""
    closed: Mapping[str, int]
    """Why connections were closed without a reply → how many: slow, cut, full, per_address, tls, …"""
    faults: Mapping[str, int]
    """What was wrong with requests that could not be understood → how many."""
    failures: int
    """Requests that an error of a handler cost."""
    held: int
    """Requests that wait for the ledger."""
    held_too_long: int
    """Requests that were answered 503 because the ledger took longer than ``hold_s``."""
    memory_bytes: int
    """Of the collected bodies that wait."""
    addresses: Mapping[str, str]
    """Address → the last fault of a request from there, of the last hundred with one."""


def open_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; OSError where the port is taken or the address is not of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=128)
    listening.setblocking(False)
    return listening


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Return the context for the configured certificate; None without one. OSError (ssl.SSLError) where it is bad."""
    if config.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.cert_file, config.key_file, password=lambda: b"")
    return context


def _group(address: str) -> str:
    """Return what counts as one address: of IPv6 the network of 64 bits, which one machine can have alone."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped) if found.ipv4_mapped else str(ip_network((found, 64), strict=False))
    return address


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:") if address.count(".") == 3 else address


_State = Literal["tls", "head", "body", "held", "sending", "lingering", "closed"]
_RECEIVING: frozenset[_State] = frozenset(("head", "body", "held", "lingering"))


class _Connection:
    """One caller's connection; only the loop touches it."""

    __slots__ = (
        "address",
        "body",
        "deadline",
        "events",
        "exchange",
        "group",
        "key",
        "left",
        "limit",
        "opened",
        "out",
        "reader",
        "request",
        "reserved",
        "sock",
        "state",
    )

    def __init__(self, sock: socket.socket, address: str, head_bytes: int, now_s: float) -> None:
        self.sock = sock
        self.address = address
        self.group = _group(address)
        self.reader = RequestReader(head_bytes)
        self.state: _State = "tls" if isinstance(sock, ssl.SSLSocket) else "head"
        self.opened = now_s
        self.deadline = 0.0
        self.events = 0
        self.request: Request | None = None
        self.key: Key | None = None
        self.body: Body | None = None
        self.exchange: Exchange | None = None
        self.limit = 0
        """Longest body, in bytes."""
        self.left = 0
        """Bytes of the body that may still arrive; while lingering, of anything."""
        self.reserved = 0
        """Bytes that count as memory of collected bodies."""
        self.out = memoryview(b"")


class Receiver:
    """Serves the callers of a registry. Thread-safe; the thread runs from :meth:`start` to :meth:`close`."""

    def __init__(
        self,
        registry: Registry,
        *,
        report: Report = lambda _event, /, **_fields: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self._report = report
        self._now_s = monotonic_s
        self._calls: deque[Callable[[], None]] = deque()
        self._waker, self._wakeable = socket.socketpair()
        for end in (self._waker, self._wakeable):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeable, selectors.EVENT_READ, self._wakened)
        self._closing = False
        self._config: Config | None = None
        self._limits = Limits()
        self._listening: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None
        self._accepting = False
        self._resume_accepting_s = 0.0
        self._problem: str | None = None
        self._retry_s = 0.0
        self._retry_pause_s = RETRY_S[0]
        self._next_sweep_s = 0.0
        self._connections: set[_Connection] = set()
        self._of_group: Counter[str] = Counter()
        self._collecting: dict[Key, list[_Connection]] = {}
        self._rates: dict[Key, tuple[float, float]] = {}
        """Key → tokens at a time."""
        self._memory = 0
        self._failures = 0
        self._held_too_long = 0
        self._replies: Counter[int] = Counter()
        self._closed: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}
        self._refused_report_s = -3600.0
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    # Called by other threads.

    def configure(self, config: Config | None, *, retry: bool = False) -> None:
        """Listen as ``config`` says from now on; None: nowhere. Requests under way are finished.

        OSError, with nothing changed, where the port or the certificate cannot be used. ``retry``: the port is tried
        again until it can be used, and the status has the problem.
        """
        done: Future[None] = Future()
        change = partial(self._change, config, done, retry=retry)
        if self._thread.ident is None:
            change()
        else:
            self._call(change)
        done.result(CONFIGURE_S)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self, timeout_s: float = 2 * CLOSE_S) -> None:
        """Stop listening, answer 503 to what waits, end the thread; returns after ``timeout_s`` at the latest."""
        self._call(self._begin_closing)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def port(self) -> int | None:
        """The port that is open; None where none is."""
        listening = self._listening
        return None if listening is None else int(listening.getsockname()[1])

    def status(self) -> Status:
        """Return the state and the counters."""
        config = self._config
        return Status(
            listen=None if config is None else config.listen,
            is_open=self._listening is not None,
            problem=self._problem,
            connections=len(self._connections),
            replies=dict(self._replies),
            closed=dict(self._closed),
            faults=dict(self._faults),
            failures=self._failures,
            held_too_long=self._held_too_long,
            held=sum(connection.state == "held" for connection in tuple(self._connections)),
            memory_bytes=self._memory,
            addresses=dict(self._addresses),
        )

    def _call(self, call: Callable[[], None]) -> None:
        """Let the loop make a call."""
        self._calls.append(call)
        with suppress(OSError):  # full: a wake-up waits already; closed: nothing is left to do
            self._waker.send(b"\0")

    # The loop.

    def _run(self) -> None:
        until_s: float | None = None
        try:
            while True:
                for key, events in self._selector.select(self._pause_s()):
                    key.data(events)
                while self._calls:
                    self._calls.popleft()()
                now_s = self._now_s()
                if now_s >= self._next_sweep_s:
                    self._next_sweep_s = now_s + SWEEP_S
                    self._sweep(now_s)
                if self._closing:
                    until_s = now_s + CLOSE_S if until_s is None else until_s
                    if not self._connections or now_s >= until_s:
                        return
        finally:
            for connection in tuple(self._connections):
                self._drop(connection)
            self._stop_listening()
            self._selector.close()
            self._waker.close()
            self._wakeable.close()

    def _pause_s(self) -> float | None:
        paused = self._listening is not None and not self._accepting
        waiting = self._connections or self._closing or self._problem is not None or paused
        return max(0.0, self._next_sweep_s - self._now_s()) if waiting else None

    def _wakened(self, _events: int) -> None:
        with suppress(OSError):
            self._wakeable.recv(4096)

    def _sweep(self, now_s: float) -> None:
        for connection in tuple(self._connections):
            if now_s >= connection.deadline:
                self._expire(connection)
        if self._problem is not None and self._config is not None and now_s >= self._retry_s and not self._closing:
            self._try_again(self._config)
        if not self._accepting and self._listening is not None and now_s >= self._resume_accepting_s:
            self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
            self._accepting = True

    def _expire(self, connection: _Connection) -> None:
        if connection.state == "held":
            # Where a reply was given at this very moment, it waits in the queue and is sent.
            if connection.exchange is None or connection.exchange.abandon():
                self._held_too_long += 1
                self._reply(connection, Reply(503))
        else:
            self._drop(connection, None if connection.state == "lingering" else "slow")

    # Listening.

    def _change(self, config: Config | None, done: Future[None], *, retry: bool) -> None:
        context, problem = None, None
        try:
            if config is not None:
                context = tls_context(config)
                if self._listening is None or self._config is None or config.listen != self._config.listen:
                    self._replace_socket(config)
                    self._report("receiver_opened", listen=config.listen, tls=context is not None)
        except OSError as exc:
            if not retry:
                done.set_exception(exc)
                return
            problem = _problem(exc)
        self._config, self._tls, self._problem, self._retry_pause_s = config, context, None, RETRY_S[0]
        self._limits = Limits() if config is None else config.limits
        if config is None or problem is not None:
            self._stop_listening()
        if config is not None:
            self.registry.strangers = config.strangers
            if problem is not None:
                self._unavailable(config, problem)
        done.set_result(None)

    def _replace_socket(self, config: Config) -> None:
        """Listen elsewhere; where that fails, go on as before and raise OSError."""
        before = self._config
        try:
            listening = open_socket(config.host, config.port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or self._listening is None or before is None or before.port != config.port:
                raise
            # The port of this receiver itself, on another address or all of them.
            self._stop_listening()
            try:
                listening = open_socket(config.host, config.port)
            except OSError:
                self._try_again(before)
                raise
        self._stop_listening()
        self._listen(listening)

    def _listen(self, listening: socket.socket) -> None:
        self._listening = listening
        self._selector.register(listening, selectors.EVENT_READ, self._accept)
        self._accepting = True

    def _unavailable(self, config: Config, problem: str) -> None:
        if problem != self._problem:
            self._report("receiver_unavailable", listen=config.listen, reason=problem)
        self._problem = problem
        self._retry_s = self._now_s() + self._retry_pause_s
        self._retry_pause_s = min(self._retry_pause_s * 2, RETRY_S[1])

    def _try_again(self, config: Config) -> None:
        try:
            self._tls = tls_context(config)
            self._listen(open_socket(config.host, config.port))
        except OSError as exc:
            self._unavailable(config, _problem(exc))
        else:
            self._problem, self._retry_pause_s = None, RETRY_S[0]
            self._report("receiver_opened", listen=config.listen, tls=self._tls is not None)

    def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            if self._accepting:
                self._selector.unregister(listening)
            listening.close()
        self._accepting = False

    def _begin_closing(self) -> None:
        self._stop_listening()
        self._closing = True
        for connection in tuple(self._connections):
            if connection.state == "held":
                self._reply(connection, Reply(503))
            elif connection.state in ("tls", "head", "body", "lingering"):
                self._drop(connection)

    def _accept(self, _events: int) -> None:
        listening = self._listening
        for _ in range(ACCEPTED_AT_ONCE):
            if listening is None:
                return
            try:
                sock, name = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:  # no descriptors, or an error of the network that concerns one caller
                self._selector.unregister(listening)
                self._accepting = False
                self._resume_accepting_s = self._now_s() + ACCEPT_PAUSE_S
                self._closed["not_accepted"] += 1
                self._report_refused("not_accepted", _problem(exc))
                return
            self._open(sock, _plain(str(name[0])))

    def _open(self, sock: socket.socket, address: str) -> None:
        limits, now_s = self._limits, self._now_s()
        if self._of_group[_group(address)] >= limits.per_address and not self._make_room(_group(address)):
            self._refuse_connection(sock, "per_address", address)
            return
        if len(self._connections) >= limits.connections and not self._make_room():
            self._refuse_connection(sock, "full", address)
            return
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:  # the caller has hung up already
            sock.close()
            return
        connection = _Connection(sock, address, limits.head_bytes, now_s)
        connection.deadline = now_s + limits.head_s
        self._connections.add(connection)
        self._of_group[connection.group] += 1
        self._want(connection, selectors.EVENT_READ)
        self._step(connection, 0)  # most requests have arrived with the connection

    def _make_room(self, group: str | None = None) -> bool:
        """Close one connection, of an address where its share is used up; return False where all are needed."""
        if group is not None:  # the caller may have the reply, and not have hung up yet
            others = [other for other in self._connections if other.state == "lingering" and other.group == group]
        else:  # those that have their reply first, then those that may never send a request of a configured terminal
            others = [other for other in self._connections if other.state == "lingering" or other.key is None]
        if not others:
            return False
        oldest = min(others, key=lambda other: (other.state != "lingering", other.opened))
        self._drop(oldest, None if oldest.state == "lingering" else "full")
        return True

    def _refuse_connection(self, sock: socket.socket, why: str, address: str) -> None:
        self._closed[why] += 1
        sock.close()
        self._report_refused(why, address)

    def _report_refused(self, why: str, detail: str) -> None:
        """Log refused connections once an hour; the counters have all."""
        now_s = self._now_s()
        if now_s - self._refused_report_s >= 3600:
            self._refused_report_s = now_s
            self._report("connections_refused", why=why, detail=detail)

    # One connection.

    def _want(self, connection: _Connection, events: int) -> None:
        if events == connection.events:
            return
        step = partial(self._step, connection)
        if not events:
            self._selector.unregister(connection.sock)
        elif connection.events:
            self._selector.modify(connection.sock, events, step)
        else:
            self._selector.register(connection.sock, events, step)
        connection.events = events

    def _step(self, connection: _Connection, _events: int) -> None:
        """Go on with a connection whose socket is ready; an unexpected error costs this connection only."""
        try:
            if connection.state == "tls":
                self._handshake(connection)
            if connection.state in _RECEIVING:
                self._receive(connection)
            elif connection.state == "sending":
                self._send(connection)
        except ssl.SSLWantReadError:
            self._want(connection, selectors.EVENT_READ)
        except BlockingIOError:
            self._want(connection, selectors.EVENT_WRITE if connection.state == "sending" else selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._want(connection, selectors.EVENT_WRITE)
        except ssl.SSLError:
            self._drop(connection, "tls")
        except OSError:
            self._drop(connection, None if connection.state == "lingering" else "reset")
        except Exception as exc:  # noqa: BLE001 - of the receiver itself: reported with its place
            self._fail(connection, exc)
            self._drop(connection, "failed")

    def _handshake(self, connection: _Connection) -> None:
        sock = connection.sock
        assert isinstance(sock, ssl.SSLSocket)  # noqa: S101 - by the state
        sock.do_handshake()
        connection.state = "head"
        self._want(connection, selectors.EVENT_READ)

    def _receive(self, connection: _Connection) -> None:
        self._want(connection, selectors.EVENT_READ)
        while connection.state in _RECEIVING:
            data = connection.sock.recv(RECEIVE_BYTES)
            if not data:
                self._end_of_stream(connection)
            elif connection.state == "head":
                self._receive_head(connection, data)
            elif connection.state == "body":
                self._receive_body(connection, data)
            elif connection.state == "lingering":
                connection.left -= len(data)
                if connection.left <= 0:
                    self._drop(connection)
            sock = connection.sock
            if not (isinstance(sock, ssl.SSLSocket) and connection.state != "closed" and sock.pending()):
                return  # the next piece has its turn after the other connections had theirs

    def _end_of_stream(self, connection: _Connection) -> None:
        if connection.state == "held":
            self._want(connection, 0)  # it has sent all it will send, and may still read the reply
        elif connection.state == "lingering" or not connection.reader.has_begun:
            self._drop(connection)
        else:
            self._drop(connection, "cut")

    def _receive_head(self, connection: _Connection, data: bytes) -> None:
        try:
            request = connection.reader.receive_head(data)
        except BadRequest as exc:
            self._misunderstood(connection, exc)
            return
        if request is None:
            return
        connection.request = request = replace(request, peer=connection.address)
        self._begin(connection, request)
        if connection.state == "body":
            self._receive_body(connection, b"")

    def _misunderstood(self, connection: _Connection, exc: BadRequest) -> None:
        self._faults[exc.fault] += 1
        self._addresses.pop(connection.address, None)
        self._addresses[connection.address] = exc.fault.value
        if len(self._addresses) > 100:
            del self._addresses[next(iter(self._addresses))]
        self._reply(connection, Reply(exc.status))

    def _begin(self, connection: _Connection, request: Request) -> None:
        """Find who serves a request, and begin to receive its body."""
        route = self.registry.route(request)
        if isinstance(route, Refusal):
            self._discard(connection, route.reply, self._limits.body_s)
            return
        key, handler = route
        if not self._has_token(key):
            self.registry.count(key, "too_often")
            too_often = Reply(429, b"", {"Retry-After": str(RETRY_AFTER_S)}) if isinstance(key, UrlPath) else Reply(503)
            self._discard(connection, too_often, self._limits.body_s)
            return
        connection.key = key
        found = self._ask(connection, handler, request)
        if isinstance(found, Reply) and found.status != 200:
            connection.key = None  # nothing of it is received for anybody: it makes room for others
            self._discard(connection, found, self._limits.body_s)
        elif isinstance(found, Reply):
            self._discard(connection, found, self._limits.discarded_s)
        else:
            self._take(connection, found)

    def _ask(self, connection: _Connection, handler: Handler, request: Request) -> Reply | Body:
        connection.exchange = exchange = Exchange(lambda reply: self._call(lambda: self._answer(connection, reply)))
        try:
            return handler.begin(request, exchange)
        except Exception as exc:  # noqa: BLE001 - any error of a driver costs its request
            self._fail(connection, exc)
            return Reply(503)

    def _discard(self, connection: _Connection, reply: Reply, timeout_s: float) -> None:
        """Receive and discard the body, if any, then reply."""
        request = connection.request
        assert request is not None  # noqa: S101 - by the state
        too_long = request.length is not None and request.length > self._limits.discarded_bytes
        if connection.reader.is_complete or too_long or (request.expects_continue and reply.status != 200):
            self._reply(connection, reply)
        else:
            self._take(connection, Discarded(None, timeout_s, lambda: reply))

    def _take(self, connection: _Connection, body: Body) -> None:
        """Receive the body."""
        request, limits = connection.request, self._limits
        assert request is not None  # noqa: S101 - by the state
        usual = (limits.body_bytes, limits.body_s) if isinstance(body, Collected) else (None, None)
        limit, timeout_s = body.limit or usual[0], body.timeout_s or usual[1]
        connection.limit = connection.left = min(limit or limits.discarded_bytes, limits.discarded_bytes)
        connection.deadline = self._now_s() + min(timeout_s or limits.discarded_s, limits.discarded_s)
        connection.body, connection.state = body, "body"
        if request.length is not None and request.length > connection.limit:
            self._too_long(connection)
        elif request.expects_continue and not connection.reader.is_complete:
            connection.sock.send(CONTINUE)  # 25 bytes into an empty buffer

    def _admits(self, connection: _Connection, body: Body) -> bool:
        """Count what a body keeps; return False, with the reason counted, where it is too much."""
        key, kept = connection.key, body.kept
        if not kept or key is None:
            return True
        others = self._collecting.setdefault(key, [])
        if connection not in others:
            if isinstance(key, UrlPath):
                is_busy = len(others) >= BODIES_OF_APP
            else:
                is_busy = any(other.state != "body" or other.address != connection.address for other in others)
            if is_busy:
                self.registry.count(key, "busy")
                return False
            if not isinstance(key, UrlPath):
                for other in tuple(others):
                    self._drop(other, "superseded")  # the caller has given it up: a terminal sends one body at a time
            self._collecting.setdefault(key, []).append(connection)
        self._memory += kept - connection.reserved
        connection.reserved = kept
        if self._memory > self._limits.memory_bytes:
            self.registry.count(key, "no_memory")
            return False
        return True

    def _too_long(self, connection: _Connection) -> None:
        self._release(connection)
        if connection.key is not None:
            self.registry.count(connection.key, "too_long")
        if connection.limit >= self._limits.discarded_bytes:
            self._drop(connection, "too_long")
        else:
            self._discard(connection, Reply(413), self._limits.discarded_s)

    def _receive_body(self, connection: _Connection, data: bytes) -> None:
        body, reader = connection.body, connection.reader
        assert body is not None  # noqa: S101 - by the state
        try:
            piece = reader.receive_body(data)
        except BadRequest as exc:
            self._misunderstood(connection, exc)
            return
        connection.left -= len(piece)
        if connection.left < 0:
            self._too_long(connection)
            return
        try:
            if piece:
                body.feed(piece)
                if not self._admits(connection, body):
                    self._discard_rest(connection)
                    return
            if not reader.is_complete:
                return
            connection.state = "held"
            connection.deadline = self._now_s() + self._limits.hold_s
            reply = body.end()
        except Exception as exc:  # noqa: BLE001 - any error of a driver costs its request
            self._fail(connection, exc)
            self._discard_rest(connection)
            return
        if reply is not None:
            self._reply(connection, reply)

    def _discard_rest(self, connection: _Connection) -> None:
        """Give up a body; 503 once the rest of it has arrived."""
        self._release(connection)
        self._discard(connection, Reply(503), self._limits.body_s)

    def _answer(self, connection: _Connection, reply: Reply) -> None:
        """Send a reply of another thread."""
        if connection.state == "held":
            self._reply(connection, reply)

    def _reply(self, connection: _Connection, reply: Reply) -> None:
        if connection.state == "closed":
            return
        request = connection.request
        try:
            encoded = reply.encode(head_only=request is not None and request.method == "HEAD")
        except ValueError as exc:
            self._fail(connection, exc)
            reply = Reply(503)
            encoded = reply.encode()
        self._replies[reply.status] += 1
        if connection.exchange is not None:
            connection.exchange.abandon()
        self._release(connection)
        connection.body = None
        connection.out = memoryview(encoded)
        connection.state = "sending"
        connection.deadline = self._now_s() + self._limits.head_s
        self._step(connection, 0)

    def _send(self, connection: _Connection) -> None:
        while connection.out:
            connection.out = connection.out[connection.sock.send(connection.out) :]
        connection.state = "lingering"
        connection.left = LINGER_BYTES
        connection.deadline = self._now_s() + LINGER_S
        sock = connection.sock
        if isinstance(sock, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                sock.unwrap()  # sends the end of TLS; what the caller answers to it is discarded
        self._want(connection, selectors.EVENT_READ)
        sock.shutdown(socket.SHUT_WR)

    def _fail(self, connection: _Connection, exc: BaseException) -> None:
        self._failures += 1
        request = connection.request
        self._report(
            "request_failed",
            serial=None if connection.key is None else connection.key.value,
            resource=None if request is None else request.resource[:32],
            error=exc,
        )

    def _release(self, connection: _Connection) -> None:
        """Let go of what a connection holds of the shared memory."""
        self._memory -= connection.reserved
        connection.reserved = 0
        collecting = self._collecting.get(connection.key, []) if connection.key is not None else []
        if connection in collecting:
            collecting.remove(connection)
            if not collecting and connection.key is not None:
                del self._collecting[connection.key]

    def _drop(self, connection: _Connection, why: str | None = None) -> None:
        if connection.state == "closed":
            return
        if why is not None:
            self._closed[why] += 1
        if connection.exchange is not None:
            connection.exchange.abandon()
        self._release(connection)
        self._want(connection, 0)
        connection.state, connection.body = "closed", None
        connection.sock.close()
        self._connections.discard(connection)
        self._of_group[connection.group] -= 1
        if not self._of_group[connection.group]:
            del self._of_group[connection.group]

    def _has_token(self, key: Key) -> bool:
        """Take a token; a refused request takes none, or a caller that repeats it at once would never get one."""
        limits, now_s = self._limits, self._now_s()
        tokens, at_s = self._rates.get(key, (limits.burst, now_s))
        tokens = min(limits.burst, tokens + (now_s - at_s) * limits.rate)
        granted = tokens >= 1
        self._rates[key] = (tokens - 1 if granted else tokens, now_s)
        return granted


def _problem(exc: OSError) -> str:
    return str(exc) if isinstance(exc, ssl.SSLError) or exc.errno is None else os.strerror(exc.errno)
