"""Templates with mistakes in them: taken or refused, never anything else, and what is taken is all of it."""

import csv
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from central.registers.importing import Paper, enter_file
from central.registers.kinds import KINDS
from central.registers.problems import RegisterFileError
from central.registers.read import scan_register
from central.registers.statements import compose
from central.store.engine import Database
from central.store.registers import Registers, last_row
from central.texts import Language
from tests.central.fresh import fresh_database
from tests.central.registers.files import TEMPLATES, taken
from tests.central.registers.test_importing import ORDER, POLICIES, TEMPLATE, put

NOW = datetime(2026, 9, 5, tzinfo=UTC)
ODD = (
    "",
    "-",
    "off",
    "=1+1",
    '"',
    "\u202e1",
    "a" * 300,
    "9999-12-31",
    "1950-01-01",
    "2100-12-31",
    "96:00",
    "00:00",
    "0",
    "-1",
    "İ",
    "\x00",
    "1e5",
    "p-0001",
    "p-0002",
    "all",
    "2026-02-30",
    "bidang-data",
    "dinas-contoh",
    "365",
)


def rows_of(path: Path, kind: str) -> list[list[str]]:
    """Return a template as rows of text; those that are no CSV in its form."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    if kind == "enrolments":
        heads = ["pin", "terminal", "site", "person", "from", "until"]
        return [
            heads,
            ["0017", "", "dinas-contoh", "p-0001", "2026-01-01", ""],
            ["1002", "X1", "", "p-0002", "2026-03-01", ""],
        ]
    heads = ["date", "until", "kind", "scope", "name"]
    return [heads, *([one.date.isoformat(), "", one.kind, one.scope, one.name] for one in taken(path, kind))]


def mutated(rows: list[list[str]], chance: random.Random) -> list[list[str]]:
    """Return rows with one to three changes."""
    found = [list(row) for row in rows]
    for _ in range(chance.randint(1, 3)):
        row = chance.choice(found[1:])
        column = chance.randrange(len(row))
        match chance.randrange(6):
            case 0:
                found.append(list(row))
            case 1:
                row[column] = chance.choice(ODD)
            case 2:
                row[column] = chance.choice(chance.choice(found[1:]))
            case 3:
                row[column] = row[column].replace("2026", chance.choice(["2025", "2027", "1026"]))
            case 4:
                row[column] += chance.choice(ODD)
            case _:
                other = chance.choice(found[1:])
                if column < len(other):
                    row[column], other[column] = other[column], row[column]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_template_is_taken_whole_or_refused(tmp_path: Path, kind: str) -> None:
    """A hundred of each, one after the other in one database: what was taken counts, and takes nothing again."""
    chance = random.Random(kind)
    database = Database(fresh_database(tmp_path / "centre.db"))
    for register in ORDER:
        put(database, register, TEMPLATE[register])
    rows = rows_of(next(path for path in TEMPLATES.iterdir() if path.stem == kind), kind)
    path = tmp_path / "file.csv"
    outcomes = {"taken": 0, "refused": 0}
    for number in range(100):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(mutated(rows, chance))
        withdraw = number % 5 == 4
        with database.reading() as connection:
            before = last_row(connection)
        refusal: RegisterFileError | None = None
        try:
            scan = scan_register(path, kind)
            found, entered = enter_file(database, scan, POLICIES, Paper("A", "B"), NOW, withdraw=withdraw)
        except RegisterFileError as error:
            refusal = error
        if refusal is not None:
            outcomes["refused"] += 1
            assert all(problem.place.startswith("file.csv") for problem in refusal.problems)
            assert all(problem.text(language) for problem in refusal.problems for language in Language)
            with database.reading() as connection:
                assert last_row(connection) == before
            continue
        outcomes["taken"] += 1
        statements = [source.statement for source in compose(kind, scan.lines)]
        with database.reading() as connection:
            assert last_row(connection) == before + len(found.changes)
            counting = Registers(connection).of_identities(kind, [one.identity for one in statements])
        expected = {} if withdraw else {one.identity: one.content for one in statements}
        assert {identity: row.statement.content for identity, row in counting.items()} == expected
        assert (entered is None) == (not found.changes)
        assert enter_file(database, scan, POLICIES, Paper("A", "B"), NOW, withdraw=withdraw)[1] is None
    database.close()
    assert min(outcomes.values()) >= 5, outcomes
