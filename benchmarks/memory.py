"""Memory of the daemon at rest, after it has imported and delivered a full log.

The aim of 1.25 times the libraries is missed: beside the 61 to 62 MB of the libraries without Rich stand 11 MB of the
gateway's own modules (settings 2.3, drivers 3.5, the ledger's tables and statements 3), the rest are threads,
connections and what the allocator keeps. Caches of the standard library (sources, patterns, types) are not worth
clearing: nothing comes back.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.figures import Figure, Plan, yes_no
from benchmarks.rig import LOG, PREFIX, broker, daemon, memory_kib, office, office_time, settings_of, subscriber
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

AT_REST_MB, PEAK_MB = 80, 120
TERMINALS = 3
REST_S = 65.0
"""The daemon returns free memory to the system each minute."""
LIBRARIES = (
    "import sys; sys.modules['rich'] = None; import apscheduler.schedulers.background, apscheduler.triggers.cron, "
    "paho.mqtt.client, pydantic, ruamel.yaml, serial, sqlalchemy.dialects.sqlite, sqlite3, sqlmodel, structlog, typer, "
    "zk.base"
)
"""What the daemon imports of its libraries; without Rich, which structlog would import and the daemon does without."""
AT_REST_RATIO = 1.25


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the daemon with three terminals, one of them with a full log."""
    count = plan.size(LOG)
    folder = plan.fresh("memory")
    made = office(count)
    with ExitStack() as stack:
        port = stack.enter_context(broker(folder))
        addresses = {}
        for index in range(TERMINALS):
            log = made.log if index == 0 else b""
            terminal = SimulatedTerminal(
                serial=f"BENCH{index}", users=made.users, log=log, capacity=2 * count, now=office_time
            )
            addresses[f"terminal-{index}"] = stack.enter_context(Simulator(terminal)).address
        # Without a subscriber, the events would be kept and tried again, as they should.
        stack.enter_context(subscriber(port, f"{PREFIX}/#", lambda _: None))
        running = stack.enter_context(daemon(folder, settings_of(port, addresses)))
        running.wait_until_settled(count, 300.0)
        time.sleep(REST_S)
        rest, peak = (kib * 1024 / 1e6 for kib in memory_kib(running.pid))
    floor = _libraries_mb()
    what = f"daemon with {TERMINALS} terminals after {count:,} punches"
    baseline = f"its libraries alone {floor:.0f} MB"
    for name, used, aim, aim_ratio in (("at rest", rest, AT_REST_MB, AT_REST_RATIO), ("peak", peak, PEAK_MB, None)):
        aims = f"≤ {aim} MB" if aim_ratio is None else f"≤ {aim} MB, ≤ {aim_ratio}"
        met = used <= aim and (aim_ratio is None or used <= aim_ratio * floor)
        yield Figure(
            f"memory of the {what}, {name}", baseline, f"{used:.0f} MB", f"{used / floor:.2f}", aims, yes_no(met)
        )


def _libraries_mb() -> float:
    """Return the memory of a Python that has imported the gateway's libraries and does nothing."""
    script = f"{LIBRARIES}\nprint(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return int(output) * 1024 / 1e6
