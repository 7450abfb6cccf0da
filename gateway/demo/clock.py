"""The time of a replayed day, shared by several processes.

A file holds eight bytes, a little-endian integer: the milliseconds since 1970 (UTC) that the clock shows. It stands
still until the one process that writes the file moves it, always forward; all others read it each time. So nothing in
the day depends on how fast a machine is. The reference centre reads the same file (central/replay.py).
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class ReplayClock:
    """The clock that a file describes, as the gateway takes one."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY)

    def now(self) -> datetime:
        """Return the time that it shows, aware, UTC."""
        return EPOCH + int.from_bytes(os.pread(self._descriptor, 8, 0), "little", signed=True) * _MILLISECOND

    def synchronised(self) -> bool:
        """Return True: the clock is the demo's only time."""
        return True

    def boottime_s(self) -> float:
        """Return seconds that pass as the clock does, so that no terminal seems to jump when the clock is moved."""
        return self.now().timestamp()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class ReplayedTime(ReplayClock):
    """The same clock with the right to move it."""

    def __init__(self, path: Path, begin: datetime) -> None:
        """Make the file, with a clock that shows ``begin``."""
        path.write_bytes(_encoded(begin))
        super().__init__(path)
        self._path = path

    def move_to(self, moment: datetime) -> None:
        """Let the clock show ``moment``; a moment that is past moves nothing."""
        if moment > self.now():
            descriptor = os.open(self._path, os.O_WRONLY)
            try:
                os.pwrite(descriptor, _encoded(moment), 0)
            finally:
                os.close(descriptor)

    def local(self, zone: ZoneInfo) -> datetime:
        """Return the wall clock's time in a zone, naive, as simulated terminals take it."""
        return self.now().astimezone(zone).replace(tzinfo=None)


def _encoded(moment: datetime) -> bytes:
    return ((moment - EPOCH) // _MILLISECOND).to_bytes(8, "little", signed=True)
