"""XLSX files as tables; a formula, an error or a date stays what it is, and nothing outside the file is opened."""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from openpyxl import DEFUSEDXML, load_workbook
from openpyxl.utils import get_column_letter, range_boundaries

from central.registers.problems import Problem, RegisterFileError, printable, refuse
from central.registers.rows import ErrorValue, Formula, Merged, Row, Table, Value, check_bounds

if not DEFUSEDXML:
    raise ImportError("openpyxl must read XML with defusedxml, which refuses entities")

MAX_UNPACKED = 256 * 2**20
"""Bytes of all parts of a workbook together."""
MAX_PARTS = 2000
MAX_MERGED = 10_000
MAX_BLANK_ROWS = 1_100_000
"""Rows that are looked at, blank ones included; a sheet of Excel has 1,048,576."""
_CHUNK = 2**20
_OVERLAP = 400
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]{0,200}?ref="([A-Z]{1,3}[0-9]{1,7}:[A-Z]{1,3}[0-9]{1,7})"')
_HIDDEN = re.compile(rb'<(?:\w+:)?(?:row|col)\s[^>]{0,300}?\shidden="(?:1|true)"')


def read_workbook(content: bytes, name: str, sheet: str | None) -> Table:
    """Return the only visible sheet that holds something, or the one named; raise :class:`RegisterFileError`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_archive(archive, name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # openpyxl warns of what it does not keep, such as drop-down lists
                return _read(archive, content, name, sheet)
    except RegisterFileError:
        raise
    except Exception:  # noqa: BLE001 - zipfile, expat and openpyxl raise anything on a damaged file
        raise refuse(name, "damaged_xlsx") from None


def _check_archive(archive: zipfile.ZipFile, name: str) -> None:
    parts = archive.infolist()
    names = {part.filename for part in parts}
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED:
        raise refuse(name, "unpacks_too_large", limit=f"{MAX_UNPACKED >> 20} MB")
    if "xl/workbook.bin" in names:
        raise refuse(name, "xlsb")
    if "[Content_Types].xml" not in names or not any(part.startswith("xl/") for part in names):
        opendocument = "content.xml" in names and "mimetype" in names
        word = any(part.startswith("word/") for part in names)
        raise refuse(name, "opendocument" if opendocument else "word" if word else "zip")


def _read(archive: zipfile.ZipFile, content: bytes, name: str, sheet: str | None) -> Table:
    book: Any = load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
    visible = [found for found in book.worksheets if found.sheet_state == "visible"]
    remarks = [
        Problem(name, "hidden_sheet", {"sheet": found.title[:40]})
        for found in book.worksheets
        if found.sheet_state != "visible" and found.title != sheet
    ]
    if sheet is not None:
        chosen = [found for found in book.worksheets if found.title == sheet]
        if not chosen:
            raise refuse(name, "no_such_sheet", sheets=_titles(book.worksheets))
    else:
        chosen = [found for found in visible if _holds_something(found)]
        if not chosen:
            raise refuse(name, "only_hidden_sheets" if len(visible) < len(book.worksheets) else "empty")
        if len(chosen) > 1:
            raise refuse(name, "several_sheets", sheets=_titles(chosen))
    found = chosen[0]
    title = printable(found.title[:40])
    rows = list(_rows(found, name))
    merged, hidden = _marks(archive, found._worksheet_path)  # noqa: SLF001 - openpyxl has no other name for it
    if hidden:
        remarks.append(Problem(f"{name}!{title}", "hidden_rows", {}))
    return Table(
        name,
        rows,
        lambda number, column: f"{name}!{title}!{get_column_letter(min(column, 16_383) + 1)}{number}",
        merged,
        tuple(remarks),
    )


def _titles(sheets: list[Any]) -> str:
    return ", ".join(found.title[:40] for found in sheets[:20])


def _holds_something(sheet: Any) -> bool:
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(), 1):
        if any(_value(cell) not in (None, "") for cell in row):
            return True
        if number > MAX_BLANK_ROWS:
            break
    return False


def _rows(sheet: Any, name: str) -> Iterator[Row]:
    sheet.reset_dimensions()  # what a sheet says of its own size may be wrong
    cells = found = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > MAX_BLANK_ROWS:
            raise refuse(name, "too_many_rows", limit=str(MAX_BLANK_ROWS))
        values = [_value(cell) for cell in row]
        while values and (values[-1] is None or values[-1] == ""):
            values.pop()
        if not values:
            continue
        cells += sum(value is not None for value in values)
        check_bounds(name, f"{name}!{printable(sheet.title[:40])}!A{number}", found, len(values), cells)
        found += 1
        yield Row(number, tuple(values))


def _value(cell: Any) -> Value:
    value: Any = cell.value
    if value is None:
        return None
    if cell.data_type == "f":
        return Formula(str(value) if isinstance(value, str) else "array")
    if cell.data_type == "e":
        return ErrorValue(str(value))
    if isinstance(value, str) and not value.strip():
        return None
    found: Value = value
    return found


def _marks(archive: zipfile.ZipFile, part: str) -> tuple[tuple[Merged, ...], bool]:
    """Return a sheet's merged cells and whether rows or columns are hidden, which read-only sheets do not have."""
    merged: dict[str, Merged] = {}
    hidden = False
    rest = b""
    with archive.open(part.lstrip("/")) as file:
        while (chunk := file.read(_CHUNK)) and len(merged) < MAX_MERGED:
            window = rest + chunk
            hidden = hidden or _HIDDEN.search(window) is not None
            for match in _MERGED.finditer(window):
                reference = match[1].decode()
                merged[reference] = Merged(reference, range_boundaries(reference)[3] or 0)
            rest = window[-_OVERLAP:]
    return tuple(merged.values()), hidden
