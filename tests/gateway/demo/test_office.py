"""The invented office: its files are registers as the templates have them, whatever day it is."""

import os
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from gateway.demo.office import FILES, FIRST, LATE, REGISTERS, SERIALS, WRITTEN, Office, moved
from gateway.demo.run import last_workday
from gateway.demo.script import KINDS
from tests import command

NEW_YEAR = date(2027, 1, 1)


def test_its_files_are_entered_as_any_offices(tmp_path: Path) -> None:
    """As they are shipped, and on a day whose evening before lies in another year."""
    for day, weeks in ((WRITTEN, 0), (NEW_YEAR, 5)):
        office, db = Office(day, tmp_path / day.isoformat(), weeks), tmp_path / f"{day}.db"
        for kind, name in [*((kind, f"{kind}.csv") for kind in REGISTERS), *LATE.items()]:
            given = ("--db", db, "--policies", office.policies, "--by", "a", "--paper", "b")
            done = command.run("central.cli", "import", kind, office.folder / name, *given, env=os.environ)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("today", "day"), [("2026-11-30", 27), ("2026-11-29", 27), ("2026-11-28", 27), ("2026-11-27", 26)]
)
def test_its_day_is_a_weekday_so_that_the_page_has_a_usual_curve(tmp_path: Path, today: str, day: int) -> None:
    """The weeks before have no punches on Saturdays and Sundays."""
    found = last_workday(date.fromisoformat(today))
    assert found == date(2026, 11, day)
    assert any(one.moment.date() == found - timedelta(weeks=1) for one in Office(found, tmp_path, 2).past)


def test_a_file_moves_with_its_day() -> None:
    """All dates by as many days; nothing that only looks like one."""
    text = "2026-09-01 2026-09-02,2026-07-29 Contoh 1/2026 12026-09-01"

    assert moved(text, WRITTEN, FIRST) == text
    first = date(2026, 12, 1)
    assert moved(text, NEW_YEAR, first) == "2026-12-31 2027-01-01,2026-12-01 Contoh 1/2026 12026-09-01"


def test_it_has_forty_people_and_all_that_can_happen(tmp_path: Path) -> None:
    """Two units, five terminals, a night, every kind of verdict, one PIN without a person; each person has one part."""
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
    """All lie between the first of the weeks before and the day."""
    for file in FILES.iterdir():
        if file.is_file():
            cells = file.read_text("utf-8").replace("\n", ",").split(",")
            dates = {cell for cell in cells if cell.startswith("20") and "-" in cell}
            assert all(FIRST <= date.fromisoformat(cell) <= WRITTEN for cell in dates)


def test_the_weeks_before_are_those_of_an_office(tmp_path: Path) -> None:
    """In the order of time, on working days, of people who are there by then; the same each time; none on leave."""
    office = Office(NEW_YEAR, tmp_path / "office", 5)
    found = office.past

    assert found == sorted(found) == Office(NEW_YEAR, tmp_path / "again", 5).past
    assert {one.moment.date() for one in Office(NEW_YEAR, tmp_path / "short").past} == {office.eve}
    assert {one.moment.weekday() for one in found} == {0, 1, 2, 3, 4}
    assert found[0].moment.date() >= office.first
    assert found[-1].moment.date() <= office.eve
    assert "p-0120" not in {one.person for one in found if one.moment.date() == NEW_YEAR - timedelta(days=20)}
    assert "p-0116" not in {one.person for one in found}, "whose PIN is entered in the evening of the day"
    assert len({one.person for one in found}) == 35
