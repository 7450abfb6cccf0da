"""Opening a ledger for writing: creation, recovery, migration, and whether its stream may continue.

Each finding is stored before the first event is recorded, so that a crash while opening loses none of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gateway import event
from gateway.ledger import file, recovery, schema
from gateway.ledger.file import LOCK_NAME, LedgerError, Mark
from gateway.ledger.space import DiskGuard, Limits, Reserve
from gateway.ledger.stream import ROLLED_BACK, Location, inode_of, location_from
from gateway.ledger.transaction import Head
from gateway.ledger_summary import FILE_NAME
from gateway.log import get_logger

OLDEST = 1
"""Oldest version of the tables that is migrated."""

log = get_logger("ledger")


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A locked and migrated ledger."""

    lock_file: BinaryIO
    engine: sqlalchemy.Engine
    disk_guard: DiskGuard
    head: Head
    sessions: int
    """Number of the last session with the broker."""
    last_alive: datetime | None
    """When the last process gave its last sign of life; None for a new ledger."""
    was_clean: bool
    """The last process closed it properly."""
    broken: str | None
    """Why it must not continue its stream; the reason of the new one."""
    salvage: recovery.Salvage | None
    """Result of the recovery, where the file was damaged."""


def open_file(
    data_dir: Path,
    source: str,
    machine: Callable[[], frozenset[str]],
    limits: Limits | None,
    progress: Callable[[], None],
) -> OpenedFile:
    """Lock the ledger in ``data_dir``, create, recover or migrate it, and mark it as open. See :class:`Ledger`."""
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock_file = file.lock(data_dir / LOCK_NAME)
    except OSError as exc:
        raise file.unusable(data_dir, exc) from exc
    engine = None
    try:
        file.tighten(data_dir)
        last_alive = file.last_alive(data_dir / LOCK_NAME) if path.exists() else None
        mark = file.read_chain_end(data_dir / LOCK_NAME)
        salvage = _make_sound(path, source, mark, progress)
        _refuse_other_versions(path)
        engine = file.engine_for(path, read_only=False)
        was_clean = _mark_open(engine, path, source)
        with engine.connect() as connection:
            head = _end_of_chain(connection, mark)
            broken = _why_broken(connection, mark, Location(machine(), inode_of(path)))
            sessions = int(connection.exec_driver_sql("SELECT sessions FROM gateway").scalar_one())
            disk_guard = DiskGuard(data_dir, limits, connection)
    except BaseException as exc:
        if engine is not None:
            engine.dispose()
        lock_file.close()
        if isinstance(exc, DBAPIError):
            raise file.explained(path, exc) from exc
        if isinstance(exc, OSError):
            raise file.unusable(data_dir, exc) from exc
        raise
    return OpenedFile(lock_file, engine, disk_guard, head, sessions, last_alive, was_clean, broken, salvage)


def _make_sound(path: Path, source: str, mark: Mark | None, progress: Callable[[], None]) -> recovery.Salvage | None:
    """Create the ledger, or recover a damaged one; return the result of a recovery."""
    if recovery.unfinished(path):
        recovery.replace_file(path)
    if not path.exists():
        file.create(path, source)
        return None
    what = recovery.damage(path, progress)
    if what is None:
        return None
    salvage = recovery.rebuild(path, source, mark, what, progress)
    log.critical("ledger_salvaged", damage=what, kept=salvage.kept, set_aside=str(salvage.aside))
    return salvage


def _refuse_other_versions(path: Path) -> None:
    """Raise LedgerError for a file that cannot be migrated, which is not changed."""
    engine = file.engine_for(path, read_only=True)
    try:
        with engine.connect() as connection:
            file.check_version(path, schema.version_of(connection), oldest=OLDEST)
    finally:
        engine.dispose()


def _mark_open(engine: sqlalchemy.Engine, path: Path, source: str) -> bool:
    """Check the owner, migrate, and mark the ledger as open; return whether it was closed properly."""
    try:
        return _check_owner(engine, path, source)
    except DBAPIError as exc:
        if not file.is_disk_full(exc):
            raise
        Reserve(path.parent).release()
        return _check_owner(engine, path, source)


def _check_owner(engine: sqlalchemy.Engine, path: Path, source: str) -> bool:
    with engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT source, clean FROM gateway").first()
        if row is None:
            raise file.LedgerDamaged(f"{path}: it does not say whose it is; {file.DAMAGED}")
        owner, clean = row
        if owner != source:
            raise LedgerError(
                f"{path}: this ledger belongs to {owner}, the configuration says {source}; "
                "put `site` and `gateway` back, or choose another data_dir"
            )
        schema.migrate(connection)
        connection.exec_driver_sql("UPDATE gateway SET clean = 0")
    return bool(clean)


def _end_of_chain(connection: Connection, mark: Mark | None) -> Head:
    stream = connection.exec_driver_sql("SELECT id, base FROM stream ORDER BY number DESC LIMIT 1").first()
    if stream is None:
        return Head(0, "", "", 0)
    last = connection.exec_driver_sql("SELECT sequence, digest FROM event ORDER BY sequence DESC LIMIT 1").first()
    number, digest = last or (0, "")
    if last is None and mark is not None and mark.stream == stream.id:
        number, digest = mark.number, mark.digest  # no event was recovered, but the end of the chain is known
    if number <= stream.base:
        digest = event.first_previous(stream.id)
    return Head(number, digest, stream.id, stream.base)


def _why_broken(connection: Connection, mark: Mark | None, here: Location) -> str | None:
    """Return why this ledger must not continue its stream, if so; store ``here`` as its location."""
    row = connection.exec_driver_sql("SELECT home, broken FROM gateway").one()
    reason: str | None = row.broken
    if reason is None and row.home is not None:
        reason = location_from(row.home).left(here)
    if reason is None and mark is not None:
        digest = connection.exec_driver_sql("SELECT digest FROM event WHERE sequence = ?", (mark.number,)).scalar()
        reason = None if digest == mark.digest else ROLLED_BACK
    # Stored, so that a crash at this point does not lose the reason.
    connection.exec_driver_sql("UPDATE gateway SET home = ?, broken = ?", (here.text(), reason))
    return reason
