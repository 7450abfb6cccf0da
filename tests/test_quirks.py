"""What terminals are known to do wrong, one by one, through the real parts: simulator, driver, worker, ledger.

Each case switches a fault of the simulator on under a gateway that runs, looks at what must hold meanwhile, switches it
off, and finds every record of the terminal in the ledger, once, after the next visit. The numbers are those of
docs/simulator.md.
"""

import json
import re
import resource
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from drivers import DRIVERS
from drivers.base import BadRecord
from drivers.zkteco import layouts, transport, wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from drivers.zkteco.simulator.conversation import CMD_DISABLEDEVICE
from drivers.zkteco.simulator.faults import FAULTS
from gateway.ledger import Ledger
from gateway.pause import Pause
from gateway.settings import Settings, TerminalSettings
from gateway.terminal.timing import PAUSES, Timing
from gateway.terminal.worker import Worker
from tests import contract
from tests.broker import WAIT_S

ZONE = ZoneInfo("Asia/Jakarta")
HISTORY = 30
"""Records in the log before anybody comes; more than a terminal answers at once."""
WATCH_S = 0.15
"""How long the gateway's use of the processor is watched while nothing happens."""
BUSY_CPU = 0.5
"""Share of that time it may use; sixteen polls a second and a listener need a tenth."""
UNCOUNTED_S = 0.3
"""Interval of reading the end of a log whose count was found wrong."""
MEMORY_GROWTH_KB = 64 * 1024

Key = tuple[str, str, int, int]


class FreeClock:
    """The machine's clock, trusted."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC)

    def synchronised(self) -> bool:
        """Return that it is right."""
        return True


def local_now() -> datetime:
    """Return what a clock on the wall of the office shows."""
    return datetime.now(ZONE).replace(tzinfo=None)


@dataclass
class Office:
    """One simulated terminal, the worker that visits it, the ledger it fills, and what was really punched."""

    terminal: SimulatedTerminal
    simulator: Simulator
    ledger: Ledger
    worker: Worker
    logged: list[Any]
    seen: Counter[Key] = field(default_factory=Counter)
    """Every record that the terminal's log has ever held."""
    checked: int = 0
    """Events up to this sequence have been checked against the contract."""
    reported: Counter[Key] = field(default_factory=Counter)
    """Punches known only by a live event."""

    def look(self) -> Counter[Key]:
        """Look at the terminal's log; return what it has ever held."""
        held: Counter[Key] = Counter()
        for record in self.terminal.records():
            if isinstance(record, BadRecord):
                held["bad", record.stable.hex(), 0, 0] += 1
            else:
                person = record.pin if record.pin is not None else f"uid:{record.uid}"
                held[person, record.local_time.isoformat(), record.state or 0, record.verify or 0] += 1
        self.seen |= held
        return self.seen

    def kept(self) -> Counter[Key]:
        """Return what the ledger holds, each event checked against the contract."""
        kept: Counter[Key] = Counter()
        for event in self.events():
            data = event["data"]
            if event["type"] == "hadir.punch.recorded.v1":
                person = f"uid:{data['uid']}" if "uid" in data else data["pin"]
                kept[person, data["local_time"], data["state"], data["verify"]] += 1
            elif event["type"] == "hadir.record.quarantined.v1":
                raw = bytes.fromhex(data["raw"])
                width = layouts.LAYOUTS[self.terminal.layout].index_width
                kept["bad", raw[width:].hex(), 0, 0] += 1
        return kept

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the ledger's events whose type contains ``kind``."""
        found = []
        for waiting in self.ledger.events(0, 10_000):
            if waiting.sequence > self.checked:
                contract.check(waiting.topic, waiting.body)
                self.checked = waiting.sequence
            event = json.loads(waiting.body)
            if kind in event["type"]:
                found.append(event)
        return found

    def punch(self, pin: str = "1001", state: int = 0, verify: int = 1) -> datetime:
        """Put a finger on the terminal."""
        moment = self.terminal.punch(pin, state, verify)
        self.look()
        return moment

    def fault(self, *orders: str) -> None:
        """Switch faults on."""
        for order in orders:
            self.terminal.faults.switch_on(order)
        self.look()

    def mend(self) -> None:
        """Switch everything off that is on."""
        for name in self.terminal.faults.on:
            self.terminal.faults.switch_off(name)
        self.look()

    def visited(self, times: int = 1) -> None:
        """Wait until the worker has finished this many further visits."""
        for _ in range(times):
            before = self.worker.state.last_visit
            eventually(lambda before=before: self.worker.state.last_visit != before)  # type: ignore[misc]  # a default binds the value

    def complete(self) -> bool:
        """Return whether the ledger holds what was punched, each once, and nothing else."""
        return self.kept() == self.look() + self.reported

    def output(self, event: str) -> list[Any]:
        """Return what the worker logged under this name."""
        return [entry for entry in self.logged if entry["event"] == event]

    def lost(self, cause: str, reason: str) -> None:
        """Wait until the terminal is given up for this cause; see that it is reported once, however many tries."""
        eventually(lambda: self.worker.state.cause == cause)
        failures = self.worker._visits._reachability.outage.failures
        eventually(lambda: self.worker._visits._reachability.outage.failures >= failures + 1)
        assert len(self.output("terminal_lost")) == 1
        assert re.search(reason, self.output("terminal_lost")[0]["reason"]), self.output("terminal_lost")
        assert len(self.events("terminal.lost")) == 1


def eventually(condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Wait until ``condition`` holds; fail where it does not within ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


def settings(address: str, **changes: object) -> TerminalSettings:
    """Return settings for a terminal that is polled many times a second and given up soon."""
    entry = {
        "name": "lobby",
        "driver": "zkteco",
        "address": address,
        "poll": "60ms",
        "timeout": "400ms",
        "bulk_timeout": "1500ms",
    }
    return Settings.model_validate(
        {
            "site": "office",
            "gateway": "gw",
            "timezone": ZONE.key,
            "mqtt": {"url": "mqtt://127.0.0.1"},
            "terminals": [entry | changes],
        }
    ).terminals[0]


During = Callable[[Office], None]


@dataclass(frozen=True)
class Case:
    """One quirk, one way to provoke it."""

    number: int
    name: str
    faults: tuple[str, ...]
    during: During
    terminal: dict[str, Any]
    settings: dict[str, Any]
    codes: bool
    """The ledger must have the same state and verify as the log."""


CASES: list[Case] = []


def quirk(
    number: int,
    name: str,
    *faults: str,
    terminal: dict[str, Any] | None = None,
    codes: bool = True,
    **changes: Any,
) -> Callable[[During], During]:
    """Add a case: the decorated function looks at what must hold while ``faults`` are on."""

    def add(during: During) -> During:
        CASES.append(Case(number, name, faults, during, terminal or {}, changes, codes))
        return during

    return add


def history(terminal: SimulatedTerminal, records: int) -> None:
    """Let ten people punch through yesterday."""
    begin = terminal.clock() - timedelta(days=1)
    for number in range(records):
        terminal.append(str(1001 + number % 10), begin + timedelta(seconds=30 * number), number % 2, 1)


@contextmanager
def office_of(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office whose history the gateway has read."""
    timing = Timing(pauses=dict.fromkeys(PAUSES, Pause(0.05, 0.1)), uncounted_read_s=UNCOUNTED_S)
    terminal = SimulatedTerminal(serial="CEXA193960001", now=local_now, **case.terminal)
    history(terminal, HISTORY)
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(terminal))
        ledger = stack.enter_context(closing(Ledger(folder, "/hadir/office/gw")))
        logged = stack.enter_context(capture_logs())
        worker = Worker(
            settings(simulator.address, **case.settings),
            ZONE,
            DRIVERS["zkteco"],
            ledger,
            FreeClock(),
            captures=folder / "captures",
            timing=timing,
        )
        office = Office(terminal, simulator, ledger, worker, logged)
        worker.start()
        try:
            eventually(lambda: worker.state.online)
            assert office.complete()
            logged.clear()
            yield office
        finally:
            worker.stop()
            assert worker.join(WAIT_S)
        eventually(lambda: terminal.conversations == 0)


def cpu_share(worker: Worker) -> float:
    """Watch the worker's thread for a moment; return how much of it it was busy."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == f"worker-{worker.name}"]
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    used, begun = time.clock_gettime(clock), time.monotonic()
    time.sleep(WATCH_S)  # the length of the watch, not a wait for something
    return (time.clock_gettime(clock) - used) / (time.monotonic() - begun)


# --- transport ----------------------------------------------------------------------------------------------------


@quirk(1, "something-else-answers", "garbage")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("protocol", "does not begin with a packet")
    office.punch()


@quirk(1, "absurd-length", "length=4294967295")
def _(office: Office) -> None:
    office.lost("protocol", "4294967295 bytes")


@quirk(1, "length-of-nothing", "length=3")
def _(office: Office) -> None:
    office.lost("protocol", "3 bytes")


@quirk(1, "wrong-reply-numbers", "wrong-reply")
def _(office: Office) -> None:
    office.lost("unavailable", "no answer")


@quirk(1, "wrong-checksums-and-sessions", "bad-checksum", "wrong-session")
def _(office: Office) -> None:
    office.terminal.restart()
    office.punch()
    eventually(office.complete)
    assert not office.output("terminal_lost")


@quirk(2, "closes-in-mid-transfer", "hang-up=read+700")
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.lost("unavailable", "closed the connection|connection broke")


@quirk(2, "silent-in-mid-transfer", "silence=read+700", bulk_timeout="500ms")
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.lost("unavailable", "no answer to command 1504")


@quirk(2, "closes-at-any-answer", "hang-up")
def _(office: Office) -> None:
    office.punch()
    office.lost("unavailable", "closed the connection|connection broke")


@quirk(3, "one-byte-at-a-time", "trickle=0.1ms")
def _(office: Office) -> None:
    office.terminal.restart()
    office.punch()
    eventually(office.complete)


@quirk(3, "split-headers", "split=3")
def _(office: Office) -> None:
    office.terminal.restart()
    office.worker.request(full=True)
    office.punch()
    eventually(office.complete)
    assert not office.output("terminal_lost")


@quirk(4, "power-cut", "power-cut")
def _(office: Office) -> None:
    office.lost("unavailable", "no answer")
    office.terminal.append("1001", office.terminal.clock())  # the battery kept this one


@quirk(5, "accepts-and-never-answers", "silence=connect")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("unavailable", "no answer to command 1000")
    assert office.terminal.commands[wire.CMD_CONNECT] < 30


@quirk(6, "hangs-until-power-cycled", "hang=3")
def _(office: Office) -> None:
    office.lost("unavailable", "no answer")


@quirk(7, "busy-with-other-software", "busy")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("unavailable", "closed the connection|connection broke")
    office.punch()


@quirk(8, "slow-to-prepare-on-a-slow-line", "slow-prepare=500ms", "line=100")
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.punch()
    office.visited(2)
    assert office.complete()
    assert not office.output("terminal_lost")


@quirk(8, "answers-too-late", "late=600ms")
def _(office: Office) -> None:
    office.lost("unavailable", "within 0.4 s")


@quirk(9, "datagrams-lost", "lose=11", transport="udp")
def _(office: Office) -> None:
    office.worker.request(full=True)
    for _ in range(5):
        office.punch()
    eventually(office.complete)


@quirk(9, "datagrams-after-their-time", "late=200ms", "mute", transport="udp", timeout="2s", bulk_timeout="540ms")
def _(office: Office) -> None:
    # A repeated request for a part is answered by what was sent for the first: it must not pass for the answer.
    office.worker.request(full=True)
    office.lost("unavailable", "no answer to command 150[34]")


@quirk(9, "datagrams-twice-and-in-disorder", "duplicate", "reorder", transport="udp")
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.punch()
    eventually(office.complete)
    assert not office.output("terminal_lost")


@quirk(10, "burst-with-a-short-length", "short-sizes", "no-buffer", "burst", "mute", terminal={"layout": "22"})
def _(office: Office) -> None:
    office.terminal.restart()
    for number in range(40):  # more than one packet of a direct read holds
        office.terminal.append("1003", office.terminal.clock() - timedelta(minutes=40 - number), 1, 1)
    eventually(office.complete)
    assert office.terminal.commands[wire.CMD_ATTLOG_RRQ]


@quirk(10, "no-buffer", "no-buffer=2001", "mute")
def _(office: Office) -> None:
    office.terminal.restart()
    office.punch()
    eventually(office.complete)
    assert office.terminal.commands[wire.CMD_ATTLOG_RRQ]


@quirk(17, "users-without-a-buffer", "short-sizes", "no-buffer", "mute", terminal={"layout": "8", "event_length": 10})
def _(office: Office) -> None:
    office.terminal.restart()
    office.punch("1003", 1, 4)
    eventually(office.complete)
    assert office.terminal.commands[wire.CMD_USERTEMP_RRQ]
    assert {event["data"]["pin"] for event in office.events("recorded")} == {str(1001 + i) for i in range(10)}


@quirk(12, "challenge-to-encrypt", "secure=6001")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("refused", r"encrypted conversation \(6001\)")


@quirk(12, "authentication-locked", "secure=2032")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("refused", r"encrypted conversation \(2032\)")


@quirk(12, "encrypted-answers", "secure-magic")
def _(office: Office) -> None:
    office.lost("refused", "encrypts")


@quirk(13, "access-panel", "access-panel")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("refused", "door access panel")


@quirk(14, "key-changed", "comm-key=77")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("refused", "communication key")


# --- records ------------------------------------------------------------------------------------------------------


@quirk(15, "update-to-49-byte-records", "layout=49")
def _(office: Office) -> None:
    office.punch()
    eventually(lambda: office.worker.state.layout == "49")
    assert office.complete()
    assert len(office.output("layout_changed")) == 1


for count in ("0", "+3", "-3"):

    @quirk(16, f"count-{count}-for-good", f"count={count}", "mute")
    def _(office: Office) -> None:
        office.punch()
        eventually(office.complete)
        office.visited(3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(office.worker._context.timing, "uncounted_read_s", 3600.0)
            office.visited()
            prepared = office.terminal.commands[wire.CMD_PREPARE_BUFFER]
            office.visited(5)
            assert office.terminal.commands[wire.CMD_PREPARE_BUFFER] == prepared
        office.punch()
        eventually(office.complete)


@quirk(16, "log-not-given-out", "no-log=4989")
def _(office: Office) -> None:
    office.punch()
    office.worker.request(full=True)
    office.lost("refused", "4989.*T&A")


@quirk(17, "no-count", "short-sizes", "mute")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)
    assert office.worker.state.sizes.records is None


for known in ("8", "8-ma300"):

    @quirk(18, f"records-of-layout-{known}", terminal={"layout": known, "event_length": 10})
    def _(office: Office) -> None:
        office.punch("1003", 1, 4)
        eventually(office.complete)
        assert {event["data"]["pin"] for event in office.events("recorded")} == {str(1001 + i) for i in range(10)}


for known in ("16", "22", "40", "49"):

    @quirk(19, f"state-and-verify-of-layout-{known}", terminal={"layout": known})
    def _(office: Office) -> None:
        office.punch("1003", 1, 15)
        office.punch("1004", 255, 0)
        eventually(office.complete)
        assert not office.events("confirmed")


@quirk(19, "event-and-log-disagree", "event-differs", codes=False)
def _(office: Office) -> None:
    # Where a poll reads the record before its event arrives, there is nothing to compare: then the next one punches.
    for number in range(1001, 1011):
        office.punch(str(number), 1, 15)
        eventually(lambda: moments(office.kept()) == moments(office.look()))
        eventually(lambda: office.ledger.counts().unconfirmed == 0)
        if office.events("confirmed"):
            break
    (note,) = office.events("confirmed")
    assert (note["data"]["state"], note["data"]["verify"]) == (1, 15)


@quirk(20, "impossible-dates", "bad-date=2")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)
    assert len(office.events("quarantined")) == 2


for name, faults in {
    "punches-between-count-and-reading": ("race=2",),
    "count-too-high": ("count=+3",),
    "count-too-low": ("count=-3",),
    "bytes-that-belong-to-nothing": ("trailing=3",),
    "tail-refused": ("tail=refused",),
    "tail-served-from-zero": ("tail=zero",),
    "tail-served-in-full": ("tail=full",),
}.items():

    @quirk(21, name, *faults)
    def _(office: Office) -> None:
        office.worker.request()
        office.punch()
        eventually(office.complete)
        office.visited(2)
        assert office.complete()


@quirk(21, "more-announced-than-there-is", "prefix=+40")
def _(office: Office) -> None:
    office.punch()
    office.lost("protocol", "table that says")


@quirk(21, "less-announced-than-there-is", "prefix=-40", "mute")
def _(office: Office) -> None:
    office.punch()
    office.visited(3)
    assert not office.kept() - office.look()


@quirk(22, "records-without-a-pin", "bad-pin=2")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)
    assert len(office.events("quarantined")) == 2


@quirk(22, "records-numbered-anew", "reindex")
def _(office: Office) -> None:
    office.punch()
    office.worker.request(full=True)
    office.visited(3)
    assert office.complete()
    assert not office.events("terminal.changed")


@quirk(22, "person-deleted", "delete-user=1004", terminal={"layout": "8", "event_length": 10})
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.punch("1005")
    office.visited(3)
    assert office.complete()
    assert "1004" in {event["data"]["pin"] for event in office.events("recorded")}


@quirk(23, "letters-and-leading-zeros", "odd-pins")
def _(office: Office) -> None:
    eventually(office.complete)
    assert {"0042", "A7-b", "X" * 24} <= {event["data"]["pin"] for event in office.events("recorded")}


@quirk(24, "stale-bytes-behind-the-pin", "stale-bytes")
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.punch("7")
    office.visited(3)
    assert office.complete()
    assert not office.events("terminal.changed")


for stride in (28, 72, 120):

    @quirk(25, f"users-of-{stride}-bytes", f"users={stride}", terminal={"layout": "8", "event_length": 10})
    def _(office: Office) -> None:
        office.punch("2001")
        eventually(office.complete)
        assert "2001" in {event["data"]["pin"] for event in office.events("recorded")}


@quirk(26, "log-cleared")
def _(office: Office) -> None:
    office.fault("clear-log")
    office.visited()
    for pin in ("1001", "1002", "1003"):
        office.punch(pin)
    eventually(office.complete)
    office.worker.request(full=True)
    office.visited(2)
    assert office.complete()


@quirk(26, "block-purged", "purge=20")
def _(office: Office) -> None:
    for pin in ("1001", "1002", "1003"):
        office.punch(pin)
    eventually(office.complete)
    office.visited(2)
    assert office.complete()


@quirk(26, "log-full", "full", "mute")
def _(office: Office) -> None:
    for pin in ("1001", "1002", "1003"):
        office.punch(pin)
    assert office.terminal.count == HISTORY
    eventually(office.complete)


@quirk(26, "log-short-and-back", "shrink=10")
def _(office: Office) -> None:
    office.worker.request(full=True)
    office.visited(3)
    assert office.complete()
    assert len(office.events("terminal.changed")) == 1
    office.mend()
    office.visited(3)
    assert office.complete()


@quirk(26, "log-empty-and-back", "shrink=0")
def _(office: Office) -> None:
    office.visited(3)
    assert office.complete()
    office.punch()


@quirk(27, "finger-read-twice-in-a-second", "double-press")
def _(office: Office) -> None:
    before = sum(office.kept().values())
    office.punch()
    eventually(office.complete)
    assert sum(office.kept().values()) == before + 2


@quirk(28, "clock-jumps", "clock=+2h")
def _(office: Office) -> None:
    eventually(lambda: office.events("clock.stepped"))
    office.punch()
    eventually(office.complete)
    office.mend()
    eventually(lambda: len(office.events("clock.stepped")) == 2)
    office.punch()
    eventually(office.complete)
    assert len(office.events("clock.stepped")) == 2


@quirk(28, "clock-reset-twice", "clock-reset")
def _(office: Office) -> None:
    office.visited()
    office.terminal.append("1001", datetime(2000, 1, 1, 0, 0, 5))  # noqa: DTZ001 - a terminal's wall clock
    eventually(office.complete)
    office.fault("clock-reset")
    office.terminal.append("1001", datetime(2000, 1, 1, 0, 0, 5))  # noqa: DTZ001 - the same second again
    eventually(office.complete)
    resets = [event for event in office.events("recorded") if event["data"]["local_time"].startswith("2000")]
    assert [event["data"]["occurrence"] for event in resets] == [1, 2]


# --- live events --------------------------------------------------------------------------------------------------


for length in (0, 41, 3000):

    @quirk(29, f"event-of-{length}-bytes", f"event-length={length}")
    def _(office: Office) -> None:
        office.punch()
        eventually(office.complete)
        assert not office.output("terminal_lost")


for length in (14, 37):

    @quirk(29, f"events-of-{length}-bytes", terminal={"event_length": length})
    def _(office: Office) -> None:
        office.punch("1002")
        eventually(office.complete)


@quirk(30, "events-in-front-of-answers", "coalesce")
def _(office: Office) -> None:
    for pin in ("1001", "1002", "1003"):
        office.punch(pin)
    eventually(office.complete)
    assert not office.output("terminal_lost")


@quirk(30, "events-in-the-middle-of-the-log", "punch-in-read=5")
def _(office: Office) -> None:
    office.worker.request(full=True)
    eventually(lambda: office.look().total() == HISTORY + 5)  # they have punched
    eventually(office.complete)


@quirk(30, "chatter-before-every-answer", "chatter=50")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)
    assert not office.output("terminal_lost")


@quirk(31, "events-of-other-kinds", "other-events=20")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)


@quirk(31, "event-of-a-punch-the-log-never-holds")
def _(office: Office) -> None:
    moment = office.terminal.clock() - timedelta(seconds=5)
    office.terminal.send_event("1009", moment)
    office.reported["1009", moment.isoformat(), 0, 1] += 1
    eventually(office.complete)
    office.worker.request(full=True)
    eventually(lambda: office.events("unconfirmed"))
    office.worker.request(full=True)
    office.visited(2)
    assert len(office.events("unconfirmed")) == 1


@quirk(32, "events-never-come", "mute")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)


@quirk(32, "events-refused", "no-events")
def _(office: Office) -> None:
    office.terminal.restart()
    office.punch()
    eventually(office.complete)
    office.visited(3)
    assert len(office.output("live_refused")) == 1


@quirk(32, "restart", "reboot")
def _(office: Office) -> None:
    office.punch()
    eventually(office.complete)
    eventually(lambda: office.terminal.commands[wire.CMD_REG_EVENT] >= 2)
    office.punch()
    eventually(office.complete)


# --- safety -------------------------------------------------------------------------------------------------------


@quirk(11, "ping-blocked")
def _(office: Office) -> None:
    with no_ping() as opened:
        office.terminal.restart()
        eventually(lambda: opened)
        office.visited(2)


@quirk(33, "nothing-is-cleared", "clear-log")
def _(office: Office) -> None:
    office.punch()
    office.worker.request(full=True)
    office.visited(2)
    assert not set(office.terminal.commands) & {14, 15, 33}


@quirk(34, "nobody-is-written", "delete-user", terminal={"layout": "8", "event_length": 10})
def _(office: Office) -> None:
    people = dict(office.terminal.users)
    office.worker.request(full=True)
    office.visited(2)
    assert office.terminal.users == people
    assert not set(office.terminal.commands) & {8, 18, 19, 20, 87, 110, 134}


@quirk(35, "left-disabled-by-another-program", "disabled", "reboot")
def _(office: Office) -> None:
    eventually(lambda: office.terminal.enabled)


@quirk(36, "another-terminal-at-the-address", "serial=SIM0000009999")
def _(office: Office) -> None:
    office.terminal.restart()
    office.punch()
    office.lost("refused", "SIM0000009999")
    assert not office.complete()
    (change,) = office.events("terminal.changed")
    assert change["data"]["serial_after"] == "SIM0000009999"


@quirk(36, "serial-not-told", "no-serial=empty")
def _(office: Office) -> None:
    office.terminal.restart()
    office.lost("refused", "serial number")


_opened: list[tuple[Any, ...]] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.__new__", "subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"):
        _opened.append((event, *arguments[1:]))


@contextmanager
def no_ping() -> Iterator[list[tuple[Any, ...]]]:
    """Yield what sockets are opened and processes started meanwhile; fail where one of them could ping."""
    global _watching  # noqa: PLW0603 - an audit hook stays for ever; this is true while it is meant
    sys.addaudithook(_watch)
    _opened.clear()
    _watching = True
    try:
        yield _opened
    finally:
        _watching = False
    for event, *arguments in _opened:
        assert event == "socket.__new__"
        _, kind, protocol = arguments
        assert kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        assert protocol != socket.IPPROTO_ICMP


CASES.sort(key=lambda case: case.number)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.number:02}-{case.name}" for case in CASES])
def test_quirk(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault comes and goes: nothing lost, nothing invented, the terminal left as found, and all reported once."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with office_of(case, tmp_path, monkeypatch) as office:
        office.fault(*case.faults)
        case.during(office)
        assert cpu_share(office.worker) < BUSY_CPU

        office.mend()
        office.worker.request()
        office.visited(2)  # the first may have begun before

        assert office.worker.state.online
        eventually(lambda: office.terminal.conversations <= 1)
        view = (lambda punches: punches) if case.codes else moments
        eventually(lambda: view(office.kept()) == view(office.look() + office.reported))
        assert office.ledger.counts().unconfirmed == office.reported.total()
        assert len(office.output("terminal_found")) == len(office.output("terminal_lost")) <= 1
    assert office.terminal.enabled
    assert office.terminal.refused_writes == 0
    assert set(office.terminal.commands) <= transport.ALLOWED
    assert not office.terminal.commands[CMD_DISABLEDEVICE]
    assert office.terminal.commands[wire.CMD_ENABLEDEVICE] >= 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MEMORY_GROWTH_KB


def moments(counted: Counter[Key]) -> Counter[tuple[str, str]]:
    """Return who and when, without codes."""
    return Counter((person, moment) for person, moment, *_ in counted.elements())


def test_every_quirk_has_a_case() -> None:
    """The list of quirks is covered, and so is the catalogue's claim to provoke them."""
    for fault in FAULTS.values():
        for number in fault.quirks:
            assert 1 <= number <= 36
    assert {case.number for case in CASES} == set(range(1, 37))
