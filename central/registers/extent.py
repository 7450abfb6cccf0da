"""How many people and days marks concern, for a person who imports a file. Recomputing finds out by itself whom."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from central.registers.kinds import ALL
from central.store.registers import Registers
from central.timesheet.affected import Mark


class Extent(NamedTuple):
    """Numbers of people, and of their days until today."""

    people: int
    days: int


def extent_of(registers: Registers, marks: Iterable[Mark], today: date, *, employment: bool = False) -> Extent:
    """Return how many people have days in the marks while they are employed, and how many days until today.

    ``employment``: the marks come from a change of employment itself, and are counted as they are.
    """
    ranges: dict[str, list[tuple[date, date]]] = defaultdict(list)
    for mark in marks:
        if mark.first <= today:
            for person in _people(registers, mark):
                ranges[person].append((mark.first, min(mark.last, today)))
    if employment:
        counts = [_common(found, [(date.min, date.max)]) for found in ranges.values()]
        return Extent(len(counts), sum(counts))
    employed: dict[str, list[tuple[date, date]]] = defaultdict(list)
    for row in registers.rows("people", ranges, last=today):
        employed[row.statement.subject].append((row.since, row.until or today))
    counts = [_common(ranges[person], employed[person]) for person in ranges]
    return Extent(sum(count > 0 for count in counts), sum(counts))


def _people(registers: Registers, mark: Mark) -> set[str]:
    """Return the subjects of the people whom a mark concerns."""
    kind, _, key = mark.subject.partition(":")
    dates = mark.first, mark.last
    match kind:
        case "person":
            return {mark.subject}
        case "unit":
            return _of_units(registers, {mark.subject}, dates)
        case "scope":
            if key == ALL:
                return {row.statement.subject for row in registers.rows("people", None, *dates)}
            return _of_units(registers, {f"unit:{key}"}, dates)
        case "schedule" | "policy":
            return _of_assignments(registers, {mark.subject}, dates)
        case "timetable":
            rosters = registers.rows("rosters", [mark.subject], *dates, by="other")
            schedules = {
                row.statement.subject
                for row in registers.rows("schedules", None, *dates)
                if any(record.timetable == key for record in row.records)
            }
            return {row.statement.subject for row in rosters} | _of_assignments(registers, schedules, dates)
        case _:
            place, _, pin = mark.subject.partition(" ")
            return set() if pin else {row.statement.subject for row in registers.at_place("enrolments", place)}


def _of_assignments(registers: Registers, keys: set[str], dates: tuple[date, date]) -> set[str]:
    followers = {row.statement.subject for row in registers.rows("assignments", keys, *dates, by="other")}
    units = {subject for subject in followers if subject.startswith("unit:")}
    return (followers - units) | _of_units(registers, units, dates)


def _of_units(registers: Registers, units: set[str], dates: tuple[date, date]) -> set[str]:
    """Return the people of units and of those below them."""
    found, new = set[str](), set(units)
    while new:
        found |= new
        new = {row.statement.subject for row in registers.rows("units", new, *dates, by="other")} - found
    return {row.statement.subject for row in registers.rows("people", found, *dates, by="other")}


def _common(ranges: list[tuple[date, date]], others: list[tuple[date, date]]) -> int:
    """Return how many dates are both in one of the ranges and in one of the others; ends are included."""
    days = 0
    reached = date.min
    for first, last in sorted(ranges):
        since = max(first, reached)
        if last < since:
            continue
        for begin, end in others:  # those of one person do not overlap
            days += max(0, (min(last, end) - max(since, begin)).days + 1)
        reached = last + timedelta(days=1)
    return days
