"""Intervals, pauses and the limit of bytes in flight of a connection to a broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.mqtt.failure import PauseKind
from gateway.pause import Pause

PAUSES: Mapping[PauseKind, Pause] = {
    "unreachable": Pause(1.0, 60.0),
    "refused": Pause(30.0, 300.0),
    # Short at first: a copied machine is detected when it and its original have each reconnected once.
    "taken_over": Pause(5.0, 600.0),
    # Of a copied ledger: the person who finds the other machine restarts this one, so automatic retries are rare.
    "replaced": Pause(86400.0, 86400.0),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a connection waits, in seconds; the values suit an office, tests use shorter ones."""

    pauses: Mapping[PauseKind, Pause] = field(default_factory=lambda: PAUSES)
    """The pause before the next connection."""
    connect_s: float = 5.0
    ack_s: float = 60.0
    """After this time without an acknowledgement the oldest message counts as lost, even if the connection stands."""
    birth_s: float = 3.0
    """How long to wait for the acknowledgement of the birth message; the retained messages arrive before it."""
    close_s: float = 2.0
    """How long to wait for acknowledgements at the end."""
    disconnect_s: float = 1.0
    """How long the library may take to write its DISCONNECT."""
    idle_s: float = 5.0
    """Longest wait for an item of the inbox."""
    retry_initial_s: float = 5.0
    retry_max_s: float = 600.0
    """Back-off of one topic without a subscriber, or that the broker refuses."""
    subscribe_again_s: float = 60.0
    """When a refused subscription is requested again."""
    missing_check_s: float = 15.0
    """Interval between checks for events that the centre lacks and that are due to be sent again."""
    ignored_log_s: float = 3600.0
    """Minimum interval between log lines about ignored messages of one kind."""
    limits_kept_s: float = 3600.0
    """How long a message size or a subscription that ended connections is not tried again."""
    short_session_s: float = 300.0
    """Connections in a row that end within this time and without a reason have a common cause.

    It is longer than the first pause after this was detected: then the other one of two machines with one client id
    detects it too.
    """
    replaced_again_s: float = 3600.0
    """Another stream seen twice within this time proves another machine."""
    fast_ack_s: float = 1.0
    slow_ack_s: float = 3.0
    """An acknowledgement within ``fast_ack_s`` raises the limit of bytes in flight, one after ``slow_ack_s`` or more
    lowers it.

    A state, an alarm or a reply waits behind all bytes in flight; and on no line, however slow, may the oldest array
    exceed ``ack_s``.
    """
    flight_initial: int = 128 * 1024
    flight_max: int = 4 * 1024**2
    """Limit of the bytes of arrays in flight: at the beginning of a connection, and its maximum."""
