"""Files on a disk: surveyed, read, refused; a folder that is watched."""

import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers import safe_files
from drivers.attlog import terminal as module
from drivers.attlog.terminal import Ambiguous, AttlogOptions, AttlogTerminal, ExportFile, survey_export
from drivers.attlog.wire import AmbiguousColumns, NotAnExport, ThirdColumn
from drivers.base import Delivery, RawPunch, Refused, Settlement, Settling, TerminalUnavailable, Unsettled
from tests.drivers.hostile import NAMES, PLANTS, Plant, untouched

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
    export = survey_export(path)
    assert (export.lines, export.punches, export.size) == (5, 3, path.stat().st_size)
    assert [(defect.offset, defect.size) for defect in export.defects] == [
        (len(before), 504),
        (len(before + between), 25),
    ]
    assert str(export.first) == str(export.last) == "2026-09-04 07:30:00"
    assert (export.serial, export.name_serial) == (None, SERIAL)
    assert (export.number, export.name_number) == ("1", None)
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
        survey_export(tmp_path / name)


def test_dates_that_can_be_read_in_two_ways(tmp_path: Path) -> None:
    """A person decides."""
    path = tmp_path / "GLG_001.TXT"
    path.write_bytes(b"1\t1\t13767\t\t1\t1\t01/02/2026 14:53:50\r\n")
    with pytest.raises(Ambiguous):
        survey_export(path)
    assert str(survey_export(path, "dmy").first) == "2026-02-01 14:53:50"
    (record,) = survey_export(path, "mdy").records()
    assert isinstance(record, RawPunch)
    assert str(record.local_time) == "2026-01-02 14:53:50"


def test_a_file_that_changes_or_goes(tmp_path: Path) -> None:
    """What was surveyed is what is read, or the difference is an error."""
    path = tmp_path / "1_attlog.dat"
    path.write_bytes(lines(10))
    export = survey_export(path)
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


def scan_folder(terminal: AttlogTerminal, seen: Collection[str] = ()) -> list[Any]:
    """Return what a folder shows, without the waiting for it; nothing is settled."""
    terminal.skip(seen)
    found = [item for item in terminal.deliveries(0.0) if not isinstance(item, Settling)]
    return [item.file if isinstance(item, Delivery) and item.file is not None else item for item in found]


def files(terminal: AttlogTerminal) -> Iterator[Delivery]:
    """Yield what a folder delivers."""
    return (item for item in terminal.deliveries(0.0) if isinstance(item, Delivery))


def settle(terminal: AttlogTerminal, *, written: bool) -> None:
    """Settle the only file of a folder; the report is ``written`` or not."""
    items = files(terminal)
    assert next(items).settle(Settlement(1, report="SAFE\n")) == written
    assert list(items) == []


def test_options() -> None:
    """Without a serial number a punch has no identity."""
    with pytest.raises(ValidationError, match="serial is missing"):
        AttlogOptions.model_validate({"name": "gate", "path": "/media/absen"})


def test_no_stick(tmp_path: Path) -> None:
    """A mount point that is missing or empty is no failure."""
    for place in (tmp_path, tmp_path / "missing"):
        terminal = folder(place)
        assert not terminal.present()
        assert scan_folder(terminal) == []
    assert terminal.serial() == ""
    assert terminal.read_clock() is None
    assert terminal.identify().serial == SERIAL


def test_only_this_terminals_exports(tmp_path: Path) -> None:
    """By serial number or device number; others in silence, what is unclear with a reason, the rest not at all."""
    for name in (f"{SERIAL}_attlog.dat", "OTHER9999_attlog.dat", "1_attlog.dat", "user.dat", "notes.txt"):
        (tmp_path / name).write_bytes(LINE)
    (tmp_path / "2_attlog.dat").write_bytes(b"garbage\n")
    found = scan_folder(folder(tmp_path))
    assert {item.name for item in found if isinstance(item, ExportFile)} == {f"{SERIAL}_attlog.dat"}
    reasons = {item.name: item.reason for item in found if isinstance(item, Refused)}
    assert "serial OTHER9999" in reasons["OTHER9999_attlog.dat"]
    assert "number" in reasons["1_attlog.dat"]
    assert "first lines" in reasons["2_attlog.dat"]
    assert len(found) == 4
    numbered = scan_folder(folder(tmp_path, number=1))
    assert {item.name for item in numbered if isinstance(item, ExportFile)} == {f"{SERIAL}_attlog.dat", "1_attlog.dat"}


def test_marks(tmp_path: Path) -> None:
    """A file is looked at once, until it changes."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(LINE)
    terminal = folder(tmp_path)
    (export,) = scan_folder(terminal)
    assert isinstance(export, ExportFile)
    assert scan_folder(terminal, {export.mark}) == []
    path.write_bytes(LINE + LINE)
    assert len(scan_folder(terminal, {export.mark})) == 1


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
        assert scan_folder(folder(tmp_path, settle="200ms")) == [Unsettled(path.name)]
    finally:
        done.set()
        writer.join()


def test_a_disk_that_is_pulled_out_while_its_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is listed and gone is none that is being written."""
    terminal = folder(tmp_path)
    monkeypatch.setattr(module, "_candidates", lambda _folder: ([tmp_path / f"{SERIAL}_attlog.dat"], []))
    assert scan_folder(terminal) == []


def test_receipt(tmp_path: Path) -> None:
    """It lies beside the file; a disk that takes none is no failure."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(LINE)
    terminal = folder(tmp_path)
    settle(terminal, written=True)
    assert (tmp_path / f"{path.name}.hadir.txt").read_bytes() == b"SAFE\r\n"
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, f"{path.name}.hadir.txt"]
    assert scan_folder(terminal) == []
    items = files(folder(tmp_path))
    delivery = next(items)
    tmp_path.rename(tmp_path.with_name("gone"))
    assert not delivery.settle(Settlement(report="SAFE\n"))
    tmp_path.with_name("gone").rename(tmp_path)


def test_a_file_that_was_stored_before_gets_no_second_receipt(tmp_path: Path) -> None:
    """It is settled without a report: the one beside it states what was new."""
    path = tmp_path / f"{SERIAL}_attlog.dat"
    path.write_bytes(LINE)
    assert next(files(folder(tmp_path))).settle(Settlement(known=1))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_delivered_until_it_is_settled(tmp_path: Path) -> None:
    """Also in the same conversation."""
    (tmp_path / f"{SERIAL}_attlog.dat").write_bytes(LINE)
    terminal = folder(tmp_path)
    assert len(scan_folder(terminal)) == len(scan_folder(terminal)) == 1
    settle(terminal, written=True)
    assert scan_folder(terminal) == []


# --- what others put there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_no_file_is_refused_and_the_next_is_read(tmp_path: Path, plant: Plant) -> None:
    """A link, a pipe or a device with the name of an export, or in the place of a receipt."""
    ours = tmp_path / "ours"
    ours.write_bytes(LINE)
    stick = tmp_path / "stick"
    stick.mkdir()
    plant(stick / f"{SERIAL}_attlog.dat", ours)
    (stick / f"9_{SERIAL}_attlog.dat").write_bytes(LINE)
    good = stick / f"{SERIAL.lower()}_attlog.dat"
    good.write_bytes(LINE)
    plant(stick / f"{good.name}.hadir.txt", ours)
    terminal = folder(stick)
    found = scan_folder(terminal)
    (export,) = (item for item in found if isinstance(item, ExportFile))
    assert export.path == good
    settle(terminal, written=False)
    named = {item.name for item in found if isinstance(item, Refused)}
    assert f"{SERIAL}_attlog.dat" in named or (stick / f"{SERIAL}_attlog.dat").is_dir()
    assert untouched(ours, LINE)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name(tmp_path: Path, name: bytes) -> None:
    """It is read or refused under a name that can be shown, stored and sent, and gets its receipt."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(b"7\t1\t0\n")
    terminal = folder(tmp_path)
    (refused,) = scan_folder(terminal)
    assert isinstance(refused, Refused)
    assert refused.name.isprintable()
    refused.name.encode()
    assert refused.reason.isprintable()
    # A name may leave no room for that of a receipt.
    assert refused.write_report("NOT READ\n") == (len(name) + len(module.RECEIPT) <= 255)
    path.write_bytes(LINE)
    assert survey_export(path).name.isprintable()


def test_a_file_that_makes_reading_fail_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised; it may be read at the next look."""
    for name in ("1_attlog.dat", "2_attlog.dat"):
        (tmp_path / name).write_bytes(LINE)
    original = module.survey_export

    def failing(path: Path) -> ExportFile:
        if path.name == "1_attlog.dat":
            raise MemoryError
        return original(path)

    monkeypatch.setattr(module, "survey_export", failing)
    refused, other = scan_folder(folder(tmp_path, number=1))
    assert isinstance(refused, Refused)
    assert (refused.name, refused.reason) == ("1_attlog.dat", "it cannot be read (MemoryError)")
    assert other.name == "2_attlog.dat"


def test_a_file_that_may_not_be_opened_is_not_judged_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no receipt beside it states that it holds no attendance log."""
    (tmp_path / "1_attlog.dat").write_bytes(LINE)

    def refusing(path: Path) -> ExportFile:
        raise TerminalUnavailable(f"{path} cannot be read (Permission denied)")

    monkeypatch.setattr(module, "survey_export", refusing)
    (refused,) = scan_folder(folder(tmp_path, number=1))
    assert isinstance(refused, Refused)
    assert refused.why == "name"


def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record and a hole behind it that is larger than the disk."""
    monkeypatch.setattr(module, "MAX_EXPORT", 2 * module.PIECE)
    path = tmp_path / "1_attlog.dat"
    path.write_bytes(LINE)
    os.truncate(path, 1 << 40)
    with pytest.raises(NotAnExport, match="larger than"):
        survey_export(path)


def test_a_folder_of_very_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are examined, and that there are more is reported."""
    monkeypatch.setattr(safe_files, "MAX_NAMES", 5)
    for number in range(9):
        (tmp_path / f"{number}_attlog.dat").write_bytes(LINE)
    found = scan_folder(folder(tmp_path, number=1))
    (more,) = (item for item in found if isinstance(item, Refused) and "more than 5" in item.reason)
    assert more.name == str(tmp_path)


def test_waiting_for_files_to_settle_can_be_left(tmp_path: Path) -> None:
    """The caller that waits is informed, and need not wait any longer."""
    (tmp_path / "1_attlog.dat").write_bytes(LINE)
    assert next(folder(tmp_path, settle="10m").deliveries(0.0)) == Settling()


# --- whose it is, and what is not read ----------------------------------------------------------------------------


def reasons(terminal: AttlogTerminal) -> dict[str, tuple[str, str]]:
    """Return why each file is not read."""
    return {item.name: (item.why, item.reason) for item in scan_folder(terminal) if isinstance(item, Refused)}


def test_one_odd_line_does_not_make_a_file_another_terminals(tmp_path: Path) -> None:
    """A damaged device number in one of forty lines: the name and the other lines agree, so all of it is read."""
    odd = LINE.replace(b"\t1\t0\t1", b"\t0\t0\t1").replace(b"07:30:00", b"07:59:00")
    data = lines(39).replace(b"\t1\t0\t1\t0\n", b"\t7\t0\t1\t0\n") + odd
    (tmp_path / "7_attlog.dat").write_bytes(data)
    (export,) = scan_folder(folder(tmp_path, number=7))
    assert isinstance(export, ExportFile)
    assert (export.number, export.punches) == ("7", 40)
    (record,) = list(export.records())[-1:]
    assert record.raw == odd.rstrip(b"\r\n")


def test_what_is_not_read_is_always_named(tmp_path: Path) -> None:
    """With a reason: of another terminal, of none, not to be opened, in another folder, under another name."""
    (tmp_path / "2_attlog.dat").write_bytes(LINE.replace(b"\t1\t0\t1", b"\t2\t0\t1"))
    (tmp_path / "7_attlog.dat").write_bytes(LINE)
    (tmp_path / "september_attlog.dat").write_bytes(LINE.replace(b"\t1\t0\t1", b"\t3\t0\t1"))
    (tmp_path / "OTHER9999_attlog.dat").write_bytes(LINE)
    (tmp_path / "GLG_001.TXT").write_bytes(b"EnNo\tDateTime\n77\t2026-09-04 07:30:00\n")
    (tmp_path / "AGL_001.xls").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (tmp_path / "1_attlog (2).dat").write_bytes(LINE)
    (tmp_path / "attlog.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "September").mkdir()
    (tmp_path / "September" / "1_attlog.dat").write_bytes(LINE)
    for silent in ("user.dat", "holiday.jpg", "._1_attlog.dat", "1_attlog.dat.hadir.txt", "notes.txt"):
        (tmp_path / silent).write_bytes(LINE)
    found = reasons(folder(tmp_path, number=1))
    assert {name: why for name, (why, _) in found.items()} == {
        "2_attlog.dat": "elsewhere",
        "7_attlog.dat": "name",
        "september_attlog.dat": "elsewhere",
        "OTHER9999_attlog.dat": "elsewhere",
        "GLG_001.TXT": "name",
        "AGL_001.xls": "content",
        "1_attlog (2).dat": "name",
        "attlog.xlsx": "name",
        "September/1_attlog.dat": "name",
    }
    assert "by its name it is of device number 7, by its lines of 1" in found["7_attlog.dat"][1]
    assert "spreadsheet" in found["AGL_001.xls"][1]
    assert "spreadsheet" in found["attlog.xlsx"][1]


def test_a_name_proposes_only(tmp_path: Path) -> None:
    """A word before `_attlog.dat` is no serial number, and the lines may say more; the name's case does not matter."""
    (tmp_path / "september_attlog.dat").write_bytes(LINE)
    (tmp_path / f"{SERIAL.lower()}_attlog.DAT").write_bytes(LINE)
    found = scan_folder(folder(tmp_path, number=1))
    assert {item.name for item in found if isinstance(item, ExportFile)} == {
        "september_attlog.dat",
        f"{SERIAL.lower()}_attlog.DAT",
    }


# --- what a spreadsheet, or another firmware, makes of it ---------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"1001,2026-09-04 07:30:00,1,0,1,0\r\n",
        b'"1001";"04/09/2026 07:30";1;0;1;0\r\n',
        b"1001\t04/09/2026 7:30\t1\t0\t1\t0\r\n",
        b"PK\x03\x04rest",
        b"1.98001E+17\t2026-09-04 07:30:00\t1\t0\t1\t0\n" + LINE,
        b"1,98E+17\t2026-09-04 07:30:00\t1\t0\t1\t0\n" + LINE,
    ],
)
def test_what_a_spreadsheet_has_saved_again(tmp_path: Path, data: bytes) -> None:
    """It is named, with what to do: PINs and dates are not those of the terminal any more."""
    (tmp_path / "1_attlog.dat").write_bytes(data)
    with pytest.raises(NotAnExport, match=r"spreadsheet.*as the terminal wrote it"):
        survey_export(tmp_path / "1_attlog.dat")


def test_a_file_without_one_punch_is_no_import(tmp_path: Path) -> None:
    """Whatever the form of its lines."""
    path = tmp_path / "1_attlog.dat"
    path.write_bytes(b"1001\t2026-02-31 07:30:00\t1\t0\t1\t0\n" * 3)
    with pytest.raises(NotAnExport, match=r"none of its 3 lines can be read as a punch \(no such date\)"):
        survey_export(path)


def test_five_columns(tmp_path: Path) -> None:
    """By their values where these can mean one thing only; else a person names what the third is."""
    path = tmp_path / "1_attlog.dat"
    path.write_bytes(b"10021\t2026-04-10 07:31:01\t1\t0\t0\n10022\t2026-04-10 07:31:02\t1\t1\t15\n")
    with pytest.raises(AmbiguousColumns, match="device number or the state"):
        survey_export(path)
    meant: dict[ThirdColumn, list[tuple[object, ...]]]
    meant = {"device": [(0, 0, None), (1, 15, None)], "state": [(1, 0, "0"), (1, 1, "15")]}
    for third, codes in meant.items():
        export = survey_export(path, third=third)
        records = list(export.records())
        assert [record[3:6] for record in records] == codes
        assert [record.raw for record in records] == path.read_bytes().splitlines()
        assert (export.punches, export.number) == (2, "1" if third == "device" else None)
    path.write_bytes(b"10021\t2026-04-10 07:31:01\t7\t0\t0\n10022\t2026-04-10 07:31:02\t7\t1\t15\n")
    assert [record[3:6] for record in survey_export(path).records()] == [(0, 0, None), (1, 15, None)]
    path.write_bytes(b"10021\t2026-04-10 07:31:01\t0\t1\t0\n10022\t2026-04-10 07:31:02\t1\t1\t0\n")
    assert [record[3:6] for record in survey_export(path).records()] == [(0, 1, "0"), (1, 1, "0")]
