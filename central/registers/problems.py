"""Mistakes of a file: each with its exact place, all of them in one report. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from central.registers.words import message
from central.texts import Language

MAX_PROBLEMS = 1000
"""Mistakes of one file that are kept with their places; more are counted."""


def printable(text: str) -> str:
    """Return a text that any screen shows as one line: signs that it would obey, or cannot encode, become ``?``."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)


class Problem(NamedTuple):
    """A mistake, or a remark: where, which, and what the message names."""

    place: str
    code: str
    values: Mapping[str, str]

    def text(self, language: Language = Language.ENGLISH) -> str:
        """Return place and message on one line."""
        return printable(f"{self.place}: {message(self.code, self.values, language)}")

    def __str__(self) -> str:
        return self.text()


class RegisterFileError(Exception):
    """A file that is not taken, with every mistake that was found in it."""

    def __init__(self, problems: tuple[Problem, ...], more: int = 0) -> None:
        super().__init__("; ".join(map(str, problems[:3])))
        self.problems = problems
        self.more = more
        """How many mistakes there are beyond ``problems``."""


class Problems:
    """Collects the mistakes of one file."""

    def __init__(self, found: Iterable[Problem] = (), more: int = 0) -> None:
        self._found = list(found)
        self._more = more

    def add(self, place: str, code: str, **values: str) -> None:
        """Add a mistake."""
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(Problem(place, code, values))
        else:
            self._more += 1

    def copy(self) -> Self:
        """Return a collection of the same mistakes."""
        return type(self)(self._found, self._more)

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_if_any(self) -> None:
        """Raise :class:`RegisterFileError` where there is a mistake."""
        if self._found:
            raise RegisterFileError(tuple(self._found), self._more)


def refuse(place: str, code: str, **values: str) -> RegisterFileError:
    """Return the error of a file that cannot be read at all."""
    return RegisterFileError((Problem(place, code, values),))
