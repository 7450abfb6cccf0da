"""Loading a policy: its file and its parents, every mistake at file, line and column, and its rules of each date."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from central.policy.compiled import compile_rules
from central.policy.dated import Problem, breakpoints, check_dates, is_dated, resolve
from central.policy.document import Node, Place, parse, read_text
from central.policy.model import Policy as PolicyModel
from central.policy.model import Source
from central.timesheet.rules import Rules

SHIPPED = Path(__file__).parents[1] / "policies"
"""Where shipped policies are: in a checkout a link to config/policies."""
MAX_PARENTS = 10
"""Parents of a policy, one above the other."""
MAX_WORK = 200_000
"""Dates of a policy with its parents, times their values: each date is a whole policy of its own."""
_OWN = ("policy", "title", "extends", "source")
"""Top-level nodes that a child does not inherit."""
_BY_KIND = ("slots", "leave")
"""Nodes of which a child replaces single kinds."""


class PolicyError(Exception):
    """A policy that is not loaded, with all its mistakes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Version:
    """A policy from one date on, until the next."""

    since: date
    document: Node
    """What is valid, with places and sources; without nodes that are null."""
    model: PolicyModel
    rules: Rules
    places: Mapping[str, Place]
    """Where each node that a reason may name stands."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy; :meth:`on` is what the judgement asks."""

    name: str
    place: Place
    versions: tuple[Version, ...]

    def version_on(self, on: date) -> Version:
        """Return what is valid on a date."""
        if len(self.versions) == 1:
            return self.versions[0]
        starts = [version.since for version in self.versions]
        return self.versions[max(0, bisect_right(starts, on) - 1)]

    def on(self, on: date) -> Rules:
        """Return the rules of a date."""
        return self.version_on(on).rules

    def place_of(self, node: str, on: date) -> Place:
        """Return where a node of a reason stands, or the nearest one around it."""
        return self.version_on(on).places.get(node, self.place)


class Library:
    """Loads policies and remembers their files: by shipped name, by file, or written inline."""

    def __init__(self, shipped: Path = SHIPPED) -> None:
        self._shipped = shipped
        self._documents: dict[Path, Node] = {}
        self._policies: dict[Path, Policy] = {}

    def load(self, named: Node, folder: Path) -> Policy:
        """Return the policy that a value names or holds; files are looked for in ``folder``.

        Raises :class:`PolicyError`, or :class:`DocumentError` where its file cannot be read.
        """
        if isinstance(named.value, dict):
            return _build(self._with_parents(named, folder, (), ()))
        return self.load_file(self._find(named, folder, "policy"))

    def load_file(self, path: Path) -> Policy:
        """Return the policy in a file; raises as :meth:`load` does."""
        key = path.resolve()
        if key not in self._policies:
            self._policies[key] = _build(self._chain_of_file(path, (), ()))
        return self._policies[key]

    def _chain_of_file(self, path: Path, children: tuple[Node, ...], seen: tuple[Path, ...]) -> list[Node]:
        key = path.resolve()
        if key not in self._documents:
            self._documents[key] = parse(read_text(path), str(path))
        return self._with_parents(self._documents[key], path.parent, children, (*seen, key))

    def _with_parents(
        self, document: Node, folder: Path, children: tuple[Node, ...], seen: tuple[Path, ...]
    ) -> list[Node]:
        """Return ``children``, a policy's document and those of its parents, the child first."""
        if not isinstance(document.value, dict):
            raise PolicyError([Problem(document.place, "policy", "does not consist of keys; write key: value")])
        chain = (*children, document)
        parent = document.get("extends")
        if parent is None or parent.value is None:
            return list(chain)
        if len(chain) > MAX_PARENTS:
            raise PolicyError([Problem(parent.place, "extends", f"more than {MAX_PARENTS} parents; join some of them")])
        if isinstance(parent.value, dict):
            return self._with_parents(parent, folder, chain, seen)
        path = self._find(parent, folder, "extends")
        if path.resolve() in seen:
            raise PolicyError([Problem(parent.place, "extends", "a parent of itself; remove one extends")])
        return self._chain_of_file(path, chain, seen)

    def _find(self, named: Node, folder: Path, key: str) -> Path:
        if not isinstance(named.value, str):
            raise PolicyError([Problem(named.place, key, "not one policy; write a name, a file or the policy itself")])
        name = named.value
        if name.endswith(".yaml"):
            candidates = [folder / name]
        elif re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
            candidates = [place / f"{name}.yaml" for place in (self._shipped, self._shipped / "examples")]
        else:
            candidates = []
        for path in candidates:
            try:
                if path.is_file():
                    return path
            except (OSError, ValueError):  # a name that no file can have
                continue
        names = ", ".join(self._names()) or "none"
        message = f"no such policy; name a file ending in .yaml, or a shipped one: {names}"
        raise PolicyError([Problem(named.place, key, message)])

    def _names(self) -> list[str]:
        """Return the names of shipped policies, examples last."""
        folders = (self._shipped, self._shipped / "examples")
        files = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
        return [path.stem for path in files if not path.name.endswith(".cases.yaml")]


def _build(chain: list[Node]) -> Policy:
    for index in range(len(chain) - 1, 0, -1):
        _versions(chain[index:])  # a parent must be a policy in itself
    versions = _versions(chain)
    return Policy(versions[0].model.policy, chain[0].place, tuple(versions))


def _versions(chain: list[Node]) -> list[Version]:
    child = chain[0]
    starts = sorted({date.min}.union(*(breakpoints(document) for document in chain)))
    if len(starts) * sum(document.size for document in chain) > MAX_WORK and len(starts) > 1:
        message = f"{len(starts) - 1} dates are too many for so large a policy; divide it"
        raise PolicyError([Problem(child.place, "policy", message)])
    found = _Found()
    found.add(check_dates(child))
    found.add(_check_own(child))
    found.add(_check_period(child))
    versions: list[Version] = []
    for since in starts:
        document = _merged(chain, since)
        try:
            model = _validated(document)
        except PolicyError as error:
            found.add(error.problems)
        else:
            versions.append(Version(since, document, model, *compile_rules(model, document)))
    if found.problems:
        raise PolicyError(sorted(found.problems.values(), key=lambda problem: problem.place))
    return versions


class _Found:
    """Mistakes, each once: most of them are found again for each date."""

    def __init__(self) -> None:
        self.problems: dict[tuple[Place, str], Problem] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problems.setdefault((problem.place, problem.node), problem)


def _merged(chain: list[Node], on: date) -> Node:
    """Return the policy of a date: nodes of the child in place of its parents', under slots and leave single kinds."""
    values: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for depth, document in enumerate(reversed(chain)):
        resolved = resolve(document, on, {})
        youngest = depth == len(chain) - 1
        for key, node in resolved.value.items():
            if key in _OWN and not youngest:
                continue
            inherited = values.get(key)
            if key in _BY_KIND and inherited is not None and isinstance(inherited.value, dict):
                if isinstance(node.value, dict):
                    kinds = {**inherited.value, **node.value}
                    node = Node(kinds, node.place, {**inherited.keys, **node.keys}, source=node.source)  # noqa: PLW2901
                elif node.value is None:
                    continue
            values[key] = node
            keys[key] = resolved.keys.get(key, node.place)
        root = Node(values, resolved.place, keys, source=resolved.source)
    return _without_nulls(root)


def _without_nulls(node: Node) -> Node:
    """Leave out keys whose value is null: null is the same as left out."""
    if isinstance(node.value, dict):
        kept = {key: _without_nulls(value) for key, value in node.value.items() if value.value is not None}
        return Node(kept, node.place, node.keys, source=node.source, version=node.version)
    if isinstance(node.value, list):
        items = [_without_nulls(item) for item in node.value]
        return Node(items, node.place, source=node.source, version=node.version)
    return node


def _check_own(document: Node) -> list[Problem]:
    found = []
    for key in ("policy", "source"):
        node = document.get(key)
        if node is None or node.value is None:
            found.append(Problem(document.place, key, f"is missing; add {key}:"))
    source = document.get("source")
    for named in [] if source is None else [value for value in _alternatives(source) if isinstance(value.value, dict)]:
        decree = named.get("decree")
        if decree is None or decree.value is None:
            found.append(Problem(named.place, "source.decree", "is missing; name the decree"))
    return found


def _alternatives(node: Node) -> list[Node]:
    """Return a value, or each of its dated values."""
    return [item.value["value"] for item in node.value] if is_dated(node) else [node]


def _check_period(document: Node) -> list[Problem]:
    """Find a limit of the period that is dated without a scope, and a begin that is dated by way of its period."""
    period = document.get("period")
    if period is None:
        return []
    begins: set[str] = set()
    caps: set[str] = set()
    unscoped = False
    for since in sorted({date.min} | breakpoints(period)):
        resolved = resolve(period, since, {})
        begin, cap, scope = (resolved.get(key) for key in ("begins_on", "cap", "cap_scope"))
        begins.add("1" if begin is None or begin.value is None else repr(begin.plain()))
        caps.add("" if cap is None else cap.version)
        limited = cap is not None and cap.value is not None
        unscoped = unscoped or (limited and (scope is None or scope.value is None))
    found = []
    if len(begins) > 1 and is_dated(period):
        found.append(Problem(period.place, "period.begins_on", "is never dated; write one value for all dates"))
    if unscoped and len(caps) > 1:
        found.append(Problem(period.place, "period.cap_scope", "needed where a cap is dated: period_end or own_days"))
    return found


def _validated(document: Node) -> PolicyModel:
    """Return the policy of a date as its model; raises :class:`PolicyError` with every mistake at its place."""
    problems = []
    plain = {key: node.plain() for key, node in document.value.items() if key != "extends"}
    for key in _BY_KIND:
        part = document.get(key)
        if part is not None and isinstance(part.value, dict) and (source := part.get("source")) is not None:
            plain[key].pop("source")
            problems += _problems(Source, source.plain(), source, (key, "source"))
    found = None
    try:
        found = PolicyModel.model_validate(plain)
    except ValidationError as error:
        problems += _located(error, document, PolicyModel, ())
    if found is None or problems:
        raise PolicyError(problems)
    for name, kind in found.slots.items():
        if kind.counts_as is not None and kind.counts_as not in found.slots:
            at = _place(document, ("slots", name, "counts_as"))
            problems.append(Problem(at, f"slots.{name}.counts_as", "no kind of slot of this policy; name one of them"))
    if problems:
        raise PolicyError(problems)
    return found


def _problems(model: type[BaseModel], plain: Any, node: Node, path: tuple[str, ...]) -> list[Problem]:
    try:
        model.model_validate(plain)
    except ValidationError as error:
        return _located(error, node, model, path)
    return []


def _located(error: ValidationError, document: Node, model: type[BaseModel], path: tuple[str, ...]) -> list[Problem]:
    """Return the mistakes that pydantic found, at their places and by the names of their nodes."""
    found = []
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        names = [*path, *(str(part) for part in location if not isinstance(part, int))]
        key = detail["type"] == "extra_forbidden"
        place = _place(document, location, at_key=key)
        message = _words(detail, model)
        found.append(Problem(place, ".".join(names) or "policy", message))
    return found


def _place(document: Node, location: Sequence[int | str], *, at_key: bool = False) -> Place:
    """Return where a value, or its key, stands; what is missing stands at the map that lacks it."""
    node, place = document, document.place
    for part in location:
        below: Node | None = None
        if isinstance(node.value, dict) and isinstance(part, str):
            below = node.value.get(part)
            place = node.keys.get(part, place) if at_key else place
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            below = node.value[part]
        if below is None:
            return place
        node = below
        place = place if at_key and isinstance(part, str) else node.place
    return place


_WORDS = {  # pydantic's kind of error: what to do
    "bool_type": "neither true nor false; write one of them",
    "dict_type": "has no keys; write them below it",
    "greater_than_equal": "too small; write {ge} or more",
    "int_type": "not a whole number; write digits without quotes",
    "less_than_equal": "too large; write {le} or less",
    "list_type": "not a list; write [a, b]",
    "literal_error": "not one of the choices; write {expected}",
    "missing": "is missing",
    "model_type": "has no keys; write them below it",
    "string_too_long": "too long",
    "string_too_short": "empty; write a text",
    "string_type": "not text; put it in quotes",
    "too_short": "an empty list; name at least one",
}


def _words(detail: Any, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        known = _keys(model, detail["loc"][:-1])
        close = get_close_matches(str(detail["loc"][-1]), known, 1)
        return f"unknown; did you mean {close[0]}?" if close else f"unknown; write one of {', '.join(known)}"
    return _WORDS[kind].format_map(context) if kind in _WORDS else str(detail["msg"])


def _keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that a node may have."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int) or current is None:
            continue
        annotation: Any = next(
            (item.annotation for name, item in current.model_fields.items() if part in (name, item.alias)), None
        )
        below = _model_in(annotation)
        current = current if below is None else below
    return [item.alias or name for name, item in current.model_fields.items()] if current is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None
