"""Reads one terminal: connect, read new records, receive live events, repeat. One connection each.

Each visit queries the serial number, the clock and the record count. A count without change ends the visit. Otherwise
the end of the log is read together with a few known records in front of it, which prove that it continues the stored
log; where they do not, a wider part is read, at last the whole log.

Preparing its log keeps a terminal busy, some for half a minute: while live events arrive, the next reading waits for
ten times as long. A visit that a person requests begins at once.
"""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from drivers.base import (
    Attached,
    CallerPort,
    Driver,
    DriverError,
    Logged,
    ProtocolError,
    Reason,
    Recountable,
    Removable,
    Resumable,
    Terminal,
    TerminalRefused,
    TerminalUnavailable,
    UnreadableLog,
)
from gateway import event
from gateway.advice import obstacle
from gateway.clock import Clock
from gateway.event import ClockEvidence, ReadingContext, utc_text
from gateway.findings import FINDINGS
from gateway.identities import Identities
from gateway.incidents import alarm_message, log_incident
from gateway.ledger import Ledger, LedgerError, LedgerFull, ReadingResult
from gateway.pending import PendingWrites
from gateway.settings import TerminalSettings
from gateway.terminal.captures import Captures
from gateway.terminal.clock_check import ClockCheck
from gateway.terminal.context import TerminalContext
from gateway.terminal.date_check import DateCheck
from gateway.terminal.deliveries import DeliveryReceiver, brings_records
from gateway.terminal.entries import Entries
from gateway.terminal.folder import FolderImport
from gateway.terminal.identity import IdentityCheck
from gateway.terminal.live_events import LiveReceiver
from gateway.terminal.log_reading import LogReader, Stopped
from gateway.terminal.outage import Outage
from gateway.terminal.reading_plan import ReadingPlan
from gateway.terminal.recount import Recount
from gateway.terminal.release import release_withheld
from gateway.terminal.runner import Crew, OwnThread, Runner
from gateway.terminal.state import Cause, TerminalState
from gateway.terminal.tally import tally
from gateway.terminal.timing import Timing
from gateway.terminal.visit_requests import VisitRequest, VisitRequests
from gateway.texts import Message
from gateway.trace import origin, trace

FULL_READING_DUE = timedelta(hours=26)
DISK_FULL_REASON = "there is no room on the gateway's disk; make room, and it is read"


class Worker:
    """Reads one terminal continuously, until :meth:`stop`.

    It runs in a thread of its own where it waits for a terminal's answers, and with others in the threads of a crew
    where the terminal calls: :mod:`gateway.terminal.runner`.
    """

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
        entries: Entries | None = None,
        timing: Timing | None = None,
        crew: Crew | None = None,
        port: Callable[[TerminalSettings, ZoneInfo, Callable[[], None]], CallerPort] | None = None,
    ) -> None:
        """``report`` receives the terminal's state when it changes, ``publish`` tallies, ``alarm`` alarms.

        For a terminal that calls, ``crew`` runs the worker, and ``port`` returns its way to the receiver; the function
        that it is given wakes the worker.

        Messages for ``report`` describe the present and are to be retained; tallies are not.
        ``pending``, ``identities`` and ``entries`` are the gateway's; None: the worker has its own.
        """
        self.name = settings.name
        self._publish = publish
        self._context = TerminalContext(
            settings=settings,
            zone=zone,
            driver=driver,
            ledger=ledger,
            clock=clock,
            pending=pending or PendingWrites(ledger, now=clock.now, alarm=alarm),
            identities=identities or Identities(None),
            entries=entries or Entries(),
            timing=timing or Timing(),
            state=TerminalState(since=clock.now()),
            report=report,
            raise_alarm=alarm,
        )
        self._log = self._context.log
        self._context.entries.add(self.name, settings.driver)
        self._stopping = threading.Event()
        self._due = threading.Event()
        """A poll is requested."""
        self._requests = VisitRequests()
        self._plan = ReadingPlan(self._context.timing)
        self._outage = Outage()
        self._captures = Captures(captures, self.name, clock, self._log)
        self._identity = IdentityCheck(self._context, self._start_anew)
        self._clock_check = ClockCheck(self._context)
        self._live = LiveReceiver(self._context, self._plan, self._clock_check)
        self._deliveries = DeliveryReceiver(self._context, self._clock_check)
        self._log_reader = LogReader(
            self._context,
            self._plan,
            self._clock_check,
            stopping=self._stopping,
            live=self._live,
            publish_tally=self.publish_tally,
        )
        self._folder = FolderImport(self._context, self._stopping)
        self._date_check = DateCheck(self._context, self._plan)
        self._recount = Recount(self._context)
        self._is_delivering = False
        """The terminal has delivered records since the last poll: a recount that nobody requested waits."""
        self._recount_requests: list[VisitRequest] = []
        """Requests that the recount under way will answer."""
        self._driver_fault: str | None = None
        """Origin of the last exception of the driver that is no DriverError, until a visit ends without one."""
        self._runner: Runner = OwnThread(f"worker-{settings.name}", self._due)
        self._port: CallerPort | None = None
        self._attached: Attached | None = None
        """The terminal that calls, from the first visit on."""
        self._attachment = ExitStack()
        if driver.attach is not None:
            if crew is None or port is None:
                raise ValueError(f"the driver {driver.name} needs a crew and a port")
            self._runner = crew.runner()
            self._port = port(settings, zone, self._runner.wake)

    @property
    def settings(self) -> TerminalSettings:
        """The terminal's entry in the configuration."""
        return self._context.settings

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""
        return self._context.zone

    @property
    def state(self) -> TerminalState:
        """The terminal's present state."""
        return self._context.state

    # Called by other threads.

    def follow(self, before: "Worker") -> None:
        """Take over the state of an ended worker of the same terminal; called before :meth:`start`.

        Due work stays due. Where the driver is the same, an outage continues and the terminal's state is kept.
        """
        same_driver = self.settings.driver == before.settings.driver
        before.hand_over_requests(self)
        self._plan.full_due = before._plan.full_due or before._recount.is_running  # noqa: SLF001 - same class
        self._clock_check.follow(before._clock_check, same_driver=same_driver)  # noqa: SLF001
        if same_driver:
            self._context.state = before.state
            self._outage = before._outage  # noqa: SLF001

    def start(self) -> None:
        """Start the thread."""
        context, state = self._context, self.state
        known = context.ledger.terminal(self.name)
        if known is not None:
            state.serial = known.serial
            state.layout = known.layout
            state.last_punch = known.last_punch
            if known.offset_ms is not None and known.bound_ms is not None and known.measured_ms is not None:
                measured = _from_ms(known.measured_ms)
                self._clock_check.remember(ClockEvidence(known.offset_ms, known.bound_ms, measured))
            if known.full_ms is not None:
                state.last_full_reading = _from_ms(known.full_ms)
            # A machine that is off at night misses the hour of the nightly reading: it is done at the start.
            read = state.last_full_reading
            self._plan.full_due |= read is None or context.clock.now() - read > FULL_READING_DUE
        self._plan.full_due |= self._port is not None  # what was not delivered only a recount shows
        self._runner.start(self._rounds())

    def _wake(self) -> None:
        self._due.set()
        self._runner.wake()

    def stop(self) -> None:
        """Request the end; the connection is closed properly if the terminal responds."""
        self._stopping.set()
        self._wake()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it has ended."""
        return self._runner.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._runner.is_alive

    def request(self, *, full: bool = False) -> Future[dict[str, Any] | None]:
        """Request a visit now; ``full`` for one that reads the whole log, whenever that was done last.

        Returns what will hold, after the visit, the reconciliation that the full reading ended with, or VisitPostponed
        where it could not be read yet. A visit that fails leaves the request to the next one, and so does a worker
        that is replaced; it is cancelled where the terminal is no longer visited.
        """
        done = self._requests.put(full=full)
        self._wake()
        return done

    def hand_over_requests(self, successor: "Worker") -> None:
        """Transfer waiting and future requests to another worker."""
        self._requests.hand_over(successor._requests)  # noqa: SLF001 - same class

    def cancel_requests(self) -> None:
        """Cancel waiting and future requests: the terminal is no longer visited."""
        self._context.entries.remove(self.name)
        self._requests.close()

    def request_set_clock(self) -> bool:
        """Request that a wrong clock is set at the next quiet moment of two hours; False if it cannot be set."""
        accepted = self._clock_check.request()
        if accepted:
            self._wake()
        return accepted

    def schedule_nightly_work(self) -> None:
        """Make the nightly work due: reading the whole log, and setting the clock where it is configured."""
        self._plan.full_due = True
        if self.settings.clock.set == "nightly":
            self._clock_check.schedule()
        self._wake()

    def release(self, first: date, last: date) -> int:
        """Publish the withheld records of the days from ``first`` to ``last``; return their number.

        The dates at the ends of the calendar mean no bound.
        """
        context = self._context
        return release_withheld(context.ledger, self.settings, self.zone, context.clock, first, last)

    def publish_tally(self) -> None:
        """Publish the delivery counts of the last days and the result of the last full reading."""
        context = self._context
        payload = tally(self.name, context.ledger, context.clock.now(), self.zone, self.state.reconciliation)
        self._publish(f"tally/{self.name}", payload)

    def publish_state(self) -> None:
        """Publish the terminal's state."""
        self._context.publish_state()

    # Its run.

    def _rounds(self) -> Generator[float, None, None]:
        """Visit the terminal again and again; yield each pause, in seconds."""
        try:
            with self._attachment:
                while not self._stopping.is_set():
                    pause_s = yield from self._run_visit()
                    if not self._stopping.is_set():
                        yield pause_s
                    self._due.clear()
        except Stopped:
            self._log.info("import_interrupted")
        except BaseException as exc:
            if self._stopping.is_set():
                # The daemon did not wait for a slow answer and has closed the ledger.
                self._log.info("visit_abandoned", reason=type(exc).__name__)
                return
            self._log.exception("worker_failed")
            raise

    def _run_visit(self) -> Generator[float, None, float]:
        """Visit the terminal and handle every error of the driver; return the pause before the next visit.

        An unexpected exception of a driver costs this terminal only. Errors of the ledger, and errors while a failure
        is recorded, concern the whole gateway and propagate.
        """
        self._context.pending.flush()
        try:
            pause_s = yield from self._visit()
        except LedgerFull as exc:
            # Nothing is lost: the terminal's log is the buffer, and what was not stored is read again.
            self._log.warning("reading_paused", reason=str(exc))
            self._plan.proof_due = True
            return self._context.timing.full_pause_s
        except (LedgerError, Stopped):
            raise
        except BaseException as exc:
            if self._stopping.is_set():
                raise
            return self._report_driver_fault(exc)
        self._driver_fault = None
        return pause_s

    def _report_driver_fault(self, exc: BaseException) -> float:
        where = origin(exc)
        if where != self._driver_fault:
            logged = {"driver": self._context.driver.name, "error": where, "trace": trace(exc)}
            self._context.incident("driver_failed", logged=logged, values={"where": where})
        self._driver_fault = where
        return self._record_failure("internal", alarm_message("driver_failed", where=where))

    def _conversation(self) -> AbstractContextManager[Terminal]:
        driver = self._context.driver
        if driver.attach is None or self._port is None:
            return driver.connect(self.settings)
        if self._attached is None:
            self._attached = self._attachment.enter_context(driver.attach(self.settings, self._port))
        return self._attached.connect()

    def _visit(self) -> Generator[float, None, float]:
        """Connect to the terminal, poll it and receive live events; return the pause before the next visit."""
        now_s, poll_s = self._context.timing.monotonic_s, self.settings.poll
        next_poll_s = now_s() + poll_s
        self._plan.connected()
        try:
            with self._conversation() as terminal:
                if isinstance(terminal, Resumable):
                    terminal.resume(self._context.ledger.marks(self.name, self.settings.serial))
                self._clock_check.connected(terminal)
                self._identity.check(terminal, after_failure=self._outage.since is not None)
                while True:
                    self._poll(terminal)
                    self._record_success()
                    next_poll_s = now_s() + poll_s
                    if not (self._live.enabled_for(terminal) or self._waits_for(terminal)):
                        break
                    if self._plan.announcements.register_again():
                        self._plan.proof_due = True
                        return 0.0
                    yield from self._listen(terminal, next_poll_s)
                    if self._stopping.is_set():
                        break
        except TerminalUnavailable as exc:
            return self._record_failure("unavailable", str(exc), exc)
        except (TerminalRefused, UnreadableLog) as exc:
            return self._record_failure("refused", str(exc), exc)
        except ProtocolError as exc:
            return self._record_failure("protocol", str(exc), exc)
        return max(0.0, next_poll_s - now_s())

    def _waits_for(self, terminal: Terminal) -> bool:
        """Whether deliveries are waited for between polls; one that calls is refused while nothing waits for it."""
        return brings_records(terminal) and (self.settings.live or self._attached is not None)

    def _start_anew(self) -> None:
        """Forget what is true of another device only."""
        self._clock_check.forget()
        self._recount.forget()
        self.state.complete = None
        self._live.enabled = self.settings.live

    def _listen(self, terminal: Terminal, until_s: float) -> Generator[float, None, None]:
        """Store live events until the next poll is due or requested.

        A terminal that calls wakes the worker from its pauses; another one is waited for by its driver.
        """
        timing, live = self._context.timing, self._live
        live.received_at_s = timing.monotonic_s()
        while (left_s := until_s - timing.monotonic_s()) > 0 and not self._due.is_set():
            if self._plan.hinted and self._plan.may_read():
                break
            if self._attached is not None:
                self._receive(terminal, 0.0)
                self._advance_recount(terminal)
                if not self._due.is_set():
                    yield left_s
                continue
            if not self._receive(terminal, min(left_s, timing.listen_slice_s)):
                break
            if timing.monotonic_s() - live.received_at_s >= timing.idle_probe_s:
                # A terminal that lost power sends nothing, and the connection does not report it.
                terminal.read_clock()
                live.received_at_s = timing.monotonic_s()
        if not self._stopping.is_set():
            self._due.clear()

    def _receive(self, terminal: Terminal, for_s: float) -> bool:
        """Store what the terminal sends by itself within ``for_s`` seconds; return whether it may send more."""
        if not brings_records(terminal):
            self._live.receive(terminal, for_s)
            return self._live.enabled
        if self._deliveries.receive(terminal, for_s):
            self._is_delivering = True
            self._live.received_at_s = self._context.timing.monotonic_s()
        return True

    def _poll(self, terminal: Terminal) -> None:
        context, state = self._context, self.state
        begun_s = context.timing.monotonic_s()
        context.pending.flush()
        requests = self._requests.waiting()  # a visit that fails leaves them to the next
        full_requested = any(request.full for request in requests)
        self._clock_check.measure(terminal)
        if self._attached is not None:
            self._identity.refresh(terminal)
        reading = context.reading(context.driver.via, state.clock, stepped=self._clock_check.unread_step)
        self._live.drain(terminal)  # events are registered before reading, so that no punch is missed between
        if self._waits_for(terminal):
            self._receive(terminal, context.timing.drain_s if self._attached is None else 0.0)
        self._clock_check.stepped = False
        result = self._read_new(terminal, reading, full_requested=full_requested)
        state.last_visit = context.clock.now()
        self._report_poll(result or ReadingResult(), begun_s)
        if result is None:
            self._plan.full_due |= full_requested
            self._requests.postpone(requests, DISK_FULL_REASON)
        else:
            waiting = isinstance(terminal, Recountable) and self._recount.is_running
            self._recount_requests = [request for request in requests if request.full and waiting]
            self._requests.answer([other for other in requests if not (other.full and waiting)], state.reconciliation)
        self._advance_recount(terminal)
        self._date_check.run(terminal, reading)
        self._clock_check.correct(terminal, caught_up=self._plan.caught_up)

    def _read_new(self, terminal: Terminal, reading: ReadingContext, *, full_requested: bool) -> ReadingResult | None:
        """Read and store what is new; None where the disk is too full for it."""
        if isinstance(terminal, Logged):
            return self._log_reader.read_new(terminal, reading, requested=full_requested)
        if isinstance(terminal, Removable):
            due, self._plan.full_due = self._plan.full_due, False
            result = self._folder.read_new(terminal, again=due or full_requested)
            if result is None:
                self._plan.full_due |= due
            return result
        if isinstance(terminal, Recountable):
            self.state.sizes = terminal.log_sizes()
            if full_requested or (self._plan.full_due and not self._is_delivering):
                self._plan.full_due = False
                self._recount.begin()
            self._is_delivering = False
        self._clock_check.all_read()
        return ReadingResult()

    def _advance_recount(self, terminal: Terminal) -> None:
        """Go on with the recount under way, if there is one; answer those who requested it."""
        if isinstance(terminal, Recountable) and self._recount.advance(terminal):
            self._requests.answer(self._recount_requests, self.state.reconciliation)
            self._recount_requests = []
            self.publish_tally()
            self._context.publish_state()

    def _report_poll(self, result: ReadingResult, begun_s: float) -> None:
        state = self.state
        state.last_punch = result.last_punch or state.last_punch
        if result.new or result.quarantined:
            state.last_new = state.last_visit
        self._log.info(
            "poll_finished",
            read=result.read,
            new=result.new,
            quarantined=result.quarantined,
            confirmed=result.confirmed,
            withheld=result.withheld,
            unconfirmed=result.unconfirmed,
            records=state.sizes.records,
            offset_ms=state.clock.offset_ms if state.clock else None,
            took_ms=round((self._context.timing.monotonic_s() - begun_s) * 1000),
        )

    # Outages.

    def _record_failure(self, cause: Cause, reason: str, exc: DriverError | None = None) -> float:
        """Record a failure, reported once per outage; return the pause before the next visit."""
        context, state = self._context, self.state
        failure = self._outage.fail(cause, context.clock.now())
        self._plan.proof_due = True
        if isinstance(exc, ProtocolError) and (failure.is_new or cause == "protocol"):
            self._captures.keep(exc)
        if failure.report:
            since = self._outage.since
            state.online, state.cause, state.reason, state.since = False, cause, reason, since
            state.reason_code = exc.reason if exc is not None else None
            self._log.warning("terminal_lost", cause=cause, reason=reason)
            if failure.begins and since is not None:
                context.note(event.TERMINAL_LOST, **{"from": utc_text(since), "cause": cause, "reason": reason})
            code = "terminal_refused" if cause == "refused" else "terminal_lost"
            code = "log_unreadable" if isinstance(exc, UnreadableLog) else code
            context.entries.note_visit(self.name, state.serial, online=False)
            lost = cause == "refused" or not self._is_online_elsewhere()
            if lost and cause != "internal":  # driver_failed is raised already
                context.alarm(code, reason=_for_people(cause, state.reason_code, reason))
            context.publish_state()
        return context.timing.pauses[cause].after(self._outage.failures)

    def _record_success(self) -> None:
        """Record a successful visit, and the end of an outage if there was one."""
        context, state = self._context, self.state
        now = context.clock.now()
        ended = self._outage.end()
        if ended is not None:
            times = {"from": utc_text(ended.since), "to": utc_text(now)}
            context.note(event.TERMINAL_FOUND, **times, cause=ended.cause)
            log_incident(self._log, "terminal_found", away_s=round((now - ended.since).total_seconds()))
            if not self._is_online_elsewhere():
                context.raise_alarm("terminal_found", alarm_message("terminal_found", terminal=self.name), self.name)
            self._date_check.schedule(context.timing.date_check_after_outage_s)
            self._plan.full_due |= self._attached is not None  # what it did meanwhile only its count shows
        if not state.online:
            state.since = now
        state.online, state.cause, state.reason, state.reason_code = True, None, None, None
        context.entries.note_visit(self.name, state.serial, online=True)
        context.publish_state()

    def _is_online_elsewhere(self) -> bool:
        """Return whether another entry reaches this terminal: then people need not be alarmed about it."""
        serial = self.state.serial or self.settings.serial
        return serial is not None and self._context.entries.is_online_elsewhere(self.name, serial)


def _for_people(cause: Cause, code: Reason | None, reason: str) -> Message:
    """Return a driver's message, with what it means in the language of the reader."""
    return Message(FINDINGS[obstacle(cause, code).name].text, reason, reason=reason)


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
