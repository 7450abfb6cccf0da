"""Processor time of commands, against that of ``python -c 'import typer, rich'``, which every command needs at least.

`hadir --help` is within the aim. `hadir status` takes 6 times as much and cannot take 2 with these libraries: it reads
the configuration as the daemon does (pydantic, ruamel.yaml and the drivers' options), and the tables on the screen are
Rich's. Where no gateway runs and a ledger exists, it also imports what reads ledgers (SQLAlchemy, SQLModel): more than
all the rest.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import TIMES, Figure, Plan, yes_no

AIM = 2.0
RUNS = 7
_HADIR = (sys.executable, "-m", "gateway.cli")
_CONFIGURATION = """
site: bench-office
gateway: gw-01
timezone: Asia/Jakarta
mqtt: {url: "mqtt://127.0.0.1"}
terminals:
  - {name: lobby, driver: zkteco, address: 127.0.0.1}
"""


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the help, and the status of a gateway that does not run and has no ledger yet."""
    folder = plan.fresh("commands")
    config = folder / "gateway.yaml"
    config.write_text(f"{_CONFIGURATION}data_dir: {folder}\n", encoding="utf-8")
    baseline = _cpu_s((sys.executable, "-c", "import typer, rich"), folder)
    for what, command in (("--help", (*_HADIR, "--help")), ("status", (*_HADIR, "status", "-c", str(config)))):
        spent = _cpu_s(command, folder)
        yield Figure(
            f"hadir {what}, CPU",
            f"import typer, rich {baseline * 1000:.0f} ms",
            f"{spent * 1000:.0f} ms",
            f"{spent / baseline:.1f}{TIMES}",
            f"≤ {AIM:g}{TIMES}",
            yes_no(spent <= AIM * baseline),
        )


def _cpu_s(command: Sequence[str], folder: Path) -> float:
    """Return the least processor time of several runs: other work on the machine can only add to it."""
    return min(_once(command, folder) for _ in range(RUNS))


def _once(command: Sequence[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
