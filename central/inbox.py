"""Receives messages from the broker: store them, then acknowledge them, then publish receipts and results.

One thread makes every decision; the MQTT library's callbacks only add to a queue. Each connection uses a client object
of its own, and a message is acknowledged only on the connection that delivered it: a packet identifier has another
meaning on another connection, where an old acknowledgement could make the broker delete a message not stored yet.
"""

import json
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from central.coverage import HeldRange
from central.results.messages import Message as Result
from central.results.publisher import Publisher
from central.secret import read_secret
from central.store import IngestResult, Message, Store
from central.store.contact import KEPT_S
from central.wire import MAX_PACKET, BoundedClient, PublishPacket

TOPICS = ("punch/+", "quarantine/+", "note", "note/+", "batch", "info", "state", "terminal/+/state")
"""The topics subscribed to below each gateway's prefix."""
SESSION_EXPIRY_S = 14 * 24 * 3600
"""How long the broker keeps messages while this client is not connected; its configuration may shorten that."""
RECEIVE_MAXIMUM = 500
"""Messages that the broker may send before one is acknowledged; most brokers send fewer."""
TRANSACTION_ITEMS, TRANSACTION_BYTES = 1000, 1024 * 1024
"""Queue items handled in one transaction at most, and about their size: receipts wait for its end."""
MAX_QUEUED_BYTES = 2 * 1024 * 1024
"""Bound of the queue; while it is full, the broker's connection is not read."""
_ITEM_BYTES = 1024
"""Counted for a queue item beside its topic and payload."""
RECEIPT_INTERVAL_S = 1.0
"""Minimum time between two rounds of receipts."""
RECEIPT_RETRY_S = 60.0
"""A receipt that the broker refused is published again after this time."""
SUMMARY_INTERVAL_S = 60.0
CONNECT_TIMEOUT_S = 5.0
DISCONNECT_TIMEOUT_S = 2.0
SHORT_CONNECTIONS = 3
SHORT_CONNECTION_S = 60.0
"""After this many consecutive connections that ended within this time without a reason, the pauses grow."""
SESSION_TAKEN_OVER = 0x8E

log = structlog.get_logger("inbox")


@dataclass(frozen=True, slots=True)
class Broker:
    """Address and credentials; the password file is read again for each connection."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class BrokerUnavailable(Exception):  # noqa: N818 - named by the state of the broker
    """The broker cannot be used now; ``pause_s`` is the shortest and the longest pause before the next attempt."""

    def __init__(self, message: str, pause_s: tuple[float, float] = (1.0, 60.0), *, unexplained: bool = False) -> None:
        super().__init__(message)
        self.pause_s = pause_s
        self.unexplained = unexplained
        """A working connection ended without a reason from the broker."""


_REFUSED_PAUSE_S = (30.0, 300.0)
_TAKEN_OVER_PAUSE_S = (120.0, 600.0)


class _Connected(NamedTuple):
    code: int
    text: str
    session_present: bool
    max_packet: int | None
    """Bytes of a packet that the broker takes; None: any."""


class _Subscribed(NamedTuple):
    codes: tuple[int, ...]


class _Published(NamedTuple):
    mid: int
    code: int


class _Disconnected(NamedTuple):
    code: int
    text: str
    by_broker: bool
    """The broker sent this reason; otherwise the library derived it."""


_STOP = object()


class _Mailbox:
    """The bounded queue between the connections' threads and the inbox: messages and answers, in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[tuple[BoundedClient | None, Any]] = deque()
        self._size = 0
        self._released: BoundedClient | None = None

    def put(self, client: BoundedClient | None, item: Any) -> None:
        """Add an item; block while the queue is full, so that the connection is not read meanwhile.

        A full queue discards items of a released connection: their messages were not acknowledged, so the broker sends
        them again. An item without a client never blocks.
        """
        with self._changed:
            if client is not None:
                self._changed.wait_for(lambda: self._size < MAX_QUEUED_BYTES or client is self._released)
                if self._size >= MAX_QUEUED_BYTES:
                    return
            self._items.append((client, item))
            self._size += _queued_bytes(item)
            self._changed.notify_all()

    def get(self, timeout_s: float) -> tuple[BoundedClient | None, Any] | None:
        """Return the oldest item; None if the queue stays empty."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items, timeout_s):
                return None
            client, item = self._items.popleft()
            self._size -= _queued_bytes(item)
            self._changed.notify_all()
            return client, item

    def release(self, client: BoundedClient) -> None:
        """Stop blocking the thread of a connection, so that it can end."""
        with self._changed:
            self._released = client
            self._changed.notify_all()


def _queued_bytes(item: Any) -> int:
    return _ITEM_BYTES + (len(item.topic) + len(item.payload) if isinstance(item, PublishPacket) else 0)


JUDGE_INTERVAL_S = 5.0
"""How often verdicts are brought up to date while the broker is away."""


class Inbox:
    """Receives the messages of all gateways below a root topic, under one fixed client id."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        *,
        root: str = "hadir",
        client_id: str = "hadir-central",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        judge: Callable[[], bool] = lambda: False,
    ) -> None:
        """``judge`` judges a little between batches of messages, and returns whether more may be waiting."""
        self._broker = broker
        self._address = f"{broker.host}:{broker.port}"
        self._store = store
        self._root = root
        self._base = f"{root}/v1/"
        self._client_id = client_id
        self._now = now
        self._judge = judge
        self._mailbox = _Mailbox()
        self._stopping = False
        self._client: BoundedClient | None = None
        self._connection_end: BrokerUnavailable | None = None
        """Why the present connection has ended; None while it works."""
        self._last_ingest_s = 0.0
        self._last_receipts: dict[str, tuple[str, HeldRange]] = {}
        """The last receipt to each gateway on this connection."""
        self._in_flight: dict[str, int] = {}
        """The message id of the unacknowledged receipt to each gateway."""
        self._gateway_of_receipt: dict[int, str] = {}
        """The inverse of ``_in_flight``."""
        self._retry_at_s: dict[str, float] = {}
        """Gateways whose last receipt the broker refused, with the time of the next attempt."""
        self._refused: set[str] = set()
        self._incomplete: set[str] = set()
        self._next_receipts_s = 0.0
        self._next_summary_s = time.monotonic() + SUMMARY_INTERVAL_S
        self._ingested = IngestResult()
        self._kept_contact = now()
        """When the connection was last prolonged on record."""
        self._results = Publisher(store.database, root, now)

    def stop(self) -> None:
        """Make :meth:`run` return soon; safe in a signal handler and in any thread."""
        self._stopping = True
        self._mailbox.put(None, _STOP)

    def run(self) -> None:
        """Receive until :meth:`stop`; raises StoreError, after which no message is acknowledged any more."""
        failures = short_connections = 0
        logged_problem = ""
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
                problem = exc if short_connections < SHORT_CONNECTIONS else _ended_again(exc)
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
        self._store.lose_contact()
        self._log_summary()

    def _receive(self) -> None:
        """Serve one connection, until it ends or the inbox is stopped."""
        more = False
        while not self._stopping:
            self._process_queue(0.0 if more else max(0.0, self._next_receipts_s - time.monotonic()))
            if self._connection_end is not None:
                raise self._connection_end
            self._write_receipts()
            self._results.step(self._publish_result)
            self._keep_contact()
            more = self._judge()
        self._write_receipts(at_once=True)
        self._results.settle()

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
        client = self._new_client()
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
            raise BrokerUnavailable(f"the broker {self._address} cannot be reached: {_plain(exc)}") from exc
        self._client = client
        client.loop_start()
        answer = self._wait_for(_Connected, "accepts the connection but sends no CONNACK")
        if answer.code != 0:
            raise BrokerUnavailable(
                f"the broker {self._address} refuses the connection ({answer.text}); check user name, password file "
                "and the broker's list of users",
                _REFUSED_PAUSE_S,
            )
        client.subscribe([(f"{self._base}+/+/{topic}", SubscribeOptions(qos=1)) for topic in TOPICS])
        granted = self._wait_for(_Subscribed, "does not answer the subscription").codes
        refused = [topic for topic, code in zip(TOPICS, granted, strict=False) if code != 1]
        if refused:
            raise BrokerUnavailable(
                f"the broker {self._address} does not let this client subscribe to {', '.join(refused)} with QoS 1 "
                f"below {self._base}+/+/; check the broker's access list",
                _REFUSED_PAUSE_S,
            )
        log.info("broker_found", broker=self._address, session_present=answer.session_present)
        if not answer.session_present and not first_time:
            log.warning(
                "session_lost",
                reason="the broker has lost this client's session and the messages in it; receipts request them again",
            )
        self._last_receipts.clear()
        self._in_flight.clear()
        self._gateway_of_receipt.clear()
        self._retry_at_s.clear()
        self._next_receipts_s = 0.0
        self._results.connected(answer.max_packet)

    def _new_client(self) -> BoundedClient:
        mailbox = self._mailbox
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
            deliver=lambda packet: mailbox.put(client, packet),
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        broker = self._broker
        try:
            if broker.username is not None:
                file = broker.password_file
                client.username_pw_set(broker.username, None if file is None else read_secret(file))
            if broker.tls:
                client.tls_set(_text(broker.ca_file), _text(broker.cert_file), _text(broker.key_file))
        except (OSError, ValueError) as exc:
            raise BrokerUnavailable(f"password or TLS files cannot be used: {_plain(exc)}", _REFUSED_PAUSE_S) from exc

        def on_connect(_c: mqtt.Client, _u: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any) -> None:
            mailbox.put(
                client,
                _Connected(
                    reason.value,
                    str(reason),
                    flags.session_present,
                    getattr(properties, "MaximumPacketSize", None),
                ),
            )

        def on_subscribe(_c: mqtt.Client, _u: Any, _mid: int, reasons: list[ReasonCode], _p: Any) -> None:
            mailbox.put(client, _Subscribed(tuple(reason.value for reason in reasons)))

        def on_publish(_c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
            mailbox.put(client, _Published(mid, reason.value))

        def on_disconnect(_c: mqtt.Client, _u: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, _p: Any) -> None:
            text = client.protocol_error or str(reason)
            mailbox.put(client, _Disconnected(reason.value, text, flags.is_disconnect_packet_from_server))

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_publish = on_publish
        client.on_disconnect = on_disconnect
        return client

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
            client.disconnect()
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
            items, size = items + 1, size + _queued_bytes(item)
            if items >= TRANSACTION_ITEMS or size >= TRANSACTION_BYTES:
                break
            queued = self._mailbox.get(0.0)
        if packets:
            self._ingested += self._store.ingest(self._message(packet) for _, packet in packets)
            for client, packet in packets:
                if client is self._client and packet.mid:
                    client.ack(packet.mid, 1)
            self._last_ingest_s = time.monotonic()
        if time.monotonic() >= self._next_summary_s:
            self._log_summary()
        for answer in answers:
            if isinstance(answer, _Published) and not self._results.published(answer.mid, answer.code):
                self._handle_published(answer)
            elif isinstance(answer, _Disconnected):
                self._connection_end = _explained(self._address, answer)
        return answers

    def _message(self, packet: PublishPacket) -> Message:
        cut_from = packet.size if packet.size > MAX_PACKET else None
        return Message(packet.topic.removeprefix(self._base), packet.payload, cut_from)

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

    # Receipts.

    def _write_receipts(self, *, at_once: bool = False) -> None:
        """Publish a receipt to each gateway whose held range has changed, at most once in ``RECEIPT_INTERVAL_S``."""
        now_s = time.monotonic()
        if now_s < self._next_receipts_s and not at_once:
            return
        self._next_receipts_s = now_s + RECEIPT_INTERVAL_S
        client = self._client
        assert client is not None, "receipts are written while connected"  # noqa: S101 - only run() calls this
        for gateway, stream, held_range in self._store.receipts():
            if self._last_receipts.get(gateway) == (stream, held_range):
                continue
            if gateway in self._in_flight or now_s < self._retry_at_s.get(gateway, 0.0):
                continue  # the broker has not accepted the previous receipt; the next one will cover more
            self._last_receipts[gateway] = (stream, held_range)
            self._log_missing(gateway, stream, held_range)
            at = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            receipt = {"stream": stream, "upto": held_range.upto, "missing": held_range.missing, "at": at}
            payload = json.dumps(receipt, separators=(",", ":"))
            sent = client.publish(f"{self._base}{gateway}/receipt", payload, 1, retain=True, properties=_PLAIN)
            self._in_flight[gateway] = sent.mid
            self._gateway_of_receipt[sent.mid] = gateway

    def _log_missing(self, gateway: str, stream: str, held_range: HeldRange) -> None:
        fields = {"gateway": gateway, "stream": stream, "upto": held_range.upto}
        if held_range.missing and gateway not in self._incomplete:
            self._incomplete.add(gateway)
            events = sum(last - first + 1 for first, last in held_range.missing)
            log.warning("events_missing", **fields, events=events, first=held_range.missing[0][0])
        elif not held_range.missing and gateway in self._incomplete:
            self._incomplete.discard(gateway)
            log.info("events_complete", **fields)

    def _handle_published(self, published: _Published) -> None:
        gateway = self._gateway_of_receipt.pop(published.mid, None)
        if gateway is None:
            return
        del self._in_flight[gateway]
        if published.code < 0x80:
            self._refused.discard(gateway)
            self._retry_at_s.pop(gateway, None)
            return
        self._last_receipts.pop(gateway, None)
        self._retry_at_s[gateway] = time.monotonic() + RECEIPT_RETRY_S
        if gateway not in self._refused:
            self._refused.add(gateway)
            log.warning(
                "receipt_refused",
                gateway=gateway,
                reason_code=published.code,
                reason="the broker does not accept receipts from this client; check its access list",
            )


_PLAIN = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
_PLAIN.ContentType = "application/json"
_PLAIN.PayloadFormatIndicator = 1
_CLOUDEVENT = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
_CLOUDEVENT.ContentType = "application/cloudevents+json"
_CLOUDEVENT.PayloadFormatIndicator = 1


def _explained(where: str, end: _Disconnected) -> BrokerUnavailable:
    if end.code == SESSION_TAKEN_OVER:
        return BrokerUnavailable(f"{where}: {_SHARED}", _TAKEN_OVER_PAUSE_S)
    reason = f"the connection to the broker {where} broke ({end.text})"
    return BrokerUnavailable(reason, unexplained=not end.by_broker)


def _ended_again(exc: BrokerUnavailable) -> BrokerUnavailable:
    # mosquitto 2.0.11 closes the older of two connections with one client id without a reason, which looks like a
    # crashing broker: the pause of minutes that a takeover calls for would rest on a guess.
    return BrokerUnavailable(f"{exc}, again and again: the broker keeps ending, or {_SHARED}")


_SHARED = (
    "another client connects with this client id: each takes messages from the other, and two databases each hold a "
    "part; end one of them, or give it another --client-id"
)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _plain(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    name = getattr(exc, "filename", None)
    reason = getattr(exc, "strerror", None) or str(exc)
    return f"{name}: {reason}" if name else reason
