"""Several processes have a publisher on one database on a server: one of them publishes, and another one takes over."""

import multiprocessing
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from central.results.publisher import TURN_S, Publisher
from central.store.engine import Database
from tests.broker import WAIT_S, eventually
from tests.central.results.test_publisher import Clock, Sink, drain, numbers
from tests.central.store.office import Centre
from tests.central.stores import STORES, address
from tests.postgres import Server


def publish(url: str, began: Event) -> None:
    """Publish, and keep what the broker never answers in flight."""
    sink = Sink()
    publisher = Publisher(Database(url))
    publisher.step(sink.publish)
    if sink.published:
        began.set()
    time.sleep(WAIT_S)
    os._exit(1)


def test_another_process_publishes_when_the_first_is_killed(tmp_path: Path, postgres: Server) -> None:
    """Not before; and then all that no broker has acknowledged."""
    context = multiprocessing.get_context("forkserver")
    with STORES.on(postgres):
        centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
        centre.enter_office()
        centre.punched("1001", "2026-08-31 07:20:00")
        centre.at("2026-08-31 12:00")
        began = context.Event()
        first = context.Process(target=publish, args=(address(tmp_path / "centre.db"), began), daemon=True)
        first.start()
        sink, clock = Sink(), Clock()
        second = Publisher(centre.database, monotonic_s=clock)
        try:
            assert began.wait(WAIT_S), "the first process has not published"
            for _ in range(3):
                clock.now_s += TURN_S
                second.step(sink.publish)
            assert sink.published == []
        finally:
            first.kill()
            first.join(WAIT_S)

        def taken_over() -> bool:
            clock.now_s += TURN_S
            second.step(sink.publish)
            return bool(sink.published)

        eventually(taken_over)
        drain(second, sink, clock)
        assert numbers(centre) == (0, 0)
        assert {event["type"] for event in sink.published} == {"hadir.day.judged.v1", "hadir.unit.summarised.v1"}
        second.release()
        centre.close()
