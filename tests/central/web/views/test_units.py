"""The tree of units with its numbers."""

from datetime import date

import pytest

from central.registers.kinds import Person
from central.timesheet.outcome import Standing, not_judged
from central.web.access import Unit
from central.web.views.today import Row
from central.web.views.units import units


def unit(key: str, parent: str | None = None) -> Unit:
    """Return a unit."""
    return Unit(key, key.upper(), parent, None, date(2026, 1, 1), None)


def row(key: str, of: str | None, *marks: str) -> Row:
    """Return a person's row."""
    found = Standing("final", frozenset(marks), frozenset()) if marks else not_judged(None)
    return Row(Person(key, key, "pns", of, None, date(2026, 1, 1), None), "", found, None, found.marks)


OFFICE = {one.key: one for one in (unit("a"), unit("b", "a"), unit("c", "b"), unit("d", "a"), unit("e"))}
ROWS = [
    row("1", "a", "late"),
    row("2", "c", "late"),
    row("3", "c"),
    row("4", "d"),
    row("5", "e", "late"),
    row("6", None),
]


def test_a_unit_counts_those_below_it() -> None:
    """In the order of the tree; a unit beside it counts nothing of it."""
    found = units(OFFICE, ["a", "e"], ROWS, ("people", "late"))

    assert [(one.unit.key, one.depth, *one.numbers.values()) for one in found] == [
        ("a", 0, 4, 2),
        ("b", 1, 2, 1),
        ("c", 2, 2, 1),
        ("d", 1, 1, 0),
        ("e", 0, 1, 1),
    ]


@pytest.mark.parametrize(
    ("roots", "shown"),
    [
        (["b"], ["b", "c"]),
        (["c", "b"], ["c", "b"]),
        (["b", "c"], ["b", "c"]),
        (["b", "b"], ["b", "c"]),
        (["x"], []),
        ([], []),
    ],
)
def test_only_what_is_below_the_roots_is_shown(roots: list[str], shown: list[str]) -> None:
    """Each unit once; what is no unit on the date is left out."""
    assert [one.unit.key for one in units(OFFICE, roots, ROWS, ("people",))] == shown


def test_a_circle_of_units_ends() -> None:
    """Registers refuse it; a database of others may hold one."""
    circle = {one.key: one for one in (unit("a", "c"), unit("b", "a"), unit("c", "b"))}

    found = units(circle, ["a"], [row("1", "c", "late")], ("late",))

    assert [(one.unit.key, one.depth, one.numbers["late"]) for one in found] == [("a", 0, 1), ("b", 1, 1), ("c", 2, 1)]


def test_a_deep_tree_is_no_fault() -> None:
    """Deeper than the interpreter lets functions call themselves."""
    deep = {one.key: one for one in (unit(str(number), str(number - 1)) for number in range(3000))}

    found = units(deep, ["0"], [row("1", "2999", "late")], ("late",))

    assert (len(found), found[0].numbers["late"], found[-1].depth) == (3000, 1, 2999)
