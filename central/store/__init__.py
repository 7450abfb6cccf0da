"""The centre's database. Only this package holds SQL, with :mod:`central.report`.

``engine`` opens, creates and migrates the file and gives transactions; ``events`` stores what gateways send. Registers
and results have modules of their own.
"""

from central.store.engine import Database, StoreError, StoreLocked
from central.store.events import IngestResult, Message, Store
from central.store.receipts import Receipt

__all__ = ["Database", "IngestResult", "Message", "Receipt", "Store", "StoreError", "StoreLocked"]
