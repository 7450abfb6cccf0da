"""The log of the programs that run on: lines on standard error."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer


def configure_logging() -> None:
    """Log to standard error: JSON, or coloured key=value lines on a terminal."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # A traceback shows lines of code without the values in them: those may be PINs.
            *([] if terminal else [ExceptionRenderer(ExceptionDictTransformer(show_locals=False))]),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if terminal
            else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


class _StandardError:
    """Standard error for log lines. A line that cannot be written (full disk, closed pipe) is lost; no exception."""

    def write(self, text: str) -> None:
        """Write to the descriptor: a text stream would keep a failed line and fail again when the process ends."""
        data = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            while data:
                data = data[os.write(sys.stderr.fileno(), data) :]

    def flush(self) -> None:
        """Nothing is buffered."""
