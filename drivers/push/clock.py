"""The clock of a terminal that cannot be requested to show it: an estimate from punches that are sent at once. Pure.

A punch is received after it was made. So the terminal's clock is at least as far ahead as a punch's time lies ahead of
its reception, and no more than the delay further. Punches are sent within a second or two while nothing is in the way;
a punch that waited in the terminal proves nothing about it. What waited is recognised by three signs: several punches
in one upload, a gap in the contact before it, and offsets that do not agree with each other.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from drivers.base import ClockReading, RawPunch, Record

LIVE_RECORDS = 5
"""More records in one upload were waiting."""
CONTACT_GAP_S = 60.0
"""After a longer time without a request the terminal may have been without network."""
SAMPLES = 3
"""Punches that an estimate is made of."""
SPREAD_S = 30.0
"""The first and the last of them are received at least this far apart: what waited is sent within seconds."""
AGREE_S = 20.0
"""Their offsets differ by this much at most."""
DELAY_S = 20.0
"""The fastest of them is sent within this time: an assumption, which the bound of the estimate contains."""
MOST_S = 80 * 366 * 86_400.0
"""A time further away is no clock's."""
AGE_S = 86_400.0
"""An older estimate is worth nothing."""


class _Sample(NamedTuple):
    at_s: float
    """Of the reception, monotonic."""
    raw: bytes
    """Of the punch: one that is sent again is no further sample."""
    ahead_s: float
    """The punch's time minus that of its reception."""


class LiveClock:
    """The estimate for one terminal."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._estimate: tuple[float, datetime, float] | None = None
        """When it was made (monotonic and wall clock in the zone, naive), and the least offset in seconds."""

    def contact(self, before_s: float | None, now_s: float) -> None:
        """Take the times of a request and of the one before it."""
        if before_s is None or now_s - before_s > CONTACT_GAP_S:
            self._samples.clear()

    def punches(self, records: list[Record], received: datetime, now_s: float) -> None:
        """Take the records of one upload, received at ``received``, which has a zone."""
        punches = [record for record in records if isinstance(record, RawPunch)]
        if len(records) > LIVE_RECORDS:
            self._samples.clear()
        if not punches or len(records) > LIVE_RECORDS:
            return
        here = received.astimezone(self._zone).replace(tzinfo=None)
        last = punches[-1]
        ahead_s = (last.local_time - here).total_seconds()
        if abs(ahead_s) > MOST_S or any(sample.raw == last.raw for sample in self._samples):
            return
        self._samples.append(_Sample(now_s, last.raw, ahead_s))
        offsets = [sample.ahead_s for sample in self._samples]
        far_apart = now_s - self._samples[0].at_s >= SPREAD_S
        if len(offsets) == SAMPLES and far_apart and max(offsets) - min(offsets) <= AGREE_S:
            self._estimate = (now_s, here, max(offsets))

    def reading(self, now_s: float) -> ClockReading | None:
        """Return the last estimate; None where there is none of the last day."""
        if self._estimate is None or now_s - self._estimate[0] > AGE_S:
            return None
        made_s, here, ahead_s = self._estimate
        # The offset lies between the least one and DELAY_S more: a request of DELAY_S has the same meaning.
        return ClockReading(here + timedelta(seconds=ahead_s + DELAY_S), DELAY_S, max(0.0, now_s - made_s))
