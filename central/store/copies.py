"""Copies of the database file: made while others write it, verified, compared, and put in its place.

What only SQLite has: its backup interface, its files beside the database, and how it says that another process uses it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from central.files import give_to_owner, sync_folder
from central.store.engine import StoreError, StoreLocked, revisions
from central.store.sqlite import FILE_MODE, MANAGED, WriterLock, explained, keep_log

PAGES = 2_000
"""Pages between two looks at signals and progress."""
ENTERED: Mapping[str, tuple[str, str]] = {
    "imports": ("register_import", "entered"),
    "requests": ("request_step", "at"),
    "notes": ("day_note", "at"),
    "decisions": ("ownership", "entered"),
    "closings": ("closing", "entered"),
    "retained": ("retention_log", "at"),
    "looks": ("access_log", "at"),
}
"""What people have entered, which no gateway sends again: table, and column of the moment."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a database holds, as far as a restore has to name it."""

    revision: str
    events: int
    streams: Mapping[str, int]
    """The last sequence seen of each stream, by ``site/gateway stream``."""
    entered: Mapping[str, tuple[int, str | None]]
    """Rows of each kind of :data:`ENTERED`, and the moment of the last one."""


def copy_database(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy a database as it is at one moment into a new file, durably; writers go on meanwhile. Raises StoreError.

    The source's connection holds one reading transaction, so that the copy does not begin anew at each change.
    """
    if not source.is_file():
        raise StoreError(f"{source}: no such database")
    try:
        with closing(_open(source, "mode=ro")) as reading, closing(sqlite3.connect(target)) as writing:
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            writing.execute("PRAGMA synchronous = OFF")  # made durable below, at once
            reading.backup(
                writing,
                pages=PAGES,
                progress=None if progress is None else lambda _, left, all_: progress(all_ - left, all_),
            )
    except sqlite3.Error as error:
        raise explained(target if "full" in str(error) else source, error) from error
    file = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fchmod(file, FILE_MODE)
        give_to_owner(file, target.parent)
        os.fsync(file)
    finally:
        os.close(file)


def held_in(copy: Path) -> Held:
    """Verify every page and index of a file that no process uses, and return what it holds; raises StoreError."""
    try:
        with closing(_open(copy, "mode=ro&immutable=1")) as connection:
            [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise StoreError(f"{copy}: damaged: {found}")
            return _held(copy, connection)
    except sqlite3.Error as error:
        raise explained(copy, error) from error


@contextmanager
def unused(database: Path) -> Iterator[Held | None]:
    """Yield what the database holds while no other process has it open: no inbox, no pages, no reader.

    None where there is none, or where it is too damaged to be read. It is one file meanwhile, without a write-ahead
    log: SQLite allows that change only where no other process has the file open. Raises StoreLocked where one has.
    """
    lock = WriterLock(database)
    try:
        try:
            yield _alone(database)
        finally:
            keep_log(database)
    finally:
        lock.release()


def put_in_place(copy: Path, database: Path, aside: Path) -> None:
    """Replace the database by a copy beside it, and keep what was there under another name; raises OSError.

    At each moment there is a database of this name: a service that starts meanwhile must not begin an empty one.
    """
    for ending in ("-wal", "-shm"):  # only of a file that could not be read
        with suppress(FileNotFoundError):
            Path(f"{database}{ending}").rename(f"{aside}{ending}")
    with suppress(FileNotFoundError):
        os.link(database, aside)
    copy.replace(database)
    sync_folder(database.parent)


def _alone(database: Path) -> Held | None:
    if not database.exists():
        return None
    try:
        with closing(_open(database, "mode=rw")) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            return _held(database, connection)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise StoreLocked(f"{database}: a process has it open, such as hadir-central serve: stop it") from None
        if "full" in str(error) or "readonly" in str(error):
            raise explained(database, error) from error
        return None
    except (sqlite3.Error, StoreError):
        return None


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=0.5)


def _held(path: Path, connection: sqlite3.Connection) -> Held:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if version != MANAGED or "alembic_version" not in tables:
        raise StoreError(f"{path}: not a database of hadir-central, or of a version before 0.1")
    [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if revision not in revisions():
        raise StoreError(f"{path}: of a newer version of hadir-central; install that version")
    streams: dict[str, int] = {
        f"{gateway} {stream}": seen
        for gateway, stream, seen in connection.execute(
            "SELECT gateway.name, stream.name, seen FROM stream JOIN gateway ON gateway.id = stream.gateway "
            "ORDER BY gateway.name, stream.id"
        )
    }
    entered: dict[str, tuple[int, str | None]] = {}
    for kind, (table, column) in ENTERED.items():
        statement = f"SELECT count(*), max({column}) FROM {table}"  # noqa: S608 - constants of this module
        entered[kind] = connection.execute(statement).fetchone() if table in tables else (0, None)
    [events] = connection.execute("SELECT count(*) FROM event").fetchone()
    return Held(str(revision), events, streams, entered)
