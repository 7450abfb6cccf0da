"""Sheets of evidence: a person's history, the discipline of a year, outages and what they keep open. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from central.reports.doubts import Doubted
from central.reports.messages import MESSAGES as REASONS
from central.sheets.messages import TITLES, head, message, print_day
from central.sheets.settings import Settings
from central.sheets.sheet import Cell, Column, Sheet, Signatory
from central.texts import Language
from central.timesheet.clock import print_time
from central.timesheet.discipline import Discipline
from central.timesheet.outcome import Standing
from central.timesheet.render import percent
from central.web.views.codes import codes_of


@dataclass(frozen=True, slots=True)
class Year:
    """A person's calendar year up to a date."""

    person: str
    name: str
    nip: str | None
    unit: str | None
    absent_on: Sequence[date]
    found: Discipline


def history(
    name: str,
    person: str,
    days: Mapping[date, Standing],
    first: date,
    last: date,
    settings: Settings,
    language: Language,
    today: date,
) -> Sheet:
    """Return a person's dates one below the other: code, punches, minutes, class, cut and what a verdict waits for."""
    names = ("date", "day_codes", "in", "out", "late_min", "early_min", "class", "cut", "cut_rp", "doubts")
    columns = [Column(one, head(one, language), 40 if one == "doubts" else 10) for one in names]
    rows: list[list[Cell]] = []
    for on in sorted(days):
        one = days[on]
        doubts = dict.fromkeys(_doubt(doubt.what, language) for doubt in one.doubts)
        rows.append(
            [
                on.isoformat(),
                " ".join(codes_of(one)),
                None if one.arrived is None else print_time(one.arrived),
                None if one.left is None else print_time(one.left),
                one.late_min,
                one.early_min,
                " ".join(one.classes),
                Decimal(percent(one.cut)),
                one.cut_rp,
                ", ".join(doubts),
            ]
        )
    heading = [f"{name} ({person})", _span(first, last, language)]
    return _sheet("history", heading, columns, rows, [message("evidence", language)], settings, language, today)


def discipline_sheet(
    unit: str, years: Sequence[Year], until: date, settings: Settings, language: Language, today: date
) -> Sheet:
    """Return the file on discipline: dates, sums and level of those whom the policy's ladder names, by name.

    Who must act and by when is in no source that the shipped policies name; the columns are for the office to fill in.
    """
    named = [one for one in years if one.found.level is not None]
    names = (
        *("number", "name", "nip", "person", "days", "absent_days", "absent_dates", "minutes", "rest_min"),
        *("longest_run", "level", "decree", "must_act", "act_within"),
    )
    columns = [Column(one, head(one, language), _WIDTHS.get(one, 10)) for one in names]
    rows: list[list[Cell]] = []
    for number, one in enumerate(sorted(named, key=lambda year: (year.name.casefold(), year.person)), 1):
        found = one.found
        rows.append(
            [
                number,
                one.name,
                one.nip,
                one.person,
                found.days,
                found.absent_days,
                ", ".join(on.isoformat() for on in one.absent_on),
                found.minutes,
                found.rest_min,
                found.longest_run,
                found.level,
                _source(found.reasons[-1]) if found.reasons else None,
                None,
                None,
            ]
        )
    heading = [unit, _span(date(until.year, 1, 1), until, language)]
    notes = [message("evidence", language), message("no_source", language)]
    return _sheet("discipline", heading, columns, rows, notes, settings, language, today)


def outages(
    unit: str, found: Sequence[Doubted], first: date, last: date, settings: Settings, language: Language, today: date
) -> Sheet:
    """Return what keeps how many verdicts from being final: outages, gaps, logs that are not read, unknown PINs."""
    names = ("what", "terminal", "from", "until", "verdicts", "people")
    columns = [Column(one, head(one, language), 30 if one == "what" else 14) for one in names]
    rows: list[list[Cell]] = [
        [
            _doubt(one.what, language) + (f" ({one.detail})" if one.detail else ""),
            one.terminal,
            one.first.isoformat(),
            one.last.isoformat(),
            one.verdicts,
            one.people,
        ]
        for one in found
    ]
    heading = [unit, _span(first, last, language)]
    return _sheet("outages", heading, columns, rows, [message("not_final", language)], settings, language, today)


_WIDTHS: Mapping[str, int] = {"number": 5, "name": 28, "nip": 20, "person": 14, "absent_dates": 40, "level": 30}


def _doubt(what: str, language: Language) -> str:
    return REASONS["suspect_punch" if what == "suspect" else what].into(language)


def _source(reason: Mapping[str, Any]) -> str | None:
    rule = reason.get("policy")
    if not isinstance(rule, Mapping):
        return None
    parts = [str(rule[part]) for part in ("decree", "article") if rule.get(part)]
    return ", ".join(parts) or None


def _span(first: date, last: date, language: Language) -> str:
    return message("span", language, first=print_day(first, language), last=print_day(last, language))


def _sheet(
    name: str,
    heading: Sequence[str],
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    notes: Sequence[str],
    settings: Settings,
    language: Language,
    today: date,
) -> Sheet:
    place = f"{settings.place}, {print_day(today, language)}" if settings.place else print_day(today, language)
    signed = [Signatory(one.title, one.name, one.nip) for one in settings.signatories]
    return Sheet(name, TITLES[name].into(language), heading, columns, rows, (), notes, place, signed)
