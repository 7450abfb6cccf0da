"""Spinners and progress bars on a terminal window."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

from rich.progress import track

from drivers.base import Record
from gateway.cli.screen import rich_console

T = TypeVar("T")


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show a spinner while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with rich_console(sys.stderr).status(text):
        yield


def with_progress_bar(records: list[Record], file: TextIO) -> Iterable[Record]:
    """Iterate with a progress bar if the records go to a file; on a screen the records themselves show the progress."""
    return progress(records, len(records), "writing") if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else records


def progress(items: Iterable[T], total: int, text: str) -> Iterable[T]:
    """Iterate; show a progress bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        return items
    return track(items, text, total, console=rich_console(sys.stderr), transient=True)
