"""Access control: requests with a foreign host name are refused and, where a token is set, requests without it."""

import hashlib
import hmac
import ipaddress
import math
import os
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drivers.safe_files import Folder
from gateway.log import get_logger
from gateway.settings import host_and_port

COOKIE = "hadir"
LOGIN = "/login"
_OPEN = (LOGIN, "/page.css")
"""Paths that need no token."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every response: it loads nothing from elsewhere, cannot be framed, and is not cached."""
COOKIE_BYTES = 4096
"""A longer Cookie header is not read."""
KEY_FILE = "page.key"
"""Name of the file, in the data directory, of the key that cookies are made with, besides the token."""
KEY_BYTES = 32
WRONG_BURST, WRONG_DECAY_S = 10, 6.0
"""Wrong tokens that one peer may send in a burst, and the seconds after which one of them is forgiven."""
PEERS = 1024
"""Peers whose wrong tokens are counted, at most; the peer with the oldest wrong token is dropped first."""
LOG_INTERVAL_S = 10.0
"""Shortest time between two log lines on wrong tokens; each has their number."""

log = get_logger("page")


def peer_of(host: str | None) -> str:
    """Return the network address by which a client is counted: an IPv4 address, or the /64 network of an IPv6 address.

    A host of an IPv6 network may use any of its 2^64 addresses.
    """
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


class PeerLimit:
    """Limits the number of simultaneous users; no peer has more than a quarter of the places."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def take(self, peer: str) -> bool:
        """Take a place for a peer; return False where the limit is reached."""
        if self._taken.total() >= self._most or self._taken[peer] >= max(1, self._most // 4):
            return False
        self._taken[peer] += 1
        return True

    def release(self, peer: str) -> None:
        """Give back a place that was taken."""
        self._taken[peer] -= 1
        self._taken += Counter()  # drops peers with a count of zero


class FailedLogins:
    """Counts wrong tokens by peer. The tokens of a peer over the limit are not checked for a while."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Peer → number of wrong tokens that still count, and the time of that number."""
        self._unlogged = 0
        self._logged = -math.inf

    def wait_s(self, peer: str) -> float:
        """Return after how many seconds a token of this peer is checked again; 0: now."""
        return max(0.0, (self._level(peer) + 1 - WRONG_BURST) * WRONG_DECAY_S)

    def wrong(self, peer: str) -> None:
        """Count a wrong token."""
        now = self._now()
        self._spent[peer] = self._level(peer) + 1, now
        self._spent.move_to_end(peer)
        if len(self._spent) > PEERS:
            self._spent.popitem(last=False)
        self._unlogged += 1
        if now - self._logged >= LOG_INTERVAL_S:
            log.warning("page_token_refused", peer=peer, count=self._unlogged, wait_s=math.ceil(self.wait_s(peer)))
            self._logged, self._unlogged = now, 0

    def _level(self, peer: str) -> float:
        count, at = self._spent.get(peer, (0.0, 0.0))
        return max(0.0, count - (self._now() - at) / WRONG_DECAY_S)


class Guard:
    """ASGI middleware that refuses requests by host name and token before they reach the site."""

    def __init__(
        self, app: ASGIApp, *, token: str | None, key: bytes, failed_logins: FailedLogins, listens: str
    ) -> None:
        self._app = app
        self._token = token
        self._ticket = None if token is None else ticket(token, key)
        self._failed_logins = failed_logins
        name = socket.gethostname().lower()
        self._names = {"localhost", name, f"{name}.local", host_and_port(listens)[0].lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, pass any other on, and add the headers to every response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        answer: ASGIApp = self._app
        if not self._is_ours(headers.getlist("host")):
            answer = PlainTextResponse("This machine does not go by that name; use its IP address.\n", 421)
        elif self._token is not None and scope["path"] not in _OPEN:
            answer = self._refusal(headers, scope, self._token) or self._app
        with suppress(Exception):  # the site has logged the error and answered
            await answer(scope, receive, send_with_headers)

    def _is_ours(self, hosts: list[str]) -> bool:
        """Return whether the request names an IP address or this machine.

        A foreign site can let its own name point to this machine (DNS rebinding), and its scripts could then read the
        answer; it cannot make a browser send another name than its own.
        """
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _refusal(self, headers: Headers, scope: Scope, token: str) -> Response | None:
        """Return the response to a request without a valid cookie or token; None for a request with one.

        A valid cookie is always accepted: it cannot be found by guessing tokens, so an attacker who uses up the
        attempts of a shared address (of a proxy) does not lock out logged-in users. A wrong cookie does not count as an
        attempt: it is outdated.
        """
        if self._ticket is not None and matches(cookie(headers.get("cookie", "")), self._ticket):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _unauthorized(headers, scope)
        peer = peer_of(scope["client"][0] if scope.get("client") else None)
        if wait_s := self._failed_logins.wait_s(peer):
            return too_many(wait_s)
        if matches(given, token):
            return None
        self._failed_logins.wrong(peer)
        return _unauthorized(headers, scope)


def cookie(header: str) -> str:
    """Return the value of the page's cookie in a Cookie header; empty if it is missing or the header is too long."""
    pairs = (pair.partition("=") for pair in header.split(";")) if len(header) <= COOKIE_BYTES else ()
    return next((value.strip() for name, _, value in pairs if name.strip() == COOKIE), "")


def too_many(wait_s: float) -> Response:
    """Return the response to a peer that has sent too many wrong tokens."""
    return PlainTextResponse("Too many wrong tokens; wait.\n", 429, {"Retry-After": str(math.ceil(wait_s))})


def cookie_key(folder: Path) -> bytes:
    """Return the key that cookies are made with, stored in a file of ``folder`` that only its owner can read.

    Without the key, an attacker could try guessed tokens as cookies, past the limit. Where the file cannot be stored
    (no space), browsers have to log in again after the next start.
    """
    made = os.urandom(KEY_BYTES)
    with suppress(OSError), Folder(folder) as place:
        if kept := _kept_key(place):
            return kept
        place.write(KEY_FILE, made)
    return made


def _kept_key(place: Folder) -> bytes | None:
    try:
        kept = place.read(KEY_FILE, KEY_BYTES)
    except FileNotFoundError:
        return None
    return kept if len(kept) == KEY_BYTES else None


def matches(given: str, secret: str) -> bool:
    """Return whether two texts are equal, in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())


def ticket(token: str, key: bytes) -> str:
    """Return the value of the cookie: proof of the token, which cannot be computed from it; a new token voids it.

    ``key`` is this gateway's own: without it no client can try tokens as cookies.
    """
    return hmac.digest(key, b"hadir status page\n" + token.encode(), hashlib.sha256).hex()


def _unauthorized(headers: Headers, scope: Scope) -> Response:
    if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
        query = scope["query_string"].decode("ascii", "replace")
        return RedirectResponse(f"{LOGIN}?{query}" if query else LOGIN, 303)
    return PlainTextResponse("A token is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
