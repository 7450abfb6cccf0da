"""What a benchmark returns, the table made of it, and the machine it was measured on."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

NONE = "-"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    what: str
    baseline: str = NONE
    ours: str = NONE
    ratio: str = NONE
    aim: str = NONE
    met: str = NONE

    def cells(self) -> tuple[str, ...]:
        """Return the row, column by column."""
        return self.what, self.baseline, self.ours, self.ratio, self.aim, self.met


class Plan(NamedTuple):
    """How much is measured, and where files may be put."""

    quick: bool
    folder: Path

    def size(self, full: int) -> int:
        """Return ``full``, or a tenth of it in a quick run."""
        return full // 10 if self.quick else full

    def fresh(self, name: str) -> Path:
        """Return a new, empty folder."""
        place = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        return place


Benchmark = Callable[[Plan], Iterator[Figure]]

HEADINGS = ("what", "baseline", "ours", "ratio", "aim", "met")


def yes_no(met: bool) -> str:
    """Say whether an aim was met."""
    return "yes" if met else "no"


def times(ratio: float) -> str:
    """Write a ratio with as many digits as mean something."""
    return f"{ratio:,.0f}{TIMES}" if ratio >= 10 else f"{ratio:.2f}{TIMES}"


def markdown(figures: Sequence[Figure]) -> str:
    """Return the table as Markdown."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(figure.cells() for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def machine() -> str:
    """Return one line about the machine and the versions that the figures belong to."""
    busy, _, _ = os.getloadavg()
    facts = (
        f"{_cpu()}, {os.cpu_count()} cores",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"pyzk {version('pyzk')}",
        f"paho-mqtt {version('paho-mqtt')}",
        _mosquitto(),
        f"load {busy:.1f} at the start",
    )
    return "; ".join(facts)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())


def program(name: str) -> str:
    """Return where a program is; RuntimeError where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return found


def _mosquitto() -> str:
    try:
        output = subprocess.run([program("mosquitto"), "-h"], capture_output=True, text=True, check=False).stdout
    except RuntimeError as exc:
        return str(exc)
    return output.partition("\n")[0].replace(" version", "")
