"""Back-off."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.pause import Pause


@given(st.integers(min_value=1, max_value=10**6))
def test_pause_is_bounded(failures: int) -> None:
    """However many failures, the pause stays within half the first and one and a half times the longest."""
    assert 1.0 <= Pause(2.0, 60.0).after(failures) <= 90.0


def test_pause_doubles_and_is_never_the_same_for_all() -> None:
    """The middle of the pauses doubles from failure to failure; a hundred gateways do not return together."""
    pause = Pause(1.0, 1000.0)
    means = [sum(pause.after(failures) for _ in range(400)) / 400 for failures in (1, 2, 3)]

    assert 1.6 < means[1] / means[0] < 2.5
    assert 1.6 < means[2] / means[1] < 2.5
    assert len({pause.after(5) for _ in range(100)}) > 90
