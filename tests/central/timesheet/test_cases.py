"""The worked examples of the centre: every case holds, in whatever order its facts stand."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from central.policy.cases import Case, read_cases
from central.policy.load import Library
from central.policy.run import run_case

FOLDER = Path(__file__).parent
LIBRARY = Library()
CASES = [case for file in sorted(FOLDER.glob("*.cases.yaml")) for case in read_cases(file)]


def _shuffled(case: Case, seed: int) -> Case:
    random = Random(seed)
    span = case.span
    return replace(
        case,
        span=replace(
            span,
            days=tuple(random.sample(span.days, len(span.days))),
            punches=tuple(random.sample(span.punches, len(span.punches))),
            leave=tuple(random.sample(span.leave, len(span.leave))),
            orders=tuple(random.sample(span.orders, len(span.orders))),
            doubts=tuple(random.sample(span.doubts, len(span.doubts))),
        ),
    )


def test_every_case_is_well_formed() -> None:
    """None is set aside as broken, and none of the first set is lost."""
    assert [str(case) for case in CASES if not isinstance(case, Case)] == []
    assert len(CASES) >= 63


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case, Case)], ids=lambda case: case.name)
def test_case_holds_in_any_order(case: Case) -> None:
    """Punches, leave, orders, doubts and days may stand in any order; results, reasons and digests are the same."""
    outcome = run_case(case, LIBRARY)

    assert (outcome.error, [str(difference) for difference in outcome.differences]) == (None, [])
    for seed in range(3):
        assert run_case(_shuffled(case, seed), LIBRARY).results == outcome.results
