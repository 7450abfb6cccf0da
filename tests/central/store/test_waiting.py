"""Whether the one statement that shows what waits leaves out nothing that the statements of its subjects would find."""

import tempfile
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from central.store import Message
from central.store.contact import AWAY
from central.store.marks import AFFECTED
from central.store.tails import TAIL
from central.store.terminals import INCIDENT, WATERMARK
from central.store.waiting import Waiting
from tests.central.sealing import sealed
from tests.central.timesheet.test_doubt_histories import DAY, Arrival, History, moment, text

EVERYTHING = Waiting(*(True for _ in Waiting._fields))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32))
def test_a_batch_stores_the_same_as_if_everything_waited(seed: int) -> None:
    """Incidents, ends of streams, watermarks, absent gateways and marks, of batches in any order."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        found = stored(Path(one), seed)
        with patch("central.store.batch.find_waiting", return_value=EVERYTHING):
            assert found == stored(Path(two), seed)


def stored(folder: Path, seed: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows that a random history leaves."""
    random, history = Random(seed), History(folder, seed)
    centre = history.centre
    for minute in random.sample(range(5 * 60, 21 * 60), 4):
        add_undated(history, minute)
        add_unconfirmed(history, minute)
    arrivals = batches(history, random)
    for number, arrive in enumerate(arrivals):
        centre.now = DAY.replace(hour=22) + number * (moment(history.events[-1]) - DAY) / len(arrivals)
        if random.random() < 0.2:
            centre.store.begin_contact()
            centre.store.lose_contact()
            centre.store.begin_contact()
        arrive()
        if random.random() < 0.2:
            centre.store.ingest([Message(f"{centre.source.gateway}/info", centre.source.info())])
    with centre.database.reading() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in (INCIDENT, WATERMARK, TAIL, AWAY, AFFECTED)
        }
    centre.close()
    return found


def add_undated(history: History, minute: int) -> None:
    """Record a punch of a clock that was reset."""
    source = history.centre.source
    history.centre.punches("1001", f"2000-01-01 {minute // 60:02d}:{minute % 60:02d}:00", suspect=["reset"])
    recorded = text(DAY.replace(hour=minute // 60, minute=minute % 60))
    source.events.append(sealed(source.events.pop() | {"recordedtime": recorded}, source.end))
    history.events.append(source.events[-1])


def add_unconfirmed(history: History, minute: int) -> None:
    """Record a live event without a record, and its punch behind it."""
    centre = history.centre
    [punch] = centre.punches("1002", f"2026-09-01 {minute // 60:02d}:{minute % 60:02d}:30")
    note = centre.note("hadir.punch.unconfirmed.v1", "lobby", serial="S1", punch=punch["id"])
    history.events += [note, punch]


def batches(history: History, random: Random) -> list[Arrival]:
    """Return the arrivals of events in any order, a few together, and of the states of terminals in theirs."""
    rest = history.events.copy()
    random.shuffle(rest)
    arrivals: list[Arrival] = []
    while rest:
        size = random.randint(1, 5)
        arrivals.append(partial(history.centre.receive, *rest[:size]))
        del rest[:size]
    places = sorted(random.randint(0, len(arrivals)) for _ in history.states)
    for number, (place, state) in enumerate(zip(places, history.states, strict=True)):
        arrivals.insert(place + number, state)
    return arrivals
