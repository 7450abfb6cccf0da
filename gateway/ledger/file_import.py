"""Records of a file on their way into the ledger: known by their keys, for a file has no position in a log.

A file may be old, hold its lines twice, begin or end anywhere, and be read a second time after half of it was stored.
So a record whose key the ledger holds is known, and repeated lines are one punch. A terminal's own log can still
continue: what a file brought is marked as unplaced, and the log that shows it takes the mark away.

Only records of a reset clock may share a key by chance, and for them a key proves nothing: such a record is another one
where it stands behind other records than any known with its key. That is alignment in little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from drivers.base import BadRecord, RawPunch, Record
from gateway import event
from gateway.alignment import fingerprint
from gateway.event import ReadingContext
from gateway.ledger.file import KnownTerminal
from gateway.ledger.reading import day_of, draft_of, identity_of
from gateway.ledger.transaction import Transaction, unconfirmed

BEFORE = 8
"""Records in front of one of a reset clock that tell it from another one with the same key."""


@dataclass(slots=True)
class ImportCounts:
    """What became of records of a file."""

    new: int = 0
    quarantined: int = 0
    known: int = 0
    """The ledger had them before the file was begun."""
    repeated: int = 0
    """The file had them before."""

    def __add__(self, other: "ImportCounts") -> "ImportCounts":
        return ImportCounts(
            self.new + other.new,
            self.quarantined + other.quarantined,
            self.known + other.known,
            self.repeated + other.repeated,
        )


@dataclass(slots=True)
class FileSlice:
    """A run of records of one file, to be stored in one transaction."""

    known: KnownTerminal
    context: ReadingContext
    before: Sequence[Record]
    """The last :data:`BEFORE` records in front of them in the file, which are stored."""
    records: Sequence[Record]
    begun_at: int
    """The ledger's last sequence when the file was begun."""
    order: Callable[[], bytes]
    """Gives the terminal's known order, when it is needed."""

    def store(self, transaction: Transaction) -> ImportCounts:
        """Store what is new."""
        serial = self.context.serial
        first_identities = [identity_of(serial, record, 1) for record in self.records]
        keys = [identity.bytes for identity in first_identities]
        present = transaction.sequences(keys)
        filed = ImportCounts()
        first = transaction.head.sequence + 1
        for index, (record, key) in enumerate(zip(self.records, keys, strict=True)):
            reset = isinstance(record, RawPunch) and record.local_time.year <= event.RESET_YEAR
            occurrence = 1
            if key in present:
                if not (reset and self._is_another(transaction, index, key)):
                    sequence = present[key]
                    if sequence is not None and sequence > self.begun_at:
                        filed.repeated += 1
                    else:
                        filed.known += 1
                    continue
                while transaction.holds(identity_of(serial, record, occurrence).bytes):
                    occurrence += 1
            elif reset:
                self._remember(transaction, index)
            draft = draft_of(record, self.context, occurrence, None, first_identities[index])
            present[draft.id.bytes] = transaction.add(draft, terminal=self.known.number, day=day_of(record))
            if isinstance(record, BadRecord):
                filed.quarantined += 1
            else:
                filed.new += 1
        if transaction.head.sequence >= first:
            transaction.flush()
            transaction.connection.exec_driver_sql(
                "UPDATE event SET unplaced = 1 WHERE sequence BETWEEN ? AND ?", (first, transaction.head.sequence)
            )
        return filed

    def _is_another(self, transaction: Transaction, index: int, identity: bytes) -> bool:
        """Tell whether a record of a reset clock whose key is known is another one, and remember where it stands."""
        window = self._window(index)
        if len(window) <= BEFORE:
            return False  # at the beginning of a file there is nothing to go by
        if not self._remember(transaction, index):
            return False
        piece, order = b"".join(window), self.order()
        found = order.find(piece)
        while found > 0 and found % 8:  # not at the beginning of a fingerprint
            found = order.find(piece, found + 1)
        if found >= 0:
            return False
        live = unconfirmed(transaction.connection, [identity]).get(identity)
        # A live punch stands nowhere: it is this one.
        return live is None or bool(live.unplaced)

    def _remember(self, transaction: Transaction, index: int) -> bool:
        """Note behind what a record stands; return whether that is new."""
        mark = blake2b(b"".join(self._window(index)), digest_size=8).digest()
        added = transaction.connection.exec_driver_sql(
            "INSERT INTO landmark (terminal, mark) VALUES (?, ?) ON CONFLICT DO NOTHING", (self.known.number, mark)
        )
        return bool(added.rowcount)

    def _window(self, index: int) -> list[bytes]:
        """Return the fingerprints of a record and of those that stand in front of it, at most :data:`BEFORE`."""
        run = [*self.before, *self.records[: index + 1]] if index < BEFORE else self.records[: index + 1]
        return [fingerprint(record) for record in run[-BEFORE - 1 :]]
