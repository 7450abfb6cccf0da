r"""Patterns that cannot stop the process: a match ends within a limit, whatever the pattern and whatever the text.

A regular expression that tries many ways to fit a text, such as ``(\d+)+x``, needs hours for a few dozen characters,
and Python's other threads wait for it. A pattern whose number of ways is small is matched here; any other is matched in
a process of its own, which the kernel ends when it has computed for too long.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from math import inf, prod
from re import _parser  # type: ignore[attr-defined]  # typeshed has no stub for it; the only parser of patterns there is
from typing import Any, NamedTuple, Protocol

LIMIT_S = 2.0
"""Seconds of processor time for one text; a pattern that suits its lines needs less than a millisecond."""
MAX_WAYS = 20_000_000
"""Of a pattern that is matched in this process; they take less than a second."""
MAX_TEXT = 256
_CHILD_PROGRAM = """
import json, re, signal, sys
pattern = re.compile(sys.argv[1])
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_VIRTUAL, float(sys.argv[2]))  # its signal ends the process: nothing handles it
    match = pattern.fullmatch(json.loads(line))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(json.dumps(match and match.groupdict()), flush=True)
"""


class PatternTooSlow(Exception):  # noqa: N818 - named after the condition
    """A text cannot be matched within the limit."""


class Groups(Protocol):
    """The result of a match."""

    def groupdict(self) -> dict[str, str | Any]:
        """Return the texts of the named groups; None for a group that is not in the text."""


class Pattern(Protocol):
    """A compiled pattern."""

    def fullmatch(self, text: str, /) -> Groups | None:
        """Match a whole text; PatternTooSlow where that would take too long."""


class _Found(NamedTuple):
    groups: dict[str, str | None]

    def groupdict(self) -> dict[str, str | None]:
        return self.groups


class BoundedPattern:
    """A pattern whose matches end within ``limit_s`` seconds of processor time."""

    def __init__(self, pattern: str, limit_s: float = LIMIT_S) -> None:
        self._pattern = pattern
        self._compiled = re.compile(pattern) if ways(pattern) <= MAX_WAYS else None
        self._limit_s = limit_s
        self._child: subprocess.Popen[str] | None = None

    def fullmatch(self, text: str) -> Groups | None:
        """Match a whole text; PatternTooSlow where the limit, or the process, ended it."""
        if self._compiled is not None:
            return self._compiled.fullmatch(text)
        child = self._child = self._child or self._start()
        answer = ""
        if child.stdin is not None and child.stdout is not None:
            with suppress(BrokenPipeError):
                child.stdin.write(json.dumps(text) + "\n")
                child.stdin.flush()
                answer = child.stdout.readline()
        if not answer:
            self.close()
            raise PatternTooSlow
        groups = json.loads(answer)
        return None if groups is None else _Found(groups)

    def close(self) -> None:
        """End the process, if there is one; the next match starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with suppress(BrokenPipeError), child:
                pass

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-I", "-S", "-c", _CHILD_PROGRAM, self._pattern, str(self._limit_s)]
        try:
            return subprocess.Popen(  # noqa: S603 - this Python; the pattern is an argument, not code
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
            )
        except OSError as exc:
            raise PatternTooSlow from exc


def ways(pattern: str) -> float:
    """Return an upper bound for the number of ways in which a pattern can be tried on a text; infinity for no bound."""
    return _ways(_parser.parse(pattern))


def _ways(items: Iterable[tuple[Any, Any]]) -> float:
    return prod(_ways_of(str(kind), value) for kind, value in items)


def _ways_of(kind: str, value: Any) -> float:
    if kind.endswith("_REPEAT"):
        least, most, body = value
        within: float = _ways(body)
        if most > 1 and (within > 1 or body.getwidth()[0] == 0):
            return inf
        return within * float(min(most, MAX_TEXT) - min(least, MAX_TEXT) + 1)
    if kind == "BRANCH":
        return float(sum(_ways(branch) for branch in value[1]))
    if kind == "SUBPATTERN":
        return _ways(value[-1])
    if kind == "ATOMIC_GROUP":
        return _ways(value)
    if kind in ("ASSERT", "ASSERT_NOT"):
        return _ways(value[1])
    if kind == "GROUPREF_EXISTS":
        return sum(_ways(branch) for branch in value[1:] if branch)
    return 1.0
