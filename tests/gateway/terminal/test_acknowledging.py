"""The whole road of a terminal that marks what is new: simulated line, driver, worker, ledger."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from drivers.anviz import wire
from drivers.anviz.simulator import SimulatedTerminal, Simulator, history
from gateway.ledger import OVERLAP, LedgerReader
from tests.broker import WAIT_S, eventually
from tests.gateway import office as office_module
from tests.gateway.office import ZONE, polled

EVENING = datetime(2026, 9, 4, 18, 0)  # noqa: DTZ001 - a terminal's wall clock


def local_now() -> datetime:
    """Return the office's time, as its terminals show it."""
    return datetime.now(ZONE).replace(tzinfo=None)


@dataclass(kw_only=True)
class Office(office_module.Office):
    """Terminals on one line, one ledger, a worker for each terminal."""

    simulator: Simulator

    @property
    def terminal(self) -> SimulatedTerminal:
        """The first terminal."""
        return next(iter(self.simulator.terminals.values()))

    def raws(self, name: str = "gudang") -> list[str]:
        """Return the bytes of a terminal's punches, in order of sequence."""
        return [event["data"]["raw"] for event in self.events("punch.recorded") if event["subject"] == name]

    def is_complete(self) -> bool:
        """Whether the ledger holds the terminal's log, each record as often as the log does."""
        return Counter(self.raws()) == Counter(record.raw.hex() for record in self.terminal.records())


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """Open an office with one terminal on a pseudo terminal, polled five times a second."""
    with Simulator(SimulatedTerminal(serial="ANV0001", now=local_now)) as simulator:
        entry = {
            "name": "gudang",
            "driver": "anviz",
            "port": simulator.port,
            "turnaround": "0s",
            "poll": "200ms",
            "timeout": "1s",
            "bulk_timeout": "1s",
        }
        with Office.opened(tmp_path, simulator=simulator, entry=entry) as office:
            yield office


def test_new_records_are_stored_and_then_acknowledged(office: Office) -> None:
    """All but the last few, which prove next time that the log goes on; nothing is requested twice."""
    office.terminal.append(*history(1, 60, EVENING))
    worker = office.visit()
    polled(worker)

    assert office.is_complete()
    assert office.terminal.acknowledged == [60 - OVERLAP]
    assert {event["data"]["via"] for event in office.events("punch.recorded")} == {"serial"}
    assert [event["data"]["position"] for event in office.events("punch.recorded")] == list(range(60))

    office.terminal.append(*history(2, 3, EVENING + timedelta(hours=1)))
    requested = office.terminal.requests[wire.CMD_RECORDS]
    eventually(office.is_complete)
    polled(worker, 2)

    assert office.terminal.requests[wire.CMD_RECORDS] == requested + 1
    assert office.terminal.acknowledged == [60 - OVERLAP, 3]
    assert office.terminal.marked == OVERLAP
    assert office.events("terminal.") == []


def test_nothing_is_acknowledged_before_it_is_on_the_disk(office: Office) -> None:
    """Whenever a mark is to be taken away, a stranger who opens the ledger finds the record in it."""
    office.terminal.append(*history(1, 700, EVENING))
    usual, held = office.terminal.answer, []

    def answer(request: wire.Frame) -> wire.Frame:
        if request.command == wire.CMD_CLEAR:
            with closing(LedgerReader(office.folder)) as reader:
                held.append(reader.punches())
        return usual(request)

    office.terminal.answer = answer  # type: ignore[method-assign]
    worker = office.visit()
    polled(worker)
    office.terminal.punch("9")
    eventually(lambda: len(held) == 2)

    assert held[0] == 700 > office.terminal.acknowledged[0]
    assert held[1] == 701


def test_line_that_breaks_before_the_acknowledgement(office: Office) -> None:
    """What was stored is met again, recognised, and acknowledged then."""
    office.terminal.append(*history(1, 60, EVENING))
    usual = office.terminal.answer
    pulled = threading.Event()

    def answer(request: wire.Frame) -> wire.Frame:
        if request.command == wire.CMD_CLEAR and not pulled.is_set():
            office.simulator.unplug()
            pulled.set()
            raise OSError
        return usual(request)

    office.terminal.answer = answer  # type: ignore[method-assign]
    worker = office.visit()
    assert pulled.wait(WAIT_S)
    assert office.is_complete()
    assert office.terminal.marked == 60
    office.simulator.plug()
    polled(worker)

    assert office.is_complete()
    assert office.terminal.marked == OVERLAP


def test_killed_between_commit_and_acknowledgement(office: Office, tmp_path: Path) -> None:
    """The daemon dies when the terminal is about to forget: nothing is lost, nothing comes twice."""
    office.terminal.append(*history(1, 600, EVENING))
    data = tmp_path / "daemon"
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text(
        "site: office\ngateway: gw\ntimezone: Asia/Jakarta\ndata_dir: daemon\nweb: null\nmqtt: {url: 'mqtt://127.0.0.1:1'}\n"
        "terminals:\n"
        f"  - {{name: gudang, driver: anviz, port: '{office.simulator.port}', turnaround: 0s, poll: 200ms}}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "gateway.cli", "run", "-c", str(configuration), "--assume-synchronised"]
    usual, killed = office.terminal.answer, threading.Event()

    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

        def answer(request: wire.Frame) -> wire.Frame:
            if request.command == wire.CMD_CLEAR and not killed.is_set():
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed.set()
                return wire.Frame(0, wire.CMD_CLEAR)  # the terminal does not receive it, and no mark is gone
            return usual(request)

        office.terminal.answer = answer  # type: ignore[method-assign]
        assert killed.wait(WAIT_S)
        with closing(LedgerReader(data)) as reader:
            assert reader.punches() == 600
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(lambda: office.terminal.marked == OVERLAP)
        finally:
            process.terminate()
            process.wait(WAIT_S)

    with closing(LedgerReader(data)) as reader:
        assert reader.punches() == 600


@pytest.mark.parametrize("batch", [1, 2, 27])
def test_unplugged_in_a_download(office: Office, batch: int) -> None:
    """Whatever had come is stored or comes again; every record is there once, in the order of the log."""
    office.terminal.append(*history(1, 800, EVENING))
    answers = Counter[int]()
    pulled = threading.Event()

    def pull(answer: wire.Frame) -> None:
        answers[answer.command] += 1
        if answers[wire.CMD_RECORDS + wire.ANSWER] == batch and answer.command == wire.CMD_RECORDS + wire.ANSWER:
            office.simulator.unplug()
            pulled.set()

    office.simulator.on_answer = pull
    worker = office.visit()
    assert pulled.wait(WAIT_S), "on a busy machine the visit may fail before the line is unplugged"
    eventually(lambda: not worker.state.online)
    office.terminal.append(*history(2, 10, EVENING + timedelta(days=1)))
    office.simulator.plug()
    polled(worker)

    assert office.raws() == [record.raw.hex() for record in office.terminal.records()]
    assert office.events("terminal.changed") == []


def test_live_punch_is_confirmed_by_the_log(office: Office) -> None:
    """One event: received at once, found again in the log."""
    worker = office.visit(poll="1h")
    polled(worker)
    office.terminal.punch("1001", 0, 1, work_code=7)
    eventually(lambda: len(office.raws()) == 1)
    assert office.ledger.counts().unconfirmed == 1

    worker.request()
    eventually(lambda: office.ledger.counts().unconfirmed == 0)

    (event,) = office.events()
    assert (event["data"]["via"], event["data"]["work_code"]) == ("live", "7")


def test_punches_of_one_second_are_as_many_as_they_were(office: Office) -> None:
    """A live event does not distinguish the second from a repetition; the log can."""
    worker = office.visit()
    polled(worker)
    moment = local_now().replace(microsecond=0)
    for _ in range(3):
        office.terminal.punch("1001", moment=moment)

    eventually(office.is_complete)
    polled(worker, 2)

    assert [event["data"]["occurrence"] for event in office.events("punch.recorded")] == [1, 2, 3]


def test_terminal_without_real_time_mode(office: Office) -> None:
    """Then only the log has it, at the next poll."""
    office.terminal.real_time = False
    worker = office.visit()
    polled(worker)

    office.terminal.punch("1001")

    eventually(office.is_complete)
    assert office.events()[0]["data"]["via"] == "serial"


def test_two_terminals_on_one_line(office: Office) -> None:
    """Each worker reads its own, while the other's reading goes on."""
    other = SimulatedTerminal(device_id=2, serial="ANV0002", now=local_now)
    office.simulator.terminals[2] = other
    other.on_punch = office.simulator._queue_event
    office.terminal.append(*history(1, 600, EVENING))
    other.append(*history(2, 300, EVENING))
    workers = [office.visit(), office.visit(name="loket", device_id=2)]
    for worker in workers:
        polled(worker)
    office.terminal.punch("11")
    other.punch("22")

    for name, terminal in (("gudang", office.terminal), ("loket", other)):
        eventually(lambda n=name, t=terminal: office.raws(n) == [record.raw.hex() for record in t.records()])  # type: ignore[misc]  # defaults bind the values
    eventually(lambda: office.terminal.marked == other.marked == OVERLAP)


def test_full_log_that_overwrites_its_oldest_records(office: Office) -> None:
    """The count stays the same, but more records are marked new than have been left so."""
    terminal = office.terminal
    terminal.real_time = False
    terminal.capacity = 50
    terminal.append(*history(1, 50, EVENING))
    worker = office.visit()
    polled(worker)
    expected = Counter(office.raws())
    for index in range(12):
        terminal.punch(str(index + 1))
        expected[terminal.records()[-1].raw.hex()] += 1
        polled(worker)

    eventually(lambda: Counter(office.raws()) == expected)
    assert terminal.count == 50
    assert office.events("terminal.changed") == []


def test_a_count_of_a_log_that_may_be_full_advances_no_watermark(office: Office) -> None:
    """Other software has taken the marks of a full log: its count stays the same, and newer records are unread."""
    terminal = office.terminal
    terminal.real_time = False
    terminal.capacity = 50
    terminal.append(*history(1, 50, EVENING))
    worker = office.visit()
    polled(worker, 2)
    before = worker.state.complete
    terminal.unmark()
    for index in range(3):
        terminal.punch(str(index + 1))
    polled(worker, 3)

    assert worker.state.complete == before
    worker.request(full=True).result(WAIT_S)
    assert worker.state.complete is not None
    assert before is None or worker.state.complete.until > before.until


def test_other_software_that_takes_the_marks(office: Office) -> None:
    """What it fetched is not marked new any more: the count shows it, and the whole log is read."""
    office.terminal.real_time = False
    office.terminal.append(*history(1, 60, EVENING))
    worker = office.visit()
    polled(worker)
    office.terminal.append(*history(2, 30, EVENING + timedelta(hours=3)))
    office.terminal.unmark()
    eventually(office.is_complete)

    office.terminal.append(*history(3, 5, EVENING + timedelta(hours=9)))
    eventually(office.is_complete)
    polled(worker)

    assert office.events("terminal.changed") == []


def test_marks_taken_in_a_second_of_many_punches(office: Office) -> None:
    """What is still marked begins like the end of what is known, and does not follow it: the gap is read."""
    terminal = office.terminal
    terminal.real_time = False
    terminal.append(*history(1, 60, EVENING))
    again = wire.encode_record("7", EVENING, epoch=wire.EPOCH, state=0, verify=1)
    terminal.append(again)
    worker = office.visit()
    polled(worker)
    office.simulator.unplug()
    terminal.append(*[again] * 20, *history(2, 10, EVENING + timedelta(hours=1)))
    terminal.unmark(OVERLAP + 17)
    office.simulator.plug()

    eventually(office.is_complete)
    assert [event["data"]["occurrence"] for event in office.events("punch.recorded")][60:81] == [*range(1, 22)]


def test_log_whose_marks_were_taken_before_the_first_visit(office: Office) -> None:
    """Nothing is new at first contact, and everything is read."""
    office.terminal.append(*history(1, 60, EVENING))
    office.terminal.unmark(40)
    worker = office.visit()
    polled(worker)

    assert office.is_complete()
    eventually(lambda: office.terminal.marked == OVERLAP)


def test_cleared_log(office: Office) -> None:
    """Emptied at the terminal: its records stay stored, what comes is new, the change is recorded."""
    office.terminal.real_time = False
    office.terminal.append(*history(1, 60, EVENING))
    worker = office.visit()
    polled(worker)
    before = Counter(office.raws())
    office.terminal.clear()
    office.terminal.append(*history(2, 20, EVENING + timedelta(days=1)))
    after = before + Counter(record.raw.hex() for record in office.terminal.records())

    eventually(lambda: Counter(office.raws()) == after)
    assert [event["data"]["what"] for event in office.events("terminal.changed")] == ["log_cleared"]


def test_full_reading_takes_no_marks(office: Office) -> None:
    """It proves what is known, and is no reason for the terminal to forget anything."""
    office.terminal.append(*history(1, 60, EVENING))
    worker = office.visit()
    polled(worker)
    acknowledged = list(office.terminal.acknowledged)
    before = worker.state.last_full_reading

    worker.request(full=True)
    eventually(lambda: worker.state.last_full_reading != before)

    assert office.terminal.acknowledged == acknowledged


def test_codes_have_the_meaning_they_have_at_this_family(office: Office) -> None:
    """4 is a password here and a card elsewhere; a state that every language gives another meaning has no label."""
    for verify in (1, 2, 4, 8, 3):
        office.terminal.punch(str(verify), verify % 3, verify)
    polled(office.visit())

    found = [(event["data"]["verify_label"], event["data"]["state_label"]) for event in office.events("punch.recorded")]
    assert found == [
        ("fingerprint", "check_out"),
        ("fingerprint", None),
        ("password", "check_out"),
        ("card", None),
        (None, "check_in"),
    ]


def test_unreadable_record_is_quarantined_and_acknowledged_like_the_others(office: Office) -> None:
    """Its bytes are forwarded, and the thousands behind it are read."""
    office.terminal.append(*history(1, 20, EVENING), b"\xff" * 14, *history(2, 20, EVENING + timedelta(hours=2)))
    polled(office.visit())

    assert len(office.raws()) == 40
    assert [event["data"]["raw"] for event in office.events("quarantined")] == ["ff" * 14]
    assert office.terminal.acknowledged == [41 - OVERLAP]


@pytest.mark.parametrize("seed", range(3))
def test_bad_days(office: Office, seed: int) -> None:
    """Punches among noise, cuts, pulled plugs and foreign readers: at the end each is there as often as it was made."""
    chance = random.Random(seed)
    faults = office.simulator.faults
    worker = office.visit(timeout="300ms", bulk_timeout="300ms")
    moment = local_now().replace(microsecond=0)
    for _ in range(40):
        match chance.randrange(8):
            case 0 | 1 | 2:
                moment += timedelta(seconds=chance.randrange(2))
                for _ in range(chance.randrange(1, 30)):
                    office.terminal.punch(str(chance.randrange(1, 4)), moment=moment)
            case 3:
                setattr(faults, chance.choice(["crc", "half", "noise", "collision", "mute", "silent"]), 1)
            case 4:
                faults.echo = not faults.echo
            case 5:
                faults.between = not faults.between
            case 6:
                office.simulator.unplug()
                time.sleep(chance.uniform(0, 0.2))
                office.simulator.plug()
            case 7:
                office.terminal.unmark(chance.randrange(20))
        time.sleep(chance.uniform(0, 0.1))
    faults.between = False
    eventually(lambda: office.is_complete() and worker.state.online)
    polled(worker, 2)

    assert office.is_complete()
    assert office.ledger.counts().unconfirmed == 0
    assert office.terminal.requests.keys() <= {
        wire.CMD_SERIAL,
        wire.CMD_INFO,
        wire.CMD_CLOCK,
        wire.CMD_RECORD_INFO,
        wire.CMD_RECORDS,
        wire.CMD_MODEL,
        wire.CMD_CLEAR,
    }
    assert office.terminal.refused == 0
