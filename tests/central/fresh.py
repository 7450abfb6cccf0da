"""Databases of the centre as its migrations leave them, copied: to run them takes 20 times as long as to copy a file.

The migrations themselves are tested in ``store/test_engine.py`` and ``test_old_versions.py``, which use no copies.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from central.store.engine import Database
from central.store.sqlite import FILE_MODE
from tests.central.stores import STORES
from tests.postgres import Server


def fresh_database(path: Path) -> Path:
    """Put an empty database of the present version where nothing is yet, and return its path."""
    put(path, _empty(STORES.server))
    return path


def put(path: Path, content: bytes) -> None:
    """Write a closed database where nothing is yet."""
    if STORES.server is not None:
        STORES.copy(path, content)
        return
    with path.open("xb") as file:
        os.fchmod(file.fileno(), FILE_MODE)
        file.write(content)


def content_of(fill: Callable[[Path], object]) -> bytes:
    """Return the file of a database that ``fill`` makes at the path that it is given, and closes.

    Cache it for each server apart: a file only names the database there, which is kept.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "centre.db")
        fill(path)
        if STORES.server is not None:
            return STORES.keep(path)
        assert not path.with_name(f"{path.name}-wal").exists()  # what stood in it is in the file
        return path.read_bytes()


@cache
def _empty(_server: Server | None) -> bytes:
    return content_of(lambda path: Database(path, create=True).close())
