"""Dated values: any value of a policy may be a list of ``{from, value, source}``, of which one is valid on a date.

Sources are inherited downwards: a node rests on the nearest source around it, a dated value on its own.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

from central.policy.document import Node, Place

_ENTRY = {"from", "value", "source"}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NEVER_DATED = {("policy",), ("extends",), ("period", "begins_on")}


class Problem(NamedTuple):
    """One reason why a policy is not loaded: its place, the node as ``refused:`` names it, and what to do."""

    place: Place
    node: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.node}: {self.message}"


def is_dated(node: Node) -> bool:
    """Return whether a value is a list of dated values; they are known by their ``value``."""
    return isinstance(node.value, list) and any(
        isinstance(item.value, dict) and "value" in item.value for item in node.value
    )


def read_date(text: object) -> date | None:
    """Return the date of YYYY-MM-DD, or None."""
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def check_dates(node: Node, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Find what is wrong with the dated values of a policy."""
    if is_dated(node):
        yield from _check_entries(node, path)
        for item in node.value:
            value = item.get("value")
            if value is not None:
                yield from check_dates(value, path)
    elif isinstance(node.value, dict):
        for key, value in node.value.items():
            if path == () and key == "extends":
                if is_dated(value):
                    yield Problem(value.place, "extends", "is never dated; a policy has at most one parent")
                continue
            yield from check_dates(value, (*path, key))
    elif isinstance(node.value, list):
        for item in node.value:
            yield from check_dates(item, path)


def _check_entries(node: Node, path: tuple[str, ...]) -> Iterator[Problem]:
    name = ".".join(path)
    if path in NEVER_DATED or path == ():
        yield Problem(node.place, name or "policy", "is never dated; write one value")
    seen: set[object] = set()
    for item in node.value:
        if not isinstance(item.value, dict) or "value" not in item.value:
            yield Problem(item.place, name, "not a dated value; write {from: DATE, value: ..., source: ...}")
            continue
        for key in item.value:
            if key not in _ENTRY:
                yield Problem(item.keys.get(key, item.place), f"{name}.{key}", "unknown; write from, value, source")
        begin = item.get("from")
        since = None if begin is None or begin.value is None else read_date(begin.value)
        if begin is not None and begin.value is not None and since is None:
            yield Problem(begin.place, f"{name}.from", "not a date; write YYYY-MM-DD")
        elif since in seen:
            yield Problem(item.place, f"{name}.from", "two values begin on the same date; keep one of them")
        seen.add(since)


def breakpoints(node: Node) -> set[date]:
    """Return the dates on which some value of a policy begins."""
    found: set[date] = set()
    waiting, seen = [node], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part.value, dict):
            waiting += part.value.values()
        elif isinstance(part.value, list):
            waiting += part.value
            if is_dated(part):
                dates = (read_date(begin.value) for item in part.value if (begin := item.get("from")) is not None)
                found.update(day for day in dates if day is not None)
    return found


def resolve(node: Node, on: date, source: Mapping[str, str], version: str = "") -> Node:
    """Return a value as it is on a date, every part with its source; null where no dated value has begun."""
    if is_dated(node):
        chosen = _valid(node, on)
        if chosen is None:
            return Node(None, node.place, source=source, version=f"{version}/never")
        begin = chosen.get("from")
        since = "ever" if begin is None or begin.value is None else str(begin.value)
        return resolve(chosen.value["value"], on, _own_source(chosen, source, on), f"{version}/{since}")
    if isinstance(node.value, dict):
        own = _own_source(node, source, on)
        values = {key: resolve(value, on, own, version) for key, value in node.value.items()}
        return Node(values, node.place, node.keys, source=own, version=version)
    if isinstance(node.value, list):
        items = [resolve(item, on, source, version) for item in node.value]
        return Node(items, node.place, source=source, version=version)
    return Node(node.value, node.place, source=source, version=version)


def _valid(node: Node, on: date) -> Node | None:
    best, best_since = None, None
    for item in node.value:
        if not isinstance(item.value, dict) or "value" not in item.value:
            continue
        begin = item.get("from")
        since = date.min if begin is None or begin.value is None else read_date(begin.value)
        if since is not None and since <= on and (best_since is None or since >= best_since):
            best, best_since = item, since
    return best


def _own_source(node: Node, inherited: Mapping[str, str], on: date) -> Mapping[str, str]:
    """Return the source that a map names itself on a date, completed by the one around it."""
    named = node.get("source")
    found = None if named is None else resolve(named, on, {})
    if found is None or not isinstance(found.value, dict):
        return inherited
    own = {
        key: str(part.value)
        for key, part in found.value.items()
        if key in ("decree", "article", "note") and isinstance(part.value, str | int)
    }
    if "decree" in own or "decree" not in inherited:
        return own
    return {"decree": inherited["decree"], **own}
