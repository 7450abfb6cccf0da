"""The state of a centre for Prometheus: ``/metrics`` on a loopback address of its own, beside the pages.

Labels are reasons, kinds, tasks, and names of standbys and late terminals, each bounded: never a person, a PIN or a
NIP. A figure that is not known has no sample, but its name is there.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from sqlalchemy import Connection

from central.operation.tasks import TASKS, Ended
from central.store.condition import Condition, Taken, read_condition
from central.store.engine import StoreError

PREFIX = "hadir_central_"
KEPT_S = 10.0
"""What was read is served for so long: several readers cost the database as much as one."""

log = structlog.get_logger("metrics")


class Metrics:
    """A collector of ``prometheus_client``; it reads the database when it is read itself. Safe for threads."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[Connection]],
        tasks: Callable[[], dict[str, Ended]],
        version: str,
        now: Callable[[], datetime],
        folder: Path,
    ) -> None:
        """Take what it reads: ``reading`` raises StoreError, ``tasks`` are the last ends, ``folder`` is the data's."""
        self._reading, self._tasks, self._version, self._now = reading, tasks, version, now
        self._folder = folder
        self._lock = threading.Lock()
        self._taken = Taken()
        self._found: Condition | None = None
        self._read_s = float("-inf")
        self._failed = False

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; where the database cannot be read only those that need none have samples."""
        with self._lock:
            if time.monotonic() - self._read_s >= KEPT_S:
                self._found = self._read()
                self._read_s = time.monotonic()
            found, taken = self._found, dict(self._taken.counts)
        yield InfoMetricFamily(f"{PREFIX}build", "Version of hadir-central.", {"version": self._version})
        yield _gauge("database_readable", "1 while the database can be read.", int(found is not None))
        yield _gauge("disk_free_bytes", "Free on the disk of the data.", self._free())
        yield from _of_database(found, taken)
        yield from _of_tasks(self._tasks())

    def _free(self) -> int | None:
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return None

    def _read(self) -> Condition | None:
        try:
            with self._reading() as connection:
                self._taken.update(connection)
                found = read_condition(connection, self._now().astimezone())
        except StoreError as error:
            if not self._failed:
                log.error("database_not_usable", reason=str(error))  # noqa: TRY400 - the reason says it
            self._failed = True
            return None
        self._failed = False
        return found


def serve_metrics(collector: Metrics, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answer at an address, in threads that end with the process; return the port and what ends it. Raises OSError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    server, _thread = start_http_server(port, host, registry)

    def close() -> None:
        server.shutdown()
        server.server_close()

    return server.server_port, close


# Longer than 60 lines: a list of metrics, each with its text and its value.
def _of_database(found: Condition | None, taken: dict[str, int]) -> Iterator[Metric]:
    def gauge(name: str, text: str, of: Callable[[Condition], float | None]) -> Metric:
        return _gauge(name, text, None if found is None else of(found))

    yield _by(
        "database_bytes",
        "Size of the database.",
        "kind",
        [] if found is None else [(found.database, found.database_bytes)],
    )
    yield gauge("standbys", "Standbys that follow the database.", lambda one: len(one.standbys))
    yield _by(
        "standby_lag_seconds",
        "How far a standby is behind.",
        "standby",
        [] if found is None else [(one.name, one.lag_s) for one in found.standbys if one.lag_s is not None],
    )
    yield gauge(
        "commit_wait_seconds", "How long a commit has waited for a synchronous standby.", lambda one: one.commit_wait_s
    )
    yield gauge("lanes", "Lanes of the inbox; 1 without lanes.", lambda one: one.lanes)
    yield gauge("lanes_held", "Lanes that a connected inbox holds.", lambda one: one.lanes_held)
    yield gauge("inbox_age_seconds", "Since an inbox was last known to be connected.", lambda one: one.inbox_age_s)
    yield gauge("event_age_seconds", "Since the newest event was stored.", lambda one: one.event_age_s)
    yield gauge(
        "event_lag_seconds", "From gateway to database, median of the newest events.", lambda one: one.event_lag_s
    )
    counter = CounterMetricFamily(f"{PREFIX}events", "Events stored since this process began.", labels=["kind"])
    for kind, number in taken.items():
        counter.add_metric([kind], number)
    yield counter
    yield gauge("events_held", "Events held.", lambda one: one.events_held)
    yield gauge("events_missing", "Events that current streams lack.", lambda one: one.events_missing)
    yield gauge("records_quarantined", "Records that gateways could not read as punches.", lambda one: one.quarantined)
    yield gauge("findings", "Forks, broken links and the like.", lambda one: one.findings)
    yield _by(
        "messages_rejected",
        "Messages set aside, by reason; fewer after a deletion.",
        "reason",
        [] if found is None else sorted(found.rejected.items()),
    )
    yield gauge("gateways", "Gateways known.", lambda one: one.gateways)
    yield gauge("gateways_offline", "Gateways that are offline.", lambda one: one.gateways_offline)
    yield gauge(
        "gateways_away", "Gateways of which nothing came since the centre's last outage.", lambda one: one.gateways_away
    )
    yield gauge("terminals", "Terminals with a log that are in use.", lambda one: one.terminals)
    yield gauge(
        "terminals_late",
        "Of these, those whose log is known no further than an hour ago.",
        lambda one: one.terminals_late,
    )
    yield gauge("watermark_age_seconds", "Age of the oldest watermark.", lambda one: one.watermark_age_s)
    late = GaugeMetricFamily(
        f"{PREFIX}terminal_watermark_age_seconds",
        "Age of the watermarks of late terminals, at most fifty.",
        labels=["gateway", "terminal"],
    )
    for one in () if found is None else found.late:
        if one.age_s is not None:
            late.add_metric([one.gateway, one.terminal], one.age_s)
    yield late
    yield gauge("marks_waiting", "Marks of days that wait to be judged.", lambda one: one.marks)
    yield gauge("marks_failed", "Marks set aside because judging failed.", lambda one: one.marks_failed)
    yield gauge("mark_age_seconds", "Age of the oldest mark that waits.", lambda one: one.mark_age_s)
    yield _by("days", "Verdicts on yesterday.", "status", [] if found is None else sorted(found.days.items()))
    yield gauge(
        "provisional_ratio", "Share of yesterday's verdicts that are not final.", lambda one: one.provisional_share
    )
    yield gauge("outbox_waiting", "Messages about results that wait for the broker.", lambda one: one.outbox)
    yield gauge("outbox_refused", "Messages about results that the broker refused.", lambda one: one.outbox_refused)
    yield gauge("mails_waiting", "Mails that wait.", lambda one: one.mails)
    yield gauge("mails_refused", "Mails given up.", lambda one: one.mails_refused)


def _of_tasks(ended: dict[str, Ended]) -> Iterator[Metric]:
    known = [(name, ended[name]) for name in TASKS if name in ended]
    moments = [(name, one.at.timestamp()) for name, one in known]
    yield _by("task_ended_timestamp_seconds", "When a task of systemd last ended.", "task", moments)
    yield _by("task_failed", "1 where it failed.", "task", [(name, int(not one.succeeded)) for name, one in known])


def _gauge(name: str, text: str, value: float | None) -> Metric:
    metric = GaugeMetricFamily(PREFIX + name, text)
    if value is not None:
        metric.add_metric([], value)
    return metric


def _by(name: str, text: str, label: str, samples: list[tuple[str, Any]]) -> Metric:
    metric = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for value, number in samples:
        metric.add_metric([value], number)
    return metric
