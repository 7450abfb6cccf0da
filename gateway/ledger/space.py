"""Disk space: pruning of event bodies, and what may be read from the terminals while the disk is nearly full.

Pruning removes only the body of a settled event. Unsettled events stay complete; if they alone fill the space, reading
stops, and the terminals' own logs are the buffer.
"""

import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, insert
from sqlalchemy.exc import DBAPIError

from drivers.safe_files import FileRefused, Folder
from gateway.ledger import file
from gateway.ledger.schema import SETTLED, TABLES
from gateway.log import get_logger

DiskState = Literal["all", "news", "none"]
"""What may be read: everything (``all``), no long imports (``news``), nothing (``none``)."""

STEP = 500
"""Maximum events examined in one transaction, which limits the delay of a punch."""
RESERVE_NAME = "ledger.reserve"
RESERVE_BYTES = 4 * 1024**2
"""Reserved for a full disk: pruning itself needs space, about 1.3 MB for one step."""
MARGIN_BYTES = 64 * 1024**2
PRUNE_FRACTION = 0.8
"""Fraction of ``max_bytes`` above which settled bodies are pruned whatever their age."""
IMPORT_FRACTION = 0.9
"""Fraction of ``max_bytes`` above which long imports wait."""
CHECK_S = 5.0
PASS_S = 60.0
"""Pause after a complete pass over all bodies."""
COUNT_EVERY = 5000
VACUUM_PAGES = 1000
DAY_MS = 86_400_000

log = get_logger("ledger")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the disk the ledger may use."""

    days: int
    """Settled bodies are kept this long, if there is space."""
    max_bytes: int
    """Limit of the size of all bodies."""
    free_floor: int
    """Bytes of the disk reserved for other programs."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Free space of the disk and of the ledger's file, as last measured."""

    free_bytes: int
    """Free space of the disk."""
    spare_bytes: int
    """Free pages inside the ledger's file, which are used before it grows."""
    full: bool
    """The last write failed because the disk was full."""


def margin(limits: Limits) -> int:
    """Return how many bytes above the floor are needed to read everything."""
    return min(MARGIN_BYTES, limits.free_floor // 2)


def disk_state(limits: Limits, disk: Disk, body_bytes: int, before: DiskState = "all") -> DiskState:
    """Return what may be read; ``before`` is the previous state: returning to a better one needs extra space."""
    over = disk.free_bytes + disk.spare_bytes - limits.free_floor
    extra = margin(limits) // 4
    if disk.full or body_bytes >= limits.max_bytes or over <= (extra if before == "none" else 0):
        return "none"
    if body_bytes >= IMPORT_FRACTION * limits.max_bytes or over <= margin(limits) + (extra if before != "all" else 0):
        return "news"
    return "all"


def must_prune(limits: Limits, disk: Disk, body_bytes: int) -> bool:
    """Return whether settled bodies must be pruned whatever their age."""
    over = disk.free_bytes + disk.spare_bytes - limits.free_floor
    return disk.full or body_bytes > PRUNE_FRACTION * limits.max_bytes or over < 2 * margin(limits)


class Pruning:
    """Repeated passes over the bodies, oldest first, in steps that the writer runs between its commits."""

    def __init__(self, kept_from: int) -> None:
        self.kept_from = kept_from
        """No event before this one has a body."""
        self._cursor = kept_from
        self._skipped = False

    def begin(self, number: int = 0) -> None:
        """Restart with the oldest body, if the pass is beyond event ``number``."""
        if number < self._cursor:
            self._cursor = self.kept_from
            self._skipped = False

    def step(self, connection: Connection, before_ms: int | None) -> int | None:
        """Prune settled bodies among the next ``STEP`` events recorded before ``before_ms`` (None: of any age).

        Runs in the caller's transaction. Returns the number of freed bytes; None at the end of the pass.
        """
        rows = connection.exec_driver_sql(
            f"SELECT *, ({SETTLED}) AS settled FROM event WHERE sequence >= ? AND body IS NOT NULL "
            "ORDER BY sequence LIMIT ?",
            (self._cursor, STEP),
        ).all()
        if not rows or (before_ms is not None and rows[0].recorded_ms >= before_ms):
            return None
        prunable = [row for row in rows if row.settled and (before_ms is None or row.recorded_ms < before_ms)]
        kept = {row.sequence for row in rows} - {row.sequence for row in prunable}
        self._cursor = rows[-1].sequence + 1
        if not self._skipped:
            self.kept_from = min(kept, default=self._cursor)
            self._skipped = bool(kept)
        if prunable:
            # A row that only shrinks leaves its page half empty: rows are deleted and inserted again, which packs them.
            connection.exec_driver_sql("DELETE FROM event WHERE sequence = ?", [(row.sequence,) for row in prunable])
            columns = TABLES["event"].columns.keys()
            connection.execute(
                insert(TABLES["event"]),
                [{name: getattr(row, name) for name in columns} | {"body": None} for row in prunable],
            )
        return sum(len(row.body.encode()) for row in prunable)


class Reserve:
    """A file that reserves disk space, deleted when the disk is full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESERVE_NAME
        self._refused = False
        """It was logged that another kind of file has this name."""

    def release(self) -> None:
        """Delete the reserve."""
        with suppress(OSError):  # without permission to delete there is no reserve
            self._path.unlink(missing_ok=True)

    def hold(self) -> bool:
        """Allocate the reserve; return whether it is held. Another kind of file of this name is left and logged."""
        try:
            with Folder(self._path.parent) as folder, folder.update(self._path.name, 0o640) as reserve:
                if os.fstat(reserve.fileno()).st_size != RESERVE_BYTES:
                    os.ftruncate(reserve.fileno(), 0)
                    os.posix_fallocate(reserve.fileno(), 0, RESERVE_BYTES)
        except FileRefused as exc:
            if not self._refused:
                log.warning("reserve_refused", path=str(self._path), reason=exc.strerror)
            self._refused = True
            return False
        except OSError:
            self.release()
            return False
        return True


class Forecast:
    """Estimate of when the disk is full at the present rate."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=24 * 7)

    def note(self, moment_s: float, free_bytes: int) -> None:
        """Add a sample of the free space; one sample an hour is kept, for a week."""
        if not self._samples or moment_s - self._samples[-1][0] >= 3600:
            self._samples.append((moment_s, free_bytes))

    def days_left(self, moment_s: float, free_bytes: int, floor_bytes: int) -> int | None:
        """Return in how many days the floor is reached; None where that is not known, or never."""
        with suppress(IndexError):
            begun_s, before = self._samples[0]
            used = before - free_bytes
            if moment_s - begun_s >= 6 * 3600 and used > 0:
                return int(max(0, free_bytes - floor_bytes) / used * (moment_s - begun_s) / 86400)
        return None


class DiskGuard:
    """Disk space management of the writer; everything but ``room`` belongs to the writer's thread."""

    def __init__(self, folder: Path, limits: Limits | None, connection: Connection) -> None:
        """Measure the sizes; without ``limits`` nothing is pruned, and only a full disk matters."""
        self.state: DiskState = "all"
        self.full = False
        """A write failed because the disk was full, and no space was found since."""
        self.reserve = Reserve(folder)
        self._folder = folder
        self._limits = limits
        kept_from, counted_upto, body_bytes = connection.exec_driver_sql(
            "SELECT kept_from, counted_upto, body_bytes FROM gateway"
        ).one()
        since: int = connection.exec_driver_sql(
            "SELECT coalesce(sum(length(CAST(body AS BLOB))), 0) FROM event WHERE sequence > ?", (counted_upto,)
        ).scalar_one()
        self.body_bytes: int = body_bytes + since
        self._counted_upto = counted_upto
        self._pruning = Pruning(kept_from)
        self._disk = Disk(0, 0, full=False)
        self._forecast = Forecast()
        self._next_check = self._next_pass = 0.0
        self.busy = False
        """The last step pruned something, and more may follow."""
        if limits is not None:
            self._measure(connection)

    def note_disk_full(self) -> None:
        """Note that the disk is full, and release the reserve so that pruning can run."""
        self.full = True
        self.state = "none"
        self.reserve.release()
        self._next_check = time.monotonic() + CHECK_S
        self._next_pass = 0.0

    def save_size(self, connection: Connection, number: int, added: int, *, always: bool = False) -> None:
        """Store the size of all bodies, ``added`` included, up to event ``number``, every ``COUNT_EVERY`` events.

        Later bodies are counted at the next start.
        """
        if always or number - self._counted_upto >= COUNT_EVERY:
            values = (self._pruning.kept_from, number, self.body_bytes + added)
            connection.exec_driver_sql("UPDATE gateway SET kept_from = ?, counted_upto = ?, body_bytes = ?", values)

    def note_written(self, number: int, added: int) -> None:
        """Note that the commit of :meth:`save_size` is on the disk."""
        self.body_bytes += added
        if number - self._counted_upto >= COUNT_EVERY:
            self._counted_upto = number

    def note_settled(self, number: int) -> None:
        """Note that events from ``number`` on may be settled now; the oldest are pruned first."""
        self._pruning.begin(number)

    def days_left(self) -> int | None:
        """Return in how many days the floor is reached; None where that is not known, or never."""
        floor = self._limits.free_floor if self._limits else 0
        return self._forecast.days_left(time.monotonic(), self._disk.free_bytes, floor)

    def run_step(self, connection: Connection, number: int, now_ms: int) -> None:
        """Measure the disk when it is due, and run one step of pruning where one is due.

        ``number`` is the number of the newest event.
        """
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_S
            self._check_disk(connection)
        self.busy = False
        if self._limits is not None and time.monotonic() >= self._next_pass:
            self._prune(connection, self._limits, number, now_ms)

    def _check_disk(self, connection: Connection) -> None:
        limits = self._limits
        if limits is None:
            self.full = False
            self.state = "all"
            return
        self._measure(connection)
        if self.full:
            self.full = not self.reserve.hold()
        elif self._disk.free_bytes > limits.free_floor + margin(limits):
            self.reserve.hold()
        elif self._disk.free_bytes < limits.free_floor and self._disk.spare_bytes:
            # Other programs need the space; the file can grow again.
            connection.exec_driver_sql(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").all()
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        self._measure(connection)

    def _measure(self, connection: Connection) -> None:
        assert self._limits is not None  # noqa: S101 - checked by the callers
        self._disk = disk_of(connection, self._folder, full=self.full)
        self._forecast.note(time.monotonic(), self._disk.free_bytes)
        self.state = disk_state(self._limits, self._disk, self.body_bytes, self.state)

    def _prune(self, connection: Connection, limits: Limits, number: int, now_ms: int) -> None:
        before_ms = None if must_prune(limits, self._disk, self.body_bytes) else now_ms - limits.days * DAY_MS
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            freed = self._pruning.step(connection, before_ms)
            if freed:
                self.save_size(connection, number, -freed, always=True)
            connection.exec_driver_sql("COMMIT")
        except DBAPIError as exc:
            if connection.connection.in_transaction:
                connection.exec_driver_sql("ROLLBACK")
            self._pruning.begin()
            if not file.is_disk_full(exc):
                raise
            self.note_disk_full()
            self._next_pass = time.monotonic() + CHECK_S
            return
        if freed is None:
            self._pruning.begin()
            self._next_pass = time.monotonic() + PASS_S
            return
        if freed:
            self.body_bytes -= freed
            self._counted_upto = number
        self._measure(connection)
        self.busy = True


def disk_of(connection: Connection, folder: Path, *, full: bool) -> Disk:
    """Measure the disk and the ledger's file."""
    state = os.statvfs(folder)
    pages, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_size")
    )
    return Disk(state.f_bavail * state.f_frsize, pages * size, full)
