"""Which days a changed statement or a punch touches: marks of a subject and a range of dates. Pure.

A mark of a shared subject (unit, timetable, schedule, scope, terminal) stands for everybody it concerns; recomputing
finds out whom, in batches. Marks may be too wide, never too narrow: a day whose inputs are equal writes nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple, Protocol

from central.registers.kinds import DAY_KINDS
from central.registers.statements import pin_key, records_of

REACH = 4
"""Days that a window can lie away from its date: times of day end at 96:00."""
FOREVER = date.max


class Mark(NamedTuple):
    """Days to judge again, both dates included."""

    subject: str
    """``person:K``, ``unit:K``, ``timetable:K``, ``schedule:K``, ``scope:K``, ``policy:K``, a :func:`place_key`
    (``site:S``, ``terminal:SERIAL``; ``awaited:SERIAL``: days of its people that wait for more to be known), a
    :func:`~central.registers.statements.pin_key`, or a :func:`read_key`."""
    first: date
    last: date
    """:data:`FOREVER` without end."""


class Stated(Protocol):
    """A statement of a register, see :class:`central.registers.statements.Statement`."""

    @property
    def kind(self) -> str:
        """Return the kind of register."""

    @property
    def subject(self) -> str:
        """Return whom or what it is about."""

    @property
    def other(self) -> str | None:
        """Return the other key by which it is found."""

    @property
    def since(self) -> date:
        """Return the first valid date."""

    @property
    def until(self) -> date | None:
        """Return the last valid date, None without end."""

    @property
    def content(self) -> str:
        """Return the canonical JSON of its records."""


class Reading(NamedTuple):
    """Where a punch was read: a PIN at one terminal of a site, whose clock was ``offset_s`` before UTC."""

    site: str
    serial: str
    pin: str
    offset_s: int


def read_key(reading: Reading) -> str:
    """Return the subject of a punch; none of its parts holds a tabulator."""
    return f"{_READ}{reading.site}\t{reading.serial}\t{reading.pin}\t{reading.offset_s}"


def read_of(subject: str) -> Reading | None:
    """Return what a :func:`read_key` is made of; None where the subject is none."""
    if not subject.startswith(_READ):
        return None
    site, serial, pin, offset_s = subject.removeprefix(_READ).split("\t")
    return Reading(site, serial, pin, int(offset_s))


_READ = "read:"


def place_key(kind: str, name: str) -> str:
    """Return the subject of everybody at a ``site`` or ``terminal``, or of their ``awaited`` days.

    A serial number may hold blanks; in a mark tabulators stand for them, as behind a blank stands a PIN.
    """
    return f"{kind}:{name.replace(' ', _BLANK)}"


def place_of(subject: str) -> tuple[str, str] | None:
    """Return what a :func:`place_key` is made of; None where the subject is none."""
    kind, _, name = subject.partition(":")
    whole = kind in _PLACES and (kind == "awaited" or " " not in name)
    return (kind, name.replace(_BLANK, " ")) if whole else None


_PLACES = ("site", "terminal", "awaited")
_BLANK = "\t"


def touched(new: Stated | None, old: Stated | None) -> list[Mark]:
    """Return what is to judge again where ``new`` counts instead of ``old``, both of one identity; None: nothing.

    Where only the validity differs, only the dates that one of them has are marked.
    """
    either = new if new is not None else old
    if either is None:
        return []
    if new is not None and old is not None and _meaning(new) == _meaning(old):
        ranges = _apart(_range(new), _range(old))
    else:
        ranges = [_range(one) for one in (new, old) if one is not None]
    subjects = {subject for one in (new, old) if one is not None for subject in _subjects(one)}
    pad = _PADS.get(either.kind, 0)
    return coalesced(Mark(subject, *_widened(found, pad)) for subject in subjects for found in ranges)


def coalesced(marks: Iterable[Mark]) -> list[Mark]:
    """Return marks in order of subject and date, those of one subject that touch or overlap as one."""
    found: list[Mark] = []
    for mark in sorted(marks):
        last = found[-1] if found else None
        if last is not None and last.subject == mark.subject and mark.first <= _after(last.last):
            found[-1] = last._replace(last=max(last.last, mark.last))
        else:
            found.append(mark)
    return found


_PADS: Mapping[str, int] = dict.fromkeys(
    ("people", "units", "timetables", "schedules", "rosters", "assignments", "leave"), REACH
)
"""Kinds that move windows: a neighbour that the former windows touched has to be judged again, too."""


def _subjects(stated: Stated) -> list[str]:
    """Return whose days a statement touches."""
    kind = stated.kind
    if kind == "calendar" and all(DAY_KINDS[record.kind] is None for record in records_of(kind, stated.content)):
        return []
    if kind == "enrolments":
        record = records_of(kind, stated.content)[0]
        return [stated.subject, pin_key(record.pin, record.terminal, record.site)]
    return [stated.subject]


def _meaning(stated: Stated) -> object:
    """Return what the judgement reads of a statement, but for its validity."""
    if stated.kind in ("people", "enrolments", "assignments"):
        return stated.subject, stated.other
    if stated.kind == "units":
        return stated.other, records_of(stated.kind, stated.content)[0].zone
    return stated.content


def _range(stated: Stated) -> tuple[date, date]:
    return stated.since, FOREVER if stated.until is None else stated.until


def _apart(one: tuple[date, date], other: tuple[date, date]) -> list[tuple[date, date]]:
    """Return the dates that only one of two ranges has."""
    if one[0] > other[1] or other[0] > one[1]:
        return [one, other]
    found = []
    if one[0] != other[0]:
        found.append((min(one[0], other[0]), _before(max(one[0], other[0]))))
    if one[1] != other[1]:
        found.append((_after(min(one[1], other[1])), max(one[1], other[1])))
    return found


def _widened(dates: tuple[date, date], days: int) -> tuple[date, date]:
    first, last = dates
    return _moved(first, -days), _moved(last, days)


def _moved(day: date, days: int) -> date:
    """Return the date so many days later; beyond the calendar its first or last date."""
    number = min(max(day.toordinal() + days, date.min.toordinal()), date.max.toordinal())
    return day if day == FOREVER else date.fromordinal(number)


def _before(day: date) -> date:
    return day if day == date.min else day - timedelta(days=1)


def _after(day: date) -> date:
    return day if day == date.max else day + timedelta(days=1)
