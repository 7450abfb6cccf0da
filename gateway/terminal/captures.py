"""Files that help to find out why a terminal's answers cannot be read. They are no evidence."""

from pathlib import Path

from drivers.base import ProtocolError, UnreadableLog
from drivers.safe_files import Folder
from gateway.clock import Clock
from gateway.log import BoundLogger

CAPTURES_KEPT = 20
BODIES_KEPT = 5
"""Number of kept bodies of unreadable logs, up to 4 MiB each."""


class Captures:
    """Keeps the newest captures of all terminals; a full disk costs only the capture."""

    def __init__(self, folder: Path, terminal: str, clock: Clock, log: BoundLogger) -> None:
        self._folder = folder
        self._terminal = terminal
        self._clock = clock
        self._log = log
        self._writable = True
        """The last capture could be written."""

    def keep(self, exc: ProtocolError) -> None:
        """Keep the last bytes of a connection that broke the protocol, and the whole body of an unreadable log."""
        body = exc.body if isinstance(exc, UnreadableLog) else None
        if exc.capture is None and body is None:
            return
        stem = f"{self._clock.now():%Y%m%dT%H%M%S}-{self._terminal}"
        path = self._folder / f"{stem}.txt"
        try:
            with Folder(self._folder.parent) as data:
                data.make_folder(self._folder.name, 0o700)
                with data.folder(self._folder.name) as folder:
                    text = f"terminal {self._terminal}\nreason {exc}\n{exc.capture or ''}\n"
                    _write_private(folder, path.name, text.encode("utf-8", "backslashreplace"), CAPTURES_KEPT)
                    if body is not None:
                        _write_private(folder, f"{stem}.bin", body, BODIES_KEPT)
        except OSError as error:
            if self._writable:
                self._log.warning("capture_failed", path=str(path), reason=str(error), capture_of=str(exc))
            self._writable = False
            return
        self._writable = True
        self._log.warning("capture_kept", path=str(path), reason=str(exc))


def _write_private(folder: Folder, name: str, content: bytes, kept: int) -> None:
    """Write a file readable by the daemon's user only, atomically, and keep only the newest of its kind."""
    folder.write(name, content)
    kind = name[name.rindex(".") :]
    for old in [one for one in folder.names() if one.endswith(kind)][:-kept]:
        folder.remove(old)
