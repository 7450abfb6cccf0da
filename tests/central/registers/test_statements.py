"""Rows as statements: identity, keys, dates and content; and back again."""

import csv
import io
from datetime import date
from pathlib import Path

import pytest

from central.registers.kinds import KINDS
from central.registers.statements import JOINED, compose, pin_key, records_of, states_the_same
from central.registers.write import cells_of
from tests.central.registers.files import TEMPLATES, register, taken, write_csv

TEMPLATE = {path.stem: path for path in TEMPLATES.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_content_holds_the_records(kind: str) -> None:
    """Every row of every template comes back from the statements that it made, assignments in their two parts."""
    lines = register(TEMPLATE[kind], kind).lines
    found = compose(kind, lines)
    records = [record for source in found for record in records_of(kind, source.statement.content)]

    if kind == "assignments":
        assert [(one.schedule, one.policy) for one in records] == [("week", None), (None, "starter"), ("ward", None)]
        return
    assert sorted(map(repr, records)) == sorted(repr(line.record) for line in lines)
    assert (len(found) < len(lines)) == (kind in {"timetables", "schedules"})
    assert kind in JOINED or all(len(source.lines) == 1 for source in found)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("rosters", "enrolments")])
def test_records_are_written_as_a_file_holds_them(tmp_path: Path, kind: str) -> None:
    """What is written reads as the same record."""
    records = taken(TEMPLATE[kind], kind)
    rows = [cells_of(kind, record) for record in records]
    heads = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, heads)
    writer.writeheader()
    writer.writerows(rows)

    assert taken(write_csv(tmp_path, out.getvalue()), kind) == records


def test_the_slots_of_a_version_are_one_statement(tmp_path: Path) -> None:
    """In the file's order, which a plan has too; the days of a schedule are in the week's."""
    heads = "timetable,from,slot,kind,window from,window until\n"
    text = heads + "a,2026-01-01,out,out,11:31,19:00\na,2026-02-01,in,in,5:00,11:30\na,2026-01-01,in,in,5:00,11:30\n"
    first, second = (
        source.statement for source in compose("timetables", register(write_csv(tmp_path, text), "timetables").lines)
    )

    assert [record.slot for record in records_of("timetables", first.content)] == ["out", "in"]
    assert (first.subject, first.since, first.until) == ("timetable:a", date(2026, 1, 1), None)
    assert second.since == date(2026, 2, 1)

    days = ["sun", "sat", "fri", "thu", "wed", "tue", "mon"]
    text = "schedule,from,day,timetable\n" + "".join(f"w,2026-01-01,{day},off\n" for day in days)
    (week,) = compose("schedules", register(write_csv(tmp_path, text), "schedules").lines)
    assert [record.day[1] for record in records_of("schedules", week.statement.content)] == list(range(7))


@pytest.mark.parametrize(
    ("kind", "text", "dates"),
    [
        ("leave", "person,kind,from,until\np,annual,2026-01-05,\n", ("2026-01-05", "2026-01-05")),
        ("leave", "person,kind,from,begin,end\np,annual,2026-01-05,22:00,25:00\n", ("2026-01-05", "2026-01-06")),
        ("orders", "person,date,begin,end\np,2026-01-31,22:00,26:00\n", ("2026-01-31", "2026-02-01")),
        ("corrections", "person,date,time,by,paper\np,2026-01-31,31:00,A,B\n", ("2026-01-31", "2026-02-01")),
        ("calendar", "date,kind,name\n2026-01-01,ramadan,A\n", ("2026-01-01", "2026-01-01")),
        ("calendar", "date,until,kind,name\n2026-01-01,2026-01-30,ramadan,A\n", ("2026-01-01", "2026-01-30")),
        ("people", "key,name,employment,from\np,A,pns,2026-01-01\n", ("2026-01-01", None)),
    ],
)
def test_a_statement_covers_the_dates_that_its_hours_reach(
    tmp_path: Path, kind: str, text: str, dates: tuple[str, str | None]
) -> None:
    """Times from 24:00 on lie on the next date."""
    (source,) = compose(kind, register(write_csv(tmp_path, text), kind).lines)
    first, last = dates

    assert source.statement.since == date.fromisoformat(first)
    assert source.statement.until == (None if last is None else date.fromisoformat(last))


def test_keys_of_pins_are_never_those_of_another() -> None:
    """Serial numbers and PINs may hold every printable sign but the blank."""
    assert pin_key("B#C", "A", None) != pin_key("C", "A#B", None)
    assert pin_key("1", None, "x") != pin_key("1", "x", None)


def test_content_of_a_version_before_a_column_existed_states_the_same() -> None:
    """A field that is missing is empty; only what differs in meaning differs."""
    (statement, *_) = (source.statement for source in compose("people", register(TEMPLATE["people"], "people").lines))
    older = statement._replace(content=statement.content.replace('"nip":null,', ""))
    assert older.content != statement.content
    assert states_the_same(older, statement)
    assert not states_the_same(statement._replace(content=statement.content.replace("Satu", "Dua")), statement)


def test_the_order_of_suspects_makes_no_other_decision(tmp_path: Path) -> None:
    """They are a set."""
    heads = "decision,person,suspect,from,by,paper\n"
    rows = (f"accept,p,{suspects},2026-01-01,A,B\n" for suspects in ("drift step", "step;drift; drift"))
    one, other = (
        compose("decisions", register(write_csv(tmp_path, heads + row), "decisions").lines)[0].statement for row in rows
    )
    assert one == other
