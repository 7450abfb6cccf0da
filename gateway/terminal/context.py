"""What the parts of a visit share: the terminal's settings and state, the ledger, and where results are reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from drivers.base import Driver, Via
from gateway import event
from gateway.clock import Clock
from gateway.event import ClockEvidence, ReadingContext
from gateway.identities import Identities
from gateway.incidents import INCIDENTS, alarm_message, log_incident, of_terminal
from gateway.ledger import KnownTerminal, Ledger
from gateway.log import BoundLogger, get_logger
from gateway.pending import PendingWrites
from gateway.settings import TerminalSettings
from gateway.terminal.entries import Entries
from gateway.terminal.state import Complete, TerminalState
from gateway.terminal.timing import Timing


@dataclass(slots=True, kw_only=True)
class TerminalContext:
    """One terminal, for the parts of its visits. Only ``state`` changes."""

    settings: TerminalSettings
    zone: ZoneInfo
    driver: Driver
    ledger: Ledger
    clock: Clock
    pending: PendingWrites
    identities: Identities
    entries: Entries
    timing: Timing
    state: TerminalState
    report: Callable[[str, dict[str, Any]], None]
    raise_alarm: Callable[[str, str, str | None], None]
    log: BoundLogger = field(init=False)

    def __post_init__(self) -> None:
        self.log = get_logger("worker").bind(terminal=self.settings.name)

    @property
    def name(self) -> str:
        """The terminal's name."""
        return self.settings.name

    def publish_state(self) -> None:
        """Publish the terminal's state, with the newest watermark of all its entries."""
        self.state.complete = self._newest_watermark()
        self.report(f"terminal/{self.name}/state", self.state.payload())

    def advance_watermark(self, begun: datetime) -> None:
        """State that everything that the log held at ``begun``, by a synchronised clock, is stored.

        The watermark never goes back, but from a moment that has not come: that one is replaced.
        """
        known = self._newest_watermark()
        if known is None or begun > known.until:
            known = Complete(begun, *self.ledger.end_of_stream())
        self.state.complete = known

    @property
    def has_watermark_ahead(self) -> bool:
        """Whether the watermark lies ahead of a synchronised clock; publishing the state withdraws it."""
        complete = self.state.complete
        return complete is not None and self.clock.synchronised() and complete.until > self.clock.now()

    def _newest_watermark(self) -> Complete | None:
        return self.entries.newest(self.state.serial, self.state.complete, self.clock)

    def alarm(self, code: str, variant: str = "", /, **values: object) -> None:
        """Raise an alarm about this terminal; ``values`` fill the message of the table in :mod:`gateway.incidents`."""
        self.raise_alarm(code, of_terminal(self.name, alarm_message(code, variant, **values)), self.name)

    def incident(
        self,
        code: str,
        *,
        note: Mapping[str, Any] | None = None,
        logged: Mapping[str, Any],
        values: Mapping[str, object],
    ) -> None:
        """Record and report an incident: its note with the data ``note``, its log line and its alarm.

        Without ``note`` only the last two.
        """
        row = INCIDENTS[code]
        if note is not None:
            assert row.note is not None, code  # noqa: S101 - the table
            self.note(row.note, **note)
        log_incident(self.log, code, **logged)
        self.alarm(code, **values)

    def note(self, event_type: str, **data: Any) -> None:
        """Record a note about this terminal, with its name and, where ``data`` names no other, its serial number."""
        moment = self.clock.now().astimezone(self.zone)
        data = {"terminal": self.name, "serial": self.state.serial, **data}
        self.pending.note(event_type, self.name, moment, data)

    def known(self) -> KnownTerminal:
        """Return what the ledger knows of the terminal; its serial number was pinned before."""
        known = self.ledger.terminal(self.name)
        assert known is not None  # noqa: S101 - pinned by identity.check_serial
        return known

    def reading(self, via: Via, clock: ClockEvidence | None, *, stepped: bool) -> ReadingContext:
        """Return what is to be recorded with the punches of a reading that begins now."""
        return ReadingContext(
            terminal=self.name,
            serial=self.state.serial or "",
            zone=self.zone,
            via=via,
            now=self.clock.now(),
            synchronised=self.clock.synchronised(),
            clock=clock,
            stepped=stepped,
            tolerance=timedelta(seconds=self.settings.clock.tolerance),
            labels=self.driver.labels or event.LABELS,
        )
