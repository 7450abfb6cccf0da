"""Data of the page, from the daemon's status and the ledger. Queries may wait for the disk: they run on one thread."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from gateway import forecast
from gateway.event import mask_pin
from gateway.ledger import Counts, DayCounts, LedgerReader
from gateway.settings import Settings

STATUS_S = 1.0
TALLY_S = 10.0
DAY_S = 10.0
TALLY_DAYS = 7
FEED_MOST = 100
"""Newest events that one query of the feed returns; older ones, as of an import, are skipped."""
NEWEST_SEARCHED = 300
"""Newest events that are searched for the newest punches."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShownPunch:
    """A punch as the page shows it."""

    sequence: int
    terminal: str
    local_time: datetime
    person: str
    """The masked PIN; empty for a terminal that knows an internal number only."""
    state: str | int | None
    verify: str | int | None
    suspect: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Today:
    """Punches of a day and of a usual day, by quarter of an hour."""

    date: date
    counts: list[int]
    usual: list[float] | None

    def usual_until(self, local: datetime) -> int:
        """Return the usual number of punches up to this time of the day, its quarter included."""
        return round(sum((self.usual or [])[: local.hour * 4 + local.minute // 15 + 1]))


@dataclass(frozen=True, slots=True)
class TallyDay:
    """Counts of a day, by terminal."""

    day: date | None
    """None: records without a readable date."""
    terminals: dict[str, DayCounts]

    def total(self, column: str) -> int:
        """Return the sum of a column."""
        return sum(getattr(day, column) or 0 for day in self.terminals.values())

    @property
    def differs(self) -> bool:
        """Whether the ledger lacks a record of a terminal's log, or holds an event that has not been sent yet."""
        return any(
            day.in_ledger + day.withheld < (day.in_log or 0) or day.sent < day.in_ledger
            for day in self.terminals.values()
        )

    @property
    def confirmed(self) -> bool:
        """Whether the centre has confirmed every event of this day; withheld records do not count."""
        return all(day.confirmed >= day.in_ledger for day in self.terminals.values())


class _Cached(Generic[T]):
    """A value that is computed at most once in a period, however often it is requested."""

    def __init__(self, make: Callable[[], T], for_s: float) -> None:
        self._make = make
        self._for_s = for_s
        self._made: tuple[float, T] | None = None

    def __call__(self) -> T:
        if self._made is None or time.monotonic() - self._made[0] > self._for_s:
            self._made = time.monotonic(), self._make()
        return self._made[1]


class View:
    """Queries of the page. They are called on the thread of ``reading`` only."""

    def __init__(
        self, settings: Callable[[], Settings], status: Callable[[], dict[str, Any]], now: Callable[[], datetime]
    ) -> None:
        """Set up the queries; ``settings`` returns the settings in effect, whose terminals a reload may change."""
        self.reading = ThreadPoolExecutor(1, thread_name_prefix="page-reading")
        self.zone = ZoneInfo(settings().timezone)
        self.name = f"{settings().site}/{settings().gateway}"
        self.now = now
        self.status = _Cached(status, STATUS_S)
        self.counts: Callable[[], Counts] = _Cached(lambda: self._ledger().counts(), STATUS_S)
        self.tallies = _Cached(self._tallies, TALLY_S)
        self.day = _Cached(self._day, DAY_S)
        self._settings = settings
        self._reader: LedgerReader | None = None
        self._usual: tuple[date, list[float] | None] | None = None

    def close(self) -> None:
        """Close the ledger."""
        self.reading.shutdown(wait=True, cancel_futures=True)
        if self._reader is not None:
            self._reader.close()

    @property
    def tolerances(self) -> dict[str, float]:
        """Terminal → how many seconds its clock may be off."""
        return {terminal.name: terminal.clock.tolerance for terminal in self._settings().terminals}

    @property
    def zones(self) -> dict[str, ZoneInfo]:
        """Terminal → the zone of its clock."""
        settings = self._settings()
        return {terminal.name: settings.zone(terminal) for terminal in settings.terminals}

    def _ledger(self) -> LedgerReader:
        self._reader = self._reader or LedgerReader(self._settings().data_dir)
        return self._reader

    def _today(self) -> date:
        return self.now().astimezone(self.zone).date()

    def _tallies(self) -> list[TallyDay]:
        """Return the counts of the newest days, the newest first."""
        since = self._today() - timedelta(days=TALLY_DAYS - 1)
        days: dict[date | None, dict[str, DayCounts]] = {}
        for terminal in self._settings().terminals:
            for day in self._ledger().tally(terminal.name, since):
                days.setdefault(day.day, {})[terminal.name] = day
        undated = days.pop(None, None)
        tallies = [TallyDay(day, days[day]) for day in sorted(filter(None, days), reverse=True)]
        return [*tallies, *([TallyDay(None, undated)] if undated else [])]

    def _day(self) -> Today:
        today = self._today()
        if self._usual is None or self._usual[0] != today:
            past = self._ledger().quarters(today - timedelta(weeks=forecast.WEEKS), today - timedelta(days=1))
            self._usual = today, forecast.usual_day(past, today)
        counts = self._ledger().quarters(today, today)
        return Today(today, [counts.get((today, quarter), 0) for quarter in range(forecast.QUARTERS)], self._usual[1])

    def last_sequence(self) -> int:
        """Return the number of the newest event."""
        return self._ledger().last_sequence()

    def newest(self, count: int) -> tuple[list[ShownPunch], int]:
        """Return the newest punches, the newest first, and the sequence number for :meth:`since`."""
        punches, behind = self._shown(max(0, self.last_sequence() - NEWEST_SEARCHED), NEWEST_SEARCHED)
        return punches[: -count - 1 : -1], behind

    def since(self, after: int) -> tuple[list[ShownPunch], int]:
        """Return the punches after event ``after``, in order, and the sequence number for the next call."""
        last = self.last_sequence()
        return self._shown(max(min(after, last), last - FEED_MOST), FEED_MOST)

    def _shown(self, after: int, limit: int) -> tuple[list[ShownPunch], int]:
        events = self._ledger().events(after, limit)
        punches = [
            _shown(event.sequence, json.loads(event.body)["data"])
            for event in events
            if event.topic.startswith("punch/")
        ]
        return punches, max(after, *(event.sequence for event in events)) if events else after


def _shown(sequence: int, data: Mapping[str, Any]) -> ShownPunch:
    return ShownPunch(
        sequence,
        data["terminal"],
        datetime.fromisoformat(data["local_time"]),
        mask_pin(data["pin"] or ""),
        data["state_label"] or data["state"],
        data["verify_label"] or data["verify"],
        tuple(data["suspect"]),
    )
