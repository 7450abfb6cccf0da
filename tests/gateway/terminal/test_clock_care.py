"""A clock is set only where that loses and invents nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.event import ClockEvidence
from gateway.terminal.clock_care import SET_TOLERANCE_MS, Choice, SetResult, choose, result_of_setting

MEASURED = datetime(2026, 9, 1, 2, tzinfo=UTC)


def clock(offset_ms: int, bound_ms: int = 100) -> ClockEvidence:
    """Return a measurement."""
    return ClockEvidence(offset_ms, bound_ms, MEASURED)


def chosen(offset_ms: int, **changes: Any) -> Choice:
    """Return the choice about a clock that could be set now."""
    circumstances: dict[str, Any] = {
        "tolerance_s": 30.0,
        "max_set_s": 900.0,
        "zone": "Asia/Jakarta",
        "settable": True,
        "caught_up": True,
        "near_burst": lambda: False,
    }
    return choose(clock(offset_ms), **(circumstances | changes))


@pytest.mark.parametrize(
    ("offset_ms", "changes", "action"),
    [
        (30_000, {}, "keep"),
        (-30_000, {}, "keep"),
        (30_001, {}, "set"),
        (-30_001, {}, "set"),
        (420_000, {"near_burst": lambda: True}, "later"),
        (420_000, {"caught_up": False}, "later"),
        (420_000, {"settable": False}, "refuse"),
        (899_999, {"max_set_s": 899.0}, "refuse"),
        (3_600_000, {"max_set_s": 86_400.0}, "refuse"),  # an hour: another time zone
        (-7_200_000, {}, "refuse"),
    ],
)
def test_what_is_done_about_a_clock(offset_ms: int, changes: dict[str, Any], action: str) -> None:
    """Both sides of each border."""
    choice = chosen(offset_ms, **changes)
    assert choice.action == action
    assert (choice.reason is not None) == (action == "refuse")


def test_the_usual_hours_are_looked_up_only_where_they_decide() -> None:
    """The query reads weeks of the ledger."""

    def unexpected() -> bool:
        raise AssertionError

    assert chosen(1000, near_burst=unexpected).action == "keep"


def test_a_refusal_names_the_zone_or_the_setting() -> None:
    """A person reads what to look at."""
    assert "Asia/Jakarta" in (chosen(3_600_000).reason or "")
    assert "max_set" in (chosen(1_000_000).reason or "")
    assert "by hand" in (chosen(420_000, settable=False).reason or "")


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "moved", "right"),
    [
        (420_000, 200, True, True),
        (420_000, 100 + SET_TOLERANCE_MS, True, True),
        (420_000, 101 + SET_TOLERANCE_MS, True, False),
        (420_000, 420_000, False, False),
        (420_000, 419_000, True, False),
        (40_000, -60_000, True, False),
    ],
)
def test_the_result_is_what_is_measured_afterwards(before_ms: int, after_ms: int, moved: bool, right: bool) -> None:
    """Some terminals confirm a setting that they did not make."""
    result = result_of_setting(clock(before_ms), clock(after_ms))
    assert (result.moved, result.fault is None) == (moved, right)


def test_an_impossible_date_after_setting_is_a_fault() -> None:
    """No measurement is possible then."""
    assert result_of_setting(clock(420_000), None) == SetResult(False, "it shows an impossible date after it was set")
