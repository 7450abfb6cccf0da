"""Imports the modules of the command line when they are needed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def default_interrupt() -> Iterator[None]:
    """While modules are imported, Ctrl-C ends the process by the default action of SIGINT: without a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def load(name: str) -> Any:
    """Import a module of ``gateway.cli`` by its own name and return it."""
    with default_interrupt():
        return import_module(f"gateway.cli.{name}")
