"""A flash disk's export: 100,000 lines into a ledger, the same file once more, and a file that is no export."""

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.figures import Figure, Plan, yes_no
from benchmarks.rig import GATEWAY, LOG, SITE, ZONE, in_own_process, memory_kib, quiet
from drivers.attlog.terminal import survey_export
from drivers.attlog.wire import NotAnExport
from gateway.clock import AssumedClock
from gateway.file_import import LedgerSink, import_file
from gateway.ledger import opened
from gateway.settings import Settings

FIRST_PER_S, AGAIN_PER_S, MEMORY_MB = 15_000, 50_000, 120
SERIAL = "CEXA193960001"
GARBAGE_BYTES = 1_000_000_000


def run(plan: Plan) -> Iterator[Figure]:
    """Measure each in a process of its own."""
    count = plan.size(LOG)
    folder, data = plan.fresh("files"), plan.fresh("data")
    export = folder / f"{SERIAL}_attlog.dat"
    _write(export, count)
    sizes = []
    for what, aim in (("first import", FIRST_PER_S), ("second import of the same file", AGAIN_PER_S)):
        result = in_own_process("import_file", str(export), data)
        rate = count / result["wall_s"]
        ours = f"{rate:,.0f} lines/s ({result['cpu_s'] * 1e6 / count:.0f} µs CPU each)"
        yield Figure(f"{what}, {count:,} lines of an export", ours=ours, aim=f"≥ {aim:,}", met=yes_no(rate >= aim))
        sizes.append(result["peak_kib"] * 1024 / 1e6)
    garbage = folder / "garbage_attlog.dat"
    block = b"1001\t2026-09-04 07:30:00\t1\t0\t1\t0\n" + os.urandom(1_000_000)
    with garbage.open("wb") as file:
        for _ in range(plan.size(GARBAGE_BYTES) // len(block)):
            file.write(block)
    sizes.append(in_own_process("import_file", str(garbage), data)["peak_kib"] * 1024 / 1e6)
    garbage.unlink()
    what = f"the same, and {plan.size(GARBAGE_BYTES) // 1_000_000:,} MB of garbage: peak memory"
    ours = " / ".join(f"{size:.0f} MB" for size in sizes)
    yield Figure(what, ours=ours, aim=f"≤ {MEMORY_MB} MB", met=yes_no(max(sizes) <= MEMORY_MB))


def _write(path: Path, count: int) -> None:
    moment = datetime(2024, 1, 1, 7)  # noqa: DTZ001 - a terminal's wall clock
    with path.open("wb") as file:
        for index in range(count):
            moment += timedelta(seconds=61 + index * 7919 % 900)
            file.write(b"%9d\t%s\t1\t%d\t1\t0\r\n" % (1000 + index * 31 % 400, str(moment).encode(), index % 2))


def main() -> None:
    """Import once and print what it cost."""
    quiet()
    path, folder = map(Path, sys.argv[1:])
    entry = {"name": "lobby", "driver": "attlog", "path": str(path.parent), "serial": SERIAL}
    office = {"site": SITE, "gateway": GATEWAY, "timezone": ZONE, "mqtt": {"url": "mqtt://127.0.0.1"}}
    settings = Settings.model_validate(office | {"terminals": [entry]})
    with opened(folder, f"/hadir/{SITE}/{GATEWAY}") as ledger:
        terminal = settings.terminals[0]
        sink = LedgerSink(ledger, terminal, settings.zone(terminal), AssumedClock())
        began, cpu_began = time.monotonic(), time.process_time()
        try:
            export = survey_export(path)
            import_file(sink, export, SERIAL, export.records())
        except NotAnExport:
            if not path.name.startswith("garbage"):
                raise
        wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_kib": memory_kib()[1]}))


if __name__ == "__main__":
    main()
