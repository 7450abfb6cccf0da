"""The points at which a fault can change what a simulated terminal does, and their default: no change.

The layers of the simulator call :class:`Hooks`; :class:`drivers.zkteco.simulator.faults.Faults` implements it.
"""

# ruff: noqa: ARG002 - a hook without faults uses no argument
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NamedTuple, Protocol

from drivers.zkteco.wire import Packet


class Wait(NamedTuple):
    """A pause on the wire."""

    seconds: float


class Drop(NamedTuple):
    """The end of a connection. Over UDP, nothing more is sent."""


Step = bytes | Wait | Drop
Steps = Iterable[Step]


class Client(Protocol):
    """The conversation with one client, as the terminal's memory and the faults use it."""

    session: int
    listening: bool
    """The client is registered for events."""
    refused: bool
    """The terminal does not accept this client: the owner of its connection closes it."""
    skipped: bool
    """The last part that was requested lies behind bytes of the buffer that were not."""
    events: deque[Packet]
    """Events to be sent."""
    on_event: Callable[[], None]
    hang_up: Callable[[], None]

    def close(self) -> None:
        """End the conversation; the connection stays open."""

    def transfer(self, request: Packet, start: int, length: int | None) -> list[Packet]:
        """Return the answer with ``length`` bytes of the buffer from byte ``start`` on; None: all that follow."""


class Hooks:
    """What a terminal without faults does."""

    def count(self, records: int) -> int:
        """Return the count of records that is reported."""
        return records

    def table(self, table: bytes) -> bytes:
        """Return the log, prefix included, as it is served."""
        return table

    def between(self, found: bytes) -> bytes:
        """Return the records that are served in place of those ``found`` in a span of time."""
        return found

    def repeats(self) -> list[timedelta]:
        """Return the delays after which the same finger punches again."""
        return []

    def accepts(self, client: Client, request: Packet) -> bool:
        """Return whether the terminal processes a request; else it sends no answer."""
        return True

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        """Return the packets that are sent in place of the correct ``answers``."""
        return answers

    def events(self, event: Packet) -> list[Packet]:
        """Return the packets that are sent in place of an event."""
        return [event]

    @property
    def joins_events(self) -> bool:
        """Whether events wait for the next answer."""
        return False

    def steps(self, request: Packet | None, frames: Steps, *, udp: bool) -> Steps:
        """Return the steps in place of sending ``frames``; ``request`` is None for events."""
        return frames

    @property
    def on(self) -> dict[str, str]:
        """Names of the faults that are on, with their values as typed; empty where a fault takes none."""
        return {}
