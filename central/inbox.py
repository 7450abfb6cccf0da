"""From the broker to the store: store, then acknowledge, then tell the gateways what is held.

One thread decides everything; the MQTT library's callbacks only put what happened into a queue. Every connection uses a
client object of its own, and a message is acknowledged only on the connection that brought it: message numbers mean
nothing on another, where an old acknowledgement could tell the broker to forget something that is not stored yet.
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
from central.secret import read_secret
from central.store import IngestResult, Message, Store
from central.wire import MAX_PACKET, BoundedClient, PublishPacket

TOPICS = ("punch/+", "quarantine/+", "note", "note/+", "batch", "info")
"""What is subscribed to below each gateway's prefix."""
SESSION_S = 14 * 24 * 3600
"""How long the broker shall keep what is published while nobody is here; it may be set to keep it for less."""
IN_FLIGHT = 500
"""Messages that the broker may send before one is acknowledged; most brokers allow themselves fewer."""
AT_ONCE, AT_ONCE_BYTES = 1000, 1024 * 1024
"""Messages of one transaction at most, and about their size: nothing else is done meanwhile."""
MAX_QUEUED_BYTES = 2 * 1024 * 1024
"""Payloads that may wait to be stored; beyond, the broker's connection is not read."""
RECEIPT_INTERVAL_S = 1.0
"""Receipts are written this often at most."""
SUMMARY_S = 60.0
CONNECT_TIMEOUT_S = 5.0
HANG_UP_S = 2.0
SHORT_LIVES = 3
SHORT_LIFE_S = 60.0
"""So many connections in a row that end so soon without a reason let this inbox return more and more slowly."""
SESSION_TAKEN_OVER = 0x8E

log = structlog.get_logger("inbox")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are to it; a password is read from its file at every connection."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class BrokerUnavailable(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be used now; ``pause_s`` is the shortest and the longest time to stay away."""

    def __init__(self, message: str, pause_s: tuple[float, float] = (1.0, 60.0), *, unexplained: bool = False) -> None:
        super().__init__(message)
        self.pause_s = pause_s
        self.unexplained = unexplained
        """A working connection ended, and the broker did not say why."""


_REFUSED = (30.0, 300.0)
_TAKEN_OVER_PAUSE_S = (120.0, 600.0)


class _Connected(NamedTuple):
    code: int
    text: str
    session_present: bool


class _Subscribed(NamedTuple):
    codes: tuple[int, ...]


class _Published(NamedTuple):
    mid: int
    code: int


class _Disconnected(NamedTuple):
    code: int
    text: str
    by_broker: bool
    """The broker gave this reason; otherwise it is the library's guess."""


_STOP = object()


class _Mailbox:
    """What happened on connections, in order; messages wait here only up to ``MAX_QUEUED_BYTES``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[tuple[BoundedClient | None, Any]] = deque()
        self._size = 0
        self._abandoned: BoundedClient | None = None

    def put(self, client: BoundedClient | None, what: Any) -> None:
        """Add something; a message is not taken while too much waits, so that the connection fills instead."""
        with self._changed:
            if isinstance(what, PublishPacket):
                self._changed.wait_for(lambda: self._size < MAX_QUEUED_BYTES or client is self._abandoned)
                self._size += len(what.payload)
            self._items.append((client, what))
            self._changed.notify_all()

    def get(self, timeout_s: float) -> tuple[BoundedClient | None, Any] | None:
        """Return the oldest; None where nothing comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items, timeout_s):
                return None
            client, what = self._items.popleft()
            if isinstance(what, PublishPacket):
                self._size -= len(what.payload)
                self._changed.notify_all()
            return client, what

    def release(self, client: BoundedClient) -> None:
        """Let whatever still arrives on a connection in, so that its thread can end."""
        with self._changed:
            self._abandoned = client
            self._changed.notify_all()


class Inbox:
    """Receives what all gateways below a root publish, under one fixed client id."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        *,
        root: str = "hadir",
        client_id: str = "hadir-central",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._broker = broker
        self._where = f"{broker.host}:{broker.port}"
        self._store = store
        self._base = f"{root}/v1/"
        self._client_id = client_id
        self._now = now
        self._mailbox = _Mailbox()
        self._stopping = False
        self._client: BoundedClient | None = None
        self._end: BrokerUnavailable | None = None
        """Why the present connection is over, if it is."""
        self._heard = 0.0
        """When messages were stored last."""
        self._told: dict[str, tuple[str, HeldRange]] = {}
        """The last receipt to each gateway on this connection."""
        self._in_flight: dict[int, str] = {}
        """Receipts not acknowledged yet, by message id."""
        self._refused: set[str] = set()
        self._incomplete: set[str] = set()
        self._next_receipts = 0.0
        self._next_summary = time.monotonic() + SUMMARY_S
        self._ingested = IngestResult()

    def stop(self) -> None:
        """Make :meth:`run` return soon; may be called from a signal handler and from any thread."""
        self._stopping = True
        self._mailbox.put(None, _STOP)

    def run(self) -> None:
        """Receive until :meth:`stop`; raises StoreError, after which nothing more is acknowledged."""
        failures = short_lives = 0
        trouble = ""
        while not self._stopping:
            begun = time.monotonic()
            try:
                self._connect()
                failures, trouble = 0, ""
                self._receive()
            except BrokerUnavailable as exc:
                short_lives = short_lives + 1 if self._is_short_life(begun) else 0
                problem = exc if short_lives < SHORT_LIVES else _ended_again(exc)
                self._hang_up(politely=False)
                if self._stopping:
                    break
                failures = max(failures + 1, short_lives - SHORT_LIVES + 2)
                shortest_s, longest_s = problem.pause_s
                jitter = random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
                pause_s = jitter * min(longest_s, shortest_s * 2.0 ** min(failures - 1, 16))
                # Once when it breaks, not at every attempt; and again where the reason is another.
                if str(problem) != trouble:
                    log.warning("broker_lost", broker=self._where, reason=str(problem), retry_s=round(pause_s, 1))
                trouble = str(problem)
                self._sit_out(pause_s)
            finally:
                self._hang_up(politely=True)
        self._summarise()

    def _receive(self) -> None:
        """Do the work of one connection, until it ends or this inbox is stopped."""
        while not self._stopping:
            self._listen(max(0.0, self._next_receipts - time.monotonic()))
            if self._end is not None:
                raise self._end
            self._write_receipts()
        self._write_receipts(at_once=True)

    def _is_short_life(self, begun: float) -> bool:
        """Tell whether the broker ended a connection that worked, soon and without giving a reason."""
        return self._end is not None and self._end.unexplained and time.monotonic() - begun < SHORT_LIFE_S

    # Connections.

    def _connect(self) -> None:
        self._end = None
        first_time = self._store.empty
        client = self._new_client()
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves these untyped
        connect.SessionExpiryInterval = SESSION_S
        connect.ReceiveMaximum = IN_FLIGHT
        connect.MaximumPacketSize = MAX_PACKET
        try:
            client.connect(self._broker.host, self._broker.port, 30, clean_start=False, properties=connect)
        except (OSError, ValueError) as exc:
            raise BrokerUnavailable(f"the broker {self._where} cannot be reached: {_plain(exc)}") from exc
        self._client = client
        client.loop_start()
        answer = self._answer(_Connected, "accepts the connection and says nothing")
        if answer.code != 0:
            raise BrokerUnavailable(
                f"the broker {self._where} refuses the connection ({answer.text}); check user name, password file and "
                "the broker's list of users",
                _REFUSED,
            )
        client.subscribe([(f"{self._base}+/+/{topic}", SubscribeOptions(qos=1)) for topic in TOPICS])
        granted = self._answer(_Subscribed, "does not answer the subscription").codes
        refused = [topic for topic, code in zip(TOPICS, granted, strict=False) if code != 1]
        if refused:
            raise BrokerUnavailable(
                f"the broker {self._where} does not let this client subscribe to {', '.join(refused)} with QoS 1 below "
                f"{self._base}+/+/; check the broker's access list",
                _REFUSED,
            )
        log.info("broker_found", broker=self._where, session_present=answer.session_present)
        if not answer.session_present and not first_time:
            log.warning(
                "session_lost",
                reason="the broker no longer knew this client: what it was keeping for it is gone; receipts ask for it",
            )
        self._told.clear()
        self._in_flight.clear()
        self._next_receipts = 0.0

    def _new_client(self) -> BoundedClient:
        mailbox = self._mailbox
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
            deliver=lambda arrived: mailbox.put(client, arrived),
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
            raise BrokerUnavailable(f"password or TLS files cannot be used: {_plain(exc)}", _REFUSED) from exc

        def on_connect(_c: mqtt.Client, _u: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, _p: Any) -> None:
            mailbox.put(client, _Connected(reason.value, str(reason), flags.session_present))

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

    def _answer(self, kind: type, otherwise: str) -> Any:
        """Wait for the broker's answer of one kind, storing what it sends first: what waited in the session."""
        self._heard = time.monotonic()
        while not self._stopping and (left := self._heard + CONNECT_TIMEOUT_S - time.monotonic()) > 0:
            for what in self._listen(left):
                if isinstance(what, kind):
                    return what
            if self._end is not None:
                raise self._end
        raise BrokerUnavailable(f"the broker {self._where} {otherwise}")

    def _hang_up(self, *, politely: bool) -> None:
        """End the connection, if there is one; politely, so that what is on its way out still leaves."""
        client, self._client = self._client, None
        if client is None:
            return
        self._mailbox.release(client)
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

    def _sit_out(self, pause_s: float) -> None:
        until = time.monotonic() + pause_s
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._listen(left)

    # Messages.

    def _listen(self, patience_s: float) -> list[Any]:
        """Wait for something to happen; store everything that has arrived meanwhile, then acknowledge it.

        What else happened on the present connection is returned.
        """
        arrived: list[tuple[BoundedClient, PublishPacket]] = []
        others: list[Any] = []
        size = 0
        happened = self._mailbox.get(patience_s)
        while happened is not None:
            client, what = happened
            if client is not None and isinstance(what, PublishPacket):
                arrived.append((client, what))
                size += len(what.payload)
            elif client is not None and client is self._client:
                others.append(what)
            if len(arrived) >= AT_ONCE or size >= AT_ONCE_BYTES:
                break
            happened = self._mailbox.get(0.0)
        if arrived:
            self._ingested += self._store.ingest(self._message(what) for _, what in arrived)
            for client, what in arrived:
                if client is self._client and what.mid:
                    client.ack(what.mid, 1)
            self._heard = time.monotonic()
        if time.monotonic() >= self._next_summary:
            self._summarise()
        for what in others:
            if isinstance(what, _Published):
                self._note_published(what)
            elif isinstance(what, _Disconnected):
                self._end = _explained(self._where, what)
        return others

    def _message(self, arrived: PublishPacket) -> Message:
        cut_from = arrived.size if arrived.size > MAX_PACKET else None
        return Message(arrived.topic.removeprefix(self._base), arrived.payload, cut_from)

    def _summarise(self) -> None:
        self._next_summary = time.monotonic() + SUMMARY_S
        ingested, self._ingested = self._ingested, IngestResult()
        if ingested != IngestResult():
            log.info("events_taken", stored=ingested.stored, repeated=ingested.repeated, rejected=ingested.rejected)

    # Receipts.

    def _write_receipts(self, *, at_once: bool = False) -> None:
        """Tell every gateway for which something has changed what is held, at most once in ``RECEIPT_INTERVAL_S``."""
        if time.monotonic() < self._next_receipts and not at_once:
            return
        self._next_receipts = time.monotonic() + RECEIPT_INTERVAL_S
        client = self._client
        assert client is not None, "receipts are written while connected"  # noqa: S101 - by run() and nobody else
        for gateway, stream, held_range in self._store.receipts():
            if self._told.get(gateway) == (stream, held_range) or gateway in self._in_flight.values():
                continue  # nothing new, or the broker has not taken the one before: the next will say more
            self._told[gateway] = (stream, held_range)
            self._remark(gateway, stream, held_range)
            at = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            receipt = {"stream": stream, "upto": held_range.upto, "missing": held_range.missing, "at": at}
            payload = json.dumps(receipt, separators=(",", ":"))
            sent = client.publish(f"{self._base}{gateway}/receipt", payload, 1, retain=True, properties=_PLAIN)
            self._in_flight[sent.mid] = gateway

    def _remark(self, gateway: str, stream: str, held_range: HeldRange) -> None:
        fields = {"gateway": gateway, "stream": stream, "upto": held_range.upto}
        if held_range.missing and gateway not in self._incomplete:
            self._incomplete.add(gateway)
            events = sum(last - first + 1 for first, last in held_range.missing)
            log.warning("events_missing", **fields, events=events, first=held_range.missing[0][0])
        elif not held_range.missing and gateway in self._incomplete:
            self._incomplete.discard(gateway)
            log.info("events_complete", **fields)

    def _note_published(self, published: _Published) -> None:
        gateway = self._in_flight.pop(published.mid, None)
        if gateway is None:
            return
        if published.code < 0x80:
            self._refused.discard(gateway)
        elif gateway not in self._refused:
            self._refused.add(gateway)
            log.warning(
                "receipt_refused",
                gateway=gateway,
                reason_code=published.code,
                reason="the broker does not take receipts from this client; check its access list",
            )


_PLAIN = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
_PLAIN.ContentType = "application/json"
_PLAIN.PayloadFormatIndicator = 1


def _explained(where: str, end: _Disconnected) -> BrokerUnavailable:
    if end.code == SESSION_TAKEN_OVER:
        return BrokerUnavailable(f"{where}: {_SHARED}", _TAKEN_OVER_PAUSE_S)
    reason = f"the connection to the broker {where} broke ({end.text})"
    return BrokerUnavailable(reason, unexplained=not end.by_broker)


def _ended_again(exc: BrokerUnavailable) -> BrokerUnavailable:
    # mosquitto 2.0.11 closes the older of two connections with one client id without giving the reason, and that looks
    # like a broker that crashes: to stay away for minutes, as when the reason was given, would be a guess.
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
