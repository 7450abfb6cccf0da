"""Routes of the site: the page, its live feed, the login, /metrics and /healthz."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.broker_status import BrokerStatus
from gateway.log import get_logger
from gateway.page import chart
from gateway.page.attention import attention, condition, ever_confirmed, percent, reason_text
from gateway.page.guard import COOKIE, LOGIN, FailedLogins, Guard, PeerLimit, matches, peer_of, ticket, too_many
from gateway.page.messages import LANGUAGES, NORMAL, Messages, language
from gateway.page.metrics import metrics
from gateway.page.view import ShownPunch, View

FOLDER = Path(__file__).parent
FEED_S = 0.5
"""Interval at which a feed queries the ledger for new punches."""
HEARTBEATS = 30
"""Queries without new punches after which a comment line is sent, so that a broken connection is noticed."""
FEEDS = 16
"""Feeds at the same time, at most a quarter of them of one peer; each queries the ledger twice a second."""
FEED_ROWS = 12
LOGIN_BYTES = 4096
WRONG_DELAY_S = 1.0
"""Delay of the response to a wrong token."""
MONTH_S = 30 * 86400

log = get_logger("page")

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
    """Return the site; ``listens`` is the address it is served at; feeds end when ``stopping`` returns True.

    ``key`` is the key of cookies, see :func:`~gateway.page.guard.cookie_key`.
    """
    failed_logins = FailedLogins()
    ours = None if token is None else ticket(token, key)
    pages = _Pages(view, trouble, token, ours, failed_logins, stopping)
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
    return Guard(app, token=token, key=key, failed_logins=failed_logins, listens=listens)


def _asset(name: str, media_type: str) -> Callable[[Request], Any]:
    content = (FOLDER / "assets" / name).read_bytes()

    async def served(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return served


async def _failed(request: Request, exc: Exception) -> Response:
    """Log the error and answer 500; other requests are not affected."""
    log.error("page_request_failed", path=request.url.path, exc_info=exc)
    return Response("The page cannot be shown; the gateway's log shows why.\n", 500, media_type="text/plain")


class _Pages:
    def __init__(
        self,
        view: View,
        trouble: Callable[[], str | None],
        token: str | None,
        ticket: str | None,
        failed_logins: FailedLogins,
        stopping: Callable[[], bool],
    ) -> None:
        self._view = view
        self._trouble = trouble
        self._token = token
        self._ticket = ticket
        self._failed_logins = failed_logins
        self._stopping = stopping
        self._feeds = PeerLimit(FEEDS)
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    async def status(self, request: Request) -> Response:
        """Answer with the status page."""
        return HTMLResponse(await self._read(lambda: self._page(self._messages(request))))

    def _page(self, messages: Messages) -> str:
        view = self._view
        status, day = view.status(), view.day()
        passed, behind = view.newest(FEED_ROWS)
        codes = status.get("reason_codes", {})
        return self._render(
            "page.html",
            messages,
            status=status,
            counts=view.counts(),
            connected=BrokerStatus.of(status).connected,
            confirmed=ever_confirmed(status),
            percent=percent,
            condition=lambda name, state: condition(state, codes.get(name)),
            reason=lambda name, state: reason_text(state, codes.get(name), messages),
            attention=attention(status, view.tolerances, messages),
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
            passed=[_row(punch, messages) for punch in passed],
            behind=behind,
        )

    async def login(self, request: Request) -> Response:
        """Answer with the login form, or check its token and set the cookie."""
        messages, trouble, status = self._messages(request), None, 200
        headers: dict[str, str] = {}
        if request.method == "POST" and self._token is not None and self._ticket is not None:
            peer = _peer(request)
            try:
                given = await _field(request, "token")
            except ClientDisconnect:  # no token was sent, and no response can be read
                return Response(status_code=400)
            if wait_s := self._failed_logins.wait_s(peer):
                answer = too_many(wait_s)
                trouble, status = messages("login_wait", seconds=math.ceil(wait_s)), answer.status_code
                headers["Retry-After"] = answer.headers["Retry-After"]
            elif matches(given, self._token):
                answer = RedirectResponse(f"/?lang={messages.language}", 303)
                answer.set_cookie(COOKIE, self._ticket, max_age=MONTH_S, httponly=True, samesite="strict")
                return answer
            else:
                self._failed_logins.wrong(peer)
                await asyncio.sleep(WRONG_DELAY_S)
                trouble, status = messages("login_wrong"), 401
        return HTMLResponse(self._render("login.html", messages, trouble=trouble), status, headers)

    async def feed(self, request: Request) -> ASGIApp:
        """Send punches as they are recorded (server-sent events), after the last one seen or from now on."""
        peer = _peer(request)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            # The place is taken and released in one function, so that it is released whatever is awaited in between.
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
            messages = self._messages(request)
            for punch in punches:
                yield f"id: {punch.sequence}\ndata: {json.dumps(_row(punch, messages))}\n\n"
            quiet = 0 if punches else quiet + 1
            if quiet >= HEARTBEATS:
                yield ": still here\n\n"
                quiet = 0
            await asyncio.sleep(FEED_S)

    async def metrics(self, _: Request) -> Response:
        """Answer with the metrics, in Prometheus's text format 0.0.4."""
        text = await self._read(self._metrics)
        return Response(text, media_type="text/plain; version=0.0.4")

    def _metrics(self) -> str:
        view = self._view
        return metrics(view.status(), view.counts(), view.zones, view.now())

    async def healthz(self, _: Request) -> Response:
        """Answer 200 while the daemon's parts work, else 503 with the reason. Terminals and broker do not count."""
        reason = self._trouble()
        answer = {"status": "ok"} if reason is None else {"status": "failing", "reason": reason}
        return JSONResponse(answer, 200 if reason is None else 503)

    def _messages(self, request: Request) -> Messages:
        chosen = language(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        return Messages(chosen, self._view.now().astimezone(self._view.zone))

    def _render(self, template: str, messages: Messages, **values: object) -> str:
        others = [code for code in LANGUAGES if code != messages.language]
        return self._templates.get_template(template).render(t=messages, others=others, **values)

    async def _read(self, query: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._view.reading, query)


def _peer(request: Request) -> str:
    return peer_of(request.client.host if request.client else None)


async def _field(request: Request, name: str) -> str:
    """Return a field of the request's form; empty if it is missing or the form is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LOGIN_BYTES:
            return ""
    return parse_qs(body.decode("ascii", "replace")).get(name, [""])[0]


def _row(punch: ShownPunch, messages: Messages) -> Mapping[str, str]:
    """Return a punch as the feed shows it."""
    how = filter(None, (messages.label(punch.state), messages.label(punch.verify)))
    return {
        "time": messages.moment(punch.local_time),
        "terminal": punch.terminal,
        "person": punch.person,
        "how": ", ".join(how),
        "suspect": ", ".join(messages.label(flag) for flag in punch.suspect if flag not in NORMAL),
        "noted": ", ".join(messages.label(flag) for flag in punch.suspect if flag in NORMAL),
    }
