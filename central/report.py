"""What the centre holds, stream by stream, and a check of all of it from the stored bytes. Only reads."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from central.event import Event, first_previous, read
from central.store import SCHEMA_VERSION, StoreError


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
    events: int
    punches: int
    """Of those that came first by this stream."""
    forks: list[int]
    misidentified: list[int]
    chain: Chain
    predecessor: Predecessor | None


@dataclass(frozen=True, slots=True)
class RejectedReport:
    """Messages that were kept aside."""

    gateway: str | None
    reason: str
    messages: int


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
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for reading, also while an inbox writes it; raises StoreError."""
    if not path.is_file():
        raise StoreError(f"{path}: no such database")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise StoreError(f"{path}: not a database of this version of hadir-central")
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
                events=connection.execute("SELECT count(*) FROM event WHERE stream = ?", (key,)).fetchone()[0],
                punches=punches.get(key, 0),
                forks=forks,
                misidentified=misidentified,
                chain=_chain(connection, key, seen, gaps),
                predecessor=_predecessor(connection, key),
            )
        )
    rejected = connection.execute(
        "SELECT gateway, reason, sum(times) FROM rejected GROUP BY gateway, reason ORDER BY gateway, reason"
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
    for key, (gateway, name) in names.items():
        for sequence, what in _faults(connection, key, gateway, name):
            yield Fault(gateway, name, sequence, what)
        predecessor = _predecessor(connection, key)
        if predecessor is not None and predecessor.state == "differs":
            yield Fault(gateway, name, 0, f"its predecessor {predecessor.stream} ends otherwise than its info says")
    yield from (
        Fault(*names[stream], sequence, "a punch that the table of punches lacks")
        for stream, sequence in connection.execute(
            "SELECT stream, sequence FROM event WHERE type = 'hadir.punch.recorded.v1' "
            "AND NOT EXISTS (SELECT 1 FROM punch WHERE punch.id = event.id) AND NOT EXISTS (SELECT 1 FROM finding "
            "WHERE finding.stream = event.stream AND finding.sequence = event.sequence AND kind = 'misidentified')"
        )
    )


def _faults(connection: sqlite3.Connection, key: int, gateway: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield sequence and fault for one stream, its events in order."""
    seen = connection.execute("SELECT seen FROM stream WHERE id = ?", (key,)).fetchone()[0]
    gaps = iter(connection.execute("SELECT first, last FROM gap WHERE stream = ? ORDER BY first", (key,)).fetchall())
    before: tuple[int, list[str]] = (0, [first_previous(name)])
    here: tuple[int, list[str]] = before
    linked = True
    for sequence, digest, body in connection.execute(
        "SELECT sequence, digest, body FROM event WHERE stream = ? ORDER BY sequence, key", (key,)
    ):
        (said,) = read(f"{gateway}/batch", body.encode())
        event_digest, previous = digest, None
        if isinstance(said, Event):
            event_digest, previous = said.digest, said.previous
            if (said.stream, said.sequence, said.digest) != (name, sequence, digest):
                yield sequence, "its columns are not those of its content"
            if said.doubt is not None:
                yield sequence, f"a punch whose id is not its own: {said.doubt}"
        else:
            yield sequence, "its content was altered in this database"
        if sequence != here[0]:
            if not linked:
                yield here[0], "previous is not the digest of the event before"
            before, here = here, (sequence, [event_digest])
            if sequence != before[0] + 1 and next(gaps, None) != (before[0] + 1, sequence - 1):
                yield sequence, "the table of gaps does not say what is missing before it"
            linked = sequence != before[0] + 1
        else:
            yield sequence, "a fork: different events claim this place"
            here[1].append(event_digest)
        linked = linked or previous in before[1]
    if not linked:
        yield here[0], "previous is not the digest of the event before"
    if next(gaps, None) is not None or here[0] != seen:
        yield here[0], "the tables of streams and gaps tell of more than is held"


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
    rows: list[Any] = connection.execute(
        "SELECT sequence, digest FROM event WHERE sequence >= ? "
        "AND stream = (SELECT id FROM stream WHERE gateway = ? AND name = ?)",
        (sequence, gateway, name),
    ).fetchall()
    held = [found for at, found in rows if at == sequence]
    state: Literal["matches", "differs", "not_held"] = (
        "not_held" if not held else "matches" if digest in held else "differs"
    )
    return Predecessor(name, sequence, state, len({at for at, _ in rows if at > sequence}))
