"""Reads one terminal: connect, read new records, receive live events, repeat. One thread and one connection each.

Each visit queries the serial number, the clock and the record count. A count without change ends the visit. Otherwise
the end of the log is read together with a few known records in front of it, which prove that it continues the stored
log; where they do not, a wider part is read, at last the whole log.

Preparing its log keeps a terminal busy, some for half a minute: while live events arrive, the next reading waits for
ten times as long. A visit that a person requests begins at once.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import structlog

from drivers import DRIVERS
from drivers.base import (
    Acknowledging,
    BadRecord,
    Driver,
    DriverError,
    Enrolled,
    Export,
    Exporting,
    Hint,
    Live,
    Logged,
    Networked,
    ProtocolError,
    Ranged,
    RawPunch,
    Reading,
    Record,
    Refused,
    SettableClock,
    Settling,
    Sizes,
    Terminal,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
    UnreadableLog,
    Unsettled,
    Untimed,
    Via,
)
from drivers.safe_files import Folder
from gateway import event as event_module
from gateway import forecast
from gateway.advice import judge_clock
from gateway.alignment import fingerprint
from gateway.clock import Clock
from gateway.event import ClockEvidence, ReadingContext, utc_text
from gateway.file_import import LedgerSink, import_file, receipt_text, refusal_text
from gateway.identities import Identities, What
from gateway.ledger import OVERLAP, DayCounts, KnownTerminal, Ledger, LedgerError, LedgerFull, ReadingResult, Unaligned
from gateway.pause import Pause
from gateway.pending import PendingWrites
from gateway.settings import TerminalSettings
from gateway.timekeeper import STEP_S, Timekeeper
from gateway.trace import origin, trace
from gateway.visit_requests import VisitRequest, VisitRequests

Cause = Literal["unavailable", "refused", "protocol", "internal"]
Medium = Literal["none", "reading", "safe"]

LISTEN_SLICE_S = 1.0
"""Longest wait for live events before the worker checks whether to stop or to read."""
DRAIN_S = 0.002
"""Long enough to receive what has arrived, too short to delay the work in progress."""
UNCOUNTED_READ_S = 600.0
"""Interval of reading the end of a log whose count does not show new records."""
FULL_READING_DUE = timedelta(hours=26)
WHOLE_READ_INTERVAL_S = 3600.0
"""Interval of reading a whole log whose end cannot be read alone; without live events, UNCOUNTED_READ_S."""
SMALL_LOG = 1000
"""Up to this many records a whole log is read as quickly as a part of it."""
REST_FACTOR = 10.0
"""The pause after a reading, as a multiple of the time the terminal needed to prepare its log."""
IDLE_PROBE_S = 60.0
"""After this time without a live event the clock is read, because the connection may be dead."""
UNANNOUNCED_POLLS_MAX = 2
"""After this many polls that found unannounced punches, register for live events again.

The limit doubles each time: some terminals never send live events.
"""
RANGE_CHECK_S = 6 * 3600.0
RANGE_CHECK_AFTER_OUTAGE_S = 300.0
RANGE_DAYS = 2
"""Whole days before today that a reading by date covers."""
RANGE_BLOCK = 5000
TALLY_DAYS = 31
CLOCK_SET_WINDOW_S = 2 * 3600.0
"""How long a requested clock setting waits for a quiet hour."""
BURST_DISTANCE = timedelta(hours=2)
"""No clock is set this near to a burst of punches: a second would occur twice, or never."""
CLOCK_SET_TOLERANCE_MS = 1500
"""Accepted remaining offset after a clock was set: it is set to whole seconds, and setting takes time."""
BAD_RECORD_LOG_S = 3600.0
"""Minimum interval between alarms about unreadable records of a line."""
IDENTIFY_S = 86_400.0
"""Interval of querying firmware and platform of a terminal that is online all the time."""
LOST_AFTER = 2
"""Consecutive failures after which a terminal counts as lost: a single one may be a restart."""
UNREAD_LISTED_MAX = 20
"""Maximum number of unread files that the state names."""
CAPTURES_KEPT = 20
SMALL_READING_MAX = 500
"""A reading of more new records than this counts as an import, which waits while the disk is nearly full."""
FULL_PAUSE_S = 30.0
BODIES_KEPT = 5
"""Number of kept bodies of unreadable logs, up to 4 MiB each."""
WIDEN_FACTOR = 8
"""Each further reading is this many times wider: preparing a log costs the terminal more than sending it."""

log = structlog.get_logger("worker")


PAUSES: dict[Cause, Pause] = {
    "unavailable": Pause(2.0, 60.0),
    "protocol": Pause(5.0, 120.0),
    # Repeated logins with a wrong key lock some terminals.
    "refused": Pause(60.0, 600.0),
    # A defect in a driver fails again on the same bytes: an early retry is useless.
    "internal": Pause(60.0, 600.0),
}
DISK_FULL_REASON = "there is no room on the gateway's disk; make room, and it is read"


@dataclass(slots=True)
class TerminalState:
    """The present state of a terminal; published as a retained message, and shown by `hadir status`."""

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
    medium: Medium | None = None
    """Flash disk of a terminal without a network: absent, being read, or safe to remove; None for others."""
    unread: dict[str, str] = field(default_factory=dict)
    """Mark → name of the files in the folder that look like exports and are not read. Never changed in place."""
    last_full_reading: datetime | None = None
    last_new: datetime | None = None
    """When a new record was last received from it."""
    full_on: date | None = None
    """The day on which its log will be full at the rate of the last weeks."""
    silent_since: datetime | None = None
    """Start of the silence, while it is longer than is usual for this terminal."""

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
            "medium": self.medium,
            "unread": None
            if self.medium is None
            else {"files": len(self.unread), "names": sorted(self.unread.values())[:UNREAD_LISTED_MAX]},
            "last_full_reading": _utc(self.last_full_reading),
            "fills": self.full_on.isoformat() if self.full_on else None,
            "silent_since": _utc(self.silent_since),
        }


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)


class Worker:
    """Reads one terminal continuously. Its thread ends by :meth:`stop`, or with ``failure`` set by a defect."""

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
        publish: Callable[[str, dict[str, Any]], None] = lambda _topic, _payload: None,
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
        pending: PendingWrites | None = None,
        identities: Identities | None = None,
    ) -> None:
        """``report`` receives the terminal's state when it changes, ``publish`` tallies, ``alarm`` alarms.

        Messages for ``report`` describe the present and are to be retained; tallies are not.
        ``pending`` and ``identities`` are the gateway's; None: the worker has its own.
        """
        self.name = settings.name
        self.state = TerminalState(since=clock.now())
        self.failure: BaseException | None = None
        self._settings = settings
        self._zone = zone
        self._driver = driver
        self._ledger = ledger
        self._clock = clock
        self._captures = captures
        self._captures_writable = True
        """The last capture could be written."""
        self._pending = pending or PendingWrites(ledger, now=clock.now, alarm=alarm)
        self._report = report
        self._publish = publish
        self._alarm = alarm
        self._log = log.bind(terminal=settings.name)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._requests = VisitRequests()
        self._current_requests: list[VisitRequest] = []
        """The requests that this visit answers; a visit that fails leaves them to the next."""
        self._full_due = False
        self._live = settings.live
        self._unproven = True
        """The next reading must contain known records even if the count is as expected."""
        self._hinted = False
        self._last_read = -UNCOUNTED_READ_S
        self._wrong_count: int | None = None
        """A record count that was found to differ from the log although the log had nothing new."""
        self._next_start: int | None = None
        """Start of the next reading, after one without overlap with the stored log."""
        self._rest_until = 0.0
        self._whole_read_due = False
        """Only the whole log can be read, and its interval has not elapsed."""
        self._whole_read_at = -WHOLE_READ_INTERVAL_S
        self._listening = False
        """Live events are registered in this connection."""
        self._caught_up = False
        """The previous poll of this connection left nothing unread."""
        self._last_received = 0.0
        self._unannounced_polls, self._unannounced_limit = 0, UNANNOUNCED_POLLS_MAX
        self._live_silent = False
        self._range_check = 0.0
        self._range_difference_open = False
        """A reading by date differed from the ledger, and a full reading is to decide."""
        self._clock_set_until = 0.0
        """Monotonic deadline of a requested clock setting; 0 without one."""
        self._settable: bool | None = None
        """Whether the clock of this terminal can be set; None before the first connection."""
        self._before_setting: ClockEvidence | None = None
        """The last measurement before the clock was set; None after it was read back."""
        self._timekeeper = Timekeeper(zone, None)
        self._clock_stepped = False
        """The clock jumped since live events were last received: an event may be from before or after the jump."""
        self._unread_step = False
        """The clock jumped since a reading was last stored: a record may be from before or after the jump."""
        self._identities = identities or Identities(None)
        self._identify_at = 0.0
        """Monotonic time of the next query of firmware and platform."""
        self._reported_serial: str | None = None
        """A wrong serial number that was reported."""
        self._driver_fault: str | None = None
        """Origin of the last exception of the driver that is no DriverError, until a visit ends without one."""
        self._failures = 0
        self._first_failure: datetime | None = None
        self._seen_files: set[str] = set()
        """Marks of the files of a flash disk that were processed."""
        self._bad_record_logged_at = -BAD_RECORD_LOG_S
        self._lost = False
        self._reconciliation: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._run, name=f"worker-{settings.name}", daemon=True)

    @property
    def settings(self) -> TerminalSettings:
        """The terminal's entry in the configuration."""
        return self._settings

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""
        return self._zone

    # Called by other threads.

    def follow(self, before: "Worker") -> None:
        """Take over the state of an ended worker of the same terminal; called before :meth:`start`.

        Due work stays due. Where the driver is the same, an outage continues and the terminal's state is kept.
        """
        before.hand_over_requests(self)
        self._full_due, self._clock_set_until = before._full_due, before._clock_set_until  # noqa: SLF001 - same class
        if self._settings.driver != before._settings.driver:  # noqa: SLF001
            return
        self.state = before.state
        self._failures, self._lost = before._failures, before._lost  # noqa: SLF001
        self._first_failure, self._unread_step = before._first_failure, before._unread_step  # noqa: SLF001
        self._before_setting, self._reconciliation = before._before_setting, before._reconciliation  # noqa: SLF001

    def start(self) -> None:
        """Start the thread."""
        known = self._ledger.terminal(self.name)
        if known is not None:
            self.state.serial = known.serial
            self.state.layout = known.layout
            self.state.last_punch = known.last_punch
            if known.offset_ms is not None and known.bound_ms is not None and known.measured_ms is not None:
                remembered = ClockEvidence(known.offset_ms, known.bound_ms, _from_ms(known.measured_ms))
                self._timekeeper = Timekeeper(self._zone, remembered)
            if known.full_ms is not None:
                self.state.last_full_reading = _from_ms(known.full_ms)
            # A machine that is off at night misses the hour of the nightly reading: it is done at the start.
            read = self.state.last_full_reading
            self._full_due |= read is None or self._clock.now() - read > FULL_READING_DUE
        self._thread.start()

    def stop(self) -> None:
        """Signal the thread to end; the connection is closed properly if the terminal responds."""
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

    def request(self, *, full: bool = False) -> Future[dict[str, Any] | None]:
        """Request a visit now; ``full`` for one that reads the whole log, whenever that was done last.

        Returns what will hold, after the visit, the reconciliation that the full reading ended with, or VisitPostponed
        where it could not be read yet. A visit that fails leaves the request to the next one, and so does a worker
        that is replaced; it is cancelled where the terminal is no longer visited.
        """
        done = self._requests.put(full=full)
        self._wake.set()
        return done

    def hand_over_requests(self, successor: "Worker") -> None:
        """Transfer waiting and future requests to another worker."""
        self._requests.hand_over(successor._requests)  # noqa: SLF001 - same class

    def cancel_requests(self) -> None:
        """Cancel waiting and future requests: the terminal is no longer visited."""
        self._requests.close()

    def request_set_clock(self) -> bool:
        """Request that a wrong clock is set at the next quiet moment of two hours; False if it cannot be set."""
        if self._settable is False:
            return False
        self._clock_set_until = time.monotonic() + CLOCK_SET_WINDOW_S
        self._wake.set()
        return True

    def schedule_nightly_work(self) -> None:
        """Make the nightly work due: reading the whole log, and setting the clock where it is configured."""
        self._full_due = True
        if self._settings.clock.set == "nightly":
            self._clock_set_until = time.monotonic() + CLOCK_SET_WINDOW_S
        self._wake.set()

    def release(self, first: date, last: date) -> int:
        """Publish the withheld records of the days from ``first`` to ``last``; return their number.

        The dates at the ends of the calendar mean no bound.
        """
        return release_withheld(self._ledger, self._settings, self._zone, self._clock, first, last)

    def publish_tally(self) -> None:
        """Publish the delivery counts of the last days and the result of the last full reading."""
        since = self._clock.now().astimezone(self._zone).date() - timedelta(days=TALLY_DAYS - 1)
        days = [_tally_data(day) for day in self._ledger.tally(self.name, since)]
        payload = {
            "terminal": self.name,
            "at": utc_text(self._clock.now()),
            "reconciliation": self._reconciliation,
            "days": days,
        }
        self._publish(f"tally/{self.name}", payload)

    def publish_state(self) -> None:
        """Publish the terminal's state."""
        self._report(f"terminal/{self.name}/state", self.state.payload())

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                pause_s = self._run_visit()
                if not self._stopping.is_set():
                    self._wake.wait(pause_s)
                self._wake.clear()
        except _Cancelled:
            self._log.info("import_interrupted")
        except BaseException as exc:  # noqa: BLE001 - logged, and the supervisor ends the process with it
            if self._stopping.is_set():
                # The daemon did not wait for a slow answer and has closed the ledger.
                self._log.info("visit_abandoned", reason=type(exc).__name__)
                return
            self.failure = exc
            self._log.exception("worker_failed")

    def _run_visit(self) -> float:
        """Visit the terminal and handle every error of the driver; return the pause before the next visit.

        An unexpected exception of a driver costs this terminal only. Errors of the ledger, and errors while a failure
        is recorded, concern the whole gateway and propagate.
        """
        self._pending.flush()
        try:
            pause_s = self._visit()
        except LedgerFull as exc:
            # Nothing is lost: the terminal's log is the buffer, and what was not stored is read again.
            self._log.warning("reading_paused", reason=str(exc))
            self._unproven = True
            return FULL_PAUSE_S
        except (LedgerError, _Cancelled):
            raise
        except BaseException as exc:
            if self._stopping.is_set():
                raise
            return self._report_driver_fault(exc)
        self._driver_fault = None
        return pause_s

    def _report_driver_fault(self, exc: BaseException) -> float:
        where = origin(exc)
        reason = (
            f"the gateway met what its driver does not expect ({where}); please report the log's line driver_failed"
        )
        if where != self._driver_fault:
            self._log.error("driver_failed", driver=self._driver.name, error=where, trace=trace(exc))
            self._alarm("driver_failed", f"terminal {self.name}: {reason}", self.name)
        self._driver_fault = where
        return self._record_failure("internal", reason)

    def _visit(self) -> float:
        """Connect to the terminal, poll it and receive live events; return the pause before the next visit."""
        next_poll = time.monotonic() + self._settings.poll
        self._listening = self._caught_up = False
        try:
            with self._driver.connect(self._settings) as terminal:
                self._settable = isinstance(terminal, SettableClock)
                self._check_serial(terminal)
                while True:
                    self._poll(terminal)
                    self._record_success()
                    next_poll = time.monotonic() + self._settings.poll
                    if not (self._live and isinstance(terminal, Live)):
                        break
                    if self._unannounced_polls >= self._unannounced_limit:
                        self._unannounced_polls, self._unannounced_limit, self._unproven = (
                            0,
                            2 * self._unannounced_limit,
                            True,
                        )
                        return 0.0  # a new connection registers for live events again
                    self._listen(terminal, next_poll)
                    if self._stopping.is_set():
                        break
        except TerminalUnavailable as exc:
            return self._record_failure("unavailable", str(exc))
        except (TerminalRefused, UnreadableLog) as exc:
            return self._record_failure("refused", str(exc), exc)
        except ProtocolError as exc:
            return self._record_failure("protocol", str(exc), exc)
        return max(0.0, next_poll - time.monotonic())

    def _listen(self, terminal: Terminal, until: float) -> None:
        """Store live events until the next poll is due or requested."""
        self._last_received = time.monotonic()
        while self._live and (left := until - time.monotonic()) > 0 and not self._wake.is_set():
            if self._hinted and self._may_read():
                break
            self._store_live_events(terminal, min(left, LISTEN_SLICE_S))
            if time.monotonic() - self._last_received >= IDLE_PROBE_S:
                # A terminal that lost power sends nothing, and the connection does not report it.
                terminal.read_clock()
                self._last_received = time.monotonic()
        if not self._stopping.is_set():
            self._wake.clear()

    def _store_live_events(self, terminal: object, for_s: float) -> None:
        """Store the live events received within ``for_s`` seconds, where the terminal sends any."""
        if not (self._live and isinstance(terminal, Live)):
            return
        try:
            for event in terminal.events(for_s):
                self._last_received = time.monotonic()
                self._unannounced_polls, self._unannounced_limit, self._live_silent = 0, UNANNOUNCED_POLLS_MAX, False
                if isinstance(event, RawPunch) and isinstance(terminal, Logged):
                    self._hinted |= not self._store_live(event)
                elif isinstance(event, Hint):
                    self._hinted = True
                else:
                    self._store_final(event)
            self._listening = True
        except TerminalRefused as exc:
            self._live = self._listening = False
            self._log.warning("live_refused", reason=str(exc))
        except (DriverError, LedgerError):
            raise
        except BaseException:
            # A log may be readable although the driver fails at live events: these are switched off.
            self._live = not isinstance(terminal, Logged)
            raise

    def _drain_live_events(self, terminal: object) -> None:
        """Store the live events that have arrived meanwhile."""
        self._store_live_events(terminal, DRAIN_S)

    def _store_live(self, event: RawPunch) -> bool:
        """Store a live punch; return False where only the log can identify it, or where the count will not show it."""
        if self._ledger.disk_state() == "none":
            return False  # it stays in the log
        context = self._context("live", self.state.clock, stepped=self._clock_stepped)
        try:
            stored = self._ledger.record_live(context, event)
        except LedgerFull:
            return False
        if stored:
            self.state.last_punch = event.local_time.isoformat()
            self.state.last_new = context.now
        return stored and self._count_is_reliable

    def _store_final(self, event: RawPunch | Untimed | BadRecord) -> None:
        """Store an event of a terminal without a log, which sends each event once."""
        context = self._context("serial", self.state.clock, stepped=self._clock_stepped)
        if isinstance(event, Untimed):
            received = context.now.astimezone(self._zone).replace(tzinfo=None, microsecond=0)
            context = replace(context, host_time=True)
            event = RawPunch(event.pin, None, received, event.state, event.verify, event.work_code, event.raw)
        new = self._pending.record_final(context, event)
        if isinstance(event, RawPunch):
            self.state.last_punch = event.local_time.isoformat()
            self.state.last_new = context.now
        elif new and time.monotonic() - self._bad_record_logged_at >= BAD_RECORD_LOG_S:
            self._bad_record_logged_at = time.monotonic()
            self._log.warning("record_quarantined", reason=event.reason)
            message = f"terminal {self.name}: what it says cannot be read ({event.reason}); the bytes are kept"
            self._alarm("line_unreadable", message, self.name)

    def _import_files(self, place: Exporting) -> ReadingResult | None:
        """Import new files, each once, and report when their disk may be removed.

        None where the disk of the gateway is full: the files stay where they are.
        """
        stored = ReadingResult()
        if self._ledger.disk_state() == "none":
            return None
        if self._full_due or any(request.full for request in self._current_requests):
            self._full_due = False
            self._seen_files.clear()
            self.state.unread = {}
        if not place.present():
            self._seen_files.clear()
            self.state.unread = {}
            self._set_medium("none")
            return stored
        known = self._ledger.files(self.name)
        unsettled = False
        for export in place.exports(self._seen_files):
            if isinstance(export, Unsettled | Settling):
                if self._stopping.is_set():
                    raise _Cancelled
                unsettled |= isinstance(export, Unsettled)
                self._set_medium("reading")
                continue
            if isinstance(export, Refused):
                self._refuse(place, export)
                self._seen_files.add(export.mark)
                continue
            self.state.unread = {mark: name for mark, name in self.state.unread.items() if name != export.name}
            if export.sha256 not in known:
                self._set_medium("reading")
                try:
                    self._import_file(place, export, stored)
                except (_Cancelled, LedgerError):
                    raise
                except TerminalUnavailable as exc:
                    # The file was read to its end just before: the disk was removed, or the file changed.
                    self._log.info("file_unsettled", file=export.name, reason=str(exc))
                    unsettled = True
                    continue
                except Exception as exc:  # noqa: BLE001 - an error caused by a file costs that file only
                    reason = str(exc) if isinstance(exc, DriverError) else f"it cannot be read ({type(exc).__name__})"
                    self._refuse(place, Refused(export.name, export.mark, reason, "name"))
            self._seen_files.add(export.mark)
        if not unsettled:
            self._set_medium("safe")
        return stored

    def _refuse(self, place: Exporting, refused: Refused) -> None:
        """Report an unread file: in the log, in the state, and by a report beside it where its content is wrong."""
        self.state.unread = {**self.state.unread, refused.mark: refused.name}
        if len(self.state.unread) > UNREAD_LISTED_MAX + 1:
            return  # already reported that there are more
        if len(self.state.unread) > UNREAD_LISTED_MAX:
            refused = refused._replace(reason=f"{refused.reason}; more files are not read, and not named one by one")
        if refused.why == "elsewhere" and (refused.serial is None or self._is_known(refused.serial)):
            self._log.info("file_left", file=refused.name, reason=refused.reason)
        else:
            self._log.warning("file_refused", file=refused.name, reason=refused.reason)
            message = f"terminal {self.name}: {refused.name} is not read: {refused.reason}"
            self._alarm("file_refused", message, self.name)
        if refused.why == "content":
            place.write_report(refused, refusal_text(refused, self._settings, self._clock.now()))
        self.publish_state()

    def _is_known(self, serial: str) -> bool:
        return any(serial.casefold() == other.serial.casefold() for other in self._ledger.terminals())

    def _import_file(self, place: Exporting, export: Export, stored: ReadingResult) -> None:
        sink = LedgerSink(self._ledger, self._settings, self._zone, self._clock)
        report = import_file(sink, export, None, self._until_stopped)
        left = place.write_report(
            export, receipt_text(report, self._settings, self.state.serial or "", self._clock.now())
        )
        stored.read += export.lines
        stored.new += report.counts.new
        stored.quarantined += report.counts.quarantined
        stored.last_punch = _text(export.last) or stored.last_punch
        self._log.info("file_imported", file=export.name, receipt=left, **asdict(report.counts))
        if not left:
            self._log.warning("receipt_refused", file=export.name, reason="the disk that the file is on takes none")

    def _until_stopped(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if self._stopping.is_set():
                raise _Cancelled
            yield record

    def _set_medium(self, medium: Medium) -> None:
        if self.state.medium != medium:
            self.state.medium = medium
            self.publish_state()

    def _poll(self, terminal: Terminal) -> None:
        begun = time.monotonic()
        self._pending.flush()
        self._current_requests = self._requests.waiting()
        self._measure_clock(terminal)
        context = self._context(self._driver.via, self.state.clock, stepped=self._unread_step)
        self._drain_live_events(terminal)  # events are registered before reading, so that no punch is missed between
        self._clock_stepped = False
        stored: ReadingResult | None = ReadingResult()
        if isinstance(terminal, Logged):
            stored = self._read_if_new(terminal, context)
        elif isinstance(terminal, Exporting):
            stored = self._import_files(terminal)
        else:
            self._unread_step = False
        postponed, stored = stored is None, stored or ReadingResult()
        self.state.last_visit = self._clock.now()
        self.state.last_punch = stored.last_punch or self.state.last_punch
        if stored.new or stored.quarantined:
            self.state.last_new = self.state.last_visit
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
        if postponed:
            self._full_due |= any(request.full for request in self._current_requests)
            self._requests.postpone(self._current_requests, DISK_FULL_REASON)
        else:
            self._requests.answer(self._current_requests, self._reconciliation)
        self._current_requests = []
        self._check_by_date(terminal, context)
        self._correct_clock(terminal)

    # What to read, and when.

    def _read_if_new(self, terminal: Logged, context: ReadingContext) -> ReadingResult | None:
        """Read new records, if there are any and the pause after the last reading is over.

        None where the disk is too full for them.
        """
        announced = self._hinted or not (self._listening and self._caught_up)
        known = self._known()
        self.state.sizes = terminal.sizes()
        if self.state.sizes.records != self._wrong_count:
            self._wrong_count = None
        self._detect_replaced_log(known)
        requested = any(request.full for request in self._current_requests)
        wanted = requested or self._full_due or self._may_have_new_records(known)
        self._caught_up = not wanted
        if not wanted and self._count_is_reliable:
            self._unread_step = False  # every record made before the jump was read
        if not wanted or not (requested or self._may_read()):
            return ReadingResult()
        if not self._has_room(known):
            return None
        stored = self._read_new(terminal, known, context, requested=requested)
        if stored.new and not announced:
            self._count_unannounced(stored.new)
        return stored

    def _has_room(self, known: KnownTerminal) -> bool:
        """Return whether the disk has space for the reading; imports are the first to wait."""
        room = self._ledger.disk_state()
        records = self.state.sizes.records
        news = SMALL_READING_MAX + 1 if known.length == 0 or records is None else records - known.in_log
        may = room == "all" or (room == "news" and news <= SMALL_READING_MAX)
        if not may:
            self._log.info("reading_postponed", room=room)
            self._hinted, self._unproven = False, True  # checked again at each poll
        return may

    def _detect_replaced_log(self, known: KnownTerminal) -> None:
        """Reset the pauses that belong to a log which was replaced, or that a small log does not need.

        A log that other software clears is soon cleared again: its present records are read at once.
        """
        records = self.state.sizes.records
        if records is None or records == self._wrong_count:
            return
        if records <= SMALL_LOG or records < known.in_log:
            self._whole_read_due, self._whole_read_at = False, -WHOLE_READ_INTERVAL_S
        if records < known.in_log:
            self._rest_until = 0.0

    def _may_have_new_records(self, known: KnownTerminal) -> bool:
        if self._unproven or self._hinted or known.length < (known.matched_until or 0):
            return True
        if (self.state.sizes.new or 0) > OVERLAP:
            return True  # a full log overwrites its oldest record and keeps its count, but marks what is new
        if not self._count_is_reliable or self.state.sizes.records == known.shrunk_to:
            return time.monotonic() - self._last_read >= UNCOUNTED_READ_S
        # A log that was shorter and has the expected count again may hold other records.
        return known.shrunk_to is not None or self.state.sizes.records != known.in_log

    @property
    def _count_is_reliable(self) -> bool:
        """Whether a new record would change the count: a full log overwrites its oldest record and keeps its count.

        A count that was found wrong is not used until it changes: some terminals always report 0.
        """
        records, capacity = self.state.sizes.records, self.state.sizes.capacity
        return records not in (None, self._wrong_count) and (capacity is None or records < capacity)

    @property
    def _live_healthy(self) -> bool:
        """Whether live events have announced every new record since the last reading."""
        return self._listening and not self._unproven and not self._live_silent

    def _may_read(self) -> bool:
        if self._whole_read_due and not self._may_read_whole_log():
            return False
        return time.monotonic() >= self._rest_until or not self._live_healthy

    def _may_read_whole_log(self) -> bool:
        """Return whether the interval of reading the whole log has elapsed; live events make it longer."""
        again_s = WHOLE_READ_INTERVAL_S if self._live_healthy else UNCOUNTED_READ_S
        return time.monotonic() >= self._whole_read_at + again_s

    def _schedule_rest(self, reading: Reading, requested_records: int) -> None:
        """Set the earliest time of the next reading after the terminal prepared its log."""
        here = time.monotonic()
        self._rest_until = here + REST_FACTOR * reading.prepared_s
        if reading.start == 0 and reading.total > SMALL_LOG:
            self._whole_read_at = here
            if requested_records:  # it cannot send the end alone
                self._rest_until = max(self._rest_until, here + WHOLE_READ_INTERVAL_S)

    def _count_unannounced(self, new: int) -> None:
        """Count polls with punches that had no live event: a restarted terminal loses its registrations."""
        self._unannounced_polls += 1
        if self._unannounced_polls >= UNANNOUNCED_POLLS_MAX and not self._live_silent:
            self._live_silent = True
            self._log.warning("live_silent", polls=self._unannounced_polls, new=new)

    def _read_new(
        self, terminal: Logged, known: KnownTerminal, context: ReadingContext, *, requested: bool
    ) -> ReadingResult:
        # Both flags may be set again during the reading, and then refer to the next one.
        due, self._full_due = self._full_due, False
        self._hinted = False
        try:
            stored = self._read(terminal, known, context, full=due or requested)
        except BaseException:
            self._full_due = self._full_due or due
            raise
        self._caught_up = stored is not None
        if stored is None:
            self._hinted = True
            return ReadingResult()
        self._unproven = False
        self._last_read = time.monotonic()
        self._check_count(stored)
        return stored

    def _check_count(self, stored: ReadingResult) -> None:
        """Remember a count that differs from a log without new records; a punch may follow the count."""
        records = self.state.sizes.records
        news = stored.new or stored.quarantined or stored.confirmed or stored.withheld
        if not news and records != self._known().in_log:
            self._wrong_count = records

    def _read(
        self, terminal: Logged, known: KnownTerminal, context: ReadingContext, *, full: bool
    ) -> ReadingResult | None:
        """Read and store new records; None where a wider reading is needed and its interval has not elapsed."""
        start = 0 if full else known.tail_start if self._next_start is None else self._next_start
        width = OVERLAP if self._next_start is None else max(OVERLAP, known.in_log - start)
        marking = terminal if isinstance(terminal, Acknowledging) and not full and self._next_start is None else None
        while True:
            if marking is not None:
                reading = marking.new()
            elif start == 0 and not full and known.tail_start and not self._may_read_whole_log():
                self._whole_read_due = True
                return None
            else:
                reading = terminal.read(start, known.layout)
                self._schedule_rest(reading, start)
            pins: Mapping[int, str] | None = None
            if reading.by_uid and isinstance(terminal, Enrolled):
                pins = terminal.pins()
            if known.layout not in (None, reading.layout) and reading.total:
                self._log.warning("layout_changed", before=known.layout, after=reading.layout)
            between = _BetweenSlices(self._stopping, partial(self._drain_live_events, terminal))
            try:
                stored = self._ledger.record_reading(
                    context, reading, start=self._settings.start, pins=pins, between=between
                )
                # Commit, then acknowledge: a crash between the two costs a second reading, never a punch.
                if marking is not None:
                    self._acknowledge(marking, reading)
            except Unaligned:
                width *= WIDEN_FACTOR
                # A log with marks was read from its beginning, or from the first mark, and had no overlap.
                whole = marking is not None or width > SMALL_LOG
                start = 0 if whole else max(0, min(known.in_log, reading.total) - width)
                marking = None
                self._next_start = start
                if not self._may_read():
                    return None
                continue
            self._next_start, self._whole_read_due, self._unread_step = None, False, False
            if reading.total:
                self.state.layout = reading.layout
            if reading.start == 0:
                self._report_reconciliation(reading, stored)
            if between.error is not None:
                raise between.error
            return stored

    @staticmethod
    def _acknowledge(terminal: Acknowledging, reading: Reading) -> None:
        """Clear the terminal's marks of new records for what was stored, except for the last records.

        Those precede the next reading of new records, and prove that it continues the stored log.
        """
        terminal.acknowledge(max(0, reading.total - reading.start - OVERLAP))

    def _report_reconciliation(self, reading: Reading, stored: ReadingResult) -> None:
        """Report the result of reading the whole log."""
        self.state.last_full_reading = self._clock.now()
        counts = {
            "records": reading.total,
            "new": stored.new + stored.quarantined + stored.withheld,
            "missed": stored.missed,
            "invented": stored.invented,
            "reordered": stored.reordered,
            "unconfirmed": stored.unconfirmed,
        }
        self._reconciliation = {"at": utc_text(self.state.last_full_reading), **counts}
        if stored.missed or stored.invented or stored.reordered:
            self._log.warning("log_differs", missed=stored.missed, invented=stored.invented, moved=stored.reordered)
            message = (
                f"terminal {self.name}: its log is not what earlier readings brought: {stored.missed} records more, "
                f"{stored.invented} missing, {stored.reordered} in another place"
            )
            self._alarm("log_differs", message, self.name)
        self.publish_tally()

    # Reading by date: a cross-check, which never stores anything.

    def _check_by_date(self, terminal: Terminal, context: ReadingContext) -> None:
        """Compare the terminal's records of the last days, read by date, with the ledger.

        A difference makes a full reading due. Where it persists, the terminal's readings by date are wrong and are
        switched off.
        """
        if not isinstance(terminal, Ranged) or context.clock is None or not self._caught_up:
            return
        known = self._known()
        unsettled = known.shrunk_to is not None or known.length < max(1, known.matched_until or 0)
        if known.ranged is False or unsettled or (self._range_difference_open and self._full_due):
            return
        if time.monotonic() < self._range_check or not self._may_read():
            return
        # By the terminal's clock, and up to the begin of this poll: later records are not read yet.
        shown = (context.now + timedelta(milliseconds=context.clock.offset_ms)).astimezone(self._zone)
        if shown.year <= event_module.RESET_YEAR:
            return  # dates of a reset clock are meaningless, and may lie before the first valid one
        self._range_check = time.monotonic() + RANGE_CHECK_S
        last = shown.replace(tzinfo=None, microsecond=0) - timedelta(seconds=2)
        first = datetime.combine(last.date() - timedelta(days=RANGE_DAYS), time_of_day.min)
        try:
            records = terminal.between(first, last, known.layout)
        except DriverError:
            if known.ranged is None:  # some firmware hangs at an unknown command
                self._range_unsupported()
            raise
        if records is None:
            self._range_unsupported()
            return
        found = [record for record in records if isinstance(record, RawPunch)]
        if any(not first <= record.local_time <= last for record in found):
            self._reject_range("records of other dates")
            return
        difference = self._difference_by_date(known, found, last.date())
        if not difference:
            self._range_difference_open = False
            if known.ranged is None:
                self._pending.remember(self.name, ranged=True)
        elif self._range_difference_open:
            self._reject_range("a full reading of the log says otherwise")
        else:
            self._log.warning("range_differs", records=difference)
            self._range_difference_open = self._full_due = self._hinted = True
            self._range_check = 0.0

    def _difference_by_date(self, known: KnownTerminal, found: list[RawPunch], today: date) -> int:
        """Count found records that are unknown, and records of earlier days in the log that were not found."""
        prints = Counter(map(fingerprint, found))
        placed: Counter[bytes] = Counter()
        for place in range(known.shift, known.length, RANGE_BLOCK):
            order = self._ledger.order(known, place, RANGE_BLOCK)
            placed.update(print_ for print_ in order if print_ in prints)
        days = Counter(record.local_time.date() for record in found)
        missing = [
            (day.in_log or 0) - days[day.day]
            for day in self._ledger.tally(self.name, today - timedelta(days=RANGE_DAYS))
            if day.day is not None and day.day < today
        ]
        return (prints - placed).total() + sum(count for count in missing if count > 0)

    def _range_unsupported(self) -> None:
        self._pending.remember(self.name, ranged=False)
        self._log.info("range_unsupported")

    def _reject_range(self, reason: str) -> None:
        self._range_difference_open = False
        self._pending.remember(self.name, ranged=False)
        self._log.warning("range_distrusted", reason=reason)

    def _known(self) -> KnownTerminal:
        known = self._ledger.terminal(self.name)
        assert known is not None  # noqa: S101 - pinned by _check_serial
        return known

    def _context(self, via: Via, clock: ClockEvidence | None, *, stepped: bool) -> ReadingContext:
        return ReadingContext(
            terminal=self.name,
            serial=self.state.serial or "",
            zone=self._zone,
            via=via,
            now=self._clock.now(),
            synchronised=self._clock.synchronised(),
            clock=clock,
            stepped=stepped,
            tolerance=timedelta(seconds=self._settings.clock.tolerance),
            labels=self._driver.labels or event_module.LABELS,
        )

    # Identity.

    def _check_serial(self, terminal: Terminal) -> None:
        """Verify that the terminal at this address has the expected serial number; raises TerminalRefused if not."""
        reported = terminal.serial()
        configured = self._settings.serial
        known = self._ledger.terminal(self.name)
        expected = configured or (known.serial if known else None)
        if not reported:
            if configured is None:
                raise TerminalRefused("the terminal does not tell its serial number; write it into `serial:` by hand")
            reported = configured
        if expected is not None and reported != expected:
            self._report_other_serial(expected, reported)
            raise TerminalRefused(
                f"a terminal with serial {reported} answers where {expected} is expected; if it was replaced, write "
                "the new serial into `serial:`, otherwise check the address"
            )
        others = [
            other.name for other in self._ledger.terminals() if other.serial == reported and other.name != self.name
        ]
        if others and configured is None:
            raise TerminalRefused(
                f"serial {reported} is known as terminal {others[0]}; if it was renamed or moved, write "
                f"`serial: {reported}` here and remove the other entry"
            )
        if known is None or known.serial != reported:
            self._ledger.pin_serial(self.name, reported)
            self._log.info("serial_pinned", serial=reported)
            self._timekeeper.forget()  # the clock of another device did not jump
            self._live = self._settings.live
        self.state.serial = reported
        self._reported_serial = None
        again = time.monotonic() >= self._identify_at
        if self.state.info is None or self.state.info.serial != reported or self._first_failure is not None or again:
            self._identify_at = time.monotonic() + IDENTIFY_S
            self.state.info = replace(terminal.identify(), serial=reported)
        self._check_identity(terminal, self.state.info)

    def _check_identity(self, terminal: Terminal, info: TerminalInfo) -> None:
        """Report a changed property of the device with this serial number; it is read all the same."""
        mac = terminal.mac_address() if isinstance(terminal, Networked) else None
        seen: dict[What, str | None] = {"mac": mac, "firmware": info.firmware, "platform": info.platform}
        for change in self._identities.changes(info.serial, seen):
            data = {
                "terminal": self.name,
                "serial": info.serial,
                "what": change.what,
                "value_before": change.before,
                "value_after": change.after,
            }
            self._note(event_module.TERMINAL_CHANGED, data)
            self._log.warning("identity_changed", what=change.what, before=change.before, after=change.after)
            message = (
                f"terminal {self.name}: serial {info.serial} answers with another {change.what} ({change.after}, "
                f"before {change.before}); if nobody exchanged or updated it, find out what answers there"
            )
            self._alarm("identity_changed", message, self.name)

    def _report_other_serial(self, expected: str, reported: str) -> None:
        if self._reported_serial == reported:
            return  # already reported
        self._reported_serial = reported
        data = {
            "terminal": self.name,
            "serial": expected,
            "what": "serial",
            "serial_before": expected,
            "serial_after": reported,
        }
        self._note(event_module.TERMINAL_CHANGED, data)
        self._alarm(
            "serial_changed", f"terminal {self.name}: serial {reported} answers, {expected} is expected", self.name
        )

    # The terminal's clock.

    def _measure_clock(self, terminal: Terminal) -> None:
        """Compare the clocks; a jump marks unread records until they are stored."""
        self._clock_stepped = self._compare_clocks(terminal)
        self._unread_step |= self._clock_stepped

    def _compare_clocks(self, terminal: Terminal) -> bool:
        """Compare the terminal's clock with the gateway's; return whether it jumped since the last comparison."""
        begun = self._clock.now()
        reading = terminal.read_clock()
        here = time.clock_gettime(time.CLOCK_BOOTTIME)
        before, self._before_setting = self._before_setting, None
        if before is not None:
            self._timekeeper.forget()
        jump = self._timekeeper.measure(reading, begun, here, synchronised=self._clock.synchronised())
        after = self.state.clock = self._timekeeper.evidence
        if before is not None:
            self._report_clock_set(before, after)
        if jump is None or after is None:
            return False
        data = {
            "terminal": self.name,
            "serial": self.state.serial,
            "before": _clock_data(jump.before),
            "after": _clock_data(after),
        }
        self._note(event_module.CLOCK_STEPPED, data)
        self._log.warning("clock_stepped", before_ms=jump.before.offset_ms, after_ms=after.offset_ms)
        self._alarm("clock_stepped", f"terminal {self.name}: its clock jumped by {round(jump.by_s)} s", self.name)
        return True

    def _correct_clock(self, terminal: Terminal) -> None:
        """Set a wrong clock at a quiet hour; attempted once per request."""
        clock = self.state.clock
        if time.monotonic() >= self._clock_set_until or clock is None or not self._clock.synchronised():
            return
        off = abs(timedelta(milliseconds=clock.offset_ms))
        if off > timedelta(seconds=self._settings.clock.tolerance):
            if self._is_near_burst(clock):
                return  # checked again at the next poll until the deadline
            if not self._caught_up:
                return  # unread records must be judged by the clock that made them
            finding = judge_clock(
                clock.offset_ms, clock.bound_ms, self._settings.clock.tolerance, synchronised=self._clock.synchronised()
            )
            if finding == "clock_zone":
                minutes = round(off.total_seconds() / 60)
                advice = f"correct timezone ({self._zone.key}) if it is right, else set it by hand"
                self._report_clock_not_set(
                    f"it is off by {minutes} min, as a clock of another time zone: compare it, then {advice}"
                )
            elif off > timedelta(seconds=self._settings.max_set):
                self._report_clock_not_set(
                    f"it is wrong by {round(off.total_seconds())} s, more than max_set allows; look at it"
                )
            elif isinstance(terminal, SettableClock):
                self._set_clock(terminal, clock)
                self._measure_clock(terminal)
            else:
                self._report_clock_not_set("the gateway cannot set the clock of such a terminal; set it by hand")
        self._clock_set_until = 0.0

    def _is_near_burst(self, clock: ClockEvidence) -> bool:
        """Return whether a burst of punches lies in the last two hours, or usually occurs in the next two.

        Where less than two weeks are known, no usual hours exist, and only the last two hours count.
        """
        shown = (self._clock.now() + timedelta(milliseconds=clock.offset_ms)).astimezone(self._zone)
        here = shown.replace(tzinfo=None)
        since = here - BURST_DISTANCE
        if forecast.has_burst(self._ledger.punch_times(self.name, since - forecast.BURST_SPAN)):
            return True
        history = self._ledger.hours(self.name, here.date() - timedelta(weeks=forecast.WEEKS))
        usual = forecast.usual_hours(history, here.date())
        return usual is not None and bool(forecast.usual_time(usual, here, here + BURST_DISTANCE))

    def _set_clock(self, terminal: SettableClock, before: ClockEvidence) -> None:
        right = self._clock.now().astimezone(self._zone) + timedelta(milliseconds=500)
        self._clock_set_until = 0.0  # spent even if the connection breaks
        self._before_setting = before
        try:
            terminal.set_clock(right.replace(tzinfo=None, microsecond=0))
        except TerminalRefused as exc:
            self._before_setting = None
            self._report_clock_not_set(str(exc))

    def _report_clock_set(self, before: ClockEvidence, after: ClockEvidence | None) -> None:
        """Record the result of setting the clock, by the measurement after it."""
        if after is None:
            self._report_clock_not_set("it shows an impossible date after it was set")
            return
        if abs(after.offset_ms - before.offset_ms) > STEP_S * 1000 or abs(after.offset_ms) < abs(before.offset_ms):
            data = {
                "terminal": self.name,
                "serial": self.state.serial,
                "before": _clock_data(before),
                "after": _clock_data(after),
            }
            self._note(event_module.CLOCK_SET, data)
            if self._clock.synchronised():
                self._pending.remember_clock(self.name, after)
        if abs(after.offset_ms) > after.bound_ms + CLOCK_SET_TOLERANCE_MS:
            self._report_clock_not_set(f"it was set and is wrong by {round(after.offset_ms / 1000)} s all the same")
            return
        self._log.info("clock_set", before_ms=before.offset_ms, after_ms=after.offset_ms)
        message = f"terminal {self.name}: its clock was wrong by {round(before.offset_ms / 1000)} s and has been set"
        self._alarm("clock_set", message, self.name)

    def _report_clock_not_set(self, reason: str) -> None:
        self._log.warning("clock_not_set", reason=reason)
        self._alarm("clock_not_set", f"terminal {self.name}: its clock was not set: {reason}", self.name)

    # Outages.

    def _record_failure(self, cause: Cause, reason: str, exc: DriverError | None = None) -> float:
        """Record a failure, reported once per outage; return the pause before the next visit."""
        now = self._clock.now()
        self._failures += 1
        self._first_failure = self._first_failure or now
        self._unproven = True
        news = not self._lost or self.state.cause != cause
        lost = self._failures >= LOST_AFTER or cause == "refused"
        if isinstance(exc, ProtocolError) and (news or cause == "protocol"):
            self._keep_capture(exc)
        if lost and news:
            self.state.online, self.state.cause, self.state.reason = False, cause, reason
            self.state.since = self._first_failure
            self._log.warning("terminal_lost", cause=cause, reason=reason)
            if not self._lost:
                data = {
                    "terminal": self.name,
                    "serial": self.state.serial,
                    "from": utc_text(self._first_failure),
                    "cause": cause,
                    "reason": reason,
                }
                self._note(event_module.TERMINAL_LOST, data)
            code = "terminal_refused" if cause == "refused" else "terminal_lost"
            code = "log_unreadable" if isinstance(exc, UnreadableLog) else code
            if cause != "internal":  # driver_failed is raised already
                self._alarm(code, f"terminal {self.name}: {reason}", self.name)
            self._lost = True
            self.publish_state()
        return PAUSES[cause].after(self._failures)

    def _record_success(self) -> None:
        """Record a successful visit, and the end of an outage if there was one."""
        now = self._clock.now()
        if self._lost:
            assert self._first_failure is not None  # noqa: S101 - set by the first failure
            data = {
                "terminal": self.name,
                "serial": self.state.serial,
                "from": utc_text(self._first_failure),
                "to": utc_text(now),
                "cause": self.state.cause,
            }
            self._note(event_module.TERMINAL_FOUND, data)
            self._log.info("terminal_found", away_s=round((now - self._first_failure).total_seconds()))
            self._alarm("terminal_found", f"terminal {self.name} answers again", self.name)
            self._range_check = time.monotonic() + RANGE_CHECK_AFTER_OUTAGE_S
        if not self.state.online:
            self.state.since = now
        self.state.online, self.state.cause, self.state.reason = True, None, None
        self._failures, self._first_failure, self._lost = 0, None, False
        self.publish_state()

    def _note(self, event_type: str, data: dict[str, Any]) -> None:
        moment = self._clock.now().astimezone(self._zone)
        self._pending.note(event_type, self.name, moment, data)

    def _keep_capture(self, exc: ProtocolError) -> None:
        """Keep the last bytes of a connection that broke the protocol, and the whole body of an unreadable log.

        The newest captures of all terminals are kept. They help to find the cause and are no evidence: a full disk
        costs only the capture.
        """
        body = exc.body if isinstance(exc, UnreadableLog) else None
        if exc.capture is None and body is None:
            return
        stem = f"{self._clock.now():%Y%m%dT%H%M%S}-{self.name}"
        path = self._captures / f"{stem}.txt"
        try:
            with Folder(self._captures.parent) as data:
                data.make_folder(self._captures.name, 0o700)
                with data.folder(self._captures.name) as folder:
                    text = f"terminal {self.name}\nreason {exc}\n{exc.capture or ''}\n"
                    _write_private(folder, path.name, text.encode("utf-8", "backslashreplace"), CAPTURES_KEPT)
                    if body is not None:
                        _write_private(folder, f"{stem}.bin", body, BODIES_KEPT)
        except OSError as error:
            if self._captures_writable:
                self._log.warning("capture_failed", path=str(path), reason=str(error), capture_of=str(exc))
            self._captures_writable = False
            return
        self._captures_writable = True
        self._log.warning("capture_kept", path=str(path), reason=str(exc))


def release_withheld(
    ledger: Ledger, settings: TerminalSettings, zone: ZoneInfo, clock: Clock, first: date, last: date
) -> int:
    """Add the withheld records of a terminal's days from ``first`` to ``last`` to the stream.

    The dates at the ends of the calendar mean no bound. Returns their number.
    """
    known = ledger.terminal(settings.name)
    if known is None:
        return 0
    driver = DRIVERS[settings.driver]
    context = ReadingContext(
        terminal=settings.name,
        serial=known.serial,
        zone=zone,
        via=driver.via,
        now=clock.now(),
        synchronised=clock.synchronised(),
        clock=None,  # not measured when the records were made
        stepped=False,
        tolerance=timedelta(seconds=settings.clock.tolerance),
        labels=driver.labels or event_module.LABELS,
    )
    return ledger.release(context, first, last)


class _Cancelled(Exception):  # noqa: N818 - no error
    """The worker was stopped in the middle of an import; stored slices stay stored."""


class _BetweenSlices:
    """Callback between two slices of an import: check for a stop, and receive live events.

    A connection that breaks meanwhile does not discard what was read: the error is kept until everything is stored.
    """

    def __init__(self, stopping: threading.Event, listen: Callable[[], None]) -> None:
        self._stopping = stopping
        self._listen = listen
        self.error: DriverError | None = None

    def __call__(self) -> None:
        if self._stopping.is_set():
            raise _Cancelled
        if self.error is None:
            try:
                self._listen()
            except DriverError as exc:
                self.error = exc


def _write_private(folder: Folder, name: str, content: bytes, kept: int) -> None:
    """Write a file readable by the daemon's user only, atomically, and keep only the newest of its kind."""
    folder.write(name, content)
    kind = name[name.rindex(".") :]
    for old in [one for one in folder.names() if one.endswith(kind)][:-kept]:
        folder.remove(old)


def _tally_data(day: DayCounts) -> dict[str, Any]:
    return {
        "day": day.day.isoformat() if day.day else None,
        "in_log": day.in_log or 0,
        "in_ledger": day.in_ledger,
        "withheld": day.withheld,
        "sent": day.sent,
        "confirmed": day.confirmed,
    }


def _clock_data(clock: ClockEvidence) -> dict[str, Any]:
    return {"offset_ms": clock.offset_ms, "bound_ms": clock.bound_ms, "measured": utc_text(clock.measured)}
