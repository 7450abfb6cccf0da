"""An MQTT client that a broker can neither exhaust nor end: what it sends is bounded before the library collects it.

paho-mqtt 2.2 does not enforce the Maximum Packet Size that a client announces, keeps QoS 2 messages until a PUBREL
comes, queues an answer for every packet of a broker that reads none, and lets an exception end its thread.
"""

from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode

MESSAGE_BYTES = 128 * 1024
"""Maximum size of a received PUBLISH, announced as Maximum Packet Size."""
OTHER_BYTES = 4 * 1024
"""Maximum size of any other received packet."""
PROPERTIES_BYTES = 8 * 1024
"""Maximum length of decoded properties; the library takes seconds for 100 KiB of them."""
UNWRITTEN_MAX = 10_000
"""Maximum packets waiting to be written, beside own messages, before the broker counts as not reading."""

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _UNSUBACK, _PINGRESP, _DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xB0, 0xD0, 0xE0
_FREE = frozenset({_PUBLISH, _PUBACK, _PINGRESP, _DISCONNECT})
"""Packet types allowed at any time; any other is a response, and there is at most one per request."""


class BoundedClient(mqtt.Client):
    """Ends the connection at the first packet that MQTT does not allow a broker to send to this client.

    The connection of a client object is used once. The library calls the methods with underscores; a test with a
    hostile broker proves that it still does.
    """

    def __init__(self, *args: Any, window: int, **kwargs: Any) -> None:
        """``window`` is the maximum of unacknowledged own messages; the rest is for :class:`mqtt.Client`."""
        super().__init__(*args, **kwargs)
        self.violation: str | None = None
        """Description of the protocol violation that ended the connection, if any."""
        self._most_waiting = window + UNWRITTEN_MAX
        # Each counter is incremented by one thread only: the caller's and the library's.
        self._requests, self._answered = 1, 0

    def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`mqtt.Client.subscribe`."""
        self._requests += 1
        return super().subscribe(*args, **kwargs)

    def unsubscribe(self, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`mqtt.Client.unsubscribe`."""
        self._requests += 1
        return super().unsubscribe(*args, **kwargs)

    def _sock_recv(self, bufsize: int) -> bytes:
        # The library reads the whole rest of a packet at once, after its type and length are known.
        most = MESSAGE_BYTES if self._in_packet["command"] & 0xF0 == _PUBLISH else OTHER_BYTES
        if bufsize > most:
            raise self._violated(f"a packet of {bufsize} bytes, where {most} are the most")
        return super()._sock_recv(bufsize)

    def _packet_handle(self) -> MQTTErrorCode:
        command = self._in_packet["command"]
        kind = command & 0xF0
        try:
            if kind not in _FREE:
                self._answered += 1
                if kind not in (_CONNACK, _SUBACK, _UNSUBACK) or self._answered > self._requests:
                    raise self._violated(f"a packet of kind {kind:#04x}, which nothing called for")  # noqa: TRY301 - every violation ends in one place
            elif kind == _PUBLISH and command & 0x06 > 0x02:
                raise self._violated("a message with QoS 2, which was not subscribed to")  # noqa: TRY301
            elif len(self._out_packet) > self._most_waiting:
                raise self._violated("more packets than it reads answers")  # noqa: TRY301
            if kind == _PUBLISH and self._protocol == mqtt.MQTTv5:
                _without_long_properties(self._in_packet["packet"], has_mid=bool(command & 0x06))
            return super()._packet_handle()
        except _ViolationError:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        except Exception as exc:  # noqa: BLE001 - it would end the library's thread, and the daemon with it
            if kind == _PUBLISH:  # mosquitto 2.0.11 acknowledges with a reason that MQTT 5 does not know there
                self._violated(f"a message that is not MQTT ({type(exc).__name__})")
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _violated(self, what: str) -> "_ViolationError":
        self.violation = self.violation or what
        return _ViolationError(what)


def _without_long_properties(packet: bytearray, *, has_mid: bool) -> None:
    """Remove the properties of a PUBLISH (specification, 3.3.2) that exceed PROPERTIES_BYTES."""
    begin = 2 + int.from_bytes(packet[:2]) + 2 * has_mid
    end, length = begin, 0
    for shift in range(0, 28, 7):
        digit = packet[end]
        end += 1
        length |= (digit & 0x7F) << shift
        if digit < 0x80:
            break
    if length > PROPERTIES_BYTES:
        packet[begin : end + length] = b"\0"


class _ViolationError(ConnectionError):
    """A protocol violation; an OSError, on which the library ends the connection."""
