"""What answered under each serial number: MAC address, firmware, platform.

Port 4370 proves nothing: whoever answers at the address with the serial number is read. This file lets people know that
something else answers. It is no evidence and no part of the ledger: without it, each value is learnt once more.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from drivers import safe_files
from drivers.safe_files import Folder

FILE_NAME = "identities.json"
KEPT = 8
"""Values of one kind that are known of a serial number: one that is among them is no news."""
SERIALS_MOST = 1000
FILE_BYTES = 16 * 1024**2
"""More than the file of so many serial numbers."""
AGAIN_S = 3600.0
"""A serial number that changes all the time is reported once in this time."""

What = Literal["mac", "firmware", "platform"]


class Change(NamedTuple):
    """A value that was not known of a serial number."""

    what: What
    before: str
    after: str


class Identities:
    """Remembers what answered, across restarts. For any thread."""

    def __init__(self, data_dir: Path | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read what was kept in ``data_dir``; None: remember until the process ends."""
        self._path = None if data_dir is None else data_dir / FILE_NAME
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._reported: dict[str, float] = {}
        self._known = self._read()

    def changes(self, serial: str, seen: Mapping[What, str | None]) -> list[Change]:
        """Remember what is seen of a serial number, and return what differs from all that was known of it.

        Within ``AGAIN_S`` of a change another one is not remembered, so that it is returned later if it still holds.
        """
        with self._lock:
            if serial not in self._known and len(self._known) >= SERIALS_MOST:
                return []
            kinds = self._known.setdefault(serial, {})
            news = {
                what: value for what, value in seen.items() if value is not None and value not in kinds.get(what, ())
            }
            found = [Change(what, kinds[what][-1], value) for what, value in news.items() if kinds.get(what)]
            here = self._monotonic()
            if found and here - self._reported.get(serial, -AGAIN_S) < AGAIN_S:
                return []
            if found:
                self._reported[serial] = here
            for what, value in news.items():
                kinds[what] = [*kinds.get(what, ()), value][-KEPT:]
            if news:
                self._write()
        return found

    def _read(self) -> dict[str, dict[str, list[str]]]:
        if self._path is None:
            return {}
        try:
            content = json.loads(safe_files.read(self._path, FILE_BYTES))
            return {
                str(serial): {str(what): [str(value) for value in values] for what, values in kinds.items()}
                for serial, kinds in content.items()
            }
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return {}

    def _write(self) -> None:
        if self._path is None:
            return
        with suppress(OSError), Folder(self._path.parent) as folder:  # a full disk: it is written with the next change
            folder.write(self._path.name, json.dumps(self._known).encode(), 0o640)
