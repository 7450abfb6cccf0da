"""Messages about results that wait for the broker: one row each, written with the revision, deleted after the PUBACK.

A row names what its message is about; the content is read when it is sent: that of a day never changes, and that of a
unit's summary is the newest. So of a summary the row with the highest number counts, for each unit and date; those
before it go with it, or, in a file, at once. On a server several transactions add rows: each waits for its turn, so
that a higher number never becomes visible before a lower one, and none deletes what another one may delete.
"""

from collections.abc import Collection, Iterable
from datetime import date
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, Index, delete, exists, func, or_, select, update
from sqlmodel import Field

from central.store.engine import KEY, Row, among, chunks, insert_many, table
from central.store.portable import is_postgresql, wait_for_turn
from central.store.turns import RESULTS

PAIRS = 5_000
"""Pairs of keys in one statement."""


class OutboxRow(Row, table=True):
    """A message that the broker has not acknowledged."""

    __tablename__: ClassVar[Any] = "outbox"
    __table_args__: ClassVar[Any] = (Index("outbox_unit", "unit", "date", "person"), {"sqlite_autoincrement": True})
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    """Never given twice."""
    unit: str
    """Empty: none."""
    date: str
    person: str
    """Empty: the summary of the unit."""
    revision: int
    """0 of a summary, and of what a closing says."""
    closing: int | None = Field(default=None, sa_type=BigInteger)
    """The closing that this is about: the closed period of the unit, or of the person the adjustment."""
    refused: str | None = None
    """Why the message is set aside; null while it waits."""


OUTBOX = table(OutboxRow)


class Waiting(NamedTuple):
    """A message that waits."""

    id: int
    unit: str
    date: date
    person: str
    revision: int
    closing: int | None = None


def add(
    connection: Connection,
    days: Iterable[tuple[str | None, date, str, int]],
    summaries: Collection[tuple[str | None, date]],
) -> None:
    """Let messages about revisions (unit, date, person, revision) and about units' dates wait for the broker.

    The rest of the caller's transaction should be short: others wait for their turn until it ends.
    """
    wait_for_turn(connection, RESULTS)
    pairs = sorted({(unit or "", on.isoformat()) for unit, on in summaries})
    for part in chunks(pairs, PAIRS) if not is_postgresql(connection) else ():
        newer = OUTBOX.c.person == "", OUTBOX.c.closing.is_(None), among((OUTBOX.c.unit, OUTBOX.c.date), part)
        connection.execute(delete(OUTBOX).where(*newer))
    rows = [(unit or "", on.isoformat(), person, revision) for unit, on, person, revision in days]
    rows += [(unit, on, "", 0) for unit, on in pairs]
    if rows:
        insert_many(connection, OUTBOX, ("unit", "date", "person", "revision"), rows)


def add_closing(
    connection: Connection,
    number: int,
    closed: tuple[str, date],
    adjusted: Iterable[tuple[str | None, date, str]],
) -> None:
    """Let the messages about a closing (unit, first date) and its adjustments (unit, first date, person) wait."""
    unit, first = closed
    rows = [(unit, first.isoformat(), "", 0, number)]
    rows += [(of or "", on.isoformat(), person, 0, number) for of, on, person in adjusted]
    insert_many(connection, OUTBOX, ("unit", "date", "person", "revision", "closing"), rows)


def take(connection: Connection, limit: int, sent: Collection[int], held: Collection[str]) -> list[Waiting]:
    """Return the oldest messages that wait, but those that were sent already, and those of units that are held.

    Of summaries of one unit and date only the newest.
    """
    later = OUTBOX.alias("later")
    newer = exists().where(
        later.c.unit == OUTBOX.c.unit,
        later.c.date == OUTBOX.c.date,
        later.c.person == "",
        later.c.closing.is_(None),
        later.c.id > OUTBOX.c.id,
    )
    query = (
        select(OUTBOX.c.id, OUTBOX.c.unit, OUTBOX.c.date, OUTBOX.c.person, OUTBOX.c.revision, OUTBOX.c.closing)
        .where(OUTBOX.c.refused.is_(None), OUTBOX.c.id.not_in(sent), OUTBOX.c.unit.not_in(held))
        .where(or_(OUTBOX.c.person != "", OUTBOX.c.closing.is_not(None), ~newer))
        .order_by(OUTBOX.c.id)
        .limit(limit)
    )
    return [
        Waiting(row.id, row.unit, date.fromisoformat(row.date), row.person, row.revision, row.closing)
        for row in connection.execute(query)
    ]


def finish(connection: Connection, ids: Iterable[int]) -> None:
    """Delete the messages that the broker has acknowledged, and the summaries before one of them."""
    done = OUTBOX.alias("done")
    for part in chunks(ids):
        before = select(OUTBOX.c.id).join(
            done,
            (done.c.unit == OUTBOX.c.unit) & (done.c.date == OUTBOX.c.date) & (done.c.person == OUTBOX.c.person),
        )
        before = before.where(
            done.c.id.in_(part),
            OUTBOX.c.person == "",
            OUTBOX.c.closing.is_(None),
            done.c.closing.is_(None),
            OUTBOX.c.id < done.c.id,
        )
        connection.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(before)))
        connection.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(part)))


def set_aside(connection: Connection, number: int, reason: str) -> None:
    """Keep a message apart that cannot be sent, or that the broker will never take."""
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == number).values(refused=reason))


def retry(connection: Connection) -> int:
    """Let the messages that were set aside wait again; return how many."""
    return connection.execute(update(OUTBOX).where(OUTBOX.c.refused.is_not(None)).values(refused=None)).rowcount


def numbers(connection: Connection) -> tuple[int, int]:
    """Return how many messages wait, and how many are set aside."""
    every, refused = connection.execute(select(func.count(), func.count(OUTBOX.c.refused))).one()
    return every - refused, refused
