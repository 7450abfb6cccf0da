"""Receives the live events of a terminal with a log and stores them; the log confirms them later."""

from drivers.base import DriverError, Live, Logged, RawPunch, TerminalRefused
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

    def enabled_for(self, terminal: object) -> bool:
        """Return whether the terminal sends live events, and they are used."""
        return self.enabled and isinstance(terminal, Live) and isinstance(terminal, Logged)

    def receive(self, terminal: object, for_s: float) -> None:
        """Store the live events received within ``for_s`` seconds, where the terminal sends any."""
        if not (self.enabled_for(terminal) and isinstance(terminal, Live)):
            return
        plan = self._plan
        try:
            for event in terminal.events(for_s):
                self.received_at_s = self._context.timing.monotonic_s()
                plan.announcements.received()
                plan.hinted |= not (isinstance(event, RawPunch) and self._store(event))
            plan.announcements.registered = True
        except TerminalRefused as exc:
            self.enabled = plan.announcements.registered = False
            self._context.log.warning("live_refused", reason=str(exc))
        except (DriverError, LedgerError):
            raise
        except BaseException:
            # A log may be readable although the driver fails at live events: these are switched off.
            self.enabled = False
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
