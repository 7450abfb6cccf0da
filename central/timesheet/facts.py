"""What is stated and recorded about people, read from the database, and the verdicts that follow from it.

Now, or as it was known at a moment. Nothing is stored here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy import Connection

from central.json_text import load_json
from central.policy.office import OfficePolicies
from central.registers.statements import pin_key
from central.store import contact, offline, recorded, tails, terminals
from central.store.engine import encode, utc
from central.store.recorded import ZONES_S, Held, Unattributed
from central.store.registers import Registers
from central.store.registers import Stated as StatedRow
from central.store.terminals import FAST_OR_SLOW_S, Recording
from central.timesheet.affected import REACH
from central.timesheet.assemble import (
    ROUNDS,
    Days,
    Office,
    PersonRows,
    Planned,
    Stated,
    Together,
    assemble,
    not_concerned,
    people_rows,
    punch_of,
)
from central.timesheet.attribution import Enrolments, Reader
from central.timesheet.clock import DAY_S, Zone, date_of, midnight
from central.timesheet.judge import judge
from central.timesheet.model import NEVER_CLAIMED, DayResult, Doubt, Punch
from central.timesheet.outcome import Outcome, Outcomes, outcome_of
from central.timesheet.stored import content_of, dump_content
from central.timesheet.unknown import (
    Day,
    Gap,
    Incident,
    Log,
    Offline,
    Proof,
    Tail,
    Unknown,
    UnknownPunch,
    enrolled_on,
    with_proofs,
)

PERSONAL = (
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
"""Kinds of rows that are about a person."""
WIDE = (ROUNDS + 1) * REACH * 2
"""Days around a date on which its verdict can depend where windows reach beyond their dates."""

STEP_DAYS = 200
"""Person-days that go through each step of judging together."""

log = structlog.get_logger("facts")


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
    awaits: bool = False
    """Something of it is provisional until a terminal is read further, or a terminal or an enrolment is named."""

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
        return self.stored(Outcomes())[0]

    def stored(self, outcomes: Outcomes) -> tuple[str, Outcome]:
        """Return what is stored, and what is stored beside it."""
        if self.result is None:
            return encode({"why": self.why}), outcome_of({"why": self.why})
        content = content_of(self.result)
        return dump_content(content), outcomes.of(self.result, content)


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
        *,
        instead: str | None = None,
    ) -> None:
        """Read the registers. ``instead``: a policy in place of those that are assigned, to try it."""
        self._connection = connection
        self._registers = Registers(connection, known_at)
        self._known_at = None if known_at is None else utc(known_at)
        self._policies = policies
        rows = load_rows(self._registers, people, first, last)
        self.office = Office(rows, policies, instead)
        self._instead = instead
        self.people = people_rows(rows)
        self.rows = rows
        self._enrolments: dict[str, list[StatedRow]] = {person: [] for person in people}
        for row in rows["enrolments"]:
            self._enrolments.setdefault(row.record.person, []).append(row)
        self._dates = first, last
        self._days: dict[str, Days] = {}
        self._days_of_units: dict[str, Days] = {}
        self._held: dict[str, list[Held]] = {}
        self._misdated: dict[str, dict[str, Punch]] = {}
        """Punches without a date, by person and id."""
        self._unknown = Unknown()
        self._alike: dict[tuple[Together, str | None, str | None], tuple[Day, ...]] = {}
        """Dates of people who are enrolled alike throughout: at a terminal, or at a site."""
        self._proven: dict[tuple[str, int, int], list[Proof]] = {}
        self._serials: dict[str | None, str] = {}
        """By the ids of punches without a date."""

    def own(self, person: str) -> PersonRows:
        """Return the rows about a person."""
        found = self.people.get(person)
        if found is None:
            found = self.people[person] = PersonRows()
        return found

    def days(self, person: str) -> Days:
        """Return the planned dates of a person; people of one unit without plans of their own share them."""
        found = self._days.get(person)
        if found is None:
            own = self.own(person)
            shared = own.unit_throughout(*self._dates) if own.plain else None
            if shared is not None:
                found = self._days_of_units.get(shared)
            if found is None:
                found = Days(self.office, own)
                if shared is not None:
                    self._days_of_units[shared] = found
            self._days[person] = found
        return found

    def load_recorded(self, first: int, last: int) -> None:
        """Read the punches of the people between two instants, and what is not known there."""
        if self._reads_digits():
            first, last = first - ZONES_S, last + ZONES_S
        self._load_unknown(first, last)
        if self._unknown.punches:  # whether a date that a window only reaches into has a punch of the person counts
            first, last = first - DAY_S, last + DAY_S
        pins = {row.record.pin for rows in self._enrolments.values() for row in rows}
        held = recorded.punches_of(self._connection, pins, first, last, self._known_at)
        enrolments = self._enrolments_at(held)
        whose: dict[tuple[str, str, str, str], str | None] = {}
        for one in held:
            read = one.serial, one.site, one.pin, one.local_time[:10]
            if read not in whose:
                whose[read] = enrolments.person(Reader(one.serial, one.site), one.pin, date.fromisoformat(read[3]))
            person = whose[read]
            if person in self._enrolments:
                self._held.setdefault(person, []).append(one)
        self._load_misdated(pins, first, last)

    def _load_misdated(self, pins: set[str], first: int, last: int) -> None:
        """Read the punches of the people whose printed times say nothing, where they may have been made."""
        found = terminals.misdated(self._connection, pins, first, last, self._known_at)
        if not found:
            return
        keys = {key for one in found for key in (pin_key(one.pin, one.serial, None), pin_key(one.pin, None, one.site))}
        enrolments = Enrolments(self._registers.rows("enrolments", sorted(keys), by="other"))
        for one in found:
            person = enrolments.person(Reader(one.serial, one.site), one.pin, _date_at(one.end))
            held = Held(one.id, one.site, one.serial, one.pin, one.local_time, one.instant, *one[6:9])
            punch = _punch(held) if person in self._enrolments else None
            if person is None or punch is None or NEVER_CLAIMED.isdisjoint(punch.suspect):
                continue
            offset = punch.local - punch.instant
            between = one.begin, one.end
            here = replace(punch, between=between, between_local=(one.begin + offset, one.end + offset))
            self._misdated.setdefault(person, {})[one.id] = here
            self._serials[punch.id] = one.serial

    def _punches_of(self, person: str) -> list[Punch]:
        """Return the punches of a person; they are read from their events only here, and not kept."""
        undated = self._misdated.get(person, {})
        found = [
            punch for one in self._held.get(person, ()) if one.id not in undated and (punch := _punch(one)) is not None
        ]
        return [*found, *undated.values()] if undated else found

    def _reads_digits(self) -> bool:
        """Return whether a policy reads terminals' digits in the plan's zone, wherever the terminals are."""
        names = {row.record.policy for row in self.rows["assignments"] if row.record.policy is not None}
        if self._instead is not None:
            names = {self._instead}
        policies = [policy for name in names if (policy := self._policies.policy(name)) is not None]
        return any(version.rules.zone_of_terminal for policy in policies for version in policy.versions)

    def _enrolments_at(self, held: Iterable[Held]) -> Enrolments:
        """Return the enrolments of the people, and those of others that go before these at the terminals."""
        # Keys of the people's own enrolments are looked up too: on other dates another person may have had the PIN.
        keys = {pin_key(pin, serial, None) for pin, serial in {(one.pin, one.serial) for one in held}}
        others = self._registers.rows("enrolments", sorted(keys), by="other") if keys else []
        return Enrolments([row for rows in self._enrolments.values() for row in rows] + others)

    def _load_unknown(self, first: int, last: int) -> None:
        """Read what is not known at the terminals and sites of the people."""
        ends = _date_at(first - ZONES_S), _date_at(last + ZONES_S)  # a terminal's date is not that of UTC
        unknown = self._unknown = Unknown(owners=recorded.owners_of(self._connection, self._known_at))
        rows = [row.record for rows in self._enrolments.values() for row in rows]
        own = {one.terminal for one in rows if one.terminal is not None}
        sites = {one.site for one in rows if one.site is not None}
        sites |= {owner.partition("/")[0] for serial in own for owner in unknown.owners.get(serial, {}).values()}
        if not own and not sites:
            return
        names = recorded.gateways_at(self._connection, sites)
        serials = own | {
            serial for serial, owners in unknown.owners.items() if not set(owners.values()).isdisjoint(names)
        }
        logs: dict[str, Log] = {}
        named: dict[str, dict[str, str]] = {}
        readers: dict[str, dict[str, str]] = {}
        for device in terminals.devices(self._connection, names, serials, self._known_at):
            named.setdefault(device.gateway, {})[device.serial] = device.name
            readers.setdefault(device.serial, {})[device.gateway] = device.name
            found = int(datetime.fromisoformat(device.found).timestamp())
            before = logs.get(device.serial, Log(found, readable=False, until=None))
            # Of a terminal that belongs to another site a gateway says nothing that could end a doubt.
            until = (
                device.until if _site(device.gateway) in map(_site, unknown.owners[device.serial].values()) else None
            )
            until = max((one for one in (before.until, until) if one is not None), default=None)
            logs[device.serial] = Log(min(before.found, found), before.readable or device.log, until)
        unknown.logs, unknown.readers = logs, readers
        names = sorted({*names, *(gateway for serial in serials for gateway in readers.get(serial, ()))})
        around = first - ZONES_S, last + ZONES_S
        unknown.tails = [Tail(*one) for one in tails.tails(self._connection, names, around[1], self._known_at)]
        unknown.offline = [Offline(*one) for one in offline.offline(self._connection, names, around[1], self._known_at)]
        away = contact.away(self._connection, names, around[1], self._known_at)
        unknown.offline += [Offline(*one, "out of contact") for one in away]
        unknown.gaps = [Gap(*gap) for gap in recorded.stream_gaps(self._connection, names, *around, self._known_at)]
        incidents = [Incident(*one) for one in terminals.incidents(self._connection, names, *around, self._known_at)]
        unknown.incidents = list(with_proofs(incidents, logs, named, self._proofs))
        ended: dict[str, dict[str, list[tuple[date, date | None]]]] = {"out_of_use": {}, "not_concerned": {}}
        for row in self._registers.rows("decisions", sorted(f"terminal:{serial}" for serial in serials), *ends):
            if row.record.decision in ended:
                ended[row.record.decision].setdefault(row.record.terminal, []).append((row.since, row.until))
        unknown.out_of_use, unknown.settled = ended["out_of_use"], ended["not_concerned"]
        unknown.punches = self._load_unattributed(sites, first, last, *ends)

    def _proofs(self, serial: str, first: int, last: int) -> list[Proof]:
        """Return what the log of a serial number proves between two instants; lost and found state the same ones."""
        key = serial, first, last
        if key not in self._proven:
            around = first - FAST_OR_SLOW_S, last + FAST_OR_SLOW_S
            read = terminals.recordings(self._connection, serial, *around, self._known_at)
            self._proven[key] = [proof for one in read if (proof := _proof(one)) is not None]
        return self._proven[key]

    def least_read(self, person: str, on: date) -> tuple[list[str], int | None]:
        """Return the terminals of a person whose logs are known least far on a date, and how far (None: for ever)."""
        rows = self._enrolments.get(person, [])
        settled = [
            row.record.terminal
            for row in self.own(person).decisions
            if row.record.decision == "not_concerned" and row.record.terminal is not None and _holds(row, on, on)
        ]
        return self._unknown.least_read(enrolled_on(rows, on, settled), on)

    def _load_unattributed(
        self, sites: set[str], first: int, last: int, since: date, until: date
    ) -> list[UnknownPunch]:
        """Read the punches of PINs without a person, without those that a decision has named a visitor's."""
        unknown = self._unattributed(sites, since, until)
        if not unknown:
            return []
        visitors = self._registers.rows(
            "decisions", sorted({pin_key(one.pin, one.serial, None) for one in unknown}), since, until
        )
        wanted = {one for one in unknown if not _is_visitor(one, visitors)}
        found = []
        for one in recorded.punches_of(self._connection, {use.pin for use in wanted}, first, last, self._known_at):
            use = Unattributed(one.site, one.local_time[:10], one.serial, one.pin)
            punch = _punch(one) if use in wanted else None
            if punch is not None:
                reader = Reader(one.serial, one.site)
                on = date.fromisoformat(use.date)
                found.append(UnknownPunch(reader, punch.terminal, one.pin, on, punch.instant, one.id))
        return found

    def _unattributed(self, sites: set[str], first: date, last: date) -> list[Unattributed]:
        if self._known_at is None:
            return recorded.unattributed(self._connection, sites, first, last)
        # As known at a moment: what was a PIN without a person then is found from the punches of the sites themselves.
        used = [
            use
            for use in recorded.uses(self._connection, known_at=self._known_at, first=first, last=last)
            if use.site in sites
        ]
        keys = {key for use in used for key in (pin_key(use.pin, use.serial, None), pin_key(use.pin, None, use.site))}
        enrolments = Enrolments(self._registers.rows("enrolments", sorted(keys), first, last, by="other"))
        return [
            Unattributed(use.site, use.date, use.serial, use.pin)
            for use in used
            if enrolments.person(Reader(use.serial, use.site), use.pin, date.fromisoformat(use.date)) is None
        ]

    def judge(self, wanted: Mapping[str, Collection[date]], now: int) -> Iterator[Judgement]:
        """Yield the verdicts on dates of people; what belongs to dates that have not begun is left out.

        Several people go through each step together: the processor then has its instructions at hand.
        """
        for part in _parts(wanted):
            punches = [self._punches_of(person) for person in part]
            yield from [
                one
                for person, own in zip(part, punches, strict=True)
                for one in self._judge(person, wanted[person], own, now)
            ]

    def _judge(self, person: str, dates: Iterable[date], punches: list[Punch], now: int) -> Iterator[Judgement]:
        own, days = self.own(person), self.days(person)
        found: dict[Together, dict[date, tuple[DayResult, bool]]] = {}
        for on in dates:
            around = days.around(on)
            unit, policy, planned = around.unit, around.policy, around.planned
            if not isinstance(planned, Planned):
                yield Judgement(person, on, None, planned, unit, policy if planned == "unknown_policy" else None, None)
                continue
            if planned.own_date[0] > now:
                continue
            together = days.belonging(on)
            judged = found.get(together)
            if judged is None:
                judged = found[together] = self._judged(own, together, person, punches, now)
            result, awaits = judged[on]
            yield Judgement(person, on, result, None, unit, policy, _next_end(planned, now), awaits)

    def _judged(
        self, own: PersonRows, together: Together, person: str, punches: list[Punch], now: int
    ) -> dict[date, tuple[DayResult, bool]]:
        """Return the verdicts on dates that belong together, and whether each waits for what is not known yet."""
        zone = together.zone
        doubts = self._doubts(own, together, person, punches)
        if own.decisions:
            doubts = not_concerned(doubts, own.decisions, zone) if doubts else doubts
            punches = [
                one for punch in punches for one in _left(punch, own.decisions, zone, self._serials.get(punch.id))
            ]
        judged = judge(assemble(together, own, punches, doubts, now), together.rules_on, together.laid_out)
        return {day.date: (day, day.date in judged.awaiting) for day in judged.days}

    def _doubts(self, own: PersonRows, together: Together, person: str, punches: list[Punch]) -> Sequence[Doubt]:
        """Return the doubts of a person on dates that belong together; of people who are enrolled alike found once."""
        rows = self._enrolments.get(person, [])
        zone = together.zone
        if len(rows) == 1 and not own.decisions and _holds(rows[0], *together.local_dates):
            alike = together, rows[0].record.terminal, rows[0].record.site
            days = self._alike.get(alike)
            if days is None:
                days = self._alike[alike] = tuple(_day(rows, zone, number, ()) for number in together.local_days)
        else:
            settled = [
                row
                for row in own.decisions
                if row.record.decision == "not_concerned" and row.record.terminal is not None
            ]
            days = tuple(_day(rows, zone, number, settled) for number in together.local_days)
        punched = {date_of(zone.local(punch.instant)) for punch in punches} if self._unknown.punches else set()
        return self._unknown.doubts(days, punched)


def _parts(wanted: Mapping[str, Collection[date]]) -> Iterator[list[str]]:
    """Yield people in parts of about :data:`STEP_DAYS` dates."""
    part: list[str] = []
    days = 0
    for person, dates in wanted.items():
        part.append(person)
        days += len(dates)
        if days >= STEP_DAYS:
            yield part
            part, days = [], 0
    yield part


def _left(punch: Punch, decisions: Iterable[Stated], zone: Zone, serial: str | None) -> Iterator[Punch]:
    """Yield a punch; one without a date where no decision says that it does not concern the person."""
    if punch.between is None or punch.between_local is None:
        yield punch
        return
    for left in not_concerned([Doubt(*punch.between, "suspect", punch.terminal)], decisions, zone, serial)[:1]:
        offset = punch.between_local[0] - punch.between[0]
        between = left.start, left.end
        yield replace(punch, between=between, between_local=(left.start + offset, left.end + offset))


def _day(rows: Iterable[StatedRow], zone: Zone, number: int, settled: Iterable[Stated]) -> Day:
    """Return a date, by its number on the zone's clock, with where a person is enrolled."""
    on = date_of(number * DAY_S)
    start, end = zone.instant(number * DAY_S), zone.instant((number + 1) * DAY_S) - 1
    not_concerned_at = {row.record.terminal for row in settled if _holds(row, on, on)}
    return Day(on, start, end, enrolled_on(rows, on, not_concerned_at))


def _site(gateway: str) -> str:
    """Return the site of ``site/gateway``."""
    return gateway.partition("/")[0]


def _holds(row: Stated, first: date, last: date) -> bool:
    """Return whether a row is valid on all of some dates."""
    return row.since <= first and (row.until is None or last <= row.until)


def judge_now(
    connection: Connection,
    policies: OfficePolicies,
    person: str,
    on: date,
    now: int,
    known_at: datetime | None = None,
) -> Judgement | None:
    """Return the verdict on a day without storing it, also as known at a moment; None where it has not begun."""
    facts = Facts(connection, policies, [person], *padded(on, on, WIDE), known_at)
    days = facts.days(person)
    ends = [end for other in days.together(on) or (on,) for end in extent_of(days.on(other), other)]
    facts.load_recorded(min(ends), max(ends))
    return next(facts.judge({person: [on]}, now), None)


def load_rows(registers: Registers, people: Collection[str], first: date, last: date) -> dict[str, list[StatedRow]]:
    """Return the rows by kind that concern people on dates, and what these refer to."""
    rows = registers.rows_of_kinds(PERSONAL, [f"person:{person}" for person in people], first, last)
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
        return punch_of(load_json(held.body), held.stream, held.sequence, held.instant)
    except (ValueError, LookupError, TypeError, AttributeError):
        log.warning("punch_unreadable", stream=held.stream, sequence=held.sequence)
        return None


def _proof(one: Recording) -> Proof | None:
    """Return what a punch proves of its terminal; None where its time rests on no measurement of the clock."""
    try:
        event = load_json(one.body)
        punch = punch_of(event, one.stream, one.sequence, one.instant)
        recorded_at = int(datetime.fromisoformat(event["recordedtime"]).timestamp())
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return None
    if not set(punch.suspect) <= {"drift"} or (punch.suspect and punch.offset_ms is None):
        return None
    bound = (punch.clock or {}).get("bound_ms")
    bound_ms = bound if isinstance(bound, int) else 0
    true_ms = one.instant * 1000 - (punch.offset_ms or 0)
    first, last = (true_ms - bound_ms) // 1000, -((-true_ms - bound_ms) // 1000)
    return Proof(first, last, recorded_at, one.gateway, one.stream, one.sequence)


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


def _next_end(planned: Planned, now: int) -> int | None:
    """Return the second after the next end of a window; None where all have ended."""
    return next((end + 1 for end in planned.ends if end >= now), None)


def padded(first: date, last: date, days: int) -> tuple[date, date]:
    """Return a range of dates, longer by so many days on both sides, as far as the calendar reaches."""
    low, high = date.min.toordinal(), date.max.toordinal()
    return date.fromordinal(max(first.toordinal() - days, low)), date.fromordinal(min(last.toordinal() + days, high))


def extent_of(planned: Planned | str, on: date) -> tuple[int, int]:
    """Return the first and last instant of a date and its windows; of a date without a plan those of UTC's date."""
    if isinstance(planned, Planned):
        return planned.extent
    return midnight(on), midnight(on) + DAY_S - 1
