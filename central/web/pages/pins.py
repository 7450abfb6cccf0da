"""PINs that were read and belong to no person: how often, where, and what to do about them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from central.reports.commands import unknown
from central.texts import Text, _
from central.timesheet.attribution import UnknownPin
from central.web.access import ALL_UNITS, Role
from central.web.page import Look, Page, Shown
from central.web.reach import Reach, reach, shared_places

DAYS = 92
"""How far back enrolments are looked at, to see whose terminals are whose."""
MOST = 500
"""PINs on the page."""
TEXTS: Mapping[str, Text] = {
    "pins_page": _("Unknown PINs"),
    "pins_about": _(
        "These PINs were read at terminals, and no person had them on the date. Their punches are kept. As soon as the "
        "enrolment is imported they count for the person, for past dates too; a visitor's or a test's PIN is settled "
        "by a decision."
    ),
    "pins_keep": _("As long as a PIN is unknown, a missing punch of people at the same site stays provisional."),
    "pins_none": _("Every PIN that was read belongs to a person."),
    "pins_shared": _("PINs at terminals that other units use as well are shown to the personnel agency only."),
    "pins_more": _("{count} more are not shown; settle these first."),
    "pins_pin": _("PIN"),
    "pins_where": _("terminal, site"),
    "pins_punches": _("punches"),
    "pins_days": _("dates"),
    "pins_first": _("first"),
    "pins_last": _("last"),
    "pins_do": _("What to do"),
    "pins_do_enrol": _(
        "A new person, or one with another PIN: a line in the register of enrolments, valid from the first date above."
    ),
    "pins_do_visitor": _("A guest, a test, a cleaner: a decision `visitor` with the terminal and the PIN."),
    "pins_do_wrong": _(
        "A PIN that looks like another one: ask who stood there at that time before anything is entered."
    ),
}


def show(look: Look) -> Shown:
    """Return the page."""
    today = look.today()
    since = today - timedelta(days=DAYS)
    everything = look.viewer.role in ALL_UNITS

    def values() -> Mapping[str, Any]:
        found = unknown(look.connection)
        if not everything:
            found = _own(found, reach(look, since, today), shared_places(look, since, today))
        found.sort(key=lambda one: one.last, reverse=True)
        return {"pins": found[:MOST], "more": max(0, len(found) - MOST), "everything": everything}

    look.report(first=since, last=today)
    return look.show("pins.html", values, key=(everything, look.viewer.units, today))


def _own(found: Sequence[UnknownPin], seen: Reach, shared: frozenset[str]) -> list[UnknownPin]:
    """Return the PINs at terminals that nobody of other units uses: else they could be PINs of those."""
    serials = {one.serial for one in seen.devices}
    return [
        one
        for one in found
        if one.reader.serial in serials
        and f"terminal:{one.reader.serial}" not in shared
        and f"site:{one.reader.site}" not in shared
    ]


PAGES = [
    Page(
        "/pins",
        "pins",
        TEXTS["pins_page"],
        show,
        in_menu=True,
        roles=frozenset({Role.OPERATOR, Role.BKD, Role.AUDITOR}),
    )
]
