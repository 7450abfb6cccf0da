"""One connection to an MQTT broker, used by publisher, courier and doctor: its answers are items of a queue.

The library's callbacks only put items into that queue, because an exception in one of them would end the library's
network thread without notice. Every connection uses a new client object.
"""

import queue
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.textfile import read_secret
from gateway.mqtt.bounded_client import MESSAGE_BYTES, BoundedClient
from gateway.mqtt.failure import BrokerUnavailable, error_text
from gateway.mqtt.mailbox import Mailbox
from gateway.mqtt.timing import Timing
from gateway.settings import Mqtt

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

PACKET_MAX = 268_435_455
"""Maximum size of an MQTT packet."""
RETAINED, NO_RETAINED = 0, 2
"""Retain handling of a subscription: with the retained message, or without it."""

T = TypeVar("T")
U = TypeVar("U")


class Connected(NamedTuple):
    """CONNACK: a session, or a refusal."""

    code: int
    text: str
    receive_maximum: int
    """Receive Maximum of the broker: messages of any kind in flight."""
    maximum_packet: int
    """Maximum Packet Size of the broker, in bytes."""


class Disconnected(NamedTuple):
    """The end of the connection."""

    code: int
    text: str
    by_broker: bool
    """The broker sent this reason; otherwise the library assumed it."""


class Acknowledged(NamedTuple):
    """PUBACK."""

    mid: int
    reason: ReasonCode

    @property
    def code(self) -> int:
        """The reason code; 0 where all is well."""
        return int(self.reason.value)


class Subscribed(NamedTuple):
    """SUBACK."""

    mid: int
    reasons: tuple[ReasonCode, ...]
    """One for each topic."""


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """The mailbox holds something."""


Answer = Connected | Disconnected | Acknowledged | Subscribed | MessageArrived


def _ignore(_item: object) -> None:
    return


class Session:
    """A connection, its client object and its mailbox; it is used once, by one thread.

    ``inbox`` receives ``(session.key, answer)`` for each answer of the broker. It may be shared with other sources, and
    with earlier connections, whose items have other keys. Topics are below ``prefix``.
    """

    def __init__(
        self,
        settings: Mqtt,
        client_id: str,
        prefix: str,
        *,
        timing: Timing,
        inbox: "queue.SimpleQueue[Any] | None" = None,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        """Raise BrokerUnavailable where a file that the settings name is unusable."""
        self._settings = settings
        self._prefix = prefix
        self._timing = timing
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue() if inbox is None else inbox
        self.key = object()
        self.version5 = settings.protocol == 5
        self.client = client_for(settings, client_id, timing.connect_s)
        if will is not None:
            self.client.will_set(f"{prefix}/{will[0]}", will[1], qos=1, retain=True)
        self.mailbox = _connect_callbacks(self.client, prefix, self.inbox, self.key)

    @property
    def where(self) -> str:
        """Host and port of the broker."""
        return f"{self._settings.host}:{self._settings.port}"

    def connect(self, other: Callable[[object], None] = _ignore) -> Connected | Disconnected | None:
        """Connect and return the broker's answer; None where there is none in time.

        Raises OSError and ValueError where no connection can be made. For ``other`` see :meth:`wait_for`.
        """
        self.client.connect(
            self._settings.host,
            self._settings.port,
            self._settings.keepalive_s,
            clean_start=True if self.version5 else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            properties=_connect_properties() if self.version5 else None,
        )
        self.client.loop_start()
        return self.wait_for(Connected, Disconnected, timeout_s=self._timing.connect_s, other=other)

    def answer_in(self, item: object) -> Answer | None:
        """Return the answer in an item of the inbox; None where the item has another source."""
        if isinstance(item, tuple) and len(item) == 2 and item[0] is self.key:
            answer: Answer = item[1]
            return answer
        return None

    @overload
    def wait_for(self, kind: type[T], /, *, timeout_s: float, other: Callable[[object], None] = ...) -> T | None: ...

    @overload
    def wait_for(
        self, kind: type[T], more: type[U], /, *, timeout_s: float, other: Callable[[object], None] = ...
    ) -> T | U | None: ...

    def wait_for(self, *kinds: type, timeout_s: float, other: Callable[[object], None] = _ignore) -> object:
        """Return the next answer of these kinds; None after the timeout.

        ``other`` is called with each other item of the inbox, and ends the waiting by an exception.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                item = self.inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            answer = self.answer_in(item)
            if isinstance(answer, kinds):
                return answer
            other(item)

    def subscribe(self, topics: Mapping[str, int]) -> int | None:
        """Subscribe to topics with their retain handling (MQTT 5 only); return the id of the request.

        The gateway's own messages are not delivered with MQTT 5.
        """
        wanted: Any = [(f"{self._prefix}/{topic}", 1) for topic in topics]
        if self.version5:
            wanted = [
                (
                    f"{self._prefix}/{topic}",
                    SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=handling),
                )
                for topic, handling in topics.items()
            ]
        mid: int | None = self.client.subscribe(wanted)[1]
        return mid

    def unsubscribe(self, topic: str) -> None:
        """End a subscription."""
        self.client.unsubscribe(f"{self._prefix}/{topic}")

    def publish(
        self, topic: str, body: bytes, properties: Properties, *, retain: bool = False
    ) -> tuple[int, str | None]:
        """Send a message with QoS 1; return its id, and why the connection broke where it did."""
        sent = self.client.publish(
            f"{self._prefix}/{topic}", body, qos=1, retain=retain, properties=properties if self.version5 else None
        )
        return sent.mid, None if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else mqtt.error_string(sent.rc)

    def overhead(self, topic: str, properties: Properties) -> int:
        """Return the maximum bytes of a packet beside its payload."""
        packed: bytes = properties.pack() if self.version5 else b""  # type: ignore[no-untyped-call]  # paho leaves it untyped
        return 1 + 4 + 2 + len(self._prefix) + 1 + len(topic) + 2 + len(packed)

    def close(self, *, gracefully: bool) -> None:
        """End the connection and the library's thread, whatever the broker does; not ``gracefully``: it sends the will.

        The library alone would wait until the keep-alive runs out for a broker that has stopped reading.
        """
        client = self.client
        if gracefully:
            client.disconnect()
            until = time.monotonic() + self._timing.disconnect_s
            while client.socket() is not None and time.monotonic() < until:
                time.sleep(0.005)
        connection = client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not SSLSocket's: its thread may be reading
        with suppress(AttributeError):  # its thread may end between the library's look at it and the join
            client.loop_stop()


def _connect_callbacks(client: BoundedClient, prefix: str, inbox: "queue.SimpleQueue[Any]", key: object) -> Mailbox:
    # None of these refers to `client`: a reference cycle would keep every old client and its sockets open.
    def put(answer: Answer) -> None:
        inbox.put((key, answer))

    def on_connect(_c: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
        messages = getattr(properties, "ReceiveMaximum", None) or 65535
        size = getattr(properties, "MaximumPacketSize", None) or PACKET_MAX
        put(Connected(reason.value, str(reason), messages, size))

    def on_disconnect(
        _c: mqtt.Client, _u: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        put(Disconnected(reason.value, str(reason), flags.is_disconnect_packet_from_server))

    def on_publish(_c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        put(Acknowledged(mid, reason))

    def on_subscribe(_c: mqtt.Client, _u: Any, mid: int, reasons: list[ReasonCode], _p: Properties | None) -> None:
        put(Subscribed(mid, tuple(reasons)))

    mailbox = Mailbox(prefix, lambda: put(MessageArrived()))
    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    client.on_publish = on_publish
    client.on_subscribe = on_subscribe
    client.on_message = lambda _client, _userdata, message: mailbox.put(message)
    return mailbox


def client_for(settings: Mqtt, client_id: str, connect_s: float) -> BoundedClient:
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
    client.connect_timeout = connect_s
    client.max_inflight_messages_set(65535)  # the publisher enforces the window: the library does not know the broker's
    if settings.username is not None:
        password = None
        if settings.password_file is not None:
            try:
                password = read_secret(settings.password_file)
            except (OSError, ValueError) as exc:
                raise BrokerUnavailable(
                    f"the password file {settings.password_file} cannot be read: {error_text(exc)}",
                    "refused",
                    cause="files",
                ) from exc
        client.username_pw_set(settings.username, password)
    if settings.tls:
        try:
            client.tls_set_context(tls_context(settings))
        except (OSError, ValueError) as exc:
            raise BrokerUnavailable(
                f"the TLS files cannot be used: {error_text(exc)}", "refused", cause="files"
            ) from exc
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
PLAIN = _Packed("application/json")


def reply_properties(correlation: bytes) -> Properties:
    """Return the properties of a reply, which repeats the request's correlation data."""
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
