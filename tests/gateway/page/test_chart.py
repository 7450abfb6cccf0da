"""A day's drawing and its table say the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.page import chart

EMPTY = [0] * 96
MORNING = [0] * 28 + [12, 30, 7] + [0] * 65
USUAL = [0.0] * 28 + [20.0, 24.5, 3.0] + [0.0] * 65


def test_an_empty_day_has_axes_and_no_bars() -> None:
    """From six to six, and at least up to two."""
    drawing = chart.draw(EMPTY, None, width=960, height=260)
    assert (drawing.bars, drawing.outline) == ([], None)
    assert [mark.label for mark in drawing.hours] == [f"{hour:02}" for hour in range(6, 19)]
    assert [mark.label for mark in drawing.levels] == ["0", "1", "2"]
    assert chart.rows(EMPTY, None) == []


def test_bars_are_as_high_as_they_say() -> None:
    """The highest level is round, and half of it is named too."""
    drawing = chart.draw(MORNING, None, width=960, height=260)
    assert [bar.label for bar in drawing.bars] == ["07:00 - 12", "07:15 - 30", "07:30 - 7"]
    assert [mark.label for mark in drawing.levels] == ["0", "20", "40"]
    per_punch = (drawing.levels[0].at - drawing.levels[-1].at) / 40
    assert [round(bar.height / per_punch) for bar in drawing.bars] == [12, 30, 7]
    assert all(bar.y + bar.height == pytest.approx(drawing.levels[0].at) for bar in drawing.bars)


def test_a_usual_day_is_an_outline_over_the_same_hours() -> None:
    """It begins and ends on the ground."""
    drawing = chart.draw(MORNING, USUAL, width=960, height=260)
    assert drawing.outline is not None
    assert drawing.outline.startswith("M40.0 236 ")
    assert drawing.outline.endswith("V236")


def test_a_night_shift_widens_the_day() -> None:
    """The drawing leaves no person out."""
    night = [1] + [0] * 94 + [1]
    drawing = chart.draw(night, None, width=340, height=220, hours_apart=3)
    assert [mark.label for mark in drawing.hours] == ["00", "03", "06", "09", "12", "15", "18", "21", "24"]
    assert [bar.label for bar in drawing.bars] == ["00:00 - 1", "23:45 - 1"]


def test_table_has_what_is_and_what_usually_is() -> None:
    """In the order of the day."""
    today = [0] * 30 + [5] + [0] * 65
    assert chart.rows(today, USUAL) == [("07:00", 0, 20.0), ("07:15", 0, 24.5), ("07:30", 5, 3.0)]
    assert chart.busiest(MORNING) == ("07:15", 30, None)


@given(
    st.lists(st.integers(0, 5000), min_size=96, max_size=96),
    st.none() | st.lists(st.floats(0, 5000), min_size=96, max_size=96),
)
def test_nothing_is_drawn_outside(today: list[int], usual: list[float] | None) -> None:
    """Whatever happens at the terminals."""
    drawing = chart.draw(today, usual, width=340, height=220)
    assert len(drawing.bars) == sum(map(bool, today))
    for bar in drawing.bars:
        assert bar.x >= chart.LEFT
        assert bar.x + bar.width <= 340 - chart.RIGHT + 0.1
        assert bar.y >= chart.TOP - 0.1
        assert bar.y + bar.height <= 220 - chart.BOTTOM + 0.1
