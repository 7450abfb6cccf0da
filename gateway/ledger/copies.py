"""Backups of the ledger and their restoration.

A backup is a copy of the whole file, also while a daemon writes it. A copy with altered events never replaces an older
backup. A restored ledger opens a new stream at the next start.
"""

import errno
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from sqlalchemy.exc import DBAPIError

from drivers.safe_files import FileRefused, Folder
from gateway import event
from gateway.ledger import file
from gateway.ledger.file import LedgerAltered, LedgerError
from gateway.ledger.recovery import SIDES, open_read_only, rebuilt_path, replace_file
from gateway.ledger.schema import migrate
from gateway.ledger.stream import RESTORED
from gateway.ledger_summary import ALTERED, SCHEMA

BACKUPS_KEPT = 3
"""Number of backups kept, the newest ones."""
ALTERED_COPY = "altered.db"
"""Name of the newest copy with an event whose body does not fit its digest."""
BACKUP_PAGES = 256
BACKUP_PAUSE_S = 0.02
"""Pause between two steps of a backup, which leaves the disk to other work."""
DRAFT_AGE_MAX_S = 24 * 3600.0
"""An older unfinished copy was left by a process that ended."""
_DRAFT = re.compile(r"\.[0-9a-f]{24}\.part(-journal|-wal|-shm)?")
_COPY = re.compile(r"ledger-.*\.db")


def backup(path: Path, folder: Path, *, free_floor: int = 0, kept: int = BACKUPS_KEPT) -> Path:
    """Copy the ledger atomically into ``folder``, also while a daemon writes it, and keep only the newest copies.

    Raises LedgerError where the copy fails, or would leave less than ``free_floor`` bytes on the disk.
    """
    if not path.exists():
        raise LedgerError(f"{path}: there is no ledger here yet; `hadir run` creates it")
    try:
        if os.geteuid() == 0 and path.parent.stat().st_uid != 0:
            check_files(path)  # otherwise the folder's owner could obtain a copy of any file by a link
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with Folder(folder) as place:
            if place.free() - free_floor < path.stat().st_size:
                what = f"a backup of {path.stat().st_size:,} bytes has no room there"
                raise LedgerError(f"{folder}: {what}; make room on it")
            name = datetime.now(UTC).strftime("ledger-%Y%m%dT%H%M%SZ.db")
            place.check_place(name)
            with closing(open_read_only(path)) as source, _copied(source, place) as draft:
                altered = _altered_in(folder / draft)
                place.rename(draft, ALTERED_COPY if altered else name)
            place.sync()
            if altered:
                raise LedgerAltered(
                    f"{folder}: in the ledger {len(altered)} events are not what was written, the first is "
                    f"{altered[0]}; the copy is kept as {ALTERED_COPY}, and the copies before it stay. Keep data_dir "
                    "as it is, look at the disk, run `hadir verify`",
                    altered,
                )
            for old in _copies(place)[:-kept]:
                place.remove(old)
    except (OSError, sqlite3.Error) as exc:
        raise LedgerError(
            f"{folder}: no backup could be made there ({_reason(exc)}); look at the disk and the permissions"
        ) from exc
    return folder / name


def check_files(path: Path) -> None:
    """Raise FileRefused where a database, or one of SQLite's files beside it, is a link or no regular file."""
    with Folder(path.parent) as folder:
        for side in SIDES:
            folder.check_place(path.name + side)


@contextmanager
def _copied(source: sqlite3.Connection, folder: Folder) -> Iterator[str]:
    """Copy a ledger into a new file of a folder, forced to the disk; yield its unpredictable name.

    The file is removed at the end, unless it was renamed.
    """
    for leftover in folder.names():
        if (
            _DRAFT.fullmatch(leftover)
            and (found := folder.stat(leftover))
            and found.st_mtime < time.time() - DRAFT_AGE_MAX_S
        ):
            folder.remove(leftover)
    name = f".{token_hex(12)}.part"
    with folder.create(name, file.MODE) as made:
        try:
            with closing(sqlite3.connect(folder.path / name)) as target:
                # One read transaction throughout: otherwise every commit of the daemon would restart the copy.
                source.execute("BEGIN")
                source.execute("SELECT count(*) FROM gateway").fetchone()
                source.backup(
                    target, pages=BACKUP_PAGES, sleep=BACKUP_PAUSE_S, progress=lambda *_: time.sleep(BACKUP_PAUSE_S)
                )
                source.execute("ROLLBACK")
                target.execute("PRAGMA journal_mode = DELETE")
            # Created by root for the daemon's user: it gets the owner of the folder.
            folder.match_owner(made)
            os.fchmod(made.fileno(), file.MODE)
            os.fsync(made.fileno())
            check_same(folder, name, made)
            yield name
        finally:
            folder.remove(name)


def check_same(folder: Folder, name: str, made: BinaryIO) -> None:
    """Raise FileRefused where SQLite, which opens by name, may have written another file than the created one."""
    found = folder.stat(name)
    if found is None or not os.path.samestat(found, os.fstat(made.fileno())):
        raise FileRefused(errno.EINVAL, "exchanged while it was written", name)


def _copies(folder: Folder) -> list[str]:
    """Return the copies in a folder, the oldest first; only regular files."""
    names = [name for name in folder.names() if _COPY.fullmatch(name)]
    return [name for name in names if (seen := folder.stat(name)) and stat.S_ISREG(seen.st_mode)]


def _altered_in(copy: Path) -> list[int]:
    """Return the numbers of events in a copy whose bodies do not fit their digests, without those set aside."""
    with closing(open_read_only(copy)) as connection:
        rows = connection.execute(
            f"SELECT sequence, body, digest FROM event WHERE body IS NOT NULL AND parked IS NOT {ALTERED} "
            "ORDER BY sequence"
        )
        return [row["sequence"] for row in rows if not event.is_intact(str(row["body"]), str(row["digest"]))]


def _reason(exc: BaseException) -> str:
    """Return why a copy failed, without text that may repeat its content."""
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return file.sqlite_message(exc.orig if isinstance(exc, DBAPIError) else exc)


def newest_backup(folder: Path) -> Path | None:
    """Return the newest backup in ``folder``, None without one; PermissionError where this user may not see it."""
    try:
        with Folder(folder) as place:
            return max((folder / name for name in _copies(place)), default=None)
    except PermissionError:
        raise
    except OSError:
        return None


def restore(path: Path, copy: Path, source: str) -> Path | None:
    """Replace the ledger by a backup; the next start opens a new stream.

    Returns the path of the replaced file; None where there was none. Raises LedgerLocked where a daemon runs, and
    LedgerError, with nothing changed, where the copy is damaged, of another gateway or of a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with closing(file.lock(path.with_name(file.LOCK_NAME))), Folder(path.parent) as folder:
            check_files(copy)
            # The file is opened once, so that the checked content is the copied one.
            with closing(open_read_only(copy)) as connection:
                _check(connection, copy, source)
                with _copied(connection, folder) as draft, folder.open(draft) as made:
                    _prepare(folder.path / draft)
                    os.fsync(made.fileno())
                    check_same(folder, draft, made)
                    existed = path.exists()
                    folder.rename(draft, rebuilt_path(path).name)
            aside = replace_file(path, "replaced")
    except (OSError, sqlite3.Error, DBAPIError) as exc:
        raise LedgerError(f"{copy}: it cannot be restored ({_reason(exc)}); choose another backup") from exc
    return aside if existed else None


def _prepare(draft: Path) -> None:
    engine = file.engine_for(draft, read_only=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        migrate(connection)
        connection.exec_driver_sql("UPDATE gateway SET broken = ?", (RESTORED,))
    engine.dispose()


def _check(connection: sqlite3.Connection, copy: Path, source: str) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 < version <= SCHEMA:
        raise LedgerError(f"{copy}: this is no ledger that this version of hadir can read; choose another backup")
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise LedgerError(f"{copy}: the backup is damaged ({' '.join(verdict.split())}); choose another one")
    owner = connection.execute("SELECT source FROM gateway").fetchone()[0]
    if owner != source:
        raise LedgerError(f"{copy}: the backup belongs to {owner}, the configuration says {source}")
