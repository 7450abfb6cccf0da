"""What a package is made of: the lock, the constraints, and what is taken from them for a target."""

import re
import tomllib
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import supply
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from supply import Library, Pin, SupplyError, Target, fetcher, gather, locked, sbom

ROOT = Path(__file__).parent.parent.parent
LOCK = (ROOT / "requirements.lock").read_text("ascii")
CONSTRAINTS = (ROOT / "constraints.txt").read_text("ascii")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TRIXIE = Target.of("hadir", "trixie", "arm64")


def wheel(folder: Path, name: str, version: str, *requires: str, lines: Sequence[str] = ()) -> Path:
    """Write a wheel that holds nothing but metadata."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = [f"Requires-Dist: {line}" for line in requires]
    with zipfile.ZipFile(path, "w") as content:
        content.writestr(
            f"{info}/METADATA",
            "\n".join(("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines, *needs)),
        )
        content.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content.writestr(f"{info}/RECORD", "")
    return path


def pins(*wheels: Path) -> dict[str, Pin]:
    """Pin wheels as they are."""
    found = [Library.read(path) for path in wheels]
    return {
        library.name: Pin(library.name, library.version, frozenset({sha256(library.wheel.read_bytes()).hexdigest()}))
        for library in found
    }


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip find files in this folder, and nowhere else."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_lock_pins_everything_that_the_project_declares() -> None:
    """Whoever changes pyproject.toml runs `make lock`; each pin is within the declared range."""
    found = locked(LOCK)
    declared = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]

    for requirement in map(Requirement, declared):
        pin = found.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in requirements.lock: run make lock"
        assert requirement.specifier.contains(pin.version), f"{requirement}: requirements.lock has {pin.version}"


def test_the_constraints_are_the_versions_of_the_lock() -> None:
    """One line each, name and version, nothing else."""
    assert CONSTRAINTS.splitlines() == [f"{pin.name}=={pin.version}" for pin in locked(LOCK).values()]


def test_neither_names_a_place_to_download_from() -> None:
    """No registry, no folder, no option: where files are from is the business of the machine, which ones is not."""
    shape = re.compile(r"[a-z0-9-]+==[0-9a-z.!+]+( ; [^\\/]+)?( \\)?|    --hash=sha256:[0-9a-f]{64}( \\)?")

    assert [line for line in LOCK.splitlines() if not shape.fullmatch(line)] == []
    assert not re.search(r"[/@:\\]|^-", CONSTRAINTS, re.MULTILINE)


@pytest.mark.parametrize(
    "text",
    ["a==1\n", "a>=1 --hash=sha256:00\n", "a==1 --hash=sha256:00\na==2 --hash=sha256:00\n"],
    ids=["no hash", "no version", "two versions"],
)
def test_a_lock_that_pins_less_is_refused(text: str) -> None:
    """A version without hashes is any file of that version."""
    with pytest.raises(SupplyError, match="make lock"):
        locked(text)


def test_the_target_decides_what_is_packed_not_this_machine(registry: Path, tmp_path: Path) -> None:
    """Markers, extras of libraries and of the project, three levels deep; what the target does not need stays out."""
    root = Library.read(
        wheel(
            tmp_path,
            "root",
            "1",
            "near[fast]>=1",
            "old; python_version < '3.13'",
            "signs; extra == 'courier'",
            "shown; extra == 'demo'",
        )
    )
    near = wheel(registry, "near", "1.5", "far", "quick; extra == 'fast'", "slow; extra == 'sluggish'")
    far = wheel(
        registry, "far", "2", "arm; platform_machine == 'aarch64'", "intel; platform_machine == 'x86_64'", "near"
    )
    others = [wheel(registry, name, "1") for name in ("old", "signs", "shown", "quick", "slow", "arm", "intel")]

    fetch = fetcher(tmp_path / "wheels", TRIXIE)
    found = gather(root, TRIXIE.extras, TRIXIE.environment, pins(near, far, *others), fetch)

    assert sorted(found) == ["arm", "far", "near", "quick", "signs"]


def test_a_file_with_another_hash_is_not_packed(registry: Path, tmp_path: Path) -> None:
    """The same name and version from a registry that was tampered with."""
    known = pins(wheel(registry, "near", "1"))
    wheel(registry, "near", "1", lines=["Summary: another file"])
    root = Library.read(wheel(tmp_path, "root", "1", "near"))

    with pytest.raises(SupplyError, match="pip download failed"):
        gather(root, frozenset(), TRIXIE.environment, known, fetcher(tmp_path / "wheels", TRIXIE))


def test_a_stale_lock_is_refused(registry: Path, tmp_path: Path) -> None:
    """A library that it lacks, or whose version does not do any more."""
    known = pins(wheel(registry, "near", "1"))
    fetch = fetcher(tmp_path / "wheels", TRIXIE)

    with pytest.raises(SupplyError, match="no far, other; run make lock"):
        gather(Library.read(wheel(tmp_path, "root", "1", "far", "other")), frozenset(), {}, known, fetch)
    with pytest.raises(SupplyError, match="near 1, needed is near>=2"):
        gather(Library.read(wheel(tmp_path, "root", "2", "near>=2")), frozenset(), {}, known, fetch)


def test_the_bill_of_materials_names_each_library_its_hash_and_licence(registry: Path, tmp_path: Path) -> None:
    """And who needs it; made twice it is the same."""
    root = Library.read(wheel(tmp_path, "root", "1", "near", lines=["License-Expression: GPL-2.0-or-later"]))
    near = wheel(registry, "near", "1", "far", lines=["License-Expression: MIT"])
    far = wheel(registry, "far", "2+local", lines=["Classifier: License :: OSI Approved :: BSD License"])
    found = gather(root, frozenset(), TRIXIE.environment, pins(near, far), fetcher(tmp_path / "wheels", TRIXIE))

    bill = sbom("hadir", "trixie", "arm64", "0.1.0-1+deb13", root, found)

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["licenses"] == [{"expression": "GPL-2.0-or-later"}]
    assert [component["purl"] for component in bill["components"]] == ["pkg:pypi/far@2%2Blocal", "pkg:pypi/near@1"]
    assert [component["hashes"][0]["content"] for component in bill["components"]] == [
        sha256(path.read_bytes()).hexdigest() for path in (far, near)
    ]
    assert bill["components"][0]["licenses"] == [{"license": {"name": "BSD License"}}]
    package = bill["metadata"]["component"]["bom-ref"]
    assert bill["dependencies"] == [
        {"ref": package, "dependsOn": ["pkg:pypi/near@1"]},
        {"ref": "pkg:pypi/far@2%2Blocal", "dependsOn": []},
        {"ref": "pkg:pypi/near@1", "dependsOn": ["pkg:pypi/far@2%2Blocal"]},
    ]
    assert sbom("hadir", "trixie", "arm64", "0.1.0-1+deb13", root, found) == bill


def test_offices_get_nothing_that_only_the_demo_needs() -> None:
    """The demo's broker is an extra of its own, and no package has it."""
    assert not any(line.startswith("iotcore") for line in PROJECT["dependencies"])
    for release in ("bookworm", "trixie"):
        for package, architectures in (("hadir", ("amd64", "arm64", "armhf")), ("hadir-central", ("amd64", "arm64"))):
            for architecture in architectures:
                assert not Target.of(package, release, architecture).extras & {"demo", "dev"}
    assert locked(LOCK).keys() >= supply.SOURCE_ONLY


def test_a_package_that_takes_files_over_breaks_the_one_that_had_them_but_not_the_present_one() -> None:
    """Without Breaks the older package would stay, without its files; both present packages go together."""
    for package in ("hadir", "hadir-central"):
        lines = (ROOT / "packaging" / "debian" / package / "control").read_text("utf-8").splitlines()
        fields = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        assert fields.get("Breaks") == fields.get("Replaces")
        for version in re.findall(r"<< ([^)]+)\)", fields.get("Breaks", "")):
            assert version == f"{PROJECT['version']}-1~"
