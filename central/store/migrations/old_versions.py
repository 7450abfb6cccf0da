"""Files of versions 1 and 2, brought to what version 3 held. They are SQLite's, and so are the statements.

Version 1 stored no places of pruned events; version 2 believed the digest of an event whose ``raw`` was null beside a
``raw_sha256``; both kept the first of several gateways' events of one punch and compared nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

from sqlalchemy import Connection

from central.event import (
    BODY_FORGOTTEN,
    PUNCH,
    Event,
    contradicting_fields,
    read_stored,
)
from central.store.engine import utc

_GATEWAY_OF_EVENT = "JOIN stream ON stream.id = event.stream JOIN gateway ON gateway.id = stream.gateway"


def bring_to_version_3(connection: Connection, version: int) -> None:
    """Fill the tables that version 3 added, from the events; ``version`` is 1 or 2."""
    now = utc(datetime.now(UTC))
    _set_unproven_aside(connection)
    connection.exec_driver_sql(
        "INSERT INTO ownership (serial, since, gateway, entered) SELECT punch.serial, '', gateway.name, ? "  # noqa: S608 - our own words
        "FROM (SELECT serial, min(event) AS event FROM punch GROUP BY serial) AS punch "
        f"JOIN event ON event.key = punch.event {_GATEWAY_OF_EVENT}",
        (now,),
    )
    _compare_claimed_punches(connection, now)
    if version == 1:
        _give_pruned_events_their_places(connection, now)


def _set_unproven_aside(connection: Connection) -> None:
    """Move events whose content does not prove itself into ``unproven``: their places are missing then."""
    streams: dict[int, int] = {}
    for key, stream, seen, gateway, body in connection.exec_driver_sql(
        f"SELECT event.key, stream.id, seen, gateway.name, body FROM event {_GATEWAY_OF_EVENT} "  # noqa: S608 - our own words
        "WHERE instr(body, '\"raw\":null') AND instr(body, '\"raw_sha256\":')"
    ).all():
        if _event(gateway, body) is None:
            streams[stream] = seen
            columns = "key, stream, sequence, id, digest, previous, type, received, body"
            connection.exec_driver_sql(
                f"INSERT INTO unproven ({columns}) SELECT {columns} FROM event WHERE key = ?",  # noqa: S608 - our own words
                (key,),
            )
            for statement in (
                "DELETE FROM forgotten WHERE event = ?",
                "DELETE FROM punch WHERE event = ?",
                "DELETE FROM event WHERE key = ?",
            ):
                connection.exec_driver_sql(statement, (key,))
    _restore_punches(connection)
    for stream, seen in streams.items():
        connection.exec_driver_sql("UPDATE stream SET assigned = max(assigned, ?) WHERE id = ?", (seen, stream))
        _count_places(connection, stream)


def _restore_punches(connection: Connection) -> None:
    """Store the punches of other events of the same id, where there are some."""
    for key, gateway, body in connection.exec_driver_sql(
        "SELECT event.key, gateway.name, event.body FROM unproven JOIN event ON event.id = unproven.id "  # noqa: S608 - our own words
        f"{_GATEWAY_OF_EVENT} WHERE event.type = ? ORDER BY event.key",
        (PUNCH,),
    ).all():
        event = _event(gateway, body)
        if event is not None and event.punch is not None:
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO punch (id, event, terminal, serial, pin, uid, local_time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (event.id, key, *event.punch[:5]),
            )


def _count_places(connection: Connection, stream: int) -> None:
    """Compute ``seen`` and the gaps of a stream from what it holds."""
    places = connection.exec_driver_sql(
        "SELECT sequence FROM event WHERE stream = :stream UNION SELECT sequence FROM forgotten "
        "WHERE stream = :stream ORDER BY 1",
        {"stream": stream},
    ).scalars()
    held = [0, *places]
    connection.exec_driver_sql("DELETE FROM gap WHERE stream = ?", (stream,))
    for before, place in pairwise(held):
        if place > before + 1:
            connection.exec_driver_sql("INSERT INTO gap VALUES (?, ?, ?)", (stream, before + 1, place - 1))
    connection.exec_driver_sql("UPDATE stream SET seen = ? WHERE id = ?", (held[-1], stream))


def _compare_claimed_punches(connection: Connection, now: str) -> None:
    """Compare the punches that several gateways have sent: the one of the serial number's owner counts."""
    several = connection.exec_driver_sql(
        "SELECT punch.id, ownership.gateway FROM punch JOIN ownership ON ownership.serial = punch.serial "
        "WHERE punch.id IN (SELECT event.id FROM event JOIN stream ON stream.id = event.stream WHERE type = ? "
        "GROUP BY event.id HAVING count(DISTINCT gateway) > 1)",
        (PUNCH,),
    ).all()
    for identity, owner in several:
        sent = list(_sent(connection, identity))
        first: dict[str, tuple[int, Event]] = {}
        for key, stream, gateway, event in sent:
            first.setdefault(gateway, (key, event))
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO claim (punch, gateway, event) SELECT ?, id, ? FROM gateway WHERE name = ?",
                (identity, key, gateway),
            )
            _, _, their_gateway, theirs = sent[0]
            if fields := contradicting_fields(theirs, event):
                where = f"{their_gateway} stream {theirs.stream} sequence {theirs.sequence}"
                _note(connection, (stream, event.sequence, "claimed_twice", where, f"other {', '.join(fields)}", now))
        key, event = first.get(owner, (sent[0][0], sent[0][3]))
        assert event.punch is not None, "_sent yields punches"  # noqa: S101
        connection.exec_driver_sql(
            "UPDATE punch SET event = ?, terminal = ?, serial = ?, pin = ?, uid = ?, local_time = ? WHERE id = ?",
            (key, *event.punch[:5], identity),
        )


def _sent(connection: Connection, identity: str) -> Iterator[tuple[int, int, str, Event]]:
    """Yield key, stream, gateway and event of a punch, in the order of arrival."""
    for key, stream, gateway, body in connection.exec_driver_sql(
        f"SELECT event.key, stream.id, gateway.name, body FROM event {_GATEWAY_OF_EVENT} "  # noqa: S608 - our own words
        "WHERE event.id = ? AND type = ? ORDER BY event.key",
        (identity, PUNCH),
    ).all():
        event = _event(gateway, body)
        if event is not None and event.punch is not None:
            yield key, stream, gateway, event


def _give_pruned_events_their_places(connection: Connection, now: str) -> None:
    """Store what events say to have been pruned, so that it is not requested any more."""
    places: set[tuple[int, int]] = set()
    for key, owner, gateway, body in connection.exec_driver_sql(
        f"SELECT event.key, gateway.id, gateway.name, body FROM event {_GATEWAY_OF_EVENT} "  # noqa: S608 - our own words
        "WHERE type = ? ORDER BY event.key",
        (BODY_FORGOTTEN,),
    ).all():
        event = _event(gateway, body)
        for tombstone in () if event is None else event.tombstones:
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO stream (gateway, name, found) VALUES (?, ?, ?)", (owner, tombstone.stream, now)
            )
            stream = connection.exec_driver_sql(
                "SELECT id FROM stream WHERE gateway = ? AND name = ?", (owner, tombstone.stream)
            ).scalar_one()
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO forgotten (stream, sequence, id, digest, event) VALUES (?, ?, ?, ?, ?)",
                (stream, tombstone.sequence, tombstone.id, tombstone.digest, key),
            )
            places.add((stream, tombstone.sequence))
    for stream in sorted({stream for stream, _ in places}):
        _count_places(connection, stream)
    _check_links(connection, places, now)


def _check_links(connection: Connection, places: Iterable[tuple[int, int]], now: str) -> None:
    """Find forks at places, and breaks of the chain behind them."""
    claims: defaultdict[tuple[int, int], list[tuple[str, str, str | None]]] = defaultdict(list)
    for stream, sequence in places:
        for at in (sequence, sequence + 1):
            if (stream, at) not in claims:
                claims[stream, at] = _claims(connection, stream, at)
    for stream, sequence in sorted(places):
        identity, digest, _ = claims[stream, sequence][0]
        for other, other_digest, _ in claims[stream, sequence][1:]:
            expected, found = (digest, other_digest) if digest != other_digest else (identity, other)
            _note(connection, (stream, sequence, "fork", expected, found, now))
        below = [claim[1] for claim in claims[stream, sequence]]
        here = [claim[2] for claim in claims[stream, sequence + 1]]
        if here and None not in here and set(below).isdisjoint(here):
            _note(connection, (stream, sequence + 1, "break", below[0], str(here[0]), now))


def _claims(connection: Connection, stream: int, sequence: int) -> list[tuple[str, str, str | None]]:
    """Return id, digest and previous of the events at a place; of pruned ones previous is None."""
    stored = connection.exec_driver_sql(
        "SELECT id, digest, previous FROM event WHERE stream = ? AND sequence = ? ORDER BY key", (stream, sequence)
    ).all()
    digests = {digest for _, digest, _ in stored}
    pruned = connection.exec_driver_sql(
        "SELECT id, digest FROM forgotten WHERE stream = ? AND sequence = ? ORDER BY event", (stream, sequence)
    )
    return [
        *((identity, digest, previous) for identity, digest, previous in stored),
        *((identity, digest, None) for identity, digest in pruned if digest not in digests),
    ]


def _note(connection: Connection, finding: tuple[int, int, str, str, str, str]) -> None:
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO finding (stream, sequence, kind, expected, found, at) VALUES (?, ?, ?, ?, ?, ?)", finding
    )


def _event(gateway: str, body: object) -> Event | None:
    found = read_stored(gateway, body)
    return found if isinstance(found, Event) else None
