"""Records written back as the cells of a file hold them. Pure."""

from collections.abc import Callable
from datetime import date
from typing import Any

from central.registers import cells
from central.registers.cells import WEEKDAYS
from central.registers.kinds import KINDS
from central.registers.statements import Statement, records_of

_DAY_NAMES = {number: word for word, number in WEEKDAYS.items() if word.endswith("day")}


def cells_of(kind: str, record: Any) -> dict[str, str]:
    """Return the cells of a record by column, without empty ones; each reads as the value that it was written from."""
    found = {}
    for column in KINDS[kind].columns:
        value = getattr(record, column.field or column.name, None)
        if value is not None:
            found[column.name] = _TEXTS.get(column.parse, _text)(value)
    if kind == "rosters":
        found["date"] = _text(record.date)
    return found


def print_time(seconds: int) -> str:
    """Return a time of day as HH:MM, or HH:MM:SS where it has seconds; 31:00 lies on the next day."""
    minutes, second = divmod(seconds, 60)
    text = f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{second:02d}" if second else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def _day(value: tuple[str, int]) -> str:
    return _DAY_NAMES[value[1]] if value[0] == "week" else str(value[1])


_TEXTS: dict[Callable[..., Any], Callable[[Any], str]] = {cells.clock: print_time, cells.schedule_day: _day}


def print_statement(statement: Statement) -> str:
    """Return a statement as the cells of its row, on one line."""
    return print_change(statement, None)


def print_change(new: Statement, old: Statement | None) -> str:
    """Return a statement on one line; where another counted before, each column that differs as ``old → new``.

    A statement of several rows is named by its subject, first date and number of rows.
    """
    rows, before = (
        [] if one is None else [cells_of(one.kind, record) for record in records_of(one.kind, one.content)]
        for one in (new, old)
    )
    if len(rows) != 1 or len(before) > 1:
        counts = " → ".join(str(len(count)) for count in (before, rows) if count)
        return f"{new.subject.replace(':', ' ')}, from {new.since.isoformat()}, rows {counts}"
    (row,), former = rows, before[0] if before else rows[0]
    names = [column.name for column in KINDS[new.kind].columns] + ["date"]
    texts = []
    for name in dict.fromkeys(names):
        now, then = row.get(name, "-"), former.get(name, "-")
        if now != then:
            texts.append(f"{name} {then} → {now}")
        elif name in row:
            texts.append(f"{name} {now}")
    return ", ".join(texts)
