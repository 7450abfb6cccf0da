"""An office for the tests of workers: a ledger, and terminals that are visited often and soon again."""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from drivers import DRIVERS
from drivers.base import Driver
from gateway.ledger import Ledger
from gateway.pause import Pause
from gateway.settings import Settings, TerminalSettings
from gateway.terminal.entries import Entries
from gateway.terminal.timing import PAUSES, Timing
from gateway.terminal.worker import Worker
from tests import contract
from tests.broker import WAIT_S, eventually

ZONE = ZoneInfo("Asia/Jakarta")
BRIEF = Pause(0.1, 0.3)
_TYPE = re.compile(r'"type":"hadir\.([a-z.]+)\.v1"')


class Clock:
    """The machine's clock, which a test may move and distrust."""

    def __init__(self) -> None:
        self.offset = timedelta(0)
        self.trusted = True

    def now(self) -> datetime:
        """Return the machine's time plus the offset."""
        return datetime.now(UTC) + self.offset

    def synchronised(self) -> bool:
        """Return what the test sets."""
        return self.trusted


@dataclass(kw_only=True)
class Office:
    """One ledger, and the workers that a test sends to terminals."""

    folder: Path
    ledger: Ledger
    entry: dict[str, object]
    """What the configuration states of a terminal where a test sets nothing else."""
    timing: Timing = field(default_factory=Timing)
    """Of all workers; a test may change it while they run."""
    driver: Driver | None = None
    """Speaks to the terminals in place of the configured one."""
    clock: Clock = field(default_factory=Clock)
    reports: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Topics and payloads of the terminals' states."""
    published: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    entries: Entries = field(default_factory=Entries)
    may_fail: bool = False
    """The test's driver raises what no driver may."""

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, pause: Pause = BRIEF, **parts: Any) -> Iterator[Self]:
        """Open an office whose workers wait ``pause`` after a failure; they end with the block, and none has failed."""
        timing = Timing(pauses=dict.fromkeys(PAUSES, pause), listen_slice_s=0.05, full_pause_s=0.05)
        with closing(Ledger(folder, "/hadir/office/gw")) as ledger:
            office = cls(folder=folder, ledger=ledger, timing=timing, **parts)
            yield office
            for worker in office.workers:
                worker.stop()
            for worker in office.workers:
                assert worker.join(WAIT_S)
            assert office.may_fail or "driver_failed" not in office.alarms

    def settings(self, **changes: object) -> TerminalSettings:
        """Return settings for a terminal."""
        return Settings.model_validate(
            {
                "site": "office",
                "gateway": "gw",
                "timezone": ZONE.key,
                "mqtt": {"url": "mqtt://127.0.0.1"},
                "commands": {"allow": ["set-clock"]},
                "terminals": [self.entry | changes],
            }
        ).terminals[0]

    def visit(self, **changes: object) -> Worker:
        """Start a worker."""
        worker = self.create_worker(**changes)
        worker.start()
        return worker

    def create_worker(self, **changes: object) -> Worker:
        """Return a worker that has not begun."""
        settings = self.settings(**changes)
        worker = Worker(
            settings,
            ZoneInfo(settings.timezone or ZONE.key),
            self.driver or DRIVERS[settings.driver],
            self.ledger,
            self.clock,
            captures=self.folder / "captures",
            report=lambda topic, payload: self.reports.append((topic, payload)),
            publish=lambda topic, payload: self.published.append((topic, payload)),
            alarm=lambda code, _message, _terminal: self.alarms.append(code),
            entries=self.entries,
            timing=self.timing,
            **self.worker_parts(),
        )
        self.workers.append(worker)
        return worker

    def worker_parts(self) -> dict[str, Any]:
        """Return further arguments of each worker."""
        return {}

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the ledger's events whose type contains ``kind``, each checked against the contract."""
        found = []
        for waiting in self.ledger.events(0, 100_000):
            reported = _TYPE.search(waiting.body)
            assert reported, waiting.body
            if kind in reported[1]:
                contract.check(waiting.topic, waiting.body)
                found.append(json.loads(waiting.body))
        return found

    def pins(self) -> list[str]:
        """Return the PINs of all punches, in order of sequence."""
        return [event["data"]["pin"] for event in self.events("punch.recorded")]


def polled(worker: Worker, times: int = 1) -> None:
    """Wait until the worker has finished this many further visits.

    With a poll that is longer than any test this is its first visit, which may be over already.
    """
    for _ in range(times):
        before = None if worker.settings.poll > WAIT_S else worker.state.last_visit
        eventually(lambda before=before: worker.state.last_visit != before)  # type: ignore[misc]  # a default binds the value
