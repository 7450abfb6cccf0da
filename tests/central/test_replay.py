"""Commands of the centre on a clock that another program sets."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from central.replay import EPOCH, ReplayClock

TEMPLATES = Path(__file__).parents[2] / "config" / "templates"
PAPER = ("--by", "Kepala Contoh", "--paper", "Contoh 1/2026")


def shows(path: Path, moment: datetime) -> Path:
    """Let the clock in a file show a moment."""
    path.write_bytes(((moment - EPOCH) // timedelta(milliseconds=1)).to_bytes(8, "little", signed=True))
    return path


def replay(clock: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run commands on the clock."""
    command = [sys.executable, "-m", "central.replay", str(clock), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_clock_stands_until_its_file_is_written(tmp_path: Path) -> None:
    """Whoever writes the file moves it, for all who have opened it."""
    morning, evening = datetime(2026, 9, 2, 7, 30, tzinfo=UTC), datetime(2026, 9, 2, 18, tzinfo=UTC)
    path = shows(tmp_path / "clock", morning)
    clock = ReplayClock(path)

    assert (clock.now(), clock.now()) == (morning, morning)
    shows(path, evening)
    assert clock.now() == evening


def test_what_is_entered_bears_the_time_of_the_clock(tmp_path: Path) -> None:
    """Imports, one after another in one process, and verdicts: nothing of them reads this computer's date."""
    clock, db = shows(tmp_path / "clock", datetime(2026, 9, 2, 7, 30, tzinfo=UTC)), tmp_path / "centre.db"
    commands: list[object] = []
    for kind in ("units", "people", "timetables", "schedules", "assignments"):
        commands += ["import", kind, TEMPLATES / f"{kind}.csv", "--db", db, *PAPER, "--"]

    done = replay(clock, *commands, "recompute", "--db", db)

    assert done.returncode == 0, done.stderr
    entered = [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("entered")]
    assert len(entered) == 5
    assert "WARNING" not in done.stderr  # no import is entered at the moment of the one before
    assert all(moment == "2026-09-02" for moment in entered)
    days = replay(clock, "export", "days", "--from", "2026-01-01", "--to", "2026-12-31", "--db", db).stdout.splitlines()
    assert days[-1].startswith("p-0002,2026-09-02,") or days[-1].startswith("p-0002,2026-09-03,")


def test_what_follows_a_command_that_fails_is_not_run(tmp_path: Path) -> None:
    """Its exit code is that of all."""
    clock, db = shows(tmp_path / "clock", datetime(2026, 9, 2, tzinfo=UTC)), tmp_path / "centre.db"
    people = ["import", "people", TEMPLATES / "people.csv", "--db", db, *PAPER]
    units = ["import", "units", TEMPLATES / "units.csv", "--db", db, *PAPER]

    done = replay(clock, *people, "--", *units)

    assert done.returncode == 1
    assert "dinas-contoh" in done.stdout
    assert replay(clock, *units).stdout.startswith("units.csv: units: new 2")
