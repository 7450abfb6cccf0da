"""Careful mode: how a session begins after one that died with events in flight, and how much may be in flight. Pure."""

from collections.abc import Collection

PACKET_MAX = 268_435_455
"""Maximum size of an MQTT packet."""


class Careful:
    """What the death of a session teaches the next ones.

    Events that it had in flight go one message at a time, because one of them may have ended it, and so that the next
    death names the message. A size that is known to have ended a connection is not sent again for ``kept_s``.
    """

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._kept_until = 0.0
        self.array_max = self.event_max = PACKET_MAX
        """Maximum bytes of a packet with an array, and with one event."""
        self.upto = 0
        """Up to this sequence one message is in flight at a time; 0: as many as the window allows."""

    def session_ended(self, in_flight: Collection[int]) -> None:
        """Note the sequences of the events that a session had in flight when it ended."""
        self.upto = max(in_flight, default=0)

    def reconnected(self, now: float) -> None:
        """Try large messages again when the time has come."""
        if now >= self._kept_until:
            self.array_max = self.event_max = PACKET_MAX

    def considered(self, sequence: int) -> None:
        """End careful mode with the first event behind the ones that were in flight."""
        if sequence > self.upto:
            self.upto = 0

    def too_large(self, size: int, events: int, now: float) -> None:
        """Lower the limits: messages below this size, arrays to half of it."""
        if events > 1:
            self.array_max = size // 2
        else:
            self.array_max = self.event_max = size - 1
        self._kept_until = now + self._kept_s


class Pacing:
    """The bytes of arrays in flight, and their limit, which follows what the line carries in a second or two."""

    def __init__(self, initial: int, most: int, fast_s: float, slow_s: float) -> None:
        """Quick acknowledgements (within ``fast_s``) raise the limit up to ``most``, slow ones halve it."""
        self._most = most
        self._fast_s, self._slow_s = fast_s, slow_s
        self.limit = initial
        self.in_flight = 0

    @property
    def has_room(self) -> bool:
        """Whether another message with events may be sent; always where no array is in flight."""
        return self.in_flight < self.limit

    def sent(self, size: int) -> None:
        """Add an array in flight."""
        self.in_flight += size

    def answered(self, size: int) -> None:
        """Remove an array that is no longer in flight."""
        self.in_flight -= size

    def accepted(self, size: int, took_s: float) -> None:
        """Adjust the limit to the time of an acknowledgement."""
        if took_s <= self._fast_s:
            self.limit = min(self._most, self.limit + size)
        elif took_s >= self._slow_s:
            self.limit = max(1, self.limit // 2)
