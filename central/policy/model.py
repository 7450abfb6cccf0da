"""The vocabulary of policies: closed, typed, without expressions; and its JSON Schema.

These models describe a policy as it is on one date. In a file any value may instead be a list of dated values
``{from, value, source}``; :mod:`central.policy.load` chooses among them before it comes here.
"""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

_PERCENT = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,3})?")
_TIME = re.compile(r"([0-9]{1,3}):([0-5][0-9])(?::([0-5][0-9]))?")
UNDATED = ("policy", "extends")
"""Top-level keys that name the policy and its parent; like ``period.begins_on`` they have no dates."""


def read_percent(value: object) -> int:
    """Return thousandths of a percent of a quoted decimal such as "0.5"; raises ValueError."""
    if not isinstance(value, str) or not _PERCENT.fullmatch(value):
        raise ValueError('not a percentage; write it in quotes with at most three decimals, such as "0.5"')
    whole, _, decimals = value.partition(".")
    return int(whole) * 1000 + int(decimals.ljust(3, "0"))


def read_time(value: object) -> int:
    """Return seconds from midnight of HH:MM or HH:MM:SS, hours beyond 24 allowed; raises ValueError."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('not a time; write "07:30" or "07:30:00", hours beyond 24 for the next dates')
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _one_or_list(*words: str) -> dict[str, Any]:
    word = {"enum": list(words)}
    return {"anyOf": [word, {"type": "array", "items": word, "minItems": 1}]}


def _half_or_minutes(value: object) -> int | Literal["half"]:
    if value == "half":
        return "half"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000_000:
        return value
    raise ValueError("neither minutes nor half; write a whole number, or half for half of the day's plan")


def _ascending(bands: "list[Band]") -> "list[Band]":
    starts = [band.from_ for band in bands]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError("not in ascending order; each band begins at more minutes than the one before")
    return bands


def _two_times(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('not two times; write ["05:45", "08:00"]')
    first, last = read_time(value[0]), read_time(value[1])
    if last < first:
        raise ValueError("ends before it begins; write the earlier time first")
    return first, last


def _text_of_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _climbing(ladder: "list[Step]") -> "list[Step]":
    if any(later.days <= earlier.days for earlier, later in pairwise(ladder)):
        raise ValueError("not in ascending order; each level begins at more days than the one before")
    return ladder


Percent = Annotated[
    int,
    PlainValidator(read_percent),
    WithJsonSchema({"type": "string", "pattern": f"^{_PERCENT.pattern}$", "examples": ["0.5", "1.25"]}),
]
Rupiah = Annotated[int, Field(ge=0, le=10**12)]
Minutes = Annotated[int, Field(ge=0, le=1_000_000)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Suspect = Literal["reset", "future", "step", "drift", "unverified", "unmeasured", "host_time"]


class _Model(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class Source(_Model):
    """What a figure rests on."""

    decree: Text | None = None
    """The decree, with number and year. A node that names none has the one around it."""
    article: Annotated[Text | None, BeforeValidator(_text_of_number)] = None
    """Article, paragraph or page of it."""
    note: Text | None = None
    """What a reader must know, such as that a figure is an example and no decree's."""


class _Sourced(_Model):
    source: Source | None = None
    """Where this part differs from the source of the policy."""


class Cutting(_Sourced):
    """What is cut."""

    cut: Percent = 0
    """Percent, as text."""
    cut_rp: Rupiah = 0
    """Rupiah."""


class Title(_Model):
    """What the policy is called."""

    id: Text | None = None
    en: Text | None = None


class Grace(_Sourced):
    """What is forgiven."""

    kind: Literal["none", "threshold", "offset"] = "none"
    """threshold: more than that, and all of it counts; offset: only what exceeds it counts."""
    min: Minutes = 0
    exact: bool = False
    """Compare a threshold to the second, not in minutes."""


class Band(Cutting):
    """A class of minutes, up to the next band's ``from``."""

    from_: Annotated[Minutes, Field(alias="from")]
    """First minute of the band; 0 gives those on time a class."""
    class_: Annotated[Text | None, Field(alias="class")] = None


class Missing(Cutting):
    """What a slot without a punch gets."""

    class_: Annotated[Text | None, Field(alias="class")] = None
    min: Annotated[
        int | Literal["half"] | None,
        PlainValidator(_half_or_minutes),
        WithJsonSchema({"anyOf": [{"const": "half"}, {"type": "integer", "minimum": 0}, {"type": "null"}]}),
    ] = None
    """Minutes that it counts for; half: half of the day's plan."""


class SlotKind(_Sourced):
    """The rule of a kind of slot."""

    measure: Literal["late", "early", "present"] = "late"
    pick: Literal["first", "last", "best", "state"] | None = None
    """Which punch counts; left out: first, for early slots last."""
    states: list[int] | None = None
    """State keys that count here; left out: any."""
    counts_as: Text | None = None
    """A kind whose slots of the day have as well what is claimed here."""
    starts: Annotated[
        tuple[int, int] | None,
        PlainValidator(_two_times),
        WithJsonSchema(
            {
                "type": "array",
                "items": {"type": "string", "pattern": f"^{_TIME.pattern}$"},
                "minItems": 2,
                "maxItems": 2,
            }
        ),
    ] = None
    """Asked only of days whose first due time lies between these, ends included."""
    grace: Grace = Grace()
    bands: Annotated[list[Band], AfterValidator(_ascending)] = []
    missing: Missing = Missing()


class Flexi(_Sourced):
    """How the end of the day moves with the arrival."""

    range_min: Minutes = 0
    mode: Literal["shift", "repay", "fixed"] = "shift"
    repay_min: Minutes = 0
    """With fixed: by so many minutes the end moves for any lateness within the range."""


class AllMissing(Cutting):
    """What stands in place of the slots of an absent day."""

    class_: Annotated[Text | None, Field(alias="class")] = None


class Day(_Sourced):
    """How a day is summed, and how its punches are read."""

    all_missing: AllMissing | None = None
    cap: Percent | None = None
    work_date: Literal["start", "end", "longest"] = "start"
    zone: Literal["plan", "terminal"] = "plan"
    shared_seam: bool = False
    repeat_s: Annotated[int, Field(ge=0, le=86_400)] = 0
    trust_offset: bool = False
    accept: list[Suspect] = []
    """Suspects that are no doubt here."""


class LeaveKind(Cutting):
    """What a day of a kind of leave cuts."""

    after_days: Count = 0
    """Only days after the first so many of the period."""


class Bucket(Cutting):
    """A cut for each full so many minutes of the period."""

    of: Annotated[
        list[Literal["late", "early"]],
        BeforeValidator(_as_list),
        Field(min_length=1),
        WithJsonSchema(_one_or_list("late", "early")),
    ] = ["late"]
    min: Positive


class Counter(Cutting):
    """A cut for each event after the first so many of the period."""

    of: Annotated[
        list[Literal["late", "early", "missing", "flexi"]],
        BeforeValidator(_as_list),
        Field(min_length=1),
        WithJsonSchema(_one_or_list("late", "early", "missing", "flexi")),
    ] = ["late"]
    after: Count = 0


class PeriodAllMissing(Cutting):
    """What stands in place of the whole cut of a period."""

    days: Positive
    consecutive: bool = False
    """Count the longest run of absent days instead of all."""


class Period(_Sourced):
    """How a period is summed."""

    begins_on: Annotated[int, Field(ge=1, le=28)] = 1
    """Day of the month; never dated."""
    buckets: list[Bucket] = []
    counters: list[Counter] = []
    all_missing: PeriodAllMissing | None = None
    proportional: bool = False
    cap: Percent | None = None
    cap_scope: Literal["period_end", "own_days"] | None = None
    """Needed where a cap is dated."""


class Step(_Sourced):
    """A level of the ladder, from so many days on."""

    days: Positive
    level: Text


class Discipline(_Sourced):
    """How minutes become days, and days a level."""

    minutes_per_day: Positive = 450
    rounding: Literal["floor", "ceil"] = "floor"
    excused_counts: bool = False
    consecutive_days: Positive = 10
    consecutive_level: Text | None = "pemberhentian"
    ladder: Annotated[list[Step], AfterValidator(_climbing)] = []


class Policy(_Model):
    """A decree as data, as it is on one date."""

    policy: Text
    """Name of the policy."""
    title: Title | None = None
    source: Source
    """Decree and article; parts may name their own."""
    extends: Any = None
    """The policy whose nodes are taken over: a shipped name, a file, or a policy itself."""
    rounding: Literal["floor", "ceil"] = "floor"
    """How seconds become minutes."""
    slots: dict[str, SlotKind] = {}
    flexi: Flexi | None = None
    day: Day = Day()
    leave: dict[str, LeaveKind] = {}
    period: Period = Period()
    discipline: Discipline = Discipline()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy file, in which values may be dated."""
    schema = Policy.model_json_schema(by_alias=True)
    schema["$defs"] = {name: _with_dates(part, name) for name, part in schema.get("$defs", {}).items()}
    schema = _with_dates(schema, "Policy")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _with_dates(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Let each property of an object, and each entry of a map by name, be a list of dated values instead."""
    changed = dict(schema)
    undated = UNDATED if name == "Policy" else ("begins_on",) if name == "Period" else ()
    if "properties" in changed:
        changed["properties"] = {
            key: part if key in undated else _dated(_with_dates(part, ""))
            for key, part in changed["properties"].items()
        }
    if isinstance(changed.get("additionalProperties"), dict):
        changed["additionalProperties"] = _dated(changed["additionalProperties"])
        changed["properties"] = {"source": {"$ref": "#/$defs/Source"}}
    return changed


def _dated(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key not in ("description", "title", "default")}
    entry = {
        "type": "object",
        "properties": {
            "from": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "value": {"anyOf": [inner, {"type": "null"}]},
            "source": {"$ref": "#/$defs/Source"},
        },
        "required": ["value"],
        "additionalProperties": False,
    }
    outer = {key: value for key, value in schema.items() if key in ("description", "default")}
    return {**outer, "anyOf": [inner, {"type": "null"}, {"type": "array", "items": entry, "minItems": 1}]}
