"""Logging in and out."""

import asyncio
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from central.options import Now
from central.web import passwords, sessions
from central.web.access import Role
from central.web.accounts import Account, AccountFile
from central.web.database import Writer
from central.web.guard import Logins, Site, known_browser, retry_after
from central.web.layout import Incoming, Layout

LOGIN = "/login"
VERIFICATIONS = 2
"""Passwords that are verified at a time; each takes 64 MiB and a processor for 0.1 s."""
WAITING = 50
"""Logins that may wait for that; further ones are refused for a moment."""
YEAR_S = 365 * 86400
MOST_KNOWN = 10
"""Accounts that a browser is known for."""

log = structlog.get_logger("web")


class CookieNames:
    """Names of the cookies; over TLS with the prefix that keeps other hosts of the domain from setting them."""

    def __init__(self, *, secure: bool) -> None:
        prefix = "__Host-" if secure else ""
        self.session = f"{prefix}hadir-centre"
        self.form = f"{prefix}hadir-form"
        """What the form of the login carries as well."""
        self.known = f"{prefix}hadir-known"
        """That the browser has logged in to an account before."""
        self.language = "hadir-language"


class LoginPages:
    """The login form, the verification of passwords, and the logout."""

    def __init__(
        self,
        accounts: AccountFile,
        writer: Writer,
        layout: Layout,
        site: Site,
        names: CookieNames,
        *,
        own_days: bool,
        now: Now,
        incoming: Callable[[Request], Incoming],
    ) -> None:
        self._accounts, self._writer, self._layout = accounts, writer, layout
        self._site, self._names, self._own_days, self._now = site, names, own_days, now
        self._incoming = incoming
        self._limits, self._waiting = Logins(), 0
        self._threads = ThreadPoolExecutor(VERIFICATIONS, "web-password")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def form(
        self,
        request: Request,
        problem: str | None = None,
        status: int = 200,
        fields: Mapping[str, str] | None = None,
        **values: object,
    ) -> Response:
        """Return the form, with what is wrong and what was typed, but the password."""
        typed = fields or {}
        incoming = self._incoming(request)
        t = self._layout.messages(incoming.language)
        token = request.cookies.get(self._names.form, "")
        fresh = len(token) != sessions.TOKEN_CHARACTERS
        if fresh:
            token = sessions.new_token()
        given = {
            "t": t,
            "problem": None if problem is None else t(problem, **values),
            "notice": t("login_ended") if "ended" in incoming.query else t("login_needed"),
            "form_token": sessions.form_token(token),
            "next": _next(incoming.query.get("next", typed.get("next", ""))),
            "account": typed.get("account", "").strip()[:64],
        }
        answer = self._layout.page(incoming, t("login"), self._layout.render("login.html", given), status=status)
        if fresh:
            self._set(answer, self._names.form, token)
        return answer

    async def login(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Verify account and password, and begin a session."""
        token = request.cookies.get(self._names.form, "")
        if not self._site.is_own_origin(request.headers) or not token:
            return self.form(request, "login_cookies", 403)
        if not sessions.is_form_token(fields.get("form", ""), token):
            return self.form(request, "login_cookies", 403)
        name, password = fields.get("account", "").strip().lower(), fields.get("password", "")
        address, account = self._site.address(request.scope), self._account(name)
        known = self._is_known(request, account)
        if wait_s := self._limits.wait_s(address, name[: passwords.LONGEST], known=known):
            answer = self.form(request, "login_wait", 429, fields, seconds=math.ceil(wait_s))
            answer.headers.update(retry_after(wait_s))
            return answer
        if self._waiting >= WAITING:
            return self.form(request, "login_busy", 503, fields)
        # Counted before the verification: attempts that are sent at once would else all be verified.
        self._limits.wrong(address, name[: passwords.LONGEST], known=known)
        matches = await self._matches(account, password)  # also where there is no account: it takes as long
        if account is None or not matches:
            log.warning("login_refused", address=address, account=None if account is None else account.name)
            return self.form(request, "login_wrong", 401, fields)
        self._limits.right(address, name, known=known)
        return await self._begin(request, account, fields)

    async def _matches(self, account: Account | None, password: str) -> bool:
        self._waiting += 1
        try:
            hashed = None if account is None else account.password
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, passwords.is_password, password[: passwords.LONGEST + 1], hashed
            )
        finally:
            self._waiting -= 1

    async def _begin(self, request: Request, account: Account, fields: Mapping[str, str]) -> Response:
        token = sessions.new_token()
        before = request.cookies.get(self._names.session)
        await self._writer.write(sessions.begin(account, token, before, self._now()))
        log.info("login_accepted", address=self._site.address(request.scope), account=account.name)
        answer = RedirectResponse(_next(fields.get("next", "")), 303)
        self._set(answer, self._names.session, token)
        self._set(answer, self._names.form, sessions.new_token())
        known = [mark for mark in request.cookies.get(self._names.known, "").split(".") if mark]
        ours = known_browser(account.name, account.password or "")
        marks = [ours, *(mark for mark in known if mark != ours)][:MOST_KNOWN]
        self._set(answer, self._names.known, ".".join(marks), max_age=YEAR_S)
        return answer

    async def logout(self, request: Request) -> Response:
        """End the session."""
        await self._writer.write(sessions.end(request.cookies.get(self._names.session, "")))
        answer = RedirectResponse(f"{LOGIN}?ended=1", 303)
        answer.delete_cookie(self._names.session, path="/", secure=self._site.secure, httponly=True, samesite="lax")
        return answer

    def to_form(self, incoming: Incoming) -> Response:
        """Return the way to the form, and from there to the page."""
        target = f"{incoming.path}?{urlencode(incoming.query)}" if incoming.query else incoming.path
        return RedirectResponse(f"{LOGIN}?{urlencode({'next': target})}" if target != "/" else LOGIN, 303)

    def _account(self, name: str) -> Account | None:
        account = self._accounts.get(name)
        return None if account is not None and account.role is Role.PERSON and not self._own_days else account

    def _is_known(self, request: Request, account: Account | None) -> bool:
        if account is None or account.password is None:
            return False
        marks = request.cookies.get(self._names.known, "").split(".")
        return known_browser(account.name, account.password) in marks

    def _set(self, answer: Response, name: str, value: str, max_age: int | None = None) -> None:
        answer.set_cookie(
            name, value, max_age=max_age, path="/", secure=self._site.secure, httponly=True, samesite="lax"
        )


def _next(target: str) -> str:
    """Return the page to go to after a login: one of ours, or the overview."""
    ours = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and target.isascii()
    return target if ours and len(target) <= 1000 and not target.startswith((LOGIN, "/logout")) else "/"
