"""Files on a disk: surveyed, read, refused; a folder that is watched."""

import os
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from drivers.attlog.terminal import Ambiguous, AttlogOptions, AttlogTerminal, ExportFile, surveyed
from drivers.attlog.wire import NotAnExport
from drivers.base import RawPunch, Refused, TerminalUnavailable, Unsettled

LINE = b"     1001\t2026-09-04 07:30:00\t1\t0\t1\t0\r\n"
SERIAL = "CEXA193960001"


def lines(count: int) -> bytes:
    """Return an export of so many punches."""
    return b"".join(
        b"%9d\t2026-09-04 07:%02d:%02d\t1\t0\t1\t0\n" % (1000 + n, n // 60 % 60, n % 60) for n in range(count)
    )


def test_survey(tmp_path: Path) -> None:
    """It counts, hashes, and names the places that cannot be read; a reset clock is no first date."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    before = b"7\t2000-01-01 00:00:14\t1\t0\t1\t0\n" + LINE
    between = b"  10" + bytes(500) + b"\n" + LINE
    path.write_bytes(before + between + LINE[:25])
    export = surveyed(path)
    assert (export.lines, export.punches, export.size) == (5, 3, path.stat().st_size)
    assert [(defect.offset, defect.size) for defect in export.defects] == [
        (len(before), 504),
        (len(before + between), 25),
    ]
    assert str(export.first) == str(export.last) == "2026-09-04 07:30:00"
    assert export.serial == SERIAL
    assert export.numbers == {"1"}
    assert sum(isinstance(record, RawPunch) for record in export.records()) == 3


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("1_attlog.dat", b"", "empty"),
        ("1_attlog.dat", os.urandom(200_000), "first lines"),
        ("1_attlog.dat", LINE + b"garbage\n" * 5000, "only 1 of its 5,001"),
        ("template.dat", LINE, "by its name"),
    ],
)
def test_what_is_no_export(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    """It is refused before anything of it could be stored."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(NotAnExport, match=words):
        surveyed(tmp_path / name)


def test_dates_that_can_be_read_in_two_ways(tmp_path: Path) -> None:
    """A person decides."""
    path = tmp_path / "GLG_001.TXT"
    path.write_bytes(b"1\t1\t13767\t\t1\t1\t01/02/2026 14:53:50\r\n")
    with pytest.raises(Ambiguous):
        surveyed(path)
    assert str(surveyed(path, "dmy").first) == "2026-02-01 14:53:50"
    (record,) = surveyed(path, "mdy").records()
    assert isinstance(record, RawPunch)
    assert str(record.local_time) == "2026-01-02 14:53:50"


def test_a_file_that_changes_or_goes(tmp_path: Path) -> None:
    """What was surveyed is what is read, or it is said."""
    path = tmp_path / "1_attlog.dat"
    path.write_bytes(lines(10))
    export = surveyed(path)
    path.write_bytes(lines(11))
    with pytest.raises(TerminalUnavailable, match="changed"):
        list(export.records())
    path.unlink()
    with pytest.raises(TerminalUnavailable, match="No such file"):
        list(export.records())


# --- a folder -----------------------------------------------------------------------------------------------------


def folder(path: Path, **options: object) -> AttlogTerminal:
    """Return the watch over a folder."""
    entry = {"name": "gate", "path": path, "serial": SERIAL, "settle": "50ms"} | options
    return AttlogTerminal(AttlogOptions.model_validate(entry))


def test_options() -> None:
    """Without a serial number a punch has no identity."""
    with pytest.raises(ValidationError, match="serial is missing"):
        AttlogOptions.model_validate({"name": "gate", "path": "/media/absen"})


def test_no_stick(tmp_path: Path) -> None:
    """A mount point that is missing or empty is no failure."""
    for place in (tmp_path, tmp_path / "missing"):
        terminal = folder(place)
        assert not terminal.present()
        assert list(terminal.exports(())) == []
    assert terminal.serial() == ""
    assert terminal.read_clock() is None
    assert terminal.identify().serial == SERIAL


def test_only_this_terminals_exports(tmp_path: Path) -> None:
    """By serial number or device number; others in silence, what is unclear with a reason, the rest not at all."""
    for name in (f"{SERIAL}_attlog.dat", "OTHER9999_attlog.dat", "1_attlog.dat", "user.dat", "notes.txt"):
        (tmp_path / name).write_bytes(LINE)
    (tmp_path / "2_attlog.dat").write_bytes(b"garbage\n")
    found = list(folder(tmp_path).exports(()))
    assert {item.name for item in found if isinstance(item, ExportFile)} == {f"{SERIAL}_attlog.dat"}
    reasons = {item.name: item.reason for item in found if isinstance(item, Refused)}
    assert reasons["OTHER9999_attlog.dat"] is None
    assert "number" in (reasons["1_attlog.dat"] or "")
    assert "first lines" in (reasons["2_attlog.dat"] or "")
    assert len(found) == 4
    numbered = list(folder(tmp_path, number=1).exports(()))
    assert {item.name for item in numbered if isinstance(item, ExportFile)} == {f"{SERIAL}_attlog.dat", "1_attlog.dat"}


def test_marks(tmp_path: Path) -> None:
    """A file is looked at once, until it changes."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(LINE)
    terminal = folder(tmp_path)
    (export,) = terminal.exports(())
    assert isinstance(export, ExportFile)
    assert list(terminal.exports({export.mark})) == []
    path.write_bytes(LINE + LINE)
    assert len(list(terminal.exports({export.mark}))) == 1


def test_a_file_that_is_being_written(tmp_path: Path) -> None:
    """It is left alone until it has settled."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(LINE)
    done = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not done.wait(0.005):
                file.write(LINE)
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert list(folder(tmp_path, settle="200ms").exports(())) == [Unsettled(path.name)]
    finally:
        done.set()
        writer.join()


def test_a_disk_that_is_pulled_out_while_its_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is listed and gone is none that is being written."""
    terminal = folder(tmp_path)
    monkeypatch.setattr(terminal, "_candidates", lambda: [tmp_path / f"{SERIAL}_attlog.dat"])
    assert list(terminal.exports(())) == []


def test_receipt(tmp_path: Path) -> None:
    """It lies beside the file; a disk that takes none is no failure."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(LINE)
    terminal = folder(tmp_path)
    (export,) = terminal.exports(())
    assert isinstance(export, ExportFile)
    assert terminal.tell(export, "SAFE\n")
    assert (tmp_path / f"{path.name}.hadir.txt").read_bytes() == b"SAFE\r\n"
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, f"{path.name}.hadir.txt"]
    assert not folder(tmp_path / "gone").tell(export, "SAFE\n")
