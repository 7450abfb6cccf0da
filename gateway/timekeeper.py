"""A terminal's clock beside ours: how far it is off, and whether it has jumped. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drivers.base import ClockReading
from gateway.event import ClockEvidence

STEP_S = 5.0
STEP_PER_S = 0.001
"""A clock has jumped when it moved this much more or less than time did; crystals drift a tenth of that."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A terminal's clock moved more, or less, than time did."""

    before: ClockEvidence
    by_s: float


class Timekeeper:
    """Compares one terminal's clock with ours from visit to visit.

    A jump is judged against time that nobody can set, so that a step of our own is not taken for one of the terminal's;
    only across our own restart against the wall clock, and then only if that was synchronised both times: what is
    remembered waits until it is.
    """

    def __init__(self, zone: ZoneInfo, remembered: ClockEvidence | None) -> None:
        """``remembered`` is the last measurement of the process before this one, made with a trusted wall clock."""
        self.evidence: ClockEvidence | None = None
        """The last measurement; None where the terminal's clock cannot be read."""
        self._zone = zone
        self._remembered = remembered
        self._shown: tuple[datetime, float] | None = None

    def forget(self) -> None:
        """Compare the next measurement with nothing before it: the clock was set."""
        self._shown = self._remembered = None

    def measure(
        self, reading: ClockReading | None, asked: datetime, uptime_s: float, *, synchronised: bool
    ) -> Jump | None:
        """Take a measurement, begun at ``asked`` by our clock; return the jump since the last one, if there was any.

        ``uptime_s`` goes on while the machine sleeps, as terminals do. A clock that shows whole seconds is on average
        half a second further; that half second is part of the bound.
        """
        if reading is None:
            self.evidence = self._shown = None
            return None
        middle = asked + timedelta(seconds=reading.round_trip_s / 2)
        displayed = reading.local_time.replace(tzinfo=self._zone) + timedelta(milliseconds=500)
        offset_ms = round((displayed - middle) / timedelta(milliseconds=1))
        evidence = ClockEvidence(offset_ms, 500 + round(reading.round_trip_s * 500), asked)
        before, self.evidence = self.evidence, evidence
        shown, self._shown = self._shown, (reading.local_time, uptime_s)
        jump = None
        if shown is not None and before is not None:
            jump = _jump(before, uptime_s - shown[1], (reading.local_time - shown[0]).total_seconds())
        remembered = self._remembered
        if synchronised and remembered is not None and jump is None:
            elapsed_s = (evidence.measured - remembered.measured).total_seconds()
            jump = _jump(remembered, elapsed_s, elapsed_s + (evidence.offset_ms - remembered.offset_ms) / 1000)
        if synchronised or jump is not None:
            self._remembered = None
        return jump


def _jump(before: ClockEvidence, elapsed_s: float, moved_s: float) -> Jump | None:
    if abs(moved_s - elapsed_s) <= STEP_S + abs(elapsed_s) * STEP_PER_S:
        return None
    return Jump(before, moved_s - elapsed_s)
