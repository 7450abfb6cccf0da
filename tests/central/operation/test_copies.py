"""`hadir-central backup` and `restore`: with a real gateway and broker, beside other processes, and what goes wrong."""

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from central.operation import copies
from central.report import open_readonly, report, verify
from central.store import Message, Store
from central.store.engine import Database
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from tests import command
from tests.broker import WAIT_S, Broker, eventually
from tests.central.receiving import held
from tests.central.sealing import GATEWAY, Source, payload
from tests.central.test_cli import CENTRAL, environment
from tests.central.test_cli import running as inbox
from tests.gateway.test_cli import configuration, running
from tests.test_operations import NOON

UNITS = "key,name,parent,zone,from\nu,U,,Asia/Jakarta,2026-01-01\n"


def central(*arguments: object) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed."""
    done = command.run("central.cli", *arguments, env=environment())
    return done.returncode, done.stdout + done.stderr


def filled(folder: Path, events: int = 5) -> Path:
    """Make a database that holds events."""
    db = folder / "centre.db"
    store, source = Store(db), Source()
    store.ingest([message(source.punch(number)) for number in range(events)])
    store.close()
    return db


def message(event: dict[str, Any]) -> Message:
    """Return an event as the inbox passes it on."""
    return Message(f"{GATEWAY}/punch/lobby", payload(event))


def copied(db: Path, to: Path) -> Path:
    """Make a copy by the command."""
    code, output = central("backup", to, "--db", db, "--json")
    assert code == 0, output
    return Path(json.loads(output)["copy"])


def names(folder: Path) -> set[str]:
    """Return what is in a folder, without the lock of the database."""
    return {path.name for path in folder.iterdir()} - {"centre.db.lock"}


def newer(copy: Path) -> None:
    """Make a copy one of a later version, with right sums."""
    with closing(sqlite3.connect(copy / "centre.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    resum(copy, "centre.db")


def outside(copy: Path) -> None:
    """Let the list name a file outside of the copy."""
    (copy.parent / "x").write_text("x")
    resum(copy, "../x")


def resum(copy: Path, name: str) -> None:
    """Write the sum of a file anew."""
    done = subprocess.run(["sha256sum", name], cwd=copy, capture_output=True, text=True, check=True)
    kept = [line for line in (copy / "SHA256SUMS").read_text().splitlines() if not line.endswith(f"  {name}")]
    (copy / "SHA256SUMS").write_text("\n".join([*kept, done.stdout.strip()]) + "\n")


def test_gateways_send_again_what_an_older_copy_lacks(tmp_path: Path) -> None:
    """A copy made while the inbox runs; later punches and an import are lost; the receipts bring the punches back."""
    db, device = tmp_path / "centre.db", SimulatedTerminal(serial="S1")
    (tmp_path / "units.csv").write_text(UNITS)
    (tmp_path / "copies").mkdir()

    def punch(count: int) -> None:
        for minute in range(count):
            device.punch(str(1000 + count), moment=NOON + timedelta(minutes=minute))

    def punches() -> int:
        with open_readonly(db) as connection:
            return sum(stream.punches for stream in report(connection).streams)

    Database(db, create=True).close()
    punch(4)
    with Broker(tmp_path) as broker, Simulator(device) as simulator:
        config = configuration(tmp_path, url=broker.url, lobby=simulator.address)
        with running("run", "-c", config):
            arguments = ("--broker", broker.url, "--db", db)
            with inbox(*arguments) as process:
                eventually(lambda: punches() == 4)
                copy = copied(db, tmp_path / "copies")
                punch(3)
                eventually(lambda: punches() == 7)
                assert (
                    central("import", "units", tmp_path / "units.csv", "--db", db, "--by", "x", "--paper", "y")[0] == 0
                )
                code, output = central("restore", copy, "--db", db)
                assert (code, "another hadir-central inbox" in output) == (75, True)
                assert punches() == 7
                process.send_signal(signal.SIGTERM)
                process.wait(WAIT_S)
            code, output = central("restore", tmp_path / "copies", "--db", db)
            assert code == 0, output
            assert punches() == 4
            assert "3 events are not in the copy" in output
            assert "import again: files of registers: 1" in output
            with inbox(*arguments):
                eventually(lambda: punches() == 7, timeout=300, what="that the gateway sends again")
    with open_readonly(db) as connection:
        assert list(verify(connection)) == []
        assert [stream.missing for stream in report(connection).streams] == [[]]
    [aside] = tmp_path.glob("centre.db.replaced-*")
    assert len(held(aside)) >= 7
    with closing(sqlite3.connect(db)) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    """However many transactions end meanwhile; and only the newest copies are kept."""
    db, source = filled(tmp_path), Source(stream="0e0d5bd1-3bb5-44bf-9fb5-6dbd83c87a49")
    store = Store(db)

    def write(_done: int, _all: int) -> None:
        store.ingest([message(source.punch(len(source.events)))])

    try:
        made = [
            copies.make(db, tmp_path / "to", {}, NOON.astimezone() + timedelta(minutes=minute), write)[0]
            for minute in range(3)
        ]
    finally:
        store.close()
    assert [len(held(copy / "centre.db")) for copy in made] == sorted({len(held(copy / "centre.db")) for copy in made})
    assert len(held(made[0] / "centre.db")) == 5
    code, output = central("backup", tmp_path / "to", "--db", db, "--keep", "2")
    assert (code, len(names(tmp_path / "to"))) == (0, 2)
    assert "older copies removed" in output


def test_what_a_killed_backup_left_is_no_copy(tmp_path: Path) -> None:
    """It is removed by the next one, and `restore` does not take it."""
    db = filled(tmp_path)
    script = "import os, signal, sys\nfrom pathlib import Path\nfrom datetime import UTC, datetime\n"
    script += "from central.operation import copies\n"
    script += "copies.held_in = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
    script += "copies.make(Path(sys.argv[1]), Path(sys.argv[2]), {}, datetime.now(UTC))\n"
    done = subprocess.run([sys.executable, "-c", script, db, tmp_path / "to"], check=False, timeout=WAIT_S)
    assert done.returncode == -signal.SIGKILL
    [left] = names(tmp_path / "to")
    assert left.startswith(copies.PARTIAL)
    assert "no complete copy" in central("restore", tmp_path / "to", "--db", tmp_path / "new.db")[1]
    copy = copied(db, tmp_path / "to")
    assert names(tmp_path / "to") == {copy.name}


def test_a_full_disk_leaves_neither_half_a_copy_nor_half_a_database(tmp_path: Path) -> None:
    """Found before, by the room; or in the middle, where another program takes it."""
    db = filled(tmp_path)
    copy = copied(db, tmp_path / "to")
    before = db.read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    for arguments in (("backup", tmp_path / "to", "--db", db), ("restore", copy, "--db", db)):
        words = [*CENTRAL, *map(str, arguments)]
        done = subprocess.run(
            words, env=environment(), capture_output=True, text=True, timeout=WAIT_S, check=False, preexec_fn=limit
        )
        assert done.returncode in (1, 74), done.stderr
        assert str(tmp_path) in done.stderr
        assert "Traceback" not in done.stderr
    assert names(tmp_path / "to") == {copy.name}
    assert [name for name in names(tmp_path) if "restoring" in name or "replaced" in name] == []
    assert db.read_bytes()[100:] == before[100:]
    assert len(held(db)) == 5


def test_room_is_judged_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how much is needed."""
    db = filled(tmp_path)
    copy, _ = copies.make(db, tmp_path / "to", {}, NOON.astimezone())
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(copies.CopyError, match=r"too little room: a copy needs 1[67] MiB, free are 0 MiB"):
        copies.make(db, tmp_path / "to", {}, NOON.astimezone())
    with pytest.raises(copies.CopyError, match="too little room"):
        copies.restore(copy, db, {}, NOON.astimezone())
    assert names(tmp_path / "to") == {copy.name}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda copy: os.truncate(copy / "centre.db", 40_000), "not as it was written"),
        (lambda copy: (copy / "centre.db").unlink(), "No such file"),
        (lambda copy: (copy / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
        (lambda copy: (copy / "SHA256SUMS").write_text("x\n"), "not as it was written"),
        (lambda copy: (copy / "accounts.yaml").write_text("accounts: {}\n"), "accounts.yaml: not as it was written"),
        (newer, "of a newer version"),
        (outside, "not as it was written"),
    ],
)
def test_a_copy_that_was_harmed_replaces_nothing(tmp_path: Path, harm: Any, message: str) -> None:
    """Half a file, a missing one, a changed one, a list that leads elsewhere, a copy of the future."""
    db = filled(tmp_path)
    (tmp_path / "accounts.yaml").write_text("accounts:\n")
    (tmp_path / "accounts.yaml").chmod(0o600)
    others = {"accounts.yaml": tmp_path / "accounts.yaml"}
    copy, _ = copies.make(db, tmp_path / "to", others, NOON.astimezone())
    harm(copy)
    inode = db.stat().st_ino
    with pytest.raises(copies.CopyError, match=re.escape(message)):
        copies.restore(copy, db, others, NOON.astimezone())
    assert db.stat().st_ino == inode
    assert len(held(db)) == 5


def test_restore_waits_for_no_reader_and_takes_a_damaged_database_aside(tmp_path: Path) -> None:
    """Pages that still have the file open would write into what is set aside; a damaged file is kept as evidence."""
    db = filled(tmp_path)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "own.yaml").write_text("policy: own\n")
    assert central("backup", tmp_path / "to", "--db", db, "--policies", policies)[0] == 0
    [copy] = (tmp_path / "to").iterdir()
    with Database(db) as database, database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one()
        code, output = central("restore", copy, "--db", db)
        assert (code, "a process has it open" in output) == (75, True), output
    shutil.rmtree(policies)
    policies.mkdir()
    damaged = b"SQLite format 3\0" + b"\1" * 50_000
    db.write_bytes(damaged)
    code, output = central("restore", copy, "--db", db, "--policies", policies)
    assert code == 0, output
    assert "what was received and entered after" in output
    assert len(held(db)) == 5
    [aside] = tmp_path.glob("centre.db.replaced-*")
    assert aside.read_bytes() == damaged
    assert (policies / "own.yaml").read_text() == "policy: own\n"
    db.unlink()  # a machine that was set up anew, and a copy that a person gave another name
    renamed = copy.rename(tmp_path / "flash drive")
    code, output = central("restore", renamed, "--db", db)
    assert (code, "what was received and entered after 20" in output) == (0, True), output
    assert len(held(db)) == 5


def test_a_copy_from_when_the_clock_was_ahead_displaces_no_new_one(tmp_path: Path) -> None:
    """A computer without a clock of its own may begin in a wrong year."""
    db, to = filled(tmp_path), tmp_path / "to"
    ahead = copied(db, to).rename(to / "centre-20990101T000000Z")
    new = copied(db, to)
    code, output = central("backup", to, "--db", db, "--keep", "1", "--json")
    assert code == 0, output
    kept = Path(json.loads(output)["copy"])
    assert set(to.iterdir()) == {kept}
    assert kept not in (ahead, new)


def test_a_clock_that_is_behind_removes_no_newer_copy(tmp_path: Path) -> None:
    """What seems to be of a time to come may be the newest: it is neither removed nor counted."""
    db, to = filled(tmp_path), tmp_path / "to"
    newer = copied(db, to).rename(to / "centre-20990101T000000Z")
    state(newer, "2099-01-01T00:00:00+00:00")
    old = copied(db, to)
    code, output = central("backup", to, "--db", db, "--keep", "1", "--json")
    assert code == 0, output
    assert set(to.iterdir()) == {newer, Path(json.loads(output)["copy"])}
    assert not old.exists()


def test_a_clock_that_is_behind_the_copies_is_named(tmp_path: Path) -> None:
    """The newest copies look as if they were made while the clock was ahead: they are left out, and that is said."""
    db, to = filled(tmp_path, 3), tmp_path / "to"
    old = copied(db, to).rename(to / "centre-20260101T000000Z")
    state(old, "2026-01-01T00:00:00+00:00")
    db.unlink()
    new = copied(filled(tmp_path, 4), to)
    state(new, "2099-01-01T00:00:00+00:00")
    code, output = central("restore", to, "--db", db)
    assert (code, len(held(db)), f"they were made after that: {new.name}" in output) == (0, 3, True), output
    [aside] = tmp_path.glob("centre.db.replaced-*")
    assert len(held(aside)) == 4
    code, output = central("restore", new, "--db", db)
    assert (code, len(held(db)), "WARNING" in output, "Correct the clock before" in output) == (0, 4, True, True), (
        output
    )


def state(copy: Path, made: str) -> None:
    """Let a copy state when it was made."""
    about = json.loads((copy / "about.json").read_text())
    (copy / "about.json").write_text(json.dumps(about | {"made": made}))
    resum(copy, "about.json")


def test_a_folder_of_copies_gives_its_newest_sound_one(tmp_path: Path) -> None:
    """One states a time ahead, one was harmed, one has a name from before: the sound one in between is put back."""
    db, to = filled(tmp_path, 3), tmp_path / "to"
    ahead = copied(db, to)
    about = json.loads((ahead / "about.json").read_text())
    (ahead / "about.json").write_text(json.dumps(about | {"made": "2099-01-01T00:00:00+00:00"}))
    resum(ahead, "about.json")
    ahead.rename(to / "centre-20990101T000000Z")
    db.unlink()
    sound = copied(filled(tmp_path, 4), to).rename(to / "centre-20200101T000000Z")
    about = json.loads((sound / "about.json").read_text())
    (sound / "about.json").write_text(json.dumps(about | {"made": "2026-01-01T00:00:00+00:00"}))
    resum(sound, "about.json")
    harmed = copied(db, to)
    os.truncate(harmed / "centre.db", 40_000)
    code, output = central("restore", to, "--db", db)
    assert (code, str(sound) in output, f"passed over: {harmed}" in output) == (0, True, True), output
    assert len(held(db)) == 4
    shutil.rmtree(sound)
    (to / "centre-20990101T000000Z" / "SHA256SUMS").write_text("x")
    code, output = central("restore", to, "--db", db)
    assert (code, output.count("passed over"), "no complete copy in it" in output) == (1, 2, True), output
    assert len(held(db)) == 4
