"""Commands of a user who may not use the data directory: they say so, and what to do, and nothing else."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import hint_lines
from gateway.cli.base import Code
from gateway.ledger import Ledger, backup
from tests.broker import WAIT_S, eventually
from tests.gateway.test_cli import configuration, environment, running

SCRIPT = """
import contextlib, importlib, os, sys
from pathlib import Path
import sqlalchemy.dialects.sqlite
import importlib.readers
from gateway.settings import load
for name in ("status", "tail", "ledger", "courier", "receipt", "reload", "reconcile", "replay", "files"):
    importlib.import_module(f"gateway.cli.{name}")
from gateway.cli import main
load(Path(sys.argv[-1]))
# What is imported when it is needed, and the texts: the project may lie where the other user cannot read.
with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.suppress(SystemExit):
    given, sys.argv = sys.argv, [*sys.argv[:-1], sys.argv[-1] + ".none"]
    main()
sys.argv = given
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main()
"""
"""Imports everything as this user, and runs a command as one to whom permissions apply."""
COMMANDS = (
    ("status",),
    ("tail",),
    ("verify",),
    ("ledger", "backup"),
    ("ledger", "restore"),
    ("export", "--to", "."),
    ("replay", "--sequence", "1-2"),
)


@pytest.fixture
def office() -> Iterator[Path]:
    """Make a configuration and a ledger with a copy, where another user can reach them."""
    folder = Path(tempfile.mkdtemp(prefix="hadir-test-"))
    folder.chmod(0o755)
    file = configuration(folder, lobby="127.0.0.1:9")
    Ledger(folder / "data", "/hadir/kantor/gw-01").close()
    backup(folder / "data" / "ledger.db", folder / "data" / "backups")
    for side in ("-wal", "-shm"):  # with them, who may read may also open the ledger
        (folder / "data" / f"ledger.db{side}").unlink(missing_ok=True)
    for path in (file, *(folder / "data").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield file
    (folder / "data").chmod(0o700)
    shutil.rmtree(folder)


def as_other_user(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who does not own the data directory."""
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=WAIT_S, check=False)


def forbid(data_dir: Path, *, may_look: bool) -> None:
    """Leave other users, and also the owner where that is who runs the tests, no permission, or that to look."""
    (data_dir / "ledger.db").chmod(0o644)
    data_dir.chmod(0o555 if may_look else 0o000)


@pytest.mark.parametrize("may_look", [False, True], ids=["hidden", "readable"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_it_is_the_permission_that_is_named(office: Path, command: tuple[str, ...], *, may_look: bool) -> None:
    """Not a missing backup, a disk or the daemon's permissions; the daemon does not run."""
    forbid(office.parent / "data", may_look=may_look)
    done = as_other_user(*command, "-c", office)
    assert done.returncode == Code.DISK, done.stderr
    assert hint_lines("permission")[0] in done.stderr
    for misleading in ("daemon's user", "there is no backup", "is not running", "internal error"):
        assert misleading not in done.stderr


@pytest.mark.parametrize("command", [("status",), ("reload",), ("reconcile", "lobby")], ids=" ".join)
def test_a_running_gateway_that_this_user_may_not_ask_is_not_called_stopped(
    office: Path, command: tuple[str, ...]
) -> None:
    """It runs, and its data directory may be looked at."""
    data_dir = office.parent / "data"
    with running("run", "-c", office, "--assume-synchronised"):
        eventually((data_dir / "control.sock").exists)
        (data_dir / "control.sock").chmod(0o000)
        forbid(data_dir, may_look=True)
        done = as_other_user(*command, "-c", office)
        data_dir.chmod(0o755)
    assert done.returncode == Code.DISK, done.stderr
    assert hint_lines("permission")[0] in done.stderr
    assert "is not running" not in done.stderr
