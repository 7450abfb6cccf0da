"""Parts of pages that several viewers have alike, kept while the database is what it was."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

MOST = 128
"""Parts that are kept; the one used longest ago is dropped first."""


class Fragments:
    """Keeps what was made under a key at a stamp; each is made once, however many want it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, threading.Lock, list[Any]]] = OrderedDict()

    def get(self, key: Hashable, stamp: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made under a key at this stamp, or make it; others who want it wait for that."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != stamp:
                kept = self._kept[key] = (stamp, threading.Lock(), [])
            self._kept.move_to_end(key)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        _, lock, made = kept
        with lock:
            if not made:
                made.append(make())
            return made[0]
