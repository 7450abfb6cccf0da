"""The durable store: records, their order, and their delivery state. The only SQL in the gateway.

One SQLite file, one writer thread, one process. A call that stores returns only after its commit with
``synchronous=FULL``: events, the terminal's position and the digest chain change in one transaction. The writer commits
all waiting jobs in one transaction, so that many terminals share one fsync; acknowledgements of the broker are written
with the next transaction, or after at most a second.

Modules, the lowest first: ``schema`` (tables, migration), ``file`` (opening, creating, locking), ``stream`` (streams
and their breaks), ``transaction`` (one commit), ``delivery`` (receipts and resending), ``space`` (pruning, and the
limits of a full disk), ``writer`` (the queue and its commits), ``verify`` (verification of all events), ``reader``
(what any process may read), ``reading`` (a reading of a terminal's log is aligned with the stored log and stored),
``file_import`` (the same for a file), ``arrivals`` (the same for a delivery without a place in a log), ``recovery`` (of
a damaged file), ``copies`` (backups and their restoration), ``opening`` (what is done before the first commit),
``ledger`` (the public interface).
"""

from drivers.base import OVERLAP
from gateway.ledger.arrivals import SENT_ONCE
from gateway.ledger.copies import backup, newest_backup, restore
from gateway.ledger.delivery import Judgement, Receipt, ResendCounts, RetainedInfo, Selection, info_from, receipt_from
from gateway.ledger.file import (
    ENGINE,
    LedgerAltered,
    LedgerError,
    LedgerFull,
    LedgerLocked,
    LedgerNotPermitted,
    in_use,
)
from gateway.ledger.file_import import BEFORE, ImportCounts
from gateway.ledger.ledger import Ledger, opened
from gateway.ledger.reader import LedgerReader, StoredEvent
from gateway.ledger.reading import SLICE, ReadingResult, Unaligned, decoded, encoded
from gateway.ledger.schema import KnownTerminal
from gateway.ledger.space import DiskState, Limits
from gateway.ledger_summary import FILE_NAME, Counts, DayCounts

__all__ = [
    "BEFORE",
    "ENGINE",
    "FILE_NAME",
    "OVERLAP",
    "SENT_ONCE",
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
    "LedgerNotPermitted",
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
