"""The whole road under torture: fingers, terminals, gateway, broker and centre, while everything breaks.

The gateway, the broker and the inbox are processes of their own, killed with SIGKILL at moments that a seed chooses;
with a power cut, gateway and inbox lose what they had not forced to the disk, and the broker what it had not saved.
Terminals misbehave, on the network and on a serial line; their clocks and the gateway's are stepped; the line to the
broker is cut and slowed. In the end everything is mended, and every record of every terminal must have arrived, once. A
seed decides what happens; when exactly, the machine does.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from central.report import open_readonly, report, verify
from central.store import StoreError
from drivers.anviz import simulator as anviz
from drivers.base import RawPunch
from drivers.push import simulator as push
from drivers.soap import simulator as soap
from drivers.webhook import simulator as webhook
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.event import punch_id
from gateway.ledger import LedgerReader
from tests.broker import WAIT_S, Broker, eventually, free_port
from tests.torture.disk import Disk
from tests.torture.link import Link

ZONE = ZoneInfo("Asia/Jakarta")
HISTORY_ENDS = datetime(2026, 6, 30, 18, 0, 0)  # noqa: DTZ001 - a terminal's wall clock has no zone
HISTORY = 1500
PUNCHES_PER_S = 40.0
STILL_S = 150.0
"""When all is mended and nothing has moved for so long, what is missing is lost; longer than any back-off of ours."""
FAULTS = (
    *("hang-up=any", "hang-up=read+700", "hang-up=prepare", "hang-up=event+5", "silence=count", "silence=read+300"),
    *(
        "late=150ms",
        "line=200",
        "split",
        "coalesce",
        "chatter=2",
        "mute",
        "trickle=1ms",
        "tail",
        "no-range",
        "event-differs",
    ),
    *("double-press", "punch-in-read", "race"),
)
"""What terminals do for a while, all of which a gateway must get over."""
LINE_FAULTS = ("noise=3", "crc=2", "half=2", "silent=2", "mute=2", "between", "echo", "slow=200ms", "unplugged")
"""The same on the serial line of the Anviz; ``unplugged`` is its cable."""
STEPS_S = (-3600.0, -60.0, -2.0, -1.0, 1.0, 45.0, 600.0, 7200.0)
"""By how much somebody sets a terminal's clock; backwards the same second comes again."""

GATEWAY_STEPS_S = (-86_400.0, -7200.0, -30.0, -1.0, 5.0, 3600.0, 100_000.0)
"""By how much the gateway's own clock is moved, which its terminals' clocks then seem to be off."""
COMM_KEY = 271828
SAVED_S = 3
"""The broker saves what it holds so often; what came since is lost with the power."""

CALL_FAULTS = ("lost-reply=2", "cut-upload=2", "repeat=2", "slow=1ms", "chunked", "expect", "proxy", "wrong-serial")
"""What terminals that call do for a while."""
APP_FAULTS = (
    *("lost-reply=2", "cut-upload=2", "repeat=2", "slow=1ms", "wrong-signature=2", "no-signature=2", "mute"),
    *("no-json", "deep", "nan", "other-form", "bad-record", "unknown-state", "too-long"),
)
"""What an app does for a while."""
APP_SECRET = "torture-of-an-app"
APP_SERIAL = "TORTURE-APP"
WEB_FAULTS = ("cut=3", "hang-up=3", "busy=3", "blank=3", "silent", "slow=1ms", "web-page", "no-service", "wrong-length")
"""What the web services of terminals do for a while."""
CALLERS_SHARE = 0.3
"""How many of all punches are made at terminals that call."""
CALL_PACE = 0.02
"""Their pauses, as a factor of those of an office."""

SimulatedAnviz = anviz.SimulatedTerminal


class _Program:
    """A program that writes to a disk of its own and is started again after whatever happens to it."""

    def __init__(self, folder: Path, library: Path, arguments: Callable[[Path], list[str]], **environment: str) -> None:
        self.disk = Disk(folder, library)
        self._environment = {**os.environ, **self.disk.environment, **environment}
        self.log = folder / "log"
        self._arguments = arguments(self.disk.contents)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        assert self._process is None, "it runs"
        command = [sys.executable, "-m", "tests.torture.impatient", *self._arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment
            )

    def kill(self) -> None:
        """End it like the out-of-memory killer."""
        self.check_alive()
        self.end()

    def check_alive(self) -> None:
        """Fail if it has ended by itself."""
        code = None if self._process is None else self._process.poll()
        assert code is None, f"{self._arguments[0]} ended by itself with {code}; see {self.log}"

    def end(self) -> None:
        """Leave no process behind, whatever has become of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_power(self) -> None:
        """End it, and with it what it had not forced to the disk."""
        self.kill()
        self.disk.cut()

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(WAIT_S)
        self._process = None
        return code


@dataclass(frozen=True)
class Outcome:
    """What a seed did."""

    seed: int
    did: Counter[str]
    records: int
    """In all terminals."""
    events: int
    """Numbered by the gateways."""
    seconds: float
    verdicts: int = 0
    """Compared with those of an undisturbed process, where a centre was tormented."""

    def __str__(self) -> str:
        did = ", ".join(f"{count} × {what}" for what, count in sorted(self.did.items()))  # noqa: RUF001 - times
        counted = f"{self.records} records, {self.events} events"
        counted += f", {self.verdicts} verdicts" if self.verdicts else ""
        return f"seed {self.seed}: {counted}, {self.seconds:.0f} s; {did}"


class Torture:
    """An office and its centre, to be tormented; everything lives in ``folder``."""

    def __init__(self, seed: int, folder: Path, library: Path) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self._did: Counter[str] = Counter()
        self._folder = folder
        self._terminals = _terminals(self._chance)
        self._callers = _callers(self._chance)
        self._web_terminals = [self._terminals[name] for name in ("ruang-soap", "gudang-soap")]
        self._web_services: list[soap.WebService] = []
        self._app = webhook.App(zone=ZONE)
        self._receiver_port = free_port()
        self._clock_file = folder / "clock-offset"
        self._clock_off_s = 0.0
        self._library = library

    def run(self, for_s: float) -> Outcome:
        """Torment for ``for_s`` seconds, mend everything and check; AssertionError where something is wrong."""
        begun = time.monotonic()
        with ExitStack() as stack:
            entries = {name: self._served(terminal, stack) for name, terminal in self._terminals.items()}
            entries |= {name: self._calling(terminal, stack) for name, terminal in self._callers.items()}
            entries["aplikasi"] = self._posting(stack)
            self._broker = stack.enter_context(Broker(self._folder, *self._broker_lines()))
            self._link = stack.enter_context(Link(self._broker.port))
            self._gateway = _Program(
                self._folder / "gateway",
                self._library,
                self._gateway_arguments(entries),
                CLOCK_OFFSET_FILE=str(self._clock_file),
            )
            self._inbox = _Program(self._folder / "centre", self._library, self._inbox_arguments)
            for program in (self._inbox, self._gateway):
                stack.callback(program.end)
                program.start()
            with self._fingers():
                # What has not begun yet has nothing to lose.
                eventually(self._held, what="the first punch's arrival")
                until = time.monotonic() + for_s
                while time.monotonic() < until:
                    self._torment()
            self._mend()
            self._settle()
            assert self._gateway.stop() == 0, f"the gateway did not end well; see {self._gateway.log}"
            assert self._inbox.stop() == 0, f"the inbox did not end well; see {self._inbox.log}"
            events = self._check()
        records = sum(terminal.count for terminal in self._terminals.values())
        records += sum(len(set(terminal.log)) for terminal in self._callers.values())  # equal lines are one punch
        records += len(self._app.records)
        return Outcome(self._seed, self._did, records, events, time.monotonic() - begun)

    def _served(self, terminal: SimulatedTerminal | SimulatedAnviz, stack: ExitStack) -> dict[str, Any]:
        """Serve a terminal until ``stack`` is closed; return what a configuration states of it."""
        if isinstance(terminal, SimulatedAnviz):
            self._line = stack.enter_context(anviz.Simulator(terminal))
            return {"driver": "anviz", "port": self._line.port, "turnaround": "20ms"}
        if terminal in self._web_terminals:
            firmware: soap.Firmware = "old" if not self._web_services else "new"
            served = stack.enter_context(soap.Simulator(terminal, firmware=firmware))
            self._web_services.append(served.web)
            web = {"driver": "soap", "address": served.address, "web_port": served.web.port}
            return web | {"bulk_timeout": "2s", "live": firmware == "old"}
        simulator = stack.enter_context(Simulator(terminal))
        return {"driver": "zkteco", "address": simulator.address, "bulk_timeout": "5s"}

    def _calling(self, terminal: push.SimulatedTerminal, stack: ExitStack) -> dict[str, Any]:
        """Let a terminal call the gateway until ``stack`` is closed; return what a configuration states of it."""
        stack.enter_context(push.Simulator(terminal, f"http://127.0.0.1:{self._receiver_port}", pace=CALL_PACE))
        return {"driver": "push", "serial": terminal.serial}

    def _posting(self, stack: ExitStack) -> dict[str, Any]:
        """Let an app post to the gateway until ``stack`` is closed; return what a configuration states of it."""
        secret = self._folder / "app-secret"
        secret.write_text(f"{APP_SECRET}\n", encoding="ascii")
        secret.chmod(0o600)
        url = f"http://127.0.0.1:{self._receiver_port}"
        stack.enter_context(webhook.Simulator(self._app, url, "app", APP_SECRET, pace=CALL_PACE))
        return {"driver": "webhook", "serial": APP_SERIAL, "path": "app", "secret_file": str(secret)}

    def _broker_lines(self) -> list[str]:
        saving = ["persistence true", f"persistence_location {self._folder / 'broker'}/"]
        return ["max_inflight_messages 200", *saving, f"autosave_interval {SAVED_S}"]

    def _gateway_arguments(self, entries: dict[str, dict[str, Any]]) -> Callable[[Path], list[str]]:
        def arguments(data_dir: Path) -> list[str]:
            key = self._folder / "comm-key"
            key.write_text(f"{COMM_KEY}\n", encoding="ascii")
            key.chmod(0o600)
            extra = {"gudang": {"transport": "udp"}, "loket": {"comm_key_file": str(key)}}
            settings = {
                "site": "torture",
                "gateway": "gw-01",
                "timezone": ZONE.key,
                "data_dir": str(data_dir),
                "web": None,
                "receiver": {"listen": f"127.0.0.1:{self._receiver_port}"},
                "mqtt": {"url": self._link.url},
                "delivery": {"batch_from": 50, "batch_bytes": "4KiB"},
                "retention": {"free_floor": 0},  # how full this machine's disk is does not matter here
                "terminals": [
                    {"name": name, "poll": "1s", "timeout": "1s", **entry, **extra.get(name, {})}
                    for name, entry in entries.items()
                ],
            }
            configuration = self._folder / "gateway.yaml"
            configuration.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
            return ["gateway", "run", "--config", str(configuration), "--assume-synchronised"]

        return arguments

    def _inbox_arguments(self, data_dir: Path) -> list[str]:
        return ["central", "inbox", "--broker", self._broker.url, "--db", str(data_dir / "centre.db")]

    def _fingers(self) -> AbstractContextManager[None]:
        """Let people punch for the length of a block."""
        chance = random.Random(self._seed + 1)

        def punch() -> None:
            if chance.random() < CALLERS_SHARE:
                punch_of = (str(chance.randrange(3001, 3005)), chance.choice((0, 1)))
                name = chance.choice([*self._callers, ""])
                if not name:
                    self._app.punch(*punch_of)
                    return
                caller = self._callers[name]
                # Older firmware hides a punch in the second of its last upload; only the nightly count finds it.
                if not caller.has_time_stamps or caller.log[-1].moment < caller.clock():
                    caller.punch(*punch_of)
                return
            terminal = chance.choice(list(self._terminals.values()))
            terminal.punch(chance.choice(list(terminal.users.values())), chance.choice((0, 1, 4, 5)))

        return punching(chance, PUNCHES_PER_S, punch)

    # What goes wrong.

    def _torment(self) -> None:
        torments: tuple[tuple[str, Callable[[], None]], ...] = (
            ("gateway killed", lambda: self._fell(self._gateway, self._gateway.kill)),
            ("gateway's power cut", lambda: self._fell(self._gateway, self._gateway.lose_power)),
            ("inbox killed", lambda: self._fell(self._inbox, self._inbox.kill)),
            ("inbox's power cut", lambda: self._fell(self._inbox, self._inbox.lose_power)),
            ("broker killed", self._fell_broker),
            ("centre's power cut", self._cut_centre),
            ("line cut", self._cut_line),
            ("line slowed", self._slow_line),
            ("terminal faulty", self._spoil_terminal),
            ("terminal restarted", lambda: self._somewhere().restart()),
            ("clock stepped", self._step_clock),
            ("gateway's clock stepped", self._step_gateway),
            ("serial line faulty", self._spoil_line),
            ("calling terminal faulty", self._spoil_caller),
            ("web service faulty", self._spoil_web_service),
            ("app faulty", self._spoil_app),
        )
        what, work = self._chance.choice(torments)
        self._did[what] += 1
        work()
        self._pass(0.1, 1.6)

    def _pass(self, least_s: float, most_s: float) -> None:
        time.sleep(self._chance.uniform(least_s, most_s))

    def _fell(self, program: _Program, end: Callable[[], None]) -> None:
        end()
        self._pass(0.0, 0.5)
        program.start()

    def _fell_broker(self) -> None:
        self._broker.kill()
        self._pass(0.0, 1.0)
        self._broker.start()

    def _cut_centre(self) -> None:
        """Let broker and inbox lose power together: what the broker held for the inbox is gone."""
        self._inbox.lose_power()
        self._pass(0.1, 2.0)
        self._fell_broker()
        self._inbox.start()

    def _cut_line(self) -> None:
        self._link.cut()
        self._pass(0.1, 1.0)
        self._link.mend()

    def _slow_line(self) -> None:
        self._link.delay_s = self._chance.choice((0.01, 0.05))
        self._pass(0.2, 1.0)
        self._link.delay_s = 0.0

    def _somewhere(self) -> SimulatedTerminal | SimulatedAnviz:
        return self._chance.choice(list(self._terminals.values()))

    def _zkteco(self) -> list[SimulatedTerminal]:
        return [terminal for terminal in self._terminals.values() if isinstance(terminal, SimulatedTerminal)]

    def _spoil_terminal(self) -> None:
        faults = self._chance.choice(self._zkteco()).faults
        fault = self._chance.choice(FAULTS)
        faults.switch_on(fault)
        self._pass(0.3, 1.5)
        faults.switch_off(fault.partition("=")[0])

    def _step_clock(self) -> None:
        self._somewhere().clock_offset += timedelta(seconds=self._chance.choice(STEPS_S))

    def _step_gateway(self) -> None:
        self._clock_off_s += self._chance.choice(GATEWAY_STEPS_S)
        draft = self._clock_file.with_suffix(".new")
        draft.write_text(str(self._clock_off_s), encoding="ascii")
        draft.replace(self._clock_file)

    def _spoil_line(self) -> None:
        fault = self._chance.choice(LINE_FAULTS)
        if fault == "unplugged":
            self._line.unplug()
        else:
            self._line.faults.switch(fault)
        self._pass(0.3, 1.5)
        self._mend_line()

    def _spoil_caller(self) -> None:
        faults = self._chance.choice(list(self._callers.values())).faults
        fault = self._chance.choice(CALL_FAULTS)
        faults.switch(fault)
        self._pass(0.3, 1.5)
        faults.switch(f"{fault.partition('=')[0]}=off")

    def _spoil_app(self) -> None:
        fault = self._chance.choice(APP_FAULTS)
        self._app.faults.switch(fault)
        self._pass(0.3, 1.5)
        self._app.faults.switch(f"{fault.partition('=')[0]}=off")

    def _spoil_web_service(self) -> None:
        faults = self._chance.choice(self._web_services).faults
        fault = self._chance.choice(WEB_FAULTS)
        faults.switch(fault)
        self._pass(0.3, 1.5)
        faults.switch(f"{fault.partition('=')[0]}=off")

    def _mend_line(self) -> None:
        self._line.plug()
        self._line.faults = anviz.Faults()

    def _mend(self) -> None:
        self._link.mend()
        self._mend_line()
        for terminal in self._zkteco():
            for fault in terminal.faults.on:
                terminal.faults.switch_off(fault)

    # What must be true in the end.

    def _expected(self) -> set[UUID]:
        """Return the ids that follow from the logs, as the contract has them."""
        expected = expected_of(self._terminals.values())
        for caller in self._callers.values():
            # Equal lines are one punch; those of one second that differ are numbered.
            occurrences = Counter((made.pin, made.moment) for made in set(caller.log))
            for (pin, moment), count in occurrences.items():
                expected |= {punch_id(caller.serial, pin, moment, number + 1) for number in range(count)}
        # The app's identifiers tell its records of one second apart.
        posted = Counter((made.pin, made.local_time) for made in tuple(self._app.records))
        for (pin, moment), count in posted.items():
            expected |= {punch_id(APP_SERIAL, pin, moment, number + 1) for number in range(count)}
        return expected

    def _settle(self) -> None:
        expected = len(self._expected())
        moved, before = time.monotonic(), ""
        while not (reported := self._reported())[0]:
            for program in (self._gateway, self._inbox):
                program.check_alive()
            if reported[1] != before:
                moved, before = time.monotonic(), reported[1]
            assert time.monotonic() - moved < STILL_S, f"not everything arrived, and nothing moves: {reported[1]}"
            time.sleep(0.2)
        assert self._held() >= expected

    def _reported(self) -> tuple[bool, str]:
        """Return whether everything is held and covered by receipts, and how far it is."""
        expected = len(self._expected())
        try:
            with closing(LedgerReader(self._gateway.disk.contents)) as ledger:
                counts, punches = ledger.counts(), ledger.punches()
        except Exception as exc:  # noqa: BLE001 - the daemon is opening it
            return False, f"ledger: {exc}"
        held = self._held()
        whole = counts.confirmed == counts.sequence and counts.missing == counts.waiting == 0
        return whole and punches >= expected and held >= expected, (
            f"{expected} records in the terminals, {punches} in the ledger, {held} at the centre; {counts}"
        )

    def _held(self) -> int:
        try:
            with open_readonly(self._inbox.disk.contents / "centre.db") as connection:
                return int(connection.exec_driver_sql("SELECT count(*) FROM punch").scalar_one())
        except StoreError:
            return 0

    def _check(self) -> int:
        """Compare terminals, ledger and centre; return how many events there are."""
        expected = self._expected()
        with closing(LedgerReader(self._gateway.disk.contents)) as ledger:
            verdict = ledger.verify()
            counts = ledger.counts()
            in_ledger = [UUID(bytes=id_) for (id_,) in ledger._rows("SELECT id FROM event WHERE topic LIKE 'punch/%'")]
        assert verdict.breach is None, verdict.breach
        assert verdict.streams == 1, "no crash may look like a ledger that was set back"
        check_same(expected, in_ledger, "ledger")
        with open_readonly(self._inbox.disk.contents / "centre.db") as connection:
            assert list(verify(connection)) == []
            output = report(connection)
            at_centre = [
                UUID(id_)
                for (id_,) in connection.exec_driver_sql("SELECT id FROM event WHERE type = 'hadir.punch.recorded.v1'")
            ]
            punches = [UUID(id_) for (id_,) in connection.exec_driver_sql("SELECT id FROM punch")]
        assert output.rejected == []
        (stream,) = output.streams
        assert (stream.missing, stream.forks, stream.misidentified) == ([], [], [])
        assert (stream.chain.state, stream.chain.first, stream.chain.last) == ("unbroken", 1, counts.sequence)
        assert stream.events == stream.upto == counts.sequence == counts.confirmed
        check_same(expected, at_centre, "centre's events")
        check_same(expected, punches, "centre")
        assert sum(terminal.refused_writes for terminal in self._zkteco()) == 0
        assert sum(terminal.refused for terminal in self._line.terminals.values()) == 0
        assert not any(terminal.refused_writes for terminal in self._callers.values())
        assert not any(web.refused_writes for web in self._web_services)
        assert {method for web in self._web_services for method in web.methods} == {"GetAttLog"}
        return counts.sequence


@contextmanager
def punching(chance: random.Random, per_s: float, punch: Callable[[], None]) -> Iterator[None]:
    """Call ``punch`` at random moments in a thread of its own, ``per_s`` times a second, for the length of a block."""
    stopping = threading.Event()

    def go_on() -> None:
        while not stopping.wait(chance.expovariate(per_s)):
            punch()

    people = threading.Thread(target=go_on, name="fingers")
    people.start()
    try:
        yield
    finally:
        stopping.set()
        people.join()


def expected_of(terminals: Iterable[SimulatedTerminal | SimulatedAnviz]) -> set[UUID]:
    """Return the ids that follow from the logs of terminals, as the contract has them."""
    expected = set()
    for terminal in terminals:
        seen: Counter[tuple[str, datetime]] = Counter()
        for record in terminal.records():
            assert isinstance(record, RawPunch)
            person = record.pin or terminal.users[record.uid or 0]  # a log of 8 bytes has numbers only
            seen[person, record.local_time] += 1
            expected.add(punch_id(terminal.serial, person, record.local_time, seen[person, record.local_time]))
    return expected


def check_same(expected: set[UUID], found: list[UUID], where: str) -> None:
    """Assert that each that is expected was found once, and nothing else."""
    times = Counter(found)
    twice = [id_ for id_, count in times.items() if count > 1]
    lost, invented = expected - times.keys(), times.keys() - expected
    wrong = {"lost": len(lost), "invented": len(invented), "twice": len(twice)}
    assert not any(wrong.values()), f"{where}: {wrong}, of {len(expected)}"


def _terminals(chance: random.Random) -> dict[str, SimulatedTerminal | SimulatedAnviz]:
    def clock() -> datetime:
        return datetime.now(ZONE).replace(tzinfo=None)

    history = generate(chance.randrange(10**6), HISTORY, 60, HISTORY_ENDS)
    few = {uid: str(3000 + uid) for uid in range(1, 5)}
    return {
        "lobby": SimulatedTerminal(serial="TORTURE000001", users=history.users, log=history.log, now=clock),
        "gudang": SimulatedTerminal(serial="TORTURE000002", users=few, layout="16", event_length=12, now=clock),
        "loket": SimulatedTerminal(serial="TORTURE000003", users=few, layout="8", comm_key=COMM_KEY, now=clock),
        "ruang-soap": SimulatedTerminal(serial="TORTURE000007", users=dict(few), now=clock),
        "gudang-soap": SimulatedTerminal(serial="TORTURE000008", users=dict(few), now=clock),
        "pos": anviz.SimulatedTerminal(serial="TORTURE000000004", users=few, now=clock),
    }


def _callers(chance: random.Random) -> dict[str, push.SimulatedTerminal]:
    """Return terminals that call. Their clocks are right: what one that is set back hides is found at night only."""

    def clock() -> datetime:
        return datetime.now(ZONE).replace(tzinfo=None)

    new = push.SimulatedTerminal(serial="TORTURE000005", firmware="2.4", now=clock)
    old = push.SimulatedTerminal(serial="TORTURE000006", firmware="2.0", now=clock)
    for terminal in (new, old):
        terminal.log += push.history(chance.randrange(10**6), 300, HISTORY_ENDS)
    return {"aula": new, "halaman": old}
