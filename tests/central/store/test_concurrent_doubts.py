"""Doubts and their marks where several gateways' batches about one terminal are stored at once on PostgreSQL."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from central.store import Message
from central.store.batch import Batch
from central.store.engine import Database
from central.store.events import _read
from central.store.marks import AFFECTED
from central.store.streams import Moment
from central.store.terminals import INCIDENT
from tests.broker import WAIT_S, eventually
from tests.central.sealing import Source, batch
from tests.central.store.test_concurrent_ingest import in_thread
from tests.postgres import waits

NOW = datetime(2026, 9, 4, 3, tzinfo=UTC)
SERIAL = "CEXA193960001"
TIMES = {"from": "2026-09-03T18:00:00.000Z", "to": "2026-09-03T20:00:00.000Z"}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Yield an empty database."""
    with closing(Database(database_url, create=True)) as database:
        yield database


@pytest.fixture
def gateways() -> tuple[Source, Source]:
    """Return two gateways that read one terminal."""
    return Source(), Source("0b7c5f0e-0d5c-4f5e-8f63-7d8f1c3f2a11", "3603-dinkes/gw-02")


def stored(connection: Any, *messages: Message) -> None:
    """Store messages within a transaction."""
    items, rejected = _read(messages)
    assert not rejected
    assert not Batch(connection, items, Moment(NOW, 0.0)).store().rejected


def of(source: Source, *events: dict[str, Any]) -> Message:
    """Return the message of events."""
    return Message(f"{source.gateway}/batch", batch(*events))


def state(source: Source, complete: dict[str, Any] | None = None) -> Message:
    """Return a state of the terminal."""
    content = {"state": "online", "serial": SERIAL, "records": 1, "complete": complete}
    return Message(f"{source.gateway}/terminal/lobby/state", json.dumps(content).encode())


def both(database: Database, database_url: str, first: Message, second: Message) -> None:
    """Store one message in a transaction, the other one in a transaction that begins before the first one ends."""

    def work() -> None:
        with database.writing(alone=False) as connection:
            stored(connection, second)

    with database.writing(alone=False) as connection:
        stored(connection, first)
        thread, found = in_thread(work)
        eventually(lambda: bool(found) or waits(database_url), what="the second batch to wait, or to be stored")
    thread.join(WAIT_S)
    assert found == [None]


def causes(database: Database, subject: str) -> list[str]:
    """Return the kinds of causes for which a subject is marked."""
    with database.reading() as connection:
        rows = connection.execute(select(AFFECTED.c.cause).where(AFFECTED.c.subject == subject).order_by(AFFECTED.c.id))
        return [json.loads(cause)["kind"] for cause in rows.scalars()]


def test_a_late_state_does_not_widen_what_another_gateways_punch_has_settled(
    database: Database, database_url: str, gateways: tuple[Source, Source]
) -> None:
    """The state was read from the row before the punch, and written after it."""
    one, two = gateways
    punch = two.punch(1)
    with database.writing() as connection:
        stored(connection, state(one), of(two, two.note("hadir.terminal.changed.v1")))
        data = {"terminal": "lobby", "serial": SERIAL, "punch": punch["id"]}
        stored(connection, of(one, one.note(), one.record("hadir.punch.unconfirmed.v1", "live-1", data, "lobby")))
    complete = {"until": "2026-09-04T00:00:00.000Z", "sequence": f"{1:020d}", "stream": one.stream}

    both(database, database_url, of(two, punch), state(one, complete))

    with database.reading() as connection:
        times = connection.execute(select(INCIDENT.c.begin, INCIDENT.c.end).where(INCIDENT.c.kind == "unconfirmed"))
        [(begin, end)] = times.all()
    assert begin == end


def test_a_punch_that_shortens_an_outage_stored_at_the_same_moment_marks_the_people_of_the_terminal(
    database: Database, database_url: str, gateways: tuple[Source, Source]
) -> None:
    """One that is stored a moment later does so too: between the two a process may have judged the outage's days."""
    one, two = gateways
    with database.writing() as connection:
        stored(connection, state(one), of(two, two.punch(1)))
    data = {"terminal": "lobby", "serial": SERIAL, "cause": "unavailable", **TIMES}
    outage = [one.record(f"hadir.terminal.{kind}.v1", kind, data, "lobby") for kind in ("lost", "found")]

    both(database, database_url, of(one, *outage), of(two, two.punch(4000)))

    assert causes(database, f"terminal:{SERIAL}").count("outage") == 2  # of the outage, and of the punch


def test_the_first_punch_of_a_terminal_that_another_gateway_names_at_the_same_moment_marks_both_sites(
    database: Database, database_url: str, gateways: tuple[Source, Source]
) -> None:
    """Its doubts were those of the gateway that had named it."""
    one, two = gateways
    with database.writing() as connection:  # new gateways would wait for each other
        stored(connection, of(one, one.note()), of(two, two.note()))
    both(database, database_url, state(one), of(two, two.punch(1)))
    assert "ownership" in causes(database, "site:3602-bkpsdm")
