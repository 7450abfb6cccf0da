"""The catalogue of faults of simulated terminals, and the faults that are on in one of them.

A fault acts in one of three layers::

    MemoryFault         what the terminal stores and reports: count, log, clock, users, identity
    ConversationFault   the packets of its answers and events
    LinkFault           how packets cross the wire: bytes, pauses, dropped connections

A class is an entry of the catalogue: its docstring is the effect, ``value`` what may be given, ``quirks`` the known
quirks of terminals (docs/simulator.md lists them) that it provokes. Its name in kebab-case is what people type.
"""

# ruff: noqa: D102 - the hooks are documented in Hooks
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

from drivers.zkteco.simulator.faults import conversation, link, memory
from drivers.zkteco.simulator.faults.base import ConversationFault, Fault, LinkFault, MemoryFault
from drivers.zkteco.simulator.hooks import Client, Hooks, Steps
from drivers.zkteco.simulator.memory import Memory
from drivers.zkteco.wire import Packet

__all__ = ["FAULTS", "Faults"]

FAULTS: dict[str, type[Fault]] = {
    kind.name: kind
    for module in (memory, conversation, link)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Fault) and kind.__module__ == module.__name__
}
"""The catalogue: name → fault, layer by layer."""

F = TypeVar("F", bound=Fault)


class Faults(Hooks):
    """The faults of one terminal that are on. May be changed, by one thread at a time, while the terminal is served."""

    def __init__(self, terminal: Memory) -> None:
        self._terminal = terminal
        self._on: tuple[Fault, ...] = ()

    @property
    def on(self) -> dict[str, str]:
        return {fault.name: fault.typed for fault in self._on}

    def switch_on(self, order: str) -> str:
        """Execute ``NAME`` or ``NAME=VALUE`` and return a sentence with the effect; ValueError for an unknown fault."""
        name, equals, typed = order.partition("=")
        kind = FAULTS.get(name)
        if kind is None:
            raise ValueError(f"there is no fault {name!r}; the list of faults has them all")
        if equals and kind.value is None:
            raise ValueError(f"{name} takes no value")
        typed = typed if equals else (kind.value.default if kind.value else "")
        fault = kind(self._terminal, typed)
        self.switch_off(name)
        fault.begin()
        if kind.lasting:
            self._on = (*self._on, fault)
        return f"{name}{f'={typed}' if typed else ''}: {kind.meaning()}"

    def switch_off(self, name: str) -> str:
        """Switch a fault off if it is on, and return a sentence about it; ValueError for an unknown fault."""
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; the list of faults has them all")
        for fault in self._on:
            if fault.name == name:
                self._on = tuple(other for other in self._on if other is not fault)
                fault.end()
                return f"{name} is off."
        return f"{name} is not on."

    def listing(self) -> str:
        """Return a line for each fault: its name, its value, its meaning, and a star before those that are on."""
        on = self.on
        lines = []
        for name, kind in FAULTS.items():
            typed = on.get(name, kind.value.default if kind.value else "")
            lines.append(f"{'*' if name in on else ' '} {name + (f'={typed}' if typed else ''):<34} {kind.meaning()}")
        return "\n".join(lines)

    def _of(self, layer: type[F]) -> Iterator[F]:
        return (fault for fault in self._on if isinstance(fault, layer))

    def count(self, records: int) -> int:
        for fault in self._of(MemoryFault):
            records = fault.count(records)
        return records

    def table(self, table: bytes) -> bytes:
        for fault in self._of(MemoryFault):
            table = fault.table(table)
        return table

    def repeats(self) -> list[timedelta]:
        return [later for fault in self._of(MemoryFault) for later in fault.repeats()]

    def between(self, found: bytes) -> bytes:
        for fault in self._of(MemoryFault):
            found = fault.between(found)
        return found

    def accepts(self, client: Client, request: Packet) -> bool:
        return all(fault.accepts(client, request) for fault in self._of(ConversationFault))

    def answer(self, client: Client, request: Packet, answers: list[Packet]) -> list[Packet]:
        for fault in self._of(ConversationFault):
            answers = fault.answer(client, request, answers)
        return answers

    def events(self, event: Packet) -> list[Packet]:
        events = [event]
        for fault in self._of(ConversationFault):
            events = [replacement for event in events for replacement in fault.event(event)]
        return events

    @property
    def joins_events(self) -> bool:
        return any(fault.joins_events for fault in self._of(LinkFault))

    def steps(self, request: Packet | None, frames: Steps, *, udp: bool) -> Steps:
        for fault in self._of(LinkFault):
            frames = fault.steps(request, frames, udp=udp)
        return frames
