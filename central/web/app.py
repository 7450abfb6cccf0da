"""The routes of the pages: from a request to a session, a page's function, the access log, and the response."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import structlog
from markupsafe import Markup
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from central.options import Now
from central.store import accesses, results
from central.store.accesses import Access
from central.store.engine import StoreError
from central.store.registers import Registers, last_row
from central.texts import Language, Text
from central.web import messages, reloaded, sessions
from central.web.access import Role, Tree, Unit
from central.web.accounts import Account, AccountFile
from central.web.database import READERS, Change, Source, View, Writer
from central.web.fragments import Fragments
from central.web.guard import BODY_BYTES, Buckets, Guard, Site, cookies, retry_after
from central.web.layout import Incoming, Layout
from central.web.live import Follower, Live, Made, parts
from central.web.login import LOGIN, YEAR_S, CookieNames, LoginPages
from central.web.page import Age, Done, Look, Missing, Page, Refusal, Sent, Shown
from central.web.pages import (
    access_log,
    closing,
    day,
    evidence,
    overview,
    period,
    person,
    pins,
    policy,
    requests,
    today,
    unassigned,
    units,
)

MODULES: tuple[Any, ...] = (
    overview,
    units,
    today,
    person,
    day,
    period,
    requests,
    closing,
    pins,
    unassigned,
    evidence,
    policy,
    access_log,
)
"""The modules of the pages; the menu has their order."""
LOGOUT = "/logout"
ASSETS = Path(__file__).parent / "assets"
MOST_FIELDS = 200
MOST_WROTE = 1_000
"""Sessions whose last change is kept in mind."""
REFRESH_S = 1.0
"""How often the account file is looked at."""
_NOWHERE = Page("", "nowhere", messages.TEXTS["error"], lambda _: _nothing(), watched=False)
"""What an address without a page is."""

log = structlog.get_logger("web")


def _nothing() -> Shown:
    raise Missing


class NotLoggedIn(Exception):  # noqa: N818 - named by what is the matter
    """The request has no session that is valid."""


class Stamp(NamedTuple):
    """What pages depend on: it differs when anything has changed in the database or the policies, and every minute."""

    result: int
    register: int
    minute: int
    policies: int
    """The version of those that were read last."""


class Answer(NamedTuple):
    """What a page came to, in its thread."""

    look: Look
    outcome: Shown | Sent | Done | Refusal
    touch: Change | None


class Centre:
    """All that the pages share: database, accounts, caches, texts, templates."""

    def __init__(
        self,
        source: Source,
        accounts: AccountFile,
        *,
        site: Site,
        policies: Path | None,
        own_days: bool,
        now: Now,
        session_now: Now,
        settings: Path | None = None,
    ) -> None:
        """``policies``: the folder of the office's own; ``own_days``: accounts with the role *person* may log in.

        ``now`` is the clock of what pages show and store, ``session_now`` that of logins: they differ where a day is
        replayed, in which twelve hours pass within a minute. ``settings``: of the sheets; raises SettingsError where
        they cannot be used.
        """
        self._source, self.accounts, self._site = source, accounts, site
        self._own_days, self._now, self._session_now = own_days, now, session_now
        self.policies, self.settings = reloaded.policies(policies), reloaded.sheet_settings(settings)
        self._writer = Writer(source)
        self._readers = ThreadPoolExecutor(READERS, "web-reader")
        self._addresses, self._tokens = Buckets(400, 1 / 40), Buckets(120, 1 / 10)
        self._fragments, self._live = Fragments(), Live(self._poll)
        self._tree: tuple[int, Tree] | None = None
        self._wrote: dict[str, str] = {}
        """By session: up to where the primary had written when the viewer's last change was made."""
        self._pages: list[Page] = [page for module in MODULES for page in module.PAGES]
        self._paths = {page.name: page.path for page in self._pages}
        self._layout = Layout(self._pages, _texts())
        self._names = CookieNames(secure=site.secure)
        self._login = LoginPages(
            accounts,
            self._writer,
            self._layout,
            site,
            self._names,
            own_days=own_days,
            now=session_now,
            incoming=self._incoming,
        )

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        routes = [
            Route("/healthz", self._healthz),
            Route("/centre.css", _asset("centre.css", "text/css")),
            Route("/centre.svg", _asset("centre.svg", "image/svg+xml")),
            Route("/centre.js", _asset("centre.js", "text/javascript")),
            Route(LOGIN, self._log_in, methods=["GET", "POST"]),
            Route(LOGOUT, self._log_out, methods=["POST"]),
            *(
                Route(page.path, self._endpoint(page), methods=["GET", "POST"] if page.post else ["GET"])
                for page in self._pages
            ),
            *(Route(f"/live{page.path}", self._feed(page)) for page in self._pages if page.live),
        ]
        handlers: dict[Any, Any] = {
            HTTPException: self._http_error,
            Refusal: self._refused,
            Exception: self._failed,
        }
        return Guard(Starlette(routes=routes, exception_handlers=handlers), self._site)

    async def tend(self) -> None:
        """Read accounts, policies and settings again when their files change, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            for what, one in (("policies", self.policies), ("settings", self.settings)):
                if not await asyncio.to_thread(one.refresh):
                    continue
                if one.problem is None:
                    log.info("files_read", what=what)
                else:
                    log.error("files_not_read", what=what, reason=one.problem, hint="those of before stay valid")
            if not await asyncio.to_thread(self.accounts.refresh):
                continue
            if self.accounts.problem is None:
                log.info("accounts_read")
            else:
                log.error("accounts_not_read", reason=self.accounts.problem, hint="the accounts of before stay valid")

    def stop(self) -> None:
        """Let all that follow changes end."""
        self._live.stop()

    def close(self) -> None:
        """End the threads and close the database."""
        self._readers.shutdown()
        self._login.close()
        self._writer.close()
        self._source.close()

    # --- pages --------------------------------------------------------------------------------------------------

    def _endpoint(self, page: Page) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            form = await self._form(request) if request.method == "POST" else None
            return await self._answer(page, request, form)

        return answer

    async def _answer(self, page: Page, request: Request, form: Mapping[str, str] | None = None) -> Response:
        """Return the response to a request; nothing about people leaves before the access log has it."""
        incoming = self._incoming(request)
        if wait_s := self._wait_s(incoming):
            return self._layout.error(incoming, Refusal(429, "error_many", wait_s=wait_s))
        is_ours = form is None or self._is_ours(request, form, incoming.token)
        try:
            look, outcome, touch = await self._run(self._outcome, page, incoming, form, is_ours)
            change = outcome.change if isinstance(outcome, Done) else None
            try:
                await self._store(look.accesses, touch, change, wrote=None if change is None else incoming)
            except Refusal as refusal:
                await self._store(look.accesses, touch)  # the transaction that was refused had them too
                look, outcome, touch = await self._run(self._outcome, page, incoming, form, is_ours, refusal)
                await self._store(look.accesses, touch)
        except NotLoggedIn:
            return self._login.to_form(incoming)
        except StoreError as error:
            return self._no_database(incoming, error)
        if isinstance(outcome, Done):
            return RedirectResponse(outcome.to, 303)
        if isinstance(outcome, Refusal):
            return self._layout.error(incoming, outcome, look)
        if page.watched and not look.accesses:
            raise RuntimeError(f"the page {page.name} shows people's data and reports no access")
        if isinstance(outcome, Sent):
            return _file(outcome)
        live = outcome.live is not None
        answer = self._layout.page(
            incoming,
            outcome.title,
            outcome.main,
            look=look,
            moment=outcome.moment,
            live=live,
            status=outcome.status,
        )
        return self._remember(request, answer)

    def _outcome(
        self,
        page: Page,
        incoming: Incoming,
        form: Mapping[str, str] | None,
        is_ours: bool,
        refused: Refusal | None = None,
    ) -> Answer:
        """Return what a page comes to; in a thread. Raises NotLoggedIn or StoreError.

        ``refused``: why the change that the form leads to was not made.
        """
        wrote = self._wrote.get(incoming.token)
        with self._source.viewing(wrote, now=form is not None) as view:
            found = sessions.find(view.own, incoming.token, self.accounts.get, self._session_now())
            if found is None or (found[0].role is Role.PERSON and not self._own_days):
                raise NotLoggedIn
            account, touch = found
            look = self._look(page, account, incoming, view)
            outcome: Shown | Sent | Done | Refusal
            try:
                if not page.is_for(look.viewer):
                    outcome = Missing()
                elif not is_ours:
                    outcome = Refusal(403, "error_form")
                elif form is None or page.post is None:
                    outcome = page.show(look)
                elif refused is not None:
                    outcome = _again(page, look, form, refused)
                else:
                    outcome = _posted(page, page.post, look, form)
            except Refusal as refusal:
                outcome = refusal
            return Answer(look, outcome, touch)

    def _look(self, page: Page, account: Account, incoming: Incoming, view: View) -> Look:
        connection = view.connection
        register = last_row(connection)
        now = self._now()
        version, policies = self.policies.version, self.policies.value
        stamp = Stamp(results.last_row(connection), register, int(now.timestamp()) // 60, version)
        return Look(
            page=page,
            viewer=account.viewer,
            t=self._layout.messages(incoming.language),
            now=now,
            address=incoming.address,
            parameters=incoming.parameters,
            query=incoming.query,
            connection=connection,
            age=Age(view.as_of, datetime.now(UTC)) if view.aged else None,
            tree=self._tree_of(connection, register),
            policies=policies,
            policies_version=version,
            settings=self.settings.value,
            own_days=self._own_days,
            render=self._layout.render,
            cached=lambda key, make: self._fragments.get(key, stamp, make),
            form_token=sessions.form_token(incoming.token),
            paths=self._paths,
        )

    def _tree_of(self, connection: Connection, register: int) -> Tree:
        known = self._tree
        if known is None or known[0] != register:
            rows = Registers(connection).rows("units")
            units = (
                Unit(row.record.key, row.record.name, row.record.parent, row.record.zone, row.since, row.until)
                for row in rows
            )
            known = self._tree = register, Tree(tuple(units))
        return known[1]

    async def _store(self, seen: list[Access], *changes: Change | None, wrote: Incoming | None = None) -> None:
        """Store accesses and changes; ``wrote``: the viewer's own, whose next pages have to show it."""
        due = [change for change in changes if change is not None]
        if not seen and not due:
            return

        def change(connection: Connection) -> None:
            for one in due:
                one(connection)
            accesses.add(connection, seen)

        await self._writer.write(change)
        if wrote is not None and wrote.token and (position := await asyncio.to_thread(self._source.position)):
            self._wrote[wrote.token] = position
            while len(self._wrote) > MOST_WROTE:
                del self._wrote[next(iter(self._wrote))]

    # --- live parts ---------------------------------------------------------------------------------------------

    def _feed(self, page: Page) -> Callable[[Request], Any]:
        """Return the endpoint that sends a page's live part when it changes (server-sent events)."""

        async def respond(request: Request) -> ASGIApp:
            incoming = self._incoming(request)

            async def answer(scope: Scope, receive: Receive, send: Send) -> None:
                # The place is taken and released in one function, so that it is released whatever is awaited between.
                if wait_s := self._wait_s(incoming):
                    await Response(status_code=503, headers=retry_after(wait_s))(scope, receive, send)
                    return
                with self._live.following(incoming.address) as follower:
                    if follower is None:
                        await Response(status_code=503, headers=retry_after(60.0))(scope, receive, send)
                        return
                    events = parts(self._live, follower, _Part(self, page, incoming, follower).make)
                    await StreamingResponse(events, media_type="text/event-stream")(scope, receive, send)

            return answer

        return respond

    async def part(self, page: Page, incoming: Incoming, *, first: bool) -> tuple[Shown, Markup] | None:
        """Return a page as it is now, and its heads; None where the viewer sees it no more.

        The first look enters the access log.
        """
        try:
            look, outcome, touch = await self._run(self._outcome, page, incoming, None, True)
        except NotLoggedIn:
            return None
        seen = [one._replace(what=f"{one.what} live") for one in look.accesses]
        shown = outcome if isinstance(outcome, Shown) and outcome.live is not None else None
        await self._store(seen if first or shown is None else [], touch)
        return None if shown is None else (shown, self._layout.heads(look, shown.moment))

    async def _poll(self, newest: int) -> tuple[int, frozenset[str | None] | None]:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._changed, newest)

    def _changed(self, newest: int) -> tuple[int, frozenset[str | None] | None]:
        with self._source.viewing() as view:
            connection = view.connection
            last = results.last_row(connection)
            if newest < 0 or last < newest:  # the first look, or another database
                return last, None
            return last, results.units_since(connection, newest) if last > newest else frozenset()

    # --- login --------------------------------------------------------------------------------------------------

    async def _log_in(self, request: Request) -> Response:
        incoming = self._incoming(request)
        if wait_s := self._wait_s(incoming):
            return self._layout.error(incoming, Refusal(429, "error_many", wait_s=wait_s))
        if request.method != "POST":
            return self._remember(request, self._login.form(request))
        try:
            return await self._login.login(request, await self._form(request))
        except Refusal as refusal:
            return self._layout.error(incoming, refusal)
        except StoreError as error:
            return self._no_database(incoming, error)

    async def _log_out(self, request: Request) -> Response:
        incoming = self._incoming(request)
        try:
            if not self._is_ours(request, await self._form(request), incoming.token):
                return self._layout.error(incoming, Refusal(403, "error_form"))
            return await self._login.logout(request)
        except StoreError as error:
            return self._no_database(incoming, error)

    # --- requests -----------------------------------------------------------------------------------------------

    def _incoming(self, request: Request) -> Incoming:
        kept = cookies(request.headers.get("cookie", ""))
        wanted = request.query_params.get("lang"), kept.get(self._names.language)
        language = next((Language(one) for one in wanted if one in set(Language)), Language.INDONESIAN)
        query = {name: value for name, value in request.query_params.items() if name != "lang"}
        parameters = {name: _without_nul(value) for name, value in request.path_params.items()}
        return Incoming(
            kept.get(self._names.session, ""),
            self._site.address(request.scope),
            language,
            request.url.path,
            parameters,
            {name: _without_nul(value) for name, value in query.items()},
        )

    def _remember(self, request: Request, answer: Response) -> Response:
        """Let the browser keep the language that the address names."""
        chosen = request.query_params.get("lang")
        if chosen in set(Language):
            answer.set_cookie(
                self._names.language, chosen, max_age=YEAR_S, httponly=True, secure=self._site.secure, samesite="lax"
            )
        return answer

    def _wait_s(self, incoming: Incoming) -> float:
        """Count a request; return after how many seconds there is room for it, 0: now."""
        wait_s = self._addresses.take(incoming.address)
        return wait_s or (self._tokens.take(sessions.digest(incoming.token)) if incoming.token else 0.0)

    def _is_ours(self, request: Request, form: Mapping[str, str], token: str) -> bool:
        return self._site.is_own_origin(request.headers) and sessions.is_form_token(form.get("form", ""), token)

    async def _form(self, request: Request) -> dict[str, str]:
        """Return the fields of a form, the first of each; raises :class:`Refusal`."""
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES:
                    raise Refusal(413, "error_large")
            pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        except (ClientDisconnect, ValueError):
            raise Refusal(400, "error_form") from None
        # A browser sends each line break as two characters, and counts it as one.
        return {name: value.replace("\0", "").replace("\r\n", "\n") for name, value in reversed(pairs)}

    async def _run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    # --- errors -------------------------------------------------------------------------------------------------

    def _no_database(self, incoming: Incoming, error: StoreError) -> Response:
        log.error("database_not_usable", reason=str(error))
        return self._layout.error(incoming, Refusal(503, "error_database"))

    async def _http_error(self, request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:  # also for whoever is not logged in: the login, as at any page
            return await self._answer(_NOWHERE, request)
        return self._layout.error(self._incoming(request), Refusal(error.status_code, "error_missing"))

    async def _refused(self, request: Request, refusal: Refusal) -> Response:
        return self._layout.error(self._incoming(request), refusal)

    async def _failed(self, request: Request, error: Exception) -> Response:
        log.error("page_failed", page=getattr(request.scope.get("route"), "path", None), exc_info=error)
        return self._layout.error(self._incoming(request), Refusal(500, "error_internal"))

    async def _healthz(self, _: Request) -> Response:
        try:
            await asyncio.get_running_loop().run_in_executor(self._readers, self._probe)
        except StoreError:
            return JSONResponse({"status": "failing", "reason": "database"}, 503)
        return JSONResponse({"status": "ok"})

    def _probe(self) -> None:
        with self._source.reading() as connection:
            last_row(connection)


def _posted(
    page: Page, post: Callable[[Look, Mapping[str, str]], Done], look: Look, form: Mapping[str, str]
) -> Done | Shown:
    """Return what a form leads to, or the form once more. Raises Refusal."""
    try:
        return post(look, form)
    except Refusal as refusal:
        return _again(page, look, form, refusal)


def _again(page: Page, look: Look, form: Mapping[str, str], refusal: Refusal) -> Shown:
    """Return the form once more, with what was typed. Raises Refusal where the page has no way to."""
    if page.again is None:
        raise refusal
    return page.again(look, form, refusal)._replace(status=refusal.status)


class _Part:
    """The live part of a page for one follower."""

    def __init__(self, centre: Centre, page: Page, incoming: Incoming, follower: Follower) -> None:
        self._centre, self._page, self._incoming, self._follower = centre, page, incoming, follower
        self._first = True

    async def make(self) -> Made | None:
        found = await self._centre.part(self._page, self._incoming, first=self._first)
        self._first = False
        if found is None:
            return None
        shown, heads = found
        self._follower.units = shown.units
        return Made(str(heads), str(shown.live))


def _without_nul(value: str) -> str:
    """Return a value of an address with which a database can be searched: PostgreSQL's text has no room for NUL."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _file(sent: Sent) -> Response:
    """Return a file for the browser to store: it is not shown within the pages' origin, whatever it holds."""
    headers = {
        "Content-Disposition": f'attachment; filename="{sent.name}"',
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(sent.content, media_type=sent.media_type, headers=headers)


def _texts() -> dict[str, Text]:
    found: dict[str, Text] = {}
    for module in (messages, *MODULES):
        texts: Mapping[str, Text] = getattr(module, "TEXTS", {})
        if twice := found.keys() & texts.keys():
            raise ValueError(f"texts of two modules: {', '.join(sorted(twice))}")
        found.update(texts)
    return found


def _asset(name: str, media_type: str) -> Callable[[Request], Any]:
    content = (ASSETS / name).read_bytes()

    async def served(_: Request) -> Response:
        return PlainTextResponse(content, media_type=media_type)

    return served
