"""The ledger against a model of a terminal: whatever happens in between, every punch is one event."""

import json
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from unittest import mock
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from drivers.base import BadRecord, RawPunch, Reading, Record, Via
from gateway.event import ReadingContext
from gateway.ledger import KnownTerminal, Ledger, LedgerFull, ReadingResult, Unaligned, reading
from tests.gateway.full_disk import FullDisk, impatient
from tests.power_cut import Interrupted, PowerCut

SOURCE = "/hadir/office/gw-01"
SERIAL = "CEXA193960001"
DAY = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
RESET = datetime(2000, 1, 1)  # noqa: DTZ001
SLICE = 4
RAM = Path("/dev/shm")  # noqa: S108 - thousands of commits, and none of them about the disk
PINS = st.sampled_from(["1", "01", "A2"])

Key = tuple[str, str]


def key_of(record: Record) -> Key:
    """Return what identity is made of, except for the occurrence."""
    if isinstance(record, BadRecord):
        return "bad", sha256(record.raw).hexdigest()
    return record.pin or "", record.local_time.isoformat()


def fingerprint_of(record: Record) -> tuple[object, ...]:
    """Return what two readings of one record have in common."""
    return record[:1] if isinstance(record, BadRecord) else record[:5]


def believable(record: Record) -> bool:
    """Return whether the record has a date of this century's working life."""
    return isinstance(record, RawPunch) and record.local_time.year > 2000


class TerminalAndLedger(RuleBasedStateMachine):
    """A terminal's log, punched, cleared, wrapped and shown in part, read in every way by a gateway that crashes.

    What the model keeps away, because no reading could show: two *different* records with one fingerprint at the seam
    of a wrap or on both sides of a clearing (each punch has its own state code, repetitions are of the last record and
    of a log without capacity only), persons with a believable second on both sides of such a seam, and a full log that
    loses several records at once, down to moments of a reset clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(mock.patch.object(reading, "SLICE", SLICE))
        self.stack.enter_context(impatient())
        self.folder = Path(tempfile.mkdtemp(prefix="hadir-model-", dir=RAM if RAM.is_dir() else None))
        self.now = datetime(2026, 9, 7, tzinfo=UTC)
        self.ledger = self.opened()
        self.capacity: int | None = None
        self.log: list[tuple[int, Record]] = []
        self.punched = 0
        self.second = 0
        self.known: dict[int, Key] = {}
        """Number → key of every record that the ledger had before it when a transaction was done."""
        self.held = 0
        """Records that the log should hold if nothing happened since it was last read."""

    def opened(self) -> Ledger:
        """Open the ledger for the gateway's next life."""
        ledger = Ledger(self.folder / "data", SOURCE, now=lambda: self.now)
        ledger.pin_serial("lobby", SERIAL)
        self.disk = FullDisk(ledger)
        return ledger

    def teardown(self) -> None:
        """Remove everything."""
        self.ledger.close()
        self.stack.close()
        shutil.rmtree(self.folder)

    # The terminal.

    @initialize(capacity=st.sampled_from([None, 9, 14]))
    def install(self, capacity: int | None) -> None:
        """Hang up a terminal."""
        self.capacity = capacity

    def append(self, record: Record) -> None:
        """Let the terminal add a record; a full log loses its oldest ones."""
        self.punched += 1
        self.log.append((self.punched, record))
        if self.capacity is not None and len(self.log) > self.capacity:
            _, oldest = self.log[0]
            gone = 1
            if believable(oldest):
                same = [i for i, (_, other) in enumerate(self.log) if key_of(other)[1] == key_of(oldest)[1]]
                gone = max(same) + 1
            if gone == len(self.log):
                self.second += 1
            del self.log[:gone]
            if len(self.log) < self.held or self.terminal().shrunk_to is not None:
                self.log = self.log[self.unproven(self.log) :]

    def unproven(self, log: list[tuple[int, Record]]) -> int:
        """Count the records read before, where none of them has a date that proves it; they are the first ones."""
        read = [record for number, record in log if number in self.known]
        return 0 if any(map(believable, read)) else len(read)

    def made(self, pin: str, local_time: datetime) -> RawPunch:
        """Make a punch with a state code of its own."""
        number = self.punched + 1
        return RawPunch(pin, None, local_time, number, 1, "0", number.to_bytes(4, "little"))

    @rule(pin=PINS, ahead=st.integers(0, 2), times=st.integers(1, 4))
    def punch(self, pin: str, ahead: int, times: int) -> None:
        """Let persons punch, also several in one second, also one person twice in it."""
        for _ in range(times):
            self.second += ahead
            self.append(self.made(pin, DAY + timedelta(seconds=self.second)))

    @rule(pin=PINS, second=st.integers(0, 1))
    def punch_with_reset_clock(self, pin: str, second: int) -> None:
        """Let a person punch at a terminal that has forgotten the time, once more."""
        self.append(self.made(pin, RESET + timedelta(seconds=second)))

    @rule()
    def spoil(self) -> None:
        """Let the terminal store an unreadable record."""
        raw = f"bad {self.punched}".encode()
        self.append(BadRecord(raw, raw, "implausible"))

    @precondition(lambda self: self.log and self.capacity is None)
    @rule()
    def repeat(self) -> None:
        """Let the terminal store the last record once more, to the last byte."""
        self.append(self.log[-1][1])

    @rule()
    def clear(self) -> None:
        """Clear the terminal's log, as a person may at its keys."""
        self.log = []
        self.second += 1

    @precondition(lambda self: self.capacity is None and self.log and isinstance(self.log[-1][1], RawPunch))
    @rule(seen=st.booleans(), times=st.integers(1, 12))
    def clear_and_echo(self, seen: bool, times: int) -> None:
        """Clear the log; then the clock is reset and shows the first person the second of the last punch again.

        Only the number of records shows that this is no block purged at the front: there are fewer, or there were none.
        """
        self.punch_with_reset_clock(pin="1", second=0)
        self.read_as_worker()
        self.finish()
        (_, first), (_, last) = self.log[0], self.log[-1]
        if fingerprint_of(first) == fingerprint_of(last):
            return
        self.clear()
        if seen:
            self.read_as_worker()
            self.finish()
        self.append(last)
        if seen:
            self.punch(pin="1", ahead=1, times=times)
        self.read_as_worker()
        self.finish()

    # The gateway.

    def context(self, via: Via) -> ReadingContext:
        """Return who reads, a second later than before."""
        self.now += timedelta(seconds=1)
        return ReadingContext(
            terminal="lobby",
            serial=SERIAL,
            zone=ZoneInfo("Asia/Jakarta"),
            via=via,
            now=self.now,
            synchronised=True,
            clock=None,
            stepped=False,
            tolerance=timedelta(seconds=60),
        )

    def terminal(self) -> KnownTerminal:
        """Return what the ledger knows."""
        known = self.ledger.terminal("lobby")
        assert known is not None
        return known

    def read(self, start: int, cut: tuple[int, int] | None = None) -> ReadingResult:
        """Read the log from ``start``."""
        records = [record for _, record in self.log[start:]]
        served = records if cut is None else Interrupted(records, *cut)
        return self.ledger.record_reading(self.context("log"), Reading(start, len(self.log), served, "40"))

    def read_as_worker(self, cut: tuple[int, int] | None = None) -> None:
        """Read the tail; where it does not continue what is known, everything."""
        try:
            self.read(min(self.terminal().tail_start, len(self.log)), cut)
        except Unaligned:
            self.read(0, cut)

    def finish(self) -> None:
        """Note that the log was read to its end, and compare.

        An empty log changes nothing of what is known; any other that a terminal of this model can have shows how
        long it is.
        """
        self.known |= {number: key_of(record) for number, record in self.log}
        known = self.terminal()
        if self.log or not self.held:
            assert (known.in_log, known.shrunk_to) == (len(self.log), None)
        else:
            assert (known.in_log, known.shrunk_to) == (self.held, 0)
        assert self.ledger.placed("lobby") == known.length
        self.held = known.in_log
        self.compare()

    @rule()
    def poll(self) -> None:
        """Read what is new."""
        self.read_as_worker()
        self.finish()

    @rule()
    def reconcile(self) -> None:
        """Read everything, and again: the second time nothing is new."""
        self.read(0)
        self.finish()
        again = self.read(0)
        assert (again.new, again.quarantined, again.confirmed, again.unconfirmed) == (0, 0, 0, 0)

    @precondition(lambda self: self.log and isinstance(self.log[-1][1], RawPunch))
    @rule()
    def live(self) -> None:
        """Let the terminal report the last punch as it happens."""
        record = self.log[-1][1]
        assert isinstance(record, RawPunch)
        self.ledger.record_live(self.context("live"), record._replace(raw=b"live"))
        self.compare()

    @rule(pin=PINS)
    def live_without_log(self, pin: str) -> None:
        """Let the terminal report a punch and keep no record of it."""
        self.second += 1
        self.ledger.record_live(self.context("live"), self.made(pin, DAY + timedelta(seconds=self.second)))
        self.compare()

    @rule(at=st.integers(0, 12), last=st.integers(1, 4))
    def crash(self, at: int, last: int) -> None:
        """Cut the power in the middle of a reading; what was stored by then is there when the gateway comes back."""
        before = self.terminal()
        try:
            self.read_as_worker(cut=(at, last))
        except PowerCut:
            self.die()
            self.note_interrupted(before)
        else:
            self.finish()

    @rule(commit=st.integers(1, 4))
    def fill_disk(self, commit: int) -> None:
        """Fill the disk at a commit of a reading; the slices before it are stored, and later readings continue."""
        before = self.terminal()
        self.disk.fill(at=self.disk.commits + commit)
        try:
            self.read_as_worker()
        except LedgerFull:
            self.disk.empty()
            self.note_interrupted(before)
        else:
            self.disk.empty()
            self.finish()

    @precondition(lambda self: self.log and isinstance(self.log[-1][1], RawPunch))
    @rule()
    def live_on_a_full_disk(self) -> None:
        """Refuse a live event while the disk is full: nothing of it is stored."""
        record = self.log[-1][1]
        assert isinstance(record, RawPunch)
        sequence = self.ledger.last_sequence()
        self.disk.fill()
        with suppress(LedgerFull):
            assert self.ledger.record_live(self.context("live"), record) is False, "stored on a full disk"
        self.disk.empty()
        assert self.ledger.last_sequence() == sequence
        self.compare()

    def note_interrupted(self, before: KnownTerminal) -> None:
        """Note what an interrupted reading has stored, and compare."""
        after = self.terminal()
        if (after.generation, after.length, after.shift) != (before.generation, before.length, before.shift):
            self.known |= {number: key_of(record) for number, record in self.log[: after.in_log]}
        self.held = after.in_log
        self.compare()

    def die(self) -> None:
        """Go on with the files as a power cut would leave them now."""
        files = [self.folder / "data" / name for name in ("ledger.db", "ledger.db-wal", "ledger.lock")]
        kept = [path.read_bytes() for path in files]
        self.ledger.close()
        for path, content in zip(files, kept, strict=True):
            path.write_bytes(content)  # the same file: a copy would begin a new stream
        self.ledger = self.opened()
        assert not self.ledger.was_clean

    @rule(
        keep=st.integers(0, 13),
        behind=st.booleans(),
        back=st.booleans(),
        arrives=st.booleans(),
        at=st.integers(0, 12),
        last=st.integers(1, 4),
    )
    def show_in_part(self, keep: int, behind: bool, back: bool, arrives: bool, at: int, last: int) -> None:
        """Let the terminal show an empty log or only its beginning: then, and when it is back, nothing is doubled.

        What is new in that beginning is stored. The gateway may not have read the log since it was cleared or moved on,
        or may die while it reads what came back; a punch may be made meanwhile.
        """
        log, shown = self.log, self.log[: keep % max(len(self.log), 1)]
        if not behind or self.unproven(log) or self.unproven(shown):
            self.read_as_worker()
            self.finish()
            behind = False
        before, recorded = self.terminal(), self.recorded()
        self.log = shown
        self.read_as_worker()
        if not behind and log:
            assert self.recorded() == recorded
            after = self.terminal()
            assert (after.generation, after.length, after.shift) == (before.generation, before.length, before.shift)
            assert (after.full_ms, after.shrunk_to) == (before.full_ms, len(shown))
        self.known |= {number: key_of(record) for number, record in shown}
        self.held = self.terminal().in_log
        self.compare()
        sequence = self.ledger.last_sequence()
        self.read(0)
        assert behind or self.ledger.last_sequence() == sequence, "said once"
        self.log = log
        if not back:
            return
        self.crash(at=at, last=last)
        if not behind:
            assert self.recorded() == recorded
        if arrives and (self.capacity is None or len(self.log) < self.capacity):
            self.punch(pin="1", ahead=1, times=1)
        self.read_as_worker()
        self.finish()

    # What must hold.

    def recorded(self) -> Counter[Key]:
        """Count the punches and bad records published, by key; check the chain and the identities on the way."""
        found: Counter[Key] = Counter()
        ids: list[str] = []
        previous = "sha256:" + sha256(self.ledger.stream.encode()).hexdigest()
        for number, waiting in enumerate(self.ledger.events(0, 100_000), 1):
            event = json.loads(waiting.body)
            digest = event.pop("digest")
            plain = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert digest == "sha256:" + sha256((previous + plain).encode()).hexdigest()
            assert (event["previous"], int(event["sequence"]), waiting.sequence) == (previous, number, number)
            previous = digest
            ids.append(event["id"])
            data = event["data"]
            if event["type"] == "hadir.punch.recorded.v1":
                key = (data["pin"], data["local_time"])
            elif event["type"] == "hadir.record.quarantined.v1":
                key = ("bad", data["sha256"])
            else:
                continue
            found[key] += 1
            assert data["occurrence"] == found[key], "occurrences count from 1 in the order of the stream"
        assert len(set(ids)) == len(ids)
        return found

    def compare(self) -> None:
        """Every record read is one event; a live event that the log has not confirmed is one more."""
        expected = Counter(self.known.values())
        for (body,) in self.ledger._rows(
            "SELECT body FROM unconfirmed JOIN event ON event.sequence = unconfirmed.sequence"
        ):
            data = json.loads(body)["data"]
            expected[data["pin"], data["local_time"]] += 1
        assert self.recorded() == expected


TestTerminalAndLedger = TerminalAndLedger.TestCase
TestTerminalAndLedger.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
