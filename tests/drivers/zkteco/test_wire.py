import random
import string
import struct
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BadRecord, Hint, RawPunch
from drivers.zkteco import layouts, wire
from drivers.zkteco.wire import Packet, StreamReader, WireError
from tests.drivers.zkteco import vectors
from tests.eight_ways import eight_ways

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59)).map(  # noqa: DTZ001 - as above
    lambda moment: moment.replace(microsecond=0)
)
CODES = st.integers(0, 255)
TEXT_PINS = st.text("".join(chr(code) for code in range(33, 127)), min_size=1, max_size=24)
NUMBER_PINS = st.integers(0, 2**32 - 1).map(str)
FEBRUARY_31 = ((24 * 12 + 1) * 31 + 30) * 86400
YEAR_2103 = 103 * 372 * 86400
PACKED_AT = {"8": 3, "8-ma300": 4, "16": 4, "22": 13, "40": 27, "49": 27}
"""Where a record of each layout has its time."""


def record(layout: str, *, pin: str = "1001", uid: int = 1, moment: datetime = NOON, state: int = 0) -> bytes:
    """Encode a record whose other values do not matter."""
    return layouts.encode_record(layout, pin=pin, uid=uid, moment=moment, state=state, verify=1, index=1)


def choose(body: bytes, count: int | None, pinned: str | None = None, only: str | None = None) -> layouts.Layout:
    """Choose the layout of a log of which all is known."""
    return layouts.choose_layout(layouts.Sample.whole(body), count, pinned, only)


def office(layout: str, rows: int, seed: int = 1) -> bytes:
    """Encode the log of a small office: people of every number, alternating states, times a few minutes apart."""
    chance = random.Random(seed)
    moment = datetime(2026, 9, 4, 6, 45)  # noqa: DTZ001 - as above
    body = b""
    for index in range(rows):
        uid = chance.randint(1, 400)
        moment += timedelta(seconds=chance.randint(1, 900))
        body += layouts.encode_record(
            layout,
            pin=str(1000 + uid),
            uid=uid,
            moment=moment,
            state=chance.choice((0, 0, 1, 1, 2, 3)),
            verify=chance.choice((1, 1, 15)),
            index=index + 1,
        )
    return body


def spoiled(body: bytes, layout: str, every: int) -> bytes:
    """Put 31 February into every n-th record."""
    out, stride = bytearray(body), layouts.LAYOUTS[layout].stride
    for at in range(PACKED_AT[layout], len(out), stride * every):
        out[at : at + 4] = struct.pack("<I", FEBRUARY_31)
    return bytes(out)


# --- packets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", vectors.PACKETS, ids=lambda vector: vector.name)
def test_packets_of_real_terminals_decode_and_encode(vector: vectors.Vector) -> None:
    """Each captured packet says what its owner saw, its checksum holds, and encoding gives the same bytes back."""
    bare = vector.raw[8:]
    assert Packet.from_bytes(bare) == vector.packet
    assert wire.checksum_holds(bare)
    assert vector.packet.to_bytes() == bare
    assert vector.packet.to_tcp() == vector.raw


@pytest.mark.parametrize("vector", vectors.PACKETS, ids=lambda vector: vector.name)
def test_packets_come_out_of_a_stream_in_eight_ways(vector: vectors.Vector) -> None:
    """However the network cuts, glues or soils a packet, just that packet comes out, or an error."""
    eight_ways(StreamReader, [(vector.raw, vector.raw[8:])], WireError)


def test_all_packets_come_out_of_one_stream() -> None:
    """A whole conversation in one segment, or in single bytes, is cut into its packets."""
    raws = [vector.raw for vector in vectors.PACKETS]
    reader = StreamReader()
    assert list(reader.feed(b"".join(raws))) == [raw[8:] for raw in raws]
    assert reader.missing == 0


def test_a_packet_cut_off_in_print_is_waited_for() -> None:
    """The beginning of a long packet gives nothing yet and says how much is missing; what is there can be read."""
    reader = StreamReader()
    assert list(reader.feed(vectors.Z22_HEAD)) == []
    assert reader.missing == 8 + 0x55C - len(vectors.Z22_HEAD)
    packet = Packet.from_bytes(vectors.Z22_HEAD[8:])
    assert packet[:3] == (wire.CMD_DATA, 0, 5)
    assert packet.data == struct.pack("<I", 34 * 40) + b"\x2c\x00410213"


@given(st.integers(0, len(vectors.PACKETS) - 1), st.integers(0))
def test_a_flipped_bit_breaks_the_checksum(which: int, flipped: int) -> None:
    """Any single wrong bit of a packet, the checksum's own included, is noticed."""
    bare = bytearray(vectors.PACKETS[which].raw[8:])
    bit = flipped % (len(bare) * 8)
    bare[bit // 8] ^= 1 << bit % 8
    assert not wire.checksum_holds(bytes(bare))


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=2000))
def test_any_packet_round_trips(command: int, session: int, reply: int, data: bytes) -> None:
    """Whatever a packet carries, decoding gives it back and its checksum holds."""
    packet = Packet(command, session, reply, data)
    assert Packet.from_bytes(packet.to_bytes()) == packet
    assert wire.checksum_holds(packet.to_bytes())
    assert list(StreamReader().feed(packet.to_tcp())) == [packet.to_bytes()]


@pytest.mark.parametrize("length", range(8))
def test_a_datagram_shorter_than_a_header_is_refused(length: int) -> None:
    """Fewer than eight bytes are no packet."""
    with pytest.raises(WireError, match=f"{length} bytes"):
        Packet.from_bytes(bytes(length))


@pytest.mark.parametrize("length", [0, 7, wire.MAX_PACKET + 1, 0xFFFFFFFF])
def test_an_absurd_length_is_refused_at_once(length: int) -> None:
    """A packet that says it has 4 GiB, or less than a header, is an error before anything is collected for it."""
    with pytest.raises(WireError, match="possible"):
        list(StreamReader().feed(wire.TCP_MAGIC + struct.pack("<I", length)))


def test_other_protocols_on_the_port_are_named() -> None:
    """Secure firmware and door access panels are told apart from garbage, from their first bytes on."""
    with pytest.raises(wire.SecureFirmware):
        list(StreamReader().feed(wire.SECURE_MAGIC))
    with pytest.raises(wire.AccessPanel):
        list(StreamReader().feed(b"\xaa"))
    with pytest.raises(WireError) as garbage:
        list(StreamReader().feed(b"HTTP"))
    assert type(garbage.value) is WireError
    undecided = StreamReader()
    assert list(undecided.feed(wire.SECURE_MAGIC[:3])) == []
    assert undecided.missing > 0


def test_a_stream_is_not_kept_after_its_packets_are_out() -> None:
    """A megabyte of packets leaves nothing in memory."""
    reader = StreamReader()
    packet = Packet(wire.CMD_DATA, 0, 1, bytes(65528)).to_tcp()
    assert sum(1 for _ in range(16) for _ in reader.feed(packet)) == 16
    assert len(reader._buffer) == 0


# --- communication key --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "session", "proof"), vectors.COMM_KEYS)
def test_comm_key_proofs(key: int, session: int, proof: bytes) -> None:
    """The known key proofs come out, and with another tick only the tick's place and the mask change."""
    assert wire.scramble_comm_key(key, session) == proof
    other = wire.scramble_comm_key(key, session, 7)
    assert other[2] == 7
    assert [a ^ b for a, b in zip(other, proof, strict=True)] == [7 ^ 50] * 4


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), CODES)
def test_every_key_has_a_proof(key: int, session: int, tick: int) -> None:
    """No key or session overflows."""
    assert len(wire.scramble_comm_key(key, session, tick)) == 4


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (0, "2000-01-01 00:00:00"),
        (0x331A7DF8, "2026-09-04 07:30:00"),
        (0x2368B36B, "2018-06-25 17:50:35"),
        (0x33162000, "2026-09-01 00:00:00"),
        (0x333DACFF, "2026-09-30 23:59:59"),
        (2**31, "2066-10-25 03:14:08"),
        (int.from_bytes(vectors.Z29_OPERATION_16[4:8], "little"), "2018-06-25 16:09:38"),
    ],
)
def test_known_times(packed: int, text: str) -> None:
    """Times of captured records read as their owners saw them, and encode back."""
    moment = datetime.fromisoformat(text)
    assert wire.decode_time(packed) == moment
    assert wire.encode_time(moment) == packed


@given(MOMENTS)
def test_every_second_of_the_century_round_trips(moment: datetime) -> None:
    """A wall-clock time of 2000 to 2099 survives its packing."""
    assert wire.decode_time(wire.encode_time(moment)) == moment


@pytest.mark.parametrize("packed", [FEBRUARY_31, YEAR_2103, 0xFFFFFFFF])
def test_impossible_times(packed: int) -> None:
    """31 February, the year 2103 and the highest number are no times."""
    assert wire.decode_time(packed) is None


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        (vectors.Z25_SIZES_F18, (58, 100_000)),
        (vectors.Z26_SIZES_AK3750, (None, None)),
        (vectors.Z27_SIZES_H5L, (0, 200_000)),
        (b"", (None, None)),
        (vectors.Z25_SIZES_F18 + bytes(20), (58, 100_000)),
    ],
    ids=["F18", "AK3750", "H5L", "empty", "112 bytes"],
)
def test_sizes_of_real_terminals(data: bytes, sizes: tuple[int | None, int | None]) -> None:
    """Records and capacity are found in long answers; a short answer says nothing rather than something wrong."""
    assert wire.decode_sizes(data) == sizes


@given(st.integers(0, 200_000), st.integers(1, 200_000), st.integers(0, 5000))
def test_sizes_round_trip(records: int, capacity: int, users: int) -> None:
    """What the simulator says about its memory is read back."""
    data = wire.encode_sizes(records=records, capacity=capacity, users=users)
    assert len(data) == 92
    assert wire.decode_sizes(data) == (records, capacity)


# --- records ------------------------------------------------------------------------------------------------------


def punches(body: bytes, layout: str) -> list[tuple[str | None, int | None, str, int | None, int | None, str | None]]:
    """Decode ``body`` and leave out the raw bytes; every record must be a punch."""
    found = []
    for entry in layouts.Records(body, layouts.LAYOUTS[layout]):
        assert isinstance(entry, RawPunch)
        found.append((entry.pin, entry.uid, str(entry.local_time), entry.state, entry.verify, entry.work_code))
    return found


def test_a_record_of_40_bytes() -> None:
    """A TFT terminal's record reads as its owner described it; its first two bytes are nobody's identity."""
    assert punches(vectors.Z28_RECORD_40, "40") == [("999111333", None, "2018-06-25 17:50:35", 0, 1, "0")]


def test_records_of_40_bytes_with_running_index() -> None:
    """Finger in, finger out and face in of one person, whose records carry a running index."""
    assert punches(vectors.Z31_RECORDS_40, "40") == [
        ("1", None, "2026-09-04 15:20:25", 0, 1, "0"),
        ("1", None, "2026-09-04 16:42:51", 1, 1, "0"),
        ("1", None, "2026-09-04 19:00:04", 0, 15, "0"),
    ]


def test_records_of_16_bytes() -> None:
    """In this layout the state stands before the way of verifying."""
    assert punches(vectors.Z30_RECORDS_16, "16") == [
        ("21", None, "2018-06-06 07:31:56", 0, 0, "0"),
        ("22", None, "2018-06-06 15:15:18", 1, 0, "0"),
    ]


@given(TEXT_PINS, st.integers(0, 65535), MOMENTS, CODES, CODES, st.integers(0), st.sampled_from(["40", "49"]))
def test_records_with_text_pins_round_trip(
    pin: str, uid: int, moment: datetime, state: int, verify: int, index: int, layout: str
) -> None:
    """Letters, leading zeros, 18 digits, 24 characters: a text PIN comes back as it was, with all values."""
    raw = layouts.encode_record(layout, pin=pin, uid=uid, moment=moment, state=state, verify=verify, index=index)
    assert list(layouts.Records(raw, layouts.LAYOUTS[layout])) == [RawPunch(pin, None, moment, state, verify, "0", raw)]


@given(NUMBER_PINS, MOMENTS, CODES, CODES)
def test_records_with_number_pins_round_trip(pin: str, moment: datetime, state: int, verify: int) -> None:
    """A numeric PIN comes back as text, with all values."""
    raw = layouts.encode_record("16", pin=pin, uid=0, moment=moment, state=state, verify=verify, index=0)
    assert list(layouts.Records(raw, layouts.LAYOUTS["16"])) == [RawPunch(pin, None, moment, state, verify, "0", raw)]


def test_a_record_of_22_bytes() -> None:
    """A Wi-Fi model's record: two bytes of no identity, six of PIN, way of verifying, time, state."""
    raw = struct.pack("<H6s4xBIB4x", 7, b"000231", 1, wire.encode_time(NOON), 5)
    assert punches(raw, "22") == [("000231", None, str(NOON), 5, 1, None)]
    bad = struct.pack("<H6s4xBIB4x", 7, b"", 1, wire.encode_time(NOON), 5)
    (entry,) = layouts.Records(bad, layouts.LAYOUTS["22"])
    assert entry == BadRecord(bad, bad[2:], "PIN is not 1 to 24 printable ASCII characters")


@given(TEXT_PINS.filter(lambda pin: len(pin) <= 6), MOMENTS, CODES, CODES, st.integers(0))
def test_records_with_short_pins_round_trip(pin: str, moment: datetime, state: int, verify: int, index: int) -> None:
    """Letters and leading zeros come back in six characters as well."""
    raw = layouts.encode_record("22", pin=pin, uid=0, moment=moment, state=state, verify=verify, index=index)
    assert list(layouts.Records(raw, layouts.LAYOUTS["22"])) == [RawPunch(pin, None, moment, state, verify, None, raw)]


@given(st.integers(0, 65535), MOMENTS, CODES, CODES, st.sampled_from(["8", "8-ma300"]))
def test_records_with_internal_numbers_round_trip(
    uid: int, moment: datetime, state: int, verify: int, layout: str
) -> None:
    """Where the record has an internal number only, that comes back and no PIN is made up."""
    raw = layouts.encode_record(layout, pin="7", uid=uid, moment=moment, state=state, verify=verify, index=0)
    assert layouts.LAYOUTS[layout].by_uid
    assert list(layouts.Records(raw, layouts.LAYOUTS[layout])) == [
        RawPunch(None, uid, moment, state, verify, None, raw)
    ]


@pytest.mark.parametrize("packed", [FEBRUARY_31, YEAR_2103, 0xFFFFFFFF])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_one_impossible_date_costs_one_record(layout: str, packed: int) -> None:
    """A record with an impossible date is bad, says why, and its neighbours are read."""
    body, stride = bytearray(office(layout, 3)), layouts.LAYOUTS[layout].stride
    at = stride + PACKED_AT[layout]
    body[at : at + 4] = struct.pack("<I", packed)
    before, bad, after = layouts.Records(bytes(body), layouts.LAYOUTS[layout])
    assert isinstance(before, RawPunch)
    assert isinstance(after, RawPunch)
    assert isinstance(bad, BadRecord)
    assert bad.raw == bytes(body[stride : 2 * stride])
    assert f"{packed:#010x}" in bad.reason


def test_a_bad_record_is_the_same_under_another_index() -> None:
    """The running index is left out of a bad record's stable bytes: a second reading may number it otherwise."""
    one, two = (bytes(bytearray((index, 0))) + bytes(38) for index in (1, 2))
    first, second = layouts.Records(one + two, layouts.LAYOUTS["40"])
    assert isinstance(first, BadRecord)
    assert isinstance(second, BadRecord)
    assert first.raw != second.raw
    assert first.stable == second.stable


@pytest.mark.parametrize(
    ("field", "pin"),
    [
        (b"1001".ljust(24, b"\0"), "1001"),
        (b"007\x0099999", "007"),
        (b"444\x00\xc6\x9a\x80\x7c", "444"),
        (b"        9", "9"),
        (b"9        ", "9"),
        (b"198001012005011001\0", "198001012005011001"),
        (b"ABCDEFGHIJKLMNOPQRSTUVWX", "ABCDEFGHIJKLMNOPQRSTUVWX"),
        (b"a-7 b", "a-7 b"),
        (b"", None),
        (bytes(24), None),
        (b"\x001001", None),
        (b"   \0", None),
        (b"10\xff1", None),
        (b"10\n1", None),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXY", None),
    ],
)
def test_pin_fields(field: bytes, pin: str | None) -> None:
    """A PIN ends at the first NUL whatever lies behind it, keeps its zeros, and is printable ASCII or nothing."""
    assert wire.decode_pin(field) == pin


def test_an_empty_pin_is_a_bad_record() -> None:
    """A record without a PIN is nobody's punch."""
    raw = record("40", pin="")
    (bad,) = layouts.Records(raw, layouts.LAYOUTS["40"])
    assert isinstance(bad, BadRecord)
    assert "PIN" in bad.reason


@pytest.mark.parametrize(
    ("layout", "pin"),
    [
        ("40", "A" * 25),
        ("22", "1234567"),
        ("22", "é"),
        ("49", "A" * 25),
        ("40", "é"),
        ("16", "007"),
        ("16", "A1"),
        ("16", "4294967296"),
        ("16", ""),
    ],
)
def test_pins_that_do_not_fit_are_refused(layout: str, pin: str) -> None:
    """Encoding never stores another PIN than the one given."""
    with pytest.raises(ValueError, match="does not fit"):
        record(layout, pin=pin)


def test_an_unknown_layout_is_refused() -> None:
    """The sentence names the layouts there are."""
    with pytest.raises(ValueError, match="8-ma300"):
        record("17")


# --- choosing a layout --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [*range(1, 41), 1000])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_layout_is_found_by_the_count(layout: str, rows: int) -> None:
    """Every layout is recognised from the number of records alone, whatever was found earlier."""
    body = office(layout, rows)
    assert choose(body, rows).name == layout
    assert choose(body, rows, layout).name == layout


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_layout_is_found_despite_a_punch_meanwhile(layout: str, seed: int) -> None:
    """One to five records more than were counted, in the smallest of logs, do not look like another layout."""
    stride = layouts.LAYOUTS[layout].stride
    body = office(layout, 45, seed)
    for rows in range(1, 41):
        for more in (1, 2, 5):
            served = body[: (rows + more) * stride]
            assert choose(served, rows, layout).name == layout
            assert choose(served, rows).name == layout


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_layout_is_found_without_a_count(layout: str) -> None:
    """A terminal that cannot or will not say how many records it has is read by what its rows look like."""
    body = office(layout, 200)
    assert choose(body, None).name == layout
    assert choose(body, 0, layout).name == layout


@pytest.mark.parametrize("rows", [12, 40, 400])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_bad_records_do_not_change_the_layout(layout: str, rows: int) -> None:
    """Every tenth record with an impossible date, and one punch in the race, still give the right layout."""
    body = spoiled(office(layout, rows), layout, 10)
    assert choose(body, rows).name == layout
    assert choose(body, rows - 1, layout).name == layout
    assert choose(body, None).name == layout


@pytest.mark.parametrize("layout", ["40", "49"])
def test_nothing_but_bad_records_is_not_read_as_something_else(layout: str) -> None:
    """A handful of records, all bad, that fit the count keep their layout: their padding is not taken for punches."""
    body = spoiled(office(layout, 3), layout, 1)
    assert choose(body, 3).name == layout
    assert all(isinstance(entry, BadRecord) for entry in layouts.Records(body, layouts.LAYOUTS[layout]))


@pytest.mark.parametrize("count", [None, 0, 3])
@pytest.mark.parametrize("layout", ["40", "22", "16"])
def test_a_few_bad_records_without_a_count_are_not_read_as_something_else(layout: str, count: int | None) -> None:
    """Where a terminal cannot count, a cleared log with two bad records in it keeps the layout found earlier."""
    body = spoiled(office(layout, 2), layout, 1)
    assert choose(body, count, layout).name == layout


@pytest.mark.parametrize("layout", ["16", "22", "40", "49"])
def test_a_clock_that_was_never_set_is_no_wrong_layout(layout: str) -> None:
    """All of a log in the year 2000: it is read where its count is right, and refused where nothing vouches for it."""
    body = b"".join(
        record(layout, moment=datetime(2000, 1, 1) + timedelta(minutes=row))  # noqa: DTZ001 - wall clock
        for row in range(1, 201)
    )
    assert choose(body, 200).name == layout
    with pytest.raises(WireError):
        choose(body, None)


@pytest.mark.parametrize("count", [None, 0, 100])
def test_what_a_k40_sends_without_a_buffer_is_no_log(count: int | None) -> None:
    """Small numbers of something else read as punches of the year 2000, and are not taken for them."""
    with pytest.raises(WireError, match="do not read as any"):
        choose(vectors.K40_BODY, count)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_person_s_word_leaves_no_other_choice(layout: str) -> None:
    """What is configured fits or is refused, whatever else the bytes could be."""
    body = office(layout, 200)
    assert choose(body, 200, "40", layout).name == layout
    assert choose(body, None, None, layout).name == layout
    for other in layouts.LAYOUTS.values():
        # Between the two orders of 8 bytes a person may know better than the score.
        if other.stride != layouts.LAYOUTS[layout].stride:
            with pytest.raises(WireError, match=f"the layout {other.name} that is configured"):
                choose(body, 200, layout, other.name)
    bad = spoiled(office(layout, 3), layout, 1)
    assert choose(bad, 3, layout, layout).name == layout
    with pytest.raises(WireError):
        choose(bad, 3, None, layout)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_an_empty_log_has_the_layout_of_before(layout: str) -> None:
    """Nothing to judge: what was found earlier holds."""
    assert choose(b"", 0, layout).name == layout


@pytest.mark.parametrize("body", [bytes(7), b"\xa5" * 41, b"\xff" * 80, bytes(range(220)) * 4])
def test_a_layout_is_never_guessed(body: bytes) -> None:
    """Bytes that fit no known layout are refused, and the sentence says how many there were."""
    with pytest.raises(WireError, match=f"{len(body)} bytes"):
        choose(body, 1000)


# --- events -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "pin", "verify", "moment"),
    [
        (vectors.BY_NAME["Z8"].packet, "999111333", 1, "2018-06-25 17:41:05"),
        (vectors.BY_NAME["Z23"].packet, "22", 1, "2018-12-17 01:04:17"),
        (Packet(500, 1, 0, vectors.Z24_FACE_EVENT), "1140064", 15, "2018-11-29 12:55:03"),
        (vectors.COMPUTED[-1].packet, "1001", 1, "2026-09-04 07:30:00"),
    ],
    ids=["Z8", "Z23", "Z24", "computed"],
)
def test_events_of_real_terminals(packet: Packet, pin: str, verify: int, moment: str) -> None:
    """Punches told as they happened read as their owners saw them, whatever the reply number."""
    expected = RawPunch(pin, None, datetime.fromisoformat(moment), 0, verify, None, packet.data)
    assert wire.decode_event(packet) == expected


def test_events_about_other_things_are_nothing() -> None:
    """A finger score arrives although only punches were asked for, and is no punch."""
    assert wire.decode_event(vectors.BY_NAME["Z9"].packet) is None


@given(TEXT_PINS, MOMENTS, CODES, CODES, st.sampled_from([32, 36, 37, 52]))
def test_events_with_text_pins_round_trip(pin: str, moment: datetime, state: int, verify: int, length: int) -> None:
    """Every length with a text PIN gives back what was told."""
    data = wire.encode_event(length, pin=pin, uid=1, moment=moment, state=state, verify=verify)
    assert len(data) == length
    assert wire.decode_event(Packet(500, 1, 0, data)) == RawPunch(pin, None, moment, state, verify, None, data)


@given(NUMBER_PINS, MOMENTS, st.integers(0, 15), CODES)
def test_events_with_number_pins_round_trip(pin: str, moment: datetime, state: int, verify: int) -> None:
    """The short form has a number and a state whose upper half means something else."""
    data = wire.encode_event(12, pin=pin, uid=1, moment=moment, state=state | 0x80, verify=verify)
    assert wire.decode_event(Packet(500, 1, 0, data)) == RawPunch(pin, None, moment, state, verify, None, data)


@pytest.mark.parametrize("length", [10, 14])
def test_events_with_an_internal_number_are_hints(length: int) -> None:
    """An internal number is no PIN: the log is to be read."""
    data = wire.encode_event(length, pin="1001", uid=7, moment=NOON, state=0, verify=1)
    assert len(data) == length
    assert isinstance(wire.decode_event(Packet(500, 1, 0, data)), Hint)


@pytest.mark.parametrize("length", [0, 1, 8, 11, 13, 31, 33, 51, 53, 200])
def test_events_of_unknown_length_are_hints(length: int) -> None:
    """What cannot be understood still says that something happened."""
    assert wire.decode_event(Packet(500, 1, 0, bytes(length))) == Hint(f"event of unknown length {length}")


@pytest.mark.parametrize(
    "spoil",
    [(26, bytes((26, 2, 31, 0, 0, 0))), (26, bytes((103, 1, 1, 0, 0, 0))), (26, b"\xff" * 6), (0, bytes(24))],
    ids=["31 February", "2103", "nonsense", "no PIN"],
)
def test_events_that_make_no_sense_are_hints(spoil: tuple[int, bytes]) -> None:
    """An event with an impossible date or without a PIN is not a punch; the log will tell."""
    data = bytearray(wire.encode_event(32, pin="1001", uid=7, moment=NOON, state=0, verify=1))
    at, wrong = spoil
    data[at : at + len(wrong)] = wrong
    assert isinstance(wire.decode_event(Packet(500, 1, 0, bytes(data))), Hint)


# --- users --------------------------------------------------------------------------------------------------------


def test_a_user_of_72_bytes() -> None:
    """Internal number and PIN are found; the password, and what is left of an older one, are not looked at."""
    assert wire.decode_pins(vectors.Z32_USER_72) == {13: "555"}


@given(st.dictionaries(st.integers(1, 65535), TEXT_PINS, max_size=30))
def test_users_with_text_pins_round_trip(users: dict[int, str]) -> None:
    """Every PIN that may be enrolled comes back under its number."""
    body = b"".join(wire.encode_user(72, uid=uid, pin=pin) for uid, pin in users.items())
    assert wire.decode_pins(body) == users


@given(st.dictionaries(st.integers(1, 65535), st.integers(1, 2**32 - 1).map(str), min_size=1, max_size=40))
def test_users_with_number_pins_round_trip(users: dict[int, str]) -> None:
    """Numeric PINs come back as text."""
    body = b"".join(wire.encode_user(28, uid=uid, pin=pin) for uid, pin in users.items())
    assert wire.decode_pins(body) == users


NAMES = [b"Siti Aminah", b"Budi\0ja Santoso", b"\xd5\xc5\xc8\xfd", b"", b"Muhammad Rizky Ramadhan"]


def user(stride: int, uid: int, pin: int, chance: random.Random) -> bytes:
    """Encode a user with everything a real table has: privilege, password with stale bytes, name, card, groups."""
    privilege, card = chance.choice((0, 0, 0, 1, 6, 14)), chance.choice((0, 0, chance.randrange(2**32)))
    password, name = chance.choice((b"", b"12345", b"77\0\xc6\x9a")), chance.choice(NAMES)
    if stride == 28:
        return struct.pack("<HB5s8sIxBHI", uid, privilege, password, name[:8], card, 1, 0, pin)
    text = str(pin).encode() + chance.choice((b"", b"\0stale"))
    if stride == 72:
        return struct.pack("<HB8s24sIBHHHH24s", uid, privilege, password, name, card, 1, 0, 1, 0, 0, b"")[:48] + (
            text.ljust(24, b"\0")
        )
    return struct.pack("<HB8s24x24s24s13x24s", uid, privilege, text, name, name, text)


@pytest.mark.parametrize("stride", [28, 72, 120])
def test_users_of_a_real_table_are_not_read_with_another_length(stride: int) -> None:
    """Whatever their number, people keep their own PIN, although the same bytes divide into other records as well."""
    chance = random.Random(stride)
    for rows in [1, 2, 3, 5, 7, 14, 18, 21, 30, 35, 63, 90] * 10:
        people = {uid: chance.randrange(1, 10**9) for uid in chance.sample(range(1, 3000), rows)}
        body = b"".join(user(stride, uid, pin, chance) for uid, pin in people.items())
        assert len(body) == stride * rows
        assert wire.decode_pins(body) == {uid: str(pin) for uid, pin in people.items()}


@pytest.mark.parametrize("stride", [28, 72, 120])
def test_empty_user_slots_are_skipped(stride: int) -> None:
    """Empty slots, fingers among the users, number 0 and users without a PIN give no mapping and hide nobody."""
    chance = random.Random(1)
    finger = struct.pack("<HB", 7, 0x31) + b"\xa5" * (stride - 3)
    no_pin = bytearray(user(stride, 8, 1, chance))
    no_pin[{28: 24, 72: 48, 120: 96}[stride] :][:24] = bytes(stride - {28: 24, 72: 48, 120: 96}[stride])
    unserved = [bytes(stride), finger, finger, user(stride, 0, 99, chance)]
    people = [user(stride, uid, 1000 + uid, chance) for uid in (1, 2, 3)]
    assert wire.decode_pins(b"".join([*unserved, *people, bytes(stride)])) == {1: "1001", 2: "1002", 3: "1003"}


def test_two_users_of_one_number_are_no_two_people() -> None:
    """The first of them stays: a number stands for one PIN."""
    body = b"".join(wire.encode_user(72, uid=uid, pin=pin) for uid, pin in ((1, "A"), (2, "B"), (3, "C"), (2, "D")))
    assert wire.decode_pins(body) == {1: "A", 2: "B", 3: "C"}


@pytest.mark.parametrize(
    "body",
    [bytes(72), b"\xff" * 120, b"\x01" * 73, vectors.K40_BODY, wire.encode_user(72, uid=0, pin="7") * 7],
    ids=["empty slots", "ones", "no whole row", "no users", "number 0 only"],
)
def test_a_table_that_shows_no_users_is_refused(body: bytes) -> None:
    """A wrong reading of it would give somebody's punches to somebody else."""
    with pytest.raises(WireError, match="fit no user layout"):
        wire.decode_pins(body)


def test_an_empty_user_table_has_no_users() -> None:
    """No users is an answer, not an error."""
    assert wire.decode_pins(b"") == {}


def test_a_pin_too_long_for_the_user_table_is_refused() -> None:
    """Encoding never enrols another PIN than the one given."""
    with pytest.raises(ValueError, match="does not fit"):
        wire.encode_user(72, uid=1, pin=string.ascii_letters)
    with pytest.raises(ValueError, match="does not fit"):
        wire.encode_user(28, uid=1, pin="007")


@pytest.mark.parametrize("count", [1, 3, 8])
def test_pinned_layout_stays_where_every_record_is_bad(count: int) -> None:
    """Records with impossible dates are bad records of the layout known, not good ones of its rival."""
    body = layouts._S8.pack(7, 1, wire.encode_time(datetime(2026, 2, 28)) + 3 * 86400, 0) * count  # noqa: DTZ001 - wall clock

    layout = choose(body, count, "8")

    assert layout.name == "8"
    assert all(isinstance(record, BadRecord) for record in layouts.Records(body, layout))


def short_record(row: int, state: int, *, reset: bool = False) -> bytes:
    """Encode a record of 8 bytes, of a clock that is right or was reset."""
    moment = datetime(2000, 1, 1) if reset else NOON  # noqa: DTZ001 - wall clock
    packed = wire.encode_time(moment + timedelta(seconds=row + 1))
    return layouts._S8.pack(1 + row % 3, 0, packed, state)


ODD_LOGS = {
    "odd codes": (b"".join(short_record(row, 20 + row) for row in range(6)), (1, 3, None, 0)),
    "reset clocks": (b"".join(short_record(row, row, reset=row % 2 == 1) for row in range(38)), (41, 30, 19)),
    "both": (b"".join(short_record(row, 20 + row, reset=row < 14) for row in range(38)), (41, 30, 19)),
}


@pytest.mark.parametrize(("body", "counts"), ODD_LOGS.values(), ids=ODD_LOGS)
def test_a_more_plausible_layout_does_not_replace_the_incumbent(body: bytes, counts: tuple[int | None, ...]) -> None:
    """Where a count lies, records of 8 bytes are read as such or not at all: half as many of 16 were never made."""
    rows = layouts.Sample.whole(body)
    assert rows.plausibility(layouts.LAYOUTS["16"]) > rows.plausibility(layouts.LAYOUTS["8"])
    for count in counts:
        try:
            assert choose(body, count, "8").name == "8"
        except WireError:
            assert rows.plausibility(layouts.LAYOUTS["8"]) < layouts.MIN_PLAUSIBILITY


@pytest.mark.parametrize("count", [None, 0, 3, 5000])
@pytest.mark.parametrize("updated", layouts.LAYOUTS)
def test_an_update_to_another_layout_is_noticed_whatever_the_count(updated: str, count: int | None) -> None:
    """A good log reads so much better in its own layout that the one found earlier gives way; or nothing is read."""
    body = office(updated, 200)
    for old, layout in layouts.LAYOUTS.items():
        if (old, updated) == ("16", "8-ma300"):
            with pytest.raises(WireError):
                choose(body, count, old)
        elif layout.stride != layouts.LAYOUTS[updated].stride:
            assert choose(body, count, old).name == updated


def test_an_unknown_layout_name_is_no_layout() -> None:
    """A name from elsewhere is ignored, also for an empty log."""
    assert choose(b"", 0, "unheard-of").name == "40"
