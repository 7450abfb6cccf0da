"""Rows of files as dated statements: what each is about, by which keys it is found, and its canonical content. Pure.

A statement has an identity, its natural key. Of statements with one identity the last entered counts. Rows that hold
only together make one statement: the slots of a timetable's version, the days of a schedule's version, the holidays of
one scope, kind and date. A row of an assignment makes two, one for the schedule and one for the policy, because each
has a validity of its own.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date, timedelta
from functools import cache
from typing import Any, NamedTuple

from central.json_text import load_json
from central.registers.cells import MAX_TIME_S
from central.registers.kinds import KINDS, Assignment, Decision
from central.registers.rules import Line

DAY_S = 86_400
LONGEST_DAYS = {"rosters": 0} | dict.fromkeys(("orders", "corrections", "presence"), MAX_TIME_S // DAY_S)
"""Kinds of which a person has many statements: how many days after its first date each of them ends at the latest."""
VERSIONED = frozenset({"timetables", "schedules"})
"""Kinds whose statements are versions: each is valid until the day before the next one of the same subject."""


class Statement(NamedTuple):
    """What a register states: from one date to another, both included, or without end."""

    kind: str
    identity: str
    """Canonical JSON of its natural key."""
    subject: str
    """Whom or what it is about: ``person:K``, ``unit:K``, ``timetable:K``, ``schedule:K``, ``scope:K``,
    ``terminal:SERIAL``, or :func:`pin_key`."""
    other: str | None
    """Another key it is found by: of people their unit, of units the one above, of enrolments :func:`pin_key`, of
    rosters the timetable, of assignments schedule or policy, of decisions about a person the terminal."""
    since: date
    until: date | None
    content: str
    """Canonical JSON of its records."""


class Source(NamedTuple):
    """A statement with the rows of the file that make it."""

    statement: Statement
    lines: tuple[Line, ...]


def pin_key(pin: str, terminal: str | None, site: str | None) -> str:
    """Return the key of a PIN at a terminal (its serial number) or a site; neither may hold blanks."""
    return f"site:{site} {pin}" if terminal is None else f"terminal:{terminal} {pin}"


class _Form(NamedTuple):
    """How the records of a kind become statements."""

    identity: Callable[[Any], tuple[object, ...]]
    subject: Callable[[Any], str]
    other: Callable[[Any], str | None] = lambda _record: None
    dates: Callable[[Any], tuple[date, date | None]] = lambda record: (record.since, record.until)
    split: Callable[[Any], Iterable[Any]] = lambda record: (record,)
    order: Callable[[Any], Any] | None = None
    """In which order a statement's records stand; None: as in the file."""


def _key(what: str, field: str) -> Callable[[Any], str | None]:
    def key(record: Any) -> str | None:
        found = getattr(record, field)
        return None if found is None else f"{what}:{found}"

    return key


def _person(record: Any) -> str:
    return f"person:{record.person}"


def _follower(record: Assignment) -> str:
    return f"unit:{record.unit}" if record.person is None else f"person:{record.person}"


def _one_each(record: Assignment) -> Iterable[Assignment]:
    if record.schedule is not None:
        yield replace(record, policy=None)
    if record.policy is not None:
        yield replace(record, schedule=None)


def _decided(record: Decision) -> str:
    if record.person is not None:
        return _person(record)
    if record.decision == "visitor" and record.pin is not None:
        return pin_key(record.pin, record.terminal, None)
    return f"terminal:{record.terminal}"


def _at(field: str) -> Callable[[Any], tuple[date, date | None]]:
    """Return the dates of a record with one date and a time of day, which may lie on a later date."""

    def dates(record: Any) -> tuple[date, date | None]:
        return record.date, record.date + timedelta(days=getattr(record, field) // DAY_S)

    return dates


def _leave_dates(record: Any) -> tuple[date, date | None]:
    until = record.until or record.since
    return record.since, until + timedelta(days=(record.end or 0) // DAY_S)


_FORMS: Mapping[str, _Form] = {
    "people": _Form(lambda one: (one.key, one.since), lambda one: f"person:{one.key}", _key("unit", "unit")),
    "units": _Form(lambda one: (one.key, one.since), lambda one: f"unit:{one.key}", _key("unit", "parent")),
    "enrolments": _Form(
        lambda one: (one.terminal, one.site, one.pin, one.since),
        _person,
        lambda one: pin_key(one.pin, one.terminal, one.site),
    ),
    "timetables": _Form(
        lambda one: (one.timetable, one.since),
        lambda one: f"timetable:{one.timetable}",
        dates=lambda one: (one.since, None),
    ),
    "schedules": _Form(
        lambda one: (one.schedule, one.since),
        lambda one: f"schedule:{one.schedule}",
        dates=lambda one: (one.since, None),
        order=lambda one: one.day,
    ),
    "rosters": _Form(
        lambda one: (one.person, one.date),
        _person,
        _key("timetable", "timetable"),
        dates=lambda one: (one.date, one.date),
    ),
    "assignments": _Form(
        lambda one: (one.person, one.unit, "schedule" if one.policy is None else "policy", one.since),
        _follower,
        lambda one: f"schedule:{one.schedule}" if one.policy is None else f"policy:{one.policy}",
        split=_one_each,
    ),
    "calendar": _Form(
        lambda one: (one.scope, one.kind, one.date),
        lambda one: f"scope:{one.scope}",
        dates=lambda one: (one.date, one.until or one.date),
        order=lambda one: (one.name, one.until or one.date),
    ),
    "leave": _Form(lambda one: (one.person, one.kind, one.since, one.begin, one.slot), _person, dates=_leave_dates),
    "orders": _Form(lambda one: (one.person, one.date, one.begin), _person, dates=_at("end")),
    "corrections": _Form(lambda one: (one.person, one.date, one.time), _person, dates=_at("time")),
    "decisions": _Form(
        lambda one: (one.decision, one.person, one.terminal, one.pin, one.suspect, one.since),
        _decided,
        lambda one: None if one.person is None or one.terminal is None else f"terminal:{one.terminal}",
    ),
    "presence": _Form(lambda one: (one.person, one.date, one.time, one.source), _person, dates=_at("time")),
}
JOINED = frozenset({"timetables", "schedules", "calendar"})
"""Kinds of which several rows may make one statement."""

REFERENCES: Mapping[str, tuple[str, str]] = {
    "people": ("people", "person"),
    "units": ("units", "unit"),
    "timetables": ("timetables", "timetable"),
    "schedules": ("schedules", "schedule"),
}
"""Registers that define keys which others refer to: their kind, and what stands before the key of their subject."""


def compose(kind: str, lines: Sequence[Line]) -> list[Source]:
    """Return the statements that the rows of a file make, in the order of their first rows."""
    form = _FORMS[kind]
    groups: dict[str, list[tuple[Any, Line]]] = {}
    for line in lines:
        for record in form.split(line.record):
            groups.setdefault(_identity(form.identity(record)), []).append((record, line))
    found = []
    for identity, members in groups.items():
        records = [record for record, _ in members]
        if form.order is not None:
            records.sort(key=form.order)
        dates = [form.dates(record) for record in records]
        until = None if any(end is None for _, end in dates) else max(end for _, end in dates if end is not None)
        first = records[0]
        statement = Statement(
            kind, identity, form.subject(first), form.other(first), dates[0][0], until, _content(records)
        )
        found.append(Source(statement, tuple(line for _, line in members)))
    return found


def records_of(kind: str, content: str) -> tuple[Any, ...]:
    """Return the records in a statement's content; raises ValueError where it holds none."""
    record, names, dates = _fields(kind)
    nested = content.find("[", 1) > 0  # most contents hold no list in a record
    found = []
    for item in load_json(content):
        values: list[Any] = list(map(item.get, names))
        if nested:
            values = [tuple(value) if isinstance(value, list) else value for value in values]
        for index in dates:
            if values[index] is not None:
                values[index] = date.fromisoformat(values[index])
        found.append(record(*values))
    return tuple(found)


@cache
def _fields(kind: str) -> tuple[Callable[..., Any], tuple[str, ...], tuple[int, ...]]:
    """Return the class of a kind's records, the names of its fields, and which of them are dates."""
    record = KINDS[kind].record
    names = tuple(field.name for field in fields(record))
    return record, names, tuple(index for index, name in enumerate(names) if name in ("since", "until", "date"))


def states_the_same(one: Statement, other: Statement) -> bool:
    """Return whether two statements of one identity hold equal records, also where one lacks a newer field."""
    if one.content == other.content:
        return True
    return records_of(one.kind, one.content) == records_of(other.kind, other.content)


_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=lambda value: value.isoformat()
).encode


def _identity(key: tuple[object, ...]) -> str:
    return _encode(key)


def _content(records: Sequence[Any]) -> str:
    names = [field.name for field in fields(records[0])]
    return _encode([{name: getattr(record, name) for name in names} for record in records])
