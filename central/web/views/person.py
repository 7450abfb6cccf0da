"""A person's month: a calendar, each date with what it is, and what the month comes to. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from central.timesheet import outcome as marks
from central.timesheet.outcome import Standing
from central.web.views.codes import codes_of, tone_of


class Day(NamedTuple):
    """A date of the calendar."""

    on: date
    within: bool
    """Whether it belongs to the month."""
    shown: bool
    """Whether the person was in the reader's units on it."""
    standing: Standing | None
    """None where nothing is stored."""
    codes: tuple[str, ...]
    tone: str


class Numbers(NamedTuple):
    """How often a month's dates are what; only what is final counts as late, early, missing or absent."""

    duty: int
    """Dates on which a punch was demanded, with those that leave excused."""
    complete: int
    late: int
    late_min: int
    early: int
    early_min: int
    missing: int
    absent: int
    excused: int
    waiting: int
    """Open and provisional dates."""


@dataclass(frozen=True, slots=True)
class Month:
    """What the page of a month shows."""

    first: date
    last: date
    weeks: list[list[Day]]
    days: list[Day]
    """The dates of the month that are shown."""
    numbers: Numbers


def month(
    first: date,
    last: date,
    shown: Callable[[date], bool],
    standings: Mapping[date, Standing],
) -> Month:
    """Return the view of the dates from ``first`` to ``last``; ``shown``: on which the reader sees the person."""
    weeks, days = [], []
    begin = first.toordinal() - first.weekday()
    end = last.toordinal() + 6 - last.weekday()
    for monday in range(begin, end + 1, 7):
        week = []
        for number in range(monday, monday + 7):
            if not date.min.toordinal() <= number <= date.max.toordinal():
                continue
            on = date.fromordinal(number)
            seen = first <= on <= last and shown(on)
            found = standings.get(on) if seen else None
            day = Day(
                on,
                first <= on <= last,
                seen,
                found,
                () if found is None else codes_of(found),
                "none" if found is None else tone_of(found),
            )
            week.append(day)
            if seen:
                days.append(day)
        weeks.append(week)
    return Month(first, last, weeks, days, numbers([day.standing for day in days if day.standing is not None]))


def numbers(standings: Sequence[Standing]) -> Numbers:
    """Return what dates come to."""

    def times(name: str) -> int:
        return sum(name in one.marks and name not in one.unsettled for one in standings)

    def minutes(name: str) -> int:
        counted = (one for one in standings if name in one.marks and name not in one.unsettled)
        return sum(one.late_min if name == marks.LATE else one.early_min for one in counted)

    return Numbers(
        duty=sum(not {marks.NONE, marks.NO_DUTY} & one.marks for one in standings),
        complete=times(marks.COMPLETE),
        late=times(marks.LATE),
        late_min=minutes(marks.LATE),
        early=times(marks.EARLY),
        early_min=minutes(marks.EARLY),
        missing=times(marks.MISSING),
        absent=times(marks.ABSENT),
        excused=times(marks.EXCUSED),
        waiting=sum(one.status in ("open", "provisional") for one in standings),
    )


def last_of(first: date) -> date:
    """Return the last date of the month that begins on a date."""
    if (first.year, first.month) == (date.max.year, 12):
        return date.max
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return following - timedelta(days=1)


def neighbours(first: date) -> tuple[date | None, date | None]:
    """Return the first dates of the months before and after; None beyond the calendar."""
    before = None if first == date.min else (first - timedelta(days=1)).replace(day=1)
    last = last_of(first)
    return before, None if last == date.max else last + timedelta(days=1)
