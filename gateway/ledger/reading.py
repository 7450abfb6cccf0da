"""Aligns a reading of a terminal's log with the stored log, and stores new records slice by slice.

Records may still be in transfer while the first are stored: where the reading continues the stored log at the expected
place, no record is examined twice, and a broken connection costs at most one slice. Only where it does not is the whole
reading received before it is aligned.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import islice
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import insert

from drivers.base import OVERLAP, BadRecord, RawPunch, Reading, Record
from gateway import event
from gateway.alignment import NOTHING_KNOWN, Alignment, align, begins_publishing, difference, fingerprint
from gateway.event import Draft, ReadingContext
from gateway.ledger.file import LedgerError
from gateway.ledger.reader import LedgerReader
from gateway.ledger.schema import INSERT_PLACE, TABLES, KnownTerminal, milliseconds
from gateway.ledger.transaction import Content, Transaction, unconfirmed
from gateway.ledger.writer import Writer
from gateway.ledger_summary import UNDATED

SLICE = 500
"""Maximum records stored in one transaction: a crash in the middle of an import costs reading these again.

Concurrent readings share this number, because their slices share a transaction: it bounds the memory of 64 concurrent
first readings, and the delay of a live punch.
"""
SLICE_MIN = 50
"""Records of a slice while live punches arrive or many readings are stored; bounds the delay of a live punch."""
OCCURRENCES_MAX = 10_000
"""Maximum number of occurrences tried to find that of a withheld record."""

Start = Literal["all", "now"] | date
_Notes = tuple[tuple[str, dict[str, Any]], ...]


class Unaligned(Exception):  # noqa: N818 - named by the condition
    """A reading that does not begin at the start of the log has no overlap with the stored log: read more."""


@dataclass(slots=True)
class ReadingResult:
    """Result of storing a reading."""

    read: int = 0
    new: int = 0
    quarantined: int = 0
    confirmed: int = 0
    withheld: int = 0
    unconfirmed: int = 0
    missed: int = 0
    """Records between known ones that no earlier reading contained."""
    invented: int = 0
    """Records of earlier readings that the whole log, which contains most other known records, does not contain."""
    reordered: int = 0
    """Known records at another place."""
    last_punch: str | None = None


@dataclass(slots=True)
class _Plan:
    """How a reading is to be stored."""

    number: int
    generation: int
    length: int = 0
    """Records in the order before this reading: the position of the first new one."""
    alignment: Alignment = NOTHING_KNOWN
    withheld_until: int | None = 0
    """None: the record that decides it was not received yet."""
    matching: bool = False
    cleared: bool = False
    matched_until: int | None = 0
    shrunk_to: int | None = None
    notes: _Notes = ()


class LogImport:
    """Stores one reading of a terminal's log."""

    def __init__(
        self,
        reader: LedgerReader,
        writer: Writer,
        known: KnownTerminal,
        context: ReadingContext,
        reading: Reading,
        *,
        start: Start,
        pins: Mapping[int, str] | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._known = known
        self._context = context
        self._reading = reading
        self._start = start
        self._today = context.now.astimezone(context.zone).date()
        self._pins = pins
        self._matching: Counter[bytes] = Counter()
        """Number of occurrences per first identity in a log that is matched by key."""
        self._earlier_records: dict[bytes, deque[int | None]] = {}
        """The same for a log of internal numbers, whose records are matched by their bytes and never resolved again."""
        self._days: Counter[int] = Counter()
        self._stored = ReadingResult()
        self._records: Iterator[Record] = iter(())
        """The records not known yet."""
        self._plan = _Plan(known.number, known.generation)

    def store(self, between: Callable[[], None], slice_divisor: Callable[[], int]) -> ReadingResult:
        """Store the new records and return the result of the reading.

        ``between`` is called after each slice of received records, also where they are only compared. A slice has
        ``SLICE`` divided by ``slice_divisor()`` records. Raises Unaligned, with nothing stored, where a reading
        that does not begin at position 0 has no overlap with what is known.
        """
        attended = _WithCallback(self._reading.records, between)
        self._reading = replace(self._reading, records=attended)
        plan, stored = self._make_plan(), self._stored
        attended.between = lambda: None
        self._plan = plan
        position = plan.length
        log_position = self._reading.start + plan.alignment.known
        stored.read = plan.alignment.known
        opens = True
        while chunk := list(islice(self._records, max(min(SLICE_MIN, SLICE), SLICE // slice_divisor()))):
            slice_ = _Slice(position, log_position, chunk, opens=opens)
            self._writer.do(lambda transaction, s=slice_: self._store_slice(transaction, s))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            position += len(chunk)
            log_position += len(chunk)
            stored.read += len(chunk)
            opens = False
            between()
        undecided = plan.withheld_until is None
        remember = plan.notes or plan.alignment.shift != self._known.shift or plan.shrunk_to != self._known.shrunk_to
        if undecided or (opens and remember):
            # No new records but a changed state: a block purged at the front, a log that shrank, a first contact with a
            # log that ends before the chosen start.
            last = _Slice(position, log_position, [], opens=opens, closes=True)
            self._writer.do(lambda transaction: self._store_slice(transaction, last))
        if self._reading.start == 0 and plan.shrunk_to is None:
            stored.unconfirmed = self._writer.do(self._close_full_reading)
        return stored

    # Alignment with the stored log.

    def _make_plan(self) -> _Plan:
        known, reading = self._known, self._reading
        self._records = iter(reading.records)
        if known.length == 0:
            if reading.start:
                raise Unaligned
            if known.generation > 0:
                return self._matching_plan(known.generation)
            return self._first_plan()
        expected = known.in_log - reading.start
        resumes = reading.start == 0 and known.length < (known.matched_until or 0)
        if expected > 0 and self._continues(expected, resumes=resumes):
            # Matching of a log whose first reading was interrupted continues where it stopped.
            if resumes and reading.by_uid:
                self._drop_placed()
            return self._continuation(Alignment(expected, known.shift), matching=resumes)
        return self._plan_whole(expected, resumes=resumes)

    def _first_plan(self) -> _Plan:
        known, total = self._known, self._reading.total
        plan = _Plan(known.number, known.generation)
        if known.withheld_until is None and self._start != "all":
            plan.withheld_until = total if self._start == "now" else None
            if self._start == "now":
                plan.notes = ((event.HISTORY_WITHHELD, {"records": total, "start": "now"}),)
        return plan

    def _continues(self, expected: int, *, resumes: bool) -> bool:
        """Return whether the reading begins with the end of the stored order, consuming that many records."""
        known = self._known
        place = known.length - expected
        if place < 0:
            return False
        self._days.clear()
        self._matching.clear()
        while expected:
            block = list(islice(self._records, min(SLICE, expected)))
            if [fingerprint(record) for record in block] != self._reader.order(known, place, len(block)) or not block:
                return False
            self._count_known(block, count=resumes)
            place += len(block)
            expected -= len(block)
        return True

    def _plan_whole(self, expected: int, *, resumes: bool) -> _Plan:
        """Plan a reading that does not continue at the expected place: examine all of it."""
        known, reading = self._known, self._reading
        prints = [fingerprint(record) for record in reading.records]
        whole = reading.start == 0
        span = known.length if whole else min(known.length, max(len(prints) + OVERLAP, expected))
        order = self._reader.order(known, known.length - span, span)
        # Checked first: where records repeat, the beginning of the stored order may equal its end.
        ends_early = len(prints) < expected and prints == order[-expected:][: len(prints)]
        alignment = None
        if not ends_early:
            alignment = align(order, prints, start=reading.start, shift=known.shift, length=known.length)
            if alignment is not None and (
                _may_be_coincidence(alignment, known, reading)
                or _is_mostly_known(prints[alignment.known :], order)
                or (not whole and _has_gap(alignment, known))
            ):
                alignment = None
        if alignment is not None:
            self._days.clear()
            self._matching.clear()
            self._records = iter(reading.records)
            self._count_known(islice(self._records, alignment.known), count=resumes)
            if resumes and reading.by_uid:
                self._drop_placed()
            return self._continuation(alignment, matching=resumes)
        if not whole:
            raise Unaligned
        if ends_early or _is_part(order, prints, reading):
            self._records = iter(())
            return self._shrunk_plan()
        return self._other_plan(order[known.shift :], prints)

    def _continuation(self, alignment: Alignment, *, matching: bool) -> _Plan:
        known = self._known
        return _Plan(
            known.number,
            known.generation,
            known.length,
            alignment,
            withheld_until=self._withheld_until(),
            matching=matching,
            cleared=known.cleared,
            matched_until=known.matched_until,
        )

    def _withheld_until(self) -> int | None:
        """Return the end of withheld records; None where a first reading was interrupted before the deciding record."""
        if self._known.withheld_until is not None or isinstance(self._start, str):
            return self._known.withheld_until or 0
        return None

    def _shrunk_plan(self) -> _Plan:
        """Plan a log that is shorter than the stored one or empty: a fault of the terminal, or a log just cleared.

        It may also have lost records at its front; that shows when the rest is back. No record of it is new, and known
        records stay known: if the rest returns it is not stored again, and if not, the next new record shows it.
        """
        known, reading = self._known, self._reading
        change = {"what": "log_shrunk", "records_before": known.in_log, "records_after": reading.total}
        plan = self._continuation(Alignment(reading.total, known.shift), matching=False)
        plan.withheld_until = known.withheld_until or 0
        plan.shrunk_to = reading.total
        plan.notes = ((event.TERMINAL_CHANGED, change),) if known.shrunk_to != reading.total else ()
        return plan

    def _other_plan(self, order: list[bytes], prints: list[bytes]) -> _Plan:
        """Plan a whole log that is neither a continuation nor a part of the stored one: a new generation."""
        known, reading = self._known, self._reading
        missed, invented, reordered = difference(order, prints)
        change: dict[str, Any] = {"records_before": known.in_log, "records_after": reading.total}
        if (len(prints) - missed) * 2 > max(len(order), len(prints)):
            # Most of it is known: the terminal sent something else than its log in earlier readings.
            stored = self._stored
            stored.missed, stored.invented, stored.reordered = missed, invented, reordered
            change |= {"what": "log_differs", "missed": missed, "invented": invented, "reordered": reordered}
        else:
            cleared = reading.total < known.in_log or known.shrunk_to is not None
            change["what"] = "log_cleared" if cleared else "log_wrapped"
        return self._matching_plan(known.generation + 1, ((event.TERMINAL_CHANGED, change),))

    def _matching_plan(self, generation: int, notes: _Notes = ()) -> _Plan:
        """Plan a log without overlap: its records may be known from earlier logs, matched by key as a multiset.

        If none with a plausible date is known from a log, the log was cleared; then records of a reset clock are new
        even where an older one has the same key.
        """
        self._days.clear()
        reading = self._reading
        dated = (
            record
            for record in reading.records
            if isinstance(record, RawPunch) and record.local_time.year > event.RESET_YEAR
        )
        if reading.by_uid:
            self._earlier_records = self._reader.earlier_records(self._known, generation)
            cleared = not any(fingerprint(record) in self._earlier_records for record in dated)
        else:
            serial = self._context.serial
            cleared = not self._reader.believed(event.identity_of(serial, record, 1).bytes for record in dated)
        self._records = iter(reading.records)
        return _Plan(
            self._known.number,
            generation,
            matching=True,
            cleared=cleared,
            matched_until=reading.total,
            notes=notes,
        )

    def _count_known(self, records: Iterable[Record], *, count: bool) -> None:
        """Count the days of known records, and their identities where ``count``."""
        for record in records:
            self._days[day_of(record)] += 1
            if count:
                self._matching[event.identity_of(self._context.serial, record, 1).bytes] += 1

    def _drop_placed(self) -> None:
        """Keep only those earlier records that this generation of the log does not contain yet."""
        known = self._known
        self._earlier_records = self._reader.earlier_records(known, known.generation)
        for print_ in self._reader.order(known, 0, known.length):
            if self._earlier_records.get(print_):
                self._earlier_records[print_].popleft()

    # Storing.

    def _with_pin(self, record: Record) -> Record:
        """Return the record with the PIN of its internal user number; unchanged where no user has the number."""
        if not self._pins or not isinstance(record, RawPunch) or record.pin is not None or record.uid is None:
            return record
        pin = self._pins.get(record.uid)
        return record if pin is None else record._replace(pin=pin)

    def _store_bindings(self, transaction: Transaction, pins: Mapping[int, str]) -> None:
        """Store the PINs of internal user numbers, and add a note where a number was assigned to another PIN.

        Stored events keep their person. A punch made before the change and read after it is attributed to the new
        person, because the terminal does not distinguish them: the note marks from which sequence on this may occur.
        """
        number = self._known.number
        for uid, before in self._reader.bindings(self._known).items():
            after = pins.get(uid)
            if after not in (None, before):
                change = {"what": "user_number", "uid": uid, "pin_before": before, "pin_after": after}
                self._note(transaction, event.TERMINAL_CHANGED, change)
        transaction.connection.exec_driver_sql(
            "INSERT INTO binding (terminal, uid, pin, first_ms, last_ms) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET last_ms = excluded.last_ms",
            [(number, uid, pin, transaction.now_ms, transaction.now_ms) for uid, pin in pins.items()],
        )

    # Longer than 60 lines: one loop over the records of a slice keeps all its accounts, in one transaction.
    def _store_slice(self, transaction: Transaction, slice_: "_Slice") -> None:
        """Store the records of a slice: known ones get their place only, new ones also become events."""
        plan, stored, context = self._plan, self._stored, self._context
        self._store_notes(transaction, slice_)
        records = [event.checked(self._with_pin(record)) for record in slice_.records]
        first_identities = [event.identity_of(context.serial, record, 1) for record in records]
        identities = [identity.bytes for identity in first_identities]
        slice_.present = transaction.present(identities) if identities else set()
        if slice_.present and transaction.has_other_log(plan.number, context.serial):
            slice_.is_shared, slice_.own = True, self._own_places(transaction, slice_, records, identities)
        slice_.live = live = unconfirmed(transaction.connection, identities) if slice_.present else {}
        places: list[tuple[object, ...]] = []
        withheld = []
        days: Counter[int] = Counter()
        last_punch: RawPunch | None = None
        for index, record in enumerate(records):
            identity = identities[index]
            position = slice_.position + index
            log_position = slice_.log_position + index
            print_ = fingerprint(slice_.records[index])
            day = day_of(record)
            days[day] += 1
            if plan.withheld_until is None and self._begins_publishing(record):
                self._withhold(transaction, position)
            if identity in live and isinstance(record, RawPunch) and _is_of(record, live[identity]):
                sequence: int | None = self._confirm(transaction, record, live.pop(identity), log_position)
                slice_.own.add(identity)
                if plan.matching:
                    self._matching[identity] += 1
            else:
                occurrence, sequence = self._place_of(transaction, record, print_, identity, position, slice_)
                if occurrence:
                    first = first_identities[index]
                    draft = draft_of(record, context, occurrence, log_position, first)
                    slice_.present.add(draft.id.bytes)
                    slice_.own.add(draft.id.bytes)
                    if plan.withheld_until is None or position < plan.withheld_until:
                        withheld.append(_withheld(draft.id.bytes, plan, context.serial, position, record))
                        stored.withheld += 1
                    else:
                        sequence = transaction.add(draft, terminal=plan.number, day=day)
                        if isinstance(record, BadRecord):
                            stored.quarantined += 1
                        else:
                            stored.new += 1
            if isinstance(record, RawPunch):
                last_punch = record
            places.append((plan.number, plan.generation, position, print_, sequence))
        self._days.update(days)
        last_time = last_punch.local_time.isoformat() if last_punch else None
        stored.last_punch = last_time or stored.last_punch
        if withheld:
            transaction.connection.execute(insert(TABLES["withheld"]), withheld)
        if places:
            transaction.connection.exec_driver_sql(INSERT_PLACE, places)
            transaction.connection.exec_driver_sql(
                "INSERT INTO log_day (terminal, day, records) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET records = records + excluded.records",
                [(plan.number, day, count) for day, count in days.items()],
            )
        self._remember(transaction, slice_.position + len(records), last_time)

    def _store_notes(self, transaction: Transaction, slice_: "_Slice") -> None:
        """Store notes and user numbers before the first slice, and the begin of publishing behind the last."""
        if slice_.opens:
            for event_type, data in self._plan.notes:
                self._note(transaction, event_type, data)
            if self._pins:
                self._store_bindings(transaction, self._pins)
        if slice_.closes and self._plan.withheld_until is None:
            self._withhold(transaction, slice_.position)

    def _remember(self, transaction: Transaction, length: int, last_punch: str | None) -> None:
        plan = self._plan
        # A measurement kept across a restart must have been made with a synchronised clock; otherwise the previous one
        # stays.
        clock = self._context.clock if self._context.synchronised else None
        transaction.connection.exec_driver_sql(
            "UPDATE terminal SET layout = ?, generation = ?, length = ?, shift = ?, matched_until = ?, cleared = ?, "
            "withheld_until = ?, shrunk_to = ?, last_punch = coalesce(?, last_punch), "
            "offset_ms = coalesce(?, offset_ms), bound_ms = coalesce(?, bound_ms), "
            "measured_ms = coalesce(?, measured_ms) WHERE number = ?",
            (
                self._reading.layout,
                plan.generation,
                length,
                plan.alignment.shift,
                plan.matched_until,
                plan.cleared,
                plan.withheld_until,
                plan.shrunk_to,
                last_punch,
                clock.offset_ms if clock else None,
                clock.bound_ms if clock else None,
                milliseconds(clock.measured) if clock else None,
                plan.number,
            ),
        )

    def _note(self, transaction: Transaction, event_type: str, data: dict[str, Any]) -> None:
        context = self._context
        about = {"terminal": context.terminal, "serial": context.serial, **data}
        transaction.note(event_type, context.terminal, context.now.astimezone(context.zone), about)

    def _begins_publishing(self, record: Record) -> bool:
        return not isinstance(self._start, str) and begins_publishing(record, self._start, self._today)

    def _withhold(self, transaction: Transaction, position: int) -> None:
        """Set the begin of publishing to ``position``, and add a note with the number of records before it."""
        self._plan.withheld_until = position
        start = self._start if isinstance(self._start, str) else self._start.isoformat()
        self._note(transaction, event.HISTORY_WITHHELD, {"records": position, "start": start})

    def _place_of(
        self, transaction: Transaction, record: Record, print_: bytes, identity: bytes, position: int, slice_: "_Slice"
    ) -> tuple[int, int | None]:
        """Return the occurrence of a record that is new, or 0 and its event's sequence if it is known."""
        plan, serial = self._plan, self._context.serial
        reset = isinstance(record, RawPunch) and record.local_time.year <= event.RESET_YEAR
        # Records behind the matched log, made while its import was interrupted, are all new.
        matching = plan.matching and position < (plan.matched_until or 0) and not (reset and plan.cleared)
        if matching and self._reading.by_uid:
            if earlier_record := self._earlier_records.get(print_):
                return 0, earlier_record.popleft()
        elif matching:
            self._matching[identity] += 1
            nth = self._matching[identity]
            wanted = identity if nth == 1 else event.identity_of(serial, record, nth).bytes
            if wanted not in slice_.present and (nth == 1 or not transaction.holds(wanted)):
                return nth, None
            return 0, transaction.sequence_of(wanted)
        elif plan.matching and position < (plan.matched_until or 0):
            self._matching[identity] += 1
        occurrence = 1
        wanted = identity
        while wanted in slice_.present or (occurrence > 1 and transaction.holds(wanted)):
            unplaced = None
            if occurrence > 1 or slice_.is_shared:
                unplaced = unconfirmed(transaction.connection, [wanted]).get(wanted)
            if unplaced is not None and isinstance(record, RawPunch) and _is_of(record, unplaced):
                slice_.own.add(wanted)
                return 0, self._confirm(transaction, record, unplaced, slice_.log_position_of(position))
            if slice_.is_shared and unplaced is None and wanted not in slice_.own:
                slice_.own.add(wanted)
                return 0, transaction.sequence_of(wanted)
            occurrence += 1
            wanted = event.identity_of(serial, record, occurrence).bytes
        live = slice_.live.get(identity)
        if (
            live is not None
            and live.claimed is not None
            and isinstance(record, RawPunch)
            and Content(live.state, live.verify, live.work_code).equals(Content.of(record))
        ):
            # A delivered record with other fields was taken for the live punch of this one.
            del slice_.live[identity]
            return 0, self._confirm(transaction, record, live, slice_.log_position_of(position))
        return occurrence, None

    def _own_places(
        self, transaction: Transaction, slice_: "_Slice", records: list[Record], identities: list[bytes]
    ) -> set[bytes]:
        """Return which stored occurrences of the keys of a slice are records of this log."""
        keys = {
            identity: (record, fingerprint(placed))
            for identity, record, placed in zip(identities, records, slice_.records, strict=True)
            if identity in slice_.present
        }
        prints: dict[bytes, bytes] = {}
        occurrence = 1
        while keys:
            prints |= {identity: print_ for identity, (_, print_) in keys.items()}
            occurrence += 1
            serial = self._context.serial
            further = {event.identity_of(serial, key[0], occurrence).bytes: key for key in keys.values()}
            keys = {identity: further[identity] for identity in transaction.present([*further])}
        return transaction.placed(prints, self._known.number, self._known.first_generation)

    def _confirm(self, transaction: Transaction, record: RawPunch, row: Any, position: int) -> int:
        """Confirm a live punch, or one from a file, by its record in the log.

        A note is added where its fields differ, or where it had been reported missing.
        """
        content = Content.of(record)
        differs = not Content.of_row(row).equals(content)
        if differs or row.reported:
            live = UUID(bytes=row.id)
            transaction.add(event.confirmed_draft(record, self._context, punch_event=live, position=position))
        if differs or row.claimed is not None:
            transaction.connection.exec_driver_sql(
                "UPDATE event SET content = ? WHERE id = ?", (content.text(), row.id)
            )
        if row.unplaced:
            transaction.connection.exec_driver_sql("UPDATE event SET unplaced = NULL WHERE id = ?", (row.id,))
        else:
            transaction.connection.exec_driver_sql("DELETE FROM unconfirmed WHERE id = ?", (row.id,))
        self._stored.confirmed += 1
        return int(row.sequence)

    def _close_full_reading(self, transaction: Transaction) -> int:
        """Store that the whole log was read, its records per day, and which live punches it did not contain."""
        number = self._plan.number
        rows = transaction.connection.exec_driver_sql(
            "SELECT id FROM unconfirmed WHERE terminal = ? AND recorded_ms < ? AND NOT reported",
            (number, milliseconds(self._context.now)),
        ).all()
        for (identity,) in rows:
            transaction.add(event.unconfirmed_draft(self._context, punch_event=UUID(bytes=identity)))
            transaction.connection.exec_driver_sql("UPDATE unconfirmed SET reported = 1 WHERE id = ?", (identity,))
        transaction.connection.exec_driver_sql("DELETE FROM log_day WHERE terminal = ?", (number,))
        if self._days:
            transaction.connection.exec_driver_sql(
                "INSERT INTO log_day (terminal, day, records) VALUES (?, ?, ?)",
                [(number, day, count) for day, count in self._days.items()],
            )
        transaction.connection.exec_driver_sql(
            "UPDATE terminal SET full_ms = ? WHERE number = ?", (transaction.now_ms, number)
        )
        return len(rows)


class _WithCallback:
    """Iterates over records that may take minutes to transfer, with a callback after each slice."""

    def __init__(self, records: Iterable[Record], between: Callable[[], None]) -> None:
        self._records = records
        self.between = between

    def __iter__(self) -> Iterator[Record]:
        for count, record in enumerate(self._records, 1):
            yield record
            if count % SLICE == 0:
                self.between()


@dataclass(slots=True)
class _Slice:
    """Consecutive new records, to be stored in one transaction."""

    position: int
    """Position of the first record in the stored order."""
    log_position: int
    records: list[Record]
    opens: bool
    closes: bool = False
    present: set[bytes] = field(default_factory=set)
    """First identities stored before, and those added in this slice."""
    live: dict[bytes, Any] = field(default_factory=dict)
    """First identity → row of :func:`unconfirmed`, of records that no record of the log was found for."""
    is_shared: bool = False
    """Another entry has read this log too: its records are these, and only its places are others."""
    own: set[bytes] = field(default_factory=set)
    """Identities whose records are in this log by the places of this entry, where it is shared."""

    def log_position_of(self, position: int) -> int:
        """Return the log position of the record at ``position`` of the stored order."""
        return self.log_position + position - self.position


def day_of(record: Record) -> int:
    """Return the day of a record as the tables store it."""
    return UNDATED if isinstance(record, BadRecord) else record.local_time.toordinal()


def draft_of(record: Record, context: ReadingContext, occurrence: int, position: int | None, first: UUID) -> Draft:
    """Return the event of a record; ``first`` is the identity of the first occurrence of its key."""
    if isinstance(record, BadRecord):
        return event.quarantine_draft(record, context, occurrence=occurrence, position=position)
    identity = first if occurrence == 1 else None
    return event.punch_draft(record, context, occurrence=occurrence, position=position, identity=identity)


def _is_of(record: RawPunch, row: Any) -> bool:
    """Return whether a record of the log is that of a row of :func:`unconfirmed`, which has the record's key.

    Delivered records of one second are distinguished by their content, and so are live punches that a delivered record
    was taken for. The log decides about all others.
    """
    if row.claimed is not None:
        return Content(*json.loads(row.claimed)).equals(Content.of(record))
    return row.content is None or Content.of_row(row).equals(Content.of(record))


def _has_gap(alignment: Alignment, known: KnownTerminal) -> bool:
    """Return whether more records precede the overlap than the log can have there: it grows at its end only.

    Then the reading begins behind the stored log, and the overlap is only repeated punches of one second.
    """
    return alignment.shift < known.shift


def _may_be_coincidence(alignment: Alignment, known: KnownTerminal, reading: Reading) -> bool:
    """Return whether the overlap may be chance: a shorter log that only shares times of a reset clock."""
    if alignment.shift == known.shift or (reading.total >= known.in_log and known.shrunk_to is None):
        return False
    return _proves_nothing(reading, alignment.known)


def _is_mostly_known(news: list[bytes], order: list[bytes]) -> bool:
    """Return whether most apparently new records are known: a reordered log, not a continuation."""
    known = set(order)
    return sum(print_ in known for print_ in news) * 2 > len(news)


def _is_part(order: list[bytes], prints: list[bytes], reading: Reading) -> bool:
    """Return whether the reading is a part of the stored order: a log that advanced and was then truncated."""
    whole, piece = b"".join(order), b"".join(prints)
    found = whole.find(piece)
    while found > 0 and found % 8:  # not at the beginning of a fingerprint
        found = whole.find(piece, found + 1)
    return found >= 0 and not _proves_nothing(reading, len(prints))


def _proves_nothing(reading: Reading, count: int) -> bool:
    """Return whether the first ``count`` records prove nothing: a few times of a reset clock."""
    shared = islice(reading.records, count)
    return count < OVERLAP and all(
        isinstance(record, RawPunch) and record.local_time.year <= event.RESET_YEAR for record in shared
    )


def encoded(record: Record, serial: str | None = None) -> str:
    """Return a record as JSON text; a withheld record is stored in this form, with its device's ``serial``."""
    fields: dict[str, Any] = {"raw": record.raw.hex(), **({} if serial is None else {"serial": serial})}
    if isinstance(record, BadRecord):
        fields |= {"stable": record.stable.hex(), "reason": record.reason, "size": record.size, "sha256": record.sha256}
    else:
        fields |= {
            "pin": record.pin,
            "uid": record.uid,
            "local_time": record.local_time.isoformat(),
            "state": record.state,
            "verify": record.verify,
            "work_code": record.work_code,
        }
    return json.dumps(fields)


def decoded(text: str) -> Record:
    """Return the record of a text made by :func:`encoded`."""
    fields = json.loads(text)
    fields.pop("serial", None)
    raw = bytes.fromhex(fields["raw"])
    if "reason" in fields:
        whole = fields.get("size"), fields.get("sha256")  # texts of version 1 have none
        return BadRecord(raw, bytes.fromhex(fields["stable"]), fields["reason"], *whole)
    fields["local_time"] = datetime.fromisoformat(fields["local_time"])
    return RawPunch(**{**fields, "raw": raw})


def released_draft(row: Any, context: ReadingContext, position: int | None) -> Draft:
    """Return the event of a row of ``withheld``, with the identity reserved for it.

    Its serial is that of the device that contained the record, which may have been replaced since. Raises LedgerError
    where no occurrence has that identity.
    """
    record = decoded(row.record)
    context = replace(context, serial=json.loads(row.record).get("serial", context.serial))
    occurrence = 1
    while event.identity_of(context.serial, record, occurrence).bytes != row.id:
        occurrence += 1
        if occurrence > OCCURRENCES_MAX:
            raise LedgerError("a withheld record does not fit its identity; `hadir verify` says more")
    return draft_of(record, context, occurrence, position, UUID(bytes=row.id))


def _withheld(identity: bytes, plan: _Plan, serial: str, position: int, record: Record) -> dict[str, Any]:
    return {
        "id": identity,
        "terminal": plan.number,
        "generation": plan.generation,
        "position": position,
        "record": encoded(record, serial),
        "day": day_of(record),
    }
