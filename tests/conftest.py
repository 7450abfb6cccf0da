"""What holds for every process that runs tests."""

import signal
from collections.abc import Iterator

import pytest
import structlog

# A suite that a shell starts in the background ignores SIGINT, and so would each program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Undo how a command that ran in this process configured the log: it keeps the stream of the test that ran it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
