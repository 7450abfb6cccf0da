"""YAML documents whose every value knows its place: file, line and column.

A plain ``off`` is text, as YAML 1.2 has it; dates and times stay the text that was written; anchors, aliases and merge
keys are expanded. What a document holds beyond that is refused at its place.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError

Path = tuple[str | int, ...]
"""Keys and indices that lead to a node."""
MAX_BYTES = 1024 * 1024
"""Of a file; a larger one is refused unread, as parsing takes some seconds for each megabyte."""
MAX_VALUES = 200_000
"""Values of a document with all aliases expanded; more is refused."""
_TRUTH = {"true": True, "false": False}
_DECIMAL = re.compile(r"[-+]?[0-9]{1,18}")


class Place(NamedTuple):
    """Where a value stands; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class DocumentError(Exception):
    """A document, or a part of it, that cannot be read."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(slots=True)
class Node:
    """A value of a document with its place; maps hold nodes by key, lists hold nodes."""

    value: Any
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)
    """Where the keys of a map stand."""
    size: int = 1
    source: Mapping[str, str] = field(default_factory=dict)
    """Decree and article behind it; known after a policy is resolved."""
    version: str = ""
    """Which dated alternatives on the way to it were chosen."""

    def get(self, key: str) -> "Node | None":
        """Return the value of a key, or None."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def at(self, path: "Path") -> "Node | None":
        """Return the node that a path leads to, or None."""
        found: Node | None = self
        for part in path:
            found = None if found is None else _below(found, part)
        return found

    def nearest(self, path: "Path") -> "Node":
        """Return the node that a path leads to, or the last one on the way to it."""
        node = self
        for part in path:
            below = _below(node, part)
            if below is None:
                return node
            node = below
        return node

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def _below(node: Node, part: str | int) -> Node | None:
    if isinstance(part, int):
        return node.value[part] if isinstance(node.value, list) and part < len(node.value) else None
    return node.get(part)


def compose(text: str, file: str) -> YamlNode | None:
    """Return the document in a text as ruamel's nodes; None where it is empty. Raises :class:`DocumentError`."""
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor used twice names the later value, which YAML allows
            node: YamlNode | None = yaml.compose(text)
    except RecursionError:
        raise DocumentError(Place(file, 1, 1), "nested too deeply") from None
    except ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise DocumentError(place, "a character that cannot stand in a text file; remove it") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file, 1, 1)
        raise DocumentError(place, f"not YAML: {error.problem or error.context or 'cannot be read'}") from None
    except (
        YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # ruamel on odd directives and tags
        raise DocumentError(Place(file, 1, 1), f"not YAML: {type(error).__name__}") from None
    return node


def read_text(path: FilePath) -> str:
    """Return the text of a file; raises :class:`DocumentError`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # no more of a device that never ends
        if len(content) > MAX_BYTES:
            raise DocumentError(Place(str(path), 1, 1), f"larger than {MAX_BYTES} bytes; divide it into several files")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError(Place(str(path), 1, 1), "not UTF-8 text; save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "no name of a file"
        raise DocumentError(Place(str(path), 1, 1), f"cannot be read ({what})") from None


def parse(text: str, file: str) -> Node:
    """Return the document in a text; raises :class:`DocumentError`."""
    node = compose(text, file)
    if node is None:
        raise DocumentError(Place(file, 1, 1), "the file is empty")
    return convert(node, file)


def place_of(node: YamlNode, file: str) -> Place:
    """Return where one of ruamel's nodes stands."""
    return Place(file, node.start_mark.line + 1, node.start_mark.column + 1)


def convert(node: YamlNode, file: str) -> Node:
    """Return ruamel's node as ours; raises :class:`DocumentError`."""
    try:
        return _Converter(file).convert(node)
    except RecursionError:
        raise DocumentError(place_of(node, file), "nested too deeply") from None


class _Converter:
    """Converts each of ruamel's nodes once, also where aliases name it again."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._done: dict[int, Node] = {}
        self._begun: set[int] = set()

    def convert(self, node: YamlNode) -> Node:
        known = self._done.get(id(node))
        if known is not None:
            return known
        if id(node) in self._begun:
            raise DocumentError(place_of(node, self._file), "an anchor that contains itself")
        self._begun.add(id(node))
        place = place_of(node, self._file)
        if isinstance(node, MappingNode):
            found = self._map(node, place)
        elif isinstance(node, SequenceNode):
            items = [self.convert(item) for item in node.value]
            found = Node(items, place, size=1 + sum(item.size for item in items))
        else:
            found = Node(_scalar(node), place)
        if found.size > MAX_VALUES:
            raise DocumentError(place, "too large; aliases repeat too much")
        self._done[id(node)] = found
        return found

    def _map(self, node: MappingNode, place: Place) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            at = place_of(key, self._file)
            if not isinstance(key, ScalarNode):
                raise DocumentError(at, "a key that is not text")
            if str(key.tag).endswith(":merge"):
                self._merge(self.convert(value), merged, keys)
            elif key.value in values:
                raise DocumentError(at, f"{_shown(key.value)} is written twice; keep one of them")
            else:
                values[key.value] = self.convert(value)
                keys[key.value] = at
        values = {**{key: found for key, found in merged.items() if key not in values}, **values}
        return Node(values, place, keys, 1 + sum(value.size for value in values.values()))

    def _merge(self, node: Node, merged: dict[str, Node], keys: dict[str, Place]) -> None:
        for part in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(part.value, dict):
                raise DocumentError(part.place, "only keys can be merged")
            for key, value in part.value.items():
                merged.setdefault(key, value)
                keys.setdefault(key, part.keys[key])


def _scalar(node: YamlNode) -> Any:
    """Return null, truth value, number or text; whatever else YAML knows is the text that was written."""
    text: str = node.value
    kind = str(node.tag).rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return _TRUTH.get(text.lower(), text)
    if kind == "int" and _DECIMAL.fullmatch(text):
        return int(text)
    if kind == "float":
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _shown(text: str) -> str:
    return text if re.fullmatch(r"[\w.\[\] -]{1,60}", text) else ascii(text[:60])
