"""``hadir demo``: everything at work on this computer."""

from typing import Annotated

import typer

from gateway.cli.base import command_group
from gateway.cli.options import duration
from gateway.demo import demo as run_demo

app = command_group()


@app.command()
def demo(
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", parser=duration, metavar="DURATION", help="End after this time, such as 20s; else Ctrl-C."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No live table.")] = False,
) -> None:
    """Show everything at work on this computer.

    Four simulated terminals, the gateway, a broker and a centre; at the end all must hold the same punches.
    """
    raise typer.Exit(run_demo(for_s, plain=plain))
