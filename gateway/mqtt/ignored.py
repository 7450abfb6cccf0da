"""Counts received messages that are ignored, and limits how often each kind is logged."""

import time
from collections import Counter


class Ignored:
    """The ignored messages since the start, by log code."""

    def __init__(self, interval_s: float) -> None:
        """``interval_s`` is the minimum between log lines of one code."""
        self._interval_s = interval_s
        self._counts: Counter[str] = Counter()
        self._log_at: dict[str, float] = {}
        """Log code → monotonic time from which it may be logged again."""

    def count(self, code: str, count: int = 1) -> int | None:
        """Count ignored messages; return their number since the start where that is to be logged now."""
        self._counts[code] += count
        return self._counts[code] if self.may_log(code) else None

    def may_log(self, code: str) -> bool:
        """Return whether this log code was not logged within the interval."""
        now = time.monotonic()
        if now < self._log_at.get(code, 0.0):
            return False
        self._log_at[code] = now + self._interval_s
        return True
