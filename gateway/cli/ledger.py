"""Commands about the ledger's file: is it what was written, a copy of it, and back from a copy."""
# ruff: noqa: PLC0415, T201 - heavy imports stand where they are used, see the package; and a command line prints

import sys
from dataclasses import asdict

import typer

from gateway.cli.base import (
    DEFAULT_CONFIG,
    GATEWAY,
    HINTS,
    AsJson,
    Code,
    Config,
    app,
    load_settings,
    many,
    open_ledger,
    print_json,
    rich_console,
    say,
)


@app.command(rich_help_panel=GATEWAY)
def verify(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check that every event in the ledger is as it was written: chain, numbers, identities, places."""
    from rich.progress import Progress

    settings = load_settings(config)
    bar = Progress(console=rich_console(sys.stderr), transient=True, disable=not sys.stderr.isatty())
    with open_ledger(settings.data_dir) as ledger, bar:
        task = bar.add_task("events")
        verdict = ledger.verify(lambda done, of: bar.update(task, completed=done, total=of))
    breach = verdict.breach
    if as_json:
        print_json({**asdict(verdict), "ok": breach is None, "breach": breach._asdict() if breach else None})
    else:
        counts = f"{many(verdict.events)} events in {verdict.streams} stream{'s' * (verdict.streams != 1)}"
        counts += f", {many(verdict.punches)} of them punches"
        for name in ("forgotten", "lost"):
            if number := getattr(verdict, name):
                counts += f", {many(number)} {name}"
        print(f"OK: {counts}" if breach is None else f"up to the first breach: {counts}")
    if breach is not None:
        say(f"hadir: sequence {breach.sequence} of stream {breach.stream}: {breach.what}")
        for line in HINTS["altered"]:
            say(f"  {line}")
        raise typer.Exit(Code.NEGATIVE)
