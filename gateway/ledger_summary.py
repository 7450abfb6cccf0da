"""Counts, terminals and daily counts of a ledger, and reading them without what the ledger itself imports.

`hadir status` shows these few numbers. SQLAlchemy and pydantic, with which the ledger describes its tables, take more
processor time to import than the whole command may take, so that this module imports sqlite3 only. The ledger's own
reader runs the same statements.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

FILE_NAME = "ledger.db"
SCHEMA = 2
"""Version of the tables, kept in ``PRAGMA user_version``."""
UNDATED = 0
"""The day of a record without a readable date; days are proleptic Gregorian ordinals, from 1."""
ALTERED = -1
"""Used in place of a reason code of the broker: the body does not fit its digest and is never sent."""
CONFIRMED = (
    "(event.sequence <= (SELECT upto FROM delivery) AND coalesce((SELECT last FROM missing "
    "WHERE first <= event.sequence ORDER BY first DESC LIMIT 1), 0) < event.sequence)"
)
"""SQL condition on ``event``: confirmed by a receipt of the centre."""
NUMBERS = (
    "numbers AS (SELECT number FROM terminal WHERE serial = (SELECT serial FROM terminal WHERE number = :terminal))"
)
"""The numbers of all names that the device of a terminal has had, and has: entries with different drivers share it."""

Query = Callable[..., list[Any]]
"""Runs a statement with its named values, and returns its rows."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the ledger's events."""

    sequence: int
    """Number of the newest event."""
    waiting: int
    sent: int
    parked: int
    altered: int
    """Of the parked ones, those whose body does not fit its digest."""
    withheld: int
    unconfirmed: int
    confirmed: int
    """Confirmed by a receipt of the centre."""
    missing: int
    """Listed as missing by a receipt, or of an earlier stream that no receipt will confirm."""
    oldest_waiting_ms: int | None
    last_sent_ms: int | None
    last_confirmed_ms: int | None


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Delivery counts of the records of one day of one terminal."""

    day: date | None
    """By the terminal's clock; None for the records without a readable date."""
    in_log: int | None
    """In the terminal's log at the last reading; None: no record of that day."""
    in_ledger: int
    """Events, without withheld records."""
    withheld: int
    sent: int
    confirmed: int
    """Of those, confirmed by a receipt of the centre."""


def counts(query: Query) -> Counts:
    """Count the events by their delivery state."""

    def number(statement: str) -> Any:
        return query(statement)[0][0]

    sequence = number("SELECT max(sequence) FROM event") or 0
    # Queried every minute: each of these uses a small index, however many events there are.
    waiting = number("SELECT count(*) FROM event WHERE sent_ms IS NULL AND parked IS NULL")
    oldest = query("SELECT recorded_ms FROM event WHERE sent_ms IS NULL AND parked IS NULL ORDER BY sequence LIMIT 1")
    parked = number("SELECT count(*) FROM event WHERE parked IS NOT NULL")
    ((upto, confirmed_ms),) = query("SELECT upto, confirmed_ms FROM delivery")
    missing = number("SELECT coalesce(sum(last - first + 1), 0) FROM missing")
    return Counts(
        sequence=sequence,
        waiting=waiting,
        sent=sequence - waiting - parked,
        parked=parked,
        altered=number(f"SELECT count(*) FROM event WHERE parked IS NOT NULL AND parked = {ALTERED}"),
        withheld=number("SELECT count(*) FROM withheld"),
        unconfirmed=number("SELECT count(*) FROM unconfirmed"),
        confirmed=upto - missing,
        missing=missing,
        oldest_waiting_ms=oldest[0][0] if oldest else None,
        last_sent_ms=number("SELECT last_sent_ms FROM gateway"),
        last_confirmed_ms=confirmed_ms,
    )


def tally(query: Query, terminal: int | None, since: date = date.min) -> list[DayCounts]:
    """Return the delivery counts of each day from ``since`` on; records without a day first.

    ``terminal``: its number in the ledger. Those recorded under another name of the same serial number count too: the
    log holds them.
    """
    # Two conditions: with OR between them the index would be read from the first day on.
    events = (
        f"SELECT day, count(*) AS recorded, count(sent_ms) AS sent, sum({CONFIRMED}) AS confirmed FROM event "
        "WHERE terminal IN numbers AND day {} GROUP BY day"
    )
    rows = query(
        f"WITH {NUMBERS}, events AS ({events.format('>= :since')} UNION ALL {events.format('= :undated')}), "
        "held AS (SELECT day, count(*) AS withheld FROM withheld WHERE terminal IN numbers GROUP BY day), "
        "days AS (SELECT day FROM events UNION SELECT day FROM held "
        "UNION SELECT day FROM log_day WHERE terminal = :terminal) "
        "SELECT day, (SELECT records FROM log_day WHERE terminal = :terminal AND log_day.day = days.day), "
        "coalesce(recorded, 0), coalesce(withheld, 0), coalesce(sent, 0), coalesce(confirmed, 0) FROM days "
        "LEFT JOIN events USING (day) LEFT JOIN held USING (day) "
        "WHERE day >= :since OR day = :undated ORDER BY day",
        terminal=terminal,
        since=since.toordinal(),
        undated=UNDATED,
    )
    return [DayCounts(None if row[0] == UNDATED else date.fromordinal(row[0]), *row[1:]) for row in rows]


def summary(query: Query, days: int, since: date) -> dict[str, Any]:
    """Return, as plain data, ``counts``, ``terminals`` as far as the ledger knows them, and ``tallies`` of each one.

    Tallies are those of the newest ``days`` days, none before ``since``.
    """
    known = query("SELECT number, name, serial, layout, length - shift, last_punch FROM terminal ORDER BY name")
    terminals = {
        name: {
            "state": "unknown",
            "serial": serial,
            "layout": layout,
            "clock": None,
            "records": in_log,
            "capacity": None,
            "last_punch": last_punch,
        }
        for _, name, serial, layout, in_log, last_punch in known
    }
    days = min(days, date.max.toordinal())  # more is no number to SQLite
    tallies = {name: _newest(query, number, days, since) for number, name, *_ in known} if days else {}
    return {"counts": asdict(counts(query)), "terminals": terminals, "tallies": tallies}


def _newest(query: Query, terminal: int, days: int, since: date) -> list[dict[str, Any]]:
    """Return the counts of a terminal's newest days, after those of its records without a readable date, if any."""
    # From each day to the one before by the index: a ledger has years of them.
    before = "SELECT max(day) FROM event WHERE terminal = number AND day < {} AND day > :undated"
    found = query(
        f"WITH RECURSIVE {NUMBERS}, newest(day) AS (SELECT (SELECT max(({before.format(':end')})) FROM numbers) "
        f"UNION ALL SELECT (SELECT max(({before.format('newest.day')})) FROM numbers) FROM newest "
        "WHERE newest.day IS NOT NULL LIMIT :days) SELECT day FROM newest",
        terminal=terminal,
        undated=UNDATED,
        end=date.max.toordinal() + 1,
        days=days,
    )
    first = found[-1][0]
    counted = tally(query, terminal, since if first is None else max(since, date.fromordinal(first)))
    undated, dated = [day for day in counted if day.day is None], [day for day in counted if day.day is not None]
    return [{**asdict(day), "day": day.day and day.day.isoformat()} for day in (*undated, *dated[-days:])]


def read_summary(data_dir: Path, days: int, since: date) -> dict[str, Any] | None:
    """Return the summary of the ledger in a folder, also while a daemon writes it.

    None where anything is in the way of it: :class:`gateway.ledger.LedgerReader` states what, and what to do. That one
    waits for a lock, this function does not.
    """
    path = data_dir / FILE_NAME
    uri = f"file:{quote(str(path))}?mode=ro"
    try:
        if not path.is_file():  # SQLite would wait for a writer of a pipe
            return None
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection:
            ((version,),) = connection.execute("PRAGMA user_version")
            if version != SCHEMA:
                return None
            return summary(lambda statement, **values: list(connection.execute(statement, values)), days, since)
    except (OSError, sqlite3.Error, ValueError, LookupError, OverflowError):
        return None
