"""A person's month as a calendar, and what it comes to; also as known at a moment."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from central.registers.kinds import Person
from central.results.periods import PersonPeriod, periods_of
from central.store import closings, outcomes, results
from central.store.engine import utc
from central.texts import Text, _, in_context
from central.timesheet.facts import Facts
from central.timesheet.model import Reason
from central.timesheet.outcome import Standing, not_judged
from central.timesheet.totals import period_of
from central.web.messages import Messages
from central.web.page import Look, Page, SeenPerson, Shown, Wrong
from central.web.pages.today import line_of
from central.web.verdicts import Entry, entry_of, verdicts_of
from central.web.views.codes import CODES
from central.web.views.person import Month, last_of, month, neighbours
from central.words import VALUES, meaning_of, print_cut, print_source, rule_words

AROUND = timedelta(days=45)
"""Days around the middle of a month in which its period lies, whatever day of the month periods begin on."""
DAYS = ("duty", "complete", "late", "early", "missing", "absent", "excused", "waiting")
NUMBER_TEXTS: Mapping[str, Text] = {
    "duty": in_context("figure", "days of duty"),
    "complete": in_context("figure", "complete and on time"),
    "late": in_context("figure", "late"),
    "early": in_context("figure", "left early"),
    "missing": in_context("figure", "a punch is missing"),
    "absent": in_context("figure", "absent"),
    "excused": in_context("figure", "on leave or duty elsewhere"),
    "waiting": in_context("figure", "not final yet"),
}
TEXTS: Mapping[str, Text] = {
    "person_page": _("A person's month"),
    "person_title": _("{name}: {month}"),
    "person_figures": _("What the month comes to"),
    "person_minutes": _("{minutes} minutes"),
    "person_calendar": _("Calendar"),
    "person_elsewhere": _("not in your units"),
    "person_codes": _("What the codes mean"),
    "person_days": _("Day by day"),
    "person_date": _("date"),
    "person_rules": _("By the policy"),
    "person_period": _("Period {first} to {last}"),
    "person_cut": _("Cut of the period: {cut}"),
    "person_cut_open": _("{days} dates are not final yet and cut nothing so far."),
    "person_presence": _("Presence: {percent} %"),
    "person_no_rules": _("No policy is assigned in this period, so it has no totals."),
    "person_partial": _("Only a part of this period lies in your units, so its totals are not shown."),
    "person_work": _("Result of work (SKP, daily report)"),
    "person_work_about": _(
        "Presence is an instrument and not the judgement of a person. What was achieved stands in the SKP and in the "
        "daily reports (LKH), which are kept elsewhere. No reference to them is entered here for this month."
    ),
    "person_unseen": _("In this month the person is in none of your units: totals are not shown."),
    "person_closed": _(
        "The period {first} to {last} was closed on {moment}: its totals and sheets do not move. What became known "
        "later stands here already, and is an adjustment of the next closing."
    ),
    "person_known": _("What was known then"),
    "person_known_about": _("Shows verdicts as they stood at a moment, by all that had been entered until then."),
    "person_known_at": _("Moment"),
    "person_known_now": _("Show what is known now"),
    "person_as_known": _("As known at {moment}."),
    "person_unit_on": _("The unit on {date}"),
    "moment_form": _("a moment is written YYYY-MM-DDTHH:MM"),
    "total_bucket": _("{cut}: full spans of minutes that add up in the period, by {policy}"),
    "total_counter": _("{cut} for {date}: it happened more often than is free, by {policy}"),
    "total_leave": _("{cut} for leave on {date}, by {policy}"),
    "total_cap": _("limited to {cut}, by {policy}"),
    "total_all_missing": _("in place of all: {days} days absent, by {policy}"),
}


class DayLine(NamedTuple):
    """A date in words."""

    on: date
    codes: tuple[str, ...]
    symbol: str
    tone: str
    arrived: str
    left: str
    verdict: str
    status: str


def page_of_month(look: Look) -> Shown:
    """Return the page of a person's month."""
    key = look.parameters["person"]
    first = look.month_of("month", look.today())
    last = last_of(first)
    seen = look.person(key, first, last)
    employed = [row for row in seen.rows if _touches(row, first, last) and _is_seen(seen, row, first, last)]
    named = employed[-1] if employed else _last_seen(seen)
    zone_unit = named.unit
    known = known_at(look, zone_unit)

    def values() -> Mapping[str, Any]:
        entries = _entries(look, key, first, last, known)
        standings = {on: entry.standing for on, entry in entries.items()}
        today = look.today(zone_unit)
        begun = today if known is None else min(today, known.astimezone(look.zone(zone_unit)).date())
        without = [on for on in _dates(first, last) if on not in standings and on <= begun]
        standings |= _without(look, key, without, known)
        view = month(first, last, seen.is_seen, standings)
        before, after = neighbours(first)
        return {
            "person": named,
            "places": places_of(look, employed),
            "view": view,
            "numbers": [(name, getattr(view.numbers, name), _minutes(view, name)) for name in DAYS],
            "number_texts": NUMBER_TEXTS,
            "weekdays": [look.t.weekday(date(2026, 6, 1) + timedelta(days=number)) for number in range(7)],
            "lines": list(_lines(look, view, entries)),
            "codes": CODES,
            "first": first,
            "month_before": before,
            "month_after": after,
            "today": today,
            "policies": look.policies,
            "totals": _totals(look, seen, first, known),
            "closed": list(closed_words(look, seen, first, last, look.now if known is None else known)),
            "known": known,
            "known_words": None if known is None else look.t.moment(known, look.zone(zone_unit)),
            "known_default": f"{look.now.astimezone(look.zone(zone_unit)):%Y-%m-%dT%H:%M}",
        }

    title = look.t("person_title", name=named.name, month=look.t.month(first))
    return look.show("person.html", values, title=title)


def closed_words(look: Look, seen: SeenPerson, first: date, last: date, moment: datetime) -> Iterator[str]:
    """Yield a sentence about each closing, made until a moment, that holds a date on which the viewer sees the person.

    Another unit may have closed the person's other dates: of that the viewer learns nothing.
    """
    for one, _people in closings.holding(look.connection, [seen.key], first, last):
        inside = list(filter(seen.is_seen, _dates(max(first, one.first), min(last, one.last))))
        if inside and one.entered <= utc(moment):
            row = seen.row(inside[-1])
            when = look.t.when(one.entered, look.zone(None if row is None else row.unit))
            yield look.t("person_closed", first=look.t.day(one.first), last=look.t.day(one.last), moment=when)


def known_at(look: Look, unit: str | None) -> datetime | None:
    """Return the moment that the address names, in the zone of a unit; None: now. Raises :class:`Wrong`."""
    text = look.query.get("known", "")
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            zone = look.zone(unit)
            found = found.astimezone() if zone is None else found.replace(tzinfo=zone)
        utc(found)
    except (ValueError, OverflowError, OSError):
        raise Wrong("moment_form") from None
    return found


def _touches(row: Person, first: date, last: date) -> bool:
    return row.since <= last and (row.until is None or row.until >= first)


def _is_seen(seen: SeenPerson, row: Person, first: date, last: date) -> bool:
    begin, end = max(row.since, first), last if row.until is None else min(row.until, last)
    return any(seen.row(on) is row for on in _dates(begin, end))


def _last_seen(seen: SeenPerson) -> Person:
    """Return the last row of which the viewer sees a date; the page was refused if there were none."""
    for row in reversed(seen.rows):
        for on in (row.since, row.until):
            if on is not None and seen.row(on) is row:
                return row
    return seen.rows[-1]


def _dates(first: date, last: date) -> Iterator[date]:
    return (date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1))


def places_of(look: Look, rows: Sequence[Person], on: date | None = None) -> list[tuple[str | None, str, str]]:
    """Return of each row the unit, where its pages are the viewer's, its name on a date, and the kind of employment."""
    found = []
    for row in rows:
        unit = None if row.unit is None else look.tree.on(on or row.since).get(row.unit)
        name = row.unit or "-" if unit is None else unit.name
        words = VALUES.get(row.employment)
        seen = unit is not None and unit.key in look.scope.units(on or row.since)
        found.append(
            (row.unit if seen else None, name, row.employment.upper() if words is None else look.t.into(words))
        )
    return found


def _entries(look: Look, key: str, first: date, last: date, known: datetime | None) -> dict[date, Entry]:
    if known is None:
        kept = verdicts_of(look.connection).entries(look.connection, [key], first, last)
        return {on: entry for (_, on), (_, entry) in kept.items()}
    then = results.current(look.connection, [key], first, last, utc(known))
    return {one.date: entry_of(json.loads(one.content)) for one in then}


def _without(look: Look, key: str, dates: Sequence[date], known: datetime | None) -> dict[date, Standing]:
    """Return the standing of dates without a verdict, with why there is none, where that is known."""
    if not dates:
        return {}
    days = Facts(look.connection, look.policies, [key], dates[0], dates[-1], known).days(key)
    return {on: not_judged(found if isinstance(found := days.on(on), str) else None) for on in dates}


def _minutes(view: Month, name: str) -> int | None:
    return {"late": view.numbers.late_min, "early": view.numbers.early_min}.get(name)


def _lines(look: Look, view: Month, entries: Mapping[date, Entry]) -> Iterator[DayLine]:
    for day in view.days:
        if day.standing is None:
            continue
        entry = entries.get(day.on)
        words = ("", "") if entry is None else entry.words[look.language]
        yield DayLine(day.on, day.codes, *line_of(day.standing, day.standing.marks, words, day.on, look.t))


def _totals(look: Look, seen: SeenPerson, first: date, known: datetime | None) -> Mapping[str, Any] | None:
    """Return what the period that holds the middle of the month comes to; None where there is no policy.

    Of a month of which the viewer sees no date, it is the same whether the person is employed elsewhere or nowhere.
    """
    if not any(map(seen.is_seen, _dates(first, last_of(first)))):
        return {"cut": None, "unseen": True}
    middle = first.replace(day=15)
    facts = Facts(look.connection, look.policies, [seen.key], middle - AROUND, middle + AROUND, known)
    if not is_whole(seen.rows, seen.is_seen, first, last_of(first)):
        return {"cut": None, "unseen": False}
    on = rules_date(facts, seen.key, middle)
    rules = facts.office.rules(facts.own(seen.key), on)
    if rules is None:
        return None
    begin, end = period_of(on, rules.begins_on)
    if not is_whole(seen.rows, seen.is_seen, begin, end):
        return {"cut": None, "unseen": False}
    moment = None if known is None else utc(known)
    days = outcomes.current(look.connection, [seen.key], begin, end, moment)
    judged = [one for one in days if one.counts is not None]
    found = next(iter(periods_of(facts, judged, on, on)), None) if judged else None
    return None if found is None else totals_words(found, look.t)


def rules_date(facts: Facts, person: str, middle: date) -> date:
    """Return the middle of a month, or its first date on which the person is employed where that is none."""
    own = facts.own(person)
    first = middle.replace(day=1)
    dates = (middle, *_dates(first, last_of(first)))
    return next((on for on in dates if own.unit_on(on)[0]), middle)


def is_whole(rows: Sequence[Person], is_seen: Callable[[date], bool], first: date, last: date) -> bool:
    """Return whether the viewer sees a person on all dates of a period on which the person is employed."""
    return all(is_seen(on) for on in _dates(first, last) if any(_touches(row, on, on) for row in rows))


def totals_words(found: PersonPeriod, t: Messages) -> Mapping[str, Any]:
    """Return the totals of a period for a template, each cut with its article."""
    sums = found.totals
    words = list(_total_reasons(sums.reasons, t))
    return {
        "first": t.day(sums.first),
        "last": t.day(sums.last),
        "policy": found.policy,
        "cut": print_cut(sums.cut, sums.cut_rp, t.language),
        "open": sums.open_days + sums.provisional_days,
        "presence": None if sums.presence is None else t.decimal(f"{sums.presence / 1000:g}"),
        "excused": [(meaning_of(kind, t.language), t.decimal(f"{share / 1000:g}")) for kind, share in sums.excused],
        "reasons": words,
    }


def _total_reasons(reasons: Sequence[Reason], t: Messages) -> Iterator[str]:
    for reason in reasons:
        ref = reason["policy"]
        source = "" if ref is None else print_source(ref["decree"], ref.get("article"), t.language)
        policy = "-" if ref is None else f"{rule_words(ref['node'], t.language)} ({source})"
        values = {
            "policy": policy,
            "date": reason.get("date", ""),
            "days": reason.get("days", ""),
            "cut": print_cut(reason.get("cut", 0), reason.get("cut_rp", 0), t.language),
        }
        yield t(f"total_{reason['what']}", **values)


PAGES = [Page("/person/{person:path}", "person", TEXTS["person_page"], page_of_month)]
