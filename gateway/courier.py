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
"""Of an array at first; half of it after each connection that ends with one in flight."""
ENVELOPE_BYTES = 512
"""More than the packet of a message has beside its payload."""
ATTEMPTS = 8
"""Connections in a row that end without progress before it is given up; enough to find out what size is taken."""
PAUSE_S = 1.0
"""Between the first two of them; longer with each."""

SMALLEST_ARRAY = 2048
"""Smaller ones are no better than single messages."""

Progress = Callable[[int], None]
T = TypeVar("T")


class CourierRefused(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker does not take the events as they come; the message says why and what to do."""


class CourierUnheard(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be reached, or connections to it end again and again."""


class _Ended(Exception):  # noqa: N818 - not an error of ours
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


class _Heard(NamedTuple):
    payload: bytes


@dataclass(slots=True)
class Outcome:
    """What has become of a bundle's events."""

    sent: int = 0
    """The broker has acknowledged them."""
    held: int = 0
    """The centre's receipt covered them before they were sent."""
    refused: list[int] = field(default_factory=list)
    """Sequences of those that the broker will never take: by their topic, their content or their size."""


class _Road:
    """Events that still have to go, in order; what comes back is in front again."""

    def __init__(self, source: Iterator[StoredEvent]) -> None:
        self._source = source
        self._ahead: deque[StoredEvent] = deque()

    def next(self) -> StoredEvent | None:
        """Return the next event and leave it where it is; None at the end."""
        if not self._ahead and (event := next(self._source, None)) is not None:
            self._ahead.append(event)
        return self._ahead[0] if self._ahead else None

    def go(self) -> None:
        """Take the next event off."""
        self._ahead.popleft()

    def come_back(self, messages: Iterable[Message]) -> None:
        """Put the events of these messages in front."""
        self._ahead.extendleft(reversed([event for message in messages for event in message.events]))


@dataclass(slots=True)
class _Line:
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
        self._happened: queue.SimpleQueue[tuple[mqtt.Client, Any]] = queue.SimpleQueue()
        self._array_bytes = ARRAY_BYTES
        self._arrays = True
        """Events go as arrays; not where the broker has refused one."""
        self._proven = False
        """The broker has taken an array."""
        self._receipt: Receipt | None = None
        self.receipt = b""
        """The newest receipt of the centre for this gateway, as it came."""

    def deliver(self, bundle: Bundle, progress: Progress) -> Outcome:
        """Publish a bundle's events; ``progress`` is told how many more have come to their end.

        Returns once the broker has acknowledged or refused each of them. Raises CourierRefused, CourierUnheard, and
        BundleError where the bundle changes under its reader.
        """
        outcome = Outcome()
        road = _Road(self._lacking(bundle, outcome, progress))
        failures = 0
        while True:
            before = outcome.sent
            try:
                with self._line() as line:
                    self._drain(line, road, outcome, progress)
            except _Ended as exc:
                failures = failures + 1 if outcome.sent == before else 1
                if failures == ATTEMPTS:
                    raise CourierUnheard(f"{exc}, {ATTEMPTS} times in a row") from None
                time.sleep(PAUSE_S * failures)
            else:
                return outcome

    def wait_for_receipt(self, bundle: Bundle, wait_s: float) -> bool:
        """Wait until the centre confirms all of the bundle's newest stream; return whether it did in ``wait_s``.

        What the receipt says until then is kept in any case. Raises CourierRefused, CourierUnheard.
        """
        until = time.monotonic() + wait_s
        stream = bundle.parts[-1].stream
        ranges = [(part.first, part.last) for part in bundle.parts if part.stream == stream]
        try:
            with self._line() as line:
                while not self._confirms(stream, ranges) and (left := until - time.monotonic()) > 0:
                    self._hear(line.client, left)
        except _Ended as exc:
            raise CourierUnheard(str(exc)) from None
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

    def _lacking(self, bundle: Bundle, outcome: Outcome, progress: Progress) -> Iterator[StoredEvent]:
        """Yield what the centre has not confirmed yet, when its turn comes."""
        for part in bundle.parts:
            for event in bundle.events(part):
                if self._confirms(part.stream, ((event.sequence, event.sequence),)):
                    outcome.held += 1
                    progress(1)
                else:
                    yield event

    # What goes out.

    def _drain(self, line: _Line, road: _Road, outcome: Outcome, progress: Progress) -> None:
        try:
            while True:
                # Where the first array is refused its events go one by one, before anything that comes behind them.
                window = 1 if self._arrays and not self._proven else line.window
                while len(line.in_flight) < window and (message := self._next_message(line, road, outcome, progress)):
                    self._publish(line, message)
                if not line.in_flight:
                    return
                self._acknowledge(line, road, self._hear(line.client, ACK_TIMEOUT_S), outcome, progress)
        except _Ended:
            if any(message.topic == BATCH for message in line.in_flight.values()):
                self._array_bytes //= 2  # its size may be what ended the connection
                self._arrays = self._array_bytes >= SMALLEST_ARRAY
            road.come_back(line.in_flight.values())
            raise

    def _next_message(self, line: _Line, road: _Road, outcome: Outcome, progress: Progress) -> Message | None:
        """Make the next message; None where nothing is left."""
        most = line.maximum_packet - ENVELOPE_BYTES
        while (event := road.next()) is not None:
            array = Array(min(self._array_bytes, most))
            while self._arrays and (more := road.next()) is not None and array.add(more):
                road.go()
            if message := array.message():
                return message
            road.go()
            if alone := single(event, most):
                return alone
            outcome.refused.append(event.sequence)
            progress(1)
        return None

    def _publish(self, line: _Line, message: Message) -> None:
        properties = ARRAY if message.topic == BATCH else EVENT
        sent = line.client.publish(f"{self._prefix}/{message.topic}", message.body, 1, properties=properties)
        line.in_flight[sent.mid] = message
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise _Ended(f"the connection to the broker {self._where} broke ({mqtt.error_string(sent.rc)})")

    def _acknowledge(self, line: _Line, road: _Road, answer: object, outcome: Outcome, progress: Progress) -> None:
        if answer is None:
            raise _Ended(f"the broker {self._where} has left a message unacknowledged for {ACK_TIMEOUT_S:g} s")
        if not isinstance(answer, _Acknowledged) or answer.mid not in line.in_flight:
            return
        message = line.in_flight.pop(answer.mid)
        code, array = answer.code, message.topic == BATCH
        if code < 0x80 and code != NO_MATCHING_SUBSCRIBERS:
            self._proven |= array
            outcome.sent += len(message.events)
            progress(len(message.events))
        elif array and (code in PERMANENT_REFUSALS or not self._proven):
            self._arrays = False
            road.come_back([message])
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
    def _line(self) -> Iterator[_Line]:
        """Connect, hear what the centre has confirmed so far, and hang up in the end."""
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
            line = _Line(client, min(self._broker.window, answer.receive_maximum), answer.maximum_packet)
            # What the broker has retained comes before its answer to a second subscription.
            for handling in (0, 2):
                options = SubscribeOptions(qos=1, retainHandling=handling)
                client.subscribe([(f"{self._prefix}/{RECEIPT}", options)])
                self._answer(client, _Subscribed)  # one that is refused only means that no receipt will come
            yield line
            gracefully = True
        finally:
            close_connection(client, gracefully=gracefully)

    def _client(self) -> mqtt.Client:
        settings = self._broker.model_copy(update={"protocol": 5})
        try:
            client = client_for(settings, f"hadir-courier-{uuid4().hex[:12]}")
        except BrokerUnavailable as exc:
            raise CourierRefused(str(exc)) from exc
        happened = self._happened

        def on_connect(c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
            messages = getattr(properties, "ReceiveMaximum", None) or 65535
            size = getattr(properties, "MaximumPacketSize", None) or PACKET_MAX
            happened.put((c, _Connected(reason.value, str(reason), messages, size)))

        def on_disconnect(c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
            happened.put((c, _Disconnected(str(reason))))

        def on_publish(c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
            happened.put((c, _Acknowledged(mid, reason.value)))

        def on_subscribe(c: mqtt.Client, _u: Any, _mid: int, _reasons: Any, _p: Any) -> None:
            happened.put((c, _Subscribed()))

        def on_message(c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            happened.put((c, _Heard(bytes(message.payload))))

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
            what = self._hear(client, left)
            if isinstance(what, kind):
                return what
        raise _Ended(f"the broker {self._where} accepts the connection and says nothing")

    def _hear(self, client: mqtt.Client, patience_s: float) -> object:
        """Return what happens next on a connection; None where nothing does. A receipt is noted, too."""
        try:
            of, what = self._happened.get(timeout=patience_s)
        except queue.Empty:
            return None
        if of is not client:
            return _OF_ANOTHER
        if isinstance(what, _Disconnected):
            raise _Ended(f"the connection to the broker {self._where} broke ({what.text})")
        if isinstance(what, _Heard):
            with suppress(ValueError):  # what is no receipt says nothing
                self._receipt = receipt_from(what.payload)
                self.receipt = what.payload
        return what


_OF_ANOTHER = object()
"""Something happened on a connection that is over."""
