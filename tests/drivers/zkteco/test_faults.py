"""The faults of the simulator: each does what its line states, and is gone when it is switched off."""

import re
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BadRecord, DriverError, Hint, RawPunch, TerminalUnavailable
from drivers.zkteco import layouts, wire
from drivers.zkteco.simulator import Conversation, SimulatedTerminal, Simulator
from drivers.zkteco.simulator.faults import FAULTS
from drivers.zkteco.simulator.faults.conversation import EF_FINGER_SCORE
from drivers.zkteco.simulator.faults.link import PANEL_FRAME
from drivers.zkteco.simulator.hooks import Drop, Step, Wait
from drivers.zkteco.terminal import ZktecoTerminal, connect
from drivers.zkteco.wire import Packet
from tests.drivers.zkteco.scripted import options

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
CONNECT = Packet(wire.CMD_CONNECT, 0, 1)
FRAMES = [b"abcdef", b"ghij"]


def a_terminal(records: int = 40, **more: Any) -> SimulatedTerminal:
    """Return a terminal with people and a log that does not come at once."""
    terminal = SimulatedTerminal(**{"now": lambda: NOON, **more})
    for number in range(records):
        terminal.append(str(1001 + number % 3), NOON - timedelta(minutes=records - number))
    return terminal


def memory(terminal: SimulatedTerminal) -> tuple[object, ...]:
    """Return what a fault that is over must have left alone."""
    return (
        terminal.log_body(),
        terminal.layout,
        terminal.capacity,
        terminal.comm_key,
        terminal.serial,
        terminal.users,
        terminal.user_stride,
        terminal.clock_offset,
        terminal.enabled,
    )


def visit(terminal: SimulatedTerminal, simulator: Simulator, *, udp: bool = False, timeout_s: float = 10) -> list[Any]:
    """Ask everything; return the log."""
    with connect(options(simulator.port, udp=udp, timeout_s=timeout_s, bulk_timeout_s=timeout_s)) as visitor:
        visitor.serial()
        visitor.identify()
        visitor.read_clock()
        visitor.sizes()
        list(visitor.events(0.001))
        terminal.punch("1002")
        list(visitor.events(0.001))
        return list(visitor.read().records)


def requested(conversation: Conversation, command: int, data: bytes = b"") -> list[Packet]:
    """Ask one question in a conversation that has begun."""
    return conversation.answer(Packet(command, conversation.session, 9, data))


def begun(terminal: SimulatedTerminal) -> Conversation:
    """Begin a conversation."""
    conversation = Conversation(terminal)
    conversation.answer(CONNECT)
    return conversation


def prepare(table: int, first: int = 0, last: int = 0) -> bytes:
    """Return the data of a PREPARE_BUFFER."""
    return struct.pack("<BHII", 1, table, first, last)


def served(terminal: SimulatedTerminal) -> bytes:
    """Return the log as it is served, prefix included."""
    conversation = begun(terminal)
    (ready,) = requested(conversation, wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ))
    if ready.command == wire.CMD_DATA:
        return ready.data
    length = struct.pack("<ii", 0, int.from_bytes(ready.data[1:5], "little"))
    answers = requested(conversation, wire.CMD_READ_BUFFER, length)
    return b"".join(packet.data for packet in answers if packet.command == wire.CMD_DATA)


def steps(order: str, request: Packet | None = CONNECT, *, udp: bool = False) -> list[Step]:
    """Return what is done in place of sending ``FRAMES``."""
    terminal = a_terminal()
    terminal.faults.switch_on(order)
    return list(terminal.faults.steps(request, FRAMES, udp=udp))


# --- all of them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_comes_and_goes(name: str, udp: bool) -> None:
    """While it is on, a visit ends in a value or a DriverError; when it is off, everything is as it was."""
    terminal = a_terminal()
    with Simulator(terminal) as simulator:
        log_before, *before = memory(terminal)
        assert isinstance(log_before, bytes)
        output = terminal.faults.switch_on(name)
        assert output.startswith(name)
        assert output.endswith(FAULTS[name].meaning())
        with suppress(DriverError):
            visit(terminal, simulator, udp=udp, timeout_s=0.3)
        assert list(terminal.faults.on) == ([name] if FAULTS[name].lasting else [])
        punched = terminal.count
        terminal.faults.switch_off(name)
        assert terminal.faults.on == {}
        if FAULTS[name].lasting:
            log, *rest = memory(terminal)
            assert rest == before
            assert isinstance(log, bytes)
            assert name == "full" or log.startswith(log_before)  # there the oldest record made room
        assert len(visit(terminal, simulator, udp=udp)) in (punched, punched + 1)
        assert terminal.refused_writes == 0


@pytest.mark.parametrize("name", FAULTS)
def test_the_catalogue_describes_each_fault(name: str) -> None:
    """One sentence or two, quirks by number, a default that is a value."""
    fault = FAULTS[name]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert re.fullmatch(r"[A-Z0-9][^\n]{10,110}[.]", fault.meaning())
    assert fault.quirks
    assert set(fault.quirks) <= set(range(1, 37))
    if fault.value:
        fault.value.parse(fault.value.default)
        assert fault.value.meaning


def test_every_quirk_that_is_not_a_rule_has_a_fault() -> None:
    """Eleven, 33 and 34 say what must never be sent; all the others can be provoked."""
    provoked = {number for fault in FAULTS.values() for number in fault.quirks}
    assert provoked == set(range(1, 37)) - {11, 33, 34}


def test_the_documentation_has_the_catalogue() -> None:
    """docs/simulator.md lists every fault with its value, its meaning and its quirks."""
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \| ([0-9, ]+) \|$", text, re.MULTILINE)
    assert rows == [
        (
            name,
            f"{fault.value.meaning} (`{fault.value.default}`)" if fault.value else "",
            fault.meaning() + ("" if fault.lasting else " *At once.*"),
            ", ".join(map(str, sorted(fault.quirks))),
        )
        for name, fault in FAULTS.items()
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("fault nonsense", "there is no fault 'nonsense'"),
        ("fault nonsense off", "there is no fault 'nonsense'"),
        ("fault mute=3", "mute takes no value"),
        ("fault trickle=soon", "not a duration"),
        ("fault clock=1h", "no change of a clock"),
        ("fault clock-reset=noon", "is no time"),
        ("fault clock-reset=1999-12-31", "2000 to 2099"),
        ("fault clock=+999999999d", "cannot be moved so far"),
        ("fault clock=-17000d", "2000 to 2099"),
        ("fault double-press=2d", "up to an hour"),
        ("fault hang-up=lunch", "is no stage"),
        ("fault hang-up=read+many", "is no stage"),
        ("fault purge=all", "no number from 1 to"),
        ("fault prefix=40", "is no change"),
        ("fault tail=none", "none of refused, zero, full"),
        ("fault layout=41", "no layout '41'"),
        ("fault delete-user=77", "no person is enrolled as 77"),
        ("fault serial=", "is no word"),
    ],
)
def test_a_wrong_order_gets_a_sentence_and_changes_nothing(line: str, sentence: str) -> None:
    """A slip of the finger is explained."""
    terminal = a_terminal()
    before = memory(terminal)
    assert sentence in Simulator(terminal).control(line)
    assert terminal.faults.on == {}
    assert memory(terminal) == before


@pytest.mark.parametrize("order", ["bad-pin", "stale-bytes", "reindex"])
def test_a_fault_that_a_layout_cannot_have_is_refused(order: str) -> None:
    """Short records hold neither text nor index."""
    with pytest.raises(ValueError, match="records of layout 16"):
        a_terminal(layout="16").faults.switch_on(order)


def test_typed_faults_do_what_they_say() -> None:
    """A fault can be typed, listed, given another value and switched off."""
    terminal = a_terminal()
    simulator = Simulator(terminal)
    assert simulator.control("fault count=7").startswith("count=7: The count of records is wrong.")
    simulator.control("fault count=9")
    assert terminal.faults.on == {"count": "9"}
    assert "* count=9 " in simulator.control("faults")
    assert "  count=9 " not in simulator.control("faults")
    assert len(simulator.control("faults").splitlines()) == len(FAULTS)
    assert simulator.control("fault count off") == "count is off."
    assert simulator.control("fault count off") == "count is not on."
    assert "  count=0 " in simulator.control("faults")


@pytest.mark.parametrize("first", FAULTS)
def test_any_two_faults_can_be_on_together(first: str) -> None:
    """One of them may see what the other has made of an answer; nothing breaks in the simulator itself."""
    for second in FAULTS:
        terminal = a_terminal()
        with suppress(ValueError):  # a layout that cannot do the second wrong
            terminal.faults.switch_on(first)
            terminal.faults.switch_on(second)
        conversation = Conversation(terminal)
        for command, data in (
            (wire.CMD_CONNECT, b""),
            (wire.CMD_OPTIONS_RRQ, b"~SerialNumber\0"),
            (wire.CMD_GET_TIME, b""),
            (wire.CMD_GET_FREE_SIZES, b""),
            (wire.CMD_REG_EVENT, struct.pack("<I", 1)),
            (wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_USERTEMP_RRQ, wire.FCT_USER)),
            (wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_BY_TIME, 0, wire.encode_time(NOON))),
            (wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ)),
            (wire.CMD_READ_BUFFER, struct.pack("<ii", 1204, 40)),
            (wire.CMD_ATTLOG_RRQ, b""),
        ):
            request = Packet(command, conversation.session, 3, data)
            packets = conversation.answer(request)
            for udp in (False, True):
                frames = [packet.to_bytes() if udp else packet.to_tcp() for packet in packets]
                for _ in terminal.faults.steps(request, frames, udp=udp):
                    pass
            terminal.punch("1001")


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "count"), [("count", 0), ("count=7", 7), ("count=+2", 42), ("count=-50", 0)])
def test_the_reported_count_is_wrong(order: str, count: int) -> None:
    """The number reported may be anything, while the log stays what it is."""
    terminal = a_terminal()
    terminal.faults.switch_on(order)
    (answer,) = requested(begun(terminal), wire.CMD_GET_FREE_SIZES)
    assert wire.decode_sizes(answer.data) == (count, terminal.capacity)
    assert len(served(terminal)) == 4 + 40 * 40


def test_the_log_shrinks_and_returns_with_the_punches_made_meanwhile() -> None:
    """Nothing is lost by a log that seems to end early."""
    terminal = a_terminal()
    terminal.faults.switch_on("shrink=10")
    terminal.punch("1001")
    assert terminal.faults.count(terminal.count) == 10
    assert served(terminal)[4:] == terminal.log_body()[:400]
    terminal.faults.switch_off("shrink")
    assert served(terminal)[4:] == terminal.log_body()
    assert terminal.count == 41


def test_a_full_log_keeps_its_count() -> None:
    """The oldest record makes room for the newest."""
    terminal = a_terminal()
    second = terminal.log_body()[40:80]
    terminal.faults.switch_on("full")
    terminal.punch("1001")
    assert terminal.count == 40
    assert terminal.log_body()[:40] == second


def test_a_log_is_cleared_and_purged() -> None:
    """At the menu, and by the terminal itself."""
    terminal = a_terminal()
    log = terminal.log_body()
    terminal.faults.switch_on("purge=30")
    assert terminal.log_body() == log[30 * 40 :]
    terminal.faults.switch_on("clear-log")
    assert terminal.count == 0


def test_a_table_is_not_what_it_announces() -> None:
    """The prefix may say more or less than there is, and more may follow."""
    terminal = a_terminal()
    terminal.faults.switch_on("prefix=-40")
    assert served(terminal)[:4] == struct.pack("<I", 1560)
    terminal.faults.switch_on("trailing=3")
    assert len(served(terminal)) == 4 + 1600 + 3


@pytest.mark.parametrize("layout", ["8", "8-ma300", "16", "40", "49"])
def test_bad_dates_are_bad_in_every_layout(layout: str) -> None:
    """The record is there, its date is not, and the others are as good as before."""
    terminal = a_terminal(layout=layout)
    terminal.faults.switch_on("bad-date=2")
    *good, one, two = terminal.records()
    assert all(isinstance(record, RawPunch) for record in good)
    for bad in (one, two):
        assert isinstance(bad, BadRecord)
        assert "impossible date" in bad.reason


def test_a_record_loses_its_pin() -> None:
    """What is left has a date and no person."""
    terminal = a_terminal()
    terminal.faults.switch_on("bad-pin")
    *_, bad = terminal.records()
    assert isinstance(bad, BadRecord)
    assert "PIN" in bad.reason


def test_stale_bytes_and_new_numbers_change_no_punch() -> None:
    """Only bytes that mean nothing differ."""
    terminal = a_terminal()
    honest = served(terminal)
    terminal.faults.switch_on("stale-bytes")
    terminal.faults.switch_on("reindex")
    spoilt = served(terminal)
    assert spoilt != honest
    assert len(spoilt) == len(honest)
    punches = [record[:6] for record in layouts.LAYOUTS["40"].decode(spoilt[4:])]  # all but the bytes themselves
    assert punches == [record[:6] for record in terminal.records()]
    assert spoilt[4:6] != honest[4:6]


def test_the_layout_changes_and_the_punches_stay() -> None:
    """A firmware update writes the same log in other records."""
    terminal = a_terminal()
    before = [record[:6] for record in terminal.records() if isinstance(record, RawPunch)]
    terminal.faults.switch_on("layout=49")
    assert len(terminal.log_body()) == 40 * 49
    assert [record[:6] for record in terminal.records() if isinstance(record, RawPunch)] == before
    terminal.faults.switch_on("layout=8")
    people = [terminal.users[record.uid or 0] for record in terminal.records() if isinstance(record, RawPunch)]
    assert people == [pin for pin, *_ in before]


def test_a_log_with_a_bad_record_keeps_its_layout() -> None:
    """There is no other layout for what cannot be read."""
    terminal = a_terminal()
    terminal.faults.switch_on("bad-date")
    with pytest.raises(ValueError, match="bad record"):
        terminal.faults.switch_on("layout=49")
    assert terminal.layout == "40"


def test_the_clock_jumps_and_resets() -> None:
    """By so much, or to the beginning; off, it is right again."""
    terminal = a_terminal()
    terminal.faults.switch_on("clock=-90m")
    assert terminal.clock() == NOON - timedelta(minutes=90)
    terminal.faults.switch_on("clock-reset")
    assert terminal.clock() == datetime(2000, 1, 1)  # noqa: DTZ001 - a terminal's wall clock
    terminal.faults.switch_off("clock-reset")
    terminal.faults.switch_off("clock")
    assert terminal.clock() == NOON


def test_every_finger_is_read_twice() -> None:
    """Two records and two events, so many seconds apart."""
    terminal = a_terminal(0)
    conversation = begun(terminal)
    requested(conversation, wire.CMD_REG_EVENT, struct.pack("<I", 1))
    terminal.faults.switch_on("double-press=2s")
    terminal.punch("1001")
    times = [record.local_time for record in terminal.records() if isinstance(record, RawPunch)]
    assert times == [NOON, NOON + timedelta(seconds=2)]
    assert len(conversation.events) == 2


def test_a_person_is_deleted_and_the_records_stay() -> None:
    """The user table no longer knows who it was."""
    terminal = a_terminal()
    terminal.faults.switch_on("delete-user=1002")
    assert sorted(terminal.users.values()) == ["1001", "1003"]
    assert terminal.count == 40


# --- reading by time ----------------------------------------------------------------------------------------------


def between(terminal: SimulatedTerminal, first: datetime, last: datetime) -> list[Packet]:
    """Ask for the records of a span of time."""
    data = prepare(wire.CMD_ATTLOG_BY_TIME, wire.encode_time(first), wire.encode_time(last))
    return requested(begun(terminal), wire.CMD_PREPARE_BUFFER, data)


def test_records_are_read_by_time() -> None:
    """Both ends are included, as the vendor's own software has it."""
    terminal = a_terminal()
    (answer,) = between(terminal, NOON - timedelta(minutes=5), NOON - timedelta(minutes=3))
    assert answer.command == wire.CMD_DATA
    assert answer.data == struct.pack("<I", 120) + terminal.log_body()[-5 * 40 : -2 * 40]


def test_old_terminals_and_some_firmware_do_not_read_by_time() -> None:
    """Records of 8 and 16 bytes come from terminals that do not know it."""
    (answer,) = between(a_terminal(layout="16"), NOON, NOON)
    assert answer.command == wire.CMD_ACK_ERROR
    terminal = a_terminal()
    terminal.faults.switch_on("no-range")
    (answer,) = between(terminal, NOON, NOON)
    assert answer.command == wire.CMD_UNKNOWN
    assert len(served(terminal)) == 4 + 1600


@pytest.mark.parametrize(("lie", "length"), [("all", 25 * 40), ("none", 0), ("half", 20)])
def test_reading_by_time_returns_wrong_records(lie: str, length: int) -> None:
    """Records that were not requested, too few, or a piece of one."""
    terminal = a_terminal(25)
    terminal.faults.switch_on(f"range-lies={lie}")
    (answer,) = between(terminal, NOON - timedelta(minutes=5), NOON)
    assert answer.data == struct.pack("<I", length) + terminal.log_body()[:length]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("mute", 6), ("no-range=2001", None), ("no-range", None), ("range-lies=all", None), ("range-lies=half", None)],
)
def test_the_driver_notices_what_reading_by_time_is_worth(order: str, expected: int | None) -> None:
    """What was not requested, and what is no record, is not believed."""
    terminal = a_terminal(60)
    terminal.faults.switch_on(order)
    with Simulator(terminal) as simulator, connect(options(simulator.port)) as visitor:
        records = visitor.between(NOON - timedelta(minutes=6), NOON)
        assert (None if records is None else len(records)) == expected
        assert len(list(visitor.read().records)) == 60


# --- conversation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "command", "data", "code"),
    [
        ("secure=2032", wire.CMD_CONNECT, b"", 2032),
        ("no-options", wire.CMD_OPTIONS_RRQ, b"~Platform\0", 4999),
        ("no-serial", wire.CMD_OPTIONS_RRQ, b"~SerialNumber\0", wire.CMD_ACK_ERROR),
        ("no-log", wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ), 4989),
        ("no-log", wire.CMD_ATTLOG_RRQ, b"", 4989),
        ("no-buffer", wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ), wire.CMD_UNKNOWN),
        ("no-events", wire.CMD_REG_EVENT, struct.pack("<I", 1), wire.CMD_ACK_ERROR),
    ],
)
def test_a_question_is_refused(order: str, command: int, data: bytes, code: int) -> None:
    """With the code that such firmware answers; other questions are answered as ever."""
    terminal = a_terminal()
    conversation = begun(terminal)
    terminal.faults.switch_on(order)
    (clock,) = requested(conversation, wire.CMD_GET_TIME)
    assert clock.command == wire.CMD_ACK_OK
    (answer,) = requested(conversation, command, data)
    assert answer.command == code


def test_a_serial_number_is_empty() -> None:
    """The option is there and empty."""
    terminal = a_terminal()
    conversation = begun(terminal)
    terminal.faults.switch_on("no-serial=empty")
    (answer,) = requested(conversation, wire.CMD_OPTIONS_RRQ, b"~SerialNumber\0")
    assert (answer.command, answer.data) == (wire.CMD_ACK_OK, b"~SerialNumber=\0")


@pytest.mark.parametrize(("how", "length"), [("zero", 400), ("full", 1604)])
def test_the_tail_is_not_served(how: str, length: int) -> None:
    """Bytes from the beginning come in place of those requested; in order, everything can be read."""
    terminal = a_terminal()
    honest = served(terminal)
    terminal.faults.switch_on(f"tail={how}")
    conversation = begun(terminal)
    requested(conversation, wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ))
    _, data, _ = requested(conversation, wire.CMD_READ_BUFFER, struct.pack("<ii", 1204, 400))
    assert data.data == honest[:length]
    assert served(terminal) == honest


def test_the_tail_is_refused() -> None:
    """Also after the prefix has been read, but not for what follows what was read."""
    terminal = a_terminal()
    terminal.faults.switch_on("tail")
    conversation = begun(terminal)
    requested(conversation, wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ))
    codes = [
        requested(conversation, wire.CMD_READ_BUFFER, struct.pack("<ii", start, length))[0].command
        for start, length in ((0, 4), (1204, 400), (4, 800), (804, 800))
    ]
    assert codes == [wire.CMD_PREPARE_DATA, wire.CMD_ACK_ERROR, wire.CMD_PREPARE_DATA, wire.CMD_PREPARE_DATA]


def test_people_punch_between_count_and_reading() -> None:
    """Once, so that the next count is the right one."""
    terminal = a_terminal()
    terminal.faults.switch_on("race=2")
    assert len(served(terminal)) == 4 + 42 * 40
    assert len(served(terminal)) == 4 + 42 * 40


def test_people_punch_in_the_middle_of_a_reading() -> None:
    """Their events stand among the packets; the log that is being sent does not hold them."""
    terminal = a_terminal()
    conversation = begun(terminal)
    requested(conversation, wire.CMD_REG_EVENT, struct.pack("<I", 1))
    terminal.faults.switch_on("punch-in-read=2")
    requested(conversation, wire.CMD_PREPARE_BUFFER, prepare(wire.CMD_ATTLOG_RRQ))
    answers = requested(conversation, wire.CMD_READ_BUFFER, struct.pack("<ii", 4, 1600))
    assert [packet.command for packet in answers] == [1500, 500, 500, 1501, 2000]
    assert len(answers[3].data) == 1600
    assert terminal.count == 42


def test_a_terminal_hangs_until_it_is_switched_off_and_on() -> None:
    """So many commands more, then none."""
    terminal = a_terminal()
    conversation = begun(terminal)
    terminal.faults.switch_on("hang=2")
    answers = [len(requested(conversation, wire.CMD_GET_TIME)) for _ in range(4)]
    assert answers == [1, 1, 0, 0]


def test_events_are_sent_in_other_forms() -> None:
    """Of another length, with other codes, among others, or not at all; a phantom has no record."""
    terminal = a_terminal()
    conversation = begun(terminal)
    requested(conversation, wire.CMD_REG_EVENT, struct.pack("<I", 1))

    def received(order: str) -> list[Packet]:
        terminal.faults.switch_on(order)
        terminal.punch("1001", 0, 1)
        terminal.faults.switch_off(order.partition("=")[0])
        events = list(conversation.events)
        conversation.events.clear()
        return events

    (event,) = received("event-length=41")
    assert wire.decode_event(event) == Hint("event of unknown length 41")
    (event,) = received("event-differs")
    reported = wire.decode_event(event)
    assert isinstance(reported, RawPunch)
    assert (reported.pin, reported.local_time, reported.state, reported.verify) == ("1001", NOON, 1, 5)
    assert [event.session for event in received("other-events=1")] == [EF_FINGER_SCORE, 1, EF_FINGER_SCORE]
    assert received("mute") == []
    count = terminal.count
    phantom, real = received("phantom")
    assert phantom == real
    assert terminal.count == count + 1


# --- link ---------------------------------------------------------------------------------------------------------


def test_bytes_come_one_by_one() -> None:
    """Each after a pause; a datagram stays whole."""
    trickled = steps("trickle=5ms")
    assert trickled[::2] == [Wait(0.005)] * 10
    assert b"".join(step for step in trickled if isinstance(step, bytes)) == b"abcdefghij"
    assert steps("trickle=5ms", udp=True) == [Wait(0.005), b"abcdef", Wait(0.005), b"ghij"]


def test_packets_are_split_and_joined() -> None:
    """Segments are not packets."""
    assert [step for step in steps("split=1") if isinstance(step, bytes)] == [b"a", b"bcdef", b"g", b"hij"]
    assert [step for step in steps("split=6") if isinstance(step, bytes)] == [b"abcdef", b"ghij"]
    assert steps("coalesce") == [b"abcdefghij"]
    assert steps("coalesce", udp=True) == FRAMES


@pytest.mark.parametrize("offset", range(1, 45))
def test_a_stream_may_be_split_at_every_offset(offset: int) -> None:
    """What the driver receives does not depend on where segments end."""
    terminal = a_terminal(3)
    terminal.faults.switch_on(f"split={offset}")
    with Simulator(terminal) as simulator:
        records = visit(terminal, simulator)
    assert [record.pin for record in records] == ["1001", "1002", "1003", "1002"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("hang-up", [Drop()]),
        ("hang-up=any+8", [b"abcdef", b"gh", Drop()]),
        ("hang-up=connect", [Drop()]),
        ("hang-up=read", FRAMES),
        ("hang-up=event", FRAMES),
        ("silence", []),
        ("silence=connect+6", [b"abcdef"]),
        ("silence=count+6", FRAMES),
        ("late=2s", [Wait(2), *FRAMES]),
        ("slow-prepare", FRAMES),
    ],
)
def test_an_answer_ends_early_or_comes_late(order: str, expected: list[Step]) -> None:
    """At the stage that was meant and at no other."""
    assert steps(order) == expected


def test_events_have_a_stage_of_their_own() -> None:
    """A terminal may hang up in the middle of telling."""
    assert steps("hang-up=event+2", None) == [b"ab", Drop()]
    assert steps("late", None) == FRAMES


def test_only_a_log_is_slow_to_prepare() -> None:
    """As old as the terminal may be, small questions are small."""
    request = Packet(wire.CMD_PREPARE_BUFFER, 1, 1, prepare(wire.CMD_ATTLOG_RRQ))
    assert steps("slow-prepare=7s", request) == [Wait(7), *FRAMES]


def test_a_slow_line_takes_its_time() -> None:
    """Ten bytes at 8 kbit/s take ten milliseconds."""
    paced = steps("line=8")
    assert sum(step.seconds for step in paced if isinstance(step, Wait)) == pytest.approx(0.01)


def test_datagrams_are_lost_doubled_and_mixed() -> None:
    """None of it can happen on a stream."""
    assert steps("lose=2", udp=True) == [b"abcdef"]
    assert steps("duplicate", udp=True) == [b"abcdef", b"abcdef", b"ghij", b"ghij"]
    assert steps("reorder", udp=True) == [b"ghij", b"abcdef"]
    for order in ("lose=1", "duplicate", "reorder"):
        assert steps(order) == FRAMES


def test_headers_are_wrong() -> None:
    """The checksum, the length, the magic; or it is not this protocol at all."""
    packet = Packet(wire.CMD_ACK_OK, 1, 2, b"data")
    terminal = a_terminal()

    def sent(order: str) -> bytes:
        terminal.faults.switch_on(order)
        (step,) = terminal.faults.steps(CONNECT, [packet.to_tcp()], udp=False)
        terminal.faults.switch_off(order.partition("=")[0])
        assert isinstance(step, bytes)
        return step

    assert not wire.checksum_holds(sent("bad-checksum")[8:])
    assert sent("length=7") == packet.to_tcp()[:4] + b"\x07\0\0\0" + packet.to_tcp()[8:]
    assert sent("secure-magic")[:4] == wire.SECURE_MAGIC
    assert sent("access-panel") == PANEL_FRAME
    assert sent("garbage").startswith(b"HTTP/")


def test_a_burst_has_too_small_a_length_field() -> None:
    """The header counts the first packet's data, and all of the log follows in the same packet."""
    terminal = a_terminal()
    conversation = begun(terminal)
    terminal.faults.switch_on("burst")
    request = Packet(wire.CMD_ATTLOG_RRQ, conversation.session, 9)
    frames = [packet.to_tcp() for packet in conversation.answer(request)]
    announced, burst, closing = terminal.faults.steps(request, frames, udp=False)
    assert (announced, closing) == (frames[0], frames[-1])
    assert isinstance(burst, bytes)
    assert int.from_bytes(burst[4:8], "little") == 8 + 1008
    assert burst[16:] == struct.pack("<I", 1600) + terminal.log_body()


# --- over sockets -------------------------------------------------------------------------------------------------


@pytest.fixture
def listened() -> Iterator[tuple[SimulatedTerminal, Simulator, ZktecoTerminal]]:
    """Hold a conversation that listens."""
    terminal = a_terminal(3)
    with (
        Simulator(terminal) as simulator,
        suppress(DriverError),
        connect(options(simulator.port, timeout_s=0.3, bulk_timeout_s=0.3)) as visitor,
    ):
        list(visitor.events(0))
        yield terminal, simulator, visitor


def test_a_restart_drops_every_connection(listened: tuple[SimulatedTerminal, Simulator, ZktecoTerminal]) -> None:
    """A registered connection receives it at once."""
    terminal, _, visitor = listened
    terminal.faults.switch_on("reboot")
    with pytest.raises(DriverError, match=r"closed the connection|reset"):
        list(visitor.events(5))
    assert terminal.conversations == 0


def test_a_power_cut_sends_nothing(listened: tuple[SimulatedTerminal, Simulator, ZktecoTerminal]) -> None:
    """No event is sent and no request answered; back again, the terminal has forgotten every connection."""
    terminal, simulator, visitor = listened
    terminal.faults.switch_on("power-cut")
    terminal.punch("1001")
    assert list(visitor.events(0.05)) == []
    with pytest.raises(DriverError, match="no answer"):
        visitor.sizes()
    terminal.faults.switch_off("power-cut")
    assert len(visit(terminal, simulator)) == 5


def test_events_wait_for_the_next_answer(listened: tuple[SimulatedTerminal, Simulator, ZktecoTerminal]) -> None:
    """And come in one segment with it."""
    terminal, _, visitor = listened
    terminal.faults.switch_on("coalesce")
    terminal.punch("1001")
    terminal.punch("1002")
    assert list(visitor.events(0.05)) == []
    assert visitor.sizes().records == 5
    assert [event.pin for event in visitor.events(0) if isinstance(event, RawPunch)] == ["1001", "1002"]


@pytest.mark.parametrize("name", ["hang-up", "silence"])
@pytest.mark.parametrize("stage", ["connect", "enable", "option", "clock", "count", "listen", "prepare", "read"])
@pytest.mark.parametrize("after", ["", "+1", "+9", "+20"])
def test_a_terminal_may_go_at_every_stage(name: str, stage: str, after: str) -> None:
    """Before an answer, in its header, in its content: the visit ends soon, and the next is as good as any."""
    terminal = a_terminal()
    with Simulator(terminal) as simulator:
        terminal.faults.switch_on(f"{name}={stage}{after}")
        with suppress(TerminalUnavailable), connect(options(simulator.port, timeout_s=0.1, bulk_timeout_s=0.1)) as door:
            door.serial()
            door.read_clock()
            list(door.events(0))
            door.sizes()
            list(door.read().records)
            assert after == "+20"  # some answers are no longer than that
        terminal.faults.switch_off(name)
        assert len(visit(terminal, simulator)) in (40, 41)


def test_a_simulator_that_waits_can_be_stopped() -> None:
    """A pause of an hour does not outlive the block."""
    terminal = a_terminal()
    terminal.faults.switch_on("late=1h")
    begin = time.monotonic()
    with (
        Simulator(terminal) as simulator,
        pytest.raises(DriverError),
        connect(options(simulator.port, timeout_s=0.05)),
    ):
        pytest.fail("the conversation began")
    assert time.monotonic() - begin < 30
