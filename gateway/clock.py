"""The gateway's own clock, and whether it is synchronised. Injectable: tests and the demo use their own."""

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
        """Return whether the wall clock follows a time source."""


class SystemClock:
    """The machine's clock; its synchronisation state is the kernel's (adjtimex(2)), whatever program disciplines it."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)

    def synchronised(self) -> bool:
        """Query the kernel; False where it does not know or the call is not available."""
        request = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only
        try:
            state: int = ctypes.CDLL(None).adjtimex(request)
        except (OSError, AttributeError):
            return False
        return 0 <= state < _TIME_ERROR


class AssumedClock(SystemClock):
    """The machine's clock, assumed to be synchronised because the configuration or an option says so."""

    def synchronised(self) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True, slots=True)
class Correction:
    """The gateway's clock became synchronised after a time without synchronisation."""

    by_ms: int
    """How far it was moved while it was not synchronised."""
    first: int
    last: int
    """The sequences recorded meanwhile, from ``first`` to ``last``."""


class ClockStatus:
    """Tracks whether a clock is synchronised, and the sequences recorded while it was not."""

    def __init__(self, clock: Clock, last_sequence: Callable[[], int]) -> None:
        """To be created before anything is recorded."""
        self._clock = clock
        self._last_sequence = last_sequence
        self._unsynchronised_since: tuple[int, timedelta] | None = None
        self.check()

    def check(self) -> Correction | None:
        """Check the clock; return the correction if it became synchronised after something was recorded."""
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
        """Return wall-clock time minus boot time, which cannot be set and continues during suspend."""
        since_boot = timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
        return self._clock.now() - datetime.fromtimestamp(0, UTC) - since_boot
