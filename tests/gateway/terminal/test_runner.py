"""What runs workers: a thread of its own, or a crew that many share."""

import threading
import time
from collections.abc import Generator

from gateway.terminal.runner import Crew
from tests.broker import WAIT_S, eventually
from tests.threads import thread_failures

LONG_S = 3600.0


class Rounds:
    """Counts the turns of one worker, which pauses long, until it is stopped."""

    def __init__(self, pause_s: float = LONG_S) -> None:
        self.pause_s = pause_s
        self.turns = 0
        self.at_once = 0
        self.most_at_once = 0
        self.stopping = False
        self.threads: set[str] = set()
        self.hold: threading.Event | None = None
        """A turn lasts until it is set."""

    def run(self) -> Generator[float, None, None]:
        """Yield pauses."""
        while not self.stopping:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.threads.add(threading.current_thread().name)
            self.turns += 1
            if self.hold is not None:
                self.hold.wait(WAIT_S)
            self.at_once -= 1
            yield self.pause_s


def crew_threads() -> int:
    """Return how many threads of crews run."""
    return sum(thread.name.startswith("crew-") for thread in threading.enumerate())


def test_hundreds_of_workers_share_a_few_threads_that_end_with_them() -> None:
    """Each is resumed once for each wake, by whichever thread is free."""
    crew = Crew(threads=4)
    workers = [Rounds() for _ in range(300)]
    runners = [crew.runner() for _ in workers]
    for runner, worker in zip(runners, workers, strict=True):
        assert not runner.is_alive
        runner.start(worker.run())
    eventually(lambda: all(worker.turns == 1 for worker in workers))
    assert crew_threads() == 4
    for runner in runners:
        runner.wake()
    eventually(lambda: all(worker.turns == 2 for worker in workers))
    assert all(worker.most_at_once == 1 for worker in workers)
    for runner, worker in zip(runners, workers, strict=True):
        worker.stopping = True
        runner.wake()
    assert all(runner.join(WAIT_S) for runner in runners)
    assert not any(runner.is_alive for runner in runners)
    eventually(lambda: crew_threads() == 0)
    again = Rounds()
    runner = crew.runner()
    runner.start(again.run())
    eventually(lambda: again.turns == 1)
    again.stopping = True
    runner.wake()
    assert runner.join(WAIT_S)


def test_a_worker_that_is_woken_while_it_runs_has_another_turn() -> None:
    """What arrived while it looked is looked at too."""
    crew, worker = Crew(threads=2), Rounds()
    worker.hold = threading.Event()
    runner = crew.runner()
    runner.start(worker.run())
    eventually(lambda: worker.turns == 1)
    for _ in range(5):
        runner.wake()
    worker.hold.set()
    eventually(lambda: worker.turns == 2)
    worker.stopping = True
    runner.wake()
    assert runner.join(WAIT_S)
    assert (worker.turns, worker.most_at_once) == (2, 1)


def test_pauses_end_by_themselves() -> None:
    """Polls and attempts after a failure need no wake."""
    crew, worker = Crew(threads=1), Rounds(pause_s=0.001)
    runner = crew.runner()
    runner.start(worker.run())
    eventually(lambda: worker.turns > 10)
    worker.stopping = True
    assert runner.join(WAIT_S)


def test_one_slow_worker_leaves_the_others_their_threads() -> None:
    """A reading or a slow disk holds one thread."""
    crew, slow, other = Crew(threads=2), Rounds(), Rounds()
    slow.hold = threading.Event()
    runners = [crew.runner(), crew.runner()]
    runners[0].start(slow.run())
    runners[1].start(other.run())
    eventually(lambda: slow.turns == 1)
    for turn in range(1, 4):
        eventually(lambda turn=turn: other.turns >= turn)  # type: ignore[misc]  # a default binds the value
        runners[1].wake()
    slow.stopping = other.stopping = True
    slow.hold.set()
    for runner in runners:
        runner.wake()
        assert runner.join(WAIT_S)


def test_an_exception_of_a_worker_ends_it_and_its_thread() -> None:
    """The daemon ends with it, as with the thread of any part."""

    def fails() -> Generator[float, None, None]:
        yield 0.0
        raise RuntimeError

    crew = Crew(threads=1)
    runner = crew.runner()
    with thread_failures() as failures:
        runner.start(fails())
        assert runner.join(WAIT_S)
        eventually(lambda: crew_threads() == 0)
    assert [type(failure) for failure in failures] == [RuntimeError]
    assert not runner.is_alive


def test_a_runner_that_was_never_started_has_ended() -> None:
    """A worker may be replaced before its first turn."""
    runner = Crew().runner()
    runner.wake()
    begun = time.monotonic()
    assert runner.join(WAIT_S)
    assert time.monotonic() - begun < WAIT_S
