"""The page of guarantees: every line states what is and what is not, and names tests that are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
LINES = [line for line in re.split(r"^(?=\*\*\d+\. |## )", PAGE, flags=re.MULTILINE) if line.startswith("**")]


@cache
def names_in(path: str) -> set[str]:
    """Return the names of all tests of a file, those in classes behind the name of the class."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.Assign):  # the case of a state machine
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if name.rpartition("::")[2].lower().startswith("test")}


@pytest.mark.parametrize("line", LINES, ids=lambda line: re.sub(r"\W+", "-", line.split("\n")[0]).strip("-"))
def test_every_line_says_both_and_is_shown(line: str) -> None:
    """What holds, what does not follow, and at least one test, which exists."""
    _, is_, is_not, shown = re.split(r"\n(?:Is|Is not|Shown): ", line.strip())
    named = re.findall(r"`(tests/[\w/.]+\.py)::([\w:]+)`", shown)

    assert is_
    assert is_not
    assert re.sub(r"`[^`]+`|[,\s]", "", shown) == ""
    assert len(named) == shown.count("`") // 2 > 0
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_lines_are_numbered() -> None:
    """So that each can be referred to."""
    numbers = [int(re.match(r"\*\*(\d+)", line)[1]) for line in LINES]  # type: ignore[index]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 20


def test_the_front_page_leads_here() -> None:
    """Its table is a short form of this one."""
    assert "(docs/guarantees.md)" in (ROOT / "README.md").read_text("utf-8")
