"""Text files as tables: encodings, separators, bounds, and files that are something else."""

from pathlib import Path

import pytest

from central.registers import rows, table
from tests.central.registers.files import PEOPLE, PERSON, refused, taken, write_csv

HEADER = "key,name,employment,from\n"
ROW = "p-1,Contoh,pns,2026-01-01\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators_of_spreadsheets_are_read(tmp_path: Path, encoding: str, separator: str) -> None:
    """Excel saves CSV with either separator, and Unicode text as UTF-16 with tabulators."""
    text = f"{separator.join(PEOPLE)}\n" + separator.join((PERSON[0], "Siti Nurhalizà", *PERSON[2:])) + "\n"

    (person,) = taken(write_csv(tmp_path, text, encoding=encoding), "people")

    assert person.name == "Siti Nurhalizà"


def test_a_line_that_names_the_separator_is_no_row(tmp_path: Path) -> None:
    """Excel writes ``sep=;`` for itself; lines are counted with it."""
    text = "sep=;\nkey;name;employment;from\np-1;Contoh;pns;2026-01-01\np-2;Contoh;x;2026-01-01\n"

    assert refused(write_csv(tmp_path, text), "people") == [("file.csv:4:3", "choice")]


def test_windows_1252_is_named_at_its_place(tmp_path: Path) -> None:
    """A file of an old program is refused, not read with wrong letters."""
    path = write_csv(tmp_path, HEADER + "p-1,René,pns,2026-01-01\n", encoding="cp1252")

    assert refused(path, "people") == [("file.csv:2:8", "not_utf8")]


def test_utf16_without_a_mark_and_binary_files_are_named(tmp_path: Path) -> None:
    """Neither is read as text."""
    assert refused(write_csv(tmp_path, HEADER + ROW, encoding="utf-16-le"), "people")[0][1] == "utf16_without_mark"
    assert refused(write_csv(tmp_path, HEADER + ROW + "\0"), "people") == [("file.csv:3", "binary")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.xlsx", b"key,name\n", "not_xlsx_text"),
        ("a.xlsx", b"\x01\x02\0\x03" * 100, "not_xlsx"),
        ("a.xls", b"<html><table><tr><td>key</td></tr></table></html>", "html"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + b"\0" * 512, "old_xls"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "encrypted_xlsx"),
        ("a.xlsx", b"PK\x03\x04 nothing of an archive", "damaged_xlsx"),
        ("a.csv", b"%PDF-1.7", "pdf"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0", "image"),
        ("a.csv", b"<?xml version='1.0'?><Workbook/>", "xml"),
        ("a.csv", b"", "empty"),
        ("a.csv", b" \n\n", "empty"),
        ("a.csv", b"one,two\n1,2\n", "no_header"),
        ("a.csv", HEADER.encode(), "no_rows"),
        ("a.yaml", b"", "empty"),
        ("a.yaml", b"# nothing\n", "empty"),
        ("a.yaml", b"key: p-1\n", "yaml_no_list"),
        ("a.yaml", b"- p-1\n", "yaml_no_map"),
        ("a.yaml", b"- {key: p-1, key: p-2}\n", "yaml_key_twice"),
        ("a.yaml", b"- {[a]: p-1}\n", "yaml_key"),
        ("a.yaml", b"- {key: 'p-1\n", "broken_yaml"),
    ],
)
def test_a_file_that_is_something_else_is_named_as_what_it_is(
    tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    """The name does not decide; the content does."""
    path = tmp_path / name
    path.write_bytes(content)

    assert [code for _, code in refused(path, "people")] == [code]


def test_a_quotation_mark_that_is_not_closed_is_named_where_it_begins(tmp_path: Path) -> None:
    """Else the rest of the file would be one name."""
    path = write_csv(tmp_path, HEADER + ROW + 'p-2,"Contoh,pns,2026-01-01\np-3,Contoh,pns,2026-01-01\n')

    assert refused(path, "people") == [("file.csv:3", "broken_csv")]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    """Blank lines, and line breaks inside quotation marks, count."""
    path = write_csv(tmp_path, HEADER + '\np-1,"two\nlines",pns,2026-01-01\np-2,Contoh,x,2026-01-01\n')

    assert refused(path, "people") == [("file.csv:3:2", "control_character"), ("file.csv:5:3", "choice")]


def test_bounds_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, columns and bytes."""
    columns = write_csv(tmp_path, HEADER + ROW.rstrip() + "," * rows.MAX_COLUMNS + "\n")
    assert refused(columns, "people") == [("file.csv:2", "too_many_columns")]
    monkeypatch.setattr(rows, "MAX_ROWS", 2)
    assert refused(write_csv(tmp_path, HEADER + ROW * 2), "people") == [("file.csv", "too_many_rows")]
    monkeypatch.setattr(table, "MAX_BYTES", 10)
    assert refused(write_csv(tmp_path, HEADER + ROW), "people") == [("file.csv", "too_large")]


def test_yaml_keeps_what_was_written(tmp_path: Path) -> None:
    """Leading zeros and dates stay text; a mistake stands at its line and column."""
    text = "- {pin: 0017, site: kota, person: p-1, from: 2026-01-01}\n- {pin: 18, site: kota, from: 2026-01-01}\n"
    path = write_csv(tmp_path, text, "file.yaml")
    assert refused(path, "enrolments") == [("file.yaml:2:3", "cell_missing")]

    (first, _) = taken(
        write_csv(tmp_path, text.replace("kota, from", "kota, person: p-2, from"), "a.yml"), "enrolments"
    )

    assert first.pin == "0017"
