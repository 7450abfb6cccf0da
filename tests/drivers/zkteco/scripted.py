"""A peer that sends exactly what a test wrote down: every byte, every pause, every hang-up, over TCP or UDP."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

from drivers.zkteco import wire
from drivers.zkteco.terminal import ZktecoOptions, ZktecoTerminal, connect
from drivers.zkteco.wire import Packet

SESSION = 0x9001
LATE_S = 10.0
"""How much later than planned something may happen on a busy machine."""
FAREWELLS = frozenset({wire.CMD_FREE_DATA, wire.CMD_EXIT, wire.CMD_REG_EVENT})


class Answer(NamedTuple):
    """A packet to send; ``reply`` is that of the question unless it is given."""

    command: int
    data: bytes = b""
    session: int = SESSION
    reply: int | None = None


class Pause(NamedTuple):
    """Wait before going on."""

    seconds: float


class Trickle(NamedTuple):
    """Send an answer byte by byte."""

    answer: Answer
    pause_s: float


class Close(NamedTuple):
    """Hang up."""


Action = bytes | Answer | Pause | Trickle | Close
Dynamic = Callable[[Packet], Iterable[Action]]


class Step(NamedTuple):
    """One question that is expected and what is done about it; nothing at all is silence."""

    expect: int
    actions: tuple[Action | Dynamic, ...]


def step(expect: int, *actions: Action | Dynamic) -> Step:
    """Write one line of a script."""
    return Step(expect, actions)


class ScriptedPeer:
    """Plays a script to whoever connects, while its ``with`` block lasts.

    Acknowledgements of events are kept in ``received`` and need no line. Where the next line expects something else,
    or the script is over, farewells are answered with success if ``polite``; any other question is a surprise, which
    fails the test when the block ends, unless the script is over: then the peer is silent.
    """

    def __init__(self, *script: Step, udp: bool = False, polite: bool = True) -> None:
        self.received: list[Packet] = []
        self.accepted = 0
        self._script = list(script)
        self._udp = udp
        self._polite = polite
        self._surprise: str | None = None
        self._stopping = threading.Event()
        self._connection: socket.socket | None = None
        self._client: Any = None

    def __enter__(self) -> Self:
        """Open the port."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if self._udp else socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        if not self._udp:
            self._socket.listen()
        self._thread = threading.Thread(target=self._datagrams if self._udp else self._connections, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything; complain about a surprise unless something else went wrong already."""
        self._stopping.set()
        if self._udp:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", ("127.0.0.1", self.port))
        else:
            for opened in (self._socket, self._connection):
                with suppress(OSError):
                    if opened is not None:
                        opened.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        if kind is None:
            assert self._surprise is None, self._surprise

    @property
    def commands(self) -> list[int]:
        """Commands of what was received, in order."""
        return [packet.command for packet in self.received]

    def settled(self) -> list[int]:
        """Return ``commands`` when EXIT has been received, or after ``LATE_S``."""
        until = time.monotonic() + LATE_S
        while wire.CMD_EXIT not in self.commands and time.monotonic() < until:
            time.sleep(0.001)
        return self.commands

    def _connections(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            with self._connection, suppress(OSError, wire.WireError):
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                reader = wire.StreamReader()
                while not self._stopping.is_set() and (data := self._connection.recv(65536)):
                    for bare in reader.feed(data):
                        self._receive(Packet.from_bytes(bare))

    def _datagrams(self) -> None:
        while True:
            data, client = self._socket.recvfrom(65536)
            if self._stopping.is_set():
                return
            self._client = client
            self._receive(Packet.from_bytes(data))

    def _receive(self, packet: Packet) -> None:
        self.received.append(packet)
        if packet.command == wire.CMD_ACK_OK:
            return
        if self._script and self._script[0].expect == packet.command:
            self._play(self._script.pop(0).actions, packet)
        elif packet.command in FAREWELLS:
            if self._polite:
                self._act(Answer(wire.CMD_ACK_OK), packet)
        elif self._script:
            self._surprise = f"the script goes on with {self._script[0].expect}, but {packet.command} came"

    def _play(self, actions: Iterable[Action | Dynamic], question: Packet) -> None:
        for action in actions:
            if callable(action):
                self._play(action(question), question)
            else:
                self._act(action, question)

    def _act(self, action: Action, question: Packet) -> None:
        match action:
            case Answer():
                self._send(self._encode(action, question))
            case bytes():
                self._send(action)
            case Pause():
                self._stopping.wait(action.seconds)
            case Trickle():
                for byte in self._encode(action.answer, question):
                    if self._stopping.wait(action.pause_s):
                        return
                    self._send(bytes((byte,)))
            case Close():
                raise OSError

    def _encode(self, answer: Answer, question: Packet) -> bytes:
        packet = Packet(
            answer.command,
            answer.session,
            question.reply if answer.reply is None else answer.reply,
            answer.data,
        )
        return packet.to_bytes() if self._udp else packet.to_tcp()

    def _send(self, data: bytes) -> None:
        if self._udp:
            self._socket.sendto(data, self._client)
        else:
            assert self._connection is not None
            self._connection.sendall(data)


OK = Answer(wire.CMD_ACK_OK)
HANDSHAKE = (step(wire.CMD_CONNECT, OK), step(wire.CMD_ENABLEDEVICE, OK))


def sizes(records: int, capacity: int = 100_000) -> Answer:
    """Return the answer of a terminal with so many records."""
    return Answer(wire.CMD_ACK_OK, wire.encode_sizes(records=records, capacity=capacity, users=1))


def prepared(size: int) -> Answer:
    """Return the answer of a terminal that has prepared ``size`` bytes."""
    return Answer(wire.CMD_ACK_OK, struct.pack("<BIII", 0, size, size, 0))


def announced(size: int) -> Answer:
    """Return the announcement of a transfer."""
    return Answer(wire.CMD_PREPARE_DATA, struct.pack("<II", size, 65528))


def transfer(body: bytes, limit: int = 1024) -> list[Answer]:
    """Return a whole transfer in packets of at most ``limit`` bytes, numbered as terminals do."""
    data = [
        Answer(wire.CMD_DATA, body[at : at + limit], session=number)
        for number, at in enumerate(range(0, len(body), limit))
    ]
    return [announced(len(body)), *data, Answer(wire.CMD_ACK_OK, session=len(body) & wire.USHRT_MAX)]


def serve(buffer: bytes, limit: int = 1024) -> Dynamic:
    """Answer READ_BUFFER from ``buffer``, as it should be."""

    def answer(question: Packet) -> list[Answer]:
        return transfer(requested(buffer, question), limit)

    return answer


def requested(buffer: bytes, question: Packet) -> bytes:
    """Return the part of ``buffer`` that a READ_BUFFER requests."""
    start, length = struct.unpack("<ii", question.data)
    return buffer[start : start + length]


def options(port: int, *, udp: bool = False, timeout_s: float = 60, bulk_timeout_s: float = 60, **more: Any) -> Any:
    """Return options for a terminal on this machine."""
    return ZktecoOptions.model_validate(
        {
            "name": "door",
            "address": f"127.0.0.1:{port}",
            "transport": "udp" if udp else "tcp",
            "timeout": f"{timeout_s}s",
            "bulk_timeout": f"{bulk_timeout_s}s",
            **more,
        }
    )


@contextmanager
def visited(
    *script: Step, udp: bool = False, polite: bool = True, **more: Any
) -> Iterator[tuple[ZktecoTerminal, ScriptedPeer]]:
    """Hold a conversation with a peer whose script goes on after the handshake."""
    with (
        ScriptedPeer(*HANDSHAKE, *script, udp=udp, polite=polite) as peer,
        connect(options(peer.port, udp=udp, **more)) as terminal,
    ):
        yield terminal, peer
