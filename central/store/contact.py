"""The centre's own outages: without a connection to the broker nothing says what gateways recorded.

A connection is a row of ``contact``, which is prolonged while it lasts; a process that was killed has lost it at the
end of its row. When it is lost, every gateway is ``away``: a doubt where terminals have no log, as with a gateway that
is offline, from the last event held, or from :data:`WILL_S` before the loss, whichever is later. It ends when the
gateway has shown that it ran after the present connection began, and what it has announced is held. These show it: an
event recorded since, a watermark that reaches beyond it, an ``info`` made since, which announces the end of the stream
at that moment, a birth of a new session. Silence shows nothing, nor does a retained message from before: a broker that
ends together with a gateway publishes no will.

The doubt counts for every verdict from the loss on. The days of people are marked once it has lasted a minute, and when
it ends, so that an inbox that is restarted costs little. The functions work within the caller's transaction.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Index,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Field

from central.event import GatewayState
from central.store.bodies import extent_of_gap
from central.store.engine import KEY, Row, in_list, json_list, listed, table, utc
from central.store.lanes import sites_of
from central.store.offline import Offline
from central.store.tables import gateways, ownership, streams
from central.store.tails import ON_ITS_WAY_S, TAIL
from central.store.terminals import TERMINAL

WILL_S = 180
"""A gateway that lost its own connection so shortly before may have left no will yet."""
AHEAD_S = 60
"""A gateway's clock that is further ahead shows something only after :data:`FAST_S`."""
FAST_S = 86_400
"""What a clock that is up to so much ahead names as this much later was recorded after the connection began."""
BIRTH_S = 120
"""After a broker's outage a gateway may be connected so much sooner than the centre."""
KEPT_S = 20
"""How often a connection is prolonged."""


class ContactRow(Row, table=True):
    """A connection to the broker."""

    __tablename__: ClassVar[Any] = "contact"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    since: str
    until: str
    """It lasted at least until then."""
    lost: str | None = None
    """Since when it is known here that it has ended; null: it lasts, or the process was killed."""
    lane: int | None = None
    """Of the lane; null: of the only inbox."""


class AwayRow(Row, table=True):
    """A gateway that is not known to run, because the centre had no connection."""

    __tablename__: ClassVar[Any] = "away"
    __table_args__: ClassVar[Any] = (
        Index("away_gateway", "gateway"),
        Index("away_open", "gateway", sqlite_where=text("ended IS NULL"), postgresql_where=text("ended IS NULL")),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    gateway: int = Field(sa_type=BigInteger, foreign_key="gateway.id")
    begin: int = Field(sa_type=BigInteger)
    """A second of UTC; what the gateway recorded since then may be missing."""
    lost: str
    """Since when it is known that the connection was lost; a doubt since then."""
    marked: str | None = None
    """Since when the days of people are marked; null: they are not."""
    seen: str | None = None
    """Since when the gateway is known to run again; null: it is not."""
    ended: str | None = None
    """Since when it is no doubt any more; null: it is one."""


CONTACT, AWAY = table(ContactRow), table(AwayRow)


class _Contact(NamedTuple):
    id: int
    since: str
    until: str
    lost: str | None


def begin(connection: Connection, now: datetime, lane: int | None = None) -> None:
    """Note that a connection is about to begin; the one before must have been noted as lost."""
    connection.execute(insert(CONTACT), {"since": utc(now), "until": utc(now), "lane": lane})


def keep(connection: Connection, now: datetime, lane: int | None = None) -> None:
    """Prolong the present connection; a new one begins where another process has noted it as lost."""
    last = _last(connection, lane)
    if last is None or last.lost is not None:
        begin(connection, now, lane)
    else:
        connection.execute(update(CONTACT).where(CONTACT.c.id == last.id).values(until=utc(now)))


def lose(connection: Connection, now: datetime, lane: int | None = None) -> None:
    """Note that there is no connection, and let every gateway be away since the last one; once for each connection.

    Of a lane: every gateway of its sites.
    """
    last = _last(connection, lane)
    if last is None or last.lost is not None:
        return
    first = select(func.min(CONTACT.c.id)).where(_is_of(lane))
    if last.until == last.since and last.id != connection.execute(first).scalar_one():
        connection.execute(delete(CONTACT).where(CONTACT.c.id == last.id))  # an attempt, of which there may be many
    else:
        connection.execute(update(CONTACT).where(CONTACT.c.id == last.id).values(lost=utc(now)))
    ours = None if lane is None else _gateways_of(connection, lane)
    unseen = update(AWAY).where(AWAY.c.ended.is_(None)).values(seen=None)
    connection.execute(unseen if ours is None else unseen.where(listed(AWAY.c.gateway, ours)))
    at = int(datetime.fromisoformat(last.until).timestamp())
    rows = []
    for gateway, stream, held in connection.execute(_NOT_AWAY).all():
        if ours is not None and gateway not in ours:
            continue
        newest = at if stream is None else extent_of_gap(connection, stream, held + 1, held + 1)[0]
        rows.append({"gateway": gateway, "begin": min(at, max(at - WILL_S, newest)), "lost": utc(now)})
    if rows:
        connection.execute(insert(AWAY), rows)


def lapse(connection: Connection, now: datetime) -> None:
    """Note that the connection is lost where nothing has prolonged it for a minute: the inbox does not run."""
    for lane in connection.execute(select(CONTACT.c.lane).where(CONTACT.c.lost.is_(None)).distinct()).scalars().all():
        last = _last(connection, lane)
        if last is not None and last.until < utc(now - timedelta(seconds=ON_ITS_WAY_S)):
            lose(connection, now, lane)


def born(connection: Connection, gateway: int, state: GatewayState, now: datetime, lane: int | None = None) -> None:
    """Take a state; call it before the session of the gateway's row is replaced.

    Of the session known here a retained message says nothing new.
    """
    since = _since(connection, lane)
    if since is None or not state.online or state.at is None:
        return
    if not since - BIRTH_S <= state.at <= now.timestamp() + AHEAD_S:
        return
    known = connection.execute(select(gateways.c.session).where(gateways.c.id == gateway)).scalar_one()
    if state.session is None or state.session != known:
        _see(connection, [gateway], now)


def show(connection: Connection, latest: Mapping[int, int], now: datetime, lane: int | None = None) -> None:
    """Take when gateways recorded something, read a log, or made an ``info``.

    A time since the connection began shows that they run.

    ``latest``: keys of gateways with seconds of UTC.
    """
    since = _since(connection, lane)
    if since is not None:
        instant = now.timestamp()
        shown = [
            gateway
            for gateway, at in latest.items()
            if since <= at <= instant + AHEAD_S or since + FAST_S <= at <= instant + FAST_S
        ]
        _see(connection, shown, now)


def advance(connection: Connection, now: datetime) -> list[Offline]:
    """End what is over; return the episodes that have lasted a minute, or have ended, where terminals have no log."""
    moment, before = utc(now), utc(now - timedelta(seconds=ON_ITS_WAY_S))
    changed = []
    for row in connection.execute(_OPEN).all():
        if (row.seen or row.lost) > before:
            continue
        if row.seen is not None and not row.awaited:
            connection.execute(update(AWAY).where(AWAY.c.id == row.id).values(ended=moment))
        elif row.marked is None:
            connection.execute(update(AWAY).where(AWAY.c.id == row.id).values(marked=moment))
        else:
            continue
        changed.append(Offline(row.name, row.begin))
    without_log = set(connection.execute(_WITHOUT_LOG).scalars()) if changed else set()
    return [one for one in changed if one.gateway in without_log]


def away(connection: Connection, names: Iterable[str], last: int, known_at: str | None = None) -> list[Offline]:
    """Return the gateways of names that are away since before an instant; as known at a moment, or now."""
    query = _EPISODES.where(listed(gateways.c.name, set(names)), AWAY.c.begin <= last)
    if known_at is None:
        query = query.where(AWAY.c.ended.is_(None))
    else:
        query = query.where(AWAY.c.lost <= known_at, or_(AWAY.c.ended.is_(None), AWAY.c.ended > known_at))
    return [Offline(*row) for row in connection.execute(query.order_by(AWAY.c.id))]


def undecided(connection: Connection) -> bool:
    """Return whether days are not marked yet that a loss concerns."""
    query = select(AWAY.c.id).where(AWAY.c.ended.is_(None), AWAY.c.marked.is_(None)).limit(1)
    return connection.execute(query).first() is not None


def _last(connection: Connection, lane: int | None) -> _Contact | None:
    of_lane = select(*(CONTACT.c[name] for name in _Contact._fields)).where(_is_of(lane))
    found = connection.execute(of_lane.order_by(CONTACT.c.id.desc()).limit(1)).first()
    return None if found is None else _Contact(*found)


def _is_of(lane: int | None) -> ColumnElement[bool]:
    return CONTACT.c.lane.is_(None) if lane is None else CONTACT.c.lane == lane


def _gateways_of(connection: Connection, lane: int) -> set[int]:
    """Return the keys of the gateways at the sites of a lane."""
    of_lane = sites_of(connection, lane)
    named = connection.execute(select(gateways.c.id, gateways.c.name))
    return {key for key, name in named if name.partition("/")[0] in of_lane}


def _since(connection: Connection, lane: int | None) -> int | None:
    """Return when the present connection began; None where there is none."""
    last = _last(connection, lane)
    return None if last is None or last.lost is not None else int(datetime.fromisoformat(last.since).timestamp())


def _see(connection: Connection, keys: list[int], now: datetime) -> None:
    if keys:
        connection.execute(_SEE, {"b_gateways": json_list(sorted(keys)), "b_seen": utc(now)})


_NOT_AWAY = (
    select(gateways.c.id, gateways.c.stream, streams.c.seen)
    .outerjoin(streams, streams.c.id == gateways.c.stream)
    .where(~exists().where(AWAY.c.gateway == gateways.c.id, AWAY.c.ended.is_(None)))
    .order_by(gateways.c.id)
)
AWAY_WAITS = exists().where(AWAY.c.ended.is_(None), AWAY.c.seen.is_(None))
"""Whether any gateway is away and has shown nothing since the present connection began."""
_SEE = (
    update(AWAY)
    .where(AWAY.c.ended.is_(None), AWAY.c.seen.is_(None), in_list(AWAY.c.gateway, "b_gateways"))
    .values(seen=bindparam("b_seen"))
)
_EPISODES = select(gateways.c.name, AWAY.c.begin).join(gateways, gateways.c.id == AWAY.c.gateway)
_OPEN = (
    select(
        AWAY.c.id,
        gateways.c.name,
        AWAY.c.begin,
        AWAY.c.lost,
        AWAY.c.marked,
        AWAY.c.seen,
        exists().where(TAIL.c.stream == gateways.c.stream, TAIL.c.held.is_(None)).label("awaited"),
    )
    .join(gateways, gateways.c.id == AWAY.c.gateway)
    .where(AWAY.c.ended.is_(None))
    .order_by(AWAY.c.id)
)
_READABLE = select(TERMINAL.c.serial).where(TERMINAL.c.log.is_not(None))
_WITHOUT_LOG = (
    select(ownership.c.gateway)
    .where(ownership.c.serial.not_in(_READABLE))
    .union(
        select(gateways.c.name)
        .join(TERMINAL, TERMINAL.c.gateway == gateways.c.id)
        .where(TERMINAL.c.serial.not_in(_READABLE))
    )
)
"""Gateways at whose terminals a punch that was not recorded leaves no trace."""
