"""The log: structlog, imported without Rich, and how its lines are written.

structlog would load Rich, which is installed for tables and progress bars, to format tracebacks. The gateway formats
its own (:mod:`gateway.trace`): without Rich the daemon holds 4 MB less, and each command that logs starts sooner. That
works only while no other module of the gateway imports structlog, which a test requires.
"""

import logging
import os
import sys
from typing import TextIO

_RICH_IS_LOADED = "rich" in sys.modules
if not _RICH_IS_LOADED:
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it fails, as if it was not installed

import structlog  # noqa: E402 - see above
from structlog.processors import ExceptionRenderer  # noqa: E402

if not _RICH_IS_LOADED:
    del sys.modules["rich"]

from gateway.trace import as_value, write  # noqa: E402

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Log level → priority of the journal, see sd-daemon(3)."""

get_logger = structlog.get_logger
BoundLogger = structlog.stdlib.BoundLogger

log = get_logger("gateway")


def configure_logging() -> None:
    """Log to standard error: coloured key=value pairs on a terminal, otherwise JSON.

    Lines for systemd's journal carry their priority, so that `journalctl -p warning` selects warnings and errors.
    """
    person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            # A traceback shows places in the code, never values or a library's text: these may contain PINs and keys.
            *([] if person else [ExceptionRenderer(as_value)]),
            structlog.dev.ConsoleRenderer(exception_formatter=write)
            if person
            else (_for_the_journal if _is_journal(sys.stderr) else structlog.processors.JSONRenderer()),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    # APScheduler and paho use the standard library's logging; only their warnings are of interest.
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()])


def _is_journal(stream: TextIO) -> bool:
    """Return whether systemd's journal reads the stream, which it then identifies in the environment."""
    about = os.fstat(stream.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def _for_the_journal(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    line = structlog.processors.JSONRenderer()(logger, method, event)
    return f"<{_PRIORITIES[event['level']]}>{line!s}"


class _Libraries(logging.Handler):
    """Formats the log records of libraries like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's message template."""
        # The template without its values, which may contain personal data.
        log.warning("library_warned", library=record.name, message=str(record.msg), exc_info=record.exc_info)
