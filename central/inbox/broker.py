"""The broker as the inbox sees it: address and credentials, a client for one connection, and why one ended."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from central.inbox.mailbox import Connected, Disconnected, Mailbox, Published, Subscribed, Unsubscribed
from central.secret import read_secret
from central.wire import BoundedClient

CONNECT_TIMEOUT_S = 5.0
SESSION_TAKEN_OVER = 0x8E


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


REFUSED_PAUSE_S = (30.0, 300.0)
TAKEN_OVER_PAUSE_S = (120.0, 600.0)


def new_client(broker: Broker, client_id: str, mailbox: Mailbox) -> BoundedClient:
    """Return a client for one connection, which fills the mailbox; raises BrokerUnavailable."""
    client = BoundedClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=mqtt.MQTTv5,
        manual_ack=True,
        reconnect_on_failure=False,
        deliver=lambda packet: mailbox.put(client, packet),
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    try:
        if broker.username is not None:
            file = broker.password_file
            client.username_pw_set(broker.username, None if file is None else read_secret(file))
        if broker.tls:
            client.tls_set(_text(broker.ca_file), _text(broker.cert_file), _text(broker.key_file))
    except (OSError, ValueError) as exc:
        raise BrokerUnavailable(f"password or TLS files cannot be used: {plain(exc)}", REFUSED_PAUSE_S) from exc

    def on_connect(_c: mqtt.Client, _u: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any) -> None:
        mailbox.put(
            client,
            Connected(
                reason.value,
                str(reason),
                flags.session_present,
                getattr(properties, "MaximumPacketSize", None),
            ),
        )

    def on_subscribe(_c: mqtt.Client, _u: Any, _mid: int, reasons: list[ReasonCode], _p: Any) -> None:
        mailbox.put(client, Subscribed(tuple(reason.value for reason in reasons)))

    def on_unsubscribe(_c: mqtt.Client, _u: Any, _mid: int, _reasons: list[ReasonCode], _p: Any) -> None:
        mailbox.put(client, Unsubscribed())

    def on_publish(_c: mqtt.Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        mailbox.put(client, Published(mid, reason.value))

    def on_disconnect(_c: mqtt.Client, _u: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, _p: Any) -> None:
        text = client.protocol_error or str(reason)
        mailbox.put(client, Disconnected(reason.value, text, flags.is_disconnect_packet_from_server))

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_unsubscribe = on_unsubscribe
    client.on_publish = on_publish
    client.on_disconnect = on_disconnect
    return client


def explained(where: str, end: Disconnected, *, shared: bool = False) -> BrokerUnavailable:
    """Return why a connection has ended, for a person.

    ``shared``: the client id is a lane's. Then a worker that has lost the lane may have connected once more, and the
    pause is short; where that goes on, it is another deployment.
    """
    if end.code == SESSION_TAKEN_OVER and shared:
        return BrokerUnavailable(f"{where}: {_SHARED_LANE}", unexplained=True)
    if end.code == SESSION_TAKEN_OVER:
        return BrokerUnavailable(f"{where}: {_SHARED}", TAKEN_OVER_PAUSE_S)
    reason = f"the connection to the broker {where} broke ({end.text})"
    return BrokerUnavailable(reason, unexplained=not end.by_broker)


def ended_again(exc: BrokerUnavailable) -> BrokerUnavailable:
    """Return the reason where connections have ended shortly after their begin, several times."""
    # mosquitto 2.0.11 closes the older of two connections with one client id without a reason, which looks like a
    # crashing broker: the pause of minutes that a takeover calls for would rest on a guess.
    return BrokerUnavailable(f"{exc}, again and again: the broker keeps ending, or {_SHARED}")


_SHARED_LANE = (
    "another client has connected with this lane's client id; if that goes on, a deployment with another database "
    "uses the same --client-id, and each receives a part: end it, or give it another one"
)
_SHARED = (
    "another client connects with this client id: each takes messages from the other, and two databases each hold a "
    "part; end one of them, or give it another --client-id"
)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def plain(exc: Exception) -> str:
    """Return what a socket or a file made fail, for a person."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    name = getattr(exc, "filename", None)
    reason = getattr(exc, "strerror", None) or str(exc)
    return f"{name}: {reason}" if name else reason
