"""The configuration, as commands load it."""

import os
import time
from contextlib import suppress
from pathlib import Path

import typer

from drivers.safe_files import Folder
from gateway.cli.base import Code, Failure, print_stderr
from gateway.cli.checked_office import place_of, to_keep
from gateway.office import Office
from gateway.settings import Settings, TerminalSettings, load
from gateway.settings_text import SettingsError


def load_settings(path: Path) -> Settings:
    """Load the configuration as the daemon does; print every mistake and end the command if there is one."""
    try:
        return load(path)
    except SettingsError as exc:
        raise misconfigured(exc) from None


def office_in(path: Path) -> Office:
    """Return what `hadir status` shows of a configuration; as :func:`load_settings`. It is kept for the next time."""
    begun_ns = time.time_ns()
    settings = load_settings(path)
    if settings.has_own_drivers_only:  # others may look at anything when they check their options
        kept = to_keep(settings.office, settings.digest, settings.files, begun_ns)
        if kept is not None:
            with suppress(OSError, RuntimeError):
                _keep(place_of(path), kept)
    return settings.office


def _keep(place: Path, content: bytes) -> None:
    """Write a file in the user's cache; not in that of another user, as under sudo, whose links may lead anywhere."""
    ours = [folder for folder in place.parents[:2] if os.path.lexists(folder)]
    first = ours or [next(folder for folder in place.parents if folder.exists())]
    if {folder.lstat().st_uid for folder in first} == {os.geteuid()}:
        place.parent.mkdir(0o700, parents=True, exist_ok=True)
        with Folder(place.parent) as folder:
            folder.write(place.name, content)


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
