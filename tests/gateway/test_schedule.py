"""The calendar against steps of the wall clock."""

import threading
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from gateway.schedule import MIDNIGHT, Calendar
from tests.broker import WAIT_S, eventually

ZONE = ZoneInfo("Asia/Jakarta")
HOUR_S = 3600.0


class Wall:
    """A wall clock that can be stepped."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self.offset_s


@pytest.fixture
def wall() -> Wall:
    """Return a wall clock of the test's own."""
    return Wall()


@pytest.fixture
def calendar(wall: Wall) -> Iterator[Calendar]:
    """Return a calendar that is stopped afterwards."""
    calendar = Calendar(ZONE, wall=wall)
    yield calendar
    calendar.stop()


def test_nightly_job_is_due_in_the_night_of_the_zone(calendar: Calendar) -> None:
    """The next run lies between 01:00 and 04:00 local time, within a day."""
    calendar.each_night("reconcile-lobby", lambda: None)
    calendar.start()

    due = calendar.next_runs()["reconcile-lobby"]

    assert 0 < due - time.time() <= 24 * HOUR_S
    assert HOUR_S <= (due + 7 * HOUR_S) % (24 * HOUR_S) < 4 * HOUR_S


def test_a_job_may_belong_to_midnight(calendar: Calendar) -> None:
    """In the first hour of the day it is due, as a day's counts are."""
    calendar.each_night("tally-lobby", lambda: None, MIDNIGHT)
    calendar.start()

    due = calendar.next_runs()["tally-lobby"]

    assert (due + 7 * HOUR_S) % (24 * HOUR_S) < HOUR_S


@pytest.mark.parametrize("step_s", [-HOUR_S, 30 * 24 * HOUR_S, 3.0])
def test_step_of_the_wall_clock_arms_the_jobs_anew(calendar: Calendar, wall: Wall, step_s: float) -> None:
    """A step either way is noticed once, and the job is armed afterwards."""
    calendar.each_night("reconcile-lobby", lambda: None)
    calendar.start()
    assert calendar.tick() is False

    wall.offset_s += step_s

    assert calendar.tick() is True
    assert calendar.tick() is False
    assert "reconcile-lobby" in calendar.next_runs()


def test_slow_drift_is_no_step(calendar: Calendar, wall: Wall) -> None:
    """A clock being slewed by a second a tick is left alone."""
    calendar.start()
    for _ in range(5):
        wall.offset_s += 1.0
        assert calendar.tick() is False


def test_failing_job_is_kept_for_the_supervisor(calendar: Calendar) -> None:
    """A job's exception does not vanish in the scheduler's log."""
    happened = threading.Event()

    def fail() -> None:
        happened.set()
        raise ValueError("the job's mistake")

    calendar.each_night("broken", fail)
    calendar.start()
    calendar._scheduler.modify_job("broken", next_run_time=None)
    calendar._scheduler.add_job(fail, id="now")
    assert happened.wait(WAIT_S)

    eventually(lambda: calendar.failure is not None)
    assert isinstance(calendar.failure, ValueError)
