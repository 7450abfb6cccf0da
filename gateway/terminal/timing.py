"""Intervals and pauses of the visits to a terminal, in seconds, and the time sources that they are measured with."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.pause import Pause
from gateway.terminal.state import Cause

PAUSES: Mapping[Cause, Pause] = {
    "unavailable": Pause(2.0, 60.0),
    "protocol": Pause(5.0, 120.0),
    # Repeated logins with a wrong key lock some terminals.
    "refused": Pause(60.0, 600.0),
    # A defect in a driver fails again on the same bytes: an early retry is useless.
    "internal": Pause(60.0, 600.0),
}


def boottime_s() -> float:
    """Return the seconds since the machine started, including those during which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Timing:
    """How long visits wait; the values suit an office, tests use shorter ones."""

    pauses: Mapping[Cause, Pause] = field(default_factory=lambda: PAUSES)
    """The pause after a failed visit, by its cause."""
    full_pause_s: float = 30.0
    """The pause after a reading that the disk had no room for."""
    listen_slice_s: float = 1.0
    """Longest wait for live events before the worker checks whether to stop or to read."""
    drain_s: float = 0.002
    """Long enough to receive what has arrived, too short to delay the work in progress."""
    idle_probe_s: float = 60.0
    """After this time without a live event the clock is read, because the connection may be dead."""
    uncounted_read_s: float = 600.0
    """Interval of reading the end of a log whose count does not show new records."""
    whole_read_s: float = 3600.0
    """Interval of reading a whole log whose end cannot be read alone; without live events, ``uncounted_read_s``."""
    rest_factor: float = 10.0
    """The pause after a reading, as a multiple of the time the terminal needed to prepare its log."""
    date_check_s: float = 6 * 3600.0
    date_check_after_outage_s: float = 300.0
    clock_set_window_s: float = 2 * 3600.0
    """How long a requested clock setting waits for a quiet hour."""
    identify_s: float = 86_400.0
    """Interval of querying firmware and platform of a terminal that is online all the time."""
    bad_record_alarm_s: float = 3600.0
    """Minimum interval between alarms about unreadable records of a line."""
    monotonic_s: Callable[[], float] = time.monotonic
    boottime_s: Callable[[], float] = boottime_s
