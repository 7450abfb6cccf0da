"""Reads what sheets are built from: a unit's period as it stands, or as it was closed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection

from central.closing.adjust import NUMBERS
from central.moments import print_moment
from central.policy.office import OfficePolicies
from central.registers.lookup import zone_of
from central.results.export import total_row
from central.results.periods import PersonPeriod, people_periods
from central.sheets.evidence import Year
from central.sheets.lines import Closed, Line, UnitPeriod, ordered
from central.store import closings, results
from central.store.closings import Closing, StoredAdjustment
from central.store.engine import chunks
from central.store.registers import Registers
from central.store.results import Revision
from central.timesheet.assemble import rules_for
from central.timesheet.discipline import discipline
from central.timesheet.facts import Facts
from central.timesheet.stored import load_day
from central.web.views.standing import Standing, not_judged, standing_of

REACH = timedelta(days=31)
"""A period that has a date begins and ends at most so far from it."""
PEOPLE = 100
"""People whose year is read at once."""


class Counted(NamedTuple):
    """A person's period as sheets count it: small, so that those of ten thousand people fit into memory."""

    person: str
    total: Mapping[str, Any]
    """A row of totals."""
    days: Mapping[date, Standing]


def counted_of(one: PersonPeriod, equal: dict[Standing, Standing]) -> Counted:
    """Return what sheets count of a period; ``equal`` holds each standing once for all people of a sheet."""
    days = {day.date: _shared(standing_of(json.loads(revision.content)), equal) for revision, day in one.days}
    return Counted(one.person, total_row(one), days)


def _shared(found: Standing, equal: dict[Standing, Standing]) -> Standing:
    """Return a standing with what a grid shows of it, the same object for equal ones."""
    slim = Standing(found.status, found.marks, found.unsettled, found.kind, found.why, excused=found.excused)
    return equal.setdefault(slim, slim)


class NoSheetError(Exception):
    """There is nothing to print; ``code`` names the reason in :mod:`central.sheets.messages`."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


def unit_period(connection: Connection, policies: OfficePolicies, unit: str, on: date) -> UnitPeriod:
    """Return the period that holds a date: as it was closed with this unit or one above, or as it stands now.

    Raises NoSheetError where there is no such unit, or no verdict.
    """
    registers = Registers(connection)
    name = unit_name(registers, unit, on)
    for closing in sorted(closings.listing(connection), key=lambda one: one.unit != unit):
        if closing.first <= on <= closing.last:
            closed = closed_period(connection, closing, unit, zone_of(registers.rows("units")))
            if closed.lines:
                return closed
    units = registers.with_units_below(unit, on - REACH, on + REACH)
    judged = results.people_judged(connection, on - REACH, on + REACH, sorted(units))
    equal: dict[Standing, Standing] = {}
    periods = people_periods(connection, policies, judged, on, on)
    found = [counted_of(one, equal) for one in periods if one.unit in units]
    if not found:
        raise NoSheetError("no_verdicts", unit=unit, date=on.isoformat())
    return live_period(registers, unit, name, found)


def unit_name(registers: Registers, unit: str, on: date) -> str:
    """Return a unit's name on a date, or its last one; raises NoSheetError where there is no such unit."""
    rows = registers.rows("units", [f"unit:{unit}"], on, on) or registers.rows("units", [f"unit:{unit}"])
    if not rows:
        raise NoSheetError("no_unit", unit=unit)
    return str(rows[-1].record.name)


def live_period(
    registers: Registers,
    unit: str,
    name: str,
    found: Sequence[Counted],
    adjustments: Iterable[StoredAdjustment] = (),
    closed: Closed | None = None,
) -> UnitPeriod:
    """Return a period that was just read, with the adjustments that its closing carries."""
    people = names_of(registers, [one.person for one in found])
    carried = carried_of(adjustments)
    lines = []
    for one in found:
        own_name, nip = people.get(one.person, (one.person, None))
        percent, rupiah = carried.pop(one.person, (Decimal(0), 0))
        lines.append(Line(one.person, own_name, nip, one.days, one.total, percent, rupiah))
    lines += _only_carried(registers, carried)
    first, last = min(one.total["first"] for one in found), max(one.total["last"] for one in found)
    first, last = date.fromisoformat(first), date.fromisoformat(last)
    return UnitPeriod(unit, name, first, last, ordered(lines), closed)


def closed_period(connection: Connection, closing: Closing, unit: str, zone: tzinfo | None) -> UnitPeriod:
    """Return a unit's period as it was closed with it or a unit above: totals, revisions and names of then.

    It has no line where the closing was of other units.
    """
    then = Registers(connection, datetime.fromisoformat(closing.entered))
    totals = closings.totals_of(connection, closing.id)
    adjustments = closings.adjustments_of(connection, closing.id)
    if unit != closing.unit:
        above = then.with_units_below(closing.unit, closing.first, closing.last)
        below = then.with_units_below(unit, closing.first, closing.last) if unit in above else set()
        elsewhere = {one.person for one in totals if one.unit not in below}
        totals = [one for one in totals if one.unit in below]
        own = {one.person for one in totals}
        adjustments = [
            one for one in adjustments if one.person in own or (one.unit in below and one.person not in elsewhere)
        ]
    people = names_of(then, [one.person for one in totals])
    carried = carried_of(adjustments)
    wanted = [
        (one.person, date.fromisoformat(on), revision) for one in totals for on, revision in _counted(one.revisions)
    ]
    found: dict[str, dict[date, Standing]] = {}
    equal: dict[Standing, Standing] = {}
    for part in chunks(wanted):
        for (person, on, _), revision in results.exactly(connection, part).items():
            found.setdefault(person, {})[on] = _shared(standing_of(json.loads(revision.content)), equal)
    lines = []
    for one in totals:
        own_name, nip = people.get(one.person, (one.person, None))
        percent, rupiah = carried.pop(one.person, (Decimal(0), 0))
        days = found.get(one.person, {})
        lines.append(Line(one.person, own_name, nip, days, json.loads(one.content), percent, rupiah))
    lines += _only_carried(then, carried)
    closed = Closed(print_moment(closing.entered, zone), closing.closed_by, closing.paper)
    name = unit_name(then, unit, closing.first) if lines else unit
    return UnitPeriod(unit, name, closing.first, closing.last, ordered(lines), closed)


def _only_carried(registers: Registers, carried: Mapping[str, tuple[Decimal, int]]) -> list[Line]:
    """Return lines of people who have left: nothing of this period, and what earlier ones are adjusted by."""
    names = names_of(registers, carried)
    nothing: dict[str, Any] = {**dict.fromkeys(NUMBERS, 0), "cut": "0", "presence": None, "excused": {}}
    return [
        Line(person, *names.get(person, (person, None)), {}, nothing, percent, rupiah)
        for person, (percent, rupiah) in carried.items()
    ]


def names_of(registers: Registers, people: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Return the last name and NIP of people, by key."""
    found: dict[str, tuple[str, str | None]] = {}
    for part in chunks(sorted(people)):
        for row in registers.rows("people", [f"person:{key}" for key in part]):
            found[row.record.key] = (row.record.name, row.record.nip)
    return found


def carried_of(adjustments: Iterable[StoredAdjustment]) -> dict[str, tuple[Decimal, int]]:
    """Return what adjustments cut in addition, percent and rupiah, by person."""
    found: dict[str, tuple[Decimal, int]] = {}
    for one in adjustments:
        content = json.loads(one.content)
        percent, rupiah = found.get(one.person, (Decimal(0), 0))
        found[one.person] = percent + Decimal(content["cut"]), rupiah + content["cut_rp"]
    return found


def person_days(connection: Connection, person: str, first: date, last: date) -> dict[date, Standing]:
    """Return a person's dates as they stand now; raises NoSheetError where there is no verdict."""
    found = {one.date: _standing(one) for one in results.current(connection, [person], first, last)}
    if not found:
        raise NoSheetError("no_person_verdicts", person=person, first=first, last=last)
    return found


def years(connection: Connection, policies: OfficePolicies, unit: str, until: date) -> list[Year]:
    """Return the calendar year, up to a date, of the people whom that date's year has in a unit or below."""
    registers = Registers(connection)
    unit_name(registers, unit, until)
    begin = date(until.year, 1, 1)
    units = registers.with_units_below(unit, begin, until)
    found: list[Year] = []
    for part in chunks(results.people_judged(connection, begin, until, sorted(units)), PEOPLE):
        names = names_of(registers, part)
        facts = Facts(connection, policies, part, begin, until)
        judged: dict[str, list[Revision]] = {}
        for one in results.current(connection, part, begin, until):
            if one.status != "none":
                judged.setdefault(one.person, []).append(one)
        for key, revisions in judged.items():
            if revisions[-1].unit in units:
                found.append(_year(facts, key, names.get(key, (key, None)), revisions))
    return found


def _year(facts: Facts, person: str, name: tuple[str, str | None], revisions: Sequence[Revision]) -> Year:
    days = [load_day(one.content, one.inputs) for one in revisions]
    rules_on = rules_for(facts.office, facts.own(person), [one.date for one in revisions])
    absent = [day.work_date for day in days if day.absent]
    return Year(person, name[0], name[1], revisions[-1].unit, absent, discipline(days, rules_on))


def _standing(one: Revision) -> Standing:
    content: Mapping[str, Any] = json.loads(one.content)
    return not_judged(content.get("why")) if one.status == "none" else standing_of(content)


def _counted(revisions: str) -> Iterable[tuple[str, int]]:
    found: dict[str, int] = json.loads(revisions)
    return found.items()


def today_in(connection: Connection, now: datetime) -> date:
    """Return the office's date at a moment."""
    return now.astimezone(zone_of(Registers(connection).rows("units")) or UTC).date()


def people_in(connection: Connection, unit: str, first: date, last: date) -> list[str]:
    """Return the people who have verdicts in a unit, or below, on any of the dates."""
    units = Registers(connection).with_units_below(unit, first, last)
    return results.people_judged(connection, first, last, sorted(units))
