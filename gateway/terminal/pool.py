"""The workers of all configured terminals, which change while the daemon runs.

A terminal whose settings change gets a new worker. A worker starts only after every stopped worker has closed its
connection, because that may be a connection to the same terminal, under this name or another.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial

from gateway.reload import Difference
from gateway.schedule import MIDNIGHT, Calendar
from gateway.settings import TerminalSettings
from gateway.terminal.worker import Worker


class Workers(Collection[Worker]):
    """Iterates over the workers of the terminals configured at that moment. Thread-safe."""

    def __init__(
        self,
        create: Callable[[TerminalSettings], Worker],
        calendar: Calendar,
        *,
        on_removed: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """Begin with none. ``create`` returns a new worker.

        ``on_removed`` receives the name of a removed terminal, after its worker has ended.
        """
        self._create = create
        self._calendar = calendar
        self._on_removed = on_removed
        self._lock = threading.Lock()
        self._current: tuple[Worker, ...] = ()
        self._to_start: dict[Worker, Worker | None] = {}
        """Workers not yet started → the worker whose state each takes over."""
        self._ending: list[Worker] = []
        self._removed: set[str] = set()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._current)

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, worker: object) -> bool:
        return worker in self._current

    def change(self, difference: Difference) -> None:
        """Stop the workers of changed and removed terminals; :meth:`advance` starts the new ones."""
        with self._lock:
            current = {worker.name: worker for worker in self._current}
            for name in difference.removed:
                removed = current.pop(name)
                for worker in (removed, self._to_start.get(removed)):
                    if worker is not None:
                        worker.cancel_requests()
                self._end(removed)
                self._removed.add(name)
                for job in _jobs(name):
                    self._calendar.drop(job)
            for entry, _ in difference.changed:
                before = current[entry.name]
                current[entry.name] = successor = self._create(entry)
                self._to_start[successor] = self._to_start.get(before, before)
                if before in self._to_start:
                    before.hand_over_requests(successor)
                self._end(before)
            for entry in difference.added:
                current[entry.name] = worker = self._create(entry)
                self._to_start[worker] = None
                self._removed.discard(entry.name)
                night, tally = _jobs(entry.name)
                self._calendar.each_night(night, partial(self._call, entry.name, Worker.schedule_nightly_work))
                self._calendar.each_night(tally, partial(self._call, entry.name, Worker.publish_tally), MIDNIGHT)
            self._current = tuple(current.values())

    def advance(self) -> bool:
        """Start waiting workers once all stopped ones have ended, and drop removed ones; return whether any changed.

        To be called regularly.
        """
        with self._lock:
            self._ending = [worker for worker in self._ending if worker.is_alive]
            if self._ending or not (self._to_start or self._removed):
                return False
            while self._removed:
                self._on_removed(self._removed.pop())
            for worker, before in self._to_start.items():
                if before is not None:
                    worker.follow(before)
                worker.start()
            self._to_start.clear()
            return True

    def ended(self) -> str | None:
        """Return the name of a worker whose thread has ended without being stopped; None while all are well."""
        with self._lock:
            for worker in (*self._current, *self._ending):
                well = worker.is_alive or worker in self._to_start or worker in self._ending
                if not well:
                    return worker.name
        return None

    def stop(self, timeout_s: float) -> None:
        """Stop all workers and wait for them, ``timeout_s`` in all."""
        with self._lock:
            started = [worker for worker in (*self._current, *self._ending) if worker not in self._to_start]
        for worker in started:
            worker.stop()
        until = time.monotonic() + timeout_s
        for worker in started:
            worker.join(max(0.0, until - time.monotonic()))
        for worker in (*self._current, *self._ending):
            worker.cancel_requests()

    def _end(self, worker: Worker) -> None:
        if worker in self._to_start:
            del self._to_start[worker]
            return
        worker.stop()
        self._ending.append(worker)

    def _call(self, name: str, work: Callable[[Worker], None]) -> None:
        """Call ``work`` with the present worker of a terminal."""
        for worker in self._current:
            if worker.name == name:
                work(worker)


def _jobs(name: str) -> tuple[str, str]:
    return f"night-{name}", f"tally-{name}"
