"""Reads the new records of a terminal's log and stores them, then clears the terminal's marks of new records."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from drivers.base import Delivering, Delivery, DriverError, Enrolled, Logged, Reading, Settlement
from gateway.event import ReadingContext, utc_text
from gateway.ledger import KnownTerminal, ReadingResult, Unaligned
from gateway.terminal.clock_check import ClockCheck
from gateway.terminal.context import TerminalContext
from gateway.terminal.deliveries import received
from gateway.terminal.live_events import LiveReceiver
from gateway.terminal.reading_plan import ReadingPlan


class Stopped(Exception):  # noqa: N818 - no error
    """The worker was stopped in the middle of an import; stored slices stay stored."""


class LogReader:
    """The log of one terminal. Records that it delivers as new are stored and committed before they are settled."""

    def __init__(
        self,
        context: TerminalContext,
        plan: ReadingPlan,
        clock: ClockCheck,
        *,
        stopping: threading.Event,
        live: LiveReceiver,
        publish_tally: Callable[[], None],
    ) -> None:
        """Between two slices of an import, ``live`` stores the live events that have arrived."""
        self._context = context
        self._plan = plan
        self._clock = clock
        self._stopping = stopping
        self._live = live
        self._publish_tally = publish_tally
        self._whole = False
        """The last reading was one of the whole log."""
        self._short_readings = 0
        """Readings in succession that had fewer records than the terminal counts."""

    def read_new(self, terminal: Logged, reading: ReadingContext, *, requested: bool) -> ReadingResult | None:
        """Read new records, if there are any and the pause after the last reading is over.

        ``requested``: a person wants the whole log. None where the disk is too full for the records.
        """
        context, plan = self._context, self._plan
        begun = context.clock.now() if context.clock.synchronised() else None
        announced = plan.hinted or not (plan.announcements.registered and plan.caught_up)
        known = context.known()
        context.state.sizes = terminal.sizes()
        plan.observe(context.state.sizes, known)
        decision = plan.decide(known, requested=requested)
        if decision == "nothing_new" and plan.count_is_reliable:
            self._clock.all_read()
            self._advance_watermark(begun, whole=False)
        if decision != "read":
            return ReadingResult()
        disk = context.ledger.disk_state()
        if not plan.fits(disk, known):
            context.log.info("reading_postponed", room=disk)
            plan.postpone()
            return None
        self._whole = False
        result = self._read_due(terminal, known, reading, requested=requested)
        if plan.caught_up:
            self._advance_watermark(begun, whole=self._whole)
        if result.new and not announced and plan.announcements.missed():
            context.log.warning("live_silent", polls=plan.announcements.unannounced_polls, new=result.new)
        return result

    def _read_due(
        self, terminal: Logged, known: KnownTerminal, reading: ReadingContext, *, requested: bool
    ) -> ReadingResult:
        # Both flags may be set again during the reading, and then refer to the next one.
        plan = self._plan
        due, plan.full_due = plan.full_due, False
        plan.hinted = False
        try:
            result = self._read(terminal, known, reading, full=due or requested)
        except BaseException:
            plan.full_due |= due
            raise
        plan.finished(complete=result is not None)
        if result is None:
            return ReadingResult()
        news = result.new or result.quarantined or result.confirmed or result.withheld
        if not news and plan.sizes.records != self._context.known().in_log:
            plan.wrong_count = plan.sizes.records  # the count differs from a log without new records
        return result

    def _read(
        self, terminal: Logged, known: KnownTerminal, reading: ReadingContext, *, full: bool
    ) -> ReadingResult | None:
        """Read and store new records; None where a wider reading is needed and may not begin yet."""
        plan = self._plan
        extent = plan.extent(known, full=full)
        if not full and plan.next_start is None and isinstance(terminal, Delivering):
            try:
                result = self._receive(terminal, known, reading)
            except Unaligned:
                result = None
            if result is not None:
                return result
            # Such a log can be read from its beginning only.
            extent = plan.widen(extent, known, known.in_log, whole=True)
            if not plan.may_read():
                return None
        while plan.may_begin(extent, known, full=full):
            log = terminal.read(extent.start, known.layout)
            plan.prepared(log.prepared_s, log.total, extent, whole=log.start == 0, whole_only=log.whole_only)
            try:
                return self._store(terminal, known, reading, log)
            except Unaligned:
                extent = plan.widen(extent, known, log.total, whole=False)
                if not plan.may_read():
                    return None
        return None

    def _receive(self, terminal: Delivering, known: KnownTerminal, reading: ReadingContext) -> ReadingResult | None:
        """Store the records that a terminal with a log delivers as new, and settle them; None where there are none.

        Raises Unaligned where they do not overlap with the stored log.
        """
        with received(terminal, 0.0) as items:
            for item in items:
                if not isinstance(item, Delivery) or item.reading is None:
                    raise TypeError("what a terminal with a log delivers has a position in it")
                return self._store(terminal, known, replace(reading, via=item.via), item.reading, item)
        return None

    def _store(
        self,
        terminal: object,
        known: KnownTerminal,
        reading: ReadingContext,
        log: Reading,
        delivery: Delivery | None = None,
    ) -> ReadingResult:
        """Store a reading and settle its delivery, if it has one.

        Raises Unaligned where it does not overlap with the stored log.
        """
        context = self._context
        pins: Mapping[int, str] | None = None
        if log.by_uid and isinstance(terminal, Enrolled):
            pins = terminal.pins()
        if known.layout not in (None, log.layout) and log.total:
            context.log.warning("layout_changed", before=known.layout, after=log.layout)
        between = _BetweenSlices(self._stopping, lambda: self._live.drain(terminal))
        result = context.ledger.record_reading(reading, log, start=context.settings.start, pins=pins, between=between)
        # Commit, then settle: a crash between the two costs a second reading, never a punch.
        if delivery is not None:
            known_already = result.read - result.new - result.quarantined
            delivery.settle(Settlement(result.new, known_already, result.quarantined))
        self._plan.stored()
        self._clock.all_read()
        if log.total:
            context.state.layout = log.layout
        self._whole = log.start == 0 and delivery is None
        if log.start == 0:
            self._report_reconciliation(log, result)
        if between.error is not None:
            raise between.error
        return result

    def _advance_watermark(self, begun: datetime | None, *, whole: bool) -> None:
        """State that everything the log held at ``begun`` is stored, where the count agrees or ``whole`` was read.

        ``begun`` is before the count; None: the gateway's clock could not be trusted. A count that is higher than what
        is stored disproves it, also after a reading of the whole log; so does a log that ends before what is stored,
        which a busy terminal answers with. Where the capacity is unknown (Anviz) the count proves nothing: a full log
        keeps it.
        """
        records, known = self._plan.sizes.records, self._context.known()
        may_be_full = self._plan.sizes.capacity is None
        agrees = records == known.in_log and self._plan.count_is_reliable and not may_be_full
        missing = known.shrunk_to is not None or (records is not None and records > known.in_log)
        if begun is not None and not missing and (agrees or whole):
            self._context.advance_watermark(begun)

    def _report_reconciliation(self, log: Reading, result: ReadingResult) -> None:
        """Report the result of reading the whole log."""
        context, state = self._context, self._context.state
        state.last_full_reading = context.clock.now()
        state.reconciliation = {
            "at": utc_text(state.last_full_reading),
            "records": log.total,
            "new": result.new + result.quarantined + result.withheld,
            "missed": result.missed,
            "invented": result.invented,
            "reordered": result.reordered,
            "unconfirmed": result.unconfirmed,
        }
        if result.missed or result.invented or result.reordered:
            counts = {"missed": result.missed, "invented": result.invented, "moved": result.reordered}
            context.incident("log_differs", logged=counts, values=counts)
        self._compare_with_count(log)
        self._publish_tally()

    def _compare_with_count(self, log: Reading) -> None:
        """Report a terminal that sends fewer records than it counts, at the second such reading in succession.

        At one it may have been cleared meanwhile. Only where the whole log is sent each time: elsewhere the requested
        bytes prove the length of the log.
        """
        counted = self._plan.sizes.records
        if not log.whole_only or counted is None or log.total >= counted:
            self._short_readings = 0
            return
        self._short_readings += 1
        if self._short_readings == 2:
            counts = {"counted": counted, "sent": log.total}
            self._context.incident("log_incomplete", logged=counts, values=counts)


class _BetweenSlices:
    """Callback between two slices of an import: check for a stop, and receive live events.

    A connection that breaks meanwhile does not discard what was read: the error is kept until everything is stored.
    """

    def __init__(self, stopping: threading.Event, drain: Callable[[], None]) -> None:
        self._stopping = stopping
        self._drain = drain
        self.error: DriverError | None = None

    def __call__(self) -> None:
        if self._stopping.is_set():
            raise Stopped
        if self.error is None:
            try:
                self._drain()
            except DriverError as exc:
                self.error = exc
