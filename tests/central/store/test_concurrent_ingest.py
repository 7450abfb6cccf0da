"""Batches of several processes at once on PostgreSQL: those of one gateway follow each other, others do not wait."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from central.event import Rejected
from central.store import Message, Store
from central.store import events as event_store
from central.store.batch import Batch, Outcome
from central.store.engine import Database
from central.store.events import _read
from central.store.ownership import assign, claim
from central.store.rejections import Rejections
from central.store.streams import Moment
from central.store.tables import claims, events, ownership, punches, rejected
from tests.broker import WAIT_S, eventually
from tests.central.sealing import Source, batch
from tests.postgres import waits

NOW = datetime(2026, 9, 20, tzinfo=UTC)
OTHER = "3602-bkpsdm/gw-02"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Yield an empty database."""
    with closing(Database(database_url, create=True)) as database:
        yield database


def stored(connection: Any, source: Source, *sent: dict[str, Any]) -> Outcome:
    """Store events within a transaction."""
    items, rejected = _read([Message(f"{source.gateway}/batch", batch(*sent))])
    assert not rejected
    return Batch(connection, items, Moment(NOW, 0.0)).store()


def in_thread(work: Callable[[], object]) -> tuple[Thread, list[object]]:
    """Start work that may have to wait; return its thread, and where its result will be."""
    found: list[object] = []
    thread = Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def test_batches_of_different_gateways_do_not_wait_and_those_of_one_follow_each_other(
    database: Database, database_url: str
) -> None:
    """Also for a gateway's first batch, which has no row to lock."""
    one, two = Source(), Source(stream="0b7c5f0e-0d5c-4f5e-8f63-7d8f1c3f2a11", gateway=OTHER)
    for source, serial in ((one, "S1"), (two, "S2")):
        with database.writing(alone=False) as connection:
            assert stored(connection, source, source.punch(1, serial=serial)).stored == 1

    def more() -> Outcome:
        with database.writing(alone=False) as connection:
            return stored(connection, one, *one.events[1:])

    with database.writing(alone=False) as connection:
        assert stored(connection, one, one.punch(2, serial="S1")).stored == 1
        with database.writing(alone=False) as beside:
            assert stored(beside, two, two.punch(2, serial="S2")).stored == 1
        one.punch(3, serial="S1")
        thread, found = in_thread(more)
        eventually(lambda: waits(database_url), what="the second batch of one gateway to wait")
        assert found == []
    thread.join(WAIT_S)
    assert [(each.stored, each.repeated) for each in found if isinstance(each, Outcome)] == [(1, 1)]


def test_one_punch_that_two_gateways_send_at_the_same_moment_is_stored_once_and_both_claims_are_kept(
    database: Database, database_url: str
) -> None:
    """Whose serial number it is does not depend on who commits last: the first one to store it."""
    one, two = Source(), Source(stream="0b7c5f0e-0d5c-4f5e-8f63-7d8f1c3f2a11", gateway=OTHER)
    sent = one.punches(3), two.punches(3)
    assert [each["id"] for each in sent[0]] == [each["id"] for each in sent[1]]

    def second() -> Outcome:
        with database.writing(alone=False) as connection:
            return stored(connection, two, *sent[1])

    with database.writing(alone=False) as connection:
        stored(connection, one, *sent[0])
        thread, found = in_thread(second)
        eventually(lambda: waits(database_url), what="the other gateway's batch to wait")
    thread.join(WAIT_S)
    assert [each.stored for each in found if isinstance(each, Outcome)] == [3]
    with database.reading() as connection:
        assert len(connection.execute(select(events.c.key)).all()) == 6
        assert len(connection.execute(select(punches.c.id)).all()) == 3
        assert len(connection.execute(select(claims)).all()) == 6
        assert connection.execute(select(ownership.c.gateway)).scalars().all() == [one.gateway]
        counting = select(events.c.stream).join(punches, punches.c.event == events.c.key).distinct()
        assert len(connection.execute(counting).all()) == 1


def test_which_gateway_counts_does_not_depend_on_who_of_two_claims_a_punch_first(
    database: Database, database_url: str
) -> None:
    """A third one's punch, which two later owners of the terminal send at the same moment."""
    name = "3602-bkpsdm/gw-0{}"
    sources = [Source(f"{number}b7c5f0e-0d5c-4f5e-8f63-7d8f1c3f2a11", name.format(number)) for number in range(1, 5)]
    sent = [source.punch(1) for source in sources]
    with database.writing() as connection:
        for source, one in zip(sources, sent, strict=True):
            stored(connection, source, one)
        for source, day in ((sources[2], "2026-01-01"), (sources[3], "2026-02-01")):
            assign(connection, "CEXA193960001", source.gateway, day, "A", "1", "2026-09-20T00:00:00.000Z")
        claimed = [tuple(row) for row in connection.execute(select(claims).order_by(claims.c.event))]
        # As before the two last ones have come; the server lets both see that only between two of their statements.
        connection.execute(delete(claims).where(claims.c.event.in_([event for *_, event in claimed[2:]])))
        connection.execute(update(punches).values(event=claimed[0][2]))

    def former() -> object:
        with database.writing(alone=False) as connection:
            return claim(connection, claimed[2:3])

    with database.writing(alone=False) as connection:
        assert len(claim(connection, claimed[3:])) == 1
        thread, found = in_thread(former)
        eventually(lambda: waits(database_url), what="the claim of the former owner to wait")
    thread.join(WAIT_S)
    assert found == [[]]
    with database.reading() as connection:
        assert connection.execute(select(punches.c.event)).scalars().all() == [claimed[3][2]]


def test_events_are_received_when_no_other_writer_is_waited_for_any_more(database: Database, database_url: str) -> None:
    """What that writer has stored was stored without them, and its moment must not lie behind theirs."""
    clock = [NOW]
    source = Source()
    with closing(Store(database_url, now=lambda: clock[0])) as store:
        store.ingest([Message(f"{source.gateway}/batch", batch(source.punch(1)))])
        with database.writing():
            work = [Message(f"{source.gateway}/batch", batch(source.punch(2)))]
            thread, found = in_thread(lambda: store.ingest(work))
            eventually(lambda: waits(database_url), what="the batch to wait")
            clock[0] += timedelta(seconds=30)
        thread.join(WAIT_S)
    assert len(found) == 1
    with database.reading() as connection:
        received = connection.execute(select(events.c.received).order_by(events.c.key)).scalars().all()
    assert received == ["2026-09-20T00:00:00.000Z", "2026-09-20T00:00:30.000Z"]


def test_one_message_that_two_processes_reject_at_the_same_moment_is_kept_once_and_counted_twice(
    database: Database, database_url: str
) -> None:
    """Whoever comes second waits and adds one."""
    message = ("3602-bkpsdm/gw-01/punch/lobby", Rejected("not_json", "x", b"{"))

    def reject() -> object:
        with database.writing(alone=False) as connection:
            return Rejections().write(connection, [message], "2026-09-20T00:00:00.000Z")

    with database.writing(alone=False) as connection:
        Rejections().write(connection, [message], "2026-09-20T00:00:00.000Z")
        thread, _ = in_thread(reject)
        eventually(lambda: waits(database_url), what="the other process to wait")
    thread.join(WAIT_S)
    with database.reading() as connection:
        assert connection.execute(select(rejected.c.times)).scalars().all() == [2]


class Ended(Batch):
    """A batch that the server ends twice, as it does with one of two transactions that wait for each other."""

    attempts = 0

    def store(self) -> Outcome:
        """Fail as a deadlock does, then store."""
        Ended.attempts += 1
        outcome = super().store()
        if Ended.attempts < 3:
            statement = "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"
            self._connection.exec_driver_sql(statement)
        return outcome


def test_a_batch_that_waits_crosswise_with_another_is_stored_again_and_rejects_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inbox goes on: what the server undid was no event's fault."""
    monkeypatch.setattr(event_store, "Batch", Ended)
    source = Source()
    with closing(Store(database_url)) as store:
        result = store.ingest([Message(f"{source.gateway}/batch", batch(*source.punches(2)))])
    assert (result.stored, result.rejected, Ended.attempts) == (2, 0, 3)
