"""What is subscribed to, and what is not because the broker refuses it or ends the connection for it. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

UNANSWERED_MAX = 2
"""After this many connections in a row that ended before a subscription was answered, the next one omits it."""


class Subscriptions:
    """The state of each subscription, over connections; times are monotonic seconds.

    Some brokers (AWS IoT) disconnect a client that subscribes without permission: publishing matters more.
    """

    def __init__(self, again_s: float, suspended_s: float) -> None:
        self._again_s = again_s
        self._suspended_s = suspended_s
        self._requests: dict[int | None, tuple[str, ...]] = {}
        """Topics by the id of their request, of the present connection."""
        self._again: list[str] = []
        self._again_at = 0.0
        self._unanswered: Counter[str] = Counter()
        """Topic → connections in a row that ended before the subscription was answered."""
        self._suspended: dict[str, float] = {}
        """Topic → time from which it is subscribed to again."""
        self.refused: set[str] = set()
        """Refused subscriptions."""

    @property
    def unanswered(self) -> list[str]:
        """The topics requested and not answered yet."""
        return [topic for topics in self._requests.values() for topic in topics]

    def connection_ended(self) -> None:
        """Count the unanswered subscriptions."""
        self._unanswered.update(self.unanswered)
        self._requests.clear()
        self._again = []

    def allowed(self, topics: Iterable[str], now: float) -> tuple[list[str], list[str]]:
        """Return which of the topics may be subscribed to, and which are suspended from now on."""
        suspended = [topic for topic in topics if self._unanswered[topic] >= UNANSWERED_MAX]
        for topic in suspended:
            del self._unanswered[topic]
            self._suspended[topic] = now + self._suspended_s
        return [topic for topic in topics if now >= self._suspended.get(topic, 0.0)], suspended

    def suspend(self, topics: Iterable[str], now: float) -> None:
        """Omit topics for a while."""
        self._suspended.update(dict.fromkeys(topics, now + self._suspended_s))

    def requested(self, mid: int | None, topics: Iterable[str]) -> None:
        """Note a request."""
        self._requests[mid] = tuple(topics)

    def answered(self, mid: int, codes: Sequence[int]) -> tuple[list[str], list[tuple[str, int]]]:
        """Return the topics granted after a refusal, and the refused ones with their codes."""
        topics = self._requests.pop(mid, ())
        for topic in topics:
            del self._unanswered[topic]
        answers = list(zip(topics, codes, strict=False))
        granted = [topic for topic, code in answers if code < 0x80 and topic in self.refused]
        self.refused.difference_update(granted)
        return granted, [(topic, code) for topic, code in answers if code >= 0x80]

    def repeat(self, topic: str, now: float) -> None:
        """Subscribe to a refused topic again after a while."""
        self._again.append(topic)
        self._again_at = now + self._again_s

    @property
    def repeat_at(self) -> float | None:
        """When refused topics are subscribed to again."""
        return self._again_at if self._again else None

    def take_due(self, now: float) -> list[str]:
        """Return the refused topics to be subscribed to again now."""
        if not self._again or now < self._again_at:
            return []
        due, self._again = self._again, []
        return due
