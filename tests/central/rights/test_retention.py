"""Deleting what is no longer kept: whole or absent, on record, and without any verdict that changes."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from central.cli import app
from central.closing.close import close
from central.policy.office import OfficePolicies
from central.rights.settings import KINDS, RetentionError, Settings, load_settings
from central.store import closings, deleting, requests, retention, sessions
from central.store.accesses import Access
from central.store.accesses import add as add_access
from central.store.bodies import extent_of_gap
from central.store.requests import Note, Request, Step
from central.texts import Language
from tests.central.fresh import content_of, put
from tests.central.sealing import Source
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import STORES
from tests.postgres import Server

BOTH_STORES = True
SETTINGS = "retention:\n" + "".join(
    f"  {kind}: {{keep_days: 400, source: proposal}}\n" for kind in KINDS if kind not in ("mails", "sessions")
)
LATE = "2026-09-01 07:45:00"
OLD, RECENT = "2026-09-03T00:00:00.000Z", "2028-01-03T00:00:00.000Z"


NOW = datetime(2028, 2, 1, 1, tzinfo=UTC)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre in February 2028, with September 2026 closed: `a` was late, and nobody has PIN 9999."""
    content, source = office(STORES.server)
    put(tmp_path / "centre.db", content)
    found = Centre(tmp_path, NOW, source=deepcopy(source))
    (tmp_path / "retention.yaml").write_text(SETTINGS)
    yield found
    found.close()


@cache
def office(_server: Server | None) -> tuple[bytes, Source]:
    """Return the database of that centre, and its gateway."""
    sources = []

    def fill(path: Path) -> None:
        found = Centre(path.parent, datetime(2026, 8, 30, 20, tzinfo=UTC))
        found.enter_office()
        found.punched("1001", LATE, "2026-09-01 16:05:00")
        found.punched("9999", "2026-09-01 07:46:00")
        found.punched("1002", "2026-09-02 07:00:00", "2026-09-02 16:05:00")
        found.at("2026-10-02 08:00")
        shut(found, date(2026, 9, 15))
        with found.database.writing() as connection:
            add_access(connection, [Access("2026-10-02T00:00:00.000Z", "siti", "bkd", "::1", "person", person="a")])
            given = Request(0, "leave", '{"person":"a"}', "a", "dinas", "2026-09-01", None, "siti", None)
            for at in (OLD, RECENT):
                number = requests.add(connection, given, Step(0, 1, "entered", "siti", at, "sakit", ""))
                requests.add_step(connection, Step(number, 2, "refused", "budi", at, "tanpa surat", ""))
            requests.add_note(connection, Note("a", "2026-09-01", "note", "budi", OLD, "ban bocor"))
            requests.add_note(connection, Note("b", "2026-09-01", "note", "budi", RECENT, "baru"))
            stale = sessions.Kept("x", "siti", "y", OLD, OLD)
            sessions.begin(connection, stale, ended=None, expired=("", ""), most=9)
        found.at("2028-02-01 08:00")
        with found.database.writing() as connection:
            add_access(connection, [Access("2028-02-01T00:00:00.000Z", "siti", "bkd", "::1", "person", person="b")])
        sources.append(found.source)
        found.close()

    return content_of(fill), sources[0]


def shut(centre: Centre, on: date) -> int:
    """Close a period of the office."""
    policies = OfficePolicies(POLICIES)
    paper = "Contoh 9/2026"
    return close(centre.database, policies, "dinas", on, closed_by="BKD", paper=paper, now=centre.now, with_open=True)


def run(centre: Centre, *words: str, code: int = 0) -> str:
    """Run a command at the centre's present moment."""
    arguments = [*words, "--db", str(centre.database.address)]
    if words[0] == "retention":
        arguments += ["--settings", str(centre.folder / "retention.yaml")]
    if words[:2] in (("retention", "apply"), ("hold", "set"), ("hold", "lift")):
        arguments += ["--by", "Arsiparis", "--paper", "JRA 1/2029"]
    if words[0] in ("rebuild", "why"):
        arguments += ["--policies", str(POLICIES)]
    result = CliRunner().invoke(app, arguments, obj=lambda: centre.now)
    assert result.exit_code == code, result.output
    return result.output


def rows(centre: Centre, table: str) -> int:
    """Return how many rows a table has."""
    with centre.database.reading() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())  # noqa: S608 - a test's


def due(centre: Centre) -> dict[str, tuple[int, int]]:
    """Return by kind how many rows would be deleted, and how many a hold keeps."""
    found = json.loads(run(centre, "retention", "plan", "--json"))
    return {one["kind"]: (one["rows"], one["held"]) for one in found["due"]}


def contents(centre: Centre) -> bytes:
    """Return the files of the database."""
    files = sorted(centre.folder.glob("centre.db*"))
    return b"".join(file.read_bytes() for file in files)


@pytest.mark.file_only
def test_a_deletion_is_on_record_and_changes_no_verdict_that_stands(centre: Centre) -> None:
    """Bodies, punches and old verdicts go, from the file too; digests, totals, files and the newest verdicts stay."""
    before, number, tables = centre.digests(), shut(centre, date(2026, 10, 15)), ("event", "closed_total", "kept_file")
    held = {table: rows(centre, table) for table in tables}
    with centre.database.reading() as connection:
        first = closings.listing(connection)[0].id
        stated = closings.totals_of(connection, first)
        assert stated
    written = f'"local_time":"{LATE.replace(" ", "T")}"'.encode()
    assert written in contents(centre)
    plan = {"events": 5, "results": 124, "rejected": 0, "access": 1, "requests": 2, "mails": 0, "sessions": 1}
    assert due(centre) == {kind: (count, 0) for kind, count in plan.items()}

    assert "1 days" in run(centre, "retention", "apply", "--yes", code=1)  # provisional, because of PIN 9999
    run(centre, "retention", "apply", "--with-open")  # a dry run
    assert (rows(centre, "retention_log"), rows(centre, "punch")) == (0, 5)
    run(centre, "retention", "apply", "--yes", "--with-open")

    assert {table: rows(centre, table) for table in tables} == held
    left = {"punch": 0, "unattributed": 0, "request": 1, "request_step": 2, "day_note": 1, "web_session": 0}
    assert {table: rows(centre, table) for table in left} == left
    assert written not in contents(centre)
    after = centre.digests()
    assert {day: before[day] for day in after} == after
    assert len(before) - len(after) == 61 * 2  # some had two revisions
    with centre.database.reading() as connection:
        assert closings.totals_of(connection, first) == stated
        taken = Counter[str]()
        for one in retention.deletions(connection):
            assert (one.by, one.paper) == ("Arsiparis", "JRA 1/2029")
            taken[one.kind] += one.rows
        assert closings.adjustments_of(connection, number) == []
    assert taken == +Counter(plan)
    assert "0 faults; on trust: 0 pruned bodies, 0 first `previous`, 5 bodies" in run(centre, "verify")
    assert "OK" in run(centre, "access", "verify")
    assert "retention_applied" in run(centre, "access", "list")
    assert "rest on trust" in run(centre, "rebuild")
    assert "was deleted when its retention ended" in run(centre, "why", "a", "2026-09-01")
    assert due(centre) == dict.fromkeys(plan, (0, 0))


def test_days_without_evidence_are_never_judged_again(centre: Centre) -> None:
    """Else what is learned later would find no punches, and call it absence; days after them are judged."""
    run(centre, "retention", "apply", "--yes", "--with-open")
    before = centre.digests()
    people = "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,dinas,2026-08-24,\n"
    centre.enter("people", people)
    centre.enter("leave", "person,kind,from,until\na,annual,2026-11-02,2026-11-06\n")
    centre.punched("1001", "2026-09-01 07:20:00", "2027-09-01 07:20:00", state=0)
    centre.at("2028-02-02 08:00")
    changed = {day for day, digest in centre.digests().items() if before.get(day) != digest}
    with centre.database.reading() as connection:
        settled = retention.settled_until(connection)
    assert settled is not None
    assert min(on for _, on in changed) == settled.replace(day=settled.day + 1).isoformat()
    assert ("a", "2027-09-01") in changed
    assert "rest on trust" in run(centre, "rebuild")
    number = shut(centre, date(2026, 10, 15))  # nobody is adjusted to a period without evidence
    with centre.database.reading() as connection:
        assert closings.adjustments_of(connection, number) == []


def test_of_whom_a_hold_is_set_nothing_is_deleted(centre: Centre) -> None:
    """What cannot be attributed is kept too; when it is lifted, the next deletion takes it."""
    run(centre, "hold", "set", "--case", "12/G/2029", "--person", "z", code=1)
    run(centre, "hold", "set", "--case", "12/G/2029", code=1)
    run(centre, "hold", "set", "--case", "12/G/2029", "--person", "a")
    kept = {"events": (2, 3), "results": (30, 30), "access": (0, 1), "requests": (0, 2)}
    assert {kind: due(centre)[kind] for kind in kept} == kept
    run(centre, "retention", "apply", "--yes", "--with-open")
    with centre.database.reading() as connection:
        pins = connection.exec_driver_sql("SELECT pin FROM punch ORDER BY pin").scalars().all()
    assert pins == ["1001", "1001", "9999"]
    assert run(centre, "verify").startswith("deletion 2 of ")
    assert "revision 1" in run(centre, "why", "a", "2026-09-01")
    run(centre, "hold", "lift", "1")
    run(centre, "hold", "lift", "1", code=1)
    assert "lifted" in run(centre, "hold", "list", "--all")
    run(centre, "hold", "set", "--case", "13/G/2029", "--unit", "dinas")
    assert due(centre)["events"] == (0, 3)
    run(centre, "hold", "set", "--case", "14/G/2029", "--all")
    assert due(centre)["events"] == (0, 3)
    for one in json.loads(run(centre, "hold", "list", "--json")):
        run(centre, "hold", "lift", str(one["number"]))
    run(centre, "retention", "apply", "--yes", "--with-open")
    assert rows(centre, "punch") == 0
    assert run(centre, "verify").count("deletion ") == 2


@pytest.mark.parametrize(("step", "whole"), [(1, 0), (2, 2)])
@pytest.mark.file_only
def test_a_deletion_that_is_killed_is_whole_or_absent(centre: Centre, step: int, whole: int) -> None:
    """After SIGKILL within a step the steps before it are whole, and the same command completes it."""
    centre.database.close()
    script = Path(__file__).parent / "apply_retention.py"
    given = [centre.database.address, centre.folder / "retention.yaml", centre.now.isoformat(), step]
    command = [sys.executable, str(script), *map(str, given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{step}\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (rows(centre, "retention_log"), rows(centre, "punch")) == (step - 1, 5 - whole)
    run(centre, "verify")
    run(centre, "retention", "apply", "--yes", "--with-open")
    assert rows(centre, "punch") == 0
    assert "5 bodies that retention deleted" in run(centre, "verify")


@pytest.mark.file_only
def test_nothing_can_be_removed_under_the_name_of_a_deletion(centre: Centre) -> None:
    """Neither a body, nor a line of the access log, nor a decision."""
    run(centre, "retention", "apply", "--yes", "--with-open")
    centre.punched("1002", "2028-02-01 07:00:00")
    with closing(sqlite3.connect(centre.database.address)) as file:
        for change in (
            "DELETE FROM access_log WHERE id = 2",
            "DELETE FROM retention_log",
            "UPDATE retention_log SET paper = ''",
            "INSERT OR REPLACE INTO retention_log SELECT * FROM retention_log",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                file.execute(change)
        file.execute("UPDATE event SET body = '{\"deleted\":1}' WHERE sequence = 6")
        file.commit()
        assert "deletion 1 took 5 events; 6 are without content" in run(centre, "verify", code=1)
        file.execute("UPDATE event SET body = '{\"deleted\":77}' WHERE sequence = 6")
        file.commit()
        assert "1 events without content, of deletion 77, which is not on record" in run(centre, "verify", code=1)


def test_a_gap_beside_deleted_content_keeps_its_extent(centre: Centre) -> None:
    """It is computed from when the events around it were recorded."""
    with centre.database.reading() as connection:
        stream = int(connection.exec_driver_sql("SELECT id FROM stream").scalar_one())
        before = [extent_of_gap(connection, stream, place, place) for place in range(2, 5)]
    run(centre, "retention", "apply", "--yes", "--with-open")
    with centre.database.reading() as connection:
        assert [extent_of_gap(connection, stream, place, place) for place in range(2, 5)] == before


def test_marks_that_wait_are_judged_first(centre: Centre) -> None:
    """Also with --with-open: what is known already must be in the verdict that stands from then on."""
    centre.enter("leave", "person,kind,from,until\na,annual,2026-11-02,2026-11-06\n")
    assert "recompute" in run(centre, "retention", "apply", "--yes", "--with-open", code=1)
    assert rows(centre, "punch") == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("retention: {events: {keep_days: 400}}", "a figure needs its `source:`"),
        ("retention: {events: {keep_days: 119, source: x}}", "events: at least 120 days"),
        ("retention: {events: {keep_days: '400', source: x}}", "retention.events.keep_days"),
        ("retention: {punches: {keep_days: 400, source: x}}", "retention.punches"),
        ("retention: {mails: {keep_days: 0, source: x}}", "retention.mails.keep_days"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, text: str, why: str) -> None:
    """With the line; nothing is deleted then."""
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RetentionError, match=why.replace("(", r"\(")) as raised:
        load_settings(tmp_path / "r.yaml")
    shown = raised.value.into(Language.INDONESIAN)
    assert shown.startswith(f"{tmp_path / 'r.yaml'}:1:")
    assert "sistem" not in shown, "it has words of its own"
    assert shown != str(raised.value)


def test_the_example_is_the_defaults() -> None:
    """Every figure has a source, and what no source gives is kept for ever."""
    example = load_settings(Path(__file__).parents[3] / "config" / "retention.example.yaml")
    assert example == Settings()
    assert {kind for kind in KINDS if example.of(kind).keep_days is not None} == {"mails", "sessions"}
    assert deleting.Held().any is False
