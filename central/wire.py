"""An MQTT client with bounded memory and time per packet: this module reads PUBLISH packets, paho-mqtt all others.

paho-mqtt 2.2 buffers a packet of any size, whatever maximum was announced; it parses properties in quadratic time,
keeps messages of QoS 2 until a PUBREL arrives, and an exception ends its thread silently. So a PUBLISH never reaches
it: this module reads it from the socket in bounded pieces. A message above the maximum is read to its end, and its
first bytes are delivered: the message can be acknowledged like any other, and only it is affected.
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
"""At least this much of a larger packet is delivered."""
MAX_OTHER_PACKET = 64 * 1024
"""The largest packet of another type than PUBLISH."""
MAX_OUTGOING_PACKETS = 10_000
"""Packets that may wait to be sent to a broker that does not read."""
_CHUNK = 64 * 1024
_PUBLISH = 0x30


@dataclass(frozen=True, slots=True)
class PublishPacket:
    """A PUBLISH packet from the broker."""

    mid: int
    """The packet identifier; 0 for QoS 0, which is not acknowledged."""
    topic: str
    payload: bytes
    size: int
    """Bytes of the whole packet; above ``MAX_PACKET``, ``payload`` is truncated."""


class BoundedClient(mqtt.Client):
    """Calls ``deliver`` for each message, in the library's thread; ``deliver`` may block. For one connection only."""

    def __init__(self, *args: Any, deliver: Callable[[PublishPacket], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.protocol_error: str | None = None
        """The protocol violation of the broker that ended the connection, or None."""
        self._deliver = deliver
        self._head = bytearray()
        self._body = bytearray()
        self._remaining: int | None = None
        """Bytes of the packet not received yet; None while its length is not known."""
        self._packet_size = 0
        self._library_buffer = bytearray()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._library_buffer:
            self._read_packet()
        part = bytes(self._library_buffer[:bufsize])
        del self._library_buffer[:bufsize]
        return part

    def _packet_handle(self) -> MQTTErrorCode:
        try:
            return super()._packet_handle()
        except Exception as exc:  # noqa: BLE001 - it would end the library's thread, and no message would be read again
            self._set_protocol_error(
                f"a packet of kind {self._in_packet['command']:#04x} that is not MQTT ({type(exc).__name__})"
            )
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _read_packet(self) -> None:
        """Read one packet: deliver a message, or buffer another packet for the library.

        Raises BlockingIOError while the packet is incomplete, and after a message, so that the library's loop sends
        acknowledgements and pings between two messages.
        """
        if self._remaining is None:
            self._remaining = self._read_length()
        while self._remaining:
            chunk = self._receive(min(self._remaining, _CHUNK))
            self._remaining -= len(chunk)
            if self._packet_size <= MAX_PACKET or len(self._body) < OVERSIZE_PREFIX:
                self._body += chunk
        head, body, size = self._head, self._body, self._packet_size
        self._head, self._body, self._remaining = bytearray(), bytearray(), None
        if head[0] & 0xF0 != _PUBLISH:
            self._library_buffer = head + body
            return
        self._deliver(self._parse_publish(head[0], bytes(body), size))
        raise BlockingIOError

    def _read_length(self) -> int:
        head = self._head
        while len(head) < 2 or head[-1] & 0x80:
            if len(head) > 4:
                raise self._set_protocol_error("a packet whose length is not MQTT")
            head += self._receive(1)
        length = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(head[1:]))
        self._packet_size = len(head) + length
        if head[0] & 0xF0 != _PUBLISH and length > MAX_OTHER_PACKET:
            raise self._set_protocol_error(f"a packet of kind {head[0]:#04x} with {length} bytes")
        if head[0] & 0xF0 == _PUBLISH and head[0] & 0x06 > 0x02:
            raise self._set_protocol_error("a message with QoS 2, which was not subscribed to")
        if len(self._out_packet) > MAX_OUTGOING_PACKETS:
            raise self._set_protocol_error("messages without reading their acknowledgements")
        return length

    def _receive(self, max_bytes: int) -> bytes:
        data = super()._sock_recv(max_bytes)
        if not data:
            raise ConnectionResetError("the broker has closed the connection")
        # The library sees no PUBLISH. Without this its ping would time out while the answer waits behind messages.
        self._ping_t = 0.0
        with self._msgtime_mutex:
            self._last_bytes_received = mqtt.time_func()
        return data

    def _parse_publish(self, first: int, body: bytes, size: int) -> PublishPacket:
        offset = 2 + int.from_bytes(body[:2])
        topic = body[2:offset].decode("utf-8", "replace")
        mid = 0
        if first & 0x06:
            mid = int.from_bytes(body[offset : offset + 2])
            offset += 2
        properties = shift = 0
        while True:
            if offset >= len(body) or shift > 21:
                raise self._set_protocol_error("a message that is not MQTT")
            properties |= (body[offset] & 0x7F) << shift
            offset, shift = offset + 1, shift + 7
            if body[offset - 1] < 0x80:
                break
        if offset + properties > len(body) and size <= MAX_PACKET:
            raise self._set_protocol_error("a message that is not MQTT")
        return PublishPacket(mid, topic, body[offset + properties :], size)

    def _set_protocol_error(self, what: str) -> ConnectionError:
        """Keep the first violation as the reason; return the exception that ends the connection."""
        self.protocol_error = self.protocol_error or f"it sent {what}"
        return ConnectionError(what)
