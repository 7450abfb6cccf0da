"""The folder of a demo, which ends with it; what a demo that was killed has left is removed by the next one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "hadir-demo-"
LOCK = "lock"
"""Held as long as the demo runs: a process number may be that of another program by now, or of another container."""


@contextmanager
def demo_folder() -> Iterator[Path]:
    """Yield a new folder among the temporary ones; those of demos that do not run any more are removed first.

    For the length of the block, temporary files of this process, such as a simulated serial line's, are made in it.
    """
    _remove_left()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as name:
        folder = Path(name)
        draft = folder / f"{LOCK}.new"
        with draft.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft.rename(folder / LOCK)  # no process finds it unlocked
            before, tempfile.tempdir = tempfile.tempdir, name
            try:
                yield folder
            finally:
                tempfile.tempdir = before


def _remove_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it runs, or begins
            continue
