r"""The grammar of the files that terminals export to a flash disk. Pure: bytes in, records out.

Two families are known:

* ``attlog``: ``PIN \t YYYY-MM-DD HH:MM:SS \t device \t state \t verify \t work code``, no header, ZKTeco and its many
  brands. PINs are padded with blanks; lines end in CRLF or LF, the last one maybe in nothing.
* ``table``: ``No TMNo EnNo Name Mode IOMd DateTime`` between tabs, often below a header, ASCII, UTF-8 or UTF-16: the
  GLG, AGL and ALOG files of other makers. Names are left out of everything that is returned.

Real files have runs of NUL bytes that begin and end in mid-line, lines cut at the end, dates that a clock past 2^31
printed as negative numbers, and the same lines twice. Whatever cannot be read is a ``BadRecord`` with its bytes; the
lines behind it are still read. A reader holds one line at most, however long the file or the line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, NamedTuple

from drivers.base import BadRecord, RawPunch, Record

Family = Literal["attlog", "table"]
Order = Literal["dmy", "mdy"]

MAX_LINE = 1024
"""Bytes of a line that are kept; no real one has a tenth of it."""
HEAD = 65536
"""Bytes from the beginning of a file that tell what it is."""


class NotAnExport(Exception):  # noqa: N818 - says what was met
    """The file holds no attendance records that this version can read; the message says what it seems to be."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a table's columns stand, counted from 0; None where it has no such column."""

    device: int | None = 1
    pin: int = 2
    name: int | None = 3
    verify: int | None = 4
    state: int | None = 5
    moment: int = 6
    count: int = 7


@dataclass(frozen=True, slots=True)
class Form:
    """What kind of file it is."""

    family: Family
    encoding: Literal["bytes", "utf-8-sig", "utf-16-le", "utf-16-be"] = "bytes"
    columns: Columns = Columns()
    order: Order | None = None
    """How a table's dates with slashes are meant; None where that is not known."""

    @property
    def bom(self) -> int:
        """How many bytes at the beginning of the file only tell its encoding."""
        return {"bytes": 0, "utf-8-sig": 3}.get(self.encoding, 2)


class Entry(NamedTuple):
    """One line that holds something."""

    offset: int
    """Of its first byte in the file."""
    record: Record
    device: str | None
    """The device number that the line names, if it does."""
    formed: bool
    """Whether it has the form of a record, be it one that cannot be read as a punch."""


class _Cut(NamedTuple):
    offset: int
    text: bytes
    """The line without its end; of a long one or one with NULs, what is kept of it."""
    whole: tuple[int, str] | None
    """Size and SHA-256 of what ``text`` is the rest of; None where it is the line itself."""


# --- what kind of file --------------------------------------------------------------------------------------------

_SIGNATURES = {
    b"\xff\xd8\xff": "a photo (JPEG)",
    b"\x89PNG": "a picture (PNG)",
    b"BM": "a picture (BMP)",
    b"GIF8": "a picture (GIF)",
    b"PK\x03\x04": "an archive or a spreadsheet (ZIP, XLSX)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or document of an old kind (XLS, DOC)",
    b"%PDF": "a document (PDF)",
    b"SQLite format 3": "a database",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
_STRANGERS = re.compile(
    r"(?i)(?:.*[_-])?(user|template|fptemplate|facetemplate|ssruser|extuser|photo|attphoto|sms|usersms|workcode|"
    r"oplog|bell|timezone|group)\d*\.(?:dat|txt|fp\d*|jpg|bmp)|.*\.(?:jpe?g|png|bmp|gif|xlsx?|zip|pdf|exe|fps?)"
)
_HEADER = re.compile(rb"(?i)(^|\t) *en ?no *(\t|$)")


def refused_name(name: str) -> str | None:
    """Return what a file of this name is, where that is nothing with punches in it; it need not be opened then."""
    found = _STRANGERS.fullmatch(name)
    if found is None:
        return None
    return "users, fingerprints or other data of the terminal" if found[1] else "a picture, document or program"


def serial_of(name: str) -> str | None:
    """Return the serial number that a file is named after; None where the name has only a device number, or none."""
    found = re.fullmatch(r"(?i)([0-9A-Z-]{6,32})_attlog\.dat", name)
    return found[1] if found else None


def number_of(name: str) -> str | None:
    """Return the device number that a file is named after."""
    found = re.fullmatch(r"(?i)([0-9]{1,5})_attlog\.dat", name)
    return str(int(found[1])) if found else None


def recognise(head: bytes) -> Form:
    """Tell the form of a file by its first :data:`HEAD` bytes, or all of fewer; NotAnExport where it has none."""
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature) and (len(signature) > 2 or b"\t" not in head[:256]):
            raise NotAnExport(f"the file is {what}")
    form = Form("attlog", "utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "bytes")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        form = Form("table", "utf-16-le" if head[:2] == b"\xff\xfe" else "utf-16-be")
    best: tuple[int, Form] = (0, form)
    for candidate in (form, replace(form, family="table" if form.family == "attlog" else "attlog")):
        reader = Reader(candidate)
        formed = sum(entry.formed for entry in reader.feed(head))
        # A file that is shorter than its head has a last line, whatever that lacks.
        formed += sum(entry.formed for entry in reader.close()) if len(head) < HEAD else 0
        if formed > best[0]:
            best = (formed, reader.form)
    if not best[0]:
        raise NotAnExport("none of its first lines is an attendance record")
    return best[1]


# --- lines --------------------------------------------------------------------------------------------------------


class Reader:
    """Reads a file piece by piece: all of its bytes go through :meth:`feed`, in order, then :meth:`close`."""

    def __init__(self, form: Form) -> None:
        self.form = form
        """With the columns that a header has named meanwhile."""
        self.orders: set[Order] = {"dmy", "mdy"} if form.order is None else {form.order}
        """What the dates with slashes that were read can mean; empty where they contradict each other."""
        self.slashes = False
        """Whether there was any date with slashes."""
        self.serial: str | None = None
        """Where the first line is nothing but a serial number."""
        self.lines = 0
        """Those that are not blank."""
        self.headers = 0
        """Those that say what the others hold, or whose they are."""
        self._cutter = _Cutter(form)

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Give the lines that ``data`` completes; read on as they are taken."""
        return filter(None, map(self._entry, self._cutter.feed(data)))

    def close(self) -> Iterator[Entry]:
        """Give the last line, where the file does not end in a line end."""
        return filter(None, map(self._entry, self._cutter.close()))

    def _entry(self, cut: _Cut) -> Entry | None:
        text = cut.text
        if not text.strip(b" \t\r\x1a"):
            return None
        self.lines += 1
        if cut.whole is not None:
            return Entry(cut.offset, _damaged(cut, self.form), None, formed=False)
        if self.lines == 1 and b"\t" not in text and re.fullmatch(rb"[0-9A-Za-z-]{6,32}", text):
            self.serial = text.decode("ascii")
            self.headers += 1
            return None
        if self.form.family == "attlog":
            return _attlog(cut.offset, text)
        if _HEADER.search(text):
            self.form = replace(self.form, columns=_columns(text))
            self.headers += 1
            return None
        return self._table(cut.offset, text)

    def _table(self, offset: int, text: bytes) -> Entry:
        columns = self.form.columns
        fields = [field.strip() for field in text.split(b"\t")]
        plain = _without_names(text, columns)
        if len(fields) < columns.count:
            return Entry(offset, _bad(plain, f"{len(fields)} columns, not {columns.count}"), None, formed=False)
        device = _code(fields, columns.device)
        match = _TABLE_DATE.fullmatch(fields[columns.moment])
        if match is None:
            return Entry(offset, _bad(plain, "the date cannot be read"), None, formed=False)
        number = None if device is None else str(device)
        moment = self._moment(match)
        pin = _pin(fields[columns.pin])
        if moment is None or pin is None:
            what = "no such date" if moment is None else _PIN_RULE
            return Entry(offset, _bad(plain, what), number, formed=True)
        state, verify = _code(fields, columns.state), _code(fields, columns.verify)
        return Entry(offset, RawPunch(pin, None, moment, state, verify, None, plain), number, formed=True)

    def _moment(self, match: re.Match[bytes]) -> datetime | None:
        parts = [None if part is None else int(part) for part in match.groups()[:9]]
        hour, minute, second = (part or 0 for part in parts[6:])
        half: bytes | None = match[10]
        if half is not None:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + (12 if half.lower() == b"pm" else 0)
        if parts[0] is not None:
            return _date(parts[0], parts[1] or 0, parts[2] or 0, hour, minute, second)
        self.slashes = True
        one, two, year = (part or 0 for part in parts[3:6])
        if one > 12:
            self.orders.discard("mdy")
        if two > 12:
            self.orders.discard("dmy")
        order = self.form.order or ("dmy" if one > 12 else "mdy")
        day, month = (one, two) if order == "dmy" else (two, one)
        return _date(year, month, day, hour, minute, second)


_PIN_RULE = "PIN is not 1 to 24 printable ASCII characters"
_ATTLOG = re.compile(
    rb" *([!-~](?:[ -~]{0,22}[!-~])?) *\t *(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) *\t *(\d+) *\t"
    rb" *(\d{1,3}) *\t *(\d{1,3}) *\t *([!-~]*) *(?=\t|\Z)"  # what some firmware writes behind them may be a name
)
_OVERFLOWN = re.compile(
    rb"([^\t]*)\t *(\d{4})-(-?\d{1,3})-(-?\d{1,3}) (-?\d{1,3}):(-?\d{1,3}):(-?\d{1,3}) *(?:\t[^\t]*){3,4}"
)
_TABLE_DATE = re.compile(
    rb"(?:(\d{4})[-/.](\d\d?)[-/.](\d\d?)|(\d\d?)[-/.](\d\d?)[-/.](\d{4})) +"
    rb"(\d\d?):(\d\d)(?::(\d\d))?(?: *([AaPp][Mm]))?"
)


def _attlog(offset: int, text: bytes) -> Entry:
    match = _ATTLOG.match(text)
    if match is None:
        return _no_attlog(offset, text)
    pin, when, device, state_text, verify_text, work_code = match.groups()
    state, verify, number = int(state_text), int(verify_text), device.lstrip(b"0").decode("ascii") or "0"
    try:
        moment = datetime.fromisoformat(when.decode("ascii"))
    except ValueError:
        return Entry(offset, _bad(match[0], "no such date"), number, formed=True)
    if state > 255 or verify > 255:
        return Entry(offset, _bad(match[0], "a code above 255"), number, formed=True)
    work = work_code.decode("ascii") or None
    punch = RawPunch(pin.decode("ascii"), None, moment, state, verify, work, match[0])
    return Entry(offset, punch, number, formed=True)


def _no_attlog(offset: int, text: bytes) -> Entry:
    match = _OVERFLOWN.match(text)
    if match is None:
        return Entry(offset, _bad(text, "not a line of an attlog file"), None, formed=False)
    year, *rest = map(int, match.groups()[1:])
    meant = _meant(year, *rest) if min(rest) < 0 else None
    reason = "no such date" if _pin(match[1]) else _PIN_RULE
    if meant is not None:
        reason = f"the clock printed negative numbers; what it held means {meant:%Y-%m-%d %H:%M:%S}"
    return Entry(offset, _bad(match[0], reason), None, formed=True)


def _pin(text: bytes) -> str | None:
    """Return a PIN as every driver has it: 1 to 24 printable ASCII characters without the padding, else None."""
    pin = text.strip(b" ")
    if not 1 <= len(pin) <= 24 or any(not 32 <= byte < 127 for byte in pin):
        return None
    return pin.decode("ascii")


def _date(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - a terminal's wall clock has no zone
    except ValueError:
        return None


def _meant(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    """Return what a clock held that printed these numbers from a signed 32-bit value, in months of 31 days."""
    days = ((year - 2000) * 12 + month - 1) * 31 + day - 1
    value = ((days * 24 + hour) * 60 + minute) * 60 + second
    if not -(2**31) <= value < 0:
        return None
    seconds = value + 2**32
    days, seconds = divmod(seconds, 86400)
    months, day = divmod(days, 31)
    start = _date(2000 + months // 12, months % 12 + 1, day + 1, 0, 0, 0)
    return None if start is None else start + timedelta(seconds=seconds)


def _code(fields: list[bytes], column: int | None) -> int | None:
    if column is None or not re.fullmatch(rb"\d{1,9}", fields[column]):
        return None
    return int(fields[column])


def _columns(header: bytes) -> Columns:
    """Return the columns that a header names."""
    names = [re.sub(rb"[^a-z]", b"", field.lower()) for field in header.split(b"\t")]

    def place(*wanted: bytes) -> int | None:
        return next((names.index(name) for name in wanted if name in names), None)

    moment = place(b"datetime", b"time", b"date")
    pin = place(b"enno")
    if pin is None or moment is None:
        return Columns()
    return Columns(
        device=place(b"tmno", b"mchn", b"tmn"),
        pin=pin,
        name=place(b"name"),
        verify=place(b"mode"),
        state=place(b"inout", b"iomd", b"iomode"),
        moment=moment,
        count=max(pin, moment) + 1,
    )


_DIGITS = re.compile(rb"[-0-9/.: ]*(?:[AaPp][Mm])?")


def _without_names(text: bytes, columns: Columns) -> bytes:
    """Return a table's line with nothing in it that may be a name: only the PIN and what is made of digits stay."""
    fields = text.split(b"\t")
    whole = len(fields) >= columns.count
    for number, field in enumerate(fields):
        if number == columns.name or not (_DIGITS.fullmatch(field) or (whole and number == columns.pin)):
            fields[number] = b""
    return b"\t".join(fields)


def _bad(text: bytes, reason: str) -> BadRecord:
    return BadRecord(text, text, reason)


def _damaged(cut: _Cut, form: Form) -> BadRecord:
    size, digest = cut.whole or (len(cut.text), "")
    text = cut.text if form.family == "attlog" else _without_names(cut.text, form.columns)
    reason = "NUL bytes in the line" if b"\0" in cut.text else f"a line of {size} bytes"
    return BadRecord(text, bytes.fromhex(digest), reason, size, digest)


class _Cutter:
    """Cuts a file into lines of which at most :data:`MAX_LINE` bytes are held; runs of NULs are held as one."""

    def __init__(self, form: Form) -> None:
        self._wide = form.encoding.startswith("utf-16")
        self._big = form.encoding == "utf-16-be"
        self._skip = form.bom
        self._base = form.bom
        self._width = 2 if self._wide else 1
        self._half = b""
        self._at = 0
        """Units of all complete lines."""
        self._kept = bytearray()
        self._size = 0
        self._hash = sha256()
        self._damaged = False

    def feed(self, data: bytes) -> Iterator[_Cut]:
        if self._skip:
            self._skip, data = max(0, self._skip - len(data)), data[self._skip :]
        *lines, rest = (self._narrowed(data) if self._wide else data).split(b"\n")
        for line in lines:
            if self._size or b"\0" in line or len(line) > MAX_LINE:
                self._hold(line)
                yield self._take()
            else:
                yield _Cut(self._base + self._at * self._width, line.removesuffix(b"\r"), None)
                self._at += len(line)
            self._at += 1
        self._hold(rest)

    def close(self) -> Iterator[_Cut]:
        if self._size:
            yield self._take()

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        self._hash.update(part)
        if b"\0" in part:
            self._damaged = True
            part = re.sub(rb"\0+", b"\0", part)
            if self._kept.endswith(b"\0"):
                part = part.removeprefix(b"\0")
        self._kept += part[: MAX_LINE - len(self._kept)]

    def _take(self) -> _Cut:
        offset, size = self._base + self._at * self._width, self._size
        whole = (size, self._hash.hexdigest()) if self._damaged or size > MAX_LINE else None
        text = bytes(self._kept).removesuffix(b"\r")
        self._at += size
        self._kept.clear()
        self._size, self._damaged, self._hash = 0, False, sha256()
        return _Cut(offset, text, whole)

    def _narrowed(self, data: bytes) -> bytes:
        """Return one byte for each unit of UTF-16; what is not Latin becomes a question mark: it stands in names."""
        data = self._half + data
        even = len(data) // 2 * 2
        self._half = data[even:]
        low, high = data[self._big : even : 2], data[not self._big : even : 2]
        if not any(high):
            return low
        return bytes(one if not other else 0x3F for one, other in zip(low, high, strict=True))
