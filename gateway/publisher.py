"""From the ledger to the broker: numbered events in order, marked sent only when the broker says it has them.

One thread decides everything. The MQTT library's callbacks only put what happened into a queue, because an exception in
one of them would kill the library's network thread unseen. Every connection uses a new client object: what an old one
still remembered is forgotten, and the ledger is asked again, so nothing is sent from two memories.
"""

import json
import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
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
from gateway.pause import Pause
from gateway.punch import utc_text
from gateway.settings import Mqtt, Settings, read_secret

# Reason codes of MQTT 5 (specification, 2.4) that call for a reaction of their own.
NO_MATCHING_SUBSCRIBERS = 0x10
UNSUPPORTED_PROTOCOL = 0x84
NOT_AUTHORISED = 0x87
BAD_CREDENTIALS = frozenset({0x86, NOT_AUTHORISED, 0x8C})
KEEP_ALIVE_TIMEOUT = 0x8D
SESSION_TAKEN_OVER = 0x8E
BUSY = frozenset({0x88, 0x89, 0x97, 0x9F})
"""Refusals of a connection that pass by themselves: unavailable, busy, a quota, too many connections at once."""
PARKED = frozenset({0x90, 0x99})
"""Refusals of one message that no later attempt can change: its topic or its payload."""

CONNECT_TIMEOUT_S = 5.0
ACK_TIMEOUT_S = 60.0
"""A broker that leaves the oldest message unacknowledged for so long has lost it, whatever the connection says."""
SHORT_LIVES = 3
SHORT_LIFE_S = 300.0
"""So many connections in a row that end so soon without a reason are no accident.

Longer than the first pause of who notices it: then the other one of two with one client id notices it too.
"""
FAREWELL_S = 2.0
HANG_UP_S = 1.0
FETCH = 500
IDLE_S = 5.0
RETRY_FROM_S, RETRY_TO_S = 5.0, 600.0
"""Back-off of one topic that nobody hears or that we may not use."""
ALARMS_KEPT = 100

log = structlog.get_logger("publisher")


UNREACHABLE = Pause(1.0, 60.0)
REFUSED = Pause(30.0, 300.0)
TAKEN_OVER = Pause(120.0, 600.0)


class BrokerUnavailable(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be used now."""

    def __init__(
        self, message: str, pause: Pause | None = None, alarm: str | None = None, *, unexplained: bool = False
    ) -> None:
        super().__init__(message)
        self.pause = pause or UNREACHABLE
        self.alarm = alarm
        self.unexplained = unexplained
        """A working connection was closed, and nobody said why."""


def _thrown_out() -> BrokerUnavailable:
    # mosquitto 2.0.11 closes the older of two connections with one client id without giving the reason.
    return BrokerUnavailable(
        "the broker accepts the connection and ends it soon after, again and again: most likely another machine uses "
        "the same `site` and `gateway`; otherwise look at the broker's limits and its log",
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
    by_broker: bool
    """The broker gave this reason; otherwise it is the library's guess."""


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
    """A topic whose messages the broker takes for nobody, or does not take from us.

    Its events are held back. The oldest of them is tried when it is due, or when something new is recorded; as soon as
    it is taken, all the others follow.
    """

    code: int
    upto: int
    """What was recorded up to here is no news."""
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
    """Everything waiting up to this sequence has been fetched."""
    more: bool = True
    rewind: bool = False
    """A topic is heard again: what it still owes is to be fetched from the beginning."""
    buffer: deque[Waiting] = field(default_factory=deque)
    in_flight: dict[int, Waiting | _Outgoing] = field(default_factory=dict)
    """By message id, the oldest first."""
    sequences: set[int] = field(default_factory=set)
    """The events among them."""
    refused: set[str] = field(default_factory=set)
    """Topics of messages that the broker has refused."""
    begun: float = field(default_factory=time.monotonic)
    oldest_since: float = 0.0
    """Since when the oldest message in flight has been the oldest."""
    doubtful: int = 0
    """Up to this sequence events go one by one: one of them may be what ended the connections before."""

    @property
    def has_room(self) -> bool:
        """Whether another event may be sent."""
        return len(self.in_flight) < (1 if self.doubtful else self.window)


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
        self._where = f"{settings.mqtt.host}:{settings.mqtt.port}"
        self._client_id = settings.client_id
        self._prefix = settings.topic_prefix
        self._ledger = ledger
        self._greeting = greeting
        self._now = now
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._alarms: deque[_Outgoing] = deque(maxlen=ALARMS_KEPT)
        self._silences: dict[str, _Silence] = {}
        self._doubtful = 0
        self._trouble: str | None = None
        self._stopping = False
        self._connected = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""
        return self._connected

    @property
    def standing(self) -> str:
        """How it stands with the broker, in words for people: connected or not, and what is in the way."""
        if not self._connected:
            return f"not connected: {self._trouble}" if self._trouble else "not connected yet"
        held = [
            f"nobody subscribes to {topic}"
            if silence.code == NO_MATCHING_SUBSCRIBERS
            else f"{topic} is refused (reason {silence.code:#04x})"
            for topic, silence in self._silences.copy().items()
        ]
        return "; ".join(["connected", *held])

    @property
    def is_alive(self) -> bool:
        """Whether the publishing thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to connect and publish, and go on until :meth:`stop`."""
        if self._mqtt.protocol != 5:
            log.warning("refusals_invisible", reason="with MQTT 3.1.1 the broker cannot say that it refused a message")
        self._ledger.on_recorded = lambda: self._inbox.put(_RECORDED)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Say ``offline``, disconnect and end; return whether that was done within ``timeout_s``."""
        self._stopping = True
        self._inbox.put(_STOP)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def announce(self, topic: str, payload: dict[str, Any], *, retain: bool = True) -> None:
        """Publish a message below the prefix now.

        Without a connection a retained one is dropped, as the next greeting will carry it, and any other kept for the
        next connection, among the newest hundred of them and the alarms.
        """
        self._inbox.put(_Outgoing(topic, payload, retain=retain))

    def alarm(self, code: str, message: str, terminal: str | None = None) -> None:
        """Echo for people that something is wrong or right again; kept for the next connection, the newest hundred."""
        payload = {"at": utc_text(self._now()), "alarm": code, "terminal": terminal, "message": message}
        self._inbox.put(_Outgoing("alarm", payload, retain=False))

    # The thread.

    def _run(self) -> None:
        failures = short_lives = 0
        pause: Pause | None = None
        try:
            while not self._stopping:
                conversation = None
                try:
                    conversation = self._connect()
                    log.info(
                        "broker_found",
                        broker=self._where,
                        session=conversation.session,
                        window=conversation.window,
                        after_failures=failures,
                    )
                    self._trouble = None
                    self._converse(conversation)
                except BrokerUnavailable as exc:
                    if self._stopping:
                        return
                    lived_s = time.monotonic() - conversation.begun if conversation else 0.0
                    short_lives = short_lives + 1 if exc.unexplained and lived_s <= SHORT_LIFE_S else 0
                    problem = _thrown_out() if short_lives >= SHORT_LIVES else exc
                    # Refused in the middle of a full window, a connection may end so that its last answers are lost.
                    in_flight = conversation.sequences if conversation and short_lives > 1 else ()
                    self._doubtful = max(in_flight, default=0)
                    failures = failures + 1 if problem.pause is pause and lived_s <= SHORT_LIFE_S else 1
                    pause = problem.pause
                    pause_s = pause.after(failures)
                    # Once when it breaks, not at every attempt; and again where a person must act.
                    if self._trouble is None or (pause is not UNREACHABLE and str(problem) != self._trouble):
                        log.warning("broker_lost", broker=self._where, reason=str(problem), retry_s=round(pause_s, 1))
                        if problem.alarm:
                            self.alarm(problem.alarm, str(problem))
                    self._trouble = str(problem)
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
        try:
            client.connect(
                self._mqtt.host,
                self._mqtt.port,
                self._mqtt.keepalive_s,
                clean_start=True if self._mqtt.protocol == 5 else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            )
        except (OSError, ValueError) as exc:
            by_hand = isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError)
            raise BrokerUnavailable(
                f"the broker {self._where} cannot be reached: {_plain(exc)}", REFUSED if by_hand else None
            ) from exc
        client.loop_start()
        try:
            conversation = self._greet(client, session)
        except BaseException:
            _hang_up(client, politely=False)
            raise
        self._connected = True
        return conversation

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
                except (OSError, ValueError) as exc:
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
            except (OSError, ValueError) as exc:
                raise BrokerUnavailable(f"the TLS files cannot be used: {_plain(exc)}", REFUSED) from exc
        client.will_set(f"{self._prefix}/state", _json({"state": "offline", "session": session}), qos=1, retain=True)
        inbox = self._inbox

        # None of these refers to `client` by name: a circle would keep every old client, and its sockets, for a while.
        def on_connect(c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
            limit = getattr(properties, "ReceiveMaximum", None) if properties else None
            inbox.put((c, _Connected(reason.value, str(reason), limit or 65535)))

        def on_disconnect(
            c: mqtt.Client, _u: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, _p: Properties | None
        ) -> None:
            inbox.put((c, _Disconnected(reason.value, str(reason), flags.is_disconnect_packet_from_server)))

        def on_publish(c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
            inbox.put((c, _Acknowledged(mid, reason.value)))

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_publish = on_publish
        return client

    def _greet(self, client: mqtt.Client, session: int) -> _Conversation:
        """Wait for the broker's answer; on success say who and how we are, before any evidence."""
        answer = self._answer(client)
        if isinstance(answer, _Disconnected):
            raise BrokerUnavailable(f"the broker {self._where} closes the connection instead of answering")
        if answer.code in BAD_CREDENTIALS:
            raise BrokerUnavailable(
                f"the broker {self._where} refuses the login ({answer.text}); check mqtt.username, the password file "
                "and the broker's list of users",
                REFUSED,
                "login_refused",
            )
        if answer.code != 0:
            hint = "; set mqtt.protocol to 3.1.1" if answer.code == UNSUPPORTED_PROTOCOL else ""
            raise BrokerUnavailable(
                f"the broker {self._where} refuses the connection ({answer.text}){hint}",
                None if answer.code in BUSY else REFUSED,
            )
        window = min(self._mqtt.window, answer.receive_maximum)
        conversation = _Conversation(client, session, window, answer.receive_maximum, doubtful=self._doubtful)
        birth = {"state": "online", "session": session, "at": utc_text(self._now())}
        conversation.outbox.append(_Outgoing("state", birth, retain=True))
        conversation.outbox.extend(_Outgoing(topic, payload, retain=True) for topic, payload in self._greeting())
        conversation.outbox.extend(self._alarms)
        self._alarms.clear()
        for silence in self._silences.values():
            silence.probing = False
            if silence.code == NO_MATCHING_SUBSCRIBERS:  # they may be back with the broker; a refusal keeps its pace
                silence.due, silence.delay_s = conversation.begun, RETRY_FROM_S
        return conversation

    def _answer(self, client: mqtt.Client) -> _Connected | _Disconnected:
        until = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._stopping:
            try:
                happened = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise BrokerUnavailable(f"the broker {self._where} accepts the connection and says nothing") from None
            self._keep_alarm(happened)
            if isinstance(happened, tuple) and happened[0] is client:
                answer: _Connected | _Disconnected = happened[1]
                return answer
        raise BrokerUnavailable("stopping")

    def _converse(self, conversation: _Conversation) -> None:
        said = False
        try:
            while not self._stopping:
                self._fill_window(conversation)
                self._listen(conversation, self._patience(conversation))
            said = self._farewell(conversation)
        finally:
            self._connected = False
            for message in (*conversation.in_flight.values(), *conversation.outbox):
                self._keep_alarm(message)
            _hang_up(conversation.client, politely=said)

    def _patience(self, conversation: _Conversation) -> float:
        """Return how long there is nothing to do unless something happens."""
        if conversation.has_room and (conversation.buffer or conversation.more):
            return 0.0
        due = [time.monotonic() + IDLE_S]
        if conversation.in_flight:
            due.append(conversation.oldest_since + ACK_TIMEOUT_S)
        if conversation.has_room:
            due.extend(silence.due for silence in self._silences.values() if not silence.probing)
        return max(0.0, min(due) - time.monotonic())

    def _listen(self, conversation: _Conversation, patience_s: float) -> None:
        """Wait for something to happen, then take in everything that has."""
        acknowledged: list[int] = []
        try:
            happened = self._inbox.get(timeout=patience_s)
            while True:
                self._take(conversation, happened, acknowledged)
                happened = self._inbox.get_nowait()
        except queue.Empty:
            pass
        finally:
            if acknowledged:
                self._ledger.mark_sent(acknowledged)
        if conversation.rewind:
            self._ledger.flush_marks()  # or what has just been acknowledged would be fetched, and sent, once more
            conversation.cursor = 0
            conversation.more = True
            conversation.rewind = False
            conversation.buffer.clear()
        if conversation.in_flight and time.monotonic() >= conversation.oldest_since + ACK_TIMEOUT_S:
            raise BrokerUnavailable(f"the broker has left a message unacknowledged for {ACK_TIMEOUT_S:g} s")

    def _take(self, conversation: _Conversation, happened: Any, acknowledged: list[int]) -> None:
        if happened is _RECORDED:
            conversation.more = True
        elif isinstance(happened, _Outgoing):
            conversation.outbox.append(happened)
        elif isinstance(happened, tuple) and happened[0] is conversation.client:
            if isinstance(happened[1], _Acknowledged):
                self._acknowledge(conversation, happened[1], acknowledged)
            elif isinstance(happened[1], _Disconnected):
                self._explain_end(conversation, happened[1])

    @staticmethod
    def _explain_end(conversation: _Conversation, end: _Disconnected) -> None:
        if end.code == SESSION_TAKEN_OVER:
            raise BrokerUnavailable(
                "another client has connected with this gateway's client id and taken its place: two machines share "
                "one `site` and `gateway`; change one of them",
                TAKEN_OVER,
                "client_id_taken",
            )
        if end.by_broker:
            raise BrokerUnavailable(f"the broker ended the connection ({end.text})")
        if conversation.refused:
            # mosquitto 2.0.11 with `max_queued_messages 0` ends the connection after each message it refuses.
            refused = ", ".join(sorted(conversation.refused))
            raise BrokerUnavailable(f"the connection to the broker broke after it refused messages on {refused}")
        # The library knows only one reason of its own worth telling: an unanswered ping.
        raise BrokerUnavailable(
            f"the connection to the broker broke ({end.text})", unexplained=end.code != KEEP_ALIVE_TIMEOUT
        )

    def _acknowledge(self, conversation: _Conversation, answer: _Acknowledged, acknowledged: list[int]) -> None:
        if answer.mid == next(iter(conversation.in_flight), None):
            conversation.oldest_since = time.monotonic()
        event = conversation.in_flight.pop(answer.mid, None)
        if event is None:
            return
        if answer.code >= 0x80 and event.topic not in conversation.refused:
            conversation.refused.add(event.topic)
            if isinstance(event, _Outgoing):
                log.warning("message_refused", topic=event.topic, reason_code=answer.code)
        if isinstance(event, _Outgoing):
            return
        conversation.sequences.discard(event.sequence)
        silence = self._silences.get(event.topic)
        if answer.code == 0:
            acknowledged.append(event.sequence)
            if silence is not None:
                log.info("topic_heard", topic=event.topic)
                del self._silences[event.topic]
                conversation.rewind = True
        elif answer.code in PARKED:
            self._ledger.park(event.sequence, answer.code)
            log.error("message_parked", sequence=event.sequence, topic=event.topic, reason_code=answer.code)
            self.alarm(
                "message_parked", f"the broker will never take event {event.sequence} (reason {answer.code:#04x})"
            )
            if silence is not None and silence.probing:
                silence.probing = False
                silence.due = time.monotonic() + silence.delay_s
        else:
            self._fall_silent(event.topic, answer.code, silence)

    def _fall_silent(self, topic: str, code: int, silence: _Silence | None) -> None:
        """Keep the topic's events waiting; try it again later with one of them, longer and longer."""
        now = time.monotonic()
        if silence is None or silence.code != code:
            if code == NO_MATCHING_SUBSCRIBERS:
                log.warning("topic_unheard", topic=topic)
                self.alarm("no_subscriber", f"nobody subscribes to {topic}: its events are kept and tried again")
            else:
                log.warning("topic_refused", topic=topic, reason_code=code)
                hint = "; check the broker's access list" if code == NOT_AUTHORISED else ""
                self.alarm(
                    "delivery_refused",
                    f"the broker does not take what this gateway publishes on {topic} (reason {code:#04x}): its events "
                    f"are kept and tried again{hint}",
                )
        if silence is None:
            self._silences[topic] = _Silence(code, self._ledger.last_sequence(), now + RETRY_FROM_S, RETRY_FROM_S)
            return
        silence.code = code
        if silence.probing:
            silence.probing = False
            silence.delay_s = min(RETRY_TO_S, silence.delay_s * 2)
            silence.due = now + silence.delay_s

    def _fill_window(self, conversation: _Conversation) -> None:
        self._say_what_waits(conversation)
        for topic, held in self._silences.items():
            if conversation.has_room and not held.probing and time.monotonic() >= held.due:
                self._probe(conversation, topic, held)
        if conversation.has_room and not conversation.buffer and conversation.more:
            self._fetch(conversation)  # once: much that is held back must not keep us from listening
        while conversation.has_room and conversation.buffer:
            event = conversation.buffer.popleft()
            silence = self._silences.get(event.topic)
            if event.sequence in conversation.sequences:
                continue
            if silence is None:
                self._send(conversation, event)
            elif event.sequence > silence.upto:
                silence.upto = event.sequence
                silence.due = time.monotonic()
            if event.sequence > conversation.doubtful:
                conversation.doubtful = 0

    def _probe(self, conversation: _Conversation, topic: str, silence: _Silence) -> None:
        """Try a silent topic with the oldest event that it owes."""
        owed = self._ledger.pending(0, len(conversation.sequences) + 1, topic)
        event = next((event for event in owed if event.sequence not in conversation.sequences), None)
        if event is None:
            silence.due = time.monotonic() + silence.delay_s
        else:
            silence.probing = True
            self._send(conversation, event)

    def _fetch(self, conversation: _Conversation) -> None:
        events = self._ledger.pending(conversation.cursor, FETCH)
        conversation.more = len(events) == FETCH
        if events:
            conversation.cursor = events[-1].sequence
            conversation.buffer.extend(events)

    def _send(self, conversation: _Conversation, event: Waiting) -> None:
        self._publish(conversation, event, event.body, _EVENT, retain=False)
        conversation.sequences.add(event.sequence)

    def _say_what_waits(self, conversation: _Conversation) -> None:
        while conversation.outbox and len(conversation.in_flight) < conversation.receive_maximum:
            message = conversation.outbox.popleft()
            self._publish(conversation, message, _json(message.payload), _PLAIN, retain=message.retain)

    def _publish(
        self,
        conversation: _Conversation,
        message: Waiting | _Outgoing,
        body: str,
        properties: Properties,
        *,
        retain: bool,
    ) -> None:
        info = conversation.client.publish(
            f"{self._prefix}/{message.topic}",
            body.encode(),
            qos=1,
            retain=retain,
            properties=properties if self._mqtt.protocol == 5 else None,
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._keep_alarm(message)
            self._listen(conversation, 0.0)  # what came before the end, and the reason for it
            raise BrokerUnavailable(f"the connection to the broker broke ({mqtt.error_string(info.rc)})")
        if not conversation.in_flight:
            conversation.oldest_since = time.monotonic()
        conversation.in_flight[info.mid] = message

    def _farewell(self, conversation: _Conversation) -> bool:
        """Say ``offline`` and give what is in flight a moment, so that fewer events travel twice.

        Return whether the broker has heard it; if not, the will shall say it.
        """
        until = time.monotonic() + FAREWELL_S
        offline = _Outgoing(
            "state", {"state": "offline", "session": conversation.session, "at": utc_text(self._now())}, retain=True
        )
        conversation.outbox.append(offline)
        with suppress(BrokerUnavailable):
            while (conversation.in_flight or conversation.outbox) and (left := until - time.monotonic()) > 0:
                self._say_what_waits(conversation)
                self._listen(conversation, left)
        return all(message is not offline for message in (*conversation.in_flight.values(), *conversation.outbox))


def _hang_up(client: mqtt.Client, *, politely: bool) -> None:
    """End the connection and the library's thread, whatever the broker does; impolitely, so that it publishes the will.

    The library alone would wait for a broker that reads nothing any more until the keep-alive runs out.
    """
    if politely:
        client.disconnect()
        until = time.monotonic() + HANG_UP_S
        while client.socket() is not None and time.monotonic() < until:
            time.sleep(0.005)
    connection = client.socket()
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not SSLSocket's: its thread may be reading
    with suppress(AttributeError):  # its thread may end between the library's look at it and the join
        client.loop_stop()


class _Packed(Properties):
    """The properties of every message of a kind, packed once: the library would pack them anew for each message."""

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


_EVENT = _Packed("application/cloudevents+json")
_PLAIN = _Packed("application/json")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _json(payload: dict[str, Any]) -> str:
    return json.dumps(payload, separators=(",", ":"))


def _plain(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return f"no TLS ({exc.reason.lower().replace('_', ' ')})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return getattr(exc, "strerror", None) or str(exc)
