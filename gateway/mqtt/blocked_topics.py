"""Topics whose events are held back, and when one of their events is sent as a probe. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.mqtt.message import BATCH

NO_MATCHING_SUBSCRIBERS = 0x10


@dataclass(slots=True)
class BlockedTopic:
    """A topic without a subscriber, or one that the broker refuses to this gateway.

    Its events are held back. The oldest of them is sent as a probe when it is due, or when a new event of the topic is
    recorded; after the probe is acknowledged, all others follow. A probe of ``batch`` is an array.
    """

    code: int
    """The reason code of the last refusal."""
    upto: int
    """Highest sequence already considered; a later event triggers a probe at once."""
    due: float
    delay_s: float
    probing: bool = False


class BlockedTopics:
    """The blocked topics of one broker; times are monotonic seconds."""

    def __init__(self, retry_initial_s: float, retry_max_s: float) -> None:
        self._initial_s = retry_initial_s
        self._max_s = retry_max_s
        self.topics: dict[str, BlockedTopic] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self.topics

    def refused(self, topic: str, code: int, last_sequence: int, now: float) -> bool:
        """Hold a topic back, or longer after a probe; return whether it was not blocked for this reason before."""
        blocked = self.topics.get(topic)
        if blocked is None:
            self.topics[topic] = BlockedTopic(code, last_sequence, now + self._initial_s, self._initial_s)
            return True
        new = blocked.code != code
        blocked.code = code
        if blocked.probing:
            blocked.probing = False
            blocked.delay_s = min(self._max_s, blocked.delay_s * 2)
            blocked.due = now + blocked.delay_s
        return new

    def accepted(self, topic: str) -> bool:
        """Release a topic; return whether it was blocked."""
        return self.topics.pop(topic, None) is not None

    def holds(self, topic: str, sequence: int, now: float) -> bool:
        """Return whether an event is held back; a later one than all before makes the next probe due."""
        blocked = self.topics.get(topic)
        if blocked is not None and sequence > blocked.upto:
            blocked.upto = sequence
            blocked.due = now
        return blocked is not None

    def due(self, now: float) -> Iterator[str]:
        """Yield the topics of which an event is to be sent as a probe."""
        for topic, blocked in self.topics.items():
            if topic != BATCH and not blocked.probing and now >= blocked.due:
                yield topic

    def next_due(self) -> list[float]:
        """Return when probes are due."""
        return [blocked.due for topic, blocked in self.topics.items() if topic != BATCH and not blocked.probing]

    def sent_probe(self, topic: str) -> None:
        """Send no other probe of a topic until the answer to this one."""
        self.topics[topic].probing = True

    def is_probing(self, topic: str) -> bool:
        """Whether a probe of the topic is in flight."""
        return topic in self.topics and self.topics[topic].probing

    def postpone(self, topic: str, now: float) -> None:
        """Probe a topic later: no event of it can be sent, or the one that was sent is set aside."""
        blocked = self.topics[topic]
        blocked.probing = False
        blocked.due = now + blocked.delay_s

    def allow_array(self, now: float) -> bool:
        """Return whether an array may be sent: ``batch`` is not blocked, or a probe of it is due."""
        blocked = self.topics.get(BATCH)
        return blocked is None or (not blocked.probing and now >= blocked.due)

    def reconnected(self, now: float) -> None:
        """Begin again: subscribers may have returned with the broker; a refusal keeps its back-off."""
        for blocked in self.topics.values():
            blocked.probing = False
            if blocked.code == NO_MATCHING_SUBSCRIBERS:
                blocked.due, blocked.delay_s = now, self._initial_s

    def codes(self) -> dict[str, int]:
        """Return the reason code of each topic. May be called by any thread."""
        return {topic: blocked.code for topic, blocked in self.topics.copy().items()}
