"""People who are in no unit: no superior sees them and no closing has them, until someone enters their unit."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from central.texts import Text, _, into
from central.web.access import ALL_UNITS
from central.web.page import Look, Page, Shown
from central.words import VALUES

MOST = 500
"""People on the page."""
TEXTS: Mapping[str, Text] = {
    "unassigned_page": _("People without a unit"),
    "unassigned_about": _(
        "These people are employed today and are in no unit that exists. No superior sees them, they are on no sheet, "
        "and no closing has them."
    ),
    "unassigned_none": _("Everyone who is employed today is in a unit."),
    "unassigned_name": _("name"),
    "unassigned_employment": _("employment"),
    "unassigned_since": _("since"),
    "unassigned_unit": _("unit as entered"),
    "unassigned_no_unit": _("none"),
    "unassigned_do": _("What to do"),
    "unassigned_do_unit": _(
        "A person who works here: enter the unit in the register of people, from the date on which it holds. The "
        "dates since then are judged for that unit, closed periods by an adjustment."
    ),
    "unassigned_do_gone": _(
        "A unit that does not exist today has ended or is not entered: correct its dates in the register of units, or "
        "enter the unit that has its people now."
    ),
    "unassigned_do_left": _("A person who has left: enter the last date of employment."),
    "unassigned_more": _("{count} more are not shown; settle these first."),
}


class Person(NamedTuple):
    """A person as the page shows it."""

    key: str
    name: str
    employment: str
    since: str
    unit: str | None


def show(look: Look) -> Shown:
    """Return the page."""
    on = look.today()
    people = look.people_in_no_unit(on)

    def values() -> Mapping[str, Any]:
        shown = [
            Person(
                one.key,
                one.name,
                into(VALUES[one.employment], look.language) if one.employment in VALUES else one.employment.upper(),
                look.t.day(one.since),
                one.unit,
            )
            for one in people[:MOST]
        ]
        return {"people": shown, "more": max(0, len(people) - MOST), "on": on}

    return look.show("unassigned.html", values)


PAGES = [
    Page(
        "/unassigned",
        "unassigned",
        TEXTS["unassigned_page"],
        show,
        in_menu=True,
        roles=ALL_UNITS,
    )
]
