"""The daemon and the inbox as they are, with shorter waits: ``python -m tests.torture.impatient gateway run``.

The clock of gateway or centre is off by as many seconds as stand in the file that ``CLOCK_OFFSET_FILE`` names.

In an office a gap is asked for after 30 s, a range sent again after a minute, and a broker that closes three
connections in a row is left alone for minutes. None of that decides what is delivered, only when.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import central.cli
import central.coverage
import central.inbox.broker
import central.inbox.receipts
import central.outage
import gateway.app
import gateway.cli
import gateway.clock
import gateway.ledger.delivery
import gateway.terminal.timing
from gateway.mqtt.timing import PAUSES, Timing
from gateway.pause import Pause

SOON = Pause(0.2, 1.0)
BROKER = Timing(
    pauses={**PAUSES, "unreachable": SOON, "taken_over": SOON},
    retry_initial_s=0.5,
    retry_max_s=2.0,
    missing_check_s=0.5,
)


def hurry() -> None:
    """Shorten the waits of this process."""
    gateway.ledger.delivery.RESEND_INTERVAL_MS = 1000
    visits = gateway.terminal.timing.Timing(pauses=dict.fromkeys(gateway.terminal.timing.PAUSES, SOON))
    gateway.app.Daemon = partial(gateway.app.Daemon, timing=visits, broker_timing=BROKER)  # type: ignore[misc, assignment]
    central.coverage.GAP_GRACE_S = 2.0
    central.inbox.receipts.RECEIPT_INTERVAL_S = 0.2
    central.outage.PAUSE_S = (SOON.first_s, SOON.longest_s)
    central.inbox.broker.TAKEN_OVER_PAUSE_S = (SOON.first_s, SOON.longest_s)
    central.inbox.broker.BrokerUnavailable.__init__.__defaults__ = ((SOON.first_s, SOON.longest_s),)


class Shifted(gateway.clock.AssumedClock):
    """The machine's clock, off by what stands in a file, now and later."""

    def __init__(self) -> None:
        self._file = Path(os.environ["CLOCK_OFFSET_FILE"])

    def now(self) -> datetime:
        """Return the time that this clock shows."""
        off_s = float(self._file.read_text("ascii")) if self._file.exists() else 0.0
        return datetime.now(UTC) + timedelta(seconds=off_s)


if __name__ == "__main__":
    hurry()
    if "CLOCK_OFFSET_FILE" in os.environ:
        gateway.clock.AssumedClock = Shifted  # type: ignore[misc]
        central.cli.main = partial(central.cli.main, now=Shifted().now)
    program = {"gateway": gateway.cli.main, "central": central.cli.main}[sys.argv.pop(1)]
    program()
