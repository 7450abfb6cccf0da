"""Records that are kept until they are stored: settled once, after the commit; refused otherwise, delivered again."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.base import (
    OVERLAP,
    Delivered,
    Delivery,
    Driver,
    DriverOptions,
    Reading,
    Record,
    Settlement,
    Settling,
    Sizes,
    TerminalInfo,
    TerminalUnavailable,
    Untimed,
    Via,
)
from gateway.control import Done, ask
from gateway.ledger import LedgerReader
from gateway.pause import Pause
from tests.broker import WAIT_S, eventually
from tests.gateway import office as office_module
from tests.gateway.full_disk import FullDisk, impatient
from tests.gateway.office import polled
from tests.gateway.scripted import history, record

MORNING = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock
SERIAL = "GATE00001"
Yielded = Generator[Delivered, None, None]


@dataclass
class Source:
    """A caller that keeps its records until they are settled, and notes what becomes of its deliveries."""

    kept: list[Record] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    stored: Callable[[], int] = lambda: 0
    """How many punches are on the disk."""
    stored_at_settle: list[int] = field(default_factory=list)
    failure: Exception | None = None
    """What settling ends with, once."""
    offer: "Callable[[Source, Record], Yielded] | None" = None
    """Delivers a record in place of the usual way."""
    via: Via = "push"
    together: bool = False
    """All records are one delivery, with the number of the last as its mark."""
    resumed_from: list[dict[str, str]] = field(default_factory=list)
    """The marks that each conversation began with."""

    def driver(self) -> Driver:
        """Return a driver that always reaches this source."""
        return Driver("scripted", DriverOptions, self._connect)

    @contextmanager
    def _connect(self, _options: object) -> Iterator["Source"]:
        yield self

    def serial(self) -> str:
        """Return the serial number."""
        return "SOURCE-1"

    def identify(self) -> TerminalInfo:
        """Return who it is."""
        return TerminalInfo("SOURCE-1", "paper", None)

    def read_clock(self) -> None:
        """Have no clock."""

    def resume(self, marks: Mapping[str, str]) -> None:
        """Note where the last conversation ended."""
        self.resumed_from.append(dict(marks))

    def deliveries(self, timeout_s: float) -> Yielded:
        """Deliver what is kept, each record alone."""
        if self.together and self.kept:
            with self.delivery(tuple(self.kept), mark=("ATTLOG", str(len(self.kept)))) as delivery:
                yield delivery
        for kept in self.kept.copy():
            if self.offer is not None:
                yield from self.offer(self, kept)
            else:
                with self.delivery((kept,)) as delivery:
                    yield delivery
        time.sleep(min(timeout_s, 0.01))

    def delivery(self, records: tuple[Record, ...], start: int | None = None, **more: Any) -> Delivery:
        """Return a delivery that is noted here."""
        return Delivery(
            records,
            self.via,
            start,
            settle=lambda settlement: self.settle(records, settlement),
            refuse=lambda: self.calls.append("refused"),
            **more,
        )

    def settle(self, records: tuple[Record, ...], settlement: Settlement) -> bool:
        """Forget the records, or fail as written."""
        self.calls.append(f"settled {settlement.new} new, {settlement.known} known")
        self.stored_at_settle.append(self.stored())
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        for one in records:
            self.kept.remove(one)
        return True


class MarkedLog(Source):
    """A terminal with a log, which delivers the end of it until that is settled."""

    def __init__(self, log: list[Record]) -> None:
        super().__init__()
        self.log = log
        self.marked = len(log)

    def append(self, *records: Record) -> None:
        """Let persons punch."""
        self.log += records
        self.marked += len(records)

    def sizes(self) -> Sizes:
        """Count the log."""
        return Sizes(len(self.log), None, self.marked)

    def read(self, start: int = 0, layout: str | None = None) -> Reading:
        """Return the whole log."""
        del start, layout
        self.calls.append("read")
        return Reading(0, len(self.log), list(self.log), "paper")

    def deliveries(self, timeout_s: float) -> Yielded:
        """Deliver what is marked."""
        del timeout_s
        start = len(self.log) - self.marked
        with self.delivery(tuple(self.log[start:]), start, total=len(self.log), layout="paper") as delivery:
            yield delivery

    def settle(self, records: tuple[Record, ...], settlement: Settlement) -> bool:
        """Take the marks away but the last few, or fail as written."""
        self.kept += records
        super().settle(records, settlement)
        self.marked -= max(0, len(records) - OVERLAP)
        return True


@dataclass(kw_only=True)
class Office(office_module.Office):
    """One source, one ledger."""

    source: Source

    @contextmanager
    def visits(self) -> Iterator[Callable[[], object]]:
        """Yield a function that visits a terminal with a log once."""
        worker = self.create_worker()
        yield lambda: deque(worker._visits._run_visit(), maxlen=0)
        self.workers.remove(worker)  # its thread never ran

    def on_disk(self) -> int:
        """Return how many punches another process sees in the ledger."""
        with closing(LedgerReader(self.folder)) as reader:
            return reader.punches()


@contextmanager
def opened(folder: Path, source: Source, **parts: Any) -> Iterator[Office]:
    """Open an office whose source is looked at often, and soon again after a failure."""
    entry: dict[str, object] = {"name": "gate", "driver": "zkteco", "address": "127.0.0.1", "poll": "30ms"}
    driver = source.driver()
    with Office.opened(folder, Pause(0.02, 0.05), driver=driver, entry=entry, source=source, **parts) as office:
        source.stored = office.on_disk
        yield office


def deliver(source: Source, count: int) -> None:
    """Let persons punch."""
    for number in range(count):
        source.kept.append(record(1001 + number, MORNING + timedelta(seconds=number)))


def test_settled_once_and_after_the_commit(tmp_path: Path) -> None:
    """Whenever a source is to forget, a stranger who opens the ledger finds the record in it; ``via`` is its own."""
    source = Source()
    deliver(source, 3)
    with opened(tmp_path, source) as office:
        worker = office.visit()
        eventually(lambda: not source.kept)
        polled(worker, 2)
        assert office.pins() == ["1001", "1002", "1003"]
        data = [event["data"] for event in office.events("punch.recorded")]
        assert {(one["via"], one["position"]) for one in data} == {("push", None)}
    assert source.calls == ["settled 1 new, 0 known"] * 3
    assert source.stored_at_settle == [1, 2, 3]


def test_the_end_of_a_log_is_settled_after_the_commit(tmp_path: Path) -> None:
    """Laid against the stored order, with its position; the last few come again and are known."""
    source = MarkedLog(history(600, MORNING))
    with opened(tmp_path, source) as office, office.visits() as visit:
        visit()
        assert source.marked == OVERLAP
        source.append(record(9, MORNING + timedelta(days=1)))
        visit()
        visit()
        data = [event["data"] for event in office.events("punch.recorded")]
        assert [one["position"] for one in data] == list(range(601))
        assert {one["via"] for one in data} == {"push"}
    assert source.calls == ["settled 600 new, 0 known", f"settled 1 new, {OVERLAP} known"]
    assert source.stored_at_settle == [600, 601]


def test_what_does_not_continue_the_log_is_refused(tmp_path: Path) -> None:
    """Another program took the marks: what is left proves no place, so the whole log is read; nothing is forgotten."""
    source = MarkedLog(history(600, MORNING))
    with opened(tmp_path, source) as office, office.visits() as visit:
        visit()
        source.append(*history(40, MORNING + timedelta(days=1)))
        source.marked = 20
        visit()
        assert office.on_disk() == 640
        assert source.calls == ["settled 600 new, 0 known", "refused", "read"]
        assert source.marked == 20


@pytest.mark.parametrize("failure", [TerminalUnavailable("the line broke"), ZeroDivisionError()])
@pytest.mark.parametrize("marked", [False, True], ids=["final", "marked"])
def test_settling_that_fails(tmp_path: Path, marked: bool, failure: Exception) -> None:
    """What was stored stays stored; settle is not repeated, but the records are delivered again and are known."""
    log = history(20, MORNING)
    source = MarkedLog(log) if marked else Source(log[:1])
    source.failure = failure
    with opened(tmp_path, source, may_fail=True) as office:
        worker = office.visit()
        eventually(lambda: len(source.calls) >= 2)
        polled(worker)
        assert office.alarms.count("driver_failed") == isinstance(failure, ZeroDivisionError)
        assert "refused" not in source.calls
        if marked:
            assert [event["data"]["raw"] for event in office.events("punch.recorded")] == [one.raw.hex() for one in log]
            assert source.calls[:2] == ["settled 20 new, 0 known", "settled 0 new, 20 known"]
        else:
            assert office.pins() == ["1001"]
            assert source.calls[:2] == ["settled 1 new, 0 known", "settled 0 new, 1 known"]


def test_a_full_disk_refuses_the_end_of_a_log(tmp_path: Path) -> None:
    """The terminal keeps its marks, and they are delivered again when there is room."""
    source = MarkedLog(history(20, MORNING))
    with opened(tmp_path, source) as office, impatient(), office.visits() as visit:
        visit()
        assert office.on_disk() == 20
        disk = FullDisk(office.ledger)
        source.append(record(9, MORNING + timedelta(days=1)))
        disk.fill()
        visit()
        assert source.calls == ["settled 20 new, 0 known", "refused"]
        assert office.on_disk() == 20
        disk.empty()
        eventually(lambda: office.ledger.disk_state() == "all")
        visit()
        assert office.on_disk() == 21
        assert source.calls[2:] == [f"settled 1 new, {OVERLAP} known"]


def test_a_full_disk_holds_what_a_line_sends_once(tmp_path: Path) -> None:
    """A line sends a punch once: it waits in the gateway, and the line goes on."""
    source = Source(via="serial")
    with opened(tmp_path, source) as office, impatient():
        worker = office.visit()
        polled(worker)
        disk = FullDisk(office.ledger)
        disk.fill()
        deliver(source, 2)
        eventually(lambda: not source.kept)
        assert office.on_disk() == 0
        disk.empty()
        eventually(lambda: office.on_disk() == 2)
        assert office.pins() == ["1001", "1002"]
    assert "refused" not in source.calls


def batch(count: int) -> list[Record]:
    """Return punches that are delivered together."""
    return [record(1001 + number, MORNING + timedelta(seconds=number)) for number in range(count)]


def test_a_full_disk_refuses_what_is_sent_again(tmp_path: Path) -> None:
    """Nothing of the delivery is stored, its mark included; it is delivered again when there is room."""
    source = Source(together=True)
    with opened(tmp_path, source) as office, impatient():
        worker = office.visit()
        polled(worker)
        disk = FullDisk(office.ledger)
        disk.fill()
        source.kept = batch(3)
        eventually(lambda: "refused" in source.calls)
        assert (office.on_disk(), office.ledger.marks("gate")) == (0, {})
        disk.empty()
        eventually(lambda: not source.kept)
        assert office.pins() == ["1001", "1002", "1003"]
        assert office.ledger.marks("gate") == {"ATTLOG": "3"}
    assert set(source.calls[:-1]) == {"refused"}
    assert source.calls[-1] == "settled 3 new, 0 known"


def test_a_batch_is_one_commit_and_its_mark_is_handed_back(tmp_path: Path) -> None:
    """Records and mark are on the disk when the batch is settled; the next conversation begins with the mark."""
    source = Source(batch(5), together=True, failure=TerminalUnavailable("the reply was lost"))
    with opened(tmp_path, source) as office:
        office.visit()
        eventually(lambda: not source.kept)
        assert office.on_disk() == 5
    assert source.calls == ["settled 5 new, 0 known", "settled 0 new, 5 known"]
    assert source.stored_at_settle == [5, 5]
    assert source.resumed_from == [{}, {"ATTLOG": "5"}]


def test_marks_of_another_device_are_not_handed_over(tmp_path: Path) -> None:
    """Another serial number in the configuration: the first conversation with the new device begins without marks."""
    source = Source(together=True)
    deliver(source, 1)
    with opened(tmp_path, source) as office:
        office.visit()
        eventually(lambda: not source.kept)
        assert office.ledger.marks("gate") == {"ATTLOG": "1"}
        assert office.ledger.marks("gate", "OTHER") == {}
        office.ledger.pin_serial("gate", "OTHER")
        assert office.ledger.marks("gate", "OTHER") == {}


KILLED_BEFORE_SETTLE = """
import os, signal, sys
from pathlib import Path
from tests.gateway.terminal.test_deliveries import WAIT_S, Source, batch, opened
source = Source(together=True)
source.settle = lambda records, settlement: os.kill(os.getpid(), signal.SIGKILL)
source.kept = batch(700)
with opened(Path(sys.argv[1]), source) as office:
    office.visit().join(WAIT_S)
"""


def test_killed_between_commit_and_settle_of_a_batch(tmp_path: Path) -> None:
    """The source sends the batch again, with more: what is stored is known, and nothing is doubled."""
    arguments = [sys.executable, "-c", KILLED_BEFORE_SETTLE, str(tmp_path)]
    killed = subprocess.run(arguments, timeout=WAIT_S, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert punches(tmp_path) == 700
    source = Source(batch(701), together=True)
    with opened(tmp_path, source) as office:
        office.visit()
        eventually(lambda: not source.kept)
        assert office.on_disk() == 701
    assert source.calls == ["settled 1 new, 700 known"]
    assert source.resumed_from == [{"ATTLOG": "700"}]


def that_ends_early(source: Source, kept: Record) -> Yielded:
    """Deliver a record and fail behind it."""

    def records() -> Iterator[Record]:
        yield kept
        if source.offer is not None:
            raise TerminalUnavailable("the line broke")

    with Delivery(records(), "push", settle=lambda settlement: source.settle((kept,), settlement)) as delivery:
        yield delivery


def test_a_delivery_that_fails_in_the_middle_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    """The driver fails behind the first record: nothing is stored, and the whole is delivered again."""
    source = Source(offer=that_ends_early)
    deliver(source, 1)
    with opened(tmp_path, source) as office:
        worker = office.visit()
        eventually(lambda: worker.state.cause == "unavailable")
        assert office.on_disk() == 0
        source.offer = None
        eventually(lambda: not source.kept)
        assert office.pins() == ["1001"]


def out_of_its_block(source: Source, kept: Record) -> Yielded:
    """Deliver what was refused already."""
    with source.delivery((kept,)) as delivery:
        pass
    yield delivery


def without_a_block(source: Source, kept: Record) -> Yielded:
    """Deliver what would never be refused."""
    yield source.delivery((kept,))


def with_a_place(source: Source, kept: Record) -> Yielded:
    """Deliver a position of an unreadable log."""
    with source.delivery((kept,), 0, total=1) as delivery:
        yield delivery


def without_a_time(source: Source, kept: Record) -> Yielded:
    """Deliver what could not be recognised when it is sent again."""
    with source.delivery((kept, Untimed("1", 0, 1, None, b"1"))) as delivery:  # type: ignore[arg-type]  # the defect
        yield delivery


def with_a_mark_of_a_line(_source: Source, kept: Record) -> Yielded:
    """Deliver a mark with a record that is not sent again."""
    with Delivery((kept,), "serial", mark=("ATTLOG", "1")) as delivery:
        yield delivery


def no_delivery(_source: Source, _kept: Record) -> Yielded:
    """Deliver what only a folder has."""
    yield Settling()


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (out_of_its_block, "RuntimeError"),
        (without_a_block, "RuntimeError"),
        (with_a_place, "TypeError"),
        (without_a_time, "TypeError"),
        (with_a_mark_of_a_line, "TypeError"),
        (no_delivery, "TypeError"),
    ],
)
def test_a_driver_that_delivers_wrongly(
    tmp_path: Path, offer: Callable[[Source, Record], Yielded], reason: str
) -> None:
    """It is found before anything is stored that could not be settled, and costs this terminal only."""
    source = Source(offer=offer)
    with opened(tmp_path, source, may_fail=True) as office, capture_logs() as logs:
        worker = office.visit()
        polled(worker)
        deliver(source, 1)
        eventually(lambda: "driver_failed" in office.alarms)
        source.offer = None
        eventually(lambda: office.pins() == ["1001"])
        assert worker.is_alive
    (failed,) = [line for line in logs if line["event"] == "driver_failed"]
    assert failed["error"].startswith(reason)
    assert "settled 1 new, 0 known" not in source.calls[:-1]


def test_a_driver_that_delivers_after_it_was_closed(tmp_path: Path) -> None:
    """That delivery is an error of the driver; the first one, which could not be stored, is delivered again."""

    def stubborn(source: Source, kept: Record) -> Yielded:
        try:
            with source.delivery((kept,)) as delivery:
                yield delivery
        except GeneratorExit:
            with source.delivery((kept,)) as delivery:
                yield delivery

    source = Source(offer=stubborn, failure=TerminalUnavailable("the line broke"))
    with opened(tmp_path, source, may_fail=True) as office, capture_logs() as logs:
        worker = office.visit()
        polled(worker)
        deliver(source, 1)
        eventually(lambda: "driver_failed" in office.alarms)
        eventually(lambda: not source.kept)
        assert worker.is_alive
    (failed,) = [line for line in logs if line["event"] == "driver_failed"]
    assert failed["error"].startswith("RuntimeError")


def test_an_answer_that_does_not_arrive_is_logged(tmp_path: Path) -> None:
    """The source returns False: its records are stored, and it may bring them again."""
    source = Source()
    usual = source.settle

    def deaf(records: tuple[Record, ...], settlement: Settlement) -> bool:
        usual(records, settlement)
        return False

    source.settle = deaf  # type: ignore[method-assign]
    deliver(source, 1)
    with opened(tmp_path, source) as office, capture_logs() as logs:
        office.visit()
        eventually(lambda: not source.kept)
        eventually(lambda: any(line["event"] == "receipt_refused" for line in logs))
        assert office.pins() == ["1001"]


# ---------------------------------------------------------------- files

KILLED_AT_SETTLE = """
import os, signal, sys
from drivers.base import Delivery
def killed(self, settlement):
    os.kill(os.getpid(), signal.SIGKILL)
Delivery.settle = killed
from gateway.cli import main
main()
"""


def test_killed_between_commit_and_settle_of_a_file(tmp_path: Path) -> None:
    """The next start finds the file stored: nothing is lost, nothing is doubled, and the disk may be removed."""
    stick = tmp_path / "usb"
    stick.mkdir()
    lines = b"".join(b"     %d\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n" % pin for pin in range(1000, 1600))
    (stick / f"{SERIAL}_attlog.dat").write_bytes(lines)
    data, config = tmp_path / "data", tmp_path / "gateway.yaml"
    config.write_text(
        "site: office\ngateway: gw\ntimezone: Asia/Jakarta\ndata_dir: data\nweb: null\nmqtt: {url: 'mqtt://127.0.0.1:1'}\n"
        f"terminals:\n  - {{name: gate, driver: attlog, path: '{stick}', serial: {SERIAL}, settle: 100ms, poll: 1s}}\n",
        encoding="utf-8",
    )
    arguments = ["run", "-c", str(config), "--assume-synchronised"]
    with (tmp_path / "daemon.log").open("wb") as log:
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_AT_SETTLE, *arguments], stdout=log, stderr=log, timeout=WAIT_S, check=False
        )
        assert killed.returncode == -signal.SIGKILL
        assert punches(data) == 600
        assert [path.name for path in stick.iterdir()] == [f"{SERIAL}_attlog.dat"]
        process = subprocess.Popen([sys.executable, "-m", "gateway.cli", *arguments], stdout=log, stderr=log)
        try:
            eventually(lambda: medium(data) == "safe")
        finally:
            process.terminate()
            process.wait(WAIT_S)
    assert punches(data) == 600


def punches(data: Path) -> int:
    """Return how many punches a ledger holds."""
    with closing(LedgerReader(data)) as reader:
        return reader.punches()


def medium(data: Path) -> str | None:
    """Return what the running daemon reports of the flash disk; None before it runs."""
    answer = ask(data, "status")
    return answer.data["terminals"]["gate"]["medium"] if isinstance(answer, Done) else None
