"""Tables on the screen."""

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from central.registers.problems import printable

_WIDE = 10_000
"""Columns of what is not a screen, such as a file or a pager: lines stay whole."""


def print_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Print a table; a screen that is narrower breaks long cells."""
    shown = Table(*heads, box=SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        shown.add_row(*(Text(printable(cell)) for cell in line))
    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(shown)
