"""Decisions about keeping data: holds, their ends, and deletions. A log that only grows, each row chained to the last.

A deletion is stored in the transaction that deletes, with the number of rows and the SHA-256 of what identifies them:
what is gone can be counted and named, and no more can be removed under its name. Triggers refuse changes of the log.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import Connection, select
from sqlmodel import Field

from central.store.engine import KEY, Row, encode, insert_many, table
from central.store.portable import run

HOLD, LIFT, DELETION = "hold", "lift", "deletion"
ARCHIVE = "archive"
"""The kind of a deletion that has detached a month of punches, see :mod:`central.store.partitions`."""
STUB = '{"deleted":'
"""What the body of an event begins with whose content was deleted; the number of the deletion follows."""


class RetentionRow(Row, table=True):
    """A decision; never updated, never deleted."""

    __tablename__: ClassVar[Any] = "retention_log"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    at: str
    """UTC."""
    what: str
    """``hold``, ``lift``, ``deletion``."""
    content: str
    """Canonical JSON, see :class:`Hold` and :class:`Deletion`."""
    by: str
    paper: str
    previous: str
    digest: str
    """SHA-256 of the canonical JSON of the other columns, in their order."""


LOG = table(RetentionRow)
_COLUMNS = tuple(column.name for column in LOG.columns)


class Entry(NamedTuple):
    """A decision as it is stored."""

    id: int
    at: str
    what: str
    content: Mapping[str, Any]
    by: str
    paper: str


class Hold(NamedTuple):
    """That nothing of some people, or of anybody, is deleted until the hold is lifted."""

    number: int
    at: str
    by: str
    paper: str
    case: str
    people: tuple[str, ...]
    units: tuple[str, ...]
    """With the units below, on whatever dates."""
    everybody: bool
    lifted: Entry | None = None


class Deletion(NamedTuple):
    """What a deletion took."""

    number: int
    at: str
    by: str
    paper: str
    kind: str
    until: date
    """The last date that it was about."""
    rows: int
    digest: str
    """SHA-256 of what identifies the rows, one line each; see the kinds in :mod:`central.rights.kinds`."""
    settled: date | None
    """No day until this one is judged again."""
    last: int | None
    """Of the access log: the last row that it took."""


def add(connection: Connection, at: str, what: str, content: Mapping[str, Any], by: str, paper: str) -> int:
    """Store a decision in the caller's writing transaction; return its number."""
    last = connection.execute(select(LOG.c.id, LOG.c.digest).order_by(LOG.c.id.desc()).limit(1)).first()
    number, previous = (1, "") if last is None else (last.id + 1, last.digest)
    values = (number, at, what, encode(dict(content)), by, paper, previous)
    insert_many(connection, LOG, _COLUMNS, [(*values, _digest(values))])
    return number


def next_number(connection: Connection) -> int:
    """Return the number that :func:`add` gives next, in the caller's writing transaction."""
    last = connection.execute(select(LOG.c.id).order_by(LOG.c.id.desc()).limit(1)).scalar()
    return 1 if last is None else int(last) + 1


def entries(connection: Connection, what: str | None = None) -> list[Entry]:
    """Return the decisions in their order, of one kind or all."""
    query = select(LOG.c.id, LOG.c.at, LOG.c.what, LOG.c.content, LOG.c.by, LOG.c.paper).order_by(LOG.c.id)
    if what is not None:
        query = query.where(LOG.c.what == what)
    return [
        Entry(number, at, kind, json.loads(content), by, paper)
        for number, at, kind, content, by, paper in connection.execute(query)
    ]


def holds(connection: Connection) -> list[Hold]:
    """Return all holds, those that were lifted with the decision that lifted them."""
    lifted = {entry.content["hold"]: entry for entry in entries(connection, LIFT)}
    return [
        Hold(
            entry.id,
            entry.at,
            entry.by,
            entry.paper,
            entry.content["case"],
            tuple(entry.content["people"]),
            tuple(entry.content["units"]),
            entry.content["everybody"],
            lifted.get(entry.id),
        )
        for entry in entries(connection, HOLD)
    ]


def deletions(connection: Connection, kind: str | None = None) -> list[Deletion]:
    """Return the deletions in their order, of one kind or all."""
    found = []
    for entry in entries(connection, DELETION):
        content = entry.content
        if kind is None or content["kind"] == kind:
            settled = content.get("settled")
            found.append(
                Deletion(
                    entry.id,
                    entry.at,
                    entry.by,
                    entry.paper,
                    content["kind"],
                    date.fromisoformat(content["until"]),
                    content["rows"],
                    content["digest"],
                    None if settled is None else date.fromisoformat(settled),
                    content.get("last"),
                )
            )
    return found


def archived_months(connection: Connection) -> list[str]:
    """Return the months (YYYY-MM) of which the punches were detached for the archive."""
    return sorted(one.until.isoformat()[:7] for one in deletions(connection, ARCHIVE))


def settled_until(connection: Connection) -> date | None:
    """Return the last date that is never judged again, because evidence of it, or its verdicts, were deleted."""
    return max((one.settled for one in deletions(connection) if one.settled is not None), default=None)


def access_begin(connection: Connection) -> tuple[int, str]:
    """Return the last row of the access log that was deleted, and its digest; 0 and an empty text where none was."""
    found = [entry.content for entry in entries(connection, DELETION) if entry.content["kind"] == "access"]
    return (found[-1]["last"], found[-1]["last_digest"]) if found else (0, "")


def verify(connection: Connection) -> int | None:
    """Recompute every digest; return the first row that does not follow from the one before it, None: none."""
    previous = ""
    for number, row in enumerate(connection.execute(select(LOG).order_by(LOG.c.id)), 1):
        values = tuple(row)
        if row.id != number or row.previous != previous or _digest(values[:-1]) != row.digest:
            return int(row.id)
        previous = row.digest
    return None


def number_in(body: object) -> int | None:
    """Return the number of the deletion that left this body of an event; None where it holds its content."""
    if not isinstance(body, str) or not body.startswith(STUB):
        return None
    try:
        number = json.loads(body)["deleted"]
    except (ValueError, LookupError, TypeError):
        return None
    return number if isinstance(number, int) else None


def digest_of(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines, each ended by a line feed."""
    digest = sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def identifying(stream: str, sequence: int, identity: str, digest: str) -> str:
    """Return the line that identifies an event in the digest of a deletion."""
    return f"{stream} {sequence} {identity} {digest}"


def faults(connection: Connection) -> Iterator[str]:
    """Yield what is wrong with the log, and where bodies were deleted that no deletion on record names."""
    broken = verify(connection)
    if broken is not None:
        yield f"line {broken} of the log of retention does not follow from the one before it"
        return
    known = {one.number: one for one in deletions(connection, "events")}
    found: dict[int | None, tuple[int, Any]] = {}
    rows = run(
        connection,
        "SELECT event.body, stream.name, event.sequence, event.id, event.digest FROM event "
        "JOIN stream ON stream.id = event.stream WHERE substr(event.body, 1, 11) = :stub ORDER BY event.key",
        stub=STUB,
    )
    for body, *event in rows:
        number = number_in(body)
        count, digest = found.setdefault(number, (0, sha256()))
        digest.update(f"{identifying(*event)}\n".encode("utf-8", "surrogatepass"))
        found[number] = count + 1, digest
    for number in sorted(found.keys() | known.keys(), key=lambda one: -1 if one is None else one):
        one = None if number is None else known.get(number)
        count, digest = found.get(number, (0, sha256()))
        if one is None:
            yield f"{count} events without content, of deletion {number}, which is not on record"
        elif (count, digest.hexdigest()) != (one.rows, one.digest):
            yield f"deletion {number} took {one.rows} events; {count} are without content, or they are others"


def _digest(values: tuple[Any, ...]) -> str:
    return sha256(encode(list(values)).encode("utf-8", "surrogatepass")).hexdigest()
