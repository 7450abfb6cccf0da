"""Outages of the database: a long-running process tries again, and logs the beginning and the end of each."""

import random
import re
import sqlite3
import time

import structlog

from central.store.errors import StoreConflict, StoreError, StoreLocked

PAUSE_S = 1.0, 30.0
"""Pause before another attempt at a database that is away: the shortest and the longest."""
_REFUSING = ("0A", "22", "23", "28", "3D", "3F", "42")
"""Classes of SQLSTATE that another attempt does not change: what is not supported, data, rights, names."""
_REFUSALS = re.compile(
    r"authentication failed|no password supplied|does not exist|no pg_hba\.conf entry|permission denied|"
    r"not permitted to log in"
)
"""The same for a connection that fails; the driver has no SQLSTATE for it."""
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)

log = structlog.get_logger("store")


def is_refusal(error: StoreError) -> bool:
    """Return whether another attempt fails alike until a person acts: another version, no rights, a wrong address.

    Where a URL names several hosts, all of them have to refuse: one that is away may come back.
    """
    if isinstance(error, StoreConflict | StoreLocked):
        return False
    cause = error.__cause__
    driver = getattr(cause, "orig", None) or cause
    if driver is None:
        return True  # found by us, such as another version
    if isinstance(driver, sqlite3.Error):
        return getattr(driver, "sqlite_errorcode", 0) & 0xFF not in _PASSING
    state = getattr(driver, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_REFUSING)
    attempts = [line for line in str(driver).splitlines() if line.startswith("- host")] or [str(driver)]
    return all(_REFUSALS.search(attempt) for attempt in attempts)


class Outage:
    """Follows whether the database can be used by a process; it logs the begin and the end of each outage."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._pause_s = PAUSE_S[0]
        self.worked = False
        """The database could be used before; else a mistake in its address is to be seen at once."""

    def wait_s(self, error: StoreError, **values: object) -> float:
        """Return how long to wait before another attempt; ``values`` are logged with the begin of the outage.

        Raises ``error`` where waiting does not help, or where the database has never worked.
        """
        if not self.worked or is_refusal(error):
            raise error
        if self._since_s is None:
            self._since_s, self._pause_s = time.monotonic(), PAUSE_S[0]
            log.warning("database_lost", reason=str(error), **values)
        pause_s = self._pause_s * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        self._pause_s = min(2 * self._pause_s, PAUSE_S[1])
        return pause_s

    def over(self) -> None:
        """Take note that the database works."""
        self.worked = True
        if self._since_s is not None:
            log.info("database_found", away_s=round(time.monotonic() - self._since_s, 1))
        self._since_s = None
