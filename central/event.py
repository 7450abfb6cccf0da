"""What a message says: numbered events, ``info``, or something that cannot be taken for either. Pure.

Nothing that comes over the wire makes these functions raise: what is wrong with a message is their result.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar
from uuid import NAMESPACE_URL, uuid5

PUNCH = "hadir.punch.recorded.v1"
PUNCHES = uuid5(NAMESPACE_URL, "urn:hadir:punch:v1")
"""The namespace of punches' identities."""
BODY_FORGOTTEN = "hadir.body.forgotten.v1"
MAX_BYTES = 4 * 1024 * 1024
"""Longer messages are not taken apart. Gateways send at most 64 KiB unless their ``delivery.batch_bytes`` says more."""
MAX_SEQUENCE = 2**63 - 1
"""What SQLite can count to; twenty digits go a little further."""

_TOPIC = re.compile(r"([a-z0-9-]+/[a-z0-9-]+)/(punch/[a-z0-9-]+|quarantine/[a-z0-9-]+|note(?:/[a-z0-9-]+)?|batch|info)")
_NAME = re.compile(r"[!-~]{1,200}")
_SEQUENCE = re.compile(r"[0-9]{20}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Punch(NamedTuple):
    """The fields of a punch that are worth a column."""

    terminal: str
    serial: str
    pin: str | None
    uid: int | None
    local_time: str


class Remains(NamedTuple):
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
    doubt: str | None
    """What is wrong with a punch that has no :attr:`punch`."""
    forgotten: tuple[Remains, ...]
    """The events that this one says will never come again; those it names wrongly are left out."""


class End(NamedTuple):
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
    predecessor: End | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, or an element of a batch, that fills no place in any stream."""

    reason: str
    """``topic``, ``too_large``, ``not_json``, ``not_an_event``, ``altered`` or ``not_info``."""
    detail: str
    """For people; repeats nothing of the content but stream, sequence and digests."""
    payload: bytes


class _Wrong(Exception):  # noqa: N818 - named by what is the matter
    """Carries a reason and a detail out of the depths."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def hashed(text: str) -> str:
    """Return the SHA-256 of ``text`` as events write it; raises UnicodeEncodeError where it is not Unicode."""
    return "sha256:" + sha256(text.encode()).hexdigest()


def first_previous(stream: str) -> str:
    """Return the ``previous`` of a stream's first event."""
    return hashed(stream)


def digest_of(event: dict[str, Any]) -> str:
    """Return the digest that follows from an event's content, whatever its own ``digest`` says."""
    return hashed(event["previous"] + canonical({key: value for key, value in event.items() if key != "digest"}))


canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""Write JSON as digests see it."""


def gateway_of(topic: str) -> str | None:
    """Return ``site/gateway`` of a topic below ``<root>/v1/``; None where no gateway publishes on such a topic."""
    match = _TOPIC.fullmatch(topic)
    return match and match[1]


def read(topic: str, payload: bytes) -> Iterator[Event | Info | Rejected]:
    """Yield what a message says, in its order; ``topic`` is what follows ``<root>/v1/``."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        yield Rejected("topic", "no gateway publishes evidence on such a topic", payload)
        return
    if len(payload) > MAX_BYTES:
        yield Rejected("too_large", f"{len(payload)} bytes, at most {MAX_BYTES} are read", payload)
        return
    try:
        content = _decode(payload.decode())
    except (ValueError, RecursionError) as exc:
        yield Rejected("not_json", f"{type(exc).__name__}: not JSON in UTF-8 without fractions", payload)
        return
    if match[2] == "info":
        yield _said(_info, content, payload)
    elif isinstance(content, list) and content:
        for element in content:
            yield _said(_event, element, payload, is_part=True)
    else:
        yield _said(_event, content, payload)


def _fraction(_number: str) -> Any:
    raise ValueError("the contract knows integers only")


_decode = json.JSONDecoder(parse_float=_fraction, parse_constant=_fraction).decode


T = TypeVar("T", Event, Info)


def _said(what: Callable[[Any], T], content: Any, payload: bytes, *, is_part: bool = False) -> T | Rejected:
    try:
        return what(content)
    except _Wrong as wrong:
        if is_part:
            with suppress(RecursionError):  # what is nested so deeply is kept with the whole message
                payload = json.dumps(content).encode()
        return Rejected(wrong.reason, wrong.detail, payload)


def _event(content: Any) -> Event:
    if not isinstance(content, dict):
        raise _Wrong("not_an_event", "not a JSON object")
    if content.get("specversion") != "1.0":
        raise _Wrong("not_an_event", "specversion is not 1.0")
    stream, identity, kind = (_text(content, key, _NAME, "not_an_event") for key in ("stream", "id", "type"))
    sequence = int(_text(content, "sequence", _SEQUENCE, "not_an_event"))
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise _Wrong("not_an_event", "sequence is out of range")
    previous, claimed = (_text(content, key, _DIGEST, "not_an_event") for key in ("previous", "digest"))
    try:
        digest = claimed if _without_raw(content) else digest_of(content)
    except (UnicodeEncodeError, RecursionError):
        raise _Wrong("not_an_event", "text that is not Unicode") from None
    if digest != claimed:
        raise _Wrong(
            "altered", f"sequence {sequence} of stream {stream}: the content's digest is {digest}, it says {claimed}"
        )
    punch = doubt = None
    if kind == PUNCH:
        punch, doubt = _punch(identity, content.get("data"))
    forgotten = tuple(_forgotten(stream, sequence, content.get("data"))) if kind == BODY_FORGOTTEN else ()
    return Event(stream, sequence, identity, digest, previous, kind, canonical(content), punch, doubt, forgotten)


def _without_raw(content: dict[str, Any]) -> bool:
    """Tell whether the record's bytes were left out for want of room: the digest is that of the whole event then."""
    data = content.get("data")
    return isinstance(data, dict) and data.get("raw", "") is None and isinstance(data.get("raw_sha256"), str)


def _text(content: dict[str, Any], key: str, pattern: re.Pattern[str], reason: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Wrong(reason, f"{key} is missing or not as the contract has it")
    return value


def _punch(identity: str, data: Any) -> tuple[Punch | None, str | None]:
    """Return the punch, or what is wrong with it: an id that belongs to another punch must not displace that one."""
    if not isinstance(data, dict):
        return None, "it has no data"
    terminal, serial, local_time = (data.get(key) for key in ("terminal", "serial", "local_time"))
    pin, uid, occurrence = (data.get(key) for key in ("pin", "uid", "occurrence"))
    if not (isinstance(terminal, str) and isinstance(serial, str) and isinstance(local_time, str)):
        return None, "terminal, serial or local_time is not text"
    if not (isinstance(pin, str) or (pin is None and _is_count(uid))) or not (uid is None or _is_count(uid)):
        return None, "neither pin nor uid names a person"
    if not _is_count(occurrence):
        return None, "occurrence is not a number"
    person = pin if pin is not None else f"uid:{uid}"
    expected = str(uuid5(PUNCHES, f"{serial}\n{person}\n{local_time}\n{occurrence}"))
    if identity != expected:
        return None, f"its fields make {expected}"
    return Punch(terminal, serial, pin, uid, local_time), None


def _forgotten(stream: str, sequence: int, data: Any) -> Iterator[Remains]:
    """Yield what an event of this place says of others; of its own stream it can only know what lies before it."""
    if not isinstance(data, dict) or not isinstance(data.get("events"), list):
        return
    for named in data["events"]:
        if not isinstance(named, dict):
            continue
        with suppress(_Wrong):
            remains = Remains(
                _text(data, "stream", _NAME, ""),
                named["sequence"] if _is_count(named.get("sequence")) else 0,
                _text(named, "id", _NAME, ""),
                _text(named, "digest", _DIGEST, ""),
            )
            if 1 <= remains.sequence < (sequence if remains.stream == stream else MAX_SEQUENCE):
                yield remains


def _info(content: Any) -> Info:
    if not isinstance(content, dict):
        raise _Wrong("not_info", "not a JSON object")
    stream = _text(content, "stream", _NAME, "not_info")
    if not _is_count(content.get("sequence")):
        raise _Wrong("not_info", "sequence is not a number")
    predecessor = content.get("predecessor")
    end = None
    if predecessor is not None:
        if not isinstance(predecessor, dict) or not _is_count(predecessor.get("sequence")):
            raise _Wrong("not_info", "predecessor is not as the contract has it")
        end = End(
            _text(predecessor, "stream", _NAME, "not_info"),
            predecessor["sequence"],
            _text(predecessor, "digest", _DIGEST, "not_info"),
        )
    return Info(stream, content["sequence"], end)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQUENCE
