"""The workers of all configured terminals, which come and go while the daemon runs.

A terminal whose settings change gets another worker. Nobody begins while somebody who has been told to end is still in
a conversation: it may be one with the same terminal, under this name or another.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial

from gateway.reload import Difference
from gateway.schedule import MIDNIGHT, Calendar
from gateway.settings import TerminalSettings
from gateway.worker import Worker


class Workers(Collection[Worker]):
    """Iterating sees the workers of the terminals that are configured at that moment, from whatever thread."""

    def __init__(
        self,
        hire: Callable[[TerminalSettings], Worker],
        calendar: Calendar,
        *,
        gone: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """Begin with none. ``hire`` makes a worker.

        ``gone`` gets the name of a removed terminal, once its worker has ended.
        """
        self._hire = hire
        self._calendar = calendar
        self._gone = gone
        self._lock = threading.Lock()
        self._present: tuple[Worker, ...] = ()
        self._coming: dict[Worker, Worker | None] = {}
        """Those that have not begun → the one whose work they will go on with."""
        self._leaving: list[Worker] = []
        self._removed: set[str] = set()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._present)

    def __len__(self) -> int:
        return len(self._present)

    def __contains__(self, worker: object) -> bool:
        return worker in self._present

    def change(self, difference: Difference) -> None:
        """Let workers end, and others take their place at the next :meth:`tend`; all others are not touched."""
        with self._lock:
            present = {worker.name: worker for worker in self._present}
            for name in difference.removed:
                removed = present.pop(name)
                for worker in (removed, self._coming.get(removed)):
                    if worker is not None:
                        worker.abandon_requests()
                self._dismiss(removed)
                self._removed.add(name)
                for job in _jobs(name):
                    self._calendar.drop(job)
            for entry, _ in difference.changed:
                before = present[entry.name]
                present[entry.name] = successor = self._hire(entry)
                self._coming[successor] = self._coming.get(before, before)
                if before in self._coming:
                    before.hand_over_requests(successor)
                self._dismiss(before)
            for entry in difference.added:
                present[entry.name] = worker = self._hire(entry)
                self._coming[worker] = None
                self._removed.discard(entry.name)
                night, tally = _jobs(entry.name)
                self._calendar.each_night(night, partial(self._have, entry.name, Worker.begin_night))
                self._calendar.each_night(tally, partial(self._have, entry.name, Worker.tell_tally), MIDNIGHT)
            self._present = tuple(present.values())

    def tend(self) -> bool:
        """Let those begin who may, to be called again and again; return whether anybody has come or gone."""
        with self._lock:
            self._leaving = [worker for worker in self._leaving if worker.is_alive]
            if self._leaving or not (self._coming or self._removed):
                return False
            while self._removed:
                self._gone(self._removed.pop())
            for worker, before in self._coming.items():
                if before is not None:
                    worker.follow(before)
                worker.start()
            self._coming.clear()
            return True

    def failed(self) -> tuple[str, object] | None:
        """Return the name and the reason of a worker that has failed; None while all are well."""
        with self._lock:
            for worker in (*self._present, *self._leaving):
                well = worker.is_alive or worker in self._coming or worker in self._leaving
                if worker.failure is not None or not well:
                    return f"worker {worker.name}", worker.failure or "its thread has ended"
        return None

    def stop(self, timeout_s: float) -> None:
        """Ask all to end their conversations, and give them so long together."""
        with self._lock:
            begun = [worker for worker in (*self._present, *self._leaving) if worker not in self._coming]
        for worker in begun:
            worker.stop()
        until = time.monotonic() + timeout_s
        for worker in begun:
            worker.join(max(0.0, until - time.monotonic()))
        for worker in (*self._present, *self._leaving):
            worker.abandon_requests()

    def _dismiss(self, worker: Worker) -> None:
        if worker in self._coming:
            del self._coming[worker]
            return
        worker.stop()
        self._leaving.append(worker)

    def _have(self, name: str, work: Callable[[Worker], None]) -> None:
        """Let whoever works for a terminal at that moment do something."""
        for worker in self._present:
            if worker.name == name:
                work(worker)


def _jobs(name: str) -> tuple[str, str]:
    return f"night-{name}", f"tally-{name}"
