"""Finding terminals in a network: gently, with one conversation at a time with each, and none left open."""

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
"""Hosts that are looked at at the same time, at most."""
MIN_ANSWER_TIMEOUT_S = 5.0
"""Time for each answer of a host that has opened a connection, at least: a terminal that reads a finger makes wait."""

_HOST_ABSENT = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL})

Via = Literal["tcp", "udp"]


def discover(search: Search) -> Generator[DiscoveredTerminal | None, None, None]:
    """Look for terminals; one item for each host, in the order in which they are settled, None where nobody is.

    A host is tried over TCP, and where no connection opens over UDP. Whoever answers is asked who it is, for its clock
    and for how full its log is: small questions only, and none that makes it prepare anything. Raises
    TerminalUnavailable in the end where this computer had no way to any host. A search that is stopped takes as long as
    the conversations under way need to end.
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
                        # Among others this is how the system says that an address is a broadcast's.
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
    """Lets attempts through one after the other, at most ``rate`` in one second."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._gap_s = 1 / rate
        self._stop = stop
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next turn; _SearchStopped where there will be none."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap_s
        if self._stop.wait(at - now):
            raise _SearchStopped


def _examine(host: str, search: Search, rate_limit: _RateLimit) -> DiscoveredTerminal | None:
    """Find out who is at ``host``; TerminalUnavailable where this computer has no way there."""
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
        # Nothing tells an open UDP port from an absent host but an answer.
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
    """Ask whoever is at the other end of ``link``, and close it; what goes wrong becomes part of the finding."""
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
