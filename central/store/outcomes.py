"""What stored verdicts come to: a row beside each revision, so that sheets, totals and pages need not read its reasons.

A row is what :func:`central.timesheet.outcome.outcome_of` makes of the revision's content, stored in the transaction
that stores the revision. It holds nothing of its own: :mod:`central.store.outcome_proof` compares them.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, select
from sqlmodel import Field

from central.json_text import dump_json, load_json
from central.store.engine import Row, among, chunks, insert_many, listed, table
from central.timesheet.outcome import Counts, Doubted, Outcome, Standing, not_judged

KNOWN = 20_000
"""Texts of a column whose values are kept: most dates of most people are alike."""


class OutcomeRow(Row, table=True):
    """The outcome of one revision; lists are JSON, and null where they are empty.

    SQLite keeps the rows in the order of their key: those of a person lie together, as sheets read them.
    """

    __tablename__: ClassVar[Any] = "outcome"
    __table_args__: ClassVar[Any] = ({"sqlite_with_rowid": False},)
    person: str = Field(primary_key=True)
    date: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    entered: str
    """Moment, unit and policy are those of the revision."""
    unit: str | None = None
    policy: str | None = None
    status: str
    why: str | None = None
    kind: str | None = None
    """This and the numbers that follow are null where the date is not judged."""
    work_date: str | None = None
    absent: bool | None = None
    shifts: int | None = None
    planned_min: int | None = None
    late_min: int | None = None
    """Final, as the early minutes and the missing punches are."""
    early_min: int | None = None
    missing: int | None = None
    excused_min: int | None = None
    cut: int | None = None
    """Thousandths of a percent."""
    cut_rp: int | None = Field(default=None, sa_type=BigInteger)
    shares: str | None = None
    """Kinds of leave with their shares of the day in thousandths."""
    events: str | None = None
    """What counters may count: due instants, each with what it is."""
    marks: str | None = None
    unsettled: str | None = None
    leave: str | None = None
    """Kinds of leave, of the day and of slots."""
    classes: str | None = None
    arrived: int | None = Field(default=None, sa_type=BigInteger)
    departed: int | None = Field(default=None, sa_type=BigInteger)
    due: int | None = Field(default=None, sa_type=BigInteger)
    due_local: int | None = Field(default=None, sa_type=BigInteger)
    seen_late_min: int | None = None
    """With the early minutes beside it: also what may still change."""
    seen_early_min: int | None = None
    doubts: str | None = None


OUTCOME = table(OutcomeRow)
_COLUMNS = tuple(column.name for column in OUTCOME.columns)
_KEY = OUTCOME.c.person, OUTCOME.c.date, OUTCOME.c.revision


class Day(NamedTuple):
    """What a stored revision comes to."""

    person: str
    date: date
    revision: int
    unit: str | None
    policy: str | None
    standing: Standing
    """What grids show: without times, minutes, classes, cuts and doubts; equal ones are one object."""
    doubts: tuple[Doubted, ...]
    counts: Counts | None
    """None where the date is not judged."""


class Of(NamedTuple):
    """The revision that an outcome is of."""

    person: str
    date: str
    revision: int
    entered: str
    unit: str | None
    policy: str | None


def add(connection: Connection, rows: Iterable[tuple[Of, Outcome]]) -> None:
    """Store the outcomes of revisions, which the same transaction stores."""
    found = [row_of(*one) for one in rows]
    if found:
        insert_many(connection, OUTCOME, _COLUMNS, found)


def row_of(of: Of, outcome: Outcome) -> tuple[Any, ...]:
    """Return what is stored, in the order of the columns."""
    standing, counts = outcome
    return (
        *of,
        standing.status,
        standing.why,
        *_counted(counts),
        _text(tuple(sorted(standing.marks))),
        _text(tuple(sorted(standing.unsettled))),
        _text(standing.excused),
        _text(standing.classes),
        standing.arrived,
        standing.left,
        standing.due,
        standing.due_local,
        standing.late_min,
        standing.early_min,
        _text(standing.doubts),
    )


def _counted(counts: Counts | None) -> tuple[Any, ...]:
    if counts is None:
        return (None,) * 13
    return (
        counts.kind,
        counts.work_date.isoformat(),
        *counts[4:-2],  # from absent to cut_rp
        _text(counts.excused),
        dump_json(counts.events) if counts.events else None,
    )


@lru_cache(KNOWN)
def _text(values: tuple[Any, ...]) -> str | None:
    return dump_json(values) if values else None


# --- reading ------------------------------------------------------------------------------------------------------

_IN_A_GRID = [OUTCOME.c[name] for name in ("status", "why", "kind", "marks", "unsettled", "leave")]
_COUNTED = [
    OUTCOME.c[name]
    for name in (
        *("absent", "shifts", "planned_min", "late_min", "early_min", "missing", "excused_min", "cut", "cut_rp"),
        *("shares", "events", "doubts"),
    )
]
_DAY = (*_KEY, OUTCOME.c.unit, OUTCOME.c.policy, OUTCOME.c.work_date, *_IN_A_GRID, *_COUNTED)
_BESIDE = [
    OUTCOME.c[name]
    for name in (
        *("arrived", "departed", "due", "due_local", "seen_late_min", "seen_early_min"),
        *("classes", "cut", "cut_rp", "doubts"),
    )
]


def current(
    connection: Connection, people: Iterable[str], first: date, last: date, known_at: str | None = None
) -> list[Day]:
    """Return the last revision of each day of people, by person and date; those that were stored until a moment."""
    query = select(*_DAY).where(
        listed(OUTCOME.c.person, people), OUTCOME.c.date.between(first.isoformat(), last.isoformat())
    )
    if known_at is not None:
        query = query.where(OUTCOME.c.entered <= known_at)
    rows = connection.execute(query.order_by(*_KEY)).all()
    return list(map(_day, {(row[0], row[1]): row for row in rows}.values()))


def exactly(connection: Connection, keys: Iterable[tuple[str, date, int]]) -> Iterator[Day]:
    """Yield revisions by person, date and number."""
    for batch in chunks((person, on.isoformat(), revision) for person, on, revision in keys):
        yield from map(_day, connection.execute(select(*_DAY).where(among(_KEY, batch))))


def standings(connection: Connection, keys: Iterable[tuple[str, date, int]]) -> dict[tuple[str, date, int], Standing]:
    """Return what revisions come to for people, by person, date and number."""
    found: dict[tuple[str, date, int], Standing] = {}
    for batch in chunks((person, on.isoformat(), revision) for person, on, revision in keys):
        query = select(*_KEY, *_IN_A_GRID, *_BESIDE).where(among(_KEY, batch))
        for person, on, revision, *shown in connection.execute(query):
            found[person, _date(on), revision] = _standing(*shown)
    return found


def _day(row: Any) -> Day:
    person, on, revision, unit, policy, work_date, status, why, kind, marks, unsettled, leave, *rest = row
    shown = _shown(status, why, kind, marks, unsettled, leave)
    counts = None
    if work_date is not None:
        *numbers, shares, events, _ = rest
        of_day = _date(on), _date(work_date), kind, status, *numbers, _pairs(shares), _events(events)
        counts = Counts._make(of_day)
    return Day(person, _date(on), revision, unit, policy, shown, _doubts(rest[-1]), counts)


def _standing(*row: Any) -> Standing:
    status, why, kind, marks, unsettled, leave, *rest = row
    if status == "none":
        return not_judged(why)
    arrived, left, due, due_local, late, early, classes, cut, cut_rp, doubts = rest
    shown = _shown(status, why, kind, marks, unsettled, leave)
    return shown._replace(
        arrived=arrived,
        left=left,
        due=due,
        due_local=due_local,
        late_min=late,
        early_min=early,
        classes=_names(classes),
        cut=cut,
        cut_rp=cut_rp,
        doubts=_doubts(doubts),
    )


@lru_cache(KNOWN)
def _shown(
    status: str, why: str | None, kind: str | None, marks: str | None, unsettled: str | None, leave: str | None
) -> Standing:
    names = frozenset(_names(marks)), frozenset(_names(unsettled))
    return Standing(status, *names, kind=kind, why=why, excused=_names(leave))


_date = lru_cache(KNOWN)(date.fromisoformat)


@lru_cache(KNOWN)
def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(load_json(text))


@lru_cache(KNOWN)
def _pairs(text: str | None) -> tuple[tuple[str, int], ...]:
    return () if text is None else tuple((kind, share) for kind, share in load_json(text))


@lru_cache(KNOWN)
def _doubts(text: str | None) -> tuple[Doubted, ...]:
    return () if text is None else tuple(Doubted(*one) for one in load_json(text))


def _events(text: str | None) -> tuple[tuple[int, str], ...]:
    return () if text is None else tuple((due, what) for due, what in load_json(text))
