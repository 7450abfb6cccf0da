"""The other end of a bundle's way: from a flash disk to the broker, in the gateway's place, on any machine.

The gateway's own publisher lives with its ledger, for ever; this one has a list that ends. It publishes the same bytes
on the same topics, in order, and counts what the broker has acknowledged. Where it stopped is no file of its own: what
the centre's receipt covers is left out when it begins again, and anything else may arrive twice, which is harmless.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.bundle import Bundle
from gateway.ledger import Receipt, StoredEvent, receipt_from
from gateway.message import BATCH, Array, Message, single
from gateway.publisher import (
    ACK_TIMEOUT_S,
    ARRAY,
    CONNECT_TIMEOUT_S,
    EVENT,
    NO_MATCHING_SUBSCRIBERS,
    NOT_AUTHORISED,
    PACKET_MAX,
    PERMANENT_REFUSALS,
    RECEIPT,
    BrokerUnavailable,
    client_for,
    close_connection,
    error_text,
)
from gateway.settings import Mqtt

ARRAY_BYTES = 64 * 1024
"""Initial limit of an array; halved after each connection that ends with one in flight."""
PACKET_OVERHEAD_BYTES = 512
"""Upper bound of a packet's bytes beside its payload."""
ATTEMPTS = 8
"""Maximum consecutive connections without progress; enough to find the accepted array size."""
PAUSE_S = 1.0
"""Pause after the first of them; longer after each further one."""

ARRAY_BYTES_MIN = 2048
"""Below this limit events are sent one by one."""

Progress = Callable[[int], None]
T = TypeVar("T")


class CourierRefused(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker refuses the events; the message says why and what to do."""


class CourierDisconnected(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be reached, or connections to it end repeatedly."""


class _Ended(Exception):  # noqa: N818 - internal control flow
    """The present connection is over."""


class _Connected(NamedTuple):
    code: int
    text: str
    receive_maximum: int
    maximum_packet: int


class _Disconnected(NamedTuple):
    text: str


class _Acknowledged(NamedTuple):
    mid: int
    code: int


class _Subscribed(NamedTuple):
    pass


class _Received(NamedTuple):
    payload: bytes


@dataclass(slots=True)
class Outcome:
    """Result of delivering a bundle."""

    sent: int = 0
    """Acknowledged by the broker."""
    held: int = 0
    """Covered by the centre's receipt before they were sent."""
    refused: list[int] = field(default_factory=list)
    """Sequences permanently refused by the broker: by topic, content or size."""


class _EventQueue:
    """Waiting events in order; events put back are first again."""

    def __init__(self, source: Iterator[StoredEvent]) -> None:
        self._source = source
        self._ahead: deque[StoredEvent] = deque()

    def peek(self) -> StoredEvent | None:
        """Return the next event without removing it; None at the end."""
        if not self._ahead and (event := next(self._source, None)) is not None:
            self._ahead.append(event)
        return self._ahead[0] if self._ahead else None

    def pop(self) -> None:
        """Remove the next event."""
        self._ahead.popleft()

    def push_back(self, messages: Iterable[Message]) -> None:
        """Put the events of these messages in front."""
        self._ahead.extendleft(reversed([event for message in messages for event in message.events]))


@dataclass(slots=True)
class _Session:
    """A connection to the broker."""

    client: mqtt.Client
    window: int
    maximum_packet: int
    in_flight: dict[int, Message] = field(default_factory=dict)


class Courier:
    """Publishes events of one gateway, whose topics begin with ``prefix``."""

    def __init__(self, broker: Mqtt, prefix: str) -> None:
        self._broker = broker
        self._where = f"{broker.host}:{broker.port}"
        self._prefix = prefix
        self._inbox: queue.SimpleQueue[tuple[mqtt.Client, Any]] = queue.SimpleQueue()
        self._array_bytes = ARRAY_BYTES
        self._arrays = True
        """Send arrays; False after the broker refused one."""
        self._arrays_accepted = False
        """The broker has acknowledged an array."""
        self._receipt: Receipt | None = None
        self.receipt = b""
        """The newest receipt of the centre for this gateway, as received."""

    def deliver(self, bundle: Bundle, progress: Progress) -> Outcome:
        """Publish a bundle's events; ``progress`` receives the number of newly completed events.

        Returns after the broker has acknowledged or refused each of them. Raises CourierRefused, CourierDisconnected,
        and BundleError where the bundle changes while it is read.
        """
        outcome = Outcome()
        waiting = _EventQueue(self._unconfirmed(bundle, outcome, progress))
        failures = 0
        while True:
            before = outcome.sent
            try:
                with self._session() as session:
                    self._drain(session, waiting, outcome, progress)
            except _Ended as exc:
                failures = failures + 1 if outcome.sent == before else 1
                if failures == ATTEMPTS:
                    raise CourierDisconnected(f"{exc}, {ATTEMPTS} times in a row") from None
                time.sleep(PAUSE_S * failures)
            else:
                return outcome

    def wait_for_receipt(self, bundle: Bundle, wait_s: float) -> bool:
        """Wait until the centre confirms all of the bundle's newest stream; return whether it did in ``wait_s``.

        The latest receipt is kept in any case. Raises CourierRefused, CourierDisconnected.
        """
        until = time.monotonic() + wait_s
        stream = bundle.parts[-1].stream
        ranges = [(part.first, part.last) for part in bundle.parts if part.stream == stream]
        try:
            with self._session() as session:
                while not self._confirms(stream, ranges) and (left := until - time.monotonic()) > 0:
                    self._next_item(session.client, left)
        except _Ended as exc:
            raise CourierDisconnected(str(exc)) from None
        return self._confirms(stream, ranges)

    def _confirms(self, stream: str, ranges: Iterable[tuple[int, int]]) -> bool:
        receipt = self._receipt
        return (
            receipt is not None
            and receipt.stream == stream
            and all(
                last <= receipt.upto and not any(low <= last and first <= high for low, high in receipt.missing)
                for first, last in ranges
            )
        )

    def _unconfirmed(self, bundle: Bundle, outcome: Outcome, progress: Progress) -> Iterator[StoredEvent]:
        """Yield the events that the centre has not confirmed at that moment."""
        for part in bundle.parts:
            for event in bundle.events(part):
                if self._confirms(part.stream, ((event.sequence, event.sequence),)):
                    outcome.held += 1
                    progress(1)
                else:
                    yield event

    # Outgoing messages.

    def _drain(self, session: _Session, waiting: _EventQueue, outcome: Outcome, progress: Progress) -> None:
        try:
            while True:
                # Where the first array is refused, its events go one by one, before all later ones.
                window = 1 if self._arrays and not self._arrays_accepted else session.window
                while len(session.in_flight) < window and (
                    message := self._next_message(session, waiting, outcome, progress)
                ):
                    self._publish(session, message)
                if not session.in_flight:
                    return
                self._acknowledge(session, waiting, self._next_item(session.client, ACK_TIMEOUT_S), outcome, progress)
        except _Ended:
            if any(message.topic == BATCH for message in session.in_flight.values()):
                self._array_bytes //= 2  # its size may have ended the connection
                self._arrays = self._array_bytes >= ARRAY_BYTES_MIN
            waiting.push_back(session.in_flight.values())
            raise

    def _next_message(
        self, session: _Session, waiting: _EventQueue, outcome: Outcome, progress: Progress
    ) -> Message | None:
        """Return the next message; None where no event is left."""
        limit = session.maximum_packet - PACKET_OVERHEAD_BYTES
        while (event := waiting.peek()) is not None:
            array = Array(min(self._array_bytes, limit))
            while self._arrays and (more := waiting.peek()) is not None and array.add(more):
                waiting.pop()
            if message := array.message():
                return message
            waiting.pop()
            if lone := single(event, limit):
                return lone
            outcome.refused.append(event.sequence)
            progress(1)
        return None

    def _publish(self, session: _Session, message: Message) -> None:
        properties = ARRAY if message.topic == BATCH else EVENT
        sent = session.client.publish(f"{self._prefix}/{message.topic}", message.body, 1, properties=properties)
        session.in_flight[sent.mid] = message
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise _Ended(f"the connection to the broker {self._where} broke ({mqtt.error_string(sent.rc)})")

    def _acknowledge(
        self, session: _Session, waiting: _EventQueue, answer: object, outcome: Outcome, progress: Progress
    ) -> None:
        if answer is None:
            raise _Ended(f"the broker {self._where} has left a message unacknowledged for {ACK_TIMEOUT_S:g} s")
        if not isinstance(answer, _Acknowledged) or answer.mid not in session.in_flight:
            return
        message = session.in_flight.pop(answer.mid)
        code, array = answer.code, message.topic == BATCH
        if code < 0x80 and code != NO_MATCHING_SUBSCRIBERS:
            self._arrays_accepted |= array
            outcome.sent += len(message.events)
            progress(len(message.events))
        elif array and (code in PERMANENT_REFUSALS or not self._arrays_accepted):
            self._arrays = False
            waiting.push_back([message])
        elif code in PERMANENT_REFUSALS:
            outcome.refused += [event.sequence for event in message.events]
            progress(len(message.events))
        else:
            raise CourierRefused(self._refusal(code, f"{self._prefix}/{message.topic}"))

    def _refusal(self, code: int, topic: str) -> str:
        if code == NO_MATCHING_SUBSCRIBERS:
            return f"nobody subscribes to {topic} at the broker {self._where}: is the centre's inbox running there?"
        if code == NOT_AUTHORISED:
            return f"the broker {self._where} does not let this user publish to {topic}; check its access list"
        return f"the broker {self._where} refuses a message to {topic} (reason {code:#04x})"

    # Connections.

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        """Connect, receive the retained receipt, and disconnect at the end."""
        client = self._client()
        gracefully = False
        try:
            client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s, clean_start=True)
        except (OSError, ValueError) as exc:
            raise _Ended(f"the broker {self._where} cannot be reached: {error_text(exc)}") from exc
        client.loop_start()
        try:
            answer = self._answer(client, _Connected)
            if answer.code != 0:
                raise CourierRefused(
                    f"the broker {self._where} refuses the connection ({answer.text}); check --username, "
                    "--password-file and the broker's list of users"
                )
            session = _Session(client, min(self._broker.window, answer.receive_maximum), answer.maximum_packet)
            # A retained message arrives before the acknowledgement of a second subscription.
            for handling in (0, 2):
                options = SubscribeOptions(qos=1, retainHandling=handling)
                client.subscribe([(f"{self._prefix}/{RECEIPT}", options)])
                self._answer(client, _Subscribed)  # a refused one only means that no receipt is received
            yield session
            gracefully = True
        finally:
            close_connection(client, gracefully=gracefully)

    def _client(self) -> mqtt.Client:
        settings = self._broker.model_copy(update={"protocol": 5})
        try:
            client = client_for(settings, f"hadir-courier-{uuid4().hex[:12]}")
        except BrokerUnavailable as exc:
            raise CourierRefused(str(exc)) from exc
        inbox = self._inbox

        def on_connect(c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
            messages = getattr(properties, "ReceiveMaximum", None) or 65535
            size = getattr(properties, "MaximumPacketSize", None) or PACKET_MAX
            inbox.put((c, _Connected(reason.value, str(reason), messages, size)))

        def on_disconnect(c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
            inbox.put((c, _Disconnected(str(reason))))

        def on_publish(c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
            inbox.put((c, _Acknowledged(mid, reason.value)))

        def on_subscribe(c: mqtt.Client, _u: Any, _mid: int, _reasons: Any, _p: Any) -> None:
            inbox.put((c, _Subscribed()))

        def on_message(c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            inbox.put((c, _Received(bytes(message.payload))))

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_publish = on_publish
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        return client

    def _answer(self, client: mqtt.Client, kind: type[T]) -> T:
        """Wait for the broker's answer of one kind."""
        until = time.monotonic() + CONNECT_TIMEOUT_S
        while (left := until - time.monotonic()) > 0:
            what = self._next_item(client, left)
            if isinstance(what, kind):
                return what
        raise _Ended(f"the broker {self._where} accepts the connection and says nothing")

    def _next_item(self, client: mqtt.Client, timeout_s: float) -> object:
        """Return the next item of a connection; None after the timeout. A receipt is stored, too."""
        try:
            of, what = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if of is not client:
            return _STALE
        if isinstance(what, _Disconnected):
            raise _Ended(f"the connection to the broker {self._where} broke ({what.text})")
        if isinstance(what, _Received):
            with suppress(ValueError):  # an invalid receipt is ignored
                self._receipt = receipt_from(what.payload)
                self.receipt = what.payload
        return what


_STALE = object()
"""An item of an ended connection."""
