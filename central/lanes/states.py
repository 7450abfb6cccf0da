"""The states of a lane at one worker, and what leads from one to another. Pure."""

from enum import Enum


class State(Enum):
    """A lane as one worker has it."""

    IDLE = "idle"
    """Not held here."""
    SERVING = "serving"
    """Held; its inbox runs."""
    STOPPING = "stopping"
    """Held; its inbox has been stopped and has not ended yet."""
    LOST = "lost"
    """Not held any more; its inbox, whose writes are refused now, has not ended yet."""


class Event(Enum):
    """What happens to a lane."""

    TAKEN = "taken"
    GIVEN = "given"
    """The worker gives it back."""
    LOST = "lost"
    """The connection that held its lock is gone."""
    ENDED = "ended"
    """Its inbox has ended."""


_NEXT = {
    (State.IDLE, Event.TAKEN): State.SERVING,
    (State.IDLE, Event.LOST): State.IDLE,
    (State.SERVING, Event.GIVEN): State.STOPPING,
    (State.SERVING, Event.LOST): State.LOST,
    (State.SERVING, Event.ENDED): State.IDLE,
    (State.STOPPING, Event.GIVEN): State.STOPPING,
    (State.STOPPING, Event.LOST): State.LOST,
    (State.STOPPING, Event.ENDED): State.IDLE,
    (State.LOST, Event.LOST): State.LOST,
    (State.LOST, Event.ENDED): State.IDLE,
}


def following(state: State, event: Event) -> State:
    """Return the state after an event; ValueError where the event cannot happen in that state."""
    try:
        return _NEXT[state, event]
    except KeyError:
        raise ValueError(f"{event.value} in state {state.value}") from None


def unlocks(state: State, event: Event) -> bool:
    """Return whether the lane's lock is to be released: only once nothing runs under it."""
    return event is Event.ENDED and state in (State.SERVING, State.STOPPING)
