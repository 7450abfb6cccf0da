"""The state of a centre in figures, for ``hadir-central status`` and ``/metrics``. Read-only.

No statement reads all events, punches or verdicts: what grows with the years is read by an index, from its newest end.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select, text, union_all

from central.event import PUNCH, QUARANTINE
from central.json_text import load_json
from central.store import marks, outbox
from central.store.contact import AWAY, CONTACT
from central.store.engine import utc
from central.store.lanes import open_lanes
from central.store.mails import MAIL
from central.store.offline import OFFLINE
from central.store.results import RESULT
from central.store.survey import FORGOTTEN_DAYS
from central.store.tables import events, findings, gaps, gateways, rejected, rejected_counted, streams
from central.store.terminals import TERMINAL, WATERMARK

LATE_S = 3_600
"""A terminal whose log is known no further than so long ago is late: verdicts wait for it."""
MOST_TERMINALS = 50
"""Terminals that are named, those that are late the longest."""
RECENT_EVENTS = 50
"""Newest events of which the lag is the median."""
PROLONGED_S = 60
"""An inbox prolongs its connection every 20 s; one that has not done so for this long is not connected."""
KINDS = {PUNCH: "punch", QUARANTINE: "quarantined"}
"""Kinds of events, by their types; all others are notes."""


@dataclass(frozen=True, slots=True)
class Standby:
    """A server that follows the database; PostgreSQL only."""

    name: str
    lag_s: float | None
    """How far it is behind; 0 where it has everything, None where the role may not see it."""


@dataclass(frozen=True, slots=True)
class LateTerminal:
    """A terminal whose log is not known as far as it should be."""

    gateway: str
    """``site/gateway``."""
    terminal: str
    age_s: float | None
    """Since when its log is unknown; None: it was never known."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What was found at one moment; names are of gateways, terminals and standbys, never of people."""

    at: str
    """UTC."""
    database: str
    """``sqlite`` or ``postgresql``."""
    database_bytes: int
    standbys: tuple[Standby, ...]
    commit_wait_s: float | None
    """How long a commit has waited for a synchronous standby; 0: none waits, None: SQLite."""
    lanes: int
    lanes_held: int
    """Lanes that a connected inbox has; a centre without lanes is one."""
    inbox_age_s: float | None
    """Since an inbox last prolonged its connection to the broker; None: there was none."""
    event_age_s: float | None
    """Since the newest event was stored."""
    event_lag_s: float | None
    """From the record at a gateway to the row here, the median of the newest events."""
    gateways: int
    gateways_offline: int
    gateways_away: int
    """Gateways that have not shown since the last outage of this centre that they run."""
    events_held: int
    events_missing: int
    """Places that current streams lack."""
    quarantined: int
    """Records that gateways could not read as punches."""
    findings: int
    rejected: Mapping[str, int]
    """Messages that were set aside, by reason."""
    terminals: int
    """Terminals with a log that are in use: new, or read in the last weeks."""
    terminals_late: int
    watermark_age_s: float | None
    """Of the terminal whose log is known least far."""
    late: tuple[LateTerminal, ...]
    """The late ones, the latest first, at most :data:`MOST_TERMINALS`."""
    marks: int
    """Marks of days that wait to be judged; one may stand for many days."""
    marks_failed: int
    mark_age_s: float | None
    """How long the oldest waits."""
    days: Mapping[str, int]
    """Verdicts on yesterday by status: final, provisional, open."""
    outbox: int
    """Messages about results that the broker has not acknowledged."""
    outbox_refused: int
    mails: int
    mails_refused: int

    @property
    def inbox_connected(self) -> bool:
        """Return whether an inbox has a connection to the broker."""
        return self.lanes_held > 0

    @property
    def provisional_share(self) -> float | None:
        """Return the share of yesterday's verdicts that are not final; None where there are none."""
        every = sum(self.days.values())
        return 1 - self.days.get("final", 0) / every if every else None


def read_condition(connection: Connection, now: datetime) -> Condition:
    """Read one moment of the database; yesterday is that of ``now``'s zone."""
    held_lanes, inbox_age_s = _contact(connection, now)
    terminals = _terminals(connection, now)
    ages = [one.age_s for one in terminals]
    late = [one for one in terminals if one.age_s is None or one.age_s > LATE_S]
    waiting, failed = marks.numbers(connection)
    results, refused = outbox.numbers(connection)
    oldest = select(func.min(marks.AFFECTED.c.entered)).where(marks.AFFECTED.c.failed.is_(None))
    event_age_s, event_lag_s = _newest_events(connection, now)

    def count(query: Select[Any]) -> int:
        return int(connection.execute(query).scalar_one() or 0)

    return Condition(
        at=utc(now),
        database=connection.dialect.name,
        database_bytes=size_of(connection),
        standbys=_standbys(connection),
        commit_wait_s=_commit_wait_s(connection),
        lanes=len(open_lanes(connection)) or 1,
        lanes_held=held_lanes,
        inbox_age_s=inbox_age_s,
        event_age_s=event_age_s,
        event_lag_s=event_lag_s,
        gateways=count(select(func.count()).select_from(gateways)),
        gateways_offline=count(select(func.count(OFFLINE.c.gateway.distinct())).where(OFFLINE.c.online.is_(None))),
        gateways_away=count(select(func.count()).select_from(AWAY).where(AWAY.c.ended.is_(None))),
        events_held=count(select(func.sum(streams.c.seen))) - count(select(func.sum(_LENGTH))),
        events_missing=count(_MISSING_BELOW) + count(_MISSING_ABOVE),
        quarantined=count(select(func.count()).select_from(events).where(events.c.type == QUARANTINE)),
        findings=count(select(func.count()).select_from(findings)),
        rejected=_counts(connection, _REJECTED),
        terminals=len(terminals),
        terminals_late=len(late),
        watermark_age_s=max((age for age in ages if age is not None), default=None),
        late=tuple(late[:MOST_TERMINALS]),
        marks=waiting,
        marks_failed=failed,
        mark_age_s=_age_s(connection.execute(oldest).scalar_one(), now),
        days=_days(connection, now),
        outbox=results,
        outbox_refused=refused,
        mails=count(select(func.count()).select_from(MAIL).where(MAIL.c.sent.is_(None), MAIL.c.refused.is_(None))),
        mails_refused=count(select(func.count()).select_from(MAIL).where(MAIL.c.refused.is_not(None))),
    )


@dataclass(slots=True)
class Taken:
    """Counts the events that are stored while a process runs, by kind. For one thread at a time."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys((*KINDS.values(), "note"), 0)))
    _last: int | None = None
    """The newest event that is counted."""

    def update(self, connection: Connection) -> None:
        """Count what has been stored since the last call; the first call only notes where counting begins."""
        newest = connection.execute(select(func.max(events.c.key))).scalar_one() or 0
        if self._last is not None and newest > self._last:
            new = select(events.c.type, func.count()).where(events.c.key > self._last, events.c.key <= newest)
            for kind, number in connection.execute(new.group_by(events.c.type)):
                self.counts[KINDS.get(kind, "note")] += number
        self._last = newest  # smaller than before where the file is another one


_LENGTH: ColumnElement[int] = gaps.c.last - gaps.c.first + 1
_MISSING_BELOW = select(func.sum(_LENGTH)).join(gateways, gateways.c.stream == gaps.c.stream)
_MISSING_ABOVE = (
    select(func.sum(streams.c.assigned - streams.c.seen))
    .join(gateways, gateways.c.stream == streams.c.id)
    .where(streams.c.assigned > streams.c.seen)
)
_EVERY_REJECTED = union_all(
    select(rejected.c.reason, rejected.c.times), select(rejected_counted.c.reason, rejected_counted.c.times)
).subquery()
_REJECTED = select(_EVERY_REJECTED.c.reason, func.sum(_EVERY_REJECTED.c.times)).group_by(_EVERY_REJECTED.c.reason)


def _contact(connection: Connection, now: datetime) -> tuple[int, float | None]:
    """Return how many lanes have a connection to the broker, and when one was last known."""
    last = connection.execute(select(CONTACT.c.until).order_by(CONTACT.c.id.desc()).limit(1)).scalar()
    if last is None:
        return 0, None
    lasting = connection.execute(select(CONTACT.c.until).where(CONTACT.c.lost.is_(None))).scalars().all()
    ages_s = [age_s for until in lasting if (age_s := _age_s(until, now)) is not None]
    held = sum(age_s <= PROLONGED_S for age_s in ages_s)
    return held, min(ages_s, default=_age_s(last, now))


def _newest_events(connection: Connection, now: datetime) -> tuple[float | None, float | None]:
    """Return the age of the newest event, and the lag of the newest ones; bodies that were deleted say nothing."""
    newest = select(events.c.received, events.c.body).order_by(events.c.key.desc()).limit(RECENT_EVENTS)
    rows = connection.execute(newest).all()
    lags = []
    for received, body in rows:
        try:
            recorded = datetime.fromisoformat(load_json(body)["recordedtime"])
            lags.append((datetime.fromisoformat(received) - recorded).total_seconds())
        except (ValueError, LookupError, TypeError):
            continue
    return _age_s(rows[0].received, now) if rows else None, median(lags) if lags else None


def _terminals(connection: Connection, now: datetime) -> list[LateTerminal]:
    """Return the terminals with a log that are in use, the one that is known least far first."""
    of_terminal = WATERMARK.c.terminal == TERMINAL.c.id
    newest = select(WATERMARK.c.until).where(of_terminal, WATERMARK.c.counted.is_not(None))
    until = newest.order_by(WATERMARK.c.until.desc()).limit(1).scalar_subquery()
    used = now - timedelta(days=FORGOTTEN_DAYS)
    recent = or_(TERMINAL.c.found >= utc(used), exists().where(of_terminal, WATERMARK.c.until >= used.timestamp()))
    query = (
        select(gateways.c.name, TERMINAL.c.name, until)
        .join(gateways, gateways.c.id == TERMINAL.c.gateway)
        .where(TERMINAL.c.log.is_not(None), recent)
    )
    found = [
        LateTerminal(gateway, name, None if moment is None else max(0.0, now.timestamp() - moment))
        for gateway, name, moment in connection.execute(query)
    ]
    return sorted(
        found, key=lambda one: (-(one.age_s if one.age_s is not None else float("inf")), one.gateway, one.terminal)
    )


def _days(connection: Connection, now: datetime) -> dict[str, int]:
    """Return how many people have which status yesterday; without those for whom nothing was planned."""
    later = RESULT.alias("later")
    query = (
        select(RESULT.c.status, func.count())
        .where(
            RESULT.c.date == (now.date() - timedelta(days=1)).isoformat(),
            RESULT.c.status != "none",
            ~exists().where(
                and_(
                    later.c.person == RESULT.c.person,
                    later.c.date == RESULT.c.date,
                    later.c.revision > RESULT.c.revision,
                )
            ),
        )
        .group_by(RESULT.c.status)
    )
    return {"final": 0, "provisional": 0, "open": 0} | _counts(connection, query)


def _counts(connection: Connection, query: Select[Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in connection.execute(query)}


def size_of(connection: Connection) -> int:
    """Return the bytes that the database takes."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        statement = "SELECT pg_database_size(current_database())"
    return int(connection.execute(text(statement)).scalar_one())


def _standbys(connection: Connection) -> tuple[Standby, ...]:
    """Return the servers that follow this one; to a role without pg_monitor their state and lag are null."""
    if connection.dialect.name == "sqlite":
        return ()
    rows = connection.execute(
        text(
            "SELECT application_name, "
            "CASE WHEN state = 'streaming' THEN coalesce(extract(epoch FROM replay_lag), 0) END "
            "FROM pg_stat_replication WHERE state IS NULL OR state = 'streaming' ORDER BY 1 LIMIT 20"
        )
    )
    return tuple(Standby(str(name), None if lag is None else float(lag)) for name, lag in rows)


def _commit_wait_s(connection: Connection) -> float | None:
    """Return the longest wait; a role without pg_monitor sees the commits of its own role, as are the centre's."""
    if connection.dialect.name == "sqlite":
        return None
    query = (
        "SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event = 'SyncRep'"
    )
    return max(0.0, float(connection.execute(text(query)).scalar_one() or 0.0))


def _age_s(moment: str | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())
