"""Events become messages: one alone on its own topic, or many as an array, never larger than may be sent. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from gateway.ledger import Waiting

BATCH = "batch"
"""The topic of arrays, below the prefix."""
_CLOSE = 2
"""Bytes of the brackets around an array."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message and the events in it, in the order of their sequence."""

    topic: str
    """Below the prefix."""
    events: Sequence[Waiting]
    body: bytes


def single(event: Waiting, room: int) -> Parcel | None:
    """Return an event as a message of its own, of at most ``room`` bytes; None where it cannot be made so small."""
    body = fitted(event, room)
    return None if body is None else Parcel(event.topic, (event,), body)


class Array:
    """An array that is being filled with events, up to ``room`` bytes."""

    def __init__(self, room: int) -> None:
        self._left = room - _CLOSE
        self._events: list[Waiting] = []
        self._bodies: list[bytes] = []

    def take(self, event: Waiting) -> bool:
        """Add an event; False where there is no room for it. The first is made as small as it must be."""
        body = fitted(event, self._left) if not self._events else event.body.encode()
        if body is None or len(body) > self._left:
            return False
        self._left -= len(body) + 1
        self._events.append(event)
        self._bodies.append(body)
        return True

    def parcel(self) -> Parcel | None:
        """Return the message; None where nothing is in it."""
        return Parcel(BATCH, self._events, b"[" + b",".join(self._bodies) + b"]") if self._events else None


def fitted(event: Waiting, room: int) -> bytes | None:
    """Return the event's bytes as they are stored; where these are more than ``room``, without ``data.raw``.

    In the place of ``raw`` then stands its hash. The digest remains that of the whole event. None where even that does
    not fit.
    """
    body = event.body.encode()
    if len(body) <= room:
        return body
    content = json.loads(body)
    raw = content["data"].get("raw")
    if raw is None:
        return None
    content["data"] |= {"raw": None, "raw_sha256": sha256(bytes.fromhex(raw)).hexdigest()}
    body = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return body if len(body) <= room else None
