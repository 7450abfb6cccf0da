"""Options that several commands of ``hadir-central`` have, and the clock that all of them read."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from central.settings import DEFAULT, EVERY, OF, VARIABLE, load_settings
from central.texts import Language

Now = Callable[[], datetime]
"""A clock: returns the wall-clock time, aware."""


def system_now() -> datetime:
    """Return this computer's time."""
    return datetime.now(UTC)


def clock_of(context: typer.Context) -> Now:
    """Return the clock that the command line was started with; this computer's by default."""
    given: Now | None = context.obj
    return system_now if given is None else given


def settings_path(context: typer.Context) -> Path:
    """Return the file of settings: that of ``--config``, of the environment, or the usual one."""
    given: Path | None = context.find_root().params.get("config")
    return given or Path(os.environ.get(VARIABLE) or DEFAULT)


def defaults_from(path: Path, command: Any) -> Mapping[str, Any]:
    """Return what the options of a group's commands are where they are left out, as click takes it.

    The file is read when the first value of it is needed, so that a mistake in it stops no command that needs none.
    """
    settings = cache(lambda: load_settings(path))

    def values(command: Any, words: str) -> dict[str, Any]:
        if words in _OF_SETTINGS:
            return {}
        every = [key for key in EVERY if any(one.name == key and one.default in _REPLACED for one in command.params)]
        found: dict[str, Any] = {key: lambda key=key: EVERY[key](settings()) for key in every}
        found |= {key: lambda key=key: OF[words][key](settings()) for key in OF.get(words, {})}
        below = getattr(command, "commands", {})
        return found | {name: values(inner, f"{words} {name}".strip()) for name, inner in below.items()}

    return values(command, "")


_OF_SETTINGS = ("init", "check", "doctor")
"""Commands that read or write the settings themselves: a mistake in them is their result."""
_REPLACED = (None, Language.ENGLISH)
"""Defaults of options that the settings replace."""


def parse_date(text: str) -> date:
    """Return a date as an option has it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a date as YYYY-MM-DD.") from None


def _moment(text: str) -> datetime:
    """Return a moment; a date alone means its end, a time without offset is this computer's."""
    try:
        if len(text) == len("YYYY-MM-DD"):
            return datetime.combine(date.fromisoformat(text), time.max).astimezone()
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter("write a date as YYYY-MM-DD, or a moment as 2026-09-05T12:00+07:00.") from None


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 500:
        raise typer.BadParameter("write one line of text.")
    return text.strip()


Db = Annotated[
    str, typer.Option("--db", metavar="FILE", help="The centre's database: a file, or postgresql://ROLE@HOST/DATABASE.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
InLanguage = Annotated[Language, typer.Option("--lang", help="Language of the messages.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", callback=_line, help="Who decides this.")]
Paper = Annotated[str, typer.Option("--paper", metavar="TEXT", callback=_line, help="On which paper: number and date.")]
Policies = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", exists=True, file_okay=False, help="The office's own policies, by file name."),
]
On = Annotated[date | None, typer.Option("--on", metavar="DATE", parser=parse_date, help="The date; else today.")]
KnownAt = Annotated[
    datetime | None,
    typer.Option(
        "--known-at",
        metavar="MOMENT",
        parser=_moment,
        help="What was known at a moment, such as 2026-09-05T12:00+07:00; a date alone means its end.",
    ),
]
