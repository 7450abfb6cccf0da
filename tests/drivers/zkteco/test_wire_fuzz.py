"""Whatever a peer sends is a value or a WireError, in time and memory that are bounded by what it sent."""

import random
import struct
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers.base import BadRecord, Hint, RawPunch
from drivers.zkteco import layouts, wire
from drivers.zkteco.wire import Packet, StreamReader, WireError
from tests.drivers.zkteco import vectors

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
LAYOUTS = st.sampled_from(sorted(layouts.LAYOUTS))
STRIDES = st.sampled_from(sorted({layout.stride for layout in layouts.LAYOUTS.values()} | {28, 36, 72, 120}))
COUNTS = st.none() | st.integers(0, 60) | st.integers(0, 2**32 - 1)
MAGICS = [
    wire.TCP_MAGIC,
    wire.TCP_MAGIC + b"\x08\0\0\0",
    wire.TCP_MAGIC + b"\xff\xff\xff\x7f",
    wire.SECURE_MAGIC,
    b"\xaa",
]
BURSTS = [
    Packet(wire.CMD_PREPARE_DATA, 1, 2, struct.pack("<II", size, 1008)).to_tcp()
    for size in (0, 4, 40, 2**31, 2**32 - 1)
] + [wire.TCP_MAGIC + struct.pack("<I4H", output, wire.CMD_DATA, 0, 0, 2) for output in (8, 12, 48)]
STREAM_PIECES = st.binary(max_size=40) | st.sampled_from(
    [*(vector.raw for vector in vectors.PACKETS), *MAGICS, *BURSTS]
)
RUNS = st.binary(max_size=400) | STRIDES.flatmap(
    lambda stride: st.integers(1, 12).flatmap(lambda rows: st.binary(min_size=stride * rows, max_size=stride * rows))
)
"""Bytes of any number, and bytes that are whole records of some layout."""


def office(layout: str, rows: int) -> bytes:
    """Encode a small log."""
    return b"".join(
        layouts.encode_record(
            layout, pin=str(1001 + row), uid=1 + row, moment=NOON + timedelta(minutes=row), state=0, verify=1, index=row
        )
        for row in range(rows)
    )


@settings(max_examples=400)
@given(st.lists(STREAM_PIECES, max_size=8), st.booleans(), st.randoms(use_true_random=False))
def test_a_stream_of_anything_gives_what_was_there_or_an_error(
    pieces: list[bytes], burst: bool, chance: random.Random
) -> None:
    """Packets that come out stood in what went in, in that order, and no more is kept than was sent."""
    stream = b"".join(pieces)
    cuts = sorted({0, len(stream), *(chance.randint(0, len(stream)) for _ in range(4))})
    reader = StreamReader()
    reader.expect_burst(burst)
    given_out: list[bytes] = []
    try:
        for start, end in pairwise(cuts):
            given_out.extend(reader.feed(stream[start:end]))
            assert reader.missing >= 0
            assert len(reader._buffer) <= end
    except WireError:
        pass
    if burst:
        position = 0
        for packet in given_out:
            found = stream.find(packet, position + 8)
            assert found == position + 8
            position = found + len(packet)
    else:
        assert stream.startswith(
            b"".join(wire.TCP_MAGIC + struct.pack("<I", len(packet)) + packet for packet in given_out)
        )


@given(st.lists(st.sampled_from(vectors.PACKETS), max_size=6))
def test_packets_that_say_their_length_are_the_same_to_a_reader_of_bursts(packets: list[vectors.Vector]) -> None:
    """Looking out for a burst changes nothing where there is none."""
    assume(all(vector.packet.command not in (wire.CMD_DATA, wire.CMD_PREPARE_DATA) for vector in packets))
    reader = StreamReader()
    reader.expect_burst(True)
    assert list(reader.feed(b"".join(vector.raw for vector in packets))) == [vector.raw[8:] for vector in packets]


@given(st.binary(min_size=8, max_size=300), st.integers(4, 300), st.booleans(), st.integers(1, 50))
def test_a_burst_of_anything_comes_out_whole(records: bytes, output: int, announced: bool, cut: int) -> None:
    """However short its length field, and however the network cuts it: all that was announced, and what follows it."""
    body = struct.pack("<I", len(records)) + records
    output = min(output, len(body))
    assume(output == len(body) or not wire.TCP_MAGIC.startswith(body[output : output + 4]))
    data = Packet(wire.CMD_DATA, 0, 2, body).to_bytes()
    ack = Packet(wire.CMD_ACK_OK, len(body) & wire.USHRT_MAX, 2)
    prepare = Packet(wire.CMD_PREPARE_DATA, 1, 2, struct.pack("<II", len(body), 1008))
    stream = wire.TCP_MAGIC + struct.pack("<I", 8 + output) + data + ack.to_tcp()
    reader = StreamReader()
    reader.expect_burst(True)
    if announced:
        assert list(reader.feed(prepare.to_tcp())) == [prepare.to_bytes()]
    out = [packet for at in range(0, len(stream), cut) for packet in reader.feed(stream[at : at + cut])]
    assert out == [data, ack.to_bytes()]


@given(st.binary(max_size=40))
def test_a_datagram_of_anything(data: bytes) -> None:
    """A packet that encodes to what it was, but for its checksum; or an error."""
    holds = wire.checksum_holds(data)
    try:
        packet = Packet.from_bytes(data)
    except WireError:
        assert len(data) < 8
        assert not holds
        return
    again = packet.to_bytes()
    assert again[:2] + again[4:] == data[:2] + data[4:]
    assert wire.checksum_holds(again)
    assert not holds or again[2:4] == data[2:4] or {again[2:4], data[2:4]} == {b"\0\0", b"\xff\xff"}


@given(st.integers(0, 2**32 - 1))
def test_every_number_is_a_time_or_none(packed: int) -> None:
    """All 32-bit numbers are either exactly one moment or impossible; none raises."""
    moment = wire.decode_time(packed)
    assert moment is None or wire.encode_time(moment) == packed


@given(st.binary(max_size=130))
def test_sizes_of_anything(data: bytes) -> None:
    """Counts are 32-bit numbers or not reported."""
    records, capacity = wire.decode_sizes(data)
    assert records is None or 0 <= records < 2**32
    assert capacity is None or 0 < capacity < 2**32


@given(st.binary(max_size=40))
def test_a_pin_of_anything(field: bytes) -> None:
    """A PIN is 1 to 24 printable ASCII characters that stood in the field, or none."""
    pin = wire.decode_pin(field)
    assert pin is None or (1 <= len(pin) <= 24 and pin.isascii() and pin.isprintable() and pin.encode() in field)


@given(RUNS, COUNTS, st.none() | LAYOUTS, st.none() | LAYOUTS)
def test_a_layout_of_anything_divides_it_or_is_refused(
    body: bytes, count: int | None, pinned: str | None, only: str | None
) -> None:
    """Whatever comes, the answer is a layout that divides it, the only one allowed if one is, or a WireError."""
    try:
        layout = layouts.choose_layout(layouts.Sample.whole(body), count, pinned, only)
    except WireError:
        return
    assert len(body) % layout.stride == 0
    assert only in (None, layout.name)


@given(RUNS, st.integers(0, 2**24), COUNTS)
def test_a_sample_of_anything(piece: bytes, size: int, count: int | None) -> None:
    """Pieces of whatever length, of a log of whatever size, are judged without an error."""
    sample = layouts.Sample(size, (piece, piece[:100], b""))
    for layout in layouts.LAYOUTS.values():
        assert 0 <= sample.plausibility(layout) <= 1
        assert layouts.plausible(sample, layout) in (True, False)
    assert all(size % layout.stride == 0 for layout in layouts.layouts_for(size, count))


@given(RUNS, LAYOUTS)
def test_records_of_anything_are_punches_or_bad(body: bytes, name: str) -> None:
    """Arbitrary bytes give one value per record, twice the same, with the bytes it was made of."""
    layout = layouts.LAYOUTS[name]
    records = layouts.Records(body, layout)
    first = list(records)
    assert len(first) == len(records) == len(body) // layout.stride
    assert first == list(records)
    assert b"".join(entry.raw for entry in first) == body[: len(first) * layout.stride]
    for entry in first:
        if isinstance(entry, BadRecord):
            assert entry.raw.endswith(entry.stable)
            assert entry.reason
        else:
            assert (entry.pin is None) == layout.by_uid
            assert 2000 <= entry.local_time.year <= 2099


@given(LAYOUTS, st.integers(9, 30), st.data())
def test_a_log_with_anything_in_one_record_keeps_the_others(name: str, rows: int, data: st.DataObject) -> None:
    """One record of arbitrary bytes, wherever it is, leaves its neighbours and the layout as they were."""
    layout = layouts.LAYOUTS[name]
    row = data.draw(st.integers(0, rows - 1))
    body = office(name, rows)
    at = row * layout.stride
    spoiled = (
        body[:at] + data.draw(st.binary(min_size=layout.stride, max_size=layout.stride)) + body[at + layout.stride :]
    )
    chosen = layouts.choose_layout(layouts.Sample.whole(spoiled), rows)
    assert chosen is layout
    before, after = list(layouts.Records(body, layout)), list(layouts.Records(spoiled, layout))
    assert [*after[:row], *after[row + 1 :]] == [*before[:row], *before[row + 1 :]]


@given(
    st.integers(0, 65535) | st.just(wire.EF_ATTLOG),
    st.sampled_from([*wire.EVENT_ID_WIDTH, 0, 9, 33]).flatmap(
        lambda length: st.binary(min_size=length, max_size=length)
    ),
)
def test_events_of_anything(code: int, data: bytes) -> None:
    """Arbitrary events are a punch with a PIN, a hint or nothing, and only code 1 is about punches."""
    found = wire.decode_event(Packet(500, code, 0, data))
    assert (found is None) == (code != wire.EF_ATTLOG)
    assert found is None or isinstance(found, Hint) or (isinstance(found, RawPunch) and found.pin)


@given(RUNS)
def test_users_of_anything(body: bytes) -> None:
    """Arbitrary user tables give people with a number and a PIN, or a WireError."""
    try:
        pins = wire.decode_pins(body)
    except WireError:
        return
    assert all(0 < uid <= 65535 and wire.decode_pin(pin.encode()) == pin for uid, pin in pins.items())
    assert bool(pins) == bool(body)


@given(st.integers(0, 2**40), st.integers(0, 65535), st.integers(0, 255))
def test_any_key_is_proved(key: int, session: int, tick: int) -> None:
    """Also one too large to be a key."""
    assert len(wire.scramble_comm_key(key, session, tick)) == 4
