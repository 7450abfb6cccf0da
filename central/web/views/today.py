"""A unit's people on one date: who is in, who is not seen yet, late, excused, and what is provisional and why. Pure.

People stand by unit and name, never by minutes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from central.registers.kinds import Person
from central.timesheet import outcome as marks
from central.timesheet.clock import midnight
from central.timesheet.outcome import Doubted, Standing
from central.web.views.arrivals import Arrivals, gather

UNSEEN, AWAITED = "unseen", "awaited"
"""No punch is recorded of a person who is expected: the first due time has passed, or lies ahead."""
PEOPLE = "people"
FIGURES = (
    PEOPLE,
    marks.COMPLETE,
    marks.PRESENT,
    marks.ON_TIME,
    marks.LATE,
    UNSEEN,
    AWAITED,
    marks.EXCUSED,
    marks.EARLY,
    marks.MISSING,
    marks.ABSENT,
    marks.NO_DUTY,
    marks.PROVISIONAL,
    marks.NONE,
)
"""What is counted, in the order in which pages show it."""
ALWAYS = frozenset({PEOPLE, marks.PRESENT, marks.ON_TIME, marks.LATE, UNSEEN, marks.EXCUSED})
"""Shown also where nobody is it."""


class Figure(NamedTuple):
    """A number, and how many of it may still change."""

    name: str
    number: int
    unsettled: int


class Row(NamedTuple):
    """A person's date."""

    person: Person
    unit_name: str
    standing: Standing
    revision: int | None
    """The stored revision; None where there is none."""
    marks: frozenset[str]
    """Those of the standing, with whether a punch is expected by now."""


class Reason(NamedTuple):
    """A doubt, and of how many people it keeps the date provisional."""

    doubt: Doubted
    people: int


@dataclass(frozen=True, slots=True)
class Today:
    """What the page of a date shows."""

    on: date
    rows: list[Row]
    figures: list[Figure]
    reasons: list[Reason]
    arrivals: Arrivals

    def count(self, name: str) -> int:
        """Return a figure's number."""
        return next((figure.number for figure in self.figures if figure.name == name), 0)

    def showing(self, name: str) -> list[Row]:
        """Return the rows that a figure counts."""
        return [row for row in self.rows if counts(row, name)]


def today(
    on: date,
    people: Sequence[Person],
    unit_names: Mapping[str, str],
    standings: Mapping[str, tuple[int | None, Standing]],
    before: Mapping[date, Mapping[str, Standing]],
    *,
    now: int,
    until: int | None,
) -> Today:
    """Return the view of a date.

    ``unit_names``: by key. ``standings``: revision and standing by person. ``before``: standings on earlier dates of
    the same kind. ``now``: an instant. ``until``: seconds of the date that have passed on the unit's clock; None where
    it is over.
    """
    rows = []
    for person in people:
        revision, found = standings.get(person.key, (None, marks.not_judged(None)))
        unit_name = unit_names.get(person.unit or "", person.unit or "")
        rows.append(Row(person, unit_name, found, revision, _marks(found, now)))
    rows.sort(
        key=lambda row: (row.unit_name.casefold(), row.person.unit or "", row.person.name.casefold(), row.person.key)
    )
    figures = []
    for name in FIGURES:
        counted = [row for row in rows if counts(row, name)]
        if counted or name in ALWAYS:
            figures.append(Figure(name, len(counted), sum(name in row.standing.unsettled for row in counted)))
    doubts = Counter(doubt for row in rows if row.standing.status == marks.PROVISIONAL for doubt in row.standing.doubts)
    reasons = sorted(
        (Reason(*item) for item in doubts.items()),
        key=lambda one: (-one.people, one.doubt.what, one.doubt.terminal or ""),
    )
    expected = sum(row.standing.due is not None for row in rows)
    arrivals = gather(
        _times(on, (row.standing for row in rows)),
        {other: _times(other, found.values()) for other, found in before.items()},
        people=expected,
        until=until,
    )
    return Today(on, rows, figures, reasons, arrivals)


def counts(row: Row, name: str) -> bool:
    """Return whether a figure counts a row; an unknown figure counts none."""
    return name == PEOPLE or name in row.marks


def _marks(found: Standing, now: int) -> frozenset[str]:
    if marks.EMPTY not in found.marks or found.due is None:
        return found.marks
    return found.marks | {UNSEEN if found.due <= now else AWAITED}


def _times(on: date, standings: Iterable[Standing]) -> list[int]:
    begin = midnight(on)
    return [found.arrived - begin for found in standings if found.arrived is not None]
