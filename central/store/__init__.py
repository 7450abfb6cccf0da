"""The centre's database. Only this package holds SQL, with :mod:`central.ownership` and :mod:`central.report`.

``engine`` opens, creates and migrates the file and gives transactions; ``events`` stores what gateways send. Registers
and results have modules of their own.
"""

from central.store.engine import StoreError, StoreLocked
from central.store.events import IngestResult, Message, Receipt, Store, check_version, decision

__all__ = ["IngestResult", "Message", "Receipt", "Store", "StoreError", "StoreLocked", "check_version", "decision"]
