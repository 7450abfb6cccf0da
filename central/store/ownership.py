"""Whose a terminal's punches are: a dated register of serial numbers, and which of several claims of a punch counts.

A serial number belongs to the gateway that sent its first punch, until a person decides otherwise, from a local date
on: gateways are replaced, terminals move, exports are imported elsewhere. Ownership never rejects anything. Where two
gateways send a punch of one id, both events stay, and the one counts whose gateway owns the serial number on the
punch's date; where that one has not sent it, the owner before it, and of gateways that never owned it the first by
name, so that the order of arrival is irrelevant.

The functions work within the caller's transaction.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from central.event import Event, Punch, read_stored
from central.store.engine import chunks, insert_missing
from central.store.tables import claims, events, gateways, ownership, punches, streams

_SERIAL = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_GATEWAY = re.compile(r"[a-z0-9-]{1,100}/[a-z0-9-]{1,100}")


class Owner(NamedTuple):
    """One line of the register; ``since`` is empty and the last two are None where the gateway came first."""

    serial: str
    since: str
    gateway: str
    entered: str
    decided_by: str | None
    paper: str | None


class Serial(NamedTuple):
    """A serial number with its register, in the order in which it applies, and how many punches each gateway sent."""

    serial: str
    owners: list[Owner]
    punches: dict[str, int]
    """Of each gateway, by ``site/gateway``: those of its punches that count."""


class WrongDecisionError(ValueError):
    """A decision that cannot be entered; the message says which part is wrong and how to write it."""


class Recounted(NamedTuple):
    """A punch of which another event counts than before."""

    before: Punch
    now: Punch
    former: str
    """Gateway of the event that counted before, ``site/gateway``."""
    gateway: str
    """Of the event that counts now, ``site/gateway``."""
    event: Event


def assign(
    connection: Connection, serial: str, gateway: str, since: str, decided_by: str, paper: str, entered: str
) -> list[Recounted]:
    """Enter a decision; return the punches of which another gateway's event counts since. Raises WrongDecisionError."""
    if not _SERIAL.fullmatch(serial):
        raise WrongDecisionError("a serial number is printable ASCII, as `serial list` shows it")
    if not _GATEWAY.fullmatch(gateway):
        raise WrongDecisionError("a gateway is written SITE/GATEWAY, such as 3602-bkpsdm/gw-01")
    try:
        day = date.fromisoformat(since).isoformat()
    except ValueError:
        raise WrongDecisionError("a date is written YYYY-MM-DD") from None
    for name, text in (("name", decided_by), ("paper", paper)):
        if not text.strip() or not text.isprintable() or len(text) > 500:
            raise WrongDecisionError(f"the {name} is a line of text")
    row = {"serial": serial, "since": day, "gateway": gateway, "entered": entered}
    connection.execute(insert(ownership), row | {"decided_by": decided_by.strip(), "paper": paper.strip()})
    claimed = select(claims.c.punch).join(punches, punches.c.id == claims.c.punch).where(punches.c.serial == serial)
    return settle(connection, connection.execute(claimed.distinct()).scalars())


def claim(connection: Connection, made: Sequence[tuple[str, int, int]]) -> list[Recounted]:
    """Record which gateways sent a punch: its id, the gateway's key, the event's key. Return what counts anew."""
    rows = [{"punch": identity, "gateway": gateway, "event": key} for identity, gateway, key in made]
    connection.execute(insert_missing(claims), rows)
    return settle(connection, dict.fromkeys(identity for identity, _, _ in made))


def settle(connection: Connection, identities: Iterable[str]) -> list[Recounted]:
    """Let those claims of punches count whose gateways own their serials; return what counts anew.

    On a server the punches are locked first, so that claims of other gateways, stored at the same moment, are seen.
    """
    changed: list[Recounted] = []
    for part in chunks(identities):
        stored = {row.id: row for row in connection.execute(_LOCKED, {"ids": part})}
        for identity, key in _counting(connection, part).items():
            before = stored[identity]
            if before.event == key:
                continue
            gateway, body = connection.execute(_EVENT, {"key": key}).one()
            event = event_in(gateway, body)
            if event is None or event.punch is None:  # altered in this database: the first one goes on counting
                continue
            connection.execute(
                _RECOUNT, {"b_id": identity, "b_time": before.local_time, "event": key, **event.punch._asdict()}
            )
            former = connection.execute(_EVENT, {"key": before.event}).one().name
            changed.append(Recounted(Punch(*before[2:]), event.punch, former, gateway, event))
    return changed


def counting(connection: Connection, identities: Iterable[str]) -> dict[str, int]:
    """Return the events (key) that count, of punches that several gateways have claimed."""
    return {identity: key for part in chunks(identities) for identity, key in _counting(connection, part).items()}


def _counting(connection: Connection, identities: list[str]) -> dict[str, int]:
    claimed: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for identity, gateway, event in connection.execute(_CLAIMS, {"ids": identities}):
        claimed[identity][gateway] = event
    found = [row for row in connection.execute(_PUNCHES, {"ids": identities}) if row.id in claimed]
    owners = _owners(connection, {row.serial for row in found})
    return {
        row.id: claimed[row.id][choose(claimed[row.id], owners.get(row.serial, ()), row.local_time[:10])]
        for row in found
    }


def choose(claiming: Iterable[str], lines: Sequence[tuple[str, str]], day: str) -> str:
    """Return the gateway whose event counts of those that claim a punch of a local date, at least one.

    ``lines``: since when (a date) which gateway owns the serial number, in the order in which they apply.
    """
    gateways_ = set(claiming)
    former = (gateway for since, gateway in reversed(lines) if since <= day and gateway in gateways_)
    return next(former, None) or min(gateways_)


def _owners(
    connection: Connection, serials: set[str], known_at: str | None = None
) -> Mapping[str, list[tuple[str, str]]]:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    query = _OWNERS if known_at is None else _OWNERS.where(ownership.c.entered <= known_at)
    for part in chunks(sorted(serials)):
        for serial, since, gateway in connection.execute(query, {"serials": part}):
            found[serial].append((since, gateway))
    return found


class Counted(NamedTuple):
    """A punch that several gateways have sent, with what counted of it at a moment."""

    id: str
    gateway: str
    """``site/gateway``."""
    event: Event
    punch: Punch


def counted_then(connection: Connection, known_at: str, *conditions: ColumnElement[bool]) -> Iterator[Counted]:
    """Yield what counted at a moment of the punches that several gateways have sent since; ``conditions`` name them.

    A punch that no gateway had sent by then is left out.
    """
    known = _CLAIMED.where(events.c.received <= known_at, *conditions)
    claimed: defaultdict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for identity, serial, local_time, gateway, body in connection.execute(known):
        claimed[identity, serial, local_time][gateway] = body
    owners = _owners(connection, {serial for _, serial, _ in claimed}, known_at)
    for (identity, serial, local_time), bodies in claimed.items():
        gateway = choose(bodies, owners.get(serial, ()), local_time[:10])
        event = event_in(gateway, bodies[gateway])
        if event is not None and event.punch is not None:
            yield Counted(identity, gateway, event, event.punch)


def event_in(gateway: str, body: object) -> Event | None:
    """Return the event that a stored body holds; None where the body does not prove itself."""
    found = read_stored(gateway, body)
    return found if isinstance(found, Event) else None


def serials(connection: Connection) -> list[Serial]:
    """Return the register, by serial number."""
    found: dict[str, Serial] = {}
    columns = (ownership.c[name] for name in Owner._fields)
    for row in connection.execute(select(*columns).order_by(ownership.c.serial, ownership.c.since, ownership.c.id)):
        line = Owner(*row)
        found.setdefault(line.serial, Serial(line.serial, [], {})).owners.append(line)
    sent = _SENT.group_by(punches.c.serial, gateways.c.name).order_by(gateways.c.name)
    for serial, gateway, count in connection.execute(sent):
        found.setdefault(serial, Serial(serial, [], {})).punches[gateway] = count
    return list(found.values())


_PUNCHES = select(punches.c.id, punches.c.event, *(punches.c[name] for name in Punch._fields)).where(
    punches.c.id.in_(bindparam("ids", expanding=True))
)
_LOCKED = _PUNCHES.order_by(punches.c.id).with_for_update(key_share=True)
_CLAIMS = (
    select(claims.c.punch, gateways.c.name, claims.c.event)
    .join(gateways, gateways.c.id == claims.c.gateway)
    .where(claims.c.punch.in_(bindparam("ids", expanding=True)))
    .order_by(claims.c.event)
)
_CLAIMED = (
    select(punches.c.id, punches.c.serial, punches.c.local_time, gateways.c.name, events.c.body)
    .select_from(claims)
    .join(punches, punches.c.id == claims.c.punch)
    .join(gateways, gateways.c.id == claims.c.gateway)
    .join(events, events.c.key == claims.c.event)
)
_OWNERS = (
    select(ownership.c.serial, ownership.c.since, ownership.c.gateway)
    .where(ownership.c.serial.in_(bindparam("serials", expanding=True)))
    .order_by(ownership.c.since, ownership.c.id)
)
_EVENT = (
    select(gateways.c.name, events.c.body)
    .select_from(events)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
    .where(events.c.key == bindparam("key"))
)
_RECOUNT = (
    update(punches)
    .where(punches.c.id == bindparam("b_id"), punches.c.local_time == bindparam("b_time"))  # the id is made from it
    .values({name: bindparam(name) for name in ("event", *Punch._fields)})
)
_SENT = (
    select(punches.c.serial, gateways.c.name, func.count())
    .join(events, events.c.key == punches.c.event)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
)
