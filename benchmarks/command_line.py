"""Processor time of commands, against that of ``python -c 'import typer, rich'``, which every command needs at least.

`hadir status` imports neither the configuration's libraries nor the ledger's: a gateway that has read the same file
reports what is shown. Where none runs, the ledger is read with sqlite3 alone, and what is shown of the configuration is
kept from the last time that this user had it checked. The least of several runs is therefore never the first run of
a user with a new or changed configuration, which reads it as the daemon does (pydantic, ruamel.yaml and the drivers'
options): that has a row of its own, without an aim.

Its options are read without Typer, which converts values with pydantic: a Typer command with one option takes 2.5 times
the baseline by itself. What is left beside the baseline are Rich's tables, own modules and texts, the requests
and the output.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.drain import make_backlog
from benchmarks.figures import TIMES, Figure, Plan, yes_no
from benchmarks.rig import LOG, PREFIX, broker, daemon, office, settings_of, subscriber
from drivers.zkteco.simulator import SimulatedTerminal, Simulator

AIM = 2.0
RUNS = 7
RECORDS = 2_000
_HADIR = (sys.executable, "-m", "gateway.cli")


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the help, and the status of a gateway that runs, of stopped ones, and of one that never ran."""
    folder, idle, unsent = plan.fresh("commands"), plan.fresh("commands-idle"), plan.fresh("commands-unsent")
    baseline = _cpu_s((sys.executable, "-c", "import typer, rich"), folder)
    yield _figure("--help", _cpu_s((*_HADIR, "--help"), folder), baseline)
    status = (*_HADIR, "status", "-c", "gateway.yaml")
    made = office(RECORDS)
    terminal = SimulatedTerminal(users=made.users, log=made.log, capacity=RECORDS)
    with Simulator(terminal) as simulator, broker(folder) as port:
        settings = settings_of(port, {"lobby": simulator.address})
        with subscriber(port, f"{PREFIX}/#", lambda _: None), daemon(folder, settings) as running:
            running.wait_until_settled(RECORDS, 60.0)
            yield _figure("status", _cpu_s(status, folder), baseline)
        yield _figure("status of a stopped gateway with a ledger", _cpu_s(status, folder), baseline)
        for other in (idle, unsent):
            (other / "gateway.yaml").write_bytes((folder / "gateway.yaml").read_bytes())
    count = plan.size(LOG)
    make_backlog(count, unsent / "data")
    yield _figure(f"status of a stopped gateway with {count:,} waiting punches", _cpu_s(status, unsent), baseline)
    yield _figure("status where no gateway ever ran", _cpu_s(status, idle), baseline)
    first = min(_once(status, idle, kept=False) for _ in range(RUNS))
    yield _figure("status where no gateway ever ran, first run with this configuration", first, baseline, aim=None)


def _figure(what: str, spent: float, baseline: float, aim: float | None = AIM) -> Figure:
    return Figure(
        f"hadir {what}, CPU",
        f"import typer, rich {baseline * 1000:.0f} ms",
        f"{spent * 1000:.0f} ms",
        f"{spent / baseline:.1f}{TIMES}",
        *((f"≤ {aim:g}{TIMES}", yes_no(spent <= aim * baseline)) if aim else ()),
    )


def _cpu_s(command: Sequence[str], folder: Path) -> float:
    """Return the least processor time of several runs: other work on the machine can only add to it."""
    return min(_once(command, folder) for _ in range(RUNS))


def _once(command: Sequence[str], folder: Path, *, kept: bool = True) -> float:
    # Modules are compiled by the first run, as those of an installed package are, whatever the environment says.
    cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    # No user's cache is written to; one that is no folder keeps nothing.
    cached["XDG_CACHE_HOME"] = str(folder / "cache") if kept else os.devnull
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=False, env=os.environ | cached)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
