"""The whole road against a model of a terminal: simulator, sockets, driver, worker, ledger; every punch is one event.

``HADIR_MODEL_EXAMPLES=2000`` runs that many random ones in place of the few that are always the same.
"""

import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from structlog.testing import capture_logs

from drivers import DRIVERS
from drivers.base import BadRecord, Record, Terminal, TerminalUnavailable
from drivers.zkteco import layouts, transport
from drivers.zkteco.simulator import SimulatedTerminal, Simulator, conversation
from drivers.zkteco.simulator.faults.memory import BAD_TIME
from drivers.zkteco.simulator.memory import TIME_AT
from gateway import event as event_module
from gateway.ledger import Ledger, ReadingResult, reading
from gateway.settings import Settings
from gateway.terminal.live_events import LiveReceiver
from gateway.terminal.timing import Timing
from gateway.terminal.worker import Worker
from tests.gateway.full_disk import FullDisk, impatient
from tests.power_cut import PowerCut

ZONE = ZoneInfo("Asia/Jakarta")
SOURCE = "/hadir/office/gw"
BEGIN = datetime(2026, 9, 7, tzinfo=UTC)
RESET = datetime(2000, 1, 1)  # noqa: DTZ001 - a terminal's wall clock has no zone
RAM = Path("/dev/shm")  # noqa: S108 - thousands of commits, and none of them about the disk
PINS = ("1", "2", "77")
SLICE = 4
SMALL = 100
"""Bytes of a log that the simulator answers at once here, so that a few records are prepared and read in part."""
HEAR_S = 0.01
TIMEOUT = "1s"
"""Longer than a loaded machine takes for an answer that comes, and short enough for those that do not."""
VISITS = 5
"""Until all is well again: a machine may be so loaded that one of them fails."""

COUNT_FAULTS = ("count=0", "count=+3", "count=-3", "short-sizes")
FAULTS = (
    *COUNT_FAULTS,
    *("tail=refused", "tail=zero", "tail=full", "no-buffer", "no-range", "range-lies"),
    *("mute", "no-events", "event-differs", "other-events=2", "event-length=41", "chatter=2"),
    *("split=3", "coalesce", "wrong-session", "bad-checksum", "duplicate", "reorder"),
    *("hang-up=prepare", "hang-up=read", "hang-up=read+60", "hang-up=count", "hang-up=free", "hang-up=listen"),
    *("silence=prepare", "silence=read+60", "silence=count", "lose=20", "race=2"),
)

Key = tuple[str, str]


class SteppedWorker(Worker):
    """A worker in the hand of a test: it listens for as long as the test has something to happen meanwhile."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.script: list[Callable[[], None]] = []
        """What happens while it listens; a poll follows each."""
        self.meanwhile: list[Callable[[], None]] = []
        """What happens before a reading and after each slice of it, one each time."""
        visits = self._visits
        self._live = visits._live
        self._live.drain = self._drain  # type: ignore[method-assign]  # the test acts before each
        visits._listen = self._listen  # type: ignore[method-assign]  # the test decides
        visits._reachability.failed_by_driver = self._fail  # type: ignore[method-assign]

    def visit(self) -> None:
        """Hold one conversation, to the end of the script."""
        deque(self._visits._run_visit(), maxlen=0)
        self._stopping.clear()

    def _fail(self, exc: BaseException) -> float:
        raise exc  # a power cut, or a mistake of the gateway

    def _listen(self, terminal: Terminal, until_s: float) -> Generator[float, None, None]:  # noqa: ARG002 - the test decides
        if not self.script:
            self._stopping.set()
            return
        self.script.pop(0)()
        self._live.receive(terminal, HEAR_S)
        yield from ()

    def _drain(self, terminal: object) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        LiveReceiver.drain(self._live, terminal)


def believable(record: Record) -> bool:
    """Return whether the record has a date of this century's working life."""
    return not isinstance(record, BadRecord) and record.local_time.year > event_module.RESET_YEAR


class TerminalAndGateway(RuleBasedStateMachine):
    """A terminal that is punched, cleared, overwritten, restarted and lies, read by a gateway that crashes.

    What the model keeps away, because no reading could show: two records with one fingerprint (each has a state and a
    way of verification of its own; repetitions are of the last record, of a log that loses nothing at its front), a
    person with one believable second on both sides of a clearing, and in a log that loses records at its front at all;
    a block purged of all but moments of a reset clock; an internal number given to another person before the punches of
    its former owner were read. A log that was cleared and has as many records again looks as it did: only the nightly
    reading of the whole log shows it, and until then the model requires nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(mock.patch.object(reading, "SLICE", SLICE))
        self.stack.enter_context(mock.patch.object(conversation, "SMALL", SMALL))
        self.stack.enter_context(mock.patch.object(transport, "DATAGRAM_GAP_S", 0.2))
        self.monotonic_s = 10_000.0
        self.stack.enter_context(capture_logs())
        self.stack.enter_context(impatient())
        self.folder = Path(tempfile.mkdtemp(prefix="hadir-model-", dir=RAM if RAM.is_dir() else None))
        self.now = BEGIN
        self.made = 0
        self.log: list[tuple[int, Key]] = []
        """Number and key of what the terminal's log holds."""
        self.keys: dict[int, Key] = {}
        """Number → key of every record there ever was."""
        self.reported: Counter[Key] = Counter()
        """Punches that the log never held."""
        self.known: set[int] = set()
        """Records that the ledger must have."""
        self.withheld: set[int] = set()
        self.taken: set[Key] = set()
        """Keys that no new record may have."""
        self.doubtful = False
        """The count may be as expected though the log is not."""

    # The gateway.

    @initialize(
        layout=st.sampled_from(["40", "40", "16", "8"]),
        capacity=st.sampled_from([None, 16]),
        road=st.sampled_from(["tcp", "tcp", "udp"]),
        live=st.booleans(),
        start=st.booleans(),
    )
    def install(self, layout: str, capacity: int | None, road: str, live: bool, start: bool) -> None:
        """Hang up a terminal, let it be used for two days, and read it for the first time."""
        self.loses = capacity is not None
        self.terminal = SimulatedTerminal(
            serial="CEXA193960001",
            layout=layout,
            event_length=10 if layout == "8" else 32,
            capacity=capacity or 100_000,
            now=lambda: self.now.astimezone(ZONE).replace(tzinfo=None),
        )
        for pin in PINS:
            self.terminal.enrol(pin)
        self.finger = self.terminal.punch
        self.stack.enter_context(mock.patch.object(self.terminal, "punch", self.race))
        self.simulator = self.stack.enter_context(Simulator(self.terminal))
        entry = {
            "name": "lobby",
            "driver": "zkteco",
            "address": self.simulator.address,
            "transport": road,
            "live": live,
            "start": "2026-09-07" if start else "all",
            "timeout": TIMEOUT,
            "bulk_timeout": TIMEOUT,
        }
        self.settings = Settings.model_validate(
            {
                "site": "office",
                "gateway": "gw",
                "timezone": ZONE.key,
                "mqtt": {"url": "mqtt://127.0.0.1"},
                "terminals": [entry],
            }
        ).terminals[0]
        self.open()
        self.now = BEGIN - timedelta(days=1)
        for number in range(12):
            self.append(PINS[number % 3], number % 2)
            if number == 6:
                self.now = BEGIN
        if start:
            self.withheld = {number for number, (_, moment) in self.log if moment < "2026-09-07"}
        self.settle()

    def open(self) -> None:
        """Begin the gateway's next life."""
        self.ledger = Ledger(self.folder / "data", SOURCE, now=lambda: self.now)
        self.disk = FullDisk(self.ledger)
        clock = SimpleNamespace(now=lambda: self.now, synchronised=lambda: True)
        self.worker = worker = SteppedWorker(
            self.settings,
            ZONE,
            DRIVERS["zkteco"],
            self.ledger,
            clock,
            captures=self.folder / "captures",
            timing=Timing(monotonic_s=lambda: self.monotonic_s),
        )
        read_new = worker._visits._log_reader.read_new

        def read_and_check(*arguments: Any, **options: Any) -> ReadingResult | None:
            held, before = {number for number, _ in self.log}, worker.state.complete
            result = read_new(*arguments, **options)
            if worker.state.complete != before and not self.doubtful:
                # The watermark never claims what was not read, whatever the terminal's faults are.
                event("a watermark" + (" beside faults" if self.terminal.faults.on else ""))
                self.known |= held
            return result

        worker._visits._log_reader.read_new = read_and_check  # type: ignore[method-assign]  # the model checks each claim

    def teardown(self) -> None:
        """Remove everything."""
        if hasattr(self, "ledger"):
            self.settle()
            self.ledger.close()
        self.stack.close()
        shutil.rmtree(self.folder)

    # The terminal.

    def sync(self) -> None:
        """Forget what the terminal has lost at its front."""
        lost = len(self.log) - self.terminal.count
        if lost > 0:
            del self.log[:lost]
            self.doubtful = True

    def append(self, pin: str, ahead: int, *, live: bool = False) -> None:
        """Add a punch ``ahead`` seconds later."""
        self.now += timedelta(seconds=ahead)
        while (pin, self.terminal.clock().isoformat()) in self.taken:
            self.now += timedelta(seconds=1)
        moment = self.terminal.clock()
        self.made += 1
        state, verify = self.made % 256, self.made // 256
        if live:
            self.finger(pin, state, verify)
        else:
            self.terminal.append(pin, moment, state, verify)
        self.note((pin, moment.isoformat()))
        if self.loses and moment.year > event_module.RESET_YEAR:
            self.taken.add((pin, moment.isoformat()))

    def race(self, pin: str) -> None:
        """Make a punch between the count and the reading, as the fault of this name does."""
        self.append(pin, 1, live=True)

    def note(self, key: Key) -> None:
        """Take note of a record that the terminal has added to its log."""
        number = len(self.keys)
        self.keys[number] = key
        self.log.append((number, key))
        self.sync()

    @rule(pins=st.lists(st.sampled_from(PINS), min_size=1, max_size=9), ahead=st.integers(0, 2), live=st.booleans())
    def punch(self, pins: list[str], ahead: int, live: bool) -> None:
        """Let persons punch, also several in one second, also one person twice in it."""
        for pin in pins:
            self.append(pin, ahead, live=live)

    @precondition(lambda self: not self.loses)
    @rule()
    def press_twice(self) -> None:
        """Let a finger be read twice: two records alike to the last byte but their numbers."""
        self.terminal.faults.switch_on("double-press")
        self.append("1", 1, live=True)
        self.terminal.faults.switch_off("double-press")
        self.note(self.log[-1][1])

    @rule()
    def spoil(self) -> None:
        """Let the terminal store a record with an impossible date."""
        self.made += 1
        terminal = self.terminal
        record = layouts.encode_record(
            terminal.layout,
            pin="1",
            uid=terminal.enrol("1"),
            moment=RESET,
            state=self.made % 256,
            verify=self.made // 256,
            index=self.made,
            work_code=0,
        )
        at = TIME_AT[terminal.layout]
        raw = record[:at] + BAD_TIME.to_bytes(4, "little") + record[at + 4 :]
        terminal.append_raw(raw)
        self.note(("bad", raw[layouts.LAYOUTS[terminal.layout].index_width :].hex()))

    @rule()
    def clear(self) -> None:
        """Clear the terminal's log, as a person may at its keys."""
        self.terminal.clear_log()
        self.log = []
        self.lost_records()

    def lost_records(self) -> None:
        """Let no believable moment come again, and expect nothing of the count."""
        self.taken |= {key for key in self.keys.values() if not key[1].startswith("2000")}
        self.doubtful = True

    @precondition(lambda self: self.loses and self.log)
    @rule(records=st.integers(1, 20))
    def purge(self, records: int) -> None:
        """Let the terminal drop its oldest records."""
        rest = list(self.terminal.records())[records:]
        if not any(map(believable, rest)):
            self.clear()
            return
        self.terminal.purge(records)
        self.sync()

    @rule(seconds=st.sampled_from([-7200, -3, -1, 1, 5, 86400]))
    def step(self, seconds: int) -> None:
        """Let the terminal's clock jump, within the years it knows."""
        self.terminal.set_clock(max(RESET, self.terminal.clock() + timedelta(seconds=seconds)))

    @rule()
    def reset(self) -> None:
        """Let the terminal forget the time, once more."""
        self.terminal.set_clock(RESET)

    @rule()
    def mend_clock(self) -> None:
        """Set the terminal's clock right."""
        self.terminal.clock_offset = timedelta(0)

    @rule(fault=st.sampled_from(FAULTS))
    def misbehave(self, fault: str) -> None:
        """Switch a fault on."""
        self.terminal.faults.switch_on(fault)
        self.doubtful |= fault in COUNT_FAULTS

    @rule()
    def behave(self) -> None:
        """Switch all faults off."""
        for name in self.terminal.faults.on:
            self.terminal.faults.switch_off(name)

    @rule()
    def restart_terminal(self) -> None:
        """Restart the terminal."""
        self.terminal.restart()

    @precondition(lambda self: self.settings.live and self.terminal.layout != "8")
    @rule()
    def phantom(self) -> None:
        """Let the terminal report a punch that it keeps no record of, while the gateway listens."""

        def tell() -> None:
            self.now += timedelta(seconds=1)
            while ("2", self.terminal.clock().isoformat()) in {*self.keys.values(), *self.taken}:
                self.now += timedelta(seconds=1)
            moment = self.terminal.clock()
            self.reported["2", moment.isoformat()] += 1
            self.terminal.send_event("2", moment)

        self.worker.script = [tell]
        self.poll()

    @precondition(lambda self: self.terminal.layout == "8")
    @rule(leaver=st.sampled_from(PINS))
    def reuse_number(self, leaver: str) -> None:
        """Give the internal number of a person who left, all of whose punches are read, to another one for good."""
        self.settle()
        uid = self.terminal.enrol(leaver)
        self.terminal.remove_user(leaver)
        heir = f"9{uid}"
        self.terminal.users[uid] = heir
        self.append(heir, 1)
        self.settle()
        self.terminal.users[uid] = leaver
        self.settle()

    # The road.

    def visit(self) -> None:
        """Visit the terminal, some seconds later."""
        self.monotonic_s += 30
        self.now += timedelta(seconds=1)
        self.worker.visit()

    @rule(minutes=st.sampled_from([0, 11, 400]))
    def poll(self, minutes: int = 0) -> None:
        """Read what is new."""
        self.monotonic_s += minutes * 60
        amidst = bool(self.worker.meanwhile)
        self.visit()
        self.worker.script, self.worker.meanwhile = [], []
        worker, terminal = self.worker, self.terminal
        honest = not terminal.faults.on and not self.doubtful and terminal.count < terminal.capacity
        honest = honest and not worker._visits._reachability.outage.failures and not self.disk.refused
        if honest and worker._visits.plan.caught_up and not amidst:
            event("complete after a poll")
            self.known |= {number for number, _ in self.log}
        self.compare()

    @rule(
        received=st.lists(st.tuples(st.sampled_from(PINS), st.integers(0, 2)), max_size=4),
        amidst=st.lists(st.tuples(st.sampled_from(PINS), st.integers(0, 1)), max_size=3),
    )
    def poll_and_punch(self, received: list[tuple[str, int]], amidst: list[tuple[str, int]]) -> None:
        """Read while people punch: between polls of one conversation, and in the middle of readings."""
        self.worker.script = [lambda args=args: self.append(*args, live=True) for args in received]  # type: ignore[misc]  # a default binds the value
        self.worker.meanwhile = [lambda args=args: self.append(*args, live=True) for args in amidst]  # type: ignore[misc]  # see above
        self.poll()

    @rule(after=st.integers(0, 4), full=st.booleans())
    def fail_visit(self, after: int, full: bool) -> None:
        """Let a visit fail between measuring the clock and reading the log, or after some slices of it."""

        def fail() -> None:
            raise TerminalUnavailable("the connection was closed")

        if full:
            self.worker.request(full=True)
        self.worker.meanwhile = [lambda: None] * after + [fail]
        self.poll()
        if self.worker._visits._reachability.outage.failures:
            event("visit failed between measuring and reading" if not after else "visit failed between slices")

    @rule(commit=st.integers(0, 3), commits=st.integers(1, 3), live=st.booleans())
    def fill_disk(self, commit: int, commits: int, live: bool) -> None:
        """Fill the ledger's disk at some commits of a visit, which may also receive a live event."""
        self.disk.fill(at=self.disk.commits + 1 + commit, commits=commits)
        if live:
            self.worker.script = [lambda: self.append("1", 1, live=True)]
        self.poll()
        if self.disk.refused:
            event("ledger full")
        self.disk.empty()
        self.disk.refused = 0

    @rule(after=st.integers(0, 5), full=st.booleans())
    def cut_power(self, after: int, full: bool) -> None:
        """Cut the gateway's power before a reading or after some slices of it."""

        def cut() -> None:
            raise PowerCut

        if full:
            self.worker.request(full=True)
        self.worker.meanwhile = [lambda: None] * after + [cut]
        try:
            self.poll()
        except PowerCut:
            event("power cut")
            self.die()
            self.compare()

    def die(self) -> None:
        """Go on with the files as a power cut would leave them now."""
        files = [self.folder / "data" / name for name in ("ledger.db", "ledger.db-wal", "ledger.lock")]
        kept = [path.read_bytes() for path in files]
        self.ledger.close()
        for path, content in zip(files, kept, strict=True):
            path.write_bytes(content)  # the same file: a copy would begin a new stream
        self.open()

    @precondition(lambda self: self.withheld)
    @rule()
    def release(self) -> None:
        """Publish the history after all."""
        if self.withheld <= self.known:
            self.worker.release(date.min, date.max)
            self.withheld = set()
            self.compare()

    @precondition(lambda self: any(not moment.startswith("2000") for _, (_, moment) in self.log))
    @rule(records=st.integers(0, 30))
    def show_in_part(self, records: int) -> None:
        """Let the log seem to end early, and be back: nothing is doubled."""
        self.settle()
        kept = [key[1] for _, key in self.log[:records] if key[0] != "bad"]
        if kept and all(moment.startswith("2000") for moment in kept):
            return
        recorded = self.recorded()
        self.terminal.faults.switch_on(f"shrink={records}")
        self.poll(minutes=11)
        assert self.recorded() == recorded
        self.settle()

    @rule()
    def settle(self) -> None:
        """Let all be well and read the whole log: every record in it is an event, and readings before were right."""
        self.behave()
        self.monotonic_s += 7200
        done = self.worker.request(full=True)
        for _ in range(VISITS):
            self.visit()  # the first may have found the end of a conversation that was cut
            if done.done():
                break
        reconciliation = done.result(0)
        assert reconciliation is not None
        self.known |= {number for number, _ in self.log}
        self.doubtful = False
        assert reconciliation["records"] == len(self.log)
        differences = [reconciliation[kind] for kind in ("missed", "invented", "reordered")]
        assert differences == [0, 0, 0]
        self.compare()

    # What must hold.

    def recorded(self) -> Counter[Key]:
        """Count the records published, by key; check the chain and the identities on the way."""
        found: Counter[Key] = Counter()
        places: set[tuple[Key, int]] = set()
        width = layouts.LAYOUTS[self.terminal.layout].index_width
        previous = "sha256:" + sha256(self.ledger.stream.encode()).hexdigest()
        for number, waiting in enumerate(self.ledger.events(0, 100_000), 1):
            sealed = event_module.verified(waiting.body)
            assert (sealed["previous"], int(sealed["sequence"])) == (previous, number)
            previous = sealed["digest"]
            data = sealed["data"]
            if sealed["type"] == event_module.RECORDED:
                key = (data["pin"] or f"uid:{data['uid']}", data["local_time"])
            elif sealed["type"] == event_module.QUARANTINED:
                key = ("bad", bytes.fromhex(data["raw"])[width:].hex())
            else:
                continue
            found[key] += 1
            places.add((key, data["occurrence"]))
        assert len(places) == found.total(), "no occurrence twice"
        if not self.withheld:
            assert places == {(key, nth) for key, count in found.items() for nth in range(1, count + 1)}
        return found

    def compare(self) -> None:
        """See that what the gateway must have seen is recorded, and nothing that was never made."""
        recorded = self.recorded()
        must = Counter(self.keys[number] for number in self.known - self.withheld)
        may = Counter(key for number, key in self.keys.items() if number not in self.withheld) + self.reported
        assert not must - recorded, f"lost: {must - recorded}"
        assert not recorded - may, f"invented: {recorded - may}"


EXAMPLES = int(os.environ.get("HADIR_MODEL_EXAMPLES", "0"))

TestTerminalAndGateway = TerminalAndGateway.TestCase
TestTerminalAndGateway.settings = settings(
    max_examples=EXAMPLES or 40,
    stateful_step_count=40 if EXAMPLES else 25,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
