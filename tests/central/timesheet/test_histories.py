"""Random histories: whatever arrives, in whatever order, with processes that die, the verdicts are those of the facts.

Punches of two gateways of two sites, late and with gaps; decisions on a terminal; registers; between them time passes
and days are judged. In the end the digests are those of another order and of a rebuild, and what was known at each
moment between is still judged as it was then.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from central.policy.office import OfficePolicies
from central.store import Message, marks, ownership, results
from central.store.engine import utc
from central.timesheet.facts import judge_now
from tests.central.sealing import GATEWAY, Source, batch
from tests.central.store.office import POLICIES, Centre

OTHER = "3601-dinkes/gw-02"
"""A gateway of another site."""
DATES = [date(2026, 9, 1) + timedelta(days=number) for number in range(4)]
NIGHT = (
    "timetable,from,slot,kind,due,window from,window until\n"
    "night,2026-01-01,in,in,21:00,19:00,25:00\nnight,2026-01-01,out,out,31:00,29:00,33:00\n"
)


class Fact(NamedTuple):
    """Something that arrives: of punches a gateway's, of registers a row."""

    kind: str
    who: str
    on: date
    what: str


TIMES = st.sampled_from(
    ["00:10:00", "05:30:00", "07:29:00", "07:45:10", "12:31:00", "16:02:00", "20:55:00", "23:50:00"]
)
FACT = st.one_of(
    *(
        st.builds(Fact, st.just(gateway), st.sampled_from(["1001", "1002", "9"]), st.sampled_from(DATES), TIMES)
        for gateway in (GATEWAY, OTHER)
    ),
    st.builds(Fact, st.just("owner"), st.sampled_from([GATEWAY, OTHER, "3602-bkpsdm/gw-09"]), st.sampled_from(DATES),
              st.just("")),
    st.builds(Fact, st.just("rosters"), st.sampled_from("ab"), st.sampled_from(DATES),
              st.sampled_from(["office", "night", "off"])),
    st.builds(Fact, st.just("leave"), st.sampled_from("ab"), st.sampled_from(DATES), st.sampled_from(["", "07:00"])),
    st.builds(Fact, st.just("corrections"), st.sampled_from("ab"), st.sampled_from(DATES), st.just("07:29")),
    st.builds(Fact, st.just("enrolments"), st.sampled_from("ab"), st.sampled_from(DATES), st.just("")),
    st.builds(Fact, st.just("visitor"), st.just("9"), st.sampled_from(DATES), st.just("")),
)  # fmt: skip


def identity(fact: Fact) -> tuple[Any, ...]:
    """Return what only one fact of a history may have: of two statements of one thing the last would count."""
    if fact.kind in (GATEWAY, OTHER):
        return fact
    return (fact.kind, fact.on) if fact.kind == "owner" else fact[:3]


class KilledError(BaseException):
    """The process dies here; what its transaction did is undone."""


@contextmanager
def killed_after(statements: int) -> Iterator[None]:
    """Die before a statement, as a process that is killed does."""
    left = [statements]

    def count(*_arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    event.listen(Engine, "before_cursor_execute", count)
    try:
        with suppress(KilledError):
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", count)


@dataclass
class History:
    """A centre in which facts arrive in one order."""

    centre: Centre
    events: dict[Fact, tuple[str, dict[str, Any]]]
    known: list[tuple[datetime, dict[tuple[str, str], str]]] = field(default_factory=list)
    """Moments at which everything was judged, with the digests of then."""

    def arrive(self, fact: Fact) -> None:
        """Let a fact arrive."""
        centre, (kind, who, on, what) = self.centre, fact
        centre.now += timedelta(seconds=1)
        match kind:
            case "owner":
                self.decide(who, on)
            case "rosters":
                centre.enter("rosters", f"person,{on}\n{who},{what}\n")
            case "leave":
                centre.enter("leave", f"person,kind,from,begin,end\n{who},annual,{on},{what},{what and '16:00'}\n")
            case "corrections":
                centre.enter("corrections", f"person,date,time,by,paper\n{who},{on},{what},Kepala,Contoh 6/2026\n")
            case "enrolments":
                place = "S1," if who == "a" else ",3601-dinkes"
                centre.enter("enrolments", f"pin,terminal,site,person,from,until\n9,{place},{who},{on},{on}\n")
            case "visitor":
                head = "decision,terminal,pin,from,until,by,paper\n"
                centre.enter("decisions", f"{head}visitor,S1,{who},{on},{on},Kepala,Contoh 10/2026\n")
            case _:
                self.receive(*self.events[fact])

    def receive(self, gateway: str, recorded: dict[str, Any]) -> None:
        """Store an event of a gateway as the inbox does."""
        assert self.centre.store.ingest([Message(f"{gateway}/batch", batch(recorded))]).rejected == 0

    def decide(self, gateway: str, since: date) -> None:
        """Decide whose the terminal is."""
        entered = utc(self.centre.now)
        with self.centre.database.writing() as connection:
            changed = ownership.assign(connection, "S1", gateway, since.isoformat(), "Kepala", "SK", entered)
            marks.mark_assigned(connection, "S1", since, changed, entered)

    def judge(self, moment: datetime, random: Random) -> None:
        """Judge all that waits at a moment, by processes that die at some statement, and by one that ends."""
        self.centre.now = max(moment, self.centre.now + timedelta(seconds=1))
        for _ in range(random.randrange(3)):
            with killed_after(random.randrange(40)):
                self.centre.worker(person_days=random.choice([1, 5, 1000])).run()
        self.centre.recompute.run()
        self.known.append((self.centre.now, self.centre.digests()))


def recorded(facts: list[Fact]) -> dict[Fact, tuple[str, dict[str, Any]]]:
    """Return the events of punches with their gateways, each gateway's in a stream of its own, by their time."""
    sources = {GATEWAY: Source(), OTHER: Source("theirs", OTHER)}
    recorder = Centre.__new__(Centre)
    found = {}
    for fact in sorted(fact for fact in facts if fact.kind in sources):
        recorder.source = sources[fact.kind]
        state = 0 if fact.kind == GATEWAY else 1
        (one,) = recorder.punches(fact.who, f"{fact.on} {fact.what}", state=state)
        found[fact] = fact.kind, one
    return found


@settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(facts=st.lists(FACT, max_size=14, unique_by=identity), seed=st.integers(0, 10_000))
def test_verdicts_are_those_of_the_facts(
    tmp_path_factory: pytest.TempPathFactory, facts: list[Fact], seed: int
) -> None:
    """In two orders, after a rebuild, and as known at every moment at which all was judged."""
    first = Fact(GATEWAY, "8", date(2026, 8, 30), "07:00:00")  # decides whose the terminal is
    events = recorded([first, *facts])
    finals = []
    for number, order in enumerate((facts, Random(seed).sample(facts, len(facts)))):
        centre = Centre(tmp_path_factory.mktemp("history"), datetime(2026, 8, 30, 20, tzinfo=UTC))
        try:
            finals.append(_lived(History(centre, events), [first, *order], Random(seed + number)))
        finally:
            centre.close()

    assert finals[0] == finals[1]


def _lived(history: History, facts: list[Fact], random: Random) -> dict[tuple[str, str], str]:
    """Let facts arrive while time passes; return the digests, which a rebuild and every earlier moment confirm."""
    centre = history.centre
    centre.enter_office()
    centre.enter("timetables", NIGHT)
    moment = datetime(2026, 8, 31, 1, tzinfo=UTC)
    for fact in facts:
        history.arrive(fact)
        if random.random() < 0.4:
            moment += timedelta(hours=random.randrange(1, 30))
            history.judge(moment, random)
    history.judge(max(moment, datetime(2026, 9, 8, 5, tzinfo=UTC)), random)
    digests = centre.digests()
    for then, known in history.known:
        assert _judged_then(centre, then) == known
    since = centre.recompute.rebuild()
    centre.recompute.run()
    with centre.database.reading() as connection:
        assert results.rebuilt(connection, since)[1] == 0
        assert marks.numbers(connection) == (0, 0)
    assert centre.digests() == digests
    return digests


def _judged_then(centre: Centre, moment: datetime) -> dict[tuple[str, str], str]:
    """Return the digests of all days as known at a moment."""
    policies, now = OfficePolicies(POLICIES), int(moment.timestamp())
    found = {}
    with centre.database.reading() as connection:
        for person, on in centre.digests():
            judged = judge_now(connection, policies, person, date.fromisoformat(on), now, moment)
            if judged is not None and judged.result is not None:
                found[person, on] = judged.inputs
    return found
