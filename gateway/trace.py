"""Formats exceptions without personal data: the text of a library may repeat a PIN, a name or a body.

SQLAlchemy's texts contain the parameters of a statement, SQLite's the text it could not decode, a parser's its input.
The project's own exceptions are safe; of any other only type, place in the code and the meaning of an errno are shown.
"""

import errno
import os
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

from drivers.base import DriverError

_OURS = ("gateway.", "drivers.", "central.")
_ROOT = Path(__file__).parent.parent
DEPTH = 12
"""Maximum number of shown places of one exception, the innermost ones."""
CHAIN = 8
"""Maximum number of shown exceptions of one chain or group."""

_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


def safe_message(exc: BaseException) -> str | None:
    """Return the text of the project's own exceptions, or the system's for an errno; None for any other."""
    if isinstance(exc, DriverError) or type(exc).__module__.startswith(_OURS):
        return str(exc)
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno in errno.errorcode:
        return f"{errno.errorcode[exc.errno]}, {os.strerror(exc.errno)}"
    return getattr(exc, "sqlite_errorname", None)


def described(exc: BaseException) -> str:
    """Return an exception's type and its safe text."""
    kind = type(exc).__name__
    text = safe_message(exc)
    return f"{kind}: {text}" if text else kind


def origin(exc: BaseException) -> str:
    """Return the type of an exception and the line that raised it: ``IndexError at drivers/line/wire.py:120``."""
    places = _places(exc)
    return f"{type(exc).__name__} at {places[-1]}" if places else type(exc).__name__


def trace(exc: BaseException) -> list[str]:
    """Return an exception and its causes, the last one first: type and safe text, then places in the code."""
    found: list[str] = []
    following: BaseException | None = exc
    for _ in range(CHAIN):
        if following is None:
            break
        found += [described(following), *(f"  {place}" for place in _places(following)[-DEPTH:])]
        if isinstance(following, BaseExceptionGroup):
            found += [f"  holds {described(one)}" for one in following.exceptions[:CHAIN]]
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return found


def as_text(exc: BaseException) -> str:
    """Return the trace of an exception for a person."""
    return "\n".join(["Traceback, the last call of each exception last:", *trace(exc)])


def as_value(exc_info: _ExcInfo) -> list[str]:
    """Return the trace of an exception that is logged, for a program."""
    return [] if exc_info[1] is None else trace(exc_info[1])


def write(stream: TextIO, exc_info: _ExcInfo) -> None:
    """Write the trace of an exception that is logged, for a person."""
    stream.write("\n" + as_text(exc_info[1]) if exc_info[1] is not None else "")


def _places(exc: BaseException) -> list[str]:
    return [
        f"{_short(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(exc.__traceback__)
    ]


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name
