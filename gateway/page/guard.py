"""Who may ask: nobody by a foreign name, and, where a token is set, nobody without it."""

import hashlib
import hmac
import ipaddress
import socket
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.settings import host_and_port

COOKIE = "hadir"
LOGIN = "/login"
_OPEN = (LOGIN, "/page.css")
"""What a visitor sees before the token is given."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""With every answer: nothing of it runs what it did not bring, is framed by others, or is kept on a disk."""


class Guard:
    """Stands before the site."""

    def __init__(self, app: ASGIApp, *, token: str | None, listens: str) -> None:
        self._app = app
        self._token = token
        name = socket.gethostname().lower()
        self._names = {"localhost", name, f"{name}.local", host_and_port(listens)[0].lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what must not pass, and put the headers on every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        answer: ASGIApp = self._app
        if not self._is_ours(headers.getlist("host")):
            answer = PlainTextResponse("This machine does not go by that name; use its IP address.\n", 421)
        elif self._token is not None and scope["path"] not in _OPEN and not self._knows_token(headers, self._token):
            answer = _turned_away(headers, scope)
        with suppress(Exception):  # the site has said in the log what failed, and answered
            await answer(scope, receive, send_with_headers)

    def _is_ours(self, hosts: list[str]) -> bool:
        """Tell whether the request names an IP address, or this machine.

        A page from elsewhere can let its own name point to this machine (DNS rebinding) and would then be answered as
        if it were at home; it cannot make a browser send another name than its own.
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

    @staticmethod
    def _knows_token(headers: Headers, token: str) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return fits(given, token)
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and fits(cookie.value, ticket(token))


def fits(given: str, secret: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())


def ticket(token: str) -> str:
    """Return what the cookie holds: proof of the token, from which it cannot be computed, and void with it."""
    return hmac.digest(token.encode(), b"hadir status page", hashlib.sha256).hex()


def _turned_away(headers: Headers, scope: Scope) -> Response:
    if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
        query = scope["query_string"].decode("ascii", "replace")
        return RedirectResponse(f"{LOGIN}?{query}" if query else LOGIN, 303)
    return PlainTextResponse("A token is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
