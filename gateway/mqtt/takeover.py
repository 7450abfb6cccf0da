"""Detects another machine with this gateway's name: takes over its sessions, publishes another stream. Pure.

Two machines with one client id disconnect each other. A copied machine has the same ledger as its original; the copy is
the one that has the other's stream among its own earlier ones.
"""

from typing import Literal

from gateway.mqtt.failure import BrokerUnavailable

SHORT_SESSIONS_MAX = 3
"""So many short connections in a row have a common cause."""


class Takeover:
    """What the connections of this process show of another machine; times are monotonic seconds."""

    def __init__(self, short_session_s: float, replaced_again_s: float) -> None:
        self._short_session_s = short_session_s
        self._replaced_again_s = replaced_again_s
        self._short_sessions = 0
        self._taken_over = False
        """The last attempt ended because another client took over the session, by the broker's reason code."""
        self._replaced_until = 0.0
        """Until this time a further retained ``info`` of another stream counts as the second one."""
        self.accepted_stream: str | None = None
        """The stream of the last ``info`` that the broker acknowledged."""

    def session_ended(self, reason: BrokerUnavailable, lived_s: float) -> BrokerUnavailable:
        """Return the reason why a session or an attempt ended: the given one, or what explains it."""
        short = reason.unexplained and lived_s <= self._short_session_s
        self._short_sessions = self._short_sessions + 1 if short else 0
        repeated = self._short_sessions >= SHORT_SESSIONS_MAX
        self._taken_over = not repeated and reason.cause == "taken"
        return _repeatedly_disconnected() if repeated else reason

    def other_stream(
        self, stream: str, before: str, now: float, *, superseded: bool
    ) -> Literal["copy", "unknown"] | None:
        """Judge the stream of a retained ``info``: this ledger is a copy, or another machine publishes; None: neither.

        ``before`` is the stream of this ledger before the statement was judged; ``superseded`` says that ``stream`` is
        an earlier one of this ledger. That proves a copy if it is seen twice, or once directly after another client
        took over the session; a broker that lost its newest retained message shows one only once.
        """
        if self.accepted_stream is None or stream in (self.accepted_stream, before):
            return None
        if not superseded:
            return "unknown"
        if self._taken_over or now < self._replaced_until:
            return "copy"
        self._replaced_until = now + self._replaced_again_s
        return None


def _repeatedly_disconnected() -> BrokerUnavailable:
    # mosquitto 2.0.11 closes the older of two connections with one client id without giving the reason.
    return BrokerUnavailable(
        "the broker accepts the connection and ends it soon after, again and again: most likely another machine uses "
        "the same `site` and `gateway`; otherwise look at the broker's limits and its log",
        "taken_over",
        "client_id_taken",
        cause="taken",
    )


def session_taken_over() -> BrokerUnavailable:
    """Return the end of a session that another client took over, by the broker's reason code."""
    return BrokerUnavailable(
        "another client has connected with this gateway's client id and taken its place: two machines share "
        "one `site` and `gateway`; change one of them",
        "taken_over",
        "client_id_taken",
        cause="taken",
    )


def ledger_is_copy() -> BrokerUnavailable:
    """Return the reason why a copied ledger publishes nothing more."""
    return BrokerUnavailable(
        "another machine is at work with the ledger that this one was copied from and the same `site` "
        "and `gateway`; this copy publishes nothing more. Give one of them another name, or switch it off, "
        "and restart the one that is to go on",
        "replaced",
        "client_id_taken",
        cause="replaced",
    )
