"""Whether a terminal's clock is set, and what setting it achieved. Pure.

A clock is set only on request, only where it is measurably wrong, and never near a burst of punches or before every
punch of the wrong clock is read: those are judged by the clock that made them.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, NamedTuple

from gateway.advice import judge_clock
from gateway.event import ClockEvidence
from gateway.texts import Message, _
from gateway.timekeeper import STEP_S

BURST_DISTANCE = timedelta(hours=2)
"""No clock is set this near to a burst of punches: a second would occur twice, or never."""
SET_TOLERANCE_MS = 1500
"""Accepted remaining offset after a clock was set: it is set to whole seconds, and setting takes time."""


class Choice(NamedTuple):
    """What to do about a clock that was requested to be set."""

    action: Literal["keep", "later", "set", "refuse"]
    """``keep``: it is right. ``later``: check again at the next poll. ``refuse``: a person has to set it."""
    reason: str | None = None
    """Why it is refused."""


class SetResult(NamedTuple):
    """What setting a clock achieved, by the measurement after it."""

    moved: bool
    """The clock changed: a note records it."""
    fault: str | None
    """Why it is not set; None where it is right now."""


def choose(
    clock: ClockEvidence,
    *,
    tolerance_s: float,
    max_set_s: float,
    zone: str,
    settable: bool,
    caught_up: bool,
    near_burst: Callable[[], bool],
) -> Choice:
    """Decide about a clock that was measured while the gateway's own clock was synchronised.

    ``near_burst`` is called only where the answer depends on it.
    """
    off = abs(timedelta(milliseconds=clock.offset_ms))
    if off <= timedelta(seconds=tolerance_s):
        return Choice("keep")
    if near_burst() or not caught_up:
        return Choice("later")
    if judge_clock(clock.offset_ms, clock.bound_ms, tolerance_s, synchronised=True) == "clock_zone":
        minutes = round(off.total_seconds() / 60)
        return Choice(
            "refuse",
            Message(
                _(
                    "it is off by {minutes} min, as a clock of another time zone: compare it, then correct timezone "
                    "({zone}) if it is right, else set it by hand"
                ),
                minutes=minutes,
                zone=zone,
            ),
        )
    if off > timedelta(seconds=max_set_s):
        return Choice(
            "refuse",
            Message(
                _("it is wrong by {seconds} s, more than max_set allows; look at it"),
                seconds=round(off.total_seconds()),
            ),
        )
    if not settable:
        return Choice("refuse", Message(_("the gateway cannot set the clock of such a terminal; set it by hand")))
    return Choice("set")


def result_of_setting(before: ClockEvidence, after: ClockEvidence | None) -> SetResult:
    """Compare the measurements before and after a clock was set; None: it shows no possible date."""
    if after is None:
        return SetResult(moved=False, fault=Message(_("it shows an impossible date after it was set")))
    moved = abs(after.offset_ms - before.offset_ms) > STEP_S * 1000 or abs(after.offset_ms) < abs(before.offset_ms)
    if abs(after.offset_ms) > after.bound_ms + SET_TOLERANCE_MS:
        return SetResult(
            moved,
            Message(_("it was set and is wrong by {seconds} s all the same"), seconds=round(after.offset_ms / 1000)),
        )
    return SetResult(moved, None)
