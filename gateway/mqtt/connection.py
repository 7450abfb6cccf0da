"""One connection to the broker: what it sends, what is in flight, what it receives. Used by the publishing thread only.

It begins with the birth message and ``info``, then the introduction, then the ledger's events in order; an event is
marked sent only after the broker acknowledged it.
"""

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from paho.mqtt.properties import Properties

from gateway.event import utc_text
from gateway.incidents import alarm_message
from gateway.ledger import Ledger
from gateway.log import get_logger
from gateway.mqtt.blocked_topics import BlockedTopics
from gateway.mqtt.careful import Careful, Pacing
from gateway.mqtt.failure import BrokerUnavailable
from gateway.mqtt.incoming import Incoming
from gateway.mqtt.mailbox import INFO, RECEIPT, REQUESTS
from gateway.mqtt.message import Message
from gateway.mqtt.receipts import Receipts
from gateway.mqtt.session import (
    KEEP_ALIVE_TIMEOUT,
    NO_RETAINED,
    PLAIN,
    RETAINED,
    SESSION_TAKEN_OVER,
    TOO_LARGE,
    Acknowledged,
    Connected,
    Disconnected,
    MessageArrived,
    Session,
    Subscribed,
    reply_properties,
)
from gateway.mqtt.subscriptions import Subscriptions
from gateway.mqtt.takeover import Takeover, session_taken_over
from gateway.mqtt.timing import Timing
from gateway.mqtt.window import Alarm, InFlight, Limits, Outgoing, Sent, Unsendable, Window
from gateway.settings import Delivery
from gateway.texts import Message as Translatable
from gateway.texts import _

STATE = "state"
"""Topic below the prefix."""

EVENT_RECORDED = object()
"""Item of the inbox: the ledger has a new event."""
RESEND = object()
"""Item of the inbox: the centre lacks events, which are sent again."""

log = get_logger("publisher")


@dataclass(slots=True, kw_only=True)
class PublisherContext:
    """What the connections of one publisher share, one after the other."""

    where: str
    """The broker's host and port."""
    window: int
    """Messages in flight, at most."""
    delivery: Delivery
    ledger: Ledger
    introduction: Callable[[], Iterable[tuple[str, dict[str, Any] | None]]]
    now: Callable[[], datetime]
    timing: Timing
    alarm: Alarm
    inbox: queue.SimpleQueue[Any]
    """Everything that the publishing thread waits for."""
    alarms: deque[Outgoing]
    """Messages that wait for the next connection."""
    blocked: BlockedTopics
    careful: Careful
    takeover: Takeover
    subscriptions: Subscriptions
    unsendable: Unsendable
    receipts: Receipts
    incoming: Incoming
    stopping: threading.Event = field(default_factory=threading.Event)


class Connection:
    """One session with the broker, from its acceptance to its end."""

    def __init__(self, context: PublisherContext, session: Session, number: int, answer: Connected) -> None:
        """Queue the birth message and subscribe to ``info``, before any event is sent.

        ``number`` is the session's in the ledger, ``answer`` what the broker answered to CONNECT.
        """
        self._context = context
        self._session = session
        self._number = number
        self._receive_maximum = answer.receive_maximum
        """Receive Maximum of the broker: messages of any kind in flight."""
        self._maximum_packet = answer.maximum_packet
        """Maximum Packet Size of the broker, in bytes."""
        self._in_flight = InFlight()
        self._birth_acknowledged = False
        """The birth message was acknowledged; the retained messages have arrived before that."""
        self._introduced = False
        self._outbox: deque[Outgoing] = deque()
        self._refused_topics: set[str] = set()
        """Topics of messages that the broker refused."""
        self.started = time.monotonic()
        context.careful.reconnected(self.started)
        context.blocked.reconnected(self.started)
        context.receipts.session_began()
        timing = context.timing
        self.window = Window(
            context.ledger,
            context.delivery,
            Limits(min(context.window, answer.receive_maximum), answer.maximum_packet, session.overhead),
            in_flight=self._in_flight,
            pacing=Pacing(timing.flight_initial, timing.flight_max, timing.fast_ack_s, timing.slow_ack_s),
            blocked=context.blocked,
            careful=context.careful,
            unsendable=context.unsendable,
            alarm=context.alarm,
        )
        birth = {"state": "online", "session": number, "at": utc_text(context.now())}
        self._outbox.append(Outgoing(STATE, birth, retain=True))
        self._subscribe(INFO)

    @property
    def sequences(self) -> set[int]:
        """Sequences of the events in flight."""
        return self._in_flight.sequences

    def run(self) -> bool:
        """Send and receive until the publisher stops; return whether ``offline`` was acknowledged then.

        If not, the will is to be published. Raises BrokerUnavailable where the connection ends before.
        """
        while not self._context.stopping.is_set():
            self._fill_window()
            self._process_inbox(self._next_timeout())
        return self._announce_end()

    def unacknowledged(self) -> list[Message | Outgoing]:
        """Return what was sent without an acknowledgement, and what waits to be sent."""
        return [*(sent.message for sent in self._in_flight.by_mid.values()), *self._outbox]

    def close(self, *, gracefully: bool) -> None:
        """Disconnect; the broker publishes the will unless ``gracefully``."""
        self._session.close(gracefully=gracefully)

    # Waiting and receiving.

    def _next_timeout(self) -> float:
        """Return how long to wait for an item of the inbox before the next timed work."""
        window, timing = self.window, self._context.timing
        if window.has_room and (window.buffer or window.more_waiting):
            return 0.0
        due = [time.monotonic() + timing.idle_s]
        if not self._introduced:
            due.append(self.started + timing.birth_s)
        if self._in_flight:
            due.append(self._in_flight.oldest_since + timing.ack_s)
        if window.has_room:
            due.extend(self._context.blocked.next_due())
        if (repeat_at := self._context.subscriptions.repeat_at) is not None:
            due.append(repeat_at)
        due.extend(self._context.receipts.due(idle=window.is_open and not self._in_flight.sequences))
        return max(0.0, min(due) - time.monotonic())

    def _process_inbox(self, timeout_s: float) -> None:
        """Wait for an item of the inbox, then process all that are there."""
        acknowledged: list[int] = []
        try:
            item = self._context.inbox.get(timeout=timeout_s)
            while True:
                self._process(item, acknowledged)
                item = self._context.inbox.get_nowait()
        except queue.Empty:
            pass
        finally:
            if acknowledged:
                self._context.ledger.mark_sent(acknowledged)
        self.window.begin_again()
        ack_s, in_flight = self._context.timing.ack_s, self._in_flight
        if in_flight and time.monotonic() >= in_flight.oldest_since + ack_s:
            oldest = in_flight.oldest
            if isinstance(oldest.message, Message) and len(oldest.message.events) > 1:
                self._lower_size_limit(oldest)  # a line this slow would never transfer it
            raise BrokerUnavailable(f"the broker has left a message unacknowledged for {ack_s:g} s")

    def _process(self, item: Any, acknowledged: list[int]) -> None:
        if item is EVENT_RECORDED:
            self.window.more_waiting = True
        elif item is RESEND:
            self.window.rewind = True
        elif isinstance(item, Outgoing):
            self._outbox.append(item)
        else:
            match self._session.answer_in(item):
                case Acknowledged() as answer:
                    acknowledged.extend(self._acknowledge(answer))
                case Disconnected() as end:
                    raise self._disconnected(end)
                case Subscribed() as answer:
                    self._note_subscription(answer)
                case MessageArrived():
                    self._context.incoming.process(
                        self._session.mailbox,
                        introduced=self._introduced,
                        on_new_stream=self._introduce_again,
                    )

    def _disconnected(self, end: Disconnected) -> BrokerUnavailable:
        """Return why the session ended, after noting what the next one has to avoid."""
        if end.code == SESSION_TAKEN_OVER:
            return session_taken_over()
        if (violation := self._session.client.violation) is not None:
            return self._suspend_subscriptions(violation)
        messages = self._in_flight.with_events
        if end.by_broker:
            if end.code == TOO_LARGE and messages:
                self._lower_size_limit(max(messages, key=lambda sent: sent.size))
            return BrokerUnavailable(f"the broker ended the connection ({end.text})")
        if self._refused_topics:
            # mosquitto 2.0.11 with `max_queued_messages 0` ends the connection after each message it refuses.
            refused = ", ".join(sorted(self._refused_topics))
            return BrokerUnavailable(f"the connection to the broker broke after it refused messages on {refused}")
        broke = f"the connection to the broker broke ({end.text})"
        if len(messages) == 1 and isinstance(only := messages[0].message, Message) and len(only.events) > 1:
            # MQTT 3.1.1 has no reason code for a message that is too large, and mosquitto 2.0.11 with
            # `message_size_limit` sends one that MQTT 5 does not allow there: the library disconnects.
            self._lower_size_limit(messages[0])
            return BrokerUnavailable(f"{broke} at a message of {messages[0].size} bytes; the next are smaller")
        if unanswered := self._context.subscriptions.unanswered:
            return BrokerUnavailable(f"{broke} before it answered the subscription to {', '.join(unanswered)}")
        # The library has only one informative reason of its own: an unanswered ping.
        return BrokerUnavailable(broke, unexplained=end.code != KEEP_ALIVE_TIMEOUT)

    def _suspend_subscriptions(self, violation: str) -> BrokerUnavailable:
        """Omit all subscriptions for a while: what they delivered ended the connection, and would end the next."""
        context, topics = self._context, (INFO, RECEIPT, REQUESTS)
        context.subscriptions.suspend(topics, time.monotonic())
        for topic in topics:
            self._report_refused_subscription(topic, "the broker sends what it may not send")
        return BrokerUnavailable(
            f"the broker {context.where} sent {violation}; for {context.timing.limits_kept_s / 60:.0f} minutes "
            "nothing is subscribed to, and events are sent all the same"
        )

    def _lower_size_limit(self, sent: Sent) -> None:
        assert isinstance(sent.message, Message)  # noqa: S101 - only these can be made smaller
        self._context.careful.too_large(sent.size, len(sent.message.events), time.monotonic())
        log.warning("messages_shrunk", too_large_bytes=sent.size, events=len(sent.message.events))

    def _acknowledge(self, answer: Acknowledged) -> list[int]:
        """Note an acknowledgement or a refusal; return the sequences of the events that the broker has."""
        sent = self._in_flight.pop(answer.mid, time.monotonic())
        if sent is None:
            return []
        message = sent.message
        if answer.code >= 0x80 and message.topic not in self._refused_topics:
            self._refused_topics.add(message.topic)
            if isinstance(message, Outgoing):
                log.warning("message_refused", topic=message.topic, reason_code=answer.code)
        if isinstance(message, Message):
            return self.window.answered(sent, message, answer.code)
        self._birth_acknowledged = self._birth_acknowledged or message.topic == STATE
        if message.topic == INFO and answer.code < 0x80 and isinstance(message.payload, dict):
            self._context.takeover.accepted_stream = message.payload["stream"]
        return []

    # Sending.

    def _fill_window(self) -> None:
        window = self.window
        if not self._introduced and (
            self._birth_acknowledged or time.monotonic() >= self.started + self._context.timing.birth_s
        ):
            self._publish_introduction()
        self._send_outbox()
        if self._introduced and not window.is_open and not self._outbox:
            self._subscribe(RECEIPT, REQUESTS)
            window.is_open = True
        if due := self._context.subscriptions.take_due(time.monotonic()):
            self._subscribe(*due)
        # Not stored in the window: a reference cycle would keep every old client and its sockets open.
        window.fill(self._publish)
        if self._context.receipts.store_again():
            self._introduce_again()
        if window.is_open and window.is_idle:
            self._context.receipts.send_missing()

    def _publish_introduction(self) -> None:
        """Publish the introduction and the kept alarms, after the retained ``info`` was received."""
        self._session.unsubscribe(INFO)
        self._introduced = True
        self._introduce_again()
        self._outbox.extend(self._context.alarms)
        self._context.alarms.clear()

    def _introduce_again(self) -> None:
        """Queue the introduction, also after a new stream was opened."""
        if self._introduced:
            introduction = (Outgoing(topic, payload, retain=True) for topic, payload in self._context.introduction())
            self._outbox.extend(introduction)

    def _send_outbox(self) -> None:
        while self._outbox and len(self._in_flight) < self._receive_maximum:
            message = self._outbox.popleft()
            properties = PLAIN if message.correlation is None else reply_properties(message.correlation)
            body = b"" if message.payload is None else encoded(message.payload)
            if len(body) + self._session.overhead(message.topic, properties) > self._maximum_packet:
                log.warning("message_too_large", topic=message.topic)
                continue
            self._publish(message, body, properties, retain=message.retain)

    def _publish(
        self,
        message: Message | Outgoing,
        body: bytes,
        properties: Properties,
        *,
        retain: bool = False,
    ) -> int:
        """Send a message and return the size of its packet."""
        session = self._session
        mid, broken = session.publish(message.topic, body, properties, retain=retain)
        size = len(body) + session.overhead(message.topic, properties)
        # Even if it fails: it may have ended the connection.
        self._in_flight.add(mid, Sent(message, size, time.monotonic()))
        if broken is not None:
            self._process_inbox(0.0)  # process what arrived before the end, and the reason for it
            raise BrokerUnavailable(f"the connection to the broker broke ({broken})")
        return size

    def _announce_end(self) -> bool:
        """Publish ``offline`` and wait shortly for acknowledgements, so that fewer events are sent twice.

        Return whether ``offline`` was acknowledged; if not, the will is to be published.
        """
        until = time.monotonic() + self._context.timing.close_s
        offline = Outgoing(
            STATE, {"state": "offline", "session": self._number, "at": utc_text(self._context.now())}, retain=True
        )
        self._outbox.append(offline)
        in_flight = self._in_flight
        with suppress(BrokerUnavailable):
            while (in_flight or self._outbox) and (left := until - time.monotonic()) > 0:
                self._send_outbox()
                self._process_inbox(left)
        return all(message is not offline for message in self.unacknowledged())

    # Subscriptions.

    def _subscribe(self, *topics: str) -> None:
        allowed, suspended = self._context.subscriptions.allowed(topics, time.monotonic())
        for topic in suspended:
            self._report_refused_subscription(topic, "the connection ended each time it was requested")
        if not allowed:
            return
        # Retained requests are outdated.
        mid = self._session.subscribe({topic: NO_RETAINED if topic == REQUESTS else RETAINED for topic in allowed})
        self._context.subscriptions.requested(mid, allowed)  # even if it fails: it may have ended the connection

    def _note_subscription(self, answer: Subscribed) -> None:
        """Report a refused subscription once. Events are published all the same."""
        now = time.monotonic()
        codes = [reason.value for reason in answer.reasons]
        granted, refused = self._context.subscriptions.answered(answer.mid, codes)
        for topic in granted:
            log.info("subscription_granted", topic=topic)
        for topic, code in refused:
            self._report_refused_subscription(topic, f"reason {code:#04x}")
            if topic != INFO:
                self._context.subscriptions.repeat(topic, now)

    def _report_refused_subscription(self, topic: str, why: str) -> None:
        if topic in self._context.subscriptions.refused:
            return
        self._context.subscriptions.refused.add(topic)
        log.warning("subscription_refused", topic=topic, reason=why)
        if topic != INFO:
            what = Translatable(_("receipts") if topic == RECEIPT else _("commands"))
            message = alarm_message("subscription_refused", topic=topic, why=why, what=what)
            self._context.alarm("subscription_refused", message)


def encoded(payload: dict[str, Any]) -> bytes:
    """Return the bytes of a payload that is no event."""
    return json.dumps(payload, separators=(",", ":")).encode()
