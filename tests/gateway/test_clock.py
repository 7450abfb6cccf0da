"""The gateway's own clock."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from gateway.clock import AssumedClock, SystemClock


def test_now_is_the_machine_time_in_utc() -> None:
    """The clock is aware and close to the machine's."""
    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=1)


def test_synchronised_agrees_with_the_kernel() -> None:
    """What adjtimex says through us is what it says to Python's own view of the same call."""
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
