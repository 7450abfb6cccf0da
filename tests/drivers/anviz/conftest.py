"""Simulated terminals of the tests of Anviz."""

from collections.abc import Iterator

import pytest

from drivers.anviz.simulator import Simulator
from tests.drivers.anviz.lines import line


@pytest.fixture(params=["pty", "tcp:0"])
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Serve a terminal on a pseudo terminal and on TCP."""
    with line(request.param) as simulator:
        yield simulator


@pytest.fixture
def pty() -> Iterator[Simulator]:
    """Serve a terminal on a pseudo terminal."""
    with line("pty") as simulator:
        yield simulator
