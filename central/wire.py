"""An MQTT client that a broker can neither exhaust nor stop: messages are read here, everything else by the library.

paho-mqtt 2.2 collects a packet of any size, whatever maximum was announced; it takes properties apart in time that
grows with their square, keeps messages of QoS 2 until a PUBREL comes, and an exception ends its thread without a word.
So a PUBLISH never reaches it: it is read piece by piece, within bounds, as it comes from the socket. A message that is
too large is read past and handed over as its beginning: it costs itself, and can be acknowledged like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode

from central.event import MAX_BYTES

MAX_PACKET = MAX_BYTES + 64 * 1024
"""Announced as Maximum Packet Size: room for a message, its topic and its properties."""
OVERSIZE_PREFIX = 128 * 1024
"""So much is kept of a larger packet."""
MAX_OTHER_PACKET = 64 * 1024
"""The largest packet that is no message."""
MAX_OUTGOING_PACKETS = 10_000
"""Packets of ours that may wait for a broker that does not read."""
_CHUNK = 64 * 1024
_PUBLISH = 0x30


@dataclass(frozen=True, slots=True)
class PublishPacket:
    """A message as the broker sent it."""

    mid: int
    """0 where no acknowledgement is wanted: it came with QoS 0."""
    topic: str
    payload: bytes
    size: int
    """Of the whole packet; where that is above ``MAX_PACKET``, ``payload`` is only its beginning."""


class BoundedClient(mqtt.Client):
    """Hands over messages by ``deliver``, in the library's thread, which may block; a connection is used once."""

    def __init__(self, *args: Any, deliver: Callable[[PublishPacket], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.protocol_error: str | None = None
        """What the broker sent that MQTT does not allow, where that ended the connection."""
        self._deliver = deliver
        self._head = bytearray()
        self._body = bytearray()
        self._left: int | None = None
        """Bytes of the packet that are still to come; None while its length is not known."""
        self._packet_size = 0
        self._for_library = bytearray()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._for_library:
            self._read_on()
        part = bytes(self._for_library[:bufsize])
        del self._for_library[:bufsize]
        return part

    def _packet_handle(self) -> MQTTErrorCode:
        try:
            return super()._packet_handle()
        except Exception as exc:  # noqa: BLE001 - it would end the library's thread, and nothing would arrive any more
            self._violated(
                f"a packet of kind {self._in_packet['command']:#04x} that is not MQTT ({type(exc).__name__})"
            )
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _read_on(self) -> None:
        """Read until a packet for the library is whole, or raise: BlockingIOError when there is no more to read now.

        A message is handed over on the way, and then the library looks after its other work first.
        """
        if self._left is None:
            self._left = self._read_length()
        while self._left:
            chunk = self._receive(min(self._left, _CHUNK))
            self._left -= len(chunk)
            if self._packet_size <= MAX_PACKET or len(self._body) < OVERSIZE_PREFIX:
                self._body += chunk
        head, body, whole = self._head, self._body, self._packet_size
        self._head, self._body, self._left = bytearray(), bytearray(), None
        if head[0] & 0xF0 != _PUBLISH:
            self._for_library = head + body
            return
        self._deliver(self._message(head[0], bytes(body), whole))
        raise BlockingIOError

    def _read_length(self) -> int:
        head = self._head
        while len(head) < 2 or head[-1] & 0x80:
            if len(head) > 4:
                raise self._violated("a packet whose length is not MQTT")
            head += self._receive(1)
        length = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(head[1:]))
        self._packet_size = len(head) + length
        if head[0] & 0xF0 != _PUBLISH and length > MAX_OTHER_PACKET:
            raise self._violated(f"a packet of kind {head[0]:#04x} with {length} bytes")
        if head[0] & 0xF0 == _PUBLISH and head[0] & 0x06 > 0x02:
            raise self._violated("a message with QoS 2, which was not subscribed to")
        if len(self._out_packet) > MAX_OUTGOING_PACKETS:
            raise self._violated("more than it reads answers to")
        return length

    def _receive(self, most: int) -> bytes:
        data = super()._sock_recv(most)
        if not data:
            raise ConnectionResetError("the broker has closed the connection")
        return data

    def _message(self, first: int, body: bytes, size: int) -> PublishPacket:
        place = 2 + int.from_bytes(body[:2])
        topic = body[2:place].decode("utf-8", "replace")
        mid = 0
        if first & 0x06:
            mid = int.from_bytes(body[place : place + 2])
            place += 2
        length = shift = 0
        while True:
            if place >= len(body) or shift > 21:
                raise self._violated("a message that is not MQTT")
            length |= (body[place] & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if body[place - 1] < 0x80:
                break
        if place + length > len(body) and size <= MAX_PACKET:
            raise self._violated("a message that is not MQTT")
        return PublishPacket(mid, topic, body[place + length :], size)

    def _violated(self, what: str) -> ConnectionError:
        self.protocol_error = self.protocol_error or f"it sent {what}"
        return ConnectionError(what)
