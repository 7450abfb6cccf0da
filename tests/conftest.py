"""What holds for every process that runs tests."""

import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.postgres import Server

# A suite that a shell starts in the background ignores SIGINT, and so would each program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Other work on the machine delays one example, or the making of examples, by seconds: no property has a time limit.
settings.register_profile("busy", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Undo how a command that ran in this process configured the log: it keeps the stream of the test that ran it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Yield the PostgreSQL server of this process's tests, started for the first test that needs it."""
    with Server() as server:
        yield server


@pytest.fixture
def database_url(postgres: Server) -> Iterator[str]:
    """Yield the URL of an empty database of its own on that server; afterwards it is deleted."""
    name = postgres.fresh()
    yield postgres.url(name)
    postgres.drop(name)
