"""Builds the daemon from its parts, runs it, stops it. The only module that imports all parts."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from drivers import DRIVERS
from gateway import event as event_module
from gateway import file_import, memory
from gateway.callers import Callers
from gateway.clock import Clock, ClockStatus, SystemClock
from gateway.commands import Commands, Refusal, take_receipt
from gateway.control_server import Command, Control
from gateway.event import utc_text
from gateway.health import VERSION, Health
from gateway.identities import Identities
from gateway.incidents import alarm_message, log_incident
from gateway.ledger import DiskState, Ledger, LedgerAltered, LedgerError, LedgerFull, Limits, backup
from gateway.log import get_logger
from gateway.mqtt.publisher import Publisher
from gateway.mqtt.timing import Timing as BrokerTiming
from gateway.pending import PendingWrites
from gateway.reload import Difference, applied, difference
from gateway.schedule import Calendar
from gateway.service import ServiceManager
from gateway.settings import Settings, TerminalSettings
from gateway.settings_text import SettingsError, Severity
from gateway.terminal.entries import Entries
from gateway.terminal.monitor import TerminalMonitor
from gateway.terminal.pool import Workers
from gateway.terminal.runner import Crew
from gateway.terminal.timing import Timing
from gateway.terminal.visit_requests import VisitPostponed
from gateway.terminal.worker import Worker
from gateway.trace import described, origin

if TYPE_CHECKING:
    from gateway.page.server import Page

HEALTH_S = 60.0
TICK_S = 1.0
"""Interval of the main loop."""
LONGEST_WAIT_S = 3600.0
WORKERS_STOP_S = 1.5
"""Time for all workers together to close their connections when the daemon stops."""
LEDGER_HUNG_S = 120.0
"""After this time in one transaction the ledger counts as hung in its disk."""
MAIN_LOOP_HUNG_S = 30.0
"""The main loop counts as hung after this time."""
WATCHDOG_TRANSACTION_S = 10.0
"""Maximum duration of a transaction, on a worn card during an import, before watchdog notifications stop."""
SHUTDOWN_S = 30.0
"""Time for an orderly shutdown after a part has failed."""

log = get_logger("gateway")


def _safe_text(reason: object) -> str:
    return described(reason) if isinstance(reason, BaseException) else str(reason)


def _settings_refused_text(exc: SettingsError) -> str:
    more = len(exc.lines) - 1
    others = f" (and {more} more: hadir check)" if more else ""
    return f"the changed configuration is not taken, the gateway goes on with the one before: {exc.lines[0]}{others}"


class Daemon:
    """The running gateway: workers → ledger → publisher, and their supervision."""

    # Longer than 60 lines: all parts of the daemon are made here, each after those that it needs.
    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings] | None = None,
        clock: Clock | None = None,
        timing: Timing | None = None,
        broker_timing: BrokerTiming | None = None,
    ) -> None:
        """Open the ledger and build every part; raises LedgerError where the ledger cannot be opened.

        ``load`` reads the configuration again, for :meth:`reload`, and raises SettingsError; None: it cannot change.
        ``timing`` is that of all visits to terminals, ``broker_timing`` that of the connection to the broker.
        """
        memory.share_arena()
        clock = clock or SystemClock()
        self._clock = clock
        self._timing = timing or Timing()
        self._settings = settings
        """The settings in effect."""
        self._load = load or (lambda: settings)
        self._reloading = threading.Lock()
        self._settings_refused = False
        """The changed configuration was refused, and an alarm was raised."""
        self._manager = ServiceManager()
        self._zone = ZoneInfo(settings.timezone)
        self._ledger = self._open_ledger()
        self._disk_state: DiskState = "all"
        self._calendar = Calendar(self._zone, wall=lambda: clock.now().timestamp(), failed=self._job_failed)
        self._calendar.each_night("backup", self._back_up)
        self._calendar.each_night("settings", partial(self._warn_of_settings, alarm=True))
        self._workers = Workers(self._create_worker, self._calendar, on_removed=self._clear_retained_state)
        self._crew = Crew()
        self._callers = Callers(clock, self._alarm)
        self._health = Health(settings, self._ledger, self._workers, clock)
        self._commands = Commands(
            settings.commands.allow,
            self._ledger,
            self._workers,
            report=lambda: self._health.status(self._publisher),
            now=clock.now,
        )
        self._publisher = Publisher(
            settings,
            self._ledger,
            introduction=self._health.introduction,
            requests=self._commands.submit,
            now=clock.now,
            timing=broker_timing,
        )
        self._pending = PendingWrites(self._ledger, now=clock.now, alarm=self._publisher.alarm)
        self._identities = Identities(settings.data_dir)
        self._entries = Entries()
        self._workers.change(Difference(added=settings.terminals))
        self._monitor = TerminalMonitor(self._workers, self._ledger, clock, self._publisher.alarm, self._pending)
        self._clock_status = ClockStatus(clock, self._ledger.last_sequence)
        self._thread_failure: tuple[str, BaseException] | None = None
        """The first thread of any part or library that an exception ended, and that exception."""
        self._control = self._open_control()
        self._main_loop_at = time.monotonic()
        """Monotonic time of the main loop's last turn."""
        self._page = self._make_page()

    def _open_ledger(self) -> Ledger:
        settings, retention = self._settings, self._settings.retention
        return Ledger(
            settings.data_dir,
            settings.source,
            now=self._clock.now,
            limits=Limits(retention.days, retention.max_bytes, retention.free_floor),
            progress=self._manager.starting,
        )

    def _open_control(self) -> Control:
        """Open the control socket; LedgerError, with the ledger closed, where that is impossible."""
        data_dir = self._settings.data_dir
        try:
            return Control(data_dir, self._answers())
        except OSError as exc:
            self._ledger.close()
            raise LedgerError(
                f"{data_dir}: the control socket cannot be made there ({exc.strerror or exc}); data_dir must "
                "be on a disk of this machine that the daemon's user may write to"
            ) from exc

    def _make_page(self) -> "Page | None":
        """Return the status page, where it is configured."""
        if self._settings.web is None:
            return None
        from gateway.page.server import Page  # noqa: PLC0415 - its libraries take memory, and are only wanted with a page

        return Page(
            lambda: self._settings, self._settings.web, status=self._status, trouble=self._problem, now=self._clock.now
        )

    def _status(self) -> dict[str, Any]:
        """Return the status for the control socket and the page."""
        return {**self._health.local_status(self._publisher), "receiver": self._callers.status()}

    def _problem(self) -> str | None:
        """Return which part has failed, and why; None while all work."""
        failed = self._failed_part()
        if failed is not None:
            return f"{failed[0]}: {_safe_text(failed[1])}"
        unwatched_s = time.monotonic() - self._main_loop_at
        return f"watch: it has not looked for {unwatched_s:.0f} s" if unwatched_s > MAIN_LOOP_HUNG_S else None

    def _create_worker(self, terminal: TerminalSettings) -> Worker:
        return Worker(
            terminal,
            self._settings.zone(terminal),
            DRIVERS[terminal.driver],
            self._ledger,
            self._clock,
            captures=self._settings.data_dir / "captures",
            report=self._publisher.announce,
            publish=partial(self._publisher.announce, retain=False),
            alarm=self._publisher.alarm,
            pending=self._pending,
            identities=self._identities,
            entries=self._entries,
            timing=self._timing,
            crew=self._crew,
            port=self._callers.port,
        )

    def _alarm(self, code: str, message: str, terminal: str | None) -> None:
        self._publisher.alarm(code, message, terminal)

    def _clear_retained_state(self, name: str) -> None:
        """Remove the retained state of a terminal that is no longer configured."""
        self._publisher.announce(f"terminal/{name}/state", None)

    def reload(self) -> dict[str, Any]:
        """Read the configuration again and apply its terminals; return applied changes and those that need a restart.

        Unchanged terminals, the ledger and the connection to the broker are not touched. Raises Refusal, with nothing
        changed, where the configuration has errors. Thread-safe.
        """
        with self._reloading:
            try:
                wanted = self._load()
            except SettingsError as exc:
                self._settings_refused = True
                log_incident(log, "settings_refused", problems=exc.lines)
                self._publisher.alarm(
                    "settings_refused", alarm_message("settings_refused", reason=_settings_refused_text(exc))
                )
                raise Refusal("settings_refused", str(exc)) from None
            found = difference(self._settings, wanted)
            self._change_receiver(wanted)
            self._workers.change(found)
            self._settings = applied(self._settings, wanted)
            self._warn_of_settings()
            log.info("settings_reloaded", **found.payload())
            if self._settings_refused:
                self._settings_refused = False
                self._publisher.alarm("settings_reloaded", alarm_message("settings_reloaded"))
            return found.payload()

    def _change_receiver(self, wanted: Settings) -> None:
        """Listen as the new settings say; Refusal, with nothing changed, where that is impossible."""
        try:
            self._callers.change(wanted)
        except OSError as exc:
            listen = "" if wanted.receiver is None else wanted.receiver.listen
            reason = exc.strerror or str(exc)
            log.error("receiver_unchanged", listen=listen, reason=reason)  # noqa: TRY400 - the reason says all
            raise Refusal(
                "receiver_unavailable",
                f"receiver.listen {listen} cannot be used ({reason}); nothing is changed, and the gateway goes on with "
                "the configuration before",
            ) from None

    def _warn_of_settings(self, *, alarm: bool = False) -> None:
        """Log settings in effect that are outdated or weaken security."""
        self._warn_of("settings_outdated", "newly_refused", alarm=alarm)
        self._warn_of("certificates_not_strict", "weakening", alarm=alarm)

    def _warn_of(self, code: str, severity: Severity, *, alarm: bool) -> None:
        found = [problem for problem in self._settings.problems if problem.severity == severity]
        if not found:
            return
        lines = [f"line {problem.line}: {problem.path}: {problem.message}" for problem in found]
        log_incident(log, code, problems=lines)
        if alarm:
            self._publisher.alarm(code, alarm_message(code, first=lines[0], count=len(lines)))

    def reload_in_background(self) -> None:
        """Run :meth:`reload` without a caller that needs the result; the log records it."""
        with suppress(Refusal):
            self.reload()

    def _answers(self) -> dict[str, Command]:
        return {
            "status": lambda _: self._status(),
            "office": lambda _: self._settings.office.data(self._settings.digest),
            "summary": lambda request: self._ledger.summary(int(request["days"]), date.fromisoformat(request["since"])),
            "reload": lambda _: self.reload(),
            "reconcile": partial(self._visit, full=True),
            "visit": partial(self._visit, full=False),
            "altered": self._check_event,
            "receipt": lambda request: take_receipt(self._ledger, str(request["receipt"])),
            **{name: partial(self._run_command, name) for name in ("poll", "replay")},
            **file_import.control_commands(self._ledger, self._workers, self._clock),
        }

    def _visit(self, request: dict[str, Any], *, full: bool) -> dict[str, Any]:
        """Request a visit of a terminal, and answer after it or after ``wait_s``.

        ``full`` for a reading of the whole log: the answer contains its result, or None where it takes longer;
        ``postponed`` is the reason why it could not be read now.
        """
        worker = self._worker(request["terminal"])
        done = worker.request(full=full)
        reconciliation, finished, postponed = None, False, None
        try:
            reconciliation = done.result(min(float(request["wait_s"]), LONGEST_WAIT_S))
            finished = True
        except TimeoutError:
            pass
        except VisitPostponed as exc:
            postponed = str(exc)
        except CancelledError:
            raise Refusal("unknown_terminal", f"{worker.name} is no longer configured, or the gateway stops") from None
        return {
            "finished": finished,
            "postponed": postponed,
            "reconciliation": reconciliation,
            "state": self._worker(worker.name).state.payload(),
            "reason_code": self._worker(worker.name).state.reason_code,
        }

    def _worker(self, name: str) -> Worker:
        for worker in self._workers:
            if worker.name == name:
                return worker
        raise Refusal("unknown_terminal", f"the running gateway does not know {name} yet; run `hadir reload`")

    def _run_command(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Execute a command of the centre's set for the control socket."""
        return self._commands.run(name, json.dumps({key: value for key, value in request.items() if key != "command"}))

    def run(self, stop: threading.Event) -> int:
        """Run until ``stop`` is set or a part fails; return the process's exit code: 0, 70, or 74 for the ledger."""
        log.info(
            "gateway_started",
            version=VERSION,
            site=self._settings.site,
            gateway=self._settings.gateway,
            terminals=len(self._workers),
            stream=self._ledger.stream,
            sequence=self._ledger.assigned(),
            clock_synchronised=self._clock.synchronised(),
        )
        before, threading.excepthook = threading.excepthook, self._note_thread_failure
        ended = threading.Event()
        threading.Thread(target=self._watch_ledger, args=(ended,), name="watch-ledger", daemon=True).start()
        try:
            return self._run_parts(stop)
        finally:
            ended.set()
            threading.excepthook = before

    def _watch_ledger(self, ended: threading.Event) -> None:
        """End the process where the disk hangs and the main loop, which writes too, waits for it."""
        while not ended.wait(TICK_S):
            if self._ledger.stalled_s > LEDGER_HUNG_S + SHUTDOWN_S:
                self._exit_now("ledger", self._hang_reason())

    def _run_parts(self, stop: threading.Event) -> int:
        self._note_resumption()
        self._report_recovery()
        self._warn_of_settings()
        self._commands.start()
        self._publisher.start()
        with self._reloading:  # a reload may come before the daemon runs
            self._callers.open(self._settings)
        self._workers.advance()
        self._calendar.start()
        if self._page is not None:
            self._page.start()
        self._manager.ready()
        failed = self._watch(stop)
        self._manager.status("stopping" if failed is None else f"{failed[0]} has failed: see the log")
        self._manager.stopping()
        if failed is None:
            self._stop()
            log.info("gateway_stopped", failed=None)
            return self._exit_code(0)
        return self._fail(*failed)

    def _fail(self, part: str, reason: object) -> int:
        """Log the failed part, shut down in order as far as possible, log it again, return the exit code."""
        log.critical("part_failed", part=part, reason=_safe_text(reason))
        # A hung part is not waited for; the service manager restarts the daemon, and the ledger is checked then.
        deadline = threading.Timer(SHUTDOWN_S, self._exit_now, (part, reason))
        deadline.daemon = True
        deadline.start()
        self._stop()
        deadline.cancel()
        log.critical("gateway_stopped", failed=part, reason=_safe_text(reason))
        return self._exit_code(70)

    def _exit_code(self, otherwise: int) -> int:
        if isinstance(self._ledger.failure, LedgerError):
            log.critical("ledger_failed", reason=str(self._ledger.failure))
            return 74
        return otherwise

    @staticmethod
    def _exit_now(part: str, reason: object) -> None:
        log.critical(
            "gateway_ended", failed=part, reason=_safe_text(reason), hint="it did not stop in good order in time"
        )
        sys.stderr.flush()
        os._exit(70)

    def _note_thread_failure(self, died: threading.ExceptHookArgs) -> None:
        """Keep the exception that ended a thread of a library, of the control socket or of a part."""
        if died.exc_value is None or isinstance(died.exc_value, SystemExit):
            return
        name = died.thread.name if died.thread else "unknown"
        log.error("thread_failed", thread=name, exc_info=died.exc_value)
        self._thread_failure = self._thread_failure or (f"thread {name}", died.exc_value)

    def _note_resumption(self) -> None:
        """Add a note about the gateway's own downtime, which explains late punches."""
        resumed, last_alive = self._clock.now(), self._ledger.last_alive
        if last_alive is None:
            return
        data = {
            "last_alive": utc_text(last_alive),
            "resumed": utc_text(resumed),
            "clean": self._ledger.was_clean,
        }
        self._pending.note(event_module.GATEWAY_RESUMED, None, resumed.astimezone(self._zone), data)

    def _report_recovery(self) -> None:
        """Raise alarms about a recovered ledger or a new stream."""
        salvage, broken = self._ledger.salvage, self._ledger.broken
        if salvage is not None:
            values = {"damage": salvage.damage, "kept": salvage.kept, "file": salvage.aside.name}
            self._publisher.alarm("ledger_salvaged", alarm_message("ledger_salvaged", **values))
        if broken is not None:
            self._publisher.alarm("stream_opened", alarm_message("stream_opened", reason=broken))

    def _job_failed(self, name: str, exc: BaseException) -> None:
        """Raise an alarm about a nightly job that failed by a defect."""
        self._publisher.alarm("job_failed", alarm_message("job_failed", name=name, error=origin(exc)))

    def _back_up(self) -> None:
        """Make a backup of the ledger, unless the disk is nearly full."""
        if self._ledger.disk_state() != "all":
            log.warning("backup_skipped", room=self._ledger.disk_state())
            return
        try:
            copy = backup(self._ledger.path, self._settings.backups, free_floor=self._settings.retention.free_floor)
        except LedgerError as exc:
            log_incident(log, "backup_failed", reason=str(exc))
            self._publisher.alarm("backup_failed", alarm_message("backup_failed", reason=str(exc)))
            if isinstance(exc, LedgerAltered):
                # Once set aside they no longer prevent the next night's backup.
                with suppress(LedgerFull):
                    self._set_aside(exc.numbers)
        else:
            log.info("backup_made", path=str(copy), bytes=copy.stat().st_size)

    def _set_aside(self, numbers: Sequence[int]) -> int:
        """Set altered events aside, with an alarm; return how many are newly marked."""
        news = self._ledger.set_aside(numbers)
        if news:
            log_incident(log, "body_altered", sequence=numbers[0], events=news)
            self._publisher.alarm("body_altered", alarm_message("body_altered", sequence=numbers[0]))
        return news

    def _check_event(self, request: dict[str, Any]) -> dict[str, Any]:
        """Set an event aside that a verification found, if its body does not fit its digest."""
        found = self._ledger.events(int(request["sequence"]) - 1, 1)
        altered = [event.sequence for event in found if event.is_altered and event.sequence == request["sequence"]]
        return {"set_aside": self._set_aside(altered) if altered else 0}

    def _watch(self, stop: threading.Event) -> tuple[str, object] | None:
        """Run the main loop until ``stop``; return the name of a failed part, and why, if one failed."""
        try:
            return self._tick(stop)
        except Exception as exc:
            log.exception("watch_failed")
            return "watch", exc

    def _tick(self, stop: threading.Event) -> tuple[str, object] | None:
        next_health = time.monotonic() + HEALTH_S
        while not stop.wait(TICK_S):
            self._main_loop_at = time.monotonic()
            failed = self._failed_part()
            if failed is not None:
                return failed
            if self._workers.advance():
                self._publisher.announce("info", self._health.info())
            if self._ledger.stalled_s < WATCHDOG_TRANSACTION_S:
                self._manager.alive()
            self._manager.status(self._health.summary(self._publisher))
            self._calendar.tick()
            self._watch_disk_state()
            self._note_correction()
            if time.monotonic() >= next_health:
                next_health += HEALTH_S
                self._ledger.alive()
                self._monitor.check()
                self._callers.check()
                memory.release_memory()
                self._publisher.announce("health", self._health.health())
                # A broker may have dropped the end of the stream: only the highest sequence shows this to the centre.
                self._publisher.announce("info", self._health.info())
        return None

    def _watch_disk_state(self) -> None:
        """Raise one alarm when the disk becomes nearly full or full, and one when it has space again."""
        before, self._disk_state = self._disk_state, self._ledger.disk_state()
        self._pending.flush()
        if self._disk_state == before:
            return
        log.warning("room_changed", room=self._disk_state, before=before)
        if self._disk_state == "none" or (self._disk_state == "news" and before == "all"):
            variant = "news" if self._disk_state == "news" else ""
            self._publisher.alarm("disk_floor", alarm_message("disk_floor", variant))
        elif self._disk_state == "all":
            self._publisher.alarm("disk_room", alarm_message("disk_room"))

    def _note_correction(self) -> None:
        """Add a note that the gateway's clock became synchronised, with the sequences recorded before."""
        correction = self._clock_status.check()
        if correction is None:
            return
        now = self._clock.now()
        data = {
            "synchronised": utc_text(now),
            "correction_ms": correction.by_ms,
            "first_sequence": correction.first,
            "last_sequence": correction.last,
        }
        self._pending.note(event_module.CLOCK_SYNCHRONISED, None, now.astimezone(self._zone), data)
        log.info("clock_synchronised", correction_ms=correction.by_ms)

    def _failed_part(self) -> tuple[str, object] | None:
        # First the ledger, whose failure ends other threads too. Its writer's thread goes on, to refuse jobs.
        if self._ledger.failure is not None:
            return "ledger", self._ledger.failure
        if self._thread_failure is not None:
            return self._thread_failure
        if self._ledger.stalled_s > LEDGER_HUNG_S:
            return "ledger", self._hang_reason()
        for name, part in (("publisher", self._publisher), ("commands", self._commands), ("control", self._control)):
            if not part.is_alive:
                return name, "its thread has ended"
        if self._callers.has_failed:
            return "receiver", "its thread has ended"
        ended = self._workers.ended()
        return None if ended is None else (f"worker {ended}", "its thread has ended")

    def _hang_reason(self) -> str:
        return f"its disk has not finished a transaction for {self._ledger.stalled_s:.0f} s; look at the disk"

    def _stop(self) -> None:
        """Stop in the order of the data flow: stop reading, publish what is stored, close the ledger."""
        if self._page is not None:
            self._page.stop()
        self._calendar.stop()
        self._workers.stop(WORKERS_STOP_S)
        self._callers.close()
        with suppress(LedgerError):  # the ledger's failure is already being handled
            self._pending.close()
        self._commands.stop(0.5)
        self._publisher.stop(2.5)
        self._control.close()
        if self._page is not None:
            self._page.join(1.0)
        self._ledger.alive()
        self._ledger.close()
