"""What all pages have around them: head, menu, language, the account, and pages that say what went wrong."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from central.texts import Language, Text
from central.web.guard import retry_after
from central.web.messages import LANGUAGES, Messages
from central.web.page import Look, Page, Refusal

TEMPLATES = Path(__file__).parent / "templates"


class Incoming(NamedTuple):
    """What of a request the pages need."""

    token: str
    """Of the session; empty: none."""
    address: str
    language: Language
    path: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]


def code(text: str) -> Markup:
    """Return a text in which what stands between backticks, such as a command, is marked as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


class Layout:
    """Renders pages."""

    def __init__(self, pages: Sequence[Page], texts: Mapping[str, Text]) -> None:
        self._pages, self._texts = pages, texts
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters["code"] = code

    def messages(self, language: Language) -> Messages:
        """Return the texts in a language."""
        return Messages(self._texts, language)

    def render(self, template: str, values: Mapping[str, Any]) -> Markup:
        """Return a template with values."""
        return Markup(self._templates.get_template(template).render(values))  # noqa: S704 - it escapes its values

    def page(
        self,
        incoming: Incoming,
        title: str,
        main: Markup,
        *,
        look: Look | None = None,
        moment: str | None = None,
        live: bool = False,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return a whole page; ``look``: of who is logged in, ``moment``: as of when, ``live``: it changes itself."""
        t = self.messages(incoming.language)
        values = {
            "t": t,
            "title": title,
            "main": main,
            "menu": [] if look is None else self._menu(look, t),
            "viewer": None if look is None else look.viewer,
            "form_token": None if look is None else look.form_token,
            "as_of": None if look is None or moment is None else _as_of(look, moment),
            "live": live,
            "age": Markup() if look is None else self.age(look),
            "languages": [
                (language, LANGUAGES[language], f"?{urlencode({**incoming.query, 'lang': language.value})}")
                for language in LANGUAGES
                if language is not incoming.language
            ],
        }
        return HTMLResponse(self.render("base.html", values), status, headers)

    def heads(self, look: Look, moment: str) -> Markup:
        """Return what a live part replaces beside itself: as of when it is, and how old its data are."""
        return self.render("heads.html", {"as_of": _as_of(look, moment), "age": self.age(look)})

    def age(self, look: Look) -> Markup:
        """Return how old the data of a page are, where they are a standby's: a line, or a notice where it lags."""
        if look.age is None:
            return Markup()
        as_of, now = look.age.as_of, look.age.now
        moment = None
        if as_of is not None:
            local = as_of.astimezone(look.zone())
            today = local.date() == now.astimezone(look.zone()).date()
            moment = f"{local:%H:%M:%S}" if today else look.t.moment(as_of, look.zone())
        return self.render("age.html", {"t": look.t, "moment": moment, "age": look.age})

    def error(self, incoming: Incoming, refusal: Refusal, look: Look | None = None) -> Response:
        """Return the page that says what went wrong and what to do."""
        t = self.messages(incoming.language)
        what, values = refusal.what, dict(refusal.values)
        if not what.startswith("error_"):
            what, values = "error_wrong", {"what": t(what, **values)}
        wait_s = values.pop("wait_s", None)
        if isinstance(wait_s, float):
            values["seconds"] = t.number(math.ceil(wait_s))
        given = {"t": t, "what": t(what, **values), "what_do": t(f"{what}_do", **values)}
        main = self.render("error.html", given)
        headers = retry_after(wait_s) if isinstance(wait_s, float) else None
        return self.page(incoming, t("error"), main, look=look, status=refusal.status, headers=headers)

    def _menu(self, look: Look, t: Messages) -> list[tuple[str, str, bool]]:
        pages = [page for page in self._pages if page.in_menu and page.is_for(look.viewer)]
        return [(look.url(page.name), t.into(page.title), page is look.page) for page in pages]


def _as_of(look: Look, moment: str) -> str:
    return look.t("as_of", moment=look.t.moment(moment, look.zone()))
