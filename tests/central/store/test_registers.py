"""Registers in a real database: what counts, as known now and at a moment, found by subject and by other key."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, inspect

from central.registers.kinds import Correction, Enrolment, Person, TimetableSlot
from central.registers.rules import Line
from central.registers.statements import compose, pin_key
from central.store.engine import METADATA, Database
from central.store.registers import Entered, Entry, Registers, enter
from tests.central.fresh import fresh_database

BOTH_STORES = True

JANUARY, SEPTEMBER = date(2026, 1, 1), date(2026, 9, 1)
NOON = datetime(2026, 9, 5, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Yield a new database."""
    opened = Database(fresh_database(tmp_path / "centre.db"))
    yield opened
    opened.close()


def put(
    database: Database,
    kind: str,
    *records: object,
    at: datetime = NOON,
    withdrawn: bool = False,
    paper: str = "SK 1/2026",
) -> Entered:
    """Enter records as one file."""
    statements = [
        source.statement for source in compose(kind, [Line("", record, lambda _name: "") for record in records])
    ]
    with database.writing() as connection:
        return enter(connection, Entry(kind, "file.csv", "00", "BKD", paper, withdrawn), statements, at)


def person(key: str = "p-1", *, unit: str | None = "a", since: date = JANUARY, until: date | None = None) -> Person:
    """Return a person."""
    return Person(key, "Contoh", "pns", unit, None, since, until)


def enrolled(who: str, *, since: date = JANUARY, until: date | None = None) -> Enrolment:
    """Return an enrolment of the PIN 1001."""
    return Enrolment("1001", "X1", None, who, since, until)


def slot(name: str, due: int, since: date) -> TimetableSlot:
    """Return a slot of the timetable ``office``."""
    return TimetableSlot("office", since, name, name, due, due - 3600, due + 3600, 0, 1)


def test_the_last_entered_counts_and_nothing_is_lost(database: Database) -> None:
    """A PIN passes on, entered later: before that moment the centre knew otherwise, and can still say so."""
    put(database, "enrolments", enrolled("p-a"))
    ninth = date(2026, 9, 9)
    later = NOON + timedelta(days=7)
    put(database, "enrolments", enrolled("p-a", until=ninth), enrolled("p-b", since=date(2026, 9, 10)), at=later)

    with database.reading() as connection:
        now = Registers(connection).rows("enrolments")
        before = Registers(connection, known_at=later - timedelta(milliseconds=1)).rows("enrolments")
        never = Registers(connection, known_at=NOON - timedelta(milliseconds=1)).rows("enrolments")

    assert [(row.record.person, row.since, row.until) for row in now] == [
        ("p-a", JANUARY, ninth),
        ("p-b", date(2026, 9, 10), None),
    ]
    assert [(row.record.person, row.until) for row in before] == [("p-a", None)]
    assert never == []
    assert (now[0].by, now[0].paper, now[0].file) == ("BKD", "SK 1/2026", "file.csv")
    assert now[0].entered == "2026-09-12T12:00:00.000Z"


def test_a_row_is_found_by_both_keys_also_when_they_changed(database: Database) -> None:
    """The same PIN, place and date, now another person's: the former one has no enrolment."""
    put(database, "enrolments", enrolled("p-a"))
    put(database, "enrolments", enrolled("p-b"))

    with database.reading() as connection:
        registers = Registers(connection)
        place = pin_key("1001", "X1", None)
        assert registers.rows("enrolments", ["person:p-a"]) == []
        (row,) = registers.rows("enrolments", ["person:p-b", "person:p-c"])
        assert registers.rows("enrolments", [place], by="other") == [row]
        assert registers.rows("enrolments", []) == []
        assert [row.record.person for row in registers.mentioning([place])] == ["p-b"]


def test_what_is_withdrawn_states_nothing_and_may_come_again(database: Database) -> None:
    """Withdrawing is a row too, with its moment, name and paper."""
    put(database, "people", person("p-1"), person("p-2"))
    put(database, "people", person("p-1"), at=NOON + timedelta(hours=1), withdrawn=True)
    put(database, "people", person("p-1"), at=NOON + timedelta(hours=2), paper="SK 2/2026")

    with database.reading() as connection:
        keys = {}
        for hours in (0, 1, 2):
            registers = Registers(connection, NOON + timedelta(hours=hours))
            keys[hours] = [row.record.key for row in registers.rows("people")]
            known = registers.known("people", ["person:p-1", "person:p-2", "person:p-3"])
            assert known == {f"person:{key}" for key in keys[hours]}
        identity = Registers(connection).rows("people", ["person:p-1"])[0].statement.identity
        assert set(Registers(connection, NOON + timedelta(hours=1)).withdrawn("people", [identity])) == {identity}
        assert Registers(connection).withdrawn("people", [identity]) == {}
    assert keys == {0: ["p-1", "p-2"], 1: ["p-2"], 2: ["p-1", "p-2"]}


def test_a_version_ends_where_the_next_one_begins(database: Database) -> None:
    """Hours change on paper later; between two dates those versions are found that are valid on one of them."""
    put(database, "timetables", slot("in", 27_000, JANUARY), slot("out", 57_600, JANUARY))
    put(database, "timetables", slot("in", 28_800, SEPTEMBER), at=NOON + timedelta(hours=1))

    with database.reading() as connection:
        registers = Registers(connection)
        august = date(2026, 8, 31)
        both = registers.rows("timetables", ["timetable:office"], august, SEPTEMBER)
        assert [(row.since, row.until, len(row.records)) for row in both] == [
            (JANUARY, august, 2),
            (SEPTEMBER, None, 1),
        ]
        assert registers.rows("timetables", None, last=august) == both[:1]
        assert registers.rows("timetables", first=SEPTEMBER) == both[1:]
        assert Registers(connection, NOON).rows("timetables", first=SEPTEMBER)[0].since == JANUARY


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (JANUARY, None, True),
        (None, JANUARY - timedelta(days=1), False),
        (SEPTEMBER, SEPTEMBER, True),
        (SEPTEMBER + timedelta(days=1), None, False),
    ],
)
def test_rows_are_found_by_dates(database: Database, first: date | None, last: date | None, found: bool) -> None:
    """Both ends of a validity are included."""
    put(database, "people", person(until=SEPTEMBER))

    with database.reading() as connection:
        assert bool(Registers(connection).rows("people", ["person:p-1"], first, last)) is found


def test_many_persons_are_read_with_few_statements(database: Database) -> None:
    """Twelve thousand persons at once, of whom two thousand moved."""
    keys = [f"p-{number}" for number in range(12_000)]
    put(database, "people", *map(person, keys))
    put(database, "people", *(person(key, unit="b") for key in keys[:2_000]))

    with database.reading() as connection:
        statements: list[str] = []
        event.listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2]))
        found = Registers(connection).rows("people", [f"person:{key}" for key in keys], SEPTEMBER, SEPTEMBER)
        assert len(statements) == 2
        of_unit = Registers(connection).rows("people", ["unit:b"], by="other")
    assert len(found) == 12_000
    assert len(of_unit) == 2_000


@pytest.mark.parametrize("known_at", [None, NOON])
@pytest.mark.file_only
def test_no_look_up_reads_the_whole_register(database: Database, known_at: datetime | None) -> None:
    """Each goes by an index, so that its cost does not grow with the office; rosters also by date."""
    put(database, "people", *(person(f"p-{number}") for number in range(100)))
    with database.reading() as connection:
        registers = Registers(connection, known_at)
        statements: list[tuple[str, tuple[object, ...]]] = []
        event.listen(connection, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
        registers.rows("people", ["person:p-1"], SEPTEMBER, SEPTEMBER)
        registers.rows("rosters", ["person:p-1"], SEPTEMBER, SEPTEMBER)
        registers.rows("people", ["unit:a"], by="other")
        registers.of_identities("people", ["[]"])
        registers.withdrawn("people", ["[]"])
        registers.known("people", ["person:p-1"])
        registers.mentioning(["unit:a"])
        executed = tuple(statements)
        plans = [
            [str(step[3]) for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
            for text, values in executed
        ]
    assert len(plans) == 9
    for plan in plans:
        assert not [step for step in plan if step.startswith("SCAN") and not step.startswith("SCAN listed")]
        assert any(key in plan[0] for key in ("(subject=?", "(other=?", "identity=?", "INTEGER PRIMARY KEY (rowid=?)"))
    assert "subject=? AND kind=? AND valid_from>? AND valid_from<?" in plans[2][0]


@pytest.mark.parametrize("hours", [0, 24, 95, 96])
def test_a_correction_is_found_on_all_dates_that_its_time_reaches(database: Database, hours: int) -> None:
    """A time of day may lie up to four dates later."""
    put(database, "corrections", Correction("p-1", JANUARY, hours * 3600, "A", "B", None, None))
    with database.reading() as connection:
        registers = Registers(connection)
        reached = [day for day in range(-1, 6) if registers.rows("corrections", first=JANUARY + timedelta(days=day))]
    assert reached == list(range(-1, hours // 24 + 1))


def test_moments_of_entry_never_run_backwards(database: Database) -> None:
    """The clock was a day ahead, and is right again: what is entered now is known later than what was entered then."""
    ahead = NOON + timedelta(days=1)
    assert put(database, "people", person("p-1"), at=ahead) == Entered(1, "2026-09-06T12:00:00.000Z", None)
    second = put(database, "people", person("p-1", unit="b"), at=NOON)
    third = put(database, "people", person("p-1", unit="c"), at=NOON)

    assert second == Entered(2, "2026-09-06T12:00:00.001Z", "2026-09-05T12:00:00.000Z")
    assert third.moment == "2026-09-06T12:00:00.002Z"
    with database.reading() as connection:
        assert Registers(connection, ahead).rows("people")[0].record.unit == "a"
        assert Registers(connection, ahead + timedelta(milliseconds=1)).rows("people")[0].record.unit == "b"
        assert Registers(connection).rows("people")[0].record.unit == "c"


def test_the_migration_makes_the_tables_that_the_program_uses(database: Database) -> None:
    """Columns, and indexes with their columns."""
    with database.reading() as connection:
        seen = inspect(connection)
        for name in ("register_import", "register_row"):
            table = METADATA.tables[name]
            columns = {column["name"]: column["nullable"] for column in seen.get_columns(name)}
            assert columns == {column.name: column.nullable for column in table.columns}
            indexes = {index["name"]: index["column_names"] for index in seen.get_indexes(name)}
            assert indexes == {index.name: [column.name for column in index.columns] for index in table.indexes}
