"""Whether a synchronous standby has what is committed: receipts wait for it where the settings say so.

``synchronous_commit`` lets a commit wait for the standby, but only while ``synchronous_standby_names`` names one; who
empties that, as the runbook of a lost standby says, goes on without. Receipts do not: they look at the standby itself.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, text

from central.store.engine import Database

WAIT_S = 0.5
"""How long a standby that lags is waited for, at each round of receipts."""
_POLL_S = 0.02

log = structlog.get_logger("store")


class Replication(NamedTuple):
    """What a server waits for when it commits, and who follows it."""

    wanted: str
    """``synchronous_standby_names``; empty: commits wait for none."""
    synchronous: tuple[str, ...]
    """Names of the connected standbys for which a commit waits."""
    hidden: bool
    """A standby is connected whose state this role may not see."""


def replication(connection: Connection) -> Replication:
    """Return how a server replicates now."""
    rows = connection.execute(_FOLLOWERS).all()
    wanted = connection.execute(text("SELECT current_setting('synchronous_standby_names')")).scalar_one()
    synchronous = sorted(name for name, state in rows if state in ("sync", "quorum"))
    return Replication(str(wanted).strip(), tuple(synchronous), any(state is None for _, state in rows))


class Standby:
    """The synchronous standby of a database."""

    def __init__(self, database: Database, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic_s = monotonic_s
        self._missing = False

    def has_everything(self) -> bool:
        """Return whether a synchronous standby has on its disk whatever was committed before; raises StoreError."""
        with self._database.reading() as connection:
            written = connection.execute(_WRITTEN).scalar_one()
        until = self._monotonic_s() + WAIT_S
        while True:
            with self._database.reading() as connection:
                held, names, standbys = connection.execute(_HELD, {"written": written}).one()
            if held or self._monotonic_s() >= until:
                break
            time.sleep(_POLL_S)
        if not held and not self._missing:
            reason = "no standby is connected"
            if standbys:
                reason = "none is synchronous, or it lags, or the role lacks pg_monitor"
            log.error("standby_missing", reason=reason, synchronous_standby_names=names)
        elif held and self._missing:
            log.info("standby_found")
        self._missing = not held
        return bool(held)


_FOLLOWERS = text("SELECT application_name, sync_state FROM pg_stat_replication")
_WRITTEN = text("SELECT CAST(pg_current_wal_lsn() AS text)")
_HELD = text(
    "SELECT coalesce(bool_or(sync_state IN ('sync', 'quorum') AND flush_lsn >= CAST(:written AS pg_lsn)), false), "
    "current_setting('synchronous_standby_names'), count(*) FROM pg_stat_replication"
)
