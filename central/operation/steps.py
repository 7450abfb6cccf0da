"""A step of ``hadir-central doctor``: what was looked at, how it stands, and the code of what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["passed", "warned", "failed"]
"""``failed`` is in the way; ``warned`` stops nothing, but has to be mended, or will be in the way soon."""


@dataclass(frozen=True, slots=True)
class Step:
    """One look and its result."""

    part: str
    """``centre``, ``broker``, ``office``, ``evidence`` or ``pages``."""
    outcome: Outcome
    finding: str
    """Code of the finding; its text and advice are formatted with ``values``."""
    values: Mapping[str, Any]


def passed(part: str, finding: str, **values: object) -> Step:
    """Return a step that found nothing in the way."""
    return Step(part, "passed", finding, values)


def warned(part: str, finding: str, **values: object) -> Step:
    """Return a step that found what stops nothing yet."""
    return Step(part, "warned", finding, values)


def failed(part: str, finding: str, **values: object) -> Step:
    """Return a step that found what is in the way."""
    return Step(part, "failed", finding, values)
