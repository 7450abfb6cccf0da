"""Builds the daemon from its parts, runs it, stops it. The only module that knows them all."""

import logging
import sys
import threading
import time
from datetime import date
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from drivers import DRIVERS
from gateway import memory, punch
from gateway.clock import Clock, Standing, SystemClock
from gateway.control import Answer, Control
from gateway.health import VERSION, Health
from gateway.ledger import Ledger, LedgerError
from gateway.publisher import Publisher
from gateway.punch import utc_text
from gateway.schedule import MIDNIGHT, Calendar
from gateway.settings import Settings
from gateway.vigil import Vigil
from gateway.worker import Worker

HEALTH_S = 60.0
LONGEST_WAIT_S = 3600.0
GOODBYE_S = 1.5
"""How long the workers together may take to end their conversations when the daemon stops."""

log = structlog.get_logger("gateway")


def configure_logging() -> None:
    """Log to standard error: JSON where a program reads it, colours and key=value where a person does."""
    person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            # A traceback shows lines of code, never the values in them: those are PINs and keys.
            *([] if person else [ExceptionRenderer(ExceptionDictTransformer(show_locals=False))]),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if person
            else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    # APScheduler and paho speak through the standard library; only their warnings are of interest.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


class Daemon:
    """The gateway as it runs: workers → ledger → publisher, and what watches over them."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Open the ledger and build every part; raises LedgerError where the ledger cannot be had."""
        memory.share_arenas()
        clock = clock or SystemClock()
        self._clock = clock
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._ledger = Ledger(settings.data_dir, f"/hadir/{settings.site}/{settings.gateway}", now=clock.now)
        self._workers: list[Worker] = []
        self._health = Health(settings, self._ledger, self._workers, clock)
        self._publisher = Publisher(settings, self._ledger, greeting=self._health.greeting, now=clock.now)
        self._calendar = Calendar(self._zone)
        for terminal in settings.terminals:
            worker = Worker(
                terminal,
                settings.zone(terminal),
                DRIVERS[terminal.driver],
                self._ledger,
                clock,
                captures=settings.data_dir / "captures",
                report=self._publisher.announce,
                publish=partial(self._publisher.announce, retain=False),
                alarm=self._publisher.alarm,
            )
            self._workers.append(worker)
            self._calendar.each_night(f"night-{worker.name}", worker.begin_night)
            self._calendar.each_night(f"tally-{worker.name}", worker.tell_tally, MIDNIGHT)
        watched = [
            (worker, entry, settings.zone(entry))
            for worker, entry in zip(self._workers, settings.terminals, strict=True)
        ]
        self._vigil = Vigil(watched, self._ledger, clock, self._publisher.alarm)
        self._standing = Standing(clock, self._ledger.last_sequence)
        try:
            self._control = Control(settings.data_dir, self._commands())
        except OSError as exc:
            self._ledger.close()
            raise LedgerError(
                f"{settings.data_dir}: the control socket cannot be made there ({exc.strerror or exc}); data_dir must "
                "be on a disk of this machine that the daemon's user may write to"
            ) from exc

    def _commands(self) -> dict[str, Answer]:
        return {
            "status": lambda _: self._health.status(self._publisher),
            "reconcile": self._reconcile,
            "release": self._release,
        }

    def _reconcile(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Have a terminal's whole log read; answer with what came of it, or None where that takes longer."""
        worker = self._worker(asked["terminal"])
        done = worker.request(full=True)
        try:
            reconciliation = done.result(min(float(asked["wait_s"]), LONGEST_WAIT_S))
        except TimeoutError:
            reconciliation = None
        return {"reconciliation": reconciliation, "state": worker.state.payload()}

    def _release(self, asked: dict[str, Any]) -> dict[str, Any]:
        days = (date.fromisoformat(asked[key]) for key in ("first", "last"))
        return {"released": self._worker(asked["terminal"]).release(*days)}

    def _worker(self, name: str) -> Worker:
        return next(worker for worker in self._workers if worker.name == name)

    def run(self, stop: threading.Event) -> int:
        """Run until ``stop`` is set or a part fails; return the process's exit code, 0 or 70."""
        log.info(
            "gateway_started",
            version=VERSION,
            site=self._settings.site,
            gateway=self._settings.gateway,
            terminals=len(self._workers),
            stream=self._ledger.stream,
            sequence=self._ledger.last_sequence(),
            clock_synchronised=self._clock.synchronised(),
        )
        self._note_resumption()
        self._publisher.start()
        for worker in self._workers:
            worker.start()
        self._calendar.start()
        failed = self._watch(stop)
        self._stop()
        log.info("gateway_stopped", failed=failed)
        return 70 if failed else 0

    def _note_resumption(self) -> None:
        """Put on record how long the gateway itself was away: punches of that time come late through no one's fault."""
        last_alive = self._ledger.last_alive
        if last_alive is None:
            return
        now = self._clock.now()
        data = {
            "last_alive": utc_text(last_alive),
            "resumed": utc_text(now),
            "clean": self._ledger.was_clean,
        }
        self._ledger.record_note(punch.GATEWAY_RESUMED, None, now.astimezone(self._zone), data)

    def _watch(self, stop: threading.Event) -> str | None:
        """Tick once a second until told to stop; return the name of a part that failed, if one did."""
        next_health = time.monotonic() + HEALTH_S
        while not stop.wait(1.0):
            failed = self._failed_part()
            if failed is not None:
                name, reason = failed
                log.critical("part_failed", part=name, reason=repr(reason))
                return name
            self._calendar.tick()
            self._note_correction()
            if time.monotonic() >= next_health:
                next_health += HEALTH_S
                self._ledger.alive()
                self._vigil.look()
                memory.give_back()
                self._publisher.announce("health", self._health.health())
        return None

    def _note_correction(self) -> None:
        """Put on record that the gateway's own clock became trustworthy, and what was recorded before it was."""
        correction = self._standing.look()
        if correction is None:
            return
        now = self._clock.now()
        data = {
            "synchronised": utc_text(now),
            "correction_ms": correction.by_ms,
            "first_sequence": correction.first,
            "last_sequence": correction.last,
        }
        self._ledger.record_note(punch.CLOCK_SYNCHRONISED, None, now.astimezone(self._zone), data)
        log.info("clock_synchronised", correction_ms=correction.by_ms)

    def _failed_part(self) -> tuple[str, object] | None:
        parts: list[tuple[str, BaseException | None, bool]] = [
            ("ledger", self._ledger.failure, True),
            ("publisher", self._publisher.failure, self._publisher.is_alive),
            ("calendar", self._calendar.failure, True),
            *((f"worker {worker.name}", worker.failure, worker.is_alive) for worker in self._workers),
        ]
        for name, failure, alive in parts:
            if failure is not None or not alive:
                return name, failure or "its thread has ended"
        return None

    def _stop(self) -> None:
        """End in the order of the road: nothing more comes in, what is there goes out, the ledger is closed."""
        self._calendar.stop()
        for worker in self._workers:
            worker.stop()
        until = time.monotonic() + GOODBYE_S
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))
        self._publisher.stop(2.5)
        self._control.close()
        self._ledger.alive()
        self._ledger.close()
