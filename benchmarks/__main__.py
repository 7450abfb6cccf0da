"""`python -m benchmarks [NAME…] [--quick] [--markdown FILE]`: measure, compare, print one table."""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks import (
    backlog,
    command_line,
    decode,
    drain,
    first_import,
    import_file,
    ingest,
    ingest_postgresql,
    judge,
    lanes,
    latency,
    memory,
    on_page,
    pages,
    policy,
    province,
    receiver,
    recompute,
    serial_line,
    sheets,
    sixty_four,
    slow_terminal,
    traffic,
    web_service,
)
from benchmarks.figures import Benchmark, Figure, Plan, machine, markdown
from benchmarks.rig import quiet

BENCHMARKS: dict[str, Benchmark] = {
    "commands": command_line.run,
    "decode": decode.run,
    "traffic": traffic.run,
    "import": first_import.run,
    "import-file": import_file.run,
    "latency": latency.run,
    "drain": drain.run,
    "memory": memory.run,
    "sixty-four": sixty_four.run,
    "receiver": receiver.run,
    "backlog": backlog.run,
    "serial": serial_line.run,
    "slow": slow_terminal.run,
    "web-service": web_service.run,
    "judge": judge.run,
    "recompute": recompute.run,
    "policy": policy.run,
    "ingest": ingest.run,
    "ingest-postgresql": ingest_postgresql.run,
    "lanes": lanes.run,
    "pages": pages.run,
    "on-page": on_page.run,
    "sheets": sheets.run,
    "province": province.run,
}
ONLY_NAMED = ("province",)
"""Those that take longer than all others together."""


def main() -> None:
    """Run the benchmarks named on the command line, by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "name",
        nargs="*",
        help=f"what to measure: {', '.join(BENCHMARKS)}; all unless named, but {', '.join(ONLY_NAMED)}",
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: a trial of the benchmarks only")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table into FILE")
    chosen = parser.parse_args()
    quiet()
    if unknown := set(chosen.name) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    about = machine() + ("; QUICK: a tenth of every size, the aims are for whole ones" if chosen.quick else "")
    print(about, flush=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="hadir-bench-") as folder:
        for name, benchmark in BENCHMARKS.items():
            if name in chosen.name or (not chosen.name and name not in ONLY_NAMED):
                figures += _measured(name, benchmark, Plan(chosen.quick, Path(folder)))
    table = markdown(figures)
    print(f"\n{table}\n{about}")
    if chosen.markdown:
        chosen.markdown.write_text(f"{table}\n{about}\n", encoding="utf-8")


def _measured(name: str, benchmark: Benchmark, plan: Plan) -> list[Figure]:
    """Run one benchmark; what it cannot measure becomes a row that says why, and never stops the others."""
    print(f"\n{name}", flush=True)
    begun = time.monotonic()
    figures: list[Figure] = []
    try:
        for figure in benchmark(plan):
            figures.append(figure)
            what, baseline, ours, ratio, aim, met = figure.cells()
            print(f"  {what}: baseline {baseline}; ours {ours}; ratio {ratio}; aim {aim}; met: {met}", flush=True)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the other benchmarks are wanted
        traceback.print_exc(file=sys.stderr)
        figures.append(Figure(name, met=f"not measured: {' '.join(str(exc).split())}"))
    print(f"  ({time.monotonic() - begun:.0f} s)", flush=True)
    return figures


if __name__ == "__main__":
    main()
