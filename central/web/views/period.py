"""A unit's period: what it comes to for each person, by name; never in the order of minutes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from central.registers.kinds import Person
from central.timesheet import outcome as marks
from central.timesheet.outcome import Standing
from central.timesheet.totals import Totals
from central.web.views.person import Numbers, numbers

FULL, WAITING, LEFT_OVER = "full", "waiting", "not_judged"
FIGURES = ("people", FULL, marks.LATE, marks.EARLY, marks.MISSING, marks.ABSENT, marks.EXCUSED, WAITING, LEFT_OVER)
"""What is counted, people each."""


class Entry(NamedTuple):
    """What the period comes to for a person."""

    person: Person
    first: date
    last: date
    """The dates of the period on which the person is in the unit, from the first to the last."""
    whole: bool
    """Whether nothing of the period lies elsewhere."""
    numbers: Numbers
    not_judged: int
    """Dates without a verdict."""
    totals: Totals | None
    """By the policy; None where only a part of the period is the unit's, or no policy is known."""

    @property
    def full(self) -> bool:
        """Return whether every date of duty is complete and on time or excused, as far as dates are final."""
        counted = self.numbers
        exceptions = counted.late or counted.early or counted.missing or counted.absent
        return counted.complete > 0 and not exceptions and not self.not_judged


class DayNumbers(NamedTuple):
    """How many people are what on a date."""

    on: date
    complete: int
    exception: int
    absent: int
    excused: int
    waiting: int

    @property
    def people(self) -> int:
        """Return how many have duty."""
        return self.complete + self.exception + self.absent + self.excused + self.waiting


@dataclass(frozen=True, slots=True)
class Period:
    """What the page of a period shows."""

    first: date
    last: date
    entries: list[Entry]
    figures: list[tuple[str, int]]
    days: list[DayNumbers]

    def showing(self, name: str) -> list[Entry]:
        """Return the entries that a figure counts."""
        return [entry for entry in self.entries if counts(entry, name)]


def entry(
    person: Person,
    days: Mapping[date, Standing | None],
    totals: Totals | None,
    *,
    whole: bool,
) -> Entry:
    """Return a person's entry; ``days``: each date in the unit, with its standing where one is stored."""
    found = [one for one in days.values() if one is not None]
    missing = sum(one is None or marks.NONE in one.marks for one in days.values())
    return Entry(person, min(days), max(days), whole, numbers(found), missing, totals if whole else None)


def period(first: date, last: date, entries: Sequence[Entry], standings: Mapping[date, Sequence[Standing]]) -> Period:
    """Return the view of a period; ``standings``: those of the unit's people by date."""
    ordered = sorted(entries, key=lambda one: (one.person.name.casefold(), one.person.key))
    figures = [(name, sum(counts(one, name) for one in ordered)) for name in FIGURES]
    days = [_day(on, standings[on]) for on in sorted(standings)]
    return Period(first, last, ordered, figures, [day for day in days if day.people])


def counts(one: Entry, name: str) -> bool:
    """Return whether a figure counts a person; an unknown figure counts none."""
    match name:
        case "people":
            return True
        case "full":
            return one.full
        case "not_judged":
            return one.not_judged > 0
        case "waiting" | "late" | "early" | "missing" | "absent" | "excused":
            return bool(getattr(one.numbers, name))
    return False


def _day(on: date, standings: Sequence[Standing]) -> DayNumbers:
    found = dict.fromkeys(("complete", "exception", "absent", "excused", "waiting"), 0)
    for one in standings:
        if {marks.NONE, marks.NO_DUTY} & one.marks:
            continue
        if marks.ABSENT in one.marks:
            found["absent"] += 1
        elif one.status != "final":
            found["waiting"] += 1
        elif {marks.LATE, marks.EARLY, marks.MISSING} & one.marks:
            found["exception"] += 1
        elif marks.EXCUSED in one.marks and marks.COMPLETE not in one.marks:
            found["excused"] += 1
        else:
            found["complete"] += 1
    return DayNumbers(on, **found)
