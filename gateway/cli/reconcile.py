"""``hadir reconcile``: compare a terminal's whole log with the ledger."""
# ruff: noqa: T201 - a command line prints

from typing import Annotated

import typer

from gateway.cli.base import command_group
from gateway.cli.configuration import configured_terminal, load_settings
from gateway.cli.daemon import data_from_daemon, not_running
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import grouped, print_json
from gateway.cli.terminal_options import duration
from gateway.control import TIMEOUT_S

RECONCILE_WAIT_S = 60.0

app = command_group()


@app.command()
def reconcile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The terminal, by its name in the configuration.")],
    config: Config = DEFAULT_CONFIG,
    wait: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="DURATION", help="How long to wait for the end of it; 60s by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have the running gateway read a terminal's whole log now, and compare it with the ledger."""
    settings = load_settings(config)
    terminal = configured_terminal(settings, name)
    wait_s = RECONCILE_WAIT_S if wait is None else wait
    answer = data_from_daemon(
        settings.data_dir, "reconcile", terminal=terminal.name, wait_s=wait_s, timeout_s=wait_s + TIMEOUT_S
    )
    if answer is None:
        raise not_running(settings.data_dir)
    if as_json:
        print_json(answer)
        return
    if answer.get("postponed"):
        print(f"{name}: postponed: {answer['postponed']}")
        return
    result, state = answer["reconciliation"], answer["state"]
    if result is None:
        print(f"{name}: requested; {state['reason'] or 'it takes longer than that'}; see `hadir status`")
        return
    counts = ", ".join(
        f"{grouped(result[key])} {key}" for key in ("new", "missed", "invented", "reordered", "unconfirmed")
    )
    print(f"{name}: {grouped(result['records'])} records: {counts}")
