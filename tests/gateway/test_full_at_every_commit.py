"""A day over a disk that is full at one of its commits: each punch, note and mark is right afterwards."""

import json
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import (
    ClockReading,
    Delivery,
    Driver,
    DriverOptions,
    RawPunch,
    TerminalInfo,
    TerminalRefused,
    TerminalUnavailable,
)
from gateway.ledger import Ledger
from gateway.pending import PendingWrites
from gateway.settings import Settings
from gateway.terminal.clock_check import ClockCheck
from gateway.terminal.timing import Timing
from gateway.terminal.worker import Worker
from tests.gateway.full_disk import FullDisk, impatient
from tests.gateway.office import ZONE, Clock
from tests.gateway.scripted import Script, history, record

MORNING = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
WIDTHS = (1, 4, None)
"""For how many commits the disk is full; None: until the day is over."""


@dataclass
class LineScript:
    """A terminal without a log, and what it sends next."""

    output: queue.SimpleQueue[RawPunch] = field(default_factory=queue.SimpleQueue)

    @contextmanager
    def connect(self, _options: object) -> Iterator["LineScript"]:
        """Open the line; it is lost when everything has been sent."""
        yield self

    def serial(self) -> str:
        """Return the serial number."""
        return "LINE-1"

    def identify(self) -> TerminalInfo:
        """Return who it is."""
        return TerminalInfo("LINE-1", None, None)

    def read_clock(self) -> ClockReading | None:
        """Return None: it has none."""
        return None

    def deliveries(self, _timeout_s: float) -> Generator[Delivery, None, None]:
        """Say what there is, then lose the line: the visit is over."""
        while not self.output.empty():
            with Delivery((self.output.get(),), "serial") as delivery:
                yield delivery
        raise TerminalUnavailable("nothing more is sent")


class Day:
    """Two terminals, and what happens to them, one visit after the other."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, "/hadir/office/gw")
        self.script, self.line = Script(settable=True), LineScript()
        self.alarms: list[str] = []
        self.pending = PendingWrites(self.ledger)
        self.lobby = self.worker("lobby", self.script.driver(), live=False)
        self.gate = self.worker("gate", Driver("scripted", DriverOptions, self.line.connect))
        # The first contact with both: before it, nothing of them can be stored.
        self.script.log = history(20, MORNING)
        self.visit()
        self.disk = FullDisk(self.ledger)

    def worker(self, name: str, driver: Driver, **changes: object) -> Worker:
        """Return a worker that is called and not started: each step is over when the call returns."""
        entry = {"name": name, "driver": "zkteco", "address": "127.0.0.1", "poll": "1s", **changes}
        settings = Settings.model_validate(
            {
                "site": "office",
                "gateway": "gw",
                "timezone": ZONE.key,
                "mqtt": {"url": "mqtt://127.0.0.1"},
                "commands": {"allow": ["set-clock"]},
                "terminals": [entry],
            }
        ).terminals[0]
        return Worker(
            settings,
            ZONE,
            driver,
            self.ledger,
            Clock(),
            captures=self.ledger.path.parent / "captures",
            alarm=lambda code, _message, _terminal: self.alarms.append(code),
            pending=self.pending,
            timing=Timing(full_pause_s=0.0, listen_slice_s=0.01),
        )

    def visit(self) -> None:
        """Visit both."""
        deque(self.lobby._visits._run_visit(), maxlen=0)
        deque(self.gate._visits._run_visit(), maxlen=0)

    def punches(self, *pins: int) -> None:
        """Let people punch at both terminals."""
        for pin in pins:
            self.script.log.append(record(pin, self.script.now()))
            self.line.output.put(record(pin, MORNING + timedelta(minutes=pin)))

    def live(self) -> None:
        """Let the day pass."""
        for step in self.steps():
            step()
            self.visit()

    def steps(self) -> tuple[Callable[[], object], ...]:
        """Return what happens, each before a visit."""
        return (
            lambda: self.punches(2001, 2002),
            lambda: self.punches(2003, 2003),
            self.jump,
            lambda: self.punches(2005),
            self.refuse,
            lambda: self.punches(2006),
            self.serve,
            lambda: self.punches(2007),
            self.want_clock_set,
            lambda: None,
            lambda: self.punches(2008),
            self.schedule_nightly_work,
        )

    def jump(self) -> None:
        """Let the clock jump behind a punch."""
        self.punches(2004)
        self.script.off = timedelta(minutes=-5)

    def refuse(self) -> None:
        """Let the terminal refuse."""
        self.script.silence = TerminalRefused("wrong communication key")

    def serve(self) -> None:
        """Let it serve again."""
        self.script.silence = None

    def want_clock_set(self) -> None:
        """Ask for the clock to be set."""
        self.lobby.request_set_clock()

    def schedule_nightly_work(self) -> None:
        """Read the whole log."""
        self.lobby.schedule_nightly_work()

    def reported(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Return what the ledger holds: punches of the log, punches of the line, notes of each terminal in order."""
        log, line, notes = [], [], []
        for event in self.ledger.events(0, 10_000):
            body = json.loads(event.body)
            data = body["data"]
            if "punch.recorded" not in body["type"]:
                about = [data.get(name) for name in ("what", "cause", "reason")]
                notes.append((body["subject"], body["type"], *about))
            elif body["subject"] == "lobby":
                log.append((data["pin"], data["occurrence"]))
            else:
                line.append((data["pin"], data["local_time"], data["occurrence"]))
        return log, line, [[note for note in notes if note[0] == name] for name in ("lobby", "gate")]

    def suspicions(self) -> dict[str, list[str]]:
        """Return what is doubted of each punch of the log, by its PIN."""
        bodies = [json.loads(event.body) for event in self.ledger.events(0, 10_000)]
        return {
            body["data"]["pin"]: body["data"]["suspect"]
            for body in bodies
            if body["subject"] == "lobby" and "punch.recorded" in body["type"]
        }


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no burst of people decide when something is read or set, and lost lines be no news."""
    monkeypatch.setattr(ClockCheck, "_is_near_burst", lambda _self, _clock: False)


def passed(folder: Path, at: int | None, width: int | None) -> tuple[Day, int]:
    """Let a day pass over a disk that is full from commit ``at`` on; return it, and how many commits it took."""
    day = Day(folder)
    if at is not None:
        day.disk.fill(at, width)
    day.live()
    commits = day.disk.commits
    day.disk.empty()
    until = time.monotonic() + 60
    while day.ledger.disk_state() != "all":
        assert time.monotonic() < until
        time.sleep(0.01)
    for _ in range(3):
        day.visit()
    day.pending.flush()
    return day, commits


@pytest.mark.timeout(900)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_disk_that_is_full_at_any_commit_of_a_day(tmp_path: Path, width: int | None) -> None:
    """What the ledger holds in the end is what it holds of a day with room, and no alarm was lost."""
    with impatient():
        usual, commits = passed(tmp_path / "usual", None, None)
        log, line, notes = usual.reported()
        with closing(usual.ledger):
            assert len(line) == 9
            assert "step" in usual.suspicions()["2004"]
            assert {"hadir.clock.stepped.v1", "hadir.clock.set.v1", "hadir.terminal.lost.v1"} <= {
                note[1] for note in notes[0]
            }
        assert commits > 15
        for at in range(1, commits + 1):
            day, _ = passed(tmp_path / f"full-{at}", at, width)
            with closing(day.ledger):
                assert day.disk.refused > 0, at
                found = day.reported()
                assert sorted(found[0]) == sorted(log), at
                assert found[1] == line, at
                # A terminal is found by the first visit that goes well, which may be the one that sets its clock.
                assert [sorted(one, key=str) for one in found[2]] == [sorted(one, key=str) for one in notes], at
                assert "step" in day.suspicions()["2004"], at
                assert sorted(set(day.alarms)) == sorted(set(usual.alarms)), at
                assert day.ledger.verify().breach is None
                assert day.lobby.state.online
                assert day.pending.waiting() == 0
