"""Brokers for tests: a real mosquitto, a subscriber to it, a proxy that counts, and a broker that misbehaves on order.

Everything listens on loopback, on ports that were free a moment before.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 0x10, 0x20, 0x30, 0x40, 0x80, 0x90
PINGREQ, DISCONNECT = 0xC0, 0xE0
WAIT_S = 120.0
"""How long a test waits for what should happen: much longer than it takes, because the machine may be busy."""
MISSING = "mosquitto is not installed, and these tests need a real broker: apt-get install mosquitto mosquitto-clients"


def eventually(condition: Callable[[], object], timeout: float = WAIT_S, what: str = "it") -> None:
    """Wait until ``condition`` is true; fail if that takes too long."""
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {timeout:g} s"
        time.sleep(0.005)


def program(name: str) -> str:
    """Return the path of one of mosquitto's programs; its absence is a failure, never a reason to skip."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found, MISSING
    return found


def dynamic_security() -> Path:
    """Return mosquitto's plugin that answers subscriptions; it comes with mosquitto."""
    found = next(Path("/usr").glob("lib/**/mosquitto_dynamic_security.so"), None)
    assert found, MISSING
    return found


def free_port() -> int:
    """Return a closed port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """A server in a process of its own, which can be ended in good order or at once, frozen or not."""

    STOP: ClassVar = signal.SIGTERM
    """Ends it in good order."""
    KILL: ClassVar = signal.SIGKILL
    """Ends it at once, with all that it has started."""
    _process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Stop it in good order: what it holds is written."""
        self._end(self.STOP)

    def kill(self) -> None:
        """Stop it like a power cut, as far as a process can be."""
        self._end(self.KILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(WAIT_S)
            self._process = None


class Broker(Daemon):
    """A mosquitto on a port of its own, which it keeps when it is restarted.

    ``lines`` go into its configuration. ``users`` (name: password) are then the only ones who may connect, ``acl`` is
    an access list; both may be rewritten later. With ``persistent`` it remembers sessions and messages over a restart.
    """

    def __init__(
        self,
        folder: Path,
        *lines: str,
        users: dict[str, str] | None = None,
        acl: str | None = None,
        persistent: bool = False,
    ) -> None:
        self._folder = folder / "broker"
        self._folder.mkdir()
        self.port = free_port()
        self.environment: dict[str, str] = {}
        """What it has in its environment besides."""
        # The user counts only where root starts it. By default it would drop what a slow subscriber has not taken.
        config = [f"listener {self.port} 127.0.0.1", "user root", "max_queued_messages 100000", *lines]
        config += [f"log_type {kind}" for kind in ("error", "warning", "notice", "information", "subscribe")]
        if users is None:
            config.append("allow_anonymous true")
        else:
            config += ["allow_anonymous false", f"password_file {self._folder / 'passwords'}"]
            self.set_users(users)
        if acl is not None:
            config.append(f"acl_file {self._folder / 'acl'}")
            self.set_acl(acl)
        if persistent:
            config += ["persistence true", f"persistence_location {self._folder}/", "autosave_interval 1"]
        self._config = self._folder / "mosquitto.conf"
        self._config.write_text("\n".join(config) + "\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it is, as settings say it."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has written."""
        return (self._folder / "log").read_text()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("mosquitto"), "-c", str(self._config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
            )
        eventually(self._answers, what="the broker's start")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto did not start:\n{self.log}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def freeze(self) -> None:
        """Let it read and say nothing until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def configure(self, text: str) -> None:
        """Write another configuration, for the next start."""
        self._config.write_text(text)

    def set_users(self, users: dict[str, str]) -> None:
        """Write the password file; a running broker takes note on :meth:`reload`."""
        file = self._folder / "passwords"
        file.write_text("")
        file.chmod(0o600)
        for name, password in users.items():
            subprocess.run([program("mosquitto_passwd"), "-b", str(file), name, password], check=True)

    def set_acl(self, text: str) -> None:
        """Write the access list; a running broker takes note on :meth:`reload`."""
        (self._folder / "acl").write_text(text)

    def reload(self) -> None:
        """Let it read password file and access list again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a subscriber got it."""

    topic: str
    payload: Any
    """Parsed; None where there is none."""
    text: str
    qos: int
    retain: bool
    """As it was published."""
    content_type: str | None
    correlation: bytes | None = None


class Subscriber:
    """An MQTT 5 client that keeps what it receives, and connects again by itself.

    With ``session`` the broker remembers it, while it is away, under that name.
    """

    def __init__(
        self,
        port: int,
        topics: str = "#",
        *,
        session: str | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=session or "", protocol=mqtt.MQTTv5, reconnect_on_failure=True
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.username_pw_set(username, password)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves this one untyped
        properties.SessionExpiryInterval = 3600 if session else 0
        options = SubscribeOptions(qos=1, retainAsPublished=True)

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Any) -> None:
            if not reason.is_failure:
                client.subscribe(topics, options=options)

        def on_subscribe(_c: mqtt.Client, _u: Any, _m: int, _r: Any, _p: Any) -> None:
            self._subscribed.set()

        self._client.on_connect = on_connect
        self._client.on_subscribe = on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port, clean_start=session is None, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S), "the subscriber was not admitted"

    def _on_message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        text = message.payload.decode()
        kind = getattr(message.properties, "ContentType", None)
        correlation = getattr(message.properties, "CorrelationData", None)
        payload = json.loads(text) if text else None
        received = Message(message.topic, payload, text, message.qos, message.retain, kind, correlation)
        with self._news:
            self.messages.append(received)
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: object, *, retain: bool = False, **properties: Any) -> None:
        """Publish, with QoS 1, JSON or bytes as they are; ``properties`` are those of MQTT 5."""
        output = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves this one untyped
        for name, value in properties.items():
            setattr(output, name, value)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self._client.publish(topic, body, qos=1, retain=retain, properties=output).wait_for_publish(10)

    def wait_for(self, predicate: Callable[[list[Message]], object], timeout: float = WAIT_S) -> list[Message]:
        """Wait until ``predicate`` is true of the messages so far, and return them."""
        with self._news:
            if not self._news.wait_for(lambda: predicate(self.messages), timeout):
                received = "\n".join(f"  {m.topic} {m.text[:100]}" for m in self.messages[-20:])
                raise AssertionError(
                    f"not received within {timeout:g} s; {len(self.messages)} messages, the last:\n{received}"
                )
            return list(self.messages)

    def on(self, end: str) -> list[Message]:
        """Return the messages so far whose topic ends with ``end``."""
        with self._news:
            return [message for message in self.messages if message.topic.endswith(end)]


# ---------------------------------------------------------------- below the surface


@dataclass(frozen=True, slots=True)
class Packet:
    """One MQTT packet."""

    first: int
    body: bytes
    whole: bytes

    @property
    def kind(self) -> int:
        """CONNECT, PUBLISH or another of the constants."""
        return self.first & 0xF0

    @property
    def mid(self) -> int:
        """The message id of a PUBLISH with QoS 1 or of a PUBACK."""
        at = 2 + int.from_bytes(self.body[:2]) if self.kind == PUBLISH else 0
        return int.from_bytes(self.body[at : at + 2])

    @property
    def topic(self) -> str:
        """The topic of a PUBLISH."""
        return self.body[2 : 2 + int.from_bytes(self.body[:2])].decode()

    @property
    def event(self) -> dict[str, Any]:
        """The payload of a PUBLISH with QoS 1 of MQTT 5."""
        at = 4 + int.from_bytes(self.body[:2])  # its properties are shorter than 128 bytes
        payload: dict[str, Any] = json.loads(self.body[at + 1 + self.body[at] :])
        return payload


def packets(connection: socket.socket) -> Iterator[Packet]:
    """Read packets until the end of the stream."""
    stream = connection.makefile("rb")
    while first := stream.read(1):
        head, length = first, 0
        for shift in range(0, 28, 7):
            byte = stream.read(1)
            head += byte
            length |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                break
        body = stream.read(length)
        yield Packet(first[0], body, head + body)


def suback(mid: int, *codes: int) -> bytes:
    """Answer a SUBSCRIBE of MQTT 5."""
    return bytes([SUBACK, 3 + len(codes)]) + mid.to_bytes(2) + bytes([0, *codes])


def connack(code: int = 0, receive_maximum: int | None = None) -> bytes:
    """Answer a CONNECT of MQTT 5."""
    properties = b"" if receive_maximum is None else b"\x21" + receive_maximum.to_bytes(2)
    return bytes([CONNACK, 3 + len(properties), 0, code, len(properties)]) + properties


def puback(mid: int, code: int = 0) -> bytes:
    """Answer a PUBLISH of MQTT 5."""
    return bytes([PUBACK, 3]) + mid.to_bytes(2) + bytes([code])


class Closing(Exception):  # noqa: N818 - not an error
    """Raised by what answers for a :class:`FakeBroker`: close the connection, after sending ``last``."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


@contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection in a thread of its own; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def run(connection: socket.socket) -> None:
            with connection, suppress(OSError, IndexError):
                serve(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join(WAIT_S)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(WAIT_S)


class _Stand:
    """What listens where a broker would: on a port of its own, for the length of a block."""

    port: int

    def __enter__(self) -> Self:
        self._context = _listening(self._serve)
        self.port = self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(None, None, None)

    @property
    def url(self) -> str:
        """Where it is, as settings say it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


class FakeBroker(_Stand):
    """A broker whose every answer is decided by ``answer``: bytes to send, None for silence, Closing to close."""

    def __init__(self, answer: Callable[[Packet], bytes | None]) -> None:
        self._answer = answer
        self.connections = 0
        self.received: list[Packet] = []
        self.port = 0

    def published(self, part: str = "") -> list[str]:
        """Return the topics it was sent messages on, in order, of those that contain ``part``."""
        return [packet.topic for packet in self.received if packet.kind == PUBLISH and part in packet.topic]

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        try:
            for packet in packets(connection):
                self.received.append(packet)
                answer = self._answer(packet)
                if answer:
                    connection.sendall(answer)
        except Closing as closing:
            connection.sendall(closing.last)


@dataclass
class Proxy(_Stand):
    """Stands between a publisher and its broker, counts what is in flight, and can hold the acknowledgements back."""

    broker_port: int
    ack_delay_s: float = 0.0
    port: int = 0
    most_in_flight: int = 0
    published: int = 0
    connections: int = 0
    sizes: list[int] = field(default_factory=list)
    """Of the messages that were published."""

    def passed_on(self, packet: Packet) -> bytes:
        """Return what the publisher gets to see of a packet."""
        return packet.whole

    def _serve(self, near: socket.socket) -> None:
        self.connections += 1
        in_flight: set[int] = set()

        def up(far: socket.socket) -> None:
            with suppress(OSError, IndexError):
                for packet in packets(near):
                    if packet.kind == PUBLISH:
                        self.published += 1
                        self.sizes.append(len(packet.whole))
                        in_flight.add(packet.mid)
                        self.most_in_flight = max(self.most_in_flight, len(in_flight))
                    far.sendall(packet.whole)
            with suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)

        with socket.create_connection(("127.0.0.1", self.broker_port)) as far:
            upward = threading.Thread(target=up, args=(far,), daemon=True)
            upward.start()
            try:
                for packet in packets(far):
                    if packet.kind == PUBACK:
                        time.sleep(self.ack_delay_s)
                        in_flight.discard(packet.mid)
                    near.sendall(self.passed_on(packet))
            finally:
                with suppress(OSError):
                    near.shutdown(socket.SHUT_RDWR)
                upward.join(WAIT_S)


class Mute(Proxy):
    """A proxy that hides what the broker states of itself when it lets a publisher of MQTT 5 in."""

    def passed_on(self, packet: Packet) -> bytes:
        """Leave out the properties of a CONNACK."""
        return connack(packet.body[1]) if packet.kind == CONNACK and len(packet.body) > 2 else packet.whole
