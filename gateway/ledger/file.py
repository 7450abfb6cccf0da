"""The ledger's file: opening, creating and locking it, the end of the chain beside it, and its error messages."""

import fcntl
import os
import re
import sqlite3
import stat
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from drivers import safe_files
from drivers.safe_files import Folder
from gateway.ledger.schema import create_tables
from gateway.ledger_summary import FILE_NAME, SCHEMA

ENGINE = f"SQLite {sqlite3.sqlite_version}"
"""Name and version of the database engine, for support."""
LOCK_NAME = "ledger.lock"
MODE = 0o640
"""Rights of everything that holds events, whatever the umask: they name people."""
LOCK_BYTES = 4096
"""Upper bound of the size of the lock file."""
DAMAGED = "the file is damaged; start the daemon, it saves what can be read and keeps the damaged file"
READER_CACHE_KIB, WRITER_CACHE_KIB = 128, 1024


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


class LedgerLocked(LedgerError):  # noqa: N818 - named by the condition
    """Another process holds the ledger."""


class LedgerFull(LedgerError):  # noqa: N818 - named by the condition
    """The disk is full; nothing of the call was stored, and it may be retried."""


class LedgerDamaged(LedgerError):  # noqa: N818 - named by the condition
    """The file is damaged; the next start recovers what can be read of it."""


class LedgerNotPermitted(LedgerError):  # noqa: N818 - named by the condition
    """This user may not use the file."""


class LedgerAltered(LedgerError):  # noqa: N818 - named by the condition
    """Bodies of events do not fit their digests, and were not set aside yet."""

    def __init__(self, message: str, numbers: list[int]) -> None:
        super().__init__(message)
        self.numbers = numbers
        """Their numbers in the ledger, in order; never empty."""


def engine_for(path: Path, *, read_only: bool, create: bool = False) -> sqlalchemy.Engine:
    """Return an engine for the file; transactions are begun explicitly."""
    uri = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc' if create else 'rw'}"
    engine = sqlalchemy.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=15, check_same_thread=False),
        hide_parameters=True,  # parameters contain PINs
        poolclass=sqlalchemy.QueuePool,
        pool_size=2,
        max_overflow=-1,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's implicit transactions would begin too late.
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 15000")
        # KiB of page cache: many threads read a few rows each; the writer sets a larger one.
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        if create:
            # Both are stored in the file; repeating the first would write each time.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
        if not read_only:
            connection.execute("PRAGMA synchronous = FULL")
            # Identities are random, so a long import changes the same index pages repeatedly: a large write-ahead log
            # collects them before they are copied, which nearly halves the writes to an SD card.
            connection.execute("PRAGMA wal_autocheckpoint = 8000")

    return engine


def create(path: Path, source: str, *, stream: bool = True) -> None:
    """Create an empty ledger atomically at ``path``; without ``stream`` for a recovered one.

    An existing file without a ledger is therefore always damage and never a first start, which would begin a new stream
    and decide again which history to withhold.
    """
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, path):
        for suffix in ("", "-wal", "-shm"):
            leftover.with_name(leftover.name + suffix).unlink(missing_ok=True)
    with Folder(draft.parent) as folder:
        folder.create(draft.name, MODE).close()  # SQLite would give it the umask's rights; its other files follow
    engine = engine_for(draft, read_only=False, create=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        create_tables(connection, source, stream=stream)
        connection.exec_driver_sql("COMMIT")
    engine.dispose()  # closing the last connection checkpoints the write-ahead log
    draft.replace(path)
    sync_folder(path.parent)


def tighten(data_dir: Path) -> None:
    """Remove other users' rights from a ledger, and from those that were set aside: an older version left them.

    A file that belongs to another user is not changed.
    """
    with Folder(data_dir) as folder:
        for name in folder.names():
            if not name.startswith(FILE_NAME) or (seen := folder.stat(name)) is None:
                continue
            # Opened only where needed: to close a database's file ends the locks that this process has on it.
            if stat.S_ISREG(seen.st_mode) and seen.st_mode & stat.S_IRWXO:
                with suppress(OSError), folder.open(name) as found:
                    os.fchmod(found.fileno(), stat.S_IMODE(seen.st_mode) & ~stat.S_IRWXO)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(path: Path) -> BinaryIO:
    """Return the locked file ``path``; raises LedgerLocked where another process holds the lock."""
    with Folder(path.parent) as folder:
        handle = folder.update(path.name, MODE)
        folder.match_owner(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise LedgerLocked(
            f"{path.parent}: another hadir is running with this data_dir; stop it first (systemctl stop hadir)"
        ) from exc
    # A second lock of another kind answers queries without taking a lock. On file systems that treat both kinds as one
    # it cannot be acquired; only in_use needs it.
    with suppress(OSError):
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _lock_of_whole_file(fcntl.F_WRLCK))
    return handle


def in_use(data_dir: Path) -> bool:
    """Return whether a process holds the ledger of a folder; PermissionError without read permission.

    Takes no lock itself: a daemon that starts at this moment is not blocked.
    """
    try:
        with Folder(data_dir) as folder:
            handle = folder.open(LOCK_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with handle:
        found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _lock_of_whole_file(fcntl.F_RDLCK))
    kind: int = struct.unpack_from("h", found)[0]
    return kind != fcntl.F_UNLCK


def _lock_of_whole_file(kind: int) -> bytes:
    """Return a ``struct flock`` of fcntl(2): type, whence, start, length (0: to the end), and pid, which must be 0."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def last_alive(path: Path) -> datetime:
    """Return the modification time of the lock file."""
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)


class Mark(NamedTuple):
    """The end of the chain, stored beside the ledger: it shows that the ledger was rolled back."""

    number: int
    sequence: int
    digest: str
    stream: str


def write_chain_end(handle: BinaryIO, mark: Mark) -> None:
    """Write the end of the chain to the locked file.

    Not forced to the disk, and omitted on a full disk: after a power cut the mark may be older than the ledger, which
    proves nothing and is harmless. It is never newer.
    """
    with suppress(OSError):
        os.pwrite(handle.fileno(), f"{' '.join(map(str, mark))}\n".encode("ascii"), 0)


def read_chain_end(path: Path) -> Mark | None:
    """Return the last written end of the chain; None where none is readable."""
    try:
        found = re.match(
            rb"([0-9]+) ([0-9]+) (sha256:[0-9a-f]{64}) ([0-9a-f-]{36})\n", safe_files.read(path, LOCK_BYTES)
        )
    except OSError:
        return None
    return Mark(int(found[1]), int(found[2]), found[3].decode(), found[4].decode()) if found else None


def check_version(path: Path, version: int, *, oldest: int = SCHEMA) -> None:
    """Raise LedgerError where tables of this version cannot be used; ``oldest`` is the oldest version that can."""
    if version == 0:
        raise LedgerDamaged(f"{path}: it holds no ledger; {DAMAGED}")
    if version < oldest:
        raise LedgerError(
            f"{path}: written by an older version of hadir (tables {version}, this version has {SCHEMA}); "
            "start the daemon once, it brings them up to date"
        )
    if version > SCHEMA:
        raise LedgerError(
            f"{path}: written by a newer version of hadir (tables {version}, this version knows {SCHEMA}); "
            "install that version again, the ledger is unharmed"
        )


def unusable(data_dir: Path, exc: OSError) -> LedgerError:
    """Return the LedgerError of a folder that cannot contain a ledger."""
    return LedgerError(f"{data_dir}: {exc.strerror or exc}; data_dir must be a folder that this user may write to")


def is_disk_full(exc: DBAPIError) -> bool:
    """Return whether a write failed because the disk is full."""
    return getattr(exc.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or (
        # The shared index of the write-ahead log needs space too, and reports a lack of it with another code.
        getattr(exc.orig, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE"
    )


_LOOK = "look at the disk and the permissions of the data_dir"
_ERRORS = {
    sqlite3.SQLITE_FULL: ("database or disk is full", "make room on the disk; the terminals keep what is not read yet"),
    sqlite3.SQLITE_READONLY: (
        "attempt to write a readonly database",
        "give the daemon's user write permission to the data_dir",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "unable to open database file",
        "check that the data_dir exists and the daemon's user may write to it",
    ),
    sqlite3.SQLITE_NOTADB: ("file is not a database", DAMAGED),
    sqlite3.SQLITE_CORRUPT: ("database disk image is malformed", DAMAGED),
    sqlite3.SQLITE_BUSY: ("database is locked", _LOOK),
    sqlite3.SQLITE_IOERR: ("disk I/O error", _LOOK),
}
"""Primary result code of SQLite (https://sqlite.org/rescode.html) → its meaning, and what to do."""
_PERMISSIONS = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
"""Primary result codes that may be caused by a missing permission."""


def _sqlite_error(exc: BaseException | None) -> tuple[str, str]:
    """Return what a database error means, without data, and what to do."""
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None and type(exc) is sqlite3.OperationalError:
        # Python itself raises it, without a code, where a text is not UTF-8; its message repeats the text.
        return "text in it is spoilt", DAMAGED
    known = None if code is None else _ERRORS.get(code & 0xFF)
    return known or (getattr(exc, "sqlite_errorname", None) or type(exc).__name__, _LOOK)


def sqlite_message(exc: BaseException | None) -> str:
    """Return what a database error means, or its name or type; never data."""
    return _sqlite_error(exc)[0]


def _is_not_permitted(folder: Path) -> bool:
    """Return whether this user may not write to a folder, on a disk that can be written to."""
    try:
        is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        is_read_only = False
    return not is_read_only and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def explained(path: Path, exc: DBAPIError) -> LedgerError:
    """Return the LedgerError of a database error, with what to do about it.

    LedgerFull where the disk is full, LedgerDamaged where the file is damaged, LedgerNotPermitted where this user may
    not write to its folder: SQLite needs that for reading too, unless a gateway runs, whose write-ahead log is there.
    """
    if getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF in _PERMISSIONS and _is_not_permitted(path.parent):
        return LedgerNotPermitted(f"{path.parent}: this user may not write there, and the ledger cannot be opened")
    reason, hint = _sqlite_error(exc.orig)
    kind = LedgerFull if is_disk_full(exc) else LedgerDamaged if hint == DAMAGED else LedgerError
    return kind(f"{path}: {reason}; {hint}")
