"""Files in folders of others: what is no plain file is refused, and nothing outside the folder is touched."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers import safe_files
from drivers.safe_files import FileRefused, Folder, printable
from tests.drivers.hostile import NAMES, PLANTS, Plant, untouched

OURS = b"the ledger\n"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Make a file of ours, outside the folder of others."""
    path = tmp_path / "ours" / "ledger.db"
    path.parent.mkdir()
    path.write_bytes(OURS)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Open a folder of others."""
    (tmp_path / "stick").mkdir()
    with Folder(tmp_path / "stick") as folder:
        yield folder


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_no_file_is_neither_read_nor_written(folder: Folder, ours: Path, plant: Plant) -> None:
    """Opening, updating and replacing refuse it at once; making a new file finds the name taken."""
    plant(folder.path / "x", ours)
    for attempt in (
        lambda: folder.read("x", 100),
        lambda: folder.open("x"),
        lambda: folder.update("x"),
        lambda: folder.write("x", b"bad"),
        lambda: folder.rename("good", "x"),
    ):
        (folder.path / "good").write_bytes(b"good")
        with pytest.raises(FileRefused) as refused:
            attempt()
        assert refused.value.strerror
    with pytest.raises(FileExistsError):
        folder.create("x")
    assert untouched(ours, OURS)
    assert sorted(folder.names()) == ["good", "x"]


def test_links_in_the_way_are_not_followed(folder: Folder, ours: Path) -> None:
    """A folder in the folder is a folder, or refused."""
    (folder.path / "bundle").symlink_to(ours.parent)
    with pytest.raises(FileRefused, match="link"):
        folder.folder("bundle")
    with pytest.raises(FileRefused):
        folder.make_folder("bundle")
    assert not folder.is_folder("bundle")
    folder.make_folder("real")
    with folder.folder("real") as real:
        real.write("x", b"1")
    assert (folder.path / "real" / "x").read_bytes() == b"1"
    folder.remove("bundle")
    assert untouched(ours, OURS)


@pytest.mark.parametrize("name", ["", ".", "..", "../ours/ledger.db", "/etc/passwd", "a/b", "a\0b"])
def test_names_that_lead_out_of_the_folder(folder: Folder, ours: Path, name: str) -> None:
    """One name at a time, and none of them upwards."""
    for attempt in (folder.open, folder.update, folder.create, folder.remove, folder.folder, folder.stat):
        with pytest.raises(FileRefused, match="not the name of a file"):
            attempt(name)
    assert untouched(ours, OURS)


def test_reading_is_bounded(folder: Folder) -> None:
    """A file that is larger than expected is refused, whatever its size states."""
    (folder.path / "x").write_bytes(b"1" * 1000)
    assert folder.read("x", 1000) == b"1" * 1000
    with pytest.raises(FileRefused, match="larger than 999") as refused:
        folder.read("x", 999)
    assert refused.value.errno == errno.EFBIG
    with (folder.path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileRefused):
        folder.read("sparse", 4096)
    with pytest.raises(FileNotFoundError):
        folder.read("missing", 10)


def test_a_folder_of_very_many_names(folder: Folder) -> None:
    """It costs no more than was requested."""
    for number in range(30):
        (folder.path / str(number)).touch()
    assert len(folder.names(20)) == 20
    assert len(folder.names()) == 30


def test_a_file_appears_whole_or_not_at_all(folder: Folder) -> None:
    """With its mode; what was there stays until then, and no half file remains."""
    folder.write("x", b"one", 0o640)
    assert stat.S_IMODE((folder.path / "x").stat().st_mode) == 0o640
    folder.write("x", b"two")
    with pytest.raises(RuntimeError), folder.draft("x") as file:
        raise RuntimeError(file.write(b"half"))
    assert (folder.path / "x").read_bytes() == b"two"
    with pytest.raises(FileExistsError), folder.draft("x", replace=False) as file:
        file.write(b"other")
    assert (folder.path / "x").read_bytes() == b"two"
    with folder.draft("y", replace=False) as file:
        file.write(b"new")
    assert folder.names() == ["x", "y"]


def test_a_file_that_is_gone_on_with(folder: Folder) -> None:
    """Made where there is none, else as it is."""
    with folder.update("x") as file:
        safe_files.write_all(file, b"one")
    with folder.update("x") as file:
        assert file.read() == b"one"
    assert folder.free() > 0


def test_one_file_that_a_person_named(folder: Folder, ours: Path) -> None:
    """The way to it may have links, the file itself is none."""
    here = folder.path.parent / "here"
    here.symlink_to(folder.path)
    (folder.path / "x").write_bytes(b"1")
    assert safe_files.read(here / "x", 10) == b"1"
    (folder.path / "y").symlink_to(ours)
    with pytest.raises(FileRefused, match="link"), safe_files.opened(here / "y"):
        pass


@pytest.mark.parametrize("name", [*NAMES, b"\xed\xa0\x80", b"\xc2\x9b31m", b"\x7f"])
def test_names_are_printable(name: bytes) -> None:
    """They do nothing to a screen, are UTF-8, and stay distinct."""
    shown = printable(os.fsdecode(name))
    assert shown.isprintable()
    shown.encode()
    others = {printable(os.fsdecode(other)) for other in NAMES if other != name}
    assert shown not in others


def test_usual_names_stay() -> None:
    """In any script."""
    for name in ("1_attlog.dat", "Absen Café 1_attlog.dat", "日志.txt"):
        assert printable(name) == name
    assert printable("caf\udce9") == "caf\\xe9"
    assert printable("\x1b[2J") == "\\x1b[2J"
