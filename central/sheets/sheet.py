"""What a sheet is, whatever it is about and however it is written. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

Cell = str | int | Decimal | None
"""A text is never a formula, whatever it begins with; None is an empty cell."""


class Column(NamedTuple):
    """A column."""

    name: str
    """By which settings name it; dates have their own."""
    head: str
    width: int
    """In characters."""


class Signatory(NamedTuple):
    """Who signs, and as what."""

    title: str
    name: str
    nip: str | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with what stands above and below it, in one language."""

    name: str
    """Of the kind: ``recap``, ``annex``, …; also the name of its file."""
    title: str
    heading: Sequence[str]
    """Lines below the title: unit, period, what it rests on."""
    columns: Sequence[Column]
    rows: Iterable[Sequence[Cell]]
    """In the order of the columns; iterated once."""
    sums: Sequence[Cell] = ()
    """The last row; empty: none."""
    notes: Sequence[str] = ()
    place: str = ""
    """Place and date above the signatures."""
    signatories: Sequence[Signatory] = field(default=())
