"""A month's sheet of 10,000 people, against xlsxwriter writing the same cells from a list; and closing that month."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.figures import TIMES, Figure, Plan, yes_no
from benchmarks.recompute import PEOPLE, START, WORKDAYS, build
from benchmarks.rig import memory_kib

AIM_SHEET, AIM_MB, AIM_LOCK = 3, 200, 3
UNIT = "dinas"
AFTER = datetime(2026, 10, 2, tzinfo=UTC)
"""When the month is over."""


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the sheet, its memory, and how long a closing keeps others from writing."""
    people = plan.size(PEOPLE)
    path = plan.fresh("sheets") / "centre.db"
    build(path, people, [START + timedelta(days=number) for number in range(WORKDAYS)]).close()
    _alone("from benchmarks.recompute import judge_file; judge_file", path, WORKDAYS)
    yield from _recap(path, people, "a month's recap")
    bare, locked, whole = _alone("from benchmarks.sheets import close_file; close_file", path)
    yield Figure(
        f"closing a month of {people:,} people: time in which nothing else is written, of {whole:.1f} s in all",
        baseline=f"{bare:.2f} s the same rows written and committed",
        ours=f"{locked:.2f} s",
        ratio=f"{locked / bare:.1f} {TIMES}",
        aim=f"at most {AIM_LOCK} {TIMES}",
        met=yes_no(locked <= AIM_LOCK * bare),
    )
    yield from _recap(path, people, "the recap of that month once it is closed")


def _recap(path: Path, people: int, what: str) -> Iterator[Figure]:
    """Measure a recap and its memory."""
    alone, ours, cells, megabytes = _alone("from benchmarks.sheets import sheet_file; sheet_file", path)
    yield Figure(
        f"{what}, {people:,} people as XLSX, {cells:,.0f} cells, from the database; processor",
        baseline=f"{alone:.2f} s xlsxwriter, the same cells from a list",
        ours=f"{ours:.2f} s",
        ratio=f"{ours / alone:.1f} {TIMES}",
        aim=f"at most {AIM_SHEET} {TIMES}",
        met=yes_no(ours <= AIM_SHEET * alone),
    )
    yield Figure(
        f"memory of {what}, {people:,} people",
        ours=f"{megabytes:.0f} MB",
        aim=f"at most {AIM_MB} MB",
        met=yes_no(megabytes <= AIM_MB),
    )


def _alone(call: str, path: Path, *arguments: object) -> list[float]:
    """Run a function in a process of its own; return the numbers that it prints."""
    program = f"{call}({', '.join(map(repr, (str(path), *arguments)))})"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    return [float(number) for number in output.stdout.split()]


def sheet_file(path: str) -> None:
    """Print the processor time of xlsxwriter alone and of the command, the number of cells, and its memory in MB."""
    from central.cli import main  # noqa: PLC0415 - its memory counts

    target = Path(path).with_suffix(".xlsx")
    target.unlink(missing_ok=True)  # the command replaces no file
    begun = time.process_time()
    with suppress(SystemExit), redirect_stdout(io.StringIO()):
        main(["sheet", "recap", UNIT, START.isoformat(), "--db", path, "-o", str(target)])
    ours = time.process_time() - begun
    assert target.exists(), "the command has written no sheet"
    _, peak_kib = memory_kib()
    from openpyxl import load_workbook  # noqa: PLC0415 - after the memory was looked at

    rows = [list(row) for row in load_workbook(target, read_only=True).worksheets[0].iter_rows(values_only=True)]
    begun = time.process_time()
    _write_alone(rows)
    print(time.process_time() - begun, ours, sum(map(len, rows)), peak_kib / 1024)


def _write_alone(rows: list[list[Any]]) -> None:
    import xlsxwriter  # noqa: PLC0415 - in the extra `centre`

    with xlsxwriter.Workbook(io.BytesIO(), {"constant_memory": True}) as book:
        page, form = book.add_worksheet(), book.add_format({"border": 1, "valign": "top"})
        for number, row in enumerate(rows):
            page.write_row(number, 0, row, form)


def close_file(path: str) -> None:
    """Close the month; print the seconds of the bare rows, of the writing transaction, and of everything."""
    from sqlalchemy import insert  # noqa: PLC0415 - as above

    from central.closing import close as closing  # noqa: PLC0415
    from central.policy.office import OfficePolicies  # noqa: PLC0415
    from central.sheets.settings import Settings  # noqa: PLC0415
    from central.store.closings import CLOSED, CLOSING, KEPT_FILE  # noqa: PLC0415
    from central.store.engine import Database  # noqa: PLC0415

    database = Database(Path(path))
    begun = time.perf_counter()
    with database.reading() as connection:
        read = closing.draft(connection, OfficePolicies(), UNIT, START, AFTER)
        prepared = closing.prepare(connection, read, "a", "b", AFTER, with_open=True, settings=Settings())
    locked = time.perf_counter()
    with database.writing() as connection:
        number = prepared.store(connection)
    whole, locked = time.perf_counter() - begun, time.perf_counter() - locked
    with database.reading() as connection:
        rows = {
            table: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in (CLOSING, CLOSED, KEPT_FILE)
        }
    bare = Database(Path(path).with_suffix(".bare.db"), create=True)
    begun = time.perf_counter()
    with bare.writing() as connection:
        for table, found in rows.items():
            connection.execute(insert(table), found)
    print(time.perf_counter() - begun, locked, whole)
    assert number
    bare.close()
    database.close()
