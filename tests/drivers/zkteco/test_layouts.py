"""Record layouts: decoding and encoding of each, and the choice among them."""

import random
import struct
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BadRecord, RawPunch
from drivers.zkteco import layouts, wire
from drivers.zkteco.wire import WireError
from tests.drivers.zkteco import vectors
from tests.drivers.zkteco.values import CODES, FEBRUARY_31, MOMENTS, NOON, NUMBER_PINS, TEXT_PINS, YEAR_2103

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


# --- records ------------------------------------------------------------------------------------------------------


def punches(body: bytes, layout: str) -> list[tuple[str | None, int | None, str, int | None, int | None, str | None]]:
    """Decode ``body`` and leave out the raw bytes; every record must be a punch."""
    found = []
    for entry in layouts.Records(body, layouts.LAYOUTS[layout]):
        assert isinstance(entry, RawPunch)
        found.append((entry.pin, entry.uid, str(entry.local_time), entry.state, entry.verify, entry.work_code))
    return found


def test_a_record_of_40_bytes() -> None:
    """A TFT terminal's record reads as its owner described it; its first two bytes are no identity."""
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
    """A record with an impossible date is bad, states why, and its neighbours are read."""
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
    """A record without a PIN is no punch."""
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
    """Bytes that fit no known layout are refused, and the sentence states how many there were."""
    with pytest.raises(WireError, match=f"{len(body)} bytes"):
        choose(body, 1000)


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


def encoded_log(layout: str, rows: int, clock: str, codes: Sequence[int], seed: int) -> bytes:
    """Encode a log by a clock that is ``right``, ``reset``, or by turns one of these or impossible (``any``)."""
    chance = random.Random(seed)
    body = b""
    for row in range(rows):
        shown = chance.choice(["right", "reset", "impossible"]) if clock == "any" else clock
        moment = datetime(2000, 1, 1) if shown == "reset" else NOON  # noqa: DTZ001 - wall clock
        moment += timedelta(seconds=60 * row + chance.randint(1, 50))
        uid, state, verify = chance.randint(1, 400), chance.choice(codes), chance.choice(codes)
        one = layouts.encode_record(
            layout, pin=str(1000 + uid), uid=uid, moment=moment, state=state, verify=verify, index=row + 1
        )
        body += spoiled(one, layout, 1) if shown == "impossible" else one
    return body


def counts_of(body: bytes) -> st.SearchStrategy[int | None]:
    """Return the counts that a terminal may report: none, any, and those that are right in one of the layouts."""
    exact = {len(body) // layout.stride for layout in layouts.LAYOUTS.values() if len(body) % layout.stride == 0}
    return st.none() | st.integers(0, 400) | st.sampled_from(sorted(exact))


ROWS = st.integers(1, 12) | st.integers(13, 60)
SEEDS = st.integers(0, 2**32)


@given(st.sampled_from([*layouts.LAYOUTS]), ROWS, st.sampled_from(["right", "reset"]), SEEDS, st.data())
def test_a_wrong_count_invents_no_punch(layout: str, rows: int, clock: str, seed: int, data: st.DataObject) -> None:
    """Whatever is counted, a first reading is of the log's own layout or refused, with a reset clock too."""
    body = encoded_log(layout, rows, clock, (0, 1), seed)
    with suppress(WireError):
        assert choose(body, data.draw(counts_of(body))).name == layout


@given(
    st.sampled_from([*layouts.LAYOUTS]),
    ROWS,
    st.sampled_from([("right", range(6)), ("right", range(256)), ("reset", range(6)), ("any", range(6))]),
    SEEDS,
    st.data(),
)
def test_a_wrong_count_does_not_displace_the_layout_found_earlier(
    layout: str, rows: int, content: tuple[str, Sequence[int]], seed: int, data: st.DataObject
) -> None:
    """Whatever is counted, and whatever its records are, a log is read as before or refused; with its count, read."""
    body = encoded_log(layout, rows, *content, seed)
    with suppress(WireError):
        assert choose(body, data.draw(counts_of(body)), layout).name == layout
    assert choose(body, rows, layout).name == layout


def test_two_records_of_a_reset_clock_counted_as_five() -> None:
    """80 bytes are five records of 16 bytes too, all of them invented: of midnight, and of no person."""
    body = encoded_log("40", 2, "reset", (0, 1), 1)
    assert choose(body, 5, "40").name == "40"
    with pytest.raises(WireError):
        choose(body, 5)
    assert choose(encoded_log("40", 2, "right", (0, 1), 1), 5).name == "40"


def test_every_second_row_is_scored() -> None:
    """A record of 16 bytes is a good one of an MA300 and eight bytes of padding: half of them are punches at most."""
    rows = layouts.Sample.whole(office("16", 400))
    assert rows.plausibility(layouts.LAYOUTS["8-ma300"]) < 0.6


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


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_decoded_punch_has_every_field(layout: str) -> None:
    """Punches are made without their class's default values; one field too few fails far from here."""
    stride = layouts.LAYOUTS[layout].stride
    found = layouts.LAYOUTS[layout].decode(bytes([0x31]) * stride * 3)
    punches = [record for record in found if isinstance(record, RawPunch)]
    assert len(punches) == 3
    assert all(len(punch) == len(RawPunch._fields) for punch in punches)
    assert all(punch == RawPunch(*punch) for punch in punches)
