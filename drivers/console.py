"""The typed commands of simulated terminals: parsing, and the commands that several simulators have."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Console:
    """Executes typed commands.

    ``commands`` maps a form to the function that executes it and returns a sentence. In a form words in lower case are
    typed as they are, words in capitals are arguments of the function, and those in brackets may be left out:
    ``punch PIN [STATE]``. A function raises ValueError for an invalid argument. ``help_text`` lists the commands.
    """

    def __init__(self, help_text: str, commands: Mapping[str, Callable[..., str]]) -> None:
        self._help = help_text
        self._commands = [(form.split(), run) for form, run in commands.items()]

    def control(self, line: str) -> str:
        """Execute one line; return a sentence with its result, or with the error and the correct form."""
        words = line.split()
        if words in ([], ["help"]):
            return self._help
        for form, run in self._commands:
            arguments = _arguments(form, words)
            if arguments is not None:
                try:
                    return run(*arguments)
                except ValueError as error:
                    return f"Not done: {error}."
        return f"That is no command. {self._help}"


def _arguments(form: list[str], words: list[str]) -> list[str] | None:
    """Return the arguments in typed words; None where the words do not have this form."""
    required = sum(not part.startswith("[") for part in form)
    if not required <= len(words) <= len(form):
        return None
    pairs = list(zip(form, words, strict=False))
    if any(part.islower() and part != word for part, word in pairs):
        return None
    return [word for part, word in pairs if not part.islower()]


def number(text: str, digits: int = 9) -> int:
    """Return a typed number of at most ``digits`` digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise ValueError(f"{text!r} is no number")
    return int(text)


def count_of_punches(text: str) -> int:
    """Return a typed number of punches, 1 to 100,000."""
    count = number(text)
    if not 0 < count <= 100_000:
        raise ValueError("a rush is 1 to 100000 punches")
    return count


def new_clock(shown: datetime, text: str, example: str) -> datetime:
    """Return the time to which ``text``, a difference such as ``+7m`` or a time, moves a clock that shows ``shown``."""
    try:
        if match := re.fullmatch(r"([+-][0-9]{1,9})([smhd])", text):
            moved = shown + timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        else:
            moved = datetime.fromisoformat(text).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write +7m, -30s or {example}") from None
    if not 2000 <= moved.year <= 2099:
        raise ValueError("a terminal's clock knows the years 2000 to 2099")
    return moved
