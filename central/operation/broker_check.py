"""Tries the way to the broker as the inbox goes it: name, encryption, login, and the rights of the access list."""

import queue
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from central.inbox import TOPICS
from central.operation.steps import Step, failed, passed, warned
from central.secret import SecretError, read_secret
from central.settings import BROKER_URL, BrokerSettings
from central.texts import Count, Reason

ANSWER_S = 10.0
"""How long the broker may take for one answer."""
EXPIRES_S = 21 * 24 * 3600
"""A certificate that ends sooner is named."""
LARGEST = 4 * 1024 * 1024
"""Bytes of the largest message that a gateway may send."""
PART = "broker"


def check_broker(settings: BrokerSettings) -> Iterator[Step]:
    """Yield the steps to the broker; those behind a failed one are left out. Nothing retained is published."""
    match = BROKER_URL.fullmatch(settings.url)
    assert match is not None, "settings are valid"  # noqa: S101 - for the type checker
    tls, host = match[1] == "mqtts", match[2].strip("[]")
    port = int(match[3] or (8883 if tls else 1883))
    where = {"host": host, "port": port}
    try:
        password = None if settings.password_file is None else read_secret(settings.password_file)
        context = _context(settings) if tls else None
    except (OSError, SecretError) as error:
        yield failed(
            PART, "broker_files", reason=Reason(f"{getattr(error, 'filename', None) or ''} {_plain(error)}".strip())
        )
        return
    try:
        with socket.create_connection((host, port), ANSWER_S) as connection:
            yield passed(PART, "broker_reached", **where)
            if context is not None:
                with context.wrap_socket(connection, server_hostname=host) as encrypted:
                    yield expiry(PART, "broker_certificate", encrypted.getpeercert())
    except ssl.SSLError as error:
        yield failed(
            PART, "broker_tls", reason=Reason(getattr(error, "verify_message", None) or _plain(error)), **where
        )
        return
    except OSError as error:
        yield failed(PART, "broker_silent", reason=Reason(_plain(error)), **where)
        return
    yield from _conversation(settings, host, port, context, password)


def expiry(part: str, name: str, certificate: Any) -> Step:
    """Judge until when a certificate is valid."""
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    until = datetime.fromtimestamp(ends, UTC).date().isoformat()
    judge = passed if ends - time.time() > EXPIRES_S else warned
    return judge(part, name if judge is passed else f"{name}_ends", until=until)


def _context(settings: BrokerSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


# Longer than 60 lines: each request follows only on the answer to the one before.
def _conversation(
    settings: BrokerSettings, host: str, port: int, context: ssl.SSLContext | None, password: str | None
) -> Iterator[Step]:
    answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"{settings.client_id}-doctor",
        protocol=mqtt.MQTTv5,
        reconnect_on_failure=False,
    )
    client.on_connect = lambda _c, _u, _f, reason, properties: answers.put(("connect", (reason, properties)))
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: answers.put(("subscribe", reasons))
    client.on_publish = lambda _c, _u, _m, reason, _p: answers.put(("publish", reason))
    client.on_disconnect = lambda _c, _u, _f, reason, _p: answers.put(("end", reason))

    def answer(kind: str) -> Any:
        until = time.monotonic() + ANSWER_S
        while True:
            found, value = answers.get(timeout=max(0.01, until - time.monotonic()))
            if found == kind:
                return value
            if found == "end":
                raise ConnectionResetError(str(value))

    if settings.username is not None:
        client.username_pw_set(settings.username, password)
    if context is not None:
        client.tls_set_context(context)
    try:
        client.connect(host, port, 30)
        client.loop_start()
        reason, properties = answer("connect")
        if reason.value:
            yield failed(PART, "broker_refuses", reason=Reason(reason))
            return
        yield passed(PART, "broker_login", user=settings.username or "-")
        largest = getattr(properties, "MaximumPacketSize", None)
        if largest is not None and largest < LARGEST:
            yield warned(PART, "broker_small", bytes=Count(largest))
        base = f"{settings.root}/v1/+/+/"
        client.subscribe([(f"{base}{topic}", SubscribeOptions(qos=1, retainHandling=2)) for topic in TOPICS])
        refused = [topic for topic, code in zip(TOPICS, answer("subscribe"), strict=False) if code.value != 1]
        if refused:
            yield failed(PART, "broker_subscribe", topics=", ".join(f"{base}{topic}" for topic in refused))
        else:
            yield passed(PART, "broker_subscribes")
        topic = f"{settings.root}/v1/doctor/doctor/receipt"
        client.publish(topic, b"", 1, retain=False, properties=Properties(PacketTypes.PUBLISH))  # type: ignore[no-untyped-call]
        code = answer("publish")
        if code.value >= 0x80:
            yield failed(PART, "broker_receipt", topic=f"{settings.root}/v1/+/+/receipt", reason=Reason(code))
        else:
            yield passed(PART, "broker_receipts")
    except queue.Empty:
        yield failed(PART, "broker_slow", seconds=f"{ANSWER_S:g}")
    except OSError as error:
        yield failed(PART, "broker_silent", reason=Reason(_plain(error)), host=host, port=port)
    finally:
        with suppress(OSError):
            client.disconnect()
        client.loop_stop()


def certificate_in(cert_file: str, key_file: str) -> Any:
    """Return the first certificate of a file as a client sees it; raises OSError and ssl.SSLError.

    The library reads certificates in a handshake only, so one is made in memory.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert_file, key_file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cert_file)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for end in (near, far):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
        if near.version() is not None and near.getpeercert():
            break
    return near.getpeercert()


def is_listening(host: str, port: int) -> bool:
    """Return whether something takes connections at an address."""
    try:
        with closing(socket.create_connection((host, port), ANSWER_S)):
            return True
    except OSError:
        return False


def _plain(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error)
