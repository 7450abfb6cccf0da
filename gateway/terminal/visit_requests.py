"""Pending requests for a visit. They belong to the terminal: a replacing worker takes them over."""

import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


class VisitPostponed(Exception):  # noqa: N818 - no error
    """The visit took place, but the requested reading was postponed; the text gives the reason."""


@dataclass(slots=True, eq=False)
class VisitRequest:
    """A request for a visit."""

    full: bool
    """The whole log is to be read."""
    done: Future[dict[str, Any] | None] = field(default_factory=Future)


class VisitRequests:
    """The requests for one terminal, in the order they were made. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[VisitRequest] = []
        self._successor: VisitRequests | None = None
        self._closed = False

    def put(self, *, full: bool) -> Future[dict[str, Any] | None]:
        """Add a request and return its result's future; it is cancelled where the terminal is no longer visited."""
        request = VisitRequest(full)
        self.take_over([request])
        return request.done

    def waiting(self) -> list[VisitRequest]:
        """Return the requests that are not answered yet."""
        with self._lock:
            return list(self._waiting)

    def answer(self, requests: list[VisitRequest], reconciliation: dict[str, Any] | None) -> None:
        """Set the result of these requests: the reconciliation for those of a full reading."""
        for request in self._taken(requests):
            with suppress(Exception):  # the requester has cancelled the future
                request.done.set_result(reconciliation if request.full else None)

    def postpone(self, requests: list[VisitRequest], reason: str) -> None:
        """Answer these requests with VisitPostponed."""
        for request in self._taken(requests):
            with suppress(Exception):  # the requester has cancelled the future
                request.done.set_exception(VisitPostponed(reason))

    def hand_over(self, successor: "VisitRequests") -> None:
        """Transfer all waiting and future requests to those of another worker."""
        with self._lock:
            self._successor = successor
            moved, self._waiting = self._waiting, []
        successor.take_over(moved)

    def close(self) -> None:
        """Cancel all waiting and future requests: the terminal is no longer visited."""
        with self._lock:
            self._closed = True
            left, self._waiting = self._waiting, []
        for request in left:
            request.done.cancel()

    def take_over(self, requests: list[VisitRequest]) -> None:
        """Add requests transferred from another worker."""
        with self._lock:
            successor, closed = self._successor, self._closed
            if successor is None and not closed:
                self._waiting += requests
                return
        for request in requests if successor is None else ():
            request.done.cancel()
        if successor is not None:
            successor.take_over(requests)

    def _taken(self, requests: list[VisitRequest]) -> list[VisitRequest]:
        with self._lock:
            taken = [request for request in requests if request in self._waiting]
            self._waiting = [request for request in self._waiting if request not in taken]
        return taken
