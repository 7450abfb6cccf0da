"""A streaming standby of a PostgreSQL server of the tests, made by pg_basebackup."""

import subprocess
from typing import Self

from tests.broker import eventually
from tests.postgres import Server, _as_user, program


class Standby(Server):
    """Follows a server from its start on; a client may read it, and pause how it replays."""

    def __init__(self, primary: Server, *settings: str) -> None:
        self._primary = primary
        super().__init__("hot_standby = on", *settings)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make_files(self) -> None:
        command = [program("pg_basebackup"), "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        command += ["-h", str(self._primary.folder), "-p", str(self._primary.port), "-U", "postgres"]
        done = subprocess.run(_as_user(*command), capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, statement: str) -> None:
        """Run a statement as its administrator."""
        with self.superuser() as connection:
            connection.execute(statement.encode())

    def caught_up(self) -> None:
        """Wait until it has replayed all that the primary has written now."""
        with self._primary.superuser() as connection:
            [position] = connection.execute("SELECT CAST(pg_current_wal_lsn() AS text)").fetchone() or ("",)

        def replayed() -> bool:
            with self.superuser() as connection:
                query = "SELECT pg_last_wal_replay_lsn() >= CAST(%s AS pg_lsn)"
                [reached] = connection.execute(query, (position,)).fetchone() or (False,)
                return bool(reached)

        eventually(replayed, what="replaying")
