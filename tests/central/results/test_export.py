"""Verdicts and totals as files: what a program that reads no MQTT gets."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from central.cli import app
from central.results import export
from tests.central.store.office import POLICIES, Centre


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with an office, judged on Wednesday, 2 September 2026; one person was ill."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.enter("leave", "person,kind,from,until,paper\nb,sick,2026-09-01,2026-09-01,Contoh 3/2026\n")
    found.punched("1001", "2026-08-31 07:45:00", "2026-08-31 16:05:00", "2026-09-01 07:20:00", "2026-09-01 16:05:00")
    found.at("2026-09-02 05:00")
    yield found
    found.close()


def exported(centre: Centre, *words: str, code: int = 0) -> str:
    """Run the command, and return what it writes."""
    result = CliRunner().invoke(app, ["export", *words, "--db", str(centre.database.address)])
    assert result.exit_code == code, result.output
    return result.output


def table(text: str) -> list[dict[str, str]]:
    """Read CSV."""
    return list(csv.DictReader(io.StringIO(text)))


WHEN = ("--from", "2026-08-31", "--to", "2026-09-01")


@pytest.mark.both_stores
def test_days_as_csv_and_json_say_the_same(centre: Centre) -> None:
    """A row for each person and date, the columns in their order; no name."""
    text = exported(centre, "days", *WHEN)
    rows = table(text)
    assert text.splitlines()[0] == ",".join(export.DAYS)
    assert [(row["person"], row["date"], row["late_min"], row["cut"], row["excused"]) for row in rows] == [
        ("a", "2026-08-31", "15", "0.5", ""),
        ("a", "2026-09-01", "0", "0", ""),
        ("b", "2026-08-31", "0", "3", ""),
        ("b", "2026-09-01", "0", "0", "sick:1"),
    ]
    assert (rows[0]["first_punch"], rows[0]["last_punch"]) == ("2026-08-31 07:45:00", "2026-08-31 16:05:00")
    assert "Contoh" not in text
    found: list[dict[str, Any]] = json.loads(exported(centre, "days", *WHEN, "--format", "json"))
    assert [(row["person"], row["date"], row["late_min"], row["cut"]) for row in found] == [
        (row["person"], row["date"], int(row["late_min"]), row["cut"]) for row in rows
    ]
    assert [slot["late_min"] for slot in found[0]["slots"]] == [15, None]


@pytest.mark.both_stores
def test_days_of_a_unit_a_person_and_a_moment(centre: Centre) -> None:
    """A unit has those below it; a name finds a person; at a moment stood what was stored until then."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,upt,2026-08-24,\n")
    centre.punched("1001", "2026-08-31 07:29:00")
    centre.at("2026-09-02 06:00")

    assert {row["person"] for row in table(exported(centre, "days", *WHEN, "--unit", "dinas"))} == {"a", "b", "c"}
    assert {row["person"] for row in table(exported(centre, "days", *WHEN, "--unit", "upt"))} == {"c"}
    assert {row["person"] for row in table(exported(centre, "days", *WHEN, "--person", "Contoh Dua"))} == {"b"}
    then = table(exported(centre, "days", *WHEN, "--person", "a", "--known-at", "2026-09-02T05:30+07:00"))
    now = table(exported(centre, "days", *WHEN, "--person", "a"))
    assert ([row["late_min"] for row in then], [row["late_min"] for row in now]) == (["15", "0"], ["0", "0"])


def test_totals_of_a_unit_are_of_those_who_were_there(centre: Centre) -> None:
    """The wrong unit of a file that was corrected; as known before, the person was there."""
    centre.enter("units", "key,name,parent,zone,from,until\nupt,Contoh,dinas,,2026-01-01,\n")
    head = "key,name,employment,unit,from,until\n"
    centre.enter("people", f"{head}c,Contoh Tiga,pns,upt,2026-08-24,\nd,Contoh Empat,pns,upt,2026-08-24,\n")
    centre.at("2026-09-02 06:00")
    centre.enter("people", f"{head}c,Contoh Tiga,pns,dinas,2026-08-24,\n")
    centre.at("2026-09-02 07:00")
    words = ("totals", *WHEN, "--policies", str(POLICIES), "--unit", "upt")

    assert {row["person"] for row in table(exported(centre, *words))} == {"d"}
    then = table(exported(centre, *words, "--known-at", "2026-09-02T06:30+07:00"))
    assert {row["person"] for row in then} == {"c", "d"}


@pytest.mark.both_stores
def test_totals_are_of_whole_periods(centre: Centre) -> None:
    """Those that have one of the dates, by the policy of the person; reasons are left out."""
    words = ("totals", *WHEN, "--policies", str(POLICIES))
    rows = table(exported(centre, *words))
    assert list(rows[0]) == list(export.TOTALS)
    assert [
        (row["person"], row["first"], row["last"], row["days"], row["late_min"], row["absent_days"], row["cut"])
        for row in rows
    ] == [
        ("a", "2026-08-01", "2026-08-31", "6", "15", "5", "15.5"),
        ("a", "2026-09-01", "2026-09-30", "2", "0", "0", "0"),
        ("b", "2026-08-01", "2026-08-31", "6", "0", "6", "18"),
        ("b", "2026-09-01", "2026-09-30", "2", "0", "0", "0"),
    ]
    found = json.loads(exported(centre, *words, "--format", "json", "--unit", "dinas"))
    assert [row["excused"] for row in found] == [{}, {}, {}, {"sick": "1"}]


def test_no_cell_is_a_formula() -> None:
    """Texts of policies and registers are no program of the reader's spreadsheet; numbers stay numbers."""
    row = {"a": "=1+1", "b": "@x", "c": "-2", "d": -2, "e": 'plain, "quoted"', "f": None, "g": True, "h": ["+1", "x"]}
    file = io.StringIO()
    assert export.write_csv([row], list(row), file) == 1
    (found,) = table(file.getvalue())
    assert found == {
        "a": "'=1+1",
        "b": "'@x",
        "c": "'-2",
        "d": "-2",
        "e": 'plain, "quoted"',
        "f": "",
        "g": "yes",
        "h": "'+1 x",
    }


def test_nothing_found_is_a_file_too(centre: Centre) -> None:
    """A head without rows, or an empty list."""
    when = ("--from", "2020-01-01", "--to", "2020-01-02")
    assert exported(centre, "days", *when).strip() == ",".join(export.DAYS)
    assert json.loads(exported(centre, "totals", *when, "--format", "json")) == []


@pytest.mark.parametrize(
    "words",
    [
        ("days", "--from", "2026-09-02", "--to", "2026-09-01"),
        ("days", *WHEN, "--unit", "dinas", "--person", "a"),
        ("totals", *WHEN, "--person", "unknown"),
        ("totals", "--from", "yesterday", "--to", "2026-09-01"),
    ],
)
def test_wrong_usage_is_named(centre: Centre, words: tuple[str, ...]) -> None:
    """Exit code 2, and which option."""
    assert "--" in exported(centre, *words, code=2)
