"""Which sequences of one stream are held, and what a receipt may confirm. Pure: the caller passes the time.

Times are seconds of a monotonic clock, so a correction of the wall clock does not change the age of a gap.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import merge
from math import inf
from typing import NamedTuple

GAP_GRACE_S = 30.0
"""A receipt requests a gap only after it has been open this long: most gaps close without a request."""
MAX_GAPS = 10_000
"""Gaps that one stream may have at once; each takes memory and a row. Gateways send missing events again."""
MAX_RANGES = 500
"""Ranges in one receipt; a receipt with more would be too large, so it covers a shorter part of the stream."""


@dataclass(slots=True)
class Gap:
    """Missing sequences below a held one."""

    first: int
    last: int
    since_s: float


class Change(NamedTuple):
    """The effect of one stored event on the gaps: the gap beginning at ``closed`` is replaced by ``opened``."""

    closed: int | None
    opened: tuple[tuple[int, int], ...]


class HeldRange(NamedTuple):
    """The content of a receipt: all of 1..``upto`` is held, except ``missing`` (first and last of each range)."""

    upto: int
    missing: tuple[tuple[int, int], ...]


_NO_CHANGE = Change(None, ())


class Coverage:
    """The sequences held of one stream: from 1 to ``seen`` without the gaps."""

    def __init__(
        self, seen: int, assigned: int, gaps: list[tuple[int, int]], now_s: float, unlisted_gaps: int = 0
    ) -> None:
        """``gaps`` are in order and lie below ``seen``; their age counts from ``now_s``.

        Where some gaps are not listed, only sequences in or beside listed ones and above ``seen`` may be requested.
        """
        self.seen = seen
        """Highest sequence held."""
        self.assigned = assigned
        """Highest sequence that the gateway has announced as assigned."""
        self.gaps = [Gap(first, last, now_s) for first, last in gaps]
        self.disputed: set[int] = set()
        """Sequences at which an event is held and another one was rejected: receipts never confirm them."""
        self._tail_since_s = now_s
        self._unlisted_gaps = unlisted_gaps

    def holds(self, sequence: int) -> bool:
        """Return whether an event is held at ``sequence``."""
        if not 1 <= sequence <= self.seen:
            return False
        if not self.gaps:
            return True
        index = self._gap_index(sequence)
        return index < 0 or self.gaps[index].last < sequence

    def exceeds_gap_limit(self, sequence: int) -> bool:
        """Return whether storing ``sequence``, which is not held, would exceed ``MAX_GAPS``."""
        if len(self.gaps) + self._unlisted_gaps < MAX_GAPS:
            return False
        if sequence > self.seen:
            return sequence > self.seen + 1
        gap = self.gaps[self._gap_index(sequence)]
        return gap.first < sequence < gap.last

    @property
    def extent(self) -> tuple[int, int]:
        """Return the highest sequence held and the number of gaps, unlisted ones too."""
        return self.seen, len(self.gaps) + self._unlisted_gaps

    def fill(self, sequence: int, now_s: float) -> Change:
        """Mark ``sequence``, which was not held, as held."""
        if sequence > self.seen:
            before, self.seen = self.seen, sequence
            self._tail_since_s = now_s
            if sequence == before + 1:
                return _NO_CHANGE
            self.gaps.append(Gap(before + 1, sequence - 1, now_s))
            return Change(None, ((before + 1, sequence - 1),))
        index = self._gap_index(sequence)
        gap = self.gaps[index]
        parts = [
            Gap(first, last, gap.since_s)
            for first, last in ((gap.first, sequence - 1), (sequence + 1, gap.last))
            if first <= last
        ]
        self.gaps[index : index + 1] = parts
        return Change(gap.first, tuple((part.first, part.last) for part in parts))

    def set_assigned(self, assigned: int, now_s: float) -> None:
        """Record the highest sequence that the gateway has announced as assigned."""
        if assigned > self.assigned:
            self.assigned = assigned
            self._tail_since_s = now_s

    def held_range(self, now_s: float) -> HeldRange:
        """Return what a receipt may confirm now.

        ``upto`` ends before the first gap younger than ``GAP_GRACE_S`` and before a gap beyond ``MAX_RANGES``. Assigned
        sequences above ``seen`` are missing too, once the end of the stream has not moved for ``GAP_GRACE_S``: a
        backlog takes time to arrive.
        """
        missing: list[tuple[int, int]] = []
        for gap in self._unconfirmed():
            if now_s - gap.since_s < GAP_GRACE_S or len(missing) == MAX_RANGES:
                return HeldRange(gap.first - 1, tuple(missing))
            missing.append((gap.first, gap.last))
        if self.assigned > self.seen and now_s - self._tail_since_s >= GAP_GRACE_S and len(missing) < MAX_RANGES:
            missing.append((self.seen + 1, self.assigned))
            return HeldRange(self.assigned, tuple(missing))
        return HeldRange(self.seen, tuple(missing))

    @property
    def greatest_upto(self) -> int:
        """Return the highest ``upto`` that a receipt about what is held may have, whatever the age of the gaps."""
        unconfirmed = list(self._unconfirmed())
        return unconfirmed[MAX_RANGES].first - 1 if len(unconfirmed) > MAX_RANGES else self.seen

    def _unconfirmed(self) -> Iterable[Gap]:
        """Yield the gaps and disputed sequences, in order."""
        if not self.disputed:
            return self.gaps
        disputed = [Gap(sequence, sequence, -inf) for sequence in sorted(self.disputed)]
        return merge(self.gaps, disputed, key=lambda gap: gap.first)

    def _gap_index(self, sequence: int) -> int:
        """Return the index of the last gap that begins at or before ``sequence``, or -1."""
        return bisect_right(self.gaps, sequence, key=lambda gap: gap.first) - 1
