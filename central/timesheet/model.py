"""What the judgement takes and gives: frozen records. Pure.

Instants are seconds of UTC since 1970; wall clocks are seconds of the printed digits since 1970-01-01 00:00 of the
same clock.
"""

from dataclasses import dataclass
from datetime import date as calendar_date
from typing import Any, Literal, NamedTuple

from central.timesheet.clock import Zone

ENGINE = 3
"""Version of what the judgement means; part of every digest of inputs."""

Kind = Literal["workday", "off", "holiday"]
Status = Literal["open", "provisional", "final"]
Reason = dict[str, Any]
"""One step of one verdict, as JSON can hold it: ``step``, ``what``, and what the step used."""

NEVER_CLAIMED = frozenset({"reset", "future"})
"""Suspects of punches whose printed time says nothing at all."""


@dataclass(frozen=True, slots=True)
class Punch:
    """A fact: a terminal recorded a person while its clock showed ``local``."""

    instant: int
    local: int
    terminal: str = ""
    sequence: int | None = None
    states: tuple[int, ...] = ()
    """State keys; several where the same punch arrived by two paths that name different ones."""
    suspect: tuple[str, ...] = ()
    offset_ms: int | None = None
    """The terminal's clock minus true time, where it was measured."""
    between: tuple[int, int] | None = None
    """Instants between which its stream proves it to lie."""
    between_local: tuple[int, int] | None = None
    """The same on the terminal's wall clock."""
    id: str | None = None
    stream: str | None = None
    clock: dict[str, Any] | None = None
    """The measurement behind ``offset_ms``, as the event holds it."""
    paper: str | None = None
    """Who vouches for it, on which paper: of what no terminal recorded, and of a suspect punch that a decision lets
    stand."""


class Slot(NamedTuple):
    """One due time of a plan with its window, in seconds from midnight of the plan's date."""

    name: str
    kind: str
    start: int
    """First second of the window."""
    end: int
    """Last second of the window."""
    due: int | None = None
    """None: the window's first second."""


@dataclass(frozen=True, slots=True)
class PlanDay:
    """What was planned for one person and date."""

    date: calendar_date
    zone: Zone
    slots: tuple[Slot, ...] = ()
    kind: Kind = "workday"
    break_min: int = 0
    shifts: int = 1
    version: str | None = None
    """Which version of which plan, on which paper."""
    personal: bool = False
    """Whether the plan is the person's own; it goes before the unit's."""
    rank: int = 0
    """Of several personal plans, or several of units, the lowest counts."""


class LeaveInterval(NamedTuple):
    """Leave for some hours: two instants."""

    start: int
    end: int
    kind: str
    paper: str | None = None


class LeaveDay(NamedTuple):
    """Leave for a whole date, or for one slot of it."""

    date: calendar_date
    kind: str
    slot: str | None = None
    paper: str | None = None


class Order(NamedTuple):
    """An order of overtime: two instants."""

    start: int
    end: int
    paper: str | None = None


class Doubt(NamedTuple):
    """From ``start`` to ``end``, ends included, a punch may exist that is not known here."""

    start: int
    end: int
    why: str
    """``outage``, ``gap``, ``unread``, ``unattributed``, ``unenrolled``, ``quarantined``, ``unconfirmed``,
    ``unpublished``, ``log_lost``."""
    terminal: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """All that is known of one person over days whose windows may touch each other."""

    days: tuple[PlanDay, ...]
    punches: tuple[Punch, ...] = ()
    leave: tuple[LeaveInterval | LeaveDay, ...] = ()
    orders: tuple[Order, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    read_until: int | None = None
    """Up to this instant every terminal of the person is known here completely; None: entirely."""
    now: int | None = None
    """None: long after."""


@dataclass(frozen=True, slots=True)
class SlotResult:
    """The verdict on one slot. ``minutes`` are late or early by its measure."""

    name: str
    kind: str
    measure: str | None
    """None where the policy does not know the kind."""
    status: Status
    demanded: bool
    punch: Punch | None
    punches: int
    due: int
    """The instant that is due, after leave and flexi moved it."""
    due_local: int
    minutes: int | None
    missing: bool | None
    class_: str | None
    cut: int
    cut_rp: int
    excused: str | None
    excused_min: int
    flexi_arrival: bool
    """Whether the counter ``flexi`` counts it: after the due time, within the range, beyond doubt."""


@dataclass(frozen=True, slots=True)
class DayResult:
    """The verdict on one planned date."""

    date: calendar_date
    work_date: calendar_date
    kind: Kind
    status: Status
    shifts: int
    absent: bool
    worked: bool
    class_: str | None
    cut: int
    cut_rp: int
    planned_min: int
    present_min: int | None
    counted_min: int | None
    before_min: int | None
    overtime_min: int
    slots: tuple[SlotResult, ...]
    excused: tuple[tuple[str, int], ...]
    """Kinds of leave with their shares of the day in thousandths."""
    unclaimed: tuple[int, ...]
    """Wall clocks of punches printed with this date that no slot took."""
    repeats: tuple[int, ...]
    conditions: tuple[str, ...]
    reasons: tuple[Reason, ...]
    inputs: str
    """SHA-256 of all that the verdict depends on; equal digests have equal verdicts."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The results of a span, in order of date, and the punches that belong to no slot."""

    days: tuple[DayResult, ...]
    unclaimed: tuple[Punch, ...]
    unplaced: tuple[Punch, ...]
    awaiting: frozenset[calendar_date] = frozenset()
    """Dates on which a terminal that is not read, or a person who is nowhere enrolled, keeps something provisional."""
