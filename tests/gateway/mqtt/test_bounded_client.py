"""A hostile broker: whatever it sends, memory stays bounded, the publisher lives, and evidence is sent."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Self

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from structlog.testing import capture_logs

from gateway.ledger import Ledger
from gateway.mqtt.bounded_client import MESSAGE_BYTES, OTHER_BYTES, UNWRITTEN_MAX, BoundedClient
from gateway.mqtt.publisher import Publisher
from gateway.mqtt.timing import PAUSES, Timing
from gateway.pause import Pause
from gateway.settings import Settings
from tests.broker import (
    CONNECT,
    PINGREQ,
    PUBLISH,
    SUBSCRIBE,
    Closing,
    FakeBroker,
    Packet,
    connack,
    eventually,
    packets,
    puback,
    suback,
)
from tests.gateway.mutated_messages import SOURCE, info, receipt
from tests.mutation import mutate_bytes

PREFIX = "hadir/v1/3602-bkpsdm/gw-01/"
GROWTH_MOST = 32 * 1024**2


QUICK = Timing(
    pauses={**PAUSES, "unreachable": Pause(0.05, 0.1), "taken_over": Pause(0.05, 0.1)}, close_s=0.3, birth_s=0.3
)
"""Pauses that a test can wait for."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a ledger with events that wait."""
    opened = Ledger(tmp_path / "data", SOURCE)
    for number in range(20):
        opened.record_note("hadir.gateway.resumed.v1", None, datetime(2026, 9, 7, tzinfo=UTC), {"number": number})
    yield opened
    opened.close()


def publisher(ledger: Ledger, url: str, timing: Timing = QUICK) -> Publisher:
    """Start one."""
    data = {
        "site": "3602-bkpsdm",
        "gateway": "gw-01",
        "timezone": "Asia/Jakarta",
        "mqtt": {"url": url},
        "delivery": {"batch_from": 0},
        "terminals": [{"name": "lobby", "driver": "zkteco", "address": "127.0.0.1"}],
    }
    settings = Settings.model_validate(data, context={"folder": ledger.path.parent})
    made = Publisher(settings, ledger, timing=timing)
    made.start()
    return made


def remaining(length: int) -> bytes:
    """Return the length field of a packet."""
    found = b""
    while True:
        length, digit = divmod(length, 128)
        found += bytes([digit | (0x80 if length else 0)])
        if not length:
            return found


def message(topic: str, payload: bytes, *, qos: int = 1, mid: int = 1, properties: bytes = b"") -> bytes:
    """Return a PUBLISH of MQTT 5."""
    name = (PREFIX + topic).encode()
    body = struct.pack("!H", len(name)) + name + (struct.pack("!H", mid) if qos else b"")
    body += remaining(len(properties)) + properties + payload
    return bytes([PUBLISH | qos << 1]) + remaining(len(body)) + body


def obliging(packet: Packet) -> bytes | None:
    """Answer as a broker does."""
    if packet.kind == CONNECT:
        return connack()
    if packet.kind == PUBLISH:
        return puback(packet.mid)
    if packet.kind == SUBSCRIBE:
        return suback(packet.mid, 1)
    return b"\xd0\x00" if packet.kind == PINGREQ else None


def memory() -> int:
    """Return what this process has in memory."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watch:
    """The highest that memory has been since the watch began, looked at all the time."""

    def __init__(self) -> None:
        self.growth = 0
        self._begun = memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.002):
            self.growth = max(self.growth, memory() - self._begun)


class Hostile(FakeBroker):
    """An obliging broker that sends ``hostile`` behind the answer to the subscription to receipts."""

    def __init__(self, hostile: bytes) -> None:
        super().__init__(obliging)
        self._hostile = hostile

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        for packet in packets(connection):
            connection.sendall(obliging(packet) or b"")
            if packet.kind == SUBSCRIBE and b"receipt" in packet.body:
                connection.sendall(self._hostile)  # as it is: a copy would count as memory that the publisher takes


LARGE = message("receipt", bytes(64 * 1024**2))
USER_PROPERTY = b"\x26\x00\x02ab\x00\x02cd"
ATTACKS: dict[str, Callable[[], bytes]] = {
    "a packet of 64 MiB": lambda: LARGE,
    "another kind of packet above its limit": lambda: b"\x90" + remaining(OTHER_BYTES + 1) + bytes(OTHER_BYTES + 1),
    "QoS 2 without an end": lambda: b"".join(
        message("receipt", bytes(100_000), qos=2, mid=mid) for mid in range(1, 600)
    ),
    "answers to nothing": lambda: suback(7, *[0] * 100) * 200_000,
    "a second CONNACK and more": lambda: connack() * 100_000,
    "requests to answer": lambda: b"\xc0\x00" * 5_000_000,
    "an authentication": lambda: b"\xf0\x02\x18\x00" * 1000,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_broker_that_sends_what_it_may_not_send_is_left_and_gets_the_evidence(ledger: Ledger, attack: str) -> None:
    """Memory grows by less than 32 MiB; the next connection listens to nothing and delivers."""
    hostile = ATTACKS[attack]()
    with capture_logs() as logs, Hostile(hostile) as fake, Watch() as watch:
        sender = publisher(ledger, fake.url)
        eventually(lambda: ledger.counts().waiting == 0, what="delivery")
        assert sender.is_alive
        sender.stop(5)
    assert fake.connections >= 2
    assert watch.growth < GROWTH_MOST
    assert any("nothing is subscribed to" in entry["reason"] for entry in logs if entry["event"] == "broker_lost")


def test_messages_that_are_allowed_take_no_more_however_many_come(ledger: Ledger) -> None:
    """Large ones, with thousands of properties, faster than they are looked at."""
    properties = USER_PROPERTY * ((MESSAGE_BYTES - 1000) // len(USER_PROPERTY))
    flood = b"".join(message("cmd/poll", b"{}", properties=properties) for _ in range(40))
    flood += b"".join(
        message(topic, bytes(100_000)) for topic in ("receipt", "info", "cmd/x", "state") for _ in range(20)
    )
    flood += message("receipt", b"{}") * 5_000
    with Hostile(flood) as fake, Watch() as watch:
        sender = publisher(ledger, fake.url)
        eventually(lambda: ledger.counts().waiting == 0, what="delivery")
        sender.stop(5)
    assert watch.growth < GROWTH_MOST


def test_a_broker_that_reads_no_acknowledgements_is_disconnected() -> None:
    """Each of its messages needs one, and they would wait in memory."""
    client = BoundedClient(CallbackAPIVersion.VERSION2, window=5, protocol=mqtt.MQTTv5)
    body = message("receipt", b"{}")[2:]
    for waiting, result in ((5, MQTTErrorCode.MQTT_ERR_NO_CONN), (UNWRITTEN_MAX, MQTTErrorCode.MQTT_ERR_PROTOCOL)):
        client._in_packet |= {"command": PUBLISH | 2, "packet": bytearray(body), "remaining_length": len(body)}
        client._out_packet.extend([{}] * waiting)  # type: ignore[typeddict-item]  # only counted
        assert client._packet_handle() is result
    assert client.violation == "more packets than it reads answers"


def test_bytes_that_are_nearly_mqtt_end_no_thread(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid packets of a broker, each changed in two places: the library's thread and the publisher live."""
    stray: list[object] = []
    monkeypatch.setattr(threading, "excepthook", stray.append)
    random = Random(20261129)
    stream = ledger.stream
    valid = [
        message("receipt", str(receipt(stream)).replace("'", '"').encode(), properties=USER_PROPERTY),
        message("info", str(info(stream)).replace("'", '"').encode()),
        message("cmd/report", b"{}", properties=b"\x08\x00\x01r\x09\x00\x01c\x02\x00\x00\x00\x05"),
        suback(3, 1, 1),
        puback(5),
        b"\xe0\x02\x8b\x00",
    ]
    sent: list[int] = []

    def answer(packet: Packet) -> bytes | None:
        usual = obliging(packet)
        if packet.kind != SUBSCRIBE:
            return usual
        sent.append(1)
        raise Closing((usual or b"") + mutate_bytes(random.choice(valid), random))

    with FakeBroker(answer) as fake:
        sender = publisher(ledger, fake.url, replace(QUICK, limits_kept_s=0.0))
        eventually(lambda: len(sent) >= 60, timeout=120, what="sixty attacks")
        assert sender.is_alive
        sender.stop(5)
    assert stray == []
