"""A ledger whose disk is full for some of its commits, as the database reports it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import OperationalError

from gateway.ledger import Ledger, space


class FullDisk:
    """Fills the disk under a ledger: at a chosen commit, or now, until it is emptied or so many commits have failed."""

    def __init__(self, ledger: Ledger) -> None:
        self.commits = 0
        """Transactions that recorded something, or were to."""
        self.refused = 0
        self._ledger = ledger
        self._first: int | None = None
        self._width: int | None = None
        self._transact: Callable[..., Any] = ledger._writer._transact
        ledger._writer._transact = self._attempt  # type: ignore[method-assign, assignment]

    def fill(self, at: int | None = None, commits: int | None = None) -> None:
        """Be full from commit number ``at`` (the next, if None) on, for so many commits (None: until emptied)."""
        self._first, self._width = self.commits + 1 if at is None else at, commits

    def empty(self) -> None:
        """Have room again."""
        self._first = None

    @property
    def is_full(self) -> bool:
        """Whether the next commit fails."""
        if self._first is None or self.commits + 1 < self._first:
            return False
        return self._width is None or self.refused < self._width

    def _attempt(self, connection: Any, jobs: list[Any], *rest: Any) -> Any:
        if self.is_full:
            self.refused += 1
            return self._transact(_Uncommitted(connection), jobs, *rest)
        if jobs:
            self.commits += 1
        return self._transact(connection, jobs, *rest)


class _Uncommitted:
    """A connection that finds no room at its commit: everything was done, and nothing of it lasts."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def exec_driver_sql(self, statement: str, *rest: Any) -> Any:
        if statement != "COMMIT":
            return self._connection.exec_driver_sql(statement, *rest)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise OperationalError(statement, {}, error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@contextmanager
def impatient() -> Iterator[None]:
    """Let the ledger look at the disk at once instead of every few seconds."""
    before, space.CHECK_S = space.CHECK_S, 0.0
    try:
        yield
    finally:
        space.CHECK_S = before
