"""Reads what sheets are built from: a closed period, and the parts of one that stands as it is now."""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection

from central.closing.adjust import NUMBERS
from central.json_text import load_json
from central.moments import print_moment
from central.policy.office import OfficePolicies
from central.registers.lookup import zone_of
from central.results.export import total_row
from central.results.periods import PersonPeriod
from central.sheets.evidence import Year
from central.sheets.lines import Closed, Elsewhere, Line, UnitPeriod, ordered
from central.store import closings, outcomes, results
from central.store.closings import ClosedTotal, Closing, StoredAdjustment
from central.store.engine import chunks
from central.store.outcomes import Day
from central.store.registers import Registers
from central.timesheet.assemble import rules_for
from central.timesheet.discipline import discipline
from central.timesheet.facts import Facts
from central.timesheet.outcome import Standing

PEOPLE = 100
"""People whose year is read at once."""


class Counted(NamedTuple):
    """A person's period as sheets count it: small, so that those of ten thousand people fit into memory."""

    person: str
    total: Mapping[str, Any]
    """A row of totals."""
    days: Mapping[date, Standing]


def counted_of(one: PersonPeriod) -> Counted:
    """Return what sheets count of a period."""
    return Counted(one.person, total_row(one), {day.date: day.standing for day in one.days})


class NoSheetError(Exception):
    """There is nothing to print; ``code`` names the reason in :mod:`central.sheets.messages`."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


def unit_name(registers: Registers, unit: str, on: date) -> str:
    """Return a unit's name on a date, or its last one; raises NoSheetError where there is no such unit."""
    rows = registers.rows("units", [f"unit:{unit}"], on, on) or registers.rows("units", [f"unit:{unit}"])
    if not rows:
        raise NoSheetError("no_unit", unit=unit)
    return str(rows[-1].record.name)


def live_period(
    registers: Registers,
    unit: tuple[str, str],
    extent: tuple[date, date],
    found: Sequence[Counted],
    adjustments: Iterable[StoredAdjustment] = (),
    closed: Closed | None = None,
    others: Sequence[tuple[Elsewhere, Sequence[Line]]] = (),
) -> UnitPeriod:
    """Return the period of a unit (key, name) that was just read, with the adjustments that its closing carries.

    ``others``: closings of other units with the lines of the people whom they closed.
    """
    people = names_of(registers, [one.person for one in found])
    carried = carried_of(adjustments)
    lines = []
    for one in found:
        own_name, nip = people.get(one.person, (one.person, None))
        percent, rupiah = carried.pop(one.person, (Decimal(0), 0))
        lines.append(Line(one.person, own_name, nip, one.days, one.total, percent, rupiah))
    lines += _only_carried(registers, carried)
    lines += [line for _, those in others for line in those]
    return UnitPeriod(*unit, *extent, ordered(lines), closed, [one for one, _ in others])


def closed_period(connection: Connection, closing: Closing, unit: str, on: date) -> UnitPeriod:
    """Return a unit's period as it was closed with it or a unit above: totals, revisions and names of then.

    With it are the people whose period that has the date was closed with other units. It has no line where the closing
    was of other units.
    """
    then = Registers(connection, datetime.fromisoformat(closing.entered))
    totals = closings.totals_of(connection, closing.id)
    adjustments = closings.adjustments_of(connection, closing.id)
    below = then.with_units_below(unit, closing.first, closing.last)
    if unit != closing.unit:
        above = then.with_units_below(closing.unit, closing.first, closing.last)
        below = below if unit in above else set()
        elsewhere = {one.person for one in totals if one.unit not in below}
        totals = [one for one in totals if one.unit in below]
        own = {one.person for one in totals}
        adjustments = [
            one for one in adjustments if one.person in own or (one.unit in below and one.person not in elsewhere)
        ]
    lines = _closed_lines(connection, then, totals, adjustments)
    others: list[tuple[Elsewhere, list[Line]]] = []
    if lines:
        others = closed_elsewhere(connection, below, on, {one.person for one in lines}, but=closing.id)
    closed = Closed(_moment(connection, closing), closing.closed_by, closing.paper)
    name = unit_name(then, unit, closing.first) if lines else unit
    every = ordered([*lines, *(line for _, those in others for line in those)])
    return UnitPeriod(unit, name, closing.first, closing.last, every, closed, [one for one, _ in others])


def closed_elsewhere(
    connection: Connection, units: Iterable[str], on: date, own: Container[str], but: int | None = None
) -> list[tuple[Elsewhere, list[Line]]]:
    """Return the closings that fixed the period with a date of other people than ``own`` in units, with their lines.

    ``but``: a closing that is left out.
    """
    keys, found = set(units), list[tuple[Elsewhere, list[Line]]]()
    for closing in closings.listing(connection):
        if closing.id == but or not closing.first <= on <= closing.last:
            continue
        totals = [
            one
            for one in closings.totals_of(connection, closing.id)
            if one.unit in keys and one.person not in own and one.first <= on.isoformat() <= one.last
        ]
        if not totals:
            continue
        people = {one.person for one in totals}
        then = Registers(connection, datetime.fromisoformat(closing.entered))
        adjustments = [one for one in closings.adjustments_of(connection, closing.id) if one.person in people]
        lines = [line._replace(closing=closing.id) for line in _closed_lines(connection, then, totals, adjustments)]
        name = unit_name(then, closing.unit, closing.first)
        found.append((Elsewhere(closing.id, name, _moment(connection, closing), closing.paper, len(people)), lines))
    return found


def _moment(connection: Connection, closing: Closing) -> str:
    return print_moment(closing.entered, zone_of(Registers(connection).rows("units")))


def _closed_lines(
    connection: Connection, then: Registers, totals: Sequence[ClosedTotal], adjustments: Iterable[StoredAdjustment]
) -> list[Line]:
    """Return the lines of closed totals, with the revisions that they were counted from and names of then."""
    people = names_of(then, [one.person for one in totals])
    carried = carried_of(adjustments)
    lines = []
    for part in chunks(totals):
        found = _counted_days(connection, part)
        for total in part:
            own_name, nip = people.get(total.person, (total.person, None))
            percent, rupiah = carried.pop(total.person, (Decimal(0), 0))
            days = found.get(total.person, {})
            lines.append(Line(total.person, own_name, nip, days, load_json(total.content), percent, rupiah))
    return lines + _only_carried(then, carried)


def _counted_days(connection: Connection, totals: Iterable[ClosedTotal]) -> dict[str, dict[date, Standing]]:
    """Return the dates that totals were counted from, by person."""
    wanted = (
        (one.person, date.fromisoformat(on), revision) for one in totals for on, revision in _counted(one.revisions)
    )
    found: dict[str, dict[date, Standing]] = {}
    for one in outcomes.exactly(connection, wanted):
        found.setdefault(one.person, {})[one.date] = one.standing
    return found


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
        content = load_json(one.content)
        percent, rupiah = found.get(one.person, (Decimal(0), 0))
        found[one.person] = percent + Decimal(content["cut"]), rupiah + content["cut_rp"]
    return found


def person_days(connection: Connection, person: str, first: date, last: date) -> dict[date, Standing]:
    """Return a person's dates as they stand now; raises NoSheetError where there is no verdict."""
    keys = results.last_numbers(connection, [person], first, last)
    found = {on: standing for (_, on, _), standing in outcomes.standings(connection, keys).items()}
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
        judged: dict[str, list[Day]] = {}
        for one in outcomes.current(connection, part, begin, until):
            if one.counts is not None:
                judged.setdefault(one.person, []).append(one)
        for key, days in judged.items():
            if days[-1].unit in units:
                found.append(_year(facts, key, names.get(key, (key, None)), days))
    return found


def _year(facts: Facts, person: str, name: tuple[str, str | None], days: Sequence[Day]) -> Year:
    counted = [one.counts for one in days if one.counts is not None]
    rules_on = rules_for(facts.office, facts.own(person), [one.date for one in days])
    absent = [one.work_date for one in counted if one.absent]
    return Year(person, name[0], name[1], days[-1].unit, absent, discipline(counted, rules_on))


def _counted(revisions: str) -> Iterable[tuple[str, int]]:
    found: dict[str, int] = load_json(revisions)
    return found.items()


def today_in(connection: Connection, now: datetime) -> date:
    """Return the office's date at a moment."""
    return now.astimezone(zone_of(Registers(connection).rows("units")) or UTC).date()


def people_in(connection: Connection, unit: str, first: date, last: date) -> list[str]:
    """Return the people who have verdicts in a unit, or below, on any of the dates."""
    units = Registers(connection).with_units_below(unit, first, last)
    return results.people_judged(connection, first, last, sorted(units))
