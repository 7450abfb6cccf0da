"""Storing the records of a file: they are matched by key, because a file has no position in a terminal's log.

A file may be old, contain lines twice, begin or end anywhere, and be read again after half of it was stored. Therefore
a record whose key is stored is known, and repeated lines are one punch. The terminal's own log can still continue:
records of a file are marked as unplaced, and a reading of the log that contains them clears the mark.

Only records of a reset clock may share a key by chance. Such a record is a different one where the records in front of
it in the file differ from those of every known record with its key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from drivers.base import BadRecord, RawPunch, Record
from gateway import event
from gateway.alignment import fingerprint
from gateway.event import ReadingContext
from gateway.ledger.reading import day_of, draft_of
from gateway.ledger.schema import KnownTerminal
from gateway.ledger.transaction import Transaction, unconfirmed

BEFORE = 8
"""Number of preceding records that distinguish two records of a reset clock with the same key."""


@dataclass(slots=True)
class ImportCounts:
    """Result of storing records of a file."""

    new: int = 0
    quarantined: int = 0
    known: int = 0
    """Stored before this import began."""
    repeated: int = 0
    """Contained in the file more than once."""

    def __add__(self, other: "ImportCounts") -> "ImportCounts":
        return ImportCounts(
            self.new + other.new,
            self.quarantined + other.quarantined,
            self.known + other.known,
            self.repeated + other.repeated,
        )


@dataclass(slots=True)
class FileSlice:
    """Consecutive records of one file, stored in one transaction."""

    known: KnownTerminal
    context: ReadingContext
    before: Sequence[Record]
    """The last :data:`BEFORE` records in front of them in the file; these are stored already."""
    records: Sequence[Record]
    begun_at: int
    """The ledger's last sequence when the file was begun."""
    order: Callable[[], bytes]
    """Returns the stored order of the terminal's log, where it is needed."""

    def store(self, transaction: Transaction) -> ImportCounts:
        """Store the new records."""
        serial = self.context.serial
        first_identities = [event.identity_of(serial, record, 1) for record in self.records]
        keys = [identity.bytes for identity in first_identities]
        present = transaction.sequences(keys)
        counts = ImportCounts()
        first = transaction.head.sequence + 1
        for index, (record, key) in enumerate(zip(self.records, keys, strict=True)):
            reset = isinstance(record, RawPunch) and record.local_time.year <= event.RESET_YEAR
            occurrence = 1
            if key in present:
                if not (reset and self._is_another(transaction, index, key)):
                    sequence = present[key]
                    if sequence is not None and sequence > self.begun_at:
                        counts.repeated += 1
                    else:
                        counts.known += 1
                    continue
                while transaction.holds(event.identity_of(serial, record, occurrence).bytes):
                    occurrence += 1
            elif reset:
                self._remember(transaction, index)
            draft = draft_of(record, self.context, occurrence, None, first_identities[index])
            present[draft.id.bytes] = transaction.add(draft, terminal=self.known.number, day=day_of(record))
            if isinstance(record, BadRecord):
                counts.quarantined += 1
            else:
                counts.new += 1
        if transaction.head.sequence >= first:
            transaction.flush()
            transaction.connection.exec_driver_sql(
                "UPDATE event SET unplaced = 1 WHERE sequence BETWEEN ? AND ?", (first, transaction.head.sequence)
            )
        return counts

    def _is_another(self, transaction: Transaction, index: int, identity: bytes) -> bool:
        """Return whether a record of a reset clock with a known key is a different one; store its file context."""
        window = self._window(index)
        if len(window) <= BEFORE:
            return False  # at the beginning of a file there is no context
        if not self._remember(transaction, index):
            return False
        piece, order = b"".join(window), self.order()
        found = order.find(piece)
        while found > 0 and found % 8:  # not at the beginning of a fingerprint
            found = order.find(piece, found + 1)
        if found >= 0:
            return False
        live = unconfirmed(transaction.connection, [identity]).get(identity)
        # A live punch has no place in a log: it is this one.
        return live is None or bool(live.unplaced)

    def _remember(self, transaction: Transaction, index: int) -> bool:
        """Store the digest of a record's context; return whether it is new."""
        mark = blake2b(b"".join(self._window(index)), digest_size=8).digest()
        added = transaction.connection.exec_driver_sql(
            "INSERT INTO landmark (terminal, mark) VALUES (?, ?) ON CONFLICT DO NOTHING", (self.known.number, mark)
        )
        return bool(added.rowcount)

    def _window(self, index: int) -> list[bytes]:
        """Return the fingerprints of a record and of up to :data:`BEFORE` records in front of it."""
        run = [*self.before, *self.records[: index + 1]] if index < BEFORE else self.records[: index + 1]
        return [fingerprint(record) for record in run[-BEFORE - 1 :]]
