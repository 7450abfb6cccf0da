"""A receive-only line: the terminal sends each punch once; nothing can be requested.

There is no log. A punch that is sent while no reader has the port open is lost; no driver can change that.
"""

import re
import select
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from drivers.base import BadRecord, ClockReading, Delivery, Driver, DriverOptions, TerminalInfo, TerminalUnavailable
from drivers.line.bounded_pattern import BoundedPattern
from drivers.line.wire import GROUPS, Checksum, FrameReader, Framing, LineEvent, MessageParser
from drivers.ports import Port, checked_port, open_port, same_port
from drivers.values import refuse_newly

MESSAGE_GAP_S = 2.0
"""A message ends after this time without a byte: the slowest line needs 40 ms for a byte."""
MAX_UNREADABLE_PER_MINUTE = 10
"""Unreadable messages that are yielded one by one in a minute; the rest of that minute is one record."""
MAX_KEPT_NOISE = 1024


BAUDRATES = frozenset(
    (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600)
)
"""Speeds that serial adapters have."""
_SAMPLES = (datetime(2026, 11, 29, 7, 30, 15), datetime(2027, 1, 2, 16, 5, 59))  # noqa: DTZ001 - a terminal's wall clock has no zone
_WITH_YEAR = frozenset("YyGcx")
"""Directives of ``strptime`` that contain the year."""
_DATE_LETTERS = {"dd": "%d", "mm": "%m", "yyyy": "%Y", "yy": "%y"}
_TIME_LETTERS = {"hh": "%H", "mm": "%M", "ss": "%S"}


def _port(value: str, info: ValidationInfo) -> str:
    return checked_port(value, info)


def _baudrate(value: int, info: ValidationInfo) -> int:
    if value not in BAUDRATES:
        refuse_newly(info, f"not a speed of serial lines; write one of {', '.join(map(str, sorted(BAUDRATES)))}")
    return value


def _round_trips(form: str, sample: datetime, part: str) -> bool:
    """Return whether a moment formatted with ``form`` is parsed to the same value; ``part`` is date or time."""
    directives = set(re.findall("%(.)", form, re.DOTALL))
    if part == "date" and not directives & _WITH_YEAR:
        return False  # Python 3.13 warns of such formats; without a year 29 February cannot be read at all
    try:
        again = datetime.strptime(sample.strftime(form), form)  # noqa: DTZ007 - as above
    except (ValueError, re.error, IndexError, KeyError):  # an invalid or repeated directive
        return False
    if part == "date":
        return again == datetime.combine(sample.date(), datetime.min.time())
    return again.time() in (sample.time(), sample.time().replace(second=0)) and again.tzinfo is None


def _format(part: Literal["date", "time"], letters: Mapping[str, str], usual: str) -> AfterValidator:
    """Refuse formats in which the day, or the time of day, is not parsed to the value that was formatted."""

    def check(form: str, info: ValidationInfo) -> str:
        if not all(_round_trips(form, sample, part) for sample in _SAMPLES):
            better = re.sub("|".join(letters), lambda match: letters[match[0].lower()], form, flags=re.IGNORECASE)
            better = better if all(_round_trips(better, sample, part) for sample in _SAMPLES) else usual
            refuse_newly(info, f"a {part} that is written like this cannot be read again; write {better}")
        return form

    return AfterValidator(check)


def _pattern(value: str) -> str:
    try:
        names = set(re.compile(value).groupindex)
    except (re.error, OverflowError, RecursionError) as exc:
        raise ValueError(f"not a regular expression: {' '.join(str(exc).split())}") from None
    if not names & {"pin", "card"}:
        raise ValueError("names nobody; write a group (?P<pin>…), or (?P<card>…) where there is no PIN")
    if unknown := names - GROUPS:
        raise ValueError(f"has the group {min(unknown)}; the groups are {', '.join(sorted(GROUPS))}")
    if len(names & {"date", "time"}) == 1:
        raise ValueError("has only one of date and time; write both groups, or neither for the gateway's own time")
    return value


class LineOptions(DriverOptions):
    """Options of a terminal that sends each punch as a line of text."""

    port: Annotated[str, AfterValidator(_port), Field(examples=["/dev/ttyUSB0", "tcp://192.168.1.70:4001"])]
    """The serial device, or a converter on the network as tcp://host:port."""
    pattern: Annotated[str, AfterValidator(_pattern)]
    """A regular expression for a whole message, with groups: pin, card, date, time, state, verify, work_code."""
    baudrate: Annotated[int, Field(strict=True, ge=300, le=921_600), AfterValidator(_baudrate)] = 9600
    """Speed of the serial device."""
    framing: Framing = "line"
    """Framing of a message: line (CR, LF or both after it) or stx (STX before, ETX after it)."""
    checksum: Checksum = "none"
    """Checksum of a message: xor, sum8 or crc16 (Modbus)."""
    encoding: Literal["ascii", "latin-1", "utf-8"] = "ascii"
    """Character encoding of a message."""
    date_format: Annotated[str, _format("date", _DATE_LETTERS, "%Y-%m-%d")] = "%Y-%m-%d"
    """Format of the group date, such as %d/%m/%y."""
    time_format: Annotated[str, _format("time", _TIME_LETTERS, "%H:%M:%S")] = "%H:%M:%S"
    """Format of the group time."""
    serial: str | None = None
    """A serial number for the terminal, without which no punch has an identity."""

    @model_validator(mode="after")
    def _serial_is_known(self) -> Self:
        if self.serial is None:
            raise ValueError(
                "serial is missing; a line does not report which terminal it is, so write the terminal's serial number"
            )
        return self

    def place(self) -> str:
        """Return the port."""
        return same_port(self.port)


class LineTerminal:
    """One open line. Made by :func:`connect`."""

    def __init__(self, port: Port, options: LineOptions) -> None:
        self._port = port
        self._options = options
        self._reader = FrameReader(options.framing, options.checksum)
        self._pattern = BoundedPattern(options.pattern)
        self._parser = MessageParser(self._pattern, options.encoding, options.date_format, options.time_format)
        self._last_received_at = 0.0
        self._unreadable_times: deque[float] = deque()
        self._unreadable_batch: _UnreadableBatch | None = None
        self._unsettled: list[LineEvent] = []
        """Events that were delivered and are not stored; the terminal never sends them again."""

    def close(self) -> None:
        """End the process that matches the pattern, if there is one."""
        self._pattern.close()

    def serial(self) -> str:
        """Return an empty text: a line does not report one."""
        return ""

    def identify(self) -> TerminalInfo:
        """Return the configured serial number; a line reports nothing else."""
        return TerminalInfo(self._options.serial or "", None, None)

    def read_clock(self) -> ClockReading | None:
        """Return None: a line cannot be queried."""
        return None

    def deliveries(self, timeout_s: float) -> Generator[Delivery, None, None]:
        """Yield each event as a delivery, first those that were refused; return when ``timeout_s`` have passed."""
        for event in self._unsettled.copy():
            yield from self._offer(event)
        for event in self._events(timeout_s):
            self._unsettled.append(event)
            yield from self._offer(event)

    def _offer(self, event: LineEvent) -> Generator[Delivery, None, None]:
        with Delivery((event,), "serial", settle=lambda _settlement: self._forget(event)) as delivery:
            yield delivery

    def _forget(self, event: LineEvent) -> bool:
        self._unsettled.remove(event)
        return True

    def _events(self, timeout_s: float) -> Iterator[LineEvent]:
        """Yield the events received from now on; return when ``timeout_s`` seconds have passed."""
        deadline = time.monotonic() + timeout_s
        while True:
            until = min(deadline, self._last_received_at + MESSAGE_GAP_S) if self._reader.missing else deadline
            try:
                ready, _, _ = select.select((self._port.fileno(),), (), (), max(0.0, until - time.monotonic()))
                data = self._port.receive() if ready else b""
            except (OSError, ValueError) as exc:  # ValueError: the port has closed itself and has no number any more
                yield from self._remaining()
                raise TerminalUnavailable(f"{self._options.port}: the line is lost ({exc})") from exc
            if ready:
                self._last_received_at = time.monotonic()
                for message in self._reader.feed(data):
                    yield from self._bounded(self._parser.read(message))
            elif self._reader.missing and time.monotonic() - self._last_received_at >= MESSAGE_GAP_S:
                for message in self._reader.pause():
                    yield from self._bounded(self._parser.read(message))
            if self._unreadable_batch is not None and time.monotonic() >= self._unreadable_batch.until:
                yield self._unreadable_batch.record()
                self._unreadable_batch = None
            if time.monotonic() >= deadline:
                return

    def _bounded(self, event: LineEvent) -> Iterator[LineEvent]:
        """Yield the event; during a continuous fault only a limited number of unreadable ones a minute."""
        if not isinstance(event, BadRecord):
            yield event
            return
        now = time.monotonic()
        while self._unreadable_times and now - self._unreadable_times[0] > 60:
            self._unreadable_times.popleft()
        if self._unreadable_batch is None and len(self._unreadable_times) < MAX_UNREADABLE_PER_MINUTE:
            self._unreadable_times.append(now)
            yield event
            return
        self._unreadable_batch = self._unreadable_batch or _UnreadableBatch(now + 60)
        self._unreadable_batch.add(event.raw)

    def _remaining(self) -> Iterator[LineEvent]:
        for message in self._reader.pause():
            yield from self._bounded(self._parser.read(message))
        if self._unreadable_batch is not None:
            yield self._unreadable_batch.record()
            self._unreadable_batch = None


class _UnreadableBatch:
    """Unreadable messages of one minute, collected in one record."""

    def __init__(self, until: float) -> None:
        self.until = until
        self._count = 0
        self._kept = b""
        self._size = 0
        self._hash = sha256()

    def add(self, raw: bytes) -> None:
        self._count += 1
        self._size += len(raw)
        self._hash.update(raw)
        self._kept += raw[: MAX_KEPT_NOISE - len(self._kept)]

    def record(self) -> BadRecord:
        reason = f"{self._count} messages within a minute that cannot be read"
        return BadRecord(self._kept, self._hash.digest(), reason, self._size, self._hash.hexdigest())


@contextmanager
def connect(options: LineOptions) -> Iterator[LineTerminal]:
    """Open the line; TerminalUnavailable where the port is missing or in use by another program."""
    port = open_port(options.port, options.baudrate, options.timeout)
    try:
        terminal = LineTerminal(port, options)
        try:
            yield terminal
        finally:
            terminal.close()
    finally:
        port.close()


DRIVER = Driver("line", LineOptions, connect, has_log=False, has_serial=False)
