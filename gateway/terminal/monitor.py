"""Monitors all terminals: logs that become full, and terminals that are online without producing punches.

The daemon runs the check once a minute. Usual hours are computed each day from the ledger; see ``forecast``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway import event, forecast
from gateway.clock import Clock
from gateway.forecast import Usual
from gateway.incidents import alarm_message, log_incident, of_terminal
from gateway.ledger import Ledger
from gateway.log import get_logger
from gateway.pending import PendingWrites
from gateway.terminal.worker import Worker
from gateway.trace import origin, trace

log = get_logger("vigil")

CHECK_GAP_MAX = timedelta(hours=1)
"""Checks are a minute apart; after a longer gap the gateway's clock has stepped or the machine was suspended."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class _Monitored:
    """One terminal and its usual activity."""

    worker: Worker
    habits_of: date | None = None
    """The day for which the usual activity was computed."""
    per_day: Mapping[date, int] = field(default_factory=dict)
    usual: Usual | None = None
    threshold: int | None = None
    """The stored threshold of fullness, in per cent; None before it was looked up."""
    silent: bool = False
    """An alarm about its silence was raised."""
    last_fault: str | None = None
    """Origin of the last error while it was checked."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""
        return self.worker.zone

    def is_same_terminal(self, other: "_Monitored") -> bool:
        """Return whether both are entries of one terminal."""
        serial = self.worker.state.serial
        return self is other or (serial is not None and serial == other.worker.state.serial)


class TerminalMonitor:
    """Raises one alarm per silent terminal and per nearly full log, and one when the silence ends."""

    def __init__(
        self,
        workers: Collection[Worker],
        ledger: Ledger,
        clock: Clock,
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
        pending: PendingWrites | None = None,
    ) -> None:
        """``workers`` are read at each check; the collection may change between checks."""
        self._pending = pending or PendingWrites(ledger, now=clock.now, alarm=alarm)
        self._workers = workers
        self._terminals: list[_Monitored] = []
        self._ledger = ledger
        self._clock = clock
        self._alarm = alarm
        self._all_silent: datetime | None = None
        """When the alarm about silence of all terminals was raised; None while any is active."""
        self._counted_from = _EARLIEST
        """When that silence ended, or the gateway's clock stepped: silence is counted from here at the earliest."""
        self._checked_at = _EARLIEST

    def check(self) -> None:
        """Check every terminal."""
        now = self._clock.now()
        if not timedelta(0) <= now - self._checked_at <= CHECK_GAP_MAX:
            self._counted_from = now
        self._checked_at = now
        self._update_terminals()
        before = [
            (monitored.worker.state.full_on, monitored.worker.state.silent_since) for monitored in self._terminals
        ]
        for monitored in self._terminals:
            with self._isolated(monitored):
                self._load_habits(monitored, now.astimezone(monitored.zone).date())
                self._check_capacity(monitored, now)
                self._check_activity(monitored, now)
        for monitored in self._terminals:  # after the activity of all terminals is noted: silence is judged by it
            with self._isolated(monitored):
                self._check_silence(monitored, now)
        for monitored, state_before in zip(self._terminals, before, strict=True):
            if state_before != (monitored.worker.state.full_on, monitored.worker.state.silent_since):
                monitored.worker.publish_state()

    @contextmanager
    def _isolated(self, monitored: _Monitored) -> Iterator[None]:
        """Limit an error to the check of one terminal; it is logged when it changes."""
        try:
            yield
        except Exception as exc:  # noqa: BLE001 - the other terminals are checked all the same
            if monitored.last_fault != origin(exc):
                # The exception's text may hold personal data: only the origin is logged.
                log.error("terminal_not_watched", terminal=monitored.worker.name, trace=trace(exc))  # noqa: TRY400
            monitored.last_fault = origin(exc)

    def _update_terminals(self) -> None:
        """Take over the present terminals; one with a new worker keeps its alarm state."""
        before = {monitored.worker.name: monitored for monitored in self._terminals}
        self._terminals = []
        for worker in self._workers:
            monitored = before.get(worker.name) or _Monitored(worker)
            if monitored.worker is not worker:
                monitored.worker, monitored.habits_of = worker, None
            self._terminals.append(monitored)

    def _load_habits(self, monitored: _Monitored, today: date) -> None:
        """Compute a terminal's usual activity, once a day."""
        name = monitored.worker.name
        if monitored.habits_of == today or (known := self._ledger.terminal(name)) is None:
            return
        if monitored.threshold is None:
            monitored.threshold = known.threshold or 0
        since = today - timedelta(weeks=forecast.WEEKS)
        hours = self._ledger.hours(name, since)
        days = self._ledger.tally(name, since)
        monitored.per_day = {day.day: day.in_ledger + day.withheld for day in days if day.day and day.day < today}
        monitored.usual = forecast.usual_hours(hours, today)
        if monitored.worker.state.last_full_reading is not None:
            monitored.habits_of = today  # before the first complete reading there is no history

    # Fullness of the log.

    def _check_capacity(self, monitored: _Monitored, now: datetime) -> None:
        worker, reported = monitored.worker, monitored.threshold
        records, capacity = worker.state.sizes.records, worker.state.sizes.capacity
        if reported is None or records is None or not capacity:
            return
        if any(earlier.worker.state.sizes.capacity for earlier in self._earlier_entries(monitored)):
            return  # the same log: it is reported once
        fills = forecast.fills(records, capacity, monitored.per_day, now.astimezone(monitored.zone).date())
        worker.state.full_on = fills
        reached = forecast.threshold(records, capacity)
        if reached == reported:
            return
        if reached > reported:
            data = {
                "terminal": worker.name,
                "serial": worker.state.serial,
                "what": "capacity",
                "threshold": reached,
                "records": records,
                "capacity": capacity,
                "fills": fills.isoformat() if fills else None,
            }
            self._pending.note(event.TERMINAL_CHANGED, worker.name, now.astimezone(monitored.zone), data)
            full = {"threshold": reached, "records": records, "capacity": capacity}
            log_incident(log, "log_filling", terminal=worker.name, **full)
            message = alarm_message("log_filling", "dated" if fills else "", fills=fills, **full)
            self._alarm("log_filling", of_terminal(worker.name, message), worker.name)
        monitored.threshold = reached
        self._pending.remember(worker.name, threshold=reached)

    # Activity.

    def _check_silence(self, monitored: _Monitored, now: datetime) -> None:
        state = monitored.worker.state
        begin = self._since(monitored)
        if not state.online or monitored.silent or not self._exceeds_silence(monitored, begin, now):
            return  # an offline terminal is reported by its worker
        if any(earlier.worker.state.online for earlier in self._earlier_entries(monitored)):
            return
        state.silent_since = begin
        since = f"{begin.astimezone(monitored.zone):%Y-%m-%d %H:%M}"
        others = [
            other for other in self._terminals if not other.is_same_terminal(monitored) and other.worker.state.online
        ]
        # A day without punches is a holiday, a flood or a strike, which no calendar lists: one alarm for all terminals,
        # not one for each, so that alarms stay rare enough to be read.
        if others and all(self._exceeds_silence(monitored, self._since(other), now) for other in others):
            if self._all_silent is None:
                self._all_silent = now
                self._raise_alarm("terminal_silent", alarm_message("terminal_silent", "all", since=since), None)
        else:
            monitored.silent = True
            name = monitored.worker.name
            message = of_terminal(name, alarm_message("terminal_silent", since=since))
            self._raise_alarm("terminal_silent", message, name)

    def _check_activity(self, monitored: _Monitored, now: datetime) -> None:
        state, name = monitored.worker.state, monitored.worker.name
        last_new = self._last_new(monitored)
        if last_new is None:
            return
        if self._all_silent is not None and last_new > self._all_silent:
            self._all_silent, self._counted_from = None, now
            self._raise_alarm("terminal_heard", alarm_message("terminal_heard"), None)
        if state.silent_since is None or last_new <= state.silent_since:
            return
        state.silent_since = None
        if monitored.silent:
            monitored.silent = False
            self._raise_alarm("terminal_heard", of_terminal(name, alarm_message("terminal_heard")), name)

    def _entries(self, monitored: _Monitored) -> list[_Monitored]:
        """Return all entries of a terminal."""
        return [other for other in self._terminals if monitored.is_same_terminal(other)]

    def _earlier_entries(self, monitored: _Monitored) -> list[_Monitored]:
        """Return the entries of the same terminal that stand before one; alarms are raised for the first."""
        entries = self._entries(monitored)
        return entries[: entries.index(monitored)]

    def _last_new(self, monitored: _Monitored) -> datetime | None:
        """Return when a new record was last received from a terminal, through any of its entries."""
        received = (entry.worker.state.last_new for entry in self._entries(monitored))
        return max((moment for moment in received if moment is not None), default=None)

    def _since(self, monitored: _Monitored) -> datetime:
        """Return when a new record was last received from a terminal, or could first have been received."""
        moments = (monitored.worker.state.since, self._last_new(monitored), _EARLIEST)
        return max(moment for moment in moments if moment is not None)

    def _exceeds_silence(self, monitored: _Monitored, since: datetime, now: datetime) -> bool:
        """Return whether more of a terminal's usual time than ``silence`` has passed since ``since``."""
        disk = monitored.worker.state.medium is not None  # a flash disk is inserted at irregular times
        silence = monitored.worker.settings.silence
        if disk or silence is None or not monitored.usual:
            return False
        start, end = (
            moment.astimezone(monitored.zone).replace(tzinfo=None) for moment in (max(since, self._counted_from), now)
        )
        return forecast.usual_time(monitored.usual, start, end) >= timedelta(seconds=silence)

    def _raise_alarm(self, code: str, message: str, terminal: str | None) -> None:
        log_incident(log, code, terminal=terminal)
        self._alarm(code, message, terminal)
