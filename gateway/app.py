"""Builds the daemon from its parts, runs it, stops it. The only module that knows them all."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO
from zoneinfo import ZoneInfo

import structlog
from structlog.processors import ExceptionRenderer

from drivers import DRIVERS
from gateway import event as event_module
from gateway import file_import, memory
from gateway.clock import Clock, ClockStatus, SystemClock
from gateway.commands import Commands, Refusal, take_receipt
from gateway.control import Answer, Control
from gateway.event import utc_text
from gateway.health import VERSION, Health
from gateway.identities import Identities
from gateway.ledger import DiskState, Ledger, LedgerAltered, LedgerError, LedgerFull, Limits, backup
from gateway.monitor import TerminalMonitor
from gateway.pending import PendingWrites
from gateway.publisher import Publisher, body_altered
from gateway.reload import Difference, applied, difference
from gateway.schedule import Calendar
from gateway.service import ServiceManager
from gateway.settings import Settings, SettingsError, Severity, TerminalSettings
from gateway.trace import as_value, described, origin, write
from gateway.visit_requests import VisitPostponed
from gateway.worker import Worker
from gateway.workers import Workers

if TYPE_CHECKING:
    from gateway.page.server import Page

HEALTH_S = 60.0
TICK_S = 1.0
"""How often the daemon looks after its parts."""
LONGEST_WAIT_S = 3600.0
GOODBYE_S = 1.5
"""How long the workers together may take to end their conversations when the daemon stops."""
STALLED_S = 120.0
"""A ledger that does not come to the end of one transaction for so long hangs in its disk."""
UNWATCHED_S = 30.0
"""A watch that has not looked for so long does not work, whatever keeps it."""
HESITANT_S = 10.0
"""So long one transaction may take, on a worn card in the midst of an import, before the watchdog is left unfed."""
LAST_WORDS_S = 30.0
"""How long a daemon of which a part has failed may take to end in good order."""

_ROOM: dict[DiskState, str] = {
    "none": "there is no room on the gateway's disk: reading has stopped, the terminals keep their punches; make room",
    "news": "the gateway's disk is nearly full: long imports wait, new punches are still read; make room",
    "all": "there is room on the gateway's disk again: everything is read",
}

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Levels as the journal knows them, see sd-daemon(3)."""

log = structlog.get_logger("gateway")


def configure_logging() -> None:
    """Log to standard error: JSON where a program reads it, colours and key=value where a person does.

    Lines for systemd's journal carry their priority, so that `journalctl -p warning` finds what deserves a look.
    """
    person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            # A traceback shows places in the code, never values or a library's words: those are PINs and keys.
            *([] if person else [ExceptionRenderer(as_value)]),
            structlog.dev.ConsoleRenderer(exception_formatter=write)
            if person
            else (_for_the_journal if _is_journal(sys.stderr) else structlog.processors.JSONRenderer()),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    # APScheduler and paho speak through the standard library; only their warnings are of interest.
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()])


def _is_journal(stream: TextIO) -> bool:
    """Tell whether systemd's journal reads the stream: it then names the stream's file in the environment."""
    about = os.fstat(stream.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def _for_the_journal(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    line = structlog.processors.JSONRenderer()(logger, method, event)
    return f"<{_PRIORITIES[event['level']]}>{line!s}"


class _Libraries(logging.Handler):
    """Lets what libraries say come out as lines like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log what was said."""
        # The message before values are put into it: those may be anything.
        log.warning("library_warned", library=record.name, said=str(record.msg), exc_info=record.exc_info)


def _shown(reason: object) -> str:
    return described(reason) if isinstance(reason, BaseException) else str(reason)


def _not_taken(exc: SettingsError) -> str:
    more = len(exc.lines) - 1
    others = f" (and {more} more: hadir check)" if more else ""
    return f"the changed configuration is not taken, the gateway goes on with the one before: {exc.lines[0]}{others}"


class Daemon:
    """The gateway as it runs: workers → ledger → publisher, and what watches over them."""

    def __init__(
        self, settings: Settings, *, load: Callable[[], Settings] | None = None, clock: Clock | None = None
    ) -> None:
        """Open the ledger and build every part; raises LedgerError where the ledger cannot be had.

        ``load`` reads the configuration again, for :meth:`reload`, and raises SettingsError; None: it cannot change.
        """
        memory.share_arena()
        clock = clock or SystemClock()
        self._clock = clock
        self._settings = settings
        """What is in effect."""
        self._load = load or (lambda: settings)
        self._reloading = threading.Lock()
        self._refused = False
        """The configuration could not be read again, and people have been told."""
        self._manager = ServiceManager()
        self._zone = ZoneInfo(settings.timezone)
        retention = settings.retention
        self._ledger = Ledger(
            settings.data_dir,
            settings.source,
            now=clock.now,
            limits=Limits(retention.days, retention.max_bytes, retention.free_floor),
            progress=self._manager.starting,
        )
        self._room: DiskState = "all"
        self._calendar = Calendar(self._zone, wall=lambda: clock.now().timestamp(), failed=self._job_failed)
        self._calendar.each_night("backup", self._back_up)
        self._calendar.each_night("settings", partial(self._warn_of_settings, alarm=True))
        self._workers = Workers(self._create_worker, self._calendar, on_removed=self._forget)
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
        )
        self._pending = PendingWrites(self._ledger, now=clock.now, alarm=self._publisher.alarm)
        self._identities = Identities(settings.data_dir)
        self._workers.change(Difference(added=settings.terminals))
        self._monitor = TerminalMonitor(self._workers, self._ledger, clock, self._publisher.alarm, self._pending)
        self._clock_status = ClockStatus(clock, self._ledger.last_sequence)
        self._stray: tuple[str, BaseException] | None = None
        """A thread that an exception ended, of whatever part or library, and that exception."""
        try:
            self._control = Control(settings.data_dir, self._answers())
        except OSError as exc:
            self._ledger.close()
            raise LedgerError(
                f"{settings.data_dir}: the control socket cannot be made there ({exc.strerror or exc}); data_dir must "
                "be on a disk of this machine that the daemon's user may write to"
            ) from exc
        self._looked = time.monotonic()
        """When the watch looked last."""
        self._page = self._make_page()

    def _make_page(self) -> "Page | None":
        """Return the status page, where there is to be one."""
        if self._settings.web is None:
            return None
        from gateway.page.server import Page  # noqa: PLC0415 - its libraries take memory, and are only wanted with a page

        return Page(
            lambda: self._settings, self._settings.web, status=self._status, trouble=self._trouble, now=self._clock.now
        )

    def _status(self) -> dict[str, Any]:
        """Return what people at this machine are told."""
        return {**self._health.status(self._publisher), "alarms": self._publisher.alarms}

    def _trouble(self) -> str | None:
        """Return which part does not work, and why; None while all do."""
        failed = self._failed_part()
        if failed is not None:
            return f"{failed[0]}: {_shown(failed[1])}"
        unwatched_s = time.monotonic() - self._looked
        return f"watch: it has not looked for {unwatched_s:.0f} s" if unwatched_s > UNWATCHED_S else None

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
        )

    def _forget(self, name: str) -> None:
        """Let the broker retain nothing more of a terminal that is no longer configured."""
        self._publisher.announce(f"terminal/{name}/state", None)

    def reload(self) -> dict[str, Any]:
        """Read the configuration again and apply what it says of terminals; return what is applied, and what waits.

        Terminals that have not changed, the ledger and the connection to the broker are not touched. Raises Refusal
        where the configuration has mistakes: then everything stays as it is. For any thread.
        """
        with self._reloading:
            try:
                wanted = self._load()
            except SettingsError as exc:
                self._refused = True
                log.error("settings_refused", problems=exc.lines)  # noqa: TRY400 - the lines say it all
                self._publisher.alarm("settings_refused", _not_taken(exc))
                raise Refusal("settings_refused", str(exc)) from None
            found = difference(self._settings, wanted)
            self._workers.change(found)
            self._settings = applied(self._settings, wanted)
            self._warn_of_settings()
            log.info("settings_reloaded", **found.payload())
            if self._refused:
                self._refused = False
                self._publisher.alarm("settings_reloaded", "the configuration is without mistakes again, and in effect")
            return found.payload()

    def _warn_of_settings(self, *, alarm: bool = False) -> None:
        """Log what the configuration has that is to be changed although this process uses it."""
        outdated = "the configuration is used as before, but a later version will refuse it"
        self._warn_of("settings_outdated", "newly_refused", outdated, alarm=alarm)
        weak = "the configuration accepts what Python refuses by default"
        self._warn_of("certificates_not_strict", "weakening", weak, alarm=alarm)

    def _warn_of(self, event: str, severity: Severity, meaning: str, *, alarm: bool) -> None:
        found = [problem for problem in self._settings.problems if problem.severity == severity]
        if not found:
            return
        lines = [f"line {problem.line}: {problem.path}: {problem.message}" for problem in found]
        log.warning(event, problems=lines)
        if alarm:
            self._publisher.alarm(event, f"{meaning}: {lines[0]} (such lines: {len(lines)}; see `hadir check`)")

    def reload_unasked(self) -> None:
        """Do what :meth:`reload` does for nobody who waits for an answer: the log says what has come of it."""
        with suppress(Refusal):
            self.reload()

    def _answers(self) -> dict[str, Answer]:
        return {
            "status": lambda _: self._status(),
            "reload": lambda _: self.reload(),
            "reconcile": partial(self._visit, full=True),
            "visit": partial(self._visit, full=False),
            "altered": self._look_at,
            "receipt": lambda asked: take_receipt(self._ledger, str(asked["receipt"])),
            **{name: partial(self._asked_here, name) for name in ("poll", "replay")},
            **file_import.answers(self._ledger, self._workers, self._clock),
        }

    def _visit(self, asked: dict[str, Any], *, full: bool) -> dict[str, Any]:
        """Have a terminal visited now, and answer when that is done or ``wait_s`` is over.

        ``full`` for a reading of the whole log: the answer tells what came of it, or None where it takes longer;
        ``postponed`` says why it could not be read now.
        """
        worker = self._worker(asked["terminal"])
        done = worker.request(full=full)
        reconciliation, finished, postponed = None, False, None
        try:
            reconciliation = done.result(min(float(asked["wait_s"]), LONGEST_WAIT_S))
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
        }

    def _worker(self, name: str) -> Worker:
        for worker in self._workers:
            if worker.name == name:
                return worker
        raise Refusal("unknown_terminal", f"the running gateway does not know {name} yet; run `hadir reload`")

    def _asked_here(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Carry out for somebody at this machine what the centre may ask for as well."""
        return self._commands.run(name, json.dumps({key: value for key, value in asked.items() if key != "command"}))

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
        before, threading.excepthook = threading.excepthook, self._note_stray
        try:
            return self._live(stop)
        finally:
            threading.excepthook = before

    def _live(self, stop: threading.Event) -> int:
        self._note_resumption()
        self._tell_of_rescue()
        self._warn_of_settings()
        self._commands.start()
        self._publisher.start()
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
        """Say what has failed, end in good order as far as that is possible, say it again, return the exit code."""
        log.critical("part_failed", part=part, reason=_shown(reason))
        # What hangs cannot be waited for; the service manager starts anew, and the ledger is looked through then.
        deadline = threading.Timer(LAST_WORDS_S, self._end_at_once, (part, reason))
        deadline.daemon = True
        deadline.start()
        self._stop()
        deadline.cancel()
        log.critical("gateway_stopped", failed=part, reason=_shown(reason))
        return self._exit_code(70)

    def _exit_code(self, otherwise: int) -> int:
        if isinstance(self._ledger.failure, LedgerError):
            log.critical("ledger_failed", reason=str(self._ledger.failure))
            return 74
        return otherwise

    @staticmethod
    def _end_at_once(part: str, reason: object) -> None:
        log.critical("gateway_ended", failed=part, reason=_shown(reason), hint="it did not stop in good order in time")
        sys.stderr.flush()
        os._exit(70)

    def _note_stray(self, died: threading.ExceptHookArgs) -> None:
        """Keep what ended a thread that answers to nobody: of a library, of the control socket, of a part's own."""
        if died.exc_value is None or isinstance(died.exc_value, SystemExit):
            return
        name = died.thread.name if died.thread else "unknown"
        log.error("thread_failed", thread=name, exc_info=died.exc_value)
        self._stray = self._stray or (f"thread {name}", died.exc_value)

    def _note_resumption(self) -> None:
        """Put on record how long the gateway itself was away: punches of that time come late through no one's fault."""
        resumed, last_alive = self._clock.now(), self._ledger.last_alive
        if last_alive is None:
            return
        data = {
            "last_alive": utc_text(last_alive),
            "resumed": utc_text(resumed),
            "clean": self._ledger.was_clean,
        }
        self._pending.note(event_module.GATEWAY_RESUMED, None, resumed.astimezone(self._zone), data)

    def _tell_of_rescue(self) -> None:
        """Let people hear that the ledger could not go on as it was."""
        salvage, broken = self._ledger.salvage, self._ledger.broken
        if salvage is not None:
            what = (
                f"the ledger was damaged ({salvage.damage}); {salvage.kept} events were saved, the terminals are read"
            )
            self._publisher.alarm("ledger_salvaged", f"{what} again; the damaged file is kept as {salvage.aside.name}")
        if broken is not None:
            self._publisher.alarm("stream_opened", f"the ledger began a new stream: {broken}")

    def _job_failed(self, name: str, exc: BaseException) -> None:
        """Let people know of a job of the night that met a mistake of ours."""
        self._publisher.alarm("job_failed", f"the nightly job {name} failed ({origin(exc)}); see the gateway's log")

    def _back_up(self) -> None:
        """Copy the ledger for the time when it will be damaged; not where that would take the last room."""
        if self._ledger.disk_state() != "all":
            log.warning("backup_skipped", room=self._ledger.disk_state())
            return
        try:
            copy = backup(self._ledger.path, self._settings.backups, free_floor=self._settings.retention.free_floor)
        except LedgerError as exc:
            log.warning("backup_failed", reason=str(exc))
            self._publisher.alarm("backup_failed", str(exc))
            if isinstance(exc, LedgerAltered):
                # Known as altered they no longer stand in the way of the next night's copy.
                with suppress(LedgerFull):
                    self._set_aside(exc.numbers)
        else:
            log.info("backup_made", path=str(copy), bytes=copy.stat().st_size)

    def _set_aside(self, numbers: Sequence[int]) -> int:
        """Have events that were altered never sent, with an alarm; return of how many that is news."""
        news = self._ledger.set_aside(numbers)
        if news:
            log.error("body_altered", sequence=numbers[0], events=news)
            self._publisher.alarm("body_altered", body_altered(numbers[0]))
        return news

    def _look_at(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Set an event aside that a check has found, if its body is indeed not what was written."""
        found = self._ledger.events(int(asked["sequence"]) - 1, 1)
        altered = [event.sequence for event in found if event.is_altered and event.sequence == asked["sequence"]]
        return {"set_aside": self._set_aside(altered) if altered else 0}

    def _watch(self, stop: threading.Event) -> tuple[str, object] | None:
        """Tick until told to stop; return the name of a part that failed, and why, if one did."""
        try:
            return self._tick(stop)
        except Exception as exc:
            log.exception("watch_failed")
            return "watch", exc

    def _tick(self, stop: threading.Event) -> tuple[str, object] | None:
        next_health = time.monotonic() + HEALTH_S
        while not stop.wait(TICK_S):
            self._looked = time.monotonic()
            failed = self._failed_part()
            if failed is not None:
                return failed
            if self._workers.advance():
                self._publisher.announce("info", self._health.info())
            if self._ledger.stalled_s < HESITANT_S:
                self._manager.alive()
            self._manager.status(self._health.summary(self._publisher))
            self._calendar.tick()
            self._watch_room()
            self._note_correction()
            if time.monotonic() >= next_health:
                next_health += HEALTH_S
                self._ledger.alive()
                self._monitor.check()
                memory.give_back()
                self._publisher.announce("health", self._health.health())
                # A broker may have dropped the end of the stream: only its highest sequence shows the centre that.
                self._publisher.announce("info", self._health.info())
        return None

    def _watch_room(self) -> None:
        """Say once that the disk lets less be read than before, and once that it lets everything be read again."""
        before, self._room = self._room, self._ledger.disk_state()
        self._pending.flush()
        if self._room == before:
            return
        log.warning("room_changed", room=self._room, before=before)
        if self._room == "none" or (self._room == "news" and before == "all"):
            self._publisher.alarm("disk_floor", _ROOM[self._room])
        elif self._room == "all":
            self._publisher.alarm("disk_room", _ROOM[self._room])

    def _note_correction(self) -> None:
        """Put on record that the gateway's own clock became trustworthy, and what was recorded before it was."""
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
        if self._stray is not None:
            return self._stray
        stalled_s = self._ledger.stalled_s
        if stalled_s > STALLED_S:
            return "ledger", f"its disk has not finished a transaction for {stalled_s:.0f} s; look at the disk"
        parts: list[tuple[str, BaseException | None, bool]] = [
            ("ledger", self._ledger.failure, True),
            ("publisher", self._publisher.failure, self._publisher.is_alive),
            ("commands", None, self._commands.is_alive),
            ("control", None, self._control.is_alive),
        ]
        for name, failure, alive in parts:
            if failure is not None or not alive:
                return name, failure or "its thread has ended"
        return self._workers.failed()

    def _stop(self) -> None:
        """End in the order of the road: nothing more comes in, what is there goes out, the ledger is closed."""
        if self._page is not None:
            self._page.stop()
        self._calendar.stop()
        self._workers.stop(GOODBYE_S)
        with suppress(LedgerError):  # which has failed: that is why all ends
            self._pending.close()
        self._commands.stop(0.5)
        self._publisher.stop(2.5)
        self._control.close()
        if self._page is not None:
            self._page.join(1.0)
        self._ledger.alive()
        self._ledger.close()
