"""Drivers of other packages: one that is whole, and those that are left out; the real command with them installed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from drivers import DRIVERS, GROUP, OWN, load_drivers
from drivers.base import (
    DiscoveredTerminal,
    Driver,
    DriverOptions,
    Export,
    RawPunch,
    Reading,
    Search,
    Sizes,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.line import DRIVER as LINE
from gateway.ledger import FILE_NAME, LedgerReader
from tests.broker import eventually
from tests.drivers.zkteco.foreign_services import free_port
from tests.gateway.test_cli import configuration, environment, hadir, running

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "example_driver"


def installed(site: Path, source: Path) -> None:
    """Install a package from its source as pip does: its modules, and what it registers."""
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
    for found in source.glob("hadir_*"):
        (shutil.copytree if found.is_dir() else shutil.copy)(found, site / found.name)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"][GROUP]
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))


def written(folder: Path, package: str, name: str, module: str) -> Path:
    """Write the source of a package with one module that registers a driver."""
    folder.mkdir()
    imported = package.replace("-", "_")
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "{package}"\nversion = "0.3"\n'
        f'[project.entry-points."{GROUP}"]\n{name} = "{imported}:DRIVER"\n'
    )
    (folder / f"{imported}.py").write_text(module)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make a place where packages are installed."""
    site = tmp_path / "site"
    site.mkdir()
    return site


@contextmanager
def kartu(site: Path) -> Iterator[str]:
    """Run the example's simulator; yield its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "hadir_kartu.simulator", "5"],
        env=environment(PYTHONPATH=str(site)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def with_gate(folder: Path, port: str) -> Path:
    """Write a configuration with a terminal of ours and one of the example's family."""
    gate = f"  - name: gate\n    driver: kartu\n    port: {port}\n    poll: 1s\n"
    return configuration(folder, lobby=f"127.0.0.1:{free_port()}", more=gate)


def test_the_example_passes_its_own_tests(site: Path, tmp_path: Path) -> None:
    """The guide's instructions work, outside of this repository."""
    installed(site, EXAMPLE)
    shutil.copy(EXAMPLE / "test_kartu.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_kartu.py"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[1-9][0-9]* passed", done.stdout)


def test_an_installed_driver_is_one_like_ours(site: Path, tmp_path: Path) -> None:
    """Its terminals are probed, configured, described to editors, and read into the ledger."""
    installed(site, EXAMPLE)
    env = {"PYTHONPATH": str(site)}
    with kartu(site) as port:
        probed = hadir("probe", port, "--driver", "kartu", **env)
        assert (probed.returncode, probed.stderr) == (0, "")
        assert "KT-00017" in probed.stdout
        config = with_gate(tmp_path, port)
        checked = hadir("check", "-c", config, **env)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "kartu" in hadir("schema", **env).stdout
        with running("run", "-c", config, **env):
            eventually(lambda: punches(tmp_path / "data") == 5)
    assert "no such driver" in hadir("check", "-c", config).stderr


def punches(data_dir: Path) -> int:
    """Return how many punches the ledger holds."""
    if not (data_dir / FILE_NAME).exists():
        return 0
    with closing(LedgerReader(data_dir)) as ledger:
        return ledger.punches()


def test_a_broken_driver_stops_no_other_driver(site: Path, tmp_path: Path) -> None:
    """The daemon runs and states which package it is; a terminal of that driver is a mistake that states why."""
    source = written(tmp_path / "source", "hadir-rusak", "rusak", "import module_that_is_not_there\n")
    installed(site, source)
    env = {"PYTHONPATH": str(site)}
    config = configuration(tmp_path, lobby=f"127.0.0.1:{free_port()}")
    reason = "'rusak' of the package hadir-rusak 0.3 is not used: hadir_rusak:DRIVER cannot be imported"
    checked = hadir("check", "-c", config, **env)
    assert checked.returncode == 0
    assert f"warning: the driver {reason}" in checked.stderr
    with running("run", "-c", config, **env) as daemon:
        assert daemon.stderr is not None
        refused, begun = (json.loads(daemon.stderr.readline()) for _ in range(2))
    assert (refused["event"], refused["package"], refused["level"]) == ("driver_refused", "hadir-rusak 0.3", "warning")
    assert begun["event"] == "gateway_started"
    config.write_text(config.read_text().replace("driver: zkteco", "driver: rusak"))
    done = hadir("check", "-c", config, **env)
    assert done.returncode == 78
    assert reason in " ".join(done.stderr.split())


def test_no_package_takes_the_place_of_another(site: Path, tmp_path: Path) -> None:
    """A driver that calls itself zkteco is left out; of two of one name neither is used."""
    module = dedent("""\
        from dataclasses import replace
        from drivers.line import DRIVER as LINE
        DRIVER = replace(LINE, name={!r})
        """)
    for package, name in (("hadir-palsu", "zkteco"), ("hadir-satu", "kembar"), ("hadir-dua", "kembar")):
        installed(site, written(tmp_path / package, package, name, module.format(name)))
    config = configuration(tmp_path, lobby=f"127.0.0.1:{free_port()}")
    done = hadir("check", "-c", config, "--json", PYTHONPATH=str(site))
    assert done.returncode == 0
    found = sorted(json.loads(done.stdout)["warnings"])
    assert [("zkteco" in line, "itself" in line, "same name" in line) for line in found] == [
        (False, False, True),
        (False, False, True),
        (True, True, False),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere:DRIVER", "cannot be imported (ModuleNotFoundError"),
        ("strange:NOTHING", "cannot be imported (AttributeError"),
        ("strange:TEXT", "is no drivers.base.Driver"),
        ("strange:OTHER", "calls itself 'line'"),
        ("strange:BARE", "no child of drivers.base.DriverOptions"),
        ("quitting:DRIVER", "cannot be imported (SystemExit: 3)"),
    ],
)
def test_what_is_no_driver(value: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each is left out with the reason, and all of ours stay."""
    strange = ModuleType("strange")
    vars(strange).update(TEXT="text", OTHER=LINE, BARE=type(LINE)("strange", dict, LINE.connect))  # type: ignore[arg-type]  # that is the mistake
    monkeypatch.setitem(sys.modules, "strange", strange)
    (tmp_path / "quitting.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    drivers, (left_out,) = load_drivers([EntryPoint("strange", value, GROUP)])
    assert drivers == OWN
    assert words in str(left_out)
    assert "'strange' of the package" in str(left_out)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("from drivers.promises import PROMISES", "drivers.promises is drivers.conformance now"),
        ("from drivers.values import lasting", "lasting is duration_between now"),
        ("from drivers.base import Acknowledging, Logged", "Acknowledging is Delivering now"),
        ("from drivers.base import Exporting", "Exporting is Removable now"),
    ],
)
def test_a_driver_for_a_former_interface_is_left_out_with_the_present_names(
    statement: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reason states what has another name now."""
    (tmp_path / "former_import.py").write_text(f"{statement}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "drivers.promises", raising=False)
    drivers, (left_out,) = load_drivers([EntryPoint("former", "former_import:DRIVER", GROUP)])
    assert drivers == OWN
    assert words in str(left_out)


class FormerFolder:
    """A folder of exports as drivers wrote it when the gateway requested them by ``exports``."""

    def present(self) -> bool:
        """Return True."""
        return True

    def exports(self, seen: Collection[str]) -> Iterator[Export]:
        """Yield nothing."""
        del seen
        return iter(())

    def write_report(self, about: Export, receipt: str) -> bool:
        """Return True."""
        del about, receipt
        return True


class FormerMarks:
    """A terminal that marks new records, as drivers wrote it when the gateway acknowledged them by their number."""

    def sizes(self) -> Sizes:
        """Return no numbers."""
        return Sizes(None, None)

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Return an empty log."""
        del start, layout
        return Reading(0, 0, (), "paper")

    def new(self) -> Reading:
        """Return an empty log."""
        return self.read()

    def acknowledge(self, count: int) -> None:
        """Do nothing."""


class FormerLine:
    """A line as drivers wrote it when the events of a terminal without a log were final."""

    def events(self, timeout_s: float) -> Iterator[RawPunch]:
        """Yield nothing."""
        del timeout_s
        return iter(())


class Numbered:
    """A terminal with a count of records, but no log."""

    def sizes(self) -> Sizes:
        """Return no numbers."""
        return Sizes(None, None)


def loaded(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    """Load a driver as that of another package."""
    module = ModuleType("former_driver")
    vars(module)["DRIVER"] = driver
    monkeypatch.setitem(sys.modules, "former_driver", module)
    drivers, unusable = load_drivers([EntryPoint(driver.name, "former_driver:DRIVER", GROUP)])
    assert unusable == []
    return drivers[driver.name]


@pytest.mark.parametrize(
    ("terminal", "words"),
    [
        (FormerFolder(), r"have exports, which is not called any more: deliveries\(\) yields the files"),
        (FormerMarks(), r"have acknowledge, which is not called any more: deliveries\(\) yields the records"),
        (FormerLine(), r"have events, but no log that confirms them: deliveries\(\) yields such records"),
        (Numbered(), "have sizes, but not read"),
    ],
)
def test_a_terminal_with_half_a_capability_is_refused(
    terminal: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver for a former interface does not lose a capability without a message; its connection is closed."""
    closed = []

    @contextmanager
    def connect(_options: object) -> Iterator[Any]:
        try:
            yield terminal
        finally:
            closed.append(True)

    driver = loaded(monkeypatch, Driver("former", DriverOptions, connect))
    with pytest.raises(TerminalRefused, match=words) as refused, driver.connect(DriverOptions(name="gate")):
        pass
    assert "the driver 'former' of the package former_driver must be updated" in str(refused.value)
    assert closed == [True]


def test_a_search_with_a_former_argument_ends_with_its_present_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's mistake is a message, not a traceback; what it found before stays."""

    def discover(search: Search) -> Generator[DiscoveredTerminal | None, None, None]:
        yield from [None for _ in search.hosts]
        former = {"asked_at": None}  # the mistake
        yield DiscoveredTerminal("10.0.0.1", {}, **former)

    driver = loaded(monkeypatch, replace(LINE, name="former", discover=discover))
    assert driver.discover is not None
    search = driver.discover(Search(["10.0.0.1"]))
    assert next(search) is None
    with pytest.raises(TerminalUnavailable, match=r"package former_driver failed.*asked_at is clock_read_at now"):
        next(search)


def test_what_is_a_driver() -> None:
    """It is listed under the name that it was registered with; ours are always there."""
    drivers, left_out = load_drivers([])
    assert (drivers, left_out) == (OWN, [])
    assert OWN.items() <= DRIVERS.items()
    assert all(issubclass(driver.options, DriverOptions) for driver in DRIVERS.values())


def test_the_guide_quotes_what_is_there() -> None:
    """Every piece of code in docs/drivers.md stands so in a file that is tested."""
    guide = (ROOT / "docs" / "drivers.md").read_text("utf-8")
    sources = [
        path.read_text("utf-8")
        for folder in ("drivers", "docs/example_driver", "tests/drivers")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".toml")
    ]
    quotes = re.findall(r"```(?:python|toml)\n(.*?)```", guide, re.DOTALL)
    assert len(quotes) >= 4
    for quote in quotes:
        assert any(quote in source for source in sources), quote
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", guide):
        assert (ROOT / "docs" / path).exists(), path
