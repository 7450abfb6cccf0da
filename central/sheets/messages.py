"""Texts of sheets by their codes."""

from collections.abc import Mapping
from datetime import date, datetime

from central.texts import Language, Text, _, in_context

TITLES: Mapping[str, Text] = {
    "recap": _("Attendance recap"),
    "annex": _("Annex to the payment: cuts in percent"),
    "full": _("Full attendance"),
    "discipline": _("Unexcused absence and lateness in the calendar year"),
    "history": _("Personal attendance history"),
    "outages": _("Outages and days that are not final"),
}
HEADS: Mapping[str, Text] = {
    "number": in_context("head", "No."),
    "person": in_context("head", "Key"),
    "name": in_context("head", "Name"),
    "nip": in_context("head", "NIP"),
    "unit": in_context("head", "Unit"),
    "date": in_context("head", "Date"),
    "day_codes": in_context("head", "Code"),
    "planned_days": in_context("head", "Working days"),
    "present_days": in_context("head", "H"),
    "late_min": in_context("head", "Min. late"),
    "early_min": in_context("head", "Min. early"),
    "missing": in_context("head", "Missing punches"),
    "absent_days": in_context("head", "TK"),
    "not_final": in_context("head", "Not final"),
    "cut": in_context("head", "Cut %"),
    "cut_rp": in_context("head", "Cut Rp"),
    "carried": in_context("head", "Cut of last month %"),
    "carried_rp": in_context("head", "Cut of last month Rp"),
    "cut_sum": in_context("head", "Sum %"),
    "cut_sum_rp": in_context("head", "Sum Rp"),
    "presence": in_context("head", "Presence %"),
    "in": in_context("head", "In"),
    "out": in_context("head", "Out"),
    "class": in_context("head", "Class"),
    "doubts": in_context("head", "Waits for"),
    "days": in_context("head", "Days"),
    "absent_dates": in_context("head", "Absent on"),
    "minutes": in_context("head", "Minutes late and early"),
    "rest_min": in_context("head", "Minutes left over"),
    "longest_run": in_context("head", "Longest run of absences"),
    "level": in_context("head", "Level"),
    "decree": in_context("head", "Decree"),
    "must_act": in_context("head", "Who must act"),
    "act_within": in_context("head", "Within"),
    "what": in_context("head", "What"),
    "terminal": in_context("head", "Terminal"),
    "verdicts": in_context("head", "Verdicts not final"),
    "people": in_context("head", "People"),
    "from": in_context("head", "From"),
    "until": in_context("head", "Until"),
}
MESSAGES: Mapping[str, Text] = {
    "of_unit": _("{unit}, {first} to {last}"),
    "span": _("{first} to {last}"),
    "closed": _("Closed on {on} by {by} ({paper}); it does not change any more."),
    "not_closed": _("Not closed yet: what becomes known later may change it."),
    "sum": _("Sum"),
    "legend": _("{short} = {meaning}"),
    "h_counts": _("The column H counts every day with a punch, also those that are TL or PSW."),
    "grid_counts": _("The other columns count the days that have the code; a day may have several."),
    "not_final": _("What stands behind ? may still change; it cuts nothing."),
    "carried": _("The cut of last month is what later knowledge changed in closed periods; a minus gives back."),
    "carried_waits": _("It waits: the closing of this period carries it, and until then it may still change."),
    "elsewhere": _(
        "{people} people were closed with {unit} (closing {number} of {on}, {paper}): their lines are as they were "
        "closed."
    ),
    "elsewhere_annex": _(
        "{people} people were closed with {unit} (closing {number} of {on}, {paper}): they are in the annex of that "
        "closing, not in this one."
    ),
    "full_note": _(
        "Every day of duty complete and on time or excused, all of it final. In the order of names, without a ranking."
    ),
    "full_none": _("Nobody is listed here; people with open or provisional days are not decided yet."),
    "no_source": _("Who must act and by when stands in no source that the policy names; the office decides it."),
    "evidence": _(
        "Only final verdicts count. Each date leads to its punches and articles by `hadir-central why PERSON DATE`."
    ),
    "no_unit": _("There is no unit {unit}; `hadir-central show units` lists them."),
    "no_verdicts": _("Unit {unit} has no verdict in the period that holds {date}: there is nothing to print."),
    "no_person_verdicts": _("{person} has no verdict from {first} to {last}: there is nothing to print."),
    "exists": _("{file}: exists already and is not replaced; name another file."),
    "no_folder": _("{file}: cannot be written ({why})."),
    "no_column": _("{file}: csv.{sheet}: the sheet has no column {value}; it has: {columns}."),
    "written": _("{file}: {rows} rows, SHA-256 {sha256}"),
    "needs_extra": _(
        "XLSX needs the libraries of the extra `centre`, which are not installed; install them, or write CSV or HTML."
    ),
}
MONTHS: Mapping[int, Text] = {
    1: in_context("month", "January"),
    2: in_context("month", "February"),
    3: in_context("month", "March"),
    4: in_context("month", "April"),
    5: in_context("month", "May"),
    6: in_context("month", "June"),
    7: in_context("month", "July"),
    8: in_context("month", "August"),
    9: in_context("month", "September"),
    10: in_context("month", "October"),
    11: in_context("month", "November"),
    12: in_context("month", "December"),
}


def message(code: str, language: Language, **values: object) -> str:
    """Return a text in a language."""
    return MESSAGES[code].into(language, **values)


def head(name: str, language: Language) -> str:
    """Return the head of a column."""
    return HEADS[name].into(language)


def print_day(on: date, language: Language) -> str:
    """Return a date as letters have it: 1 September 2026."""
    return f"{on.day} {MONTHS[on.month].into(language)} {on.year}"


def print_when(moment: str, language: Language) -> str:
    """Return a moment that :func:`central.moments.print_moment` wrote as letters have it: 1 September 2026, 08:00 WIB.

    What is no such moment stays what it is.
    """
    try:
        at = datetime.fromisoformat(moment[:19])
    except ValueError:
        return moment
    return f"{print_day(at.date(), language)}, {at:%H:%M} {moment[20:]}".rstrip()
