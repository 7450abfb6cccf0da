"""What runs a worker: a thread of its own, or a few threads that many workers share.

A worker is a generator that yields its pauses. One that waits inside a driver, for a terminal's answer or a byte on a
line, has a thread of its own. The workers of terminals that call this computer wait for nothing: hundreds of them are
resumed by the threads of a :class:`Crew` when something arrived or a pause is over.
"""

import heapq
import threading
import time
from collections.abc import Callable, Generator
from itertools import count
from typing import Protocol

CREW_THREADS = 8
"""Workers that store at the same time: the ledger commits what they store together."""

Rounds = Generator[float, None, None]
"""Yields pauses in seconds, each of which may end early."""


class Runner(Protocol):
    """Runs one worker."""

    def start(self, rounds: Rounds) -> None:
        """Run it; called once."""

    def wake(self) -> None:
        """End the present pause, or the next one if there is none. Thread-safe."""

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it has ended."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""


class OwnThread:
    """Runs one worker in a thread of its own."""

    def __init__(self, name: str, woken: threading.Event) -> None:
        """``woken`` is set to end a pause; the worker clears it."""
        self._name = name
        self._woken = woken
        self._thread: threading.Thread | None = None

    def start(self, rounds: Rounds) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(rounds,), name=self._name, daemon=True)
        self._thread.start()

    def _run(self, rounds: Rounds) -> None:
        for pause_s in rounds:
            self._woken.wait(pause_s)

    def wake(self) -> None:
        """End the present pause."""
        self._woken.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; return whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()


class Crew:
    """Threads that run many workers, each of them in one thread at a time."""

    def __init__(self, threads: int = CREW_THREADS, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """``threads`` are started with the first worker, and end with the last one."""
        self._most = threads
        self._monotonic_s = monotonic_s
        self._condition = threading.Condition()
        self._waiting: list[tuple[float, int, _Member]] = []
        """A heap of the ends of pauses; an entry that is not its member's present one is void."""
        self._order = count()
        self._alive = 0
        """Members that have not ended."""
        self._threads = 0

    def runner(self) -> Runner:
        """Return what runs one more worker."""
        return _Member(self)

    def begin(self, member: "_Member") -> None:
        """Run a member from now on."""
        with self._condition:
            self._alive += 1
            self._put(member, self._monotonic_s())
            if self._threads < min(self._most, self._alive):
                self._threads += 1
                threading.Thread(target=self._run, name=f"crew-{self._threads}", daemon=True).start()

    def resume(self, member: "_Member") -> None:
        """End the pause of a member."""
        with self._condition:
            if member.is_running:
                member.woken = True
            elif member.entry is not None:
                self._put(member, self._monotonic_s())

    def _put(self, member: "_Member", due_s: float) -> None:
        member.entry = next(self._order)
        heapq.heappush(self._waiting, (due_s, member.entry, member))
        self._condition.notify()

    def _run(self) -> None:
        try:
            while (member := self._next()) is not None:
                self._turn(member)
        finally:
            with self._condition:
                self._threads -= 1

    def _next(self) -> "_Member | None":
        """Wait for a member whose pause is over; None where no member is left."""
        with self._condition:
            while self._alive:
                while self._waiting and self._waiting[0][2].entry != self._waiting[0][1]:
                    heapq.heappop(self._waiting)
                pause_s = None
                if self._waiting:
                    due_s, _, member = self._waiting[0]
                    pause_s = due_s - self._monotonic_s()
                    if pause_s <= 0:
                        heapq.heappop(self._waiting)
                        member.entry, member.is_running, member.woken = None, True, False
                        return member
                self._condition.wait(pause_s)
            return None

    def _turn(self, member: "_Member") -> None:
        """Run a member until its next pause; an exception ends this thread, which ends the daemon."""
        pause_s: float | None = None
        try:
            pause_s = next(member.rounds)
        except StopIteration:
            pass
        finally:
            with self._condition:
                member.is_running = False
                if pause_s is None:
                    self._alive -= 1
                    member.ended.set()
                    if not self._alive:
                        self._condition.notify_all()
                else:
                    self._put(member, self._monotonic_s() + (0.0 if member.woken else pause_s))


class _Member:
    """One worker of a crew."""

    rounds: Rounds

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._started = False
        self.ended = threading.Event()
        self.entry: int | None = None
        """Number of its entry among those that wait; None while it runs, and before and after."""
        self.is_running = False
        self.woken = False

    def start(self, rounds: Rounds) -> None:
        """Run it."""
        self.rounds, self._started = rounds, True
        self._crew.begin(self)

    def wake(self) -> None:
        """End the present pause, or the next one."""
        self._crew.resume(self)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it has ended."""
        return not self._started or self.ended.wait(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._started and not self.ended.is_set()
