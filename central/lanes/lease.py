"""One worker's locks in the database: its own, and those of its lanes. They are lost together, with their connection.

The server ends the connection where it is not used for :data:`LEASE_S`: of a worker that is frozen, or whose line is
cut, the locks are free by then, whatever its machine says. No clock is compared with another.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from central.store import lanes as rows
from central.store.engine import Database
from central.store.errors import StoreError, StoreLocked
from central.store.lanes import Fence, Plan

LEASE_S = 3.0
"""After this time without a word of its worker a lock is free."""
INBOX_S = 10.0
"""How long an inbox without lanes is waited for: a worker that makes the tables holds its lock for a moment, too."""
TAKE_S = 1.0
"""How long a lane's transactions of another worker are waited for, at each attempt to take the lane."""
_LOCKS = 0x6861646972 & 0x7FFFFFFF
"""As in :mod:`central.store.postgresql`; locks of lanes and workers have the numbers that follow it."""
_INBOX = 2
LANE_LOCKS, WORKER_LOCKS = _LOCKS + 1, _LOCKS + 2
"""First numbers of the advisory locks of lanes and workers; the second is that of the lane or worker."""
_DEAD_LINE = "keepalives_idle=3&keepalives_interval=1&keepalives_count=3&tcp_user_timeout=5000"
NAME = "hadir-central lanes "
"""Beginning of the name under which the server lists a worker's connections."""


class View(NamedTuple):
    """What a worker sees."""

    plan: Plan
    held: Mapping[int, int]
    """How many lanes each live worker holds, by its number."""
    free: Sequence[int]
    """Lanes that are to be held and that no worker holds."""


def new_worker() -> int:
    """Return a number for a worker, by chance: workers are counted by their locks, and are on no list."""
    return secrets.randbelow(1 << 31)


def address_of(url: str, worker: int) -> str:
    """Return the URL of a database under which the server lists a worker's connections by its number.

    A line that is dead is noticed within seconds: the worker is to connect again as soon as there is another way.
    """
    name = f"application_name={NAME.replace(' ', '%20')}{worker}"
    return f"{url}{'&' if '?' in url else '?'}{name}&{_DEAD_LINE}"


class Lease:
    """The locks of one worker; every method raises StoreError where the connection, and with it every lock, is lost."""

    def __init__(self, database: Database, worker: int) -> None:
        """Connect, and count among the workers; raises StoreLocked where an inbox without lanes runs."""
        self.worker = worker
        self._place = database.place
        self._engine = database.place.engine()
        try:
            with self._explained():
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._run(f"SET idle_session_timeout = {int(LEASE_S * 1000)}")
                self._run(f"SET lock_timeout = {int(TAKE_S * 1000)}")
                until_s = time.monotonic() + INBOX_S
                while not self._run(f"SELECT pg_try_advisory_lock_shared({_LOCKS}, {_INBOX})"):
                    if time.monotonic() >= until_s:
                        raise StoreLocked(f"{database.place}: an inbox without --lanes writes into it")  # noqa: TRY301 - closed below
                    time.sleep(0.1)
                self._run(f"SELECT pg_advisory_lock({WORKER_LOCKS}, {worker})")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release everything."""
        with suppress(SQLAlchemyError):
            self._engine.dispose()
        with suppress(SQLAlchemyError, AttributeError):
            self._connection.close()
            self._engine.dispose()

    def look(self) -> View:
        """Return how things are; to be called much more often than every :data:`LEASE_S` seconds."""
        with self._explained():
            plan = rows.plan_of(self._connection)
            wanted = rows.open_lanes(self._connection)
            locks = self._connection.execute(_HELD, {"lanes": LANE_LOCKS, "workers": WORKER_LOCKS}).all()
        if plan is None:
            raise StoreError(f"{self._place}: its lanes have been removed while this worker ran; start it again")
        workers = {pid: number for kind, number, pid in locks if kind == WORKER_LOCKS}
        taken = {number: pid for kind, number, pid in locks if kind == LANE_LOCKS}
        counts = Counter(workers[pid] for pid in taken.values() if pid in workers)
        held = {number: counts[number] for number in workers.values()}
        return View(plan, held | {self.worker: counts[self.worker]}, [one for one in wanted if one not in taken])

    def take(self, lane: int, now: datetime) -> Fence | None:
        """Take a lane; None where another worker has it, or still has something to end."""
        with self._explained():
            if not self._run(f"SELECT pg_try_advisory_lock({LANE_LOCKS}, {lane})"):
                return None
            before = rows.open_lanes(self._connection).get(lane)
            if before is None:
                self.give(lane)
                return None
            self._end_connections(before)
            try:
                return rows.take(self._connection, lane, str(self.worker), now)
            except DBAPIError as exc:
                if getattr(exc.orig, "sqlstate", None) != _LOCK_TIMEOUT:
                    raise
                self.give(lane)  # a transaction of the holder before is about to end, or is ended at the next attempt
                return None

    def give(self, lane: int) -> None:
        """Release a lane, under which nothing of this worker runs any more."""
        with self._explained():
            self._run(f"SELECT pg_advisory_unlock({LANE_LOCKS}, {lane})")

    def _end_connections(self, worker: str) -> None:
        """End the connections of a worker that has lost its locks: it may be frozen in the middle of a transaction."""
        if worker and worker != str(self.worker):
            values = {"name": f"{NAME}{worker}", "workers": WORKER_LOCKS, "worker": int(worker)}
            self._connection.execute(_END_CONNECTIONS, values)

    def _run(self, statement: str) -> object:
        result = self._connection.exec_driver_sql(statement)
        return result.scalar_one() if result.returns_rows else None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as exc:
            raise self._place.explained(exc) or StoreError(f"{self._place}: the connection is lost") from exc


def commit_waits_s(connection: Connection, worker: int) -> float:
    """Return for how many seconds a commit of a worker has waited for a synchronous standby; 0.0: none waits."""
    return float(connection.execute(_HELD_COMMIT, {"name": f"{NAME}{worker}"}).scalar_one() or 0.0)


def holders(connection: Connection) -> dict[int, int]:
    """Return who holds each lane that is held: the number of the worker."""
    locks = connection.execute(_HELD, {"lanes": LANE_LOCKS, "workers": WORKER_LOCKS}).all()
    workers = {pid: number for kind, number, pid in locks if kind == WORKER_LOCKS}
    return {number: workers[pid] for kind, number, pid in locks if kind == LANE_LOCKS and pid in workers}


_LOCK_TIMEOUT = "55P03"
_HELD = text(
    "SELECT classid::bigint, objid::bigint, pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint IN (:lanes, :workers)"
)
_HELD_COMMIT = text(
    "SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity "
    "WHERE application_name = :name AND wait_event = 'SyncRep'"
)
_END_CONNECTIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name "
    "AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint = :workers AND objid::bigint = :worker)"
)
"""A worker with its own lock lives, and has given the lane back by itself."""
