"""Ends of streams that a gateway has announced and that have not arrived: a doubt where they stay away.

An ``info`` announces the highest sequence assigned; what is on its way then is no doubt. What has not arrived a minute
later is one, from the last event before it on, until it arrives. The functions work within the caller's transaction.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, Index, bindparam, exists, insert, or_, select, text, update
from sqlmodel import Field

from central.store.bodies import extent_of_gap
from central.store.engine import KEY, Row, in_list, json_list, listed, table, utc
from central.store.streams import Moment, Stream
from central.store.tables import gateways, streams

ON_ITS_WAY_S = 60
"""What was announced may take so long to arrive."""


class TailRow(Row, table=True):
    """The end of a stream as ``info`` announced it while it was not held."""

    __tablename__: ClassVar[Any] = "tail"
    __table_args__: ClassVar[Any] = (
        Index("tail_open", "stream", sqlite_where=text("held IS NULL"), postgresql_where=text("held IS NULL")),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    stream: int = Field(sa_type=BigInteger, foreign_key="stream.id")
    assigned: int = Field(sa_type=BigInteger)
    """The highest sequence that was announced."""
    begin: int = Field(sa_type=BigInteger)
    """The second of UTC of the last event that was held then."""
    announced: str
    missed: str | None = None
    """Since when it is a doubt; null: it is not."""
    held: str | None = None
    """Since when it is held; null: it is not."""


TAIL = table(TailRow)


class Tail(NamedTuple):
    """An end of a stream that has stayed away."""

    gateway: str
    """``site/gateway``."""
    stream: str
    assigned: int
    begin: int


def announce(connection: Connection, stream: Stream, moment: Moment) -> None:
    """Keep that a gateway has assigned more than is held, if that is not kept already."""
    coverage = stream.coverage
    if coverage.assigned <= coverage.seen or connection.execute(_OPEN, {"stream": stream.key}).first() is not None:
        return
    begin, _ = extent_of_gap(connection, stream.key, coverage.seen + 1, coverage.seen + 1)
    row = {"stream": stream.key, "assigned": coverage.assigned, "begin": begin, "announced": moment.received}
    connection.execute(insert(TAIL), row)


def arrive(connection: Connection, touched: Iterable[Stream], moment: Moment) -> list[Tail]:
    """Let ends that are held now be held; return those that were a doubt.

    What has been announced beyond one is the next end to wait for.
    """
    filled = {stream.key: stream for stream in touched if stream.filled}
    seen = {key: stream.coverage.seen for key, stream in filled.items()}
    if not seen:
        return []
    rows = connection.execute(_WAITING_OF, {"streams": json_list(seen)}).all()
    ended = [row for row in rows if row.assigned <= seen[row.stream]]
    for row in ended:
        connection.execute(update(TAIL).where(TAIL.c.id == row.id).values(held=moment.received))
    for row in ended:
        announce(connection, filled[row.stream], moment)
    return [Tail(row.gateway, row.name, row.assigned, row.begin) for row in ended if row.missed is not None]


def miss(connection: Connection, now: datetime) -> list[Tail]:
    """Let the ends that have stayed away for a minute be doubts; return those that are since now."""
    before = utc(now - timedelta(seconds=ON_ITS_WAY_S))
    rows = connection.execute(_WAITING.where(TAIL.c.missed.is_(None), TAIL.c.announced <= before)).all()
    for row in rows:
        connection.execute(update(TAIL).where(TAIL.c.id == row.id).values(missed=utc(now)))
    return [Tail(row.gateway, row.name, row.assigned, row.begin) for row in rows]


def tails(connection: Connection, names: Iterable[str], last: int, known_at: str | None = None) -> list[Tail]:
    """Return the ends that stay away of gateways and that begin until an instant; as known at a moment, or now."""
    query = _TAILS.where(listed(gateways.c.name, set(names)), TAIL.c.begin <= last)
    if known_at is None:
        query = query.where(TAIL.c.missed.is_not(None), TAIL.c.held.is_(None))
    else:
        query = query.where(TAIL.c.missed <= known_at, or_(TAIL.c.held.is_(None), TAIL.c.held > known_at))
    return [Tail(*row) for row in connection.execute(query.order_by(TAIL.c.id))]


_OPEN = select(TAIL.c.id).where(TAIL.c.stream == bindparam("stream"), TAIL.c.held.is_(None))
_TAILS = (
    select(gateways.c.name, streams.c.name, TAIL.c.assigned, TAIL.c.begin)
    .join(streams, streams.c.id == TAIL.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
)
_WAITING = (
    select(
        TAIL.c.id,
        TAIL.c.stream,
        TAIL.c.assigned,
        TAIL.c.begin,
        TAIL.c.missed,
        gateways.c.name.label("gateway"),
        streams.c.name,
    )
    .join(streams, streams.c.id == TAIL.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
    .where(TAIL.c.held.is_(None))
)
_WAITING_OF = _WAITING.where(in_list(TAIL.c.stream, "streams"))
TAIL_WAITS = exists().where(TAIL.c.held.is_(None), in_list(TAIL.c.stream, "streams"))
