"""A person's month as a calendar."""

from datetime import date, timedelta

import pytest

from central.timesheet.outcome import Standing, not_judged, standing_of
from central.web.views.person import last_of, month, neighbours, numbers
from tests.central.web.views.verdicts import EIGHT, FOUR, day, late, leaving

SEPTEMBER = date(2026, 9, 1), date(2026, 9, 30)


def test_weeks_begin_on_monday_and_hold_whole_weeks() -> None:
    """September 2026 begins on a Tuesday."""
    found = month(*SEPTEMBER, lambda _: True, {})

    assert {len(week) for week in found.weeks} == {7}
    assert found.weeks[0][0].on == date(2026, 8, 31)
    assert [day.within for day in found.weeks[0]] == [False] + [True] * 6
    assert len(found.days) == 30


def test_dates_in_other_units_say_nothing() -> None:
    """A person who moved on the 15th: neither verdict nor code of the dates after it reaches the view."""
    final = standing_of(day(late(EIGHT, minutes=12), leaving(FOUR)))
    standings = {date(2026, 9, 1) + timedelta(number): final for number in range(30)}

    found = month(*SEPTEMBER, lambda on: on < date(2026, 9, 15), standings)

    cells = [cell for week in found.weeks for cell in week]
    assert all(cell.standing is None and cell.codes == () for cell in cells if cell.on >= date(2026, 9, 15))
    assert (found.numbers.late, found.numbers.late_min, len(found.days)) == (14, 168, 14)


def test_numbers_count_only_what_is_final() -> None:
    """Lateness that may still change is no lateness; leave is duty that is excused."""
    found = numbers(
        [
            standing_of(day(late(EIGHT), leaving(FOUR))),
            standing_of(day(late(EIGHT, minutes=12), leaving(FOUR, minutes=30))),
            standing_of(day(late(EIGHT, minutes=9, status="provisional"), leaving(None, status="open"), status="open")),
            standing_of(day(late(None), leaving(None), absent=True)),
            standing_of(day(excused=[["sick", 1000]])),
            standing_of(day(kind="off")),
            not_judged("no_policy"),
        ]
    )

    assert found._asdict() == {
        "duty": 5,
        "complete": 1,
        "late": 1,
        "late_min": 12,
        "early": 1,
        "early_min": 30,
        "missing": 0,
        "absent": 1,
        "excused": 1,
        "waiting": 1,
    }


@pytest.mark.parametrize(
    ("first", "last", "before", "after"),
    [
        (date(2026, 12, 1), date(2026, 12, 31), date(2026, 11, 1), date(2027, 1, 1)),
        (date(2028, 2, 1), date(2028, 2, 29), date(2028, 1, 1), date(2028, 3, 1)),
        (date(1, 1, 1), date(1, 1, 31), None, date(1, 2, 1)),
        (date(9999, 12, 1), date(9999, 12, 31), date(9999, 11, 1), None),
    ],
)
def test_months_beside_a_month(first: date, last: date, before: date | None, after: date | None) -> None:
    """Also at the ends of the calendar, where a week is cut."""
    assert last_of(first) == last
    assert neighbours(first) == (before, after)
    assert [one.on for one in month(first, last, lambda _: True, {}).days][-1] == last


def test_a_month_without_a_policy_is_not_judged() -> None:
    """It has days, and none of them is a duty."""
    why = Standing("none", frozenset({"none"}), frozenset(), why="no_policy")

    found = month(*SEPTEMBER, lambda _: True, dict.fromkeys([date(2026, 9, 1)], why))

    assert (found.days[0].codes, found.numbers.duty) == (("-",), 0)
