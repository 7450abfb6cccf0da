"""A person's date as a strip of hours: due times, and the punches that were recorded. Pure geometry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from central.timesheet.clock import DAY_S, midnight, print_time
from central.web.views.arrivals import HOUR_S, Mark

FIRST_HOUR, LAST_HOUR = 6, 18
"""Hours that are always drawn."""
LEFT, RIGHT = 16, 16
MOST_HOURS = 72


class Due(NamedTuple):
    """A due time."""

    x: float
    time: str


class Punch(NamedTuple):
    """A punch; ``counts`` where a slot takes it."""

    x: float
    time: str
    counts: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """All shapes, for the template."""

    width: int
    due: list[Due]
    punches: list[Punch]
    present: tuple[float, float] | None
    """From the first to the last punch that counts."""
    hours: list[Mark]


def strip(content: Mapping[str, Any], on: date, *, width: int, hours_apart: int = 1) -> Strip | None:
    """Return the drawing of a stored verdict, in SVG user units; None where it has neither slots nor punches."""
    begin = midnight(on)
    due = sorted({slot["due_local"] - begin for slot in content["slots"] if slot["demanded"]})
    counted = {slot["punch"]["local"] - begin for slot in content["slots"] if slot["punch"] is not None}
    named = [one for reason in content["reasons"] for one in (*reason.get("punches", ()), reason.get("punch"))]
    others = {one["local"] - begin for one in named if one is not None} - counted
    shown = sorted(one for one in {*counted, *others} if abs(one) < MOST_HOURS * HOUR_S)
    if not due and not shown:
        return None
    first: int = min([FIRST_HOUR, *(one // HOUR_S for one in (*due, *shown))])
    last: int = max([LAST_HOUR, *(one // HOUR_S + 1 for one in (*due, *shown))])
    if min((*due, *shown)) >= LAST_HOUR * HOUR_S:  # a night
        first = min(one // HOUR_S for one in (*due, *shown)) - 1

    def x(second: int) -> float:
        across = width - LEFT - RIGHT
        return round(LEFT + (second - first * HOUR_S) * across / ((last - first) * HOUR_S), 1)

    punches = [Punch(x(one), print_time(one % DAY_S), one in counted) for one in shown]
    places = [punch.x for punch in punches if punch.counts]
    every = hours_apart * max(1, (last - first) // 16)
    return Strip(
        width,
        [Due(x(one), print_time(one % DAY_S)[:5]) for one in due],
        punches,
        (min(places), max(places)) if len(places) > 1 else None,
        [Mark(x(hour * HOUR_S), f"{hour % 24:02}") for hour in range(first, last + 1) if hour % every == 0],
    )
