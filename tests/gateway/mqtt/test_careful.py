"""What a session that died teaches the next one, and how much may be in flight."""

import pytest

from gateway.mqtt.careful import PACKET_MAX, Careful, Pacing


def test_events_in_flight_at_the_end_go_one_message_at_a_time() -> None:
    """Until the first event behind them; a session that ended with nothing in flight teaches nothing."""
    careful = Careful(3600.0)
    careful.session_ended({3, 5, 4})
    careful.reconnected(10.0)
    uptos = []
    for sequence in (3, 4, 5, 6):
        careful.considered(sequence)
        uptos.append(careful.upto)
    assert uptos == [5, 5, 5, 0]
    careful.session_ended({8})
    careful.session_ended(())
    assert careful.upto == 0


@pytest.mark.parametrize(
    ("size", "events", "array_max", "event_max"),
    [(1000, 20, 500, PACKET_MAX), (1001, 2, 500, PACKET_MAX), (1000, 1, 999, 999)],
)
def test_a_size_that_ended_a_connection_is_not_sent_again(
    size: int, events: int, array_max: int, event_max: int
) -> None:
    """Arrays are halved; what is too large as one event is too large as an array."""
    careful = Careful(3600.0)
    careful.too_large(size, events, 0.0)
    careful.reconnected(3599.0)
    assert (careful.array_max, careful.event_max) == (array_max, event_max)
    careful.reconnected(3600.0)
    assert (careful.array_max, careful.event_max) == (PACKET_MAX, PACKET_MAX)


@pytest.mark.parametrize(
    ("times_s", "limit"),
    [([0.1], 150), ([0.1] * 20, 400), ([2.0] * 5, 100), ([3.0], 50), ([9.0] * 20, 1), ([3.0, 1.0], 100)],
    ids=["quick", "very quick", "neither", "slow", "very slow", "both"],
)
def test_the_limit_follows_the_acknowledgements(times_s: list[float], limit: int) -> None:
    """A quick one adds its size, a slow one halves; between an upper limit and one byte."""
    pacing = Pacing(100, 400, 1.0, 3.0)
    for took_s in times_s:
        pacing.accepted(50, took_s)
    assert pacing.limit == limit


def test_one_message_may_always_be_sent() -> None:
    """However small the limit is; the next one waits for its answer."""
    pacing = Pacing(1, 1, 1.0, 3.0)
    assert pacing.has_room
    pacing.sent(10_000)
    assert not pacing.has_room
    pacing.answered(10_000)
    assert pacing.has_room
