"""What the registers state about a person, a unit, a terminal or another subject on a date."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from zoneinfo import ZoneInfo

from central import words
from central.registers.cells import clean
from central.registers.kinds import ALL
from central.registers.statements import REFERENCES
from central.store.registers import Registers, Stated

MAX_UNITS = 100
"""Units above a unit that are followed."""
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
"""Parts of a name that stand in JSON as they are, and of which every database knows small letters and capitals."""
_OF_PERSON = ("people", "enrolments", "rosters", "leave", "orders", "corrections", "decisions", "presence")
_OF_KEY = {what: kind for kind, what in REFERENCES.values()}
SUBJECTS = (*_OF_KEY, "policy", "terminal", "site", "scope")
"""What a subject can be; the part of its key before the colon."""


class UnknownSubjectError(LookupError):
    """A word that names nothing in the registers, or several people; ``code`` and ``values`` are those of a summary."""

    def __init__(self, code: str, values: Mapping[str, str]) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


def find_subjects(registers: Registers, word: str) -> list[str]:
    """Return the subjects that a word names: ``unit:KEY`` and the like, a key of whatever, or the name of one person.

    Raises :class:`UnknownSubjectError`.
    """
    what, colon, key = word.partition(":")
    named = bool(colon) and what in SUBJECTS
    found = list(_with_key(registers, (what,), key)) if named else []
    found = found or list(_with_key(registers, SUBJECTS, word))
    if found:
        return found
    try:
        return [find_person(registers, word)]
    except UnknownSubjectError as error:
        if error.code != "no_person":
            raise
    if named:
        raise UnknownSubjectError("no_such_key", {"what": words.word_of(words.SUBJECTS, what), "key": key})
    raise UnknownSubjectError("not_found", {"seen": word})


def find_person(registers: Registers, word: str) -> str:
    """Return the subject of a person, by key or by a name that only one has; raises :class:`UnknownSubjectError`."""
    subject = f"person:{word}"
    if registers.known("people", [subject]):
        return subject
    name = clean(word)
    rows = registers.containing("people", max(_PLAIN.findall(name), key=len, default="")) if name else []
    keys = sorted({row.record.key for row in rows if row.record.name.casefold() == name.casefold()})
    if len(keys) == 1:
        return f"person:{keys[0]}"
    if keys:
        raise UnknownSubjectError("several_people", {"seen": word, "keys": ", ".join(keys[:20])})
    raise UnknownSubjectError("no_person", {"seen": word})


def rows_about(registers: Registers, subject: str, on: date) -> list[Stated]:
    """Return what is valid for a subject on a date, its own rows first, then those of the units above it."""
    what, _, key = subject.partition(":")
    found: list[Stated] = []

    def add(kind: str, keys: Iterable[str], *, other: bool = False) -> list[Stated]:
        rows = registers.rows(kind, keys, on, on, by="other" if other else "subject")
        found.extend(rows)
        return rows

    match what:
        case "person":
            for kind in _OF_PERSON:
                add(kind, [subject])
            add("assignments", [subject])
            units = {row.record.unit for row in found if row.statement.kind == "people"} - {None}
            found += _of_units(registers, units, on)
        case "unit":
            found += _of_units(registers, {key}, on)
            add("units", [subject], other=True)
            add("people", [subject], other=True)
        case "timetable":
            add("timetables", [subject])
            schedules = registers.rows("schedules", None, on, on)
            found += [row for row in schedules if any(record.timetable == key for record in row.records)]
            add("rosters", [subject], other=True)
        case "schedule":
            add("schedules", [subject])
            add("assignments", [subject], other=True)
        case "policy":
            add("assignments", [subject], other=True)
        case "scope":
            add("calendar", [subject])
        case _:
            found += [row for row in registers.at_place("enrolments", subject) if _is_valid(row, on)]
            add("decisions", [subject])
            found += [row for row in registers.at_place("decisions", subject) if _is_valid(row, on)]
            add("decisions", [subject], other=True)
    return found


def other_dates(registers: Registers, subject: str) -> list[tuple[date, date | None]]:
    """Return when a person, a unit, a timetable or a schedule is valid; empty for other subjects."""
    kind = _OF_KEY.get(subject.partition(":")[0])
    return [] if kind is None else [(row.since, row.until) for row in registers.rows(kind, [subject])]


def zone_of(units: Iterable[Stated]) -> ZoneInfo | None:
    """Return the zone of an office by the rows of its units; None where they have none, or several."""
    zones = {row.record.zone for row in units if row.record.zone is not None}
    return ZoneInfo(zones.pop()) if len(zones) == 1 else None


def _with_key(registers: Registers, what: Iterable[str], key: str) -> Iterator[str]:
    for one in what:
        subject = f"{one}:{key}"
        match one:
            case "policy":
                found = bool(registers.rows("assignments", [subject], by="other"))
            case "scope":
                found = bool(registers.rows("calendar", [subject])) and not registers.known("units", [f"unit:{key}"])
            case "terminal" | "site":
                found = any(registers.at_place(kind, subject) for kind in ("enrolments", "decisions")) or bool(
                    registers.rows("decisions", [subject])
                )
            case _:
                found = bool(registers.known(_OF_KEY[one], [subject]))
        if found:
            yield subject


def _of_units(registers: Registers, units: Iterable[str], on: date) -> list[Stated]:
    """Return the units and those above them, with their assignments, and the calendar of all."""
    found: list[Stated] = []
    seen: set[str] = set()
    waiting = sorted(units)
    while waiting and len(seen) < MAX_UNITS:
        unit = waiting.pop()
        seen.add(unit)
        rows = registers.rows("units", [f"unit:{unit}"], on, on)
        found += rows
        found += registers.rows("assignments", [f"unit:{unit}"], on, on)
        waiting += [
            row.record.parent for row in rows if row.record.parent is not None and row.record.parent not in seen
        ]
    return found + registers.rows("calendar", [f"scope:{scope}" for scope in (*sorted(seen), ALL)], on, on)


def _is_valid(row: Stated, on: date) -> bool:
    return row.since <= on and (row.until is None or on <= row.until)
