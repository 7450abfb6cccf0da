"""Whether a terminal can be read: its state, note, alarm and log line when an outage begins, and when it ends."""

from pathlib import Path

from drivers.base import DriverError, ProtocolError, Reason, UnreadableLog
from gateway import event
from gateway.advice import obstacle
from gateway.event import utc_text
from gateway.findings import FINDINGS
from gateway.incidents import alarm_message, log_incident
from gateway.terminal.captures import Captures
from gateway.terminal.context import TerminalContext
from gateway.terminal.outage import Ended, Outage
from gateway.terminal.state import Cause
from gateway.texts import Message
from gateway.trace import origin, trace


class Reachability:
    """The outages of one terminal; what a failed visit means is decided by :class:`Outage`."""

    def __init__(self, context: TerminalContext, captures: Path) -> None:
        """Keep the bytes of connections that broke the protocol in the folder ``captures``."""
        self._context = context
        self._captures = Captures(captures, context.name, context.clock, context.log)
        self._driver_fault: str | None = None
        """Origin of the last exception of the driver that is no DriverError, until a visit ends without one."""
        self.outage = Outage()

    def failed(self, cause: Cause, reason: str, exc: DriverError | None = None) -> float:
        """Record a failed visit, reported once per outage; return the pause before the next visit."""
        context, state = self._context, self._context.state
        failure = self.outage.fail(cause, context.clock.now())
        if isinstance(exc, ProtocolError) and (failure.is_new or cause == "protocol"):
            self._captures.keep(exc)
        if failure.report:
            since = self.outage.since
            state.online, state.cause, state.reason, state.since = False, cause, reason, since
            state.reason_code = exc.reason if exc is not None else None
            context.log.warning("terminal_lost", cause=cause, reason=reason)
            if failure.begins and since is not None:
                context.note(event.TERMINAL_LOST, **{"from": utc_text(since), "cause": cause, "reason": reason})
            code = "terminal_refused" if cause == "refused" else "terminal_lost"
            code = "log_unreadable" if isinstance(exc, UnreadableLog) else code
            context.entries.note_visit(context.name, state.serial, online=False)
            lost = cause == "refused" or not self._is_online_elsewhere()
            if lost and cause != "internal":  # driver_failed is raised already
                context.alarm(code, reason=_for_people(cause, state.reason_code, reason))
        if failure.report or context.has_watermark_ahead:
            context.publish_state()
        return context.timing.pauses[cause].after(self.outage.failures)

    def failed_by_driver(self, exc: BaseException) -> float:
        """Record an exception of the driver that is no DriverError; return the pause before the next visit."""
        where = origin(exc)
        if where != self._driver_fault:
            logged = {"driver": self._context.driver.name, "error": where, "trace": trace(exc)}
            self._context.incident("driver_failed", logged=logged, values={"where": where})
        self._driver_fault = where
        return self.failed("internal", alarm_message("driver_failed", where=where))

    def driver_returned(self) -> None:
        """Note that a visit ended without such an exception: the next one is reported."""
        self._driver_fault = None

    def succeeded(self) -> Ended | None:
        """Record a successful visit; return the outage that it ends, if there was one."""
        context, state = self._context, self._context.state
        now = context.clock.now()
        ended = self.outage.end()
        if ended is not None:
            times = {"from": utc_text(ended.since), "to": utc_text(now)}
            context.note(event.TERMINAL_FOUND, **times, cause=ended.cause)
            log_incident(context.log, "terminal_found", away_s=round((now - ended.since).total_seconds()))
            if not self._is_online_elsewhere():
                message = alarm_message("terminal_found", terminal=context.name)
                context.raise_alarm("terminal_found", message, context.name)
        if not state.online:
            state.since = now
        state.online, state.cause, state.reason, state.reason_code = True, None, None, None
        context.entries.note_visit(context.name, state.serial, online=True)
        context.publish_state()
        return ended

    def not_called_yet(self) -> None:
        """Record that the first call of a terminal is waited for; one that is known as online or lost remains so."""
        context, state = self._context, self._context.state
        if state.online or self.outage.since is not None or state.reason_code is Reason.FIRST_CALL:
            return
        state.reason, state.reason_code = "waiting for its first call", Reason.FIRST_CALL
        context.publish_state()

    def _is_online_elsewhere(self) -> bool:
        """Return whether another entry reaches this terminal: then people need not be alarmed about it."""
        context = self._context
        serial = context.state.serial or context.settings.serial
        return serial is not None and context.entries.is_online_elsewhere(context.name, serial)


def _for_people(cause: Cause, code: Reason | None, reason: str) -> Message:
    """Return a driver's message, with what it means in the language of the reader."""
    return Message(FINDINGS[obstacle(cause, code).name].text, reason, reason=reason)
