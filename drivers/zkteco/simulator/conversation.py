"""One client's conversation with a simulated terminal: request packets in, answer packets out; no sockets."""

import struct
from collections import deque
from collections.abc import Callable

from drivers.zkteco import wire
from drivers.zkteco.simulator.memory import Memory
from drivers.zkteco.wire import Packet

# Commands that only a terminal knows: Hadir's driver does not send them.
CMD_STARTVERIFY = 60
CMD_CANCELCAPTURE = 62
CMD_STATE_RRQ = 64
CMD_GET_PINWIDTH = 69
CMD_DISABLEDEVICE = 1003

STATE_IDENTIFY = 2
"""State of a terminal at rest: it waits for a fingerprint."""

SMALL = 1016
"""Longest body that is sent at once: with its header it fills the 1,024 bytes that clients reserve."""
TCP_DATA, UDP_DATA, DIRECT_DATA = 65528, 1024, 1008
"""Longest data of one packet: in a TCP chunk, in a datagram, in a read without buffer."""

_PREPARE = struct.Struct("<BHii")
_RANGE = struct.Struct("<BHII")
_READ = struct.Struct("<ii")


class Conversation:
    """One client's conversation with ``terminal``.

    ``data_limit`` is the longest data of one packet in a chunk. Events for a registered client are added to ``events``,
    then ``on_event`` is called (by the thread that punched). ``hang_up`` drops the client's connection.
    """

    def __init__(
        self,
        terminal: Memory,
        *,
        data_limit: int = TCP_DATA,
        on_event: Callable[[], None] = lambda: None,
        hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.terminal = terminal
        self.on_event = on_event
        self.hang_up = hang_up
        self.events: deque[Packet] = deque()
        self.session = 0
        self.listening = False
        self.refused = False
        """The terminal does not accept this client: the owner of its connection closes it."""
        self._data_limit = data_limit
        self.skipped = False
        """The last part that was requested lies behind bytes of the buffer that were not."""
        self._connected = False
        self._buffer: bytes | None = None
        self._served_until = 0
        self._answers: dict[int, Callable[[Packet], list[Packet]]] = {
            wire.CMD_OPTIONS_RRQ: self._option,
            wire.CMD_GET_VERSION: lambda request: self._ok(request, self.terminal.firmware.encode() + b"\0"),
            wire.CMD_GET_TIME: lambda request: self._ok(
                request, struct.pack("<I", wire.encode_time(self.terminal.clock()))
            ),
            wire.CMD_SET_TIME: self._set_time,
            wire.CMD_GET_FREE_SIZES: self._sizes,
            wire.CMD_ENABLEDEVICE: self._enable,
            CMD_DISABLEDEVICE: self._enable,
            CMD_STATE_RRQ: lambda request: [Packet(wire.CMD_ACK_OK, STATE_IDENTIFY, request.reply)],
            CMD_GET_PINWIDTH: lambda request: self._ok(request, b"\x09"),
            CMD_STARTVERIFY: self._ok,
            CMD_CANCELCAPTURE: self._ok,
            wire.CMD_REFRESHDATA: self._ok,
            wire.CMD_REG_EVENT: self._register,
            wire.CMD_PREPARE_BUFFER: self._prepare,
            wire.CMD_READ_BUFFER: self._read,
            wire.CMD_FREE_DATA: self._free,
            wire.CMD_ATTLOG_RRQ: self._read_directly,
            wire.CMD_USERTEMP_RRQ: self._users_directly,
        }

    def answer(self, request: Packet) -> list[Packet]:
        """Return the answer to ``request``: usually one packet, none to an acknowledgement, several to a bulk read."""
        hooks = self.terminal.hooks
        return hooks.answer(self, request, self._answer(request)) if hooks.accepts(self, request) else []

    def _answer(self, request: Packet) -> list[Packet]:
        terminal = self.terminal
        terminal.count_command(request.command)
        match request.command:
            case wire.CMD_ACK_OK:
                return []  # a client acknowledges an event; terminals wait for nothing
            case wire.CMD_CONNECT:
                return self._connect(request)
            case wire.CMD_AUTH:
                return self._authenticate(request)
        if not self._connected or request.session != self.session:
            return [Packet(wire.CMD_ACK_UNAUTH, request.session, request.reply)]
        if request.command == wire.CMD_EXIT:
            self.close()
            return self._ok(request)
        answer = self._answers.get(request.command)
        if answer is None:
            terminal.count_command(request.command, refused=True)
            return self._error(request)
        return answer(request)

    def close(self) -> None:
        """End the conversation: no more events, nothing buffered, room for another client. May be repeated."""
        self._connected = self.listening = False
        self._buffer = None
        self.terminal.dismiss(self)

    def _ok(self, request: Packet, data: bytes = b"") -> list[Packet]:
        return [Packet(wire.CMD_ACK_OK, self.session, request.reply, data)]

    def _error(self, request: Packet) -> list[Packet]:
        return [Packet(wire.CMD_ACK_ERROR, self.session, request.reply)]

    def _connect(self, request: Packet) -> list[Packet]:
        self.close()
        self.session = self.terminal.new_session()
        if self.terminal.comm_key:
            return [Packet(wire.CMD_ACK_UNAUTH, self.session, request.reply)]
        return self._enter(request)

    def _authenticate(self, request: Packet) -> list[Packet]:
        # The third byte is the tick, which the client chooses; the others must fit our key, session and that tick.
        key = self.terminal.comm_key
        proof = request.data[:4]
        right = len(proof) == 4 and proof == wire.scramble_comm_key(key, self.session, proof[2])
        if not self.session or request.session != self.session or (key and not right):
            return [Packet(wire.CMD_ACK_UNAUTH, request.session, request.reply)]
        return self._enter(request)

    def _enter(self, request: Packet) -> list[Packet]:
        if not self.terminal.admit(self):
            self.refused = True
            return []
        self._connected = True
        return self._ok(request)

    def _option(self, request: Packet) -> list[Packet]:
        # Some clients end the name with NUL, some do not.
        name = request.data.partition(b"\0")[0].decode("latin-1")
        value = self.terminal.option(name)
        return self._error(request) if value is None else self._ok(request, f"{name}={value}\0".encode("latin-1"))

    def _set_time(self, request: Packet) -> list[Packet]:
        moment = wire.decode_time(int.from_bytes(request.data, "little")) if len(request.data) == 4 else None
        if moment is None:
            return self._error(request)
        self.terminal.set_clock(moment)
        return self._ok(request)

    def _sizes(self, request: Packet) -> list[Packet]:
        terminal = self.terminal
        return self._ok(
            request,
            wire.encode_sizes(
                records=terminal.hooks.count(terminal.count), capacity=terminal.capacity, users=len(terminal.users)
            ),
        )

    def _enable(self, request: Packet) -> list[Packet]:
        self.terminal.enabled = request.command == wire.CMD_ENABLEDEVICE
        return self._ok(request)

    def _register(self, request: Packet) -> list[Packet]:
        self.listening = bool(int.from_bytes(request.data[:4], "little") & wire.EF_ATTLOG)
        return self._ok(request)

    def _prepare(self, request: Packet) -> list[Packet]:
        if len(request.data) != _PREPARE.size:
            return self._error(request)
        one, command, selector, _ = _PREPARE.unpack(request.data)
        if (one, command) == (1, wire.CMD_ATTLOG_RRQ):
            body = self.terminal.hooks.table(_table(self.terminal.log_body()))
        elif (one, command, selector) == (1, wire.CMD_USERTEMP_RRQ, wire.FCT_USER):
            body = _table(self.terminal.user_table())
        elif (one, command) == (1, wire.CMD_ATTLOG_BY_TIME) and self.terminal.stride >= 40:
            _, _, first, last = _RANGE.unpack(request.data)
            body = _table(self.terminal.hooks.between(self.terminal.records_between(first, last)))
        else:
            return self._error(request)
        if len(body) <= SMALL:
            return [Packet(wire.CMD_DATA, self.session, request.reply, body)]
        self._buffer, self._served_until = body, 0
        return self._ok(request, struct.pack("<BIII", 0, len(body), len(body), 0))

    def _read(self, request: Packet) -> list[Packet]:
        if self._buffer is None or len(request.data) != _READ.size:
            return self._error(request)
        start, length = _READ.unpack(request.data)
        if start < 0 or length < 1 or start + length > len(self._buffer):
            return self._error(request)
        self.skipped = start > self._served_until
        if not self.skipped:
            self._served_until = max(self._served_until, start + length)
        return self.transfer(request, start, length)

    def transfer(self, request: Packet, start: int, length: int | None) -> list[Packet]:
        """Return the answer with ``length`` bytes of the buffer from byte ``start`` on; None: all that follow."""
        body = (self._buffer or b"")[start : None if length is None else start + length]
        return self._transfer(request, body, self._data_limit)

    def _free(self, request: Packet) -> list[Packet]:
        self._buffer = None
        return self._ok(request)

    def _read_directly(self, request: Packet) -> list[Packet]:
        body = self.terminal.hooks.table(_table(self.terminal.log_body()))
        return self._transfer(request, body, DIRECT_DATA)

    def _users_directly(self, request: Packet) -> list[Packet]:
        if request.data != wire.USER_LIST:
            return self._error(request)
        return self._transfer(request, _table(self.terminal.user_table()), DIRECT_DATA)

    @staticmethod
    def _transfer(request: Packet, body: bytes, limit: int) -> list[Packet]:
        # The session field of a data packet is its index; that of the closing one, the number of bytes sent.
        prepare = Packet(wire.CMD_PREPARE_DATA, request.session, request.reply, struct.pack("<II", len(body), limit))
        data = [
            Packet(wire.CMD_DATA, index & wire.USHRT_MAX, request.reply, body[at : at + limit])
            for index, at in enumerate(range(0, len(body), limit))
        ]
        return [prepare, *data, Packet(wire.CMD_ACK_OK, len(body) & wire.USHRT_MAX, request.reply)]


def _table(records: bytes) -> bytes:
    return struct.pack("<I", len(records)) + records
