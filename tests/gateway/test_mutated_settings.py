"""Whatever `check` accepts, `run` does not end on; the seeds of what was found once are kept."""

from pathlib import Path

import pytest

from tests.gateway.mutated_settings import attack

FOUND = (118, 134, 10104)
"""Folders with names too long, which `check` could not look at; an epoch behind which the calendar ends."""


@pytest.mark.parametrize("seed", [*FOUND, *range(12)])
def test_run_does_not_end_on_what_check_accepts(tmp_path: Path, seed: int) -> None:
    """Two values of a valid configuration changed at once."""
    attack(seed, tmp_path)
