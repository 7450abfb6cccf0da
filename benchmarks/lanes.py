"""Lanes: two against one on the same backlog, and how long a lane's messages wait when its worker is killed or frozen.

Everything runs on this machine: broker, a server as durable as an office's, workers and gateways. Times are by the
clock on the wall, between the first and the last transaction of a run.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from statistics import median

from benchmarks.figures import NONE, TIMES, Figure, Plan, yes_no
from central.lanes.assignment import lane_of
from tests.broker import Broker, Subscriber, eventually
from tests.central.lanes.deployment import Gateways, Workers, held, query
from tests.central.sealing import Source, batch
from tests.postgres import Server

EVENTS = 40_000
TOGETHER = 60
"""Events of one message: as gateways send a backlog."""
RUNS = 3
TAKEOVER_S = 5.0
_NAMES = [f"site-{number}" for number in range(40)]
SITES = tuple(site for lane in (1, 2) for site in [name for name in _NAMES if lane_of(name, 2) == lane][:4])
"""As many in one of two lanes as in the other."""


def run(plan: Plan) -> Iterator[Figure]:
    """Measure both."""
    with Server(durable=True) as server:
        yield _two_against_one(plan, server)
        for how in ("killed", "frozen"):
            yield _takeover(plan, server, how)


def _two_against_one(plan: Plan, server: Server) -> Figure:
    each = plan.size(EVENTS) // len(SITES)
    backlog = [_backlog(number, site, each) for number, site in enumerate(SITES)]
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(RUNS):  # by turns: other work on the machine spoils both alike
        for lanes, found in rates.items():
            found.append(each * len(SITES) / _drained_s(plan, server, lanes, backlog, each))
    one, two = (max(found) for found in rates.values())
    return Figure(
        f"take a backlog of {each * len(SITES):,} punches, two lanes against one; broker and server included",
        baseline=f"{one:,.0f}/s one lane",
        ours=f"{two:,.0f}/s two lanes",
        ratio=f"{two / one:.2f} {TIMES}",
        aim=f"more than 1 {TIMES}",
        met=yes_no(two > one),
    )


def _backlog(number: int, site: str, count: int) -> tuple[str, list[bytes]]:
    source = Source(f"6f9c2d1e-8a47-4c53-9b0e-{number:012d}", f"{site}/gw-01")
    events = [source.punch(one, serial=f"SIM{number}") for one in range(1, count + 1)]
    return source.gateway, [batch(*events[at : at + TOGETHER]) for at in range(0, count, TOGETHER)]


def _drained_s(plan: Plan, server: Server, lanes: int, backlog: list[tuple[str, list[bytes]]], each: int) -> float:
    """Return how long so many lanes, each at a worker of its own, took for messages that came faster than they go."""
    name = server.fresh()
    url = server.url(name)
    with Broker(plan.fresh("lanes")) as broker, Workers(broker, url) as workers, Gateways(broker, SITES):
        for number in range(lanes):
            workers.start(str(number), lanes)
        workers.wait_for_sites(lanes, SITES)
        workers.wait_for_shares(*((2,) if lanes == 1 else (1, 2)))
        with ThreadPoolExecutor(len(backlog)) as senders:
            list(senders.map(lambda one: _publish(broker.port, *one), backlog))
        whole = {gateway: each for gateway, _ in backlog}
        eventually(lambda: held(url) == whole, what="storing the backlog")
        [(first, last)] = query(url, "SELECT min(received), max(received) FROM event")
    server.drop(name)
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def _publish(port: int, gateway: str, messages: list[bytes]) -> None:
    with Subscriber(port, "nothing") as sender:
        for message in messages:
            sender.publish(f"hadir/v1/{gateway}/batch", message)


def _takeover(plan: Plan, server: Server, how: str) -> Figure:
    waits = []
    for _ in range(RUNS):
        name = server.fresh()
        url = server.url(name)
        with (
            Broker(plan.fresh("lanes")) as broker,
            Workers(broker, url) as workers,
            Gateways(broker, SITES) as gateways,
        ):
            workers.start("a", 1)
            workers.wait_for_sites(1, SITES)
            gateways.begin()
            workers.start("b", 1)
            workers.wait_for_shares(1, 1)
            time.sleep(1)
            (workers.kill if how == "killed" else workers.freeze)("a")
            workers.wait_for_shares(2)
            time.sleep(1)
            gateways.stop()
            gateways.check(url)
            stored = [at for (at,) in query(url, "SELECT DISTINCT received FROM event ORDER BY 1")]
            moments = map(datetime.fromisoformat, stored)
            waits.append(max((after - before).total_seconds() for before, after in pairwise(moments)))
        server.drop(name)
    longest = max(waits)
    return Figure(
        f"longest wait of a message while a worker is {how} and another takes its lanes over; nothing lost or doubled",
        baseline=NONE,
        ours=f"{longest:.1f} s, in the middle {median(waits):.1f} s",
        aim=f"at most {TAKEOVER_S:g} s",
        met=yes_no(longest <= TAKEOVER_S),
    )
