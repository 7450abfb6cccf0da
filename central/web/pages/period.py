"""A unit's period: totals of each person by name, how each date went, and what is still open."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from central.registers.kinds import Person
from central.results.periods import PersonPeriod, periods_of
from central.store import closings, outcomes, results
from central.store.engine import chunks
from central.store.registers import last_row
from central.texts import Text, _, in_context
from central.timesheet import outcome as marks
from central.timesheet.facts import Facts
from central.timesheet.outcome import Standing
from central.timesheet.totals import period_of
from central.web.page import Look, Missing, Page, Shown
from central.web.pages.person import AROUND, rules_date
from central.web.pages.today import crumbs_of
from central.web.verdicts import Key, verdicts_of
from central.web.views import period as views
from central.web.views.days_chart import draw
from central.web.views.period import Entry, Period, period
from central.web.views.person import last_of, neighbours
from central.words import print_cut

PARTS = 100
"""People of whom the days are read at once."""
FIGURE_TEXTS: Mapping[str, Text] = {
    "people": in_context("figure", "people"),
    views.FULL: in_context("figure", "full attendance"),
    marks.LATE: in_context("figure", "late"),
    marks.EARLY: in_context("figure", "left early"),
    marks.MISSING: in_context("figure", "a punch is missing"),
    marks.ABSENT: in_context("figure", "absent"),
    marks.EXCUSED: in_context("figure", "on leave or duty elsewhere"),
    views.WAITING: in_context("figure", "not final yet"),
    views.LEFT_OVER: in_context("figure", "dates not judged"),
}
TEXTS: Mapping[str, Text] = {
    "period_page": _("A unit's month"),
    "period_title": _("{unit}: {month}"),
    "period_figures": _("How many people"),
    "period_span": _("Period {first} to {last}"),
    "period_days": _("How each date went"),
    "period_days_described": _(
        "{days} dates with duty. Of all days of duty {complete} are complete and on time, {exception} have an "
        "exception, {absent} are absences, {excused} are excused, {waiting} are not final."
    ),
    "period_complete": in_context("legend", "complete and on time"),
    "period_excused": in_context("legend", "excused"),
    "period_exception": in_context("legend", "late, early or a punch missing"),
    "period_absent": in_context("legend", "absent"),
    "period_waiting": in_context("legend", "not final"),
    "period_people": _("People, by name"),
    "period_none": _("No person was employed in this unit in this period."),
    "period_none_shown": _("This counts no person in this period."),
    "period_duty": in_context("head", "duty"),
    "period_full": in_context("head", "complete"),
    "period_late": in_context("head", "late"),
    "period_early": in_context("head", "early"),
    "period_missing": in_context("head", "missing"),
    "period_absences": in_context("head", "absent"),
    "period_leave": in_context("head", "excused"),
    "period_open": in_context("head", "open"),
    "period_cut": in_context("head", "cut"),
    "period_part": _("{first} to {last}"),
    "period_minutes": _("{minutes} min"),
    "period_not_judged": _("{dates} not judged"),
    "period_is_full": _("full attendance"),
    "period_is_full_so_far": _("full attendance so far"),
    "period_closed": _(
        "The period {first} to {last} was closed on {moment} for {closed} of {people} people: its totals and sheets do "
        "not move. What became known later stands here already, and is an adjustment of the next closing."
    ),
    "period_note": _(
        "Days are counted, and people stand by name. A cut stands only where the whole period lies in this unit."
    ),
}


class Employment(NamedTuple):
    """A person with the dates of a month on which the unit has her."""

    person: Person
    dates: tuple[date, ...]


def page_of_period(look: Look) -> Shown:
    """Return the page."""
    key = look.parameters["unit"]
    first = look.month_of("month", look.today(key))
    last = last_of(first)
    on = _date_of_unit(look, key, first, last)
    unit = look.unit(key, on)
    reader = look.viewer.role, look.viewer.units
    employed: list[Employment] = look.cached(
        ("employed", key, first, reader), lambda: _employed(look, key, first, last)
    )
    shown = look.query.get("show", "people")
    if shown not in views.FIGURES:
        raise Missing
    look.report(unit=key, first=first, last=last, people=len(employed))
    crumbs = crumbs_of(look, unit, on)
    closed = tuple(_closed(look, key, employed, first, last))

    def values() -> Mapping[str, Any]:
        view = _period(look, employed, first, last)
        before, after = neighbours(first)
        sums = {
            name: sum(getattr(day, name) for day in view.days)
            for name in ("complete", "exception", "absent", "excused", "waiting")
        }
        numbers = {name: look.t.number(number) for name, number in sums.items()}
        figures = [one for one in view.figures if one[1] or one[0] != views.LEFT_OVER]
        return {
            "figures": figures,
            "unit": unit,
            "crumbs_above": crumbs,
            "on": on,
            "first": first,
            "month_before": before,
            "month_after": after,
            "view": view,
            "show": shown,
            "entries": view.showing(shown),
            "figure_texts": FIGURE_TEXTS,
            "closed": closed,
            "cut": lambda entry: _cut(entry, look),
            "described": look.t("period_days_described", days=len(view.days), **numbers),
            "drawings": {
                "wide": draw(view.days, width=960, height=220),
                "narrow": draw(view.days, width=340, height=200),
            }
            if view.days
            else {},
        }

    return look.show(
        "period.html",
        values,
        key=(key, first, shown, on, look.today(key), tuple(one.key for one in crumbs), reader, closed),
        title=look.t("period_title", unit=unit.name, month=look.t.month(first)),
    )


def _closed(look: Look, key: str, employed: Sequence[Employment], first: date, last: date) -> Iterator[str]:
    """Yield a sentence about each closing that holds dates of the month on which the unit has people.

    Another unit may have closed their other dates: of that the viewer learns nothing.
    """
    dates = {one.person.key: one.dates for one in employed}
    for one, people in closings.holding(look.connection, dates, first, last):
        held = sum(any(one.first <= on <= one.last for on in dates[person]) for person in people)
        if held:
            yield look.t(
                "period_closed",
                first=look.t.day(one.first),
                last=look.t.day(one.last),
                moment=look.t.when(one.entered, look.zone(key)),
                closed=look.t.number(held),
                people=look.t.number(len(dates)),
            )


def _date_of_unit(look: Look, key: str, first: date, last: date) -> date:
    """Return a date of a month on which the viewer sees a unit, today's if possible; raises :class:`Missing`."""
    for on in (min(max(look.today(key), first), last), last, first):
        if key in look.scope.units(on):
            return on
    look.unit(key, last)  # refuses, and reports it
    raise Missing


def _employed(look: Look, key: str, first: date, last: date) -> list[Employment]:
    """Return the people whom the unit, or one below it, has on any date of a month, where the viewer sees that unit."""
    dates = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
    units = {on: look.tree.below(frozenset({key}), on) & look.scope.units(on) for on in dates}
    keys = sorted(set().union(*units.values()))
    rows = look.registers.rows("people", [f"unit:{one}" for one in keys], first, last, by="other")
    found: dict[str, Employment] = {}
    for row in rows:
        one = row.record
        held = tuple(on for on in dates if row.since <= on <= (row.until or last) and one.unit in units[on])
        if held:
            before = found.get(one.key)
            found[one.key] = Employment(one, held if before is None else tuple(sorted({*before.dates, *held})))
    return list(found.values())


def _period(look: Look, employed: Sequence[Employment], first: date, last: date) -> Period:
    people = [one.person.key for one in employed]
    standings = verdicts_of(look.connection).standings(look.connection, people, first, last)
    totals = _totals(look, employed, first)
    today = look.today()
    entries, by_date = [], dict[date, list[Standing]]()
    for one in employed:
        days = {on: standings.get((one.person.key, on)) for on in one.dates if on <= today}
        for on, standing in days.items():
            if standing is not None:
                by_date.setdefault(on, []).append(standing)
        if days:
            found = totals.get(one.person.key)
            sums = None if found is None else found.totals
            whole = found is not None or len(one.dates) == (last - first).days + 1
            entries.append(views.entry(one.person, days, sums, whole=whole))
    return period(first, last, entries, by_date)


def _totals(look: Look, employed: Sequence[Employment], first: date) -> dict[str, PersonPeriod]:
    """Return what the period that holds the month's middle comes to, of people whom the unit has throughout it."""
    middle = first.replace(day=15)
    begin, end = middle - AROUND, middle + AROUND
    kept = verdicts_of(look.connection).periods
    register = last_row(look.connection), look.policies_version
    dates = {one.person.key: frozenset(one.dates) for one in employed}
    numbers: dict[str, list[Key]] = {}
    for key in results.last_numbers(look.connection, sorted(dates), begin, end):
        numbers.setdefault(key[0], []).append(key)
    wanted = {
        person: (person, middle, register, dates[person], tuple(sorted((on, number) for _, on, number in keys)))
        for person, keys in numbers.items()
    }
    known = kept.get(wanted.values())
    new = {}
    for part in chunks(sorted(person for person, key in wanted.items() if key not in known), PARTS):
        facts = Facts(look.connection, look.policies, part, begin, end)
        for person in part:
            new[wanted[person]] = _total(look, facts, person, middle, dates[person], numbers[person])
    kept.keep(new)
    found = known | new
    return {person: one for person, key in wanted.items() if (one := found[key]) is not None}


def _total(
    look: Look, facts: Facts, person: str, middle: date, dates: frozenset[date], keys: Sequence[Key]
) -> PersonPeriod | None:
    own = facts.own(person)
    reference = rules_date(facts, person, middle)
    rules = facts.office.rules(own, reference)
    if rules is None:
        return None
    first, last = period_of(reference, rules.begins_on)
    span = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
    if any(own.unit_on(on)[0] and not _is_within(look, own.unit_on(on)[1], on, dates, middle) for on in span):
        return None
    within = [key for key in keys if first <= key[1] <= last]
    judged = [one for one in outcomes.exactly(look.connection, within) if one.counts is not None]
    in_order = sorted(judged, key=lambda one: one.date)
    return next(periods_of(facts, in_order, reference, reference), None) if judged else None


def _is_within(look: Look, unit: str | None, on: date, dates: frozenset[date], middle: date) -> bool:
    """Return whether a date is the unit's; of a neighbouring month, whether the viewer sees the person's unit."""
    if (on.year, on.month) == (middle.year, middle.month):
        return on in dates
    return unit in look.scope.units(on)


def _cut(entry: Entry, look: Look) -> str:
    return "" if entry.totals is None else print_cut(entry.totals.cut, entry.totals.cut_rp, look.language)


PAGES = [Page("/period/{unit:path}", "period", TEXTS["period_page"], page_of_period)]
