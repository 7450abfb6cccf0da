"""The transport below pyzk: whole answers, deadlines, a separate event queue, and allow-listed commands only.

pyzk 0.9 implements the handshake, the communication key and the chunk transfer of many years of devices, but it trusts
``recv`` to return whole packets, never to return nothing, and never to return an event. :class:`Transport` is the
socket with these properties. It is the only place of the driver that touches a network.
"""

import math
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zk.base
from zk import ZK

from drivers.base import DriverError, ProtocolError, Reason, TerminalRefused, TerminalUnavailable, connect_reason
from drivers.zkteco import wire

ALLOWED = frozenset(
    {
        wire.CMD_CONNECT,
        wire.CMD_AUTH,
        wire.CMD_EXIT,
        wire.CMD_ENABLEDEVICE,
        wire.CMD_OPTIONS_RRQ,
        wire.CMD_GET_VERSION,
        wire.CMD_GET_TIME,
        wire.CMD_GET_FREE_SIZES,
        wire.CMD_ATTLOG_RRQ,
        wire.CMD_USERTEMP_RRQ,  # with USER_LIST only
        wire.CMD_PREPARE_BUFFER,
        wire.CMD_READ_BUFFER,
        wire.CMD_FREE_DATA,
        wire.CMD_REG_EVENT,
        wire.CMD_ACK_OK,
    }
)
"""Every command that may leave this driver at any time. None of them changes what a terminal holds."""

CLOCK_COMMANDS = frozenset({wire.CMD_SET_TIME, wire.CMD_REFRESHDATA})
"""What may leave it besides while a clock is set, see :meth:`Transport.setting_clock`."""

ALLOWED_TABLES = frozenset({wire.CMD_ATTLOG_RRQ, wire.CMD_ATTLOG_BY_TIME, wire.CMD_USERTEMP_RRQ})
"""Tables a PREPARE_BUFFER may name: the log, whole or by dates, and the user list. Templates and photos are others."""

_PREPARE = struct.Struct("<BHII")

PYZK_PRIVATE = (
    "_ZK__create_socket",
    "_ZK__sock",
    "_ZK__send_command",
    "_ZK__read_chunk",
    "_ZK__response",
    "_ZK__data",
)
"""Private names of pyzk that this driver relies on; a test fails when a release of pyzk changes one."""

# pyzk's own version overflows for keys whose lowest seventeen bits are all set.
zk.base.make_commkey = wire.scramble_comm_key

PyzkRefusal = zk.base.ZKErrorResponse
"""What pyzk raises where the terminal answers with anything but success."""

_HANDSHAKE = frozenset({wire.CMD_CONNECT, wire.CMD_AUTH})
_UNBUFFERED = frozenset({wire.CMD_ATTLOG_RRQ, wire.CMD_USERTEMP_RRQ})
_BULK = _UNBUFFERED | {wire.CMD_PREPARE_BUFFER, wire.CMD_READ_BUFFER}
MAX_DATAGRAM, MAX_SEGMENT = 65536, 4096
"""Bytes taken from the network at once. A thread that waits holds so much memory, and most wait most of the time."""
MAX_EVENTS = 10_000
"""Events kept while a command is under way; more are dropped, and the log still holds them."""
MAX_EVENT = 1024
"""Bytes of an event that are kept; punches have 52 at most, and what is longer only says that the log is to be read."""
CAPTURE_PACKETS = 24
CAPTURE_BYTES = 96
DATAGRAM_GAP_S = 2.0
"""A datagram that is missing this long after the previous one is lost."""
CLOSING_ACK_TIMEOUT_S = 2.0
"""Time limit for the closing ACK of a transfer, which some terminals omit."""
UDP_TRIES = 3
"""Attempts for a chunk while datagrams are lost; all attempts together take one bulk time-out at most."""


class Transport:
    """One conversation's socket, as pyzk wants to see it.

    ``recv`` returns exactly one whole packet or raises: TerminalUnavailable when the deadline passes or the other side
    closes, ProtocolError for bytes the protocol does not allow, TerminalRefused for secure firmware and access panels.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        udp: bool,
        timeout_s: float,
        bulk_timeout_s: float,
        open_timeout_s: float | None = None,
    ) -> None:
        self._udp = udp
        self._timeout_s = timeout_s
        self._bulk_timeout_s = bulk_timeout_s
        self._session = 0
        self._reply = -1
        self._command = 0
        self._requested_length = 0
        self._capture_muted = False
        self._allowed = ALLOWED
        self._stream = wire.StreamReader()
        self._packets: deque[wire.Packet] = deque()
        self._events: deque[wire.Packet] = deque(maxlen=MAX_EVENTS)
        self._capture: deque[str] = deque(maxlen=CAPTURE_PACKETS)
        self.bad_checksums = 0
        self.stale_replies = 0
        self._socket = self._open(host, port, timeout_s if open_timeout_s is None else open_timeout_s)

    def _open(self, host: str, port: int, timeout_s: float) -> socket.socket:
        where = f"{host}:{port}"
        try:
            family, kind, proto, _, address = socket.getaddrinfo(
                host, port, socket.AF_INET, socket.SOCK_DGRAM if self._udp else socket.SOCK_STREAM
            )[0]
        except (OSError, UnicodeError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise TerminalUnavailable(
                f"the name {host} cannot be looked up ({reason})", reason=Reason.NAME_UNKNOWN
            ) from exc
        opened: socket.socket | None = None
        try:
            opened = socket.socket(family, kind, proto)
            opened.settimeout(timeout_s)
            opened.connect(address)
            if not self._udp:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # A terminal that loses power says nothing: let the kernel find out within about a minute.
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        except OSError as exc:
            if opened is not None:
                opened.close()
            if isinstance(exc, TimeoutError):
                raise TerminalUnavailable(f"{where} does not answer within {timeout_s:g} s") from exc
            raise TerminalUnavailable(
                f"{where} cannot be reached ({exc.strerror or exc})", reason=connect_reason(exc)
            ) from exc
        return opened

    @property
    def peer(self) -> str:
        """The IPv4 address of the terminal; empty where the connection is gone."""
        try:
            return str(self._socket.getpeername()[0])
        except OSError:
            return ""

    # What pyzk calls.

    def settimeout(self, _timeout_s: float | None) -> None:
        """Do nothing: this class enforces its own deadlines."""

    def connect_ex(self, _address: object) -> int:
        """Do nothing: the socket is connected already."""
        return 0

    def send(self, data: bytes) -> int:
        """Send one whole TCP packet; RuntimeError where its command is not on the allow-list."""
        self._transmit(wire.Packet.from_bytes(data[8:]))
        return len(data)

    def sendto(self, data: bytes, _address: object) -> int:
        """Send one datagram; RuntimeError where its command is not on the allow-list."""
        self._transmit(wire.Packet.from_bytes(data))
        return len(data)

    def recv(self, _size: int) -> bytes:
        """Return the answer to what was sent last, as one packet: a transfer in many arrives as one DATA."""
        packet = self._answer()
        bare = struct.pack("<4H", packet.command, 0, packet.session, packet.reply) + packet.data
        return bare if self._udp else wire.TCP_MAGIC + struct.pack("<I", len(bare)) + bare

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    # What the terminal calls.

    def cap_timeouts(self, limit_s: float) -> None:
        """Wait no longer than ``limit_s`` for each answer from now on."""
        self._timeout_s = min(self._timeout_s, limit_s)
        self._bulk_timeout_s = min(self._bulk_timeout_s, limit_s)

    @contextmanager
    def without_capture(self) -> Iterator[None]:
        """Keep what is exchanged inside the block out of captures."""
        self._capture_muted = True
        try:
            yield
        finally:
            self._capture_muted = False

    @contextmanager
    def setting_clock(self) -> Iterator[None]:
        """Let the commands that set a clock pass inside the block."""
        self._allowed = ALLOWED | CLOCK_COMMANDS
        try:
            yield
        finally:
            self._allowed = ALLOWED

    def next_event(self, deadline: float) -> wire.Packet | None:
        """Return the next event packet, waiting until the monotonic time ``deadline``; None when it has passed."""
        while not self._events:
            try:
                self._receive_some(deadline)
            except _DeadlineExceeded:
                return None
            self.stale_replies += len(self._packets)
            self._packets.clear()
        return self._events.popleft()

    def capture(self) -> str:
        """Return the last packets as lines of hex, ``>`` sent and ``<`` received; keys and private tables left out."""
        return "\n".join(self._capture)

    # Inside.

    def _transmit(self, packet: wire.Packet) -> None:
        if packet.command not in self._allowed:
            raise RuntimeError(f"command {packet.command} is not on the allow-list of this driver")
        if packet.command == wire.CMD_PREPARE_BUFFER and not _is_allowed_table(packet.data):
            raise RuntimeError("this driver reads the log and the user list only")
        if packet.command == wire.CMD_USERTEMP_RRQ and packet.data != wire.USER_LIST:
            raise RuntimeError("this driver reads no templates")
        # pyzk counts on from the last answer, so a question after an unanswered one would have the same number, and the
        # late answer to the one would pass for the answer to the other.
        self._reply = (self._reply + 1) % wire.USHRT_MAX
        packet = packet._replace(reply=self._reply)
        self._session, self._command = packet.session, packet.command
        self._requested_length = (
            int.from_bytes(packet.data[4:8], "little") if packet.command == wire.CMD_READ_BUFFER else 0
        )
        self._stream.expect_burst(packet.command in _UNBUFFERED)
        self._add_to_capture(">", packet, hidden=packet.command == wire.CMD_AUTH)
        self._socket.settimeout(self._timeout_s)
        self._send(packet)

    def _send(self, packet: wire.Packet) -> None:
        try:
            self._socket.sendall(packet.to_bytes() if self._udp else packet.to_tcp())
        except OSError as exc:
            raise TerminalUnavailable(f"the connection broke while sending ({exc.strerror or exc})") from exc

    def _answer(self) -> wire.Packet:
        """Wait for the answer to the last command; PREPARE, all its DATA and the closing ACK become one DATA."""
        limit_s = self._bulk_timeout_s if self._command in _BULK else self._timeout_s
        if self._udp and self._command == wire.CMD_READ_BUFFER:
            limit_s /= UDP_TRIES
        deadline = time.monotonic() + limit_s
        try:
            first = self._next_packet(deadline)
            if first.command == wire.CMD_PREPARE_DATA:
                return self._collect(first, deadline)
            if self._udp and self._requested_length and self._is_part(first):
                # The network may deliver a datagram before the PREPARE that announces it.
                self._packets.appendleft(first)
                announced = struct.pack("<II", self._requested_length, 0)
                return self._collect(first._replace(command=wire.CMD_PREPARE_DATA, data=announced), deadline)
        except _DeadlineExceeded:
            raise TerminalUnavailable(f"no answer to command {self._command} within {limit_s:g} s") from None
        if first.command == wire.CMD_ACK_UNAUTH and self._command not in _HANDSHAKE:
            raise TerminalUnavailable("the terminal no longer knows this conversation; it may have restarted")
        return first

    def _is_part(self, packet: wire.Packet) -> bool:
        """Tell whether a datagram is one of several; one DATA that is all of a small chunk comes without the others."""
        return packet.command == wire.CMD_ACK_OK or (
            packet.command == wire.CMD_DATA and len(packet.data) < self._requested_length
        )

    def _collect(self, prepare: wire.Packet, deadline: float) -> wire.Packet:
        if len(prepare.data) < 4:
            raise ProtocolError("an announcement of data without a size")
        size = int.from_bytes(prepare.data[:4], "little")
        if size > wire.MAX_PACKET:
            raise ProtocolError(f"the terminal announces {size} bytes; {wire.MAX_PACKET} are believed")
        parts: dict[int, bytes] = {}
        """Of datagrams, which may come in another order; at most 65,536."""
        run = bytearray()
        """Of a TCP stream: a part may be a single byte."""
        got = 0
        closed = False
        while got < size or not closed:
            whole = got == size and self._command in _UNBUFFERED
            patience_s = DATAGRAM_GAP_S if self._udp else CLOSING_ACK_TIMEOUT_S if whole else math.inf
            try:
                packet = self._next_packet(min(deadline, time.monotonic() + patience_s))
            except _DeadlineExceeded:
                if not (self._udp or whole):
                    raise
                if got < size:
                    raise TerminalUnavailable(f"datagrams were lost: {got} of {size} bytes came") from None
                break  # only the closing ACK was lost
            if packet.command == wire.CMD_DATA:
                # On TCP the order of arrival counts; some firmware puts something else than an index into the session.
                if not self._udp:
                    run += packet.data
                    got += len(packet.data)
                elif packet.data and packet.session not in parts:
                    parts[packet.session] = packet.data
                    got += len(packet.data)
                if got > size:
                    raise ProtocolError(f"the terminal sends more than the {size} bytes it announced")
            elif packet.command == wire.CMD_ACK_OK:
                closed = True
                if got < size and not self._udp:
                    raise ProtocolError(f"the terminal ends a transfer after {got} of {size} bytes")
            elif packet.command != wire.CMD_PREPARE_DATA:
                raise ProtocolError(f"answer {packet.command} in the middle of a transfer")
        body = b"".join(parts[index] for index in _in_order(parts)) if self._udp else bytes(run)
        return prepare._replace(command=wire.CMD_DATA, data=body)

    def _next_packet(self, deadline: float) -> wire.Packet:
        """Return the next packet that answers the last command; late answers to earlier ones are dropped."""
        while True:
            while self._packets:
                packet = self._packets.popleft()
                if packet.reply == self._reply:
                    return packet
                self.stale_replies += 1
            self._receive_some(deadline)

    def _receive_some(self, deadline: float) -> None:
        """Receive data, waiting until ``deadline``; events and answers go into separate queues."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise _DeadlineExceeded
        self._socket.settimeout(remaining)
        try:
            data = self._socket.recv(MAX_DATAGRAM if self._udp else MAX_SEGMENT)
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise _DeadlineExceeded from None  # with a number it is the kernel's: the connection is lost
            raise TerminalUnavailable(f"the connection broke ({exc.strerror or exc})") from exc
        if not data and not self._udp:
            raise TerminalUnavailable("the terminal closed the connection")
        try:
            for bare in (data,) if self._udp else self._stream.feed(data):
                self._dispatch(bare)
        except wire.SecureFirmware as exc:
            raise TerminalRefused(str(exc), reason=Reason.ENCRYPTED) from exc
        except wire.AccessPanel as exc:
            raise TerminalRefused(str(exc), reason=Reason.ACCESS_PANEL) from exc
        except wire.WireError as exc:
            self._capture.append(f"< {self._hex(data)}")
            raise ProtocolError(str(exc)) from exc

    def _dispatch(self, bare: bytes) -> None:
        packet = wire.Packet.from_bytes(bare)
        if not wire.checksum_holds(bare):
            # No known client rejects these, and terminals that get it wrong work otherwise: count it.
            self.bad_checksums += 1
        if packet.command != wire.CMD_REG_EVENT:
            # A late answer may belong to what was private then.
            self._add_to_capture("<", packet, hidden=packet.reply != self._reply)
            self._packets.append(packet)
            return
        self._add_to_capture("<", packet)
        self._events.append(packet._replace(data=packet.data[:MAX_EVENT]))
        # The terminal's log stays the truth, so this acknowledgement need not wait for our disk.
        self._send(wire.Packet(wire.CMD_ACK_OK, self._session, 0))

    def _add_to_capture(self, direction: str, packet: wire.Packet, *, hidden: bool = False) -> None:
        head = struct.pack("<3H", packet.command, packet.session, packet.reply).hex(" ", 2)
        self._capture.append(f"{direction} {head} | {self._hex(packet.data, hidden=hidden)}")

    def _hex(self, data: bytes, *, hidden: bool = False) -> str:
        if hidden or self._capture_muted:
            return f"({len(data)} bytes left out)"
        return data[:CAPTURE_BYTES].hex(" ") + (f" … {len(data)} bytes" if len(data) > CAPTURE_BYTES else "")


class _DeadlineExceeded(Exception):  # noqa: N818 - never leaves this module
    """The deadline passed."""


def _is_allowed_table(prepare: bytes) -> bool:
    return (
        len(prepare) == _PREPARE.size and prepare[0] == 1 and int.from_bytes(prepare[1:3], "little") in ALLOWED_TABLES
    )


def _in_order(parts: dict[int, bytes]) -> list[int]:
    """Sort datagram indexes that may wrap at 65,536."""
    indexes = sorted(parts)
    if indexes and indexes[-1] - indexes[0] > wire.USHRT_MAX // 2:
        indexes.sort(key=lambda index: (index + 0x8000) & wire.USHRT_MAX)
    return indexes


class Pyzk(ZK):  # type: ignore[misc]  # pyzk has no type information
    """pyzk over a :class:`Transport`: no ping through a shell, no second probing connection, no socket of its own."""

    def __init__(self, transport: Transport, *, comm_key: int, udp: bool) -> None:
        super().__init__("terminal", password=comm_key, force_udp=udp, ommit_ping=True)
        self._ZK__sock.close()  # the constructor opens one that is never used
        self._transport = transport
        self.helper = _ProbeDisabled()

    _ZK__sock: Any

    def _ZK__create_socket(self) -> None:  # noqa: N802 - overrides pyzk's private method
        self._ZK__sock = self._transport

    @property
    def response(self) -> int:
        """Code of the last answer."""
        return int(self._ZK__response)

    def query(self, command: int, data: bytes = b"") -> bytes:
        """Send a command; return the answer's data, or raise PyzkRefusal."""
        if not self._ZK__send_command(command, data, 1024)["status"]:
            raise PyzkRefusal(f"command {command} is answered with {self.response}")
        return bytes(self._ZK__data)

    def prepare(self, table: int, first: int = 0, second: int = 0) -> tuple[int, bytes]:
        """Send PREPARE_BUFFER for a table and its two arguments; return the answer's code and data."""
        self._ZK__send_command(wire.CMD_PREPARE_BUFFER, _PREPARE.pack(1, table, first, second), 1024)
        return self.response, bytes(self._ZK__data)

    def chunk(self, start: int, length: int) -> bytes:
        """Read ``length`` bytes of the prepared buffer from byte ``start``; PyzkRefusal where the terminal will not."""
        with translated_errors(self._transport, but=(PyzkRefusal,)):
            return bytes(self._ZK__read_chunk(start, length))


class _ProbeDisabled:
    """Stands in for pyzk's helper, which would open a connection of its own to see whether one can."""

    def test_tcp(self) -> int:
        return 0


@contextmanager
def translated_errors(transport: Transport, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn whatever pyzk raises inside the block, except ``but``, into a DriverError that carries a capture."""
    try:
        yield
    except but:
        raise
    except DriverError as exc:
        exc.capture = exc.capture or transport.capture()
        raise
    except zk.base.ZKNetworkError as exc:
        # pyzk puts this in place of whatever happened at the socket.
        cause = exc.__context__
        if not isinstance(cause, DriverError | RuntimeError):
            cause = ProtocolError(f"the terminal answered otherwise: {exc}")
        if isinstance(cause, DriverError):
            cause.capture = transport.capture()
        raise cause from None
    except (zk.base.ZKErrorConnection, zk.base.ZKErrorResponse) as exc:
        error = ProtocolError(f"the terminal answered otherwise: {exc}")
        error.capture = transport.capture()
        raise error from exc
    except (struct.error, ValueError, TypeError, IndexError) as exc:
        # What pyzk's parsing of unexpected bytes ends in. Its text may repeat a PIN or a name.
        error = ProtocolError(f"the answer could not be understood ({type(exc).__name__})")
        error.capture = transport.capture()
        raise error from exc
