"""The verdicts on one date of a unit's people, as a table for people. Pure.

People stand by unit and name, never by minutes; who was complete and on time is named like everybody else.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from central.reports.messages import message
from central.texts import Language
from central.timesheet.clock import date_of, print_time
from central.words import VALUES, meaning_of, print_cut

COUNTED = ("complete", "late", "early", "missing", "absent", "excused", "no_duty", "open", "provisional", "none")
"""What a person's date can be, in the order of the summary; late, early and missing count final slots only."""
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Judged(NamedTuple):
    """A person's date as it is stored."""

    person: str
    name: str
    unit: str | None
    content: Mapping[str, Any] | None
    """The verdict; None where there is none."""
    why: str | None
    """Why there is none; None where it is still to be judged."""


class Line(NamedTuple):
    """A row of the table."""

    person: str
    punches: str
    verdict: str
    status: str


def states(one: Judged) -> set[str]:
    """Return which of :data:`COUNTED` a person's date is."""
    if one.content is None:
        return {"none"}
    day = one.content
    demanded = [slot for slot in day["slots"] if slot["demanded"]]
    settled = [slot for slot in demanded if slot["status"] == "final"]
    found = {day["status"]} - {"final"}
    if day["absent"]:
        return found | {"absent"}
    if not demanded:
        return found | ({"excused"} if day["excused"] else {"no_duty"})
    found |= {slot["measure"] for slot in settled if slot["minutes"] and slot["measure"] in ("late", "early")}
    found |= {"missing" for slot in settled if slot["missing"]}
    found |= {"excused" for slot in demanded if slot["excused"] is not None}
    return found or {"complete"}


def table(days: Sequence[Judged], language: Language) -> list[Line]:
    """Return the rows, by unit and name."""
    ordered = sorted(days, key=lambda one: (one.unit or "", one.name.casefold(), one.person))
    return [Line(f"{one.name} ({one.person})", *_cells(one, language)) for one in ordered]


def heads(language: Language) -> Line:
    """Return the heads of the table's columns."""
    return Line(*(message(f"days_{name}", language) for name in Line._fields))


def title(unit: str, on: date, language: Language) -> str:
    """Return what the table shows: unit, day of the week, date."""
    weekday = VALUES[_WEEK[on.weekday()]].into(language).capitalize()
    return message("days_title", language, unit=unit, weekday=weekday, date=on.isoformat())


def counts(days: Sequence[Judged], language: Language) -> str:
    """Return how many people were complete, late and so on; counts of zero are left out."""
    found = Counter(state for one in days for state in states(one))
    parts = [message(f"count_{state}", language, count=found[state]) for state in COUNTED if found[state]]
    return message("days_counts", language, people=len(days), counts=" · ".join(parts))


def _cells(one: Judged, language: Language) -> tuple[str, str, str]:
    """Return punches, verdict and status."""
    if one.content is None:
        return "", message("days_waiting" if one.why is None else one.why, language), ""
    day = one.content
    punches = " · ".join(
        _punch(slot, day["date"], language) for slot in day["slots"] if slot["demanded"] or slot["punch"]
    )
    return punches, "; ".join(verdict_of(day, language)), status_of(day, language)


def _punch(slot: Mapping[str, Any], on: str, language: Language) -> str:
    name = meaning_of(slot["kind"], language) if slot["kind"] == slot["name"] else slot["name"]
    if slot["punch"] is None:
        return f"{name} -"
    local = slot["punch"]["local"]
    other = date_of(local).isoformat()
    return f"{name} {print_time(local)[:5]}{'' if other == on else f' ({other[5:]})'}"


def verdict_of(
    day: Mapping[str, Any], language: Language, named: Callable[[str, Language], str] = meaning_of
) -> Iterator[str]:
    """Yield what a verdict, as JSON, comes to; ``named`` returns the words for a kind of leave."""
    found = states(Judged("", "", None, day, None))
    if "absent" in found:
        yield message("days_absent", language, **_named(day, language))
    elif "no_duty" in found:
        yield message("days_no_duty" if day["kind"] == "workday" else f"days_{day['kind']}", language)
    elif "complete" in found:
        yield message("days_complete", language)
    if day["excused"]:
        kinds = (named(kind, language) for kind, _ in day["excused"])
        yield message("days_leave", language, leave=", ".join(kinds))
    demanded = [slot for slot in day["slots"] if slot["demanded"]]
    if demanded and all(slot["missing"] and slot["status"] == "provisional" for slot in demanded):
        yield message("days_no_punch", language, **_named(demanded[0], language))
        demanded = []
    for slot in demanded if "absent" not in found else ():
        yield from _exception(slot, language, named)
    if day["cut"] or day["cut_rp"]:
        yield message("days_cut", language, cut=print_cut(day["cut"], day["cut_rp"], language))


def _exception(slot: Mapping[str, Any], language: Language, named: Callable[[str, Language], str]) -> Iterator[str]:
    if slot["excused"] is not None:
        yield message("days_leave", language, leave=named(slot["excused"], language))
    elif slot["missing"]:
        yield message("days_missing", language, slot=meaning_of(slot["kind"], language), **_named(slot, language))
    elif slot["minutes"] and slot["measure"] in ("late", "early"):
        yield message(f"days_{slot['measure']}", language, minutes=slot["minutes"], **_named(slot, language))


def _named(judged: Mapping[str, Any], language: Language) -> dict[str, str]:
    """Return the class of what is final; what is not says so instead."""
    name = judged["class_"] if judged["status"] == "final" else message(f"days_not_{judged['status']}", language)
    return {"name": f" ({name})" if name else ""}


def status_of(day: Mapping[str, Any], language: Language) -> str:
    """Return the status, and why a verdict is provisional."""
    if day["status"] != "provisional":
        return message(f"days_{day['status']}", language)
    found = dict.fromkeys(_doubt(reason, language) for reason in day["reasons"] if reason["step"] == "doubt")
    return message("days_provisional", language, why="; ".join(found) or "-")


def _doubt(reason: Mapping[str, Any], language: Language) -> str:
    what = message("suspect_punch" if reason["what"] == "suspect" else reason["what"], language)
    return what + (message("at_terminal", language, terminal=reason["terminal"]) if reason.get("terminal") else "")
