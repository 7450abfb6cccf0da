"""Diagnoses the way from a terminal to the centre by small checks, root causes first.

A check changes nothing and displaces no connection: with a running daemon, terminals are visited by the daemon, since
many accept one connection only; and the connection to the broker has its own client id. Findings are codes and values,
whose texts are in :mod:`gateway.findings`; no PIN is among them.
"""

import errno
import json
import os
import queue
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from paho.mqtt.properties import Properties

from drivers import DRIVERS
from drivers.base import (
    BadRecord,
    Delivering,
    DriverError,
    Logged,
    Reading,
    Removable,
    Sizes,
    Terminal,
    TerminalRefused,
    TerminalUnavailable,
    UnreadableLog,
    marked_new,
)
from drivers.receiver.caller import CallerOptions
from drivers.receiver.listener import open_socket
from drivers.receiver.registry import UrlPath
from gateway.advice import judge_clock, obstacle
from gateway.broker_status import BrokerStatus
from gateway.caller_check import judge_app, judge_caller, judge_receiver
from gateway.clock import Clock
from gateway.control import Done, Failed, ask
from gateway.event import utc_text
from gateway.forecast import threshold
from gateway.ledger import FILE_NAME, Counts, LedgerError, LedgerReader, StoredEvent, in_use, receipt_from
from gateway.mqtt.failure import BrokerUnavailable, certificate_fault, is_incomplete
from gateway.mqtt.mailbox import RECEIPT
from gateway.mqtt.publisher import ALARM
from gateway.mqtt.session import (
    BAD_CREDENTIALS,
    EVENT,
    NO_MATCHING_SUBSCRIBERS,
    NOT_AUTHORISED,
    PLAIN,
    RETAINED,
    Acknowledged,
    Connected,
    Disconnected,
    MessageArrived,
    Session,
    Subscribed,
    tls_context,
)
from gateway.mqtt.timing import Timing
from gateway.settings import Mqtt, Settings, TerminalSettings, host_and_port
from gateway.timekeeper import Timekeeper

T = TypeVar("T")
Outcome = Literal["passed", "warned", "failed", "skipped"]
"""``failed`` prevents operation; ``warned`` does not, but punches are marked, or operation will fail soon."""

GATEWAY, BROKER = "gateway", "broker"
"""Sections other than terminals."""
MACHINE_STEPS = ("network", "daemon", "data_dir", "ledger", "disk", "clock", "receiver")
TERMINAL_STEPS = ("route", "port", "key", "serial", "terminal_clock", "log", "record")
BROKER_STEPS = ("name", "broker_port", "tls", "login", "receipts", "publish", "subscriber", "receipt", "session")

CONSEQUENCES: Mapping[str, frozenset[str]] = {
    root: frozenset(
        {"no_route", "terminal_name_unknown", "broker_name_unknown", "broker_silent", "clock_not_synchronised"}
    )
    for root in ("no_cable", "no_network")
} | {
    "clock_not_synchronised": frozenset({"clock_unjudged"}),
    "daemon_mute": frozenset({"daemon_silent"}),
    "strangers_call": frozenset({"another_serial_calls"}),
}
"""Finding → findings with the same remedy, which need no advice of their own."""
INTERFACES = Path("/sys/class/net")
ROUTES = Path("/proc/net/route")
ANYWHERE = "192.0.2.1"
"""A documentation address (RFC 5737), in place of a name that cannot be resolved without a network."""

STEP_S = 20.0
"""Timeout of a step of this machine or the broker."""
SLOW_LOG_S = 60.0
"""Time for a terminal to prepare the end of its log; a longer one is reported."""
ANSWER_S = 5.0
RECEIPT_S = 2.0
"""Timeout of a retained message."""
TAIL = 8
"""Number of records read to obtain the last one."""
RECENT = 500
"""Number of events searched for one to be sent again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One check and its result."""

    part: str
    """:data:`GATEWAY`, :data:`BROKER`, or a terminal's name."""
    name: str
    outcome: Outcome
    finding: str
    """Code of the finding; its text is formatted with ``values``."""
    values: Mapping[str, Any]
    took_s: float


class Finding(NamedTuple):
    """Result of one check without its duration."""

    step: str
    outcome: Outcome
    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """Checks of one part; after a check that times out the later ones are skipped."""

    part: str
    steps: tuple[str, ...]
    walk: Callable[[], Iterable[Finding]]
    """Yields findings in the order of ``steps``; ends early where the remaining checks are impossible."""
    deadline_s: float = STEP_S
    """For each step."""


def root_of(step: Step, before: Iterable[Step]) -> Step | None:
    """Return the earlier step whose failure causes this one's; None where it has its own cause."""
    return next((other for other in before if step.finding in CONSEQUENCES.get(other.finding, ())), None)


def examine(sections: Iterable[Section]) -> Iterator[Step]:
    """Run all sections concurrently; yield their steps in order, each before its deadline."""
    for walk in [_RunningSection(section) for section in sections]:
        yield from walk.steps()


class _RunningSection:
    """A running section, in a thread of its own; a hung one is abandoned."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._found: queue.SimpleQueue[tuple[Finding, float] | BaseException | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"doctor-{section.part}", daemon=True).start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for finding in self._section.walk():
                now = time.monotonic()
                self._found.put((finding, now - began))
                began = now
        except BaseException as exc:  # noqa: BLE001 - raised again by steps()
            self._found.put(exc)
        self._found.put(None)

    def steps(self) -> Iterator[Step]:
        part, left = self._section.part, list(self._section.steps)
        while left:
            try:
                result = self._found.get(timeout=self._section.deadline_s)
            except queue.Empty:
                values = {"seconds": f"{self._section.deadline_s:g}"}
                yield Step(part, left.pop(0), "failed", "too_slow", values, self._section.deadline_s)
                break
            if result is None:
                break
            if isinstance(result, BaseException):
                raise result
            finding, took_s = result
            left.remove(finding.step)
            yield Step(part, finding.step, finding.outcome, finding.name, finding.values, took_s)
        for name in left:
            yield Step(part, name, "skipped", "not_reached", {}, 0.0)


def _passed(step: str, name: str, **values: object) -> Finding:
    return Finding(step, "passed", name, values)


def _failed(step: str, name: str, **values: object) -> Finding:
    return Finding(step, "failed", name, values)


def _warned(step: str, name: str, **values: object) -> Finding:
    return Finding(step, "warned", name, values)


def _skipped(step: str, name: str, **values: object) -> Finding:
    return Finding(step, "skipped", name, values)


class _Daemon(NamedTuple):
    """The state of a gateway running on this machine."""

    status: Mapping[str, Any] | None
    """Its status; None where none answers."""
    hidden: str | None = None
    """The finding with the reason why one may run although none answers; None where none runs."""


def sections(settings: Settings, clock: Clock, timing: Timing | None = None) -> list[Section]:
    """Return all sections of a gateway, in the order of the data flow. ``timing`` is that of the broker."""
    daemon = _find_daemon(settings.data_dir)
    return [
        Section(GATEWAY, MACHINE_STEPS, lambda: _machine(settings, clock, daemon)),
        *(_terminal_section(settings, entry, clock, daemon) for entry in settings.terminals),
        Section(BROKER, BROKER_STEPS, lambda: _broker(settings, clock, daemon, timing or Timing())),
    ]


def _find_daemon(data_dir: Path) -> _Daemon:
    match ask(data_dir, "status"):
        case Done(daemon_status):
            return _Daemon(daemon_status)
        case Failed(code):
            return _Daemon(None, "daemon_hidden" if code == "not_permitted" else "daemon_mute")
    try:
        return _Daemon(None, "daemon_mute" if in_use(data_dir) else None)
    except OSError:
        return _Daemon(None, "daemon_hidden")


# ---------------------------------------------------------------- this machine


def _machine(settings: Settings, clock: Clock, daemon: _Daemon) -> Iterator[Finding]:
    folder, daemon_status = settings.data_dir, daemon.status
    yield _look_at_network(settings)
    if daemon_status is not None:
        yield _passed("daemon", "daemon_runs", version=daemon_status["version"])
    elif daemon.hidden is not None:
        yield _failed("daemon", daemon.hidden, folder=folder)
    else:
        yield _skipped("daemon", "no_daemon")
    yield (writable := _try_folder(folder))
    if writable.outcome == "failed":
        return
    yield _look_at_ledger(folder)
    yield _look_at_disk(settings)
    # A daemon may be configured to trust this machine's clock.
    synchronised = daemon_status["health"]["clock_synchronised"] if daemon_status else clock.synchronised()
    yield _passed("clock", "clock_synchronised") if synchronised else _warned("clock", "clock_not_synchronised")
    yield _look_at_receiver(settings, daemon)


def _look_at_receiver(settings: Settings, daemon: _Daemon) -> Finding:
    """Judge the port for terminals that call; without a daemon, try whether it can be opened."""
    if settings.receiver is None:
        return _skipped("receiver", "receiver_unused")
    if daemon.status is not None:
        seen = daemon.status.get("receiver")
        return _skipped("receiver", "receiver_unreported") if seen is None else Finding(*judge_receiver(seen))
    if daemon.hidden is not None:
        return _skipped("receiver", "left_alone")
    listen = settings.receiver.listen
    try:
        open_socket(*host_and_port(listen)).close()
    except OSError as exc:
        return _failed("receiver", "receiver_closed", listen=listen, reason=os.strerror(exc.errno or 0))
    return _passed("receiver", "receiver_free", listen=listen)


def _look_at_network(settings: Settings) -> Finding:
    """Check whether this machine is in any network, without sending a packet."""
    hosts = {settings.mqtt.host, *filter(None, map(_host, settings.terminals))}
    if all(_is_here(host) for host in hosts):
        return _skipped("network", "network_unused")
    try:
        plugged = [port for port in INTERFACES.iterdir() if port.name != "lo" and _has_carrier(port)]
    except OSError:  # no such file system: the routes decide
        plugged = [INTERFACES]
    if not plugged:
        return _failed("network", "no_cable")
    if not any(_has_route(host) for host in hosts if not _is_here(host)):
        return _failed("network", "no_network")
    return _passed("network", "network")


def _host(entry: TerminalSettings) -> str | None:
    """Return the host of a terminal that is in a network; None for a serial port or a folder."""
    address, port = getattr(entry, "address", None), getattr(entry, "port", None)
    if isinstance(address, str):
        return address.partition(":")[0]
    return port.removeprefix("tcp://").partition(":")[0] if isinstance(port, str) and "://" in port else None


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _has_carrier(interface: Path) -> bool:
    try:
        return (interface / "carrier").read_text("ascii").strip() == "1"
    except OSError:  # a disabled interface has no readable carrier
        return False


def _has_route(host: str) -> bool:
    """Return whether the kernel has a route to an address; no packet is sent."""
    try:
        address = ip_address(host)
    except ValueError:  # a name: that of a neighbour needs no router
        return _is_in_a_network() or _has_route(ANYWHERE)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
    return True


def _is_in_a_network() -> bool:
    """Return whether an interface with a carrier has an IPv4 route, as it has from its address on; see proc(5)."""
    try:
        lines = ROUTES.read_text("ascii").splitlines()[1:]
    except OSError:
        return False
    names = {line.partition("\t")[0].strip() for line in lines} - {"", "lo"}
    return any(_has_carrier(INTERFACES / name) for name in names)


def _try_folder(folder: Path) -> Finding:
    """Write a small file into the data directory, or its nearest existing parent, and force it to the disk."""
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest, prefix=".doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        names = {
            errno.ENOSPC: "disk_full",
            errno.EDQUOT: "disk_full",
            errno.EROFS: "read_only",
            errno.EACCES: "no_permission",
            errno.EPERM: "no_permission",
        }
        name = names.get(exc.errno or 0, "not_writable")
        return _failed("data_dir", name, folder=folder, reason=exc.strerror or str(exc))
    return _passed("data_dir", "writable" if nearest == folder else "made_at_start", folder=folder)


def _look_at_ledger(folder: Path) -> Finding:
    if not (folder / FILE_NAME).exists():
        return _skipped("ledger", "no_ledger")
    try:
        counts = ledger_counts(folder)
    except (LedgerError, OSError) as exc:
        return _failed("ledger", "ledger_unusable", reason=str(exc))
    if counts.altered:
        return _failed("ledger", "ledger_altered", events=counts.altered)
    return _passed("ledger", "ledger_counts", events=counts.sequence, waiting=counts.waiting)


def ledger_counts(folder: Path) -> Counts:
    """Return the counts of the ledger in a folder; LedgerError or OSError where it cannot be read."""
    with closing(LedgerReader(folder)) as reader:
        return reader.counts()


def _look_at_disk(settings: Settings) -> Finding:
    folder = next(place for place in (settings.data_dir, *settings.data_dir.parents) if place.exists())
    free, floor = shutil.disk_usage(folder).free, settings.retention.free_floor
    values = {"free": _mebibytes(free), "floor": _mebibytes(floor)}
    return Finding("disk", "failed" if free <= floor else "passed", "below_floor" if free <= floor else "room", values)


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:,.0f} MiB"


# ---------------------------------------------------------------- terminals


def _terminal_section(settings: Settings, entry: TerminalSettings, clock: Clock, daemon: _Daemon) -> Section:
    patience_s: float = getattr(entry, "timeout", ANSWER_S)
    if DRIVERS[entry.driver].attach is not None:
        return Section(entry.name, TERMINAL_STEPS, lambda: _findings_of_caller(entry, clock, daemon))
    if daemon.hidden is not None:  # it may hold the terminal's only connection
        return Section(entry.name, TERMINAL_STEPS, lambda: [_skipped("route", "left_alone")])
    if (daemon_status := daemon.status) is not None:
        wait_s = 2 * patience_s
        return Section(
            entry.name,
            TERMINAL_STEPS,
            lambda: _findings_of_daemon(settings, entry, wait_s, daemon_status),
            wait_s + STEP_S,
        )
    return Section(entry.name, TERMINAL_STEPS, lambda: _met(settings, entry, clock), SLOW_LOG_S + 2 * patience_s)


def _obstacle(cause: str, code: str | None, reason: str, reached: str) -> Iterator[Finding]:
    """Yield the findings of an error: earlier steps passed; it belongs to its own step, or to the reached one.

    ``code`` is the reason for programs, ``reason`` the driver's message.
    """
    step, name = obstacle(cause, code)
    at = TERMINAL_STEPS.index(reached)
    if TERMINAL_STEPS.index(step) < at:  # an error after the connection was established
        step, name = reached, "broke_off" if cause == "unavailable" else name
    yield from (_passed(before, "fine") for before in TERMINAL_STEPS[at : TERMINAL_STEPS.index(step)])
    yield _failed(step, name, reason=reason)


def _findings_of_daemon(
    settings: Settings, entry: TerminalSettings, wait_s: float, daemon_status: Mapping[str, Any]
) -> Iterator[Finding]:
    """Let the running daemon visit a terminal, whose only connection it may hold; yield the findings."""
    answer = ask(settings.data_dir, "visit", timeout_s=wait_s + ANSWER_S, terminal=entry.name, wait_s=wait_s)
    if isinstance(answer, Failed):
        yield _failed("route", "daemon_refuses", reason=answer.message)
        return
    if not isinstance(answer, Done):  # it has stopped meanwhile
        yield _failed("route", "daemon_silent")
        return
    visit = answer.data
    state = visit["state"]
    if not visit["finished"]:  # its state may be older than a visit that has just ended
        if state["state"] == "online":
            yield _skipped("route", "still_busy")
        elif state["cause"] is None:
            yield _failed("route", "not_visited", reason=state["reason"])
        else:
            yield from _obstacle(state["cause"], visit.get("reason_code"), state["reason"], "route")
        return
    yield from (_passed(step, "daemon_holds_it") for step in ("route", "port", "key"))
    yield _passed("serial", "serial", serial=state["serial"])
    yield from _findings_of_state(entry, state, daemon_status)


def _findings_of_caller(entry: TerminalSettings, clock: Clock, daemon: _Daemon) -> Iterator[Finding]:
    """Judge a terminal that calls by what the running daemon has seen of it."""
    if daemon.hidden is not None:
        yield _skipped("route", "left_alone")
        return
    receiver = (daemon.status or {}).get("receiver")
    if daemon.status is None or receiver is None:
        yield _skipped("route", "calls_only")
        return
    if not receiver["open"]:
        yield _failed("route", "receiver_closed", listen=receiver["listen"], reason=receiver["problem"])
        return
    state = daemon.status["terminals"].get(entry.name)
    if state is None:
        yield _failed("route", "daemon_refuses", reason="hadir reload")
        return
    key = entry.key() if isinstance(entry, CallerOptions) else None
    if isinstance(key, UrlPath):
        found = [*judge_app(entry.name, key.value, receiver, now=clock.now())]
    else:
        found = [*judge_caller(entry.name, receiver, last_punch=state["last_punch"], now=clock.now())]
    later = {one.step: Finding(*one) for one in found if one.step in ("terminal_clock", "record")}
    yield from (Finding(*one) for one in found if one.step not in later)
    if any(one.outcome == "failed" for one in found):
        return
    for finding in _findings_of_state(entry, state, daemon.status):
        yield later.get(finding.step, finding)


def _findings_of_state(
    entry: TerminalSettings, state: Mapping[str, Any], daemon_status: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield the findings about the clock, the log and the last record, as the running daemon knows them."""
    clock = state["clock"]
    synchronised = daemon_status["health"]["clock_synchronised"]
    evidence = None if clock is None else (clock["offset_ms"], clock["bound_ms"])
    yield _judged_clock(entry, evidence, has_clock=clock is not None, synchronised=synchronised)
    yield _judged_log(Sizes(state["records"], state["capacity"]))
    if state["last_punch"] is None:
        yield _skipped("record", "no_punch_yet")
    else:
        yield _passed("record", "last_punch", local_time=state["last_punch"].replace("T", " "))


def _met(settings: Settings, entry: TerminalSettings, clock: Clock) -> Iterator[Finding]:
    """Check a terminal to which no daemon is connected."""
    driver = DRIVERS[entry.driver]
    options = entry.model_copy(update={"bulk_timeout": min(SLOW_LOG_S, getattr(entry, "bulk_timeout", SLOW_LOG_S))})
    reached = "route"
    try:
        with driver.connect(options) as terminal:
            for finding in _conversation(settings, entry, terminal, clock):
                yield finding
                if finding.outcome == "failed" and finding.step == "serial":
                    return  # another terminal: its data are irrelevant
                reached = next((later for step, later in pairwise(TERMINAL_STEPS) if step == finding.step), reached)
    except TerminalUnavailable as exc:
        yield from _obstacle("unavailable", exc.reason, str(exc), reached)
    except (TerminalRefused, UnreadableLog) as exc:
        yield from _obstacle("refused", exc.reason, str(exc), reached)
    except DriverError as exc:
        yield from _obstacle("protocol", exc.reason, str(exc), reached)


def _conversation(settings: Settings, entry: TerminalSettings, terminal: Terminal, clock: Clock) -> Iterator[Finding]:
    yield from (_passed(step, "fine") for step in ("route", "port", "key"))
    reported = terminal.serial() if DRIVERS[entry.driver].has_serial else ""
    yield _judged_serial(entry, reported, _known_serial(settings, entry.name))
    requested = clock.now()
    keeper = Timekeeper(settings.zone(entry), None)
    keeper.measure(terminal.read_clock(), requested, 0.0, synchronised=True)
    evidence = None if keeper.evidence is None else (keeper.evidence.offset_ms, keeper.evidence.bound_ms)
    has_clock = isinstance(terminal, Logged)
    yield _judged_clock(entry, evidence, has_clock=has_clock, synchronised=clock.synchronised())
    if isinstance(terminal, Removable):
        yield _passed("log", "medium_there") if terminal.present() else _skipped("log", "no_medium")
        return
    if not isinstance(terminal, Logged):
        yield _skipped("log", "no_log")
        return
    sizes = terminal.sizes()
    yield _judged_log(sizes)
    yield _last_record(terminal, sizes)


def _known_serial(settings: Settings, name: str) -> str | None:
    """Return the pinned serial number; None without one, or without a readable ledger."""
    with suppress(LedgerError, OSError), closing(LedgerReader(settings.data_dir)) as reader:
        known = reader.terminal(name)
        return known.serial if known else None
    return None


def _judged_serial(entry: TerminalSettings, reported: str, learned: str | None) -> Finding:
    expected = entry.serial or learned
    if not reported and entry.serial is None:
        return _failed("serial", "serial_not_told", reason="")
    if reported and expected is not None and reported != expected:
        return _failed("serial", "serial_differs", reason=f"{reported}, {expected} is expected")
    return _passed("serial", "serial", serial=reported or entry.serial)


def _judged_clock(
    entry: TerminalSettings, evidence: tuple[int, int] | None, *, has_clock: bool, synchronised: bool
) -> Finding:
    """Judge a terminal's clock by its offset and the bound of the offset; None: it shows no valid date."""
    if evidence is None:
        return _warned("terminal_clock", "clock_impossible") if has_clock else _skipped("terminal_clock", "no_clock")
    offset_ms, bound_ms = evidence
    name = judge_clock(offset_ms, bound_ms, entry.clock.tolerance, synchronised=synchronised)
    values = {"seconds": f"{offset_ms / 1000:+,.1f}", "tolerance": f"{entry.clock.tolerance:g}"}
    return Finding("terminal_clock", "passed" if name == "clock_right" else "warned", name, values)


def _judged_log(sizes: Sizes) -> Finding:
    if sizes.records is None:
        return _skipped("log", "not_counted")
    values = {"records": f"{sizes.records:,}", "capacity": f"{sizes.capacity:,}" if sizes.capacity else "?"}
    if threshold(sizes.records, sizes.capacity) >= 90:
        return _warned("log", "log_filling", **values)
    return _passed("log", "log_size", **values)


def _last_record(terminal: Logged, sizes: Sizes) -> Finding:
    if not isinstance(terminal, Delivering):
        return _judged_record(terminal.read(max(0, (sizes.records or 0) - TAIL)))
    if not 0 < (sizes.new or 0) <= TAIL * TAIL:
        return _skipped("record", "not_read")  # its log is sent from the beginning, over a slow line
    with marked_new(terminal) as reading:
        return _skipped("record", "no_punch_yet") if reading is None else _judged_record(reading)


def _judged_record(reading: Reading) -> Finding:
    last = None
    for last in reading.records:  # noqa: B007 - the end of it is wanted
        pass
    if last is None:
        return _skipped("record", "no_punch_yet")
    if isinstance(last, BadRecord):
        return _failed("record", "record_unreadable", layout=reading.layout)
    return _passed("record", "last_record", local_time=f"{last.local_time}", layout=reading.layout)


# ---------------------------------------------------------------- the broker


class _Trial(NamedTuple):
    """A harmless message on a topic of this gateway."""

    topic: str
    body: bytes
    properties: Properties
    evidence: bool
    """An event of the ledger, which consumers deduplicate by id; an alarm where there is none."""


def _broker(settings: Settings, clock: Clock, daemon: _Daemon, timing: Timing) -> Iterator[Finding]:
    ours = settings.mqtt
    where = f"{ours.host}:{ours.port}"
    try:
        found = socket.getaddrinfo(ours.host, ours.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        yield _failed("name", "broker_name_unknown", host=ours.host, reason=getattr(exc, "strerror", None) or str(exc))
        return
    yield _passed("name", "address", addresses=", ".join(sorted({str(address[0]) for *_, address in found})))
    try:
        with socket.create_connection((ours.host, ours.port), timing.connect_s) as connection:
            yield _passed("broker_port", "broker_port_open", where=where)
            if ours.tls:
                yield (secure := _try_tls(ours, connection))
                if secure.outcome == "failed":
                    return
            else:
                yield _skipped("tls", "not_encrypted")
    except OSError as exc:
        name = "broker_refuses_port" if isinstance(exc, ConnectionRefusedError) else "broker_silent"
        yield _failed("broker_port", name, where=where, reason=exc.strerror or str(exc))
        return
    yield from _visit_broker(settings, clock, daemon.status, timing)


def _try_tls(ours: Mqtt, connection: socket.socket) -> Finding:
    try:
        # null: not required yet. The finding reports what will be missing.
        context = tls_context(ours, strict=ours.strict_certificates is not False)
    except (OSError, ValueError) as exc:
        return _failed("tls", "tls_files", reason=str(exc))
    try:
        with context.wrap_socket(connection, server_hostname=ours.host) as secured:
            return _passed("tls", "tls", version=secured.version() or "TLS")
    except ssl.SSLCertVerificationError as exc:
        if ours.strict_certificates is None and is_incomplete(exc):
            return _warned("tls", "tls_incomplete", reason=exc.verify_message)
        return _failed("tls", "not_trusted", reason=certificate_fault(exc))
    except OSError as exc:
        return _failed("tls", "no_tls", reason=getattr(exc, "reason", None) or exc.strerror or str(exc))


class _BrokerConnection:
    """A connection to the broker, independent of the daemon's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._receipt: bytes | None = None
        self._end: Disconnected | None = None

    def subscribe(self, topic: str) -> Subscribed | None:
        """Return the broker's answer; None without one."""
        self._session.subscribe({topic: RETAINED})
        return self._answer(Subscribed, ANSWER_S)

    def publish(self, trial: "_Trial") -> Acknowledged | None:
        """Return the broker's answer; None without one."""
        self._session.publish(trial.topic, trial.body, trial.properties)
        return self._answer(Acknowledged, ANSWER_S)

    def wait_for_receipt(self) -> bytes | None:
        """Return the retained receipt; None without one."""
        self._take_receipt()
        if self._receipt is None:
            self._answer(MessageArrived, RECEIPT_S)
            self._take_receipt()
        return self._receipt

    def _answer(self, kind: type[T], timeout_s: float) -> T | None:
        """Return an answer of one kind; None after the timeout, or the end of the connection."""
        if self._end is not None:
            return None
        answer = self._session.wait_for(kind, Disconnected, timeout_s=timeout_s)
        if isinstance(answer, Disconnected):
            self._end = answer
            return None
        return answer

    def _take_receipt(self) -> None:
        statements, _, _ = self._session.mailbox.take()
        if RECEIPT in statements:
            self._receipt = statements[RECEIPT].payload


def _visit_broker(
    settings: Settings, clock: Clock, daemon_status: Mapping[str, Any] | None, timing: Timing
) -> Iterator[Finding]:
    try:
        session = Session(settings.mqtt, f"{settings.client_id}-doctor", settings.topic_prefix, timing=timing)
    except BrokerUnavailable as exc:
        yield _failed("login", "login_files", reason=str(exc))
        return
    try:
        try:
            answer: Connected | Disconnected | OSError | None = session.connect()
        except OSError as exc:
            answer = exc
        yield (login := _judged_login(settings.mqtt, answer))
        if login.outcome == "failed":
            return
        line = _BrokerConnection(session)
        yield _judged_subscription(line.subscribe(RECEIPT))
        trial = _trial(settings, clock)
        yield from _judged_publish(settings, trial, line.publish(trial))
        yield _judged_receipt(settings, line.wait_for_receipt())
        yield _judged_session(daemon_status)
    finally:
        session.close(gracefully=True)


def _judged_login(ours: Mqtt, answer: Connected | Disconnected | OSError | None) -> Finding:
    if answer is None:
        return _failed("login", "says_nothing")
    if not isinstance(answer, Connected):
        reason = answer.text if isinstance(answer, Disconnected) else answer.strerror or str(answer)
        return _failed("login", "wants_certificate" if ours.tls else "login_broke", reason=reason)
    if answer.code in BAD_CREDENTIALS:
        return _failed("login", "login_refused", reason=answer.text)
    if answer.code:
        return _failed("login", "connection_refused", reason=answer.text)
    return _passed("login", "login" if ours.username else "login_nameless")


def _judged_subscription(reply: Subscribed | None) -> Finding:
    if reply is None:
        return _failed("receipts", "subscription_unanswered")
    reason = reply.reasons[0]
    if reason.value >= 0x80:
        return _failed("receipts", "subscription_refused", topic=RECEIPT, reason=str(reason))
    return _passed("receipts", "subscription_granted", topic=RECEIPT)


def _trial(settings: Settings, clock: Clock) -> _Trial:
    """Choose a harmless message: an event that was sent before, byte for byte, preferably a punch.

    Before there is any, an alarm that says what it is.
    """
    event = None
    with suppress(LedgerError, OSError), closing(LedgerReader(settings.data_dir)) as reader:
        event = _sent_before(reader)
    if event is not None:
        return _Trial(event.topic, event.body.encode(), EVENT, evidence=True)
    message = "hadir doctor tries whether this gateway may publish; nothing is wrong"
    alarm = {"at": utc_text(clock.now()), "alarm": "doctor_called", "terminal": None, "message": message}
    return _Trial(ALARM, json.dumps(alarm, separators=(",", ":")).encode(), PLAIN, evidence=False)


def _sent_before(reader: LedgerReader) -> StoredEvent | None:
    """Return an event that was sent before, preferably the newest punch; else the first waiting one, if any."""
    after = max(0, reader.last_sequence() - RECENT)
    waiting = {event.sequence for event in reader.pending(after, RECENT)}
    held = [event for event in reader.events(after, RECENT) if not event.is_altered]
    sent = [event for event in held if event.sequence not in waiting]
    punches = [event for event in sent if event.topic.startswith("punch/")]
    first = [event for event in reader.pending(0, RECENT) if not event.is_altered]
    return next(iter([*punches[-1:], *sent[-1:], *first]), None)


def _judged_publish(settings: Settings, trial: _Trial, answer: Acknowledged | None) -> Iterator[Finding]:
    topic = f"{settings.topic_prefix}/{trial.topic}"
    if answer is None:
        yield _failed("publish", "publish_unanswered", topic=topic)
        yield _skipped("subscriber", "not_reached")
    elif settings.mqtt.protocol != 5:
        yield _skipped("publish", "refusals_invisible")
        yield _skipped("subscriber", "refusals_invisible")
    elif answer.code >= 0x80:
        name = "publish_forbidden" if answer.code == NOT_AUTHORISED else "publish_refused"
        yield _failed("publish", name, topic=topic, reason=str(answer.reason))
        yield _skipped("subscriber", "not_reached")
    else:
        yield _passed("publish", "publish_taken", topic=topic)
        if answer.code != NO_MATCHING_SUBSCRIBERS:
            yield _passed("subscriber", "subscriber_there", topic=topic)
        elif trial.evidence:
            yield _failed("subscriber", "no_subscriber", topic=topic)
        else:
            yield _skipped("subscriber", "no_subscriber_to_alarms")


def _judged_receipt(settings: Settings, payload: bytes | None) -> Finding:
    if not payload:
        if settings.delivery.confirm == "centre":
            return _failed("receipt", "receipt_missing")
        return _skipped("receipt", "no_receipt")
    try:
        receipt = receipt_from(payload)
    except ValueError:
        return _failed("receipt", "receipt_unreadable")
    try:
        with closing(LedgerReader(settings.data_dir)) as reader:
            base, assigned = reader.base_of(receipt.stream), reader.assigned()
    except (LedgerError, OSError):
        return _skipped("receipt", "receipt_unjudged")
    if base is None:
        return _failed("receipt", "receipt_foreign")
    lacks = sum(last - first + 1 for first, last in receipt.missing)
    if receipt.upto == 0 or lacks >= receipt.upto:
        return _skipped("receipt", "receipt_empty")
    return _passed("receipt", "receipt_seen", upto=receipt.upto, assigned=assigned, missing=lacks)


def _judged_session(daemon_status: Mapping[str, Any] | None) -> Finding:
    """Check the daemon's own connection: only there two machines with one name are detected."""
    if daemon_status is None:
        return _skipped("session", "no_daemon")
    status = BrokerStatus.of(daemon_status)
    if status.hindered:
        return _failed("session", "daemon_troubled", reason=status.text())
    if status.connected:
        return _passed("session", "daemon_connected")
    own = {"taken": "client_taken", "replaced": "copy_stopped"}  # detected only by the daemon's own connection
    return _failed("session", own.get(status.cause or "", "daemon_not_connected"), reason=status.text())
