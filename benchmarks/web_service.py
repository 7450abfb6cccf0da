"""A full log over a terminal's web service, against the same log over port 4370 by the other driver.

Both read from one simulated terminal with 100,000 records, each in a process of its own: once into the ledger, and once
only to look at every field of every record. CPU time is that of the reading, memory the peak of the whole process.

Of about 1.8 µs a record of the driver alone, finding five fields in 115 bytes of text takes 0.7, compressing the log
0.35: without that, 64 terminals that are read at night would hold 800 MB. Making the record, 0.5, is the same for both.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Plan, times, yes_no
from benchmarks.rig import LOG, in_own_process, memory_kib, office, quiet
from drivers import DRIVERS
from drivers.base import Logged, RawPunch, Reading
from drivers.soap.simulator import Simulator
from drivers.zkteco.simulator import SimulatedTerminal

CPU_RATIO, MEMORY_MB = 1.5, 80
RUNS = 3
_FIELDS = attrgetter(*RawPunch._fields)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure both ways by turns."""
    count = plan.size(LOG)
    made = office(count)
    results: dict[str, list[dict[str, float]]] = {"soap": [], "zkteco": []}
    with Simulator(SimulatedTerminal(users=made.users, log=made.log, capacity=count)) as simulator:
        for _ in range(RUNS):
            for way, measured in results.items():
                arguments = way, simulator.address, simulator.web.port
                stored = in_own_process("web_service", *arguments, plan.fresh(way))
                read = in_own_process("web_service", *arguments)
                measured.append({f"{key} stored": value for key, value in stored.items()} | read)
    if any(result["read"] != count for measured in results.values() for result in measured):
        raise RuntimeError("not every record was read")

    def middle(way: str, key: str) -> float:
        return median(result[key] for result in results[way])

    for what, key in (("read and stored", "cpu_s stored"), ("read alone", "cpu_s")):
        cpu, theirs = (middle(way, key) * 1e6 / count for way in ("soap", "zkteco"))
        yield Figure(
            f"{count:,} records over the web service, {what}, CPU per record",
            f"port 4370 {theirs:.2f} µs",
            f"{cpu:.2f} µs",
            times(cpu / theirs),
            f"≤ {CPU_RATIO} times port 4370",
            yes_no(cpu <= CPU_RATIO * theirs),
        )
    for what, key in (("read and stored", "peak_kib stored"), ("read alone", "peak_kib")):
        peak, their_peak = (middle(way, key) * 1024 / 1e6 for way in ("soap", "zkteco"))
        yield Figure(
            f"{count:,} records over the web service, {what}, peak memory of the process",
            f"port 4370 {their_peak:.0f} MB",
            f"{peak:.0f} MB",
            times(peak / their_peak),
            f"≤ {MEMORY_MB} MB",
            yes_no(peak <= MEMORY_MB),
        )


def main() -> None:
    """Read once and print what it cost; the process that does it has nothing else to do."""
    quiet()
    way, address, web_port, *folder = sys.argv[1:]
    entry = {"name": "lobby", "address": address} | ({"web_port": int(web_port)} if way == "soap" else {})
    with DRIVERS[way].connect(DRIVERS[way].options.model_validate(entry)) as terminal:
        assert isinstance(terminal, Logged)
        serial = terminal.serial()
        terminal.sizes()
        began = time.process_time()
        reading = terminal.read()
        if folder:
            _store(reading, serial, Path(folder[0]))
        else:
            deque(map(_FIELDS, reading.records), maxlen=0)
        cpu_s = time.process_time() - began
    print(json.dumps({"read": reading.total, "cpu_s": cpu_s, "peak_kib": memory_kib()[1]}))


def _store(reading: Reading, serial: str, folder: Path) -> None:
    from benchmarks.first_import import SOURCE, context  # noqa: PLC0415 - the ledger's memory counts where it is used
    from gateway.ledger import opened  # noqa: PLC0415

    with opened(folder, SOURCE) as ledger:
        ledger.pin_serial("lobby", serial)
        ledger.record_reading(context(serial), reading)


if __name__ == "__main__":
    main()
