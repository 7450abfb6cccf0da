"""The commands as people and scripts use them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from central.registers.kinds import KINDS
from tests import command
from tests.central.registers.files import TEMPLATES, write_csv

PEOPLE = "key,name,employment,from,until\np-1,A,pns,2026-01-01,2026-01-01\n"


def central(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return command.run("central.cli", *arguments, env=os.environ | {"TERM": "dumb", "COLUMNS": "120"})


@pytest.mark.parametrize("lang", ["en", "id"])
def test_a_good_file_is_summed_up(tmp_path: Path, lang: str) -> None:
    """Exit code 0, numbers on standard output; a day of employment is named."""
    result = central("registers", "check", "people", write_csv(tmp_path, PEOPLE), "--lang", lang)

    assert result.returncode == 0, result.stderr
    assert "file.csv" in result.stdout
    assert ("for one day only: 1" in result.stdout) == (lang == "en")
    assert ("satu hari saja: 1" in result.stdout) == (lang == "id")


def test_mistakes_are_printed_with_their_places(tmp_path: Path) -> None:
    """Exit code 1; one line each, and what to do next."""
    path = write_csv(tmp_path, PEOPLE + "p-2,,boss,2026-01-01,\n")
    result = central("registers", "check", "people", path, "--lang", "id")

    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "file.csv:3:2: nama kosong",
        "file.csv:3:3: boss tidak termasuk: pns, cpns, pppk, pppk-part-time, pppk paruh waktu, other, lainnya",
    ]
    assert "kesalahan: 2" in result.stderr


def test_scripts_read_json(tmp_path: Path) -> None:
    """Of a good file and of a bad one."""
    good = central("registers", "check", "people", write_csv(tmp_path, PEOPLE), "--json")
    bad = central("registers", "check", "leave", write_csv(tmp_path, PEOPLE), "--json")

    assert json.loads(good.stdout)["entries"] == 1
    assert bad.returncode == 1
    mistakes = json.loads(bad.stdout)["mistakes"]
    assert mistakes[0].keys() == {"place", "code", "message"}


def test_the_templates_belong_together() -> None:
    """Each is checked with the keys of those it refers to."""
    paths = {path.stem: path for path in TEMPLATES.iterdir()}
    beside = [
        word for kind in ("people", "units", "timetables", "schedules") for word in ("--with", f"{kind}={paths[kind]}")
    ]
    for kind in ("people", "schedules", "rosters", "assignments", "calendar", "leave"):
        result = central("registers", "check", kind, paths[kind], *beside)
        assert result.returncode == 0, result.stdout


def test_keys_of_other_files_are_compared(tmp_path: Path) -> None:
    """A mistake in the file beside ends the check, too."""
    people = write_csv(tmp_path, PEOPLE, "people.csv")
    leave = write_csv(tmp_path, "person,kind,from\np-7,annual,2026-01-01\n", "leave.csv")
    result = central("registers", "check", "leave", leave, "--with", f"people={people}")
    assert (result.returncode, "leave.csv:2:1: p-7 is not" in result.stdout) == (1, True)

    broken = write_csv(tmp_path, "key\n", "broken.csv")
    result = central("registers", "check", "leave", leave, "--with", f"people={broken}")
    assert (result.returncode, "broken.csv" in result.stdout) == (1, True)


@pytest.mark.parametrize("words", [["humans"], ["people", "--with", "leave=x"], ["people", "--with", "x"]])
def test_wrong_usage_is_named(tmp_path: Path, words: list[str]) -> None:
    """Exit code 2, with the words that are known."""
    kind, *options = words
    result = central("registers", "check", kind, write_csv(tmp_path, PEOPLE), *options)

    assert result.returncode == 2
    assert "people" in result.stderr


def test_a_calendar_is_proposed_into_a_new_file(tmp_path: Path) -> None:
    """A file that is there is not overwritten: a person may have corrected it."""
    path = tmp_path / "calendar-2027.csv"
    result = central("calendar", "propose", "2027", "--out", path)
    assert result.returncode == 0, result.stderr
    assert central("registers", "check", "calendar", path).returncode == 0
    path.write_text("corrected")

    again = central("calendar", "propose", "2027", "--out", path)

    assert again.returncode == 2
    assert path.read_text() == "corrected"


def test_a_calendar_is_proposed_to_the_screen() -> None:
    """For a look, or a pipe."""
    result = central("calendar", "propose", "2026")

    assert result.stdout.startswith("date,kind,scope,name,estimated,note\n")
    assert "25" in result.stderr


def test_help_names_the_kinds() -> None:
    """All of them."""
    text = central("registers", "check", "--help").stdout

    assert all(kind in text for kind in KINDS)


def test_nothing_of_a_file_reaches_the_screen_as_a_command(tmp_path: Path) -> None:
    """Escape sequences and signs that no screen can show are replaced, also in the name of the file."""
    path = write_csv(tmp_path, '- {"\\e[2J\\ud800": p-1, key: p-1}\n', "a\x1b[2J.yaml")
    result = central("registers", "check", "people", path)

    assert result.returncode == 1
    assert "a?[2J.yaml:1:4: unknown column ?[2j?" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr
