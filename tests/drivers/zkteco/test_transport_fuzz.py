"""Any bytes from the peer, split anywhere, result in a value or a DriverError within a bounded time.

A peer on a real socket answers as a simulated terminal does, up to some request; then it sends bytes that hypothesis
invents, or the correct answer with a part changed.
"""

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import NamedTuple, Self

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import DriverError
from drivers.zkteco import wire
from drivers.zkteco.simulator import Conversation, SimulatedTerminal
from drivers.zkteco.simulator.conversation import UDP_DATA
from drivers.zkteco.terminal import connect
from drivers.zkteco.wire import Packet
from tests.drivers.zkteco.scripted import options

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
TIMEOUT_S = 0.05
MAX_DURATION_S = 60.0
"""A conversation of a dozen requests without an answer takes a second; the bound only excludes an endless wait."""


class Noise(NamedTuple):
    """Random bytes."""

    data: bytes


class ForgedAnswer(NamedTuple):
    """A packet with a correct header and invented content; ``reply`` None is that of the request."""

    command: int
    data: bytes
    session: int
    reply: int | None


class AlteredAnswer(NamedTuple):
    """The correct answer with ``bytes_`` written over those at ``at`` (a share of its length)."""

    at: float
    bytes_: bytes
    cut: int
    """Bytes omitted after them."""


class Plan(NamedTuple):
    """The behaviour of a peer: this many correct answers, then ``answers``, then it closes the connection."""

    correct_answers: int
    answers: list[list[Noise | ForgedAnswer | AlteredAnswer]]
    pieces: list[int]
    """Lengths of the parts that are sent, repeated; datagrams stay whole."""


CODES = [1500, 1501, 1502, 2000, 2001, 2005, 500, 4989, 6001, 0xFFFF]
NUMBERS = [0, 1, 4, 8, 40, 1016, 1204, 65535, 16 * 1024 * 1024, 2**31 - 1, 2**32 - 1]
numbers = st.lists(st.sampled_from(NUMBERS), max_size=4).map(lambda found: struct.pack(f"<{len(found)}I", *found))
contents = st.one_of(
    st.binary(max_size=80),
    numbers,
    st.builds(bytes.__add__, st.binary(min_size=1, max_size=1), numbers),
    st.integers(0, 1200).map(bytes),
)
forged_answers = st.builds(
    ForgedAnswer,
    st.one_of(st.sampled_from(CODES), st.integers(0, 65535)),
    contents,
    st.sampled_from([0, 1, 2, 256, 0x1000, 65535]),
    st.one_of(st.none(), st.integers(0, 65535)),
)
noises = st.builds(Noise, st.binary(max_size=60))
altered_answers = st.builds(AlteredAnswer, st.floats(0, 1), st.binary(max_size=12), st.integers(0, 40))
plans = st.builds(
    Plan,
    st.integers(0, 9),
    st.lists(st.lists(st.one_of(altered_answers, forged_answers, noises), max_size=4), max_size=8),
    st.lists(st.integers(1, 64), min_size=1, max_size=5),
)


def a_terminal() -> SimulatedTerminal:
    """Return a terminal with a log too long for one answer, in the layout that needs the user table too."""
    terminal = SimulatedTerminal(layout="8", event_length=12, now=lambda: NOON)
    for number in range(200):
        terminal.append(str(1001 + number % 7), NOON - timedelta(minutes=number))
    return terminal


class Peer:
    """Executes one plan after the other, one conversation each, while its ``with`` block lasts."""

    def __init__(self, *, udp: bool) -> None:
        self.plan = Plan(0, [], [1])
        self._udp = udp
        self._terminal = a_terminal()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._stopping, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._datagrams if udp else self._connections, daemon=True)

    def __enter__(self) -> Self:
        """Open the port."""
        if not self._udp:
            self._socket.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        self._stop.close()
        self._thread.join()
        self._socket.close()
        self._stopping.close()

    def _ready(self, watched: socket.socket) -> bool:
        ready, _, _ = select.select((watched, self._stopping), (), ())
        return self._stopping not in ready

    def _connections(self) -> None:
        while self._ready(self._socket):
            connection, _ = self._socket.accept()
            with connection, suppress(OSError, wire.WireError):
                connection.settimeout(MAX_DURATION_S)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conversation, reader, requested = Conversation(self._terminal), wire.StreamReader(), 0
                while self._ready(connection) and (data := connection.recv(65536)):
                    for bare in reader.feed(data):
                        answer = self._answer(conversation, Packet.from_bytes(bare), requested)
                        requested += 1
                        if answer is None:
                            raise ConnectionAbortedError
                        self._send(connection, b"".join(answer))

    def _send(self, connection: socket.socket, data: bytes) -> None:
        number = 0
        while data:
            length = self.plan.pieces[number % len(self.plan.pieces)] * (1 if number < 40 else 1000)
            connection.sendall(data[:length])
            data, number = data[length:], number + 1

    def _datagrams(self) -> None:
        conversations: dict[object, tuple[Conversation, int]] = {}
        while self._ready(self._socket):
            data, client = self._socket.recvfrom(65536)
            conversation, requested = conversations.get(client) or (
                Conversation(self._terminal, data_limit=UDP_DATA),
                0,
            )
            conversations[client] = (conversation, requested + 1)
            for datagram in self._answer(conversation, Packet.from_bytes(data), requested) or ():
                self._socket.sendto(datagram, client)

    def _answer(self, conversation: Conversation, question: Packet, requested: int) -> list[bytes] | None:
        right = [self._encode(packet) for packet in conversation.answer(question)]
        if requested < self.plan.correct_answers:
            return right
        if requested - self.plan.correct_answers >= len(self.plan.answers):
            return None
        answer: list[bytes] = []
        for part in self.plan.answers[requested - self.plan.correct_answers]:
            match part:
                case Noise(data):
                    answer.append(data)
                case ForgedAnswer(command, data, session, reply):
                    lie = Packet(command, session, question.reply if reply is None else reply, data)
                    answer.append(self._encode(lie))
                case AlteredAnswer(at, bytes_, cut):
                    answer += [
                        packet[: (place := int(at * len(packet)))] + bytes_ + packet[place + len(bytes_) + cut :]
                        for packet in right
                    ]
        return answer

    def _encode(self, packet: Packet) -> bytes:
        return packet.to_bytes() if self._udp else packet.to_tcp()


def converse(port: int, *, udp: bool = False, timeout_s: float = MAX_DURATION_S) -> list[object]:
    """Ask everything there is to ask; return the values that came before a DriverError ended it, if one did."""
    values: list[object] = []
    with (
        suppress(DriverError),
        connect(options(port, udp=udp, timeout_s=timeout_s, bulk_timeout_s=timeout_s)) as terminal,
    ):
        values.append(terminal.serial())
        clock = terminal.read_clock()
        values.append(clock and clock.local_time)
        values.append(list(terminal.events(0.001)))
        values.append(terminal.sizes())
        values.append(list(terminal.read(150).records))
        values.append(terminal.pins())
    return values


def fuzz(plan: Plan, peer: Peer, *, udp: bool) -> None:
    """Converse with a peer that follows ``plan``; anything but values and DriverError fails the test by itself."""
    peer.plan = plan
    begun = time.monotonic()
    converse(peer.port, udp=udp, timeout_s=TIMEOUT_S)
    assert time.monotonic() - begun < MAX_DURATION_S


def test_any_bytes_on_a_stream_give_a_value_or_a_driver_error() -> None:
    """Noise, forged_answers and damaged answers at any point of a conversation end it properly, and soon."""
    with Peer(udp=False) as peer:

        @settings(max_examples=150)
        @given(plans)
        def run(plan: Plan) -> None:
            fuzz(plan, peer, udp=False)

        run()


def test_any_datagrams_give_a_value_or_a_driver_error() -> None:
    """The same over UDP, where a peer that has nothing more to say is silent."""
    with Peer(udp=True) as peer:

        @settings(max_examples=25)
        @given(plans)
        def run(plan: Plan) -> None:
            fuzz(plan, peer, udp=True)

        run()


def test_cutting_changes_nothing() -> None:
    """However a stream is cut into segments, what is received is what was sent."""
    with Peer(udp=False) as peer:
        peer.plan = Plan(1000, [], [65536])
        whole = converse(peer.port)

        @settings(max_examples=25)
        @given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
        def run(pieces: list[int]) -> None:
            peer.plan = Plan(1000, [], pieces)
            assert converse(peer.port) == whole

        run()
        assert len(whole) == 6
