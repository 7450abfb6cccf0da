"""MQTT messages made of events: one event on its own topic, or an array of bounded size on ``batch``. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ledger import StoredEvent

BATCH = "batch"
"""The topic of arrays, below the prefix."""
_BRACKETS = 2
"""Bytes of the brackets around an array."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message and its events, in the order of their sequence."""

    topic: str
    """Below the prefix."""
    events: Sequence[StoredEvent]
    body: bytes


def single(event: StoredEvent, limit: int) -> Message | None:
    """Return an event as a message of its own; None where its body, which never changes, exceeds ``limit`` bytes."""
    body = event.body.encode()
    return Message(event.topic, (event,), body) if len(body) <= limit else None


class Array:
    """An array under construction, of at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._left = limit - _BRACKETS
        self._events: list[StoredEvent] = []
        self._bodies: list[bytes] = []

    def add(self, event: StoredEvent) -> bool:
        """Add an event; False where it would exceed the limit."""
        body = event.body.encode()
        if len(body) > self._left:
            return False
        self._left -= len(body) + 1
        self._events.append(event)
        self._bodies.append(body)
        return True

    def message(self) -> Message | None:
        """Return the message; None where the array is empty."""
        return Message(BATCH, self._events, b"[" + b",".join(self._bodies) + b"]") if self._events else None
