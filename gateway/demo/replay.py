"""The day itself: the clock is moved from one punch to the next, a terminal is cut off and found again.

Time passes only between visits: a visit compares two clocks, and must not find them on both sides of a move. So the
gateway polls by itself once a day, every visit is requested here, and the clock waits until it has ended.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from drivers.push import simulator as push
from drivers.zkteco.simulator import SimulatedTerminal
from gateway.control import Done, ask
from gateway.demo.clock import ReplayedTime
from gateway.demo.office import ZONE, Office, Terminals
from gateway.demo.script import Part
from gateway.demo.subscriber import Subscriber
from gateway.demo.totals import Progress
from gateway.texts import Message, _

BEGIN, END = timedelta(hours=5, minutes=40), timedelta(hours=18, minutes=15)
"""Of the day: all windows of the office lie between them."""
CUT_OFF = "gudang"
"""The terminal whose cable is pulled."""
PULLED, PLUGGED = timedelta(hours=7, minutes=5), timedelta(hours=10, minutes=20)
LOOKED_AT = timedelta(hours=10, minutes=5)
"""When the windows of the arrival have ended and that terminal is still away."""
PAPERS = timedelta(hours=17)
"""When an official enters the papers of the evening."""
VISIT_EVERY = timedelta(minutes=15)
LONG_S = 3600.0
"""Longer than any visit."""


Settle = Callable[[Callable[[], Progress]], object]
"""Waits until nothing is missing of what is measured; raises where that is in vain."""


class Scene(NamedTuple):
    """Something that happens at a moment of the day, local time."""

    moment: datetime
    act: Callable[[], None]


@dataclass(frozen=True)
class _Visits:
    """Visits that were requested."""

    unfinished: tuple[str, ...]
    arrived: int
    """Punches at the subscriber."""

    @property
    def waiting(self) -> Message | None:
        """Which visits have not ended."""
        if not self.unfinished:
            return None
        return Message(_("the gateway's visits to {terminals}"), terminals=", ".join(self.unfinished))


@dataclass(frozen=True)
class _Held:
    """Verdicts that must be provisional, because a punch may be in a terminal that cannot be read."""

    final: int
    received: int
    """Verdicts at the subscriber."""

    @property
    def waiting(self) -> Message | None:
        """How many are not provisional yet."""
        if not self.final:
            return None
        text = _("the centre to keep {count} more verdicts provisional while {terminal} is away")
        return Message(text, count=self.final, terminal=CUT_OFF)


@dataclass(frozen=True)
class _Reached:
    """Whether the gateway says of itself what it should."""

    waiting: Message | None


class Replay:
    """Plays the day."""

    def __init__(
        self,
        office: Office,
        terminals: Terminals,
        clock: ReplayedTime,
        data_dir: Path,
        subscriber: Subscriber,
        settle: Settle,
        totals: Callable[[], Progress],
        enter_late: Callable[[], None],
        hold: tuple[timedelta, Callable[[], None]] | None = None,
    ) -> None:
        """``totals`` counts punches and receipts, ``enter_late`` enters the papers of the evening.

        ``hold``: a time of the day, and what is done then before the day goes on.
        """
        self._terminals = terminals
        self._clock = clock
        self._data_dir = data_dir
        self._subscriber = subscriber
        self._settle = settle
        self._totals = totals
        self._pins = office.pins
        self._away: set[str] = set()
        midnight = datetime(office.day.year, office.day.month, office.day.day, tzinfo=ZONE)
        self._begin, self._end = midnight + BEGIN, midnight + END
        self._visited = self._begin
        self._unread = [
            part for part in office.script if part.terminal == CUT_OFF and not _before(part.arrives, midnight + PULLED)
        ]
        scenes = [
            Scene(midnight + PULLED, self._pull),
            Scene(midnight + LOOKED_AT, self._look),
            Scene(midnight + PLUGGED, self._plug),
            Scene(midnight + PAPERS, enter_late),
            *(scene for part in office.script for scene in self._punches(part)),
        ]
        if hold is not None:
            scenes.append(Scene(midnight + hold[0], hold[1]))
        self.scenes = sorted(scenes, key=lambda scene: scene.moment)

    def _punches(self, part: Part) -> list[Scene]:
        moments = ((part.arrives, 0), (part.leaves, 1))
        return [
            Scene(moment.replace(tzinfo=ZONE), lambda state=state: self._punch(part, state))  # type: ignore[misc]
            for moment, state in moments
            if moment is not None and moment.replace(tzinfo=ZONE) > self._begin
        ]

    def play(self, pause: Callable[[], None]) -> None:
        """Play the day from its begin to its end; ``pause`` comes before each scene.

        It begins when the centre has what the terminals held before, so that its verdicts follow the punches.
        """
        self._settle(self._running)
        self._visit()
        self._settle(self._totals)
        for scene in self.scenes:
            pause()
            self._move_to(scene.moment)
            scene.act()
        self._move_to(self._end)
        # As at night: the count of an Anviz, which does not report its capacity, is no proof that its log is read.
        self._visit("reconcile")

    def _move_to(self, moment: datetime) -> None:
        """Move the clock; on the way the terminals are visited every ``VISIT_EVERY``, where time is not left out."""
        self._clock.move_to(moment)
        if moment - self._visited >= VISIT_EVERY:
            self._visit()

    def _punch(self, part: Part, state: int) -> None:
        terminal = self._terminals[part.terminal]
        pin, shown = self._pins[part.person], terminal.clock()
        self._subscriber.fingers[part.terminal, pin, shown.isoformat()] = time.monotonic()
        terminal.punch(pin, state, 1, shown)
        if isinstance(terminal, push.SimulatedTerminal):
            # Its clock is estimated from the delay of its calls, in which the day must not pass.
            self._settle(lambda: _delivered(part.terminal, terminal))

    def _pull(self) -> None:
        terminal = self._terminals[CUT_OFF]
        assert isinstance(terminal, SimulatedTerminal)  # noqa: S101 - one of the network
        self._away.add(CUT_OFF)
        terminal.faults.switch_on("hang-up")
        terminal.restart()
        self._settle(self._lost)

    def _look(self) -> None:
        """Wait until everybody whose punch may be in the terminal that is away is provisionally missing."""
        self._settle(self._held)

    def _held(self) -> _Held:
        days = self._subscriber.days
        held = [one for part in self._unread if (one := days.get(part.key)) is not None and one.verdict.provisional]
        return _Held(len(self._unread) - len(held), self._subscriber.received)

    def _plug(self) -> None:
        terminal = self._terminals[CUT_OFF]
        assert isinstance(terminal, SimulatedTerminal)  # noqa: S101 - as above
        terminal.faults.switch_off("hang-up")
        self._away.discard(CUT_OFF)
        self._visit()

    def _running(self) -> _Reached:
        running = _answer(self._data_dir, "status") is not None
        return _Reached(None if running else Message(_("the gateway to start")))

    def _lost(self) -> _Reached:
        status = _answer(self._data_dir, "status")
        lost = status is not None and status["terminals"][CUT_OFF]["state"] == "offline"
        return _Reached(None if lost else Message(_("the gateway to notice that {terminal} is away"), terminal=CUT_OFF))

    def _visit(self, kind: str = "visit") -> None:
        """Let the gateway visit every terminal that it can reach, and wait until it has; ``reconcile``: whole logs."""
        requested = {name: _visit(self._data_dir, name, kind) for name in self._terminals if name not in self._away}

        def measure() -> _Visits:
            for name, visit in requested.items():
                if visit.done() and not visit.result():  # the gateway was not ready for it
                    requested[name] = _visit(self._data_dir, name, kind)
            unfinished = tuple(name for name, visit in requested.items() if not (visit.done() and visit.result()))
            return _Visits(unfinished, len(self._subscriber.ids))

        self._settle(measure)
        self._visited = self._clock.now()


def _delivered(name: str, terminal: push.SimulatedTerminal) -> _Reached:
    """Whether the gateway has acknowledged all punches of a terminal that calls."""
    delivered = len(terminal.acknowledged) == terminal.count
    return _Reached(None if delivered else Message(_("{terminal} to deliver its punches"), terminal=name))


def _before(moment: datetime | None, limit: datetime) -> bool:
    return moment is not None and moment.replace(tzinfo=ZONE) < limit


def _visit(data_dir: Path, name: str, kind: str) -> Future[bool]:
    """Request a visit of a terminal; return what will say whether it ended well."""
    done: Future[bool] = Future()

    def request() -> None:
        answer = _answer(data_dir, kind, timeout_s=LONG_S + 60.0, terminal=name, wait_s=LONG_S)
        done.set_result(answer is not None and bool(answer["finished"]))

    Thread(target=request, name=f"visit-{name}", daemon=True).start()
    return done


def _answer(data_dir: Path, command: str, *, timeout_s: float = 10.0, **arguments: object) -> dict[str, Any] | None:
    """Return the gateway's answer; None where it has none yet."""
    answer = ask(data_dir, command, timeout_s=timeout_s, **arguments)
    return answer.data if isinstance(answer, Done) else None
