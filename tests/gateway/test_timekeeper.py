"""A terminal's clock beside ours."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drivers.base import ClockReading
from gateway.event import ClockEvidence
from gateway.timekeeper import Timekeeper

ZONE = ZoneInfo("Asia/Jakarta")
START = datetime(2026, 9, 4, 0, 30, tzinfo=UTC)


def shown(after_s: float, off_s: float = 0.0) -> ClockReading:
    """Return what a terminal shows whose clock is off by so much."""
    moment = START + timedelta(seconds=after_s + off_s)
    return ClockReading(moment.astimezone(ZONE).replace(tzinfo=None, microsecond=0), 0.04)


def measure(keeper: Timekeeper, after_s: float, off_s: float = 0.0, *, ours_off_s: float = 0.0) -> float | None:
    """Measure, and return by how much the clock has jumped."""
    requested = START + timedelta(seconds=after_s + ours_off_s)
    jump = keeper.measure(shown(after_s, off_s), requested, 1000 + after_s, synchronised=True)
    return None if jump is None else jump.by_s


def test_offset_has_the_half_second_and_the_round_trip_in_its_bound() -> None:
    """A clock that is right shows the second that has begun."""
    keeper = Timekeeper(ZONE, None)

    assert measure(keeper, 0.0) is None
    assert keeper.evidence == ClockEvidence(480, 520, START)


@pytest.mark.parametrize("step_s", [-3600.0, 7.0, 86400.0])
def test_a_step_is_reported_once_with_the_offset_before(step_s: float) -> None:
    """And then the new time is what the next one is compared with."""
    keeper = Timekeeper(ZONE, None)
    measure(keeper, 0.0)

    assert measure(keeper, 60.0, step_s) == pytest.approx(step_s)
    assert measure(keeper, 120.0, step_s) is None


def test_drift_is_no_jump_and_neither_is_our_own_correction() -> None:
    """A crystal may lose four seconds a day, and our wall clock may be set by a year."""
    keeper = Timekeeper(ZONE, None)
    measure(keeper, 0.0)

    assert measure(keeper, 86400.0, -4.0) is None
    assert measure(keeper, 86460.0, -4.0, ours_off_s=3e7) is None


def test_the_process_before_is_remembered_only_with_a_trusted_clock() -> None:
    """Across our restart there is nothing but the wall clock to compare by; the memory waits until it is trusted."""
    before = ClockEvidence(480, 520, START - timedelta(hours=8))
    trusting, doubting = Timekeeper(ZONE, before), Timekeeper(ZONE, before)

    assert measure(trusting, 0.0, -300.0) == pytest.approx(-300.0)
    assert doubting.measure(shown(0.0, -300.0), START, 1000.0, synchronised=False) is None
    assert measure(doubting, 60.0, -300.0) == pytest.approx(-300.0)  # as soon as there is a clock to compare by
    assert measure(doubting, 120.0, -300.0) is None


def test_what_was_set_is_no_jump() -> None:
    """After `forget` comparing begins anew."""
    keeper = Timekeeper(ZONE, None)
    measure(keeper, 0.0, 400.0)
    keeper.forget()

    assert measure(keeper, 60.0) is None
    assert measure(keeper, 120.0, 30.0) == pytest.approx(30.0)


def test_a_clock_that_cannot_be_read_is_no_evidence() -> None:
    """Neither now nor for what comes after."""
    keeper = Timekeeper(ZONE, None)
    measure(keeper, 0.0)

    assert keeper.measure(None, START, 1060.0, synchronised=True) is None
    assert keeper.evidence is None
    assert measure(keeper, 120.0, 3600.0) is None


def test_a_measurement_of_before_counts_from_then() -> None:
    """A terminal that cannot be requested to show its clock shows it now and then."""
    keeper = Timekeeper(ZONE, None)
    reading = replace(shown(0.0), age_s=600.0)
    assert keeper.measure(reading, START + timedelta(seconds=600), 1600, synchronised=True) is None
    assert keeper.evidence == ClockEvidence(480, 520, START)
    later = replace(reading, age_s=660.0)
    assert keeper.measure(later, START + timedelta(seconds=660), 1660, synchronised=True) is None
    assert keeper.evidence == ClockEvidence(480, 520, START)


def test_what_the_bounds_do_not_know_is_no_jump() -> None:
    """Two estimates of a right clock may differ by their bounds; an hour is a jump all the same."""
    keeper = Timekeeper(ZONE, None)

    def estimate(after_s: float, off_s: float) -> float | None:
        reading = replace(shown(after_s, off_s), round_trip_s=20.0)
        jump = keeper.measure(reading, START + timedelta(seconds=after_s), 1000 + after_s, synchronised=True)
        return None if jump is None else jump.by_s

    assert estimate(0.0, 20.0) is None
    assert estimate(600.0, 2.0) is None
    assert estimate(1200.0, -3580.0) == pytest.approx(-3582.0)
