"""The screen: a Rich console for tables."""

import sys
from typing import TextIO

from rich.console import Console


class _Plain(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def rich_console(file: TextIO | None = None) -> Console:
    """Return a Rich console without markup and highlighting; it breaks lines only on a terminal."""
    file = file or sys.stdout
    return _Plain(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() else 250)
