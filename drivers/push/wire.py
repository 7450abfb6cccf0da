r"""The format of ZKTeco PUSH: punches, tables, options, commands. Pure: bytes in, values and bytes out.

A terminal sends punches as lines of fields between TABs, or of ``key=value`` pairs. Depending on its firmware it sends
4, 7, 9, 10 or 12 fields. From the eighth on they are a temperature, a mask, a national identity number, a position:
personal data that nothing here keeps. Everything biometric is counted by lines and discarded.

Sources: the official HTTP PUSH SDK 2.0.1, Attendance PUSH 2.4.1 and 2.4.2, Security PUSH 3.1.2; terminals seen in
Indonesian offices (Solution X903, X100-C, MB160, MB560-VL).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, NamedTuple

from drivers.base import BadRecord, RawPunch, Record

MAX_LINE = 1024
"""Bytes of a line that are kept; a punch has less than a hundred."""
KEPT_FIELDS = 7
"""Fields of a punch that are kept: PIN, time, state, verify, work code and two reserved ones."""
MAX_PIN = 24
MAX_WORK_CODE = 24
LOOK = 4096
"""Bytes at the beginning of an unknown table that decide whether it may hold punches."""
MAX_OPTIONS = 16_384
"""Bytes of a list of options that are searched; real lists have less than 4 KB."""
QUERY_DAYS = 31
"""Maximum days of one query of punches: longer ones time out in terminals."""

ALLOWED = frozenset({"DATA QUERY ATTLOG", "VERIFY SUM ATTLOG", "CHECK"})
"""Every command that this driver may send. None of them changes what a terminal holds.

CHECK makes a terminal read its options again, the stamps among them.
"""
SERVER_VERSION = "2.4.1"
"""The newest dialect of Attendance PUSH without encryption that every firmware can fall back from."""
SECURITY_VERSION = "3.1.2"

Table = Literal["punches", "drained", "photo", "options", "events", "state", "unknown"]
"""What an upload holds: punches of the attendance or the security dialect, options, or data that is discarded."""

DRAINED = frozenset(
    {"operlog", "userinfo", "user", "users", "extuser", "mulcarduser", "userpic", "userauthorize", "idcard"}
    | {"fingertmp", "fp", "template", "templatev10", "face", "facev7", "fvein", "biodata", "biophoto"}
    | {"errorlog", "syslog", "workcode", "sms", "user_sms", "timezone", "holiday"}
)
"""Tables without punches: operations, and data of persons that is discarded unread."""
_FIXED: Mapping[str, Table] = {
    "attlog": "punches",
    "transaction": "punches",
    "attphoto": "photo",
    "options": "options",
    "rtlog": "events",
    "rtstate": "state",
}


# --- uploads ------------------------------------------------------------------------------------------------------


class Upload(NamedTuple):
    """What a POST with data announces."""

    table: Table
    name: str
    """Name of the table as the terminal writes it, in lower case; limited to what may be logged."""
    stamp_key: str | None = None
    """Name under which the terminal's stamp is kept: ATTLOG, OPERLOG, ATTPHOTO; None: it has none."""
    stamp: str | None = None
    """The terminal's stamp; None: none, or one that may not be sent back."""
    rows: bool = False
    """The answer is ``<table>=<n>``, as the security dialect expects it for tables."""


_STAMP = re.compile(r"[0-9A-Za-z.:_-]{1,32}")
_STAMPED: Mapping[str, str] = {"attlog": "ATTLOG", "operlog": "OPERLOG", "attphoto": "ATTPHOTO"}


def printable(text: str, most: int = 32) -> str:
    """Return a word of a request as it may stand in a log or an answer: letters, digits and ``_.-``."""
    return re.sub(r"[^0-9A-Za-z_.-]", "?", text[:most])


def upload(endpoint: str, parameters: Mapping[str, str]) -> Upload:
    """Return what a POST holds, by its path's last component and its parameters (names in lower case).

    Firmware of before 2.2 names no table: ``Stamp`` alone announces punches, ``OpStamp`` operations.
    """
    name = parameters.get("table", "")
    rows = endpoint == "querydata" or name.lower() == "tabledata"
    if rows:
        name = parameters.get("tablename", "")
    elif endpoint == "fdata" or (not name and "photostamp" in parameters):
        name = name or "ATTPHOTO"
    elif not name and "opstamp" in parameters:
        name = "OPERLOG"
    elif not name and "stamp" in parameters:
        name = "ATTLOG"
    lower = printable(name).lower()
    table: Table = _FIXED.get(lower, "drained" if lower in DRAINED else "unknown")
    if rows and table not in ("punches", "events", "unknown"):
        table = "drained"
    # The stamp of records of a requested span would skip what lies between them and the newest sent ones.
    key = None if "starttime" in parameters else _STAMPED.get(lower)
    names = {"ATTLOG": ("stamp",), "OPERLOG": ("opstamp", "stamp"), "ATTPHOTO": ("photostamp", "stamp")}
    stamp = next((parameters[part] for part in names.get(key or "", ()) if part in parameters), None)
    return Upload(table, lower, key, stamp if stamp and _STAMP.fullmatch(stamp) else None, rows)


class CutLine(NamedTuple):
    """One line that holds something, without its end."""

    text: bytes
    """Its first :data:`MAX_LINE` bytes."""
    size: int
    """Bytes of the whole line."""
    sha256: str | None = None
    """Of the whole line in hexadecimal, where ``text`` is only its beginning."""


class LineReader:
    """Splits a body into lines, and holds one of them at most; a line of any length costs :data:`MAX_LINE` bytes."""

    def __init__(self) -> None:
        self.count = 0
        """Lines that hold something, so far."""
        self._held = bytearray()
        self._size = 0
        self._digest = sha256()

    def feed(self, data: bytes) -> Iterator[CutLine]:
        """Yield the lines that ``data`` completes; must be iterated to the end."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield from self.close()
        self._add(rest)

    def close(self) -> Iterator[CutLine]:
        """Yield the line that has no end."""
        text, size, digest = bytes(self._held), self._size, self._digest
        self._held.clear()
        if size > MAX_LINE:
            self._digest = sha256()
        self._size = 0
        if size <= MAX_LINE:
            text = text.rstrip(b"\r")
            if not text.strip(b" \t\0"):
                return
        self.count += 1
        yield CutLine(text, size, digest.hexdigest()) if size > MAX_LINE else CutLine(text, len(text))

    def _add(self, piece: bytes) -> None:
        before, self._size = self._size, self._size + len(piece)
        if self._size > MAX_LINE:
            if before <= MAX_LINE:
                self._digest.update(self._held)
                self._digest.update(piece)
                self._held += piece[: MAX_LINE - before]
            else:
                self._digest.update(piece)
            return
        self._held += piece


class LineCounter:
    """Counts the lines of a body that is discarded."""

    def __init__(self) -> None:
        self._ended = 0
        self._open = False

    @property
    def count(self) -> int:
        """Lines that hold something, so far."""
        return self._ended + self._open

    def feed(self, data: bytes) -> None:
        """Count, and keep nothing."""
        first, *others = data.split(b"\n")
        self._open |= bool(first.strip(b" \t\r\0"))
        if others:
            self._ended += self._open + sum(1 for line in others[:-1] if line.strip(b" \t\r\0"))
            self._open = bool(others[-1].strip(b" \t\r\0"))


# --- punches ------------------------------------------------------------------------------------------------------

_DATE = re.compile(rb" *(\d{4})-(\d\d?)-(\d\d?)[ T](\d\d?):(\d\d?):(\d\d?) *")
_CODE = re.compile(rb" *(\d{1,9}) *")
_PACKED = re.compile(rb" *(\d{1,10}) *")
_HEAD_LINES = (b"CHECK LOG:", b"TableName")
"""Lines between punches that hold none (old firmware)."""
_KEYS: Mapping[bytes, str] = {
    b"pin": "pin",
    b"datetime": "time",
    b"time": "time",
    b"time_second": "time",
    b"status": "state",
    b"state": "state",
    b"inoutstatus": "state",
    b"inoutstate": "state",
    b"verify": "verify",
    b"verified": "verify",
    b"verifytype": "verify",
    b"verifymode": "verify",
    b"workcode": "work_code",
    b"event": "event",
    b"eventtype": "event",
    b"index": "index",
}
"""Keys that are kept. Cards, temperatures, masks and everything unknown are left out."""
_PUNCH_EVENTS = (range(20), range(200, 254), range(4000, 5000))
"""Codes of rtlog for passed verifications; the others are denials, alarms and states of doors."""


class _Fields(NamedTuple):
    """The fields of a punch as bytes; None where the line has no such field."""

    pin: bytes
    time: bytes
    state: bytes | None
    verify: bytes | None
    work_code: bytes | None
    raw: bytes
    """The kept part of the line."""


def punch(line: CutLine) -> Record | None:
    """Return the punch of one line of ATTLOG; None for a line that is no record.

    Fields from the eighth on are in no result. A line without TABs, PIN or date is a BadRecord.
    """
    text = line.text
    if text.startswith(_HEAD_LINES):
        return None
    fields = text.split(b"\t")
    if fields[0].strip().upper() == b"ATTLOG":
        fields = fields[1:]
    raw = b"\t".join(fields[:KEPT_FIELDS])
    is_positional = len(fields) > 1 and _DATE.fullmatch(fields[1]) is not None
    if b"=" in (fields[0] if is_positional else raw):
        pairs, raw = _pairs(text, line)
        return _decoded(_of_pairs(pairs, raw), lenient=False)
    whole = line.sha256 is None or len(fields) > KEPT_FIELDS
    if not whole:
        return BadRecord(raw, raw, f"a line of {line.size} bytes", line.size, line.sha256)
    if len(fields) < 2:
        return _bad(b",".join(raw.split(b",")[:KEPT_FIELDS]), "no TABs between fields")
    rest = [*fields[2:5], None, None, None]
    return _decoded(_Fields(fields[0], fields[1], rest[0], rest[1], rest[2], raw), lenient=False)


def event(line: CutLine) -> Record | None:
    """Return the punch of one line of rtlog, or of the table transaction; None for an event that is no punch."""
    pairs, raw = _pairs(line.text, line)
    code = _CODE.fullmatch(pairs.get("event", b""))
    pin = pairs.get("pin", b"").strip()
    if code is not None and (pin in (b"", b"0") or not any(int(code[1]) in codes for codes in _PUNCH_EVENTS)):
        return None
    if code is None:
        return _bad(raw, "the event's code cannot be read")
    return _decoded(_of_pairs(pairs, raw), lenient=True)


def may_hold_punches(head: bytes) -> bool:
    """Return whether an unknown table may hold punches, by its first :data:`LOOK` bytes."""
    for line in head.split(b"\n"):
        fields = line.split(b"\t")
        if len(fields) > 1 and _DATE.fullmatch(fields[1].rstrip(b"\r")):
            return True
        pairs, _ = _pairs(line, None)
        if "pin" in pairs and "time" in pairs:
            return True
    return False


def _pairs(text: bytes, line: CutLine | None) -> tuple[dict[str, bytes], bytes]:
    """Return the known pairs of a line by meaning, and the part of it that is kept.

    The separator is the TAB; lines without one have commas. The last pair of a line that was cut is left out.
    """
    separator = b"\t" if b"\t" in text else b","
    parts = text.split(separator)
    if line is not None and line.sha256 is not None:
        parts = parts[:-1]
    pairs: dict[str, bytes] = {}
    kept = []
    for part in parts:
        key, equals, value = part.partition(b"=")
        words = key.split()
        meaning = _KEYS.get(words[-1].lower()) if equals and words else None
        if meaning is not None and meaning not in pairs:
            if b"=" in value:  # further pairs behind a blank, which may be anything
                value = value.partition(b" ")[0]
            pairs[meaning] = value
            kept.append(key + b"=" + value)
    return pairs, separator.join(kept)


def _of_pairs(pairs: Mapping[str, bytes], raw: bytes) -> _Fields:
    return _Fields(
        pairs.get("pin", b""),
        pairs.get("time", b""),
        pairs.get("state"),
        pairs.get("verify"),
        pairs.get("work_code"),
        raw,
    )


def _decoded(fields: _Fields, *, lenient: bool) -> Record:
    """Return the record of fields; ``lenient``: a code that is no number is left out, as the security dialect has it.

    There the way of verification may be a text of 16 binary digits, which is no code.
    """
    raw = fields.raw
    pin = _text(fields.pin, MAX_PIN)
    if not pin or pin == "0":
        return _bad(raw, "no PIN of 1 to 24 printable ASCII characters")
    moment = local_time(fields.time, may_be_packed=lenient)
    if moment is None:
        return _bad(raw, "no such date and time")
    codes: list[int | None] = []
    for name, field in (("state", fields.state), ("verify", fields.verify)):
        code = _CODE.fullmatch(field) if field is not None else None
        if field is not None and field.strip() and (code is None or (lenient and len(code[1]) > 4)):
            if not lenient:
                return _bad(raw, f"{name} is not a number")
            code = None
        codes.append(int(code[1]) if code else None)
    work_code = None if fields.work_code is None else _text(fields.work_code, MAX_WORK_CODE)
    if fields.work_code is not None and work_code is None:
        return _bad(raw, f"the work code is not up to {MAX_WORK_CODE} printable ASCII characters")
    return RawPunch(pin, None, moment, codes[0], codes[1], work_code or None, raw)


def local_time(field: bytes, *, may_be_packed: bool) -> datetime | None:
    """Return a terminal's wall clock, from a date and time or from the packed number; None where it is neither."""
    match = _DATE.fullmatch(field)
    try:
        if match is not None:
            return datetime(*map(int, match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001 - a terminal's wall clock has no zone
        number = _PACKED.fullmatch(field) if may_be_packed else None
        return unpacked(int(number[1])) if number is not None else None
    except ValueError:
        return None


def packed(moment: datetime) -> int:
    """Return a time as ZKTeco packs it into a number: months of 31 days since 2000."""
    days = ((moment.year - 2000) * 12 + moment.month - 1) * 31 + moment.day - 1
    return ((days * 24 + moment.hour) * 60 + moment.minute) * 60 + moment.second


def unpacked(number: int) -> datetime:
    """Return the time of a packed number; ValueError where it is none."""
    minutes, second = divmod(number, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    months, day = divmod(days, 31)
    return datetime(2000 + months // 12, months % 12 + 1, day + 1, hour, minute, second)  # noqa: DTZ001 - as above


def _text(field: bytes, most: int) -> str | None:
    """Return a field without padding; None where it is not printable ASCII or too long."""
    text = field.rstrip(b"\0").strip(b" ")
    return text.decode("ascii") if len(text) <= most and re.fullmatch(rb"[ -~]*", text) else None


def _bad(raw: bytes, reason: str) -> BadRecord:
    return BadRecord(raw, raw, reason)


# --- options ------------------------------------------------------------------------------------------------------


class Options(NamedTuple):
    """What is kept of the options that a terminal reports; passwords and keys stand beside them."""

    model: str | None = None
    firmware: str | None = None
    platform: str | None = None
    records: int | None = None
    capacity: int | None = None

    def over(self, before: "Options") -> "Options":
        """Return these, with those reported before where these are silent."""
        return before._replace(**{name: value for name, value in self._asdict().items() if value is not None})


_OPTION = re.compile(rb"(?:^|[,\n\r])~?(DeviceName|FWVersion|Platform|TransactionCount|MaxAttLogCount)=([^,\r\n]*)")


def options(body: bytes) -> Options:
    """Return the known ones of a list ``~Name=value`` between commas or line ends; a value may hold a comma."""
    found = {name.decode("ascii"): value for name, value in _OPTION.findall(body[:MAX_OPTIONS])}
    capacity = _count(found.get("MaxAttLogCount", b""))
    return Options(
        _label(found.get("DeviceName", b"")),
        _label(found.get("FWVersion", b"")),
        _label(found.get("Platform", b"")),
        _count(found.get("TransactionCount", b"")),
        # In hundreds of records in ZKTeco's own options; newer firmware gives the number itself.
        capacity * 100 if capacity is not None and capacity <= 10_000 else capacity,
    )


def info(text: str) -> Options:
    """Return what the parameter INFO of getrequest states: firmware, users, fingers, records, and more."""
    firmware, *counts = text.split(",")
    return Options(
        firmware=_label(firmware.encode("ascii", "replace")),
        records=_count(counts[2].encode("ascii", "replace")) if len(counts) > 2 else None,
    )


def _label(value: bytes) -> str | None:
    text = value.strip(b" \0")[:64]
    return re.sub(rb"[^ -~]", b"?", text).decode("ascii") or None


def _count(value: bytes) -> int | None:
    match = _CODE.fullmatch(value)
    return int(match[1]) if match else None


def zone_number(offset: timedelta) -> int:
    """Return an offset from UTC as the option TimeZone has it: whole hours, or minutes where it is not whole hours."""
    minutes = round(offset.total_seconds() / 60)
    return minutes // 60 if minutes % 60 == 0 else minutes


def option_block(serial: str, stamps: Mapping[str, str], offset: timedelta, version: str = SERVER_VERSION) -> bytes:
    """Return the answer to a terminal that begins: names of every dialect, so that each firmware finds its own.

    ``stamps`` are sent back as the terminal sent them, by ATTLOG, OPERLOG and ATTPHOTO; 0 makes it send everything.
    TransFlag makes the terminal send punches only. No option is sent that requests users, photos or templates.
    """
    punches, operations, photos = (stamps.get(key, "0") for key in ("ATTLOG", "OPERLOG", "ATTPHOTO"))
    lines = (
        f"GET OPTION FROM: {serial}",
        f"Stamp={punches}",
        f"OpStamp={operations}",
        f"PhotoStamp={photos}",
        f"ATTLOGStamp={punches}",
        f"OPERLOGStamp={operations}",
        f"ATTPHOTOStamp={photos}",
        "ErrorDelay=60",
        f"Delay={DELAY_S}",
        "TransTimes=00:00;14:05",
        "TransInterval=1",
        "TransFlag=TransData AttLog",
        "Realtime=1",
        "Encrypt=0",
        f"TimeZone={zone_number(offset)}",
        f"ServerVer={version}",
        f"PushProtVer={version}",
    )
    return "".join(f"{line}\n" for line in lines).encode("ascii")


DELAY_S = 15
"""Seconds between two requests of an idle terminal."""


# --- security dialect ---------------------------------------------------------------------------------------------


def registry_code(serial: str) -> str:
    """Return the code that a terminal of the security dialect keeps as the proof that it is registered.

    The same for one serial number at every start; it protects nothing, since everybody can read it on the wire.
    """
    return sha256(f"hadir registry {serial}".encode()).hexdigest()[:24]


def security_block(serial: str, session: str, *, registered: bool) -> bytes:
    """Return the options of the security dialect; ``registered``: as the answer to the first request."""
    lines = [f"RegistryCode={registry_code(serial)}"] if registered else []
    lines = [*(("registry=ok",) if registered else ()), *lines]
    lines += [
        f"ServerVersion={SECURITY_VERSION}",
        "ServerName=Hadir",
        f"PushVersion={SECURITY_VERSION}",
        "ErrorDelay=60",
        f"RequestDelay={DELAY_S}",
        "TransTimes=00:00;14:05",
        "TransInterval=1",
        "TransTables=Transaction",
        "Realtime=1",
        f"SessionID={session}",
        "TimeoutSec=10",
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


# --- commands -----------------------------------------------------------------------------------------------------

_MOMENT = "%Y-%m-%d %H:%M:%S"


def command(number: int, verb: str, span: tuple[datetime, datetime] | None = None) -> bytes:
    """Return one command as the answer to getrequest; ValueError for a command that is not allowed.

    ``span``: first and last second of the punches concerned.
    """
    if verb not in ALLOWED:
        raise ValueError(f"not an allowed command: {verb}")
    limits = "" if span is None else f" StartTime={span[0].strftime(_MOMENT)}\tEndTime={span[1].strftime(_MOMENT)}"
    return f"C:{number}:{verb}{limits}\n".encode("ascii")


class Result(NamedTuple):
    """The result of one command."""

    number: str
    code: int
    """0 or more: done. Below 0: not done, not supported, or no data."""
    records: int | None = None
    """Punches in the span of VERIFY SUM, where the terminal states it."""


_RESULT = re.compile(rb"(?i)\bID=([0-9A-Za-z]{1,20})&Return=(-?\d{1,9})(?:&([^\r\n]*))?")
_COUNT = re.compile(rb"(?i)\bAttlogCount=(\d{1,9})\b")
_SUM = re.compile(rb"(?i)\bAttlogSum=(\d{1,9})\b")


def results(body: bytes) -> list[Result]:
    """Return the results in the body of devicecmd. Option lists that follow them, keys among them, are not kept."""
    found = list(_RESULT.finditer(body))
    ends = [*(match.start() for match in found[1:]), len(body)][: len(found)]
    return [
        Result(match[1].decode("ascii"), int(match[2]), int(total[1]) if total else None)
        for match, end in zip(found, ends, strict=True)
        for total in (_COUNT.search(body, match.start(), end) or _SUM.search(body, match.start(), end),)
    ]
