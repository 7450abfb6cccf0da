"""Receives records that their source keeps until they are stored: the one way in for files, lines, callers and marks.

Every delivery goes the same way: its records are stored and committed, then it is settled, once. A crash between the
two costs a second delivery, never a punch. Where storing fails the delivery is left unsettled, which refuses it.

How the records are stored depends on what is known of their place: those with a position in a log are laid against the
stored order (:mod:`gateway.terminal.log_reading`), those of a file are matched by key (:mod:`gateway.terminal.folder`),
and all others are this module: those that a line sends once are final, those that may be sent again are known by their
content (:mod:`gateway.ledger.arrivals`).
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TypeGuard

from drivers.base import (
    BadRecord,
    Delivered,
    Delivering,
    Delivery,
    Logged,
    Notice,
    RawPunch,
    Record,
    Removable,
    Settlement,
    Untimed,
)
from gateway import event
from gateway.event import ReadingContext
from gateway.ledger import SENT_ONCE
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
    """The records that one terminal sends by itself, without a place in a log."""

    def __init__(self, context: TerminalContext, clock: ClockCheck) -> None:
        self._context = context
        self._clock = clock
        self._bad_record_alarm_at_s: float | None = None
        self._notices_at_s: dict[tuple[str, str], float] = {}
        """Code and table of a notice → when it was reported last."""

    def receive(self, terminal: Delivering, for_s: float) -> bool:
        """Store and settle what is delivered within ``for_s`` seconds; return whether there was anything."""
        anything = False
        with received(terminal, for_s) as items:
            for item in items:
                if isinstance(item, Notice):
                    self._report(item)
                    continue
                if not isinstance(item, Delivery):
                    raise TypeError(f"{type(item).__name__} is delivered by removable places only")
                if item.start is not None or item.file is not None:
                    raise TypeError("records with a position need a log, and files a removable place")
                if item.mark is not None and item.via in SENT_ONCE:
                    raise TypeError("a mark needs a source that sends its records again")
                anything = True
                settlement = self._store(item)
                if not item.settle(settlement):
                    self._context.log.warning("receipt_refused", via=item.via)
        return anything

    def _report(self, notice: Notice) -> None:
        """Report what a driver noticed, at most once in a while."""
        timing = self._context.timing
        now_s, key = timing.monotonic_s(), (notice.code, notice.values.get("table", ""))
        last_s = self._notices_at_s.get(key)
        if last_s is None or now_s - last_s >= timing.bad_record_alarm_s:
            self._notices_at_s[key] = now_s
            self._context.incident(notice.code, logged=notice.values, values=notice.values)

    def _store(self, delivery: Delivery) -> Settlement:
        """Store the records in one transaction; raises LedgerFull for those that their source sends again.

        While the disk is full, records that are sent only once wait in memory.
        """
        context, state = self._context, self._context.state
        records = list(delivery.records)  # outside of the transaction, which does not wait for a driver
        reading = context.reading(delivery.via, state.clock, stepped=self._clock.stepped)
        if delivery.via in SENT_ONCE:
            settlement = context.pending.record_delivery(reading, records)
        else:
            settlement = context.ledger.record_delivery(reading, records, delivery.mark)
        times = [_local_time(reading, record) for record in records if not isinstance(record, BadRecord)]
        if times:
            state.last_punch = times[-1].isoformat()
        if settlement.new:
            state.last_new = reading.now
        if settlement.quarantined:
            self._report_bad_records(records)
        return settlement

    def _report_bad_records(self, records: Sequence[Record | Untimed]) -> None:
        timing = self._context.timing
        now_s, last_s = timing.monotonic_s(), self._bad_record_alarm_at_s
        if last_s is not None and now_s - last_s < timing.bad_record_alarm_s:
            return
        self._bad_record_alarm_at_s = now_s
        checked = (record if isinstance(record, Untimed) else event.checked(record) for record in records)
        reason = next((record.reason for record in checked if isinstance(record, BadRecord)), "it is no valid punch")
        self._context.log.warning("record_quarantined", reason=reason)
        self._context.alarm("line_unreadable", reason=reason)


def _local_time(reading: ReadingContext, record: RawPunch | Untimed) -> datetime:
    if isinstance(record, RawPunch):
        return record.local_time
    return reading.now.astimezone(reading.zone).replace(tzinfo=None, microsecond=0)
