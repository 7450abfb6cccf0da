"""What the past shows about the near future, by the calendar of an office."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import forecast

MONDAY = date(2026, 9, 7)
at = datetime.fromisoformat


def office(weeks: int, *, holidays: tuple[date, ...] = ()) -> dict[tuple[date, int], int]:
    """Return the hours of an office that comes at 7 and goes at 16 on workdays, up to the Sunday before MONDAY."""
    days = [MONDAY - timedelta(days=ago) for ago in range(1, 7 * weeks + 1)]
    return {(day, hour): 40 for day in days if day.weekday() < 5 and day not in holidays for hour in (7, 16)}


@pytest.mark.parametrize(
    ("records", "capacity", "reached"),
    [(None, 100, 0), (99, None, 0), (0, 0, 0), (799, 1000, 0), (800, 1000, 80), (949, 1000, 90), (1000, 1000, 95)],
)
def test_threshold_reached(records: int | None, capacity: int | None, reached: int) -> None:
    """The highest of the three that counts, and none where the terminal does not say."""
    assert forecast.threshold(records, capacity) == reached


def test_log_fills_at_the_pace_of_the_last_weeks() -> None:
    """28 days with 100 records on each of 20 of them: 2,000 in four weeks, so 1,000 more take two."""
    days = [MONDAY - timedelta(days=ago) for ago in range(1, 29)]
    per_day = {day: 100 for day in days if day.weekday() < 5}

    assert forecast.fills(9000, 10_000, per_day, MONDAY) == MONDAY + timedelta(days=14)
    assert forecast.fills(10_000, 10_000, per_day, MONDAY) == MONDAY
    assert forecast.fills(8999, 10_000, per_day | {MONDAY: 5000}, MONDAY) == MONDAY + timedelta(days=15)


def test_log_of_a_new_terminal_fills_at_the_pace_of_its_days() -> None:
    """Three days with 100 records each, not 300 in four weeks."""
    per_day = {MONDAY - timedelta(days=ago): 100 for ago in (1, 2, 3)}

    assert forecast.fills(9000, 10_000, per_day, MONDAY) == MONDAY + timedelta(days=10)


def test_a_log_that_does_not_grow_has_no_forecast() -> None:
    """Neither without history, nor with old history only, nor in this decade, nor without numbers."""
    old = {MONDAY - timedelta(days=60): 100}
    slow = {MONDAY - timedelta(days=20): 1}

    assert forecast.fills(10, 100_000, {}, MONDAY) is None
    assert forecast.fills(10, 100_000, old, MONDAY) is None
    assert forecast.fills(10, 100_000, slow, MONDAY) is None
    assert forecast.fills(None, 100_000, slow, MONDAY) is None
    assert forecast.fills(10, None, slow, MONDAY) is None


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.dictionaries(st.integers(1, 40), st.integers(0, 5000)))
def test_a_log_never_fills_in_the_past(records: int, capacity: int, ago: dict[int, int]) -> None:
    """Whatever the numbers, the day is today or later, and today only if it is full."""
    per_day = {MONDAY - timedelta(days=days): count for days, count in ago.items()}
    day = forecast.fills(records, capacity, per_day, MONDAY)

    assert day is None or (day > MONDAY if records < capacity else day == MONDAY)


def test_usual_hours_are_those_of_half_the_weeks() -> None:
    """A holiday does not unmake a habit, and one late evening does not make one."""
    hours = office(4, holidays=(MONDAY - timedelta(weeks=1),))
    hours[MONDAY - timedelta(days=3), 21] = 5

    usual = forecast.usual_hours(hours, MONDAY)

    assert usual == frozenset((weekday, hour) for weekday in range(5) for hour in (7, 16))


def test_today_is_no_habit_yet() -> None:
    """What happens today, at an hour when nothing ever did, does not count before tomorrow."""
    hours = office(2) | {(MONDAY, 3): 10}

    assert (0, 3) not in (forecast.usual_hours(hours, MONDAY) or set())


def test_less_than_two_weeks_are_no_habit() -> None:
    """Nor is nothing at all."""
    assert forecast.usual_hours(office(1), MONDAY) is None
    assert forecast.usual_hours({}, MONDAY) is None


def test_usual_time_counts_parts_of_hours_and_skips_the_rest() -> None:
    """From Friday 16:30 over the weekend to Monday 07:20."""
    usual = forecast.usual_hours(office(4), MONDAY)
    assert usual is not None

    counted = forecast.usual_time(usual, at("2026-09-04T16:30:00"), at("2026-09-07T07:20:00"))

    assert counted == timedelta(minutes=50)
    assert forecast.usual_time(usual, at("2026-09-07T07:30:00"), at("2026-09-07T07:20:00")) == timedelta(0)


@pytest.mark.parametrize(
    ("minutes", "burst"),
    [((0, 4, 10), True), ((0, 4, 11), False), ((30, 0, 21, 22), True), ((0, 0), False), ((), False)],
)
def test_three_punches_in_ten_minutes_are_a_burst(minutes: tuple[int, ...], burst: bool) -> None:
    """In whatever order they come."""
    moments = [at("2026-09-07T07:00:00") + timedelta(minutes=minute) for minute in minutes]

    assert forecast.has_burst(moments) is burst


def test_usual_day_is_the_median_of_its_weekday() -> None:
    """A holiday in one of four weeks changes little, other weekdays nothing, today itself nothing."""
    weeks = [MONDAY - timedelta(weeks=ago) for ago in (1, 2, 3, 4)]
    quarters = {(day, 28): 40 for day in weeks[:3]} | {
        (day, 29): count for day, count in zip(weeks, (1, 2, 3, 4), strict=True)
    }
    quarters |= {(MONDAY, 28): 999, (MONDAY - timedelta(days=1), 30): 7}

    usual = forecast.usual_day(quarters, MONDAY)

    assert usual is not None
    assert len(usual) == 96
    assert {quarter: count for quarter, count in enumerate(usual) if count} == {28: 40.0, 29: 2.5}


@pytest.mark.parametrize(("days", "known"), [(0, False), (13, False), (14, True), (20, True)])
def test_usual_day_is_unknown_before_two_weeks(days: int, known: bool) -> None:
    """As usual hours are."""
    quarters = {(MONDAY - timedelta(days=days), 28): 1} if days else {(MONDAY, 28): 1}
    assert (forecast.usual_day(quarters, MONDAY) is not None) == known
