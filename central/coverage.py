"""Which sequences of one stream are held, and what a receipt may say of them. Pure: the caller says what time it is.

Times are seconds of a monotonic clock, so no correction of the wall clock makes a gap older or younger.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import merge
from math import inf
from typing import NamedTuple

GAP_GRACE_S = 30.0
"""A gap is asked for only after it has been open so long: most close by themselves."""
MAX_GAPS = 10_000
"""Gaps that one stream may have at once; each takes memory and a row. Gateways send what is missing again."""
MAX_RANGES = 500
"""Ranges in one receipt; where more are missing, it speaks of a shorter part of the stream."""


@dataclass(slots=True)
class Gap:
    """Sequences that are missing below one that is held."""

    first: int
    last: int
    since_s: float


class Change(NamedTuple):
    """What filling a place did to the gaps: the one that began at ``closed`` is gone, ``opened`` are there instead."""

    closed: int | None
    opened: tuple[tuple[int, int], ...]


class HeldRange(NamedTuple):
    """What a receipt says: all of 1..``upto`` is held, except ``missing`` (first and last of each range)."""

    upto: int
    missing: tuple[tuple[int, int], ...]


_NOTHING = Change(None, ())


class Coverage:
    """The sequences held of one stream: from 1 to ``seen`` without the gaps."""

    def __init__(self, seen: int, assigned: int, gaps: list[tuple[int, int]], now_s: float) -> None:
        """``gaps`` are in order and lie below ``seen``; their age counts from ``now_s``."""
        self.seen = seen
        """Highest sequence held."""
        self.assigned = assigned
        """Highest sequence that the gateway has said it gave away."""
        self.gaps = [Gap(first, last, now_s) for first, last in gaps]
        self.disputed: set[int] = set()
        """Sequences at which something is held, and not everything that came: they are never said to be held."""
        self._tail_since_s = now_s

    def holds(self, sequence: int) -> bool:
        """Tell whether something is held at ``sequence``."""
        if not 1 <= sequence <= self.seen:
            return False
        index = self._before(sequence)
        return index < 0 or self.gaps[index].last < sequence

    def exceeds_gap_limit(self, sequence: int) -> bool:
        """Tell whether holding ``sequence``, which is not held, would open a gap more than there may be."""
        if len(self.gaps) < MAX_GAPS:
            return False
        if sequence > self.seen:
            return sequence > self.seen + 1
        gap = self.gaps[self._before(sequence)]
        return gap.first < sequence < gap.last

    def fill(self, sequence: int, now_s: float) -> Change:
        """Take note that ``sequence``, which was not held, is held from here on."""
        if sequence > self.seen:
            before, self.seen = self.seen, sequence
            self._tail_since_s = now_s
            if sequence == before + 1:
                return _NOTHING
            self.gaps.append(Gap(before + 1, sequence - 1, now_s))
            return Change(None, ((before + 1, sequence - 1),))
        index = self._before(sequence)
        gap = self.gaps[index]
        parts = [
            Gap(first, last, gap.since_s)
            for first, last in ((gap.first, sequence - 1), (sequence + 1, gap.last))
            if first <= last
        ]
        self.gaps[index : index + 1] = parts
        return Change(gap.first, tuple((part.first, part.last) for part in parts))

    def set_assigned(self, assigned: int, now_s: float) -> None:
        """Take note of the highest sequence that the gateway says it has given away."""
        if assigned > self.assigned:
            self.assigned = assigned
            self._tail_since_s = now_s

    def held_range(self, now_s: float) -> HeldRange:
        """Return what may be said now.

        What is young or too much to list is not called held either: ``upto`` ends before it. What was announced and has
        not come is missing too, once nothing has been added to the end for as long: a backlog takes its time to arrive.
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

    def _unconfirmed(self) -> Iterable[Gap]:
        """Yield what must not be confirmed, in order."""
        if not self.disputed:
            return self.gaps
        disputed = [Gap(sequence, sequence, -inf) for sequence in sorted(self.disputed)]
        return merge(self.gaps, disputed, key=lambda gap: gap.first)

    def _before(self, sequence: int) -> int:
        """Return the index of the last gap that begins at or before ``sequence``, or -1."""
        return bisect_right(self.gaps, sequence, key=lambda gap: gap.first) - 1
