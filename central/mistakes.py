"""Mistakes of a settings file in English and Indonesian: place, key and what is wrong. Pure.

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
    "broker_url": _("write mqtt://host:1883, or mqtts://host:8883 for TLS"),
    "database_url": _("write postgresql://ROLE@HOST:5432/DATABASE"),
    "database_password": _("no password stands here; write it into a file and name that with `password_file:`"),
    "root": _("write one or more levels of a-z, 0-9 and hyphens, such as hadir"),
    "listen": _("write an IP address and a port, such as 127.0.0.1:8090"),
    "loopback": _("write an address that only this computer reaches, such as 127.0.0.1:9464"),
    "public_url": _("write https://NAME, without a path"),
    "standby": _("write postgresql://ROLE@HOST:5432/DATABASE of a standby; a file has none"),
    "no_tls": _("files for TLS have no effect with mqtt://; write mqtts://"),
    "certificate": _("a certificate needs its key, and a key its certificate"),
    "username": _("a password has no effect without `username:`"),
    "url": _("a password has no effect without `url:`"),
    "unencrypted": _(
        "passwords and people's data would cross the network unencrypted; write `cert_file:` and `key_file:`, "
        "or leave `listen:` on 127.0.0.1 behind a web server with TLS and write its `public_url:`"
    ),
}
"""What rules of an office's own settings want, by the code that they are raised with."""
NO_KEYS = _("write the keys of the settings, such as `broker:`")
NOT_THERE = _("{file} is not there, or is not for this user to see")
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


def all_of(document: Node, error: ValidationError) -> list[MistakeError]:
    """Return every mistake."""
    mistakes = (_mistake(document, one) for one in error.errors(include_url=False, include_input=False))
    return [MistakeError(text, place, **values) for text, place, values in mistakes]


def _mistake(document: Node, found: ErrorDetails) -> tuple[object, str, dict[str, Any]]:
    keys = tuple(found["loc"])
    place = document.nearest(keys).place
    if found["type"] == "extra_forbidden":
        place = document.nearest(keys[:-1]).keys.get(str(keys[-1]), place)
    text = OWN.get(found["type"]) or TYPES.get(found["type"]) or found["msg"].removeprefix("Value error, ")
    return text, f"{place}: {'.'.join(map(str, keys)) or 'settings'}", found.get("ctx", {})
