"""The gateway's own clock, and whether it can be trusted. Injectable, so that tests and the demo can have their own."""

import ctypes
from datetime import UTC, datetime
from typing import Protocol

_TIME_ERROR = 5
_TIMEX_BYTES = 512
"""More than any architecture's struct timex; the kernel fills what it needs."""


class Clock(Protocol):
    """Wall-clock time and its standing."""

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
