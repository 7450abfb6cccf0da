"""Maps errors and clock offsets to findings for people. Pure: the texts are in :mod:`gateway.cli.messages`.

Used by the doctor, the status page, `hadir status`, and the setting of clocks.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

ZONES_MS = 26 * 3_600_000
"""No two time zones differ by more."""
HOUR_MS, QUARTER_MS = 3_600_000, 900_000
"""Zones differ by whole hours, some by quarters of an hour."""
LEAST_ZONE_MS = 30 * 60_000
"""A smaller offset counts as a wrong clock: hardly any two zones are so close."""
NEAR_HOUR_MS, NEAR_QUARTER_MS = 300_000, 120_000
"""Maximum distance from a multiple of them at which a clock counts as one of another zone."""

ClockFinding = Literal["clock_right", "clock_zone", "clock_off", "clock_unjudged"]


class Obstacle(NamedTuple):
    """What prevents reading a terminal."""

    step: str
    """The doctor's step that fails."""
    name: str
    """The doctor's finding, which has a text and advice."""


_BY_REASON: Mapping[str, Obstacle] = {
    "name_unknown": Obstacle("route", "terminal_name_unknown"),
    "no_route": Obstacle("route", "no_route"),
    "port_closed": Obstacle("port", "port_closed"),
    "port_permission": Obstacle("port", "port_permission"),
    "port_in_use": Obstacle("port", "port_in_use"),
    "port_missing": Obstacle("port", "port_missing"),
    "files_unreadable": Obstacle("port", "files_unreadable"),
    "key_file": Obstacle("key", "key_file"),
    "key_refused": Obstacle("key", "key_refused"),
    "encrypted": Obstacle("key", "encrypted"),
    "access_panel": Obstacle("key", "panel"),
    "serial_unreported": Obstacle("serial", "serial_not_told"),
    "serial_differs": Obstacle("serial", "serial_differs"),
    "serial_twice": Obstacle("serial", "serial_twice"),
    "not_called": Obstacle("route", "not_called"),
    "first_call": Obstacle("route", "first_call"),
    "service_missing": Obstacle("key", "service_missing"),
    "log_cut": Obstacle("record", "log_cut"),
    "layout_unknown": Obstacle("record", "layout_unknown"),
}
"""Value of a :class:`drivers.base.Reason` → its meaning. With the class, `hadir status` would import all drivers."""
_BY_CAUSE = {
    "unavailable": Obstacle("port", "silent"),
    "protocol": Obstacle("key", "not_a_terminal"),
    "refused": Obstacle("key", "refuses"),
    "internal": Obstacle("key", "driver_failed"),
}
"""Meaning of any other error, by its kind."""

BROKER_FINDINGS: Mapping[str, str] = {
    "name": "broker_name_unknown",
    "no_route": "no_route",
    "silent": "broker_silent",
    "port": "broker_refuses_port",
    "certificate": "not_trusted",
    "tls": "no_tls",
    "files": "login_files",
    "login": "login_refused",
    "refused": "connection_refused",
    "taken": "client_taken",
    "replaced": "copy_stopped",
    "broke": "broker_broke",
}
"""Why the broker is not connected (:data:`gateway.mqtt.failure.BrokerCause`) → the doctor's finding."""


def obstacle(cause: str | None, reason: str | None) -> Obstacle:
    """Return what an error of a terminal means.

    ``cause`` is the kind of error, as in the terminal's state; ``reason`` a :class:`drivers.base.Reason` or its value.
    """
    found = _BY_REASON.get(reason or "")
    return found or _BY_CAUSE.get(cause or "", _BY_CAUSE["unavailable"])


def judge_clock(offset_ms: int, bound_ms: int, tolerance_s: float, *, synchronised: bool) -> ClockFinding:
    """Return the finding for a terminal's clock that is ``offset_ms`` ± ``bound_ms`` ahead of the gateway's.

    ``clock_zone``: by about whole hours or quarters of one, most likely another time zone in the configuration than at
    the terminal, whose clock is then right. ``clock_unjudged``: otherwise, while the gateway's clock is not
    ``synchronised`` and may be the wrong one.
    """
    if abs(offset_ms) <= max(tolerance_s * 1000, bound_ms):
        return "clock_right"
    if _is_zone(offset_ms, bound_ms):
        return "clock_zone"
    return "clock_off" if synchronised else "clock_unjudged"


def _is_zone(offset_ms: int, bound_ms: int) -> bool:
    if abs(offset_ms) > ZONES_MS + NEAR_HOUR_MS:
        return False
    for unit, near in ((HOUR_MS, NEAR_HOUR_MS), (QUARTER_MS, NEAR_QUARTER_MS)):
        nearest = round(offset_ms / unit) * unit
        if abs(nearest) >= LEAST_ZONE_MS and abs(offset_ms - nearest) <= near + bound_ms:
            return True
    return False
