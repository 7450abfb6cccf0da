"""Aligns a reading of a log with its stored order. Pure: fingerprints in, a count out.

A terminal's clock may be wrong, and its log is cleared, shrinks and wraps; only the order of its records is reliable.
The ledger stores that order, and a reading is aligned with it.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from hashlib import blake2b
from typing import NamedTuple

from drivers.base import BadRecord, RawPunch, Record
from gateway.event import person_key


def fingerprint(record: Record) -> bytes:
    """Return eight bytes that are equal for two readings of the same record of one terminal's log.

    Made of person, local second, state and verify; not of index fields, which some firmware renumbers.
    """
    if isinstance(record, BadRecord):
        return blake2b(b"bad\n" + record.stable, digest_size=8).digest()
    text = f"{person_key(record.pin, record.uid)}\n{record.local_time}\n{record.state}\n{record.verify}"
    return blake2b(text.encode(), digest_size=8).digest()


class Alignment(NamedTuple):
    """How a reading continues the stored order."""

    known: int
    """This many records at the beginning of the reading are known; the rest are new."""
    shift: int
    """Records of the stored order that were purged from the terminal's log: order index minus log position."""


NOTHING_KNOWN = Alignment(0, 0)


def align(known: Sequence[bytes], reading: Sequence[bytes], *, start: int, shift: int, length: int) -> Alignment | None:
    """Align a reading with the end of the stored order; None without an overlap.

    ``known`` are the last fingerprints of the order, which is ``length`` long; ``reading`` begins at log position
    ``start``; ``shift`` is that of the previous reading. The expected place is tried first, then the longest
    end of the stored order that begins the reading.
    """
    expected = length - (start + shift)
    if 0 < expected <= len(reading) and expected <= len(known) and list(known[-expected:]) == list(reading[:expected]):
        return Alignment(expected, shift)
    overlap = _longest_suffix_that_is_prefix(known, reading)
    if overlap:
        return Alignment(overlap, length - overlap - start)
    return None


def _longest_suffix_that_is_prefix(known: Sequence[bytes], reading: Sequence[bytes]) -> int:
    """Return the length of the longest end of ``known`` that begins ``reading``, in linear time (KMP)."""
    pattern = reading[: len(known)]
    if not pattern:
        return 0
    fallback = [0] * len(pattern)
    matched = 0
    for index in range(1, len(pattern)):
        while matched and pattern[index] != pattern[matched]:
            matched = fallback[matched - 1]
        if pattern[index] == pattern[matched]:
            matched += 1
        fallback[index] = matched
    matched = 0
    for print_ in known:
        if matched == len(pattern):
            matched = fallback[matched - 1]
        while matched and print_ != pattern[matched]:
            matched = fallback[matched - 1]
        if print_ == pattern[matched]:
            matched += 1
    return matched


def begins_publishing(record: Record, start: date, today: date) -> bool:
    """Return whether publishing begins with this record, the first dated from ``start`` up to tomorrow.

    The date selects a position and is no filter: all later records are published whatever their date, so a clock that
    was reset later hides no record.
    """
    return isinstance(record, RawPunch) and start <= record.local_time.date() <= today + timedelta(days=1)


def difference(known: Sequence[bytes], reading: Sequence[bytes]) -> tuple[int, int, int]:
    """Return the numbers of unknown, missing and moved records of a whole reading, compared with the stored order.

    Moved ones are counted only where the others are zero: with records missing, every later one has moved.
    """
    missed = Counter(reading) - Counter(known)
    invented = Counter(known) - Counter(reading)
    if missed or invented:
        return missed.total(), invented.total(), 0
    return 0, 0, sum(mine != theirs for mine, theirs in zip(known, reading, strict=True))
