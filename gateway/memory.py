"""Memory settings of the C library for a hundred threads on a small machine; without effect on other libraries."""

import ctypes
from contextlib import suppress

_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def share_arena() -> None:
    """Let all threads, of which one runs at a time, allocate from one arena; called before they start."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def release_memory() -> None:
    """Return free memory to the system, which the library would keep after a large import."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
