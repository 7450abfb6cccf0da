"""The shape of the house: who may know whom, and what may not be written anywhere."""

import ast
import re
import tomllib
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


@cache
def imports(file: Path) -> set[str]:
    """Return the names of all modules that ``file`` imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def modules(root: Path, *packages: str) -> dict[str, Path]:
    """Return the modules of packages in ``root`` by dotted name; a package is the module of its ``__init__.py``."""
    paths = chain.from_iterable((root / package).rglob("*.py") for package in packages)
    files = {file.relative_to(root).with_suffix("").parts: file for file in paths}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for parts, file in files.items()}


def imported_modules(name: str, file: Path, known: Collection[str]) -> set[str]:
    """Return the modules among ``known`` that a module imports anywhere: also in functions and for type checks."""
    imported = set()
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            outer = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (outer, node.module)))
            # ``from package import name`` imports the submodule of that name, if there is one.
            members = (f"{source}.{alias.name}" for alias in node.names)
            imported |= {member if member in known else source for member in members}
    return imported & set(known)


def circle(graph: Mapping[str, AbstractSet[str]]) -> list[str]:
    """Return the nodes of one circle, or an empty list."""
    remaining = dict(graph)
    while free := [node for node, following in remaining.items() if not following & remaining.keys()]:
        for node in free:
            del remaining[node]
    path = list(remaining)[:1]
    while path and path.count(path[-1]) == 1:
        path.append(min(remaining[path[-1]] & remaining.keys()))
    return path[path.index(path[-1]) :] if path else []


def test_imports_form_no_circle() -> None:
    """Every module can be read, and type-checked, after the modules that it imports."""
    known = modules(ROOT, "gateway", "drivers", "central", "benchmarks", "tests")
    graph = {name: imported_modules(name, file, known) for name, file in known.items()}

    assert len(known) > 600
    assert sum(map(len, graph.values())) > len(known)
    assert circle(graph) == []


@pytest.mark.parametrize(
    "text",
    [
        "import package.b",
        "from package import b",
        "from package.b import name",
        "from . import b",
        "from .b import name",
        "def f():\n    from package import b",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.b import Name",
    ],
)
def test_a_circle_is_found_however_it_is_imported(tmp_path: Path, text: str) -> None:
    """The check above can fail."""
    (tmp_path / "package").mkdir()
    for name, content in {"__init__": "", "a": text, "b": "import package.c", "c": "from package.a import x"}.items():
        (tmp_path / "package" / f"{name}.py").write_text(content)
    known = modules(tmp_path, "package")

    graph = {name: imported_modules(name, file, known) for name, file in known.items()}

    found = circle(graph)
    assert found[0] == found[-1]
    assert set(found) == {"package.a", "package.b", "package.c"}


@pytest.mark.parametrize("file", sorted((ROOT / "drivers").rglob("*.py")), ids=str)
def test_drivers_know_nothing_of_the_gateway(file: Path) -> None:
    """A driver can be used, tested and replaced without the daemon."""
    assert not {name for name in imports(file) if name.split(".")[0] == "gateway"}


@pytest.mark.parametrize("folder", ["gateway", "drivers"])
def test_the_centre_does_not_import_the_gateway(folder: str) -> None:
    """It knows the contract only, as others' centres do; neither imports the other."""
    ours = {name.split(".")[0] for file in (ROOT / folder).rglob("*.py") for name in imports(file)}
    theirs = {name.split(".")[0] for file in (ROOT / "central").rglob("*.py") for name in imports(file)}

    assert "central" not in ours
    assert folder not in theirs


@pytest.mark.parametrize("name", ["event", "coverage"])
def test_what_the_centre_decides_needs_no_io(name: str) -> None:
    """Reading a message and finding gaps depend on nothing but their arguments."""
    allowed = {
        "bisect",
        "collections",
        "contextlib",
        "dataclasses",
        "datetime",
        "functools",
        "hashlib",
        "heapq",
        "json",
        "math",
        "operator",
        "re",
        "typing",
        "uuid",
        "zoneinfo",
    }

    assert {module.split(".")[0] for module in imports(ROOT / "central" / f"{name}.py")} <= allowed


def test_the_judgement_is_pure() -> None:
    """From facts, plan and policy to verdicts: nothing there reads a file, a clock, a database or a policy's text.

    zoneinfo reads the rules of time zones, which are the same wherever the judgement runs. Recomputing brings facts
    from the database and verdicts into it.
    """
    allowed = {
        "bisect",
        "central.json_text",
        "central.registers",  # the records of its rows
        "central.timesheet",
        "collections",
        "dataclasses",
        "datetime",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "math",
        "operator",
        "typing",
        "zoneinfo",
    }
    of_the_database = ("facts.py", "wanted.py", "recompute.py", "worker.py")
    files = [file for file in (ROOT / "central/timesheet").glob("*.py") if file.name not in of_the_database]
    used = {name for file in files for name in imports(file)}
    found = {name if not name.startswith("central.") else ".".join(name.split(".")[:2]) for name in used}

    assert {name if name.startswith("central") else name.split(".")[0] for name in found} <= allowed


PURE = ["advice", "event", "alignment", "pause", "forecast", "timekeeper", "mqtt/message"]
PURE_OF_MQTT = ["mqtt/blocked_topics", "mqtt/careful", "mqtt/requests", "mqtt/subscriptions", "mqtt/takeover"]
PURE_OF_THE_PAGE = ["page/attention", "page/chart", "page/metrics", "page/messages"]


@pytest.mark.parametrize("name", [*PURE, *PURE_OF_MQTT, *PURE_OF_THE_PAGE])
def test_pure_middle_does_no_io(name: str) -> None:
    """Identity, digest and alignment depend on nothing but their arguments."""
    forbidden = {
        "os",
        "socket",
        "sqlite3",
        "threading",
        "time",
        "pathlib",
        "subprocess",
        "paho",
        "sqlalchemy",
        "structlog",
    }

    assert not {module for module in imports(ROOT / "gateway" / f"{name}.py") if module.split(".")[0] in forbidden}


@pytest.mark.parametrize("family", ["zkteco", "anviz", "attlog", "line", "push", "soap"])
def test_wire_module_does_no_io(family: str) -> None:
    """The byte layer could run on a file, or on a plane."""
    folder = ROOT / "drivers" / family
    modules = [folder / "wire.py", *folder.glob("layouts.py"), *folder.glob("clock.py")]
    assert not set[str]().union(*map(imports, modules)) & {"socket", "time", "threading", "os", "zk", "serial"}


def test_only_the_ledger_contains_sql() -> None:
    """One package hides tables, transactions and durability; what `hadir status` counts is light, beside it."""
    speakers = {
        file.relative_to(ROOT / "gateway").parts[0]
        for file in (ROOT / "gateway").rglob("*.py")
        if {name.split(".")[0] for name in imports(file)} & {"sqlite3", "sqlalchemy", "sqlmodel"}
    }

    assert speakers == {"ledger", "ledger_summary.py"}


def test_only_the_log_imports_structlog() -> None:
    """It imports structlog without Rich; another module that did it first would load both."""
    importers = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "gateway").rglob("*.py")
        if {name.split(".")[0] for name in imports(file)} & {"structlog"}
    }

    assert importers == {"gateway/log.py"}


def test_only_the_transport_imports_pyzk() -> None:
    """The library under the driver can be replaced in one file."""
    knowers = {
        file.name
        for folder in ("gateway", "drivers")
        for file in (ROOT / folder).rglob("*.py")
        if {name.split(".")[0] for name in imports(file)} & {"zk"}
    }

    assert knowers == {"transport.py"}


def test_only_the_ports_know_pyserial() -> None:
    """No module above the driver knows how its bytes travel."""
    knowers = {
        file.relative_to(ROOT).as_posix()
        for folder in ("gateway", "drivers")
        for file in (ROOT / folder).rglob("*.py")
        if {name.split(".")[0] for name in imports(file)} & {"serial"}
    }

    assert knowers == {"drivers/ports.py"}


def test_constraints_are_plain_pins_of_every_dependency() -> None:
    """constraints.txt holds nothing but package==version, and covers what pyproject requests."""
    lines = (ROOT / "constraints.txt").read_text("ascii").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {canonicalize_name(line.split("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requested = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]

    missing = {canonicalize_name(re.split(r"[<>=~!\[ ]", line)[0]) for line in requested} - pinned

    assert missing == set()


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    """A release that did not exist when this was tested is not installed by accident."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    unbound = [
        line
        for line in [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
        if "==" not in line and not (">=" in line and ("<" in line or line.startswith("tzdata")))
    ]

    assert unbound == []
