"""A short torment in every run of the tests; `make torture SEEDS=200` is the long one."""

from pathlib import Path

import pytest

from tests.torture.disk import compiled
from tests.torture.harness import Torture


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the disk that can lose power, compiled."""
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.mark.parametrize("seed", [1, 3])
def test_every_record_arrives_once_whatever_breaks(seed: int, tmp_path: Path, library: Path) -> None:
    """Terminals, ledger and centre agree, chains are unbroken, receipts cover everything."""
    outcome = Torture(seed, tmp_path, library).run(for_s=5.0)

    assert outcome.did.total() > 0
    assert outcome.events >= outcome.records > 0
