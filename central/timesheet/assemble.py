"""From register rows and recorded punches to the spans that the judgement takes. Pure.

What a person's day is planned to be follows from dated rows alone: the roster before the person's own schedule before
the schedule of the unit or the nearest one above it; the version of a timetable that is valid on the date; the calendar
of the unit, of those above it, or of all. A day without employment, zone, plan or policy is not judged, and says why.

Texts that enter the judgement (versions, papers) are made of what rows state, never of their numbers or moments of
entry, so that the same statements entered in another order give the same digests.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeGuard

from central.registers.cells import OFF
from central.registers.kinds import ALL, DAY_KINDS
from central.timesheet.affected import REACH
from central.timesheet.clock import DAY_S, Zone, date_of, midnight, zone_named
from central.timesheet.judge import lay_out_once
from central.timesheet.model import Doubt, Kind, LeaveDay, LeaveInterval, Order, PlanDay, Punch, Slot, Span
from central.timesheet.plan import DayWork
from central.timesheet.rules import Rules, RulesOn

WhyNone = Literal["not_employed", "no_zone", "no_plan", "no_policy", "unknown_policy"]
"""Why a date of a person is not judged."""
ROUNDS = 3
"""How many steps away from a day its verdict is looked for: days whose windows overlap without end are cut there."""
MAX_UNITS = 100
"""Units above a unit that are looked at."""


class Stated(Protocol):
    """A row of a register that counts."""

    @property
    def since(self) -> date:
        """Return the first valid date."""

    @property
    def until(self) -> date | None:
        """Return the last valid date, None without end."""

    @property
    def record(self) -> Any:
        """Return its first record."""

    @property
    def records(self) -> tuple[Any, ...]:
        """Return all its records."""

    @property
    def by(self) -> str:
        """Return who entered it."""

    @property
    def paper(self) -> str:
        """Return on which paper."""


Extent = tuple[int, int]
"""From one instant to another, both included."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plans of one date, the one that counts first, and how far they reach."""

    days: tuple[PlanDay, ...]
    own_date: Extent
    """The 24 hours of the date in the plan's zone."""
    windows: Extent | None
    """From the first to the last second of its windows; None without any."""
    alone: bool
    """Whether all windows lie within the date."""
    ends: tuple[int, ...] = ()
    """The last second of each window, in order."""

    @property
    def extent(self) -> Extent:
        """Return date and windows together."""
        if self.windows is None:
            return self.own_date
        return min(self.own_date[0], self.windows[0]), max(self.own_date[1], self.windows[1])


@dataclass(slots=True)
class PersonRows:
    """The rows about one person."""

    employment: list[Stated] = field(default_factory=list)
    schedules: list[Stated] = field(default_factory=list)
    """Assignments of schedules."""
    policies: list[Stated] = field(default_factory=list)
    """Assignments of policies."""
    rosters: dict[date, Stated] = field(default_factory=dict)
    leave: list[Stated] = field(default_factory=list)
    orders: list[Stated] = field(default_factory=list)
    corrections: list[Stated] = field(default_factory=list)
    presence: list[Stated] = field(default_factory=list)
    decisions: list[Stated] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        """Return whether the person's plans and policy are those of the unit."""
        return not (self.schedules or self.policies or self.rosters or self.leave)

    @property
    def states_nothing(self) -> bool:
        """Return whether no fact of a day is stated about the person beside the plan."""
        return not (self.leave or self.orders or self.corrections or self.presence or self.decisions)

    def unit_throughout(self, first: date, last: date) -> str | None:
        """Return the unit in which the person is employed on all of the dates; None where that is not one unit."""
        if len(self.employment) != 1:
            return None
        row = self.employment[0]
        return row.record.unit if row.since <= first and (row.until is None or row.until >= last) else None

    def unit_on(self, on: date) -> tuple[bool, str | None]:
        """Return whether the person is employed on a date, and in which unit."""
        row = _valid(self.employment, on)
        return (False, None) if row is None else (True, row.record.unit)


def people_rows(rows: Mapping[str, Iterable[Stated]]) -> dict[str, PersonRows]:
    """Return the rows about each person, from the rows of each kind."""
    found: dict[str, PersonRows] = {}

    def of(person: str) -> PersonRows:
        own = found.get(person)
        if own is None:
            own = found[person] = PersonRows()
        return own

    for row in rows.get("people", ()):
        of(row.record.key).employment.append(row)
    for row in rows.get("assignments", ()):
        one = row.record
        if one.person is not None:
            (of(one.person).policies if one.schedule is None else of(one.person).schedules).append(row)
    for row in rows.get("rosters", ()):
        of(row.record.person).rosters[row.record.date] = row
    for kind in ("leave", "orders", "corrections", "presence", "decisions"):
        for row in rows.get(kind, ()):
            if row.record.person is not None:
                getattr(of(row.record.person), kind).append(row)
    return found


class Office:
    """What people share: units, plans and calendar; with the policies by name."""

    def __init__(
        self, rows: Mapping[str, Iterable[Stated]], policies: Mapping[str, RulesOn], instead: str | None = None
    ) -> None:
        """Take the rows. ``instead``: the policy of everybody on all dates, whatever is assigned."""
        self._instead = instead
        self._units = _by(rows.get("units", ()), lambda one: one.key)
        assignments = [row for row in rows.get("assignments", ()) if row.record.unit is not None]
        self._schedules_of = _by((row for row in assignments if row.record.schedule), lambda one: one.unit)
        self._policies_of = _by((row for row in assignments if row.record.policy), lambda one: one.unit)
        self._schedules = _by(rows.get("schedules", ()), lambda one: one.schedule)
        self._timetables = _by(rows.get("timetables", ()), lambda one: one.timetable)
        self._calendar = _calendar(rows.get("calendar", ()))
        self._policies = policies
        self._chains: dict[tuple[str, date], tuple[str, ...]] = {}
        self._of_units: dict[tuple[str, date], Planned | WhyNone] = {}
        self._policies_on: dict[tuple[str, date], str | None] = {}
        self._rules_on: dict[tuple[str, date], Rules | None] = {}
        self._zones: dict[tuple[str, date], Zone | None] = {}

    def chain(self, unit: str | None, on: date) -> tuple[str, ...]:
        """Return a unit and those above it on a date, from the nearest on."""
        if unit is None:
            return ()
        found = self._chains.get((unit, on))
        if found is None:
            chain = [unit]
            while (above := self._above(chain[-1], on)) is not None and above not in chain and len(chain) < MAX_UNITS:
                chain.append(above)
            found = self._chains[unit, on] = tuple(chain)
        return found

    def _above(self, unit: str, on: date) -> str | None:
        row = _valid(self._units.get(unit, ()), on)
        return None if row is None else row.record.parent

    def zone(self, unit: str | None, on: date) -> Zone | None:
        """Return the zone of a unit, or of the nearest one above it that has one."""
        key = unit or "", on
        if key not in self._zones:
            self._zones[key] = self._zone(unit, on)
        return self._zones[key]

    def _zone(self, unit: str | None, on: date) -> Zone | None:
        for key in self.chain(unit, on):
            row = _valid(self._units.get(key, ()), on)
            if row is not None and row.record.zone is not None:
                return zone_named(row.record.zone)
        return None

    def policy_name(self, own: PersonRows, on: date) -> str | None:
        """Return the policy that is valid for a person: the person's own, or the nearest unit's."""
        if self._instead is not None:
            return self._instead
        row = _valid(own.policies, on) if own.policies else None
        return self._policy_of_unit(own.unit_on(on)[1], on) if row is None else row.record.policy

    def rules(self, own: PersonRows, on: date) -> Rules | None:
        """Return what the policy of a person says on a date."""
        name = self.policy_name(own, on)
        if name is None:
            return None
        if (name, on) not in self._rules_on:
            rules_on = self._policies.get(name)
            self._rules_on[name, on] = None if rules_on is None else rules_on(on)
        return self._rules_on[name, on]

    def planned(self, own: PersonRows, on: date) -> Planned | WhyNone:
        """Return the plans of a person's date, or why it is not judged."""
        employed, unit = own.unit_on(on)
        if not employed:
            return "not_employed"
        if own.plain:
            return self._of_unit(unit, on)
        if (why := self._without_policy(self.policy_name(own, on))) is not None:
            return why
        roster, assigned = own.rosters.get(on), _valid(own.schedules, on)
        zone = self.zone(unit, on)
        if zone is None:
            return "no_zone"
        found = [] if roster is None else [self._by_roster(roster, zone, on)]
        of_unit = self._nearest(self._schedules_of, unit, on)
        for row in (assigned, of_unit):
            if row is not None:
                plan, follows = self._by_schedule(row, zone, on)
                found.append(self._dated(plan, unit, follows=follows) if not found else plan)
        if not found:
            return "no_plan"
        ranked = tuple(replace(plan, rank=rank) for rank, plan in enumerate(found))
        return _laid_out(ranked, _leave_s(own.leave, on))

    def _of_unit(self, unit: str | None, on: date) -> Planned | WhyNone:
        """Return what a unit plans for a date; the same object for all its people."""
        key = unit or "", on
        found = self._of_units.get(key)
        if found is None:
            zone = self.zone(unit, on)
            row = self._nearest(self._schedules_of, unit, on)
            why = self._without_policy(self._policy_of_unit(unit, on))
            if why is not None:
                found = why
            elif zone is None or row is None:
                found = "no_zone" if zone is None else "no_plan"
            else:
                plan, follows = self._by_schedule(row, zone, on)
                found = _laid_out((self._dated(plan, unit, follows=follows),), 0)
            self._of_units[key] = found
        return found

    def _without_policy(self, name: str | None) -> WhyNone | None:
        if name is None:
            return "no_policy"
        return None if name in self._policies else "unknown_policy"

    def _policy_of_unit(self, unit: str | None, on: date) -> str | None:
        """Return the policy of the nearest unit that has one."""
        if self._instead is not None:
            return self._instead
        key = unit or "", on
        if key not in self._policies_on:
            row = self._nearest(self._policies_of, unit, on)
            self._policies_on[key] = None if row is None else row.record.policy
        return self._policies_on[key]

    def _by_roster(self, row: Stated, zone: Zone, on: date) -> PlanDay:
        return self._by_timetable(row.record.timetable, zone, on, [f"roster ({row.paper})"], personal=True)

    def _by_schedule(self, assigned: Stated, zone: Zone, on: date) -> tuple[PlanDay, bool]:
        """Return the day that an assigned schedule plans, and whether the calendar counts for it."""
        name, personal = assigned.record.schedule, assigned.record.person is not None
        version = [f"assigned ({assigned.paper})"]
        row = _valid(self._schedules.get(name, ()), on)
        day = None if row is None else _schedule_day(row, on)
        if row is None or day is None:
            text = f"{version[0]} · schedule {name} without this date"
            return PlanDay(on, zone, version=text, personal=personal), False
        version.append(f"schedule {name} {row.since.isoformat()} ({row.paper})")
        return self._by_timetable(day.timetable, zone, on, version, personal=personal), day.calendar

    def _dated(self, plan: PlanDay, unit: str | None, *, follows: bool) -> PlanDay:
        """Return a plan with what the calendar makes of its date."""
        entry = self._day_kind(self.chain(unit, plan.date), plan.date) if follows and plan.kind != "off" else None
        if entry is None:
            return plan
        kind, what = entry
        return replace(plan, kind=kind, version=f"{plan.version} · calendar {what}")

    def _by_timetable(self, name: str, zone: Zone, on: date, version: list[str], *, personal: bool) -> PlanDay:
        if name == OFF:
            return PlanDay(on, zone, kind="off", version=" · ".join([*version, "off"]), personal=personal)
        row = _valid(self._timetables.get(name, ()), on)
        if row is None:
            text = " · ".join([*version, f"timetable {name} without this date"])
            return PlanDay(on, zone, version=text, personal=personal)
        slots = tuple(Slot(one.slot, one.kind, one.window_from, one.window_until, one.due) for one in row.records)
        text = " · ".join([*version, f"timetable {name} {row.since.isoformat()} ({row.paper})"])
        first = row.record
        return PlanDay(on, zone, slots, break_min=first.break_min, shifts=first.shifts, version=text, personal=personal)

    def _day_kind(self, chain: tuple[str, ...], on: date) -> tuple[Kind, str] | None:
        """Return what the calendar makes of a date, by the nearest scope that has an entry."""
        for scope in (*chain, ALL):
            found = self._calendar.get((scope, on))
            if found is not None:
                return found
        return None

    def _nearest(self, assigned: Mapping[str, list[Stated]], unit: str | None, on: date) -> Stated | None:
        for key in self.chain(unit, on):
            row = _valid(assigned.get(key, ()), on)
            if row is not None:
                return row
        return None


def _by(rows: Iterable[Stated], key: Callable[[Any], str]) -> dict[str, list[Stated]]:
    found: dict[str, list[Stated]] = {}
    for row in rows:
        found.setdefault(key(row.record), []).append(row)
    return found


def _valid(rows: Iterable[Stated], on: date) -> Stated | None:
    """Return the row that is valid on a date; of several the one that began last."""
    best: Stated | None = None
    for row in rows:
        since, until = row.since, row.until
        if since <= on and (until is None or on <= until) and (best is None or since > best.since):
            best = row
    return best


def _calendar(rows: Iterable[Stated]) -> dict[tuple[str, date], tuple[Kind, str]]:
    """Return what entries make of each date of each scope, and what they are; a holiday goes before a day off."""
    found: dict[tuple[str, date], tuple[Kind, str]] = {}
    for row in rows:
        for entry in row.records:
            kind = DAY_KINDS[entry.kind]
            if kind is None:
                continue
            what = f"{entry.kind} {entry.name} ({row.paper})"
            for number in range(((entry.until or entry.date) - entry.date).days + 1):
                key = entry.scope, entry.date + timedelta(days=number)
                before = found.get(key)
                if before is None or (kind != "holiday", what) < (before[0] != "holiday", before[1]):
                    found[key] = kind, what
    return found


def _schedule_day(row: Stated, on: date) -> Any:
    """Return the day of a schedule's version that a date is; None where the version lacks it."""
    form = row.record.day[0]
    number = on.weekday() if form == "week" else (on - row.since).days % len(row.records) + 1
    return next((one for one in row.records if one.day == (form, number)), None)


def _laid_out(days: tuple[PlanDay, ...], longer_s: int) -> Planned:
    plan = days[0]
    begin, instant = midnight(plan.date), plan.zone.instant
    own_date = instant(begin), instant(begin + DAY_S) - 1
    if not plan.slots:
        return Planned(days, own_date, None, alone=True)
    first = instant(begin + min(slot.start for slot in plan.slots)) - longer_s
    last = instant(begin + max(slot.end for slot in plan.slots)) + longer_s
    alone = own_date[0] <= first and last <= own_date[1]
    ends = {instant(begin + slot.end) for slot in plan.slots} | {last}
    return Planned(days, own_date, (first, last), alone, tuple(sorted(ends)))


def _leave_s(leave: Iterable[Stated], on: date) -> int:
    """Return by how many seconds hours of leave can move a date's windows."""
    return sum(
        row.record.end - row.record.begin
        for row in leave
        if row.record.begin is not None and row.record.end is not None and abs((row.record.since - on).days) <= REACH
    )


# --- which days belong together -----------------------------------------------------------------------------------


class Together:
    """Planned dates that belong together, with what all people who share them have in common."""

    __slots__ = (
        *("_laid_out", "dates", "ends", "extents", "local_dates", "local_days"),
        *("plans", "rules_on", "zone", "zones"),
    )

    def __init__(self, dates: tuple[date, ...], planned: Sequence[Planned], rules_on: RulesOn) -> None:
        """Take dates in order, those of them that are planned, and the policy of each."""
        self.dates = dates
        self.plans = tuple(plan for one in planned for plan in one.days)
        self.zone = planned[0].days[0].zone
        self.zones = {one.days[0].date: one.days[0].zone for one in planned}
        self.extents = tuple(one.extent for one in planned)
        self.ends: Extent = min(first for first, _ in self.extents), max(last for _, last in self.extents)
        low, high = (self.zone.local(end) // DAY_S for end in self.ends)
        self.local_days = range(low, high + 1)
        """Numbers of the days that the extents touch on the clock of the zone."""
        self.local_dates = date_of(low * DAY_S), date_of(high * DAY_S)
        """The first and the last of these."""
        self.rules_on = rules_on
        self._laid_out: list[DayWork] | None = None

    @property
    def laid_out(self) -> Sequence[DayWork]:
        """Return the dates as the judgement lays them out, for :func:`central.timesheet.judge.judge`."""
        if self._laid_out is None:
            self._laid_out = lay_out_once(self.plans, self.rules_on)
        return self._laid_out


@dataclass(frozen=True, slots=True)
class Around:
    """What a verdict on a date rests on beside what is stated and recorded about one person."""

    unit: str | None
    policy: str | None
    planned: Planned | WhyNone


class Days:
    """The planned dates of one person, or of people of one unit without plans of their own.

    All that is the same for these people is found once, and which dates a verdict depends on.
    """

    def __init__(self, office: Office, own: PersonRows) -> None:
        self._office = office
        self._own = own
        self._planned: dict[date, Planned | WhyNone] = {}
        self._around: dict[date, Around] = {}
        self._together: dict[tuple[date, ...], Together] = {}
        self._belonging: dict[date, Together] = {}
        self._begins: dict[date, int | None] = {}
        self._next: dict[date, tuple[date, int] | None] = {}
        self._alone: tuple[date, date] | None = None
        """Dates of which is known that no window around them reaches beyond its date."""

    def on(self, on: date) -> Planned | WhyNone:
        """Return the plans of a date, or why it is not judged."""
        found = self._planned.get(on)
        if found is None:
            found = self._planned[on] = self._office.planned(self._own, on)
        return found

    def around(self, on: date) -> Around:
        """Return unit, policy and plans of a date."""
        found = self._around.get(on)
        if found is None:
            unit, policy = self._own.unit_on(on)[1], self._office.policy_name(self._own, on)
            found = self._around[on] = Around(unit, policy, self.on(on))
        return found

    def belonging(self, on: date) -> Together:
        """Return the dates that belong together with a planned date."""
        found = self._belonging.get(on)
        if found is None:
            dates = self.together(on)
            if dates not in self._together:
                planned = [one for each in dates if isinstance(one := self.on(each), Planned)]
                self._together[dates] = Together(dates, planned, rules_for(self._office, self._own, dates))
            found = self._belonging[on] = self._together[dates]
        return found

    def begin(self, on: date) -> int | None:
        """Return when a date begins; None where it is no day of employment."""
        if on not in self._begins:
            employed, unit = self._own.unit_on(on)
            zone = self._office.zone(unit, on) if employed else None
            begin = midnight(on) if zone is None else zone.instant(midnight(on))
            self._begins[on] = begin if employed else None
        return self._begins[on]

    def next_begin(self, on: date) -> tuple[date, int] | None:
        """Return the next day of employment, as far as rows were read, and when it begins."""
        if on not in self._next:
            near = (on + timedelta(days=number) for number in range(1, REACH + 1))
            begins = ((day, begin) for day in near if (begin := self.begin(day)) is not None)
            self._next[on] = next(begins, None)
        return self._next[on]

    def alone(self, first: date, last: date) -> bool:
        """Return whether no window of the dates, and of those around, reaches beyond its own date."""
        if self._alone is not None and self._alone[0] <= first and last <= self._alone[1]:
            return True
        for number in range(first.toordinal() - REACH, last.toordinal() + REACH + 1):
            planned = self.on(_dated(number))
            if isinstance(planned, Planned) and not planned.alone:
                return False
        self._alone = first, last
        return True

    def together(self, on: date) -> tuple[date, ...]:
        """Return the planned dates on which the verdict of a planned date depends, itself among them.

        They are those whose windows reach into the date or its windows, and, step by step, those whose windows overlap
        the windows of these, at most :data:`ROUNDS` steps away.
        """
        if self.alone(on, on):
            return (on,)
        this = self.on(on)
        if not isinstance(this, Planned):
            return ()
        found = {on}
        reached = self._reaching(this.extent, on)
        for _ in range(ROUNDS):
            new = reached - found
            if not new:
                break
            found |= new
            reached = {
                other
                for one in new
                if isinstance(planned := self.on(one), Planned) and planned.windows is not None
                for other in self._reaching(planned.windows, one)
            }
        return tuple(sorted(found))

    def touched(self, on: date) -> tuple[date, ...]:
        """Return the dates whose verdicts may change by a fact of a date, itself among them, planned or not."""
        if self.alone(on, on):
            return (on,)
        this = self.on(on)
        holding = {on}
        if isinstance(this, Planned):
            holding |= self._reaching(this.own_date, on)
        else:  # no plan gives the date a zone: whatever reaches into it in any zone
            begin = midnight(on)
            holding |= self._reaching((begin - DAY_S, begin + 2 * DAY_S), on)
        near = (_moved(on, number) for number in range(-ROUNDS * REACH, ROUNDS * REACH + 1))
        return tuple(other for other in near if other == on or not holding.isdisjoint(self.together(other)))

    def _reaching(self, extent: Extent, on: date) -> set[date]:
        """Return the dates around one whose windows reach into an extent."""
        found = set()
        for number in range(-REACH, REACH + 1):
            other = _moved(on, number)
            planned = self.on(other)
            if not isinstance(planned, Planned) or planned.windows is None:
                continue
            if planned.windows[0] <= extent[1] and planned.windows[1] >= extent[0]:
                found.add(other)
        return found


def _moved(day: date, days: int) -> date:
    return _dated(day.toordinal() + days)


def _dated(number: int) -> date:
    return date.fromordinal(min(max(number, 1), date.max.toordinal()))


# --- facts --------------------------------------------------------------------------------------------------------


def punch_of(event: Mapping[str, Any], stream: str, sequence: int, instant: int) -> Punch:
    """Return a recorded punch as the judgement takes it; its event must be a punch that the store took as one."""
    data = event["data"]
    suspect = _suspects(data.get("suspect"))
    clock = data.get("clock")
    offset = clock.get("offset_ms") if isinstance(clock, dict) else None
    if "future" in suspect and _is_explained(event, instant, clock):
        suspect = tuple(one for one in suspect if one != "future")
    state = data.get("state")
    return Punch(
        instant=instant,
        local=_local(data["local_time"]),
        terminal=data["terminal"],
        sequence=sequence,
        states=(state,) if _is_whole(state) else (),
        suspect=suspect,
        offset_ms=offset if _is_whole(offset) else None,
        id=event["id"],
        stream=stream,
        clock=clock if isinstance(clock, dict) and offset is not None else None,
    )


def _suspects(listed: object) -> tuple[str, ...]:
    if not listed or not isinstance(listed, list):
        return ()
    if len(listed) == 1 and isinstance(listed[0], str):
        return (listed[0],)
    return tuple(sorted({item for item in listed if isinstance(item, str)}))


def _is_explained(event: Mapping[str, Any], instant: int, clock: object) -> bool:
    """Return whether the measured offset of a fast clock explains a time that lay ahead when the event was recorded.

    Such a time says what ``drift`` says, and no more: less its offset, within the bound, it is not after recording.
    """
    if not isinstance(clock, dict):
        return False
    measured = [value for value in (clock.get("offset_ms"), clock.get("bound_ms")) if _is_whole(value)]
    if len(measured) < 2:
        return False
    try:
        recorded = datetime.fromisoformat(event["recordedtime"])
        return bool(instant * 1000 - sum(measured) <= recorded.timestamp() * 1000)
    except (LookupError, TypeError, ValueError, OverflowError):
        return False


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _local(text: str) -> int:
    """Return the wall clock's seconds of YYYY-MM-DDTHH:MM:SS."""
    return _midnight(text[:10]) + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])


@lru_cache(maxsize=1_000)
def _midnight(text: str) -> int:
    return midnight(date.fromisoformat(text))


def stated_punches(own: PersonRows, zone_on: Callable[[date], Zone]) -> list[Punch]:
    """Return corrections and presence as punches; ``@`` before the terminal says that none recorded it."""
    found = []
    for row in own.corrections:
        one = row.record
        paper = f"{one.by}, {one.paper}" + (f": {one.reason}" if one.reason else "")
        found.append(_stated(one, "@correction", None, paper, zone_on(one.date)))
    for row in own.presence:
        one = row.record
        found.append(_stated(one, f"@{one.source}", one.state, one.paper or row.paper, zone_on(one.date)))
    return found


def _stated(one: Any, terminal: str, state: int | None, paper: str, zone: Zone) -> Punch:
    local = midnight(one.date) + one.time
    return Punch(
        zone.instant(local),
        local,
        terminal=terminal,
        states=() if state is None else (state,),
        id=f"{terminal}:{one.person}:{one.date.isoformat()}T{one.time}",
        paper=paper,
    )


def accepted(punch: Punch, decisions: Iterable[Stated]) -> Punch:
    """Return a punch without the suspects that decisions let stand on its date, with who decided so."""
    if not punch.suspect:
        return punch
    on = date_of(punch.local)
    papers, left = [], set(punch.suspect)
    for row in decisions:
        one = row.record
        if one.decision == "accept" and one.suspect and _holds(row, on) and not left.isdisjoint(one.suspect):
            left -= set(one.suspect)
            papers.append(f"{one.by}, {one.paper}")
    if not papers:
        return punch
    return replace(punch, suspect=tuple(sorted(left)), paper="; ".join(sorted(papers)))


def _holds(row: Stated, on: date) -> bool:
    return row.since <= on and (row.until is None or on <= row.until)


def not_concerned(
    doubts: Iterable[Doubt], decisions: Iterable[Stated], zone: Zone, serial: str | None = None
) -> list[Doubt]:
    """Return the parts of doubts that no decision about the person settles; ``serial``: of the terminal of them all.

    Without it decisions about one terminal settle nothing: they do where doubts arise, see
    :class:`central.timesheet.unknown.Enrolled`.
    """
    left = list(doubts)
    for row in decisions:
        one = row.record
        if one.decision != "not_concerned" or one.terminal not in (None, serial):
            continue
        start = zone.instant(midnight(row.since))
        end = zone.instant(midnight(row.until) + DAY_S) - 1 if row.until is not None else 1 << 62
        settled, left = left, []
        for doubt in settled:
            if doubt.start < start:
                left.append(doubt._replace(end=min(doubt.end, start - 1)))
            if doubt.end > end:
                left.append(doubt._replace(start=max(doubt.start, end + 1)))
    return sorted(left, key=lambda doubt: (doubt.start, doubt.end, doubt.why, doubt.terminal or "", doubt.detail or ""))


# --- the span -----------------------------------------------------------------------------------------------------


def assemble(
    together: Together,
    own: PersonRows,
    punches: Iterable[Punch],
    doubts: Iterable[Doubt],
    now: int,
) -> Span:
    """Return what the judgement takes of planned dates that belong together; ``punches`` are the person's.

    Only punches that lie within the dates and their windows enter, so that a verdict does not depend on what else was
    judged with it.
    """
    dates, extents, zone, zones = together.dates, together.extents, together.zone, together.zones
    near = tuple([punch for punch in punches if _within(punch, extents, zone)])
    if own.states_nothing:
        return Span(together.plans, near, doubts=tuple(doubts), now=now)
    stated = stated_punches(own, lambda on: zones.get(on, zone))
    near += tuple(punch for punch in stated if _within(punch, extents, zone))
    return Span(
        days=together.plans,
        punches=tuple(accepted(punch, own.decisions) for punch in near),
        leave=tuple(part for row in own.leave for part in _leave(row, dates, lambda on: zones.get(on, zone))),
        orders=tuple(
            Order(*_hours(row.record.date, row.record, zones.get(row.record.date, zone)), row.record.paper or row.paper)
            for row in own.orders
            if _is_near(row.record.date, dates)
        ),
        doubts=tuple(doubts),
        now=now,
    )


def _within(punch: Punch, extents: Sequence[Extent], zone: Zone) -> bool:
    """Return whether a punch lies in an extent, by its instant or by its digits read in the plan's zone."""
    instant = punch.instant
    for first, last in extents:
        if first <= instant <= last:
            return True
    printed = zone.instant(punch.local)
    low, high = punch.between or (1, 0)  # a punch without a date lies wherever it may have been made
    return any(first <= printed <= last or (low <= high and low <= last and high >= first) for first, last in extents)


def _leave(row: Stated, dates: Sequence[date], zone_on: Callable[[date], Zone]) -> list[LeaveInterval | LeaveDay]:
    """Return what a row of leave means for dates."""
    one = row.record
    paper = one.paper or row.paper
    if one.begin is not None and one.end is not None:
        if not _is_near(one.since, dates):
            return []
        return [LeaveInterval(*_hours(one.since, one, zone_on(one.since)), one.kind, paper)]
    return [LeaveDay(on, one.kind, one.slot, paper) for on in dates if one.since <= on <= (one.until or one.since)]


def _hours(on: date, one: Any, zone: Zone) -> tuple[int, int]:
    """Return the instants between which the hours of a record of a date lie."""
    begin = midnight(on)
    return zone.instant(begin + one.begin), zone.instant(begin + one.end)


def _is_near(on: date, dates: Sequence[date]) -> bool:
    """Return whether hours of a date can lie within dates: they end at most :data:`REACH` days later."""
    return dates[0] - timedelta(days=REACH) <= on <= dates[-1]


def rules_for(office: Office, own: PersonRows, dates: Sequence[date]) -> RulesOn:
    """Return the rules of each date of a person: of a date without a policy those of the nearest judged one."""
    found: dict[date, Rules] = {}

    def rules_on(on: date) -> Rules:
        if on not in found:
            rules = office.rules(own, on)
            if rules is None:
                known = {other: one for other in dates if (one := office.rules(own, other)) is not None}
                rules = known[min(known, key=lambda other: (abs((other - on).days), other))]
            found[on] = rules
        return found[on]

    return rules_on
