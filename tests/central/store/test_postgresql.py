"""A database on a server: what is in the way is named with what to do, and transactions keep what they promise."""

import os
import random
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from central.cli import Code
from central.policy.office import OfficePolicies
from central.policy.trial import try_policies
from central.store import Store, StoreError, StoreLocked, batch, bulk, marks, postgresql
from central.store.engine import Database, StoreStalled, writer_lock
from central.store.portable import LOCKS
from central.store.postgresql import INBOX, WRITING
from central.store.results import RESULT
from central.timesheet import recompute
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.central.receiving import Sender
from tests.central.sealing import Source
from tests.central.store.office import POLICIES, Centre, slots
from tests.central.stores import STORES, address
from tests.command import start
from tests.postgres import PASSWORD, Server

NOW = datetime(2026, 9, 1, 3, tzinfo=UTC)


def refusal(address: str, *, create: bool = False) -> str:
    """Return why a database cannot be opened."""
    with pytest.raises(StoreError) as refused:
        Database(address, create=create).close()
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_each_thing_in_the_way_is_named_with_what_to_do(postgres: Server, tmp_path: Path) -> None:
    """In the order in which an office meets them."""
    name, other = postgres.fresh(), postgres.fresh()
    files = {"right": PASSWORD, "wrong": "x"}
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    by_tcp = postgres.url(name, tcp=True)
    with postgres.superuser() as connection:
        connection.execute("CREATE ROLE reader LOGIN")
    with postgres.superuser(other) as connection:
        connection.execute("CREATE TABLE theirs (a int)")

    for where, words in {
        "postgresql://hadir:geheim@/d": "holds a password, which others on this machine can see; write it into a file",
        "postgresql://hadir@/d?nonsense=1": 'invalid URI query parameter: "nonsense"; write postgresql://ROLE@HOST',
        "postgresql://hadir@127.0.0.1:1/d": "check that the server runs, its name and port",
        postgres.url("none"): 'database "none" does not exist; make it on the server: createdb',
        postgres.url(name, role="nobody"): 'role "nobody" does not exist; make it on the server: createuser',
        by_tcp: "no password supplied; write the role's password into a file",
        f"{by_tcp}?password_file={tmp_path}/wrong": "password authentication failed",
        f"{by_tcp}?password_file={tmp_path}/none": "none: No such file or directory",
        postgres.url(name): "empty; `hadir-central inbox` and `import` make its tables",
        postgres.url(other): "not a database of this version",
    }.items():
        assert words in refusal(where)
    assert "geheim" not in refusal("postgresql://hadir:geheim@/d")
    assert "the role needs to own the database" in refusal(postgres.url(name, role="reader"), create=True)

    Database(f"{by_tcp}?password_file={tmp_path}/right", create=True).close()
    assert "the role needs to own the database" in refusal(postgres.url(name, role="reader"))
    with postgres.superuser(name) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "of a newer version of hadir-central; install that version" in refusal(postgres.url(name), create=True)
    for one in (name, other):
        postgres.drop(one)


def test_a_writer_is_alone_and_readers_see_one_moment(database_url: str) -> None:
    """What a transaction reads cannot change before it writes; those that lock rows themselves run together."""
    with Database(database_url, create=True) as database, Database(database_url, busy_s=0.2) as hasty:
        with database.writing(), hasty.reading() as reading:
            for alone in (True, False):
                with pytest.raises(StoreError, match="another process writes for longer"), hasty.writing(alone=alone):
                    pass
            assert reading.exec_driver_sql("SELECT count(*) FROM gateway").scalar_one() == 0
        with database.writing(alone=False), hasty.writing(alone=False) as connection:
            connection.exec_driver_sql("INSERT INTO gateway (name, informed) VALUES ('a/b', false)")
            with pytest.raises(StoreError, match="another process writes for longer"), hasty.writing():
                pass
        with database.reading() as reading:
            assert reading.exec_driver_sql("SELECT count(*) FROM gateway").scalar_one() == 1
            with hasty.writing() as connection:
                connection.exec_driver_sql("DELETE FROM gateway")
            assert reading.exec_driver_sql("SELECT count(*) FROM gateway").scalar_one() == 1
        reader = Database(database_url, read_only=True)
        with reader, pytest.raises(StoreError, match="read-only"), reader.writing() as connection:
            connection.exec_driver_sql("DELETE FROM gateway")


def stand_still(connection: Connection, url: str) -> None:
    """Let a transaction wait until the server has ended it, which it does much sooner than usual."""
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
    with psycopg.connect(url) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {WRITING})".encode())


def test_a_line_that_was_cut_is_noticed_by_every_connection(database_url: str) -> None:
    """Each has the parameters that end it within half a minute; what the URL gives goes before them."""
    given = f"{database_url}{'&' if '?' in database_url else '?'}keepalives_idle=77"
    for url, idle in ((database_url, "10"), (given, "77")):
        with Database(url, create=True) as database, database.reading() as connection:
            found = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]  # psycopg's
        assert (found["keepalives_idle"], found["tcp_user_timeout"]) == (idle, "20000")


@pytest.mark.parametrize("options", [{}, {"alone": False}, {"alone": False, "moment": True}])
def test_a_process_that_stands_still_within_a_transaction_holds_back_no_other_for_ever(
    database_url: str, options: dict[str, bool]
) -> None:
    """The server undoes what it had begun; the process can go on, and one that reads may take longer."""
    with Database(database_url, create=True) as database:
        with pytest.raises(StoreStalled, match="stood still for too long"), database.writing(**options) as connection:  # noqa: PT012 - within the transaction
            connection.exec_driver_sql("INSERT INTO gateway (name, informed) VALUES ('a/b', false)")
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one() == "50s"
            stand_still(connection, database_url)
            connection.exec_driver_sql("SELECT 1")
        with database.writing(**options) as connection:
            connection.exec_driver_sql("INSERT INTO gateway (name, informed) VALUES ('c/d', false)")
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT name FROM gateway").scalars().all() == ["c/d"]
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one() == "1h"
            assert connection.exec_driver_sql("SHOW idle_session_timeout").scalar_one() == "0"


def test_a_batch_of_events_and_one_of_judging_are_done_again_after_standing_still(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever held the process, a stopped machine or a signal: nothing is lost, and the log says so."""
    attempts = []

    def once(work: Any, url: str) -> Any:
        """Return work that stands still when it is done the first time."""

        def still(connection: Connection, *given: Any) -> Any:
            attempts.append(work)
            if attempts.count(work) == 1:
                stand_still(connection, url)
            return work(connection, *given)

        return still

    with STORES.on(postgres):
        centre = Centre(tmp_path, NOW)
        centre.enter_office()
        url = address(tmp_path / "centre.db")
        for module, name, work in (
            (batch, "insert_many", lambda: centre.punched("1001", "2026-09-01 07:40:00")),
            (bulk, "copy_rows", lambda: centre.punched("1001", "2026-09-01 16:10:00")),
            (marks, "lock_people", lambda: centre.at("2026-09-01 20:00")),
        ):
            with monkeypatch.context() as patch, capture_logs() as logs:
                patch.setattr(module, name, once(getattr(module, name), url))
                work()
            assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["process_stood_still"]
        assert slots(centre.day("a", "2026-09-01"))[0] == 10
        centre.close()


def test_a_rebuild_and_a_trial_on_a_cluster_may_take_long(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one looks at each PIN ever read, with the write lock; the other waits until a cluster has judged a nation."""
    limits = []

    def limit(connection: Connection) -> list[Any]:
        limits.append(connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one())
        return []

    monkeypatch.setattr(recompute, "_unattributed", limit)
    with STORES.on(postgres):
        centre = Centre(tmp_path, NOW)
        centre.recompute.rebuild()
        with centre.database.writing() as connection:
            limit(connection)
        with centre.database.reading() as connection:
            dates, policies = (NOW.date(), NOW.date()), OfficePolicies(POLICIES)
            list(try_policies(connection, policies, [], {}, dates, NOW, spread=lambda _parts: limit(connection)))
        with centre.database.reading() as connection:
            limit(connection)
        centre.close()
    assert limits == ["1h", "50s", "0", "1h"]


def test_several_processes_that_start_at_once_make_the_tables_once(database_url: str) -> None:
    """One of them receives; the others find its lock."""
    found: list[Store | StoreError] = []

    def start() -> None:
        try:
            found.append(Store(database_url))
        except StoreError as error:
            found.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores = [one for one in found if isinstance(one, Store)]
    assert len(stores) == 1
    assert [type(one) for one in found if not isinstance(one, Store)] == [StoreLocked, StoreLocked]
    stores[0].close()
    eventually(lambda: _is_free(database_url), what="the end of the lock")


def test_an_inbox_waits_for_the_lock_of_one_that_was_killed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server notices the end of a process a moment later; the inbox's service has started it again meanwhile."""
    monkeypatch.setattr(postgresql, "NOTICED_S", WAIT_S)
    killed = writer_lock(database_url)
    noticed = threading.Timer(0.5, killed.release)
    noticed.start()
    Store(database_url).close()
    noticed.join()


def test_an_inbox_whose_lock_was_cut_ends_without_another_receipt(
    postgres: Server, database_url: str, tmp_path: Path
) -> None:
    """The server ends the connection that held it, another inbox begins; the first one reports it, and ends."""
    source = Source()
    source.punch(1)
    words = ("inbox", "--db", database_url)
    with (
        Broker(tmp_path) as broker,
        Subscriber(broker.port, "hadir/v1/+/+/receipt") as subscriber,
        Sender(broker.port) as sender,
    ):
        process = start("central.cli", *words, "--broker", f"mqtt://127.0.0.1:{broker.port}", env=os.environ)
        try:
            sender.publish(("info", source.info()), retain=True)
            subscriber.wait_for(lambda messages: messages)
            sender.send(source.events[0])
            subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == 1)
            with postgres.superuser() as connection:
                connection.execute(_CUT, {"lock": INBOX, "database": database_url.partition("@/")[2].partition("?")[0]})
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
        with closing(Store(database_url)) as other:
            assert [receipt.held_range.upto for receipt in other.receipts()] == [1]
    assert process.returncode == Code.DISK, out
    assert "the server has ended the connection that held the inbox's lock" in err


_CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
    "WHERE locktype = 'advisory' AND objid = %(lock)s AND datname = %(database)s"
)
"""Ends the connection that holds an inbox's lock."""


def _is_free(address: str) -> bool:
    try:
        writer_lock(address).release()
    except StoreLocked:
        return False
    return True


def test_both_databases_hold_the_same_verdicts(postgres: Server, tmp_path: Path) -> None:
    """One history of punches, in batches of chance, gives equal digests and equal contents."""
    seed = random.randrange(1 << 32)

    def history(folder: Path) -> list[tuple[object, ...]]:
        folder.mkdir()
        chance = random.Random(seed)
        centre = Centre(folder, datetime(2026, 8, 30, 20, tzinfo=UTC))
        centre.enter_office()
        events = [
            event
            for day in range(1, 11)
            for pin in ("1001", "1002", "7777")
            for event in centre.punches(
                pin,
                *(
                    f"2026-09-{day:02} {hour:02}:{chance.randrange(60):02}:{chance.randrange(60):02}"
                    for hour in (7, 16)
                ),
            )
        ]
        chance.shuffle(events)
        for day in range(11, 21):
            part = events[:5] if day < 20 else events
            centre.receive(*part)
            del events[: len(part)]
            centre.at(f"2026-09-{day:02} 08:00")
        with centre.database.reading() as connection:
            columns = list(RESULT.columns)
            found = [tuple(row) for row in connection.execute(select(*columns).order_by(*columns[:3]))]
        centre.close()
        return found

    on_file = history(tmp_path / "file")
    with STORES.on(postgres):
        on_server = history(tmp_path / "server")
    assert len(on_file) > 20, seed
    assert on_server == on_file, seed
