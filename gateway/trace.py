"""Where an exception comes from, without its text: that of a foreign exception may hold a PIN or a key."""

import traceback
from pathlib import Path

_ROOT = Path(__file__).parent.parent
DEPTH = 12
"""Frames of one exception that are named, the innermost ones."""


def origin(exc: BaseException) -> str:
    """Return the type of an exception and the line that raised it: ``IndexError at drivers/line/wire.py:120``."""
    places = _places(exc)
    return f"{type(exc).__name__} at {places[-1]}" if places else type(exc).__name__


def frames(exc: BaseException) -> list[str]:
    """Return the places an exception passed, outermost first, then those of what caused it."""
    found: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = exc
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        found += [type(cause).__name__, *(f"  {place}" for place in _places(cause)[-DEPTH:])]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found


def _places(exc: BaseException) -> list[str]:
    return [
        f"{_short(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(exc.__traceback__)
    ]


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name
