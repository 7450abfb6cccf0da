"""`hadir-central transfer`, and what follows on PostgreSQL: an office's file, months detached, a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from copy import deepcopy
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from central.cli import app
from central.closing.close import close
from central.policy.office import OfficePolicies
from central.store import Message, Store, accesses, results, retention
from central.store.accesses import Access
from central.store.engine import Database
from tests.central.fresh import content_of, put
from tests.central.sealing import Source, batch
from tests.central.store.office import POLICIES, Centre

LATE = "2026-09-01 07:45:00"
NOW = datetime(2026, 12, 5, 1, tzinfo=UTC)


class File(NamedTuple):
    """A closed database, with the gateway whose events it holds and the digests of its verdicts."""

    path: Path
    source: Source
    digests: dict[tuple[str, str], str]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Return a centre's file in December 2026: all months until November are closed, `a` was late once."""
    content, source, digests = office()
    put(tmp_path / "centre.db", content)
    return File(tmp_path / "centre.db", deepcopy(source), digests)


@cache
def office() -> tuple[bytes, Source, dict[tuple[str, str], str]]:
    """Return the content of that file, and the rest."""
    rest = []

    def fill(path: Path) -> None:
        found = Centre(path.parent, datetime(2026, 8, 30, 20, tzinfo=UTC))
        found.enter_office()
        found.punched("1001", LATE, "2026-09-01 16:05:00")
        found.punched("1002", "2026-09-02 07:00:00", "2000-01-01 00:00:10")
        found.at("2026-12-05 08:00")
        for month in (8, 9, 10, 11):
            close(
                found.database,
                OfficePolicies(POLICIES),
                "dinas",
                date(2026, month, 25),
                closed_by="BKD",
                paper="Contoh",
                now=NOW,
                with_open=False,
            )
        with found.database.writing() as connection:
            for number in range(3):
                look = Access(f"2026-0{number + 7}-01T00:00:00.000Z", "siti", "bkd", "::1", "person", person="a")
                accesses.add(connection, [look])
            retention.add(connection, "2026-09-01T00:00:00.000Z", retention.HOLD, HOLD, "Arsiparis", "1/2026")
            content = {"kind": "access", "until": "2026-07-31", "rows": 1, "digest": "0", "settled": None}
            last = connection.exec_driver_sql("SELECT digest FROM access_log WHERE id = 1").scalar_one()
            content |= {"last": 1, "last_digest": last}
            retention.add(connection, "2026-09-02T00:00:00.000Z", retention.DELETION, content, "Arsiparis", "1/2026")
            connection.exec_driver_sql("DELETE FROM access_log WHERE id = 1")
        rest.append((found.source, found.digests()))
        found.close()

    return content_of(fill), *rest[0]


HOLD = {"case": "perkara", "people": ["a"], "units": [], "everybody": False}


def run(*words: object, code: int = 0) -> str:
    """Run a command in December 2026."""
    result = CliRunner().invoke(app, [str(word) for word in words], obj=lambda: NOW)
    assert result.exit_code == code, result.output
    return result.output


def filled(url: str) -> list[str]:
    """Return the tables that hold rows."""
    with Database(url) as database, database.reading() as connection:
        names = connection.dialect.get_table_names(connection)
        every = [name for name in names if name != "alembic_version"]
        found = (connection.exec_driver_sql(f"SELECT EXISTS (SELECT 1 FROM {name})").scalar_one() for name in every)  # noqa: S608
        return [name for name, is_filled in zip(every, found, strict=True) if is_filled]


def test_a_file_moves_to_postgresql_whole_and_goes_on_there(file: File, database_url: str) -> None:
    """Compared table by table, judged again alike, and its numbers, chains and months go on."""
    assert "Nothing was written" in run("transfer", database_url, "--db", file.path, "--dry-run")
    found = json.loads(run("transfer", database_url, "--db", file.path, "--json"))
    assert found["differing_faults"] == found["faults"] == 0
    moved = {one["table"]: one["rows"] for one in found["tables"]}
    assert (moved["event"], moved["punch"], moved["closing"], moved["access_log"]) == (4, 4, 4, 2)
    assert "not empty" in run("transfer", database_url, "--db", file.path, code=1)
    assert run("rebuild", "--db", database_url, "--policies", POLICIES).startswith(f"{len(file.digests)} person-days")
    assert "OK" in run("access", "verify", "--db", database_url)

    with Database(database_url) as database, database.reading() as connection:
        last = results.last_row(connection)

    store = Store(database_url, now=lambda: NOW)
    sent = [*file.source.events, file.source.punch(1, pin="1001", serial="S1", local_time="2026-12-04T07:20:00")]
    assert store.ingest([Message(f"{file.source.gateway}/batch", batch(*sent))]).stored == 1
    store.close()
    run("recompute", "--db", database_url, "--policies", POLICIES)
    with Database(database_url) as database, database.reading() as connection:
        assert results.units_since(connection, last) == {"dinas"}  # else pages go on showing the verdicts before
    run("hold", "lift", 1, "--db", database_url, "--by", "A", "--paper", "2")
    assert "0 faults" in run("verify", "--db", database_url)


def test_months_are_detached_only_where_holds_and_closings_allow_it_and_are_never_judged_again(
    file: File, database_url: str
) -> None:
    """Their punches stay in a table of their own; the stored verdicts stay what they are."""
    run("transfer", database_url, "--db", file.path)
    where = "--db", database_url
    paper = "--by", "Arsiparis", "--paper", "9/2026"
    listed = json.loads(run("partitions", "list", "--json", *where))
    assert [one["month"] for one in listed["months"]] == ["2026-09", "2026-12", "2027-01", "2027-02", "2027-03", ""]
    assert listed["outside"] == {"2000-01": 1}
    assert listed["missing"] == []

    detach = "partitions", "detach", *where, *paper, "--before"
    assert "not over" in run(*detach, "2027-03", code=1)
    assert "Holds are in force (1)" in run(*detach, "2026-10", code=1)
    run("hold", "lift", 1, *where, *paper)
    assert "closed period" in run(*detach, "2026-12", code=1)  # 40 days behind November are not closed yet
    assert "Would detach 2026-09" in run(*detach, "2026-10")
    assert "3 punches are in the table punch_2026_09_archived" in run(*detach, "2026-10", "--yes")

    assert json.loads(run("partitions", "list", "--json", *where))["archived"] == ["2026-09"]
    with Database(database_url) as database, database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM punch").scalar_one() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM punch_2026_09_archived").scalar_one() == 3
    assert "archived" in run("rebuild", *where, "--policies", POLICIES)
    assert LATE.split()[1] in run("why", "a", "2026-09-01", *where, "--policies", POLICIES)
    assert "detached for the archive" in run("retention", "show", *where)
    file.source.punch(1, serial="S1", local_time="2026-12-04T07:20:00", work_code="a\0b\\u0000")
    with closing(Store(database_url, now=lambda: NOW)) as store:
        assert store.ingest([Message(f"{file.source.gateway}/batch", batch(*file.source.events))]).stored == 1
    assert "0 faults" in run("verify", *where)


KILLED = """
import os, signal, sys
from datetime import date
from pathlib import Path
from typing import NamedTuple
from central.store.engine import Database
from central.store.transfer import transfer

def progress(table, rows):
    if table == "result":
        os.kill(os.getpid(), signal.SIGKILL)

with Database(sys.argv[2], create=True) as database, database.writing() as connection:
    transfer(Path(sys.argv[1]), connection, date(2026, 12, 5), progress)
"""


def test_a_kill_in_the_middle_leaves_the_target_empty_and_the_command_can_be_repeated(
    file: File, database_url: str
) -> None:
    """Nothing is half there."""
    done = subprocess.run([sys.executable, "-c", KILLED, file.path, database_url], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert filled(database_url) == []
    assert "OK" in run("transfer", database_url, "--db", file.path)


def test_what_cannot_take_the_rows_is_named_and_nothing_is_written(file: File, database_url: str) -> None:
    """Another version, a file in use, no URL, a row that PostgreSQL does not take."""
    with closing(Store(file.path)) as store:
        assert "another hadir-central" in run("transfer", database_url, "--db", file.path, code=75)
        with store.database.writing() as connection:
            connection.exec_driver_sql("UPDATE stream SET name = 'a' || char(0) || 'b'")
    assert "table stream" in run("transfer", database_url, "--db", file.path, code=1)
    assert filled(database_url) == []
    with Database(database_url) as database, database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    assert "another version" in run("transfer", database_url, "--db", file.path, code=1)
    assert "not the address" in run("transfer", "mysql://x", "--db", file.path, code=1)
