"""The durable store: every record is one event, on the disk before it is acknowledged, in one unbroken chain."""

import json
import os
import random
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy

from drivers.base import BadRecord, RawPunch, Reading, Record, Via
from gateway.event import ClockEvidence, ReadingContext
from gateway.ledger import (
    DayCounts,
    KnownTerminal,
    Ledger,
    LedgerError,
    LedgerLocked,
    LedgerReader,
    ReadingResult,
    Unaligned,
    in_use,
    opened,
    reading,
    schema,
    writer,
)
from gateway.ledger_summary import read_summary
from tests.broker import WAIT_S, eventually
from tests.power_cut import Interrupted, PowerCut

SOURCE = "/hadir/office/gw-01"
SERIAL = "CEXA193960001"
DAY = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone
RESET = datetime(2000, 1, 1)  # noqa: DTZ001
CRASH_WRITER = Path(__file__).with_name("crash_writer.py")

RECORDED = "hadir.punch.recorded.v1"
CONFIRMED = "hadir.punch.confirmed.v1"
UNCONFIRMED = "hadir.punch.unconfirmed.v1"
QUARANTINED = "hadir.record.quarantined.v1"
CHANGED = "hadir.terminal.changed.v1"
WITHHELD = "hadir.history.withheld.v1"
RESUMED = "hadir.gateway.resumed.v1"

Event = dict[str, Any]


# --- what a stranger would do with the events ---------------------------------------------------------------------


def stranger_id(serial: str, person: str, local_time: str, occurrence: int) -> str:
    """Compute a punch's identity from the contract alone."""
    name = f"{serial}\n{person}\n{local_time}\n{occurrence}"
    return str(uuid5(uuid5(NAMESPACE_URL, "urn:hadir:punch:v1"), name))


def events_of(ledger: LedgerReader) -> list[Event]:
    """Return all events, after checking as a stranger would: sequence, chain, identities."""
    events: list[Event] = []
    previous = "sha256:" + sha256(ledger.stream.encode()).hexdigest()
    for number, waiting in enumerate(ledger.events(0, 1_000_000), 1):
        event: Event = json.loads(waiting.body)
        rest = {key: value for key, value in event.items() if key != "digest"}
        plain = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert event["digest"] == "sha256:" + sha256((previous + plain).encode()).hexdigest()
        assert (event["sequence"], waiting.sequence) == (f"{number:020d}", number)
        assert (event["previous"], event["stream"], event["source"]) == (previous, ledger.stream, ledger.source)
        data = event["data"]
        if event["type"] == RECORDED:
            person = data["pin"] if data["pin"] is not None else f"uid:{data['uid']}"
            assert event["id"] == stranger_id(data["serial"], person, data["local_time"], data["occurrence"])
        previous = event["digest"]
        events.append(event)
    assert len({event["id"] for event in events}) == len(events)
    return events


def of_type(ledger: LedgerReader, *types: str) -> list[Event]:
    """Return the events of some types, in order."""
    return [event for event in events_of(ledger) if event["type"] in types]


def changes(ledger: LedgerReader) -> list[tuple[str, int, int]]:
    """Return the notes about a log that does more than grow, with its size before and after."""
    data = [event["data"] for event in of_type(ledger, CHANGED)]
    return [(one["what"], one["records_before"], one["records_after"]) for one in data]


def punches(ledger: LedgerReader) -> list[tuple[str | None, str, int]]:
    """Return person, time of day and occurrence of every punch, in order."""
    data = [event["data"] for event in of_type(ledger, RECORDED)]
    return [(one["pin"], one["local_time"][11:], one["occurrence"]) for one in data]


# --- a terminal and its log ---------------------------------------------------------------------------------------


def made(
    pin: str | None = "1001", second: int = 0, *, day: datetime = DAY, state: int = 0, uid: int | None = None
) -> RawPunch:
    """Make a record of a second of the day."""
    return RawPunch(pin, uid, day + timedelta(seconds=second), state, 1, "0", f"{pin}/{second}".encode())


def logged(*seconds: int, pin: str = "1001") -> list[Record]:
    """Make a log of one person's punches."""
    return [made(pin, second) for second in seconds]


def reset(second: int = 0, pin: str = "1001", state: int = 0) -> RawPunch:
    """Make a record of a clock that was reset."""
    return made(pin, second, day=RESET, state=state)


def spoilt(name: bytes, index: int = 0) -> BadRecord:
    """Make an unreadable record, in front of it an index field."""
    return BadRecord(bytes([index]) + name, name, "impossible date")


def whole(log: Sequence[Record]) -> Reading:
    """Read a whole log."""
    return tail(log, 0)


def tail(log: Sequence[Record], start: int) -> Reading:
    """Read the end of a log."""
    by_uid = any(isinstance(record, RawPunch) and record.pin is None for record in log)
    return Reading(start, len(log), log[start:], "8" if by_uid else "40", by_uid=by_uid)


class Office:
    """A ledger, the office's clock, and one terminal called ``lobby``."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.now = datetime(2026, 9, 7, tzinfo=UTC)
        self.serial = SERIAL
        self.ledger = self.open()
        self.ledger.pin_serial("lobby", SERIAL)

    def open(self) -> Ledger:
        """Open the ledger; this ends the one before."""
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.ledger = Ledger(self.data_dir, SOURCE, now=lambda: self.now)
        return self.ledger

    def context(self, via: Via = "log", **changes: Any) -> ReadingContext:
        """Return who reads, a minute after the last one."""
        self.now += timedelta(minutes=1)
        fields: dict[str, Any] = {
            "terminal": "lobby",
            "serial": self.serial,
            "zone": ZoneInfo("Asia/Jakarta"),
            "via": via,
            "now": self.now,
            "synchronised": True,
            "clock": None,
            "stepped": False,
            "tolerance": timedelta(seconds=60),
        }
        return ReadingContext(**fields | changes)

    def read(self, log: Sequence[Record], at: int = 0, **options: Any) -> ReadingResult:
        """Read the terminal's log from position ``at``."""
        return self.ledger.record_reading(self.context(), tail(log, at), **options)

    def read_until(self, log: Sequence[Record], at: int, *, last: int = 4, **options: Any) -> None:
        """Read the whole log and die before record ``at`` is stored; come back.

        ``last``: a log that continues what is known is iterated once. Any other is iterated until it differs, as a
        whole to be laid against the known order, once more to find what must be matched, and then to be stored.
        """
        with pytest.raises(PowerCut):
            self.ledger.record_reading(
                self.context(), replace(whole(log), records=Interrupted(log, at, last)), **options
            )
        self.open()

    def live(self, record: RawPunch) -> bool:
        """Hear of a punch as it happens."""
        return self.ledger.record_live(self.context("live"), record)

    @property
    def known(self) -> KnownTerminal:
        """What the ledger knows of the terminal."""
        known = self.ledger.terminal("lobby")
        assert known is not None
        return known

    def bytes_on_disk(self) -> dict[str, bytes]:
        """Return the ledger's files."""
        return {name: (self.data_dir / name).read_bytes() for name in ("ledger.db", "ledger.db-wal")}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office at its first contact with its terminal."""
    office = Office(tmp_path / "data")
    yield office
    office.ledger.close()


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four records make a transaction."""
    monkeypatch.setattr(reading, "SLICE", 4)


# --- reading a log ------------------------------------------------------------------------------------------------


class TestReading:
    """A log that only grows."""

    def test_first_reading(self, office: Office) -> None:
        """Every record becomes a punch, in the order and at the position of the log."""
        stored = office.read([made("1001", 0), made("0007", 5), made("A-2", 9)])
        assert (stored.read, stored.new, stored.last_punch) == (3, 3, "2026-09-07T07:00:09")
        assert punches(office.ledger) == [("1001", "07:00:00", 1), ("0007", "07:00:05", 1), ("A-2", "07:00:09", 1)]
        assert [event["data"]["position"] for event in events_of(office.ledger)] == [0, 1, 2]

    def test_what_is_remembered_of_the_terminal(self, office: Office) -> None:
        """Layout, length, the last punch and the clock's offset are kept beside the records."""
        clock = ClockEvidence(offset_ms=-1400, bound_ms=35, measured=datetime(2026, 9, 7, tzinfo=UTC))
        office.ledger.record_reading(office.context(clock=clock), whole(logged(0, 1)))
        known = office.known
        assert (known.layout, known.in_log, known.last_punch) == ("40", 2, "2026-09-07T07:00:01")
        assert (known.offset_ms, known.bound_ms) == (-1400, 35)
        assert known.full_ms is not None

    def test_tail(self, office: Office) -> None:
        """A tail that begins with known records adds what follows them, at its position in the log."""
        log = logged(*range(20))
        office.read(log)
        log += logged(20, 21)
        assert office.known.tail_start == 12
        stored = office.read(log, 12)
        assert (stored.read, stored.new) == (10, 2)
        assert [event["data"]["position"] for event in events_of(office.ledger)] == list(range(22))

    def test_all_that_is_kept_is_known(self) -> None:
        """Every column of a terminal's row has its field and its default."""
        columns = schema.TerminalRow.__table__.columns  # type: ignore[attr-defined]  # SQLModel's own
        defaults = {name: one.default for name, one in KnownTerminal.model_fields.items()}
        assert {column.name for column in columns} == set(defaults)
        for name in set(defaults) - {"name", "serial", "number"}:
            assert schema.TerminalRow.model_fields[name].default == defaults[name]

    def test_nothing_new_writes_nothing(self, office: Office) -> None:
        """A poll without news leaves every byte on the disk as it was."""
        log = logged(*range(20))
        office.read(log)
        before = office.bytes_on_disk()
        stored = office.read(log, 12)
        assert (stored.read, stored.new) == (8, 0)
        assert office.bytes_on_disk() == before

    def test_nightly_reading_adds_no_event(self, office: Office) -> None:
        """Reading the whole log again finds every record known."""
        log = [*logged(*range(20)), *logged(19, 19), spoilt(b"x")]
        office.read(log)
        stored = office.read(log)
        assert (stored.new, stored.quarantined, stored.confirmed) == (0, 0, 0)
        assert len(events_of(office.ledger)) == 23

    def test_looking_writes_nothing(self, office: Office) -> None:
        """Readers in many threads open connections of their own; that leaves every byte as it was."""
        office.read(logged(0))
        before = office.bytes_on_disk()
        with office.ledger._engine.connect(), office.ledger._engine.connect():
            office.ledger.counts()
        assert office.bytes_on_disk() == before

    def test_unaligned_tail_stores_nothing(self, office: Office) -> None:
        """A tail that has nothing in common with what is known is refused, and nothing of it is kept."""
        office.read(logged(*range(20)))
        known, before = office.known, office.bytes_on_disk()
        with pytest.raises(Unaligned):
            office.read(logged(*range(100, 120)), 12)
        assert office.known == known
        assert office.bytes_on_disk() == before

    def test_empty_tail_is_unaligned(self, office: Office) -> None:
        """A log that ends before the tail's start proves nothing: it must be read from its beginning."""
        office.read(logged(*range(20)))
        with pytest.raises(Unaligned):
            office.read(logged(*range(10)), 10)

    def test_tail_before_any_whole_reading_is_unaligned(self, office: Office) -> None:
        """A first reading must begin at the log's beginning."""
        with pytest.raises(Unaligned):
            office.read(logged(*range(20)), 12)
        assert events_of(office.ledger) == []

    def test_two_punches_in_one_second(self, office: Office) -> None:
        """One person, one second, two records: occurrences 1 and 2, two ids."""
        log: list[Record] = [made("1001", 3, state=0), made("1001", 3, state=1), made("1002", 3)]
        office.read(log)
        assert punches(office.ledger) == [("1001", "07:00:03", 1), ("1001", "07:00:03", 2), ("1002", "07:00:03", 1)]

    def test_identical_record_later(self, office: Office) -> None:
        """A record that repeats the last one to the byte is new because of its position, read whole or as a tail."""
        log = logged(1, 2, 2)
        office.read(log)
        log += logged(2)
        assert office.read(log).new == 1
        log += logged(2)
        assert office.read(log, 2).new == 1
        assert [occurrence for *_, occurrence in punches(office.ledger)] == [1, 1, 2, 3, 4]

    def test_bad_record_is_quarantined_once(self, office: Office) -> None:
        """An unreadable record costs itself: raw bytes and reason go into an event, once, its neighbours are read."""
        log: list[Record] = [made(second=0), spoilt(b"\xff\xfe"), made(second=1)]
        stored = office.read(log)
        assert (stored.new, stored.quarantined) == (2, 1)
        assert office.read(log).quarantined == 0
        (event,) = of_type(office.ledger, QUARANTINED)
        assert (event["data"]["raw"], event["data"]["reason"]) == ("00fffe", "impossible date")
        assert event["data"]["position"] == 1

    def test_bad_record_with_another_index_is_the_same(self, office: Office) -> None:
        """Firmware that counts its index fields anew does not make a bad record new."""
        office.read([made(), spoilt(b"x", index=1)])
        assert office.read([made(), spoilt(b"x", index=2)]).quarantined == 0

    def test_equal_bad_records_are_two(self, office: Office) -> None:
        """Two unreadable records with equal bytes are two events."""
        assert office.read([spoilt(b"x"), spoilt(b"x")]).quarantined == 2
        assert [event["data"]["occurrence"] for event in of_type(office.ledger, QUARANTINED)] == [1, 2]

    @pytest.mark.usefixtures("small_slices")
    def test_reading_that_breaks_off_keeps_its_slices(self, office: Office) -> None:
        """What was committed before a crash stays; the next tail goes on from there and doubles nothing."""
        log = [*logged(*range(10)), *logged(9, 9)]
        office.read_until(log, 11, last=1)
        assert office.known.length == 8
        assert office.read(log, office.known.tail_start).new == 4
        assert len(punches(office.ledger)) == 12

    def test_long_tail(self, office: Office) -> None:
        """More new records than a slice holds come in one reading."""
        office.read(logged(*range(20)))
        assert office.read(logged(*range(1300)), 12).new == 1280
        assert len(punches(office.ledger)) == 1300

    def test_terminal_without_serial(self, office: Office) -> None:
        """Records of a terminal whose serial was never pinned are refused in words."""
        with pytest.raises(LedgerError, match="lift has no pinned serial"):
            office.ledger.record_reading(office.context(terminal="lift"), whole(logged(1)))
        with pytest.raises(LedgerError, match="lift has no pinned serial"):
            office.ledger.record_live(office.context("live", terminal="lift"), made())

    def test_two_terminals_do_not_meet(self, office: Office) -> None:
        """The same person in the same second at two terminals is two first occurrences."""
        office.ledger.pin_serial("lift", "OTHER")
        office.read(logged(1))
        office.ledger.record_reading(office.context(terminal="lift", serial="OTHER"), whole(logged(1)))
        assert [occurrence for *_, occurrence in punches(office.ledger)] == [1, 1]
        assert (office.ledger.placed("lobby"), office.ledger.placed("lift")) == (1, 1)


class TestClearedAndWrapped:
    """A log that does more than grow."""

    def test_wrap(self, office: Office) -> None:
        """A full log that overwrote its two oldest records has two new ones; the count never changed."""
        office.read(logged(*range(20)))
        assert office.read(logged(*range(2, 22))).new == 2
        assert (office.known.in_log, office.known.shift) == (20, 2)
        assert of_type(office.ledger, CHANGED) == []

    def test_wrap_seen_by_tails(self, office: Office) -> None:
        """Tails follow a full log as it moves on, a few records at a time."""
        office.read(logged(*range(20)))
        for moved in (3, 8, 9, 16):
            office.read(logged(*range(moved, 20 + moved)), office.known.tail_start)
        assert len(punches(office.ledger)) == 36
        assert len(set(punches(office.ledger))) == 36

    def test_purge_of_a_block(self, office: Office) -> None:
        """A terminal that deletes its oldest records at once: no event is touched, and tails continue after it."""
        office.read(logged(*range(20)))
        assert office.read(logged(*range(12, 20))).new == 0
        assert office.known.in_log == 8
        assert office.read(logged(*range(12, 22)), office.known.tail_start).new == 2
        assert len(punches(office.ledger)) == 22

    def test_wrap_past_us(self, office: Office) -> None:
        """A log that overwrote everything we knew is new as a whole, and that is noted once."""
        office.read(logged(*range(5)))
        assert office.read(logged(*range(10, 15))).new == 5
        (note,) = of_type(office.ledger, CHANGED)
        assert (note["data"]["what"], note["data"]["records_before"], note["data"]["records_after"]) == (
            "log_wrapped",
            5,
            5,
        )
        office.read(logged(*range(10, 15)))
        assert len(of_type(office.ledger, CHANGED)) == 1

    def test_cleared_log(self, office: Office) -> None:
        """A log seen empty is noted once, its clearing when it holds other records: each of them is new."""
        office.read(logged(*range(5)))
        office.read([])
        office.read([])
        assert changes(office.ledger) == [("log_shrunk", 5, 0)]
        assert office.read(logged(50, 51)).new == 2
        assert office.read(logged(50, 51, 52), office.known.tail_start).new == 1
        assert changes(office.ledger) == [("log_shrunk", 5, 0), ("log_cleared", 5, 2)]
        assert len(punches(office.ledger)) == len(set(punches(office.ledger))) == 8

    def test_cleared_log_with_new_punches(self, office: Office) -> None:
        """A log that was cleared and punched into before the next reading is new, and the clearing is noted."""
        office.read(logged(*range(5)))
        assert office.read(logged(50)).new == 1
        assert [event["data"]["what"] for event in of_type(office.ledger, CHANGED)] == ["log_cleared"]

    def test_old_log_returns_after_an_empty_reading(self, office: Office) -> None:
        """A terminal that once showed an empty log and then its old one again: nothing is doubled."""
        log = [*logged(0, 1, 1, 1), made(day=RESET), made(day=RESET), spoilt(b"x"), spoilt(b"x"), *logged(2)]
        office.read(log)
        before = punches(office.ledger)
        office.read([])
        stored = office.read(log)
        assert (stored.new, stored.quarantined) == (0, 0)
        assert punches(office.ledger) == before

    def test_old_log_returns_longer(self, office: Office) -> None:
        """What was punched while the log seemed empty is new, also in a second that is known."""
        office.read(logged(0, 1))
        office.read([])
        assert office.read(logged(0, 1, 1, 2)).new == 2
        assert punches(office.ledger)[2:] == [("1001", "07:00:01", 2), ("1001", "07:00:02", 1)]

    @pytest.mark.usefixtures("small_slices")
    def test_crash_while_the_old_log_is_matched(self, office: Office) -> None:
        """A crash in the middle of matching a returned log: matching goes on where it stopped."""
        log = [*logged(*range(12)), made(day=RESET), *logged(12, 12), made(day=RESET), *logged(13, 14)]
        office.read(log)
        office.read(logged(50))
        office.read_until(log, 13)
        assert (office.known.length, office.known.tail_start) == (12, 0), "a tail could not count what is matched"
        assert office.read(log).new == 0
        assert len(punches(office.ledger)) == 19

    @pytest.mark.usefixtures("small_slices")
    def test_crash_while_a_longer_log_is_matched(self, office: Office) -> None:
        """Records matched before a crash count after it: the third punch of a second is new if two were known."""
        office.read(logged(0, 1, 2, 3, 0))
        office.read(logged(50))
        log = logged(0, 1, 2, 3, 0, 0)
        office.read_until(log, 4)
        assert office.read(log).new == 1
        assert punches(office.ledger)[-1] == ("1001", "07:00:00", 3)

    @pytest.mark.usefixtures("small_slices")
    def test_crash_while_a_cleared_log_is_read(self, office: Office) -> None:
        """That the log was cleared is remembered through a crash: punches of a reset clock are new."""
        office.read([*logged(0, 1), made(day=RESET)])
        log = [*logged(50, 51, 52, 53), made(day=RESET, state=1)]
        office.read_until(log, 4)
        assert office.read(log).new == 1
        assert punches(office.ledger)[-1] == ("1001", "00:00:00", 2)

    @pytest.mark.usefixtures("small_slices")
    def test_punch_made_during_a_crash_while_matching(self, office: Office) -> None:
        """What is behind the log that was being matched is new by position, whatever its clock shows."""
        log = [*logged(*range(6)), made(day=RESET)]
        office.read(log)
        office.read([made(day=RESET, second=1), *logged(20, 21, 22, 23)])  # cleared; the clock was reset before
        office.read(logged(50))
        office.read_until([made(day=RESET, second=1), *logged(20, 21, 22, 23)], 4)
        stored = office.read([made(day=RESET, second=1), *logged(20, 21, 22, 23), made(day=RESET)])
        assert stored.new == 1
        assert punches(office.ledger)[-1] == ("1001", "00:00:00", 2)

    def test_reset_clock_in_a_cleared_log(self, office: Office) -> None:
        """A punch by a reset clock in a cleared log is new, even with a second that was known before the clearing."""
        office.read([*logged(0, 1), made(day=RESET, second=7)])
        assert office.read([made(day=RESET, second=7, state=1), *logged(50)]).new == 2
        assert [event["data"]["occurrence"] for event in of_type(office.ledger, RECORDED)] == [1, 1, 1, 2, 1]

    def test_live_punch_does_not_hide_a_clearing(self, office: Office) -> None:
        """A record known from its live event only is no old acquaintance: the log was cleared all the same."""
        office.read([made("1001", day=RESET), *logged(0, 1)])
        assert office.live(made("1001", 50))
        stored = office.read([made("1001", day=RESET, state=1), *logged(50)])
        assert (stored.new, stored.confirmed) == (1, 1)
        assert punches(office.ledger)[-1] == ("1001", "00:00:00", 2)

    def test_old_records_behind_new_ones(self, office: Office) -> None:
        """A log in another order than known: known keys are matched, only the others are new."""
        office.read(logged(0, 1, 2))
        assert office.read(logged(9, 2, 0, 1, 0)).new == 2
        assert punches(office.ledger)[3:] == [("1001", "07:00:09", 1), ("1001", "07:00:00", 2)]


class TestShownInPart:
    """A log that ends early, or is empty: a slip of the terminal, or the first sight of a clearing."""

    LOG = logged(*range(6))

    def test_back_again(self, office: Office) -> None:
        """Half of the log and then all of it: nothing is doubled, and each size is noted once."""
        office.read(self.LOG)
        for size in (3, 3, 2, 0, 0, 3):
            stored = office.read(self.LOG[:size])
            assert (stored.read, stored.new, office.known.in_log, office.known.shrunk_to) == (size, 0, 6, size)
        output = [("log_shrunk", 6, size) for size in (3, 2, 0, 3)]
        assert changes(office.ledger) == output
        assert office.read(self.LOG).new == 0
        assert office.known.shrunk_to is None
        assert office.read(self.LOG).new == 0
        assert (changes(office.ledger), len(punches(office.ledger))) == (output, 6)
        office.read(self.LOG[:3])
        assert changes(office.ledger) == [*output, output[0]], "another slip is noted again"

    def test_repeated_reading_writes_no_event(self, office: Office) -> None:
        """A log that stays short changes not a byte on the disk."""
        office.read(self.LOG)
        office.read(self.LOG[:3])
        before = office.bytes_on_disk()
        office.read(self.LOG[:3])
        assert office.bytes_on_disk() == before

    def test_back_longer(self, office: Office) -> None:
        """What was punched meanwhile is new, also as a tail."""
        office.read(logged(*range(20)))
        with pytest.raises(Unaligned):
            office.read(logged(*range(15)), 12)
        office.read(logged(*range(15)))
        assert office.read(logged(*range(21)), office.known.tail_start).new == 1
        assert (office.known.in_log, office.known.shrunk_to) == (21, None)
        assert len(punches(office.ledger)) == 21

    @pytest.mark.parametrize("size", [0, 1, 2])
    def test_only_a_reset_clock(self, office: Office, size: int) -> None:
        """A log of nothing but a reset clock's moments, shown in part: its dates prove nothing, its order does."""
        log = [reset(0), reset(5), reset(0)]
        office.read(log)
        office.read(log[:size])
        assert office.read(log).new == 0
        assert len(punches(office.ledger)) == 3

    @pytest.mark.parametrize(
        "log", [logged(1, 1), logged(1, 2, 1), [spoilt(b"x")] * 3, [*logged(1, 2), reset(1), *logged(1)]]
    )
    def test_beginning_that_looks_like_the_end(self, office: Office, log: Sequence[Record]) -> None:
        """A beginning that equals the end of what is known is taken for the beginning: no record is stored twice."""
        office.read(log)
        before = len(events_of(office.ledger))
        office.read(log[:1])
        stored = office.read(log)
        assert (stored.new, stored.quarantined) == (0, 0)
        assert len(events_of(office.ledger)) == before + 1, "the note"

    def test_tail_whose_beginning_looks_like_the_end(self, office: Office) -> None:
        """A tail of equal records that ends early proves nothing: the log must be read from its beginning."""
        log = [spoilt(b"x")] * 12
        office.read(log)
        with pytest.raises(Unaligned):
            office.read(log[:8], office.known.tail_start)
        office.read(log[:8])
        assert office.read(log).quarantined == 0

    def test_after_the_log_moved_on(self, office: Office) -> None:
        """A full log that lost its oldest records and then ends early: nothing is doubled when it is back."""
        office.read(logged(*range(9)))
        assert office.read(logged(2, 3, 4)).new == 0
        assert changes(office.ledger) == [("log_shrunk", 9, 3)]
        assert office.read(logged(*range(2, 11))).new == 2
        assert (office.known.in_log, office.known.shift, office.known.shrunk_to) == (9, 2, None)
        assert len(punches(office.ledger)) == 11

    def test_number_that_changed_hands(self, office: Office) -> None:
        """Old punches of an internal number are not published under its new owner's PIN when the log is back."""
        log = by_uid((5, 0), (6, 1), (5, 2))
        office.read(log, pins={5: "1005", 6: "1006"})
        for size in (0, 2):
            office.read(log[:size], pins={5: "2222"})
            stored = office.read([*log], pins={5: "2222"})
            assert stored.new == 0
        office.read([*log, *by_uid((5, 3))], pins={5: "2222"})
        assert [pin for pin, *_ in punches(office.ledger)] == ["1005", "1006", "1005", "2222"]

    def test_other_records_after_a_clearing(self, office: Office) -> None:
        """A real clearing, first seen as an empty log: every punch after it is stored, a reset clock's too."""
        office.read([*logged(0, 1), reset(7)])
        office.read([])
        log = [*logged(50), reset(7), reset(7), *logged(51)]
        assert office.read(log).new == 4
        assert punches(office.ledger)[3:] == [
            ("1001", "07:00:50", 1),
            ("1001", "00:00:07", 2),
            ("1001", "00:00:07", 3),
            ("1001", "07:00:51", 1),
        ]
        assert changes(office.ledger) == [("log_shrunk", 3, 0), ("log_cleared", 3, 4)]
        assert office.known.shrunk_to is None
        assert office.read(log).new == 0

    @pytest.mark.parametrize("more", [0, 1, 5])
    def test_first_punch_after_an_empty_log_looks_like_the_last_before(self, office: Office, more: int) -> None:
        """However many punches follow it before the next reading, it is a punch of its own."""
        office.read([*logged(0, 1), reset(7)])
        office.read([])
        assert office.read([reset(7), *logged(*range(50, 50 + more))]).new == 1 + more
        assert punches(office.ledger)[3] == ("1001", "00:00:07", 2)

    @pytest.mark.parametrize("size", [0, 2])
    def test_live_punch_then_other_records(self, office: Office, size: int) -> None:
        """A live punch received while the log seems short is no alarm, and is confirmed by the log that follows."""
        office.read(self.LOG)
        full = office.known.full_ms
        office.live(made(second=50))
        assert office.read(self.LOG[:size]).unconfirmed == 0
        assert (of_type(office.ledger, UNCONFIRMED), office.known.full_ms) == ([], full)
        stored = office.read([*logged(50), reset(3)])
        assert (stored.confirmed, stored.new, stored.unconfirmed) == (1, 1, 0)
        assert changes(office.ledger) == [("log_shrunk", 6, size), ("log_cleared", 6, 2)]
        assert office.ledger.counts().unconfirmed == 0
        assert len(punches(office.ledger)) == 8

    def test_live_punch_then_the_old_log(self, office: Office) -> None:
        """A live punch that the log, when it is back, does not hold is reported then."""
        office.read(self.LOG)
        office.live(made(second=50))
        office.read([])
        assert office.read(self.LOG).unconfirmed == 1
        assert office.read([*self.LOG, *logged(50)]).confirmed == 1

    def test_survives_reopening(self, office: Office) -> None:
        """What was noted before a restart is not noted again after it."""
        office.read(self.LOG)
        office.read(self.LOG[:3])
        known = office.known
        office.open()
        assert (office.known, office.known.shrunk_to) == (known, 3)
        office.read(self.LOG[:3])
        assert changes(office.ledger) == [("log_shrunk", 6, 3)]
        assert office.read(self.LOG).new == 0

    @pytest.mark.usefixtures("small_slices")
    def test_while_a_log_is_being_matched(self, office: Office) -> None:
        """A crash in the middle of matching, then a log that ends early, then all of it: matching goes on."""
        log = [*logged(*range(6)), reset(), *logged(6, 6)]
        office.read(log)
        office.read(logged(50))
        office.read_until(log, 5)
        office.read(log[:2])
        assert (office.known.length, office.known.tail_start, office.known.shrunk_to) == (4, 0, 2)
        assert office.read(log[:6]).new == 0
        assert office.read(log).new == 0
        assert len(punches(office.ledger)) == 10


class TestResetClock:
    """Moments of a reset clock come again: few of them in common prove nothing."""

    def test_first_punch_looks_like_the_last_before(self, office: Office) -> None:
        """A cleared log whose first punch repeats the last known one to the second and state: it is another."""
        office.read([*logged(0, 1), reset(7)])
        assert office.read([reset(7)]).new == 1
        assert office.read([reset(7), *logged(50)]).new == 1
        assert punches(office.ledger)[2:] == [
            ("1001", "00:00:07", 1),
            ("1001", "00:00:07", 2),
            ("1001", "07:00:50", 1),
        ]
        assert changes(office.ledger) == [("log_cleared", 3, 1)]

    def test_tail_never_begins_a_generation(self, office: Office) -> None:
        """A tail that shares only such moments is refused; the whole log shows that a block was purged."""
        log = [*logged(*range(12)), *(reset(second) for second in range(8))]
        office.read(log)
        with pytest.raises(Unaligned):
            office.read(log[5:], office.known.tail_start)
        assert office.read(log[5:]).new == 0
        assert (office.known.generation, office.known.in_log, len(punches(office.ledger))) == (0, 15, 20)

    def test_purge_of_a_log_without_dates(self, office: Office) -> None:
        """A clock that was never set: many moments in the known order are no chance, a purged block doubles nothing."""
        log = [reset(second) for second in range(30)]
        office.read(log)
        assert office.read([*log[10:], reset(99)]).new == 1
        assert (changes(office.ledger), len(punches(office.ledger))) == ([], 31)


class TestLive:
    """Live events are latency; the log is the truth."""

    def test_live_then_log(self, office: Office) -> None:
        """A live punch that the log confirms is one event, the one published first."""
        assert office.live(made(second=3))
        assert office.ledger.counts().unconfirmed == 1
        stored = office.read(logged(3))
        assert (stored.new, stored.confirmed) == (0, 1)
        assert office.ledger.counts().unconfirmed == 0
        (event,) = events_of(office.ledger)
        assert (event["type"], event["data"]["via"], event["data"]["position"]) == (RECORDED, "live", None)

    def test_confirmed_once(self, office: Office) -> None:
        """Reading the log again neither confirms nor stores the punch again."""
        office.live(made(second=3))
        office.read(logged(3))
        stored = office.read(logged(3))
        assert (stored.new, stored.confirmed, stored.unconfirmed) == (0, 0, 0)

    def test_log_differs(self, office: Office) -> None:
        """Where the log holds another state than the live event, a note carries the log's fields and raw bytes."""
        office.live(made(second=3, state=0))
        office.read([made(second=3, state=1)])
        punch, note = events_of(office.ledger)
        assert (punch["type"], punch["data"]["state"], note["type"]) == (RECORDED, 0, CONFIRMED)
        assert (note["data"]["punch"], note["data"]["state"]) == (punch["id"], 1)
        assert (note["data"]["state_label"], note["data"]["raw"]) == ("check_out", b"1001/3".hex())

    def test_live_that_the_log_never_holds(self, office: Office) -> None:
        """A whole reading without a live punch reports it, once; the punch itself stays."""
        office.live(made(second=3))
        assert office.read(logged(1)).unconfirmed == 1
        assert office.read(logged(1)).unconfirmed == 0
        (note,) = of_type(office.ledger, UNCONFIRMED)
        assert note["data"]["punch"] == of_type(office.ledger, RECORDED)[0]["id"]
        assert office.ledger.counts().unconfirmed == 1

    def test_tail_says_nothing_of_missing_live_punches(self, office: Office) -> None:
        """Only a whole reading can show that a live punch is missing."""
        office.read(logged(*range(20)))
        office.live(made(second=30))
        assert office.read(logged(*range(20)), 12).unconfirmed == 0
        assert of_type(office.ledger, UNCONFIRMED) == []

    def test_live_during_a_whole_reading_is_not_missing(self, office: Office) -> None:
        """A punch made after the reading began cannot be in it."""
        context = office.context()
        office.live(made(second=3))
        assert office.ledger.record_reading(context, whole(logged(1))).unconfirmed == 0

    def test_appears_in_the_log_after_all(self, office: Office) -> None:
        """A live punch reported missing and found later is confirmed by a note."""
        office.live(made(second=3))
        office.read(logged(1))
        assert office.read(logged(1, 3)).confirmed == 1
        assert [event["type"] for event in events_of(office.ledger)] == [RECORDED, RECORDED, UNCONFIRMED, CONFIRMED]

    def test_second_that_exists(self, office: Office) -> None:
        """A live event whose second the ledger holds stores nothing: the log decides whether it is another punch."""
        office.read(logged(3))
        assert not office.live(made(second=3))
        assert not office.live(made(second=3, state=1))
        assert len(events_of(office.ledger)) == 1

    def test_live_twice(self, office: Office) -> None:
        """A repeated live event is one punch; two records in the log make it two."""
        assert office.live(made(second=3))
        assert not office.live(made(second=3))
        stored = office.read(logged(3, 3))
        assert (stored.confirmed, stored.new) == (1, 1)
        assert [occurrence for *_, occurrence in punches(office.ledger)] == [1, 2]

    def test_live_id_is_the_logs_id(self, tmp_path: Path) -> None:
        """The same punch by either road has the same id."""
        by_live, by_log = Office(tmp_path / "one"), Office(tmp_path / "two")
        by_live.live(made(second=3)._replace(raw=b"event", work_code=None))
        by_log.read(logged(3))
        assert [events_of(one.ledger)[0]["id"] for one in (by_live, by_log)] == [
            stranger_id(SERIAL, "1001", "2026-09-07T07:00:03", 1)
        ] * 2
        by_live.ledger.close()
        by_log.ledger.close()

    def test_restart_between_live_and_log(self, office: Office) -> None:
        """What waits for its confirmation is on the disk."""
        office.live(made(second=3))
        office.open()
        assert office.read(logged(3)).confirmed == 1


class TestStart:
    """First contact: history that the office did not ask for is kept, counted and not sent."""

    def test_now(self, office: Office) -> None:
        """``now`` withholds what the log holds at first contact; what comes later is published."""
        stored = office.read(logged(0, 1, 2), start="now")
        assert (stored.withheld, stored.new) == (3, 0)
        assert office.read(logged(0, 1, 2, 3), start="now").new == 1
        assert punches(office.ledger) == [("1001", "07:00:03", 1)]
        assert office.ledger.counts().withheld == 3
        assert office.ledger.placed("lobby") == 4

    def test_note(self, office: Office) -> None:
        """How many records lie before the chosen start is one event."""
        office.read(logged(0, 1, 2), start="now")
        office.read(logged(0, 1, 2), start="now")
        (note,) = events_of(office.ledger)
        assert (note["type"], note["data"]["records"], note["data"]["start"]) == (WITHHELD, 3, "now")

    def test_now_with_an_empty_log(self, office: Office) -> None:
        """A log that is empty at first contact has no history: the first punch ever made is published."""
        office.read([], start="now")
        (note,) = events_of(office.ledger)
        assert (note["type"], note["data"]["records"]) == (WITHHELD, 0)
        assert office.read(logged(0, 1), start="now").new == 2
        assert office.ledger.counts().withheld == 0

    def test_date(self, office: Office) -> None:
        """From the first record of that date on everything is published, whatever its own date."""
        old = datetime(2026, 8, 1)  # noqa: DTZ001
        old_ones: list[Record] = [made(second=0, day=old), made(second=1, day=RESET)]
        log = [*old_ones, made(), made(second=2, day=old), spoilt(b"x")]
        stored = office.read(log, start=date(2026, 9, 1))
        assert (stored.withheld, stored.new, stored.quarantined) == (2, 2, 1)
        assert of_type(office.ledger, WITHHELD)[0]["data"]["start"] == "2026-09-01"

    def test_date_without_a_record_yet(self, office: Office) -> None:
        """No record from the date on: the start is the end of the log."""
        old = datetime(2026, 8, 1)  # noqa: DTZ001
        assert office.read([made(day=old)], start=date(2026, 9, 1)).withheld == 1
        assert office.read([made(day=old), made(second=5, day=old)], start=date(2026, 9, 1)).new == 1

    def test_bad_records_are_withheld_too(self, office: Office) -> None:
        """Unreadable history is history."""
        stored = office.read([spoilt(b"x"), *logged(1)], start="now")
        assert (stored.withheld, stored.quarantined) == (2, 0)
        assert office.read([spoilt(b"x"), *logged(1), spoilt(b"x")], start="now").quarantined == 1
        assert of_type(office.ledger, QUARANTINED)[0]["data"]["occurrence"] == 2

    def test_withheld_records_count_for_occurrence(self, office: Office) -> None:
        """A later punch in a withheld second is the second one."""
        office.read(logged(3), start="now")
        office.read(logged(3, 3), start="now")
        assert punches(office.ledger) == [("1001", "07:00:03", 2)]

    def test_live_event_of_a_withheld_record(self, office: Office) -> None:
        """A live event whose second is withheld stores nothing."""
        office.read(logged(3), start="now")
        assert not office.live(made(second=3))

    def test_nothing_withheld_comes_out_with_a_returning_log(self, office: Office) -> None:
        """An empty reading and the old log again: history stays withheld, nothing is doubled."""
        log = [*logged(0, 1, 1), made(day=RESET)]
        office.read(log, start="now")
        office.read([], start="now")
        stored = office.read(log, start="now")
        assert (stored.new, stored.withheld) == (0, 0)
        assert office.read([*log, *logged(9)], start="now").new == 1
        assert punches(office.ledger) == [("1001", "07:00:09", 1)]

    def test_new_punches_in_a_cleared_log_are_published(self, office: Office) -> None:
        """The chosen start withholds history once, not the records of a log that was cleared later."""
        office.read(logged(0, 1, 2), start="now")
        assert office.read(logged(50, 51), start="now").new == 2

    @pytest.mark.usefixtures("small_slices")
    def test_crash_in_the_first_reading(self, office: Office) -> None:
        """The start that was chosen before a crash holds after it, and is not published again."""
        log = logged(*range(10))
        office.read_until(log, 6, last=1, start="now")
        log += logged(10)
        stored = office.read(log, start="now")
        assert (stored.withheld, stored.new) == (6, 1)
        assert len(of_type(office.ledger, WITHHELD)) == 1

    @pytest.mark.usefixtures("small_slices")
    @pytest.mark.parametrize("at", [2, 5, 6, 9])
    def test_crash_in_the_first_reading_from_a_date(self, office: Office, at: int) -> None:
        """The record that decides may lie before or behind the cut: the same is withheld, and noted once."""
        old = datetime(2026, 8, 1)  # noqa: DTZ001
        log = [*(made(second=second, day=old) for second in range(6)), *logged(*range(6))]
        office.read_until(log, at, last=1, start=date(2026, 9, 1))
        office.read(log, start=date(2026, 9, 1))
        assert (office.ledger.counts().withheld, len(punches(office.ledger))) == (6, 6)
        assert [note["data"]["records"] for note in of_type(office.ledger, WITHHELD)] == [6]

    def test_released(self, office: Office) -> None:
        """Withheld history can be sent later: each record once, under the identity that was set aside for it."""
        log = [*logged(3, 3), spoilt(b"x"), *logged(4)]
        office.read(log, start="now")
        office.read([*log, *logged(3)], start="now")
        assert office.ledger.release(office.context()) == 4
        assert punches(office.ledger) == [
            ("1001", "07:00:03", 3),
            ("1001", "07:00:03", 1),
            ("1001", "07:00:03", 2),
            ("1001", "07:00:04", 1),
        ]
        positions = [event["data"]["position"] for event in of_type(office.ledger, RECORDED, QUARANTINED)]
        assert positions == [4, 0, 1, 2, 3]
        assert office.ledger.counts().withheld == 0
        assert office.ledger.release(office.context()) == 0
        assert office.read([*log, *logged(3)]).new == 0

    def test_released_after_the_device_was_replaced(self, office: Office) -> None:
        """What the old device had is published as the old device's."""
        office.read(logged(3, 3), start="now")
        before, office.serial = office.serial, "CEXA193960002"
        office.ledger.pin_serial("lobby", office.serial)
        assert office.ledger.release(office.context()) == 2
        data = [event["data"] for event in of_type(office.ledger, RECORDED)]
        found = [(one["serial"], one["occurrence"], one["position"]) for one in data]
        assert found == [(before, 1, None), (before, 2, None)]

    def test_released_by_date(self, office: Office) -> None:
        """Only what is dated in the span that was requested."""
        office.read([made(day=DAY - timedelta(days=days)) for days in (4, 3, 2, 1)], start="now")
        assert (
            office.ledger.release(office.context(), (DAY - timedelta(days=3)).date(), (DAY - timedelta(days=2)).date())
            == 2
        )
        assert office.ledger.counts().withheld == 2

    def test_all(self, office: Office) -> None:
        """``all`` withholds nothing and reports nothing."""
        office.read(logged(0, 1), start="all")
        assert [event["type"] for event in events_of(office.ledger)] == [RECORDED, RECORDED]


def by_uid(*uids_and_seconds: tuple[int, int]) -> list[Record]:
    """Make a log of 8-byte records, which hold the terminal's internal user number."""
    return [made(None, second, uid=uid) for uid, second in uids_and_seconds]


class TestUid:
    """Logs that name persons by an internal number."""

    def test_pin_is_resolved_when_stored(self, office: Office) -> None:
        """The user table of the moment gives the PIN; the number stays beside it."""
        office.read(by_uid((5, 0)), pins={5: "1005"})
        (event,) = events_of(office.ledger)
        assert (event["data"]["pin"], event["data"]["uid"]) == ("1005", 5)
        assert event["id"] == stranger_id(SERIAL, "1005", "2026-09-07T07:00:00", 1)

    def test_number_given_to_another_person(self, office: Office) -> None:
        """A punch keeps its person when the number is given to another one; only new punches are hers."""
        office.read(by_uid((5, 0), (5, 1)), pins={5: "1005"})
        stored = office.read(by_uid((5, 0), (5, 1), (5, 2)), pins={5: "2222"})
        assert stored.new == 1
        assert [pin for pin, *_ in punches(office.ledger)] == ["1005", "1005", "2222"]
        (note,) = of_type(office.ledger, CHANGED)
        assert {key: note["data"][key] for key in ("what", "uid", "pin_before", "pin_after")} == {
            "what": "user_number",
            "uid": 5,
            "pin_before": "1005",
            "pin_after": "2222",
        }
        assert int(note["sequence"]) == 3, "in front of the first punch that may be in doubt"

    def test_nothing_old_is_rebound_by_another_generation(self, office: Office) -> None:
        """A log that is matched anew keeps the persons of its records, though the number is another's by then."""
        office.read(by_uid((5, 0), (5, 1), (6, 1)), pins={5: "1005", 6: "1006"})
        moved = by_uid((5, 0), (6, 1), (5, 1), (5, 9))
        stored = office.read(moved, pins={5: "2222", 6: "1006"})
        assert (stored.new, stored.reordered + stored.missed) == (1, 1)
        assert [pin for pin, *_ in punches(office.ledger)] == ["1005", "1005", "1006", "2222"]
        assert office.read(moved, pins={5: "3333"}).new == 0

    @pytest.mark.usefixtures("small_slices")
    @pytest.mark.parametrize("at", range(12))
    def test_crash_while_another_generation_is_matched(self, office: Office, at: int) -> None:
        """What the crash left unmatched is matched later, repeated records too, and nothing is bound anew."""
        log = by_uid(*((uid, second // 2) for second in range(6) for uid in (5, 6)))
        office.read(log, pins={5: "1005", 6: "1006"})
        moved = [log[-1], *log[:-1]]
        office.read_until(moved, at, pins={5: "2222", 6: "3333"})
        office.read([*moved, *by_uid((5, 50))], pins={5: "2222", 6: "3333"})
        found = Counter(pin for pin, *_ in punches(office.ledger))
        assert found == {"1005": 6, "1006": 6, "2222": 1}

    def test_another_device_with_the_same_numbers(self, office: Office) -> None:
        """Its records are its own, whatever the numbers stood for at the device before it."""
        record = made(None, day=RESET, uid=5)
        office.read([record], pins={5: "1005"})
        office.serial = "CEXA193960002"
        office.ledger.pin_serial("lobby", office.serial)
        assert office.read([record], pins={5: "2222"}).new == 1
        assert not of_type(office.ledger, CHANGED)

    def test_deleted_user(self, office: Office) -> None:
        """Reading again after the user was deleted changes nothing."""
        office.read(by_uid((5, 0)), pins={5: "1005"})
        assert office.read(by_uid((5, 0)), pins={}).new == 0
        assert [pin for pin, *_ in punches(office.ledger)] == ["1005"]

    def test_number_without_user(self, office: Office) -> None:
        """A number without a user is published as it is, and never bound to a person later."""
        office.read(by_uid((6, 0)), pins={5: "1005"})
        assert office.read(by_uid((6, 0)), pins={6: "1006"}).new == 0
        (event,) = events_of(office.ledger)
        assert (event["data"]["pin"], event["data"]["uid"]) == (None, 6)
        assert event["id"] == stranger_id(SERIAL, "uid:6", "2026-09-07T07:00:00", 1)

    def test_live_with_pin_then_log_with_number(self, office: Office) -> None:
        """A live event that names the PIN is confirmed by a record that names the number."""
        office.live(made("1005", 0))
        assert office.read(by_uid((5, 0)), pins={5: "1005"}).confirmed == 1

    @pytest.mark.usefixtures("small_slices")
    def test_crash_and_another_user_table(self, office: Office) -> None:
        """What was stored before a crash keeps its person though the table has changed meanwhile."""
        log = by_uid(*((5, second) for second in range(6)))
        office.read_until(log, 5, last=1, pins={5: "1005"})
        assert office.read(log, pins={5: "2222"}).new == 2
        assert [pin for pin, *_ in punches(office.ledger)] == ["1005"] * 4 + ["2222"] * 2


class TestTally:
    """How far the records of each day have travelled."""

    def test_three_ways(self, office: Office) -> None:
        """In the log, in the ledger, withheld, sent: by the terminal's day, unreadable records apart."""
        yesterday = DAY - timedelta(days=1)
        history: list[Record] = [made(day=yesterday), spoilt(b"x")]
        office.read(history, start="now")
        log = [*history, *logged(1, 2), spoilt(b"y")]
        office.read(log, start="now")
        office.live(made(second=9))
        office.ledger.mark_sent([2])
        office.ledger.flush_marks()
        assert office.ledger.tally("lobby") == [
            DayCounts(None, in_log=2, in_ledger=1, withheld=1, sent=0, confirmed=0),
            DayCounts(yesterday.date(), in_log=1, in_ledger=0, withheld=1, sent=0, confirmed=0),
            DayCounts(DAY.date(), in_log=2, in_ledger=3, withheld=0, sent=1, confirmed=0),
        ]
        assert [day.day for day in office.ledger.tally("lobby", DAY.date())] == [None, DAY.date()]
        assert office.ledger.tally("gudang") == []

    @pytest.mark.parametrize("days", [*range(1, 6), 10**20])
    def test_the_newest_days(self, office: Office, days: int) -> None:
        """A summary has the newest days of a tally, withheld ones and the records without a day among them."""
        history = [made(day=DAY - timedelta(days=back)) for back in (9, 2)]
        office.read([*history, spoilt(b"x")], start="now")
        office.read([*history, spoilt(b"x"), *(made(day=DAY - timedelta(days=back)) for back in (400, 9, 1, 0))])
        undated, *tally = office.ledger.tally("lobby")
        assert (undated.day, len(tally)) == (None, 5)
        office.ledger.flush_marks()
        for since in (date.min, DAY.date() - timedelta(days=1)):
            summary = office.ledger.summary(days, since)
            assert summary == read_summary(office.ledger.path.parent, days, since)
            newest = [day for day in tally if day.day and day.day >= since][-days:]
            assert summary["tallies"]["lobby"] == [
                {**asdict(day), "day": day.day and day.day.isoformat()} for day in (undated, *newest)
            ]

    def test_log_that_lost_its_front(self, office: Office) -> None:
        """What a whole reading finds in the log is what counts, whatever earlier ones added up."""
        log = [*(made(pin, day=DAY - timedelta(days=1)) for pin in ("1", "2")), *logged(1)]
        office.read(log)
        office.read(log[1:])
        assert [(day.in_log, day.in_ledger) for day in office.ledger.tally("lobby")] == [(1, 2), (1, 1)]

    def test_tail_readings_add_up(self, office: Office) -> None:
        """Between two whole readings the log's days are counted from what each reading adds."""
        office.read(logged(*range(10)))
        office.read(logged(*range(12)), at=2)
        assert [day.in_log for day in office.ledger.tally("lobby")] == [12]


class TestDiffers:
    """A whole reading shows what the readings before it got wrong."""

    def test_missed(self, office: Office) -> None:
        """A record in the midst of known ones is stored now, and the miss is on record."""
        office.read(logged(*range(9), 10, 11))
        stored = office.read(logged(*range(12)))
        assert (stored.missed, stored.invented, stored.reordered, stored.new) == (1, 0, 0, 1)
        (note,) = of_type(office.ledger, CHANGED)
        assert {key: note["data"][key] for key in ("what", "missed", "invented", "reordered")} == {
            "what": "log_differs",
            "missed": 1,
            "invented": 0,
            "reordered": 0,
        }

    def test_invented(self, office: Office) -> None:
        """A record that the log does not hold stays in the ledger, and is on record as such."""
        office.read(logged(*range(12)))
        stored = office.read([*logged(*range(5)), *logged(*range(6, 12))])
        assert (stored.missed, stored.invented, stored.reordered, stored.new) == (0, 1, 0, 0)
        assert len(punches(office.ledger)) == 12

    def test_reordered(self, office: Office) -> None:
        """The same records in another order are no new ones."""
        office.read(logged(*range(12)))
        stored = office.read(logged(0, 2, 1, *range(3, 12)))
        assert (stored.missed, stored.invented, stored.reordered, stored.new) == (0, 0, 2, 0)

    def test_nothing(self, office: Office) -> None:
        """The usual answer is zero, and no event."""
        office.read(logged(*range(12)))
        stored = office.read(logged(*range(14)))
        assert (stored.missed, stored.invented, stored.reordered, stored.new) == (0, 0, 0, 2)
        assert not of_type(office.ledger, CHANGED)


class TestStillTravelling:
    """A reading is stored while it is being fetched."""

    @pytest.mark.usefixtures("small_slices")
    def test_slices_are_stored_as_they_come(self, office: Office) -> None:
        """Before the fetching goes on, what has come is on the disk; a cut costs no more than one slice."""
        log = logged(*range(10))
        stored_at: list[int] = []

        class Line:
            def __iter__(self) -> Iterator[Record]:
                for record in log:
                    stored_at.append(office.ledger.placed("lobby"))
                    yield record

        office.ledger.record_reading(office.context(), Reading(0, 10, Line(), "40"))
        assert stored_at == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
        log += logged(10, 11)
        stored_at.clear()
        office.ledger.record_reading(office.context(), Reading(0, 12, Line(), "40"))
        assert len(stored_at) == 12, "what continues the known order is fetched once"


class TestSerial:
    """Which device hangs at a terminal's place."""

    def test_pinned_once(self, office: Office) -> None:
        """Pinning the same serial again changes nothing."""
        office.read(logged(0, 1))
        known = office.known
        assert office.ledger.pin_serial("lobby", SERIAL) == known
        assert office.read(logged(0, 1)).new == 0

    def test_another_device(self, office: Office) -> None:
        """Another serial begins another log: all of it is new, with its own identities; nothing old is touched."""
        office.read(logged(0, 1))
        office.serial = "NEW"
        assert office.ledger.pin_serial("lobby", "NEW").generation == 1
        assert office.read(logged(0, 1)).new == 2
        assert [event["data"]["serial"] for event in events_of(office.ledger)] == [SERIAL, SERIAL, "NEW", "NEW"]

    def test_first_device_returns(self, office: Office) -> None:
        """The first device back from repair: what it held is known, what it gained is new."""
        office.read(logged(0, 1, 1))
        for serial in ("NEW", SERIAL):
            office.serial = serial
            office.ledger.pin_serial("lobby", serial)
            office.read(logged(0, 1, 1, 2))
        serials = [event["data"]["serial"] for event in of_type(office.ledger, RECORDED)]
        assert Counter(serials) == {SERIAL: 4, "NEW": 4}

    def test_live_punches_of_the_old_device(self, office: Office) -> None:
        """The new device's log is not requested them; the old one's, should it return, doubles none."""
        office.read(logged(0))
        office.live(made(second=1))
        for serial, log in (("NEW", logged(5)), (SERIAL, logged(0, 1, 2))):
            office.serial = serial
            office.ledger.pin_serial("lobby", serial)
            assert office.ledger.counts().unconfirmed == 0
            stored = office.read(log)
            assert (stored.new, stored.unconfirmed) == (1, 0)
        assert [time for _, time, _ in punches(office.ledger)] == ["07:00:00", "07:00:01", "07:00:05", "07:00:02"]
        assert of_type(office.ledger, UNCONFIRMED) == []

    def test_new_device_with_an_empty_log(self, office: Office) -> None:
        """A start was chosen for the place, once; a replacement has no history to withhold, whatever it shows first."""
        office.read(logged(0), start="now")
        office.read([], start="now")
        office.serial = "NEW"
        assert office.ledger.pin_serial("lobby", "NEW").shrunk_to is None
        office.read([], start="now")
        assert office.read(logged(5), start="now").new == 1
        assert [event["data"]["records"] for event in of_type(office.ledger, WITHHELD)] == [1]


# --- the chain, the writer, the marks -----------------------------------------------------------------------------


@contextmanager
def held(ledger: Ledger) -> Iterator[Callable[[int], None]]:
    """Keep the writer busy; what is recorded meanwhile waits and is then taken together.

    Yields a function that waits until so many calls are waiting.
    """
    entered, release = threading.Event(), threading.Event()

    def work(_: object) -> None:
        entered.set()
        assert release.wait(WAIT_S)

    def waiting(count: int) -> None:
        while ledger._writer._jobs.qsize() < count:
            time.sleep(0.001)

    busy = threading.Thread(target=ledger.do, args=(work,))
    busy.start()
    assert entered.wait(WAIT_S)
    try:
        yield waiting
    finally:
        release.set()
        busy.join()


class Caller(threading.Thread):
    """Calls something in a thread of its own and keeps what comes of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Call."""
        try:
            self.result = self.call()
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            self.error = exc


def note(office: Office, **data: Any) -> int:
    """Record a note."""
    return office.ledger.record_note(RESUMED, None, office.now, data)


def commits(ledger: Ledger) -> list[str]:
    """Return a list that grows by every commit from now on."""
    seen: list[str] = []

    def listen(*arguments: Any) -> None:
        if arguments[2] == "COMMIT":
            seen.append(arguments[2])

    sqlalchemy.event.listen(ledger._engine, "before_cursor_execute", listen)
    return seen


class TestChain:
    """Sequence and digests over everything."""

    def test_all_types_are_one_chain(self, office: Office) -> None:
        """Punches, quarantine and notes follow each other without a gap, each sealed onto the one before."""
        office.read([*logged(0), spoilt(b"x")], start=date(2026, 9, 1))
        office.live(made(second=9))
        note(office, clean=True)
        office.read([*logged(0), spoilt(b"x")])
        assert [event["type"] for event in events_of(office.ledger)] == [
            WITHHELD,
            RECORDED,
            QUARANTINED,
            RECORDED,
            RESUMED,
            UNCONFIRMED,
        ]

    def test_reopening_continues(self, office: Office) -> None:
        """A restart continues stream, sequence and digests."""
        office.read(logged(0))
        stream = office.ledger.stream
        office.open()
        office.read(logged(0, 1))
        assert office.ledger.stream == stream
        assert [event["sequence"][-2:] for event in events_of(office.ledger)] == ["01", "02"]

    def test_bodies_never_change(self, office: Office) -> None:
        """What is sent again is byte for byte what was sent first."""
        office.read(logged(0, 1))
        before = office.ledger.events(0, 10)
        office.ledger.mark_sent([1])
        office.open()
        office.read(logged(0, 1, 2))
        assert office.ledger.events(0, 2) == before

    def test_notes_about_the_same_are_two(self, office: Office) -> None:
        """Two notes with equal content have two identities."""
        assert (note(office), note(office)) == (1, 2)
        assert len(events_of(office.ledger)) == 2

    def test_sessions_rise(self, office: Office) -> None:
        """Each session is higher than any before, also after a restart, and is no event."""
        sessions = [office.ledger.next_session(), office.ledger.next_session()]
        office.open()
        sessions.append(office.ledger.next_session())
        assert sessions == sorted(set(sessions))
        assert office.ledger.last_sequence() == 0


class TestWriter:
    """One writer, many callers."""

    def test_many_threads(self, office: Office) -> None:
        """Terminals that record at once: everything is stored, each log in its order, in one chain."""

        def work(name: str) -> None:
            office.ledger.pin_serial(name, name.upper())
            context = office.context(terminal=name, serial=name.upper())
            for length in range(0, 60, 6):
                office.ledger.record_reading(context, tail(logged(*range(length + 6)), max(0, length - 2)))

        callers = [Caller(lambda name=name: work(name)) for name in ("a", "b", "c", "d", "e", "f")]  # type: ignore[misc]
        for caller in callers:
            caller.join()
        assert [caller.error for caller in callers] == [None] * 6
        seen: dict[str, list[int]] = {}
        for event in events_of(office.ledger):
            seen.setdefault(event["subject"], []).append(event["data"]["position"])
        assert seen == {name: list(range(60)) for name in "abcdef"}

    def test_group_commit(self, office: Office) -> None:
        """What waits while the disk is busy goes into one transaction, and its callers return after it."""
        seen = commits(office.ledger)
        with held(office.ledger) as waiting:
            callers = [Caller(lambda: note(office)) for _ in range(20)]
            waiting(20)
            office.ledger.mark_sent([1])
        for caller in callers:
            caller.join()
        assert sorted(caller.result for caller in callers) == list(range(1, 21))  # type: ignore[type-var]
        assert len(seen) == 2, "one for what kept the writer busy, one for the twenty"

    def test_no_listener_is_called_before_the_commit(self, office: Office) -> None:
        """A call returns only once a second reader of the file sees what it stored."""
        seen = []

        def look(*arguments: Any) -> None:
            if arguments[2] == "COMMIT":
                seen.append(caller.is_alive())

        sqlalchemy.event.listen(office.ledger._engine, "before_cursor_execute", look)
        with held(office.ledger) as waiting:
            caller = Caller(lambda: note(office))
            waiting(1)
        caller.join()
        assert seen[-1] is True
        with closing(LedgerReader(office.data_dir)) as reader:
            assert reader.last_sequence() == 1

    def test_one_mistake_harms_only_itself(self, office: Office) -> None:
        """A job that fails is its caller's to hear of; its neighbours are stored and the chain holds."""
        with held(office.ledger) as waiting:
            callers = []
            for number, value in enumerate((1, object(), 2, object(), 3), 1):
                callers.append(Caller(lambda value=value: note(office, value=value)))  # type: ignore[misc]
                waiting(number)
        for caller in callers:
            caller.join()
        assert [caller.result for caller in callers] == [1, None, 2, None, 3]
        assert [type(caller.error) for caller in callers] == [type(None), TypeError, type(None), TypeError, type(None)]
        assert [event["data"] for event in events_of(office.ledger)] == [{"value": value} for value in (1, 2, 3)]

    def test_half_a_job_is_no_job(self, office: Office) -> None:
        """A job that fails after its first event leaves nothing of it, on the disk or in the chain."""

        def work(transaction: Any) -> None:
            transaction.note(RESUMED, None, office.now, {"half": 1})
            transaction.flush()
            transaction.note(RESUMED, None, office.now, {"half": 2})
            raise ValueError("the other half")

        with pytest.raises(ValueError, match="the other half"):
            office.ledger.do(work)
        assert note(office, whole=1) == 1
        assert [event["data"] for event in events_of(office.ledger)] == [{"whole": 1}]

    def test_the_listener_is_called_for_new_events(self, office: Office) -> None:
        """Who waits for events is called after a commit that added some, and not otherwise."""
        called = []
        office.ledger.on_recorded = lambda: called.append(office.ledger.last_sequence())
        office.read(logged(0, 1))
        office.ledger.mark_sent([1])
        office.ledger.flush_marks()
        office.ledger.next_session()
        assert called == [2]

    def test_closed_ledger(self, office: Office) -> None:
        """A closed ledger refuses in words; closing twice is closing once."""
        office.ledger.close()
        office.ledger.close()
        with pytest.raises(LedgerError, match="the ledger is closed"):
            note(office)

    def test_closing_finishes_what_waits(self, office: Office) -> None:
        """What was handed over before the closing is stored by it, marks included."""
        office.read(logged(0))
        with held(office.ledger) as waiting:
            caller = Caller(lambda: note(office))
            waiting(1)
            closing_ = Caller(office.ledger.close)
            waiting(2)
            office.ledger.mark_sent([1])
        caller.join()
        closing_.join()
        assert (caller.result, closing_.error) == (2, None)
        with closing(LedgerReader(office.data_dir)) as reader:
            assert [waiting.sequence for waiting in reader.pending(0, 10)] == [2]

    def test_closing_ends_where_the_last_commit_fails(self, office: Office) -> None:
        """The disk fails while the ledger is closed: what waits is refused, and the process can end."""
        seen = commits(office.ledger)

        def fail(*_: Any) -> None:
            if len(seen) == 2:  # the first is of what kept the writer busy
                raise OSError("the disk is gone")

        with held(office.ledger) as waiting:
            caller = Caller(lambda: note(office))
            waiting(1)
            closing_ = Caller(office.ledger.close)
            waiting(2)
            sqlalchemy.event.listen(office.ledger._engine, "before_cursor_execute", fail)
        caller.join(WAIT_S)
        closing_.join(WAIT_S)
        assert (caller.is_alive(), closing_.is_alive()) == (False, False)
        assert isinstance(caller.error, OSError)
        assert isinstance(office.ledger.failure, OSError)

    def test_closing_leaves_no_caller_waiting(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that meets the closing is stored or refused, but returns."""
        put, stopped = office.ledger._writer._jobs.put, threading.Event()

        class Late:
            """A queue in which a job arrives behind the order to stop, as late as it can."""

            def put(self, job: object) -> None:
                if job is None:
                    put(None)
                    stopped.set()
                else:
                    stopped.wait(0.2)
                    put(job)  # type: ignore[arg-type]

            def __getattr__(self, name: str) -> Any:
                return getattr(queue, name)

        queue = office.ledger._writer._jobs
        monkeypatch.setattr(office.ledger._writer, "_jobs", Late())
        caller = Caller(lambda: note(office))
        time.sleep(0.02)
        office.ledger.close()
        caller.join(WAIT_S)
        assert not caller.is_alive()
        assert caller.result == 1 or isinstance(caller.error, LedgerError)


def sent_on_disk(office: Office) -> list[int]:
    """Return what another process sees as sent."""
    with closing(sqlite3.connect(office.data_dir / "ledger.db")) as connection:
        rows = connection.execute("SELECT sequence FROM event WHERE sent_ms IS NOT NULL ORDER BY sequence")
        return [sequence for (sequence,) in rows]


class TestDelivery:
    """How far events have travelled."""

    @pytest.fixture
    def stocked(self, office: Office) -> Office:
        """Return an office with six events."""
        office.read(logged(*range(6)))
        return office

    def test_pending(self, stocked: Office) -> None:
        """What the broker does not have comes in order, from where the caller stands, as much as it requests."""
        stocked.ledger.mark_sent([1, 2, 4])
        stocked.ledger.flush_marks()
        assert [one.sequence for one in stocked.ledger.pending(0, 10)] == [3, 5, 6]
        assert [one.sequence for one in stocked.ledger.pending(3, 1)] == [5]

    def test_pending_of_one_topic(self, stocked: Office) -> None:
        """What waits for one topic only."""
        note(stocked)
        assert [one.sequence for one in stocked.ledger.pending(0, 10, "note")] == [7]
        assert len(stocked.ledger.pending(0, 10, "punch/lobby")) == 6

    def test_topics(self, stocked: Office) -> None:
        """Each event knows its topic below the gateway's prefix."""
        note(stocked)
        stocked.read([*logged(*range(6)), spoilt(b"x")])
        assert [one.topic for one in stocked.ledger.events(5, 10)] == ["punch/lobby", "note", "quarantine/lobby"]

    def test_mark_sent_is_on_the_disk_after_flush(self, stocked: Office) -> None:
        """After ``flush_marks`` another process sees the marks."""
        stocked.ledger.mark_sent([2, 3])
        stocked.ledger.flush_marks()
        assert sent_on_disk(stocked) == [2, 3]

    def test_mark_sent_does_not_wait_for_the_disk(self, stocked: Office) -> None:
        """Noting that the broker has an event returns while the writer is busy."""
        with held(stocked.ledger):
            caller = Caller(lambda: stocked.ledger.mark_sent([1]))
            caller.join(WAIT_S)
            assert not caller.is_alive()
            assert sent_on_disk(stocked) == []
        stocked.ledger.flush_marks()
        assert sent_on_disk(stocked) == [1]

    def test_marks_are_written_without_company(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Marks that no event takes along are written after their waiting time."""
        monkeypatch.setattr(writer, "MARKS_DELAY_S", 0.02)
        office = Office(tmp_path / "data")
        note(office)
        office.ledger.mark_sent([1])
        eventually(lambda: sent_on_disk(office) == [1])
        office.ledger.close()

    def test_park(self, stocked: Office) -> None:
        """A message that the broker will never take waits no longer, and is neither sent nor forgotten."""
        stocked.ledger.park(2, 0x99)
        stocked.ledger.flush_marks()
        assert [one.sequence for one in stocked.ledger.pending(0, 10)] == [1, 3, 4, 5, 6]
        assert [one.sequence for one in stocked.ledger.events(1, 1)] == [2]
        assert stocked.ledger.counts().parked == 1

    def test_counts(self, stocked: Office) -> None:
        """Sent, parked and waiting are all there is."""
        first = stocked.ledger.pending(0, 1)[0].recorded_ms
        stocked.now += timedelta(minutes=5)
        stocked.ledger.mark_sent([1, 2])
        stocked.ledger.park(3, 0x90)
        stocked.ledger.flush_marks()
        counts = stocked.ledger.counts()
        assert (counts.sequence, counts.sent, counts.parked, counts.waiting) == (6, 2, 1, 3)
        assert counts.oldest_waiting_ms == first
        assert counts.last_sent_ms == round(stocked.now.timestamp() * 1000)

    def test_counts_of_an_empty_ledger(self, office: Office) -> None:
        """Nothing is counted as nothing."""
        counts = office.ledger.counts()
        assert (counts.sequence, counts.waiting, counts.sent, counts.parked) == (0, 0, 0, 0)
        assert (counts.withheld, counts.unconfirmed) == (0, 0)
        assert (counts.oldest_waiting_ms, counts.last_sent_ms) == (None, None)

    def test_mark_of_an_unknown_sequence(self, stocked: Office) -> None:
        """A mark for an event that is not there does no harm."""
        stocked.ledger.mark_sent([99])
        stocked.ledger.flush_marks()
        assert stocked.ledger.counts().waiting == 6

    def test_first_time_counts(self, stocked: Office) -> None:
        """An event sent again keeps the moment at which it was sent first."""
        stocked.ledger.mark_sent([1])
        stocked.ledger.flush_marks()
        first = stocked.ledger._scalar("SELECT sent_ms FROM event WHERE sequence = 1")
        stocked.now += timedelta(hours=1)
        stocked.ledger.mark_sent([1])
        stocked.ledger.flush_marks()
        assert stocked.ledger._scalar("SELECT sent_ms FROM event WHERE sequence = 1") == first


# --- opening ------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Return a data_dir whose ledger holds three punches and was closed cleanly."""
    office = Office(tmp_path / "data")
    office.read(logged(0, 1, 2))
    office.ledger.close()
    return office.data_dir


def sql(data_dir: Path, statement: str) -> Any:
    """Do something to a ledger file behind hadir's back."""
    with closing(sqlite3.connect(data_dir / "ledger.db", isolation_level=None)) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Act as a user to whom file permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def common_place() -> Iterator[Path]:
    """Make a folder that also an unprivileged user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="hadir-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class TestOpening:
    """Whether a ledger may be used."""

    def test_created_with_its_folder(self, tmp_path: Path) -> None:
        """A first start makes the folder and an empty ledger, readable by its user and group only."""
        with opened(tmp_path / "var" / "hadir", SOURCE) as ledger:
            assert (ledger.source, ledger.last_sequence(), ledger.last_alive) == (SOURCE, 0, None)
            assert ledger.was_clean
        assert (tmp_path / "var" / "hadir").stat().st_mode & 0o007 == 0

    @pytest.mark.parametrize("name", ["kantor lantai 2", "50%", "a#b", "what?", "café"])
    def test_any_folder_name(self, tmp_path: Path, name: str) -> None:
        """A folder may have any name; the ledger is in it and nowhere else."""
        with opened(tmp_path / name, SOURCE) as ledger:
            ledger.next_session()
        assert (tmp_path / name / "ledger.db").stat().st_size > 0
        assert [path.name for path in tmp_path.iterdir()] == [name]
        with closing(LedgerReader(tmp_path / name)) as reader:
            assert reader.source == SOURCE

    def test_second_instance(self, office: Office) -> None:
        """A ledger that is open is refused, and stays as it is for the one who has it."""
        with pytest.raises(LedgerLocked, match="another hadir is running"):
            Ledger(office.data_dir, SOURCE)
        assert note(office) == 1

    def test_second_process(self, tmp_path: Path) -> None:
        """A ledger that another process has open is refused."""
        with writing(tmp_path / "data", 1) as process:
            listen(process)
            with pytest.raises(LedgerLocked, match="another hadir is running"):
                Ledger(tmp_path / "data", SOURCE)

    def test_free_after_closing(self, closed: Path) -> None:
        """A closed ledger may be opened again, in the same process too."""
        for _ in range(3):
            with opened(closed, SOURCE) as ledger:
                assert len(events_of(ledger)) == 3

    def test_free_after_a_refusal(self, closed: Path) -> None:
        """A refusal holds no lock."""
        with pytest.raises(LedgerError, match="belongs to"):
            Ledger(closed, "/hadir/other/gw-01")
        with opened(closed, SOURCE) as ledger:
            assert ledger.last_sequence() == 3

    def test_foreign_source(self, closed: Path) -> None:
        """The ledger of another gateway is refused, with both names and what to do."""
        with pytest.raises(LedgerError, match=r"belongs to /hadir/office/gw-01.* says /hadir/office/gw-02; put `site`"):
            Ledger(closed, "/hadir/office/gw-02")

    def test_newer_version(self, closed: Path) -> None:
        """A ledger of a newer version is refused in words and not touched."""
        sql(closed, "PRAGMA user_version = 99")
        before = (closed / "ledger.db").read_bytes()
        with pytest.raises(LedgerError, match=r"newer version of hadir \(tables 99.*install that version again"):
            Ledger(closed, SOURCE)
        with pytest.raises(LedgerError, match="newer version"):
            LedgerReader(closed)
        assert (closed / "ledger.db").read_bytes() == before

    def test_clean_and_unclean(self, office: Office) -> None:
        """Only a ledger that was closed states at the next start that it was."""
        office.open()
        assert office.ledger.was_clean
        copy = office.data_dir.with_name("copy")
        shutil.copytree(office.data_dir, copy)  # what a power cut would leave
        with opened(copy, SOURCE) as ledger:
            assert not ledger.was_clean
        with opened(copy, SOURCE) as ledger:
            assert ledger.was_clean

    def test_last_alive(self, office: Office) -> None:
        """The next start knows when the last one was alive, to the moment of its last sign of life."""
        os.utime(office.data_dir / "ledger.lock", (1, 1))
        office.open()
        assert office.ledger.last_alive == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
        office.ledger.alive()
        office.open()
        assert office.ledger.last_alive is not None
        assert datetime.now(UTC) - office.ledger.last_alive < timedelta(minutes=1)

    def test_sign_of_life_writes_nothing_to_the_ledger(self, office: Office) -> None:
        """Being alive costs the ledger nothing."""
        before = office.bytes_on_disk()
        office.ledger.alive()
        assert office.bytes_on_disk() == before


class TestHabits:
    """Queries of a terminal's past, and what is stored beside its log."""

    def test_hours_count_published_and_withheld_punches(self, office: Office) -> None:
        """By day and hour of the terminal's clock, from a day on; records without a readable date are in no hour."""
        log: list[Record] = [
            made(day=DAY - timedelta(days=2)),
            made(day=DAY - timedelta(days=1)),
            spoilt(b"nonsense"),
            made("1002", 59 * 60, day=DAY - timedelta(days=1)),
        ]
        office.read(log, start="now")
        office.read([*log, made("1003"), made("1004", 9 * 3600)])

        assert office.ledger.hours("lobby", (DAY - timedelta(days=1)).date()) == {
            ((DAY - timedelta(days=1)).date(), 7): 2,
            (DAY.date(), 7): 1,
            (DAY.date(), 16): 1,
        }
        assert office.ledger.hours("elsewhere", DAY.date()) == {}

    def test_quarters_count_the_punches_of_all_terminals(self, office: Office) -> None:
        """By day and quarter of an hour of their clocks, in the days requested; what is no punch is not counted."""
        before = DAY - timedelta(days=1)
        records = [made(day=before - timedelta(days=1)), made(day=before), made("1002", 899, day=before)]
        office.read([*records, spoilt(b"nonsense"), made("1003", 900, day=before), made("1004", 61_199)])

        quarters = {(before.date(), 28): 2, (before.date(), 29): 1, (DAY.date(), 95): 1}
        assert office.ledger.quarters(before.date(), DAY.date()) == quarters
        assert office.ledger.quarters(before.date(), before.date()) == {
            key: count for key, count in quarters.items() if key[0] == before.date()
        }

    def test_punch_times_are_those_since_a_second(self, office: Office) -> None:
        """That second included."""
        office.read([made("1001"), made("1002", 1), made("1003")])

        assert sorted(office.ledger.punch_times("lobby", DAY)) == [DAY, DAY, DAY + timedelta(seconds=1)]
        assert office.ledger.punch_times("lobby", DAY + timedelta(seconds=1)) == [DAY + timedelta(seconds=1)]

    def test_what_is_remembered_stays_until_the_serial_changes(self, office: Office) -> None:
        """Each by itself; a new device has yet to show what it can."""
        office.read(logged(0))
        office.ledger.remember("lobby", ranged=False)
        office.ledger.remember("lobby", threshold=80)
        evidence = ClockEvidence(-300, 510, datetime(2026, 9, 7, tzinfo=UTC))
        office.ledger.remember_clock("lobby", evidence)
        office.open()

        known = office.ledger.terminal("lobby")
        assert known is not None
        assert (known.ranged, known.threshold) == (False, 80)
        assert (known.offset_ms, known.bound_ms, known.measured_ms) == (-300, 510, 1_788_739_200_000)
        known = office.ledger.pin_serial("lobby", "OTHER")
        assert (known.ranged, known.threshold) == (None, None)

    def test_a_lookup_during_a_reading_in_which_all_is_known(self, office: Office) -> None:
        """A long reading that brings nothing new takes as long as any other."""
        log = logged(*range(1200))
        office.read(log)
        looks = []

        office.read(log, between=lambda: looks.append(1))

        assert len(looks) == 2


class TestDamage:
    """A place that cannot hold a ledger is refused with what to do; damaged ledgers are in test_rescue."""

    def test_foreign_database(self, closed: Path) -> None:
        """A database of something else is refused and left alone."""
        (closed / "ledger.db").unlink()
        sql(closed, "CREATE TABLE other (x)")
        before = (closed / "ledger.db").read_bytes()
        with pytest.raises(LedgerError, match="database of something else; choose another data_dir"):
            Ledger(closed, SOURCE)
        assert (closed / "ledger.db").read_bytes() == before

    def test_crash_while_the_ledger_is_created(self, tmp_path: Path) -> None:
        """A first start that died half-way prevents no other: the ledger appears whole or not at all."""
        made_by = []

        def die(*_: object) -> None:
            made_by.append(sorted(path.name for path in tmp_path.iterdir()))
            raise OSError("power cut")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "replace", die)
            with pytest.raises(LedgerError):
                Ledger(tmp_path, SOURCE)
        assert made_by
        assert not (tmp_path / "ledger.db").exists()
        with opened(tmp_path, SOURCE) as ledger:
            assert ledger.next_session() == 1

    @pytest.mark.usefixtures("common_place", "unprivileged")  # the folder is made before, wherever TMPDIR is
    def test_unwritable_folder(self, common_place: Path) -> None:
        """A folder that may not be written to is refused with what to do."""
        if os.geteuid() == common_place.stat().st_uid:
            common_place.chmod(0o555)
        with pytest.raises(LedgerError, match=r"ermission.*(data_dir|user)"):
            Ledger(common_place, SOURCE)

    @pytest.mark.usefixtures("common_place", "unprivileged")  # the folder is made before, wherever TMPDIR is
    def test_folder_that_cannot_be_made(self, common_place: Path) -> None:
        """A folder that may not be created is refused with what to do."""
        if os.geteuid() == common_place.stat().st_uid:
            common_place.chmod(0o555)
        with pytest.raises(LedgerError, match=r"ermission.*(data_dir|user)"):
            Ledger(common_place / "data", SOURCE)

    def test_folder_is_a_file(self, tmp_path: Path) -> None:
        """A file where the folder should be is refused in words."""
        (tmp_path / "data").write_text("")
        with pytest.raises(LedgerError, match="data_dir"):
            Ledger(tmp_path / "data", SOURCE)


class TestReader:
    """Looking at a ledger that a daemon is writing."""

    def test_creates_nothing(self, tmp_path: Path) -> None:
        """Where there is no ledger the reader reports it and makes none."""
        with pytest.raises(LedgerError, match=r"no ledger here yet; `hadir run` creates it"):
            LedgerReader(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_while_the_daemon_writes(self, office: Office) -> None:
        """A reader sees whole transactions only, from the first on, and delays no writer."""
        caller = Caller(lambda: [office.read(logged(*range(5 * count))) for count in range(1, 40)])
        with closing(LedgerReader(office.data_dir)) as reader:
            seen = []
            while caller.is_alive():
                seen.append(len(events_of(reader)))
            assert reader.terminal("lobby") == office.known
            assert (len(events_of(reader)), reader.placed("lobby")) == (195, 195)
        assert caller.error is None
        assert seen == sorted(seen)
        assert {count % 5 for count in seen} <= {0}

    def test_ledger_of_a_stopped_daemon(self, closed: Path) -> None:
        """A ledger without a writer is read as well, and its file is not changed."""
        before = (closed / "ledger.db").read_bytes()
        with closing(LedgerReader(closed)) as reader:
            assert len(events_of(reader)) == 3
            assert [known.name for known in reader.terminals()] == ["lobby"]
            assert reader.terminal("lift") is None
        assert (closed / "ledger.db").read_bytes() == before

    def test_cannot_write(self, closed: Path) -> None:
        """A reader's connection refuses to write."""
        with closing(LedgerReader(closed)) as reader, pytest.raises(LedgerError, match="readonly"):
            reader._rows("UPDATE event SET sent_ms = 1")

    def test_damaged_file(self, closed: Path) -> None:
        """A reader states what is wrong with a damaged file, too."""
        (closed / "ledger.db").write_bytes(b"garbage" * 1000)
        with pytest.raises(LedgerError, match="damaged; start the daemon"):
            LedgerReader(closed)


# --- kill -9 ------------------------------------------------------------------------------------------------------


@contextmanager
def writing(data_dir: Path, seed: int) -> Iterator["subprocess.Popen[str]"]:
    """Run the writer; it is killed when the block ends."""
    with subprocess.Popen(
        [sys.executable, CRASH_WRITER, data_dir, str(seed)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def listen(process: "subprocess.Popen[str]") -> None:
    """Wait until the writer has the ledger."""
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"


class TestKill:
    """The process dies at any moment; what was acknowledged is there, once."""

    def test_kill_at_any_moment(self, tmp_path: Path) -> None:
        """Twelve lives, each killed in the middle of its work: no acknowledged row is missing and none is doubled."""
        writer = runpy.run_path(str(CRASH_WRITER), run_name="crash_writer")
        dice = random.Random(20260907)
        data_dir, length, notes, sent = tmp_path / "data", 0, set[int](), set[int]()
        live: set[int] = set()
        for seed in range(12):
            with writing(data_dir, seed) as process:
                listen(process)
                assert process.stdout is not None
                output = "".join(process.stdout.readline() for _ in range(dice.randrange(25)))
                time.sleep(dice.uniform(0.0, 0.01))
                process.send_signal(signal.SIGKILL)
                output += process.stdout.read()
            for line in output[: output.rfind("\n") + 1].splitlines():
                what, *numbers = line.split()
                match what:
                    case "read":
                        length = max(length, int(numbers[0]))
                    case "live":
                        live.add(int(numbers[0]))
                    case "note":
                        notes.add(int(numbers[0]))
                    case "sent":
                        sent.update(map(int, numbers))
            with opened(data_dir, SOURCE) as ledger:
                assert not ledger.was_clean
                assert ledger.last_alive is not None
                events = events_of(ledger)
                assert notes <= {int(event["sequence"]) for event in events if event["type"] == RESUMED}
                assert not sent & {waiting.sequence for waiting in ledger.pending(0, 1_000_000)}
                found = Counter(event["id"] for event in events if event["type"] == RECORDED)
                assert set(found.values()) <= {1}
                records = [writer["record_at"](number) for number in range(length)]
                assert set(ids_of(records)) <= set(found), "a record of an acknowledged reading is missing"
                reported = [writer["record_at"](number) for number in live]
                assert {stranger_id(SERIAL, one.pin, one.local_time.isoformat(), 1) for one in reported} <= set(found)
                known = ledger.terminal("lobby")
                assert known is not None
                # The last live punch, up to three ahead of the log, may be stored and not be printed.
                longest = max(length, known.in_log, max(live, default=0) + 1) + 3 + dice.randrange(20)
                ledger.record_reading(writer["context"]("log"), writer["reading"](longest))
                length = longest
                every = [event["id"] for event in of_type(ledger, RECORDED)]
                again = [writer["record_at"](number) for number in range(longest)]
                assert sorted(every) == sorted(ids_of(again)), "re-reading added what was missing and nothing twice"
        assert length > 100
        assert live
        assert notes
        assert sent


def ids_of(records: Sequence[RawPunch]) -> list[str]:
    """Return the identities that a log's records must have."""
    seen: Counter[tuple[str | None, datetime]] = Counter()
    ids = []
    for record in records:
        seen[record.pin, record.local_time] += 1
        occurrence = seen[record.pin, record.local_time]
        ids.append(stranger_id(SERIAL, str(record.pin), record.local_time.isoformat(), occurrence))
    return ids


def test_queries_of_every_minute_do_not_read_every_event(tmp_path: Path) -> None:
    """Counting is answered from small indexes: a ledger of years on an SD card is not read through for it."""
    with closing(Ledger(tmp_path, SOURCE)) as ledger:
        requested: list[str] = []
        original = ledger._rows

        def watched(statement: str, **values: object) -> list[Any]:
            requested.append(statement)
            return original(statement, **values)

        ledger._rows = watched  # type: ignore[method-assign]  # the test listens in
        ledger.counts()
        plans = [
            str(row.detail)
            for statement in requested
            if " event" in statement
            for row in original(f"EXPLAIN QUERY PLAN {statement}", after=0, limit=1)
        ]

    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN") and "USING" not in plan]


def test_checking_whether_a_ledger_is_in_use_disturbs_no_process(tmp_path: Path) -> None:
    """A doctor that looks at this very moment never makes a starting daemon or a restore fail."""
    with closing(Ledger(tmp_path, SOURCE)):
        assert in_use(tmp_path)
    assert not in_use(tmp_path)
    done = threading.Event()
    looks = [0]

    def look() -> None:
        while not done.is_set():
            in_use(tmp_path)
            looks[0] += 1

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            Ledger(tmp_path, SOURCE).close()
    finally:
        done.set()
        looking.join()
    assert looks[0] > 20
    assert not in_use(tmp_path / "nowhere")


def test_what_cannot_be_read_of_a_ledger_is_an_error_of_the_ledger(tmp_path: Path) -> None:
    """No exception of the database library leaves it."""
    with closing(Ledger(tmp_path, SOURCE)) as ledger:
        with closing(sqlite3.connect(ledger.path)) as other:
            other.execute("DROP TABLE withheld")
        record = RawPunch("1001", None, datetime(2026, 9, 4, 7), 0, 1, "0", b"")  # noqa: DTZ001 - a terminal's clock
        with pytest.raises(LedgerError):
            ledger.held("CEXA193960001", [record])


def test_a_pin_that_could_be_another_identity_is_quarantined_and_an_old_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that already holds such a punch does not change, and reads nothing new in the same log."""
    moment = datetime(2026, 9, 4, 7)  # noqa: DTZ001 - a terminal's clock
    records: list[Record] = [RawPunch("uid:7", None, moment + timedelta(hours=n), 0, 1, "0", b"x") for n in (0, 1)]
    lobby = ReadingContext(
        "lobby",
        "CEXA193960001",
        ZoneInfo("Asia/Jakarta"),
        "log",
        datetime(2026, 9, 4, 1, tzinfo=UTC),
        True,
        None,
        False,
        timedelta(minutes=1),
    )
    with closing(Ledger(tmp_path, SOURCE)) as ledger:
        ledger.pin_serial("lobby", "CEXA193960001")
        with monkeypatch.context() as before:
            before.setattr("gateway.event.checked", lambda record: record)
            assert ledger.record_reading(lobby, Reading(0, 1, records[:1], "40")).new == 1
        old = ledger.events(0, 1)[0].body
        stored = ledger.record_reading(lobby, Reading(0, 2, records, "40"))
        assert (stored.new, stored.quarantined) == (0, 1)
        assert [event.topic for event in ledger.events(0, 9)] == ["punch/lobby", "quarantine/lobby"]
        assert ledger.events(0, 1)[0].body == old
        again = ledger.record_reading(lobby, Reading(0, 2, records, "40"))
        assert (again.new, again.quarantined, again.read) == (0, 0, 2)
        assert not ledger.record_live(lobby, RawPunch("uid:7", None, moment, 0, 1, "0", b"x"))
        assert ledger.verify().breach is None
