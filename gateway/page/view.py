"""What there is to see. Everything here may wait for the disk, so it is asked for on one thread of its own."""

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
from gateway.ledger import Counts, Day, LedgerReader
from gateway.settings import Settings

STATUS_S = 1.0
TALLY_S = 10.0
DAY_S = 10.0
TALLY_DAYS = 7
FEED_MOST = 100
"""Events looked at for the feed at once: a punch of an import is news to nobody."""
LOOKED_THROUGH = 300
"""Events looked through for the newest punches."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passed:
    """A punch as it may be shown."""

    sequence: int
    terminal: str
    local_time: datetime
    person: str
    """The end of the PIN; a terminal that knows an internal number only shows nothing of it."""
    state: str | int | None
    verify: str | int | None
    suspect: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Today:
    """Punches of a day, and of a usual one, by quarter of an hour."""

    date: date
    counts: list[int]
    usual: list[float] | None

    def usual_until(self, local: datetime) -> int:
        """Return how many punches there usually are before this time of the day, its quarter included."""
        return round(sum((self.usual or [])[: local.hour * 4 + local.minute // 15 + 1]))


@dataclass(frozen=True, slots=True)
class TallyDay:
    """What must be equal for a day, terminal by terminal."""

    day: date | None
    """None: records without a readable date."""
    terminals: dict[str, Day]

    def total(self, column: str) -> int:
        """Add up one of the columns."""
        return sum(getattr(day, column) or 0 for day in self.terminals.values())

    @property
    def differs(self) -> bool:
        """Whether the ledger lacks something that a terminal's log holds, or holds what nobody has sent yet."""
        return any(
            day.in_ledger + day.withheld < (day.in_log or 0) or day.sent < day.in_ledger
            for day in self.terminals.values()
        )

    @property
    def confirmed(self) -> bool:
        """Whether the centre has confirmed all that the ledger holds of this day, withheld records aside."""
        return all(day.confirmed >= day.in_ledger for day in self.terminals.values())


class _Kept(Generic[T]):
    """An answer that may be given again for a while, however many people ask."""

    def __init__(self, make: Callable[[], T], for_s: float) -> None:
        self._make = make
        self._for_s = for_s
        self._made: tuple[float, T] | None = None

    def __call__(self) -> T:
        if self._made is None or time.monotonic() - self._made[0] > self._for_s:
            self._made = time.monotonic(), self._make()
        return self._made[1]


class View:
    """What the page shows. Its methods are called on the thread of ``reading`` only."""

    def __init__(
        self, settings: Callable[[], Settings], status: Callable[[], dict[str, Any]], now: Callable[[], datetime]
    ) -> None:
        """Show what there is by the settings in effect, whose terminals may become others."""
        self.reading = ThreadPoolExecutor(1, thread_name_prefix="page-reading")
        self.zone = ZoneInfo(settings().timezone)
        self.name = f"{settings().site}/{settings().gateway}"
        self.now = now
        self.status = _Kept(status, STATUS_S)
        self.counts: Callable[[], Counts] = _Kept(lambda: self._ledger().counts(), STATUS_S)
        self.tallies = _Kept(self._tallies, TALLY_S)
        self.day = _Kept(self._day, DAY_S)
        self._settings = settings
        self._reader: LedgerReader | None = None
        self._usual: tuple[date, list[float] | None] | None = None

    def close(self) -> None:
        """Let go of the ledger."""
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
        """Return the newest days first."""
        since = self._today() - timedelta(days=TALLY_DAYS - 1)
        days: dict[date | None, dict[str, Day]] = {}
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

    def newest(self, count: int) -> tuple[list[Passed], int]:
        """Return the newest punches, the last one first, and the event from which :meth:`since` goes on."""
        punches, behind = self._passed(max(0, self.last_sequence() - LOOKED_THROUGH), LOOKED_THROUGH)
        return punches[: -count - 1 : -1], behind

    def since(self, after: int) -> tuple[list[Passed], int]:
        """Return the punches behind event ``after``, in order, and the event to go on from."""
        last = self.last_sequence()
        return self._passed(max(min(after, last), last - FEED_MOST), FEED_MOST)

    def _passed(self, after: int, limit: int) -> tuple[list[Passed], int]:
        events = self._ledger().events(after, limit)
        punches = [
            _passed(event.sequence, json.loads(event.body)["data"])
            for event in events
            if event.topic.startswith("punch/")
        ]
        return punches, max(after, *(event.sequence for event in events)) if events else after


def _passed(sequence: int, data: Mapping[str, Any]) -> Passed:
    return Passed(
        sequence,
        data["terminal"],
        datetime.fromisoformat(data["local_time"]),
        mask_pin(data["pin"] or ""),
        data["state_label"] or data["state"],
        data["verify_label"] or data["verify"],
        tuple(data["suspect"]),
    )
