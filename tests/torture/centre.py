"""A centre on several machines under torture: two inboxes with lanes, two judges, a server and its synchronous standby.

Gateways, inboxes and judges are the real programs, in processes of their own, with shorter waits; terminals are
simulators. Everything is killed, frozen, cut off, promoted and set wrong at moments that a seed chooses; faults of
different kinds overlap. In the end everything is mended. Then each punch of each terminal must be stored once, receipts
must say so and never have gone back, and each verdict must be the one that a single undisturbed process comes to on a
file: it gets the events from the ledgers of the gateways, not from the centre. A seed decides what happens; when
exactly, the machine does.

Clocks are stepped below the programs, servers and broker included (`clock.c`); the primary's disk is full for whatever
would make a file longer (`full.c`), which ends it where that is its write-ahead log. Its power cut kills all of its
processes at the same moment; what they had given to the operating system is kept, unlike with a real one (the other
torture takes that from gateway, broker and inbox).

Not built: several faults of one kind at once, and pages or publishing to readers.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from central.policy.office import OfficePolicies
from central.registers.importing import Paper, enter_file
from central.registers.read import scan_register
from central.report import open_readonly, verify
from central.store import Message, Store, StoreError, marks, results
from central.store.engine import Database
from central.timesheet.recompute import Recompute
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, generate
from gateway.ledger import LedgerReader
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.central.lanes.deployment import Line
from tests.central.store.office import OFFICE, POLICIES
from tests.postgres import PASSWORD, ROLE, Server
from tests.standby import Standby
from tests.torture import clock
from tests.torture.clock import Clock
from tests.torture.disk import compiled
from tests.torture.harness import SAVED_S, STILL_S, ZONE, Outcome, check_same, expected_of, punching
from tests.torture.link import Link

SITES = ("dinas-a", "dinas-b", "dinas-c", "dinas-d")
PEOPLE = 10
"""At each site."""
HISTORY = 120
"""Records of the last days that each terminal holds from the start: those are judged for good."""
DAYS = 21
"""For so many days people are employed; the history is shorter."""
PUNCHES_PER_S = 12.0
CENTRE_STEPS_S = (-120.0, -5.0, 5.0, 90.0)
"""By how much the clocks of inboxes, judges, servers and broker are set wrong, both ways; at the end they are right."""
GATEWAY_STEPS_S = (-3600.0, -30.0, 5.0, 1800.0)
DATABASE_ENDED, LOCKED = 74, 75
"""Exit codes of a process that finds no database when it starts, or another's; its unit starts it again."""
FULL = Path(__file__).with_name("full.c")
SETTLED_S = 300.0
"""A clock that was ahead may have ended a day too early; time settles that, within the largest step."""
SERVER = ("max_wal_senders = 10", "synchronous_commit = on", "wal_retrieve_retry_interval = 200ms")


class Program:
    """A process that is started again after whatever happens to it."""

    def __init__(self, folder: Path, name: str, arguments: list[str], own: Clock) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", "tests.torture.impatient", *arguments]
        self._environment = os.environ | own.environment
        self.clock = own
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment
            )

    def keep(self) -> bool:
        """Start it again where the database ended it, as its unit does; return whether that was so.

        Raises AssertionError where it ended otherwise.
        """
        code = None if self._process is None else self._process.poll()
        if code is None:
            return False
        assert code in (DATABASE_ENDED, LOCKED), f"{self.name} ended by itself with {code}; see {self.log}"
        self.start()
        return True

    def kill(self) -> None:
        """End it like the out-of-memory killer; also where it is frozen."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it where it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Let it end in good order, which :meth:`check_end` waits for."""
        assert self._process is not None
        self._process.terminate()

    def check_end(self) -> None:
        """Assert that it ends with exit code 0."""
        assert self._process is not None
        code = self._process.wait(WAIT_S)
        self._process = None
        assert code == 0, f"{self.name} did not end well: {code}; see {self.log}"


Stated = tuple[str, str, int, Sequence[Sequence[int]]]
"""A receipt: topic, stream, ``upto`` and the ranges that are missing."""


class Receipts:
    """All receipts that were published while this was connected; those that a broker kept are not repeated."""

    def __init__(self, port: int) -> None:
        self.stated: list[Stated] = []
        """In order."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @staticmethod
    def _on_connect(client: mqtt.Client, _u: Any, _f: Any, _reason: Any, _p: Any) -> None:
        kept = SubscribeOptions.RETAIN_DO_NOT_SEND
        client.subscribe("hadir/v1/+/+/receipt", options=SubscribeOptions(qos=1, retainHandling=kept))

    def _on_message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        receipt = json.loads(message.payload)
        self.stated.append((message.topic, receipt["stream"], receipt["upto"], receipt["missing"]))


def check_forward(stated: Iterable[Stated]) -> None:
    """Assert that no receipt names as missing what one before it has confirmed: that alone takes a confirmation back.

    ``upto`` may be lower where an announced end, which was named as missing, arrives in part.
    """
    confirmed: dict[tuple[str, str], set[int]] = {}
    for topic, stream, upto, ranges in stated:
        missing = {sequence for first, last in ranges for sequence in range(first, last + 1)}
        before = confirmed.setdefault((topic, stream), set())
        lost = before & missing
        assert not lost, f"a receipt on {topic} went back: it misses {len(lost)} that were confirmed, first {min(lost)}"
        before |= set(range(1, upto + 1)) - missing


AnyServer = TypeVar("AnyServer", bound=Server)


class Servers:
    """A primary and its synchronous standby, which takes over, and the lines that lead to whichever is the primary."""

    def __init__(self, stack: ExitStack, folder: Path, libraries: tuple[Path, Path]) -> None:
        """``libraries``: those of clocks and of full disks."""
        self._stack = stack
        self._folder = folder
        self._libraries = libraries
        self.clocks: list[Clock] = []
        self._full: dict[Server, Path] = {}
        self.lines: list[Line] = []
        self.primary: Server = self._entered(Server(*SERVER))
        self.name = self.primary.fresh()
        with self.primary.superuser() as administrator:
            administrator.execute(f"GRANT pg_monitor TO {ROLE}".encode())
        with Database(self.primary.url(self.name), create=True):
            pass
        self.standby = self._follower()
        with self.primary.superuser() as administrator:
            administrator.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            administrator.execute("SELECT pg_reload_conf()")

    def _follower(self) -> Standby:
        return self._entered(Standby(self.primary, *SERVER, "synchronous_standby_names = '*'"))

    def _entered(self, server: AnyServer) -> AnyServer:
        """Start a server with a clock and a disk of its own."""
        time_library, full_library = self._libraries
        own = Clock(self._folder / f"server-{len(self.clocks)}.clock", time_library)
        self.clocks.append(own)
        self._full[server] = server.folder / "full"
        preloaded = {"LD_PRELOAD": f"{time_library}:{full_library}", "FULL": str(self._full[server])}
        server.environment |= own.environment | preloaded
        self._stack.enter_context(server)
        return server

    def fill(self, for_s: float) -> bool:
        """Let the primary's disk be full for a while; return whether that ended it."""
        full = self._full[self.primary]
        full.touch()
        time.sleep(for_s)
        full.unlink()
        return self.primary.recover()

    @property
    def refused_writes(self) -> int:
        """How often a server has reported that its disk is full."""
        return sum(server.log.count("No space left on device") for server in self._full)

    def url(self) -> str:
        """Return where the database is now, without a line in between."""
        return self.primary.url(self.name)

    def line(self) -> Line:
        """Return another line to the primary."""
        self.lines.append(self._stack.enter_context(Line(self.primary.port)))
        return self.lines[-1]

    def promote(self, hang_s: float, gap_s: float) -> None:
        """Let the primary hang, then die, and the standby take over; after ``gap_s`` there is a new standby."""
        self.primary.freeze()
        time.sleep(hang_s)
        self.primary.kill()
        self.standby.run("SELECT pg_promote()")
        self.primary = self.standby
        for line in self.lines:
            line.server = self.primary.port
        time.sleep(gap_s)
        self.standby = self._follower()


Faults = tuple[tuple[str, Callable[[random.Random], None]], ...]


class Torture:
    """A centre with its offices, to be tormented; everything but the servers' data lives in ``folder``."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self._folder = folder
        self._did: Counter[str] = Counter()
        chance = random.Random(seed)
        self._terminals = [_terminal(number, chance) for number in range(len(SITES))]
        self._until_s = 0.0
        self._library = compiled(folder, clock.SOURCE)

    def run(self, for_s: float) -> Outcome:
        """Torment for ``for_s`` seconds, mend everything and check; AssertionError where something is wrong."""
        begun = time.monotonic()
        with ExitStack() as stack:
            libraries = self._library, compiled(self._folder, FULL)
            self._servers = Servers(stack, self._folder, libraries)
            self._broker = Broker(self._folder, *self._broker_lines())
            self._broker_clock = Clock(self._folder / "broker.clock", self._library)
            self._broker.environment |= self._broker_clock.environment
            stack.enter_context(self._broker)
            self._enter_registers(self._servers.url())
            self._make_programs(stack)
            receipts = stack.enter_context(Receipts(self._broker.port))
            for program in self._programs:
                stack.callback(program.kill)
                program.start()
            with self._fingers():
                self._begin()
                self._torment(for_s)
            self._settle()
            events = self._check()
            assert receipts.stated
            check_forward(receipts.stated)
            verdicts = self._compare()
            for program in self._programs:
                program.terminate()
            for program in self._programs:
                program.check_end()
            if refused := self._servers.refused_writes:
                self._did["write refused by a full disk"] = refused
        records = sum(terminal.count for terminal in self._terminals)
        return Outcome(self._seed, self._did, records, events, time.monotonic() - begun, verdicts)

    # What there is.

    def _broker_lines(self) -> list[str]:
        kept = ["persistence true", f"persistence_location {self._folder / 'broker'}/", f"autosave_interval {SAVED_S}"]
        return ["max_inflight_messages 200", *kept]

    def _make_programs(self, stack: ExitStack) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)

        def database() -> str:
            port = self._servers.line().port
            return f"postgresql://{ROLE}@127.0.0.1:{port}/{self._servers.name}?password_file={password}"

        def link() -> Link:
            self._links.append(stack.enter_context(Link(self._broker.port)))
            return self._links[-1]

        self._links: list[Link] = []
        self._inboxes, self._judges, self._gateways = [], [], []
        for number in (1, 2):
            options = ["--lanes", "3", "--synchronous", "--broker", link().url, "--db", database()]
            arguments = ["central", "inbox", *options, "--policies", str(POLICIES)]
            self._inboxes.append(self._program(f"inbox-{number}", arguments))
        for number in (1, 2):
            arguments = ["central", "judge", "--db", database(), "--policies", str(POLICIES)]
            self._judges.append(self._program(f"judge-{number}", arguments))
        for site, terminal in zip(SITES, self._terminals, strict=True):
            served = stack.enter_context(Simulator(terminal))
            self._gateways.append(self._program(site, self._gateway_arguments(site, served, link())))
        self._programs = [*self._inboxes, *self._judges, *self._gateways]

    def _program(self, name: str, arguments: list[str]) -> Program:
        return Program(self._folder, name, arguments, Clock(self._folder / f"{name}.clock", self._library))

    def _gateway_arguments(self, site: str, terminal: Simulator, link: Link) -> list[str]:
        entry = {"name": "lobby", "driver": "zkteco", "address": terminal.address, "poll": "1s", "timeout": "1s"}
        settings = {
            "site": site,
            "gateway": "gw-01",
            "timezone": ZONE.key,
            "data_dir": str(self._data(site)),
            "web": None,
            "mqtt": {"url": link.url},
            "delivery": {"batch_from": 50, "batch_bytes": "4KiB"},
            "retention": {"free_floor": 0},  # how full this machine's disk is does not matter here
            "terminals": [entry | {"bulk_timeout": "5s"}],
        }
        self._data(site).mkdir()
        configuration = self._folder / f"{site}.yaml"
        configuration.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        return ["gateway", "run", "--config", str(configuration), "--assume-synchronised"]

    def _data(self, site: str) -> Path:
        return self._folder / site

    def _enter_registers(self, database: str | Path) -> None:
        """Enter the same registers into a database, at the same moment by its clock."""
        if not hasattr(self, "_entered"):
            self._entered = datetime.now(UTC)
            self._first = datetime.now(ZONE).date() - timedelta(days=DAYS)
        with Database(database) as opened:
            for kind, text in _registers(self._first).items():
                file = self._folder / f"{kind}.csv"
                file.write_text(text, "utf-8")
                paper = Paper("Kepala Contoh", "Contoh 1/2026")
                enter_file(opened, scan_register(file, kind), OfficePolicies(POLICIES), paper, self._entered)

    def _fingers(self) -> AbstractContextManager[None]:
        """Let people punch for the length of a block."""
        chance = random.Random(f"{self._seed} fingers")

        def punch() -> None:
            terminal = chance.choice(self._terminals)
            terminal.punch(chance.choice(list(terminal.users.values())), chance.choice((0, 1)))

        return punching(chance, PUNCHES_PER_S, punch)

    # What goes wrong.

    def _begin(self) -> None:
        """Wait for the first punch: what has not begun yet has nothing to lose."""
        moved, before = time.monotonic(), ""
        while not self._held()[0]:
            self._keep()
            # How long starting takes is the machine's matter, as long as something happens.
            if (written := self._written()) != before:
                moved, before = time.monotonic(), written
            assert time.monotonic() - moved < STILL_S, f"no punch arrives, and nothing moves: {self._reported()[1]}"
            time.sleep(0.2)

    def _written(self) -> str:
        return " ".join(str(program.log.stat().st_size) for program in self._programs)

    def _torment(self, for_s: float) -> None:
        """Let faults of three kinds happen beside each other; those of one kind one after the other."""
        self._until_s = time.monotonic() + for_s
        with ThreadPoolExecutor() as pool:
            beside = [pool.submit(self._go_on, "programs", self._of_programs())]
            beside.append(pool.submit(self._go_on, "network", self._of_network()))
            # In this thread: a server ends with the thread that has started it.
            self._go_on("servers", self._of_servers(), beside)
            for one in beside:
                one.result()

    def _go_on(self, kind: str, faults: Faults, beside: list[Future[None]] | None = None) -> None:
        chance = random.Random(f"{self._seed} {kind}")
        while time.monotonic() < self._until_s and not any(one.done() for one in beside or ()):
            what, work = chance.choice(faults)
            self._did[what] += 1
            work(chance)
            _wait(chance, 0.1, 2.5)
            if kind == "programs":
                self._keep()

    def _keep(self) -> None:
        for program in self._programs:
            if program.keep():
                self._did[f"{program.name.partition('-')[0]} started without its database"] += 1

    def _of_programs(self) -> Faults:
        kinds = (("inbox", self._inboxes), ("judge", self._judges), ("gateway", self._gateways))

        def kill(programs: list[Program], chance: random.Random) -> None:
            program = chance.choice(programs)
            program.kill()
            _wait(chance, 0.0, 1.0)
            program.start()

        def freeze(programs: list[Program], chance: random.Random) -> None:
            program = chance.choice(programs)
            program.keep()
            program.freeze()
            _wait(chance, 0.5, 7.0)
            program.thaw()

        killed = [(f"{kind} killed", lambda chance, of=of: kill(of, chance)) for kind, of in kinds]
        frozen = [(f"{kind} frozen", lambda chance, of=of: freeze(of, chance)) for kind, of in kinds]
        return (*killed, *frozen)

    def _of_servers(self) -> Faults:
        servers = self._servers

        def kill(chance: random.Random, server: Server) -> None:
            server.kill()
            _wait(chance, 0.1, 2.0)
            server.start()

        def freeze(chance: random.Random, server: Server) -> None:
            server.freeze()
            _wait(chance, 0.5, 6.0)
            server.thaw()

        def cut_power(chance: random.Random) -> None:
            servers.primary.lose_power()
            _wait(chance, 0.1, 2.0)
            servers.primary.start()

        def fill(chance: random.Random) -> None:
            if servers.fill(chance.uniform(0.5, 5.0)):
                self._did["primary ended by its full disk"] += 1

        def step(chance: random.Random) -> None:
            chance.choice(servers.clocks).set(chance.choice(CENTRE_STEPS_S))

        def promote(chance: random.Random) -> None:
            servers.promote(chance.choice((0.0, 0.0, 3.0)), chance.uniform(0.0, 2.0))

        return (
            ("primary killed", lambda chance: kill(chance, servers.primary)),
            ("primary frozen", lambda chance: freeze(chance, servers.primary)),
            ("primary's power cut", cut_power),
            ("primary's disk full", fill),
            ("a server's clock stepped", step),
            ("standby killed", lambda chance: kill(chance, servers.standby)),
            ("standby frozen", lambda chance: freeze(chance, servers.standby)),
            ("standby promoted", promote),
        )

    def _of_network(self) -> Faults:
        def cut_line(chance: random.Random) -> None:
            line = chance.choice(self._servers.lines)
            line.cut()
            _wait(chance, 0.5, 7.0)
            line.heal()

        def cut_link(chance: random.Random) -> None:
            link = chance.choice(self._links)
            link.cut()
            _wait(chance, 0.1, 2.0)
            link.mend()

        def slow_link(chance: random.Random) -> None:
            link = chance.choice(self._links)
            link.delay_s = chance.choice((0.01, 0.05))
            _wait(chance, 0.3, 2.0)
            link.mend()

        def fell_broker(chance: random.Random, *, forget: bool) -> None:
            self._broker.kill()
            if forget:
                (self._folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
            _wait(chance, 0.0, 1.0)
            self._broker.start()

        def step(chance: random.Random, programs: list[Program], steps: tuple[float, ...]) -> None:
            chance.choice(programs).clock.set(chance.choice(steps))

        return (
            ("line to the database cut", cut_line),
            ("line to the broker cut", cut_link),
            ("line to the broker slowed", slow_link),
            ("broker killed", lambda chance: fell_broker(chance, forget=False)),
            ("broker without its memory", lambda chance: fell_broker(chance, forget=True)),
            ("centre's clock stepped", lambda chance: step(chance, [*self._inboxes, *self._judges], CENTRE_STEPS_S)),
            ("gateway's clock stepped", lambda chance: step(chance, self._gateways, GATEWAY_STEPS_S)),
            ("broker's clock stepped", lambda chance: self._broker_clock.set(chance.choice(CENTRE_STEPS_S))),
        )

    # What must be true in the end.

    def _settle(self) -> None:
        """Set all clocks right, and wait until everything is held, confirmed and judged, or nothing moves any more."""
        for own in (self._broker_clock, *self._servers.clocks, *(program.clock for program in self._programs)):
            own.set(0.0)
        moved, before = time.monotonic(), ""
        while not (reported := self._reported())[0]:
            self._keep()
            if reported[1] != before:
                moved, before = time.monotonic(), reported[1]
            assert time.monotonic() - moved < STILL_S, f"not everything arrived, and nothing moves: {reported[1]}"
            time.sleep(0.5)

    def _reported(self) -> tuple[bool, str]:
        """Return whether everything is held, covered by receipts and judged, and how far it is."""
        expected = len(expected_of(self._terminals))
        held, waiting, failed = self._held()
        whole, counted = True, []
        for site in SITES:
            try:
                with closing(LedgerReader(self._data(site))) as ledger:
                    counts, punches = ledger.counts(), ledger.punches()
            except Exception as exc:  # noqa: BLE001 - the daemon is opening it
                return False, f"ledger of {site}: {exc}"
            whole &= counts.confirmed == counts.sequence and counts.missing == counts.waiting == 0
            counted.append(f"{site}: {punches} punches, {counts.confirmed} of {counts.sequence} confirmed")
        assert not failed, f"{failed} marks could not be judged"
        stored = f"{expected} records in the terminals, {held} at the centre, {waiting} marks wait"
        return whole and held >= expected and not waiting, "; ".join((stored, *counted))

    def _held(self) -> tuple[int, int, int]:
        """Return how many punches are stored, and how many marks wait and have failed."""
        with suppress(StoreError), open_readonly(self._servers.url()) as connection:
            punches = int(connection.exec_driver_sql("SELECT count(*) FROM punch").scalar_one())
            return (punches, *marks.numbers(connection))
        return 0, 0, 0

    def _check(self) -> int:
        """Compare terminals, ledgers and centre; return how many events there are."""
        expected, in_ledgers, sealed = expected_of(self._terminals), [], set()
        for site in SITES:
            with closing(LedgerReader(self._data(site))) as ledger:
                verdict = ledger.verify()
                assert verdict.breach is None, verdict.breach
                ids = ledger._rows("SELECT id FROM event WHERE topic LIKE 'punch/%'")
                in_ledgers += [UUID(bytes=id_) for (id_,) in ids]
                sealed |= {UUID(bytes=id_) for (id_,) in ledger._rows("SELECT id FROM event")}
        check_same(expected, in_ledgers, "ledgers")
        with open_readonly(self._servers.url()) as connection:
            assert list(verify(connection)) == []
            at_centre = [UUID(id_) for (id_,) in connection.exec_driver_sql("SELECT id FROM event")]
            punches = [UUID(id_) for (id_,) in connection.exec_driver_sql("SELECT id FROM punch")]
        check_same(sealed, at_centre, "centre's events")
        check_same(expected, punches, "centre")
        assert sum(terminal.refused_writes for terminal in self._terminals) == 0
        return len(sealed)

    def _compare(self) -> int:
        """Compare verdicts with those of one undisturbed process on a file, fed from the ledgers; return how many."""
        path = self._folder / "alone.db"
        with closing(Store(path)) as store:
            self._enter_registers(path)
            for site in SITES:
                with closing(LedgerReader(self._data(site))) as ledger:
                    events = ledger.events(0, 1_000_000)
                sent = (Message(f"{site}/gw-01/{event.topic}", event.body.encode()) for event in events)
                assert store.ingest(sent).rejected == 0
            alone = Recompute(store.database, OfficePolicies(POLICIES))
            different: list[str] = ["nothing was compared"]
            number = 0

            def equal() -> bool:
                nonlocal different, number
                if number:
                    time.sleep(1.0)
                self._keep()
                # States are retained, and change: a watermark that a gateway has published since is a fact, too.
                store.ingest(self._retained())
                alone.run()
                ours, theirs = _verdicts(store.database), _verdicts_at(self._servers.url())
                different = sorted(day for day in ours.keys() | theirs.keys() if ours.get(day) != theirs.get(day))
                number = len(ours)
                return bool(number) and not different

            try:
                eventually(equal, timeout=SETTLED_S, what="equal verdicts")
            except AssertionError:
                raise AssertionError(f"{len(different)} of {number} verdicts differ: {different[:10]}") from None
        return number

    def _retained(self) -> list[Message]:
        with Subscriber(self._broker.port, "hadir/v1/#") as subscriber:
            wanted = {f"hadir/v1/{site}/gw-01/info" for site in SITES}
            messages = subscriber.wait_for(lambda all_: wanted <= {one.topic for one in all_})
        return [
            Message(one.topic.removeprefix("hadir/v1/"), one.text.encode())
            for one in messages
            if one.topic.endswith(("/info", "/state"))
        ]


def _wait(chance: random.Random, least_s: float, most_s: float) -> None:
    time.sleep(chance.uniform(least_s, most_s))


def _verdicts(database: Database) -> dict[str, tuple[str, str, str]]:
    with database.reading() as connection:
        current = results.current(connection, None, date.min, date.max)
        return {f"{one.person} {one.date}": (one.status, one.inputs, one.content) for one in current}


def _verdicts_at(url: str) -> dict[str, tuple[str, str, str]]:
    with Database(url, read_only=True) as database:
        return _verdicts(database)


def _registers(first: date) -> dict[str, str]:
    """Return an office of four sites; everybody is employed, and planned, from that date on."""
    people = [(f"{site}-{number}", 1000 + number, site) for site in SITES for number in range(1, PEOPLE + 1)]
    units = [f"{site},Contoh {site},dinas,Asia/Jakarta,2026-01-01," for site in SITES]
    employed = [f"{key},Contoh {key},pns,{site},{first}," for key, _, site in people]
    enrolled = [f"{pin},{site},{key},2026-01-01," for key, pin, site in people]
    return {
        **OFFICE,
        "units": OFFICE["units"] + "\n".join((*units, "")),
        "people": "\n".join(("key,name,employment,unit,from,until", *employed, "")),
        "enrolments": "\n".join(("pin,site,person,from,until", *enrolled, "")),
    }


def _terminal(number: int, chance: random.Random) -> SimulatedTerminal:
    def clock() -> datetime:
        return datetime.now(ZONE).replace(tzinfo=None)

    yesterday = clock().replace(hour=18, minute=0, second=0, microsecond=0) - timedelta(days=1)
    history = generate(chance.randrange(10**6), HISTORY, PEOPLE, yesterday)
    return SimulatedTerminal(serial=f"TORTURE00010{number}", users=history.users, log=history.log, now=clock)
