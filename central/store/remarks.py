"""Log lines of a transaction: they are written when it is on disk."""

from collections.abc import Iterable
from typing import Any

import structlog

Remark = tuple[str, str, dict[str, Any]]
"""Level, event and fields of a line of the log."""

log = structlog.get_logger("store")


def write(remarks: Iterable[Remark]) -> None:
    """Write the lines, in their order."""
    for level, event, fields in remarks:
        getattr(log, level)(event, **fields)
