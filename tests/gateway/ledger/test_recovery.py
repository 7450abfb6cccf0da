"""A damaged ledger is salvaged, and no punch is lost by it; copies are made and restored."""

import errno
import json
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BadRecord, Reading, Record
from gateway.ledger import Ledger, LedgerError, LedgerReader, backup, copies, file, recovery, schema
from gateway.ledger.delivery import Receipt
from tests.gateway.test_file_import import line, put, sink
from tests.gateway.test_ledger import RECORDED, RESET, SOURCE, Office, by_uid, logged, made, reset

LOG: list[Record] = [*logged(*range(300)), BadRecord(b"x", b"x", "impossible date"), *logged(300, 300, 301)]


class Centre:
    """The other end of the road: takes what waits, keeps every punch once by its id."""

    def __init__(self) -> None:
        self.punches: dict[str, tuple[str, str]] = {}
        self.places: dict[tuple[str, int], str] = {}

    def take(self, office: Office) -> None:
        """Take everything that waits, as a broker and a consumer would."""
        for waiting in office.ledger.pending(0, 100_000):
            event = json.loads(waiting.body)
            place = (event["stream"], int(event["sequence"]))
            assert self.places.setdefault(place, event["digest"]) == event["digest"], "a fork"
            if event["type"] == "hadir.punch.recorded.v1":
                self.punches[event["id"]] = (event["data"]["pin"], event["data"]["local_time"])
            office.ledger.mark_sent([waiting.sequence])
        office.ledger.flush_marks()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office."""
    office = Office(tmp_path / "data")
    yield office
    office.ledger.close()


def moments(ledger: LedgerReader) -> list[tuple[str, int]]:
    """Return local time and occurrence of every punch that is there, whatever is missing between them."""
    bodies = [json.loads(event.body) for event in ledger.events(0, 100_000)]
    return [(e["data"]["local_time"], e["data"]["occurrence"]) for e in bodies if e["type"] == RECORDED]


def crash(office: Office) -> None:
    """Leave the ledger as a process leaves it that is killed: copied while open, put back when closed."""
    names = ("ledger.db", "ledger.db-wal", "ledger.lock")
    kept = {name: (office.data_dir / name).read_bytes() for name in names}
    office.ledger.close()
    for name, content in kept.items():
        (office.data_dir / name).write_bytes(content)


def flipped(data_dir: Path, dice: random.Random) -> None:
    """Spoil a few bytes somewhere."""
    content = bytearray((data_dir / "ledger.db").read_bytes())
    for _ in range(20):
        place = dice.randrange(len(content))
        content[place : place + 40] = dice.randbytes(40)
    (data_dir / "ledger.db").write_bytes(content)


def blank_pages(data_dir: Path, dice: random.Random) -> None:
    """Lose whole pages."""
    content = bytearray((data_dir / "ledger.db").read_bytes())
    for page in dice.sample(range(len(content) // 4096), 8):
        content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    (data_dir / "ledger.db").write_bytes(content)


def truncated(data_dir: Path, _: random.Random) -> None:
    """Lose the second half."""
    os.truncate(data_dir / "ledger.db", (data_dir / "ledger.db").stat().st_size // 2)


def emptied(data_dir: Path, _: random.Random) -> None:
    """Lose everything but the name."""
    os.truncate(data_dir / "ledger.db", 0)


def headless(data_dir: Path, _: random.Random) -> None:
    """Lose the header."""
    with (data_dir / "ledger.db").open("r+b") as handle:
        handle.write(b"garbage " * 512)


def zeros(data_dir: Path, _: random.Random) -> None:
    """Find zeros, as some file systems leave them after a power cut."""
    (data_dir / "ledger.db").write_bytes(bytes(8192))


def without_log(data_dir: Path, _: random.Random) -> None:
    """Lose the write-ahead log."""
    (data_dir / "ledger.db-wal").unlink()


def half_a_log(data_dir: Path, _: random.Random) -> None:
    """Lose the end of the write-ahead log."""
    os.truncate(data_dir / "ledger.db-wal", (data_dir / "ledger.db-wal").stat().st_size // 2)


def ownerless(data_dir: Path, _: random.Random) -> None:
    """Find a ledger that does not say whose it is."""
    with closing(sqlite3.connect(data_dir / "ledger.db")) as connection:
        connection.execute("DELETE FROM gateway")
        connection.commit()


def altered(data_dir: Path, _: random.Random) -> None:
    """Find an event that waits, and bytes of it that are not what was written."""
    with closing(sqlite3.connect(data_dir / "ledger.db")) as connection:
        connection.execute(
            "UPDATE event SET sent_ms = NULL, body = replace(body, '\"verify\":1', '\"verify\":2') "
            "WHERE sequence = (SELECT min(sequence) FROM event WHERE body LIKE '%\"verify\":1%')"
        )
        connection.commit()


DAMAGES = [flipped, blank_pages, truncated, emptied, headless, zeros, without_log, half_a_log, ownerless]


@pytest.mark.parametrize("damaged", DAMAGES)
@pytest.mark.parametrize("seed", range(3))
def test_every_punch_is_at_the_centre_once(
    office: Office, damaged: Callable[[Path, random.Random], None], seed: int
) -> None:
    """The whole road: terminal, ledger, damage at a bad moment, start, reading: the centre has every punch once.

    One terminal's log holds PINs, the other's internal numbers; part of it was sent before, part never was.
    """
    centre, dice = Centre(), random.Random(seed)
    office.read(LOG[:250])
    numbers = by_uid(*((1 + second % 3, second) for second in range(100)))
    pins = {1: "2001", 2: "2002", 3: "2003"}
    office.ledger.pin_serial("hall", "HALL")
    hall: dict[str, Any] = {"terminal": "hall", "serial": "HALL"}
    first = Reading(0, 80, numbers[:80], "8", by_uid=True)
    office.ledger.record_reading(office.context(**hall), first, pins=pins)
    centre.take(office)
    office.open()  # everything is in the file; from here on in the write-ahead log
    office.read(LOG, 240)
    office.ledger.record_reading(office.context(**hall), Reading(0, 100, numbers, "8", by_uid=True), pins=pins)
    office.live(made(second=900))
    stream = office.ledger.stream
    crash(office)

    damaged(office.data_dir, dice)
    office.open()
    for name, serial in (("lobby", office.serial), ("hall", "HALL")):
        office.ledger.pin_serial(name, serial)
    log = [*LOG, made(second=900)]
    office.read(log)
    office.ledger.record_reading(office.context(**hall), Reading(0, 100, numbers, "8", by_uid=True), pins=pins)
    centre.take(office)

    expected = [*("1001" for _ in range(304)), *(pins[1 + second % 3] for second in range(100))]
    assert sorted(pin for pin, _ in centre.punches.values()) == sorted(expected)
    assert office.ledger.stream == stream or office.ledger.broken in ("salvaged", "rolled_back")
    with closing(LedgerReader(office.data_dir)) as reader:
        # Spoilt bytes of an event that was sent long ago are found by looking, not at every start.
        assert reader.verify().breach is None or damaged is flipped
    assert office.read(log).new == 0
    office.open()
    assert office.ledger.broken is None
    assert office.ledger.salvage is None


def salvaged(office: Office, spoil: Callable[[Path, random.Random], None], seed: int = 1) -> recovery.Salvage:
    """Damage the ledger and start again."""
    crash(office)
    spoil(office.data_dir, random.Random(seed))
    office.open()
    assert office.ledger.salvage is not None
    return office.ledger.salvage


class TestSalvage:
    """What is saved, and what is reported of it."""

    def test_headless_file_gives_everything(self, office: Office) -> None:
        """Where only the header is lost every event is saved with its place, and waits to be sent again."""
        office.read(LOG)
        office.open()
        before = office.ledger.events(0, 1000)
        names = [office.ledger.stream]
        salvage = salvaged(office, headless)
        assert salvage.kept == len(before) == 304
        assert [event.body for event in office.ledger.pending(0, 304)] == [event.body for event in before]
        output = json.loads(office.ledger.events(304, 1)[0].body)
        assert output["type"] == "hadir.stream.opened.v1"
        predecessor = {"stream": names[0], "sequence": 304, "digest": json.loads(before[-1].body)["digest"]}
        assert output["data"] == {"reason": "salvaged", "lost": 0, "predecessor": predecessor}

    def test_damaged_file_is_kept(self, office: Office) -> None:
        """The damaged file stays beside the ledger byte for byte, and a second one does not take its place."""
        office.read(LOG)
        office.open()
        first = salvaged(office, headless).aside
        content = first.read_bytes()
        assert content.startswith(b"garbage")
        second = salvaged(office, emptied).aside
        assert first != second
        assert first.read_bytes() == content
        assert second.read_bytes() == b""
        assert {path.name.split("-")[0] for path in (first, second)} == {"ledger.db.damaged"}

    def test_nothing_saved_but_how_far_it_went(self, office: Office) -> None:
        """Where the file is gone the mark beside it names the stream that the new one follows."""
        office.read(LOG)
        before = office.ledger.stream
        salvaged(office, emptied)
        (_, present) = office.ledger.streams()
        assert (present.predecessor, present.last_sequence, present.lost) == (before, 304, 304)
        with closing(LedgerReader(office.data_dir)) as reader:
            verdict = reader.verify()
        assert (verdict.breach, verdict.lost, verdict.events) == (None, 304, 1)

    def test_nothing_at_all(self, office: Office) -> None:
        """Without file and mark a ledger begins that has no predecessor."""
        office.read(LOG)
        crash(office)
        emptied(office.data_dir, random.Random(1))
        (office.data_dir / "ledger.lock").write_bytes(b"")
        office.open()
        (only,) = office.ledger.streams()
        assert (only.predecessor, only.reason) == (None, "salvaged")

    def test_gaps_are_distinguished_from_tampering(self, office: Office) -> None:
        """After damage holes are counted, and one hole more is a breach."""
        office.read(LOG)
        office.open()
        salvaged(office, blank_pages)
        with closing(LedgerReader(office.data_dir)) as reader:
            verdict = reader.verify()
        assert verdict.breach is None
        assert verdict.lost > 0
        with closing(sqlite3.connect(office.data_dir / "ledger.db")) as connection:
            connection.execute("DELETE FROM event WHERE sequence = (SELECT min(sequence) FROM event)")
            connection.commit()
        with closing(LedgerReader(office.data_dir)) as reader:
            assert reader.verify().breach is not None

    def test_altered_waiting_event(self, office: Office) -> None:
        """An event that is still to be sent and is not what was written is not sent: its punch is read again."""
        office.read(LOG[:3])
        crash(office)
        with closing(sqlite3.connect(office.data_dir / "ledger.db")) as connection:
            connection.execute("UPDATE event SET body = replace(body, '07:00:01', '06:59:59') WHERE sequence = 2")
            connection.commit()
        office.open()
        assert office.ledger.salvage is not None
        assert office.ledger.salvage.kept == 2
        office.read(LOG[:3])
        times = [json.loads(event.body)["data"].get("local_time") for event in office.ledger.events(0, 10)]
        assert sorted(filter(None, times)) == [f"2026-09-07T07:00:0{second}" for second in range(3)]

    def test_withheld_history_stays_withheld(self, office: Office) -> None:
        """History that the office chose not to send does not come out with a salvage that can read it."""
        old = [made(second=second, day=made().local_time - timedelta(days=30)) for second in range(5)]
        office.read([*old, *logged(0)], start=date(2026, 9, 1))
        crash(office)
        with closing(sqlite3.connect(office.data_dir / "ledger.db")) as connection:
            connection.execute("DELETE FROM stream")
            connection.execute("DELETE FROM gateway")
            connection.commit()
        office.open()
        stored = office.read([*old, *logged(0, 1)], start=date(2026, 9, 1))
        assert (stored.new, office.ledger.counts().withheld) == (1, 5)
        assert office.ledger.release(office.context()) == 5

    @pytest.mark.parametrize("spoil", [flipped, headless, blank_pages])
    @pytest.mark.parametrize("seed", range(2))
    def test_file_and_then_the_log(
        self, office: Office, tmp_path: Path, spoil: Callable[[Path, random.Random], None], seed: int
    ) -> None:
        """What a file brought is the same punch when the log shows it after the salvage, also of a reset clock."""
        put(
            sink(office.ledger),
            tmp_path,
            *(line(second) for second in range(300)),
            *(line(s, base=RESET) for s in (0, 7)),
        )
        office.open()  # everything is in the file, nothing in the write-ahead log

        salvaged(office, spoil, seed)
        office.read([reset(), reset(7)])
        office.read([reset(), reset(7), *logged(*range(300))])

        assert len(moments(office.ledger)) == 302
        assert {occurrence for _, occurrence in moments(office.ledger)} == {1}
        assert office.read([reset(), reset(7), *logged(*range(300)), reset()]).new == 1

    def test_files_that_were_read_are_remembered(self, office: Office, tmp_path: Path) -> None:
        """Where the damage has left it: another reading of the same file puts nothing on record again."""
        lines = [*(line(second) for second in range(12)), line(0, base=RESET), line(99), line(0, base=RESET)]
        assert put(sink(office.ledger), tmp_path, *lines).noted
        before = moments(office.ledger)
        marks = office.ledger._rows("SELECT terminal, mark FROM landmark")
        events = office.ledger._rows("SELECT sequence FROM file")

        salvaged(office, altered)
        again = put(sink(office.ledger), tmp_path, *lines)

        assert not again.noted
        assert again.counts.new == 1  # the altered one
        assert sorted(moments(office.ledger)) == sorted(before)
        assert office.ledger._rows("SELECT terminal, mark FROM landmark") == marks
        assert office.ledger._rows("SELECT sequence FROM file") == events

    def test_the_centres_word_is_remembered(self, office: Office) -> None:
        """It confirms what was saved and nothing that comes later, and goes on being waited for."""
        office.read(LOG[:100])
        Centre().take(office)
        receipt = Receipt(stream=office.ledger.stream, upto=90, missing=((20, 29),), at="2026-09-07T00:00:00Z")
        office.ledger.note_receipt(receipt)

        salvaged(office, altered)

        (row,) = office.ledger._rows("SELECT stream, upto FROM delivery")
        assert tuple(row) == (receipt.stream, 90)
        assert [tuple(row) for row in office.ledger._rows("SELECT first, last FROM missing")] == [(20, 29)]
        assert office.ledger.counts().waiting == 100  # what is not proven to have been sent is sent again
        sent = [event.sequence for event in office.ledger.pending(0, 1000)]
        office.ledger.mark_sent(sent)
        office.ledger.flush_marks()
        office.read(LOG)
        new = [event.sequence for event in office.ledger.pending(0, 1000)]
        office.ledger.mark_sent(new)
        office.ledger.flush_marks()
        settled = "SELECT max(sequence) FROM event WHERE " + schema.SETTLED  # noqa: S608 - our own words
        assert office.ledger._scalar(settled) == 100

    def test_a_word_made_greater_by_the_damage_confirms_nothing_to_come(self, office: Office) -> None:
        """The mark ends with what was saved."""
        office.read(LOG[:100])
        Centre().take(office)
        office.ledger.note_receipt(Receipt(stream=office.ledger.stream, upto=90, missing=(), at="2026-09-07T00:00:00Z"))

        def swollen(data_dir: Path, dice: random.Random) -> None:
            altered(data_dir, dice)
            with closing(sqlite3.connect(data_dir / "ledger.db")) as connection:
                connection.execute("UPDATE delivery SET upto = 1000000")
                connection.execute("INSERT INTO missing VALUES (50, 1000000), (2000000, 3000000)")
                connection.commit()

        salvaged(office, swollen)

        assert office.ledger._scalar("SELECT upto FROM delivery") == 100
        assert [tuple(row) for row in office.ledger._rows("SELECT first, last FROM missing")] == [(50, 100)]

    def test_words_of_the_file_itself(self, office: Office) -> None:
        """SQLite's complaint quotes the spoilt bytes, which are no text."""
        office.read(LOG)
        office.open()

        def misspelt(data_dir: Path, _: random.Random) -> None:
            content = (data_dir / "ledger.db").read_bytes()
            spoilt = content.replace(b"CREATE TABLE place", b"CREATE \x81\x9f\xff\xfe\xa0 place")
            assert spoilt != content
            (data_dir / "ledger.db").write_bytes(spoilt)

        assert salvaged(office, misspelt).kept == 304
        assert office.read(LOG).new == 0

    def test_sessions_rise(self, office: Office) -> None:
        """A session after a salvage is higher than any before."""
        before = office.ledger.next_session()
        office.read(LOG)
        salvaged(office, zeros)
        assert office.ledger.next_session() > before

    def test_foreign_wreck(self, office: Office) -> None:
        """The damaged ledger of another gateway is refused and stays where it is."""
        office.read(LOG)
        office.open()
        crash(office)
        headless(office.data_dir, random.Random(1))
        before = (office.data_dir / "ledger.db").read_bytes()
        with pytest.raises(LedgerError, match="belongs to /hadir/office/gw-01"):
            Ledger(office.data_dir, "/hadir/office/gw-02")
        assert (office.data_dir / "ledger.db").read_bytes() == before

    @pytest.mark.parametrize("links", [True, False])
    @pytest.mark.parametrize("step", range(6))
    def test_crash_while_salvaging(
        self, office: Office, step: int, monkeypatch: pytest.MonkeyPatch, *, links: bool
    ) -> None:
        """A start that dies while files change places is finished by the next one; nothing is lost on the way."""
        office.read(LOG)
        office.open()
        crash(office)
        headless(office.data_dir, random.Random(1))
        left = [step]

        def dying(move: Callable[..., Any], *, works: bool = True) -> Callable[..., Any]:
            def moved(here: Path, *args: Any, **kwargs: Any) -> Any:
                if here.name.endswith(".new"):
                    return move(here, *args, **kwargs)
                if not works:
                    raise PermissionError(errno.EPERM, "no links on this file system")
                if not left[0]:
                    raise SystemExit
                left[0] -= 1
                return move(here, *args, **kwargs)

            return moved

        with monkeypatch.context() as patch:
            patch.setattr(Path, "hardlink_to", dying(Path.hardlink_to, works=links))
            for name in ("rename", "replace", "unlink"):
                patch.setattr(Path, name, dying(getattr(Path, name)))
            with pytest.raises(SystemExit):
                Ledger(office.data_dir, SOURCE)
        office.open()
        assert office.ledger.broken == "salvaged"
        assert office.ledger.last_sequence() == 305
        assert any(path.read_bytes().startswith(b"garbage") for path in office.data_dir.glob("ledger.db.damaged-*"))

    def test_progress_is_reported(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        """During a long examination its progress is reported."""
        monkeypatch.setattr(recovery, "OPERATIONS", 100)
        office.read(LOG)
        crash(office)
        reported = []
        Ledger(office.data_dir, SOURCE, progress=lambda: reported.append(1)).close()
        assert reported

    def test_damage_met_while_running(self, office: Office) -> None:
        """A page that turns out to make no sense ends the daemon, and the next start salvages."""
        office.read(LOG)
        office.open()
        root = office.ledger._scalar("SELECT rootpage FROM sqlite_master WHERE name = 'place'")
        office.ledger._rows("PRAGMA wal_checkpoint(TRUNCATE)")
        office.ledger._engine.dispose()
        with (office.data_dir / "ledger.db").open("r+b") as handle:
            handle.seek((root - 1) * 4096)
            handle.write(b"\xff" * 4096)
        with pytest.raises(LedgerError, match="start the daemon, it saves what can be read"):
            office.read(LOG)
        assert isinstance(office.ledger.failure, file.LedgerDamaged)
        office.open()
        assert office.ledger.salvage is not None
        assert office.ledger.salvage.kept == 304
        assert office.read(LOG).new == 0


class TestBackup:
    """Copies of a ledger."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Copy page by page, without pausing."""
        monkeypatch.setattr(copies, "BACKUP_PAGES", 1)
        monkeypatch.setattr(copies, "BACKUP_PAUSE_S", 0.0001)

    def test_while_the_daemon_writes(self, office: Office, tmp_path: Path) -> None:
        """A copy is one moment of the ledger, whole, however much is written meanwhile."""
        office.read(LOG)
        stop = threading.Event()

        def work() -> None:
            number = 1000
            while not stop.is_set():
                office.live(made(second=number))
                number += 1

        writer = threading.Thread(target=work)
        writer.start()
        try:
            copy = copies.backup(office.ledger.path, tmp_path / "backups")
        finally:
            stop.set()
            writer.join()
        (tmp_path / "elsewhere").mkdir()
        shutil.copy(copy, tmp_path / "elsewhere" / "ledger.db")
        with closing(LedgerReader(tmp_path / "elsewhere")) as reader:
            assert reader.last_sequence() >= 304
            assert reader.verify().breach is None

    def test_only_the_newest_are_kept(self, office: Office, tmp_path: Path) -> None:
        """Older copies make room, other files are left alone."""
        folder = tmp_path / "backups"
        folder.mkdir()
        old = [folder / f"ledger-2025090{day}T010000Z.db" for day in range(1, 5)]
        for path in (*old, folder / "notes.txt"):
            path.touch()
        copy = copies.backup(office.ledger.path, folder)
        assert set(folder.iterdir()) == {copy, *old[2:], folder / "notes.txt"}
        assert copies.newest_backup(folder) == copy

    def test_no_room(self, office: Office, tmp_path: Path) -> None:
        """A copy that would leave too little room is not made."""
        with pytest.raises(LedgerError, match="has no room there"):
            copies.backup(office.ledger.path, tmp_path / "backups", free_floor=2**60)
        assert list((tmp_path / "backups").iterdir()) == []

    def test_half_a_copy_is_none(self, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A copy that breaks off leaves nothing behind."""

        def broken(_: float) -> None:
            raise OSError("the disk is gone")

        monkeypatch.setattr("time.sleep", broken)
        with pytest.raises(LedgerError, match="no backup could be made there"):
            copies.backup(office.ledger.path, tmp_path / "backups")
        assert list((tmp_path / "backups").iterdir()) == []


class TestRestore:
    """Back from a copy."""

    @staticmethod
    def restored(office: Office, copy: Path) -> Path | None:
        """Restore a copy and open the ledger."""
        office.ledger.close()
        aside = copies.restore(office.ledger.path, copy, SOURCE)
        office.open()
        return aside

    def test_road(self, office: Office, tmp_path: Path) -> None:
        """A new stream begins behind the copy's last event; the terminals bring back what came after the copy."""
        centre = Centre()
        office.read(LOG[:200])
        copy = copies.backup(office.ledger.path, tmp_path / "backups")
        office.read(LOG, 190)
        centre.take(office)
        first = office.ledger.stream
        aside = self.restored(office, copy)
        assert aside is not None
        assert aside.name.startswith("ledger.db.replaced-")
        before = office.ledger.streams()[-1]
        assert (before.reason, before.predecessor, before.last_sequence) == ("restored", first, 200)
        office.read(LOG, 190)
        centre.take(office)
        assert len(centre.punches) == 303
        office.open()
        assert office.ledger.broken is None

    def test_without_a_ledger(self, office: Office, tmp_path: Path) -> None:
        """A copy can be restored where there is nothing."""
        office.read(LOG)
        copy = copies.backup(office.ledger.path, tmp_path / "backups")
        office.ledger.close()
        office.ledger.path.unlink()
        assert self.restored(office, copy) is None
        assert office.ledger.broken == "restored"

    def test_copy_of_version_1(self, office: Office) -> None:
        """A copy of an older version is brought up to date, and opens a stream too."""
        old = office.data_dir / "old.db"
        with closing(sqlite3.connect(old)) as connection:
            connection.executescript(Path(__file__).with_name("version_1.sql").read_text("utf-8"))
        self.restored(office, old)
        assert office.ledger.broken == "restored"

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            ("UPDATE gateway SET source = '/hadir/other/gw'", "belongs to /hadir/other/gw"),
            ("PRAGMA user_version = 99", "no ledger that this version"),
            (None, "cannot be restored"),
        ],
    )
    def test_unfit_copy(self, office: Office, tmp_path: Path, spoil: str | None, words: str) -> None:
        """A copy that cannot be used changes nothing."""
        office.read(LOG)
        copy = copies.backup(office.ledger.path, tmp_path / "backups")
        if spoil is None:
            copy.write_bytes(b"garbage" * 1000)
        else:
            with closing(sqlite3.connect(copy)) as connection:
                connection.execute(spoil)
                connection.commit()
        office.ledger.close()
        before = office.ledger.path.read_bytes()
        with pytest.raises(LedgerError, match=words):
            copies.restore(office.ledger.path, copy, SOURCE)
        assert office.ledger.path.read_bytes() == before
        office.open()
        assert office.ledger.broken is None


def test_a_copy_with_an_altered_event_does_not_replace_the_last_good_one(tmp_path: Path) -> None:
    """It is kept beside the others under another name; what is set aside already is no news."""
    copies = tmp_path / "copies"
    with closing(Ledger(tmp_path / "data", "/hadir/o/g")) as ledger:
        for number in range(5):
            ledger.record_note("hadir.gateway.resumed.v1", None, datetime(2026, 9, 7, tzinfo=UTC), {"number": number})
        good = backup(ledger.path, copies, kept=1)
        with closing(sqlite3.connect(ledger.path)) as other:
            other.execute("""UPDATE event SET body = replace(body, '"number":2', '"number":7') WHERE sequence = 3""")
            other.commit()
        with pytest.raises(LedgerError, match="1 events are not what was written, the first is 3"):
            backup(ledger.path, copies, kept=1)
        assert sorted(file.name for file in copies.iterdir()) == ["altered.db", good.name]
        assert ledger.set_aside([3]) == 1
        assert ledger.set_aside([3]) == 0
        assert backup(ledger.path, copies, kept=1).exists()
        assert ledger.counts().altered == 1


def test_a_copy_that_cannot_get_its_name_leaves_nothing(tmp_path: Path) -> None:
    """A draft as large as the ledger would stay for a day, each night another one."""
    copies = tmp_path / "copies"
    (copies / "altered.db").mkdir(parents=True)
    with closing(Ledger(tmp_path / "data", "/hadir/o/g")) as ledger:
        ledger.record_note("hadir.gateway.resumed.v1", None, datetime(2026, 9, 7, tzinfo=UTC), {"number": 2})
        with closing(sqlite3.connect(ledger.path)) as other:
            other.execute("""UPDATE event SET body = replace(body, '"number":2', '"number":7')""")
            other.commit()
        with pytest.raises(LedgerError, match="no backup could be made"):
            backup(ledger.path, copies)
    assert [file.name for file in copies.iterdir()] == ["altered.db"]
