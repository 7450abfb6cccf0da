"""Judging again what has changed: from marks to rows and punches, to verdicts, to revisions where the inputs differ.

Marks are taken in batches. A batch is one transaction: facts are read, days judged, revisions added and the marks
deleted together, so that a kill at any moment loses nothing and repeats nothing; any number of processes may do it.
"""

import gc
import json
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import structlog
from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.registers.statements import pin_key
from central.store import results
from central.store.engine import Database, StoreError, utc
from central.store.registers import Registers
from central.store.registers import Stated as StatedRow
from central.store.results import Held, Last, Marked, Revision, Unattributed
from central.timesheet.affected import REACH, Mark, Reading, read_key, read_of
from central.timesheet.assemble import (
    ROUNDS,
    Days,
    Office,
    PersonRows,
    Planned,
    Recorded,
    assemble,
    not_concerned,
    people_rows,
    punch_of,
    rules_for,
)
from central.timesheet.attribution import Enrolments, Reader
from central.timesheet.clock import DAY_S, midnight
from central.timesheet.judge import judge
from central.timesheet.model import ENGINE, DayResult, Doubt, Punch
from central.timesheet.stored import differences, dump_day
from central.timesheet.unknown import Gap, UnknownPunch, doubts_of, places_of

MARKS = 2_000
"""Marks of a batch, at most."""
PERSON_DAYS = 4_000
"""Person-days of a batch, about; a single mark of one person may have more."""
MAX_CAUSES = 20
"""Causes that a revision names."""
WIDE = (ROUNDS + 1) * REACH * 2
"""Days around a date on which its verdict can depend where windows reach beyond their dates."""
ZONES_S = 26 * 3600
"""How far apart two wall clocks can be."""
NO_REVISION = Last(0, "none", "", 0, None)

log = structlog.get_logger("recompute")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a date of a person, or why there is none."""

    person: str
    date: date
    result: DayResult | None
    why: str | None
    unit: str | None
    policy: str | None
    due: int | None
    """When time next changes it."""

    @property
    def status(self) -> str:
        """Return the status as it is stored."""
        return "none" if self.result is None else self.result.status

    @property
    def inputs(self) -> str:
        """Return the digest of the inputs; of a date that is not judged, the reason."""
        return f"none: {self.why}" if self.result is None else self.result.inputs

    @property
    def content(self) -> str:
        """Return what is stored."""
        return results.encode({"why": self.why}) if self.result is None else dump_day(self.result)


class Facts:
    """What is stated and recorded about people around some dates: now, or as known at a moment."""

    def __init__(
        self,
        connection: Connection,
        policies: OfficePolicies,
        people: Collection[str],
        first: date,
        last: date,
        known_at: datetime | None = None,
    ) -> None:
        self._connection = connection
        self._registers = Registers(connection, known_at)
        self._known_at = None if known_at is None else utc(known_at)
        self._policies = policies
        rows = load_rows(self._registers, people, first, last)
        self.office = Office(rows, policies)
        self.people = people_rows(rows)
        self.rows = rows
        self._enrolments: dict[str, list[StatedRow]] = {person: [] for person in people}
        for row in rows["enrolments"]:
            self._enrolments.setdefault(row.record.person, []).append(row)
        self._dates = first, last
        self._days: dict[str, Days] = {}
        self._days_of_units: dict[str, Days] = {}
        self._punches: dict[str, list[tuple[date, Punch]]] = {}
        self._gaps: list[Gap] = []
        self._unknown: list[UnknownPunch] = []
        self._sites_of: dict[str, dict[str, str]] = {}
        self._serials: dict[str, str] = {}

    def own(self, person: str) -> PersonRows:
        """Return the rows about a person."""
        return self.people.setdefault(person, PersonRows())

    def days(self, person: str) -> Days:
        """Return the planned dates of a person; people of one unit without plans of their own share them."""
        found = self._days.get(person)
        if found is None:
            own = self.own(person)
            shared = own.unit_throughout(*self._dates) if own.plain else None
            if shared is None:
                found = Days(self.office, own)
            else:
                found = self._days_of_units.setdefault(shared, Days(self.office, own))
            self._days[person] = found
        return found

    def load_recorded(self, first: int, last: int) -> None:
        """Read the punches of the people between two instants, and what is not known there."""
        if self._reads_digits():
            first, last = first - ZONES_S, last + ZONES_S
        pins = {row.record.pin for rows in self._enrolments.values() for row in rows}
        held = results.punches_of(self._connection, pins, first, last, self._known_at)
        enrolments = self._enrolments_at(held)
        for one in held:
            on = date.fromisoformat(one.local_time[:10])
            person = enrolments.person(Reader(one.serial, one.site), one.pin, on)
            if person in self._enrolments:
                punch = _punch(one)
                if punch is not None:
                    self._punches.setdefault(person, []).append((on, punch))
                    self._serials[punch.terminal] = one.serial
        self._load_unknown(first, last)

    def _reads_digits(self) -> bool:
        """Return whether a policy reads terminals' digits in the plan's zone, wherever the terminals are."""
        names = {row.record.policy for row in self.rows["assignments"] if row.record.policy is not None}
        policies = [policy for name in names if (policy := self._policies.policy(name)) is not None]
        return any(version.rules.zone_of_terminal for policy in policies for version in policy.versions)

    def _enrolments_at(self, held: Iterable[Held]) -> Enrolments:
        """Return the enrolments of the people, and those of others that go before these at the terminals."""
        # Keys of the people's own enrolments are looked up too: on other dates another person may have had the PIN.
        keys = {pin_key(one.pin, one.serial, None) for one in held}
        others = self._registers.rows("enrolments", sorted(keys), by="other") if keys else []
        return Enrolments([row for rows in self._enrolments.values() for row in rows] + others)

    def _load_unknown(self, first: int, last: int) -> None:
        """Read gaps of streams and PINs of nobody, at the sites of the people."""
        self._sites_of = results.sites_of(self._connection, self._known_at)
        ends = _date_at(first - ZONES_S), _date_at(last + ZONES_S)  # a terminal's date is not that of UTC
        places = (places_of(rows, self._sites_of, *ends) for rows in self._enrolments.values())
        sites = {site for one in places for site in one.all_sites}
        if not sites:
            return
        for gap in results.stream_gaps(self._connection, sites, self._known_at):
            start, end = _start_of(gap.before), _end_of(gap.after)
            self._gaps.append(Gap(gap.gateway, gap.stream, gap.first, gap.last, start, end))
        unknown = self._unattributed(sites, *ends)
        if not unknown:
            return
        visitors = self._registers.rows(
            "decisions", sorted({pin_key(one.pin, one.serial, None) for one in unknown}), *ends
        )
        wanted = {one for one in unknown if not _is_visitor(one, visitors)}
        for one in results.punches_of(self._connection, {use.pin for use in wanted}, first, last, self._known_at):
            use = Unattributed(one.site, one.local_time[:10], one.serial, one.pin)
            punch = _punch(one) if use in wanted else None
            if punch is not None:
                reader = Reader(one.serial, one.site)
                on = date.fromisoformat(use.date)
                self._unknown.append(UnknownPunch(reader, punch.terminal, one.pin, on, punch.instant, one.id))

    def _unattributed(self, sites: set[str], first: date, last: date) -> list[Unattributed]:
        if self._known_at is None:
            return results.unattributed(self._connection, sites, first, last)
        # As known at a moment: what was a PIN of nobody then is found from the punches of the sites themselves.
        used = [
            use
            for use in results.uses(self._connection, known_at=self._known_at, first=first, last=last)
            if use.site in sites
        ]
        keys = {key for use in used for key in (pin_key(use.pin, use.serial, None), pin_key(use.pin, None, use.site))}
        enrolments = Enrolments(self._registers.rows("enrolments", sorted(keys), first, last, by="other"))
        return [
            Unattributed(use.site, use.date, use.serial, use.pin)
            for use in used
            if enrolments.person(Reader(use.serial, use.site), use.pin, date.fromisoformat(use.date)) is None
        ]

    def judge(self, person: str, dates: Iterable[date], now: int) -> Iterator[Judgement]:
        """Yield the verdicts on dates of a person; what belongs to dates that have not begun is left out."""
        own, days = self.own(person), self.days(person)
        punches = self._punches.get(person, [])
        found: dict[tuple[date, ...], dict[date, DayResult]] = {}
        for on in dates:
            planned = days.on(on)
            unit = own.unit_on(on)[1]
            if not isinstance(planned, Planned):
                yield Judgement(person, on, None, planned, unit, None, None)
                continue
            if planned.own_date[0] > now:
                continue
            together = days.together(on)
            if together not in found:
                found[together] = self._judged(own, days, together, person, punches, now)
            result = found[together][on]
            policy = self.office.policy_name(own, on)
            yield Judgement(person, on, result, None, unit, policy, _next_end(planned, now))

    def _judged(
        self,
        own: PersonRows,
        days: Days,
        dates: tuple[date, ...],
        person: str,
        punches: list[tuple[date, Punch]],
        now: int,
    ) -> dict[date, DayResult]:
        doubts: list[Doubt] = []
        if self._gaps or self._unknown:
            places = places_of(self._enrolments.get(person, ()), self._sites_of, dates[0], dates[-1])
            doubts = doubts_of(places, self._gaps, self._unknown, {on for on, _ in punches})
            planned = days.on(dates[0])
            if doubts and own.decisions and isinstance(planned, Planned):
                doubts = not_concerned(doubts, own.decisions, planned.days[0].zone, self._serials)
        span = assemble(days, own, dates, [punch for _, punch in punches], doubts, now)
        judged = judge(span, rules_for(self.office, own, dates))
        return {day.date: day for day in judged.days}


def judge_now(
    connection: Connection,
    policies: OfficePolicies,
    person: str,
    on: date,
    now: int,
    known_at: datetime | None = None,
) -> Judgement | None:
    """Return the verdict on a day without storing it, also as known at a moment; None where it has not begun."""
    facts = Facts(connection, policies, [person], *_padded(on, on, WIDE), known_at)
    days = facts.days(person)
    ends = [end for other in days.together(on) or (on,) for end in _extent(days.on(other), other)]
    facts.load_recorded(min(ends), max(ends))
    return next(facts.judge(person, [on], now), None)


def load_rows(registers: Registers, people: Collection[str], first: date, last: date) -> dict[str, list[StatedRow]]:
    """Return the rows by kind that concern people on dates, and what these refer to."""
    keys = sorted(f"person:{person}" for person in people)
    rows = {
        kind: registers.rows(kind, keys, first, last)
        for kind in (
            "people",
            "rosters",
            "leave",
            "orders",
            "corrections",
            "presence",
            "decisions",
            "enrolments",
            "assignments",
        )
    }
    units: set[str] = set()
    rows["units"] = []
    new = {f"unit:{row.record.unit}" for row in rows["people"] if row.record.unit is not None}
    while new:
        found = registers.rows("units", sorted(new), first, last)
        units |= new
        rows["units"] += found
        new = {f"unit:{row.record.parent}" for row in found if row.record.parent is not None} - units
    rows["assignments"] += registers.rows("assignments", sorted(units), first, last)
    schedules = {f"schedule:{row.record.schedule}" for row in rows["assignments"] if row.record.schedule}
    rows["schedules"] = registers.rows("schedules", sorted(schedules), first, last)
    names = {one.timetable for row in rows["schedules"] for one in row.records}
    names |= {row.record.timetable for row in rows["rosters"]}
    rows["timetables"] = registers.rows("timetables", sorted(f"timetable:{name}" for name in names), first, last)
    scopes = ["scope:all", *sorted(f"scope:{unit.removeprefix('unit:')}" for unit in units)]
    rows["calendar"] = registers.rows("calendar", scopes, first, last)
    return rows


def _punch(held: Held) -> Punch | None:
    """Return a punch of the store; None where its body does not say what one must."""
    try:
        return punch_of(Recorded(json.loads(held.body), held.stream, held.sequence, held.instant))
    except (ValueError, LookupError, TypeError, AttributeError):
        log.warning("punch_unreadable", stream=held.stream, sequence=held.sequence)
        return None


def _is_visitor(use: Unattributed, visitors: Iterable[StatedRow]) -> bool:
    on = date.fromisoformat(use.date)
    return any(
        row.record.decision == "visitor"
        and (row.record.terminal, row.record.pin) == (use.serial, use.pin)
        and row.since <= on
        and (row.until is None or on <= row.until)
        for row in visitors
    )


def _date_at(instant: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=instant)).date()


def _start_of(body: str | None) -> int:
    """Return the instant after which the events after one were recorded: that of its own time."""
    return -(1 << 62) if body is None else _moment(body, "time", "recordedtime") or -(1 << 62)


def _end_of(body: str | None) -> int:
    """Return the instant until which the events before one were recorded: when it was itself."""
    return 1 << 62 if body is None else _moment(body, "recordedtime", "time") or 1 << 62


def _moment(body: str, *names: str) -> int | None:
    for name in names:
        try:
            found = datetime.fromisoformat(json.loads(body)[name])
            return int(found.timestamp())
        except (ValueError, LookupError, TypeError, OverflowError):
            continue
    return None


def _next_end(planned: Planned, now: int) -> int | None:
    """Return the second after the next end of a window; None where all have ended."""
    plan = planned.days[0]
    begin = midnight(plan.date)
    ends = [plan.zone.instant(begin + slot.end) for slot in plan.slots]
    if planned.windows is not None:
        ends.append(planned.windows[1])
    left = [end for end in ends if end >= now]
    return min(left) + 1 if left else None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the collector of cycles from looking through a batch's millions of objects, which have none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(slots=True)
class _Wanted:
    """Dates of people to judge, each with its causes."""

    dates: dict[str, dict[date, list[str]]] = field(default_factory=dict)
    offsets: dict[tuple[str, date], set[int]] = field(default_factory=dict)
    """Of dates of punches: by how many seconds the terminals' clocks were before UTC."""
    future: set[tuple[str, date]] = field(default_factory=set)
    """Dates ahead on which people have to be looked at again."""

    def add(self, person: str, on: date, cause: str) -> None:
        causes = self.dates.setdefault(person, {}).setdefault(on, [])
        if cause not in causes:
            causes.append(cause)

    def apart(self) -> list["_Wanted"]:
        """Return parts in which the dates of each person lie near each other, so that nothing between is read."""
        parts: list[_Wanted] = []
        for person, dates in self.dates.items():
            number, before = -1, date.min
            for on in sorted(dates):
                if number < 0 or (on - before).days > 2 * WIDE:
                    number += 1
                    if number == len(parts):
                        parts.append(_Wanted(offsets=self.offsets))
                parts[number].dates.setdefault(person, {})[on] = dates[on]
                before = on
        return parts


class Recompute:
    """Brings verdicts up to date. Every method raises StoreError where the database fails."""

    def __init__(
        self,
        database: Database,
        policies: OfficePolicies,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        person_days: int = PERSON_DAYS,
    ) -> None:
        self._database = database
        self._policies = policies
        self._now = now
        self._person_days = person_days
        self.written = 0
        """Revisions written so far."""
        self.judged = 0
        """Person-days judged so far."""

    def run(self) -> int:
        """Do all that is to do now; return how many revisions were written."""
        before = self.written
        self.begin()
        self.advance()
        while self.batch():
            pass
        return self.written - before

    def begin(self) -> None:
        """Mark what another version of the judgement, or another text of a policy, may have changed."""
        with self._database.writing() as connection:
            entered = utc(self._now())
            known = results.judged_by(connection)
            engine = known.get("engine")
            if engine != str(ENGINE):
                results.set_judged_by(connection, "engine", str(ENGINE), entered)
                if engine is not None:
                    cause = {"kind": "engine", "from": int(engine), "to": ENGINE}
                    results.mark(connection, [Mark("scope:all", date.min, date.max)], cause, entered)
            for name in results.policies(connection):
                digest, before = self._policies.digest(name) or "none", known.get(f"policy:{name}")
                if digest == before:
                    continue
                results.set_judged_by(connection, f"policy:{name}", digest, entered)
                if before is not None:
                    mark = Mark(f"policy:{name}", date.min, date.max)
                    results.mark(connection, [mark], {"kind": "policy", "policy": name}, entered)

    def rebuild(self) -> None:
        """Mark everything to be judged again from facts alone, and forget what follows from them but the revisions."""
        with self._database.writing() as connection:
            entered, cause = utc(self._now()), {"kind": "rebuild"}
            results.forget_derived(connection)
            marks = [_mark_of_use(use) for use in results.uses(connection)]
            results.mark(connection, [*marks, Mark("scope:all", date.min, date.max)], cause, entered)

    def differing(self, sample: int, random: Random) -> list[tuple[str, date]]:
        """Judge a random sample of stored days again, and return those whose digest is not the stored one.

        Days that a mark waits for are left out; nothing is stored.
        """
        now = self._now()
        with self._database.reading() as connection:
            if results.numbers(connection)[0] or (results.next_due(connection) or now.timestamp()) < now.timestamp():
                return []
            found = []
            for person, on in results.sample(connection, sample, random):
                stored = results.last_revisions(connection, [person], on, on)[person, on]
                judged = judge_now(connection, self._policies, person, on, int(now.timestamp()))
                if judged is not None and judged.inputs != stored.inputs:
                    found.append((person, on))
            return found

    def advance(self) -> int:
        """Mark what time has changed: days that have begun, windows that have ended; return how many marks."""
        now = self._now()
        with self._database.writing() as connection:
            return results.fall_due(connection, int(now.timestamp()), utc(now))

    def batch(self) -> int:
        """Judge what some marks name; return how many marks were handled, 0 where none waits."""
        marks: list[Marked] = []
        try:
            with _without_collector(), self._database.writing() as connection:
                marks = self._take(connection)
                self._handle(connection, marks)
        except StoreError:
            raise
        except Exception as exc:
            if not marks:
                raise
            self._one_by_one(marks, exc)  # one mark costs itself
        return len(marks)

    def _take(self, connection: Connection) -> list[Marked]:
        marks, days = [], 0
        horizon = self._now().date() + timedelta(days=1)
        for mark in results.waiting(connection, MARKS):
            marks.append(mark)
            days += max(1, min((min(mark.last, horizon) - mark.first).days + 1, 366))
            if days >= self._person_days:
                break
        return marks

    def _one_by_one(self, marks: list[Marked], exc: Exception) -> None:
        """Handle marks alone, and set aside those that cannot be handled."""
        if len(marks) > 1:
            for mark in marks:
                try:
                    with self._database.writing() as connection:
                        self._handle(connection, [mark])
                except StoreError:
                    raise
                except Exception as alone:  # noqa: BLE001 - as above
                    self._set_aside(mark, alone)
        else:
            self._set_aside(marks[0], exc)

    def _set_aside(self, mark: Marked, exc: Exception) -> None:
        frame = traceback.extract_tb(exc.__traceback__)[-1]
        place = f"{type(exc).__name__} in {Path(frame.filename).name}:{frame.lineno}"
        with self._database.writing() as connection:
            results.set_aside(connection, mark.id, place)
        log.error("judging_failed", mark=mark.id, first=mark.first.isoformat(), failure=place)

    def _handle(self, connection: Connection, marks: list[Marked]) -> None:
        now = self._now()
        simple, readings = [], []
        for mark in marks:
            if mark.subject.startswith("person:"):
                simple.append(mark)
            elif read_of(mark.subject) is not None:
                readings.append(mark)
            else:
                _expand(connection, mark)
        wanted = _Wanted()
        self._attribute(connection, readings, wanted, now)
        _add_dates(connection, wanted, simple, now.date() + timedelta(days=1))
        if wanted.future:
            results.set_due(connection, {(person, on): midnight(on) - DAY_S for person, on in wanted.future})
        for part in wanted.apart():
            for people in _alike(part.dates):
                self._judge(connection, people, part, now)
        results.unmark(connection, [mark.id for mark in marks])

    def _attribute(self, connection: Connection, marks: list[Marked], wanted: _Wanted, now: datetime) -> None:
        """Find whose the punches are that marks name; those of nobody are a doubt of the people of the site."""
        readings = [(mark, reading) for mark in marks if (reading := read_of(mark.subject)) is not None]
        if not readings:
            return
        keys = {
            key for _, one in readings for key in (pin_key(one.pin, one.serial, None), pin_key(one.pin, None, one.site))
        }
        enrolments = Enrolments(Registers(connection).rows("enrolments", sorted(keys), by="other"))
        unknown, known = set(), set()
        for on, cause, one in ((on, mark.cause, one) for mark, one in readings for on in _dates(mark)):
            use = Unattributed(one.site, on.isoformat(), one.serial, one.pin)
            person = enrolments.person(Reader(one.serial, one.site), one.pin, on)
            if person is None:
                unknown.add(use)
            else:
                known.add(use)
                wanted.add(person, on, cause)
                wanted.offsets.setdefault((person, on), set()).add(one.offset_s)
        ended = results.set_unattributed(connection, unknown, known)
        marks_of_sites = [
            Mark(f"site:{use.site}", date.fromisoformat(use.date), date.fromisoformat(use.date))
            for use in unknown | ended
        ]
        results.mark(connection, marks_of_sites, {"kind": "unattributed"}, utc(now))

    def _judge(self, connection: Connection, people: list[str], wanted: _Wanted, now: datetime) -> None:
        """Judge dates of people that lie near each other, and store what has changed."""
        dates = [on for person in people for on in wanted.dates[person]]
        first, last = min(dates), max(dates)
        facts = Facts(connection, self._policies, people, *_padded(first, last, REACH))
        reaching = [
            person
            for person in people
            if not facts.days(person).alone(min(wanted.dates[person]), max(wanted.dates[person]))
        ]
        alone = [person for person in people if person not in set(reaching)] if reaching else people
        if alone:
            self._judge_with(connection, facts, alone, wanted, now)
        if reaching:
            facts = Facts(connection, self._policies, reaching, *_padded(first, last, WIDE))
            self._judge_with(connection, facts, reaching, wanted, now)

    def _judge_with(
        self, connection: Connection, facts: Facts, people: list[str], wanted: _Wanted, now: datetime
    ) -> None:
        instant = int(now.timestamp())
        touched = {person: _touched(facts.days(person), person, wanted) for person in people}
        ends = [
            end
            for person, dates in touched.items()
            for on in dates
            for other in facts.days(person).together(on) or (on,)
            for end in _extent(facts.days(person).on(other), other)
        ]
        facts.load_recorded(min(ends), max(ends))
        every = [on for dates in touched.values() for on in dates]
        before = results.last_revisions(connection, people, min(every), max(every))
        judged = [one for person in people for one in facts.judge(person, sorted(touched[person]), instant)]
        changed = [one for one in judged if _differs(one, before.get((one.person, one.date)))]
        texts = results.contents(
            connection,
            [
                (one.person, one.date, last.revision)
                for one in changed
                if (last := before.get((one.person, one.date))) is not None
            ],
        )
        entered = utc(now)
        results.add(
            connection,
            [
                _revision(
                    one,
                    before.get((one.person, one.date), NO_REVISION),
                    texts.get((one.person, one.date)),
                    touched[one.person][one.date],
                    entered,
                )
                for one in changed
            ],
        )
        results.set_due(connection, _due(facts, judged, touched, instant))
        self.written += len(changed)
        self.judged += len(judged)


def _expand(connection: Connection, mark: Marked) -> None:
    """Replace a mark of a shared subject by marks of those whom it concerns."""
    kind, _, key = mark.subject.partition(":")
    registers = Registers(connection)
    if kind == "unit":
        units, new = set[str](), {mark.subject}
        while new:
            units |= new
            below = registers.rows("units", sorted(new), mark.first, mark.last, by="other")
            new = {row.statement.subject for row in below} - units
        results.spread(connection, mark, sorted(units), "people")
    elif mark.subject == "scope:all":
        results.spread_all(connection, mark)
    elif kind == "scope":
        _expand(connection, mark._replace(subject=f"unit:{key}"))
    elif kind == "timetable":
        results.spread(connection, mark, [mark.subject], "rosters")
        names = {
            f"schedule:{one.schedule}"
            for row in registers.rows("schedules", None, mark.first, mark.last)
            for one in row.records
            if one.timetable == key
        }
        results.spread(connection, mark, sorted(names), "assignments")
    elif kind in ("schedule", "policy"):
        results.spread(connection, mark, [mark.subject], "assignments")
    elif kind in ("terminal", "site"):
        place, _, pin = mark.subject.partition(" ")
        if pin:
            _expand_pin(connection, mark, place, pin)
        else:
            _expand_place(connection, mark, place)


def _expand_pin(connection: Connection, mark: Marked, place: str, pin: str) -> None:
    """Let every punch of a PIN at a place be attributed again."""
    results.spread(connection, mark, _sites_with(connection, place, pin), "enrolments")
    kind, _, key = place.partition(":")
    first, last = mark.first, mark.last
    marks = [
        _mark_of_use(use)
        for use in results.uses(connection, [pin], first, last)
        if key == (use.serial if kind == "terminal" else use.site)
    ]
    results.mark(connection, marks, json.loads(mark.cause), mark.entered)


def _mark_of_use(use: results.Use) -> Mark:
    """Return the mark of punches of a PIN on one date, of clocks whose offset is not looked up."""
    on = date.fromisoformat(use.date)
    return Mark(read_key(Reading(use.site, use.serial, use.pin, 0)), on, on)


def _sites_with(connection: Connection, place: str, pin: str) -> list[str]:
    """Return the place of a PIN, and the sites of the terminal, whose enrolment of the PIN the terminal's hides."""
    kind, _, key = place.partition(":")
    sites = results.sites_of(connection).get(key, {}) if kind == "terminal" else {}
    return [f"{place} {pin}", *(pin_key(pin, None, site) for site in sorted(set(sites.values())))]


def _expand_place(connection: Connection, mark: Marked, place: str) -> None:
    """Mark the people who are enrolled at a terminal or a site, with those of its terminals or of its site."""
    kind, _, key = place.partition(":")
    sites = results.sites_of(connection)
    if kind == "site":
        beside = [f"terminal:{serial}" for serial, there in sites.items() if key in there.values()]
    else:
        beside = [f"site:{site}" for site in sorted(set(sites.get(key, {}).values()))]
    for one in (place, *beside):
        results.spread_place(connection, mark, one)


def _dates(mark: Marked) -> Iterator[date]:
    """Yield the dates of a mark."""
    return (mark.first + timedelta(days=number) for number in range((mark.last - mark.first).days + 1))


def _add_dates(connection: Connection, wanted: _Wanted, marks: Iterable[Marked], horizon: date) -> None:
    """Add the dates of marks of people: of ranges those on which they were employed, or have a verdict."""
    ranges = []
    for mark in marks:
        person = mark.subject.removeprefix("person:")
        if mark.first > horizon:
            wanted.future.add((person, mark.first))
        elif mark.first == mark.last:
            wanted.add(person, mark.first, mark.cause)
        else:
            ranges.append((person, mark))
    if not ranges:
        return
    begin = {person: horizon for person, _ in ranges}
    until: dict[str, date] = {}
    for person, mark in ranges:
        until[person] = max(mark.last, until.get(person, mark.last))
    for row in Registers(connection).rows("people", sorted({f"person:{person}" for person in begin})):
        begin[row.record.key] = min(begin[row.record.key], row.since)
        if horizon < row.since <= until[row.record.key]:
            wanted.future.add((row.record.key, row.since))
    for person, on in results.first_dates(connection, begin).items():
        begin[person] = min(begin[person], on)
    for person, mark in ranges:
        first, last = max(mark.first, begin[person]), min(mark.last, horizon)
        for number in range((last - first).days + 1):
            wanted.add(person, first + timedelta(days=number), mark.cause)


def _alike(dates: Mapping[str, Mapping[date, Any]]) -> Iterator[list[str]]:
    """Yield people in groups whose dates lie near each other, so that little is read in vain."""
    group: list[str] = []
    first = last = date.min
    for person in sorted(dates, key=lambda one: (min(dates[one]), max(dates[one]), one)):
        begin, end = min(dates[person]), max(dates[person])
        length = (end - begin).days
        if group and ((begin - first).days > length + 3 or abs((end - last).days) > length + 3):
            yield group
            group = []
        if not group:
            first, last = begin, end
        last = max(last, end)
        group.append(person)
    if group:
        yield group


def _padded(first: date, last: date, days: int) -> tuple[date, date]:
    low, high = date.min.toordinal(), date.max.toordinal()
    return date.fromordinal(max(first.toordinal() - days, low)), date.fromordinal(min(last.toordinal() + days, high))


def _touched(days: Days, person: str, wanted: _Wanted) -> dict[date, list[str]]:
    """Return the dates whose verdicts may change, each with its causes."""
    found: dict[date, list[str]] = {}
    for on, causes in wanted.dates[person].items():
        near = {on}
        offsets = wanted.offsets.get((person, on))
        if offsets is not None and not offsets <= {_offset_on(days.on(on))}:
            near |= set(_padded(on, on, 1))  # read by the plan's zone, a punch may lie on a neighbour
        for one in near:
            for other in days.touched(one):
                into = found.setdefault(other, [])
                into += [cause for cause in causes if cause not in into]
    return found


def _offset_on(planned: Planned | str) -> int | None:
    """Return by how many seconds the plan's clock is before UTC on its date."""
    if not isinstance(planned, Planned):
        return None
    return midnight(planned.days[0].date) - planned.own_date[0]


def _extent(planned: Planned | str, on: date) -> tuple[int, int]:
    if isinstance(planned, Planned):
        return planned.extent
    return midnight(on), midnight(on) + DAY_S - 1


def _differs(one: Judgement, before: Last | None) -> bool:
    if before is None:
        return one.result is not None
    moved = one.result is not None and before.unit != one.unit  # no input of the verdict, but of where it is counted
    return moved or (before.inputs, before.status) != (one.inputs, one.status)


def _revision(one: Judgement, before: Last, text: str | None, causes: list[str], entered: str) -> Revision:
    content = one.content
    changed = {} if text is None else differences(json.loads(text), json.loads(content))
    if text is not None and before.status != one.status and "status" not in changed.get("fields", ()):
        changed.setdefault("fields", []).insert(0, "status")
    if text is not None and before.unit != one.unit:
        changed["unit"] = [before.unit, one.unit]
    if before.revision and before.engine != ENGINE:
        changed["engine"] = [before.engine, ENGINE]
    return Revision(
        person=one.person,
        date=one.date,
        revision=before.revision + 1,
        status=one.status,
        unit=one.unit,
        policy=one.policy,
        inputs=one.inputs,
        engine=ENGINE,
        content=content,
        changed=results.encode(changed),
        cause="[" + ",".join(causes[:MAX_CAUSES]) + "]",
        entered=entered,
    )


def _due(
    facts: Facts, judged: Iterable[Judgement], touched: Mapping[str, Mapping[date, Any]], now: int
) -> dict[tuple[str, date], int | None]:
    """Return when time next changes what was judged: windows end, and the next day begins."""
    due: dict[tuple[str, date], int | None] = {(person, on): None for person, dates in touched.items() for on in dates}
    due |= {(one.person, one.date): one.due for one in judged}
    for person, dates in touched.items():
        for on in dates:
            begin = _begin_of(facts, person, on)
            if begin is not None and begin > now:
                due[person, on] = begin
            following = _next_employed(facts.own(person), on)
            begin = None if following is None else _begin_of(facts, person, following)
            if following is not None and begin is not None and begin > now:
                due[person, following] = begin
    return due


def _next_employed(own: PersonRows, on: date) -> date | None:
    """Return the next date after one on which a person is employed, as far as rows were read."""
    near = (on + timedelta(days=number) for number in range(1, REACH + 1))
    return next((day for day in near if own.unit_on(day)[0]), None)


def _begin_of(facts: Facts, person: str, on: date) -> int | None:
    """Return when a date begins for a person who is employed on it."""
    own = facts.own(person)
    employed, unit = own.unit_on(on)
    if not employed:
        return None
    zone = facts.office.zone(unit, on)
    return midnight(on) if zone is None else zone.instant(midnight(on))
