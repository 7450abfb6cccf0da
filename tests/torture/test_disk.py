"""The disk that can lose power: if it lost nothing, the torture would prove nothing about power cuts."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.broker import WAIT_S
from tests.torture.disk import Disk, compiled

WRITER = """
import os, signal, sys
os.chdir(sys.argv[1])
def write(name, text, forced):
    with open(name, "a") as file:
        file.write(text)
        file.flush()
        if forced:
            os.fsync(file)
write("forced", "one ", True)
write("forced", "two", False)
write("never", "one", False)
write("draft", "whole", True)
os.rename("draft", "named")
folder = os.open(".", os.O_RDONLY)
write("gone", "one", True)
os.unlink("gone")
os.fsync(folder)
write("late", "one", False)
os.kill(os.getpid(), signal.SIGKILL)
"""

ROWS = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/rows.db", isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE row (n)")
connection.execute("INSERT INTO row VALUES (1)")
connection.execute("PRAGMA synchronous = NORMAL")
connection.execute("INSERT INTO row VALUES (2)")
os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED_WHILE_FORCING = """
import os, signal, sys, threading, time
file = open(sys.argv[1] + "/large", "ab", buffering=0)
file.write(bytes(32 << 20))
os.fsync(file)
file.write(bytes(1 << 20))
threading.Thread(target=os.fsync, args=(file,), daemon=True).start()
while not any(name.endswith("~") for name in os.listdir(os.environ["PLATTER"])):
    time.sleep(0.001)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return an empty disk."""
    return Disk(tmp_path, compiled(tmp_path))


def run(program: str, disk: Disk) -> None:
    """Run a program that kills itself, and cut the power."""
    command = [sys.executable, "-c", program, str(disk.contents)]
    ended = subprocess.run(command, env={**os.environ, **disk.environment}, timeout=WAIT_S, check=False)
    assert ended.returncode == -signal.SIGKILL
    disk.cut()


def test_what_was_not_forced_is_lost(disk: Disk) -> None:
    """Contents are those of the last fsync, names those of the folder's last, and a file stays the file it was."""
    run(WRITER, disk)

    assert {file.name: file.read_text() for file in disk.contents.iterdir()} == {
        "forced": "one ",
        "never": "one",  # it came to the disk with the folder's names
        "named": "whole",
    }


def test_a_database_loses_what_it_committed_without_forcing_it(disk: Disk) -> None:
    """So a ledger that did not force its commits would be found out."""
    run(ROWS, disk)

    with closing(sqlite3.connect(disk.contents / "rows.db")) as connection:
        assert connection.execute("SELECT n FROM row").fetchall() == [(1,)]


def test_what_was_forced_before_survives_a_cut_in_the_midst_of_forcing(disk: Disk) -> None:
    """All of it: a copy that goes on behind the program's end would keep what the cut has left of the file so far."""
    for _ in range(5):
        run(KILLED_WHILE_FORCING, disk)
        assert (disk.contents / "large").stat().st_size in (32 << 20, 33 << 20)
        (disk.contents / "large").unlink()


def test_the_database_is_still_the_same_file(disk: Disk) -> None:
    """A ledger whose inode has changed is taken for a copy."""
    file = disk.contents / "kept"
    program = f"import os; f = open({str(file)!r}, 'w'); f.write('1'); f.flush(); os.fsync(f)"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **disk.environment}, timeout=WAIT_S, check=True)
    inode = file.stat().st_ino

    disk.cut()

    assert (file.stat().st_ino, file.read_text()) == (inode, "1")
