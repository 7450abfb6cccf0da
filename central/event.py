"""Decode a message into numbered events, ``info``, states of terminals, or rejections with a reason. Pure.

These functions return a rejection for invalid input and never raise; in a batch, an invalid element rejects itself
only. ``MAX_BYTES`` and ``MAX_EVENT_BYTES`` bound the memory for any input.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1, sha256
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

IncidentKind = Literal[
    "lost", "found", "resumed", "not_held", "quarantined", "unconfirmed", "misdated", "unpublished", "log_lost"
]
PUNCH = "hadir.punch.recorded.v1"
PUNCH_NAMESPACE = uuid5(NAMESPACE_URL, "urn:hadir:punch:v1")
"""The UUIDv5 namespace of punch ids."""
QUARANTINE = "hadir.record.quarantined.v1"
BODY_FORGOTTEN = "hadir.body.forgotten.v1"
INCIDENTS: Mapping[str, IncidentKind] = {
    "hadir.terminal.lost.v1": "lost",
    "hadir.terminal.found.v1": "found",
    "hadir.gateway.resumed.v1": "resumed",
    "hadir.terminal.changed.v1": "not_held",
    QUARANTINE: "quarantined",
    "hadir.punch.unconfirmed.v1": "unconfirmed",
    "hadir.history.withheld.v1": "unpublished",
}
"""Events that say that a punch may exist which is not known, by type."""
LOG_CHANGES = ("log_cleared", "log_shrunk", "log_wrapped")
"""What a terminal's log may have lost records by, before they were read."""
MAX_BYTES = 4 * 1024 * 1024
"""Longer messages are rejected without decoding. Gateways send at most 64 KiB, or ``delivery.batch_bytes``."""
MAX_EVENT_BYTES = 256 * 1024
"""A longer event is rejected without decoding; a longer batch is decoded element by element. A gateway's event has
about 3 KiB."""
MAX_BAD_ELEMENTS = 1000
"""A batch with more invalid elements than this is not read further."""
MAX_DEPTH = 32
"""Deeper nesting is rejected: an accepted event must be parseable by every later reader, SQLite's ``json`` included."""
MAX_SEQUENCE = 2**63 - 1
"""The largest integer of SQLite; the twenty digits of a sequence could hold a larger one."""

_TOPIC = re.compile(
    r"([a-z0-9-]+/[a-z0-9-]+)/"
    r"(punch/[a-z0-9-]+|quarantine/[a-z0-9-]+|note(?:/[a-z0-9-]+)?|batch|info|state|terminal/([a-z0-9-]{1,200})/state)"
)
_NAME = re.compile(r"[!-~]{1,200}")
_LEVEL = re.compile(r"[a-z0-9-]{1,200}")
_SERIAL = re.compile(r"[ -~]{1,200}")
_PIN = re.compile(r"[!-~]([ -~]{0,22}[!-~])?")
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_SEQUENCE = re.compile(r"[0-9]{20}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Punch(NamedTuple):
    """The fields of a punch that are table columns."""

    terminal: str
    serial: str
    pin: str | None
    uid: int | None
    local_time: str
    instant: int
    """The second of UTC that the event's time names; where it has no offset, that of the local time in its zone."""


class Incident(NamedTuple):
    """What an event says of a time in which a punch may exist that is not known."""

    kind: IncidentKind
    terminal: str | None
    """None: all terminals of the gateway."""
    serial: str | None
    begin: int | None
    """A second of UTC; None: since the terminal's log was last known to be complete."""
    end: int | None
    """None: not ended yet."""
    punch: str | None = None
    """Of an unconfirmed live event, the id of its punch, at whose moment it was."""


class Tombstone(NamedTuple):
    """Position, id and digest of an event whose body the gateway has pruned."""

    stream: str
    sequence: int
    id: str
    digest: str


class Event(NamedTuple):
    """A numbered event whose digest is verified."""

    stream: str
    sequence: int
    id: str
    digest: str
    previous: str
    type: str
    body: str
    """Canonical JSON, ``digest`` included: equal, byte for byte, to the body in the gateway's ledger."""
    punch: Punch | None
    """Set if this is a punch whose id follows from its fields."""
    id_mismatch: str | None
    """Why an event of type punch has no :attr:`punch`."""
    tombstones: tuple[Tombstone, ...]
    """The events whose bodies this event declares pruned; invalid entries are left out."""
    incident: Incident | None = None


class StreamEnd(NamedTuple):
    """The last event of a stream."""

    stream: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Info:
    """The stream that a gateway writes now."""

    stream: str
    assigned: int
    """Highest sequence assigned in it."""
    predecessor: StreamEnd | None
    at: int | None = None
    """A second of UTC, by the gateway's clock while that is synchronised; None: the gateway does not say it."""


class Claim(NamedTuple):
    """A watermark: everything that a terminal's log held at ``until`` is in a stream at or below ``sequence``."""

    until: int
    """A second of UTC, by the gateway's clock."""
    sequence: int
    stream: str | None
    """None: it is not said, and the watermark counts for nothing."""


@dataclass(frozen=True, slots=True)
class TerminalState:
    """What the state of a terminal says of its log."""

    terminal: str
    serial: str | None
    """None: it was never reached."""
    has_log: bool
    """It has a log that can be read to its end, whether or not that was done."""
    complete: Claim | None


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Whether a gateway is connected, as it says itself or as its will says."""

    online: bool
    session: int | None
    """The number of the connection: the same where it begins and where it ends."""
    at: int | None
    """A second of UTC, by the gateway's clock; None in a will."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, or an element of a batch, that is not stored as an event."""

    reason: str
    """``topic``, ``too_large``, ``not_json``, ``not_an_event``, ``altered``, ``source_mismatch``, ``not_info``,
    ``not_a_state``, or ``failed`` for a defect of this program. The store has further reasons."""
    detail: str
    """For people; of the content it holds stream, sequence and digests only."""
    payload: bytes


class _Invalid(Exception):  # noqa: N818 - named by the state of the input
    """The input is invalid; carries reason and detail of the :class:`Rejected`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def text_digest(text: str) -> str:
    """Return the SHA-256 of ``text`` in the notation of events; raises UnicodeEncodeError for lone surrogates."""
    return "sha256:" + sha256(text.encode()).hexdigest()


def first_previous(stream: str) -> str:
    """Return the ``previous`` of a stream's first event."""
    return text_digest(stream)


def event_digest(event: dict[str, Any]) -> str:
    """Return the digest computed from an event's content; its own ``digest`` field is ignored."""
    return text_digest(event["previous"] + canonical({key: value for key, value in event.items() if key != "digest"}))


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
"""Encode JSON in the canonical form over which digests are computed."""


def gateway_of(topic: str) -> str | None:
    """Return ``site/gateway`` of a topic below ``<root>/v1/``; None for a topic that the contract does not define."""
    parts = _parts_of(topic)
    return parts and parts[0]


@lru_cache(maxsize=256)
def _parts_of(topic: str) -> tuple[str, str, str | None] | None:
    """Return gateway, kind and terminal of a topic; few topics have nearly all messages."""
    match = _TOPIC.fullmatch(topic)
    return match and (match[1], match[2], match[3])


def read_message(topic: str, payload: bytes) -> Iterator[Event | Info | TerminalState | GatewayState | Rejected]:
    """Yield the content or the rejections of a message, in its order; ``topic`` is relative to ``<root>/v1/``.

    An empty state, of a terminal or gateway that is no longer configured, holds nothing.
    """
    parts = _parts_of(topic)
    if parts is None:
        yield Rejected("topic", "not a topic on which gateways publish events", payload)
        return
    gateway, kind, terminal = parts
    if len(payload) > MAX_BYTES:
        yield Rejected("too_large", f"{len(payload)} bytes, at most {MAX_BYTES} are read", payload)
    elif kind == "info":
        yield _decode_one(payload, _info)
    elif kind == "state":
        if payload:
            yield _decode_one(payload, _gateway_state)
    elif terminal is not None:
        if payload:
            yield _decode_one(payload, lambda content: _state(terminal, content))
    elif payload[:_MAX_LEADING_WHITESPACE].lstrip(_WHITESPACE)[:1] != b"[":
        yield _decode_one(payload, lambda content: _event(content, gateway))
    else:
        yield from _batch(payload, gateway)


def read_stored(gateway: str, body: object) -> Event | Rejected:
    """Return the event of a stored body, or the rejection if the body does not verify."""
    text = body.encode() if isinstance(body, str) else b""
    return _decode_one(text, lambda content: _event(content, gateway))


def decode_text(stored: bytes) -> str:
    """Decode a text column; damaged UTF-8 becomes replacement characters, and its digest does not verify."""
    return stored.decode("utf-8", "replace")


def contradicting_fields(one: Event, other: Event) -> list[str]:
    """Return the fields in which the records of two events with one id differ.

    A field that is null in one of them does not differ (except ``_STRICT``): an export lacks fields that a log has.
    """
    first, second = _recorded(one), _recorded(other)
    return [
        field
        for field in sorted(first.keys() & second.keys())
        if canonical(first[field]) != canonical(second[field])  # 1 == True, but not as JSON
        and (field in _STRICT or (first[field] is not None and second[field] is not None))
    ]


def _batch(payload: bytes, gateway: str) -> Iterator[Event | Rejected]:
    if len(payload) <= MAX_EVENT_BYTES:
        with suppress(Exception):  # the loop below finds the error again and names it for its element
            events = [_event(element, gateway) for element in _decode(payload.decode())]
            if events:
                yield from events
                return
    bad = elements = 0
    for element in _elements(payload):
        elements += 1
        result = _decode_one(element, lambda content: _event(content, gateway))
        if isinstance(result, Rejected):
            bad += 1
            if bad > MAX_BAD_ELEMENTS:
                detail = f"more than {MAX_BAD_ELEMENTS} elements are not events: the rest was not read"
                yield Rejected("not_an_event", detail, payload)
                return
        yield result
    if not elements:
        yield Rejected("not_an_event", "an empty array", payload)


_WHITESPACE, _MAX_LEADING_WHITESPACE = b" \t\r\n", 64
"""The white space of JSON, and how many bytes of it may precede an array."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string or a bracket. An unclosed string matches to the end of the text: retrying at each quote inside it would cost
quadratic time."""
_OPENING, _CLOSING = b"[{", b"]}"


def _elements(payload: bytes) -> Iterator[bytes]:
    """Yield the source text of each object and array in an array, and of anything else between them.

    Splitting before decoding lets one element that is not JSON fail alone. Iterative, in constant memory.
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
    if text.strip(_WHITESPACE) not in (b"", b","):
        yield text


def _reject_number(_number: str) -> Any:
    raise ValueError("the contract defines integers only")


_decode = json.JSONDecoder(parse_float=_reject_number, parse_constant=_reject_number).decode


T = TypeVar("T", Event, Info, TerminalState, GatewayState)


def _decode_one(text: bytes, convert: Callable[[Any], T]) -> T | Rejected:
    """Decode one event or ``info``; every exception becomes a rejection."""
    if len(text) > MAX_EVENT_BYTES:
        return Rejected("too_large", f"{len(text)} bytes, an event has at most {MAX_EVENT_BYTES}", text)
    try:
        content = _decode(text.decode())
    except (ValueError, RecursionError) as exc:
        return Rejected("not_json", f"{type(exc).__name__}: not JSON in UTF-8 without fractions", text)
    try:
        return convert(content)
    except _Invalid as invalid:
        return Rejected(invalid.reason, invalid.detail, text)
    except Exception as exc:  # noqa: BLE001 - a defect here must cost this message, not the inbox
        return Rejected("failed", f"{type(exc).__name__} while reading it", text)


def _event(content: Any, gateway: str) -> Event:
    if not isinstance(content, dict):
        raise _Invalid("not_an_event", "not a JSON object")
    if content.get("specversion") != "1.0":
        raise _Invalid("not_an_event", "specversion is not 1.0")
    stream, identity, kind, number, previous, stated = _placing_fields(content)
    sequence = int(number)
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise _Invalid("not_an_event", "sequence is out of range")
    body, digest = _encoded(content, previous, stated)
    if digest != stated:
        raise _Invalid(
            "altered", f"{_place(content)}: the digest of the content is {digest}, the event states {stated}"
        )
    if content.get("source") != f"/hadir/{gateway}":
        raise _Invalid("source_mismatch", f"{_place(content)}: the source differs from the topic's gateway {gateway}")
    data = content.get("data")
    punch = id_mismatch = None
    if kind == PUNCH:
        punch, id_mismatch = _punch(identity, data, content.get("time"))
    return Event(
        *(stream, sequence, identity, digest, previous, kind, body, punch, id_mismatch),
        tombstones=tuple(_tombstones(stream, sequence, data)) if kind == BODY_FORGOTTEN else (),
        incident=_incident(INCIDENTS[kind], content) if kind in INCIDENTS else _misdated(punch, content),
    )


_PLACING = {"stream": _NAME, "id": _NAME, "type": _NAME, "sequence": _SEQUENCE, "previous": _DIGEST, "digest": _DIGEST}
_GET_PLACING = itemgetter(*_PLACING)
_ALL_PLACING = re.compile("\n".join(pattern.pattern for pattern in _PLACING.values()))
"""All of them at once, a line each: none of the patterns matches a line feed."""


def _placing_fields(content: dict[str, Any]) -> tuple[str, ...]:
    """Return the fields that place an event in its stream, in the order of ``_PLACING``; raises _Invalid."""
    with suppress(KeyError, TypeError):
        fields: tuple[str, ...] = _GET_PLACING(content)
        if _ALL_PLACING.fullmatch("\n".join(fields)):
            return fields
    return tuple(_text(content, key, pattern, "not_an_event") for key, pattern in _PLACING.items())


def _encoded(content: dict[str, Any], previous: str, stated: str) -> tuple[str, str]:
    """Return an event as canonical JSON, and the digest computed from its content; raises _Invalid.

    The event is encoded once: what the digest is made of is the same text without the member ``digest``. That the cut
    removes the same text elsewhere is impossible where the digest matches: it would be a digest of itself.
    """
    try:
        body = canonical(content)
        if body.count("{") + body.count("[") > MAX_DEPTH and _is_too_deep(content):
            raise RecursionError  # noqa: TRY301 - answered below, like the encoder's own
        before, _, after = body.partition(f'"digest":"{stated}",')
        digest = text_digest(f"{previous}{before}{after}")
        return body, digest if digest == stated else event_digest(content)
    except RecursionError:
        raise _Invalid("not_an_event", f"nested more than {MAX_DEPTH} deep") from None
    except UnicodeEncodeError:
        raise _Invalid("not_an_event", "text that is not valid Unicode") from None


def _place(content: dict[str, Any]) -> str:
    return f"sequence {int(content['sequence'])} of stream {content['stream']}"


def _is_too_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return False
    return True


_CONTAINERS = (dict, list)
_NAMESPACE_BYTES = PUNCH_NAMESPACE.bytes
_RECORD_FIELDS = {
    PUNCH: ("pin", "uid", "state", "verify", "work_code"),
    QUARANTINE: ("serial", "raw", "size", "sha256", "occurrence"),
}
"""The fields that come from the terminal, for the types whose id two gateways can derive from one record."""
_STRICT = frozenset(("pin", "time"))
"""Fields in which null differs from a value: the PIN ``uid:7`` and uid 7 without a PIN derive the same id."""


def _recorded(event: Event) -> dict[str, Any]:
    """Return the terminal's record, by field, for the types whose id is derived from a record; otherwise nothing."""
    content = _decode(event.body)
    data = content.get("data")
    if event.type not in _RECORD_FIELDS or not isinstance(data, dict):
        return {}
    recorded = {field: data.get(field) for field in _RECORD_FIELDS[event.type]}
    return {**recorded, "time": content.get("time")} if event.type == PUNCH else recorded


def _text(content: dict[str, Any], key: str, pattern: re.Pattern[str], reason: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Invalid(reason, f"{key} is missing or not in the form of the contract")
    return value


def _punch(identity: str, data: Any, time: Any) -> tuple[Punch | None, str | None]:
    """Return the punch, or why its id does not match: an id of another punch must not displace that punch."""
    if not isinstance(data, dict):
        return None, "it has no data"
    get: Any = data.get
    terminal, serial, local_time = get("terminal"), get("serial"), get("local_time")
    pin, uid, occurrence = get("pin"), get("uid"), get("occurrence")
    if not _fits(_LEVEL, terminal) or not _fits(_SERIAL, serial):
        return None, "terminal or serial is not in the form of the contract"
    local = _local(local_time)
    if local is None:
        return None, "local_time is not a date and time"
    if pin is not None and not _fits(_PIN, pin):
        return None, "pin is not in the form of the contract"
    if not _is_count(uid) and not (uid is None and pin is not None):
        return None, "neither pin nor uid identifies a person"
    if not _is_count(occurrence):
        return None, "occurrence is not a number"
    person = pin if pin is not None else f"uid:{uid}"
    expected = _punch_id(f"{serial}\n{person}\n{local_time}\n{occurrence}")
    if identity != expected:
        return None, f"its fields give {expected}"
    return Punch(terminal, serial, pin, uid, local_time, _instant(local, time, get("timezone"))), None


def _instant(local: datetime, time: Any, zone: Any) -> int:
    try:
        offset = datetime.fromisoformat(time).utcoffset()
    except (ValueError, TypeError):
        offset = None
    if offset is None:
        with suppress(OSError, ValueError, TypeError, LookupError):  # zoneinfo raises any of these
            offset = local.replace(tzinfo=ZoneInfo(zone)).utcoffset()
    since = local - _EPOCH
    return since.days * 86400 + since.seconds - (0 if offset is None else offset.days * 86400 + offset.seconds)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock has no zone


def _punch_id(name: str) -> str:
    """Return the UUIDv5 of a name in ``PUNCH_NAMESPACE``; without the objects of :mod:`uuid` in a third of the time."""
    text = sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) % 4]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _local(local_time: Any) -> datetime | None:
    if not _fits(_LOCAL_TIME, local_time):
        return None
    try:
        return datetime.fromisoformat(local_time)
    except ValueError:
        return None


def _tombstones(stream: str, sequence: int, data: Any) -> Iterator[Tombstone]:
    """Yield the valid entries of a pruning event; in its own stream it can only refer to earlier events."""
    if not isinstance(data, dict) or not isinstance(data.get("events"), list):
        return
    for entry in data["events"]:
        if not isinstance(entry, dict):
            continue
        with suppress(_Invalid):
            tombstone = Tombstone(
                _text(data, "stream", _NAME, ""),
                entry["sequence"] if _is_count(entry.get("sequence")) else 0,
                _text(entry, "id", _NAME, ""),
                _text(entry, "digest", _DIGEST, ""),
            )
            if 1 <= tombstone.sequence < (sequence if tombstone.stream == stream else MAX_SEQUENCE):
                yield tombstone


def _incident(kind: IncidentKind, content: dict[str, Any]) -> Incident | None:
    """Return what an event says of an outage or of a record that is no punch; None where it says nothing of that.

    A time that cannot be read is that of the event: an outage does not vanish because one of its fields is damaged.
    """
    given = content.get("data")
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    terminal, serial = data.get("terminal"), data.get("serial")
    terminal, serial = terminal if _fits(_LEVEL, terminal) else None, serial if _fits(_SERIAL, serial) else None
    at = _second(content.get("recordedtime")) or _second(content.get("time"))
    if kind == "resumed":
        if data.get("last_alive") is None and "last_alive" in data:
            return None  # its first start
        return _spanned(kind, None, None, _second(data.get("last_alive")) or at, _second(data.get("resumed")) or at)
    if kind == "not_held" and data.get("what") in LOG_CHANGES:
        return None if at is None or terminal is None else Incident("log_lost", terminal, serial, None, at)
    if kind == "not_held" and data.get("what") != "not_held":
        return None
    if terminal is None and kind != "not_held":
        return None
    begin, end = _second(data.get("from")) or _second(content.get("time")) or at, _second(data.get("to")) or at
    if kind == "unpublished":
        return _spanned(kind, terminal, serial, 0, _chosen_start(data.get("start"), content.get("time")) or at)
    if kind == "lost":
        return None if begin is None else Incident(kind, terminal, serial, begin, None)
    if kind in ("found", "not_held"):
        return _spanned(kind, terminal, serial, begin, end)
    punch = data.get("punch") if kind == "unconfirmed" and _fits(_NAME, data.get("punch")) else None
    return None if at is None else Incident(kind, terminal, serial, None, at, punch)


def _misdated(punch: Punch | None, content: dict[str, Any]) -> Incident | None:
    """Return the incident of a punch whose printed time says nothing: it was made at another time."""
    suspect = None if punch is None else content["data"].get("suspect")
    if punch is None or not isinstance(suspect, list) or ("reset" not in suspect and "future" not in suspect):
        return None
    at = _second(content.get("recordedtime"))
    return None if at is None else Incident("misdated", punch.terminal, punch.serial, None, at)


def _chosen_start(start: Any, time: Any) -> int | None:
    """Return the last instant before a date, at the offset of an event's time; of another start that time."""
    if isinstance(start, str) and isinstance(time, str) and _DATE.fullmatch(start):
        offset = _OFFSET.search(time)
        midnight = None if offset is None else _second(f"{start}T00:00:00{offset[0]}")
        return None if midnight is None else midnight - 1
    return _second(time)


def _spanned(
    kind: IncidentKind, terminal: str | None, serial: str | None, begin: int | None, end: int | None
) -> Incident | None:
    if begin is None or end is None:
        return None
    return Incident(kind, terminal, serial, min(begin, end), max(begin, end))


def _second(text: Any) -> int | None:
    """Return the second of UTC of a time with an offset; None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.utcoffset() is None else int((moment - _EPOCH_UTC).total_seconds() // 1)
    except (ValueError, TypeError, OverflowError):
        return None


_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_OFFSET = re.compile(r"(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)


def _state(terminal: str, content: Any) -> TerminalState:
    if not isinstance(content, dict):
        raise _Invalid("not_a_state", "not a JSON object")
    serial, complete = content.get("serial"), content.get("complete")
    if serial is not None and not _fits(_SERIAL, serial):
        raise _Invalid("not_a_state", "serial is not in the form of the contract")
    claim = None
    if complete is not None:
        if not isinstance(complete, dict):
            raise _Invalid("not_a_state", "complete is not in the form of the contract")
        until = _second(complete.get("until"))
        if until is None:
            raise _Invalid("not_a_state", "complete.until is not a time with its offset")
        sequence = int(_text(complete, "sequence", _SEQUENCE, "not_a_state"))
        if sequence > MAX_SEQUENCE:
            raise _Invalid("not_a_state", "complete.sequence is out of range")
        stream = None if complete.get("stream") is None else _text(complete, "stream", _NAME, "not_a_state")
        claim = Claim(until, sequence, stream)
    has_log = claim is not None or ("complete" in content and _is_count(content.get("records")))
    return TerminalState(terminal, serial, has_log, claim)


def _gateway_state(content: Any) -> GatewayState:
    if not isinstance(content, dict):
        raise _Invalid("not_a_state", "not a JSON object")
    state, session = content.get("state"), content.get("session")
    if state not in ("online", "offline"):
        raise _Invalid("not_a_state", "state is neither online nor offline")
    if session is not None and not _is_count(session):
        raise _Invalid("not_a_state", "session is not a number")
    return GatewayState(state == "online", session, _second(content.get("at")))


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
            raise _Invalid("not_info", "predecessor is not in the form of the contract")
        end = StreamEnd(
            _text(predecessor, "stream", _NAME, "not_info"),
            predecessor["sequence"],
            _text(predecessor, "digest", _DIGEST, "not_info"),
        )
    return Info(stream, content["sequence"], end, _second(content.get("at")))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQUENCE
