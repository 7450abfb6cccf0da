"""A database on a PostgreSQL server: its address, connections, locks, and what the server's errors mean.

Only this module imports psycopg, and only where a database has a URL: it is LGPL-3, and a gateway's process has pyzk.
The server sorts text as its database was made; columns of ours compare bytes (collation ``C``), as SQLite does.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Column, Connection, String, event
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler
from sqlalchemy.exc import DBAPIError

from central.secret import SecretError, read_secret
from central.store.errors import StoreConflict, StoreError, StoreLocked, StoreStalled
from central.store.portable import LOCKS
from central.store.sqlite import EMPTY, FOREIGN

OLDEST = 15
"""The oldest server that the statements are written for: that of Debian 12."""
WRITING, INBOX = 1, 2
"""Taken by each transaction that writes (alone or shared), and by each inbox (alone, or shared by lanes); with turns.py
these are the second numbers of all advisory locks of ours."""
WRITES_S, READS_S = 50, 3_600
"""For how long a transaction that writes, or one that reads, may leave the server without a statement before it is
undone: a process that stands still must not hold up the others for ever. The first is less than what these wait."""
CONNECT_S = 10
"""How long a connection may take."""
NOTICED_S = 5.0
"""How long an inbox waits for the lock of one that was killed: a busy server notices a moment later."""
SECRET = "password_file"  # noqa: S105 - the name of a parameter
"""Parameter of our URLs that names a file with the password alone; PostgreSQL's own is ``passfile``."""


_DEAD_LINE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""Of every connection: a line that was cut without a word is noticed within half a minute."""


@dataclass(frozen=True)
class Address:
    """Where a database is; as text it is the URL, which never holds a password."""

    url: str
    """As PostgreSQL's own programs take it."""
    secret: Path | None = None
    """A file that holds the password; None: ``passfile``, ``~/.pgpass``, or none is needed."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL; raises StoreError."""
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True)
        secrets = [value for name, value in query if name == SECRET]
        rest = urlencode([pair for pair in query if pair[0] != SECRET], quote_via=quote, safe="/")
        url = urlunsplit(parts._replace(query=rest))
        try:
            known = conninfo_to_dict(url)
        except psycopg.ProgrammingError as exc:
            raise StoreError(
                f"{_without_password(text)}: not the address of a database: {_line(exc)}; "
                "write postgresql://ROLE@HOST:5432/DATABASE"
            ) from None
        if known.get("password"):
            raise StoreError(
                f"{_without_password(text)}: the URL holds a password, which others on this machine can see; write it "
                f"into a file that only this user reads, and name that with ?{SECRET}=FILE, or use ~/.pgpass"
            )
        return cls(url, Path(secrets[-1]) if secrets else None)

    def __str__(self) -> str:
        return self.url


class Lock:
    """A lock that a connection of its own holds until it is released or lost; raises StoreLocked where another has it.

    ``shared``: with others that take it so. It is lost with the connection: see :meth:`is_held`.
    """

    def __init__(self, address: Address, number: int, *, shared: bool = False, patience_s: float = 0.0) -> None:
        self._address = address
        self._connection = connect(address)
        take = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
        until = time.monotonic() + patience_s
        try:
            while not self._take(f"SELECT {take}({LOCKS}, {number})"):
                if time.monotonic() >= until:
                    raise StoreLocked(  # noqa: TRY301 - the connection is closed below
                        f"{address}: another hadir-central inbox writes into it"
                    )
                time.sleep(0.05)
        except BaseException:
            self.release()
            raise

    def _take(self, statement: str) -> bool:
        try:
            [taken] = self._connection.execute(statement.encode()).fetchone() or (False,)
        except psycopg.Error as exc:
            raise explained(self._address, exc) from exc
        return bool(taken)

    def is_held(self) -> bool:
        """Return whether the connection is there still, by a statement that the server answers."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def release(self) -> None:
        """Let another process have it, at once: a server notices the end of a connection a moment later."""
        with suppress(psycopg.Error):
            self._connection.execute("SELECT pg_advisory_unlock_all()")
        with suppress(psycopg.Error):
            self._connection.close()


class Server:
    """The place of a database on a server."""

    def __init__(self, address: Address, *, read_only: bool, busy_s: float) -> None:
        self.address = address
        self._read_only = read_only
        self._busy_s = busy_s

    def __str__(self) -> str:
        return str(self.address)

    def prepare(self, *, create: bool) -> None:  # noqa: ARG002 - a database is made by the server's administrator
        """Look whether the server and the database can hold ours; raises StoreError."""
        with connect(self.address) as connection:
            version = connection.info.server_version // 10_000
            encoding = connection.info.parameter_status("server_encoding")
        if version < OLDEST:
            raise StoreError(f"{self}: the server is PostgreSQL {version}; {OLDEST} or newer is needed")
        if encoding != "UTF8":
            raise StoreError(f"{self}: the database is in {encoding}; make one with createdb --encoding=UTF8")

    def engine(self) -> sqlalchemy.Engine:
        """Return what connects to it."""
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(self.address, autocommit=False),
            hide_parameters=True,  # they are PINs
            pool_size=2,
            max_overflow=-1,
            pool_pre_ping=True,  # a server that was restarted has ended its connections
        )
        engine.dialect.ddl_compiler = _ColumnsByBytes

        @event.listens_for(engine, "connect")
        def prepare(connection: psycopg.Connection[Any], _record: object) -> None:
            connection.execute(f"SET lock_timeout = {int(self._busy_s * 1000)}".encode())
            connection.execute(f"SET idle_in_transaction_session_timeout = {READS_S * 1000}".encode())
            connection.commit()

        return engine

    @contextmanager
    def transaction(
        self, engine: sqlalchemy.Engine, *, writing: bool, alone: bool, moment: bool
    ) -> Iterator[Connection]:
        """Yield a connection within a transaction; one that reads sees one moment.

        One that writes alone waits until no other one writes, and no other begins meanwhile: each of its statements
        sees what was committed before. Those that are not ``alone`` share the lock.
        """
        if writing and moment and not alone:
            with self._of_a_moment(engine) as connection:
                yield connection
            return
        level = "READ COMMITTED" if writing else "REPEATABLE READ"
        options = {"isolation_level": level, "postgresql_readonly": self._read_only or not writing}
        with engine.connect().execution_options(**options) as connection, connection.begin():
            if writing:
                take = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
                limit = f"set_config('{_IDLE_WITHIN}', '{WRITES_S}s', true)"
                connection.exec_driver_sql(f"SELECT {limit}, {take}({LOCKS}, {WRITING})")
            yield connection

    @contextmanager
    def _of_a_moment(self, engine: sqlalchemy.Engine) -> Iterator[Connection]:
        """Yield a connection in a transaction that sees the moment at which it had its share of the lock.

        Within the transaction the wait for the lock would come after that moment: what the writer before it has
        stored would be missed. So the connection takes the lock before, and gives it back after.
        """
        with engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=self._read_only)
            # The connection, too, must not be left with the lock between the transactions.
            limits = f"set_config('{_IDLE_WITHIN}', '{{}}s', false), set_config('{_IDLE}', '{{}}s', false)"
            with connection.begin():
                take = f"pg_advisory_lock_shared({LOCKS}, {WRITING})"
                connection.exec_driver_sql(f"SELECT {take}, {limits.format(WRITES_S, WRITES_S)}")
            try:
                with connection.begin():
                    yield connection
            finally:
                try:
                    with connection.begin():
                        give = f"pg_advisory_unlock_shared({LOCKS}, {WRITING})"
                        connection.exec_driver_sql(f"SELECT {give}, {limits.format(READS_S, 0)}")
                except DBAPIError:
                    connection.invalidate()  # the lock ends with the connection, which nothing may use again

    def turn(self, number: int) -> Lock | None:
        """Take a turn; None where another process has it. It ends when it is released or the connection is lost."""
        try:
            return Lock(self.address, number)
        except StoreLocked:
            return None

    def version(self, connection: Connection) -> str:
        """Return the revision of the database, ``EMPTY`` or ``FOREIGN``."""
        tables = set(
            connection.exec_driver_sql(
                "SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace(current_schema()) "
                "AND relkind IN ('r', 'p', 'v')"
            ).scalars()
        )
        if not tables:
            return EMPTY
        if "alembic_version" not in tables:
            return FOREIGN
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())

    def lock(self, patience_s: float = 0.0) -> Lock:
        """Take the lock of the one inbox; raises StoreLocked where another has it for that and for ``NOTICED_S``."""
        return Lock(self.address, INBOX, patience_s=max(patience_s, NOTICED_S))

    def before_migrations(self) -> None:
        """Do nothing: the server makes tables within a transaction."""

    def after_migrations(self, connection: Connection) -> None:
        """Do nothing: ``alembic_version`` is enough for a server."""

    def mend(self) -> None:
        """Do nothing: the server recovers by itself."""

    def truncate_log(self) -> None:
        """Do nothing: the server recycles its log; docs/centre.md names how long deleted rows stay in it."""

    def explained(self, exc: Exception) -> StoreError | None:
        """Return what made the database fail, for a person; None where it was not the database."""
        return explained(self.address, exc) if isinstance(exc, DBAPIError | psycopg.Error) else None

    def is_its_own(self, exc: Exception) -> bool:
        """Return whether the database made this fail, and not what was to be stored in it.

        Values make it raise errors of the classes 22 (data) and 23 (integrity), and the driver a DataError of its own.
        """
        cause = exc.orig if isinstance(exc, DBAPIError) else exc
        if not isinstance(cause, psycopg.Error):
            return False
        if cause.sqlstate is None:
            return not isinstance(cause, psycopg.DataError)
        return cause.sqlstate[:2] not in ("22", "23")


_IDLE_WITHIN, _IDLE = "idle_in_transaction_session_timeout", "idle_session_timeout"


class _ColumnsByBytes(PGDDLCompiler):
    """Writes columns of text so that they compare bytes: digests and pages must not depend on the server's locale."""

    def get_column_specification(self, column: Column[Any], **kwargs: Any) -> str:
        written = str(super().get_column_specification(column, **kwargs))  # type: ignore[no-untyped-call]  # SQLAlchemy's
        return f'{written} COLLATE "C"' if isinstance(column.type, String) else written


def connect(address: Address, *, autocommit: bool = True) -> psycopg.Connection[Any]:
    """Connect to a database; raises StoreError. What the URL gives goes before the parameters of all connections."""
    options: dict[str, Any] = {"connect_timeout": CONNECT_S, "application_name": "hadir-central", **_DEAD_LINE}
    if address.secret is not None:
        try:
            options["password"] = read_secret(address.secret)
        except (OSError, SecretError) as exc:
            cause = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise StoreError(f"{address}: {address.secret}: {cause}") from None
    given = {name for name, value in conninfo_to_dict(address.url).items() if value is not None}
    options = {name: value for name, value in options.items() if name not in given}
    try:
        return psycopg.connect(address.url, autocommit=autocommit, client_encoding="UTF8", **options)
    except psycopg.Error as exc:
        raise explained(address, exc) from exc


def explained(address: Address, exc: psycopg.Error | DBAPIError) -> StoreError:
    """Return what made the database fail, for a person: what, and what to do next."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    text = _line(cause)
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    advice = _BY_STATE.get(state or "") or _BY_STATE.get((state or "")[:2])
    if advice is None and state is None:
        advice = next((hint for pattern, hint in _BY_TEXT if re.search(pattern, text)), None)
    kind = StoreStalled if state in _STALLED else StoreConflict if state in _CONFLICTS else StoreError
    return kind(f"{address}: {text}{f'; {advice}' if advice else ''}")


_CONFLICTS = frozenset({"40001", "40P01", "23505"})
"""SQLSTATEs of a transaction that met another one: serialization failure, deadlock, a key that the other one gave."""
_STALLED = frozenset({"25P03", "57P05"})
"""SQLSTATEs of a connection that was left without a statement for too long, within a transaction or outside of one."""
_STOOD_STILL = "the process stood still for too long, and what it had begun is undone; run it again"
_PASSWORD = f"write the role's password into a file and name it with ?{SECRET}=FILE, or use ~/.pgpass"
_BY_TEXT = (
    (r"no password supplied|password authentication failed", _PASSWORD),
    (r'database ".*" does not exist', "make it on the server: createdb --owner=ROLE DATABASE"),
    (r'role ".*" does not exist', "make it on the server: createuser --pwprompt ROLE"),
    (r"no pg_hba\.conf entry", "pg_hba.conf on the server must let this role in from this machine"),
    (
        r"[Cc]onnection refused|could not translate|failed to resolve|No route|timeout expired|No such file",
        "check that the server runs, its name and port, and listen_addresses in postgresql.conf",
    ),
)
"""What to do about a connection that fails, by the driver's words: it has no code for these."""
_BY_STATE = {
    "42501": "the role needs to own the database, or GRANT USAGE, CREATE ON SCHEMA public, and its tables",
    "3F000": "the role's search_path names no schema that is there",
    "55P03": "another process writes for longer; try again when it has ended",
    "25006": "the server is a standby, or this role may only read; name the primary",
    "25P03": _STOOD_STILL,
    "57P05": _STOOD_STILL,
    "53100": "make room on the server's disk",
    "53300": "raise max_connections in postgresql.conf, or end other programs' connections",
    "57P01": "the server is stopping or restarting; try again when it runs",
    "08": "the connection is lost; check that the server runs",
}
"""What to do, by SQLSTATE or its class."""


def _line(exc: BaseException | None) -> str:
    """Return an error's text in one line; the driver's own repeats no password."""
    return " ".join(str(exc).split())


def _without_password(text: str) -> str:
    return re.sub(r"(://[^/@]*?):[^@]*@", r"\1:…@", re.sub(r"(password=)[^&]*", r"\1…", text))
