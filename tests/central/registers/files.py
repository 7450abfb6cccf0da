"""Files of registers as tests write them, and what the reader finds in them."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from central.registers.kinds import Known
from central.registers.problems import RegisterFileError
from central.registers.read import Register, read_register
from central.texts import Language

TEMPLATES = Path(__file__).parents[3] / "config" / "templates"
PEOPLE = ("key", "name", "employment", "from")
PERSON = ("p-1", "Contoh", "pns", "2026-01-01")


def write_csv(folder: Path, text: str, name: str = "file.csv", encoding: str = "utf-8") -> Path:
    """Write a text file; return its path."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def write_xlsx(
    folder: Path, rows: Sequence[Sequence[Any]], change: Callable[[Workbook], object] = lambda _book: None
) -> Path:
    """Write a workbook with one sheet, changed at last; return its path."""
    book = Workbook()
    sheet = book.active
    sheet.title = "Data"
    for row in rows:
        sheet.append(list(row))
    change(book)
    path = folder / "file.xlsx"
    book.save(path)
    return path


def replace_part(path: Path, part: str, old: bytes, new: bytes) -> None:
    """Exchange bytes of one part of a workbook, which must be there, once."""

    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    change_part(path, part, change)


def change_part(path: Path, part: str, change: Callable[[bytes], bytes]) -> None:
    """Change the content of one part of a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def taken(path: Path, kind: str, known: Known | None = None, sheet: str | None = None) -> list[Any]:
    """Return the records of a file that is taken."""
    return [line.record for line in register(path, kind, known, sheet).lines]


def register(path: Path, kind: str, known: Known | None = None, sheet: str | None = None) -> Register:
    """Read a file."""
    return read_register(path, kind, known or Known(), sheet)


def refused(path: Path, kind: str, known: Known | None = None, sheet: str | None = None) -> list[tuple[str, str]]:
    """Return place and code of every mistake of a file that is refused; each has a text in both languages."""
    with pytest.raises(RegisterFileError) as caught:
        read_register(path, kind, known or Known(), sheet)
    for problem in caught.value.problems:
        assert problem.text(Language.ENGLISH) != problem.text(Language.INDONESIAN)
    return [(problem.place, problem.code) for problem in caught.value.problems]
