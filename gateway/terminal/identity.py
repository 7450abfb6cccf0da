"""Verifies which device answers at a terminal's address, and reports what changed about it."""

from collections.abc import Callable
from dataclasses import replace

from drivers.base import Networked, Reason, Terminal, TerminalInfo, TerminalRefused
from gateway import event
from gateway.identities import What
from gateway.terminal.context import TerminalContext


class IdentityCheck:
    """The device of one terminal. Only the serial number decides whether it is read."""

    def __init__(self, context: TerminalContext, on_new_device: Callable[[], None]) -> None:
        """``on_new_device`` is called once another device than before is pinned to this terminal."""
        self._context = context
        self._on_new_device = on_new_device
        self._identify_at_s = 0.0
        """Monotonic time of the next query of firmware and platform."""
        self._reported_serial: str | None = None
        """A wrong serial number that was reported."""

    def check(self, terminal: Terminal, *, after_failure: bool) -> None:
        """Verify the serial number, and pin it at the first contact.

        Firmware and platform are queried at the first visit, ``after_failure`` of a visit, and once a day. Raises
        TerminalRefused where the device is not the expected one.
        """
        context, state = self._context, self._context.state
        known = context.ledger.terminal(context.name)
        reported = self._verified(
            terminal.serial() if context.driver.has_serial else None, known.serial if known else None
        )
        if known is None or known.serial != reported:
            context.ledger.pin_serial(context.name, reported)
            context.log.info("serial_pinned", serial=reported)
            self._on_new_device()
        state.serial = reported
        self._reported_serial = None
        now_s = context.timing.monotonic_s()
        if state.info is None or state.info.serial != reported or after_failure or now_s >= self._identify_at_s:
            self._identify_at_s = now_s + context.timing.identify_s
            state.info = replace(terminal.identify(), serial=reported)
        self._report_changes(terminal, state.info)

    def refresh(self, terminal: Terminal) -> None:
        """Take over what a terminal that calls has reported of itself since the visit began."""
        state = self._context.state
        if state.info is not None and state.info.firmware is None:
            info = replace(terminal.identify(), serial=state.info.serial)
            if info != state.info:
                state.info = info
                self._report_changes(terminal, info)

    def _verified(self, reported: str | None, stored: str | None) -> str:
        """Return the serial number of the device. Raises TerminalRefused where it is not the expected one."""
        context = self._context
        configured = context.settings.serial
        expected = configured or stored
        if not reported:
            if configured is None:
                raise TerminalRefused(
                    "the terminal does not report its serial number; write it into `serial:` by hand",
                    reason=Reason.SERIAL_UNREPORTED,
                )
            reported = configured
        if expected is not None and reported != expected:
            self._report_other_serial(expected, reported)
            raise TerminalRefused(
                f"a terminal with serial {reported} answers where {expected} is expected; if it was replaced, write "
                "the new serial into `serial:`, otherwise check the address",
                reason=Reason.SERIAL_DIFFERS,
            )
        others = [
            other.name
            for other in context.ledger.terminals()
            if other.serial == reported and other.name != context.name
        ]
        if others and configured is None and not context.entries.may_share(context.name, others):
            raise TerminalRefused(
                f"serial {reported} is known as terminal {others[0]}; if it was renamed or moved, write "
                f"`serial: {reported}` here and remove the other entry; two entries of one terminal have two drivers",
                reason=Reason.SERIAL_TWICE,
            )
        return reported

    def _report_other_serial(self, expected: str, reported: str) -> None:
        if self._reported_serial == reported:
            return  # already reported
        self._reported_serial = reported
        context = self._context
        context.note(
            event.TERMINAL_CHANGED, serial=expected, what="serial", serial_before=expected, serial_after=reported
        )
        context.alarm("serial_changed", reported=reported, expected=expected)

    def _report_changes(self, terminal: Terminal, info: TerminalInfo) -> None:
        """Report a changed property of the device with this serial number; it is read all the same."""
        context = self._context
        mac = terminal.mac_address() if isinstance(terminal, Networked) else None
        seen: dict[What, str | None] = {"mac": mac, "firmware": info.firmware, "platform": info.platform}
        for change in context.identities.changes(info.serial, seen):
            values = {"what": change.what, "before": change.before, "after": change.after}
            context.incident(
                "identity_changed",
                note={
                    "serial": info.serial,
                    "what": change.what,
                    "value_before": change.before,
                    "value_after": change.after,
                },
                logged=values,
                values={"serial": info.serial, **values},
            )
