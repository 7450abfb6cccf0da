"""Writes postponed by a full disk: they wait in memory, in order, and are stored when there is space.

What a full ledger means for each note stands in :data:`gateway.incidents.NOTES`; for the rest:

=============================================  =================================================================
what is written                                when the disk is full
=============================================  =================================================================
record of a line                               waits here: a line sends it only once
other delivery without a place in a log        refused: its source sends it again
measurement, threshold, answer by date         the newest waits here
record of a log, live event of such a terminal not stored: the terminal's log is the buffer, it is read again
file on a flash disk                           not read to its end: the file stays where it is
serial number at the first contact             the visit ends and is repeated: nothing was read before
mark that a terminal's clock jumped            stays in memory until a reading was stored, as after any failed reading
back-off, outage, requests for visits          are in memory and depend on no write
=============================================  =================================================================

The queue of each terminal is bounded. Further writes are counted, and the count is stored as a note. Where the process
ends while the disk is full, waiting writes are lost, and the log states their number.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from drivers.base import Record, Settlement, Untimed
from gateway import event
from gateway.event import ClockEvidence, ReadingContext, utc_text
from gateway.incidents import NOTES, alarm_message, log_incident
from gateway.ledger import Ledger, LedgerError, LedgerFull
from gateway.log import get_logger
from gateway.trace import trace

NOTES_MAX = 500
"""Maximum waiting notes of one terminal: about half a megabyte."""
RECORDS_MAX = 10_000
"""Maximum waiting punches of one terminal without a log: more than a month of 150 people; about 10 MB."""

Kind = Literal["notes", "records"]
_MAX: dict[Kind, int] = {"notes": NOTES_MAX, "records": RECORDS_MAX}

log = get_logger("pending")


class _Write(NamedTuple):
    """A waiting write."""

    kind: Kind
    store: Callable[[], object]
    size: int
    """Number of notes or records that it stores."""


@dataclass(slots=True)
class _Dropped:
    """Counts of dropped writes, and the time of the first and the last."""

    first: datetime
    last: datetime
    counts: dict[Kind, int]


@dataclass(slots=True)
class _Queue:
    """Waiting writes of one terminal, or of the gateway itself."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a write is stored, which keeps their order."""
    writes: deque[_Write] = field(default_factory=deque)
    newest: dict[str, Callable[[], object]] = field(default_factory=dict)
    """Name → write; a later one replaces an earlier one."""
    counts: dict[Kind, int] = field(default_factory=lambda: {"notes": 0, "records": 0})
    dropped: _Dropped | None = None
    serial: str | None = None


class PendingWrites:
    """Stores data that cannot be read again, at once or as soon as the disk has space. Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        alarm: Callable[[str, str, str | None], None] = lambda _code, _message, _terminal: None,
    ) -> None:
        """``alarm`` is called when a queue is full."""
        self._ledger = ledger
        self._now = now
        self._alarm = alarm
        self._queues: dict[str | None, _Queue] = {}
        self._queues_lock = threading.Lock()

    def note(self, event_type: str, subject: str | None, moment: datetime, data: dict[str, Any]) -> None:
        """Store a note about ``moment`` (aware), after waiting writes of the same subject.

        ValueError for a note that is stored with the data that it describes.
        """
        if NOTES[event_type] != "waits":
            raise ValueError(event_type)
        queue = self._queue(subject)
        queue.serial = data.get("serial") or queue.serial
        self._write(subject, "notes", partial(self._ledger.record_note, event_type, subject, moment, data))

    def record_delivery(self, context: ReadingContext, records: Sequence[Record | Untimed]) -> Settlement:
        """Store records that are sent only once; those that must wait count as new."""
        self._queue(context.terminal).serial = context.serial
        store = partial(self._ledger.record_delivery, context, records)
        stored = self._write(context.terminal, "records", store, len(records))
        return stored if isinstance(stored, Settlement) else Settlement(len(records))

    def remember(self, name: str, *, ranged: bool | None = None, threshold: int | None = None) -> None:
        """Store properties of a terminal; see :meth:`Ledger.remember`."""
        if ranged is not None:
            self._replace(name, "ranged", partial(self._ledger.remember, name, ranged=ranged))
        if threshold is not None:
            self._replace(name, "threshold", partial(self._ledger.remember, name, threshold=threshold))

    def remember_clock(self, name: str, clock: ClockEvidence) -> None:
        """Store a measurement made with a synchronised clock; see :meth:`Ledger.remember_clock`."""
        self._replace(name, "clock", partial(self._ledger.remember_clock, name, clock))

    def flush(self, *, wait: bool = False) -> None:
        """Store waiting writes as far as the disk has space.

        Without ``wait`` a queue that another thread is storing is left to it: the main loop must not wait for a worker
        whose write hangs.
        """
        with self._queues_lock:
            queues = list(self._queues.items())
        for subject, queue in queues:
            if (queue.writes or queue.newest or queue.dropped) and queue.lock.acquire(blocking=wait):
                try:
                    self._drain(subject, queue)
                finally:
                    queue.lock.release()

    def waiting(self) -> int:
        """Return the number of waiting writes."""
        with self._queues_lock:
            return sum(len(queue.writes) + len(queue.newest) for queue in self._queues.values())

    def close(self) -> None:
        """Store waiting writes, and log lost ones; raises LedgerError for another cause than a full disk."""
        with self._queues_lock:
            queues = list(self._queues.items())
        try:
            self.flush(wait=True)
        finally:
            for subject, queue in queues:
                if queue.writes:
                    log.error("writes_lost", terminal=subject, **queue.counts)

    def _queue(self, subject: str | None) -> _Queue:
        with self._queues_lock:
            return self._queues.setdefault(subject, _Queue())

    def _write(self, subject: str | None, kind: Kind, store: Callable[[], object], size: int = 1) -> object:
        """Run ``store`` now and return its result, or enqueue it and return None. It stores ``size`` of its kind."""
        queue = self._queue(subject)
        with queue.lock:
            try:
                if self._drain(subject, queue):
                    return store()
            except LedgerFull:
                pass
            except LedgerError:
                self._hold(subject, queue, _Write(kind, store, size))  # to be logged as lost: the ledger is unusable
                raise
            self._hold(subject, queue, _Write(kind, store, size))
        return None

    def _hold(self, subject: str | None, queue: _Queue, write: _Write) -> None:
        if queue.counts[write.kind] + write.size <= _MAX[write.kind]:
            queue.writes.append(write)
            queue.counts[write.kind] += write.size
        else:
            self._drop(subject, queue, write.kind, write.size)

    def _replace(self, subject: str, name: str, store: Callable[[], object]) -> None:
        queue = self._queue(subject)
        with queue.lock:
            queue.newest[name] = store
            self._drain(subject, queue)

    def _drop(self, subject: str | None, queue: _Queue, kind: Kind, size: int) -> None:
        now = self._now()
        if queue.dropped is None:
            queue.dropped = _Dropped(now, now, {"notes": 0, "records": 0})
        queue.dropped.last = now
        is_first = not queue.dropped.counts[kind]
        queue.dropped.counts[kind] += size
        if is_first:
            log_incident(log, "writes_not_held", terminal=subject, what=kind, most=_MAX[kind])
            variant = "terminal" if subject else ""
            message = alarm_message("writes_not_held", variant, terminal=subject, most=_MAX[kind], kind=kind)
            self._alarm("writes_not_held", message, subject)

    def _drain(self, subject: str | None, queue: _Queue) -> bool:
        """Store waiting writes; return whether the queue is empty. The caller holds the queue's lock."""
        try:
            while queue.writes:
                write = queue.writes[0]
                self._store_isolated(subject, write.store)
                queue.writes.popleft()
                queue.counts[write.kind] -= write.size
            if queue.dropped is not None and subject is not None:
                self._store_isolated(subject, partial(self._note_dropped, subject, queue.serial, queue.dropped))
            queue.dropped = None
            while queue.newest:
                name = next(iter(queue.newest))
                self._store_isolated(subject, queue.newest[name])
                del queue.newest[name]
        except LedgerFull:
            return False
        return True

    @staticmethod
    def _store_isolated(subject: str | None, store: Callable[[], object]) -> None:
        """Run one write; an error other than a full disk is logged and must not block later writes."""
        try:
            store()
        except LedgerError:
            raise
        except Exception as exc:  # noqa: BLE001 - logged and skipped
            log.error("write_failed", terminal=subject, trace=trace(exc))  # noqa: TRY400 - a text may hold a PIN

    def _note_dropped(self, subject: str, serial: str | None, dropped: _Dropped) -> None:
        data = {
            "terminal": subject,
            "serial": serial,
            "what": "not_held",
            "notes": dropped.counts["notes"],
            "records": dropped.counts["records"],
            "from": utc_text(dropped.first),
            "to": utc_text(dropped.last),
        }
        self._ledger.record_note(event.TERMINAL_CHANGED, subject, dropped.last, data)
