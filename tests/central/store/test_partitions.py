"""Punches by month on PostgreSQL: made ahead, moved there, bounded, and detached for the archive."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from central.operation.doctor import _evidence
from central.store import Message, Store, partitions
from central.store.engine import Database
from central.store.survey import survey
from tests.central.sealing import Source, batch

NOW = datetime(2026, 9, 20, tzinfo=UTC)


class Clock:
    """A clock that the test sets."""

    now = NOW

    def __call__(self) -> datetime:
        """Return its time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock in September 2026."""
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    """Yield the writer of an empty database."""
    with closing(Store(database_url, now=clock)) as store:
        yield store


def months(store: Store) -> dict[str, int]:
    """Return the exact number of punches of each partition, by month; empty: the default one."""
    with store.database.reading() as connection:
        names = {one.month: one.name for one in partitions.months(connection)}
        return {
            month: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()  # noqa: S608 - a partition
            for month, name in names.items()
        }


def named_by_doctor(store: Store, now: datetime) -> list[str]:
    """Return the months that `hadir-central doctor` names."""
    with store.database.reading() as connection:
        steps = list(_evidence(survey(connection, now)))
    return [str(step.values["names"]) for step in steps if step.finding == "months"]


def send(store: Store, source: Source, *local_times: str) -> None:
    """Store punches of these times as a batch."""
    events = [source.punch(number, local_time=time) for number, time in enumerate(local_times)]
    result = store.ingest([Message(f"{source.gateway}/batch", batch(*events))])
    assert result.rejected == 0, result


def test_months_are_made_ahead_and_a_month_that_has_none_gets_one_with_its_punches(store: Store, clock: Clock) -> None:
    """A clock of the year 2000 or 2103 makes none: its punches are kept in the default partition."""
    source = Source()
    times = "2026-09-01T07:00:00", "2026-12-31T23:59:59", "2026-08-31T16:00:00", "2000-01-01T00:00:00"
    send(store, source, *times, "2103-02-28T12:00:00")
    assert months(store) == {"2026-09": 1, "2026-10": 0, "2026-11": 0, "2026-12": 1, "": 3}

    clock.now += timedelta(days=1)
    again = Source("0b7c5f0e-0d5c-4f5e-8f63-7d8f1c3f2a11")
    send(store, again, *times, "2027-01-01T00:00:00")  # of a card that was replaced: the same punches in a new stream
    expected = {"2026-08": 1, "2026-09": 1, "2026-10": 0, "2026-11": 0, "2026-12": 1, "": 3}
    assert months(store) == expected
    clock.now += timedelta(days=12)
    send(store, again, "2026-10-02T07:00:00")
    assert months(store) == {**expected, "2026-10": 1, "2027-01": 1, "": 2}
    with store.database.reading() as connection:
        assert partitions.outside(connection) == {"2000-01": 1, "2103-02": 1}


def test_a_clock_that_counts_through_a_century_makes_a_bounded_number_of_months(store: Store, clock: Clock) -> None:
    """Only months near the present get a partition."""
    century = [f"{year}-{month:02d}-01T07:00:00" for year in range(1970, 2070) for month in range(1, 13)]
    send(store, Source(), *century)
    clock.now += timedelta(days=1)
    send(store, Source(gateway="3602-bkpsdm/gw-02"), "2026-09-02T07:00:00")
    found = months(store)
    assert len(found) == partitions.BACK + partitions.AHEAD + 2
    assert min(filter(None, found)) == "2021-09"
    assert sum(found.values()) == len(century) + 1


def test_a_change_of_partitions_waits_for_no_long_transaction_and_is_tried_again(
    store: Store, clock: Clock, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Punches are stored meanwhile."""
    monkeypatch.setattr(partitions, "LOCK_WAIT", "100ms")
    source = Source()
    send(store, source, "2026-08-31T16:00:00")
    with psycopg.connect(database_url) as other:
        other.execute("SELECT count(*) FROM punch")
        clock.now += timedelta(days=1)
        send(store, source, "2026-09-02T07:00:00")
        assert months(store)[""] == 1
        assert named_by_doctor(store, clock.now) == ["2026-08"]
    clock.now += timedelta(days=1)
    send(store, source, "2026-09-03T07:00:00")
    assert months(store) == {"2026-08": 1, "2026-09": 2, "2026-10": 0, "2026-11": 0, "2026-12": 0, "": 0}
    assert named_by_doctor(store, clock.now) == []


def test_a_sqlite_file_has_no_months(tmp_path: Path) -> None:
    """It keeps all punches in one table."""
    with Database(tmp_path / "centre.db", create=True) as database, database.writing() as connection:
        assert partitions.months(connection) == []
        assert partitions.make(connection, NOW.date()) == []
