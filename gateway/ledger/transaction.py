"""What one commit of the ledger is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway import punch
from gateway.ledger.file import INSERT_EVENT, milliseconds
from gateway.punch import Draft


@dataclass(slots=True)
class Head:
    """The end of the chain."""

    sequence: int
    digest: str


class Transaction:
    """What a job of the writer works with."""

    def __init__(self, connection: Connection, source: str, stream: str, head: Head, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.now_ms = milliseconds(now)
        self.head = head
        self._source = source
        self._stream = stream
        self._rows: list[tuple[object, ...]] = []

    def add(self, draft: Draft, *, terminal: int | None = None, day: int | None = None) -> int:
        """Give ``draft`` the next sequence and return it; ``terminal`` and ``day`` are those of a record."""
        head = self.head
        body, digest = punch.seal(
            draft,
            source=self._source,
            stream=self._stream,
            sequence=head.sequence + 1,
            recorded=self.now,
            previous=head.digest,
        )
        head.sequence += 1
        head.digest = digest
        topic = punch.topic_of(draft.type, draft.subject)
        self._rows.append((head.sequence, draft.id.bytes, topic, body, digest, self.now_ms, terminal, day))
        return head.sequence

    def note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> int:
        """Add a note about ``moment``."""
        salt = f"{self._stream}\n{self.head.sequence + 1}"
        return self.add(punch.note_draft(event_type, subject, moment, data, salt=salt))

    def flush(self) -> None:
        """Write the events added so far."""
        if self._rows:
            self.connection.exec_driver_sql(INSERT_EVENT, self._rows)
            self._rows = []

    def holds(self, identity: bytes) -> bool:
        """Tell whether an event or a withheld record has this identity."""
        return bool(self.present([identity]))

    def present(self, identities: Sequence[bytes]) -> set[bytes]:
        """Return those of ``identities`` that the ledger holds."""
        self.flush()
        return present(self.connection, identities)

    def sequence_of(self, identity: bytes) -> int | None:
        """Return the sequence of the event with this identity; None where it is withheld."""
        self.flush()
        found = self.connection.exec_driver_sql("SELECT sequence FROM event WHERE id = ?", (identity,)).scalar()
        return None if found is None else int(found)


def present(connection: Connection, identities: Sequence[bytes]) -> set[bytes]:
    """Return those of ``identities`` that an event or a withheld record has."""
    marks, values = _listed(identities)
    return {
        row[0]
        for table in ("event", "withheld")
        for row in connection.exec_driver_sql(f"SELECT id FROM {table} WHERE id IN ({marks})", values)
    }


def unconfirmed(connection: Connection, identities: Sequence[bytes]) -> dict[bytes, Any]:
    """Return the rows of those of ``identities`` that are live punches the log has not shown, by identity."""
    marks, values = _listed(identities)
    rows = connection.exec_driver_sql(
        f"SELECT id, sequence, state, verify, work_code, reported FROM unconfirmed WHERE id IN ({marks})", values
    )
    return {row.id: row for row in rows}


def _listed(values: Sequence[bytes]) -> tuple[str, tuple[bytes | None, ...]]:
    """Return question marks for ``values``, and these filled up to a power of two with what equals nothing.

    Each length would be a statement of its own, and the library keeps the last hundred, a megabyte in all.
    """
    size = 1 << max(0, len(values) - 1).bit_length()
    return ",".join("?" * size), (*values, *[None] * (size - len(values)))
