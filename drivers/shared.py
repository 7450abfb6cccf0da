"""Objects that several conversations use at the same time, such as a serial port with several terminals on it.

A port or a listening socket can be opened only once. Its first user makes the object, further ones use the same, and
the last one closes it. An object that is over, such as a port whose adapter was pulled out, gets no further users: the
next one makes another, so that no conversation continues on it.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar


class Shareable(Protocol):
    """An object that can be shared."""

    @property
    def is_over(self) -> bool:
        """Whether it is lost or closed for good."""

    def close(self) -> None:
        """Release it; called once, after its last user."""


T = TypeVar("T", bound=Shareable)


class _Use:
    def __init__(self, shared_object: Any) -> None:
        self.shared_object = shared_object
        self.users = 0


_uses: dict[Hashable, _Use] = {}
_lock = threading.Lock()


@contextmanager
def shared(place: Hashable, make: Callable[[], T]) -> Iterator[T]:
    """Use the object at ``place`` together with its other users; ``make`` returns it where there is none.

    ``make`` must return at once: opening, which may take long, is a method of the object. ``place`` names the kind of
    the object too, since all drivers share one table.
    """
    with _lock:
        use = _uses.get(place)
        if use is None or use.shared_object.is_over:
            use = _uses[place] = _Use(make())
        use.users += 1
    try:
        yield use.shared_object
    finally:
        # Closed before the lock is released: what is shared can be opened only once at a time.
        with _lock:
            use.users -= 1
            if not use.users:
                if _uses.get(place) is use:
                    del _uses[place]
                use.shared_object.close()
