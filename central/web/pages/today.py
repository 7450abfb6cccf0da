"""A unit's date: who is in, not seen yet, late, excused, what is provisional and why; arrivals beside a usual day."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from central.registers.kinds import Person
from central.reports.messages import message
from central.texts import Text, _, in_context
from central.timesheet import outcome as marks
from central.timesheet.clock import DAY_S, midnight, print_time
from central.timesheet.facts import Facts
from central.timesheet.outcome import Standing, not_judged
from central.web.access import Unit
from central.web.messages import Messages
from central.web.page import Look, Missing, Page, Shown
from central.web.verdicts import Entry, verdicts_of
from central.web.views.arrivals import Drawing, draw, rows
from central.web.views.today import AWAITED, FIGURES, PEOPLE, UNSEEN, Row, Today, today

WEEKS = 4
"""Weeks of which the same weekday is a usual one."""
USUAL_S = 600.0
"""How long a usual day stands: it changes only where an old date is judged again."""
SYMBOLS: Mapping[str, str] = {
    marks.ABSENT: "■",
    marks.LATE: "▲",
    marks.EARLY: "▲",
    marks.MISSING: "▲",
    UNSEEN: "○",
    AWAITED: "",
    marks.EMPTY: "○",
    marks.EXCUSED: "◆",
    marks.ON_TIME: "●",
    marks.COMPLETE: "●",
}
"""Shapes that stand before words, so that no meaning is in a colour alone; the first that a date is, is shown."""
FIGURE_TEXTS: Mapping[str, Text] = {
    PEOPLE: in_context("figure", "people"),
    marks.COMPLETE: in_context("figure", "complete and on time"),
    marks.PRESENT: in_context("figure", "in"),
    marks.ON_TIME: in_context("figure", "arrived on time"),
    marks.LATE: in_context("figure", "late"),
    UNSEEN: in_context("figure", "not seen yet"),
    AWAITED: in_context("figure", "not due yet"),
    marks.EXCUSED: in_context("figure", "on leave or duty elsewhere"),
    marks.EARLY: in_context("figure", "left early"),
    marks.MISSING: in_context("figure", "a punch is missing"),
    marks.ABSENT: in_context("figure", "absent"),
    marks.NO_DUTY: in_context("figure", "off"),
    marks.PROVISIONAL: in_context("figure", "provisional"),
    marks.NONE: in_context("figure", "not judged"),
}
TEXTS: Mapping[str, Text] = {
    "today_title": _("{unit}: {date}"),
    "today_figures": _("How many"),
    "today_unsettled": _("{count} of them may still change"),
    "today_reasons": _("Why it is provisional"),
    "today_reasons_about": _("A better punch may still exist, so nothing is cut for these dates."),
    "today_reason": _("{people} people: {what}"),
    "today_evidence": _("What settles it"),
    "today_arrivals": _("Arrivals"),
    "today_arrived": _("Until {time}, {arrived} of {people} have arrived; usually {usual}."),
    "today_arrived_only": _("Until {time}, {arrived} of {people} have arrived."),
    "today_arrived_day": _("{arrived} of {people} arrived; usually {usual}."),
    "today_arrived_day_only": _("{arrived} of {people} arrived."),
    "today_curve": _("this date"),
    "today_usual": _("usual {weekday}"),
    "today_usual_unknown": _("What is usual is shown once there are two earlier dates of this weekday."),
    "today_as_table": _("The same as a table"),
    "today_time": _("until"),
    "today_people": _("People"),
    "today_only": _("Only: {figure}"),
    "today_all": _("show all"),
    "today_none_shown": _("No person is this on this date."),
    "today_nobody": _("No person is employed in this unit on this date."),
    "today_name": _("name"),
    "today_in": in_context("column of times", "in"),
    "today_out": in_context("column of times", "out"),
    "today_verdict": _("verdict"),
    "today_unseen": _("not seen yet"),
    "today_awaited": _("due {time}"),
    "today_seen": _("in, on time"),
    "today_waiting": _("still to be judged"),
    "today_future": _("This date has not come yet: plans are known, punches are not."),
    "today_now": _("now"),
    "date": _("Date"),
    "month": _("Month"),
    "go": _("Show"),
    "before": _("before"),
    "after": _("after"),
    "above": _("Above"),
    "to_month": _("The month of this unit"),
    "to_today": _("Today"),
}


class Line(NamedTuple):
    """A row of the table, in words."""

    row: Row
    symbol: str
    tone: str
    arrived: str
    left: str
    verdict: str
    status: str


def page_of_today(look: Look) -> Shown:
    """Return the page."""
    key = look.parameters["unit"]
    on = look.day_of("date", look.today(key))
    unit = look.unit(key, on)
    people = look.people(key, on)
    shown = look.query.get("show", PEOPLE)
    if shown not in FIGURES:
        raise Missing
    zone = look.zone(key)
    local = look.now.astimezone(zone)
    live = on == local.date()
    below = look.tree.below(frozenset({key}), on)
    crumbs = crumbs_of(look, unit, on)

    def values() -> Mapping[str, Any]:
        passed = local.hour * 3600 + local.minute * 60 + local.second
        until = passed if live else 0 if on > local.date() else None
        found, entries = _today(look, unit, on, people, until)
        arrivals = found.arrivals
        return {
            "unit": unit,
            "crumbs_above": crumbs,
            "view": found,
            "figure_texts": FIGURE_TEXTS,
            "show": shown,
            "groups": _groups(look, found, entries, shown),
            "several": len({row.person.unit for row in found.rows}) > 1,
            "reasons": [(one.people, _doubt(one.doubt, look.t)) for one in found.reasons],
            "described": _described(found, until, look.t),
            "drawings": {
                "wide": draw(arrivals, width=960, height=240),
                "narrow": draw(arrivals, width=340, height=210, hours_apart=2),
            }
            if arrivals.people
            else dict[str, Drawing](),
            "quarters": rows(arrivals),
            "day_before": on - timedelta(days=1),
            "day_after": on + timedelta(days=1),
            "future": on > local.date(),
            "is_today": live,
        }

    minute = f"{local:%Y-%m-%dT%H:%M}" if live else local.date()
    return look.show(
        "today.html",
        values,
        key=(key, on, shown, minute, tuple(one.key for one in crumbs)),
        title=look.t("today_title", unit=unit.name, date=look.t.date(on)),
        live="today_live.html",
        units=below,
    )


def crumbs_of(look: Look, unit: Unit, on: date) -> list[Unit]:
    """Return the units above one that the viewer sees too, from the top down."""
    units, seen = look.tree.on(on), look.scope.units(on)
    found: list[Unit] = []
    above = unit.parent
    while above is not None and above in seen and units[above] not in found:
        found.append(units[above])
        above = units[above].parent
    return found[::-1]


def _today(
    look: Look, unit: Unit, on: date, people: Sequence[Person], until: int | None
) -> tuple[Today, Mapping[str, tuple[int, Entry]]]:
    kept = verdicts_of(look.connection)
    keys = sorted(one.key for one in people)
    found = kept.entries(look.connection, keys, on, on)
    entries = {person: kept_entry for (person, _), kept_entry in found.items()}
    standings: dict[str, tuple[int | None, Standing]] = {
        person: (revision, entry.standing) for person, (revision, entry) in entries.items()
    }
    if missing := [key for key in keys if key not in standings]:
        standings |= {person: (None, found) for person, found in not_judged_yet(look, missing, on).items()}
    usual = kept.timed(
        ("usual", unit.key, on), USUAL_S, lambda: {day: _on(look, keys, day) for day in _weeks_before(on)}
    )
    names = {one.key: one.name for one in look.tree.on(on).values()}
    now = int(look.now.timestamp())
    return today(on, people, names, standings, usual, now=now, until=until), entries


def not_judged_yet(look: Look, people: Sequence[str], on: date) -> dict[str, Standing]:
    """Return the standing of people without a verdict on a date, with why there is none, where that is known."""
    facts = Facts(look.connection, look.policies, people, on, on)
    found = {}
    for person in people:
        planned = facts.days(person).on(on)
        found[person] = not_judged(planned if isinstance(planned, str) else None)
    return found


def _on(look: Look, people: Sequence[str], on: date) -> dict[str, Standing]:
    found = verdicts_of(look.connection).standings(look.connection, people, on, on)
    return {person: standing for (person, _), standing in found.items()}


def _weeks_before(on: date) -> list[date]:
    return [on - timedelta(weeks=weeks) for weeks in range(1, WEEKS + 1)]


def _groups(
    look: Look, found: Today, entries: Mapping[str, tuple[int, Entry]], shown: str
) -> list[tuple[str, list[Line]]]:
    """Return the lines that a figure counts, by unit."""
    groups: dict[str | None, tuple[str, list[Line]]] = {}
    for row in found.showing(shown):
        entry = entries.get(row.person.key)
        words = ("", "") if entry is None else entry[1].words[look.language]
        line = line_of(row.standing, row.marks, words, found.on, look.t)
        groups.setdefault(row.person.unit, (row.unit_name, []))[1].append(Line(row, *line))
    return list(groups.values())


def line_of(
    found: Standing, shown: frozenset[str], words: tuple[str, str], on: date, t: Messages
) -> tuple[str, str, str, str, str, str]:
    """Return symbol, tone, times, and words of a date: what it comes to, and why it may still change."""
    symbol, tone = next(((sign, name) for name, sign in SYMBOLS.items() if name in shown), ("", "none"))
    verdict, status = words
    if not verdict:
        verdict = _without_verdict(found, shown, on, t)
    if found.status != marks.PROVISIONAL:
        status = ""
    return symbol, tone, printed(found.arrived, on), printed(found.left, on), verdict, status


def _without_verdict(found: Standing, shown: frozenset[str], on: date, t: Messages) -> str:
    if marks.NONE in shown:
        return t("today_waiting") if found.why is None else message(found.why, t.language)
    if UNSEEN in shown:
        return t("today_unseen")
    if AWAITED in shown and found.due_local is not None:
        return t("today_awaited", time=printed(found.due_local, on))
    return t("today_seen") if marks.ON_TIME in shown else ""


def printed(local: int | None, on: date) -> str:
    """Return HH:MM of a wall clock; on another date with ``+1`` or ``-1`` days."""
    if local is None:
        return ""
    days = local // DAY_S - midnight(on) // DAY_S
    return print_time(local)[:5] + (f" {days:+d}" if days else "")


def _doubt(doubt: marks.Doubted, t: Messages) -> str:
    what = message("suspect_punch" if doubt.what == "suspect" else doubt.what, t.language)
    return what + (message("at_terminal", t.language, terminal=doubt.terminal) if doubt.terminal else "")


def _described(found: Today, until: int | None, t: Messages) -> str:
    arrivals = found.arrivals
    second = DAY_S * 2 if until is None else until
    usual = arrivals.usual_by(second)
    values = {
        "people": t.number(arrivals.people),
        "arrived": t.number(arrivals.by(second)),
        "usual": None if usual is None else t.number(usual),
        "time": "" if until is None else f"{datetime.fromtimestamp(until, UTC):%H:%M}",
    }
    return t(f"today_arrived{'_day' if until is None else ''}{'_only' if usual is None else ''}", **values)


PAGES = [Page("/today/{unit:path}", "today", TEXTS["to_today"], page_of_today, live=True)]
