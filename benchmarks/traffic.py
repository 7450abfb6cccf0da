"""Bytes and packets that a visit costs: the real worker against pyzk's ``get_attendance``, on the same simulator."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from zk import ZK

from benchmarks.figures import Figure, Plan, yes_no
from benchmarks.rig import END, LOG, ZONE, office, office_time, settings_of
from drivers import DRIVERS
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from gateway.clock import AssumedClock
from gateway.ledger import opened
from gateway.settings import Settings
from gateway.terminal.worker import Worker

IDLE_BYTES = 300
IDLE_SHARE = 1000
NEW = 10
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What crossed the wire, both directions, the protocol's own headers included and those of IP not."""

    bytes: int
    packets: int

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes in {self.packets:,} packets"

    def __sub__(self, earlier: "Cost") -> "Cost":
        return Cost(self.bytes - earlier.bytes, self.packets - earlier.packets)


def _counted(simulator: Simulator) -> Cost:
    return Cost(simulator.bytes_in + simulator.bytes_out, simulator.packets)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure three kinds of visit over each transport."""
    for transport in ("tcp", "udp"):
        yield from _over(transport, plan.size(LOG), plan.fresh("traffic"))


def _over(transport: str, count: int, folder: Path) -> Iterator[Figure]:
    made = office(count)
    # Room for more: a full log keeps its count, and is then read every ten minutes instead.
    terminal = SimulatedTerminal(users=made.users, log=made.log, capacity=2 * count, now=office_time)
    with Simulator(terminal) as simulator:
        theirs = _pyzk_cost(simulator, udp=transport == "udp")
        with _worker(simulator, transport, folder) as polls:
            next(polls)  # the first: connection, identity, whole log
            idle = next(polls)
            for index in range(NEW):
                terminal.append("1001", END + timedelta(minutes=index))
            few = next(polls)
            full = polls.send("full")
    name = f"log of {count:,}, {transport.upper()}"
    ratio, aim = theirs.bytes / idle.bytes, f"≤ {IDLE_BYTES} bytes; ≤ 1/{IDLE_SHARE:,} of a full read"
    met = idle.bytes <= IDLE_BYTES and idle.bytes * IDLE_SHARE <= full.bytes
    baseline = f"pyzk {theirs}"
    yield Figure(f"poll with nothing new, {name}", baseline, str(idle), f"1/{ratio:,.0f}", aim, yes_no(met))
    yield Figure(f"poll with {NEW} new, {name}", baseline, str(few), f"1/{theirs.bytes / few.bytes:,.0f}")
    yield Figure(f"full read, {name}", baseline, str(full), f"{full.bytes / theirs.bytes:.2f}")


def _pyzk_cost(simulator: Simulator, *, udp: bool) -> Cost:
    """Return what one ``get_attendance`` costs on a connection that is open already."""
    connection = ZK(simulator.host, simulator.port, timeout=10, force_udp=udp, ommit_ping=True).connect()
    try:
        before = _counted(simulator)
        found = connection.get_attendance()
        if len(found) != simulator.terminal.count:
            raise RuntimeError(f"pyzk read {len(found)} of {simulator.terminal.count} records")
        return _counted(simulator) - before
    finally:
        connection.disconnect()


@contextmanager
def _worker(simulator: Simulator, transport: str, folder: Path) -> Iterator[Any]:
    """Run a worker that visits when requested; yields a generator that requests a poll and yields its cost."""
    given = settings_of(1883, {"lobby": simulator.address})
    given["data_dir"] = str(folder)
    given["terminals"][0] |= {"transport": transport, "poll": "1h"}
    settings = Settings.model_validate(given)
    after: queue.SimpleQueue[Cost] = queue.SimpleQueue()
    alarms: list[str] = []
    with opened(folder, f"/hadir/{settings.site}/{settings.gateway}") as ledger:
        worker = Worker(
            settings.terminals[0],
            ZoneInfo(ZONE),
            DRIVERS["zkteco"],
            ledger,
            AssumedClock(),
            captures=folder / "captures",
            report=lambda _topic, _state: after.put(_counted(simulator)),
            alarm=lambda _code, message, _terminal: alarms.append(message),
        )

        def polls() -> Any:
            before = Cost(0, 0)
            while True:
                counted = after.get(timeout=PATIENCE_S)
                requested = yield counted - before
                before = counted
                worker.request(full=requested == "full")

        worker.start()
        try:
            yield polls()
        finally:
            worker.stop()
            worker.join(10)
