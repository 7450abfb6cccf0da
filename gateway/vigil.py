"""Watches what no single visit can see: logs that fill, and terminals that answer but of which nothing is heard.

Looked at once a minute by the daemon. What is habit is learnt anew each day from the ledger; see ``forecast``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from gateway import forecast, punch
from gateway.clock import Clock
from gateway.forecast import Usual
from gateway.ledger import Ledger
from gateway.pending import PendingWrites
from gateway.trace import origin, trace
from gateway.worker import Worker

log = structlog.get_logger("vigil")

STEP = timedelta(hours=1)
"""Looks are a minute apart; where this much has passed, our clock has stepped or the machine has slept."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Watched:
    """One terminal, and what is known of its habits."""

    worker: Worker
    learnt: date | None = None
    """The day on which the habits were looked up."""
    per_day: Mapping[date, int] = field(default_factory=dict)
    usual: Usual | None = None
    threshold: int | None = None
    """Of fullness, on record; None: not looked up yet."""
    silent: bool = False
    """Has been told."""
    trouble: str | None = None
    """Where the last failure to look at it came from."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""
        return self.worker.zone

    @property
    def since(self) -> datetime:
        """When something new came from it last, or since when something could have come."""
        state = self.worker.state
        return max(moment for moment in (state.since, state.heard, _LONG_AGO) if moment is not None)


class Vigil:
    """Raises alarms for what is not heard and for what is nearly full, once each, and says when it is over."""

    def __init__(
        self,
        workers: Collection[Worker],
        ledger: Ledger,
        clock: Clock,
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
        pending: PendingWrites | None = None,
    ) -> None:
        """``workers`` are looked at as they are at each look: they may come and go."""
        self._pending = pending or PendingWrites(ledger, now=clock.now, alarm=alarm)
        self._workers = workers
        self._watched: list[_Watched] = []
        self._ledger = ledger
        self._clock = clock
        self._alarm = alarm
        self._all_silent: datetime | None = None
        """When it was told that nothing is heard of any terminal; None while something is."""
        self._resumed = _LONG_AGO
        """When that was over, or our clock stepped: each terminal then has its usual time anew."""
        self._looked = _LONG_AGO

    def look(self) -> None:
        """Look at every terminal."""
        now = self._clock.now()
        if not timedelta(0) <= now - self._looked <= STEP:
            self._resumed = now
        self._looked = now
        self._follow()
        before = [(watched.worker.state.fills, watched.worker.state.silent_since) for watched in self._watched]
        for watched in self._watched:
            with self._alone(watched):
                self._learn(watched, now.astimezone(watched.zone).date())
                self._look_at_log(watched, now)
                self._look_whether_heard(watched, now)
        for watched in self._watched:  # after all that is heard has been noted: silence is judged by it
            with self._alone(watched):
                self._look_whether_silent(watched, now)
        for watched, told in zip(self._watched, before, strict=True):
            if told != (watched.worker.state.fills, watched.worker.state.silent_since):
                watched.worker.tell_state()

    @contextmanager
    def _alone(self, watched: _Watched) -> Iterator[None]:
        """Let what goes wrong with one terminal cost the look at that terminal only; it is logged when it changes."""
        try:
            yield
        except Exception as exc:  # noqa: BLE001 - whatever it is, the other terminals are looked at
            if watched.trouble != origin(exc):
                # A text may hold what is nobody's business: the places do.
                log.error("terminal_not_watched", terminal=watched.worker.name, trace=trace(exc))  # noqa: TRY400
            watched.trouble = origin(exc)

    def _follow(self) -> None:
        """Watch the terminals that there are; one whose worker is another keeps what was told of it."""
        before = {watched.worker.name: watched for watched in self._watched}
        self._watched = []
        for worker in self._workers:
            watched = before.get(worker.name) or _Watched(worker)
            if watched.worker is not worker:
                watched.worker, watched.learnt = worker, None
            self._watched.append(watched)

    def _learn(self, watched: _Watched, today: date) -> None:
        """Look up a terminal's habits, once a day."""
        name = watched.worker.name
        if watched.learnt == today or (known := self._ledger.terminal(name)) is None:
            return
        if watched.threshold is None:
            watched.threshold = known.threshold or 0
        since = today - timedelta(weeks=forecast.WEEKS)
        hours = self._ledger.hours(name, since)
        days = self._ledger.tally(name, since)
        watched.per_day = {day.day: day.in_ledger + day.withheld for day in days if day.day and day.day < today}
        watched.usual = forecast.usual_hours(hours, today)
        if watched.worker.state.last_full_reading is not None:
            watched.learnt = today  # before the first reading is through there is nothing to learn from

    # How full its log is.

    def _look_at_log(self, watched: _Watched, now: datetime) -> None:
        worker, told = watched.worker, watched.threshold
        records, capacity = worker.state.sizes.records, worker.state.sizes.capacity
        if told is None or records is None or not capacity:
            return
        fills = forecast.fills(records, capacity, watched.per_day, now.astimezone(watched.zone).date())
        worker.state.fills = fills
        reached = forecast.threshold(records, capacity)
        if reached == told:
            return
        if reached > told:
            data = {
                "terminal": worker.name,
                "serial": worker.state.serial,
                "what": "capacity",
                "threshold": reached,
                "records": records,
                "capacity": capacity,
                "fills": fills.isoformat() if fills else None,
            }
            self._pending.note(punch.TERMINAL_CHANGED, worker.name, now.astimezone(watched.zone), data)
            log.warning("log_filling", terminal=worker.name, threshold=reached, records=records, capacity=capacity)
            until = f"; at the pace of the last weeks it is full on {fills}" if fills else ""
            message = (
                f"terminal {worker.name}: its log is {reached} % full ({records} of {capacity} records){until}; clear "
                "it at the terminal once everything is confirmed"
            )
            self._alarm("log_filling", message, worker.name)
        watched.threshold = reached
        self._pending.remember(worker.name, threshold=reached)

    # Whether anything is heard of it.

    def _look_whether_silent(self, watched: _Watched, now: datetime) -> None:
        state = watched.worker.state
        if not state.online or watched.silent or not self._overdue(watched, watched.since, now):
            return  # that a terminal does not answer is said already
        state.silent_since = watched.since
        since = f"{watched.since.astimezone(watched.zone):%Y-%m-%d %H:%M}"
        others = [other for other in self._watched if other is not watched and other.worker.state.online]
        # A day on which nobody comes is a holiday, a flood or a strike, and no calendar says so: one alarm for all of
        # them, not one for each terminal, or people learn not to read alarms.
        if others and all(self._overdue(watched, other.since, now) for other in others):
            if self._all_silent is None:
                self._all_silent = now
                self._tell("terminal_silent", f"no punch at any terminal since {since}; is it a holiday?", None)
        else:
            watched.silent = True
            name = watched.worker.name
            message = f"terminal {name}: it answers, but no punch since {since}, which is unusual; try it with a finger"
            self._tell("terminal_silent", message, name)

    def _look_whether_heard(self, watched: _Watched, now: datetime) -> None:
        state, name = watched.worker.state, watched.worker.name
        if state.heard is None:
            return
        if self._all_silent is not None and state.heard > self._all_silent:
            self._all_silent, self._resumed = None, now
            self._tell("terminal_heard", "punches are heard again", None)
        if state.silent_since is None or state.heard <= state.silent_since:
            return
        state.silent_since = None
        if watched.silent:
            watched.silent = False
            self._tell("terminal_heard", f"terminal {name}: punches are heard again", name)

    def _overdue(self, watched: _Watched, since: datetime, now: datetime) -> bool:
        """Tell whether so much of a terminal's usual time has passed since then that people should know of silence."""
        disk = watched.worker.state.medium is not None  # it comes when somebody brings it
        silence = watched.worker.settings.silence
        if disk or silence is None or not watched.usual:
            return False
        start, end = (
            moment.astimezone(watched.zone).replace(tzinfo=None) for moment in (max(since, self._resumed), now)
        )
        return forecast.usual_time(watched.usual, start, end) >= timedelta(seconds=silence)

    def _tell(self, code: str, message: str, terminal: str | None) -> None:
        log.warning(code, terminal=terminal)
        self._alarm(code, message, terminal)
