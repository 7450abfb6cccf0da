"""What is asked first: the zone before the clock, our own clock before the terminal's, the cause before its effect."""

import pytest

from gateway.advice import judge_clock, obstacle

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
    """Nobody is told to set the one right clock; a clock that is years off is no zone."""
    assert judge_clock(offset_ms, 500, 60.0, synchronised=True) == found


def test_a_clock_of_ours_that_is_not_synchronised_judges_none() -> None:
    """Unless they agree; and whole hours are a zone all the same."""
    assert judge_clock(7 * MINUTE, 500, 60.0, synchronised=False) == "clock_unjudged"
    assert judge_clock(1000, 500, 60.0, synchronised=False) == "clock_right"
    assert judge_clock(2 * HOUR, 500, 60.0, synchronised=False) == "clock_zone"


@pytest.mark.parametrize(
    ("cause", "reason", "name"),
    [
        ("unavailable", "/dev/ttyUSB0 cannot be opened (Permission denied)", "port_permission"),
        ("unavailable", "/dev/ttyUSB0 cannot be opened (No such file or directory)", "port_missing"),
        ("unavailable", "192.168.1.201:4370 cannot be reached (Permission denied)", "silent"),
        ("unavailable", "/media/absen cannot be read (No such file or directory)", "files_unreadable"),
        ("refused", "the communication key cannot be read from k (No such file or directory)", "key_file"),
        ("refused", "the communication key cannot be read from k (Permission denied)", "key_file"),
        ("refused", "the terminal refuses the communication key; compare comm_key_file", "key_refused"),
        ("refused", "it says no", "refuses"),
        ("internal", "ZeroDivisionError", "driver_failed"),
        ("brand_new", "", "silent"),
        (None, "", "silent"),
    ],
)
def test_obstacles(cause: str | None, reason: str, name: str) -> None:
    """A file of ours is told from a port, a port from the network, and a refusal from silence."""
    assert obstacle(cause, reason).name == name
