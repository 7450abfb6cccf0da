"""``hadir demo``: everything at work on this computer."""

from datetime import date, datetime, timedelta
from typing import Annotated

import typer

from gateway.cli.base import command_group
from gateway.cli.options import Lang
from gateway.cli.terminal_options import duration
from gateway.demo.replay import BEGIN, END
from gateway.demo.run import demo as run_demo
from gateway.texts import user_language

app = command_group()


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write YYYY-MM-DD.") from None


def _time(text: str) -> timedelta:
    try:
        found = datetime.strptime(text, "%H:%M")  # noqa: DTZ007 - a time of the day has no zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; write HH:MM.") from None
    time = timedelta(hours=found.hour, minutes=found.minute)
    if not BEGIN < time < END:
        raise typer.BadParameter(f"the day lasts from {_shown(BEGIN)} to {_shown(END)}.")
    return time


def _shown(time: timedelta) -> str:
    return f"{time.seconds // 3600:02}:{time.seconds // 60 % 60:02}"


@app.command()
def demo(
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", parser=duration, metavar="DURATION", help="How long the day takes, such as 20s; then it ends."
        ),
    ] = None,
    day: Annotated[
        date | None,
        typer.Option("--date", parser=_date, metavar="DATE", help="The date that is replayed; else the last weekday."),
    ] = None,
    weeks: Annotated[
        int, typer.Option(min=0, max=8, help="Weeks before it whose punches are invented, to look at a month.")
    ] = 0,
    hold: Annotated[
        timedelta | None,
        typer.Option("--hold", parser=_time, metavar="HH:MM", help="Let the day stand still then, until Ctrl-C."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No live table.")] = False,
    lang: Lang = None,
) -> None:
    """Show everything at work on this computer.

    Yesterday in an invented office is replayed: five simulated terminals, the gateway, a broker and a centre. At the
    end all must hold the same punches, and each verdict must be the one that the script of the day means. Without
    --for everything then goes on running until Ctrl-C.
    """
    raise typer.Exit(run_demo(for_s, plain=plain, language=lang or user_language(), day=day, hold=hold, weeks=weeks))
