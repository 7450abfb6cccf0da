"""Where a reading of a log continues what is known."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.base import BadRecord, RawPunch, Record
from gateway.alignment import Alignment, align, begins_publishing, difference, fingerprint

MONDAY = datetime(2026, 9, 7, 7, 30)  # noqa: DTZ001 - a terminal's wall clock has no zone


def prints(text: str) -> list[bytes]:
    """Write an order of records as letters; equal letters are equal fingerprints."""
    return [letter.encode() for letter in text]


def lay(known: str, reading: str, *, start: int = 0, shift: int = 0) -> Alignment | None:
    """Align letters; ``known`` is the whole known order."""
    return align(prints(known), prints(reading), start=start, shift=shift, length=len(known))


def punch(
    pin: str | None = "1001",
    *,
    uid: int | None = None,
    at: datetime = MONDAY,
    state: int = 0,
    verify: int = 1,
    work_code: str | None = "0",
    raw: bytes = b"\1\0",
) -> RawPunch:
    """Make a record."""
    return RawPunch(pin, uid, at, state, verify, work_code, raw)


class TestAlign:
    """A reading laid against the end of the known order."""

    def test_exact_continuation(self) -> None:
        """A whole log that has grown: what is known begins it, the rest is new."""
        assert lay("abcd", "abcdef") == Alignment(known=4, shift=0)

    def test_nothing_new(self) -> None:
        """The same log again: everything is known."""
        assert lay("abcd", "abcd") == Alignment(known=4, shift=0)

    def test_tail(self) -> None:
        """A tail that begins with known records: only what follows them is new."""
        assert lay("abcdefgh", "fghij", start=5) == Alignment(known=3, shift=0)

    def test_wrap_with_constant_count(self) -> None:
        """A full log overwrites its oldest records: as many are new as have gone, though the count is the same."""
        assert lay("abcdef", "cdefgh") == Alignment(known=4, shift=2)

    def test_wrap_seen_by_a_tail(self) -> None:
        """A tail of a full log that moved on by two: its first records are further on in the known order."""
        assert lay("abcdefgh", "fghXY", start=3) == Alignment(known=3, shift=2)

    def test_after_a_wrap_positions_are_counted_from_the_new_front(self) -> None:
        """Once two records have gone from the front, a tail is expected two places earlier in the log."""
        assert lay("abcdefgh", "efghij", start=2, shift=2) == Alignment(known=4, shift=2)

    def test_purge_of_a_block(self) -> None:
        """A terminal that deletes a block of its oldest records at once: nothing is new, the front has moved."""
        assert lay("abcdefgh", "fgh") == Alignment(known=3, shift=5)

    def test_purge_of_a_block_and_new_records(self) -> None:
        """A block gone from the front and records added at the end, in one reading."""
        assert lay("abcdefgh", "ghXYZ") == Alignment(known=2, shift=6)

    def test_no_overlap(self) -> None:
        """Records that have nothing in common with what is known are not guessed to continue it."""
        assert lay("abcdef", "uvwxyz") is None

    def test_empty_reading(self) -> None:
        """An empty reading continues nothing."""
        assert lay("abcdef", "") is None

    def test_shrunk_at_its_end(self) -> None:
        """A log that lost its newest records does not end as the known order does: no alignment."""
        assert lay("abcdef", "abcd") is None

    def test_same_records_in_another_order(self) -> None:
        """Order is what is compared, not the set of records."""
        assert lay("abcd", "dcba") == Alignment(known=1, shift=3)
        assert lay("abcd", "cbad") is None

    def test_identical_record_added_to_identical_records(self) -> None:
        """AAA, then AAAA: one record is new, though every overlap of one to three would fit."""
        assert lay("AAA", "AAAA") == Alignment(known=3, shift=0)

    def test_identical_records_in_a_tail(self) -> None:
        """The position decides where a tail continues, not the longest run of equal records."""
        # Known: x y A A. The log is now x y A A A A; read from position 3, three A are served, one of them known.
        assert lay("xyAA", "AAA", start=3) == Alignment(known=1, shift=0)

    def test_repeated_pattern_in_a_tail(self) -> None:
        """The position decides also where a longer overlap would fit."""
        # The log is now ababab; its last two records are known by position 2 and 3, the pair behind them is new.
        assert lay("abab", "abab", start=2) == Alignment(known=2, shift=0)

    def test_only_the_end_of_the_order_is_needed(self) -> None:
        """A long order need not be loaded to place a tail."""
        found = align(prints("yz"), prints("yzAB"), start=998, shift=0, length=1000)
        assert found == Alignment(known=2, shift=0)

    def test_wrap_with_only_the_end_of_the_order(self) -> None:
        """The shift counts from the whole order even if only its end was loaded."""
        found = align(prints("wxyz"), prints("yzAB"), start=100, shift=0, length=1000)
        assert found == Alignment(known=2, shift=898)

    def test_reading_that_starts_behind_what_is_known(self) -> None:
        """A reading that begins where the known order ends proves nothing."""
        assert lay("abcd", "ef", start=4) is None

    @settings(max_examples=400)
    @given(known=st.text("ab", max_size=9), reading=st.text("abc", max_size=9), data=st.data())
    @example(known="aab", reading="aab", data=None)
    def test_as_the_obvious_reference(self, known: str, reading: str, data: st.DataObject | None) -> None:
        """Short orders of few letters, all positions: the same answer as trying every overlap in turn."""
        start = data.draw(st.integers(0, 10)) if data else 0
        shift = data.draw(st.integers(0, 10)) if data else 0
        expected = len(known) - start - shift
        overlaps = [n for n in range(1, min(len(known), len(reading)) + 1) if known[-n:] == reading[:n]]
        found = lay(known, reading, start=start, shift=shift)
        if expected in overlaps:
            assert found == Alignment(expected, shift)
        elif overlaps:
            assert found == Alignment(max(overlaps), len(known) - max(overlaps) - start)
        else:
            assert found is None

    @settings(max_examples=100)
    @given(
        log=st.lists(st.integers(0, 3), min_size=1, max_size=30),
        gone=st.integers(0, 29),
        split=st.integers(0, 30),
        data=st.data(),
    )
    def test_a_grown_log_is_continued_exactly(self, log: list[int], gone: int, split: int, data: st.DataObject) -> None:
        """However its records repeat: a log that only grew since the last reading is continued at the right place."""
        gone = min(gone, len(log) - 1)
        split = max(gone + 1, min(split, len(log)))
        start = data.draw(st.integers(gone, split - 1)) - gone
        order = [bytes([value]) for value in log]
        found = align(order[:split], order[gone + start :], start=start, shift=gone, length=split)
        assert found == Alignment(split - gone - start, gone)

    @pytest.mark.parametrize(
        ("known", "reading"),
        [
            (b"a" * 20_000, b"a" * 9_999 + b"b"),
            (b"a" * 19_999 + b"b", b"a" * 20_000),
            (b"ab" * 10_000, b"ab" * 9_000 + b"c"),
            ((b"a" * 99 + b"b") * 200, (b"a" * 99 + b"b") * 150 + b"a" * 5_000),
        ],
        ids=["run-then-other", "run-ended", "period-2", "period-100"],
    )
    def test_linear_on_periodic_logs(self, known: bytes, reading: bytes) -> None:
        """A log of equal or periodic records costs a few comparisons per record, not one per pair."""
        Counted.comparisons = 0
        align(
            [Counted(value) for value in known],  # type: ignore[misc]  # stands in for a fingerprint
            [Counted(value) for value in reading],  # type: ignore[misc]
            start=0,
            shift=7,
            length=len(known),
        )
        assert Counted.comparisons <= 6 * (len(known) + len(reading))


class Counted:
    """Stands in for a fingerprint and counts how often it is compared."""

    comparisons = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return isinstance(other, Counted) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


class TestFingerprint:
    """What makes two readings of one record equal."""

    @pytest.mark.parametrize(
        "other",
        [
            punch("1002"),
            punch("01001"),
            punch(at=MONDAY + timedelta(seconds=1)),
            punch(state=1),
            punch(verify=15),
            punch(None, uid=1001),
        ],
        ids=["pin", "leading-zero", "second", "state", "verify", "uid"],
    )
    def test_differs(self, other: RawPunch) -> None:
        """Person, second, state and verify each make another record."""
        assert fingerprint(other) != fingerprint(punch())

    def test_index_fields_do_not_count(self) -> None:
        """The raw bytes may carry an index that firmware counts anew: they are no part of it."""
        assert fingerprint(punch(raw=b"\7\7")) == fingerprint(punch())

    def test_unreadable_record_by_its_stable_bytes(self) -> None:
        """A bad record is the same if its bytes without index fields are."""
        first = BadRecord(b"\1\0rest", b"rest", "impossible date")
        assert fingerprint(BadRecord(b"\2\0rest", b"rest", "impossible date")) == fingerprint(first)
        assert fingerprint(BadRecord(b"\1\0else", b"else", "impossible date")) != fingerprint(first)


TODAY = date(2026, 9, 7)


def days(*offsets: int) -> Sequence[Record]:
    """Make records on days counted from today."""
    return [punch(at=MONDAY + timedelta(days=offset)) for offset in offsets]


class TestBeginsPublishing:
    """With which record of a log an office's chosen start is reached."""

    def test_dated_from_the_start_on(self) -> None:
        """Not before the day itself."""
        start = TODAY - timedelta(days=3)
        opens = [begins_publishing(record, start, TODAY) for record in days(-9, -5, -3, -1)]
        assert opens == [False, False, True, True]

    def test_date_in_the_future_is_not_believed(self) -> None:
        """A record dated after tomorrow does not open the history; one of tomorrow does (zones differ)."""
        start = TODAY - timedelta(days=3)
        assert [begins_publishing(record, start, TODAY) for record in days(1, 2, 400)] == [True, False, False]

    def test_unreadable_records_decide_nothing(self) -> None:
        """A bad record has no date."""
        assert not begins_publishing(BadRecord(b"x", b"x", "implausible"), TODAY, TODAY)


class TestDifference:
    """What a whole reading states about the readings before it."""

    @pytest.mark.parametrize(
        ("known", "reading", "expected"),
        [
            ("abc", "abc", (0, 0, 0)),
            ("abc", "abxc", (1, 0, 0)),
            ("abxc", "abc", (0, 1, 0)),
            ("abc", "acb", (0, 0, 2)),
            ("aab", "abb", (1, 1, 0)),
            ("", "ab", (2, 0, 0)),
        ],
    )
    def test_counted_with_repetitions(self, known: str, reading: str, expected: tuple[int, int, int]) -> None:
        """Missed, invented, reordered."""
        assert difference(prints(known), prints(reading)) == expected
