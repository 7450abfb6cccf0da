"""When a log is read, and which part of it, for each kind of terminal."""

from collections.abc import Callable
from typing import Any

import pytest

from drivers.base import Sizes
from gateway.ledger import OVERLAP, KnownTerminal
from gateway.terminal.reading_plan import (
    SMALL_LOG,
    SMALL_READING_MAX,
    UNANNOUNCED_POLLS_MAX,
    WIDEN_FACTOR,
    Extent,
    ReadingPlan,
)
from gateway.terminal.timing import Timing

LENGTH = 5000
CAPACITY = 100_000


class Time:
    """A time source that a test moves."""

    now_s = 50.0

    def __call__(self) -> float:
        """Return the seconds of this source."""
        return self.now_s


def known(**changes: Any) -> KnownTerminal:
    """Return a terminal whose whole log is stored."""
    state: dict[str, Any] = {"name": "lobby", "serial": "S1", "length": LENGTH}
    return KnownTerminal(**(state | changes))


def settled(records: int | None = LENGTH, capacity: int | None = CAPACITY) -> tuple[ReadingPlan, Time]:
    """Return the plan of a terminal whose log was just read, and whose live events work."""
    time = Time()
    plan = ReadingPlan(Timing(monotonic_s=time))
    plan.observe(Sizes(records, capacity), known())
    plan.announcements.registered = True
    plan.finished(complete=True)
    return plan, time


def observed(plan: ReadingPlan, records: int | None, capacity: int | None = CAPACITY, new: int | None = None) -> str:
    """Return the decision after a count."""
    plan.observe(Sizes(records, capacity, new), known())
    return plan.decide(known(), requested=False)


def full_due(plan: ReadingPlan) -> None:
    """Let the nightly work be due."""
    plan.full_due = True


def hinted(plan: ReadingPlan) -> None:
    """Let a punch be announced that only the log can identify."""
    plan.hinted = True


def unproven(plan: ReadingPlan) -> None:
    """Let a visit have failed."""
    plan.proof_due = True


@pytest.mark.parametrize(
    ("records", "capacity", "new", "decision"),
    [
        (LENGTH, CAPACITY, None, "nothing_new"),
        (LENGTH + 1, CAPACITY, None, "read"),
        (LENGTH - 1, CAPACITY, None, "read"),
        (LENGTH, LENGTH, None, "nothing_new"),  # a full log: read at intervals
        (LENGTH, LENGTH, OVERLAP + 1, "read"),  # unless it marks what is new
        (None, None, None, "nothing_new"),
    ],
)
def test_the_count_decides(records: int | None, capacity: int | None, new: int | None, decision: str) -> None:
    """A count without change makes a reading unnecessary."""
    plan, _ = settled()
    assert observed(plan, records, capacity, new) == decision
    assert plan.caught_up == (decision == "nothing_new")


@pytest.mark.parametrize("make_due", [full_due, hinted, unproven])
def test_a_reading_may_be_due_although_the_count_is_as_expected(make_due: Callable[[ReadingPlan], None]) -> None:
    """At night, after a hint, after a failed visit."""
    plan, _ = settled()
    make_due(plan)
    assert observed(plan, LENGTH) == "read"


@pytest.mark.parametrize(("records", "capacity"), [(LENGTH, LENGTH), (None, None)])
def test_a_log_whose_count_is_useless_is_read_at_intervals(records: int | None, capacity: int | None) -> None:
    """Its count would not show a new record."""
    plan, time = settled(records, capacity)
    assert observed(plan, records, capacity) == "nothing_new"
    time.now_s += plan.timing.uncounted_read_s
    assert observed(plan, records, capacity) == "read"


def test_a_count_that_was_found_wrong_is_not_used_until_it_changes() -> None:
    """Some terminals always report 0."""
    plan, time = settled()
    plan.observe(Sizes(0, CAPACITY), known())
    plan.wrong_count = 0
    assert observed(plan, 0) == "nothing_new"
    time.now_s += plan.timing.uncounted_read_s
    assert observed(plan, 0) == "read"
    assert observed(plan, LENGTH + 1) == "read"
    assert plan.wrong_count is None


def test_a_terminal_that_needs_long_rests_while_its_live_events_work() -> None:
    """Ten times as long as it prepared its log; a request does not wait, and neither does a terminal without events."""
    plan, time = settled()
    plan.prepared(6.0, LENGTH, Extent(LENGTH - OVERLAP, OVERLAP), whole=False)
    assert observed(plan, LENGTH + 1) == "wait"
    assert plan.decide(known(), requested=True) == "read"
    plan.announcements.registered = False
    assert observed(plan, LENGTH + 1) == "read"
    plan.announcements.registered = True
    time.now_s += 6.0 * plan.timing.rest_factor
    assert observed(plan, LENGTH + 1) == "read"


def test_a_reading_that_does_not_continue_the_log_is_widened_to_the_whole() -> None:
    """8, 64, 512 records, then everything."""
    plan, _ = settled()
    extent = plan.extent(known(), full=False)
    starts = [extent.start]
    while extent.start:
        extent = plan.widen(extent, known(), LENGTH, whole=False)
        starts.append(extent.start)
    widths = [OVERLAP * WIDEN_FACTOR**step for step in range(4)]
    assert starts == [LENGTH - width if width <= SMALL_LOG else 0 for width in widths]
    assert plan.extent(known(), full=False).start == 0
    plan.stored()
    assert plan.extent(known(), full=False) == Extent(LENGTH - OVERLAP, OVERLAP)
    assert plan.extent(known(), full=True).start == 0


def test_a_log_that_can_only_be_read_whole_has_an_interval() -> None:
    """An hour while live events work, else ten minutes; a full reading that is due has none."""
    plan, time = settled()
    plan.next_start = 0
    whole = plan.extent(known(), full=False)
    plan.prepared(1.0, LENGTH, whole, whole=True)
    time.now_s += plan.timing.uncounted_read_s
    assert not plan.may_begin(whole, known(), full=False)
    assert observed(plan, LENGTH + 1) == "wait"
    assert plan.may_begin(whole, known(), full=True)
    plan.announcements.silent = True
    assert plan.may_begin(whole, known(), full=False)
    plan.announcements.silent = False
    time.now_s += plan.timing.whole_read_s
    assert plan.may_begin(whole, known(), full=False)


def test_a_log_that_was_replaced_is_read_at_once() -> None:
    """The pauses were measured with a log that does not exist any more."""
    plan, _ = settled()
    plan.next_start = 0
    plan.prepared(100.0, LENGTH, Extent(LENGTH - OVERLAP, OVERLAP), whole=True)
    plan.may_begin(Extent(0, OVERLAP), known(), full=False)
    assert not plan.may_read()
    plan.observe(Sizes(LENGTH // 2, CAPACITY), known())
    assert plan.may_read()


@pytest.mark.parametrize(
    ("disk", "news", "fits"),
    [
        ("all", 100_000, True),
        ("news", SMALL_READING_MAX, True),
        ("news", SMALL_READING_MAX + 1, False),
        ("none", 1, False),
    ],
)
def test_imports_wait_first_while_the_disk_fills(disk: str, news: int, fits: bool) -> None:
    """A few new punches still fit."""
    plan, _ = settled()
    plan.observe(Sizes(LENGTH + news, 200_000), known())
    assert plan.fits(disk, known()) == fits


def test_a_first_import_waits_on_a_filling_disk() -> None:
    """Its size is that of the whole log."""
    plan, _ = settled()
    plan.observe(Sizes(10, CAPACITY), known(length=0))
    assert not plan.fits("news", known(length=0))


def test_events_that_stop_are_registered_again_ever_more_rarely() -> None:
    """Some terminals never send live events."""
    plan, _ = settled()
    limits = []
    for _ in range(4):
        polls = 0
        while not plan.announcements.register_again():
            plan.announcements.missed()
            polls += 1
        limits.append(polls)
    assert limits == [UNANNOUNCED_POLLS_MAX * 2**step for step in range(4)]
    plan.announcements.received()
    assert plan.announcements.limit == UNANNOUNCED_POLLS_MAX
    assert not plan.announcements.silent


def test_silence_is_reported_once() -> None:
    """The log line is written when the second poll in a row finds unannounced punches."""
    plan, _ = settled()
    assert [plan.announcements.missed() for _ in range(4)] == [False, True, False, False]


@pytest.mark.parametrize(
    ("records", "announced", "interval"),
    [
        (LENGTH + 1, False, "uncounted_read_s"),
        (LENGTH + 1, True, "whole_read_s"),
        (None, False, "whole_read_s"),
    ],
)
def test_a_terminal_that_only_sends_its_whole_log_is_read_at_intervals(
    records: int | None, announced: bool, interval: str
) -> None:
    """Ten minutes with a count, an hour with live events or without a count; a person does not wait."""
    plan, time = settled(records)
    plan.announcements.registered = announced
    state = known()
    plan.prepared(20.0, LENGTH, plan.extent(state, full=False), whole=True, whole_only=True)
    plan.stored()
    plan.finished(complete=True)
    wait_s = getattr(plan.timing, interval)

    def reads() -> bool:
        decided = observed(plan, records) == "read"
        begins = decided and plan.may_begin(plan.extent(state, full=False), state, full=False)
        if decided and not begins:
            plan.finished(complete=False)
        return begins

    assert not reads()
    time.now_s += wait_s - 1
    assert not reads()
    assert plan.decide(state, requested=True) == "read"
    assert plan.may_begin(plan.extent(state, full=True), state, full=True)
    assert not reads()
    time.now_s += 1
    assert reads()


def test_a_short_log_that_is_only_sent_whole_is_read_at_once_and_then_rests() -> None:
    """Ten times as long as the terminal needed for it."""
    plan, time = settled(11, CAPACITY)
    plan.announcements.registered = False
    state = known(length=10)
    plan.prepared(2.0, 10, plan.extent(state, full=False), whole=True, whole_only=True)
    plan.observe(Sizes(11, CAPACITY), state)
    assert plan.decide(state, requested=False) == "wait"
    time.now_s += 20
    assert plan.decide(state, requested=False) == "read"
    assert plan.may_begin(plan.extent(state, full=False), state, full=False)
