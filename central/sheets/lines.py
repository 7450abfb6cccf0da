"""What sheets are built from: each person's period in a unit, with verdicts, totals and adjustments.

Pure: read by :mod:`central.sheets.source` from the database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from central.web.views.standing import Standing


@dataclass(frozen=True, slots=True)
class Line:
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


class Closed(NamedTuple):
    """That a period was closed."""

    on: str
    """The moment, for people."""
    by: str
    paper: str


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

    @property
    def dates(self) -> list[date]:
        """Return all dates of the period."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def ordered(lines: Iterable[Line]) -> list[Line]:
    """Return lines by name, then key; never by minutes."""
    return sorted(lines, key=lambda one: (one.name.casefold(), one.person))
