"""Bounded mailbox of the messages that a broker delivers to this gateway."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from paho.mqtt import client as mqtt

from gateway.commands import REQUEST_BYTES

INFO = "info"
RECEIPT = "receipt"
REQUESTS = "cmd/+"
"""Topics below the prefix that are subscribed to."""
CORRELATION_BYTES = 4 * 1024
"""Maximum length of a request's correlation data, which its reply repeats."""
REQUESTS_WAITING_MAX = 32
"""Maximum number of requests in the mailbox; further ones are ignored."""


class Received(NamedTuple):
    """The used parts of a received message; the library's object may hold any number of properties."""

    topic: str
    """Below the prefix."""
    payload: bytes
    """A request that is too long is cut one byte behind the limit, which shows that it is too long."""
    retain: bool
    at: float
    """Monotonic time of its arrival."""
    response_topic: str
    correlation: bytes | None
    expiry_s: int | None


class Mailbox:
    """The newest ``info`` and ``receipt``, and a limited number of requests.

    ``wake`` is called once when the empty mailbox receives something.
    """

    def __init__(self, prefix: str, wake: Callable[[], None]) -> None:
        self._begin = f"{prefix}/"
        self._wake = wake
        self._lock = threading.Lock()
        self._woken = False
        self._newest: dict[str, Received] = {}
        self._requests: list[Received] = []
        self._ignored: Counter[str] = Counter()

    def put(self, message: mqtt.MQTTMessage) -> None:
        """Add a message, or count it as ignored. Called from the library's thread; raises nothing."""
        try:
            received = self._received(message)
        except Exception as exc:  # noqa: BLE001 - an error caused by a message costs that message only
            received = type(exc).__name__
        with self._lock:
            if isinstance(received, str):
                self._ignored[received] += 1
            elif received.topic in (INFO, RECEIPT):
                self._newest[received.topic] = received
            elif len(self._requests) < REQUESTS_WAITING_MAX:
                self._requests.append(received)
            else:
                self._ignored["too many requests at once"] += 1
            if not self._woken:
                self._woken = True
                self._wake()

    def _received(self, message: mqtt.MQTTMessage) -> Received | str:
        """Return the used parts of a message, or the reason why it is ignored."""
        if not message.topic.startswith(self._begin):
            return "a topic that was not subscribed to"
        topic = message.topic.removeprefix(self._begin)
        request = topic.startswith(REQUESTS.rstrip("+"))
        if not request and topic not in (INFO, RECEIPT):
            return "a topic that was not subscribed to"
        properties = message.properties
        correlation = getattr(properties, "CorrelationData", None)
        expiry_s = getattr(properties, "MessageExpiryInterval", None)
        if correlation is not None and len(correlation) > CORRELATION_BYTES:
            return f"correlation data longer than {CORRELATION_BYTES} bytes"
        return Received(
            topic,
            bytes(message.payload[: REQUEST_BYTES + 1] if request else message.payload),
            message.retain,
            message.timestamp,
            str(getattr(properties, "ResponseTopic", "")),
            None if correlation is None else bytes(correlation),
            None if expiry_s is None else int(expiry_s),
        )

    def take(self) -> tuple[dict[str, Received], list[Received], Counter[str]]:
        """Remove and return statements by topic, requests, and the number of ignored messages by reason."""
        with self._lock:
            content = self._newest, self._requests, self._ignored
            self._newest, self._requests, self._ignored = {}, [], Counter()
            self._woken = False
        return content
