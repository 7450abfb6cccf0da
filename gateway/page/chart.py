"""Chart of a day: a bar for the punches of each quarter of an hour, an outline for a usual day. Pure geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

FIRST_HOUR, LAST_HOUR = 6, 18
"""Hours that are always drawn, also without punches."""
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 10, 24
"""Margins of the drawing, for the labels of the axes."""


class Bar(NamedTuple):
    """A quarter of an hour with punches."""

    x: float
    y: float
    width: float
    height: float
    label: str
    """``07:15 - 34``"""


class Mark(NamedTuple):
    """A label on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All shapes of a chart, for the template."""

    width: int
    height: int
    bars: list[Bar]
    outline: str | None
    """Path (SVG) of a usual day; None where no usual day is known."""
    hours: list[Mark]
    levels: list[Mark]


class Row(NamedTuple):
    """A quarter of an hour, as a row of the table."""

    start: str
    punches: int
    usual: float | None


def draw(
    today: Sequence[int], usual: Sequence[float] | None, *, width: int, height: int, hours_apart: int = 1
) -> Drawing:
    """Return the drawing of a day of 96 quarters, in SVG user units; every ``hours_apart`` hours have a label."""
    first, last = _hours(today, usual)
    top = _round_up(max(1.0, *today, *(usual or ())))
    step = (width - LEFT - RIGHT) / ((last - first) * 4)
    base = height - BOTTOM
    unit = (base - TOP) / top

    def x(quarter: int) -> float:
        return round(LEFT + (quarter - first * 4) * step, 1)

    def y(value: float) -> float:
        return round(base - value * unit, 1)

    quarters = range(first * 4, last * 4)
    bars = [
        Bar(
            round(x(quarter) + step * 0.1, 1),
            y(today[quarter]),
            round(step * 0.8, 1),
            round(base - y(today[quarter]), 1),
            f"{_time(quarter)} - {today[quarter]}",
        )
        for quarter in quarters
        if today[quarter]
    ]
    outline = None
    if usual is not None:
        steps = " ".join(f"V{y(usual[quarter])} H{x(quarter + 1)}" for quarter in quarters)
        outline = f"M{x(first * 4)} {base} {steps} V{base}"
    hours = [Mark(x(hour * 4), f"{hour:02}") for hour in range(first, last + 1) if hour % hours_apart == 0]
    levels = [Mark(y(value), str(value)) for value in sorted({0, top // 2, top})]
    return Drawing(width, height, bars, outline, hours, levels)


def rows(today: Sequence[int], usual: Sequence[float] | None) -> list[Row]:
    """Return the quarters that have punches, today or usually."""
    return [
        Row(_time(quarter), today[quarter], usual[quarter] if usual else None)
        for quarter in range(len(today))
        if today[quarter] or (usual and usual[quarter])
    ]


def busiest(today: Sequence[int]) -> Row:
    """Return the quarter with the most punches."""
    quarter = max(range(len(today)), key=today.__getitem__)
    return Row(_time(quarter), today[quarter], None)


def _time(quarter: int) -> str:
    return f"{quarter // 4:02}:{quarter % 4 * 15:02}"


def _hours(today: Sequence[int], usual: Sequence[float] | None) -> tuple[int, int]:
    busy = [quarter // 4 for quarter in range(len(today)) if today[quarter] or (usual and usual[quarter])]
    return min([FIRST_HOUR, *busy]), max([LAST_HOUR, *(hour + 1 for hour in busy)])


def _round_up(value: float) -> int:
    """Return the next larger of 2, 4, 10, 20, 40, 100 …: round numbers whose half is an integer."""
    power = 1
    while power * 10 < value:
        power *= 10
    return next(factor * power for factor in (2, 4, 10) if factor * power >= value)
