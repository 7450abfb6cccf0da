"""``import`` and ``show`` as people and scripts use them, from an empty database on."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from central.registers.kinds import KINDS
from central.store import Store
from central.store.engine import Database
from central.store.registers import Entry, enter
from tests import command
from tests.central.registers.files import TEMPLATES, write_csv

PEOPLE = "key,name,employment,from,until\n"
ENROLMENTS = "pin,terminal,person,from,until\n"
TEMPLATE = {path.stem: path for path in TEMPLATES.iterdir()}


def central(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return command.run("central.cli", *arguments, env=os.environ | {"TERM": "dumb", "COLUMNS": "120"})


def put(folder: Path, kind: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Import a file into the folder's database."""
    words = ("--db", folder / "centre.db", "--by", "BKD", "--paper", "SK 1/2026")
    return central("import", kind, path, *words, *options)


def show(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Show a subject."""
    return central("show", *words, "--db", folder / "centre.db")


def test_an_office_is_entered_from_an_empty_database(tmp_path: Path) -> None:
    """The templates one after the other; the last one again; then what is valid for a person, a PIN, a plan."""
    for kind in ("units", "people", "timetables", "schedules", "assignments", *KINDS):
        result = put(tmp_path, kind, TEMPLATE[kind])
        assert (result.returncode, result.stderr) == (0, "")
    assert "nothing changes" in result.stdout or "new 2" in result.stdout
    again = put(tmp_path, "presence", TEMPLATE["presence"], "--lang", "id")
    assert again.stdout.splitlines() == [
        "presence.csv: bukti kehadiran: baru 0, berubah 0, tetap 2",
        "  tidak ada yang berubah: semuanya sudah tercatat, dan tidak ada yang disimpan",
    ]

    text = show(tmp_path, "contoh satu", "--on", "2026-09-02").stdout
    assert text.startswith("person p-0001 on 2026-09-02\n")
    kinds = [line.split()[0] for line in text.splitlines()[1:]]
    assert kinds == [
        "people",
        "enrolments",
        "rosters",
        "corrections",
        "units",
        "assignments",
        "assignments",
    ]
    assert all("BKD, SK 1/2026]" in line for line in text.splitlines()[1:])

    unit = show(tmp_path, "unit:dinas-contoh", "--on", "2026-09-02", "--lang", "id").stdout
    assert "unit kerja dinas-contoh pada 2026-09-02" in unit
    assert unit.count("\n  unit kerja ") == 2
    assert "pin 1002" in show(tmp_path, "CONTOH00001").stdout
    assert "slot in, kind in, due 07:30, window from 05:45" in show(tmp_path, "office").stdout
    assert "day monday, timetable office" in show(tmp_path, "week").stdout
    assert "unit dinas-contoh, policy starter" in show(tmp_path, "starter").stdout
    later = show(tmp_path, "p-0002", "--on", "2027-03-01").stdout
    assert "nothing is valid on this date; other dates: 2026-03-01/2027-02-28" in later


def test_what_was_known_earlier_is_shown(tmp_path: Path) -> None:
    """Before anything was entered there was nobody; between two imports the first one counted."""
    put(tmp_path, "people", write_csv(tmp_path, PEOPLE + "p-1,Lama,pns,2026-01-01,\n"))
    first = json.loads(show(tmp_path, "p-1", "--json").stdout)[0]["rows"][0]["entered"]
    put(tmp_path, "people", write_csv(tmp_path, PEOPLE + "p-1,Baru,pns,2026-01-01,\n"))

    assert "name Baru" in show(tmp_path, "p-1").stdout
    assert "name Lama" in show(tmp_path, "p-1", "--known-at", first).stdout
    before = show(tmp_path, "p-1", "--known-at", "2020-01-01")
    assert (before.returncode, before.stdout) == (1, "")
    assert "p-1 is no key" in before.stderr
    assert "as known at 20" in before.stderr
    assert central("show", "p-1", "--db", tmp_path / "centre.db", "--known-at", "yesterday").returncode == 2


def test_a_name_of_several_people_is_none(tmp_path: Path) -> None:
    """Their keys are named."""
    put(tmp_path, "people", write_csv(tmp_path, PEOPLE + "p-1,Ani,pns,2026-01-01,\np-2,ANI,pns,2026-01-01,\n"))
    result = show(tmp_path, "ani", "--lang", "id")

    assert result.returncode == 1
    assert "p-1, p-2" in result.stderr


@pytest.mark.parametrize("name", ['Éva "Si" O\'Neil, S.H.', "a\\b%_c", "أحمد", "DWI  ÄNGGRAINI"])
def test_a_person_is_found_by_any_name(tmp_path: Path, name: str) -> None:
    """With quotation marks, wildcards and letters of other scripts, in capitals or not, blanks apart."""
    quoted = name.replace('"', '""')
    put(tmp_path, "people", write_csv(tmp_path, PEOPLE + f'p-1,"{quoted}",pns,2026-01-01,\np-2,Abc,pns,2026-01-01,\n'))

    assert show(tmp_path, name.swapcase()).stdout.startswith("person p-1 ")


def test_mistakes_are_named_and_nothing_is_taken(tmp_path: Path) -> None:
    """Exit code 1, place by place, for people and for scripts; what is entered is named by person and paper."""
    put(tmp_path, "people", write_csv(tmp_path, PEOPLE + "p-1,A,pns,2026-01-01,\np-2,B,pns,2026-01-01,\n"))
    put(tmp_path, "enrolments", write_csv(tmp_path, ENROLMENTS + "1001,X1,p-1,2026-01-01,\n"))
    bad = write_csv(tmp_path, ENROLMENTS + "1001,X1,p-2,2026-09-10,\n1002,X1,p-9,2026-09-10,2026-09-09\n")
    result = put(tmp_path, "enrolments", bad)

    assert result.returncode == 1
    first, unknown, second = result.stdout.splitlines()
    assert unknown == "file.csv:3:3: p-9 is not in the register people"
    assert first == "file.csv:3:5: ends on 2026-09-09, before it begins on 2026-09-10"
    assert second.startswith(
        "file.csv:2:4: contradicts what is entered: pin 1001, terminal X1, person p-1, from 2026-01-01 [20"
    )
    assert "BKD, SK 1/2026]; write that row with its last date into this file, or withdraw it first" in second
    assert "Nothing of the file is taken" in result.stderr
    found = json.loads(put(tmp_path, "enrolments", bad, "--json").stdout)
    assert [one["code"] for one in found["mistakes"]] == [
        "ends_before_begin",
        "unknown_reference",
        "contradicts_stored",
    ]
    assert "p-2" not in show(tmp_path, "X1").stdout


def test_a_dry_run_says_what_would_change_and_stores_nothing(tmp_path: Path) -> None:
    """New and changed rows line by line, and how many days are touched; then the same for real, and withdrawn."""
    put(tmp_path, "people", write_csv(tmp_path, PEOPLE + "p-1,A,pns,2026-01-01,\n"))
    path = write_csv(tmp_path, PEOPLE + "p-1,A,pns,2026-01-01,2026-01-31\np-2,B,pns,2026-02-01,2026-02-01\n")
    dry = put(tmp_path, "people", path, "--dry-run").stdout

    assert "  ~ key p-1, name A, employment pns, from 2026-01-01, until - → 2026-01-31\n" in dry
    assert "  + key p-2, name B, employment pns, from 2026-02-01, until 2026-02-01\n" in dry
    assert "dry run: nothing was stored" in dry
    assert "until" not in show(tmp_path, "p-1", "--on", "2026-01-31").stdout

    done = json.loads(put(tmp_path, "people", path, "--json").stdout)
    assert (done["new"], done["changed"], done["affected_people"]) == (1, 1, 2)
    assert "until 2026-01-31" in show(tmp_path, "p-1", "--on", "2026-01-31").stdout
    back = put(tmp_path, "people", path, "--withdraw")
    assert "withdrawn 2, withdrawn before 0" in back.stdout
    assert "of people: 2" in back.stdout
    assert show(tmp_path, "p-1").returncode == 1


def test_files_are_entered_while_an_inbox_has_the_database(tmp_path: Path) -> None:
    """And shown; the inbox's lock is for inboxes."""
    store = Store(tmp_path / "centre.db")
    try:
        result = put(tmp_path, "people", TEMPLATE["people"], "--json")
        assert result.returncode == 1  # their units are not entered
        assert put(tmp_path, "units", TEMPLATE["units"]).returncode == 0
        assert put(tmp_path, "people", TEMPLATE["people"]).returncode == 0
        assert show(tmp_path, "p-0001").returncode == 0
    finally:
        store.close()


def test_a_dry_run_needs_and_makes_no_database(tmp_path: Path) -> None:
    """The file is compared with an empty one; ``show`` needs one: exit code 74, with the file's name."""
    path = write_csv(tmp_path, PEOPLE + "p-1,A,pns,2026-01-01,\n")
    dry = put(tmp_path, "people", path, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert "  + key p-1, name A" in dry.stdout
    assert "dry run: there is no centre.db yet" in dry.stdout
    shown = show(tmp_path, "p-1")
    assert shown.returncode == 74
    assert "centre.db" in shown.stderr
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("option", ["--json", "--dry-run", "--withdraw"])
def test_a_first_file_with_a_mistake_makes_no_database(tmp_path: Path, option: str) -> None:
    """Of its own, or against what is not entered."""
    for text in ("key,name,employment,from\np-1,A,pns,x\n", "key,name,employment,unit,from\np-1,A,pns,u,2026-01-01\n"):
        path = write_csv(tmp_path, text)
        assert put(tmp_path, "people", path, option).returncode == 1
        assert list(tmp_path.iterdir()) == [path]


def test_a_database_that_cannot_be_made_is_a_matter_of_the_file(tmp_path: Path) -> None:
    """Not of the broker: an import has none."""
    path = write_csv(tmp_path, PEOPLE + "p-1,A,pns,2026-01-01,\n")
    words = ("--db", tmp_path / "nowhere" / "centre.db", "--by", "A", "--paper", "B")
    result = central("import", "people", path, *words)
    assert result.returncode == 74
    assert "rights to the file and its folder" in result.stderr
    assert "izin atas berkas dan foldernya" in result.stderr
    assert "broker" not in result.stderr


@pytest.mark.parametrize("lang", ["en", "id"])
def test_a_clock_that_went_back_is_named(tmp_path: Path, lang: str) -> None:
    """An import was entered with the clock two days ahead; the next one is entered after it, with a warning."""
    database = Database(tmp_path / "centre.db", create=True)
    ahead = datetime.now(UTC) + timedelta(days=2)
    with database.writing() as connection:
        enter(connection, Entry("people", "f", "", "A", "B", withdrawn=False), [], ahead)
    database.close()
    path = write_csv(tmp_path, PEOPLE + "p-1,A,pns,2026-01-01,\n")
    result = put(tmp_path, "people", path, "--lang", lang)

    assert result.returncode == 0
    assert ("WARNING: the clock shows" if lang == "en" else "PERINGATAN: jam menunjukkan") in result.stderr
    (row,) = json.loads(show(tmp_path, "p-1", "--json").stdout)[0]["rows"]
    assert datetime.fromisoformat(row["entered"]) > ahead - timedelta(seconds=1)


def test_no_command_of_the_screen_comes_out_of_the_registers(tmp_path: Path) -> None:
    """Of a file that is no XLSX, of papers and names."""
    path = tmp_path / "p\x1b[2J.xlsx"
    path.write_bytes(b"no workbook")
    result = put(tmp_path, "people", path)
    assert (result.returncode, "\x1b" in result.stdout + result.stderr) == (1, False)
    assert "no XLSX" in result.stdout
    words = ("--db", tmp_path / "centre.db", "--by", "A\x1b[2J", "--paper", "B")
    assert central("import", "people", TEMPLATE["people"], *words).returncode == 2
