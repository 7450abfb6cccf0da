"""Events made of records: identity, time zone, clock evidence, digest. Pure; no other module computes any of these.

``docs/contract.md`` specifies what the central system relies on; ``docs/verify_events.py`` is an independent check of
identity and chain.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha1, sha256
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID
from uuid import uuid5 as standard_uuid5
from zoneinfo import ZoneInfo

from drivers.base import BadRecord, Labels, RawPunch, Record, Via
from gateway import event_types

NAMESPACE = standard_uuid5(NAMESPACE_URL, "urn:hadir:punch:v1")
NOTE_NAMESPACE = standard_uuid5(NAMESPACE_URL, "urn:hadir:note:v1")

# The types are used with the functions below.
RECORDED = event_types.RECORDED
CONFIRMED = event_types.CONFIRMED
UNCONFIRMED = event_types.UNCONFIRMED
QUARANTINED = event_types.QUARANTINED
TERMINAL_LOST = event_types.TERMINAL_LOST
TERMINAL_FOUND = event_types.TERMINAL_FOUND
TERMINAL_CHANGED = event_types.TERMINAL_CHANGED
CLOCK_STEPPED = event_types.CLOCK_STEPPED
CLOCK_SET = event_types.CLOCK_SET
CLOCK_SYNCHRONISED = event_types.CLOCK_SYNCHRONISED
GATEWAY_RESUMED = event_types.GATEWAY_RESUMED
STREAM_OPENED = event_types.STREAM_OPENED
HISTORY_WITHHELD = event_types.HISTORY_WITHHELD
BODY_FORGOTTEN = event_types.BODY_FORGOTTEN
FILE_IMPORTED = event_types.FILE_IMPORTED

STATE_LABELS: dict[int | None, str] = {
    0: "check_in",
    1: "check_out",
    2: "break_out",
    3: "break_in",
    4: "overtime_in",
    5: "overtime_out",
    255: "not_set",
}
VERIFY_LABELS: dict[int | None, str] = {
    0: "password",
    1: "fingerprint",
    2: "card",
    3: "password",
    4: "card",
    15: "face",
    25: "palm",
}

LABELS = Labels(STATE_LABELS, VERIFY_LABELS)
"""Meaning of the codes unless the driver declares its own."""

MEASUREMENT_REACH = timedelta(hours=24)
"""Maximum distance between a punch and a clock measurement that applies to it."""
FIRST_YEAR = 1970
"""An earlier time is no terminal's: before, a zone's offset has seconds, which the contract cannot express."""
RESET_YEAR = 2000
"""Terminals start in this year after their clock lost power."""
RAW_LIMIT = 1024
"""Maximum bytes of an unreadable record in its event."""


@dataclass(frozen=True, slots=True)
class ClockEvidence:
    """One comparison of a terminal's clock with the gateway's."""

    offset_ms: int
    """Terminal minus gateway."""
    bound_ms: int
    """The true offset lies within this distance of ``offset_ms``."""
    measured: datetime
    """When, by the gateway's clock, UTC."""


@dataclass(frozen=True, slots=True)
class ReadingContext:
    """The reading a record belongs to: terminal, driver path, and the state of both clocks."""

    terminal: str
    serial: str
    zone: ZoneInfo
    via: Via
    now: datetime
    """The gateway's clock, UTC."""
    synchronised: bool
    """Whether the gateway's own clock was synchronised."""
    clock: ClockEvidence | None
    stepped: bool
    """The terminal's clock jumped since the previous measurement."""
    tolerance: timedelta
    """Offset beyond which a punch is marked as suspect."""
    labels: Labels = LABELS
    """Meaning of the driver's codes."""
    host_time: bool = False
    """The record had no time; the gateway's clock supplied it."""


class Draft(NamedTuple):
    """An event without its place in the stream."""

    id: UUID
    type: str
    subject: str | None
    """The terminal concerned; None for an event about the gateway."""
    time: str
    data: str
    """Canonical JSON: sorted keys, no white space."""


PIN_MOST = 24
"""Maximum length of a PIN."""


def checked(record: Record) -> Record:
    """Return a record that conforms to the contract: its PIN without padding, or a BadRecord where that is no PIN.

    A PIN is 1 to 24 printable ASCII characters and does not begin with ``uid:``, which would give two persons one
    identity: see :func:`person_key`. Records of external drivers are checked likewise. A time before
    :data:`FIRST_YEAR` is no punch's either.
    """
    if isinstance(record, BadRecord):
        return record
    if record.local_time.year < FIRST_YEAR:
        return _unfit(record, f"a time before {FIRST_YEAR}")
    if record.pin is None:
        return record
    pin = record.pin.rstrip("\0").strip(" ")
    if 1 <= len(pin) <= PIN_MOST and pin.isascii() and pin.isprintable() and not pin.startswith("uid:"):
        return record if pin == record.pin else record._replace(pin=pin)
    return _unfit(record, "PIN is not 1 to 24 printable ASCII characters, or begins with uid:")


def _unfit(record: RawPunch, reason: str) -> BadRecord:
    fields = (record.pin, record.local_time.isoformat(), record.state, record.verify, record.work_code)
    stable = json.dumps(fields).encode()
    return BadRecord(record.raw or stable, stable, reason)


def person_key(pin: str | None, uid: int | None) -> str:
    """Return the person part of a punch's identity: the PIN, or ``uid:N`` where the terminal has no PIN."""
    return pin if pin is not None else f"uid:{uid}"


def mask_pin(pin: str) -> str:
    """Return a PIN masked for display: its last two characters; nothing of one with fewer than four."""
    return "***" + (pin[-2:] if len(pin) >= 4 else "")


_UUID_FIXED_BITS = 5 << 76 | 0b10 << 62
_UUID_FREE_BITS = ~(0xF << 76 | 0b11 << 62)


def uuid5(namespace: UUID, name: str) -> UUID:
    """Return the UUID of version 5, as ``uuid.uuid5`` does, in half the time: every record needs one."""
    digest = sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()
    return UUID(int=int.from_bytes(digest[:16], "big") & _UUID_FREE_BITS | _UUID_FIXED_BITS)


def punch_id(serial: str, person: str, local_time: datetime, occurrence: int) -> UUID:
    """Return the identity of a punch, the same for every transport (live event, log, file).

    ``occurrence`` counts punches of the same person in the same second of the same terminal, from 1.
    """
    return uuid5(NAMESPACE, f"{serial}\n{person}\n{local_time.isoformat()}\n{occurrence}")


def quarantine_id(serial: str, stable: bytes, occurrence: int) -> UUID:
    """Return the identity of an unreadable record; ``stable`` are its bytes without index fields."""
    return uuid5(NAMESPACE, f"{serial}\nbad\n{sha256(stable).hexdigest()}\n{occurrence}")


def identity_of(serial: str, record: Record, occurrence: int) -> UUID:
    """Return the identity of a record, whatever it is."""
    if isinstance(record, BadRecord):
        return quarantine_id(serial, record.stable, occurrence)
    return punch_id(serial, person_key(record.pin, record.uid), record.local_time, occurrence)


@lru_cache(maxsize=16)  # one transaction gives hundreds of events the same moment
def utc_text(moment: datetime) -> str:
    """Return ``2026-09-04T00:30:00.412Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def topic_of(event_type: str, subject: str | None) -> str:
    """Return the topic of an event below the gateway's prefix."""
    if event_type == RECORDED:
        return f"punch/{subject}"
    if event_type == QUARANTINED:
        return f"quarantine/{subject}"
    return f"note/{subject}" if subject else "note"


def punch_draft(
    punch: RawPunch, context: ReadingContext, *, occurrence: int, position: int | None, identity: UUID | None = None
) -> Draft:
    """Return the event of a punch: the terminal's values unchanged, with the clock evidence.

    ``identity``: the result of :func:`punch_id`, where the caller has computed it.
    """
    local_time = punch.local_time.isoformat()
    moment = datetime.combine(punch.local_time, punch.local_time.time(), context.zone)
    clock = _clock_near(moment, context)
    text, number, labels = encode_basestring, _number_json, context.labels
    measured = "null" if clock is None else f'"{utc_text(clock.measured)}"'
    offset_ms, bound_ms = ("null", "null") if clock is None else (clock.offset_ms, clock.bound_ms)
    uid = "" if punch.uid is None else f'"uid":{number(punch.uid)},'
    # Sorted keys, as the standard library's encoder writes them, in a third of its time. Properties compare the two.
    data = (
        f'{{"clock":{{"bound_ms":{bound_ms},"gateway_synchronised":{"true" if context.synchronised else "false"},'
        f'"measured":{measured},"offset_ms":{offset_ms}}},"local_time":"{local_time}",'
        f'"occurrence":{occurrence},"pin":{_text_json(punch.pin)},"position":{number(position)},'
        f'"raw":"{punch.raw.hex()}","serial":{text(context.serial)},"state":{number(punch.state)},'
        f'"state_label":{_text_json(labels.state.get(punch.state))},"suspect":{_suspicions(moment, clock, context)},'
        f'"terminal":{text(context.terminal)},"timezone":{text(context.zone.key)},{uid}"verify":{number(punch.verify)},'
        f'"verify_label":{_text_json(labels.verify.get(punch.verify))},"via":{text(context.via)},'
        f'"work_code":{_text_json(punch.work_code)}}}'
    )
    return Draft(
        identity or punch_id(context.serial, person_key(punch.pin, punch.uid), punch.local_time, occurrence),
        RECORDED,
        context.terminal,
        local_time + _offset_text(moment.utcoffset()),
        data,
    )


@lru_cache(maxsize=64)
def _offset_text(offset: timedelta | None) -> str:
    """Return the end of a time in a zone, ``+07:00``: writing the whole time takes longer."""
    return datetime(2000, 1, 1, tzinfo=timezone(offset or timedelta())).isoformat()[19:]


def _text_json(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def _number_json(value: int | None) -> str:
    """Return a number as JSON; whatever else a driver of another package passes, as the standard library writes it."""
    return "null" if value is None else str(value) if type(value) is int else _canonical_json(value)


def quarantine_draft(bad: BadRecord, context: ReadingContext, *, occurrence: int, position: int | None) -> Draft:
    """Return the event of a record that could not be decoded as a punch."""
    return Draft(
        quarantine_id(context.serial, bad.stable, occurrence),
        QUARANTINED,
        context.terminal,
        _in_zone(context),
        _canonical_json(
            {
                "terminal": context.terminal,
                "serial": context.serial,
                "reason": bad.reason,
                "occurrence": occurrence,
                "via": context.via,
                "position": position,
                "raw": bad.raw[:RAW_LIMIT].hex(),
                "size": len(bad.raw) if bad.size is None else bad.size,
                "sha256": bad.sha256 or sha256(bad.raw).hexdigest(),
            }
        ),
    )


def confirmed_draft(punch: RawPunch, context: ReadingContext, *, punch_event: UUID, position: int | None) -> Draft:
    """Return the note that the log holds a live event's punch with other fields than the live event had."""
    data = {
        "terminal": context.terminal,
        "serial": context.serial,
        "punch": str(punch_event),
        **_codes(punch, context.labels),
        "position": position,
        "raw": punch.raw.hex(),
    }
    return Draft(
        uuid5(NOTE_NAMESPACE, f"{punch_event}\nconfirmed"),
        CONFIRMED,
        context.terminal,
        _in_zone(context),
        _canonical_json(data),
    )


def unconfirmed_draft(context: ReadingContext, *, punch_event: UUID) -> Draft:
    """Return the note that a full reading of the log did not hold a live event's punch."""
    data = {"terminal": context.terminal, "serial": context.serial, "punch": str(punch_event)}
    identity = uuid5(NOTE_NAMESPACE, f"{punch_event}\nunconfirmed")
    return Draft(identity, UNCONFIRMED, context.terminal, _in_zone(context), _canonical_json(data))


def note_draft(event_type: str, subject: str | None, moment: datetime, data: dict[str, Any], *, salt: str) -> Draft:
    """Return any other note; ``moment`` is aware, ``salt`` makes the identity unique (the stream and sequence do)."""
    return Draft(
        uuid5(NOTE_NAMESPACE, f"{event_type}\n{salt}"),
        event_type,
        subject,
        moment.isoformat("T", "seconds"),
        _canonical_json(data),
    )


def _in_zone(context: ReadingContext) -> str:
    return context.now.astimezone(context.zone).isoformat("T", "seconds")


def _codes(punch: RawPunch, labels: Labels) -> dict[str, Any]:
    return {
        "state": punch.state,
        "state_label": labels.state.get(punch.state),
        "verify": punch.verify,
        "verify_label": labels.verify.get(punch.verify),
        "work_code": punch.work_code,
    }


def _clock_near(moment: datetime, context: ReadingContext) -> ClockEvidence | None:
    """Return the measurement if it applies to ``moment``, which is by the terminal's clock."""
    clock = context.clock
    if clock is None or context.stepped:
        return None
    # As a difference of moments: the true moment may lie outside of the calendar.
    distance = moment - clock.measured - timedelta(milliseconds=clock.offset_ms)
    return clock if abs(distance) <= MEASUREMENT_REACH else None


def _suspicions(moment: datetime, clock: ClockEvidence | None, context: ReadingContext) -> str:
    """Return the marks of a punch as JSON."""
    found = []
    if moment.year <= RESET_YEAR:
        found.append("reset")
    if context.synchronised and moment - context.now > context.tolerance:
        found.append("future")
    if context.stepped:
        found.append("step")
    if context.synchronised and clock and abs(timedelta(milliseconds=clock.offset_ms)) > context.tolerance:
        found.append("drift")
    if not context.synchronised:
        found.append("unverified")
    if context.host_time:
        found.append("host_time")
    elif clock is None:
        found.append("unmeasured")
    return '["' + '","'.join(found) + '"]' if found else "[]"


_PREVIOUS = re.compile(r'"previous":"(sha256:[0-9a-f]{64})"')
_canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def first_previous(stream: str) -> str:
    """Return the ``previous`` value of the first event of a stream."""
    return "sha256:" + sha256(stream.encode("ascii")).hexdigest()


def encode(
    draft: Draft, *, source: str, stream: str, sequence: int, recorded: datetime, previous: str
) -> tuple[str, str]:
    """Encode an event with its place in the stream; return its final JSON and its digest.

    The digest is SHA-256 over ``previous`` and the event's canonical JSON (sorted keys, no white space, UTF-8) without
    ``digest``; the JSON returned is canonical too.
    """
    text = encode_basestring
    subject = "" if draft.subject is None else f'"subject":{text(draft.subject)},'
    # "data" and "datacontenttype" sort before "digest", all other keys after it: one encoding serves both texts. The
    # envelope's keys never change: writing them in order takes a tenth of sorting and encoding them.
    head = f'{{"data":{draft.data},"datacontenttype":"application/json",'
    tail = (
        f'"id":"{draft.id}","previous":{text(previous)},"recordedtime":"{utc_text(recorded)}",'
        f'"sequence":"{sequence:020d}","source":{text(source)},"specversion":"1.0","stream":{text(stream)},{subject}'
        f'"time":{text(draft.time)},"type":{text(draft.type)}}}'
    )
    digest = "sha256:" + sha256((previous + head + tail).encode()).hexdigest()
    return f'{head}"digest":"{digest}",{tail}', digest


def is_intact(body: str, digest: str) -> bool:
    """Return whether a body fits the digest that :func:`encode` returned for it, without parsing it as JSON."""
    head, found, tail = body.rpartition('"digest":"')
    stated, _, rest = tail.partition('",')
    previous = _PREVIOUS.search(rest)
    if not found or stated != digest or previous is None:
        return False
    return digest == "sha256:" + sha256((previous[1] + head + rest).encode("utf-8", "surrogatepass")).hexdigest()


def verified(body: str) -> dict[str, Any]:
    """Decode and verify a body made by :func:`encode`; raises ValueError with what is wrong.

    Canonical form, digest and, for a punch, the identity are computed again.
    """
    try:
        event: dict[str, Any] = json.loads(body)
        stated = itemgetter("id", "digest", "type", "data", "stream", "sequence", "source")(event)[0]
        canonical = _canonical_json(event)
        rest = canonical.replace(f'"digest":"{event["digest"]}",', "", 1)
        digest = "sha256:" + sha256((event["previous"] + rest).encode()).hexdigest()
        identity = _identity_of(event["data"]) if event["type"] == RECORDED else stated
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("the body cannot be read as an event") from None
    if event["digest"] != digest:
        raise ValueError("the digest does not fit the content")
    if canonical != body:
        raise ValueError("the body is not written in canonical form")
    if identity != stated:
        raise ValueError("the id is not that of this punch")
    return event


def _identity_of(data: dict[str, Any]) -> str:
    local_time = datetime.fromisoformat(data["local_time"])
    return str(punch_id(data["serial"], person_key(data["pin"], data.get("uid")), local_time, data["occurrence"]))
