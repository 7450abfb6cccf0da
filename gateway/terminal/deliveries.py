"""Receives records that their source keeps until they are stored: the one way in for files, lines, callers and marks.

Every delivery goes the same way: its records are stored and committed, then it is settled, once. A crash between the
two costs a second delivery, never a punch. Where storing fails the delivery is left unsettled, which refuses it.

How the records are stored depends on what is known of their place: those with a position in a log are laid against the
stored order (:mod:`gateway.terminal.log_reading`), those of a file are matched by key (:mod:`gateway.terminal.folder`),
and all others are final, which is this module.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TypeGuard

from drivers.base import (
    BadRecord,
    Delivered,
    Delivering,
    Delivery,
    Logged,
    RawPunch,
    Record,
    Removable,
    Settlement,
    Untimed,
)
from gateway.event import ReadingContext
from gateway.terminal.clock_check import ClockCheck
from gateway.terminal.context import TerminalContext


@contextmanager
def received(terminal: Delivering, timeout_s: float) -> Iterator[Iterator[Delivered]]:
    """Yield the deliveries of a terminal; what was not settled at the end of the block is refused at once.

    RuntimeError, before anything of it is stored, for a delivery that could not be settled.
    """

    def checked() -> Iterator[Delivered]:
        for item in items:
            if isinstance(item, Delivery):
                item.check_open()
            yield item

    with closing(terminal.deliveries(timeout_s)) as items:
        yield checked()


def brings_records(terminal: object) -> TypeGuard[Delivering]:
    """Return whether the terminal keeps no log and sends its records by itself: between polls they are waited for."""
    return isinstance(terminal, Delivering) and not isinstance(terminal, Logged | Removable)


class DeliveryReceiver:
    """The records of one terminal without a log; they are final, because no log can confirm them."""

    def __init__(self, context: TerminalContext, clock: ClockCheck) -> None:
        self._context = context
        self._clock = clock
        self._bad_record_alarm_at_s: float | None = None

    def receive(self, terminal: Delivering, for_s: float) -> bool:
        """Store and settle what is delivered within ``for_s`` seconds; return whether there was anything."""
        anything = False
        with received(terminal, for_s) as items:
            for item in items:
                if not isinstance(item, Delivery):
                    raise TypeError(f"{type(item).__name__} is delivered by removable places only")
                if item.start is not None or item.file is not None:
                    raise TypeError("records with a position need a log, and files a removable place")
                anything = True
                settlement = self._store(item)
                if not item.settle(settlement):
                    self._context.log.warning("receipt_refused", via=item.via)
        return anything

    def _store(self, delivery: Delivery) -> Settlement:
        """Store the records one by one; while the disk is full they wait in memory, since a line sends them once."""
        context, state = self._context, self._context.state
        new = known = quarantined = 0
        # All of them first: a source that fails in the middle would deliver the stored ones again, as further punches.
        for record in list(delivery.records):
            reading = context.reading(delivery.via, state.clock, stepped=self._clock.stepped)
            if self._store_final(reading, record):
                quarantined += isinstance(record, BadRecord)
                new += not isinstance(record, BadRecord)
            else:
                known += 1
        return Settlement(new, known, quarantined)

    def _store_final(self, reading: ReadingContext, record: Record | Untimed) -> bool:
        context, state = self._context, self._context.state
        if isinstance(record, Untimed):
            moment = reading.now.astimezone(context.zone).replace(tzinfo=None, microsecond=0)
            reading = replace(reading, host_time=True)
            record = RawPunch(record.pin, None, moment, record.state, record.verify, record.work_code, record.raw)
        new = context.pending.record_final(reading, record)
        if isinstance(record, RawPunch):
            state.last_punch = record.local_time.isoformat()
            state.last_new = reading.now
        elif new:
            self._report_bad_record(record)
        return new

    def _report_bad_record(self, record: BadRecord) -> None:
        timing = self._context.timing
        now_s, last_s = timing.monotonic_s(), self._bad_record_alarm_at_s
        if last_s is not None and now_s - last_s < timing.bad_record_alarm_s:
            return
        self._bad_record_alarm_at_s = now_s
        self._context.log.warning("record_quarantined", reason=record.reason)
        self._context.alarm("line_unreadable", reason=record.reason)
