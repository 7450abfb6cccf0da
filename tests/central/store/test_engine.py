"""The file: created, opened, brought up to date from every shape it has had, read and written in transactions."""

import gzip
import itertools
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from central import store
from central.coverage import GAP_GRACE_S
from central.report import open_readonly, verify
from central.store import Database, Message, Store, StoreError, StoreLocked
from central.store.engine import METADATA, revisions
from central.store.sqlite import WriterLock
from tests.central.sealing import GATEWAY, Event, Source, payload

OTHER = "3602-bkpsdm/gw-02"
STORED = sorted((Path(__file__).parent / "stored").glob("*.db.gz"))
TOPICS = {"hadir.punch.recorded.v1": "punch/lobby", "hadir.record.quarantined.v1": "quarantine/lobby"}
_STREAM = "(SELECT gateway || name FROM stream AS its WHERE its.id = stream)"
CONTENT = {
    "gateway": f"id, name, {_STREAM}, informed",
    "stream": "gateway, name, seen, assigned, predecessor, predecessor_sequence, predecessor_digest",
    "gap": f'{_STREAM}, first, last, "begin", "end"',
    "event": f"key, {_STREAM}, sequence, id, digest, previous, type, body",
    "forgotten": f"{_STREAM}, sequence, id, digest, event",
    "unproven": "key",
    "finding": f"{_STREAM}, sequence, kind, expected, found",
    "rejected": "topic, sha256, gateway, reason, size, payload, times",
    "rejected_counted": "gateway, reason, times",
    "punch": "id, event, terminal, serial, pin, uid, local_time, instant",
    "claim": "punch, gateway, event",
    "ownership": "id, serial, since, gateway, decided_by, paper",
    "incident": f'event, gateway, {_STREAM}, sequence, kind, terminal, serial, "begin", "end", punch',
}
"""What the tables hold, but for the moments at which it was stored and the sentences for people."""


def messages() -> list[Message]:
    """Return what is in the stored files: gaps, pruned events, a fork, punches of two gateways, and no events."""
    ours, theirs, old = Source(), Source("theirs", OTHER), Source("old")
    old.punches(3)
    ours.punches(4)
    ours.note()
    data = {"serial": "S", "raw": "00ff", "size": 2, "sha256": "0" * 64, "occurrence": 1, "reason": "x"}
    ours.record("hadir.record.quarantined.v1", "7d444840-9dc0-51d1-b245-5ffdce74fad2", data, "lobby")
    ours.punches(2)
    ours.forget(ours.events[3])
    ours.forget(*old.events, stream="old")
    ours.punches(2)
    theirs.punch(1)
    theirs.punch(2, state=1)
    theirs.punch(50)
    fork = Source(events=ours.events[:11])
    fork.punch(99)
    arriving = [event for number, event in enumerate(ours.events, 1) if number not in (4, 6)]
    return [
        *(message(event, GATEWAY) for event in (*arriving, fork.events[11])),
        *(message(event, OTHER) for event in theirs.events),
        Message(f"{GATEWAY}/info", ours.info(assigned=14)),
        Message(f"{GATEWAY}/punch/lobby", b"{"),
        Message("x/y/z", b"1"),
    ]


def message(event: Event, gateway: str) -> Message:
    """Return an event as its gateway sends it."""
    return Message(f"{gateway}/{TOPICS.get(event['type'], 'note/lobby')}", payload(event))


def stored(file: Path, folder: Path) -> Path:
    """Unpack a stored file."""
    path = folder / "centre.db"
    path.write_bytes(gzip.decompress(file.read_bytes()))
    return path


def content(path: Path) -> dict[str, list[Any]]:
    """Return what the tables hold, in no particular order."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=repr)  # noqa: S608 - constants of this file
            for table, columns in CONTENT.items()
        }


def shape(path: Path) -> dict[str, Any]:
    """Return the names of tables, columns, indexes and views."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
        return {
            f"{kind} {name}": sorted(row[1] for row in connection.execute(f"PRAGMA table_info({name})"))
            for kind, name in names
        }


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Let the process create files under another mask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "centre.db"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_files_are_for_owner_and_group_whatever_the_umask(path: Path, mask: int) -> None:
    """Another program that opens the file first does not change that."""
    with umask(mask):
        store = Store(path)
        store.ingest(messages())
        with Database(path) as database, database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        store.close()

    assert modes == dict.fromkeys(("centre.db", "centre.db-wal", "centre.db-shm", "centre.db.lock"), 0o640)


def test_the_migrations_are_one_line() -> None:
    """The number of a file is its revision, and the one before is the one that it follows."""
    folder = Path(import_module("central.store.migrations.versions").__file__ or "").parent
    before = None
    for file in sorted(folder.glob("[0-9]*.py")):
        module = import_module(f"central.store.migrations.versions.{file.stem}")
        assert (module.revision, module.down_revision) == (file.name[:4], before)
        before = module.revision
    assert before == revisions()[-1]


def test_migrations_make_the_tables_that_the_program_has(path: Path) -> None:
    """Columns, keys and indexes of the classes of rows are those of a new file."""
    for module in iter_modules(store.__path__):
        import_module(f"central.store.{module.name}")
    with Database(path, create=True) as database, database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.name)
def test_a_file_of_each_earlier_shape_becomes_what_a_new_one_is(file: Path, tmp_path: Path) -> None:
    """The same messages in a new file give the same rows; and storing goes on."""
    old, new = stored(file, tmp_path), tmp_path / "new.db"
    with closing(sqlite3.connect(old)) as connection:
        bodies = connection.execute("SELECT key, body, received FROM event ORDER BY key").fetchall()
    seconds = itertools.count(step=GAP_GRACE_S)  # gaps are old enough to be listed at the next look
    fresh = Store(new, monotonic_s=lambda: next(seconds))
    fresh.ingest(messages())

    upgraded = Store(old, monotonic_s=lambda: next(seconds))

    assert content(old) == content(new)
    assert shape(old) == shape(new)
    with upgraded.database.reading() as connection:
        kept = connection.exec_driver_sql("SELECT key, body, received FROM event ORDER BY key").all()
    assert [tuple(row) for row in kept] == bodies
    assert list(upgraded.receipts()) == list(fresh.receipts())
    again = Source("another", OTHER)
    for one in (upgraded, fresh):
        one.ingest([*messages(), message(again.punch(7) if not again.events else again.events[0], OTHER)])
    assert content(old) == content(new)
    with open_readonly(old) as connection:
        faults = {fault.what for fault in verify(connection)}
    assert faults == {"a fork: different events claim this place"}
    for one in (upgraded, fresh):
        one.close()


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.name)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_kill_while_a_file_is_brought_up_to_date_leaves_it_as_it_was(file: Path, place: str, tmp_path: Path) -> None:
    """All of it is one transaction; the next start does it again."""
    path = stored(file, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
        version = connection.execute("PRAGMA user_version").fetchone()
    script = Path(__file__).with_name("migrating.py")
    with subprocess.Popen([sys.executable, script, path, place], stdout=subprocess.PIPE, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().decode() == place
        process.kill()

    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
        assert connection.execute("PRAGMA user_version").fetchone() == version
    Store(path).close()
    assert len(content(path)["event"]) == 14


def test_logs_that_lost_records_before_the_update_are_doubts_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seventh migration reads them from the stored events, with the watermark before each."""
    source, store = Source(), Store(path)
    for what in ("log_cleared", "firmware"):
        source.record("hadir.terminal.changed.v1", what, {"terminal": "lobby", "serial": "S", "what": what}, "lobby")
    state = b'{"serial":"S","complete":{"until":"2026-09-04T00:20:00Z","stream":"%b","sequence":"%020d"}}'
    store.ingest([Message(f"{GATEWAY}/info", source.info())])
    store.ingest([Message(f"{GATEWAY}/terminal/lobby/state", state % (source.stream.encode(), 0))])
    store.ingest([message(event, GATEWAY) for event in source.events])
    store.close()
    before = content(path)["incident"]
    assert [row[4] for row in before] == ["log_lost"]
    old = path.with_name("old.db")
    migrate = command.upgrade
    with monkeypatch.context() as patch, suppress(StoreError):
        patch.setattr(command, "upgrade", lambda config, _: migrate(config, "0006"))
        Database(old, create=True).close()
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("ATTACH ? AS new", (str(path),))
        for table in ("gateway", "stream", "event", "terminal", "watermark"):
            columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")  # noqa: S608 - our own words

    Store(old).close()

    assert content(old)["incident"] == before


def test_a_file_of_a_later_version_is_refused_and_left_alone(path: Path) -> None:
    """Its newest migration is not known here."""
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()

    for create in (False, True):
        with pytest.raises(StoreError, match="of a newer version of hadir-central"):
            Database(path, create=create)

    assert path.read_bytes() == before


def test_an_old_file_that_another_inbox_writes_is_not_changed(tmp_path: Path) -> None:
    """The other one may be of the version before: it would go on with tables that it does not know."""
    path = stored(STORED[-1], tmp_path)
    lock = WriterLock(path)
    try:
        with pytest.raises(StoreLocked):
            Store(path)
    finally:
        lock.release()

    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (3,)


def test_a_transaction_is_stored_whole_or_not_at_all(path: Path) -> None:
    """Another reader sees nothing of it before it is committed, and one moment however long it reads."""
    with Database(path, create=True) as database, Database(path, read_only=True) as reader:
        add = "INSERT INTO gateway (name, informed) VALUES (?, 0)"
        count = "SELECT count(*) FROM gateway"
        with pytest.raises(ZeroDivisionError), database.writing() as connection:
            assert connection.exec_driver_sql(add, ("a/b",)).rowcount / 0
        with reader.reading() as seen:
            assert seen.exec_driver_sql(count).scalar_one() == 0
            with database.writing() as connection:
                connection.exec_driver_sql(add, ("a/b",))
            assert seen.exec_driver_sql(count).scalar_one() == 0
        with reader.reading() as seen:
            assert seen.exec_driver_sql(count).scalar_one() == 1
            with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
                seen.exec_driver_sql(add, ("c/d",))


@pytest.mark.parametrize("seed", range(4))
def test_gaps_in_rows_are_those_of_the_definition_after_every_batch(path: Path, seed: int) -> None:
    """Only the gaps around a batch are loaded, and the rest stays as it is."""
    dice = random.Random(seed)
    source = Source()
    source.punches(200)
    queue = dice.sample(source.events, 150)
    store = Store(path)
    held: set[int] = set()
    while queue:
        part, queue = queue[:7], queue[7:]
        store.ingest(message(event, GATEWAY) for event in part)
        held |= {int(event["sequence"]) for event in part}
        missing = set(range(1, max(held))) - held
        with store.database.reading() as connection:
            rows = connection.exec_driver_sql("SELECT first, last FROM gap ORDER BY first").all()
            seen = connection.exec_driver_sql("SELECT seen FROM stream").scalar_one()
        assert seen == max(held)
        assert {number for first, last in rows for number in range(first, last + 1)} == missing
        assert all(first - 1 not in missing and last + 1 not in missing for first, last in rows)
    store.close()
