"""What a policy says on one date, as flat data: the only form in which the judgement sees a policy. Pure.

Percentages are thousandths of a percent. A :class:`Ref` names the line of the policy and the decree behind it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple

Measure = Literal["late", "early", "present"]


class Ref(NamedTuple):
    """A node of a policy with the decree and article that it rests on."""

    node: str
    decree: str | None = None
    article: str | None = None


@lru_cache(maxsize=10_000)
def ref_json(ref: Ref) -> dict[str, str | None]:
    """Return a reference as JSON holds it; one object for each, which is never changed."""
    return ref._asdict()


class Cut(NamedTuple):
    """What is cut: thousandths of a percent, and rupiah."""

    percent: int = 0
    rupiah: int = 0


class Band(NamedTuple):
    """The class of minutes from ``start`` on."""

    start: int
    name: str | None
    cut: Cut
    ref: Ref


class Missing(NamedTuple):
    """What a missing slot gets; ``minutes``: a number, ``half`` of the plan, or None where it counts for none."""

    name: str | None
    cut: Cut
    minutes: int | Literal["half"] | None
    ref: Ref


class Grace(NamedTuple):
    """Seconds that are forgiven; ``exact`` compares a threshold to the second, not in minutes."""

    kind: Literal["none", "threshold", "offset"]
    seconds: int
    exact: bool
    ref: Ref


@dataclass(frozen=True, slots=True)
class SlotRule:
    """The rule of a kind of slot."""

    kind: str
    measure: Measure
    pick: Literal["first", "last", "best", "state"]
    states: frozenset[int] | None
    counts_as: str | None
    starts: tuple[int, int] | None
    """Seconds of the plan's date between which the day's first due time must lie, ends included."""
    grace: Grace
    bands: tuple[Band, ...]
    """In order of ``start``."""
    missing: Missing
    ref: Ref
    pick_ref: Ref


class Flexi(NamedTuple):
    """How the end moves with the arrival; both in seconds."""

    mode: Literal["shift", "repay", "fixed"]
    range_s: int
    repay_s: int
    ref: Ref


class AllMissing(NamedTuple):
    """What stands in place of an absent day's slots."""

    name: str | None
    cut: Cut
    ref: Ref


class LeaveRule(NamedTuple):
    """What a day of a kind of leave cuts, after so many thousandths of days in the period."""

    cut: Cut
    after: int
    ref: Ref


class Bucket(NamedTuple):
    """A cut for each full ``minutes`` of the period's minutes of these measures."""

    of: tuple[str, ...]
    minutes: int
    cut: Cut
    ref: Ref


class Counter(NamedTuple):
    """A cut for each event of these kinds after the first ``after`` of the period."""

    of: tuple[str, ...]
    after: int
    cut: Cut
    ref: Ref


class PeriodAllMissing(NamedTuple):
    """What stands in place of a period's whole cut from so many absent days, or a run of them, on."""

    days: int
    consecutive: bool
    cut: Cut
    ref: Ref


class Cap(NamedTuple):
    """A limit of the percentage; ``version`` tells two dated limits apart."""

    percent: int
    version: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class DisciplineRule:
    """How minutes become days, and days a level."""

    minutes_per_day: int
    ceil: bool
    excused_counts: bool
    consecutive_days: int
    consecutive_level: str | None
    ladder: tuple[tuple[int, str, Ref], ...]
    """(days from which on, level), in order of days."""
    minutes_ref: Ref
    run_ref: Ref


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy as it is valid on one date."""

    policy: str
    digest: str
    """SHA-256 of all that the policy says on that date, sources included."""
    ref: Ref
    ceil: bool
    slots: dict[str, SlotRule]
    flexi: Flexi | None
    all_missing: AllMissing | None
    day_cap: Cap | None
    day_ref: Ref
    work_date: Literal["start", "end", "longest"]
    zone_of_terminal: bool
    shared_seam: bool
    repeat_s: int
    trust_offset: bool
    accept: frozenset[str]
    leave: dict[str, LeaveRule]
    period_ref: Ref
    begins_on: int
    buckets: tuple[Bucket, ...]
    counters: tuple[Counter, ...]
    period_all_missing: PeriodAllMissing | None
    proportional: bool
    period_cap: Cap | None
    cap_own_days: bool
    discipline: DisciplineRule


RulesOn = Callable[[date], Rules]
"""The rules of each date; the same object for dates between which nothing changes."""
