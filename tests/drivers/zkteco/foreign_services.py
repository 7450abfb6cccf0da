"""A network of hosts on one machine: terminals and others at addresses of their own, all on one port."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from drivers.zkteco import wire
from drivers.zkteco.simulator import Conversation, SimulatedTerminal
from drivers.zkteco.wire import Packet

Behaviour = Callable[[socket.socket], None]


def free_port() -> int:
    """Return a port that is free at every address of this machine, over TCP and UDP."""
    for _ in range(50):
        with (
            suppress(OSError),
            socket.create_server(("", 0)) as listener,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            datagrams.bind(("", listener.getsockname()[1]))
            return int(listener.getsockname()[1])
    raise AssertionError("no port is free")


@contextmanager
def listening(host: str, port: int, behave: Behaviour) -> Iterator[None]:
    """Accept connections at ``host``; each is given to ``behave`` in a thread of its own, then closed."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behave(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server((host, port), backlog=128) as server:
        door = threading.Thread(target=accept, daemon=True)
        door.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            door.join()
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """Leave every attempt to connect to ``host`` unanswered: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((host, port), backlog=1))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield


@contextmanager
def datagrams_only(terminal: SimulatedTerminal, host: str, port: int) -> Iterator[None]:
    """Serve ``terminal`` over UDP; its TCP port is closed."""

    def serve() -> None:
        talk = Conversation(terminal)
        while True:
            data, client = served.recvfrom(65536)
            if not data:
                return
            for answer in talk.answer(Packet.from_bytes(data)):
                served.sendto(answer.to_bytes(), client)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind((host, port))
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", (host, port))
            thread.join()


def saying(answer: bytes) -> Behaviour:
    """Answer whatever comes first with these bytes, then wait for the other side to go."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(answer)
        mute(connection)

    return behave


def hanging_up(connection: socket.socket) -> None:
    """Do nothing, whereupon the connection is closed, as a terminal does that is in another conversation."""


def mute(connection: socket.socket) -> None:
    """Take what comes, say nothing."""
    while connection.recv(1024):
        pass


def trickling(terminal: SimulatedTerminal, pause_s: float = 0.0005) -> Behaviour:
    """Be ``terminal``, one byte at a time."""

    def behave(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk, reader = Conversation(terminal), wire.StreamReader()
        while data := connection.recv(1024):
            for bare in reader.feed(data):
                for byte in b"".join(answer.to_tcp() for answer in talk.answer(Packet.from_bytes(bare))):
                    connection.sendall(bytes((byte,)))
                    time.sleep(pause_s)
        talk.close()

    return behave


PANEL = bytes.fromhex("aa01c90100f313d955")
"""What a door access panel answers to what it does not know."""
SECURE = Packet(6001, 0x2345, 0, b"\1\0\0\0").to_tcp()
"""What firmware with encryption answers to CONNECT."""
