"""The project's language: terms of the glossary, numbers of decisions, names of identifiers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
PACKAGES = ("gateway", "drivers", "central", "benchmarks", "tests", "docs", "packaging")
FORBIDDEN = {"told", "said", "asked", "heard", "came", "nobody", "somebody"}
"""Words that a name does not contain: they state that something was communicated, not what the thing is."""
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


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


# --- identifiers --------------------------------------------------------------------------------------------------


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each name that a Python source defines, imports or uses."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.keyword(arg=str(name)):
                yield node.value.lineno, name
            case ast.alias(name=name, asname=asname):
                yield node.lineno, asname or name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


def parts(name: str) -> set[str]:
    """Return the words of a name, split at underscores and camel case, in lower case."""
    return {part.lower() for part in _PART.findall(name)}


def sources() -> list[Path]:
    """Return every Python source of the project, relative to it."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in files if not {"node_modules", "build"} & set(path.parts))


def test_no_identifier_is_a_riddle() -> None:
    """A name states what a thing is; names of modules too."""
    found = [f"{path}: {path.stem}" for path in sources() if parts(path.stem) & FORBIDDEN]
    for path in sources():
        names = identifiers((ROOT / path).read_text("utf-8"))
        found += [f"{path}:{line}: {name}" for line, name in names if parts(name) & FORBIDDEN]
    assert len(sources()) > 200
    assert found == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def _heard(): pass", ["_heard"]),
        ("class CourierUnheard: pass", []),
        ("class ToldTwice: pass", ["ToldTwice"]),
        ("x.asked_at = 1", ["asked_at"]),
        ("f(said=1)", ["said"]),
        ("from a import b as nobody_else", ["nobody_else"]),
        ("try: pass\nexcept E as came: pass", ["came"]),
        ("masked = 'told'", []),
    ],
)
def test_forbidden_names_are_found(source: str, names: list[str]) -> None:
    """The test above can fail; strings and longer words are left alone."""
    assert [name for _, name in identifiers(source) if parts(name) & FORBIDDEN] == names
