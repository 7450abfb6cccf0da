"""Lanes as the database has them: how many there are, who holds which, and whose each site is.

Every transaction of a lane begins with :func:`check`, which locks the lane's row until it commits. Who takes a lane
raises its epoch first. So a worker that was frozen while another one took its lane can write nothing any more, whatever
it had begun, and the other one begins after the last of its commits.

The functions work within the caller's transaction.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, delete, select, update
from sqlmodel import Field

from central.store.engine import Database, Row, insert_missing, table, utc
from central.store.errors import StoreError
from central.store.tables import gateways

MAX_SITES = 10_000
"""As many as there may be gateways."""


class LanePlanRow(Row, table=True):
    """One row: what all workers of this centre have in common."""

    __tablename__: ClassVar[Any] = "lane_plan"
    id: int = Field(default=1, primary_key=True)
    lanes: int
    root: str
    client_id: str
    """Client ids of lanes begin with it."""
    changed: str


class LaneRow(Row, table=True):
    """A lane; 0 is the door."""

    __tablename__: ClassVar[Any] = "lane"
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    epoch: int = Field(sa_type=BigInteger)
    """How often it has been taken."""
    worker: str
    """Who took it last."""
    since: str
    open: bool
    """Whether it is to be held; one that is too many and has nothing left is closed."""


class LaneSiteRow(Row, table=True):
    """A site and its owner: the lane that writes its receipts, and takes its ``info`` and states."""

    __tablename__: ClassVar[Any] = "lane_site"
    site: str = Field(primary_key=True)
    lane: int


class LaneSessionRow(Row, table=True):
    """A subscription that a lane's session in the broker may have."""

    __tablename__: ClassVar[Any] = "lane_session"
    lane: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    site: str = Field(primary_key=True)
    granted: bool
    """The broker has granted it, and the lane is not about to end it."""


PLAN, LANE, SITE, SESSION = (table(row) for row in (LanePlanRow, LaneRow, LaneSiteRow, LaneSessionRow))


class LaneLost(StoreError):  # noqa: N818 - named by the state of the lane
    """Another worker has taken the lane: nothing of this transaction is written."""


class Plan(NamedTuple):
    """What all workers have in common."""

    lanes: int
    root: str
    client_id: str


class Fence(NamedTuple):
    """A lane as one worker took it."""

    lane: int
    epoch: int


class SiteRows(NamedTuple):
    """A site's owner, and the lanes whose sessions may have it with whether the broker has granted that."""

    owner: int
    sessions: dict[int, bool]


def plan_of(connection: Connection) -> Plan | None:
    """Return the plan; None before the first worker."""
    row = connection.execute(select(PLAN.c.lanes, PLAN.c.root, PLAN.c.client_id)).first()
    return None if row is None else Plan(*row)


def begin_plan(connection: Connection, plan: Plan, owner_of: Callable[[str], int], now: datetime) -> Plan:
    """Return the plan; where there is none, make this one, with an owner for each site that is known."""
    found = plan_of(connection)
    if found is not None:
        return found
    connection.execute(insert_missing(PLAN), plan._asdict() | {"id": 1, "changed": utc(now)})
    _open(connection, plan.lanes, now)
    names = {name.partition("/")[0] for name in connection.execute(select(gateways.c.name)).scalars()}
    connection.execute(delete(SITE))  # owners of a plan before, who own nothing now
    for site in sorted(names):
        add_site(connection, site, owner_of(site))
    return plan


def forget_plan(connection: Connection) -> None:
    """End the plan: an inbox without lanes receives everything, and holds the lock that no worker has beside it.

    Epochs go on, so that no worker of before writes again; sessions stay on record, for the broker may have them.
    """
    connection.execute(delete(PLAN))
    connection.execute(update(LANE).values(open=False, epoch=LANE.c.epoch + 1))


def set_lanes(connection: Connection, lanes: int, now: datetime) -> None:
    """Change how many lanes there are; workers follow by themselves."""
    connection.execute(update(PLAN).values(lanes=lanes, changed=utc(now)))
    _open(connection, lanes, now)


def _open(connection: Connection, lanes: int, now: datetime) -> None:
    rows = [{"number": one, "epoch": 0, "worker": "", "since": utc(now), "open": True} for one in range(lanes + 1)]
    connection.execute(insert_missing(LANE), rows)
    connection.execute(update(LANE).where(LANE.c.number <= lanes).values(open=True))


def open_lanes(connection: Connection) -> dict[int, str]:
    """Return the lanes that are to be held, with the worker that took each last."""
    rows = connection.execute(select(LANE.c.number, LANE.c.worker).where(LANE.c.open).order_by(LANE.c.number))
    return {number: worker for number, worker in rows}  # noqa: C416 - dict() takes rows for a mapping


def take(connection: Connection, lane: int, worker: str, now: datetime) -> Fence:
    """Raise the epoch of a lane, whose lock the caller holds; waits for the transactions of the holder before."""
    raised = update(LANE).where(LANE.c.number == lane).values(epoch=LANE.c.epoch + 1, worker=worker, since=utc(now))
    return Fence(lane, connection.execute(raised.returning(LANE.c.epoch)).scalar_one())


def check(connection: Connection, fence: Fence) -> None:
    """Keep the lane from being taken until this transaction ends; raises LaneLost where it has been taken."""
    if connection.execute(_CHECK, {"lane": fence.lane, "epoch": fence.epoch}).first() is None:
        raise LaneLost(f"lane {fence.lane} has been taken by another worker")


def close_lane(connection: Connection, lane: int) -> None:
    """Let a lane that is one too many be held no more."""
    most = select(PLAN.c.lanes).scalar_subquery()
    connection.execute(update(LANE).where(LANE.c.number == lane, LANE.c.number > most).values(open=False))


# --- sites --------------------------------------------------------------------------------------------------------


def sites(connection: Connection) -> dict[str, SiteRows]:
    """Return all sites with owners and sessions."""
    found = {site: SiteRows(lane, {}) for site, lane in connection.execute(select(SITE.c.site, SITE.c.lane))}
    for lane, site, granted in connection.execute(select(SESSION.c.lane, SESSION.c.site, SESSION.c.granted)):
        if site in found:
            found[site].sessions[lane] = bool(granted)
    return found


def sites_of(connection: Connection, lane: int) -> set[str]:
    """Return the sites that a lane owns."""
    return set(connection.execute(select(SITE.c.site).where(SITE.c.lane == lane)).scalars())


def add_site(connection: Connection, site: str, owner: int) -> None:
    """Note a site that a message has named, with its owner; one that is known stays as it is."""
    connection.execute(insert_missing(SITE), {"site": site, "lane": owner})


def begin_sessions(connection: Connection, lane: int, of: Iterable[str]) -> None:
    """Note that a lane is about to subscribe to sites."""
    rows = [{"lane": lane, "site": site, "granted": False} for site in sorted(of)]
    if rows:
        connection.execute(insert_missing(SESSION), rows)


def grant_sessions(connection: Connection, lane: int, of: Iterable[str]) -> None:
    """Note that the broker has granted a lane's subscriptions to sites."""
    rows = [{"b_lane": lane, "b_site": site} for site in sorted(of)]
    if rows:
        connection.execute(_GRANT, rows)


def close_sessions(connection: Connection, lane: int, of: Iterable[str]) -> list[str]:
    """Note that a lane is about to leave sites; return those that it may leave: the ones that it does not own."""
    closed = []
    for site in sorted(of):
        owner = connection.execute(select(SITE.c.lane).where(SITE.c.site == site).with_for_update()).scalar_one()
        if owner != lane:
            connection.execute(
                update(SESSION).where(SESSION.c.lane == lane, SESSION.c.site == site).values(granted=False)
            )
            closed.append(site)
    return closed


def end_sessions(connection: Connection, lane: int, of: Iterable[str]) -> None:
    """Note that the broker has ended a lane's subscriptions to sites."""
    rows = [{"b_lane": lane, "b_site": site} for site in sorted(of)]
    if rows:
        connection.execute(_END, rows)


def hand_over(connection: Connection, site: str, owner: int, to: int) -> None:
    """Make another lane the owner of a site, where the broker has granted its subscription; else nothing changes."""
    held = select(SITE.c.lane).where(SITE.c.site == site).with_for_update()
    if connection.execute(held).scalar_one() != owner:
        return
    granted = select(SESSION.c.granted).where(SESSION.c.lane == to, SESSION.c.site == site).with_for_update()
    if connection.execute(granted).scalar_one_or_none():
        connection.execute(update(SITE).where(SITE.c.site == site).values(lane=to))


class FencedDatabase(Database):
    """A database as a lane uses it: each transaction that may write raises LaneLost once the lane is taken."""

    def __init__(self, database: Database, fence: Fence) -> None:
        """Share the connections of a database, which its owner closes."""
        vars(self).update(vars(database))
        self.fence = fence

    @contextmanager
    def writing(self, *, alone: bool = True, moment: bool = False) -> Iterator[Connection]:
        """Yield a connection within a transaction that may write, see :meth:`Database.writing`."""
        with super().writing(alone=alone, moment=moment) as connection:
            check(connection, self.fence)
            yield connection

    def close(self) -> None:
        """Do nothing: the connections are shared."""


_CHECK = (
    select(LANE.c.number)
    .where(LANE.c.number == bindparam("lane"), LANE.c.epoch == bindparam("epoch"))
    .with_for_update(read=True)
)
_GRANT = (update(SESSION).where(SESSION.c.lane == bindparam("b_lane"), SESSION.c.site == bindparam("b_site"))).values(
    granted=True
)
_END = delete(SESSION).where(SESSION.c.lane == bindparam("b_lane"), SESSION.c.site == bindparam("b_site"))
