"""`hadir demo`: the whole road on one machine, without set-up, with a sum at the end that must come out.

Four simulated terminals, three on real sockets and one on a serial line, the real daemon in a process of its own, a
real MQTT 5 broker, the reference centre in another process, and a subscriber that shows what passes by. Everything
lives in temporary folders and ends with the command.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from ruamel.yaml import YAML

from drivers.anviz import simulator as anviz
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.embedded_broker import embedded_broker, free_port
from gateway.event import RECORDED
from gateway.ledger import LedgerError, LedgerReader

ZONE = ZoneInfo("Asia/Jakarta")
BACKLOG = 20_000
COMM_KEY = 271828
WRONG_BY = timedelta(minutes=7)
PUNCHES_PER_S = 4.0
STILL_S = 120.0
"""After this time without progress the totals are final. Longer than the gateway's pause between retries."""
PATIENCE_S = 120.0
"""Timeout of a started program to begin, answer or end, on a busy machine."""
ROWS = 14
_HADIR = (sys.executable, "-m", "gateway.cli")
_CENTRAL = (sys.executable, "-m", "central.cli")
_CENTRE = "centre.db"

Terminals = dict[str, SimulatedTerminal | anviz.SimulatedTerminal]


@dataclass(frozen=True)
class Arrival:
    """A punch received by the subscriber."""

    event: dict[str, Any]
    latency_ms: int | None
    """From the finger to the subscriber, where the finger was ours."""


class Subscriber:
    """An independent subscriber: received events, identified by event id as the contract specifies."""

    def __init__(self, port: int, fingers: dict[tuple[str, str, str], float]) -> None:
        self.ids: set[str] = set()
        self.arrivals = 0
        self.per_terminal: Counter[str] = Counter()
        self.newest: deque[Arrival] = deque(maxlen=ROWS)
        self._fingers = fingers
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-centre", protocol=mqtt.MQTTv5)
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([("hadir/v1/+/+/punch/+", 1), ("hadir/v1/+/+/batch", 1)])
        self._client.loop_start()
        if not self._subscribed.wait(PATIENCE_S):
            raise RuntimeError("the embedded broker does not let the demo subscribe")

    def _take(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        arrived = time.monotonic()
        content = json.loads(message.payload)
        for event in content if isinstance(content, list) else [content]:  # a backlog is sent as arrays
            if event["type"] == RECORDED:
                self._count(event, arrived)

    def _count(self, event: dict[str, Any], arrived: float) -> None:
        self.arrivals += 1
        if event["id"] in self.ids:
            return
        self.ids.add(event["id"])
        data = event["data"]
        self.per_terminal[data["terminal"]] += 1
        finger = self._fingers.get((data["terminal"], data["pin"], data["local_time"]))
        self.newest.append(Arrival(event, None if finger is None else round((arrived - finger) * 1000)))

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def demo(for_s: float | None, *, plain: bool = False) -> int:
    """Run the demo for ``for_s`` seconds, or until Ctrl-C; return 0 if everything is at the centre, 1 if not."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="hadir-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        stop = stack.enter_context(_stopped_by_signals())
        terminals = _terminals()
        entries = _serve_all(stack, terminals, console)
        port = stack.enter_context(embedded_broker(folder))
        fingers: dict[tuple[str, str, str], float] = {}
        subscriber = Subscriber(port, fingers)
        stack.callback(subscriber.close)
        page = f"127.0.0.1:{free_port()}"
        configuration = _configuration(folder, port, page, entries)
        # The centre is another program: only its command is used.
        inbox = [*_CENTRAL, "inbox", "--broker", f"mqtt://127.0.0.1:{port}", "--db", str(folder / _CENTRE)]
        run = [*_HADIR, "run", "--config", str(configuration), "--assume-synchronised"]
        processes = {
            "centre": stack.enter_context(_running(folder, "centre", inbox)),
            "daemon": stack.enter_context(_running(folder, "daemon", run)),
        }
        rush = _Rush(terminals, fingers)
        stack.callback(rush.stop)
        began = time.monotonic()
        console.print(f"status page: http://{page}/", highlight=False, soft_wrap=True)
        view = _View(console, terminals, subscriber, folder, plain=plain or not console.is_terminal)
        with view:
            while not stop.wait(0.25) and all(process.poll() is None for process in processes.values()):
                view.show("running; Ctrl-C ends it" if for_s is None else "running")
                if for_s is not None and time.monotonic() - began >= for_s:
                    break
            rush.stop()
            total = _settle(
                lambda: _sum(folder, terminals),
                lambda: any(process.poll() is not None for process in processes.values()),
                lambda waiting: view.show(f"the rush is over; waiting for {waiting}"),
            )
            # Queried at the end only, because it counts everything; an independent program's result.
            total = replace(total, at_centre=_at_centre(folder))
        return _print_result(console, folder, total, subscriber, processes)


def _terminals() -> Terminals:
    now = datetime.now(ZONE).replace(tzinfo=None)
    yesterday = (now - timedelta(days=1)).replace(hour=18, minute=0, second=0, microsecond=0)
    history = generate(1, BACKLOG, 400, yesterday)
    people = {uid: str(2000 + uid) for uid in range(1, 61)}

    def clock() -> datetime:
        return datetime.now(ZONE).replace(tzinfo=None)

    return {
        "lobby": SimulatedTerminal(serial="DEMO0000000001", users=history.users, log=history.log, now=clock),
        "gudang": SimulatedTerminal(serial="DEMO0000000002", users=people, comm_key=COMM_KEY, now=clock),
        "loket": SimulatedTerminal(serial="DEMO0000000003", users=people, clock_offset=WRONG_BY, now=clock),
        "pos": anviz.SimulatedTerminal(serial="DEMO000000000004", users=people, now=clock),
    }


def _serve_all(stack: ExitStack, terminals: Terminals, console: Console) -> dict[str, dict[str, Any]]:
    """Serve the terminals until ``stack`` ends; return what a configuration says of each.

    One on a serial line is removed from ``terminals`` where this machine has no pseudo terminals, as some containers.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, terminal in list(terminals.items()):
        try:
            entries[name] = stack.enter_context(_served(terminal))
        except OSError as exc:
            if isinstance(terminal, SimulatedTerminal):
                raise
            del terminals[name]
            reason = exc.strerror or str(exc)
            line = f"without the terminal {name}: no serial line can be simulated on this machine ({reason})"
            console.print(line, highlight=False, soft_wrap=True)
    return entries


@contextmanager
def _served(terminal: SimulatedTerminal | anviz.SimulatedTerminal) -> Iterator[dict[str, Any]]:
    """Serve a terminal for the length of a block; yield what a configuration says of it."""
    if isinstance(terminal, SimulatedTerminal):
        with Simulator(terminal) as network:
            yield {"driver": "zkteco", "address": network.address}
    else:
        with anviz.Simulator(terminal, baudrate=9600) as line:
            yield {"driver": "anviz", "port": line.port, "turnaround": "20ms"}


def _configuration(folder: Path, broker_port: int, page: str, entries: dict[str, dict[str, Any]]) -> Path:
    key = folder / "comm-key"
    key.write_text(f"{COMM_KEY}\n", encoding="ascii")
    key.chmod(0o600)
    extra: dict[str, dict[str, Any]] = {"gudang": {"transport": "udp", "comm_key_file": key.name}}
    path = folder / "gateway.yaml"
    configuration = {
        "site": "demo-office",
        "gateway": "gw-01",
        "timezone": ZONE.key,
        "data_dir": "data",
        "web": {"listen": page},
        "mqtt": {"url": f"mqtt://127.0.0.1:{broker_port}"},
        "terminals": [{"name": name, "poll": "5s", **entry, **extra.get(name, {})} for name, entry in entries.items()],
    }
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(configuration, file)
    return path


@contextmanager
def _running(folder: Path, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our own commands for the length of a block; what it says goes into a file of its name."""
    with (folder / f"{name}.log").open("wb") as log:
        # A session of its own: Ctrl-C is for the demo, which then ends the others in their own time.
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        # From a thread: the main thread may hold the event's lock.
        threading.Thread(target=stop.set).start()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Rush:
    """People arriving at all terminals at once."""

    def __init__(self, terminals: Terminals, fingers: dict[tuple[str, str, str], float]) -> None:
        self._terminals = terminals
        self._fingers = fingers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rush", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        chance = random.Random()  # noqa: S311 - a demonstration
        while not self._stopping.wait(chance.expovariate(PUNCHES_PER_S)):
            name = chance.choice(list(self._terminals))
            terminal = self._terminals[name]
            pin = chance.choice(list(terminal.users.values()))
            state, verify = chance.choice((0, 0, 0, 1)), chance.choice((1, 1, 15))
            moment = terminal.clock().replace(microsecond=0)
            self._fingers.setdefault((name, pin, moment.isoformat()), time.monotonic())
            terminal.punch(pin, state, verify, moment)

    def stop(self) -> None:
        """Let nobody else in."""
        self._stopping.set()
        self._thread.join()


@dataclass(frozen=True)
class _Sum:
    """Totals that must be equal at the end: punches by place, and events by acknowledgement."""

    in_terminals: int
    in_ledger: int
    at_centre: int
    events: int
    covered: int

    @property
    def right(self) -> bool:
        """Whether everything was received and confirmed by the centre."""
        return self.in_terminals == self.in_ledger == self.at_centre > 0 and self.events == self.covered

    @property
    def waiting(self) -> str | None:
        """What is still missing before the centre is asked, or None."""
        if self.in_ledger < self.in_terminals:
            return f"the gateway to read {self.in_terminals - self.in_ledger:,} more punches"
        if self.covered < self.events:
            return f"the centre's receipts for {self.events - self.covered:,} events"
        return None

    def __str__(self) -> str:
        punches = (
            f"in the terminals {self.in_terminals:,}",
            f"in the ledger {self.in_ledger:,}",
            f"at the centre {self.at_centre:,}",
        )
        receipts = f"receipts cover {self.covered:,} of {self.events:,} events"
        if self.right:
            return f"{'  =  '.join(punches)}; {receipts}"
        return f"{', '.join(punches)}: these should be equal; {receipts}"


def _settle(
    measure: Callable[[], _Sum],
    ended: Callable[[], bool],
    show: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> _Sum:
    """Wait until the centre has confirmed everything, as long as numbers move; return how far it has come."""
    total, moved = measure(), now()
    while total.waiting and not ended() and now() - moved < STILL_S:
        show(total.waiting)
        pause(0.25)
        before, total = total, measure()
        if total != before:
            moved = now()
    return total


def _sum(folder: Path, terminals: Terminals) -> _Sum:
    in_terminals = sum(terminal.count for terminal in terminals.values())
    try:
        with closing(LedgerReader(folder / "data")) as ledger:
            counts, punches = ledger.counts(), ledger.punches()
    except LedgerError:  # the daemon has not created it yet
        return _Sum(in_terminals, 0, 0, 0, 0)
    return _Sum(in_terminals, punches, 0, counts.sequence, counts.confirmed)


def _at_centre(folder: Path) -> int:
    """Return the number of distinct punches stored by the centre."""
    command = [*_CENTRAL, "report", "--db", str(folder / _CENTRE), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # noqa: S603 - our own command
    return sum(stream["punches"] for stream in json.loads(done.stdout)["streams"]) if done.returncode == 0 else 0


def _print_result(
    console: Console, folder: Path, total: _Sum, subscriber: Subscriber, processes: dict[str, subprocess.Popen[bytes]]
) -> int:
    """End the processes and print the totals; return the exit code."""
    console.print(str(total), style="bold green" if total.right else "bold red", highlight=False, soft_wrap=True)
    twice = subscriber.arrivals - len(subscriber.ids)
    console.print(f"{twice:,} punches came twice", style="dim", highlight=False)
    for process in processes.values():
        _end(process)
    well = total.right and not any(process.returncode for process in processes.values())
    for name, process in () if well else processes.items():
        console.print(f"the {name} ended with exit code {process.returncode}; its last words:", style="red")
        console.print("\n".join((folder / f"{name}.log").read_text("utf-8").splitlines()[-10:]), highlight=False)
    return 0 if well else 1


class _View:
    """The live table on a terminal, otherwise a line every two seconds."""

    def __init__(
        self,
        console: Console,
        terminals: Terminals,
        subscriber: Subscriber,
        folder: Path,
        *,
        plain: bool,
    ) -> None:
        self._console = console
        self._terminals = terminals
        self._subscriber = subscriber
        self._folder = folder
        self._live = None if plain else Live(console=console, refresh_per_second=4, transient=False)
        self._next_line = 0.0

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, phase: str) -> None:
        """Draw the present totals."""
        in_terminals = sum(terminal.count for terminal in self._terminals.values())
        arrived = len(self._subscriber.ids)
        line = f"{phase}: {in_terminals:,} punches in the terminals, {arrived:,} at the subscriber"
        if self._live:
            self._live.update(Group(self._table(), Text(line), Text(f"everything is in {self._folder}", style="dim")))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + 2.0
            self._console.print(line, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(title="Hadir demo: punches as a subscriber sees them", title_justify="left")
        for heading in ("sequence", "terminal", "PIN", "terminal's time", "state", "via"):
            table.add_column(heading)
        table.add_column("finger to subscriber", justify="right")
        table.add_column("suspect")
        for arrival in list(self._subscriber.newest):
            data = arrival.event["data"]
            table.add_row(
                str(int(arrival.event["sequence"])),
                data["terminal"],
                f"***{data['pin'][-2:]}",
                data["local_time"].replace("T", " "),
                data["state_label"] or str(data["state"]),
                data["via"],
                "" if arrival.latency_ms is None else f"{arrival.latency_ms} ms",
                ", ".join(data["suspect"]),
            )
        return table
