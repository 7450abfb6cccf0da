"""The units that an account sees, as a tree with how many people are what on a date; without any person."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from central.registers.kinds import Person
from central.texts import Text, _
from central.timesheet import outcome as marks
from central.timesheet.outcome import Standing
from central.web.page import Look, Page, Shown
from central.web.pages.today import FIGURE_TEXTS
from central.web.verdicts import verdicts_of
from central.web.views.today import PEOPLE, UNSEEN, today
from central.web.views.units import units

FIGURES = (PEOPLE, marks.PRESENT, marks.ON_TIME, marks.LATE, UNSEEN, marks.EXCUSED, marks.ABSENT, marks.PROVISIONAL)
"""What is counted of each unit."""
TEXTS: Mapping[str, Text] = {
    "units_page": _("Units"),
    "units_title": _("Units: {date}"),
    "units_about": _("Each number holds the units below too, and leads to the people whom it counts."),
    "units_none": _("No unit that this account sees exists on this date."),
    "units_month": _("month"),
    "units_unit": _("unit"),
}


def page_of_units(look: Look) -> Shown:
    """Return the page."""
    on = look.day_of("date", look.today())
    seen = look.scope.units(on)
    roots = [unit.key for unit in look.scope.roots(on)]
    live = on == look.today()

    def values() -> Mapping[str, Any]:
        rows = look.registers.rows("people", [f"unit:{key}" for key in sorted(seen)], on, on, by="other")
        people = [row.record for row in rows]
        view = today(on, people, {}, _standings(look, people, on), {}, now=int(look.now.timestamp()), until=None)
        return {
            "on": on,
            "counted": units(look.tree.on(on), roots, view.rows, FIGURES),
            "figures": FIGURES,
            "figure_texts": FIGURE_TEXTS,
            "day_before": on - timedelta(days=1),
            "day_after": on + timedelta(days=1),
        }

    look.report(first=on, last=on)
    minute = f"{look.now:%Y-%m-%dT%H:%M}" if live else ""
    title = look.t("units_title", date=look.t.date(on))
    return look.show("units.html", values, key=(on, tuple(roots), minute), title=title)


def _standings(look: Look, people: list[Person], on: date) -> dict[str, tuple[int | None, Standing]]:
    keys = sorted({one.key for one in people})
    found = verdicts_of(look.connection).standings(look.connection, keys, on, on)
    return {person: (None, one) for (person, _), one in found.items()}


PAGES = [Page("/units", "units", TEXTS["units_page"], page_of_units, in_menu=True)]
