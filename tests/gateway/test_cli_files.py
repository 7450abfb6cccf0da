"""The command `hadir import`, as a person types it."""

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli import hint_lines
from gateway.ledger import FILE_NAME, LedgerReader
from tests.broker import WAIT_S, eventually
from tests.drivers.hostile import PLANTS, Plant
from tests.gateway.test_cli import HADIR, configuration, environment, hadir, running

LINE = "%9d\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n"
SERIAL = "CEXA193960001"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a configuration with two terminals, of which one has a serial number."""
    path = configuration(tmp_path, lobby="127.0.0.1:9", gate="127.0.0.1:19")
    path.write_text(path.read_text().replace("name: lobby", f"name: lobby\n    serial: {SERIAL}"))
    return path


def export(folder: Path, name: str, first: int, count: int = 3) -> Path:
    """Write an export of a punch each for ``count`` people."""
    path = folder / name
    path.write_text("".join(LINE % pin for pin in range(first, first + count)))
    return path


def test_import_without_a_daemon(tmp_path: Path, config: Path) -> None:
    """By serial number, twice; the report names counts, dates and places."""
    path = export(tmp_path, f"{SERIAL}_attlog.dat", 1001)
    path.write_text(path.read_text() + "1004\t2026-09")
    done = hadir("import", "-c", config, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lobby: 4 lines, 3 punches" in done.stdout
    assert "3 new, 0 known already, 1 unreadable" in done.stdout
    assert f"byte {path.stat().st_size - 12}," in done.stdout
    (again,) = json.loads(hadir("import", "-c", config, "--json", path).stdout)
    assert (again["new"], again["known"], again["first_time"]) == (0, 4, False)


def test_import_with_a_daemon(tmp_path: Path, config: Path) -> None:
    """The running daemon stores what the command reads."""
    path = export(tmp_path, f"{SERIAL}_attlog.dat", 1001, 1500)
    with running("run", "-c", config) as daemon:
        assert daemon.stderr is not None
        daemon.stderr.readline()
        (row,) = json.loads(hadir("import", "-c", config, "--json", path).stdout)
    assert (row["new"], row["terminal"]) == (1500, "lobby")
    ledger = LedgerReader(tmp_path / "data")
    assert ledger.punches() == 1500
    ledger.close()


def test_what_is_refused(tmp_path: Path, config: Path) -> None:
    """Whose a file is must be known, what it is certain; the other files are imported all the same."""
    nameless = export(tmp_path, "1_attlog.dat", 2001)
    requested = hadir("import", "-c", config, nameless)
    assert (requested.returncode, hint_lines("wrong_terminal")[1] in requested.stderr) == (1, True)
    users = export(tmp_path, "user.dat", 1)
    done = hadir("import", "-c", config, "--json", users, export(tmp_path, f"{SERIAL}_attlog.dat", 1001))
    assert (done.returncode, hint_lines("not_export")[0] in done.stderr) == (1, True)
    refused, imported = json.loads(done.stdout)
    assert "users" in refused["refused"]
    assert imported["new"] == 3
    # A copy of the lobby's file in the name of the gate.
    stranger = hadir("import", "-c", config, "--terminal", "gate", export(tmp_path, "GATE0001_attlog.dat", 1001))
    assert (stranger.returncode, "are those of lobby" in stranger.stderr) == (1, True)
    assert hadir("import", "-c", config, tmp_path / "missing_attlog.dat").returncode == 74
    assert hadir("import", "-c", config, "--terminal", "attic", nameless).returncode == 2
    table = tmp_path / "GLG_001.TXT"
    table.write_text("1\t1\t77\tBUDI\t1\t0\t01/02/2026 07:30:00\n")
    open_dates = hadir("import", "-c", config, "--terminal", "lobby", table)
    assert (open_dates.returncode, hint_lines("dates")[0] in open_dates.stderr) == (1, True)
    assert hadir("import", "-c", config, "--terminal", "lobby", "--dates", "dmy", table).returncode == 0


def test_a_person_outranks_a_name(tmp_path: Path, config: Path) -> None:
    """A word before `_attlog.dat` only proposes; what the file itself states is compared with the terminal."""
    september = export(tmp_path, "september_attlog.dat", 1001)
    for options in ((), ("--terminal", "lobby")):
        done = hadir("import", "-c", config, "--json", *options, september)
        if options:
            (row,) = json.loads(done.stdout)
            assert (done.returncode, row["terminal"], row["new"]) == (0, "lobby", 3)
        else:
            assert (done.returncode, hint_lines("wrong_terminal")[1] in done.stderr) == (1, True)
    # The same punches under the name of another terminal's serial number: its owner is known by the punches.
    again = export(tmp_path, "OTHER12345_attlog.dat", 1001)
    (row,) = json.loads(hadir("import", "-c", config, "--json", "--terminal", "lobby", again).stdout)
    assert (row["new"], row["known"]) == (0, 3)
    inside = tmp_path / "1_attlog.dat"
    inside.write_text(f"OTHER12345\n{LINE % 2001}")
    done = hadir("import", "-c", config, "--terminal", "lobby", inside)
    assert (done.returncode, "is of the terminal with serial OTHER12345" in done.stderr) == (1, True)
    # A terminal whose serial number is unknown yet takes the one in the file's name, but never a month.
    done = hadir("import", "-c", config, "--terminal", "gate", export(tmp_path, "oktober_attlog.dat", 3001))
    assert (done.returncode, "serial number of gate is not known" in done.stderr) == (1, True)
    done = hadir("import", "-c", config, "--terminal", "gate", export(tmp_path, "GATE0001_attlog.dat", 3001))
    assert done.returncode == 0, done.stderr


def test_lines_that_contradict_the_configured_number_are_refused(tmp_path: Path, config: Path) -> None:
    """A person outranks a file's name, not what the lines and the configuration say: the punches are another's."""
    (tmp_path / "stick").mkdir()
    with config.open("a") as file:
        file.write("  - {name: ward, driver: attlog, path: stick, serial: WARD0007, number: 7}\n")
    done = hadir("import", "-c", config, "--terminal", "ward", export(tmp_path, "1_attlog.dat", 1001))
    assert done.returncode == 1
    assert "its lines are of device number 1, and `number:` of ward is 7" in done.stderr


def test_five_columns(tmp_path: Path, config: Path) -> None:
    """Where the values leave open what the third is a person has to choose, and nothing was called imported."""
    path = tmp_path / "1_attlog.dat"
    path.write_text("10021\t2026-04-10 07:31:01\t1\t0\t0\n")
    done = hadir("import", "-c", config, "--terminal", "lobby", path)
    assert (done.returncode, hint_lines("columns")[1] in done.stderr) == (1, True)
    done = hadir("import", "-c", config, "--terminal", "lobby", "--columns", "device", path)
    assert (done.returncode, "1 lines, 1 punches" in done.stdout) == (0, True)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_no_file_is_not_imported(tmp_path: Path, config: Path, plant: Plant) -> None:
    """Nor waited for."""
    ours = export(tmp_path, "ours", 1)
    path = tmp_path / f"{SERIAL}_attlog.dat"
    plant(path, ours)
    done = hadir("import", "-c", config, path)
    assert (done.returncode, "cannot be read" in done.stderr) == (74, True)


def punches(data_dir: Path) -> int:
    """Return how many punches the ledger holds so far."""
    if not (data_dir / FILE_NAME).exists():
        return 0
    with closing(LedgerReader(data_dir)) as ledger:
        return ledger.punches()


def test_killed_import_is_completed_by_the_next(tmp_path: Path, config: Path) -> None:
    """Nothing twice, nothing missing, and the report counts what the first had stored."""
    count = 10_000
    path = export(tmp_path, f"{SERIAL}_attlog.dat", 1001, count)
    data_dir = tmp_path / "data"
    with running("import", "-c", config, path) as process:
        eventually(lambda: punches(data_dir) > 0, what="the first punches")
        process.kill()
    stored = punches(data_dir)
    assert 0 < stored < count
    (row,) = json.loads(hadir("import", "-c", config, "--json", path).stdout)
    assert (row["new"], row["known"], row["first_time"]) == (count - stored, stored, True)
    assert punches(data_dir) == count
    done = hadir("verify", "-c", config)
    assert done.returncode == 0, done.stdout


def test_whose_a_file_is_can_be_answered(tmp_path: Path, config: Path) -> None:
    """At a keyboard, the command prompts; another file may then go without one."""
    path = export(tmp_path, "1_attlog.dat", 2001)
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*HADIR, "import", "-c", str(config), str(path)],
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"?" not in shown:
            shown += os.read(ours, 1024)
        assert b"1_attlog.dat: which terminal wrote this file (lobby, gate)" in shown
        os.write(ours, b"lobby\n")
        out, _ = process.communicate(timeout=WAIT_S)
    os.close(ours)
    assert process.returncode == 0
    assert "lobby: 3 lines, 3 punches" in out.replace(f"{path} → ", "")


def test_status_and_check_of_terminals_that_are_no_address(tmp_path: Path) -> None:
    """A folder states whether the flash disk may be removed, a serial line where it is."""
    stick = tmp_path / "absen"
    stick.mkdir()
    export(stick, "GATE0001_attlog.dat", 1001)
    more = (
        f"  - {{name: gate, driver: attlog, path: {stick}, serial: GATE0001, settle: 100ms, poll: 1s}}\n"
        "  - {name: gudang, driver: anviz, port: /dev/ttyUSB9}\n"
        "  - {name: pos, driver: anviz, port: 'tcp://127.0.0.1:9', device_id: 2}\n"
    )
    config = configuration(tmp_path, lobby="127.0.0.1:9", more=more)
    checked = hadir("check", "-c", config)
    assert (checked.returncode, checked.stderr) == (0, "")
    done = " ".join(checked.stdout.split())
    assert f"gate (attlog, {stick}), gudang (anviz, /dev/ttyUSB9), pos (anviz, tcp://127.0.0.1:9)" in done
    with running("run", "-c", config):
        eventually(lambda: "gate: the flash disk is read and may be removed" in hadir("status", "-c", config).stdout)
        export(stick, "1_attlog (2).dat", 1001)
        unread = "gate: 1 files are NOT read: 1_attlog (2).dat"
        eventually(lambda: unread in hadir("status", "-c", config).stdout)
        assert "gate: 1 berkas TIDAK dibaca: 1_attlog (2).dat" in hadir("status", "-c", config, "--lang", "id").stdout
        for file in stick.iterdir():
            file.unlink()
        eventually(lambda: "gate: no flash disk is there" in hadir("status", "-c", config).stdout)
