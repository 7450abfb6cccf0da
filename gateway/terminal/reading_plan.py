"""When a terminal's log is read, and which part of it. Pure: counts, live events and times in, decisions out.

The record count of the terminal is compared with the stored log; a count without change makes a reading unnecessary.
Some counts are useless: that of a full log, which overwrites its oldest record, and that of terminals which always
report 0. There the end of the log is read at intervals.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from drivers.base import Sizes
from gateway.ledger import OVERLAP, KnownTerminal
from gateway.terminal.timing import Timing

Decision = Literal["nothing_new", "wait", "read"]

SMALL_LOG = 1000
"""Up to this many records a whole log is read as quickly as a part of it."""
SMALL_READING_MAX = 500
"""A reading of more new records than this counts as an import, which waits while the disk is nearly full."""
WIDEN_FACTOR = 8
"""Each further reading is this many times wider: preparing a log costs the terminal more than sending it."""
UNANNOUNCED_POLLS_MAX = 2
"""After this many polls that found unannounced punches, register for live events again.

The limit doubles each time: some terminals never send live events.
"""


class Extent(NamedTuple):
    """The part of a log that is read: from position ``start`` to the end."""

    start: int
    width: int
    """Records in front of the end of the stored log that are read again."""


@dataclass(slots=True)
class Announcements:
    """Whether live events announce the punches of this terminal."""

    registered: bool = False
    """Live events are registered in this connection."""
    silent: bool = False
    """Punches were found that no live event had announced."""
    unannounced_polls: int = 0
    limit: int = UNANNOUNCED_POLLS_MAX

    def received(self) -> None:
        """Note that a live event was received."""
        self.unannounced_polls, self.limit, self.silent = 0, UNANNOUNCED_POLLS_MAX, False

    def missed(self) -> bool:
        """Count a poll with unannounced punches; return whether the terminal counts as silent from now on.

        A restarted terminal loses its registrations.
        """
        self.unannounced_polls += 1
        begins = self.unannounced_polls >= UNANNOUNCED_POLLS_MAX and not self.silent
        self.silent |= begins
        return begins

    def register_again(self) -> bool:
        """Return whether a new connection is to register for live events again; its limit is then twice as high."""
        if self.unannounced_polls < self.limit:
            return False
        self.unannounced_polls, self.limit = 0, 2 * self.limit
        return True


@dataclass(slots=True)
class ReadingPlan:
    """What is due to be read of one terminal's log."""

    timing: Timing
    full_due: bool = False
    """The whole log is to be read."""
    proof_due: bool = True
    """The next reading must contain known records even if the count is as expected."""
    hinted: bool = False
    """A punch was announced that only the log can identify."""
    caught_up: bool = False
    """The previous poll of this connection left nothing unread."""
    announcements: Announcements = field(default_factory=Announcements)
    sizes: Sizes = field(default_factory=lambda: Sizes(None, None))
    wrong_count: int | None = None
    """A record count that was found to differ from the log although the log had nothing new."""
    next_start: int | None = None
    """Start of the next reading, after one without overlap with the stored log."""
    whole_waits: bool = False
    """Only the whole log can be read, and its interval has not elapsed."""
    whole_only: bool = False
    """The terminal sends its whole log whatever part is requested: readings of it have an interval."""
    read_at_s: float | None = None
    whole_read_at_s: float | None = None
    rest_until_s: float = 0.0

    def connected(self) -> None:
        """Begin a connection: nothing is registered in it, and what happened before it is unknown."""
        self.announcements.registered = self.caught_up = False

    def observe(self, sizes: Sizes, known: KnownTerminal) -> None:
        """Take the terminal's record count.

        A log that was replaced, or is small, is read without the pauses of a large one: a log that other software
        clears is soon cleared again.
        """
        self.sizes = sizes
        if sizes.records != self.wrong_count:
            self.wrong_count = None
        if sizes.records is None or sizes.records == self.wrong_count:
            return
        shorter = sizes.records < known.in_log
        if sizes.records <= SMALL_LOG or shorter:
            self.whole_waits, self.whole_read_at_s = False, None
        if shorter:
            self.rest_until_s = 0.0

    def decide(self, known: KnownTerminal, *, requested: bool) -> Decision:
        """Return whether the log is to be read now; ``requested``: a person wants the whole log."""
        wanted = requested or self.full_due or self._may_have_new_records(known)
        self.caught_up = not wanted
        if not wanted:
            return "nothing_new"
        return "read" if requested or self.may_read() else "wait"

    @property
    def count_is_reliable(self) -> bool:
        """Whether a new record would change the count: a full log overwrites its oldest record and keeps its count.

        A count that was found wrong is not used until it changes: some terminals always report 0.
        """
        records, capacity = self.sizes.records, self.sizes.capacity
        return records not in (None, self.wrong_count) and (capacity is None or records < capacity)

    def may_read(self) -> bool:
        """Return whether the pause after the last reading is over; without working live events there is none.

        A terminal that can only send its whole log has one in any case.
        """
        if self.whole_waits and not self._may_read_whole_log():
            return False
        rests = self._announced_reliably or self.whole_only
        return self.timing.monotonic_s() >= self.rest_until_s or not rests

    def fits(self, disk: str, known: KnownTerminal) -> bool:
        """Return whether the disk has space for the reading; imports are the first to wait."""
        records = self.sizes.records
        news = SMALL_READING_MAX + 1 if known.length == 0 or records is None else records - known.in_log
        return disk == "all" or (disk == "news" and news <= SMALL_READING_MAX)

    def postpone(self) -> None:
        """Put off a reading that the disk has no space for; it is checked again at each poll."""
        self.hinted, self.proof_due = False, True

    def extent(self, known: KnownTerminal, *, full: bool) -> Extent:
        """Return the part of the log to begin with."""
        start = 0 if full else known.tail_start if self.next_start is None else self.next_start
        return Extent(start, OVERLAP if self.next_start is None else max(OVERLAP, known.in_log - start))

    def may_begin(self, extent: Extent, known: KnownTerminal, *, full: bool) -> bool:
        """Return whether this part may be read now: a whole log that is not requested has an interval."""
        whole = extent.start == 0 or self.whole_only
        self.whole_waits = whole and not full and known.tail_start > 0 and not self._may_read_whole_log()
        return not self.whole_waits

    def prepared(self, prepared_s: float, total: int, extent: Extent, *, whole: bool, whole_only: bool = False) -> None:
        """Set the earliest time of the next reading after the terminal prepared its log, ``whole`` or from a start."""
        now_s = self.timing.monotonic_s()
        self.whole_only = whole_only
        self.rest_until_s = now_s + self.timing.rest_factor * prepared_s
        if whole and total > SMALL_LOG:
            self.whole_read_at_s = now_s
            if extent.start and (not whole_only or self._announced_reliably):  # it cannot send the end alone
                self.rest_until_s = max(self.rest_until_s, now_s + self.timing.whole_read_s)

    def widen(self, extent: Extent, known: KnownTerminal, total: int, *, whole: bool) -> Extent:
        """Return the part to read next, after one that did not overlap with the stored log.

        ``whole``: a log with marks was read from its beginning or its first mark, so that only the whole is left.
        """
        width = extent.width * WIDEN_FACTOR
        start = 0 if whole or width > SMALL_LOG else max(0, min(known.in_log, total) - width)
        self.next_start = start
        return Extent(start, width)

    def stored(self) -> None:
        """Continue from the end of the stored log: what was read is stored."""
        self.next_start, self.whole_waits = None, False

    def finished(self, *, complete: bool) -> None:
        """End a reading; not ``complete``: a wider one is to follow."""
        self.caught_up = complete
        if not complete:
            self.hinted = True
            return
        self.proof_due = False
        self.read_at_s = self.timing.monotonic_s()

    @property
    def _announced_reliably(self) -> bool:
        """Whether live events have announced every new record since the last reading."""
        return self.announcements.registered and not self.proof_due and not self.announcements.silent

    def _may_have_new_records(self, known: KnownTerminal) -> bool:
        if self.proof_due or self.hinted or known.length < (known.matched_until or 0):
            return True
        if (self.sizes.new or 0) > OVERLAP:
            return True  # a full log overwrites its oldest record and keeps its count, but marks what is new
        if not self.count_is_reliable or self.sizes.records == known.shrunk_to:
            return self._elapsed(self.read_at_s, self.timing.uncounted_read_s)
        # A log that was shorter and has the expected count again may hold other records.
        return known.shrunk_to is not None or self.sizes.records != known.in_log

    def _may_read_whole_log(self) -> bool:
        """Return whether the interval of reading the whole log has elapsed; live events make it longer.

        So does a count that is missing: without it each reading is one of the whole log, also where nothing is new.
        """
        uncounted = self.whole_only and self.sizes.records is None
        hourly = self._announced_reliably or uncounted
        again_s = self.timing.whole_read_s if hourly else self.timing.uncounted_read_s
        return self._elapsed(self.whole_read_at_s, again_s)

    def _elapsed(self, since_s: float | None, interval_s: float) -> bool:
        return since_s is None or self.timing.monotonic_s() >= since_s + interval_s
