"""The web service ``/iWsService`` of Solution and ZKTeco terminals: bytes to values. No I/O.

It resembles SOAP and is neither SOAP nor XML: there is no envelope, ``xsi:`` is not declared, and names of persons are
not escaped. A reply has no length and ends with its connection; only the closing tag shows that it is whole. Rows are
found by their tags, in bytes. Tags other than those of a punch, such as names, are left out of every result.

Sources: the vendor's samples for the Solution X601; clients tested with X100-C, X302-S, X304, X606-S and ZEM boards.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from hashlib import sha256
from html import unescape
from itertools import repeat
from typing import Literal, NamedTuple

from drivers.base import BadRecord, RawPunch, Record

Method = Literal["GetAttLog", "GetDate", "SetDate"]

ALLOWED: frozenset[Method] = frozenset({"GetAttLog", "GetDate"})
"""Every method that may leave this driver at any time. None of them changes what a terminal holds."""
CLOCK_METHODS: frozenset[Method] = frozenset({"SetDate"})
"""What may leave it besides while a clock is set."""

PATH = "/iWsService"
HEAD_BYTES = 8192
"""Longest head of a reply that is read; the terminals' own have less than 300 bytes."""
ROW_BYTES = 4096
"""Longest row that is read; a punch has about 130 bytes."""
KEPT_BYTES = 1024
"""Bytes that are kept of a longer row."""
NO_DATA = "No data!"
"""The information in place of rows where there are none."""

TAG_BYTES = 64
"""Bytes in which a tag may have begun."""
_CLOSING_ROW = b"</Row>"
_PUNCH_TAG = re.compile(rb"<(?:PIN|DateTime)[\s>]")
_END_OF_ROW = re.compile(rb"</Row>|<Row[\s>/]")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/\d\.\d +(\d{3})(?:[ \r\n]|$)")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")
_WEB_PAGE = re.compile(rb"<\s*(?:!doctype\s+html|html|head|body|title)\b", re.IGNORECASE)


class WireError(ValueError):
    """Bytes that are no reply of HTTP."""


def request(method: Method, comm_key: int, moment: datetime | None = None) -> bytes:
    """Return a request as the vendor's own clients send it; ``moment`` is the time to set, of ``SetDate``."""
    key = b'<ArgComKey xsi:type="xsd:integer">%d</ArgComKey>' % comm_key
    argument = b""
    if method == "GetAttLog":
        argument = b'<Arg><PIN xsi:type="xsd:integer">All</PIN></Arg>'
    elif method == "SetDate" and moment is not None:
        argument = f"<Arg><Date>{moment:%Y-%m-%d}</Date><Time>{moment:%H:%M:%S}</Time></Arg>".encode("ascii")
    name = method.encode("ascii")
    body = b"<%b>%b%b</%b>" % (name, key, argument, name)
    head = f"POST {PATH} HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


# --- replies of HTTP ----------------------------------------------------------------------------------------------


class HttpReply:
    """The head and the body of one reply, cut from the bytes of its connection.

    The body ends with the connection: a ``Content-Length`` is not believed, since some firmware counts wrongly. Chunks
    are decoded, also where they were not permitted.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        """None until the head is complete."""
        self._held = b""
        self._chunked = False
        self._left = 0
        """Bytes of the present chunk that are still to come, with its line end."""
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body in ``data``; WireError where it is no reply of HTTP."""
        if self.status is None:
            data = self._head(data)
        return self._decoded(data) if self._chunked else data

    def _head(self, data: bytes) -> bytes:
        held = self._held + data
        if not held.startswith(b"HTTP/"[: len(held)]):
            raise WireError("the answer is not HTTP")
        end = _END_OF_HEAD.search(held, 0, HEAD_BYTES)
        if end is None:
            if len(held) >= HEAD_BYTES:
                raise WireError(f"the head of the answer is longer than {HEAD_BYTES} bytes")
            self._held = held
            return b""
        found = _STATUS.match(held)
        if found is None:
            raise WireError("the answer has no status")
        self._held = b""
        rest = held[end.end() :]
        if found[1].startswith(b"1"):  # an interim reply: the final one follows
            return self._head(rest)
        self.status = int(found[1])
        self._chunked = re.search(rb"\n *transfer-encoding *: *chunked", held[: end.end()], re.IGNORECASE) is not None
        return rest

    def _decoded(self, data: bytes) -> bytes:
        """Return the content of chunks; what follows the last one is discarded."""
        data, self._held = self._held + data, b""
        content = []
        while data and not self._over:
            if self._left > 2:
                piece = data[: self._left - 2]
                content.append(piece)
                self._left -= len(piece)
                data = data[len(piece) :]
            elif self._left:
                ended = min(self._left, len(data))
                self._left, data = self._left - ended, data[ended:]
            elif (size := _CHUNK.match(data)) is not None:
                self._left = int(size[1], 16) + 2
                self._over = self._left == 2
                data = data[size.end() :]
            elif len(data) > 256 or b"\n" in data:
                raise WireError("a chunk of the answer has no size")
            else:
                self._held, data = data, b""
        return b"".join(content)


# --- rows ---------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Consecutive rows of the usual form, one on each line: a whole log is read in half the time."""

    data: bytes
    """From the first ``<Row>`` to the line end behind the last ``</Row>``."""
    rows: int


Row = bytes | BadRecord
"""A row, or one that is too long to be kept."""
_BETWEEN = b"</Row>\r\n<Row>"


class RowReader:
    """Cuts the body of a reply into rows, and holds one of them at most: a longer one costs :data:`KEPT_BYTES`.

    A row is the bytes from ``<Row`` to ``</Row>``. Outside of rows, a tag of a punch begins one, so that it becomes a
    BadRecord in its place; anything else there is discarded. In how many pieces the body arrives changes no row.
    """

    def __init__(self, method: Method) -> None:
        self._opening = b"<%bResponse" % method.encode("ascii")
        self._closing = re.compile(rb"</%bResponse\s*>" % method.encode("ascii"))
        self.is_begun = False
        """The opening tag of the response was received."""
        self.is_whole = False
        """The closing tag of the response was received."""
        self.is_web_page = False
        """It begins like a page for people."""
        self.has_tags = False
        """It begins with tags, those of the response or others."""
        self._held = b""
        self._seen = 0
        self._long: _LongRow | None = None

    @property
    def is_blank(self) -> bool:
        """Whether nothing was received."""
        return not self._seen

    def feed(self, data: bytes) -> list[Row | Block]:
        """Return the rows that ``data`` completes."""
        rows: list[Row | Block] = []
        if self._long is not None:
            following = self._long.feed(data)
            if following is None:
                return rows
            rows.append(self._long.end())
            self._long, data = None, following
        self._seen += len(data)
        data = (self._held + data).lstrip(b"\r\n")
        if self.is_begun and (block := _block(data)) is not None:
            rows.append(block)
            data = data[len(block.data) :]
        *ended, rest = data.split(_CLOSING_ROW)
        if not self.is_begun:
            self._look_at_beginning(ended[0] if ended else rest)
        for part in ended:
            self._cut(part + _CLOSING_ROW, rows)
        self._hold(rest, rows)
        return rows

    def close(self) -> list[Row | Block]:
        """Return what the end of the reply completes, and find out whether it is whole."""
        rows: list[Row | Block] = []
        if self._long is not None:
            self.is_whole = self._long.is_closed(self._closing)
            rows.append(self._long.end())
            self._long = None
            return rows
        closing = self._closing.search(self._held)
        self.is_whole = closing is not None
        if closing is not None:
            self._cut(self._held[: closing.start()], rows)
        self._held = b""
        return rows

    def _look_at_beginning(self, part: bytes) -> None:
        self.is_begun = self._opening in part
        self.has_tags |= b"<" in part
        if not self.is_begun and self._seen - len(part) < KEPT_BYTES:
            self.is_web_page |= _WEB_PAGE.search(part[:KEPT_BYTES]) is not None

    def _cut(self, part: bytes, rows: list[Row | Block]) -> None:
        """Add the row in ``part``, and rows in front of it that have no end."""
        first, *pieces = re.split(rb"(?=<Row[\s>/])", part)
        if (tag := _PUNCH_TAG.search(first)) is not None:
            pieces.insert(0, first[tag.start() :])
        rows += map(_bounded, pieces)

    def _hold(self, rest: bytes, rows: list[Row | Block]) -> None:
        """Keep the beginning of a row; not more than the longest one may have."""
        if len(rest) <= ROW_BYTES:
            self._held = rest
            return
        self._held = b""
        start = rest.rfind(b"<Row")
        if start < 0 and (tag := _PUNCH_TAG.search(rest)) is not None:
            start = tag.start()
        if start < 0:
            self._held = rest[-TAG_BYTES:]
        elif len(rest) - start > ROW_BYTES:
            self._cut(rest[:start], rows)
            self._long = _LongRow(rest[start:])
            self._long.feed(b"")
        else:
            self._cut(rest[:start], rows)
            self._held = rest[start:]


def _block(data: bytes) -> Block | None:
    """Return the rows at the beginning of ``data`` but the last; None where one of them has another form."""
    if not data.startswith(b"<Row>") or (end := data.rfind(_BETWEEN)) < 0:
        return None
    block = data[: end + len(_CLOSING_ROW) + 2]
    count = block.count(_BETWEEN) + 1
    is_usual = block.count(b"<Row") == block.count(_CLOSING_ROW) == count and b"<Information" not in block
    return Block(block, count) if is_usual else None


def _bounded(row: bytes) -> Row:
    return row.strip() if len(row) <= ROW_BYTES else _LongRow(row).end()


def single(rows: Iterable[Row | Block]) -> Iterator[Row]:
    """Yield the rows one by one."""
    for row in rows:
        if isinstance(row, Block):
            yield from (_bounded(one + _CLOSING_ROW) for one in row.data.split(_CLOSING_ROW)[:-1])
        else:
            yield row


class _LongRow:
    """A row that is longer than any punch: counted, digested, and kept in part."""

    def __init__(self, data: bytes) -> None:
        self._digest = sha256()
        self._size = 0
        self._kept = data[:KEPT_BYTES]
        opening, self._tail = data[:1], data[1:]
        self._count(opening)  # so that its own opening tag is not taken for that of the next row

    def feed(self, data: bytes) -> bytes | None:
        """Return what follows the row; None while it goes on. Without an end it ends where the next row begins."""
        data, self._tail = self._tail + data, b""
        found = _END_OF_ROW.search(data)
        if found is None:
            self._count(data[:-TAG_BYTES])
            self._tail = data[-TAG_BYTES:]
            return None
        end = found.end() if found[0] == _CLOSING_ROW else found.start()
        self._count(data[:end])
        return data[end:]

    def is_closed(self, closing: re.Pattern[bytes]) -> bool:
        """Whether the last bytes hold a closing tag."""
        return closing.search(self._tail) is not None

    def end(self) -> BadRecord:
        """Return the row as it is kept."""
        self._count(self._tail)
        self._tail = b""
        kept = without_unknown(self._kept)
        return BadRecord(kept, kept, f"a row of {self._size} bytes", self._size, self._digest.hexdigest())

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)


# --- punches ------------------------------------------------------------------------------------------------------

_KNOWN = rb"(?:Row|PIN|DateTime|Verified|Status|WorkCode|Result|Information)(?![A-Za-z0-9_:.-])"
_UNKNOWN = re.compile(rb"<(?!/?" + _KNOWN + rb")[^<]*")
_USUAL = re.compile(
    r"(<Row><PIN>([!-%'-;=-~]{1,24})</PIN><DateTime>(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)</DateTime>"
    r"<Verified>(\d{1,9})</Verified><Status>(\d{1,9})</Status><WorkCode>(\d{0,9})</WorkCode></Row>)",
    re.ASCII,
)
"""A row without anything unusual."""
_punch = partial(tuple.__new__, RawPunch)
"""What ``RawPunch._make`` does, without a Python call for each row."""
_work_code = {"": None}.get
_FIELD = re.compile(rb"<(PIN|DateTime|Verified|Status|WorkCode|Result|Information)(?:\s[^<>]*)?>([^<]*)</\1\s*>")
_PUNCH = frozenset({"PIN", "DateTime", "Verified", "Status", "WorkCode"})
_TAG = re.compile(rb"</?(?:PIN|DateTime|Verified|Status|WorkCode)(?![A-Za-z0-9_:.-]|[^<>]*/>)")
"""Beginning or end of a field; an empty element is neither."""
_DATE = re.compile(r"\s*(\d{4})-(\d\d?)-(\d\d?)[ T](\d\d?):(\d\d?):(\d\d?)\s*", re.ASCII)
_CODE = re.compile(rb"\s*(\d{1,9})\s*")
MAX_PIN = MAX_WORK_CODE = 24


class Information(NamedTuple):
    """A row with a text in place of a punch, such as :data:`NO_DATA`."""

    text: str


def without_unknown(raw: bytes) -> bytes:
    """Return a row without the tags that a punch does not have, and the text in them: names are not kept."""
    return _UNKNOWN.sub(b"", raw)


def information(row: Row | Block) -> Information | None:
    """Return the text of a row that has one in place of a punch; None for all others."""
    if not isinstance(row, bytes) or b"<Information" not in row:
        return None
    fields = _fields(row)
    if "PIN" in fields or "DateTime" in fields:
        return None
    text = fields.get("Information", b"").decode("latin-1").strip()
    return Information("".join(char if char.isprintable() else "?" for char in text[:80]))


def records(rows: Iterable[Row | Block]) -> Iterator[Record]:
    """Yield the records of rows, in their order; rows with a text in place of a punch are left out."""
    for row in rows:
        if isinstance(row, Block):
            punches = _punches(row)
            yield from map(_of, single((row,))) if punches is None else punches
        elif information(row) is None:
            yield _of(row)


def _of(row: Row) -> Record:
    return row if isinstance(row, BadRecord) else _record(row)


def _punches(block: Block) -> Iterator[RawPunch] | None:
    """Return the punches of a block, column by column; None where one of its rows has another form, or is none."""
    found = _USUAL.findall(block.data.decode("latin-1"))
    if len(found) != block.rows:  # each row has one ``<Row``, and matches once at most
        return None
    raws, pins, times, verifies, states, work_codes = zip(*found, strict=True)
    try:
        moments = [*map(datetime.fromisoformat, times)]
    except ValueError:
        return None
    if "0" in pins:
        return None
    codes = map(_work_code, work_codes, work_codes)
    columns = pins, repeat(None), moments, map(int, states), map(int, verifies), codes, map(str.encode, raws)
    return map(_punch, zip(*columns, repeat(None)))


def _record(row: bytes) -> Record:
    raw = without_unknown(row)
    fields = _fields(row)
    pin = _text(fields.get("PIN", b""), MAX_PIN)
    if not pin or pin == "0":
        return _bad(raw, "no PIN of 1 to 24 printable ASCII characters")
    moment = _moment(fields.get("DateTime", b""))
    if moment is None:
        return _bad(raw, "no such date and time")
    if len(_TAG.findall(row)) != 2 * len(fields.keys() & _PUNCH):
        # Bytes are missing or changed: the person of one punch and the time of the next are no punch, and a code that
        # cannot be read is not one that the terminal did not send.
        return _bad(raw, "a field is broken, or occurs twice")
    codes: list[int | None] = []
    for name in ("Status", "Verified"):
        field = fields.get(name, b"")
        code = _CODE.fullmatch(field)
        if code is None and field.strip():
            return _bad(raw, f"{name} is no number")
        codes.append(int(code[1]) if code is not None else None)
    work_code = _text(fields.get("WorkCode", b""), MAX_WORK_CODE)
    if work_code is None:
        return _bad(raw, "the work code is no printable text")
    return RawPunch(pin, None, moment, codes[0], codes[1], work_code or None, raw)


def _bad(raw: bytes, reason: str) -> BadRecord:
    return BadRecord(raw, raw, reason)


def _fields(row: bytes) -> dict[str, bytes]:
    """Return the first text of each known tag."""
    fields: dict[str, bytes] = {}
    for name, text in _FIELD.findall(row):
        fields.setdefault(name.decode("ascii"), text)
    return fields


def _text(field: bytes, most: int) -> str | None:
    """Return a printable text, with the five entities replaced; None where it is none or too long."""
    text = field.decode("latin-1").strip(" \t\r\n")
    if re.search("&(?:amp|lt|gt|quot|apos);", text):
        text = re.sub("&(?:amp|lt|gt|quot|apos);", lambda entity: unescape(entity[0]), text)
    return text if text.isascii() and (text.isprintable() or not text) and len(text) <= most else None


def _moment(field: bytes) -> datetime | None:
    match = _DATE.fullmatch(field.decode("latin-1"))
    try:
        return datetime(*map(int, match.groups())) if match else None  # type: ignore[arg-type]  # noqa: DTZ001 - a terminal's wall clock
    except ValueError:
        return None


# --- the clock, and whether there is a service --------------------------------------------------------------------

_CLOCK_FIELD = re.compile(rb"<(Date|Time)(?:\s[^<>]*)?>([^<]*)</\1\s*>")


def clock(rows: Iterable[Row | Block]) -> datetime | None:
    """Return the wall clock in the rows of an answer to ``GetDate``; None where it shows no possible time."""
    for row in single(rows):
        if isinstance(row, bytes):
            fields = dict(_CLOCK_FIELD.findall(row))
            if {b"Date", b"Time"} <= fields.keys():
                return _moment(fields[b"Date"].strip() + b" " + fields[b"Time"].strip())
    return None


def offers_service(reply: bytes) -> bool:
    """Return whether the beginning of a reply to ``GetDate`` is that of a terminal with this service.

    A login page, a redirection, status 404 and other protocols are none.
    """
    http, rows = HttpReply(), RowReader("GetDate")
    try:
        rows.feed(http.feed(reply))
    except WireError:
        return False
    rows.close()
    return http.status == 200 and rows.is_begun
