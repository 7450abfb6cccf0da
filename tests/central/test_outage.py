"""Programs of the centre whose database goes away, comes back, moves to a standby, and is then of another version."""

import http.client
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from central.operation.status import HELD_S
from central.outage import is_refusal
from central.policy.office import OfficePolicies
from central.registers.importing import Paper, enter_file
from central.registers.read import scan_register
from central.store import marks
from central.store.condition import read_condition
from central.store.engine import Database, StoreError
from central.timesheet.affected import Mark
from tests.broker import WAIT_S, Broker, Subscriber, eventually, free_port
from tests.central.sealing import Source
from tests.central.store.office import OFFICE, POLICIES
from tests.central.web.site import write_accounts
from tests.command import start
from tests.postgres import PASSWORD, ROLE, Server
from tests.standby import Standby


class Program:
    """A command that runs; both of its outputs are in a file."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._file = folder / f"{arguments[0]}.log"
        with self._file.open("w") as output:
            self.process = start("central.cli", *arguments, env=os.environ, output=output)

    @property
    def log(self) -> str:
        """What it has written."""
        return self._file.read_text()

    def wait_for(self, event: str, times: int) -> None:
        """Wait until it has logged an event so often."""
        eventually(lambda: self.log.count(f'"{event}"') >= times, what=f"{event} in {self._file}:\n{self.log}")


@contextmanager
def running(folder: Path, *arguments: object) -> Iterator[Program]:
    """Run a command; it is killed at the end where it still runs."""
    program = Program(folder, *arguments)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait(WAIT_S)


def enter_office(url: str, folder: Path) -> None:
    """Make a database with the registers of an office."""
    with Database(url, create=True) as database:
        for kind, text in OFFICE.items():
            file = folder / f"{kind}.csv"
            file.write_text(text, "utf-8")
            paper = Paper("Kepala Contoh", "Contoh 1/2026")
            enter_file(database, scan_register(file, kind), OfficePolicies(POLICIES), paper, datetime.now(UTC))


def judged(server: Server, name: str) -> None:
    """Mark a day, and wait until it is judged."""
    with Database(server.url(name)) as database:
        with database.writing() as connection:
            mark = Mark("person:a", date(2026, 8, 31), date(2026, 8, 31))
            marks.mark(connection, [mark], {"kind": "test"}, "")

        def done() -> bool:
            with database.reading() as connection:
                return marks.numbers(connection) == (0, 0)

        eventually(done, what="judging")


def answer(port: int) -> tuple[int, str]:
    """Return what the pages answer: status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    connection.request("GET", "/?lang=en")
    response = connection.getresponse()
    return response.status, response.read().decode()


# Longer than 60 lines: one outage after the other of a server and its standby, which take long to start.
def test_judge_workers_and_pages_survive_their_database(tmp_path: Path) -> None:
    """A server that stops and starts, a standby that hangs, then takes over; a newer version ends judge and worker."""
    write_accounts(tmp_path / "accounts.yaml")
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    with ExitStack() as stack:
        primary = stack.enter_context(Server("synchronous_commit = on"))
        name = primary.fresh()
        enter_office(primary.url(name), tmp_path)
        standby = stack.enter_context(Standby(primary))
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://{ROLE}@{hosts}/{name}?password_file={password}&target_session_attrs=read-write"
        judge = stack.enter_context(running(tmp_path, "judge", "--db", url, "--policies", POLICIES))
        broker = stack.enter_context(Broker(tmp_path))
        publisher = stack.enter_context(Subscriber(broker.port))
        lanes = "--broker", broker.url, "--lanes", 1
        worker = stack.enter_context(running(tmp_path, "inbox", "--db", url, *lanes))
        accounts = "--accounts", tmp_path / "accounts.yaml", "--listen", "127.0.0.1:0"
        serve = stack.enter_context(running(tmp_path, "serve", "--db", url, *accounts))
        eventually(lambda: "http://" in serve.log, what="the pages")
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", serve.log)[0])
        worker.wait_for("lane_taken", 1)
        judged(primary, name)
        assert answer(port)[0] == 303

        primary.stop()
        for program in (judge, worker):
            program.wait_for("database_lost", 1)
        status, page = answer(port)
        assert (status, "database cannot be used" in page, "Nothing is lost" in page) == (503, True, True)
        primary.start()
        judged(primary, name)
        for program in (judge, worker):  # each has a pause of its own, and either may have judged
            program.wait_for("database_found", 1)
        assert answer(port)[0] == 303

        with primary.superuser() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        standby.freeze()
        source = Source(str(uuid4()), "dinas-x/gw-01")
        publisher.publish(f"hadir/v1/{source.gateway}/info", source.info(), retain=True)
        worker.wait_for("commits_held", 1)
        with Database(url, read_only=True) as opened, opened.reading() as connection:
            assert (read_condition(connection, datetime.now(UTC)).commit_wait_s or 0) >= HELD_S
        with running(tmp_path, "status", "--db", url) as shown:
            eventually(lambda: "commits have waited" in shown.log, what="the state")
        standby.thaw()
        worker.wait_for("commits_go_on", 1)

        standby.caught_up()
        primary.kill()
        judge.wait_for("database_lost", 2)
        standby.run("SELECT pg_promote()")
        eventually(lambda: not _recovers(standby), what="the promotion")
        judged(standby, name)
        for program in (judge, worker):
            program.wait_for("database_found", 2)
        assert answer(port)[0] == 303
        assert judge.log.count('"database_lost"') == judge.log.count('"database_found"') == 2

        with standby.superuser(name) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        standby.stop()
        for program in (judge, worker):
            program.wait_for("database_lost", 3)
        standby.start()
        for program in (judge, worker):
            assert program.process.wait(WAIT_S) == 74, program.log
            assert "of a newer version of hadir-central" in program.log
            assert "Traceback" not in program.log


def _recovers(server: Server) -> bool:
    with server.superuser() as connection:
        [found] = connection.execute("SELECT pg_is_in_recovery()").fetchone() or (True,)
    return bool(found)


@pytest.mark.parametrize(
    ("address", "refuses"),
    [
        ("postgresql://{role}@127.0.0.1:{port}/{name}", True),  # without its password
        ("postgresql://postgres@/missing?host={folder}&port={port}", True),
        ("postgresql://missing@/{name}?host={folder}&port={port}", True),
        ("postgresql://{role}@127.0.0.1:{closed}/{name}", False),
        ("postgresql://{role}@127.0.0.1:{closed},127.0.0.1:{port}/{name}", False),  # the first one may come back
        ("postgresql://{role}@/{name}?host={folder}&port={port}", True),  # empty: no version of ours
        ("{folder}/missing.db", True),
        ("/proc/version", True),
    ],
)
def test_what_another_attempt_does_not_change(postgres: Server, database_url: str, address: str, refuses: bool) -> None:
    """Rights, names and versions end a program; a server that is away is waited for."""
    name = database_url.rpartition("@/")[2].partition("?")[0]
    values = {"role": ROLE, "name": name, "folder": postgres.folder, "port": postgres.port, "closed": free_port()}

    with pytest.raises(StoreError) as caught:
        Database(address.format(**values)).close()

    assert is_refusal(caught.value) == refuses, caught.value


def test_a_role_that_loses_its_rights_is_refused(postgres: Server, database_url: str) -> None:
    """Also within a connection that works."""
    with Database(database_url, create=True) as database:
        name = database_url.rpartition("@/")[2].partition("?")[0]
        with postgres.superuser(name) as connection:
            connection.execute(f"ALTER TABLE affected OWNER TO postgres; REVOKE ALL ON affected FROM {ROLE}".encode())
        with pytest.raises(StoreError, match="permission denied") as caught, database.reading() as reading:
            marks.numbers(reading)
    assert is_refusal(caught.value)
