import random

import pytest

from central.coverage import GAP_GRACE_S, MAX_RANGES, Coverage


def fresh(assigned: int = 0) -> Coverage:
    """Return the coverage of a stream of which nothing is held."""
    return Coverage(0, assigned, [], 0.0)


def test_events_in_order_are_held_at_once() -> None:
    """Without gaps a receipt needs no patience."""
    coverage = fresh()
    for sequence in (1, 2, 3):
        assert coverage.fill(sequence, 0.0) == (None, ())

    assert coverage.held_range(0.0) == (3, ())


def test_a_gap_is_missing_only_after_it_was_open_for_long_enough() -> None:
    """Before that nothing is said about it, nor about what lies above."""
    coverage = fresh()
    coverage.fill(1, 0.0)
    assert coverage.fill(5, 10.0) == (None, ((2, 4),))

    assert coverage.held_range(10.0 + GAP_GRACE_S - 1) == (1, ())
    assert coverage.held_range(10.0 + GAP_GRACE_S) == (5, ((2, 4),))


def test_what_fills_a_gap_splits_it_and_its_parts_keep_its_age() -> None:
    """Each part is one range, and the last one closes it."""
    coverage = fresh()
    coverage.fill(1, 0.0)
    coverage.fill(5, 0.0)

    assert coverage.fill(3, 29.0) == (2, ((2, 2), (4, 4)))
    assert coverage.held_range(GAP_GRACE_S) == (5, ((2, 2), (4, 4)))
    assert coverage.fill(2, 31.0) == (2, ())
    assert coverage.fill(4, 31.0) == (4, ())
    assert coverage.held_range(31.0) == (5, ())


def test_a_reader_that_joins_late_lacks_the_beginning() -> None:
    """Everything from 1 on counts."""
    coverage = fresh()
    coverage.fill(100, 0.0)

    assert coverage.held_range(0.0) == (0, ())
    assert coverage.held_range(GAP_GRACE_S) == (100, ((1, 99),))


def test_at_most_so_many_ranges_and_a_lower_upto_instead() -> None:
    """What is above the last range that has room is not spoken of."""
    coverage = fresh(assigned=5000)
    for sequence in range(2, 2 * MAX_RANGES + 20, 2):
        coverage.fill(sequence, 0.0)

    upto, missing = coverage.held_range(GAP_GRACE_S)

    assert len(missing) == MAX_RANGES
    assert missing[-1] == (2 * MAX_RANGES - 1, 2 * MAX_RANGES - 1)
    assert upto == 2 * MAX_RANGES


def test_assigned_events_that_do_not_arrive_are_missing() -> None:
    """A broker that dropped the end of a backlog leaves no later event that shows it; info does."""
    coverage = fresh()
    coverage.fill(1, 0.0)
    coverage.set_assigned(10, 0.0)

    assert coverage.held_range(GAP_GRACE_S - 1) == (1, ())
    assert coverage.held_range(GAP_GRACE_S) == (10, ((2, 10),))


def test_a_backlog_that_is_arriving_is_not_requested() -> None:
    """As long as the end grows, the rest is on its way."""
    coverage = fresh(assigned=100)
    for second in range(60):
        coverage.fill(second + 1, float(second))

    assert coverage.held_range(60.0) == (60, ())
    assert coverage.held_range(59.0 + GAP_GRACE_S) == (100, ((61, 100),))


def test_an_older_announcement_changes_nothing() -> None:
    """What a broker retained may be older than what is held."""
    coverage = fresh()
    for sequence in (1, 2, 3):
        coverage.fill(sequence, 0.0)
    coverage.set_assigned(2, 0.0)

    assert coverage.held_range(GAP_GRACE_S) == (3, ())


@pytest.mark.parametrize("seed", range(20))
def test_any_order_leads_to_the_same_gaps(seed: int) -> None:
    """Against a set, which is the definition; and the changes alone, applied to a table, say the same."""
    dice = random.Random(seed)
    order = dice.sample(range(1, 200), dice.randrange(1, 199))
    coverage, table = fresh(), dict[int, int]()

    for sequence in order:
        assert not coverage.holds(sequence)
        closed, opened = coverage.fill(sequence, 0.0)
        if closed is not None:
            del table[closed]
        table.update(opened)

    held = set(order)
    assert {sequence for sequence in range(250) if coverage.holds(sequence)} == held
    upto, missing = coverage.held_range(GAP_GRACE_S)
    assert upto == max(held)
    assert {s for first, last in missing for s in range(first, last + 1)} == set(range(1, upto)) - held
    assert sorted(table.items()) == list(missing)
    again = Coverage(coverage.seen, 0, sorted(table.items()), 0.0)
    assert again.held_range(GAP_GRACE_S) == (upto, missing)
