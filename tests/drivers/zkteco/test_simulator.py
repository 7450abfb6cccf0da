import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from drivers.base import BadRecord, RawPunch
from drivers.zkteco import layouts, wire
from drivers.zkteco.simulator import Conversation, SimulatedTerminal, Simulator, build, console, generate
from drivers.zkteco.simulator import conversation as sim
from drivers.zkteco.wire import Packet
from tests.drivers.zkteco import vectors
from tests.drivers.zkteco.vectors import BY_NAME

END = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone


def frozen(moment: datetime = END) -> Any:
    """Return a clock that stands still."""
    return lambda: moment


def connected(terminal: SimulatedTerminal, **options: Any) -> tuple[Conversation, int]:
    """Return a conversation with ``terminal`` and its session."""
    conversation = Conversation(terminal, **options)
    (answer,) = conversation.answer(Packet(wire.CMD_CONNECT, 0, 1))
    assert answer.command == wire.CMD_ACK_OK
    return conversation, answer.session


def prepare(command: int, selector: int = 0) -> bytes:
    """Return the data of PREPARE_BUFFER for a table."""
    return struct.pack("<BHii", 1, command, selector, 0)


def read_all(conversation: Conversation, session: int) -> bytes:
    """Read the whole log through the buffer in one chunk."""
    (ready,) = conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_ATTLOG_RRQ)))
    if ready.command == wire.CMD_DATA:
        return ready.data
    size = int.from_bytes(ready.data[1:5], "little")
    answer = conversation.answer(Packet(wire.CMD_READ_BUFFER, session, 3, struct.pack("<ii", 0, size)))
    return b"".join(packet.data for packet in answer if packet.command == wire.CMD_DATA)


# --- captured conversations, reproduced ---------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "answer"), [("Z1", "Z2"), ("Z3", "Z4")])
def test_captured_options_are_reproduced(question: str, answer: str) -> None:
    """To the requests that a ZEM760 got, the simulator answers byte for byte what that terminal answered."""
    conversation, _ = connected(SimulatedTerminal(platform="ZEM760_TFT", session=0x8DF3))
    (answered,) = conversation.answer(BY_NAME[question].packet)
    assert answered.to_tcp() == BY_NAME[answer].raw


def test_an_option_without_its_nul_is_answered_all_the_same() -> None:
    """Some clients leave the NUL out."""
    conversation, session = connected(SimulatedTerminal(serial="A8N5230560263"))
    (answered,) = conversation.answer(Packet(wire.CMD_OPTIONS_RRQ, session, 2, b"~SerialNumber"))
    assert answered.data == b"~SerialNumber=A8N5230560263\0"
    (unknown,) = conversation.answer(Packet(wire.CMD_OPTIONS_RRQ, session, 3, b"ComKey\0"))
    assert (unknown.command, unknown.data) == (wire.CMD_ACK_ERROR, b"")


def test_the_captured_state_is_reproduced() -> None:
    """The state stands where other answers have the session."""
    conversation, session = connected(SimulatedTerminal())
    (answered,) = conversation.answer(Packet(sim.CMD_STATE_RRQ, session, 0x37))
    assert answered.to_tcp() == BY_NAME["Z7"].raw


def test_the_captured_pin_width_is_reproduced() -> None:
    """An answer with an odd number of bytes."""
    conversation, session = connected(SimulatedTerminal(session=0x8DF3))
    (answered,) = conversation.answer(Packet(sim.CMD_GET_PINWIDTH, session, 10, b" P"))
    assert answered.to_tcp() == BY_NAME["Z12"].raw


def test_a_captured_conversation_is_reproduced_from_connect_to_exit() -> None:
    """CONNECT, a log read without buffer whose content is no records, EXIT: all as a K40 answered."""
    terminal = SimulatedTerminal(session=0x6BA0)
    terminal.append_raw(vectors.K40_BODY)
    conversation = Conversation(terminal)
    script = {"Z14": ["Z15"], "Z16": ["Z17", "Z18", "Z19"]}
    for question, answers in script.items():
        answered = conversation.answer(BY_NAME[question].packet)
        assert [packet.to_tcp() for packet in answered] == [BY_NAME[name].raw for name in answers]
    (farewell,) = conversation.answer(BY_NAME["Z20"].packet)
    assert farewell.to_tcp() == next(vector.raw for vector in vectors.CAPTURED if vector.name == "Z20 EXIT answered")


def test_another_captured_farewell_is_reproduced() -> None:
    """EXIT is acknowledged in the session that ends."""
    conversation, _ = connected(SimulatedTerminal(session=0x7D3D))
    (answered,) = conversation.answer(Packet(wire.CMD_EXIT, 0x7D3D, 36))
    assert answered.to_tcp() == BY_NAME["Z33"].raw


def test_a_captured_transfer_is_reproduced() -> None:
    """34 records of 40 bytes are announced as captured; the data begins with the captured prefix, index and PIN."""
    terminal = SimulatedTerminal(session=0x4AB6, capacity=34)
    for number in range(43):
        terminal.append(str(410170 + number), END)
    for _ in range(34):
        terminal.append("410213", END)
    conversation, session = connected(terminal)
    (ready,) = conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 4, prepare(wire.CMD_ATTLOG_RRQ)))
    assert ready.data == struct.pack("<BIII", 0, 1364, 1364, 0)
    announced, data, closing = conversation.answer(
        Packet(wire.CMD_READ_BUFFER, session, 5, struct.pack("<ii", 0, 1364))
    )
    assert announced.to_tcp() == BY_NAME["Z21"].raw
    made, published = data.to_tcp(), vectors.Z22_HEAD
    # The published packet is cut off, so its checksum (bytes 10 and 11) cannot be made again.
    assert made[:10] + made[12 : len(published)] == published[:10] + published[12:]
    assert (closing.command, closing.session) == (wire.CMD_ACK_OK, 1364)


def test_a_captured_event_is_reproduced() -> None:
    """A finger on the simulator gives the packet a real terminal pushed."""
    terminal = SimulatedTerminal()
    conversation, session = connected(terminal)
    conversation.answer(Packet(wire.CMD_REG_EVENT, session, 2, struct.pack("<I", wire.EF_ATTLOG)))
    terminal.punch("999111333", moment=datetime(2018, 6, 25, 17, 41, 5))  # noqa: DTZ001 - wall clock
    assert [packet.to_tcp() for packet in conversation.events] == [BY_NAME["Z8"].raw]


def test_the_captured_record_is_reproduced() -> None:
    """What the punch leaves in the log differs from the captured record in its number and its reserved bytes only."""
    terminal = SimulatedTerminal()
    terminal.append("999111333", datetime(2018, 6, 25, 17, 50, 35))  # noqa: DTZ001 - wall clock
    assert terminal.log_body()[2:36] == vectors.Z28_RECORD_40[2:36]


# --- one conversation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        Packet(wire.CMD_GET_TIME, 0, 1),
        Packet(wire.CMD_PREPARE_BUFFER, 0x1000, 1, prepare(wire.CMD_ATTLOG_RRQ)),
        Packet(15, 0x1000, 1),
        Packet(wire.CMD_EXIT, 0, 1),
        Packet(wire.CMD_AUTH, 0, 1, bytes(4)),
    ],
)
def test_nothing_is_served_before_connect(request_: Packet) -> None:
    """Without CONNECT every command is unauthorised."""
    (answered,) = Conversation(SimulatedTerminal()).answer(request_)
    assert (answered.command, answered.reply) == (wire.CMD_ACK_UNAUTH, 1)


def test_nothing_is_served_after_exit_or_in_another_session() -> None:
    """A session is needed, and it must be one's own."""
    conversation, session = connected(SimulatedTerminal())
    (other,) = conversation.answer(Packet(wire.CMD_GET_TIME, session + 1, 2))
    assert other.command == wire.CMD_ACK_UNAUTH
    conversation.answer(Packet(wire.CMD_EXIT, session, 3))
    (late,) = conversation.answer(Packet(wire.CMD_GET_TIME, session, 4))
    assert late.command == wire.CMD_ACK_UNAUTH


def test_sessions_are_counted() -> None:
    """Each CONNECT has a session of its own; 0 is never one."""
    terminal = SimulatedTerminal(session=65534)
    assert [connected(terminal)[1] for _ in range(4)] == [65534, 65535, 1, 2]


@pytest.mark.parametrize("tick", [0, 50, 255])
def test_the_comm_key_is_demanded(tick: int) -> None:
    """With a key, CONNECT gives a session but no service until the proof is right, whatever tick the client chose."""
    terminal = SimulatedTerminal(comm_key=1234)
    conversation = Conversation(terminal)
    (requested,) = conversation.answer(Packet(wire.CMD_CONNECT, 0, 0))
    assert requested.command == wire.CMD_ACK_UNAUTH
    (early,) = conversation.answer(Packet(wire.CMD_GET_TIME, requested.session, 1))
    assert early.command == wire.CMD_ACK_UNAUTH
    for wrong in (b"", bytes(3), bytes(4), wire.scramble_comm_key(1235, requested.session, tick)):
        (refused,) = conversation.answer(Packet(wire.CMD_AUTH, requested.session, 2, wrong))
        assert refused.command == wire.CMD_ACK_UNAUTH
    assert terminal.conversations == 0
    proof = wire.scramble_comm_key(1234, requested.session, tick)
    (accepted,) = conversation.answer(Packet(wire.CMD_AUTH, requested.session, 3, proof))
    assert accepted.command == wire.CMD_ACK_OK
    (served,) = conversation.answer(Packet(wire.CMD_GET_TIME, requested.session, 4))
    assert served.command == wire.CMD_ACK_OK


def test_one_conversation_at_a_time() -> None:
    """A terminal of that kind does not answer a second client until the first has gone."""
    terminal = SimulatedTerminal(one_conversation=True)
    first, session = connected(terminal)
    second = Conversation(terminal)
    assert second.answer(Packet(wire.CMD_CONNECT, 0, 1)) == []
    assert second.refused
    first.answer(Packet(wire.CMD_EXIT, session, 2))
    connected(terminal)
    assert terminal.conversations == 1


@pytest.mark.parametrize("command", [8, 12, 14, 15, 18, 19, 20, 31, 33, 134, 1004, 1005, 10063, 0xFFFF])
def test_what_would_do_harm_is_refused_and_remembered(command: int) -> None:
    """No command of another kind is served; it changes nothing and is counted."""
    terminal = SimulatedTerminal()
    terminal.append("1001", END)
    conversation, session = connected(terminal)
    before = (terminal.log_body(), dict(terminal.users), terminal.clock_offset)
    (answered,) = conversation.answer(Packet(command, session, 2, b"\x01"))
    assert answered.command == wire.CMD_ACK_ERROR
    assert (terminal.log_body(), dict(terminal.users), terminal.clock_offset) == before
    assert terminal.refused_writes == 1
    assert terminal.commands == Counter({wire.CMD_CONNECT: 1, command: 1})


def test_the_clock_is_read_and_set() -> None:
    """GET_TIME shows the true time and the offset; SET_TIME moves the offset; an impossible time moves nothing."""
    terminal = SimulatedTerminal(now=frozen(), clock_offset=timedelta(minutes=7))
    conversation, session = connected(terminal)
    (reported,) = conversation.answer(Packet(wire.CMD_GET_TIME, session, 2))
    assert wire.decode_time(int.from_bytes(reported.data, "little")) == END + timedelta(minutes=7)
    (done,) = conversation.answer(Packet(wire.CMD_SET_TIME, session, 3, struct.pack("<I", wire.encode_time(END))))
    assert done.command == wire.CMD_ACK_OK
    assert terminal.clock_offset == timedelta(0)
    for nonsense in (b"", b"\xff\xff\xff\xff"):
        (refused,) = conversation.answer(Packet(wire.CMD_SET_TIME, session, 4, nonsense))
        assert refused.command == wire.CMD_ACK_ERROR
    assert terminal.clock() == END


def test_identity_and_sizes_are_reported() -> None:
    """Firmware, and how many records, users and places there are."""
    terminal = SimulatedTerminal(firmware="Ver 6.60 Apr 26 2016", capacity=10)
    terminal.append("1001", END)
    conversation, session = connected(terminal)
    (version,) = conversation.answer(Packet(wire.CMD_GET_VERSION, session, 2))
    assert version.data == b"Ver 6.60 Apr 26 2016\0"
    (sizes,) = conversation.answer(Packet(wire.CMD_GET_FREE_SIZES, session, 3))
    assert wire.decode_sizes(sizes.data) == (1, 10)


def test_a_disabled_terminal_shows() -> None:
    """A client that leaves the terminal disabled can be found out."""
    terminal = SimulatedTerminal()
    conversation, session = connected(terminal)
    conversation.answer(Packet(sim.CMD_DISABLEDEVICE, session, 2))
    assert terminal.enabled is False
    conversation.answer(Packet(wire.CMD_ENABLEDEVICE, session, 3))
    assert terminal.enabled is True


def test_a_small_log_comes_at_once() -> None:
    """Up to a kilobyte is one packet with its prefix, and nothing is left to free."""
    terminal = SimulatedTerminal(layout="16")
    terminal.append("1001", END)
    conversation, session = connected(terminal)
    (answered,) = conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_ATTLOG_RRQ)))
    assert answered == Packet(wire.CMD_DATA, session, 2, struct.pack("<I", 16) + terminal.log_body())
    empty, session = connected(SimulatedTerminal())
    (answered,) = empty.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_ATTLOG_RRQ)))
    assert answered.data == bytes(4)


@pytest.mark.parametrize(("limit", "packets"), [(sim.TCP_DATA, 7), (sim.UDP_DATA, 391)])
def test_a_large_log_comes_in_numbered_packets(limit: int, packets: int) -> None:
    """A chunk of any size is announced, numbered in the session field, and closed with the number of bytes sent."""
    office = generate(1, 10_000, 100, END)
    terminal = SimulatedTerminal(users=office.users, log=office.log)
    conversation, session = connected(terminal, data_limit=limit)
    conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_ATTLOG_RRQ)))
    size = len(office.log) + 4
    announced, *data, closing = conversation.answer(
        Packet(wire.CMD_READ_BUFFER, session, 3, struct.pack("<ii", 0, size))
    )
    assert announced == Packet(wire.CMD_PREPARE_DATA, session, 3, struct.pack("<II", size, limit))
    assert [packet.session for packet in data] == list(range(packets))
    assert {packet.command for packet in data} == {wire.CMD_DATA}
    assert max(len(packet.data) for packet in data) == limit
    assert b"".join(packet.data for packet in data) == struct.pack("<I", len(office.log)) + office.log
    assert closing == Packet(wire.CMD_ACK_OK, size & 0xFFFF, 3)


def test_the_tail_of_the_log_can_be_read() -> None:
    """Any run of bytes of the buffer is served; what lies outside it is refused."""
    office = generate(1, 200, 20, END)
    terminal = SimulatedTerminal(users=office.users, log=office.log)
    conversation, session = connected(terminal)
    nothing_prepared = conversation.answer(Packet(wire.CMD_READ_BUFFER, session, 1, struct.pack("<ii", 0, 4)))
    assert [packet.command for packet in nothing_prepared] == [wire.CMD_ACK_ERROR]
    conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_ATTLOG_RRQ)))
    _, data, _ = conversation.answer(Packet(wire.CMD_READ_BUFFER, session, 3, struct.pack("<ii", 4 + 190 * 40, 400)))
    assert data.data == office.log[-400:]
    for start, length in ((8004, 1), (0, 8005), (-1, 4), (4, 0), (4, -1), (2**31 - 1, 2**31 - 1)):
        (refused,) = conversation.answer(Packet(wire.CMD_READ_BUFFER, session, 4, struct.pack("<ii", start, length)))
        assert refused.command == wire.CMD_ACK_ERROR
    conversation.answer(Packet(wire.CMD_FREE_DATA, session, 5))
    (freed,) = conversation.answer(Packet(wire.CMD_READ_BUFFER, session, 6, struct.pack("<ii", 0, 4)))
    assert freed.command == wire.CMD_ACK_ERROR


def test_the_buffer_is_the_log_of_the_moment_it_was_prepared() -> None:
    """A punch in the middle of a read is in the next read, not in this one."""
    office = generate(1, 200, 20, END)
    terminal = SimulatedTerminal(users=office.users, log=office.log)
    conversation, session = connected(terminal)
    conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_ATTLOG_RRQ)))
    terminal.punch("1001", moment=END)
    _, data, _ = conversation.answer(Packet(wire.CMD_READ_BUFFER, session, 3, struct.pack("<ii", 0, 8004)))
    assert data.data[4:] == office.log
    assert len(read_all(conversation, session)) == 4 + 201 * 40


@pytest.mark.parametrize(
    "data", [b"", prepare(7), prepare(9, 2), prepare(10063), struct.pack("<BHii", 2, 13, 0, 0), prepare(13) + b"\0"]
)
def test_other_tables_are_not_prepared(data: bytes) -> None:
    """Templates, keys and nonsense are refused."""
    conversation, session = connected(SimulatedTerminal())
    (answered,) = conversation.answer(Packet(wire.CMD_PREPARE_BUFFER, session, 2, data))
    assert answered.command == wire.CMD_ACK_ERROR


@pytest.mark.parametrize(("layout", "stride"), [("8", 28), ("8-ma300", 28), ("16", 28), ("40", 72), ("49", 72)])
def test_users_come_as_long_as_the_layout_is_old(layout: str, stride: int) -> None:
    """Who is enrolled can be read, in the form that goes with the log's layout."""
    terminal = SimulatedTerminal(layout=layout, users={3: "1003", 9: "1009"})
    conversation, session = connected(terminal)
    (answered,) = conversation.answer(
        Packet(wire.CMD_PREPARE_BUFFER, session, 2, prepare(wire.CMD_USERTEMP_RRQ, wire.FCT_USER))
    )
    assert answered.data[:4] == struct.pack("<I", 2 * stride)
    assert wire.decode_pins(answered.data[4:]) == {3: "1003", 9: "1009"}


def test_events_go_to_registered_clients_only() -> None:
    """Every registered conversation receives a punch, until it unregisters; acknowledgements get no answer."""
    terminal = SimulatedTerminal()
    reported, session = connected(terminal)
    too, second_session = connected(terminal)
    silent, _ = connected(terminal)
    reported.answer(Packet(wire.CMD_REG_EVENT, session, 2, struct.pack("<I", 1)))
    too.answer(Packet(wire.CMD_REG_EVENT, second_session, 2, struct.pack("<I", 0xFFFF)))
    terminal.punch("1001")
    assert reported.answer(Packet(wire.CMD_ACK_OK, session, 0)) == []
    assert [len(each.events) for each in (reported, too, silent)] == [1, 1, 0]
    reported.answer(Packet(wire.CMD_REG_EVENT, session, 3, bytes(4)))
    too.answer(Packet(wire.CMD_EXIT, second_session, 3))
    terminal.punch("1001")
    assert [len(each.events) for each in (reported, too, silent)] == [1, 1, 0]


@pytest.mark.parametrize("length", wire.EVENT_ID_WIDTH)
def test_events_of_every_length(length: int) -> None:
    """The terminal pushes events of the length it was given."""
    terminal = SimulatedTerminal(event_length=length)
    conversation, session = connected(terminal)
    conversation.answer(Packet(wire.CMD_REG_EVENT, session, 2, struct.pack("<I", 1)))
    terminal.punch("1001", state=1, verify=15, moment=END)
    (event,) = conversation.events
    assert event[:3] == (wire.CMD_REG_EVENT, wire.EF_ATTLOG, 0)
    assert len(event.data) == length
    decoded = wire.decode_event(event)
    assert not isinstance(decoded, RawPunch) or decoded[:5] == ("1001", None, END, 1, 15)


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_punch_is_in_the_log(layout: str) -> None:
    """Person, time, state and verify of a punch are found in the log, in every layout."""
    terminal = SimulatedTerminal(layout=layout, now=frozen(), clock_offset=timedelta(seconds=-30))
    assert terminal.punch("1001", 1, 15) == END - timedelta(seconds=30)
    (found,) = terminal.records()
    assert isinstance(found, RawPunch)
    who = terminal.users[found.uid] if found.uid else found.pin
    assert (who, found.local_time, found.state, found.verify) == ("1001", END - timedelta(seconds=30), 1, 15)


@pytest.mark.parametrize(
    ("layout", "pin", "state", "year"),
    [
        ("40", "", 0, 2026),
        ("40", "A" * 25, 0, 2026),
        ("40", "é", 0, 2026),
        ("16", "007", 0, 2026),
        ("16", "9" * 18, 0, 2026),
        ("8", "A7", 0, 2026),
        ("40", "1001", 256, 2026),
        ("40", "1001", 0, 1999),
        ("40", "1001", 0, 2100),
    ],
)
def test_what_does_not_fit_leaves_no_trace(layout: str, pin: str, state: int, year: int) -> None:
    """A PIN, state or time this terminal cannot hold is refused; nothing is enrolled, logged or sent."""
    terminal = SimulatedTerminal(layout=layout)
    conversation, session = connected(terminal)
    conversation.answer(Packet(wire.CMD_REG_EVENT, session, 2, struct.pack("<I", 1)))
    with pytest.raises(ValueError, match=r"\w"):
        terminal.punch(pin, state, moment=END.replace(year=year))
    assert (terminal.count, terminal.users, list(conversation.events)) == (0, {}, [])


def test_a_full_log_overwrites_its_oldest_record() -> None:
    """The count stays at the capacity; the log keeps the newest records in their order."""
    terminal = SimulatedTerminal(capacity=3)
    for number in range(5):
        terminal.punch(str(1001 + number))
    assert terminal.count == 3
    assert [found.pin for found in terminal.records() if isinstance(found, RawPunch)] == ["1003", "1004", "1005"]
    terminal.clear_log()
    assert terminal.count == 0


def test_bad_records_can_be_put_into_the_log() -> None:
    """Whole records of any content are taken; parts of records are not."""
    terminal = SimulatedTerminal()
    terminal.append_raw(b"\xff" * 40)
    assert [type(found) for found in terminal.records()] == [BadRecord]
    with pytest.raises(ValueError, match="40-byte"):
        terminal.append_raw(bytes(41))


def test_a_number_may_go_to_another_person() -> None:
    """When a user is deleted, the freed internal number is given to the next new one."""
    terminal = SimulatedTerminal(layout="8")
    assert [terminal.enrol(pin) for pin in ("1001", "1002", "1001")] == [1, 2, 1]
    del terminal.users[1]
    assert terminal.enrol("2001") == 1
    assert terminal.enrol("1001") == 3
    assert terminal.users == {2: "1002", 1: "2001", 3: "1001"}


@pytest.mark.parametrize("wrong", [{"layout": "17"}, {"event_length": 33}, {"capacity": 0}])
def test_a_terminal_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """The sentence states what there is."""
    with pytest.raises(ValueError, match=r"known|at least"):
        SimulatedTerminal(**wrong)


def test_many_fingers_at_once() -> None:
    """Punches from several threads are all in the log, and events come in the order of the log."""
    terminal = SimulatedTerminal(capacity=5000)
    conversation, session = connected(terminal)
    conversation.answer(Packet(wire.CMD_REG_EVENT, session, 2, struct.pack("<I", 1)))

    def person(first: int) -> None:
        for number in range(250):
            terminal.punch(str(first + number))

    threads = [threading.Thread(target=person, args=(first,)) for first in (1000, 2000, 3000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logged = [found.pin for found in terminal.records() if isinstance(found, RawPunch)]
    reported = [event.data[:24].rstrip(b"\0").decode() for event in conversation.events]
    assert len(set(logged)) == 1000
    assert reported == logged


# --- the real wire ------------------------------------------------------------------------------------------------


class Client:
    """A client that only moves packets, over TCP or UDP."""

    def __init__(self, simulator: Simulator, *, udp: bool = False) -> None:
        self._udp = udp
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        self._socket.settimeout(5)
        self._socket.connect((simulator.host, simulator.port))
        self._packets = self._receive()
        self.session = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _receive(self) -> Iterator[Packet]:
        reader = wire.StreamReader()
        while received := self._socket.recv(65536):
            for bare in [received] if self._udp else reader.feed(received):
                assert wire.checksum_holds(bare)
                yield Packet.from_bytes(bare)

    def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(raw)

    def next(self) -> Packet | None:
        """Return the next packet; None when the other side has hung up."""
        return next(self._packets, None)

    def query(self, command: int, data: bytes = b"", reply: int = 1) -> Packet:
        """Send a request and return the next packet."""
        packet = Packet(command, self.session, reply, data)
        self.send(packet.to_bytes() if self._udp else packet.to_tcp())
        answer = self.next()
        assert answer is not None
        if command == wire.CMD_CONNECT:
            self.session = answer.session
        return answer


@pytest.mark.parametrize("udp", [False, True], ids=["TCP", "UDP"])
def test_events_cross_the_wire_in_order(udp: bool) -> None:
    """Fifty people at once: fifty events, in the order of the log, to the one connection that registered for them."""
    with Simulator(build(people=50)) as simulator, Client(simulator, udp=udp) as reported, Client(simulator) as other:
        reported.query(wire.CMD_CONNECT)
        other.query(wire.CMD_CONNECT)
        assert reported.query(wire.CMD_REG_EVENT, struct.pack("<I", 1)).command == wire.CMD_ACK_OK
        assert "50 punches" in simulator.control("rush 50")
        events = [reported.next() for _ in range(50)]
        pins = [event.data[:24].rstrip(b"\0").decode() for event in events if event is not None]
        assert pins == [found.pin for found in simulator.terminal.records() if isinstance(found, RawPunch)]
        assert other.query(wire.CMD_GET_TIME).command == wire.CMD_ACK_OK


def test_a_client_may_send_single_bytes_or_all_at_once() -> None:
    """However requests are cut or glued, each is answered."""
    with Simulator(SimulatedTerminal()) as simulator, Client(simulator) as client:
        for byte in Packet(wire.CMD_CONNECT, 0, 7).to_tcp():
            client.send(bytes((byte,)))
        first = client.next()
        assert first is not None
        client.send(b"".join(Packet(wire.CMD_GET_TIME, first.session, reply).to_tcp() for reply in (8, 9)))
        assert [packet.reply for packet in (client.next(), client.next()) if packet is not None] == [8, 9]


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xaa\x01\x55", wire.TCP_MAGIC + b"\xff" * 4])
def test_a_client_with_another_protocol_is_disconnected(noise: bytes) -> None:
    """Noise ends that connection; others are served."""
    with Simulator(SimulatedTerminal()) as simulator, Client(simulator) as stranger, Client(simulator) as client:
        stranger.send(noise)
        assert stranger.next() is None
        assert client.query(wire.CMD_CONNECT).command == wire.CMD_ACK_OK


def test_noise_in_a_datagram_is_ignored() -> None:
    """A datagram that is no packet gets no answer and does no harm."""
    with Simulator(SimulatedTerminal()) as simulator, Client(simulator, udp=True) as client:
        client.send(b"\x01\x02\x03")
        assert client.query(wire.CMD_CONNECT, reply=5).reply == 5


def test_a_second_client_is_hung_up_on() -> None:
    """A terminal that holds one conversation closes the second connection, and takes it when the first has gone."""
    with Simulator(SimulatedTerminal(one_conversation=True)) as simulator:
        with Client(simulator) as first, Client(simulator) as second:
            first.query(wire.CMD_CONNECT)
            second.send(Packet(wire.CMD_CONNECT, 0, 1).to_tcp())
            assert second.next() is None
        for _ in range(200):  # the terminal needs a moment to notice that the first has gone
            if not simulator.terminal.conversations:
                break
            time.sleep(0.01)
        with Client(simulator) as third:
            assert third.query(wire.CMD_CONNECT).command == wire.CMD_ACK_OK


def test_a_wrong_checksum_is_counted_and_answered() -> None:
    """Like real terminals, this one does not insist."""
    with Simulator(SimulatedTerminal()) as simulator, Client(simulator) as client:
        raw = bytearray(Packet(wire.CMD_CONNECT, 0, 1).to_tcp())
        raw[10] ^= 1
        client.send(bytes(raw))
        assert client.next() is not None
        assert simulator.bad_checksums == 1


@pytest.mark.parametrize(("udp", "top"), [(False, 8), (True, 0)], ids=["TCP", "UDP"])
def test_what_crosses_the_wire_is_counted(udp: bool, top: int) -> None:
    """Bytes both ways, headers included, and packets: the cost of a poll can be measured."""
    with Simulator(SimulatedTerminal()) as simulator, Client(simulator, udp=udp) as client:
        client.query(wire.CMD_CONNECT)
        client.query(wire.CMD_GET_TIME)
        assert (simulator.bytes_in, simulator.bytes_out) == (2 * (top + 8), top + 8 + top + 12)
        assert simulator.packets == 4


def test_nothing_is_left_running() -> None:
    """After the block the threads are gone, clients are hung up on, and the port is free for both protocols."""
    before = set(threading.enumerate())
    with Simulator(build(people=5, records=50)) as simulator:
        clients = [Client(simulator) for _ in range(5)]
        datagrams = Client(simulator, udp=True)
        for client in (*clients, datagrams):
            client.query(wire.CMD_CONNECT)
        clients[0].query(wire.CMD_REG_EVENT, struct.pack("<I", 1))
        assert simulator.terminal.conversations == 6
    assert set(threading.enumerate()) <= before
    assert simulator.terminal.conversations == 0
    assert [client.next() for client in clients] == [None] * 5
    simulator.terminal.punch("1001")
    for client in (*clients, datagrams):
        client.__exit__()
    with Simulator(simulator.terminal, port=simulator.port) as again, Client(again, udp=True) as client:
        assert again.port == simulator.port
        assert client.query(wire.CMD_CONNECT).command == wire.CMD_ACK_OK


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_a_taken_port_is_an_error(kind: socket.SocketKind) -> None:
    """A port of which one half is taken is refused as a whole, and no thread is left."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        before = threading.active_count()
        with pytest.raises(OSError, match="in use"), Simulator(SimulatedTerminal(), port=taken.getsockname()[1]):
            pytest.fail("the port was taken")
        assert threading.active_count() <= before


# --- typed commands -----------------------------------------------------------------------------------------------


def test_typed_commands_do_what_they_say() -> None:
    """Each command changes the terminal and answers with a sentence that states how."""
    simulator = Simulator(build(people=5, now=frozen()))
    terminal = simulator.terminal
    assert simulator.control("punch 1002 1 15") == "1002 punched at 2026-09-04 12:00:00 (state 1, verify 15)."
    assert simulator.control("  rush  7 ") == "7 punches made; the log holds 8."
    assert max(Counter(found.pin for found in terminal.records() if isinstance(found, RawPunch)).values()) <= 3
    assert simulator.control("clock +7m") == "The clock shows 2026-09-04 12:07:00, 420 s ahead."
    assert simulator.control("clock -450s") == "The clock shows 2026-09-04 11:59:30, 30 s behind."
    assert "2000-01-01 00:00:00" in simulator.control("clock 2000-01-01T00:00:00")
    assert terminal.clock() == datetime(2000, 1, 1)  # noqa: DTZ001 - wall clock
    assert "8 of 100000 records" in simulator.control("status")
    assert simulator.control("help") == simulator.control("") == console.HELP


@pytest.mark.parametrize(
    "line",
    [
        "punch",
        "punch 1001 1 1 1",
        "punch 1001 x",
        "punch 1001 999",
        "punch 1001 ²",
        "punch " + "A" * 25,
        "punch é",
        "rush",
        "rush -1",
        "rush 0",
        "rush many",
        "rush 99999999999",
        "clock",
        "clock 7",
        "clock +7x",
        "clock +999999999d",
        "clock 1999-01-01",
        "clock 2026-02-31",
        "dance",
        "\0",
    ],
)
def test_wrong_commands_get_a_sentence(line: str) -> None:
    """Whatever is typed, nothing is raised, nothing changes, and the answer states what was wrong."""
    simulator = Simulator(build(people=5, now=frozen()))
    assert simulator.control(line).startswith(("Not done: ", "That is no command. "))
    assert simulator.terminal.count == 0
    assert simulator.terminal.clock() == END


# --- logs to serve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_same_seed_gives_the_same_office(layout: str) -> None:
    """Deterministic in every layout, and another seed is another office."""
    assert generate(7, 500, 20, END, layout) == generate(7, 500, 20, END, layout)
    assert generate(7, 500, 20, END, layout).log != generate(8, 500, 20, END, layout).log


def test_an_invented_office_is_plausible() -> None:
    """Working days and hours only, in the order of time, up to the end; in the morning in, in the afternoon out."""
    office = generate(1, 5000, 60, END)
    found = [each for each in layouts.Records(office.log, layouts.LAYOUTS["40"]) if isinstance(each, RawPunch)]
    assert len(found) == 5000
    assert [each.local_time for each in found] == sorted(each.local_time for each in found)
    assert found[-1].local_time <= END
    assert END - found[-1].local_time < timedelta(days=1)
    assert {each.local_time.weekday() for each in found} == {0, 1, 2, 3, 4}
    assert {each.pin for each in found} <= set(office.users.values()) == {str(1001 + n) for n in range(60)}
    windows: dict[int | None, tuple[str, str]] = {0: ("06:45:00", "08:15:00"), 1: ("15:45:00", "17:30:00")}
    windows[2] = ("11:45:00", "13:15:00")
    windows[3] = windows[2]
    for each in found:
        first, last = windows[each.state]
        assert first <= f"{each.local_time:%H:%M:%S}" <= last
    assert {each.verify for each in found} == {1, 15}
    assert 0.35 < sum(each.state == 0 for each in found) / len(found) < 0.6


def test_a_long_log_is_invented_quickly() -> None:
    """100,000 records, exactly that many, in a time that grows with their number and not with its square."""
    began = time.process_time()
    office = generate(1, 100_000, 300, END)
    assert time.process_time() - began < 20
    assert len(office.log) == 100_000 * 40


def test_impossible_offices_are_refused() -> None:
    """Too few people for too many records would begin before the year 2000."""
    with pytest.raises(ValueError, match="since the year 2000"):
        generate(1, 100_000, 1, END)
    with pytest.raises(ValueError, match="at least one"):
        generate(1, 10, 0, END)


EXPORT = (
    b"     1001\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n  0070\t2026-09-04 07:31:00\t1\t1\t15\t12\n"
    b"198001012005011001\t2026-09-04 07:32:00\t1\t255\t0\t0\t0\t\nA7\t2000-01-01 00:00:14\t1\t4\t1\t0\n"
)


def test_an_office_replays_its_own_file(tmp_path: Path) -> None:
    """A terminal built from a file serves its punches in their order, and no others."""
    path = tmp_path / "1_attlog.dat"
    path.write_bytes(EXPORT)
    terminal = build(attlog=path, records=500, people=10)
    assert [found.pin for found in terminal.records() if isinstance(found, RawPunch)] == [
        "1001", "0070", "198001012005011001", "A7"
    ]  # fmt: skip
    assert sorted(terminal.users.values()) == ["0070", "1001", "198001012005011001", "A7"]
    with pytest.raises(ValueError, match="'0070'"):
        build(attlog=path, layout="16")
