"""The order of questions: the zone before the clock, our own clock before the terminal's, causes before effects."""

import pytest

from drivers.base import Reason
from gateway.advice import judge_clock, obstacle
from gateway.doctor import TERMINAL_STEPS
from gateway.findings import FINDINGS

MINUTE, HOUR = 60_000, 3_600_000


@pytest.mark.parametrize(
    ("offset_ms", "found"),
    [
        (0, "clock_right"),
        (-60_000, "clock_right"),
        (61_000, "clock_off"),
        (7 * MINUTE, "clock_off"),
        (-12 * MINUTE, "clock_off"),
        (-2 * HOUR, "clock_zone"),
        (HOUR + 4 * MINUTE, "clock_zone"),
        (HOUR + 7 * MINUTE, "clock_off"),
        (-7 * HOUR - 50_000, "clock_zone"),
        (15 * MINUTE + 30_000, "clock_off"),
        (45 * MINUTE + 30_000, "clock_zone"),
        (-30 * MINUTE, "clock_zone"),
        (5 * HOUR + 45 * MINUTE, "clock_zone"),
        (26 * HOUR, "clock_zone"),
        (27 * HOUR, "clock_off"),
        (-365 * 24 * HOUR, "clock_off"),
    ],
)
def test_an_offset_of_whole_hours_or_quarters_is_first_a_zone(offset_ms: int, found: str) -> None:
    """The one right clock is not to be set; a clock that is years off is no zone."""
    assert judge_clock(offset_ms, 500, 60.0, synchronised=True) == found


def test_a_clock_of_ours_that_is_not_synchronised_judges_none() -> None:
    """Unless they agree; and whole hours are a zone all the same."""
    assert judge_clock(7 * MINUTE, 500, 60.0, synchronised=False) == "clock_unjudged"
    assert judge_clock(1000, 500, 60.0, synchronised=False) == "clock_right"
    assert judge_clock(2 * HOUR, 500, 60.0, synchronised=False) == "clock_zone"


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_of_a_driver_has_a_finding_with_advice(reason: Reason) -> None:
    """As a value from the control socket too; the doctor knows the step."""
    found = obstacle("refused", reason)
    assert found == obstacle("unavailable", reason.value)
    assert found.step in TERMINAL_STEPS
    assert FINDINGS[found.name].advice is not None
    assert found.name not in {"refuses", "silent", "not_a_terminal", "driver_failed"}


@pytest.mark.parametrize(
    ("cause", "reason", "name"),
    [
        ("refused", None, "refuses"),
        ("protocol", "", "not_a_terminal"),
        ("internal", None, "driver_failed"),
        ("unavailable", "a reason of a newer version", "silent"),
        ("brand_new", "", "silent"),
        (None, None, "silent"),
    ],
)
def test_without_a_known_reason_the_kind_of_error_decides(cause: str | None, reason: str | None, name: str) -> None:
    """A cause or reason of another version counts as silence."""
    assert obstacle(cause, reason).name == name
