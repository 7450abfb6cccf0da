"""The project's language: terms of the glossary, numbers of decisions, names of identifiers."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"


def rows() -> Iterator[list[str]]:
    """Yield the rows of the glossary's tables: term, meaning, Indonesian, module."""
    for line in GLOSSARY.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "Term":
            yield cells


def test_every_module_of_the_glossary_exists() -> None:
    """Each row names the one module that owns its term."""
    table = list(rows())
    assert len(table) > 60
    assert [row for row in table if len(row) != 4 or not re.fullmatch(r"`[\w/]+\.py`", row[3])] == []
    assert [row[3] for row in table if not (ROOT / row[3].strip("`")).is_file()] == []


def test_no_term_of_the_glossary_stands_twice() -> None:
    """One meaning for each term."""
    terms = [term.strip() for row in rows() for term in row[0].split(",")]
    assert sorted(terms) == sorted(set(terms))


@pytest.mark.parametrize("page", ["README.md", "docs/drivers.md"])
def test_the_glossary_is_linked(page: str) -> None:
    """Readers of the code and authors of drivers find it."""
    assert "glossary.md)" in (ROOT / page).read_text("utf-8")


def test_decisions_are_numbered_within_their_subjects() -> None:
    """Each has a context, a choice, a consequence and what was rejected; references lead to a decision."""
    text = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    numbers: dict[str, list[int]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        letter = re.match(r"([A-Z])\. ", part)
        assert letter, f"a decision stands below its subject: ### {part.splitlines()[0]}"
        for decision in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
            heading = re.match(rf"{letter[1]}(\d+)\. ", decision)
            assert heading, decision.splitlines()[0]
            numbers.setdefault(letter[1], []).append(int(heading[1]))
            fields = re.findall(r"^(Context|Choice|Consequence|Rejected): ", decision, re.MULTILINE)
            assert fields == ["Context", "Choice", "Consequence", "Rejected"], decision.splitlines()[0]
    assert len(numbers) > 5
    assert all(found == sorted(set(found)) for found in numbers.values())
    known = {f"{letter}{number}" for letter, found in numbers.items() for number in found}
    assert set(re.findall(r"\bdecision ([A-Z]?\d+)", text)) <= known
