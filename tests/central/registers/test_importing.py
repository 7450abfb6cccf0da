"""Files against what is entered: taken whole or not at all, every mistake named, nothing twice."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import insert

from central.policy.office import OfficePolicies
from central.registers import importing
from central.registers.importing import Paper, Preview, enter_file, preview
from central.registers.kinds import KINDS
from central.registers.problems import RegisterFileError
from central.registers.read import scan_register
from central.store.engine import Database, StoreError, table
from central.store.marks import waiting
from central.store.registers import BATCH, Entered, Registers, last_row
from central.store.tables import OwnershipRow
from central.texts import Language
from tests.central.fresh import content_of, fresh_database
from tests.central.fresh import put as put_content
from tests.central.registers.files import TEMPLATES, write_csv
from tests.central.stores import STORES
from tests.postgres import Server

NOW = datetime(2026, 9, 5, 3, tzinfo=UTC)
POLICIES = {name: OfficePolicies()[name] for name in ("starter", "kementan-2012")}
PAPER = Paper("BKD", "SK 1/2026")
PEOPLE = "key,name,employment,unit,from,until\n"
UNITS = "key,name,parent,from,until\n"
ENROLMENTS = "pin,terminal,person,from,until\n"
SLOTS = "timetable,from,slot,kind,due,window from,window until\n"
ASSIGNMENTS = "person,unit,schedule,policy,from,until\n"
TEMPLATE = {path.stem: path for path in TEMPLATES.iterdir()}
ORDER = ("units", "people", "timetables", "schedules")
"""Kinds whose keys the others refer to, in the order in which they can be imported."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Yield a database with the templates of units, people, timetables and schedules."""
    put_content(tmp_path / "centre.db", _with_templates(STORES.server))
    with Database(tmp_path / "centre.db") as opened:
        yield opened


@cache
def _with_templates(_server: Server | None) -> bytes:
    def fill(path: Path) -> None:
        with Database(fresh_database(path)) as database:
            for kind in ORDER:
                put(database, kind, TEMPLATE[kind])

    return content_of(fill)


def put(
    database: Database, kind: str, path: Path, *, withdraw: bool = False, now: datetime = NOW
) -> tuple[Preview, Entered | None]:
    """Import a file."""
    return enter_file(database, scan_register(path, kind), POLICIES, PAPER, now, withdraw=withdraw)


def mistakes(database: Database, kind: str, path: Path, *, withdraw: bool = False) -> list[tuple[str, str]]:
    """Return place and code of every mistake of a file that is refused; nothing of it is entered."""
    with database.reading() as connection:
        before = last_row(connection)
    with pytest.raises(RegisterFileError) as caught:
        put(database, kind, path, withdraw=withdraw)
    with database.reading() as connection:
        assert last_row(connection) == before
    for problem in caught.value.problems:
        assert problem.text(Language.ENGLISH) != problem.text(Language.INDONESIAN)
    return [(problem.place, problem.code) for problem in caught.value.problems]


@pytest.mark.parametrize("kind", KINDS)
def test_every_template_is_imported_and_once_only(database: Database, kind: str) -> None:
    """With the registers that it refers to; the second time nothing changes and nothing is stored."""
    if kind not in ORDER:
        found, entered = put(database, kind, TEMPLATE[kind])
        assert entered is not None
        assert (found.new, found.changed, found.unchanged) == (found.entries, 0, 0)
        assert found.new > 0

    with database.reading() as connection:
        before = last_row(connection)
    again, entered = put(database, kind, TEMPLATE[kind])

    assert entered is None
    assert (again.new, again.changed, again.unchanged) == (0, 0, again.entries)
    with database.reading() as connection:
        assert last_row(connection) == before > 0


@pytest.mark.both_stores
def test_what_a_file_says_otherwise_takes_the_place_of_what_was_entered(database: Database, tmp_path: Path) -> None:
    """A person moves: one row gets its end, one is new, one stays as it is."""
    text = PEOPLE + (
        "p-0001,Contoh Satu,pns,dinas-contoh,2026-01-01,2026-08-31\n"
        "p-0001,Contoh Satu,pns,bidang-data,2026-09-01,\n"
        '"p-0002","Contoh Dua, S.Kom.",pppk,bidang-data,2026-03-01,2027-02-28\n'
    )
    found, _ = put(database, "people", write_csv(tmp_path, text))

    assert (found.new, found.changed, found.unchanged) == (1, 1, 1)
    assert {mark.subject for mark in found.marks} == {"person:p-0001"}
    assert min(mark.first for mark in found.marks) >= date(2026, 8, 20)


@pytest.mark.parametrize(
    ("first", "kind", "second", "places"),
    [
        (
            ENROLMENTS + "1001,X1,p-0001,2026-01-01,\n",
            "enrolments",
            ENROLMENTS + "1002,X1,p-0001,2026-01-01,\n1001,X1,p-0002,2026-09-10,\n",
            ["3:4"],
        ),
        (
            ENROLMENTS + "1001,X1,p-0001,2026-09-10,\n",
            "enrolments",
            ENROLMENTS + "1001,X1,p-0002,2026-01-01,\n",
            ["2:4"],
        ),
        (
            ASSIGNMENTS + "p-0001,,week,,2026-01-01,\n",
            "assignments",
            ASSIGNMENTS + "p-0001,,ward,starter,2026-06-01,2026-06-30\n",
            ["2:5"],
        ),
        (
            ASSIGNMENTS + ",bidang-data,week,starter,2026-01-01,\n",
            "assignments",
            ASSIGNMENTS + ",bidang-data,,kementan-2012,2026-06-01,\n,bidang-data,ward,,2025-01-01,2026-01-01\n",
            ["2:5", "3:5"],
        ),
        (
            "person,date,begin,end\np-0001,2026-09-01,20:00,26:00\n",
            "orders",
            "person,date,begin,end\np-0001,2026-09-02,01:00,03:00\n",
            ["2:3"],
        ),
        (
            "date,kind,name\n2026-03-20,national_holiday,A\n",
            "calendar",
            "date,until,kind,name\n2026-03-19,2026-03-21,cuti_bersama,B\n",
            ["2:3"],
        ),
        (
            "key,name,employment,from\np-7,A,pns,2026-01-01\n",
            "people",
            "key,name,employment,from\np-7,A,pns,2026-02-01\n",
            ["2:4"],
        ),
        (
            UNITS + "x,X,,2026-01-01,\ny,Y,x,2026-01-01,\n",
            "units",
            UNITS + "x,X,y,2026-01-01,\n",
            ["2:3"],
        ),
    ],
)
def test_contradictions_with_what_is_entered_are_refused(
    database: Database, tmp_path: Path, first: str, kind: str, second: str, places: list[str]
) -> None:
    """At the file's own line, whichever of the two begins first; the text names what is entered, by whom, on what."""
    put(database, kind, write_csv(tmp_path, first, "first.csv"))
    second_path = write_csv(tmp_path, second, "second.csv")

    found = mistakes(database, kind, second_path)
    assert sorted(place for place, _ in found) == [f"second.csv:{place}" for place in places]
    if kind != "units":
        with pytest.raises(RegisterFileError, match=r"2026-09-05, BKD, SK 1/2026"):
            put(database, kind, second_path)


def test_two_personal_plans_that_overlap_are_refused_as_a_whole(database: Database, tmp_path: Path) -> None:
    """C07b: both lines are named, and a third one that is right is not taken either."""
    text = ASSIGNMENTS + (
        "p-0001,,week,,2026-09-01,\np-0002,,ward,,2026-09-01,2026-09-30\np-0001,,ward,,2026-09-15,2026-09-16\n"
    )
    path = write_csv(tmp_path, text)

    assert mistakes(database, "assignments", path) == [("file.csv:4:5", "schedule_overlaps")]
    with pytest.raises(RegisterFileError, match=r"file\.csv:4:5: .* file\.csv:2:1 "):
        put(database, "assignments", path)


def test_an_enrolment_passes_on_when_the_former_one_gets_its_end_in_the_same_file(
    database: Database, tmp_path: Path
) -> None:
    """Both persons' days from the change on are to be judged again, and nothing before."""
    put(database, "enrolments", write_csv(tmp_path, ENROLMENTS + "1001,X1,p-0001,2026-01-01,\n"))
    text = ENROLMENTS + "1001,X1,p-0001,2026-01-01,2026-09-09\n1001,X1,p-0002,2026-09-10,\n"
    found, _ = put(database, "enrolments", write_csv(tmp_path, text))

    assert (found.new, found.changed) == (1, 1)
    assert {mark.subject for mark in found.marks} == {"person:p-0001", "person:p-0002", "terminal:X1 1001"}
    assert {mark.first for mark in found.marks} == {date(2026, 9, 10)}
    with database.reading() as connection:
        stored = waiting(connection, 1000)
    assert {(one.subject, one.first) for one in stored} >= {(mark.subject, mark.first) for mark in found.marks}
    assert json.loads(stored[-1].cause) == {
        "kind": "import",
        "number": 6,
        "register": "enrolments",
        "file": "file.csv",
        "by": "BKD",
        "paper": "SK 1/2026",
    }


def test_unknown_keys_are_named_where_they_stand(database: Database, tmp_path: Path) -> None:
    """Persons, units, schedules, timetables and policies, all in one report with the file's own mistakes."""
    text = ASSIGNMENTS + "p-9,,week,,2026-01-01,\n,u-9,s-9,p-9,2026-01-01,\n,bidang-data,week,,2026-13-01,\n"
    assert mistakes(database, "assignments", write_csv(tmp_path, text)) == [
        ("file.csv:4:5", "no_such_date"),
        ("file.csv:2:1", "unknown_reference"),
        ("file.csv:3:2", "unknown_reference"),
        ("file.csv:3:3", "unknown_reference"),
        ("file.csv:3:4", "unknown_policy"),
    ]
    roster = write_csv(tmp_path, "person,2026-09-01,2026-09-02\np-0001,office,t-9\np-0001x,off,libur\n")
    assert mistakes(database, "rosters", roster) == [
        ("file.csv:3:1", "unknown_reference"),
        ("file.csv:2:3", "unknown_reference"),
    ]
    unit = write_csv(tmp_path, UNITS + "new,New,dinas-contoh,2026-01-01,\nnewer,N,new,2026-01-01,\n")
    assert put(database, "units", unit)[0].new == 2


@pytest.mark.parametrize(
    ("kind", "text", "remarks"),
    [
        ("leave", "person,kind,from,until\np-0002,annual,2026-02-27,2026-03-02\n", [("2:1", "2026-02-27")]),
        ("leave", "person,kind,from,until\np-0002,annual,2026-03-01,2026-03-02\n", []),
        ("rosters", "person,2027-02-28,2027-03-01\np-0002,off,office\n", [("2:1", "2027-03-01")]),
        (
            "assignments",
            ASSIGNMENTS + ",bidang-data,week,,2025-12-31,\n",
            [("2:2", "2025-12-31"), ("2:3", "2025-12-31")],
        ),
        ("units", UNITS + "new,N,,2026-01-01,2026-06-30\nnewer,N,new,2026-01-01,2026-07-01\n", [("3:3", "2026-07-01")]),
        (
            "schedules",
            "schedule,from,day,timetable\ns,2025-01-01,1,office\ns,2025-01-01,2,off\n",
            [("2:4", "2025-01-01")],
        ),
    ],
)
def test_dates_outside_the_validity_of_a_key_are_noted(
    database: Database, tmp_path: Path, kind: str, text: str, remarks: list[tuple[str, str]]
) -> None:
    """No mistake, since what is missing may be entered later; once, when the row is new."""
    path = write_csv(tmp_path, text)
    found, _ = put(database, kind, path)

    assert [(remark.place, remark.values["date"]) for remark in found.remarks] == [
        (f"file.csv:{place}", on) for place, on in remarks
    ]
    assert {remark.code for remark in found.remarks} <= {"outside_validity"}
    assert put(database, kind, path)[0].remarks == ()


def test_places_without_punches_are_noted_once_there_are_some(database: Database, tmp_path: Path) -> None:
    """Each once: a serial number with a letter wrong would leave a PIN without a person."""
    text = "pin,terminal,site,person,from\n17,X1,,p-0001,2026-01-01\n18,X2,,p-0001,2026-01-01\n"
    path = write_csv(tmp_path, text + "19,X2,,p-0002,2026-03-01\n19,,a,p-0002,2026-03-01\n19,,b,p-0002,2026-03-01\n")
    scan = scan_register(path, "enrolments")
    with database.writing() as connection:
        assert preview(connection, scan, POLICIES).remarks == ()
        owner = {"serial": "X1", "since": "", "gateway": "a/gw-01", "entered": "2026-09-01T00:00:00.000Z"}
        connection.execute(insert(table(OwnershipRow)).values(owner))
        found = preview(connection, scan, POLICIES).remarks

    assert [(remark.place, remark.code) for remark in found] == [
        ("file.csv:3:2", "terminal_unseen"),
        ("file.csv:6:3", "site_unseen"),
    ]


def test_a_new_version_touches_the_days_until_the_next_one(database: Database, tmp_path: Path) -> None:
    """Hours of a timetable for September, entered when those of October are known."""
    for since, due in (("2026-10-01", "08:30"), ("2026-09-01", "08:00")):
        path = write_csv(tmp_path, SLOTS + f"office,{since},in,in,{due},05:45,11:30\n")
        found, _ = put(database, "timetables", path)
        (mark,) = found.marks
        assert mark.subject == "timetable:office"
        assert mark.first <= date.fromisoformat(since)
    assert date(2026, 9, 30) <= mark.last < date(2026, 10, 10)

    withdrawn, _ = put(database, "timetables", path, withdraw=True)
    assert withdrawn.marks == found.marks


@pytest.mark.both_stores
def test_rows_are_withdrawn_as_they_were_entered(database: Database, tmp_path: Path) -> None:
    """Once; a second time changes nothing; what is not entered so is refused."""
    leave = "person,kind,from,until\np-0001,annual,2026-09-07,2026-09-09\n"
    path = write_csv(tmp_path, leave)
    assert mistakes(database, "leave", path, withdraw=True) == [("file.csv:2:1", "not_entered")]
    _, first = put(database, "leave", path)
    assert first is not None
    other = write_csv(tmp_path, leave.replace("09-09", "09-08"), "other.csv")
    assert mistakes(database, "leave", other, withdraw=True) == [("other.csv:2:1", "entered_otherwise")]

    found, entered = put(database, "leave", path, withdraw=True)
    assert (found.withdrawn, found.new, found.changed, found.unchanged) == (1, 0, 0, 0)
    assert entered is not None
    again, nothing = put(database, "leave", path, withdraw=True)
    assert (again.withdrawn, again.unchanged, nothing) == (0, 1, None)
    with database.reading() as connection:
        assert Registers(connection).rows("leave") == []
        assert len(Registers(connection, datetime.fromisoformat(first.moment)).rows("leave")) == 1


@pytest.mark.parametrize("kind", ORDER)
def test_what_others_name_is_not_withdrawn(database: Database, kind: str) -> None:
    """A unit with people, a timetable in a schedule or a roster, a schedule or a person with an assignment."""
    put(database, "rosters", TEMPLATE["rosters"])
    put(database, "assignments", TEMPLATE["assignments"])
    found = mistakes(database, kind, TEMPLATE[kind], withdraw=True)

    assert {code for _, code in found} == {"still_needed"}
    assert len(found) == 2


def test_a_register_that_nothing_names_is_withdrawn_as_a_whole(database: Database) -> None:
    """From its leaves to its root, people before units; a tree of units at once."""
    for kind in reversed(ORDER):
        found, _ = put(database, kind, TEMPLATE[kind], withdraw=True)
        assert found.withdrawn == found.entries > 0


@pytest.mark.both_stores
def test_another_import_between_check_and_entry_is_seen(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is repeated under the write lock; what then contradicts is refused."""
    ours = scan_register(write_csv(tmp_path, ENROLMENTS + "1001,X1,p-0001,2026-01-01,\n"), "enrolments")
    theirs = write_csv(tmp_path, ENROLMENTS + "1001,X1,p-0002,2026-06-01,\n", "theirs.csv")
    check = importing.preview
    calls = 0

    def slow(*arguments: object, **options: bool) -> Preview:
        nonlocal calls
        calls += 1
        found = check(*arguments, **options)  # type: ignore[arg-type]  # handed on as they came
        if calls == 1:
            put(database, "enrolments", theirs)
        return found

    monkeypatch.setattr(importing, "preview", slow)
    with pytest.raises(RegisterFileError, match="p-0002"):
        enter_file(database, ours, POLICIES, PAPER, NOW)
    assert calls == 3


@pytest.mark.both_stores
def test_rows_are_entered_with_their_marks_or_not_at_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails on the way to the end of the transaction takes all of it back."""
    with database.reading() as connection:
        before = last_row(connection), len(waiting(connection, 1000))

    def fail(*_arguments: object) -> int:
        raise StoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "mark", fail)
        with pytest.raises(StoreError):
            put(database, "leave", TEMPLATE["leave"])

    with database.reading() as connection:
        assert (last_row(connection), len(waiting(connection, 1000))) == before
    assert put(database, "leave", TEMPLATE["leave"])[0].new == 3


def test_a_preview_stores_nothing(database: Database) -> None:
    """A dry run reads only."""
    with database.reading() as connection:
        before = last_row(connection)
        found = preview(connection, scan_register(TEMPLATE["leave"], "leave"), POLICIES)
        assert found.new == 3
        assert last_row(connection) == before


def test_one_mistake_in_a_large_file_refuses_all_of_it(database: Database, tmp_path: Path) -> None:
    """One that only the store shows."""
    rows = [f'p{number},"Nama, ""{number}""",pns,bidang-data,2026-01-01,\n' for number in range(20_000)]
    rows.insert(17_000, "p-0002,Contoh,pns,dinas-contoh,2026-06-01,\n")

    assert mistakes(database, "people", write_csv(tmp_path, PEOPLE + "".join(rows))) == [
        ("file.csv:17002:5", "contradicts_stored")
    ]


@pytest.mark.both_stores
def test_a_file_of_more_rows_than_one_statement_takes_is_imported(database: Database, tmp_path: Path) -> None:
    """And compared as a whole when it comes again."""
    rows = [f"p{number},Nama,pns,bidang-data,2026-01-01,\n" for number in range(2 * BATCH + 1)]
    scan = scan_register(write_csv(tmp_path, PEOPLE + "".join(rows)), "people")

    assert enter_file(database, scan, POLICIES, PAPER, NOW)[0].new == len(rows)
    assert enter_file(database, scan, POLICIES, PAPER, NOW)[0].unchanged == len(rows)


def test_names_are_kept_as_they_are_written_but_for_invisible_marks(database: Database, tmp_path: Path) -> None:
    """Commas, quotation marks and other scripts stay; marks of direction do not; formulas are refused."""
    text = PEOPLE + 'p-7,"O\'Neil, ""Si"" \u202eأحمد\u202c; DROP",pns,,2026-01-01,2026-01-01\n'
    put(database, "people", write_csv(tmp_path, text))
    with database.reading() as connection:
        (row,) = Registers(connection).rows("people", ["person:p-7"])
    assert row.record.name == 'O\'Neil, "Si" أحمد; DROP'

    formula = write_csv(tmp_path, PEOPLE + 'p-8,"=HYPERLINK(1)",pns,,2026-01-01,\n')
    assert mistakes(database, "people", formula) == [("file.csv:2:2", "looks_like_formula")]
