"""The driver of terminals that speak ZKTeco PUSH: they call the receiver, and keep punches until these are stored.

A terminal continues at the stamp that it is sent when it begins; the stamps are stored with the punches. Its log has no
positions. It counts the punches of a span of time on request, and sends them again: the nightly reconciliation.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Condition
from typing import NamedTuple, Self

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from drivers.base import (
    CallerPort,
    ClockReading,
    Delivered,
    Delivery,
    Driver,
    Notice,
    Reason,
    Settlement,
    Sizes,
    SpanAnswer,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.push.session import REFUSED, Batch, Command, Session
from drivers.receiver.caller import CallerOptions
from drivers.receiver.registry import Exchange, Serial
from drivers.textfile import TextFileError, read_secret

LOST_S = 150.0
"""A terminal that has not called for this time counts as lost; it calls every 15 s, and 60 s after an error."""
WAITING_MAX = 4
"""Uploads that may wait for the worker; a terminal sends one at a time."""
NOTICES_MAX = 20
KEY_MOST = 64


class PushOptions(CallerOptions):
    """Options of a terminal that calls the receiver and speaks ZKTeco PUSH."""

    serial: str | None = None
    """The serial number that the terminal calls with."""
    comm_key_file: Path | None = None
    """A file with the key that the terminal sends as pushcommkey; null: no key."""

    @model_validator(mode="after")
    def _serial_is_known(self) -> Self:
        if self.serial is None:
            raise ValueError(
                "serial is missing; a terminal that calls is known by its serial number: Menu > System Info > Device"
            )
        return self

    def key(self) -> Serial:
        """Return the serial number."""
        return Serial(self.serial or "")

    @staticmethod
    def read_comm_key(path: Path) -> str:
        """Read a key of up to 64 printable characters."""
        text = read_secret(path).strip()
        if not (text.isascii() and text.isprintable() and 1 <= len(text) <= KEY_MOST):
            raise TextFileError(f"the file holds no communication key; write up to {KEY_MOST} letters and digits in it")
        return text

    def comm_key(self) -> str | None:
        """Read the communication key; TerminalRefused where the file is gone or holds something else."""
        if self.comm_key_file is None:
            return None
        try:
            return self.read_comm_key(self.comm_key_file)
        except (OSError, TextFileError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
            raise TerminalRefused(
                f"the communication key cannot be read from {self.comm_key_file} ({reason})", reason=Reason.KEY_FILE
            ) from exc


class _Upload(NamedTuple):
    """A batch that waits for the worker."""

    batch: Batch
    exchange: Exchange
    """Where its reply goes."""


class PushCaller:
    """A terminal as long as the gateway serves it; made by :func:`attach`. Thread-safe."""

    def __init__(
        self, options: PushOptions, port: CallerPort, monotonic_s: Callable[[], float], lost_s: float = LOST_S
    ) -> None:
        self._lost_s = lost_s
        self._options = options
        self._port = port
        self._monotonic_s = monotonic_s
        self._begun_s = monotonic_s()
        self._arrived = Condition()
        self._waiting: deque[_Upload] = deque()
        self._notices: deque[Notice] = deque(maxlen=NOTICES_MAX)
        self.command: Command | None = None
        """The outstanding request, or the last one whose result was not fetched."""
        self.session = Session(
            options.serial or "",
            port.zone,
            deliver=self._deliver,
            notice=self._note,
            wake=port.wake,
            silence_s=lost_s / 2,
            monotonic_s=monotonic_s,
            trusted_now=port.trusted_now,
            first_number=int(time.time()),
            sets_clock=port.sets_clock,
        )

    @contextmanager
    def connect(self) -> Iterator["PushTerminal"]:
        """Begin a visit; TerminalUnavailable where the terminal has not called for so long."""
        self.session.allow(self._options.comm_key())
        self.check_contact()
        yield PushTerminal(self, self._options)

    def check_contact(self) -> None:
        """Raise TerminalUnavailable where the terminal has not called for so long that it counts as lost."""
        last_s = self.session.last_call_s
        silent_s = self._monotonic_s() - (self._begun_s if last_s is None else last_s)
        if silent_s > self._lost_s:
            never = "" if last_s is not None else ", not once since the gateway serves it"
            raise TerminalUnavailable(
                f"the terminal has not called for {silent_s:.0f} s{never}", reason=Reason.NOT_CALLED
            )

    @property
    def has_called(self) -> bool:
        """Whether the terminal has called since the gateway serves it."""
        return self.session.last_call_s is not None

    def reading(self) -> ClockReading | None:
        """Return the last estimate of the terminal's clock."""
        return self.session.clock.reading(self._monotonic_s())

    def taken(self, timeout_s: float) -> Notice | _Upload | None:
        """Return what has arrived; None where nothing does within ``timeout_s`` seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._notices, timeout_s)
            if self._notices:
                return self._notices.popleft()
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Refuse what waits; the terminal sends it again."""
        with self._arrived:
            waiting, self._waiting = list(self._waiting), deque()
        for upload in waiting:
            upload.exchange.reply(REFUSED)

    # Called by the receiver's loop, through the session.

    def _deliver(self, batch: Batch, exchange: Exchange) -> bool:
        with self._arrived:
            while self._waiting and not self._waiting[0].exchange.is_open:
                self._waiting.popleft()  # held too long: its terminal sends it again
            if len(self._waiting) >= WAITING_MAX:
                return False
            self._waiting.append(_Upload(batch, exchange))
            self._arrived.notify_all()
        self._port.wake()
        return True

    def _note(self, notice: Notice) -> None:
        with self._arrived:
            self._notices.append(notice)
            self._arrived.notify_all()
        self._port.wake()


class PushTerminal:
    """The terminal during one visit."""

    def __init__(self, caller: PushCaller, options: PushOptions) -> None:
        self._caller = caller
        self._options = options

    def serial(self) -> str:
        """Return the serial number, by which the terminal's calls are known."""
        return self._options.serial or ""

    def identify(self) -> TerminalInfo:
        """Return what the terminal reported of itself since the gateway serves it."""
        known = self._caller.session.options
        return TerminalInfo(self.serial(), known.model, known.firmware, known.platform)

    def read_clock(self) -> ClockReading | None:
        """Return the estimate from punches that were sent at once; None where there is none yet."""
        return self._caller.reading()

    def resume(self, marks: Mapping[str, str]) -> None:
        """Receive the stored stamps; before that the terminal is refused."""
        self._caller.session.resume(marks)

    def deliveries(self, timeout_s: float) -> Generator[Delivered, None, None]:
        """Yield uploads of punches, and notices; return when ``timeout_s`` seconds have passed."""
        caller = self._caller
        deadline_s = time.monotonic() + timeout_s
        while (item := caller.taken(max(0.0, deadline_s - time.monotonic()))) is not None:
            if isinstance(item, Notice):
                yield item
                continue
            # A batch that was held too long is left out: its terminal sends it again.
            if item.exchange.is_open:
                yield from self._offered(item)
        caller.check_contact()

    def _offered(self, upload: _Upload) -> Generator[Delivery, None, None]:
        def settle(_settlement: Settlement) -> bool:
            self._caller.session.stored(upload.batch)
            return upload.exchange.reply(upload.batch.reply)

        def refuse() -> None:
            upload.exchange.reply(REFUSED)

        with Delivery(upload.batch.records, "push", mark=upload.batch.mark, settle=settle, refuse=refuse) as delivery:
            yield delivery

    def log_sizes(self) -> Sizes:
        """Return the number of records and the capacity that it last reported; old firmware reports neither."""
        known = self._caller.session.options
        return Sizes(known.records, known.capacity)

    def request(self, first: datetime, last: datetime, *, again: bool) -> bool:
        """Request the number of the punches of a span, or the punches; see :class:`drivers.base.Recountable`."""
        caller = self._caller
        if caller.command is not None and not caller.command.is_over:
            return False
        verb = "DATA QUERY ATTLOG" if again else "VERIFY SUM ATTLOG"
        caller.command = caller.session.request(verb, first, last)
        return True

    def answer(self) -> SpanAnswer | None:
        """Return the result of the last request, once; None while it is outstanding."""
        caller = self._caller
        caller.session.expire()
        command = caller.command
        if command is not None and not command.is_over:
            return None
        caller.command = None
        if command is None or command.result is None:
            return SpanAnswer(None)
        return SpanAnswer(command.lines if command.verb == "DATA QUERY ATTLOG" else command.result.records)


@contextmanager
def attach(
    options: PushOptions,
    port: CallerPort,
    monotonic_s: Callable[[], float] = time.monotonic,
    *,
    lost_s: float = LOST_S,
) -> Iterator[PushCaller]:
    """Serve the terminal within the block; it counts as lost after ``lost_s`` seconds without a call."""
    caller = PushCaller(options, port, monotonic_s, lost_s)
    try:
        with port.register(options.key(), caller.session):
            yield caller
    finally:
        caller.close()


@contextmanager
def connect(options: PushOptions) -> Iterator[PushTerminal]:
    """Raise TerminalUnavailable: only the gateway's receiver can be called."""
    raise TerminalUnavailable(
        f"{options.name}: a terminal of this kind cannot be called; it calls the gateway's receiver by itself"
    )
    yield  # makes this a generator


def at(address: str) -> PushOptions:
    """Raise ValidationError: no address reaches such a terminal."""
    text = "a terminal of this family cannot be called; it calls the gateway: docs/push.md"
    details = InitErrorDetails(type=PydanticCustomError("not_callable", text), input=address)
    raise ValidationError.from_exception_data("push", [details])


DRIVER = Driver("push", PushOptions, connect, at=at, via="push", attach=attach, has_log=False)
