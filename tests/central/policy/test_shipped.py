"""Shipped policies: each loads, has its case file beside it, and meets it; a wheel holds all of them."""

import tomllib
from pathlib import Path

import pytest

from central.policy.cases import Case, read_cases
from central.policy.load import SHIPPED, Library
from central.policy.run import run_case

ROOT = Path(__file__).parents[3]
FILES = sorted(path for path in (ROOT / "config/policies").rglob("*.yaml") if not path.name.endswith(".cases.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_shipped_policy_meets_its_case_file(file: Path) -> None:
    """The case file has the policy's name and at least one case; every case holds."""
    library = Library()
    cases = read_cases(file.with_name(f"{file.stem}.cases.yaml"))
    faults = []
    for case in cases:
        if not isinstance(case, Case):
            faults.append(str(case))
        elif not (outcome := run_case(case, library)).passed:
            faults.append(f"{case.name}: {outcome.error} {[str(difference) for difference in outcome.differences]}")

    assert library.load_file(file).name == file.stem
    assert cases
    assert faults == []


def test_a_wheel_holds_every_shipped_policy() -> None:
    """What setuptools takes from the package central.policies, a link to config/policies, is every file there."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {path.resolve() for pattern in patterns["central.policies"] for path in SHIPPED.glob(pattern)}

    assert len(FILES) > 5
    assert set((ROOT / "config/policies").rglob("*.yaml")) == packed
