"""The access log: it only grows, and shows where it was altered."""

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from central.store import accesses
from central.store.accesses import MAX_TEXT, Access, Chain
from central.store.engine import Database, StoreError
from tests.command import run

BOTH_STORES = True

LOOKS = [
    Access("2026-09-01T00:00:00.000Z", "chief", "superior", "10.0.0.1", "person", person=f"p{number}", people=1)
    for number in range(5)
]


_COPY = (
    "INSERT INTO access_log SELECT {}, at, account, role, address, what, unit, person, first, last, people, refused, "
    "previous, digest FROM access_log WHERE id = {}"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with five looks."""
    path = tmp_path / "centre.db"
    with Database(path, create=True) as database:
        with database.writing() as connection:
            accesses.add(connection, LOOKS[:2])
        with database.writing() as connection:
            accesses.add(connection, [])
            accesses.add(connection, LOOKS[2:])
    return path


def verified(path: Path) -> Chain:
    """Return what a verification finds."""
    with Database(path, read_only=True) as database, database.reading() as connection:
        return accesses.verify(connection)


def test_looks_are_kept_in_their_order(path: Path) -> None:
    """The newest first; by account, person or unit; page by page."""
    with Database(path, read_only=True) as database, database.reading() as connection:
        rows = accesses.newest(connection, 10)
        assert [row.access for row in rows] == LOOKS[::-1]
        assert [row.id for row in rows] == [5, 4, 3, 2, 1]
        assert all(later.previous == row.digest for later, row in pairwise(rows))
        assert [row.id for row in accesses.newest(connection, 2, before=4)] == [3, 2]
        assert [row.id for row in accesses.newest(connection, 9, person="p1")] == [2]
        assert accesses.newest(connection, 9, account="nowhere") == []
        assert accesses.newest(connection, 9, unit="nowhere") == []
        assert accesses.length(connection) == 5
    assert verified(path) == Chain(5, rows[0].digest, None)


def test_a_long_text_is_cut(path: Path) -> None:
    """A key that was tried may be anything."""
    with Database(path) as database, database.writing() as connection:
        accesses.add(connection, [LOOKS[0]._replace(person="x" * 10_000 + "\ud800", refused=True)])
        row = accesses.newest(connection, 1)[0]
    assert row.access.person == "x" * MAX_TEXT
    assert row.access.refused
    assert verified(path).broken is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE access_log SET account = 'x' WHERE id = 2",
        "DELETE FROM access_log WHERE id = 5",
        "DELETE FROM access_log",
        _COPY.format(9, 5),
        _COPY.format(6, 5),
        _COPY.format(2, 1),
    ],
)
def test_the_database_refuses_to_change_it(path: Path, statement: str) -> None:
    """Whichever program tries."""
    with pytest.raises(StoreError, match="only grows"), Database(path) as database, database.writing() as connection:
        connection.exec_driver_sql(statement)
    assert verified(path) == Chain(5, verified(path).digest, None)


@pytest.mark.file_only  # the words are SQLite's
def test_a_row_cannot_be_replaced(path: Path) -> None:
    """Which deletes it without its trigger."""
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        connection.execute("INSERT OR REPLACE INTO access_log SELECT * FROM access_log WHERE id = 2")


@pytest.mark.file_only  # it drops SQLite's triggers
@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE access_log SET account = 'x' WHERE id = 2", 2),
        ("UPDATE access_log SET refused = 1 WHERE id = 3", 3),
        ("DELETE FROM access_log WHERE id = 4", 5),
        ("DELETE FROM access_log WHERE id = 1", 2),
    ],
)
def test_an_alteration_past_the_triggers_is_found(path: Path, statement: str, broken: int) -> None:
    """By who owns the file; exit code 1 and the line."""
    with sqlite3.connect(path) as connection:
        for change in ("insert", "update", "delete"):
            connection.execute(f"DROP TRIGGER access_log_{change}")
        connection.execute(statement)
    assert verified(path).broken == broken
    found = run("central.cli", "access", "verify", "--db", path, env={})
    assert (found.returncode, f"line {broken} " in found.stdout) == (1, True)


@pytest.mark.file_only  # as above
def test_a_log_that_was_cut_off_has_another_end(path: Path) -> None:
    """That is why auditors note number and digest."""
    whole = verified(path)
    found = run("central.cli", "access", "verify", "--db", path, env={})
    assert (found.returncode, f"OK: 5 lines; digest of the last one: {whole.digest}" in found.stdout) == (0, True)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER access_log_delete")
        connection.execute("DELETE FROM access_log WHERE id = 5")
    assert verified(path).broken is None
    assert verified(path)[:2] != whole[:2]
    assert "p0" in run("central.cli", "access", "list", "--db", path, env={}).stdout
