"""What several conversations use is made once, closed once, and replaced when it is lost."""

import threading
from contextlib import ExitStack

import pytest

from drivers.shared import shared


class Port:
    """Something that can be opened once at a time."""

    opened = 0

    def __init__(self) -> None:
        assert Port.opened == 0, "two are open"
        Port.opened += 1
        self.is_over = False
        self.closed = 0

    def lose(self) -> None:
        """Pull the plug: others may open it now."""
        self.is_over = True
        Port.opened -= 1

    def close(self) -> None:
        """Close it."""
        self.closed += 1
        if not self.is_over:
            Port.opened -= 1
        self.is_over = True


class Closing:
    """Something of which there may be many."""

    is_over = False

    def close(self) -> None:
        """Do nothing."""


def test_the_last_user_closes_it() -> None:
    """Not the first to leave."""
    with shared("place", Port) as first:
        with shared("place", Port) as second:
            assert first is second
        assert first.closed == 0
    assert first.closed == 1
    with shared("place", Port) as third:
        assert third is not first


def test_places_are_apart() -> None:
    """Each has its own object, and so has each kind of thing at one place."""
    with shared(("a", "place"), Closing) as first, shared(("b", "place"), Closing) as second:
        assert first is not second


def test_a_lost_one_gets_no_new_users() -> None:
    """Those that still hold it leave it when they notice; the new one is not closed by them."""
    with ExitStack() as later:
        with shared("place", Port) as lost:
            lost.lose()
            found = later.enter_context(shared("place", Port))
            assert found is not lost
            assert later.enter_context(shared("place", Port)) is found
        assert (lost.closed, found.closed) == (1, 0)
    assert (lost.closed, found.closed) == (1, 1)


def test_one_that_cannot_be_made_leaves_nothing_behind() -> None:
    """The next user makes it."""

    def failing() -> Port:
        raise OSError("no such port")

    with pytest.raises(OSError, match="no such port"), shared("place", failing):
        pass
    with shared("place", Port) as port:
        assert port.closed == 0


def test_many_users_at_once() -> None:
    """Never are two open, and none is closed while it is used."""
    failures: list[str] = []

    def use() -> None:
        for _ in range(300):
            with shared("place", Port) as port:
                if port.closed:
                    failures.append("closed")

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Port.opened == 0
