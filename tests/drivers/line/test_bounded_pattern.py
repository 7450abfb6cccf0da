"""No pattern and no text stop the process: what takes too long is ended, and the next text is matched."""

import re

import pytest

from drivers.base import BadRecord, Untimed
from drivers.line.bounded_pattern import MAX_WAYS, BoundedPattern, PatternTooSlow, ways
from drivers.line.simulator import PATTERN
from drivers.line.wire import Message, MessageParser

FAST = 0.2
"""Seconds of processor time, which no load of the machine shortens."""
SLOW = [
    r"(?P<pin>(\d+)+)x",
    r"(?P<pin>(\d|\d\d)+)x",
    r".*(?P<pin>\d+).*(?P<state>\d+).*(?P<verify>\d+).*x",
    r"(?=(?P<pin>(\d+)+)x).*",
]


@pytest.mark.parametrize("pattern", SLOW)
def test_a_text_that_takes_too_long_costs_itself(pattern: str) -> None:
    """The match ends, and the next text is matched by the same pattern."""
    bounded = BoundedPattern(pattern, FAST)
    try:
        with pytest.raises(PatternTooSlow):
            bounded.fullmatch("1" * 120)
        assert bounded.fullmatch("no digits") is None
        expected, found = re.fullmatch(pattern, "123x"), bounded.fullmatch("123x")
        assert expected is not None
        assert found is not None
        assert found.groupdict() == expected.groupdict()
    finally:
        bounded.close()


def test_such_a_line_is_quarantined_with_its_bytes() -> None:
    """It is a record that cannot be read, like any other line that the pattern does not fit."""
    bounded = BoundedPattern(SLOW[0], FAST)
    grammar = MessageParser(bounded)
    try:
        text = b"1" * 120
        bad = grammar.read(Message(text, text, None))
        assert isinstance(bad, BadRecord)
        assert (bad.raw, "takes too long" in bad.reason) == (text, True)
        assert isinstance(grammar.read(Message(b"12x", b"12x", None)), Untimed)
    finally:
        bounded.close()


def test_texts_of_any_characters_pass_the_process() -> None:
    """Line ends, NUL, letters beyond ASCII and absent groups come back as they are matched here."""
    pattern = r"(?s)(?P<pin>(\w|\s|\x00)+)-(?P<state>\d+)?"
    bounded = BoundedPattern(pattern)
    try:
        for text in ("a\nb-1", "ü\x00\u2028\r-", "\U0001f600-"):
            here, there = re.fullmatch(pattern, text), bounded.fullmatch(text)
            assert (here and here.groupdict()) == (there and there.groupdict())
    finally:
        bounded.close()


@pytest.mark.parametrize(
    "pattern", [PATTERN, r"(?P<pin>\d{8}),(?P<date>\S+) (?P<time>\S+),(?P<state>\d),(?P<verify>\d+)", r"(?P<pin>\d+)"]
)
def test_usual_patterns_need_no_process(pattern: str) -> None:
    """Those of the documents are matched where they are."""
    assert ways(pattern) <= MAX_WAYS


def test_slow_patterns_are_found() -> None:
    """Every pattern of this file that takes too long has more ways than the limit."""
    assert all(ways(pattern) > MAX_WAYS for pattern in SLOW)
