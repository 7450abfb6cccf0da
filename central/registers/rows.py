"""Tables of unconverted values, each with its place, whatever format they came in; and how large they may be."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from central.registers.problems import Problem, refuse

MAX_ROWS = 200_000
MAX_COLUMNS = 500
MAX_CELLS = 4_000_000
"""Cells of a file that hold something."""
MAX_ENTRIES = 400_000
"""Records of a file; each cell of a roster is one. So many take about 600 MB."""


class Formula(NamedTuple):
    """A cell that is computed by the spreadsheet."""

    text: str


class ErrorValue(NamedTuple):
    """A cell that shows an error, such as #N/A."""

    text: str


class Nested(NamedTuple):
    """A list or map where one value is expected."""


Value = str | int | float | bool | date | datetime | time | timedelta | Formula | ErrorValue | Nested | None


class Row(NamedTuple):
    """Values of one row; ``number`` is its row or line in the file, from 1."""

    number: int
    values: tuple[Value, ...]
    places: tuple[str, ...] = ()
    """Of each value, where row and column alone do not give it."""


class Merged(NamedTuple):
    """Cells of a spreadsheet that were made one: its range, and its last row."""

    range: str
    last_row: int


@dataclass(frozen=True)
class Table:
    """Rows that hold something, in order, the header among them."""

    file: str
    rows: list[Row]
    locate: Callable[[int, int], str]
    """Return the place of a row number and a column, which counts from 0."""
    merged: tuple[Merged, ...] = ()
    remarks: tuple[Problem, ...] = ()
    """What a person should know though it is no mistake."""
    sha256: str = ""
    """Of the file's content."""

    def place(self, row: Row, column: int) -> str:
        """Return where a value stands; beyond the row's values, where it would stand."""
        if column < len(row.places):
            return row.places[column]
        return self.locate(row.number, column)


def check_bounds(name: str, place: str, rows: int, columns: int, cells: int) -> None:
    """Refuse a file that holds more than a register can."""
    if rows >= MAX_ROWS:
        raise refuse(name, "too_many_rows", limit=str(MAX_ROWS))
    if columns > MAX_COLUMNS:
        raise refuse(place, "too_many_columns", limit=str(MAX_COLUMNS))
    if cells > MAX_CELLS:
        raise refuse(name, "too_many_cells", limit=str(MAX_CELLS))
