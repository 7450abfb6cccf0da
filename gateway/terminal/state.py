"""The present state of a terminal, as it is published and shown. Plain data."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from drivers.base import Reason, Sizes, TerminalInfo
from gateway.event import ClockEvidence, utc_text

Cause = Literal["unavailable", "refused", "protocol", "internal"]
"""Why a terminal is offline."""
Medium = Literal["none", "reading", "safe"]

UNREAD_LISTED_MAX = 20
"""Maximum number of unread files that the state names."""


class Complete(NamedTuple):
    """The watermark of a terminal: everything that its log held at ``until`` is in a stream up to ``sequence``."""

    until: datetime
    stream: str
    sequence: int

    def payload(self) -> dict[str, str]:
        """Return it as ``complete`` of the state message."""
        return {"until": utc_text(self.until), "stream": self.stream, "sequence": f"{self.sequence:020d}"}


@dataclass(slots=True)
class TerminalState:
    """The present state of a terminal; published as a retained message, and shown by `hadir status`."""

    online: bool = False
    since: datetime | None = None
    reason: str | None = "not visited yet"
    reason_code: Reason | None = None
    """The reason for programs, where it is a known one; not part of the message."""
    cause: Cause | None = None
    serial: str | None = None
    info: TerminalInfo | None = None
    layout: str | None = None
    clock: ClockEvidence | None = None
    sizes: Sizes = field(default_factory=lambda: Sizes(None, None))
    last_punch: str | None = None
    last_visit: datetime | None = None
    medium: Medium | None = None
    """Flash disk of a terminal without a network: absent, being read, or safe to remove; None for others."""
    unread: dict[str, str] = field(default_factory=dict)
    """Mark → name of the files in the folder that look like exports and are not read. Never changed in place."""
    last_full_reading: datetime | None = None
    reconciliation: dict[str, Any] | None = None
    """The result of the last full reading of this run of the daemon; published with the tallies."""
    last_new: datetime | None = None
    """When a new record was last received from it."""
    full_on: date | None = None
    """The day on which its log will be full at the rate of the last weeks."""
    silent_since: datetime | None = None
    """Start of the silence, while it is longer than is usual for this terminal."""
    complete: Complete | None = None
    """How far its log is known to be stored; it goes back only from a moment
    that has not come, stated while the clock was ahead. None where that cannot be said."""

    def payload(self) -> dict[str, Any]:
        """Return the message of ``terminal/<name>/state``."""
        clock = self.clock
        return {
            "state": "online" if self.online else "offline",
            "since": _utc(self.since),
            "reason": self.reason,
            "cause": self.cause,
            "serial": self.serial,
            "model": self.info.model if self.info else None,
            "firmware": self.info.firmware if self.info else None,
            "layout": self.layout,
            "clock": None
            if clock is None
            else {"offset_ms": clock.offset_ms, "bound_ms": clock.bound_ms, "measured": utc_text(clock.measured)},
            "records": self.sizes.records,
            "capacity": self.sizes.capacity,
            "last_punch": self.last_punch,
            "last_visit": _utc(self.last_visit),
            "medium": self.medium,
            "unread": None
            if self.medium is None
            else {"files": len(self.unread), "names": sorted(self.unread.values())[:UNREAD_LISTED_MAX]},
            "last_full_reading": _utc(self.last_full_reading),
            "fills": self.full_on.isoformat() if self.full_on else None,
            "silent_since": _utc(self.silent_since),
            "complete": self.complete.payload() if self.complete else None,
        }


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)
