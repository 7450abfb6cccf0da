"""Events become messages: one alone on its own topic, or many as an array, never larger than may be sent. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ledger import Waiting

BATCH = "batch"
"""The topic of arrays, below the prefix."""
_CLOSE = 2
"""Bytes of the brackets around an array."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message and the events in it, in the order of their sequence."""

    topic: str
    """Below the prefix."""
    events: Sequence[Waiting]
    body: bytes


def single(event: Waiting, room: int) -> Message | None:
    """Return an event as a message of its own; None where its bytes, which never change, are more than ``room``."""
    body = event.body.encode()
    return Message(event.topic, (event,), body) if len(body) <= room else None


class Array:
    """An array that is being filled with events, up to ``room`` bytes."""

    def __init__(self, room: int) -> None:
        self._left = room - _CLOSE
        self._events: list[Waiting] = []
        self._bodies: list[bytes] = []

    def take(self, event: Waiting) -> bool:
        """Add an event; False where there is no room for it."""
        body = event.body.encode()
        if len(body) > self._left:
            return False
        self._left -= len(body) + 1
        self._events.append(event)
        self._bodies.append(body)
        return True

    def message(self) -> Message | None:
        """Return the message; None where nothing is in it."""
        return Message(BATCH, self._events, b"[" + b",".join(self._bodies) + b"]") if self._events else None
