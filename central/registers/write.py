"""Records written back as the cells of a file hold them. Pure."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from central.registers import cells
from central.registers.cells import OFF, WEEKDAYS
from central.registers.kinds import KINDS
from central.registers.statements import Statement, records_of
from central.texts import Language, _, into
from central.words import COLUMNS, SUBJECTS, VALUES, word_of

_WORDS = ("employment", "calendar", "estimated", "day", "decision")
"""Columns whose values are words of the program."""
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


def print_cells(kind: str, cells: Iterable[tuple[str, str]], language: Language = Language.ENGLISH) -> str:
    """Return cells with the names of their columns, on one line."""
    shown = ((word_of(COLUMNS, name), _word(kind, name, value)) for name, value in cells)
    return ", ".join(f"{into(name, language)} {into(value, language)}" for name, value in shown)


def print_statement(statement: Statement, language: Language = Language.ENGLISH) -> str:
    """Return a statement as the cells of its row, on one line."""
    return print_change(statement, None, language)


def print_subject(subject: str, language: Language = Language.ENGLISH) -> str:
    """Return a subject as a word and its key: ``person p-0001``."""
    what, _, key = subject.partition(":")
    return f"{into(word_of(SUBJECTS, what), language)} {key}"


def print_change(new: Statement, old: Statement | None, language: Language = Language.ENGLISH) -> str:
    """Return a statement on one line; where another counted before, each column that differs as ``old → new``.

    A statement of several rows is named by its subject, first date and number of rows.
    """
    rows, before = (
        [] if one is None else [cells_of(one.kind, record) for record in records_of(one.kind, one.content)]
        for one in (new, old)
    )
    if len(rows) != 1 or len(before) > 1:
        counts = " → ".join(str(len(count)) for count in (before, rows) if count)
        values = {"subject": print_subject(new.subject, language), "since": new.since.isoformat(), "counts": counts}
        return _("{subject}, from {since}, rows {counts}").into(language, **values)
    (row,), former = rows, before[0] if before else rows[0]
    names = [column.name for column in KINDS[new.kind].columns] + ["date"]
    texts = []
    for name in dict.fromkeys(names):
        now, then = (into(_word(new.kind, name, cells.get(name, "-")), language) for cells in (row, former))
        if now != then:
            texts.append(f"{into(word_of(COLUMNS, name), language)} {then} → {now}")
        elif name in row:
            texts.append(f"{into(word_of(COLUMNS, name), language)} {now}")
    return ", ".join(texts)


def _word(kind: str, name: str, value: str) -> str:
    """Return a value as a text where it is a word of its column, not a code of the office."""
    is_word = name in _WORDS or (kind, name) == ("calendar", "kind") or (name, value) == ("timetable", OFF)
    return word_of(VALUES, value) if is_word else value
