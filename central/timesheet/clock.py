"""Wall clocks and instants: both are whole seconds, counted from 1970-01-01 00:00 of the wall clock or of UTC. Pure."""

from datetime import MAXYEAR, UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_START = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock has no zone
_FIRST = -_EPOCH * DAY_S + 2 * DAY_S
_LAST = (date(MAXYEAR, 12, 31).toordinal() - _EPOCH - 1) * DAY_S
_KEPT_DAYS = 20_000
"""Days whose offset a zone remembers before it begins again."""


def midnight(day: date) -> int:
    """Return the wall clock's seconds at the begin of a date."""
    return (day.toordinal() - _EPOCH) * DAY_S


def date_of(local: int) -> date:
    """Return the date of a wall clock's seconds; beyond the calendar its first or last date."""
    return date.fromordinal(min(max(local // DAY_S + _EPOCH, 1), date.max.toordinal()))


def print_time(local: int) -> str:
    """Return HH:MM:SS of a wall clock's seconds."""
    second = local % DAY_S
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def print_local(local: int) -> str:
    """Return YYYY-MM-DD HH:MM:SS of a wall clock's seconds."""
    return f"{date_of(local).isoformat()} {print_time(local)}"


class Zone:
    """A time zone; remembers the offset of each date, as long as it does not change within it."""

    __slots__ = ("_by_local_day", "_by_utc_day", "_info", "name")

    def __init__(self, name: str) -> None:
        """Raise what :class:`zoneinfo.ZoneInfo` raises for a name that is no zone's."""
        self.name = name
        self._info = ZoneInfo(name)
        self._by_local_day: dict[int, int | None] = {}
        self._by_utc_day: dict[int, int | None] = {}

    def instant(self, local: int) -> int:
        """Return the instant at which the wall clock shows ``local``.

        What it shows twice is the first of the two; what it skips has the offset that was valid before.
        """
        day = local // DAY_S
        try:
            offset = self._by_local_day[day]
        except KeyError:
            begin, end = self._offset_at_local(day * DAY_S), self._offset_at_local((day + 1) * DAY_S)
            offset = begin if begin == end else None
            _remember(self._by_local_day, day, offset)
        return local - (self._offset_at_local(local) if offset is None else offset)

    def local(self, instant: int) -> int:
        """Return what the wall clock shows at an instant."""
        day = instant // DAY_S
        try:
            offset = self._by_utc_day[day]
        except KeyError:
            begin, end = self._offset_at(day * DAY_S), self._offset_at((day + 1) * DAY_S)
            offset = begin if begin == end else None
            _remember(self._by_utc_day, day, offset)
        return instant + (self._offset_at(instant) if offset is None else offset)

    def _offset_at_local(self, local: int) -> int:
        moment = _START + timedelta(seconds=min(max(local, _FIRST), _LAST))
        offset = moment.replace(tzinfo=self._info).utcoffset()
        return 0 if offset is None else offset // timedelta(seconds=1)

    def _offset_at(self, instant: int) -> int:
        moment = _START.replace(tzinfo=UTC) + timedelta(seconds=min(max(instant, _FIRST), _LAST))
        offset = moment.astimezone(self._info).utcoffset()
        return 0 if offset is None else offset // timedelta(seconds=1)


def _remember(offsets: dict[int, int | None], day: int, offset: int | None) -> None:
    if len(offsets) >= _KEPT_DAYS:
        offsets.clear()
    offsets[day] = offset


@cache
def zone_named(name: str) -> Zone:
    """Return the zone of that name; raises what :class:`zoneinfo.ZoneInfo` raises."""
    return Zone(name)
