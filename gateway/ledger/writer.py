"""The ledger's only writer: a queue of jobs, committed in groups by one thread. It knows no table.

All jobs that wait when a commit begins share it, so that many terminals share one fsync. Each job runs in a savepoint:
its error is raised in its caller and costs no other job. Delivery marks wait for the next commit, or for a second.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gateway.ledger import file
from gateway.ledger.delivery import DeliveryMark, write_marks
from gateway.ledger.file import LedgerError, LedgerFull
from gateway.ledger.schema import milliseconds
from gateway.ledger.space import DiskGuard
from gateway.ledger.transaction import Head, Transaction

MARKS_DELAY_S = 1.0
"""Maximum delay of writing an acknowledgement of the broker."""

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    settles: bool = False
    done: Future[Any] = field(default_factory=Future)


class Writer:
    """Runs jobs in transactions; the methods are for any thread."""

    def __init__(
        self,
        path: Path,
        engine: sqlalchemy.Engine,
        source: str,
        head: Head,
        *,
        disk_guard: DiskGuard,
        lock_file: BinaryIO,
        now: Callable[[], datetime],
        on_recorded: Callable[[], None],
    ) -> None:
        """Start the thread. ``on_recorded`` is called from it after each commit that added events."""
        self._path = path
        self._engine = engine
        self._source = source
        self._head = head
        self._disk_guard = disk_guard
        self._lock_file = lock_file
        self._now = now
        self._on_recorded = on_recorded
        self.stream = head.stream
        """The present stream, as of the last commit."""
        self.failure: BaseException | None = None
        """The exception that ended the writer or showed the file as unusable, if any."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._marks: deque[DeliveryMark] = deque()
        self._closed = False
        self._submit_lock = threading.Lock()
        self._transaction_began: float | None = None
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    @property
    def stalled_s(self) -> float:
        """For how many seconds the writer has been busy with one transaction; 0 while it waits for work."""
        began = self._transaction_began
        return 0.0 if began is None else time.monotonic() - began

    def do(self, work: Callable[[Transaction], T], *, settles: bool = False) -> T:
        """Run ``work`` in the next transaction; return its result after the commit.

        Raises LedgerFull, with nothing stored, where the disk is full. A job that ``settles`` earlier events, so that
        they can be pruned, is attempted even then.
        """
        job = _Job(work, settles)
        with self._submit_lock:  # a job queued after the stop item would never be answered
            if self._closed or self.failure is not None:
                raise LedgerError(f"{self._path}: the ledger is closed") from self.failure
            self._jobs.put(job)
        result: T = job.done.result()
        return result

    def mark(self, marks: Iterable[DeliveryMark]) -> None:
        """Write delivery marks with the next commit, or after at most a second. Returns at once."""
        self._marks.extend(marks)

    def flush_marks(self) -> None:
        """Write the marks now; on a full disk they wait."""
        with suppress(LedgerFull):
            self.do(lambda _: None)

    def close(self) -> bool:
        """Finish waiting jobs and end the thread; return whether this is the first call."""
        with self._submit_lock:
            if self._closed:
                return False
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        return True

    # Everything below runs in the writer's thread.

    def _write(self) -> None:
        jobs: list[_Job] = []
        stop = False
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA cache_size = -{file.WRITER_CACHE_KIB}")
                # A savepoint copies the pages that its job changes: into a file it costs a tenth of an import.
                connection.exec_driver_sql("PRAGMA temp_store = MEMORY")
                while not stop:
                    jobs, stop = self._take()
                    self._transaction_began = time.monotonic()
                    self._commit(connection, jobs)
                    if not stop:
                        self._disk_guard.run_step(connection, self._head.sequence, milliseconds(self._now()))
                    self._transaction_began = None
        except BaseException as exc:  # noqa: BLE001 - waiting callers must receive every error
            self.failure = file.explained(self._path, exc) if isinstance(exc, DBAPIError) else exc
            self._transaction_began = None
            self._refuse(jobs, exc)
            # The stop item may have been taken before the failure: no other follows it.
            while not stop and (following := self._jobs.get()) is not None:
                self._refuse([following], exc)

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for jobs, or until marks are due; return all queued jobs, and whether to stop."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=0.001 if self._disk_guard.busy else MARKS_DELAY_S)
            while job is not None:
                jobs.append(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        if self._disk_guard.full:
            # The remaining space is reserved for delivery marks: they settle events, which can then be pruned.
            recording = [job for job in jobs if not job.settles]
            self._refuse(recording, LedgerFull(f"{self._path}: the disk is full; make room on it"))
            jobs = [job for job in jobs if job.settles]
        # Other threads only append: as many marks as there are now can be taken without a lock.
        marks = [self._marks.popleft() for _ in range(len(self._marks))]
        if not jobs and not marks:
            return
        before = replace(self._head)
        try:
            results = self._transact(connection, jobs, marks, before.written)
        except DBAPIError as exc:
            self._head = before
            error = file.explained(self._path, exc)
            if not isinstance(error, LedgerFull):
                raise error from exc
            if connection.connection.in_transaction:
                connection.exec_driver_sql("ROLLBACK")
            self._marks.extendleft(reversed(marks))
            self._disk_guard.note_disk_full()
            self._refuse(jobs, error)
            return
        self.stream = self._head.stream
        self._disk_guard.note_written(self._head.sequence, self._head.written - before.written)
        if marks:
            self._disk_guard.note_settled(min(mark.sequence for mark in marks))
        if self._head.sequence > before.sequence:
            file.write_chain_end(self._lock_file, self._chain_end())
        # Results are returned only after the commit.
        for job, result in results:
            job.done.set_result(result)
        if self._head.sequence > before.sequence:
            self._on_recorded()

    def _transact(
        self, connection: Connection, jobs: list[_Job], marks: list[DeliveryMark], written: int
    ) -> list[tuple[_Job, Any]]:
        """Run jobs and write marks in one transaction; return the results of the successful jobs."""
        results: list[tuple[_Job, Any]] = []
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        transaction = Transaction(connection, self._source, self._head, self._now())
        write_marks(transaction, marks)
        for job in jobs:
            here = replace(self._head)
            connection.exec_driver_sql("SAVEPOINT job")
            try:
                result = job.work(transaction)
                transaction.flush()
            except DBAPIError:
                raise
            except Exception as exc:  # noqa: BLE001 - a job's error is raised in its caller only
                transaction = Transaction(connection, self._source, here, transaction.now)
                self._head = here
                connection.exec_driver_sql("ROLLBACK TO job")
                job.done.set_exception(exc)
            else:
                results.append((job, result))
            connection.exec_driver_sql("RELEASE job")
        self._disk_guard.save_size(connection, self._head.sequence, self._head.written - written)
        connection.exec_driver_sql("COMMIT")
        return results

    @staticmethod
    def _refuse(jobs: list[_Job], error: BaseException) -> None:
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(error)

    def _chain_end(self) -> file.Mark:
        head = self._head
        return file.Mark(head.sequence, head.sequence - head.base, head.digest, head.stream)
