"""Options of ``hadir status`` without Typer, whose conversion of values imports pydantic: that takes twice the rest.

Monitoring calls it every minute. Only options that are written in full, with values that are valid, are read here;
anything else is left to Typer, which explains what is wrong with it.
"""

import os
from collections.abc import Sequence
from getopt import GetoptError, getopt
from pathlib import Path
from typing import Any

from gateway.cli.options import DEFAULT_CONFIG
from gateway.texts import Language

_LONG = ("config", "days", "json", "lang")
_MOST_DAYS = 9_999


def status_options(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return the options of ``hadir status ARGUMENTS`` by the names of its parameters; None: Typer is to read them."""
    written = [one.removeprefix("--").partition("=")[0] for one in arguments if one.startswith("--")]
    if not set(written) <= set(_LONG):  # getopt takes the beginning of a name for the name
        return None
    try:
        found, rest = getopt(list(arguments), "c:", ["config=", "days=", "json", "lang="])
    except GetoptError:
        return None
    options: dict[str, Any] = {"config": Path(os.environ.get("HADIR_CONFIG") or DEFAULT_CONFIG)}
    for name, value in found:
        if name in ("-c", "--config"):
            options["config"] = Path(value)
        elif name == "--json":
            options["as_json"] = True
        elif name == "--lang" and value in list(Language):
            options["lang"] = Language(value)
        elif name == "--days" and value.isascii() and value.isdecimal() and int(value) <= _MOST_DAYS:
            options["days"] = int(value)
        else:
            return None
    return None if rest else options
