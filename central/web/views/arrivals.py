"""When people arrive on a date, beside a usual one: a curve that grows with each arrival. Pure geometry."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import NamedTuple

STEP_S = 300
"""Distance of the points of a usual day."""
HOUR_S = 3600
LEAST_DAYS = 2
"""Dates that make a usual one."""
FIRST_HOUR, LAST_HOUR = 6, 10
"""Hours that are always drawn."""
MOST_HOURS = 48
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 12, 24
"""Margins of the drawing, for the labels of the axes."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrivals on a date, in seconds from its midnight, sorted; and how many a usual date has by then."""

    people: int
    """Of whom an arrival is expected."""
    times: tuple[int, ...]
    usual: tuple[int, ...] | None
    """After each :data:`STEP_S` from ``usual_from`` on; None where no usual date is known."""
    usual_from: int
    until: int | None
    """Up to when today has passed; None for a date that is over."""

    def by(self, second: int) -> int:
        """Return how many have arrived by a second of the day."""
        return bisect_right(self.times, second)

    def usual_by(self, second: int) -> int | None:
        """Return how many usually have."""
        if self.usual is None:
            return None
        index = (second - self.usual_from) // STEP_S
        return 0 if index < 0 else self.usual[min(index, len(self.usual) - 1)]


class Mark(NamedTuple):
    """A label on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All shapes of the chart, for the template."""

    width: int
    height: int
    area: str
    """Path (SVG) of the date's curve."""
    usual: str | None
    now: float | None
    hours: list[Mark]
    levels: list[Mark]


class Row(NamedTuple):
    """A quarter of an hour, as a row of the table."""

    time: str
    arrived: int
    usual: int | None


def gather(times: Sequence[int], before: Mapping[date, Sequence[int]], *, people: int, until: int | None) -> Arrivals:
    """Return the arrivals of a date; ``before``: those of earlier dates like it, of which the median is usual.

    All in seconds from midnight of their dates. Dates without arrivals, as holidays, do not count.
    """
    limit = MOST_HOURS * HOUR_S
    kept = tuple(sorted(time for time in times if -HOUR_S * 24 <= time < limit))
    known = [sorted(found) for found in before.values() if found]
    usual, first = None, 0
    if len(known) >= LEAST_DAYS:
        first = min(found[0] for found in known) // HOUR_S * HOUR_S
        last = max(found[-1] for found in known)
        points = range(first, min(last, limit) + 2 * STEP_S, STEP_S)
        curve = [round(median(bisect_right(found, point) for found in known)) for point in points]
        usual = tuple(curve[: curve.index(curve[-1]) + 1])  # later arrivals of single dates are not usual
    return Arrivals(people, kept, usual, first, until)


def draw(arrivals: Arrivals, *, width: int, height: int, hours_apart: int = 1) -> Drawing:
    """Return the drawing, in SVG user units; every ``hours_apart`` hours have a label."""
    first, last = _hours(arrivals)
    top = round_up(max(1, arrivals.people, len(arrivals.times), *(arrivals.usual or ())))
    base, right = height - BOTTOM, width - RIGHT
    per_second = (right - LEFT) / ((last - first) * HOUR_S)
    unit = (base - TOP) / top

    def x(second: int) -> float:
        return round(min(max(LEFT + (second - first * HOUR_S) * per_second, LEFT), right), 1)

    def y(value: float) -> float:
        return round(base - value * unit, 1)

    end = last * HOUR_S if arrivals.until is None else min(max(arrivals.until, first * HOUR_S), last * HOUR_S)
    steps = "".join(f" H{x(time)} V{y(number)}" for number, time in _steps(arrivals.times))
    usual = None
    if arrivals.usual is not None:
        points = [
            f"{x(arrivals.usual_from + index * STEP_S)} {y(number)}" for index, number in enumerate(arrivals.usual)
        ]
        usual = f"M{x(first * HOUR_S)} {base} L" + " L".join(points) + f" H{right}"
    now = None if arrivals.until is None or not first * HOUR_S <= arrivals.until <= last * HOUR_S else x(arrivals.until)
    hours = [Mark(x(hour * HOUR_S), f"{hour % 24:02}") for hour in range(first, last + 1) if hour % hours_apart == 0]
    levels = [Mark(y(value), str(value)) for value in sorted({0, top // 2, top})]
    return Drawing(width, height, f"M{x(first * HOUR_S)} {base}{steps} H{x(end)} V{base} Z", usual, now, hours, levels)


def rows(arrivals: Arrivals) -> list[Row]:
    """Return how many had arrived after each quarter of an hour in which anybody arrives, today or usually."""
    found = []
    first, last = _hours(arrivals)
    before = (0, 0)
    for second in range(first * HOUR_S + 900, last * HOUR_S + 1, 900):
        if arrivals.until is not None and second - 900 > arrivals.until:
            break
        now = arrivals.by(second - 1), arrivals.usual_by(second - 1)
        if now != before and (now[0], now[1] or 0) != before:
            found.append(Row(f"{second // 3600 % 24:02}:{second // 60 % 60:02}", *now))
        before = now[0], now[1] or 0
    return found


def _steps(times: Sequence[int]) -> list[tuple[int, int]]:
    """Return number and time of each arrival; those of one second are one step."""
    return [(number, time) for number, time in enumerate(times, 1) if number == len(times) or times[number] != time]


def _hours(arrivals: Arrivals) -> tuple[int, int]:
    most = arrivals.times[: -(-len(arrivals.times) * 9 // 10)]  # single late ones do not stretch the drawing
    ends = [*most[:1], *most[-1:]]
    if arrivals.usual is not None:
        ends += [arrivals.usual_from, arrivals.usual_from + (len(arrivals.usual) - 1) * STEP_S]
    if not ends:
        return FIRST_HOUR, LAST_HOUR
    first, last = min(ends) // HOUR_S, max(ends) // HOUR_S + 1
    return (min(first, FIRST_HOUR) if first < LAST_HOUR else first), max(last, min(first, FIRST_HOUR) + 4)


def round_up(value: float) -> int:
    """Return the next larger of 2, 4, 6, 10, 20, 40, 60, 100 …: round numbers whose half is an integer."""
    power = 1
    while power * 10 < value:
        power *= 10
    return next(factor * power for factor in (2, 4, 6, 10) if factor * power >= value)
