"""Forecasts from a terminal's history: when its log will be full, when people usually punch. Pure.

Usual hours are computed from the ledger's counts by local day and hour; no calendar of holidays is used.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from statistics import median

Hours = Mapping[tuple[date, int], int]
"""Local day and hour → punches."""
Quarters = Mapping[tuple[date, int], int]
"""Local day and quarter of an hour (0 to 95) → punches."""
Usual = frozenset[tuple[int, int]]
"""Weekdays (Monday is 0) and hours in which a terminal usually has punches."""

WEEKS = 4
"""Length of the history: long enough to outvote a holiday, short enough to follow the month of Ramadan."""
LEAST_WEEKS = 2
QUARTERS = 96
"""Quarters of an hour in a day."""
HORIZON_DAYS = 3650
THRESHOLDS = (95, 90, 80)
BURST = 3
BURST_SPAN = timedelta(minutes=10)
_HOUR = timedelta(hours=1)


def threshold(records: int | None, capacity: int | None) -> int:
    """Return the highest of 80, 90 and 95 per cent that a log has reached; 0 below, or where unknown."""
    if records is None or not capacity:
        return 0
    return next((percent for percent in THRESHOLDS if records * 100 >= capacity * percent), 0)


def fills(records: int | None, capacity: int | None, per_day: Mapping[date, int], today: date) -> date | None:
    """Return the day on which a log will be full at the rate of the last weeks.

    None where that is unknown, where nothing was added in that time, or where it is more than ten years away.
    ``per_day`` holds the records of each day up to yesterday; days without any need not be in it.
    """
    if records is None or not capacity:
        return None
    first = today - timedelta(weeks=WEEKS)
    recent = {day: count for day, count in per_day.items() if first <= day < today and count}
    if not recent:
        return None
    days = (today - min(per_day)).days if min(per_day) > first else (today - first).days
    left = max(0, capacity - records)
    ahead = -(-left * days // sum(recent.values()))
    return today + timedelta(days=ahead) if ahead <= HORIZON_DAYS else None


def usual_hours(hours: Hours, today: date) -> Usual | None:
    """Return the hours of the week in which, in at least half of the last four weeks, there were punches.

    Today does not count, it is not over. None where less than two weeks are known.
    """
    past = {(day, hour) for (day, hour), count in hours.items() if count and day < today}
    if not past:
        return None
    weeks = min(WEEKS, (today - min(past)[0]).days // 7)
    if weeks < LEAST_WEEKS:
        return None
    first = today - timedelta(weeks=weeks)
    met: dict[tuple[int, int], int] = {}
    for day, hour in past:
        if day >= first:
            met[day.weekday(), hour] = met.get((day.weekday(), hour), 0) + 1
    return frozenset(when for when, times in met.items() if times * 2 >= weeks)


def usual_day(quarters: Quarters, today: date) -> list[float] | None:
    """Return how many punches each quarter of an hour of a day like ``today`` usually has.

    The median over this weekday in the last four weeks, which outvotes a holiday. None where less than two weeks are
    known.
    """
    past = {day for (day, _), count in quarters.items() if count and day < today}
    if not past:
        return None
    weeks = min(WEEKS, (today - min(past)).days // 7)
    if weeks < LEAST_WEEKS:
        return None
    days = [today - timedelta(weeks=ago) for ago in range(1, weeks + 1)]
    return [float(median(quarters.get((day, quarter), 0) for day in days)) for quarter in range(QUARTERS)]


def usual_time(usual: Usual, start: datetime, end: datetime) -> timedelta:
    """Return how much of the time from ``start`` to ``end`` (naive, local) lies in usual hours."""
    total = timedelta(0)
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        if (hour.weekday(), hour.hour) in usual:
            total += max(timedelta(0), min(end, hour + _HOUR) - max(start, hour))
        hour += _HOUR
    return total


def has_burst(moments: Sequence[datetime]) -> bool:
    """Return whether three punches lie within ten minutes."""
    ordered = sorted(moments)
    return any(late - early <= BURST_SPAN for early, late in zip(ordered, ordered[BURST - 1 :], strict=False))
