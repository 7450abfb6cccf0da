"""A conversation with an Anviz terminal: small requests, its log in batches, live records in between.

The log can be downloaded from its beginning only, or from the first record that is marked *new*. Marks are taken away
from the oldest records when these are stored, so that *new* is always the end of the log, and few.
"""

import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from drivers.anviz import wire
from drivers.anviz.transport import DEFAULT_TCP_PORT, DamagedAnswer, Line, shared_line
from drivers.base import (
    OVERLAP,
    ClockReading,
    Delivery,
    Driver,
    DriverOptions,
    Hint,
    Labels,
    ProtocolError,
    RawPunch,
    Reading,
    Record,
    Sizes,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.ports import checked_port, same_port
from drivers.values import STRICT, Seconds, duration_between, parse_duration, refuse_newly

LAYOUT = "14"
TRIES = 3
"""Attempts for a request whose answer is damaged in transmission."""

RETURN_CODES = {
    0x01: "failure",
    0x04: "memory full",
    0x05: "empty",
    0x06: "no such user",
    0x08: "time-out",
    0x0A: "user exists",
    0x0B: "finger exists",
    0x0F: "USB locked",
}


def _checked(port: str, info: ValidationInfo) -> str:
    return checked_port(port, info, DEFAULT_TCP_PORT)


def _is_written_as_a_day(value: object, info: ValidationInfo) -> object:
    """Refuse the numbers that a date can be made of too: seconds since 1970."""
    if not isinstance(value, date) and not (isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
        refuse_newly(info, "not a date; write it as YYYY-MM-DD, such as 2000-01-02")
    return value


def _is_an_epoch(value: date, info: ValidationInfo) -> date:
    if not date(1970, 1, 1) <= value <= date(2030, 1, 1):
        refuse_newly(info, "no terminal counts from this day; write 2000-01-02 or 2000-01-01")
    return value


Pause = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, le=5, allow_inf_nan=False),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s)$", "examples": ["200ms", "0s"]}),
]


class AnvizOptions(DriverOptions):
    """Options of an Anviz terminal."""

    port: Annotated[str, AfterValidator(_checked), Field(examples=["/dev/ttyUSB0", "tcp://192.168.1.218:5010"])]
    """The serial port it hangs on, or ``tcp://host`` with ``:port`` where that is not 5010."""
    baudrate: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    """Speed of a serial line, as set at the terminal; 8 bits, no parity, 1 stop bit."""
    device_id: Annotated[int, Field(strict=True, ge=1, le=0xFFFFFFFF)] = 1
    """The terminal's number on the line, as set in its menu."""
    epoch: Annotated[date, BeforeValidator(_is_written_as_a_day), AfterValidator(_is_an_epoch)] = wire.EPOCH
    """The day from which its records count; 2000-01-01 where they come out a day late."""
    turnaround: Pause = 0.2
    """Silence between an answer and the next request, which RS-485 needs; 0s on a line with one terminal is faster."""
    timeout: Annotated[Seconds, duration_between("100ms", "1m")] = 3.0
    """Bound on one small request and its answer; terminals on the same line wait as long for one that is silent."""
    bulk_timeout: Annotated[Seconds, duration_between("100ms", "10m")] = 5.0
    """Bound on one batch of records, 25 at most."""

    def place(self) -> str:
        """Return the port, and the terminal's number on its line."""
        return f"{same_port(self.port, DEFAULT_TCP_PORT)}#{self.device_id}"


class AutoDeviceId(AnvizOptions):
    """Options without a device id: the terminal is queried for it."""

    device_id: Literal[0] = 0


class AnvizTerminal:
    """One conversation. Implements Terminal, Logged, Delivering and Live of :mod:`drivers.base`."""

    def __init__(self, line: Line, channel: int, options: AnvizOptions) -> None:
        self._line = line
        self._channel = channel
        self._options = options
        self._download: _Download | None = None

    def serial(self) -> str:
        """Return the serial number; empty where the terminal does not report one."""
        return self._text(wire.CMD_SERIAL) or ""

    def identify(self) -> TerminalInfo:
        """Request everything that identifies the terminal; missing values are None."""
        return TerminalInfo(
            serial=self.serial(),
            model=self._text(wire.CMD_MODEL),
            firmware=self._text(wire.CMD_INFO, 8),
        )

    def _text(self, command: int, length: int | None = None) -> str | None:
        try:
            return wire.decode_text(self.query(command)[:length])
        except ErrorAnswer:
            return None

    def read_clock(self) -> ClockReading | None:
        """Ask for the wall clock; None where it shows an impossible date."""
        begun = time.monotonic()
        data = self.query(wire.CMD_CLOCK)
        round_trip_s = time.monotonic() - begun
        with _wire_errors_translated():
            moment = wire.decode_clock(data)
        return None if moment is None else ClockReading(moment, round_trip_s)

    def sizes(self) -> Sizes:
        """Request the number of records, and of new ones. The protocol does not report the capacity."""
        info = self._record_info()
        return Sizes(info.records, None, info.new)

    def read(self, start: int = 0, layout: str | None = None) -> Reading:  # noqa: ARG002 - there is one layout
        """Read the whole log: it can be downloaded from its beginning only, so ``Reading.start`` is 0."""
        total = self._record_info().records
        return Reading(0, total, self._begin(wire.ALL, total), LAYOUT)

    def deliveries(self, timeout_s: float) -> Generator[Delivery, None, None]:  # noqa: ARG002 - nothing is waited for
        """Yield the records that are marked new, as one delivery: those at the end of the log that were not settled."""
        info = self._record_info()
        download = self._begin(wire.NEW, info.new)
        with Delivery(
            download,
            "serial",
            info.records - info.new,
            total=info.records,
            layout=LAYOUT,
            settle=lambda _settlement: self._unmark(download),
        ) as delivery:
            yield delivery

    def _unmark(self, download: "_Download") -> bool:
        """Take the mark *new* from all records of a download but the last :data:`OVERLAP`.

        RuntimeError where some of them were not handed out: those cannot have been stored. Never repeated: if the
        answer is lost, the marks may be gone, and those of the next records would follow.
        """
        if download.is_over or download.handed_out < len(download):
            raise RuntimeError(f"{len(download)} records are settled, {download.handed_out} were handed out")
        count = len(download) - OVERLAP
        if count > 0:
            data = bytes((wire.FLAGS_OF_OLDEST,)) + count.to_bytes(3, "big")
            _success_data(self._line.query(self._channel, wire.CMD_CLEAR, data, self._options.timeout))
        return True

    def events(self, timeout_s: float) -> Iterator[RawPunch | Hint]:
        """Yield punches as they happen for ``timeout_s`` seconds.

        A terminal sends them if its real-time mode is on; otherwise its log is read.
        """
        deadline = time.monotonic() + timeout_s
        while (frame := self._line.next_event(self._channel, deadline)) is not None:
            record = wire.decode_record(frame.data, self._options.epoch)
            yield record if isinstance(record, RawPunch) else Hint(record.reason)

    def query(self, command: int, data: bytes = b"") -> bytes:
        """Send a request that may be repeated, and return the data of the answer; ErrorAnswer for an error code."""
        tries = TRIES
        while True:
            tries -= 1
            try:
                return _success_data(self._line.query(self._channel, command, data, self._options.timeout))
            except DamagedAnswer:
                if not tries:
                    raise

    def batch(self, parameter: int, count: int) -> list[bytes]:
        """Request up to ``count`` records once; DamagedAnswer where the answer is lost."""
        request = bytes((parameter, count))
        answer = self._line.query(self._channel, wire.CMD_RECORDS, request, self._options.bulk_timeout)
        with _wire_errors_translated():
            return wire.split_batch(_success_data(answer))

    def _record_info(self) -> wire.RecordInfo:
        with _wire_errors_translated():
            return wire.decode_record_info(self.query(wire.CMD_RECORD_INFO))

    def _begin(self, parameter: int, count: int) -> "_Download":
        if self._download is not None:
            self._download.is_over = True
        self._download = _Download(self, parameter, count, self._options.epoch)
        return self._download


class ErrorAnswer(ProtocolError):  # noqa: N818 - says what was met
    """The terminal answers a request with an error."""


class _Download:
    """The records of one download, fetched as they are iterated; received ones are kept, 14 bytes each in a buffer."""

    def __init__(self, terminal: AnvizTerminal, parameter: int, count: int, epoch: date) -> None:
        self.handed_out = 0
        self.is_over = False
        """Another download has begun: the terminal would go on with that one."""
        self._terminal = terminal
        self._parameter = parameter
        self._count = count
        self._epoch = epoch
        self._raw = bytearray()
        self._first: list[bytes] = []
        self._last: list[bytes] = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        for index in range(self._count):
            at = index * wire.RECORD
            if at == len(self._raw):
                self._fetch()
            self.handed_out = max(self.handed_out, index + 1)
            yield wire.decode_record(bytes(self._raw[at : at + wire.RECORD]), self._epoch)

    def _fetch(self) -> None:
        if self.is_over:
            raise RuntimeError("this reading is over: another one has begun")
        received = len(self._raw) // wire.RECORD
        wanted = min(wire.BATCH, self._count - received)
        batch = self._next(wanted) if self._raw else self._beginning(wanted)
        if not batch:
            raise ProtocolError(f"the terminal counts {self._count} records and sends {received}")
        self._raw += b"".join(batch[:wanted])
        self._last = batch

    def _beginning(self, wanted: int) -> list[bytes]:
        for _ in range(TRIES - 1):
            try:
                self._first = self._terminal.batch(self._parameter, wanted)
            except DamagedAnswer:
                continue
            return self._first
        self._first = self._terminal.batch(self._parameter, wanted)
        return self._first

    def _next(self, wanted: int) -> list[bytes]:
        """Ask for the next batch, and where it is damaged for the same again, without skipping or doubling any."""
        parameter = wire.CONTINUE
        for _ in range(TRIES):
            try:
                batch = self._terminal.batch(parameter, wanted)
            except DamagedAnswer:
                parameter = wire.RESEND
                continue
            if len(set(batch)) > 1 and batch in (self._last, self._first):
                if parameter != wire.RESEND:
                    # It restarted, or a late answer to an earlier request came in place of this one.
                    raise TerminalUnavailable("the terminal sends records again that were not requested again")
                # Not the answer was lost but the request: the terminal repeats what it sent before.
                parameter = wire.CONTINUE
                continue
            return batch
        raise DamagedAnswer(f"a batch of records was damaged on its way {TRIES} times")


def _success_data(answer: wire.Frame) -> bytes:
    if answer.ret == wire.RET_SUCCESS:
        return answer.data
    meaning = RETURN_CODES.get(answer.ret, f"{answer.ret:#04x}")
    raise ErrorAnswer(f"the terminal answers {meaning!r} to command {answer.command - wire.ANSWER:#04x}")


@contextmanager
def _wire_errors_translated() -> Iterator[None]:
    """Turn what the bytes of an answer do not allow into a ProtocolError."""
    try:
        yield
    except wire.WireError as exc:
        raise ProtocolError(f"the answer could not be understood: {exc}") from exc


@contextmanager
def connect(options: AnvizOptions) -> Iterator[AnvizTerminal]:
    """Open a conversation with the terminal; other terminals on the same line are served meanwhile."""
    with shared_line(
        options.port, baudrate=options.baudrate, turnaround_s=options.turnaround, timeout_s=options.timeout
    ) as line:
        channel = options.device_id or query_device_id(line, options.timeout)
        with line.listening(channel):
            yield AnvizTerminal(line, channel, options)


def query_device_id(line: Line, timeout_s: float) -> int:
    """Query the only device on a line for its number."""
    try:
        answer = line.query(wire.BROADCAST, wire.CMD_DEVICE_ID, b"", timeout_s)
    except DamagedAnswer as exc:
        raise TerminalRefused(
            "several terminals answer at once, or at another speed; configure each with its device_id and baudrate"
        ) from exc
    return int.from_bytes(_success_data(answer)[-4:], "big") or answer.channel


def _at(port: str) -> AnvizOptions:
    return AutoDeviceId.model_validate({"name": port, "port": port}, context={STRICT: True})


DRIVER = Driver(
    name="anviz",
    options=AnvizOptions,
    connect=connect,
    at=_at,
    via="serial",
    # States above 1 mean something else in every language of the firmware.
    labels=Labels(
        state={0: "check_in", 1: "check_out"},
        verify={1: "fingerprint", 2: "fingerprint", 4: "password", 8: "card"},
    ),
)
