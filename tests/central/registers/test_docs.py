"""The examples of docs/registers.md, run as they stand."""

import os
import re
import shlex
from pathlib import Path

import pytest

from central.registers.kinds import KINDS
from tests import command
from tests.console import examples

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "registers.md").read_text()
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WIB")


def comparable(lines: list[str]) -> list[str]:
    """Return lines without moments, and without the numbers of days that grow with the calendar."""
    return [_MOMENT.sub("MOMENT", line) for line in lines if not line.startswith("  days to judge again")]


def test_every_example_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one folder; `cat` shows a file that the next command reads."""
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(ROOT / "config")
    ran = 0
    for line, expected in examples(PAGE):
        program, *words = shlex.split(line)
        if program == "cat":
            Path(words[0]).write_text("\n".join(expected) + "\n")
            continue
        assert program == "hadir-central"
        result = command.run("central.cli", *words, env=os.environ | {"TERM": "dumb", "TZ": "Asia/Jakarta"})
        assert comparable((result.stdout + result.stderr).splitlines()) == comparable(expected), line
        ran += 1
    assert ran >= 6


def test_the_page_names_every_kind_with_its_columns_and_identity() -> None:
    """Kinds stand in two tables; every column of a kind is named."""
    for name, kind in KINDS.items():
        assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE)
        assert re.search(rf"^\| ([a-z]+, )?{name}(, [a-z]+)? \|", PAGE, re.MULTILINE)
        for column in kind.columns:
            assert column.name in PAGE
