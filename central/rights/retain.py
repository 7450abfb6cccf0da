"""Deletes what retention no longer keeps, in steps of one transaction each: a kill leaves a step whole or absent.

Each step is stored as a decision with who and on which paper, in the transaction that deletes. No verdict changes by
it: evidence is deleted together with the right to judge again the days that rest on it, and these must be decided.
"""

import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from central.rights.settings import KINDS, Kind, Settings
from central.store import deleting, retention
from central.store.accesses import Access
from central.store.accesses import add as add_access
from central.store.deleting import Held, Taken, Unsettled
from central.store.engine import Database, utc
from central.store.portable import overwrite_deleted
from central.timesheet.affected import REACH
from central.timesheet.facts import WIDE

MARGIN = timedelta(days=WIDE + 2 * REACH)
"""So long after deleted punches no day is judged again: a verdict may rest on those of its neighbours."""
EVENTS, ROWS = 5_000, 20_000
"""Events that one transaction looks at, and rows of the access log that it deletes: the inbox waits for it."""
PAUSE_S = 0.15
"""Between two transactions: longer than SQLite waits between two attempts, so that an inbox gets the write lock."""


class Due(NamedTuple):
    """What is due of one kind."""

    kind: Kind
    until: date
    """The last date that is no longer kept."""
    rows: int
    held: int
    """Rows that are kept because of a hold."""


class Plan(NamedTuple):
    """What a deletion would do."""

    due: tuple[Due, ...]
    settled: date | None
    """The last date that is not judged again afterwards, where that is later than now."""
    unsettled: Unsettled
    """What speaks against that."""


class UndecidedError(Exception):
    """Days that would never be judged again are not decided yet."""

    def __init__(self, settled: date, unsettled: Unsettled) -> None:
        super().__init__()
        self.settled = settled
        self.unsettled = unsettled


def held_now(connection: Connection) -> Held:
    """Return of whom nothing may be deleted, by the holds that are in force."""
    holds = [one for one in retention.holds(connection) if one.lifted is None]
    people = {key for one in holds for key in one.people}
    units = _with_units_below(connection, {key for one in holds for key in one.units})
    people |= deleting.everyone_ever_in(connection, units) if units else set()
    everybody = any(one.everybody for one in holds)
    if not people:
        return Held(everybody)
    pins = deleting.pins_ever_of(connection, people)
    return Held(everybody, frozenset(people), pins, deleting.pins_ever_of(connection) - pins)


def _with_units_below(connection: Connection, units: set[str]) -> set[str]:
    found = set[str]()
    for unit in units:
        found |= deleting.units_ever_below(connection, unit)
    return found


def until_of(kind: Kind, settings: Settings, today: date) -> date | None:
    """Return the last date of a kind that is no longer kept; None: everything is kept.

    Verdicts of this calendar year and of the one before are kept: discipline counts by calendar years.
    """
    days = settings.of(kind).keep_days
    if days is None:
        return None
    until = today - timedelta(days=days + 1)
    return min(until, date(today.year - 2, 12, 31)) if kind == "results" else until


def settled_by(settings: Settings, today: date) -> date | None:
    """Return the last date that is not judged again once what is due by the settings is deleted."""
    events, results = until_of("events", settings, today), until_of("results", settings, today)
    dates = [*([] if events is None else [events + MARGIN]), *([] if results is None else [results])]
    return max(dates, default=None)


def plan(connection: Connection, settings: Settings, today: date) -> Plan:
    """Return what is due; nothing is changed."""
    held = held_now(connection)
    due = []
    for kind in KINDS:
        until = until_of(kind, settings, today)
        if until is not None:
            steps = list(_count(connection, kind, until, held))
            due.append(Due(kind, until, sum(one.rows for one in steps), sum(one.held for one in steps)))
    settled = settled_by(settings, today)
    before = retention.settled_until(connection)
    if settled is None or not any(one.rows for one in due if one.kind in ("events", "results")):
        settled = None
    if settled is not None and before is not None and settled <= before:
        settled = None
    return Plan(tuple(due), settled, Unsettled(0, 0, 0) if settled is None else deleting.unsettled(connection, settled))


def _count(connection: Connection, kind: Kind, until: date, held: Held) -> Iterator[Taken]:
    if kind == "events":
        after: int | None = 0
        while after is not None:
            found = deleting.events_due(connection, until, held, after=after, most=EVENTS)
            yield found
            after = found.after
    elif kind == "results":
        for month in deleting.result_months(connection, until):
            yield deleting.results_due(connection, until, held, month, take=False)
    elif kind == "access":
        yield deleting.accesses_due(connection, until, held, None)
    else:
        yield _rest(connection, kind, until, held, take=False)


def _rest(connection: Connection, kind: Kind, until: date, held: Held, *, take: bool) -> Taken:
    if kind == "requests":
        return deleting.requests_due(connection, until, held, take=take)
    if kind == "rejected":
        return deleting.rejected_due(connection, until, held, take=take)
    if kind == "mails":
        return deleting.mails_due(connection, until, take=take)
    return deleting.sessions_due(connection, until, take=take)


class Retention:
    """Deletes what is due, by a person and on a paper. Every method raises StoreError where the database fails."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        by: str,
        paper: str,
        now: Callable[[], datetime],
        *,
        with_open: bool = False,
        events: int = EVENTS,
    ) -> None:
        """``with_open``: also where days are not decided. ``events``: so many are looked at in one transaction."""
        self._database, self._settings, self._by, self._paper, self._now = database, settings, by, paper, now
        self._with_open, self._events = with_open, events
        self._settled = settled_by(settings, now().date())

    def run(self) -> dict[Kind, int]:
        """Delete all that is due; return how many rows of each kind. Raises UndecidedError, then nothing is deleted."""
        taken: dict[Kind, int] = {}
        for kind in KINDS:
            until = until_of(kind, self._settings, self._now().date())
            if until is not None:
                taken[kind] = sum(self._steps(kind, until))
        if sum(taken.values()):
            with self._database.writing() as connection:
                access = Access(utc(self._now()), self._by, "command", "", "retention_applied")
                add_access(connection, [access])
            self._database.truncate_log()
        return taken

    def _steps(self, kind: Kind, until: date) -> Iterator[int]:
        if kind == "events":
            after: int | None = 0
            while after is not None:
                found = self._step(kind, until, after=after)
                after = found.after
                yield found.rows
        elif kind == "results":
            with self._database.reading() as connection:
                months = deleting.result_months(connection, until)
            for month in months:
                yield self._step(kind, until, month=month).rows
        else:
            more: int | None = 0
            while more is not None:
                found = self._step(kind, until)
                more = found.after
                yield found.rows

    def _step(self, kind: Kind, until: date, *, after: int = 0, month: str = "") -> Taken:
        """Delete one part, and put it on record, in one transaction."""
        with self._database.writing() as connection:
            overwrite_deleted(connection)
            number, held = retention.next_number(connection), held_now(connection)
            settled = self._newly_settled(connection) if kind in ("events", "results") else None
            found = Unsettled(0, 0, 0) if settled is None else deleting.unsettled(connection, settled)
            taken = self._take(connection, kind, until, held, number, after, month)
            if not taken.rows:
                return taken
            if settled is not None:
                if found.waiting or ((found.undecided or found.not_carried) and not self._with_open):
                    raise UndecidedError(settled, found)
                deleting.settle(connection, settled)
            content = {
                "kind": kind,
                "until": until.isoformat(),
                "rows": taken.rows,
                "digest": taken.digest,
                "source": self._settings.of(kind).source,
                "settled": None if settled is None else settled.isoformat(),
            }
            if taken.last is not None:
                content |= {"last": taken.last[0], "last_digest": taken.last[1]}
            retention.add(connection, utc(self._now()), retention.DELETION, content, self._by, self._paper)
            if taken.last is not None:
                deleting.delete_accesses(connection, taken.last[0])
        time.sleep(PAUSE_S)
        return taken

    def _take(
        self, connection: Connection, kind: Kind, until: date, held: Held, number: int, after: int, month: str
    ) -> Taken:
        if kind == "events":
            return deleting.events_due(connection, until, held, after=after, most=self._events, number=number)
        if kind == "results":
            return deleting.results_due(connection, until, held, month, take=True)
        if kind == "access":
            return deleting.accesses_due(connection, until, held, ROWS)
        return _rest(connection, kind, until, held, take=True)

    def _newly_settled(self, connection: Connection) -> date | None:
        """Return the last date that is judged no more, where that is later than before."""
        settled, before = self._settled, retention.settled_until(connection)
        return None if settled is None or (before is not None and settled <= before) else settled
