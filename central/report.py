"""What the centre holds, stream by stream, and a check of all of it from the stored bytes. Only reads."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from central.event import BODY_FORGOTTEN, Event, Rejected, decode_text, first_previous, read_stored
from central.ownership import counting, event_in
from central.store import StoreError, check_version


@dataclass(frozen=True, slots=True)
class Break:
    """A place whose event does not name the digest of the one before it."""

    sequence: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Chain:
    """How far the digest chain is verified: from its first event held to the first gap, break or the end."""

    state: Literal["unbroken", "joined", "broken", "empty"]
    """``joined``: the stream's beginning is not held, so the first ``previous`` is taken on trust."""
    first: int
    last: int
    """The verified part; last < first where there is none."""
    breaks: int
    first_break: Break | None


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The end of the stream before, as this one's info names it, against what is held of it."""

    stream: str
    sequence: int
    state: Literal["matches", "differs", "not_held"]
    held_beyond: int
    """Events held of it above that sequence: what the gateway's restored ledger no longer knew."""


@dataclass(frozen=True, slots=True)
class StreamReport:
    """All of 1..``upto`` is held except ``missing``."""

    gateway: str
    stream: str
    current: bool
    """It is the one the gateway's receipts speak of."""
    upto: int
    missing: list[tuple[int, int]]
    gone: list[tuple[int, int]]
    """Held by id and digest alone: the gateway has removed their content before it came here."""
    events: int
    punches: int
    """Of those that came first by this stream."""
    forks: list[int]
    misidentified: list[int]
    claimed_twice: list[int]
    """Events whose id another event has with other content: the one of the serial number's owner counts."""
    unproven: list[tuple[int, int]]
    """Missing, though an older version of this program took them without their whole content."""
    first_previous: list[int]
    """Events whose ``previous`` is taken on trust, because the event before is missing; no stream's first one is."""
    quotas: list[str]
    """Quotas that refused something: ``too_many_gaps``, ``too_many_streams``, ``too_many_forks``."""
    chain: Chain
    predecessor: Predecessor | None


@dataclass(frozen=True, slots=True)
class RejectedReport:
    """Messages that were rejected."""

    gateway: str | None
    reason: str
    messages: int
    only_counted: int
    """Of them, those that were not kept, because there were too many."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything there is."""

    streams: list[StreamReport]
    rejected: list[RejectedReport]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that a verification found."""

    gateway: str
    stream: str
    sequence: int
    what: str


@contextmanager
def open_readonly(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for reading, also while an inbox writes it; raises StoreError."""
    if not path.is_file():
        raise StoreError(f"{path}: no such database")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        connection.text_factory = decode_text
        try:
            check_version(path, connection)
            connection.execute("BEGIN")  # one moment, however long the reading takes
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as exc:
        raise StoreError(f"{path}: {exc}") from exc


def report(connection: sqlite3.Connection) -> Report:
    """Sum up what is held; the chain's state is what the inbox has verified event by event."""
    punches = dict(
        connection.execute(
            "SELECT event.stream, count(*) FROM punch JOIN event ON event.key = punch.event GROUP BY event.stream"
        )
    )
    streams = []
    for key, gateway, name, current, seen, assigned in connection.execute(
        "SELECT stream.id, gateway.name, stream.name, gateway.stream = stream.id, seen, assigned "
        "FROM stream JOIN gateway ON gateway.id = stream.gateway ORDER BY gateway.name, stream.id"
    ):
        gaps = connection.execute("SELECT first, last FROM gap WHERE stream = ? ORDER BY first", (key,)).fetchall()
        missing = [*gaps, *([(seen + 1, assigned)] if assigned > seen else [])]
        forks, misidentified = _places(connection, key, "fork"), _places(connection, key, "misidentified")
        streams.append(
            StreamReport(
                gateway=gateway,
                stream=name,
                current=bool(current),
                upto=max(seen, assigned),
                missing=missing,
                gone=_gone(connection, key),
                events=connection.execute("SELECT count(*) FROM event WHERE stream = ?", (key,)).fetchone()[0],
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
    rejected = connection.execute(
        "SELECT gateway, reason, sum(times), sum(counted) FROM ("
        "SELECT gateway, reason, times, 0 AS counted FROM rejected UNION ALL "
        "SELECT nullif(gateway, ''), reason, times, times FROM rejected_counted) "
        "GROUP BY gateway, reason ORDER BY gateway, reason"
    )
    return Report(streams, [RejectedReport(*row) for row in rejected])


def verify(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Compute everything again from the stored bodies, believing no other column; yield what does not come out."""
    names = {
        key: (gateway, name)
        for key, gateway, name in connection.execute(
            "SELECT stream.id, gateway.name, stream.name FROM stream JOIN gateway ON gateway.id = stream.gateway"
        )
    }
    forgotten = _forgotten(connection, names)
    for key, (gateway, name) in names.items():
        try:
            for sequence, what in _faults(connection, key, gateway, name, forgotten[gateway, name]):
                yield Fault(gateway, name, sequence, what)
        except (TypeError, ValueError, OverflowError):  # a column that holds another kind of value than it was given
            yield Fault(gateway, name, 0, "its rows were altered in this database; it cannot be verified further")
        predecessor = _predecessor(connection, key)
        if predecessor is not None and predecessor.state == "differs":
            yield Fault(gateway, name, 0, f"its predecessor {predecessor.stream} ends otherwise than its info says")
    for stream, sequence, what in _punch_faults(connection):
        yield Fault(*names[stream], sequence, what)
    (orphans,) = connection.execute(
        "SELECT count(*) FROM punch WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.key = punch.event)"
    ).fetchone()
    if orphans:
        yield Fault("-", "-", 0, f"{orphans} punches whose events are not in this database")


def _punch_faults(connection: sqlite3.Connection) -> Iterator[tuple[int, int, str]]:
    """Yield stream, sequence and fault of punches whose table does not say what the events say."""
    yield from (
        (stream, sequence, "a punch that the table of punches lacks")
        for stream, sequence in connection.execute(
            "SELECT stream, sequence FROM event WHERE type = 'hadir.punch.recorded.v1' "
            "AND NOT EXISTS (SELECT 1 FROM punch WHERE punch.id = event.id) AND NOT EXISTS (SELECT 1 FROM finding "
            "WHERE finding.stream = event.stream AND finding.sequence = event.sequence AND kind = 'misidentified')"
        )
    )
    for identity, stream, sequence, key in connection.execute(
        "SELECT punch.id, stream, sequence, event FROM punch JOIN event ON event.key = punch.event "
        "WHERE punch.id IN (SELECT punch FROM claim)"
    ):
        if key != counting(connection, identity):
            yield stream, sequence, "a punch that counts, though its serial number belongs to another gateway"


_Remains = dict[int, set[tuple[str, str]]]
"""Ids and digests of events that have a place, by their sequence."""


def _forgotten(
    connection: sqlite3.Connection, names: dict[int, tuple[str, str]]
) -> defaultdict[tuple[str, str], _Remains]:
    """Return for each gateway and stream what the gateway's events say to have been forgotten of it."""
    found: defaultdict[tuple[str, str], _Remains] = defaultdict(lambda: defaultdict(set))
    for key, body in connection.execute("SELECT stream, body FROM event WHERE type = ?", (BODY_FORGOTTEN,)):
        gateway, _ = names[key]
        event = event_in(gateway, body)
        for remains in () if event is None else event.tombstones:
            found[gateway, remains.stream][remains.sequence].add((remains.id, remains.digest))
    return found


def _faults(
    connection: sqlite3.Connection, key: int, gateway: str, name: str, forgotten: _Remains
) -> Iterator[tuple[int, str]]:
    """Yield sequence and fault for one stream, its places in order."""
    seen = connection.execute("SELECT seen FROM stream WHERE id = ?", (key,)).fetchone()[0]
    gaps = iter(connection.execute("SELECT first, last FROM gap WHERE stream = ? ORDER BY first", (key,)).fetchall())
    noted: _Remains = defaultdict(set)
    for sequence, *remains in connection.execute("SELECT sequence, id, digest FROM forgotten WHERE stream = ?", (key,)):
        noted[sequence].add((remains[0], remains[1]))
    if {"too_many_gaps", "too_many_forks"} & set(_quotas(connection, key)):  # what they refused has no place here
        forgotten = {place: claims & noted[place] for place, claims in forgotten.items() if claims & noted[place]}
    for sequence in sorted(noted.keys() | forgotten.keys()):
        if noted.get(sequence, set()) != forgotten.get(sequence, set()):
            yield sequence, "the table of what was forgotten does not say what the gateway has said"
    events = connection.execute(
        "SELECT sequence, event.id, digest, previous, type, terminal, serial, pin, uid, local_time, body FROM event "
        "LEFT JOIN punch ON punch.event = event.key AND punch.id = event.id WHERE stream = ? ORDER BY sequence, key",
        (key,),
    )
    before: tuple[int, set[str]] = (0, {first_previous(name)})
    for sequence, rows in groupby(
        merge(events, ((place,) for place in sorted(forgotten)), key=itemgetter(0)), itemgetter(0)
    ):
        held: set[tuple[str, str]] = set()
        linked = False
        for row in (row for row in rows if len(row) > 1):
            *columns, body = row[:5] + row[-1:]
            found = read_stored(gateway, body)
            if isinstance(found, Event):
                linked = linked or found.previous in before[1]
                held.add((found.id, found.digest))
                said = [found.sequence, found.id, found.digest, found.previous, found.type]
                if found.stream != name or said != columns:
                    yield sequence, "its columns are not those of its content"
                if row[5] is not None and found.punch != row[5:-1]:
                    yield sequence, "the table of punches does not say what this event says"
                if found.id_mismatch is not None:
                    yield sequence, f"a punch whose id is not its own: {found.id_mismatch}"
            else:
                held.add((row[1], row[2]))
                yield sequence, _rejection(found)
        claims = held | forgotten.get(sequence, set())
        gone = {digest for _, digest in claims} - {digest for _, digest in held}
        if len(claims) > 1:
            yield sequence, "a fork: different events claim this place"
        if sequence != before[0] + 1:
            if next(gaps, None) != (before[0] + 1, sequence - 1):
                yield sequence, "the table of gaps does not say what is missing before it"
        elif not linked and not gone:
            yield sequence, "previous is not the digest of the event before"
        before = sequence, {digest for _, digest in claims}
    if next(gaps, None) is not None or before[0] != seen:
        yield before[0], "the tables of streams and gaps tell of more than is held"


def _rejection(found: Rejected) -> str:
    if found.reason == "source_mismatch":
        return "its source is not the gateway whose topic brought it"
    return "its content was altered in this database"


def _unproven(connection: sqlite3.Connection, stream: int) -> list[tuple[int, int]]:
    """Return the places of events that were taken without their whole content and have not come since, as ranges."""
    places = connection.execute(
        "SELECT DISTINCT sequence FROM unproven_missing WHERE stream = ? ORDER BY sequence", (stream,)
    )
    return list(_ranges(place for (place,) in places))


def _quotas(connection: sqlite3.Connection, stream: int) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT kind FROM finding WHERE stream = ? AND kind GLOB 'too_many_*' ORDER BY kind", (stream,)
    )
    return [kind for (kind,) in rows]


def _gone(connection: sqlite3.Connection, stream: int) -> list[tuple[int, int]]:
    """Return the places of a stream whose content is gone, as ranges."""
    places = connection.execute("SELECT DISTINCT sequence FROM gone WHERE stream = ? ORDER BY sequence", (stream,))
    return list(_ranges(place for (place,) in places))


def _ranges(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    for _, run in groupby(enumerate(places), lambda numbered: numbered[1] - numbered[0]):
        (_, first), *rest = run
        yield first, rest[-1][1] if rest else first


def _places(connection: sqlite3.Connection, stream: int, kind: str) -> list[int]:
    rows = connection.execute(
        "SELECT sequence FROM finding WHERE stream = ? AND kind = ? ORDER BY sequence", (stream, kind)
    )
    return [sequence for (sequence,) in rows]


def _chain(connection: sqlite3.Connection, stream: int, seen: int, gaps: list[tuple[int, int]]) -> Chain:
    breaks = [
        Break(*row)
        for row in connection.execute(
            "SELECT sequence, expected, found FROM finding WHERE stream = ? AND kind = 'break' ORDER BY sequence",
            (stream,),
        )
    ]
    if not seen:
        return Chain("empty", 1, 0, 0, None)
    first = gaps[0][1] + 1 if gaps and gaps[0][0] == 1 else 1
    later = [gap_first for gap_first, _ in gaps if gap_first > first]
    last = min(later[0] if later else seen + 1, breaks[0].sequence if breaks else seen + 1) - 1
    state: Literal["unbroken", "joined", "broken"] = "broken" if breaks else "joined" if first > 1 else "unbroken"
    return Chain(state, first, last, len(breaks), breaks[0] if breaks else None)


def _predecessor(connection: sqlite3.Connection, key: int) -> Predecessor | None:
    gateway, name, sequence, digest = connection.execute(
        "SELECT gateway, predecessor, predecessor_sequence, predecessor_digest FROM stream WHERE id = ?", (key,)
    ).fetchone()
    if name is None:
        return None
    behind = "sequence >= :sequence AND stream = (SELECT id FROM stream WHERE gateway = :gateway AND name = :name)"
    rows: list[Any] = connection.execute(
        f"SELECT sequence, digest FROM event WHERE {behind} UNION SELECT sequence, digest FROM gone WHERE {behind}",  # noqa: S608 - our own words
        {"sequence": sequence, "gateway": gateway, "name": name},
    ).fetchall()
    held = [found for at, found in rows if at == sequence]
    state: Literal["matches", "differs", "not_held"] = (
        "not_held" if not held else "matches" if digest in held else "differs"
    )
    return Predecessor(name, sequence, state, len({at for at, _ in rows if at > sequence}))
