"""Judging again what has changed: from marks to rows and punches, to verdicts, to revisions where the inputs differ.

Marks are taken in batches. A batch is one transaction: facts are read, days judged, revisions added and the marks
deleted together, so that a kill at any moment loses nothing and repeats nothing; any number of processes may do it.

On a server batches run beside each other. Each sees one moment of the database, at which every mark that it takes has
its fact, and locks its marks and their people (:mod:`central.store.marks`): what another process judges it leaves
waiting. A batch that meets what another transaction has stored since its moment is undone, and done again alone.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection

from central.collector import paused_collector
from central.json_text import load_json
from central.policy.office import OfficePolicies
from central.registers.statements import pin_key
from central.store import contact, marks, offline, outcome_proof, recorded, results, retention, tails
from central.store.bulk import let_compute
from central.store.engine import Database, StoreConflict, StoreError, StoreStalled, encode, utc
from central.store.marks import Marked
from central.store.portable import is_postgresql
from central.store.recorded import Unattributed
from central.store.registers import Registers
from central.store.results import Last, Revision
from central.timesheet.affected import REACH, Mark, Reading, place_key, place_of, read_of
from central.timesheet.attribution import Enrolments, Reader
from central.timesheet.clock import DAY_S, midnight, zone_named
from central.timesheet.facts import WIDE, Facts, Judgement, extent_of, judge_now, padded
from central.timesheet.model import ENGINE
from central.timesheet.outcome import Outcome, Outcomes
from central.timesheet.stored import differences
from central.timesheet.wanted import SPAN_DAYS, Wanted, add_dates, alike, dates_of, expand_all, touched

MARKS = 4_000
"""Marks of a batch, at most."""
PERSON_DAYS = 4_000
"""Person-days of a batch, about; a single mark of one person may have more."""
SPREAD = 2
"""Batches in a row that only spread marks of shared subjects: a timetable leads to units, and these to people."""
OTHERS_S = 0.05
"""Pause before marks are looked at again that another process has taken."""
MAX_CAUSES = 20
"""Causes that a revision names."""

log = structlog.get_logger("recompute")


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
        self._looked = 0
        """Up to which mark those of shared subjects were looked for."""
        self._spread = 0
        """Batches in a row that only spread such marks."""
        self.written = 0
        """Revisions written so far."""
        self.judged = 0
        """Person-days judged so far."""

    def run(self) -> int:
        """Do all that is to do now, or wait until others have; return how many revisions were written here."""
        before = self.written
        self.begin()
        self.advance()
        self.finish()
        return self.written - before

    def finish(self, pause_s: float = 0.0) -> None:
        """Judge until no mark waits, and what other processes have taken is judged; pause after each batch."""
        while True:
            while self.batch():
                time.sleep(pause_s)
            with self._database.reading() as connection:
                if not marks.numbers(connection)[0]:
                    return
            time.sleep(OTHERS_S)

    def begin(self) -> None:
        """Mark what another version of the judgement, or another text of a policy, may have changed."""
        with self._database.writing() as connection:
            entered = utc(self._now())
            known = marks.judged_by(connection)
            engine = known.get("engine")
            if engine != str(ENGINE):
                marks.set_judged_by(connection, "engine", str(ENGINE), entered)
                if engine is not None:
                    cause = {"kind": "engine", "from": int(engine), "to": ENGINE}
                    marks.mark(connection, [Mark("scope:all", date.min, date.max)], cause, entered)
            for name in marks.policies(connection):
                digest, before = self._policies.digest(name) or "none", known.get(f"policy:{name}")
                if digest == before:
                    continue
                marks.set_judged_by(connection, f"policy:{name}", digest, entered)
                if before is not None:
                    mark = Mark(f"policy:{name}", date.min, date.max)
                    marks.mark(connection, [mark], {"kind": "policy", "policy": name}, entered)

    def rebuild(self) -> str:
        """Mark everything to be judged again from facts alone; return the moment, for :func:`results.rebuilt`.

        Marks that wait go before: what they bring is no difference between the stored verdicts and the facts.
        """
        now = self._now()
        with self._database.writing() as connection:
            entered = utc(now)
            marks.fall_due(connection, int(now.timestamp()), entered)
            marks.drop_failed(connection)
            let_compute(connection)  # about 10 µs for each PIN and date: minutes for the years of a large office
            recorded.replace_unattributed(connection, _unattributed(connection))
            marks.mark(connection, [Mark("scope:all", date.min, date.max)], marks.REBUILD, entered)
        return entered

    def differing(self, sample: int, random: Random) -> list[tuple[str, date]]:
        """Judge a random sample of stored days again, and return those that are not what is stored: digest or outcome.

        Days that a mark waits for are left out; nothing is stored.
        """
        now = self._now()
        with self._database.reading() as connection:
            if (
                marks.numbers(connection)[0]
                or contact.undecided(connection)
                or (marks.next_due(connection) or now.timestamp()) < now.timestamp()
            ):
                return []
            found, settled = [], retention.settled_until(connection)
            for person, on in results.sample(connection, sample, random):
                if settled is not None and on <= settled:
                    continue
                stored = results.last_revisions(connection, [person], on, on)[person, on]
                judged = judge_now(connection, self._policies, person, on, int(now.timestamp()))
                drifted = judged is not None and judged.inputs != stored.inputs
                if drifted or not outcome_proof.is_right(connection, person, on, stored.revision):
                    found.append((person, on))
            return found

    def advance(self) -> int:
        """Mark what time has changed: days that have begun, windows that have ended; return how many marks."""
        now = self._now()
        with self._database.writing() as connection:
            marks.mark_tails(connection, tails.miss(connection, now), utc(now))
            contact.lapse(connection, now)
            episodes = [*offline.advance(connection, now), *contact.advance(connection, now)]
            marks.mark_offline(connection, episodes, utc(now))
        with self._database.writing(alone=False) as connection:
            return marks.fall_due(connection, int(now.timestamp()), utc(now))

    def batch(self) -> int:
        """Judge what some marks name; return how many were handled, 0 where none waits that no other process has."""
        with paused_collector():
            return self._try(self._take)

    def _try(self, take: Callable[[Connection], list[Marked]], *, alone: bool = False) -> int:
        """Judge what marks name that ``take`` locks; return how many were handled."""
        taken: list[Marked] = []
        done = _Batch()
        try:
            try:
                with self._database.writing(alone=alone, moment=not alone) as connection:
                    taken = take(connection)
                    done = self._handle(connection, taken, alone=alone or not is_postgresql(connection))
            except StoreConflict as conflict:
                if isinstance(conflict, StoreStalled):
                    log.warning("process_stood_still", reason=str(conflict))
                if alone:
                    raise
                with self._database.writing() as connection:
                    taken = take(connection)
                    done = self._handle(connection, taken, alone=True)
        except Exception as exc:
            if not taken or (isinstance(exc, StoreError) and not self._database.refused(exc)):
                raise
            self._one_by_one(taken, exc)  # one mark costs itself
            return len(taken)
        if done.left:
            done.marks += self._try(partial(marks.lock_again, numbers=done.left), alone=True)
        self.judged += done.judged
        self.written += len(done.revisions)
        return done.marks

    def _take(self, connection: Connection) -> list[Marked]:
        """Lock the marks of a batch: the first ones that wait, and the others that name the same dates of their people.

        Marks of shared subjects go before, in batches of their own: what they stand for waits then beside what else
        names the same people, and is judged once. Any other order is right, too.
        """
        limit = min(MARKS, self._person_days)
        shared, self._looked = marks.shared_behind(connection, self._looked, limit)
        if len(shared) == limit or (shared and self._spread < SPREAD):
            self._spread += 1
            return shared
        self._spread = 0
        taken, days = [], 0
        horizon = self._now().date() + timedelta(days=1)
        policies = marks.first_policy(connection) or horizon  # no day before that is judged
        found = marks.waiting(connection, limit, lock=True)
        for mark in found:
            taken.append(mark)
            days += max(1, min((min(mark.last, horizon) - max(mark.first, policies)).days + 1, SPAN_DAYS))
            if days >= self._person_days:
                break
        if len(taken) == limit or len(taken) < len(found):  # else all that waits is taken
            taken += marks.beside(connection, taken, policies, horizon)
        return sorted({mark.id: mark for mark in (*shared, *taken)}.values())

    def _one_by_one(self, taken: list[Marked], exc: Exception) -> None:
        """Handle marks alone, and set aside those that cannot be handled."""
        if len(taken) > 1:
            for mark in taken:
                self._try(partial(marks.lock_again, numbers=[mark.id]))
        else:
            self._set_aside(taken[0], exc)

    def _set_aside(self, mark: Marked, exc: Exception) -> None:
        if isinstance(exc, StoreError) and isinstance(exc.__cause__, Exception):
            exc = exc.__cause__
        frame = traceback.extract_tb(exc.__traceback__)[-1]
        place = f"{type(exc).__name__} in {Path(frame.filename).name}:{frame.lineno}"
        with self._database.writing() as connection:
            marks.set_aside(connection, mark.id, place)
        log.error("judging_failed", mark=mark.id, first=mark.first.isoformat(), failure=place)

    def _handle(self, connection: Connection, taken: list[Marked], *, alone: bool) -> "_Batch":
        """Judge what marks name, but those of people whom another process judges; they wait on.

        So do those of places, unless the transaction is ``alone``, see :func:`expand_all`.
        """
        now = self._now()
        done = _Batch()
        simple, readings, shared = [], [], []
        for mark in taken:
            if mark.subject.startswith("person:"):
                simple.append(mark)
            elif read_of(mark.subject) is not None:
                readings.append(mark)
            elif place_of(mark.subject) is not None and not alone:
                done.left.append(mark.id)
            else:
                shared.append(mark)
        expand_all(connection, shared)
        wanted = Wanted()
        read = _read(connection, readings)
        people = {mark.subject.removeprefix("person:") for mark in simple}
        people |= {one.person for one in read if one.person is not None}
        free = marks.lock_people(connection, people)
        simple = [mark for mark in simple if mark.subject.removeprefix("person:") in free]
        left = {mark.id for mark in taken if mark.subject.startswith("person:")} - {mark.id for mark in simple}
        left |= {one.mark.id for one in read if one.person is not None and one.person not in free}
        left.update(done.left)
        self._attribute(connection, [one for one in read if one.mark.id not in left], wanted, now)
        add_dates(connection, wanted, simple, now.date() + timedelta(days=1))
        wanted.leave_out(retention.settled_until(connection))
        if wanted.future:
            marks.set_due(connection, {(person, on): midnight(on) - DAY_S for person, on in wanted.future})
        for part in wanted.apart():
            for near in alike(part.dates):
                self._judge(connection, near, part, now, done)
        handled = [mark.id for mark in taken if mark.id not in left]
        marks.unmark(connection, handled)
        done.marks = len(handled)
        results.add(
            connection, done.revisions, done.outcomes
        )  # last: others wait for their turn from here to the commit
        return done

    def _attribute(self, connection: Connection, read: list["_Read"], wanted: Wanted, now: datetime) -> None:
        """Add the dates of punches that marks name; those without a person are a doubt of the people of the site."""
        if not read:
            return
        unknown, known = set(), set()
        clocks: dict[Unattributed, set[int]] = {}
        for mark, one, on, person in read:
            use = Unattributed(one.site, on.isoformat(), one.serial, one.pin)
            clocks.setdefault(use, set()).add(one.offset_s)
            if person is None:
                unknown.add(use)
            else:
                known.add(use)
                wanted.add(person, on, mark.cause)
                wanted.offsets.setdefault((person, on), set()).add(one.offset_s)
        ended = recorded.set_unattributed(connection, unknown, known)
        if not unknown and not ended:
            return
        offsets = _offsets_of_units(connection, {date.fromisoformat(use.date) for use in unknown | ended})
        marks_of_sites = []
        for use in unknown | ended:
            on = date.fromisoformat(use.date)
            alike = clocks[use] == offsets[on]  # else it lies on a neighbour in the zone of some people
            marks_of_sites.append(Mark(place_key("site", use.site), *padded(on, on, 0 if alike else 1)))
        marks.mark(connection, marks_of_sites, {"kind": "unattributed"}, utc(now))

    def _put_on_record(self, connection: Connection, names: set[str], entered: str) -> None:
        """Put on record by which text of a policy was judged, where that is not known yet: another one marks days."""
        known = marks.judged_by(connection) if names else {}
        for name in sorted(names):
            if f"policy:{name}" not in known:
                marks.set_judged_by(connection, f"policy:{name}", self._policies.digest(name) or "none", entered)

    def _judge(self, connection: Connection, people: list[str], wanted: Wanted, now: datetime, done: "_Batch") -> None:
        """Judge dates of people that lie near each other; ``done`` has what has changed afterwards."""
        dates = [on for person in people for on in wanted.dates[person]]
        first, last = min(dates), max(dates)
        facts = Facts(connection, self._policies, people, *padded(first, last, REACH))
        reaching = [
            person
            for person in people
            if not facts.days(person).alone(min(wanted.dates[person]), max(wanted.dates[person]))
        ]
        alone = [person for person in people if person not in set(reaching)] if reaching else people
        if alone:
            self._judge_with(connection, facts, alone, wanted, now, done)
        if reaching:
            facts = Facts(connection, self._policies, reaching, *padded(first, last, WIDE))
            self._judge_with(connection, facts, reaching, wanted, now, done)

    def _judge_with(
        self, connection: Connection, facts: Facts, people: list[str], wanted: Wanted, now: datetime, done: "_Batch"
    ) -> None:
        instant = int(now.timestamp())
        near = {person: touched(facts.days(person), person, wanted) for person in people}
        near = {person: dates for person, found in near.items() if (dates := wanted.unsettled(found))}
        people = list(near)
        if not people:
            return
        every = {on for dates in near.values() for on in dates}
        together = {(facts.days(person), on) for person, dates in near.items() for on in dates}  # many share their days
        ends = [
            end
            for days, on in together
            for other in days.together(on) or (on,)
            for end in extent_of(days.on(other), other)
        ]
        facts.load_recorded(min(ends), max(ends))
        before = results.last_revisions(connection, people, min(every), max(every))
        entered = utc(now)
        revisions: list[Revision] = []
        due: dict[tuple[str, date], int | None] = {}
        awaited: dict[tuple[str, date], bool] = {}
        names: set[str] = set()
        outcomes = Outcomes()
        # Of each verdict only what is stored is kept, and only of new ones: all at once would fill much memory.
        for one in facts.judge({person: sorted(near[person]) for person in people}, instant):
            day = one.person, one.date
            due[day], awaited[day] = one.due, one.awaits
            if one.policy is not None:
                names.add(one.policy)
            last = before.get(day)
            if _differs(one, last):
                content, outcome = one.stored(outcomes)
                revisions.append(_revision(one, last, content, near[one.person][one.date], entered))
                done.outcomes.append(outcome)
        done.revisions += _with_changes(connection, revisions, before)
        self._put_on_record(connection, names, entered)
        marks.set_due(connection, _due(facts, due, near, instant))
        marks.set_awaited(connection, awaited)
        done.judged += len(due)


@dataclass(slots=True)
class _Batch:
    """What a batch has come to."""

    marks: int = 0
    """Marks that were handled."""
    judged: int = 0
    """Person-days."""
    revisions: list[Revision] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """What each of them comes to."""
    left: list[int] = field(default_factory=list)
    """Marks (id) that a transaction alone has to handle."""


class _Read(NamedTuple):
    """A date on which a mark names punches of a PIN, and whose that is."""

    mark: Marked
    reading: Reading
    on: date
    person: str | None


def _read(connection: Connection, taken: list[Marked]) -> list[_Read]:
    """Find whose the punches are that marks name."""
    readings = [(mark, reading) for mark in taken if (reading := read_of(mark.subject)) is not None]
    keys = {
        key for _, one in readings for key in (pin_key(one.pin, one.serial, None), pin_key(one.pin, None, one.site))
    }
    if not keys:
        return []
    enrolments = Enrolments(Registers(connection).rows("enrolments", sorted(keys), by="other"))
    return [
        _Read(mark, one, on, enrolments.person(Reader(one.serial, one.site), one.pin, on))
        for mark, one in readings
        for on in dates_of(mark)
    ]


def _unattributed(connection: Connection) -> set[Unattributed]:
    """Return the PINs that belonged to no person when they were read, of all punches."""
    used = recorded.uses(connection)
    keys = {key for use in used for key in (pin_key(use.pin, use.serial, None), pin_key(use.pin, None, use.site))}
    enrolments = Enrolments(Registers(connection).rows("enrolments", sorted(keys), by="other"))
    return {
        Unattributed(use.site, use.date, use.serial, use.pin)
        for use in used
        if enrolments.person(Reader(use.serial, use.site), use.pin, date.fromisoformat(use.date)) is None
    }


def _offsets_of_units(connection: Connection, dates: set[date]) -> dict[date, set[int]]:
    """Return by how many seconds the clocks of units are before UTC on dates."""
    zones = {row.record.zone for row in Registers(connection).rows("units") if row.record.zone is not None}
    return {on: {midnight(on) - zone_named(zone).instant(midnight(on)) for zone in zones} for on in dates}


def _differs(one: Judgement, before: Last | None) -> bool:
    if before is None:
        return one.result is not None
    moved = one.result is not None and before.unit != one.unit  # no input of the verdict, but of where it is counted
    return moved or (before.inputs, before.status) != (one.inputs, one.status)


def _revision(one: Judgement, before: Last | None, content: str, causes: list[str], entered: str) -> Revision:
    """Return what is stored of a verdict, without what differs from the revision before."""
    return Revision(
        person=one.person,
        date=one.date,
        revision=1 if before is None else before.revision + 1,
        status=one.status,
        unit=one.unit,
        policy=one.policy,
        inputs=one.inputs,
        engine=ENGINE,
        content=content,
        changed="{}",
        cause="[" + ",".join(causes[:MAX_CAUSES]) + "]",
        entered=entered,
    )


def _with_changes(
    connection: Connection, revisions: list[Revision], before: Mapping[tuple[str, date], Last]
) -> list[Revision]:
    """Return revisions, each with what differs from the one before."""
    later = [(one.person, one.date, one.revision - 1) for one in revisions if one.revision > 1]
    texts = results.contents(connection, later)
    found = []
    for one in revisions:
        day = one.person, one.date
        last = before.get(day)
        found.append(one if last is None else one._replace(changed=encode(_changed(one, last, texts.get(day)))))
    return found


def _changed(one: Revision, before: Last, text: str | None) -> dict[str, Any]:
    """Return what differs from the revision before; ``text`` is its content."""
    changed = {} if text is None else differences(load_json(text), load_json(one.content))
    if text is not None and before.status != one.status and "status" not in changed.get("fields", ()):
        changed.setdefault("fields", []).insert(0, "status")
    if text is not None and before.unit != one.unit:
        changed["unit"] = [before.unit, one.unit]
    if before.engine != ENGINE:
        changed["engine"] = [before.engine, ENGINE]
    if text is not None and not changed:
        changed["inputs"] = True  # what lies in its windows and has no effect; the cause says what it is
    return changed


def _due(
    facts: Facts,
    judged: Mapping[tuple[str, date], int | None],
    touched: Mapping[str, Mapping[date, Any]],
    now: int,
) -> dict[tuple[str, date], int | None]:
    """Return when time next changes what was judged: windows end, and the next day begins."""
    due: dict[tuple[str, date], int | None] = {(person, on): None for person, dates in touched.items() for on in dates}
    due |= judged
    for person, dates in touched.items():
        days = facts.days(person)
        for on in dates:
            begin = days.begin(on)
            if begin is not None and begin > now:
                due[person, on] = begin
            following = days.next_begin(on)
            if following is not None and following[1] > now:
                due[person, following[0]] = following[1]
    return due
