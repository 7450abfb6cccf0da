"""What a fault is, and the three layers in which it can act."""

# ruff: noqa: ARG002 - the promise and the arguments of a hook are documented in the class of its layer
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from drivers.zkteco import wire
from drivers.zkteco.simulator.faults.values import Value
from drivers.zkteco.simulator.hooks import Client, Steps
from drivers.zkteco.simulator.memory import Memory
from drivers.zkteco.wire import Packet


class Fault:
    """One malfunction of ``terminal`` while it is on; ``given`` is its value. One that is not ``lasting`` is an event.

    A docstring is the meaning that people read. ``begin`` and ``end`` are called by the thread that switches, all other
    methods by the threads that serve.
    """

    name: ClassVar[str]
    quirks: ClassVar[tuple[int, ...]] = ()
    value: ClassVar[Value | None] = None
    lasting: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Name the fault after its class."""
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, terminal: Memory, typed: str) -> None:
        """``typed`` is the value as typed; ValueError, with a sentence for the person, where it is invalid."""
        self.terminal = terminal
        self.typed = typed
        self.given: Any = self.value.parse(typed) if self.value else None

    @classmethod
    def meaning(cls) -> str:
        """Return the effect in one line."""
        return " ".join((cls.__doc__ or "").split())

    def begin(self) -> None:
        """Start the effect; ValueError, and no change, where this terminal cannot have it."""

    def end(self) -> None:
        """Undo the effect."""


class MemoryFault(Fault):
    """A fault of the terminal's memory, or of what it reports about it."""

    def count(self, records: int) -> int:
        """Return the count that is reported."""
        return records

    def table(self, table: bytes) -> bytes:
        """Return the log, prefix included, as it is served."""
        return table

    def between(self, found: bytes) -> bytes:
        """Return the records that are served in place of those ``found`` in a span of time."""
        return found

    def repeats(self) -> Iterator[timedelta]:
        """Yield the delays after which the same finger punches again."""
        return iter(())


class ConversationFault(Fault):
    """A fault in the packets of answers and events."""

    def accepts(self, client: Client, request: Packet) -> bool:
        """Return whether the terminal processes a request."""
        return True

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        """Return the packets that are sent in place of the correct answers."""
        return answers

    def event(self, event: Packet) -> list[Packet]:
        """Return the packets that are sent in place of an event."""
        return [event]


class LinkFault(Fault):
    """A fault in the transmission of answers and events."""

    joins_events: ClassVar[bool] = False
    """Events wait for the next answer and are sent before it."""

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        """Return the steps in place of sending these packets; ``request`` is None for events."""
        return steps


def prepares(request: Packet, table: int) -> bool:
    """Return whether a request prepares a table in the buffer."""
    return request.command == wire.CMD_PREPARE_BUFFER and int.from_bytes(request.data[1:3], "little") == table


def requests_log(request: Packet) -> bool:
    """Return whether a request reads the log, directly or by the buffer."""
    return request.command == wire.CMD_ATTLOG_RRQ or prepares(request, wire.CMD_ATTLOG_RRQ)


def refused(request: Packet, code: int) -> list[Packet]:
    """Return an answer with an error code."""
    return [Packet(code, request.session, request.reply)]
