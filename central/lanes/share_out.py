"""How workers share the lanes: none holds two more than another for long. Pure."""

from collections.abc import Mapping, Sequence
from enum import Enum

PATIENCE_S = 1.5
"""A lane that has been free for so long is taken by any worker; before, by those that hold the fewest."""


class Step(Enum):
    """What a worker does next."""

    TAKE = "take"
    GIVE = "give"
    STAY = "stay"


def next_step(me: int, held: Mapping[int, int], free: Sequence[int], waited_s: float) -> Step:
    """Return whether a worker takes a free lane, gives one back, or keeps what it holds.

    ``held``: how many lanes each live worker holds, this one included. ``waited_s``: for how long a lane has been free.
    No worker gives while a lane is free, and no more give at once than the one with the fewest lacks.
    """
    least = min(held.values())
    if free:
        return Step.TAKE if held[me] == least or waited_s >= PATIENCE_S else Step.STAY
    most_first = sorted(held, key=lambda worker: (-held[worker], worker))
    lacking = max(1, sum(held.values()) // len(held) - least)
    giving = [worker for worker in most_first if held[worker] - least > 1][:lacking]
    return Step.GIVE if me in giving else Step.STAY
