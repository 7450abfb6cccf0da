"""Where does a reading of a log continue what is known? Pure: fingerprints in, a count out.

A terminal's clock lies and its log is cleared, shrinks and wraps; only the order of its records can be trusted. The
ledger keeps that order, and a reading is laid against it.
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

    Made of person, local second, state and verify; not of index fields, which some firmware counts anew.
    """
    if isinstance(record, BadRecord):
        return blake2b(b"bad\n" + record.stable, digest_size=8).digest()
    text = f"{person_key(record.pin, record.uid)}\n{record.local_time}\n{record.state}\n{record.verify}"
    return blake2b(text.encode(), digest_size=8).digest()


class Alignment(NamedTuple):
    """How a reading continues the known order."""

    known: int
    """This many records at the beginning of the reading are known; the rest are new."""
    shift: int
    """Records of the known order that the terminal's log no longer holds: order index minus log position."""


NOTHING_KNOWN = Alignment(0, 0)


def align(known: Sequence[bytes], reading: Sequence[bytes], *, start: int, shift: int, length: int) -> Alignment | None:
    """Lay a reading against the end of the known order; None where they have nothing in common.

    ``known`` are the last fingerprints of the order, which is ``length`` long; ``reading`` begins at log position
    ``start``; ``shift`` is that of the reading before. The place where the reading should continue is tried first;
    failing that, the longest end of the known order that begins the reading.
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
    """Tell whether publishing begins with this record, the first dated from ``start`` up to tomorrow.

    The date picks a position and is no filter: what follows counts whatever its date, so a clock that was reset later
    hides nothing.
    """
    return isinstance(record, RawPunch) and start <= record.local_time.date() <= today + timedelta(days=1)


def difference(known: Sequence[bytes], reading: Sequence[bytes]) -> tuple[int, int, int]:
    """Return how many records of a whole reading are not known, are known and not in it, and are in another place.

    The last is counted only where the first two are zero: with records missing, every later one has moved.
    """
    missed = Counter(reading) - Counter(known)
    invented = Counter(known) - Counter(reading)
    if missed or invented:
        return missed.total(), invented.total(), 0
    return 0, 0, sum(mine != theirs for mine, theirs in zip(known, reading, strict=True))
