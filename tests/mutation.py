"""Mutations of valid inputs: the shapes that reach the depths of a reader because everything else about them is right.

Each function takes a valid value and a :class:`random.Random` and returns a changed copy. Two mutations at a time find
what one does not: a fault often needs one change to open a path and a second to break on it. A seed reproduces a case.
"""

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

TIMES = 2
"""Mutations of one input at a time."""

HOSTILE_TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",  # a lone surrogate: valid in a JSON escape, not in UTF-8
    "\u202e\u200f",
    "\x1b[2J\x07",
    "../../etc/passwd",
    "a" * 70_000,
    "uid:7",
    "=1+1",
    "NaN",
    "1e999",
    "2103-02-30T25:61:61",
    "0000-00-00T00:00:00",
    "-0",
    "٣",  # a digit for str.isdigit, not for the contract
)
HOSTILE_NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**400, True, False)
HOSTILE_BYTES = (b"", b"\0", b"\xff", b"\r\n", b"\n" * 4096, b"\t", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"A" * 70_000)


def mutate_json(value: Any, random: Random, times: int = TIMES) -> Any:
    """Return a copy of a JSON value with ``times`` places changed: exchanged, removed, doubled, nested or renamed."""
    holder = [copy.deepcopy(value)]
    for _ in range(times):
        _mutate_place(holder, random)
    return holder[0]


def encode_json(value: Any) -> bytes:
    """Write a mutated value as a sender would: lone surrogates as escapes, numbers of any size, any depth."""
    return _encode(value).encode()


def mutate_bytes(value: bytes, random: Random, times: int = TIMES) -> bytes:
    """Return ``value`` with ``times`` changes: a bit flipped, a run removed, doubled or moved, a cut."""
    changed = bytearray(value)
    for _ in range(times):
        at = random.randrange(len(changed) + 1)
        end = min(len(changed), at + random.choice((1, 1, 2, 4, 8, 64)))
        match random.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = changed[at:end]
            case 3:
                changed[at:at] = random.choice(HOSTILE_BYTES)
            case 4:
                run = changed[at:end]
                del changed[at:end]
                place = random.randrange(len(changed) + 1)
                changed[place:place] = run
            case _:
                del changed[at:]
    return bytes(changed)


def mutate_lines(value: bytes, random: Random, times: int = TIMES, separator: bytes = b"\n") -> bytes:
    """Return a text table with ``times`` lines or cells changed, and the rest as it was."""
    lines = value.split(separator)
    for _ in range(times):
        at = random.randrange(len(lines))
        match random.randrange(6):
            case 0:
                del lines[at]
                lines = lines or [b""]
            case 1:
                lines.insert(at, lines[random.randrange(len(lines))])
            case 2:
                lines[at] = mutate_bytes(lines[at], random, 1)
            case 3:
                cells = lines[at].split(b"\t")
                cells[random.randrange(len(cells))] = random.choice(HOSTILE_BYTES)
                lines[at] = b"\t".join(cells)
            case 4:
                cells = lines[at].split(b"\t")
                random.shuffle(cells)
                lines[at] = b"\t".join(cells)
            case _:
                lines[at] = lines[at] + random.choice((b"\t", b"\r", b"\0", b" " * 200))
    return separator.join(lines)


def mutate_text(value: str, random: Random, times: int = TIMES) -> str:
    """Return a text such as a configuration file with ``times`` tokens exchanged for hostile ones or each other."""
    for _ in range(times):
        tokens = value.split(" ")
        at = random.randrange(len(tokens))
        match random.randrange(4):
            case 0:
                tokens[at] = random.choice(HOSTILE_TEXTS)
            case 1:
                tokens[at] = tokens[random.randrange(len(tokens))]
            case 2:
                tokens[at] = str(random.choice(HOSTILE_NUMBERS))
            case _:
                del tokens[at]
        value = " ".join(tokens)
    return value


def _mutate_place(holder: list[Any], random: Random) -> None:
    container, key = random.choice(_places(holder))
    old = container[key]
    match random.randrange(8):
        case 0:
            container[key] = random.choice(HOSTILE_TEXTS)
        case 1:
            container[key] = random.choice(HOSTILE_NUMBERS)
        case 2:
            container[key] = random.choice((None, [], {}, [None], {"": None}))
        case 3 if container is not holder:
            del container[key]
        case 4:
            container[key] = _nested(old, random.choice((1, 3, 990, 5000)))
        case 5 if isinstance(container, dict):
            container[random.choice(HOSTILE_TEXTS)] = container.pop(key)
        case 6 if isinstance(old, str) and old:
            at = random.randrange(len(old))
            container[key] = old[:at] + random.choice(HOSTILE_TEXTS) + old[at + random.randrange(2) :]
        case _:
            container[key] = [old, old]


def _places(holder: list[Any]) -> Sequence[tuple[Any, Any]]:
    """Return every (container, key) in the value; iterative, for values nested deeper than the stack allows."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [holder]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return found


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _encode(value: Any) -> str:
    """Encode without recursion per nesting of single-element lists, which is how :func:`_nested` nests."""
    depth = 0
    while isinstance(value, list) and len(value) == 1:
        value, depth = value[0], depth + 1
    if isinstance(value, dict):
        inner = "{" + ",".join(f"{json.dumps(key)}:{_encode(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list):
        inner = "[" + ",".join(map(_encode, value)) + "]"
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63:
        inner = _digits(value)
    else:
        inner = json.dumps(value)
    return "[" * depth + inner + "]" * depth


def _digits(value: int) -> str:
    return f"{value:d}" if abs(value) < 10**4000 else "9" * 4001
