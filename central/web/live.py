"""Live parts of pages: one look at the database for all who follow, and a bounded number of them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from central.store.engine import StoreError

POLL_S = 0.1
"""How often the database is looked at while anybody follows."""
PAUSE_S = 0.2, 1.0
"""Time between two parts that are sent to one follower: at least, and at most."""
PAUSES = 4.0
"""The pause in times of what the part took to make: readers are busy with one follower a fifth of the time at most."""
QUIET_S = 20.0
"""After this time without a change a part is made all the same, since the login may have ended, and a comment is sent,
so that a broken connection is noticed."""
FOLLOWERS = 320
"""Followers at a time; one address has at most four fifths of the places: an office may have one address."""

Poll = Callable[[int], Awaitable[tuple[int, frozenset[str | None] | None]]]
"""Returns the number of the newest change and whose results have changed since a number; None: anything may have."""


class Follower:
    """One browser that follows a page."""

    def __init__(self) -> None:
        self.units: frozenset[str] | None = None
        """Whose results its page shows; None: any."""
        self.changed = asyncio.Event()

    async def wait(self) -> bool:
        """Wait for a change, or for some time; return whether there was one."""
        try:
            await asyncio.wait_for(self.changed.wait(), QUIET_S)
        except TimeoutError:
            return False
        self.changed.clear()
        return True


class Live:
    """Wakes followers when what they show has changed."""

    def __init__(self, poll: Poll) -> None:
        self._poll = poll
        self._followers: set[Follower] = set()
        self._places: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self.stopping = False

    @contextmanager
    def following(self, address: str) -> Iterator[Follower | None]:
        """Yield a follower, or None where all places are taken."""
        if self.stopping or self._places.total() >= FOLLOWERS or self._places[address] >= FOLLOWERS * 4 // 5:
            yield None
            return
        self._places[address] += 1
        follower = Follower()
        self._followers.add(follower)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            self._places[address] -= 1
            self._places += Counter()  # drops addresses without a place

    def stop(self) -> None:
        """Let all followers end."""
        self.stopping = True
        for follower in self._followers:
            follower.changed.set()

    async def _watch(self) -> None:
        """Look at the database until no browser follows."""
        newest = -1
        while self._followers and not self.stopping:
            try:
                newest, units = await self._poll(newest)
            except StoreError:
                units = None  # each follower finds out by itself
                await asyncio.sleep(PAUSE_S[1])
            for follower in self._followers:
                if units is None or (units and (follower.units is None or follower.units & units)):
                    follower.changed.set()
            await asyncio.sleep(POLL_S)


def pause_after(took_s: float) -> float:
    """Return how long a follower waits for the next part, by how long this one took to make.

    Where many follow, parts wait for a reader and take long: each follower then gets fewer.
    """
    return min(PAUSE_S[1], max(PAUSE_S[0], PAUSES * took_s))


class Made(NamedTuple):
    """A live part, as HTML."""

    heads: str
    """As of when it is and how old its data are, which stand above it."""
    body: str


async def parts(live: Live, follower: Follower, make: Callable[[], Awaitable[Made | None]]) -> AsyncIterator[str]:
    """Yield the events of a feed: the part as it is now and whenever it is another one; a last one where it ends.

    An event is HTML as JSON: the heads and the body, or the heads alone where the body is what was sent before.
    ``make`` returns None where the viewer sees the part no more, and raises StoreError while the database cannot be
    used. Whether a part is sent or not, the next one is made after a pause.
    """
    yield "retry: 3000\n\n"
    sent = Made("", "")
    while not live.stopping:
        begun = time.monotonic()
        try:
            part = await make()
        except StoreError:
            yield ": the database cannot be used\n\n"
        else:
            if part is None:
                yield "event: ended\ndata: -\n\n"
                return
            if part != sent:
                yield f"data: {json.dumps(part.heads if part.body == sent.body else part.heads + part.body)}\n\n"
                sent = part
            await asyncio.sleep(pause_after(time.monotonic() - begun))
        if not await follower.wait():
            yield ": still here\n\n"
