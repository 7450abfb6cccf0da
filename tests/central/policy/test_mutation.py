"""Mutated case files and policies: nothing comes out but results and the loader's own errors."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central.policy.cases import Case, read_cases
from central.policy.document import DocumentError, parse
from central.policy.load import Library, PolicyError
from central.policy.run import run_case
from tests.mutation import encode_json, mutate_json, mutate_text

CENTRAL = Path(__file__).parents[1]
SEEDS = 5


@cache
def _documents(folder: str, pattern: str) -> list[Any]:
    """Return what files of examples hold, without places."""
    return [parse(file.read_text("utf-8"), str(file)).plain() for file in sorted((CENTRAL / folder).glob(pattern))]


def _run(path: Path, library: Library) -> int:
    """Read and judge a case file; return how many cases were judged or refused by name."""
    try:
        cases = read_cases(path)
    except DocumentError as error:
        return 0 if error.place.line >= 1 else -1
    outcomes = [run_case(case, library) for case in cases if isinstance(case, Case)]
    assert all(outcome.results or outcome.error for outcome in outcomes)
    return len(outcomes)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_mutated_cases_end_in_results_or_named_errors(seed: int, tmp_path: Path) -> None:
    """A case with none, one or two changes, as JSON, which is YAML; and its text with two tokens exchanged."""
    random = Random(seed)
    files = [*_documents("timesheet", "*.cases.yaml"), *_documents("policy", "refused.cases.yaml")]
    (tmp_path / "policies").symlink_to(CENTRAL / "timesheet/policies")
    library = Library()
    path = tmp_path / "mutated.cases.yaml"
    judged = 0
    for form in range(12):
        case = random.choice(random.choice(files)["cases"])
        if form % 4:
            path.write_bytes(encode_json({"cases": [mutate_json(case, random, times=form % 4 - 1)]}))
        else:
            path.write_text(mutate_text(json.dumps({"cases": [case]}), random), "utf-8", "surrogatepass")
        judged += _run(path, library)
    assert judged > 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_mutated_policies_are_loaded_or_refused_by_name(seed: int, tmp_path: Path) -> None:
    """Every mistake has a place and a node."""
    random = Random(seed)
    path = tmp_path / "mutated.yaml"
    (tmp_path / "graded.yaml").write_bytes((CENTRAL / "timesheet/policies/graded.yaml").read_bytes())
    for form in range(8):
        policy = random.choice(_documents("timesheet/policies", "*.yaml"))
        if form % 4:
            path.write_bytes(encode_json(mutate_json(policy, random)))
        else:
            path.write_text(mutate_text(json.dumps(policy), random), "utf-8", "surrogatepass")
        assert _is_loaded_or_named(path)


def _is_loaded_or_named(path: Path) -> bool:
    try:
        return bool(Library().load_file(path).versions)
    except PolicyError as error:
        return bool(error.problems) and all(found.place.line >= 1 and found.node for found in error.problems)
    except DocumentError as error:
        return error.place.line >= 1
