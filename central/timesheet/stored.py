"""A verdict as text that is kept, and what two of them differ in. Pure.

The text holds the whole :class:`~central.timesheet.model.DayResult`, so that totals are computed from stored verdicts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import date
from operator import attrgetter
from typing import Any

from central.json_text import dump_json, load_json
from central.timesheet.model import DayResult, Punch, SlotResult

_PUNCH = tuple(field.name for field in fields(Punch))
_SLOT = tuple(field.name for field in fields(SlotResult))
_DAY = tuple(field.name for field in fields(DayResult) if field.name not in ("reasons", "inputs"))
_of_punch, _of_slot, _of_day = attrgetter(*_PUNCH), attrgetter(*_SLOT), attrgetter(*_DAY)
dump_content = dump_json
"""JSON in the order of the fields, which is the same for equal verdicts."""


def dump_day(day: DayResult) -> str:
    """Return a verdict with its reasons as JSON; its digest stands beside it."""
    return dump_content(content_of(day))


def content_of(day: DayResult) -> dict[str, Any]:
    """Return what is kept of a verdict, as values of JSON: tuples are its arrays."""
    content = dict(zip(_DAY, _of_day(day), strict=True))
    content["date"], content["work_date"] = day.date.isoformat(), day.work_date.isoformat()
    content["slots"] = [_slot(slot) for slot in day.slots]
    content["reasons"] = day.reasons
    return content


def _slot(slot: SlotResult) -> dict[str, Any]:
    content = dict(zip(_SLOT, _of_slot(slot), strict=True))
    if slot.punch is not None:
        values = zip(_PUNCH, _of_punch(slot.punch), strict=True)
        content["punch"] = {name: value for name, value in values if value is not None and value != ()}
    return content


def load_day(content: str, inputs: str) -> DayResult:
    """Return the verdict in a text of :func:`dump_day`; what a later version has added to it is left out."""
    found = load_json(content)
    return DayResult(
        **{
            **{name: found[name] for name in _DAY},
            "date": date.fromisoformat(found["date"]),
            "work_date": date.fromisoformat(found["work_date"]),
            "slots": tuple(_load_slot(slot) for slot in found["slots"]),
            "excused": tuple((kind, share) for kind, share in found["excused"]),
            "unclaimed": tuple(found["unclaimed"]),
            "repeats": tuple(found["repeats"]),
            "conditions": tuple(found["conditions"]),
            "reasons": tuple(found["reasons"]),
            "inputs": inputs,
        }
    )


def _load_slot(content: Mapping[str, Any]) -> SlotResult:
    punch = content["punch"]
    return SlotResult(
        **{
            **{name: content[name] for name in _SLOT},
            "punch": None if punch is None else Punch(**{name: _frozen(value) for name, value in punch.items()}),
        }
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two verdicts, as JSON, differ in.

    ``fields``: names of values, those of a slot after its name. ``punches``, ``doubts``, ``leave``: what is ``new`` and
    what is ``gone``. ``plan`` and ``policy``: what was and what is. ``lines``: where nothing else differs, the lines of
    the policy that reasons name, ``new`` and ``gone``. Only what differs is named.
    """
    found: dict[str, Any] = {}
    if names := _changed_fields(before, after):
        found["fields"] = names
    for what, listed in (("punches", _punches), ("doubts", _doubts), ("leave", _leave)):
        old, new = listed(before), listed(after)
        parts = {
            "new": [new[key] for key in new if key not in old],
            "gone": [old[key] for key in old if key not in new],
        }
        if any(parts.values()):
            found[what] = {name: part for name, part in parts.items() if part}
    for what in ("version", "policy"):
        old_word, new_word = _of_plan(before, what), _of_plan(after, what)
        if old_word != new_word:
            found["plan" if what == "version" else what] = [old_word, new_word]
    if not found:
        old, new = _lines(before), _lines(after)
        lines = {
            "new": [new[key] for key in new if key not in old],
            "gone": [old[key] for key in old if key not in new],
        }
        if any(lines.values()):
            found["lines"] = {name: part for name, part in lines.items() if part}
    return found


def _changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = [name for name in _DAY if name not in ("date", "slots") and before.get(name) != after.get(name)]
    old, new = ({slot["name"]: slot for slot in content.get("slots", ())} for content in (before, after))
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            names.append(name)
            continue
        names += [f"{name}.{part}" for part in _SLOT if part != "punch" and old[name][part] != new[name][part]]
    return names


def _of_plan(content: Mapping[str, Any], what: str) -> str | None:
    return next((reason.get(what) for reason in _reasons(content) if reason["step"] == "plan"), None)


def _reasons(content: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    found: Iterable[Mapping[str, Any]] = content.get("reasons", ())
    return found


def _punches(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the punches that reasons name, by what tells them apart."""
    found: dict[str, Any] = {}
    for reason in _reasons(content):
        for punch in (*reason.get("punches", ()), *([reason["punch"]] if "punch" in reason else ())):
            found[dump_content(punch)] = punch
    return found


def _doubts(content: Mapping[str, Any]) -> dict[str, Any]:
    return {dump_content(reason): reason for reason in _reasons(content) if reason["step"] == "doubt"}


def _lines(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lines of the policy that reasons name, with what they give."""
    names = ("policy", "class", "cut", "cut_rp", "slot")
    found = [
        {name: reason[name] for name in names if name in reason}
        for reason in _reasons(content)
        if isinstance(reason.get("policy"), Mapping)
    ]
    return {dump_content(line): line for line in found}


def _leave(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        dump_content(reason): reason
        for reason in _reasons(content)
        if reason["step"] == "due" and reason["what"] in ("leave", "moved", "emptied", "slot_excused")
    }
