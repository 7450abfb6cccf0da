"""What answered under each serial number: MAC address, firmware, platform.

Port 4370 proves nothing: whoever answers at the address with the serial number is read. This file lets people know that
something else answers. It is no evidence and no part of the ledger: without it, each value is learnt once more.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

FILE_NAME = "identities.json"
KEPT = 8
"""Values of one kind that are known of a serial number: one that is among them is no news."""
SERIALS_MOST = 1000
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
        """Remember what is seen of a serial number, and return what differs from all that was known of it."""
        found = []
        with self._lock:
            if serial not in self._known and len(self._known) >= SERIALS_MOST:
                return []
            kinds = self._known.setdefault(serial, {})
            learnt = False
            for what, value in seen.items():
                if value is None or value in kinds.get(what, ()):
                    continue
                learnt = True
                if before := kinds.get(what):
                    found.append(Change(what, before[-1], value))
                kinds[what] = [*kinds.get(what, ()), value][-KEPT:]
            if learnt:
                self._write()
            if found:
                here = self._monotonic()
                if here - self._reported.get(serial, -AGAIN_S) < AGAIN_S:
                    return []
                self._reported[serial] = here
        return found

    def _read(self) -> dict[str, dict[str, list[str]]]:
        if self._path is None:
            return {}
        try:
            content = json.loads(self._path.read_bytes())
            return {
                str(serial): {str(what): [str(value) for value in values] for what, values in kinds.items()}
                for serial, kinds in content.items()
            }
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return {}

    def _write(self) -> None:
        if self._path is None:
            return
        draft = self._path.with_suffix(".new")
        with suppress(OSError):  # a full disk: it is written with the next change
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._known, file)
            draft.replace(self._path)
