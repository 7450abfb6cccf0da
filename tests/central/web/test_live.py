"""Live parts: how often one browser gets one."""

import asyncio
from itertools import count

import pytest

from central.web import live
from central.web.live import Follower, Live, Made, parts, pause_after


@pytest.mark.parametrize(
    ("took_s", "pause_s"),
    [(0.0, 0.2), (0.05, 0.2), (0.1, 0.4), (0.25, 1.0), (60.0, 1.0)],
)
def test_a_part_that_takes_long_is_sent_less_often(took_s: float, pause_s: float) -> None:
    """A quick one waits a fifth of a second, none waits longer than one."""
    assert pause_after(took_s) == pytest.approx(pause_s)


def test_what_changes_during_the_pause_is_sent_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No change is lost: one part shows all that came meanwhile, and the pause follows each part."""
    pauses, number = list[float](), count()

    async def follow() -> list[str]:
        found: list[str] = []
        follower = Follower()

        async def pause(wait_s: float) -> None:
            pauses.append(wait_s)
            follower.changed.set()  # twice during the pause is once
            follower.changed.set()

        async def make() -> Made:
            return Made("", str(next(number) // 2))  # each body twice: the second one is not sent

        monkeypatch.setattr(asyncio, "sleep", pause)
        async for event in parts(Live(unused), follower, make):
            found.append(event)
            if len(found) == 4:
                break
        return found

    assert asyncio.run(follow()) == ["retry: 3000\n\n", 'data: "0"\n\n', 'data: "1"\n\n', 'data: "2"\n\n']
    assert len(pauses) == 4, "a part that is not sent has cost as much"
    assert all(live.PAUSE_S[0] <= one <= live.PAUSE_S[1] for one in pauses)


async def unused(newest: int) -> tuple[int, None]:
    """Stand in for a look at the database, which no part needs."""
    return newest, None
