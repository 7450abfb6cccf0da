from itertools import product

import pytest

from central.lanes.states import Event, State, following, unlocks


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ("", State.IDLE),
        ("taken", State.SERVING),
        ("taken given", State.STOPPING),
        ("taken given ended", State.IDLE),
        ("taken lost", State.LOST),
        ("taken given lost", State.LOST),
        ("taken lost ended taken", State.SERVING),
        ("taken ended", State.IDLE),
    ],
)
def test_a_lane_at_a_worker(events: str, state: State) -> None:
    """What happens one after the other, and where that leads."""
    now = State.IDLE
    for event in events.split():
        now = following(now, Event(event))
    assert now is state


def test_a_lane_is_taken_again_only_once_its_inbox_has_ended() -> None:
    """Two inboxes of one client id in one process would end each other's connections."""
    for state in (State.SERVING, State.STOPPING, State.LOST):
        with pytest.raises(ValueError, match="taken in state"):
            following(state, Event.TAKEN)


def test_a_lock_is_released_once_and_only_when_nothing_runs_under_it() -> None:
    """One that was lost may be another worker's already."""
    releasing = {(state, event) for state, event in product(State, Event) if unlocks(state, event)}

    assert releasing == {(State.SERVING, Event.ENDED), (State.STOPPING, Event.ENDED)}
