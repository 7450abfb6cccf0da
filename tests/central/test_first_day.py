"""docs/centre-first-day.md: from an empty database to the verdicts on a day, with the page alone."""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests import command
from tests.console import examples

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/centre-first-day.md").read_text("utf-8")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WIB")
_CHANGING = re.compile(
    r"\d+ person-days judged, \d+ revisions written|neighbours and until today: \d+|\b[0-9a-f]{64}\b"
)
"""What depends on today's date."""


def comparable(lines: list[str]) -> list[str]:
    """Return lines without moments, empty lines, rules of tables, and what depends on today's date."""
    kept = (" ".join(_MOMENT.sub("MOMENT", line).split()) for line in lines)
    return [_CHANGING.sub("CHANGING", line) for line in kept if line.strip("─ ")]


def test_the_page_leads_from_an_empty_database_to_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command prints what the page shows; files are those of the page and of config/templates."""
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(ROOT / "config")
    ran = []
    for line, expected in examples(PAGE):
        program, *words = shlex.split(line)
        if program == "cat":
            Path(words[0]).write_text("\n".join(expected) + "\n")
            continue
        assert program == "hadir-central"
        result = command.run("central.cli", *words, env=os.environ | {"TERM": "dumb", "TZ": "Asia/Jakarta"})
        assert result.returncode == 0, (line, result.stderr)
        assert comparable((result.stdout + result.stderr).splitlines()) == comparable(expected), line
        ran.append(words[0])
    assert {"import", "recompute", "days", "why"} <= set(ran)


@pytest.mark.parametrize("page", ["README.md", "docs/judging.md"])
def test_the_page_is_linked(page: str) -> None:
    """A newcomer finds it."""
    assert "centre-first-day.md)" in (ROOT / page).read_text("utf-8")
