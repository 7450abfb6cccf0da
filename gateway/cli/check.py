"""``hadir check`` and ``hadir schema``: the configuration."""
# ruff: noqa: T201 - a command line prints

from pathlib import Path
from typing import Annotated

import typer

from drivers import UNUSABLE
from gateway.cli.base import command_group, print_stderr
from gateway.cli.configuration import misconfigured
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import print_fields, print_json
from gateway.settings import TerminalSettings, json_schema, load, morning
from gateway.settings_text import SettingsError

app = command_group()


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The same as --config.")] = None,
    config: Config = DEFAULT_CONFIG,
    for_run: Annotated[
        bool, typer.Option("--for-run", help="Only warn of what `hadir run` of this version still works with.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration and show every mistake with its line."""
    path = file or config
    try:
        settings = load(path, strict=not for_run)
    except SettingsError as exc:
        if as_json:
            print_json({"ok": False, "file": str(path), "errors": [p._asdict() for p in exc.problems]})
        raise misconfigured(exc) from None
    warnings = [str(unusable) for unusable in UNUSABLE] + [problem.at(path) for problem in settings.problems]
    zones = {t.name: t.timezone or settings.timezone for t in settings.terminals}
    terminals = [{"name": t.name, "driver": t.driver, "address": _place(t)} for t in settings.terminals]
    summary = {
        "site": settings.site,
        "gateway": settings.gateway,
        "timezone": settings.timezone,
        "broker": settings.mqtt.url,
        "data_dir": str(settings.data_dir),
        "terminals": terminals,
    }
    if as_json:
        for terminal in terminals:
            terminal["morning"] = morning(zones[str(terminal["name"])])
        print_json({"ok": True, "file": str(path), **summary, "warnings": warnings})
        return
    print(f"OK: {path}")
    named = [f"{t['name']} ({', '.join(filter(None, (t['driver'], t['address'])))})" for t in terminals]
    mornings = {zone: morning(zone) for zone in (settings.timezone, *zones.values())}
    in_utc = ", ".join(f"{utc} ({zone})" for zone, utc in mornings.items())
    print_fields({**summary, "terminals": f"{len(named)}: {', '.join(named)}", "07:30 there": f"is {in_utc}"})
    for line in warnings:
        print_stderr(f"warning: {line}")


def _place(terminal: TerminalSettings) -> str | None:
    """Return a terminal's address, port or path, whichever option its driver has."""
    places = (getattr(terminal, option, None) for option in ("address", "port", "path"))
    return next((str(place) for place in places if place is not None), None)


@app.command()
def schema() -> None:
    """Print the configuration's JSON Schema, for editors."""
    print_json(json_schema())
