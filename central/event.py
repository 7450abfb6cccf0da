"""Read messages: numbered events, ``info``, or a rejection with its reason. Pure.

No message makes these functions raise: what is wrong with it is their result, and in a batch it is the result of that
element alone. Memory is bounded by ``MAX_BYTES`` and ``MAX_EVENT_BYTES``, whatever a message holds.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar
from uuid import NAMESPACE_URL, uuid5

PUNCH = "hadir.punch.recorded.v1"
PUNCH_NAMESPACE = uuid5(NAMESPACE_URL, "urn:hadir:punch:v1")
"""The namespace of punches' identities."""
QUARANTINE = "hadir.record.quarantined.v1"
BODY_FORGOTTEN = "hadir.body.forgotten.v1"
MAX_BYTES = 4 * 1024 * 1024
"""Longer messages are rejected unread. Gateways send at most 64 KiB unless their ``delivery.batch_bytes`` says more."""
MAX_EVENT_BYTES = 256 * 1024
"""A longer event is rejected unread; a longer batch is read element by element. Gateways' events have about 3 KiB."""
MAX_BAD_ELEMENTS = 1000
"""A batch is read to its end whatever is bad in it, but for one that hardly holds anything else."""
MAX_DEPTH = 32
"""Deeper nesting is rejected: what is read here must be readable by every later reader, also by SQLite's ``json``."""
MAX_SEQUENCE = 2**63 - 1
"""What SQLite can count to; twenty digits go a little further."""

_TOPIC = re.compile(r"([a-z0-9-]+/[a-z0-9-]+)/(punch/[a-z0-9-]+|quarantine/[a-z0-9-]+|note(?:/[a-z0-9-]+)?|batch|info)")
_NAME = re.compile(r"[!-~]{1,200}")
_LEVEL = re.compile(r"[a-z0-9-]{1,200}")
_SERIAL = re.compile(r"[ -~]{1,200}")
_PIN = re.compile(r"[!-~]([ -~]{0,22}[!-~])?")
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_SEQUENCE = re.compile(r"[0-9]{20}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Punch(NamedTuple):
    """The fields of a punch that are worth a column."""

    terminal: str
    serial: str
    pin: str | None
    uid: int | None
    local_time: str


class Tombstone(NamedTuple):
    """What is left of an event whose content the gateway has removed."""

    stream: str
    sequence: int
    id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered event whose digest fits its content."""

    stream: str
    sequence: int
    id: str
    digest: str
    previous: str
    type: str
    body: str
    """Canonical JSON, ``digest`` included: what the gateway's ledger holds, byte for byte."""
    punch: Punch | None
    """Present if this is a punch and its id is the one that follows from its fields."""
    id_mismatch: str | None
    """What is wrong with a punch that has no :attr:`punch`."""
    claims: dict[str, Any]
    """What the id stands for, of the types whose ids follow from a record: by field, what the terminal recorded."""
    tombstones: tuple[Tombstone, ...]
    """The events whose content this one declares removed for ever; those it names wrongly are left out."""


class StreamEnd(NamedTuple):
    """The last that is known of a stream."""

    stream: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Info:
    """Which stream a gateway writes."""

    stream: str
    assigned: int
    """Highest sequence it has given away."""
    predecessor: StreamEnd | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, or an element of a batch, that fills no place in any stream."""

    reason: str
    """``topic``, ``too_large``, ``not_json``, ``not_an_event``, ``altered``, ``source_mismatch``, ``not_info``, or
    ``failed`` where reading met a mistake of ours. The store has more."""
    detail: str
    """For people; repeats nothing of the content but stream, sequence and digests."""
    payload: bytes


class _Invalid(Exception):  # noqa: N818 - named by what is the matter
    """Carries a reason and a detail out of the depths."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def text_digest(text: str) -> str:
    """Return the SHA-256 of ``text`` as events write it; raises UnicodeEncodeError where it is not Unicode."""
    return "sha256:" + sha256(text.encode()).hexdigest()


def first_previous(stream: str) -> str:
    """Return the ``previous`` of a stream's first event."""
    return text_digest(stream)


def event_digest(event: dict[str, Any]) -> str:
    """Return the digest that follows from an event's content, whatever its own ``digest`` says."""
    return text_digest(event["previous"] + canonical({key: value for key, value in event.items() if key != "digest"}))


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""Write JSON as digests see it."""


def gateway_of(topic: str) -> str | None:
    """Return ``site/gateway`` of a topic below ``<root>/v1/``; None where no gateway publishes on such a topic."""
    match = _TOPIC.fullmatch(topic)
    return match and match[1]


def read_message(topic: str, payload: bytes) -> Iterator[Event | Info | Rejected]:
    """Yield what a message holds, in its order; ``topic`` is what follows ``<root>/v1/``."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        yield Rejected("topic", "no gateway publishes evidence on such a topic", payload)
    elif len(payload) > MAX_BYTES:
        yield Rejected("too_large", f"{len(payload)} bytes, at most {MAX_BYTES} are read", payload)
    elif match[2] == "info":
        yield _attempt(payload, _info)
    elif payload[:_BLANKS].lstrip(_BLANK)[:1] != b"[":
        yield _attempt(payload, lambda content: _event(content, match[1]))
    else:
        yield from _batch(payload, match[1])


def read_stored(gateway: str, body: object) -> Event | Rejected:
    """Return the event in a body as the centre has stored it, or why it does not prove itself."""
    text = body.encode() if isinstance(body, str) else b""
    return _attempt(text, lambda content: _event(content, gateway))


def decode_text(stored: bytes) -> str:
    """Return a text of the database; one that is no UTF-8 any more is still text, and proves nothing."""
    return stored.decode("utf-8", "replace")


def contradicting_fields(one: Event, other: Event) -> list[str]:
    """Return the fields in which two events of one id say different things of the record behind it.

    What only one of them knows is no contradicting_fields: an export lacks what a log has.
    """
    return [
        field
        for field in sorted(one.claims.keys() & other.claims.keys())
        if canonical(one.claims[field]) != canonical(other.claims[field])  # 1 == True, but they are not the same text
        and (field in _STRICT or (one.claims[field] is not None and other.claims[field] is not None))
    ]


def _batch(payload: bytes, gateway: str) -> Iterator[Event | Rejected]:
    if len(payload) <= MAX_EVENT_BYTES:
        with suppress(Exception):  # whatever is wrong is found again, and named, element by element
            events = [_event(element, gateway) for element in _decode(payload.decode())]
            if events:
                yield from events
                return
    bad = elements = 0
    for element in _elements(payload):
        elements += 1
        found = _attempt(element, lambda content: _event(content, gateway))
        if isinstance(found, Rejected):
            bad += 1
            if bad > MAX_BAD_ELEMENTS:
                yield Rejected("not_an_event", f"more than {MAX_BAD_ELEMENTS} elements are none: not read on", payload)
                return
        yield found
    if not elements:
        yield Rejected("not_an_event", "an array of no events", payload)


_BLANK, _BLANKS = b" \t\r\n", 64
"""JSON's white space, and how much of it may precede an array."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string or a bracket. An unclosed string ends with the text: it is not tried again at each quote in it."""
_OPENING, _CLOSING = b"[{", b"]}"


def _elements(payload: bytes) -> Iterator[bytes]:
    """Yield the objects and arrays in an array, and whatever else stands between them, as they are written.

    So one element that is no JSON does not take the others with it. Needs neither recursion nor memory.
    """
    opened = payload.index(b"[") + 1
    depth, start, end = 0, opened, opened
    for token in _TOKEN.finditer(payload, opened):
        first = payload[token.start()]
        if first in _OPENING:
            if depth == 0:
                yield from _between(payload[end : token.start()])
                start = token.start()
            depth += 1
        elif first in _CLOSING:
            depth -= 1
            if depth < 0:
                yield from _between(payload[end : token.start()] + payload[token.end() :])
                return
            if depth == 0:
                end = token.end()
                yield payload[start:end]
    yield payload[start if depth else end :]  # the array does not end


def _between(text: bytes) -> Iterator[bytes]:
    if text.strip(_BLANK) not in (b"", b","):
        yield text


def _fraction(_number: str) -> Any:
    raise ValueError("the contract knows integers only")


_decode = json.JSONDecoder(parse_float=_fraction, parse_constant=_fraction).decode


T = TypeVar("T", Event, Info)


def _attempt(text: bytes, read_content: Callable[[Any], T]) -> T | Rejected:
    """Decode and read one event or ``info``; whatever that raises rejects it."""
    if len(text) > MAX_EVENT_BYTES:
        return Rejected("too_large", f"{len(text)} bytes, an event has at most {MAX_EVENT_BYTES}", text)
    try:
        content = _decode(text.decode())
    except (ValueError, RecursionError) as exc:
        return Rejected("not_json", f"{type(exc).__name__}: not JSON in UTF-8 without fractions", text)
    try:
        return read_content(content)
    except _Invalid as wrong:
        return Rejected(wrong.reason, wrong.detail, text)
    except Exception as exc:  # noqa: BLE001 - a mistake of ours costs this message, not the inbox
        return Rejected("failed", f"{type(exc).__name__} while reading it", text)


def _event(content: Any, gateway: str) -> Event:
    if not isinstance(content, dict):
        raise _Invalid("not_an_event", "not a JSON object")
    if content.get("specversion") != "1.0":
        raise _Invalid("not_an_event", "specversion is not 1.0")
    if _is_deep(content):
        raise _Invalid("not_an_event", f"nested more than {MAX_DEPTH} deep")
    stream, identity, kind = (_text(content, key, _NAME, "not_an_event") for key in ("stream", "id", "type"))
    sequence = int(_text(content, "sequence", _SEQUENCE, "not_an_event"))
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise _Invalid("not_an_event", "sequence is out of range")
    previous, claimed = (_text(content, key, _DIGEST, "not_an_event") for key in ("previous", "digest"))
    try:
        digest = event_digest(content)
    except UnicodeEncodeError:
        raise _Invalid("not_an_event", "text that is not Unicode") from None
    place = f"sequence {sequence} of stream {stream}"
    if digest != claimed:
        raise _Invalid("altered", f"{place}: the content's digest is {digest}, it says {claimed}")
    if content.get("source") != f"/hadir/{gateway}":
        raise _Invalid("source_mismatch", f"{place}: its source is not the gateway {gateway} of its topic")
    data = content.get("data")
    punch = id_mismatch = None
    if kind == PUNCH:
        punch, id_mismatch = _punch(identity, data)
    return Event(
        *(stream, sequence, identity, digest, previous, kind, canonical(content), punch, id_mismatch),
        claims=_claims(kind, content),
        tombstones=tuple(_forgotten(stream, sequence, data)) if kind == BODY_FORGOTTEN else (),
    )


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


_RECORDED = {
    PUNCH: ("pin", "uid", "state", "verify", "work_code"),
    QUARANTINE: ("serial", "raw", "size", "sha256", "occurrence"),
}
"""What a terminal recorded, of the types whose ids two gateways can both make."""
_STRICT = frozenset(("pin", "time"))
"""Fields in which null, too, contradicts a value: a PIN ``uid:7`` and a person without a PIN have one id."""


def _claims(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    data = content.get("data")
    if kind not in _RECORDED or not isinstance(data, dict):
        return {}
    claims = {field: data.get(field) for field in _RECORDED[kind]}
    return {**claims, "time": content.get("time")} if kind == PUNCH else claims


def _text(content: dict[str, Any], key: str, pattern: re.Pattern[str], reason: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Invalid(reason, f"{key} is missing or not as the contract has it")
    return value


def _punch(identity: str, data: Any) -> tuple[Punch | None, str | None]:
    """Return the punch, or what is wrong with it: an id that belongs to another punch must not displace that one."""
    if not isinstance(data, dict):
        return None, "it has no data"
    fields: Any = data
    terminal, serial, local_time = (fields.get(key) for key in ("terminal", "serial", "local_time"))
    pin, uid, occurrence = (data.get(key) for key in ("pin", "uid", "occurrence"))
    if not _fits(_LEVEL, terminal) or not _fits(_SERIAL, serial):
        return None, "terminal or serial is not as the contract has it"
    if not _fits(_LOCAL_TIME, local_time) or not _is_date(local_time):
        return None, "local_time is not a date and time"
    if pin is not None and not _fits(_PIN, pin):
        return None, "pin is not as the contract has it"
    if not _is_count(uid) and not (uid is None and pin is not None):
        return None, "neither pin nor uid names a person"
    if not _is_count(occurrence):
        return None, "occurrence is not a number"
    person = pin if pin is not None else f"uid:{uid}"
    expected = str(uuid5(PUNCH_NAMESPACE, f"{serial}\n{person}\n{local_time}\n{occurrence}"))
    if identity != expected:
        return None, f"its fields make {expected}"
    return Punch(terminal, serial, pin, uid, local_time), None


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_date(local_time: str) -> bool:
    try:
        datetime.fromisoformat(local_time)
    except ValueError:
        return False
    return True


def _forgotten(stream: str, sequence: int, data: Any) -> Iterator[Tombstone]:
    """Yield what an event of this place says of others; of its own stream it can only know what lies before it."""
    if not isinstance(data, dict) or not isinstance(data.get("events"), list):
        return
    for named in data["events"]:
        if not isinstance(named, dict):
            continue
        with suppress(_Invalid):
            tombstone = Tombstone(
                _text(data, "stream", _NAME, ""),
                named["sequence"] if _is_count(named.get("sequence")) else 0,
                _text(named, "id", _NAME, ""),
                _text(named, "digest", _DIGEST, ""),
            )
            if 1 <= tombstone.sequence < (sequence if tombstone.stream == stream else MAX_SEQUENCE):
                yield tombstone


def _info(content: Any) -> Info:
    if not isinstance(content, dict):
        raise _Invalid("not_info", "not a JSON object")
    stream = _text(content, "stream", _NAME, "not_info")
    if not _is_count(content.get("sequence")):
        raise _Invalid("not_info", "sequence is not a number")
    predecessor = content.get("predecessor")
    end = None
    if predecessor is not None:
        if not isinstance(predecessor, dict) or not _is_count(predecessor.get("sequence")):
            raise _Invalid("not_info", "predecessor is not as the contract has it")
        end = StreamEnd(
            _text(predecessor, "stream", _NAME, "not_info"),
            predecessor["sequence"],
            _text(predecessor, "digest", _DIGEST, "not_info"),
        )
    return Info(stream, content["sequence"], end)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQUENCE
