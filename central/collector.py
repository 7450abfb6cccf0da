"""Python's garbage collector, paused while a batch makes very many objects without reference cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep the collector from looking through the objects of a batch again and again, a tenth of the batch's time.

    As a decorator it ends when the function's own objects are gone, so that the collector does not look at them once.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
