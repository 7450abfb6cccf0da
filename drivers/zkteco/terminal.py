"""A conversation with a ZKTeco terminal: pyzk's proven commands over our transport, our own decoding of the answers."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from drivers.base import (
    ClockReading,
    DriverError,
    DriverOptions,
    Hint,
    ProtocolError,
    RawPunch,
    Reading,
    Sizes,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.zkteco import wire
from drivers.zkteco.transport import UDP_TRIES, Pyzk, PyzkRefusal, Transport, translated

DEFAULT_PORT = 4370
CHUNK_TCP = 0xFFC0
"""Largest chunk that terminals deliver in one DATA packet on TCP."""
CHUNK_UDP = 16 * 1024
SHORT = 1024
"""Bytes of a log that is read again rather than judged by a count that has changed meanwhile."""
READ_TRIES = 3
FAREWELL_S = 2.0
PARTING_S = 0.2
"""Time for each answer to what is still said to a terminal after a failure."""


def split_address(address: str) -> tuple[str, int]:
    """Split ``host`` or ``host:port`` (default 4370); ValueError where it is neither."""
    host, colon, port = address.strip().partition(":")
    if not host or any(ch.isspace() or ch in "/'\"" for ch in host):
        raise ValueError("not an address; write a host name or IPv4 address, with :port if it is not 4370")
    if not colon:
        return host, DEFAULT_PORT
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is not a port; write a number from 1 to 65535, or leave it out for 4370")
    return host, int(port)


def _checked(address: str) -> str:
    split_address(address)
    return address.strip()


class ZktecoOptions(DriverOptions):
    """Options of a ZKTeco terminal."""

    address: Annotated[str, AfterValidator(_checked), Field(examples=["192.168.1.201", "192.168.1.201:4370"])]
    """Host name or IPv4 address, with ``:port`` where it is not 4370."""
    comm_key_file: Path | None = None
    """A file that holds the terminal's communication key (0 to 999999); None: no key."""
    transport: Literal["tcp", "udp"] = "tcp"
    """UDP only where a terminal offers nothing else."""

    def comm_key(self) -> int:
        """Read the communication key; TerminalRefused where the file is gone or holds something else."""
        if self.comm_key_file is None:
            return 0
        try:
            text = self.comm_key_file.read_text(encoding="ascii").strip()
        except OSError as exc:
            raise TerminalRefused(
                f"the communication key cannot be read from {self.comm_key_file} ({exc.strerror or exc})"
            ) from exc
        except ValueError:
            text = ""
        if not text.isdecimal() or len(text.lstrip("0")) > 6:
            # Nothing of the text goes into the message: it may be a key with a slip of the finger.
            raise TerminalRefused(f"{self.comm_key_file} does not hold a communication key, a number of 0 to 999999")
        return int(text)


class ZktecoTerminal:
    """One conversation. Implements Terminal, Logged, Enrolled and Live of :mod:`drivers.base`."""

    def __init__(self, pyzk: Pyzk, transport: Transport, chunk: int) -> None:
        self._pyzk = pyzk
        self._transport = transport
        self._chunk = chunk
        self._sizes: Sizes | None = None
        self._listening = False

    def serial(self) -> str:
        """Return the serial number; empty where the terminal does not tell one."""
        return self._option(self._pyzk.get_serialnumber) or ""

    def identify(self) -> TerminalInfo:
        """Ask for everything that names the terminal; what it does not tell is None."""
        return TerminalInfo(
            serial=self.serial(),
            model=self._option(self._pyzk.get_device_name),
            firmware=self._option(self._pyzk.get_firmware_version),
            platform=self._option(self._pyzk.get_platform),
        )

    def _option(self, ask: Callable[[], str]) -> str | None:
        with translated(self._transport):
            try:
                text = ask().strip()
            except (PyzkRefusal, UnicodeDecodeError):
                return None
        return text if text.isascii() and text.isprintable() and text else None

    def read_clock(self) -> ClockReading | None:
        """Ask for the wall clock; None where it shows an impossible date."""
        with translated(self._transport):
            begun = time.monotonic()
            data = self._pyzk.ask(wire.CMD_GET_TIME)
            round_trip_s = time.monotonic() - begun
        moment = wire.decode_time(int.from_bytes(data[:4], "little")) if len(data) >= 4 else None
        return None if moment is None else ClockReading(moment, round_trip_s)

    def sizes(self) -> Sizes:
        """Ask how full the log is. One packet each way."""
        with translated(self._transport):
            records, capacity = wire.decode_sizes(self._pyzk.ask(wire.CMD_GET_FREE_SIZES))
        self._sizes = Sizes(records, capacity)
        return self._sizes

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Read the log from position ``start``; ``layout`` is the one found earlier, if any.

        Only the bytes from ``start`` on travel. Where the terminal's numbers leave any doubt about what lies at
        ``start``, or it refuses, the whole log is read instead and ``Reading.start`` is 0.
        """
        tries = READ_TRIES
        while True:
            tries -= 1
            count = (self._sizes or self.sizes()).records
            with translated(self._transport), self._prepared(wire.CMD_ATTLOG_RRQ, 0) as table:
                size = table.records_size()
                found = _layout_by_count(size, count, layout) if start and count is not None else None
                if found is not None and start <= size // found.stride:
                    tail = table.read(4 + start * found.stride, size - start * found.stride)
                    if tail is not None and wire.plausible(tail, found):
                        return _reading(tail, found, start, size // found.stride)
                body = table.read(4, size)
                if body is None:
                    raise ProtocolError("the terminal prepared its log and then refused to send it")
            # So few rows may read well in two layouts, and a count older than the last punch decides for the wrong one.
            if not tries or layout is not None or size > SHORT or count is None or count == self.sizes().records:
                break
        try:
            found = wire.choose_layout(body, count, layout)
        except wire.WireError as exc:
            error = ProtocolError(str(exc))
            error.capture = f"{self._transport.capture()}\nlog body begins: {body[:1024].hex()}"
            raise error from exc
        return _reading(body, found, 0, len(body) // found.stride)

    def pins(self) -> Mapping[int, str]:
        """Read which PIN each internal user number stands for."""
        with translated(self._transport):
            # The user table holds names and passwords in clear: it is kept out of captures and forgotten here.
            with self._transport.private(), self._prepared(wire.CMD_USERTEMP_RRQ, wire.FCT_USER) as table:
                body = table.read(4, table.records_size())
            if body is None:
                raise ProtocolError("the terminal prepared its user table and then refused to send it")
            return wire.decode_pins(body)

    def events(self, timeout_s: float) -> Iterator[RawPunch | Hint]:
        """Yield punches as they happen for ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        with translated(self._transport):
            if not self._listening:
                try:
                    self._pyzk.reg_event(wire.EF_ATTLOG)
                except PyzkRefusal:
                    raise TerminalRefused("the terminal does not tell of punches as they happen") from None
                self._listening = True
            while (packet := self._transport.next_event(deadline)) is not None:
                event = wire.decode_event(packet)
                if event is not None:
                    yield event

    def enable(self) -> None:
        """Let people in: another program may have died and left the terminal disabled, which locks them out."""
        # A terminal that does not know the command cannot be disabled either.
        with translated(self._transport), suppress(PyzkRefusal):
            self._pyzk.enable_device()

    def farewell(self) -> None:
        """Leave the terminal as found: no events asked for, conversation ended. A terminal gone silent is no error."""
        if self._listening:
            with suppress(DriverError), translated(self._transport):
                self._pyzk.reg_event(0)
        with suppress(DriverError), translated(self._transport):
            self._pyzk.disconnect()

    @contextmanager
    def _prepared(self, command: int, fct: int) -> Iterator["_Table"]:
        code, data = self._pyzk.prepare(command, fct)
        if code == wire.CMD_DATA:
            yield _Table(self._pyzk, len(data), self._chunk, data)
            return
        if code != wire.CMD_ACK_OK or len(data) < 5:
            raise _refusal_to_prepare(code)
        try:
            yield _Table(self._pyzk, int.from_bytes(data[1:5], "little"), self._chunk)
        except DriverError:
            self._transport.hurry(PARTING_S)
            raise
        finally:
            # Terminals have little memory: give the buffer back, also after a failure.
            with suppress(DriverError), translated(self._transport):
                self._pyzk.free_data()


class _Table:
    """A table in the terminal's transfer buffer: four bytes that count the bytes of the records, then the records."""

    def __init__(self, pyzk: Pyzk, size: int, chunk: int, body: bytes | None = None) -> None:
        if size > wire.MAX_PACKET:
            raise ProtocolError(f"the terminal announces a table of {size} bytes; {wire.MAX_PACKET} are believed")
        self._pyzk = pyzk
        self._size = size
        self._chunk = chunk
        self._body = body

    def records_size(self) -> int:
        """Bytes of records, by the table's own prefix; ProtocolError where it claims more than was prepared."""
        if self._size < 4:
            return 0
        prefix = self.read(0, 4)
        if prefix is None:
            raise ProtocolError("the terminal prepared a table and then refused to send it")
        size = int.from_bytes(prefix, "little")
        if size > self._size - 4:
            raise ProtocolError(f"a table that says it has {size} bytes in a buffer of {self._size}")
        return size

    def read(self, start: int, length: int) -> bytes | None:
        """Return ``length`` bytes from byte ``start``; None where the terminal refuses."""
        if self._body is not None:
            return self._body[start : start + length]
        parts = []
        end = start + length
        while start < end:
            part = self._chunk_with_tries(start, min(self._chunk, end - start))
            if part is None:
                return None
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _chunk_with_tries(self, start: int, length: int) -> bytes | None:
        tries = 1 if self._pyzk.tcp else UDP_TRIES
        while True:
            tries -= 1
            try:
                part = self._pyzk.chunk(start, length)
            except PyzkRefusal:
                return None
            except TerminalUnavailable:
                if not tries:
                    raise
                continue
            if len(part) != length:
                raise ProtocolError(f"the terminal sent {len(part)} bytes where {length} were asked for")
            return part


def _layout_by_count(size: int, count: int, pinned: str | None) -> wire.Layout | None:
    """Return the layout that makes ``size`` bytes ``count`` records, or a few more; None where there is doubt."""
    fitting = wire.layouts_for(size, count)
    if pinned is not None:
        return next((layout for layout in fitting if layout.name == pinned), None)
    return fitting[0] if len(fitting) == 1 else None


def _reading(body: bytes, layout: wire.Layout, start: int, total: int) -> Reading:
    return Reading(start, total, wire.Records(body, layout), layout.name, by_uid=layout.by_uid)


def _refusal_to_prepare(code: int) -> DriverError:
    if code == 4989:
        return TerminalRefused(
            "the terminal will not send its log (4989): it is in access-control mode, or has no memory left to "
            "prepare it; set its device type to time attendance (T&A), or restart it"
        )
    return ProtocolError(f"the terminal answers {code} where it should prepare its log")


@contextmanager
def connect(options: ZktecoOptions) -> Iterator[ZktecoTerminal]:
    """Open a conversation with the terminal; it ends, and the terminal is left as found, when the block ends."""
    host, port = split_address(options.address)
    comm_key = options.comm_key()
    transport = Transport(
        host,
        port,
        udp=options.transport == "udp",
        timeout_s=options.timeout,
        bulk_timeout_s=options.bulk_timeout,
    )
    with conversation(transport, options, comm_key) as terminal:
        yield terminal


@contextmanager
def conversation(transport: Transport, options: ZktecoOptions, comm_key: int) -> Iterator[ZktecoTerminal]:
    """Hold a conversation over ``transport``, as :func:`connect` does over one of its own."""
    udp = options.transport == "udp"
    try:
        pyzk = Pyzk(transport, comm_key=comm_key, udp=udp)
        _shake_hands(pyzk, transport)
        terminal = ZktecoTerminal(pyzk, transport, CHUNK_UDP if udp else CHUNK_TCP)
        try:
            terminal.enable()
            yield terminal
        except DriverError:
            transport.hurry(PARTING_S)
            raise
        finally:
            transport.hurry(FAREWELL_S)
            terminal.farewell()
    finally:
        transport.close()


def _shake_hands(pyzk: Pyzk, transport: Transport) -> None:
    with translated(transport):
        try:
            pyzk.connect()
        except PyzkRefusal:
            if pyzk.response == wire.CMD_ACK_UNAUTH:
                raise TerminalRefused(
                    "the terminal refuses the communication key; compare comm_key_file with the key in its menu "
                    "(Comm. > PC connection)"
                ) from None
            if pyzk.response in wire.SECURE_ANSWERS:
                raise TerminalRefused(
                    f"the terminal's firmware wants an encrypted conversation ({pyzk.response}), which this version "
                    "does not speak; switch it off in the terminal's menu, or use its PUSH mode"
                ) from None
            raise ProtocolError(f"the terminal answers {pyzk.response} where a conversation should begin") from None
