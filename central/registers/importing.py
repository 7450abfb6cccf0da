"""A file is imported: checked against itself and what is entered, then entered whole or not at all."""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple

from sqlalchemy import Connection

from central.registers.kinds import ALL, References
from central.registers.problems import Problem, Problems
from central.registers.read import Scan
from central.registers.remarks import Described, remarks_on
from central.registers.rules import Line
from central.registers.statements import REFERENCES, VERSIONED, Source, Statement, compose, states_the_same
from central.store.engine import Database
from central.store.marks import mark
from central.store.registers import Entered, Entry, Registers, Stated, enter, last_row
from central.timesheet.affected import Mark, coalesced, touched
from central.timesheet.rules import RulesOn

_COMPARED = {
    "people": "subject",
    "units": None,
    "enrolments": "other",
    "assignments": "subject",
    "calendar": "subject",
    "orders": "subject",
}
"""Kinds whose rows are compared with entered ones, and by which of their keys these are looked up; None: all."""


MAX_REMARKS = 20
"""Remarks on rows that are entered."""


class Change(NamedTuple):
    """What an import makes of one identity; None: nothing is stated."""

    new: Statement | None
    old: Statement | None


class Preview(NamedTuple):
    """What an import would do; ``changes`` is all that it would enter."""

    entries: int
    """Statements of the file."""
    changes: tuple[Change, ...]
    marks: tuple[Mark, ...]
    """Days that are to be judged again."""
    remarks: tuple[Problem, ...]
    seen: int
    """The last row of the registers that was there."""

    @property
    def new(self) -> int:
        """Return how many statements are new."""
        return sum(change.old is None for change in self.changes)

    @property
    def changed(self) -> int:
        """Return how many take the place of another."""
        return sum(None not in change for change in self.changes)

    @property
    def withdrawn(self) -> int:
        """Return how many are taken back."""
        return sum(change.new is None for change in self.changes)

    @property
    def unchanged(self) -> int:
        """Return how many statements of the file are entered already, or withdrawn already."""
        return self.entries - len(self.changes)


class Paper(NamedTuple):
    """Who enters a file, and on which paper."""

    by: str
    paper: str


def preview(connection: Connection, scan: Scan, policies: Mapping[str, RulesOn], *, withdraw: bool = False) -> Preview:
    """Return what importing a file would do, on a connection that reads one moment.

    ``policies`` are those that assignments may name. Raises :class:`central.registers.problems.RegisterFileError` with
    every mistake: of the file itself, and against what is entered. With ``withdraw`` the file's rows are taken back;
    each must be entered exactly so.
    """
    registers = Registers(connection)
    sources = compose(scan.kind, scan.lines)
    current = registers.of_identities(scan.kind, (source.statement.identity for source in sources))
    if withdraw:
        problems = scan.check(lambda _register, _keys: None)
        changes = _withdrawals(registers, scan.kind, sources, current, problems)
    else:
        changes = _changes(sources, current)
        problems = scan.check(_references(registers, policies), _entered_lines(registers, scan.kind, sources, changes))
    problems.raise_if_any()
    marks = _marks(registers, scan.kind, changes)
    changed = {change.new.identity for change in changes if change.new is not None}
    notes = remarks_on(connection, registers, policies, scan.kind, sources, changed)
    remarks = (*scan.remarks, *islice(notes, MAX_REMARKS))
    return Preview(len(sources), changes, marks, remarks, last_row(connection))


def enter_file(
    database: Database,
    scan: Scan,
    policies: Mapping[str, RulesOn],
    paper: Paper,
    now: datetime,
    *,
    withdraw: bool = False,
) -> tuple[Preview, Entered | None]:
    """Import a file; return what was done, and when it was entered: None where it changed nothing and is not stored.

    Checked before the write lock is taken, and again under it only where another import was faster. Raises as
    :func:`preview` does, and :class:`central.store.engine.StoreError`.
    """
    with database.reading() as connection:
        found = preview(connection, scan, policies, withdraw=withdraw)
    if not found.changes:
        return found, None
    with database.writing() as connection:
        if last_row(connection) != found.seen:
            found = preview(connection, scan, policies, withdraw=withdraw)
        return found, enter_preview(connection, scan, found, paper, now, withdraw=withdraw)


def enter_preview(
    connection: Connection, scan: Scan, found: Preview, paper: Paper, now: datetime, *, withdraw: bool = False
) -> Entered | None:
    """Enter what a preview of this transaction has found; return when: None where it changes nothing."""
    if not found.changes:
        return None
    entry = Entry(scan.kind, scan.file, scan.sha256, paper.by, paper.paper, withdraw)
    statements = [one for new, old in found.changes if (one := new if new is not None else old) is not None]
    entered = enter(connection, entry, statements, now)
    cause = {
        "kind": "import",
        "number": entered.number,
        "register": scan.kind,
        "file": scan.file,
        **paper._asdict(),
    }
    mark(connection, found.marks, cause, entered.moment)
    return entered


def _changes(sources: Sequence[Source], current: dict[str, Stated]) -> tuple[Change, ...]:
    found = []
    for source in sources:
        old = current.get(source.statement.identity)
        if old is None:
            found.append(Change(source.statement, None))
        elif not states_the_same(old.statement, source.statement):
            found.append(Change(source.statement, old.statement))
    return tuple(found)


def _references(registers: Registers, policies: Container[str]) -> References:
    """Return the check of keys against what is entered, and of policies."""

    def known(register: str, keys: frozenset[str]) -> frozenset[str] | None:
        if register == "policies":
            return frozenset(key for key in keys if key in policies)
        if register not in REFERENCES:
            return None
        kind, what = REFERENCES[register]
        found = registers.known(kind, (f"{what}:{key}" for key in keys))
        return frozenset(subject.removeprefix(f"{what}:") for subject in found)

    return known


def _entered_lines(registers: Registers, kind: str, sources: Sequence[Source], changes: Sequence[Change]) -> list[Line]:
    """Return what is entered and stays, and what the changes may contradict, as lines."""
    statements = [change.new for change in changes if change.new is not None]
    if kind not in _COMPARED or not statements:
        return []
    match _COMPARED[kind]:
        case None:
            keys = None
        case "other":
            keys = {one.other for one in statements if one.other is not None}
        case _:
            keys = {one.subject for one in statements}
    first = min(one.since for one in statements) - timedelta(days=1)
    ends = [one.until for one in statements]
    last = max((end for end in ends if end is not None), default=None) if None not in ends else None
    replaced = {source.statement.identity for source in sources}
    rows = registers.rows(kind, keys, first, last, by="other" if _COMPARED[kind] == "other" else "subject")
    return [
        Line("", record, partial(_at, row), stored=True)
        for row in rows
        if row.statement.identity not in replaced
        for record in row.records
    ]


def _at(row: Stated, _column: str) -> str:
    return Described(row)


# --- withdrawing --------------------------------------------------------------------------------------------------


def _withdrawals(
    registers: Registers, kind: str, sources: Sequence[Source], current: dict[str, Stated], problems: Problems
) -> tuple[Change, ...]:
    absent = [source.statement.identity for source in sources if source.statement.identity not in current]
    before = registers.withdrawn(kind, absent)
    found: list[Change] = []
    places: dict[str, str] = {}
    for source in sources:
        statement, place = source.statement, source.lines[0].place
        old = current.get(statement.identity)
        if old is None:
            content = before.get(statement.identity)
            if content is None or not states_the_same(statement._replace(content=content), statement):
                problems.add(place, "not_entered")
        elif not states_the_same(old.statement, statement):
            problems.add(place, "entered_otherwise", other=Described(old))
        else:
            found.append(Change(None, old.statement))
            places.setdefault(statement.subject, place)
    for subject, row in _needed(registers, kind, found):
        problems.add(places[subject], "still_needed", key=subject.partition(":")[2], other=Described(row))
    return tuple(found)


def _needed(registers: Registers, kind: str, changes: Iterable[Change]) -> list[tuple[str, Stated]]:
    """Return the subjects of which nothing would be left though others name them, each with one that does."""
    if not any(kind == register for register, _ in REFERENCES.values()):
        return []
    gone = {change.old.identity for change in changes if change.old is not None}
    subjects = {change.old.subject for change in changes if change.old is not None}
    left = {row.statement.subject for row in registers.rows(kind, subjects) if row.statement.identity not in gone}
    found: dict[str, Stated] = {}
    for key, row in _naming(registers, kind, subjects - left):
        if not (row.statement.kind == kind and row.statement.identity in gone):
            found.setdefault(key, row)
    return list(found.items())


def _naming(registers: Registers, kind: str, subjects: set[str]) -> Iterable[tuple[str, Stated]]:
    """Return rows with the subject that each names."""
    for row in registers.mentioning(subjects):
        for key in (row.statement.subject, row.statement.other):
            if key in subjects and not (row.statement.kind == kind and key == row.statement.subject):
                yield key, row
    keys = {subject.partition(":")[2]: subject for subject in subjects}
    if kind == "units":
        for row in registers.rows("calendar", (f"scope:{key}" for key in keys if key != ALL)):
            yield keys[row.record.scope], row
    if kind == "timetables":
        for row in registers.rows("schedules"):
            for record in row.records:
                if record.timetable in keys:
                    yield keys[record.timetable], row


# --- affected days ------------------------------------------------------------------------------------------------


def _marks(registers: Registers, kind: str, changes: Sequence[Change]) -> tuple[Mark, ...]:
    ends = _version_ends(registers, changes) if kind in VERSIONED else {}

    def dated(one: Statement | None) -> Statement | None:
        return one if one is None else one._replace(until=ends.get((one.subject, one.since), one.until))

    return tuple(coalesced(mark for new, old in changes for mark in touched(dated(new), dated(old))))


def _version_ends(registers: Registers, changes: Sequence[Change]) -> dict[tuple[str, date], date]:
    """Return the last valid date of versions that another follows, entered or in the file."""
    subjects = {one.subject for change in changes for one in change if one is not None}
    kind = next((one.kind for change in changes for one in change if one is not None), "")
    begins = {(row.statement.subject, row.since) for row in registers.rows(kind, subjects)}
    begins |= {(one.subject, one.since) for change in changes for one in change if one is not None}
    ordered = sorted(begins)
    return {
        (subject, since): following - timedelta(days=1)
        for (subject, since), (other, following) in pairwise(ordered)
        if subject == other
    }
