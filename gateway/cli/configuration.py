"""The configuration, as commands load it."""

from pathlib import Path

import typer

from gateway.cli.base import Code, Failure, print_stderr
from gateway.office import Office
from gateway.settings import Settings, SettingsError, TerminalSettings, load


def load_settings(path: Path) -> Settings:
    """Load the configuration as the daemon does; print every mistake and end the command if there is one."""
    try:
        return load(path)
    except SettingsError as exc:
        raise misconfigured(exc) from None


def office_in(path: Path) -> Office:
    """Return what `hadir status` shows of a configuration; as :func:`load_settings`."""
    return load_settings(path).office


def misconfigured(exc: SettingsError) -> Failure:
    """Print every mistake of the configuration, and return the failure that ends the command."""
    for line in exc.lines:
        print_stderr(line)
    count = len(exc.lines)
    what = f"{count} mistake{'s' if count > 1 else ''} in the configuration"
    return Failure(Code.CONFIG, what, "no_config" if exc.missing else "config")


def configured_terminal(settings: Settings, name: str) -> TerminalSettings:
    """Return a terminal's entry; BadParameter where there is none of that name."""
    for entry in settings.terminals:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in settings.terminals)
    raise typer.BadParameter(f"no terminal is named {name!r} in the configuration; there are {names}.")
