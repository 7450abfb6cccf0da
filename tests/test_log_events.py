"""What the programs log and what docs/log-events.md states about it: the same events, at the same levels."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gateway.incidents import INCIDENTS

ROOT = Path(__file__).parent.parent
LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error", "critical": "critical"}
FOLDERS = ("gateway", "drivers", "central")
ROW = re.compile(r"\| `(?P<event>\w+)` \| (?P<level>\w+(?:, \w+)*) \| (?P<rest>.+) \|")


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call that logs, with its level."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in ("log", "_log"):
                yield node, LEVELS[node.func.attr]


def names(call: ast.Call, tree: ast.Module) -> set[str]:
    """Return the events that a call logs: its text, or what its function is given in the place of the text."""
    (event, *_) = call.args
    if isinstance(event, ast.Constant):
        return {str(event.value)}
    assert isinstance(event, ast.Name), f"line {call.lineno}: an event has a name that can be searched for"
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and any(node is call for node in ast.walk(function)):
            place = [argument.arg for argument in function.args.args].index(event.id) - 1
            given = [
                node.args[place]
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == function.name
            ]
            return {str(value.value) for value in given if isinstance(value, ast.Constant)}
    raise AssertionError(f"line {call.lineno}: not in a function")


def logged() -> dict[str, set[str]]:
    """Return the events in the code, with their levels."""
    found: dict[str, set[str]] = {code: {row.level} for code, row in INCIDENTS.items() if row.level is not None}
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(file.read_text("utf-8"))
            for call, level in calls(tree):
                for event in names(call, tree):
                    found.setdefault(event, set()).add(level)
            for event, level in put_off(tree):
                found.setdefault(event, set()).add(level)
    return found


def put_off(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield every event and level that is written as a pair, for a line that is logged after a commit."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) >= 2:
            level, event = (getattr(element, "value", None) for element in node.elts[:2])
            if level in LEVELS and isinstance(event, str) and event not in LEVELS:
                yield event, LEVELS[level]


def documented() -> dict[str, tuple[set[str], str]]:
    """Return the events in the document, with their levels and explanations."""
    rows = [ROW.fullmatch(line) for line in (ROOT / "docs" / "log-events.md").read_text("utf-8").splitlines()]
    found = [row for row in rows if row]
    assert len({row["event"] for row in found}) == len(found), "an event stands in two rows"
    return {row["event"]: (set(row["level"].split(", ")), row["rest"]) for row in found}


def test_every_event_in_the_code_is_in_the_document_and_the_other_way_round() -> None:
    """Neither an event without an explanation, nor an explanation of an event that is never logged; levels agree."""
    assert {event: levels for event, (levels, _) in documented().items()} == logged()


def test_what_deserves_a_look_says_what_to_do_in_both_languages() -> None:
    """Meaning, action, and both in Indonesian; of mere work its meaning is enough."""
    for event, (levels, rest) in documented().items():
        cells = [cell.strip() for cell in rest.split(" | ")]
        assert all(cells), event
        assert len(cells) == (1 if levels == {"info"} else 3), event


def test_names_of_events_are_in_the_past_tense() -> None:
    """A noun and a participle, by which a line can be searched for."""
    assert not [event for event in logged() if not re.fullmatch(r"[a-z]+(_[a-z]+)+", event)]


def test_no_line_is_given_a_person() -> None:
    """Names of fields under which a PIN, a person or a secret would come into the log."""
    forbidden = {"pin", "pins", "nip", "person", "user", "uid", "raw", "record", "punch", "password", "comm_key", "key"}
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            for call, _ in calls(ast.parse(file.read_text("utf-8"))):
                given = {keyword.arg for keyword in call.keywords}
                assert not given & forbidden, f"{file.name}:{call.lineno}"
