"""Mistakes of a settings file in the language of whom they are shown to: place, key and what is wrong. Pure.

The rules of pydantic have an Indonesian text by their type, and the office's own rules by the code that they are raised
with (:func:`wrong`). What has none stands as it is, behind the words that it is the system's.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from central.policy.document import Node
from central.texts import Language, Reason, Text, _, in_context

TYPES: Mapping[str, Text] = {
    "missing": in_context("mistake", "is missing"),
    "extra_forbidden": in_context("mistake", "unknown here; remove it, or mend its name"),
    "string_type": in_context("mistake", "write a text"),
    "string_pattern_mismatch": in_context("mistake", "not in the form that is wanted here"),
    "string_too_short": in_context("mistake", "write at least {min_length} characters"),
    "string_too_long": in_context("mistake", "write at most {max_length} characters"),
    "int_type": in_context("mistake", "write a whole number"),
    "int_parsing": in_context("mistake", "write a whole number"),
    "bool_type": in_context("mistake", "write true or false"),
    "bool_parsing": in_context("mistake", "write true or false"),
    "greater_than_equal": in_context("mistake", "write {ge} or more"),
    "less_than_equal": in_context("mistake", "write {le} or less"),
    "literal_error": in_context("mistake", "write one of: {expected}"),
    "enum": in_context("mistake", "write one of: {expected}"),
    "model_type": in_context("mistake", "write keys with values here"),
    "dict_type": in_context("mistake", "write keys with values here"),
    "list_type": in_context("mistake", "write a list"),
    "path_type": in_context("mistake", "write the name of a file or folder"),
}
"""What rules of pydantic want, by the type of their errors."""
OWN: Mapping[str, Text] = {
    "login": _("a login needs both `username:` and `password_file:`"),
    "address": _("write one plain address, such as presensi@example.go.id"),
    "pages": _("write the address of the pages, such as https://presensi.example.go.id"),
    "incomplete": _("enabled, and {missing} missing"),
    "source": _("a figure needs its `source:`; write proposal where no paper gives it"),
    "least": _("{kind}: at least {least} days"),
}
"""What rules of an office's own settings want, by the code that they are raised with."""
READABLE = _("{file}: everybody here can read it; run: chmod 600 {file}")


class MistakeError(Exception):
    """A settings file cannot be used; it reads in either language."""

    def __init__(self, text: object, place: str = "", **values: object) -> None:
        """``text`` with its ``values`` is what is wrong; ``place`` stands before it."""
        self._text, self._place, self._values = text, place, values
        super().__init__(self.into(Language.ENGLISH))

    def into(self, language: Language) -> str:
        """Return the message in a language."""
        text = self._text
        what = text.into(language, **self._values) if isinstance(text, Text) else Reason(text).into(language)
        return f"{self._place}: {what}" if self._place else what


def wrong(code: str, **values: object) -> PydanticCustomError:
    """Return the error that a validator raises; ``code`` is one of :data:`OWN`."""
    return PydanticCustomError(code, OWN[code], values)


def first_of(document: Node, error: ValidationError) -> tuple[object, str, dict[str, Any]]:
    """Return text, place and values of the first mistake, as :class:`MistakeError` takes them."""
    return _mistake(document, error.errors(include_url=False, include_input=False)[0])


def _mistake(document: Node, found: ErrorDetails) -> tuple[object, str, dict[str, Any]]:
    keys = tuple(found["loc"])
    place = document.nearest(keys).place
    if found["type"] == "extra_forbidden":
        place = document.nearest(keys[:-1]).keys.get(str(keys[-1]), place)
    text = OWN.get(found["type"]) or TYPES.get(found["type"]) or found["msg"].removeprefix("Value error, ")
    return text, f"{place}: {'.'.join(map(str, keys))}", found.get("ctx", {})
