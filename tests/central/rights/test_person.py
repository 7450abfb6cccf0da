"""A person's own data as one file: complete, for that person alone, and on record."""

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from central.cli import app
from central.rights.person import SECTIONS
from central.store import requests
from central.store.accesses import Access
from central.store.accesses import add as add_access
from central.store.requests import Note, Request, Step
from tests.central.store.office import POLICIES, Centre

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre in which something of every kind is held about `a`, and something about `b`."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    found.enter("enrolments", "pin,site,person,from,until\n1001,3602-bkpsdm,a,2026-01-01,2026-09-02\n")
    found.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:05:00", "2026-09-04 07:00:00")
    found.punched("1002", "2026-09-01 07:00:00")
    with found.database.writing() as connection:
        for person in ("a", "b"):
            given = Request(
                0, "leave", json.dumps({"person": person}), person, "dinas", "2026-09-01", None, "siti", None
            )
            number = requests.add(connection, given, Step(0, 1, "entered", "siti", "2026-09-01", HOSTILE, ""))
            assert number
            requests.add_note(connection, Note(person, "2026-09-01", "note", "budi", "2026-09-01", f"about {person}"))
        # `a` is a superior, who has requested something about another person.
        row = json.dumps({"person": "b", "kind": "sick"})
        other = Request(0, "leave", row, "b", "dinas", "2026-09-02", None, "ani", "a")
        requests.add(connection, other, Step(0, 1, "entered", "ani", "2026-09-01", "diagnosis of b", ""))
        looks = [("person", "dinas", "a"), ("person", "dinas", "b"), ("today", "dinas", None), ("today", "other", None)]
        at = "2026-09-02T00:00:00.000Z"
        accesses = [Access(at, "siti", "bkd", "::1", what, unit, person) for what, unit, person in looks]
        add_access(connection, accesses)
    yield found.at("2026-09-05 08:00")
    found.close()


def export(centre: Centre, person: str, file: str, *more: str, code: int = 0) -> str:
    """Run the command at the centre's present moment."""
    words = ["person", "export", person, "--out", str(centre.folder / file), "--by", "Petugas", *more]
    arguments = [*words, "--db", str(centre.database.address), "--policies", str(POLICIES)]
    result = CliRunner().invoke(app, arguments, obj=lambda: centre.now)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.both_stores
def test_the_file_holds_everything_about_the_person_and_nothing_about_others(centre: Centre) -> None:
    """Registers as entered, also what was replaced; punches of the dates of the enrolment; reasons; who looked."""
    assert "Contoh Satu" in export(centre, "contoh satu", "a.zip", "--lang", "id")
    assert (centre.folder / "a.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(centre.folder / "a.zip") as archive:
        data, page = json.loads(archive.read("person.json")), archive.read("person.html").decode()
    assert set(SECTIONS) <= data.keys()
    kinds = [(one["kind"], one["valid_until"], one["by"]) for one in data["registers"]]
    assert kinds == [
        ("people", None, "Kepala Contoh"),
        ("enrolments", None, "Kepala Contoh"),
        ("enrolments", "2026-09-02", "Kepala Contoh"),
    ]
    assert [one["local_time"] for one in data["punches"]] == ["2026-09-01T07:45:00", "2026-09-01T16:05:00"]
    assert data["punches"][0]["event"]["data"]["pin"] == "1001"
    late = next(one for one in data["verdicts"] if one["date"] == "2026-09-01")
    assert late["content"]["reasons"]
    assert [(one["requested_by"], one["content"]) for one in data["requests"]] == [
        ("siti", {"person": "a"}),
        ("ani", {}),
    ]
    assert "diagnosis" not in json.dumps(data) + page
    assert [one["text"] for one in data["notes"]] == ["about a"]
    looks = [(one["what"], one["unit"]) for one in data["accesses"]]
    assert looks == [("person", "dinas"), ("today", "dinas"), ("person_export", None)]
    assert '"b"' not in json.dumps(data)
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert "15 menit" in page


def test_a_copy_is_on_record_replaces_no_file_and_needs_a_person(centre: Centre) -> None:
    """What is refused leaves no file, and what is unknown no line."""
    export(centre, "a", "a.html")
    assert "exists already" in export(centre, "a", "a.html", code=1)
    export(centre, "nobody", "n.json", code=1)
    export(centre, "a", "a.pdf", code=2)
    assert sorted(file.suffix for file in centre.folder.glob("?.*") if not file.name.endswith(".csv")) == [".html"]
    with centre.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT account, person FROM access_log WHERE what = 'person_export'").all()
    assert rows == [("Petugas", "a")]
