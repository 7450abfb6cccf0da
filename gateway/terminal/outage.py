"""Consecutive failed visits, and the outage that they become. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gateway.terminal.state import Cause

LOST_AFTER = 2
"""Consecutive failures after which a terminal counts as lost: a single one may be a restart."""


class Failure(NamedTuple):
    """What a failed visit means."""

    begins: bool
    """The outage begins: the ledger gets a note."""
    report: bool
    """The outage begins, or its cause is another one: the state changes and an alarm is raised."""
    is_new: bool
    """No outage has been reported with this cause."""


class Ended(NamedTuple):
    """An outage that is over."""

    since: datetime
    cause: Cause | None


@dataclass(slots=True)
class Outage:
    """Failures since the last successful visit."""

    failures: int = 0
    since: datetime | None = None
    """When the first of them was."""
    lost: bool = False
    """The outage was reported."""
    cause: Cause | None = None
    """The cause that was reported."""

    def fail(self, cause: Cause, now: datetime) -> Failure:
        """Count a failed visit. A refused visit is reported at once: it does not pass by itself."""
        self.failures += 1
        self.since = self.since or now
        is_new = not self.lost or self.cause != cause
        report = is_new and (self.failures >= LOST_AFTER or cause == "refused")
        failure = Failure(begins=report and not self.lost, report=report, is_new=is_new)
        if report:
            self.lost, self.cause = True, cause
        return failure

    def end(self) -> Ended | None:
        """Count a successful visit; return the outage that it ends, if one was reported."""
        ended = Ended(self.since, self.cause) if self.lost and self.since is not None else None
        self.failures, self.since, self.lost, self.cause = 0, None, False, None
        return ended
