"""Punches by month of their local time, on PostgreSQL: partitions made ahead, listed, and detached for the archive.

The key of the table is ``(id, local_time)``. The id is made from the local time, so it stays unique without an index
over all months. A punch of a month without a partition goes to the default partition, :data:`OTHER`, and is moved when
its month gets one. Only months near the present get one: a clock that counts through a century makes none. SQLite
keeps all punches in one table, and every function here finds nothing to do there.

An archived month leaves the table of punches as a table of its own, named in :func:`archived_name`. Its days are then
settled as after a deletion, see :mod:`central.store.retention`: nothing judges them again.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, exists, func, select, text
from sqlalchemy.exc import DBAPIError

from central.store import deleting, retention
from central.store.bulk import serialize
from central.store.closings import CLOSED
from central.store.deleting import Unsettled
from central.store.portable import is_postgresql
from central.store.results import RESULT
from central.store.retention import settled_until

OTHER = "punch_other"
"""The default partition: punches of months without a partition of their own."""
AHEAD, BACK = 3, 60
"""Months after and before the present one that get a partition: the first at once, the others for their first punch."""
LOCK_WAIT = "3s"
"""How long a change of partitions waits for transactions that use the default one; it is tried again later."""


class Busy(Exception):  # noqa: N818 - named by what is the matter
    """Other transactions use the partitions; nothing was changed."""


class Month(NamedTuple):
    """A partition of punches."""

    name: str
    """Of its table."""
    month: str
    """``YYYY-MM``; empty: the default partition."""
    rows: int
    """By the statistics of the database; exact for the default partition."""
    size: int
    """Bytes, with indexes."""


class Obstacles(NamedTuple):
    """What speaks against detaching months."""

    holds: tuple[int, ...]
    """Numbers of holds in force."""
    unsettled: Unsettled
    not_closed: int
    """Days with a verdict that no closed period holds."""

    @property
    def any(self) -> bool:
        """Return whether anything does."""
        return bool(self.holds or any(self.unsettled) or self.not_closed)


def is_partitioned(connection: Connection) -> bool:
    """Return whether the database keeps punches by month."""
    return is_postgresql(connection)


def month_of(on: date, after: int = 0) -> str:
    """Return the month (YYYY-MM) so many months after that of a date, within the calendar."""
    number = min(max(on.year * 12 + on.month - 1 + after, 12), 9999 * 12 + 11)
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def name_of(month: str) -> str:
    """Return the name of a month's partition."""
    return f"punch_{month.replace('-', '_')}"


def archived_name(month: str) -> str:
    """Return the name of the table of a month that was detached."""
    return f"{name_of(month)}_archived"


def months(connection: Connection) -> list[Month]:
    """Return the partitions in order of their months, the default one at the end."""
    if not is_partitioned(connection):
        return []
    found = [
        Month(name, "" if name == OTHER else name.removeprefix("punch_").replace("_", "-"), max(int(rows), 0), size)
        for name, rows, size in connection.execute(_PARTITIONS)
    ]
    others = sum(outside(connection).values())
    return [one if one.month else one._replace(rows=others) for one in sorted(found, key=_order)]


def outside(connection: Connection) -> Mapping[str, int]:
    """Return how many punches the default partition holds, by month."""
    if not is_partitioned(connection):
        return {}
    return {row.month: row.punches for row in connection.execute(_OUTSIDE)}


def missing(connection: Connection, today: date, ahead: int = AHEAD, expected: Iterable[str] = ()) -> list[str]:
    """Return the months that should have a partition and have none.

    They are this month, those ahead of it, and those of punches in the default partition or ``expected``, within
    :data:`BACK` months and not archived.
    """
    if not is_partitioned(connection):
        return []
    there = {name for name, *_ in connection.execute(_PARTITIONS)}
    wanted = {month_of(today, after) for after in range(ahead + 1)}
    earliest, latest = month_of(today, -BACK), max(wanted)
    gone = max(retention.archived_months(connection), default="")
    wanted |= {month for month in (*outside(connection), *expected) if earliest <= month <= latest}
    return sorted(month for month in wanted if name_of(month) not in there and month > gone)


def make(connection: Connection, today: date, ahead: int = AHEAD, expected: Iterable[str] = ()) -> list[str]:
    """Make the partitions that :func:`missing` names, with their punches; return their months.

    In the caller's transaction. Raises Busy where the default partition is in use for longer than :data:`LOCK_WAIT`;
    the transaction can only be rolled back then, and punches go to the default partition meanwhile.
    """
    expected = tuple(expected)
    if not missing(connection, today, ahead, expected):
        return []
    try:
        _begin_change(connection)
        wanted = missing(connection, today, ahead, expected)  # another process may have made them meanwhile
        for month in wanted:
            _make(connection, month)
    except DBAPIError as error:
        raise _busy(error) from error
    return wanted


def checked_month(written: str) -> str:
    """Return a month (YYYY-MM); raises ValueError for other text."""
    if date.fromisoformat(f"{written}-01").isoformat() != f"{written}-01":
        raise ValueError(written)
    return written


def detachable(connection: Connection, before: str) -> list[Month]:
    """Return the partitions of months before a month."""
    return [one for one in months(connection) if one.month and one.month < before]


def obstacles(connection: Connection, before: str, margin: timedelta) -> Obstacles:
    """Return what speaks against detaching the months before a month.

    The days until ``margin`` after them are settled by it: they must be decided, and be of closed periods.
    """
    until = settled_by(before, margin)
    already = settled_until(connection)
    days = [RESULT.c.date <= until.isoformat()]
    if already is not None:
        days.append(RESULT.c.date > already.isoformat())
    closed = exists().where(
        CLOSED.c.person == RESULT.c.person, CLOSED.c.first <= RESULT.c.date, CLOSED.c.last >= RESULT.c.date
    )
    # A day that is no longer planned, or was never the person's, is in no period: its last revision has no unit.
    later = RESULT.alias("later")
    newest = ~exists().where(
        later.c.person == RESULT.c.person, later.c.date == RESULT.c.date, later.c.revision > RESULT.c.revision
    )
    open_days = select(func.count()).where(*days, newest, RESULT.c.status != "none", ~closed)
    return Obstacles(
        tuple(one.number for one in retention.holds(connection) if one.lifted is None),
        deleting.unsettled(connection, until),
        connection.execute(open_days).scalar_one(),
    )


def settled_by(before: str, margin: timedelta) -> date:
    """Return the last date that is not judged again once the months before a month are detached."""
    return date.fromisoformat(f"{before}-01") - timedelta(days=1) + margin


def detach(connection: Connection, before: str, margin: timedelta, *, at: str, by: str, paper: str) -> list[Month]:
    """Detach the months before a month, put each on record, and settle their days; return them, rows counted exactly.

    In the caller's transaction, after :func:`obstacles` found nothing. Raises Busy as :func:`make` does.
    """
    try:
        _begin_change(connection)
        found = []
        for one in detachable(connection, before):
            connection.execute(text(f'ALTER TABLE punch DETACH PARTITION "{one.name}"'))
            its_name = archived_name(one.month)
            connection.execute(text(f'ALTER TABLE "{one.name}" RENAME TO "{its_name}"'))
            rows, digest = _digest(connection, its_name)
            settled = settled_by(before, margin)
            content = {
                "kind": retention.ARCHIVE,
                "until": (date.fromisoformat(f"{month_of(_first(one.month), 1)}-01") - timedelta(days=1)).isoformat(),
                "rows": rows,
                "digest": digest,
                "source": its_name,
                "settled": settled.isoformat(),
            }
            retention.add(connection, at, retention.DELETION, content, by, paper)
            deleting.settle(connection, settled)
            found.append(one._replace(name=its_name, rows=rows))
    except DBAPIError as error:
        raise _busy(error) from error
    return found


def _first(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def _order(one: Month) -> tuple[bool, str]:
    return not one.month, one.month


def _begin_change(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    serialize(connection, "partitions")


def _make(connection: Connection, month: str) -> None:
    """Make a month's partition and move its punches there, before it is attached: the default one may hold none then.

    Both locks are taken first: a punch that arrives meanwhile waits, and finds the new partition.
    """
    begin, end = month, month_of(_first(month), 1)
    name = name_of(month)
    connection.execute(text(f'LOCK TABLE "{OTHER}" IN ACCESS EXCLUSIVE MODE'))
    connection.execute(text(f'CREATE TABLE "{name}" (LIKE punch INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'))
    connection.execute(
        text(
            f'WITH moved AS (DELETE FROM "{OTHER}" WHERE local_time >= :begin AND local_time < :end RETURNING *) '  # noqa: S608 - names of our tables
            f'INSERT INTO "{name}" SELECT * FROM moved'
        ),
        {"begin": begin, "end": end},
    )
    connection.execute(text(f"ALTER TABLE punch ATTACH PARTITION \"{name}\" FOR VALUES FROM ('{begin}') TO ('{end}')"))


def _digest(connection: Connection, name: str) -> tuple[int, str]:
    """Return the number of rows of a table of punches, and the SHA-256 of ``id event`` of each, in order of the ids."""
    digest, count = sha256(), 0
    statement = text(f'SELECT id, event FROM "{name}" ORDER BY id')  # noqa: S608 - a name of our table
    for identity, event in connection.execute(statement, execution_options={"yield_per": 10_000}):
        digest.update(f"{identity} {event}\n".encode())
        count += 1
    return count, digest.hexdigest()


def _busy(error: DBAPIError) -> Exception:
    return Busy() if getattr(error.orig, "sqlstate", None) in _WAITED else error


_WAITED = ("55P03", "40P01")
"""A lock that was not had in time, and a deadlock."""
_PARTITIONS = text(
    "SELECT child.relname, child.reltuples, pg_total_relation_size(child.oid) FROM pg_inherits "
    "JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = to_regclass('punch') ORDER BY 1"
)
_OUTSIDE = text(f"SELECT substr(local_time, 1, 7) AS month, count(*) AS punches FROM {OTHER} GROUP BY 1 ORDER BY 1")  # noqa: S608 - a name of our table
