"""A data directory, or a folder of copies, in which another user has put something: nothing is written through it."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.ledger import FILE_NAME, Ledger, LedgerError, Limits, copies, file, in_use
from gateway.ledger.space import RESERVE_NAME, Reserve
from tests.drivers.hostile import PLANTS, Plant, untouched
from tests.gateway.test_ledger import SOURCE, Office, logged

OURS = b"not a ledger of this gateway"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Make a file that must stay as it is."""
    path = tmp_path / "ours"
    path.write_bytes(OURS)
    return path


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Open an office with some punches."""
    office = Office(tmp_path / "office")
    office.read(logged(*range(20)))
    yield office
    office.ledger.close()


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_in_the_way_of_the_ledgers_own_files(tmp_path: Path, ours: Path, plant: Plant) -> None:
    """Lock and mark: refused in words, at once. The reserve is refused too, and the ledger does without it."""
    data = tmp_path / "data"
    data.mkdir()
    plant(data / file.LOCK_NAME, ours)
    with pytest.raises(LedgerError, match="data_dir must be"):
        Ledger(data, SOURCE)
    with pytest.raises(OSError, match=r"link|folder|pipe|socket"):
        in_use(data)
    assert file.read_chain_end(data / file.LOCK_NAME) is None
    plant(data / RESERVE_NAME, ours)
    assert not Reserve(data).hold()
    assert os.path.lexists(data / RESERVE_NAME)
    assert untouched(ours, OURS)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_in_the_reserves_place_does_not_end_the_ledger(tmp_path: Path, ours: Path, plant: Plant) -> None:
    """The reserve is looked at behind each transaction: the next one is stored all the same."""
    data = tmp_path / "data"
    data.mkdir()
    plant(data / RESERVE_NAME, ours)
    with closing(Ledger(data, SOURCE, limits=Limits(days=90, max_bytes=2**31, free_floor=0))) as ledger:
        for number in range(3):
            ledger.record_note("hadir.test.v1", None, datetime(2026, 9, 1, tzinfo=UTC), {"number": number})
        assert ledger.failure is None
        assert ledger.last_sequence() >= 3
    assert untouched(ours, OURS)


def test_a_reserve_that_cannot_be_given_up_is_no_error(tmp_path: Path) -> None:
    """Room is given up where the disk is full: nothing may end the ledger there."""
    (tmp_path / RESERVE_NAME).mkdir()
    Reserve(tmp_path).release()
    assert (tmp_path / RESERVE_NAME).is_dir()


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_what_is_in_the_ledgers_place_and_no_file(tmp_path: Path, ours: Path, kind: str) -> None:
    """It is neither waited for nor salvaged."""
    data = tmp_path / "data"
    data.mkdir()
    PLANTS[kind](data / FILE_NAME, ours)
    with pytest.raises(LedgerError, match="this is no file"):
        Ledger(data, SOURCE)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_copies_among_what_others_put_there(tmp_path: Path, ours: Path, office: Office, plant: Plant) -> None:
    """A copy has a name that cannot be known before; what is no file is no copy, stays, and does not push out one."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in ("ledger-20260101T000000Z.db", "ledger-99991231T235959Z.db", "ledger-20260101T000000Z.part"):
        plant(folder / name, ours)
    copy = copies.backup(office.ledger.path, folder, kept=1)
    assert copies.newest_backup(folder) == copy
    assert copy.read_bytes().startswith(b"SQLite format 3")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"ledger-99991231T235959Z.db", "ledger-20260101T000000Z.db", copy.name}
    assert not [name for name in names if name.startswith(".")]
    office.ledger.close()
    with pytest.raises(LedgerError, match="cannot be restored"):
        copies.restore(office.ledger.path, folder / "ledger-99991231T235959Z.db", SOURCE)
    for side in ("-wal", "-shm"):
        plant(copy.with_name(copy.name + side), ours)
        with pytest.raises(LedgerError, match="cannot be restored"):
            copies.restore(office.ledger.path, copy, SOURCE)
        path = copy.with_name(copy.name + side)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    # In the places where a restored ledger was built before it took its own.
    for name in ("ledger.db.rebuilding", "ledger.db.new"):
        plant(office.data_dir / name, ours)
    assert copies.restore(office.ledger.path, copy, SOURCE) is not None
    assert untouched(ours, OURS)
    office.open()
    assert office.ledger.punches() == 20


def test_a_copy_that_was_exchanged_while_it_was_written(
    tmp_path: Path, ours: Path, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens by name; what it wrote is compared with what was made, and no such copy counts."""
    folder = tmp_path / "copies"
    folder.mkdir()

    def exchange(_seconds: float) -> None:
        for path in folder.glob(".*.part"):
            path.unlink()
            path.write_bytes(OURS)

    monkeypatch.setattr(copies, "BACKUP_PAGES", 1)
    monkeypatch.setattr(time, "sleep", exchange)
    with pytest.raises(LedgerError, match="no backup could be made"):
        copies.backup(office.ledger.path, folder)
    assert copies.newest_backup(folder) is None
    assert untouched(ours, OURS)


def test_drafts_of_processes_that_died_are_cleared_away(tmp_path: Path, office: Office) -> None:
    """Not those of one that may still be at work."""
    folder = tmp_path / "copies"
    folder.mkdir()
    old, new = folder / f".{'a' * 24}.part", folder / f".{'b' * 24}.part"
    for draft in (old, new):
        draft.touch()
    os.utime(old, (0, 0))
    copies.backup(office.ledger.path, folder)
    assert (old.exists(), new.exists()) == (False, True)
