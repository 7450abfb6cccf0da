"""Reads one terminal: connect, read new records, receive live events, repeat. One connection each.

Each visit queries the serial number, the clock and the record count. A count without change ends the visit. Otherwise
the end of the log is read together with a few known records in front of it, which prove that it continues the stored
log; where they do not, a wider part is read, at last the whole log.

Preparing its log keeps a terminal busy, some for half a minute: while live events arrive, the next reading waits for
ten times as long. A visit that a person requests begins at once.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drivers.base import (
    Attached,
    Awaited,
    CallerPort,
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
from gateway.event import ClockEvidence, ReadingContext
from gateway.ledger import KnownTerminal, LedgerError, LedgerFull, ReadingResult
from gateway.terminal.clock_check import ClockCheck
from gateway.terminal.context import TerminalContext
from gateway.terminal.date_check import DateCheck
from gateway.terminal.deliveries import DeliveryReceiver, brings_records
from gateway.terminal.folder import FolderImport
from gateway.terminal.identity import IdentityCheck
from gateway.terminal.live_events import LiveReceiver
from gateway.terminal.log_reading import LogReader, Stopped
from gateway.terminal.reachability import Reachability
from gateway.terminal.reading_plan import ReadingPlan
from gateway.terminal.recount import Recount
from gateway.terminal.state import Cause
from gateway.terminal.visit_requests import VisitRequest, VisitRequests

FULL_READING_DUE = timedelta(hours=26)
DISK_FULL_REASON = "there is no room on the gateway's disk; make room, and it is read"


class Visits:
    """The visits to one terminal, one after the other, and what is due at the next one. Not thread-safe."""

    def __init__(
        self,
        context: TerminalContext,
        requests: VisitRequests,
        *,
        due: threading.Event,
        stopping: threading.Event,
        captures: Path,
        port: CallerPort | None,
        publish_tally: Callable[[], None],
    ) -> None:
        """``due`` is set where a poll is requested, ``stopping`` where the visits are to end.

        ``port`` is the way to the receiver of a terminal that calls; None for another one.
        """
        self._context = context
        self._requests = requests
        self._due = due
        self._stopping = stopping
        self._publish_tally = publish_tally
        self.plan = ReadingPlan(context.timing)
        self._reachability = Reachability(context, captures)
        self._identity = IdentityCheck(context, self._start_anew)
        self.clock_check = ClockCheck(context)
        self._live = LiveReceiver(context, self.plan, self.clock_check)
        self._deliveries = DeliveryReceiver(context, self.clock_check)
        self._log_reader = LogReader(
            context,
            self.plan,
            self.clock_check,
            stopping=stopping,
            live=self._live,
            publish_tally=publish_tally,
        )
        self._folder = FolderImport(context, stopping)
        self._date_check = DateCheck(context, self.plan)
        self._recount = Recount(context)
        self._is_delivering = False
        """The terminal has delivered records since the last poll: a recount that was not requested waits."""
        self._recount_requests: list[VisitRequest] = []
        """Requests that the recount under way will answer."""
        self._port = port
        self._attached: Attached | None = None
        """The terminal that calls, from the first visit on."""
        self._attachment = ExitStack()

    def follow(self, before: "Visits", *, same_driver: bool) -> None:
        """Take over what is due, and with the same driver the outage, from the visits of a worker that has ended."""
        self.plan.full_due = before.plan.full_due or before._recount.is_running  # noqa: SLF001 - same class
        self.clock_check.follow(before.clock_check, same_driver=same_driver)
        if same_driver:
            self._reachability.outage = before._reachability.outage  # noqa: SLF001 - same class

    def begin(self, known: KnownTerminal | None) -> None:
        """Start from what the ledger knows of the terminal."""
        context, state = self._context, self._context.state
        if known is not None:
            state.serial = known.serial
            state.layout = known.layout
            state.last_punch = known.last_punch
            if known.offset_ms is not None and known.bound_ms is not None and known.measured_ms is not None:
                measured = _from_ms(known.measured_ms)
                self.clock_check.remember(ClockEvidence(known.offset_ms, known.bound_ms, measured))
            if known.full_ms is not None:
                state.last_full_reading = _from_ms(known.full_ms)
            # A machine that is off at night misses the hour of the nightly reading: it is done at the start.
            read = state.last_full_reading
            self.plan.full_due |= read is None or context.clock.now() - read > FULL_READING_DUE
        self.plan.full_due |= self._port is not None  # what was not delivered only a recount shows

    def rounds(self) -> Generator[float, None, None]:
        """Visit the terminal again and again; yield each pause, in seconds."""
        try:
            with self._attachment:
                while not self._stopping.is_set():
                    pause_s = yield from self._run_visit()
                    if not self._stopping.is_set():
                        yield pause_s
                    self._due.clear()
        except Stopped:
            self._context.log.info("import_interrupted")
        except BaseException as exc:
            if self._stopping.is_set():
                # The daemon did not wait for a slow answer and has closed the ledger.
                self._context.log.info("visit_abandoned", reason=type(exc).__name__)
                return
            self._context.log.exception("worker_failed")
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
            self._context.log.warning("reading_paused", reason=str(exc))
            self.plan.proof_due = True
            return self._context.timing.full_pause_s
        except (LedgerError, Stopped):
            raise
        except BaseException as exc:
            if self._stopping.is_set():
                raise
            self.plan.proof_due = True
            return self._reachability.failed_by_driver(exc)
        self._reachability.driver_returned()
        return pause_s

    def _conversation(self) -> AbstractContextManager[Terminal]:
        driver = self._context.driver
        if driver.attach is None or self._port is None:
            return driver.connect(self._context.settings)
        if self._attached is None:
            self._attached = self._attachment.enter_context(driver.attach(self._context.settings, self._port))
        return self._attached.connect()

    def _visit(self) -> Generator[float, None, float]:
        """Connect to the terminal, poll it and receive live events; return the pause before the next visit."""
        now_s, poll_s = self._context.timing.monotonic_s, self._context.settings.poll
        next_poll_s = now_s() + poll_s
        self.plan.connected()
        try:
            with self._conversation() as terminal:
                if isinstance(terminal, Resumable):
                    terminal.resume(self._context.ledger.marks(self._context.name, self._context.settings.serial))
                self.clock_check.connected(terminal)
                self._identity.check(terminal, after_failure=self._reachability.outage.since is not None)
                while True:
                    self._poll(terminal)
                    self._succeeded()
                    next_poll_s = now_s() + poll_s
                    if not (self._live.enabled_for(terminal) or self._waits_for(terminal)):
                        break
                    if self.plan.announcements.register_again():
                        self.plan.proof_due = True
                        return 0.0
                    yield from self._listen(terminal, next_poll_s)
                    if self._stopping.is_set():
                        break
        except TerminalUnavailable as exc:
            return self._failed("unavailable", exc)
        except (TerminalRefused, UnreadableLog) as exc:
            return self._failed("refused", exc)
        except ProtocolError as exc:
            return self._failed("protocol", exc)
        return max(0.0, next_poll_s - now_s())

    def _waits_for(self, terminal: Terminal) -> bool:
        """Whether deliveries are waited for between polls; one that calls is refused while nothing waits for it."""
        return brings_records(terminal) and (self._context.settings.live or self._attached is not None)

    def _start_anew(self) -> None:
        """Forget what is true of another device only."""
        self.clock_check.forget()
        self._recount.forget()
        self._context.state.complete = None
        self._live.enabled = self._context.settings.live

    def _listen(self, terminal: Terminal, until_s: float) -> Generator[float, None, None]:
        """Store live events until the next poll is due or requested.

        A terminal that calls wakes the worker from its pauses; another one is waited for by its driver.
        """
        timing, live = self._context.timing, self._live
        live.received_at_s = timing.monotonic_s()
        while (left_s := until_s - timing.monotonic_s()) > 0 and not self._due.is_set():
            if self.plan.hinted and self.plan.may_read():
                break
            if self._attached is not None:
                self._receive(terminal, 0.0)
                if self._context.state.reason_code is Reason.FIRST_CALL:
                    self._succeeded()
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
        context, state = self._context, self._context.state
        begun_s = context.timing.monotonic_s()
        context.pending.flush()
        requests = self._requests.waiting()  # a visit that fails leaves them to the next
        full_requested = any(request.full for request in requests)
        self.clock_check.measure(terminal)
        if self._attached is not None:
            self._identity.refresh(terminal)
        reading = context.reading(context.driver.via, state.clock, stepped=self.clock_check.unread_step)
        self._live.drain(terminal)  # events are registered before reading, so that no punch is missed between
        if self._waits_for(terminal):
            self._receive(terminal, context.timing.drain_s if self._attached is None else 0.0)
        self.clock_check.stepped = False
        result = self._read_new(terminal, reading, full_requested=full_requested)
        state.last_visit = context.clock.now()
        self._report_poll(result or ReadingResult(), begun_s)
        if result is None:
            self.plan.full_due |= full_requested
            self._requests.postpone(requests, DISK_FULL_REASON)
        else:
            waiting = isinstance(terminal, Recountable) and self._recount.is_running
            self._recount_requests = [request for request in requests if request.full and waiting]
            self._requests.answer([other for other in requests if not (other.full and waiting)], state.reconciliation)
        self._advance_recount(terminal)
        self._date_check.run(terminal, reading)
        self.clock_check.correct(terminal, caught_up=self.plan.caught_up)

    def _read_new(self, terminal: Terminal, reading: ReadingContext, *, full_requested: bool) -> ReadingResult | None:
        """Read and store what is new; None where the disk is too full for it."""
        if isinstance(terminal, Logged):
            return self._log_reader.read_new(terminal, reading, requested=full_requested)
        if isinstance(terminal, Removable):
            due, self.plan.full_due = self.plan.full_due, False
            result = self._folder.read_new(terminal, again=due or full_requested)
            if result is None:
                self.plan.full_due |= due
            return result
        if isinstance(terminal, Recountable):
            self._context.state.sizes = terminal.log_sizes()
            if full_requested or (self.plan.full_due and not self._is_delivering):
                self.plan.full_due = False
                self._recount.begin()
            self._is_delivering = False
        self.clock_check.all_read()
        return ReadingResult()

    def _advance_recount(self, terminal: Terminal) -> None:
        """Go on with the recount under way, if there is one; answer those who requested it."""
        if isinstance(terminal, Recountable) and self._recount.advance(terminal):
            self._requests.answer(self._recount_requests, self._context.state.reconciliation)
            self._recount_requests = []
            self._publish_tally()
            self._context.publish_state()

    def _report_poll(self, result: ReadingResult, begun_s: float) -> None:
        state = self._context.state
        state.last_punch = result.last_punch or state.last_punch
        if result.new or result.quarantined:
            state.last_new = state.last_visit
        self._context.log.info(
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

    def _failed(self, cause: Cause, exc: DriverError) -> float:
        self.plan.proof_due = True
        return self._reachability.failed(cause, str(exc), exc)

    def _succeeded(self) -> None:
        if isinstance(self._attached, Awaited) and not self._attached.has_called:
            self._reachability.not_called_yet()
            return
        if self._reachability.succeeded() is not None:
            self._date_check.schedule(self._context.timing.date_check_after_outage_s)
            self.plan.full_due |= self._attached is not None  # what it did meanwhile only its count shows


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
