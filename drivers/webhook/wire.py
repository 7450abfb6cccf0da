"""What apps post: the signature of a body, JSON, the records in it. No I/O.

A body is one record or has a list of them. Where in a record PIN, time, state, verify and identifier stand is
configured by JSON Pointers (RFC 6901). Nothing else of a body is kept: :attr:`drivers.base.RawPunch.raw` is JSON made
anew from these fields, so that no position, photo or name gets into it.

JSON is read strictly, and numbers as they were written: a number of 10,000 digits or 1e999 costs its record where it
is in a field, and nothing anywhere else. A key that occurs twice in one object has no value.
"""

import hmac
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from drivers.base import BadRecord, RawPunch, Record, Settlement

BODY_BYTES = 1024 * 1024
"""Longest body."""
MOST_RECORDS = 5000
"""Records of one body: they are stored in one transaction, which takes a slow disk seconds."""
MOST_VALUES = 100_000
"""Values of one body, about: each takes a hundred bytes of memory until its record is read."""
MOST_TEXT = 64
"""Longest text of a field, in characters; of a longer one the beginning is kept, in quarantine."""
CODES = range(65_536)
"""Codes of state and verify."""

SIGNATURE_HEADER = "x-hub-signature-256"
_SIGNATURE = re.compile(r"sha256=([0-9A-Fa-f]{64})")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d:\d\d)(?:[.,]\d+)? ?(Z|z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,23}", re.ASCII)
_IDENTIFIER = re.compile(r"[ !#-\[\]-~]{1,64}")
"""Printable ASCII but for what JSON escapes: ``raw`` then contains the identifier as it is."""
_NIP = re.compile(r"[0-9]{18}", re.ASCII)
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")

FieldName = Literal["pin", "time", "state", "verify", "id"]


class Refused(Exception):  # noqa: N818 - named after the reaction
    """A body that cannot be read at all: nothing of it is stored. The message has nothing of the body."""

    def __init__(self, status: Literal[400, 413], why: Literal["no_json", "other_form", "too_many"], text: str) -> None:
        super().__init__(text)
        self.status = status
        self.why = why


class Number(str):
    """A number of JSON as it was written."""

    __slots__ = ()


class Ambiguous(dict[str, Any]):
    """An object in which keys occur more than once."""

    repeated: frozenset[str] = frozenset()


class Missing:
    """Takes the place of a value that a record does not have."""


MISSING = Missing()


class Fault(NamedTuple):
    """Why a field is not usable, in English and without its value."""

    reason: str


# --- signatures -------------------------------------------------------------------------------------------------------


def stated_signature(headers: Mapping[str, str]) -> bytes | None:
    """Return the signature in the header ``X-Hub-Signature-256: sha256=…``; None where there is none."""
    found = _SIGNATURE.fullmatch(headers.get(SIGNATURE_HEADER, "").strip())
    return bytes.fromhex(found[1]) if found else None


def signature_of(secret: bytes, body: bytes) -> str:
    """Return the value of the header for a body: HMAC-SHA256 in hexadecimal."""
    return f"sha256={hmac.new(secret, body, 'sha256').hexdigest()}"


# --- JSON -------------------------------------------------------------------------------------------------------------


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    ambiguous = Ambiguous(found)
    ambiguous.repeated = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return ambiguous


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
)


def parse(body: bytes) -> Any:
    """Return the JSON value of a body in UTF-8; numbers are :class:`Number`. Raises Refused."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise Refused(413, "too_many", f"more than {MOST_VALUES} values; post fewer records at once")
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise Refused(400, "no_json", "nested too deeply") from None
    except ValueError:  # of the decoding, too; its text may have a part of the body
        raise Refused(400, "no_json", "not JSON in UTF-8") from None


def pointer(text: str) -> tuple[str, ...]:
    """Return the keys of a JSON Pointer; ValueError where it is none."""
    if not _POINTER.fullmatch(text):
        raise ValueError("not a JSON Pointer; write /records, or /data/at for a key inside of another")
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in text.split("/")[1:])


def find(value: Any, path: Sequence[str]) -> Any:
    """Return what a pointer refers to; MISSING, or a Fault where a key on the way occurs twice."""
    for key in path:
        if isinstance(value, Ambiguous) and key in value.repeated:
            return Fault("a key occurs twice")
        if isinstance(value, dict):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and _INTEGER.fullmatch(key) and key[0] != "-" and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


# --- records ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """Where the fields of a record stand, and how they are read."""

    zone: ZoneInfo
    """A time with an offset is brought to this zone."""
    fields: Mapping[FieldName, tuple[str, ...]]
    """Name → pointer in a record; a field that is not here is not read."""
    items: tuple[str, ...] | None = None
    """Pointer to the list of records; None: the body is one record."""
    states: Mapping[str, int] = field(default_factory=dict)
    allow_nip: bool = False
    """Whether a PIN may look like a NIP, the number of a civil servant: 18 digits."""


def records_in(body: bytes, form: Form, secret: bytes) -> list[Record]:
    """Return the records of a body, in its order; raises Refused where it cannot be read at all.

    A record that cannot be read is a BadRecord. Its identity is keyed with ``secret``: what a field held that is not
    kept cannot be found out from it by trying.
    """
    value = parse(body)
    found = [value] if form.items is None else find(value, form.items)
    if not isinstance(found, list) or (form.items is None and not isinstance(value, dict)):
        expected = "one record, an object" if form.items is None else "a list of records where `items` points to"
        raise Refused(400, "other_form", f"the body is not {expected}")
    if len(found) > MOST_RECORDS:
        raise Refused(413, "too_many", f"more than {MOST_RECORDS} records; post fewer at once")
    return [record_of(item, form, secret) for item in found]


def record_of(item: Any, form: Form, secret: bytes) -> Record:
    """Return one record."""
    values = {name: find(item, path) for name, path in form.fields.items()}
    pin, moment = _pin(values.get("pin"), form), _time(values.get("time"), form.zone)
    state, verify = _state(values.get("state"), form.states), _code(values.get("verify"), "verify")
    identifier = _identifier(values.get("id"))
    if isinstance(pin, _Nip):
        values["pin"] = pin.masked
    raw = _canonical({name: _kept(value) for name, value in values.items() if _is_shown(value)})
    faults = [part for part in (pin, moment, state, verify, identifier) if isinstance(part, Fault)]
    if (
        isinstance(pin, str)
        and isinstance(moment, datetime)
        and not isinstance(state, Fault)
        and not isinstance(verify, Fault)
        and not isinstance(identifier, Fault)
    ):
        return RawPunch(pin, None, moment, state, verify, None, raw, identifier)
    if isinstance(pin, _Nip):
        values["pin"] = pin.digits
        faults.insert(0, Fault("the PIN looks like a NIP; send the PIN, or write allow_nip: true"))
    whole = _canonical({name: _emptied(value) for name, value in values.items() if _is_shown(value)})
    stable = hmac.new(secret, whole, "sha256").digest()
    return BadRecord(raw, stable, faults[0].reason)


class _Nip(NamedTuple):
    """A PIN that looks like a NIP and may not: its record is set aside, without it."""

    digits: str

    @property
    def masked(self) -> str:
        return f"***{self.digits[-2:]}"


def _pin(value: Any, form: Form) -> str | _Nip | Fault:
    """Return a PIN; its characters are judged by the gateway, as those of every other driver."""
    if isinstance(value, Fault):
        return value
    if not isinstance(value, str):
        return Fault("there is no PIN")
    digits = re.sub(r"[\W_]", "", value)
    if not form.allow_nip and (_NIP.search(digits) or (isinstance(value, Number) and 1e17 <= float(value) < 1e18)):
        return _Nip(digits)
    if isinstance(value, Number) and not _INTEGER.fullmatch(value):
        return Fault("the PIN is a number with a fraction or an exponent")
    return str(value) if len(value) <= MOST_TEXT else Fault("the PIN is too long")


def _time(value: Any, zone: ZoneInfo) -> datetime | Fault:
    """Return a time of ISO 8601 as the wall clock of ``zone``; a fraction of a second is cut."""
    if isinstance(value, Fault):
        return value
    found = _TIME.fullmatch(value) if isinstance(value, str) and len(value) <= MOST_TEXT else None
    if found is None:
        return Fault("the time is not one of ISO 8601 with seconds, such as 2026-11-30T07:30:00+07:00")
    try:
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{(found[3] or '').upper()}")
        return moment if moment.tzinfo is None else moment.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return Fault("the time is none of the calendar")


def _state(value: Any, states: Mapping[str, int]) -> int | Fault | None:
    if isinstance(value, str) and not isinstance(value, Number):
        return states.get(value, Fault("the text of the state is unknown; add it to states"))
    return _code(value, "state")


def _code(value: Any, name: str) -> int | Fault | None:
    """Return a code; None where a record has none."""
    if value is None or value is MISSING:
        return None
    if isinstance(value, Fault):
        return value
    code = int(value) if isinstance(value, Number) and _INTEGER.fullmatch(value) else -1
    return code if code in CODES else Fault(f"{name} is no code, a number from 0 to {CODES[-1]}")


def _identifier(value: Any) -> str | Fault | None:
    if value is None or value is MISSING:
        return None
    if isinstance(value, Fault):
        return value
    if isinstance(value, str) and _IDENTIFIER.fullmatch(value):
        return str(value)
    return Fault("the identifier is not 1 to 64 printable ASCII characters without quotation marks and backslashes")


def _is_shown(value: Any) -> bool:
    return value is not MISSING and not isinstance(value, Fault)


def _emptied(value: Any) -> Any:
    """Return a value as JSON; of a list or an object nothing but what it is: it may have a name or a photo."""
    if isinstance(value, Number):
        return int(value) if _INTEGER.fullmatch(value) else str(value)
    return type(value)() if isinstance(value, list) else {} if isinstance(value, dict) else value


def _kept(value: Any) -> Any:
    """Return what is kept of a value."""
    value = _emptied(value)
    return value[:MOST_TEXT] if isinstance(value, str) else value


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


# --- replies ----------------------------------------------------------------------------------------------------------


def settled(settlement: Settlement) -> bytes:
    """Return the body of the reply after the commit."""
    counts = {"stored": settlement.new, "known": settlement.known, "quarantined": settlement.quarantined}
    return json.dumps(counts).encode("ascii")


def error(text: str) -> bytes:
    """Return the body of a reply that says why nothing was stored."""
    return json.dumps({"error": text}).encode("ascii")
