"""Readings of one terminal's log under two names, as over port 4370 and over its web service."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import RawPunch, Reading
from gateway.event import ReadingContext, punch_id
from gateway.ledger import Ledger
from gateway.ledger.reading import SLICE, Start, Unaligned
from tests.gateway.office import ZONE

SERIAL = "CEXA193960001"
NOW = datetime(2026, 9, 7, 1, tzinfo=UTC)
MORNING = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock
RESET = datetime(2000, 1, 1)  # noqa: DTZ001 - a terminal's wall clock
VIA = {"gate": "log", "gate-soap": "soap"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a ledger with two entries of one terminal."""
    with closing(opened(tmp_path)) as ledger:
        yield ledger


def opened(folder: Path) -> Ledger:
    """Return a ledger with two entries of one terminal."""
    ledger = Ledger(folder / "data", "/hadir/office/gw")
    for name in VIA:
        ledger.pin_serial(name, SERIAL)
    return ledger


def punch(second: int, pin: str = "7", state: int = 0, base: datetime = MORNING, code: str | None = None) -> RawPunch:
    """Return a record of the log."""
    return RawPunch(pin, None, base + timedelta(seconds=second), state, 1, code, f"{pin} {second} {state}".encode())


def read(
    ledger: Ledger,
    name: str,
    log: list[RawPunch],
    start: int = 0,
    begin: Start = "all",
    between: Callable[[], None] = lambda: None,
) -> Any:
    """Read the log from a position, or from its beginning where that does not continue what is stored."""
    context = ReadingContext(name, SERIAL, ZONE, VIA[name], NOW, True, None, False, timedelta(minutes=1))  # type: ignore[arg-type]  # one of two
    try:
        return ledger.record_reading(context, Reading(start, len(log), log[start:], "40"), start=begin, between=between)
    except Unaligned:
        return ledger.record_reading(context, Reading(0, len(log), log, "40"), start=begin)


def stored(ledger: Ledger) -> list[tuple[str, datetime, int, str]]:
    """Return person, time, occurrence and identity of all punches."""
    found = []
    for event in ledger.events(0, 100_000):
        body = json.loads(event.body)
        if "punch.recorded" in body["type"]:
            one = body["data"]
            found.append((one["pin"], datetime.fromisoformat(one["local_time"]), one["occurrence"], body["id"]))
    return found


def check(ledger: Ledger, log: list[RawPunch]) -> None:
    """Require one event for each record, numbered from 1 in each second."""
    counted = Counter((record.pin, record.local_time) for record in log)
    expected = [(pin, moment, number + 1) for (pin, moment), count in counted.items() for number in range(count)]
    found = stored(ledger)
    assert Counter(one[:3] for one in found) == Counter(expected)
    assert {one[3] for one in found} == {str(punch_id(SERIAL, pin or "", at, number)) for pin, at, number in expected}


def test_what_one_way_has_stored_is_known_to_the_other(ledger: Ledger) -> None:
    """The first reading, one of the end, and one after the log was cleared; fields that one way lacks do not matter."""
    log = [punch(second // 2, pin=str(second % 3)) for second in range(60)]
    over_soap = [record._replace(work_code="0") for record in log]
    assert read(ledger, "gate", log).new == 60
    assert (read(ledger, "gate-soap", over_soap).new, len(stored(ledger))) == (0, 60)
    for second in (100, 100, 101):
        log.append(punch(second))
        over_soap.append(punch(second, code="0"))
        assert read(ledger, "gate-soap", over_soap).new == 1
        assert read(ledger, "gate", log, len(log) - 5).new == 0
    check(ledger, log)
    cleared = [punch(3, base=RESET), punch(200)]
    assert read(ledger, "gate", cleared).new == 2
    assert read(ledger, "gate-soap", cleared).new == 0
    again = [*cleared, punch(3, base=RESET)]
    assert read(ledger, "gate-soap", again).new == 1
    assert read(ledger, "gate", again).new == 0
    check(ledger, [*log, *again])


def test_history_that_one_way_withholds_is_no_second_punch(ledger: Ledger) -> None:
    """Neither stored twice, nor taken for a punch that is made later."""
    log = [punch(0), punch(0), punch(1)]
    assert read(ledger, "gate", log, begin="now").withheld == 3
    assert (read(ledger, "gate-soap", log).new, stored(ledger)) == (0, [])
    log.append(punch(1))
    assert (read(ledger, "gate-soap", log).new, read(ledger, "gate", log).new) == (1, 0)
    assert [one[2] for one in stored(ledger)] == [2]


def test_two_first_readings_at_the_same_time(ledger: Ledger) -> None:
    """One is in the middle of its import when the other begins: a slice of the one, then all of the other."""
    log = [punch(second // 2) for second in range(SLICE + 100)]
    other = [lambda: read(ledger, "gate-soap", log)]
    assert read(ledger, "gate", log, between=lambda: other.pop()() if other else None).read == len(log)
    assert other == []
    check(ledger, log)


STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from("79"), st.integers(0, 1)), max_size=4),
        st.sampled_from(sorted(VIA)),
        st.integers(0, 30),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(STEPS)
def test_every_record_is_one_event_whoever_reads_it_first(
    steps: list[tuple[list[tuple[int, str, int]], str, int]],
) -> None:
    """Whole readings and ends of any length in turn, of a log in which persons punch several times in a second."""
    with TemporaryDirectory() as folder, closing(opened(Path(folder))) as ledger:
        log: list[RawPunch] = []
        for at, (news, name, back) in enumerate(steps):
            log += [punch(100 * at + second, pin, state) for second, pin, state in news]
            if log:
                read(ledger, name, log, max(0, len(log) - back))
        for name in VIA:
            read(ledger, name, log)
        check(ledger, log)
