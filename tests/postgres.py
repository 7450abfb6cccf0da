"""PostgreSQL for tests: a server of the tests' own, run by an unprivileged user, with a fresh database for each test.

It listens on a socket in its folder and on loopback, on a port that was free a moment before. A server ends with the
process, more exactly with the thread, that started it, also where that is killed.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from tests.broker import WAIT_S, Daemon, eventually, free_port

MISSING = "PostgreSQL is not installed, and these tests need a real server: apt-get install postgresql"
ROLE = "hadir"
"""Owner of the databases that tests get: a role without any right over the server, as an office gives it."""
PASSWORD = "rahasia-pangkalan"
"""Of that role; over the socket none is needed."""
SPEED = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""Settings of a server whose machine will not lose power."""


def program(name: str) -> str:
    """Return the path of one of the newest PostgreSQL's programs; its absence is a failure, never a reason to skip."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    path = str(found[-1]) if found else shutil.which(name)
    assert path, MISSING
    return path


def waits(url: str) -> bool:
    """Return whether any transaction of a database waits for a lock."""
    with psycopg.connect(url) as connection:
        [count] = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() or (0,)
        return bool(count)


def _unprivileged() -> pwd.struct_passwd:
    """Return the user that runs the server: PostgreSQL refuses root."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    with suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def _as_user(*command: str, dies_with_us: bool = False) -> list[str]:
    """Return a command as that user; ``dies_with_us``: an immediate shutdown when the thread that starts it ends."""
    rights = []
    if not os.geteuid():
        user = _unprivileged()
        rights = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    rights += ["--pdeathsig=QUIT"] if dies_with_us else []
    return ["setpriv", *rights, *command] if rights else [*command]


def _own(folder: Path) -> None:
    if not os.geteuid():
        shutil.chown(folder, _unprivileged().pw_uid, _unprivileged().pw_gid)


def _runs(process: int) -> bool:
    """Return whether a process is there; one that has ended may be listed still, as Z."""
    with suppress(OSError):
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    return False


class Server(Daemon):
    """A PostgreSQL server; it keeps its port when it is started again.

    It sorts text as Indonesian does: what relies on another order fails. ``durable``: it writes as an office's does,
    for tests of power cuts and standbys. ``settings`` are lines of its configuration.
    """

    STOP, KILL = signal.SIGINT, signal.SIGQUIT
    """The second one is an immediate shutdown: it lets its processes end by themselves, so that none is left."""

    def __init__(self, *settings: str, durable: bool = False) -> None:
        # Not below pytest's folder: that is root's alone, and too long for the name of a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="hadir-pg-"))
        _own(self.folder)
        self.data = self.folder / "data"
        self.port = free_port()
        self._names = count(1)
        self.environment: dict[str, str] = {}
        """What it has in its environment besides."""
        self._make_files()
        lines = [
            f"unix_socket_directories = '{self.folder}'",
            "listen_addresses = '127.0.0.1'",
            "shared_buffers = 32MB",
            f"port = {self.port}",
            "max_connections = 100",
            "timezone = 'UTC'",
            "log_min_messages = warning",
            *(() if durable else SPEED),
            *settings,
        ]
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(("", *lines, "")))

    def __enter__(self) -> Self:
        try:
            self.start()
            with self.superuser() as connection:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(PASSWORD))
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_files(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        options = ["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--locale-provider=icu"]
        options += ["--icu-locale=id-ID", "--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres"]
        command = _as_user(program("initdb"), *options, f"--pwfile={password}", f"--pgdata={self.data}")
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _as_user(program("postgres"), "-D", str(self.data), dies_with_us=True),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=os.environ | self.environment,
                start_new_session=True,  # a key for the tests is none for the server
            )
        eventually(self._answers, what="PostgreSQL's start")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"PostgreSQL did not start:\n{self.log}"
        with suppress(psycopg.OperationalError), self.superuser():
            return True
        return False

    def recover(self) -> bool:
        """Wait until it answers again, and start it where it has ended by itself; return whether it had.

        A server that fails to write its log begins anew by itself, and ends where it cannot even do that.
        """
        process = self._process
        assert process is not None
        eventually(lambda: process.poll() is not None or self._answers(), what="PostgreSQL's recovery")
        if process.poll() is None:
            return False
        self.start()
        return True

    def lose_power(self) -> None:
        """Kill all of its processes at the same moment: none writes a word more, as :meth:`kill` lets them.

        What they had given to the operating system is kept, unlike with a power cut.
        """
        assert self._process is not None
        self.freeze()  # so that none is begun meanwhile
        killed = self._signal_all(signal.SIGKILL)
        self._process.wait(WAIT_S)
        self._process = None
        eventually(lambda: not any(map(_runs, killed)), what="the end of all of its processes")

    def freeze(self) -> None:
        """Stop all of its processes where they are, until :meth:`thaw`: clients' connections stay, and wait."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, how: signal.Signals) -> list[int]:
        """Send a signal to all of its processes; return their numbers, its own first."""
        assert self._process is not None
        pid = self._process.pid
        processes = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, how)
        return processes

    def url(self, database: str, *, role: str = ROLE, tcp: bool = False) -> str:
        """Return where a database is; over the socket without a password, with ``tcp`` one is needed."""
        if tcp:
            return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{role}@/{database}?host={self.folder}&port={self.port}"

    def superuser(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection that may do everything, each statement a transaction."""
        return psycopg.connect(self.url(database, role="postgres"), autocommit=True)

    def fresh(self, template: str | None = None) -> str:
        """Return the name of a new database: an empty one, or a copy of one that nothing is connected to."""
        name = f"hadir_{next(self._names)}"
        clause = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(ROLE)) + clause
            )
        return name

    def drop(self, name: str) -> None:
        """Delete a database, whoever is connected to it."""
        with self.superuser() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
