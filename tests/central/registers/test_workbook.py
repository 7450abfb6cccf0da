"""XLSX files as offices keep them, and what spreadsheets do to values."""

import io
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from central.registers import workbook
from tests.central.registers.files import (
    PEOPLE,
    PERSON,
    refused,
    register,
    replace_part,
    taken,
    write_xlsx,
)

ENROLMENTS = ("pin", "site", "person", "from")
SLOTS = ("timetable", "from", "slot", "kind", "due", "window from", "window until")


@pytest.mark.parametrize("epoch", [1900, 1904])
def test_dates_of_both_calendars_of_excel_are_dates(tmp_path: Path, epoch: int) -> None:
    """A workbook made on an old Macintosh counts from 1904."""

    def change(book: Workbook) -> None:
        if epoch == 1904:
            book.epoch = CALENDAR_MAC_1904

    rows = [PEOPLE, ("p-1", "Contoh", "pns", datetime(2026, 9, 1))]  # noqa: DTZ001 - a spreadsheet's date has no zone

    (person,) = taken(write_xlsx(tmp_path, rows, change), "people")

    assert person.since == date(2026, 9, 1)


def test_times_of_excel_are_times_also_beyond_midnight(tmp_path: Path) -> None:
    """A duration of 31 hours is 07:00 of the next day."""
    first = datetime(2026, 1, 1)  # noqa: DTZ001 - a spreadsheet's date has no zone
    rows = [
        SLOTS,
        ("night", first, "in", "in", time(21, 0), time(19, 0), timedelta(hours=25)),
        ("night", first, "out", "out", timedelta(hours=31), "29.00", "33:00:30"),
    ]

    found = taken(write_xlsx(tmp_path, rows), "timetables")

    assert [(slot.due, slot.window_from, slot.window_until) for slot in found] == [
        (75_600, 68_400, 90_000),
        (111_600, 104_400, 118_830),
    ]


@pytest.mark.parametrize("pin", [17, 17.0, 198609262015051001, 1.98609262015051e17])
def test_a_pin_that_is_a_number_is_refused(tmp_path: Path, pin: float) -> None:
    """Its zeros, or its last digits, may be lost already."""
    path = write_xlsx(tmp_path, [ENROLMENTS, (pin, "kota", "p-1", "2026-01-01")])

    assert refused(path, "enrolments") == [("file.xlsx!Data!A2", "number_for_identifier")]


def test_formulas_are_refused_where_they_stand(tmp_path: Path) -> None:
    """A computed value is another one on another day."""
    path = write_xlsx(tmp_path, [PEOPLE, PERSON, ("p-2", '="Contoh"', "pns", "=TODAY()")])

    assert refused(path, "people") == [("file.xlsx!Data!B3", "formula"), ("file.xlsx!Data!D3", "formula")]


def test_error_values_and_dates_made_from_codes_are_named(tmp_path: Path) -> None:
    """Excel makes a date of the code 1-2."""
    first = datetime(2026, 2, 1)  # noqa: DTZ001 - a spreadsheet's date has no zone
    rows = [("person", "2026-09-01", "2026-09-02"), ("p-1", "#N/A", first)]

    assert refused(write_xlsx(tmp_path, rows), "rosters") == [
        ("file.xlsx!Data!B2", "error_value"),
        ("file.xlsx!Data!C2", "date_for_text"),
    ]


def test_a_number_in_a_column_of_dates_is_named(tmp_path: Path) -> None:
    """A date whose cell lost its format is a number of days, from one of two beginnings."""
    path = write_xlsx(tmp_path, [PEOPLE, ("p-1", "Contoh", "pns", 46266)])

    assert refused(path, "people") == [("file.xlsx!Data!D2", "number_for_date")]


def test_hidden_sheets_are_not_read_and_named(tmp_path: Path) -> None:
    """The visible sheet counts, unless another is chosen."""

    def change(book: Workbook) -> None:
        hidden = book.create_sheet("Lama")
        hidden.append(PEOPLE)
        hidden.append(("p-9", "Contoh", "pns", "2026-01-01"))
        hidden.sheet_state = "hidden"

    path = write_xlsx(tmp_path, [PEOPLE, PERSON], change)
    found = register(path, "people")

    assert [line.record.key for line in found.lines] == ["p-1"]
    assert [remark.code for remark in found.remarks] == ["hidden_sheet"]
    assert [person.key for person in taken(path, "people", sheet="Lama")] == ["p-9"]
    assert refused(path, "people", sheet="Baru") == [("file.xlsx", "no_such_sheet")]


def test_which_of_several_sheets_is_not_guessed(tmp_path: Path) -> None:
    """A sheet without content is none."""

    def change(book: Workbook) -> None:
        book.create_sheet("Kosong")
        book.create_sheet("Lain").append(PEOPLE)

    assert refused(write_xlsx(tmp_path, [PEOPLE, PERSON], change), "people") == [("file.xlsx", "several_sheets")]


def test_titles_above_the_header_are_not_read(tmp_path: Path) -> None:
    """Also merged ones."""
    path = write_xlsx(
        tmp_path,
        [("DAFTAR PEGAWAI",), (), ("No", "Kunci", "Nama", "Status Pegawai", "TMT", "Keterangan"), (1, *PERSON, "x")],
        lambda book: book.active.merge_cells("A1:F1"),
    )

    assert [person.key for person in taken(path, "people")] == ["p-1"]


def test_merged_cells_below_the_header_are_refused(tmp_path: Path) -> None:
    """Only the first of them has the value."""
    rows = [PEOPLE, PERSON, ("p-2", "Contoh", "pns", "2026-01-01")]
    path = write_xlsx(tmp_path, rows, lambda book: book.active.merge_cells("C2:C3"))

    assert refused(path, "people") == [("file.xlsx!Data!C2", "merged")]


def test_hidden_rows_are_read_and_named(tmp_path: Path) -> None:
    """A filter hides rows; they are part of the file."""

    def change(book: Workbook) -> None:
        book.active.row_dimensions[2].hidden = True

    found = register(write_xlsx(tmp_path, [PEOPLE, PERSON], change), "people")

    assert len(found.lines) == 1
    assert [remark.code for remark in found.remarks] == ["hidden_rows"]


def test_a_workbook_that_unpacks_too_large_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory states how large it is, and zipfile reads no more than that."""
    path = write_xlsx(tmp_path, [PEOPLE, PERSON])
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 1000)

    assert refused(path, "people") == [("file.xlsx", "unpacks_too_large")]


def test_entities_are_refused(tmp_path: Path) -> None:
    """A workbook never opens another file, nor multiplies its own text."""
    secret = tmp_path / "secret"
    secret.write_text("Rahasia")
    path = write_xlsx(tmp_path, [PEOPLE, PERSON])
    part = "xl/worksheets/sheet1.xml"
    replace_part(path, part, b"<worksheet", f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><worksheet'.encode())
    replace_part(path, part, b"Contoh", b"&e;")

    assert refused(path, "people") == [("file.xlsx", "damaged_xlsx")]


def test_shared_texts_are_read(tmp_path: Path) -> None:
    """Excel keeps texts in a part of their own; one that begins with = is a text there, no formula."""
    path = write_xlsx(tmp_path, [PEOPLE, PERSON, ("p-2", "Contoh", "pns", "2026-01-01")])
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = b'<Override PartName="/xl/sharedStrings.xml" ContentType="' + kind + b'"/></Types>'
    replace_part(path, "[Content_Types].xml", b"</Types>", override)
    for index in (b"0", b"1"):
        old = b't="inlineStr"><is><t>Contoh</t></is>'
        replace_part(path, "xl/worksheets/sheet1.xml", old, b't="s"><v>' + index + b"</v>")
    with zipfile.ZipFile(path, "a") as archive:
        texts = "<si><r><t>Siti </t></r><r><t>Aminah</t></r></si><si><t>=1+1</t></si>"
        name_space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{name_space}">{texts}</sst>')

    assert refused(path, "people") == [("file.xlsx!Data!B3", "looks_like_formula")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'ref="A1:D2"', b'ref="A1:XFD1048576"'),
        (b'ref="A1:D2"', b'ref="A1:A1"'),
    ],
)
def test_the_stated_size_of_a_sheet_is_not_trusted(tmp_path: Path, old: bytes, new: bytes) -> None:
    """Programs that write workbooks get it wrong."""
    path = write_xlsx(tmp_path, [PEOPLE, PERSON])
    replace_part(path, "xl/worksheets/sheet1.xml", old, new)

    assert len(taken(path, "people")) == 1


def test_a_row_beyond_every_sheet_is_refused(tmp_path: Path) -> None:
    """Blank rows before it are not looked at for ever."""
    path = write_xlsx(tmp_path, [PEOPLE, PERSON])
    replace_part(path, "xl/worksheets/sheet1.xml", b'<row r="2"', b'<row r="999999999999"')

    assert refused(path, "people") == [("file.xlsx", "too_many_rows")]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"content.xml": b"", "mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}, "opendocument"),
        ({"[Content_Types].xml": b"", "word/document.xml": b""}, "word"),
        ({"people.csv": b"key"}, "zip"),
        ({"xl/workbook.bin": b"", "[Content_Types].xml": b""}, "xlsb"),
        ({"xl/workbook.xml": b"", "[Content_Types].xml": b""}, "damaged_xlsx"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, parts: dict[str, Any], code: str) -> None:
    """Documents of offices are archives too."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    path = tmp_path / "file.xlsx"
    path.write_bytes(out.getvalue())

    assert refused(path, "people") == [("file.xlsx", code)]
