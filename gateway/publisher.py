"""From the ledger to the broker: numbered events in order, marked sent only when the broker says it has them.

One thread decides everything. The MQTT library's callbacks only put what happened into a queue, because an exception in
one of them would kill the library's network thread unseen. Every connection uses a new client object: what an old one
still remembered is forgotten, and the ledger is asked again, so nothing is sent from two memories.
"""

import json
import queue
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.ledger import Ledger, Waiting
from gateway.punch import utc_text
from gateway.settings import Mqtt, Settings, read_secret

# Reason codes of MQTT 5 (specification, 2.4) that call for a reaction of their own.
NO_MATCHING_SUBSCRIBERS = 0x10
BAD_CREDENTIALS = frozenset({0x86, 0x87, 0x8C})
SESSION_TAKEN_OVER = 0x8E
PARKED = frozenset({0x90, 0x99})
"""Refusals of one message that no later attempt can change: its topic or its payload."""

CONNECT_TIMEOUT_S = 5.0
ACK_TIMEOUT_S = 60.0
"""A broker that acknowledges nothing for so long has lost us, whatever the connection says."""
SHORT_LIFE_S = 60.0
SHORT_LIVES = 3
"""So many connections in a row that the broker ended so soon are no accident."""
FAREWELL_S = 2.0
FETCH = 500
RETRY_FROM_S, RETRY_TO_S = 30.0, 600.0
"""Back-off of one topic that nobody hears or that we may not use."""
ALARMS_KEPT = 100

log = structlog.get_logger("publisher")


@dataclass(frozen=True, slots=True)
class Pause:
    """How long to stay away from the broker after a failure: doubling, with jitter so that offices do not march."""

    first_s: float
    longest_s: float

    def after(self, failures: int) -> float:
        """Return the pause after this many failures in a row."""
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        return jitter * min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 16))


UNREACHABLE = Pause(1.0, 60.0)
REFUSED = Pause(30.0, 300.0)
TAKEN_OVER = Pause(120.0, 600.0)


class BrokerUnavailable(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be used now."""

    def __init__(self, message: str, pause: Pause = UNREACHABLE, alarm: str | None = None) -> None:
        super().__init__(message)
        self.pause = pause
        self.alarm = alarm


def _thrown_out(exc: BrokerUnavailable) -> BrokerUnavailable:
    # mosquitto 2.0.11 closes the older of two connections with one client id without giving the reason.
    return BrokerUnavailable(
        f"the broker accepts the connection and ends it soon after, again and again ({exc}): most likely another machine "
        "uses the same `site` and `gateway`; otherwise look at the broker's limits and its log",
        TAKEN_OVER,
        "client_id_taken",
    )


class _Connected(NamedTuple):
    code: int
    text: str
    receive_maximum: int


class _Disconnected(NamedTuple):
    code: int
    text: str


class _Acknowledged(NamedTuple):
    mid: int
    code: int


class _Outgoing(NamedTuple):
    """A message without evidence value: the newest counts, and a new connection begins with all of them anyway."""

    topic: str
    payload: dict[str, Any]
    retain: bool


_RECORDED = object()
_STOP = object()


@dataclass(slots=True)
class _Silence:
    """A topic whose messages the broker takes for nobody, or does not take from us."""

    code: int
    due: float
    delay_s: float
    probing: bool = False


@dataclass(slots=True)
class _Conversation:
    """What is true for the length of one connection."""

    client: mqtt.Client
    session: int
    window: int
    """Events in flight at most."""
    receive_maximum: int
    """Messages of any kind in flight at most, by the broker's word."""
    outbox: deque[_Outgoing] = field(default_factory=deque)
    cursor: int = 0
    """Everything waiting up to this sequence has been fetched once."""
    tried: int = 0
    more: bool = True
    rewind: bool = False
    """A topic is heard again: what it still owes is to be fetched from the beginning."""
    buffer: deque[Waiting] = field(default_factory=deque)
    in_flight: dict[int, Waiting | None] = field(default_factory=dict)
    sequences: set[int] = field(default_factory=set)
    silences: dict[str, _Silence] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    acknowledged_at: float = field(default_factory=time.monotonic)


class Publisher:
    """Publishes one ledger to one broker."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        greeting: Callable[[], Iterable[tuple[str, dict[str, Any]]]] = tuple,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``greeting`` returns the retained topics and payloads that every connection begins with, after ``state``."""
        self._mqtt: Mqtt = settings.mqtt
        self._client_id = settings.client_id
        self._prefix = settings.topic_prefix
        self._ledger = ledger
        self._greeting = greeting
        self._now = now
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._alarms: deque[_Outgoing] = deque(maxlen=ALARMS_KEPT)
        self._stopping = False
        self._connected = False
        self.last_sent: datetime | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""
        return self._connected

    @property
    def is_alive(self) -> bool:
        """Whether the publishing thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to connect and publish, and go on until :meth:`stop`."""
        self._ledger.on_recorded = lambda: self._inbox.put(_RECORDED)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Say ``offline``, disconnect and end; return whether that was done within ``timeout_s``."""
        self._stopping = True
        self._inbox.put(_STOP)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def announce(self, topic: str, payload: dict[str, Any]) -> None:
        """Publish a retained message below the prefix now; without a connection the next greeting will carry it."""
        self._inbox.put(_Outgoing(topic, payload, retain=True))

    def alarm(self, code: str, message: str, terminal: str | None = None) -> None:
        """Echo for people that something is wrong or right again; kept for the next connection, the newest hundred."""
        payload = {"at": utc_text(self._now()), "alarm": code, "terminal": terminal, "message": message}
        self._inbox.put(_Outgoing("alarm", payload, retain=False))

    # The thread.

    def _run(self) -> None:
        failures = short_lives = 0
        told: str | None = None
        try:
            while not self._stopping:
                conversation = None
                try:
                    conversation = self._connect()
                    if told is not None:
                        log.info("broker_found", after_failures=failures)
                        told = None
                    self._converse(conversation)
                except BrokerUnavailable as exc:
                    lived_s = 0.0 if conversation is None else time.monotonic() - conversation.begun
                    failures = 1 if lived_s > SHORT_LIFE_S else failures + 1
                    if conversation is not None:
                        short_lives = 0 if lived_s > SHORT_LIFE_S else short_lives + 1
                    problem = exc if exc.alarm or short_lives < SHORT_LIVES else _thrown_out(exc)
                    pause_s = problem.pause.after(failures)
                    if str(problem) != told:
                        # Once when it breaks, not at every attempt.
                        log.warning("broker_lost", reason=str(problem), retry_s=round(pause_s, 1))
                        if problem.alarm:
                            self.alarm(problem.alarm, str(problem))
                        told = str(problem)
                    self._sit_out(pause_s)
        except BaseException as exc:
            self.failure = exc
            log.exception("publisher_failed")

    def _sit_out(self, pause_s: float) -> None:
        """Wait, keeping alarms and dropping what the next greeting will say anyway."""
        until = time.monotonic() + pause_s
        while not self._stopping and (left := until - time.monotonic()) > 0:
            try:
                happened = self._inbox.get(timeout=left)
            except queue.Empty:
                return
            self._keep_alarm(happened)

    def _keep_alarm(self, happened: object) -> None:
        if isinstance(happened, _Outgoing) and not happened.retain:
            self._alarms.append(happened)

    def _connect(self) -> _Conversation:
        session = self._ledger.next_session()
        client = self._client(session)
        where = f"{self._mqtt.host}:{self._mqtt.port}"
        try:
            client.connect(
                self._mqtt.host,
                self._mqtt.port,
                self._mqtt.keepalive_s,
                clean_start=True if self._mqtt.protocol == 5 else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            )
        except (OSError, ValueError) as exc:
            raise BrokerUnavailable(f"the broker {where} cannot be reached: {_plain(exc)}") from exc
        client.loop_start()
        try:
            return self._greet(client, session, where)
        except BrokerUnavailable:
            client.disconnect()
            client.loop_stop()
            raise

    def _client(self, session: int) -> mqtt.Client:
        version5 = self._mqtt.protocol == 5
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=mqtt.MQTTv5 if version5 else mqtt.MQTTv311,
            clean_session=None if version5 else True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(65535)  # the window is ours to keep: the library does not know the broker's
        if self._mqtt.username is not None:
            password = None
            if self._mqtt.password_file is not None:
                try:
                    password = read_secret(self._mqtt.password_file)
                except OSError as exc:
                    raise BrokerUnavailable(
                        f"the password file {self._mqtt.password_file} cannot be read: {_plain(exc)}", REFUSED
                    ) from exc
            client.username_pw_set(self._mqtt.username, password)
        if self._mqtt.tls:
            try:
                client.tls_set(
                    ca_certs=_text(self._mqtt.ca_file),
                    certfile=_text(self._mqtt.cert_file),
                    keyfile=_text(self._mqtt.key_file),
                )
            except (OSError, ssl.SSLError) as exc:
                raise BrokerUnavailable(f"the TLS files cannot be used: {_plain(exc)}", REFUSED) from exc
        client.will_set(f"{self._prefix}/state", _json({"state": "offline", "session": session}), qos=1, retain=True)
        inbox = self._inbox

        def on_connect(_c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
            limit = getattr(properties, "ReceiveMaximum", None) if properties else None
            inbox.put((client, _Connected(reason.value, str(reason), limit or 65535)))

        def on_disconnect(_c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Properties | None) -> None:
            inbox.put((client, _Disconnected(reason.value, str(reason))))

        def on_publish(_c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
            inbox.put((client, _Acknowledged(mid, reason.value)))

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_publish = on_publish
        return client

    def _greet(self, client: mqtt.Client, session: int, where: str) -> _Conversation:
        """Wait for the broker's answer; on success say who and how we are, before any evidence."""
        until = time.monotonic() + CONNECT_TIMEOUT_S
        while True:
            try:
                happened = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise BrokerUnavailable(f"the broker {where} does not answer") from None
            if happened is _STOP:
                raise BrokerUnavailable("stopping")
            self._keep_alarm(happened)
            if isinstance(happened, tuple) and happened[0] is client:
                answer = happened[1]
                break
        if isinstance(answer, _Disconnected) or answer.code != 0:
            if answer.code in BAD_CREDENTIALS:
                raise BrokerUnavailable(
                    f"the broker {where} refuses the login ({answer.text}); check mqtt.username, the password file and "
                    "the broker's list of users",
                    REFUSED,
                    "login_refused",
                )
            raise BrokerUnavailable(f"the broker {where} refuses the connection ({answer.text})", REFUSED)
        conversation = _Conversation(
            client, session, min(self._mqtt.window, answer.receive_maximum), answer.receive_maximum
        )
        self._connected = True
        log.info("broker_connected", broker=where, session=session, window=conversation.window)
        birth = {"state": "online", "session": session, "at": utc_text(self._now())}
        conversation.outbox.append(_Outgoing("state", birth, retain=True))
        conversation.outbox.extend(_Outgoing(topic, payload, retain=True) for topic, payload in self._greeting())
        conversation.outbox.extend(self._alarms)
        self._alarms.clear()
        return conversation

    def _converse(self, conversation: _Conversation) -> None:
        session_client = conversation.client
        try:
            while not self._stopping:
                self._fill_window(conversation)
                self._listen(conversation)
            self._farewell(conversation)
        finally:
            self._connected = False
            session_client.disconnect()
            session_client.loop_stop()

    def _listen(self, conversation: _Conversation) -> None:
        """Wait for something to happen, then take in everything that has."""
        try:
            happened = self._inbox.get(timeout=self._patience(conversation))
        except queue.Empty:
            happened = None
        acknowledged: list[int] = []
        try:
            while happened is not None:
                self._take(conversation, happened, acknowledged)
                happened = self._inbox.get_nowait()
        except queue.Empty:
            pass
        finally:
            if acknowledged:
                self._ledger.mark_sent(acknowledged)
                self.last_sent = self._now()
        if conversation.rewind:
            self._ledger.flush_marks()  # or what has just been acknowledged would be fetched, and sent, once more
            conversation.cursor = 0
            conversation.more = True
            conversation.rewind = False
            conversation.buffer.clear()
        if conversation.in_flight and time.monotonic() - conversation.acknowledged_at > ACK_TIMEOUT_S:
            raise BrokerUnavailable(f"the broker has acknowledged nothing for {ACK_TIMEOUT_S:g} s")

    def _patience(self, conversation: _Conversation) -> float:
        due = [silence.due for silence in conversation.silences.values() if not silence.probing]
        return min(5.0, max(0.0, min(due) - time.monotonic())) if due else 5.0

    def _take(self, conversation: _Conversation, happened: Any, acknowledged: list[int]) -> None:
        if happened is _RECORDED:
            conversation.more = True
        elif isinstance(happened, _Outgoing):
            conversation.outbox.append(happened)
        elif isinstance(happened, tuple) and happened[0] is conversation.client:
            if isinstance(happened[1], _Acknowledged):
                self._acknowledge(conversation, happened[1], acknowledged)
            elif isinstance(happened[1], _Disconnected):
                self._explain_end(happened[1])

    @staticmethod
    def _explain_end(end: _Disconnected) -> None:
        if end.code == SESSION_TAKEN_OVER:
            raise BrokerUnavailable(
                "another client has connected with this gateway's client id and taken its place: two machines share "
                "one `site` and `gateway`; change one of them",
                TAKEN_OVER,
                "client_id_taken",
            )
        raise BrokerUnavailable(f"the connection to the broker ended ({end.text})")

    def _acknowledge(self, conversation: _Conversation, answer: _Acknowledged, acknowledged: list[int]) -> None:
        conversation.acknowledged_at = time.monotonic()
        event = conversation.in_flight.pop(answer.mid, None)
        if event is None:
            if answer.code >= 0x80:
                log.warning("message_refused", reason_code=answer.code)
            return
        conversation.sequences.discard(event.sequence)
        silence = conversation.silences.get(event.topic)
        if answer.code == 0:
            acknowledged.append(event.sequence)
            if silence is not None:
                log.info("topic_heard", topic=event.topic)
                del conversation.silences[event.topic]
                conversation.rewind = True
        elif answer.code in PARKED:
            self._ledger.park(event.sequence, answer.code)
            log.error("message_parked", sequence=event.sequence, topic=event.topic, reason_code=answer.code)
            self.alarm(
                "message_parked", f"the broker will never take event {event.sequence} (reason {answer.code:#04x})"
            )
        else:
            self._fall_silent(conversation, event, answer.code, silence)

    def _fall_silent(self, conversation: _Conversation, event: Waiting, code: int, silence: _Silence | None) -> None:
        """Keep the event waiting; try its topic again later with one message, longer and longer."""
        now = time.monotonic()
        if silence is None:
            conversation.silences[event.topic] = _Silence(code, now + RETRY_FROM_S, RETRY_FROM_S)
            if code == NO_MATCHING_SUBSCRIBERS:
                log.warning("topic_unheard", topic=event.topic)
                self.alarm("no_subscriber", f"nobody subscribes to {event.topic}: its events are kept and tried again")
            else:
                log.warning("topic_refused", topic=event.topic, reason_code=code)
                self.alarm(
                    "delivery_refused",
                    f"the broker does not let this gateway publish on {event.topic} (reason {code:#04x}): its events are "
                    "kept and tried again; check the broker's access list",
                )
        elif silence.probing:
            silence.probing = False
            silence.code = code
            silence.delay_s = min(RETRY_TO_S, silence.delay_s * 2)
            silence.due = now + silence.delay_s

    def _fill_window(self, conversation: _Conversation) -> None:
        self._say_what_waits(conversation)
        for topic, silence in conversation.silences.items():
            if not silence.probing and time.monotonic() >= silence.due:
                probe = next(
                    (
                        event
                        for event in self._ledger.pending(0, conversation.window + 1, topic)
                        if event.sequence not in conversation.sequences
                    ),
                    None,
                )
                if probe is not None:
                    silence.probing = True
                    self._send(conversation, probe)
        while len(conversation.in_flight) < conversation.window:
            if not conversation.buffer and not self._fetch(conversation):
                return
            event = conversation.buffer.popleft()
            if event.sequence in conversation.sequences:
                continue
            if event.sequence <= conversation.tried and event.topic in conversation.silences:
                continue
            conversation.tried = max(conversation.tried, event.sequence)
            self._send(conversation, event)

    def _fetch(self, conversation: _Conversation) -> bool:
        if not conversation.more:
            return False
        events = self._ledger.pending(conversation.cursor, FETCH)
        conversation.more = len(events) == FETCH
        if events:
            conversation.cursor = events[-1].sequence
            conversation.buffer.extend(events)
        return bool(events)

    def _send(self, conversation: _Conversation, event: Waiting) -> None:
        mid = self._publish(conversation, event.topic, event.body, _EVENT, retain=False)
        conversation.in_flight[mid] = event
        conversation.sequences.add(event.sequence)

    def _say_what_waits(self, conversation: _Conversation) -> None:
        while conversation.outbox and len(conversation.in_flight) < conversation.receive_maximum:
            message = conversation.outbox.popleft()
            mid = self._publish(conversation, message.topic, _json(message.payload), _PLAIN, retain=message.retain)
            conversation.in_flight[mid] = None

    def _publish(
        self, conversation: _Conversation, topic: str, body: str, properties: Properties, *, retain: bool
    ) -> int:
        if not conversation.in_flight:
            conversation.acknowledged_at = time.monotonic()
        info = conversation.client.publish(
            f"{self._prefix}/{topic}",
            body.encode(),
            qos=1,
            retain=retain,
            properties=properties if self._mqtt.protocol == 5 else None,
        )
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_QUEUE_SIZE):
            raise BrokerUnavailable(f"the connection to the broker ended ({mqtt.error_string(info.rc)})")
        return info.mid

    def _farewell(self, conversation: _Conversation) -> None:
        """Say ``offline`` and give what is in flight a moment, so that fewer events travel twice."""
        until = time.monotonic() + FAREWELL_S
        offline = {"state": "offline", "session": conversation.session, "at": utc_text(self._now())}
        conversation.outbox.append(_Outgoing("state", offline, retain=True))
        acknowledged: list[int] = []
        try:
            while (conversation.in_flight or conversation.outbox) and (left := until - time.monotonic()) > 0:
                self._say_what_waits(conversation)
                happened = self._inbox.get(timeout=left)
                if happened is not _RECORDED and not isinstance(happened, _Outgoing):
                    self._take(conversation, happened, acknowledged)
        except (queue.Empty, BrokerUnavailable):
            pass
        finally:
            self._ledger.mark_sent(acknowledged)


def _properties(content_type: str) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves this one untyped
    properties.ContentType = content_type
    properties.PayloadFormatIndicator = 1
    return properties


_EVENT = _properties("application/cloudevents+json")
_PLAIN = _properties("application/json")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _json(payload: dict[str, Any]) -> str:
    return json.dumps(payload, separators=(",", ":"))


def _plain(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return getattr(exc, "strerror", None) or str(exc)
