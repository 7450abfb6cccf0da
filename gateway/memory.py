"""What is asked of the C library so that a hundred threads fit a small machine; nothing is lost where it is deaf."""

import ctypes
from contextlib import suppress

_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def share_arena() -> None:
    """Let all threads, of which one runs at a time, allocate from one arena; to be called before they start."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what a morning's import has used and the library would keep for another."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
