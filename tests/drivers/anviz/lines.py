"""Simulated lines, and conversations with what hangs on them."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime

from drivers.anviz.simulator import SimulatedTerminal, Simulator, history
from drivers.anviz.terminal import AnvizOptions, AnvizTerminal
from drivers.base import Reading, Settlement, marked_new

EVENING = datetime(2026, 9, 4, 18, 0)  # noqa: DTZ001 - a terminal's wall clock
RECORDS = 180


def options(port: str, **changes: object) -> AnvizOptions:
    """Return options with a short time-out and no turnaround."""
    usual = {"name": "gudang", "port": port, "turnaround": "0s", "timeout": "400ms", "bulk_timeout": "500ms"}
    return AnvizOptions.model_validate(usual | changes)


@contextmanager
def line(where: str) -> Iterator[Simulator]:
    """Serve terminal 1 with 180 records on a pseudo terminal or on TCP."""
    terminal = SimulatedTerminal()
    terminal.append(*history(1, RECORDS, EVENING))
    with Simulator(terminal, where) as simulator:
        yield simulator


@contextmanager
def bus(*device_ids: int) -> Iterator[Simulator]:
    """Serve several terminals on one line, with 60 records each."""
    terminals = [SimulatedTerminal(device_id=number, serial=f"SIM{number}") for number in device_ids]
    for terminal in terminals:
        terminal.append(*history(terminal.device_id, 60, EVENING))
    with Simulator(terminals) as simulator:
        yield simulator


def only(simulator: Simulator) -> SimulatedTerminal:
    """Return the only terminal of a line."""
    (terminal,) = simulator.terminals.values()
    return terminal


def next_events(terminal: AnvizTerminal, count: int) -> list[object]:
    """Wait for so many live punches."""
    found: list[object] = []
    until = time.monotonic() + 120
    while len(found) < count:
        assert time.monotonic() < until, found
        found += terminal.events(0.05)
    return found


def new(terminal: AnvizTerminal) -> Reading:
    """Return the records that are marked new; they stay marked."""
    with marked_new(terminal) as reading:
        assert reading is not None
        return reading


def settle_new(terminal: AnvizTerminal, expected: int) -> None:
    """Receive the records that are marked new, and settle them."""
    with closing(terminal.deliveries(0.0)) as deliveries:
        delivery = next(deliveries)
        assert len(list(delivery.records)) == expected
        assert delivery.settle(Settlement(expected))
        assert list(deliveries) == []
