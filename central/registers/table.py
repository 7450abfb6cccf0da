"""Files as tables of unconverted values, each with its place: CSV, XLSX and YAML; the content decides which it is."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from central.policy.document import DocumentError, compose, place_of
from central.registers.problems import printable, refuse
from central.registers.rows import Nested, Row, Table, Value, check_bounds

MAX_BYTES = 64 * 2**20
"""Of a file."""
MAX_YAML_BYTES = 4 * 2**20
"""Of a YAML file, which is read a hundred times more slowly than the others."""
HEADER_ROWS = 20
"""Rows from the top in which the header may stand."""
CELL_CHARS = 100_000
_DELIMITERS = ",;\t"


def read_table(path: Path, is_header_word: Callable[[str], bool], sheet: str | None = None) -> Table:
    """Return the table in a file; raise :class:`central.registers.problems.RegisterFileError`.

    ``is_header_word`` recognises the heads of columns, by which a CSV file's separator is found. ``sheet`` names the
    sheet of a workbook that has several.
    """
    name = printable(path.name)
    content = _read(path, name)
    return replace(_read_content(path, name, content, is_header_word, sheet), sha256=sha256(content).hexdigest())


def _read_content(
    path: Path, name: str, content: bytes, is_header_word: Callable[[str], bool], sheet: str | None
) -> Table:
    ending = path.suffix.lower()
    foreign = _foreign(content)
    if foreign:
        raise refuse(name, foreign)
    if content.startswith(b"PK\x03\x04"):
        try:
            from central.registers.workbook import read_workbook  # noqa: PLC0415 - in the extra `centre`
        except ImportError:
            raise refuse(name, "no_xlsx_here") from None
        return read_workbook(content, name, sheet)
    if ending in (".xlsx", ".xlsm", ".xls"):
        raise refuse(name, "not_xlsx_text" if _is_text(content) else "not_xlsx")
    if ending in (".yaml", ".yml"):
        return _read_yaml(_decode(content, name), name)
    return _read_csv(_decode(content, name), name, is_header_word)


def _read(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise refuse(name, "unreadable", what=getattr(error, "strerror", None) or "no name of a file") from None
    if len(content) > MAX_BYTES:
        raise refuse(name, "too_large", limit=f"{MAX_BYTES >> 20} MB")
    if not content.strip():
        raise refuse(name, "empty")
    return content


def _foreign(content: bytes) -> str | None:
    """Return the code of what a file is that is none of ours."""
    head = content[:4096].lstrip().lower()
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        return "encrypted_xlsx" if "EncryptedPackage".encode("utf-16-le") in content else "old_xls"
    if content.startswith(b"%PDF"):
        return "pdf"
    if content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")) and not _is_text(content):
        return "image"
    if head.startswith((b"<!doctype html", b"<html", b"<table", b"<meta")):
        return "html"
    if head.startswith(b"<?xml"):
        return "xml"
    return None


def _is_text(content: bytes) -> bool:
    return b"\0" not in content[:4096] or content.startswith((b"\xff\xfe", b"\xfe\xff"))


def _decode(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise refuse(name, "broken_utf16") from None
    if b"\0" in content:
        at = content.index(b"\0")
        code = "utf16_without_mark" if content.count(b"\0") * 3 > len(content) else "binary"
        line = content.count(b"\n", 0, at) + 1
        raise refuse(f"{name}:{line}", code)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        seen = content[error.start : error.start + 1].decode("cp1252", "replace")
        raise refuse(f"{name}:{line}:{column}", "not_utf8", seen=seen) from None


# --- CSV ----------------------------------------------------------------------------------------------------------


def _read_csv(text: str, name: str, is_header_word: Callable[[str], bool]) -> Table:
    skipped = 0
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) <= 5:  # what Excel writes for itself
        text, skipped = rest, 1
    delimiter = _delimiter(text, is_header_word)
    rows: list[Row] = []
    cells = 0
    before = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for values in reader:
            number, before = before + 1 + skipped, reader.line_num
            filled = sum(1 for value in values if value.strip())
            if not filled:
                continue
            cells += filled
            row = Row(number, tuple(values))
            check_bounds(name, f"{name}:{number}", len(rows), len(values), cells)
            rows.append(row)
    except csv.Error as error:
        raise refuse(f"{name}:{before + 1 + skipped}", "broken_csv", what=str(error)) from None
    return Table(name, rows, lambda number, column: f"{name}:{number}:{column + 1}")


def _delimiter(text: str, is_header_word: Callable[[str], bool]) -> str:
    """Return the separator by which most heads of columns are recognised, else the most frequent one."""
    lines = text[:CELL_CHARS].splitlines()[:HEADER_ROWS]

    def score(delimiter: str) -> tuple[int, int]:
        words = [word for line in lines for word in line.split(delimiter)]
        known = sum(is_header_word(word.strip().strip('"')) for word in words)
        return known, sum(line.count(delimiter) for line in lines)

    return max(_DELIMITERS, key=score)


# --- YAML ---------------------------------------------------------------------------------------------------------


def _read_yaml(text: str, name: str) -> Table:
    """Read a list of maps; each map is a row, and its keys are the heads of columns."""
    if len(text) > MAX_YAML_BYTES:
        raise refuse(name, "too_large_yaml", limit=f"{MAX_YAML_BYTES >> 20} MB")
    try:
        root = compose(text, name)
    except DocumentError as error:
        raise refuse(str(error.place), "broken_yaml", what=error.message.removeprefix("not YAML: ")) from None
    if root is None:
        raise refuse(name, "empty")
    if not isinstance(root, SequenceNode):
        raise refuse(str(place_of(root, name)), "yaml_no_list")
    columns: dict[str, str] = {}
    rows: list[Row] = []
    cells = 0
    for item in root.value:
        place = str(place_of(item, name))
        if not isinstance(item, MappingNode):
            raise refuse(place, "yaml_no_map")
        found: dict[str, tuple[Value, str]] = {}
        for key, value in item.value:
            at = str(place_of(key, name))
            if not isinstance(key, ScalarNode):
                raise refuse(at, "yaml_key")
            if key.value in found:
                raise refuse(at, "yaml_key_twice", key=str(key.value)[:40])
            found[key.value] = (_scalar(value), str(place_of(value, name)))
            columns.setdefault(key.value, at)
        cells += len(found)
        check_bounds(name, place, len(rows), len(columns), cells)
        values = tuple(found.get(key, (None, place))[0] for key in columns)
        places = tuple(found.get(key, (None, place))[1] for key in columns)
        rows.append(Row(item.start_mark.line + 1, values, places or (place,)))
    header = Row(1, tuple(columns), tuple(columns.values()) or (name,))
    return Table(name, [header, *rows], lambda number, _column: f"{name}:{number}")


def _scalar(node: YamlNode) -> Value:
    if not isinstance(node, ScalarNode):
        return Nested()
    if node.style is None and node.value in ("", "~", "null"):
        return None
    return str(node.value)
