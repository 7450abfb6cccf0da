"""The tree of units with how many people are what on a date, without any person. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from central.web.access import Unit
from central.web.views.today import Row, counts


class Counted(NamedTuple):
    """A unit with the numbers of its people and those below it."""

    unit: Unit
    depth: int
    """How many units stand above it here."""
    numbers: Mapping[str, int]


def units(valid: Mapping[str, Unit], roots: Iterable[str], rows: Sequence[Row], names: Sequence[str]) -> list[Counted]:
    """Return units and those below them in the order of the tree, each once; also where parents form a circle.

    ``valid``: the units of a date by key, in the order in which they are shown. ``names``: figures of a date.
    """
    children: dict[str | None, list[str]] = {}
    for unit in valid.values():
        children.setdefault(unit.parent, []).append(unit.key)
    own: dict[str | None, Counter[str]] = {}
    for row in rows:
        own.setdefault(row.person.unit, Counter()).update(name for name in names if counts(row, name))
    placed: list[tuple[str, int]] = []
    seen: set[str] = set()
    left = [(root, 0) for root in reversed(list(roots)) if root in valid]
    while left:
        key, depth = left.pop()
        if key not in seen:
            seen.add(key)
            placed.append((key, depth))
            left += [(child, depth + 1) for child in reversed(children.get(key, ())) if child not in seen]
    found: list[Counted] = []
    sums: dict[int, Counter[str]] = {}
    for key, depth in reversed(placed):
        summed = Counter(own.get(key, ())) + sums.pop(depth + 1, Counter())
        sums[depth] = sums.get(depth, Counter()) + summed
        found.append(Counted(valid[key], depth, {name: summed[name] for name in names}))
    return found[::-1]
