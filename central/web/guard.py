"""What reaches the pages: host names, headers, sizes, the origin of forms, and limits of requests and passwords."""

import hmac
import ipaddress
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # `no-referrer` would make browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every response: it loads nothing from elsewhere, cannot be framed, and is not cached."""
STRICT_TRANSPORT = "max-age=31536000"
COOKIE_BYTES = 4096
"""A longer Cookie header is not read."""
TARGET_BYTES = 2048
"""Path and query of a request, at most; the longest valid key has 64 characters."""
BODY_BYTES = 64 * 1024
"""A form, at most."""
KEYS = 4096
"""Addresses or accounts that are counted, at most; the one counted longest ago is dropped first."""


def peer_of(host: str | None) -> str:
    """Return the network address by which a client is counted: an IPv4 address, or the /64 network of an IPv6 address.

    A host of an IPv6 network may use any of its 2^64 addresses.
    """
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return "-"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


class Buckets:
    """Counts by key what drains away with time: ``burst`` at once, then one every ``each_s`` seconds."""

    def __init__(self, burst: float, each_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._each_s, self._now = burst, each_s, now
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Key → how many still count, and the time of that number."""

    def wait_s(self, key: str) -> float:
        """Return after how many seconds there is room for one more; 0: now."""
        return max(0.0, (self._level(key) + 1 - self._burst) * self._each_s)

    def add(self, key: str) -> None:
        """Count one."""
        self._levels[key] = self._level(key) + 1, self._now()
        self._levels.move_to_end(key)
        if len(self._levels) > KEYS:
            self._levels.popitem(last=False)

    def take(self, key: str) -> float:
        """Count one if there is room; return after how many seconds there is, 0: it was counted."""
        wait_s = self.wait_s(key)
        if wait_s == 0:
            self.add(key)
        return wait_s

    def give_back(self, key: str) -> None:
        """Count one less."""
        if key in self._levels:
            self._levels[key] = max(0.0, self._level(key) - 1), self._now()

    def forget(self, key: str) -> None:
        """Count nothing of a key any more."""
        self._levels.pop(key, None)

    def _level(self, key: str) -> float:
        count, at = self._levels.get(key, (0.0, 0.0))
        return max(0.0, count - (self._now() - at) / self._each_s)


class Logins:
    """Limits wrong passwords so that guessing is slow and no account is ever locked.

    Wrong passwords count by address, and by address and account. A browser that has logged in to an account before
    carries a cookie that proves it; it has a count of its own, so that others at its address cannot keep it waiting,
    and nobody at other addresses can ever.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._addresses = Buckets(20, 15.0, now)
        self._pairs = Buckets(5, 20.0, now)
        self._known = Buckets(5, 20.0, now)

    def wait_s(self, address: str, account: str, *, known: bool) -> float:
        """Return after how many seconds a password is verified again; 0: now."""
        pair = f"{address} {account}"
        if known:
            return self._known.wait_s(pair)
        return max(self._addresses.wait_s(address), self._pairs.wait_s(pair))

    def wrong(self, address: str, account: str, *, known: bool) -> None:
        """Count a wrong password."""
        pair = f"{address} {account}"
        if known:
            self._known.add(pair)
        else:
            self._addresses.add(address)
            self._pairs.add(pair)

    def right(self, address: str, account: str, *, known: bool) -> None:
        """Take back a password that was counted as wrong, and forget those of the address for the account."""
        (self._known if known else self._pairs).forget(f"{address} {account}")
        if not known:
            self._addresses.give_back(address)


def known_browser(account: str, hashed: str) -> str:
    """Return what a browser carries that has logged in to an account; another password makes it worthless."""
    return hmac.digest(hashed.encode(), f"hadir known browser {account}".encode(), sha256).hex()


def cookies(header: str) -> Mapping[str, str]:
    """Return the cookies of a header by name, the first of each; none where it is too long."""
    found: dict[str, str] = {}
    for pair in header.split(";") if len(header) <= COOKIE_BYTES else ():
        name, _, value = pair.partition("=")
        found.setdefault(name.strip(), value.strip())
    return found


class Site:
    """Where the pages are: under which names, with TLS or not, and behind which proxies."""

    def __init__(self, *, listens: str, tls: bool, public_url: str | None, proxies: Iterable[str] = ()) -> None:
        """``public_url``: of the reverse proxy, as browsers see it; ``proxies``: addresses that it connects from."""
        self._scheme = "https" if tls else "http"
        self._public = public_url
        self._proxies = frozenset(proxies) if public_url else frozenset()
        name = socket.gethostname().lower()
        self._names = {"localhost", name, f"{name}.local", listens.lower()}
        if public_url is not None:
            self._names.add(urlsplit(public_url).hostname or "")
        self.secure = tls or (public_url or "").startswith("https://")
        """Browsers send cookies over TLS only."""

    def is_ours(self, hosts: list[str]) -> bool:
        """Return whether a request names an IP address or this machine.

        A foreign site can let its own name lead to this machine (DNS rebinding), and its scripts could then read the
        answer; it cannot make a browser send another name than its own.
        """
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return bool(hosts[0]) and _name(hosts[0]) in self._names
        return True

    def is_own_origin(self, headers: Headers) -> bool:
        """Return whether a form was sent by one of our pages: browsers name the page's origin, scripts cannot."""
        origins = headers.getlist("origin")
        if len(origins) != 1:
            return False
        return origins[0] in {self._public, f"{self._scheme}://{headers.get('host', '')}"}

    def address(self, scope: Scope) -> str:
        """Return the address of the browser; of a proxy's request, what the proxy says last."""
        client = scope["client"][0] if scope.get("client") else None
        if client in self._proxies:
            passed = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).rpartition(",")[2].strip()
            return peer_of(passed) if passed else peer_of(client)
        return peer_of(client)

    def is_proxy(self, host: str) -> bool:
        """Return whether all browsers may come from one address."""
        return host in self._proxies


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or "-"
    except ValueError:
        return "-"


class Guard:
    """ASGI middleware: refuses foreign names and long requests, and adds the headers to every response."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site
        self._headers = dict(HEADERS)
        if site.secure:
            self._headers["Strict-Transport-Security"] = STRICT_TRANSPORT

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, and pass any other on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        answer: ASGIApp = self._app
        if not self._site.is_ours(Headers(scope=scope).getlist("host")):
            answer = PlainTextResponse("This machine does not go by that name; see docs/centre-pages.md.\n", 421)
        elif len(scope.get("raw_path") or b"") + len(scope["query_string"]) > TARGET_BYTES:
            answer = PlainTextResponse("The address of the page is too long.\n", 414)
        with suppress(Exception):  # the pages have logged the error and answered
            await answer(scope, receive, send_with_headers)


def retry_after(wait_s: float) -> dict[str, str]:
    """Return the header that says when to try again."""
    return {"Retry-After": str(math.ceil(wait_s))}
