"""What a broker sends is bounded before anything collects it, and no message of its stops the inbox."""

import threading
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, _ConnectionState
from structlog.testing import capture_logs

from central.event import MAX_BYTES
from central.inbox import TOPICS
from central.inbox.broker import Broker as Address
from central.inbox.broker import new_client
from central.inbox.mailbox import MAX_QUEUED_BYTES, Connected, Mailbox, Published, Subscribed
from central.report import open_readonly
from central.wire import (
    MAX_OTHER_PACKET,
    MAX_OUTGOING_PACKETS,
    MAX_PACKET,
    OVERSIZE_PREFIX,
    BoundedClient,
    PublishPacket,
)
from tests.broker import (
    CONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    WAIT_S,
    Broker,
    FakeBroker,
    Packet,
    connack,
    eventually,
)
from tests.central.memory import peak_growth
from tests.central.receiving import BASE, wait_for
from tests.central.sealing import Source, payload
from tests.central.test_inbox import Running


def length(size: int) -> bytes:
    """Write a number as MQTT does."""
    written = b""
    while True:
        size, low = size >> 7, size & 0x7F
        written += bytes([low | (0x80 if size else 0)])
        if not size:
            return written


def packet(first: int, body: bytes) -> bytes:
    """Return a packet."""
    return bytes([first]) + length(len(body)) + body


def message(mid: int, text: bytes, *, topic: bytes = f"{BASE}/punch/lobby".encode(), properties: bytes = b"") -> bytes:
    """Return a PUBLISH with QoS 1."""
    return packet(
        PUBLISH | 2, len(topic).to_bytes(2) + topic + mid.to_bytes(2) + length(len(properties)) + properties + text
    )


class Line:
    """Stands in for a socket from which so much can be read before it would block."""

    def __init__(self, *parts: tuple[bytes, int]) -> None:
        self._parts = list(parts)
        self.sent = b""

    @property
    def empty(self) -> bool:
        """Whether all of it was read."""
        return not self._parts

    def recv(self, most: int) -> bytes:
        """Return some of what is left."""
        if not self._parts:
            raise BlockingIOError
        pattern, times = self._parts.pop(0)
        if len(pattern) > most:
            assert times == 1
            self._parts.insert(0, (pattern[most:], 1))
        elif times > 1:
            self._parts.insert(0, (pattern, times - 1))
        return pattern[:most]

    def send(self, data: bytes) -> int:
        """Record what is written."""
        self.sent += data
        return len(data)

    def close(self) -> None:
        """Nothing is held."""


def received(*parts: tuple[bytes, int]) -> tuple[list[PublishPacket], BoundedClient, int]:
    """Let a client read all of it; return what it delivered, itself, and the library's last verdict."""
    arrived: list[PublishPacket] = []
    client = BoundedClient(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, manual_ack=True, deliver=arrived.append)
    line = Line(*parts)
    client._sock = line  # type: ignore[assignment]
    verdict = MQTTErrorCode.MQTT_ERR_SUCCESS
    while not line.empty and verdict in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
        verdict = client._packet_read()
    return arrived, client, int(verdict)


def test_messages_are_delivered_as_they_were_sent() -> None:
    """Cut anywhere, with properties or without, with QoS 0 or 1."""
    text = payload(Source().punch(1))
    whole = message(7, text, properties=b"\x01\x01") + packet(PUBLISH, b"\0\x03a/b\0" + text)

    arrived, client, _ = received(*((bytes([byte]), 1) for byte in whole))

    assert [(one.mid, one.topic, one.payload) for one in arrived] == [
        (7, f"{BASE}/punch/lobby", text),
        (0, "a/b", text),
    ]
    assert client.protocol_error is None


@pytest.mark.parametrize("size", [MAX_PACKET + 1, 255 * 1024 * 1024])
def test_a_message_above_the_maximum_is_read_past(size: int) -> None:
    """Its beginning is handed over with its number, so that it can be acknowledged; what follows is read."""
    chunk = b"x" * 65_536
    topic = b"a/b"
    begin = bytes([PUBLISH | 2]) + length(size) + len(topic).to_bytes(2) + topic + b"\0\x09\0"
    rest = size - (len(topic) + 5)
    found: list[tuple[list[PublishPacket], BoundedClient, int]] = []
    after = message(10, b"{}")

    parts = ((begin, 1), (chunk, rest // len(chunk)), (b"x" * (rest % len(chunk)), 1), (after, 1))

    growth = peak_growth(lambda: found.append(received(*parts)))

    ((arrived, client, _),) = found
    assert [(one.mid, one.size > MAX_PACKET) for one in arrived] == [(9, True), (10, False)]
    assert OVERSIZE_PREFIX <= len(arrived[0].payload) + 65_536 <= 4 * OVERSIZE_PREFIX
    assert client.protocol_error is None
    assert growth < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (packet(PUBLISH | 4, b"\0\x03a/b\0\x01\0{}"), "QoS 2"),
        (bytes([SUBACK]) + length(MAX_OTHER_PACKET + 1), "bytes"),
        (bytes([PUBLISH | 2]) + b"\xff\xff\xff\xff\x01", "length"),
        (packet(PUBLISH | 2, b"\0"), "not MQTT"),
        (packet(PUBLISH | 2, b"\xff\xff" + b"a" * 20), "not MQTT"),
        (packet(PUBLISH | 2, b"\0\x03a/b\0\x01\x7f"), "not MQTT"),
        (packet(PUBACK, b""), "not MQTT"),
        (packet(SUBACK, b"\0"), "not MQTT"),
        (packet(0x20, b"\0\0\x05\x26"), "not MQTT"),
    ],
)
def test_a_protocol_violation_ends_the_connection(sent: bytes, says: str) -> None:
    """With its reason, and without an exception in the library's thread."""
    arrived, client, verdict = received((sent, 1))

    assert arrived == []
    assert verdict not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN)
    assert client.protocol_error is not None
    assert says in client.protocol_error


def test_a_message_full_of_properties_takes_neither_time_nor_memory() -> None:
    """The library would take them apart in hours."""
    pair = b"\x26\0\x01a\0\x01b"
    count = MAX_BYTES // len(pair)
    found: list[tuple[list[PublishPacket], BoundedClient, int]] = []

    growth = peak_growth(lambda: found.append(received((message(1, b"{}", properties=pair * count), 1))))

    assert [one.payload for one in found[0][0]] == [b"{}"]
    assert growth < 32 * 1024 * 1024


def test_a_broker_that_reads_no_acknowledgements_is_disconnected() -> None:
    """They would pile up here."""
    arrived: list[PublishPacket] = []
    client = BoundedClient(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, manual_ack=True, deliver=arrived.append)
    client._sock = Line((message(1, b"{}"), 1))  # type: ignore[assignment]
    client._out_packet.extend([None] * (MAX_OUTGOING_PACKETS + 1))  # type: ignore[list-item]

    assert client._packet_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST
    assert "acknowledgements" in str(client.protocol_error)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Return where the database will be."""
    return tmp_path / "centre.db"


def test_messages_of_every_bad_kind_are_acknowledged_and_the_next_is_stored(db: Path) -> None:
    """An inbox on a broker that keeps to no maximum: what is too large is kept aside, counted and never sent again."""
    source = Source()
    bad = [
        message(1, b"x" * (MAX_PACKET + 100)),
        message(2, b"y" * (MAX_BYTES + 1)),
        message(3, b"[" * 100_000),
        message(4, b"{}", topic=b"\xff\xfe"),
        message(5, b"{}", topic=b""),
    ]
    acknowledged: list[int] = []
    maximum: list[int] = []

    def answer(packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            maximum.append(packet.body.find(b"\x27" + MAX_PACKET.to_bytes(4)))
            return connack()
        if packet.kind == SUBSCRIBE:
            granted = bytes([SUBACK, 3 + len(TOPICS)]) + packet.body[:2] + b"\0" + b"\1" * len(TOPICS)
            return granted + b"".join(bad) + message(6, payload(source.punch(1)))
        if packet.kind == PUBACK:
            acknowledged.append(packet.mid)
        return None

    with FakeBroker(answer) as broker, capture_logs() as log, Running(broker.port, db):
        wait_for(db, 1)
        eventually(lambda: len(acknowledged) == 6, what="the acknowledgements")

    assert maximum[0] > 0
    assert acknowledged == [1, 2, 3, 4, 5, 6]
    assert "broker_lost" not in [line["event"] for line in log]
    with open_readonly(db) as connection:
        reasons = connection.exec_driver_sql(
            "SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY reason"
        ).fetchall()
    assert reasons == [("not_json", 1), ("too_large", 2), ("topic", 2)]


def test_while_the_store_is_busy_the_connection_is_not_read() -> None:
    """The queue is bounded; reading continues when there is room."""
    mailbox = Mailbox()
    client = idle_client()
    large = PublishPacket(1, "t", b"x" * (MAX_QUEUED_BYTES // 2), 0)
    put = threading.Semaphore(0)

    def fill() -> None:
        for _ in range(5):
            mailbox.put(client, large)
            put.release()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    for _ in range(2):
        assert put.acquire(timeout=20)
    assert mailbox.get(20) == (client, large)
    assert put.acquire(timeout=20)
    with mailbox._changed:
        assert mailbox._size >= MAX_QUEUED_BYTES
        assert len(mailbox._items) == 2
    mailbox.release(client)
    thread.join(20)
    assert not thread.is_alive()


def test_an_answer_to_a_message_of_ours_passes_a_full_queue(tmp_path: Path) -> None:
    """The library holds the lock of `publish` while it gives the answer: waiting there, both threads would stop."""
    mailbox = Mailbox()
    with Broker(tmp_path) as broker:
        client = new_client(Address("127.0.0.1", broker.port, tls=False), "centre", mailbox)
        client.connect("127.0.0.1", broker.port, 30)
        client.loop_start()
        try:
            assert isinstance(next_item(mailbox), Connected)
            mailbox.put(client, PublishPacket(1, "t", b"x" * MAX_QUEUED_BYTES, 0))
            first = client.publish("receipt", b"1", qos=1)
            eventually(first.is_published)
            publishing = threading.Thread(target=client.publish, args=("receipt", b"2", 1), daemon=True)
            publishing.start()
            publishing.join(WAIT_S)
            assert not publishing.is_alive()
            assert isinstance(next_item(mailbox), PublishPacket)
            assert isinstance(next_item(mailbox), Published)
        finally:
            mailbox.release(client)
            client.disconnect()
            client.loop_stop()


def next_item(mailbox: Mailbox) -> Any:
    """Return the next item of a queue that gets one."""
    found = mailbox.get(WAIT_S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (PublishPacket(1, "t", b"x" * 100_000, 0), 100_000),
        (PublishPacket(1, "t" * 60_000, b"", 0), 60_000),
        (PublishPacket(0, "t", b"", 0), 100),
        (Subscribed((0,)), 100),
    ],
    ids=["payload", "topic", "empty", "answer"],
)
def test_the_queue_is_bounded_for_items_of_every_kind(item: Any, size: int) -> None:
    """Topics and fixed costs count like payloads; what exceeds the bound on a released connection is discarded."""
    mailbox = Mailbox()
    client = idle_client()
    bound = MAX_QUEUED_BYTES // size + 1

    def fill() -> None:
        for _ in range(2 * bound):
            mailbox.put(client, item)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    eventually(lambda: mailbox._size >= MAX_QUEUED_BYTES or not thread.is_alive())
    mailbox.release(client)
    thread.join(20)
    assert not thread.is_alive()

    queued = 0
    while mailbox.get(0) is not None:
        queued += 1
    assert 0 < queued <= bound


def test_a_message_counts_as_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a ping waits behind a backlog of messages: the connection is not closed for it meanwhile."""
    now_s = 1000.0
    monkeypatch.setattr(mqtt, "time_func", lambda: now_s)
    client = idle_client()
    line = Line((message(1, b"{}"), 1))
    client._sock = line  # type: ignore[assignment]
    client._keepalive = 30
    client._state = _ConnectionState.MQTT_CS_CONNECTED
    now_s += 31
    assert client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS  # sends a ping
    assert line.sent == b"\xc0\0"
    now_s += 20
    assert client._packet_read() == MQTTErrorCode.MQTT_ERR_AGAIN
    now_s += 11

    assert client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS
    now_s += 31
    assert client.loop_misc() == MQTTErrorCode.MQTT_ERR_CONN_LOST  # a silent broker is still left


def idle_client() -> BoundedClient:
    """Return a client without a connection."""
    return BoundedClient(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, manual_ack=True, deliver=lambda _: None)
