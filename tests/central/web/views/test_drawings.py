"""The strip of a date and the columns of a period stay within their frames, whatever they draw."""

from datetime import date, timedelta
from typing import Any

import pytest

from central.web.views.day_strip import strip
from central.web.views.days_chart import draw
from central.web.views.period import DayNumbers
from tests.central.web.views.verdicts import EIGHT, FOUR, ON, day, late, leaving

DAY = 86_400
NIGHT = day(late(EIGHT + 13 * 3600, due_local=EIGHT + 13 * 3600), leaving(FOUR + 15 * 3600, due_local=FOUR + 15 * 3600))


def repeat(*times: int) -> dict[str, Any]:
    """Return a reason that names punches beside those that count."""
    return {"step": "claim", "what": "repeat", "punches": [{"local": time} for time in times]}


@pytest.mark.parametrize(
    "content",
    [
        day(late(EIGHT), leaving(FOUR)),
        day(late(None), leaving(None)),
        NIGHT,
        day(late(EIGHT - DAY), leaving(FOUR + 2 * DAY)),
        day(late(EIGHT), leaving(FOUR), reasons=[repeat(EIGHT + 5, EIGHT - 90 * DAY)]),
        day(kind="off", reasons=[repeat(EIGHT)]),
    ],
)
@pytest.mark.parametrize(("width", "apart"), [(960, 1), (340, 3)])
def test_a_date_lies_within_its_strip(content: dict[str, Any], width: int, apart: int) -> None:
    """A night, a punch of another date, one of the year before, a day off with a punch."""
    found = strip(content, ON, width=width, hours_apart=apart)

    assert found is not None
    places = [one.x for one in found.due] + [one.x for one in found.punches] + [one.at for one in found.hours]
    assert all(0 <= place <= width for place in places)
    assert 2 <= len(found.hours) <= 25


def test_what_counts_differs_from_other_punches() -> None:
    """And the time between the first and the last that count is one line."""
    found = strip(day(late(EIGHT), leaving(FOUR), reasons=[repeat(EIGHT, EIGHT + 60)]), ON, width=960)

    assert found is not None
    assert [(one.time, one.counts) for one in found.punches] == [
        ("08:00:00", True),
        ("08:01:00", False),
        ("16:00:00", True),
    ]
    assert found.present == (found.punches[0].x, found.punches[2].x)
    assert [one.time for one in found.due] == ["08:00", "16:00"]


def test_a_date_without_slots_and_punches_has_no_strip() -> None:
    """A holiday is no empty drawing."""
    assert strip(day(kind="holiday"), ON, width=960) is None


@pytest.mark.parametrize("people", [1, 7, 500])
@pytest.mark.parametrize("dates", [1, 31])
def test_columns_stand_on_the_ground_and_below_the_top(people: int, dates: int) -> None:
    """Each as high as its people, its parts one upon the other; nothing of a part without people is drawn."""
    excused = [number % (people + 1) for number in range(dates)]
    first = date(2026, 9, 1)
    days = [DayNumbers(first + timedelta(number), people - n, 0, 0, n, 0) for number, n in enumerate(excused)]
    found = draw(days, width=960, height=220)

    assert len(found.columns) == dates
    for column in found.columns:
        assert 40 <= column.x <= column.x + column.width <= 952
        ends = [part.y + part.height for part in column.parts]
        assert ends[0] == pytest.approx(196, abs=0.2)
        assert [part.y for part in column.parts[:-1]] == pytest.approx(ends[1:], abs=0.2)
        assert column.parts[-1].y >= 12
        assert all(part.number > 0 for part in column.parts)


def test_a_period_without_dates_is_an_empty_frame() -> None:
    """The template leaves it out."""
    assert draw([], width=960, height=220).columns == []
