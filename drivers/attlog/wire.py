r"""The grammar of the files that terminals export to a flash disk. Pure: bytes in, records out.

Two families are known:

* ``attlog``: ``PIN \t YYYY-MM-DD HH:MM:SS \t device \t state \t verify \t work code``, no header, ZKTeco and its many
  brands. PINs are padded with blanks; lines end in CRLF or LF, the last one perhaps in neither. Five columns are
  ``device state verify`` or ``state verify work code``: the values, or the person who imports, decide which.
* ``table``: ``No TMNo EnNo Name Mode IOMd DateTime`` between tabs, often below a header, ASCII, UTF-8 or UTF-16: the
  GLG, AGL and ALOG files of other makers, and files of programs with other columns, named in a header. Codes may be
  words. Names are omitted from all results.

Real files have runs of NUL bytes that begin and end within a line, a truncated last line, dates that a clock past 2^31
printed as negative numbers, and the same lines twice. A line that cannot be decoded is a ``BadRecord`` with its bytes;
the lines after it are still read. A reader holds one line at most, however long the file or the line.
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
ThirdColumn = Literal["device", "state"]
"""Meaning of the third of five columns: with the device number there is no work code, without it there is one."""

MAX_LINE = 1024
"""Bytes of a line that are kept; real lines are less than a tenth as long."""
MAX_LAST_FIELDS = 1000
"""Different texts of the last column that are kept."""
HEAD = 65536
"""Bytes from the beginning of a file by which its form is recognised."""


class NotAnExport(Exception):  # noqa: N818 - named after the condition
    """The file holds no attendance records that this version can read; the message states what it seems to be."""


class AmbiguousColumns(NotAnExport):
    """The third of five columns may be the device number or the state."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Indices of a table's columns, from 0; None where it has no such column."""

    device: int | None = 1
    pin: int = 2
    name: int | None = 3
    verify: int | None = 4
    state: int | None = 5
    moment: int = 6
    count: int = 7
    """Number of columns that every row has."""
    private: tuple[int, ...] = ()
    """Columns with numbers of persons that are no PIN, such as the NIP."""
    narrow: "Columns | None" = None
    """The columns of rows that omit the header's empty columns, if it has any."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a file."""

    family: Family
    encoding: Literal["bytes", "utf-8-sig", "utf-16-le", "utf-16-be"] = "bytes"
    columns: Columns = Columns()
    order: Order | None = None
    """Order of day and month in a table's dates with slashes; None where it is unknown."""
    third: ThirdColumn | None = None
    """Meaning of the third of five columns; None for six columns."""
    in_out: bool = True
    """``In`` and ``Out`` mean arrival and departure; not in a file that has words for the begin and end of work too."""

    @property
    def bom(self) -> int:
        """Length of the byte order mark."""
        return {"bytes": 0, "utf-8-sig": 3}.get(self.encoding, 2)


class Entry(NamedTuple):
    """One line that is not blank."""

    offset: int
    """Offset of its first byte in the file."""
    record: Record
    device: str | None
    """The device number in the line, if any."""
    well_formed: bool
    """Whether it has the form of a record, also of one that cannot be decoded as a punch."""


class _Line(NamedTuple):
    offset: int
    text: bytes
    """The line without its line end; of a long one or one with NULs, the kept part."""
    whole: tuple[int, str] | None
    """Size and SHA-256 of the whole line where ``text`` is a part of it; None where it is the line itself."""
    ended: bool
    """Whether a line end follows; the last line of a truncated file has none."""


# --- form of a file -----------------------------------------------------------------------------------------------

AS_WRITTEN = "bring the file as the terminal wrote it: a spreadsheet changes PINs and dates"
_SIGNATURES = {
    b"\xff\xd8\xff": "a photo (JPEG)",
    b"\x89PNG": "a picture (PNG)",
    b"BM": "a picture (BMP)",
    b"GIF8": "a picture (GIF)",
    b"PK\x03\x04": f"an archive or a spreadsheet (ZIP, XLSX); {AS_WRITTEN}",
    b"\xd0\xcf\x11\xe0": f"a spreadsheet or document of an old kind (XLS, DOC); {AS_WRITTEN}",
    b"%PDF": "a document (PDF)",
    b"SQLite format 3": "a database",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
_SAVED_AGAIN = f"it looks like an export that a spreadsheet has saved again; {AS_WRITTEN}"
_EXPORTS = re.compile(r"(?is)(?!\.).*_attlog\.dat|attlog\.dat|(?:GLG|AGL|ALOG)[^.]*\.(?:txt|dat|csv|xls)")
_EXPORT_LIKE = re.compile(r"(?is)(?!\.).*attlog.*|(?:GLG|AGL|ALOG)[_0-9].*")
_OTHER_EXPORTS = re.compile(
    r"(?i)(?:.*[_-])?(user|template|fptemplate|facetemplate|ssruser|extuser|photo|attphoto|sms|usersms|workcode|"
    r"oplog|bell|timezone|group)\d*\.(?:dat|txt|fp\d*|jpg|bmp)|.*\.(?:jpe?g|png|bmp|gif|xlsx?|zip|pdf|exe|fps?)"
)
_HEADER = re.compile(rb"(?i)(^|\t) *(en ?no|ac-?no\.?|enroll ?(?:no|number)\.?|user ?id|pin) *(\t|$)")
_RESAVED = re.compile(
    rb'"? *[!-~ ]{1,24} *"?[,;\t] *"?'
    rb"(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.](?:\d\d){1,2})[ T]+\d\d?[:.]\d\d.*"
)


def is_export(name: str) -> bool:
    """Return whether terminals give such a name to their exports."""
    return _EXPORTS.fullmatch(name) is not None


def resembles_export(name: str) -> bool:
    """Return whether a person may mistake a file of this name for an export."""
    return _EXPORT_LIKE.fullmatch(name) is not None


def refused_name(name: str) -> str | None:
    """Return the content of a file whose name excludes punches, so that it need not be opened; else None."""
    found = _OTHER_EXPORTS.fullmatch(name)
    if found is None or (not found[1] and is_export(name)):
        return None  # some makers name a text table .xls
    return "users, fingerprints or other data of the terminal" if found[1] else "a picture, document or program"


def uses_words_for_work(words: set[bytes]) -> bool:
    """Return whether words are those for the beginning and end of work, so that In and Out have another meaning."""
    return bool(words & _DUTY)


def serial_of(name: str) -> str | None:
    """Return the first part of a file name, which may be a serial number; None for a device number or another name."""
    found = re.fullmatch(r"(?i)([0-9A-Z-]{6,32})_attlog\.dat", name)
    return found[1] if found else None


def is_serial(word: str) -> bool:
    """Return whether a text may be a serial number, which has some digits; a person may name a file after the month."""
    return sum(character.isdigit() for character in word) >= 4


def number_of(name: str) -> str | None:
    """Return the device number in a file name."""
    found = re.fullmatch(r"(?i)([0-9]{1,5})_attlog\.dat", name)
    return str(int(found[1])) if found else None


def recognise(head: bytes, third: ThirdColumn | None = None) -> Form:
    """Return the form of a file by its first :data:`HEAD` bytes, or all of fewer; NotAnExport where it has none.

    ``third`` is the meaning of the third of five columns; AmbiguousColumns where it is None and the values do
    not decide.
    """
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature) and (len(signature) > 2 or b"\t" not in head[:256]):
            raise NotAnExport(f"the file is {what}")
    form = Form("attlog", "utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "bytes")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        form = Form("table", "utf-16-le" if head[:2] == b"\xff\xfe" else "utf-16-be")
    other: Family = "table" if form.family == "attlog" else "attlog"
    best: tuple[int, Form] = (0, form)
    for candidate in (form, replace(form, family=other), replace(form, family="attlog", third="state")):
        reader = Reader(candidate)
        well_formed = sum(entry.well_formed for entry in reader.feed(head))
        # The end of a short file is within the head: its last line counts also without a line end.
        well_formed += sum(entry.well_formed for entry in reader.close()) if len(head) < HEAD else 0
        if well_formed > best[0]:
            best = (well_formed, reader.form)
    if not best[0]:
        raise NotAnExport(_likeness(head, form))
    found = best[1]
    return replace(found, third=third or _third(head, found)) if found.third else found


def _third(head: bytes, form: Form) -> ThirdColumn:
    """Return the meaning of the third of five columns: a device number does not change, a state is a known code."""
    line_reader = _LineReader(form)
    cuts = [*line_reader.feed(head), *line_reader.close()]
    thirds = {match[3] for cut in cuts if (match := _FIVE.fullmatch(cut.text))}
    one_device = len(thirds) == 1
    states = thirds <= _STATE_CODES
    if one_device == states:
        raise AmbiguousColumns(
            "it has five columns, and whether the third is the device number or the state cannot be told"
        )
    return "device" if one_device else "state"


def _likeness(head: bytes, form: Form) -> str:
    """Return the reason why a file without a record is no export, as far as its first lines show it."""
    lines = [cut.text for cut in _LineReader(form).feed(head[:4096])]
    if any(map(_RESAVED.fullmatch, lines)):
        return _SAVED_AGAIN
    return "none of its first lines is an attendance record"


# --- lines --------------------------------------------------------------------------------------------------------


class Reader:
    """Incremental reader of a file: all of its bytes go to :meth:`feed`, in order, then :meth:`close` is called."""

    def __init__(self, form: Form) -> None:
        self.form = form
        """Updated with the columns of a header that was read."""
        self.orders: set[Order] = {"dmy", "mdy"} if form.order is None else {form.order}
        """Orders that fit all dates with slashes so far; empty where they contradict each other."""
        self.slashes = False
        """Whether a date with slashes was read."""
        self.serial: str | None = None
        """The serial number, where it is the whole first line."""
        self.lines = 0
        """Lines that are not blank."""
        self.headers = 0
        """Lines with column names or a serial number."""
        self.words: set[bytes] = set()
        """Words for states that were read."""
        self.has_rewritten_pins = False
        """A PIN has the form in which spreadsheets write large numbers: its digits are lost."""
        self._shapes: set[tuple[bool, bool]] = set()
        """The forms of a table's dates so far: with seconds or not, with AM or PM or not."""
        self._last_fields: set[bytes] = set()
        """Texts of the last column of an attlog file so far."""
        self._line_reader = _LineReader(form)

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Yield the lines that ``data`` completes, decoded while they are iterated."""
        return filter(None, map(self._entry, self._line_reader.feed(data)))

    def close(self) -> Iterator[Entry]:
        """Yield the last line, where the file does not end with a line end."""
        return filter(None, map(self._entry, self._line_reader.close()))

    def _entry(self, cut: _Line) -> Entry | None:
        text = cut.text
        if not text.strip(b" \t\r\x1a"):
            return None
        self.lines += 1
        if cut.whole is not None:
            return Entry(cut.offset, _damaged(cut, self.form), None, well_formed=False)
        if self.lines == 1 and b"\t" not in text and re.fullmatch(rb"[0-9A-Za-z-]{6,32}", text):
            self.serial = text.decode("ascii")
            self.headers += 1
            return None
        if self.form.family == "attlog":
            return self._checked(self._attlog(cut))
        if _HEADER.search(text) and (columns := _columns(text)) is not None:
            self.form = replace(self.form, columns=columns)
            self.headers += 1
            return None
        return self._checked(self._table(cut.offset, text, ended=cut.ended))

    def _checked(self, entry: Entry) -> Entry:
        record = entry.record
        if isinstance(record, RawPunch) and _REWRITTEN.fullmatch(record.pin or ""):
            self.has_rewritten_pins = True
            return entry._replace(record=_bad(record.raw, "a spreadsheet has rewritten the PIN"))
        return entry

    def _attlog(self, cut: _Line) -> Entry:
        entry = _attlog(cut.offset, cut.text, self.form.third)
        *before, last = cut.text.split(b"\t")
        if not isinstance(entry.record, RawPunch) or len(before) + 1 > (6 if self.form.third is None else 5):
            return entry  # text after the known columns may be truncated without harm
        if cut.ended:
            if len(self._last_fields) < MAX_LAST_FIELDS:
                self._last_fields.add(last.strip(b" "))
        elif self._may_be_a_beginning(last.lstrip(b" ")):
            return entry._replace(record=_bad(entry.record.raw, "the file ends in it"))
        return entry

    def _may_be_a_beginning(self, field: bytes) -> bool:
        """Return whether the end of the file may have truncated a code: the beginning of a code is another code.

        The last columns of other lines decide. The only line of a file is accepted.
        """
        if not self._last_fields:
            return False
        longer = any(known != field and known.startswith(field) for known in self._last_fields)
        return longer or field.rstrip(b" ") not in self._last_fields

    def _table(self, offset: int, text: bytes, *, ended: bool) -> Entry:
        columns = self.form.columns
        fields = [field.strip() for field in text.split(b"\t")]
        if columns.narrow is not None and not _dated(fields, columns) and _dated(fields, columns.narrow):
            columns = columns.narrow
        plain = _without_names(text, columns)
        if len(fields) < columns.count:
            return Entry(offset, _bad(plain, f"{len(fields)} columns, not {columns.count}"), None, well_formed=False)
        device = _code(fields, columns.device)
        match = _TABLE_DATE.fullmatch(fields[columns.moment])
        if match is None:
            return Entry(offset, _bad(plain, "the date cannot be read"), None, well_formed=False)
        number = None if device is None else str(device)
        moment = self._moment(match)
        pin = _pin(fields[columns.pin])
        if moment is None or pin is None:
            what = "no such date" if moment is None else _PIN_RULE
            return Entry(offset, _bad(plain, what), number, well_formed=True)
        shape = (match[9] is not None, match[10] is not None)
        if not ended and self._may_be_cut(shape, columns, len(fields) - 1):
            return Entry(offset, _bad(plain, "the file ends in it"), number, well_formed=True)
        self._shapes.add(shape)
        state, verify = self._codes(fields, columns)
        raw = _without_names(text, columns, words=True)
        return Entry(offset, RawPunch(pin, None, moment, state, verify, None, raw), number, well_formed=True)

    def _may_be_cut(self, shape: tuple[bool, bool], columns: Columns, last: int) -> bool:
        """Return whether the end of the file may have truncated a date, which is then another time, or a PIN."""
        if columns.moment == last:
            return shape not in self._shapes and (bool(self._shapes) or not shape[0])
        return columns.pin == last

    def _codes(self, fields: list[bytes], columns: Columns) -> tuple[int | None, int | None]:
        """Return state and verify; a word determines which of them it is, in either of the two columns."""
        state, verify = _code(fields, columns.state), _code(fields, columns.verify)
        for column in (columns.state, columns.verify):
            word = _word(fields, column)
            if word in _STATE_WORDS:
                self.words.add(word)
                state = None if word in _IN_OUT and not self.form.in_out else _STATE_WORDS[word]
            elif word in _VERIFY_WORDS:
                verify = _VERIFY_WORDS[word]
        return state, verify

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
    rb" *(\d{1,3}) *\t *(\d{1,3}) *\t *([!-~]*) *(?=\t|\Z)"  # text behind them, of some firmware, may be a name
)
_SIGNED_DATE = re.compile(
    rb"([^\t]*)\t *(\d{4})-(-?\d{1,3})-(-?\d{1,3}) (-?\d{1,3}):(-?\d{1,3}):(-?\d{1,3}) *(?:\t[^\t]*){3,4}"
)
_FIVE = re.compile(
    rb" *([!-~](?:[ -~]{0,22}[!-~])?) *\t *(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) *\t *(\d+) *\t *(\d{1,3}) *\t *([!-~]*) *"
)
_STATE_CODES = {b"0", b"1", b"2", b"3", b"4", b"5", b"255"}
_REWRITTEN = re.compile(r"\d(?:[.,]\d+)?[Ee]\+\d+")
_IN_OUT = {b"in", b"out"}
_DUTY = {b"dutyon", b"dutyoff", b"onduty", b"offduty"}
_STATE_WORDS = {
    **dict.fromkeys((b"in", b"masuk", b"datang", b"cin", b"checkin", b"clockin", b"dutyon", b"onduty"), 0),
    **dict.fromkeys((b"out", b"keluar", b"pulang", b"cout", b"checkout", b"clockout", b"dutyoff", b"offduty"), 1),
    **dict.fromkeys((b"breakout",), 2),
    **dict.fromkeys((b"breakin",), 3),
    **dict.fromkeys((b"overtimein", b"overtimeon", b"otin", b"lemburmasuk"), 4),
    **dict.fromkeys((b"overtimeout", b"overtimeoff", b"otout", b"lemburkeluar"), 5),
}
"""Word for a state, without blanks and punctuation → the code of terminals."""
_VERIFY_WORDS = {
    **dict.fromkeys((b"password", b"pw", b"pwd", b"sandi"), 0),
    **dict.fromkeys((b"fp", b"finger", b"fingerprint", b"sidikjari", b"jari"), 1),
    **dict.fromkeys((b"card", b"rfcard", b"kartu"), 2),
    **dict.fromkeys((b"face", b"wajah"), 15),
}
_CODE = re.compile(rb"\d{1,3}")
_TABLE_DATE = re.compile(
    rb"(?:(\d{4})[-/.](\d\d?)[-/.](\d\d?)|(\d\d?)[-/.](\d\d?)[-/.](\d{4})) +"
    rb"(\d\d?):(\d\d)(?::(\d\d))?(?: *([AaPp][Mm]))?"
)


def _attlog(offset: int, text: bytes, third: ThirdColumn | None) -> Entry:
    match = _ATTLOG.match(text) if third is None else _FIVE.fullmatch(text)
    if match is None:
        return _bad_attlog_line(offset, text, 6 if third is None else 5)
    pin, when, *rest = match.groups()
    device: bytes | None = None
    if third != "state":
        device, *rest = rest
    state_text, verify_text, work_code = (*rest, b"")[:3]
    number = None if device is None else device.lstrip(b"0").decode("ascii") or "0"
    try:
        moment = datetime.fromisoformat(when.decode("ascii"))
    except ValueError:
        return Entry(offset, _bad(match[0], "no such date"), number, well_formed=True)
    if not (_CODE.fullmatch(state_text) and _CODE.fullmatch(verify_text)):
        return Entry(offset, _bad(match[0], "a code that is no number"), number, well_formed=True)
    state, verify = int(state_text), int(verify_text)
    if state > 255 or verify > 255:
        return Entry(offset, _bad(match[0], "a code above 255"), number, well_formed=True)
    work = work_code.decode("ascii") or None
    punch = RawPunch(pin.decode("ascii"), None, moment, state, verify, work, match[0])
    return Entry(offset, punch, number, well_formed=True)


def _bad_attlog_line(offset: int, text: bytes, columns: int) -> Entry:
    match = _SIGNED_DATE.match(text)
    if match is None:
        return Entry(offset, _bad(text, "not a line of an attlog file"), None, well_formed=False)
    year, *rest = map(int, match.groups()[1:])
    meant = _recover_signed_time(year, *rest) if min(rest) < 0 else None
    reason = "no such date" if _pin(match[1]) else _PIN_RULE
    if meant is not None:
        reason = f"the clock printed negative numbers; what it held means {meant:%Y-%m-%d %H:%M:%S}"
    elif _pin(match[1]) and _date(year, *rest) is not None:
        found = match[0].count(b"\t") + 1
        wrong = f"{found} columns, not {columns}" if found != columns else "a code that is no number"
        return Entry(offset, _bad(match[0], wrong), None, well_formed=False)
    return Entry(offset, _bad(match[0], reason), None, well_formed=True)


def _pin(text: bytes) -> str | None:
    """Return a PIN by the rule of all drivers, 1 to 24 printable ASCII characters, unpadded; else None."""
    pin = text.strip(b" ")
    if not 1 <= len(pin) <= 24 or any(not 32 <= byte < 127 for byte in pin):
        return None
    return pin.decode("ascii")


def _date(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - a terminal's wall clock has no zone
    except ValueError:
        return None


def _recover_signed_time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    """Return the time of a clock that printed these numbers from a signed 32-bit value, in months of 31 days."""
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
    """Return the number in a column; None where it has none, or where the row is shorter than its header."""
    if column is None or column >= len(fields) or not re.fullmatch(rb"\d{1,9}", fields[column]):
        return None
    return int(fields[column])


def _dated(fields: list[bytes], columns: Columns) -> bool:
    """Return whether a row has its date in the column of ``columns``."""
    return len(fields) >= columns.count and _TABLE_DATE.fullmatch(fields[columns.moment]) is not None


def _word(fields: list[bytes], column: int | None) -> bytes:
    if column is None or column >= len(fields):
        return b""
    return re.sub(rb"[ ./_-]", b"", fields[column].lower())


def _columns(header: bytes) -> Columns | None:
    """Return the columns that a header names; None where it names no PIN or no date."""
    names = [re.sub(rb"[^a-z]", b"", field.lower()) for field in header.split(b"\t")]
    wide = _named(names)
    if wide is None:
        return Columns() if b"enno" in names else None
    while names and not names[-1]:
        names.pop()
    return replace(wide, narrow=_named([name for name in names if name])) if b"" in names else wide


def _named(names: list[bytes]) -> Columns | None:
    def place(*wanted: bytes) -> int | None:
        return next((names.index(name) for name in wanted if name in names), None)

    moment = place(b"datetime", b"time", b"date", b"waktu", b"tanggal")
    pin = place(b"enno", b"acno", b"enrollno", b"enrollnumber", b"userid", b"pin")
    if pin is None or moment is None:
        return None
    return Columns(
        device=place(b"tmno", b"mchn", b"tmn"),
        pin=pin,
        name=place(b"name", b"nama"),
        verify=place(b"mode", b"verifycode", b"verify"),
        state=place(b"inout", b"iomd", b"iomode", b"state", b"status"),
        moment=moment,
        count=max(pin, moment) + 1,
        private=tuple(at for at, name in enumerate(names) if name in (b"nip", b"nik", b"card", b"cardno")),
    )


_DIGITS = re.compile(rb"[-0-9/.: ]*(?:[AaPp][Mm])?")


def _without_names(text: bytes, columns: Columns, *, words: bool = False) -> bytes:
    """Return a table's line without anything that may be a name: only the PIN and numbers, dates and times stay.

    With ``words``, those for states and ways of verification stay too, in their columns.
    """
    fields = text.split(b"\t")
    whole = len(fields) >= columns.count
    for number, field in enumerate(fields):
        known = words and number in (columns.state, columns.verify) and _is_word(_word(fields, number))
        plain = _DIGITS.fullmatch(field) or (whole and number == columns.pin) or known
        if number == columns.name or number in columns.private or not plain:
            fields[number] = b""
    return b"\t".join(fields)


def _is_word(word: bytes) -> bool:
    return word in _STATE_WORDS or word in _VERIFY_WORDS


def _bad(text: bytes, reason: str) -> BadRecord:
    return BadRecord(text, text, reason)


def _damaged(cut: _Line, form: Form) -> BadRecord:
    size, digest = cut.whole or (len(cut.text), "")
    text = cut.text if form.family == "attlog" else _without_names(cut.text, form.columns)
    reason = "NUL bytes in the line" if b"\0" in cut.text else f"a line of {size} bytes"
    return BadRecord(text, bytes.fromhex(digest), reason, size, digest)


class _LineReader:
    """Incremental parser of a file into lines; keeps at most :data:`MAX_LINE` bytes of each, and one NUL of a run."""

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

    def feed(self, data: bytes) -> Iterator[_Line]:
        if self._skip:
            self._skip, data = max(0, self._skip - len(data)), data[self._skip :]
        *lines, rest = (self._narrowed(data) if self._wide else data).split(b"\n")
        for line in lines:
            if self._size or b"\0" in line or len(line) > MAX_LINE:
                self._hold(line)
                yield self._take()
            else:
                yield _Line(self._base + self._at * self._width, line.removesuffix(b"\r"), None, ended=True)
                self._at += len(line)
            self._at += 1
        self._hold(rest)

    def close(self) -> Iterator[_Line]:
        if self._size:
            yield self._take(ended=False)

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

    def _take(self, *, ended: bool = True) -> _Line:
        offset, size = self._base + self._at * self._width, self._size
        whole = (size, self._hash.hexdigest()) if self._damaged or size > MAX_LINE else None
        text = bytes(self._kept).removesuffix(b"\r")
        ended = ended or self._kept.endswith(b"\r")
        self._at += size
        self._kept.clear()
        self._size, self._damaged, self._hash = 0, False, sha256()
        return _Line(offset, text, whole, ended)

    def _narrowed(self, data: bytes) -> bytes:
        """Return one byte for each unit of UTF-16; a character outside of Latin-1, which only names have, is ``?``."""
        data = self._half + data
        even = len(data) // 2 * 2
        self._half = data[even:]
        low, high = data[self._big : even : 2], data[not self._big : even : 2]
        if not any(high):
            return low
        return bytes(one if not other else 0x3F for one, other in zip(low, high, strict=True))
