"""What answers at which address: the page, its live feed, the login, /metrics and /healthz."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.page import chart
from gateway.page.attention import attention, condition, ever_confirmed, is_connected, percent
from gateway.page.guard import COOKIE, LOGIN, Guard, Guesses, Places, fits, peer_of, ticket, too_many
from gateway.page.messages import LANGUAGES, NORMAL, Words, language
from gateway.page.metrics import metrics
from gateway.page.view import Passed, View

FOLDER = Path(__file__).parent
FEED_S = 0.5
"""How often the ledger is asked for what the feed should show."""
HEARTBEATS = 30
"""Looks without news after which a word is sent all the same, so that a connection that has died is noticed."""
FEEDS = 16
"""Browsers that follow the feed at the same time, of one peer a quarter; each asks the ledger twice a second."""
FEED_ROWS = 12
LOGIN_BYTES = 4096
WRONG_S = 1.0
"""How long somebody who gives a wrong token waits for the answer."""
MONTH_S = 30 * 86400

log = structlog.get_logger("page")

T = TypeVar("T")


def site(
    view: View,
    trouble: Callable[[], str | None],
    *,
    token: str | None,
    key: bytes,
    listens: str,
    stopping: Callable[[], bool],
) -> ASGIApp:
    """Return the site; ``listens`` is the address it is served at, ``stopping`` tells feeds to end.

    ``key`` is what cookies are made with, see :func:`~gateway.page.guard.cookie_key`.
    """
    guesses = Guesses()
    ours = None if token is None else ticket(token, key)
    pages = _Pages(view, trouble, token, ours, guesses, stopping)
    routes = [
        Route("/", pages.status),
        Route("/feed", pages.feed),
        Route("/metrics", pages.metrics),
        Route("/healthz", pages.healthz),
        Route("/page.css", _asset("page.css", "text/css")),
        Route("/page.js", _asset("page.js", "text/javascript")),
    ]
    if token is not None:
        routes.append(Route(LOGIN, pages.login, methods=["GET", "POST"]))
    app = Starlette(routes=routes, exception_handlers={Exception: _failed})
    return Guard(app, token=token, key=key, guesses=guesses, listens=listens)


def _asset(name: str, media_type: str) -> Callable[[Request], Any]:
    content = (FOLDER / "assets" / name).read_bytes()

    async def served(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return served


async def _failed(request: Request, exc: Exception) -> Response:
    """Say what could not be shown; the page itself goes on."""
    log.error("page_request_failed", path=request.url.path, exc_info=exc)
    return Response("The page cannot be shown; the gateway's log says why.\n", 500, media_type="text/plain")


class _Pages:
    def __init__(
        self,
        view: View,
        trouble: Callable[[], str | None],
        token: str | None,
        ticket: str | None,
        guesses: Guesses,
        stopping: Callable[[], bool],
    ) -> None:
        self._view = view
        self._trouble = trouble
        self._token = token
        self._ticket = ticket
        self._guesses = guesses
        self._stopping = stopping
        self._feeds = Places(FEEDS)
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    async def status(self, request: Request) -> Response:
        """Show everything."""
        return HTMLResponse(await self._read(lambda: self._page(self._words(request))))

    def _page(self, words: Words) -> str:
        view = self._view
        status, day = view.status(), view.day()
        passed, behind = view.newest(FEED_ROWS)
        return self._render(
            "page.html",
            words,
            status=status,
            counts=view.counts(),
            connected=is_connected(status["broker"]),
            confirmed=ever_confirmed(status),
            percent=percent,
            condition=condition,
            attention=attention(status, view.tolerances, words),
            now=view.now().astimezone(view.zone),
            name=view.name,
            days=view.tallies(),
            day=day,
            drawings={
                "wide": chart.draw(day.counts, day.usual, width=960, height=260),
                "narrow": chart.draw(day.counts, day.usual, width=340, height=220, hours_apart=3),
            },
            busiest=chart.busiest(day.counts),
            quarters=chart.rows(day.counts, day.usual),
            passed=[_row(punch, words) for punch in passed],
            behind=behind,
        )

    async def login(self, request: Request) -> Response:
        """Ask for the token, and give a cookie for it."""
        words, trouble, status = self._words(request), None, 200
        headers: dict[str, str] = {}
        if request.method == "POST" and self._token is not None and self._ticket is not None:
            peer = _peer(request)
            try:
                given = await _field(request, "token")
            except ClientDisconnect:  # who hangs up has guessed nothing, and reads no answer
                return Response(status_code=400)
            if wait_s := self._guesses.wait_s(peer):
                answer = too_many(wait_s)
                trouble, status = words("login_wait", seconds=math.ceil(wait_s)), answer.status_code
                headers["Retry-After"] = answer.headers["Retry-After"]
            elif fits(given, self._token):
                answer = RedirectResponse(f"/?lang={words.language}", 303)
                answer.set_cookie(COOKIE, self._ticket, max_age=MONTH_S, httponly=True, samesite="strict")
                return answer
            else:
                self._guesses.wrong(peer)
                await asyncio.sleep(WRONG_S)
                trouble, status = words("login_wrong"), 401
        return HTMLResponse(self._render("login.html", words, trouble=trouble), status, headers)

    async def feed(self, request: Request) -> ASGIApp:
        """Send punches as they are recorded (server-sent events), from the newest or the last one seen on."""
        peer = _peer(request)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            # The place is taken and given back here, so that nothing can be awaited between the two and not be counted.
            if not self._feeds.take(peer):
                await Response(status_code=503, headers={"Retry-After": "60"})(scope, receive, send)
                return
            try:
                seen = request.headers.get("last-event-id") or request.query_params.get("after", "")
                known = seen.isdecimal() and seen.isascii() and len(seen) < 19
                after = int(seen) if known else await self._read(self._view.last_sequence)
                events = StreamingResponse(self._events(after, request), media_type="text/event-stream")
                await events(scope, receive, send)
            finally:
                self._feeds.release(peer)

        return answer

    async def _events(self, after: int, request: Request) -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        quiet = 0
        while not self._stopping():
            punches, after = await self._read(lambda behind=after: self._view.since(behind))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            words = self._words(request)
            for punch in punches:
                yield f"id: {punch.sequence}\ndata: {json.dumps(_row(punch, words))}\n\n"
            quiet = 0 if punches else quiet + 1
            if quiet >= HEARTBEATS:
                yield ": still here\n\n"
                quiet = 0
            await asyncio.sleep(FEED_S)

    async def metrics(self, _: Request) -> Response:
        """Tell Prometheus; its text format, version 0.0.4."""
        text = await self._read(self._metrics)
        return Response(text, media_type="text/plain; version=0.0.4")

    def _metrics(self) -> str:
        view = self._view
        return metrics(view.status(), view.counts(), view.zones, view.now())

    async def healthz(self, _: Request) -> Response:
        """Tell whether the daemon's parts work: 200, or 503 with the reason. Its surroundings do not count."""
        reason = self._trouble()
        answer = {"status": "ok"} if reason is None else {"status": "failing", "reason": reason}
        return JSONResponse(answer, 200 if reason is None else 503)

    def _words(self, request: Request) -> Words:
        chosen = language(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        return Words(chosen, self._view.now().astimezone(self._view.zone))

    def _render(self, template: str, words: Words, **values: object) -> str:
        others = [code for code in LANGUAGES if code != words.language]
        return self._templates.get_template(template).render(t=words, others=others, **values)

    async def _read(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._view.reading, question)


def _peer(request: Request) -> str:
    return peer_of(request.client.host if request.client else None)


async def _field(request: Request, name: str) -> str:
    """Return a field of a short form that was sent, or nothing."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LOGIN_BYTES:
            return ""
    return parse_qs(body.decode("ascii", "replace")).get(name, [""])[0]


def _row(punch: Passed, words: Words) -> Mapping[str, str]:
    """Return a punch as the feed shows it."""
    how = filter(None, (words.label(punch.state), words.label(punch.verify)))
    return {
        "time": words.moment(punch.local_time),
        "terminal": punch.terminal,
        "person": punch.person,
        "how": ", ".join(how),
        "suspect": ", ".join(words.label(flag) for flag in punch.suspect if flag not in NORMAL),
        "noted": ", ".join(words.label(flag) for flag in punch.suspect if flag in NORMAL),
    }
