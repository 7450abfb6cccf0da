"""One terminal: visit it, read what is new, listen, come back. One thread, one conversation, its own pace.

Each visit asks the serial, the clock and the count. Where the count says that nothing is new, that was all. Otherwise
the end of the log is read with a few known records in front, which prove that it continues what the ledger knows; where
they do not, more is read, and at last everything.

Preparing its log keeps a terminal busy, some for half a minute: while punches are heard of as they happen, it is then
left in peace for ten times as long. What a person asks for is done at once.
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
from gateway import forecast, punch
from gateway.advice import judge_clock
from gateway.alignment import fingerprint
from gateway.clock import Clock
from gateway.filing import LedgerDesk, filed, receipt, refusal
from gateway.identities import Identities, What
from gateway.ledger import OVERLAP, Day, Known, Ledger, LedgerError, LedgerFull, Stored, Unaligned
from gateway.pause import Pause
from gateway.pending import PendingWrites
from gateway.punch import ClockEvidence, Witness, utc_text
from gateway.settings import TerminalSettings
from gateway.timekeeper import STEP_S, Timekeeper
from gateway.trace import origin, trace
from gateway.visit_requests import VisitRequest, VisitRequests

Cause = Literal["unavailable", "refused", "protocol", "internal"]
Medium = Literal["none", "reading", "safe"]

LISTEN_SLICE_S = 1.0
"""Longest stretch of listening before the worker looks whether it should stop or read."""
DRAIN_S = 0.002
"""Long enough to take what has arrived, too short to delay what is being done."""
UNCOUNTED_READ_S = 600.0
"""How often the end of a log is read whose count cannot tell whether something is new."""
FULL_READING_DUE = timedelta(hours=26)
WHOLE_READ_INTERVAL_S = 3600.0
"""How often a whole log is read for want of a readable end; without live events, as often as an uncounted one."""
SMALL_LOG = 1000
"""Records of a log that is read whole as quickly as in part."""
REST_FACTOR = 10.0
"""A terminal is left in peace this many times as long as it needed to prepare its log."""
IDLE_PROBE_S = 60.0
"""So long a terminal may say nothing while it is listened to; then it is asked something, as the line may be dead."""
UNANNOUNCED_POLLS_MAX = 2
"""Polls that found punches which live events should have told of, before events are asked for anew.

Where that does not help, twice as many the next time: some terminals never tell.
"""
RANGE_CHECK_S = 6 * 3600.0
RANGE_CHECK_AFTER_OUTAGE_S = 300.0
RANGE_DAYS = 2
"""Whole days before today that a reading by date looks at."""
RANGE_BLOCK = 5000
TALLY_DAYS = 31
CLOCK_SET_WINDOW_S = 2 * 3600.0
"""How long a clock that is to be set waits for a quiet hour."""
BURST_DISTANCE = timedelta(hours=2)
"""No clock is set this near to people coming or going: the same second would come twice, or never."""
CLOCK_SET_TOLERANCE_MS = 1500
"""A clock is set to whole seconds, and takes a while about it."""
BAD_RECORD_LOG_S = 3600.0
"""How often people hear that a line says what cannot be read: each time would be no help."""
IDENTIFY_S = 86_400.0
"""How often a terminal that answers all the time is asked for its firmware and platform."""
LOST_AFTER = 2
"""Failures in a row that make a terminal lost: one may be a restart."""
UNREAD_LISTED_MAX = 20
"""Files that are not read which the state names."""
CAPTURES_KEPT = 20
SMALL_READING_MAX = 500
"""More new records than this are an import, which waits while the disk is nearly full."""
FULL_PAUSE_S = 30.0
BODIES_KEPT = 5
"""Of logs that nobody could read, up to 4 MiB each."""
WIDEN_FACTOR = 8
"""Each further reading backwards is this many times wider: preparing a log costs the terminal more than sending it."""

log = structlog.get_logger("worker")


PAUSES: dict[Cause, Pause] = {
    "unavailable": Pause(2.0, 60.0),
    "protocol": Pause(5.0, 120.0),
    # Asking again and again with a wrong key locks some terminals.
    "refused": Pause(60.0, 600.0),
    # A mistake in a driver meets the same bytes again: soon is of no use.
    "internal": Pause(60.0, 600.0),
}
DISK_FULL_REASON = "there is no room on the gateway's disk; make room, and it is read"


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
    medium: Medium | None = None
    """Of a terminal whose records come on a flash disk: is one there, and may it be taken away? None for any other."""
    unread: dict[str, str] = field(default_factory=dict)
    """Files in the folder that look like exports and are not read, by their marks. Never changed in place."""
    last_full_reading: datetime | None = None
    last_new: datetime | None = None
    """When a punch, or anything else that was new, came from it last."""
    full_on: date | None = None
    """When its log will be full at the pace of the last weeks."""
    silent_since: datetime | None = None
    """Set while it has been silent for longer than is usual for it."""

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
        publish: Callable[[str, dict[str, Any]], None] = lambda _topic, _payload: None,
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
        pending: PendingWrites | None = None,
        identities: Identities | None = None,
    ) -> None:
        """``report`` gets the terminal's state when it changes, ``publish`` tallies, ``alarm`` what people should know.

        What ``report`` gets describes the present and is to be kept for whoever asks later; tallies are not.
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
        """The last one could be written."""
        self._pending = pending or PendingWrites(ledger, now=clock.now, alarm=alarm)
        self._report = report
        self._publish = publish
        self._alarm = alarm
        self._log = log.bind(terminal=settings.name)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._requests = VisitRequests()
        self._current_requests: list[VisitRequest] = []
        """Those that this visit is for; one that fails leaves them to the next."""
        self._full_due = False
        self._live = settings.live
        self._unproven = True
        """The next reading must show known records even if the count is as expected."""
        self._hinted = False
        self._last_read = -UNCOUNTED_READ_S
        self._wrong_count: int | None = None
        """A count that is not that of the log, which was read under it and had nothing new."""
        self._next_start: int | None = None
        """Where the next reading begins, after one whose beginning had nothing in common with what is known."""
        self._rest_until = 0.0
        self._whole_read_due = False
        """Only the whole log can be read, and it was too early for that."""
        self._whole_read_at = -WHOLE_READ_INTERVAL_S
        self._listening = False
        """Events are registered in this conversation."""
        self._caught_up = False
        """The poll before this one, in the same conversation, left nothing unread."""
        self._last_received = 0.0
        self._unannounced_polls, self._unannounced_limit = 0, UNANNOUNCED_POLLS_MAX
        self._live_silent = False
        self._range_check = 0.0
        self._range_difference_open = False
        """A reading by date brought something else than the ledger has, and a full reading is to settle it."""
        self._clock_set_until = 0.0
        """Until when the clock is to be set, if it is."""
        self._settable: bool | None = None
        """Whether the clock of such a terminal can be set; None: it has not been met yet."""
        self._before_setting: ClockEvidence | None = None
        """The last measurement before the clock was set; None once it has been read back."""
        self._timekeeper = Timekeeper(zone, None)
        self._clock_stepped = False
        """The terminal's clock has jumped since its port was last read: a live event may be of either clock."""
        self._unread_step = False
        """The clock has jumped since a reading was last stored: a record of the log may be of either clock."""
        self._identities = identities or Identities(None)
        self._identify_at = 0.0
        """When the terminal is asked again what it is."""
        self._reported_serial: str | None = None
        """A wrong serial that has been told."""
        self._driver_fault: str | None = None
        """What the driver raised last beside its DriverErrors, until a conversation ends otherwise."""
        self._failures = 0
        self._first_failure: datetime | None = None
        self._seen_files: set[str] = set()
        """Marks of the files of a flash disk that need not be looked at again."""
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

    # From outside.

    def follow(self, before: "Worker") -> None:
        """Go on, when :meth:`start` is called, with the work of one for the same name that has ended.

        What is due stays due. Where the family is the same an outage goes on, and what is known of the terminal holds.
        """
        before.hand_over_requests(self)
        self._full_due, self._clock_set_until = before._full_due, before._clock_set_until  # noqa: SLF001 - one of us
        if self._settings.driver != before._settings.driver:  # noqa: SLF001
            return
        self.state = before.state
        self._failures, self._lost = before._failures, before._lost  # noqa: SLF001
        self._first_failure, self._unread_step = before._first_failure, before._unread_step  # noqa: SLF001
        self._before_setting, self._reconciliation = before._before_setting, before._reconciliation  # noqa: SLF001

    def start(self) -> None:
        """Begin to visit the terminal."""
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
            # A machine that is off at night never meets the hour of the nightly reading: it is made up for.
            read = self.state.last_full_reading
            self._full_due |= read is None or self._clock.now() - read > FULL_READING_DUE
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

    def request(self, *, full: bool = False) -> Future[dict[str, Any] | None]:
        """Ask for a visit now; ``full`` for one that reads the whole log, whenever that was done last.

        Returns what will hold, after the visit, the reconciliation that the full reading ended with, or VisitPostponed
        where it could not be read yet. A visit that fails leaves the request to the next one, and so does a worker
        that is replaced; it is cancelled where the terminal is no longer visited.
        """
        done = self._requests.put(full=full)
        self._wake.set()
        return done

    def hand_over_requests(self, successor: "Worker") -> None:
        """Let another worker answer the requests that wait, and those that still come."""
        self._requests.hand_over(successor._requests)  # noqa: SLF001 - one of us

    def cancel_requests(self) -> None:
        """Cancel the requests that wait, and those that still come: nobody visits the terminal any more."""
        self._requests.close()

    def request_set_clock(self) -> bool:
        """Ask for the clock to be set, if it is wrong, at the next quiet moment of two hours; False if it cannot be."""
        if self._settable is False:
            return False
        self._clock_set_until = time.monotonic() + CLOCK_SET_WINDOW_S
        self._wake.set()
        return True

    def schedule_nightly_work(self) -> None:
        """Do tonight what is done every night: read the whole log, and set the clock where the office wants that."""
        self._full_due = True
        if self._settings.clock.set == "nightly":
            self._clock_set_until = time.monotonic() + CLOCK_SET_WINDOW_S
        self._wake.set()

    def release(self, first: date, last: date) -> int:
        """Publish at last what was withheld of the days from ``first`` to ``last``; return how many records that is.

        The dates at the ends of the calendar mean no bound.
        """
        return release_withheld(self._ledger, self._settings, self._zone, self._clock, first, last)

    def publish_tally(self) -> None:
        """Publish how far the records of the last days have travelled, with what the last full reading came to."""
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
        """Publish what is known of the terminal."""
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
                # The daemon has not waited for a slow answer, and what it was for is closed.
                self._log.info("visit_abandoned", reason=type(exc).__name__)
                return
            self.failure = exc
            self._log.exception("worker_failed")

    def _run_visit(self) -> float:
        """Hold one conversation, whatever comes of it; return how long to wait before the next.

        What a driver raises beside its DriverErrors costs this terminal only. A ledger that does not work, and whatever
        goes wrong while a failure is noted, is no matter of one terminal and leaves here.
        """
        self._pending.flush()
        try:
            pause_s = self._visit()
        except LedgerFull as exc:
            # Nothing is lost: the terminal's log is the buffer, and whatever was not stored is read again.
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
        """Hold one conversation with the terminal; return how long to wait before the next."""
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
                        return 0.0  # events are registered again by beginning anew
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
        """Store punches as they happen until the next poll is due or something asks for one."""
        self._last_received = time.monotonic()
        while self._live and (left := until - time.monotonic()) > 0 and not self._wake.is_set():
            if self._hinted and self._may_read():
                break
            self._store_live_events(terminal, min(left, LISTEN_SLICE_S))
            if time.monotonic() - self._last_received >= IDLE_PROBE_S:
                # A terminal that lost power says nothing, and neither does the line to it.
                terminal.read_clock()
                self._last_received = time.monotonic()
        if not self._stopping.is_set():
            self._wake.clear()

    def _store_live_events(self, terminal: object, for_s: float) -> None:
        """Store the punches that come, or have come, in this time, where the terminal tells of them."""
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
            # A log may be readable although the driver fails at live events: those are given up.
            self._live = not isinstance(terminal, Logged)
            raise

    def _drain_live_events(self, terminal: object) -> None:
        """Store the punches that have come in while something else was done."""
        self._store_live_events(terminal, DRAIN_S)

    def _store_live(self, event: RawPunch) -> bool:
        """Store a live punch; return False where only the log can tell what it is, or the count will not show it."""
        if self._ledger.room() == "none":
            return False  # it stays in the log
        witness = self._context("live", self.state.clock, stepped=self._clock_stepped)
        try:
            stored = self._ledger.record_live(witness, event)
        except LedgerFull:
            return False
        if stored:
            self.state.last_punch = event.local_time.isoformat()
            self.state.last_new = witness.now
        return stored and self._count_is_reliable

    def _store_final(self, event: RawPunch | Untimed | BadRecord) -> None:
        """Store what a terminal without a log has told, for it will not say it again."""
        witness = self._context("serial", self.state.clock, stepped=self._clock_stepped)
        if isinstance(event, Untimed):
            heard = witness.now.astimezone(self._zone).replace(tzinfo=None, microsecond=0)
            witness = replace(witness, host_time=True)
            event = RawPunch(event.pin, None, heard, event.state, event.verify, event.work_code, event.raw)
        new = self._pending.record_final(witness, event)
        if isinstance(event, RawPunch):
            self.state.last_punch = event.local_time.isoformat()
            self.state.last_new = witness.now
        elif new and time.monotonic() - self._bad_record_logged_at >= BAD_RECORD_LOG_S:
            self._bad_record_logged_at = time.monotonic()
            self._log.warning("record_quarantined", reason=event.reason)
            message = f"terminal {self.name}: what it says cannot be read ({event.reason}); the bytes are kept"
            self._alarm("line_unreadable", message, self.name)

    def _import_files(self, place: Exporting) -> Stored | None:
        """Store the files that have appeared, each once, and say when the disk they are on may be taken away.

        None where there is no room: the files stay where they are.
        """
        stored = Stored()
        if self._ledger.room() == "none":
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
                    # It was read to its end just before: the disk was pulled out, or the file has changed since.
                    self._log.info("file_unsettled", file=export.name, reason=str(exc))
                    unsettled = True
                    continue
                except Exception as exc:  # noqa: BLE001 - whatever a file makes fail costs that file
                    reason = str(exc) if isinstance(exc, DriverError) else f"it cannot be read ({type(exc).__name__})"
                    self._refuse(place, Refused(export.name, export.mark, reason, "name"))
            self._seen_files.add(export.mark)
        if not unsettled:
            self._set_medium("safe")
        return stored

    def _refuse(self, place: Exporting, refused: Refused) -> None:
        """Name a file that is not read: in the log, in the state, and beside it where it holds no attendance log."""
        self.state.unread = {**self.state.unread, refused.mark: refused.name}
        if len(self.state.unread) > UNREAD_LISTED_MAX + 1:
            return  # said already: there are more
        if len(self.state.unread) > UNREAD_LISTED_MAX:
            refused = refused._replace(reason=f"{refused.reason}; more files are not read, and not named one by one")
        if refused.why == "elsewhere" and (refused.serial is None or self._is_known(refused.serial)):
            self._log.info("file_left", file=refused.name, reason=refused.reason)
        else:
            self._log.warning("file_refused", file=refused.name, reason=refused.reason)
            message = f"terminal {self.name}: {refused.name} is not read: {refused.reason}"
            self._alarm("file_refused", message, self.name)
        if refused.why == "content":
            place.write_report(refused, refusal(refused, self._settings, self._clock.now()))
        self.publish_state()

    def _is_known(self, serial: str) -> bool:
        return any(serial.casefold() == other.serial.casefold() for other in self._ledger.terminals())

    def _import_file(self, place: Exporting, export: Export, stored: Stored) -> None:
        desk = LedgerDesk(self._ledger, self._settings, self._zone, self._clock)
        report = filed(desk, export, None, self._until_stopped)
        left = place.write_report(export, receipt(report, self._settings, self.state.serial or "", self._clock.now()))
        stored.read += export.lines
        stored.new += report.filed.new
        stored.quarantined += report.filed.quarantined
        stored.last_punch = _text(export.last) or stored.last_punch
        self._log.info("file_imported", file=export.name, receipt=left, **asdict(report.filed))
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
        witness = self._context(self._driver.via, self.state.clock, stepped=self._unread_step)
        self._drain_live_events(terminal)  # listening begins before reading, so that no punch falls between the two
        self._clock_stepped = False
        stored: Stored | None = Stored()
        if isinstance(terminal, Logged):
            stored = self._read_if_new(terminal, witness)
        elif isinstance(terminal, Exporting):
            stored = self._import_files(terminal)
        else:
            self._unread_step = False
        postponed, stored = stored is None, stored or Stored()
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
        self._check_by_date(terminal, witness)
        self._correct_clock(terminal)

    # What to read, and when.

    def _read_if_new(self, terminal: Logged, witness: Witness) -> Stored | None:
        """Read what is new, if anything is, and the terminal may be asked to prepare its log again.

        None where there is no room for it.
        """
        told = self._hinted or not (self._listening and self._caught_up)
        known = self._known()
        self.state.sizes = terminal.sizes()
        if self.state.sizes.records != self._wrong_count:
            self._wrong_count = None
        self._detect_replaced_log(known)
        asked = any(request.full for request in self._current_requests)
        wanted = asked or self._full_due or self._may_have_new_records(known)
        self._caught_up = not wanted
        if not wanted and self._count_is_reliable:
            self._unread_step = False  # nothing was made that is not read
        if not wanted or not (asked or self._may_read()):
            return Stored()
        if not self._has_room(known):
            return None
        stored = self._read_new(terminal, known, witness, asked=asked)
        if stored.new and not told:
            self._count_unannounced(stored.new)
        return stored

    def _has_room(self, known: Known) -> bool:
        """Tell whether what there is to read may be read now; imports are the first to wait for room on the disk."""
        room = self._ledger.room()
        records = self.state.sizes.records
        news = SMALL_READING_MAX + 1 if known.length == 0 or records is None else records - known.in_log
        may = room == "all" or (room == "news" and news <= SMALL_READING_MAX)
        if not may:
            self._log.info("reading_postponed", room=room)
            self._hinted, self._unproven = False, True  # at each poll it is looked again
        return may

    def _detect_replaced_log(self, known: Known) -> None:
        """End the pauses that were measured by a log which is not there any more, or that a small log does not need.

        A log that other software clears is soon cleared again: what stands in it now is read at once.
        """
        records = self.state.sizes.records
        if records is None or records == self._wrong_count:
            return
        if records <= SMALL_LOG or records < known.in_log:
            self._whole_read_due, self._whole_read_at = False, -WHOLE_READ_INTERVAL_S
        if records < known.in_log:
            self._rest_until = 0.0

    def _may_have_new_records(self, known: Known) -> bool:
        if self._unproven or self._hinted or known.length < (known.matched_until or 0):
            return True
        if (self.state.sizes.new or 0) > OVERLAP:
            return True  # a full log overwrites its oldest record and keeps its count, but marks what is new
        if not self._count_is_reliable or self.state.sizes.records == known.shrunk_to:
            return time.monotonic() - self._last_read >= UNCOUNTED_READ_S
        # A log that was short and has as many records as it should again may have other ones.
        return known.shrunk_to is not None or self.state.sizes.records != known.in_log

    @property
    def _count_is_reliable(self) -> bool:
        """Whether a new record would change the count: a full log overwrites its oldest one and keeps it.

        A count that was found wrong is not relied on until it changes: some terminals always say 0.
        """
        records, capacity = self.state.sizes.records, self.state.sizes.capacity
        return records not in (None, self._wrong_count) and (capacity is None or records < capacity)

    @property
    def _live_healthy(self) -> bool:
        """Whether nothing has happened since the last reading that live events have not told of."""
        return self._listening and not self._unproven and not self._live_silent

    def _may_read(self) -> bool:
        if self._whole_read_due and not self._may_read_whole_log():
            return False
        return time.monotonic() >= self._rest_until or not self._live_healthy

    def _may_read_whole_log(self) -> bool:
        """Return whether a log whose end cannot be read may be read whole again, as live events are now."""
        again_s = WHOLE_READ_INTERVAL_S if self._live_healthy else UNCOUNTED_READ_S
        return time.monotonic() >= self._whole_read_at + again_s

    def _schedule_rest(self, reading: Reading, asked_for: int) -> None:
        """Leave the terminal in peace after it has prepared its log."""
        here = time.monotonic()
        self._rest_until = here + REST_FACTOR * reading.prepared_s
        if reading.start == 0 and reading.total > SMALL_LOG:
            self._whole_read_at = here
            if asked_for:  # it does not serve the end alone
                self._rest_until = max(self._rest_until, here + WHOLE_READ_INTERVAL_S)

    def _count_unannounced(self, new: int) -> None:
        """Take note of punches made while events were registered, and never told: a restart forgets who listens."""
        self._unannounced_polls += 1
        if self._unannounced_polls >= UNANNOUNCED_POLLS_MAX and not self._live_silent:
            self._live_silent = True
            self._log.warning("live_silent", polls=self._unannounced_polls, new=new)

    def _read_new(self, terminal: Logged, known: Known, witness: Witness, *, asked: bool) -> Stored:
        # Both flags may be set again while the reading goes on, and then mean the next one.
        due, self._full_due = self._full_due, False
        self._hinted = False
        try:
            stored = self._read(terminal, known, witness, full=due or asked)
        except BaseException:
            self._full_due = self._full_due or due
            raise
        self._caught_up = stored is not None
        if stored is None:
            self._hinted = True
            return Stored()
        self._unproven = False
        self._last_read = time.monotonic()
        self._check_count(stored)
        return stored

    def _check_count(self, stored: Stored) -> None:
        """Remember a count that differs from the log though nothing was new in it; a punch may come after the count."""
        records = self.state.sizes.records
        news = stored.new or stored.quarantined or stored.confirmed or stored.withheld
        if not news and records != self._known().in_log:
            self._wrong_count = records

    def _read(self, terminal: Logged, known: Known, witness: Witness, *, full: bool) -> Stored | None:
        """Read and store what is new; None where more must be read than the terminal may be asked for now."""
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
            aside = _BetweenSlices(self._stopping, partial(self._drain_live_events, terminal))
            try:
                stored = self._ledger.record_reading(
                    witness, reading, start=self._settings.start, pins=pins, between=aside
                )
                # Commit, then acknowledge: a crash between the two costs a second reading, never a punch.
                if marking is not None:
                    self._acknowledge(marking, reading)
            except Unaligned:
                width *= WIDEN_FACTOR
                # A log with marks is served from its beginning, or from the first of them, and that was not enough.
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
            if aside.trouble is not None:
                raise aside.trouble
            return stored

    @staticmethod
    def _acknowledge(terminal: Acknowledging, reading: Reading) -> None:
        """Let a terminal forget that what has just been stored is new, but for the last records.

        Those will stand in front of the next reading of new ones, and prove that it continues what is known.
        """
        terminal.acknowledge(max(0, reading.total - reading.start - OVERLAP))

    def _report_reconciliation(self, reading: Reading, stored: Stored) -> None:
        """Say what a reading of the whole log came to."""
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

    # Reading by date: a second opinion, which never stores anything.

    def _check_by_date(self, terminal: Terminal, witness: Witness) -> None:
        """Compare what the terminal finds under the last days' dates with what the ledger has of them.

        A difference is settled by a full reading. Where it outlives that, the terminal's answers by date are wrong and
        it is not asked again.
        """
        if not isinstance(terminal, Ranged) or witness.clock is None or not self._caught_up:
            return
        known = self._known()
        unsettled = known.shrunk_to is not None or known.length < max(1, known.matched_until or 0)
        if known.ranged is False or unsettled or (self._range_difference_open and self._full_due):
            return
        if time.monotonic() < self._range_check or not self._may_read():
            return
        # By the terminal's clock, and up to what was there before this poll: what is made meanwhile is not read yet.
        shown = (witness.now + timedelta(milliseconds=witness.clock.offset_ms)).astimezone(self._zone)
        if shown.year <= punch.RESET_YEAR:
            return  # its last days are none, and may lie before the first that it knows
        self._range_check = time.monotonic() + RANGE_CHECK_S
        last = shown.replace(tzinfo=None, microsecond=0) - timedelta(seconds=2)
        first = datetime.combine(last.date() - timedelta(days=RANGE_DAYS), time_of_day.min)
        try:
            records = terminal.between(first, last, known.layout)
        except DriverError:
            if known.ranged is None:  # some hang at a question they do not know
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

    def _difference_by_date(self, known: Known, found: list[RawPunch], today: date) -> int:
        """Count what was found and is not known, and what the log held of the days before today and was not found."""
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

    def _known(self) -> Known:
        known = self._ledger.terminal(self.name)
        assert known is not None  # noqa: S101 - pinned by _check_serial
        return known

    def _context(self, via: Via, clock: ClockEvidence | None, *, stepped: bool) -> Witness:
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
            labels=self._driver.labels or punch.LABELS,
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
            self._report_other_serial(expected, told)
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
            self._timekeeper.forget()  # the clock of another device did not jump
            self._live = self._settings.live
        self.state.serial = told
        self._reported_serial = None
        again = time.monotonic() >= self._identify_at
        if self.state.info is None or self.state.info.serial != told or self._first_failure is not None or again:
            self._identify_at = time.monotonic() + IDENTIFY_S
            self.state.info = replace(terminal.identify(), serial=told)
        self._check_identity(terminal, self.state.info)

    def _check_identity(self, terminal: Terminal, info: TerminalInfo) -> None:
        """Report what answers under a serial number otherwise than before: it is read all the same."""
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
            self._note(punch.TERMINAL_CHANGED, data)
            self._log.warning("identity_changed", what=change.what, before=change.before, after=change.after)
            message = (
                f"terminal {self.name}: serial {info.serial} answers with another {change.what} ({change.after}, "
                f"before {change.before}); if nobody exchanged or updated it, find out what answers there"
            )
            self._alarm("identity_changed", message, self.name)

    def _report_other_serial(self, expected: str, told: str) -> None:
        if self._reported_serial == told:
            return  # said already
        self._reported_serial = told
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

    def _measure_clock(self, terminal: Terminal) -> None:
        """Compare the clocks; a jump marks what is not read yet until that has been stored."""
        self._clock_stepped = self._compare_clocks(terminal)
        self._unread_step |= self._clock_stepped

    def _compare_clocks(self, terminal: Terminal) -> bool:
        """Compare the terminal's clock with ours; return whether it has jumped since the last comparison."""
        asked = self._clock.now()
        reading = terminal.read_clock()
        here = time.clock_gettime(time.CLOCK_BOOTTIME)
        before, self._before_setting = self._before_setting, None
        if before is not None:
            self._timekeeper.forget()
        jump = self._timekeeper.measure(reading, asked, here, synchronised=self._clock.synchronised())
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
        self._note(punch.CLOCK_STEPPED, data)
        self._log.warning("clock_stepped", before_ms=jump.before.offset_ms, after_ms=after.offset_ms)
        self._alarm("clock_stepped", f"terminal {self.name}: its clock jumped by {round(jump.by_s)} s", self.name)
        return True

    def _correct_clock(self, terminal: Terminal) -> None:
        """Set a clock that is wrong, at an hour when nobody punches; tried once a night."""
        clock = self.state.clock
        if time.monotonic() >= self._clock_set_until or clock is None or not self._clock.synchronised():
            return
        off = abs(timedelta(milliseconds=clock.offset_ms))
        if off > timedelta(seconds=self._settings.clock.tolerance):
            if self._is_near_burst(clock):
                return  # looked at again at the next poll, as long as the wish holds
            if not self._caught_up:
                return  # what is in the log was made by the clock as it is
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
        """Tell whether people came or went in the last two hours, or usually do in the next two.

        Where less than two weeks are known there is no usual: that it is night has to do.
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
        self._clock_set_until = 0.0  # whatever comes of it, a broken line included
        self._before_setting = before
        try:
            terminal.set_clock(right.replace(tzinfo=None, microsecond=0))
        except TerminalRefused as exc:
            self._before_setting = None
            self._report_clock_not_set(str(exc))

    def _report_clock_set(self, before: ClockEvidence, after: ClockEvidence | None) -> None:
        """Put on record what setting the clock has come to, by what it shows."""
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
            self._note(punch.CLOCK_SET, data)
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

    # Lost and found.

    def _record_failure(self, cause: Cause, reason: str, exc: DriverError | None = None) -> float:
        """Note a failure, once per outage; return how long to leave the terminal alone."""
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
                self._note(punch.TERMINAL_LOST, data)
            code = "terminal_refused" if cause == "refused" else "terminal_lost"
            code = "log_unreadable" if isinstance(exc, UnreadableLog) else code
            if cause != "internal":  # that is alarmed
                self._alarm(code, f"terminal {self.name}: {reason}", self.name)
            self._lost = True
            self.publish_state()
        return PAUSES[cause].after(self._failures)

    def _record_success(self) -> None:
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
        """Keep the last bytes of a conversation that broke the protocol, and a log that nobody can read, whole.

        The newest of all terminals are kept. They are a help for people, not evidence: a disk without room for them
        costs them and nothing else.
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
        except OSError as trouble:
            if self._captures_writable:
                self._log.warning("capture_failed", path=str(path), reason=str(trouble), capture_of=str(exc))
            self._captures_writable = False
            return
        self._captures_writable = True
        self._log.warning("capture_kept", path=str(path), reason=str(exc))


def release_withheld(
    ledger: Ledger, settings: TerminalSettings, zone: ZoneInfo, clock: Clock, first: date, last: date
) -> int:
    """Give what was withheld of a terminal's days from ``first`` to ``last`` its place in the stream.

    The dates at the ends of the calendar mean no bound. Returns how many records that is.
    """
    known = ledger.terminal(settings.name)
    if known is None:
        return 0
    driver = DRIVERS[settings.driver]
    witness = Witness(
        terminal=settings.name,
        serial=known.serial,
        zone=zone,
        via=driver.via,
        now=clock.now(),
        synchronised=clock.synchronised(),
        clock=None,  # nobody measured it when they were made
        stepped=False,
        tolerance=timedelta(seconds=settings.clock.tolerance),
        labels=driver.labels or punch.LABELS,
    )
    return ledger.release(witness, first, last)


class _Cancelled(Exception):  # noqa: N818 - no error
    """The worker was told to stop in the middle of an import; what is stored is stored."""


class _BetweenSlices:
    """What is done between two slices of an import: look whether to stop, and listen.

    A connection that breaks meanwhile does not cost what has been read: the trouble is kept until all is stored.
    """

    def __init__(self, stopping: threading.Event, listen: Callable[[], None]) -> None:
        self._stopping = stopping
        self._listen = listen
        self.trouble: DriverError | None = None

    def __call__(self) -> None:
        if self._stopping.is_set():
            raise _Cancelled
        if self.trouble is None:
            try:
                self._listen()
            except DriverError as exc:
                self.trouble = exc


def _write_private(folder: Folder, name: str, content: bytes, kept: int) -> None:
    """Write a file for the daemon's user only, whole or not at all, and keep only the newest of its kind."""
    folder.write(name, content)
    kind = name[name.rindex(".") :]
    for old in [one for one in folder.names() if one.endswith(kind)][:-kept]:
        folder.remove(old)


def _tally_data(day: Day) -> dict[str, Any]:
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
