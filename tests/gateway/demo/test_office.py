"""The invented office: its files are registers as the templates have them, whatever day it is."""

import os
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

from gateway.demo.office import FILES, LATE, REGISTERS, SERIALS, WRITTEN, Office, moved
from gateway.demo.script import KINDS
from tests import command

NEW_YEAR = date(2027, 1, 1)


def test_its_files_are_entered_as_any_offices(tmp_path: Path) -> None:
    """As they are shipped, and on a day whose evening before lies in another year."""
    for day in (WRITTEN, NEW_YEAR):
        office, db = Office(day, tmp_path / day.isoformat()), tmp_path / f"{day}.db"
        for kind, name in [*((kind, f"{kind}.csv") for kind in REGISTERS), *LATE.items()]:
            given = ("--db", db, "--policies", office.policies, "--by", "a", "--paper", "b")
            done = command.run("central.cli", "import", kind, office.folder / name, *given, env=os.environ)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_moves_with_its_day() -> None:
    """Both dates at once, also where the new day is the old evening."""
    text = "2026-09-01 2026-09-02 2026-09-03"

    assert moved(text, WRITTEN) == text
    assert moved(text, NEW_YEAR) == "2026-12-31 2027-01-01 2026-09-03"
    assert moved(text, WRITTEN - timedelta(days=1)) == "2026-08-31 2026-09-01 2026-09-03"


def test_it_has_forty_people_and_all_that_can_happen(tmp_path: Path) -> None:
    """Two units, five terminals, a night, every kind of verdict, one PIN of nobody; each person has one part."""
    office = Office(NEW_YEAR, tmp_path / "office")

    parts = {part.person: part for part in office.script}
    assert len(parts) == len(office.script) == len(office.names) == len(office.pins) == 40
    assert set(parts) == set(office.names) == set(office.pins)
    assert len(set(office.pins.values())) == 40
    assert {part.terminal for part in office.script} == set(SERIALS)
    assert {part.meant.kind for part in office.script} == set(KINDS) - {"expected"}
    assert Counter(part.date for part in office.script) == {office.day: 36, office.eve: 4}
    assert {part.why for part in office.script} == {None, "drift"}
    assert all(name.endswith(" Contoh") for name in office.names.values())
    assert all(len((office.folder / name).read_text().splitlines()) == 2 for name in LATE.values())
    units = {line.split(",")[3] for line in (office.folder / "people.csv").read_text().splitlines()[1:]}
    assert units == {"sekretariat", "pelayanan"}


def test_the_shipped_files_name_no_other_date() -> None:
    """A date that is not moved would be that of nobody's day."""
    dates = {WRITTEN.isoformat(), (WRITTEN - timedelta(days=1)).isoformat()}
    for file in FILES.iterdir():
        if file.is_file():
            cells = file.read_text("utf-8").replace("\n", ",").split(",")
            assert {cell for cell in cells if cell.startswith("20") and "-" in cell} <= dates
