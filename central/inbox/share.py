"""Which part of the gateways' messages one client id receives: all of them, or the sites of a lane."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

TOPICS = ("punch/+", "quarantine/+", "note", "note/+", "batch", "info", "state", "terminal/+/state")
"""The topics subscribed to below each gateway's prefix."""


class Subscription(NamedTuple):
    """Topics below one prefix, subscribed to together."""

    prefix: str
    """What follows ``<root>/v1/``, as ``+/+/``."""
    topics: tuple[str, ...] = TOPICS


class Change(NamedTuple):
    """What a session has to subscribe to, and what it has to leave."""

    subscribe: Sequence[Subscription] = ()
    leave: Sequence[Subscription] = ()


class Share(Protocol):
    """The part of one client id. Every method may raise StoreError; all are called by the inbox's thread."""

    publishes_results: bool
    """Whether this client publishes the results of the centre, too."""
    one_of_many: bool
    """Whether other processes may come to connect with this client id."""

    def connected(self) -> None:
        """Take note that a connection has begun: nothing is known to be subscribed on it."""

    def change(self) -> Change:
        """Return what is to be subscribed to and left now."""

    def subscribed(self, subscription: Subscription) -> None:
        """Take note that the broker has granted a subscription."""

    def left(self, subscription: Subscription) -> None:
        """Take note that the broker has ended a subscription."""

    def stores(self, topic: str) -> bool:
        """Return whether a message is to be stored; otherwise it is acknowledged only."""

    def confirms(self, gateway: str) -> bool:
        """Return whether receipts to a gateway are written here."""

    def settle(self, in_flight: frozenset[str], idle_s: float) -> bool:
        """Hand over what belongs to others; return whether the session is to end for good.

        ``in_flight``: gateways whose last receipt the broker has not acknowledged. ``idle_s``: for how long no message
        has arrived.
        """


class Everything:
    """All gateways: the share of the only inbox."""

    publishes_results = True
    one_of_many = False

    def __init__(self) -> None:
        self._subscribed = False

    def connected(self) -> None:
        """Subscribe anew."""
        self._subscribed = False

    def change(self) -> Change:
        """Return one subscription, to whatever gateway there is."""
        return Change() if self._subscribed else Change([Subscription("+/+/")])

    def subscribed(self, subscription: Subscription) -> None:  # noqa: ARG002 - there is one
        """Take note of it."""
        self._subscribed = True

    def left(self, subscription: Subscription) -> None:
        """Nothing is left."""

    def stores(self, topic: str) -> bool:  # noqa: ARG002 - all of them
        """Return True."""
        return True

    def confirms(self, gateway: str) -> bool:  # noqa: ARG002 - all of them
        """Return True."""
        return True

    def settle(self, in_flight: frozenset[str], idle_s: float) -> bool:  # noqa: ARG002 - there is no other
        """Return False: the session stays."""
        return False
