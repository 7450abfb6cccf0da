"""The measures of the house: what a class may change, how long a function may be. Names are in `test_language.py`."""

import ast
from collections.abc import Iterator, Sequence

import pytest

from tests.test_language import ROOT, sources

MOST_ATTRIBUTES = 15
"""Attributes of one class that are assigned after its construction."""
MOST_LINES = 60
"""Lines of a function, with its parameters and its docstring, that need no reason."""
REASON = f"# Longer than {MOST_LINES} lines"
"""The beginning of a comment above a longer function; the reason follows."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _constructs(method: Function) -> bool:
    """Return whether a method is part of the construction, as the first rule of a model of Hypothesis is."""
    decorators = {ast.unparse(node).partition("(")[0] for node in method.decorator_list}
    return method.name in {"__init__", "__new__", "__post_init__"} or "initialize" in decorators


def changing_attributes(definition: ast.ClassDef) -> set[str]:
    """Return the attributes that methods of a class assign or delete at their first argument after construction."""
    found = set()
    for method in definition.body:
        if not isinstance(method, Function) or _constructs(method):
            continue
        first = [argument.arg for argument in (*method.args.posonlyargs, *method.args.args)][:1]
        for node in ast.walk(method):
            match node:
                case ast.Attribute(ast.Name(name), attribute, ast.Store() | ast.Del()) if [name] == first:
                    found.add(attribute)
    return found


def long_functions(tree: ast.Module, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each function that is too long and has no reason above it, or above its decorators."""
    for node in ast.walk(tree):
        if not isinstance(node, Function) or (node.end_lineno or 0) - node.lineno < MOST_LINES:
            continue
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 2
        while line >= 0 and lines[line].lstrip().startswith("#"):
            if lines[line].lstrip().startswith(REASON):
                break
            line -= 1
        else:
            yield node.lineno, node.name


def test_no_class_changes_too_much_and_no_function_is_long_without_a_reason() -> None:
    """A class with many changing attributes has several reasons to change; a comment above a long function states its.

    One test, since reading the whole project takes seconds.
    """
    found = []
    for path in sources():
        source = (ROOT / path).read_text("utf-8")
        tree = ast.parse(source)
        found += [f"{path}:{line}: {name}" for line, name in long_functions(tree, source.splitlines())]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and len(changing := changing_attributes(node)) > MOST_ATTRIBUTES:
                found.append(f"{path}:{node.lineno}: {node.name}: {sorted(changing)}")
    assert found == []


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("def f(self): self.a = self.b = 1", {"a", "b"}),
        ("def f(self): self.a, (self.b, *self.c) = x", {"a", "b", "c"}),
        ("async def f(me):\n  me.a += 1\n  del me.b", {"a", "b"}),
        ("def f(self):\n  def inner(): self.a = 1", {"a"}),
        ("def f(self):\n  for self.a in x: pass\n  with x as self.b: pass", {"a", "b"}),
        ("def __init__(self): self.a = 1", set()),
        ("@initialize(x=1)\n def f(self): self.a = 1", set()),
        ("def f(self, other): other.a = self.a", set()),
    ],
)
def test_changing_attributes_are_found(method: str, found: set[str]) -> None:
    """The test above can fail."""
    (definition,) = ast.parse(f"class C:\n {method}").body
    assert isinstance(definition, ast.ClassDef)
    assert changing_attributes(definition) == found


@pytest.mark.parametrize(
    ("head", "lines", "found"),
    [
        ("def f():\n", MOST_LINES, []),
        ("def f():\n", MOST_LINES + 1, ["f"]),
        ("async def f():\n", MOST_LINES + 1, ["f"]),
        (f"{REASON}: a table.\ndef f():\n", MOST_LINES + 1, []),
        (f"{REASON}: a table\n# of names.\n@g\n@h()\ndef f():\n", MOST_LINES + 1, []),
        (f"{REASON}: another's.\n\ndef f():\n", MOST_LINES + 1, ["f"]),
    ],
)
def test_long_functions_are_found(head: str, lines: int, found: list[str]) -> None:
    """The test above can fail."""
    source = head + "    x = 1\n" * (lines - 1)
    assert [name for _, name in long_functions(ast.parse(source), source.splitlines())] == found
