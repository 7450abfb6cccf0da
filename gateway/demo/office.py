"""The invented office: its registers as files, moved to another date, and its terminals with what they hold."""

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from drivers.anviz import simulator as anviz
from drivers.push import simulator as push
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.demo.clock import ReplayedTime
from gateway.demo.past import Punch, past
from gateway.demo.script import Key, Part, read_script

FILES = files("gateway.demo") / "files"
WRITTEN = date(2026, 9, 2)
"""The day of the files as they are shipped; the evening before it belongs to the night shift."""
FIRST = date(2026, 7, 29)
"""The first date of the files: that of the weeks before the day, whose punches are invented."""
REGISTERS = ("units", "people", "timetables", "schedules", "rosters", "assignments", "leave", "enrolments")
"""The registers in the order in which they are entered."""
LATE = {"enrolments": "late-enrolment.csv", "decisions": "late-decision.csv"}
"""What is entered at the end of the day: the enrolment of the PIN that has no person until then, and the decision that
the terminal that was away had power all the time, so that its outage concerned no one."""
ZONE = ZoneInfo("Asia/Jakarta")
SITE = "demo-office"
ACCOUNTS = "accounts.yaml"
PASSWORD = "presensi-contoh"  # noqa: S105 - printed; it opens pages of invented people, on this machine only
"""Of all accounts of that file."""
BACKLOG = 20_000
COMM_KEY = 271828
FAST_BY = timedelta(minutes=7)
CALLS_FASTER = 0.02
"""Its pauses of 15 s between two calls would be most of the day."""

Terminal = SimulatedTerminal | anviz.SimulatedTerminal | push.SimulatedTerminal
Terminals = dict[str, Terminal]
SERIALS = {
    "lobby": "DEMO0000000001",
    "gudang": "DEMO0000000002",
    "loket": "DEMO0000000003",
    "pos": "DEMO000000000004",
    "aula": "DEMO0000000005",
}


class Office:
    """The office on its day, with its files in a folder."""

    def __init__(self, day: date, folder: Path, weeks: int = 0) -> None:
        """Write the files, moved so that ``day`` is their day; the office works since so many weeks, or the eve."""
        self.day = day
        self.eve = day - timedelta(days=1)
        self.first = min(self.eve, day - timedelta(weeks=weeks))
        self.folder = folder
        self.policies = folder / "policies"
        self.policies.mkdir(parents=True)
        for source, into in ((FILES, folder), (FILES / "policies", self.policies)):
            for file in source.iterdir():
                if file.is_file():
                    (into / file.name).write_text(moved(file.read_text("utf-8"), day, self.first), encoding="utf-8")
        (folder / ACCOUNTS).chmod(0o600)
        self.script: list[Part] = read_script((folder / "script.csv").read_text("utf-8"))
        self.names = dict(_columns(folder / "people.csv", 0, 1))
        enrolled = dict(_columns(folder / "enrolments.csv", 3, 0))
        self.pins = enrolled | dict(_columns(folder / LATE["enrolments"], 3, 0))
        known = [part for part in self.script if part.person in enrolled]
        self.past: list[Punch] = past(known, self.first, self.eve, set(_leave(folder / "leave.csv")))


def moved(text: str, day: date, first: date) -> str:
    """Return the text of a file with all its dates moved, so that its day and its first date are others."""

    def date_of(found: re.Match[str]) -> str:
        written = date.fromisoformat(found[0])
        return (first if written == FIRST else written + (day - WRITTEN)).isoformat()

    return re.sub(r"\b\d{4}-\d\d-\d\d\b", date_of, text)


def _leave(file: Path) -> Iterator[Key]:
    """Yield who is on leave when."""
    with file.open(encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            since, until = (date.fromisoformat(row[name]) for name in ("from", "until"))
            yield from ((row["person"], since + timedelta(days=number)) for number in range((until - since).days + 1))


def _columns(file: Path, key: int, value: int) -> Iterator[tuple[str, str]]:
    for line in file.read_text("utf-8").splitlines()[1:]:
        cells = line.split(",")
        yield cells[key], cells[value]


def make_terminals(office: Office, time: ReplayedTime) -> Terminals:
    """Return the office's terminals at the begin of its day, with what they have recorded until then."""
    clock = partial(time.local, ZONE)
    first = office.first
    history = generate(1, BACKLOG, 400, datetime(first.year, first.month, first.day))  # noqa: DTZ001 - a wall clock
    terminals: Terminals = {
        "lobby": SimulatedTerminal(serial=SERIALS["lobby"], users=history.users, log=history.log, now=clock),
        "gudang": SimulatedTerminal(serial=SERIALS["gudang"], comm_key=COMM_KEY, now=clock),
        "loket": SimulatedTerminal(serial=SERIALS["loket"], clock_offset=FAST_BY, now=clock),
        "pos": anviz.SimulatedTerminal(serial=SERIALS["pos"], now=clock),
        "aula": push.SimulatedTerminal(serial=SERIALS["aula"], now=clock),
    }
    for one in office.past:
        terminals[one.terminal].punch(office.pins[one.person], one.state, 1, one.moment)
    add_past(office, terminals, clock())
    return terminals


def add_past(office: Office, terminals: Terminals, now: datetime) -> None:
    """Let the terminals record what the script has before ``now``."""
    for part in office.script:
        for moment in (part.arrives, part.leaves):
            if moment is not None and moment <= now:
                terminals[part.terminal].punch(office.pins[part.person], 0 if moment is part.arrives else 1, 1, moment)


def without_serial_line(office: Office, time: ReplayedTime) -> SimulatedTerminal:
    """Return the terminal of the serial line as one on the network, with the same serial number and records."""
    terminal = SimulatedTerminal(serial=SERIALS["pos"], now=partial(time.local, ZONE))
    add_past(office, dict.fromkeys(SERIALS, terminal), time.local(ZONE))
    return terminal


@contextmanager
def served(terminal: Terminal, receiver: str) -> Iterator[dict[str, Any]]:
    """Serve a terminal for the length of a block, or let it call ``receiver``, an address with a port.

    Yield what a configuration says of it. OSError where it cannot be served.
    """
    with ExitStack() as stack:
        if isinstance(terminal, SimulatedTerminal):
            network = stack.enter_context(Simulator(terminal))
            yield {"driver": "zkteco", "address": network.address}
        elif isinstance(terminal, push.SimulatedTerminal):
            stack.enter_context(push.Simulator(terminal, f"http://{receiver}", pace=CALLS_FASTER))
            yield {"driver": "push", "serial": terminal.serial}
        else:
            line = stack.enter_context(anviz.Simulator(terminal, baudrate=9600))
            yield {"driver": "anviz", "port": line.port, "turnaround": "20ms"}
