"""A file of a register becomes records, all of them or none; every mistake is named at its place."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from central.registers import rules
from central.registers.cells import Wrong, clean, day, plain
from central.registers.kinds import HEADS, KINDS, Complaint, Kind, Known, References, RosterDay, heads_of
from central.registers.problems import Problem, Problems, refuse
from central.registers.rows import MAX_ENTRIES, Formula, Row, Table, Value
from central.registers.rules import Line
from central.registers.table import HEADER_ROWS, read_table
from central.texts import Listed
from central.words import COLUMNS, REGISTERS, word_of

ALL_HEADS = frozenset(plain(word) for name, words in HEADS.items() for word in (name, *words))
"""Everything that may stand at the head of a column of any kind."""


@dataclass(frozen=True)
class Register:
    """A file that was taken: its records in order, with the place of each."""

    kind: str
    file: str
    lines: tuple[Line, ...]
    remarks: tuple[Problem, ...]
    """What a person should know though it is no mistake."""

    @property
    def keys(self) -> tuple[str, frozenset[str]] | None:
        """Return which keys the file makes known to others: a field of :class:`Known`, and the keys."""
        defines = KINDS[self.kind].defines
        if defines is None:
            return None
        return defines[0], frozenset(getattr(line.record, defines[1]) for line in self.lines)


@dataclass(frozen=True)
class Refused:
    """A row with a mistake: the fields that could be read, for checks of other rows and of the keys it names."""

    fields: Mapping[str, Any]
    at: Callable[[str], str]
    """Return the place of one of its columns."""


@dataclass(frozen=True)
class Scan:
    """A file whose rows were read each by itself: the good ones, and the mistakes of the others."""

    kind: str
    file: str
    sha256: str
    lines: tuple[Line, ...]
    remarks: tuple[Problem, ...]
    problems: Problems
    refused: tuple[Refused, ...] = ()

    def check(self, references: References, entered: Sequence[Line] = ()) -> Problems:
        """Return all mistakes: of single rows, of rows together, with keys, and with lines that are entered."""
        found = self.problems.copy()
        _check_references(self, references, found)
        for clash in rules.check(self.kind, [*self.lines, *entered], [row.fields for row in self.refused]):
            found.add(clash.place, clash.code, **clash.values)
        return found


def read_register(path: Path, kind: str, known: References = Known(), sheet: str | None = None) -> Register:  # noqa: B008 - frozen
    """Read a file of a kind of :data:`central.registers.kinds.KINDS`.

    ``known`` holds the keys that may be referred to; ``sheet`` names a sheet of a workbook. Raises
    :class:`central.registers.problems.RegisterFileError`, with every mistake, and nothing else.
    """
    scan = scan_register(path, kind, sheet)
    scan.check(known).raise_if_any()
    return Register(scan.kind, scan.file, scan.lines, scan.remarks)


def scan_register(path: Path, kind: str, sheet: str | None = None) -> Scan:
    """Read the rows of a file; raises RegisterFileError only where its columns, or all its rows, cannot be read."""
    table = read_table(path, lambda word: plain(word) in ALL_HEADS, sheet)
    return _Reader(table, kind).read()


def scan_row(values: Mapping[str, str], kind: str, name: str) -> Scan:
    """Read one row, whose values stand under heads of columns as in a file; ``name`` stands for the file."""
    heads = tuple(values)
    rows = [Row(1, heads), Row(2, tuple(values.values()))]
    table = Table(name, rows, lambda _row, column: f"{name}: {heads[column] if column < len(heads) else '-'}")
    digest = sha256(json.dumps([kind, dict(values)], ensure_ascii=False).encode()).hexdigest()
    return _Reader(replace(table, sha256=digest), kind).read()


class _Reader:
    """Reads one table; collects its mistakes."""

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._name = name
        self._kind: Kind = KINDS[name]
        self._heads = heads_of(self._kind)
        self._problems = Problems()
        self._columns: dict[str, int] = {}
        self._days: list[tuple[int, date | int]] = []
        self._spare: set[int] = set()
        self._refused: list[Refused] = []

    def read(self) -> Scan:
        at = self._header_index()
        header = self._table.rows[at]
        self._read_header(header)
        for merged in self._table.merged:
            if merged.last_row >= header.number:
                first = merged.range.partition(":")[0]
                column = "".join(filter(str.isalpha, first))
                place = self._table.place(Row(merged.last_row, ()), 0).rpartition("!")[0]
                self._problems.add(f"{place}!{column}{first[len(column) :]}", "merged", range=merged.range)
        self._problems.raise_if_any()
        lines: list[Line] = []
        for row in self._table.rows[at + 1 :]:
            lines += self._grid_row(row) if self._kind.grid else self._row(row)
            if len(lines) + len(self._refused) > MAX_ENTRIES:
                raise refuse(self._table.file, "too_many_entries", limit=str(MAX_ENTRIES))
        if not lines and not self._refused:
            self._problems.raise_if_any()
            raise refuse(self._table.file, "no_rows")
        table = self._table
        refused = tuple(self._refused)
        return Scan(self._name, table.file, table.sha256, tuple(lines), table.remarks, self._problems, refused)

    # --- the header ---------------------------------------------------------------------------------------------

    def _header_index(self) -> int:
        """Return the index of the row in which most heads are recognised; titles above it are not read."""
        best, most = -1, 0
        for index, row in enumerate(self._table.rows[:HEADER_ROWS]):
            found = sum(bool(self._heads.get(_head(value))) for value in row.values)
            if found > most:
                best, most = index, found
        if most == 0:
            raise refuse(
                self._table.file, "no_header", columns=Listed(word_of(COLUMNS, name) for name in self._required())
            )
        return best

    def _required(self) -> list[str]:
        return [column.name for column in self._kind.columns if column.required]

    def _read_header(self, header: Row) -> None:
        seen: dict[str, str] = {}
        for index, value in enumerate(header.values):
            word = _head(value)
            if _blank(value):
                continue
            place = self._table.place(header, index)
            if word not in self._heads:
                self._unknown_head(value, word, index, place)
                continue
            name = self._heads[word]
            if not name:
                self._spare.add(index)
            elif name in seen:
                self._problems.add(place, "column_twice", column=word_of(COLUMNS, name), other=seen[name])
            else:
                seen[name] = place
                self._columns[name] = index
        for name in self._required():
            if name not in self._columns:
                words = ", ".join((name, *HEADS.get(name, ())[:3]))
                self._problems.add(
                    self._table.place(header, 0), "column_missing", column=word_of(COLUMNS, name), words=words
                )
        if self._kind.grid:
            self._check_days(header)

    def _unknown_head(self, value: Value, word: str, index: int, place: str) -> None:
        if self._kind.grid and (found := _grid_day(value)) is not None:
            self._days.append((index, found))
            return
        if isinstance(value, Formula):
            self._problems.add(place, "formula")
            return
        close = get_close_matches(word, [head for head, name in self._heads.items() if name], 1)
        code = "unknown_column_close" if close else "unknown_column"
        choices = Listed(
            word_of(COLUMNS, column.name) for column in self._kind.columns if column.name in self._heads.values()
        )
        self._problems.add(
            place, code, seen=(word or str(value))[:40], close=close[0] if close else "", choices=choices
        )

    def _check_days(self, header: Row) -> None:
        place = self._table.place(header, 0)
        if not self._days:
            self._problems.add(place, "grid_without_days")
        numbers = [found for _, found in self._days if isinstance(found, int)]
        if numbers and "month" not in self._columns:
            self._problems.add(place, "grid_without_month")
        seen: dict[date | int, int] = {}
        for index, found in self._days:
            if found in seen:
                other = self._table.place(header, seen[found])
                self._problems.add(self._table.place(header, index), "column_twice", column=str(found), other=other)
            seen.setdefault(found, index)

    # --- rows ---------------------------------------------------------------------------------------------------

    def _cell(self, row: Row, name: str) -> Value:
        index = self._columns.get(name)
        return None if index is None or index >= len(row.values) else row.values[index]

    def _at(self, row: Row, name: str) -> str:
        return self._table.place(row, self._columns.get(name, 0))

    def _parse(self, row: Row, names: Sequence[str]) -> tuple[dict[str, Any], bool]:
        """Return the fields of a row's columns that can be read, and whether all of them can."""
        fields: dict[str, Any] = {}
        good = True
        for column in self._kind.columns:
            if column.name not in names:
                continue
            try:
                found = column.parse(self._cell(row, column.name))
            except Wrong as wrong:
                self._problems.add(self._at(row, column.name), wrong.code, **wrong.values)
                good = False
                continue
            if found is None and column.required:
                self._problems.add(self._at(row, column.name), "cell_missing", column=word_of(COLUMNS, column.name))
                good = False
            fields[column.field or column.name] = column.default if found is None else found
        return fields, good

    def _check_width(self, row: Row) -> None:
        """Refuse what stands outside the columns of the header, which would be lost."""
        read = {*self._columns.values(), *self._spare, *(index for index, _ in self._days)}
        for index, value in enumerate(row.values):
            if index not in read and not _blank(value):
                self._problems.add(self._table.place(row, index), "outside_columns")
                return

    def _row(self, row: Row) -> list[Line]:
        self._check_width(row)
        fields, good = self._parse(row, [column.name for column in self._kind.columns])
        record = self._kind.record(**fields) if good else None
        wrong = list(self._checked(fields) if record is None else _complaints(self._kind, record))
        for name, code, values in wrong:
            self._problems.add(self._at(row, name), code, **values)
        if record is None or wrong:
            self._refused.append(Refused(fields, lambda name: self._at(row, name)))
            return []
        place = row.places[0] if row.places else self._table.locate(row.number, 0)
        return [Line(place, record, lambda name: self._at(row, name))]

    def _checked(self, fields: Mapping[str, Any]) -> Iterator[Complaint]:
        """Yield what the cells of a row that can be read say together, where one that cannot be read plays no part."""
        required = {column.field or column.name for column in self._kind.columns if column.required}
        read = {name: value for name, value in fields.items() if value is not None or name not in required}
        return _complaints(self._kind, SimpleNamespace(**read))

    def _grid_row(self, row: Row) -> list[Line]:
        self._check_width(row)
        fields, good = self._parse(row, ["person", "month"])
        if not good:
            self._refused.append(Refused(fields, lambda name: self._at(row, name)))
        parse = next(column.parse for column in self._kind.columns if column.name == "timetable")
        lines: list[Line] = []
        for index, head in self._days:
            value = row.values[index] if index < len(row.values) else None
            if _blank(value):
                continue
            place = self._table.place(row, index)
            try:
                code = parse(value)
                if code is not None and good:
                    when = head if isinstance(head, date) else _day_of(fields["month"], head)
                    lines.append(self._roster_line(row, place, RosterDay(fields["person"], when, code)))
                elif code is not None:
                    self._refused.append(Refused({"timetable": code}, partial(_same, place)))
            except Wrong as wrong:
                self._problems.add(place, wrong.code, **wrong.values)
        return lines

    def _roster_line(self, row: Row, place: str, record: RosterDay) -> Line:
        return Line(place, record, lambda name: self._at(row, name) if name == "person" else place)


def _complaints(kind: Kind, record: Any) -> Iterator[Complaint]:
    """Yield what is wrong with the fields of a record together; a check that needs a missing field is left out."""
    for check in kind.checks:
        with suppress(AttributeError):
            yield from check(record)


def _same(place: str, _column: str) -> str:
    return place


def _check_references(scan: Scan, references: References, problems: Problems) -> None:
    """Name each unknown key once per cell, also those of refused rows; the keys of these count as the file's own."""
    seen: set[str] = set()
    own = KINDS[scan.kind].defines
    for column in KINDS[scan.kind].columns:
        if column.refers is None:
            continue
        field = column.field or column.name
        named = [
            *((getattr(line.record, field), line.at) for line in scan.lines),
            *((row.fields.get(field), row.at) for row in scan.refused),
        ]
        known = references(column.refers, frozenset(key for key, _ in named if key is not None))
        if own is not None and own[0] == column.refers:
            known = (known or frozenset()) | {getattr(line.record, own[1]) for line in scan.lines}
            known |= {key for row in scan.refused if (key := row.fields.get(own[1])) is not None}
        if known is None:
            continue
        for found, at in named:
            if found is None or found in known or (field, found) in (("timetable", "off"), ("scope", "all")):
                continue
            if (place := at(column.name)) not in seen:
                seen.add(place)
                if column.refers == "policies":
                    problems.add(place, "unknown_policy", seen=found)
                else:
                    problems.add(place, "unknown_reference", seen=found, kind=word_of(REGISTERS, column.refers))


def _head(value: Value) -> str:
    """Return what stands at the head of a column as it is compared; empty for what is no text."""
    return plain(value) if isinstance(value, str) and len(value) <= 200 else ""


def _blank(value: Value) -> bool:
    return value is None or (isinstance(value, str) and not clean(value))


def _grid_day(value: Value) -> date | int | None:
    """Return the date, or the day of a month, at the head of a roster's column."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 31:
        return value
    if isinstance(value, str) and clean(value).isdecimal() and clean(value).isascii() and 1 <= int(clean(value)) <= 31:
        return int(clean(value))
    if isinstance(value, str | date | datetime):
        try:
            return day(value)
        except Wrong:
            return None
    return None


def _day_of(month: date | None, number: int) -> date:
    """Return a date of a month; raises :class:`Wrong`."""
    if month is None:
        raise Wrong("cell_missing", column=word_of(COLUMNS, "month"))
    try:
        return month.replace(day=number)
    except ValueError:
        raise Wrong("no_such_date", seen=f"{month:%Y-%m}-{number:02d}") from None
