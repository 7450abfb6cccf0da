"""Shipped policies: each loads, has its case file beside it, and meets it; a wheel holds all of them."""

import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from central.policy.cases import Case, read_cases
from central.policy.explain import explain
from central.policy.load import SHIPPED, Library
from central.policy.run import run_case
from central.texts import Language
from central.timesheet.rules import Ref

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


def _refs(value: object) -> Iterator[Ref]:
    """Yield every reference in rules."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _refs(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _refs(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from _refs(getattr(value, part.name))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_figure_of_a_shipped_policy_has_a_source_and_only_examples_invent(file: Path) -> None:
    """Each node of the rules names a decree; what is invented stands under examples/ and is marked as such."""
    policy = Library().load_file(file)
    refs = [ref for version in policy.versions for ref in _refs(version.rules)]
    invented = [ref.node for ref in refs if "invented" in f"{ref.decree} {ref.article}".lower()]

    assert len(refs) > 10
    assert [ref.node for ref in refs if not ref.decree] == []
    assert file.parent.name == "examples" or (invented, "[INVENTED]" in explain(policy)) == ([], False)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_explain_never_rests_what_no_decree_gives_on_a_decree(file: Path) -> None:
    """Doubts that are accepted, leave that costs nothing, and the former 450 minutes name their own source."""
    policy = Library().load_file(file)
    lines = explain(policy, Language.ENGLISH).splitlines()
    minutes = [line for line in lines if line.startswith("  450 minutes")]
    chosen = [line for line in lines if "Not taken as a doubt" in line or (" Leave " in line and "no cut" in line)]

    assert len(minutes) == 1
    assert "(PP 53/2010, elucidation of Art. 3 no. 11" in minutes[0]
    assert all(line.endswith("(no source, chosen by Hadir)") for line in chosen)
    assert chosen or file.stem == "pp-94-2021"
