"""Room on the disk: what is forgotten, what is never forgotten, and what happens when there is none left."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger import Ledger, LedgerError, LedgerFull, LedgerReader, Limits, space
from gateway.ledger.space import Disk, Forecast, Reserve, disk_state, must_prune
from tests.broker import eventually
from tests.gateway.small_disk import CappedDisk, SmallDisk, small_disk
from tests.gateway.test_ledger import SOURCE, Office, events_of, logged, punches

MIB = 1024**2
PLENTY = Limits(days=90, max_bytes=2**31, free_floor=0)
LIMITS = Limits(days=90, max_bytes=1000 * MIB, free_floor=256 * MIB)


class Roomy(Office):
    """An office whose ledger has limits."""

    def __init__(self, data_dir: Path, limits: Limits) -> None:
        self.limits = limits
        super().__init__(data_dir)

    def open(self) -> Ledger:
        """Open the ledger; this ends the one before."""
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.ledger = Ledger(self.data_dir, SOURCE, now=lambda: self.now, limits=self.limits)
        return self.ledger

    def settle(self, *sequences: int) -> None:
        """Let the broker have events."""
        self.ledger.mark_sent(sequences)
        self.ledger.flush_marks()

    def forgotten(self) -> list[int]:
        """Return the events without a body."""
        return [row[0] for row in self.ledger._rows("SELECT sequence FROM event WHERE body IS NULL ORDER BY sequence")]

    def body_bytes(self) -> int:
        """Return how large all bodies are, as the file has it."""
        size = self.ledger._scalar("SELECT coalesce(sum(length(CAST(body AS BLOB))), 0) FROM event")
        assert isinstance(size, int)
        return size


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the disk and at the bodies all the time."""
    monkeypatch.setattr(space, "CHECK_S", 0.02)
    monkeypatch.setattr(space, "PASS_S", 0.02)
    monkeypatch.setattr("gateway.ledger.writer.MARKS_DELAY_S", 0.01)


@pytest.fixture
def open_office(tmp_path: Path) -> Iterator[Callable[[Limits], Roomy]]:
    """Return a way to open an office with limits."""
    offices = []

    def make(limits: Limits) -> Roomy:
        offices.append(Roomy(tmp_path / "data", limits))
        return offices[-1]

    yield make
    for office in offices:
        office.ledger.close()


class TestRoom:
    """The rule, without a disk."""

    @pytest.mark.parametrize(
        ("disk", "body_mib", "expected"),
        [
            (Disk(1000 * MIB, 0, full=False), 0, "all"),
            (Disk(321 * MIB, 0, full=False), 0, "all"),
            (Disk(320 * MIB, 0, full=False), 0, "news"),
            (Disk(257 * MIB, 0, full=False), 0, "news"),
            (Disk(256 * MIB, 0, full=False), 0, "none"),
            (Disk(0, 0, full=False), 0, "none"),
            (Disk(200 * MIB, 200 * MIB, full=False), 0, "all"),
            (Disk(1000 * MIB, 0, full=True), 0, "none"),
            (Disk(1000 * MIB, 0, full=False), 899, "all"),
            (Disk(1000 * MIB, 0, full=False), 900, "news"),
            (Disk(1000 * MIB, 0, full=False), 1000, "none"),
        ],
    )
    def test_levels(self, disk: Disk, body_mib: int, expected: str) -> None:
        """Imports stop first, news last; room inside the file counts, and bodies that were not delivered count too."""
        assert disk_state(LIMITS, disk, body_mib * MIB) == expected

    def test_no_flutter(self) -> None:
        """A little more room is needed to go on than not to stop."""
        assert disk_state(LIMITS, Disk(260 * MIB, 0, full=False), 0, "none") == "none"
        assert disk_state(LIMITS, Disk(280 * MIB, 0, full=False), 0, "none") == "news"
        assert disk_state(LIMITS, Disk(330 * MIB, 0, full=False), 0, "news") == "news"
        assert disk_state(LIMITS, Disk(340 * MIB, 0, full=False), 0, "news") == "all"

    def test_bodies_go_before_anything_stops(self) -> None:
        """At 80 % of the bodies, or twice the margin above the floor, settled bodies go whatever their age."""
        assert not must_prune(LIMITS, Disk(400 * MIB, 0, full=False), 800 * MIB)
        assert must_prune(LIMITS, Disk(400 * MIB, 0, full=False), 801 * MIB)
        assert must_prune(LIMITS, Disk(383 * MIB, 0, full=False), 0)
        assert must_prune(LIMITS, Disk(400 * MIB, 0, full=True), 0)


class TestForecast:
    """When the disk will be full."""

    def test_unknown_at_first(self) -> None:
        """A rate needs some hours."""
        forecast = Forecast()
        assert forecast.days_left(0.0, 100, 0) is None
        forecast.note(0.0, 100)
        assert forecast.days_left(3600.0, 90, 0) is None

    def test_days(self) -> None:
        """A tenth a day, counted down to the floor."""
        forecast = Forecast()
        for hour in range(24):
            forecast.note(hour * 3600.0, 1000 * MIB - hour * MIB)
        assert forecast.days_left(24 * 3600.0, 976 * MIB, 256 * MIB) == 30
        assert forecast.days_left(24 * 3600.0, 200 * MIB, 256 * MIB) == 0

    def test_never(self) -> None:
        """A disk that does not fill up is not forecast."""
        forecast = Forecast()
        forecast.note(0.0, 100)
        assert forecast.days_left(86400.0, 100, 0) is None


class TestForgetting:
    """What becomes of settled bodies."""

    def test_old_ones_go(self, open_office: Callable[[Limits], Roomy]) -> None:
        """After their days settled bodies go and what waits stays; everything else of the rows stays as it was."""
        office = open_office(replace(PLENTY, days=30))
        office.read(logged(0, 1, 2, 3))
        columns = "SELECT sequence, id, topic, digest, recorded_ms, sent_ms, terminal, day FROM event ORDER BY sequence"
        office.settle(1, 2, 4)
        before = office.ledger._rows(columns)
        office.now += timedelta(days=20)
        office.read(logged(0, 1, 2, 3, 4))
        office.settle(5)
        office.now += timedelta(days=11)
        eventually(lambda: office.forgotten() == [1, 2, 4])
        assert office.ledger._rows(columns)[:4] == before
        assert [event.sequence for event in office.ledger.pending(0, 10)] == [3]
        with closing(LedgerReader(office.data_dir)) as reader:
            assert reader.verify().breach is None
        office.settle(3)
        eventually(lambda: office.forgotten() == [1, 2, 3, 4])
        assert office.ledger.body_bytes == office.body_bytes()

    def test_forgotten_punches_are_known(self, open_office: Callable[[Limits], Roomy]) -> None:
        """A punch whose body is forgotten is not recorded again, whatever becomes of its terminal's log."""
        office = open_office(replace(PLENTY, days=1))
        office.read(logged(0, 1, 2))
        office.settle(1, 2, 3)
        office.now += timedelta(days=2)
        eventually(lambda: office.forgotten() == [1, 2, 3])
        office.read(logged(9))
        assert office.read(logged(0, 1, 2)).new == 0

    def test_limit(self, open_office: Callable[[Limits], Roomy]) -> None:
        """At 80 % of the limit settled bodies go oldest first, no more of them than must."""
        office = open_office(replace(PLENTY, max_bytes=3 * MIB))
        office.read(logged(*range(4000)))
        assert office.ledger.body_bytes == office.body_bytes() > 2.4 * MIB
        office.settle(*range(1, 3001))
        eventually(lambda: office.ledger.body_bytes < 2.4 * MIB)
        eventually(lambda: office.ledger.disk_state() == "all")
        gone = office.forgotten()
        assert gone == list(range(1, len(gone) + 1))
        assert 500 <= len(gone) <= 2500
        assert office.ledger.body_bytes == office.body_bytes()

    def test_unsettled_bodies_never_go(self, open_office: Callable[[Limits], Roomy]) -> None:
        """Undelivered events fill the room and stop reading; when they are delivered, reading goes on by itself."""
        office = open_office(replace(PLENTY, max_bytes=MIB))
        office.read(logged(*range(2000)))
        eventually(lambda: office.ledger.disk_state() == "none")
        assert office.forgotten() == []
        office.settle(*range(1, 2001))
        eventually(lambda: office.ledger.disk_state() == "all")
        assert len(punches_kept(office)) < 2000

    def test_room_is_won(self, open_office: Callable[[Limits], Roomy]) -> None:
        """Pruning frees pages, so that the file does not grow by what comes next."""
        office = open_office(replace(PLENTY, days=1))
        office.read(logged(*range(3000)))
        office.settle(*range(1, 3001))
        office.now += timedelta(days=2)
        eventually(lambda: len(office.forgotten()) == 3000)
        pages = office.ledger._scalar("PRAGMA page_count")
        assert office.ledger._scalar("PRAGMA freelist_count") > pages // 2

    def test_size_is_known_after_a_crash(self, open_office: Callable[[Limits], Roomy], tmp_path: Path) -> None:
        """What was added since the size was last kept is counted at the next start."""
        office = open_office(PLENTY)
        office.read(logged(*range(6000)))
        with (
            closing(sqlite3.connect(office.data_dir / "ledger.db")) as source,
            closing(sqlite3.connect(tmp_path / "crashed")) as copy,
        ):
            source.backup(copy)
            assert copy.execute("SELECT counted_upto BETWEEN 5000 AND 5999 FROM gateway").fetchone() == (1,)
        (tmp_path / "other").mkdir()
        (tmp_path / "crashed").rename(tmp_path / "other" / "ledger.db")
        with closing(Ledger(tmp_path / "other", SOURCE, limits=PLENTY)) as ledger:
            expected = ledger._scalar("SELECT sum(length(CAST(body AS BLOB))) FROM event")
            assert ledger.body_bytes == expected


def punches_kept(office: Office) -> list[Any]:
    """Return the punches that still have a body."""
    return office.ledger.events(0, 10_000)


@dataclass
class VerifiableLedger:
    """A small disk, and the office on it."""

    disk: SmallDisk
    office: Roomy


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VerifiableLedger]:
    """Open an office on a disk of 24 MiB."""
    offices: list[Roomy] = []
    with small_disk(tmp_path / "disk", lambda: offices[0].ledger, monkeypatch) as disk:
        offices.append(Roomy(disk.folder / "data", Limits(days=90, max_bytes=2**30, free_floor=0)))
        try:
            yield VerifiableLedger(disk, offices[0])
        finally:
            offices[0].ledger.close()


class TestFullDisk:
    """A disk filled by another process."""

    def test_pause_and_recovery(self, shelf: VerifiableLedger) -> None:
        """Nothing is acknowledged as stored; delivery goes on; with room everything goes on by itself."""
        office = shelf.office
        office.read(logged(*range(1000)))
        eventually((office.data_dir / "ledger.reserve").exists)
        shelf.disk.fill()
        with pytest.raises(LedgerFull, match="make room on"):
            office.read(logged(*range(60_000)))
        assert office.ledger.disk_state() == "none"
        assert office.ledger.failure is None
        with pytest.raises(LedgerFull):
            office.read(logged(*range(60_000)))
        stored = office.ledger.last_sequence()
        session = office.ledger.next_session()
        office.settle(*range(1, 501))
        eventually(lambda: len(office.forgotten()) >= 500)
        shelf.disk.empty()
        eventually(lambda: office.ledger.disk_state() == "all")
        assert (office.data_dir / "ledger.reserve").exists()
        office.read(logged(*range(stored + 500)))
        assert office.ledger.next_session() > session
        with closing(LedgerReader(office.data_dir)) as reader:
            verdict = reader.verify()
        assert (verdict.breach, verdict.punches) == (None, stored + 500)

    def test_start(self, shelf: VerifiableLedger) -> None:
        """A daemon that starts on a full disk uses the reserve, and records again when there is room."""
        office = shelf.office
        office.read(logged(0))
        eventually((office.data_dir / "ledger.reserve").exists)
        if isinstance(shelf.disk, CappedDisk):
            office.open()
            shelf.disk.fill()
        else:
            shelf.disk.fill()
            office.open()
        shelf.disk.empty()
        eventually(lambda: office.ledger.disk_state() == "all")
        office.read(logged(0, 1))
        assert len(punches(office.ledger)) == 2

    def test_closing(self, shelf: VerifiableLedger) -> None:
        """A full disk does not keep a daemon from stopping, and costs nothing that was stored."""
        office = shelf.office
        office.read(logged(0, 1))
        shelf.disk.fill()
        with pytest.raises(LedgerFull):
            office.read(logged(*range(60_000)))
        stored = office.ledger.last_sequence()
        office.ledger.close()
        if not isinstance(shelf.disk, CappedDisk):
            shelf.disk.empty()
        office.open()
        assert len(events_of(office.ledger)) == stored


class TestOtherTrouble:
    """What only a person can mend is reported, and ends the writer."""

    def test_file_that_may_not_grow(self, tmp_path: Path) -> None:
        """A write that fails for another reason than room ends the writer, in words."""
        code = (
            "import resource, signal, sys\n"
            "from pathlib import Path\n"
            "from gateway.ledger import Ledger, LedgerError\n"
            "from datetime import UTC, datetime\n"
            "ledger = Ledger(Path(sys.argv[1]), '/hadir/office/gw-01')\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
            "try:\n"
            "    while True:\n"
            "        ledger.record_note('hadir.gateway.resumed.v1', None, datetime.now(UTC), {'x': 'x' * 9000})\n"
            "except LedgerError as exc:\n"
            "    print(type(exc).__name__, type(ledger.failure).__name__, exc)\n"
        )
        output = subprocess.run(
            [sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True
        ).stdout
        assert output.startswith("LedgerError LedgerError ")
        assert "disk I/O error; look at the disk" in output
        with closing(Ledger(tmp_path, SOURCE)) as ledger:
            assert len(events_of(ledger)) == ledger.last_sequence() > 5

    def test_reserve(self, tmp_path: Path) -> None:
        """The reserve really takes its room, once, and gives it up."""
        reserve = Reserve(tmp_path)
        assert reserve.hold()
        assert reserve.hold()
        assert (tmp_path / "ledger.reserve").stat().st_blocks * 512 >= space.RESERVE_BYTES
        reserve.release()
        reserve.release()
        assert list(tmp_path.iterdir()) == []


def test_old_offices_have_no_limits(tmp_path: Path) -> None:
    """Without limits nothing is forgotten and no room is held."""
    office = Office(tmp_path / "data")
    office.read(logged(0))
    office.ledger.flush_marks()
    assert office.ledger.disk_state() == "all"
    assert not (office.data_dir / "ledger.reserve").exists()
    office.ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        office.ledger.flush_marks()
