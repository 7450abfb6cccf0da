"""Texts of the centre for people: English stands in the code, Indonesian in a gettext catalogue (``central/locale``).

``_("…")`` marks an English text for the extraction by Babel (`make texts`) and returns a :class:`Text`, which is
translated where it is shown. Placeholders are those of :meth:`str.format`.
"""

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

LOCALE = Path(__file__).parent / "locale"
DOMAIN = "hadir"


class Language(StrEnum):
    """A language of texts for people."""

    ENGLISH = "en"
    INDONESIAN = "id"


def user_language() -> Language:
    """Return the language of this computer's user: Indonesian if the locale is Indonesian, else English."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return Language.INDONESIAN if locale.partition("_")[0].lower() in ("id", "in") else Language.ENGLISH


@runtime_checkable
class Translatable(Protocol):
    """What reads differently in each language."""

    def into(self, language: Language) -> str:
        """Return it in a language."""


class Text(str):
    """An English text that has translations; ``context`` tells equal texts with different translations apart."""

    __slots__ = ("context",)
    context: str | None

    def __new__(cls, text: str, context: str | None = None) -> Self:
        """Make a text; only by ``_`` and ``in_context``, so that it is extracted."""
        self = super().__new__(cls, text)
        self.context = context
        return self

    def into(self, language: Language, **values: object) -> str:
        """Return the text in a language, with its values filled in; values that are translatable are translated."""
        if not self:
            return ""  # a catalogue has its head under the empty text
        catalogue = _catalogue(language)
        text = catalogue.gettext(self) if self.context is None else catalogue.pgettext(self.context, self)
        return text.format_map({name: into(value, language) for name, value in values.items()}) if values else text


class Count(int):
    """A number of things: in texts its thousands are grouped as the language does."""

    __slots__ = ()

    def into(self, language: Language) -> str:
        """Return the digits in a language: 1,234 or 1.234."""
        grouped = f"{int(self):,}"
        return grouped.replace(",", ".") if language is Language.INDONESIAN else grouped


def counted(values: Mapping[str, object]) -> dict[str, object]:
    """Return values with the whole numbers among them as counts."""
    return {
        name: Count(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in values.items()
    }


class Reason(str):
    """What the system or a library says, in English; in another language it is named as such."""

    __slots__ = ()

    def into(self, language: Language) -> str:
        """Return it in a language."""
        return str(self) if language is Language.ENGLISH else _OF_THE_SYSTEM.into(language, reason=str(self))


class Listed(str):
    """Words with commas between them, in English as a string; each is translated by itself."""

    __slots__ = ("_words",)
    _words: tuple[str, ...]

    def __new__(cls, words: Iterable[str]) -> Self:
        """List the words."""
        listed = tuple(words)
        self = super().__new__(cls, ", ".join(listed))
        self._words = listed
        return self

    def into(self, language: Language) -> str:
        """Return the words in a language."""
        return ", ".join(into(word, language) for word in self._words)


def into(value: object, language: Language) -> str:
    """Return a value as it reads in a language; what has no translation stays what it is."""
    return value.into(language) if isinstance(value, Translatable) else str(value)


def _(text: str) -> Text:
    """Mark a text for people."""
    return Text(text)


def in_context(context: str, text: str) -> Text:
    """Mark a text for people that is translated otherwise in this context."""
    return Text(text, context)


_OF_THE_SYSTEM = in_context("reason", "{reason}")


@cache
def _catalogue(language: Language) -> NullTranslations:
    if language is Language.ENGLISH:
        return NullTranslations()
    with (LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
        return GNUTranslations(file)
