"""The gateway's status: the messages `info`, `health` and the terminals' states, and the data of `hadir status`."""

import resource
import shutil
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.event import utc_text
from gateway.ledger import Ledger
from gateway.mqtt.publisher import Publisher
from gateway.settings import Settings
from gateway.terminal.worker import Worker
from gateway.texts import Message

VERSION = version("hadir-gateway")


class Health:
    """Collects the state of the parts."""

    def __init__(self, settings: Settings, ledger: Ledger, workers: Collection[Worker], clock: Clock) -> None:
        """``workers`` may change."""
        self._settings = settings
        self._ledger = ledger
        self._workers = workers
        self._clock = clock
        self._begun = time.monotonic()

    def introduction(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Yield topic and payload of all retained messages, with which every connection to the broker begins.

        The payload is None for terminals that are no longer configured.
        """
        yield "info", self.info()
        yield "health", self.health()
        workers = list(self._workers)
        for worker in workers:
            yield f"terminal/{worker.name}/state", worker.state.payload()
        for name in {known.name for known in self._ledger.terminals()} - {worker.name for worker in workers}:
            yield f"terminal/{name}/state", None

    def info(self) -> dict[str, Any]:
        """Return the message of ``info``."""
        settings = self._settings
        return {
            "at": self._ended_at(),  # before the sequence is read: the end at that moment, or a later one
            "version": VERSION,
            "stream": self._ledger.stream,
            "predecessor": self._ledger.streams()[-1].named_predecessor(),
            "sequence": self._ledger.assigned(),
            "timezone": settings.timezone,
            "terminals": [
                {"name": worker.name, "driver": worker.settings.driver, "timezone": worker.zone.key}
                for worker in self._workers
            ],
            "delivery": {
                "window": settings.mqtt.window,
                "batch_from": settings.delivery.batch_from,
                "batch_bytes": settings.delivery.batch_bytes,
                "confirm": settings.delivery.confirm,
            },
        }

    def _ended_at(self) -> str | None:
        """Return the moment of which ``info`` states the end of the stream.

        None where the clock is not synchronised, and while a full disk keeps punches out of the stream: they wait in
        memory, and the centre would take the silence for a quiet office.
        """
        if self._ledger.disk_state() == "none" or not self._clock.synchronised():
            return None
        return utc_text(self._clock.now())

    def health(self) -> dict[str, Any]:
        """Return the message of ``health``."""
        counts = self._ledger.counts()
        return {
            "at": utc_text(self._clock.now()),
            "uptime_s": int(time.monotonic() - self._begun),
            "backlog": counts.waiting,
            "oldest_waiting": _utc_ms(counts.oldest_waiting_ms),
            "last_sent": _utc_ms(counts.last_sent_ms),
            "last_confirmed": _utc_ms(counts.last_confirmed_ms),
            "missing": counts.missing,
            "sequence": self._ledger.assigned(),
            "disk_free_bytes": shutil.disk_usage(self._settings.data_dir).free,
            "ledger_bytes": _ledger_bytes(self._ledger.path),
            "body_bytes": self._ledger.body_bytes,
            "disk_days_left": self._ledger.days_left(),
            "room": self._ledger.disk_state(),
            "memory_bytes": _memory_bytes(),
            "clock_synchronised": self._clock.synchronised(),
            "terminals": len(self._workers),
            "terminals_online": sum(worker.state.online for worker in self._workers),
        }

    def status(self, publisher: Publisher) -> dict[str, Any]:
        """Return the centre's report of the whole gateway."""
        return {
            "version": VERSION,
            "broker": publisher.status_text,
            "broker_cause": publisher.status.cause,
            "confirm": self._settings.delivery.confirm,
            "health": self.health(),
            "terminals": {worker.name: worker.state.payload() for worker in self._workers},
        }

    def local_status(self, publisher: Publisher) -> dict[str, Any]:
        """Return the data of the control command ``status``: the report, and what texts for people are made from."""
        return {
            **self.status(publisher),
            "broker_status": publisher.status.data(),
            "reason_codes": {worker.name: worker.state.reason_code for worker in self._workers},
            "alarms": [_translatable(alarm) for alarm in publisher.alarms],
        }

    def summary(self, publisher: Publisher) -> str:
        """Return the status in one line, as `systemctl status` shows it."""
        online = sum(worker.state.online for worker in self._workers)
        return f"{online} of {len(self._workers)} terminals online; broker: {publisher.status_text}"


def _translatable(alarm: dict[str, Any]) -> dict[str, Any]:
    """Return an alarm with what is needed to translate its message."""
    message = alarm["message"]
    return {**alarm, "translatable": message.data() if isinstance(message, Message) else None}


def _utc_ms(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else utc_text(datetime.fromtimestamp(moment_ms / 1000, UTC))


def _memory_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def _ledger_bytes(path: Path) -> int:
    parts = (path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm"))
    return sum(part.stat().st_size for part in parts if part.exists())
