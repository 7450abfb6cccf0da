"""Serves one terminal continuously: its thread, the requests for it, and what a replacing worker takes over."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from drivers.base import CallerPort, Driver
from gateway.clock import Clock
from gateway.identities import Identities
from gateway.ledger import Ledger
from gateway.pending import PendingWrites
from gateway.settings import TerminalSettings
from gateway.terminal.context import TerminalContext
from gateway.terminal.entries import Entries
from gateway.terminal.release import release_withheld
from gateway.terminal.runner import Crew, OwnThread, Runner
from gateway.terminal.state import TerminalState
from gateway.terminal.tally import tally
from gateway.terminal.timing import Timing
from gateway.terminal.visit import Visits
from gateway.terminal.visit_requests import VisitRequests


class Worker:
    """Reads one terminal continuously, until :meth:`stop`.

    It runs in a thread of its own where it waits for a terminal's answers, and with others in the threads of a crew
    where the terminal calls: :mod:`gateway.terminal.runner`.
    """

    # Longer than 60 lines: half of them are the parameters, and the record of them for the parts of the worker.
    def __init__(
        self,
        settings: TerminalSettings,
        zone: ZoneInfo,
        driver: Driver,
        ledger: Ledger,
        clock: Clock,
        *,
        captures: Path,
        report: Callable[[str, dict[str, Any]], None] = lambda _topic, _payload: None,
        publish: Callable[[str, dict[str, Any]], None] = lambda _topic, _payload: None,
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
        pending: PendingWrites | None = None,
        identities: Identities | None = None,
        entries: Entries | None = None,
        timing: Timing | None = None,
        crew: Crew | None = None,
        port: Callable[[TerminalSettings, ZoneInfo, Callable[[], None]], CallerPort] | None = None,
    ) -> None:
        """``report`` receives the terminal's state when it changes, ``publish`` tallies, ``alarm`` alarms.

        For a terminal that calls, ``crew`` runs the worker, and ``port`` returns its way to the receiver; the function
        that it is given wakes the worker.

        Messages for ``report`` describe the present and are to be retained; tallies are not.
        ``pending``, ``identities`` and ``entries`` are the gateway's; None: the worker has its own.
        """
        self.name = settings.name
        self._publish = publish
        self._context = TerminalContext(
            settings=settings,
            zone=zone,
            driver=driver,
            ledger=ledger,
            clock=clock,
            pending=pending or PendingWrites(ledger, now=clock.now, alarm=alarm),
            identities=identities or Identities(None),
            entries=entries or Entries(),
            timing=timing or Timing(),
            state=TerminalState(since=clock.now()),
            report=report,
            raise_alarm=alarm,
        )
        self._context.entries.add(self.name, settings.driver)
        self._stopping = threading.Event()
        self._due = threading.Event()
        """A poll is requested."""
        self._requests = VisitRequests()
        self._runner: Runner = OwnThread(f"worker-{settings.name}", self._due)
        receiver: CallerPort | None = None
        if driver.attach is not None:
            if crew is None or port is None:
                raise ValueError(f"the driver {driver.name} needs a crew and a port")
            self._runner = crew.runner()
            receiver = port(settings, zone, self._runner.wake)
        self._visits = Visits(
            self._context,
            self._requests,
            due=self._due,
            stopping=self._stopping,
            captures=captures,
            port=receiver,
            publish_tally=self.publish_tally,
        )

    @property
    def settings(self) -> TerminalSettings:
        """The terminal's entry in the configuration."""
        return self._context.settings

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock."""
        return self._context.zone

    @property
    def state(self) -> TerminalState:
        """The terminal's present state."""
        return self._context.state

    # Called by other threads.

    def follow(self, before: "Worker") -> None:
        """Take over the state of an ended worker of the same terminal; called before :meth:`start`.

        Due work stays due. Where the driver is the same, an outage continues and the terminal's state is kept.
        """
        same_driver = self.settings.driver == before.settings.driver
        before.hand_over_requests(self)
        self._visits.follow(before._visits, same_driver=same_driver)  # noqa: SLF001 - same class
        if same_driver:
            self._context.state = before.state

    def start(self) -> None:
        """Start the thread."""
        self._visits.begin(self._context.ledger.terminal(self.name))
        self._runner.start(self._visits.rounds())

    def _wake(self) -> None:
        self._due.set()
        self._runner.wake()

    def stop(self) -> None:
        """Request the end; the connection is closed properly if the terminal responds."""
        self._stopping.set()
        self._wake()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it has ended."""
        return self._runner.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._runner.is_alive

    def request(self, *, full: bool = False) -> Future[dict[str, Any] | None]:
        """Request a visit now; ``full`` for one that reads the whole log, whenever that was done last.

        Returns what will hold, after the visit, the reconciliation that the full reading ended with, or VisitPostponed
        where it could not be read yet. A visit that fails leaves the request to the next one, and so does a worker
        that is replaced; it is cancelled where the terminal is no longer visited.
        """
        done = self._requests.put(full=full)
        self._wake()
        return done

    def hand_over_requests(self, successor: "Worker") -> None:
        """Transfer waiting and future requests to another worker."""
        self._requests.hand_over(successor._requests)  # noqa: SLF001 - same class

    def cancel_requests(self) -> None:
        """Cancel waiting and future requests: the terminal is no longer visited."""
        self._context.entries.remove(self.name)
        self._requests.close()

    def request_set_clock(self) -> bool:
        """Request that a wrong clock is set at the next quiet moment of two hours; False if it cannot be set."""
        accepted = self._visits.clock_check.request()
        if accepted:
            self._wake()
        return accepted

    def schedule_nightly_work(self) -> None:
        """Make the nightly work due: reading the whole log, and setting the clock where it is configured."""
        self._visits.plan.full_due = True
        if self.settings.clock.set == "nightly":
            self._visits.clock_check.schedule()
        self._wake()

    def release(self, first: date, last: date) -> int:
        """Publish the withheld records of the days from ``first`` to ``last``; return their number.

        The dates at the ends of the calendar mean no bound.
        """
        context = self._context
        return release_withheld(context.ledger, self.settings, self.zone, context.clock, first, last)

    def publish_tally(self) -> None:
        """Publish the delivery counts of the last days and the result of the last full reading."""
        context = self._context
        payload = tally(self.name, context.ledger, context.clock.now(), self.zone, self.state.reconciliation)
        self._publish(f"tally/{self.name}", payload)

    def publish_state(self) -> None:
        """Publish the terminal's state."""
        self._context.publish_state()
