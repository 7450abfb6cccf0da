"""The views for the centre's developers: every query that docs/centre.md shows runs and finds what it should."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from central.store.engine import Database
from central.store.portable import run
from tests.central.store.office import Centre
from tests.central.stores import STORES

BOTH_STORES = True
PAGE = Path(__file__).parents[3] / "docs" / "centre.md"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office, judged on Wednesday, 2 September 2026; a PIN belongs to no person."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.punched("1001", "2026-08-31 07:45:00", "2026-08-31 16:05:00", "2026-09-01 07:20:00", "2026-09-01 16:05:00")
    found.punched("9", "2026-09-01 07:25:00")
    found.at("2026-09-02 05:00")
    yield found
    found.close()


def query(centre: Centre, text: str, **values: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query, as another program reads them."""
    with centre.database.reading() as connection:
        return [tuple(row) for row in run(connection, text, **values)]


def test_the_queries_of_the_page_find_what_they_are_for(centre: Centre) -> None:
    """Each one, with the values that it names."""
    page = PAGE.read_text("utf-8")
    ((on_server, on_file),) = re.findall(r"On PostgreSQL write `(.*)` for `(.*)`", page)
    queries = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert sum(on_file in text for text in queries) == 1
    if STORES.server is not None:
        queries = [text.replace(on_file, on_server) for text in queries]
    punch = query(centre, "SELECT id FROM punch LIMIT 1")[0][0]
    values = {
        "last": 0,
        "id": punch,
        "unit": "dinas",
        "date": "2026-08-31",
        "first": "2026-08-31",
        "person": "a",
    }
    found = {}
    for text in queries:
        given = values | ({"last": "2026-09-01"} if ":first" in text else {})
        names = re.findall(r"(?<!:):(\w+)", text)
        found[text.split()[1]] = query(centre, text, **{name: given[name] for name in names})

    late, provisional, reasons, revisions, unit = list(found.values())[-5:]
    assert late == [("a", "2026-08-31 07:30:00", "2026-08-31 07:45:00", 15, "TL1")]
    assert provisional == [("b", "2026-09-01", "in", "unattributed")]
    assert ("classify", "class", "in", "tests of the centre", None) in reasons
    assert [row[0] for row in revisions] == [1]
    assert unit == [("dinas", "2026-08-24", None, "Kepala Contoh", "Contoh 1/2026")]
    assert len(next(iter(found.values()))) == 5


def test_days_are_the_last_revisions(centre: Centre) -> None:
    """One row for each person and date, with the status and the minutes of the last one."""
    centre.punched("1001", "2026-08-31 07:29:00")
    centre.at("2026-09-02 06:00")

    rows = query(
        centre, "SELECT revision, status, cut_thousandths FROM days WHERE person = 'a' AND date = '2026-08-31'"
    )

    assert rows == [(2, "final", 0)]
    assert query(centre, "SELECT minutes, missing FROM slots WHERE person = 'a' AND date = '2026-08-31'") == [
        (0, 0),
        (0, 0),
    ]


def test_statements_are_what_counts_now(centre: Centre) -> None:
    """Without what was withdrawn or replaced; a version ends the day before the next one."""
    rows = "timetable,from,slot,kind,due,window from,window until\noffice,2026-10-01,in,in,08:00,06:00,12:00\n"
    centre.enter("timetables", rows)
    centre.enter("enrolments", "pin,site,person,from,until\n1002,3602-bkpsdm,b,2026-01-01,\n", withdraw=True)

    versions = query(centre, "SELECT valid_from, valid_until FROM statements WHERE kind = 'timetables' ORDER BY 1")
    enrolled = query(centre, "SELECT subject FROM statements WHERE kind = 'enrolments'")

    assert versions == [("2026-01-01", "2026-09-30"), ("2026-10-01", None)]
    assert enrolled == [("person:a",)]


def test_a_database_of_an_earlier_program_gets_the_present_views(centre: Centre) -> None:
    """What it had of them is replaced; rights that an office has given on a server stay."""
    on_server = STORES.server is not None

    def definitions() -> dict[str, str]:
        named = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY viewname"
        rows = query(centre, named if on_server else "SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
        return dict(sorted((name, text) for name, text in rows))

    before = definitions()
    assert len(before) == 8
    old = before["punches"].rstrip(";") + " WHERE event.key > 1"
    with centre.database.writing() as connection:
        if on_server:
            run(connection, f"CREATE OR REPLACE VIEW punches AS {old}")
            run(connection, "GRANT SELECT ON punches TO pg_monitor")
        else:
            run(connection, "DROP VIEW punches")
            run(connection, old)
        run(connection, "DROP INDEX affected_person")  # which a later version adds
        run(connection, "UPDATE alembic_version SET version_num = '0016'")
    assert definitions() != before
    centre.close()

    Database(centre.folder / "centre.db", create=True).close()

    centre._open()
    assert definitions() == before
    if on_server:
        assert query(centre, "SELECT has_table_privilege('pg_monitor', 'punches', 'SELECT')") == [(True,)]
