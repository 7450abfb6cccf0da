from hypothesis import given
from hypothesis import strategies as st

from central.lanes.share_out import PATIENCE_S, Step, next_step


def test_the_worker_with_the_fewest_takes_first() -> None:
    """Others wait a little; after that any worker takes a lane, for it must not stay free."""
    held = {1: 2, 2: 1}

    assert next_step(2, held, [4], 0.0) is Step.TAKE
    assert next_step(1, held, [4], 0.0) is Step.STAY
    assert next_step(1, held, [4], PATIENCE_S) is Step.TAKE


def test_a_worker_that_comes_gets_its_part() -> None:
    """Those that hold the most give, no more at once than it lacks, and none while a lane is free."""
    held = {1: 3, 2: 2, 3: 0}

    assert [next_step(me, held, [], 0.0) for me in held] == [Step.GIVE, Step.STAY, Step.STAY]
    assert next_step(1, held, [1], 0.0) is Step.STAY
    assert next_step(1, {1: 2, 2: 1}, [], 99.0) is Step.STAY


@given(st.lists(st.integers(0, 9), min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_whatever_the_workers_hold_they_come_to_equal_parts_and_stay_there(counts: list[int], random: object) -> None:
    """In rounds in which all decide on what they see at once; of two that take one lane, the lock lets one have it."""
    held = dict(enumerate(counts))
    free = 0
    for _round in range(100):
        steps = {me: next_step(me, held, range(free), 0.0) for me in held}
        before = dict(held), free
        takers = [me for me, step in steps.items() if step is Step.TAKE]
        random.shuffle(takers)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
        for me in takers[:free]:
            held[me], free = held[me] + 1, free - 1
        for me, step in steps.items():
            if step is Step.GIVE:
                held[me], free = held[me] - 1, free + 1
        if (held, free) == before:
            break
    assert free == 0
    assert max(held.values()) - min(held.values()) <= 1
    assert sum(held.values()) == sum(counts)
