"""The publishing window: which events are sent next in one session, what is in flight, what the answers mean."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from paho.mqtt.properties import Properties

from gateway.incidents import alarm_message
from gateway.ledger import Ledger, LedgerFull, StoredEvent
from gateway.log import get_logger
from gateway.mqtt.blocked_topics import BlockedTopics
from gateway.mqtt.careful import Careful, Pacing
from gateway.mqtt.message import BATCH, Array, Message, single
from gateway.mqtt.session import ARRAY, EVENT, NO_MATCHING_SUBSCRIBERS, NOT_AUTHORISED, PERMANENT_REFUSALS
from gateway.settings import CENTRE_BYTES, Delivery
from gateway.texts import Message as Translatable
from gateway.texts import _

FETCH = 500

log = get_logger("publisher")


Publish = Callable[[Message, bytes, Properties], int]
"""Sends a message, adds it to the messages in flight, and returns the size of its packet."""


class Alarm(Protocol):
    """Publishes an alarm for people."""

    def __call__(self, code: str, message: str, terminal: str | None = None) -> None:
        """``message`` says what happened and what to do; ``terminal`` is the one concerned."""


class Outgoing(NamedTuple):
    """A message that is not an event: only the newest one matters, and every connection begins with all of them."""

    topic: str
    payload: dict[str, Any] | None
    """None: an empty payload, which removes the retained message."""
    retain: bool
    correlation: bytes | None = None
    """The request's correlation data, which its reply repeats."""


class Sent(NamedTuple):
    """A message in flight."""

    message: Message | Outgoing
    size: int
    """Bytes of the whole packet."""
    since: float


class InFlight:
    """The messages of any kind that the broker has not acknowledged."""

    def __init__(self) -> None:
        self.by_mid: dict[int, Sent] = {}
        """By message id, the oldest first."""
        self.sequences: set[int] = set()
        """The events among them."""
        self.oldest_since = 0.0
        """Monotonic time at which the oldest message became the oldest."""

    def __len__(self) -> int:
        return len(self.by_mid)

    def add(self, mid: int, sent: Sent) -> None:
        """Add a message that was sent."""
        if not self.by_mid:
            self.oldest_since = sent.since
        self.by_mid[mid] = sent
        if isinstance(sent.message, Message):
            self.sequences.update(event.sequence for event in sent.message.events)

    def pop(self, mid: int, now: float) -> Sent | None:
        """Remove an acknowledged message; None where its id is unknown."""
        if mid == next(iter(self.by_mid), None):
            self.oldest_since = now
        sent = self.by_mid.pop(mid, None)
        if sent is not None and isinstance(sent.message, Message):
            self.sequences.difference_update(event.sequence for event in sent.message.events)
        return sent

    @property
    def oldest(self) -> Sent:
        """The oldest message; there is one."""
        return next(iter(self.by_mid.values()))

    @property
    def with_events(self) -> list[Sent]:
        """The messages with events."""
        return [sent for sent in self.by_mid.values() if isinstance(sent.message, Message)]


class Unsendable:
    """Events that are kept and not sent, over all connections: too large for the broker, or altered in the ledger."""

    def __init__(self, ledger: Ledger, alarm: Alarm) -> None:
        self._ledger = ledger
        self._alarm = alarm
        self._too_large: set[int] = set()
        self._altered: set[int] = set()
        """Sequences of events whose body does not fit its digest."""

    def without_altered(self, events: list[StoredEvent]) -> list[StoredEvent]:
        """Return the events whose body fits its digest; the others are set aside and never sent."""
        altered = [event for event in events if event.is_altered]
        if not altered:
            return events
        with suppress(LedgerFull):  # they are not sent either way, and are found again at the next fetch
            self._ledger.set_aside([event.sequence for event in altered])
        first = not self._altered
        for event in altered:
            if event.sequence not in self._altered:
                self._altered.add(event.sequence)
                log.error("body_altered", sequence=event.sequence, topic=event.topic)
        if first:
            self._alarm("body_altered", alarm_message("body_altered", sequence=altered[0].sequence))
        return [event for event in events if not event.is_altered]

    def too_large(self, event: StoredEvent) -> None:
        """Note an event that exceeds the broker's limit; one alarm covers all of them."""
        if event.sequence in self._too_large:
            return
        self._too_large.add(event.sequence)
        if len(self._too_large) > 1:
            return
        log.error("message_too_large", sequence=event.sequence, topic=event.topic)
        self._alarm("message_too_large", alarm_message("message_too_large", sequence=event.sequence))


class Limits(NamedTuple):
    """What both sides allow in one session."""

    window: int
    """Messages with events in flight at most."""
    maximum_packet: int
    """Maximum Packet Size of the broker, in bytes."""
    overhead: Callable[[str, Properties], int]
    """Bytes of a packet beside its payload."""


class Window:
    """Sends the waiting events in order, as far as limits, blocked topics and careful mode allow.

    A session begins with reading what waits from the ledger again, so that no event is sent from two queues.
    """

    def __init__(
        self,
        ledger: Ledger,
        delivery: Delivery,
        limits: Limits,
        *,
        in_flight: InFlight,
        pacing: Pacing,
        blocked: BlockedTopics,
        careful: Careful,
        unsendable: Unsendable,
        alarm: Alarm,
    ) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self.limits = limits
        self._in_flight = in_flight
        self._pacing = pacing
        self._blocked = blocked
        self._careful = careful
        self._unsendable = unsendable
        self._alarm = alarm
        self.is_open = False
        """Everything that precedes the events was sent."""
        self.more_waiting = True
        self.rewind = False
        """A topic was unblocked, or events were marked to be sent again: fetch waiting events from the beginning."""
        self.buffer: deque[StoredEvent] = deque()
        self._cursor = 0
        """Everything waiting up to this sequence has been fetched."""
        self._arrays = False
        """Enough events were fetched to send them as arrays."""
        self._again_upto = ledger.again_upto()
        """Events up to this sequence go as arrays, however few they are."""
        self._array_accepted = False
        """The broker has acknowledged an array in this session."""

    @property
    def one_at_a_time(self) -> bool:
        """Whether only one message with events may be in flight.

        The first array of a session, and a probe of ``batch``, go alone: where it is refused, its events go one by one,
        in order.
        """
        untried_array = not self._array_accepted or self._blocked.is_probing(BATCH)
        return self._careful.upto > 0 or (self._pacing.in_flight > 0 and untried_array)

    @property
    def has_room(self) -> bool:
        """Whether another message with events may be sent."""
        most = 1 if self.one_at_a_time else self.limits.window
        return self.is_open and len(self._in_flight) < most and self._pacing.has_room

    @property
    def is_idle(self) -> bool:
        """Whether no event is fetched, waiting or in flight."""
        return not (self.buffer or self.more_waiting or self._in_flight.sequences)

    def fill(self, publish: Publish) -> None:
        """Send as much as there is room for."""
        for topic in list(self._blocked.due(time.monotonic())):
            if self.has_room:
                self._probe(topic, publish)
        if self.has_room and not self.buffer and self.more_waiting:
            self.fetch()  # once per turn: many events that are held back must not delay the inbox
        while self.has_room and (message := self._next_message()) is not None:
            self._send(message, publish)

    def fetch(self) -> None:
        """Read the next waiting events from the ledger."""
        limit = max(FETCH, self._delivery.batch_from + 1)
        events = self._ledger.pending(self._cursor, limit)
        self.more_waiting = len(events) == limit
        if events:
            self._cursor = events[-1].sequence
            events = self._unsendable.without_altered(events)
            self.buffer.extend(events)
        self._arrays = sum(event.topic not in self._blocked for event in events) > self._delivery.batch_from

    def begin_again(self) -> None:
        """Fetch from the beginning, where that is due."""
        if not self.rewind:
            return
        self._ledger.flush_marks()  # otherwise events acknowledged just now would be fetched and sent again
        self._cursor = 0
        self.more_waiting = True
        self.rewind = False
        self.buffer.clear()
        self._again_upto = self._ledger.again_upto()

    def answered(self, sent: Sent, message: Message, code: int) -> list[int]:
        """Note the broker's answer to a message with events; return the sequences of those that it has."""
        now = time.monotonic()
        array = message.topic == BATCH
        if array:
            self._pacing.answered(sent.size)
        if code == 0:
            if array:
                self._array_accepted = True
                self._pacing.accepted(sent.size, now - sent.since)
            if self._blocked.accepted(message.topic):
                log.info("topic_heard", topic=message.topic)
                self.rewind = not array or self.rewind
            return [event.sequence for event in message.events]
        if array:
            self._block(BATCH, code)
            self.rewind = True
        elif code in PERMANENT_REFUSALS:
            self._park(message.events[0], code)
            if self._blocked.is_probing(message.topic):
                self._blocked.postpone(message.topic, now)
        else:
            self._block(message.topic, code)
        return []

    def _park(self, event: StoredEvent, code: int) -> None:
        self._ledger.park(event.sequence, code)
        log.error("message_parked", sequence=event.sequence, topic=event.topic, reason_code=code)
        self._alarm("message_parked", alarm_message("message_parked", sequence=event.sequence, code=f"{code:#04x}"))

    def _block(self, topic: str, code: int) -> None:
        """Hold the topic's events back; probe it later with one of them, with exponential back-off."""
        if not self._blocked.refused(topic, code, self._ledger.last_sequence(), time.monotonic()):
            return
        fate = Translatable(
            _("the events go one by one") if topic == BATCH else _("its events are kept and tried again")
        )
        if code == NO_MATCHING_SUBSCRIBERS:
            log.warning("topic_unheard", topic=topic)
            self._alarm("no_subscriber", alarm_message("no_subscriber", topic=topic, fate=fate))
        else:
            log.warning("topic_refused", topic=topic, reason_code=code)
            variant = "access" if code == NOT_AUTHORISED else ""
            message = alarm_message("delivery_refused", variant, topic=topic, code=f"{code:#04x}", fate=fate)
            self._alarm("delivery_refused", message)

    def _probe(self, topic: str, publish: Publish) -> None:
        """Probe a blocked topic with its oldest waiting event."""
        flying = self._in_flight.sequences
        owed = self._unsendable.without_altered(self._ledger.pending(0, len(flying) + 1, topic))
        event = next((event for event in owed if event.sequence not in flying), None)
        message = None if event is None else self._single(event)
        if message is None:
            self._blocked.postpone(topic, time.monotonic())
        else:
            self._blocked.sent_probe(topic)
            self._send(message, publish)

    def _next_message(self) -> Message | None:
        """Return the next message made of fetched events; None where none of them may be sent."""
        array: Array | None = None
        while self.buffer:
            event = self.buffer[0]
            if self._is_sendable(event):
                if self._belongs_in_array(event):
                    array = array or Array(self.payload_limit(BATCH))
                    if array.add(event):
                        self.buffer.popleft()
                        continue
                if array is not None and (message := array.message()):
                    return message
                self.buffer.popleft()
                if message := self._single(event):
                    return message
            else:
                self.buffer.popleft()
        return None if array is None else array.message()

    def _is_sendable(self, event: StoredEvent) -> bool:
        """Return whether an event may be sent: it is not in flight, and its topic is not blocked."""
        if event.sequence in self._in_flight.sequences:
            return False
        self._careful.considered(event.sequence)
        return not self._blocked.holds(event.topic, event.sequence, time.monotonic())

    def _belongs_in_array(self, event: StoredEvent) -> bool:
        if self._delivery.batch_from == 0 or not (self._arrays or event.sequence <= self._again_upto):
            return False
        return self._blocked.allow_array(time.monotonic())

    def _single(self, event: StoredEvent) -> Message | None:
        """Return a message of one event; None, and an alarm, where it exceeds the broker's limit."""
        message = single(event, self.payload_limit(event.topic))
        if message is None:
            self._unsendable.too_large(event)
        return message

    def payload_limit(self, topic: str) -> int:
        """Return the maximum payload of a message with events, in bytes."""
        array = topic == BATCH
        learned = self._careful.array_max if array else self._careful.event_max
        packet = min(self._delivery.batch_bytes, CENTRE_BYTES, self.limits.maximum_packet, learned)
        return packet - self.limits.overhead(topic, ARRAY if array else EVENT)

    def _send(self, message: Message, publish: Publish) -> None:
        array = message.topic == BATCH
        if array and BATCH in self._blocked:
            self._blocked.sent_probe(BATCH)
        size = publish(message, message.body, ARRAY if array else EVENT)
        if array:
            self._pacing.sent(size)
