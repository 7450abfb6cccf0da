"""Storing the records of a delivery without a place in a log: all of them in one transaction, or none.

Their source sends a delivery again where the answer was lost, as it was, cut otherwise, or with others. Therefore a
record is known by its content, as :class:`drivers.base.Delivery` describes; only a line sends each record once. Where
the terminal's log can be read too, a reading of it finds these records as it finds those of a file.

A live punch may have other fields than the record of it. It is taken for one delivered record of its person and second:
an equal one if the delivery has it, else the first; other records of that second are other punches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from drivers.base import BadRecord, RawPunch, Record, Settlement, Untimed, Via
from gateway import event
from gateway.event import ReadingContext
from gateway.ledger.reading import SLICE, day_of, draft_of
from gateway.ledger.transaction import Content, Transaction

SENT_ONCE: frozenset[Via] = frozenset({"serial"})
"""How records arrive that are never sent again: each one is a punch of its own."""
SAME_SECOND_MAX = 100
"""Maximum number of different records of one person and second: no person makes so many, and each costs a look-up."""


@dataclass(slots=True)
class Arrival:
    """The records of one delivery, to be stored in one transaction."""

    terminal: int
    """Number of the terminal in the ledger."""
    context: ReadingContext
    records: Sequence[Record | Untimed]
    mark: tuple[str, str] | None
    _stored: dict[bytes, list[Content]] = field(default_factory=dict)
    """First identity of a slice's records → contents of the stored occurrences, as far as they were examined."""
    _live: dict[bytes, Content] = field(default_factory=dict)
    """First identity of a slice's records → the fields of a live punch that no delivered record was taken for."""
    _delivered: set[tuple[bytes, Content]] = field(default_factory=set)
    """First identities and contents of the slice's records."""

    def __post_init__(self) -> None:
        """Raise TypeError for a record without a time that may be sent again: it could not be recognised."""
        if self._repeats and any(isinstance(record, Untimed) for record in self.records):
            raise TypeError("a record that may be sent again needs a time")

    @property
    def _repeats(self) -> bool:
        return self.context.via not in SENT_ONCE

    def store(self, transaction: Transaction) -> Settlement:
        """Store the records that are new, and the mark; return what became of the records."""
        new = quarantined = 0
        rows: list[tuple[str, int]] = []
        last_punch: RawPunch | None = None
        for begin in range(0, len(self.records), SLICE):
            timed = [self._timed(record) for record in self.records[begin : begin + SLICE]]
            firsts = [event.identity_of(self.context.serial, record, 1) for record, _ in timed]
            found = transaction.contents([first.bytes for first in firsts])
            self._stored = {first.bytes: [found[first.bytes]] if first.bytes in found else [] for first in firsts}
            self._live = transaction.live([first.bytes for first in firsts]) if self._repeats else {}
            self._delivered = {
                (first.bytes, Content.of(record)) for first, (record, _) in zip(firsts, timed, strict=True)
            }
            for first, (record, context) in zip(firsts, timed, strict=True):
                stored, occurrence = self._occurrence(transaction, record, first.bytes)
                if not occurrence:
                    continue
                key = first if stored is record else event.identity_of(self.context.serial, stored, 1)
                draft = draft_of(stored, context, occurrence, None, key)
                sequence = transaction.add(draft, terminal=self.terminal, day=day_of(stored))
                rows.append((Content.of(stored).text(), sequence))
                quarantined += isinstance(stored, BadRecord)
                new += isinstance(stored, RawPunch)
                last_punch = stored if isinstance(stored, RawPunch) else last_punch
        self._remember(transaction, rows, last_punch)
        return Settlement(new, len(self.records) - new - quarantined, quarantined)

    def _timed(self, record: Record | Untimed) -> tuple[Record, ReadingContext]:
        """Return a valid record with a time, and its context."""
        context = self.context
        if not isinstance(record, Untimed):
            return event.checked(record), context
        moment = context.now.astimezone(context.zone).replace(tzinfo=None, microsecond=0)
        punch = RawPunch(record.pin, None, moment, record.state, record.verify, record.work_code, record.raw)
        return event.checked(punch), replace(context, host_time=True)

    def _occurrence(self, transaction: Transaction, record: Record, key: bytes) -> tuple[Record, int]:
        """Return a record that is new with its occurrence; 0 for a known one.

        The record returned is an unreadable one where there are too many of its person and second.
        """
        content = Content.of(record)
        if key in self._live and self._claims(transaction, content, key):
            return record, 0
        occurrences = self._occurrences(transaction, record, key)
        if key in self._live:
            next(occurrences)  # the live punch is another one
        for stored in occurrences:
            if isinstance(record, BadRecord) or (self._repeats and stored.equals(content)):
                return record, 0
        known = self._stored[key]
        if self._repeats and len(known) >= SAME_SECOND_MAX:
            excess = BadRecord(record.raw, record.raw, f"more than {SAME_SECOND_MAX} records of one PIN and second")
            key = event.identity_of(self.context.serial, excess, 1).bytes
            if key not in self._stored:
                self._stored[key] = list(transaction.contents([key]).values())
            return self._occurrence(transaction, excess, key)
        known.append(content)
        return record, len(known)

    def _claims(self, transaction: Transaction, content: Content, key: bytes) -> bool:
        """Take the record for the live punch of its person and second, unless an equal one of the delivery is."""
        live = self._live[key]
        if not live.equals(content) and any(
            identity == key and live.equals(other) for identity, other in self._delivered
        ):
            return False
        del self._live[key]
        self._stored[key][0] = content
        sql = "UPDATE event SET content = ? WHERE id = ?"
        transaction.connection.exec_driver_sql(sql, (content.text(), key))
        return True

    def _occurrences(self, transaction: Transaction, record: Record, key: bytes) -> Iterator[Content]:
        """Yield the contents of all stored occurrences of a record's key."""
        stored = self._stored[key]
        yield from stored
        while stored and not isinstance(record, BadRecord) and not (self._repeats and len(stored) >= SAME_SECOND_MAX):
            identity = event.identity_of(self.context.serial, record, len(stored) + 1).bytes
            found = transaction.contents([identity])
            if not found:
                return
            stored.append(found[identity])
            yield stored[-1]

    def _remember(self, transaction: Transaction, rows: list[tuple[str, int]], last_punch: RawPunch | None) -> None:
        transaction.flush()
        sql = transaction.connection.exec_driver_sql
        if rows and self._repeats:
            sql("UPDATE event SET unplaced = 1, content = ? WHERE sequence = ?", rows)
        if last_punch is not None:
            sql(
                "UPDATE terminal SET last_punch = ? WHERE number = ?",
                (last_punch.local_time.isoformat(), self.terminal),
            )
        if self.mark is not None:
            sql(
                "INSERT INTO mark (terminal, name, text) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET text = excluded.text",
                (self.terminal, *self.mark),
            )
