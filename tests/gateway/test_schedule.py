"""The calendar against steps of the wall clock."""

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from gateway.schedule import MIDNIGHT, Calendar
from tests.broker import WAIT_S

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


def test_job_that_fails_costs_itself_only(wall: Wall) -> None:
    """It is reported and logged without the text of its exception, it stays armed, and the others run."""
    failed: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
    calendar = Calendar(ZONE, wall=wall, failed=lambda name, exc: failed.put((name, exc)))
    ran = threading.Event()

    def fail() -> None:
        raise ValueError("the PIN 4711")

    calendar.each_night("broken", fail)
    calendar.each_night("sound", ran.set)
    with capture_logs() as logged:
        calendar.start()
        for job in ("broken", "sound"):
            calendar._scheduler.modify_job(job, next_run_time=datetime.now(UTC))
        name, exc = failed.get(timeout=WAIT_S)
        assert ran.wait(WAIT_S)
    assert (name, type(exc)) == ("broken", ValueError)
    assert set(calendar.next_runs()) == {"broken", "sound"}
    (line,) = [line for line in logged if line["event"] == "job_failed"]
    assert line["job"] == "broken"
    assert "4711" not in str(line)
    calendar.stop()
