"""The access log: who looked at whose data, for auditors."""

from collections.abc import Mapping
from typing import Any

from central.store import accesses
from central.store.accesses import MAX_TEXT, Access
from central.texts import Text, _, in_context
from central.web.access import Action, Role
from central.web.messages import ROLES
from central.web.page import Look, Page, Shown, Wrong

ROWS = 100
"""Rows of a page."""
WHAT: Mapping[str, Text] = {
    "today": in_context("look", "a unit's date"),
    "units": in_context("look", "figures of units"),
    "person": in_context("look", "a person's month"),
    "day": in_context("look", "a person's date"),
    "period": in_context("look", "a unit's period"),
    "closing": in_context("look", "a period before its closing"),
    "closing_file": in_context("look", "a file of a closing"),
    "requests": in_context("look", "requests"),
    "request_new": in_context("look", "a new request"),
    "notes": in_context("look", "notes on a person's dates"),
    "pins": in_context("look", "unknown PINs"),
    "unassigned": in_context("look", "people without a unit"),
    "evidence": in_context("look", "evidence"),
    "access_log": in_context("look", "the access log"),
    "person_export": in_context("look", "a copy of all data of a person"),
    "retention_applied": in_context("look", "a deletion by retention"),
    "hold_set": in_context("look", "a hold"),
    "hold_lifted": in_context("look", "the end of a hold"),
}
TEXTS: Mapping[str, Text] = {
    "access_page": _("Access log"),
    "access_about": _(
        "Every look at people's data, the newest first. A page is sent only after its line is stored here, and no line "
        "can be changed with this program, or removed before its retention has ended."
    ),
    "access_chain": _(
        "{rows} lines. The digest of the last one is {digest}. Note number and digest: whoever alters the log later, "
        "even in the file itself, cannot keep them. The administrator of the centre can have all digests recomputed."
    ),
    "access_account": _("account"),
    "access_person": _("person (key)"),
    "access_unit": _("unit (key)"),
    "access_at": _("when"),
    "access_who": _("who"),
    "access_address": _("from"),
    "access_what": _("what"),
    "access_whose": _("whose data"),
    "access_dates": _("dates"),
    "access_people": _("{count} people"),
    "access_refused": _("refused"),
    "access_none": _("No line of the log is about this."),
    "access_older": _("older lines"),
    "access_newest": _("the newest lines"),
    "access_filter": _("Show"),
    "access_live": _("{what}, live"),
    "access_number": _("a number of a line is written with digits"),
}


def show(look: Look) -> Shown:
    """Return the page."""
    given = {name: look.query.get(name, "").strip()[:MAX_TEXT] for name in ("account", "person", "unit")}
    filters = {name: value or None for name, value in given.items()}
    before = _number(look.query.get("before", ""))
    rows = accesses.newest(look.connection, ROWS, before=before, **filters)
    last = accesses.newest(look.connection, 1)
    look.report(person=filters["person"], unit=filters["unit"])
    older = None
    if len(rows) == ROWS and rows[-1].id > 1:
        older = look.url("access_log", **{name: value for name, value in filters.items() if value}, before=rows[-1].id)

    def values() -> Mapping[str, Any]:
        return {
            "rows": rows,
            "given": given,
            "older": older,
            "before": before,
            "last": last[0] if last else None,
            "what_of": lambda one: what_of(one, look),
            "who_of": lambda one: _role(one, look),
            "moment": lambda one: look.t.moment(one.at, look.zone()),
        }

    return look.show("access_log.html", values)


def what_of(one: Access, look: Look) -> str:
    """Return what was looked at."""
    name, _space, live = one.what.partition(" ")
    what = look.t.into(WHAT[name]) if name in WHAT else name
    return look.t("access_live", what=what) if live == "live" else what


def _role(one: Access, look: Look) -> str:
    return look.t.into(ROLES[Role(one.role)]) if one.role in set(Role) else one.role


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Wrong("access_number")
    return int(text)


PAGES = [Page("/access", "access_log", TEXTS["access_page"], show, action=Action.ACCESS_LOG, in_menu=True)]
