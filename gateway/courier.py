"""The other end of a bundle's way: from a flash disk to the broker, in the gateway's place, on any machine.

The gateway's own publisher lives with its ledger, for ever; this one has a list that ends. It publishes the same bytes
on the same topics, in order, and counts what the broker has acknowledged. Where it stopped is no file of its own: what
the centre's receipt covers is left out when it begins again, and anything else may arrive twice, which is harmless.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

from gateway.bundle import Bundle
from gateway.ledger import Receipt, StoredEvent, receipt_from
from gateway.mqtt.failure import BrokerUnavailable, error_text
from gateway.mqtt.mailbox import RECEIPT
from gateway.mqtt.message import BATCH, Array, Message, single
from gateway.mqtt.session import (
    ARRAY,
    EVENT,
    NO_MATCHING_SUBSCRIBERS,
    NO_RETAINED,
    NOT_AUTHORISED,
    PERMANENT_REFUSALS,
    RETAINED,
    Acknowledged,
    Disconnected,
    MessageArrived,
    Session,
    Subscribed,
)
from gateway.mqtt.timing import Timing
from gateway.settings import Mqtt

ARRAY_BYTES = 64 * 1024
"""Initial limit of an array; halved after each connection that ends with one in flight."""
PACKET_OVERHEAD_BYTES = 512
"""Upper bound of a packet's bytes beside its payload."""
ATTEMPTS = 8
"""Maximum consecutive connections without progress; enough to find the accepted array size."""
PAUSE_S = 1.0

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
class _Connection:
    """A connection to the broker, and what it allows."""

    session: Session
    window: int
    maximum_packet: int
    in_flight: dict[int, Message] = field(default_factory=dict)


class Courier:
    """Publishes events of one gateway, whose topics begin with ``prefix``."""

    def __init__(self, broker: Mqtt, prefix: str, *, timing: Timing | None = None, pause_s: float = PAUSE_S) -> None:
        """``pause_s`` is the pause after the first connection without progress; longer after each further one."""
        self._broker = broker
        self._where = f"{broker.host}:{broker.port}"
        self._prefix = prefix
        self._timing = timing or Timing()
        self._pause_s = pause_s
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
                with self._connection() as connection:
                    self._drain(connection, waiting, outcome, progress)
            except _Ended as exc:
                failures = failures + 1 if outcome.sent == before else 1
                if failures == ATTEMPTS:
                    raise CourierDisconnected(f"{exc}, {ATTEMPTS} times in a row") from None
                time.sleep(self._pause_s * failures)
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
            with self._connection() as connection:
                while not self._confirms(stream, ranges) and (left := until - time.monotonic()) > 0:
                    self._wait_for(connection.session, MessageArrived, left)
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

    def _drain(self, connection: _Connection, waiting: _EventQueue, outcome: Outcome, progress: Progress) -> None:
        try:
            while True:
                # Where the first array is refused, its events go one by one, before all later ones.
                window = 1 if self._arrays and not self._arrays_accepted else connection.window
                while len(connection.in_flight) < window and (
                    message := self._next_message(connection, waiting, outcome, progress)
                ):
                    self._publish(connection, message)
                if not connection.in_flight:
                    return
                answer = self._wait_for(connection.session, Acknowledged, self._timing.ack_s)
                self._acknowledge(connection, waiting, answer, outcome, progress)
        except _Ended:
            if any(message.topic == BATCH for message in connection.in_flight.values()):
                self._array_bytes //= 2  # its size may have ended the connection
                self._arrays = self._array_bytes >= ARRAY_BYTES_MIN
            waiting.push_back(connection.in_flight.values())
            raise

    def _next_message(
        self, connection: _Connection, waiting: _EventQueue, outcome: Outcome, progress: Progress
    ) -> Message | None:
        """Return the next message; None where no event is left."""
        limit = connection.maximum_packet - PACKET_OVERHEAD_BYTES
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

    def _publish(self, connection: _Connection, message: Message) -> None:
        properties = ARRAY if message.topic == BATCH else EVENT
        mid, broken = connection.session.publish(message.topic, message.body, properties)
        connection.in_flight[mid] = message
        if broken is not None:
            raise _Ended(f"the connection to the broker {self._where} broke ({broken})")

    def _acknowledge(
        self,
        connection: _Connection,
        waiting: _EventQueue,
        answer: Acknowledged | None,
        outcome: Outcome,
        progress: Progress,
    ) -> None:
        if answer is None:
            raise _Ended(f"the broker {self._where} has left a message unacknowledged for {self._timing.ack_s:g} s")
        if answer.mid not in connection.in_flight:
            return
        message = connection.in_flight.pop(answer.mid)
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
            return f"no client subscribes to {topic} at the broker {self._where}: is the centre's inbox running there?"
        if code == NOT_AUTHORISED:
            return f"the broker {self._where} does not let this user publish to {topic}; check its access list"
        return f"the broker {self._where} refuses a message to {topic} (reason {code:#04x})"

    # Connections.

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """Connect, receive the retained receipt, and disconnect at the end."""
        settings = self._broker.model_copy(update={"protocol": 5})
        try:
            session = Session(settings, f"hadir-courier-{uuid4().hex[:12]}", self._prefix, timing=self._timing)
        except BrokerUnavailable as exc:
            raise CourierRefused(str(exc)) from exc
        gracefully = False
        try:
            connection = self._connect(session)
            # A retained message arrives before the acknowledgement of a second subscription.
            for handling in (RETAINED, NO_RETAINED):
                session.subscribe({RECEIPT: handling})
                # A refused one only means that no receipt is received.
                if self._wait_for(session, Subscribed, self._timing.connect_s) is None:
                    raise self._silent()
            yield connection
            gracefully = True
        finally:
            session.close(gracefully=gracefully)

    def _connect(self, session: Session) -> _Connection:
        try:
            answer = session.connect()
        except (OSError, ValueError) as exc:
            raise _Ended(f"the broker {self._where} cannot be reached: {error_text(exc)}") from exc
        if answer is None:
            raise self._silent()
        if isinstance(answer, Disconnected):
            raise self._broken(answer)
        if answer.code != 0:
            raise CourierRefused(
                f"the broker {self._where} refuses the connection ({answer.text}); check --username, "
                "--password-file and the broker's list of users"
            )
        return _Connection(session, min(self._broker.window, answer.receive_maximum), answer.maximum_packet)

    def _silent(self) -> _Ended:
        return _Ended(f"the broker {self._where} accepts the connection and does not answer")

    def _broken(self, end: Disconnected) -> _Ended:
        return _Ended(f"the connection to the broker {self._where} broke ({end.text})")

    def _wait_for(self, session: Session, kind: type[T], timeout_s: float) -> T | None:
        """Return the next answer of one kind; None after the timeout. A receipt that arrives is kept."""

        def other(item: object) -> None:
            if isinstance(end := session.answer_in(item), Disconnected):
                raise self._broken(end)
            self._take_receipt(session)

        answer = session.wait_for(kind, timeout_s=timeout_s, other=other)
        self._take_receipt(session)
        return answer

    def _take_receipt(self, session: Session) -> None:
        statements, _, _ = session.mailbox.take()
        if RECEIPT in statements:
            with suppress(ValueError):  # an invalid receipt is ignored
                payload = statements[RECEIPT].payload
                self._receipt = receipt_from(payload)
                self.receipt = payload
