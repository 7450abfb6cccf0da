"""Ledgers of every shape that the tables have had open, keep their bytes, and can do everything."""

import gzip
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.base import BadRecord, RawPunch, Reading, Record, Via
from gateway import event
from gateway.event import ReadingContext
from gateway.ledger import Judgement, Ledger, LedgerError, LedgerReader, Receipt, Selection, restore
from gateway.ledger.schema import TABLES

SOURCE = "/hadir/office/gw-01"
SERIAL = "CEXA193960001"
NOW = datetime(2026, 9, 8, 1, tzinfo=UTC)
STORED = sorted((Path(__file__).parent / "stored").glob("*.db.gz"))
EVENTS = "SELECT sequence, id, topic, body, digest, recorded_ms, sent_ms, parked FROM event ORDER BY sequence"


def punch(day: int, number: int) -> RawPunch:
    """Return a punch as the stored ledgers have it."""
    moment = datetime(2026, 9, day, 7, 0, number)  # noqa: DTZ001 - a terminal's wall clock has no zone
    return RawPunch(str(1000 + number), None, moment, number, 1, "0", bytes([day, number]))


LOG: list[Record] = [
    *(punch(5, 0), punch(5, 1), punch(6, 0), punch(6, 0)),
    BadRecord(b"bad", b"bad", "impossible date"),
    *(punch(7, 0), punch(7, 1), punch(7, 2)),
]
LIVE = punch(7, 9)


def context(via: Via) -> ReadingContext:
    """Return the context of a reading of the stored terminal."""
    return ReadingContext(
        terminal="lobby",
        serial=SERIAL,
        zone=ZoneInfo("Asia/Jakarta"),
        via=via,
        now=NOW,
        synchronised=True,
        clock=None,
        stepped=False,
        tolerance=timedelta(seconds=60),
    )


def rows(path: Path, statement: str) -> list[Any]:
    """Read the file as another program does."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def shape(path: Path) -> dict[str, object]:
    """Return each table's columns with what they may hold, whatever their order, and the indexes."""
    tables = rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    columns = {name: {row[1:4] for row in rows(path, f"PRAGMA table_info({name})")} for (name,) in tables}
    return {**columns, "indexes": rows(path, "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name")}


@pytest.fixture(params=STORED, ids=lambda path: path.name.removesuffix(".db.gz"))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Unpack a stored ledger into a data directory; return its file."""
    path = tmp_path / "ledger.db"
    path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return path


def opened(path: Path) -> Ledger:
    """Open a ledger as the daemon does."""
    return Ledger(path.parent, SOURCE, now=lambda: NOW)


def test_the_newest_stored_file_has_the_present_tables(tmp_path: Path) -> None:
    """A change of the tables must store a file of the new shape."""
    path = tmp_path / "ledger.db"
    path.write_bytes(gzip.decompress(STORED[-1].read_bytes()))
    columns = {name: {row[1] for row in rows(path, f"PRAGMA table_info({name})")} for name in TABLES}
    assert columns == {name: set(table.columns.keys()) for name, table in TABLES.items()}


def test_it_opens_with_the_same_events_and_the_present_tables(stored: Path, tmp_path: Path) -> None:
    """Same stream, same bytes, same delivery state; tables and indexes as in a new ledger."""
    before = rows(stored, EVENTS)
    with closing(opened(stored)) as ledger:
        assert (ledger.broken, ledger.salvage, ledger.was_clean) == (None, None, True)
        assert ledger.verify().breach is None
    assert rows(stored, EVENTS) == before
    with closing(Ledger(tmp_path / "new", SOURCE)):
        pass
    assert shape(stored) == shape(tmp_path / "new" / "ledger.db")


def test_the_log_and_the_live_punch_are_known(stored: Path) -> None:
    """The log of today continues the stored order; the live punch is confirmed by its record."""
    with closing(opened(stored)) as ledger:
        result = ledger.record_reading(context("log"), Reading(0, 9, [*LOG, LIVE], "40"))
        assert (result.new, result.quarantined, result.confirmed, result.withheld) == (0, 0, 1, 0)
        counts = ledger.counts()
        assert (counts.unconfirmed, counts.withheld, counts.parked, counts.sent) == (0, 2, 1, 3)
        assert [(day.day, day.in_log, day.in_ledger, day.withheld) for day in ledger.tally("lobby")] == [
            (None, 1, 1, 0),
            (date(2026, 9, 5), 2, 0, 2),
            (date(2026, 9, 6), 2, 2, 0),
            (date(2026, 9, 7), 4, 4, 0),
        ]
        assert ledger.verify().breach is None


def test_everything_newer_works(stored: Path) -> None:
    """Withheld records are released, receipts stored, events sent again, files noted; the chain goes on."""
    with closing(opened(stored)) as ledger:
        count = ledger.last_sequence()
        assert ledger.release(context("log")) == 2
        assert ledger.next_session() == 2
        receipt = Receipt(stream=ledger.stream, upto=count, missing=((2, 2),), at="2026-09-08T01:00:00Z")
        assert ledger.note_receipt(receipt) is Judgement.NEWS
        assert ledger.resend(Selection(first=1, last=count)).events == count
        imported = {"sha256": "0" * 64, "name": "lobby_attlog.dat", "size": 1}
        assert ledger.note_file(context("file"), imported, {}) is True
        assert ledger.note_file(context("file"), imported, {}) is False
        ledger.remember("lobby", ranged=True, threshold=90)
        assert ledger.record_file(context("file"), [punch(8, 1)], begun_at=ledger.last_sequence()).new == 1
        ledger.pin_serial("lobby", "ANOTHER")
        ledger.record_note(event.GATEWAY_RESUMED, None, NOW, {})
        assert ledger.verify().breach is None
        assert ledger.last_sequence() == count + 5


def test_a_reader_names_what_to_do(stored: Path) -> None:
    """Without a daemon older tables are not readable; the error states how they become so."""
    if stored.stat().st_size == len(gzip.decompress(STORED[-1].read_bytes())):
        LedgerReader(stored.parent).close()
        return
    with pytest.raises(LedgerError, match="start the daemon once"):
        LedgerReader(stored.parent)
    opened(stored).close()
    LedgerReader(stored.parent).close()


def test_a_backup_of_it_is_restored(stored: Path, tmp_path: Path) -> None:
    """A copy of any version replaces a ledger; a new stream begins behind its events."""
    target = tmp_path / "restored" / "ledger.db"
    restore(target, stored, SOURCE)
    with closing(opened(target)) as ledger:
        assert (ledger.broken, len(ledger.streams())) == ("restored", 2)
        assert ledger.verify().breach is None


def test_a_damaged_one_is_recovered(stored: Path) -> None:
    """Every event survives damage of the tables beside them."""
    before = rows(stored, "SELECT body FROM event ORDER BY sequence")
    with closing(sqlite3.connect(stored)) as connection:
        connection.execute("UPDATE gateway SET clean = 0")
        connection.commit()
    ((root,),) = rows(stored, "SELECT rootpage FROM sqlite_master WHERE name = 'place'")
    with stored.open("r+b") as damaged:
        damaged.seek((root - 1) * 4096)
        damaged.write(b"\xff" * 4096)
    with closing(opened(stored)) as ledger:
        assert ledger.salvage is not None
        assert ledger.salvage.kept == len(before)
        assert [(one.body,) for one in ledger.events(0, len(before))] == before
        assert ledger.verify().breach is None
        known = ledger.record_reading(context("log"), Reading(0, 9, [*LOG, LIVE], "40"))
        assert (known.new, known.quarantined, known.withheld) == (0, 0, 0)
