"""The public face of the ledger: recording, delivery, and everything that a reader can do."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from drivers.base import BadRecord, RawPunch, Reading, Record, Settlement, Untimed
from gateway import event as event_module
from gateway.event import ClockEvidence, ReadingContext
from gateway.ledger import delivery, file
from gateway.ledger.arrivals import Arrival
from gateway.ledger.delivery import DeliveryMark, Judged, Judgement, Receipt, ResendCounts, RetainedInfo, Selection
from gateway.ledger.file import LedgerError, LedgerFull
from gateway.ledger.file_import import FileSlice, ImportCounts
from gateway.ledger.opening import open_file
from gateway.ledger.reader import LedgerReader
from gateway.ledger.reading import SLICE, SLICE_MIN, LogImport, ReadingResult, Start, released_draft
from gateway.ledger.schema import TABLES, KnownTerminal, milliseconds
from gateway.ledger.space import DiskState, Limits
from gateway.ledger.stream import ROLLED_BACK, machine_ids
from gateway.ledger.transaction import Transaction
from gateway.ledger.writer import Writer
from gateway.ledger_summary import FILE_NAME, UNDATED
from gateway.log import get_logger

LIVE_EXPECTED_S = 30.0
"""After a live punch, further ones are expected for this time."""

T = TypeVar("T")

log = get_logger("ledger")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger(LedgerReader):
    """The writable ledger of a running daemon. Thread-safe."""

    def __init__(
        self,
        data_dir: Path,
        source: str,
        *,
        now: Callable[[], datetime] = _utc_now,
        machine: Callable[[], frozenset[str]] = machine_ids,
        limits: Limits | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Open or create the ledger in ``data_dir`` for ``source``, on the machine with these marks.

        A ledger that was copied, restored or rolled back opens a new stream. A damaged one is set aside and recovered,
        which opens a new stream too. With ``limits`` settled events are pruned when they are old or space is needed.
        ``progress`` is called regularly while a ledger that was not closed properly is checked.

        Raises LedgerLocked where another process holds it, LedgerFull where the disk is full, and LedgerError where it
        belongs to another gateway or program, or was written by a newer version.
        """
        opened_file = open_file(data_dir, source, machine, limits, progress)
        self.path = data_dir / FILE_NAME
        self.last_alive = opened_file.last_alive
        """When the last process gave its last sign of life; None for a new ledger."""
        self.was_clean = opened_file.was_clean
        self.broken = opened_file.broken
        """Why a new stream was opened at the start, if so."""
        self.salvage = opened_file.salvage
        self._engine = opened_file.engine
        self._lock_file = opened_file.lock_file
        self._disk_guard = opened_file.disk_guard
        self._sessions = opened_file.sessions
        self._imports_running = 0
        """Number of readings being stored now."""
        self._imports_lock = threading.Lock()
        self._live_expected_until = 0.0
        """Monotonic time until which live punches are expected."""
        self.on_recorded: Callable[[], None] = lambda: None
        """Called after each commit that added events, from the writer's thread."""
        self.on_resend: Callable[[], None] = lambda: None
        """Called after events were marked for resending."""
        self._writer = Writer(
            self.path,
            self._engine,
            source,
            opened_file.head,
            disk_guard=self._disk_guard,
            lock_file=self._lock_file,
            now=now,
            on_recorded=lambda: self.on_recorded(),  # noqa: PLW0108 - it is replaced after the start
        )
        if self.broken is not None:
            try:
                self.open_stream(self.broken)
            except LedgerError:
                self.close()  # it must not continue its old stream
                raise

    @property
    def failure(self) -> BaseException | None:
        """The exception that ended the writer or showed the file as unusable, if any."""
        return self._writer.failure

    @property
    def stream(self) -> str:
        """Identifier of the present stream."""
        return self._writer.stream

    def open_stream(self, reason: str) -> str:
        """Open a new stream with the next event, which names the predecessor, and return its name.

        Waiting events of earlier streams are sent unchanged.
        """
        name = self.do(lambda transaction: transaction.open_stream(reason, lost=transaction.gaps()))
        log.warning("stream_opened", reason=reason, stream=name, predecessor=self.streams()[-1].predecessor)
        return name

    def alive(self) -> None:
        """Update the lock file's time, not the ledger; ``gateway.resumed`` reports it after a crash."""
        os.utime(self._lock_file.fileno())

    def _rows(self, statement: str, **values: object) -> list[Any]:
        try:
            return super()._rows(statement, **values)
        except file.LedgerDamaged as exc:
            # The process ends; the next start finds a ledger that was not closed properly, and checks it.
            self._writer.failure = self._writer.failure or exc
            raise

    def close(self) -> None:
        """Finish waiting jobs, mark the ledger as properly closed and release it."""
        if not self._writer.close():
            return
        try:
            if self.failure is None:
                with self._engine.connect() as connection:
                    self._disk_guard.save_size(connection, self.last_sequence(), 0, always=True)
                    connection.exec_driver_sql("UPDATE gateway SET clean = 1")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except DBAPIError as exc:
            if not file.is_disk_full(exc):  # otherwise it is only checked at the next start
                raise file.explained(self.path, exc) from exc
        finally:
            super().close()
            self._lock_file.close()

    # Recording.

    def disk_state(self) -> DiskState:
        """Return what the disk has space for: ``all``, ``news`` (no long imports), or ``none``.

        With ``none``, recording raises LedgerFull; waiting events are delivered all the same.
        """
        return self._disk_guard.state

    def days_left(self) -> int | None:
        """Return in how many days the free space reaches its floor; None where that is unknown, or never."""
        return self._disk_guard.days_left()

    @property
    def stalled_s(self) -> float:
        """For how many seconds the writer has been busy with one transaction; 0 while it waits for work."""
        return self._writer.stalled_s

    @property
    def body_bytes(self) -> int:
        """Size of all bodies, in bytes."""
        return self._disk_guard.body_bytes

    def next_session(self) -> int:
        """Return the next session number, higher than any before, for one connection to the broker.

        While the disk is full, it is only higher than any since the start.
        """

        def work(transaction: Transaction) -> None:
            transaction.connection.exec_driver_sql("UPDATE gateway SET sessions = ?", (session,))

        self._sessions += 1
        session: int = self._sessions
        with suppress(LedgerFull):
            self.do(work)
        return session

    def pin_serial(self, name: str, serial: str) -> KnownTerminal:
        """Pin ``serial`` to the terminal ``name`` at first contact, or replace it after a change of the configuration.

        A new serial begins a new generation of the log. Returns the stored state.
        """

        def work(transaction: Transaction) -> None:
            changed = transaction.connection.exec_driver_sql(
                "UPDATE terminal SET serial = ?, generation = generation + 1, first_generation = generation + 1, "
                "length = 0, shift = 0, matched_until = NULL, cleared = 0, withheld_until = NULL, shrunk_to = NULL, "
                "layout = NULL, ranged = NULL, threshold = NULL, offset_ms = NULL, bound_ms = NULL, measured_ms = NULL "
                "WHERE name = ? AND serial <> ?",
                (serial, name, serial),
            ).rowcount
            if changed:
                # The old device's log, which could have confirmed them, is gone; so are its user numbers and marks.
                for table in ("unconfirmed", "binding", "log_day", "mark"):
                    transaction.connection.exec_driver_sql(
                        f"DELETE FROM {table} WHERE terminal = (SELECT number FROM terminal WHERE name = ?)", (name,)
                    )
            else:
                transaction.connection.exec_driver_sql(
                    "INSERT INTO terminal "
                    "(name, serial, generation, first_generation, length, shift, matched_until, cleared) "
                    "VALUES (?, ?, 0, 0, 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING",
                    (name, serial),
                )

        self.do(work)
        known = self.terminal(name)
        assert known is not None  # noqa: S101 - it was written above
        return known

    def record_note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> int:
        """Store a note about ``moment`` (aware) and return its sequence."""
        return self.do(lambda transaction: transaction.note(event_type, subject, moment, data))

    def remember(self, name: str, *, ranged: bool | None = None, threshold: int | None = None) -> None:
        """Store properties of a terminal; None leaves a property unchanged."""

        def work(transaction: Transaction) -> None:
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET ranged = coalesce(?, ranged), threshold = coalesce(?, threshold) WHERE name = ?",
                (ranged, threshold, name),
            )

        self.do(work)

    def remember_clock(self, name: str, clock: ClockEvidence) -> None:
        """Store a measurement of a terminal's clock, made with a synchronised clock, for the next start."""

        def work(transaction: Transaction) -> None:
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET offset_ms = ?, bound_ms = ?, measured_ms = ? WHERE name = ?",
                (clock.offset_ms, clock.bound_ms, milliseconds(clock.measured), name),
            )

        self.do(work)

    def record_live(self, context: ReadingContext, record: RawPunch) -> bool:
        """Store a live punch; False where its key is stored already, or its PIN is invalid: the log decides."""
        number = self._number(context.terminal)
        checked = event_module.checked(record)
        if isinstance(checked, BadRecord):
            return False
        record = checked
        self._live_expected_until = time.monotonic() + LIVE_EXPECTED_S

        def work(transaction: Transaction) -> bool:
            draft = event_module.punch_draft(record, context, occurrence=1, position=None)
            if transaction.holds(draft.id.bytes):
                return False
            sequence = transaction.add(draft, terminal=number, day=record.local_time.toordinal())
            row = {
                "id": draft.id.bytes,
                "terminal": number,
                "sequence": sequence,
                "state": record.state,
                "verify": record.verify,
                "work_code": record.work_code,
                "recorded_ms": transaction.now_ms,
                "reported": False,
            }
            transaction.connection.execute(insert(TABLES["unconfirmed"]), row)
            transaction.connection.exec_driver_sql(
                "UPDATE terminal SET last_punch = ? WHERE number = ?", (record.local_time.isoformat(), number)
            )
            return True

        return self.do(work)

    def record_reading(
        self,
        context: ReadingContext,
        reading: Reading,
        *,
        start: Start = "all",
        pins: Mapping[int, str] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> ReadingResult:
        """Store the new records of a reading of a terminal's log, in slices that are committed one by one.

        ``pins`` resolves internal user numbers, ``start`` selects what of a first reading to withhold, ``between`` is
        called after each slice, so that live punches do not wait for the end of a long import. Raises Unaligned, with
        nothing stored, where a reading that does not begin at position 0 has no overlap with the stored log.
        """
        known = self.terminal(context.terminal)
        if known is None:
            raise LedgerError(f"terminal {context.terminal} has no pinned serial; pin_serial comes first")
        with self._imports_lock:
            self._imports_running += 1
        try:
            log_import = LogImport(self, self._writer, known, context, reading, start=start, pins=pins)
            return log_import.store(between, self._slice_divisor)
        finally:
            with self._imports_lock:
                self._imports_running -= 1

    def _slice_divisor(self) -> int:
        """Return the divisor of a slice: the number of concurrent readings, or more while live punches arrive."""
        if time.monotonic() < self._live_expected_until:
            return SLICE // SLICE_MIN
        return self._imports_running

    def record_delivery(
        self, context: ReadingContext, records: Sequence[Record | Untimed], mark: tuple[str, str] | None = None
    ) -> Settlement:
        """Store the new records of a delivery without a place in a log, and its mark, in one transaction.

        See :mod:`gateway.ledger.arrivals`. Raises TypeError, with nothing stored, for a record without a time that may
        be sent again.
        """
        return self.do(Arrival(self._number(context.terminal), context, records, mark).store)

    def record_file(
        self, context: ReadingContext, records: Sequence[Record], *, before: Sequence[Record] = (), begun_at: int
    ) -> ImportCounts:
        """Store those records of a file that are new, in one transaction: see :mod:`gateway.ledger.file_import`.

        ``before`` are the last records in front of them in the file, up to :data:`BEFORE`, and ``begun_at`` the
        ledger's last sequence when the file was begun.
        """
        known = self.terminal(context.terminal)
        if known is None:
            raise LedgerError(f"terminal {context.terminal} has no pinned serial; pin_serial comes first")
        records = [event_module.checked(record) for record in records]
        file_slice = FileSlice(
            known, context, before, records, begun_at, lambda: b"".join(self.order(known, 0, known.length))
        )
        return self.do(file_slice.store)

    def note_file(self, context: ReadingContext, about: dict[str, Any], report: dict[str, Any]) -> bool:
        """Add a note that a file was imported completely; return False where that was noted before.

        ``about`` is the event's data, ``report`` is stored in the ledger only.
        """
        number = self._number(context.terminal)

        def work(transaction: Transaction) -> bool:
            key = (number, about["sha256"])
            known = "SELECT 1 FROM file WHERE terminal = ? AND sha256 = ?"
            if transaction.connection.exec_driver_sql(known, key).first():
                return False
            moment = context.now.astimezone(context.zone)
            data = {"terminal": context.terminal, "serial": context.serial, **about}
            sequence = transaction.note(event_module.FILE_IMPORTED, context.terminal, moment, data)
            row = {
                "terminal": number,
                "sha256": about["sha256"],
                "name": about["name"],
                "size": about["size"],
                "sequence": sequence,
                "report": json.dumps(report),
            }
            transaction.connection.execute(insert(TABLES["file"]), row)
            return True

        return self.do(work)

    def release(self, context: ReadingContext, first: date = date.min, last: date = date.max) -> int:
        """Add withheld records of a terminal, dated from ``first`` to ``last``, to the stream.

        Without bounds this includes those without a readable date. Returns their number.
        """
        known = self.terminal(context.terminal)
        if known is None:
            return 0
        low = UNDATED if first == date.min else first.toordinal()
        released = 0

        def work(transaction: Transaction) -> int:
            rows = transaction.connection.exec_driver_sql(
                "SELECT id, generation, position, record, day FROM withheld WHERE terminal = ? AND day BETWEEN ? AND ? "
                "ORDER BY generation, position LIMIT ?",
                (known.number, low, last.toordinal(), SLICE),
            ).all()
            for row in rows:
                position = row.position - known.shift if row.generation == known.generation else -1
                draft = released_draft(row, context, None if position < 0 else position)
                sequence = transaction.add(draft, terminal=known.number, day=row.day)
                transaction.connection.exec_driver_sql("DELETE FROM withheld WHERE id = ?", (row.id,))
                transaction.connection.exec_driver_sql(
                    "UPDATE place SET sequence = ? WHERE terminal = ? AND generation = ? AND position = ?",
                    (sequence, known.number, row.generation, row.position),
                )
            return len(rows)

        while count := self.do(work):
            released += count
        return released

    def _number(self, name: str) -> int:
        number = self._number_of(name)
        if number is None:
            raise LedgerError(f"terminal {name} has no pinned serial; pin_serial comes first")
        return number

    # Delivery.

    def mark_sent(self, sequences: Iterable[int]) -> None:
        """Mark events as sent. Returns at once; after a crash within a second they are sent again."""
        self._writer.mark(DeliveryMark(sequence) for sequence in sequences)

    def park(self, sequence: int, reason: int) -> None:
        """Mark an event as permanently refused by the broker, with its reason code."""
        self._writer.mark([DeliveryMark(sequence, reason)])

    def set_aside(self, numbers: Sequence[int]) -> int:
        """Set events aside whose bodies do not fit their digests; return how many are newly marked. See `delivery`."""
        return sum(
            self.do(partial(delivery.set_aside, numbers=numbers[first : first + delivery.PRUNED_PER_CALL]))
            for first in range(0, len(numbers), delivery.PRUNED_PER_CALL)
        )

    def trust(self, confirm: str) -> None:
        """Store whose acknowledgement counts: ``centre``, ``broker``, ``auto`` (the centre after a receipt)."""
        if self._scalar("SELECT confirm FROM delivery") != confirm:
            with suppress(LedgerFull):
                self.do(lambda transaction: delivery.choose(transaction, confirm), settles=True)

    def note_receipt(self, receipt: Receipt) -> Judgement:
        """Judge a receipt and store its content, in one transaction.

        Where it proves that the ledger was rolled back, a new stream is opened. Raises LedgerFull, with nothing
        changed, where the disk is full.
        """
        return self._judged(
            lambda transaction: delivery.note_receipt(transaction, receipt), f"a receipt for {receipt.upto} events"
        )

    def judge_info(self, info: RetainedInfo) -> Judgement:
        """Judge the retained ``info`` of this gateway: like :meth:`note_receipt`, with nothing to store."""
        return self._judged(
            lambda transaction: delivery.judge(transaction, info.stream, info.sequence),
            f"the broker has retained that {info.sequence} events were recorded",
        )

    def _judged(self, judge: Callable[[Transaction], Judged], claim: str) -> Judgement:
        """Run a judgement as a settling job; ``claim`` describes the judged claim in the log."""

        def work(transaction: Transaction) -> Judged:
            judged = judge(transaction)
            if judged.judgement is Judgement.SET_BACK and self._disk_guard.full:
                raise LedgerFull(f"{self.path}: the disk is too full to begin a new stream; make room on it")
            if judged.first is not None:
                self._disk_guard.note_settled(judged.first)
            return judged

        judged = self.do(work, settles=True)
        if judged.judgement is Judgement.SET_BACK:
            log.error("rollback_detected", assigned=judged.assigned, proof=claim)
            log.warning(
                "stream_opened", reason=ROLLED_BACK, stream=self.stream, predecessor=self.streams()[-1].predecessor
            )
        return judged.judgement

    def resend_missing(self) -> ResendCounts:
        """Mark some of the missing events for resending; pruned ones are listed in a note."""
        owed = self.do(delivery.resend_missing)
        if owed.events:
            self.on_resend()
        return owed

    def resend(self, selection: Selection) -> ResendCounts:
        """Mark the selected events for resending, unchanged; pruned ones are listed in a note.

        Events that wait anyway are not counted.
        """
        self.do(lambda transaction: delivery.note_pruned(transaction, selection))
        forgotten = self.do(lambda transaction: delivery.count_pruned(transaction, selection))
        events = 0
        while chosen := self.do(partial(delivery.mark_for_resend, selection=selection)):
            events += len(chosen)
            selection = replace(selection, first=chosen[-1] + 1)
            self.on_resend()
        return ResendCounts(events, forgotten)

    def flush_marks(self) -> None:
        """Write the marks of :meth:`mark_sent` now; on a full disk they wait."""
        self._writer.flush_marks()

    def do(self, work: Callable[[Transaction], T], *, settles: bool = False) -> T:
        """Run ``work`` in the writer's next transaction: see :meth:`gateway.ledger.writer.Writer.do`."""
        return self._writer.do(work, settles=settles)


@contextmanager
def opened(data_dir: Path, source: str) -> Iterator[Ledger]:
    """Open a ledger for the length of a block."""
    ledger = Ledger(data_dir, source)
    try:
        yield ledger
    finally:
        ledger.close()
