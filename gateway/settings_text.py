"""The text of a configuration: YAML whose values have their line and column, and the mistakes in the text itself.

No message repeats a value, since a value in the wrong place may be a password.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.composer import ComposerError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.parser import ParserError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import ScannerError

from drivers.textfile import TextFileError, read_text

Location = tuple[int | str, ...]
Severity = Literal["mistake", "newly_refused", "weakening", "doubt"]
"""``mistake``: the file cannot be used. ``newly_refused``: earlier versions accepted it; a gateway works with it and
warns. ``weakening``: it was chosen and is less safe; a gateway warns too. ``doubt``: it is probably not intended."""
_QUOTES = ("'", '"')
_INDICATORS = ("&", "*", "!", "|", ">", "%", "'", '"')
"""Characters that begin something other than a key in YAML."""
_OPENING_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb"
"""Typographic quotes, as word processors and web pages write them."""
_SPECIAL = "a character that cannot stand in a text file; remove it"
_NOT_YAML = "not YAML; check indentation, colons, quotes and brackets around here"


class Problem(NamedTuple):
    """One mistake in the file: its line and column (from 1), its key, what is wrong and what would be right."""

    line: int
    column: int
    path: str
    message: str
    severity: Severity = "mistake"

    def at(self, file: Path) -> str:
        """Return it as one line, in the form that editors recognise as a place."""
        return f"{file}:{self.line}:{self.column}: {self.path}: {self.message}"


class SettingsError(Exception):
    """The configuration cannot be used. Its text is one line per mistake, in the order of the file."""

    def __init__(self, file: Path, problems: list[Problem], *, missing: bool = False) -> None:
        self.missing = missing
        """There is no such file."""
        self.problems = tuple(sorted(set(problems)))
        self.lines = tuple(problem.at(file) for problem in self.problems)
        super().__init__("\n".join(self.lines))


def read(path: Path) -> tuple[str, Node, dict[Any, Any], list[Problem]]:
    """Return the file as text, as nodes, which know their place, and as values; and mistakes that stop nothing yet.

    Raises :class:`SettingsError` where the text is no YAML of keys.
    """

    def stop(line: int, column: int, message: str) -> SettingsError:
        return SettingsError(path, [Problem(line, column, "(file)", message)])

    try:
        text = read_text(path)
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _Constructor
        yaml.allow_duplicate_keys = True  # _node_problems() yields all of them, not only the first
        root, data = yaml.compose(text), yaml.load(text)
    except FileNotFoundError:
        problem = Problem(1, 1, "(file)", "no such file; make it with `sudo hadir init`")
        raise SettingsError(path, [problem], missing=True) from None
    except OSError as error:
        raise stop(1, 1, f"cannot be read ({error.strerror}); check the path and its permissions") from None
    except TextFileError as error:
        raise stop(*_place(error.before), str(error)) from None
    except RecursionError:
        raise stop(1, 1, "brackets nested too deeply; a configuration needs three levels") from None
    except ReaderError as error:
        raise stop(*_place(text[: error.position]), _SPECIAL) from None
    except MarkedYAMLError as error:
        mark, message = _syntax_problem(text, error)
        raise stop(mark.line + 1, mark.column + 1, message) from None
    if root is None:
        empty = Problem(
            1, 1, "(file)", "nothing in this file is in effect; make a configuration with `sudo hadir init`"
        )
        raise SettingsError(path, [empty], missing=True)
    if not isinstance(data, dict):
        raise stop(*_mark(root), "does not consist of keys; write key: value on each line")
    return text, root, data, list(_node_problems(root))


class _Constructor(SafeConstructor):
    """Plain Python values, with dates left as text: a serial number that looks like a date stays what was written."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, LookupError):
            raise ConstructorError(None, None, "not a value of its kind", node.start_mark) from None


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def _syntax_problem(text: str, error: MarkedYAMLError) -> tuple[Any, str]:
    """Return the place of a mistake in YAML, and what to do.

    Both follow from the part of the parser that gave up and the characters at its marks: its own text may repeat a
    secret. A quote, bracket or key that is not closed is to be mended at its beginning, not where the parser gave up.
    """
    opened, mark = error.context_mark, error.problem_mark or error.context_mark
    first = "" if opened is None else text[opened.index : opened.index + 1]
    found = text[mark.index : mark.index + 1]
    no_break_space = "\xa0" in dict(enumerate(text.splitlines())).get(mark.line, "")  # the mark may be behind the end
    message = _NOT_YAML
    if isinstance(error, ScannerError):
        if opened is None:
            message = (
                "a colon where none can be; check the indentation and the line above, and put a value that contains a "
                "colon and a blank in quotes"
                if found == ":"
                else "nothing can begin with this character; put the value in quotes, indent with blanks, not tabs"
            )
        elif first in _QUOTES and found and mark.column:  # an open quote ends at the file's end, or at a line ---
            message = "a backslash that means nothing here; put the value in single quotes"
            mark = opened
        elif first in _QUOTES:
            mark, message = opened, "a quote is not closed; close it at the end of the value"
        elif first not in _INDICATORS:
            mark, message = opened, "a key without a colon; write key: value"
    elif isinstance(error, ParserError) and opened is not None:
        if first in ("[", "{"):
            mark, message = opened, "a bracket is not closed; write [a, b] or {a: 1, b: 2}"
        elif opened.index != mark.index:
            message = "does not fit the lines above; indent it like the other keys of its section"
    elif isinstance(error, ComposerError):
        message = (
            "a value cannot begin with * like this; put the value in quotes"
            if found == "*"
            else "a second document begins here; remove the line ---"
        )
    elif isinstance(error, ConstructorError) and found == "!":
        message = "a value cannot begin with ! like this; put the value in quotes"
    if no_break_space:
        message = "a no-break space, as web pages have them, is not a blank; write this line again"
    return mark, message


def _scalar_problem(node: ScalarNode) -> tuple[str, Severity] | None:
    """Return what is wrong with the characters of a value of any key; None where nothing is."""
    text = node.value
    if any(ch == "\0" or "\ud800" <= ch <= "\udfff" for ch in text):
        return _SPECIAL, "mistake"
    if node.style is None and text[:1] and text[0] in _OPENING_QUOTES:
        return "curly quotes are part of the value; write straight ones (\" or '), or none", "newly_refused"
    if text != text.strip() and text.strip(" \t\r\n") == text:
        return "a no-break space, as web pages have them, is part of the value; write it again", "newly_refused"
    return None


def _node_problems(root: Node) -> Iterator[Problem]:
    """Yield keys that occur twice, and characters that are never intended."""
    waiting: list[tuple[Node, Location]] = [(root, ())]
    seen: set[int] = set()
    while waiting:
        node, location = waiting.pop()
        if id(node) in seen:  # an anchor used again, maybe within itself
            continue
        seen.add(id(node))
        if isinstance(node, ScalarNode) and (found := _scalar_problem(node)):
            yield Problem(*_mark(node), dotted(location), *found)
        if isinstance(node, SequenceNode):
            waiting += [(item, (*location, index)) for index, item in enumerate(node.value)]
        elif isinstance(node, MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                name = key.value if isinstance(key, ScalarNode) else "?"
                path = (*location, name)
                waiting.append((value, path))
                if name in lines and name != "?":
                    yield Problem(
                        *_mark(key), dotted(path), f"written twice, first in line {lines[name]}; keep one of them"
                    )
                lines.setdefault(name, _mark(key)[0])


def position(root: Node, location: Location, *, at_key: bool = False) -> tuple[int, int]:
    """Return the line and column of a value, or of its key; for a missing key those of its mapping."""
    name = node = root
    for part in location:
        if isinstance(node, SequenceNode) and isinstance(part, int):
            name = node = node.value[part]
        elif isinstance(node, MappingNode):
            name, node = next(((key, value) for key, value in node.value if key.value == str(part)), (node, node))
    nothing_written = node.start_mark.index == node.end_mark.index  # then the parser is already at the next key
    return _mark(name if at_key or nothing_written else node)


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _place(before: str) -> tuple[int, int]:
    """Return the line and column behind a text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def dotted(location: Location) -> str:
    """Return a key as a message names it, such as ``terminals[0].address``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    return text if re.fullmatch(r"[\w.\[\]-]+", text) else ascii(text)
