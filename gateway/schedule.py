"""What happens at an hour of the day. Visits are not in here: their workers pace them by the monotonic clock.

APScheduler waits for wall-clock moments: a clock that steps back makes it wait the step out, one that leaps forward
makes it count every moment it missed. :meth:`Calendar.tick`, called each second, notices a step and arms all jobs anew.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from gateway.log import get_logger
from gateway.trace import trace

STEP_S = 2.0
"""A wall clock that moved this much more or less than the monotonic one between two ticks has stepped."""
NIGHT_HOURS = (1, 3)
"""First and last hour of nightly work: few punches are made, and lines are free."""
MIDNIGHT = (0, 0)

log = get_logger("schedule")


class Calendar:
    """Runs jobs at hours of the day. A failure costs one run of the job and is logged."""

    def __init__(
        self,
        zone: ZoneInfo,
        *,
        wall: Callable[[], float] = time.time,
        failed: Callable[[str, BaseException], None] = lambda _name, _exc: None,
    ) -> None:
        """``failed`` receives the name of a failed job and its exception."""
        self._zone = zone
        self._report = failed
        self._wall = wall
        self._jobs: dict[str, tuple[Callable[[], None], CronTrigger]] = {}
        self._scheduler: Any = None
        self._lock = threading.RLock()
        """Jobs are added and removed while the clock may step."""
        self._difference = wall() - time.monotonic()

    def each_night(self, name: str, work: Callable[[], None], hours: tuple[int, int] = NIGHT_HOURS) -> None:
        """Run ``work`` every night at a random moment, chosen once, so that offices do not all begin together.

        ``hours`` are the first and the last hour it may begin in.
        """
        hour = random.randint(*hours)  # noqa: S311 - not a secret
        minute = random.randint(0, 59)  # noqa: S311 - not a secret
        trigger = CronTrigger(hour=hour, minute=minute, timezone=self._zone)
        with self._lock:
            self._jobs[name] = work, trigger
            if self._scheduler is not None:
                self._scheduler.add_job(work, trigger, id=name, replace_existing=True)

    def drop(self, name: str) -> None:
        """Remove a job."""
        with self._lock:
            del self._jobs[name]
            if self._scheduler is not None:
                self._scheduler.remove_job(name)

    def start(self) -> None:
        """Schedule all present and future jobs."""
        with self._lock:
            self._arm()

    def stop(self) -> None:
        """Unschedule all jobs; a running one is not waited for."""
        with self._lock:
            if self._scheduler is not None:
                self._scheduler.shutdown(wait=False)
                self._scheduler = None

    def tick(self) -> bool:
        """Check whether the wall clock has stepped; if so schedule all jobs again and return True."""
        difference = self._wall() - time.monotonic()
        step_s = difference - self._difference
        self._difference = difference
        if abs(step_s) < STEP_S:
            return False
        log.warning("wall_clock_stepped", by_s=round(step_s))
        with self._lock:
            self.stop()
            self._arm()
        return True

    def next_runs(self) -> dict[str, float]:
        """Return job name → seconds since the epoch of its next run."""
        return {job.id: job.next_run_time.timestamp() for job in self._scheduler.get_jobs()}

    def _arm(self) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=self._zone,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(self._failed, EVENT_JOB_ERROR)
        for name, (work, trigger) in self._jobs.items():
            self._scheduler.add_job(work, trigger, id=name)
        self._scheduler.start()

    def _failed(self, event: JobExecutionEvent) -> None:
        log.error("job_failed", job=event.job_id, trace=trace(event.exception))
        self._report(event.job_id, event.exception)
