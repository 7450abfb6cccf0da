"""Packets, keys, times, sizes, events and users: bytes of real terminals, and every value that has a form in bytes."""

import random
import string
import struct
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Hint, RawPunch
from drivers.zkteco import wire
from drivers.zkteco.wire import Packet, StreamReader, WireError
from tests.drivers.zkteco import vectors
from tests.drivers.zkteco.values import CODES, FEBRUARY_31, MOMENTS, NOON, NUMBER_PINS, TEXT_PINS, YEAR_2103
from tests.eight_ways import eight_ways

# --- packets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", vectors.PACKETS, ids=lambda vector: vector.name)
def test_packets_of_real_terminals_decode_and_encode(vector: vectors.Vector) -> None:
    """Each captured packet holds what its owner saw, its checksum holds, and encoding gives the same bytes back."""
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
    """The beginning of a long packet gives nothing yet and states how much is missing; what is there can be read."""
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
    """A packet that states it has 4 GiB, or less than a header, is an error before anything is collected for it."""
    with pytest.raises(WireError, match="possible"):
        list(StreamReader().feed(wire.TCP_MAGIC + struct.pack("<I", length)))


def test_other_protocols_on_the_port_are_named() -> None:
    """Secure firmware and door access panels are distinguished from garbage by their first bytes."""
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
    """Records and capacity are found in long answers; a short answer states nothing rather than something wrong."""
    assert wire.decode_sizes(data) == sizes


@given(st.integers(0, 200_000), st.integers(1, 200_000), st.integers(0, 5000))
def test_sizes_round_trip(records: int, capacity: int, users: int) -> None:
    """What the simulator states about its memory is read back."""
    data = wire.encode_sizes(records=records, capacity=capacity, users=users)
    assert len(data) == 92
    assert wire.decode_sizes(data) == (records, capacity)


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
    """Live punches are decoded with the owners' values, whatever the reply number."""
    expected = RawPunch(pin, None, datetime.fromisoformat(moment), 0, verify, None, packet.data)
    assert wire.decode_event(packet) == expected


def test_events_about_other_things_are_nothing() -> None:
    """A finger score arrives although only punches were requested, and is no punch."""
    assert wire.decode_event(vectors.BY_NAME["Z9"].packet) is None


@given(TEXT_PINS, MOMENTS, CODES, CODES, st.sampled_from([32, 36, 37, 52]))
def test_events_with_text_pins_round_trip(pin: str, moment: datetime, state: int, verify: int, length: int) -> None:
    """Every length with a text PIN gives back what was encoded."""
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
    """What cannot be understood still shows that something happened."""
    assert wire.decode_event(Packet(500, 1, 0, bytes(length))) == Hint(f"event of unknown length {length}")


@pytest.mark.parametrize(
    "spoil",
    [(26, bytes((26, 2, 31, 0, 0, 0))), (26, bytes((103, 1, 1, 0, 0, 0))), (26, b"\xff" * 6), (0, bytes(24))],
    ids=["31 February", "2103", "nonsense", "no PIN"],
)
def test_events_that_make_no_sense_are_hints(spoil: tuple[int, bytes]) -> None:
    """An event with an impossible date or without a PIN is not a punch; the log will show it."""
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
    """Empty slots, fingers among the users, number 0 and users without a PIN give no mapping and hide no user."""
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
    """A wrong reading of it would give one person's punches to another."""
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
