"""From marks to the dates of people that are to be judged: whom a mark of a shared subject concerns, and since when."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from central.registers.statements import pin_key
from central.store import marks, recorded, results
from central.store.marks import Marked
from central.store.registers import Registers
from central.timesheet.affected import Mark, Reading, place_of, read_key
from central.timesheet.assemble import Days, Planned
from central.timesheet.clock import midnight
from central.timesheet.facts import WIDE, padded

SPAN_DAYS = 366
"""Dates of one mark that a batch judges."""


@dataclass(slots=True)
class Wanted:
    """Dates of people to judge, each with its causes."""

    dates: dict[str, dict[date, list[str]]] = field(default_factory=dict)
    offsets: dict[tuple[str, date], set[int]] = field(default_factory=dict)
    """Of dates of punches: by how many seconds the terminals' clocks were before UTC."""
    future: set[tuple[str, date]] = field(default_factory=set)
    """Dates ahead on which people have to be looked at again."""
    settled: date | None = None
    """No date until this one is judged again: evidence of it, or its verdict, was deleted."""

    def add(self, person: str, on: date, cause: str) -> None:
        """Add a date of a person with a cause."""
        causes = self.dates.setdefault(person, {}).setdefault(on, [])
        if cause not in causes:
            causes.append(cause)

    def leave_out(self, settled: date | None) -> None:
        """Leave out the dates that are never judged again."""
        self.settled = settled
        self.dates = {person: left for person, dates in self.dates.items() if (left := self.unsettled(dates))}

    def unsettled(self, dates: Mapping[date, list[str]]) -> dict[date, list[str]]:
        """Return those dates that may be judged."""
        settled = self.settled
        return {on: causes for on, causes in dates.items() if settled is None or on > settled}

    def apart(self) -> list["Wanted"]:
        """Return parts in which the dates of each person lie near each other, so that nothing between is read."""
        parts: list[Wanted] = []
        for person, dates in self.dates.items():
            number, before = -1, date.min
            for on in sorted(dates):
                if number < 0 or (on - before).days > 2 * WIDE:
                    number += 1
                    if number == len(parts):
                        parts.append(Wanted(offsets=self.offsets, settled=self.settled))
                parts[number].dates.setdefault(person, {})[on] = dates[on]
                before = on
        return parts


def _expand(connection: Connection, mark: Marked) -> None:
    """Replace a mark of a subject that is no unit, place or PIN by marks of those whom it concerns."""
    kind, _, key = mark.subject.partition(":")
    registers = Registers(connection)
    if mark.subject == "scope:all":
        marks.spread_all(connection, mark)
    elif kind == "timetable":
        marks.spread(connection, mark, [mark.subject], "rosters")
        names = {
            f"schedule:{one.schedule}"
            for row in registers.rows("schedules", None, mark.first, mark.last)
            for one in row.records
            if one.timetable == key
        }
        marks.spread(connection, mark, sorted(names), "assignments")
    elif kind in ("schedule", "policy"):
        marks.spread(connection, mark, [mark.subject], "assignments")


def expand_all(connection: Connection, shared: Iterable[Marked]) -> None:
    """Replace marks of shared subjects by marks of those whom they concern.

    Those of PINs that a file of enrolments made are looked up together, and so are those of units and of places: those
    of a unit and of the one above it, or what the terminals of a site bring at once, concern the same people. Where one
    of a place is among them, the transaction must write alone: whom it concerns may have such a mark already, which
    counts for both only where no batch beside this one can have begun to judge by it; and which days wait for a
    terminal is known only once such a batch is committed.
    """
    alike: dict[Marked, list[tuple[str, str]]] = {}
    of_units: dict[Marked, set[str]] = {}
    of_places: dict[tuple[bool, date, date, str], list[Marked]] = {}
    for mark in shared:
        whole = place_of(mark.subject)
        place, _, pin = mark.subject.partition(" ")
        if whole is not None:
            of_places.setdefault((whole[0] == "awaited", mark.first, mark.last, mark.cause), []).append(mark)
        elif pin and place.startswith(("terminal:", "site:")):
            alike.setdefault(mark._replace(id=0, subject=""), []).append((place, pin))
        elif (unit := _unit_of(mark.subject)) is not None:
            of_units.setdefault(mark._replace(id=0, subject=""), set()).add(unit)
        else:
            _expand(connection, mark)
    for mark, units in of_units.items():
        _expand_units(connection, mark, units)
    for mark, pins in alike.items():
        _expand_pins(connection, mark, pins)
    if of_places:
        _expand_places(connection, of_places)


def _unit_of(subject: str) -> str | None:
    """Return the subject of the unit that a mark concerns with those below it; None where it concerns others."""
    kind, _, key = subject.partition(":")
    return f"unit:{key}" if kind == "unit" or (kind == "scope" and subject != "scope:all") else None


def _expand_units(connection: Connection, mark: Marked, new: set[str]) -> None:
    """Mark the people of units, and of those below them, once each; ``mark`` has their dates and their cause."""
    registers, units = Registers(connection), set[str]()
    while new:
        units |= new
        below = registers.rows("units", sorted(new), mark.first, mark.last, by="other")
        new = {row.statement.subject for row in below} - units
    marks.spread(connection, mark, sorted(units), "people")


def _expand_pins(connection: Connection, mark: Marked, places: Collection[tuple[str, str]]) -> None:
    """Let every punch of PINs, each at a place, be attributed again; ``mark`` has their dates and their cause."""
    sites = recorded.sites_of(connection)
    keys = {key for place, pin in places for key in _keys_of(place, pin, sites)}
    marks.spread(connection, mark, sorted(keys), "enrolments")
    wanted = set(places)
    found = [
        _mark_of_use(use)
        for use in recorded.uses(connection, sorted({pin for _, pin in places}), mark.first, mark.last)
        if wanted & {(f"terminal:{use.serial}", use.pin), (f"site:{use.site}", use.pin)}
    ]
    marks.mark(connection, found, json.loads(mark.cause), mark.entered)


def _mark_of_use(use: recorded.Use) -> Mark:
    """Return the mark of punches of a PIN on one date, of clocks whose offset is not looked up."""
    on = date.fromisoformat(use.date)
    return Mark(read_key(Reading(use.site, use.serial, use.pin, 0)), on, on)


def _keys_of(place: str, pin: str, sites: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a PIN at its place, and at the sites of the terminal, whose enrolment of the PIN the terminal's hides."""
    kind, _, key = place.partition(":")
    beside = sites.get(key, {}) if kind == "terminal" else {}
    return [f"{place} {pin}", *(pin_key(pin, None, site) for site in sorted(set(beside.values())))]


def _expand_places(
    connection: Connection, of_places: Mapping[tuple[bool, date, date, str], Collection[Marked]]
) -> None:
    """Mark people who are enrolled at places, once for all marks that are alike; or those of their days that wait.

    The people of a terminal are those who are enrolled there or at its sites, those of a site likewise.
    """
    sites = recorded.sites_of(connection)
    terminals: dict[str, list[str]] = {}
    for serial, there in sites.items():
        for site in set(there.values()):
            terminals.setdefault(site, []).append(f"terminal:{serial}")
    for (awaited, *_), alike in sorted(of_places.items()):  # days that wait last: dates of the others hold most
        places = set()
        for kind, name in filter(None, (place_of(mark.subject) for mark in alike)):
            if kind == "site":
                places |= {f"site:{name}", *terminals.get(name, ())}
            else:
                places |= {f"terminal:{name}", *(f"site:{site}" for site in sites.get(name, {}).values())}
        spread = marks.spread_awaited if awaited else marks.spread_places
        spread(connection, min(alike, key=lambda mark: mark.entered), places)


def dates_of(mark: Marked) -> Iterator[date]:
    """Yield the dates of a mark."""
    return (mark.first + timedelta(days=number) for number in range((mark.last - mark.first).days + 1))


def add_dates(connection: Connection, wanted: Wanted, ranged: Iterable[Marked], horizon: date) -> None:
    """Add the dates of marks of people: of ranges those on which they can be judged, or have a verdict.

    They can be judged where they are employed and any policy is assigned. Of a longer range than :data:`SPAN_DAYS` the
    last dates are added, and the others marked again.
    """
    ranges = []
    for mark in ranged:
        person = mark.subject.removeprefix("person:")
        if mark.first > horizon:
            wanted.future.add((person, mark.first))
        elif mark.first == mark.last:
            wanted.add(person, mark.first, mark.cause)
        else:
            ranges.append((person, mark))
    if not ranges:
        return
    policies = marks.first_policy(connection) or horizon
    begin = {person: horizon for person, _ in ranges}
    until: dict[str, date] = {}
    for person, mark in ranges:
        until[person] = max(mark.last, until.get(person, mark.last))
    for row in Registers(connection).rows("people", sorted({f"person:{person}" for person in begin})):
        begin[row.record.key] = min(begin[row.record.key], max(row.since, policies))
        if horizon < row.since <= until[row.record.key]:
            wanted.future.add((row.record.key, row.since))
    for person, on in results.first_dates(connection, begin).items():
        begin[person] = min(begin[person], on)
    for person, mark in ranges:
        first, last = max(mark.first, begin[person]), min(mark.last, horizon)
        if (last - first).days >= SPAN_DAYS:
            rest = Mark(mark.subject, first, last - timedelta(days=SPAN_DAYS))
            marks.mark(connection, [rest], json.loads(mark.cause), mark.entered)
            first = rest.last + timedelta(days=1)
        for number in range((last - first).days + 1):
            wanted.add(person, first + timedelta(days=number), mark.cause)


def alike(dates: Mapping[str, Mapping[date, Any]]) -> Iterator[list[str]]:
    """Yield people in groups whose dates lie near each other, so that little is read in vain."""
    group: list[str] = []
    first = last = date.min
    for person in sorted(dates, key=lambda one: (min(dates[one]), max(dates[one]), one)):
        begin, end = min(dates[person]), max(dates[person])
        length = (end - begin).days
        if group and ((begin - first).days > length + 3 or abs((end - last).days) > length + 3):
            yield group
            group = []
        if not group:
            first, last = begin, end
        last = max(last, end)
        group.append(person)
    if group:
        yield group


def touched(days: Days, person: str, wanted: Wanted) -> dict[date, list[str]]:
    """Return the dates whose verdicts may change, each with its causes."""
    found: dict[date, list[str]] = {}
    for on, causes in wanted.dates[person].items():
        near = {on}
        offsets = wanted.offsets.get((person, on))
        if offsets is not None and not offsets <= {_offset_on(days.on(on))}:
            near |= set(padded(on, on, 1))  # read by the plan's zone, a punch may lie on a neighbour
        for one in near:
            for other in days.touched(one):
                into = found.setdefault(other, [])
                into += [cause for cause in causes if cause not in into]
    return found


def _offset_on(planned: Planned | str) -> int | None:
    """Return by how many seconds the plan's clock is before UTC on its date."""
    if not isinstance(planned, Planned):
        return None
    return midnight(planned.days[0].date) - planned.own_date[0]
