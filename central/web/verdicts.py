"""Stored verdicts as pages read them: one statement for all people and dates, and each revision is read once."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from central.json_text import load_json
from central.reports.days import status_of, verdict_of
from central.results.periods import PersonPeriod
from central.store import outcomes, results
from central.texts import Language
from central.timesheet.outcome import Standing, standing_of
from central.words import meaning_of

STANDINGS, ENTRIES = 100_000, 12_000
"""Revisions that are kept, about 1 kB each; those used longest ago are dropped first."""
PERIODS = 20_000
TIMED = 64
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Key = tuple[str, date, int]
"""Person, date and revision: what is stored under it never changes."""


class Entry(NamedTuple):
    """A verdict with its words."""

    standing: Standing
    words: Mapping[Language, tuple[str, str]]
    """What it comes to, and its status with why it is provisional."""


class Verdicts:
    """Reads verdicts of one database, and keeps what was read."""

    def __init__(self) -> None:
        self._standings = _Kept(outcomes.standings, STANDINGS)
        self._entries = _Kept(_entries, ENTRIES)
        self.periods: Remembered[PersonPeriod | None] = Remembered(PERIODS)
        """What periods come to, by all that they depend on."""
        self._timed: OrderedDict[Hashable, tuple[float, threading.Lock, list[Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def standings(
        self, connection: Connection, people: Iterable[str], first: date, last: date
    ) -> dict[tuple[str, date], Standing]:
        """Return what the last verdicts on the dates of people come to, where there are any."""
        found = self._standings.get(connection, results.last_numbers(connection, people, first, last))
        return {(person, on): standing for (person, on, _), standing in found.items()}

    def entries(
        self, connection: Connection, people: Iterable[str], first: date, last: date
    ) -> dict[tuple[str, date], tuple[int, Entry]]:
        """Return revision and verdict on each of the dates of people, where there is one."""
        found = self._entries.get(connection, results.last_numbers(connection, people, first, last))
        return {(person, on): (revision, entry) for (person, on, revision), entry in found.items()}

    def timed(self, key: Hashable, for_s: float, make: Callable[[], T]) -> T:
        """Return what was made under a key at most so long ago, or make it, once for all who wait."""
        with self._lock:
            kept = self._timed.get(key)
            if kept is None or time.monotonic() - kept[0] > for_s:
                kept = self._timed[key] = time.monotonic(), threading.Lock(), []
            self._timed.move_to_end(key)
            while len(self._timed) > TIMED:
                self._timed.popitem(last=False)
        _, lock, made = kept
        with lock:
            if not made:
                made.append(make())
            found: T = made[0]
            return found


class Remembered(Generic[T]):
    """Values by key, as many as fit; those used longest ago are dropped first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Iterable[K]) -> dict[K, T]:
        """Return the values of those keys that are known."""
        found: dict[K, T] = {}
        with self._lock:
            for key in keys:
                if key in self._found:
                    found[key] = self._found[key]
                    self._found.move_to_end(key)
        return found

    def keep(self, values: Mapping[K, T]) -> None:
        """Keep values."""
        with self._lock:
            for key, value in values.items():
                self._found[key] = value
            while len(self._found) > self._most:
                self._found.popitem(last=False)


class _Kept(Generic[T]):
    """What was read of revisions, each once."""

    def __init__(self, read: Callable[[Connection, Sequence[Key]], Mapping[Key, T]], most: int) -> None:
        self._read = read
        self._known: Remembered[T] = Remembered(most)

    def get(self, connection: Connection, keys: Iterable[Key]) -> dict[Key, T]:
        """Return what the revisions come to; those that are not known yet are read together."""
        wanted = list(keys)
        found = self._known.get(wanted)
        new = self._read(connection, [key for key in wanted if key not in found])
        self._known.keep(new)
        return {**found, **new}


def _entries(connection: Connection, keys: Sequence[Key]) -> dict[Key, Entry]:
    numbers = {(person, on): revision for person, on, revision in keys}
    return {
        (*day, numbers[day]): entry_of(load_json(content))
        for day, content in results.contents(connection, keys).items()
    }


def entry_of(content: Mapping[str, Any]) -> Entry:
    """Return a stored verdict, as JSON, with its words."""
    standing = standing_of(content)
    if standing.status == "none":
        return Entry(standing, dict.fromkeys(Language, ("", "")))
    words = {
        language: ("; ".join(verdict_of(content, language, meaning_of)), status_of(content, language))
        for language in Language
    }
    return Entry(standing, words)


_OF_ENGINES: WeakKeyDictionary[Engine, Verdicts] = WeakKeyDictionary()
_LOCK = threading.Lock()


def verdicts_of(connection: Connection) -> Verdicts:
    """Return what is kept of a connection's database; a file that is opened anew begins with nothing."""
    with _LOCK:
        return _OF_ENGINES.setdefault(connection.engine, Verdicts())
