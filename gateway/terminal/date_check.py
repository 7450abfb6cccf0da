"""Compares a terminal's records of the last days, read by date, with the ledger. It never stores a punch."""

from collections import Counter
from datetime import date, datetime, time, timedelta

from drivers.base import DriverError, Ranged, RawPunch, Record, Terminal
from gateway.alignment import fingerprint
from gateway.event import RESET_YEAR, ReadingContext
from gateway.ledger import KnownTerminal
from gateway.terminal.context import TerminalContext
from gateway.terminal.reading_plan import ReadingPlan

DAYS = 2
"""Whole days before today that a reading by date covers."""
BLOCK = 5000
"""Records of the stored log that are compared at a time."""


class DateCheck:
    """The cross-check of one terminal.

    A difference makes a full reading due. Where it persists, the terminal's readings by date are wrong and are switched
    off.
    """

    def __init__(self, context: TerminalContext, plan: ReadingPlan) -> None:
        self._context = context
        self._plan = plan
        self._next_s = 0.0
        self._difference_open = False
        """A reading by date differed from the ledger, and a full reading is to decide."""

    def schedule(self, after_s: float) -> None:
        """Let the next check be made so many seconds from now."""
        self._next_s = self._context.timing.monotonic_s() + after_s

    def run(self, terminal: Terminal, reading: ReadingContext) -> None:
        """Make the check, if it is due and the log is read up to now."""
        context, plan = self._context, self._plan
        if not isinstance(terminal, Ranged) or reading.clock is None or not plan.caught_up:
            return
        known = context.known()
        unsettled = known.shrunk_to is not None or known.length < max(1, known.matched_until or 0)
        if known.ranged is False or unsettled or (self._difference_open and plan.full_due):
            return
        if context.timing.monotonic_s() < self._next_s or not plan.may_read():
            return
        # By the terminal's clock, and up to the begin of this poll: later records are not read yet.
        shown = (reading.now + timedelta(milliseconds=reading.clock.offset_ms)).astimezone(context.zone)
        if shown.year <= RESET_YEAR:
            return  # dates of a reset clock are meaningless, and may lie before the first valid one
        self.schedule(context.timing.date_check_s)
        last = shown.replace(tzinfo=None, microsecond=0) - timedelta(seconds=2)
        first = datetime.combine(last.date() - timedelta(days=DAYS), time.min)
        records = self._read(terminal, known, first, last)
        if records is None:
            context.pending.remember(context.name, ranged=False)
            context.log.info("range_unsupported")
            return
        found = [record for record in records if isinstance(record, RawPunch)]
        if any(not first <= record.local_time <= last for record in found):
            self._reject("records of other dates")
            return
        self._judge(known, self._difference(known, found, last.date()))

    def _read(self, terminal: Ranged, known: KnownTerminal, first: datetime, last: datetime) -> list[Record] | None:
        try:
            return terminal.between(first, last, known.layout)
        except DriverError:
            if known.ranged is None:  # some firmware hangs at an unknown command
                self._context.pending.remember(self._context.name, ranged=False)
                self._context.log.info("range_unsupported")
            raise

    def _judge(self, known: KnownTerminal, difference: int) -> None:
        context = self._context
        if not difference:
            self._difference_open = False
            if known.ranged is None:
                context.pending.remember(context.name, ranged=True)
        elif self._difference_open:
            self._reject("a full reading of the log says otherwise")
        else:
            context.log.warning("range_differs", records=difference)
            self._difference_open = self._plan.full_due = self._plan.hinted = True
            self._next_s = 0.0

    def _difference(self, known: KnownTerminal, found: list[RawPunch], today: date) -> int:
        """Count found records that are unknown, and records of earlier days in the log that were not found."""
        ledger, name = self._context.ledger, self._context.name
        prints = Counter(map(fingerprint, found))
        placed: Counter[bytes] = Counter()
        for place in range(known.shift, known.length, BLOCK):
            placed.update(print_ for print_ in ledger.order(known, place, BLOCK) if print_ in prints)
        days = Counter(record.local_time.date() for record in found)
        missing = [
            (day.in_log or 0) - days[day.day]
            for day in ledger.tally(name, today - timedelta(days=DAYS))
            if day.day is not None and day.day < today
        ]
        return (prints - placed).total() + sum(count for count in missing if count > 0)

    def _reject(self, reason: str) -> None:
        self._difference_open = False
        self._context.pending.remember(self._context.name, ranged=False)
        self._context.log.warning("range_distrusted", reason=reason)
