"""Compares a terminal's clock with the gateway's: its offset, and whether it jumped. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from drivers.base import ClockReading
from gateway.event import ClockEvidence

STEP_S = 5.0
STEP_PER_S = 0.001
"""A clock has jumped when it advanced this much more or less than time; crystals drift a tenth of that."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A terminal's clock advanced more, or less, than time."""

    before: ClockEvidence
    by_s: float


class Timekeeper:
    """Compares one terminal's clock with the gateway's from visit to visit.

    A jump is judged by boot time, which cannot be set, so that a step of the gateway's clock is not attributed to the
    terminal. Only across a restart of the gateway the wall clock is used, and only if it was synchronised both times:
    the stored measurement waits until it is.
    """

    def __init__(self, zone: ZoneInfo, remembered: ClockEvidence | None) -> None:
        """``remembered`` is the last measurement of the previous process, made with a synchronised wall clock."""
        self.evidence: ClockEvidence | None = None
        """The last measurement; None where the terminal's clock cannot be read."""
        self._zone = zone
        self._remembered = remembered
        self._shown: tuple[datetime, float] | None = None

    def forget(self) -> None:
        """Discard earlier measurements: the clock was set."""
        self._shown = self._remembered = None

    def measure(
        self, reading: ClockReading | None, begun: datetime, uptime_s: float, *, synchronised: bool
    ) -> Jump | None:
        """Add a measurement, begun at ``begun`` by the gateway's clock; return the jump since the last one, if any.

        ``uptime_s`` includes suspend time, as terminals keep running. A clock that shows whole seconds is on average
        half a second ahead; that half second is part of the bound.
        """
        if reading is None:
            self.evidence = self._shown = None
            return None
        begun -= timedelta(seconds=reading.age_s)
        uptime_s -= reading.age_s
        middle = begun + timedelta(seconds=reading.round_trip_s / 2)
        displayed = reading.local_time.replace(tzinfo=self._zone) + timedelta(milliseconds=500)
        offset_ms = round((displayed - middle) / timedelta(milliseconds=1))
        evidence = ClockEvidence(offset_ms, 500 + round(reading.round_trip_s * 500), begun)
        before, self.evidence = self.evidence, evidence
        shown, self._shown = self._shown, (reading.local_time, uptime_s)
        jump = None
        if shown is not None and before is not None:
            moved_s = (reading.local_time - shown[0]).total_seconds()
            jump = _jump(before, evidence, uptime_s - shown[1], moved_s)
        remembered = self._remembered
        if synchronised and remembered is not None and jump is None:
            elapsed_s = (evidence.measured - remembered.measured).total_seconds()
            moved_s = elapsed_s + (evidence.offset_ms - remembered.offset_ms) / 1000
            jump = _jump(remembered, evidence, elapsed_s, moved_s)
        if synchronised or jump is not None:
            self._remembered = None
        return jump


def _jump(before: ClockEvidence, after: ClockEvidence, elapsed_s: float, moved_s: float) -> Jump | None:
    # A second of the two bounds is the terminal's display; the rest is what the measurements do not know.
    unknown_s = max(0.0, (before.bound_ms + after.bound_ms) / 1000 - 1.0)
    if abs(moved_s - elapsed_s) <= STEP_S + abs(elapsed_s) * STEP_PER_S + unknown_s:
        return None
    return Jump(before, moved_s - elapsed_s)
