"""The two ends of an inbox: a gateway's publishing, and what is in the database then."""

import socket
from pathlib import Path
from typing import Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from central.report import open_readonly, report, verify
from tests.broker import eventually
from tests.central.sealing import GATEWAY, Event, Source, payload

BASE = f"hadir/v1/{GATEWAY}"


class Sender:
    """Publishes as a gateway does: with QoS 1, and knows what the broker acknowledged."""

    def __init__(self, port: int, will: tuple[str, bytes] | None = None) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        if will is not None:
            self._client.will_set(f"{BASE}/{will[0]}", will[1], 1, retain=True)
        self._client.max_inflight_messages_set(20)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        eventually(self._client.is_connected, what="the sender's connection")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def vanish(self) -> None:
        """Break the connection without a word, so that the broker publishes the will."""
        connection = self._client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        eventually(lambda: not self._client.is_connected())

    def send(self, *events: Event) -> None:
        """Publish each event in a message of its own and wait until the broker has them."""
        self.publish(*(("punch/lobby", payload(event)) for event in events))

    def publish(self, *messages: tuple[str, bytes], qos: int = 1, retain: bool = False) -> None:
        """Publish below the gateway's prefix and wait until the broker has it."""
        sent = [self._client.publish(f"{BASE}/{topic}", body, qos, retain) for topic, body in messages]
        for info in sent:
            info.wait_for_publish(20)
            assert info.is_published()


def held(db: Path) -> list[int]:
    """Return the sequences that are stored, doubled ones doubly."""
    if not db.exists() or not db.stat().st_size:
        return []
    with open_readonly(db) as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT sequence FROM event ORDER BY sequence")]


def wait_for(db: Path, count: int) -> None:
    """Wait until so many events are stored."""
    eventually(lambda: len(held(db)) >= count, what=f"storing {count} events")


def check_whole(db: Path, source: Source) -> None:
    """Assert that everything the source recorded is held once, and that a verification finds nothing."""
    assert held(db) == list(range(1, len(source.events) + 1))
    with open_readonly(db) as connection:
        assert list(verify(connection)) == []
        (stream,) = report(connection).streams
    assert (stream.missing, stream.chain.state, stream.chain.last) == ([], "unbroken", len(source.events))
    assert stream.punches == len(source.events)
