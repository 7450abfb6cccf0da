"""A district's 64 terminals on one gateway: at rest, and in the morning rush with a dead terminal among them.

As a program it serves the terminals: ``python -m benchmarks.sixty_four RECORDS`` prints their addresses as a line of
JSON; the line ``COUNT SECONDS`` makes that many people punch in that time, and prints who did when.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from zk import ZK

from benchmarks.figures import Figure, Plan, yes_no
from benchmarks.latency import Post
from benchmarks.rig import PREFIX, broker, daemon, memory_kib, office, office_time, settings_of, subscriber, wait_for
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

TERMINALS = 64
PEOPLE = 4_000
"""80 % of a district's 5,000, each once."""
RUSH_S = 60.0
"""Fifteen minutes of a real morning, fifteen times as fast."""
RECORDS = 5_000
"""In each terminal's log to begin with."""
REST_S = 180
SETTLE_S = 600.0
FIRST_PIN = 100_000
CPU_PERCENT, MEMORY_MB, P99_MS = 3.0, 100, 200


def run(plan: Plan) -> Iterator[Figure]:
    """Measure processor, memory and latency of one daemon with 64 terminals and one more that never answers."""
    folder = plan.fresh("sixty-four")
    records, people = plan.size(RECORDS), plan.size(PEOPLE)
    post = Post()

    def take(body: bytes) -> None:
        output = json.loads(body)
        for event in output if isinstance(output, list) else [output]:
            pin = event.get("data", {}).get("pin")
            if pin is not None and int(pin) >= FIRST_PIN:
                post.arrive(pin)

    with ExitStack() as stack:
        port = stack.enter_context(broker(folder))
        terminals = stack.enter_context(_terminals(records))
        dead = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))  # accepts, and says nothing
        stack.enter_context(subscriber(port, f"{PREFIX}/#", take))
        addresses = {**terminals.addresses, "dead": f"127.0.0.1:{dead.getsockname()[1]}"}
        running = stack.enter_context(daemon(folder, settings_of(port, addresses)))

        def settled() -> bool:
            health = (running.status() or {}).get("health")
            return bool(
                health
                and health["terminals_online"] == TERMINALS
                and health["sequence"] >= records * TERMINALS
                and not health["backlog"]
            )

        wait_for(settled, SETTLE_S, "the first reading of all terminals", every_s=1.0)
        time.sleep(5)
        used, begun = _cpu_s(running.pid), time.monotonic()
        time.sleep(plan.size(REST_S))
        percent = 100 * (_cpu_s(running.pid) - used) / (time.monotonic() - begun)
        memory_mb = memory_kib(running.pid)[0] * 1024 / 1e6
        baseline = _pyzk_percent(next(iter(terminals.addresses.values())))
        yield Figure(
            f"processor at rest: {TERMINALS} terminals live and polled every 60 s, {records:,} records each",
            f"pyzk reading them every 60 s {baseline:.1f} % of a core",
            f"{percent:.2f} %",
            f"1/{baseline / percent:.0f}",
            f"≤ {CPU_PERCENT:g} %",
            yes_no(percent <= CPU_PERCENT),
        )
        yield Figure(
            f"memory of the daemon with {TERMINALS} terminals",
            ours=f"{memory_mb:.0f} MB",
            aim=f"≤ {MEMORY_MB} MB",
            met=yes_no(memory_mb <= MEMORY_MB),
        )
        for pin, moment in terminals.rush(people, plan.size(int(RUSH_S))).items():
            post.leave(pin, moment)
        spread = post.spread()
    yield Figure(
        f"morning rush, 15 times as fast: {people:,} people at {TERMINALS} terminals, one more is dead",
        ours=str(spread),
        aim=f"p99 ≤ {P99_MS} ms",
        met=yes_no(spread.p99 <= P99_MS),
    )


def _cpu_s(pid: int) -> float:
    """Return the processor time a process has used, from Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pyzk_percent(address: str) -> float:
    """Return what pyzk would use of a core if it read all terminals once a minute, its only way to hear of news."""
    host, _, port = address.partition(":")
    client = ZK(host, int(port), ommit_ping=True)
    client.connect()
    begun = time.process_time()
    client.get_attendance()
    used_s = time.process_time() - begun
    client.disconnect()
    return 100 * TERMINALS * used_s / 60


class _Terminals:
    """The simulated terminals, in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.addresses: dict[str, str] = self._answer()

    def rush(self, people: int, seconds: float) -> dict[str, float]:
        """Let everybody punch once; return the monotonic moment of each PIN's punch."""
        assert self._process.stdin is not None
        print(people, seconds, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def _terminals(records: int) -> Iterator[_Terminals]:
    command = [sys.executable, "-m", "benchmarks.sixty_four", str(records)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield _Terminals(process)  # at its end the pipe is closed, which ends the process


def _serve(records: int) -> None:
    made = office(records)
    terminals = [
        SimulatedTerminal(serial=f"BENCH{index:03}", users=made.users, log=made.log, now=office_time)
        for index in range(TERMINALS)
    ]
    chance = random.Random(1)  # noqa: S311 - not a secret
    with ExitStack() as stack:
        simulators = [stack.enter_context(Simulator(terminal)) for terminal in terminals]
        print(json.dumps({f"t{index:02}": one.address for index, one in enumerate(simulators)}), flush=True)
        for line in sys.stdin:
            people, seconds = map(float, line.split())
            begun = time.monotonic()
            made_at = {}
            for number, due in enumerate(sorted(chance.triangular(0, seconds) for _ in range(int(people)))):
                time.sleep(max(0.0, begun + due - time.monotonic()))
                pin = str(FIRST_PIN + number)
                made_at[pin] = time.monotonic()
                chance.choice(terminals).punch(pin)
            print(json.dumps(made_at), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
