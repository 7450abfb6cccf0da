"""How each date of a period went, as columns of a chart: people by what the date was for them. Pure geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from central.web.views.arrivals import BOTTOM, LEFT, RIGHT, TOP, Mark, round_up
from central.web.views.period import DayNumbers

STACK = ("complete", "excused", "exception", "absent", "waiting")
"""From the ground up."""


class Part(NamedTuple):
    """A piece of a column."""

    what: str
    number: int
    y: float
    height: float


class Column(NamedTuple):
    """A date."""

    day: DayNumbers
    x: float
    width: float
    parts: list[Part]
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All shapes of the chart, for the template."""

    width: int
    height: int
    columns: list[Column]
    levels: list[Mark]


def draw(days: Sequence[DayNumbers], *, width: int, height: int) -> Drawing:
    """Return the drawing of dates that have people, in SVG user units."""
    top = round_up(max([1, *(day.people for day in days)]))
    base = height - BOTTOM
    unit = (base - TOP) / top
    step = (width - LEFT - RIGHT) / max(1, len(days))
    columns = []
    for index, day in enumerate(days):
        parts, below = [], 0
        for what in STACK:
            number = getattr(day, what)
            if number:
                below += number
                parts.append(Part(what, number, round(base - below * unit, 1), round(number * unit, 1)))
        x = round(LEFT + index * step + step * 0.1, 1)
        columns.append(Column(day, x, round(step * 0.8, 1), parts, str(day.on.day)))
    levels = [Mark(round(base - value * unit, 1), str(value)) for value in sorted({0, top // 2, top})]
    return Drawing(width, height, columns, levels)
