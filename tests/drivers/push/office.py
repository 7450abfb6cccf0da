"""A receiver on a real socket with the driver behind it, and simulated terminals that call it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from drivers.base import Notice, RawPunch, Record
from drivers.push.session import Batch, Session
from drivers.push.terminal import PushOptions
from drivers.receiver.listener import Config, Receiver
from drivers.receiver.registry import Caller, Exchange, Expected, Handler, Key, Registry, Serial

SERIAL = "SIM0000000001"
ZONE = ZoneInfo("Asia/Jakarta")


class Port:
    """The way of a driver to the receiver, without a gateway."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.zone = ZONE
        self.sets_clock = False
        self.now: Callable[[], datetime | None] = lambda: datetime.now(UTC)
        self.woken = threading.Event()

    def register(self, key: Key, handler: Handler) -> AbstractContextManager[None]:
        """Let ``handler`` serve the requests of ``key`` within the block."""
        return self._registry.register(key, handler)

    def count_refused(self, key: Key, why: str) -> None:
        """Count a request that its handler refused."""
        self._registry.count(key, why)

    def note_ahead(self, key: Key, seconds: int) -> None:
        """Note how far the latest time in an upload lies ahead of its reception."""
        self._registry.note_ahead(key, seconds)

    def callers(self) -> list[Caller]:
        """Return what the registry remembers of callers."""
        return self._registry.callers()

    def wake(self) -> None:
        """Note that something has arrived."""
        self.woken.set()

    def trusted_now(self) -> datetime | None:
        """Return the time."""
        return self.now()


def options(serial: str = SERIAL, **entry: Any) -> PushOptions:
    """Return the options of a terminal."""
    return PushOptions.model_validate({"name": "lobby", "serial": serial, **entry})


@contextmanager
def receiving(*serials: str) -> Iterator[tuple[str, Port]]:
    """Yield the URL of a receiver that knows the serial numbers, and the port of a driver."""
    registry = Registry()
    registry.expect({Serial(serial): Expected(serial.lower()) for serial in serials or (SERIAL,)})
    receiver = Receiver(registry)
    receiver.configure(Config("127.0.0.1", 0))
    receiver.start()
    try:
        yield f"http://127.0.0.1:{receiver.port}", Port(registry)
    finally:
        receiver.close()


class Store:
    """A ledger in memory behind a session: what is stored is acknowledged, and known content is stored once."""

    def __init__(self, registry_port: Port, serial: str = SERIAL) -> None:
        self.records: list[Record] = []
        """Distinct records, in the order of their first arrival."""
        self.arrived = 0
        """Records of all batches."""
        self.notices: list[Notice] = []
        self.marks: dict[str, str] = {}
        self.is_full = False
        self._changed = threading.Condition()
        self.session = Session(
            serial,
            ZONE,
            deliver=self._deliver,
            notice=self.notices.append,
            monotonic_s=time.monotonic,
            trusted_now=registry_port.trusted_now,
        )
        self.session.allow(None)
        self.session.resume({})

    def _deliver(self, batch: Batch, exchange: Exchange) -> bool:
        if self.is_full:
            return False
        with self._changed:
            known = set(self.records)
            self.arrived += len(batch.records)
            self.records += [record for record in dict.fromkeys(batch.records) if record not in known]
            self.marks.update([batch.mark] if batch.mark else ())
            self.session.stored(batch)
            self._changed.notify_all()
        exchange.reply(batch.reply)
        return True

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait until a condition is true after a batch was stored, or for other reasons."""
        until_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until_s, "the condition did not come true"
            with self._changed:
                self._changed.wait(0.02)

    def punches(self) -> list[tuple[str | None, datetime]]:
        """Return PIN and time of the stored punches."""
        return [(record.pin, record.local_time) for record in self.records if isinstance(record, RawPunch)]


@contextmanager
def stored(serial: str = SERIAL) -> Iterator[tuple[str, Store]]:
    """Yield the URL of a receiver, and a store that serves one serial number."""
    with receiving(serial) as (url, port):
        store = Store(port, serial)
        with port.register(Serial(serial), store.session):
            yield url, store
