"""Reports the events held, stream by stream, and verifies all of them from the stored bytes. Read-only."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, func, select

from central.event import BODY_FORGOTTEN, Event, Rejected, first_previous, read_stored
from central.store import Database, retention
from central.store.engine import listed
from central.store.ownership import counting, event_in
from central.store.portable import json_field
from central.store.portable import run as statement
from central.store.retention import STUB, number_in
from central.store.tables import events


@dataclass(frozen=True, slots=True)
class Break:
    """A sequence whose event has a ``previous`` other than the digest of the event before it."""

    sequence: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The verified part of the digest chain: from the first event held to the first gap, break or the end."""

    state: Literal["unbroken", "joined", "broken", "empty"]
    """``joined``: the stream's beginning is not held, so the first ``previous`` is taken on trust."""
    first: int
    last: int
    """The verified part; last < first where there is none."""
    breaks: int
    first_break: Break | None


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The end of the preceding stream as ``info`` states it, compared with the events held."""

    stream: str
    sequence: int
    state: Literal["matches", "differs", "not_held"]
    held_beyond: int
    """Events held of it above that sequence: those that the gateway's restored ledger lacked."""


@dataclass(frozen=True, slots=True)
class StreamReport:
    """All of 1..``upto`` is held except ``missing``."""

    gateway: str
    stream: str
    current: bool
    """Whether the gateway's receipts cover this stream."""
    upto: int
    missing: list[tuple[int, int]]
    gone: list[tuple[int, int]]
    """Tombstones: held by id and digest alone, because the gateway removed the content before it arrived."""
    events: int
    punches: int
    """Punches whose counting event is in this stream."""
    forks: list[int]
    misidentified: list[int]
    claimed_twice: list[int]
    """Events whose id another event has with other content: the event of the serial number's owner counts."""
    unproven: list[tuple[int, int]]
    """Missing, because an older version of this program stored them without their whole content."""
    first_previous: list[int]
    """Events whose ``previous`` is unverified: the event before is missing. Never the first event of a stream."""
    quotas: list[str]
    """Exceeded quotas: ``too_many_gaps``, ``too_many_streams``, ``too_many_forks``."""
    chain: Chain
    predecessor: Predecessor | None


@dataclass(frozen=True, slots=True)
class RejectedReport:
    """Rejected messages of one gateway and reason."""

    gateway: str | None
    reason: str
    messages: int
    only_counted: int
    """Of them, those that were counted but not kept, because a quota was exceeded."""


@dataclass(frozen=True, slots=True)
class Report:
    """All streams and all rejected messages."""

    streams: list[StreamReport]
    rejected: list[RejectedReport]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault found by :func:`verify`; ``sequence`` 0 for the stream as a whole."""

    gateway: str
    stream: str
    sequence: int
    what: str


@contextmanager
def open_readonly(address: Path | str) -> Iterator[Connection]:
    """Open the database for reading, at one moment, also while an inbox writes it; raises StoreError."""
    with Database(address, read_only=True) as database, database.reading() as connection:
        yield connection


def report(connection: Connection) -> Report:
    """Summarize the events held; the state of a chain is the one that the inbox has verified event by event."""
    counted = "SELECT event.stream, count(*) FROM punch JOIN event ON event.key = punch.event GROUP BY event.stream"
    punches = {row[0]: row[1] for row in statement(connection, counted)}
    streams = []
    for key, gateway, name, current, seen, assigned in statement(
        connection,
        "SELECT stream.id, gateway.name, stream.name, gateway.stream = stream.id, seen, assigned "
        "FROM stream JOIN gateway ON gateway.id = stream.gateway ORDER BY gateway.name, stream.id",
    ):
        gaps = _gaps(connection, key)
        missing = [*gaps, *([(seen + 1, assigned)] if assigned > seen else [])]
        forks, misidentified = _places(connection, key, "fork"), _places(connection, key, "misidentified")
        streams.append(
            StreamReport(
                gateway=gateway,
                stream=name,
                current=bool(current),
                upto=max(seen, assigned),
                missing=missing,
                gone=_pruned_ranges(connection, key),
                events=statement(connection, "SELECT count(*) FROM event WHERE stream = :key", key=key).scalar_one(),
                punches=punches.get(key, 0),
                forks=forks,
                misidentified=misidentified,
                claimed_twice=_places(connection, key, "claimed_twice"),
                unproven=_unproven(connection, key),
                first_previous=[last + 1 for _, last in gaps],
                quotas=_quotas(connection, key),
                chain=_chain(connection, key, seen, gaps),
                predecessor=_predecessor(connection, key),
            )
        )
    rejected = statement(
        connection,
        "SELECT gateway, reason, sum(times), sum(counted) FROM ("
        "SELECT gateway, reason, times, 0 AS counted FROM rejected UNION ALL "
        "SELECT nullif(gateway, ''), reason, times, times FROM rejected_counted) AS every "
        "GROUP BY gateway, reason ORDER BY gateway, reason",
    )
    return Report(streams, [RejectedReport(*row) for row in rejected])


def verify(connection: Connection) -> Iterator[Fault]:
    """Recompute every column from the stored bodies; yield each difference as a fault."""
    names = {
        key: (gateway, name)
        for key, gateway, name in statement(
            connection,
            "SELECT stream.id, gateway.name, stream.name FROM stream JOIN gateway ON gateway.id = stream.gateway",
        )
    }
    for what in retention.faults(connection):
        yield Fault("-", "-", 0, what)
    stated = _stated_tombstones(connection, names)
    for key, (gateway, name) in names.items():
        try:
            for sequence, what in _faults(connection, key, gateway, name, stated[gateway, name]):
                yield Fault(gateway, name, sequence, what)
        except (TypeError, ValueError, OverflowError):  # a column holds a value of another type than was stored
            yield Fault(gateway, name, 0, "its rows were altered in this database; it cannot be verified further")
        predecessor = _predecessor(connection, key)
        if predecessor is not None and predecessor.state == "differs":
            yield Fault(gateway, name, 0, f"its predecessor {predecessor.stream} ends otherwise than its info states")
    for stream, sequence, what in _punch_faults(connection):
        yield Fault(*names[stream], sequence, what)
    orphans = statement(
        connection, "SELECT count(*) FROM punch WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.key = punch.event)"
    ).scalar_one()
    if orphans:
        yield Fault("-", "-", 0, f"{orphans} punches whose events are not in this database")


def _punch_faults(connection: Connection) -> Iterator[tuple[int, int, str]]:
    """Yield stream, sequence and fault of each punch whose row differs from its event."""
    archived = ", ".join(f"'{month}'" for month in retention.archived_months(connection))
    month = f"substr({json_field(connection, 'body', 'data', 'local_time')}, 1, 7)"
    lacking = statement(
        connection,
        "SELECT stream, sequence, id FROM event WHERE type = 'hadir.punch.recorded.v1' "  # noqa: S608 - dates
        f"AND substr(body, 1, 11) != :stub {f'AND {month} NOT IN ({archived}) ' if archived else ''}"
        "AND NOT EXISTS (SELECT 1 FROM punch WHERE punch.id = event.id) AND NOT EXISTS (SELECT 1 FROM finding "
        "WHERE finding.stream = event.stream AND finding.sequence = event.sequence AND kind = 'misidentified')",
        stub=STUB,
    ).all()
    # A punch that was sent twice leaves the table with the first of its events that is deleted.
    deleted: set[str] = set()
    if lacking:
        ids = listed(events.c.id, (identity for *_, identity in lacking))
        emptied = func.substr(events.c.body, 1, len(STUB)) == STUB
        deleted |= set(connection.execute(select(events.c.id).where(emptied, ids)).scalars())
    yield from (
        (stream, sequence, "a punch that the table of punches lacks")
        for stream, sequence, identity in lacking
        if identity not in deleted
    )
    claimed = statement(
        connection,
        "SELECT punch.id, stream, sequence, event FROM punch JOIN event ON event.key = punch.event "
        "WHERE punch.id IN (SELECT punch FROM claim)",
    ).all()
    rightful = counting(connection, (identity for identity, *_ in claimed))
    for identity, stream, sequence, key in claimed:
        if key != rightful[identity]:
            yield stream, sequence, "a punch that counts, though its serial number belongs to another gateway"


_Tombstones = dict[int, set[tuple[str, str]]]
"""Ids and digests of pruned events, by sequence."""


def _stated_tombstones(
    connection: Connection, names: dict[int, tuple[str, str]]
) -> defaultdict[tuple[str, str], _Tombstones]:
    """Return the tombstones that the stored pruning events state, by gateway and stream."""
    stated: defaultdict[tuple[str, str], _Tombstones] = defaultdict(lambda: defaultdict(set))
    for key, body in statement(connection, "SELECT stream, body FROM event WHERE type = :type", type=BODY_FORGOTTEN):
        gateway, _ = names[key]
        event = event_in(gateway, body)
        for tombstone in () if event is None else event.tombstones:
            stated[gateway, tombstone.stream][tombstone.sequence].add((tombstone.id, tombstone.digest))
    return stated


# Longer than 60 lines: one pass over rows, gaps and tombstones side by side; each check needs what it has seen.
def _faults(
    connection: Connection, key: int, gateway: str, name: str, stated: _Tombstones
) -> Iterator[tuple[int, str]]:
    """Yield sequence and fault for one stream, in the order of sequences."""
    seen = statement(connection, "SELECT seen FROM stream WHERE id = :key", key=key).scalar_one()
    gaps = iter(_gaps(connection, key))
    stored: _Tombstones = defaultdict(set)
    for sequence, identity, digest in statement(
        connection, "SELECT sequence, id, digest FROM forgotten WHERE stream = :key", key=key
    ):
        stored[sequence].add((identity, digest))
    if {"too_many_gaps", "too_many_forks"} & set(_quotas(connection, key)):  # these quotas refuse tombstones too
        stated = {place: claims & stored[place] for place, claims in stated.items() if claims & stored[place]}
    for sequence in sorted(stored.keys() | stated.keys()):
        if stored.get(sequence, set()) != stated.get(sequence, set()):
            yield sequence, "the table of pruned events differs from what the gateway's events state"
    rows_of_all = statement(
        connection,
        "SELECT sequence, event.id, digest, previous, type, terminal, serial, pin, uid, local_time, instant, body "
        "FROM event "
        "LEFT JOIN punch ON punch.event = event.key AND punch.id = event.id WHERE stream = :key ORDER BY sequence, key",
        key=key,
    )
    before: tuple[int, set[str]] = (0, {first_previous(name)})
    for sequence, rows in groupby(
        merge(rows_of_all, ((place,) for place in sorted(stated)), key=itemgetter(0)), itemgetter(0)
    ):
        held: set[tuple[str, str]] = set()
        linked = False
        for row in (row for row in rows if len(row) > 1):
            *columns, body = row[:5] + row[-1:]
            if number_in(body) is not None:  # by a deletion on record, which `retention.faults` verifies
                linked = linked or row[3] in before[1]
                held.add((row[1], row[2]))
                continue
            event = read_stored(gateway, body)
            if isinstance(event, Event):
                linked = linked or event.previous in before[1]
                held.add((event.id, event.digest))
                content = [event.sequence, event.id, event.digest, event.previous, event.type]
                if event.stream != name or columns != content:
                    yield sequence, "its columns are not those of its content"
                if row[5] is not None and event.punch != row[5:-1]:
                    yield sequence, "its row in the table of punches differs from this event"
                if event.id_mismatch is not None:
                    yield sequence, f"a punch whose id is not its own: {event.id_mismatch}"
            else:
                held.add((row[1], row[2]))
                yield sequence, _rejection(event)
        claims = held | stated.get(sequence, set())
        pruned = {digest for _, digest in claims} - {digest for _, digest in held}
        if len(claims) > 1:
            yield sequence, "a fork: different events claim this place"
        if sequence != before[0] + 1:
            if next(gaps, None) != (before[0] + 1, sequence - 1):
                yield sequence, "the table of gaps differs from what is missing before it"
        elif not linked and not pruned:
            yield sequence, "previous is not the digest of the event before"
        before = sequence, {digest for _, digest in claims}
    if next(gaps, None) is not None or before[0] != seen:
        yield before[0], "the tables of streams and gaps cover more than is held"


def _rejection(rejected: Rejected) -> str:
    if rejected.reason == "source_mismatch":
        return "its source is not the gateway of its topic"
    return "its content was altered in this database"


def _unproven(connection: Connection, stream: int) -> list[tuple[int, int]]:
    """Return the sequences of events stored without their whole content and not received again, as ranges."""
    places = statement(
        connection,
        "SELECT DISTINCT sequence FROM unproven_missing WHERE stream = :stream ORDER BY sequence",
        stream=stream,
    )
    return list(_ranges(place for (place,) in places))


def _quotas(connection: Connection, stream: int) -> list[str]:
    rows = statement(
        connection,
        "SELECT DISTINCT kind FROM finding WHERE stream = :stream AND substr(kind, 1, 9) = 'too_many_' ORDER BY kind",
        stream=stream,
    )
    return [kind for (kind,) in rows]


def _pruned_ranges(connection: Connection, stream: int) -> list[tuple[int, int]]:
    """Return the sequences of a stream of which only a tombstone is held, as ranges."""
    places = statement(
        connection, "SELECT DISTINCT sequence FROM gone WHERE stream = :stream ORDER BY sequence", stream=stream
    )
    return list(_ranges(place for (place,) in places))


def _ranges(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    for _, run in groupby(enumerate(places), lambda numbered: numbered[1] - numbered[0]):
        (_, first), *rest = run
        yield first, rest[-1][1] if rest else first


def _gaps(connection: Connection, stream: int) -> list[tuple[int, int]]:
    """Return the ranges that are missing below the highest sequence held."""
    rows = statement(connection, "SELECT first, last FROM gap WHERE stream = :stream ORDER BY first", stream=stream)
    return [(first, last) for first, last in rows]


def _places(connection: Connection, stream: int, kind: str) -> list[int]:
    rows = statement(
        connection,
        "SELECT sequence FROM finding WHERE stream = :stream AND kind = :kind ORDER BY sequence",
        stream=stream,
        kind=kind,
    )
    return [sequence for (sequence,) in rows]


def _chain(connection: Connection, stream: int, seen: int, gaps: list[tuple[int, int]]) -> Chain:
    breaks = [
        Break(*row)
        for row in statement(
            connection,
            "SELECT sequence, expected, found FROM finding WHERE stream = :stream AND kind = 'break' ORDER BY sequence",
            stream=stream,
        )
    ]
    if not seen:
        return Chain("empty", 1, 0, 0, None)
    first = gaps[0][1] + 1 if gaps and gaps[0][0] == 1 else 1
    later = [gap_first for gap_first, _ in gaps if gap_first > first]
    last = min(later[0] if later else seen + 1, breaks[0].sequence if breaks else seen + 1) - 1
    state: Literal["unbroken", "joined", "broken"] = "broken" if breaks else "joined" if first > 1 else "unbroken"
    return Chain(state, first, last, len(breaks), breaks[0] if breaks else None)


def _predecessor(connection: Connection, key: int) -> Predecessor | None:
    gateway, name, sequence, digest = statement(
        connection,
        "SELECT gateway, predecessor, predecessor_sequence, predecessor_digest FROM stream WHERE id = :key",
        key=key,
    ).one()
    if name is None:
        return None
    stream = "stream = (SELECT id FROM stream WHERE gateway = :gateway AND name = :name)"
    end = {"sequence": sequence, "gateway": gateway, "name": name}
    digests = {
        held
        for (held,) in statement(
            connection,
            f"SELECT digest FROM event WHERE {stream} AND sequence = :sequence "  # noqa: S608 - constant text
            f"UNION SELECT digest FROM gone WHERE {stream} AND sequence = :sequence",
            **end,
        )
    }
    beyond = statement(
        connection,
        f"SELECT count(*) FROM (SELECT sequence FROM event WHERE {stream} AND sequence > :sequence "  # noqa: S608 - constant text
        f"UNION SELECT sequence FROM gone WHERE {stream} AND sequence > :sequence) AS beyond",
        **end,
    ).scalar_one()
    state: Literal["matches", "differs", "not_held"] = (
        "not_held" if not digests else "matches" if digest in digests else "differs"
    )
    return Predecessor(name, sequence, state, beyond)
