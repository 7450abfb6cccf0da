"""The server that tests get does not outlive them."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.broker import eventually

STARTS = """
import sys, time
from tests.postgres import Server
with Server() as server:
    print(server.url("postgres", role="postgres"), server.folder, flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_the_process_that_started_it_also_when_that_is_killed() -> None:
    """SIGKILL leaves no time to clean up: the kernel ends the server."""
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, folder = process.stdout.readline().split()
        psycopg.connect(url).close()
        pid = int((Path(folder) / "data/postmaster.pid").read_text().split()[0])
        process.send_signal(signal.SIGKILL)

    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the server's end")
    shutil.rmtree(folder)


def test_a_test_gets_an_empty_database_of_its_own(database_url: str) -> None:
    """Its role has no right beside; text is sorted as people do unless a column states otherwise."""
    with psycopg.connect(database_url) as connection:
        connection.execute('CREATE TABLE word (it text, c text COLLATE "C")')
        connection.execute("INSERT INTO word VALUES ('b', 'b'), ('B', 'B'), ('a', 'a')")
        assert [row[0] for row in connection.execute("SELECT it FROM word ORDER BY it")] == ["a", "b", "B"]
        assert [row[0] for row in connection.execute("SELECT c FROM word ORDER BY c")] == ["B", "a", "b"]
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchall() == [(False,)]
