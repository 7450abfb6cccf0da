"""``hadir replay``: send events again, or publish withheld history."""
# ruff: noqa: T201 - a command line prints

import json
from datetime import date, datetime
from typing import Annotated, Any

import typer

from gateway.cli.base import command_group
from gateway.cli.configuration import configured_terminal, load_settings
from gateway.cli.daemon import wrong_usage
from gateway.cli.ledger_access import in_daemon_or_ledger
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import grouped, print_json
from gateway.clock import SystemClock
from gateway.commands import Refusal, read_replay
from gateway.commands import replay as replay_in
from gateway.ledger import Ledger
from gateway.settings import Settings
from gateway.terminal.release import release_withheld

REPLAY_S = 600.0
"""How long the daemon may search for the events to send again: a whole ledger, on a slow memory card."""

app = command_group()


@app.command()
def replay(
    config: Config = DEFAULT_CONFIG,
    sequence: Annotated[
        str | None, typer.Option("--sequence", metavar="A-B", help="From the first to the last sequence of the stream.")
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option("--day", formats=["%Y-%m-%d"], metavar="DATE", help="Records of a day, by the terminal's clock."),
    ] = None,
    terminal: Annotated[
        str | None, typer.Option("--terminal", metavar="NAME", help="Records of this terminal.")
    ] = None,
    withheld: Annotated[
        bool, typer.Option("--withheld", help="What lies before the terminal's `start` and was never published.")
    ] = False,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="The first day; else all.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="The last day; else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send events again, with the same bytes, or publish withheld history.

    Without a running gateway they go at its next start.
    """
    settings = load_settings(config)
    request: dict[str, Any] = {
        "sequence": None if sequence is None else _range(sequence),
        "day": None if day is None else day.date().isoformat(),
        "from": None if first is None else first.date().isoformat(),
        "to": None if last is None else last.date().isoformat(),
        "terminal": terminal,
        "withheld": withheld or None,
    }
    request = {key: value for key, value in request.items() if value is not None}
    if terminal is not None:
        configured_terminal(settings, terminal)
    try:
        read_replay(json.dumps(request))
        result = _replay(settings, request)
    except Refusal as exc:
        raise wrong_usage(str(exc)) from None
    if as_json:
        print_json(result)
        return
    if "released" in result:
        released = result["released"]
        print(f"{terminal}: {grouped(released)} withheld record{'' if released == 1 else 's'} released")
        return
    print(f"{grouped(result['events'])} event{'' if result['events'] == 1 else 's'} will be sent again")
    if result["forgotten"]:
        print(
            f"{grouped(result['forgotten'])} of the requested events are no longer kept; the centre is informed which"
        )


def _range(text: str) -> list[int]:
    first, hyphen, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not hyphen)):
        raise typer.BadParameter("write the first and the last sequence, such as 1150-1163.", param_hint="--sequence")
    return [int(first), int(last or first)]


def _replay(settings: Settings, request: dict[str, Any]) -> dict[str, Any]:
    """Request a replay from the running daemon, or record the request in the ledger where no daemon runs."""

    def in_ledger(ledger: Ledger) -> dict[str, Any]:
        wanted = read_replay(json.dumps(request))
        if wanted.withheld and wanted.terminal is not None:
            entry = configured_terminal(settings, wanted.terminal)
            days = wanted.days or (date.min, date.max)
            return {"released": release_withheld(ledger, entry, settings.zone(entry), SystemClock(), *days)}
        return replay_in(ledger, wanted)._asdict()

    return in_daemon_or_ledger(settings, "replay", in_ledger, refused=wrong_usage, timeout_s=REPLAY_S, **request)
