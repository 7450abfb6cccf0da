"""Which spans of a terminal's log are counted and delivered again, until its counts agree with the ledger. Pure.

For terminals whose log has no positions, and can only be counted between two dates. The spans cover the whole calendar:
each of the last days, everything before them and everything after today, since a clock that was wrong has put punches
anywhere. A long span that differs is halved until the part that differs is short enough to be delivered again.
"""

from collections import deque
from collections.abc import Iterator, MutableMapping
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

DAYS = 31
"""Whole days before today that are counted one by one, so that one day's surplus cannot hide what another lacks."""
DELIVERED_DAYS = 31
"""Longest span that is delivered again at once: terminals answer longer ones too slowly."""
FIRST, LAST = date(2000, 1, 1), date(2099, 12, 31)
"""The dates that terminals know."""
COUNTS_MAX = 3
"""How often a span is counted while punches of it arrive in between."""
STEPS_MAX = 400
"""Requests of one night; a terminal executes one or two in ten seconds."""


class Span(NamedTuple):
    """Whole days, both ends included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @property
    def limits(self) -> tuple[datetime, datetime]:
        """The first and the last second, by the terminal's clock."""
        return datetime.combine(self.first, time.min), datetime.combine(self.last, time(23, 59, 59))

    def halves(self) -> tuple["Span", "Span"]:
        """Return the two parts of a span of several days."""
        middle = self.first + timedelta(days=self.days // 2 - 1)
        return Span(self.first, middle), Span(middle + timedelta(days=1), self.last)


class Step(NamedTuple):
    """One request to the terminal."""

    span: Span
    again: bool = False
    """The records are to be delivered again, else they are counted."""


class Counts(NamedTuple):
    """The records of a span in the terminal and in the ledger."""

    in_terminal: int
    in_ledger: int


Explained = MutableMapping[Span, Counts]
"""Span → counts that differ although everything that the terminal holds of it was delivered: it holds a line twice, for
example, or lost what is stored."""


def spans(today: date) -> Iterator[Span]:
    """Yield spans that cover the calendar, today at the end: the fewest punches arrive after it was counted."""
    begin = today - timedelta(days=DAYS)
    for day in range(1, DAYS + 1):
        yesterday = today - timedelta(days=day)
        yield Span(yesterday, yesterday)
    yield Span(FIRST, begin - timedelta(days=1))
    yield Span(today + timedelta(days=1), LAST)
    yield Span(today, today)


class RecountPlan:
    """One recount of a terminal."""

    def __init__(self, today: date, explained: Explained) -> None:
        """``explained`` is kept from one recount to the next, and updated."""
        self.counted = 0
        """Records in the terminal, as far as it was counted."""
        self.recovered = 0
        """Records that were new when they were delivered again."""
        self.missing: dict[Span, int] = {}
        """Span → records that the terminal counts and did not deliver."""
        self.failed = False
        """The terminal did not answer a request, or too many were necessary."""
        self._explained = explained
        self._steps = deque(Step(span) for span in spans(today) if FIRST <= span.first <= span.last <= LAST)
        self._repeats = 0
        self._before: Counts | None = None
        """Of the present span, before it was delivered again."""
        self._delivered: int | None = None
        self._count = 0

    @property
    def step(self) -> Step | None:
        """The next request; None where the recount is over."""
        return self._steps[0] if self._steps and not self.failed else None

    @property
    def agrees(self) -> bool:
        """Whether it is over, and everything that the terminal holds is stored."""
        return not (self._steps or self.missing or self.failed)

    def answered(self, records: int | None, held_before: int, held: int) -> None:
        """Take the answer to the present step; None: the terminal gave none.

        ``held_before`` and ``held`` are the records of the span in the ledger, before the request and after the answer.
        """
        step = self._steps[0]
        self._count += 1
        if records is None or self._count > STEPS_MAX:
            self.failed = True
        elif step.again:
            self._delivered = records
            self._steps[0] = Step(step.span)
        else:
            self._compare(step.span, Counts(records, held), moved=held_before != held)

    def _compare(self, span: Span, counts: Counts, *, moved: bool) -> None:
        if counts.in_terminal == 0 or (counts.in_terminal == counts.in_ledger and not moved):
            self._explained.pop(span, None)
            self._close(counts)
        elif moved and self._repeats < COUNTS_MAX - 1:
            self._repeats += 1
        elif self._delivered is not None:
            if self._delivered >= counts.in_terminal:
                self._explained[span] = counts
            else:
                self.missing[span] = counts.in_terminal - self._delivered
            self._close(counts)
        elif self._explained.get(span) == counts and not moved:
            self._close(counts)
        elif span.days > DELIVERED_DAYS:
            self._steps.popleft()
            self._steps.extendleft(Step(half) for half in reversed(span.halves()))
        else:
            self._before = counts
            self._steps[0] = Step(span, again=True)

    def _close(self, counts: Counts) -> None:
        """End the work on the present span."""
        if self._before is not None:
            self.recovered += max(0, counts.in_ledger - self._before.in_ledger)
        self.counted += counts.in_terminal
        self._repeats, self._before, self._delivered = 0, None, None
        self._steps.popleft()
