"""One write transaction of the ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection

from drivers.base import BadRecord, Record
from gateway import event
from gateway.event import Draft
from gateway.ledger.schema import INSERT_EVENT, INSERT_STREAM, milliseconds
from gateway.ledger.stream import Stream


class Content(NamedTuple):
    """The fields that distinguish two punches of one person and second."""

    state: int | None = None
    verify: int | None = None
    work_code: str | None = None
    source_id: str | None = None

    @classmethod
    def of(cls, record: Record) -> "Content":
        """Return the content of a record; an unreadable one is distinguished by its key alone."""
        if isinstance(record, BadRecord):
            return cls()
        return cls(record.state, record.verify, record.work_code, record.source_id)

    @classmethod
    def of_row(cls, row: Any) -> "Content":
        """Return the content in a row's ``content``, else in its ``state``, ``verify`` and ``work_code``."""
        if row.content is not None:
            return cls(*json.loads(row.content))
        return cls(row.state, row.verify, row.work_code)

    def text(self) -> str:
        """Return it as column ``content`` of table ``event`` holds it."""
        return json.dumps(self, separators=(",", ":"))

    def equals(self, other: "Content") -> bool:
        """Return whether both may be one punch: None means that one of two formats lacks the field."""
        return all(None in pair or pair[0] == pair[1] for pair in zip(self, other, strict=True))


@dataclass(slots=True)
class Head:
    """The end of the chain."""

    sequence: int
    """Number in the ledger of the last event."""
    digest: str
    stream: str
    base: int
    """Number of the last event before the stream."""
    written: int = 0
    """Bytes of all bodies written since the ledger was opened."""


class Transaction:
    """The interface of a writer job to the database."""

    def __init__(self, connection: Connection, source: str, head: Head, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.now_ms = milliseconds(now)
        self.head = head
        self._source = source
        self._rows: list[tuple[object, ...]] = []

    def add(self, draft: Draft, *, terminal: int | None = None, day: int | None = None) -> int:
        """Add an event with the next number and return the number; ``terminal`` and ``day`` for records only."""
        head = self.head
        body, digest = event.encode(
            draft,
            source=self._source,
            stream=head.stream,
            sequence=head.sequence + 1 - head.base,
            recorded=self.now,
            previous=head.digest,
        )
        head.sequence += 1
        head.digest = digest
        head.written += len(body) if body.isascii() else len(body.encode())
        topic = event.topic_of(draft.type, draft.subject)
        self._rows.append((head.sequence, draft.id.bytes, topic, body, digest, self.now_ms, terminal, day))
        return head.sequence

    def note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> int:
        """Add a note about ``moment``."""
        salt = f"{self.head.stream}\n{self.head.sequence + 1 - self.head.base}"
        return self.add(event.note_draft(event_type, subject, moment, data, salt=salt))

    def open_stream(self, reason: str, *, lost: int = 0) -> str:
        """Open a new stream, add its opening event, and return its name.

        ``lost``: how many numbers up to here have no event.
        """
        self.flush()
        head = self.head
        number = int(self.connection.exec_driver_sql("SELECT coalesce(max(number), 0) + 1 FROM stream").scalar_one())
        before = (head.stream, head.sequence - head.base, head.digest) if head.stream else (None, None, None)
        head.stream, head.base = str(uuid4()), head.sequence
        head.digest = event.first_previous(head.stream)
        row = (number, head.stream, head.base, self.now_ms, reason, lost, *before)
        self.connection.exec_driver_sql(INSERT_STREAM, row)
        data = {"reason": reason, "lost": lost, "predecessor": Stream(*row).named_predecessor()}
        self.note(event.STREAM_OPENED, None, self.now, data)
        self.connection.exec_driver_sql("UPDATE gateway SET broken = NULL")
        return head.stream

    def gaps(self) -> int:
        """Return how many numbers have no event: 0, unless a damaged file was recovered."""
        self.flush()
        held: int = self.connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one()
        return self.head.sequence - held

    def flush(self) -> None:
        """Write the events added so far."""
        if self._rows:
            self.connection.exec_driver_sql(INSERT_EVENT, self._rows)
            self._rows = []

    def holds(self, identity: bytes) -> bool:
        """Return whether an event or a withheld record has this identity."""
        return bool(self.present([identity]))

    def present(self, identities: Sequence[bytes]) -> set[bytes]:
        """Return those of ``identities`` that the ledger holds."""
        self.flush()
        return present(self.connection, identities)

    def sequences(self, identities: Sequence[bytes]) -> dict[bytes, int | None]:
        """Return the sequence of those of ``identities`` that the ledger holds; None where one is withheld."""
        self.flush()
        marks, values = _listed(identities)
        return {
            row[0]: row[1]
            for columns, table in (("id, NULL", "withheld"), ("id, sequence", "event"))
            for row in self.connection.exec_driver_sql(f"SELECT {columns} FROM {table} WHERE id IN ({marks})", values)
        }

    def has_other_log(self, terminal: int, serial: str) -> bool:
        """Return whether records of this device's log are stored under another name than that of ``terminal``."""
        found = self.connection.exec_driver_sql(
            "SELECT 1 FROM terminal WHERE serial = ? AND number <> ? AND (length > 0 OR generation > first_generation) "
            "LIMIT 1",
            (serial, terminal),
        )
        return found.first() is not None

    def placed(self, prints: Mapping[bytes, bytes], terminal: int, generation: int) -> set[bytes]:
        """Return those identities whose records are in a terminal's log, of this generation or a later one.

        ``prints``: identity → fingerprint of its record, in the order of the occurrences. A withheld record has no
        event; as many of them are in the log as there are places of its fingerprint without one.
        """
        sequences = self.sequences([*prints])
        events = {sequence: identity for identity, sequence in sequences.items() if sequence is not None}
        marks, places = _listed([*events])
        of_the_log = "FROM place WHERE terminal = ? AND generation >= ?"
        rows = self.connection.exec_driver_sql(
            f"SELECT sequence {of_the_log} AND sequence IN ({marks})", (terminal, generation, *places)
        )
        found = {events[row[0]] for row in rows}
        if len(events) < len(sequences):
            withheld = [identity for identity in prints if identity in sequences and sequences[identity] is None]
            marks, wanted = _listed([prints[identity] for identity in withheld])
            counts: dict[bytes, int] = dict(
                self.connection.exec_driver_sql(
                    f"SELECT fingerprint, count(*) {of_the_log} AND sequence IS NULL AND fingerprint IN ({marks}) "
                    "GROUP BY fingerprint",
                    (terminal, generation, *wanted),
                ).all()
            )
            for identity in withheld:
                print_ = prints[identity]
                counts[print_] = counts.get(print_, 0) - 1
                if counts[print_] >= 0:
                    found.add(identity)
        return found

    def contents(self, identities: Sequence[bytes]) -> dict[bytes, Content]:
        """Return the contents of those of ``identities`` that the ledger holds, as far as they are known.

        A live punch has none until the log has confirmed it, or a delivered record was taken for it: see :meth:`live`.
        """
        self.flush()
        marks, values = _listed(identities)
        rows = self.connection.exec_driver_sql(
            f"SELECT id, content, {_fields('body', 'data.')} FROM event WHERE id IN ({marks}) UNION ALL "
            f"SELECT id, NULL, {_fields('record', '')} FROM withheld WHERE id IN ({marks})",
            (*values, *values),
        )
        found = {row.id: Content.of_row(row) for row in rows}
        return found | dict.fromkeys(self.live(identities), Content())

    def live(self, identities: Sequence[bytes]) -> dict[bytes, Content]:
        """Return the fields of those of ``identities`` that are live punches, in neither a log nor a delivery yet.

        The log may show other fields for them: firmware reports some codes otherwise while a person stands before it.
        """
        self.flush()
        marks, values = _listed(identities)
        rows = self.connection.exec_driver_sql(
            "SELECT id, NULL AS content, state, verify, work_code FROM unconfirmed "
            f"WHERE id IN ({marks}) AND {_CLAIMED} IS NULL",
            values,
        )
        return {row.id: Content.of_row(row) for row in rows}

    def sequence_of(self, identity: bytes) -> int | None:
        """Return the sequence of the event with this identity; None where it is withheld."""
        self.flush()
        found = self.connection.exec_driver_sql("SELECT sequence FROM event WHERE id = ?", (identity,)).scalar()
        return None if found is None else int(found)


_CLAIMED = "(SELECT event.content FROM event WHERE event.id = unconfirmed.id)"
"""The content of the delivered record that was taken for a live punch."""


def _fields(column: str, path: str) -> str:
    """Return the columns ``state``, ``verify`` and ``work_code`` out of a column of JSON, NULL where it is damaged."""
    sound = f"CASE WHEN json_valid({column}) THEN {column} END"
    return ", ".join(f"json_extract({sound}, '$.{path}{name}') AS {name}" for name in ("state", "verify", "work_code"))


def present(connection: Connection, identities: Sequence[bytes]) -> set[bytes]:
    """Return those of ``identities`` that an event or a withheld record has."""
    marks, values = _listed(identities)
    return {
        row[0]
        for table in ("event", "withheld")
        for row in connection.exec_driver_sql(f"SELECT id FROM {table} WHERE id IN ({marks})", values)
    }


def unconfirmed(connection: Connection, identities: Sequence[bytes]) -> dict[bytes, Any]:
    """Return the rows of those of ``identities`` that are punches not yet found in the log, by identity.

    ``unplaced`` distinguishes records of a file and delivered ones from live punches. ``content`` is that of delivered
    ones, ``claimed`` that of the delivered record that was taken for a live punch.
    """
    marks, values = _listed(identities)
    rows = connection.exec_driver_sql(
        "SELECT id, sequence, state, verify, work_code, reported, 0 AS unplaced, NULL AS content, "
        f"{_CLAIMED} AS claimed FROM unconfirmed WHERE id IN ({marks}) UNION ALL "
        f"SELECT id, sequence, {_fields('body', 'data.')}, 0, 1, content, NULL FROM event "
        f"WHERE id IN ({marks}) AND unplaced",
        (*values, *values),
    )
    return {row.id: row for row in rows}


def _listed(values: Sequence[bytes] | Sequence[int]) -> tuple[str, tuple[bytes | int | None, ...]]:
    """Return placeholders for ``values``, and the values padded with NULL to a power of two.

    Otherwise each length would be a statement of its own, and the library caches the last hundred, a megabyte in all.
    """
    size = 1 << max(0, len(values) - 1).bit_length()
    return ",".join("?" * size), (*values, *[None] * (size - len(values)))
