"""``hadir demo``: everything at work on this computer."""

from typing import Annotated

import typer

from gateway.cli.base import command_group
from gateway.cli.options import Lang
from gateway.cli.terminal_options import duration
from gateway.demo.run import demo as run_demo
from gateway.texts import user_language

app = command_group()


@app.command()
def demo(
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", parser=duration, metavar="DURATION", help="How long the day takes, such as 20s; then it ends."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No live table.")] = False,
    lang: Lang = None,
) -> None:
    """Show everything at work on this computer.

    Yesterday in an invented office is replayed: five simulated terminals, the gateway, a broker and a centre. At the
    end all must hold the same punches, and each verdict must be the one that the script of the day means. Without
    --for everything then goes on running until Ctrl-C.
    """
    raise typer.Exit(run_demo(for_s, plain=plain, language=lang or user_language()))
