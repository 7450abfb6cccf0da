"""A simulated terminal on the wire: TCP and UDP sockets and their threads; the only place where packets are bytes."""

import select
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from drivers.zkteco import wire
from drivers.zkteco.simulator.console import TerminalConsole, offset
from drivers.zkteco.simulator.conversation import TCP_DATA, UDP_DATA, Conversation
from drivers.zkteco.simulator.hooks import Drop, Wait
from drivers.zkteco.simulator.terminal import SimulatedTerminal
from drivers.zkteco.wire import Packet

FAULT_POLL_S = 0.05
"""Interval at which a pause of a fault checks whether the fault is still on."""
SEND_TIMEOUT_S = 10.0
"""Time for which a client may leave its socket full before its connection is closed."""
MAX_DATAGRAM_CLIENTS = 64
"""Datagram clients kept; the one that was silent longest is removed first."""


class _Link:
    """One client at its socket: the one place where packets become bytes, and where faults change these."""

    def __init__(
        self,
        simulator: "Simulator",
        send: Callable[[bytes], None],
        hang_up: Callable[[], None] = lambda: None,
        *,
        udp: bool,
    ) -> None:
        self.conversation = Conversation(
            simulator.terminal, data_limit=UDP_DATA if udp else TCP_DATA, on_event=self._send_events, hang_up=hang_up
        )
        self._simulator = simulator
        self._hooks = simulator.terminal.hooks
        self._udp = udp
        self._send = send
        self._hang_up = hang_up
        self._lock = threading.Lock()

    def receive(self, packet: bytes) -> None:
        """Answer one packet of the client."""
        request = Packet.from_bytes(packet)
        with self._lock:
            answers = self.conversation.answer(request)
            if answers and self._hooks.joins_events:
                events = self.conversation.events
                answers = [*(events.popleft() for _ in range(len(events))), *answers]
            self._transmit(request, answers)
        self._send_events()

    def _send_events(self) -> None:
        # Called by the thread that punches: while an answer is being sent, its sender sends the events after it.
        events = self.conversation.events
        while events and not self._hooks.joins_events and self._lock.acquire(blocking=False):
            try:
                while events:
                    self._transmit(None, [events.popleft()])
            except OSError:
                events.clear()
                self.conversation.close()
                self._hang_up()  # further packets would follow half an event
            finally:
                self._lock.release()

    def _transmit(self, request: Packet | None, packets: list[Packet]) -> None:
        """Send an answer, or events where there is no request; OSError where the connection has ended."""
        if not packets:
            return
        faults = self._hooks.on
        for step in self._hooks.steps(request, self._frames(packets), udp=self._udp):
            match step:
                case Wait(seconds):
                    until = time.monotonic() + seconds
                    # A fault that is switched off delays nothing any longer.
                    while (left_s := until - time.monotonic()) > 0 and self._hooks.on == faults:
                        self._simulator._wait(min(left_s, FAULT_POLL_S))  # noqa: SLF001 - a link is a part of its simulator
                case Drop():
                    raise ConnectionAbortedError("hung up on purpose")
                case bytes():
                    # Counted before it is sent: a client that has received it finds it counted.
                    self._simulator._count(sent=len(step))  # noqa: SLF001 - see above
                    self._send(step)

    def _frames(self, packets: list[Packet]) -> Iterator[bytes]:
        for packet in packets:
            self._simulator._count(packets=1)  # noqa: SLF001 - see above
            yield packet.to_bytes() if self._udp else packet.to_tcp()


class Simulator:
    """Serves a terminal over TCP and UDP on one port number while its ``with`` block lasts.

    Port 0 chooses a free one, found in ``port``. ``bytes_in``, ``bytes_out`` and ``packets`` (both directions) count
    the traffic, top headers included. After the block no thread and no socket is left.
    """

    def __init__(self, terminal: SimulatedTerminal, host: str = "127.0.0.1", port: int = 0) -> None:
        self.terminal = terminal
        self.host = host
        self.port = port
        self.bytes_in = 0
        self.bytes_out = 0
        self.packets = 0
        self.bad_checksums = 0
        """Packets of clients with a wrong checksum; they are answered nevertheless."""
        self._counting = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._console = TerminalConsole(terminal, self._status)

    def __enter__(self) -> Self:
        """Open the port and serve; OSError where it is in use."""
        self._listener, self._datagrams = self._bind()
        self._stopping, self._stop = socket.socketpair()
        self.port = self._listener.getsockname()[1]
        self._server_threads = [self._start(self._accept), self._start(self._serve_datagrams)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()  # makes its other end readable, for every thread at once
        for thread in self._server_threads:
            thread.join()
        # No new connection is possible now.
        for thread, connection in list(self._connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that is sending
            thread.join()
        for opened in (self._listener, self._datagrams, self._stopping):
            opened.close()

    @property
    def address(self) -> str:
        """``host:port``, as configurations write it."""
        return f"{self.host}:{self.port}"

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        attempts = 1 if self.port else 50
        for attempt in range(attempts):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self.host, self.port))
                datagrams.bind((self.host, listener.getsockname()[1]))
                listener.listen()
            except OSError:
                listener.close()
                datagrams.close()
                if attempt == attempts - 1:
                    raise
            else:
                return listener, datagrams
        raise AssertionError("unreachable")  # pragma: no cover - the last attempt raises or returns

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name=f"simulator {self.terminal.serial}", daemon=True)
        thread.start()
        return thread

    def _count(self, *, received: int = 0, sent: int = 0, packets: int = 0, bad: bool = False) -> None:
        with self._counting:
            self.bad_checksums += bad
            self.bytes_in += received
            self.bytes_out += sent
            self.packets += packets

    def _wait(self, seconds: float) -> None:
        """Wait, but not for longer than the simulator runs; ConnectionAbortedError when it stops."""
        ready, _, _ = select.select((self._stopping,), (), (), seconds)
        if ready:
            raise ConnectionAbortedError("the simulator stops")

    def _whenever_readable(self, watched: socket.socket) -> Iterator[None]:
        """Yield each time there is something to read, until the simulator stops."""
        with selectors.DefaultSelector() as selector:
            selector.register(watched, selectors.EVENT_READ)
            stop = selector.register(self._stopping, selectors.EVENT_READ)
            while stop not in (key for key, _ in selector.select()):
                yield

    def _accept(self) -> None:
        self._listener.setblocking(False)
        for _ in self._whenever_readable(self._listener):
            try:
                connection, _address = self._listener.accept()
            except OSError:
                continue  # the client closed it before it was accepted
            # Only this thread, and after its end the one that stops, changes the table.
            self._connections = {thread: opened for thread, opened in self._connections.items() if thread.is_alive()}
            self._connections[self._start(self._serve_connection, connection)] = connection

    def _serve_connection(self, connection: socket.socket) -> None:
        connection.settimeout(SEND_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def hang_up() -> None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        link = _Link(self, connection.sendall, hang_up, udp=False)
        reader = wire.StreamReader()
        try:
            for _ in self._whenever_readable(connection):
                received = connection.recv(65536)
                if not received:
                    break
                self._count(received=len(received))
                for packet in reader.feed(received):
                    self._count(packets=1, bad=not wire.checksum_holds(packet))
                    link.receive(packet)
                if link.conversation.refused:
                    break
        except (OSError, wire.WireError):
            pass  # a client that leaves in the middle of a packet, or uses another protocol: a terminal hangs up
        finally:
            link.conversation.close()
            connection.close()

    def _serve_datagrams(self) -> None:
        self._datagrams.settimeout(SEND_TIMEOUT_S)
        links: OrderedDict[tuple[str, int], _Link] = OrderedDict()
        for _ in self._whenever_readable(self._datagrams):
            try:
                packet, address = self._datagrams.recvfrom(65536)
            except OSError:
                continue  # the system reports here that an earlier answer was not delivered
            self._count(received=len(packet), packets=1, bad=not wire.checksum_holds(packet))
            link = links.pop(address, None) or _Link(self, self._sender(address), udp=True)
            links[address] = link
            if len(links) > MAX_DATAGRAM_CLIENTS:
                links.popitem(last=False)[1].conversation.close()
            with suppress(OSError, wire.WireError):
                link.receive(packet)
        for link in links.values():
            link.conversation.close()

    def _sender(self, address: tuple[str, int]) -> Callable[[bytes], None]:
        def send(datagram: bytes) -> None:
            self._datagrams.sendto(datagram, address)

        return send

    def control(self, line: str) -> str:
        """Execute one typed command; return a sentence with its result, or with the error and the correct form."""
        return self._console.control(line)

    def _status(self) -> str:
        terminal = self.terminal
        return (
            f"Terminal {terminal.serial} at {self.address}: {terminal.count} of {terminal.capacity} records "
            f"(layout {terminal.layout}), {len(terminal.users)} people, clock {terminal.clock():%Y-%m-%d %H:%M:%S} "
            f"({offset(terminal)}), {terminal.conversations} clients, "
            f"{self.bytes_in} bytes in, {self.bytes_out} bytes out."
        )
