"""One value of a file becomes what its column means, or is refused with the reason. Pure.

A value is never guessed: what a spreadsheet may have changed (leading zeros, long numbers, dates) is refused with
advice. Characters that cannot be seen (marks of direction and width) are removed everywhere.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from central.registers.rows import ErrorValue, Formula, Nested, Value

MAX_CHARS = 200
"""Of a text."""
MAX_TIME_S = 96 * 3600
"""Of a time of day, which may lie on one of the following dates."""
FIRST_YEAR, LAST_YEAR = 1950, 2100
OFF = "off"
"""The code of a day without work in schedules and rosters."""

_INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_SCIENTIFIC = re.compile(r"[0-9]+([.,][0-9]+)?[eE]\+?[0-9]+")
_GROUPED = re.compile(r"[0-9]{1,3}([.,][0-9]{3})+|[0-9]+[.,]0+")
_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[ T]00:00(?::00)?)?")
_NUMERIC_DATE = re.compile(r"([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4})")
_NAMED_DATE = re.compile(r"([0-9]{1,2})[ -]([A-Za-z]{3,12})[ -]([0-9]{4})")
_TIME = re.compile(r"([0-9]{1,2})[:.]([0-9]{2})(?:[:.]([0-9]{2}))?")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,31}")
_LEVEL = re.compile(r"[a-z0-9-]{1,64}")
_LEAVE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PRINTABLE = re.compile(r"[!-~]+")
_MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "jan januari january",
            "feb februari february",
            "mar maret march",
            "apr april",
            "mei may",
            "jun juni june",
            "jul juli july",
            "agu agt agustus aug august",
            "sep sept september",
            "okt oktober oct october",
            "nov november nopember",
            "des desember dec december",
        ),
        1,
    )
    for word in words.split()
}
_ZONES = {"wib": "Asia/Jakarta", "wita": "Asia/Makassar", "wit": "Asia/Jayapura"}
WEEKDAYS = {
    word: number
    for number, words in enumerate(
        (
            "mon monday sen senin",
            "tue tuesday sel selasa",
            "wed wednesday rab rabu",
            "thu thursday kam kamis",
            "fri friday jum jumat",
            "sat saturday sab sabtu",
            "sun sunday min minggu ahad",
        )
    )
    for word in words.split()
}
"""Names of the days of the week; Monday is 0."""


class Wrong(Exception):  # noqa: N818 - it names the value, not a failure
    """A value that is not taken: the code of the message, and what the message names."""

    def __init__(self, code: str, **values: str) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


Parse = Callable[[Value], Any]
"""Converts the value of a cell; None for an empty one; raises :class:`Wrong`."""


def clean(value: str) -> str:
    """Return a text without invisible marks, in composed form, with plain single blanks."""
    if not value.isascii():
        value = unicodedata.normalize("NFC", _INVISIBLE.sub("", value))
    return " ".join(value.split())


def text(value: Value) -> str | None:
    """Return a text of one line that no spreadsheet takes for a formula; ``-`` alone is empty."""
    match value:
        case None:
            return None
        case Formula():
            raise Wrong("formula")
        case ErrorValue():
            raise Wrong("error_value", seen=value.text[:20])
        case Nested():
            raise Wrong("nested")
        case datetime() | date() | time() | timedelta():
            raise Wrong("date_for_text")
        case bool():
            raise Wrong("truth_for_text")
        case int():
            return str(value)
        case float():
            if not value.is_integer() or abs(value) >= 1e15:
                raise Wrong("number_for_text")
            return str(int(value))
    found = value
    if len(found) >= 3 and found.startswith('="') and found.endswith('"'):  # how CSV keeps leading zeros for Excel
        found = found[2:-1]
    if not found.isprintable() and any(unicodedata.category(sign) in ("Cc", "Cs") for sign in found.strip()):
        raise Wrong("control_character")
    found = clean(found)
    if len(found) > MAX_CHARS:
        raise Wrong("too_long", limit=str(MAX_CHARS))
    if found.startswith(("=", "+", "@")):
        raise Wrong("looks_like_formula")
    return None if found in ("", "-") else found


def identifier(value: Value) -> str | None:
    """Return a text that must not have gone through a spreadsheet's numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong("number_for_identifier")
    found = text(value)
    if found is not None and _SCIENTIFIC.fullmatch(found):
        raise Wrong("scientific")
    if found is not None and _GROUPED.fullmatch(found):
        raise Wrong("separators_in_number")
    return found


def person_key(value: Value) -> str | None:
    """Return an opaque key of a person; one that looks like a NIP is refused."""
    found = identifier(value)
    if found is None:
        return None
    if len(re.sub(r"[ ./-]", "", found)) == 18 and re.sub(r"[ ./-]", "", found).isdigit():
        raise Wrong("key_like_nip")
    return _matching(found, _KEY, "key_form")


def nip(value: Value) -> str | None:
    """Return a NIP of 18 digits; blanks and dots between them are left out."""
    found = identifier(value)
    if found is None:
        return None
    digits = re.sub(r"[ .-]", "", found)
    if not re.fullmatch(r"[0-9]{18}", digits):
        raise Wrong("nip_form")
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        raise Wrong("nip_birth") from None
    if not 1930 <= born.year <= 2020 or digits[14] not in "12":
        raise Wrong("nip_birth")
    return digits


def pin(value: Value) -> str | None:
    """Return a PIN as terminals send it: printable ASCII, 1 to 24 characters."""
    found = identifier(value)
    if found is None:
        return None
    if not _PRINTABLE.fullmatch(found) or len(found) > 24 or found.startswith("uid:"):
        raise Wrong("pin_form")
    return found


def serial(value: Value) -> str | None:
    """Return the serial number of a terminal."""
    found = identifier(value)
    return None if found is None else _matching(found, re.compile(r"[!-~]{1,64}"), "serial_form")


def code(value: Value) -> str | None:
    """Return a short code; a whole number of a spreadsheet is one too."""
    found = text(value)
    return None if found is None else _matching(found, _CODE, "code_form")


def work_code(value: Value) -> str | None:
    """Return the code of a timetable, or :data:`OFF`."""
    found = code(value)
    return OFF if found is not None and found.casefold() in (OFF, "libur") else found


def timetable_code(value: Value) -> str | None:
    """Return a code that names a timetable; ``off`` is none."""
    found = work_code(value)
    if found == OFF:
        raise Wrong("off_is_no_timetable")
    return found


def level(value: Value) -> str | None:
    """Return a name that can stand in a topic: a-z, 0-9 and hyphens."""
    found = text(value)
    return None if found is None else _matching(found, _LEVEL, "level_form")


def leave_kind(value: Value) -> str | None:
    """Return the kind of a leave as policies name it."""
    found = text(value)
    return None if found is None else _matching(found, _LEAVE, "leave_form")


def zone(value: Value) -> str | None:
    """Return the IANA name of a zone; WIB, WITA and WIT are known."""
    found = text(value)
    if found is None:
        return None
    name = _ZONES.get(found.casefold(), found)
    if name not in available_timezones():
        raise Wrong("zone")
    return ZoneInfo(name).key


def day(value: Value) -> date | None:
    """Return a date; digits whose order of day and month is not certain are refused."""
    if isinstance(value, datetime):
        if value.time() != time():
            raise Wrong("time_in_date")
        value = value.date()
    if isinstance(value, date):
        return _plausible(value)
    if isinstance(value, time | timedelta):
        raise Wrong("time_for_date")
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong("number_for_date")
    found = text(value)
    if found is None:
        return None
    if match := _ISO.fullmatch(found):
        return _date(found, int(match[1]), int(match[2]), int(match[3]))
    if match := _NAMED_DATE.fullmatch(found):
        month = _MONTHS.get(match[2].casefold())
        if month is None:
            raise Wrong("date_form", seen=found[:40])
        return _date(found, int(match[3]), month, int(match[1]))
    if match := _NUMERIC_DATE.fullmatch(found):
        first, second = int(match[1]), int(match[2])
        if first <= 12 and first != second:
            raise Wrong("date_order", seen=found)
        return _date(found, int(match[3]), second, first)
    raise Wrong("date_form", seen=found[:40])


def _date(seen: str, year: int, month: int, number: int) -> date:
    try:
        return _plausible(date(year, month, number))
    except ValueError:
        raise Wrong("no_such_date", seen=seen) from None


def _plausible(found: date) -> date:
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise Wrong("year", seen=found.isoformat())
    return found


def month(value: Value) -> date | None:
    """Return the first day of a month, from YYYY-MM or a date in it."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{4})-([0-9]{1,2})", clean(value))):
        return _date(match[0], int(match[1]), int(match[2]), 1)
    found = day(value)
    return None if found is None else found.replace(day=1)


def clock(value: Value) -> int | None:
    """Return a time of day in seconds; hours from 24 on lie on the following dates."""
    if isinstance(value, datetime):
        raise Wrong("date_for_time")
    if isinstance(value, time):
        return round(value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6)
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong("number_for_time")
    else:
        found = text(value)
        if found is None:
            return None
        match = _TIME.fullmatch(found)
        if match is None or int(match[2]) > 59 or int(match[3] or 0) > 59:
            raise Wrong("time_form", seen=found[:40])
        seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
    if not 0 <= seconds <= MAX_TIME_S:
        raise Wrong("time_range", limit=str(MAX_TIME_S // 3600))
    return seconds


def whole(most: int) -> Parse:
    """Return a parser of whole numbers from 0 to ``most``."""

    def parse(value: Value) -> int | None:
        found = text(value)
        if found is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", found) or int(found) > most:
            raise Wrong("whole_number", limit=str(most))
        return int(found)

    return parse


def choice(words: Mapping[str, Any]) -> Parse:
    """Return a parser of words, each with its meaning; capitals, hyphens and underscores do not matter."""
    known = {plain(word): meaning for word, meaning in words.items()}

    def parse(value: Value) -> Any:
        if isinstance(value, bool):
            value = "yes" if value else "no"
        found = text(value)
        if found is None:
            return None
        if plain(found) not in known:
            raise Wrong("choice", seen=found[:40], choices=", ".join(words))
        return known[plain(found)]

    return parse


def choices(words: Mapping[str, Any]) -> Parse:
    """Return a parser of several words, separated by blanks, commas or semicolons; in order, each once."""
    single = choice(words)

    def parse(value: Value) -> tuple[Any, ...] | None:
        found = text(value)
        return None if found is None else tuple(sorted({single(word) for word in re.split(r"[\s,;+]+", found) if word}))

    return parse


def schedule_day(value: Value) -> tuple[str, int] | None:
    """Return ``("week", 0…6)`` from Monday, or ``("cycle", 1…366)``."""
    found = text(value)
    if found is None:
        return None
    word = plain(found).replace("'", "").replace(" ", "")
    if word in WEEKDAYS:
        return "week", WEEKDAYS[word]
    if re.fullmatch(r"[0-9]{1,3}", word) and 1 <= int(word) <= 366:
        return "cycle", int(word)
    raise Wrong("schedule_day", seen=found[:40])


def plain(word: str) -> str:
    """Return a word as heads of columns and choices are compared."""
    return clean(re.sub(r"[_\-./:*]", " ", word)).casefold()


def _matching(found: str, form: re.Pattern[str], wrong: str) -> str:
    if not form.fullmatch(found):
        raise Wrong(wrong)
    return found
