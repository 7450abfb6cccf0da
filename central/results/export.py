"""Verdicts and totals as rows of a table: days as they were judged, periods as their days come to.

Rows hold keys of people, no names. Percentages are text with at most three decimals, as decrees write them.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.results.messages import slot_json
from central.results.periods import PersonPeriod, people_periods
from central.store import results
from central.store.engine import utc
from central.store.registers import Registers
from central.store.results import Revision
from central.timesheet.clock import print_local
from central.timesheet.render import percent
from central.timesheet.stored import load_day

DAYS = (
    *("person", "date", "work_date", "unit", "policy", "revision", "status", "kind", "absent", "worked"),
    *("class", "cut", "cut_rp", "planned_min", "present_min", "overtime_min", "late_min", "early_min", "missing"),
    *("excused", "first_punch", "last_punch", "conditions", "inputs", "entered"),
)
"""The columns of days; new ones are added at the end."""
TOTALS = (
    *("person", "first", "last", "unit", "policy", "days", "shifts", "absent_days", "open_days", "provisional_days"),
    *("planned_min", "late_min", "early_min", "missing", "cut", "cut_rp", "presence", "excused"),
)
"""The columns of totals; new ones are added at the end."""
PEOPLE = 100
"""People read at once."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def people_of(
    connection: Connection, first: date, last: date, unit: str | None, person: str | None
) -> tuple[list[str], set[str] | None]:
    """Return the people who have verdicts on any of the dates, and the units that count: one with those below it."""
    if person is not None:
        return [person], None
    if unit is None:
        return results.people_judged(connection, first, last), None
    units = Registers(connection).with_units_below(unit, first, last)
    return results.people_judged(connection, first, last, sorted(units)), units


def days(
    connection: Connection,
    first: date,
    last: date,
    *,
    unit: str | None = None,
    person: str | None = None,
    known_at: datetime | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the last verdict on each day, by person and date; the one that stood at a moment, or now."""
    people, units = people_of(connection, first, last, unit, person)
    for part in _parts(people):
        for one in _revisions(connection, part, first, last, known_at):
            if units is None or one.unit in units:
                yield _day(one)


def totals(
    connection: Connection,
    policies: OfficePolicies,
    first: date,
    last: date,
    *,
    unit: str | None = None,
    person: str | None = None,
    known_at: datetime | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what each period that has one of the dates comes to, by person; whole periods, reasons left out.

    ``unit``: of whoever was judged in it on one of the dates. Verdicts and registers are those of a moment, or of now.
    """
    people, units = people_of(connection, first, last, unit, person)
    for found in people_periods(connection, policies, people, first, last, known_at):
        # people_of() also names people whom only a revision that counts no more has in the units
        if units is None or any(one.unit in units and first <= one.date <= last for one in found.judged):
            yield total_row(found)


def total_row(one: PersonPeriod) -> dict[str, Any]:
    """Return what a period comes to, by :data:`TOTALS`."""
    sums = one.totals
    return {
        "person": one.person,
        "first": sums.first.isoformat(),
        "last": sums.last.isoformat(),
        "unit": one.unit,
        "policy": one.policy,
        "days": sums.days,
        "shifts": sums.shifts,
        "absent_days": sums.absent_days,
        "open_days": sums.open_days,
        "provisional_days": sums.provisional_days,
        "planned_min": sums.planned_min,
        "late_min": sums.late_min,
        "early_min": sums.early_min,
        "missing": sums.missing,
        "cut": percent(sums.cut),
        "cut_rp": sums.cut_rp,
        "presence": None if sums.presence is None else percent(sums.presence),
        "excused": {kind: percent(share) for kind, share in sums.excused},
    }


def _day(one: Revision) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(DAYS)
    row |= {
        "person": one.person,
        "date": one.date.isoformat(),
        "unit": one.unit,
        "policy": one.policy,
        "revision": one.revision,
        "status": one.status,
        "entered": one.entered,
    }
    if one.status == "none":
        return row | {"conditions": [json.loads(one.content)["why"]], "slots": []}
    day = load_day(one.content, one.inputs)
    final = [slot for slot in day.slots if slot.demanded and slot.status == "final"]
    picked = sorted(slot.punch.local for slot in day.slots if slot.punch is not None)
    return row | {
        "work_date": day.work_date.isoformat(),
        "kind": day.kind,
        "absent": day.absent,
        "worked": day.worked,
        "class": day.class_,
        "cut": percent(day.cut),
        "cut_rp": day.cut_rp,
        "planned_min": day.planned_min,
        "present_min": day.present_min,
        "overtime_min": day.overtime_min,
        "late_min": sum(slot.minutes or 0 for slot in final if slot.measure == "late"),
        "early_min": sum(slot.minutes or 0 for slot in final if slot.measure == "early"),
        "missing": sum(slot.missing is True for slot in final),
        "excused": {kind: percent(share) for kind, share in day.excused},
        "first_punch": print_local(picked[0]) if picked else None,
        "last_punch": print_local(picked[-1]) if picked else None,
        "conditions": list(day.conditions),
        "inputs": one.inputs,
        "slots": [slot_json(slot) for slot in day.slots],
    }


def _revisions(
    connection: Connection, people: Sequence[str], first: date, last: date, known_at: datetime | None
) -> list[Revision]:
    return results.current(connection, people, first, last, None if known_at is None else utc(known_at))


def _parts(people: Iterable[str]) -> Iterator[list[str]]:
    left = iter(people)
    while part := list(islice(left, PEOPLE)):
        yield part


def write_csv(rows: Iterable[dict[str, Any]], columns: Sequence[str], file: TextIO) -> int:
    """Write rows with a head as CSV; return how many. No cell can be read as a formula; an unknown value is empty."""
    table = csv.writer(file, lineterminator="\n")
    table.writerow(columns)
    count = 0
    for row in rows:
        table.writerow([_cell(row[name]) for name in columns])
        count += 1
    return count


def write_json(rows: Iterable[dict[str, Any]], file: TextIO) -> int:
    """Write rows as a JSON array with a line for each; return how many."""
    count = 0
    for row in rows:
        file.write(("[\n" if count == 0 else ",\n") + json.dumps(row, ensure_ascii=False))
        count += 1
    file.write("\n]\n" if count else "[]\n")
    return count


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | Decimal):
        return value
    if isinstance(value, dict):
        value = " ".join(f"{name}:{part}" for name, part in value.items())
    elif isinstance(value, list):
        value = " ".join(str(part) for part in value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
