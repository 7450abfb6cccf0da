"""Publishes the ledger's events over MQTT in order; an event is marked sent only after the broker acknowledged it.

One thread holds all state. The MQTT library's callbacks only put items into a queue, because an exception in
one of them would end the library's network thread without notice. Every connection uses a new client object, and
reads what waits from the ledger again, so that no event is sent from two queues.

Many waiting events go as arrays on ``batch``. Receipts of the centre state what it holds and what it lacks.
"""

import errno
import json
import queue
import re
import socket
import ssl
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.textfile import read_secret
from gateway.bounded_client import MESSAGE_BYTES, BoundedClient
from gateway.broker_status import BrokerStatus
from gateway.commands import REQUEST_BYTES, Request
from gateway.event import utc_text
from gateway.ledger import Judgement, Ledger, LedgerError, LedgerFull, StoredEvent, info_from, receipt_from
from gateway.message import BATCH, Array, Message, single
from gateway.pause import Pause
from gateway.settings import CENTRE_BYTES, Delivery, Mqtt, Settings

# Reason codes of MQTT 5 (specification, 2.4) that call for a reaction of their own.
NO_MATCHING_SUBSCRIBERS = 0x10
UNSUPPORTED_PROTOCOL = 0x84
NOT_AUTHORISED = 0x87
BAD_CREDENTIALS = frozenset({0x86, NOT_AUTHORISED, 0x8C})
KEEP_ALIVE_TIMEOUT = 0x8D
SESSION_TAKEN_OVER = 0x8E
BUSY = frozenset({0x88, 0x89, 0x97, 0x9F})
"""Temporary refusals of a connection: unavailable, busy, a quota, too many connections at once."""
PERMANENT_REFUSALS = frozenset({0x90, 0x99})
"""Refusals of one message that no later attempt can change: its topic or its payload."""
TOO_LARGE = 0x95

STATE, INFO, ALARM, RECEIPT, REQUESTS, REPLY = "state", "info", "alarm", "receipt", "cmd/+", "reply"
"""Topics below the prefix."""

CONNECT_TIMEOUT_S = 5.0
ACK_TIMEOUT_S = 60.0
"""After this time without an acknowledgement the oldest message counts as lost, even if the connection stands."""
SHORT_SESSIONS_MAX = 3
SHORT_SESSION_S = 300.0
"""So many connections in a row that end within ``SHORT_SESSION_S`` and without a reason have a common cause.

``SHORT_SESSION_S`` is longer than the first pause after this was detected: then the other one of two machines with one
client id detects it too.
"""
STEADY = 2.0
"""A connection that lasted this many times the longest pause ends a row of failures.

Of two machines with one client id each is connected while the other one pauses: a shorter time would make both begin
again with the shortest pause.
"""
CLOSE_TIMEOUT_S = 2.0
DISCONNECT_TIMEOUT_S = 1.0
FETCH = 500
IDLE_S = 5.0
RETRY_INITIAL_S, RETRY_MAX_S = 5.0, 600.0
"""Back-off of one topic without a subscriber, or that the broker refuses."""
ALARMS_KEPT = 100
BIRTH_TIMEOUT_S = 3.0
"""How long to wait for the acknowledgement of the birth message; the retained messages arrive before it."""
SUBSCRIBE_AGAIN_S = 60.0
UNANSWERED_MAX = 2
"""After this many connections in a row that ended before a subscription was answered, the next one omits it."""
MISSING_CHECK_S = 15.0
"""Interval between checks for events that the centre lacks and that are due to be sent again."""
CORRELATION_BYTES = 4 * 1024
"""Maximum length of a request's correlation data, which its reply repeats."""
REQUESTS_WAITING_MAX = 32
"""Maximum number of requests in the mailbox; further ones are ignored."""
IGNORED_LOG_S = 3600.0
"""Minimum interval between log lines about ignored messages of one kind."""
FLIGHT_INITIAL, FLIGHT_MAX = 128 * 1024, 4 * 1024**2
"""Limit of the bytes of arrays in flight: at the beginning of a connection, and its maximum."""
FAST_ACK_S, SLOW_ACK_S = 1.0, 3.0
"""An acknowledgement within FAST_ACK_S raises the limit of bytes in flight, one after SLOW_ACK_S or more lowers it.

A state, an alarm or a reply waits behind all bytes in flight; and on no line, however slow, may the oldest array exceed
``ACK_TIMEOUT_S``.
"""
LIMITS_KEPT_S = 3600.0
"""How long a message size or a subscription that ended connections is not tried again."""
PACKET_MAX = 268_435_455
"""Maximum size of an MQTT packet."""

log = structlog.get_logger("publisher")


UNREACHABLE = Pause(1.0, 60.0)
REFUSED = Pause(30.0, 300.0)
TAKEN_OVER = Pause(5.0, 600.0)
"""Short at first: a copied machine is detected when it and its original have each reconnected once."""
REPLACED = Pause(86400.0, 86400.0)
"""Pause of a copied ledger: the person who finds the other machine restarts this one, so automatic retries are rare."""
REPLACED_AGAIN_S = 3600.0
"""Another stream seen twice within this time, or once directly after another client took over the session, proves
another machine; a broker that lost its newest retained message shows one only once."""


BrokerCause = Literal[
    "name",
    "no_route",
    "silent",
    "port",
    "certificate",
    "tls",
    "files",
    "login",
    "refused",
    "taken",
    "replaced",
    "broke",
]
"""Why the broker cannot be used; each value names what an operator has to check."""


class BrokerUnavailable(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be used now."""

    def __init__(
        self,
        message: str,
        pause: Pause | None = None,
        alarm: str | None = None,
        *,
        cause: BrokerCause = "broke",
        unexplained: bool = False,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.pause = pause or UNREACHABLE
        self.alarm = alarm
        self.unexplained = unexplained
        """A working connection was closed without a reason."""


def _repeatedly_disconnected() -> BrokerUnavailable:
    # mosquitto 2.0.11 closes the older of two connections with one client id without giving the reason.
    return BrokerUnavailable(
        "the broker accepts the connection and ends it soon after, again and again: most likely another machine uses "
        "the same `site` and `gateway`; otherwise look at the broker's limits and its log",
        TAKEN_OVER,
        "client_id_taken",
        cause="taken",
    )


_VALIDITY_PERIOD_ERRORS = (9, 10)
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def client_for(settings: Mqtt, client_id: str) -> BoundedClient:
    """Return a client with the credentials of the settings; raises BrokerUnavailable where a file is unusable."""
    version5 = settings.protocol == 5
    client = BoundedClient(
        CallbackAPIVersion.VERSION2,
        window=settings.window,
        client_id=client_id,
        protocol=mqtt.MQTTv5 if version5 else mqtt.MQTTv311,
        clean_session=None if version5 else True,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_inflight_messages_set(65535)  # the publisher enforces the window: the library does not know the broker's
    if settings.username is not None:
        password = None
        if settings.password_file is not None:
            try:
                password = read_secret(settings.password_file)
            except (OSError, ValueError) as exc:
                raise BrokerUnavailable(
                    f"the password file {settings.password_file} cannot be read: {error_text(exc)}",
                    REFUSED,
                    cause="files",
                ) from exc
        client.username_pw_set(settings.username, password)
    if settings.tls:
        try:
            client.tls_set_context(tls_context(settings))
        except (OSError, ValueError) as exc:
            raise BrokerUnavailable(f"the TLS files cannot be used: {error_text(exc)}", REFUSED, cause="files") from exc
    return client


def tls_context(settings: Mqtt, *, strict: bool | None = None) -> ssl.SSLContext:
    """Return the TLS context for the broker; raises OSError or ValueError where a file cannot be used.

    Every connection to the broker uses it. RFC 5280 conformant certificates are required where ``strict``, or else the
    setting, is true; Python's own default depends on its version.
    """
    context = ssl.create_default_context(cafile=_text(settings.ca_file))
    if settings.strict_certificates if strict is None else strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.cert_file is not None:
        # A key with a passphrase is an error: otherwise OpenSSL would prompt for it and block.
        context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: b"")
    return context


class _Connected(NamedTuple):
    code: int
    text: str
    receive_maximum: int
    maximum_packet: int


class _Disconnected(NamedTuple):
    code: int
    text: str
    by_broker: bool
    """The broker sent this reason; otherwise the library assumed it."""


class _Acknowledged(NamedTuple):
    mid: int
    code: int


class _Subscribed(NamedTuple):
    mid: int
    codes: tuple[int, ...]


class _Outgoing(NamedTuple):
    """A message that is not an event: only the newest one matters, and every connection begins with all of them."""

    topic: str
    payload: dict[str, Any] | None
    """None: an empty payload, which removes the retained message."""
    retain: bool
    correlation: bytes | None = None
    """The request's correlation data, which its reply repeats."""


class _Sent(NamedTuple):
    """A message in flight."""

    message: Message | _Outgoing
    size: int
    """Bytes of the whole packet."""
    since: float


class _Received(NamedTuple):
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


class _Mailbox:
    """Bounded mailbox of received messages: the newest ``info`` and ``receipt``, and a limited number of requests."""

    def __init__(self, prefix: str, wake: Callable[[], None]) -> None:
        self._begin = f"{prefix}/"
        self._wake = wake
        self._lock = threading.Lock()
        self._woken = False
        self._newest: dict[str, _Received] = {}
        self._requests: list[_Received] = []
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

    def _received(self, message: mqtt.MQTTMessage) -> "_Received | str":
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
        return _Received(
            topic,
            bytes(message.payload[: REQUEST_BYTES + 1] if request else message.payload),
            message.retain,
            message.timestamp,
            str(getattr(properties, "ResponseTopic", "")),
            None if correlation is None else bytes(correlation),
            None if expiry_s is None else int(expiry_s),
        )

    def take(self) -> tuple[dict[str, _Received], list[_Received], Counter[str]]:
        """Remove and return statements by topic, requests, and the number of ignored messages by reason."""
        with self._lock:
            content = self._newest, self._requests, self._ignored
            self._newest, self._requests, self._ignored = {}, [], Counter()
            self._woken = False
        return content


_EVENT_RECORDED = object()
_RESEND = object()
_MESSAGE_ARRIVED = object()
_STOP = object()


@dataclass(slots=True)
class _BlockedTopic:
    """A topic without a subscriber, or one that the broker refuses to this gateway.

    Its events are held back. The oldest of them is sent as a probe when it is due, or when a new event of the topic is
    recorded; after the probe is acknowledged, all others follow.
    """

    code: int
    upto: int
    """Highest sequence already considered; a later event triggers a probe at once."""
    due: float
    delay_s: float
    probing: bool = False


@dataclass(slots=True)
class _Session:
    """State of one connection."""

    client: BoundedClient
    mailbox: _Mailbox
    number: int
    window: int
    """Messages with events in flight at most."""
    receive_maximum: int
    """Receive Maximum of the broker: messages of any kind in flight."""
    maximum_packet: int
    """Maximum Packet Size of the broker, in bytes."""
    birth_acknowledged: bool = False
    """The birth message was acknowledged; the retained messages have arrived before that."""
    introduced: bool = False
    subscribed: bool = False
    """The subscriptions were requested: everything that precedes the events was sent."""
    subscriptions: dict[int | None, tuple[str, ...]] = field(default_factory=dict)
    """Topics by the message id of their SUBSCRIBE packet."""
    resubscribe_topics: list[str] = field(default_factory=list)
    resubscribe_at: float = 0.0
    next_missing_check: float = 0.0
    unstored_receipt: bytes = b""
    """A receipt that could not be stored because the disk is full."""
    store_retry_at: float = 0.0
    outbox: deque[_Outgoing] = field(default_factory=deque)
    cursor: int = 0
    """Everything waiting up to this sequence has been fetched."""
    more_waiting: bool = True
    rewind: bool = False
    """A topic was unblocked, or events were marked to be sent again: fetch waiting events from the beginning."""
    buffer: deque[StoredEvent] = field(default_factory=deque)
    arrays: bool = False
    """Enough events were fetched to send them as arrays."""
    again_upto: int = 0
    """StoredEvent events up to this sequence go as arrays, however few they are."""
    in_flight: dict[int, _Sent] = field(default_factory=dict)
    """By message id, the oldest first."""
    sequences: set[int] = field(default_factory=set)
    """The events among them."""
    flight_bytes: int = 0
    """Size of the arrays among them."""
    flight_limit: int = FLIGHT_INITIAL
    """Limit of ``flight_bytes``."""
    arrays_accepted: bool = False
    """The broker has acknowledged an array."""
    array_trial: bool = False
    """The first array is in flight and nothing behind it: where it is refused, its events go one by one, in order."""
    refused_topics: set[str] = field(default_factory=set)
    """Topics of messages that the broker refused."""
    started: float = field(default_factory=time.monotonic)
    oldest_since: float = 0.0
    """Monotonic time at which the oldest message in flight became the oldest."""
    one_by_one_upto: int = 0
    """Up to this sequence events go one by one: one of them may have ended the previous connections."""

    @property
    def may_send_event(self) -> bool:
        """Whether another message with events may be sent."""
        most = 1 if self.one_by_one_upto or self.array_trial else self.window
        return self.subscribed and len(self.in_flight) < most and self.flight_bytes < self.flight_limit


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
        self._requests = requests
        self._now = now
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._alarms: deque[_Outgoing] = deque(maxlen=ALARMS_KEPT)
        self._recent_alarms: deque[dict[str, Any]] = deque(maxlen=ALARMS_KEPT)
        self._blocked_topics: dict[str, _BlockedTopic] = {}
        self._accepted_stream: str | None = None
        """The stream of the last ``info`` that the broker acknowledged."""
        self._taken_over = False
        """The last attempt ended because another client took over the session, by the broker's reason code."""
        self._replaced_until = 0.0
        """Until this monotonic time a further retained ``info`` of another stream counts as the second one."""
        self._one_by_one_upto = 0
        self._array_max = self._single_max = PACKET_MAX
        """Maximum bytes of a packet, learned from this broker's disconnects."""
        self._sizes_kept_until = 0.0
        self._too_large: set[int] = set()
        """Sequences of events that exceed the limit of this broker."""
        self._altered: set[int] = set()
        """Sequences of events whose body does not fit its digest."""
        self._altered_reported = False
        self._centre_lacks_events = False
        """The last receipt listed missing events."""
        self._ignored: Counter[str] = Counter()
        """Number of messages ignored since the start, by log code."""
        self._ignored_log_at: dict[str, float] = {}
        """Log code → monotonic time from which it may be logged again."""
        self._refused_subscriptions: set[str] = set()
        """Refused subscriptions that were reported."""
        self._unanswered: Counter[str] = Counter()
        """Subscriptions → connections in a row that ended before they were answered."""
        self._suspended_subscriptions: dict[str, float] = {}
        """Topic → monotonic time from which it is subscribed to again."""
        self._problem: str | None = None
        self._cause: BrokerCause | None = None
        self._stopping = False
        self._connected = False
        self.failure: BaseException | None = None
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
        codes = {topic: blocked.code for topic, blocked in self._blocked_topics.copy().items()}
        return BrokerStatus(
            connected=True,
            unsubscribed=[topic for topic, code in codes.items() if code == NO_MATCHING_SUBSCRIBERS],
            refused={topic: code for topic, code in codes.items() if code != NO_MATCHING_SUBSCRIBERS},
            subscriptions_refused=sorted(self._refused_subscriptions),
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
        self._centre_lacks_events = self._ledger.counts().missing > 0
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
        self._inbox.put(_Outgoing(topic, payload, retain=retain))

    def alarm(self, code: str, message: str, terminal: str | None = None) -> None:
        """Publish an alarm for people; without a connection the newest hundred are kept for the next one."""
        payload = {"at": utc_text(self._now()), "alarm": code, "terminal": terminal, "message": message}
        self._recent_alarms.append(payload)
        self._inbox.put(_Outgoing(ALARM, payload, retain=False))

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The newest hundred alarms since the start, the last one first, whether published or not."""
        return list(reversed(self._recent_alarms.copy()))

    # The thread.

    def _run(self) -> None:
        failures = short_sessions = 0
        pause: Pause | None = None
        try:
            while not self._stopping:
                session = None
                try:
                    session = self._connect()
                    log.info(
                        "broker_found",
                        broker=self._where,
                        session=session.number,
                        window=session.window,
                        after_failures=failures,
                    )
                    self._problem = self._cause = None
                    self._run_session(session)
                except BrokerUnavailable as exc:
                    if self._stopping:
                        return
                    lived_s = time.monotonic() - session.started if session else 0.0
                    if session is not None:
                        self._unanswered.update(
                            topic for requested in session.subscriptions.values() for topic in requested
                        )
                    short_sessions = short_sessions + 1 if exc.unexplained and lived_s <= SHORT_SESSION_S else 0
                    problem = _repeatedly_disconnected() if short_sessions >= SHORT_SESSIONS_MAX else exc
                    self._taken_over = problem is exc and exc.cause == "taken"
                    # A connection that ends in the middle of a full window may lose the broker's last acknowledgements.
                    in_flight = session.sequences if session and short_sessions > 1 else ()
                    self._one_by_one_upto = max(in_flight, default=0)
                    steady_s = max(SHORT_SESSION_S, STEADY * problem.pause.longest_s)
                    failures = failures + 1 if problem.pause is pause and lived_s <= steady_s else 1
                    pause = problem.pause
                    pause_s = pause.after(failures)
                    # Logged once when the connection breaks, not at every attempt; and again where a person must act.
                    if self._problem is None or (pause is not UNREACHABLE and str(problem) != self._problem):
                        log.warning("broker_lost", broker=self._where, reason=str(problem), retry_s=round(pause_s, 1))
                        if problem.alarm:
                            self.alarm(problem.alarm, str(problem))
                    self._problem, self._cause = str(problem), problem.cause
                    self._wait_to_retry(pause_s)
        except BaseException as exc:
            self.failure = exc
            log.exception("publisher_failed")

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
        if isinstance(item, _Outgoing) and not item.retain and not item.topic.startswith(f"{REPLY}/"):
            self._alarms.append(item)

    def _connect(self) -> _Session:
        if time.monotonic() >= self._sizes_kept_until:
            self._array_max = self._single_max = PACKET_MAX
        number = self._ledger.next_session()
        client = self._client(number)
        try:
            client.connect(
                self._mqtt.host,
                self._mqtt.port,
                self._mqtt.keepalive_s,
                clean_start=True if self._version5 else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
                properties=_connect_properties() if self._version5 else None,
            )
        except (OSError, ValueError) as exc:
            by_hand = isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError)
            raise BrokerUnavailable(
                f"the broker {self._where} cannot be reached: {error_text(exc)}",
                REFUSED if by_hand else None,
                cause=_cause(exc),
            ) from exc
        client.loop_start()
        try:
            session = self._handshake(client, number)
        except BaseException:
            close_connection(client, gracefully=False)
            raise
        self._connected = True
        return session

    @property
    def _version5(self) -> bool:
        return self._mqtt.protocol == 5

    def _client(self, number: int) -> BoundedClient:
        client = client_for(self._mqtt, self._client_id)
        client.will_set(f"{self._prefix}/state", _json({"state": "offline", "session": number}), qos=1, retain=True)
        inbox = self._inbox

        # None of these refers to `client` by name: a reference cycle would keep every old client and its sockets open.
        def on_connect(c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
            messages = getattr(properties, "ReceiveMaximum", None) or 65535
            size = getattr(properties, "MaximumPacketSize", None) or PACKET_MAX
            inbox.put((c, _Connected(reason.value, str(reason), messages, size)))

        def on_disconnect(
            c: mqtt.Client, _u: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, _p: Properties | None
        ) -> None:
            inbox.put((c, _Disconnected(reason.value, str(reason), flags.is_disconnect_packet_from_server)))

        def on_publish(c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
            inbox.put((c, _Acknowledged(mid, reason.value)))

        def on_subscribe(c: mqtt.Client, _u: Any, mid: int, reasons: list[ReasonCode], _p: Properties | None) -> None:
            inbox.put((c, _Subscribed(mid, tuple(reason.value for reason in reasons))))

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_publish = on_publish
        client.on_subscribe = on_subscribe
        return client

    def _handshake(self, client: BoundedClient, number: int) -> _Session:
        """Wait for CONNACK; on success queue the birth message and subscribe to ``info``, before any event is sent."""
        answer = self._await_answer(client)
        if isinstance(answer, _Disconnected):
            hint = f" ({client.violation})" if client.violation else ""
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
                REFUSED,
                "login_refused",
                cause="login",
            )
        if answer.code != 0:
            hint = "; set mqtt.protocol to 3.1.1" if answer.code == UNSUPPORTED_PROTOCOL else ""
            raise BrokerUnavailable(
                f"the broker {self._where} refuses the connection ({answer.text}){hint}",
                None if answer.code in BUSY else REFUSED,
                cause="refused",
            )
        window = min(self._mqtt.window, answer.receive_maximum)
        session = _Session(
            client,
            self._attach_mailbox(client),
            number,
            window,
            answer.receive_maximum,
            answer.maximum_packet,
            again_upto=self._ledger.again_upto(),
            one_by_one_upto=self._one_by_one_upto,
        )
        birth = {"state": "online", "session": number, "at": utc_text(self._now())}
        session.outbox.append(_Outgoing(STATE, birth, retain=True))
        self._subscribe(session, INFO)
        for blocked in self._blocked_topics.values():
            blocked.probing = False
            if (
                blocked.code == NO_MATCHING_SUBSCRIBERS
            ):  # subscribers may have returned with the broker; a refusal keeps its back-off
                blocked.due, blocked.delay_s = session.started, RETRY_INITIAL_S
        return session

    def _attach_mailbox(self, client: mqtt.Client) -> _Mailbox:
        inbox, reference = self._inbox, weakref.ref(client)
        mailbox = _Mailbox(self._prefix, lambda: inbox.put((reference(), _MESSAGE_ARRIVED)))
        client.on_message = lambda _client, _userdata, message: mailbox.put(message)
        return mailbox

    def _await_answer(self, client: mqtt.Client) -> _Connected | _Disconnected:
        until = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._stopping:
            try:
                item = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise BrokerUnavailable(
                    f"the broker {self._where} accepts the connection and says nothing", cause="silent"
                ) from None
            self._keep_alarm(item)
            if isinstance(item, tuple) and item[0] is client and isinstance(item[1], _Connected | _Disconnected):
                return item[1]
        raise BrokerUnavailable("stopping")

    def _run_session(self, session: _Session) -> None:
        offline_acknowledged = False
        try:
            while not self._stopping:
                self._fill_window(session)
                self._process_inbox(session, self._next_timeout(session))
            offline_acknowledged = self._close(session)
        finally:
            self._connected = False
            for message in (*(sent.message for sent in session.in_flight.values()), *session.outbox):
                self._keep_alarm(message)
            close_connection(session.client, gracefully=offline_acknowledged)

    def _next_timeout(self, session: _Session) -> float:
        """Return how long to wait for an item of the inbox before the next timed work."""
        if session.may_send_event and (session.buffer or session.more_waiting):
            return 0.0
        due = [time.monotonic() + IDLE_S]
        if not session.birth_acknowledged:
            due.append(session.started + BIRTH_TIMEOUT_S)
        if session.in_flight:
            due.append(session.oldest_since + ACK_TIMEOUT_S)
        if session.may_send_event:
            due.extend(
                blocked.due for topic, blocked in self._blocked_topics.items() if topic != BATCH and not blocked.probing
            )
        if session.resubscribe_topics:
            due.append(session.resubscribe_at)
        if session.unstored_receipt:
            due.append(session.store_retry_at)
        if self._centre_lacks_events and session.subscribed and not session.sequences:
            due.append(session.next_missing_check)
        return max(0.0, min(due) - time.monotonic())

    def _process_inbox(self, session: _Session, timeout_s: float) -> None:
        """Wait for an item of the inbox, then process all that are there."""
        acknowledged: list[int] = []
        try:
            item = self._inbox.get(timeout=timeout_s)
            while True:
                self._process(session, item, acknowledged)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        finally:
            if acknowledged:
                self._ledger.mark_sent(acknowledged)
        if session.rewind:
            self._ledger.flush_marks()  # otherwise events acknowledged just now would be fetched and sent again
            session.cursor = 0
            session.more_waiting = True
            session.rewind = False
            session.buffer.clear()
            session.again_upto = self._ledger.again_upto()
        if session.in_flight and time.monotonic() >= session.oldest_since + ACK_TIMEOUT_S:
            oldest = next(iter(session.in_flight.values()))
            if isinstance(oldest.message, Message) and len(oldest.message.events) > 1:
                self._lower_size_limit(oldest)  # a line this slow would never transfer it
            raise BrokerUnavailable(f"the broker has left a message unacknowledged for {ACK_TIMEOUT_S:g} s")

    def _process(self, session: _Session, item: Any, acknowledged: list[int]) -> None:
        if item is _EVENT_RECORDED:
            session.more_waiting = True
        elif item is _RESEND:
            session.rewind = True
        elif isinstance(item, _Outgoing):
            session.outbox.append(item)
        elif isinstance(item, tuple) and item[0] is session.client:
            if isinstance(item[1], _Acknowledged):
                self._acknowledge(session, item[1], acknowledged)
            elif isinstance(item[1], _Disconnected):
                self._raise_disconnected(session, item[1])
            elif isinstance(item[1], _Subscribed):
                self._note_subscription(session, item[1])
            elif item[1] is _MESSAGE_ARRIVED:
                self._process_mailbox(session)

    def _raise_disconnected(self, session: _Session, end: _Disconnected) -> None:
        if end.code == SESSION_TAKEN_OVER:
            raise BrokerUnavailable(
                "another client has connected with this gateway's client id and taken its place: two machines share "
                "one `site` and `gateway`; change one of them",
                TAKEN_OVER,
                "client_id_taken",
                cause="taken",
            )
        if session.client.violation is not None:
            self._suspend_subscriptions(session.client.violation)
        messages = [sent for sent in session.in_flight.values() if isinstance(sent.message, Message)]
        if end.by_broker:
            if end.code == TOO_LARGE and messages:
                self._lower_size_limit(max(messages, key=lambda sent: sent.size))
            raise BrokerUnavailable(f"the broker ended the connection ({end.text})")
        if session.refused_topics:
            # mosquitto 2.0.11 with `max_queued_messages 0` ends the connection after each message it refuses.
            refused = ", ".join(sorted(session.refused_topics))
            raise BrokerUnavailable(f"the connection to the broker broke after it refused messages on {refused}")
        if len(messages) == 1 and isinstance(only := messages[0].message, Message) and len(only.events) > 1:
            # MQTT 3.1.1 has no reason code for a message that is too large, and mosquitto 2.0.11 with
            # `message_size_limit` sends one that MQTT 5 does not allow there: the library disconnects.
            self._lower_size_limit(messages[0])
            raise BrokerUnavailable(
                f"the connection to the broker broke ({end.text}) at a message of {messages[0].size} bytes; "
                "the next are smaller"
            )
        if requested := [topic for topics in session.subscriptions.values() for topic in topics]:
            raise BrokerUnavailable(
                f"the connection to the broker broke ({end.text}) before it answered the subscription to "
                f"{', '.join(requested)}"
            )
        # The library has only one informative reason of its own: an unanswered ping.
        raise BrokerUnavailable(
            f"the connection to the broker broke ({end.text})", unexplained=end.code != KEEP_ALIVE_TIMEOUT
        )

    def _suspend_subscriptions(self, violation: str) -> None:
        """Omit all subscriptions for a while: what they delivered ended the connection, and would end the next."""
        until = time.monotonic() + LIMITS_KEPT_S
        for topic in (INFO, RECEIPT, REQUESTS):
            self._suspended_subscriptions[topic] = until
            self._report_refused_subscription(topic, "the broker sends what it may not send")
        raise BrokerUnavailable(
            f"the broker {self._where} sent {violation}; for {LIMITS_KEPT_S / 60:.0f} minutes nothing is subscribed "
            "to, and events are sent all the same"
        )

    def _lower_size_limit(self, sent: _Sent) -> None:
        """Lower the limits: messages below the size of this one, arrays to half of it."""
        assert isinstance(sent.message, Message)  # noqa: S101 - only these can be made smaller
        if len(sent.message.events) > 1:
            self._array_max = sent.size // 2
        else:
            self._array_max = self._single_max = sent.size - 1
        self._sizes_kept_until = time.monotonic() + LIMITS_KEPT_S
        log.warning("messages_shrunk", too_large_bytes=sent.size, events=len(sent.message.events))

    def _acknowledge(self, session: _Session, answer: _Acknowledged, acknowledged: list[int]) -> None:
        if answer.mid == next(iter(session.in_flight), None):
            session.oldest_since = time.monotonic()
        sent = session.in_flight.pop(answer.mid, None)
        if sent is None:
            return
        message = sent.message
        if answer.code >= 0x80 and message.topic not in session.refused_topics:
            session.refused_topics.add(message.topic)
            if isinstance(message, _Outgoing):
                log.warning("message_refused", topic=message.topic, reason_code=answer.code)
        if isinstance(message, _Outgoing):
            session.birth_acknowledged = session.birth_acknowledged or message.topic == STATE
            if message.topic == INFO and answer.code < 0x80 and isinstance(message.payload, dict):
                self._accepted_stream = message.payload["stream"]
            return
        sequences = [event.sequence for event in message.events]
        session.sequences.difference_update(sequences)
        blocked = self._blocked_topics.get(message.topic)
        if message.topic == BATCH:
            session.flight_bytes -= sent.size
            session.array_trial = False
        if answer.code == 0:
            acknowledged.extend(sequences)
            if message.topic == BATCH:
                session.arrays_accepted = True
                self._adjust_flight_limit(session, sent)
            if blocked is not None:
                log.info("topic_heard", topic=message.topic)
                del self._blocked_topics[message.topic]
                session.rewind = message.topic != BATCH or session.rewind
        elif message.topic == BATCH:
            self._block_topic(BATCH, answer.code, blocked)
            session.rewind = True
        elif answer.code in PERMANENT_REFUSALS:
            self._park(message.events[0], answer.code)
            if blocked is not None and blocked.probing:
                blocked.probing = False
                blocked.due = time.monotonic() + blocked.delay_s
        else:
            self._block_topic(message.topic, answer.code, blocked)

    @staticmethod
    def _adjust_flight_limit(session: _Session, sent: _Sent) -> None:
        """Adjust the limit of bytes in flight to what the line carries in a second or two."""
        took_s = time.monotonic() - sent.since
        if took_s <= FAST_ACK_S:
            session.flight_limit = min(FLIGHT_MAX, session.flight_limit + sent.size)
        elif took_s >= SLOW_ACK_S:
            session.flight_limit = max(1, session.flight_limit // 2)

    def _park(self, event: StoredEvent, code: int) -> None:
        self._ledger.park(event.sequence, code)
        log.error("message_parked", sequence=event.sequence, topic=event.topic, reason_code=code)
        self.alarm("message_parked", f"the broker will never take event {event.sequence} (reason {code:#04x})")

    def _block_topic(self, topic: str, code: int, blocked: _BlockedTopic | None) -> None:
        """Hold the topic's events back; probe it later with one of them, with exponential back-off."""
        now = time.monotonic()
        fate = "the events go one by one" if topic == BATCH else "its events are kept and tried again"
        if blocked is None or blocked.code != code:
            if code == NO_MATCHING_SUBSCRIBERS:
                log.warning("topic_unheard", topic=topic)
                self.alarm("no_subscriber", f"nobody subscribes to {topic}: {fate}")
            else:
                log.warning("topic_refused", topic=topic, reason_code=code)
                hint = "; check the broker's access list" if code == NOT_AUTHORISED else ""
                self.alarm(
                    "delivery_refused",
                    f"the broker does not take what this gateway publishes on {topic} (reason {code:#04x}): "
                    f"{fate}{hint}",
                )
        if blocked is None:
            self._blocked_topics[topic] = _BlockedTopic(
                code, self._ledger.last_sequence(), now + RETRY_INITIAL_S, RETRY_INITIAL_S
            )
            return
        blocked.code = code
        if blocked.probing:
            blocked.probing = False
            blocked.delay_s = min(RETRY_MAX_S, blocked.delay_s * 2)
            blocked.due = now + blocked.delay_s

    # Outgoing messages.

    def _fill_window(self, session: _Session) -> None:
        if not session.introduced and (
            session.birth_acknowledged or time.monotonic() >= session.started + BIRTH_TIMEOUT_S
        ):
            self._publish_introduction(session)
        self._send_outbox(session)
        if session.introduced and not session.subscribed and not session.outbox:
            self._subscribe(session, RECEIPT, REQUESTS)
            session.subscribed = True
        if session.resubscribe_topics and time.monotonic() >= session.resubscribe_at:
            again, session.resubscribe_topics = session.resubscribe_topics, []
            self._subscribe(session, *again)
        for topic, held in self._blocked_topics.items():
            if topic != BATCH and session.may_send_event and not held.probing and time.monotonic() >= held.due:
                self._probe(session, topic, held)
        if session.may_send_event and not session.buffer and session.more_waiting:
            self._fetch(session)  # once per turn: many events that are held back must not delay the inbox
        while session.may_send_event and (message := self._next_message(session)) is not None:
            self._send(session, message)
        if session.unstored_receipt and time.monotonic() >= session.store_retry_at:
            self._note_receipt(session, session.unstored_receipt)
        if not (session.buffer or session.more_waiting or session.sequences):
            self._schedule_missing(session)

    def _publish_introduction(self, session: _Session) -> None:
        """Publish the introduction and the kept alarms, after the retained ``info`` was received."""
        session.client.unsubscribe(f"{self._prefix}/{INFO}")
        session.outbox.extend(_Outgoing(topic, payload, retain=True) for topic, payload in self._introduction())
        session.outbox.extend(self._alarms)
        self._alarms.clear()
        session.introduced = True

    def _schedule_missing(self, session: _Session) -> None:
        now = time.monotonic()
        if not self._centre_lacks_events or not session.subscribed or now < session.next_missing_check:
            return
        session.next_missing_check = now + MISSING_CHECK_S
        try:
            owed = self._ledger.resend_missing()
        except LedgerFull:
            return  # retried at the next check
        if owed.events or owed.forgotten:
            log.info("missing_sent_again", events=owed.events, forgotten=owed.forgotten)
            session.next_missing_check = now  # more may be missing

    def _probe(self, session: _Session, topic: str, blocked: _BlockedTopic) -> None:
        """Probe a blocked topic with its oldest waiting event."""
        owed = self._unaltered(self._ledger.pending(0, len(session.sequences) + 1, topic))
        event = next((event for event in owed if event.sequence not in session.sequences), None)
        message = None if event is None else self._single_message(session, event)
        if message is None:
            blocked.due = time.monotonic() + blocked.delay_s
        else:
            blocked.probing = True
            self._send(session, message)

    def _fetch(self, session: _Session) -> None:
        limit = max(FETCH, self._delivery.batch_from + 1)
        events = self._ledger.pending(session.cursor, limit)
        session.more_waiting = len(events) == limit
        if events:
            session.cursor = events[-1].sequence
            events = self._unaltered(events)
            session.buffer.extend(events)
        goes = sum(event.topic not in self._blocked_topics for event in events)
        session.arrays = goes > self._delivery.batch_from

    def _unaltered(self, events: list[StoredEvent]) -> list[StoredEvent]:
        """Return the events whose body fits its digest; the others are set aside and never sent."""
        altered = [event for event in events if event.is_altered]
        if altered:
            with suppress(LedgerFull):  # they are not sent either way, and are found again at the next fetch
                self._ledger.set_aside([event.sequence for event in altered])
        for event in altered:
            if event.sequence not in self._altered:
                self._altered.add(event.sequence)
                log.error("body_altered", sequence=event.sequence, topic=event.topic)
        if altered and not self._altered_reported:
            self._altered_reported = True
            self.alarm("body_altered", body_altered(altered[0].sequence))
        return [event for event in events if not event.is_altered] if altered else events

    def _next_message(self, session: _Session) -> Message | None:
        """Return the next message made of fetched events; None where none of them may be sent."""
        array: Array | None = None
        while session.buffer:
            event = session.buffer[0]
            if self._is_sendable(session, event):
                if self._belongs_in_array(session, event):
                    array = array or Array(self._payload_limit(session, BATCH))
                    if array.add(event):
                        session.buffer.popleft()
                        continue
                if array is not None and (message := array.message()):
                    return message
                session.buffer.popleft()
                if message := self._single_message(session, event):
                    return message
            else:
                session.buffer.popleft()
        return None if array is None else array.message()

    def _is_sendable(self, session: _Session, event: StoredEvent) -> bool:
        """Return whether an event may be sent: it is not in flight, and its topic is not blocked."""
        if event.sequence in session.sequences:
            return False
        if event.sequence > session.one_by_one_upto:
            session.one_by_one_upto = 0
        blocked = self._blocked_topics.get(event.topic)
        if blocked is not None and event.sequence > blocked.upto:
            blocked.upto = event.sequence
            blocked.due = time.monotonic()
        return blocked is None

    def _belongs_in_array(self, session: _Session, event: StoredEvent) -> bool:
        if self._delivery.batch_from == 0 or not (session.arrays or event.sequence <= session.again_upto):
            return False
        blocked = self._blocked_topics.get(BATCH)
        return blocked is None or (not blocked.probing and time.monotonic() >= blocked.due)

    def _single_message(self, session: _Session, event: StoredEvent) -> Message | None:
        """Return a message of one event; None, and an alarm, where it exceeds the broker's limit."""
        message = single(event, self._payload_limit(session, event.topic))
        if message is None and event.sequence not in self._too_large:
            first = not self._too_large
            self._too_large.add(event.sequence)
            if not first:  # one alarm covers all of them
                return None
            log.error("message_too_large", sequence=event.sequence, topic=event.topic)
            self.alarm(
                "message_too_large",
                f"event {event.sequence} is larger than the broker allows: it is kept; raise the broker's limit, or "
                "delivery.batch_bytes",
            )
        return message

    def _payload_limit(self, session: _Session, topic: str) -> int:
        """Return the maximum payload of a message with events, in bytes."""
        learned = self._array_max if topic == BATCH else self._single_max
        packet = min(self._delivery.batch_bytes, CENTRE_BYTES, session.maximum_packet, learned)
        return packet - self._packet_overhead(topic, ARRAY if topic == BATCH else EVENT)

    def _packet_overhead(self, topic: str, properties: Properties) -> int:
        """Return the maximum bytes of a packet beside its payload."""
        packed: bytes = properties.pack() if self._version5 else b""  # type: ignore[no-untyped-call]  # paho leaves it untyped
        return 1 + 4 + 2 + len(self._prefix) + 1 + len(topic) + 2 + len(packed)

    def _send(self, session: _Session, message: Message) -> None:
        array = message.topic == BATCH
        size = self._publish(session, message, message.body, ARRAY if array else EVENT, retain=False)
        session.sequences.update(event.sequence for event in message.events)
        if array:
            session.flight_bytes += size
            session.array_trial = not session.arrays_accepted
            if BATCH in self._blocked_topics:
                self._blocked_topics[BATCH].probing = session.array_trial = True

    def _send_outbox(self, session: _Session) -> None:
        while session.outbox and len(session.in_flight) < session.receive_maximum:
            message = session.outbox.popleft()
            properties = _PLAIN if message.correlation is None else _reply_properties(message.correlation)
            body = b"" if message.payload is None else _json(message.payload).encode()
            if len(body) + self._packet_overhead(message.topic, properties) > session.maximum_packet:
                log.warning("message_too_large", topic=message.topic)
                continue
            self._publish(session, message, body, properties, retain=message.retain)

    def _publish(
        self,
        session: _Session,
        message: Message | _Outgoing,
        body: bytes,
        properties: Properties,
        *,
        retain: bool,
    ) -> int:
        """Send a message and return the size of its packet."""
        info = session.client.publish(
            f"{self._prefix}/{message.topic}",
            body,
            qos=1,
            retain=retain,
            properties=properties if self._version5 else None,
        )
        now = time.monotonic()
        if not session.in_flight:
            session.oldest_since = now
        size = len(body) + self._packet_overhead(message.topic, properties)
        session.in_flight[info.mid] = _Sent(message, size, now)  # even if it fails: it may have ended the connection
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._process_inbox(session, 0.0)  # process what arrived before the end, and the reason for it
            raise BrokerUnavailable(f"the connection to the broker broke ({mqtt.error_string(info.rc)})")
        return size

    # Incoming messages.

    def _subscribe(self, session: _Session, *topics: str) -> None:
        # Some brokers (AWS IoT) disconnect a client that subscribes without permission: publishing matters more.
        now = time.monotonic()
        for topic in topics:
            if self._unanswered[topic] >= UNANSWERED_MAX:
                del self._unanswered[topic]
                self._suspended_subscriptions[topic] = now + LIMITS_KEPT_S
                self._report_refused_subscription(topic, "the connection ended each time it was asked for")
        topics = tuple(topic for topic in topics if now >= self._suspended_subscriptions.get(topic, 0.0))
        if not topics:
            return
        # Retained requests are outdated, and the gateway's own messages are not needed.
        wanted: Any = [(f"{self._prefix}/{topic}", 1) for topic in topics]
        if self._version5:
            options = {
                topic: SubscribeOptions(
                    qos=1, noLocal=True, retainAsPublished=True, retainHandling=2 if topic == REQUESTS else 0
                )
                for topic in topics
            }
            wanted = [(f"{self._prefix}/{topic}", option) for topic, option in options.items()]
        _, mid = session.client.subscribe(wanted)
        session.subscriptions[mid] = topics  # even if it fails: it may have ended the connection

    def _note_subscription(self, session: _Session, answer: _Subscribed) -> None:
        """Report a refused subscription once. Events are published all the same."""
        topics = session.subscriptions.pop(answer.mid, ())
        for topic in topics:
            del self._unanswered[topic]
        for topic, code in zip(topics, answer.codes, strict=False):
            if code < 0x80:
                if topic in self._refused_subscriptions:
                    self._refused_subscriptions.discard(topic)
                    log.info("subscription_granted", topic=topic)
                continue
            self._report_refused_subscription(topic, f"reason {code:#04x}")
            if topic != INFO:
                session.resubscribe_topics.append(topic)
                session.resubscribe_at = time.monotonic() + SUBSCRIBE_AGAIN_S

    def _report_refused_subscription(self, topic: str, why: str) -> None:
        if topic in self._refused_subscriptions:
            return
        self._refused_subscriptions.add(topic)
        log.warning("subscription_refused", topic=topic, reason=why)
        if topic != INFO:
            what = "receipts" if topic == RECEIPT else "commands"
            self.alarm(
                "subscription_refused",
                f"the broker does not let this gateway subscribe to {topic} ({why}): {what} of the centre do not "
                "arrive; check the broker's access list",
            )

    def _process_mailbox(self, session: _Session) -> None:
        statements, requests, ignored = session.mailbox.take()
        for reason, count in ignored.items():
            self._count_ignored("message_ignored", reason, count)
        if INFO in statements and not session.introduced:
            self._handle(INFO, partial(self._judge_retained_info, session, statements[INFO].payload))
        if RECEIPT in statements and statements[RECEIPT].payload:
            self._handle(RECEIPT, partial(self._note_receipt, session, statements[RECEIPT].payload))
        for message in requests:
            self._handle("cmd", partial(self._forward_request, message))

    def _handle(self, topic: str, work: Callable[[], None]) -> None:
        """Run ``work`` for one message; an error costs this message only, which is counted as ignored.

        Errors of the broker or the ledger are not caused by the message and propagate.
        """
        try:
            work()
        except (BrokerUnavailable, LedgerError):
            raise
        except Exception as exc:
            if self._may_log("message_failed"):
                log.exception("message_failed", topic=topic)
            self._count_ignored("message_ignored", f"{topic}: {type(exc).__name__}")

    def _count_ignored(self, code: str, reason: str, count: int = 1) -> bool:
        """Count ignored messages; log each kind once an hour. Return whether it was logged."""
        self._ignored[code] += count
        if not self._may_log(code):
            return False
        log.warning(code, reason=reason, ignored=self._ignored[code])
        return True

    def _may_log(self, code: str) -> bool:
        """Return whether this log code was not logged within the last hour."""
        now = time.monotonic()
        if now < self._ignored_log_at.get(code, 0.0):
            return False
        self._ignored_log_at[code] = now + IGNORED_LOG_S
        return True

    def _judge_retained_info(self, session: _Session, payload: bytes) -> None:
        """Judge the retained ``info`` of this gateway.

        A higher sequence than the ledger's proves that this ledger was set back. Another stream than the last one
        acknowledged to this process proves that another machine publishes under this name, if it is seen twice, or once
        directly after another client took over the session. The machine that has that stream among its own earlier ones
        is the copy, and publishes nothing more until it is restarted.
        """
        try:
            info = info_from(payload)
        except ValueError as exc:
            if payload:  # not written by this gateway; the introduction replaces it
                self._count_ignored("message_ignored", f"{INFO}: {exc}")
            return
        before = self._ledger.stream
        try:
            judgement = self._ledger.judge_info(info)
        except LedgerFull as exc:
            raise self._no_space_for_new_stream() from exc
        if judgement is Judgement.SET_BACK:
            self._report_rollback(session, f"the broker has retained that {info.sequence} events were recorded")
        elif judgement is Judgement.REPEATED:
            self._report_repeated_rollback(f"the retained info claims {info.sequence} events")
        if self._accepted_stream is None or info.stream in (self._accepted_stream, before):
            return
        if judgement is Judgement.SUPERSEDED:
            if self._taken_over or time.monotonic() < self._replaced_until:
                raise BrokerUnavailable(
                    "another machine is at work with the ledger that this one was copied from and the same `site` "
                    "and `gateway`; this copy publishes nothing more. Give one of them another name, or switch it off, "
                    "and restart the one that is to go on",
                    REPLACED,
                    "client_id_taken",
                    cause="replaced",
                )
            self._replaced_until = time.monotonic() + REPLACED_AGAIN_S
        else:
            self.alarm(
                "client_id_taken",
                "another machine publishes with the same `site` and `gateway`, and a ledger this one does not know; "
                "change one of them, or switch it off",
            )

    @staticmethod
    def _no_space_for_new_stream() -> BrokerUnavailable:
        # No statement about this stream may be published any more, and the retained ``info`` must stay.
        return BrokerUnavailable(
            "the ledger was set back to an older state, and the disk is too full to begin a new stream", REFUSED
        )

    def _report_rollback(self, session: _Session, proof: str) -> None:
        self.alarm(
            "rollback_detected",
            f"{proof}, more than the ledger knows: it was set back to an older state; a new stream begins",
        )
        if session.introduced:
            session.outbox.extend(_Outgoing(topic, payload, retain=True) for topic, payload in self._introduction())

    def _report_repeated_rollback(self, claim: str) -> None:
        what = f"{claim}, more than the ledger knows, less than an hour after a stream was opened for such a claim"
        if self._count_ignored("rollback_repeated", what):
            self.alarm(
                "rollback_repeated",
                f"{what}: it is ignored; find out who may write the receipt and the info of this gateway",
            )

    def _note_receipt(self, session: _Session, payload: bytes) -> None:
        try:
            receipt = receipt_from(payload)
        except ValueError as exc:
            if self._count_ignored("receipt_invalid", what := f"a receipt cannot be read ({exc})"):
                self.alarm("receipt_invalid", f"{what}: it is ignored; look at the centre's inbox")
            return
        session.unstored_receipt = b""
        try:
            judgement = self._ledger.note_receipt(receipt)
        except LedgerFull as exc:
            if receipt.stream == self._ledger.stream and receipt.upto > self._ledger.assigned():
                raise self._no_space_for_new_stream() from exc
            session.unstored_receipt = payload
            session.store_retry_at = time.monotonic() + MISSING_CHECK_S
            return
        if judgement is Judgement.FOREIGN:
            what = "a receipt speaks of a stream that this ledger never had"
            if self._count_ignored("receipt_foreign", what):
                self.alarm("receipt_foreign", f"{what}: it is ignored; look at the centre's inbox")
        elif judgement is Judgement.SET_BACK:
            self._report_rollback(session, f"the centre holds {receipt.upto} events of the stream")
        elif judgement is Judgement.REPEATED:
            self._report_repeated_rollback(f"a receipt covers {receipt.upto} events")
        if judgement is not Judgement.NEWS:
            return
        missing = sum(last - first + 1 for first, last in receipt.missing)
        if missing and not self._centre_lacks_events:
            log.warning("events_missing", events=missing, ranges=len(receipt.missing), upto=receipt.upto)
        elif self._centre_lacks_events and not missing:
            log.info("events_complete", upto=receipt.upto)
        self._centre_lacks_events = bool(missing)
        session.next_missing_check = 0.0

    def _forward_request(self, message: _Received) -> None:
        """Forward a request; its reply is queued in the outbox."""
        name = message.topic.rpartition("/")[2]
        if message.retain or not re.fullmatch(r"[a-z0-9-]{1,32}", name):
            self._count_ignored("request_ignored", "retained" if message.retain else "no name of a command")
            return
        wanted = message.response_topic.removeprefix(f"{self._prefix}/")
        topic = wanted if re.fullmatch(rf"{REPLY}(/[A-Za-z0-9._-]{{1,64}}){{1,4}}", wanted) else f"{REPLY}/{name}"
        correlation = message.correlation
        inbox = self._inbox
        self._requests(
            Request(
                name,
                message.payload,
                lambda answer: inbox.put(_Outgoing(topic, answer, retain=False, correlation=correlation)),
                None if message.expiry_s is None else message.at + message.expiry_s,
            )
        )

    def _close(self, session: _Session) -> bool:
        """Publish ``offline`` and wait shortly for acknowledgements, so that fewer events are sent twice.

        Return whether ``offline`` was acknowledged; if not, the will is to be published.
        """
        until = time.monotonic() + CLOSE_TIMEOUT_S
        offline = _Outgoing(
            STATE, {"state": "offline", "session": session.number, "at": utc_text(self._now())}, retain=True
        )
        session.outbox.append(offline)
        with suppress(BrokerUnavailable):
            while (session.in_flight or session.outbox) and (left := until - time.monotonic()) > 0:
                self._send_outbox(session)
                self._process_inbox(session, left)
        unacknowledged = (*(sent.message for sent in session.in_flight.values()), *session.outbox)
        return all(message is not offline for message in unacknowledged)


def close_connection(client: mqtt.Client, *, gracefully: bool) -> None:
    """End the connection and the library's thread, whatever the broker does; not ``gracefully``: the will is published.

    The library alone would wait until the keep-alive runs out for a broker that has stopped reading.
    """
    if gracefully:
        client.disconnect()
        until = time.monotonic() + DISCONNECT_TIMEOUT_S
        while client.socket() is not None and time.monotonic() < until:
            time.sleep(0.005)
    connection = client.socket()
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not SSLSocket's: its thread may be reading
    with suppress(AttributeError):  # its thread may end between the library's look at it and the join
        client.loop_stop()


class _Packed(Properties):
    """MQTT properties that many messages share, packed once: the library would pack them for each message."""

    _packed: bytes

    def __init__(self, content_type: str) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves these untyped
        self.ContentType = content_type
        self.PayloadFormatIndicator = 1
        packed = super().pack()  # type: ignore[no-untyped-call]
        object.__setattr__(self, "_packed", packed)  # the class takes names of MQTT properties only

    def pack(self) -> bytes:
        """Return the bytes that go onto the wire."""
        return self._packed


EVENT = _Packed("application/cloudevents+json")
ARRAY = _Packed("application/cloudevents-batch+json")
_PLAIN = _Packed("application/json")


def _reply_properties(correlation: bytes) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves this one untyped
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1
    properties.CorrelationData = correlation
    return properties


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves this one untyped
    properties.MaximumPacketSize = MESSAGE_BYTES
    return properties


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _json(payload: dict[str, Any]) -> str:
    return json.dumps(payload, separators=(",", ":"))


def body_altered(number: int) -> str:
    """Return the alarm's message about an event whose body does not fit its digest."""
    return (
        f"event {number} in the ledger is not what was written: it is not sent, and the centre gets its digest only. "
        "Keep a copy of data_dir as it is, look at the disk, run `hadir verify`"
    )


def error_text(exc: Exception) -> str:
    """Return in words for people why a connection cannot be made."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({certificate_fault(exc)})"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return f"no TLS ({exc.reason.lower().replace('_', ' ')})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return getattr(exc, "strerror", None) or str(exc)


def certificate_fault(exc: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with a certificate, and where to look."""
    if exc.verify_code in _VALIDITY_PERIOD_ERRORS:
        return f"{exc.verify_message}; is this machine's clock right?"
    if is_incomplete(exc):
        advice = "docs/broker.md makes a right one, and says what strict_certificates is for"
        return f"{exc.verify_message}; Python 3.13 and newer want that: {advice}"
    return exc.verify_message


def is_incomplete(exc: ssl.SSLCertVerificationError) -> bool:
    """Return whether a certificate is refused only by the checks added in Python 3.13 (VERIFY_X509_STRICT)."""
    return any(part in exc.verify_message.lower() for part in ("key usage", "key identifier", "basic constraints"))


def _cause(exc: Exception) -> BrokerCause:
    """Return why a connection cannot be made, as a :data:`BrokerCause`."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(exc, ssl.SSLError):
        return "tls"
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "name"
    if isinstance(exc, TimeoutError):
        return "silent"
    if isinstance(exc, ConnectionRefusedError):
        return "port"
    number = getattr(exc, "errno", None)
    return "no_route" if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN) else "broke"
