"""What may be shown of an exception: never the words of a library, which may repeat a PIN, a name or a body.

SQLAlchemy's texts hold the parameters of a statement, SQLite's the text it could not decode, a parser's its input. Our
own exceptions say what they may; of any other, type, place in the code and the meaning of an errno are enough.
"""

import errno
import os
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

from drivers.base import DriverError

_OURS = ("gateway.", "drivers.", "central.")
_CHAIN_MOST = 8

_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


def described(exc: BaseException) -> str:
    """Return an exception's type, and what may be shown of its text."""
    kind = type(exc).__name__
    text = words_of(exc)
    return f"{kind}: {text}" if text else kind


def words_of(exc: BaseException) -> str | None:
    """Return the words of our own exceptions, or the system's of an error number; None of any other exception."""
    if isinstance(exc, DriverError) or type(exc).__module__.startswith(_OURS):
        return str(exc)
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno in errno.errorcode:
        return f"{errno.errorcode[exc.errno]}, {os.strerror(exc.errno)}"
    return getattr(exc, "sqlite_errorname", None)


def trace(exc: BaseException) -> Iterator[dict[str, Any]]:
    """Yield an exception and those that led to it, the last one first: type, text, and places in the code."""
    following: BaseException | None = exc
    for _ in range(_CHAIN_MOST):
        if following is None:
            return
        frames = traceback.extract_tb(following.__traceback__)
        found: dict[str, Any] = {"type": type(following).__name__, "text": words_of(following)}
        if isinstance(following, BaseExceptionGroup):
            found["holds"] = [described(one) for one in following.exceptions[:_CHAIN_MOST]]
        yield found | {"frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def as_value(exc_info: _ExcInfo) -> list[dict[str, Any]]:
    """Return the trace of an exception that is logged, for a program."""
    return [] if exc_info[1] is None else list(trace(exc_info[1]))


def write(stream: TextIO, exc_info: _ExcInfo) -> None:
    """Write the trace of an exception that is logged, for a person."""
    stream.write("\n" + as_text(exc_info[1]) if exc_info[1] is not None else "")


def as_text(exc: BaseException) -> str:
    """Return the trace of an exception as lines."""
    lines = ["Traceback, the last call of each exception last:"]
    for found in trace(exc):
        text = f": {found['text']}" if found["text"] else ""
        lines += [f"{found['type']}{text}", *(f"  {frame}" for frame in found["frames"]), *found.get("holds", ())]
    return "\n".join(lines)
