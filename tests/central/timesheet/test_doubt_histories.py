"""Random histories of outages, watermarks, gaps and punches in a real database."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from central.store import Message
from tests.central.store.office import Centre

DAY = datetime(2026, 8, 31, 17, tzinfo=UTC)
"""Midnight of 1 September 2026 in Jakarta."""
EVENING = DAY + timedelta(hours=30)
"""On the morning of the next day, when everything has arrived."""
Arrival = Callable[[], None]


class History:
    """One day of a centre, made of a seed: what its gateway sends, in its order."""

    def __init__(self, folder: Path, seed: int, *, doubtful: bool = True) -> None:
        """``doubtful``: with outages, records that are no punches, and a log whose reading is stated."""
        self.centre = Centre(folder, DAY - timedelta(hours=2))
        self.centre.enter_office()
        info = Message(f"{self.centre.source.gateway}/info", self.centre.source.info())
        self.centre.store.ingest([info])  # a gateway names its stream first
        self.random = Random(seed)
        self.events: list[dict[str, Any]] = []
        self.states: list[Arrival] = []
        self.stated: list[datetime] = []
        """When."""
        minutes = sorted(self.random.sample(range(5 * 60, 21 * 60), 14))
        for minute in minutes:
            self._happen(minute, doubtful=doubtful)
        self.centre.now = EVENING

    def _happen(self, minute: int, *, doubtful: bool) -> None:
        """Add what happens at a minute; without doubts only the punches of the same history."""
        random, centre = self.random, self.centre
        what, other = random.randrange(8), random.randrange(1, 240)
        pin, terminal = random.choice(["1001", "1002"]), random.choice([("lobby", "S1"), ("gate", "S2")])
        at, since = DAY + timedelta(minutes=minute), DAY + timedelta(minutes=max(0, minute - other))
        centre.now = at
        if what < 3:
            local = (at + timedelta(hours=7)).strftime("%Y-%m-%d %H:%M:00")
            self.events += centre.punches(pin, local, terminal=terminal[0], serial=terminal[1])
        elif not doubtful:
            return
        elif what == 3:
            begin = {"serial": terminal[1], "from": text(since), "cause": "unavailable"}
            self.events.append(centre.note("hadir.terminal.lost.v1", terminal[0], reason="x", **begin))
            if other % 2:
                self.events.append(centre.note("hadir.terminal.found.v1", terminal[0], to=text(at), **begin))
        elif what == 4:
            alive = {"last_alive": text(since), "resumed": text(at), "clean": False}
            self.events.append(centre.note("hadir.gateway.resumed.v1", None, **alive))
        elif what == 5:
            record = {"serial": terminal[1], "raw": "00", "size": 1, "sha256": f"{minute:064d}", "occurrence": 1}
            self.events.append(centre.note("hadir.record.quarantined.v1", terminal[0], **record))
        else:
            until, sequence = (at + timedelta(hours=7)).strftime("%Y-%m-%d %H:%M"), len(centre.source.events)
            self.stated.append(at)
            self.states.append(lambda: centre.state("gate", "S2", until, sequence))

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Return the last verdicts on the day."""
        return {person: self.centre.day(person, "2026-09-01") for person in ("a", "b")}


def text(moment: datetime) -> str:
    """Return a moment as the contract writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def moment(event: dict[str, Any]) -> datetime:
    """Return when an event was recorded."""
    return datetime.fromisoformat(event["recordedtime"])


def receive(history: History, event: dict[str, Any]) -> Arrival:
    """Return the arrival of an event."""
    return lambda: history.centre.receive(event)


def shuffled(history: History, random: Random) -> list[Arrival]:
    """Return all arrivals in any order; states of a terminal keep theirs, as one publisher's messages do."""
    arrivals = [receive(history, event) for event in history.events]
    random.shuffle(arrivals)
    last = -1
    for state in history.states:
        last = random.randint(last + 1, len(arrivals))
        arrivals.insert(last, state)
    return arrivals


@settings(max_examples=12)
@given(st.integers(0, 2**32))
def test_the_order_of_arrival_decides_nothing_and_a_rebuild_changes_nothing(seed: int) -> None:
    """Judged between arrivals or not; marks made by each cause leave no verdict behind."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = History(Path(one), seed), History(Path(two), seed)
        for arrive in [receive(first, event) for event in first.events] + first.states:
            arrive()
        first.centre.recompute.run()
        for arrive in shuffled(second, random):
            arrive()
            if random.random() < 0.4:
                second.centre.recompute.run()
        second.centre.recompute.run()
        try:
            for person, found in first.verdicts().items():
                assert second.verdicts()[person]["reasons"] == found["reasons"]
            assert second.verdicts() == first.verdicts()
            assert second.centre.digests() == first.centre.digests()
            for history in (first, second):
                before = history.centre.digests()
                history.centre.recompute.rebuild()
                assert history.centre.recompute.run() == 0
                assert history.centre.digests() == before
        finally:
            first.centre.close()
            second.centre.close()


@settings(max_examples=12)
@given(st.integers(0, 2**32))
def test_a_day_judged_while_it_happens_ends_as_one_judged_afterwards(seed: int) -> None:
    """Some events come hours late; whatever a watermark, a closed gap or the clock settles, a mark brings about."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = History(Path(one), seed), History(Path(two), seed)
        for arrive in [receive(first, event) for event in first.events] + first.states:
            arrive()
        first.centre.recompute.run()
        timeline = [
            (moment(event) + timedelta(minutes=random.choice([0, 0, 0, 90, 400])), receive(second, event))
            for event in second.events
        ]
        timeline += zip(second.stated, second.states, strict=True)
        for at, arrive in sorted(timeline, key=lambda item: item[0]):
            second.centre.now = at + timedelta(seconds=30)
            arrive()
            if random.random() < 0.7:
                second.centre.recompute.run()
        second.centre.now = EVENING
        second.centre.recompute.run()
        try:
            for person, found in first.verdicts().items():
                assert second.verdicts()[person]["reasons"] == found["reasons"]
            assert second.centre.digests() == first.centre.digests()
        finally:
            first.centre.close()
            second.centre.close()


@settings(max_examples=12)
@given(st.integers(0, 2**32))
def test_a_doubt_never_worsens_a_verdict(seed: int) -> None:
    """What is good without doubts stays final, no minute changes, and nothing costs more."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        sure, doubtful = History(Path(one), seed, doubtful=False), History(Path(two), seed)
        for history in (sure, doubtful):
            for arrive in [receive(history, event) for event in history.events] + history.states:
                arrive()
            history.centre.recompute.run()
        try:
            for person, found in doubtful.verdicts().items():
                without = sure.verdicts()[person]
                assert found["cut"] <= without["cut"]
                assert not found["absent"] or without["absent"]
                for slot, other in zip(found["slots"], without["slots"], strict=True):
                    assert (slot["minutes"], slot["missing"]) == (other["minutes"], other["missing"]) or other[
                        "missing"
                    ]
                    if not other["missing"] and not other["minutes"]:
                        assert slot["status"] == "final"
        finally:
            sure.centre.close()
            doubtful.centre.close()
