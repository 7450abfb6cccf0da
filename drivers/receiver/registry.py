"""Which serial number or path is served by which handler, and who else called.

The gateway states which keys its configuration has (:meth:`Registry.expect`). A driver registers a handler for the key
of its terminal while that terminal is served. A caller whose key is expected and not registered gets 503 and repeats
its request later; one whose key is unknown is a stranger: it is listed, and never accepted by itself.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from drivers.receiver.http import Reply, Request

STRANGERS_MAX = 100
"""Remembered callers whose key is unknown; of further ones the longest silent is forgotten."""
RESOURCES_MAX = 20
"""Names of resources that are counted for one caller; all others are counted together."""
_SERIAL = re.compile(r"[A-Za-z0-9_-]{1,32}")

Network = IPv4Network | IPv6Network


class Serial(NamedTuple):
    """The key of a terminal that states its serial number in the parameter ``SN`` of each request."""

    value: str


class UrlPath(NamedTuple):
    """The key of a source that posts to a path of its own, such as ``/hook/presensi``."""

    value: str


BODIES_OF_APP = 4
"""Bodies that the source of one :class:`UrlPath` may send at once: an app has many users. A terminal sends one."""


Key = Serial | UrlPath


class Exchange:
    """One request that waits for its reply, which any thread may give."""

    def __init__(self, send: Callable[[Reply], None]) -> None:
        """``send`` receives the reply; it is called once, by the thread that replies, and must not block."""
        self._send = send
        self._lock = threading.Lock()
        self._open = True

    def reply(self, reply: Reply) -> bool:
        """Answer the request; False where it was answered before, held too long, or the caller has hung up."""
        with self._lock:
            if not self._open:
                return False
            self._open = False
        self._send(reply)
        return True

    def abandon(self) -> bool:
        """Refuse later replies; return whether none was given before. Called by the loop."""
        with self._lock:
            was_open, self._open = self._open, False
        return was_open

    @property
    def is_open(self) -> bool:
        """Whether a reply would still be sent."""
        return self._open


@runtime_checkable
class Body(Protocol):
    """Takes the body of one request, piece by piece. Called by the loop: no method may block."""

    @property
    def limit(self) -> int | None:
        """Longest body in bytes; the answer to a longer one is 413. None: what the receiver's settings allow."""

    @property
    def timeout_s(self) -> float | None:
        """Longest time until the whole body has arrived, then the connection is closed; None: as the settings say."""

    @property
    def kept(self) -> int:
        """How many bytes it holds in memory now, until the reply; 0 where everything is discarded.

        The receiver bounds the sum of all. Of a terminal it admits one body at a time that keeps anything, of an app
        :data:`BODIES_OF_APP`.
        """

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body."""

    def end(self) -> Reply | None:
        """Return the reply to the whole body, or None where :meth:`Exchange.reply` follows.

        Without a reply within the receiver's ``hold`` time, 8 s by default, the caller gets 503 and repeats later.
        A body that ends early, or too late, is dropped without this call.
        """


class Collected:
    """Collects a body in memory."""

    def __init__(self, limit: int | None, timeout_s: float | None, then: Callable[[bytes], Reply | None]) -> None:
        """``then`` is called with the whole body, as :meth:`Body.end`."""
        self.limit = limit
        self.timeout_s = timeout_s
        self.kept = 0
        self._then = then
        self._body = bytearray()

    def feed(self, piece: bytes) -> None:
        """Append to the body."""
        self._body += piece
        self.kept = len(self._body)

    def end(self) -> Reply | None:
        """Pass the body on."""
        body = bytes(self._body)
        self._body.clear()
        return self._then(body)


class Discarded:
    """Discards a body and then replies; no byte of it is kept."""

    kept = 0

    def __init__(self, limit: int | None, timeout_s: float | None, then: Callable[[], Reply]) -> None:
        """``then`` returns the reply, after the whole body has arrived."""
        self.limit = limit
        self.timeout_s = timeout_s
        self._then = then

    def feed(self, piece: bytes) -> None:
        """Drop the bytes."""

    def end(self) -> Reply:
        """Reply."""
        return self._then()


class Handler(Protocol):
    """Serves the requests of one key. Called by the loop, one call at a time: it must return at once."""

    def begin(self, request: Request, exchange: Exchange) -> Reply | Body:
        """Take the head of a request.

        Return the reply where the body does not matter: it is sent after any body has been received and discarded,
        because terminals do not read while they write. Return a :class:`Body` to receive the body: :class:`Collected`
        to have it whole, a class of the driver to look at pieces.

        An exception costs this request: the caller gets 503 and repeats it, and the error is counted and logged
        without its text.
        """


class Expected(NamedTuple):
    """What the configuration says about a caller."""

    name: str
    """Of the terminal's entry."""
    networks: tuple[Network, ...] = ()
    """Where it may call from; empty: from anywhere."""


class Refusal(NamedTuple):
    """A request that no handler serves, and its answer."""

    reply: Reply
    why: Literal["no_key", "bad_serial", "stranger", "elsewhere", "not_served"]


@dataclass(slots=True)
class Caller:
    """What is remembered of one caller: for status, page and advice. No PIN, and nothing of a body."""

    key: Key
    name: str | None
    """Of the terminal's entry; None: a stranger."""
    address: str
    first_seen: datetime
    last_seen: datetime
    requests: Counter[str] = field(default_factory=Counter)
    """Resource (``cdata``, ``getrequest``) or ``POST`` and resource → number of requests."""
    last_post: datetime | None = None
    """Of a request with a body."""
    refused: Counter[str] = field(default_factory=Counter)
    """Why requests were refused → how often."""
    host: str = ""
    """The ``Host`` header: the address that was typed into the terminal."""
    is_proxied: bool = False
    """The last request came in the form for a proxy: a proxy is configured in the terminal."""
    device_type: str = ""
    """As stated at the handshake: ``att``, or ``acc`` for access control."""
    push_version: str = ""
    ahead_s: int | None = None
    """How far the latest time in its last upload lies ahead of the reception, in seconds, where its driver notes it."""

    def see(self, request: Request, now: datetime) -> None:
        """Update with a request."""
        self.address, self.last_seen = request.peer, now
        label = request.resource if request.method == "GET" else f"{request.method} {request.resource}"
        counted = label if label in self.requests or len(self.requests) < RESOURCES_MAX else "other"
        self.requests[_printable(counted)] += 1
        if request.length != 0:
            self.last_post = now
        self.is_proxied = request.is_absolute
        self.host = _printable(request.headers.get("host", ""))
        self.device_type = _printable(request.query.get("devicetype", self.device_type))
        self.push_version = _printable(request.query.get("pushver", self.push_version))


def _printable(text: str) -> str:
    return "".join(ch if " " <= ch <= "~" else "?" for ch in text[:64])


def serial_of(text: str) -> Serial | None:
    """Return a text as a serial number; None where no terminal that calls can have it."""
    return Serial(text) if _SERIAL.fullmatch(text) else None


def key_of(request: Request) -> Serial | None:
    """Return the serial number that a request states; None where it states none that a terminal can have."""
    return serial_of(request.query.get("sn", ""))


class Registry:
    """The handlers, the expected callers, and those who called. Thread-safe."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._expected: dict[Key, Expected] = {}
        self._handlers: dict[Key, Handler] = {}
        self._callers: dict[Key, Caller] = {}
        self.strangers: Literal["hold", "refuse"] = "hold"
        """``hold``: strangers get 503 and call again; ``refuse``: 401."""

    def expect(self, expected: Mapping[Key, Expected]) -> None:
        """Replace the callers that the configuration has; strangers that are among them are strangers no more."""
        with self._lock:
            self._expected = dict(expected)
            self._callers = {
                key: caller for key, caller in self._callers.items() if (caller.name is None) == (key not in expected)
            }

    @contextmanager
    def register(self, key: Key, handler: Handler) -> Iterator[None]:
        """Let ``handler`` serve the requests of ``key`` within the block; ValueError where another one does."""
        with self._lock:
            if key in self._handlers:
                raise ValueError(f"another handler serves {key.value}")
            self._handlers[key] = handler
        try:
            yield
        finally:
            with self._lock:
                del self._handlers[key]

    def route(self, request: Request) -> tuple[Key, Handler] | Refusal:
        """Return who serves a request, and remember its caller."""
        key: Key | None = UrlPath(request.path.rstrip("/") or "/")
        with self._lock:
            if key not in self._expected and key not in self._handlers:
                key = key_of(request)
            if key is None:
                if "sn" in request.query:
                    return Refusal(Reply(400), "bad_serial")
                return Refusal(Reply(404), "no_key")
            caller = self._remember(key, request)
            found = self._find(key, request)
            if isinstance(found, Refusal):
                caller.refused[found.why] += 1
                return found
            return key, found

    def _find(self, key: Key, request: Request) -> Handler | Refusal:
        expected, handler = self._expected.get(key), self._handlers.get(key)
        if expected is None and handler is None:
            # A reply without "OK" in it: what a stranger sends is kept by the terminal until it is configured.
            reply = Reply(401) if self.strangers == "refuse" else Reply(503, b"UNKNOWN DEVICE\n")
            return Refusal(reply, "stranger")
        if expected is not None and expected.networks and not _is_within(request.peer, expected.networks):
            return Refusal(Reply(503), "elsewhere")
        return Refusal(Reply(503), "not_served") if handler is None else handler

    def _remember(self, key: Key, request: Request) -> Caller:
        now = self._now()
        caller = self._callers.pop(key, None)
        if caller is None:
            expected = self._expected.get(key)
            caller = Caller(key, None if expected is None else expected.name, request.peer, now, now)
            if expected is None:
                strangers = [known for known, other in self._callers.items() if other.name is None]
                for longest_silent in strangers[: max(0, len(strangers) - STRANGERS_MAX + 1)]:
                    del self._callers[longest_silent]
        self._callers[key] = caller  # at the end: the order is that of the last call
        caller.see(request, now)
        return caller

    def count(self, key: Key, why: str) -> None:
        """Count a request of a served caller that a limit, or its handler, refused."""
        with self._lock:
            if key in self._callers:
                self._callers[key].refused[why] += 1

    def note_ahead(self, key: Key, seconds: int) -> None:
        """Note how far the latest time in an upload lies ahead of its reception."""
        with self._lock:
            if key in self._callers:
                self._callers[key].ahead_s = seconds

    def callers(self) -> list[Caller]:
        """Return those who called since the start, the last one at the end; copies."""
        with self._lock:
            return [_copy(caller) for caller in self._callers.values()]


def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks if network.version == found.version)


def _copy(caller: Caller) -> Caller:
    copied = {name: getattr(caller, name) for name in Caller.__slots__}
    return Caller(**copied | {"requests": caller.requests.copy(), "refused": caller.refused.copy()})
