"""Layouts of the records in a ZKTeco log: decoding, encoding, and finding out which one a log has. Pure.

No command asks a terminal for the layout of its log. :func:`choose_layout` infers it from the size of the log, the
reported count of records, and how plausible the records are as punches in each layout.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import repeat
from math import lcm
from typing import Any, NamedTuple

from drivers.base import BadRecord, RawPunch, Record
from drivers.zkteco.wire import (
    FIRST_TIME,
    USHRT_MAX,
    WireError,
    decode_pin,
    decode_times,
    encode_number,
    encode_text,
    encode_time,
)


class _Columns(NamedTuple):
    """The fields of several records, one column each; a field that a layout lacks is None in every row."""

    pins: Iterable[str | None]
    uids: Iterable[int | None]
    packed: Sequence[int]
    states: Iterable[int]
    verifies: Iterable[int]
    work_codes: Iterable[str | None]


_S8 = struct.Struct("<HBIB")
_S8_MA300 = struct.Struct("<HBBI")
_S16 = struct.Struct("<IIBB2xI")
# The first two bytes are a running index on some firmware and an internal number on other: never identity.
_S22 = struct.Struct("<2x6s4xBIB4x")
_S40 = struct.Struct("<2x24sBIBI4x")
_S49 = struct.Struct("<2x24sBIBI13x")


@lru_cache(maxsize=8)
def _repeated(record: str, count: int) -> struct.Struct:
    """Return the form of ``count`` records; that of a whole block takes 80 KB, so that only a few are kept."""
    return struct.Struct("<" + record.removeprefix("<") * count)


def _fields(records: bytes, record: struct.Struct) -> list[tuple[Any, ...]]:
    """Return each field of the records as a column; all are unpacked at once, without a tuple for each record."""
    count = len(records) // record.size
    values = _repeated(record.format, count).unpack(records)
    step = len(values) // count
    return [values[field::step] for field in range(step)]


def _columns_8(records: bytes) -> _Columns:
    uids, verifies, packed, states = _fields(records, _S8)
    return _Columns(repeat(None), uids, packed, states, verifies, repeat(None))


def _columns_8_ma300(records: bytes) -> _Columns:
    uids, verifies, states, packed = _fields(records, _S8_MA300)
    return _Columns(repeat(None), uids, packed, states, verifies, repeat(None))


def _columns_16(records: bytes) -> _Columns:
    pins, packed, states, verifies, work_codes = _fields(records, _S16)
    return _Columns(map(_decimal, pins), repeat(None), packed, states, verifies, map(_decimal, work_codes))


def _columns_22(records: bytes) -> _Columns:
    fields, verifies, packed, states = _fields(records, _S22)
    return _Columns([*map(decode_pin, fields)], repeat(None), packed, states, verifies, repeat(None))


def _columns_text(layout: struct.Struct, records: bytes) -> _Columns:
    fields, verifies, packed, states, work_codes = _fields(records, layout)
    return _Columns([*map(decode_pin, fields)], repeat(None), packed, states, verifies, map(_decimal, work_codes))


_decimal = lru_cache(maxsize=4096)(str)  # most PINs and work codes occur many times in a log
_punch = partial(tuple.__new__, RawPunch)
"""What ``RawPunch._make`` does, without a Python call for each of a hundred thousand records."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One binary form of a log record."""

    name: str
    stride: int
    columns: Callable[[bytes], _Columns]
    by_uid: bool = False
    index_width: int = 0
    """Bytes at the front that may differ between two readings of the same record."""

    def decode(self, records: bytes) -> list[Record]:
        """Decode whole records, column by column: row by row takes twice as long."""
        if not records:
            return []
        columns = self.columns(records)
        moments = decode_times(columns.packed)
        raws = _repeated(f"{self.stride}s", len(records) // self.stride).unpack(records)
        rows = zip(
            columns.pins,
            columns.uids,
            moments,
            columns.states,
            columns.verifies,
            columns.work_codes,
            raws,
            repeat(None),  # no source_id: _punch makes tuples without default values
            strict=False,
        )
        # No time and no PIN is false but None.
        if not all(moments) or (isinstance(columns.pins, list) and not all(columns.pins)):
            return [self._record(row, packed) for row, packed in zip(rows, columns.packed, strict=True)]
        return [*map(_punch, rows)]

    def _record(self, row: tuple[Any, ...], packed: int) -> Record:
        pin, uid, moment, *_, raw, _source_id = row
        if moment is not None and (pin is not None or uid is not None):
            return RawPunch(*row)
        reason = (
            f"impossible date (packed time {packed:#010x})"
            if moment is None
            else "PIN is not 1 to 24 printable ASCII characters"
        )
        return BadRecord(raw, raw[self.index_width :], reason)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("40", 40, partial(_columns_text, _S40), index_width=2),
        # 2022 firmware: nine more bytes of unknown meaning behind the 40.
        Layout("49", 49, partial(_columns_text, _S49), index_width=2),
        # Wi-Fi models (AK3750, WL10): the 40 with a short PIN and no work code.
        Layout("22", 22, _columns_22, index_width=2),
        Layout("16", 16, _columns_16),
        Layout("8", 8, _columns_8, by_uid=True),
        Layout("8-ma300", 8, _columns_8_ma300, by_uid=True),
    )
}

ALIGNMENT = lcm(*(layout.stride for layout in LAYOUTS.values()))
"""At multiples of this offset a record begins in every layout."""
BLOCK = 512
"""Records decoded at a time."""


class Records:
    """The records in ``body``, decoded each time they are iterated, so that a log of millions of bytes stays bytes."""

    def __init__(self, body: bytes, layout: Layout) -> None:
        self._body = body
        self._layout = layout

    def __len__(self) -> int:
        return len(self._body) // self._layout.stride

    def __iter__(self) -> Iterator[Record]:
        whole = len(self) * self._layout.stride
        block = BLOCK * self._layout.stride
        for at in range(0, whole, block):
            yield from self._layout.decode(self._body[at : min(at + block, whole)])


_USUAL_STATES = frozenset((*range(6), 255))
_USUAL_VERIFY = frozenset(range(31))
LAST_YEAR = 2050
"""No terminal's clock shows a later year: a punch of one is bytes read in the wrong layout."""


def _is_possible(record: Record) -> bool:
    """Return whether a decoded record may be a punch at all.

    Padding decodes as time 0: a 16-byte record would score as two perfect records of 8 bytes. And no clock is ahead by
    decades: such a time is made of other bytes, and the codes beside it prove nothing.
    """
    if isinstance(record, BadRecord):
        return False
    return record.local_time != FIRST_TIME and record.local_time.year <= LAST_YEAR


def _plausibility(records: Iterable[Record]) -> float:
    """Return how plausible decoded records are as punches, 0 to 1; a wrong layout scores low over many rows."""
    # Integers: a rounded tenth must not decide between two layouts.
    points = rows = 0
    for record in records:
        rows += 1
        if isinstance(record, BadRecord) or not _is_possible(record):
            continue
        if record.local_time.year >= 2005:
            points += 12
        elif record.local_time.year == 2000:
            # A reset clock; but small numbers of any kind, such as those a K40 sends as a log, decode to this year too.
            points += 1
        if record.state in _USUAL_STATES:
            points += 4
        if record.verify in _USUAL_VERIFY:
            points += 2
        if record.work_code is None or len(record.work_code) <= 8:
            points += 2
    return points / (20 * rows) if rows else 0.0


SAMPLE_ROWS = 400
"""Rows scored when a layout is chosen, spread over the sample."""
SAMPLE_RUN = 50
"""Rows scored in succession. Every second row of 8 bytes of a log of 16 is a good punch, and the next one is none: in a
wrong layout rows repeat after at most 49.
"""
MAX_NEW_SINCE_COUNT = 64
"""Punches possible between the count and the read."""
MIN_PLAUSIBILITY = 0.75
"""Threshold where no count supports a layout: pairs of 8-byte records, decoded as 16 bytes, reach 0.7."""
MIN_PLAUSIBILITY_WITH_COUNT = 0.4
"""Threshold where the count supports a layout too; a log whose clock was never set reaches it."""
COUNT_BONUS = 0.1
"""Added to the score of a layout that makes exactly the reported count, and to that of the incumbent."""
LEAD = 0.02
"""How much higher than the score of any other layout that of a new one must be: a wrong count may fit a layout in which
the bytes are other punches, and in doubt none is decoded.
"""
INCUMBENT_MARGIN = 0.35
"""How much more plausible than the incumbent, the layout found earlier, another must be, unless the count fits it only,
and it is as plausible as a log without a count must be.
A good log differs by more (but for one of 16 bytes that becomes that of an MA300: it is refused); a log of 8 bytes with
bad records, reset clocks and odd codes can be more plausible as one of 16.
"""
SMALL_LOG = 8
"""Up to this many records, a few bad ones make the plausibility meaningless."""


class Sample(NamedTuple):
    """The parts of a log, or of its end, by which its layout is judged."""

    size: int
    """Bytes of the whole log or end."""
    pieces: Sequence[bytes | bytearray]
    """Parts of it; each begins at the beginning of a record in every layout that is considered."""

    @classmethod
    def whole(cls, body: bytes | bytearray) -> "Sample":
        """Return a sample of all bytes."""
        return cls(len(body), (body,))

    def plausibility(self, layout: Layout) -> float:
        """Return how plausible the records are as punches in ``layout``, 0 to 1."""
        return _plausibility(self.rows(layout))

    def rows(self, layout: Layout) -> Iterator[Record]:
        """Yield up to about :data:`SAMPLE_ROWS` records in ``layout``, in runs spread over the sample."""
        stride = layout.stride
        for piece in self.pieces:
            rows = len(piece) // stride
            for row in range(0, rows, SAMPLE_RUN * max(1, rows * len(self.pieces) // SAMPLE_ROWS)):
                yield from layout.decode(bytes(piece[row * stride : min(row + SAMPLE_RUN, rows) * stride]))


def plausible(sample: Sample, layout: Layout) -> bool:
    """Return whether the end of a log is plausible in the layout found earlier; an empty end is."""
    return not sample.size or sample.plausibility(layout) >= MIN_PLAUSIBILITY_WITH_COUNT


def layouts_for(size: int, count: int | None) -> list[Layout]:
    """Return the layouts in which ``size`` bytes are ``count`` records; if there are none, a few records more.

    A count of None, or of 0, is no evidence: then all layouts that divide ``size``.
    """
    dividing = [layout for layout in LAYOUTS.values() if size % layout.stride == 0]
    if not count:
        return dividing
    exact = [layout for layout in dividing if size // layout.stride == count]
    return exact or [layout for layout in dividing if 0 < size // layout.stride - count <= MAX_NEW_SINCE_COUNT]


@dataclass(frozen=True)
class _Candidate:
    """A layout whose records divide a log without remainder, and the evidence for it."""

    layout: Layout
    sample: Sample
    incumbent: bool
    """It is configured, or was found in this log earlier."""
    exact: bool
    """It makes the reported count of records."""
    near: bool
    """It makes the reported count of records, or a few more."""
    counted: bool
    """The count speaks for it: to the unit, or to a few more in the layout found earlier."""

    @cached_property
    def plausibility(self) -> float:
        return self.sample.plausibility(self.layout)

    @property
    def is_small(self) -> bool:
        """Whether it makes so few records that a few bad ones make the plausibility meaningless."""
        return self.sample.size // self.layout.stride <= SMALL_LOG

    @property
    def score(self) -> float:
        return self.plausibility + COUNT_BONUS * (self.exact + self.incumbent)

    def accepted(self, incumbent: "_Candidate | None") -> bool:
        """Return whether the plausibility reaches the threshold, which an incumbent raises for the others."""
        if incumbent is None or self is incumbent:
            threshold = MIN_PLAUSIBILITY_WITH_COUNT if self.counted else MIN_PLAUSIBILITY
        elif self.exact and not incumbent.near:
            threshold = MIN_PLAUSIBILITY
        else:  # a count that could be that of the incumbent, and of a few punches since, is no evidence for another
            threshold = max(MIN_PLAUSIBILITY, INCUMBENT_MARGIN + incumbent.plausibility)
        return self.plausibility >= threshold

    def outdone(self, candidates: "Iterable[_Candidate]") -> bool:
        """Return whether another layout makes the log so plausible that this one must not be chosen.

        Never for the incumbent where it makes the reported count: two independent findings agree.
        """
        others = [other for other in candidates if other is not self]
        if self.incumbent:
            return not self.exact and any(other.plausibility > self.plausibility + INCUMBENT_MARGIN for other in others)
        # Below the bar of a layout without a count, no other may reach the bar of one with it: either may be meant.
        rival = MIN_PLAUSIBILITY_WITH_COUNT if self.plausibility < MIN_PLAUSIBILITY else 1.0
        return any(other.score + LEAD > self.score or other.plausibility >= rival for other in others)


def choose_layout(sample: Sample, count: int | None, pinned: str | None = None, only: str | None = None) -> Layout:
    """Choose the layout of a whole log, without its prefix.

    ``count`` is the number of records that the terminal reported before the read, ``pinned`` the layout found in this
    log earlier, ``only`` the configured one: no other is considered, and it too must fit. Of the layouts whose
    plausibility reaches its threshold the one with the highest score is chosen, first among those near ``count``, then,
    as reported counts are often wrong (0 most of all), among all. Raises WireError where none fits: nothing is guessed.
    """
    if sample.size == 0:
        return LAYOUTS.get(only or pinned or "", LAYOUTS["40"])
    candidates = _candidates(sample, count, pinned, only)
    incumbent = next((candidate for candidate in candidates if candidate.incumbent), None)
    contenders = [candidate for candidate in candidates if not candidate.outdone(candidates)]
    near = [candidate for candidate in contenders if candidate.near]
    chosen = (
        _best(near, incumbent)
        or _proven(candidates, pinned, only)
        or _small_incumbent(incumbent, only)
        or _best(contenders, incumbent)
    )
    if chosen is None:
        tried = f"the layout {only} that is configured" if only else f"any of the layouts known ({', '.join(LAYOUTS)})"
        raise WireError(f"{sample.size} bytes of log do not read as {tried}")
    return chosen.layout


def _candidates(sample: Sample, count: int | None, pinned: str | None, only: str | None) -> list[_Candidate]:
    """Return the layouts that divide the log."""
    incumbent = LAYOUTS.get(only or pinned or "")
    candidates = []
    for layout in [LAYOUTS[only]] if only else LAYOUTS.values():
        # Of two layouts with one stride the incumbent stays: bad records of the one may be plausible in the other.
        displaced = incumbent is not None and layout is not incumbent and layout.stride == incumbent.stride
        if sample.size % layout.stride or displaced:
            continue
        surplus = sample.size // layout.stride - count if count else -1
        exact, near = surplus == 0, 0 <= surplus <= MAX_NEW_SINCE_COUNT
        counted = exact or (near and layout.name == pinned)
        candidates.append(_Candidate(layout, sample, layout is incumbent, exact, near, counted))
    return candidates


def _best(candidates: Iterable[_Candidate], incumbent: _Candidate | None) -> _Candidate | None:
    """Return the accepted candidate with the highest score."""
    accepted = (candidate for candidate in candidates if candidate.accepted(incumbent))
    return max(accepted, key=lambda candidate: candidate.score, default=None)


def _proven(candidates: Iterable[_Candidate], pinned: str | None, only: str | None) -> _Candidate | None:
    """Return the only candidate that makes the reported count, where this alone is proof; its records may all be bad.

    It is proof for the layout found earlier. For any other it is in a small log, in which one bad record weighs much,
    where all records are bad, unless the incumbent is near the count too, or all are possible punches in another
    layout: a wrong count then invents no punch.
    """
    candidates = list(candidates)
    exact = [candidate for candidate in candidates if candidate.exact]
    if len(exact) != 1:
        return None
    (found,) = exact
    if found.layout.name == pinned:
        return found
    sample = found.sample
    rivalled = any(
        (other.incumbent and other.near) or all(map(_is_possible, sample.rows(other.layout)))
        for other in candidates
        if other is not found
    )
    all_bad = all(isinstance(record, BadRecord) for record in sample.rows(found.layout))
    return found if all_bad and found.is_small and not rivalled and not only else None


def _small_incumbent(incumbent: _Candidate | None, only: str | None) -> _Candidate | None:
    """Return the layout found earlier where so few records, without a count that fits, prove no other."""
    return incumbent if incumbent is not None and incumbent.is_small and not only else None


def encode_record(
    layout: str,
    *,
    pin: str,
    uid: int,
    moment: datetime,
    state: int,
    verify: int,
    index: int,
    work_code: int = 0,
) -> bytes:
    """Encode one log record as a terminal with ``layout`` stores it; ValueError where a value does not fit.

    Layouts of 8 and 22 bytes have no work code; theirs is left out.
    """
    if not 0 <= work_code < 2**32:
        raise ValueError("a work code is a number of at most 32 bits")
    packed = encode_time(moment)
    match layout:
        case "8":
            return _S8.pack(uid, verify, packed, state)
        case "8-ma300":
            return _S8_MA300.pack(uid, verify, state, packed)
        case "22":
            record = _S22.pack(encode_text(pin, 6), verify, packed, state)
            return (index & USHRT_MAX).to_bytes(2, "little") + record[2:]
        case "16":
            return _S16.pack(encode_number(pin), packed, state, verify, work_code)
        case "40" | "49":
            index_field = (index & USHRT_MAX).to_bytes(2, "little")
            record = _S40.pack(encode_text(pin, 24), verify, packed, state, work_code)
            return (index_field + record[2:]).ljust(int(layout), b"\0")
    raise ValueError(f"no layout {layout!r}; known: {', '.join(LAYOUTS)}")
