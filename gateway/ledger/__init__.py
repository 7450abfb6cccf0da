"""The durable store: what was read, in which order, and how far it has travelled. The only SQL in the gateway.

One SQLite file, one writer thread, one process. Whatever a caller has been told is stored is on the disk: events, the
terminal's position and the digest chain move in one transaction, and a call returns only after it is committed with
``synchronous=FULL``. The writer takes everything that waits into one transaction, so that many terminals share one
fsync; notes that the broker has an event ride along, or wait at most a second.

Rooms: ``file`` (tables; opening, creating, migrating), ``transaction`` (what one commit is made of), ``reading`` (how a
reading of a terminal's log is laid against what is known and stored), ``filing`` (the same for a file), ``delivery``
(receipts, and what is sent again), ``stream`` (unbroken lives of a ledger), ``space`` (what is forgotten when, what a
full disk stops), ``verify`` (is it what was written), ``rescue`` (copies, and what is saved of a damaged file),
``store`` (the ledger as others see it).
"""

from gateway.ledger.delivery import Judgement, Receipt, ResendCounts, RetainedInfo, Selection, info_from, receipt_from
from gateway.ledger.file import (
    ENGINE,
    FILE_NAME,
    OVERLAP,
    KnownTerminal,
    LedgerAltered,
    LedgerError,
    LedgerFull,
    LedgerLocked,
    in_use,
)
from gateway.ledger.file_import import BEFORE, ImportCounts
from gateway.ledger.reading import SLICE, ReadingResult, Unaligned, decoded, encoded
from gateway.ledger.recovery import backup, newest_backup, restore
from gateway.ledger.space import DiskState, Limits
from gateway.ledger.store import Counts, DayCounts, Ledger, LedgerReader, StoredEvent, opened

__all__ = [
    "BEFORE",
    "ENGINE",
    "FILE_NAME",
    "OVERLAP",
    "SLICE",
    "Counts",
    "DayCounts",
    "DiskState",
    "ImportCounts",
    "Judgement",
    "KnownTerminal",
    "Ledger",
    "LedgerAltered",
    "LedgerError",
    "LedgerFull",
    "LedgerLocked",
    "LedgerReader",
    "Limits",
    "ReadingResult",
    "Receipt",
    "ResendCounts",
    "RetainedInfo",
    "Selection",
    "StoredEvent",
    "Unaligned",
    "backup",
    "decoded",
    "encoded",
    "in_use",
    "info_from",
    "newest_backup",
    "opened",
    "receipt_from",
    "restore",
]
