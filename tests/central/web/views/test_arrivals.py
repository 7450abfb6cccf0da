"""The curve of arrivals: what it counts, and that whatever is drawn stays within its frame."""

import re
from datetime import date

import pytest

from central.web.views.arrivals import HOUR_S, Arrivals, draw, gather, rows

H = HOUR_S
WEEKS = [date(2026, 8, day) for day in (4, 11, 18, 25)]
USUAL = {WEEKS[0]: [7 * H, 7 * H + 1200], WEEKS[1]: [7 * H, 7 * H + 600], WEEKS[2]: [], WEEKS[3]: [7 * H + 1800]}


def test_what_is_usual_is_the_median_of_dates_with_arrivals() -> None:
    """A holiday does not lower it, one strange date does not move it; before the first arrival it is nobody."""
    found = gather([7 * H], USUAL, people=2, until=None)

    assert [found.usual_by(second) for second in (0, 7 * H - 1, 7 * H, 7 * H + 1200, 23 * H)] == [0, 0, 1, 2, 2]
    assert [found.by(second) for second in (7 * H - 1, 7 * H)] == [0, 1]


@pytest.mark.parametrize("before", [{}, {WEEKS[0]: [7 * H]}, {WEEKS[0]: [7 * H], WEEKS[1]: []}])
def test_one_date_is_not_a_usual_one(before: dict[date, list[int]]) -> None:
    """Nothing is said about what is usual."""
    found = gather([], before, people=1, until=9 * H)

    assert found.usual is None
    assert found.usual_by(8 * H) is None
    assert draw(found, width=900, height=200).usual is None


@pytest.mark.parametrize(
    ("times", "until"),
    [
        ([], None),
        ([], 0),
        ([0], None),
        ([-3600], None),
        ([21 * H, 21 * H + 5, 30 * H], None),
        ([6 * H] * 500, 6 * H),
        ([5 * H, 47 * H], 12 * H),
        ([7 * H], 40 * H),
        ([-90 * H, 900 * H], None),
    ],
)
@pytest.mark.parametrize("before", [{}, USUAL, {WEEKS[0]: [30 * H], WEEKS[1]: [47 * H]}])
def test_the_drawing_stays_within_its_frame(times: list[int], until: int | None, before: dict[date, list[int]]) -> None:
    """Also of a night shift, of nobody, of an arrival before midnight, and of a clock far off."""
    drawing = draw(gather(times, before, people=3, until=until), width=900, height=200)

    for path in filter(None, (drawing.area, drawing.usual)):
        across = [float(x) for x in re.findall(r"(?:[MLH] ?)(-?[\d.]+)", path)]
        down = [float(y) for y in re.findall(r"V(-?[\d.]+)", path)]
        assert all(40 <= x <= 892 for x in across)
        assert all(0 <= y <= 176 for y in down)
    assert drawing.now is None or 40 <= drawing.now <= 892
    assert all(40 <= mark.at <= 892 for mark in drawing.hours)
    assert len(drawing.hours) >= 5


def test_one_late_arrival_does_not_stretch_the_drawing() -> None:
    """As that of a guard in the evening; a shift that is a tenth of the people does."""
    day = [7 * H + 60 * number for number in range(20)]

    assert draw(gather([*day, 21 * H], {}, people=21, until=None), width=900, height=200).hours[-1].label == "10"
    assert draw(gather([*day, *[21 * H] * 4], {}, people=24, until=None), width=900, height=200).hours[-1].label == "22"


def test_the_table_has_a_row_where_the_curve_grows() -> None:
    """Quarters in which nobody comes are left out; a date that goes on ends at its present quarter."""
    found = Arrivals(people=3, times=(7 * H, 7 * H + 60, 8 * H), usual=None, usual_from=0, until=None)

    assert [tuple(row) for row in rows(found)] == [("07:15", 2, None), ("08:15", 3, None)]
    assert [row.time for row in rows(gather([7 * H, 8 * H], USUAL, people=2, until=7 * H + 300))] == ["07:15"]
