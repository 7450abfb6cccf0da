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

from gateway.ledger.delivery import Again, Judgement, Receipt, RetainedInfo, Selection, info_from, receipt_from
from gateway.ledger.file import (
    ENGINE,
    FILE_NAME,
    OVERLAP,
    Known,
    LedgerAltered,
    LedgerError,
    LedgerFull,
    LedgerLocked,
    in_use,
)
from gateway.ledger.filing import BEFORE, Filed
from gateway.ledger.reading import SLICE, Stored, Unaligned, decoded, encoded
from gateway.ledger.rescue import backup, newest_backup, restore
from gateway.ledger.space import Limits, Room
from gateway.ledger.store import Counts, Day, Ledger, LedgerReader, Waiting, opened

__all__ = [
    "BEFORE",
    "ENGINE",
    "FILE_NAME",
    "OVERLAP",
    "SLICE",
    "Again",
    "Counts",
    "Day",
    "Filed",
    "Judgement",
    "Known",
    "Ledger",
    "LedgerAltered",
    "LedgerError",
    "LedgerFull",
    "LedgerLocked",
    "LedgerReader",
    "Limits",
    "Receipt",
    "RetainedInfo",
    "Room",
    "Selection",
    "Stored",
    "Unaligned",
    "Waiting",
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
