"""How many people and days an import concerns, by whatever it changes."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from central.registers.extent import Extent, extent_of
from central.store.engine import Database
from central.store.registers import Registers
from central.timesheet.affected import FOREVER, Mark
from tests.central.registers.test_importing import ORDER, TEMPLATE, put

TODAY = date(2026, 9, 10)


@pytest.fixture(scope="module")
def registers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registers]:
    """Yield the registers of the templates: p-0001 since January, p-0002 since March and in the unit below."""
    database = Database(tmp_path_factory.mktemp("extent") / "centre.db", create=True)
    for kind in (*ORDER, "assignments", "rosters", "enrolments"):
        put(database, kind, Path(TEMPLATE[kind]))
    with database.reading() as connection:
        yield Registers(connection)
    database.close()


@pytest.mark.parametrize(
    ("subject", "first", "last", "expected"),
    [
        ("person:p-0001", date(2026, 9, 1), date(2026, 9, 3), Extent(1, 3)),
        ("person:p-0001", date(2025, 12, 30), date(2026, 1, 2), Extent(1, 2)),
        ("person:p-0001", date(2026, 9, 9), FOREVER, Extent(1, 2)),
        ("person:p-0001", date(2026, 9, 11), FOREVER, Extent(0, 0)),
        ("person:p-0009", date(2026, 9, 1), FOREVER, Extent(0, 0)),
        ("unit:dinas-contoh", date(2026, 9, 10), FOREVER, Extent(2, 2)),
        ("unit:bidang-data", date(2026, 9, 10), FOREVER, Extent(1, 1)),
        ("scope:all", date(2026, 2, 28), date(2026, 3, 1), Extent(2, 3)),
        ("scope:bidang-data", date(2026, 9, 10), FOREVER, Extent(1, 1)),
        ("schedule:ward", date(2026, 9, 10), FOREVER, Extent(1, 1)),
        ("policy:starter", date(2026, 9, 10), FOREVER, Extent(2, 2)),
        ("timetable:night", date(2026, 9, 1), date(2026, 9, 1), Extent(1, 1)),
        ("timetable:office", date(2026, 9, 10), FOREVER, Extent(2, 2)),
        ("terminal:CONTOH00001", date(2026, 9, 10), FOREVER, Extent(1, 1)),
        ("terminal:CONTOH00001 1002", date(2026, 9, 10), FOREVER, Extent(0, 0)),
    ],
)
def test_each_subject_stands_for_the_people_it_concerns(
    registers: Registers, subject: str, first: date, last: date, expected: Extent
) -> None:
    """Only while they are employed, and until today."""
    assert extent_of(registers, [Mark(subject, first, last)], TODAY) == expected


def test_days_of_several_marks_count_once(registers: Registers) -> None:
    """Marks of a person and of what is shared overlap."""
    marks = [
        Mark("unit:dinas-contoh", date(2026, 9, 1), date(2026, 9, 4)),
        Mark("person:p-0001", date(2026, 9, 3), date(2026, 9, 6)),
        Mark("person:p-0001", date(2026, 9, 4), date(2026, 9, 4)),
    ]
    assert extent_of(registers, marks, TODAY) == Extent(2, 10)


def test_days_of_changed_employment_are_counted_as_marked(registers: Registers) -> None:
    """Those of a withdrawn person have no employment any more."""
    marks = [Mark("person:p-0009", date(2026, 9, 1), date(2026, 9, 4))]
    assert extent_of(registers, marks, TODAY, employment=True) == Extent(1, 4)
