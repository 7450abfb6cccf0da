"""What sheets are built from: each person's period in a unit, with verdicts, totals and adjustments.

Pure: read by :mod:`central.sheets.source` and :mod:`central.closing.close` from the database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from central.timesheet.outcome import Standing


class Line(NamedTuple):
    """A person's period."""

    person: str
    name: str
    nip: str | None
    days: Mapping[date, Standing]
    """By the plan's date."""
    total: Mapping[str, Any]
    """A row of totals."""
    carried: Decimal
    """Percent that adjustments of earlier periods cut in addition; negative: given back."""
    carried_rp: int
    closing: int | None = None
    """The closing of another unit that fixed it; None: it belongs to the closing of the sheet's own period."""


class Closed(NamedTuple):
    """That a period was closed."""

    on: str
    """The moment, for people."""
    by: str
    paper: str


class Elsewhere(NamedTuple):
    """A closing of another unit that fixed the period of people of this one."""

    number: int
    unit: str
    """Its name."""
    on: str
    """The moment, for people."""
    paper: str
    people: int


@dataclass(frozen=True, slots=True)
class UnitPeriod:
    """A unit's period."""

    unit: str
    name: str
    first: date
    last: date
    lines: Sequence[Line]
    """By name."""
    closed: Closed | None
    """None: it is not closed, and may still change."""
    elsewhere: Sequence[Elsewhere] = ()
    """Closings of other units that have some of the lines."""

    @property
    def dates(self) -> list[date]:
        """Return all dates of the period."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def ordered(lines: Iterable[Line]) -> list[Line]:
    """Return lines by name, then key; never by minutes."""
    return sorted(lines, key=lambda one: (one.name.casefold(), one.person))
