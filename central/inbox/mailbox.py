"""The bounded queue between the connections' threads and the inbox: messages and the broker's answers, in order."""

import threading
from collections import deque
from typing import Any, NamedTuple

from central.wire import BoundedClient, PublishPacket

MAX_QUEUED_BYTES = 2 * 1024 * 1024
"""Bound of the queue; while it is full, the broker's connection is not read."""
_ITEM_BYTES = 1024
"""Counted for a queue item beside its topic and payload."""


class Connected(NamedTuple):
    """The broker has answered a connection."""

    code: int
    text: str
    session_present: bool
    max_packet: int | None
    """Bytes of a packet that the broker takes; None: any."""


class Subscribed(NamedTuple):
    """The broker has answered a subscription, one code for each topic."""

    codes: tuple[int, ...]


class Unsubscribed(NamedTuple):
    """The broker has ended a subscription."""


class Published(NamedTuple):
    """The broker has answered a message."""

    mid: int
    code: int


class Disconnected(NamedTuple):
    """The connection has ended."""

    code: int
    text: str
    by_broker: bool
    """The broker sent this reason; otherwise the library derived it."""


STOP = object()
"""An item that only wakes the inbox."""


class Mailbox:
    """The bounded queue between the connections' threads and the inbox: messages and answers, in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[tuple[BoundedClient | None, Any]] = deque()
        self._size = 0
        self._released: BoundedClient | None = None

    def put(self, client: BoundedClient | None, item: Any) -> None:
        """Add an item; block while the queue is full, so that the connection is not read meanwhile.

        A full queue discards items of a released connection: their messages were not acknowledged, so the broker sends
        them again. An item without a client never blocks, and the answer to a message of ours does not either: paho
        holds the lock meanwhile that the inbox needs to publish, and then neither would go on. There are at most as
        many answers as the inbox has published.
        """
        with self._changed:
            if client is not None and not isinstance(item, Published):
                self._changed.wait_for(lambda: self._size < MAX_QUEUED_BYTES or client is self._released)
                if self._size >= MAX_QUEUED_BYTES:
                    return
            self._items.append((client, item))
            self._size += queued_bytes(item)
            self._changed.notify_all()

    def get(self, timeout_s: float) -> tuple[BoundedClient | None, Any] | None:
        """Return the oldest item; None if the queue stays empty."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items, timeout_s):
                return None
            client, item = self._items.popleft()
            self._size -= queued_bytes(item)
            self._changed.notify_all()
            return client, item

    def release(self, client: BoundedClient) -> None:
        """Stop blocking the thread of a connection, so that it can end."""
        with self._changed:
            self._released = client
            self._changed.notify_all()


def queued_bytes(item: Any) -> int:
    """Return about how much an item takes."""
    return _ITEM_BYTES + (len(item.topic) + len(item.payload) if isinstance(item, PublishPacket) else 0)
