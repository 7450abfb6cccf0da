"""What is looked up by keys is found by an index: its cost does not grow with the years that are stored."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from central.json_text import load_json
from central.store import marks, outbox, recorded, results
from central.store.recorded import Unattributed
from central.timesheet.outcome import outcome_of
from tests.central.store.office import Centre

ON = date(2026, 8, 31)


def test_no_lookup_reads_a_whole_table(tmp_path: Path) -> None:
    """Several keys of several columns are what SQLite would read everything for."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    centre.punched("1001", "2026-08-31 07:45:00")
    centre.at("2026-09-01 05:00")
    statements: list[tuple[str, Any]] = []
    (last,) = centre.history("a", "2026-08-31")[-1:]
    other = last._replace(person="b", revision=last.revision + 5)
    unknown = [Unattributed("site", "2026-08-31", "S1", str(pin)) for pin in range(3)]
    with centre.database.writing() as connection:

        def note(_c: Connection, _cursor: object, statement: str, parameters: Any, _x: object, many: bool) -> None:
            if not many and statement.startswith(("SELECT", "DELETE")):
                statements.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        results.add(
            connection, [last._replace(revision=last.revision + 5), other], [outcome_of(load_json(last.content))] * 2
        )
        keys = [("a", ON, 1), ("b", ON, 1)]
        results.exactly(connection, keys)
        results.contents(connection, keys)
        results.of_unit(connection, "dinas", ON)
        results.newest_date(connection, "dinas")
        marks.set_due(connection, {("a", ON): 1, ("b", ON): 2})
        recorded.set_unattributed(connection, unknown, unknown)
        outbox.finish(connection, [1, 2])
        event.remove(connection, "before_cursor_execute", note)
        plans = [
            (statement, [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)])
            for statement, parameters in statements
        ]
    centre.close()

    assert len(plans) >= 8
    tables = ("result", "due", "unattributed", "outbox")
    scans = [
        (statement, step)
        for statement, steps in plans
        for step in steps
        if step.startswith("SCAN ") and step.split()[1] in tables
    ]
    assert scans == []
