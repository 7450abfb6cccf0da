"""Texts for people: English stands in the code, Indonesian in a gettext catalogue (``gateway/locale``).

``_("…")`` marks an English text for the extraction by Babel (`make texts`) and returns a :class:`Text`, which is
translated where it is shown. Placeholders are those of :meth:`str.format`.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any, Self

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


@cache
def _catalogue(language: Language) -> NullTranslations:
    if language is Language.ENGLISH:
        return NullTranslations()
    with (LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
        return GNUTranslations(file)


class Text(str):
    """An English text that has translations; ``context`` tells equal texts with different translations apart."""

    __slots__ = ("context",)
    context: str | None

    def __new__(cls, text: str, context: str | None = None) -> Self:
        """Make a text; only by ``_`` and ``in_context``, so that it is extracted."""
        self = super().__new__(cls, text)
        self.context = context
        return self

    def translated(self, language: Language) -> str:
        """Return the text in a language, with its placeholders."""
        if not self:
            return ""
        catalogue = _catalogue(language)
        return catalogue.gettext(self) if self.context is None else catalogue.pgettext(self.context, self)

    def into(self, language: Language, **values: object) -> str:
        """Return the text in a language, with its values filled in; values that are messages are translated too."""
        own = {
            name: value.into(language) if isinstance(value, Message | Count) else value
            for name, value in values.items()
        }
        return self.translated(language).format(**own)


def _(text: str) -> Text:
    """Mark a text for people."""
    return Text(text)


def in_context(context: str, text: str) -> Text:
    """Mark a text for people that is translated otherwise in this context."""
    return Text(text, context)


class Count(int):
    """A number of things: in texts its thousands are grouped as the language does."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        """Return it as English has it, 1,234, unless a form is given."""
        return format(int(self), spec or ",")

    def into(self, language: Language) -> str:
        """Return the digits in a language."""
        grouped = f"{self}"
        return grouped.replace(",", ".") if language is Language.INDONESIAN else grouped


class Message(str):
    """An English message made of a text and values. It is a plain string for logs and topics, and can be translated."""

    __slots__ = ("text", "values")
    text: Text
    values: dict[str, Any]

    def __new__(cls, text: Text, english: str | None = None, /, **values: object) -> Self:
        """Fill the values in; ``english`` is what stands for it in English, where that is another text."""
        self = super().__new__(cls, text.format(**values) if english is None else english)
        self.text, self.values = text, values
        return self

    def into(self, language: Language) -> str:
        """Return the message in a language."""
        return str(self) if language is Language.ENGLISH else self.text.into(language, **self.values)

    def data(self) -> dict[str, Any]:
        """Return the message for the control socket."""
        values = {
            name: value.data()
            if isinstance(value, Message)
            else value
            if isinstance(value, int | float)
            else str(value)
            for name, value in self.values.items()
        }
        return {"english": str(self), "text": str(self.text), "context": self.text.context, "values": values}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return the message of :meth:`data`."""
        values = {name: cls.of(value) if isinstance(value, dict) else value for name, value in data["values"].items()}
        return cls(Text(data["text"], data["context"]), data["english"], **values)
