"""A disk that another process can fill, and free again."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger import Ledger
from gateway.ledger.space import Reserve
from tests.broker import WAIT_S

HOG = """
import sys
try:
    with open(sys.argv[1], "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
except OSError:
    pass
"""


class SmallDisk:
    """A real disk, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Let another process take everything that is left."""
        subprocess.run([sys.executable, "-c", HOG, self.folder / "hog"], check=True)

    def empty(self) -> None:
        """Let it go again."""
        (self.folder / "hog").unlink()


class CappedDisk(SmallDisk):
    """The same where file systems cannot be mounted: the database reports that it is full, and the disk seems so."""

    def __init__(self, folder: Path, ledger: Callable[[], Ledger]) -> None:
        super().__init__(folder)
        self._ledger = ledger
        self.full = False

    def fill(self) -> None:
        """Forbid the file to grow."""
        self.full = True
        self._cap("page_count")

    def empty(self) -> None:
        """Allow it."""
        self.full = False
        self._cap("max")

    def _cap(self, what: str) -> None:
        guard = self._ledger()._disk_guard
        ready = threading.Event()
        run_step = guard.run_step

        def cap(connection: Any, *rest: Any) -> None:
            count = connection.exec_driver_sql("PRAGMA page_count").scalar() if what == "page_count" else 2**30
            connection.exec_driver_sql(f"PRAGMA max_page_count = {count}")
            guard.run_step = run_step  # type: ignore[method-assign]
            ready.set()
            run_step(connection, *rest)

        guard.run_step = cap  # type: ignore[assignment, method-assign]
        assert ready.wait(WAIT_S)


@contextmanager
def small_disk(
    folder: Path, ledger: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch, size: str = "24m"
) -> Iterator[SmallDisk]:
    """Make a disk at ``folder``, a real one where this process may mount it; ``ledger`` is the one that lies on it."""
    folder.mkdir()
    if not mounted(folder, size):
        disk = CappedDisk(folder, ledger)
        hold = Reserve.hold
        monkeypatch.setattr(Reserve, "hold", lambda reserve: not disk.full and hold(reserve))
        yield disk
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def mounted(folder: Path, size: str) -> bool:
    """Mount a disk of this size there; return whether that was allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return not subprocess.run(mount, check=False, capture_output=True).returncode
