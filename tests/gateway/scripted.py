"""A terminal that does what a test writes down: for what no simulator should be made to do on its own."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drivers.base import (
    ClockReading,
    Driver,
    DriverError,
    DriverOptions,
    Hint,
    RawPunch,
    Reading,
    Record,
    Sizes,
    TerminalInfo,
)

ZONE = ZoneInfo("Asia/Jakarta")


def record(pin: object, moment: datetime, state: int = 0) -> RawPunch:
    """Return a punch as a driver reads it."""
    return RawPunch(str(pin), None, moment, state, 1, "0", f"{pin}{moment}".encode())


def history(count: int, moment: datetime) -> list[Record]:
    """Return a log of punches, one a minute."""
    return [record(1001 + index % 50, moment + timedelta(minutes=index)) for index in range(count)]


@dataclass
class Script:
    """What a terminal holds, how it answers, and what was requested of it."""

    log: list[Record] = field(default_factory=list)
    capacity: int | None = 100_000
    off: timedelta = timedelta(0)
    """Its clock minus the machine's."""
    prepared_s: float = 0.0
    settable: bool = False
    between: Callable[[datetime, datetime], list[Record] | None] | None = None
    """Answers readings by date; None: a terminal without them."""
    travel: Callable[[int], None] = lambda _position: None
    """Called before each record of a reading is handed out, with its position; may raise."""
    refusal: DriverError | None = None
    """What reading the log ends with."""
    silence: DriverError | None = None
    """What asking for the clock ends with."""
    reads: list[int] = field(default_factory=list)
    """Where each requested reading was to begin."""
    ranges: list[tuple[datetime, datetime]] = field(default_factory=list)
    clock_requests: int = 0
    clock_set: list[datetime] = field(default_factory=list)
    set_clock: Callable[[datetime], None] | None = None
    """What happens when the clock is set; None: it is."""
    conversations: int = 0
    reported: queue.SimpleQueue[RawPunch | Hint] = field(default_factory=queue.SimpleQueue)
    """Events on their way."""
    changed: threading.Event = field(default_factory=threading.Event)

    def driver(self) -> Driver:
        """Return a driver that always reaches this terminal."""
        return Driver("scripted", DriverOptions, self._connect)

    @contextmanager
    def _connect(self, _options: object) -> Iterator["ScriptedTerminal"]:
        self.conversations += 1
        kind = ScriptedTerminal
        if self.between is not None:
            kind = RangedTerminal
        elif self.settable:
            kind = SettableTerminal
        yield kind(self)

    def now(self) -> datetime:
        """Return what its clock shows."""
        return (datetime.now(ZONE) + self.off).replace(tzinfo=None, microsecond=0)


class ScriptedTerminal:
    """Terminal, Logged and Live."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def serial(self) -> str:
        """Return the serial number."""
        return "SCRIPTED-1"

    def identify(self) -> TerminalInfo:
        """Return who it is."""
        return TerminalInfo("SCRIPTED-1", "paper", None)

    def read_clock(self) -> ClockReading:
        """Show the clock, or fail as written."""
        self._script.clock_requests += 1
        if self._script.silence is not None:
            raise self._script.silence
        return ClockReading(self._script.now(), 0.0)

    def sizes(self) -> Sizes:
        """Count the log."""
        return Sizes(len(self._script.log), self._script.capacity)

    def read(self, start: int = 0, _layout: str | None = None) -> Reading:
        """Hand out the log from ``start`` on."""
        script = self._script
        script.reads.append(start)
        if script.refusal is not None:
            raise script.refusal
        return Reading(start, len(script.log), Travelling(script, start), "paper", prepared_s=script.prepared_s)

    def events(self, timeout_s: float) -> Iterator[RawPunch | Hint]:
        """Return what is on its way."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                yield self._script.reported.get(timeout=max(0.0, min(0.02, until - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= until:
                    return


class Travelling:
    """Records under way; iterating again gives what has come again, and fetches the rest."""

    def __init__(self, script: Script, start: int) -> None:
        self._script, self._start = script, start
        self._log = list(script.log)
        self._come = start

    def __iter__(self) -> Iterator[Record]:
        for position in range(self._start, len(self._log)):
            if position >= self._come:
                self._script.travel(position)
                self._come = position + 1
            yield self._log[position]


class RangedTerminal(ScriptedTerminal):
    """Ranged, too."""

    def between(self, first: datetime, last: datetime, _layout: str | None) -> list[Record] | None:
        """Answer as written."""
        self._script.ranges.append((first, last))
        assert self._script.between is not None
        return self._script.between(first, last)


class SettableTerminal(ScriptedTerminal):
    """SettableClock, too."""

    def set_clock(self, to: datetime) -> None:
        """Set the clock, or do as written."""
        self._script.clock_set.append(to)
        if self._script.set_clock is not None:
            self._script.set_clock(to)
        else:
            self._script.off = to - datetime.now(ZONE).replace(tzinfo=None)
