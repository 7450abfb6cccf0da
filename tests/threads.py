"""Threads that are to end with an exception."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def thread_failures() -> Iterator[list[BaseException]]:
    """Yield a list of the exceptions that end threads inside the block, where the daemon would end with them."""
    failures: list[BaseException] = []

    def note(failed: threading.ExceptHookArgs) -> None:
        assert failed.exc_value is not None
        failures.append(failed.exc_value)

    before, threading.excepthook = threading.excepthook, note
    try:
        yield failures
    finally:
        threading.excepthook = before
