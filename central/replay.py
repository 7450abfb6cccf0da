"""Commands of ``hadir-central`` on another clock: ``python -m central.replay CLOCK COMMAND … [-- COMMAND …]``.

For demonstrations of a day that is over. CLOCK is a file of eight bytes, a little-endian integer: the milliseconds
since 1970 (UTC) that the clock shows. It stands still until whoever writes the file moves it. Commands after a ``--``
run one after another, until one fails.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from central.cli import main

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReplayClock:
    """The clock that a file describes."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY)

    def now(self) -> datetime:
        """Return the time that it shows, aware, UTC."""
        shown_ms = int.from_bytes(os.pread(self._descriptor, 8, 0), "little", signed=True)
        return EPOCH + timedelta(milliseconds=shown_ms)


def replay(clock: Path, arguments: list[str]) -> None:
    """Run the commands; ends the process with the exit code of the first that fails.

    Each command has the clock a millisecond later than the one before: moments of entry never are the same.
    """
    shown, later = ReplayClock(clock), timedelta()
    while arguments:
        end = arguments.index("--") if "--" in arguments else len(arguments)
        command, arguments = arguments[:end], arguments[end + 1 :]
        try:
            main(command, partial(_after, shown, later))
        except SystemExit as ended:
            if ended.code:
                raise
        later += timedelta(milliseconds=1)


def _after(clock: ReplayClock, later: timedelta) -> datetime:
    return clock.now() + later


if __name__ == "__main__":
    replay(Path(sys.argv[1]), sys.argv[2:])
