"""What a batch of messages looks up is found by an index: its cost does not grow with the events that are held."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from tests.central.store.office import Centre

GROWING = ("event", "forgotten", "punch", "claim", "stream", "gap")


def test_ingest_reads_no_whole_table(tmp_path: Path) -> None:
    """Several keys of several columns are what SQLite would read everything for."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    messages = centre.punches("1001", "2026-08-31 07:45:00", "2026-08-31 16:01:00", "2026-08-31 16:02:00")
    centre.receive(*messages)
    statements: list[tuple[str, Any]] = []

    def note(_c: Connection, _cursor: object, statement: str, parameters: Any, _x: object, many: bool) -> None:
        if not many and statement.startswith(("SELECT", "DELETE", "UPDATE", "WITH")):
            statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        centre.receive(*messages)
        centre.punched("1001", "2026-08-31 17:00:00", "2026-08-31 17:01:00")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    with centre.database.reading() as connection:
        steps = [
            (statement, row[-1])
            for statement, parameters in statements
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    centre.close()

    assert any("SEARCH event" in step for _, step in steps)
    assert [one for one in steps if one[1].startswith("SCAN ") and one[1].split()[1] in GROWING] == []
