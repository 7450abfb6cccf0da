"""Stored verdicts, as JSON, for tables of tests."""

from datetime import date
from typing import Any

from central.timesheet.clock import midnight

ON = date(2026, 9, 1)
"""A Tuesday."""
EIGHT, FOUR = midnight(ON) + 8 * 3600, midnight(ON) + 16 * 3600
JAKARTA_S = 7 * 3600


def _slot(name: str, measure: str, due: int, punch: int | None, minutes: int | None, **more: Any) -> dict[str, Any]:
    found = None if punch is None else {"local": punch, "instant": punch - JAKARTA_S}
    status = more.get("status", "final")
    return {
        "name": name,
        "kind": name,
        "measure": measure,
        "status": status,
        "demanded": True,
        "punch": found,
        "punches": 0 if punch is None else 1,
        "due": due - JAKARTA_S,
        "due_local": due,
        "minutes": minutes if punch is not None else None,
        "missing": None if status == "open" and punch is None else punch is None,
        "class_": None,
        "cut": 0,
        "cut_rp": 0,
        "excused": None,
        "excused_min": 0,
        **more,
    }


def late(punch: int | None, minutes: int = 0, **more: Any) -> dict[str, Any]:
    """Return an arrival that is due at 08:00."""
    return _slot("in", "late", EIGHT, punch, minutes, **more)


def leaving(punch: int | None, minutes: int = 0, **more: Any) -> dict[str, Any]:
    """Return a departure that is due at 16:00."""
    return _slot("out", "early", FOUR, punch, minutes, **more)


def day(*slots: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a verdict; final on a workday."""
    return {
        "date": ON.isoformat(),
        "work_date": ON.isoformat(),
        "kind": "workday",
        "status": "final",
        "absent": False,
        "class_": None,
        "cut": 0,
        "cut_rp": 0,
        "excused": [],
        "slots": list(slots),
        "reasons": [],
        **more,
    }
