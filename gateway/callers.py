"""The receiver in the daemon: its settings, the terminals that may call, log lines, alarms, and the status of both."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from drivers.receiver.caller import CallerOptions
from drivers.receiver.listener import Config, Limits, Receiver
from drivers.receiver.registry import Caller, Expected, Handler, Key, Registry
from gateway.clock import Clock
from gateway.event import utc_text
from gateway.incidents import alarm_message, log_incident
from gateway.log import get_logger
from gateway.settings import Receiver as ReceiverSettings
from gateway.settings import Settings, TerminalSettings, host_and_port
from gateway.trace import origin, trace

STRANGER_EVERY = timedelta(days=1)
"""A terminal that is not configured is reported so often while it calls."""
STRANGER_ALARMS = 10
"""Alarms about such terminals in that time; the status lists all."""
STRANGER_REPORTS = 1000
"""Lines in the log about such terminals in that time: anybody can call with any number of serial numbers."""

log = get_logger("receiver")


def config_of(settings: ReceiverSettings) -> Config:
    """Return the receiver's configuration."""
    host, port = host_and_port(settings.listen)
    limits = settings.limits
    return Config(
        host,
        port,
        strangers=settings.strangers,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        limits=Limits(
            connections=limits.connections,
            per_address=limits.per_address,
            head_bytes=limits.head_bytes,
            head_s=limits.head_timeout,
            body_bytes=limits.body_bytes,
            body_s=limits.body_timeout,
            discarded_bytes=limits.discard_bytes,
            discarded_s=limits.discard_timeout,
            memory_bytes=limits.memory_bytes,
            hold_s=limits.hold,
            rate=limits.requests_per_second,
            burst=limits.burst,
        ),
    )


def expected_callers(settings: Settings) -> Mapping[Key, Expected]:
    """Return the terminals of the configuration that call."""
    entries: Iterable[object] = settings.terminals  # each is an instance of the options of its driver, too
    return {entry.key(): entry.expected() for entry in entries if isinstance(entry, CallerOptions)}


class Port:
    """The way of one terminal's driver to the receiver; a :class:`drivers.base.CallerPort`."""

    def __init__(
        self, registry: Registry, terminal: TerminalSettings, zone: ZoneInfo, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._terminal = terminal
        self._clock = clock
        self.zone = zone
        self.wake = wake

    def register(self, key: Key, handler: Handler) -> AbstractContextManager[None]:
        """Let ``handler`` serve the requests of ``key`` within the block."""
        return self._registry.register(key, handler)

    def count_refused(self, key: Key, why: str) -> None:
        """Count a request that its handler refused."""
        self._registry.count(key, why)

    def note_ahead(self, key: Key, seconds: int) -> None:
        """Note how far the latest time in an upload lies ahead of its reception."""
        self._registry.note_ahead(key, seconds)

    @property
    def sets_clock(self) -> bool:
        """Whether the configuration lets the terminal's clock be set."""
        return self._terminal.clock.set != "never"

    def trusted_now(self) -> datetime | None:
        """Return this computer's time; None where its clock is not synchronised."""
        return self._clock.now() if self._clock.synchronised() else None


class Callers:
    """The terminals that call this machine, configured ones and strangers. Thread-safe."""

    def __init__(self, clock: Clock, alarm: Callable[[str, str, str | None], None]) -> None:
        """Open nothing yet; ``alarm`` raises alarms."""
        self._clock = clock
        self._alarm = alarm
        self._registry = Registry(clock.now)
        self._receiver = Receiver(self._registry, report=self._report)
        self._is_started = False
        self._reported: dict[Key, datetime] = {}
        """Strangers → when they were reported last."""

    def open(self, settings: Settings) -> None:
        """Listen, before the workers start. A port that cannot be opened is tried again: others are read meanwhile."""
        self._apply(settings, retry=True)

    def change(self, settings: Settings) -> None:
        """Apply changed settings; OSError, with nothing changed, where the port or the certificate cannot be used."""
        self._apply(settings, retry=False)

    def _apply(self, settings: Settings, *, retry: bool) -> None:
        config = None if settings.receiver is None else config_of(settings.receiver)
        self._receiver.configure(config, retry=retry)
        self._registry.expect(expected_callers(settings))
        if config is not None and not self._is_started:
            self._receiver.start()
            self._is_started = True

    def close(self) -> None:
        """Close the port, after the workers have ended."""
        self._receiver.close()

    @property
    def has_failed(self) -> bool:
        """Whether the receiver's thread has ended by itself."""
        return self._is_started and not self._receiver.is_alive

    def port(self, terminal: TerminalSettings, zone: ZoneInfo, wake: Callable[[], None]) -> Port:
        """Return the way of a terminal's driver to the receiver."""
        return Port(self._registry, terminal, zone, self._clock, wake)

    def check(self) -> None:
        """Report strangers that called since they were reported last; to be called regularly."""
        now = self._clock.now()
        self._reported = {key: at for key, at in self._reported.items() if now - at < STRANGER_EVERY}
        for caller in self._registry.callers():
            if caller.name is not None or caller.key in self._reported or now - caller.last_seen > STRANGER_EVERY:
                continue
            if len(self._reported) >= STRANGER_REPORTS:
                break
            self._reported[caller.key] = now
            log_incident(log, "stranger_called", serial=caller.key.value, address=caller.address)
            if len(self._reported) <= STRANGER_ALARMS:
                message = alarm_message("stranger_called", serial=caller.key.value, address=caller.address)
                self._alarm("stranger_called", message, None)

    def _report(self, event: str, /, **fields: Any) -> None:
        if event == "request_failed":
            error = fields.pop("error")
            log.error("request_failed", **fields, error=origin(error), trace=trace(error))
        elif event == "receiver_unavailable":
            log_incident(log, "receiver_unavailable", **fields)
            self._alarm("receiver_unavailable", alarm_message("receiver_unavailable", **fields), None)
        elif event == "receiver_opened":
            log.info("receiver_opened", **fields)
        else:
            log.warning("connections_refused", **fields)

    def status(self) -> dict[str, Any] | None:
        """Return the receiver's state, its counters and who called; None where nothing is opened by configuration."""
        found = self._receiver.status()
        if found.listen is None:
            return None
        callers = self._registry.callers()
        return {
            "listen": found.listen,
            "open": found.is_open,
            "problem": found.problem,
            "connections": found.connections,
            "held": found.held,
            "held_too_long": found.held_too_long,
            "memory_bytes": found.memory_bytes,
            "failures": found.failures,
            "replies": {str(code): number for code, number in sorted(found.replies.items())},
            "closed": dict(found.closed),
            "faults": dict(found.faults),
            "faulty_addresses": dict(found.addresses),
            "callers": {caller.name: _caller(caller) for caller in callers if caller.name is not None},
            "strangers": [_caller(caller) for caller in reversed(callers) if caller.name is None],
        }


def _caller(caller: Caller) -> dict[str, Any]:
    return {
        "serial": caller.key.value,
        "address": caller.address,
        "first_seen": utc_text(caller.first_seen),
        "last_seen": utc_text(caller.last_seen),
        "last_post": None if caller.last_post is None else utc_text(caller.last_post),
        "requests": dict(caller.requests),
        "refused": dict(caller.refused),
        "host": caller.host,
        "proxied": caller.is_proxied,
        "device_type": caller.device_type,
        "push_version": caller.push_version,
        "ahead_s": caller.ahead_s,
    }
