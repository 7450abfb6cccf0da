"""The script of the day: who punches where and when, which verdict is meant; and what the centre says of a day. Pure.

What the centre says is read as any other program reads it: a message of docs/contract.md, or a row of
`hadir-central export days --format json`.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date as calendar_date
from datetime import datetime, timedelta
from io import StringIO
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal["on_time", "late", "early", "missing", "absent", "excused", "off", "expected"]
"""The worst that a day has, at last ``expected``: no punch is due any more, or none has arrived yet."""
Key = tuple[str, calendar_date]
"""Person and date: what a verdict is on."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class Verdict(NamedTuple):
    """What a day of a person comes to."""

    kind: Kind
    late_min: int = 0
    early_min: int = 0
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What one person does on a date, and what is meant by it."""

    person: str
    date: calendar_date
    terminal: str
    arrives: datetime | None
    """True local time; None: no punch."""
    leaves: datetime | None
    meant: Verdict
    why: str | None
    """The doubt that keeps the verdict provisional, as the centre names it; None: none does."""

    @property
    def key(self) -> Key:
        """Return what the verdict is on."""
        return self.person, self.date


def read_script(text: str) -> list[Part]:
    """Return the parts of a script: CSV with a head; times from 24:00 on are of the next date."""
    return [_part(row) for row in csv.DictReader(StringIO(text))]


def _part(row: Mapping[str, str]) -> Part:
    on = calendar_date.fromisoformat(row["date"])
    kind = next(kind for kind in KINDS if kind == row["verdict"])
    meant = Verdict(kind, int(row["late min"] or 0), int(row["early min"] or 0), provisional=bool(row["why"]))
    times = (_moment(on, row["in"]), _moment(on, row["out"]))
    return Part(row["person"], on, row["terminal"], *times, meant, row["why"] or None)


def _moment(on: calendar_date, text: str) -> datetime | None:
    if not text:
        return None
    hours, minutes, seconds = map(int, text.split(":"))
    midnight = datetime(on.year, on.month, on.day)  # noqa: DTZ001 - a wall clock has no zone
    return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)


def verdict_of(day: Mapping[str, Any]) -> Verdict:
    """Return the verdict of a message's data, or of an exported row.

    Slots that are open and empty say nothing yet; on the others the worst counts. A day that is open may have a slot
    that is provisional already.
    """
    if day["status"] == "none":
        return Verdict("expected")
    slots = [slot for slot in day["slots"] if slot["demanded"]]
    provisional = any(slot["status"] == "provisional" for slot in slots)
    if day["kind"] != "workday":
        return Verdict("off", provisional=provisional)
    if day["excused"]:
        return Verdict("excused", provisional=provisional)
    late, early = (sum(slot[name] or 0 for slot in slots) for name in ("late_min", "early_min"))
    kind: Kind = "on_time"
    if day["absent"]:
        kind = "absent"
    elif any(slot["missing"] for slot in slots):
        kind = "missing"
    elif late:
        kind = "late"
    elif early:
        kind = "early"
    elif all(slot["punch"] is None for slot in slots):
        kind = "expected"
    return Verdict(kind, late, early, provisional)


class Difference(NamedTuple):
    """A verdict that is not the one meant; ``found`` None: the centre has none."""

    part: Part
    found: Verdict | None
    why: tuple[str, ...]


def differences(
    parts: Iterable[Part],
    found: Mapping[Key, Verdict],
    doubts: Mapping[Key, tuple[str, ...]],
) -> list[Difference]:
    """Return the parts whose verdicts, or doubts, are not those meant."""
    differing = []
    for part in parts:
        verdict, why = found.get(part.key), doubts.get(part.key, ())
        if verdict != part.meant or (part.why is not None and set(why) != {part.why}):
            differing.append(Difference(part, verdict, why))
    return differing


def counts(verdicts: Iterable[Verdict]) -> Counter[str]:
    """Return how many people are what; ``provisional`` counts beside the kinds."""
    counted: Counter[str] = Counter()
    for verdict in verdicts:
        counted[verdict.kind] += 1
        counted["provisional"] += verdict.provisional
    return counted
