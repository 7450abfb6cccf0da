from collections.abc import Callable
from datetime import datetime

import pytest

from drivers.console import Console, count_of_punches, new_clock, number

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone


def echo(name: str) -> Callable[..., str]:
    """Return a command that answers with its name and arguments."""
    return lambda *arguments: " ".join((name, *arguments))


def refuse(text: str) -> str:
    """Refuse every argument."""
    raise ValueError(f"{text} is refused")


CONSOLE = Console(
    "Commands: …",
    {
        "punch PIN [STATE]": echo("punch"),
        "fault ORDER": echo("order"),
        "fault NAME off": echo("off"),
        "status": echo("status"),
        "refuse TEXT": refuse,
    },
)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("punch 1001", "punch 1001"),
        ("  punch  1001   2 ", "punch 1001 2"),
        ("fault mute", "order mute"),
        ("fault mute off", "off mute"),
        ("status", "status"),
        ("", "Commands: …"),
        ("help", "Commands: …"),
        ("refuse this", "Not done: this is refused."),
        ("punch", "That is no command. Commands: …"),
        ("punch 1 2 3", "That is no command. Commands: …"),
        ("fault mute on", "That is no command. Commands: …"),
        ("PUNCH 1001", "That is no command. Commands: …"),
        ("status now", "That is no command. Commands: …"),
    ],
)
def test_a_line_is_executed_by_its_form(line: str, answer: str) -> None:
    """Optional arguments may be left out; any other number of words, or another word, is no command."""
    assert CONSOLE.control(line) == answer


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+7m", NOON.replace(minute=7)),
        ("-30s", NOON.replace(hour=11, minute=59, second=30)),
        ("2000-01-01T00:00:00", datetime(2000, 1, 1)),  # noqa: DTZ001 - as above
    ],
)
def test_a_clock_is_moved_by_a_difference_or_to_a_time(text: str, shown: datetime) -> None:
    """Both forms are typed as one word."""
    assert new_clock(NOON, text, "2000-01-01T00:00:00") == shown


@pytest.mark.parametrize("text", ["7m", "+7x", "noon", "1999-12-31", "+999999999d", "-99999d", "2100-01-01"])
def test_a_clock_is_not_moved_by_anything_else(text: str) -> None:
    """No text stops the console."""
    with pytest.raises(ValueError, match=r"is no time|knows the years"):
        new_clock(NOON, text, "2000-01-01T00:00:00")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "²", "1234567890"])
def test_what_is_no_number(text: str) -> None:
    """Digits only, and not too many."""
    with pytest.raises(ValueError, match="is no number"):
        number(text)


@pytest.mark.parametrize("text", ["0", "100001"])
def test_a_rush_has_bounds(text: str) -> None:
    """A typing error does not occupy the computer for an hour."""
    with pytest.raises(ValueError, match="1 to 100000"):
        count_of_punches(text)
