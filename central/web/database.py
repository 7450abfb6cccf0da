"""The database as the pages use it: read in threads, written by one, and opened anew where the file is another one.

On a server people's data may be read from a standby, which the settings name, so that pages take nothing from those
who receive and judge. Sessions, and whatever a form leads to, are read from the primary and written there.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from central.store import replay
from central.store.engine import Database, StoreError, is_url

READERS = 4
"""Threads that read and render; more would only wait for each other."""
BUSY_S = 5.0
"""How long a change waits for another process that writes; an import of 100,000 rows holds the file for longer."""
WAITING = 2_000
"""Changes that may wait for the writer; further ones fail."""

CATCH_UP_S = 0.3
"""How long a page waits for a standby that lags."""
LOST_S = 10.0
"""How long a standby is left alone that could not be used."""

Change = Callable[[Connection], None]
log = structlog.get_logger("web")


class View(NamedTuple):
    """What a page reads."""

    connection: Connection
    """People's data, as of one moment."""
    own: Connection
    """Sessions; the primary's."""
    as_of: datetime | None
    """The moment, where it is a standby's; None: now."""
    aged: bool
    """It is a standby's."""


class Source:
    """The centre's database; every method raises StoreError while it cannot be used.

    A file that was replaced (restored from a backup) is another file under the same name: open connections would go on
    with the old one.
    """

    def __init__(self, address: Path | str, read_from: str | None = None) -> None:
        """Open the database; raises StoreError where that fails, or where it is of another version.

        ``read_from``: the URL of a standby of it. While that cannot be used, the primary is read, and a line logged.
        """
        self._address = address
        self._read_from = read_from
        self._standby: Database | None = None
        self._standby_lock = threading.Lock()
        self._standby_s = 0.0
        """When a standby that could not be used is looked at again."""
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None
        self._reading: Database | None = None
        self._writing: Database | None = None
        self._opened()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._drop()
            if self._standby is not None:
                self._standby.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection to the primary that sees one moment of the database and cannot write."""
        with self._opened()[0].reading() as connection:
            yield connection

    @contextmanager
    def viewing(self, after: str | None = None, *, now: bool = False) -> Iterator[View]:
        """Yield what a page reads: from the standby, where there is one that can be used.

        The primary's for a page that needs the present (``now``), and until the standby has replayed what was written
        up to a position (``after``, of :meth:`position`).
        """
        with ExitStack() as stack:
            own = stack.enter_context(self.reading())
            found = None if now or self._read_from is None else self._enter_standby(stack, own, after)
            yield View(own, own, None, aged=False) if found is None else found

    def position(self) -> str | None:
        """Return how far the primary has written, where pages read a standby."""
        if self._read_from is None:
            return None
        with self.reading() as connection:
            return replay.written(connection)

    def _enter_standby(self, stack: ExitStack, own: Connection, after: str | None) -> View | None:
        """Begin to read the standby; None where it cannot be used, or lacks what was written before ``after``."""
        try:
            database = self._standby_opened()
            if database is None:
                return None
            seen = datetime.now(UTC)
            position = replay.written(own)
            until = time.monotonic() + CATCH_UP_S
            while True:
                with database.reading() as connection:
                    found = replay.replayed(connection, position)
                    lacks = after is not None and found is not None and replay.replayed(connection, after)
                if found is None:
                    raise StoreError(f"{self._read_from}: no standby: it takes changes of its own")  # noqa: TRY301
                if found.reached or time.monotonic() >= until:
                    break
                time.sleep(CATCH_UP_S / 20)
            if lacks and not lacks.reached:
                return None
            connection = stack.enter_context(database.reading())
            return View(connection, own, seen if found.reached else found.committed, aged=True)
        except StoreError as error:
            self._lose_standby(error)
            return None

    def _standby_opened(self) -> Database | None:
        if self._standby is None and self._read_from is not None and time.monotonic() >= self._standby_s:
            if not self._standby_lock.acquire(blocking=False):
                return None  # another thread tries, which may take its time
            try:
                self._standby = Database(self._read_from, read_only=True, busy_s=BUSY_S)
                if self._standby_s:
                    log.info("replica_found", database=self._read_from)
            finally:
                self._standby_lock.release()
        return self._standby

    def _lose_standby(self, error: StoreError) -> None:
        with self._standby_lock:
            lost, self._standby = self._standby, None
            if lost is not None or not self._standby_s:
                log.warning("replica_lost", reason=str(error), hint="pages read the primary meanwhile")
            if lost is not None:
                lost.close()
            self._standby_s = time.monotonic() + LOST_S

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection within a transaction that writes."""
        with self._opened()[1].writing() as connection:
            yield connection

    def _opened(self) -> tuple[Database, Database]:
        with self._lock:
            try:
                identity = self._identify()
            except OSError as error:
                self._drop()
                raise StoreError(f"{self._address}: {error.strerror}") from error
            if identity != self._identity:
                self._drop()
            if self._reading is None or self._writing is None:
                self._reading = Database(self._address, read_only=True, busy_s=BUSY_S)
                self._writing = Database(self._address, busy_s=BUSY_S)
                self._identity = identity
            return self._reading, self._writing

    def _identify(self) -> tuple[int, int]:
        """Return what tells one file from another; a server's database stays the same one."""
        if is_url(self._address):
            return 0, 0
        found = Path(self._address).stat()
        return found.st_dev, found.st_ino

    def _drop(self) -> None:
        for database in (self._reading, self._writing):
            if database is not None:
                database.close()
        self._reading = self._writing = self._identity = None


class Writer:
    """Makes changes in the order in which they come; those that wait at the same time share one transaction.

    A transaction is durable when it ends, which takes some milliseconds however many changes it holds.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(1, "web-writer")
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, change: Change) -> None:
        """Make a change durably; raises StoreError where that fails, and nothing of this change is stored then."""
        if len(self._waiting) >= WAITING:
            raise StoreError("too many changes wait for the database")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._transact, [change for change, _ in batch])
            except Exception as error:  # noqa: BLE001 - each waiting request gets it
                await self._alone(batch, error)
            else:
                for _, done in batch:
                    _settle(done, None)

    async def _alone(self, batch: list[tuple[Change, "asyncio.Future[None]"]], error: Exception) -> None:
        """Make each change of a failed batch by itself: a bad one costs itself; a busy file fails all at once."""
        loop = asyncio.get_running_loop()
        for change, done in batch:
            failure: Exception | None = error
            if len(batch) > 1 and not isinstance(error, StoreError):
                try:
                    await loop.run_in_executor(self._thread, self._transact, [change])
                    failure = None
                except Exception as alone:  # noqa: BLE001 - as above
                    failure = alone
            _settle(done, failure)

    def _transact(self, changes: list[Change]) -> None:
        with self._source.writing() as connection:
            for change in changes:
                change(connection)

    def close(self) -> None:
        """End the thread once the changes that have begun are made."""
        self._thread.shutdown()


def _settle(done: "asyncio.Future[None]", failure: Exception | None) -> None:
    with suppress(asyncio.InvalidStateError):  # the request was given up meanwhile
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)
