"""Databases of the centre as its migrations leave them, copied: to run them takes 20 times as long as to copy a file.

The migrations themselves are tested in ``store/test_engine.py`` and ``test_old_versions.py``, which use no copies.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from central.store.engine import FILE_MODE, Database


def fresh_database(path: Path) -> Path:
    """Put an empty database of the present version where nothing is yet, and return its path."""
    put(path, _empty())
    return path


def put(path: Path, content: bytes) -> None:
    """Write a closed database where nothing is yet."""
    with path.open("xb") as file:
        os.fchmod(file.fileno(), FILE_MODE)
        file.write(content)


def content_of(fill: Callable[[Path], object]) -> bytes:
    """Return the file of a database that ``fill`` makes at the path that it is given, and closes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "centre.db")
        fill(path)
        assert not path.with_name(f"{path.name}-wal").exists()  # what stood in it is in the file
        return path.read_bytes()


@cache
def _empty() -> bytes:
    return content_of(lambda path: Database(path, create=True).close())
