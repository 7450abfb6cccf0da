"""Files that a running server reads again when they change: the office's policies and the settings of its sheets.

A file that then has a mistake is not used: the server goes on with what it read before, and says so in its log.
"""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from central.policy.office import OfficePolicies
from central.sheets.settings import Settings, load_settings

T = TypeVar("T")


class NotReadError(Exception):
    """The files as they are now cannot be used; the message says where and why."""


class Reloaded(Generic[T]):
    """A value that is read from files, as they are now or as they were before they got a mistake."""

    def __init__(self, first: T, read: Callable[[], T], state: Callable[[], Hashable]) -> None:
        """``state`` differs when the files have changed; ``read`` raises :class:`NotReadError`."""
        self.value = first
        self.version = 0
        """Another one for each value that was read."""
        self._read, self._state = read, state
        self._seen = state()
        self.problem: str | None = None
        """Why the files as they are now are not used; None where they are."""

    def refresh(self) -> bool:
        """Read again what has changed; return whether it was read, with success or not."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self.value, self.version, self.problem = self._read(), self.version + 1, None
        except Exception as error:  # noqa: BLE001 - whatever a file holds, the server goes on with what it had
            self.problem = str(error) or type(error).__name__
        return True


def policies(folder: Path | None) -> Reloaded[OfficePolicies]:
    """Return the policies of a folder. At the start one with a mistake is missing; later it keeps all as they were."""

    def read() -> OfficePolicies:
        found = OfficePolicies(folder)
        list(found)  # loads each
        if found.problems:
            raise NotReadError("; ".join(found.problems.values()))
        return found

    return Reloaded(OfficePolicies(folder), read, lambda: _states([] if folder is None else folder.glob("*.yaml")))


def sheet_settings(file: Path | None) -> Reloaded[Settings]:
    """Return the settings of a file; raises SettingsError where they cannot be used at the start."""
    return Reloaded(load_settings(file), lambda: load_settings(file), lambda: _states([] if file is None else [file]))


def _states(files: Iterable[Path]) -> tuple[tuple[str, int, int, int] | None, ...]:
    return tuple(_state(file) for file in sorted(files))


def _state(file: Path) -> tuple[str, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return file.name, found.st_ino, found.st_size, found.st_mtime_ns
