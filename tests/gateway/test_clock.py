"""The gateway's own clock."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from gateway.clock import AssumedClock, ClockStatus, SystemClock


def test_now_is_the_machine_time_in_utc() -> None:
    """The clock is aware and close to the machine's."""
    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=1)


def test_synchronised_agrees_with_the_kernel() -> None:
    """What adjtimex returns through us is what it returns to Python's own view of the same call."""
    kernel = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ctypes; b = ctypes.create_string_buffer(512); print(ctypes.CDLL(None).adjtimex(b))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert SystemClock().synchronised() == (0 <= int(kernel.stdout) < 5)


def test_assumed_clock_vouches() -> None:
    """Whoever starts the gateway with it takes the responsibility."""
    assert AssumedClock().synchronised() is True


class Doubtful:
    """A clock that is put right."""

    def __init__(self) -> None:
        self.off = timedelta(0)
        self.trusted = False

    def now(self) -> datetime:
        """Return the machine's time, moved."""
        return datetime.now(UTC) + self.off

    def synchronised(self) -> bool:
        """Return what the test sets."""
        return self.trusted


def test_a_correction_tells_by_how_much_and_what_was_recorded_before() -> None:
    """A machine without a clock of its own starts in the past, records, and is set by a time server."""
    clock, sequences = Doubtful(), [10, 14, 14]
    status = ClockStatus(clock, lambda: sequences.pop(0))
    assert status.check() is None

    clock.off, clock.trusted = timedelta(days=400), True
    correction = status.check()

    assert correction is not None
    assert abs(correction.by_ms - 400 * 86_400_000) < 10_000
    assert (correction.first, correction.last) == (11, 14)
    assert status.check() is None


def test_a_clock_that_was_doubted_in_vain_tells_nothing() -> None:
    """Nothing was recorded meanwhile; and each doubt begins anew."""
    clock, sequences = Doubtful(), [10, 10, 10, 12]
    status = ClockStatus(clock, lambda: sequences.pop(0))
    clock.trusted = True
    assert status.check() is None

    clock.trusted = False
    assert status.check() is None
    clock.trusted = True
    correction = status.check()

    assert correction is not None
    assert (correction.first, correction.last) == (11, 12)
    assert abs(correction.by_ms) < 10_000
