"""Deliveries without a place in a log: one transaction, and known by their content however often they are sent."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import BadRecord, RawPunch, Reading, Record, Settlement, Untimed, Via
from gateway.event import ReadingContext
from gateway.ledger import Ledger
from gateway.ledger.arrivals import SAME_SECOND_MAX
from gateway.ledger.reading import SLICE
from gateway.ledger.transaction import Transaction
from tests import contract
from tests.gateway.office import ZONE
from tests.gateway.test_file_import import line, put
from tests.gateway.test_file_import import sink as file_sink

MORNING = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock
SERIAL = "CEXA193960001"
NOW = datetime(2026, 9, 7, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a ledger that knows one terminal."""
    with closing(Ledger(tmp_path / "data", "/hadir/office/gw")) as opened:
        opened.pin_serial("lobby", SERIAL)
        yield opened


def context(via: Via, terminal: str = "lobby") -> ReadingContext:
    """Return the context of a delivery or a reading."""
    return ReadingContext(terminal, SERIAL, ZONE, via, NOW, True, None, False, timedelta(minutes=1))


def punch(state: int | None = 0, second: int = 0, pin: str = "7", work: str | None = "0", **more: Any) -> RawPunch:
    """Return a punch as a terminal sends it."""
    moment = more.pop("base", MORNING) + timedelta(seconds=second)
    raw = f"{pin}\t{moment}\t{state}".encode()
    return RawPunch(pin, None, moment, state, 1, work, raw, **more)


def data(ledger: Ledger, kind: str = "punch.recorded") -> list[dict[str, Any]]:
    """Return the data of the events of a kind, each checked against the contract."""
    found = []
    for event in ledger.events(0, 100_000):
        contract.check(event.topic, event.body)
        body = json.loads(event.body)
        if kind in body["type"]:
            found.append(body["data"])
    return found


def states(ledger: Ledger) -> list[tuple[int, int]]:
    """Return occurrence and state of all punches."""
    return [(one["occurrence"], one["state"]) for one in data(ledger)]


def deliver(ledger: Ledger, *records: Record | Untimed, via: Via = "push", mark: str | None = None) -> Settlement:
    """Store a delivery."""
    return ledger.record_delivery(context(via), records, None if mark is None else ("ATTLOG", mark))


def read_log(ledger: Ledger, log: Sequence[Record]) -> Any:
    """Read the terminal's log."""
    return ledger.record_reading(context("log"), Reading(0, len(log), list(log), "40"))


def prune(ledger: Ledger) -> None:
    """Prune all bodies."""
    ledger.do(lambda transaction: transaction.connection.exec_driver_sql("UPDATE event SET body = NULL"))


@pytest.mark.parametrize("via", ["push", "soap", "app"])
def test_an_equal_record_is_the_same_punch(ledger: Ledger, via: Via) -> None:
    """In the same delivery, in a later one, and cut otherwise."""
    records = [punch(second=second) for second in range(100)]
    assert deliver(ledger, *records, records[3], via=via) == Settlement(new=100, known=1)
    for cut in (records[:30], records[30:60], records[60:], list(reversed(records))):
        assert deliver(ledger, *cut, via=via) == Settlement(known=len(cut))
    assert len(data(ledger)) == 100
    assert {(one["via"], one["position"], one["occurrence"]) for one in data(ledger)} == {(via, None, 1)}


def test_different_records_of_one_second_are_numbered_by_their_first_arrival(ledger: Ledger) -> None:
    """Sent again in any order and cut, they keep their numbers; also after their bodies were pruned."""
    first, second, third = punch(state=4), punch(state=0), punch(state=1)
    assert deliver(ledger, first, second) == Settlement(new=2)
    assert deliver(ledger, second, first, third) == Settlement(new=1, known=2)
    assert states(ledger) == [(1, 4), (2, 0), (3, 1)]
    prune(ledger)
    assert deliver(ledger, third, second, first) == Settlement(known=3)
    assert deliver(ledger, punch(state=5)) == Settlement(new=1)


def test_a_field_that_one_format_lacks_tells_nothing_apart(ledger: Ledger) -> None:
    """Newer firmware sends the work code as well: the same punches."""
    assert deliver(ledger, punch(work=None), punch(second=1)) == Settlement(new=2)
    assert deliver(ledger, punch(work="0"), punch(second=1, work=None)) == Settlement(known=2)


def test_the_identifier_of_an_app_tells_two_records_apart(ledger: Ledger) -> None:
    """Equal but for it, they are two punches; sent again, these two, also without their bodies."""
    records = [punch(source_id="a"), punch(source_id="b")]
    assert deliver(ledger, *records, via="app") == Settlement(new=2)
    prune(ledger)
    assert deliver(ledger, *reversed(records), via="app") == Settlement(known=2)


def test_a_line_sends_each_record_once(ledger: Ledger) -> None:
    """Two equal ones are two punches; one without a time has the time of its reception."""
    untimed = Untimed("9", 0, 1, None, b"9")
    assert deliver(ledger, punch(), punch(), untimed, via="serial") == Settlement(new=3)
    assert deliver(ledger, punch(), via="serial") == Settlement(new=1)
    assert [(one["occurrence"], "host_time" in one["suspect"]) for one in data(ledger)] == [
        (1, False),
        (2, False),
        (1, True),
        (3, False),
    ]


def test_a_record_without_a_time_cannot_be_recognised(ledger: Ledger) -> None:
    """It is refused with all others of its delivery."""
    with pytest.raises(TypeError):
        deliver(ledger, punch(), Untimed("9", 0, 1, None, b"9"))
    assert data(ledger) == []


def test_unreadable_records_are_known_by_their_bytes(ledger: Ledger) -> None:
    """Sent again they add nothing, and the records beside them are stored; so is one whose PIN is none."""
    bad = BadRecord(b"no tabs", b"no tabs", "no tabs")
    nameless = punch(pin="", second=2)
    assert deliver(ledger, punch(), bad, nameless, bad) == Settlement(new=1, known=1, quarantined=2)
    assert deliver(ledger, nameless, bad, punch()) == Settlement(known=3)
    assert len(data(ledger, "quarantined")) == 2


def test_very_many_records_of_one_second_are_quarantined(ledger: Ledger) -> None:
    """A hostile source makes look-ups for the first hundred only; every byte is kept, and the others are stored."""
    records = [punch(state=state) for state in range(SAME_SECOND_MAX + 50)]
    expected = Settlement(new=SAME_SECOND_MAX + 1, quarantined=50)
    assert deliver(ledger, *records, punch(second=1)) == expected
    assert deliver(ledger, *records, punch(second=1)) == Settlement(known=len(records) + 1)
    assert len(data(ledger, "quarantined")) == 50


def test_a_delivery_is_stored_whole_or_not_at_all(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storing fails in the middle: no record of it and no mark stays, and the next delivery is as if it were first."""
    deliver(ledger, punch(second=9999), mark="1")
    usual, before = Transaction.add, ledger.last_sequence()

    def failing(transaction: Transaction, *arguments: Any, **more: Any) -> int:
        if transaction.head.sequence == before + SLICE + 20:
            raise ArithmeticError
        return usual(transaction, *arguments, **more)

    records = [punch(second=second) for second in range(SLICE + 40)]
    monkeypatch.setattr(Transaction, "add", failing)
    with pytest.raises(ArithmeticError):
        deliver(ledger, *records, mark="2")
    monkeypatch.undo()
    assert (ledger.last_sequence(), ledger.marks("lobby")) == (before, {"ATTLOG": "1"})
    assert deliver(ledger, *records, mark="2") == Settlement(new=len(records))
    assert ledger.marks("lobby") == {"ATTLOG": "2"}
    assert ledger.verify().breach is None


def test_a_mark_is_replaced_also_where_nothing_is_new(ledger: Ledger) -> None:
    """Each name has its own text; marks belong to one terminal and one serial number."""
    ledger.pin_serial("gate", SERIAL)
    deliver(ledger, punch(), mark="1")
    deliver(ledger, punch(), mark="9999")
    ledger.record_delivery(context("push"), (), ("OPERLOG", ""))
    assert ledger.marks("lobby") == {"ATTLOG": "9999", "OPERLOG": ""}
    assert ledger.marks("gate") == {}
    ledger.pin_serial("lobby", "ANOTHER")
    assert ledger.marks("lobby") == {}


def test_a_body_that_was_damaged_ends_nothing(ledger: Ledger) -> None:
    """Its punch is known by what the tables hold; without that its key decides."""
    deliver(ledger, punch(second=1))
    read_log(ledger, [punch()])
    ledger.do(lambda transaction: transaction.connection.exec_driver_sql("UPDATE event SET body = 'x' || body"))
    assert deliver(ledger, punch(), punch(second=1), punch(second=1, state=3)) == Settlement(new=1, known=2)


def test_a_live_punch_is_the_delivered_one(ledger: Ledger) -> None:
    """Its fields may differ until the log has shown them, and then it is known by these."""
    assert ledger.record_live(context("live"), punch(state=255))
    assert deliver(ledger, punch(state=0)) == Settlement(known=1)
    read_log(ledger, [punch(state=0)])
    assert len(data(ledger, "confirmed")) == 1
    assert deliver(ledger, punch(state=0)) == Settlement(known=1)
    assert not ledger.record_live(context("live"), punch(state=255))
    assert len(data(ledger)) == 1


def test_a_live_punch_is_one_delivered_record_of_its_second(ledger: Ledger) -> None:
    """The equal one, wherever it stands in the delivery; a second punch of that second is not lost in it."""
    ledger.record_live(context("live"), punch(state=0))
    assert deliver(ledger, punch(state=1), punch(state=0)) == Settlement(new=1, known=1)
    assert deliver(ledger, punch(state=0), punch(state=1)) == Settlement(known=2)
    result = read_log(ledger, [punch(state=1), punch(state=0)])
    assert (result.new, result.confirmed) == (0, 2)
    assert states(ledger) == [(1, 0), (2, 1)]
    assert data(ledger, "confirmed") == []


@pytest.mark.parametrize("log", [(1,), (0, 1), (1, 0), (0,)])
def test_the_log_decides_which_record_a_live_punch_was(ledger: Ledger, log: tuple[int, ...]) -> None:
    """One that came alone with another code was taken for it: there are as many punches as the log has."""
    ledger.record_live(context("live"), punch(state=0))
    assert deliver(ledger, punch(state=1)) == Settlement(known=1)
    records = [punch(state=state) for state in log]
    read_log(ledger, records)
    assert deliver(ledger, *records) == Settlement(known=len(records))
    assert len(states(ledger)) == len(log)


def test_a_file_brings_the_delivered_punches(ledger: Ledger, tmp_path: Path) -> None:
    """And the other way round: the file first."""
    deliver(ledger, punch(pin="1001"))
    assert put(file_sink(ledger), tmp_path, line(0), line(1)).counts.new == 1
    assert deliver(ledger, punch(pin="1001", second=1), punch(pin="1001")) == Settlement(known=2)


def test_withheld_records_are_known(ledger: Ledger) -> None:
    """History before the chosen start stays withheld, whoever sends it."""
    log = [punch(), punch(state=1)]
    ledger.record_reading(context("log"), Reading(0, 2, log, "40"), start="now")
    assert deliver(ledger, *log) == Settlement(known=2)
    assert ledger.release(context("log")) == 2
    assert states(ledger) == [(1, 0), (2, 1)]


def test_the_order_of_one_second_may_differ_between_log_and_delivery(ledger: Ledger) -> None:
    """Each record of the log confirms the delivered one with its content; what was not delivered is new."""
    delivered = [punch(state=1), punch(state=0)]
    deliver(ledger, *delivered)
    result = read_log(ledger, [punch(state=0), punch(state=1), punch(state=4), punch(state=0)])
    assert (result.confirmed, result.new) == (2, 2)
    assert states(ledger) == [(1, 1), (2, 0), (3, 4), (4, 0)]
    assert data(ledger, "confirmed") == []


RECORDS = st.builds(punch, state=st.integers(0, 2), second=st.integers(0, 1), pin=st.sampled_from(["7", "8"]))


@settings(max_examples=25)
@given(st.data())
def test_one_punch_by_several_ways_is_one_event(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    """Whatever was delivered and read before, in any order: after the whole log each of its records is an event.

    Deliveries are parts of the log, in any order, repeated; readings are of the log as it was then; live punches may
    have another code than their record, which a note then corrects.
    """
    log = draw.draw(st.lists(RECORDS, min_size=1, max_size=8))
    with closing(Ledger(tmp_path_factory.mktemp("ledger"), "/hadir/office/gw")) as ledger:
        ledger.pin_serial("lobby", SERIAL)
        read = 0
        has_other_codes = False
        for _ in range(draw.draw(st.integers(1, 5))):
            way = draw.draw(st.sampled_from(["live", "log", "delivery"]))
            if way == "live":
                made = draw.draw(st.sampled_from(log))
                shown = made if draw.draw(st.booleans()) else made._replace(state=9)
                has_other_codes |= ledger.record_live(context("live"), shown)
            elif way == "log":
                read = draw.draw(st.integers(read, len(log)))
                if read:
                    read_log(ledger, log[:read])
            else:
                deliver(ledger, *draw.draw(st.lists(st.sampled_from(log), min_size=1, max_size=8)))
        read_log(ledger, log)
        assert deliver(ledger, *log) == Settlement(known=len(log))
        found = Counter((one["pin"], one["local_time"], one["state"]) for one in data(ledger))
        wanted = Counter((one.pin, one.local_time.isoformat(), one.state) for one in log)
        if has_other_codes:
            assert Counter(key[:2] for key in found.elements()) == Counter(key[:2] for key in wanted.elements())
        else:
            assert found == wanted
        assert ledger.verify().breach is None


def test_the_records_of_a_span_are_counted(ledger: Ledger) -> None:
    """By their dates, of every entry with the serial number; what cannot be read has no date."""
    day = timedelta(days=1)
    deliver(ledger, *(punch(second=number, base=MORNING + number * day) for number in range(5)))
    deliver(ledger, BadRecord(b"x", b"x", "no punch"))
    first = MORNING.date()
    assert ledger.count_days(SERIAL, first, first + 4 * day) == 5
    assert ledger.count_days(SERIAL, first + day, first + 2 * day) == 2
    assert ledger.count_days(SERIAL, date.min, first - day) == 0
    assert ledger.count_days("OTHER", date.min, date.max) == 0
