"""A delivery is settled once, inside the block that offers it, or refused when that ends."""

from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime

import pytest

from drivers.base import Delivering, Delivery, DriverError, RawPunch, Settlement, TerminalUnavailable, marked_new

PUNCH = RawPunch("1001", None, datetime(2026, 9, 4, 7, 30), 0, 1, None, b"1001")  # noqa: DTZ001 - a wall clock


class Source:
    """Delivers one punch, and notes what becomes of it."""

    def __init__(self, failure: DriverError | None = None) -> None:
        self.calls: list[str] = []
        self._failure = failure

    def deliveries(self, timeout_s: float) -> Generator[Delivery, None, None]:
        """Yield one delivery."""
        del timeout_s
        with Delivery((PUNCH,), "serial", settle=self._settle, refuse=lambda: self.calls.append("refused")) as delivery:
            yield delivery

    def _settle(self, settlement: Settlement) -> bool:
        self.calls.append(f"settled {settlement.new}")
        if self._failure is not None:
            raise self._failure
        return True


def offered(source: Delivering) -> Iterator[Delivery]:
    """Yield the deliveries of a source, which is closed at the end."""
    with closing(source.deliveries(0.0)) as items:
        for item in items:
            assert isinstance(item, Delivery)
            yield item


def test_settled_once() -> None:
    """The second call is a mistake of the caller: the source may have forgotten the records of the next delivery."""
    source = Source()
    for delivery in offered(source):
        assert delivery.settle(Settlement(1))
        with pytest.raises(RuntimeError, match="settled already"):
            delivery.settle(Settlement(1))
    assert source.calls == ["settled 1"]


def test_an_answer_that_may_have_arrived_is_not_repeated() -> None:
    """Settling failed, so the result is unknown; the delivery is not refused either."""
    source = Source(TerminalUnavailable("the line broke"))
    for delivery in offered(source):
        with pytest.raises(TerminalUnavailable):
            delivery.settle(Settlement(1))
        with pytest.raises(RuntimeError, match="settled already"):
            delivery.settle(Settlement(1))
    assert source.calls == ["settled 1"]


def test_dropped() -> None:
    """Whoever requests the next one has not stored this one."""
    source = Source()
    (delivery,) = offered(source)
    assert source.calls == ["refused"]
    with pytest.raises(RuntimeError, match="over"):
        delivery.settle(Settlement(1))
    assert source.calls == ["refused"]


def test_left_by_an_error() -> None:
    """The generator is closed, and the source knows at once."""
    source = Source()
    with closing(source.deliveries(0.0)) as items:
        next(items)
        assert source.calls == []
    assert source.calls == ["refused"]


def test_outside_of_a_block() -> None:
    """Outside of one, nothing would refuse it."""
    with pytest.raises(RuntimeError, match="not in a with block"):
        Delivery((PUNCH,), "serial").settle(Settlement(1))


def test_a_place_in_the_log_is_known_whole() -> None:
    """A start without the length of the log places nothing."""
    with pytest.raises(ValueError, match="both start and total"):
        Delivery((PUNCH,), "serial", 4)
    with pytest.raises(ValueError, match="both start and total"):
        Delivery((PUNCH,), "serial", total=4)
    reading = Delivery((PUNCH,), "serial", 4, total=5, layout="14").reading
    assert reading is not None
    assert (reading.start, reading.total, list(reading.records), reading.layout) == (4, 5, [PUNCH], "14")
    assert Delivery((PUNCH,), "serial").reading is None


def test_a_look_settles_nothing() -> None:
    """``hadir probe`` and ``hadir doctor`` look at the newest records."""
    source = Source()
    with marked_new(source) as reading:
        assert reading is None
        assert source.calls == []
    assert source.calls == ["refused"]
