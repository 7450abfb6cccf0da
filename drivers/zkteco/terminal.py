"""A conversation with a ZKTeco terminal: pyzk's proven commands over our transport, our own decoding of the answers."""

import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from drivers.arp import mac_address
from drivers.base import (
    ClockReading,
    DriverError,
    DriverOptions,
    Hint,
    ProtocolError,
    RawPunch,
    Reading,
    Reason,
    Record,
    Sizes,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
    UnreadableLog,
)
from drivers.textfile import TextFileError, read_comm_key
from drivers.values import checked_address, same_address
from drivers.zkteco import layouts, wire
from drivers.zkteco.table import BadTable, Slice, Table
from drivers.zkteco.transport import Pyzk, PyzkRefusal, Transport, translated_errors

DEFAULT_PORT = 4370
UNBUFFERED_ANSWERS = frozenset({wire.CMD_UNKNOWN, wire.CMD_BAD, wire.CMD_ACK_ERROR})
"""Answers to PREPARE_BUFFER after which a table is requested without a buffer."""
SHORT_LOG = 1024
"""A log of at most this many bytes is read again where its count changed during the reading."""
READ_TRIES = 3
MAX_KEPT_BODY = 4 * 1024 * 1024
"""Bytes of an unreadable log that are kept: more than 100,000 records."""
MAX_RANGE = 1024 * 1024
"""Bytes of the records of a few days: as many as 20,000 of them."""
MAX_USER_TABLE = 65_536 * 72
"""Bytes of a user list; internal numbers have 16 bits."""
LONG_LOG = 2 * 1024 * 1024
"""Of logs longer than this, only one at a time is fetched whole to choose its layout."""
LONG_LOG_WAIT_S = 60.0
LONG_LOG_TIMEOUT_S = 900.0
"""Time limit of one such log: 16 MiB at 150 kbit/s."""
_long_log = threading.Lock()
CLOSE_TIMEOUT_S = 2.0
CLOSE_AFTER_ERROR_TIMEOUT_S = 0.2
"""Time limit of each answer while a conversation is closed after a failure."""


def split_address(address: str) -> tuple[str, int]:
    """Split ``host`` or ``host:port`` (default 4370); ValueError where it is neither."""
    host, colon, port = address.strip().partition(":")
    if not host or any(ch.isspace() or ch in "/'\"" for ch in host):
        raise ValueError("not an address; write a host name or IPv4 address, with :port if it is not 4370")
    if not colon:
        return host, DEFAULT_PORT
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port[:9]) < 65536:
        raise ValueError(
            "what follows the colon is not a port; write a number from 1 to 65535, or leave it out for 4370"
        )
    return host, int(port)


def _checked(address: str, info: ValidationInfo) -> str:
    return checked_address(split_address, address, info)


LayoutName = Annotated[
    Literal["40", "49", "22", "16", "8", "8-ma300"],
    # YAML takes most of these names for numbers.
    BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value),
    WithJsonSchema({"enum": [*layouts.LAYOUTS, *dict.fromkeys(layout.stride for layout in layouts.LAYOUTS.values())]}),
]


class ZktecoOptions(DriverOptions):
    """Options of a ZKTeco terminal."""

    address: Annotated[str, AfterValidator(_checked), Field(examples=["192.168.1.201", "192.168.1.201:4370"])]
    """Host name or IPv4 address, with ``:port`` where it is not 4370."""
    comm_key_file: Path | None = None
    """A file that holds the terminal's communication key (0 to 999999); None: no key."""
    transport: Literal["tcp", "udp"] = "tcp"
    """UDP only where a terminal offers nothing else."""
    layout: LayoutName | None = None
    """The layout of the log's records, where it is not found out rightly; a log that does not fit it is refused."""

    def place(self) -> str:
        """Return address and port."""
        return same_address(self.address, DEFAULT_PORT)

    def comm_key(self) -> int:
        """Read the communication key; TerminalRefused where the file is gone or holds something else."""
        if self.comm_key_file is None:
            return 0
        try:
            return read_comm_key(self.comm_key_file)
        except OSError as exc:
            raise TerminalRefused(
                f"the communication key cannot be read from {self.comm_key_file} ({exc.strerror or exc})",
                reason=Reason.KEY_FILE,
            ) from exc
        except TextFileError as exc:
            raise TerminalRefused(
                f"the communication key cannot be read from {self.comm_key_file}: {exc}", reason=Reason.KEY_FILE
            ) from None


class _LogPart(NamedTuple):
    """The part of a log to be returned, its layout, and its start position."""

    slice: Slice
    layout: layouts.Layout
    start: int


class ZktecoTerminal:
    """One conversation. Implements all interfaces of :mod:`drivers.base`."""

    def __init__(self, pyzk: Pyzk, transport: Transport, layout: str | None = None) -> None:
        """``layout`` is the configured layout of the log."""
        self._pyzk = pyzk
        self._transport = transport
        self._layout = layout
        self._sizes: Sizes | None = None
        self._unbuffered = False
        """The terminal has shown that it does not prepare tables."""
        self._table: Table | None = None
        self._slice: weakref.ref[Slice] | None = None
        """The current reading, as a weak reference: an unused log of megabytes is not kept in memory."""
        self._events_registered = False

    def serial(self) -> str:
        """Return the serial number; empty where the terminal does not report one."""
        return self._option(self._pyzk.get_serialnumber) or ""

    def identify(self) -> TerminalInfo:
        """Request everything that identifies the terminal; missing values are None."""
        return TerminalInfo(
            serial=self.serial(),
            model=self._option(self._pyzk.get_device_name),
            firmware=self._option(self._pyzk.get_firmware_version),
            platform=self._option(self._pyzk.get_platform),
        )

    def mac_address(self) -> str | None:
        """Return the MAC address that answers, as the kernel knows it; None where it lies behind a router."""
        return mac_address(self._transport.peer)

    def _option(self, query: Callable[[], str]) -> str | None:
        with translated_errors(self._transport):
            try:
                text = query().strip()
            except (PyzkRefusal, UnicodeDecodeError):
                return None
        return text if text.isascii() and text.isprintable() and text else None

    def read_clock(self) -> ClockReading | None:
        """Ask for the wall clock; None where it shows an impossible date."""
        with translated_errors(self._transport):
            begun = time.monotonic()
            data = self._pyzk.query(wire.CMD_GET_TIME)
            round_trip_s = time.monotonic() - begun
        moment = wire.decode_time(int.from_bytes(data[:4], "little")) if len(data) >= 4 else None
        return None if moment is None else ClockReading(moment, round_trip_s)

    def sizes(self) -> Sizes:
        """Ask how full the log is. One packet each way."""
        with translated_errors(self._transport):
            data = self._pyzk.query(wire.CMD_GET_FREE_SIZES)
            records, capacity = wire.decode_sizes(data)
        # Some Wi-Fi models (AK3750, WL10) answer four bytes of nothing, and do not prepare their log either.
        self._unbuffered = self._unbuffered or len(data) == 4
        self._sizes = Sizes(records, capacity)
        return self._sizes

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Read the log from position ``start``; ``layout`` is the one found earlier, if any.

        Only the bytes from ``start`` on travel. Where the terminal's counts do not prove which record is at
        ``start``, the whole log is read instead and ``Reading.start`` is 0. The layout of a long log is judged by
        pieces from all over it, before its first record is returned.
        """
        tries = READ_TRIES
        while True:
            tries -= 1
            count = (self._sizes or self.sizes()).records
            with translated_errors(self._transport):
                table = self._log(count)
                if not table.buffered:
                    # It may be anything: how it reads must decide alone.
                    count = None
                found = self._tail(table, start, count, layout) or self._whole_log(table, count, layout)
            # So few rows may read well in two layouts, and a count older than the last punch decides for the wrong one,
            # or for neither.
            settled = layout or self._layout or count is None or table.records_size > SHORT_LOG
            if settled or not tries or count == self.sizes().records:
                break
        if isinstance(found, UnreadableLog):
            with translated_errors(self._transport):  # adds the capture
                raise found
        self._sizes = None  # the next reading is not to be judged by a count as old as this one
        self._slice = weakref.ref(found.slice)
        return Reading(
            found.start,
            table.records_size // found.layout.stride,
            found.slice.records(found.layout),
            found.layout.name,
            by_uid=found.layout.by_uid,
            prepared_s=table.prepared_s,
        )

    def between(self, first: datetime, last: datetime, layout: str | None = None) -> list[Record] | None:
        """Read the records dated from ``first`` to ``last``; None where the terminal does not know how, as most do not.

        Times that a terminal cannot express are moved to the nearest it can.
        """
        first, last = (min(max(moment, wire.FIRST_TIME), wire.LAST_TIME) for moment in (first, last))
        with translated_errors(self._transport):
            table = self._prepare(wire.CMD_ATTLOG_BY_TIME, wire.encode_time(first), wire.encode_time(last))
            if not isinstance(table, Table):
                return None
            try:
                if table.records_size > MAX_RANGE:
                    return None
                body = table.slice().whole()
                found = layouts.choose_layout(layouts.Sample.whole(body), None, layout, self._layout)
            except (BadTable, wire.WireError):
                return None
            self._release_buffer()
        records = found.decode(body)
        if any(isinstance(record, RawPunch) and not first <= record.local_time <= last for record in records):
            return None
        return records

    def pins(self) -> Mapping[int, str]:
        """Read which PIN each internal user number stands for."""
        # The reading under way stays valid: what is missing of it must come before its buffer holds something else.
        if self._slice is not None and (part := self._slice()) is not None:
            part.fetch_all()
        # The user table holds names and passwords in clear: it is kept out of captures and forgotten here.
        with translated_errors(self._transport), self._transport.without_capture():
            users = self._users()
            if users.records_size > MAX_USER_TABLE:
                raise ProtocolError(f"a list of users of {users.records_size} bytes; {MAX_USER_TABLE} are believed")
            body = users.slice().whole()
            self._release_buffer()
            return wire.decode_pins(body)

    def set_clock(self, to: datetime) -> None:
        """Set the wall clock to ``to``, of the years 2000 to 2099; TerminalRefused where the terminal will not."""
        packed = wire.encode_time(to).to_bytes(4, "little")
        with translated_errors(self._transport), self._transport.setting_clock():
            try:
                self._pyzk.query(wire.CMD_SET_TIME, packed)
            except PyzkRefusal:
                raise TerminalRefused(
                    f"the terminal does not let its clock be set ({self._pyzk.response}); set it in its menu"
                ) from None
            # Some go by the new time only after this, others do not know it.
            with suppress(PyzkRefusal):
                self._pyzk.query(wire.CMD_REFRESHDATA)

    def events(self, timeout_s: float) -> Iterator[RawPunch | Hint]:
        """Yield punches as they happen for ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        with translated_errors(self._transport):
            if not self._events_registered:
                try:
                    self._pyzk.reg_event(wire.EF_ATTLOG)
                except PyzkRefusal:
                    raise TerminalRefused("the terminal does not report punches as they happen") from None
                self._events_registered = True
            while (packet := self._transport.next_event(deadline)) is not None:
                event = wire.decode_event(packet)
                if event is not None:
                    yield event

    def enable(self) -> None:
        """Enable the terminal: another program may have died and left it disabled, which locks people out."""
        # A terminal that does not know the command cannot be disabled either.
        with translated_errors(self._transport), suppress(PyzkRefusal):
            self._pyzk.enable_device()

    def close(self) -> None:
        """End the conversation: buffer freed, events unregistered. A terminal that does not answer is no error."""
        self._release_buffer()
        if self._events_registered:
            with suppress(DriverError), translated_errors(self._transport):
                self._pyzk.reg_event(0)
        with suppress(DriverError), translated_errors(self._transport):
            self._pyzk.disconnect()

    def _log(self, count: int | None) -> Table:
        """Return the log: prepared, or in one answer from terminals that do not prepare tables."""
        if self._unbuffered and isinstance(log := self._query_unbuffered(wire.CMD_ATTLOG_RRQ), Table):
            return log
        log = self._prepare(wire.CMD_ATTLOG_RRQ)
        if isinstance(log, Table):
            return log
        if log in UNBUFFERED_ANSWERS and not self._unbuffered:
            if count == 0:
                return Table(self._pyzk, self._transport, 0, 0.0, b"")  # nothing to prepare, as it says
            if isinstance(direct := self._query_unbuffered(wire.CMD_ATTLOG_RRQ), Table):
                return direct
        raise _prepare_error(log, "log")

    def _users(self) -> Table:
        """Return the user list, in the same two ways."""
        prepared = partial(self._prepare, wire.CMD_USERTEMP_RRQ, wire.FCT_USER)
        directly = partial(self._query_unbuffered, wire.CMD_USERTEMP_RRQ, wire.USER_LIST)
        first, second = (directly, prepared) if self._unbuffered else (prepared, directly)
        users = first()
        if users in UNBUFFERED_ANSWERS:
            users = second()
        if isinstance(users, Table):
            return users
        raise _prepare_error(users, "user list")

    def _prepare(self, what: int, first: int = 0, second: int = 0) -> Table | int:
        """Request that a table be prepared; where the terminal refuses, return the code of its answer."""
        self._release_buffer()
        begun = time.monotonic()
        code, data = self._pyzk.prepare(what, first, second)
        took_s = time.monotonic() - begun
        if code == wire.CMD_DATA:
            return Table(self._pyzk, self._transport, len(data), took_s, data)
        if code != wire.CMD_ACK_OK or len(data) < 5:
            return code
        self._table = Table(self._pyzk, self._transport, int.from_bytes(data[1:5], "little"), took_s)
        return self._table

    def _query_unbuffered(self, what: int, selector: bytes = b"") -> Table | int:
        """Request a table without a buffer; where the terminal refuses, return the code of its answer.

        A K40 answers with bytes that are not a log, after a correct count: the layout must always be verified.
        """
        self._release_buffer()
        begun = time.monotonic()
        try:
            data = self._pyzk.query(what, selector)
        except PyzkRefusal:
            return self._pyzk.response
        if self._pyzk.response != wire.CMD_DATA:
            return self._pyzk.response
        return Table(self._pyzk, self._transport, len(data), time.monotonic() - begun, data, buffered=False)

    def _release_buffer(self) -> None:
        self._slice = None
        if self._table is not None:
            self._table.close()
            self._table = None

    def _tail(self, table: Table, start: int, count: int | None, pinned: str | None) -> _LogPart | None:
        size = table.records_size
        layout = _layout_from_count(size, count, self._layout or pinned)
        if not start or layout is None or start > size // layout.stride:
            return None
        part = table.slice(start * layout.stride)
        return _LogPart(part, layout, start) if layouts.plausible(part.sample(layout.stride), layout) else None

    def _whole_log(self, table: Table, count: int | None, pinned: str | None) -> _LogPart | UnreadableLog:
        """Return the whole log; the error to raise where it fits no layout, since the count may be out of date."""
        part = table.slice()
        with suppress(wire.WireError):
            return _LogPart(part, layouts.choose_layout(part.sample(layouts.ALIGNMENT), count, pinned, self._layout), 0)
        # The pieces were not sufficient: the whole log decides, and is kept for analysis if it fits no layout.
        with _exclusive_if_long(part.size) as deadline:
            try:
                sample = layouts.Sample.whole(part.fetch_all(deadline))
                return _LogPart(part, layouts.choose_layout(sample, count, pinned, self._layout), 0)
            except wire.WireError as exc:
                reason = str(exc)
            size, body = part.size, part.discard(MAX_KEPT_BODY)
        hint = (
            "correct `layout:`, or take it out to have it found"
            if self._layout
            else "write `layout:` if you know it, otherwise somebody must look at the bytes"
        )
        cut = f"; of {size} bytes the first {len(body)} are kept" if len(body) < size else ""
        return UnreadableLog(f"{reason}; {hint}{cut}", body)


@contextmanager
def _exclusive_if_long(size: int) -> Iterator[float]:
    """Admit one long log at a time into memory; yield the monotonic time at which it must be released.

    TerminalUnavailable where another long log is not released in time.
    """
    if size <= LONG_LOG:
        yield math.inf
        return
    if not _long_log.acquire(timeout=LONG_LOG_WAIT_S):
        raise TerminalUnavailable(
            "the unreadable log of another terminal is being looked through; this one comes later"
        )
    try:
        yield time.monotonic() + LONG_LOG_TIMEOUT_S
    finally:
        _long_log.release()


def _layout_from_count(size: int, count: int | None, pinned: str | None) -> layouts.Layout | None:
    """Return the layout that makes ``size`` bytes ``count`` records, or a few more; None where there is doubt."""
    fitting = layouts.layouts_for(size, count)
    if pinned is not None:
        return next((layout for layout in fitting if layout.name == pinned), None)
    return fitting[0] if len(fitting) == 1 else None


def _prepare_error(code: int, what: str) -> DriverError:
    if code == 4989:
        return TerminalRefused(
            f"the terminal will not send its {what} (4989): it is in access-control mode, or has no memory left to "
            "prepare it; set its device type to time attendance (T&A), or restart it"
        )
    return ProtocolError(f"the terminal answers {code} where it should prepare its {what}")


@contextmanager
def connect(options: ZktecoOptions) -> Iterator[ZktecoTerminal]:
    """Open a conversation with the terminal; the end of the block closes it and restores the terminal."""
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
        _handshake(pyzk, transport)
        terminal = ZktecoTerminal(pyzk, transport, options.layout)
        try:
            terminal.enable()
            yield terminal
        except DriverError:
            transport.cap_timeouts(CLOSE_AFTER_ERROR_TIMEOUT_S)
            raise
        finally:
            transport.cap_timeouts(CLOSE_TIMEOUT_S)
            terminal.close()
    finally:
        transport.close()


def _handshake(pyzk: Pyzk, transport: Transport) -> None:
    with translated_errors(transport):
        try:
            pyzk.connect()
        except PyzkRefusal:
            if pyzk.response == wire.CMD_ACK_UNAUTH:
                raise TerminalRefused(
                    "the terminal refuses the communication key; compare comm_key_file with the key in its menu "
                    "(Comm. > PC connection)",
                    reason=Reason.KEY_REFUSED,
                ) from None
            if pyzk.response in wire.SECURE_ANSWERS:
                raise TerminalRefused(
                    f"the terminal's firmware wants an encrypted conversation ({pyzk.response}), which this version "
                    "does not speak; switch it off in the terminal's menu, or use its PUSH mode",
                    reason=Reason.ENCRYPTED,
                ) from None
            raise ProtocolError(f"the terminal answers {pyzk.response} where a conversation should begin") from None
