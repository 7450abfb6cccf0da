"""Gateways that their own state names offline: a doubt where terminals have no log, until what they recorded is held.

A gateway publishes ``online`` when it connects and ``offline`` when it stops; the broker publishes its will, which says
``offline`` too, when the connection ends otherwise. Whether the gateway was off, or only its line to the broker, only
later events say. So an episode begins with the last event held then, is a doubt once it has lasted a
minute, and ends when the gateway has been online for a minute and everything that it has announced is held. From there
on ``hadir.gateway.resumed`` states what was out.

``session`` numbers the connections of a gateway, and is the same in ``online`` and ``offline`` of one connection. An
``offline`` of a session before the last one that was online is a will that arrived late. An ``online`` of the session
that went offline is a retained message that a broker has restored. Neither says anything. The functions work within the
caller's transaction.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, Index, RowMapping, bindparam, exists, insert, or_, select, text, update
from sqlmodel import Field

from central.event import GatewayState
from central.store.bodies import extent_of_gap
from central.store.engine import KEY, Row, listed, table, utc
from central.store.streams import Gateway, Moment, Stream
from central.store.tables import gateways
from central.store.tails import ON_ITS_WAY_S, TAIL


class OfflineRow(Row, table=True):
    """An episode in which a gateway is not known to run."""

    __tablename__: ClassVar[Any] = "offline"
    __table_args__: ClassVar[Any] = (
        Index("offline_gateway", "gateway"),
        Index("offline_open", "gateway", sqlite_where=text("ended IS NULL"), postgresql_where=text("ended IS NULL")),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    gateway: int = Field(sa_type=BigInteger, foreign_key="gateway.id")
    session: int | None = Field(default=None, sa_type=BigInteger)
    """The connection that ended."""
    begin: int = Field(sa_type=BigInteger)
    """The second of UTC of the last event that was held then."""
    stated: str
    """When the state arrived; of one that is no doubt yet, the last."""
    missed: str | None = None
    """Since when it is a doubt; null: it is not."""
    online: str | None = None
    """Since when a later state names the gateway online; null: none does."""
    ended: str | None = None
    """Since when it is no doubt any more; null: it is one, or is about to be."""


OFFLINE = table(OfflineRow)


class Offline(NamedTuple):
    """A gateway that is not known to run."""

    gateway: str
    """``site/gateway``."""
    begin: int
    """A second of UTC; it may have been off since then."""


def take(connection: Connection, gateway: Gateway, state: GatewayState, stream: Stream | None, moment: Moment) -> None:
    """Take the state of a gateway; ``stream`` is the one that it writes, None where none is known."""
    last = connection.execute(select(gateways.c.session).where(gateways.c.id == gateway.key)).scalar_one()
    row = connection.execute(_OPEN_OF, {"gateway": gateway.key}).mappings().one_or_none()
    if state.online:
        if row is not None and row["online"] is None and _follows(state, row):
            _set(connection, row["id"], online=moment.received)
        if state.session is not None and state.session != last:
            connection.execute(update(gateways).where(gateways.c.id == gateway.key).values(session=state.session))
    elif last is not None and state.session is not None and state.session < last:
        return
    elif row is None:
        begin = int(moment.now.timestamp())
        if stream is not None:
            end = stream.coverage.seen + 1
            begin = min(begin, extent_of_gap(connection, stream.key, end, end)[0])
        new = {"gateway": gateway.key, "session": state.session, "begin": begin, "stated": moment.received}
        connection.execute(insert(OFFLINE), new)
    elif row["online"] is not None:
        stated = row["stated"] if row["missed"] is not None else moment.received
        _set(connection, row["id"], online=None, session=state.session, stated=stated)


def _follows(state: GatewayState, row: RowMapping) -> bool:
    """Return whether an ``online`` is of a later connection than the one that ended.

    A ledger that was set back numbers its connections from an earlier one on: then the gateway's clock decides.
    """
    if state.session is None or row["session"] is None or state.session > row["session"]:
        return True
    stated = datetime.fromisoformat(row["stated"]).timestamp()
    return state.session != row["session"] and state.at is not None and state.at > stated


def advance(connection: Connection, now: datetime) -> list[Offline]:
    """Let what has lasted a minute be a doubt, and end what is over; return the episodes that are or were a doubt."""
    moment, before = utc(now), utc(now - timedelta(seconds=ON_ITS_WAY_S))
    changed = []
    for row in connection.execute(_OPEN).all():
        if (row.online or row.stated) > before:
            continue
        over = row.online is not None and not row.awaited
        if over:
            _set(connection, row.id, ended=moment)
        elif row.missed is None:
            _set(connection, row.id, missed=moment)
        if over is (row.missed is not None):
            changed.append(Offline(row.name, row.begin))
    return changed


def offline(connection: Connection, names: Iterable[str], last: int, known_at: str | None = None) -> list[Offline]:
    """Return the gateways of names that are not known to run since before an instant; as known at a moment, or now."""
    query = _EPISODES.where(listed(gateways.c.name, set(names)), OFFLINE.c.begin <= last)
    if known_at is None:
        query = query.where(OFFLINE.c.missed.is_not(None), OFFLINE.c.ended.is_(None))
    else:
        query = query.where(OFFLINE.c.missed <= known_at, or_(OFFLINE.c.ended.is_(None), OFFLINE.c.ended > known_at))
    return [Offline(*row) for row in connection.execute(query.order_by(OFFLINE.c.id))]


def _set(connection: Connection, key: int, **values: Any) -> None:
    connection.execute(update(OFFLINE).where(OFFLINE.c.id == key).values(values))


_EPISODES = select(gateways.c.name, OFFLINE.c.begin).join(gateways, gateways.c.id == OFFLINE.c.gateway)
_OPEN_OF = select(OFFLINE.c.id, OFFLINE.c.session, OFFLINE.c.stated, OFFLINE.c.missed, OFFLINE.c.online).where(
    OFFLINE.c.gateway == bindparam("gateway"), OFFLINE.c.ended.is_(None)
)
_OPEN = (
    select(
        OFFLINE.c.id,
        gateways.c.name,
        OFFLINE.c.begin,
        OFFLINE.c.stated,
        OFFLINE.c.missed,
        OFFLINE.c.online,
        exists().where(TAIL.c.stream == gateways.c.stream, TAIL.c.held.is_(None)).label("awaited"),
    )
    .join(gateways, gateways.c.id == OFFLINE.c.gateway)
    .where(OFFLINE.c.ended.is_(None))
    .order_by(OFFLINE.c.id)
)
