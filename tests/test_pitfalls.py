"""The page of pitfalls: every line states what happens here, and names tests and cases that are there."""

import re
from functools import cache
from pathlib import Path

import pytest

from central.policy.cases import read_cases
from tests.test_guarantees import names_in

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "pitfalls.md").read_text("utf-8")
LINES = [line for line in re.split(r"^(?=\*\*\d+\. |## )", PAGE, flags=re.MULTILINE) if line.startswith("**")]
KNOWN = 58
"""Pitfalls; bad input follows."""


@cache
def names_of(path: str) -> set[str]:
    """Return the names of the tests, or of the cases, in a file."""
    if path.endswith(".py"):
        return names_in(path)
    return {str(case.name) for case in read_cases(ROOT / path)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: re.sub(r"\W+", "-", line.split("\n")[0]).strip("-"))
def test_every_line_is_answered(line: str) -> None:
    """By a test or a case that exists, or by a sentence that states why it cannot happen."""
    answer, _, shown = line.strip().partition("\nShown: ")
    named = re.findall(r"`(tests/[\w/.]+)::([^`]+)`", shown)

    assert re.fullmatch(r"\*\*\d+\. .+\*\*\nHere: .+", answer, re.DOTALL)
    assert re.sub(r"`[^`]+`|[,\s]", "", shown) == ""
    assert len(named) == shown.count("`") // 2
    assert [f"{path}::{name}" for path, name in named if name not in names_of(path)] == []
    assert named or "Here: Cannot happen: " in answer


def test_lines_are_numbered() -> None:
    """So that each can be referred to."""
    numbers = [int(re.match(r"\*\*(\d+)", line)[1]) for line in LINES]  # type: ignore[index]

    assert numbers == list(range(1, len(numbers) + 1))
    bad = [line for line in PAGE.partition("## Bad input")[2].split("\n") if line.startswith("**")]
    assert len(numbers) - len(bad) == KNOWN
