"""`hadir demo`: the whole road on one machine, without set-up, with numbers and verdicts at the end that must be right.

Five simulated terminals, three on real sockets, one on a serial line and one that calls, the real daemon in a process
of its own, a real MQTT 5 broker, the reference centre in another process, and a subscriber that shows what passes by.
They replay yesterday in an invented office. Everything lives in temporary folders and ends with the command.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from ruamel.yaml import YAML

from drivers.anviz import simulator as anviz
from gateway.demo.clock import ReplayedTime
from gateway.demo.folder import demo_folder
from gateway.demo.office import (
    ACCOUNTS,
    COMM_KEY,
    LATE,
    PASSWORD,
    REGISTERS,
    SITE,
    ZONE,
    Office,
    Terminals,
    make_terminals,
    served,
    without_serial_line,
)
from gateway.demo.replay import BEGIN, Replay
from gateway.demo.screen import Screen, Words, print_result
from gateway.demo.script import Difference, Key, Verdict, differences, verdict_of
from gateway.demo.subscriber import Subscriber
from gateway.demo.totals import LOOK_S, P, Totals, measure_totals, settle
from gateway.embedded_broker import embedded_broker
from gateway.texts import Count, Language, Message, _

DAY_S = 40.0
"""How long the day takes where no duration is given; a busy machine takes longer."""
WORK_STEP_S = 5.0
"""Seconds of the processor that count as a step of work."""
PATIENCE_S = 600.0
"""Timeout of a started program to answer or end, on a busy machine."""
LAST_WORDS = 10
"""Lines of a program's log that are shown where it failed."""
CENTRE, GATEWAY, PAGES = "centre", "daemon", "pages"
_DAEMON = (sys.executable, "-m", "gateway.demo.daemon")
_CENTRAL = (sys.executable, "-m", "central.cli")
_REPLAYED_CENTRAL = (sys.executable, "-m", "central.replay")
_PAPER = ("--by", "demo", "--paper", "Contoh 1/2026")

Processes = dict[str, subprocess.Popen[bytes]]


class GaveUp(Exception):  # noqa: N818 - named by what happened
    """The day cannot be finished: a program ended, nothing moved for long, or the person left."""


@dataclass(frozen=True)
class _Judging:
    """How far the verdicts are from those meant."""

    differing: tuple[Difference, ...]
    received: int

    @property
    def waiting(self) -> Message | None:
        """How many verdicts are not as meant yet."""
        if not self.differing:
            return None
        return Message(_("the centre to judge {count} more days as they are meant"), count=len(self.differing))


@dataclass(frozen=True)
class _Connected:
    """Whether the centre has entered the registers and is connected to the broker."""

    connected: bool
    lines: int
    """Of its log: they come one after another while it enters the registers."""

    @property
    def waiting(self) -> Message | None:
        return None if self.connected else Message(_("the centre to enter the registers of the office"))


@dataclass(frozen=True)
class _Serving:
    """Which pages do not answer yet, by their address."""

    silent: tuple[str, ...]

    @property
    def waiting(self) -> Message | None:
        return Message(_("the pages at {addresses}"), addresses=", ".join(self.silent)) if self.silent else None


@dataclass(frozen=True)
class _Demo:
    """The parts of a running demo."""

    console: Console
    words: Words
    folder: Path
    office: Office
    clock: ReplayedTime
    terminals: Terminals
    subscriber: Subscriber
    processes: Processes
    screen: Screen
    signals: "_Signals"
    addresses: tuple[str, ...]
    """Of the pages: host and port."""
    start_others: Callable[[], None]
    """Start gateway and pages: after the centre's first connection. From then on the broker keeps messages for it, and
    its database exists."""

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def ended(self) -> bool:
        """Return whether a program has ended, or the person wants no more."""
        return self.signals.leave.is_set() or any(process.poll() is not None for process in self.processes.values())

    def waited(self, measure: Callable[[], P]) -> P:
        """Wait as :func:`settle` does; raises GaveUp where something is still missing."""
        found = self.settle(measure)
        if found.waiting is not None:
            raise GaveUp(self.words.message(found.waiting))
        return found

    def settle(self, measure: Callable[[], P]) -> P:
        """Wait as long as numbers move, and say what for."""

        def show(waiting: Message) -> None:
            self.screen.show(self.words.text(_("waiting for {what}"), what=self.words.message(waiting)))

        return settle(measure, self.ended, show, work=self.worked)

    def worked(self) -> int:
        """Return how long the programs have used the processor, in steps that idle ones take minutes for."""
        return int(sum(map(_processor_s, self.processes.values())) / WORK_STEP_S)

    def connected(self) -> _Connected:
        """Look into the centre's log, which is JSON after what the imports print."""
        lines = (self.folder / f"{CENTRE}.log").read_text("utf-8", errors="replace").splitlines()
        events = [json.loads(line)["event"] for line in lines if line.startswith("{") and line.endswith("}")]
        return _Connected("broker_found" in events, len(lines))

    def serving(self) -> _Serving:
        """Look which pages take connections."""
        return _Serving(tuple(address for address in self.addresses if not _listens(address)))

    def totals(self) -> Totals:
        """Return punches by place, but for the centre's."""
        found = measure_totals(self.data_dir, sum(terminal.count for terminal in self.terminals.values()))
        return replace(found, verdicts=self.subscriber.received)

    def judging(self) -> _Judging:
        """Compare the verdicts that the centre has published."""
        judged = {(one.person, one.date): one for one in self.subscriber.judged()}
        found = {key: one.verdict for key, one in judged.items()}
        doubts = {key: one.doubts for key, one in judged.items()}
        return _Judging(tuple(differences(self.office.script, found, doubts)), self.subscriber.received)

    def enter_late(self) -> None:
        """Enter the papers of the evening."""
        command = [*_REPLAYED_CENTRAL, str(self.folder / "clock")]
        for kind, name in LATE.items():
            command += [*_import(kind, self.folder, self.office.folder / name, self.office.policies), "--"]
        _central(self.folder, command)


# Longer than 60 lines: each part needs those before it, and is named once more for what runs the day.
def demo(
    for_s: float | None,
    *,
    plain: bool = False,
    language: Language = Language.ENGLISH,
    day: date | None = None,
    hold: timedelta | None = None,
    weeks: int = 0,
) -> int:
    """Replay the day within about ``for_s`` seconds and end; None: stay after it until Ctrl-C.

    ``day`` is by default the last one from Monday to Friday before today.
    ``weeks`` with invented punches lie before it. At ``hold``, a time of the day, all stands still until Ctrl-C.
    Returns 0 if everything is at the centre and judged as the script means it, 1 if not.
    """
    console, words = Console(), Words(language)
    day = day or last_workday(datetime.now(ZONE).date())
    with demo_folder() as folder, ExitStack() as stack:
        signals = stack.enter_context(_handled_signals())
        page = stack.enter_context(_reserved())
        pages = _announce(stack, page, console, words)
        office = Office(day, folder / "office", weeks)
        clock = ReplayedTime(folder / "clock", datetime(day.year, day.month, day.day, tzinfo=ZONE) + BEGIN)
        stack.callback(clock.close)
        terminals = make_terminals(office, clock)
        receiver = stack.enter_context(_reserved())
        entries = _serve_all(stack, office, clock, terminals, receiver, console, words)
        port = stack.enter_context(embedded_broker(folder))
        subscriber = Subscriber(port)
        stack.callback(subscriber.close)
        configuration = _configuration(folder, port, page, receiver, entries)
        processes: Processes = {}

        def start(name: str, command: list[str]) -> None:
            processes[name] = stack.enter_context(_running(folder, name, command))

        def start_others() -> None:
            start(GATEWAY, [*_DAEMON, str(folder / "clock"), str(configuration)])
            if pages is not None:
                start(PAGES, _pages_command(folder, office, pages))

        start(CENTRE, _centre_command(folder, office, port))
        plain = plain or not console.is_terminal
        screen = Screen(console, office, terminals, clock, subscriber, words, plain=plain)
        running = _Demo(
            console=console,
            words=words,
            folder=folder,
            office=office,
            clock=clock,
            terminals=terminals,
            subscriber=subscriber,
            processes=processes,
            screen=screen,
            signals=signals,
            addresses=tuple(filter(None, (page, pages))),
            start_others=start_others,
        )
        code = _run(running, for_s, hold)
        if for_s is None and code == 0 and not signals.hurry.is_set():
            _stay(running)
        return code


def _run(running: _Demo, for_s: float | None, hold: timedelta | None) -> int:
    """Play the day, wait for the numbers and verdicts, print them; return the exit code."""
    words, screen, signals = running.words, running.screen, running.signals

    def stand_still() -> None:
        while not signals.hurry.is_set() and not running.ended():
            screen.show(words.text(_("the day stands still; Ctrl-C lets it go on")))
            signals.hurry.wait(LOOK_S)

    replay = Replay(
        running.office,
        running.terminals,
        running.clock,
        running.data_dir,
        running.subscriber,
        running.waited,
        running.totals,
        running.enter_late,
        None if hold is None else (hold, stand_still),
    )
    pause_s = (DAY_S if for_s is None else for_s) / len(replay.scenes)

    def pause() -> None:
        hint = _("running; Ctrl-C leaves out the pauses") if for_s is None else _("running")
        until = time.monotonic() + pause_s
        while not signals.hurry.is_set() and (left_s := until - time.monotonic()) > 0:
            screen.show(words.text(hint))
            signals.hurry.wait(min(left_s, LOOK_S))

    gave_up = None
    with screen:
        try:
            running.waited(running.connected)
            running.start_others()
            running.waited(running.serving)
            replay.play(pause)
        except GaveUp as exc:
            gave_up = exc
        total = running.settle(running.totals)
        if gave_up is None:
            running.settle(running.judging)
    # Queried at the end only: an independent program's results.
    total = replace(total, at_centre=_at_centre(running.folder))
    return _print_end(running, total, gave_up)


def _print_end(running: _Demo, total: Totals, gave_up: GaveUp | None) -> int:
    """Print verdicts and totals, and what failed; return the exit code."""
    console, words, office = running.console, running.words, running.office
    right = total.right and gave_up is None
    if gave_up is None:
        stored = _stored_verdicts(running.folder, office)
        doubts = {(one.person, one.date): one.doubts for one in running.subscriber.judged()}
        differing = differences(office.script, stored, doubts)
        print_result(console, words, office, stored, doubts, differing)
        right = right and not differing
    else:
        line = words.text(_("the day was not finished; it waited for {what}"), what=str(gave_up))
        console.print(line, style="red", highlight=False, soft_wrap=True)
    style = "bold green" if total.right else "bold red"
    console.print(words.message(total.message()), style=style, highlight=False, soft_wrap=True)
    twice = running.subscriber.arrivals - len(running.subscriber.ids)
    console.print(words.text(_("{count} punches came twice"), count=Count(twice)), style="dim", highlight=False)
    ended = {name: code for name, process in running.processes.items() if (code := process.poll()) is not None}
    left = running.signals.leave.is_set()
    for name in ended or (() if right or left else running.processes):
        _print_last_words(running, name, ended.get(name))
    return 0 if right and not ended else 1


def _print_last_words(running: _Demo, name: str, code: int | None) -> None:
    exited = _("the {name} ended with exit code {code}; its last words:")
    ended = exited if code is not None else _("output of the {name}:")
    running.console.print(running.words.text(ended, name=name, code=code), style="red")
    lines = (running.folder / f"{name}.log").read_text("utf-8", errors="replace").splitlines()
    running.console.print("\n".join(lines[-LAST_WORDS:]), highlight=False)


def _stay(running: _Demo) -> None:
    """Name commands that show more, and leave everything running until Ctrl-C."""
    words, folder, office = running.words, running.folder, running.office
    late = next(part for part in office.script if part.meant.provisional)
    running.console.print(words.text(_("Everything goes on running until Ctrl-C. Look at the pages, or try:")))
    for line in (
        f"hadir-central why {late.person} {late.date} --db {folder / 'centre.db'} --policies {office.policies}",
        f"hadir-central export days --from {office.eve} --to {office.day} --db {folder / 'centre.db'}",
        f"hadir status --config {folder / 'gateway.yaml'}",
    ):
        running.console.print(f"  {line}", highlight=False, soft_wrap=True)
    while not running.signals.hurry.wait(0.5) and not running.ended():
        pass


def _announce(stack: ExitStack, page: str, console: Console, words: Words) -> str | None:
    """Print the addresses of the pages first of all; return that of the centre's, None where it cannot serve any."""
    lines = [words.text(_("status page: {url}"), url=f"http://{page}/")]
    pages = None
    if find_spec("argon2") is None:
        lines.append(words.text(_("no pages of the centre: they need pip install 'hadir-gateway[centre]'")))
    else:
        pages = stack.enter_context(_reserved())
        text = _("the centre's pages: {url}  accounts atasan (superior), operator, bkd, pemeriksa; password {password}")
        lines.append(words.text(text, url=f"http://{pages}/", password=PASSWORD))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    return pages


# --- the parts ----------------------------------------------------------------------------------------------------


def _serve_all(
    stack: ExitStack,
    office: Office,
    clock: ReplayedTime,
    terminals: Terminals,
    receiver: str,
    console: Console,
    words: Words,
) -> dict[str, dict[str, Any]]:
    """Serve the terminals until ``stack`` ends; return what a configuration says of each.

    Where this machine has no pseudo terminals, as some containers, the one on a serial line is put on the network.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, terminal in list(terminals.items()):
        try:
            entries[name] = stack.enter_context(served(terminal, receiver))
        except OSError as exc:
            if not isinstance(terminal, anviz.SimulatedTerminal):
                raise
            text = _("terminal {name} is on the network: no serial line can be simulated on this machine ({reason})")
            line = words.text(text, name=name, reason=exc.strerror or str(exc))
            console.print(line, highlight=False, soft_wrap=True)
            terminals[name] = without_serial_line(office, clock)
            entries[name] = stack.enter_context(served(terminals[name], receiver))
    return entries


def _configuration(
    folder: Path, broker_port: int, page: str, receiver: str, entries: dict[str, dict[str, Any]]
) -> Path:
    key = folder / "comm-key"
    key.write_text(f"{COMM_KEY}\n", encoding="ascii")
    key.chmod(0o600)
    extra: dict[str, dict[str, Any]] = {"gudang": {"comm_key_file": key.name}, "loket": {"transport": "udp"}}
    path = folder / "gateway.yaml"
    configuration = {
        "site": SITE,
        "gateway": "gw-01",
        "timezone": ZONE.key,
        "data_dir": "data",
        "web": {"listen": page},
        "receiver": {"listen": receiver},
        "mqtt": {"url": f"mqtt://127.0.0.1:{broker_port}"},
        # Visits are requested, so that no clock is moved while two are compared.
        "terminals": [{"name": name, "poll": "1d", **entry, **extra.get(name, {})} for name, entry in entries.items()],
    }
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(configuration, file)
    return path


def _centre_command(folder: Path, office: Office, port: int) -> list[str]:
    """Return the command of the centre's process: it enters the registers, then it receives and judges."""
    command = [*_REPLAYED_CENTRAL, str(folder / "clock")]
    for kind in REGISTERS:
        command += [*_import(kind, folder, office.folder / f"{kind}.csv", office.policies), "--"]
    inbox = ["inbox", "--broker", f"mqtt://127.0.0.1:{port}", "--db", str(folder / "centre.db")]
    return [*command, *inbox, "--policies", str(office.policies)]


def _pages_command(folder: Path, office: Office, address: str) -> list[str]:
    """Return the command of the centre's pages, which show the day's time."""
    accounts = ["--accounts", str(office.folder / ACCOUNTS), "--policies", str(office.policies)]
    serve = ["serve", "--db", str(folder / "centre.db"), "--listen", address, *accounts]
    return [*_REPLAYED_CENTRAL, str(folder / "clock"), *serve]


@contextmanager
def _reserved() -> Iterator[str]:
    """Yield an address of this machine whose port is given to no other program for the length of a block.

    A server may listen at it, since servers set SO_REUSEADDR as this socket does, which never listens.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def _listens(address: str) -> bool:
    host, _colon, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _import(kind: str, folder: Path, file: Path, policies: Path) -> list[str]:
    return ["import", kind, str(file), "--db", str(folder / "centre.db"), "--policies", str(policies), *_PAPER]


@contextmanager
def _running(folder: Path, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our own commands for the length of a block; what it says goes into a file of its name."""
    bound = [sys.executable, "-m", "gateway.demo.bound", str(os.getpid()), *command]
    with (folder / f"{name}.log").open("wb") as log:
        # A session of its own: Ctrl-C is for the demo, which then ends the others in their own time.
        process = subprocess.Popen(bound, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def last_workday(today: date) -> date:
    """Return the last date from Monday to Friday before one: on others no office has a usual day."""
    return today - timedelta(days=max(1, today.weekday() - 4) if today.weekday() else 3)


def _processor_s(process: subprocess.Popen[bytes]) -> float:
    """Return how long a program has used the processor (proc(5)); 0 where it has ended."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _central(folder: Path, command: list[str]) -> str:
    """Run a command of the centre to its end and return what it printed; GaveUp where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=folder)  # noqa: S603 - our own command
    except subprocess.TimeoutExpired:
        raise GaveUp(f"{' '.join(command[2:])}: no end within {PATIENCE_S:.0f} s") from None
    if done.returncode:
        raise GaveUp(f"{' '.join(command[2:])}: {done.stdout}{done.stderr}")
    return done.stdout


def _at_centre(folder: Path) -> int:
    """Return the number of distinct punches stored by the centre; 0 where it has no database."""
    try:
        found = _central(folder, [*_CENTRAL, "report", "--db", str(folder / "centre.db"), "--json"])
    except GaveUp:
        return 0
    return sum(stream["punches"] for stream in json.loads(found)["streams"])


def _stored_verdicts(folder: Path, office: Office) -> dict[Key, Verdict]:
    """Return the verdicts that the centre has stored, as its export says them."""
    period = ["--from", office.eve.isoformat(), "--to", office.day.isoformat(), "--format", "json"]
    rows = json.loads(_central(folder, [*_CENTRAL, "export", "days", *period, "--db", str(folder / "centre.db")]))
    return {(row["person"], date.fromisoformat(row["date"])): verdict_of(row) for row in rows}


class _Signals:
    """What the person wants: after the first Ctrl-C no more pauses, after the second nothing."""

    def __init__(self) -> None:
        self.hurry, self.leave = threading.Event(), threading.Event()

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        """Take a signal, in a thread: the main thread may hold an event's lock."""
        threading.Thread(target=(self.leave if self.hurry.is_set() else self.hurry).set).start()


@contextmanager
def _handled_signals() -> Iterator[_Signals]:
    wanted = _Signals()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, wanted.handle) for number in signals}
    try:
        yield wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
