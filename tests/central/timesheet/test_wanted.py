"""Whom a mark of a place concerns: each person once and none left out, however many terminals of a site bring it."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from central.store import Message, marks
from central.timesheet.affected import Mark
from central.timesheet.wanted import expand_all
from tests.central.store.office import Centre

BOTH_STORES = True
PEOPLE = [f"p{number}" for number in range(8)]
TERMINALS = [(f"pintu-{number}", f"S-{number}") for number in range(5)]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with ten people at one site, judged on the evening of Tuesday, 1 September 2026."""
    found = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    found.enter_office()
    rows = [f"{key},Contoh {key},pns,dinas,2026-08-24\n" for key in PEOPLE]
    found.enter("people", "key,name,employment,unit,from\n" + "".join(rows))
    rows = [f"{2000 + number},3602-bkpsdm,{key},2026-01-01\n" for number, key in enumerate(PEOPLE)]
    found.enter("enrolments", "pin,site,person,from\n" + "".join(rows))
    found.at("2026-09-01 21:00")
    yield found
    found.close()


def expanded(centre: Centre) -> list[tuple[Any, ...]]:
    """Replace the marks of places that wait; return those of people, with what is alike in them."""
    with centre.database.writing() as connection:
        shared = [one for one in marks.waiting(connection, 100) if not one.subject.startswith("person:")]
        expand_all(connection, shared)
        marks.unmark(connection, [one.id for one in shared])
        columns = (marks.AFFECTED.c[name] for name in ("subject", "first", "last", "cause"))
        return [tuple(row) for row in connection.execute(select(*columns).order_by(marks.AFFECTED.c.id))]


def name_terminals(centre: Centre, *terminals: tuple[str, str]) -> None:
    """Let the gateway name terminals, all in one batch of messages."""
    topic, body = f"{centre.source.gateway}/terminal", {"state": "online", "records": 1, "complete": None}
    messages = [
        Message(f"{topic}/{name}/state", json.dumps(body | {"serial": serial}).encode()) for name, serial in terminals
    ]
    assert centre.store.ingest(messages).rejected == 0


def test_terminals_of_a_site_mark_each_person_once(centre: Centre) -> None:
    """Five new ones, and one more while those whom they mark still wait to be judged."""
    name_terminals(centre, *TERMINALS)
    found = expanded(centre)
    assert len({subject for subject, *_ in found}) == len(PEOPLE) + 2
    assert len(found) == len(PEOPLE) + 2

    name_terminals(centre, ("pintu-9", "S-9"))
    assert expanded(centre) == found
    centre.recompute.run()

    name_terminals(centre, ("pintu-10", "S-10"))
    assert len(expanded(centre)) == len(found), "they were judged meanwhile"


def test_logs_that_are_read_on_mark_each_waiting_day_once(centre: Centre) -> None:
    """Each terminal's state says so; the days are those of all ten."""
    name_terminals(centre, *TERMINALS)
    centre.receive(*centre.punches("2000", "2026-09-01 07:20:00"))
    centre.recompute.run()
    with centre.database.reading() as connection:
        awaited = {tuple(row) for row in connection.execute(select(marks.AWAITED))}
    assert len({person for person, _ in awaited}) == len(PEOPLE) + 2

    for name, serial in TERMINALS:
        centre.state(name, serial, "2026-09-01 20:30", 1)
    found = expanded(centre)

    assert sorted((subject.removeprefix("person:"), first) for subject, first, *_ in found) == sorted(awaited)


def test_a_site_whose_code_ends_as_the_key_of_a_person_hides_no_waiting_day(centre: Centre) -> None:
    """Of marks of one cause, those of people alone show that a day is marked; this person is of another site."""
    key, on = "02-bkpsdm", date(2026, 9, 1)
    centre.enter("people", f"key,name,employment,unit,from\n{key},Contoh,pns,dinas,2026-08-24\n")
    centre.enter("enrolments", f"pin,terminal,person,from\n9000,S-99,{key},2026-01-01\n")
    centre.recompute.run()
    with centre.database.writing() as connection:
        marks.set_awaited(connection, {(key, on): True})
        places = [Mark("site:3602-bkpsdm", on, on), Mark("awaited:S-99", on, on)]
        marks.mark(connection, places, {"kind": "ownership"}, "")
    assert (f"person:{key}", "2026-09-01") in {(subject, first) for subject, first, *_ in expanded(centre)}


def test_a_serial_number_with_a_blank_concerns_its_people(centre: Centre) -> None:
    """As some terminals have them; behind a blank of a mark a PIN may stand."""
    name_terminals(centre, ("pintu-1", "CKL 77 A"))
    assert len(expanded(centre)) == len(PEOPLE) + 2


@pytest.mark.parametrize("seed", range(2))
def test_no_order_of_states_and_punches_loses_a_mark(centre: Centre, seed: int) -> None:
    """They arrive by ones and twos between batches of judging; at the end a rebuild finds no other verdict."""
    chance = Random(seed)
    events = [
        event
        for number in range(len(PEOPLE))
        for name, serial in chance.sample(TERMINALS, 2)
        for event in centre.punches(
            str(2000 + number),
            f"2026-09-01 {chance.choice(('07', '16'))}:{number + 10}:00",
            terminal=name,
            serial=serial,
        )
    ]
    arrivals: list[Any] = [*events, *TERMINALS, *TERMINALS]
    chance.shuffle(arrivals)
    for arrival in arrivals:
        if isinstance(arrival, dict):
            centre.receive(arrival)
        else:
            until = f"2026-09-01 {chance.choice(('12', '20'))}:30"
            name, serial = arrival
            read = until if chance.random() < 0.7 else None
            centre.state(name, serial, read, chance.randrange(len(events) + 1))
        centre.now += timedelta(seconds=chance.choice((0, 0, 90)))
        worker = centre.worker(person_days=chance.choice((1, 5, 40)))
        for _ in range(chance.randrange(3)):
            worker.batch()
    centre.recompute.run()
    before = centre.digests()
    centre.recompute.rebuild()
    centre.recompute.run()
    assert centre.digests() == before
