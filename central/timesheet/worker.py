"""Judging inside the process of an inbox: in short steps between batches of messages."""

import time
from collections.abc import Callable
from random import Random

import structlog

from central.timesheet.recompute import Recompute

ADVANCE_S = 5.0
"""How often time is looked at."""
CHECK_S = 86_400.0
"""How often a sample of stored days is judged again."""
SAMPLE = 200
PERSON_DAYS = 500
"""Person-days of a step, about: the inbox waits for it."""

log = structlog.get_logger("judging")


class Worker:
    """Brings verdicts up to date step by step; every step may raise StoreError."""

    def __init__(self, recompute: Recompute, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._recompute = recompute
        self._monotonic_s = monotonic_s
        self._begun = False
        self._advance_at = 0.0
        self._check_at = monotonic_s() + CHECK_S

    def step(self) -> bool:
        """Judge a little; return whether more may be waiting."""
        now_s = self._monotonic_s()
        if not self._begun:
            self._recompute.begin()
            self._begun = True
        if now_s >= self._advance_at:
            self._advance_at = now_s + ADVANCE_S
            self._recompute.advance()
        handled = self._recompute.batch()
        if not handled and now_s >= self._check_at:
            self._check_at = now_s + CHECK_S
            self.check()
        return handled > 0

    def check(self) -> int:
        """Judge a sample of stored days again; log an alarm where a digest is not the stored one; return how many."""
        found = self._recompute.differing(SAMPLE, Random())  # noqa: S311 - not a secret
        if found:
            log.error("verdicts_drift", days=len(found), first=min(on for _, on in found).isoformat(), sample=SAMPLE)
        return len(found)
