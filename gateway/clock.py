"""The gateway's own clock, and whether it can be trusted. Injectable, so that tests and the demo can have their own."""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_TIME_ERROR = 5
_TIMEX_BYTES = 512
"""More than any architecture's struct timex; the kernel fills what it needs."""


class Clock(Protocol):
    """Wall-clock time and its status."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, UTC."""

    def synchronised(self) -> bool:
        """Tell whether the wall clock follows a time source."""


class SystemClock:
    """The machine's clock; synchronised if the kernel says so (adjtimex(2)), whoever disciplines it."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)

    def synchronised(self) -> bool:
        """Ask the kernel; False where it does not know or cannot be asked."""
        request = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only
        try:
            state: int = ctypes.CDLL(None).adjtimex(request)
        except (OSError, AttributeError):
            return False
        return 0 <= state < _TIME_ERROR


class AssumedClock(SystemClock):
    """The machine's clock, taken as synchronised by the word of whoever starts the gateway."""

    def synchronised(self) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True, slots=True)
class Correction:
    """The gateway's clock has become trustworthy; before, it was not."""

    by_ms: int
    """How far it was moved while it was not trusted."""
    first: int
    last: int
    """The sequences recorded meanwhile, from ``first`` to ``last``."""


class ClockStatus:
    """Watches whether a clock can be trusted, and what was recorded while it could not."""

    def __init__(self, clock: Clock, last_sequence: Callable[[], int]) -> None:
        """To be made before anything is recorded."""
        self._clock = clock
        self._last_sequence = last_sequence
        self._unsynchronised_since: tuple[int, timedelta] | None = None
        self.check()

    def check(self) -> Correction | None:
        """Look at the clock; return the correction if it has become trustworthy after something was recorded."""
        if not self._clock.synchronised():
            if self._unsynchronised_since is None:
                self._unsynchronised_since = (self._last_sequence(), self._clock_difference())
            return None
        if self._unsynchronised_since is None:
            return None
        (before, clock_difference), self._unsynchronised_since = self._unsynchronised_since, None
        last = self._last_sequence()
        if last == before:
            return None
        return Correction(
            round((self._clock_difference() - clock_difference) / timedelta(milliseconds=1)), before + 1, last
        )

    def _clock_difference(self) -> timedelta:
        """Return wall-clock time less time that nobody can set and that goes on while the machine sleeps."""
        since_boot = timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
        return self._clock.now() - datetime.fromtimestamp(0, UTC) - since_boot
