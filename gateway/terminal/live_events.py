"""Receives live events of a terminal and stores them."""

from dataclasses import replace

from drivers.base import BadRecord, DriverError, Hint, Live, Logged, RawPunch, TerminalRefused, Untimed
from gateway.ledger import LedgerError, LedgerFull
from gateway.terminal.clock_check import ClockCheck
from gateway.terminal.context import TerminalContext
from gateway.terminal.reading_plan import ReadingPlan


class LiveReceiver:
    """The live events of one terminal."""

    def __init__(self, context: TerminalContext, plan: ReadingPlan, clock: ClockCheck) -> None:
        self._context = context
        self._plan = plan
        self._clock = clock
        self.enabled = context.settings.live
        """Live events are used; False after the terminal refused them or the driver failed at them."""
        self.received_at_s = 0.0
        """Monotonic time of the last event, or of the last proof that the connection works."""
        self._bad_record_alarm_at_s: float | None = None

    def receive(self, terminal: object, for_s: float) -> None:
        """Store the live events received within ``for_s`` seconds, where the terminal sends any."""
        if not (self.enabled and isinstance(terminal, Live)):
            return
        plan = self._plan
        try:
            for event in terminal.events(for_s):
                self.received_at_s = self._context.timing.monotonic_s()
                plan.announcements.received()
                if isinstance(event, RawPunch) and isinstance(terminal, Logged):
                    plan.hinted |= not self._store(event)
                elif isinstance(event, Hint):
                    plan.hinted = True
                else:
                    self._store_final(event)
            plan.announcements.registered = True
        except TerminalRefused as exc:
            self.enabled = plan.announcements.registered = False
            self._context.log.warning("live_refused", reason=str(exc))
        except (DriverError, LedgerError):
            raise
        except BaseException:
            # A log may be readable although the driver fails at live events: these are switched off.
            self.enabled = not isinstance(terminal, Logged)
            raise

    def drain(self, terminal: object) -> None:
        """Store the live events that have arrived meanwhile."""
        self.receive(terminal, self._context.timing.drain_s)

    def _store(self, event: RawPunch) -> bool:
        """Store a live punch; return False where only the log can identify it, or where the count will not show it."""
        context, state = self._context, self._context.state
        if context.ledger.disk_state() == "none":
            return False  # it stays in the log
        reading = context.reading("live", state.clock, stepped=self._clock.stepped)
        try:
            stored = context.ledger.record_live(reading, event)
        except LedgerFull:
            return False
        if stored:
            state.last_punch = event.local_time.isoformat()
            state.last_new = reading.now
        return stored and self._plan.count_is_reliable

    def _store_final(self, event: RawPunch | Untimed | BadRecord) -> None:
        """Store an event of a terminal without a log, which sends each event once."""
        context, state = self._context, self._context.state
        reading = context.reading("serial", state.clock, stepped=self._clock.stepped)
        if isinstance(event, Untimed):
            received = reading.now.astimezone(context.zone).replace(tzinfo=None, microsecond=0)
            reading = replace(reading, host_time=True)
            event = RawPunch(event.pin, None, received, event.state, event.verify, event.work_code, event.raw)
        new = context.pending.record_final(reading, event)
        if isinstance(event, RawPunch):
            state.last_punch = event.local_time.isoformat()
            state.last_new = reading.now
        elif new:
            self._report_bad_record(event)

    def _report_bad_record(self, record: BadRecord) -> None:
        timing = self._context.timing
        now_s, last_s = timing.monotonic_s(), self._bad_record_alarm_at_s
        if last_s is not None and now_s - last_s < timing.bad_record_alarm_s:
            return
        self._bad_record_alarm_at_s = now_s
        self._context.log.warning("record_quarantined", reason=record.reason)
        self._context.alarm("line_unreadable", reason=record.reason)
