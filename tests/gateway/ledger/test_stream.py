"""Streams: a ledger that may not go on where it believes to be begins anew, and states what went before."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.event import first_previous
from gateway.ledger import Ledger, LedgerReader
from gateway.ledger.stream import Location, inode_of, location_from, machine_ids
from tests.gateway.test_ledger import SOURCE, Office, logged

OPENED = "hadir.stream.opened.v1"
VERSION_1 = Path(__file__).with_name("version_1.sql")


@pytest.fixture
def office(tmp_path: Path) -> Any:
    """Open an office at its first contact with its terminal."""
    office = Office(tmp_path / "data")
    yield office
    office.ledger.close()


def bodies(ledger: LedgerReader) -> list[dict[str, Any]]:
    """Return all events."""
    return [json.loads(event.body) for event in ledger.events(0, 10_000)]


def places(ledger: LedgerReader) -> list[tuple[str, int]]:
    """Return stream and sequence of all events, as they say themselves."""
    return [(event["stream"], int(event["sequence"])) for event in bodies(ledger)]


def opened(ledger: LedgerReader) -> list[dict[str, Any]]:
    """Return the notes of opened streams."""
    return [event["data"] for event in bodies(ledger) if event["type"] == OPENED]


class TestOpenStream:
    """Beginning anew by order."""

    def test_first_stream(self, office: Office) -> None:
        """A ledger's first stream has no predecessor, counts from 1 and needs no event that states this."""
        office.read(logged(0))
        (only,) = office.ledger.streams()
        assert (only.base, only.named_predecessor(), only.id) == (0, None, office.ledger.stream)
        assert places(office.ledger) == [(only.id, 1)]

    def test_next_stream(self, office: Office) -> None:
        """It counts from 1, its chain begins with its name, and its first event names the stream before."""
        office.read(logged(0, 1))
        first = office.ledger.stream
        second = office.ledger.open_stream("because")
        office.read(logged(0, 1, 2))
        assert places(office.ledger) == [(first, 1), (first, 2), (second, 1), (second, 2)]
        events = bodies(office.ledger)
        before = {"stream": first, "sequence": 2, "digest": events[1]["digest"]}
        assert events[2]["data"] == {"reason": "because", "lost": 0, "predecessor": before}
        assert events[2]["previous"] == first_previous(second)
        assert events[3]["previous"] == events[2]["digest"]
        assert office.ledger.streams()[-1].named_predecessor() == before
        assert (office.ledger.stream, office.ledger.assigned(), office.ledger.last_sequence()) == (second, 2, 4)

    def test_base(self, office: Office) -> None:
        """The sequence in a stream is the number in the ledger less the stream's base; a foreign one has none."""
        office.read(logged(0, 1))
        first, second = office.ledger.stream, office.ledger.open_stream("because")
        assert [office.ledger.base_of(name) for name in (first, second, "foreign")] == [0, 2, None]

    def test_what_waits_is_sent_as_it_is(self, office: Office) -> None:
        """Events of the stream before keep their bytes and their turn."""
        office.read(logged(0, 1))
        before = office.ledger.pending(0, 10)
        office.ledger.open_stream("because")
        assert office.ledger.pending(0, 2) == before

    def test_restart_goes_on_in_it(self, office: Office) -> None:
        """A restart changes nothing."""
        office.read(logged(0))
        second = office.ledger.open_stream("because")
        office.open()
        office.read(logged(0, 1))
        assert places(office.ledger)[1:] == [(second, 1), (second, 2)]

    def test_twice(self, office: Office) -> None:
        """A stream of one event may be a predecessor too."""
        names = [office.ledger.stream, office.ledger.open_stream("one"), office.ledger.open_stream("two")]
        assert [output["predecessor"]["stream"] for output in opened(office.ledger)] == names[:2]
        assert [output["predecessor"]["sequence"] for output in opened(office.ledger)] == [0, 1]

    def test_failed_job_takes_its_stream_back(self, office: Office) -> None:
        """A job that fails after opening a stream leaves none."""
        office.read(logged(0))

        def work(transaction: Any) -> None:
            transaction.open_stream("because")
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            office.ledger.do(work)
        office.read(logged(0, 1))
        assert places(office.ledger) == [(office.ledger.stream, 1), (office.ledger.stream, 2)]


def machine(*marks: str) -> Callable[[], frozenset[str]]:
    """Return a machine with these marks."""
    return lambda: frozenset(marks)


class TestHome:
    """Whether a ledger is where it was."""

    @staticmethod
    def reopened(data_dir: Path, *marks: str) -> list[str]:
        """Open the ledger on a machine and return the reasons of all streams opened so far."""
        with closing(Ledger(data_dir, SOURCE, machine=machine(*marks))) as ledger:
            return [output["reason"] for output in opened(ledger)]

    def test_same_place(self, tmp_path: Path) -> None:
        """A restart in the same place opens nothing."""
        assert [self.reopened(tmp_path, "id", "card") for _ in range(3)] == [[], [], []]

    def test_copied_file(self, tmp_path: Path) -> None:
        """A copy is another file, once."""
        self.reopened(tmp_path / "a", "id")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        assert self.reopened(tmp_path / "b", "id") == ["another_file"]
        assert self.reopened(tmp_path / "b", "id") == ["another_file"]
        assert self.reopened(tmp_path / "a", "id") == []

    def test_another_machine(self, tmp_path: Path) -> None:
        """A disk image on another machine opens a stream there, once."""
        self.reopened(tmp_path, "id", "card")
        assert self.reopened(tmp_path, "other", "another card") == ["another_machine"]
        assert self.reopened(tmp_path, "other") == ["another_machine"]

    def test_copied_card(self, tmp_path: Path) -> None:
        """A copied SD card brings its machine-id along; its board shows the copy. An unknown board proves nothing."""
        self.reopened(tmp_path, "id", "card", "board:a")
        assert self.reopened(tmp_path, "id", "card") == []
        self.reopened(tmp_path, "id", "card", "board:a")
        assert self.reopened(tmp_path, "id", "card", "board:b") == ["another_machine"]
        assert self.reopened(tmp_path, "id", "new card", "board:b") == ["another_machine"]

    @pytest.mark.parametrize("marks", [("id",), ("card",), ("new id", "card"), ("id", "new card"), ()])
    def test_same_machine_changed(self, tmp_path: Path, marks: tuple[str, ...]) -> None:
        """A network card pulled, exchanged or added, a system installed anew, marks that cannot be read."""
        self.reopened(tmp_path, "id", "card")
        assert self.reopened(tmp_path, *marks) == []

    def test_changed_bit_by_bit(self, tmp_path: Path) -> None:
        """A machine of which every part was exchanged, one after the other, is the same one."""
        for marks in (("id", "card"), ("id", "new card"), ("new id", "new card")):
            assert self.reopened(tmp_path, *marks) == []

    def test_machine_without_marks(self, tmp_path: Path) -> None:
        """A container without marks that is made anew is the same machine."""
        assert [self.reopened(tmp_path) for _ in range(2)] == [[], []]

    def test_crash_before_the_stream_is_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was noticed is not forgotten by a process that dies before it acted upon it."""
        self.reopened(tmp_path / "a", "id")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "open_stream", lambda *_: None)
            assert self.reopened(tmp_path / "b", "id") == []
        assert self.reopened(tmp_path / "b", "id") == ["another_file"]

    def test_text(self) -> None:
        """What is remembered of a home is read back."""
        home = Location(frozenset(("a", "b")), 7)
        assert location_from(home.text()) == home

    def test_file_without_a_lasting_number(self) -> None:
        """Where the file system does not keep numbers, nothing follows from them."""
        assert Location(frozenset("a"), None).left(Location(frozenset("a"), 7)) is None


class TestRolledBack:
    """A ledger that holds less than it did."""

    def test_older_copy_in_its_place(self, office: Office) -> None:
        """An older state written over the file, as `cp` does, keeps the file and is noticed all the same."""
        office.read(logged(0))
        office.open()
        older = (office.data_dir / "ledger.db").read_bytes()
        first = office.ledger.stream
        office.read(logged(0, 1))
        office.ledger.close()
        (office.data_dir / "ledger.db").write_bytes(older)
        office.open()
        (output,) = opened(office.ledger)
        assert (output["reason"], output["predecessor"]["stream"], output["predecessor"]["sequence"]) == (
            "rolled_back",
            first,
            1,
        )
        office.read(logged(0, 1))
        assert places(office.ledger) == [(first, 1), (office.ledger.stream, 1), (office.ledger.stream, 2)]
        office.open()
        assert len(opened(office.ledger)) == 1

    @pytest.mark.parametrize("spoil", [Path.unlink, lambda path: os.truncate(path, path.stat().st_size // 2)])
    def test_lost_log(self, office: Office, spoil: Callable[[Path], None]) -> None:
        """A write-ahead log that was deleted or cut takes committed events along: they are never numbered twice."""
        office.read(logged(0))
        office.open()
        office.read(logged(0, 1, 2))
        copy = office.data_dir.with_name("crashed")
        shutil.copytree(office.data_dir, copy)
        spoil(copy / "ledger.db-wal")
        with closing(sqlite3.connect(copy / "ledger.db")) as connection:  # so that only the log speaks
            home = Location(machine_ids(), inode_of(copy / "ledger.db")).text()
            connection.execute("UPDATE gateway SET home = ?", (home,))
            connection.commit()
        with closing(Ledger(copy, SOURCE)) as ledger:
            assert [output["reason"] for output in opened(ledger)] == ["rolled_back"]
            assert len(set(places(ledger))) == len(places(ledger))

    def test_mark_that_is_older_proves_nothing(self, office: Office) -> None:
        """After a power cut the mark beside the ledger may be older than the ledger."""
        office.read(logged(0))
        older = (office.data_dir / "ledger.lock").read_bytes()
        office.read(logged(0, 1))
        office.ledger.close()
        (office.data_dir / "ledger.lock").write_bytes(older)
        office.open()
        assert opened(office.ledger) == []

    @pytest.mark.parametrize("mark", [b"", b"garbage\n", b"9 9 sha256:00 x\n"])
    def test_unreadable_mark(self, office: Office, mark: bytes) -> None:
        """A mark that cannot be read proves nothing."""
        office.read(logged(0))
        office.ledger.close()
        (office.data_dir / "ledger.lock").write_bytes(mark)
        office.open()
        assert opened(office.ledger) == []


class TestMarks:
    """What a machine is known by."""

    @staticmethod
    def system(root: Path, machine_id: str | None, **cards: tuple[str, bool]) -> Path:
        """Make a system with a machine-id and cards: address, and whether they are physical."""
        (root / "etc").mkdir(parents=True)
        if machine_id is not None:
            (root / "etc/machine-id").write_text(machine_id)
        for name, (address, physical) in cards.items():
            card = root / "sys/class/net" / name
            card.mkdir(parents=True)
            (card / "address").write_text(f"{address}\n")
            if physical:
                (card / "device").mkdir()
        return root

    def test_marks(self, tmp_path: Path) -> None:
        """The machine-id and physical cards count, not virtual ones; what is kept does not show them."""
        root = self.system(tmp_path, "abc\n", eth0=("52:54:00:00:00:01", True), docker0=("02:42:00:00:00:01", False))
        marks = machine_ids(root)
        assert len(marks) == 2
        assert not marks & {"abc", "52:54:00:00:00:01"}

    def test_board(self, tmp_path: Path) -> None:
        """A board shows its serial number in the device tree, as text with a NUL behind it."""
        serial = tmp_path / "sys/firmware/devicetree/base/serial-number"
        serial.parent.mkdir(parents=True)
        serial.write_bytes(b"10000000abcdef01\0")
        (mark,) = machine_ids(tmp_path)
        assert mark.startswith("board:")
        assert "abcdef" not in mark
        serial.write_bytes(b"0000000000000000\0")
        assert machine_ids(tmp_path) == frozenset()

    @pytest.mark.parametrize("machine_id", [None, "", "uninitialized\n"])
    def test_nothing_to_go_by(self, tmp_path: Path, machine_id: str | None) -> None:
        """A container without a machine-id and with virtual cards has no marks."""
        root = self.system(tmp_path, machine_id, eth0=("02:42:ac:11:00:02", False), lo=("00:00:00:00:00:00", True))
        assert machine_ids(root) == frozenset()

    @pytest.mark.parametrize(("kind", "kept"), [("ext4", True), ("overlay", True), ("vfat", False), ("fuseblk", False)])
    def test_inode(self, tmp_path: Path, kind: str, kept: bool) -> None:
        """A file's number counts where the file system keeps it."""
        device = tmp_path.stat().st_dev
        mounts = tmp_path / "mountinfo"
        mounts.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / /data rw - {kind} /dev/sda1 rw\n")
        assert inode_of(tmp_path, mounts) == (tmp_path.stat().st_ino if kept else None)


def test_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """A ledger of version 1: same stream, same bytes, same chain; the columns needed from now on are there."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(VERSION_1.read_text("utf-8"))
        before = connection.execute("SELECT sequence, topic, body, digest, sent_ms FROM event").fetchall()
        (name,) = connection.execute("SELECT stream FROM gateway").fetchone()
    with closing(Ledger(tmp_path, SOURCE, now=lambda: datetime(2026, 9, 8, tzinfo=UTC))) as ledger:
        assert [(one.id, one.base, one.reason) for one in ledger.streams()] == [(name, 0, None)]
        assert ledger._rows("SELECT sequence, topic, body, digest, sent_ms FROM event") == before
        assert ledger.next_session() == 2
        assert [day.in_ledger for day in ledger.tally("lobby")] == [1, 0, 3]
        moment = datetime(2026, 9, 8, tzinfo=UTC)
        assert ledger.record_note("hadir.gateway.resumed.v1", None, moment, {}) == len(before) + 1
        assert bodies(ledger)[-1]["previous"] == bodies(ledger)[-2]["digest"]
        fresh = tmp_path / "fresh"
        with closing(Ledger(fresh, SOURCE)) as other:
            for table in ("gateway", "stream", "event", "terminal", "withheld"):
                columns = [
                    {row.name for row in which._rows(f"PRAGMA table_info({table})")} for which in (ledger, other)
                ]
                assert columns[0] == columns[1], table
