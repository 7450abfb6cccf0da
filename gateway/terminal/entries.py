"""The entries of the configuration, and which of them are one terminal.

A terminal that can be reached in several ways has one entry for each driver; these share its serial number. They have
their own settings and states, and are one terminal for identity, occurrences, alarms and ``complete``.
"""

import threading
from collections.abc import Iterable

from gateway.clock import Clock
from gateway.terminal.state import Complete


class Entries:
    """What the workers of one gateway know of each other. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drivers: dict[str, str] = {}
        """Name of each configured entry → its driver."""
        self._online: dict[str, str] = {}
        """Name of each entry whose last visit succeeded → the serial number found."""
        self._complete: dict[str, Complete] = {}
        """Serial number → the newest watermark of any of its entries."""

    def add(self, name: str, driver: str) -> None:
        """Add an entry, or replace it."""
        with self._lock:
            self._drivers[name] = driver

    def remove(self, name: str) -> None:
        """Remove an entry that is no longer configured."""
        with self._lock:
            self._drivers.pop(name, None)
            self._online.pop(name, None)

    def may_share(self, name: str, others: Iterable[str]) -> bool:
        """Return whether all ``others`` are configured, each with another driver than ``name``."""
        with self._lock:
            return all(self._drivers.get(other, self._drivers.get(name)) != self._drivers.get(name) for other in others)

    def note_visit(self, name: str, serial: str | None, *, online: bool) -> None:
        """Store the result of a visit."""
        with self._lock:
            if online and serial is not None:
                self._online[name] = serial
            else:
                self._online.pop(name, None)

    def is_online_elsewhere(self, name: str, serial: str | None) -> bool:
        """Return whether the last visit of another entry with this serial number succeeded."""
        with self._lock:
            return any(other != name and found == serial for other, found in self._online.items())

    def newest(self, serial: str | None, complete: Complete | None, clock: Clock) -> Complete | None:
        """Store the watermark of an entry; return the newest one of its terminal.

        One that lies ahead of a synchronised clock was stated while the clock was ahead: it is dropped.
        """
        with self._lock:
            known = None if serial is None else self._complete.get(serial)
            if clock.synchronised():
                now = clock.now()
                complete, known = (None if one is None or one.until > now else one for one in (complete, known))
            if serial is None:
                return complete
            if known is None:
                self._complete.pop(serial, None)
            if complete is not None and (known is None or complete.until > known.until):
                known = self._complete[serial] = complete
            return known
