"""Locks and epochs, on a real server: who has lost a lane writes nothing any more, whatever it had begun."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from central.inbox import Broker
from central.lanes.lease import LEASE_S, Lease, address_of, new_worker
from central.lanes.worker import Work
from central.lanes.worker import Worker as Process
from central.store import Database, Message, Store, StoreError, StoreLocked, postgresql
from central.store import lanes as rows
from central.store.lanes import Fence, FencedDatabase, LaneLost, Plan
from tests.broker import WAIT_S, eventually, free_port
from tests.central.sealing import Source, payload

NOW = datetime(2026, 9, 4, tzinfo=UTC)
LANE = 1


class Worker:
    """The database's side of a worker."""

    def __init__(self, url: str) -> None:
        self.number = new_worker()
        self.database = Database(address_of(url, self.number), create=True)
        with self.database.writing() as connection:
            rows.begin_plan(connection, Plan(1, "hadir", "hadir-central"), lambda _site: LANE, NOW)
        self.lease = Lease(self.database, self.number)

    def take(self) -> Fence:
        """Take the lane as soon as it is free."""
        found: list[Fence] = []

        def taken() -> bool:
            self.lease.look()
            fence = self.lease.take(LANE, NOW)
            found.extend([] if fence is None else [fence])
            return bool(found)

        eventually(taken)
        return found[0]

    def store(self, fence: Fence) -> Store:
        """Return the writer of the lane."""
        return Store(FencedDatabase(self.database, fence))

    def close(self) -> None:
        """End it."""
        self.lease.close()
        self.database.close()


@pytest.fixture
def workers(database_url: str) -> Iterator[tuple[Worker, Worker]]:
    """Yield two workers, neither of which looks at its locks by itself: so one that is left alone is frozen."""
    both = Worker(database_url), Worker(database_url)
    yield both
    for one in both:
        one.close()


def message(source: Source) -> Message:
    """Return a message with another event."""
    return Message(f"{source.gateway}/punch/lobby", payload(source.punch(len(source.events) + 1)))


def test_a_worker_that_is_frozen_loses_its_lane_and_what_it_writes_then_is_refused(
    workers: tuple[Worker, Worker],
) -> None:
    """Also where it had begun a transaction: the server ends that when the lane is taken."""
    frozen, other = workers
    source = Source(str(uuid4()))
    fence = frozen.take()
    store = frozen.store(fence)
    assert store.ingest([message(source)]).stored == 1
    assert other.lease.take(LANE, NOW) is None

    with pytest.raises(StoreError), store.database.writing(alone=False):  # noqa: PT012 - frozen in the middle of it
        later = other.take()
        assert other.store(later).ingest([message(source)]).stored == 1

    assert later.epoch > fence.epoch
    with pytest.raises(LaneLost):
        store.ingest([message(source)])
    with pytest.raises(LaneLost):
        store.begin_contact()
    with pytest.raises(StoreError):
        frozen.lease.look()


def test_who_takes_a_lane_waits_for_what_is_being_written_under_it(workers: tuple[Worker, Worker]) -> None:
    """The holder before has given it back and lives: its last transaction ends by itself, and then no other begins."""
    before, after = workers
    fence = before.take()
    before.lease.give(LANE)
    written, stop = [], threading.Event()

    def beat() -> None:
        while not stop.wait(LEASE_S / 20):
            before.lease.look()

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with before.store(fence).database.writing(alone=False):
            assert after.lease.take(LANE, NOW) is None
            written.append(time.monotonic())
        assert after.take().epoch == fence.epoch + 1
    finally:
        stop.set()
        beating.join()
    with pytest.raises(LaneLost):
        before.store(fence).keep_contact()


def test_an_inbox_without_lanes_and_one_with_lanes_exclude_each_other(
    workers: tuple[Worker, Worker], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions of the broker would bring every message twice, and both would write receipts."""
    monkeypatch.setattr(postgresql, "NOTICED_S", 0.0)  # nothing prolongs the leases of this test
    with pytest.raises(StoreError, match="another hadir-central inbox"):
        Store(database_url)
    for one in workers:
        one.lease.close()
    opened: list[Store] = []

    def is_open() -> bool:
        with suppress(StoreLocked):  # the server ends a connection after its client has closed it
            opened.append(Store(database_url))
        return bool(opened)

    eventually(is_open)
    store = opened[0]
    try:
        with store.database.reading() as connection:
            assert (rows.plan_of(connection), rows.open_lanes(connection)) == (None, {})
        with pytest.raises(StoreError, match="an inbox without --lanes"):
            Lease(workers[0].database, new_worker())
    finally:
        store.close()


def test_a_worker_whose_plan_an_inbox_without_lanes_has_ended_ends_too(database_url: str) -> None:
    """It makes a plan only when it begins: going on would receive nothing for ever."""
    work = Work(
        Broker("127.0.0.1", free_port(), tls=False), Plan(1, "hadir", "hadir-central"), lambda _database: lambda: False
    )
    worker, ended = Process(database_url, work), list[StoreError]()

    def run() -> None:
        try:
            worker.run()
        except StoreError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    with Database(database_url, create=True) as database:

        def has_begun() -> bool:
            with database.reading() as connection:
                return bool(rows.open_lanes(connection))

        thread.start()
        try:
            eventually(has_begun)
            with database.writing() as connection:
                rows.forget_plan(connection)
            thread.join(WAIT_S)
            assert [str(one).partition(": ")[2] for one in ended] == [
                "its lanes have been removed while this worker ran; start it again"
            ]
            eventually(lambda: all(one.name != "commits" for one in threading.enumerate()), what="its threads to end")
        finally:
            worker.stop()
            thread.join(WAIT_S)
