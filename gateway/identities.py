"""Properties of the device behind each serial number: MAC address, firmware, platform.

Port 4370 has no authentication: a device at the address with the serial number is read. This file allows to report that
another device answers. It is no evidence and no part of the ledger: without it, each value is stored again.
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
"""Number of stored values per kind and serial number; a stored value is not reported."""
SERIALS_MAX = 1000
FILE_BYTES = 16 * 1024**2
"""Upper bound of the size of the file."""
AGAIN_S = 3600.0
"""Minimum interval between two reports about one serial number."""

What = Literal["mac", "firmware", "platform"]


class Change(NamedTuple):
    """A new value of a known serial number."""

    what: What
    before: str
    after: str


class Identities:
    """Stores the properties of devices across restarts. Thread-safe."""

    def __init__(self, data_dir: Path | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Load the file of ``data_dir``; None: keep the values in memory only."""
        self._path = None if data_dir is None else data_dir / FILE_NAME
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._reported: dict[str, float] = {}
        self._known = self._read()

    def changes(self, serial: str, seen: Mapping[What, str | None]) -> list[Change]:
        """Store the properties of a serial number, and return those that differ from all stored values.

        Within ``AGAIN_S`` of a reported change another one is not stored, so that it is returned later if it persists.
        """
        with self._lock:
            if serial not in self._known and len(self._known) >= SERIALS_MAX:
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
        with (
            suppress(OSError),
            Folder(self._path.parent) as folder,
        ):  # on a full disk it is written with the next change
            folder.write(self._path.name, json.dumps(self._known).encode(), 0o640)
