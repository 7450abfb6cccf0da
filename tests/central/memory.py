"""How much memory a piece of work takes at its peak, as Python allocates it."""

import gc
import tracemalloc
from collections.abc import Callable


def peak_growth(work: Callable[[], object]) -> int:
    """Do ``work`` and return the bytes by which the allocated memory was at most above what it was before."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
