"""Logs that fill and terminals that fall silent, over a real ledger and a calendar of weeks."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from drivers.base import Reading, Record, Sizes
from gateway.event import ReadingContext
from gateway.ledger import Ledger
from gateway.settings import Settings
from gateway.terminal.monitor import TerminalMonitor
from gateway.terminal.worker import Worker
from tests import contract
from tests.gateway.full_disk import FullDisk, impatient
from tests.gateway.scripted import Script, record

ZONE = ZoneInfo("Asia/Jakarta")
MONDAY = datetime(2026, 9, 7, tzinfo=ZONE)


class Clock:
    """A clock that stands where the test puts it."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """Return the test's moment."""
        return self.moment.astimezone(UTC)

    def synchronised(self) -> bool:
        """Return True."""
        return True


@dataclass
class Office:
    """Terminals that have been read for weeks, and their monitor."""

    folder: Path
    ledger: Ledger
    clock: Clock
    workers: list[Worker] = field(default_factory=list)
    alarms: list[tuple[str, str | None]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    monitor: TerminalMonitor | None = None

    def open(self, *names: str, weeks: int = 4, silence: str | None = "3h") -> TerminalMonitor:
        """Read every terminal at midnight before MONDAY: five punches at 7 and at 16 on each workday, forty at 12."""
        entries = [
            {"name": name, "driver": "zkteco", "address": f"10.0.0.{number}", "silence": silence}
            for number, name in enumerate(names, 1)
        ]
        settings = Settings.model_validate(
            {
                "site": "office",
                "gateway": "gw",
                "timezone": ZONE.key,
                "mqtt": {"url": "mqtt://127.0.0.1"},
                "terminals": entries,
            }
        )
        days = [MONDAY - timedelta(days=ago) for ago in range(7 * weeks, 0, -1)]
        times = [(7, 5), (12, 40), (16, 5)]
        log: list[Record] = [
            record(1001 + number, day.replace(tzinfo=None) + timedelta(hours=hour, minutes=number))
            for day in days
            if day.weekday() < 5
            for hour, count in times
            for number in range(count)
        ]
        for entry in settings.terminals:
            if self.ledger.terminal(entry.name) is None:
                self.ledger.pin_serial(entry.name, f"S-{entry.name}")
                now = self.clock.now()
                context = ReadingContext(
                    entry.name, f"S-{entry.name}", ZONE, "log", now, True, None, False, timedelta(minutes=1)
                )
                self.ledger.record_reading(context, Reading(0, len(log), log, "paper"))
            worker = Worker(
                entry,
                ZONE,
                Script().driver(),
                self.ledger,
                self.clock,
                captures=self.folder,
                report=lambda _topic, payload: self.reports.append(payload),
            )
            state = worker.state
            state.online, state.last_full_reading, state.serial = True, self.clock.now(), f"S-{entry.name}"
            state.sizes = Sizes(len(log), 100_000)
            self.workers.append(worker)
        self.monitor = TerminalMonitor(self.workers, self.ledger, self.clock, self._alarm)
        return self.monitor

    def _alarm(self, code: str, message: str, terminal: str | None) -> None:
        self.alarms.append((code, terminal))
        self.messages.append(message)

    def until(self, day: int, hour: int, minute: int = 0) -> None:
        """Let time pass and look every quarter of an hour, up to an hour of a day after MONDAY."""
        assert self.monitor is not None
        end = MONDAY + timedelta(days=day, hours=hour, minutes=minute)
        while self.clock.moment < end:
            self.clock.moment += timedelta(minutes=15)
            self.monitor.check()

    def received(self, *numbers: int) -> None:
        """Let some terminals send something."""
        for number in numbers:
            self.workers[number].state.last_new = self.clock.now()

    def changes(self) -> list[dict[str, Any]]:
        """Return the notes about changed terminals, each checked against the contract."""
        found = []
        for event in self.ledger.events(0, 100_000):
            if event.topic.startswith("note/"):
                contract.check(event.topic, event.body)
                found.append(json.loads(event.body)["data"])
        return found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Stand at midnight before MONDAY."""
    clock = Clock(MONDAY)
    with closing(Ledger(tmp_path, "/hadir/office/gw", now=clock.now)) as ledger:
        yield Office(tmp_path, ledger, clock)


def test_a_silent_terminal_is_reported_once_and_so_is_its_next_punch(office: Office) -> None:
    """Three usual hours without a punch while the other terminal has some: 7, 12 and 16 o'clock."""
    office.open("lobby", "gudang")
    for hour in (7, 12, 16):
        office.until(0, hour, 30)
        office.received(1)
    office.until(0, 16, 45)
    before = list(office.alarms)
    office.until(1, 12)
    office.received(0)
    office.until(1, 12, 15)

    assert before == []
    assert office.alarms == [("terminal_silent", "lobby"), ("terminal_heard", "lobby")]
    assert office.workers[0].state.silent_since is None


def test_entries_of_one_terminal_are_watched_as_one(office: Office) -> None:
    """Punches through one entry end the silence of both; one alarm for silence, and one for a full log."""
    office.open("lobby", "lobby-push", "gudang")
    office.workers[1].state.serial = office.workers[0].state.serial
    for hour in (7, 12, 16):
        office.until(0, hour, 30)
        office.received(1, 2)
    office.until(0, 16, 45)
    before = list(office.alarms)
    for worker in office.workers[:2]:
        worker.state.sizes = Sizes(96_000, 100_000)
    for hour in (7, 12, 16):
        office.until(1, hour, 30)
        office.received(2)
    office.until(1, 18)

    assert before == []
    assert office.alarms == [("log_filling", "lobby"), ("terminal_silent", "lobby")]


def test_a_terminal_with_another_worker_is_the_same_terminal(office: Office) -> None:
    """What was reported of it is not reported again, and ends; a removed terminal is not checked."""
    office.open("lobby")
    office.until(0, 17)
    (before,) = office.workers
    worker = Worker(before.settings, ZONE, Script().driver(), office.ledger, office.clock, captures=office.folder)
    worker.follow(before)
    office.workers[0] = worker
    office.until(0, 18)
    assert office.alarms == [("terminal_silent", "lobby")]
    office.received(0)
    office.until(0, 19)
    assert office.alarms == [("terminal_silent", "lobby"), ("terminal_heard", "lobby")]
    office.workers.clear()
    office.until(1, 13)
    assert len(office.alarms) == 2


def test_the_state_says_since_when_a_terminal_is_silent(office: Office) -> None:
    """As the contract has it, and published when it changes."""
    office.open("lobby")
    office.until(0, 7, 30)
    office.received(0)
    received = office.clock.now()
    office.until(1, 7, 15)
    assert office.workers[0].state.silent_since is None
    office.until(1, 12, 45)

    contract.check("terminal/lobby/state", json.dumps(office.reports[-1]))
    assert office.workers[0].state.silent_since == received


def test_a_holiday_is_one_alarm(office: Office) -> None:
    """Three terminals without a punch all day; the guard who punches in the evening does not start a flood."""
    office.open("lobby", "gudang", "aula")
    office.until(0, 18)
    holiday = list(office.alarms)
    office.received(1)
    office.until(1, 7)
    office.received(0, 1, 2)
    office.until(1, 16, 30)

    assert holiday == [("terminal_silent", None)]
    assert "holiday" in office.messages[0]
    assert office.alarms == [("terminal_silent", None), ("terminal_heard", None)]


def test_the_one_terminal_that_stays_silent_after_a_holiday_is_reported(office: Office) -> None:
    """It has its three usual hours anew, then it is not excused any more."""
    office.open("lobby", "gudang")
    office.until(0, 18)
    for day in (1, 2):
        for hour in (7, 12, 16):
            office.until(day, hour, 30)
            office.received(1)
    office.until(2, 18)

    assert office.alarms[1:] == [("terminal_heard", None), ("terminal_silent", "lobby")]


def test_an_offline_terminal_is_not_reported_as_silent(office: Office) -> None:
    """That it does not answer is reported already; when it is back it has its time anew."""
    office.open("lobby", "gudang")
    office.workers[0].state.online = False
    for hour in (7, 12, 16):
        office.until(0, hour, 30)
        office.received(1)
    office.until(1, 6)
    office.workers[0].state.online, office.workers[0].state.since = True, office.clock.now()
    office.received(1)
    office.until(1, 12, 30)

    assert office.alarms == []


@pytest.mark.parametrize(("weeks", "silence"), [(1, "3h"), (4, None)])
def test_without_history_or_without_the_setting_no_terminal_is_silent(
    office: Office, weeks: int, silence: str | None
) -> None:
    """A week is no habit, and null is off."""
    office.open("lobby", weeks=weeks, silence=silence)
    office.until(3, 0)

    assert office.alarms == []


def test_the_weekend_is_no_silence(office: Office) -> None:
    """From Friday noon to Monday morning there is no usual hour but Friday's last."""
    office.open("lobby")
    office.until(4, 12, 30)
    office.alarms.clear()
    office.received(0)
    office.until(4, 12, 45)
    office.alarms.clear()
    office.until(7, 7)

    assert office.alarms == []


def test_a_log_that_fills_is_reported_at_each_threshold_with_its_day(office: Office) -> None:
    """80, 90, 95 per cent: an alarm and a numbered event each, once; and again after it was cleared."""
    monitor = office.open("lobby")
    state = office.workers[0].state
    for records in (79_999, 80_000, 80_001, 92_000, 99_000, 99_500, 3, 96_000):
        state.sizes = Sizes(records, 100_000)
        monitor.check()

    reported = [(one["threshold"], one["records"]) for one in office.changes()]
    assert reported == [(80, 80_000), (90, 92_000), (95, 99_000), (95, 96_000)]
    assert office.alarms == [("log_filling", "lobby")] * 4
    first = office.changes()[0]
    # 1,000 records in 28 days: the 20,000 that are left take 560.
    assert first["fills"] == (MONDAY + timedelta(days=560)).date().isoformat()
    assert first["fills"] in office.messages[0]
    assert (first["what"], first["serial"], first["capacity"]) == ("capacity", "S-lobby", 100_000)


def test_a_reported_threshold_is_remembered_across_a_restart(office: Office) -> None:
    """The event is numbered: once is once."""
    monitor = office.open("lobby")
    office.workers[0].state.sizes = Sizes(85_000, 100_000)
    monitor.check()
    office.workers.clear()

    monitor = office.open("lobby")
    office.workers[0].state.sizes = Sizes(86_000, 100_000)
    monitor.check()

    assert len(office.changes()) == 1


def test_a_terminal_that_cannot_say_how_full_it_is_is_not_guessed_at(office: Office) -> None:
    """No capacity, no alarm."""
    monitor = office.open("lobby")
    office.workers[0].state.sizes = Sizes(None, 100_000)
    monitor.check()
    office.workers[0].state.sizes = Sizes(99_999, None)
    monitor.check()

    assert (office.alarms, office.changes(), office.workers[0].state.full_on) == ([], [], None)


def test_a_step_of_our_own_clock_is_no_silence(office: Office) -> None:
    """A machine that starts in 1970 and is set by a time server has not waited for fifty years."""
    office.open("lobby")
    office.until(0, 12)
    office.clock.moment += timedelta(days=28)

    office.until(28, 16, 30)

    assert office.alarms == []


# --- last_fault ------------------------------------------------------------------------------------------------------


def test_a_log_that_fills_is_noted_although_the_disk_was_full(office: Office) -> None:
    """One alarm, at once; the note and the threshold when there is room."""
    monitor = office.open("lobby")
    office.until(0, 1)
    with impatient():
        disk = FullDisk(office.ledger)
        disk.fill()
        office.workers[0].state.sizes = Sizes(80_001, 100_000)
        for _ in range(3):
            office.clock.moment += timedelta(minutes=1)
            monitor.check()
        assert office.alarms == [("log_filling", "lobby")]
        disk.empty()
        monitor._pending.flush()
    (data,) = [
        json.loads(event.body)["data"] for event in office.ledger.events(0, 9999) if "terminal.changed" in event.body
    ]
    assert (data["what"], data["threshold"]) == ("capacity", 80)
    known = office.ledger.terminal("lobby")
    assert known is not None
    assert known.threshold == 80


def test_trouble_with_one_terminal_is_its_own(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are looked at; it is logged once, without the text of the exception."""
    monitor = office.open("bad", "lobby")
    office.until(0, 1)
    real = office.ledger.hours

    def hours(name: str, since: Any) -> Any:
        if name == "bad":
            raise ZeroDivisionError("a PIN")
        return real(name, since)

    monkeypatch.setattr(office.ledger, "hours", hours)
    with capture_logs() as logged:
        for day in (1, 2):
            office.workers[1].state.sizes = Sizes(70_000 + 10_001 * day, 100_000)
            office.until(day, 1)
    assert monitor is office.monitor
    assert [terminal for code, terminal in office.alarms if code == "log_filling"] == ["lobby", "lobby"]
    (line,) = [line for line in logged if line["event"] == "terminal_not_watched"]
    assert line["terminal"] == "bad"
    assert "PIN" not in str(line)
