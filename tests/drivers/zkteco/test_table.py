import struct
from itertools import islice

import pytest

from drivers.base import BadRecord, RawPunch, Reading, Record, TerminalUnavailable, UnreadableLog
from drivers.zkteco import layouts, wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from drivers.zkteco.table import CHUNK, SAMPLE_PIECE, SAMPLE_PIECES, SAMPLE_THRESHOLD, BadTable
from drivers.zkteco.terminal import connect
from tests.drivers.zkteco.scripted import (
    Answer,
    Close,
    Dynamic,
    Pause,
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

ROWS = 20_000
READ = wire.CMD_READ_BUFFER
either_transport = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])


def log(layout: str = "40", rows: int = ROWS) -> bytes:
    """Return a log that takes many pieces."""
    return encoded_log(layout, rows)


def simulated(layout: str = "40", rows: int = ROWS) -> SimulatedTerminal:
    """Return a terminal with a log that takes many pieces."""
    users = {uid: str(1000 + uid) for uid in range(1, 98)}
    return SimulatedTerminal(layout=layout, log=log(layout, rows), users=users, now=lambda: NOON, capacity=150_000)


def framed(body: bytes) -> bytes:
    """Put the count of its bytes before a table."""
    return struct.pack("<I", len(body)) + body


def opened(buffer: bytes, *script: Step, count: int = ROWS, pieces: int = SAMPLE_PIECES) -> list[Step]:
    """Return a script in which ``buffer`` is prepared and judged, and what follows then."""
    return [
        step(wire.CMD_GET_FREE_SIZES, sizes(count)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(READ, serve(buffer))] * (1 + pieces),
        *script,
    ]


def raws(records: list[Record]) -> bytes:
    """Return records as bytes."""
    return b"".join(record.raw for record in records)


# --- as it is wanted ----------------------------------------------------------------------------------------------


@either_transport
def test_nothing_travels_before_it_is_wanted(udp: bool) -> None:
    """A reading costs its head and the pieces its layout is judged by; then a chunk each time the records run out."""
    terminal = simulated()
    with Simulator(terminal) as simulator, connect(options(simulator.port, udp=udp)) as zk:
        reading = zk.read()
        assert terminal.commands[READ] == 1 + SAMPLE_PIECES
        assert simulator.bytes_out < SAMPLE_PIECES * (SAMPLE_PIECE + 200) + 2000
        records = iter(reading.records)
        in_one_chunk = CHUNK // 40
        assert len(list(islice(records, in_one_chunk))) == in_one_chunk
        assert terminal.commands[READ] == 2 + SAMPLE_PIECES
        next(records)
        assert terminal.commands[READ] == 3 + SAMPLE_PIECES
        assert terminal.commands[wire.CMD_FREE_DATA] == 0


@either_transport
def test_the_buffer_is_given_back_with_the_last_record(udp: bool) -> None:
    """Not before, and once."""
    terminal = simulated()
    with Simulator(terminal) as simulator, connect(options(simulator.port, udp=udp)) as zk:
        records = iter(zk.read().records)
        assert len(list(islice(records, ROWS - CHUNK // 40))) == ROWS - CHUNK // 40
        assert terminal.commands[wire.CMD_FREE_DATA] == 0
        assert len(list(records)) == CHUNK // 40
        assert terminal.commands[wire.CMD_FREE_DATA] == 1
    assert terminal.commands[wire.CMD_FREE_DATA] == 1


def test_what_was_not_read_to_its_end_is_given_back_with_the_conversation() -> None:
    """A caller who has seen enough leaves nothing in the terminal's memory."""
    with visited(*opened(framed(log()))) as (zk, peer):
        zk.read()
    assert peer.settled()[-2:] == [wire.CMD_FREE_DATA, wire.CMD_EXIT]


def test_a_reading_has_its_time_of_preparation() -> None:
    """The caller paces by it."""
    buffer = framed(log("40", 100))
    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, Pause(0.2), prepared(len(buffer))),
        *[step(READ, serve(buffer))] * 2,
    ) as (zk, _):
        assert zk.read().prepared_s >= 0.2


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_records_that_lie_across_two_chunks_are_whole(layout: str) -> None:
    """Whatever a chunk cuts in two is put together, from every beginning."""
    terminal = simulated(layout)
    with Simulator(terminal) as simulator, connect(options(simulator.port)) as zk:
        for start in (0, 1, ROWS // 2):
            reading = zk.read(start, layout)
            assert (reading.start, reading.total) == (start, ROWS)
            assert raws(list(reading.records)) == log(layout)[start * layouts.LAYOUTS[layout].stride :]


# --- while it travels ---------------------------------------------------------------------------------------------


@either_transport
def test_punches_between_two_chunks_are_received_and_harm_nothing(udp: bool) -> None:
    """Asking for events, and hearing them, in the middle of a reading leaves it as it is."""
    terminal = simulated()
    received: list[str | None] = []
    body = b""
    with Simulator(terminal) as simulator, connect(options(simulator.port, udp=udp)) as zk:
        for number, record in enumerate(zk.read().records):
            body += record.raw
            if number % 1000 == 0:
                terminal.punch(str(5000 + number // 1000))
                received += [event.pin for event in zk.events(0) if isinstance(event, RawPunch)]
                zk.read_clock()
        received += [event.pin for event in islice(zk.events(5), ROWS // 1000 - 1 - len(received))]  # type: ignore[union-attr]
    assert body == log()
    # Before the first registration for events none are sent.
    assert received == [str(5000 + number) for number in range(1, ROWS // 1000)]


def test_the_user_list_can_be_read_in_the_middle_of_a_reading() -> None:
    """The user list takes the log's place in the terminal; the reading goes on all the same."""
    terminal = simulated("8", 30_000)
    with Simulator(terminal) as simulator, connect(options(simulator.port)) as zk:
        reading = zk.read(layout="8")
        first = list(islice(reading.records, 5000))
        assert zk.pins() == terminal.users
        assert raws(list(reading.records)) == log("8", 30_000)
        assert raws(first) == log("8", 30_000)[: 5000 * 8]


def test_another_reading_ends_the_one_before() -> None:
    """What has come of it stays; the rest is refused rather than taken from another table."""
    buffer = framed(log())
    with visited(*opened(buffer, step(READ, serve(buffer)), *opened(buffer))) as (zk, peer):
        before = zk.read()
        first = list(islice(before.records, 100))
        zk.read()
        opening = [wire.CMD_GET_FREE_SIZES, wire.CMD_FREE_DATA, wire.CMD_PREPARE_BUFFER]
        assert peer.commands[-3 - 1 - SAMPLE_PIECES :][:3] == opening
        assert list(islice(before.records, 100)) == first
        with pytest.raises(RuntimeError, match="another was begun"):
            list(before.records)


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ([step(READ, Answer(wire.CMD_ACK_ERROR))] * 6, BadTable),
        ([step(READ, Answer(4242))] * 6, BadTable),
        ([step(READ, *transfer(b"x" * 100))] * 2, BadTable),
        ([step(READ, Answer(wire.CMD_ACK_UNAUTH))], TerminalUnavailable),
    ],
    ids=["refused", "unknown answer", "too short", "forgotten"],
)
def test_what_has_come_is_given_again_and_the_rest_fetched(trouble: list[Step], error: type[Exception]) -> None:
    """A failure in the middle of a reading costs what had not come, once."""
    buffer = framed(log())
    chunk = step(READ, serve(buffer))
    with visited(*opened(buffer, chunk, *trouble, *[chunk] * 60)) as (zk, _):
        reading = zk.read()
        come: list[Record] = []
        with pytest.raises(error) as caught:
            come.extend(reading.records)
        assert getattr(caught.value, "capture", None)
        assert list(islice(reading.records, len(come))) == come
        assert raws(list(reading.records)) == log()


def test_a_terminal_that_hangs_up_in_the_middle_leaves_what_has_come() -> None:
    """The visit is over; what was handed out can be read again."""
    buffer = framed(log())
    kept: list[Reading] = []

    def broken_visit() -> None:
        with visited(*opened(buffer, step(READ, serve(buffer)), step(READ, Close()))) as (zk, _):
            kept.append(zk.read())
            list(kept[0].records)

    with pytest.raises(TerminalUnavailable, match="connection"):
        broken_visit()
    assert raws(list(islice(kept[0].records, CHUNK // 40))) == log()[: CHUNK // 40 * 40]


# --- tables that contradict themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "size"),
    [(41, 44), (0xFFFFFFFF, 4004), (0, 12), (0, 4004), (0, 3)],
    ids=["one", "4 GiB", "zero, 8", "zero, all", "half a count"],
)
def test_a_count_of_bytes_that_cannot_be_is_refused(prefix: int, size: int) -> None:
    """More than there are, or none in a buffer full of them: nothing is read, and the log is not taken for empty."""
    buffer = (struct.pack("<I", prefix) + log())[:size]
    for answer in ([prepared(size)], [Answer(wire.CMD_DATA, buffer)]):
        with (
            visited(
                step(wire.CMD_GET_FREE_SIZES, sizes(100)),
                step(wire.CMD_PREPARE_BUFFER, *answer),
                step(READ, serve(buffer)),
            ) as (zk, _),
            pytest.raises(BadTable, match=f"says it has {prefix} bytes in a buffer of {size}"),
        ):
            zk.read()


@pytest.mark.parametrize("behind", [1, 7, 44])
def test_bytes_behind_the_records_are_left_out(behind: int) -> None:
    """The count of bytes decides where the records end."""
    buffer = framed(log()[:4000]) + b"\xa5" * behind
    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(READ, serve(buffer))] * 2,
    ) as (zk, _):
        reading = zk.read()
        assert (reading.total, raws(list(reading.records))) == (100, log()[:4000])


@pytest.mark.parametrize("buffer", [b"", bytes(4), bytes(11)], ids=len)
def test_an_empty_table_is_an_empty_reading(buffer: bytes) -> None:
    """Nothing, a count of 0, and padding behind it are no records."""
    head = [step(READ, serve(buffer))] if buffer else []
    for answer, then in ((prepared(len(buffer)), head), (Answer(wire.CMD_DATA, buffer), [])):
        with visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(0)),
            step(wire.CMD_PREPARE_BUFFER, answer),
            *then,
            step(wire.CMD_GET_FREE_SIZES, sizes(0)),
        ) as (zk, _):
            reading = zk.read()
            assert (reading.start, reading.total, list(reading.records)) == (0, 0, [])


def beginning(buffer: bytes) -> Dynamic:
    """Answer as a terminal that ignores where a part should begin."""
    return lambda question: transfer(buffer[: struct.unpack("<ii", question.data)[1]], 65528)


@pytest.mark.parametrize("start", [0, ROWS - 10])
def test_a_long_log_that_only_comes_from_its_beginning_is_fetched_at_once(start: int) -> None:
    """What is handed out is what the reading states, and the request is sent three times, not for ever."""
    buffer = framed(log())
    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(ROWS)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(READ, beginning(buffer))] * 4,
    ) as (zk, peer):
        reading = zk.read(start, "40")
        assert reading.start == start
        assert raws(list(reading.records)) == log()[start * 40 :]
        assert peer.commands.count(READ) <= 4


def test_a_table_that_changes_while_it_is_read_is_refused() -> None:
    """A terminal that sends another table where everything was requested is not used."""
    buffer, other = framed(log()[:4000]), framed(log()[4000:8000])
    with (
        visited(
            step(wire.CMD_GET_FREE_SIZES, sizes(100)),
            step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
            step(READ, serve(buffer)),
            step(READ, beginning(buffer)),
            step(READ, beginning(other)),
        ) as (zk, _),
        pytest.raises(BadTable, match="same table twice"),
    ):
        zk.read()


# --- what decides about the layout --------------------------------------------------------------------------------


def spoiled(layout: str, first: int, last: int) -> bytes:
    """Return a log with impossible dates in the records ``first`` to ``last``."""
    stride = layouts.LAYOUTS[layout].stride
    at = {"8": 3, "8-ma300": 4, "16": 4, "22": 13, "40": 27, "49": 27}[layout]
    body = bytearray(log(layout))
    for row in range(first, last):
        body[row * stride + at : row * stride + at + 4] = b"\xff\xff\xff\xff"
    return bytes(body)


@pytest.mark.parametrize("count", [ROWS, ROWS - 1, 0], ids=["right count", "one more punch", "no count"])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_bad_records_at_the_front_do_not_decide(layout: str, count: int) -> None:
    """The first fifth of a long log is unreadable: the rest is read, and the unreadable are handed out as such."""
    body = spoiled(layout, 0, ROWS // 5)
    buffer = framed(body)
    with visited(*opened(buffer, *[step(READ, serve(buffer))] * 65, count=count)) as (zk, _):
        reading = zk.read()
        assert reading.layout == layout
        records = list(reading.records)
    assert raws(records) == body
    assert [isinstance(record, BadRecord) for record in records] == [True] * (ROWS // 5) + [False] * (ROWS * 4 // 5)


@pytest.mark.parametrize("stride", [12, 24, 28, 36, 44, 64])
@pytest.mark.parametrize("count", [ROWS, 0, None], ids=["count", "zero", "none"])
def test_an_unknown_layout_is_refused_and_kept(stride: int, count: int | None) -> None:
    """Records of an unknown length are not cut into records of another, however many there are."""
    body = b"".join(
        struct.pack(
            "<H9sBIB", row & 0xFFFF, str(1001 + row % 97).encode(), 1, wire.encode_time(NOON) - 37 * (ROWS - row), 0
        )[:stride].ljust(stride, b"\0")
        for row in range(ROWS // 2)
    )
    buffer = framed(body)
    answer = sizes(count) if count is not None else Answer(wire.CMD_ACK_OK, bytes(20))
    with (
        visited(
            step(wire.CMD_GET_FREE_SIZES, answer),
            step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
            *[step(READ, serve(buffer))] * 60,
        ) as (zk, _),
        pytest.raises(UnreadableLog, match=f"{len(body)} bytes of log") as caught,
    ):
        zk.read()
    assert caught.value.body == body


def test_a_long_log_is_judged_by_pieces() -> None:
    """Every piece begins where a record begins in every layout, and they reach into the last quarter of the log."""
    requested_for: list[tuple[int, int]] = []
    buffer = framed(log())

    def noting(question: wire.Packet) -> list[Answer]:
        requested_for.append(struct.unpack("<ii", question.data))
        return transfer(requested(buffer, question))

    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(ROWS)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(buffer))),
        *[step(READ, noting)] * (1 + SAMPLE_PIECES),
    ) as (zk, _):
        zk.read()
    pieces = [(start - 4, length) for start, length in requested_for[1:]]
    assert len(log()) > SAMPLE_THRESHOLD
    assert len(pieces) == SAMPLE_PIECES
    assert all(start % layout.stride == 0 for start, _ in pieces for layout in layouts.LAYOUTS.values())
    assert pieces[-1][0] >= len(log()) * 3 // 4
