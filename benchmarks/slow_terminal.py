"""A full terminal that needs half a minute to prepare its log, on a slow line: what the others feel of its import."""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure, Plan, times, yes_no
from benchmarks.latency import Post, Spread
from benchmarks.rig import LOG, PREFIX, broker, daemon, office, office_time, settings_of, subscriber, wait_for
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

OTHERS = 8
PER_S = 20.0
ALONE_S = 30.0
FIRST_PIN = 100_000
PREPARE_S = 30
KBIT_S = 400
SETTLE_S = 300.0
P99_MS = 200


def run(plan: Plan) -> Iterator[Figure]:
    """Measure how long punches at the others take, without the slow terminal and while it is read."""
    records, prepare_s = plan.size(LOG), plan.size(PREPARE_S)
    made = office(records)
    slow = SimulatedTerminal(serial="SLOW", users=made.users, log=made.log, now=office_time, one_conversation=True)
    slow.faults.switch_on(f"slow-prepare={prepare_s}s")
    slow.faults.switch_on(f"line={KBIT_S}")
    alone, _ = _spread(plan.fresh("alone"), None, 0)
    beside, took_s = _spread(plan.fresh("beside"), slow, records)
    yield Figure(
        f"live punches at {OTHERS} terminals while another's {records:,} records come at {KBIT_S} kbit/s, "
        f"{prepare_s} s after they were requested; all imported after {took_s:.0f} s",
        f"without it {alone}",
        str(beside),
        f"p99 {times(beside.p99 / alone.p99)}",
        f"p99 ≤ {P99_MS} ms",
        yes_no(beside.p99 <= P99_MS),
    )


def _spread(folder: Path, slow: SimulatedTerminal | None, records: int) -> tuple[Spread, float]:
    """Let people punch at the others until the slow terminal's ``records`` have arrived; return how long they took.

    Also how long that import took.
    """
    post, imported = Post(), set[str]()

    def take(body: bytes) -> None:
        event = json.loads(body)
        if event["data"]["terminal"] == "slow":
            imported.add(event["id"])
        else:
            post.arrive(event["data"]["pin"])

    others = [SimulatedTerminal(serial=f"BENCH{index}", now=office_time) for index in range(OTHERS)]
    terminals = {f"t{index}": terminal for index, terminal in enumerate(others)} | ({"slow": slow} if slow else {})
    with ExitStack() as stack:
        addresses = {name: stack.enter_context(Simulator(terminal)).address for name, terminal in terminals.items()}
        port = stack.enter_context(broker(folder))
        stack.enter_context(subscriber(port, f"{PREFIX}/punch/#", take))
        running = stack.enter_context(daemon(folder, settings_of(port, addresses)))
        begun = time.monotonic()

        def ready() -> bool:
            status = running.status()
            return bool(status and status["health"]["terminals_online"] >= OTHERS)

        wait_for(ready, SETTLE_S, "the first visit to the others", every_s=0.5)
        until = begun + SETTLE_S if slow else time.monotonic() + ALONE_S
        _punch(others, post, lambda: time.monotonic() < until and not (slow and len(imported) >= records))
        took_s = time.monotonic() - begun
        if len(imported) != records:
            raise RuntimeError(f"{len(imported)} of the slow terminal's {records} records arrived in {took_s:.0f} s")
        return post.spread(), took_s


def _punch(terminals: list[SimulatedTerminal], post: Post, going_on: Callable[[], bool]) -> None:
    """Press different fingers, about twenty a second, for as long as this is ``going_on``."""
    chance = random.Random(1)  # noqa: S311 - not a secret
    pin = FIRST_PIN
    while going_on():
        pin += 1
        post.leave(str(pin))
        chance.choice(terminals).punch(str(pin))
        time.sleep(chance.uniform(0.5, 1.5) / PER_S)
