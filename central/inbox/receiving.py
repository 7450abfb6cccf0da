"""Receives messages from the broker: store them, then acknowledge them, then publish receipts and results.

One thread makes every decision; the MQTT library's callbacks only add to a queue. Each connection uses a client object
of its own, and a message is acknowledged only on the connection that delivered it: a packet identifier has another
meaning on another connection, where an old acknowledgement could make the broker delete a message not stored yet.
"""

import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from central.inbox.broker import (
    CONNECT_TIMEOUT_S,
    REFUSED_PAUSE_S,
    Broker,
    BrokerUnavailable,
    ended_again,
    explained,
    new_client,
    plain,
)
from central.inbox.mailbox import (
    STOP,
    Connected,
    Disconnected,
    Mailbox,
    Published,
    Subscribed,
    Unsubscribed,
    queued_bytes,
)
from central.inbox.receipts import PLAIN, ReceiptWriter
from central.inbox.share import Everything, Share, Subscription
from central.results.messages import Message as Result
from central.results.publisher import Publisher
from central.store import IngestResult, Message, Receipt, Store
from central.store.contact import KEPT_S
from central.wire import MAX_PACKET, BoundedClient, PublishPacket

SESSION_EXPIRY_S = 14 * 24 * 3600
"""How long the broker keeps messages while this client is not connected; its configuration may shorten that."""
RECEIVE_MAXIMUM = 500
"""Messages that the broker may send before one is acknowledged; most brokers send fewer."""
TRANSACTION_ITEMS, TRANSACTION_BYTES = 1000, 1024 * 1024
"""Queue items handled in one transaction at most, and about their size: receipts wait for its end."""
SUMMARY_INTERVAL_S = 60.0
DISCONNECT_TIMEOUT_S = 2.0
SHORT_CONNECTIONS = 3
SHORT_CONNECTION_S = 60.0
"""After this many consecutive connections that ended within this time without a reason, the pauses grow."""

log = structlog.get_logger("inbox")


JUDGE_INTERVAL_S = 5.0
"""How often verdicts are brought up to date while the broker is away."""
JUDGE_PAUSE_S = 0.25
"""Between two steps of judging while messages arrive: a step costs hardly more for all that arrives meanwhile."""


class Inbox:
    """Receives the messages of gateways below a root topic, under one fixed client id."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        *,
        root: str = "hadir",
        client_id: str = "hadir-central",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        judge: Callable[[], bool] = lambda: False,
        share: Share | None = None,
        held: Callable[[], bool] = lambda: True,
    ) -> None:
        """``judge`` judges a little between batches of messages, and returns whether more may be waiting.

        ``share`` is the part of the gateways that this client id receives; None: all of them. ``held`` returns whether
        everything that is committed is where receipts promise it to be.
        """
        self._broker = broker
        self._address = f"{broker.host}:{broker.port}"
        self._store = store
        self._root = root
        self._base = f"{root}/v1/"
        self._client_id = client_id
        self._now = now
        self._judge = judge
        self._held = held
        self._share = Everything() if share is None else share
        self._mailbox = Mailbox()
        self._stopping = False
        self._client: BoundedClient | None = None
        self._end_session = False
        """The broker is to forget the session when the connection ends."""
        self._connection_end: BrokerUnavailable | None = None
        """Why the present connection has ended; None while it works."""
        self._last_ingest_s = 0.0
        self._judged_s = -JUDGE_PAUSE_S
        """When the last step of judging ended."""
        self._more = False
        """More may be waiting to be judged than what has arrived since."""
        self._receipts = ReceiptWriter(now)
        self._next_summary_s = time.monotonic() + SUMMARY_INTERVAL_S
        self._ingested = IngestResult()
        self._kept_contact = now()
        """When the connection was last prolonged on record."""
        self._results = Publisher(store.database, root, now)

    def stop(self) -> None:
        """Make :meth:`run` return soon; safe in a signal handler and in any thread."""
        self._stopping = True
        self._mailbox.put(None, STOP)

    def run(self) -> None:
        """Receive until :meth:`stop`; raises StoreError, after which no message is acknowledged any more."""
        failures = short_connections = 0
        logged_problem = ""
        if self._share.publishes_results:
            self._results.begin()
        self._store.lose_contact()  # of an inbox that was killed
        while not self._stopping:
            begin_s = time.monotonic()
            try:
                self._connect()
                failures, logged_problem = 0, ""
                self._receive()
            except BrokerUnavailable as exc:
                short_connections = short_connections + 1 if self._ended_early(begin_s) else 0
                problem = exc if short_connections < SHORT_CONNECTIONS else ended_again(exc)
                self._disconnect(orderly=False)
                self._store.lose_contact()
                if self._stopping:
                    break
                failures = max(failures + 1, short_connections - SHORT_CONNECTIONS + 2)
                shortest_s, longest_s = problem.pause_s
                jitter = random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
                pause_s = jitter * min(longest_s, shortest_s * 2.0 ** min(failures - 1, 16))
                # Log once per outage and once per change of the reason, not at every attempt.
                if str(problem) != logged_problem:
                    log.warning("broker_lost", broker=self._address, reason=str(problem), retry_s=round(pause_s, 1))
                logged_problem = str(problem)
                self._pause(pause_s)
            finally:
                self._disconnect(orderly=True)
                self._results.release()  # another process may have a connection
        self._store.lose_contact()
        self._log_summary()

    def _receive(self) -> None:
        """Serve one connection, until it ends or the inbox is stopped."""
        while not self._stopping:
            self._process_queue(self._idle_s())
            if self._connection_end is not None:
                raise self._connection_end
            self._write_receipts()
            if self._share.publishes_results:
                self._results.step(self._publish_result)
            self._keep_contact()
            self._subscribe()
            if self._share.settle(self._receipts.in_flight, time.monotonic() - self._last_ingest_s):
                self._end_session = self._stopping = True
                return
            self._judge_in_turn()
        self._write_receipts(at_once=True)
        self._results.settle()

    @property
    def _has_arrived(self) -> bool:
        """Whether messages were stored since the last step of judging."""
        return self._last_ingest_s > self._judged_s

    def _idle_s(self) -> float:
        """Return how long there is nothing to do unless something arrives."""
        due_s = self._receipts.next_s
        if self._has_arrived:
            due_s = min(due_s, self._judged_s + JUDGE_PAUSE_S)
        elif self._more:
            due_s = 0.0
        return max(0.0, due_s - time.monotonic())

    def _judge_in_turn(self) -> None:
        """Judge a little; while messages arrive only now and then, and then all that they have brought."""
        if self._has_arrived and time.monotonic() < self._judged_s + JUDGE_PAUSE_S and not self._stopping:
            return
        self._more = self._judge()
        self._judged_s = time.monotonic()

    def _keep_contact(self) -> None:
        """Prolong the connection on record; by the clock of the rows, which a demonstration lets run faster."""
        if abs((self._now() - self._kept_contact).total_seconds()) >= KEPT_S:
            self._store.keep_contact()
            self._kept_contact = self._now()

    def _ended_early(self, begin_s: float) -> bool:
        """Return whether a working connection ended soon after its begin and without a reason."""
        end = self._connection_end
        return end is not None and end.unexplained and time.monotonic() - begin_s < SHORT_CONNECTION_S

    # Connections.

    def _connect(self) -> None:
        self._connection_end = None
        first_time = self._store.empty
        client = new_client(self._broker, self._client_id, self._mailbox)
        # Before the session's messages, which arrive with the first answer and may show that gateways run.
        self._store.begin_contact()
        self._kept_contact = self._now()
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves these untyped
        connect.SessionExpiryInterval = SESSION_EXPIRY_S
        connect.ReceiveMaximum = RECEIVE_MAXIMUM
        connect.MaximumPacketSize = MAX_PACKET
        try:
            client.connect(self._broker.host, self._broker.port, 30, clean_start=False, properties=connect)
        except (OSError, ValueError) as exc:
            raise BrokerUnavailable(f"the broker {self._address} cannot be reached: {plain(exc)}") from exc
        self._client = client
        client.loop_start()
        answer = self._wait_for(Connected, "accepts the connection but sends no CONNACK")
        if answer.code != 0:
            raise BrokerUnavailable(
                f"the broker {self._address} refuses the connection ({answer.text}); check user name, password file "
                "and the broker's list of users",
                REFUSED_PAUSE_S,
            )
        self._share.connected()
        self._subscribe()
        log.info("broker_found", broker=self._address, session_present=answer.session_present)
        if not answer.session_present and not first_time:
            log.warning(
                "session_lost",
                reason="the broker has lost this client's session and the messages in it; receipts request them again",
            )
        self._receipts.connected()
        self._results.connected(answer.max_packet)

    def _subscribe(self) -> None:
        """Let the session follow the share; raises BrokerUnavailable where the broker refuses or does not answer."""
        client, change = self._client, self._share.change()
        assert client is not None, "only while connected"  # noqa: S101 - only run() calls this
        for subscription in change.subscribe:
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._filters(subscription)])
            granted = self._wait_for(Subscribed, "does not answer the subscription").codes
            refused = [topic for topic, code in zip(subscription.topics, granted, strict=False) if code != 1]
            if refused:
                raise BrokerUnavailable(
                    f"the broker {self._address} does not let this client subscribe to {', '.join(refused)} with QoS 1 "
                    f"below {self._base}{subscription.prefix}; check the broker's access list",
                    REFUSED_PAUSE_S,
                )
            self._share.subscribed(subscription)
        for subscription in change.leave:
            client.unsubscribe(self._filters(subscription))
            self._wait_for(Unsubscribed, "does not answer the end of a subscription")
            self._share.left(subscription)

    def _filters(self, subscription: Subscription) -> list[str]:
        return [f"{self._base}{subscription.prefix}{topic}" for topic in subscription.topics]

    def _wait_for(self, kind: type, otherwise: str) -> Any:
        """Return the broker's answer of one type; meanwhile store the messages of the session, which may precede it.

        The timeout restarts with each stored message. Raises BrokerUnavailable with ``otherwise``.
        """
        self._last_ingest_s = time.monotonic()
        while not self._stopping and (left_s := self._last_ingest_s + CONNECT_TIMEOUT_S - time.monotonic()) > 0:
            for answer in self._process_queue(left_s):
                if isinstance(answer, kind):
                    return answer
            if self._connection_end is not None:
                raise self._connection_end
        raise BrokerUnavailable(f"the broker {self._address} {otherwise}")

    def _disconnect(self, *, orderly: bool) -> None:
        """Close the connection, if there is one; ``orderly``: send pending packets and a DISCONNECT first."""
        client, self._client = self._client, None
        if client is None:
            return
        self._mailbox.release(client)
        if orderly:
            client.disconnect(properties=_END_OF_SESSION if self._end_session else None)
            deadline_s = time.monotonic() + DISCONNECT_TIMEOUT_S
            while client.socket() is not None and time.monotonic() < deadline_s:
                time.sleep(0.005)
        connection = client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not SSLSocket's: its thread may be reading
        with suppress(AttributeError):  # its thread may end between the library's check of it and the join
            client.loop_stop()

    def _pause(self, pause_s: float) -> None:
        deadline_s = time.monotonic() + pause_s
        while not self._stopping and (left_s := deadline_s - time.monotonic()) > 0:
            self._process_queue(0.0 if self._judge() else min(left_s, JUDGE_INTERVAL_S))

    # Messages.

    def _process_queue(self, timeout_s: float) -> list[Any]:
        """Wait for a queue item; store the messages queued by then in one transaction, then acknowledge them.

        Returns the answers that arrived on the present connection.
        """
        packets: list[tuple[BoundedClient, PublishPacket]] = []
        answers: list[Any] = []
        items = size = 0
        queued = self._mailbox.get(timeout_s)
        while queued is not None:
            client, item = queued
            if client is not None and isinstance(item, PublishPacket):
                packets.append((client, item))
            elif client is not None and client is self._client:
                answers.append(item)
            items, size = items + 1, size + queued_bytes(item)
            if items >= TRANSACTION_ITEMS or size >= TRANSACTION_BYTES:
                break
            queued = self._mailbox.get(0.0)
        if packets:
            self._ingested += self._store.ingest(self._messages(packet for _, packet in packets))
            for client, packet in packets:
                if client is self._client and packet.mid:
                    client.ack(packet.mid, 1)
            self._last_ingest_s = time.monotonic()
        if time.monotonic() >= self._next_summary_s:
            self._log_summary()
        for answer in answers:
            if isinstance(answer, Published) and not self._results.published(answer.mid, answer.code):
                self._receipts.published(answer.mid, answer.code)
            elif isinstance(answer, Disconnected):
                self._connection_end = explained(self._address, answer, shared=self._share.one_of_many)
        return answers

    def _messages(self, packets: Iterable[PublishPacket]) -> Iterator[Message]:
        for packet in packets:
            topic = packet.topic.removeprefix(self._base)
            if self._share.stores(topic):
                yield Message(topic, packet.payload, packet.size if packet.size > MAX_PACKET else None)

    def _log_summary(self) -> None:
        self._next_summary_s = time.monotonic() + SUMMARY_INTERVAL_S
        ingested, self._ingested = self._ingested, IngestResult()
        if ingested != IngestResult():
            log.info("events_taken", stored=ingested.stored, repeated=ingested.repeated, rejected=ingested.rejected)

    def _publish_result(self, message: Result) -> int:
        client = self._client
        assert client is not None, "results are published while connected"  # noqa: S101 - only run() calls this
        topic = f"{self._root}/{message.topic}"
        return client.publish(topic, message.payload, 1, retain=message.retain, properties=_CLOUDEVENT).mid

    def _write_receipts(self, *, at_once: bool = False) -> None:
        self._receipts.write(self._ours, self._publish_receipt, self._held, at_once=at_once)

    def _ours(self) -> Iterator[Receipt]:
        return (receipt for receipt in self._store.receipts() if self._share.confirms(receipt.gateway))

    def _publish_receipt(self, gateway: str, content: str) -> int:
        client = self._client
        assert client is not None, "receipts are written while connected"  # noqa: S101 - only run() calls this
        return client.publish(f"{self._base}{gateway}/receipt", content, 1, retain=True, properties=PLAIN).mid


_CLOUDEVENT = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
_CLOUDEVENT.ContentType = "application/cloudevents+json"
_CLOUDEVENT.PayloadFormatIndicator = 1
_END_OF_SESSION = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
_END_OF_SESSION.SessionExpiryInterval = 0
