import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.base import (
    BadRecord,
    Enrolled,
    Hint,
    Live,
    Logged,
    ProtocolError,
    Ranged,
    RawPunch,
    Reading,
    Record,
    SettableClock,
    Sizes,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
    UnreadableLog,
)
from drivers.zkteco import layouts, wire
from drivers.zkteco import terminal as zkteco
from drivers.zkteco import transport as under_pyzk
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from drivers.zkteco.simulator.conversation import SMALL
from drivers.zkteco.table import CHUNK
from drivers.zkteco.terminal import LayoutName, ZktecoTerminal, connect
from drivers.zkteco.transport import ALLOWED, CLOCK_COMMANDS, MAX_EVENTS, translated_errors
from gateway.event import person_key, punch_id
from tests.drivers.zkteco import vectors
from tests.drivers.zkteco.scripted import (
    HANDSHAKE,
    LATE_S,
    OK,
    SESSION,
    Action,
    Answer,
    Dynamic,
    Pause,
    ScriptedPeer,
    Step,
    options,
    prepared,
    requested,
    serve,
    sizes,
    step,
    transfer,
    visited,
)
from tests.drivers.zkteco.values import NOON, encoded_log

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")

CLOCK = Answer(wire.CMD_ACK_OK, struct.pack("<I", wire.encode_time(NOON)))
K40 = ("Z17", "Z18", "Z19")
"""What a K40 sends for its log when it is requested without a buffer."""
LAYOUTS = list(layouts.LAYOUTS)
EVERY_TRANSPORT = [(layout, udp) for layout in LAYOUTS for udp in (False, True)]
every_transport = pytest.mark.parametrize(
    ("layout", "udp"), EVERY_TRANSPORT, ids=lambda value: {True: "udp", False: "tcp"}.get(value, value)
)
either_transport = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])


def bad_record(layout: str, seed: int = 0) -> bytes:
    """Encode a record of an impossible date, 31 February."""
    record = bytearray(encoded_log(layout, 8)[: layouts.LAYOUTS[layout].stride])
    at = {"8": 3, "8-ma300": 4, "16": 4, "22": 13, "40": 27, "49": 27}[layout]
    record[at : at + 4] = (((26 * 12 + 1) * 31 + 30) * 86400 + seed).to_bytes(4, "little")
    return bytes(record)


@contextmanager
def talking(
    simulated: SimulatedTerminal, *, udp: bool = False, **more: Any
) -> Iterator[tuple[ZktecoTerminal, Simulator]]:
    """Hold a conversation with a simulated terminal."""
    with Simulator(simulated) as simulator, connect(options(simulator.port, udp=udp, **more)) as terminal:
        yield terminal, simulator


def simulated(layout: str = "40", count: int = 0, **more: Any) -> SimulatedTerminal:
    """Return a terminal with a log of ``count`` records."""
    more.setdefault("users", {uid: str(1000 + uid) for uid in range(1, 98)})
    return SimulatedTerminal(layout=layout, log=encoded_log(layout, count), now=lambda: NOON, capacity=150_000, **more)


def expected(terminal: SimulatedTerminal, start: int = 0) -> list[Record]:
    """Return what the terminal's log holds from ``start`` on."""
    return list(islice(terminal.records(), start, None))


def raws(reading: Reading) -> bytes:
    """Return the records of a reading as bytes."""
    return b"".join(record.raw for record in reading.records)


# --- small questions ----------------------------------------------------------------------------------------------


@either_transport
def test_a_terminal_is_identified(udp: bool) -> None:
    """Serial, model, firmware and platform are what the terminal answers."""
    with talking(simulated(serial="ABC123", model="F18", firmware="Ver 6.60", platform="ZMM220"), udp=udp) as (zk, _):
        assert zk.identify() == TerminalInfo("ABC123", "F18", "Ver 6.60", "ZMM220")


@either_transport
def test_the_serial_alone_is_one_question(udp: bool) -> None:
    """The serial number costs one packet each way."""
    with talking(simulated(serial="ABC123"), udp=udp) as (zk, simulator):
        before = simulator.packets
        assert zk.serial() == "ABC123"
        assert simulator.packets - before == 2


@pytest.mark.parametrize("name", ["~DeviceName", "~Platform"])
@pytest.mark.parametrize("value", ["", "   ", "\xe9\xff", "a\x07b"])
def test_what_cannot_be_read_as_text_is_none(name: str, value: str) -> None:
    """An option that is empty or not printable ASCII counts as not reported, and costs nothing else."""
    with talking(simulated(serial="S1", options={name: value})) as (zk, _):
        info = zk.identify()
        assert (info.serial, (info.model, info.platform)[name == "~Platform"]) == ("S1", None)


@pytest.mark.parametrize("code", [wire.CMD_ACK_ERROR, 4999, wire.CMD_UNKNOWN])
def test_a_serial_that_is_not_reported_is_empty(code: int) -> None:
    """A terminal that does not know its serial number refuses the option; that is an answer, not an error."""
    with visited(step(wire.CMD_OPTIONS_RRQ, Answer(code))) as (zk, _):
        assert zk.serial() == ""


@either_transport
def test_the_clock_is_what_the_terminal_shows(udp: bool) -> None:
    """The wall clock is returned to the second, with the round trip that bounds the comparison."""
    with talking(simulated(clock_offset=timedelta(minutes=7)), udp=udp) as (zk, _):
        begun = time.monotonic()
        reading = zk.read_clock()
        took = time.monotonic() - begun
        assert reading is not None
        assert reading.local_time == NOON + timedelta(minutes=7)
        assert 0 < reading.round_trip_s <= took


def test_the_round_trip_is_the_terminals_time() -> None:
    """A terminal that thinks for 100 ms shows in the round trip."""
    answer = Answer(wire.CMD_ACK_OK, struct.pack("<I", wire.encode_time(NOON)))
    with visited(step(wire.CMD_GET_TIME, Pause(0.1), answer)) as (zk, _):
        reading = zk.read_clock()
        assert reading is not None
        assert reading.round_trip_s >= 0.1


@pytest.mark.parametrize("data", [b"", b"\x01\x02", b"\xff\xff\xff\xff"])
def test_an_impossible_clock_is_none(data: bytes) -> None:
    """A clock that shows no date of this century is not a clock reading."""
    with visited(step(wire.CMD_GET_TIME, Answer(wire.CMD_ACK_OK, data))) as (zk, _):
        assert zk.read_clock() is None


@either_transport
def test_sizes_are_those_that_the_terminal_reports(udp: bool) -> None:
    """Records and capacity come from the terminal's own count."""
    with talking(simulated(count=1234), udp=udp) as (zk, _):
        assert zk.sizes() == Sizes(1234, 150_000)


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_terminal_without_sizes_is_read_nevertheless(count: int) -> None:
    """Four zero bytes in place of sizes mean "cannot say"; the layout is found by how the records read."""
    body = encoded_log("40", count)
    buffer = struct.pack("<I", len(body)) + body
    with visited(
        step(wire.CMD_GET_FREE_SIZES, Answer(wire.CMD_ACK_OK, bytes(4))),
        step(wire.CMD_ATTLOG_RRQ, Answer(wire.CMD_ACK_ERROR)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(wire.CMD_READ_BUFFER, serve(buffer))] * 5,
    ) as (zk, _):
        assert zk.sizes() == Sizes(None, None)
        assert raws(zk.read()) == body


def test_the_terminal_is_what_the_interfaces_ask_for() -> None:
    """A ZKTeco terminal keeps a log, finds records by date, has people enrolled, sends punches, can be set."""
    with talking(simulated()) as (zk, _):
        assert all(isinstance(zk, interface) for interface in (Logged, Ranged, Enrolled, Live, SettableClock))


# --- whole readings -----------------------------------------------------------------------------------------------


def borders(layout: str) -> list[int]:
    """Return the numbers of records around every border: nothing, few, the small answer, and the chunks."""
    stride = layouts.LAYOUTS[layout].stride
    small = (SMALL - 4) // stride
    chunk = CHUNK // stride
    return sorted({0, 1, 2, 40, small - 1, small, small + 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1})


@pytest.mark.parametrize(
    ("layout", "udp", "count", "pinned"),
    [
        (layout, udp, count, (place + udp) % 2 == 1)
        for layout, udp in EVERY_TRANSPORT
        for place, count in enumerate(borders(layout))
    ],
)
def test_a_log_is_read_whole(layout: str, udp: bool, count: int, pinned: bool) -> None:
    """Whatever the layout, the transport and the length, the reading is the log, record by record.

    A layout is pinned at each length over one of the two transports: no code looks at both.
    """
    with talking(simulated(layout, count), udp=udp) as (zk, simulator):
        reading = zk.read(layout=layout if pinned else None)
        assert (reading.start, reading.total) == (0, count)
        assert raws(reading) == simulator.terminal.log_body()
        assert list(islice(reading.records, 50)) == expected(simulator.terminal)[:50]
        if count:
            assert (reading.layout, reading.by_uid) == (layout, layout.startswith("8"))


@every_transport
def test_a_hundred_thousand_records_are_read_whole(layout: str, udp: bool) -> None:
    """A terminal that was never emptied is read to the last record."""
    with talking(simulated(layout, 100_000), udp=udp) as (zk, simulator):
        reading = zk.read()
        assert (reading.start, reading.total, reading.layout) == (0, 100_000, layout)
        assert raws(reading) == simulator.terminal.log_body()


def test_the_records_of_a_reading_can_be_iterated_twice() -> None:
    """The second time gives the same as the first."""
    with talking(simulated(count=100)) as (zk, _):
        reading = zk.read()
        assert list(reading.records) == list(reading.records)


def test_what_has_come_of_a_reading_outlives_its_conversation() -> None:
    """Records that were iterated can be iterated again when the terminal is gone; the others cannot be had."""
    terminal = simulated(count=20_000)
    with talking(terminal) as (zk, _):
        whole, part = zk.read(19_000, "40"), zk.read()
        first = list(islice(part.records, 1000))
    assert first == expected(terminal)[:1000]
    assert list(islice(part.records, 1000)) == first
    with pytest.raises(RuntimeError, match="reading has ended"):
        list(part.records)
    assert list(whole.records) == expected(terminal, 19_000)


def test_a_layout_pinned_wrongly_gives_way() -> None:
    """A terminal that was replaced by another model is read in its own layout."""
    with talking(simulated("16", 500)) as (zk, simulator):
        reading = zk.read(layout="40")
        assert (reading.layout, list(reading.records)) == ("16", expected(simulator.terminal))


# --- tails --------------------------------------------------------------------------------------------------------

STARTS = {"first": 0, "second": 1, "middle": 500, "last eight": 992, "last": 999, "end": 1000}


@every_transport
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_tail_is_read_from_the_requested_position(layout: str, udp: bool, start: int) -> None:
    """With the layout known, only what lies behind ``start`` is delivered."""
    with talking(simulated(layout, 1000), udp=udp) as (zk, simulator):
        reading = zk.read(start, layout)
        assert (reading.start, reading.total, reading.layout) == (start, 1000, layout)
        assert list(reading.records) == expected(simulator.terminal, start)


@every_transport
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_tail_without_a_known_layout_begins_at_its_start(layout: str, udp: bool, start: int) -> None:
    """The count proves the layout except between the two of 8 bytes: there the whole log is read to be sure."""
    with talking(simulated(layout, 1000), udp=udp) as (zk, simulator):
        reading = zk.read(start)
        assert reading.start == (0 if layout.startswith("8") else start)
        assert list(reading.records) == expected(simulator.terminal, reading.start)


@every_transport
@pytest.mark.parametrize("start", [1001, 2000, 10**9])
def test_a_start_beyond_the_end_is_served_from_the_beginning(layout: str, udp: bool, start: int) -> None:
    """A log that is shorter than remembered was cleared: all of it is read."""
    with talking(simulated(layout, 1000), udp=udp) as (zk, simulator):
        reading = zk.read(start, layout)
        assert (reading.start, reading.total) == (0, 1000)
        assert raws(reading) == simulator.terminal.log_body()


@every_transport
@pytest.mark.parametrize("start", [0, 5])
def test_an_empty_log_is_an_empty_reading(layout: str, udp: bool, start: int) -> None:
    """Nothing is delivered, whatever was remembered."""
    with talking(simulated(layout), udp=udp) as (zk, _):
        reading = zk.read(start, layout)
        assert (reading.start, reading.total, list(reading.records)) == (0, 0, [])


def test_a_tail_of_a_small_answer_is_cut_from_it() -> None:
    """A log that fits into one answer needs no second question."""
    with talking(simulated(count=10)) as (zk, simulator):
        reading = zk.read(7, "40")
        assert (reading.start, list(reading.records)) == (7, expected(simulator.terminal, 7))
        assert simulator.terminal.commands[wire.CMD_READ_BUFFER] == 0


def beginning(buffer: bytes) -> Dynamic:
    """Answer READ_BUFFER as a terminal that ignores where a part should begin."""

    def answer(question: wire.Packet) -> list[Answer]:
        _, length = struct.unpack("<ii", question.data)
        return transfer(buffer[:length])

    return answer


@pytest.mark.parametrize("start", [0, 90, 99])
@pytest.mark.parametrize("oddity", ["refuses", "ignores the start", "sends everything"])
def test_a_terminal_that_serves_no_parts_is_read_as_a_whole(start: int, oddity: str) -> None:
    """Whatever is sent in place of a part, what is handed out is what the reading states it is."""
    body = encoded_log("40", 100)
    buffer = struct.pack("<I", len(body)) + body
    odd = {
        "refuses": [step(wire.CMD_READ_BUFFER, Answer(wire.CMD_ACK_ERROR))] * 3,
        "ignores the start": [step(wire.CMD_READ_BUFFER, beginning(buffer))],
        "sends everything": [step(wire.CMD_READ_BUFFER, *transfer(buffer))],
    }[oddity]
    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        step(wire.CMD_READ_BUFFER, serve(buffer)),
        *odd,
        step(wire.CMD_READ_BUFFER, beginning(buffer)),
    ) as (zk, _):
        reading = zk.read(start, "40")
        assert (reading.start, reading.total) == (start, 100)
        assert raws(reading) == body[start * 40 :]


def test_a_log_that_is_refused_altogether_is_a_protocol_error() -> None:
    """A terminal that prepares its log and does not send it is not one that can be read."""
    with (
        pytest.raises(ProtocolError, match="refused to send it") as caught,
        visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(100)),
            step(wire.CMD_PREPARE_BUFFER, prepared(4004)),
            *[step(wire.CMD_READ_BUFFER, Answer(wire.CMD_ACK_ERROR))] * 3,
        ) as (zk, _),
    ):
        zk.read()
    assert caught.value.capture


def test_a_tail_that_reads_like_nothing_is_read_whole() -> None:
    """A tail that does not look like punches is not believed: the whole log is read and judged."""
    terminal = simulated(count=500)
    terminal.append_raw(bad_record("40") * 3)
    with talking(terminal) as (zk, _):
        reading = zk.read(500, "40")
        assert (reading.start, reading.total) == (0, 503)
        assert list(reading.records) == expected(terminal)


# --- the race between the count and the reading -------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize(
    ("count", "pinned"), [(0, True), (1, False), (2, True), (39, False), (1000, True), (1000, False)]
)
def test_a_punch_between_the_count_and_the_reading_appears(layout: str, udp: bool, count: int, pinned: bool) -> None:
    """What was added after the count is delivered, and nothing else."""
    with talking(simulated(layout, count), udp=udp) as (zk, simulator):
        assert zk.sizes().records == count
        simulator.terminal.append("1001", NOON, state=1)
        reading = zk.read(layout=layout if pinned else None)
        assert (reading.total, list(reading.records)) == (count + 1, expected(simulator.terminal))


@every_transport
def test_a_tail_shows_the_punch_made_since_the_count(layout: str, udp: bool) -> None:
    """With the layout known, one more record than counted does not cost a whole reading."""
    with talking(simulated(layout, 1000), udp=udp) as (zk, simulator):
        zk.sizes()
        simulator.terminal.append("1001", NOON)
        reading = zk.read(992, layout)
        assert (reading.start, reading.total) == (992, 1001)
        assert list(reading.records) == expected(simulator.terminal, 992)


def test_a_count_that_never_settles_ends_the_reading_all_the_same() -> None:
    """A short log is read three times at most, however often the terminal changes its mind."""
    body = encoded_log("40", 3)
    small = Answer(wire.CMD_DATA, struct.pack("<I", len(body)) + body)
    script = [
        line
        for count in (1, 2, 1)
        for line in (step(wire.CMD_GET_FREE_SIZES, sizes(count)), step(wire.CMD_PREPARE_BUFFER, small))
    ]
    with visited(*script) as (zk, peer):
        assert raws(zk.read()) == body
        assert peer.commands.count(wire.CMD_PREPARE_BUFFER) == 3


def test_a_log_cleared_since_the_count_is_read_from_the_beginning() -> None:
    """Nothing of the cleared log is delivered."""
    with talking(simulated(count=1000)) as (zk, simulator):
        zk.sizes()
        simulator.terminal.clear_log()
        simulator.terminal.append("1001", NOON)
        reading = zk.read(500, "40")
        assert (reading.start, list(reading.records)) == (0, expected(simulator.terminal))


# --- records that make no sense -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["16", "40", "49"])
@pytest.mark.parametrize("count", range(1, 9))
def test_a_few_bad_records_are_all_delivered(layout: str, count: int) -> None:
    """A log of nothing but bad records comes as bad records."""
    terminal = simulated(layout)
    terminal.append_raw(b"".join(bad_record(layout, seed) for seed in range(count)))
    with talking(terminal) as (zk, _):
        reading = zk.read()
        assert reading.layout == layout
        assert list(reading.records) == expected(terminal)
        assert all(isinstance(record, BadRecord) for record in reading.records)


@every_transport
def test_bad_records_cost_themselves_only(layout: str, udp: bool) -> None:
    """Ten bad records among a thousand: each in its place, and 990 punches."""
    stride = layouts.LAYOUTS[layout].stride
    body = bytearray(encoded_log(layout, 1000))
    places = range(50, 1000, 100)
    for place in places:
        body[place * stride : (place + 1) * stride] = bad_record(layout, place)
    terminal = simulated(layout)
    terminal.append_raw(bytes(body))
    with talking(terminal, udp=udp) as (zk, _):
        records = list(zk.read().records)
        assert [at for at, record in enumerate(records) if isinstance(record, BadRecord)] == list(places)
        assert sum(isinstance(record, RawPunch) for record in records) == 990


@pytest.mark.parametrize("size", [2049, 200_000])
def test_a_log_that_fits_no_layout_is_kept_whole(size: int) -> None:
    """What cannot be cut into records is refused, and all of it can be looked at."""
    body = (bytes(range(256)) * 800)[:size]
    buffer = struct.pack("<I", len(body)) + body
    with (
        pytest.raises(UnreadableLog, match="do not read as any of the layouts known") as caught,
        visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(51)),
            step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
            *[step(wire.CMD_READ_BUFFER, serve(buffer))] * 30,
        ) as (zk, _),
    ):
        zk.read()
    assert caught.value.body == body
    assert caught.value.capture


# --- logs that are not prepared -----------------------------------------------------------------------------------

NO_SIZES = step(wire.CMD_GET_FREE_SIZES, Answer(wire.CMD_ACK_OK, bytes(4)))
DIRECT = wire.CMD_ATTLOG_RRQ


def burst(body: bytes, output: int, *, announced_first: bool = True, closed: bool = True) -> Dynamic:
    """Answer as a Wi-Fi model: the whole log in one packet that states it has ``said`` bytes of data."""

    def answer(question: wire.Packet) -> list[bytes]:
        data = wire.Packet(wire.CMD_DATA, 0, question.reply, body).to_bytes()
        glued = wire.TCP_MAGIC + struct.pack("<I", 8 + output) + data
        if announced_first:
            size = struct.pack("<II", len(body), 1008)
            glued = wire.Packet(wire.CMD_PREPARE_DATA, SESSION, question.reply, size).to_tcp() + glued
        if closed:
            glued += wire.Packet(wire.CMD_ACK_OK, len(body) & 0xFFFF, question.reply).to_tcp()
        return [glued]

    return answer


def in_pieces(answer: Dynamic, length: int) -> Dynamic:
    """Send an answer in pieces of ``length`` bytes, as a network may cut it."""

    def pieces(question: wire.Packet) -> list[Action]:
        (glued,) = answer(question)
        assert isinstance(glued, bytes)
        return [part for at in range(0, len(glued), length) for part in (glued[at : at + length], Pause(0.001))]

    return pieces


@pytest.mark.parametrize("refusal", [wire.CMD_UNKNOWN, wire.CMD_BAD, wire.CMD_ACK_ERROR])
@pytest.mark.parametrize("layout", ["16", "22", "40"])
def test_a_terminal_that_prepares_nothing_is_read_without_a_buffer(layout: str, refusal: int) -> None:
    """The log comes in one go, from whatever position it is wanted."""
    body = encoded_log(layout, 300)
    for start in (0, 290):
        with visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(300)),
            step(wire.CMD_PREPARE_BUFFER, Answer(refusal)),
            step(DIRECT, *transfer(struct.pack("<I", len(body)) + body, 1008)),
        ) as (zk, peer):
            reading = zk.read(start, layout)
            assert (reading.start, reading.total, reading.layout) == (start, 300, layout)
            assert raws(reading) == body[start * layouts.LAYOUTS[layout].stride :]
        assert wire.CMD_FREE_DATA not in peer.settled()


@either_transport
def test_a_terminal_without_sizes_is_read_without_a_buffer_first(udp: bool) -> None:
    """Those that answer four bytes prepare nothing; how the records read proves their layout."""
    body = encoded_log("22", 40)
    with visited(NO_SIZES, step(DIRECT, *transfer(struct.pack("<I", len(body)) + body, 1008)), udp=udp) as (zk, _):
        reading = zk.read()
        assert (reading.total, reading.layout, raws(reading)) == (40, "22", body)


@pytest.mark.parametrize("rows", [1, 2, 50, 1000])
@pytest.mark.parametrize("output", [0, 3, 4, 22, 1008])
@pytest.mark.parametrize("announced_first", [True, False], ids=["announced", "unannounced"])
def test_a_packet_longer_than_its_length_field_is_read_whole(rows: int, output: int, announced_first: bool) -> None:
    """The log in one burst behind a length field that is too small, as an AK3750 sends it, whatever comes with it."""
    body = encoded_log("22", rows)
    table = struct.pack("<I", len(body)) + body
    if output < 4 and not announced_first:
        output = 4
    answer = burst(table, min(output, len(table)), announced_first=announced_first)
    for way in (answer, in_pieces(answer, max(1, len(table) // 40))):
        with visited(NO_SIZES, step(DIRECT, way), step(wire.CMD_GET_TIME, CLOCK), NO_SIZES) as (zk, _):
            assert raws(zk.read()) == body
            # What follows the burst is understood again.
            assert zk.read_clock() is not None
            assert zk.sizes() == Sizes(None, None)


def test_a_burst_without_its_end_is_waited_for_but_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was announced has come: that the last acknowledgement is missing costs a moment only."""
    monkeypatch.setattr(under_pyzk, "CLOSING_ACK_TIMEOUT_S", 0.05)
    body = encoded_log("22", 50)
    answer = burst(struct.pack("<I", len(body)) + body, 4, closed=False)
    with visited(NO_SIZES, step(DIRECT, answer)) as (zk, _):
        assert raws(zk.read()) == body


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: burst(table[:-1], 4, announced_first=False),
        lambda table: burst(table + b"x", 4, announced_first=False),
        lambda table: burst(struct.pack("<I", 0x7FFFFFFF) + table, 4, announced_first=False),
        lambda table: burst(table[:4], 4),
    ],
    ids=["a byte short", "a byte more", "2 GiB", "the count alone"],
)
def test_a_doubtful_burst_is_refused(spoil: Callable[[bytes], Dynamic]) -> None:
    """Where the packet's end is not where everything else places it, nothing is read."""
    body = encoded_log("22", 50)
    with (
        visited(NO_SIZES, step(DIRECT, spoil(struct.pack("<I", len(body)) + body))) as (zk, _),
        pytest.raises(ProtocolError),
    ):
        zk.read()


@pytest.mark.parametrize("count", [None, 3, 15, 100])
def test_what_a_k40_sends_for_a_log_is_no_log(count: int | None) -> None:
    """Numbers behind a right prefix are not cut into punches, however well their length fits a count."""
    opening = NO_SIZES if count is None else step(wire.CMD_GET_FREE_SIZES, sizes(count))
    refusal = [] if count is None else [step(wire.CMD_PREPARE_BUFFER, Answer(wire.CMD_ACK_ERROR))]
    captured = [Answer(vectors.BY_NAME[name].packet.command, vectors.BY_NAME[name].packet.data) for name in K40]
    with visited(opening, *refusal, step(DIRECT, *captured)) as (zk, _), pytest.raises(UnreadableLog) as caught:
        zk.read()
    assert caught.value.body == vectors.K40_BODY


def test_the_direct_road_is_not_taken_where_a_log_is_prepared() -> None:
    """It is for those that know no other."""
    terminal = simulated(count=3)
    with talking(terminal) as (zk, _):
        assert len(list(zk.read().records)) == 3
    assert terminal.commands[DIRECT] == 0


def test_a_terminal_that_refuses_both_roads_is_named_by_its_first_answer() -> None:
    """The message has the code that preparing was refused with."""
    with (
        visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(5)),
            step(wire.CMD_PREPARE_BUFFER, Answer(wire.CMD_UNKNOWN)),
            step(DIRECT, Answer(wire.CMD_ACK_ERROR)),
        ) as (zk, _),
        pytest.raises(ProtocolError, match="answers 65535 where it should prepare its log"),
    ):
        zk.read()


# --- counts of 0 --------------------------------------------------------------------------------------------------


def test_a_count_of_zero_is_no_proof_of_an_empty_log() -> None:
    """A terminal may say 0 and hold punches: they are read, and their tail when their layout is known."""
    body = encoded_log("40", 200)
    buffer = struct.pack("<I", len(body)) + body
    script = [
        step(wire.CMD_GET_FREE_SIZES, sizes(0)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(wire.CMD_READ_BUFFER, serve(buffer))] * 2,
    ]
    with visited(*script, *script) as (zk, _):
        assert zk.sizes() == Sizes(0, 100_000)
        whole = zk.read()
        assert (whole.layout, raws(whole)) == ("40", body)
        tail = zk.read(190, "40")
        assert (tail.start, raws(tail)) == (190, body[190 * 40 :])


@pytest.mark.parametrize("code", [wire.CMD_UNKNOWN, wire.CMD_BAD, wire.CMD_ACK_ERROR])
def test_nothing_to_prepare_is_an_empty_log(code: int) -> None:
    """A terminal that counts 0 and will not prepare that agrees with itself; garbage is not requested directly."""
    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(0)),
        step(wire.CMD_PREPARE_BUFFER, Answer(code)),
        step(wire.CMD_GET_FREE_SIZES, sizes(0)),
    ) as (zk, peer):
        reading = zk.read()
        assert (reading.start, reading.total, list(reading.records)) == (0, 0, [])
        assert DIRECT not in peer.commands


def test_a_count_of_zero_in_access_control_mode_is_for_a_person() -> None:
    """4989 is not an empty log."""
    with (
        visited(step(wire.CMD_GET_FREE_SIZES, sizes(0)), step(wire.CMD_PREPARE_BUFFER, Answer(4989))) as (zk, _),
        pytest.raises(TerminalRefused, match="T&A"),
    ):
        zk.read()


def test_each_reading_is_judged_by_a_count_of_its_own() -> None:
    """A conversation may last for days: the second reading does not go by the first one's count."""
    with talking(simulated(count=100)) as (zk, simulator):
        assert zk.read().total == 100
        for _ in range(900):
            simulator.terminal.append("1001", NOON)
        reading = zk.read(990)
        assert (reading.start, reading.total) == (990, 1000)


# --- a layout that a person chose ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_is_configured_is_used(layout: str) -> None:
    """Whatever was found earlier, and where the count would leave a doubt."""
    terminal = simulated(layout, 300)
    with talking(terminal, layout=layout) as (zk, _):
        for start, pinned in ((0, None), (290, None), (290, "40"), (0, "16")):
            reading = zk.read(start, pinned)
            assert (reading.start, reading.layout) == (start, layout)
            assert list(reading.records) == expected(terminal, start)


@pytest.mark.parametrize(("layout", "configured"), [("40", "8"), ("40", "49"), ("16", "8-ma300"), ("8", "16")])
def test_a_log_that_does_not_fit_the_layout_configured_is_refused(layout: str, configured: str) -> None:
    """A person's word is not stretched: the log is kept and nothing of it is taken for a punch."""
    terminal = simulated(layout, 300)
    with (
        talking(terminal, layout=configured) as (zk, _),
        pytest.raises(UnreadableLog, match=f"the layout {configured} that is configured") as caught,
    ):
        zk.read()
    assert caught.value.body == terminal.log_body()


@pytest.mark.parametrize("written", [8, 16, 22, 40, 49, "8", "8-ma300"])
def test_a_layout_may_be_written_as_a_number(written: Any) -> None:
    """YAML takes 40 for a number; both forms are accepted."""
    assert options(1, layout=written).layout == str(written)


@pytest.mark.parametrize("written", [True, 36, "ma300", 40.0, ""])
def test_another_layout_is_refused(written: Any) -> None:
    """There are no others."""
    with pytest.raises(ValidationError):
        options(1, layout=written)


def test_every_layout_can_be_configured() -> None:
    """The option and the decoders know the same names."""
    assert set(LAYOUTS) == set(get_args(get_args(LayoutName)[0]))


# --- by dates -----------------------------------------------------------------------------------------------------

SPAN = (datetime(2026, 9, 1), datetime(2026, 9, 30, 23, 59, 59))  # noqa: DTZ001 - wall clock


def ranged(*answers: Answer | Dynamic, reads: bytes | None = None) -> list[Step]:
    """Return a script in which a range is prepared with ``answers``, and ``reads`` is sent."""
    served = [] if reads is None else [step(wire.CMD_READ_BUFFER, serve(reads))] * 4
    return [step(wire.CMD_PREPARE_BUFFER, *answers), *served]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 10, 900])
def test_records_can_be_read_by_their_dates(layout: str, rows: int) -> None:
    """The request is the one of the vendor's library; its answer is decoded like any log."""
    body = encoded_log(layout, rows)
    buffer = struct.pack("<I", len(body)) + body
    small = len(buffer) <= SMALL
    script = ranged(Answer(wire.CMD_DATA, buffer)) if small else ranged(prepared(len(buffer)), reads=buffer)
    with visited(*script) as (zk, peer):
        records = zk.between(*SPAN, layout)
        assert records is not None
        assert b"".join(record.raw for record in records) == body
        (question,) = (packet for packet in peer.received if packet.command == wire.CMD_PREPARE_BUFFER)
        assert question.data == bytes.fromhex("01142700201633FFAC3D33")
    assert peer.settled().count(wire.CMD_FREE_DATA) == (0 if small else 1)


@pytest.mark.parametrize("code", [wire.CMD_UNKNOWN, wire.CMD_BAD, wire.CMD_ACK_ERROR, wire.CMD_ACK_OK, 4989])
def test_a_terminal_without_requests_by_date_returns_none(code: int) -> None:
    """Most do not know the question; the conversation goes on."""
    with visited(*ranged(Answer(code)), step(wire.CMD_GET_FREE_SIZES, sizes(3))) as (zk, _):
        assert zk.between(*SPAN, "40") is None
        assert zk.sizes().records == 3


UNUSABLE = {
    "records of another month": Answer(wire.CMD_DATA, struct.pack("<I", 4000) + encoded_log("40", 100)),
    "numbers that are no log": Answer(wire.CMD_DATA, struct.pack("<I", 120) + vectors.K40_BODY),
    "count larger than the table": Answer(wire.CMD_DATA, struct.pack("<I", 4001) + bytes(4000)),
    "no whole record": Answer(wire.CMD_DATA, struct.pack("<I", 41) + bytes(41)),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_answer_about_dates_is_none(answer: Answer) -> None:
    """A terminal that answers something else than was requested is not believed; the conversation goes on."""
    january = datetime(2026, 1, 1), datetime(2026, 1, 31)  # noqa: DTZ001 - wall clock
    with visited(*ranged(answer), step(wire.CMD_GET_FREE_SIZES, sizes(3))) as (zk, _):
        assert zk.between(*january, None) is None
        assert zk.sizes().records == 3


def test_a_span_without_punches_is_empty() -> None:
    """Nothing in it is an answer."""
    with visited(*ranged(Answer(wire.CMD_DATA, bytes(4)))) as (zk, _):
        assert zk.between(*SPAN, None) == []


def test_a_span_wider_than_the_century_is_requested_within_it() -> None:
    """A terminal knows the years 2000 to 2099."""
    with visited(*ranged(Answer(wire.CMD_DATA, bytes(4)))) as (zk, peer):
        zk.between(datetime(1, 1, 1), datetime(9999, 12, 31), None)  # noqa: DTZ001 - wall clock
        assert peer.received[-1].data[3:] == struct.pack("<II", 0, wire.encode_time(wire.LAST_TIME))


def test_a_span_before_the_century_is_requested_at_its_beginning() -> None:
    """The clock of a terminal that was reset has a yesterday which the terminal cannot express."""
    with visited(*ranged(Answer(wire.CMD_DATA, bytes(4)))) as (zk, peer):
        assert zk.between(datetime(1999, 12, 29), datetime(1999, 12, 31), None) == []  # noqa: DTZ001 - wall clock
        assert peer.received[-1].data[3:] == bytes(8)


# --- setting the clock --------------------------------------------------------------------------------------------


@either_transport
def test_the_clock_can_be_set(udp: bool) -> None:
    """To the second; everybody else's commands stay forbidden before, meanwhile and after."""
    terminal = simulated(clock_offset=timedelta(minutes=7))
    with talking(terminal, udp=udp) as (zk, _):
        zk.set_clock(NOON + timedelta(seconds=5, microseconds=999_999))
        assert terminal.clock() == NOON + timedelta(seconds=5)
        with pytest.raises(RuntimeError, match="allow-list"), translated_errors(zk._transport):
            zk._pyzk.query(wire.CMD_SET_TIME, bytes(4))
    assert [terminal.commands[command] for command in sorted(CLOCK_COMMANDS)] == [1, 1]


@pytest.mark.parametrize("refreshed", [OK, Answer(wire.CMD_ACK_ERROR), Answer(wire.CMD_UNKNOWN)])
def test_a_clock_is_set_although_the_terminal_has_no_refresh(refreshed: Answer) -> None:
    """What counts is whether it took, and the caller reads that back."""
    with visited(step(wire.CMD_SET_TIME, OK), step(wire.CMD_REFRESHDATA, refreshed)) as (zk, peer):
        zk.set_clock(NOON)
        assert peer.commands[-2:] == [wire.CMD_SET_TIME, wire.CMD_REFRESHDATA]
        assert peer.received[-2].data == struct.pack("<I", wire.encode_time(NOON))


def test_a_terminal_that_will_not_have_its_clock_set_refuses() -> None:
    """A person must do it; nothing more of it is sent to the terminal."""
    with visited(step(wire.CMD_SET_TIME, Answer(wire.CMD_ACK_ERROR))) as (zk, peer):
        with pytest.raises(TerminalRefused, match="in its menu"):
            zk.set_clock(NOON)
        with pytest.raises(RuntimeError, match="allow-list"), translated_errors(zk._transport):
            zk._pyzk.query(wire.CMD_REFRESHDATA)
    assert peer.settled() == [wire.CMD_CONNECT, wire.CMD_ENABLEDEVICE, wire.CMD_SET_TIME, wire.CMD_EXIT]


def test_a_year_outside_of_the_range_is_a_programming_error() -> None:
    """Nothing is sent."""
    with visited() as (zk, peer):
        with pytest.raises(ValueError, match="2000 to 2099"):
            zk.set_clock(NOON.replace(year=1999))
        assert peer.commands == [wire.CMD_CONNECT, wire.CMD_ENABLEDEVICE]


# --- people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["8", "8-ma300", "40"])
@either_transport
@pytest.mark.parametrize("people", [0, 1, 3, 500])
def test_internal_numbers_are_resolved(layout: str, udp: bool, people: int) -> None:
    """The user table gives each internal number its PIN, from tables of 28 and of 72 bytes a row."""
    users = {uid: str(7000 + uid) for uid in range(1, people + 1)}
    with talking(simulated(layout, users=users), udp=udp) as (zk, _):
        assert zk.pins() == users


def test_a_user_table_that_is_refused_is_not_an_empty_one() -> None:
    """No punch loses its PIN because a terminal would not send its user table."""
    with (
        pytest.raises(ProtocolError, match="refused to send it"),
        visited(
            step(wire.CMD_PREPARE_BUFFER, prepared(32)),
            *[step(wire.CMD_READ_BUFFER, Answer(wire.CMD_ACK_ERROR))] * 3,
        ) as (zk, _),
    ):
        zk.pins()


@either_transport
@pytest.mark.parametrize(
    "faults", [("no-buffer",), ("no-buffer=2001",), ("short-sizes", "no-buffer", "burst")], ids=str
)
@pytest.mark.parametrize("people", [0, 3, 100])
def test_users_of_a_terminal_that_prepares_nothing(faults: tuple[str, ...], udp: bool, people: int) -> None:
    """They are requested as its log is, and a log of internal numbers can be read for people."""
    users = {uid: str(7000 + uid) for uid in range(1, people + 1)}
    with talking(simulated("8", users=users), udp=udp) as (zk, simulator):
        for fault in faults:
            simulator.terminal.faults.switch_on(fault)
        zk.sizes()
        assert zk.pins() == users


def test_a_terminal_without_sizes_may_still_prepare_its_users() -> None:
    """Four bytes of sizes alone do not lose anybody's PIN."""
    with visited(
        step(wire.CMD_GET_FREE_SIZES, Answer(wire.CMD_ACK_OK, bytes(4))),
        step(wire.CMD_USERTEMP_RRQ, Answer(wire.CMD_UNKNOWN)),
        step(wire.CMD_PREPARE_BUFFER, Answer(wire.CMD_DATA, bytes(4))),
    ) as (zk, _):
        zk.sizes()
        assert zk.pins() == {}


@pytest.mark.parametrize(
    "answer",
    [
        [Answer(wire.CMD_ACK_ERROR)],
        [Answer(wire.CMD_ACK_OK)],
        [Answer(wire.CMD_ACK_OK, b"\x4a\x53\x53\x32\x31" * 100)],
        transfer(b"\x4a\x53\x53\x32\x31" * 100),
        transfer(struct.pack("<I", 500) + b"\x4a\x53\x53\x32\x31" * 100),
    ],
)
def test_what_is_no_user_list_is_refused_and_not_kept(answer: list[Answer]) -> None:
    """Should a firmware answer with a template, no byte of it gets further than this."""
    with (
        pytest.raises(ProtocolError) as failure,
        visited(step(wire.CMD_PREPARE_BUFFER, Answer(wire.CMD_UNKNOWN)), step(wire.CMD_USERTEMP_RRQ, *answer)) as (
            zk,
            _,
        ),
    ):
        zk.pins()
    assert "4a 53" not in (failure.value.capture or "")


# --- the communication key ----------------------------------------------------------------------------------------


def key_file(folder: Path, text: str) -> Path:
    """Write a file with a communication key."""
    path = folder / "key"
    path.write_text(text, encoding="utf-8")
    return path


@either_transport
@pytest.mark.parametrize("key", [1, 1234, 131_071, 999_999])
@pytest.mark.parametrize("session", [0x0001, 0x8000, 0xFFFF])
def test_the_right_key_opens(tmp_path: Path, udp: bool, key: int, session: int) -> None:
    """Keys are proved in every session, also those whose sum is more than 32 bits."""
    path = key_file(tmp_path, f"{key}\n")
    with talking(simulated(comm_key=key, session=session), udp=udp, comm_key_file=path) as (zk, _):
        assert zk.serial()


@either_transport
@pytest.mark.parametrize("given", ["4321", None])
def test_a_wrong_or_missing_key_is_refused(tmp_path: Path, udp: bool, given: str | None) -> None:
    """The wrong key is for a person to correct, and the message states where."""
    path = key_file(tmp_path, given) if given else None
    with (
        pytest.raises(TerminalRefused, match="communication key"),
        talking(simulated(comm_key=1234), udp=udp, comm_key_file=path),
    ):
        pytest.fail("the conversation began")


@pytest.mark.parametrize("text", ["", "secret", "12 34", "-5", "1e3", "1_000", "1000000", "9" * 5000, "١٢"])
def test_a_file_that_holds_no_key_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    """The message names the file, never its content, and the terminal is left alone."""
    with ScriptedPeer() as peer:
        with (
            pytest.raises(TerminalRefused) as caught,
            connect(options(peer.port, comm_key_file=key_file(tmp_path, text))),
        ):
            pytest.fail("the conversation began")
        assert peer.received == []
    chain = [
        caught.value,
        caught.value.__cause__,
        None if caught.value.__suppress_context__ else caught.value.__context__,
    ]
    assert str(tmp_path / "key") in str(caught.value)
    assert not any(text and text in str(error).replace(str(tmp_path), "").replace("0 to 999999", "") for error in chain)


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    """A file that is gone is for a person to bring back."""
    with pytest.raises(TerminalRefused, match="No such file"), connect(options(1, comm_key_file=tmp_path / "gone")):
        pytest.fail("the conversation began")


# --- one punch, one identity --------------------------------------------------------------------------------------

TEXT_PINS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=24)
SHORT_PINS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6)
NUMBER_PINS = st.integers(1, 2**32 - 1).map(str)
MOMENTS = st.datetimes(datetime(2005, 1, 1), datetime(2049, 12, 31))  # noqa: DTZ001 - wall clock


@pytest.mark.parametrize(
    ("layout", "event_length", "pins"),
    [
        ("40", 32, TEXT_PINS),
        ("49", 52, TEXT_PINS),
        ("40", 36, TEXT_PINS),
        ("40", 37, TEXT_PINS),
        ("22", 32, SHORT_PINS),
        ("16", 12, NUMBER_PINS),
        ("8", 12, NUMBER_PINS),
        ("8-ma300", 12, NUMBER_PINS),
    ],
)
def test_a_punch_is_the_same_by_log_by_datagram_and_live(
    layout: str, event_length: int, pins: st.SearchStrategy[str]
) -> None:
    """Three roads from one finger lead to one identity."""
    terminal = SimulatedTerminal(layout=layout, event_length=event_length, now=lambda: NOON)

    def identity(punch: Record | Hint, uids: dict[int, str]) -> Any:
        assert isinstance(punch, RawPunch)
        pin = punch.pin if punch.uid is None else uids[punch.uid]
        return punch_id(terminal.serial, person_key(pin, punch.uid), punch.local_time, 1)

    with (
        Simulator(terminal) as simulator,
        connect(options(simulator.port)) as stream,
        connect(options(simulator.port, udp=True)) as datagrams,
    ):
        list(stream.events(0))

        @settings(max_examples=15)
        @given(pin=pins, moment=MOMENTS, state=st.sampled_from([0, 1, 5]), verify=st.sampled_from([1, 15]))
        def one_finger(pin: str, moment: datetime, state: int, verify: int) -> None:
            terminal.clear_log()
            terminal.users.clear()
            terminal.punch(pin, state, verify, moment)
            live = next(stream.events(2))
            uids = dict(stream.pins()) if layout.startswith("8") else {}
            identities = {identity(live, uids)}
            for road in (stream, datagrams):
                road.sizes()
                (record,) = road.read(layout=layout).records
                identities.add(identity(record, uids))
            assert identities == {punch_id(terminal.serial, pin, moment.replace(microsecond=0), 1)}

        one_finger()


# --- live ---------------------------------------------------------------------------------------------------------


def event(pin: str = "1001", length: int = 32, *, code: int = wire.EF_ATTLOG, reply: int = 0) -> Answer:
    """Return an event as a terminal pushes it."""
    data = wire.encode_event(length, pin=pin, uid=1, moment=NOON, state=0, verify=1)
    return Answer(wire.CMD_REG_EVENT, data, session=code, reply=reply)


def encoded(answer: Answer) -> bytes:
    """Encode an event for a stream."""
    return wire.Packet(answer.command, answer.session, answer.reply or 0, answer.data).to_tcp()


def pins_of(events: list[RawPunch | Hint]) -> list[str | None]:
    """Return the PINs of events, in order."""
    return [
        messages_received.pin if isinstance(messages_received, RawPunch) else "hint" for messages_received in events
    ]


@either_transport
def test_a_punch_is_received_while_nothing_else_happens(udp: bool) -> None:
    """A finger put on the terminal while it is listened to arrives at once."""
    with talking(simulated(), udp=udp) as (zk, simulator):
        list(zk.events(0))
        threading.Timer(0.05, simulator.terminal.punch, ("1001", 1, 15)).start()
        messages_received = next(zk.events(5))
        assert isinstance(messages_received, RawPunch)
        assert (
            messages_received.pin,
            messages_received.local_time,
            messages_received.state,
            messages_received.verify,
        ) == ("1001", NOON, 1, 15)


def test_listening_ends_when_the_time_is_up() -> None:
    """Silence is no error: the time passes and that is all."""
    with talking(simulated()) as (zk, _):
        begun = time.monotonic()
        assert list(zk.events(0.2)) == []
        assert time.monotonic() - begun >= 0.2


def test_listening_ends_although_the_terminal_never_stops_talking() -> None:
    """Events of no interest do not keep the listener beyond its time."""

    def endlessly(_: wire.Packet) -> Iterator[Action]:
        while True:
            yield from (Pause(0.01), event(code=256))

    with visited(step(wire.CMD_REG_EVENT, OK, endlessly), polite=False) as (zk, _):
        assert list(zk.events(0.2)) == []


@pytest.mark.parametrize("length", wire.EVENT_ID_WIDTH)
def test_events_of_every_length_are_received(length: int) -> None:
    """Those that carry a PIN are punches; those of 10 and 14 bytes are a reason to read the log."""
    with talking(simulated(event_length=length)) as (zk, simulator):
        list(zk.events(0))
        simulator.terminal.punch("1001")
        messages_received = next(zk.events(5))
        assert (
            isinstance(messages_received, Hint)
            if length in (10, 14)
            else isinstance(messages_received, RawPunch) and messages_received.pin == "1001"
        )


@pytest.mark.parametrize("length", [0, 1, 9, 33, 100])
def test_events_of_unknown_length_are_a_hint(length: int) -> None:
    """What cannot be decoded still shows that something happened."""
    strange = Answer(wire.CMD_REG_EVENT, bytes(length), session=wire.EF_ATTLOG, reply=0)
    with visited(step(wire.CMD_REG_EVENT, OK, strange)) as (zk, _):
        assert isinstance(next(zk.events(5)), Hint)


def test_events_about_something_else_are_ignored() -> None:
    """Fingers scored, doors opened and alarms are not punches."""
    others = [event(code=code) for code in (2, 4, 8, 16, 32, 128, 256, 512)]
    with visited(step(wire.CMD_REG_EVENT, OK, *others, event("7"))) as (zk, _):
        assert pins_of([next(zk.events(5))]) == ["7"]


def test_several_events_in_one_segment_are_all_received() -> None:
    """Events that the network glued together come apart again."""
    glued = b"".join(encoded(event(str(number))) for number in range(1, 51))
    with visited(step(wire.CMD_REG_EVENT, OK, glued)) as (zk, _):
        assert pins_of(list(islice(zk.events(5), 50))) == [str(number) for number in range(1, 51)]


def test_an_event_split_anywhere_is_received() -> None:
    """Wherever the network cuts an event in two, it is put together again."""
    raw = encoded(event("7"))
    halves = [action for at in range(1, len(raw)) for action in (raw[:at], Pause(0.002), raw[at:])]
    with visited(step(wire.CMD_REG_EVENT, OK, *halves)) as (zk, _):
        assert pins_of(list(islice(zk.events(5), len(raw) - 1))) == ["7"] * (len(raw) - 1)


def test_an_event_before_its_registration_is_answered_is_received() -> None:
    """Some terminals are quicker to report than to agree."""
    with visited(step(wire.CMD_REG_EVENT, event("7", reply=3), OK)) as (zk, _):
        assert pins_of(list(zk.events(0))) == ["7"]


def test_events_between_question_and_answer_are_kept() -> None:
    """A punch during a question is not taken for the answer and not lost."""
    with visited(
        step(wire.CMD_REG_EVENT, OK),
        step(wire.CMD_GET_FREE_SIZES, event("7"), sizes(5), event("8")),
    ) as (zk, _):
        list(zk.events(0))
        assert zk.sizes().records == 5
        assert pins_of(list(islice(zk.events(5), 2))) == ["7", "8"]


def test_events_within_a_transfer_are_kept() -> None:
    """A punch between two packets of a chunk disturbs neither."""
    body = encoded_log("40", 100)
    buffer = struct.pack("<I", len(body)) + body

    def interrupted(question: wire.Packet) -> list[Answer]:
        packets = transfer(requested(buffer, question))
        return [packet for whole in packets for packet in (event("7"), whole)]

    with visited(
        step(wire.CMD_REG_EVENT, OK),
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(wire.CMD_READ_BUFFER, interrupted)] * 2,
    ) as (zk, _):
        list(zk.events(0))
        assert raws(zk.read()) == body
        assert set(pins_of(list(zk.events(0)))) == {"7"}


@either_transport
def test_a_rush_while_the_log_is_read_is_received_and_leaves_the_reading_intact(udp: bool) -> None:
    """People do not wait while 100,000 records are read: each punch is received, the reading is the log as it was."""
    with talking(simulated(count=100_000), udp=udp) as (zk, simulator):
        list(zk.events(0))
        done = threading.Event()
        punched: list[str] = []

        def rush() -> None:
            while not done.is_set() or len(punched) < 20:
                simulator.terminal.punch(str(5000 + len(punched)))
                punched.append(str(5000 + len(punched)))
                done.wait(0.005)

        people = threading.Thread(target=rush)
        people.start()
        reading = zk.read()
        body = raws(reading)
        done.set()
        people.join()
        assert 100_000 <= reading.total <= 100_000 + len(punched)
        assert body == simulator.terminal.log_body()[: reading.total * 40]
        assert pins_of(list(islice(zk.events(5), len(punched)))) == punched


@pytest.mark.parametrize("code", [wire.CMD_ACK_ERROR, wire.CMD_UNKNOWN])
def test_a_terminal_that_will_not_tell_refuses(code: int) -> None:
    """A terminal without live events reports it; the log can still be read in the same conversation."""
    with visited(step(wire.CMD_REG_EVENT, Answer(code)), step(wire.CMD_GET_FREE_SIZES, sizes(3))) as (zk, _):
        with pytest.raises(TerminalRefused, match="as they happen"):
            list(zk.events(0))
        assert zk.sizes().records == 3


def test_an_event_is_acknowledged() -> None:
    """Each event is answered with success, in our session and with the event's number, 0."""
    with visited(step(wire.CMD_REG_EVENT, OK, event(), event())) as (zk, peer):
        list(islice(zk.events(5), 2))
        peer_side = [packet for packet in peer.received if packet.command == wire.CMD_ACK_OK]
        until = time.monotonic() + LATE_S
        while len(peer_side) < 2 and time.monotonic() < until:
            peer_side = [packet for packet in peer.received if packet.command == wire.CMD_ACK_OK]
        assert [(packet.session, packet.reply, packet.data) for packet in peer_side] == [(SESSION, 0, b"")] * 2


def test_a_flood_of_events_during_a_question_stays_bounded() -> None:
    """The newest are kept, up to a limit, and the question is answered; the log has the others."""
    flood = b"".join(encoded(event(str(number))) for number in range(1, 20_001))
    with visited(step(wire.CMD_REG_EVENT, OK), step(wire.CMD_GET_FREE_SIZES, flood, sizes(5))) as (zk, _):
        list(zk.events(0))
        assert zk.sizes().records == 5
        assert pins_of(list(zk.events(0))) == [str(number) for number in range(20_001 - MAX_EVENTS, 20_001)]


# --- left as found ------------------------------------------------------------------------------------------------


@every_transport
def test_a_whole_conversation_sends_nothing_forbidden(layout: str, udp: bool) -> None:
    """Everything the driver can do, done: only commands of the allow-list, and nothing that a terminal refuses."""
    terminal = simulated(layout, 1000)
    with talking(terminal, udp=udp) as (zk, simulator):
        zk.identify()
        zk.read_clock()
        zk.sizes()
        zk.read()
        zk.read(990, layout)
        zk.read(5000, layout)
        zk.pins()
        list(zk.events(0.01))
        assert simulator.bad_checksums == 0
    assert set(terminal.commands) <= ALLOWED
    assert terminal.refused_writes == 0
    assert terminal.conversations == 0
    assert terminal.log_body() == encoded_log(layout, 1000)
    commands = terminal.commands
    assert (commands[wire.CMD_ENABLEDEVICE], commands[wire.CMD_REG_EVENT], commands[wire.CMD_EXIT]) == (1, 2, 1)


def test_a_terminal_left_disabled_is_enabled() -> None:
    """Another program died in the middle: people get in again."""
    terminal = simulated()
    terminal.enabled = False
    with talking(terminal):
        assert terminal.enabled


def test_a_terminal_that_does_not_know_enable_is_read_all_the_same() -> None:
    """The courtesy is not worth a visit."""
    with (
        ScriptedPeer(
            HANDSHAKE[0], step(wire.CMD_ENABLEDEVICE, Answer(wire.CMD_UNKNOWN)), step(wire.CMD_GET_FREE_SIZES, sizes(3))
        ) as peer,
        connect(options(peer.port)) as zk,
    ):
        assert zk.sizes().records == 3


class Stumble(Exception):  # noqa: N818 - it stands for any error
    """Something of the caller's that goes wrong."""


@either_transport
def test_a_caller_that_stumbles_leaves_the_terminal_as_found(udp: bool) -> None:
    """Whatever is raised inside the block, events are called off and the conversation ends."""
    with ScriptedPeer(*HANDSHAKE, step(wire.CMD_REG_EVENT, OK), udp=udp) as peer:

        def stumble() -> None:
            with connect(options(peer.port, udp=udp)) as zk:
                list(zk.events(0))
                raise Stumble

        with pytest.raises(Stumble):
            stumble()
        assert peer.settled()[-2:] == [wire.CMD_REG_EVENT, wire.CMD_EXIT]
        assert [packet.data for packet in peer.received if packet.command == wire.CMD_REG_EVENT] == [
            struct.pack("<I", wire.EF_ATTLOG),
            bytes(4),
        ]


def test_events_that_were_not_registered_are_not_cancelled() -> None:
    """Events are called off only where they were requested."""
    with visited() as (_, peer):
        pass
    assert peer.commands == [wire.CMD_CONNECT, wire.CMD_ENABLEDEVICE, wire.CMD_EXIT]


@pytest.mark.parametrize("answer", [(), (Answer(wire.CMD_ACK_ERROR),)], ids=["silence", "error"])
def test_the_conversation_ends_also_where_events_cannot_be_called_off(
    answer: tuple[Answer, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversation with a terminal that keeps sending events is closed properly all the same."""
    monkeypatch.setattr(zkteco, "CLOSE_TIMEOUT_S", 0.1)
    with visited(step(wire.CMD_REG_EVENT, OK), step(wire.CMD_REG_EVENT, *answer)) as (zk, peer):
        list(zk.events(0))
    assert peer.settled()[-1] == wire.CMD_EXIT


BUFFER = struct.pack("<I", 4000) + encoded_log("40", 100)
FAILURES: dict[str, tuple[Any, ...]] = {
    "no prefix": (step(wire.CMD_READ_BUFFER),),
    "prefix too large": (step(wire.CMD_READ_BUFFER, *transfer(struct.pack("<I", 4001))),),
    "refused": (step(wire.CMD_READ_BUFFER, Answer(wire.CMD_ACK_ERROR)),) * 3,
    "too short": (step(wire.CMD_READ_BUFFER, serve(BUFFER)), step(wire.CMD_READ_BUFFER, *transfer(BUFFER[:100]))),
    "ended early": (
        step(wire.CMD_READ_BUFFER, serve(BUFFER)),
        step(wire.CMD_READ_BUFFER, *transfer(BUFFER[4:])[:2], OK),
    ),
    "silence in the middle": (
        step(wire.CMD_READ_BUFFER, serve(BUFFER)),
        step(wire.CMD_READ_BUFFER, *transfer(BUFFER[4:])[:2]),
    ),
}


@pytest.mark.parametrize("script", FAILURES.values(), ids=FAILURES)
def test_the_buffer_is_given_back_also_after_a_failure(script: tuple[Any, ...]) -> None:
    """Terminals have little memory: what was prepared is freed, then the conversation ends."""
    with (
        pytest.raises((ProtocolError, TerminalUnavailable)),
        visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(100)),
            step(wire.CMD_PREPARE_BUFFER, prepared(4004)),
            *script,
            bulk_timeout_s=0.2,
        ) as (zk, peer),
    ):
        zk.read()
    assert peer.settled()[-2:] == [wire.CMD_FREE_DATA, wire.CMD_EXIT]


# --- how little travels -------------------------------------------------------------------------------------------


def travelled(simulator: Simulator) -> int:
    """Return how many bytes crossed the wire so far, in both directions."""
    return simulator.bytes_in + simulator.bytes_out


@either_transport
def test_a_poll_with_nothing_new_is_cheap(udp: bool) -> None:
    """Clock and sizes cost 300 bytes at most."""
    with talking(simulated(count=1000), udp=udp) as (zk, simulator):
        before = travelled(simulator)
        zk.read_clock()
        zk.sizes()
        assert travelled(simulator) - before <= 300


@either_transport
def test_ten_new_records_cost_a_thousandth_of_the_log(udp: bool) -> None:
    """The tail of 100,000 records travels without its head."""
    with talking(simulated(count=100_000), udp=udp) as (zk, simulator):
        zk.sizes()
        before = travelled(simulator)
        assert len(list(zk.read(99_990, "40").records)) == 10
        tail = travelled(simulator) - before
        before = travelled(simulator)
        assert len(list(zk.read().records)) == 100_000
        assert tail * 1000 <= travelled(simulator) - before


def test_nothing_else_of_the_machine_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is started, and one conversation is one connection."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    for name in ("call", "run", "Popen", "check_call", "check_output"):
        monkeypatch.setattr(f"subprocess.{name}", refuse)
    with visited(step(wire.CMD_GET_FREE_SIZES, sizes(1))) as (zk, peer):
        zk.sizes()
        assert peer.accepted == 1
