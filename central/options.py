"""Options that several commands of ``hadir-central`` have, and the clock that all of them read."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated

import typer

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


Db = Annotated[Path, typer.Option("--db", metavar="FILE", help="The centre's database.")]
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
