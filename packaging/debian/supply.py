"""Puts the libraries of the Debian package in place: what the project needs, as requirements.lock pins it.

``supply.py PACKAGE RELEASE ARCHITECTURE VERSION WORK`` builds the project, downloads every library that the package
needs on the target, verifies each file against the hashes of the lock, and unpacks all of them into ``WORK/root``;
``WORK/sbom.json`` lists them (CycloneDX 1.6). Markers are evaluated for the target, which need not be this machine.
Nothing else is downloaded, not even to build with: the build tools are those of this environment.
"""

import hashlib
import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

LOCK = Path("requirements.lock")
SOURCE_ONLY = frozenset({"pyzk"})
"""Published without wheels; pure Python."""
Line = tuple[str, frozenset[str]]
"""A requirement as metadata has it, and the extras of the project or library that it stands in."""


class SupplyError(Exception):
    """The lock does not hold what the project needs."""


@dataclass(frozen=True)
class Target:
    """A release of Debian on a processor."""

    python: tuple[int, int]
    glibc: int
    """Minor version of glibc 2, the newest that a wheel may need."""
    machine: str
    extras: frozenset[str]
    """Of the project."""

    @classmethod
    def of(cls, package: str, release: str, architecture: str) -> Self:
        """Return what there is for this pair; KeyError where there is none."""
        python, glibc = {"bookworm": ((3, 11), 36), "trixie": ((3, 13), 41)}[release]
        # 32-bit ARM has no wheels of pyrage, nor of cffi, which cryptography and argon2-cffi need.
        machine, extras = {
            ("hadir", "amd64"): ("x86_64", {"courier"}),
            ("hadir", "arm64"): ("aarch64", {"courier"}),
            ("hadir", "armhf"): ("armv7l", set[str]()),
            ("hadir-central", "amd64"): ("x86_64", {"centre", "postgres"}),
            ("hadir-central", "arm64"): ("aarch64", {"centre", "postgres"}),
        }[package, architecture]
        return cls(python, glibc, machine, frozenset(extras))

    @property
    def environment(self) -> dict[str, str]:
        """The target's values of environment markers (PEP 508)."""
        version = "{}.{}".format(*self.python)
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
        }

    @property
    def pip_options(self) -> list[str]:
        """Make pip choose wheels of the target."""
        version = "{}{}".format(*self.python)
        platforms = [f"manylinux2014_{self.machine}"]
        platforms += [f"manylinux_2_{minor}_{self.machine}" for minor in range(17, self.glibc + 1)]
        return [
            *("--only-binary=:all:", "--implementation=cp", f"--python-version={version}"),
            *(f"--abi={abi}" for abi in (f"cp{version}", "abi3", "none")),
            *(f"--platform={platform}" for platform in platforms),
        ]


@dataclass(frozen=True)
class Pin:
    """One library in the lock."""

    name: str
    version: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        return " ".join((f"{self.name}=={self.version}", *(f"--hash=sha256:{value}" for value in sorted(self.hashes))))


@dataclass(frozen=True)
class Library:
    """One library as it is packed."""

    wheel: Path
    source: Path
    """The downloaded file: the wheel itself, or the sdist that it was built from."""
    metadata: Message

    @classmethod
    def read(cls, wheel: Path, source: Path | None = None) -> Self:
        """Read the metadata of a wheel."""
        with zipfile.ZipFile(wheel) as content:
            [member] = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
            return cls(wheel, source or wheel, BytesParser().parsebytes(content.read(member)))

    @property
    def name(self) -> str:
        """The normalised name (PEP 503)."""
        return canonicalize_name(str(self.metadata["Name"]))

    @property
    def version(self) -> str:
        """The version as published."""
        return str(self.metadata["Version"])

    @property
    def requires(self) -> list[str]:
        """What it says that it needs, with markers."""
        return self.metadata.get_all("Requires-Dist", [])


def locked(text: str) -> dict[str, Pin]:
    """Return the pins of a lock by normalised name; SupplyError where a line is no pin with hashes, or repeats one."""
    pins: dict[str, Pin] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not line or line.startswith("#"):
            continue
        head, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(head)
        name = canonicalize_name(requirement.name)
        versions = [clause.version for clause in requirement.specifier if clause.operator == "=="]
        if len(versions) != 1 or not hashes or name in pins:
            raise SupplyError(f"{LOCK}: not one version with hashes, or twice: {head.strip()}; run make lock")
        pins[name] = Pin(name, versions[0], frozenset(value.strip() for value in hashes))
    return pins


def gather(
    root: Library,
    extras: frozenset[str],
    environment: Mapping[str, str],
    pins: Mapping[str, Pin],
    fetch: Callable[[Sequence[Pin]], Iterable[Library]],
) -> dict[str, Library]:
    """Return what ``root`` with ``extras`` needs on the target, by name; SupplyError where a pin does not fit.

    ``fetch`` gets libraries by their pins and is called once for each depth of the tree.
    """
    found: dict[str, Library] = {}
    pending: set[Line] = {(line, extras) for line in root.requires}
    done: set[Line] = set()
    while pending:
        wanted = [requirement for line in sorted(pending, key=str) for requirement in _holding(line, environment)]
        missing = sorted({canonicalize_name(requirement.name) for requirement in wanted} - found.keys())
        if unpinned := [name for name in missing if name not in pins]:
            raise SupplyError(f"{LOCK} has no {', '.join(unpinned)}; run make lock")
        if missing:
            found.update({library.name: library for library in fetch([pins[name] for name in missing])})
        done |= pending
        pending = set()
        for requirement in wanted:
            library = found[canonicalize_name(requirement.name)]
            if not requirement.specifier.contains(library.version, prereleases=True):
                raise SupplyError(
                    f"{LOCK} has {library.name} {library.version}, needed is {requirement}; run make lock"
                )
            pending |= {(line, frozenset(requirement.extras)) for line in library.requires} - done
    return found


def _holding(line: Line, environment: Mapping[str, str]) -> Iterator[Requirement]:
    requirement, extras = Requirement(line[0]), line[1] or {""}
    marker = requirement.marker
    if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in extras):
        yield requirement


def fetcher(folder: Path, target: Target) -> Callable[[Sequence[Pin]], list[Library]]:
    """Return what downloads pins as wheels of the target into ``folder``, and verifies their hashes."""

    def fetch(pins: Sequence[Pin]) -> list[Library]:
        wheels = [pin for pin in pins if pin.name not in SOURCE_ONLY]
        before = set(folder.glob("*.whl"))
        if wheels:
            _download(wheels, folder, target.pip_options)
        libraries = [Library.read(path) for path in set(folder.glob("*.whl")) - before]
        for pin in pins:
            if pin.name in SOURCE_ONLY:
                sources = folder / f"{pin.name}-source"
                _download([pin], sources, ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"])
                [source] = sources.iterdir()
                libraries.append(Library.read(built(str(source), sources / "wheel"), source))
        return libraries

    return fetch


def built(source: str, folder: Path) -> Path:
    """Build the wheel of a pure Python project with this environment's setuptools."""
    _pip("wheel", "--use-pep517", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), source)
    [wheel] = folder.glob("*.whl")
    if any(tag.platform != "any" for tag in parse_wheel_filename(wheel.name)[3]):
        raise SupplyError(f"{wheel.name} is not pure Python")
    return wheel


def _download(pins: Sequence[Pin], folder: Path, options: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text("".join(f"{pin}\n" for pin in pins), "ascii")
    _pip("download", "--require-hashes", "--no-deps", "--dest", str(folder), *options, "--requirement", str(wanted))
    wanted.unlink()


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - our own command
        raise SupplyError(f"pip {arguments[0]} failed: see above")


def sbom(
    name: str, release: str, architecture: str, version: str, root: Library, libraries: Mapping[str, Library]
) -> dict[str, Any]:
    """Return a CycloneDX 1.6 description of the package; the same package gives the same one."""
    package = f"pkg:deb/hadir/{name}@{quote(version)}?arch={architecture}&distro={release}"
    environment = Target.of(name, release, architecture).environment

    def needs(library: Library, extras: frozenset[str]) -> list[str]:
        names = {canonicalize_name(r.name) for line in library.requires for r in _holding((line, extras), environment)}
        return sorted(_purl(libraries[name]) for name in names if name in libraries)

    everything = sorted(libraries.values(), key=lambda library: library.name)
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, package)}",
        "version": 1,
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": package,
                "name": name,
                "version": version,
                "licenses": _licenses(root),
                "purl": package,
            },
        },
        "components": [
            {
                "type": "library",
                "bom-ref": _purl(library),
                "name": library.name,
                "version": library.version,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(library.source.read_bytes()).hexdigest()}],
                "licenses": _licenses(library),
                "purl": _purl(library),
            }
            for library in everything
        ],
        "dependencies": [
            {"ref": package, "dependsOn": needs(root, Target.of(name, release, architecture).extras)},
            *({"ref": _purl(library), "dependsOn": needs(library, frozenset())} for library in everything),
        ],
    }


def _purl(library: Library) -> str:
    return f"pkg:pypi/{library.name}@{quote(library.version)}"


def _licenses(library: Library) -> list[dict[str, Any]]:
    """Return the licence as its authors declare it: an SPDX expression, else their own words."""
    if expression := library.metadata["License-Expression"]:
        return [{"expression": expression}]
    classifiers = library.metadata.get_all("Classifier", [])
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    declared = str(library.metadata["License"] or "").partition("\n")[0].strip()
    return [{"license": {"name": name}} for name in names or ([declared] if declared else [])]


def main(package: str, release: str, architecture: str, version: str, work: Path) -> None:
    """Put the project and its libraries into ``work/root`` and describe them in ``work/sbom.json``."""
    target = Target.of(package, release, architecture)
    wheels = work / "wheels"
    root = Library.read(built(".", work / "project"))
    libraries = gather(
        root, target.extras, target.environment, locked(LOCK.read_text("ascii")), fetcher(wheels, target)
    )
    site = work / f"root/opt/{package}/lib/python{{}}.{{}}/site-packages".format(*target.python)
    files = [str(library.wheel) for library in (root, *libraries.values())]
    _pip("install", "--no-deps", "--no-index", "--no-compile", "--target", str(site), *target.pip_options, *files)
    description = sbom(package, release, architecture, version, root, libraries)
    (work / "sbom.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]))
    except SupplyError as exc:
        sys.exit(f"supply.py: {exc}")
