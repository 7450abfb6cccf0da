"""A database in a file: what only SQLite has, such as files beside it, PRAGMAs, and one writer at a time."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from central.event import decode_text
from central.files import give_to_owner
from central.store.errors import StoreError, StoreLocked

OLD_VERSIONS = range(1, 4)
"""Values of ``PRAGMA user_version`` in files that were written before there were migrations."""
MANAGED = 4
"""``PRAGMA user_version`` of a file whose migrations ``alembic_version`` names: older programs refuse it by that."""
EMPTY, FOREIGN, OLD = "empty", "foreign", "version "
"""What a database may hold instead of a revision; the last one is followed by a number of :data:`OLD_VERSIONS`."""
LOCK_WAIT_S = 5.0
"""How long an opening waits for the lock of another process that brings the file up to date."""
FILE_MODE = 0o640
"""The files hold PINs: they are for the owner and the group, whatever the umask."""
_WAL = "PRAGMA journal_mode = WAL"
_BEGIN = "begin_statement"
"""Execution option: how SQLite begins the transaction; the driver would do it at the first change, too late."""


class WriterLock:
    """The lock of the one inbox that receives into a file, beside the file; raises StoreLocked where another has it."""

    def __init__(self, path: Path, patience_s: float = 0.0) -> None:
        self._file = _create(Path(f"{path}.lock"), path)
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= until:
                    os.close(self._file)
                    raise StoreLocked(f"{path}: another hadir-central inbox writes into it") from None
                time.sleep(0.05)
            else:
                return

    def is_held(self) -> bool:
        """Return True: it is lost with the process only."""
        return True

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)


class File:
    """The place of a database in a file."""

    def __init__(self, path: Path, *, read_only: bool, busy_s: float) -> None:
        self.path = path
        self._read_only = read_only
        self._busy_s = busy_s

    def __str__(self) -> str:
        return str(self.path)

    def prepare(self, *, create: bool) -> None:
        """Make the file where it is missing and ``create`` is given; raises StoreError where there is none."""
        if create:
            os.close(_create(self.path, self.path))
        elif not self.path.is_file():
            raise StoreError(f"{self.path}: no such database")

    def engine(self) -> sqlalchemy.Engine:
        """Return what connects to it."""
        engine = sqlalchemy.create_engine(
            "sqlite://",
            creator=lambda: connect(self.path, "ro" if self._read_only else "rw", self._busy_s),
            hide_parameters=True,  # they are PINs
            poolclass=sqlalchemy.QueuePool,
            pool_size=2,
            max_overflow=-1,
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.text_factory = decode_text
            if not self._read_only:
                connection.execute("PRAGMA synchronous = FULL")
                # Punches' ids are random: their pages gather in memory and in the log before they are copied.
                connection.execute("PRAGMA wal_autocheckpoint = 8000")
                connection.execute("PRAGMA cache_size = -32768")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

        return engine

    @contextmanager
    def transaction(
        self,
        engine: sqlalchemy.Engine,
        *,
        writing: bool,
        alone: bool,  # noqa: ARG002 - SQLite lets one write anyway
        moment: bool,  # noqa: ARG002 - as above
    ) -> Iterator[Connection]:
        """Yield a connection within a transaction; one that writes is always alone here."""
        begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
        with engine.connect().execution_options(**{_BEGIN: begin}) as connection, connection.begin():
            yield connection

    def turn(self, number: int) -> "NoLock":  # noqa: ARG002 - one inbox writes into a file, and it has every turn
        """Take a turn."""
        return NoLock()

    def version(self, connection: Connection) -> str:
        """Return the revision of the file, ``EMPTY``, ``version N`` of the time before migrations, or ``FOREIGN``."""
        version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars())
        if not tables and not version:
            return EMPTY
        if version in OLD_VERSIONS:
            return f"{OLD}{version}"
        if version != MANAGED or "alembic_version" not in tables:
            return FOREIGN
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())

    def lock(self, patience_s: float = 0.0) -> WriterLock:
        """Take the lock of the one inbox; raises StoreLocked where another process has it for longer."""
        return WriterLock(self.path, patience_s)

    def before_migrations(self) -> None:
        """Do what cannot be done within a transaction."""
        with closing(connect(self.path, "rw")) as driver:
            driver.execute(_WAL)  # it stays with the file

    def after_migrations(self, connection: Connection) -> None:
        """Mark the file as one that older programs refuse."""
        connection.exec_driver_sql(f"PRAGMA user_version = {MANAGED}")

    def mend(self) -> None:
        """Undo what a process that was killed may have left."""
        keep_log(self.path)  # a restore that was killed leaves the file without

    def truncate_log(self) -> None:
        """Copy the write-ahead log into the file and empty it, as far as no reader needs it: it holds older pages."""
        with closing(connect(self.path, "rw")) as driver:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def explained(self, exc: Exception) -> StoreError | None:
        """Return what made the file fail, for a person; None where it was not the file."""
        return explained(self.path, exc) if isinstance(exc, DBAPIError | sqlite3.Error) else None

    def is_its_own(self, exc: Exception) -> bool:
        """Return whether the file made this fail (disk, lock, damage) and not what was to be stored in it.

        Values make SQLite raise IntegrityError, DataError, ProgrammingError and InterfaceError; a full disk, a lock and
        a lost table are OperationalErrors, damage is a DatabaseError of no narrower kind.
        """
        cause = exc.orig if isinstance(exc, DBAPIError) else exc
        return isinstance(cause, sqlite3.OperationalError | sqlite3.InternalError) or (
            type(cause) is sqlite3.DatabaseError
        )


def keep_log(path: Path) -> None:
    """Let the file have a write-ahead log, so that readers and a writer do not wait for each other; or leave it."""
    with suppress(sqlite3.Error), closing(connect(path, "rw", busy_s=1.0)) as driver:
        driver.execute(_WAL)


def connect(path: Path, mode: str, busy_s: float = 60.0) -> sqlite3.Connection:
    """Connect to a file that is there, in SQLite's ``mode``, each statement a transaction."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_s, check_same_thread=False)


class NoLock:
    """Stands where a server has a lock and a file needs none."""

    def is_held(self) -> bool:
        """Return True."""
        return True

    def release(self) -> None:
        """Do nothing."""


def explained(path: Path, exc: OSError | sqlite3.Error | DBAPIError) -> StoreError:
    """Return what made the file fail, for a person."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    return StoreError(f"{path}: {(cause.strerror if isinstance(cause, OSError) else None) or cause}")


def _create(path: Path, database: Path) -> int:
    """Open a file of a database, and create it if it is missing, with the mode of all of them; raises StoreError."""
    try:
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise explained(database, exc) from exc
    give_to_owner(file, path.parent)  # SQLite does the same with -wal and -shm
    os.fchmod(file, FILE_MODE)  # -wal and -shm get the mode of the file from SQLite
    return file
