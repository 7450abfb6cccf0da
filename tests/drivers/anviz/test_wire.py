from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.anviz import wire
from drivers.anviz.wire import Frame, FrameReader, WireError
from drivers.base import BadRecord, RawPunch
from tests.drivers.anviz.vectors import CAPTURED, FRAMES, GENERATED, MOMENT, RECORD
from tests.eight_ways import eight_ways

FRAME = st.builds(
    Frame,
    channel=st.integers(0, 0xFFFFFFFF),
    command=st.integers(0, 255),
    data=st.binary(max_size=64),
    ret=st.integers(0, 255),
)


def test_checksum_of_the_digits_is_the_published_one() -> None:
    """CRC-16/MCRF4XX, low byte first."""
    assert wire.checksum(b"123456789") == bytes.fromhex("916F")


@pytest.mark.parametrize("name", [*CAPTURED, *(f"generated: {name}" for name in GENERATED)])
def test_vectors_both_ways(name: str) -> None:
    """Each known frame is decoded to what it states, and encoded to its bytes."""
    generated = name.removeprefix("generated: ")
    text, frame = CAPTURED[name] if name in CAPTURED else GENERATED[generated]
    raw = bytes.fromhex(text)

    assert frame.to_bytes() == raw
    assert list(FrameReader().feed(raw)) == [frame]


def test_frames_are_found_eight_ways() -> None:
    """Whole, split anywhere, doubled, cut, behind noise, behind a frame that is cut or has one wrong bit."""
    eight_ways(FrameReader, FRAMES, None)


def test_a_frame_with_an_error_code_has_it() -> None:
    """RET stands in answers only."""
    frame = Frame(1, 0xC0, b"", ret=5)

    assert list(FrameReader().feed(frame.to_bytes())) == [frame]


def test_a_false_beginning_hides_a_frame_until_the_line_pauses() -> None:
    """What looks like a long frame is waited for, and given up when nothing follows."""
    raw, frame = FRAMES[0]
    reader = FrameReader()

    assert list(reader.feed(b"\xa5\x00\x00\x00\x01\x40\x3f\xff" + raw)) == []
    assert reader.missing > 16_000
    assert list(reader.pause()) == [frame]
    assert (reader.skipped, reader.missing) == (8, 0)


def test_an_impossible_length_is_noise() -> None:
    """16 KiB are the most that is waited for."""
    raw, frame = FRAMES[0]
    reader = FrameReader()

    assert list(reader.feed(b"\xa5\x00\x00\x00\x01\x40\x40\x01" + raw)) == [frame]
    assert list(reader.feed(Frame(1, 0x80, bytes(wire.MAX_DATA)).to_bytes())) == [Frame(1, 0x80, bytes(wire.MAX_DATA))]


@given(st.lists(st.one_of(st.binary(max_size=40), FRAME.map(Frame.to_bytes)), max_size=8), st.integers(1, 50))
def test_any_bytes_give_frames_and_a_count_of_the_rest(pieces: list[bytes], step: int) -> None:
    """Nothing is lost or invented: what comes out, and what is skipped, is what went in."""
    stream = b"".join(pieces)
    reader = FrameReader()

    found = [frame for at in range(0, len(stream), step) for frame in reader.feed(stream[at : at + step])]
    found += reader.pause()

    assert reader.skipped + sum(len(frame.to_bytes()) for frame in found) == len(stream)
    assert all(frame.to_bytes() in stream for frame in found)
    assert reader.missing == 0


def test_what_a_hostile_line_sends_takes_bounded_time() -> None:
    """Every nine bytes claim to begin a frame of 16 KiB; each claim is checked, all within this test's time-out."""
    hostile = bytes.fromhex("A5 00 00 00 01 C0 00 3F FF") * 4000
    reader = FrameReader()

    assert [*reader.feed(hostile), *reader.pause()] == []

    assert reader.skipped == len(hostile)


# --- what answers hold ---


def test_a_record_is_a_punch() -> None:
    """Every field of the vector, and the bytes themselves."""
    assert wire.decode_record(RECORD, wire.EPOCH) == RawPunch("1001", None, MOMENT, 0, 1, "0", RECORD)


def test_the_epoch_is_the_devices() -> None:
    """Counted from the day that the vendor's description names, the same bytes are a day earlier."""
    assert wire.decode_record(RECORD, date(2000, 1, 1)) == RawPunch(
        "1001", None, MOMENT - timedelta(days=1), 0, 1, "0", RECORD
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (bytes(14), "no user id"),
        (b"\xff" * 14, "a date after 2099"),
        (RECORD[:13], "13 bytes"),
        (RECORD + b"\0", "15 bytes"),
    ],
)
def test_what_is_no_punch_is_kept_as_it_is(raw: bytes, reason: str) -> None:
    """Erased memory, a clock beyond reason, a wrong length."""
    record = wire.decode_record(raw, wire.EPOCH)

    assert isinstance(record, BadRecord)
    assert (record.raw, record.stable) == (raw, raw)
    assert reason in record.reason


@given(
    st.integers(1, 2**40 - 1),
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 31)),  # noqa: DTZ001 - a terminal's wall clock
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**24 - 1),
)
def test_records_survive_both_ways(pin: int, moment: datetime, state: int, verify: int, work_code: int) -> None:
    """What a device encodes is what is read, but for the upper half of the state."""
    raw = wire.encode_record(str(pin), moment, epoch=wire.EPOCH, state=state, verify=verify, work_code=work_code)

    assert wire.decode_record(raw, wire.EPOCH) == RawPunch(
        str(pin), None, moment.replace(microsecond=0), state & 15, verify, str(work_code), raw
    )


@given(st.binary(max_size=400), st.dates(date(1990, 1, 1), date(2010, 1, 1)))
def test_any_bytes_are_a_value_or_a_wire_error(data: bytes, epoch: date) -> None:
    """No decoder ends in anything else."""
    for decode in (wire.decode_clock, wire.decode_record_info, wire.split_batch):
        try:
            decode(data)
        except WireError:
            continue
    text = wire.decode_text(data)
    assert text is None or (text.isprintable() and text)
    record = wire.decode_record(data, epoch)
    assert record.raw == data


def test_batches() -> None:
    """The number in front must fit what follows."""
    assert wire.split_batch(wire.encode_batch(RECORD * 25)) == [RECORD] * 25
    assert wire.split_batch(b"\0") == []
    for wrong in (b"", b"\x01", b"\x02" + RECORD, b"\x01" + RECORD * 2):
        with pytest.raises(WireError):
            wire.split_batch(wrong)


def test_clock() -> None:
    """Six bytes; a day that no calendar has is no time, another length no clock."""
    assert wire.decode_clock(wire.encode_clock(MOMENT)) == MOMENT
    assert wire.decode_clock(bytes((26, 2, 30, 0, 0, 0))) is None
    assert wire.decode_clock(b"\xff" * 6) is None
    with pytest.raises(WireError):
        wire.decode_clock(b"\x1a\x02")


def test_record_information() -> None:
    """More new records than records is nonsense."""
    assert wire.decode_record_info(wire.encode_record_info(wire.RecordInfo(50_000, 8), users=300)) == (50_000, 8)
    with pytest.raises(WireError):
        wire.decode_record_info(wire.encode_record_info(wire.RecordInfo(8, 9), users=0))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"A300\0\0\0\0", "A300"),
        (b"0123456789ABCDEF", "0123456789ABCDEF"),
        (b" A300 \0\xff", "A300"),
        (b"\xff" * 16, None),
        (bytes(16), None),
        (b"A\x01\0", None),
        (b"\xc4\0", None),
    ],
)
def test_text(data: bytes, text: str | None) -> None:
    """Padded with zeros or blanks; anything unprintable is none."""
    assert wire.decode_text(data) == text


@pytest.mark.parametrize(
    ("pin", "moment", "state"),
    [("0", MOMENT, 0), ("A7", MOMENT, 0), (str(2**40), MOMENT, 0), ("1", datetime(2000, 1, 1), 0), ("1", MOMENT, 256)],  # noqa: DTZ001 - wall clock
)
def test_bytes_that_fit_no_record_are_reported(pin: str, moment: datetime, state: int) -> None:
    """A simulated terminal cannot hold it either."""
    with pytest.raises(ValueError, match=r"number|time"):
        wire.encode_record(pin, moment, epoch=wire.EPOCH, state=state, verify=1)
