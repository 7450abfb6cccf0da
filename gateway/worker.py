"""One terminal: visit it, read what is new, listen, come back. One thread, one conversation, its own pace.

Each visit asks the serial, the clock and the count. Where the count says that nothing is new, that was all. Otherwise
the end of the log is read with a few known records in front, which prove that it continues what the ledger knows; where
they do not, more is read, and at last everything.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import structlog

from drivers.base import (
    ClockReading,
    Driver,
    DriverError,
    Enrolled,
    Hint,
    Live,
    Logged,
    ProtocolError,
    RawPunch,
    Sizes,
    Terminal,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
    Via,
)
from gateway import punch
from gateway.clock import Clock
from gateway.ledger import OVERLAP, Known, Ledger, LedgerFull, Stored, Unaligned
from gateway.pause import Pause
from gateway.punch import ClockEvidence, Witness, utc_text
from gateway.settings import TerminalSettings

Cause = Literal["unavailable", "refused", "protocol"]

LISTEN_S = 1.0
"""Longest stretch of listening before the worker looks whether it should stop or read."""
OVERHEAR_S = 0.002
"""Long enough to take what has arrived, too short to delay what is being done."""
UNCOUNTED_READ_S = 600.0
"""How often the end of a log is read whose count cannot tell whether something is new."""
FULL_READING_DUE = timedelta(hours=26)
STEP_S = 5.0
STEP_PER_S = 0.001
"""A clock has jumped when it moved this much more or less than time did; crystals drift a tenth of that."""
LOST_AFTER = 2
"""Failures in a row that make a terminal lost: one may be a restart."""
CAPTURES_KEPT = 20
NEWS_MAX = 500
"""More new records than this are an import, which waits while the disk is nearly full."""
FULL_PAUSE_S = 30.0
WIDER = 8
"""Each further reading backwards is this many times wider: preparing a log costs the terminal more than sending it."""

log = structlog.get_logger("worker")


PAUSES: dict[Cause, Pause] = {
    "unavailable": Pause(2.0, 60.0),
    "protocol": Pause(5.0, 120.0),
    # Asking again and again with a wrong key locks some terminals.
    "refused": Pause(60.0, 600.0),
}


@dataclass(slots=True)
class TerminalState:
    """What is known about a terminal right now; published, retained, and shown by `hadir status`."""

    online: bool = False
    since: datetime | None = None
    reason: str | None = "not visited yet"
    cause: Cause | None = None
    serial: str | None = None
    info: TerminalInfo | None = None
    layout: str | None = None
    clock: ClockEvidence | None = None
    sizes: Sizes = field(default_factory=lambda: Sizes(None, None))
    last_punch: str | None = None
    last_visit: datetime | None = None
    last_full_reading: datetime | None = None

    def payload(self) -> dict[str, Any]:
        """Return the message of ``terminal/<name>/state``."""
        clock = self.clock
        return {
            "state": "online" if self.online else "offline",
            "since": _utc(self.since),
            "reason": self.reason,
            "cause": self.cause,
            "serial": self.serial,
            "model": self.info.model if self.info else None,
            "firmware": self.info.firmware if self.info else None,
            "layout": self.layout,
            "clock": None
            if clock is None
            else {"offset_ms": clock.offset_ms, "bound_ms": clock.bound_ms, "measured": utc_text(clock.measured)},
            "records": self.sizes.records,
            "capacity": self.sizes.capacity,
            "last_punch": self.last_punch,
            "last_visit": _utc(self.last_visit),
            "last_full_reading": _utc(self.last_full_reading),
        }


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)


class Worker:
    """Keeps one terminal read. Its thread ends by :meth:`stop`, or with ``failure`` set by a mistake of ours."""

    def __init__(
        self,
        settings: TerminalSettings,
        zone: ZoneInfo,
        driver: Driver,
        ledger: Ledger,
        clock: Clock,
        *,
        captures: Path,
        report: Callable[[str, dict[str, Any]], None] = lambda _topic, _payload: None,
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
    ) -> None:
        """``report`` gets the terminal's state when it changes, ``alarm`` what people should hear of."""
        self.name = settings.name
        self.state = TerminalState(since=clock.now())
        self.failure: BaseException | None = None
        self._settings = settings
        self._zone = zone
        self._driver = driver
        self._ledger = ledger
        self._clock = clock
        self._captures = captures
        self._report = report
        self._alarm = alarm
        self._log = log.bind(terminal=settings.name)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._want_full = False
        self._live = settings.live
        self._unproven = True
        """The next reading must show known records even if the count is as expected."""
        self._hinted = False
        self._last_read = -UNCOUNTED_READ_S
        self._measured_at: tuple[datetime, float] | None = None
        self._remembered: ClockEvidence | None = None
        """The last measurement of the process before this one, if the wall clock could be trusted then."""
        self._stepped = False
        """The terminal's clock has jumped since it was last heard: what comes now was made by nobody knows which."""
        self._stranger: str | None = None
        """A wrong serial that has been told."""
        self._failures = 0
        self._first_failure: datetime | None = None
        self._lost = False
        self._thread = threading.Thread(target=self._run, name=f"worker-{settings.name}", daemon=True)

    # From outside.

    def start(self) -> None:
        """Begin to visit the terminal."""
        known = self._ledger.terminal(self.name)
        if known is not None:
            self.state.serial = known.serial
            self.state.layout = known.layout
            self.state.last_punch = known.last_punch
            if known.offset_ms is not None and known.bound_ms is not None and known.measured_ms is not None:
                self._remembered = ClockEvidence(known.offset_ms, known.bound_ms, _moment(known.measured_ms))
            if known.full_ms is not None:
                self.state.last_full_reading = _moment(known.full_ms)
            # A machine that is off at night never meets the hour of the nightly reading: it is made up for.
            read = self.state.last_full_reading
            self._want_full = read is None or self._clock.now() - read > FULL_READING_DUE
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; the conversation is ended properly if the terminal plays along."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; return whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def request(self, *, full: bool = False) -> None:
        """Ask for a visit now; ``full`` for one that reads the whole log."""
        self._want_full = self._want_full or full
        self._wake.set()

    def request_set_clock(self) -> bool:
        """Ask for the terminal's clock to be set at the next visit; False where its driver cannot."""
        return False

    def release(self, first: date, last: date) -> int:
        """Give the terminal's withheld records of these days their place in the stream; return how many there were."""
        return self._ledger.release(self._witness("log", None, stepped=False), first, last)

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    pause_s = self._visit()
                except LedgerFull as exc:
                    # Nothing is lost: the terminal's log is the buffer, and whatever was not stored is read again.
                    self._log.warning("reading_paused", reason=str(exc))
                    self._unproven = True
                    pause_s = FULL_PAUSE_S
                if not self._stopping.is_set():
                    self._wake.wait(pause_s)
                self._wake.clear()
        except _Stopped:
            self._log.info("import_interrupted")
        except BaseException as exc:  # noqa: BLE001 - logged, and the supervisor ends the process with it
            if self._stopping.is_set():
                # The daemon has not waited for a slow answer, and what it was for is closed.
                self._log.info("visit_abandoned", reason=type(exc).__name__)
                return
            self.failure = exc
            self._log.exception("worker_failed")

    def _visit(self) -> float:
        """Hold one conversation with the terminal; return how long to wait before the next."""
        next_poll = time.monotonic() + self._settings.poll
        conversation: AbstractContextManager[Terminal] = self._driver.connect(self._settings)
        try:
            with conversation as terminal:
                self._check_serial(terminal)
                while True:
                    self._poll(terminal)
                    self._found()
                    next_poll = time.monotonic() + self._settings.poll
                    if not (self._live and isinstance(terminal, Live)):
                        break
                    self._listen(terminal, next_poll)
                    if self._stopping.is_set():
                        break
        except TerminalUnavailable as exc:
            return self._failed("unavailable", exc)
        except TerminalRefused as exc:
            return self._failed("refused", exc)
        except ProtocolError as exc:
            return self._failed("protocol", exc)
        return max(0.0, next_poll - time.monotonic())

    def _listen(self, terminal: Live, until: float) -> None:
        """Store punches as they happen until the next poll is due or something asks for one."""
        while self._live and (left := until - time.monotonic()) > 0 and not self._wake.is_set() and not self._hinted:
            self._hear(terminal, min(left, LISTEN_S))
        if not self._stopping.is_set():
            self._wake.clear()

    def _hear(self, terminal: Live, for_s: float) -> None:
        try:
            for event in terminal.events(for_s):
                if isinstance(event, Hint) or not self._store(event):
                    self._hinted = True
        except TerminalRefused as exc:
            self._live = False
            self._log.warning("live_refused", reason=str(exc))

    def _overhear(self, terminal: object) -> None:
        """Store the punches that have come in while something else was done."""
        if self._live and isinstance(terminal, Live):
            self._hear(terminal, OVERHEAR_S)

    def _store(self, event: RawPunch) -> bool:
        """Store a live punch; return False where only the log can tell what it is, or the count will not show it."""
        if self._ledger.room() == "none":
            return False  # it stays in the log
        witness = self._witness("live", self.state.clock, stepped=self._stepped)
        stored = self._ledger.record_live(witness, event)
        if stored:
            self.state.last_punch = event.local_time.isoformat()
        return stored and self._count_tells

    def _poll(self, terminal: Terminal) -> None:
        begun = time.monotonic()
        asked = self._clock.now()
        self._stepped = self._measure(terminal.read_clock(), asked)
        witness = self._witness("log", self.state.clock, stepped=self._stepped)
        self._overhear(terminal)  # listening begins before reading, so that no punch falls between the two
        self._stepped = False
        known = self._known()
        stored = Stored()
        if isinstance(terminal, Logged):
            self.state.sizes = terminal.sizes()
            if (self._want_full or self._something_new(known)) and self._has_room(known):
                stored = self._read_news(terminal, known, witness)
        self.state.last_visit = self._clock.now()
        self.state.last_punch = stored.last_punch or self.state.last_punch
        self._log.info(
            "poll_finished",
            read=stored.read,
            new=stored.new,
            quarantined=stored.quarantined,
            confirmed=stored.confirmed,
            withheld=stored.withheld,
            unconfirmed=stored.unconfirmed,
            records=self.state.sizes.records,
            offset_ms=self.state.clock.offset_ms if self.state.clock else None,
            took_ms=round((time.monotonic() - begun) * 1000),
        )

    def _has_room(self, known: Known) -> bool:
        """Tell whether what there is to read may be read now; imports are the first to wait for room on the disk."""
        room = self._ledger.room()
        records = self.state.sizes.records
        news = NEWS_MAX + 1 if known.length == 0 or records is None else records - known.in_log
        may = room == "all" or (room == "news" and news <= NEWS_MAX)
        if not may:
            self._log.info("reading_postponed", room=room)
            self._hinted, self._unproven = False, True  # at each poll it is looked again
        return may

    def _something_new(self, known: Known) -> bool:
        if self._unproven or self._hinted or known.length < (known.matched_until or 0):
            return True
        if not self._count_tells or self.state.sizes.records == known.shrunk_to:
            return time.monotonic() - self._last_read >= UNCOUNTED_READ_S
        # A log that was short and has as many records as it should again may have other ones.
        return known.shrunk_to is not None or self.state.sizes.records != known.in_log

    @property
    def _count_tells(self) -> bool:
        """Whether a new record would change the count: a full log overwrites its oldest one and keeps it."""
        records, capacity = self.state.sizes.records, self.state.sizes.capacity
        return records is not None and (capacity is None or records < capacity)

    def _read_news(self, terminal: Logged, known: Known, witness: Witness) -> Stored:
        # Both flags may be set again while the reading goes on, and then mean the next one.
        full, self._want_full = self._want_full, False
        self._hinted = False
        try:
            stored = self._read(terminal, known, witness, full=full)
        except BaseException:
            self._want_full = self._want_full or full
            raise
        self._unproven = False
        self._last_read = time.monotonic()
        return stored

    def _read(self, terminal: Logged, known: Known, witness: Witness, *, full: bool) -> Stored:
        start = 0 if full else known.tail_start
        width = OVERLAP
        while True:
            reading = terminal.read(start, known.layout)
            pins: Mapping[int, str] | None = None
            if reading.by_uid and isinstance(terminal, Enrolled):
                pins = terminal.pins()
            if known.layout not in (None, reading.layout) and reading.total:
                self._log.warning("layout_changed", before=known.layout, after=reading.layout)
            aside = _Aside(self._stopping, partial(self._overhear, terminal))
            try:
                stored = self._ledger.record_reading(
                    witness, reading, start=self._settings.start, pins=pins, between=aside
                )
            except Unaligned:
                width *= WIDER
                start = 0 if width > 1000 else max(0, min(known.in_log, reading.total) - width)
                continue
            if reading.total:
                self.state.layout = reading.layout
            if reading.start == 0:
                self.state.last_full_reading = self._clock.now()
            if aside.trouble is not None:
                raise aside.trouble
            return stored

    def _known(self) -> Known:
        known = self._ledger.terminal(self.name)
        assert known is not None  # noqa: S101 - pinned by _check_serial
        return known

    def _witness(self, via: Via, clock: ClockEvidence | None, *, stepped: bool) -> Witness:
        return Witness(
            terminal=self.name,
            serial=self.state.serial or "",
            zone=self._zone,
            via=via,
            now=self._clock.now(),
            synchronised=self._clock.synchronised(),
            clock=clock,
            stepped=stepped,
            tolerance=timedelta(seconds=self._settings.clock.tolerance),
        )

    # Identity.

    def _check_serial(self, terminal: Terminal) -> None:
        """Make sure that the terminal at this address is the one it was; TerminalRefused if not."""
        told = terminal.serial()
        configured = self._settings.serial
        known = self._ledger.terminal(self.name)
        expected = configured or (known.serial if known else None)
        if not told:
            if configured is None:
                raise TerminalRefused("the terminal does not tell its serial number; write it into `serial:` by hand")
            told = configured
        if expected is not None and told != expected:
            self._strange_serial(expected, told)
            raise TerminalRefused(
                f"a terminal with serial {told} answers where {expected} is expected; if it was replaced, write the "
                "new serial into `serial:`, otherwise check the address"
            )
        others = [other.name for other in self._ledger.terminals() if other.serial == told and other.name != self.name]
        if others and configured is None:
            raise TerminalRefused(
                f"serial {told} is known as terminal {others[0]}; if it was renamed or moved, write `serial: {told}` "
                "here and remove the other entry"
            )
        if known is None or known.serial != told:
            self._ledger.pin_serial(self.name, told)
            self._log.info("serial_pinned", serial=told)
            self._live = self._settings.live
        self.state.serial = told
        self._stranger = None
        if self.state.info is None or self.state.info.serial != told:
            self.state.info = terminal.identify()

    def _strange_serial(self, expected: str, told: str) -> None:
        if self._stranger == told:
            return  # said already
        self._stranger = told
        data = {
            "terminal": self.name,
            "serial": expected,
            "what": "serial",
            "serial_before": expected,
            "serial_after": told,
        }
        self._note(punch.TERMINAL_CHANGED, data)
        self._alarm("serial_changed", f"terminal {self.name}: serial {told} answers, {expected} is expected", self.name)

    # The terminal's clock.

    def _measure(self, reading: ClockReading | None, asked: datetime) -> bool:
        """Compare the terminal's clock with ours; return whether it has jumped since the last comparison.

        A clock that shows whole seconds is on average half a second further; that half second is part of the bound. A
        jump is judged against the monotonic clock, so that a step of our own is not taken for one of the terminal's;
        only across our own restart against the wall clock, and then only if that was synchronised both times.
        """
        if reading is None:
            self.state.clock = None
            self._measured_at = None
            return False
        here = time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps, as terminals do
        middle = asked + timedelta(seconds=reading.round_trip_s / 2)
        shown = reading.local_time.replace(tzinfo=self._zone) + timedelta(milliseconds=500)
        offset_ms = round((shown - middle) / timedelta(milliseconds=1))
        evidence = ClockEvidence(offset_ms, 500 + round(reading.round_trip_s * 500), asked)
        before, self.state.clock = self.state.clock, evidence
        previous, self._measured_at = self._measured_at, (reading.local_time, here)
        remembered, self._remembered = self._remembered, None
        if previous is not None and before is not None:
            elapsed_s = here - previous[1]
            moved_s = (reading.local_time - previous[0]).total_seconds()
        elif remembered is not None and self._clock.synchronised():
            before = remembered
            elapsed_s = (evidence.measured - before.measured).total_seconds()
            moved_s = elapsed_s + (evidence.offset_ms - before.offset_ms) / 1000
        else:
            return False
        if abs(moved_s - elapsed_s) <= STEP_S + abs(elapsed_s) * STEP_PER_S:
            return False
        data = {
            "terminal": self.name,
            "serial": self.state.serial,
            "before": _evidence(before),
            "after": _evidence(evidence),
        }
        self._note(punch.CLOCK_STEPPED, data)
        self._log.warning("clock_stepped", before_ms=before.offset_ms, after_ms=evidence.offset_ms)
        message = f"terminal {self.name}: its clock jumped by {round(moved_s - elapsed_s)} s"
        self._alarm("clock_stepped", message, self.name)
        return True

    # Lost and found.

    def _failed(self, cause: Cause, exc: DriverError) -> float:
        """Note a failure, once per outage; return how long to leave the terminal alone."""
        now = self._clock.now()
        self._failures += 1
        self._first_failure = self._first_failure or now
        self._unproven = True
        if cause == "protocol":
            self._keep_capture(exc)
        news = not self._lost or self.state.cause != cause
        lost = self._failures >= LOST_AFTER or cause == "refused"
        if lost and news:
            self.state.online, self.state.cause, self.state.reason = False, cause, str(exc)
            self.state.since = self._first_failure
            self._log.warning("terminal_lost", cause=cause, reason=str(exc))
            if not self._lost:
                data = {
                    "terminal": self.name,
                    "serial": self.state.serial,
                    "from": utc_text(self._first_failure),
                    "cause": cause,
                    "reason": str(exc),
                }
                self._note(punch.TERMINAL_LOST, data)
            code = "terminal_refused" if cause == "refused" else "terminal_lost"
            self._alarm(code, f"terminal {self.name}: {exc}", self.name)
            self._lost = True
            self._tell()
        return PAUSES[cause].after(self._failures)

    def _found(self) -> None:
        """Note that a visit went well, and the end of an outage if there was one."""
        now = self._clock.now()
        if self._lost:
            assert self._first_failure is not None  # noqa: S101 - set by the failure that lost it
            data = {
                "terminal": self.name,
                "serial": self.state.serial,
                "from": utc_text(self._first_failure),
                "to": utc_text(now),
                "cause": self.state.cause,
            }
            self._note(punch.TERMINAL_FOUND, data)
            self._log.info("terminal_found", away_s=round((now - self._first_failure).total_seconds()))
            self._alarm("terminal_found", f"terminal {self.name} answers again", self.name)
        if not self.state.online:
            self.state.since = now
        self.state.online, self.state.cause, self.state.reason = True, None, None
        self._failures, self._first_failure, self._lost = 0, None, False
        self._tell()

    def _tell(self) -> None:
        self._report(f"terminal/{self.name}/state", self.state.payload())

    def _note(self, event_type: str, data: dict[str, Any]) -> None:
        moment = self._clock.now().astimezone(self._zone)
        self._ledger.record_note(event_type, self.name, moment, data)

    def _keep_capture(self, exc: DriverError) -> None:
        """Keep the last bytes of a conversation that broke the protocol, the newest twenty of all terminals."""
        if exc.capture is None:
            return
        self._captures.mkdir(mode=0o700, exist_ok=True)
        path = self._captures / f"{self._clock.now():%Y%m%dT%H%M%S}-{self.name}.txt"
        path.write_text(f"terminal {self.name}\nreason {exc}\n{exc.capture}\n", encoding="utf-8")
        path.chmod(0o600)
        for old in sorted(self._captures.glob("*.txt"))[:-CAPTURES_KEPT]:
            old.unlink(missing_ok=True)
        self._log.warning("capture_kept", path=str(path), reason=str(exc))


class _Stopped(Exception):  # noqa: N818 - no error
    """The worker was told to stop in the middle of an import; what is stored is stored."""


class _Aside:
    """What is done between two slices of an import: look whether to stop, and listen.

    A connection that breaks meanwhile does not cost what has been read: the trouble is kept until all is stored.
    """

    def __init__(self, stopping: threading.Event, listen: Callable[[], None]) -> None:
        self._stopping = stopping
        self._listen = listen
        self.trouble: DriverError | None = None

    def __call__(self) -> None:
        if self._stopping.is_set():
            raise _Stopped
        if self.trouble is None:
            try:
                self._listen()
            except DriverError as exc:
                self.trouble = exc


def _evidence(clock: ClockEvidence) -> dict[str, Any]:
    return {"offset_ms": clock.offset_ms, "bound_ms": clock.bound_ms, "measured": utc_text(clock.measured)}
