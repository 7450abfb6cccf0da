"""Sheets as files: XLSX in constant memory, CSV for other programs, HTML that prints on A4.

Equal sheets are equal bytes.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO

import jinja2

from central.sheets.messages import MESSAGES
from central.sheets.settings import Output, SettingsError, Table
from central.sheets.sheet import Cell, Sheet
from central.texts import Language
from central.words import print_decimal

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet that reads CSV takes for the beginning of a formula."""
_MADE = datetime(2000, 1, 1)  # noqa: DTZ001 - xlsxwriter wants it naive; one moment for all, so equal sheets are equal
_HEAD_ROWS = 2


def xlsx(sheet: Sheet, file: io.BufferedIOBase) -> int:
    """Write a workbook row by row; return how many rows. Needs the extra `centre`; raises ImportError without it."""
    import xlsxwriter  # noqa: PLC0415 - in the extra `centre`

    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, options) as book:
        book.set_properties({"title": sheet.title, "created": _MADE})
        page = book.add_worksheet(sheet.name[:31])
        page.set_landscape()
        page.set_paper(9)  # A4
        page.fit_to_pages(1, 0)
        page.set_footer("&L&A&R&P / &N")
        formats = {
            "title": book.add_format({"bold": True, "font_size": 14}),
            "head": book.add_format(
                {"bold": True, "border": 1, "text_wrap": True, "valign": "top", "bg_color": "#E8EDF2"}
            ),
            "cell": book.add_format({"border": 1, "valign": "top"}),
            "sum": book.add_format({"border": 1, "bold": True}),
        }
        row = 0
        for number, text in enumerate((sheet.title, *sheet.heading)):
            page.write_string(row, 0, text, formats["title"] if number == 0 else None)
            row += 1
        row += 1
        for place, column in enumerate(sheet.columns):
            page.set_column(place, place, column.width)
            page.write_string(row, place, column.head, formats["head"])
        page.repeat_rows(row)
        page.freeze_panes(row + 1, _HEAD_ROWS)
        row += 1
        count = 0
        for cells in sheet.rows:
            _write_row(page, row, cells, formats["cell"])
            row, count = row + 1, count + 1
        if sheet.sums:
            _write_row(page, row, sheet.sums, formats["sum"])
            row += 1
        for text in ("", *sheet.notes, "", sheet.place):
            if text:
                page.write_string(row, 0, text)
            row += 1
        for one in sheet.signatories:
            for text in (one.title, "", "", one.name, f"NIP {one.nip}" if one.nip else ""):
                if text:
                    page.write_string(row, 0, text)
                row += 1
    return count


def _write_row(page: Any, row: int, cells: Sequence[Cell], form: Any) -> None:
    for place, value in enumerate(cells):
        if value is None:
            page.write_blank(row, place, None, form)
        elif isinstance(value, str):
            page.write_string(row, place, value, form)
        else:
            page.write_number(row, place, value, form)


def csv_text(sheet: Sheet, file: TextIO, table: Table | None) -> int:
    """Write the rows as CSV, in the sheet's columns or in those that settings name; return how many.

    Raises SettingsError where a column is named that the sheet does not have.
    """
    names = [column.name for column in sheet.columns]
    outputs = [Output(head=column.head, value=column.name) for column in sheet.columns]
    settings = table or Table(columns=outputs)
    for one in settings.columns:
        if not one.value.startswith("=") and one.value not in names:
            values = {"file": "YAML", "sheet": sheet.name, "value": one.value, "columns": ", ".join(names)}
            raise SettingsError(MESSAGES["no_column"], **values)
    if settings.bom:
        file.write("\ufeff")
    writer = csv.writer(file, delimiter=settings.separator, lineterminator="\n")
    writer.writerow([_text(one.head, settings.decimal) for one in settings.columns])
    count = 0
    for cells in sheet.rows:
        row = dict(zip(names, cells, strict=True))
        writer.writerow([_output(one, row, settings.decimal) for one in settings.columns])
        count += 1
    return count


def _output(one: Output, row: Mapping[str, Cell], decimal: str) -> str:
    return _text(one.value[1:] if one.value.startswith("=") else row[one.value], decimal)


def _text(value: Cell, decimal: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return f"{value:f}".replace(".", decimal) if isinstance(value, Decimal) else str(value)


def html(sheet: Sheet, file: TextIO, language: Language) -> int:
    """Write a page that prints on A4, landscape, with the head on each sheet of paper; return how many rows."""
    count = 0

    def counted() -> Iterator[Sequence[Cell]]:
        nonlocal count
        for cells in sheet.rows:
            count += 1
            yield cells

    stream = _PAGE.stream(
        sheet=sheet, rows=counted(), language=language.value, shown=lambda value: _shown(value, language)
    )
    stream.enable_buffering(50)
    file.writelines(stream)
    return count


def _shown(value: Cell, language: Language) -> str:
    """Return a cell for people, with the decimal sign of the language."""
    return "" if value is None else print_decimal(f"{value:f}", language) if isinstance(value, Decimal) else str(value)


_PAGE = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    loader=jinja2.PackageLoader("central.sheets", "templates"),
).get_template("sheet.html")
