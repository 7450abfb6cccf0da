"""The proposal of a calendar: a file that the reader reads, with estimates marked."""

from datetime import date
from pathlib import Path

import pytest

from central.registers.calendar import as_csv, propose
from tests.central.registers.files import taken, write_csv


def test_2026_is_what_the_decree_has() -> None:
    """SKB 3 Menteri of 19 September 2025: 17 holidays and 8 days of cuti bersama."""
    entries = propose(2026)
    joint = [entry.date for entry in entries if entry.kind == "cuti_bersama"]

    assert len(entries) == 25
    assert not any(entry.estimated for entry in entries)
    assert joint == [
        date(2026, *day) for day in ((2, 16), (3, 18), (3, 20), (3, 23), (3, 24), (5, 15), (5, 28), (12, 24))
    ]


@pytest.mark.parametrize("year", [2025, 2026, 2027, 2031])
def test_a_proposal_is_a_calendar_file(tmp_path: Path, year: int) -> None:
    """What is written is read again, entry by entry."""
    entries = propose(year)

    assert taken(write_csv(tmp_path, as_csv(entries)), "calendar") == entries
    assert {entry.date.year for entry in entries} == {year}


def test_dates_that_no_decree_has_settled_are_marked() -> None:
    """Dates of the moon in a later year, and what depends on them."""
    estimated = [entry.name for entry in propose(2031) if entry.estimated]

    assert "Hari Raya Idul Fitri" in estimated
    assert not any("Natal" in name or "perkiraan" in name for name in estimated)
