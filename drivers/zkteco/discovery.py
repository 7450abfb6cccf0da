"""Discovery of terminals in a network: rate-limited, one conversation per host, every conversation closed."""

import errno
import threading
import time
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from drivers.base import (
    ClockReading,
    DiscoveredTerminal,
    DriverError,
    Search,
    Sizes,
    TerminalInfo,
    TerminalUnavailable,
)
from drivers.zkteco.terminal import DEFAULT_PORT, ZktecoOptions, conversation
from drivers.zkteco.transport import Transport

MAX_PARALLEL_HOSTS = 32
"""Hosts that are examined at the same time, at most."""
MIN_ANSWER_TIMEOUT_S = 5.0
"""Minimum time for each answer of a connected host: a terminal that is reading a finger answers late."""

_HOST_ABSENT = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL})

Via = Literal["tcp", "udp"]


def discover(search: Search) -> Generator[DiscoveredTerminal | None, None, None]:
    """Search for terminals; yield one item for each host in order of completion, None for an unused address.

    A host is tried over TCP, and over UDP where no TCP connection opens. A host that answers is queried for its
    identity, clock and log size: small requests only, none of which makes it prepare a table. Raises
    TerminalUnavailable at the end where this computer had no route to any host. A stopped search ends when the open
    conversations have ended.
    """
    rate_limit = _RateLimit(search.rate, search.stop)
    hosts = iter(search.hosts)
    pending: set[Future[DiscoveredTerminal | None]] = set()
    no_route: TerminalUnavailable | None = None
    reached = False
    with ThreadPoolExecutor(MAX_PARALLEL_HOSTS, "discover") as pool:
        try:
            while True:
                places = 0 if search.stop.is_set() else MAX_PARALLEL_HOSTS - len(pending)
                pending |= {pool.submit(_examine, host, search, rate_limit) for host in islice(hosts, places)}
                if not pending:
                    break
                settled, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in settled:
                    found = None
                    try:
                        found = future.result()
                    except _SearchStopped:
                        continue
                    except TerminalUnavailable as exc:
                        # The system also reports a broadcast address in this way.
                        no_route = exc
                    else:
                        reached = True
                    yield found
        finally:
            search.stop.set()
    if no_route is not None and not reached:
        raise no_route


class _SearchStopped(Exception):  # noqa: N818 - never leaves this module
    """The search was stopped before this host's turn."""


class _RateLimit:
    """Admits at most ``rate`` attempts in one second, one after the other."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._gap_s = 1 / rate
        self._stop = stop
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next admission; _SearchStopped where the search was stopped."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap_s
        if self._stop.wait(at - now):
            raise _SearchStopped


def _examine(host: str, search: Search, rate_limit: _RateLimit) -> DiscoveredTerminal | None:
    """Return the terminal at ``host``; TerminalUnavailable where this computer has no route there."""
    rate_limit.wait()
    try:
        link = _open(host, "tcp", search)
    except TerminalUnavailable as exc:
        number = getattr(exc.__cause__, "errno", None)
        if number in _NO_ROUTE:
            raise
        if number in _HOST_ABSENT:
            return None
        rate_limit.wait()
        found = _query_host(_open(host, "udp", search), host, "udp", search)
        # Only an answer distinguishes an open UDP port from an absent host.
        silent = found.info is None and isinstance(found.error, TerminalUnavailable)
        return None if silent else found
    return _query_host(link, host, "tcp", search)


def _open(host: str, via: Via, search: Search) -> Transport:
    answer_s = search.timeout_s if via == "udp" else max(MIN_ANSWER_TIMEOUT_S, search.timeout_s)
    return Transport(
        host,
        search.port or DEFAULT_PORT,
        udp=via == "udp",
        timeout_s=answer_s,
        bulk_timeout_s=answer_s,
        open_timeout_s=search.timeout_s,
    )


def _query_host(link: Transport, host: str, via: Via, search: Search) -> DiscoveredTerminal:
    """Query the host at the other end of ``link``, and close it; an error becomes part of the result."""
    entry = {"address": host if search.port in (None, DEFAULT_PORT) else f"{host}:{search.port}"}
    if via == "udp":
        entry["transport"] = via
    info: TerminalInfo | None = None
    clock_read_at: datetime | None = None
    clock: ClockReading | None = None
    sizes: Sizes | None = None
    error: DriverError | None = None
    try:
        options = ZktecoOptions.model_validate({"name": host, "comm_key_file": search.comm_key_file, **entry})
        with conversation(link, options, options.comm_key()) as terminal:
            info = terminal.identify()
            if search.comm_key_file is not None:
                entry["comm_key_file"] = str(search.comm_key_file)
            if not search.stop.is_set():
                clock_read_at = datetime.now(UTC)
                clock = terminal.read_clock()
                sizes = terminal.sizes()
    except DriverError as exc:
        error = exc
    finally:
        link.close()
    return DiscoveredTerminal(host, entry, info, clock_read_at, clock, sizes, error)
