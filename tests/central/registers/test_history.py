"""Random files of enrolments, entered and withdrawn, against a model that looks at every date by itself."""

import csv
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central.registers.importing import Paper, enter_file
from central.registers.kinds import Enrolment
from central.registers.problems import RegisterFileError
from central.registers.read import scan_register
from central.store.engine import Database
from central.store.registers import Registers
from central.timesheet.affected import Mark

FIRST = date(2026, 1, 1)
DATES = [FIRST + timedelta(days=number) for number in range(9)]
NOW = datetime(2026, 9, 5, tzinfo=UTC)
State = dict[tuple[str, date], Enrolment]


@st.composite
def enrolments(draw: st.DrawFn) -> Enrolment:
    """Return an enrolment of one of two PINs at one terminal."""
    since = draw(st.sampled_from(DATES))
    until = draw(st.none() | st.sampled_from([day for day in DATES if day >= since]))
    return Enrolment(draw(st.sampled_from("12")), "X1", None, draw(st.sampled_from("ab")), since, until)


def whose(state: State) -> dict[tuple[str, date], list[str]]:
    """Return the persons of each PIN on each date."""
    found: dict[tuple[str, date], list[str]] = {}
    for row in state.values():
        for day in DATES:
            if row.since <= day and (row.until is None or day <= row.until):
                found.setdefault((row.pin, day), []).append(row.person)
    return found


def after(state: State, withdrawn: State, rows: Sequence[Enrolment], withdraw: bool) -> State | None:
    """Return the state after a file, or None where it has to be refused."""
    keys = [(row.pin, row.since) for row in rows]
    if len(set(keys)) < len(keys):
        return None
    if withdraw:
        for key, row in zip(keys, rows, strict=True):
            if state.get(key, withdrawn.get(key)) != row:
                return None
        if any(len(people) > 1 for people in whose(dict(zip(keys, rows, strict=True))).values()):
            return None
        return {key: row for key, row in state.items() if key not in keys}
    new = state | dict(zip(keys, rows, strict=True))
    return None if any(len(people) > 1 for people in whose(new).values()) else new


def covered(marks: Sequence[Mark], before: State, new: State) -> None:
    """Every person of a PIN whose dates change has a mark on each of them."""
    then, now = whose(before), whose(new)
    for key in then.keys() | now.keys():
        if then.get(key) != now.get(key):
            for person in (*then.get(key, ()), *now.get(key, ())):
                assert any(mark.subject == f"person:{person}" and mark.first <= key[1] <= mark.last for mark in marks)
            assert any(mark.subject == f"terminal:X1 {key[0]}" and mark.first <= key[1] <= mark.last for mark in marks)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.lists(enrolments(), min_size=1, max_size=3), st.booleans()), max_size=8))
def test_what_is_known_is_what_was_entered_until_then(files: list[tuple[list[Enrolment], bool]]) -> None:
    """Refused where one PIN would be two persons', else taken; every earlier state can still be read."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder, "centre.db"), create=True)
        people = Path(folder, "people.csv")
        people.write_text("key,name,employment,from\na,A,pns,2026-01-01\nb,B,pns,2026-01-01\n")
        enter_file(database, scan_register(people, "people"), {}, Paper("A", "B"), NOW)
        state: State = {}
        withdrawn: State = {}
        history: list[tuple[str, State]] = []
        for rows, withdraw in files:
            path = Path(folder, "enrolments.csv")
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("pin", "terminal", "person", "from", "until"))
                writer.writerows((row.pin, row.terminal, row.person, row.since, row.until or "") for row in rows)
            new = after(state, withdrawn, rows, withdraw)
            if new is None:
                with pytest.raises(RegisterFileError):
                    enter_file(database, scan_register(path, "enrolments"), {}, Paper("A", "B"), NOW, withdraw=withdraw)
                continue
            found, entered = enter_file(
                database, scan_register(path, "enrolments"), {}, Paper("A", "B"), NOW, withdraw=withdraw
            )
            assert (entered is None) == (new == state)
            covered(found.marks, state, new)
            for row in rows:
                if withdraw:
                    withdrawn[row.pin, row.since] = row
                else:
                    withdrawn.pop((row.pin, row.since), None)
            state = new
            if entered is not None:
                history.append((entered.moment, state))
        with database.reading() as connection:
            for moment, known in history:
                stored = Registers(connection, datetime.fromisoformat(moment)).rows("enrolments")
                assert {(row.record.pin, row.since): row.record for row in stored} == known
        database.close()
