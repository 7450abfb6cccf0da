"""How much of a serial line the download of an Anviz log uses: the real driver and ledger on a line as slow as one."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.figures import NONE, TIMES, Figure, Plan, times, yes_no
from benchmarks.rig import END, ZONE, office_time
from drivers.anviz.simulator import BITS_PER_BYTE, SimulatedTerminal, Simulator, history
from drivers.anviz.terminal import AnvizOptions, connect
from drivers.base import Settlement
from gateway.clock import AssumedClock
from gateway.event import ReadingContext
from gateway.ledger import Ledger

RECORDS = 2_000
BAUDRATE = 9600
SHARE = 0.9
RS485_TURNAROUND = "200ms"


def run(plan: Plan) -> Iterator[Figure]:
    """Measure a line with one terminal, and one whose terminals need time to turn round."""
    records = plan.size(RECORDS)
    for what, turnaround, aim in (("RS-232", "0s", SHARE), (f"RS-485, {RS485_TURNAROUND}", RS485_TURNAROUND, None)):
        took_s, line_s = _downloaded(records, turnaround, plan.fresh("serial"))
        yield Figure(
            f"log of {records:,} records over {BAUDRATE} baud ({what}), wall",
            f"the line alone {line_s:.1f} s",
            f"{took_s:.1f} s, {records / took_s:.0f} records/s",
            times(line_s / took_s),
            NONE if aim is None else f"≥ {aim:.2f}{TIMES}",
            NONE if aim is None else yes_no(line_s / took_s >= aim),
        )


def _downloaded(records: int, turnaround: str, folder: Path) -> tuple[float, float]:
    """Bring a log into a ledger; return how long it took, and how long the bytes need that crossed the line."""
    terminal = SimulatedTerminal(now=office_time)
    terminal.append(*history(1, records, END))
    with Simulator(terminal, baudrate=BAUDRATE) as simulator, closing(Ledger(folder, "/hadir/bench/gw")) as ledger:
        options = AnvizOptions.model_validate({"name": "lobby", "port": simulator.port, "turnaround": turnaround})
        ledger.pin_serial("lobby", terminal.serial)
        clock = AssumedClock()
        context = ReadingContext(
            "lobby", terminal.serial, ZoneInfo(ZONE), "serial", clock.now(), True, None, False, timedelta(seconds=60)
        )
        with connect(options) as conversation:
            carried = simulator.bytes_in + simulator.bytes_out
            begun = time.monotonic()
            with closing(conversation.deliveries(0.0)) as deliveries:
                delivery = next(deliveries)
                if delivery.reading is None:
                    raise RuntimeError("the records have no place in the log")
                stored = ledger.record_reading(context, delivery.reading)
                delivery.settle(Settlement(stored.new))
            took_s = time.monotonic() - begun
        if stored.new != records:
            raise RuntimeError(f"{stored.new} of {records} records were stored")
        carried = simulator.bytes_in + simulator.bytes_out - carried
    return took_s, carried * BITS_PER_BYTE / BAUDRATE
