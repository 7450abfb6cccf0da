"""Revisions → the messages of ``<root>/result/v1/…``, as docs/contract.md lists them. Pure.

No name, no NIP and no paper leaves the centre this way, and no kind of leave either: it may be about health.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NamedTuple

from central.store.closings import Closing, StoredAdjustment
from central.store.results import Revision
from central.timesheet.model import DayResult, SlotResult
from central.timesheet.render import percent
from central.timesheet.stored import load_day

DAY, SUMMARY = "hadir.day.judged.v1", "hadir.unit.summarised.v1"
CLOSED, ADJUSTED = "hadir.period.closed.v1", "hadir.adjustment.made.v1"
MAX_REASONS = 100
"""Reasons, and doubts, that a message names."""
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class Message(NamedTuple):
    """A message for the broker."""

    topic: str
    """Without the root."""
    payload: bytes
    retain: bool


def level_of(unit: str | None) -> str:
    """Return the topic's level of a unit: its key, which is one; ``-`` for people without a unit."""
    return "-" if unit is None else unit


def day_message(revision: Revision, root: str) -> Message:
    """Return the message about a revision."""
    identity = f"{revision.person}/{revision.date.isoformat()}/{revision.revision}"
    data: dict[str, Any] = {
        "person": revision.person,
        "date": revision.date.isoformat(),
        "revision": revision.revision,
        "status": revision.status,
        "unit": revision.unit,
        "policy": revision.policy,
        "engine": revision.engine,
        "inputs": revision.inputs,
    }
    if revision.status == "none":
        data["why"] = json.loads(revision.content)["why"]
        data["inputs"] = None
    else:
        data |= _of_day(load_day(revision.content, revision.inputs))
    return _message(revision.unit, "day", DAY, identity, revision.person, revision.entered, data, root)


def summary_message(
    unit: str | None, on: date, number: int, revisions: Iterable[Revision], now: str, root: str, *, retain: bool
) -> Message:
    """Return the summary of a unit's date; ``number`` grows with each change."""
    days = [load_day(one.content, one.inputs) for one in revisions if one.status != "none"]
    data = {"unit": unit, "date": on.isoformat(), **count(days)}
    identity = f"{unit or '-'}/{on.isoformat()}/{number}"
    return _message(unit, "summary", SUMMARY, identity, unit or "-", now, data, root)._replace(retain=retain)


def closed_message(closing: Closing, people: int, adjustments: int, root: str) -> Message:
    """Return the message about a closed period; it names no person."""
    still_open = json.loads(closing.still_open)
    data = {
        "closing": closing.id,
        "unit": closing.unit,
        "first": closing.first.isoformat(),
        "last": closing.last.isoformat(),
        "people": people,
        "adjustments": adjustments,
        "open": len(still_open["open"]),
        "provisional": len(still_open["provisional"]),
        "digest": closing.digest,
    }
    identity = f"closing/{closing.unit}/{closing.first.isoformat()}/{closing.id}"
    return _message(closing.unit, "period", CLOSED, identity, closing.unit, closing.entered, data, root)


def adjustment_message(closing: Closing, one: StoredAdjustment, root: str) -> Message:
    """Return the message about an adjustment; kinds of leave stay here, they may be about health."""
    content = json.loads(one.content)
    for part in ("before", "after"):
        if content[part] is not None:
            del content[part]["excused"]
    data = {
        "closing": closing.id,
        "carried_by": {"unit": closing.unit, "first": closing.first.isoformat(), "last": closing.last.isoformat()},
        "person": one.person,
        "unit": one.unit,
        "first": one.first,
        "last": one.last,
        **content,
    }
    identity = f"adjustment/{one.person}/{one.first}/{closing.id}"
    return _message(one.unit, "period", ADJUSTED, identity, one.person, closing.entered, data, root)


def count(days: Iterable[DayResult]) -> dict[str, int]:
    """Return how many people of the days of one date are what; only what is final is late, early or missing."""
    found = dict.fromkeys(
        ("planned", "present", "late", "early", "missing", "absent", "excused", "provisional", "open"), 0
    )
    for day in days:
        final = [slot for slot in day.slots if slot.demanded and slot.status == "final"]
        facts = {
            "planned": day.kind == "workday",
            "present": day.worked,
            "late": any(slot.measure == "late" and slot.minutes for slot in final),
            "early": any(slot.measure == "early" and slot.minutes for slot in final),
            "missing": not day.absent and any(slot.missing for slot in final),
            "absent": day.absent,
            "excused": bool(day.excused),
            "provisional": day.status == "provisional",
            "open": day.status == "open",
        }
        for name, holds in facts.items():
            found[name] += holds
    return found


def _message(
    unit: str | None,
    name: str,
    kind: str,
    identity: str,
    subject: str,
    moment: str,
    data: Mapping[str, Any],
    root: str,
) -> Message:
    event = {
        "specversion": "1.0",
        "id": identity,
        "source": f"/{root}/result",
        "type": kind,
        "subject": subject,
        "time": moment,
        "datacontenttype": "application/json",
        "data": data,
    }
    return Message(f"result/v1/{level_of(unit)}/{name}", _encode(event).encode(), retain=False)


def _of_day(day: DayResult) -> dict[str, Any]:
    doubts = [reason for reason in day.reasons if reason["step"] == "doubt"]
    return {
        "work_date": day.work_date.isoformat(),
        "kind": day.kind,
        "absent": day.absent,
        "worked": day.worked,
        "class": day.class_,
        "cut": percent(day.cut),
        "cut_rp": day.cut_rp,
        "planned_min": day.planned_min,
        "excused": sum(share for _, share in day.excused),
        "slots": [slot_json(slot) for slot in day.slots],
        "reasons": [_reason(reason) for reason in day.reasons if reason["step"] != "doubt"][:MAX_REASONS],
        "doubts": [{"what": one["what"], "slot": one.get("slot")} for one in doubts[:MAX_REASONS]],
    }


def slot_json(slot: SlotResult) -> dict[str, Any]:
    """Return the verdict on a slot, without the kind of leave."""
    return {
        "slot": slot.name,
        "kind": slot.kind,
        "status": slot.status,
        "demanded": slot.demanded,
        "due": _printed(slot.due, slot.due_local),
        "punch": None if slot.punch is None else slot.punch.id,
        "late_min": slot.minutes if slot.measure == "late" else None,
        "early_min": slot.minutes if slot.measure == "early" else None,
        "missing": slot.missing,
        "class": slot.class_,
        "cut": percent(slot.cut),
        "cut_rp": slot.cut_rp,
        "excused_min": slot.excused_min,
    }


def _reason(reason: Mapping[str, Any]) -> dict[str, Any]:
    rule = reason.get("policy")
    found = rule if isinstance(rule, dict) else {}
    return {
        "step": reason["step"],
        "what": reason["what"],
        "slot": reason.get("slot"),
        "decree": found.get("decree"),
        "article": found.get("article"),
        "line": found.get("node"),
    }


def _printed(instant: int, local: int) -> str | None:
    """Return a local time with its offset; None where the calendar has no such date."""
    offset = timezone(timedelta(minutes=(local - instant) // 60))
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=instant)).astimezone(offset).isoformat()
    except OverflowError:
        return None
