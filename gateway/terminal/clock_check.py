"""Measures a terminal's clock at each poll, marks punches around a jump, and sets the clock on request."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from drivers.base import SettableClock, Terminal, TerminalRefused
from gateway import event, forecast
from gateway.event import ClockEvidence, utc_text
from gateway.terminal.clock_care import BURST_DISTANCE, choose, result_of_setting
from gateway.terminal.context import TerminalContext
from gateway.timekeeper import Timekeeper


class ClockCheck:
    """The clock of one terminal."""

    def __init__(self, context: TerminalContext) -> None:
        self._context = context
        self._timekeeper = Timekeeper(context.zone, None)
        self._set_until_s = 0.0
        """Monotonic deadline of a requested setting; 0 without one."""
        self._settable: bool | None = None
        """Whether the clock of this terminal can be set; None before the first connection."""
        self._before_setting: ClockEvidence | None = None
        """The last measurement before the clock was set; None after it was read back."""
        self.stepped = False
        """The clock jumped since live events were last received: an event may be from before or after the jump."""
        self.unread_step = False
        """The clock jumped since a reading was last stored: a record may be from before or after the jump."""

    def follow(self, before: "ClockCheck", *, same_driver: bool) -> None:
        """Take over what is due from the worker before."""
        self._set_until_s = before._set_until_s  # noqa: SLF001 - same class
        if same_driver:
            self.unread_step, self._before_setting = before.unread_step, before._before_setting  # noqa: SLF001

    def remember(self, evidence: ClockEvidence) -> None:
        """Begin with the measurement that the ledger has."""
        self._timekeeper = Timekeeper(self._context.zone, evidence)

    def forget(self) -> None:
        """Begin anew: another device answers, whose clock did not jump."""
        self._timekeeper.forget()

    def request(self) -> bool:
        """Request that a wrong clock is set at the next quiet moment of the window; False if it cannot be set."""
        if self._settable is False:
            return False
        self.schedule()
        return True

    def schedule(self) -> None:
        """Let a wrong clock be set within the window."""
        timing = self._context.timing
        self._set_until_s = timing.monotonic_s() + timing.clock_set_window_s

    def connected(self, terminal: Terminal) -> None:
        """Note whether the clock can be set."""
        self._settable = isinstance(terminal, SettableClock)

    def all_read(self) -> None:
        """Every record made before a jump is stored."""
        self.unread_step = False

    def measure(self, terminal: Terminal) -> None:
        """Compare the clocks; a jump marks unread records until they are stored."""
        self.stepped = self._compare(terminal)
        self.unread_step |= self.stepped

    def correct(self, terminal: Terminal, *, caught_up: bool) -> None:
        """Set a wrong clock at a quiet hour; attempted once per request."""
        context, clock = self._context, self._context.state.clock
        if context.timing.monotonic_s() >= self._set_until_s or clock is None or not context.clock.synchronised():
            return
        choice = choose(
            clock,
            tolerance_s=context.settings.clock.tolerance,
            max_set_s=context.settings.max_set,
            zone=context.zone.key,
            settable=isinstance(terminal, SettableClock),
            caught_up=caught_up,
            near_burst=lambda: self._is_near_burst(clock),
        )
        if choice.action == "later":
            return
        self._set_until_s = 0.0  # spent even if the connection breaks
        if choice.reason is not None:
            self._report_not_set(choice.reason)
        elif choice.action == "set" and isinstance(terminal, SettableClock):
            self._set(terminal, clock)
            self.measure(terminal)

    def _compare(self, terminal: Terminal) -> bool:
        """Compare the terminal's clock with the gateway's; return whether it jumped since the last comparison."""
        context = self._context
        sent = context.clock.now()
        reading = terminal.read_clock()
        boottime_s = context.timing.boottime_s()
        before, self._before_setting = self._before_setting, None
        if before is not None:
            self._timekeeper.forget()
        jump = self._timekeeper.measure(reading, sent, boottime_s, synchronised=context.clock.synchronised())
        after = context.state.clock = self._timekeeper.evidence
        if before is not None:
            self._report_set(before, after)
        if jump is None or after is None:
            return False
        if context.settings.clock.set == "always" and result_of_setting(jump.before, after).fault is None:
            # It sets its clock by the gateway's answers, and not at a quiet hour: punches around the jump are marked.
            self._report_set(jump.before, after)
            return True
        context.incident(
            "clock_stepped",
            note={"before": _clock_data(jump.before), "after": _clock_data(after)},
            logged={"before_ms": jump.before.offset_ms, "after_ms": after.offset_ms},
            values={"seconds": round(jump.by_s)},
        )
        return True

    def _is_near_burst(self, clock: ClockEvidence) -> bool:
        """Return whether a burst of punches lies in the last two hours, or usually occurs in the next two.

        Where less than two weeks are known, no usual hours exist, and only the last two hours count.
        """
        context = self._context
        shown = (context.clock.now() + timedelta(milliseconds=clock.offset_ms)).astimezone(context.zone)
        here = shown.replace(tzinfo=None)
        since = here - BURST_DISTANCE
        if forecast.has_burst(context.ledger.punch_times(context.name, since - forecast.BURST_SPAN)):
            return True
        history = context.ledger.hours(context.name, here.date() - timedelta(weeks=forecast.WEEKS))
        usual = forecast.usual_hours(history, here.date())
        return usual is not None and bool(forecast.usual_time(usual, here, here + BURST_DISTANCE))

    def _set(self, terminal: SettableClock, before: ClockEvidence) -> None:
        # The clock takes whole seconds: half a second more is right on average.
        right = self._context.clock.now().astimezone(self._zone) + timedelta(milliseconds=500)
        self._before_setting = before
        try:
            terminal.set_clock(right.replace(tzinfo=None, microsecond=0))
        except TerminalRefused as exc:
            self._before_setting = None
            self._report_not_set(str(exc))

    @property
    def _zone(self) -> ZoneInfo:
        return self._context.zone

    def _report_set(self, before: ClockEvidence, after: ClockEvidence | None) -> None:
        """Record the result of setting the clock, by the measurement after it."""
        context, result = self._context, result_of_setting(before, after)
        if result.moved and after is not None:
            context.note(event.CLOCK_SET, before=_clock_data(before), after=_clock_data(after))
            if context.clock.synchronised():
                context.pending.remember_clock(context.name, after)
        if result.fault is not None or after is None:
            self._report_not_set(result.fault or "")
            return
        context.incident(
            "clock_set",
            logged={"before_ms": before.offset_ms, "after_ms": after.offset_ms},
            values={"seconds": round(before.offset_ms / 1000)},
        )

    def _report_not_set(self, reason: str) -> None:
        self._context.incident("clock_not_set", logged={"reason": reason}, values={"reason": reason})


def _clock_data(clock: ClockEvidence) -> dict[str, Any]:
    return {"offset_ms": clock.offset_ms, "bound_ms": clock.bound_ms, "measured": utc_text(clock.measured)}
