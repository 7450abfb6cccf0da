"""Publishes the ledger's events over MQTT in order; an event is marked sent only after the broker acknowledged it.

One thread holds all state and waits at one queue, the inbox. Many waiting events go as arrays on ``batch``. Receipts of
the centre state what it holds and what it lacks.
"""

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from paho.mqtt.properties import Properties

from gateway.advice import BROKER_FINDINGS
from gateway.broker_status import BrokerStatus
from gateway.commands import Request
from gateway.event import utc_text
from gateway.findings import FINDINGS
from gateway.incidents import alarm_message
from gateway.ledger import Ledger
from gateway.log import get_logger
from gateway.mqtt.blocked_topics import BlockedTopics
from gateway.mqtt.careful import Careful, Pacing
from gateway.mqtt.failure import BrokerCause, BrokerUnavailable, PauseKind, unreachable
from gateway.mqtt.ignored import Ignored
from gateway.mqtt.incoming import Incoming
from gateway.mqtt.mailbox import INFO, RECEIPT, REQUESTS
from gateway.mqtt.message import Message
from gateway.mqtt.receipts import Receipts
from gateway.mqtt.requests import REPLY
from gateway.mqtt.session import (
    BAD_CREDENTIALS,
    BUSY,
    KEEP_ALIVE_TIMEOUT,
    NO_MATCHING_SUBSCRIBERS,
    NO_RETAINED,
    PLAIN,
    RETAINED,
    SESSION_TAKEN_OVER,
    TOO_LARGE,
    UNSUPPORTED_PROTOCOL,
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
from gateway.mqtt.window import InFlight, Limits, Outgoing, Sent, Unsendable, Window
from gateway.settings import Delivery, Mqtt, Settings
from gateway.texts import Message as Translatable
from gateway.texts import _

STATE, ALARM = "state", "alarm"
"""Topics below the prefix."""

STEADY = 2.0
"""A connection that lasted this many times the longest pause ends a row of failures.

Of two machines with one client id each is connected while the other one pauses: a shorter time would make both begin
again with the shortest pause.
"""
ALARMS_KEPT = 100

log = get_logger("publisher")

_EVENT_RECORDED = object()
_RESEND = object()
_STOP = object()


@dataclass(slots=True)
class _Connection:
    """State of one session."""

    session: Session
    number: int
    receive_maximum: int
    """Receive Maximum of the broker: messages of any kind in flight."""
    maximum_packet: int
    """Maximum Packet Size of the broker, in bytes."""
    in_flight: InFlight
    window: Window
    started: float
    birth_acknowledged: bool = False
    """The birth message was acknowledged; the retained messages have arrived before that."""
    introduced: bool = False
    outbox: deque[Outgoing] = field(default_factory=deque)
    refused_topics: set[str] = field(default_factory=set)
    """Topics of messages that the broker refused."""


class Publisher:
    """Publishes one ledger to one broker."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        introduction: Callable[[], Iterable[tuple[str, dict[str, Any] | None]]] = tuple,
        requests: Callable[[Request], None] = lambda _request: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timing: Timing | None = None,
    ) -> None:
        """``introduction`` returns the retained topics and payloads that every connection begins with, after ``state``.

        ``requests`` receives each request of the centre, and must return at once.
        """
        self._mqtt: Mqtt = settings.mqtt
        self._delivery: Delivery = settings.delivery
        self._where = f"{settings.mqtt.host}:{settings.mqtt.port}"
        self._client_id = settings.client_id
        self._prefix = settings.topic_prefix
        self._ledger = ledger
        self._introduction = introduction
        self._now = now
        self._timing = timing = timing or Timing()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._alarms: deque[Outgoing] = deque(maxlen=ALARMS_KEPT)
        """Messages that wait for the next connection."""
        self._recent_alarms: deque[dict[str, Any]] = deque(maxlen=ALARMS_KEPT)
        self._blocked = BlockedTopics(timing.retry_initial_s, timing.retry_max_s)
        self._careful = Careful(timing.limits_kept_s)
        self._takeover = Takeover(timing.short_session_s, timing.replaced_again_s)
        self._subscriptions = Subscriptions(timing.subscribe_again_s, timing.limits_kept_s)
        self._unsendable = Unsendable(ledger, self.alarm)
        ignored = Ignored(timing.ignored_log_s)
        self._receipts = Receipts(ledger, self._takeover, ignored, self.alarm, timing)
        self._incoming = Incoming(self._prefix, self._receipts, ignored, requests, self._reply)
        self._problem: str | None = None
        self._cause: BrokerCause | None = None
        self._stopping = False
        self._connected = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether a session with the broker is established."""
        return self._connected

    @property
    def status_text(self) -> str:
        """The status of the connection in technical English."""
        return self.status.text()

    @property
    def status(self) -> BrokerStatus:
        """The status of the connection."""
        if not self._connected:
            return BrokerStatus(connected=False, cause=self._cause, reason=self._problem)
        codes = self._blocked.codes()
        return BrokerStatus(
            connected=True,
            unsubscribed=[topic for topic, code in codes.items() if code == NO_MATCHING_SUBSCRIBERS],
            refused={topic: code for topic, code in codes.items() if code != NO_MATCHING_SUBSCRIBERS},
            subscriptions_refused=sorted(self._subscriptions.refused.copy()),
        )

    @property
    def is_alive(self) -> bool:
        """Whether the publishing thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to connect and publish, and go on until :meth:`stop`."""
        if self._mqtt.protocol != 5:
            log.warning("refusals_invisible", reason="with MQTT 3.1.1 the broker cannot say that it refused a message")
        self._ledger.on_recorded = lambda: self._inbox.put(_EVENT_RECORDED)
        self._ledger.on_resend = lambda: self._inbox.put(_RESEND)
        self._ledger.trust(self._delivery.confirm)
        self._receipts.start()
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Publish ``offline``, disconnect and end the thread; return whether it ended within ``timeout_s``."""
        self._stopping = True
        self._inbox.put(_STOP)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def announce(self, topic: str, payload: dict[str, Any] | None, *, retain: bool = True) -> None:
        """Publish a message below the prefix now; None removes the retained message.

        Without a connection a retained message is dropped, because the next introduction contains it. Any other is kept
        for the next connection, in the same bounded queue as alarms.
        """
        self._inbox.put(Outgoing(topic, payload, retain=retain))

    def alarm(self, code: str, message: str, terminal: str | None = None) -> None:
        """Publish an alarm for people; without a connection the newest hundred are kept for the next one."""
        payload = {"at": utc_text(self._now()), "alarm": code, "terminal": terminal, "message": message}
        self._recent_alarms.append(payload)
        self._inbox.put(Outgoing(ALARM, payload, retain=False))

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The newest hundred alarms since the start, the last one first, whether published or not."""
        return list(reversed(self._recent_alarms.copy()))

    # The thread.

    def _run(self) -> None:
        failures = 0
        pause: PauseKind | None = None
        try:
            while not self._stopping:
                connection = None
                try:
                    connection = self._connect(failures)
                    self._run_session(connection)
                except BrokerUnavailable as exc:
                    if self._stopping:
                        return
                    lived_s = time.monotonic() - connection.started if connection else 0.0
                    if connection is not None:
                        self._subscriptions.connection_ended()
                        self._careful.session_ended(connection.in_flight.sequences)
                    problem = self._takeover.session_ended(exc, lived_s)
                    back_off = self._timing.pauses[problem.pause]
                    steady_s = max(self._timing.short_session_s, STEADY * back_off.longest_s)
                    failures = failures + 1 if problem.pause == pause and lived_s <= steady_s else 1
                    pause = problem.pause
                    pause_s = back_off.after(failures)
                    self._report_lost(problem, pause_s)
                    self._wait_to_retry(pause_s)
        except BaseException:
            log.exception("publisher_failed")
            raise

    def _report_lost(self, problem: BrokerUnavailable, pause_s: float) -> None:
        """Log once when the connection breaks, not at every attempt; and again where a person must act."""
        if self._problem is None or (problem.pause != "unreachable" and str(problem) != self._problem):
            log.warning("broker_lost", broker=self._where, reason=str(problem), retry_s=round(pause_s, 1))
            if problem.alarm:
                finding = FINDINGS[BROKER_FINDINGS[problem.cause]]
                self.alarm(problem.alarm, Translatable(finding.text, str(problem), reason=str(problem)))
        self._problem, self._cause = str(problem), problem.cause

    def _wait_to_retry(self, pause_s: float) -> None:
        """Wait; keep alarms, and drop messages that the next introduction contains."""
        until = time.monotonic() + pause_s
        while not self._stopping and (left := until - time.monotonic()) > 0:
            try:
                item = self._inbox.get(timeout=left)
            except queue.Empty:
                return
            self._keep_alarm(item)

    def _keep_alarm(self, item: object) -> None:
        # A reply to a request of an earlier connection is dropped: its requester no longer waits.
        if isinstance(item, Outgoing) and not item.retain and not item.topic.startswith(f"{REPLY}/"):
            self._alarms.append(item)

    def _connect(self, failures: int) -> _Connection:
        number = self._ledger.next_session()
        session = Session(
            self._mqtt,
            self._client_id,
            self._prefix,
            timing=self._timing,
            inbox=self._inbox,
            will=(STATE, _json({"state": "offline", "session": number})),
        )
        try:
            try:
                answer = session.connect(other=self._while_connecting)
            except (OSError, ValueError) as exc:
                raise unreachable(self._where, exc) from exc
            connection = self._begin_session(session, number, self._accepted(session, answer))
        except BaseException:
            session.close(gracefully=False)
            raise
        self._connected = True
        self._problem = self._cause = None
        log.info(
            "broker_found",
            broker=self._where,
            session=number,
            window=connection.window.limits.window,
            after_failures=failures,
        )
        return connection

    def _while_connecting(self, item: object) -> None:
        if self._stopping:
            raise BrokerUnavailable("stopping")
        self._keep_alarm(item)

    def _accepted(self, session: Session, answer: Connected | Disconnected | None) -> Connected:
        """Return the broker's answer to CONNECT; raises BrokerUnavailable where it is a refusal, or there is none."""
        if answer is None:
            raise BrokerUnavailable(f"the broker {self._where} accepts the connection and says nothing", cause="silent")
        if isinstance(answer, Disconnected):
            hint = f" ({session.client.violation})" if session.client.violation else ""
            # With TLS 1.3 a refused certificate shows only here, and the library does not report it.
            if self._mqtt.tls and not hint:
                ours = "does not take this gateway's certificate (expired, revoked, another authority)"
                hint = f"; most likely it {ours if self._mqtt.cert_file else 'wants a certificate: mqtt.cert_file'}"
            raise BrokerUnavailable(
                f"the broker {self._where} closes the connection instead of answering{hint}",
                cause="tls" if self._mqtt.tls else "refused",
            )
        if answer.code in BAD_CREDENTIALS:
            raise BrokerUnavailable(
                f"the broker {self._where} refuses the login ({answer.text}); check mqtt.username, the password file "
                "and the broker's list of users",
                "refused",
                "login_refused",
                cause="login",
            )
        if answer.code != 0:
            hint = "; set mqtt.protocol to 3.1.1" if answer.code == UNSUPPORTED_PROTOCOL else ""
            raise BrokerUnavailable(
                f"the broker {self._where} refuses the connection ({answer.text}){hint}",
                "unreachable" if answer.code in BUSY else "refused",
                cause="refused",
            )
        return answer

    def _begin_session(self, session: Session, number: int, answer: Connected) -> _Connection:
        """Queue the birth message and subscribe to ``info``, before any event is sent."""
        started = time.monotonic()
        self._careful.reconnected(started)
        self._blocked.reconnected(started)
        self._receipts.session_began()
        in_flight, timing = InFlight(), self._timing
        window = Window(
            self._ledger,
            self._delivery,
            Limits(min(self._mqtt.window, answer.receive_maximum), answer.maximum_packet, session.overhead),
            in_flight=in_flight,
            pacing=Pacing(timing.flight_initial, timing.flight_max, timing.fast_ack_s, timing.slow_ack_s),
            blocked=self._blocked,
            careful=self._careful,
            unsendable=self._unsendable,
            alarm=self.alarm,
        )
        connection = _Connection(
            session, number, answer.receive_maximum, answer.maximum_packet, in_flight, window, started
        )
        birth = {"state": "online", "session": number, "at": utc_text(self._now())}
        connection.outbox.append(Outgoing(STATE, birth, retain=True))
        self._subscribe(connection, INFO)
        return connection

    def _run_session(self, connection: _Connection) -> None:
        offline_acknowledged = False
        try:
            while not self._stopping:
                self._fill_window(connection)
                self._process_inbox(connection, self._next_timeout(connection))
            offline_acknowledged = self._close(connection)
        finally:
            self._connected = False
            in_flight = (sent.message for sent in connection.in_flight.by_mid.values())
            for message in (*in_flight, *connection.outbox):
                self._keep_alarm(message)
            connection.session.close(gracefully=offline_acknowledged)

    def _next_timeout(self, connection: _Connection) -> float:
        """Return how long to wait for an item of the inbox before the next timed work."""
        window, timing = connection.window, self._timing
        if window.has_room and (window.buffer or window.more_waiting):
            return 0.0
        due = [time.monotonic() + timing.idle_s]
        if not connection.introduced:
            due.append(connection.started + timing.birth_s)
        if connection.in_flight:
            due.append(connection.in_flight.oldest_since + timing.ack_s)
        if window.has_room:
            due.extend(self._blocked.next_due())
        if (repeat_at := self._subscriptions.repeat_at) is not None:
            due.append(repeat_at)
        due.extend(self._receipts.due(idle=window.is_open and not connection.in_flight.sequences))
        return max(0.0, min(due) - time.monotonic())

    def _process_inbox(self, connection: _Connection, timeout_s: float) -> None:
        """Wait for an item of the inbox, then process all that are there."""
        acknowledged: list[int] = []
        try:
            item = self._inbox.get(timeout=timeout_s)
            while True:
                self._process(connection, item, acknowledged)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        finally:
            if acknowledged:
                self._ledger.mark_sent(acknowledged)
        connection.window.begin_again()
        ack_s, in_flight = self._timing.ack_s, connection.in_flight
        if in_flight and time.monotonic() >= in_flight.oldest_since + ack_s:
            oldest = in_flight.oldest
            if isinstance(oldest.message, Message) and len(oldest.message.events) > 1:
                self._lower_size_limit(oldest)  # a line this slow would never transfer it
            raise BrokerUnavailable(f"the broker has left a message unacknowledged for {ack_s:g} s")

    def _process(self, connection: _Connection, item: Any, acknowledged: list[int]) -> None:
        if item is _EVENT_RECORDED:
            connection.window.more_waiting = True
        elif item is _RESEND:
            connection.window.rewind = True
        elif isinstance(item, Outgoing):
            connection.outbox.append(item)
        else:
            match connection.session.answer_in(item):
                case Acknowledged() as answer:
                    acknowledged.extend(self._acknowledge(connection, answer))
                case Disconnected() as end:
                    raise self._disconnected(connection, end)
                case Subscribed() as answer:
                    self._note_subscription(answer)
                case MessageArrived():
                    self._incoming.process(
                        connection.session.mailbox,
                        introduced=connection.introduced,
                        on_new_stream=partial(self._introduce_again, connection),
                    )

    def _disconnected(self, connection: _Connection, end: Disconnected) -> BrokerUnavailable:
        """Return why the session ended, after noting what the next one has to avoid."""
        if end.code == SESSION_TAKEN_OVER:
            return session_taken_over()
        if (violation := connection.session.client.violation) is not None:
            return self._suspend_subscriptions(violation)
        messages = connection.in_flight.with_events
        if end.by_broker:
            if end.code == TOO_LARGE and messages:
                self._lower_size_limit(max(messages, key=lambda sent: sent.size))
            return BrokerUnavailable(f"the broker ended the connection ({end.text})")
        if connection.refused_topics:
            # mosquitto 2.0.11 with `max_queued_messages 0` ends the connection after each message it refuses.
            refused = ", ".join(sorted(connection.refused_topics))
            return BrokerUnavailable(f"the connection to the broker broke after it refused messages on {refused}")
        broke = f"the connection to the broker broke ({end.text})"
        if len(messages) == 1 and isinstance(only := messages[0].message, Message) and len(only.events) > 1:
            # MQTT 3.1.1 has no reason code for a message that is too large, and mosquitto 2.0.11 with
            # `message_size_limit` sends one that MQTT 5 does not allow there: the library disconnects.
            self._lower_size_limit(messages[0])
            return BrokerUnavailable(f"{broke} at a message of {messages[0].size} bytes; the next are smaller")
        if unanswered := self._subscriptions.unanswered:
            return BrokerUnavailable(f"{broke} before it answered the subscription to {', '.join(unanswered)}")
        # The library has only one informative reason of its own: an unanswered ping.
        return BrokerUnavailable(broke, unexplained=end.code != KEEP_ALIVE_TIMEOUT)

    def _suspend_subscriptions(self, violation: str) -> BrokerUnavailable:
        """Omit all subscriptions for a while: what they delivered ended the connection, and would end the next."""
        topics = (INFO, RECEIPT, REQUESTS)
        self._subscriptions.suspend(topics, time.monotonic())
        for topic in topics:
            self._report_refused_subscription(topic, "the broker sends what it may not send")
        return BrokerUnavailable(
            f"the broker {self._where} sent {violation}; for {self._timing.limits_kept_s / 60:.0f} minutes nothing is "
            "subscribed to, and events are sent all the same"
        )

    def _lower_size_limit(self, sent: Sent) -> None:
        assert isinstance(sent.message, Message)  # noqa: S101 - only these can be made smaller
        self._careful.too_large(sent.size, len(sent.message.events), time.monotonic())
        log.warning("messages_shrunk", too_large_bytes=sent.size, events=len(sent.message.events))

    def _acknowledge(self, connection: _Connection, answer: Acknowledged) -> list[int]:
        """Note an acknowledgement or a refusal; return the sequences of the events that the broker has."""
        sent = connection.in_flight.pop(answer.mid, time.monotonic())
        if sent is None:
            return []
        message = sent.message
        if answer.code >= 0x80 and message.topic not in connection.refused_topics:
            connection.refused_topics.add(message.topic)
            if isinstance(message, Outgoing):
                log.warning("message_refused", topic=message.topic, reason_code=answer.code)
        if isinstance(message, Message):
            return connection.window.answered(sent, message, answer.code)
        connection.birth_acknowledged = connection.birth_acknowledged or message.topic == STATE
        if message.topic == INFO and answer.code < 0x80 and isinstance(message.payload, dict):
            self._takeover.accepted_stream = message.payload["stream"]
        return []

    # Outgoing messages.

    def _fill_window(self, connection: _Connection) -> None:
        window = connection.window
        if not connection.introduced and (
            connection.birth_acknowledged or time.monotonic() >= connection.started + self._timing.birth_s
        ):
            self._publish_introduction(connection)
        self._send_outbox(connection)
        if connection.introduced and not window.is_open and not connection.outbox:
            self._subscribe(connection, RECEIPT, REQUESTS)
            window.is_open = True
        if due := self._subscriptions.take_due(time.monotonic()):
            self._subscribe(connection, *due)
        # Not stored in the window: a reference cycle would keep every old client and its sockets open.
        window.fill(partial(self._publish, connection))
        if self._receipts.store_again():
            self._introduce_again(connection)
        if window.is_open and window.is_idle:
            self._receipts.send_missing()

    def _publish_introduction(self, connection: _Connection) -> None:
        """Publish the introduction and the kept alarms, after the retained ``info`` was received."""
        connection.session.unsubscribe(INFO)
        connection.introduced = True
        self._introduce_again(connection)
        connection.outbox.extend(self._alarms)
        self._alarms.clear()

    def _introduce_again(self, connection: _Connection) -> None:
        """Queue the introduction, also after a new stream was opened."""
        if connection.introduced:
            introduction = (Outgoing(topic, payload, retain=True) for topic, payload in self._introduction())
            connection.outbox.extend(introduction)

    def _send_outbox(self, connection: _Connection) -> None:
        while connection.outbox and len(connection.in_flight) < connection.receive_maximum:
            message = connection.outbox.popleft()
            properties = PLAIN if message.correlation is None else reply_properties(message.correlation)
            body = b"" if message.payload is None else _json(message.payload)
            if len(body) + connection.session.overhead(message.topic, properties) > connection.maximum_packet:
                log.warning("message_too_large", topic=message.topic)
                continue
            self._publish(connection, message, body, properties, retain=message.retain)

    def _publish(
        self,
        connection: _Connection,
        message: Message | Outgoing,
        body: bytes,
        properties: Properties,
        *,
        retain: bool = False,
    ) -> int:
        """Send a message and return the size of its packet."""
        session = connection.session
        mid, broken = session.publish(message.topic, body, properties, retain=retain)
        size = len(body) + session.overhead(message.topic, properties)
        # Even if it fails: it may have ended the connection.
        connection.in_flight.add(mid, Sent(message, size, time.monotonic()))
        if broken is not None:
            self._process_inbox(connection, 0.0)  # process what arrived before the end, and the reason for it
            raise BrokerUnavailable(f"the connection to the broker broke ({broken})")
        return size

    # Subscriptions and replies.

    def _subscribe(self, connection: _Connection, *topics: str) -> None:
        allowed, suspended = self._subscriptions.allowed(topics, time.monotonic())
        for topic in suspended:
            self._report_refused_subscription(topic, "the connection ended each time it was asked for")
        if not allowed:
            return
        # Retained requests are outdated.
        mid = connection.session.subscribe({topic: NO_RETAINED if topic == REQUESTS else RETAINED for topic in allowed})
        self._subscriptions.requested(mid, allowed)  # even if it fails: it may have ended the connection

    def _note_subscription(self, answer: Subscribed) -> None:
        """Report a refused subscription once. Events are published all the same."""
        now = time.monotonic()
        codes = [reason.value for reason in answer.reasons]
        granted, refused = self._subscriptions.answered(answer.mid, codes)
        for topic in granted:
            log.info("subscription_granted", topic=topic)
        for topic, code in refused:
            self._report_refused_subscription(topic, f"reason {code:#04x}")
            if topic != INFO:
                self._subscriptions.repeat(topic, now)

    def _report_refused_subscription(self, topic: str, why: str) -> None:
        if topic in self._subscriptions.refused:
            return
        self._subscriptions.refused.add(topic)
        log.warning("subscription_refused", topic=topic, reason=why)
        if topic != INFO:
            what = Translatable(_("receipts") if topic == RECEIPT else _("commands"))
            self.alarm("subscription_refused", alarm_message("subscription_refused", topic=topic, why=why, what=what))

    def _reply(self, topic: str, payload: dict[str, Any], correlation: bytes | None) -> None:
        """Queue the reply to a request; called from any thread."""
        self._inbox.put(Outgoing(topic, payload, retain=False, correlation=correlation))

    def _close(self, connection: _Connection) -> bool:
        """Publish ``offline`` and wait shortly for acknowledgements, so that fewer events are sent twice.

        Return whether ``offline`` was acknowledged; if not, the will is to be published.
        """
        until = time.monotonic() + self._timing.close_s
        offline = Outgoing(
            STATE, {"state": "offline", "session": connection.number, "at": utc_text(self._now())}, retain=True
        )
        connection.outbox.append(offline)
        in_flight = connection.in_flight
        with suppress(BrokerUnavailable):
            while (in_flight or connection.outbox) and (left := until - time.monotonic()) > 0:
                self._send_outbox(connection)
                self._process_inbox(connection, left)
        unacknowledged = (*(sent.message for sent in in_flight.by_mid.values()), *connection.outbox)
        return all(message is not offline for message in unacknowledged)


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()
