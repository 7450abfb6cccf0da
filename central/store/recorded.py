"""What was recorded and what is not known, as judging reads it: now, or as it was known at a moment.

Punches with the event that counts, where terminals are, PINs that belong to no person, and what streams lack.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union,
)
from sqlmodel import Field

from central.store.bodies import extent_of_gap
from central.store.engine import Row, among, chunks, in_list, json_list, listed, table
from central.store.ownership import counted_then
from central.store.tables import claims, events, forgotten, gaps, gateways, ownership, punches, streams
from central.store.terminals import TERMINAL


class UnattributedRow(Row, table=True):
    """A PIN that belonged to no person when it was read; deleted when an enrolment names its person."""

    __tablename__: ClassVar[Any] = "unattributed"
    site: str = Field(primary_key=True)
    date: str = Field(primary_key=True)
    """Of the terminal's clock."""
    serial: str = Field(primary_key=True)
    pin: str = Field(primary_key=True)


UNATTRIBUTED = table(UnattributedRow)
DAY_S = 86_400
ZONES_S = 26 * 3600
"""How far apart two wall clocks can be."""


# --- punches ------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A punch of the store with the event that counts."""

    id: str
    site: str
    serial: str
    pin: str
    local_time: str
    instant: int
    stream: str
    sequence: int
    body: str


_HELD = select(
    punches.c.id,
    events.c.stream,
    punches.c.serial,
    punches.c.pin,
    punches.c.uid,
    punches.c.local_time,
    punches.c.instant,
    events.c.sequence,
    events.c.body,
).join(events, events.c.key == punches.c.event)
_STREAMS = select(streams.c.id, gateways.c.name, streams.c.name).join(gateways, gateways.c.id == streams.c.gateway)


def punches_of(
    connection: Connection, pins: Iterable[str], first: int, last: int, known_at: str | None = None
) -> list[Held]:
    """Return the punches of PINs, wherever they were read, between two instants."""
    pins = list(pins)
    numbers = _numbers_in(pins)
    values: dict[str, Any] = {"pins": json_list(pins), "first": first, "last": last}
    if numbers:
        values["uids"] = json_list(numbers)
    query = _HELD_WITH_NUMBERS if numbers else _HELD_BY_PIN
    found: list[Held] = []
    if known_at is not None:
        query = query.where(events.c.received <= known_at, ~_CLAIMED)
        found += _claimed_then(connection, pins, first, last, known_at)
    held = connection.execute(query, values).all()
    named = _STREAMS.where(listed(streams.c.id, {row[1] for row in held}))
    place = {key: (gateway.partition("/")[0], stream) for key, gateway, stream in connection.execute(named)}
    for identity, key, serial, pin, uid, local_time, instant, sequence, body in held:
        site, stream = place[key]
        name = _pin(None, uid) if pin is None else pin
        found.append(Held(identity, site, serial, name, local_time, instant, stream, sequence, body))
    return found


def _claimed_then(connection: Connection, pins: Iterable[str], first: int, last: int, known_at: str) -> Iterator[Held]:
    """Yield the punches that several gateways have sent, with the event that counted at a moment."""
    near = _has_pin(pins, first - ZONES_S, last + ZONES_S)  # another event may name another zone
    for one in counted_then(connection, known_at, near):
        punch, event = one.punch, one.event
        if first <= punch.instant <= last:
            site, pin = one.gateway.partition("/")[0], _pin(punch.pin, punch.uid)
            place = event.stream, event.sequence, event.body
            yield Held(one.id, site, punch.serial, pin, punch.local_time, punch.instant, *place)


def _has_pin(pins: Iterable[str], first: int, last: int) -> ColumnElement[bool]:
    """Return the condition that a punch has one of the PINs; ``uid:N`` where the terminal gave none.

    The instants stand in each part of it: databases look for each part by an index of its own.
    """
    named = list(pins)
    numbers = _numbers_in(named)
    within = punches.c.instant.between(first, last)
    has = and_(listed(punches.c.pin, named), within)
    return or_(has, and_(punches.c.pin.is_(None), listed(punches.c.uid, numbers), within)) if numbers else has


def _numbers_in(pins: Iterable[str]) -> list[int]:
    """Return the numbers of people to whom terminals gave no PIN."""
    return [int(pin[4:]) for pin in pins if _UID.fullmatch(pin)]


def _midnight(on: date) -> int:
    return (on.toordinal() - date(1970, 1, 1).toordinal()) * DAY_S


def _pin(pin: str | None, uid: int | None) -> str:
    return f"uid:{uid}" if pin is None else pin


_UID = re.compile(r"uid:\d{1,18}", re.ASCII)
_WITHIN = punches.c.instant.between(bindparam("first"), bindparam("last"))
_HELD_BY_PIN = _HELD.where(in_list(punches.c.pin, "pins"), _WITHIN)
_HELD_WITH_NUMBERS = _HELD.where(
    or_(
        and_(in_list(punches.c.pin, "pins"), _WITHIN),
        and_(punches.c.pin.is_(None), in_list(punches.c.uid, "uids"), _WITHIN),
    )
)
"""Statements that are made once, see :func:`punches_of`; as in :func:`_has_pin`."""
_CLAIMED = exists().where(claims.c.punch == punches.c.id)
"""Whether several gateways have sent a punch."""


def owners_of(connection: Connection, known_at: str | None = None) -> dict[str, dict[str, str]]:
    """Return the gateways of each serial number by the date from which on it is theirs, empty: from the beginning.

    In order of the dates, now or as known at a moment. A serial number without punches belongs to the gateway that
    named it first.
    """
    query = select(ownership.c.serial, ownership.c.since, ownership.c.gateway)
    if known_at is not None:
        query = query.where(ownership.c.entered <= known_at)
    found: dict[str, dict[str, str]] = {}
    for serial, since, gateway in connection.execute(query.order_by(ownership.c.since, ownership.c.id)):
        found.setdefault(serial, {})[since] = gateway
    named = select(TERMINAL.c.serial, gateways.c.name).join(gateways, gateways.c.id == TERMINAL.c.gateway)
    if known_at is not None:
        named = named.where(TERMINAL.c.found <= known_at)
    for serial, gateway in connection.execute(named.order_by(TERMINAL.c.id)):
        found.setdefault(serial, {"": gateway})
    return found


def sites_of(connection: Connection, known_at: str | None = None) -> dict[str, dict[str, str]]:
    """Return the sites of each serial number, as :func:`owners_of` returns its gateways."""
    return {
        serial: {since: gateway.partition("/")[0] for since, gateway in owners.items()}
        for serial, owners in owners_of(connection, known_at).items()
    }


# --- what is not known --------------------------------------------------------------------------------------------


class Unattributed(NamedTuple):
    """A PIN that belonged to no person at a terminal on a date of its clock."""

    site: str
    date: str
    serial: str
    pin: str


def set_unattributed(
    connection: Connection, unknown: Iterable[Unattributed], known: Iterable[Unattributed]
) -> set[Unattributed]:
    """Keep which PINs belong to no person, and which to one now; return those that were kept and are known."""
    ended = set()
    for batch in chunks(known):
        ended |= {
            Unattributed(*row)
            for row in connection.execute(select(UNATTRIBUTED).where(among(tuple(UNATTRIBUTED.c), batch)))
        }
        connection.execute(delete(UNATTRIBUTED).where(among(tuple(UNATTRIBUTED.c), batch)))
    new = set(unknown)
    for batch in chunks(sorted(new)):
        there = connection.execute(select(UNATTRIBUTED).where(among(tuple(UNATTRIBUTED.c), batch)))
        new -= {Unattributed(*row) for row in there}
    if new:
        connection.execute(insert(UNATTRIBUTED), [one._asdict() for one in sorted(new)])
    return ended


def replace_unattributed(connection: Connection, unknown: Iterable[Unattributed]) -> None:
    """Keep that these PINs belong to no person, and no others."""
    connection.execute(delete(UNATTRIBUTED))
    rows = [one._asdict() for one in sorted(unknown)]
    if rows:
        connection.execute(insert(UNATTRIBUTED), rows)


def unattributed(connection: Connection, sites: Iterable[str], first: date, last: date) -> list[Unattributed]:
    """Return the PINs of sites that belonged to no person on any of the dates."""
    return [
        Unattributed(*row)
        for row in connection.execute(
            select(UNATTRIBUTED).where(
                listed(UNATTRIBUTED.c.site, set(sites)),
                UNATTRIBUTED.c.date.between(first.isoformat(), last.isoformat()),
            )
        )
    ]


class Use(NamedTuple):
    """A PIN that was read at a terminal on one date of its clock."""

    site: str
    serial: str
    pin: str
    date: str
    punches: int
    first: str
    last: str


def uses(
    connection: Connection,
    pins: Iterable[str] | None = None,
    first: date = date.min,
    last: date = date.max,
    known_at: str | None = None,
) -> list[Use]:
    """Return on which dates and where PINs were read; ``pins`` None: all, ``uid:N`` where a terminal knew none."""
    pin = func.coalesce(punches.c.pin, literal("uid:") + cast(punches.c.uid, String))
    on = func.substr(punches.c.local_time, 1, 10)
    times = func.count(), func.min(punches.c.local_time), func.max(punches.c.local_time)
    dates = punches.c.local_time >= first.isoformat(), punches.c.local_time <= f"{last.isoformat()}T99"
    query = (
        select(gateways.c.name, punches.c.serial, pin, on, *times)
        .join(events, events.c.key == punches.c.event)
        .join(streams, streams.c.id == events.c.stream)
        .join(gateways, gateways.c.id == streams.c.gateway)
        .where(*dates)
        .group_by(gateways.c.name, punches.c.serial, pin, on)
    )
    if known_at is not None:
        query = query.where(events.c.received <= known_at, ~_CLAIMED)
    ends = _midnight(first) - ZONES_S, _midnight(last) + DAY_S + ZONES_S
    of_pins = [] if pins is None else [_has_pin(pins, *ends)]
    found: dict[tuple[str, ...], Use] = {}
    for name, *rest in connection.execute(query.where(*of_pins)):
        _count(found, Use(name.partition("/")[0], *rest))
    if known_at is not None:
        for one in counted_then(connection, known_at, *dates, *of_pins):
            punch, time = one.punch, one.punch.local_time
            use = Use(one.gateway.partition("/")[0], punch.serial, _pin(punch.pin, punch.uid), time[:10], 1, time, time)
            _count(found, use)
    return list(found.values())


def _count(found: dict[tuple[str, ...], Use], use: Use) -> None:
    """Add what one of a site's gateways has read."""
    before = found.get(use[:4])
    if before is not None:
        use = use._replace(
            punches=use.punches + before.punches, first=min(use.first, before.first), last=max(use.last, before.last)
        )
    found[use[:4]] = use


class StreamGap(NamedTuple):
    """Sequences that a stream lacks, with the instants between which their events were recorded."""

    gateway: str
    """``site/gateway``."""
    stream: str
    first: int
    last: int
    begin: int
    end: int


def stream_gaps(
    connection: Connection, names: Iterable[str], first: int, last: int, known_at: str | None = None
) -> list[StreamGap]:
    """Return what the streams of gateways lack below their last event that is held, between two instants.

    A pruned event is not lacking. As known at a moment, or now.
    """
    found: list[StreamGap] = []
    for part in chunks(sorted(set(names))):
        if known_at is None:
            query = (
                select(gateways.c.name, streams.c.name, gaps.c.first, gaps.c.last, gaps.c.begin, gaps.c.end)
                .join(streams, streams.c.id == gaps.c.stream)
                .join(gateways, gateways.c.id == streams.c.gateway)
                .where(gaps.c.end >= first, gaps.c.begin <= last, gateways.c.name.in_(part))
                .order_by(gaps.c.stream, gaps.c.first)
            )
            found += [StreamGap(*row) for row in connection.execute(query)]
            continue
        of_gateways = (
            select(streams.c.id, gateways.c.name, streams.c.name)
            .join(gateways, gateways.c.id == streams.c.gateway)
            .where(gateways.c.name.in_(part), streams.c.found <= known_at)
            .order_by(streams.c.id)
        )
        for key, gateway, name in connection.execute(of_gateways).all():
            for low, high in _gaps_known_at(connection, key, known_at):
                begin, end = extent_of_gap(connection, key, low, high, known_at)
                if end >= first and begin <= last:
                    found.append(StreamGap(gateway, name, low, high, begin, end))
    return found


def gateways_at(connection: Connection, sites: Iterable[str]) -> list[str]:
    """Return the gateways (``site/gateway``) of sites."""
    found: list[str] = []
    for site in sorted(set(sites)):
        query = select(gateways.c.name).where(gateways.c.name >= f"{site}/", gateways.c.name < f"{site}0")
        found += connection.execute(query.order_by(gateways.c.name)).scalars()
    return found


def _gaps_known_at(connection: Connection, stream: int, known_at: str) -> list[tuple[int, int]]:
    pruned = select(forgotten.c.sequence).join(events, events.c.key == forgotten.c.event)
    held = union(
        select(events.c.sequence).where(events.c.stream == stream, events.c.received <= known_at),
        pruned.where(forgotten.c.stream == stream, events.c.received <= known_at),
    ).subquery()
    before = func.lag(held.c.sequence, 1, 0).over(order_by=held.c.sequence)
    numbered = select(held.c.sequence, before.label("before")).subquery()
    query = select(numbered.c.before, numbered.c.sequence).where(numbered.c.sequence > numbered.c.before + 1)
    return [(first + 1, last - 1) for first, last in connection.execute(query)]


def gateways_known(connection: Connection) -> list[str]:
    """Return all gateways (``site/gateway``) that have sent anything."""
    return list(connection.execute(select(gateways.c.name).order_by(gateways.c.name)).scalars())
