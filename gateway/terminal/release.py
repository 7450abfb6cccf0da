"""Publishes records that a configured start date withheld."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from drivers import DRIVERS
from gateway import event
from gateway.clock import Clock
from gateway.event import ReadingContext
from gateway.ledger import Ledger
from gateway.settings import TerminalSettings


def release_withheld(
    ledger: Ledger, settings: TerminalSettings, zone: ZoneInfo, clock: Clock, first: date, last: date
) -> int:
    """Add the withheld records of a terminal's days from ``first`` to ``last`` to the stream.

    The dates at the ends of the calendar mean no bound. Returns their number.
    """
    known = ledger.terminal(settings.name)
    if known is None:
        return 0
    driver = DRIVERS[settings.driver]
    context = ReadingContext(
        terminal=settings.name,
        serial=known.serial,
        zone=zone,
        via=driver.via,
        now=clock.now(),
        synchronised=clock.synchronised(),
        clock=None,  # not measured when the records were made
        stepped=False,
        tolerance=timedelta(seconds=settings.clock.tolerance),
        labels=driver.labels or event.LABELS,
    )
    return ledger.release(context, first, last)
