"""From the finger to the subscriber: terminal, wire, daemon, commit, broker; against the broker alone."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.figures import Figure, Plan, program, times, yes_no
from benchmarks.rig import PREFIX, broker, daemon, office_time, settings_of, subscriber, wait_for
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

PUNCHES = 300
PER_S = 20.0
P99_MS, SLOW_P99_MS = 50, 150
FSYNC_MS = 20
SETTLE_S = 30.0
BODY = 900
"""Bytes of a punch event, about."""


class Spread(NamedTuple):
    """Median and 99th percentile, in milliseconds."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"


class Post:
    """Notes when each punch left and when it arrived."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}
        self.arrived: dict[str, float] = {}
        """When, monotonic, by PIN."""

    def leave(self, pin: str, moment: float | None = None) -> None:
        """Note that ``pin`` punches now, or did at a monotonic ``moment``."""
        self._left[pin] = time.monotonic() if moment is None else moment

    def arrive(self, pin: str) -> None:
        """Note that the punch of ``pin`` has arrived; the first arrival counts."""
        self.arrived.setdefault(pin, time.monotonic())

    def spread(self) -> Spread:
        """Wait for every punch and return how long they took."""
        wait_for(lambda: self._left.keys() <= self.arrived.keys(), SETTLE_S, "the arrival of every punch")
        took = [(self.arrived[pin] - left) * 1000 for pin, left in self._left.items()]
        cuts = quantiles(took, n=100, method="inclusive")
        return Spread(cuts[49], cuts[98])


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the bare broker, the whole road, and the whole road over a slow disk."""
    punches = max(50, plan.size(PUNCHES))
    bare = _bare(punches, plan.fresh("bare"))
    yield _figure("finger to subscriber", bare, _end_to_end(punches, plan.fresh("road"), {}), P99_MS)
    try:
        env = _slow_disk(plan.fresh("preload"))
    except RuntimeError as exc:
        yield Figure(f"the same with {FSYNC_MS} ms added to each fsync", met=f"not measured: {exc}")
        return
    slow = _end_to_end(punches, plan.fresh("slow"), env)
    yield _figure(f"the same with {FSYNC_MS} ms added to each fsync", bare, slow, SLOW_P99_MS)


def _figure(what: str, bare: Spread, ours: Spread, aim_ms: float) -> Figure:
    aim = f"p99 ≤ {aim_ms} ms"
    return Figure(
        what, f"MQTT alone {bare}", str(ours), f"p50 {times(ours.p50 / bare.p50)}", aim, yes_no(ours.p99 <= aim_ms)
    )


def _at_pace(count: int, press: Callable[[str], None]) -> None:
    """Press ``count`` different fingers, about twenty a second."""
    chance = random.Random(1)  # noqa: S311 - not a secret
    for index in range(count):
        press(str(5000 + index))
        time.sleep(chance.uniform(0.5, 1.5) / PER_S)


def _bare(count: int, folder: Path) -> Spread:
    """Publish bodies of the same size to the same kind of broker, nothing else."""
    post = Post()
    with broker(folder) as port, subscriber(port, "bare", lambda body: post.arrive(body[:4].decode())):
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=mqtt.MQTTv5)
        client.connect("127.0.0.1", port)
        client.loop_start()

        def press(pin: str) -> None:
            post.leave(pin)
            client.publish("bare", pin.encode().ljust(BODY), qos=1)

        wait_for(client.is_connected, SETTLE_S, "the connection")
        _at_pace(count, press)
        spread = post.spread()
        client.disconnect()
        client.loop_stop()
    return spread


def _end_to_end(count: int, folder: Path, env: Mapping[str, str]) -> Spread:
    """Put fingers on a simulated terminal that the real daemon listens to."""
    post = Post()
    users = {index + 1: str(5000 + index) for index in range(count)}
    terminal = SimulatedTerminal(users=users, now=office_time)

    def take(body: bytes) -> None:
        post.arrive(json.loads(body)["data"]["pin"])

    def press(pin: str) -> None:
        post.leave(pin)
        terminal.punch(pin)

    with (
        broker(folder) as port,
        Simulator(terminal) as simulator,
        subscriber(port, f"{PREFIX}/punch/#", take),
        daemon(folder, settings_of(port, {"lobby": simulator.address}), env) as running,
    ):
        running.wait_until_settled(0, SETTLE_S)
        _at_pace(count, press)
        return post.spread()


def _slow_disk(folder: Path) -> Mapping[str, str]:
    """Compile what makes fsync slow, make sure that it does, and return the environment that uses it."""
    library = folder / "slow_fsync.so"
    source = Path(__file__).with_name("slow_fsync.c")
    command = [program(os.environ.get("CC", "cc")), "-shared", "-fPIC", "-O", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    env = {"LD_PRELOAD": str(library), "SLOW_FSYNC_MS": str(FSYNC_MS)}
    began = time.monotonic()
    trial = "import os, sys; f = open(sys.argv[1], 'w'); [(os.fsync(f), os.fdatasync(f)) for _ in range(10)]"
    subprocess.run([sys.executable, "-c", trial, str(folder / "trial")], check=True, env={**os.environ, **env})
    if time.monotonic() - began < 20 * FSYNC_MS / 1000:
        raise RuntimeError("this system's loader ignores LD_PRELOAD")
    return env
